"""Marginal association: least squares of a phenotype on each variant in turn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr

from genopred.errors import GenopredError, examples
from genopred.genetics.moments import Moments
from genopred.genetics.transform import known_means

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Marginal:
    """Association of each of M variants, as arrays of shape (M,).

    Attributes
    ----------
    slope, slope_se : units of the phenotype per allele copy
    tstat, pval : two-sided t test with `n - 2 - K` degrees of freedom
    af : frequency of the counted allele among the samples used
    n : samples used

    A variant that does not vary among the samples used (or only with the covariates), or that has too few of
    them, has slope, slope_se and tstat NaN and pval 1.
    """

    slope: Floats
    slope_se: Floats
    tstat: Floats
    pval: Floats
    af: Floats
    n: NDArray[np.int64]


def marginal_association(
    dosage: ArrayLike, phenotype: ArrayLike, covariates: ArrayLike | None = None, missing: str = "pairwise"
) -> Marginal:
    """Regress a phenotype on each variant's dosage, with intercept and covariates.

    Parameters
    ----------
    dosage : array, shape (N, M)
        Copies of the counted allele, 0 to 2; NaN where missing.
    phenotype : array, shape (N,)
        NaN drops the sample.
    covariates : array, shape (N, K), optional
        Collinear columns count once in the degrees of freedom.
    missing : {"pairwise", "mean"}
        "pairwise" leaves samples out where a variant is missing, variant by variant, as plink's `--linear` does;
        "mean" puts in the variant's mean, as tensorQTL does.

    Returns
    -------
    Marginal

    Raises
    ------
    GenopredError
        If shapes do not fit, covariates have NaN, or `missing` is unknown.

    Examples
    --------
    >>> out = marginal_association([[0], [1], [2], [1]], [0.0, 1.0, 2.5, 1.5])
    >>> out.slope.round(3).tolist(), out.pval.round(4).tolist()
    ([1.25], [0.0194])
    """
    x, y, design = _inputs(dosage, phenotype, covariates)
    if missing not in ("pairwise", "mean"):
        raise GenopredError(f"marginal_association: missing='{missing}' is unknown; choose 'pairwise' or 'mean'.")
    holes = np.isnan(x).any(axis=0)
    if missing == "mean" and holes.any():
        unknown, mean = np.isnan(x), known_means(x)
        out = _associate(np.where(unknown, mean, x), y, design)
        return replace(out, af=np.where(unknown.all(axis=0), np.nan, mean / 2))
    out = _associate(x if not holes.any() else np.where(holes, 0.0, x), y, design)
    for column in np.flatnonzero(holes):
        have = ~np.isnan(x[:, column])
        part = _associate(x[have, column : column + 1], y[have], design[have])
        for name in ("slope", "slope_se", "tstat", "pval", "af", "n"):
            getattr(out, name)[column] = getattr(part, name)[0]
    return out


def _associate(x: Floats, y: Floats, design: Floats) -> Marginal:
    n, m = x.shape
    af = x.mean(axis=0) / 2 if n else np.full(m, np.nan)
    # Centre first: constant columns and intercept then drop out without cancellation.
    total = ((x - 2 * af) ** 2).sum(axis=0) if n else np.zeros(m)
    rank = 1
    if design.shape[1] > 1 and n:
        basis = _basis(design)
        rank = basis.shape[1]
        x = x - basis @ (basis.T @ x)
        y = y - basis @ (basis.T @ y)
    else:
        x = x - 2 * af
        y = y - y.mean() if n else y
    xx = np.einsum("ij,ij->j", x, x)
    # A constant, and what covariates explain fully, leave only rounding.
    xx[(xx <= 1e-10 * total) | (total <= 1e-24 * n * af**2)] = 0.0
    return _tested(xx, x.T @ y, float(y @ y), float(n - 1 - rank), af, n)


def _tested(xx: Floats, xy: Floats, yy: float, df: float, af: Floats, n: int) -> Marginal:
    """Slopes and t tests from sums of products that intercept and covariates are out of; `xx` 0 is no variation."""
    usable = (xx > 0) & (df >= 1)
    denominator, df = np.where(usable, xx, 1.0), max(df, 1.0)
    slope = np.where(usable, xy / denominator, np.nan)
    # A perfect fit leaves a residual of rounding size, possibly below 0.
    residual = np.maximum(yy - xy * xy / denominator, 0.0)
    se = np.where(usable, np.sqrt(residual / df / denominator), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        tstat = np.where(slope == 0, 0.0, slope / se)
    pval = np.where(usable, 2 * stdtr(df, -np.abs(np.where(usable, tstat, 0.0))), 1.0)
    return Marginal(slope, se, np.where(usable, tstat, np.nan), pval, af, np.full(len(xx), n, dtype=np.int64))


def marginal_sums(moments: Moments, outcome: int = 0) -> Marginal:
    """The same regressions from sums over people: with their covariates, a missing dosage at the variant's mean.

    Parameters
    ----------
    moments : Moments
        Of the people that `marginal_association` with ``missing="mean"`` would be given.
    outcome : int
        Which of its outcomes.

    Returns
    -------
    Marginal

    Examples
    --------
    >>> out = marginal_sums(Moments.of([[0], [1], [2], [1]], [0.0, 1.0, 2.5, 1.5]))
    >>> out.slope.round(3).tolist(), out.pval.round(4).tolist()
    ([1.25], [0.0194])
    """
    if not 0 <= outcome < moments.outcomes:
        raise GenopredError(f"marginal_sums: outcome {outcome}; there are {moments.outcomes}, counted from 0.")
    n, k = moments.n, moments.covariates
    af = np.where(moments.counts > 0, moments.mean / 2, np.nan)
    filled = moments.filled()
    mean, y = filled.sums / max(n, 1), k + outcome
    total = np.maximum(np.diag(filled.gram) - n * mean**2, 0.0)
    means = filled.totals / max(n, 1)
    cross = filled.cross - mean[:, None] * filled.totals
    square = filled.square - n * np.outer(means, means)
    basis = _sums_basis(square[:k, :k], np.diag(filled.square)[:k])
    # of dosage and outcome with each orthonormal combination of the covariates
    x_basis, y_basis = cross[:, :k] @ basis, square[y, :k] @ basis
    xx = total - (x_basis**2).sum(axis=1)
    xx[(xx <= 1e-10 * total) | (total <= 1e-12 * n * mean**2)] = 0.0
    yy = max(float(square[y, y] - y_basis @ y_basis), 0.0)
    return _tested(xx, cross[:, y] - x_basis @ y_basis, yy, float(n - 2 - basis.shape[1]), af, n)


def _sums_basis(square: Floats, size: Floats) -> Floats:
    """Combinations of covariates, shape (K, rank), that are orthonormal, from products around their means (K, K).

    `size` are their sums of squares before that: what does not vary beside its mean leaves rounding alone.
    """
    scale = np.sqrt(np.maximum(np.diag(square), 0.0))
    varies = scale > 1e-7 * np.sqrt(size)
    inverse = np.where(varies, 1.0 / np.where(varies, scale, 1.0), 0.0)
    values, vectors = np.linalg.eigh(square * np.outer(inverse, inverse))
    # in sums of squares a collinearity of 1e-6 is one of 1e-12
    kept = values > 1e-12 * max(values.max(initial=0.0), 1e-300)
    out: Floats = inverse[:, None] * vectors[:, kept] / np.sqrt(values[kept])
    return out


def _basis(design: Floats) -> Floats:
    """Orthonormal columns that span the design; collinear columns are left out."""
    from scipy.linalg import qr

    scaled = design / np.maximum(np.linalg.norm(design, axis=0), 1e-300)
    q, r, _ = qr(scaled, mode="economic", pivoting=True)
    diagonal = np.abs(np.diag(r))
    return q[:, : int(np.sum(diagonal > 1e-10 * diagonal[0]))]


def _inputs(dosage: ArrayLike, phenotype: ArrayLike, covariates: ArrayLike | None) -> tuple[Floats, Floats, Floats]:
    x = np.asarray(dosage, dtype=np.float64)
    y = np.asarray(phenotype, dtype=np.float64)
    if x.ndim != 2 or y.shape != (len(x),):
        raise GenopredError(
            f"marginal_association: dosage {x.shape} and phenotype {y.shape} do not fit; (N, M) and (N,) are needed."
        )
    design = np.ones((len(x), 1))
    if covariates is not None:
        extra = np.asarray(covariates, dtype=np.float64)
        extra = extra[:, None] if extra.ndim == 1 else extra
        if extra.ndim != 2 or len(extra) != len(x):
            raise GenopredError(
                f"marginal_association: covariates {extra.shape} do not fit {len(x)} samples; (N, K) is needed."
            )
        bad = np.flatnonzero(~np.isfinite(extra).all(axis=1))
        if bad.size:
            raise GenopredError(
                f"marginal_association: covariates of {bad.size} samples are NaN or infinite "
                f"(rows {examples(bad.tolist())}); drop these samples or fill the values in."
            )
        design = np.column_stack([design, extra])
    known = ~np.isnan(y)
    return (x, y, design) if known.all() else (x[known], y[known], design[known])
