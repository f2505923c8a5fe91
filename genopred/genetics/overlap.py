"""Do two rankings of SNPs pick the same SNPs, more than chance and linkage disequilibrium make them?

Neighbouring SNPs share LD, and often a regulatory element: they come in runs in both rankings. The hypergeometric
test and plain permutation take every SNP as drawn by itself, so they see surprises where there are none. The other
nulls here move one ranking against the other in whole stretches, so that each keeps its own runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from genopred.errors import GenopredError, examples
from genopred.genetics.loci import standardised

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


@dataclass(frozen=True)
class Rankings:
    """Two scores of the same M SNPs, in the order of group and position. Made by `rankings`.

    Attributes
    ----------
    a, b : array, shape (M,)
        Larger is better.
    rank_a, rank_b : array of int, shape (M,)
        From 0, best first, within each group; ties in random order.
    group : array of int, shape (M,)
        0, 1, ...: SNPs of one gene (or chromosome); nothing moves between groups.
    pos : array of int, shape (M,)
    block : array of int, shape (M,), or None
        LD blocks, numbered along the rows.
    row : array of int, shape (M,)
        Which row of the input each SNP was.
    tied_a, tied_b : int
        SNPs that share their score with another one of their group.
    dosage : array, shape (N, M), or None
        Standardised genotypes, for the null "phenotype".
    lead_z : array, shape (groups,), or None
        Largest |z| of ranking b in each group, for the same.
    """

    a: Floats
    b: Floats
    rank_a: Ints
    rank_b: Ints
    group: Ints
    pos: Ints
    block: Ints | None
    row: Ints
    tied_a: int
    tied_b: int
    dosage: NDArray[np.float32] | None = field(default=None, repr=False)
    lead_z: Floats | None = field(default=None, repr=False)

    @property
    def n(self) -> int:
        """M."""
        return len(self.a)

    @property
    def sizes(self) -> Ints:
        """SNPs of each group."""
        return np.bincount(self.group)

    def top(self, k: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which SNPs are among the first k of their group in each ranking."""
        return self.rank_a < k, self.rank_b < k


def rankings(
    a: ArrayLike,
    b: ArrayLike,
    *,
    pos: ArrayLike | None = None,
    group: ArrayLike | None = None,
    block: ArrayLike | None = None,
    dosage: ArrayLike | None = None,
    z_b: ArrayLike | None = None,
    seed: int = 1,
    names: tuple[str, str] = ("a", "b"),
) -> Rankings:
    """Rank the same SNPs by two scores.

    Parameters
    ----------
    a, b : array, shape (M,)
        Scores, larger is better: -log10 p, |effect|. No missing values.
    pos : array, shape (M,), optional
        Positions; by default the rows are taken as sorted along the chromosome.
    group : array, shape (M,), optional
        Gene or chromosome of each SNP; SNPs are ranked within it.
    block : array, shape (M,), optional
        LD block of each SNP, e.g. from `ld_blocks`.
    dosage : array, shape (N, M), optional
        Genotypes, for the null "phenotype"; NaN where missing.
    z_b : array, shape (M,), optional
        |z| of ranking b, which says how strong the made-up signal must be; noise without it.
    seed : int
        Of the order of ties.
    names : (str, str)
        What to call the scores in messages.

    Returns
    -------
    Rankings

    Raises
    ------
    GenopredError
        If shapes do not fit, a score is missing, there are fewer than two SNPs, or all scores are equal.

    Examples
    --------
    >>> r = rankings([0.1, 0.9, 0.5], [1.0, 3.0, 2.0])
    >>> r.rank_a.tolist(), shared_at(r, 2)
    ([2, 0, 1], 2)
    """
    scores = [np.asarray(x, dtype=np.float64) for x in (a, b)]
    m = len(scores[0])
    for x, name in zip(scores, names):
        if x.shape != (m,):
            raise GenopredError(f"rankings: {name} has shape {x.shape}; both scores need one entry a SNP ({m}).")
        if m < 2:
            raise GenopredError(f"rankings: {m} SNPs; at least 2 are needed to rank them.")
        gone = np.flatnonzero(~np.isfinite(x))
        if gone.size:
            raise GenopredError(
                f"rankings: {gone.size} of {m} SNPs have no finite {name} (rows {examples(gone.tolist())}); leave them "
                "out first."
            )
        if np.ptp(x) == 0:
            raise GenopredError(
                f"rankings: all {m} SNPs have the same {name} ({x[0]:g}), so it ranks nothing; check that the right "
                "column was named, and that the model saw both alleles."
            )
    where = np.arange(m) if pos is None else np.asarray(pos, dtype=np.int64)
    code = np.zeros(m, dtype=np.int64) if group is None else _codes(group)
    parts = None if block is None else np.asarray(block)
    shapes = {"pos": where.shape, "group": code.shape, "block": (m,) if parts is None else parts.shape}
    for name, shape in shapes.items():
        if shape != (m,):
            raise GenopredError(f"rankings: {name} has shape {shape}; one entry a SNP ({m}) is needed.")
    order = np.lexsort((where, code))
    rng = np.random.default_rng(seed)
    x, y, code, where = scores[0][order], scores[1][order], code[order], where[order]
    numbers = None
    if parts is not None:
        # A block ends where its label or the group changes; labels that come back start a new block.
        parts = parts[order]
        numbers = np.concatenate([[0], np.cumsum((parts[1:] != parts[:-1]) | (code[1:] != code[:-1]))])
    ranks = [_ranks(s, code, rng) for s in (x, y)]
    ties = [_tied(s, code) for s in (x, y)]
    out = Rankings(x, y, ranks[0], ranks[1], code, where, numbers, order.astype(np.int64), ties[0], ties[1])
    if dosage is not None:
        g = np.asarray(dosage)
        if g.ndim != 2 or g.shape[1] != m:
            raise GenopredError(f"rankings: dosage has shape {g.shape}; (N, {m}) is needed.")
        out = replace(out, dosage=standardised(g[:, order]).astype(np.float32))
    if z_b is not None:
        z = np.abs(np.asarray(z_b, dtype=np.float64))
        lead = np.zeros(int(code.max()) + 1)
        np.maximum.at(lead, code, z[order])
        out = replace(out, lead_z=lead)
    return out


def _codes(labels: ArrayLike) -> Ints:
    """0, 1, ... for each distinct label."""
    return np.asarray(np.unique(np.asarray(labels), return_inverse=True)[1], dtype=np.int64).ravel()


def _ranks(score: Floats, group: Ints, rng: np.random.Generator) -> Ints:
    out = np.empty(len(score), dtype=np.int64)
    if group[-1] == 0:  # one group: several times faster, and the nulls rank thousands of times
        mixed = rng.permutation(len(score))
        out[mixed[np.argsort(-score[mixed], kind="stable")]] = np.arange(len(score))
        return out
    order = np.lexsort((rng.random(len(score)), -score, group))
    first = np.concatenate([[0], np.cumsum(np.bincount(group))])[:-1]
    out[order] = np.arange(len(score)) - first[group[order]]
    return out


def _tied(score: Floats, group: Ints) -> int:
    order = np.lexsort((score, group))
    same = (np.diff(score[order]) == 0) & (np.diff(group[order]) == 0)
    return int(np.sum(np.concatenate([same, [False]]) | np.concatenate([[False], same])))


def shared_at(r: Rankings, k: int) -> int:
    """SNPs among the first k of their group in both rankings, summed over groups."""
    _check_k(r, [k])
    return int(np.sum(np.maximum(r.rank_a, r.rank_b) < k))


def overlap_curve(r: Rankings) -> Ints:
    """Shared SNPs at every k from 1 to the size of the largest group.

    Examples
    --------
    >>> overlap_curve(rankings([3.0, 2.0, 1.0], [3.0, 1.0, 2.0])).tolist()
    [1, 1, 3]
    """
    return _curve(r.rank_a, r.rank_b, int(r.sizes.max()))


def _curve(rank_a: Ints, rank_b: Ints, length: int) -> Ints:
    return np.cumsum(np.bincount(np.maximum(rank_a, rank_b), minlength=length))


def expected_curve(r: Rankings) -> Floats:
    """Overlap that chance expects at every k, if SNPs were drawn singly: the sum over groups of k² / M."""
    k = np.arange(1, int(r.sizes.max()) + 1)
    sizes = r.sizes[:, None]
    return np.asarray((np.minimum(k, sizes) ** 2 / sizes).sum(axis=0))


def hypergeometric(r: Rankings, k: int, *, level: float = 0.95) -> tuple[float, tuple[int, int]]:
    """P-value of at least the observed overlap at k, and the central interval, if SNPs were drawn singly.

    With several groups their hypergeometric distributions are convolved.

    Returns
    -------
    p : float
    interval : (int, int)

    Examples
    --------
    >>> r = rankings(np.arange(20.0), np.arange(20.0))
    >>> p, bounds = hypergeometric(r, 5)
    >>> round(p, 8), bounds
    (6.45e-05, (0, 3))
    """
    _check_k(r, [k])
    total = np.ones(1)
    for size, count in zip(*np.unique(r.sizes, return_counts=True)):
        depth = min(k, int(size))
        part = stats.hypergeom.pmf(np.arange(depth + 1), size, depth, depth)
        for _ in range(int(count)):
            total = np.convolve(total, part)
    shared = shared_at(r, k)
    below = np.cumsum(total)
    tail = (1 - level) / 2
    low, high = (int(x) for x in np.searchsorted(below, [tail, 1 - tail]))
    return float(min(1.0, total[shared:].sum())), (low, min(high, len(total) - 1))


def _check_k(r: Rankings, ks: list[int]) -> None:
    largest = int(r.sizes.max())
    wrong = [k for k in ks if not 1 <= k <= largest]
    if wrong:
        raise GenopredError(f"overlap: k = {examples(wrong)}; it must lie between 1 and the {largest} SNPs ranked.")


# --- nulls -----------------------------------------------------------------------------------------------------


def null_draws(r: Rankings, null: str, n: int, seed: int = 1) -> Iterator[Rankings]:
    """The rankings as they might be if they had nothing to do with each other.

    Parameters
    ----------
    r : Rankings
    null : {"permutation", "shift", "blocks", "phenotype"}
        See `NULLS`.
    n : int
        Draws. With one group there are only M - 1 shifts; if `n` allows, each is made once.
    seed : int

    Yields
    ------
    Rankings
        Nothing moves between groups.

    Raises
    ------
    GenopredError
        If the null is unknown, or needs LD blocks or genotypes that `r` does not have.

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
            yield replace(r, b=b, rank_b=_ranks(b, r.group, rng))
        return
    for order in _orders(r, null, n, rng):
        if null == "blocks":  # stretched blocks repeat some SNPs and leave out others: rank anew
            yield replace(r, a=r.a[order], rank_a=_ranks(-r.rank_a[order].astype(float), r.group, rng))
        else:
            yield replace(r, a=r.a[order], rank_a=r.rank_a[order])


def _orders(r: Rankings, null: str, n: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Which row's score of a each row gets."""
    if null == "blocks":
        yield from _block_orders(r, n, rng)
        return
    sizes = r.sizes
    first = np.concatenate([[0], np.cumsum(sizes)])[:-1]
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
    """Overlap curves under one null.

    Attributes
    ----------
    null : str
    n : int
        Draws made.
    k : array of int, shape (P,)
        Where the curves were kept.
    observed : array of int, shape (P,)
    mean, low, high : array, shape (P,)
        Of the null: mean and the interval that holds 95 % of the draws.
    p : array, shape (P,)
        Share of draws with at least the observed overlap, the observed one counted in.
    p_any : float
        The same for the largest standardised excess over all k: what remains significant although k was free.
    draws : array of int, shape (n, P)
    """

    null: str
    n: int
    k: Ints
    observed: Ints
    mean: Floats
    low: Floats
    high: Floats
    p: Floats
    p_any: float
    draws: NDArray[np.int64] = field(repr=False)

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
    r : Rankings
    null : {"permutation", "shift", "blocks", "phenotype"}
        See `NULLS`.
    n : int
        Draws.
    ks : tuple of int
        Values of k to keep besides evenly spread ones.
    seed : int
    level : float
        Of the null interval.

    Returns
    -------
    NullOverlap

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> r = rankings(rng.random(200), rng.random(200))
    >>> found = null_overlap(r, "shift", 500, ks=(20,))
    >>> found.n, bool(found.at(20)["p"] > 0.01)
    (199, True)
    """
    _check_k(r, list(ks))
    length = int(r.sizes.max())
    spread = np.unique(np.round(np.geomspace(1, length, _POINTS // 2)).astype(np.int64))
    even = np.linspace(1, length, _POINTS // 2).astype(np.int64)
    k = np.unique(np.concatenate([spread, even, np.array(ks, dtype=np.int64)]))
    draws = np.array([_curve(draw.rank_a, draw.rank_b, length)[k - 1] for draw in null_draws(r, null, n, seed)])
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
    """A statistic under a null: its observed value, the null's mean and 95 % interval, and p.

    `p` is one-sided (at least the observed value) or two-sided (at least as far from the null's mean), the observed
    draw counted in.
    """

    observed: float
    mean: float
    low: float
    high: float
    p: float
    n: int


def null_test(
    r: Rankings,
    statistic: Callable[[Rankings], float],
    null: str,
    n: int = 10_000,
    *,
    seed: int = 1,
    two_sided: bool = False,
) -> NullTest:
    """Any statistic of two rankings under a null.

    Parameters
    ----------
    r : Rankings
    statistic : function of Rankings
    null, n, seed
        As in `null_overlap`.
    two_sided : bool

    Returns
    -------
    NullTest

    Examples
    --------
    >>> r = rankings(np.arange(50.0), np.arange(50.0))
    >>> null_test(r, rank_correlation, "permutation", 99).p
    0.01
    """
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
    M ** (1/2) SNPs: what is drawn must be about independent of the rest, which single SNPs are not.

    Parameters
    ----------
    r : Rankings
    statistic : function of Rankings
        A group drawn twice is two groups; its `row` says which SNPs of `r` were drawn.

    Returns
    -------
    (float, float)
        NaN where the statistic could not be computed.

    References
    ----------
    Künsch (1989), doi:10.1214/aos/1176347265.
    """
    unit = _units(r)
    length = np.bincount(unit)
    start = np.cumsum(length) - length
    whole_groups = len(length) == len(r.sizes)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        drawn = np.sort(rng.integers(0, len(length), len(length)))
        lengths = length[drawn]
        within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rows = np.repeat(start[drawn], lengths) + within
        if whole_groups:
            group = np.repeat(np.arange(len(drawn)), lengths)
        else:
            group = _codes(r.group[rows])
        ranks = [_ranks(-x[rows].astype(float), group, rng) for x in (r.rank_a, r.rank_b)]
        draw = replace(r, a=r.a[rows], b=r.b[rows], rank_a=ranks[0], rank_b=ranks[1], group=group, row=rows)
        found.append(statistic(replace(draw, pos=r.pos[rows], block=None, dosage=None)))
    values = np.array(found)
    values = values[np.isfinite(values)]
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _units(r: Rankings) -> Ints:
    if len(r.sizes) >= 10:
        return r.group
    if r.block is not None and r.block[-1] >= 9:
        return r.block
    size = max(1, round(r.n**0.5))
    first = np.concatenate([[0], np.cumsum(r.sizes)])[:-1]
    local = (np.arange(r.n) - first[r.group]) // size
    change = (np.diff(local) != 0) | (np.diff(r.group) != 0)
    return np.concatenate([[0], np.cumsum(change)]).astype(np.int64)


def overlap_interval(r: Rankings, k: int, n: int = 1000, *, seed: int = 1) -> tuple[float, float]:
    """Interval of the overlap at k by `bootstrap_interval`: how far it would move with another draw of loci.

    Each draw is ranked anew and cut at the same share of each group.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> x = rng.random(300)
    >>> low, high = overlap_interval(rankings(x, x + rng.normal(0, 0.05, 300)), 30, 200)
    >>> bool(10 < low < high <= 40)
    True
    """
    _check_k(r, [k])
    share = np.minimum(k, r.sizes) / r.sizes

    def statistic(draw: Rankings) -> float:
        depth = np.rint(share[r.group[draw.row]] * draw.sizes[draw.group])
        return float(np.sum((draw.rank_a < depth) & (draw.rank_b < depth)) * r.n / draw.n)

    return bootstrap_interval(r, statistic, n, seed=seed)


# --- loci ------------------------------------------------------------------------------------------------------


def shared_loci(r: Rankings, locus: ArrayLike, k: int) -> tuple[int, int, int]:
    """Loci that hold a SNP of the first k in each ranking, and in both.

    Parameters
    ----------
    r : Rankings
    locus : array of int, shape (M,)
        Locus of each SNP, in the order of `r`; the same locus in two groups is two loci.
    k : int

    Returns
    -------
    (int, int, int)
        Loci of a, of b, of both.
    """
    place = np.asarray(locus, dtype=np.int64)
    names = r.group * (int(place.max()) + 1) + place
    of_a, of_b = (np.unique(names[rank < k]) for rank in (r.rank_a, r.rank_b))
    return len(of_a), len(of_b), len(np.intersect1d(of_a, of_b, assume_unique=True))


# --- rank correlation, sets, signs -----------------------------------------------------------------------------


def rank_correlation(r: Rankings) -> float:
    """Spearman's rho within groups: mean over groups, weighted by their SNPs. Ties get mean ranks.

    >>> round(rank_correlation(rankings([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0])), 6)
    0.8
    """
    size = r.sizes
    half = (size[r.group] - 1) / 2
    # Without ties the ranks are there already.
    x = half - r.rank_a if r.tied_a == 0 else _centred_ranks(r.a, r.group)
    y = half - r.rank_b if r.tied_b == 0 else _centred_ranks(r.b, r.group)
    top = np.bincount(r.group, x * y)
    scale = np.sqrt(np.bincount(r.group, x * x) * np.bincount(r.group, y * y))
    good = scale > 0
    if not good.any():
        return float("nan")
    return float(np.average(top[good] / scale[good], weights=size[good]))


def _centred_ranks(x: Floats, group: Ints) -> Floats:
    """Mean ranks within groups, minus the group's mean."""
    order = np.lexsort((x, group))
    s, g = x[order], group[order]
    new = np.concatenate([[True], (s[1:] != s[:-1]) | (g[1:] != g[:-1])])
    at = np.flatnonzero(new)
    run = np.cumsum(new) - 1
    end = np.concatenate([at[1:], [len(x)]])
    rank = np.empty(len(x))
    rank[order] = ((at + end - 1) / 2)[run]
    size = np.bincount(group)
    mean = np.bincount(group, rank) / np.maximum(size, 1)
    return np.asarray(rank - mean[group])


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
    s, hit, code = s[order], hit[order], code[order]
    last = np.append((s[1:] != s[:-1]) | (code[1:] != code[:-1]), True)
    end = np.flatnonzero(last)[np.concatenate([[0], np.cumsum(last)[:-1]])] + 1
    new = np.concatenate([[True], code[1:] != code[:-1]])
    start = np.flatnonzero(new)[np.cumsum(new) - 1]
    found = np.concatenate([[0], np.cumsum(hit)])
    precision = ((found[end] - found[start]) / (end - start))[hit]
    which = (np.cumsum(new) - 1)[hit]
    members = np.bincount(which)
    return float(np.mean(np.bincount(which, precision)[members > 0] / members[members > 0]))


def precision_recall(score: ArrayLike, member: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Precision and recall at every distinct threshold, highest first, and the thresholds.

    Parameters
    ----------
    score : array, shape (M,)
    member : array of bool, shape (M,)
        E.g. in a credible set.

    Returns
    -------
    precision, recall, threshold : arrays
    """
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
    """How the scores of a set compare with those of SNPs matched to it. Made by `matched_enrichment`.

    Attributes
    ----------
    n : int
        Members with at least one control.
    unmatched : int
        Members without.
    mean, control : float
        Mean percentile (0 to 1) of the members' scores, and of matched draws.
    low, high : float
        95 % of the matched draws.
    ratio : float
        Mean score of the members over that of their controls.
    p : float
        One-sided: share of draws with at least the members' mean percentile.
    """

    n: int
    unmatched: int
    mean: float
    control: float
    low: float
    high: float
    ratio: float
    p: float


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

    Each property is cut into `n_bins` bins of equal counts; a member's controls are the non-members in the same bins
    of all. Every draw takes one control a member. Scores are compared as percentiles within their group, so that a
    few giants do not decide.

    Parameters
    ----------
    score : array, shape (M,)
        E.g. |effect|.
    member : array of bool, shape (M,)
    match : array, shape (M, C)
        Properties to match: MAF, |distance to TSS|, LD score.
    group : array, shape (M,), optional
        Genes.
    n_bins, n, seed : int

    Returns
    -------
    Enrichment

    Raises
    ------
    GenopredError
        If there is no member, or none has a control.
    """
    s, hit = np.asarray(score, dtype=np.float64), np.asarray(member, dtype=bool)
    x = np.asarray(match, dtype=np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.shape[:1] != s.shape or hit.shape != s.shape or not np.isfinite(x).all():
        raise GenopredError("matched_enrichment: score, member and match need one finite row a SNP.")
    if not hit.any():
        raise GenopredError("matched_enrichment: no SNP is a member of the set.")
    code = np.zeros(len(s), dtype=np.int64) if group is None else _codes(group)
    size = np.bincount(code)[code]
    percentile = (_centred_ranks(s, code) + size / 2) / size
    stratum = np.zeros(len(s), dtype=np.int64)
    for column in x.T:
        cut = np.unique(np.quantile(column, np.linspace(0, 1, n_bins + 1)[1:-1]))
        stratum = stratum * (n_bins + 1) + np.searchsorted(cut, column, side="right")
    stratum = _codes(stratum)
    order = np.argsort(stratum[~hit], kind="stable")
    controls = np.flatnonzero(~hit)[order]
    count = np.bincount(stratum[~hit], minlength=stratum.max() + 1)
    start = np.cumsum(count) - count
    cases = np.flatnonzero(hit)
    matched = cases[count[stratum[cases]] > 0]
    if not matched.size:
        raise GenopredError(
            "matched_enrichment: no member has a control in its bins; take fewer properties or bins, or more SNPs."
        )
    rng = np.random.default_rng(seed)
    where = stratum[matched]
    observed = float(percentile[matched].mean())
    draws = np.array([percentile[controls[start[where] + rng.integers(0, count[where])]].mean() for _ in range(n)])
    total = np.bincount(stratum[~hit], s[~hit], minlength=len(count))[where] / count[where]
    below = float(total.mean())
    low, high = np.quantile(draws, [0.025, 0.975])
    return Enrichment(
        len(matched),
        len(cases) - len(matched),
        observed,
        float(draws.mean()),
        float(low),
        float(high),
        float(s[matched].mean() / below) if below else float("nan"),
        float((1 + np.sum(draws >= observed - 1e-12)) / (n + 1)),
    )


def sign_agreement(a: ArrayLike, b: ArrayLike) -> tuple[int, int, tuple[float, float], float]:
    """How often two effects of the same allele have the same sign; zeros are left out.

    The test takes SNPs as independent: give one SNP a locus.

    Returns
    -------
    same, n : int
    interval : (float, float)
        Of the share, exact (Clopper and Pearson).
    p : float
        Two-sided binomial against one half.

    Examples
    --------
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


# --- the founding study's recipe -------------------------------------------------------------------------------


def min_max(values: ArrayLike) -> Floats:
    """Values scaled to 0 to 1.

    >>> min_max([2.0, 4.0, 3.0]).tolist()
    [0.0, 1.0, 0.5]
    """
    x = np.asarray(values, dtype=np.float64)
    if np.ptp(x) == 0:
        raise GenopredError(f"min_max: all {len(x)} values are {x.flat[0]:g}; they cannot be scaled to 0 to 1.")
    return np.asarray((x - x.min()) / np.ptp(x))


def founding_score(effect: ArrayLike, pval: ArrayLike) -> Floats:
    """Min-max normalised |effect| plus min-max normalised -log10 p: CIRCULAR when held against that p.

    The score holds half of what it is then compared with, so a large overlap with the ranking by p says nothing
    about the effects. Here to reproduce the founding study, and for `shuffled_founding`, which shows it.

    >>> founding_score([1.0, -3.0, 0.0], [0.1, 1.0, 0.01]).round(3).tolist()
    [0.833, 1.0, 1.0]
    """
    return min_max(np.abs(np.asarray(effect, dtype=np.float64))) + min_max(-np.log10(np.asarray(pval)))


def shuffled_founding(effect: ArrayLike, pval: ArrayLike, k: int, n: int = 1000, *, seed: int = 1) -> Ints:
    """Overlaps at k that `founding_score` gives with the ranking by p when the effects are shuffled over SNPs.

    Returns
    -------
    array of int, shape (n,)
    """
    strength = min_max(np.abs(np.asarray(effect, dtype=np.float64)))
    against = min_max(-np.log10(np.asarray(pval, dtype=np.float64)))
    rng = np.random.default_rng(seed)
    top = np.zeros(len(against), dtype=bool)
    top[np.argsort(-against, kind="stable")[:k]] = True
    return np.array(
        [top[np.argsort(-(rng.permutation(strength) + against), kind="stable")[:k]].sum() for _ in range(n)]
    )
