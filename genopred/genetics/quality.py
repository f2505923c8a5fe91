"""Whether genotypes and expression are what they should be: missing calls, relatives, outliers, swapped samples.

Samples are rows; a dosage counts copies of ALT and is NaN where missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2, rankdata

from genopred.errors import GenopredError
from genopred.genetics.transform import mean_filled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Kinship from which two samples are one person (or identical twins), and relatives of first and second degree:
#: the bounds of KING, halfway (in powers of 2) between one degree and the next.
SAME, FIRST, SECOND = 2**-1.5, 2**-2.5, 2**-3.5

#: Degrees of freedom of the t that residuals of expression follow.
TAILS = 8.0

#: Log likelihood by which the genotypes that fit best must be ahead of the next to be taken for the person's.
AHEAD = 4.0

#: How many variants back one is held against, of those that were kept.
_LOOK_BACK = 60


@dataclass(frozen=True)
class CallQuality:
    """What the calls of some variants are like.

    Attributes
    ----------
    missing : array, shape (M,)
        Share of people without a call, of each variant.
    missing_of_people : array, shape (N,)
        Share of variants without a call, of each person; variants missing in everybody do not count.
    frequency : array, shape (M,)
        Of ALT, 0 to 1; NaN where nobody has a call.
    varies : array of bool, shape (M,)
        Whether two people differ.
    hwe : array, shape (M,)
        p-value of Hardy-Weinberg proportions, chi-square with one degree of freedom; NaN where calls are no whole
        numbers or do not vary.
    inbreeding : array, shape (N,)
        F of each person: 1 - observed / expected heterozygotes over common variants; below 0 too many heterozygotes.
    """

    missing: Floats
    missing_of_people: Floats
    frequency: Floats
    varies: NDArray[np.bool_]
    hwe: Floats
    inbreeding: Floats


def call_quality(dosage: ArrayLike) -> CallQuality:
    """Missing calls, frequencies, Hardy-Weinberg proportions and heterozygotes.

    Parameters
    ----------
    dosage : array, shape (N, M)

    Examples
    --------
    >>> found = call_quality([[0, np.nan], [1, np.nan], [2, np.nan], [1, np.nan]])
    >>> found.missing.tolist(), found.frequency.tolist(), found.varies.tolist()
    ([0.0, 1.0], [0.5, nan], [True, False])
    """
    x = np.asarray(dosage, dtype=np.float32)
    known = ~np.isnan(x)
    n = known.sum(axis=0)
    filled = np.where(known, x, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = filled.sum(axis=0, dtype=np.float64) / (2 * n)
        low = np.where(known, x, np.inf).min(axis=0, initial=np.inf)
        high = np.where(known, x, -np.inf).max(axis=0, initial=-np.inf)
        het = ((x > 0.5) & (x < 1.5)).sum(axis=0)
        alt = (x >= 1.5).sum(axis=0)
        expected = np.stack([(1 - p) ** 2, 2 * p * (1 - p), p**2]) * n
        seen = np.stack([n - het - alt, het, alt])
        chi = ((seen - expected) ** 2 / expected).sum(axis=0)
        whole = (np.where(known, x, 0) == np.round(np.where(known, x, 0))).all(axis=0)
        hwe = np.where(whole & (low < high), chi2.sf(chi, 1), np.nan)
    common = (n > 0) & (np.minimum(p, 1 - p) > 0.05)
    expected_het = known[:, common] @ (2 * p * (1 - p))[common]
    observed_het = ((x[:, common] > 0.5) & (x[:, common] < 1.5)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        inbreeding = 1 - observed_het / expected_het
    there = known[:, n > 0]
    of_people = 1 - there.mean(axis=1) if there.shape[1] else np.ones(len(x))
    return CallQuality(1 - n / max(len(x), 1), of_people, p, low < high, hwe, inbreeding)


def independent(dosage: ArrayLike, pos: ArrayLike, *, r2: float = 0.1, kb: float = 2000.0, maf: float = 0.05) -> Ints:
    """Common variants in little linkage disequilibrium, taken greedily from left to right.

    Parameters
    ----------
    dosage : array, shape (N, M)
    pos : array of int, shape (M,)
        Positions in bp, ascending within each chromosome; a step back starts another chromosome.
    r2 : float
        Largest squared correlation with one that is kept, within `kb`.
    kb : float
        Reach in 1,000 bp.
    maf : float
        Rarer variants are left out.

    Returns
    -------
    array of int
        Columns, ascending.
    """
    x = mean_filled(np.asarray(dosage, dtype=np.float64))
    places = np.asarray(pos, dtype=np.int64)
    p = x.mean(axis=0) / 2
    x = x - x.mean(axis=0)
    norm = np.linalg.norm(x, axis=0)
    usable = np.flatnonzero((np.minimum(p, 1 - p) >= maf) & (norm > 1e-6))
    rows = np.ascontiguousarray((x[:, usable] / norm[usable]).T, dtype=np.float32)
    kept: list[int] = []
    first = before = 0
    for i, column in enumerate(usable.tolist()):
        if places[column] < before:
            first = len(kept)
        before = places[column]
        while first < len(kept) and places[column] - places[usable[kept[first]]] > 1000 * kb:
            first += 1
        near = kept[max(first, len(kept) - _LOOK_BACK) :]
        if not near or float(np.square(rows[near] @ rows[i]).max()) <= r2:
            kept.append(i)
    return usable[kept].astype(np.int64)


def kinship(dosage: ArrayLike) -> Floats:
    """Kinship of all pairs by KING's robust estimator: 0.5 for one person, 0.25 for first-degree relatives.

    Parameters
    ----------
    dosage : array, shape (N, M)
        Rounded to whole calls.

    Returns
    -------
    array, shape (N, N)
        NaN where one of two people has no heterozygote. Negative between people of different ancestry.

    References
    ----------
    Manichaikul et al. (2010), doi:10.1093/bioinformatics/btq559.

    Examples
    --------
    >>> kinship([[0, 1, 2, 1], [0, 1, 2, 1]]).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    x = np.round(np.asarray(dosage, dtype=np.float32))
    known = ~np.isnan(x)
    seen = known.astype(np.float32)
    value = np.where(known, x, 0)
    square = value**2
    het = (value == 1).astype(np.float32)
    distance = square @ seen.T + seen @ square.T - 2 * value @ value.T  # sums of squared differences
    hets = het @ seen.T
    fewest = np.minimum(hets, hets.T).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(fewest > 0, 0.5 - distance / (4 * fewest), np.nan)


def related(kin: ArrayLike, at_least: float = SECOND) -> list[tuple[int, int, float]]:
    """Pairs of people of a kinship of at least so much, the closest first, as (row, row, kinship).

    >>> related([[0.5, 0.26, 0.0], [0.26, 0.5, 0.4], [0.0, 0.4, 0.5]], FIRST)
    [(1, 2, 0.4), (0, 1, 0.26)]
    """
    table = np.triu(np.nan_to_num(np.asarray(kin, dtype=np.float64), nan=-1.0), 1)
    first, second = np.nonzero(table >= at_least)
    pairs = zip(first.tolist(), second.tolist(), table[first, second].tolist())
    return sorted(pairs, key=lambda pair: -pair[2])


def ancestry_distance(dosage: ArrayLike, components: int = 4) -> Floats:
    """How far each person lies from the middle of all, in the leading principal components of independent variants.

    Parameters
    ----------
    dosage : array, shape (N, M)
        Of variants that are nearly independent (`independent`).
    components : int
        How many components.

    Returns
    -------
    array, shape (N,)
        The largest distance from the median over components, in robust standard deviations (1.4826 times the median
        absolute deviation).
    """
    x = mean_filled(np.asarray(dosage, dtype=np.float64))
    p = x.mean(axis=0) / 2
    scale = np.sqrt(2 * p * (1 - p))
    z = (x - 2 * p)[:, scale > 0] / scale[scale > 0]
    if min(z.shape) <= components:
        raise GenopredError(f"ancestry_distance: {z.shape} is too small for {components} components; give more.")
    _, vectors = np.linalg.eigh(z @ z.T)
    scores = vectors[:, ::-1][:, :components]
    middle = np.median(scores, axis=0)
    spread = 1.4826 * np.median(np.abs(scores - middle), axis=0)
    return (np.abs(scores - middle) / np.maximum(spread, 1e-12)).max(axis=1)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Matching:
    """Whose genotypes fit whose expression.

    Attributes
    ----------
    support : array, shape (N, P)
        Log likelihood of the expression of person i if the genotypes were those of person j.
    own : array of int, shape (N,)
        Which column is the person's own.
    power : float
        How much support an exchange of two people would have on average.
    enough : float
        Support from which two people are taken to be exchanged: by chance, one such pair comes in a hundred cohorts.
    """

    support: Floats
    own: Ints
    power: float
    enough: float

    def exchanged(self) -> list[tuple[int, int, float]]:
        """Pairs of rows whose expression fits better the other way round, and by how much, the clearest first."""
        own = self.support[np.arange(len(self.own)), self.own]
        gain = self.support[:, self.own] - own[:, None]
        both = np.triu(gain + gain.T, 1)
        found: list[tuple[int, int, float]] = []
        taken: set[int] = set()
        for flat in np.argsort(-both, axis=None)[: len(both)].tolist():
            i, j = divmod(flat, len(both))
            # each of the two has to gain: else one odd person makes a pair of everybody's
            if both[i, j] <= self.enough or min(gain[i, j], gain[j, i]) <= 0:
                continue
            if not {i, j} & taken:
                taken |= {i, j}
                found.append((i, j, float(both[i, j])))
        return found

    def mistaken(self) -> list[tuple[int, int, float]]:
        """Rows whose expression fits another person's genotypes (a column) far better than all others', pairs apart.

        By how much is said of the own ones.
        """
        return [found for found, ahead in self._unlike() if ahead > AHEAD]

    def strange(self) -> list[int]:
        """Rows whose expression fits many people's genotypes better than their own, and nobody's in particular."""
        return [found[0] for found, ahead in self._unlike() if ahead <= AHEAD]

    def _unlike(self) -> list[tuple[tuple[int, int, float], float]]:
        paired = {row for pair in self.exchanged() for row in pair[:2]}
        rows = np.arange(len(self.own))
        best = self.support.argmax(axis=1)
        gain = self.support[rows, best] - self.support[rows, self.own]
        ahead = self.support[rows, best] - np.partition(self.support, -2, axis=1)[:, -2]
        return [
            ((i, int(best[i]), float(gain[i])), float(ahead[i]))
            for i in np.argsort(-gain).tolist()
            if gain[i] > self.enough and i not in paired
        ]


def matching(expression: ArrayLike, dosage: ArrayLike, own: ArrayLike) -> Matching:
    """Hold everybody's expression of some genes against everybody's genotypes at the genes' best variants.

    Each gene's effect is estimated from all people as they are named, so that those that are exchanged only weaken it.
    Residuals of genes go together, by factors and neighbours: they are weighed by their covariance in the others,
    shrunk. They follow a multivariate t, so that a person whose expression is odd altogether matches nobody for that.

    Parameters
    ----------
    expression : array, shape (N, G)
        Normal scores or residuals.
    dosage : array, shape (P, G)
        Of each gene's best variant.
    own : array of int, shape (N,)
        Row of `dosage` of each person.

    References
    ----------
    Likelihood ratios of wrong matches exceed e^t with a probability of at most e^-t. Shrinkage: Ledoit and Wolf (2004),
    doi:10.1016/S0047-259X(03)00096-4.
    """
    from sklearn.covariance import ledoit_wolf

    y = np.asarray(expression, dtype=np.float64)
    y = (y - y.mean(axis=0)) / y.std(axis=0)
    columns = np.asarray(own, dtype=np.int64)
    x = mean_filled(np.asarray(dosage, dtype=np.float64))
    x = x - x[columns].mean(axis=0)
    mine = x[columns]
    slope = (mine * y).sum(axis=0) / (mine**2).sum(axis=0)
    expected = x * slope
    residual = y - expected[columns]
    covariance, shrunk = ledoit_wolf(residual)
    # Without the person: their own residual, however odd, would be in the covariance that it is weighed by.
    n = len(y)
    share = (1 - shrunk) / (n - 1)
    whole = covariance + share * (residual - residual.mean(axis=0)).T @ (residual - residual.mean(axis=0)) / n
    weighed = np.linalg.solve(whole, expected.T)  # (G, P)
    odd = np.linalg.solve(whole, residual.T).T  # (N, G)
    leverage = np.minimum(share * (odd * residual).sum(axis=1), 0.99)
    along = (odd * y).sum(axis=1)[:, None] - odd @ expected.T
    square = (expected.T * weighed).sum(axis=0)
    distance = (y * np.linalg.solve(whole, y.T).T).sum(axis=1)[:, None] - 2 * y @ weighed + square
    distance += (share / (1 - leverage))[:, None] * along**2
    genes = y.shape[1]
    support = -0.5 * (TAILS + genes) * np.log1p(distance / TAILS)
    power = 2 * float(square[columns].mean() - expected[columns].mean(axis=0) @ weighed[:, columns].mean(axis=1))
    enough = 2 * np.log(len(y)) + np.log(100 / 2)
    return Matching(support, columns, power, float(enough))


def outlying_profiles(values: ArrayLike) -> Floats:
    """How badly each sample's expression goes with the others', in robust standard deviations.

    Parameters
    ----------
    values : array, shape (N, G)

    Returns
    -------
    array, shape (N,)
        Of its median correlation (of ranks over genes) with the others, below the median of all.
    """
    ranks = rankdata(np.asarray(values, dtype=np.float64), axis=1)
    table = np.corrcoef(ranks)
    np.fill_diagonal(table, np.nan)
    typical = np.arctanh(np.clip(np.nanmedian(table, axis=1), -0.999999, 0.999999))
    middle = np.median(typical)
    spread = 1.4826 * np.median(np.abs(typical - middle))
    return (middle - typical) / max(spread, 1e-12)  # type: ignore[no-any-return]


def kind_of_values(values: ArrayLike) -> str:
    """What an expression matrix holds: `counts`, `abundance` (TPM, RPKM: from 0, skewed), `normal` (scores) or `other`.

    >>> kind_of_values(np.random.default_rng(1).poisson(40, (20, 30)))
    'counts'
    """
    x = np.asarray(values, dtype=np.float64)
    if (x >= 0).all():
        return "counts" if (x == np.round(x)).all() and x.max() > 10 else "abundance"
    centre, spread = x.mean(axis=0), x.std(axis=0)
    return "normal" if (np.abs(centre) < 0.2).mean() > 0.9 and (np.abs(spread - 1) < 0.25).mean() > 0.9 else "other"
