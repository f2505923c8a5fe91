"""Folds, the split of the phenotype, scores and their comparison; and every way expression could leak."""

from __future__ import annotations

import tracemalloc

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr, wilcoxon
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import r2_score
from statsmodels.stats.multitest import multipletests

from genopred.errors import GenopredError, ModelError
from genopred.genetics.transform import inverse_normal, residualise
from genopred.io.example import load_example
from genopred.learning import evaluate, stack
from genopred.learning import learners as registry
from genopred.learning.evaluate import (
    Block,
    GeneResult,
    Outcome,
    add_fdr,
    benjamini_hochberg,
    compare,
    fill_missing,
    nested_base,
    outer_folds,
    scores,
    summarise,
)
from genopred.learning.learners import GeneContext, Learner
from genopred.learning.stack import METAS, make_meta
from genopred.types import Interval


def cohort(n=100, m=60, seed=0, k=2):
    rng = np.random.default_rng(seed)
    x = rng.binomial(2, 0.3, (n, m)).astype(np.float32)
    covariates = rng.standard_normal((n, k))
    raw = np.exp(0.5 * x[:, 3] + 0.5 * covariates[:, 0] + 0.5 * rng.standard_normal(n))
    return x, covariates, raw, GeneContext(np.arange(m) * 10_000 + 1, 300_000, 1)


def test_outer_folds_are_even_seeded_and_stratified():
    folds = outer_folds(103, 5, seed=3)
    assert sorted(np.bincount(folds).tolist()) == [20, 20, 21, 21, 21]
    assert np.array_equal(folds, outer_folds(103, 5, seed=3)) and not np.array_equal(folds, outer_folds(103, 5, seed=4))
    strata = np.array(["CEU"] * 50 + ["YRI"] * 53)
    folds = outer_folds(103, 5, 0, strata)
    for group in ("CEU", "YRI"):
        sizes = np.bincount(folds[strata == group])
        assert sizes.max() - sizes.min() <= 1
    with pytest.raises(ModelError, match="4 people cannot be split into 5 outer folds"):
        outer_folds(4, 5)


def test_global_outcome_is_the_usual_recipe_and_fold_outcome_never_sees_test_expression():
    _, covariates, raw, _ = cohort()
    train = np.arange(100) < 80
    y_train, y_test = Outcome("inverse-normal", "global").split(raw, covariates, train)
    usual = residualise(inverse_normal(raw), covariates)
    usual = (usual - usual.mean()) / usual.std()
    assert np.allclose(np.concatenate([y_train, y_test]), usual)
    before = Outcome().split(raw, covariates, train)
    garbage = raw.copy()
    garbage[~train] = np.random.default_rng(1).lognormal(3, 2, 20)
    after = Outcome().split(garbage, covariates, train)
    assert np.array_equal(before[0], after[0]) and not np.allclose(before[1], after[1])
    assert before[0].mean() == pytest.approx(0) and before[0].std() == pytest.approx(1)
    # a held-out person who equals a training person gets that person's value, before covariates
    twin = raw.copy()
    twin[80:] = raw[:20]
    a, b = Outcome("inverse-normal", "none").split(twin, None, train)
    assert np.allclose(a[:20], b)
    for transform in ("zscore", "log1p", "none"):
        a, b = Outcome(transform, "none").split(raw, None, train)
        assert a.std() == pytest.approx(1) and len(b) == 20


def test_outcome_refuses():
    _, covariates, raw, _ = cohort()
    train = np.arange(100) < 80
    with pytest.raises(GenopredError, match="--transform rank: there are inverse-normal"):
        Outcome("rank")
    with pytest.raises(GenopredError, match="--residualize all: there are fold"):
        Outcome(residualize="all")
    with pytest.raises(ModelError, match="does not vary"):
        Outcome().split(np.ones(100), covariates, train)
    with pytest.raises(GenopredError, match="negative values"):
        Outcome("log1p").split(raw - 10, covariates, train)


def test_missing_dosages_get_the_training_mean():
    train = np.array([[0, np.nan], [2, np.nan], [np.nan, np.nan]], dtype=np.float32)
    test = np.array([[np.nan, 1.0]], dtype=np.float32)
    a, b = fill_missing(train, test)
    assert a.tolist() == [[0, 0], [2, 0], [1, 0]] and b.tolist() == [[1, 1]]


class Spy(RegressorMixin, BaseEstimator):
    """Predicts the training mean and records every phenotype that it was ever shown."""

    seen: list[np.ndarray] = []

    def fit(self, X, y):
        Spy.seen.append(np.array(y))
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


def chosen(*names):
    return tuple(registry.find(name) for name in names)


def test_held_out_expression_changes_nothing_before_prediction(monkeypatch):
    """The strongest leak test: replace the held-out people's expression by garbage; every prediction stays."""
    x, covariates, raw, gene = cohort()
    folds = outer_folds(100, 4, 0)
    blocks = [Block("genotype", x, chosen(*registry.DEFAULT_LEARNERS))]
    result = nested_base(blocks, raw, covariates, folds, gene, inner_folds=3)
    garbage = raw.copy()
    garbage[folds == 1] = np.random.default_rng(5).lognormal(2, 2, (folds == 1).sum())
    other = nested_base(blocks, garbage, covariates, folds, gene, inner_folds=3)
    rows = result.fold == 1
    assert np.array_equal(result.base[rows], other.base[rows])
    assert not np.allclose(result.base[~rows], other.base[~rows])  # elsewhere these people train
    monkeypatch.setattr(stack, "MIN_GENES_POOLED", 1)
    for name in METAS:
        a, b = (make_meta(name, result.names).fit(lambda r=r: iter([r.gene_fold(1)])) for r in (result, other))
        assert np.array_equal(a.predict(result.gene_fold(1)), b.predict(other.gene_fold(1)))
        assert name != "xgboost" or a.booster_ is not None
    # --residualize global is known to look at everyone; that it is caught shows that the check can fail
    loose = Outcome(residualize="global")
    a = nested_base(blocks[:1], raw, covariates, folds, gene, outcome=loose, inner_folds=3)
    b = nested_base(blocks[:1], garbage, covariates, folds, gene, outcome=loose, inner_folds=3)
    assert not np.array_equal(a.base[rows], b.base[rows])


def test_no_fit_is_shown_its_own_held_out_people():
    x, _, raw, gene = cohort()
    folds = outer_folds(100, 4, 0)
    Spy.seen = []
    spy = Learner("spy", lambda gene: Spy(), "")
    result = nested_base([Block("genotype", x, (spy,))], raw, None, folds, gene, inner_folds=5)
    assert len(Spy.seen) == 4 * 6  # five inner fits and one on all training people, per outer fold
    assert max(len(seen) for seen in Spy.seen) == 75
    for fold in range(4):
        rows = result.fold == fold
        train = result.observed[rows & (result.inner >= 0)]
        held = set(result.observed[rows & (result.inner < 0)].round(12))
        for seen in Spy.seen[fold * 6 : fold * 6 + 6]:
            assert set(seen.round(12)) <= set(train.round(12))
        assert len(held - set(train.round(12))) > 10  # so that the line above means something


def test_models_of_everybody_are_stacked_on_held_out_predictions():
    """The meta-learner that leaves a run learns from each person once, as predicted by fits that had not seen them."""
    people, folds = 12, 3
    outer = np.arange(people) % folds
    rng = np.random.default_rng(0)
    rows = [
        (fold, -1 if outer[person] == fold else person % 2, person) for fold in range(folds) for person in range(people)
    ]
    fold, inner, person = np.array(rows).T
    observed, base = rng.normal(size=len(rows)), rng.normal(size=(len(rows), 2))
    learned = GeneResult(("ridge", "xgboost"), fold, inner, person, observed, base).everybody()
    held = [row for row, (_, inside, _) in enumerate(rows) if inside < 0]
    assert len(held) == people == len(learned.y)
    assert sorted(person[held]) == list(range(people))
    for at, row in enumerate(held):
        same = [other for other in held if fold[other] == fold[row]]
        np.testing.assert_allclose(learned.oof[at], base[row] - base[same].mean(0), rtol=1e-12)
        np.testing.assert_allclose(learned.y[at], observed[row] - observed[same].mean(), rtol=1e-12)
    assert learned.test.shape == (0, 2)


def test_a_variant_that_copies_test_expression_gains_nothing():
    """For each fold a planted column equals the held-out people's expression and is noise among training people."""
    x, _, _, gene = cohort(n=120, m=40)
    rng = np.random.default_rng(2)
    raw = rng.standard_normal(120)
    folds = outer_folds(120, 4, 0)
    planted = rng.permuted(np.tile(raw, (4, 1)), axis=1).T.astype(np.float32)
    for fold in range(4):
        planted[folds == fold, fold] = raw[folds == fold]
    x = np.hstack([x, planted])
    gene = GeneContext(np.arange(44) * 10_000 + 1, 200_000, 1)
    names = registry.DEFAULT_LEARNERS
    blocks = [Block("genotype", x, chosen(*names))]
    result = nested_base(blocks, raw, None, folds, gene, outcome=Outcome("none", "none"), inner_folds=3)
    held = result.inner < 0
    for i, name in enumerate(names):
        predicted = np.concatenate([result.gene_fold(fold).calibrated(i) for fold in range(4)])
        assert np.corrcoef(predicted + 1e-9 * rng.standard_normal(120), result.observed[held])[0, 1] < 0.35, name
    # a method that chose its variants on everyone would find them: correlation near 1
    leaky = np.concatenate([x[folds == fold, 40 + fold] for fold in range(4)])
    assert np.corrcoef(leaky, np.concatenate([raw[folds == fold] for fold in range(4)]))[0, 1] > 0.99


def test_shuffled_expression_predicts_nothing(monkeypatch):
    """Mean R² within 0.01 of 0 for every learner and the pooled stack, on real genotypes."""
    example = load_example()
    monkeypatch.setattr(stack, "MIN_GENES_POOLED", 8)
    folds = outer_folds(358, 4, 0)
    names = registry.DEFAULT_LEARNERS
    results = []
    for g in range(0, 24, 3):
        gene = example.expression.genes.row(g, named=True)
        window = example.genotypes.select(variants=Interval.around(gene["chrom"], gene["tss"], 500_000))
        raw = np.random.default_rng(g).permutation(example.expression.values[:, g])
        context = GeneContext(window.variants["pos"].to_numpy(), gene["tss"], g)
        blocks = [Block("genotype", window.dosage(), chosen(*names))]
        results.append(nested_base(blocks, raw, None, folds, context, inner_folds=4))
    r2 = {name: [] for name in (*names, "stack")}
    stacked = [[] for _ in results]
    for fold in range(4):
        meta = make_meta("xgboost", names).fit(lambda fold=fold: (r.gene_fold(fold) for r in results))
        assert meta.booster_ is not None
        for g, result in enumerate(results):
            stacked[g].append(meta.predict(result.gene_fold(fold)))
    for g, result in enumerate(results):
        observed = result.observed[result.inner < 0]
        for i, name in enumerate(names):
            p = result.base[result.inner < 0, i]
            if registry.find(name).calibrate:
                p = np.concatenate([result.gene_fold(fold).calibrated(i) for fold in range(4)])
            r2[name].append(r2_score(observed, p))
        r2["stack"].append(r2_score(observed, np.concatenate(stacked[g])))
    means = {name: float(np.mean(values)) for name, values in r2.items()}
    assert all(abs(value) < 0.01 for value in means.values()), means


def test_scores_by_the_book():
    rng = np.random.default_rng(0)
    y, p = rng.standard_normal(80), rng.standard_normal(80)
    p = 0.5 * y + p
    row = scores("g", y, {"m": p}).row(0, named=True)
    assert row["r2"] == pytest.approx(r2_score(y, p))
    assert row["pearson"] == pytest.approx(np.corrcoef(y, p)[0, 1])
    assert row["spearman"] == pytest.approx(spearmanr(y, p).statistic)
    assert row["signed_r2"] == pytest.approx(np.corrcoef(y, p)[0, 1] ** 2)
    assert row["mse"] == pytest.approx(((y - p) ** 2).mean()) and row["mae"] == pytest.approx(np.abs(y - p).mean())
    assert row["r2_low"] < row["r2"] < row["r2_high"]
    draws = [r2_score(y[i], p[i]) for i in (rng.integers(0, 80, 80) for _ in range(2000))]
    assert row["r2_low"] == pytest.approx(np.quantile(draws, 0.025), abs=0.08)
    assert scores("g", y, {"m": -p})["signed_r2"][0] == pytest.approx(-row["signed_r2"])


def test_paired_comparison_on_the_same_people():
    rng = np.random.default_rng(0)
    y = rng.standard_normal(200)
    noise = rng.standard_normal(200)
    predicted = {"base": 0.3 * y + 0.3 * noise, "better": 0.5 * y + 0.3 * noise, "same": 0.3 * y + 0.3 * noise}
    table = compare("g", y, predicted, "base")
    better, same = table.row(0, named=True), table.row(1, named=True)
    assert better["delta_r2"] == pytest.approx(r2_score(y, predicted["better"]) - r2_score(y, predicted["base"]))
    assert better["delta_low"] > 0 and better["pval"] < 0.01
    assert same["delta_r2"] == 0 and same["pval"] == 1.0
    draws = [rng.integers(0, 200, 200) for _ in range(2000)]
    naive = [r2_score(y[i], predicted["better"][i]) - r2_score(y[i], predicted["base"][i]) for i in draws]
    assert better["delta_low"] == pytest.approx(np.quantile(naive, 0.025), abs=0.02)
    many = pl.concat(
        compare(f"g{g}", y, {"base": rng.standard_normal(200), "other": rng.standard_normal(200)}, "base", seed=g)
        for g in range(60)
    )
    assert (many["pval"] < 0.05).mean() < 0.15
    assert np.allclose(add_fdr(many)["qval"], benjamini_hochberg(many["pval"]))


@pytest.mark.parametrize("n", [30, 700])
def test_resamples_drawn_a_few_at_a_time_are_those_drawn_at_once(n, monkeypatch):
    rng = np.random.default_rng(n)
    y = rng.standard_normal(n)
    predicted = {f"m{i}": 0.3 * y + rng.standard_normal(n) for i in range(3)}
    drawn = np.random.default_rng(7).multinomial(n, np.full(n, 1 / n), size=203)
    assert len(list(evaluate._draws(n, 203, 7))) == 1
    at_once = scores("g", y, predicted, resamples=203), compare("g", y, predicted, "m1", resamples=203)
    monkeypatch.setattr(evaluate, "DRAWN_BYTES", 16 * n * 24)
    parts = list(evaluate._draws(n, 203, 7))
    assert [len(part) for part in parts] == [24] * 8 + [11]
    assert np.array_equal(np.vstack(parts), drawn)
    in_parts = scores("g", y, predicted, resamples=203), compare("g", y, predicted, "m1", resamples=203)
    for one, other in zip(at_once, in_parts):
        assert one.select(pl.col(pl.String)).equals(other.select(pl.col(pl.String)))
        np.testing.assert_allclose(
            one.select(pl.col(pl.Float64)).to_numpy(), other.select(pl.col(pl.Float64)).to_numpy(), rtol=1e-12
        )


def test_the_bootstraps_memory_does_not_grow_with_people(monkeypatch):
    monkeypatch.setattr(evaluate, "DRAWN_BYTES", 2**22)
    n, y = 20_000, np.random.default_rng(0).standard_normal(20_000)
    predicted = {"a": y / 2, "b": y / 3}
    for call in (scores, compare):
        tracemalloc.start()
        call(*(("g", y, predicted) if call is scores else ("g", y, predicted, "a")), resamples=80)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # all 80 at once would be 80 * 16 bytes a person; the rest is a few vectors of n
        assert peak < 2**22 + 40 * 8 * n < 80 * 16 * n


def test_one_gene_has_no_interval_over_genes():
    y = np.arange(30.0)
    summary = summarise(scores("g", y, {"a": y, "b": y[::-1].copy()}), "a")
    assert np.isnan(summary["delta_low"].to_numpy()).all() and np.isnan(summary["p_wilcoxon"].to_numpy()).all()


def test_summary_is_paired():
    rng = np.random.default_rng(0)
    level = rng.random(40)  # genes differ a lot, methods by a little: only a paired interval sees it
    table = pl.concat(
        [
            pl.DataFrame({"gene_id": f"g{i}", "method": method, "n": 100, "r2": level[i] + gain + noise, "r2_low": 0.0,
                          "r2_high": 0.0, "pearson": 0.5 if i < 10 else 0.0, "spearman": 0.0, "signed_r2": 0.0,
                          "mse": 0.0, "mae": 0.0})
            for i in range(40)
            for method, gain, noise in (("a", 0.0, 0.0), ("b", 0.02, 0.01 * rng.standard_normal()))
        ]
    )  # fmt: skip
    summary = summarise(table, "a")
    b = summary.filter(pl.col("method") == "b").row(0, named=True)
    assert b["delta_low"] > 0.01 and b["delta_high"] < 0.03 and b["mean_r2_high"] - b["mean_r2_low"] > 0.1
    values = table.pivot(on="method", index="gene_id", values="r2")
    assert b["p_wilcoxon"] == pytest.approx(wilcoxon((values["b"] - values["a"]).to_numpy()).pvalue)
    assert b["n_significant"] == 10
    with pytest.raises(GenopredError, match="reference method 'c'"):
        summarise(table, "c")
    with pytest.raises(GenopredError, match="a score for every gene"):
        summarise(table[:-1], "a")


def test_false_discovery_rate_is_statsmodels():
    p = np.random.default_rng(0).random(50) ** 2
    assert np.allclose(benjamini_hochberg(p), multipletests(p, method="fdr_bh")[1])


def test_covariates_that_explain_everything_are_named():
    rng = np.random.default_rng(0)
    train = np.arange(50) < 40
    with pytest.raises(ModelError, match="45 covariates leave no degrees of freedom in 40 training people"):
        Outcome().split(rng.normal(size=50), rng.normal(size=(50, 45)), train)
    Outcome().split(rng.normal(size=50), rng.normal(size=(50, 30)), train)
