"""Sum of single effects (SuSiE): which variants carry a locus's signal, and a predictor built from them.

Model: ``y = X b_1 + ... + X b_L + noise``, where each ``b_l`` has exactly one non-zero entry, its place drawn
from prior weights over variants. Fitted by iterative Bayesian stepwise selection (Wang et al. 2020).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genopred.errors import GenopredError
from genopred.genetics.finemap_kernels import shrinkage


@dataclass(frozen=True)
class SusieFit:
    """A fitted sum of single effects.

    Attributes
    ----------
    alpha : array, shape (L, M)
        Posterior probability that effect l sits at variant m. Rows sum to 1.
    mu, mu2 : array, shape (L, M)
        Posterior mean and second moment of effect l given its place, on the scale of standardised dosages.
    coef : array, shape (M,)
        Posterior mean effect of one allele copy, in units of `y`.
    intercept : float
    pip : array, shape (M,)
        Posterior inclusion probability, over the effects with a non-zero prior variance.
    prior_variance : array, shape (L,)
        Estimated prior variance of each effect; 0 where the data want no effect.
    sigma2 : float
        Residual variance.
    elbo : array, shape (iterations,)
        Evidence lower bound after each iteration.
    converged : bool
    """

    alpha: NDArray[np.float64]
    mu: NDArray[np.float64]
    mu2: NDArray[np.float64]
    coef: NDArray[np.float64]
    intercept: float
    pip: NDArray[np.float64]
    prior_variance: NDArray[np.float64]
    sigma2: float
    elbo: NDArray[np.float64]
    converged: bool


class Posterior(NamedTuple):
    """What the iterations end with, as in `SusieFit`; `shrink` is each effect's V / (V + s²)."""

    alpha: NDArray[np.float64]
    mu: NDArray[np.float64]
    mu2: NDArray[np.float64]
    shrink: NDArray[np.float64]
    sigma2: float
    elbo: NDArray[np.float64]
    converged: bool

    def of_alleles(self, mean: NDArray[np.float64], scale: NDArray[np.float64], y_mean: float, d: float) -> SusieFit:
        """The fit, effects those of one allele copy; `d` is the sum of squares of every standardised column."""
        used = self.shrink > 0.0
        coef = (self.alpha * self.mu).sum(axis=0) / scale
        pip = 1.0 - np.prod(1.0 - self.alpha[used], axis=0) if used.any() else np.zeros(len(mean))
        odds = self.shrink / (1.0 - np.minimum(self.shrink, 1 - 1e-15))
        prior_variance = np.where(used, odds * self.sigma2 / d, 0.0)
        intercept = float(y_mean - mean @ coef)
        return SusieFit(
            self.alpha, self.mu, self.mu2, coef, intercept, pip, prior_variance, self.sigma2, self.elbo, self.converged
        )


def susie(
    x: ArrayLike,
    y: ArrayLike,
    n_effects: int = 10,
    prior_weights: ArrayLike | None = None,
    *,
    max_iter: int = 100,
    tol: float = 1e-3,
    dtype: type = np.float64,
) -> SusieFit:
    """Fit the sum of single effects to individual-level data.

    Prior variances are estimated effect by effect (an effect that the data do not want gets variance 0),
    the residual variance jointly.

    Parameters
    ----------
    x : array, shape (N, M)
        ALT dosages, no missing values; constant columns never get weight.
    y : array, shape (N,)
    n_effects : int
        L, the largest number of effects.
    prior_weights : array, shape (M,), optional
        Prior probability of each variant to carry an effect; any non-negative numbers, scaled to sum 1.
        Flat by default.
    max_iter, tol
        Stop after so many passes, or when the evidence lower bound gains less than `tol`.
    dtype : numpy dtype
        Precision of the products with `x`. float32 halves the time; the rest stays float64.

    Returns
    -------
    SusieFit

    Raises
    ------
    GenopredError
        If shapes differ, a value is missing, or no prior weight is positive.

    References
    ----------
    Wang et al. (2020), doi:10.1111/rssb.12388.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> x = rng.integers(0, 3, (200, 30))
    >>> fit = susie(x, x[:, 4] + 0.5 * rng.standard_normal(200))
    >>> int(fit.pip.argmax()), bool(fit.pip[4] > 0.99)
    (4, True)
    """
    x = np.asarray(x, dtype=dtype)
    y = np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.shape != (x.shape[0],):
        raise GenopredError(f"susie: x has shape {x.shape} and y {y.shape}; needed are (N, M) and (N,).")
    n, m = x.shape
    mean, scale = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64, ddof=1)
    if not (np.isfinite(scale).all() and np.isfinite(y).all()):
        raise GenopredError("susie: x or y has missing values; impute or drop them first.")
    varies = scale > 1e-9
    log_prior = log_prior_of(prior_weights, m, varies)
    scale[~varies] = 1.0
    xt = np.ascontiguousarray(((x - mean.astype(dtype)) / scale.astype(dtype)).T)  # (M, N): rows are variants
    y_mean = y.mean()
    residual = y - y_mean
    variance_y = float(residual @ residual) / (n - 1)
    alpha = np.tile(np.exp(log_prior), (n_effects, 1))
    mu = np.zeros((n_effects, m))
    mu2 = np.zeros((n_effects, m))
    if variance_y <= 0.0 or not varies.any():
        zero = np.zeros(m)
        return SusieFit(alpha, mu, mu2, zero, y_mean, zero, np.zeros(n_effects), variance_y, np.zeros(1), True)

    d = n - 1.0  # x_j'x_j of every standardised column
    sigma2 = variance_y
    shrink = np.zeros(n_effects)
    fitted = np.zeros((n_effects, n))  # X E[b_l]
    second = np.zeros(n_effects)  # d sum alpha mu2
    kl = np.zeros(n_effects)
    elbo: list[float] = []
    converged = False
    xtr = xt @ residual.astype(dtype)  # kept equal to X' (y - all effects)
    for _ in range(max_iter):
        null_seen = False  # with the residual unchanged, an effect that was null stays null
        for effect in range(n_effects):
            was_null = shrink[effect] == 0.0
            if was_null and null_seen:
                continue
            if not was_null:
                residual += fitted[effect]
                xtr = xt @ residual.astype(dtype)
            xtr64 = xtr.astype(np.float64)
            z2 = xtr64**2 / (d * sigma2)
            w, log_bf = shrinkage(z2, log_prior, alpha[effect])
            shrink[effect] = w
            if w == 0.0:
                for part in (mu, mu2, fitted, second, kl):
                    part[effect] = 0.0
                null_seen = True
                continue
            mu[effect] = w * xtr64 / d
            mu2[effect] = mu[effect] ** 2 + w * sigma2 / d
            b = alpha[effect] * mu[effect]
            big = np.flatnonzero(np.abs(b) > 1e-12)
            fitted[effect] = b[big].astype(dtype) @ xt[big]
            second[effect] = d * float(alpha[effect] @ mu2[effect])
            kl[effect] = -log_bf + (float(b @ xtr64) - 0.5 * second[effect]) / sigma2
            residual -= fitted[effect]
            xtr = xt @ residual.astype(dtype)
            null_seen = False
        erss = float(residual @ residual) + float((second - (fitted**2).sum(axis=1)).sum())
        elbo.append(-0.5 * n * math.log(2 * math.pi * sigma2) - 0.5 * erss / sigma2 - float(kl.sum()))
        if len(elbo) > 1 and elbo[-1] - elbo[-2] < tol:
            converged = True
            break
        sigma2 = max(erss / n, 1e-4 * variance_y)  # as susieR: a phenotype without noise must not divide by 0
    fit = Posterior(alpha, mu, mu2, shrink, sigma2, np.array(elbo), converged)
    return fit.of_alleles(mean, scale, float(y_mean), d)


def log_prior_of(weights: ArrayLike | None, m: int, varies: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Log prior weights that sum to 1 over the columns that vary."""
    prior = np.ones(m) if weights is None else np.asarray(weights, dtype=np.float64).copy()
    if prior.shape != (m,) or not np.isfinite(prior).all() or (prior < 0).any():
        raise GenopredError(f"susie: prior_weights must be {m} finite numbers of at least 0; got shape {prior.shape}.")
    prior[~varies] = 0.0
    total = prior.sum()
    if total <= 0.0:
        if varies.any():
            raise GenopredError("susie: no variant that varies has a positive prior weight.")
        prior, total = np.ones(m), float(m)
    with np.errstate(divide="ignore"):
        return np.log(prior / total)


@dataclass(frozen=True)
class CredibleSet:
    """Variants that together hold one effect with at least the requested probability.

    Attributes
    ----------
    effect : int
        Row of `SusieFit.alpha`.
    variants : array of int
        Columns, most probable first.
    coverage : float
        Posterior probability that the effect is among them.
    min_abs_corr, mean_abs_corr : float
        Purity: absolute correlations between the set's dosages; 1 for a single variant.
    """

    effect: int
    variants: NDArray[np.int64]
    coverage: float
    min_abs_corr: float
    mean_abs_corr: float


def credible_sets(
    fit: SusieFit, dosage: ArrayLike, coverage: float = 0.95, min_abs_corr: float = 0.5
) -> list[CredibleSet]:
    """Credible sets of a fit, by susieR's rules: smallest sets, equal ones once, impure ones left out.

    Purity uses all pairs of a set, where susieR draws 100 variants from larger sets.

    Parameters
    ----------
    fit : SusieFit
    dosage : array, shape (N, M)
        What was given to `susie` as `x`.
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
        If `coverage` is not within 0 to 1, or `dosage` does not have the fit's variants.

    References
    ----------
    Wang et al. (2020), doi:10.1111/rssb.12388.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> x = rng.integers(0, 3, (200, 30)).astype(float)
    >>> x[:, 5] = x[:, 4]
    >>> found = credible_sets(susie(x, x[:, 4] + 0.5 * rng.standard_normal(200)), x)
    >>> [sorted(one.variants.tolist()) for one in found]
    [[4, 5]]
    """
    x = np.asarray(dosage, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != fit.alpha.shape[1]:
        raise GenopredError(f"credible_sets: dosage has shape {x.shape}; the fit has {fit.alpha.shape[1]} variants.")

    def between(some: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float64]:
        mine = _unit(x[:, some])
        made: NDArray[np.float64] = np.abs(mine.T @ (mine if some is others else _unit(x[:, others])))
        return made

    return sets_by(fit, between, coverage, min_abs_corr)


def sets_by(
    fit: SusieFit,
    between: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]],
    coverage: float,
    min_abs_corr: float,
) -> list[CredibleSet]:
    """Credible sets by the absolute correlations that `between` gives of variants (rows) with others (columns)."""
    if not 0 < coverage < 1:
        raise GenopredError(f"credible_sets: coverage is {coverage}; it must lie between 0 and 1, as 0.95.")
    seen: set[frozenset[int]] = set()
    out: list[CredibleSet] = []
    for effect in np.flatnonzero(fit.prior_variance > 1e-9).tolist():
        alpha = fit.alpha[effect]
        order = np.argsort(-alpha, kind="stable")
        # Rounding may keep the sum of all just below a coverage close to 1.
        size = min(int(np.searchsorted(np.cumsum(alpha[order]), coverage)) + 1, len(order))
        members = order[:size]
        key = frozenset(members.tolist())
        if key in seen:
            continue
        seen.add(key)
        low, mean = _purity(members, between, min_abs_corr)
        if low >= min_abs_corr:
            out.append(CredibleSet(effect, members, float(alpha[members].sum()), low, mean))
    return sorted(out, key=lambda one: -one.min_abs_corr)


def _unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns centred, of length 1; a constant column is 0, so that it correlates with none."""
    centred = x - x.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    centred /= np.where(length > 1e-12 * len(x), length, np.inf)
    return centred


def _purity(
    members: NDArray[np.int64],
    between: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]],
    enough: float,
) -> tuple[float, float]:
    """Smallest and mean absolute correlation between different variants.

    Where the first variant shows that the smallest is below `enough`, the others are not looked at.
    """
    size = len(members)
    if size == 1:
        return 1.0, 1.0
    first = between(members[:1], members[1:])
    if first.min() < enough:
        return float(first.min()), float(first.mean())
    pairs = between(members, members)
    np.fill_diagonal(pairs, 1.0)
    return float(min(pairs.min(), 1.0)), float(min((pairs.sum() - size) / (size * (size - 1)), 1.0))
