"""Stretches of a chromosome that belong together: LD blocks, clumped loci; and how much LD each SNP is in."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genopred.errors import GenopredError
from genopred.genetics.ld import clump_members
from genopred.genetics.transform import known_means, mean_filled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def ld_blocks(dosage: ArrayLike, *, reach: int = 25, max_r2: float = 0.1, min_snps: int = 10) -> Ints:
    """Cut a chromosome where SNPs on both sides are hardly in LD.

    A gap's LD is the mean r² of the `reach` SNPs before it with the `reach` SNPs after it. Gaps are cut in order of
    their LD, as long as it is below `max_r2` and each piece keeps `min_snps`.

    Parameters
    ----------
    dosage : array, shape (N, M)
        SNPs in the order of their positions; NaN where missing (taken as the mean).
    reach, min_snps, max_r2
        As above.

    Returns
    -------
    array of int, shape (M,)
        Number of the block of each SNP.

    Examples
    --------
    >>> x = np.repeat(np.random.default_rng(1).integers(0, 3, (50, 3)), 12, axis=1)
    >>> np.bincount(ld_blocks(x)).tolist()
    [12, 12, 12]
    """
    x = standardised(dosage)
    m = x.shape[1]
    across = np.ones(m + 1)
    for gap in range(1, m):
        left, right = x[:, max(0, gap - reach) : gap], x[:, gap : gap + reach]
        across[gap] = np.mean((left.T @ right) ** 2)
    cuts = [0, m]
    for gap in np.argsort(across, kind="stable"):
        if across[gap] >= max_r2:
            break
        if min(abs(int(gap) - cut) for cut in cuts) >= min_snps:
            cuts.append(int(gap))
    return np.searchsorted(np.sort(cuts[2:]), np.arange(m), side="right").astype(np.int64)


def ld_scores(dosage: ArrayLike, pos: ArrayLike, *, kb: float = 1000.0, columns: ArrayLike | None = None) -> Floats:
    """LD score of each SNP: the sum of its r² with all SNPs less than `kb` away, itself included.

    r² is freed of its bias, r² - (1 - r²) / (N - 2), as LDSC does: Bulik-Sullivan et al. (2015), doi:10.1038/ng.3211.
    `pos` (M,) is sorted; with `columns` only the scores of these SNPs are worked out.
    """
    x = standardised(dosage)
    n, m = x.shape
    place = np.asarray(pos, dtype=np.int64)
    if place.shape != (m,) or (np.diff(place) < 0).any():
        raise GenopredError("ld_scores: one position a SNP is needed, sorted.")
    wanted = np.arange(m) if columns is None else np.asarray(columns, dtype=np.int64)
    order = np.argsort(wanted, kind="stable")
    low = np.searchsorted(place, place - kb * 1000, side="right")
    high = np.searchsorted(place, place + kb * 1000, side="left")
    out = np.empty(len(wanted))
    step = 256
    for start in range(0, len(wanted), step):
        part = order[start : start + step]
        rows = wanted[part]
        base, end = int(low[rows[0]]), int(high[rows[-1]])
        r2 = (x[:, rows].T @ x[:, base:end]) ** 2
        r2 -= (1 - r2) / (n - 2)
        near = np.arange(base, end)
        inside = (near >= low[rows, None]) & (near < high[rows, None])
        out[part] = np.where(inside, r2, 0).sum(axis=1)
    return out


def standardised(dosage: ArrayLike) -> Floats:
    """Columns of mean 0 and length 1; constant ones are 0."""
    x = np.asarray(dosage, dtype=np.float64)
    if x.ndim != 2 or len(x) < 3:
        raise GenopredError(f"LD: dosages have shape {x.shape}; (N, M) of at least 3 samples is needed.")
    x = mean_filled(x) - known_means(x)
    length = np.sqrt((x**2).sum(axis=0))
    return np.asarray(x / np.where(length > 1e-9, length, np.inf))


def loci(
    score: ArrayLike, pos: ArrayLike, *, dosage: ArrayLike | None = None, r2: float = 0.5, kb: float = 250.0
) -> Ints:
    """Gather SNPs of one chromosome into loci: the best SNP takes its neighbours in LD, and so on.

    Returns the row of the best SNP (of the largest `score`) of each SNP's locus. `r2` and `kb` are those of
    `genopred.genetics.ld.clump`; without `dosage` a locus is what lies less than `kb` from its best SNP.

    >>> loci([1.0, 5.0, 2.0], [100, 200, 90_000], kb=50).tolist()
    [1, 1, 2]
    """
    value, place = np.asarray(score, dtype=np.float64), np.asarray(pos, dtype=np.int64)
    m = len(value)
    order = np.argsort(-value, kind="stable")
    owner = np.full(m, -1, dtype=np.int64)
    if dosage is not None:
        order_p = np.empty(m)
        order_p[order] = (np.arange(m) + 1) / (m + 2)
        for index, members in clump_members(dosage, order_p, place, p1=1.0, p2=1.0, r2_threshold=r2, kb=kb).items():
            owner[index] = index
            owner[members] = index
        return owner
    for index in order.tolist():
        if owner[index] < 0:
            owner[(owner < 0) & (np.abs(place - place[index]) < kb * 1000)] = index
    return owner
