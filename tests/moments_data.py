"""Small cohorts with linkage disequilibrium and known effects, dealt to sites as files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from models_data import expression_bed
from plink_data import write_plink

from genopred.settings import FitMoments, Moments
from genopred.types import GENE_SCHEMA, VARIANT_SCHEMA

#: Variants of which each gene has the half around it, and the places of both genes.
M, TSS = 40, (1_000_000, 1_020_000)
#: In both directions; each gene has some variants of its own.
WINDOW = 25_000
#: One of each kind of linear learner.
LEARNERS = ("ridge", "gblup-tss", "elastic-net-tss", "susie", "pt-prs")
#: No pair of these looks the same on both strands.
PAIRS = (("A", "G"), ("C", "T"), ("A", "C"), ("G", "T"))
STRAND = str.maketrans("ACGT", "TGCA")


@dataclass(frozen=True)
class People:
    """People of one site."""

    names: list[str]
    dosage: np.ndarray
    expression: np.ndarray
    covariates: np.ndarray
    variants: pl.DataFrame

    def of(self, rows) -> People:
        rows = np.asarray(rows)
        names = [self.names[i] for i in rows.tolist()]
        return People(names, self.dosage[rows], self.expression[rows], self.covariates[rows], self.variants)


def genes() -> pl.DataFrame:
    rows = [(f"ENSG0000000000{i}.1", f"ENSG0000000000{i}", "22", tss, "+") for i, tss in enumerate(TSS, start=1)]
    return pl.DataFrame(rows, schema=GENE_SCHEMA, orient="row")


def variants() -> pl.DataFrame:
    rows = [("22", 990_000 + 1000 * j, f"rs{j}", *PAIRS[j % 4]) for j in range(M)]
    return pl.DataFrame(rows, schema=VARIANT_SCHEMA, orient="row")


def people(n: int, seed: int = 0, *, tilt: float = 0.0, start: int = 0) -> People:
    """`n` people; with a `tilt` their frequencies and levels of expression are others, effects are the same."""
    rng = np.random.default_rng(seed)
    frequency = 0.2 + 0.6 * np.random.default_rng(7).random(M)
    frequency = np.clip(frequency + tilt * np.random.default_rng(8).uniform(-1, 1, M), 0.15, 0.85)
    latent = np.empty((n, 2, M))
    latent[..., 0] = rng.standard_normal((n, 2))
    for j in range(1, M):
        latent[..., j] = 0.8 * latent[..., j - 1] + 0.6 * rng.standard_normal((n, 2))
    ranks = latent.argsort(axis=0).argsort(axis=0) / n
    dosage = (ranks < frequency).sum(axis=1).astype(np.float32)
    covariates = rng.standard_normal((n, 2)) + [1.0 + tilt, -2.0]
    effect = np.zeros((M, 2))
    effect[[8, 14], 0], effect[[25, 33], 1] = (0.6, -0.5), (0.5, 0.5)
    noise = rng.standard_normal((n, 2))
    expression = 20 + 5 * tilt + dosage @ effect + covariates @ [[0.5, -0.3], [0.2, 0.4]] + noise
    return People([f"PERSON{start + i:05d}" for i in range(n)], dosage, expression, covariates, variants())


def write_site(folder: Path, who: People, out: str, **others) -> Moments:
    """Files of a site, and settings that sum it into `folder / out`."""
    place = folder / f"{out}_files"
    place.mkdir(parents=True, exist_ok=True)
    write_plink(place / "geno", who.dosage, who.names, who.variants)
    expression_bed(place / "expression.bed", who.names, who.expression, genes())
    lines = ["id\tC1\tC2", *(f"{name}\t{a:.9f}\t{b:.9f}" for name, (a, b) in zip(who.names, who.covariates))]
    (place / "covar.txt").write_text("\n".join(lines) + "\n")
    given = {"bfile": place / "geno", "expression": place / "expression.bed", "covar": place / "covar.txt"}
    plain = {"all_genes": True, "window": WINDOW, "threads": 1, "out": folder / out, "transform": "none", "folds": 4}
    return Moments(**given | plain | others)


def as_written(values: np.ndarray) -> np.ndarray:
    """Expression as it stands in the files."""
    return np.round(values, 6)


def joined(sites, out: Path, **others) -> FitMoments:
    """Settings that join sites' folders."""
    plain = {"learners": LEARNERS, "threads": 1, "stack_weights": "none", "maf": 0.0, "out": out}
    return FitMoments(**{"sites": tuple(sites)} | plain | others)
