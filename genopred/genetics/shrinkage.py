"""Weights of variants from marginal correlations and LD alone: P+T, lassosum, ridge, and a Bayesian sampler.

All take standardised variants and an outcome of variance 1: marginal correlations r (M,), correlations between
variants R (M, M), and weights in standard deviations of the outcome for one of the dosage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import stdtrit

from genopred.errors import GenopredError
from genopred.genetics import ld
from genopred.genetics.scores import P_THRESHOLDS, R2_THRESHOLDS
from genopred.genetics.shrinkage_kernels import descend
from genopred.genetics.sumstats import Reference, Spectrum

Floats = NDArray[np.float64]

#: lassosum's: how far LD is drawn towards none.
SHRINKAGES = (0.2, 0.5, 0.9, 1.0)
#: Penalties of each, from the one at which no variant has a weight to this share of it.
N_LAMBDA, SMALLEST = 20, 0.05
#: Heritabilities that ridge is fitted for.
HERITABILITIES = (0.01, 0.03, 0.1, 0.3)
#: Global shrinkage of the sampler.
PHIS = (1e-5, 1e-4, 1e-2)
#: Variants with a larger squared correlation with a stronger one are left to it by the sampler.
ALIKE = 0.95
#: Share of LD's variance that the sampler sees.
SEEN = 0.995


class Candidates(NamedTuple):
    """Weights (C, M) and what each was made with."""

    weights: Floats
    labels: tuple[str, ...]


def threshold_weights(
    r: ArrayLike,
    correlation: Floats,
    n: float,
    positions: ArrayLike,
    p_thresholds: Sequence[float] = P_THRESHOLDS,
    r2_thresholds: Sequence[float] = R2_THRESHOLDS,
    kb: float = 250.0,
) -> Candidates:
    """P+T: marginal weights of the strongest variants, without those in LD with a stronger one.

    Parameters
    ----------
    r, correlation
        See the module.
    n : float
        People of the study.
    positions : array of int, shape (M,)
    p_thresholds, r2_thresholds : sequence of float
        The grid; weights come r² by r², each with all p-values.
    kb : float
        Variants farther apart than so many kilobases do not clump.

    Examples
    --------
    >>> made = threshold_weights([0.5, 0.45, 0.1], np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1.0]]), 100, [1, 2, 3],
    ...                          (1.0, 1e-3), (0.5,))
    >>> made.weights.tolist(), made.labels
    ([[0.5, 0.0, 0.1], [0.5, 0.0, 0.0]], ('r2 0.5, p 1', 'r2 0.5, p 0.001'))
    """
    marginal = np.asarray(r, dtype=np.float64)
    index = _leads(marginal, correlation, ld.windows(np.asarray(positions, dtype=np.int64), kb), r2_thresholds)
    t = np.abs(marginal) * np.sqrt((n - 2) / np.maximum(1 - marginal**2, 1e-12))
    bounds = np.array([0.0 if p >= 1 else -stdtrit(max(n - 2, 1), p / 2) for p in p_thresholds])
    used = index[:, None, :] & (t >= bounds[:, None])[None]
    labels = tuple(f"r2 {r2:g}, p {p:g}" for r2 in r2_thresholds for p in p_thresholds)
    return Candidates(used.reshape(-1, len(marginal)) * marginal, labels)


def _leads(
    marginal: Floats,
    correlation: Floats,
    windows: tuple[NDArray[np.int64], NDArray[np.int64]],
    limits: Sequence[float],
) -> NDArray[np.bool_]:
    """Index variants of clumping at each limit of r², the strongest first, shape (T, M)."""
    order = np.argsort(-np.abs(marginal), kind="stable")
    bounds = np.asarray(limits, dtype=np.float64)
    owner = ld.greedy(ld.Products.of(correlation), order, len(order), *windows, bounds)
    return owner == np.arange(len(marginal))


def lassosum(
    r: ArrayLike, correlation: Floats, shrinkages: Sequence[float] = SHRINKAGES, n_lambda: int = N_LAMBDA
) -> Candidates:
    """Lasso on correlations drawn towards none: minimise b'((1 - s) R + s I) b / 2 - r'b + lambda |b|.

    Parameters
    ----------
    r, correlation
        See the module.
    shrinkages : sequence of float
        s, each with a path of so many lambdas, which ends where the weights would explain more than there is.

    References
    ----------
    Mak et al. (2017), doi:10.1002/gepi.22050.

    Examples
    --------
    >>> made = lassosum([0.5, 0.4], np.array([[1.0, 0.8], [0.8, 1.0]]), (0.2,))
    >>> made.weights[1].round(3).tolist(), made.labels[:2]
    ([0.025, 0.0], ('none', 's 0.2, lambda 0.475'))
    """
    marginal = np.ascontiguousarray(r, dtype=np.float64)
    top = float(np.abs(marginal).max(initial=0.0))
    lambdas = 0.95 * top * np.logspace(0.0, np.log10(SMALLEST), n_lambda)
    out, labels = [np.zeros((1, len(marginal)))], ["none"]
    if top > 0:
        ordered = np.ascontiguousarray(correlation)
        for s in shrinkages:
            part = np.zeros((n_lambda, len(marginal)))
            done = descend(ordered, float(s), marginal, lambdas, 1e-3 * top, 200, part)
            out.append(part[:done])
            labels += [f"s {s:g}, lambda {lam:.3g}" for lam in lambdas[:done]]
    return Candidates(np.vstack(out), tuple(labels))


def ridge_weights(
    r: ArrayLike, spectrum: Spectrum, n: float, s: float, heritabilities: Sequence[float] = HERITABILITIES
) -> Candidates:
    """Best linear unbiased predictor of all variants together (SBLUP), for some heritabilities.

    Solves ((1 - s) R + s I + (M / (n h²)) I) b = r.

    References
    ----------
    Robinson et al. (2017), doi:10.1038/s41562-016-0016.

    Examples
    --------
    >>> made = ridge_weights([0.5, 0.4], Spectrum.of(np.array([[1.0, 0.8], [0.8, 1.0]])), 100, 0.0, (0.5,))
    >>> made.weights.round(3).tolist()
    [[0.453, 0.036]]
    """
    marginal = np.asarray(r, dtype=np.float64)
    m, v = len(marginal), spectrum.vectors
    inside = v.T @ marginal
    out = []
    for h2 in heritabilities:
        rest = s + m / (n * h2)
        out.append(marginal / rest + v @ (inside * (1 / ((1 - s) * spectrum.values + rest) - 1 / rest)))
    return Candidates(np.array(out), tuple(f"h2 {h2:g}" for h2 in heritabilities))


@dataclass(frozen=True)
class _LowRank:
    """(1 - s) R + s I as Phi'Phi + rest I, of R's leading eigenvectors."""

    phi: Floats
    rest: float


def _low_rank(spectrum: Spectrum, s: float) -> _LowRank:
    order = np.argsort(-spectrum.values, kind="stable")
    share = np.cumsum(spectrum.values[order])
    k = int(np.searchsorted(share, SEEN * share[-1])) + 1 if len(order) else 0
    kept = order[:k]
    # what is left of the trace counts as of variants by themselves
    lost = 1.0 - float(spectrum.values[kept].sum()) / spectrum.m
    phi = np.sqrt((1 - s) * spectrum.values[kept])[:, None] * spectrum.vectors[:, kept].T
    return _LowRank(np.ascontiguousarray(phi), s + (1 - s) * max(lost, 0.0))


def continuous_shrinkage(
    r: ArrayLike,
    spectrum: Spectrum,
    n: float,
    s: float,
    phi: float | None = None,
    *,
    iterations: int = 600,
    burn_in: int = 200,
    seed: int = 0,
) -> Floats:
    """Posterior mean weights (M,) under a Strawderman-Berger prior, as PRS-CS has it, by Gibbs sampling.

    Weight j is normal with variance psi_j / n, psi_j ~ Gamma(1, delta_j), delta_j ~ Gamma(1/2, phi). All weights are
    drawn together given the rest, by the low rank of LD, so that variants in strong LD do not hold up the chain; the
    means that they are drawn around are what is averaged.

    Parameters
    ----------
    r, spectrum, n, s
        As of `ridge_weights`.
    phi : float, optional
        Global shrinkage, about the square of the share of variants with an effect; learned, with sqrt(phi) half
        Cauchy, where None.
    iterations, burn_in : int
        Draws, and how many of them come before those that count.
    seed : int

    Notes
    -----
    The residual variance stays 1: by the LD of a panel that is not the study's, weights can seem to explain more than
    there is, and a variance drawn by that falls until nothing is shrunk. PRS-CS bounds psi by 1 against it, which
    halves the strongest weights; an eQTL's would be its best part. Here psi stays below n.

    References
    ----------
    Ge et al. (2019), doi:10.1038/s41467-019-09718-5; Bhattacharya et al. (2016), doi:10.1093/biomet/asw042 (the draw).

    Examples
    --------
    >>> found = continuous_shrinkage([0.5, 0.4], Spectrum.of(np.array([[1.0, 0.8], [0.8, 1.0]])), 1000, 0.0, 1e-2)
    >>> bool(0.45 < found[0] < 0.55), bool(abs(found[1]) < 0.05)
    (True, True)
    """
    if not 0 <= burn_in < iterations:
        raise GenopredError(f"continuous_shrinkage: {iterations} draws, {burn_in} before they count; needed are more.")
    marginal = np.asarray(r, dtype=np.float64)
    m = len(marginal)
    if m == 0 or not np.abs(marginal).max() > 0:
        return np.zeros(m)
    low, rng = _low_rank(spectrum, s), np.random.default_rng(seed)
    k = len(low.phi)
    psi = np.ones(m)
    scale = 1.0 if phi is None else float(phi)
    total = np.zeros(m)
    for draw in range(iterations):
        inverse = 1.0 / (low.rest + 1.0 / psi)
        wide = low.phi * np.sqrt(inverse)
        factor = cho_factor(wide @ wide.T + np.eye(k), lower=True, check_finite=False)

        def solved(x: Floats, inverse: Floats = inverse, factor: tuple[Floats, bool] = factor) -> Floats:
            """(Phi'Phi + rest + 1 / psi)^-1 x."""
            y = inverse * x
            return y - inverse * (low.phi.T @ cho_solve(factor, low.phi @ y, check_finite=False))

        mean = solved(marginal)
        noise = rng.standard_normal(m) / np.sqrt(inverse) + low.phi.T @ rng.standard_normal(k)
        beta = mean + solved(noise) / np.sqrt(n)
        if draw >= burn_in:
            total += mean
        delta = rng.gamma(1.5, 1.0 / (psi + scale))
        psi = np.minimum(_generalised_inverse_gaussian(2 * delta, n * beta**2, rng), n)
        if phi is None:
            width = rng.gamma(1.0, 1.0 / (scale + 1.0))
            scale = float(rng.gamma(m / 2 + 0.5, 1.0 / (float(delta.sum()) + width)))
    return total / (iterations - burn_in)


def _generalised_inverse_gaussian(a: Floats, b: Floats, rng: np.random.Generator) -> Floats:
    """Draws of density x^(-1/2) exp(-(a x + b / x) / 2): one over inverse Gaussians."""
    return 1.0 / np.maximum(rng.wald(np.sqrt(a / np.maximum(b, 1e-12)), a), 1e-12)


def shrinkage_candidates(
    r: ArrayLike, reference: Reference, n: float, s: float, phis: Sequence[float | None] = PHIS, *, seed: int = 0
) -> Candidates:
    """`continuous_shrinkage` for some phi, of variants that are not alike: of those, the strongest has the weight."""
    marginal = np.asarray(r, dtype=np.float64)
    whole = np.zeros(len(marginal), dtype=np.int64), np.full(len(marginal), len(marginal))
    kept = np.flatnonzero(_leads(marginal, reference.correlation, whole, (ALIKE,))[0])
    spectrum = reference.select(kept).spectrum()
    weights = np.zeros((len(phis), len(marginal)))
    for phi, row in zip(phis, weights):
        row[kept] = continuous_shrinkage(marginal[kept], spectrum, n, s, phi, seed=seed)
    return Candidates(weights, tuple("phi auto" if phi is None else f"phi {phi:g}" for phi in phis))
