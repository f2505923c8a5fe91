"""Transforms: against hand-worked values, scipy and least squares written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, rankdata, zscore

from genopred.errors import GenopredError
from genopred.genetics import transform as t


@pytest.mark.parametrize("offset", [0.0, 0.375, 0.5])
def test_inverse_normal_is_the_quantile_of_the_rank(offset):
    x = np.random.default_rng(0).normal(size=(37, 3))
    x[4, 0] = x[9, 0]
    expected = norm.ppf((rankdata(x, axis=0) - offset) / (37 - 2 * offset + 1))
    np.testing.assert_allclose(t.inverse_normal(x, offset=offset), expected, atol=1e-12)
    np.testing.assert_allclose(t.inverse_normal(x.T, axis=1, offset=offset), expected.T, atol=1e-12)


def test_inverse_normal_leaves_missing_values_out():
    x = np.array([3.0, np.nan, 1.0, 2.0])
    out = t.inverse_normal(x)
    assert np.isnan(out[1])
    np.testing.assert_allclose(out[[0, 2, 3]], t.inverse_normal([3.0, 1.0, 2.0]))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(0, 1000))
def test_inverse_normal_keeps_order_and_ignores_scale(n, seed):
    x = np.random.default_rng(seed).normal(size=n)
    out = t.inverse_normal(x)
    assert np.array_equal(np.argsort(out), np.argsort(x))
    np.testing.assert_allclose(out, t.inverse_normal(np.exp(x) * 7), atol=1e-12)
    assert abs(out.sum()) < 1e-9


def test_quantile_normalise_gives_one_distribution_and_keeps_each_order():
    x = np.random.default_rng(1).gamma(2.0, size=(6, 50))
    out = t.quantile_normalise(x)
    for row in out:
        np.testing.assert_allclose(np.sort(row), np.sort(x, axis=1).mean(axis=0))
    assert np.array_equal(np.argsort(out, axis=1), np.argsort(x, axis=1))


def test_quantile_normalise_gives_ties_their_mean():
    # Sorted rows: 1 1 3 and 2 4 6; targets 1.5 2.5 4.5; the tie in row 0 gets (1.5 + 2.5) / 2.
    assert t.quantile_normalise([[1.0, 1.0, 3.0], [2.0, 6.0, 4.0]]).tolist() == [[2.0, 2.0, 4.5], [1.5, 4.5, 2.5]]


def test_zscore_is_scipys_and_a_constant_becomes_zero():
    x = np.random.default_rng(2).normal(5, 3, size=(20, 4))
    np.testing.assert_allclose(t.zscore(x), zscore(x), atol=1e-12)
    x[:, 1] = 0.1
    x[3, 2] = np.nan
    out = t.zscore(x, ddof=1)
    assert (out[:, 1] == 0).all()
    assert np.isnan(out[3, 2])
    assert np.nanstd(out[:, 2], ddof=1) == pytest.approx(1)


def test_log1p():
    np.testing.assert_allclose(t.log1p([0.0, 1.0]), np.log([1.0, 2.0]))
    with pytest.raises(GenopredError, match=r"2 values are negative \(-1.0, -3.0\)"):
        t.log1p([-1.0, -3.0, 2.0])


def test_residuals_are_those_of_least_squares_and_uncorrelated_with_covariates():
    rng = np.random.default_rng(3)
    cov, y = rng.normal(size=(60, 4)) * [1, 1e6, 1e-6, 3], rng.normal(size=(60, 5))
    out = t.residualise(y, cov)
    design = np.column_stack([np.ones(60), cov])
    expected = y - design @ np.linalg.solve(design.T @ design / 1e3, design.T @ y / 1e3)
    np.testing.assert_allclose(out, expected, atol=1e-6)
    assert np.abs(np.corrcoef(np.column_stack([out, cov]).T)[:5, 5:]).max() < 1e-9


def test_a_collinear_covariate_changes_nothing():
    rng = np.random.default_rng(4)
    cov, y = rng.normal(size=(40, 2)), rng.normal(size=40)
    doubled = np.column_stack([cov, cov[:, 0] * 1e3 - cov[:, 1], np.full(40, 2.0)])
    np.testing.assert_allclose(t.residualise(y, doubled), t.residualise(y, cov), atol=1e-8)
    assert t.Residualiser().fit(y, doubled).rank_ == 3


def test_a_residualiser_learns_nothing_from_the_people_it_is_applied_to():
    rng = np.random.default_rng(5)
    cov, y = rng.normal(size=(50, 2)), rng.normal(size=(50, 3))
    fitted = t.Residualiser().fit(y[:40], cov[:40])
    before = fitted.transform(y[40:], cov[40:])
    shifted = fitted.transform(y[40:] + 5, cov[40:])
    np.testing.assert_allclose(shifted, before + 5)


def test_tpm_and_rpkm():
    rng = np.random.default_rng(6)
    counts, lengths = rng.integers(1, 1000, (5, 30)), rng.integers(200, 5000, 30)
    out = t.tpm(counts, lengths)
    np.testing.assert_allclose(out.sum(axis=1), 1e6)
    rpkm = t.rpkm(counts, lengths)
    assert rpkm[2, 7] == pytest.approx(counts[2, 7] / (lengths[7] / 1e3) / (counts[2].sum() / 1e6))
    np.testing.assert_allclose(rpkm / rpkm.sum(axis=1, keepdims=True) * 1e6, out)
    np.testing.assert_allclose(t.fpkm(counts, lengths), rpkm)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: t.tpm([[1.0, 2.0]], [100.0]), "1 lengths for 2 genes"),
        (lambda: t.tpm([[1.0, 2.0]], [100.0, 0.0]), "1 lengths are not positive"),
        (lambda: t.tpm([[0.0, 0.0]], [100.0, 10.0]), "1 samples have no reads"),
        (lambda: t.rpkm([[-1.0, 0.0]], [100.0, 10.0]), "0 or more"),
        (lambda: t.rpkm([[1.0]], [1.0], library_size=[1.0, 2.0]), "one entry per sample"),
        (lambda: t.quantile_normalise([[1.0, np.nan]]), "NaN"),
        (lambda: t.quantile_normalise([1.0]), "2 dimensions"),
        (lambda: t.residualise([1.0, 2.0], [[1.0], [np.nan]]), r"covariates of 1 samples .*rows 1"),
        (lambda: t.residualise([1.0, 2.0], [[1.0]]), "2 samples in values, 1 in covariates"),
        (lambda: t.inverse_normal(["a"]), "not an array of numbers"),
        (lambda: t.inverse_normal([1.0], offset=1.0), "offset"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(GenopredError, match=message):
        call()


def test_holes_get_the_mean_of_the_rest_and_empty_columns_0():
    x = np.array([[1.0, np.nan, 0.0], [np.nan, np.nan, 2.0], [2.0, np.nan, 4.0]])
    assert t.known_means(x).tolist() == [1.5, 0.0, 2.0]
    assert t.mean_filled(x).tolist() == [[1.0, 0.0, 0.0], [1.5, 0.0, 2.0], [2.0, 0.0, 4.0]]
    assert np.isnan(x).sum() == 4
