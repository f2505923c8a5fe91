"""Meta-learners: what they may see, what they recover, and what they do with little data."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.optimize import nnls
from sklearn.neighbors import KNeighborsRegressor

from genopred.errors import ModelError
from genopred.learning import stack
from genopred.learning.elasticnet import assign_folds
from genopred.learning.stack import (
    METAS,
    GeneFold,
    LinearMeta,
    Moments,
    centre_within,
    fit_base,
    fit_weights,
    load_weights,
    make_meta,
)


def genes(count=30, n=200, n_test=50, seed=0, weights=(0.6, 0.3, 0.0)):
    """Genes whose phenotype is a weighted sum of base predictions plus noise; the last learner says nothing."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        p = rng.standard_normal((n + n_test, len(weights))) * 0.5
        y = p @ np.array(weights) + rng.standard_normal(n + n_test)
        names = tuple(f"learner-{i}" for i in range(len(weights)))
        out.append((GeneFold(names, p[:n] - p[:n].mean(0), y[:n] - y[:n].mean(), p[n:], 0.0), y[n:]))
    return out


def test_pooled_weights_are_the_least_squares_of_all_rows():
    pairs = genes()
    rows = np.vstack([gene.oof / gene.y.std() for gene, _ in pairs])
    y = np.concatenate([gene.y / gene.y.std() for gene, _ in pairs])
    moments = Moments.of(gene for gene, _ in pairs)
    assert np.allclose(moments.nnls(), nnls(rows, y)[0], atol=1e-4)
    assert np.allclose(moments.nnls(), [0.6, 0.3, 0.0], atol=0.08)


@pytest.mark.parametrize("name", METAS)
def test_each_meta_learner_predicts_and_ignores_the_order_of_genes(name):
    pairs = genes()
    meta = make_meta(name, pairs[0][0].names).fit(lambda: iter([gene for gene, _ in pairs]))
    predicted = [meta.predict(gene) for gene, _ in pairs]
    r = np.corrcoef(np.concatenate(predicted), np.concatenate([y for _, y in pairs]))[0, 1]
    assert r > (0.1 if name == "xgboost-per-gene" else 0.25)
    if name not in ("xgboost",):  # whose subsample is drawn by row
        other = make_meta(name, pairs[0][0].names).fit(lambda: iter([gene for gene, _ in pairs[::-1]]))
        assert np.allclose(other.predict(pairs[0][0]), predicted[0], atol=1e-8)


def test_pooled_xgboost_is_monotone_in_each_base_prediction():
    pairs = genes()
    meta = make_meta("xgboost", pairs[0][0].names).fit(lambda: iter([gene for gene, _ in pairs]))
    gene = pairs[0][0]
    for learner in range(3):
        ladder = np.zeros((40, 3))
        ladder[:, learner] = np.linspace(-2, 2, 40)
        steps = np.diff(meta.predict(GeneFold(gene.names, gene.oof, gene.y, ladder, 0.0)))
        assert (steps >= -1e-6).all()


def test_noise_gets_no_weight():
    pairs = genes(weights=(0.0, 0.0, 0.0), count=40)
    for name in ("nnls", "ridge", "xgboost"):
        meta = make_meta(name, pairs[0][0].names).fit(lambda: iter([gene for gene, _ in pairs]))
        predicted = np.concatenate([meta.predict(gene) for gene, _ in pairs])
        y = np.concatenate([y for _, y in pairs])
        assert abs(1 - ((y - predicted) ** 2).mean() / y.var()) < 0.01


def test_the_stack_never_sees_in_sample_base_predictions():
    """A learner that memorises its training people is perfect in sample and worthless out of it: weight 0."""
    rng = np.random.default_rng(0)
    honest, cheating = [], []
    for _ in range(10):
        x = rng.standard_normal((120, 5)).astype(np.float32)
        y = rng.standard_normal(120)
        folds = assign_folds(120, 5, 0)
        memory = KNeighborsRegressor(1)
        fit = fit_base(memory, x, y, x[:2], folds)
        names = ("memory",)
        centred = centre_within(fit.oof[:, None], folds)
        honest.append(GeneFold(names, centred, centre_within(y, folds), fit.test[:, None], 0.0))
        leaky = memory.fit(x, y).predict(x)
        cheating.append(GeneFold(names, leaky[:, None] - leaky.mean(), y - y.mean(), fit.test[:, None], 0.0))
    assert Moments.of(honest).nnls()[0] < 0.1
    assert Moments.of(cheating).nnls()[0] > 0.99  # so the check above could fail


def test_shipped_weights_count_as_rows_and_give_way_to_data():
    pairs = genes(count=1)
    gene = pairs[0][0]
    prior = Moments(("learner-1", "learner-0"), np.eye(2), np.array([0.0, 1.0]), 1.0)  # all on learner-0
    own = Moments.of([gene])
    assert np.allclose(own.plus_prior(prior, 1e9).nnls(), [1.0, 0.0, 0.0], atol=1e-3)  # unknown learner: 0
    assert np.allclose(own.plus_prior(prior, 1e-9).nnls(), own.nnls(), atol=1e-6)
    assert own.plus_prior(None, 10).nnls().tolist() == own.nnls().tolist()


def test_weights_survive_a_file_and_serve_a_single_gene():
    pairs = genes(count=25)
    content = fit_weights([lambda: iter([gene for gene, _ in pairs])], {"data": "simulated"})
    prior = load_weights(json.dumps(content), "weights.json")
    assert prior.origin == {"data": "simulated"} and prior.booster is not None
    assert np.allclose(prior.moments.nnls(), list(content["nnls"].values()), atol=1e-3)
    gene, _ = genes(count=1, seed=9)[0]
    meta = make_meta("xgboost", gene.names, prior=prior).fit(lambda: iter([gene]))
    assert meta.booster_ is prior.booster
    assert np.isfinite(meta.predict(gene)).all()
    other = make_meta("xgboost", ("a", "b", "c"), prior=prior)
    assert other.booster is None  # the shipped trees fit only the learners that they were grown on
    for bad in ("no json", "{}", json.dumps({**content, "gram": [[1.0]]})):
        with pytest.raises(ModelError, match="weights.json holds no stack weights"):
            load_weights(bad, "weights.json")


@pytest.mark.parametrize(("bound", "value"), [("MAX_GENES_POOLED", 10), ("MAX_ROWS_POOLED", 900)])
def test_memory_has_a_ceiling(monkeypatch, bound, value):
    import xgboost

    monkeypatch.setattr(stack, bound, value)
    pairs = genes(count=35)
    seen, made = [], xgboost.DMatrix
    monkeypatch.setattr(
        xgboost, "DMatrix", lambda data, *args, **more: seen.append(data.shape) or made(data, *args, **more)
    )
    meta = make_meta("xgboost", pairs[0][0].names).fit(lambda: iter([gene for gene, _ in pairs]))
    rows = [len(gene.y) for gene, _ in pairs]
    if bound == "MAX_GENES_POOLED":
        assert seen[0][0] == sum(rows[::4])
    else:
        assert max(rows) < seen[0][0] <= 900 + len(pairs)  # some people of every gene
    assert np.isfinite(meta.predict(pairs[0][0])).all()


def test_calibrated_predictions():
    gene, y = genes(count=1, n=2000, n_test=2000)[0]
    scaled = GeneFold(gene.names, gene.oof * 4, gene.y, gene.test * 4, 1.5)  # four times too spread
    assert np.corrcoef(scaled.calibrated(0), y)[0, 1] > 0.2
    slope = (scaled.calibrated(0) - 1.5) / scaled.test[:, 0]
    assert np.allclose(slope, 0.15, atol=0.05)
    against = GeneFold(gene.names, -gene.oof, gene.y, gene.test, 0.0)
    assert np.all(against.calibrated(0) == 0.0)  # a learner that is wrong predicts the mean


def test_unknown_meta_learner():
    with pytest.raises(ModelError, match="--meta forest: there are xgboost"):
        make_meta("forest", ("a",))


def test_linear_weights_are_the_least_squares_of_the_linear_learners_alone():
    pairs = genes()
    folds = [gene for gene, _ in pairs]
    linear = [True, False, True]
    meta = make_meta("linear", folds[0].names, linear=linear).fit(lambda: iter(folds))
    alone = [GeneFold(("a", "c"), g.oof[:, [0, 2]], g.y, g.test[:, [0, 2]], g.mean) for g in folds]
    expected = make_meta("nnls", ("a", "c")).fit(lambda: iter(alone)).weights_
    np.testing.assert_allclose(meta.weights_, [expected[0], 0.0, expected[1]], rtol=1e-9)
    np.testing.assert_allclose(meta.predict(folds[0]), folds[0].mean + folds[0].test @ meta.weights_)
    everything = make_meta("linear", folds[0].names).fit(lambda: iter(folds))
    np.testing.assert_allclose(everything.weights_, make_meta("nnls", folds[0].names).fit(lambda: iter(folds)).weights_)


def test_linear_weights_start_from_the_prior_of_the_linear_learners():
    pairs = genes(count=2)
    folds = [gene for gene, _ in pairs]
    prior = Moments(folds[0].names, np.eye(3), np.array([0.0, 1.0, 0.6]), 1.0)
    meta = LinearMeta([True, False, True], prior, 1e9).fit(lambda: iter(folds))
    np.testing.assert_allclose(meta.weights_, [0.0, 0.0, 0.6], atol=1e-3)


def test_the_linear_stack_learns_from_held_out_predictions_only():
    """A linear learner with more columns than people fits them perfectly; held out it is noise, and gets no weight."""
    from sklearn.linear_model import LinearRegression

    rng = np.random.default_rng(1)
    honest, cheating = [], []
    for _ in range(8):
        x = rng.standard_normal((90, 300)).astype(np.float32)
        y = rng.standard_normal(90)
        good = 0.6 * y + rng.standard_normal(90)
        folds = assign_folds(90, 5, 0)
        fit = fit_base(LinearRegression(), x, y, x[:2], folds)
        oof = centre_within(np.column_stack([fit.oof, good]), folds)
        test = np.zeros((2, 2))
        honest.append(GeneFold(("perfect", "honest"), oof, centre_within(y, folds), test, 0.0))
        inside = LinearRegression().fit(x, y).predict(x)
        assert np.allclose(inside, y, atol=1e-3)
        leaky = np.column_stack([inside, good])
        cheating.append(GeneFold(("perfect", "honest"), leaky - leaky.mean(axis=0), y - y.mean(), test, 0.0))
    weights = LinearMeta([True, True]).fit(lambda: iter(honest)).weights_
    assert weights[0] < 0.1 * weights[1] and weights[1] > 0.2
    assert LinearMeta([True, True]).fit(lambda: iter(cheating)).weights_[0] > 0.95  # so the check above could fail
