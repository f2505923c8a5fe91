"""Every registered learner: its name, its honesty, its invariances."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LinearRegression

from genopred.errors import GenopredError, ModelError
from genopred.genetics.finemap import susie
from genopred.genetics.moments import Moments, total
from genopred.learning import learners as registry
from genopred.learning.elasticnet import assign_folds
from genopred.learning.learners import GeneContext, Learner, SuSiE
from genopred.learning.stack import fit_base


def cohort(n=120, m=80, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.binomial(2, rng.uniform(0.1, 0.5, m), (n, m)).astype(np.float32)
    y = x[:, 10] - 0.7 * x[:, 40] + rng.standard_normal(n)
    return x, (y - y.mean()) / y.std(), GeneContext(np.arange(m) * 5_000 + 1, 50_001, 3)


@pytest.mark.parametrize("name", registry.DEFAULT_LEARNERS)
def test_out_of_fold_predictions_never_saw_the_person(name):
    """Changing a fold's expression must not change what is predicted for that fold, but for the others."""
    x, y, gene = cohort()
    learner = registry.find(name)
    folds = assign_folds(len(y), 4, 0)
    before = fit_base(learner.make(gene), x, y, x[:5], folds)
    changed = y.copy()
    rng = np.random.default_rng(1)
    changed[folds == 2] = rng.permutation(y[folds == 2])
    after = fit_base(learner.make(gene), x, changed, x[:5], folds)
    same, other = folds == 2, folds != 2
    # elastic nets share their grid of lambdas (numbers, not fits) among folds: allow one step of it
    atol = 0.05 if name.startswith("elastic") else 1e-6
    assert np.allclose(before.oof[same], after.oof[same], atol=atol)
    assert np.abs(before.oof[other] - after.oof[other]).max() > 0.01
    in_sample = clone(learner.make(gene)).fit(x, y).predict(x)
    assert np.abs(in_sample - before.oof).max() > 0.01


@pytest.mark.parametrize("name", registry.DEFAULT_LEARNERS)
def test_order_of_people_and_units_of_expression_commute(name):
    x, y, gene = cohort()
    learner = registry.find(name)
    folds = assign_folds(len(y), 4, 0)
    a = fit_base(learner.make(gene), x, y, x[:20], folds)
    scaled = fit_base(learner.make(gene), x, 4.0 * y + 2.0, x[:20], folds)
    if name not in ("xgboost", "lightgbm", "random-forest"):  # whose stopping rules and rounding are not scale-free
        assert a.test.std() < 1e-6 or np.corrcoef(scaled.test, a.test)[0, 1] > 0.998
        assert np.allclose(scaled.test, 4.0 * a.test + 2.0, atol=0.5)
    if name in ("random-forest", "xgboost", "lightgbm"):
        return  # rows are drawn by place
    order = np.random.default_rng(0).permutation(len(y))
    b = fit_base(learner.make(gene), x[order], y[order], x[:20], folds[order])
    assert np.allclose(a.test, b.test, atol=0.02)
    assert np.allclose(a.oof[order], b.oof, atol=0.02)


@pytest.mark.parametrize("name", registry.DEFAULT_LEARNERS)
def test_learns_something_and_nothing_from_noise(name):
    x, y, gene = cohort(n=300)
    learner = registry.find(name)
    folds = assign_folds(200, 5, 0)
    fit = fit_base(learner.make(gene), x[:200], y[:200], x[200:], folds)
    floor = {"polynomial": -0.2, "baseline-prs": 0.1}.get(name, 0.15)
    assert np.corrcoef(fit.test, y[200:])[0, 1] > floor
    assert np.corrcoef(fit.oof, y[:200])[0, 1] > floor
    if name == "elastic-net":
        return
    noise = np.random.default_rng(7).standard_normal(300)
    fit = fit_base(learner.make(gene), x[:200], noise[:200], x[200:], folds)
    assert 1 - ((noise[200:] - fit.test) ** 2).mean() / noise[200:].var() > -0.25


def test_distance_to_the_tss_counts():
    x, y, gene = cohort()
    assert gene.prior().argmax() == gene.penalty().argmin() == 10
    far = SuSiE(prior_weights=np.where(np.arange(80) == 10, 0.0, 1.0)).fit(x, y)
    assert far.pip_[10] == 0.0 and SuSiE().fit(x, y).pip_[10] > 0.5


def test_users_register_their_own():
    registry.register(Learner("line", lambda gene: LinearRegression(), "ordinary least squares", calibrate=True))
    try:
        assert registry.find("line").description == "ordinary least squares"
        with pytest.raises(ModelError, match="already registered"):
            registry.register(Learner("line", lambda gene: LinearRegression(), ""))
    finally:
        del registry._REGISTRY["line"]
    with pytest.raises(ModelError, match="Did you mean 'elastic-net'"):
        registry.find("elasticnet")
    with pytest.raises(ModelError, match="letters, digits"):
        registry.register(Learner("a@b", lambda gene: LinearRegression(), ""))


@pytest.mark.parametrize("name", ["elastic-net", "elastic-net-tss", "susie", "susie-tss"])
def test_models_by_sums_that_leave_a_fold_out_never_saw_it(name):
    x, y, gene = cohort(n=400)
    folds = assign_folds(400, 4, 0)

    def models(target):
        parts = [Moments.of(x[folds == k], target[folds == k]) for k in range(4)]
        return registry.find(name).make(gene).fit_sums(total(parts), parts)

    before, changed = models(y), y.copy()
    changed[folds == 2] = np.random.default_rng(1).permutation(y[folds == 2])
    after = models(changed)
    # elastic nets share their grid of lambdas (numbers, not fits) among folds: allow one step of it
    np.testing.assert_allclose(after[2].coef, before[2].coef, atol=0.05 if name.startswith("elastic") else 1e-9)
    assert np.abs(before[1].coef - after[1].coef).max() > 1e-4


@pytest.mark.parametrize("weighted", [False, True])
def test_susie_by_sums_is_susie_of_the_people(weighted):
    x, y, gene = cohort(n=500)
    y = y + 3.0
    prior = gene.prior() if weighted else None
    folds = assign_folds(500, 5, 1)
    parts = [Moments.of(x[folds == k], y[folds == k]) for k in range(5)]
    model = SuSiE(prior_weights=prior)
    models = model.fit_sums(total(parts), parts)
    whole = susie(x, y, prior_weights=prior)
    np.testing.assert_allclose(model.coef_, whole.coef, atol=1e-8)
    np.testing.assert_allclose(model.pip_, whole.pip, atol=1e-7)
    assert model.intercept_ == pytest.approx(whole.intercept, abs=1e-7) and model.n_features_in_ == 80
    for k, one in enumerate(models):
        expected = susie(x[folds != k], y[folds != k], prior_weights=prior)
        np.testing.assert_allclose(one.coef, expected.coef, atol=1e-8)
        assert one.intercept == pytest.approx(expected.intercept, abs=1e-7)
    with pytest.raises(GenopredError, match="2 outcomes"):
        SuSiE().fit_sums(Moments.of(x, np.column_stack([y, y])))


def test_susie_goes_by_sums_where_people_are_many(monkeypatch):
    x, y, _ = cohort(n=1200)
    expected = susie(x, y)
    monkeypatch.setattr(registry, "susie", None)
    np.testing.assert_allclose(SuSiE().fit(x, y).coef_, expected.coef, atol=1e-8)
    monkeypatch.undo()
    monkeypatch.setattr(registry, "susie_sums", None)
    assert SuSiE().fit(x[:300], y[:300]).pip_[10] > 0.5
