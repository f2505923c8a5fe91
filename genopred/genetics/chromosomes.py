"""P+T and polygenic scores over whole files: clumps on every chromosome, sums over all of them, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import GenopredError
from genopred.genetics import ld
from genopred.genetics.scores import P_THRESHOLDS, R2_THRESHOLDS, polygenic_score
from genopred.genetics.transform import known_means
from genopred.types import Genotypes, plain_chrom

Ints = NDArray[np.int64]

#: Variants whose dosages are in memory at once where scores run over a whole file.
BLOCK = 2048


def blocks(columns: Ints) -> Iterator[Ints]:
    """Columns in stretches whose dosages fit in memory."""
    for start in range(0, len(columns), BLOCK):
        yield columns[start : start + BLOCK]


def clump_chromosomes(
    people: Genotypes,
    effects: pl.DataFrame,
    p1: Sequence[float] = P_THRESHOLDS,
    r2: Sequence[float] = R2_THRESHOLDS,
    *,
    p2: float = 0.01,
    kb: float = 250.0,
    method: str = "genotype",
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Clump all variants, chromosome by chromosome, as `plink --clump` does.

    `people` give LD (`method` is an r² of `genopred.genetics.ld`); `effects` have column (among their variants), beta
    and pval. Members of a clump are listed if their p is below `p2`.

    Returns
    -------
    weights : polars.DataFrame
        Index variants at each pair of thresholds, which is a score: score, variant_id, chrom, pos, ref, alt, beta,
        pval, weight, column.
    clumps : polars.DataFrame
        Each index variant at each r²: r2, variant_id, chrom, pos, ref, alt, pval, n_members, members.
    """
    # Those above the largest p1 lead no clump, and above p2 are in no list.
    effects = effects.filter(pl.col("pval") <= max(*p1, p2))
    columns, p = effects["column"].to_numpy(), effects["pval"].to_numpy()
    variants = people.variants[columns]
    chrom = np.array([plain_chrom(name) for name in variants["chrom"].to_list()], dtype=str)
    owner = np.full((len(r2), len(columns)), -1, dtype=np.int64)
    for name in dict.fromkeys(chrom.tolist()):
        here = np.flatnonzero(chrom == name)
        here = here[np.argsort(variants["pos"].to_numpy()[here], kind="stable")]
        source = _ld_source(people, columns[here], method)
        low, high = ld.windows(variants["pos"].to_numpy()[here], kb)
        order = np.argsort(p[here], kind="stable")
        n_index = int(np.sum(p[here] <= max(p1)))
        found = ld.greedy(source, order, n_index, low, high, np.asarray(r2, dtype=np.float64), method)
        owner[:, here] = np.where(found >= 0, here[np.maximum(found, 0)], -1)
    by_p = np.argsort(p, kind="stable")
    weights, clumps = [], []
    for row, limit in zip(owner, r2):
        leads = by_p[row[by_p] == by_p]
        clumps.append(_clump_rows(limit, leads, row, p, variants, p2))
        for bound in p1:
            index = leads[p[leads] <= bound]
            weights.append(_weight_rows(f"p{bound:g}_r{limit:g}", variants[index], effects[index]))
    return pl.concat(weights), pl.concat(clumps)


def _clump_rows(
    limit: float, leads: Ints, owner: Ints, p: NDArray[np.float64], variants: pl.DataFrame, p2: float
) -> pl.DataFrame:
    """plink's `.clumped`: each index variant, and the members with p < p2."""
    ids = variants["id"].to_numpy()
    members: dict[int, list[str]] = {i: [] for i in leads.tolist()}
    for j in np.flatnonzero((owner >= 0) & (owner != np.arange(len(owner))) & (p < p2)):
        members[int(owner[j])].append(str(ids[j]))
    return _named(variants[leads], r2=limit).with_columns(
        pl.Series("pval", p[leads], dtype=pl.Float64),
        pl.Series("n_members", [len(mine) for mine in members.values()], dtype=pl.Int64),
        pl.Series("members", [",".join(mine) for mine in members.values()], dtype=pl.String),
    )


def _weight_rows(score: str, variants: pl.DataFrame, effects: pl.DataFrame) -> pl.DataFrame:
    more = (effects["beta"], effects["pval"], effects["beta"].alias("weight"), effects["column"])
    return _named(variants, score=score).with_columns(*more)


def _named(variants: pl.DataFrame, **first: str | float) -> pl.DataFrame:
    """What tells variants apart, behind a column that is the same for all."""
    head = [pl.lit(value).alias(name) for name, value in first.items()]
    return variants.select(*head, pl.col("id").alias("variant_id"), "chrom", "pos", "ref", "alt")


def _ld_source(genotypes: Genotypes, columns: Ints, method: str) -> ld.HardCalls | NDArray[np.float32]:
    """Bit planes of a chromosome, packed block by block; dosages where calls are not hard."""
    packed: list[ld.HardCalls] = []
    for block in blocks(columns):
        calls = ld.pack(genotypes.dosage(block))
        if calls is None:
            if method == "em":
                raise GenopredError(f"{genotypes.source}: --ld em needs hard calls (0, 1, 2); use --ld genotype.")
            return np.ascontiguousarray(genotypes.dosage(columns).T)
        packed.append(calls)
    planes = (np.concatenate([getattr(calls, name) for calls in packed]) for name in ("het", "hom", "obs"))
    return ld.HardCalls(*planes, all(calls.complete for calls in packed))  # type: ignore[arg-type, call-arg]


@dataclass(frozen=True)
class Summing:
    """How `score_table` sums: see `genopred.genetics.scores.polygenic_score`."""

    average: bool = False
    skip_missing: bool = False
    center: bool = False


def score_table(
    genotypes: Genotypes,
    weights: pl.DataFrame,
    train: NDArray[np.bool_],
    summing: Summing = Summing(),
    *,
    flipped: NDArray[np.bool_] | None = None,
    progress: Callable[[int, int, str], None] = lambda done, total, label: None,
) -> pl.DataFrame:
    """Every score of every person, over all chromosomes: sample, then a column per score.

    `weights` have score, column (among the variants of `genotypes`) and weight, of ALT or, where `flipped`, of REF.
    Frequencies of the people in `train` (N,) stand for missing dosages. Variants come in order of the file, a block at
    a time, and serve all scores.
    """
    names = weights["score"].unique(maintain_order=True).to_list()
    number = {name: k for k, name in enumerate(names)}
    which = np.array([number[name] for name in weights["score"]], dtype=np.int64)
    column, weight = weights["column"].to_numpy(), weights["weight"].to_numpy()
    turned = np.zeros(len(column), dtype=bool) if flipped is None else flipped
    total = np.zeros((len(names), genotypes.n_samples))
    alleles = np.zeros_like(total)
    missing = "skip" if summing.skip_missing else "mean"
    distinct = np.unique(column)
    done = 0
    for block in blocks(distinct):
        dosage = genotypes.dosage(block).astype(np.float64)
        rows = np.flatnonzero((column >= block[0]) & (column <= block[-1]))
        for k in np.unique(which[rows]):
            mine = rows[which[rows] == k]
            x = dosage[:, np.searchsorted(block, column[mine])]
            x = np.where(turned[mine], 2 - x, x)
            # Means come from the training people alone where there are some, in plink from the founders.
            freq = known_means(x[train]) / 2
            total[k] += polygenic_score(x, weight[mine], missing=missing, freq=freq, center=summing.center)
            alleles[k] += 2 * ((~np.isnan(x)).sum(axis=1) if summing.skip_missing else len(mine))
        done += len(block)
        progress(done, len(distinct), "scores")
    values = total / np.maximum(alleles, 1) if summing.average else total
    return pl.DataFrame({"sample": genotypes.samples.tolist(), **{name: values[k] for k, name in enumerate(names)}})
