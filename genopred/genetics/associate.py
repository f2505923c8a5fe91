"""Association of predicted expression with traits: from people, and from summary statistics of a GWAS.

References
----------
Gamazon et al. (2015), doi:10.1038/ng.3367; Gusev et al. (2016), doi:10.1038/ng.3506; Barbeira et al. (2018),
doi:10.1038/s41467-018-03621-1; Liang et al. (2024), doi:10.1101/2023.10.17.562831 (the correction by phi).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from genopred.errors import GenopredError
from genopred.genetics.regression import marginal_association

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GeneAssociation:
    """Association of G genes with a trait, as arrays of shape (G,).

    Attributes
    ----------
    effect, se : of one unit of predicted expression; of a case-control trait in log odds
    z : their ratio
    pval : two-sided; of `linear` by the t distribution, else by the normal
    n : people used
    """

    effect: Floats
    se: Floats
    z: Floats
    pval: Floats
    n: NDArray[np.int64]


def linear(expression: ArrayLike, trait: ArrayLike, covariates: ArrayLike | None = None) -> GeneAssociation:
    """Regress a quantitative trait on each gene's predicted expression, with intercept and covariates.

    Parameters
    ----------
    expression : array, shape (G, N)
    trait : array, shape (N,)
        People with NaN are left out.
    covariates : array, shape (N, K), optional

    Returns
    -------
    GeneAssociation
        NaN, and p 1, of genes whose prediction does not vary.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((3, 200))
    >>> linear(x, x[1] + rng.standard_normal(200)).pval.argmin()
    np.int64(1)
    """
    found = marginal_association(np.asarray(expression, dtype=np.float64).T, trait, covariates)
    return GeneAssociation(found.slope, found.slope_se, found.tstat, found.pval, found.n)


def logistic(expression: ArrayLike, cases: ArrayLike, covariates: ArrayLike | None = None) -> GeneAssociation:
    """Logistic regression of a case-control trait on each gene's predicted expression (statsmodels' `Logit`).

    Parameters
    ----------
    expression : array, shape (G, N)
    cases : array, shape (N,)
        1 of cases, 0 of controls; people with NaN are left out.
    covariates : array, shape (N, K), optional

    Returns
    -------
    GeneAssociation
        By Wald's test; NaN, and p 1, of genes whose prediction does not vary or separates cases from controls.

    Raises
    ------
    GenopredError
        If anything but 0, 1 and NaN is among `cases`, or one of the two is not there.
    """
    from statsmodels.discrete.discrete_model import Logit
    from statsmodels.tools.sm_exceptions import ConvergenceWarning, PerfectSeparationError, PerfectSeparationWarning

    x, y = np.asarray(expression, dtype=np.float64), np.asarray(cases, dtype=np.float64)
    used = ~np.isnan(y)
    kinds = np.unique(y[used])
    if kinds.tolist() != [0.0, 1.0]:
        raise GenopredError(f"logistic: cases must be 1 and controls 0, and both be there; found {kinds[:4].tolist()}.")
    rest = np.ones((int(used.sum()), 1))
    if covariates is not None:
        rest = np.column_stack([rest, np.asarray(covariates, dtype=np.float64)[used]])
    effect, se, pval = np.full(len(x), np.nan), np.full(len(x), np.nan), np.ones(len(x))
    start = None
    for g, row in enumerate(x[:, used]):
        spread = row.std()
        if not spread > 1e-12:
            continue
        design = np.column_stack([(row - row.mean()) / spread, rest])
        with warnings.catch_warnings():
            warnings.simplefilter("error", PerfectSeparationWarning)
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                fit = Logit(y[used], design).fit(start_params=start, disp=0, method="newton", maxiter=50)
            except (PerfectSeparationError, PerfectSeparationWarning, ConvergenceWarning, np.linalg.LinAlgError):
                continue
        if not np.isfinite(fit.bse[0]):
            continue
        start = np.concatenate([[0.0], fit.params[1:]])  # the covariates' effects hardly change from gene to gene
        effect[g], se[g], pval[g] = fit.params[0] / spread, fit.bse[0] / spread, fit.pvalues[0]
    return GeneAssociation(effect, se, effect / se, pval, np.full(len(x), int(used.sum())))


@dataclass(frozen=True)
class SummaryAssociation:
    """Association of one gene from summary statistics.

    Attributes
    ----------
    z, effect : NaN where the score does not vary in the reference
    variance : of the predicted expression, by the variants used
    share : of the variance of the whole model that these are
    """

    z: float
    effect: float
    variance: float
    share: float


def summary(
    weights: ArrayLike, covariance: ArrayLike, z: ArrayLike, beta: ArrayLike | None = None
) -> SummaryAssociation:
    """A gene's association with a trait from its GWAS: S-PrediXcan's formula.

    ``z = sum_l w_l sigma_l z_l / sigma_g`` over the variants that the GWAS has.

    Parameters
    ----------
    weights : array, shape (M,)
        Of one allele copy.
    covariance : array, shape (M, M)
        Of dosages in a reference.
    z : array, shape (M,)
        Of the GWAS, of the same alleles; NaN of variants that it lacks.
    beta : array, shape (M,), optional
        Its effects, for `effect`.

    Examples
    --------
    >>> summary([1.0, 0.5], np.eye(2), [3.0, np.nan]).z, round(summary([1.0, 0.5], np.eye(2), [3.0, np.nan]).share, 2)
    (3.0, 0.8)
    """
    w, c, zs = (np.asarray(values, dtype=np.float64) for values in (weights, covariance, z))
    there = np.isfinite(zs) & np.isfinite(np.diag(c))
    part = np.nan_to_num(c[np.ix_(there, there)])
    used = w[there]
    variance = float(used @ part @ used)
    whole = float(w @ np.nan_to_num(c) @ w)
    if not variance > 0:
        return SummaryAssociation(np.nan, np.nan, 0.0, 0.0)
    sigma = np.sqrt(np.diag(part))
    effect = np.nan
    if beta is not None:
        effect = float(np.sum(used * np.asarray(beta, dtype=np.float64)[there] * sigma**2) / variance)
    score = float(np.sum(used * sigma * zs[there]) / np.sqrt(variance))
    return SummaryAssociation(score, effect, variance, variance / whole if whole > 0 else np.nan)


def z_scores(beta: ArrayLike, se: ArrayLike, pval: ArrayLike) -> Floats:
    """z of a GWAS: effect over standard error, or by the p-value and the effect's sign where that is not known.

    >>> z_scores([0.2, -0.2], [0.1, np.nan], [0.5, 0.05]).round(2).tolist()
    [2.0, -1.96]
    """
    b, s, p = (np.asarray(values, dtype=np.float64) for values in (beta, se, pval))
    with np.errstate(invalid="ignore", divide="ignore"):
        # a p-value too small to be written as a number is taken as 1e-300: of a z of 37, no smaller effect
        return np.where(s > 0, b / s, np.sign(b) * norm.isf(np.where(p < 1e-300, 1e-300, p) / 2))


def deflated(z: ArrayLike, phi: ArrayLike, n: float, h2: float) -> Floats:
    """z corrected for what a polygenic trait alone adds: z / sqrt(1 + phi N h2), phi below 0 taken as 0."""
    return np.asarray(z, dtype=np.float64) / np.sqrt(1 + np.clip(np.asarray(phi, dtype=np.float64), 0, None) * n * h2)


def polygenic_phi(score: ArrayLike, dosage: ArrayLike, variants: int) -> float:
    """How much of a polygenic trait a gene's predicted expression carries along by LD alone: phi of `deflated`.

    Of a trait whose heritability is spread evenly over `variants` standardised variants, E[z²] of a gene without
    effect is 1 + phi N h2 with phi the mean squared correlation of its score with all of them.

    Parameters
    ----------
    score : array, shape (N,)
        Predicted expression in a reference.
    dosage : array, shape (N, M)
        Of the variants around the gene, without gaps; those farther away count as uncorrelated.
    variants : int
        How many there are in all.

    Returns
    -------
    float
        With each r² reduced by what chance adds, (1 - r²) / (N - 2); not below 0.
    """
    s, x = np.asarray(score, dtype=np.float64), np.asarray(dosage, dtype=np.float64)
    s, x = s - s.mean(), x - x.mean(axis=0)
    norm = np.sqrt((s @ s) * np.einsum("ij,ij->j", x, x))
    r2 = np.where(norm > 0, (s @ x) / np.where(norm > 0, norm, 1.0), 0.0) ** 2
    return max(float(np.sum(np.where(norm > 0, r2 - (1 - r2) / (len(s) - 2), 0.0))) / variants, 0.0)


def two_sided(z: ArrayLike) -> Floats:
    """p of a standard normal; 1 where z is NaN."""
    return np.nan_to_num(2 * norm.sf(np.abs(np.asarray(z, dtype=np.float64))), nan=1.0)


def inflation(pval: ArrayLike) -> float:
    """Genomic inflation: the median chi-squared over that of no association.

    >>> round(inflation(np.linspace(0.0005, 0.9995, 1000)), 2)
    1.0
    """
    p = np.asarray(pval, dtype=np.float64)
    return float(norm.isf(np.median(p[np.isfinite(p)]) / 2) ** 2 / norm.isf(0.25) ** 2)
