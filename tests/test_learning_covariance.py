"""Paths from correlations: at the optimum, whatever they started from, and errors those of the people."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet as Reference

from genopred.genetics.leaveout import LeftOut
from genopred.genetics.moments import Moments, total
from genopred.learning.covariance import Penalties, Room, SumPath, solved

STEPS = 40


def cohort(seed, n=500, m=90):
    """Mosaics of few ancestors; two variants are the same one, one does not vary."""
    rng = np.random.default_rng(seed)
    ancestors = rng.integers(0, 2, (10, m))
    source = np.cumsum(rng.random((2 * n, m)) < 0.05, axis=1) + rng.integers(0, 10, (2 * n, 1))
    haplotypes = ancestors[source % 10, np.arange(m)]
    x = (haplotypes[:n] + haplotypes[n:]).astype(np.float64)
    x[:, 31], x[:, 50] = x[:, 30], 1.0
    y = x[:, [3, 30, 60]] @ [1.0, -1.0, 0.5] + 2.0 * rng.standard_normal(n)
    return x, y


def problem(left, mix=0.5, seed=0):
    factors = np.random.default_rng(seed).uniform(0.5, 1.5, left.m)
    top = float((np.abs(left.cross) / factors).max()) / mix
    return Penalties(left.y_scale * top * np.logspace(0, -3, STEPS), factors, mix)


def conditions(left, penalties, weights, step):
    """How far the gradient of every variant is from what the optimum asks for."""
    lam = penalties.lambdas[step] / left.y_scale
    gradient = left.cross - left.correlations() @ weights[step]
    lasso, ridge = lam * penalties.mix * penalties.factors, lam * (1 - penalties.mix) * penalties.factors
    on = weights[step] != 0
    off = np.maximum(np.abs(gradient) - lasso, 0.0)
    return np.where(on, gradient - lasso * np.sign(weights[step]) - ridge * weights[step], off)


@pytest.mark.parametrize("mix", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_every_step_is_at_the_optimum(seed, mix):
    x, y = cohort(seed)
    left = LeftOut(Moments.of(x, y))
    penalties = problem(left, mix, seed)
    path = SumPath(left, STEPS)
    path.advance(penalties, STEPS, 1e-7)
    loose = max(np.abs(conditions(left, penalties, path.weights, step)).max() for step in range(STEPS))
    path.solve(penalties, np.arange(STEPS))
    tight = max(np.abs(conditions(left, penalties, path.weights, step)).max() for step in range(STEPS))
    assert loose < 3e-2 and tight < 1e-9
    assert (path.weights[-1] != 0).sum() > 20 and not path.weights[:, 50].any()


def test_weights_are_scikit_learns():
    x, y = cohort(5)
    left = LeftOut(Moments.of(x, y))
    penalties = problem(left)._replace(factors=np.ones(left.m))
    path = SumPath(left, STEPS)
    path.advance(penalties, STEPS, 1e-7)
    path.solve(penalties, np.arange(STEPS))
    z = (x - x.mean(axis=0)) * left.inverse
    for step in (5, 20, 35):
        alpha = penalties.lambdas[step] / left.y_scale
        other = Reference(alpha=alpha, l1_ratio=0.5, tol=1e-14, max_iter=1_000_000).fit(z, (y - y.mean()) / y.std())
        np.testing.assert_allclose(path.weights[step], other.coef_, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_does_not_depend_on_the_start(seed):
    x, y = cohort(seed)
    left = LeftOut(Moments.of(x, y))
    penalties = problem(left, seed=seed)
    scaled = penalties._replace(lambdas=penalties.lambdas[[10, 25, 39]] / left.y_scale)
    nothing = solved(left, np.zeros((3, left.m)), scaled)
    rng = np.random.default_rng(seed)
    anything = solved(left, np.where(rng.random((3, left.m)) < 0.5, rng.standard_normal((3, left.m)), 0.0), scaled)
    np.testing.assert_allclose(anything, nothing, atol=1e-9)


def test_without_a_ridge_copies_of_a_variant_fit_alike():
    x, y = cohort(3)
    left = LeftOut(Moments.of(x, y))
    one = Penalties(np.array([0.05 * left.y_scale]), np.ones(left.m), 1.0)
    starts = np.zeros((2, left.m))
    starts[0, 30], starts[1, 31] = -0.4, -0.4
    a, b = (solved(left, start[None], one._replace(lambdas=one.lambdas / left.y_scale))[0] for start in starts)
    z = (x - x.mean(axis=0)) * left.inverse
    np.testing.assert_allclose(z @ a, z @ b, atol=1e-7)
    assert np.abs(a).sum() == pytest.approx(np.abs(b).sum(), abs=1e-7)


def test_a_variant_that_is_not_penalised_is_fitted_by_least_squares():
    x, y = cohort(4)
    left = LeftOut(Moments.of(x, y))
    penalties = problem(left)
    penalties.factors[7] = 0.0
    path = SumPath(left, STEPS)
    path.advance(penalties, STEPS, 1e-7)
    path.solve(penalties, np.array([0, 15]))
    for step in (0, 15):
        coef, intercept = path.coef(step)
        assert np.corrcoef(x[:, 7], y - x @ coef - intercept)[0, 1] == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("seed", range(2))
def test_errors_are_those_of_the_people_kept_aside(seed):
    x, y = cohort(seed)
    labels = np.random.default_rng(seed).integers(0, 3, len(y))
    parts = [Moments.of(x[labels == k], y[labels == k]) for k in range(3)]
    left = LeftOut(total(parts), parts[:1])
    penalties, room = problem(left), Room(left.m)
    path = SumPath(left, STEPS, room)
    path.advance(penalties, 17, 1e-7)
    path.advance(penalties, STEPS, 1e-7)
    aside = labels == 0
    errors = []
    for step in range(STEPS):
        coef, intercept = path.coef(step)
        errors.append(((y[aside] - x[aside] @ coef - intercept) ** 2).sum())
    np.testing.assert_allclose(path.squared_error(parts[0], slice(STEPS)), errors, rtol=1e-9)
    np.testing.assert_allclose(path.squared_error(parts[0], np.array([7, 30])), [errors[7], errors[30]], rtol=1e-9)
    # the next path in the same memory, and a walk in one go
    again = SumPath(left, STEPS, room)
    again.advance(penalties, STEPS, 1e-7)
    np.testing.assert_array_equal(again.weights, path.weights)
