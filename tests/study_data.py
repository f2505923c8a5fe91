"""A cohort, an LD panel and another study of the same genes, as files, for the tests of `genopred stack --sumstats`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
from models_data import expression_bed
from plink_data import write_plink
from sumstats_data import people, t_of

from genopred.settings import Stack

GENES, VARIANTS, COHORT, STUDY, PANEL = 8, 40, 120, 600, 200
ALLELES = [("A", "G"), ("C", "T"), ("A", "T"), ("G", "A"), ("C", "G")]


@dataclass(frozen=True)
class Population:
    """Dosages and expression of people of the cohort, then of the study, then of the panel; and their variants."""

    x: np.ndarray
    y: np.ndarray
    variants: pl.DataFrame
    genes: pl.DataFrame


@cache
def population() -> Population:
    """8 genes far from each other with 40 variants each, one of which has an effect of a third of the variance."""
    n = COHORT + STUDY + PANEL
    x = np.hstack([people(n, VARIANTS, 10 + g, blocks=1, keep=0.99) for g in range(GENES)])
    rng = np.random.default_rng(0)
    y = np.empty((n, GENES))
    for g in range(GENES):
        score = x[:, g * VARIANTS + 15 + g]
        y[:, g] = np.sqrt(1 / 3) * (score - score.mean()) / score.std() + np.sqrt(2 / 3) * rng.standard_normal(n)
    tss = 1_000_000 * (1 + np.arange(GENES))
    pos = np.concatenate([t - 20_000 + 1000 * np.arange(VARIANTS) for t in tss])
    allele = [ALLELES[i % 5] for i in range(len(pos))]
    table = {"chrom": "7", "pos": pos, "id": [f"rs{i}" for i in range(len(pos))]}
    table |= {"ref": [a for a, _ in allele], "alt": [b for _, b in allele]}
    ids = [f"ENSG{g:011d}" for g in range(GENES)]
    genes = {"gene_id": [f"{name}.3" for name in ids], "gene": ids, "chrom": "7", "tss": tss, "strand": "+"}
    return Population(x, y, pl.DataFrame(table), pl.DataFrame(genes))


def study_table(shared: int = 0) -> pl.DataFrame:
    """t of every gene and variant in the study, in columns of eQTLGen; `shared` of its people are the cohort's."""
    data = population()
    rows = np.r_[np.arange(shared), np.arange(COHORT, COHORT + STUDY - shared)]
    parts = []
    for g, gene in enumerate(data.genes["gene"].to_list()):
        window = slice(g * VARIANTS, (g + 1) * VARIANTS)
        known = data.variants[window]
        parts.append(
            known.select(
                pl.lit(gene).alias("Gene"), SNP="id", SNPChr="chrom", SNPPos="pos", AssessedAllele="alt",
                OtherAllele="ref", Zscore=pl.Series(t_of(data.x[rows, window], data.y[rows, g])),
                NrSamples=pl.lit(STUDY), af=pl.Series(data.x[rows, window].mean(axis=0) / 2),
            )
        )  # fmt: skip
    return pl.concat(parts)


def write(folder: Path, change=None, table: pl.DataFrame | None = None) -> Stack:
    """The files, and the settings of a stack; `change` works on the cohort's expression (N, G)."""
    data = population()
    names = [f"p{i}" for i in range(len(data.x))]
    folder.mkdir(parents=True, exist_ok=True)
    write_plink(folder / "cohort", data.x[:COHORT], names[:COHORT], data.variants)
    write_plink(folder / "panel", data.x[COHORT + STUDY :], names[COHORT + STUDY :], data.variants)
    y = data.y[:COHORT]
    expression_bed(folder / "expression.bed", names[:COHORT], y if change is None else change(y.copy()), data.genes)
    (study_table() if table is None else table).write_csv(folder / "study.tsv", separator="\t")
    return Stack(
        bfile=folder / "cohort", expression=folder / "expression.bed", all_genes=True, window=50_000,
        out=folder / "run", learners=("ridge",), stack_weights="none", outer_folds=3, inner_folds=3, threads=1,
        sumstats=folder / "study.tsv", ld=folder / "panel", sumstats_learners=("pt-prs", "lassosum"),
    )  # fmt: skip
