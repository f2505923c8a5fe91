"""Accuracy over genes against scipy and scikit-learn, draws of blocks against naive loops, and what must come out."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from genopred.errors import GenopredError
from genopred.training.gene_scores import (
    ALL_CELLS,
    BETWEEN,
    GENE_METRICS,
    GENE_SCORE_SCHEMA,
    LEVEL,
    detectable,
    deviations,
    fold_scores,
    gene_differences,
    gene_scores,
)
from genopred.training.scores import block_draws

CELLS = ("a", "b", "c")


def example(seed=1, n=150, blocks=12, noise=0.7):
    rng = np.random.default_rng(seed)
    gene = rng.normal(size=(n, 1))
    measured = gene + 0.5 * rng.normal(size=(n, 3)) + np.array([0.0, 1.0, -2.0])
    return measured, measured + noise * rng.normal(size=(n, 3)), rng.integers(0, blocks, n) * 7


def of(table, what=LEVEL, cell="a", value="estimate"):
    rows = table.filter((pl.col("what") == what) & (pl.col("cell") == cell))
    return dict(zip(rows["metric"], rows[value]))


def oracle(y, x):
    return {
        "pearson": pearsonr(x, y)[0],
        "spearman": spearmanr(x, y)[0],
        "r2": r2_score(y, x),
        "mse": mean_squared_error(y, x),
        "mae": mean_absolute_error(y, x),
    }


def test_estimates_are_those_of_scipy_and_scikit_learn():
    y, x, blocks = example()
    table = gene_scores(y, x, blocks, CELLS, resamples=20)
    assert dict(table.schema) == GENE_SCORE_SCHEMA
    wanted = [oracle(y[:, c], x[:, c]) for c in range(3)]
    for cell, right in zip(CELLS, wanted):
        assert of(table, cell=cell) == pytest.approx(right, rel=1e-9)
    assert of(table, cell=ALL_CELLS) == pytest.approx({m: np.mean([w[m] for w in wanted]) for m in GENE_METRICS})
    dy, dx = y - y.mean(axis=1, keepdims=True), x - x.mean(axis=1, keepdims=True)
    for c, cell in enumerate(CELLS):
        right = oracle(dy[:, c], dx[:, c])
        assert of(table, BETWEEN, cell) == pytest.approx({m: right[m] for m in ("pearson", "spearman")}, rel=1e-9)
    assert set(table["n_genes"]) == {150} and set(table["n_blocks"]) == {12}
    assert (table["low"] <= table["estimate"]).all() and (table["estimate"] <= table["high"]).all()


def test_intervals_are_of_whole_blocks_drawn():
    y, x, blocks = example(n=80)
    table = gene_scores(y, x, blocks, CELLS, resamples=60, seed=3)
    ids = np.unique(blocks)
    r2, r = [], []
    for draw in block_draws(len(ids), 60, 3):
        rows = np.concatenate([np.flatnonzero(blocks == b) for b, times in zip(ids, draw) for _ in range(times)])
        r2.append([r2_score(y[rows, c], x[rows, c]) for c in range(3)])
        r.append([pearsonr(y[rows, c], x[rows, c])[0] for c in range(3)])
    for cell, values in (("b", np.array(r2)[:, 1]), (ALL_CELLS, np.mean(r2, axis=1))):
        row = table.row(by_predicate=(pl.col("what") == LEVEL) & (pl.col("cell") == cell) & (pl.col("metric") == "r2"))
        assert row[4:6] == pytest.approx(np.quantile(values, [0.025, 0.975])) and row[6] == pytest.approx(values.std())
    assert of(table, cell="c", value="se")["pearson"] == pytest.approx(np.std(np.array(r)[:, 2]))


def test_differences_are_paired_over_the_same_draws():
    y, x, blocks = example()
    other = y + 0.9 * np.random.default_rng(5).normal(size=y.shape)
    table = gene_differences(y, x, other, blocks, CELLS, resamples=40, seed=2)
    one, two = (gene_scores(y, p, blocks, CELLS, resamples=0) for p in (x, other))
    np.testing.assert_allclose(table["estimate"], one["estimate"] - two["estimate"], atol=1e-12)
    # with itself there is no difference in any draw, however wide the intervals of both are
    same = gene_differences(y, x, x, blocks, CELLS, resamples=40)
    assert same.select("estimate", "low", "high", "se").to_numpy().max() == 0
    # of whole blocks
    ids, drawn = np.unique(blocks), []
    for draw in block_draws(len(ids), 40, 2):
        rows = np.concatenate([np.flatnonzero(blocks == b) for b, times in zip(ids, draw) for _ in range(times)])
        drawn.append(pearsonr(y[rows, 1], x[rows, 1])[0] - pearsonr(y[rows, 1], other[rows, 1])[0])
    found = [of(table, cell="b", value=name)["pearson"] for name in ("low", "high", "se")]
    assert found == pytest.approx([*np.quantile(drawn, [0.025, 0.975]), np.std(drawn)])


def test_known_truth():
    y, _, blocks = example(n=4000, blocks=200)
    perfect = of(gene_scores(y, y, blocks, CELLS, resamples=0))
    assert perfect == pytest.approx({"pearson": 1, "spearman": 1, "r2": 1, "mse": 0, "mae": 0})
    mean = gene_scores(y, np.tile(y.mean(axis=0), (len(y), 1)), blocks, CELLS, resamples=10)
    assert of(mean)["pearson"] is None and of(mean)["r2"] == pytest.approx(0, abs=1e-12)
    assert of(mean, value="low")["pearson"] is None and of(mean, BETWEEN)["pearson"] is None
    # signal of half the variance and noise of the other: whoever knows the signal has R² of 0.5
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(4000, 1))
    table = gene_scores(signal + rng.normal(size=(4000, 1)), signal, blocks, ["a"], resamples=200)
    assert of(table)["r2"] == pytest.approx(0.5, abs=0.04) and of(table)["pearson"] == pytest.approx(0.5**0.5, abs=0.03)
    assert set(table["cell"]) == {"a"} and set(table["what"]) == {LEVEL}  # nothing lies between one cell type


def test_a_prediction_of_the_gene_alone_knows_nothing_between_cell_types():
    rng = np.random.default_rng(2)
    gene, own = rng.normal(size=(3000, 1)), 0.4 * rng.normal(size=(3000, 3))
    blocks = np.arange(3000) // 10
    everywhere = gene_scores(gene + own, np.tile(gene, 3) + [0, 1, 2], blocks, CELLS, resamples=0)
    assert of(everywhere)["pearson"] > 0.9 and of(everywhere, BETWEEN)["pearson"] is None
    noisy = gene + 0.1 * rng.normal(size=(3000, 3))
    assert abs(of(gene_scores(gene + own, noisy, blocks, CELLS, resamples=0), BETWEEN)["pearson"]) < 0.06
    specific = gene_scores(gene + own, own, blocks, CELLS, resamples=0)
    assert of(specific, BETWEEN)["pearson"] == pytest.approx(1)


def test_genes_that_were_not_measured_everywhere():
    y, x, blocks = example()
    y[:40, 0], y[5, 1:] = np.nan, np.nan
    table = gene_scores(y, x, blocks, CELLS, resamples=20)
    assert of(table) == pytest.approx(oracle(y[40:, 0], x[40:, 0]))
    known = np.isfinite(y)
    dy, dx = (np.where(known, v, np.nan)[40:] for v in (y, x))
    dy, dx = (v - np.nanmean(v, axis=1, keepdims=True) for v in (dy, dx))
    assert of(table, BETWEEN)["pearson"] == pytest.approx(pearsonr(dy[:, 0], dx[:, 0])[0])
    assert of(table, value="n_genes")["r2"] == 110 and of(table, cell="b", value="n_genes")["r2"] == 149
    # where a cell type has genes of few blocks, draws without any of them do not count
    y[:, 2] = np.where(blocks == blocks[0], y[:, 2], np.nan)
    assert of(gene_scores(y, x, blocks, CELLS, resamples=50), cell="c", value="low")["pearson"] is not None


def test_cell_types_that_are_not_predicted_are_left_out():
    y, x, blocks = example()
    one = np.full_like(x, np.nan)
    one[:, 1] = x[:, 1]
    table = gene_scores(y, one, blocks, CELLS, resamples=5)
    assert set(table["cell"]) == {"b"} and set(table["what"]) == {LEVEL}
    assert gene_differences(y, x, one, blocks, CELLS, resamples=5).equals(
        gene_differences(y, one, x, blocks, CELLS, resamples=5)
    )


def test_folds_by_themselves():
    y, x, _ = example()
    folds = np.arange(150) % 5
    table = fold_scores(y, x, folds, CELLS)
    right = oracle(y[folds == 2, 1], x[folds == 2, 1])
    rows = table.filter((pl.col("fold") == "2") & (pl.col("cell") == "b") & (pl.col("what") == LEVEL))
    assert dict(zip(rows["metric"], rows["estimate"])) == pytest.approx(right)


def test_intervals_cover_and_the_detectable_difference_is_found():
    """Over simulated sets with blocks alike within: about 95 % of intervals hold the truth; power is as it is said."""
    rng = np.random.default_rng(7)
    cover, found, said = [], [], []
    for seed in range(150):
        block = np.repeat(np.arange(60), 5)
        shared = rng.normal(size=60)[block]
        signal = rng.normal(size=300)
        y = signal + 0.7 * shared + 0.7 * rng.normal(size=300)
        table = gene_scores(y[:, None], signal[:, None], block, ["a"], resamples=200, seed=seed)
        cover.append(of(table, value="low")["mse"] <= 0.98 <= of(table, value="high")["mse"])
        # two others, of which one has more noise
        a, b = (y + s * rng.normal(size=300) for s in (0.5, 0.56))
        table = gene_differences(y[:, None], a[:, None], b[:, None], block, ["a"], resamples=200, seed=seed)
        found.append(of(table, value="high")["mse"] < 0)
        said.append(detectable(of(table, value="se")["mse"]))
    assert 0.88 <= np.mean(cover) <= 0.99
    true, least = 0.56**2 - 0.5**2, np.mean(said)
    assert true < least * 1.3 and 0.2 < np.mean(found) < 0.9


def test_deviations_of_genes_known_in_one_cell_type():
    assert np.isnan(deviations(np.array([[1.0, 2.0]]), np.array([[False, False]]))).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y, x, b: (y[:0], x[:0], b[:0]), "at least one gene"),
        (lambda y, x, b: (y, x[:, :2], b), r"predicted \(150, 2\)"),
        (lambda y, x, b: (y, np.full_like(x, np.nan), b), "no cell type is predicted"),
        (lambda y, x, b: (y, np.where(x == x[3, 1], np.nan, x), b), "in b some genes have no finite prediction"),
        (lambda y, x, b: (np.where(np.arange(3) == 2, np.nan, y), x, b), "no gene was measured in c"),
    ],
)
def test_bad_input(change, words):
    with pytest.raises(GenopredError, match=words):
        gene_scores(*change(*example()), CELLS)
    with pytest.raises(GenopredError, match="needed the same genes"):
        gene_differences(np.zeros((4, 1)), np.zeros((4, 1)), np.zeros((3, 1)), [0, 0, 1, 1], ["a"])
