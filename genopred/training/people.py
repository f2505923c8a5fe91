"""People for tuning: each gene's distinct haplotypes, who carries which, their expression, and who and what is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from genopred.errors import GenopredError
from genopred.genetics.correlation import pearson
from genopred.sequence.haplotypes import VariantWindow
from genopred.training.genes import GENE_SCHEMA, GeneSplit
from genopred.training.splits import SPLITS


@dataclass(frozen=True)
class PersonalGene:
    """One gene of N people.

    Attributes
    ----------
    window : VariantWindow
        Its D distinct haplotypes, in the order of their alleles.
    who : array of int, shape (N, P)
        Which of them each person has: P is 2, or 1 where both are averaged in one sequence.
    y : array, shape (N,)
        Expression as it is to be predicted; NaN where missing.
    """

    window: VariantWindow
    who: NDArray[np.int64]
    y: NDArray[np.float64]

    @classmethod
    def of(cls, window: VariantWindow, ploidy: int, y: ArrayLike) -> PersonalGene:
        """From the haplotypes of all people, those of a person next to each other."""
        alleles = np.asarray(window.alleles)
        if alleles.shape[1]:
            rows, of = np.unique(alleles, axis=0, return_inverse=True)
        else:
            rows, of = alleles[:1], np.zeros(len(alleles), dtype=np.int64)
        who = np.asarray(of, dtype=np.int64).reshape(-1, ploidy)
        return cls(replace(window, alleles=rows), who, np.asarray(y, dtype=np.float64))

    def take(self, people: NDArray[np.int64]) -> PersonalGene:
        """Some people who have expression, and their haplotypes alone."""
        kept = people[np.isfinite(self.y[people])]
        used, of = np.unique(self.who[kept], return_inverse=True)
        who = np.asarray(of, dtype=np.int64).reshape(len(kept), self.who.shape[1])
        return PersonalGene(self.window.take(used), who, self.y[kept])

    def per_person(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Mean (N,) over each person's haplotypes of values (D,)."""
        means: NDArray[np.float64] = values.astype(np.float64)[self.who].mean(axis=1)
        return means

    @property
    def dosage(self) -> NDArray[np.float32]:
        """Copies of ALT (N, V) at the window's sites."""
        weight = np.array([0.0, 1.0, 0.5], dtype=np.float32)[np.asarray(self.window.alleles)]
        return weight[self.who].mean(axis=1) * 2


@dataclass(frozen=True)
class PersonalData:
    """G genes of N people, and which of both are for what.

    Attributes
    ----------
    samples : array of str, shape (N,)
        Sorted, so that the order of the files does not matter.
    genes : polars.DataFrame
        Columns of `genopred.training.genes.GENE_SCHEMA`.
    of_gene : tuple of PersonalGene
    split : GeneSplit
        `train` and `validation` genes are seen, `test` genes are not.
    people : array of str, shape (N,)
        `train`, `validation` or `test`.
    """

    samples: NDArray[np.str_]
    genes: pl.DataFrame
    of_gene: tuple[PersonalGene, ...]
    split: GeneSplit
    people: NDArray[np.str_]

    def __post_init__(self) -> None:
        for name in SPLITS[:2]:
            if not len(self.split.rows(name)):
                raise GenopredError(
                    f"no gene is for {name}; change split.seed, split.block or split.fractions, or give more genes."
                )
        for name in SPLITS:
            n = int((self.people == name).sum())
            if n < 3:
                raise GenopredError(
                    f"{n} people are for {name}; needed at least 3. Change [people], or give more people."
                )

    def rows(self, name: str) -> NDArray[np.int64]:
        """Rows of the people of one part."""
        return np.flatnonzero(self.people == name)


def split_genes(genes: pl.DataFrame, *, block: int, fractions: Sequence[float], margin: int, seed: int) -> GeneSplit:
    """Deal genes to training, validation and test by blocks of the chromosomes.

    A training gene whose window is less than `margin` bp from that of a validation or test gene is left out, and so is
    a validation gene near a test gene: no sequence is seen twice.

    Parameters
    ----------
    genes : polars.DataFrame
        Columns chrom, tss, start, end.
    block : int
        Width in bp; by the TSS.
    fractions : sequence of float
    margin : int
    seed : int

    Examples
    --------
    >>> place = {"chrom": ["1"] * 4, "tss": [100, 900, 1100, 9000], "start": [0, 800, 1000, 8900]}
    >>> genes = pl.DataFrame(place).with_columns(end=pl.col("start") + 200)
    >>> split_genes(genes, block=1000, fractions=(0.5, 0.0, 0.5), margin=100, seed=3).part.tolist()
    ['test', 'test', '', 'train']
    """
    keys = list(zip(genes["chrom"].to_list(), (genes["tss"].to_numpy() // block).tolist()))
    names = sorted(set(keys))
    of = np.array([names.index(key) for key in keys], dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(names))
    count = np.bincount(of, minlength=len(names))[order]
    # a block belongs where its middle gene falls
    middle = (np.cumsum(count) - count / 2) / max(1, count.sum())
    ends = np.cumsum(fractions)[:-1]
    of_block = np.empty(len(names), dtype=np.int64)
    of_block[order] = np.searchsorted(ends, middle, side="right")
    part = np.array(SPLITS, dtype="U10")[of_block[of]]
    why = np.full(len(part), "", dtype="U60")
    chrom = np.array(genes["chrom"].to_list())
    start, end = genes["start"].to_numpy(), genes["end"].to_numpy()
    for name, others in (("train", ("validation", "test")), ("validation", ("test",))):
        for row in np.flatnonzero(part == name):
            near = (chrom == chrom[row]) & (start < end[row] + margin) & (end > start[row] - margin)
            hit = next((other for other in others if (part[near] == other).any()), None)
            if hit is not None:
                part[row], why[row] = "", f"within {margin:,} bp of a {hit} gene"
    return GeneSplit("block", part, of, why)


def split_people(
    n: int, *, test: NDArray[np.bool_] | None, fraction: float, validation: float, seed: int
) -> NDArray[np.str_]:
    """Which part each of n people is for.

    Parameters
    ----------
    n : int
    test : array of bool, shape (n,), optional
        Who is kept aside; a random `fraction` of them by default.
    fraction, validation : float
        Shares of all, and of those who are not kept aside.
    seed : int

    >>> np.unique(split_people(100, test=None, fraction=0.2, validation=0.25, seed=1), return_counts=True)[1].tolist()
    [20, 60, 20]
    """
    rng = np.random.default_rng(seed)
    out = np.full(n, "train", dtype="U10")
    aside = rng.permutation(n)[: round(n * fraction)] if test is None else np.flatnonzero(test)
    out[aside] = "test"
    rest = np.flatnonzero(out == "train")
    out[rng.permutation(rest)[: max(1, round(len(rest) * validation))]] = "validation"
    return out


def gene_table(genes: pl.DataFrame, starts: ArrayLike, ends: ArrayLike) -> pl.DataFrame:
    """Columns of `GENE_SCHEMA` of genes with their windows."""
    table = genes.with_columns(pl.Series("start", np.asarray(starts)), pl.Series("end", np.asarray(ends)))
    return table.select(pl.col(name).cast(kind) for name, kind in GENE_SCHEMA.items())


def within(values: Any, target: NDArray[np.float64]) -> float:
    """Pearson's correlation of two vectors; 0 where one does not vary."""
    return float(pearson(np.asarray(values, dtype=np.float64), target, constant=0.0, least=1e-12))
