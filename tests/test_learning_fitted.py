"""States of fitted learners read back bit for bit, weighted sums, coverage, and predictions in blocks."""

from __future__ import annotations

import io

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models_data import in_memory

from genopred.errors import ModelError
from genopred.genetics.regression import marginal_association
from genopred.learning import fitted as module
from genopred.learning import learners as registry
from genopred.learning.evaluate import Outcome
from genopred.learning.fitted import (
    Base,
    Combination,
    Fitted,
    collapse,
    combination,
    coverage,
    fit_everybody,
    keep,
    linear_predictions,
    load_booster,
    per_allele,
    stacked_predictions,
)
from genopred.learning.stack import LinearMeta, MeanMeta, NNLSMeta, XGBoostMeta, boosted
from genopred.types import VARIANT_SCHEMA


def table(m):
    rows = [("1", 100 + i, f"rs{i}", "A", "G") for i in range(m)]
    return pl.DataFrame(rows, schema=VARIANT_SCHEMA, orient="row")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(2)
    x = rng.binomial(2, rng.uniform(0.2, 0.8, 30), (150, 30)).astype(np.float32)
    y = x[:, 3] - 0.7 * x[:, 7] + 0.5 * x[:, 3] * x[:, 9] + rng.standard_normal(150)
    return x, y - y.mean(), registry.GeneContext(np.arange(30) * 1000 + 1, 15_000, 7)


@pytest.mark.parametrize("name", registry.names())
def test_every_learner_is_read_back(data, name):
    """Bit for bit where it is trees or a polynomial; weights to the last bits of a sum."""
    x, y, gene = data
    learner = registry.find(name)
    model = learner.make(gene).fit(x, y)
    kept = keep(learner, model)
    new = np.random.default_rng(3).binomial(2, 0.4, (40, 30)).astype(np.float32)
    before = np.asarray(model.predict(new), dtype=np.float64)
    if learner.linear:
        assert kept.kind == "linear" and kept.coef.shape == (30,)
        np.testing.assert_allclose(kept.predict(new), before, rtol=0, atol=1e-5)
        return
    read = Fitted(kept.name, kept.intercept, None, kept.kind, kept.columns, bytes(kept.payload))
    np.testing.assert_array_equal(read.predict(new[:, kept.columns]), before)
    assert np.ptp(before) > 0
    assert b"cnumpy" not in kept.payload and not kept.payload.startswith((b"\x80\x04", b"\x80\x05"))  # no pickle


def test_a_pickle_in_the_place_of_a_polynomial_is_not_opened():
    held = io.BytesIO()
    np.savez(held, allow_pickle=True, anything=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        Fitted("p", 0.0, None, "polynomial", np.arange(2), held.getvalue()).predict(np.zeros((1, 2), np.float32))


def test_a_learner_without_a_state_is_refused(data):
    class Other:
        pass

    learner = registry.Learner("other", lambda gene: Other(), "something else")
    assert not module.keepable(learner, data[2])
    with pytest.raises(ModelError, match="learner 'other' has no state that can be kept; leave it out"):
        keep(learner, Other())


def test_everybody_is_fitted_with_gaps_at_their_mean(data):
    x, y, gene = data
    holes = x.copy()
    holes[np.random.default_rng(1).random(x.shape) < 0.05] = np.nan
    ridge = registry.find("ridge")
    outcome = Outcome("inverse-normal", "none")
    made = fit_everybody(holes, y, None, gene, [ridge], outcome)
    y, _ = outcome.split(y, None, np.ones(len(y), dtype=bool))
    means = np.array([np.mean([v for v in column if not np.isnan(v)]) for column in holes.T.astype(float)])
    np.testing.assert_allclose(made.freq, means / 2, rtol=1e-6)
    filled = np.where(np.isnan(holes), means, holes).astype(np.float32)
    np.testing.assert_allclose(made.fitted[0].coef, ridge.make(gene).fit(filled, y).coef_, atol=1e-6)
    np.testing.assert_allclose(made.z, marginal_association(filled, y).tstat, rtol=1e-6)


@given(st.integers(1, 4), st.integers(0, 2**31))
def test_a_collapsed_sum_predicts_what_its_parts_do(k, seed):
    rng = np.random.default_rng(seed)
    x = rng.binomial(2, 0.3, (9, 6)).astype(np.float32)
    parts = [Fitted(f"l{i}", float(rng.normal()), rng.normal(size=6)) for i in range(k)]
    trees = Fitted("trees", 1.0, None, "xgboost", np.arange(2), b"{}")
    weights = {one.name: float(rng.uniform(0, 2)) for one in parts}
    coef, intercept = collapse([trees, *parts], weights | {"trees": 9.0})
    naive = [sum(weights[one.name] * float(one.predict(row[None])[0]) for one in parts) for row in x]
    np.testing.assert_allclose(x @ coef + intercept, naive, atol=1e-9)


def test_nothing_linear_cannot_be_collapsed():
    with pytest.raises(ModelError, match="no linear learner has a weight"):
        collapse([Fitted("a", 0.0, np.ones(2))], {"b": 1.0})


def fake_last(weights, booster=None):
    def last(name):
        meta = {"linear": LinearMeta([True, True, False]), "nnls": NNLSMeta(), "mean": MeanMeta(),
                "xgboost": XGBoostMeta()}[name]  # fmt: skip
        if name == "xgboost":
            meta.nnls.weights_, meta.booster_ = np.array(weights), booster
        else:
            meta.weights_ = np.array([*weights[:2], 0.0]) if name == "linear" else np.array(weights)
        return meta

    return last


def test_what_is_kept_of_a_stack():
    names = ("a", "b", "c")
    last = fake_last([0.7, 0.0, 0.2])
    assert combination(names, last, None) == Combination(names, {"a": 0.7})
    for gene_by_gene in ("linear", "nnls-per-gene", "xgboost-per-gene"):
        assert combination(names, last, gene_by_gene).method is None
    nnls = combination(names, last, "nnls")
    assert (nnls.method, nnls.needed, nnls.booster) == ("stack-nnls", ("a", "c"), None)
    assert combination(names, last, "mean").weights.tolist() == [1 / 3] * 3
    assert combination(names, last, "mean").needed == names
    assert combination(names, last, "xgboost").needed == ("a", "c")


def test_learners_that_only_the_trees_of_the_stack_read_are_needed():
    import xgboost

    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 12)).astype(np.float32)
    booster = xgboost.train({"nthread": 1, "max_depth": 1}, xgboost.DMatrix(x, x[:, 1]), 3)  # reads column 1 alone
    assert set(booster.get_score()) == {"f1"}
    kept = combination(("a", "b", "c"), fake_last([0.7, 0.0, 0.0], booster), "xgboost")
    assert kept.needed == ("a", "b") and load_booster(kept.booster).get_score() == booster.get_score()


# --- predictions -----------------------------------------------------------------------------------------------------


def naive_predictions(x, rows, intercepts):
    """Person by person and weight by weight."""
    out = np.empty((len(intercepts), len(x)))
    for g, start in enumerate(intercepts):
        for i in range(len(x)):
            total = start
            for gene, column, weight, flipped, freq in rows:
                if gene != g:
                    continue
                known = x[:, column][~np.isnan(x[:, column])]
                dose = x[i, column]
                if np.isnan(dose):
                    alt = known.mean() if freq is None else 2 * (1 - freq if flipped else freq)
                    dose = alt
                total += weight * (2 - dose if flipped else dose)
            out[g, i] = total
    return out


@given(st.integers(0, 2**31), st.integers(1, 7))
def test_predictions_are_the_naive_sums(seed, block):
    rng = np.random.default_rng(seed)
    x = rng.binomial(2, 0.4, (12, 9)).astype(np.float64)
    x[1:][rng.random((11, 9)) < 0.2] = np.nan
    shared = rng.choice([True, False], 9)  # genes count the same allele of a variant, and fill it alike
    freq = [None if rng.random() < 0.3 else float(rng.uniform(0.1, 0.9)) for _ in range(9)]
    rows = [(g, c, float(rng.normal()), bool(shared[c]), freq[c])
            for g in range(3) for c in rng.permutation(9)[: rng.integers(0, 9)].tolist()]  # fmt: skip
    kinds = {"gene": pl.Int64, "column": pl.Int64, "weight": pl.Float64, "flipped": pl.Boolean, "freq": pl.Float64}
    entries = pl.DataFrame(rows, schema=kinds, orient="row")
    steps = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        found = linear_predictions(
            in_memory(x, table(9)), entries, [1.0, -2.0, 0.5], progress=lambda done, total: steps.append((done, total))
        )
    np.testing.assert_allclose(found, naive_predictions(x, rows, [1.0, -2.0, 0.5]), atol=1e-6)
    assert not steps or steps[-1][0] == steps[-1][1] == entries["column"].n_unique()


def test_weights_per_standard_deviation_are_made_ones_of_a_copy():
    rng = np.random.default_rng(4)
    x = rng.binomial(2, 0.3, (50, 3)).astype(np.float64)
    x[:, 2] = 1.0  # does not vary
    x[3, 0] = np.nan
    entries = pl.DataFrame({"gene": [0, 0, 0], "column": [0, 1, 2], "weight": [1.0, 2.0, 3.0],
                            "flipped": [False, True, False], "freq": [None, None, None]})  # fmt: skip
    found = per_allele(in_memory(x, table(3)), entries)
    known = x[~np.isnan(x[:, 0]), 0]
    np.testing.assert_allclose(found["weight"], [1 / known.std(), 2 / x[:, 1].std(), 0.0], rtol=1e-6)
    np.testing.assert_allclose(found["freq"], [known.mean() / 2, 1 - x[:, 1].mean() / 2, 0.5], rtol=1e-6)


def test_a_stack_of_trees_reads_whatever_is_there(data):
    """Flipped, missing and absent variants; the sum alone where there are no trees on top."""
    x, y, gene = data
    learners = [registry.find("ridge"), registry.find("xgboost")]
    fitted = [keep(one, one.make(gene).fit(x, y)) for one in learners]
    freq = x.mean(axis=0, dtype=np.float64) / 2
    column = np.arange(30)
    column[4] = -1
    flipped = np.arange(30) % 2 == 1
    new = x[:20].copy()
    new[2, 3] = np.nan
    parts = {"ridge": (np.arange(30), fitted[0].coef), "xgboost": (fitted[1].columns, np.zeros(len(fitted[1].columns)))}
    base = Base(column, flipped, freq, tuple((f.name, f.kind, f.intercept, f.payload) for f in fitted), parts)
    seen = np.where(flipped, 2 - new, new)
    kept = Combination(("ridge", "xgboost"), {"ridge": 1.0}, "stack-nnls", np.array([0.25, 0.5]))
    found = stacked_predictions(in_memory(seen, table(30)), [base], kept)
    expected = np.where(np.isnan(new), 2 * freq, new).astype(np.float32)
    expected[:, 4] = 2 * freq[4]
    p = [fitted[0].predict(expected), fitted[1].predict(expected[:, fitted[1].columns])]
    np.testing.assert_allclose(found[0], 0.25 * p[0] + 0.5 * p[1], atol=1e-6)
    with pytest.raises(ModelError, match="only the linear stack was kept"):
        stacked_predictions(in_memory(seen, table(30)), [base], Combination(("a",), {}))


def test_trees_on_top_correct_the_sum():
    import xgboost

    rng = np.random.default_rng(0)
    oof = rng.normal(size=(400, 8)).astype(np.float32)
    y = oof[:, 0] + (oof[:, 1] > 0)
    booster = xgboost.train({"nthread": 1, "base_score": 0.0}, xgboost.DMatrix(oof, y), 20)
    p, summary = rng.normal(size=(5, 2)), rng.normal(size=6)
    inputs = np.column_stack([p / 2.0, np.tile(summary, (5, 1))]).astype(np.float32)
    margin = xgboost.DMatrix(inputs, base_margin=(p @ [0.5, 0.1]) / 2.0)
    np.testing.assert_allclose(
        boosted(booster, np.array([0.5, 0.1]), p, summary, 2.0), 2.0 * booster.predict(margin), rtol=1e-6
    )


# --- coverage --------------------------------------------------------------------------------------------------------


def test_coverage_is_counted_by_fate():
    fates = ["matched", "swapped", "strand-flipped", "strand-flipped and swapped", "alleles differ",
             "ambiguous strand (A/T or C/G)", "not in {}", "chromosome not in {}"]  # fmt: skip
    n = len(fates)
    matched = table(n).with_columns(
        gene_id=pl.lit("g"), fate=pl.Series(fates), column=pl.Series([0, 1, 2, 3, *[None] * 4]),
        variance=pl.Series([float(i + 1) for i in range(n)]),
    )  # fmt: skip
    twice = pl.concat([matched, matched.head(1)])  # of two learners
    about = pl.DataFrame({"gene_id": ["g", "h"], "gene_name": None, "chrom": "1", "tss": 5, "strand": "+",
                          "method": "m", "variants": 8, "intercept": 0.0, "n": 10, "r2": [0.5, 0.1], "r2_low": 0.1,
                          "r2_high": 0.6})  # fmt: skip
    row = coverage(about, twice).row(0, named=True)
    assert coverage(about, twice)["gene_id"].to_list() == ["g"]
    assert [row[key] for key in ("variants", "found", "matched", "swapped", "strand_flipped", "ambiguous",
                                 "alleles_differ", "absent")] == [8, 4, 1, 2, 2, 1, 1, 2]  # fmt: skip
    assert row["variance_found"] == pytest.approx((1 + 2 + 3 + 4 + 1) / (36 + 1))
    assert row["r2_left"] == pytest.approx(0.5 * row["variance_found"])
    flat = coverage(about, matched.with_columns(variance=pl.lit(0.0)))  # trees alone: by number
    assert flat["variance_found"][0] == 0.5
