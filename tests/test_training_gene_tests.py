"""Tests of predictions against scipy, statsmodels and naive loops; and how often each finds what is not there."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import f_oneway, pearsonr, ttest_rel, wilcoxon
from statsmodels.stats.anova import AnovaRM
from statsmodels.stats.multitest import multipletests

from genopred.training.gene_scores import ALL_CELLS, BETWEEN, LEVEL
from genopred.training.gene_tests import (
    CAUTIONS,
    GENE_TEST_SCHEMA,
    RESPECT,
    cell_correlations,
    gene_tests,
    repeated_measures,
    shares_of_r,
    sign_flips,
)

CELLS = ("a", "b", "c", "d")


def simulated(seed, n=200, of_block=10, better=0.0, cells=4):
    """Genes in blocks that share what each of two equally good predictions gets wrong, in all cell types alike."""
    rng = np.random.default_rng(seed)
    block = np.arange(n) // of_block
    gene = rng.normal(size=(n, 1))
    y = gene + 0.3 * rng.normal(size=(n, cells))
    wrong = [rng.normal(size=(n // of_block, 1))[block] + 0.5 * rng.normal(size=(n, 1)) for _ in range(2)]
    one, two = (gene + w * scale + 0.2 * rng.normal(size=(n, cells)) for w, scale in zip(wrong, (1 - better, 1)))
    return y, {"one": one, "two": two}, block


def pick(table, test, cell=ALL_CELLS, against="two", what=LEVEL):
    rows = table.filter(
        (pl.col("what") == what) & (pl.col("test") == test) & (pl.col("cell") == cell) & (pl.col("against") == against)
    )
    return rows.row(0, named=True)


def test_each_test_is_that_of_scipy_or_statsmodels():
    y, predicted, block = simulated(1)
    predicted["three"] = predicted["one"] * 0.5 + 0.3 * np.random.default_rng(9).normal(size=y.shape)
    folds = block % 5
    table = gene_tests(y, predicted, block, CELLS, folds=folds, draws=199)
    assert dict(table.schema) == GENE_TEST_SCHEMA and set(table["test"]) == set(CAUTIONS)
    assert set(table.filter(pl.col("respects_genes"))["test"]) == set(RESPECT)
    one, two = predicted["one"], predicted["two"]
    r = {
        name: np.array([[pearsonr(p[folds == k, c], y[folds == k, c])[0] for c in range(4)] for k in range(5)]).ravel()
        for name, p in predicted.items()
    }
    found = pick(table, "t-cells")
    right = ttest_rel(r["one"], r["two"])
    assert (found["statistic"], found["p"], found["n"]) == pytest.approx((right.statistic, right.pvalue, 20))
    assert found["difference"] == pytest.approx(np.mean(r["one"] - r["two"]))
    right = wilcoxon(np.abs(one - y)[:, 1] - np.abs(two - y)[:, 1])
    assert pick(table, "wilcoxon-genes", "b")["p"] == pytest.approx(right.pvalue)
    right = f_oneway(*r.values())
    found = pick(table, "anova-oneway", against="")
    assert (found["statistic"], found["p"]) == pytest.approx((right.statistic, right.pvalue))
    long = pd.DataFrame([(i, m, v) for m, values in r.items() for i, v in enumerate(values)], columns=["s", "m", "r"])
    right = AnovaRM(long, "r", "s", within=["m"]).fit().anova_table
    found = pick(table, "anova-cells", against="")
    assert (found["statistic"], found["p"]) == pytest.approx((right["F Value"].iloc[0], right["Pr > F"].iloc[0]))
    # differences over genes are those of the metrics
    difference = ((one - y) ** 2 - (two - y) ** 2).mean(axis=0)
    assert pick(table, "blocks-mse", "c")["difference"] == pytest.approx(difference[2])
    assert pick(table, "blocks-mse")["difference"] == pytest.approx(difference.mean())
    right = pearsonr(one[:, 3], y[:, 3])[0] - pearsonr(two[:, 3], y[:, 3])[0]
    assert pick(table, "blocks-r", "d")["difference"] == pytest.approx(right)
    apart = [p - p.mean(axis=1, keepdims=True) for p in (y, one, two)]
    right = pearsonr(apart[1][:, 3], apart[0][:, 3])[0] - pearsonr(apart[2][:, 3], apart[0][:, 3])[0]
    assert pick(table, "blocks-r", "d", what=BETWEEN)["difference"] == pytest.approx(right)
    few = gene_tests(y, predicted, block, CELLS, draws=99, level_only=["two"])
    assert set(few.filter(pl.col("what") == BETWEEN)["against"]) == {"three"}
    # corrected over the eight comparisons in single cell types
    rows = table.filter((pl.col("test") == "blocks-mse") & (pl.col("cell") != ALL_CELLS))
    assert rows.height == 8
    np.testing.assert_allclose(rows["p_holm"], multipletests(rows["p"].to_numpy(), method="holm")[1])


def test_flips_of_few_blocks_are_all_tried():
    rng = np.random.default_rng(3)
    values, block = rng.normal(size=23), np.sort(rng.integers(0, 6, 23))
    sums = [values[block == b].sum() for b in np.unique(block)]
    every = [abs(np.dot(signs, sums)) for signs in product((1, -1), repeat=len(sums))]
    assert sign_flips(values, block) == np.mean([one >= abs(sum(sums)) - 1e-12 for one in every])
    assert sign_flips(np.zeros(8), np.arange(8)) == 1.0
    # drawn signs come near to all of them
    values = np.linspace(-0.5, 1, 13)
    wanted = sign_flips(values, np.arange(13))
    near = sign_flips(np.r_[values, 0.0], np.arange(14), draws=20_000)
    assert near == pytest.approx(wanted, abs=0.01)
    assert sign_flips(np.ones(50), np.arange(50), draws=99) == 0.01


def test_shares_of_r_spread_as_r_does_and_are_those_of_a_naive_jackknife():
    rng = np.random.default_rng(4)
    y = rng.normal(size=(2000, 60))
    x = 0.6 * y + rng.normal(size=y.shape)
    r = np.array([pearsonr(a, b)[0] for a, b in zip(x, y)])
    said = [shares_of_r(b, a, np.arange(60)).std() / np.sqrt(60) for a, b in zip(x[:300], y)]
    assert np.mean(said) == pytest.approx(r.std(), rel=0.07)
    a, b, block = x[0], y[0], np.sort(rng.integers(0, 7, 60))
    each = {}
    for k in np.unique(block):
        share = np.mean(block == k)
        each[k] = (r[0] - (1 - share) * pearsonr(a[block != k], b[block != k])[0]) / share
    found = shares_of_r(b, a, block)
    naive = np.array([each[k] for k in block])
    np.testing.assert_allclose(found - found.mean(), naive - naive.mean(), atol=1e-10)
    assert found.mean() == pytest.approx(r[0])
    assert np.isnan(shares_of_r(np.arange(3.0), np.ones(3), [0, 1, 2])).all()
    np.testing.assert_allclose(shares_of_r(b, a, np.zeros(60)), r[0])


def test_how_often_each_finds_what_is_not_there():
    """Two equally good predictions, genes alike within blocks: 5 % for what respects blocks, more for the rest."""
    p = {name: [] for name in CAUTIONS}
    for seed in range(300):
        table = gene_tests(*[(s := simulated(seed))[0], s[1], s[2], CELLS], draws=199)
        for name in p:
            p[name].append(pick(table, name, against="" if name.startswith("anova") else "two")["p"])
    rate = {name: np.mean(np.array(values) < 0.05) for name, values in p.items()}
    # 300 draws at 5 %: a standard error of 1.3 %
    assert 0.015 <= rate["blocks-mse"] <= 0.09 and 0.015 <= rate["blocks-r"] <= 0.09
    assert rate["t-cells"] > 0.4 and rate["anova-cells"] > 0.4
    assert rate["wilcoxon-genes"] > 0.15


def test_what_is_there_is_found():
    found = [gene_tests(*simulated(seed, better=0.5)[:2], np.arange(200) // 10, CELLS, draws=199) for seed in range(40)]
    power = {name: np.mean([pick(table, name)["p"] < 0.05 for table in found]) for name in RESPECT}
    assert min(power.values()) > 0.7
    assert all(pick(table, "blocks-mse")["difference"] < 0 for table in found)


def test_what_cannot_be_tested_is_null():
    y, predicted, block = simulated(1)
    y[:30, 0] = np.nan
    flat = {"one": predicted["one"], "two": np.ones_like(y), "few": np.where(np.arange(4) == 1, y, np.nan)}
    table = gene_tests(y, flat, block, CELLS, draws=99)
    row = pick(table, "blocks-r")
    assert row["p"] is None and row["difference"] is None and pick(table, "t-cells")["n"] == 0
    assert pick(table, "blocks-mse", "a")["p"] is not None
    few = table.filter(pl.col("against") == "few")
    assert set(few["cell"]) == {"b", ALL_CELLS} and set(few.filter(pl.col("cell") == ALL_CELLS)["test"]) == {"t-cells"}
    assert table.filter(pl.col("test").str.starts_with("anova")).height == 0  # only one method has all its r
    same = gene_tests(y, {"one": predicted["one"], "two": predicted["one"]}, block, CELLS, draws=99)
    assert set(same.filter(pl.col("test").is_in(["blocks-mse", "blocks-r", "wilcoxon-genes"]))["p"]) == {1.0}


def test_repeated_measures_without_any_rest():
    assert repeated_measures([[1.0, 2.0], [2.0, 3.0]]) == (np.inf, 0.0)
    assert repeated_measures([[1.0, 1.0], [2.0, 2.0]]) == (0.0, 1.0)


def test_correlations_of_folds():
    y, predicted, block = simulated(2)
    r = cell_correlations(y, predicted["one"], block % 2)
    rows = block % 2 == 1
    assert r.shape == (2, 4) and r[1, 2] == pytest.approx(pearsonr(y[rows, 2], predicted["one"][rows, 2])[0])
