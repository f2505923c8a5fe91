"""Linkage disequilibrium (r² of genotypes, and of haplotypes by maximum likelihood) and clumping.

Clumping keeps the variant with the smallest p-value, drops its neighbours in LD, and goes on with what is left.
With ``r2="em"`` the index variants are those of plink 1.9's ``--clump``. Hard calls (0, 1, 2) are packed into bit
planes, so that one pair of variants costs a few dozen instructions; r² is worked out for index variants only. Where
there are no people, their sums of products serve as well, or correlations alone (`Products`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genopred.errors import GenopredError, examples
from genopred.genetics.ld_kernels import (
    COMPLETE,
    EM,
    HOLES,
    PAIRWISE,
    PRODUCTS,
    ROWS,
    TINY,
    greedy_owner,
    matrix_calls,
    pack_rows,
)
from genopred.genetics.moments import Centred, Moments

METHODS = ("genotype", "em")
#: Of n² times a variant's mean square, what of n² times its variance is rounding.
_ROUNDING = 1e-10


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
    het, hom, obs, hard, complete = pack_rows(np.ascontiguousarray(dosage.T))
    return HardCalls(het, hom, obs, bool(complete)) if hard else None


@dataclass(frozen=True)
class Products:
    """Genotypes of M variants by their sums of products: what LD is made of where there are no people.

    Of hard calls r² from sums is that of the calls to the last bit, because both are made of the same whole numbers.

    Attributes
    ----------
    n : float
        People.
    sums : array, shape (M,)
        Of dosages.
    spread : array, shape (M,)
        n times the sum of squares minus the square of the sum; 0 where a variant does not vary.
    gram : array, shape (M, M)
        Sums of products of dosages.
    out : tuple of at most two arrays, shape (M, M)
        The same of people who are in `gram` and not meant, such as folds kept aside: `n`, `sums` and `spread` are
        without them. They are subtracted only where r² is asked for.
    """

    n: float
    sums: NDArray[np.float64]
    spread: NDArray[np.float64]
    gram: NDArray[np.float64]
    out: tuple[NDArray[np.float64], ...] = ()

    @classmethod
    def of(cls, source: Moments | Centred | ArrayLike) -> Products:
        """From sums over people without missing dosages, or from correlations or covariances (M, M) alone.

        Raises
        ------
        GenopredError
            If dosages are missing from the sums, or the matrix is not square.

        Examples
        --------
        >>> Products.of([[1.0, 0.9], [0.9, 1.0]]).spread.tolist()
        [1.0, 1.0]
        """
        if isinstance(source, Moments):
            if len(source.holes):
                raise GenopredError(
                    f"clump: {len(source.holes)} variants have missing dosages in the sums; fill them first "
                    "(Moments.filled)."
                )
            return cls.without(source)
        if isinstance(source, Centred):
            spread = np.where(source.scale() > 0, np.diag(source.gram), 0.0)
            return cls(1.0, np.zeros(len(spread)), spread, source.gram)
        matrix = np.asarray(source, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise GenopredError(f"clump: correlations have shape {matrix.shape}; (variants, variants) is needed.")
        return cls(1.0, np.zeros(len(matrix)), np.diag(matrix).copy(), matrix)

    @classmethod
    def without(cls, whole: Moments, out: Sequence[Moments] = ()) -> Products:
        """Of people but for at most two groups among them; nobody's dosage is missing."""
        n = float(whole.n - sum(one.n for one in out))
        sums, squares = whole.sums, np.diag(whole.gram)
        for one in out:
            sums, squares = sums - one.sums, squares - np.diag(one.gram)
        spread = n * squares - sums * sums
        # rounding stays far below this, and hard calls that vary above it
        spread = np.where(spread > _ROUNDING * n * squares, spread, 0.0)
        return cls(n, sums, spread, whole.gram, tuple(one.gram for one in out))

    @property
    def m(self) -> int:
        """M."""
        return len(self.sums)

    def select(self, columns: NDArray[np.int64]) -> Products:
        """The same of some variants, in the order given."""
        both = np.ix_(columns, columns)
        parts = tuple(one[both] for one in self.out)
        return Products(self.n, self.sums[columns], self.spread[columns], self.gram[both], parts)


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
    pair = [np.asarray(values, dtype=np.float32) for values in (a, b)]
    for x in pair:
        if x.ndim != 1:
            raise GenopredError(f"em_r2: a variant has shape {x.shape}; (samples,) is needed.")
    return float(r2_matrix(np.column_stack(pair), "em")[0, 1])


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
        matrix_calls(calls.het, calls.hom, calls.obs, calls.complete, r2 == "em", out)
        return out
    if r2 == "em":
        raise _not_hard("r2_matrix", x)
    return _pairwise_matrix(x)


def clump(
    dosage: ArrayLike | Moments | Centred | Products,
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
    dosage : array, shape (N, M), or Moments, Centred or Products of M variants
        Founders' dosages, NaN where missing; or sums over founders, of whom none lacks a dosage; or their correlations
        (`Products.of`).
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
        If shapes do not fit, a threshold is out of range, or ``r2="em"`` meets dosages that are not hard calls, or
        sums.

    References
    ----------
    Purcell et al. (2007), doi:10.1086/519795; Chang et al. (2015), doi:10.1186/s13742-015-0047-8.

    Examples
    --------
    >>> x = [[0, 0, 2], [1, 1, 0], [2, 2, 0], [0, 0, 1]]
    >>> clump(x, [0.02, 0.01, 0.04], [100, 200, 300], p1=0.05, p2=0.05, r2_threshold=0.8).tolist()
    [1, 2]
    >>> clump(Products.of([[1, 0.9], [0.9, 1]]), [0.02, 0.01], [100, 200], p1=0.05, p2=0.05).tolist()
    [1]
    """
    index, _ = _clump(dosage, pval, pos, p1, p2, [r2_threshold], kb, r2, chrom)
    return index[0]


def clump_members(
    dosage: ArrayLike | Moments | Centred | Products,
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
    dosage: ArrayLike | Moments | Centred | Products,
    pval: ArrayLike,
    pos: ArrayLike,
    *,
    p_thresholds: Sequence[float],
    r2_thresholds: Sequence[float],
    kb: float = 250.0,
    r2: str = "genotype",
    chrom: ArrayLike | None = None,
) -> dict[tuple[float, float], NDArray[np.int64]]:
    """`clump` at every pair of p and r² thresholds (the keys), for the price of little more than one.

    Clumps are formed in order of p, so the index variants at a smaller `p1` are the first ones of those at a larger;
    and all r² thresholds share each index variant's r² with its neighbours.

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
    radius = math.floor(kb * 1000 * (1 + TINY)) - 1
    return np.searchsorted(pos, pos - radius), np.searchsorted(pos, pos + radius, side="right")


def greedy(
    source: HardCalls | NDArray[np.float32] | Products,
    order: NDArray[np.int64],
    n_index: int,
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    thresholds: NDArray[np.float64],
    r2: str = "genotype",
) -> NDArray[np.int32]:
    """The clumping loop, for callers that hold hard calls, dosages (M, N) with variants as rows, or products prepared.

    `order` are the variants by p, those without a p left out; the first `n_index` may lead. `low` and `high` (M,) are
    their `windows`. Returns, for each of at most 63 r² thresholds and each variant (T, M), the index variant that took
    it; its own number if it leads; -1 if none.
    """
    calls, rows, products = _NO_CALLS, np.zeros((0, 0), dtype=np.float32), _NO_PRODUCTS
    if isinstance(source, Products):
        kind, products = PRODUCTS, source
    elif isinstance(source, HardCalls):
        calls = source
        kind = EM if r2 == "em" else COMPLETE if source.complete else PAIRWISE
    else:
        kind = HOLES if np.isnan(source).any() else ROWS
        rows = np.ascontiguousarray(source, dtype=np.float32) if kind == HOLES else standard_rows(source)
    owner = np.full((len(thresholds), len(low)), -1, dtype=np.int32)
    planes = calls.het, calls.hom, calls.obs, calls.complete
    greedy_owner(kind, *planes, rows, _unpacked(products), order, n_index, low, high, thresholds, owner)
    return owner


def _unpacked(products: Products) -> tuple[float | NDArray[np.float64], ...]:
    """What the kernel takes: of two groups that are out, one or both may be empty."""
    out = [np.ascontiguousarray(one) for one in (*products.out, _NO_SUMS, _NO_SUMS)[:2]]
    return float(products.n), products.sums, products.spread, np.ascontiguousarray(products.gram), *out


def standard_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows with mean 0 and length 1; NaN where a row is constant."""
    centred = rows - rows.mean(axis=1, keepdims=True, dtype=np.float64)
    length = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    length[length <= 1e-6] = np.nan
    return np.ascontiguousarray(centred / length, dtype=np.float32)


def _clump(
    dosage: ArrayLike | Moments | Centred | Products,
    pval: ArrayLike,
    pos: ArrayLike,
    p1: float,
    p2: float,
    thresholds: list[float],
    kb: float,
    r2: str,
    chrom: ArrayLike | None,
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    m, prepare = _prepared(dosage, r2)
    p, place = _labels(m, pval, pos, chrom)
    _method(r2, "clump")
    _thresholds(p1, p2, thresholds, kb)
    if chrom is not None:  # laid end to end, too far apart for any window
        number = np.unique(np.asarray(chrom), return_inverse=True)[1].ravel()
        place = place + number * (int(place.max(initial=0)) + int(kb * 1000) + 1)
    by_place = np.argsort(place, kind="stable")
    rank = np.empty_like(by_place)
    rank[by_place] = np.arange(len(by_place))
    order = np.argsort(p, kind="stable")[: int(np.sum(~np.isnan(p)))]
    source = prepare(None if np.array_equal(by_place, np.arange(len(by_place))) else by_place)
    low, high = windows(place[by_place], kb)
    owner = greedy(source, rank[order], int(np.sum(p <= p1)), low, high, np.asarray(thresholds, dtype=np.float64), r2)
    claimed = np.where(owner < 0, -1, by_place[np.maximum(owner, 0)])[:, rank] if len(rank) else owner.astype(np.int64)
    columns = np.arange(len(p))
    return [order[(row == columns)[order]] for row in claimed], claimed


#: From columns in order of position, or None where they stand so, to what `greedy` walks over.
_Prepare = Callable[[NDArray[np.int64] | None], HardCalls | NDArray[np.float32] | Products]


def _prepared(dosage: ArrayLike | Moments | Centred | Products, r2: str) -> tuple[int, _Prepare]:
    """How many variants there are, and how they become what `greedy` takes."""
    if isinstance(dosage, (Moments, Centred, Products)):
        if r2 == "em":
            raise GenopredError("clump: r2='em' needs hard calls of people, here are sums; use r2='genotype'.")
        products = dosage if isinstance(dosage, Products) else Products.of(dosage)
        return products.m, lambda columns: products if columns is None else products.select(columns)
    x = _dosages(dosage, "clump")

    def rows(columns: NDArray[np.int64] | None) -> HardCalls | NDArray[np.float32]:
        in_order = x if columns is None else x[:, columns]
        calls = pack(in_order)
        if calls is None and r2 == "em":
            raise _not_hard("clump", x)
        return np.ascontiguousarray(in_order.T) if calls is None else calls

    return x.shape[1], rows


def _labels(
    m: int, pval: ArrayLike, pos: ArrayLike, chrom: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    p = np.asarray(pval, dtype=np.float64)
    place = np.asarray(pos)
    shapes = [("pval", p.shape), ("pos", place.shape)]
    shapes += [] if chrom is None else [("chrom", np.asarray(chrom).shape)]
    for name, shape in shapes:
        if shape != (m,):
            raise GenopredError(f"clump: {name} has shape {shape}; dosage has {m} columns, one entry each is needed.")
    wrong = np.flatnonzero((p < 0) | (p > 1))
    if wrong.size:
        raise GenopredError(
            f"clump: {wrong.size} p-values are outside 0 to 1 (columns {examples(wrong.tolist())}); "
            "give p-values, not -log10 p."
        )
    return p, place.astype(np.int64)


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


_NO_WORDS = np.zeros((0, 0), dtype=np.uint64)
_NO_CALLS = HardCalls(_NO_WORDS, _NO_WORDS, _NO_WORDS, True)
_NO_SUMS = np.zeros((0, 0))
_NO_PRODUCTS = Products(0.0, np.zeros(0), np.zeros(0), _NO_SUMS)
