"""Is an overlap of two rankings more than chance and linkage disequilibrium make it?

Plain permutation takes every SNP as drawn by itself. The other nulls here move one ranking against the other in
whole stretches, so that each keeps its own runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from genopred.errors import GenopredError
from genopred.genetics.overlap.rankings import (
    Rankings,
    check_k,
    codes,
    overlap_curve,
    ranks_within,
    runs,
    shared_counts,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


#: What each null keeps and what it breaks.
NULLS = {
    "permutation": "every SNP's score moves by itself; keeps no LD",
    "shift": "all scores of one ranking move along the chromosome, the end going to the beginning; keeps the order of "
    "neighbours, and with it LD, everywhere but at one seam",
    "blocks": "each LD block takes the scores of another block, stretched to its length; keeps LD blocks whole and in "
    "their places",
    "phenotype": "in place of ranking b, a made-up phenotype with as strong a signal at a random SNP is tested on the "
    "same genotypes; keeps LD exactly",
}

#: Null draws of overlap curves kept at so many values of k.
_POINTS = 160


def null_draws(r: Rankings, null: str, n: int, seed: int = 1) -> Iterator[Rankings]:
    """The rankings as they might be if they had nothing to do with each other: `n` draws of one of the `NULLS`.

    With one group there are only M - 1 shifts; if `n` allows, each is made once.

    References
    ----------
    Circular shifts: Cabrera et al. (2012), doi:10.1534/g3.112.002618. Blocks: Bickel et al. (2010),
    doi:10.1214/10-AOAS363.
    """
    if null not in NULLS:
        raise GenopredError(f"overlap: the null {null!r} is unknown; choose among {', '.join(NULLS)}.")
    if n < 1:
        raise GenopredError(f"overlap: {n} draws of a null; at least 1 is needed, and 1000 is usual.")
    rng = np.random.default_rng(seed)
    if null == "phenotype":
        for b in _phenotype_scores(r, n, rng):
            yield replace(r, b=b, rank_b=ranks_within(b, r.group, rng))
        return
    for order in _orders(r, null, n, rng):
        if null == "blocks":  # stretched blocks repeat some SNPs and leave out others: rank anew
            yield replace(r, a=r.a[order], rank_a=ranks_within(-r.rank_a[order].astype(float), r.group, rng))
        else:
            yield replace(r, a=r.a[order], rank_a=r.rank_a[order])


def _orders(r: Rankings, null: str, n: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Which row's score of a each row gets."""
    if null == "blocks":
        yield from _block_orders(r, n, rng)
        return
    sizes = r.sizes
    first = np.cumsum(sizes) - sizes
    local = np.arange(r.n) - first[r.group]
    if null == "permutation":
        for _ in range(n):
            yield np.lexsort((rng.random(r.n), r.group)) if len(sizes) > 1 else rng.permutation(r.n)
    elif len(sizes) == 1 and r.n - 1 <= n:
        for offset in range(1, r.n):
            yield (local + offset) % r.n
    else:
        for _ in range(n):
            # By 0 in the only group nothing would move; in one group among many 0 is a shift as any other.
            offsets = rng.integers(0 if len(sizes) > 1 else 1, sizes)
            yield (local + offsets[r.group]) % sizes[r.group] + first[r.group]


def _block_orders(r: Rankings, n: int, rng: np.random.Generator) -> Iterator[Ints]:
    if r.block is None:
        raise GenopredError("overlap: the null 'blocks' needs LD blocks; give genotypes, or leave it out.")
    length = np.bincount(r.block)
    start = np.cumsum(length) - length
    group = r.group[start]
    if np.bincount(group).max() < 2:
        raise GenopredError(
            "overlap: one LD block in each group, so none can be moved; take the null 'shift', or a wider window."
        )
    share = (np.arange(r.n) - np.repeat(start, length) + 0.5) / np.repeat(length, length)
    for _ in range(n):
        source = np.lexsort((rng.random(len(length)), group))
        turned = np.repeat(rng.random(len(length)) < 0.5, length)
        at = np.where(turned, 1 - share, share) * np.repeat(length[source], length)
        yield np.repeat(start[source], length) + at.astype(np.int64)


def _phenotype_scores(r: Rankings, n: int, rng: np.random.Generator) -> Iterator[Floats]:
    """|z| of all SNPs for phenotypes with one random causal SNP in each group, about as strong as the one found."""
    if r.dosage is None:
        raise GenopredError("overlap: the null 'phenotype' tests made-up phenotypes; give genotypes, or leave it out.")
    people = len(r.dosage)
    edges = np.concatenate([[0], np.cumsum(r.sizes)])
    lead = np.zeros(len(r.sizes)) if r.lead_z is None else r.lead_z
    noise_lead = np.zeros(len(r.sizes))
    for g, (a, b) in enumerate(zip(edges[:-1], edges[1:])):
        z = r.dosage[:, a:b].T @ rng.standard_normal((people, 100)).astype(np.float32)
        noise_lead[g] = np.median(np.abs(z).max(axis=0))
    # The largest of many z is large without any signal: only what is beyond that is one.
    signal = np.sqrt(np.maximum(0.0, lead**2 - noise_lead**2))
    step = 64
    for done in range(0, n, step):
        count = min(step, n - done)
        found = np.empty((count, r.n))
        for g, (a, b) in enumerate(zip(edges[:-1], edges[1:])):
            x = r.dosage[:, a:b]
            y = rng.standard_normal((people, count)) + signal[g] * x[:, rng.integers(0, b - a, count)]
            found[:, a:b] = np.abs(y.astype(np.float32).T @ x)
        yield from found


@dataclass(frozen=True)
class NullOverlap:
    """Overlap curves under one null, at P values of k; arrays are (P,)."""

    null: str
    n: int  # draws made
    k: Ints  # where the curves were kept
    observed: Ints
    mean: Floats  # of the null, with the interval that holds 95 % of the draws (or `level` of them)
    low: Floats
    high: Floats
    p: Floats  # share of draws with at least the observed overlap, the observed one counted in
    p_any: float  # the same for the largest standardised excess over all k: what stays significant although k was free
    draws: NDArray[np.int64] = field(repr=False)  # (n, P)

    def at(self, k: int) -> dict[str, float]:
        """Mean, interval and p at one of the values of k."""
        found = np.flatnonzero(self.k == k)
        if not found.size:
            raise GenopredError(f"overlap: the null curves were not kept at k = {k}; name it in `ks`.")
        i = int(found[0])
        return {"mean": self.mean[i], "low": self.low[i], "high": self.high[i], "p": self.p[i]}


def null_overlap(
    r: Rankings, null: str, n: int = 10_000, *, ks: tuple[int, ...] = (), seed: int = 1, level: float = 0.95
) -> NullOverlap:
    """Overlap curve of two rankings against one of the nulls.

    Parameters
    ----------
    null : {"permutation", "shift", "blocks", "phenotype"}
        See `NULLS`.
    n : int
        Draws.
    ks : tuple of int
        Values of k to keep besides evenly spread ones.
    level : float
        Of the null interval.

    Raises
    ------
    GenopredError
        If the null is unknown, or needs LD blocks or genotypes that `r` does not have.

    Examples
    --------
    >>> from genopred.genetics.overlap.rankings import rankings
    >>> rng = np.random.default_rng(1)
    >>> r = rankings(rng.random(200), rng.random(200))
    >>> found = null_overlap(r, "shift", 500, ks=(20,))
    >>> found.n, bool(found.at(20)["p"] > 0.01)
    (199, True)
    """
    check_k(r, list(ks))
    length = int(r.sizes.max())
    spread = np.unique(np.round(np.geomspace(1, length, _POINTS // 2)).astype(np.int64))
    even = np.linspace(1, length, _POINTS // 2).astype(np.int64)
    k = np.unique(np.concatenate([spread, even, np.array(ks, dtype=np.int64)]))
    draws = np.array([shared_counts(draw.rank_a, draw.rank_b, length)[k - 1] for draw in null_draws(r, null, n, seed)])
    observed = overlap_curve(r)[k - 1]
    p = (1 + np.sum(draws >= observed, axis=0)) / (len(draws) + 1)
    mean, spread_of = draws.mean(axis=0), draws.std(axis=0)
    free = (spread_of > 0) & (k >= min(10, length))
    worst = np.max((draws[:, free] - mean[free]) / spread_of[free], axis=1, initial=-np.inf)
    best = np.max((observed[free] - mean[free]) / spread_of[free], initial=-np.inf)
    tail = (1 - level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0, method="inverted_cdf")
    p_any = float((1 + np.sum(worst >= best)) / (len(draws) + 1))
    return NullOverlap(null, len(draws), k, observed, mean, low.astype(float), high.astype(float), p, p_any, draws)


@dataclass(frozen=True)
class NullTest:
    """A statistic under a null: its observed value, the null's mean and 95 % interval, and p."""

    observed: float
    mean: float
    low: float
    high: float
    p: float  # one-sided: at least the observed value; two-sided: at least as far from the mean; itself counted in
    n: int  # draws made


def null_test(
    r: Rankings,
    statistic: Callable[[Rankings], float],
    null: str,
    n: int = 10_000,
    *,
    seed: int = 1,
    two_sided: bool = False,
) -> NullTest:
    """Any statistic of two rankings under a null."""
    observed = statistic(r)
    draws = np.array([statistic(draw) for draw in null_draws(r, null, n, seed)])
    mean = float(draws.mean())
    # Sums in another order differ by rounding; that must not tell a draw from the observed value.
    slack = 1e-12 * max(1.0, float(np.abs(draws).max()))
    more = np.abs(draws - mean) >= abs(observed - mean) - slack if two_sided else draws >= observed - slack
    low, high = np.quantile(draws, [0.025, 0.975])
    p = float((1 + more.sum()) / (len(draws) + 1))
    return NullTest(float(observed), mean, float(low), float(high), p, len(draws))


def bootstrap_interval(
    r: Rankings, statistic: Callable[[Rankings], float], n: int = 1000, *, seed: int = 1, level: float = 0.95
) -> tuple[float, float]:
    """Interval of a statistic by drawing stretches of SNPs (or whole groups) with replacement.

    Drawn are groups where there are at least ten, else LD blocks where there are at least ten, else stretches of
    M ** (1/2) SNPs: what is drawn must be about independent of the rest, which single SNPs are not. In what the
    statistic gets a group drawn twice is two groups, and `row` says which SNPs of `r` were drawn. NaN where it could
    never be computed.

    References
    ----------
    Künsch (1989), doi:10.1214/aos/1176347265.
    """
    length = np.bincount(_units(r))
    start = np.cumsum(length) - length
    whole_groups = len(length) == len(r.sizes)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        drawn = np.sort(rng.integers(0, len(length), len(length)))
        lengths = length[drawn]
        within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rows = np.repeat(start[drawn], lengths) + within
        group = np.repeat(np.arange(len(drawn)), lengths) if whole_groups else codes(r.group[rows])
        ranks = [ranks_within(-x[rows].astype(float), group, rng) for x in (r.rank_a, r.rank_b)]
        draw = replace(r, a=r.a[rows], b=r.b[rows], rank_a=ranks[0], rank_b=ranks[1], group=group, row=rows)
        found.append(statistic(replace(draw, pos=r.pos[rows], block=None, dosage=None)))
    values = np.array(found)[np.isfinite(found)]
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _units(r: Rankings) -> Ints:
    """Of each SNP the number of what it is drawn with."""
    if len(r.sizes) >= 10:
        return r.group
    if r.block is not None and r.block[-1] >= 9:
        return r.block
    local = np.arange(r.n) - (np.cumsum(r.sizes) - r.sizes)[r.group]
    return runs(local // max(1, round(r.n**0.5)), r.group)


def overlap_interval(r: Rankings, k: int, n: int = 1000, *, seed: int = 1) -> tuple[float, float]:
    """Interval of the overlap at k by `bootstrap_interval`: how far it would move with another draw of loci.

    Each draw is ranked anew and cut at the same share of each group.

    Examples
    --------
    >>> from genopred.genetics.overlap.rankings import rankings
    >>> rng = np.random.default_rng(1)
    >>> x = rng.random(300)
    >>> low, high = overlap_interval(rankings(x, x + rng.normal(0, 0.05, 300)), 30, 200)
    >>> bool(10 < low < high <= 40)
    True
    """
    check_k(r, [k])
    share = np.minimum(k, r.sizes) / r.sizes

    def statistic(draw: Rankings) -> float:
        depth = np.rint(share[r.group[draw.row]] * draw.sizes[draw.group])
        return float(np.sum((draw.rank_a < depth) & (draw.rank_b < depth)) * r.n / draw.n)

    return bootstrap_interval(r, statistic, n, seed=seed)
