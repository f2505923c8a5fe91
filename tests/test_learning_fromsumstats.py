"""A learner that chooses among another study's weights: by people and by sums alike, and by training people alone."""

from __future__ import annotations

import numpy as np
import pytest
from sumstats_data import people, t_of

from genopred.errors import ModelError
from genopred.genetics.moments import Moments, total
from genopred.genetics.scores import BaselinePRS
from genopred.genetics.sumstats import Reference, panel_shrinkage
from genopred.learning.fromsumstats import METHODS, FromSumstats, Study, candidates, learner
from genopred.learning.learners import GeneContext


def cohort(n=150, m=40, seed=0):
    """Dosages, outcome, inner folds and some candidates."""
    rng = np.random.default_rng(1000 + seed)
    x = people(n, m, seed)
    y = x[:, 10] - 0.5 * x[:, 30] + 2 * rng.standard_normal(n)
    weights = rng.standard_normal((6, m)) * (rng.random((6, m)) < 0.3)
    weights[2] = 0.0
    weights[2, [10, 30]] = 2.0, -1.0
    return x, y, rng.permutation(np.arange(n) % 5), weights


def naive(x, y, labels, weights):
    """Choice and slope of everybody in (x, y), by a loop: each fold's scores around the mean of the others."""
    cross, square = np.zeros(len(weights)), np.zeros(len(weights))
    for name in np.unique(labels):
        out = labels == name
        score = (x[out] - x[~out].mean(axis=0)) @ weights.T
        cross += score.T @ (y[out] - y[~out].mean())
        square += (score**2).sum(axis=0)
    gain = np.where(cross > 0, cross**2 / np.maximum(square, 1e-300), 0.0)
    best = int(gain.argmax())
    return best, cross[best] / square[best] if gain[best] > 0 else 0.0


def test_choice_and_slope_are_those_of_a_loop():
    x, y, labels, weights = cohort()
    model = FromSumstats(weights)
    oof = model.fit_oof(x, y, labels)
    best, slope = naive(x, y, labels, weights)
    assert model.choice_ == best == 2 and model.slope_ == pytest.approx(slope)
    np.testing.assert_allclose(model.predict(x), y.mean() + slope * (x - x.mean(axis=0)) @ weights[best], atol=1e-9)
    for name in range(5):
        out = labels == name
        best, slope = naive(x[~out], y[~out], labels[~out], weights)
        expected = y[~out].mean() + slope * (x[out] - x[~out].mean(axis=0)) @ weights[best]
        np.testing.assert_allclose(oof[out], expected, atol=1e-5)


def test_the_criterion_is_that_of_polygenic_scores():
    """`BaselinePRS`, were its weights fixed."""
    x, y, labels, weights = cohort()

    class Fixed(BaselinePRS):
        def _weights(self, source, without, base):
            return weights

    theirs = Fixed()
    oof = theirs.fit_oof(x, y, labels)
    mine = FromSumstats(weights)
    np.testing.assert_allclose(mine.fit_oof(x, y, labels), oof, atol=1e-4)
    np.testing.assert_allclose(mine.coef_, theirs.coef_, atol=1e-6)


def test_sums_are_as_good_as_people():
    x, y, labels, weights = cohort(n=400)
    parts = [Moments.of(x[labels == name], y[labels == name]) for name in range(5)]
    mine, theirs = FromSumstats(weights), FromSumstats(weights)
    oof = theirs.fit_oof(x, y, labels)
    for name, model in enumerate(mine.fit_sums(total(parts), parts)):
        out = labels == name
        np.testing.assert_allclose(x[out] @ model.coef + model.intercept, oof[out], atol=1e-6)
    np.testing.assert_allclose(mine.coef_, theirs.coef_, atol=1e-9)
    assert mine.intercept_ == pytest.approx(theirs.intercept_) and mine.choice_ == theirs.choice_


def test_fit_is_fit_oof_with_its_own_folds():
    x, y, _, weights = cohort()
    one, two = FromSumstats(weights, random_state=3), FromSumstats(weights, random_state=3)
    two.fit_oof(x, y, one.own_folds(len(y)))
    np.testing.assert_array_equal(one.fit(x, y).coef_, two.coef_)


def test_what_test_people_have_changes_nothing():
    x, y, labels, weights = cohort()
    changed = np.where(labels == 4, 100.0, y)
    oof, other = FromSumstats(weights).fit_oof(x, y, labels), FromSumstats(weights).fit_oof(x, changed, labels)
    np.testing.assert_array_equal(oof[labels == 4], other[labels == 4])
    assert (oof != other)[labels != 4].any()


def test_weights_that_predict_nothing_leave_the_mean():
    x, y, labels, weights = cohort()
    model = FromSumstats(-weights[2:3])
    out = model.fit_oof(x, y, labels)
    assert model.slope_ == 0 and not model.coef_.any() and model.intercept_ == pytest.approx(y.mean())
    assert out[0] == pytest.approx(y[labels != labels[0]].mean())
    flat = FromSumstats(np.zeros((1, 40))).fit(x, y)
    assert flat.slope_ == 0 and np.isfinite(flat.predict(x)).all()


def test_shuffled_outcomes_give_no_accuracy():
    rng = np.random.default_rng(0)
    r2 = []
    for seed in range(10):
        x, y, labels, weights = cohort(seed=seed)
        shuffled = rng.permutation(y)
        oof = FromSumstats(weights).fit_oof(x, shuffled, labels)
        r2.append(1 - ((shuffled - oof) ** 2).sum() / ((shuffled - shuffled.mean()) ** 2).sum())
    assert -0.1 < np.mean(r2) < 0.02


def test_bad_candidates_and_folds_are_refused():
    x, y, labels, weights = cohort()
    with pytest.raises(ModelError, match=r"candidates have shape \(6, 40\)"):
        FromSumstats(weights).fit(x[:, :7], y)
    with pytest.raises(ModelError, match="2 folds; at least 3"):
        FromSumstats(weights).fit_oof(x, y, labels % 2)


def one_study(seed=0):
    """A study of 600 people with one effect, and a panel of 300."""
    x = people(600, 60, 100 + seed)
    rng = np.random.default_rng(seed)
    z = t_of(x, 0.7 * x[:, 25] + rng.standard_normal(600))
    panel = Reference.of_people(people(300, 60, 200 + seed))
    gene = GeneContext(1_000_000 + 1000 * np.arange(60), 1_025_000, seed)
    return Study(z, 600, panel, panel_shrinkage(panel.correlation, 300), gene)


@pytest.mark.parametrize("name", list(METHODS))
def test_each_method_predicts_other_people(name):
    """What it predicts of other people goes with the truth, whichever alleles it weighs."""
    found = []
    for seed in range(3):
        made = candidates(one_study(seed), name)
        assert len(made.labels) == len(made.weights) == len(np.unique(made.weights, axis=0))
        x = people(300, 60, 300 + seed)
        y = 0.7 * x[:, 25] + np.random.default_rng(seed).standard_normal(300)
        model = learner(name, made.weights).make(GeneContext(np.arange(60), 1)).fit(x, y)
        found.append(np.corrcoef(model.predict(x), x[:, 25])[0, 1])
        assert model.slope_ > 0
    assert np.mean(found) > (0.6 if name == "ridge" else 0.9)


def test_a_study_without_effects_has_candidates_all_the_same():
    study = one_study()
    nothing = Study(np.zeros(60), 600, study.reference, study.s, study.gene)
    for name in METHODS:
        made = candidates(nothing, name)
        assert made.weights.shape == (1, 60) and not made.weights.any()
