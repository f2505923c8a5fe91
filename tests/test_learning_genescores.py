"""Scores of a gene: the estimators' own numbers, and nothing learned from people who are predicted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from genopred.errors import ModelError
from genopred.genetics.regression import marginal_association
from genopred.genetics.scores import BaselinePRS, ClumpThresholdPRS
from genopred.learning.evaluate import Outcome, outer_folds, scores
from genopred.learning.genescores import METHODS, Gene, GeneScores
from genopred.types import SCORE_SCHEMA, VARIANT_SCHEMA

N, M, TRAINING = 90, 30, 66
GRID = {"p_thresholds": (1.0, 0.05), "r2_thresholds": (0.2, 0.8), "kb": 250.0, "ld": "genotype"}


@pytest.fixture(scope="module")
def gene():
    rng = np.random.default_rng(5)
    dosage = rng.binomial(2, 0.3, (N, M)).astype(np.float32)
    dosage[:, 1::2] = np.where(rng.random((N, M // 2)) < 0.1, dosage[:, 1::2], dosage[:, ::2])
    dosage[rng.random((N, M)) < 0.02] = np.nan
    expression = np.nan_to_num(dosage[:, 4]) - np.nan_to_num(dosage[:, 21]) + rng.normal(0, 0.7, N) + 5
    variants = pl.DataFrame(
        {
            "chrom": ["22"] * M,
            "pos": np.arange(M) * 2000 + 1,
            "id": [f"v{i}" for i in range(M)],
            "ref": ["A"] * M,
            "alt": ["G"] * M,
        },
        schema=VARIANT_SCHEMA,
    )
    return Gene("g1", np.array([f"s{i}" for i in range(N)]), dosage, variants, expression)


@pytest.fixture(scope="module")
def how():
    train = np.zeros(N, dtype=bool)
    train[np.random.default_rng(2).choice(N, TRAINING, replace=False)] = True
    covariates = np.random.default_rng(3).normal(size=(N, 2))
    outcome = Outcome("inverse-normal", "fold")
    folds = outer_folds(TRAINING, 3, 1)
    return GeneScores(train, folds, covariates, outcome, **GRID, inner_folds=3, seed=1, calibrate=True)


@pytest.fixture(scope="module")
def learned(gene, how):
    return how.learn(gene)


def model_of(method, gene, how):
    common = {"cv": how.inner_folds, "random_state": how.seed, "calibrate": how.calibrate}
    if method == "baseline-prs":
        return BaselinePRS(**common)
    return ClumpThresholdPRS(gene.variants["pos"].to_numpy(), *GRID.values(), **common)


def outcome_of(gene, how):
    y = np.empty(N)
    y[how.train], y[~how.train] = how.outcome.split(gene.expression, how.covariates, how.train)
    return y


def test_rows_and_columns(learned):
    table = learned["scores"]
    assert table.height == 2 * N and table["method"].unique(maintain_order=True).to_list() == list(METHODS)
    held = table.filter(set="held-out")
    assert held.height == 2 * (N - TRAINING)
    assert set(held["fold"]) == {-1} and held["cross_validated"].null_count() == held.height
    inside = table.filter(set="training")
    assert set(inside["fold"]) == {0, 1, 2} and not inside["cross_validated"].null_count()
    assert learned["accuracy"].columns == ["gene_id", "method", "set", *list(SCORE_SCHEMA)[2:]]
    assert learned["accuracy"].select("method", "set").rows() == [
        (method, which) for method in METHODS for which in ("cross-validated", "held-out")
    ]
    assert learned["models"]["p_threshold"].is_null().to_list() == [True, False]


@pytest.mark.parametrize("method", METHODS)
def test_predictions_and_weights_are_the_estimators(gene, how, learned, method):
    train, y = how.train, outcome_of(gene, how)
    model = model_of(method, gene, how).fit(gene.dosage[train], y[train])
    mine = learned["scores"].filter(method=method)
    np.testing.assert_array_equal(mine["observed"], y)
    np.testing.assert_array_equal(mine["predicted"], model.predict(gene.dosage))
    chosen = np.flatnonzero(model.coef_)
    weights = learned["weights"].filter(method=method)
    assert weights["variant_id"].to_list() == [f"v{i}" for i in chosen] and len(chosen)
    np.testing.assert_array_equal(weights["weight"], model.coef_[chosen])
    marginal = marginal_association(gene.dosage[train], y[train])
    np.testing.assert_array_equal(weights["beta"], marginal.slope[chosen])
    np.testing.assert_array_equal(weights["pval"], marginal.pval[chosen])
    assert set(weights["intercept"]) == {model.intercept_}
    row = learned["models"].row(by_predicate=pl.col("method") == method, named=True)
    assert (row["variants"], row["slope"], row["intercept"]) == (len(chosen), model.slope_, model.intercept_)
    assert row["p_threshold"] == getattr(model, "p_threshold_", None)


@pytest.mark.parametrize("method", METHODS)
def test_cross_validation_is_a_loop_over_the_folds(gene, how, learned, method):
    people = np.flatnonzero(how.train)
    cross, measured = np.full(N, np.nan), np.full(N, np.nan)
    for fold in range(3):
        inside, outside = people[how.folds != fold], people[how.folds == fold]
        both = np.sort(np.concatenate([inside, outside]))
        of_both = np.isin(both, inside)
        y, measured[outside] = how.outcome.split(gene.expression[both], how.covariates[both], of_both)
        model = model_of(method, gene, how).fit(gene.dosage[inside], y)
        cross[outside] = model.predict(gene.dosage[outside])
    mine = learned["scores"].filter(method=method)
    np.testing.assert_array_equal(mine["cross_validated"].fill_null(np.nan), cross)
    row = learned["accuracy"].row(
        by_predicate=(pl.col("method") == method) & (pl.col("set") == "cross-validated"), named=True
    )
    expected = scores("g1", measured[people], {method: cross[people]}, seed=1).row(0, named=True)
    assert {name: row[name] for name in expected} == expected


def test_expression_of_people_who_are_predicted_has_no_part(gene, how, learned):
    changed = gene.expression.copy()
    changed[~how.train] = np.random.default_rng(9).normal(50, 9, N - TRAINING)
    again = how.learn(replace(gene, expression=changed))
    for name in ("weights", "models"):
        assert again[name].equals(learned[name])
    assert again["scores"]["predicted"].equals(learned["scores"]["predicted"])
    assert again["scores"]["cross_validated"].equals(learned["scores"]["cross_validated"])
    of_fold = np.flatnonzero(how.train)[how.folds == 1]
    changed = gene.expression.copy()
    changed[of_fold] = np.random.default_rng(9).normal(50, 9, len(of_fold))
    again = how.learn(replace(gene, expression=changed))["scores"]
    same = learned["scores"].filter(fold=1)["cross_validated"]
    assert again.filter(fold=1)["cross_validated"].equals(same)
    assert not again["predicted"].equals(learned["scores"]["predicted"])


def test_nobody_held_out(gene, how):
    every = replace(how, train=np.ones(N, dtype=bool), folds=outer_folds(N, 3, 1), covariates=None, calibrate=False)
    tables = every.learn(gene)
    assert set(tables["scores"]["set"]) == {"training"} and set(tables["accuracy"]["set"]) == {"cross-validated"}
    assert set(tables["models"]["slope"]) == {1.0}


def test_a_gene_that_does_not_vary_cannot_be_learned_from(gene, how):
    flat = np.where(how.train, 3.0, gene.expression)
    with pytest.raises(ModelError, match="does not vary among the training people"):
        how.learn(replace(gene, expression=flat))
