"""Scores of a set of SNPs against all others and against SNPs like them; signs of effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from genopred.errors import GenopredError
from genopred.genetics.overlap.rankings import centred_ranks, codes, runs

Floats = NDArray[np.float64]


def average_precision(score: ArrayLike, member: ArrayLike, group: ArrayLike | None = None) -> float:
    """Mean over members of the share of members among all SNPs scored at least as high: area under precision-recall.

    With groups the mean over groups that have members. A score without information gets about the share of members.

    Examples
    --------
    >>> round(average_precision([0.9, 0.8, 0.7, 0.1], [True, False, True, False]), 4)
    0.8333
    """
    s, hit = np.asarray(score, dtype=np.float64), np.asarray(member, dtype=bool)
    code = np.zeros(len(s), dtype=np.int64) if group is None else np.asarray(group)
    if not hit.any():
        return float("nan")
    # Sorted by group, best first: both counts run from each group's start to the end of the SNP's run of ties.
    order = np.lexsort((-s, code))
    s, hit, code = s[order], hit[order], runs(code[order])
    tie, size = runs(s, code), np.bincount(code)
    start, end = (np.cumsum(size) - size)[code], np.cumsum(np.bincount(tie))[tie]
    found = np.concatenate([[0], np.cumsum(hit)])
    precision = (found[end] - found[start]) / (end - start)
    members = np.bincount(code[hit])
    return float(np.mean(np.bincount(code[hit], precision[hit])[members > 0] / members[members > 0]))


def precision_recall(score: ArrayLike, member: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Precision and recall at every distinct threshold, highest first, and the thresholds."""
    s, hit = np.asarray(score, dtype=np.float64), np.asarray(member, dtype=bool)
    if not hit.any():
        raise GenopredError("precision_recall: no SNP is a member of the set; nothing can be recalled.")
    order = np.argsort(-s, kind="stable")
    s, hit = s[order], hit[order]
    last = np.flatnonzero(np.append(s[1:] != s[:-1], True))
    found = np.cumsum(hit)[last]
    return found / (last + 1), found / hit.sum(), s[last]


@dataclass(frozen=True)
class Enrichment:
    """How the scores of a set compare with those of SNPs matched to it. Made by `matched_enrichment`."""

    n: int  # members with at least one control
    unmatched: int  # members without
    mean: float  # mean percentile (0 to 1) of the members' scores
    control: float  # the same of matched draws, and 95 % of them
    low: float
    high: float
    ratio: float  # mean score of the members over that of their controls
    p: float  # one-sided: share of draws with at least the members' mean percentile


def matched_enrichment(
    score: ArrayLike,
    member: ArrayLike,
    match: ArrayLike,
    *,
    group: ArrayLike | None = None,
    n_bins: int = 5,
    n: int = 10_000,
    seed: int = 1,
) -> Enrichment:
    """Are the scores of a set higher than those of SNPs of like frequency, distance to the TSS and LD?

    Each property, a column of `match` (M, C), is cut into `n_bins` bins of equal counts; a member's controls are the
    non-members in the same bins of all. Every draw takes one control a member. Scores are compared as percentiles
    within their group (gene), so that a few giants do not decide.
    """
    s, hit = np.asarray(score, dtype=np.float64), np.asarray(member, dtype=bool)
    x = np.asarray(match, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.shape[:1] != s.shape or hit.shape != s.shape or not np.isfinite(x).all():
        raise GenopredError("matched_enrichment: score, member and match need one finite row a SNP.")
    if not hit.any():
        raise GenopredError("matched_enrichment: no SNP is a member of the set.")
    code = np.zeros(len(s), dtype=np.int64) if group is None else codes(group)
    size = np.bincount(code)[code]
    percentile = (centred_ranks(s, code) + size / 2) / size
    stratum = np.zeros(len(s), dtype=np.int64)
    for column in x.T:
        cut = np.unique(np.quantile(column, np.linspace(0, 1, n_bins + 1)[1:-1]))
        stratum = stratum * (n_bins + 1) + np.searchsorted(cut, column, side="right")
    stratum = codes(stratum)
    order = np.argsort(stratum[~hit], kind="stable")
    controls = np.flatnonzero(~hit)[order]
    count = np.bincount(stratum[~hit], minlength=stratum.max() + 1)
    start = np.cumsum(count) - count
    matched = np.flatnonzero(hit & (count[stratum] > 0))
    if not matched.size:
        raise GenopredError(
            "matched_enrichment: no member has a control in its bins; take fewer properties or bins, or more SNPs."
        )
    rng = np.random.default_rng(seed)
    where = stratum[matched]
    observed = float(percentile[matched].mean())
    draws = np.array([percentile[controls[start[where] + rng.integers(0, count[where])]].mean() for _ in range(n)])
    below = float((np.bincount(stratum[~hit], s[~hit], minlength=len(count))[where] / count[where]).mean())
    ratio = float(s[matched].mean() / below) if below else float("nan")
    low, high = (float(x) for x in np.quantile(draws, [0.025, 0.975]))
    p = float((1 + np.sum(draws >= observed - 1e-12)) / (n + 1))
    unmatched = int(hit.sum()) - len(matched)
    return Enrichment(len(matched), unmatched, observed, float(draws.mean()), low, high, ratio, p)


def sign_agreement(a: ArrayLike, b: ArrayLike) -> tuple[int, int, tuple[float, float], float]:
    """How often two effects of the same allele have the same sign, of how many; zeros are left out.

    Then the exact interval of that share (Clopper and Pearson), and the two-sided p of a binomial test against one
    half. The test takes SNPs as independent: give one SNP a locus.

    >>> same, n, bounds, p = sign_agreement([1.0, -2.0, 0.5, 0.0], [0.3, -0.1, -4.0, 1.0])
    >>> same, n, round(p, 2)
    (2, 3, 1.0)
    """
    x, y = np.sign(np.asarray(a, dtype=np.float64)), np.sign(np.asarray(b, dtype=np.float64))
    used = (x != 0) & (y != 0)
    n, same = int(used.sum()), int(np.sum(x[used] == y[used]))
    if not n:
        return 0, 0, (float("nan"), float("nan")), float("nan")
    test = stats.binomtest(same, n)
    bounds = test.proportion_ci(method="exact")
    return same, n, (float(bounds.low), float(bounds.high)), float(test.pvalue)


def member_of(snps: pl.DataFrame, members: pl.DataFrame) -> NDArray[np.bool_]:
    """Which rows (gene, id) are among the members (gene and id, or id alone); ids of either table count."""
    of_a, of_b, wanted = _keys(snps, members)
    known = set(wanted)
    return np.array([x in known or y in known for x, y in zip(of_a, of_b)], dtype=bool)


def ranked_members(snps: pl.DataFrame, members: pl.DataFrame) -> NDArray[np.bool_]:
    """Which members are among the rows: `member_of` the other way round."""
    of_a, of_b, wanted = _keys(snps, members)
    known = {*of_a, *of_b}
    return np.array([row in known for row in wanted], dtype=bool)


def _keys(snps: pl.DataFrame, members: pl.DataFrame) -> tuple[list[Any], list[Any], list[Any]]:
    """What tells rows and members apart: of the rows by their id in a, by that in b; of the members."""
    rest = ["gene"] if "gene" in members.columns and snps["gene"].null_count() == 0 else []
    return snps.select(*rest, "id").rows(), snps.select(*rest, "id_b").rows(), members.select(*rest, "id").rows()
