"""Ridge, GBLUP and polynomial regression against brute force and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.base import clone
from sklearn.linear_model import Ridge as Reference

from genopred.errors import ModelError
from genopred.genetics.moments import Adding, Moments, total
from genopred.learning.elasticnet import assign_folds
from genopred.learning.kernel import GBLUP, PENALTIES, PolynomialRegression, Ridge


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


# --- by sums over people ---------------------------------------------------------------------------------------------


def linked(n, m, seed=0, h2=0.4):
    """Dosages in strong LD, with duplicates, a flipped duplicate and variants that nobody carries; and an outcome."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((2, n, m))
    for j in range(1, m):
        latent[:, :, j] = 0.95 * latent[:, :, j - 1] + np.sqrt(1 - 0.95**2) * latent[:, :, j]
    x = (latent > rng.uniform(-0.5, 1.2, m)).sum(axis=0).astype(np.float32)
    x[:, 7], x[:, 9], x[:, 11], x[:, 13] = x[:, 2], x[:, 2], 2 - x[:, 3], 0
    g = x[:, ::10] @ rng.standard_normal(len(range(0, m, 10)))
    return x, 3 + np.sqrt(h2) * (g - g.mean()) / g.std() + np.sqrt(1 - h2) * rng.standard_normal(n)


def parts_of(x, y, folds):
    return [Moments.of(x[folds == k], y[folds == k]) for k in np.unique(folds)]


def standardised(x, weights=None):
    """Each column's mean and factor, from the plain definition in double precision."""
    wide = x.astype(np.float64)
    scale, w = wide.std(axis=0), np.ones(x.shape[1]) if weights is None else weights
    varies = scale > 1e-6
    factor = np.where(varies, np.sqrt(w / w[varies].sum()), 0) / np.where(varies, scale, 1)
    return wide.mean(axis=0), factor


@pytest.mark.parametrize("n, m, h2, seed", [(400, 60, 0.4, 0), (300, 250, 0.4, 1), (150, 260, 0.6, 2), (400, 80, 0, 3)])
@pytest.mark.parametrize("weighted", [False, True])
def test_gblup_by_sums_is_that_of_the_kernel_between_people(n, m, h2, seed, weighted):
    x, y = linked(n, m, seed, h2)
    weights = np.random.default_rng(seed).random(m) if weighted else None
    if weighted:
        weights[::6] = 0
    mean, factor = standardised(x, weights)
    z, folds = (x - mean) * factor, assign_folds(n, 4, seed)
    model = GBLUP(weights)
    models = model.fit_sums(total(parts_of(x, y, folds)), parts_of(x, y, folds))
    everyone = np.ones(n, dtype=bool)
    for train, coef, start in [
        (everyone, model.coef_, model.intercept_),
        *[(folds != k, fit.coef, fit.intercept) for k, fit in enumerate(models)],
    ]:
        own = z[train] - z[train].mean(axis=0)
        dual, y_mean, delta = model._solve(own @ own.T, y[train])
        expected = y_mean + (z - z[train].mean(axis=0)) @ (own.T @ dual)
        np.testing.assert_allclose(x @ coef + start, expected, atol=1e-6)
        if train is everyone:
            assert model.delta_ == pytest.approx(delta, rel=1e-4)  # the minimum is found to 1e-5
    assert model.n_features_in_ == m and np.all(model.coef_[factor == 0] == 0)


@pytest.mark.parametrize("make", [Ridge, GBLUP])
def test_many_people_are_learned_from_by_their_sums(make):
    x, y = linked(1_200, 90, 5)
    folds = assign_folds(len(y), 5, 1)
    model = make()
    oof = model.fit_oof(x, y, folds)
    parts = parts_of(x, y, folds)
    other = make()
    models = other.fit_sums(total(parts), parts)
    for k, fit in enumerate(models):
        np.testing.assert_allclose(x[folds == k] @ fit.coef + fit.intercept, oof[folds == k], atol=1e-9)
    np.testing.assert_allclose(model.predict(x), other.predict(x), atol=1e-9)
    np.testing.assert_allclose(make().fit(x, y).predict(x), other.predict(x), atol=1e-6)
    # the people's own route works in single precision
    spread = np.std(other.predict(x))
    old = make()
    old_oof = old._fit_oof_people(x, y, folds)
    tolerance = 1e-3 if make is GBLUP else 0.1
    assert np.abs(old.predict(x) - other.predict(x)).max() < tolerance * spread
    assert np.abs(old_oof - oof).max() < tolerance * spread
    assert np.corrcoef(old_oof, oof)[0, 1] > 0.9999


def test_few_people_are_learned_from_as_ever(monkeypatch):
    def refuse(*_):
        raise AssertionError("sums of few people")

    monkeypatch.setattr(Ridge, "_of_sums", refuse)
    monkeypatch.setattr(PolynomialRegression, "fit_components", refuse)
    x, y = linked(200, 30)
    Ridge().fit_oof(x, y, assign_folds(200, 3, 0))
    PolynomialRegression().fit(x, y)
    with pytest.raises(AssertionError, match="sums of few"):
        Ridge().fit(*linked(1_000, 30))


@pytest.mark.parametrize("n, m, h2, seed", [(120, 40, 0.5, 0), (90, 40, 0.2, 1), (60, 90, 0.5, 2), (110, 30, 0, 3)])
def test_ridge_by_sums_has_the_least_generalised_cross_validation_error(n, m, h2, seed):
    x, y = linked(n, m, seed, h2)
    mean, factor = standardised(x)
    z = (x - mean) * factor
    errors, fitted = [], []
    for delta in PENALTIES:
        hat = 1 / n + z @ np.linalg.solve(z.T @ z + delta * np.eye(m), z.T)
        fitted.append(hat @ y)
        errors.append(n * ((y - fitted[-1]) ** 2).sum() / (n - np.trace(hat)) ** 2)
    model = Ridge()
    model.fit_sums(Moments.of(x, y))
    best = int(np.argmin(errors))
    if errors[best] >= n * ((y - y.mean()) ** 2).sum() / (n - 1) ** 2:
        assert model.delta_ == np.inf
        np.testing.assert_allclose(model.predict(x), y.mean(), atol=1e-9)
    else:
        assert model.delta_ == pytest.approx(PENALTIES[best])
        np.testing.assert_allclose(model.predict(x), fitted[best], atol=1e-8)


def test_generalised_and_plain_leave_one_out_hardly_differ_in_many_people():
    for seed in range(5):
        x, y = linked(3_000, 60, seed, 0.2)
        train, test = np.arange(3_000) < 1_500, np.arange(3_000) >= 1_500
        by_sums = Ridge().fit(x[train], y[train]).predict(x[test])
        by_people = Ridge()._fit_people(x[train], y[train]).predict(x[test])
        assert np.corrcoef(by_sums, by_people)[0, 1] > 0.999
        gained = ((y[test] - by_people) ** 2).mean() - ((y[test] - by_sums) ** 2).mean()
        assert abs(gained) < 0.002 * y[test].var()


@pytest.mark.parametrize("make", [Ridge, GBLUP])
def test_sums_of_constant_outcomes_and_dosages(make):
    rng = np.random.default_rng(0)
    x = rng.binomial(2, 0.3, (80, 40)).astype(np.float32)
    for value in [*rng.uniform(0, 2000, 20), 0.0]:
        parts = [Moments.of(np.tile(half, (60, 1)), np.full(2_400, value)) for half in (x[:40], x[40:])]
        for model in make().fit_sums(total(parts), parts):
            assert np.all(model.coef == 0) and model.intercept == pytest.approx(value)
    y = rng.standard_normal(80)
    model = make()
    assert model.fit_sums(Moments.of(np.full_like(x, 0.1), y)) == []
    assert np.all(model.coef_ == 0) and model.intercept_ == pytest.approx(y.mean()) and model.delta_ == np.inf
    # one variant; one that only the fold left out carries; an outcome that the variants say wholly
    one = np.zeros((80, 1), dtype=np.float32)
    one[:3] = 1
    carriers = Moments.of(one[:40], y[:40])
    held = make().fit_sums(carriers + Moments.of(one[40:], y[40:]), [carriers])[0]
    assert abs(held.coef[0]) < 1e-6 and held.intercept == pytest.approx(y[40:].mean())
    told = x @ rng.standard_normal(40)
    model.fit_sums(Moments.of(x, told))
    assert np.corrcoef(model.predict(x), told)[0, 1] > 0.9999


def test_sums_that_do_not_fit_are_refused():
    x, y = linked(50, 20)
    with pytest.raises(ModelError, match="sums of 2 outcomes and 0 covariates"):
        Ridge().fit_sums(Moments.of(x, np.column_stack([y, y])))
    with pytest.raises(ModelError, match="0 training people"):
        GBLUP().fit_sums(Moments.of(x, y), [Moments.of(x, y)])
    holed = Moments.of(np.where(np.eye(50, 20) > 0, np.nan, x), y)
    for fit in (Ridge().fit_sums, PolynomialRegression().fit_components):
        with pytest.raises(ModelError, match="fill them first"):
            fit(holed)
    with pytest.raises(ModelError, match="variant weights must be 20"):
        GBLUP(np.ones(3)).fit_sums(Moments.of(x, y))


def in_two_passes(model, x, y, rows, size=97):
    """The polynomial of some people, read twice in blocks."""
    model.fit_components(Moments.of(x[rows], y[rows]))
    adding = Adding(model.width, 1)
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        adding.add(model.features(x[block]), y[block, None])
    return model.fit_features(adding.moments())


@pytest.mark.parametrize("seed", range(3))
def test_components_by_sums_are_those_of_the_people(seed):
    x, _ = linked(500, 250, seed)
    y = np.random.default_rng(seed).standard_normal(500)
    by_sums = PolynomialRegression(4).fit_components(Moments.of(x, y))
    by_people = PolynomialRegression(4)._fit_people(x, y)
    assert by_sums.width == 14
    mine, others = by_sums.features(x)[:, :4], by_people.features(x)[:, :4]
    np.testing.assert_allclose(mine.T @ mine / 500, np.eye(4), atol=1e-7)
    # ascending there, of any sign
    cosines = np.abs((mine[:, ::-1] * others).mean(axis=0))
    np.testing.assert_allclose(cosines, 1, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_polynomial_in_two_passes_is_a_ridge_on_its_features(seed):
    x, _ = linked(2_000, 40, seed)
    rng = np.random.default_rng(seed)
    z = (x - x.mean(axis=0)) @ np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:2].T
    y = z[:, 0] * z[:, 1] / z.std() ** 2 + 0.3 * rng.standard_normal(2_000)
    train = np.arange(2_000) % 3 != 0
    model = in_two_passes(PolynomialRegression(), x, y, np.flatnonzero(train))
    np.testing.assert_allclose(PolynomialRegression().fit(x[train], y[train]).predict(x), model.predict(x), atol=1e-6)
    ridge = Ridge().fit(model.features(x[train]), y[train])
    np.testing.assert_allclose(model.predict(x), ridge.predict(model.features(x)), atol=1e-4)
    # the same with components from the people's kernel, in single precision
    old = clone(model)._fit_people(x[train], y[train])
    assert np.corrcoef(old.predict(x[~train]), model.predict(x[~train]))[0, 1] > 0.9999
    assert model.score(x[~train], y[~train]) > 0.3
    # the signs of components are nobody's business
    turned = PolynomialRegression().fit_components(Moments.of(x[train], y[train]))
    turned._loadings = turned._loadings * rng.choice([-1, 1], turned._loadings.shape[1])
    turned.fit_features(Moments.of(turned.features(x[train]), y[train]))
    np.testing.assert_allclose(turned.predict(x), model.predict(x), atol=1e-7)
    kept = PolynomialRegression.from_arrays(model.arrays())
    assert np.array_equal(kept.predict(x), model.predict(x))


def test_polynomial_by_sums_without_variation_and_with_few_directions():
    rng = np.random.default_rng(0)
    y = rng.standard_normal(1_100)
    flat = PolynomialRegression().fit(np.full((1_100, 5), 0.1), y)
    assert flat.width == 1 and np.allclose(flat.predict(np.zeros((3, 5))), y.mean())
    kept = PolynomialRegression.from_arrays(flat.arrays())
    assert np.allclose(kept.predict(np.ones((2, 5))), y.mean())
    x = np.repeat(rng.integers(0, 3, (1_100, 2)), 150, axis=1)
    model = PolynomialRegression().fit(x, x[:, 0] * x[:, -1] + 0.1 * y)
    assert model.width == 5
    assert model.score(x, x[:, 0] * x[:, -1] + 0.1 * y) > 0.97
