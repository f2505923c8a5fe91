"""Linkage disequilibrium (r² of genotypes, and of haplotypes by maximum likelihood) and clumping.

Clumping keeps the variant with the smallest p-value, drops its neighbours in LD, and goes on with what is left.
With ``r2="em"`` the index variants are those of plink 1.9's ``--clump``. Hard calls (0, 1, 2) are packed into bit
planes, so that one pair of variants costs a few dozen instructions; r² is worked out for index variants only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numba.extending import intrinsic
from numpy.typing import ArrayLike, NDArray

from genopred.errors import GenopredError, examples

METHODS = ("genotype", "em")

#: Covariances of haplotypes smaller than this count as zero, as in plink 1.9.
_TINY = 2.0**-44


@intrinsic  # type: ignore[untyped-decorator]
def _popcount(typingctx: Any, word: Any) -> Any:
    """Bits set in a uint64 (one instruction where the processor has one)."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return numba.uint64(numba.uint64), build


@dataclass(frozen=True)
class HardCalls:
    """Genotypes of M variants as bit planes of N samples, 64 to a word: shape (M, ceil(N / 64)) each.

    `het` has one copy, `hom` two, `obs` is not missing. `complete` says that nothing is missing.
    """

    het: NDArray[np.uint64]
    hom: NDArray[np.uint64]
    obs: NDArray[np.uint64]
    complete: bool

    def masked(self, rows: NDArray[np.bool_]) -> HardCalls:
        """Only the samples marked in `rows` (N,); the others count as absent."""
        mask = np.zeros(self.obs.shape[1] * 64, dtype=np.uint8)
        mask[: len(rows)] = rows
        words = np.packbits(mask, bitorder="little").view(np.uint64)
        return HardCalls(self.het & words, self.hom & words, self.obs & words, self.complete)


def pack(dosage: NDArray[np.float32]) -> HardCalls | None:
    """Bit planes of dosages (N, M), or None where a dosage is neither 0, 1, 2 nor NaN."""
    het, hom, obs, hard, complete = _pack(np.ascontiguousarray(dosage.T))
    return HardCalls(het, hom, obs, bool(complete)) if hard else None


def em_r2(a: ArrayLike, b: ArrayLike) -> float:
    """Squared correlation of two variants' alleles on haplotypes, from unphased genotypes.

    The frequency of the haplotype that only double heterozygotes leave open is its maximum-likelihood estimate (a
    root of a cubic; where the likelihood has two maxima the higher one), as in plink 1.9. Samples missing at either
    variant are left out.

    Parameters
    ----------
    a, b : array, shape (N,)
        Copies of the counted allele: 0, 1, 2 or NaN.

    Returns
    -------
    float
        NaN where a variant does not vary.

    References
    ----------
    Hill (1974), doi:10.1038/hdy.1974.89; Gaunt, Rodriguez and Day (2007), doi:10.1186/1471-2105-8-428.

    Examples
    --------
    >>> round(em_r2([0, 0, 1, 2, 2], [0, 0, 1, 2, 1]), 4)
    0.6667
    """
    return float(r2_matrix(np.column_stack([_column(a), _column(b)]), "em")[0, 1])


def r2_matrix(dosage: ArrayLike, r2: str = "genotype") -> NDArray[np.float64]:
    """Squared correlation between all pairs of variants.

    Parameters
    ----------
    dosage : array, shape (N, M)
        NaN where missing; each pair uses the samples that have both variants.
    r2 : {"genotype", "em"}
        "genotype" is the correlation of dosages; "em" that of alleles on haplotypes, see `em_r2` (hard calls only).

    Returns
    -------
    array, shape (M, M)
        NaN in rows and columns of variants that do not vary.

    Examples
    --------
    >>> r2_matrix([[0, 2], [1, 1], [2, 1]]).round(2).tolist()
    [[1.0, 0.75], [0.75, 1.0]]
    """
    x = _dosages(dosage, "r2_matrix")
    _method(r2, "r2_matrix")
    calls = pack(x)
    if calls is not None:
        out = np.empty((x.shape[1], x.shape[1]))
        _matrix_calls(calls.het, calls.hom, calls.obs, calls.complete, r2 == "em", out)
        return out
    if r2 == "em":
        raise _not_hard("r2_matrix", x)
    return _pairwise_matrix(x)


def clump(
    dosage: ArrayLike,
    pval: ArrayLike,
    pos: ArrayLike,
    *,
    p1: float = 1e-4,
    p2: float = 1e-2,
    r2_threshold: float = 0.5,
    kb: float = 250.0,
    r2: str = "genotype",
    chrom: ArrayLike | None = None,
) -> NDArray[np.int64]:
    """Index variants of greedy clumps, in order of p.

    A variant joins an index variant's clump if it is less than `kb` kilobases away and its r² is above
    `r2_threshold`; equal p-values go in column order. These are plink 1.9's rules, and with ``r2="em"`` its index
    variants.

    Parameters
    ----------
    dosage : array, shape (N, M)
        Founders' dosages; NaN where missing.
    pval : array, shape (M,)
        NaN variants neither lead nor join a clump. plink reads p-values from text with four digits: pass the same.
    pos : array, shape (M,)
        1-based positions, in any order.
    p1, p2 : float
        Index variants have p <= `p1`; members are listed by `clump_members` if p < `p2`. As in plink 1.9, `p2` has
        no influence on which variants lead, and must not be below `p1`.
    r2_threshold, kb : float
    r2 : {"genotype", "em"}
        How to measure LD, see `r2_matrix`.
    chrom : array, shape (M,), optional
        Chromosomes; by default all variants are on one.

    Returns
    -------
    array of int
        Columns of the index variants.

    Raises
    ------
    GenopredError
        If shapes do not fit, a threshold is out of range, or ``r2="em"`` meets dosages that are not hard calls.

    References
    ----------
    Purcell et al. (2007), doi:10.1086/519795; Chang et al. (2015), doi:10.1186/s13742-015-0047-8.

    Examples
    --------
    >>> x = [[0, 0, 2], [1, 1, 0], [2, 2, 0], [0, 0, 1]]
    >>> clump(x, [0.02, 0.01, 0.04], [100, 200, 300], p1=0.05, p2=0.05, r2_threshold=0.8).tolist()
    [1, 2]
    """
    index, _ = _clump(dosage, pval, pos, p1, p2, [r2_threshold], kb, r2, chrom)
    return index[0]


def clump_members(
    dosage: ArrayLike,
    pval: ArrayLike,
    pos: ArrayLike,
    *,
    p1: float = 1e-4,
    p2: float = 1e-2,
    r2_threshold: float = 0.5,
    kb: float = 250.0,
    r2: str = "genotype",
    chrom: ArrayLike | None = None,
) -> dict[int, NDArray[np.int64]]:
    """Clumps with their members: index column -> columns with p < `p2` that it took (plink's SP2).

    Parameters are those of `clump`; the keys come in order of p, the members in column order.

    Examples
    --------
    >>> x = [[0, 0, 2], [1, 1, 0], [2, 2, 0], [0, 0, 1]]
    >>> out = clump_members(x, [0.02, 0.01, 0.04], [100, 200, 300], p1=0.05, p2=0.05, r2_threshold=0.8)
    >>> {int(index): members.tolist() for index, members in out.items()}
    {1: [0], 2: []}
    """
    index, owner = _clump(dosage, pval, pos, p1, p2, [r2_threshold], kb, r2, chrom)
    p = np.asarray(pval, dtype=np.float64)
    columns = np.arange(len(p))
    return {int(i): np.flatnonzero((owner[0] == i) & (p < p2) & (columns != i)) for i in index[0]}


def clump_grid(
    dosage: ArrayLike,
    pval: ArrayLike,
    pos: ArrayLike,
    *,
    p_thresholds: Sequence[float],
    r2_thresholds: Sequence[float],
    kb: float = 250.0,
    r2: str = "genotype",
    chrom: ArrayLike | None = None,
) -> dict[tuple[float, float], NDArray[np.int64]]:
    """`clump` at every pair of p and r² thresholds, for the price of little more than one.

    Clumps are formed in order of p, so the index variants at a smaller `p1` are the first ones of those at a larger;
    and all r² thresholds share each index variant's r² with its neighbours.

    Returns
    -------
    dict of (p threshold, r² threshold) to columns of index variants, in order of p

    Examples
    --------
    >>> x = [[0, 0, 2], [1, 1, 0], [2, 2, 0], [0, 0, 1]]
    >>> grid = clump_grid(x, [0.02, 0.01, 0.04], [100, 200, 300], p_thresholds=[1, 0.03], r2_thresholds=[0.5])
    >>> {key: columns.tolist() for key, columns in grid.items()}
    {(1, 0.5): [1], (0.03, 0.5): [1]}
    """
    check_grid(p_thresholds, r2_thresholds, kb, r2)
    top = max(p_thresholds)
    index, _ = _clump(dosage, pval, pos, top, top, list(r2_thresholds), kb, r2, chrom)
    p = np.asarray(pval, dtype=np.float64)
    return {
        (bound, limit): columns[p[columns] <= bound]
        for limit, columns in zip(r2_thresholds, index)
        for bound in p_thresholds
    }


def check_grid(p_thresholds: Sequence[float], r2_thresholds: Sequence[float], kb: float, r2: str) -> None:
    """Raise GenopredError unless the thresholds, window and LD measure are ones that `clump_grid` can use."""
    if not len(p_thresholds) or not len(r2_thresholds):
        raise GenopredError("clump_grid: give at least one p threshold and one r2 threshold.")
    _method(r2, "clump_grid")
    for bound in p_thresholds:
        _thresholds(bound, bound, list(r2_thresholds), kb)


def windows(pos: NDArray[np.int64], kb: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and one past the last column less than `kb` kilobases from each of the sorted positions."""
    # As in plink the kilobases become whole bases, and the bound itself is outside.
    radius = math.floor(kb * 1000 * (1 + _TINY)) - 1
    return np.searchsorted(pos, pos - radius), np.searchsorted(pos, pos + radius, side="right")


def greedy(
    source: HardCalls | NDArray[np.float32],
    order: NDArray[np.int64],
    n_index: int,
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    thresholds: NDArray[np.float64],
    r2: str = "genotype",
) -> NDArray[np.int32]:
    """The clumping loop, for callers that hold prepared genotypes.

    Parameters
    ----------
    source : HardCalls, or array (M, N) of dosages with variants as rows
    order : array of int
        Variants by p, those without a p left out; the first `n_index` may lead.
    low, high : array, shape (M,)
        Windows, see `windows`.
    thresholds : array, shape (T,)
        r² thresholds, at most 63.

    Returns
    -------
    array, shape (T, M)
        Of each threshold and variant, the index variant that took it; its own number if it leads; -1 if none.
    """
    calls = source if isinstance(source, HardCalls) else _NO_CALLS
    rows = np.zeros((0, 0), dtype=np.float32)
    if isinstance(source, HardCalls):
        kind = _EM if r2 == "em" else _COMPLETE if source.complete else _PAIRWISE
    else:
        kind = _HOLES if np.isnan(source).any() else _ROWS
        rows = np.ascontiguousarray(source, dtype=np.float32) if kind == _HOLES else standard_rows(source)
    owner = np.full((len(thresholds), len(low)), -1, dtype=np.int32)
    planes = (calls.het, calls.hom, calls.obs, calls.complete)
    _greedy(kind, *planes, rows, order, n_index, low, high, thresholds, owner)
    return owner


def standard_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows with mean 0 and length 1; NaN where a row is constant."""
    centred = rows - rows.mean(axis=1, keepdims=True, dtype=np.float64)
    length = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    length[length <= 1e-6] = np.nan
    return np.ascontiguousarray(centred / length, dtype=np.float32)


def _clump(
    dosage: ArrayLike,
    pval: ArrayLike,
    pos: ArrayLike,
    p1: float,
    p2: float,
    thresholds: list[float],
    kb: float,
    r2: str,
    chrom: ArrayLike | None,
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    x = _dosages(dosage, "clump")
    p, place = _labels(x, pval, pos, chrom)
    _method(r2, "clump")
    _thresholds(p1, p2, thresholds, kb)
    if chrom is not None:
        place = _one_line(place, np.asarray(chrom), kb)
    by_place = np.argsort(place, kind="stable")
    rank = np.empty_like(by_place)
    rank[by_place] = np.arange(len(by_place))
    order = np.argsort(p, kind="stable")
    order = order[: int(np.sum(~np.isnan(p)))]
    sorted_x = x if np.array_equal(by_place, np.arange(len(by_place))) else x[:, by_place]
    source: HardCalls | NDArray[np.float32] | None = pack(sorted_x)
    if source is None:
        if r2 == "em":
            raise _not_hard("clump", x)
        source = np.ascontiguousarray(sorted_x.T)
    low, high = windows(place[by_place], kb)
    owner = greedy(source, rank[order], int(np.sum(p <= p1)), low, high, np.asarray(thresholds, dtype=np.float64), r2)
    claimed = np.where(owner < 0, -1, by_place[np.maximum(owner, 0)])[:, rank] if len(rank) else owner.astype(np.int64)
    columns = np.arange(len(p))
    return [order[(row == columns)[order]] for row in claimed], claimed


def _labels(
    x: NDArray[np.float32], pval: ArrayLike, pos: ArrayLike, chrom: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    p = np.asarray(pval, dtype=np.float64)
    place = np.asarray(pos)
    shapes = [("pval", p.shape), ("pos", place.shape)]
    shapes += [] if chrom is None else [("chrom", np.asarray(chrom).shape)]
    for name, shape in shapes:
        if shape != (x.shape[1],):
            raise GenopredError(
                f"clump: {name} has shape {shape}; dosage has {x.shape[1]} columns, one entry each is needed."
            )
    wrong = np.flatnonzero((p < 0) | (p > 1))
    if wrong.size:
        raise GenopredError(
            f"clump: {wrong.size} p-values are outside 0 to 1 (columns {examples(wrong.tolist())}); "
            "give p-values, not -log10 p."
        )
    return p, place.astype(np.int64)


def _one_line(pos: NDArray[np.int64], chrom: NDArray[Any], kb: float) -> NDArray[np.int64]:
    """Positions with the chromosomes laid end to end, too far apart for any window."""
    _, number = np.unique(chrom, return_inverse=True)
    return pos + number.ravel() * (int(pos.max(initial=0)) + int(kb * 1000) + 1)


def _thresholds(p1: float, p2: float, thresholds: list[float], kb: float) -> None:
    if not 0 <= p1 <= 1:
        raise GenopredError(f"clump: p1 is {p1}; it must be between 0 and 1.")
    if not p1 <= p2 <= 1:
        raise GenopredError(f"clump: p2 is {p2}; it must be between p1 ({p1}) and 1.")
    if not kb > 0:
        raise GenopredError(f"clump: kb is {kb}; it must be above 0.")
    wrong = [value for value in thresholds if not 0 <= value <= 1]
    if wrong or len(thresholds) > 63:
        raise GenopredError(
            f"clump: r2 thresholds must be between 0 and 1, at most 63 of them (found {examples(wrong)})."
        )


def _method(r2: str, name: str) -> None:
    if r2 not in METHODS:
        raise GenopredError(f"{name}: r2='{r2}' is unknown; choose one of {', '.join(METHODS)}.")


def _not_hard(name: str, x: NDArray[np.float32]) -> GenopredError:
    soft = np.flatnonzero(~(np.isnan(x) | np.isin(x, (0.0, 1.0, 2.0))).all(axis=0))
    return GenopredError(
        f"{name}: r2='em' needs hard calls, but {soft.size} variants have other dosages "
        f"(columns {examples(soft.tolist())}); round them, or use r2='genotype'."
    )


def _dosages(dosage: ArrayLike, name: str) -> NDArray[np.float32]:
    x = np.asarray(dosage, dtype=np.float32)
    if x.ndim != 2:
        raise GenopredError(f"{name}: dosage has shape {x.shape}; (samples, variants) is needed.")
    return x


def _column(values: ArrayLike) -> NDArray[np.float32]:
    x = np.asarray(values, dtype=np.float32)
    if x.ndim != 1:
        raise GenopredError(f"em_r2: a variant has shape {x.shape}; (samples,) is needed.")
    return x


def _pairwise_matrix(x: NDArray[np.float32]) -> NDArray[np.float64]:
    present = ~np.isnan(x)
    # Near its mean a variant loses the least to cancellation.
    count = np.maximum(present.sum(axis=0), 1)
    z = np.where(present, x - np.where(present, x, 0).sum(axis=0, dtype=np.float64) / count, 0.0)
    have = present.astype(np.float64)
    n = have.T @ have
    sums, squares, products = z.T @ have, (z * z).T @ have, z.T @ z
    variance = n * squares - sums**2
    variance[variance <= 1e-9 * np.maximum(n, 1) ** 2] = np.nan
    with np.errstate(invalid="ignore"):
        return (n * products - sums * sums.T) ** 2 / (variance * variance.T)


@numba.njit(cache=True)
def _pack(rows):  # type: ignore[no-untyped-def]
    m, n = rows.shape
    words = (n + 63) // 64
    het = np.zeros((m, words), dtype=np.uint64)
    hom = np.zeros((m, words), dtype=np.uint64)
    obs = np.zeros((m, words), dtype=np.uint64)
    complete = True
    for j in range(m):
        for w in range(words):
            one, two, here = np.uint64(0), np.uint64(0), np.uint64(0)
            odd = 0
            for i in range(min(64, n - 64 * w)):
                value = rows[j, 64 * w + i]
                bit = np.uint64(i)
                is_one, is_two, is_none = np.uint64(value == 1.0), np.uint64(value == 2.0), np.uint64(value != value)
                one |= is_one << bit
                two |= is_two << bit
                here |= (np.uint64(1) - is_none) << bit
                odd += (value != 0.0) & (value != 1.0) & (value != 2.0) & (value == value)
            if odd:
                return het, hom, obs, False, False
            filled = np.uint64(min(64, n - 64 * w))
            if _popcount(here) != filled:
                complete = False
            het[j, w], hom[j, w], obs[j, w] = one, two, here
    return het, hom, obs, True, complete


@numba.njit(cache=True, inline="always")
def _genotype_r2(n, sx, sxx, sy, syy, sxy):  # type: ignore[no-untyped-def]
    """r² from whole-number sums, so the products below are exact."""
    vx = n * sxx - sx * sx
    vy = n * syy - sy * sy
    if vx <= 0.0 or vy <= 0.0:
        return np.nan
    cov = n * sxy - sx * sy
    return cov * cov / (vx * vy)


@numba.njit(cache=True)
def _loglik(x, half, f11, f12, f21, f22):  # type: ignore[no-untyped-def]
    """Log likelihood (over 2N) of x, the share of double heterozygotes in phase 11/22; `half` is all of them."""
    a, b, c, d = f11 + x, f12 + half - x, f21 + half - x, f22 + x
    out = half * math.log(max(a * d + b * c, 1e-300))
    if f11 > 0.0:
        out += f11 * math.log(max(a, 1e-300))
    if f12 > 0.0:
        out += f12 * math.log(max(b, 1e-300))
    if f21 > 0.0:
        out += f21 * math.log(max(c, 1e-300))
    if f22 > 0.0:
        out += f22 * math.log(max(d, 1e-300))
    return out


@numba.njit(cache=True)
def _cubic(a, b, c, roots):  # type: ignore[no-untyped-def]
    """Real roots of x³ + ax² + bx + c into `roots`; returns how many."""
    q = (a * a - 3.0 * b) / 9.0
    r = (2.0 * a * a * a - 9.0 * a * b + 27.0 * c) / 54.0
    shift = a / 3.0
    gap = q * q * q - r * r
    if gap >= 0.0 and q > 0.0:
        size = math.sqrt(q)
        angle = math.acos(min(1.0, max(-1.0, r / (size * size * size)))) / 3.0
        for k in range(3):
            roots[k] = -2.0 * size * math.cos(angle + 2.0 * math.pi * (k - 1) / 3.0) - shift
        count = 3
    else:
        big = (abs(r) + math.sqrt(max(-gap, 0.0))) ** (1.0 / 3.0)
        big = -big if r > 0.0 else big
        roots[0] = big + (q / big if big != 0.0 else 0.0) - shift
        count = 1
    for k in range(count):
        x = roots[k]
        for _ in range(2):  # Newton takes back what acos and the cube root lost
            slope = (3.0 * x + 2.0 * a) * x + b
            step = (((x + a) * x + b) * x + c) / slope if slope != 0.0 else 0.0
            if abs(step) < 1e-6:
                x -= step
        roots[k] = x
    return count


@numba.njit(cache=True)
def _haplotype_r2(k11, k12, k21, k22, both, roots):  # type: ignore[no-untyped-def]
    """r² from counted haplotypes k and `both` double heterozygotes, whose phase is a maximum-likelihood estimate.

    The share x of double heterozygotes in phase 11/22 is a fixed point of EM where
    x (11·22 + 12·21) = half · 11·22 with each haplotype's frequency a function of x: a cubic.
    """
    total = k11 + k12 + k21 + k22 + 2.0 * both
    if total == 0.0:
        return np.nan
    f11, f12, f21, f22, half = k11 / total, k12 / total, k21 / total, k22 / total, both / total
    p1 = f11 + f12 + half
    q1 = f11 + f21 + half
    p2, q2 = f21 + f22 + half, f12 + f22 + half
    if p1 < _TINY or p2 < _TINY or q1 < _TINY or q2 < _TINY:
        return np.nan
    x = 0.0
    if both > 0.0:
        same, cross = f11 * f22, f12 * f21
        count = _cubic(
            0.5 * (f11 + f22 - f12 - f21 - 3.0 * half),
            0.5 * (same + cross + half * (f12 + f21 - f11 - f22 + half)),
            -0.5 * half * same,
            roots,
        )
        best = -np.inf
        for k in range(count):
            root = min(max(roots[k], 0.0), half)
            if count > 1:
                if abs(root - roots[k]) > 1e-9:
                    continue
                value = _loglik(root, half, f11, f12, f21, f22)
                if value <= best:
                    continue
                best = value
            x = root
    d = f11 + x - p1 * q1
    return 0.0 if abs(d) < _TINY else d * d / (p1 * q1 * p2 * q2)


@numba.njit(cache=True)
def _pair(het, hom, obs, complete, em, i, j, sums, roots):  # type: ignore[no-untyped-def]
    """r² of two variants from their bit planes; `sums` (M, 2) holds counts of het and hom where nothing is missing."""
    c11 = c12 = c21 = c22 = np.uint64(0)
    for w in range(het.shape[1]):
        a1, a2, b1, b2 = het[i, w], hom[i, w], het[j, w], hom[j, w]
        c11 += _popcount(a1 & b1)
        c12 += _popcount(a1 & b2)
        c21 += _popcount(a2 & b1)
        c22 += _popcount(a2 & b2)
    if complete:
        n = sums[i, 2]
        x1, x2, y1, y2 = sums[i, 0], sums[i, 1], sums[j, 0], sums[j, 1]
    else:
        u1 = u2 = v1 = v2 = both = np.uint64(0)
        for w in range(het.shape[1]):
            here = obs[i, w] & obs[j, w]
            both += _popcount(here)
            u1 += _popcount(het[i, w] & here)
            u2 += _popcount(hom[i, w] & here)
            v1 += _popcount(het[j, w] & here)
            v2 += _popcount(hom[j, w] & here)
        n, x1, x2, y1, y2 = float(both), float(u1), float(u2), float(v1), float(v2)
    t11, t12, t21, t22 = float(c11), float(c12), float(c21), float(c22)
    if not em:
        return _genotype_r2(
            n, x1 + 2.0 * x2, x1 + 4.0 * x2, y1 + 2.0 * y2, y1 + 4.0 * y2, t11 + 2.0 * (t12 + t21) + 4.0 * t22
        )
    t10, t20 = x1 - t11 - t12, x2 - t21 - t22
    t01, t02 = y1 - t11 - t21, y2 - t12 - t22
    t00 = n - x1 - x2 - t01 - t02
    return _haplotype_r2(
        2.0 * t22 + t21 + t12, 2.0 * t20 + t21 + t10, 2.0 * t02 + t01 + t12, 2.0 * t00 + t01 + t10, t11, roots
    )


@numba.njit(cache=True)
def _counts(het, hom, obs):  # type: ignore[no-untyped-def]
    m, words = het.shape
    out = np.zeros((m, 3))
    for j in range(m):
        for w in range(words):
            out[j, 0] += float(_popcount(het[j, w]))
            out[j, 1] += float(_popcount(hom[j, w]))
            out[j, 2] += float(_popcount(obs[j, w]))
    return out


@numba.njit(cache=True, fastmath=True)
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for k in range(a.shape[0]):
        total += a[k] * b[k]
    return total


@numba.njit(cache=True)
def _hole_r2(rows, i, j):  # type: ignore[no-untyped-def]
    n = 0
    sx = sy = sxx = syy = sxy = 0.0
    for k in range(rows.shape[1]):
        x, y = float(rows[i, k]), float(rows[j, k])
        if x == x and y == y:
            n += 1
            sx += x
            sy += y
            sxx += x * x
            syy += y * y
            sxy += x * y
    vx, vy = n * sxx - sx * sx, n * syy - sy * sy
    if vx <= 1e-9 * n * n or vy <= 1e-9 * n * n:
        return np.nan
    return (n * sxy - sx * sy) ** 2 / (vx * vy)


@numba.njit(cache=True)
def _complete_r2(planes, first, second, i, others, count, value):  # type: ignore[no-untyped-def]
    """Genotype r² of variant i with others, nothing missing: the sum of products is four counts of common bits.

    `planes` alternates the words of "one or two copies" and of "two copies", which add up to the dosage; `first` is
    the sum of dosages, `second` N² times their variance. All are whole numbers, so r² is exact.
    """
    n = first[-1]
    for q in range(count):
        j = others[q]
        bits = np.uint64(0)
        for w in range(0, planes.shape[1], 2):
            a, b, c, d = planes[i, w], planes[i, w + 1], planes[j, w], planes[j, w + 1]
            bits += _popcount(a & c) + _popcount(a & d) + _popcount(b & c) + _popcount(b & d)
        cov = n * float(bits) - first[i] * first[j]
        spread = second[i] * second[j]
        value[q] = cov * cov / spread if spread > 0.0 else np.nan


@numba.njit(cache=True)
def _pairwise_r2(planes, obs, i, others, count, value):  # type: ignore[no-untyped-def]
    """As `_complete_r2`, where genotypes are missing: each pair over the samples that have both."""
    for q in range(count):
        j = others[q]
        both = xy = x1 = x2 = y1 = y2 = np.uint64(0)
        for w in range(obs.shape[1]):
            a, b, c, d = planes[i, 2 * w], planes[i, 2 * w + 1], planes[j, 2 * w], planes[j, 2 * w + 1]
            xy += _popcount(a & c) + _popcount(a & d) + _popcount(b & c) + _popcount(b & d)
            both += _popcount(obs[i, w] & obs[j, w])
            x1 += _popcount(a & obs[j, w])
            x2 += _popcount(b & obs[j, w])
            y1 += _popcount(c & obs[i, w])
            y2 += _popcount(d & obs[i, w])
        sx, sy = float(x1 + x2), float(y1 + y2)
        value[q] = _genotype_r2(float(both), sx, sx + 2.0 * float(x2), sy, sy + 2.0 * float(y2), float(xy))


@numba.njit(cache=True)
def _dosage_planes(het, hom, sums):  # type: ignore[no-untyped-def]
    """`planes`, `first` and `second` of `_complete_r2`; the last entry of `first` is N."""
    m, words = het.shape
    planes = np.empty((m, 2 * words), dtype=np.uint64)
    first, second = np.empty(m + 1), np.empty(m)
    first[m] = sums[0, 2] if m else 0.0
    for j in range(m):
        for w in range(words):
            planes[j, 2 * w] = het[j, w] | hom[j, w]
            planes[j, 2 * w + 1] = hom[j, w]
        first[j] = sums[j, 0] + 2.0 * sums[j, 1]
        second[j] = first[m] * (sums[j, 0] + 4.0 * sums[j, 1]) - first[j] * first[j]
    return planes, first, second


@numba.njit(cache=True)
def _dosage_r2(rows, holes, i, others, count, value):  # type: ignore[no-untyped-def]
    """r² of row i with others: raw rows with `holes`, else standardised ones."""
    for q in range(count):
        if holes:
            value[q] = _hole_r2(rows, i, others[q])
        else:
            r = float(_dot(rows[i], rows[others[q]]))
            value[q] = r * r


@numba.njit(cache=True)
def _take(i, leads, others, count, value, thresholds, least, owner, free):  # type: ignore[no-untyped-def]
    """Give variant i the others whose r² is above the thresholds at which it leads and they are free."""
    for q in range(count):
        if value[q] > least:
            j = others[q]
            open_here = free[j] & leads
            for t in range(len(thresholds)):
                if open_here >> t & 1 and value[q] > thresholds[t]:
                    owner[t, j] = i
                    free[j] &= ~(1 << t)


_COMPLETE, _PAIRWISE, _EM, _ROWS, _HOLES = range(5)
_NO_WORDS = np.zeros((0, 0), dtype=np.uint64)
_NO_CALLS = HardCalls(_NO_WORDS, _NO_WORDS, _NO_WORDS, True)


@numba.njit(cache=True)
def _greedy(kind, het, hom, obs, complete, rows, order, n_index, low, high, thresholds, owner):  # type: ignore[no-untyped-def]
    sums = _counts(het, hom, obs)
    planes, first, second = _dosage_planes(het, hom, sums)
    roots = np.empty(3)
    others = np.empty(len(low), dtype=np.int64)
    value = np.empty(len(low))
    # One bit per threshold: at which the variant has not been taken yet.
    free = np.zeros(len(low), dtype=np.int64)
    least = thresholds.min()
    for j in order:
        free[j] = (1 << len(thresholds)) - 1
    for rank in range(n_index):
        i = order[rank]
        leads = free[i]
        if leads == 0:
            continue
        free[i] = 0
        for t in range(len(thresholds)):
            if leads >> t & 1:
                owner[t, i] = i
        count = 0
        for j in range(low[i], high[i]):
            others[count] = j
            count += (free[j] & leads) != 0
        if kind == _COMPLETE:
            _complete_r2(planes, first, second, i, others, count, value)
        elif kind == _PAIRWISE:
            _pairwise_r2(planes, obs, i, others, count, value)
        elif kind == _ROWS or kind == _HOLES:
            _dosage_r2(rows, kind == _HOLES, i, others, count, value)
        else:
            for q in range(count):
                value[q] = _pair(het, hom, obs, complete, True, i, others[q], sums, roots)
        _take(i, leads, others, count, value, thresholds, least, owner, free)


@numba.njit(cache=True)
def _matrix_calls(het, hom, obs, complete, em, out):  # type: ignore[no-untyped-def]
    sums = _counts(het, hom, obs)
    roots = np.empty(3)
    for i in range(out.shape[0]):
        for j in range(i, out.shape[0]):
            value = _pair(het, hom, obs, complete, em, i, j, sums, roots)
            out[i, j] = value
            out[j, i] = value
