"""Ridge, GBLUP and polynomial regression against brute force and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.linear_model import Ridge as Reference

from genopred.errors import ModelError
from genopred.learning.elasticnet import assign_folds
from genopred.learning.kernel import GBLUP, PolynomialRegression, Ridge


def cohort(n=120, m=300, seed=0, h2=0.5):
    rng = np.random.default_rng(seed)
    x = rng.binomial(2, rng.uniform(0.1, 0.5, m), (n, m)).astype(np.float32)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    g = z @ rng.standard_normal(m)
    y = np.sqrt(h2) * g / g.std() + np.sqrt(1 - h2) * rng.standard_normal(n)
    return x, z, y


def test_ridge_is_scikit_learns_at_its_penalty():
    x, z, y = cohort()
    model = Ridge().fit(x, y)
    assert np.isfinite(model.delta_)
    reference = Reference(alpha=model.delta_ * x.shape[1]).fit(z, y)  # the kernel is z z' / M
    assert np.allclose(model.predict(x), reference.predict(z), atol=1e-3)


def test_ridge_penalty_has_the_least_leave_one_out_error():
    x, z, y = cohort(n=60, m=80)
    model = Ridge().fit(x, y)

    def leave_one_out(delta):
        """Refit without each person; columns stay centred on everyone, the intercept is refitted."""
        total = 0.0
        for i in range(len(y)):
            rest = np.arange(len(y)) != i
            fit = Reference(alpha=delta * 80).fit(z[rest], y[rest])
            total += (y[i] - fit.predict(z[[i]])[0]) ** 2
        return total

    best = leave_one_out(model.delta_)
    assert best < leave_one_out(model.delta_ * 3) and best < leave_one_out(model.delta_ / 3)


def test_gblup_is_the_restricted_maximum_likelihood():
    x, z, y = cohort(seed=1)
    model = GBLUP().fit(x, y)
    n = len(y)
    kernel = z @ z.T / x.shape[1]

    def minus_reml(log_delta):
        v = kernel + np.exp(log_delta) * np.eye(n)
        inverse = np.linalg.inv(v)
        ones = inverse.sum()
        p = inverse - np.outer(inverse.sum(axis=1), inverse.sum(axis=0)) / ones
        return np.linalg.slogdet(v)[1] + np.log(ones) + (n - 1) * np.log(y @ p @ y)

    found = minimize_scalar(minus_reml, bounds=(-6, 9), method="bounded")
    assert np.log(model.delta_) == pytest.approx(found.x, abs=0.02)
    v = kernel + model.delta_ * np.eye(n)
    blup = y.mean() + kernel @ np.linalg.solve(v, y - y.mean())
    assert np.allclose(model.predict(x), blup, atol=1e-3)


def test_weights_are_prior_variances():
    """A variant with weight 0 has no effect; equal weights change nothing."""
    x, _, y = cohort()
    weights = np.ones(x.shape[1])
    weights[:50] = 0.0
    assert np.all(GBLUP(weights).fit(x, y).coef_[:50] == 0)
    assert np.allclose(GBLUP(np.full(x.shape[1], 7.0)).fit(x, y).predict(x), GBLUP().fit(x, y).predict(x), atol=1e-5)
    with pytest.raises(ModelError, match="variant weights must be 300"):
        GBLUP(np.ones(2)).fit(x, y)


@pytest.mark.parametrize("make", [Ridge, GBLUP])
def test_out_of_fold_predictions_are_the_fold_by_fold_refits(make):
    x, _, y = cohort(seed=4)
    folds = assign_folds(len(y), 5, 0)
    model = make()
    oof = model.fit_oof(x, y, folds)
    for k in range(5):
        refit = make().fit(x[folds != k], y[folds != k])
        # the shared kernel scales variants by everyone's spread, a refit by its own people's
        assert np.corrcoef(oof[folds == k], refit.predict(x[folds == k]))[0, 1] > 0.98
    assert np.allclose(model.predict(x), make().fit(x, y).predict(x), atol=1e-6)


@pytest.mark.parametrize("make", [Ridge, GBLUP, PolynomialRegression])
def test_noise_constant_expression_and_constant_dosages(make):
    rng = np.random.default_rng(0)
    x = rng.binomial(2, 0.3, (80, 40)).astype(np.float32)
    assert np.allclose(make().fit(x, np.full(80, 2.5)).predict(x), 2.5)
    y = rng.standard_normal(80)
    assert np.allclose(make().fit(np.ones_like(x), y).predict(np.ones_like(x)), y.mean(), atol=1e-6)


def test_polynomial_sees_an_interaction_that_a_line_cannot():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 4)).astype(np.float32)
    y = x[:, 0] * x[:, 1] + x[:, 2] ** 2
    assert PolynomialRegression(4).fit(x[:300], y[:300]).score(x[300:], y[300:]) > 0.95
    assert Ridge().fit(x[:300], y[:300]).score(x[300:], y[300:]) < 0.1
