"""Summary statistics and linkage disequilibrium as sums over people, and whether the two belong together.

Marginal z of a study of n people and correlations R between variants in a panel say what learners by sums need: with
dosages and outcome standardised, X'X = n R, X'y = n z / sqrt(z² + n - 2) and y'y = n. That holds where R is the
study's: `find_flips` looks for alleles that were swapped, `kriging` for z that LD does not explain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.optimize import minimize_scalar, nnls
from scipy.special import stdtr

from genopred.errors import GenopredError
from genopred.genetics.moments import Centred, Moments
from genopred.genetics.transform import known_means

Floats = NDArray[np.float64]

#: susieR's bounds: a row is taken as flipped where flipping it makes it exp(2) times as likely, and it is no noise.
LEAST_LOG_RATIO, LEAST_Z = 2.0, 2.0
#: Variants of which one is flipped at a time, as each bears on what is expected of the other.
_NEAR = 0.3
_ROUNDS = 200


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues above 0 (k,) and their eigenvectors (M, k) of correlations between M variants; M - k others are 0."""

    values: Floats
    vectors: Floats

    @classmethod
    def of(cls, correlation: Floats) -> Spectrum:
        """The spectrum of a symmetric matrix."""
        values, vectors = eigh(correlation, driver="evd", check_finite=False)
        used = values > 1e-8
        return cls(values[used], np.ascontiguousarray(vectors[:, used]))

    @classmethod
    def of_people(cls, standardised: Floats) -> Spectrum:
        """That of the correlations X'X / n of standardised dosages (n, M), for fewer people than variants.

        >>> x = np.array([[1.0, -1.0, 1.0], [-1.0, 1.0, 1.0]])
        >>> Spectrum.of_people(x).values.round(6).tolist(), Spectrum.of(x.T @ x / 2).values.round(6).tolist()
        ([1.0, 2.0], [1.0, 2.0])
        """
        n = len(standardised)
        values, left = eigh(standardised @ standardised.T / n, driver="evd", check_finite=False)
        used = values > 1e-8
        values = values[used]
        return cls(values, standardised.T @ (left[:, used] / np.sqrt(n * values)))

    @property
    def m(self) -> int:
        """M."""
        return len(self.vectors)


@dataclass(frozen=True)
class Reference:
    """Linkage disequilibrium of a panel.

    Attributes
    ----------
    n : int
        People.
    mean : array, shape (M,)
        Dosage.
    scale : array, shape (M,)
        Standard deviation; 0 where nobody varies.
    correlation : array, shape (M, M)
        Between dosages; 0 with variants that do not vary, 1 with themselves.
    standardised : array, shape (n, M), optional
        The people's dosages minus the mean over the standard deviation, where they are fewer than the variants.
    """

    n: int
    mean: Floats
    scale: Floats
    correlation: Floats
    standardised: Floats | None = None

    @classmethod
    def of(cls, moments: Moments) -> Reference:
        """From sums over the panel's people; missing dosages count as the variant's mean.

        >>> ld = Reference.of(Moments.of([[0, 2], [1, 1], [2, 0]], [0.0, 0.0, 0.0]))
        >>> ld.correlation.round(6).tolist()
        [[1.0, -1.0], [-1.0, 1.0]]
        """
        filled = moments.filled()
        mean = filled.mean
        gram = filled.gram - np.outer(mean, filled.sums)
        scale = _spread(mean, np.diag(gram) / max(filled.n, 1))
        inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
        return cls(filled.n, mean, scale, _tidy(gram * np.outer(inverse, inverse) / max(filled.n, 1)))

    @classmethod
    def of_people(cls, dosage: ArrayLike) -> Reference:
        """From the panel's dosages (n, M), NaN where missing."""
        x = np.array(dosage, dtype=np.float64)
        n, m = x.shape
        if n >= m:
            return cls.of(Moments.of(x, np.zeros(n)))
        mean = known_means(x)
        x = np.where(np.isnan(x), mean, x) - mean
        scale = _spread(mean, np.einsum("ij,ij->j", x, x) / n)
        x *= np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
        return cls(n, mean, scale, _tidy(x.T @ x / n), x)

    @property
    def m(self) -> int:
        """M."""
        return len(self.mean)

    def select(self, which: ArrayLike) -> Reference:
        """Of some of the variants: indices or a mask."""
        index = np.arange(self.m)[np.asarray(which)]
        people = None if self.standardised is None else self.standardised[:, index]
        return Reference(self.n, self.mean[index], self.scale[index], self.correlation[np.ix_(index, index)], people)

    def spectrum(self) -> Spectrum:
        """Of the correlations, as they are."""
        if self.standardised is None or len(self.standardised) >= self.m:
            return Spectrum.of(self.correlation)
        return Spectrum.of_people(self.standardised)


def _spread(mean: Floats, variance: Floats) -> Floats:
    variance = np.maximum(variance, 0.0)
    return np.sqrt(np.where(variance > 1e-10 * (mean**2 + variance), variance, 0.0))


def _tidy(correlation: Floats) -> Floats:
    out = np.clip((correlation + correlation.T) / 2, -1.0, 1.0)
    np.fill_diagonal(out, 1.0)
    return out


def panel_shrinkage(correlation: ArrayLike, n: int) -> float:
    """How far correlations of n people are best drawn towards 0, from 0 to 1.

    The share of all squared correlations that is noise: the sum of their sampling variances, (1 - r²)² / (n - 1),
    over the sum of their squares.

    Parameters
    ----------
    correlation : array, shape (M, M)
    n : int

    References
    ----------
    Schäfer and Strimmer (2005), doi:10.2202/1544-6115.1175, with the variance of a correlation of normal variables.

    Examples
    --------
    >>> panel_shrinkage(np.eye(3), 100), round(panel_shrinkage([[1, 0.5], [0.5, 1]], 101), 4)
    (1.0, 0.0225)
    """
    r2 = np.asarray(correlation, dtype=np.float64) ** 2
    off = ~np.eye(len(r2), dtype=bool)
    total = float(r2[off].sum())
    noise = float(((1.0 - r2[off]) ** 2).sum()) / max(n - 1, 1)
    return min(1.0, noise / total) if total > 0 else 1.0


def shrunk(correlation: Floats, s: float) -> Floats:
    """(1 - s) R + s I."""
    out = (1.0 - s) * correlation
    np.fill_diagonal(out, 1.0)
    return out


def marginal_correlation(z: ArrayLike, n: float) -> Floats:
    """Correlation of each variant with the outcome that gives its t in n people, shape (M,).

    >>> marginal_correlation([0.0, 10.0], 102).round(4).tolist()
    [0.0, 0.7071]
    """
    t = np.asarray(z, dtype=np.float64)
    if not n > 2:
        raise GenopredError(f"summary statistics of {n:g} people: more than 2 are needed; give --sumstats-n.")
    return t / np.sqrt(t**2 + n - 2)


def as_sums(z: ArrayLike, n: float, reference: Reference, s: float) -> Centred:
    """Sums over people who would have these z and the panel's frequencies and LD; the outcome has variance 1.

    Parameters
    ----------
    z : array, shape (M,)
        Effect over standard error, of one ALT copy as the panel counts it.
    n : float
        People of the study.
    reference : Reference
    s : float
        How far LD is drawn towards none, see `panel_shrinkage`.

    References
    ----------
    Zhu and Stephens (2017), doi:10.1214/17-AOAS1046; Zou et al. (2022), doi:10.1371/journal.pgen.1010299.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.integers(0, 3, (500, 2)).astype(float)
    >>> ld = Reference.of(Moments.of(x, np.zeros(500)))
    >>> sums = as_sums([3.0, 0.0], 500, ld, 0.0)
    >>> bool(np.allclose(sums.gram, Moments.of(x, np.zeros(500)).centred().gram)), round(sums.square)
    (True, 500)
    """
    count = round(n)
    scale = reference.scale
    gram = count * np.outer(scale, scale) * shrunk(reference.correlation, s)
    cross = count * scale * marginal_correlation(z, n)
    return Centred(count, reference.mean, gram, 0.0, cross, float(count))


#: How much nearer one of two alleles' frequencies must be.
_NEARER = 0.1


def alleles_by_frequency(af: ArrayLike, freq: ArrayLike) -> NDArray[np.int64]:
    """Whether frequencies of one study are of the same allele as another's: 1 yes, -1 of the other one, 0 who knows.

    For A/T and C/G variants, whose alleles look the same on both strands; NaN is unknown.

    >>> alleles_by_frequency([0.1, 0.85, 0.48, np.nan], [0.15, 0.15, 0.5, 0.1]).tolist()
    [1, -1, 0, 0]
    """
    a, b = np.asarray(af, dtype=np.float64), np.asarray(freq, dtype=np.float64)
    same, other = np.abs(a - b), np.abs(1 - a - b)
    return np.where(same + _NEARER < other, 1, np.where(other + _NEARER < same, -1, 0))


# --- do z and LD belong together? ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kriging:
    """Each z as the others expect it.

    Attributes
    ----------
    s : float
        Inconsistency between z and LD, 0 (none) to 1: z are taken as drawn with correlations (1 - s) R + s I.
    z : array, shape (M,)
        As compared: of the variance that z have when an effect explains part of the outcome.
    expected, variance : array, shape (M,)
        Mean and variance of each given all others.
    log_ratio : array, shape (M,)
        Log likelihood ratio of a flipped allele against none.
    """

    s: float
    z: Floats
    expected: Floats
    variance: Floats
    log_ratio: Floats

    @property
    def distance(self) -> Floats:
        """Of each z from what is expected, in standard deviations, shape (M,)."""
        return (self.z - self.expected) / np.sqrt(self.variance)


def kriging(z: ArrayLike, spectrum: Spectrum, n: float, s: float | None = None) -> Kriging:
    """Compare each z with what all others and LD say of it, as susieR's `kriging_rss`.

    Parameters
    ----------
    z : array, shape (M,)
    spectrum : Spectrum
        Of the panel's correlations, not shrunk.
    n : float
        People of the study.
    s : float, optional
        Else that of the largest likelihood.

    References
    ----------
    Zou et al. (2022), doi:10.1371/journal.pgen.1010299.

    Examples
    --------
    >>> found = kriging([6.0, -5.5], Spectrum.of(np.array([[1.0, 0.95], [0.95, 1.0]])), 1000, s=0.0)
    >>> found.expected.round(1).tolist()
    [-5.2, 5.6]
    """
    adjusted = _adjusted(z, n)
    s = inconsistency(adjusted, spectrum) if s is None else min(s, 0.8) if s > 1 else s
    expected, variance = _conditional(adjusted, spectrum, s)
    return Kriging(s, adjusted, expected, variance, _log_ratios(adjusted, expected, variance))


def _adjusted(z: ArrayLike, n: float) -> Floats:
    t = np.nan_to_num(np.asarray(z, dtype=np.float64))
    return t * np.sqrt((n - 1) / (t**2 + n - 2))


def inconsistency(adjusted: Floats, spectrum: Spectrum) -> float:
    """The s under which z, drawn from a normal distribution with correlations (1 - s) R + s I, are most likely."""
    return float(
        minimize_scalar(
            lambda s: -_likelihood(adjusted, spectrum, s), bounds=(1e-8, 1.0), method="bounded", options={"xatol": 1e-9}
        ).x
    )


def _likelihood(z: Floats, spectrum: Spectrum, s: float) -> float:
    """Log density of z, but for a constant."""
    square = (spectrum.vectors.T @ z) ** 2
    variance = (1.0 - s) * spectrum.values + s
    rest, others = max(float(z @ z - square.sum()), 0.0), spectrum.m - len(variance)
    return -0.5 * float((np.log(variance) + square / variance).sum() + others * np.log(s) + rest / s)


def _conditional(z: Floats, spectrum: Spectrum, s: float) -> tuple[Floats, Floats]:
    """Mean and variance of each given the others."""
    eigen, v = (1.0 - s) * spectrum.values + s, spectrum.vectors
    rest = 1.0 / s if s > 0 else 0.0
    weight = np.divide(1.0, eigen, out=np.zeros_like(eigen), where=eigen > 0) - rest
    precision = np.maximum((v**2) @ weight + rest, 1e-12)
    return z - (v @ (weight * (v.T @ z)) + rest * z) / precision, 1.0 / precision


def _log_ratios(z: Floats, expected: Floats, variance: Floats) -> Floats:
    """Of a flipped allele: normal densities whose spread is a mixture, fitted to all variants, as susieR has them."""
    most = float((((z - expected) ** 2) / variance).max(initial=0.0))
    top = 2.0 if most < 1 else 2 * np.sqrt(most)
    steps = int(np.ceil(np.log2(top / 0.8) / np.log2(1.05)))
    spread = np.sqrt(variance)[:, None] * (1.05 ** np.arange(-steps, 1) * top)

    def density(miss: Floats) -> tuple[Floats, Floats]:
        log = -0.5 * (miss[:, None] / spread) ** 2 - np.log(spread)
        peak = log.max(axis=1)
        return np.exp(log - peak[:, None]), peak

    straight, first = density(z - expected)
    weights = mixture_weights(straight)
    turned, second = density(z + expected)
    return np.log(turned @ weights + 1e-15) + second - np.log(straight @ weights + 1e-15) - first


def mixture_weights(density: Floats) -> Floats:
    """Weights (K,), none below 0 and adding up to 1, that make observations of densities (M, K) most likely.

    References
    ----------
    Wang (2007), doi:10.1111/j.1467-9868.2007.00583.x: each step solves least squares with weights of at least 0.

    Examples
    --------
    >>> mixture_weights(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])).round(4).tolist()
    [0.6667, 0.3333]
    """
    m, k = density.shape
    weights = np.full(k, 1.0 / k)

    def value(w: Floats) -> float:
        return float(np.log(density @ w + 1e-300).sum())

    now = value(weights)
    for _ in range(100):
        ratio = density / (density @ weights + 1e-300)[:, None]
        gain = ratio.sum(axis=0) - m
        if gain.max() < 1e-7 * m:
            break
        # min |ratio w - 2|² with weights that add up to 1, by its triangle alone
        triangle = np.linalg.qr(ratio - 2.0, mode="r")
        made = nnls(np.vstack([triangle, np.ones(k)]), np.append(np.zeros(len(triangle)), 1.0), maxiter=50 * k)[0]
        step = made / made.sum() - weights
        slope, size = float(gain @ step), 1.0
        if slope <= 1e-12 * m:
            break
        while (then := value(weights + size * step)) < now + 1e-3 * size * slope and size > 1e-10:
            size /= 2
        weights, now = np.maximum(weights + size * step, 0.0), then
    return weights / weights.sum()


class Check(NamedTuple):
    """What `find_flips` found: in `before` every z as it came; `flipped` (M,) whose allele is the other one; in
    `after` the z with these turned."""

    before: Kriging
    flipped: NDArray[np.bool_]
    after: Kriging


def find_flips(z: ArrayLike, spectrum: Spectrum, n: float) -> Check:
    """Alleles that were swapped: variants whose z fits those of the others with the other sign.

    One flipped allele spoils what is expected of its neighbours, and of many the inconsistency of all. So they are
    turned one by one where they are near each other, the clearest first, and all is expected anew, until no z of at
    least 2 is exp(2) times as likely with the other sign. What LD does not say, as of two variants in LD with each
    other alone, or of a z near 0, nobody can name.

    Parameters
    ----------
    z, spectrum, n
        As of `kriging`.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> x = np.cumsum(rng.standard_normal((400, 12)), axis=1)
    >>> z = 20 * np.corrcoef(x.T)[5]
    >>> z[7] *= -1
    >>> np.flatnonzero(find_flips(z, Spectrum.of(np.corrcoef(x.T)), 1000).flipped).tolist()
    [7]
    """
    adjusted = _adjusted(z, n)
    sign = np.ones(len(adjusted))
    first = at = _kriged(adjusted, spectrum)
    for _ in range(_ROUNDS):
        near = np.flatnonzero((at.log_ratio > LEAST_LOG_RATIO) & (np.abs(at.z) > LEAST_Z))
        if not len(near):
            break
        order = near[np.argsort(-at.log_ratio[near], kind="stable")]
        # correlations among the candidates alone
        rows = spectrum.vectors[order] * np.sqrt(spectrum.values)
        r = np.abs(rows @ rows.T)
        chosen: list[int] = []
        for i in range(len(order)):
            if not (r[i, chosen] > _NEAR).any():
                chosen.append(i)
        turned = sign.copy()
        turned[order[chosen]] *= -1
        then = _kriged(turned * adjusted, spectrum)
        # what makes all of it less likely goes back and forth for ever
        if _likelihood(turned * adjusted, spectrum, then.s) <= _likelihood(sign * adjusted, spectrum, at.s):
            break
        sign, at = turned, then
    return Check(first, sign < 0, at)


def _kriged(adjusted: Floats, spectrum: Spectrum) -> Kriging:
    s = inconsistency(adjusted, spectrum)
    expected, variance = _conditional(adjusted, spectrum, s)
    return Kriging(s, adjusted, expected, variance, _log_ratios(adjusted, expected, variance))


# --- are there people in both studies? -------------------------------------------------------------------------------


#: z of an effect that is seen, and a correlation of noise that unseen effects do not reach.
SEEN_EFFECT, FAINT = 4.0, 0.1


class Shared(NamedTuple):
    """One gene for `overlap`: its strongest z in either study; sums of weights, weighted x, x², products of z, x times
    these, and squares of both z."""

    strongest: float
    weight: float
    x: float
    xx: float
    product: float
    x_product: float
    square: float
    square_other: float


def shared_noise(z: ArrayLike, other: ArrayLike, spectrum: Spectrum, n: float, n_other: float) -> Shared:
    """What one gene says of people in two studies, from their z (M,) of the same variants.

    In the directions of LD's eigenvectors z are independent but for effects, of which products of two studies grow with
    the eigenvalue, and for people in both, of which they do not. Directions that the panel does not have are left out.

    Parameters
    ----------
    z, other : array, shape (M,)
    spectrum : Spectrum
    n, n_other : float
        People of the two studies.
    """
    values = spectrum.values
    used = values > 0.01 * max(values.mean(), 1e-12)
    root = np.sqrt(values[used])
    one, two = ((spectrum.vectors[:, used].T @ np.asarray(t, dtype=np.float64)) / root for t in (z, other))
    x = values[used] * np.sqrt(n * n_other) / max(len(values), 1)
    weight = 1.0 / (1.0 + 0.01 * x) ** 2
    product = one * two
    parts = (np.ones_like(x), x, x * x, product, x * product, one**2, two**2)
    strongest = float(max(np.abs(z).max(initial=0.0), np.abs(other).max(initial=0.0)))
    return Shared._make([strongest, *(float((weight * part).sum()) for part in parts)])


@dataclass(frozen=True)
class Overlap:
    """Correlation of the noise of two studies: `r`, its standard error `se`, `z`, and the `genes` it comes from.

    With the same outcome in all people it is their number in both over the root of the product of the studies' sizes.
    """

    r: float
    se: float
    genes: int

    @property
    def z(self) -> float:
        """r over its standard error."""
        return self.r / self.se if self.se > 0 else 0.0

    @property
    def likely(self) -> bool:
        """Whether people are in both, by a one-sided p of 1e-4 (Student's, as genes may be few) and a correlation
        beyond what faint effects leave."""
        return bool(stdtr(self.genes - 1, -self.z) < 1e-4) and self.r > FAINT


def overlap(genes: Iterable[Shared]) -> Overlap | None:
    """The correlation of noise over genes: the intercept of products of z on eigenvalues; None of fewer than 5 genes.

    Only genes without an effect that either study sees count: with the eigenvectors of a panel the intercept does not
    leave strong effects out. Effects too faint to be seen may raise it to 0.08 (simulated, genes of heritability 0.3).

    Its standard error is that of leaving out one gene at a time, as LD score regression leaves out blocks.

    References
    ----------
    Bulik-Sullivan et al. (2015), doi:10.1038/ng.3406: the intercept of cross-trait LD score regression.
    """
    sums = np.array([tuple(one) for one in genes], dtype=np.float64).reshape(-1, len(Shared._fields))
    sums = sums[np.isfinite(sums).all(axis=1) & (sums[:, 1] > 0) & (sums[:, 0] < SEEN_EFFECT)][:, 1:]
    if len(sums) < 5:
        return None

    def intercept(total: Floats) -> Floats:
        w, x, xx, p, xp, a, b = total.T
        spread = w * xx - x * x
        return (p * xx - x * xp) / np.where(spread > 0, spread, np.inf) / np.sqrt(a * b / w**2)

    whole = sums.sum(axis=0)
    without = intercept(whole - sums)
    g = len(sums)
    se = np.sqrt((g - 1) / g * ((without - without.mean()) ** 2).sum())
    return Overlap(float(intercept(whole[None])[0]), float(se), g)
