"""Learners that need only the relationship between people: ridge, GBLUP and polynomial regression.

All work from one eigendecomposition of the centred (N, N) kernel of the training people; the closed form then
gives every penalty of the path at once. Where `sums_suffice`, they work from the (M, M) products of variants, which
have the same eigenvalues and are sums over people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.linalg.blas import dsyr
from scipy.optimize import minimize_scalar
from sklearn.base import BaseEstimator, RegressorMixin

from genopred.errors import ModelError
from genopred.genetics.moments import BLOCK, Adding, Moments, Weights, sums_suffice, total
from genopred.learning.elasticnet import Linear, as_inputs
from genopred.learning.spectral import Tridiagonal, leading

Array = NDArray[np.float64]

#: Ridge penalties, in units of the kernel's mean diagonal.
PENALTIES = np.logspace(-3.0, 4.0, 57)


def _factor(scale: Array, weights: ArrayLike | None) -> Array:
    """What each centred column is multiplied by, shape (M,); 0 where it does not vary or weighs nothing."""
    m = len(scale)
    w = np.ones(m) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (m,) or not np.isfinite(w).all() or (w < 0).any() or w.sum() <= 0:
        raise ModelError(f"variant weights must be {m} finite numbers of at least 0; got shape {w.shape}.")
    varies = scale > 1e-6
    factor = np.zeros(m)
    if (sum_ := w[varies].sum()) > 0:
        factor[varies] = np.sqrt(w[varies] / sum_) / scale[varies]
    return factor


class _Scaled:
    """Columns centred and scaled as in the training people, each times the square root of its weight.

    Weights are scaled so that the mean diagonal of the training kernel is 1.
    """

    def __init__(self, x: NDArray[np.float32], weights: ArrayLike | None) -> None:
        self.factor = _factor(x.std(axis=0, dtype=np.float64), weights).astype(np.float32)
        self.mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.train = self.apply(x)

    @classmethod
    def of(cls, mean: NDArray[Any], factor: NDArray[Any]) -> _Scaled:
        """The same by means and factors at hand, without people."""
        out = cls.__new__(cls)
        out.mean, out.factor = mean, factor
        return out

    def apply(self, x: ArrayLike) -> NDArray[np.float32]:
        """Columns of anyone, treated alike."""
        return (np.asarray(x, dtype=np.float32) - self.mean) * self.factor

    def kernel(self) -> Array:
        """Of the training people, (N, N)."""
        return (self.train @ self.train.T).astype(np.float64)


def _centre(kernel: Array) -> Array:
    """The kernel of the same people after subtracting their mean feature vector."""
    rows = kernel.mean(axis=1, keepdims=True)
    return kernel - rows - rows.T + kernel.mean()


def _centre_cross(cross: Array, kernel: Array) -> Array:
    """Kernel between others (rows) and training people, both minus the training mean feature vector."""
    return cross - cross.mean(axis=1, keepdims=True) - kernel.mean(axis=0) + kernel.mean()


def _spread(people: Moments) -> Array:
    """Standard deviation of each variant, shape (M,); 0 where it is rounding alone."""
    variance = people.variance
    return np.asarray(np.sqrt(np.where(variance > 1e-10 * (people.mean**2 + variance), variance, 0.0)))


def _products(people: Moments, factor: Array, used: NDArray[np.bool_]) -> Array:
    """Lower triangle of Z'Z of some variants, centred in these people and times `factor`, in Fortran's order."""
    gram, sums = people.gram, people.sums
    if not used.all():
        gram, sums, factor = gram[np.ix_(used, used)], sums[used], factor[used]
    out = np.empty(gram.shape, order="F")
    np.multiply(gram.T, factor, out=out)
    out *= factor[:, None]
    return np.asarray(dsyr(-1.0 / people.n, factor * sums, a=out, lower=1, overwrite_a=1))


def _checked(people: Moments, least: int = 2) -> Moments:
    """Sums that nobody's dosage is missing from, of enough people."""
    if len(people.holes):
        raise ModelError(f"{len(people.holes)} variants have missing dosages; fill them first (Moments.filled).")
    if people.n < least:
        raise ModelError(f"sums of {people.n} training people; at least {least} are needed: take fewer, larger folds.")
    return people


class _KernelLearner(Linear):
    """What ridge and GBLUP share: solve (K + delta I) a = y - mean(y), with delta found by `_ratio`."""

    def __init__(self, weights: ArrayLike | None = None) -> None:
        self.weights = weights

    def _ratio(self, d: Array, u: Array, rotated: Array, y: Array) -> float:
        """delta: from the kernel's eigenvalues and eigenvectors where it varies, u'y, and y minus its mean."""
        raise NotImplementedError

    def _ratio_by_sums(self, form: Tridiagonal, n: int, square: float) -> float:
        """The same from Z'Z and Z'y of n people in tridiagonal form, and the sum of squares of y minus its mean."""
        raise NotImplementedError

    def _solve(self, kernel: Array, y: Array) -> tuple[Array, float, float]:
        """Dual coefficients, the mean of y and delta, for the kernel of the training people."""
        mean = float(y.mean())
        values, vectors = eigh(_centre(kernel), check_finite=False, driver="evd")
        keep = values > 1e-8 * max(values[-1], 1e-12)
        d, u = values[keep], vectors[:, keep]
        centred = y - mean
        rotated = u.T @ centred
        delta = self._ratio(d, u, rotated, centred) if len(d) and float(centred @ centred) > 0 else np.inf
        dual = u @ (rotated / (d + delta)) if np.isfinite(delta) else np.zeros(len(y))
        return dual, mean, delta

    def fit(self, X: ArrayLike, y: ArrayLike) -> _KernelLearner:
        """Fit; one eigendecomposition."""
        x, target = as_inputs(X, y)
        if sums_suffice(*x.shape):
            self.fit_sums(Moments.of(x, target))
            return self
        return self._fit_people(x, target)

    def _fit_people(self, x: NDArray[np.float32], target: Array) -> _KernelLearner:
        features = _Scaled(x, self.weights)
        return self._keep(features, *self._solve(features.kernel(), target))

    def _keep(self, features: _Scaled, dual: Array, mean: float, delta: float) -> _KernelLearner:
        self.n_features_in_ = len(features.mean)
        self.delta_ = delta
        # the kernel was centred, so only the centred dual acts
        effects = features.train.T @ (dual - dual.mean()).astype(np.float32)
        self.coef_ = effects.astype(np.float64) * features.factor
        self.intercept_ = mean - float(features.train.mean(axis=0) @ effects)
        self.intercept_ -= float(features.mean @ self.coef_)
        return self

    def fit_oof(self, X: ArrayLike, y: ArrayLike, folds: ArrayLike) -> Array:
        """Fit on everything and return out-of-fold predictions of the same people, shape (N,).

        The kernel is computed once (genotypes alone, no phenotype); centring, penalty and coefficients come
        from the people of the other folds.
        """
        x, target = as_inputs(X, y)
        labels = np.asarray(folds)
        if not sums_suffice(*x.shape):
            return self._fit_oof_people(x, target, labels)
        names = np.unique(labels)
        parts = [Moments.of(x[labels == name], target[labels == name]) for name in names]
        oof = np.empty(len(target))
        for name, model in zip(names, self.fit_sums(total(parts), parts)):
            oof[labels == name] = x[labels == name] @ model.coef + model.intercept
        return oof

    def fit_sums(self, whole: Moments, folds: Sequence[Moments] = ()) -> list[Weights]:
        """Fit from sums over the people, and without each of disjoint folds of them; O(M³) each, whatever N.

        Parameters
        ----------
        whole : Moments
            Of all training people: one outcome, no covariates, nothing missing.
        folds : sequence of Moments
            What each further model leaves out.

        Returns
        -------
        list of Weights
            The models behind the predictions of `fit_oof`, in the order of `folds`.

        Raises
        ------
        ModelError
            If dosages are missing, outcomes are not one, or fewer than two people are left.

        Examples
        --------
        >>> x = np.random.default_rng(0).integers(0, 3, (60, 4))
        >>> parts = [Moments.of(x[::2], x[::2, 0]), Moments.of(x[1::2], x[1::2, 0])]
        >>> models = GBLUP().fit_sums(parts[0] + parts[1], parts)
        >>> [int(np.abs(model.coef).argmax()) for model in models]
        [0, 0]
        """
        if (whole.outcomes, whole.covariates) != (1, 0):
            raise ModelError(
                f"sums of {whole.outcomes} outcomes and {whole.covariates} covariates; needed are one outcome and no "
                "covariates (Moments.with_outcome, Moments.residualised)."
            )
        # columns are scaled by everybody's spread, as the kernel of `fit_oof` is
        factor = _factor(_spread(_checked(whole)), self.weights)
        models = [self._of_sums(_checked(whole - fold), factor)[0] for fold in folds]
        (self.coef_, self.intercept_), self.delta_ = self._of_sums(whole, factor)
        self.n_features_in_ = whole.m
        return models

    def _of_sums(self, people: Moments, factor: Array) -> tuple[Weights, float]:
        """The model of these people and its delta."""
        total, own = float(people.totals[0]), float(people.square[0, 0])
        y_mean, coef, used = total / people.n, np.zeros(people.m), factor > 0
        square = own - total * y_mean
        # of an outcome that is the same in everybody, sums leave rounding alone
        if not used.any() or square <= 1e-13 * own:
            return Weights(coef, y_mean), np.inf
        cross = factor * (people.cross[:, 0] - people.sums * y_mean)
        form = Tridiagonal(_products(people, factor, used), cross[used])
        delta = self._ratio_by_sums(form, people.n, square)
        if np.isfinite(delta):
            coef[used] = factor[used] * form.back(form.at(delta).solution)
        return Weights(coef, y_mean - float(people.mean @ coef)), delta

    def _fit_oof_people(self, x: NDArray[np.float32], target: Array, labels: NDArray[Any]) -> Array:
        features = _Scaled(x, self.weights)
        kernel = features.kernel()
        oof = np.empty(len(target))
        for name in np.unique(labels):
            out = labels == name
            inner = kernel[np.ix_(~out, ~out)]
            dual, mean, _ = self._solve(inner, target[~out])
            oof[out] = mean + _centre_cross(kernel[np.ix_(out, ~out)], inner) @ dual
        self._keep(features, *self._solve(kernel, target))
        return oof


class Ridge(_KernelLearner):
    """Ridge regression on standardised dosages; the penalty with the least leave-one-out error of its path.

    Attributes
    ----------
    coef_ : array, shape (M,)
        Effect of one allele copy, in units of `y`.
    intercept_ : float
    delta_ : float
        The penalty, in units of the kernel's mean diagonal; inf where the mean alone does better.

    Notes
    -----
    A person's leverage is no sum over people: where `sums_suffice`, the penalty has the least generalised
    cross-validation error, n RSS / (n - trace of the hat matrix)², which is the leave-one-out error with all
    leverages at their mean. The mean alone competes in both.

    References
    ----------
    Golub, Heath and Wahba (1979), doi:10.1080/00401706.1979.10489751.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.integers(0, 3, (100, 20))
    >>> round(float(Ridge().fit(x, x[:, 0] + x[:, 1]).score(x, x[:, 0] + x[:, 1])), 2)
    1.0
    """

    def _ratio(self, d: Array, u: Array, rotated: Array, y: Array) -> float:
        # the least leave-one-out error, in closed form over a path; inf for the mean alone
        n = len(y)
        shrink = d[:, None] / (d[:, None] + PENALTIES)
        residual = y[:, None] - u @ (shrink * rotated[:, None])
        leverage = (u**2) @ shrink + 1.0 / n
        error = ((residual / (1.0 - leverage)) ** 2).sum(axis=0)
        best = int(error.argmin())
        mean_alone = float(((y * n / (n - 1)) ** 2).sum())
        return np.inf if error[best] >= mean_alone else float(PENALTIES[best])

    def _ratio_by_sums(self, form: Tridiagonal, n: int, square: float) -> float:
        error = np.array([_gcv(form, n, square, delta) for delta in PENALTIES])
        best = int(error.argmin())
        return np.inf if error[best] >= n * square / (n - 1) ** 2 else float(PENALTIES[best])


def _gcv(form: Tridiagonal, n: int, square: float, delta: float) -> float:
    """Generalised cross-validation error of a ridge whose hat matrix includes the mean."""
    w, _, inverse_trace = form.at(delta)
    rss = max(square - float(form.b @ w) - delta * float(w @ w), 0.0)
    free = n - 1 - (len(w) - delta * inverse_trace)
    # sums that are no people's may have more directions than people
    return n * rss / free**2 if free > 1e-9 * n else np.inf


class GBLUP(_KernelLearner):
    """Genomic best linear unbiased prediction: kernel ridge whose variance ratio is found by REML.

    Parameters
    ----------
    weights : array, shape (M,), optional
        Relative prior variance of each variant's effect, for instance falling with the distance to the TSS.

    References
    ----------
    VanRaden (2008), doi:10.3168/jds.2007-0980; Kang et al. (2008), doi:10.1534/genetics.107.080101.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.integers(0, 3, (100, 20))
    >>> bool(GBLUP().fit(x, x @ np.ones(20)).score(x, x @ np.ones(20)) > 0.95)
    True
    """

    def _ratio(self, d: Array, u: Array, rotated: Array, y: Array) -> float:
        # residual / genetic variance at the restricted maximum likelihood; inf for no genetic variance. In directions
        # in which the kernel does not vary, one of which is the mean, there is residual variance alone
        df = len(y) - 1
        empty = df - len(d)
        rest = max(float(y @ y) - float(rotated @ rotated), 0.0)

        def loss(log_delta: float) -> float:
            delta = np.exp(log_delta)
            variance = d + delta
            squares = float((rotated**2 / variance).sum()) + rest / delta
            return float(df * np.log(squares) + np.log(variance).sum() + empty * log_delta)

        return _likeliest(loss)

    def _ratio_by_sums(self, form: Tridiagonal, n: int, square: float) -> float:
        m = len(form.b)

        def loss(log_delta: float) -> float:
            delta = float(np.exp(log_delta))
            w, logdet, _ = form.at(delta)
            squares = max(square - float(form.b @ w), 1e-14 * square) / delta
            # directions without variation are in the determinant already, but for those beyond the variants
            return float((n - 1) * np.log(squares) + logdet + (n - 1 - m) * log_delta)

        return _likeliest(loss)


def _likeliest(loss: Callable[[float], float]) -> float:
    """delta whose logarithm has the least loss; inf where that is at the end of the path."""
    grid = np.linspace(-6.0, 9.0, 31)
    best = int(np.argmin([loss(point) for point in grid]))
    if best == len(grid) - 1:
        return np.inf
    found = minimize_scalar(loss, bounds=(grid[max(best - 1, 0)], grid[best + 1]), method="bounded")
    return float(np.exp(found.x))


class PolynomialRegression(RegressorMixin, BaseEstimator):
    """Degree-2 polynomial of the leading principal components of the dosages, ridge-penalised.

    Parameters
    ----------
    n_components : int
        Leading components, each scaled to unit variance in the training people; their squares and products
        join them as features.

    Notes
    -----
    Components, their scale, and the penalty (as `Ridge` finds it, the mean alone included) come from the
    training people. Where `sums_suffice`, components come from sums over people, and their polynomial from a second
    pass over them; ``fit_components``, ``features`` and ``fit_features`` do that with people in blocks:

    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((2000, 3))
    >>> y = x[:, 0] * x[:, 1]
    >>> model = PolynomialRegression(3).fit_components(Moments.of(x, y))
    >>> adding = Adding(model.width, 1)
    >>> for start in range(0, 2000, 500):
    ...     adding.add(model.features(x[start : start + 500]), y[start : start + 500, None])
    >>> bool(model.fit_features(adding.moments()).score(x, y) > 0.99)
    True

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((200, 3)).astype("float32")
    >>> y = x[:, 0] * x[:, 1]
    >>> bool(PolynomialRegression(3).fit(x, y).score(x, y) > 0.99)
    True
    """

    def __init__(self, n_components: int = 10) -> None:
        self.n_components = n_components

    def fit(self, X: ArrayLike, y: ArrayLike) -> PolynomialRegression:
        """Fit components and the ridge on their polynomial."""
        x, target = as_inputs(X, y)
        if not sums_suffice(*x.shape):
            return self._fit_people(x, target)
        self.fit_components(Moments.of(x, target))
        adding = Adding(self.width, 1)
        for start in range(0, len(x), BLOCK):
            adding.add(self.features(x[start : start + BLOCK]), target[start : start + BLOCK, None])
        return self.fit_features(adding.moments())

    def _fit_people(self, x: NDArray[np.float32], target: Array) -> PolynomialRegression:
        self.n_features_in_ = x.shape[1]
        scaled = _Scaled(x, None)
        values, vectors = eigh(scaled.kernel(), check_finite=False, driver="evd")
        k = min(self.n_components, int((values > 1e-6 * max(values[-1], 1e-12)).sum()))
        self._scaled = scaled
        root = np.sqrt(values[-k:]) if k else np.empty(0)
        # the sign of an eigenvector is arbitrary: fix it, so that results do not depend on the linear algebra
        tops = vectors[:, -k:] if k else np.empty((len(target), 0))
        sign = np.sign(tops[np.abs(tops).argmax(axis=0), np.arange(k)])
        self._loadings = (scaled.train.T @ (tops * sign / root * np.sqrt(len(target)) / root)) if k else None
        self._ridge = Ridge().fit(self._polynomial(scaled.train), target)
        return self

    def fit_components(self, whole: Moments) -> PolynomialRegression:
        """Components from sums over the training people, of which no dosage is missing; outcomes are not looked at.

        Without a fold of them: ``clone(model).fit_components(whole - fold)``.

        Raises
        ------
        ModelError
            If dosages are missing, or fewer than two people are left.
        """
        factor = _factor(_spread(_checked(whole)), None)
        self.n_features_in_ = whole.m
        # in double precision, by which `features` knows whence it came
        self._scaled = _Scaled.of(whole.mean, factor)
        self._loadings = None
        used = factor > 0
        if used.any() and (most := min(self.n_components, int(used.sum()))) > 0:
            values, vectors = leading(_products(whole, factor, used), most)
            keep = values > 1e-6 * max(float(values[0]), 1e-12)
            self._loadings = np.zeros((whole.m, int(keep.sum())))
            self._loadings[used] = vectors[:, keep] * np.sqrt(whole.n / values[keep])
        return self

    @property
    def width(self) -> int:
        """F: how many features the polynomial has, once there are components."""
        k = 0 if self._loadings is None else self._loadings.shape[1]
        return k + k * (k + 1) // 2 if k else 1

    def features(self, X: ArrayLike) -> NDArray[Any]:
        """The polynomial of anyone's components, shape (N, F).

        Notes
        -----
        Where one block of people is asked of many models, one conversion of it to float64 serves all.
        """
        scaled, loadings = self._scaled, self._loadings
        if scaled.mean.dtype == np.float32 or loadings is None:
            return self._polynomial(scaled.apply(X))
        x = np.asarray(X)
        # dosages are multiplied as they are: none is centred or scaled one by one
        weights = scaled.factor[:, None] * loadings
        start = scaled.mean @ weights
        blocks = range(0, max(len(x), 1), BLOCK)
        return _degree_two(
            np.vstack([x[i : i + BLOCK].astype(np.float64, copy=False) @ weights for i in blocks]) - start
        )

    def fit_features(self, people: Moments) -> PolynomialRegression:
        """The ridge, from sums over the training people of their `features` (with one outcome, without covariates)."""
        self._ridge = Ridge()
        self._ridge.fit_sums(people)
        return self

    def _polynomial(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._loadings is None:
            return np.zeros((len(z), 1), dtype=np.float32)
        return _degree_two(z @ self._loadings).astype(np.float32)

    def predict(self, X: ArrayLike) -> Array:
        """Predictions, shape (N,)."""
        return self._ridge.predict(self.features(X))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What was learned, in arrays that `from_arrays` takes."""
        state = {
            "mean": self._scaled.mean,
            "factor": self._scaled.factor,
            "coef": self._ridge.coef_,
            "intercept": np.float64(self._ridge.intercept_),
        }
        return state if self._loadings is None else state | {"loadings": self._loadings}

    @classmethod
    def from_arrays(cls, state: Mapping[str, NDArray[Any]]) -> PolynomialRegression:
        """The fitted model of `arrays`; it can predict."""
        out = cls()
        out._scaled = _Scaled.of(state["mean"], state["factor"])
        out._loadings = state.get("loadings")
        out._ridge = Ridge()
        out._ridge.coef_, out._ridge.intercept_ = state["coef"], float(state["intercept"])
        out.n_features_in_ = len(state["mean"])
        return out


def _degree_two(components: NDArray[Any]) -> NDArray[Any]:
    """Components, then their squares and products."""
    i, j = np.triu_indices(components.shape[1])
    return np.hstack([components, components[:, i] * components[:, j]])
