"""A small cohort with known truth, and the models that `genopred stack` trains on most of its people."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
from plink_data import write_plink

import genopred
from genopred.genetics.simulate import SimulatedCohort
from genopred.settings import Predict, Stack
from genopred.types import Genotypes

#: Linear ones, and one of each kind of state that is no weight.
LEARNERS = ("ridge", "elastic-net", "susie-tss", "polynomial", "random-forest", "xgboost", "lightgbm")
#: People of the training; the rest are new.
TRAIN = 120


@cache
def cohort() -> SimulatedCohort:
    """160 people, 3 genes on chromosome 22, where both builds lie side by side."""
    return genopred.simulate_cohort(
        160, 3, length=90_000, h2=0.5, n_causal=2, null_fraction=0.0, reach=30_000, n_covariates=2,
        chrom="22", start=30_000_001, seed=3,
    )  # fmt: skip


@cache
def dosage() -> np.ndarray:
    """Its genotypes with 2 % missing, shape (N, M)."""
    x = cohort().dosage.copy()
    x[np.random.default_rng(5).random(x.shape) < 0.02] = np.nan
    return x


def expression_bed(path: Path, samples, values, genes: pl.DataFrame) -> Path:
    """An expression BED, genes in rows."""
    lines = ["\t".join(["#chr", "start", "end", "gene_id", *samples])]
    for j, gene in enumerate(genes.iter_rows(named=True)):
        numbers = "\t".join(f"{value:.6f}" for value in values[:, j])
        lines.append(f"{gene['chrom']}\t{gene['tss'] - 1}\t{gene['tss']}\t{gene['gene_id']}\t{numbers}")
    path.write_text("\n".join(lines) + "\n")
    return path


def write_inputs(folder: Path, change=None) -> dict[str, Path]:
    """Genotypes of all, expression and covariates of the training people; `change` works on the expression of all."""
    data, names = cohort(), cohort().samples.tolist()
    values = data.expression if change is None else change(data.expression.copy())
    write_plink(folder / "all", dosage(), names, data.variants)
    write_plink(folder / "new", dosage()[TRAIN:], names[TRAIN:], data.variants)
    expression_bed(folder / "expression.bed", names, values, data.genes)
    lines = ["id\tC1\tC2", *(f"{who}\t{a:.6f}\t{b:.6f}" for who, (a, b) in zip(names, data.covariates))]
    (folder / "covar.txt").write_text("\n".join(lines) + "\n")
    (folder / "train.txt").write_text("\n".join(names[:TRAIN]) + "\n")
    return {
        "bfile": folder / "all",
        "expression": folder / "expression.bed",
        "covar": folder / "covar.txt",
        "keep": folder / "train.txt",
    }


def stack_settings(inputs: dict[str, Path], out: Path, **others) -> Stack:
    """A quick stack of them."""
    quick = {"all_genes": True, "learners": LEARNERS, "outer_folds": 2, "inner_folds": 3, "threads": 1}
    quick |= {"stack_weights": "none", "window": 40_000, "out": out}
    return Stack(**inputs | quick | others)


def predict_settings(models: Path, out: Path, **others) -> Predict:
    """Predictions by them."""
    return Predict(**{"models": models, "threads": 1, "out": out} | others)


def grow_trees(patch) -> None:
    """The pooled trees of the stack, from as few genes and people as there are."""
    from genopred.learning import stack

    patch.setattr(stack, "MIN_GENES_POOLED", 2)
    patch.setattr(stack, "XGBOOST_SETTINGS", stack.XGBOOST_SETTINGS | {"min_child_weight": 10, "eta": 0.2})


class InMemory:
    """Genotypes in memory, for `Genotypes.reader`."""

    def __init__(self, values) -> None:
        self.values = np.asarray(values, dtype=np.float32)

    def dosage(self, rows, columns):
        return self.values[np.ix_(rows, columns)]


def in_memory(values, variants: pl.DataFrame, samples=None) -> Genotypes:
    """Genotypes without a file."""
    names = [f"P{i}" for i in range(len(values))] if samples is None else list(samples)
    return Genotypes(np.array(names), variants, InMemory(values), "memory")


def new_people() -> Genotypes:
    """Those who are not of the training."""
    return in_memory(dosage()[TRAIN:], cohort().variants, cohort().samples[TRAIN:])


@dataclass(frozen=True)
class Trained:
    """A folder with inputs, and the run that trained on them."""

    folder: Path
    inputs: dict[str, Path]
    run: Path

    @property
    def models(self) -> Path:
        return self.run / "models"


def copy_models(trained: Trained, folder: Path) -> Path:
    """The models in a new folder, to be damaged."""
    import shutil

    return Path(shutil.copytree(trained.models, folder / "models"))
