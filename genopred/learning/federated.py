"""Linear learners and their stack on sums of several sites, and how well held-out folds and sites are predicted.

A site is known by `Moments` of its people's folds: K covariates, one outcome, nothing missing, the variants those of
all sites. Fold k of all sites together is fold k. What covariates explain, means and spreads are learned inside the
training people, from the same sums (Frisch-Waugh); of people held out nothing is needed but the sums of products of
outcome and predictions, which are quadratic forms of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from genopred.errors import ModelError
from genopred.genetics.moments import Moments, Weights, total
from genopred.learning.learners import GeneContext, Learner
from genopred.learning.stack import PRIOR_ROWS, Shipped
from genopred.learning.stack import Moments as StackMoments

Array = NDArray[np.float64]

#: Pairs of variants looked at together.
_PAIRS = 1024


@dataclass(frozen=True)
class Joining:
    """How sites are joined.

    Attributes
    ----------
    scale : str
        'site': dosages and outcomes are centred, and outcomes scaled, by each site's training people, so that neither
        frequencies nor levels that differ between sites count as association, as in a meta-analysis with fixed effects.
        'common': one intercept and spread over all, as of pooled people.
    covariates : str
        'site': each site's covariates with its own coefficients. 'common': one coefficient each over all sites.
    """

    scale: str = "site"
    covariates: str = "site"


@dataclass(frozen=True)
class Split:
    """Training people of all sites together, and people held out.

    Attributes
    ----------
    folds : list of Moments
        Of the training people: one outcome, in units of their spread, no covariates.
    held : list of Moments
        Of the people held out, by site or by fold, in the same units.
    """

    folds: list[Moments]
    held: list[Moments]


def plain_moments(
    n: int, gram: ArrayLike, sums: ArrayLike, cross: ArrayLike, square: ArrayLike, totals: ArrayLike
) -> Moments:
    """Sums of people without gaps, the last of whose outcomes (K + 1) is the outcome, the others covariates."""
    x, s, c, q, t = (np.asarray(values, dtype=np.float64) for values in (gram, sums, cross, square, totals))
    m, z = c.shape
    none = (np.empty(0), np.empty((0, m)), np.empty((0, 0)), np.empty((0, z)))
    return Moments(int(n), x, s, c, q, t, z - 1, np.empty(0, dtype=np.int64), *none)


def told_apart(dosage: ArrayLike, gram: ArrayLike) -> NDArray[np.bool_]:
    """Whose row can be read off sums of hard calls by subtraction, shape (N,).

    Two variants that differ by one copy in one person, or would if one counted its other allele, have sums whose
    difference is that person's dosages of every variant, and so for covariates and outcome.

    Parameters
    ----------
    dosage : array, shape (N, M)
        Without gaps.
    gram : array, shape (M, M)
        Products of dosages, summed over the people.

    Examples
    --------
    >>> x = np.array([[0, 0, 2], [1, 1, 1], [2, 1, 1], [0, 0, 2]])
    >>> told_apart(x, x.T @ x).tolist()  # the first two variants differ in the third person
    [False, False, True, False]
    """
    x, g = np.asarray(dosage, dtype=np.float64), np.asarray(gram, dtype=np.float64)
    out = np.zeros(len(x), dtype=bool)
    own, sums = np.diag(g), x.sum(axis=0)
    both = own[:, None] + own
    for sign, apart in ((-1, both - 2 * g), (1, both + 2 * g - 4 * (sums[:, None] + sums) + 4 * len(x))):
        first, second = np.nonzero(np.triu(apart == 1, 1))
        for start in range(0, len(first), _PAIRS):
            pairs = slice(start, start + _PAIRS)
            differs = x[:, first[pairs]] + sign * x[:, second[pairs]] - (2 if sign > 0 else 0)
            out[np.abs(differs).argmax(axis=0)] = True
            if out.all():
                return out
    return out


def fewer_folds(folds: Sequence[Moments], count: int) -> list[Moments]:
    """The same people in at most so many folds: fold k joins fold k modulo `count`."""
    return [total(folds[k::count]) for k in range(min(count, len(folds)))]


def split(
    sites: Sequence[Sequence[Moments]], joining: Joining, *, fold: int | None = None, site: int | None = None
) -> Split:
    """Keep a fold of all sites, or a whole site, or nothing, from the training people.

    Parameters
    ----------
    sites : sequence of sequences of Moments
        Of each site its folds, as many of each.
    joining : Joining
    fold, site : int, optional
        What is held out; at most one of the two.

    Raises
    ------
    ModelError
        If covariates explain any outcome, or the outcome does not vary among the training people of a site.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> people = [[Moments.of(rng.integers(0, 3, (30, 4)), rng.normal(size=30)) for _ in range(3)] for _ in range(2)]
    >>> made = split(people, Joining(), fold=0)
    >>> len(made.folds), made.folds[0].n, [part.n for part in made.held]
    (2, 60, [30, 30])
    """
    inside = [k for k in range(len(sites[0])) if k != fold]
    within = [s for s in range(len(sites)) if s != site]
    trained = [total(sites[s][k] for k in inside) for s in within]
    changes = _changes(trained, joining)
    folds = [
        _added([_changed(sites[s][k], change) for s, change in zip(within, changes)], [one.shift for one in changes])
        for k in inside
    ]
    held: list[Moments] = []
    if fold is not None:
        for s, change in zip(within, changes):
            held.append(_added([_changed(sites[s][fold], change)], [change.shift]))
    elif site is not None:
        change = _of_stranger(total(sites[site]), trained, joining)
        held = [_added([_changed(part, change)], [change.shift]) for part in sites[site]]
    return Split(folds, held)


@dataclass(frozen=True)
class _Change:
    """What makes a site's sums those of outcomes that can be added to others': covariates, units, shift of dosages."""

    coef: Array
    mean: float
    scale: float
    shift: Array


def _changes(trained: Sequence[Moments], joining: Joining) -> list[_Change]:
    common = joining.covariates == "common"
    coefs = [_slopes(total(trained))] * len(trained) if common else [_slopes(one) for one in trained]
    left = [one.residualised(coef) for one, coef in zip(trained, coefs)]
    n = sum(one.n for one in trained)
    everybody = np.sum([one.sums for one in trained], axis=0) / n
    if joining.scale == "common":
        mean, scale = _units(left)
        return [_Change(coef, mean, scale, np.zeros(len(everybody))) for coef in coefs]
    return [_Change(coef, *_units([one]), one.sums / one.n - everybody) for coef, one in zip(coefs, left, strict=True)]


def _of_stranger(people: Moments, trained: Sequence[Moments], joining: Joining) -> _Change:
    """The same for a site that has no part in the training: what is the site's own it learns from its own people."""
    common = joining.covariates == "common"
    coef = _slopes(total(trained)) if common else _slopes(people)
    if joining.scale == "site":
        everybody = np.sum([one.sums for one in trained], axis=0) / sum(one.n for one in trained)
        return _Change(coef, *_units([people.residualised(coef)]), people.sums / people.n - everybody)
    mine = [coef if common else _slopes(one) for one in trained]
    mean, scale = _units([one.residualised(own) for one, own in zip(trained, mine)])
    return _Change(coef, mean, scale, np.zeros(people.m))


def _slopes(people: Moments) -> Array:
    """Coefficients of the covariates that leave the outcome's mean where it was, shape (K + 1, 1)."""
    if people.covariates + 1 >= people.n:
        raise ModelError(
            f"{people.covariates} covariates leave no degrees of freedom in {people.n} training people of a site: they "
            "explain any expression. Have the site use fewer."
        )
    coef = people.covariate_coef()
    coef[0] = -(people.totals[: people.covariates] / people.n) @ coef[1:]
    return coef


def _units(parts: Sequence[Moments]) -> tuple[float, float]:
    """Mean and spread of the outcome."""
    n = sum(part.n for part in parts)
    mean = sum(float(part.totals[0]) for part in parts) / n
    around = sum(float(part.square[0, 0]) - 2 * mean * float(part.totals[0]) + part.n * mean**2 for part in parts)
    own = sum(float(part.square[0, 0]) for part in parts)
    if not around > 1e-12 * max(own, 1e-300):
        raise ModelError("expression does not vary among the training people.")
    return mean, float(np.sqrt(around / n))


def _changed(part: Moments, change: _Change) -> Moments:
    return part.residualised(change.coef).scaled_outcomes([change.mean], [change.scale])


def _added(parts: Sequence[Moments], shifts: Sequence[Array]) -> Moments:
    """The sum of sites' parts, each with `shift` (M,) taken off its dosages."""
    whole = total(parts)
    away = np.stack(shifts)
    if not away.any():
        return whole
    n = np.array([part.n for part in parts], dtype=np.float64)
    sums, totals = np.stack([part.sums for part in parts]), np.stack([part.totals for part in parts])
    # sum over sites of (x - a)(x - a)' is a change of as many ranks as there are sites, and stays symmetric
    product = away.T @ (sums - n[:, None] * away / 2)
    gram = whole.gram - product
    gram -= product.T
    return replace(whole, gram=gram, sums=whole.sums - n @ away, cross=whole.cross - away.T @ totals)


# --- fitting ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fits:
    """Base learners of one gene on the training people of a split, and what the stack and its scores need of people.

    Attributes
    ----------
    names : tuple of str
        B base learners.
    coef : array, shape (M, B)
    intercept : array, shape (B,)
    mean : float
        Of the training people's outcome.
    n : int
        Training people.
    held : array, shape (H, B + 2, B + 2)
        Of each block of people held out, sums of products of 1, outcome and predictions.
    oof : array, shape (B + 1, B + 1)
        Sums over training people of products of outcome and out-of-fold predictions, centred within their folds;
        of no people where there are fewer than two folds.
    """

    names: tuple[str, ...]
    coef: Array
    intercept: Array
    mean: float
    n: int
    held: Array
    oof: Array


def fit(made: Split, learners: Sequence[Learner], gene: GeneContext) -> Fits:
    """Fit base learners to the training people of a split, tuned inside by their folds.

    Parameters
    ----------
    made : Split
    learners : sequence of Learner
        Whose estimators have `fit_sums`.
    gene : GeneContext

    Raises
    ------
    GenopredError
        Whatever a learner refuses.
    """
    whole = total(made.folds)
    parts = made.folds if len(made.folds) > 1 else []
    models: list[Weights] = []
    without: list[list[Weights]] = []
    for learner in learners:
        estimator = learner.make(gene)
        without.append(estimator.fit_sums(whole, parts))
        models.append(Weights(np.asarray(estimator.coef_, dtype=np.float64), float(estimator.intercept_)))
    names = tuple(learner.name for learner in learners)
    oof = np.zeros((len(names) + 1, len(names) + 1))
    for i, part in enumerate(parts):
        oof += centred(products(part, [of[i] for of in without]))
    held = [products(part, models) for part in made.held]
    size = len(names) + 2
    return Fits(
        names,
        np.column_stack([one.coef for one in models]),
        np.array([one.intercept for one in models]),
        float(whole.totals[0]) / whole.n,
        whole.n,
        np.stack(held) if held else np.empty((0, size, size)),
        oof,
    )


def products(people: Moments, models: Sequence[Weights]) -> Array:
    """Sums over people of products of 1, outcome and B predictions, shape (B + 2, B + 2): no person is needed.

    >>> x, y = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 2.0, 4.0])
    >>> products(Moments.of(x, y), [Weights(np.array([2.0]), 1.0)]).tolist()
    [[3.0, 7.0, 9.0], [7.0, 21.0, 27.0], [9.0, 27.0, 35.0]]
    """
    coef, start = np.column_stack([one.coef for one in models]), np.array([one.intercept for one in models])
    n, y_sum, y_square = float(people.n), float(people.totals[0]), float(people.square[0, 0])
    moved = coef.T @ people.sums
    inside = coef.T @ (people.gram @ coef)
    p_sum = moved + n * start
    p_y = coef.T @ people.cross[:, 0] + start * y_sum
    p_p = (inside + inside.T) / 2 + np.outer(moved, start) + np.outer(start, moved) + n * np.outer(start, start)
    top = np.array([[n, y_sum], [y_sum, y_square]])
    side = np.column_stack([p_sum, p_y])
    return np.block([[top, side.T], [side, p_p]])


def centred(sums: Array) -> Array:
    """Of `products`: those of outcome and predictions minus their means, shape (B + 1, B + 1)."""
    return np.asarray(sums[1:, 1:] - np.outer(sums[0, 1:], sums[0, 1:]) / sums[0, 0])


def without_folds(folds: Sequence[Array]) -> Array:
    """Centred products of people held out fold by fold, from `products` (H, B + 2, B + 2) of each fold's blocks."""
    return np.asarray(np.sum([centred(np.sum(fold, axis=0)) for fold in folds], axis=0))


# --- the stack -------------------------------------------------------------------------------------------------------


def stack_moments(names: Sequence[str], oof: Sequence[tuple[Array, int]]) -> StackMoments:
    """Sums that the stack learns its weights from, each gene scaled to an outcome variance of 1.

    Parameters
    ----------
    names : sequence of str
    oof : sequence of (array of shape (B + 1, B + 1), int)
        For each gene centred products of out-of-fold predictions (`Fits.oof`), and of how many people.
    """
    b = len(names)
    gram, cross, rows = np.zeros((b, b)), np.zeros(b), 0.0
    for sums, n in oof:
        variance = sums[0, 0] / n if n and sums[0, 0] > 0 else 1.0
        gram += sums[1:, 1:] / variance
        cross += sums[1:, 0] / variance
        rows += n
    return StackMoments(tuple(names), gram, cross, rows)


def stack_weights(sums: StackMoments, prior: Shipped | None) -> Array:
    """Non-negative weights (B,) of the linear stack; the plain mean where there is nothing to learn from."""
    known = prior is not None and bool(set(sums.names) & set(prior.moments.names))
    if prior is not None and known:
        sums = sums.plus_prior(prior.moments, PRIOR_ROWS)
    if not sums.rows:
        return np.full(len(sums.names), 1 / len(sums.names))
    return sums.nnls()


def with_stack(held: Array, weights: Array, mean: float) -> Array:
    """`products` (H, B + 2, B + 2) of blocks of people with the stack's prediction as one more: (H, B + 3, B + 3)."""
    size = held.shape[1]
    row = np.concatenate([[mean * (1 - weights.sum()), 0.0], weights])
    move = np.vstack([np.eye(size), row])
    return np.asarray(move @ held @ move.T)


# --- accuracy --------------------------------------------------------------------------------------------------------


def accuracy(blocks: Array) -> dict[str, Any]:
    """How well a prediction fits, from `products` (H, 3, 3) of blocks of people.

    Returns
    -------
    dict
        n, r2 (1 - SSE/SST), r2_low and r2_high (95 %, jackknife over the blocks; NaN of fewer than three), pearson,
        slope (of the outcome on the prediction), signed_r2, mse.

    Examples
    --------
    >>> sums = products(Moments.of([[0.0], [1.0], [2.0]], [1.0, 2.0, 3.0]), [Weights(np.array([1.0]), 1.0)])
    >>> found = accuracy(sums[None])
    >>> found["n"], found["r2"], found["slope"]
    (3, 1.0, 1.0)
    """
    whole = blocks.sum(axis=0)
    n = whole[0, 0]
    inner = centred(whole)
    covariance, spread = float(inner[0, 1]), float(inner[1, 1])
    # what is left of a prediction that does not vary is rounding
    varies = spread > 1e-12 * max(float(whole[2, 2]), 1e-300) and inner[0, 0] > 0
    r = float(np.clip(covariance / np.sqrt(spread * inner[0, 0]), -1, 1)) if varies else 0.0
    r2 = _r2(whole)
    low = high = float("nan")
    if len(blocks) >= 3:
        without = np.array([_r2(whole - block) for block in blocks])
        error = np.sqrt((len(blocks) - 1) * without.var())
        reach = float(student.ppf(0.975, len(blocks) - 1) * error)
        low, high = r2 - reach, r2 + reach
    return {
        "n": round(float(n)),
        "r2": r2,
        "r2_low": low,
        "r2_high": high,
        "pearson": r,
        "slope": covariance / spread if varies else float("nan"),
        "signed_r2": float(np.sign(r) * r * r),
        "mse": float(_sse(whole) / n),
    }


def _sse(sums: Array) -> float:
    return float(max(sums[1, 1] - 2 * sums[1, 2] + sums[2, 2], 0.0))


def _r2(sums: Array) -> float:
    sst = float(sums[1, 1] - sums[0, 1] ** 2 / sums[0, 0])
    return 1.0 - _sse(sums) / sst if sst > 0 else 0.0


def of_method(held: Array, column: int) -> Array:
    """Blocks (H, 3, 3) of one prediction, for `accuracy`."""
    index = np.array([0, 1, 2 + column])
    return held[:, index[:, None], index]
