"""Transforms of expression: counts to abundance, to normal scores, and residuals on covariates.

Samples are rows. Every function leaves its input as it was and returns float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from scipy.stats import rankdata

from genopred.errors import GenopredError, examples

Floats = NDArray[np.float64]


def inverse_normal(values: ArrayLike, axis: int = 0, offset: float = 0.5) -> Floats:
    """Rank-based inverse normal transform along an axis; ties share their mean rank, NaN stays NaN.

    Parameters
    ----------
    values : array
    axis : int
        Axis along which to rank; 0 ranks the samples of each gene.
    offset : float
        c of (rank - c) / (n - 2c + 1): 0.5 gives (rank - 0.5) / n, 3/8 is Blom's, 0 is GTEx's rank / (n + 1).

    Returns
    -------
    array, same shape, in units of the standard normal.

    References
    ----------
    Beasley, Erickson and Allison (2009), doi:10.1007/s10519-009-9281-0.

    Examples
    --------
    >>> inverse_normal([3.0, 1.0, 2.0]).round(3).tolist()
    [0.967, -0.967, 0.0]
    """
    if not 0 <= offset < 1:
        raise GenopredError(f"inverse_normal: offset is {offset}; it must be at least 0 and below 1.")
    array = _floats(values, "inverse_normal")
    ranks = rankdata(array, axis=axis, nan_policy="omit")
    count = np.sum(~np.isnan(array), axis=axis, keepdims=True)
    return ndtri((ranks - offset) / (count - 2 * offset + 1))


def quantile_normalise(values: ArrayLike) -> Floats:
    """Give every sample (row) the same distribution: the mean of the sorted rows.

    Tied values share the mean of their quantiles.

    Parameters
    ----------
    values : array, shape (N, G)
        Without missing values.

    Returns
    -------
    array, shape (N, G)

    References
    ----------
    Bolstad et al. (2003), doi:10.1093/bioinformatics/19.2.185.

    Examples
    --------
    >>> quantile_normalise([[1.0, 2.0, 3.0], [6.0, 4.0, 2.0]]).tolist()
    [[1.5, 3.0, 4.5], [4.5, 3.0, 1.5]]
    """
    array = _floats(values, "quantile_normalise", dims=2)
    _no_nan(array, "quantile_normalise", "values")
    target = np.sort(array, axis=1).mean(axis=0)
    out = np.empty_like(array)
    for row in range(len(array)):
        _, place, count = np.unique(array[row], return_inverse=True, return_counts=True)
        group = np.repeat(np.arange(len(count)), count)
        out[row] = (np.bincount(group, weights=target) / count)[place.ravel()]
    return out


def known_means(values: ArrayLike) -> Floats:
    """Mean of each column over what is not NaN; 0 where all of it is.

    >>> known_means([[1.0, float("nan")], [2.0, float("nan")]]).tolist()
    [1.5, 0.0]
    """
    array = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(array)
    return np.where(known, array, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)


def mean_filled(values: ArrayLike) -> Floats:
    """Columns with NaN at the mean of the rest.

    >>> mean_filled([[1.0], [float("nan")], [2.0]]).ravel().tolist()
    [1.0, 1.5, 2.0]
    """
    array = np.asarray(values, dtype=np.float64)
    holes = np.isnan(array)
    return np.where(holes, known_means(array), array) if holes.any() else array


def zscore(values: ArrayLike, axis: int = 0, ddof: int = 0) -> Floats:
    """Subtract the mean and divide by the standard deviation; NaN is left out, a constant becomes 0.

    Examples
    --------
    >>> zscore([1.0, 2.0, 3.0], ddof=1).tolist()
    [-1.0, 0.0, 1.0]
    """
    array = _floats(values, "zscore")
    present = ~np.isnan(array)
    n = present.sum(axis=axis, keepdims=True)
    mean = np.where(present, array, 0.0).sum(axis=axis, keepdims=True) / np.maximum(n, 1)
    centred = array - mean
    spread = np.sqrt((np.where(present, centred, 0.0) ** 2).sum(axis=axis, keepdims=True) / np.maximum(n - ddof, 1))
    # Rounding leaves a constant with a spread of about one part in 1e16 of its mean.
    constant = spread <= 1e-13 * np.maximum(np.abs(mean), 1e-300)
    return np.where(constant & present, 0.0, centred / np.where(constant, 1.0, spread))


def log1p(values: ArrayLike, base: float | None = None) -> Floats:
    """Logarithm of 1 + value, natural unless `base` says otherwise.

    Raises
    ------
    GenopredError
        If a value is negative.

    Examples
    --------
    >>> log1p([0.0, 1.0, 3.0], base=2).tolist()
    [0.0, 1.0, 2.0]
    """
    array = _floats(values, "log1p")
    low = array[array < 0]
    if low.size:
        raise GenopredError(
            f"log1p: {low.size} values are negative ({examples(low.tolist())}); give counts or TPM, "
            "not values that were already normalised."
        )
    return np.log1p(array) if base is None else np.log1p(array) / np.log(base)


class Residualiser:
    """Least squares on covariates and an intercept, learned on some samples and applied to others.

    Attributes
    ----------
    coef_ : array, shape (K + 1, G)
        Intercept first. Collinear covariates share their effect (minimum norm).
    rank_ : int
        Rank of intercept and covariates.

    Examples
    --------
    >>> fit = Residualiser().fit([[1.0], [3.0], [5.0]], [[0.0], [1.0], [2.0]])
    >>> (fit.transform([[9.0]], [[3.0]]) + 0.0).round(9).tolist()
    [[2.0]]
    """

    coef_: Floats
    rank_: int

    def fit(self, values: ArrayLike, covariates: ArrayLike) -> Residualiser:
        """Learn from training samples: `values` (N, G) or (N,), `covariates` (N, K)."""
        array, design = self._design(values, covariates)
        # Columns at one scale, so that the rank does not depend on the units of a covariate.
        scale = np.sqrt(np.mean(design**2, axis=0))
        scale[scale == 0] = 1.0
        coef, _, self.rank_, _ = np.linalg.lstsq(design / scale, array, rcond=1e-10)
        self.coef_ = coef / (scale if coef.ndim == 1 else scale[:, None])
        return self

    def transform(self, values: ArrayLike, covariates: ArrayLike) -> Floats:
        """What the covariates do not explain, in the units of `values`."""
        array, design = self._design(values, covariates)
        return array - design @ self.coef_

    @staticmethod
    def _design(values: ArrayLike, covariates: ArrayLike) -> tuple[Floats, Floats]:
        array = _floats(values, "residualise")
        cov = _floats(covariates, "residualise: covariates")
        cov = cov[:, None] if cov.ndim == 1 else cov
        if len(cov) != len(array):
            raise GenopredError(
                f"residualise: {len(array)} samples in values, {len(cov)} in covariates; match them first."
            )
        _no_nan(array, "residualise", "values")
        _no_nan(cov, "residualise", "covariates")
        return array, np.column_stack([np.ones(len(cov)), cov])


def residualise(values: ArrayLike, covariates: ArrayLike) -> Floats:
    """Residuals of `values` (N, G) or (N,) on covariates (N, K) and an intercept, over all samples given.

    For residuals that held-out samples had no part in, use `Residualiser`.

    Raises
    ------
    GenopredError
        If lengths differ or a value is NaN.

    Examples
    --------
    >>> (residualise([1.0, 2.0, 6.0], [[0.0], [1.0], [2.0]]) + 0.0).round(3).tolist()
    [0.5, -1.0, 0.5]
    """
    return Residualiser().fit(values, covariates).transform(values, covariates)


def tpm(counts: ArrayLike, lengths: ArrayLike) -> Floats:
    """Transcripts per million: reads per base of gene, scaled so that each sample sums to a million.

    Parameters
    ----------
    counts : array, shape (N, G)
        Reads (or fragments) of each sample and gene.
    lengths : array, shape (G,)
        Gene lengths in bases (exonic).

    References
    ----------
    Wagner, Kin and Lynch (2012), doi:10.1007/s12064-012-0162-3.

    Examples
    --------
    >>> tpm([[10, 30]], [1000, 1000]).tolist()
    [[250000.0, 750000.0]]
    """
    reads, bases = _counts(counts, lengths, "tpm")
    rate = reads / bases
    return rate / _library(rate.sum(axis=1), "tpm") * 1e6


def rpkm(counts: ArrayLike, lengths: ArrayLike, library_size: ArrayLike | None = None) -> Floats:
    """Reads per kilobase of gene and million mapped reads.

    Parameters
    ----------
    counts : array, shape (N, G)
    lengths : array, shape (G,)
        Gene lengths in bases.
    library_size : array, shape (N,), optional
        Mapped reads of each sample; by default the sum of `counts` over the genes given.

    References
    ----------
    Mortazavi et al. (2008), doi:10.1038/nmeth.1226.

    Examples
    --------
    >>> rpkm([[10, 30]], [1000, 2000], library_size=[1e6]).tolist()
    [[10.0, 15.0]]
    """
    return _per_kilobase(counts, lengths, library_size, "rpkm")


def fpkm(counts: ArrayLike, lengths: ArrayLike, library_size: ArrayLike | None = None) -> Floats:
    """Fragments per kilobase of gene and million mapped fragments: `rpkm` of fragment counts.

    Examples
    --------
    >>> fpkm([[10, 30]], [1000, 2000], library_size=[1e6]).tolist()
    [[10.0, 15.0]]
    """
    return _per_kilobase(counts, lengths, library_size, "fpkm")


def _per_kilobase(counts: ArrayLike, lengths: ArrayLike, library_size: ArrayLike | None, name: str) -> Floats:
    reads, bases = _counts(counts, lengths, name)
    total = reads.sum(axis=1) if library_size is None else _floats(library_size, f"{name}: library_size")
    if total.shape != (len(reads),):
        raise GenopredError(
            f"{name}: library_size has shape {total.shape}; one entry per sample ({len(reads)},) is needed."
        )
    return reads / bases * 1e3 / _library(total, name) * 1e6


def _library(total: Floats, name: str) -> Floats:
    empty = np.flatnonzero(~(total > 0))
    if empty.size:
        raise GenopredError(f"{name}: {empty.size} samples have no reads (rows {examples(empty.tolist())}); drop them.")
    return total[:, None]


def _counts(counts: ArrayLike, lengths: ArrayLike, name: str) -> tuple[Floats, Floats]:
    reads = _floats(counts, f"{name}: counts", dims=2)
    bases = _floats(lengths, f"{name}: lengths", dims=1)
    if len(bases) != reads.shape[1]:
        raise GenopredError(f"{name}: {len(bases)} lengths for {reads.shape[1]} genes; one length per gene is needed.")
    short = np.flatnonzero(~(bases > 0))
    if short.size:
        raise GenopredError(f"{name}: {short.size} lengths are not positive (genes {examples(short.tolist())}).")
    if not np.all(reads >= 0):
        raise GenopredError(f"{name}: counts must be 0 or more and without NaN.")
    return reads, bases


def _floats(values: ArrayLike, name: str, dims: int | None = None) -> Floats:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise GenopredError(f"{name}: not an array of numbers ({error}).") from None
    if dims is not None and array.ndim != dims:
        raise GenopredError(f"{name}: an array of {dims} dimensions is needed, not of shape {array.shape}.")
    return array


def _no_nan(array: NDArray[Any], name: str, what: str) -> None:
    bad = np.unique(np.argwhere(~np.isfinite(array))[:, 0])
    if bad.size:
        raise GenopredError(
            f"{name}: {what} of {bad.size} samples are NaN or infinite (rows {examples(bad.tolist())}); "
            "drop these samples or fill the values in."
        )
