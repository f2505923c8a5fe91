"""Sum of single effects (SuSiE) from products of dosages and an outcome: the fit of `finemap` without its people.

As susieR's `susie_suff_stat`; with products that summary statistics and another panel's LD were made into, as its
`susie_rss`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genopred.errors import GenopredError
from genopred.genetics.finemap import CredibleSet, Posterior, SusieFit, log_prior_of, sets_by
from genopred.genetics.finemap_kernels import shrinkage, weighted
from genopred.genetics.leaveout import LeftOut
from genopred.genetics.moments import Centred

Floats = NDArray[np.float64]


def susie_sums(
    centred: Centred,
    n_effects: int = 10,
    prior_weights: ArrayLike | None = None,
    *,
    max_iter: int = 100,
    tol: float = 1e-3,
    estimate_residual_variance: bool = True,
) -> SusieFit:
    """Fit the sum of single effects to sums of products.

    Parameters
    ----------
    centred : Centred
        `Moments.centred` of people; or of another study's summary statistics with a reference's LD.
    n_effects : int
        L, the largest number of effects.
    prior_weights : array, shape (M,), optional
        Prior probability of each variant to carry an effect; any non-negative numbers, scaled to sum 1.
        Flat by default.
    max_iter, tol
        Stop after so many passes, or when the evidence lower bound gains less than `tol`.
    estimate_residual_variance : bool
        False keeps it at the outcome's variance, as `susie_rss` does: with LD of other people, effects that do not
        fit it would be taken for explained variance.

    Returns
    -------
    SusieFit
        As `susie` has it of the people.

    Raises
    ------
    GenopredError
        If the products do not fit each other or are not finite, or no prior weight is positive.

    References
    ----------
    Wang et al. (2020), doi:10.1111/rssb.12388; Zou et al. (2022), doi:10.1371/journal.pgen.1010299.

    Examples
    --------
    >>> from genopred.genetics.moments import Moments
    >>> rng = np.random.default_rng(1)
    >>> x = rng.integers(0, 3, (200, 30))
    >>> fit = susie_sums(Moments.of(x, x[:, 4] + 0.5 * rng.standard_normal(200)).centred())
    >>> int(fit.pip.argmax()), bool(fit.pip[4] > 0.99)
    (4, True)
    """
    left = _checked(centred)
    n, m = left.n, left.m
    varies = left.scale > 0.0
    log_prior = log_prior_of(prior_weights, m, varies)
    d = n - 1.0  # x_j'x_j of every standardised column
    scale = np.where(varies, left.scale * math.sqrt(n / d), 1.0)
    inverse = np.where(varies, 1.0 / scale, 0.0)
    variance_y = centred.square / d
    alpha = np.tile(np.exp(log_prior), (n_effects, 1))
    mu, mu2 = np.zeros((n_effects, m)), np.zeros((n_effects, m))
    shrink, sigma2 = np.zeros(n_effects), variance_y
    if variance_y <= 0.0 or not varies.any():
        nothing = Posterior(alpha, mu, mu2, shrink, variance_y, np.zeros(1), True)
        return nothing.of_alleles(left.mean, scale, left.y_mean, d)

    xty = centred.cross * inverse
    xtx_b = np.zeros((n_effects, m))  # X'X E[b_l]
    second, kl = np.zeros(n_effects), np.zeros(n_effects)  # d sum alpha mu2
    elbo: list[float] = []
    converged = False
    for _ in range(max_iter):
        xtr = xty - xtx_b.sum(axis=0)  # kept equal to X' (y - all effects); anew, so that rounding does not gather
        null_seen = False  # with the residual unchanged, an effect that was null stays null
        for effect in range(n_effects):
            was_null = shrink[effect] == 0.0
            if was_null and null_seen:
                continue
            if not was_null:
                xtr += xtx_b[effect]
            w, log_bf = shrinkage(xtr**2 / (d * sigma2), log_prior, alpha[effect])
            shrink[effect] = w
            if w == 0.0:
                for part in (mu, mu2, xtx_b, second, kl):
                    part[effect] = 0.0
                null_seen = True
                continue
            mu[effect] = w * xtr / d
            mu2[effect] = mu[effect] ** 2 + w * sigma2 / d
            b = alpha[effect] * mu[effect]
            weighted(centred.gram, b * inverse, xtx_b[effect])
            xtx_b[effect] *= inverse
            second[effect] = d * float(alpha[effect] @ mu2[effect])
            kl[effect] = -log_bf + (float(b @ xtr) - 0.5 * second[effect]) / sigma2
            xtr -= xtx_b[effect]
            null_seen = False
        each = alpha * mu
        b = each.sum(axis=0)
        explained = float((each * xtx_b).sum())
        erss = centred.square - 2 * float(b @ xty) + float(b @ xtx_b.sum(axis=0)) + float(second.sum()) - explained
        elbo.append(-0.5 * n * math.log(2 * math.pi * sigma2) - 0.5 * erss / sigma2 - float(kl.sum()))
        if len(elbo) > 1 and elbo[-1] - elbo[-2] < tol:
            converged = True
            break
        if estimate_residual_variance:
            sigma2 = max(erss / n, 1e-4 * variance_y)
    fit = Posterior(alpha, mu, mu2, shrink, sigma2, np.array(elbo), converged)
    return fit.of_alleles(left.mean, scale, left.y_mean, d)


def credible_sets_sums(
    fit: SusieFit, centred: Centred, coverage: float = 0.95, min_abs_corr: float = 0.5
) -> list[CredibleSet]:
    """Credible sets of a fit, as `credible_sets` has them, with correlations from sums.

    Parameters
    ----------
    fit : SusieFit
    centred : Centred
        What was given to `susie_sums`.
    coverage : float
        Probability that a set must hold.
    min_abs_corr : float
        Smallest absolute correlation allowed within a set.

    Returns
    -------
    list of CredibleSet
        Purest first.

    Raises
    ------
    GenopredError
        If `coverage` is not within 0 to 1, or the sums do not have the fit's variants.

    Examples
    --------
    >>> from genopred.genetics.moments import Moments
    >>> rng = np.random.default_rng(1)
    >>> x = rng.integers(0, 3, (200, 30)).astype(float)
    >>> x[:, 5] = x[:, 4]
    >>> sums = Moments.of(x, x[:, 4] + 0.5 * rng.standard_normal(200)).centred()
    >>> [sorted(one.variants.tolist()) for one in credible_sets_sums(susie_sums(sums), sums)]
    [[4, 5]]
    """
    left = _checked(centred)
    if left.m != fit.alpha.shape[1]:
        raise GenopredError(f"credible_sets_sums: sums of {left.m} variants; the fit has {fit.alpha.shape[1]}.")
    scale = left.inverse / math.sqrt(left.n)

    def between(some: NDArray[np.int64], others: NDArray[np.int64]) -> Floats:
        made: Floats = np.abs(centred.gram[np.ix_(some, others)] * scale[some, None] * scale[others])
        return made

    return sets_by(fit, between, coverage, min_abs_corr)


def _checked(centred: Centred) -> LeftOut:
    m = len(centred.mean)
    if centred.gram.shape != (m, m) or centred.cross.shape != (m,) or centred.n < 2:
        raise GenopredError(
            f"sums of {centred.n} people with products of shapes {centred.gram.shape} and {centred.cross.shape}; at "
            f"least 2 people and shapes ({m}, {m}) and ({m},) are needed."
        )
    # the diagonal bounds the rest
    if not (np.isfinite(np.diag(centred.gram)).all() and np.isfinite(centred.cross).all() and centred.square >= 0):
        raise GenopredError("products of dosages and outcome are NaN, infinite or of a negative square.")
    return LeftOut.of(centred)
