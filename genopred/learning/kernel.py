"""Learners that need only the relationship between people: ridge, GBLUP and polynomial regression.

All work from one eigendecomposition of the centred (N, N) kernel of the training people; the closed form then
gives every penalty of the path at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh
from scipy.optimize import minimize_scalar
from sklearn.base import BaseEstimator, RegressorMixin

from genopred.errors import ModelError
from genopred.learning.elasticnet import Linear, as_inputs

Array = NDArray[np.float64]


class _Scaled:
    """Columns centred and scaled as in the training people, each times the square root of its weight.

    Weights are scaled so that the mean diagonal of the training kernel is 1.
    """

    def __init__(self, x: NDArray[np.float32], weights: ArrayLike | None) -> None:
        m = x.shape[1]
        w = np.ones(m) if weights is None else np.asarray(weights, dtype=np.float64)
        if w.shape != (m,) or not np.isfinite(w).all() or (w < 0).any() or w.sum() <= 0:
            raise ModelError(f"variant weights must be {m} finite numbers of at least 0; got shape {w.shape}.")
        self.mean = x.mean(axis=0, dtype=np.float64).astype(np.float32)
        scale = x.std(axis=0, dtype=np.float64)
        varies = scale > 1e-6
        factor = np.zeros(m)
        if (total := w[varies].sum()) > 0:
            factor[varies] = np.sqrt(w[varies] / total) / scale[varies]
        self.factor = factor.astype(np.float32)
        self.train = self.apply(x)

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


class _KernelLearner(Linear):
    """What ridge and GBLUP share: solve (K + delta I) a = y - mean(y), with delta found by `_ratio`."""

    def __init__(self, weights: ArrayLike | None = None) -> None:
        self.weights = weights

    def _ratio(self, d: Array, u: Array, rotated: Array, y: Array) -> float:
        """delta: from the kernel's eigenvalues and eigenvectors where it varies, u'y, and y minus its mean."""
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
        grid = np.logspace(-3.0, 4.0, 57)
        shrink = d[:, None] / (d[:, None] + grid)
        residual = y[:, None] - u @ (shrink * rotated[:, None])
        leverage = (u**2) @ shrink + 1.0 / n
        error = ((residual / (1.0 - leverage)) ** 2).sum(axis=0)
        best = int(error.argmin())
        mean_alone = float(((y * n / (n - 1)) ** 2).sum())
        return np.inf if error[best] >= mean_alone else float(grid[best])


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
    Components, their scale, and the penalty (leave-one-out error, the mean alone included) come from the
    training people.

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

    def _polynomial(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._loadings is None:
            return np.zeros((len(z), 1), dtype=np.float32)
        components = z @ self._loadings
        i, j = np.triu_indices(components.shape[1])
        return np.hstack([components, components[:, i] * components[:, j]]).astype(np.float32)

    def predict(self, X: ArrayLike) -> Array:
        """Predictions, shape (N,)."""
        return self._ridge.predict(self._polynomial(self._scaled.apply(X)))
