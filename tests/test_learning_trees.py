"""Forest and boosted trees."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from genopred.learning import trees
from genopred.learning.trees import LightGBMTrees, RandomForest, XGBoostTrees, strongest_columns


def cohort(n=300, m=150, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.binomial(2, 0.3, (n, m)).astype(np.float32)
    return x, x[:, 5] - x[:, 9] + ((x[:, 3] > 0) & (x[:, 4] > 0)) + 0.5 * rng.standard_normal(n)


def test_strongest_columns_by_a_naive_loop():
    x, y = cohort(m=30)
    x[:, 7] = 1.0  # constant: never among the first
    r = [0.0 if j == 7 else abs(np.corrcoef(x[:, j], y)[0, 1]) for j in range(30)]
    assert strongest_columns(x, y, 10).tolist() == np.argsort(-np.array(r), kind="stable")[:10].tolist()


@pytest.mark.parametrize("make", [RandomForest, XGBoostTrees, LightGBMTrees])
def test_trees_learn_and_repeat_themselves(make):
    x, y = cohort()
    model = make(random_state=3).fit(x[:200], y[:200])
    assert np.corrcoef(model.predict(x[200:]), y[200:])[0, 1] > 0.6
    again = make(random_state=3).fit(x[:200], y[:200])
    assert np.array_equal(model.predict(x), again.predict(x))
    constant = make().fit(x, np.full(len(y), 4.0))
    assert np.allclose(constant.predict(x), 4.0)


def test_forest_predicts_what_scikit_learns_forest_predicts():
    x, y = cohort()
    ours = RandomForest(n_trees=400).fit(x[:200], y[:200]).predict(x[200:])
    theirs = RandomForestRegressor(
        400, max_features=0.1, min_samples_leaf=10, max_samples=0.5, random_state=0, n_jobs=1
    ).fit(x[:200][:, strongest_columns(x[:200], y[:200], 100)], y[:200])
    reference = theirs.predict(x[200:][:, strongest_columns(x[:200], y[:200], 100)])
    assert np.corrcoef(ours, reference)[0, 1] > 0.95
    assert abs(((y[200:] - ours) ** 2).mean() / ((y[200:] - reference) ** 2).mean() - 1) < 0.15


def test_examples():
    assert doctest.testmod(trees).failed == 0
