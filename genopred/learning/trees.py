"""Forests and boosted trees on the variants (or features) that look best in the training people."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin

from genopred.genetics.moments import Centred
from genopred.learning.elasticnet import as_inputs


def strongest_columns(x: NDArray[np.float32], y: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """The k columns with the largest absolute correlation with `y`, best first; ties by position."""
    centred = x - x.mean(axis=0)
    norm = np.sqrt(np.einsum("ij,ij->j", centred, centred, dtype=np.float64))
    norm[norm < 1e-6] = np.inf
    r = np.abs((y - y.mean()) @ centred.astype(np.float64) / norm)
    return np.argsort(-r, kind="stable")[:k]


def strongest_by_sums(sums: Centred, k: int) -> NDArray[np.int64]:
    """The same from the people's sums."""
    scale = sums.scale()
    norm = np.where(scale > 0, scale * np.sqrt(sums.n), np.inf)
    return np.argsort(-np.abs(sums.cross / norm), kind="stable")[:k]


class Trees(RegressorMixin, BaseEstimator):
    """Chooses columns inside `fit`, then grows trees on them. One thread: genes run in parallel."""

    def __init__(self, n_top: int = 100, n_trees: int = 60, random_state: int = 0) -> None:
        self.n_top = n_top
        self.n_trees = n_trees
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Trees:
        """Choose the columns and grow the trees."""
        x, target = as_inputs(X, y)
        columns = strongest_columns(x, target, self.n_top)
        return self.fit_columns(columns, x.shape[1], x[:, columns], target)

    def fit_columns(self, columns: NDArray[np.int64], m: int, x: NDArray[np.float32], y: NDArray[np.float64]) -> Trees:
        """Grow the trees on chosen columns, of which `x` (N, k) has the values, of `m` in all."""
        self.n_features_in_ = m
        self.mean_ = float(y.mean())
        self.columns_ = columns
        self.model_ = self._grow(np.ascontiguousarray(x), y - self.mean_)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Predictions, shape (N,)."""
        return self.predict_columns(np.asarray(X, dtype=np.float32)[:, self.columns_])

    def predict_columns(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Predictions (N,) by the values of the chosen columns alone."""
        return self.mean_ + np.asarray(self._raw(np.ascontiguousarray(x)), dtype=np.float64)

    def _grow(self, x: NDArray[np.float32], y: NDArray[np.float64]) -> Any:
        raise NotImplementedError

    def _raw(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        raise NotImplementedError


class _XGBoost(Trees):
    """The two ways XGBoost grows trees here share everything but their settings."""

    def _settings(self) -> tuple[dict[str, Any], int]:
        raise NotImplementedError

    def _grow(self, x: NDArray[np.float32], y: NDArray[np.float64]) -> Any:
        import xgboost

        settings, rounds = self._settings()
        shared = {"tree_method": "hist", "max_bin": 16, "nthread": 1, "verbosity": 0, "base_score": 0.0}
        return xgboost.train(shared | settings | {"seed": self.random_state}, xgboost.DMatrix(x, y, nthread=1), rounds)

    def _raw(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        import xgboost

        return self.model_.predict(xgboost.DMatrix(x, nthread=1))


class RandomForest(_XGBoost):
    """Random forest of deep trees, each on half of the people and a tenth of the variants per split.

    Grown by XGBoost as parallel trees, which predict what scikit-learn's forest with the same settings predicts (a
    test holds that) and cost less. Leaves hold at least ten people: with a few hundred people and weak
    effects, smaller ones only fit noise.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.integers(0, 3, (150, 20))
    >>> bool(RandomForest().fit(x, x[:, 0]).score(x, x[:, 0]) > 0.3)
    True
    """

    def __init__(self, n_top: int = 100, n_trees: int = 200, random_state: int = 0) -> None:
        super().__init__(n_top, n_trees, random_state)

    def _settings(self) -> tuple[dict[str, Any], int]:
        return {
            "num_parallel_tree": self.n_trees,
            "eta": 1.0,
            "max_depth": 10,
            "subsample": 0.5,
            "colsample_bynode": 0.1,
            "min_child_weight": 10,
            "reg_lambda": 0.0,
        }, 1


class XGBoostTrees(_XGBoost):
    """Gradient boosting by XGBoost: shallow trees, strong shrinkage and subsampling.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.integers(0, 3, (150, 20))
    >>> bool(XGBoostTrees().fit(x, x[:, 0]).score(x, x[:, 0]) > 0.6)
    True
    """

    def _settings(self) -> tuple[dict[str, Any], int]:
        return {
            "eta": 0.05,
            "max_depth": 2,
            "subsample": 0.7,
            "colsample_bytree": 0.3,
            "min_child_weight": 10,
            "reg_lambda": 10.0,
        }, self.n_trees


class LightGBMTrees(Trees):
    """Gradient boosting by LightGBM: small leaf-wise trees, strong shrinkage and subsampling.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.integers(0, 3, (150, 20))
    >>> bool(LightGBMTrees().fit(x, x[:, 0]).score(x, x[:, 0]) > 0.3)
    True
    """

    def _grow(self, x: NDArray[np.float32], y: NDArray[np.float64]) -> Any:
        import lightgbm

        settings = {
            "objective": "regression",
            "learning_rate": 0.05,
            "num_leaves": 4,
            "min_data_in_leaf": 15,
            "lambda_l2": 10.0,
            "bagging_fraction": 0.7,
            "bagging_freq": 1,
            "feature_fraction": 0.3,
            "max_bin": 15,
            "num_threads": 1,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
            "seed": self.random_state,
        }
        data = lightgbm.Dataset(x, y, params={"max_bin": 15, "verbosity": -1, "num_threads": 1})
        return lightgbm.train(settings, data, self.n_trees)

    def _raw(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.model_.predict(x, num_threads=1)
