"""Elastic-net paths with per-variant penalties, and the nested cross-validation that chooses the penalty.

Objective as glmnet's: ``1/(2n) |y - Xb|^2 + lambda sum_j v_j [a |b_j| + (1 - a)/2 b_j^2]`` with columns of X
and y standardised in the training people (variance by 1/n), lambda reported in units of y.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin

from genopred.errors import ModelError
from genopred.genetics.leaveout import LeftOut
from genopred.genetics.moments import Centred, Moments, Weights, sums_suffice, total
from genopred.learning.covariance import Penalties, Room, SumPath
from genopred.learning.elasticnet_kernels import advance, standardise

N_LAMBDA = 100
#: Path steps without a better cross-validated error after which the rest of the path is not fitted.
PATIENCE = 25
#: Path steps fitted between two looks at the cross-validated error.
CHUNK = 10
#: Coordinate descent stops when no squared step exceeds this share of the phenotype's variance (glmnet's thresh).
TOLERANCE = 1e-7
#: Steps whose cross-validated error by sums, found to that tolerance, is within this share of the phenotype's sum of
#: squares of the smallest are solved to the last digits before one is chosen.
NEAR = 3e-4


class _Path:
    """One model's walk down the lambda path: training people, and those whose predictions are recorded."""

    def __init__(
        self, x: NDArray[np.float32], y: NDArray[np.float64], train: NDArray[np.bool_], out: NDArray[np.bool_]
    ):
        rows = np.flatnonzero(train)
        m = x.shape[1]
        self.mean, self.scale = np.empty(m), np.empty(m)
        self.xt = np.empty((m, len(rows)), dtype=np.float32)
        standardise(x[rows], self.xt, self.mean, self.scale)
        self.out_rows = np.flatnonzero(out)
        self.xt_out = np.ascontiguousarray(((x[self.out_rows] - self.mean) / self.scale).T, dtype=np.float32)
        self.y_mean = float(y[rows].mean())
        r = (y[rows] - self.y_mean).astype(np.float32)
        self.sd = float(np.sqrt(r @ r / len(rows))) or 1.0
        r /= np.float32(self.sd)
        gradient = (self.xt @ r) / np.float32(len(rows))
        self.state = (np.zeros(m), r, gradient, r.copy(), np.empty(m, dtype=np.int64))
        self.n_active = 0
        self.done = 0
        self.predictions = np.zeros((len(self.out_rows), N_LAMBDA))

    def advance(self, penalty: NDArray[np.float64], lambdas: NDArray[np.float64], stop: int, mix: float) -> None:
        """Fit up to (not including) step `stop`."""
        if stop > self.done:
            self.n_active = advance(
                self.xt, self.state, self.n_active, self.xt_out, penalty, lambdas / self.sd, self.done, stop, mix,
                TOLERANCE, self.predictions,
            )  # fmt: skip
            self.done = stop

    def squared_error(self, y: NDArray[np.float64], rows: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Sum of squared errors at each fitted step, over those of the recorded people that are in `rows`."""
        which = rows[self.out_rows]
        miss = y[self.out_rows[which], None] - self.y_mean - self.sd * self.predictions[which, : self.done]
        return (miss**2).sum(axis=0)


def lambda_path(
    xt: NDArray[np.float32], y: NDArray[np.float32], penalty: NDArray[np.float64], mix: float
) -> NDArray[np.float64]:
    """glmnet's sequence: 100 values, log-spaced from the smallest lambda at which no variant has an effect."""
    p, n = xt.shape
    return _grid(np.abs(xt @ y).astype(np.float64) / n, n, penalty, mix)


def _grid(gradient: NDArray[np.float64], n: int, penalty: NDArray[np.float64], mix: float) -> NDArray[np.float64]:
    """The sequence from each variant's absolute gradient (M,) without any weight."""
    p = len(gradient)
    penalised = penalty > 0
    top = float((gradient[penalised] / penalty[penalised]).max(initial=0.0)) / max(mix, 1e-3)
    ratio = 1e-2 if n < p else 1e-4
    return top * np.logspace(0.0, np.log10(ratio), N_LAMBDA)


class Linear(RegressorMixin, BaseEstimator):
    """What predicts by `coef_`, the effect of one allele copy, and `intercept_`."""

    coef_: NDArray[np.float64]
    intercept_: float

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predictions, shape (N,)."""
        return np.asarray(X, dtype=np.float64) @ self.coef_ + self.intercept_


class ElasticNet(Linear):
    """Elastic net on dosages as PrediXcan trains it: glmnet's path at alpha 0.5, lambda by cross-validation.

    Parameters
    ----------
    mix : float
        glmnet's alpha: 1 is the lasso; must be above 0.
    penalty_factors : array, shape (M,), optional
        Relative penalty of each variant, scaled to mean 1 as glmnet does. All 1 by default.
    cv : int
        Folds for choosing lambda (the minimum of the mean squared error).
    random_state : int
        Seed of those folds.

    Attributes
    ----------
    coef_ : array, shape (M,)
        Effect of one allele copy, in units of `y`.
    intercept_ : float
    lambda_ : float
    cv_r2_ : float
        1 - SSE/SST of the cross-validated predictions at the chosen lambda.

    References
    ----------
    Friedman, Hastie, Tibshirani (2010), doi:10.18637/jss.v033.i01; Gamazon et al. (2015), doi:10.1038/ng.3367.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.integers(0, 3, (120, 40)).astype("float32")
    >>> y = x[:, 3] - x[:, 7] + 0.3 * rng.standard_normal(120)
    >>> model = ElasticNet().fit(x, y)
    >>> sorted(np.argsort(-np.abs(model.coef_))[:2].tolist())
    [3, 7]
    """

    def __init__(
        self, mix: float = 0.5, penalty_factors: NDArray[np.float64] | None = None, cv: int = 10, random_state: int = 0
    ) -> None:
        self.mix = mix
        self.penalty_factors = penalty_factors
        self.cv = cv
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> ElasticNet:
        """Choose lambda by cross-validation inside (X, y) and fit all of it there."""
        x, target = as_inputs(X, y)
        folds = self.own_folds(len(target))
        if sums_suffice(*x.shape):
            parts = fold_sums(x, target, folds)
            return self.tune_sums(total(parts), parts)
        return self._fit_given(x, target, self._singles(x, target, folds))

    def fit_oof(self, X: ArrayLike, y: ArrayLike, folds: ArrayLike) -> NDArray[np.float64]:
        """Fit on everything and return honest out-of-fold predictions of the same people.

        Coefficients and the choice of lambda behind each person's prediction come from people of other folds alone:
        a model without folds k and l serves the tuning of both, so all of it takes K (K - 1) / 2 + K + 1 paths.
        The folds share one grid of lambdas and its early stop, as cv.glmnet's do. The final fit chooses lambda on
        the same `folds`, shape (N,); `cv` and `random_state` are for `fit` alone.
        """
        x, target = as_inputs(X, y)
        labels = np.asarray(folds)
        names = np.unique(labels)
        oof = np.empty(len(target))
        if sums_suffice(*x.shape) and len(names) > 2:
            parts = fold_sums(x, target, labels)
            for name, model in zip(names, self.fit_sums(total(parts), parts)):
                oof[labels == name] = x[labels == name] @ model.coef + model.intercept
            return oof
        singles = self._singles(x, target, labels)
        if singles is None:
            for name in names:
                oof[labels == name] = target[labels != name].mean()
            self._fit_given(x, target, singles)
            return oof
        steps = max(path.done for path in singles.paths)
        error = {name: np.zeros(steps) for name in names}
        for i, k in enumerate(names):
            for other in names[i + 1 :]:
                pair = (labels == k) | (labels == other)
                path = _Path(x, target, ~pair, pair)
                path.advance(singles.penalty, singles.lambdas, steps, self.mix)
                error[k] += path.squared_error(target, labels == other)
                error[other] += path.squared_error(target, labels == k)
        for name, path in zip(names, singles.paths):
            path.advance(singles.penalty, singles.lambdas, steps, self.mix)
            step = int(error[name].argmin())
            oof[path.out_rows] = path.y_mean + path.sd * path.predictions[:, step]
        self._fit_given(x, target, singles)
        return oof

    def own_folds(self, n: int) -> NDArray[np.int64]:
        """The folds of n people on which `fit` chooses lambda, shape (n,)."""
        return assign_folds(n, self.cv, self.random_state)

    def tune_sums(self, whole: Moments, folds: Sequence[Moments]) -> ElasticNet:
        """What `fit` does, by sums: choose lambda on the folds, which add up to `whole`, and fit all of it there."""
        return self._fit_sums_given(self._sum_singles(whole, folds))

    def fit_sums(self, whole: Moments, folds: Sequence[Moments] = ()) -> list[Weights]:
        """Fit on everybody by sums and return the models that each leave one fold out, as `fit_oof` has them.

        Parameters
        ----------
        whole : Moments
            Of all training people: without holes and covariates, with one outcome.
        folds : sequence of Moments
            Of at least three disjoint folds that add up to `whole`.

        Raises
        ------
        ModelError
            If there are fewer folds.
        """
        if len(folds) < 3:
            raise ModelError(
                f"ElasticNet: sums of {len(folds)} folds; at least 3 are needed, as a model that leaves one out has "
                "its penalty chosen on the others."
            )
        singles = self._sum_singles(whole, folds)
        if not singles.paths:
            self._fit_sums_given(singles)
            left = (LeftOut(whole, [fold]) for fold in folds)
            return [Weights(np.zeros(whole.m), one.y_mean) for one in left]
        penalties, square, steps = singles.penalties, singles.square, len(singles.error)
        pairs, room = [], Room(whole.m)
        error = np.zeros((len(folds), steps))
        for k, fold in enumerate(folds):
            for other in range(k + 1, len(folds)):
                path = SumPath(LeftOut(whole, [fold, folds[other]]), steps, room)
                path.advance(penalties, steps, TOLERANCE)
                error[k] += path.squared_error(folds[other], slice(steps))
                error[other] += path.squared_error(fold, slice(steps))
                pairs.append((k, other, path))
        near = [_near(one, square) for one in error]
        exact = [np.zeros(len(one)) for one in near]
        for k, other, path in pairs:
            path.solve(penalties, np.union1d(near[k], near[other]))
            exact[k] += path.squared_error(folds[other], near[k])
            exact[other] += path.squared_error(folds[k], near[other])
        models = []
        for path, found, where in zip(singles.paths, exact, near):
            step = int(where[found.argmin()])
            path.advance(penalties, step + 1, TOLERANCE)
            path.solve(penalties, np.array([step]))
            models.append(Weights(*path.coef(step)))
        self._fit_sums_given(singles)
        return models

    def _sum_singles(self, whole: Moments, folds: Sequence[Moments]) -> _SumSingles:
        """As `_singles`, by sums; without paths where no variant has anything to do with the outcome."""
        penalty = self._penalty(whole.m)
        everyone = LeftOut(whole)
        square = everyone.y_scale**2 * everyone.n
        lambdas = everyone.y_scale * _grid(np.abs(everyone.cross), everyone.n, penalty, self.mix)
        penalties = Penalties(lambdas, penalty, self.mix)
        if lambdas[0] <= 1e-9 * everyone.y_scale:
            return _SumSingles(everyone, [], folds, penalties, np.zeros(1), square)
        paths = [SumPath(LeftOut(whole, [fold]), N_LAMBDA) for fold in folds]
        error = np.empty(0)
        while len(error) < N_LAMBDA:
            stop = min(len(error) + CHUNK, N_LAMBDA)
            found = np.zeros(stop - len(error))
            for path, fold in zip(paths, folds):
                path.advance(penalties, stop, TOLERANCE)
                found += path.squared_error(fold, slice(len(error), stop))
            error = np.concatenate([error, found])
            if stop - 1 - int(error.argmin()) >= PATIENCE:
                break
        return _SumSingles(everyone, paths, folds, penalties, error, square)

    def _fit_sums_given(self, singles: _SumSingles) -> ElasticNet:
        everyone, penalties = singles.everyone, singles.penalties
        self.n_features_in_ = everyone.m
        if not singles.paths:
            self.coef_, self.intercept_, self.lambda_, self.cv_r2_ = np.zeros(everyone.m), everyone.y_mean, 0.0, 0.0
            return self
        near = _near(singles.error, singles.square)
        exact = np.zeros(len(near))
        for path, fold in zip(singles.paths, singles.folds):
            path.solve(penalties, near)
            exact += path.squared_error(fold, near)
        step = int(near[exact.argmin()])
        full = SumPath(everyone, step + 1)
        full.advance(penalties, step + 1, TOLERANCE)
        full.solve(penalties, np.array([step]))
        self.coef_, self.intercept_ = full.coef(step)
        self.lambda_ = float(penalties.lambdas[step])
        self.cv_r2_ = 1.0 - float(exact.min()) / singles.square
        return self

    def _penalty(self, m: int) -> NDArray[np.float64]:
        """Penalty factors, and the mix checked."""
        if not 0.0 < self.mix <= 1.0:
            raise ModelError(f"ElasticNet: mix={self.mix}; it must be above 0 and at most 1.")
        return scaled_penalty(self.penalty_factors, m)

    def _singles(self, x: NDArray[np.float32], y: NDArray[np.float64], labels: NDArray[np.int64]) -> _Singles | None:
        """The paths that each leave one fold out, walked side by side until the error has stopped falling."""
        penalty = self._penalty(x.shape[1])
        everyone = np.ones(len(y), dtype=bool)
        full = _Path(x, y, everyone, np.zeros(len(y), dtype=bool))
        lambdas = full.sd * lambda_path(full.xt, full.state[1], penalty, self.mix)
        if lambdas[0] <= 1e-9 * full.sd:
            return None
        paths = [_Path(x, y, labels != name, labels == name) for name in np.unique(labels)]
        stop = 0
        while stop < N_LAMBDA:
            stop = min(stop + CHUNK, N_LAMBDA)
            total = np.zeros(stop)
            for path in paths:
                path.advance(penalty, lambdas, stop, self.mix)
                total += path.squared_error(y, everyone)
            if stop - 1 - int(total.argmin()) >= PATIENCE:
                break
        return _Singles(full, paths, lambdas, penalty, total)

    def _fit_given(self, x: NDArray[np.float32], y: NDArray[np.float64], singles: _Singles | None) -> ElasticNet:
        self.n_features_in_ = x.shape[1]
        if singles is None:
            self.coef_, self.intercept_, self.lambda_, self.cv_r2_ = np.zeros(x.shape[1]), float(y.mean()), 0.0, 0.0
            return self
        step = int(singles.error.argmin())
        full = singles.full
        full.advance(singles.penalty, singles.lambdas, step + 1, self.mix)
        self.lambda_ = float(singles.lambdas[step])
        self.coef_ = full.sd * full.state[0] / full.scale
        self.intercept_ = float(full.y_mean - full.mean @ self.coef_)
        total = float(((y - y.mean()) ** 2).sum())
        self.cv_r2_ = 1.0 - float(singles.error[step]) / total if total > 0 else 0.0
        return self


@dataclass(frozen=True)
class _Singles:
    """The full path and the leave-one-fold-out paths over one lambda sequence."""

    full: _Path
    paths: list[_Path]
    lambdas: NDArray[np.float64]
    penalty: NDArray[np.float64]
    error: NDArray[np.float64]


@dataclass(frozen=True)
class _SumSingles:
    """The same by sums: everybody, the paths that each leave a fold out, their error, the outcome's sum of squares."""

    everyone: LeftOut
    paths: list[SumPath]
    folds: Sequence[Moments]
    penalties: Penalties
    error: NDArray[np.float64]
    square: float


def _near(error: NDArray[np.float64], square: float) -> NDArray[np.int64]:
    """Steps that may have the smallest error."""
    return np.flatnonzero(error <= error.min() + NEAR * square)


def fold_sums(x: NDArray[np.float32], y: NDArray[np.float64], labels: NDArray[np.int64]) -> list[Moments]:
    """The sums of each fold's people, in the order of the folds' names."""
    return [Moments.of(x[labels == name], y[labels == name]) for name in np.unique(labels)]


def elastic_net_path(
    centred: Centred,
    lambdas: ArrayLike | None = None,
    mix: float = 0.5,
    penalty_factors: ArrayLike | None = None,
    *,
    exact: bool = True,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Elastic nets of given penalties from products of dosages and an outcome alone.

    Parameters
    ----------
    centred : Centred
        `Moments.centred` of people; or of another study's summary statistics with a reference's LD.
    lambdas : array, shape (C,), optional
        Penalties in units of the outcome, each above 0; by default glmnet's 100, descending.
    mix : float
        glmnet's alpha.
    penalty_factors : array, shape (M,), optional
        Relative penalty of each variant, scaled to mean 1. All 1 by default.
    exact : bool
        Solve to the last digits; False leaves glmnet's own tolerance, which takes a tenth of the time where most
        variants have a weight.

    Returns
    -------
    lambdas : array, shape (C,)
        All 0, as `coef`, where no variant has anything to do with the outcome and none were given.
    coef : array, shape (C, M)
        Effects of one allele copy.
    intercepts : array, shape (C,)

    Raises
    ------
    ModelError
        If `mix`, `lambdas` or `penalty_factors` are out of range.

    References
    ----------
    Friedman, Hastie, Tibshirani (2010), doi:10.18637/jss.v033.i01, section 2.2 (covariance updates).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.integers(0, 3, (200, 30))
    >>> sums = Moments.of(x, x[:, 3] - x[:, 7] + 0.3 * rng.standard_normal(200))
    >>> lambdas, coef, intercepts = elastic_net_path(sums.centred(), [0.5, 0.1])
    >>> np.flatnonzero(coef[0]).tolist(), coef.shape
    ([3, 7], (2, 30))
    """
    penalty = ElasticNet(mix, penalty_factors)._penalty(len(centred.mean))  # type: ignore[arg-type]
    left = LeftOut.of(centred)
    if lambdas is None:
        wanted = left.y_scale * _grid(np.abs(left.cross), left.n, penalty, mix)
        if wanted[0] <= 1e-9 * left.y_scale:
            return np.zeros(N_LAMBDA), np.zeros((N_LAMBDA, left.m)), np.full(N_LAMBDA, left.y_mean)
    else:
        wanted = np.asarray(lambdas, dtype=np.float64)
        if wanted.ndim != 1 or not len(wanted) or not (np.isfinite(wanted).all() and (wanted > 0).all()):
            raise ModelError("elastic_net_path: lambdas must be one or more finite numbers above 0.")
    order = np.argsort(-wanted, kind="stable")
    penalties = Penalties(wanted[order], penalty, mix)
    path = SumPath(left, len(wanted))
    path.advance(penalties, len(wanted), TOLERANCE)
    if exact:
        path.solve(penalties, np.arange(len(wanted)))
    coef, intercepts = np.empty((len(wanted), left.m)), np.empty(len(wanted))
    for step, place in enumerate(order):
        coef[place], intercepts[place] = path.coef(step)
    return wanted, coef, intercepts


def scaled_penalty(factors: ArrayLike | None, m: int) -> NDArray[np.float64]:
    """Penalty factors scaled to mean 1; all 1 when not given."""
    if factors is None:
        return np.ones(m)
    penalty = np.asarray(factors, dtype=np.float64)
    if penalty.shape != (m,) or not np.isfinite(penalty).all() or (penalty < 0).any() or penalty.sum() <= 0:
        raise ModelError(f"ElasticNet: penalty_factors must be {m} numbers of at least 0; got shape {penalty.shape}.")
    return penalty * (m / penalty.sum())


def as_inputs(X: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Dosages as float32 (N, M) and the target as float64 (N,), checked."""
    x = np.ascontiguousarray(X, dtype=np.float32)
    target = np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or target.shape != (x.shape[0],):
        raise ModelError(f"X has shape {x.shape} and y {target.shape}; needed are (N, M) and (N,).")
    if not (np.isfinite(target).all() and np.isfinite(x).all()):
        raise ModelError("X or y has missing values; impute dosages and drop people without expression first.")
    return x, target


def assign_folds(n: int, k: int, seed: int) -> NDArray[np.int64]:
    """Random fold labels 0..k-1 of nearly equal size, shape (n,)."""
    if n < k:
        raise ModelError(f"{n} people cannot be split into {k} folds; ask for at most {n} folds.")
    return np.random.default_rng(seed).permutation(np.arange(n) % k)
