"""Accuracy of predicted tracks against scipy and scikit-learn, and the bootstrap over blocks against naive loops."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, rankdata, spearmanr
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from genopred.errors import GenopredError
from genopred.training.scores import (
    METRICS,
    TRACK_SCORE_SCHEMA,
    block_draws,
    block_sums,
    log_pearson,
    track_differences,
    track_scores,
)

TRACKS = [SimpleNamespace(name=name, assay="DNase", cell=name.upper()) for name in ("a", "b", "c")]


def example(seed=1, n=240, blocks=7):
    """Sparse counts as of a track, and predictions that know something of them."""
    rng = np.random.default_rng(seed)
    measured = rng.poisson(rng.gamma(0.3, 5, (n, 3))).astype(float)
    predicted = np.maximum(0.4 * measured + rng.gamma(1, 2, (n, 3)), 0)
    return measured, predicted, rng.integers(0, blocks, n) * 10 + 3


def oracle(y, x):
    """Each metric of one track by other people's code."""
    return {
        "pearson": pearsonr(x, y)[0],
        "pearson_log": pearsonr(np.log1p(x), np.log1p(y))[0],
        "spearman": spearmanr(x, y)[0],
        "r2": r2_score(y, x),
        "mse": mean_squared_error(y, x),
        "mae": mean_absolute_error(y, x),
    }


def test_estimates_are_those_of_scipy_and_scikit_learn():
    measured, predicted, blocks = example()
    table = track_scores(measured, predicted, blocks, TRACKS, resamples=20)
    assert dict(table.schema) == TRACK_SCORE_SCHEMA
    assert table.height == 3 * len(METRICS) and table["track"].unique().sort().to_list() == ["a", "b", "c"]
    assert set(table["n_bins"]) == {240} and set(table["n_blocks"]) == {7} and table["cell"][0] == "A"
    for i, track in enumerate(TRACKS):
        rows = table.filter(pl.col("track") == track.name)
        found = dict(zip(rows["metric"], rows["estimate"]))
        wanted = oracle(measured[:, i], predicted[:, i])
        assert found == pytest.approx(wanted, rel=1e-9)
    assert (table["low"] <= table["high"]).all()


def test_interval_is_that_of_a_loop_over_resamples():
    measured, predicted, blocks = example(2)
    resamples, seed = 40, 5
    table = track_scores(measured, predicted, blocks, TRACKS, resamples=resamples, seed=seed)
    ids = np.unique(blocks)
    ranks = rankdata(measured, axis=0), rankdata(predicted, axis=0)
    found = {metric: [] for metric in METRICS}
    for draw in block_draws(len(ids), resamples, seed):
        rows = np.concatenate(
            [np.flatnonzero(blocks == block) for block, times in zip(ids, draw) for _ in range(times)]
        )
        one = oracle(measured[rows, 1], predicted[rows, 1])
        one["spearman"] = pearsonr(ranks[0][rows, 1], ranks[1][rows, 1])[0]  # ranks of all bins, as documented
        for metric in METRICS:
            found[metric].append(one[metric])
    for metric in METRICS:
        row = table.row(by_predicate=(pl.col("track") == "b") & (pl.col("metric") == metric), named=True)
        assert (row["low"], row["high"]) == pytest.approx(np.percentile(found[metric], [2.5, 97.5]), rel=1e-8)


def test_difference_is_paired():
    measured, predicted, blocks = example(3)
    other = predicted + np.random.default_rng(4).normal(0, 1, predicted.shape).clip(-0.1, None)
    resamples, seed = 30, 2
    table = track_differences(measured, predicted, other, blocks, TRACKS, resamples=resamples, seed=seed)
    draws = block_draws(7, resamples, seed)
    a, b = block_sums(measured, predicted, blocks), block_sums(measured, other, blocks)
    for metric in METRICS:
        row = table.row(by_predicate=(pl.col("track") == "c") & (pl.col("metric") == metric), named=True)
        values = a.metrics(draws)[metric][:, 2] - b.metrics(draws)[metric][:, 2]
        assert row["estimate"] == pytest.approx(a.metrics()[metric][2] - b.metrics()[metric][2])
        assert (row["low"], row["high"]) == pytest.approx(np.percentile(values, [2.5, 97.5]))
    # a model against itself differs nowhere
    same = track_differences(measured, predicted, predicted, blocks, TRACKS, resamples=10)
    assert same.select(pl.col("estimate", "low", "high").abs().max()).row(0) == (0, 0, 0)


@given(seed=st.integers(0, 10_000), scale=st.floats(0.5, 20), shift=st.floats(0, 5))
def test_what_each_metric_does_not_see(seed, scale, shift):
    measured, predicted, blocks = example(seed, n=80, blocks=4)
    order = np.random.default_rng(seed).permutation(80)
    plain = block_sums(measured, predicted, blocks).metrics()
    moved = block_sums(measured[order], predicted[order], blocks[order]).metrics()
    for metric in METRICS:
        np.testing.assert_allclose(plain[metric], moved[metric], rtol=1e-9, atol=1e-12)
    scaled = block_sums(measured, scale * predicted + shift, blocks).metrics()
    np.testing.assert_allclose(scaled["pearson"], plain["pearson"], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(scaled["spearman"], plain["spearman"], rtol=1e-9, atol=1e-9)
    perfect = block_sums(measured, measured, blocks).metrics()
    for metric, value in zip(METRICS, (1, 1, 1, 1, 0, 0)):
        np.testing.assert_allclose(perfect[metric], value, atol=1e-12)


def test_large_offsets_lose_nothing():
    rng = np.random.default_rng(1)
    y = 1e6 + rng.normal(0, 1, (500, 1))
    x = 1e6 + y - 1e6 + rng.normal(0, 1, (500, 1))
    found = block_sums(y, x, rng.integers(0, 5, 500)).metrics()
    assert found["pearson"][0] == pytest.approx(pearsonr(x[:, 0] - 1e6, y[:, 0] - 1e6)[0], abs=1e-8)
    assert found["r2"][0] == pytest.approx(r2_score(y[:, 0], x[:, 0]), abs=1e-8)


def test_what_is_not_defined_is_null():
    measured, predicted, blocks = example()
    predicted[:, 0] = 3.0
    measured[:, 1] = 0.0
    table = track_scores(measured, predicted, blocks, TRACKS, resamples=10)
    nulls = table.filter(pl.col("estimate").is_null())
    assert set(nulls.select("track", "metric").rows()) == {
        *(("a", metric) for metric in ("pearson", "pearson_log", "spearman")),
        *(("b", metric) for metric in ("pearson", "pearson_log", "spearman", "r2")),
    }
    assert nulls["low"].null_count() == nulls.height
    one_block = track_scores(measured, predicted, np.zeros(240), TRACKS)
    assert one_block["low"].null_count() == one_block.height
    assert one_block.filter(pl.col("metric") == "mse")["estimate"].null_count() == 0


def test_a_block_without_signal_does_not_spoil_the_interval():
    measured, predicted, blocks = example(n=60, blocks=2)
    measured[blocks == 3] = 0.0
    table = track_scores(measured, predicted, blocks, TRACKS, resamples=50)
    assert table.filter(pl.col("metric") == "pearson")["low"].null_count() == 0


def test_negative_predictions_count_as_zero_for_the_logarithm():
    measured, predicted, blocks = example()
    below = predicted - 2
    found = block_sums(measured, below, blocks).metrics()["pearson_log"]
    wanted = block_sums(measured, np.maximum(below, 0), blocks).metrics()["pearson_log"]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y, x, b: (y, x[:-1], b), r"predicted \(239, 3\)"),
        (lambda y, x, b: (y, x, b[:-1]), r"blocks \(239,\)"),
        (lambda y, x, b: (y[:0], x[:0], b[:0]), "at least one bin"),
        (lambda y, x, b: (y, np.where(x > 5, np.nan, x), b), "predicted values of 3 tracks .* diverged"),
        (lambda y, x, b: (y[:, :2], x[:, :2], b), "3 tracks are named and the values have 2"),
    ],
)
def test_bad_input(change, words):
    with pytest.raises(GenopredError, match=words):
        track_scores(*change(*example()), TRACKS)


def test_correlation_is_numpys_and_nan_where_nothing_varies():
    rng = np.random.default_rng(2)
    a, b = rng.gamma(1, 2, (6, 7, 2)), rng.gamma(1, 2, (6, 7, 2))
    b[..., 0] += a[..., 0]
    expected = [np.corrcoef(np.log1p(a[..., i]).ravel(), np.log1p(b[..., i]).ravel())[0, 1] for i in range(2)]
    np.testing.assert_allclose(log_pearson(a, b), expected)
    a[..., 1] = 3
    assert np.isnan(log_pearson(a, b)[1])
