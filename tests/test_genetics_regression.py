"""Marginal association: against statsmodels variant by variant, and plink1.9's --linear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from bed_reader import open_bed
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.errors import GenopredError
from genopred.genetics.moments import Moments
from genopred.genetics.regression import marginal_association, marginal_sums

GOLDEN = Path(__file__).parent / "golden" / "plink_prs"


def by_statsmodels(x, y, cov=None, missing="pairwise"):
    """One ordinary regression per variant, written out."""
    out = []
    for column in x.T:
        column = column.astype(float)
        if missing == "mean":
            column = np.where(np.isnan(column), np.nanmean(column), column)
        have = ~np.isnan(column) & ~np.isnan(y)
        design = [np.ones(have.sum()), column[have]] + ([] if cov is None else list(cov[have].T))
        fit = sm.OLS(y[have], np.column_stack(design)).fit()
        out.append((fit.params[1], fit.bse[1], fit.tvalues[1], fit.pvalues[1], column[have].mean() / 2, have.sum()))
    return np.array(out).T


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 3), st.sampled_from(["pairwise", "mean"]), st.booleans())
def test_slopes_errors_and_p_values_are_those_of_ordinary_least_squares(seed, k, missing, holes):
    rng = np.random.default_rng(seed)
    n, m = 40, 6
    x = np.concatenate([rng.binomial(2, 0.4, (n, 3)), 2 * rng.random((n, 3))], axis=1).astype(np.float32)
    cov = None if k == 0 else rng.normal(size=(n, k)) + x[:, :1]
    y = rng.normal(size=n) + x[:, 1]
    if holes:
        x[rng.random((n, m)) < 0.1] = np.nan
        y[rng.random(n) < 0.05] = np.nan
    out = marginal_association(x, y, cov, missing=missing)
    known = ~np.isnan(y)
    expected = by_statsmodels(x[known], y[known], None if cov is None else cov[known], missing)
    for name, column in zip(("slope", "slope_se", "tstat", "pval"), expected):
        np.testing.assert_allclose(getattr(out, name), column, rtol=1e-7, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(out.af, np.nanmean(x[known].astype(float), axis=0) / 2, rtol=1e-6)
    np.testing.assert_array_equal(out.n, expected[5])


@pytest.mark.parametrize("covariates", [False, True])
def test_plinks_linear(covariates):
    dosage = open_bed(GOLDEN / "cohort.bed", num_threads=1).read(dtype="float32")
    y = np.loadtxt(GOLDEN / "y.phe", usecols=2)
    cov = np.loadtxt(GOLDEN / "covar.txt", skiprows=1, usecols=(2, 3)) if covariates else None
    name = "linear_covar.txt" if covariates else "linear.txt"
    rows = [line.split() for line in (GOLDEN / name).read_text().splitlines()[1:]]
    golden = np.array([[np.nan if cell == "NA" else float(cell) for cell in row[5:9]] for row in rows])
    out = marginal_association(dosage, y, cov)
    np.testing.assert_array_equal(out.n, golden[:, 0])
    for values, column in ((out.slope, golden[:, 1]), (out.tstat, golden[:, 2])):
        np.testing.assert_allclose(values, column, rtol=5.1e-4)
    varies = ~np.isnan(golden[:, 3])
    np.testing.assert_allclose(out.pval[varies], golden[varies, 3], rtol=1e-3)
    assert np.isnan(out.slope[~varies]).all() and (out.pval[~varies] == 1).all() and (~varies).any()


def test_what_does_not_vary_has_no_slope_and_p_one():
    rng = np.random.default_rng(0)
    n = 30
    cov = rng.normal(size=(n, 2))
    x = np.column_stack([np.full(n, 0.7), np.full(n, np.nan), cov @ [0.1, 0.2] + 1, rng.random(n)])
    out = marginal_association(x, rng.normal(size=n), cov)
    assert np.isnan(out.slope[:3]).all() and np.isnan(out.tstat[:3]).all() and (out.pval[:3] == 1).all()
    assert np.isfinite(out.slope[3]) and out.n.tolist() == [30, 0, 30, 30]
    constant = marginal_association(x[:, 3:], np.full(n, 4.0))
    assert constant.slope[0] == pytest.approx(0, abs=1e-12)
    assert constant.pval[0] == 1


def test_collinear_covariates_cost_one_degree_of_freedom():
    rng = np.random.default_rng(1)
    x, y, cov = rng.random((25, 4)), rng.normal(size=25), rng.normal(size=(25, 2))
    twice = np.column_stack([cov, cov[:, 0] - 3 * cov[:, 1], np.ones(25)])
    a, b = marginal_association(x, y, cov), marginal_association(x, y, twice)
    np.testing.assert_allclose(a.pval, b.pval, rtol=1e-9)


def test_tiny_p_values_and_perfect_fits_stay_numbers():
    x = np.arange(40.0).reshape(-1, 1) % 3
    strong = marginal_association(x, x[:, 0] + np.random.default_rng(2).normal(size=40) * 1e-9)
    assert 0 < strong.pval[0] < 1e-200
    perfect = marginal_association(x, 2 * x[:, 0] + 1)
    assert perfect.slope[0] == pytest.approx(2)
    assert perfect.pval[0] < 1e-200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phenotype": np.zeros(3)}, "do not fit"),
        ({"covariates": np.zeros((4, 1))}, "do not fit 5 samples"),
        ({"covariates": np.array([[0.0], [1], [np.nan], [1], [0]])}, r"1 samples .*rows 2"),
        ({"missing": "drop"}, "'pairwise' or 'mean'"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"dosage": np.zeros((5, 2)), "phenotype": np.arange(5.0)} | change
    with pytest.raises(GenopredError, match=message):
        marginal_association(**arguments)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [0, 1, 4])
@pytest.mark.parametrize("holes", [False, True])
def test_sums_are_the_people(seed, k, holes):
    rng = np.random.default_rng(seed)
    n, m = 300, 12
    x = rng.binomial(2, rng.uniform(0.01, 0.5, m), (n, m)).astype(np.float64)
    x[:, 3], x[:, 4] = 1.0, 0.7
    x[:, 5] = 2 * rng.random(n)
    cov = (
        None if k == 0 else rng.normal(size=(n, k)) * [1e-3, 1.0, 50.0, 1.0][:k] + x[:, :1] + [0.0, 100.0, 0.0, 1.0][:k]
    )
    y = np.column_stack([rng.normal(size=n) + x[:, 1], 10 + x[:, 0] - x[:, 5] + rng.normal(size=n)])
    if holes:
        x[:, 6:] = np.where(rng.random((n, m - 6)) < 0.1, np.nan, x[:, 6:])
        x[:, 11] = np.nan
    for outcome in range(2):
        people = marginal_association(x, y[:, outcome], cov, missing="mean")
        sums = marginal_sums(Moments.of(x, y, cov), outcome)
        for name in ("slope", "slope_se", "tstat", "pval", "af", "n"):
            np.testing.assert_allclose(
                getattr(sums, name), getattr(people, name), rtol=1e-8, atol=1e-9, err_msg=f"{name} {outcome}"
            )
    assert np.isnan(people.slope[[3, 4]]).all()


def test_sums_with_collinear_covariates_count_them_once():
    rng = np.random.default_rng(1)
    x, y = rng.binomial(2, 0.3, (120, 5)).astype(float), rng.normal(size=120)
    c = rng.normal(size=(120, 2))
    cov = np.column_stack([c, c[:, 0] - 2 * c[:, 1] + 3, np.full(120, 7.0), x[:, 2]])
    people, sums = marginal_association(x, y, cov), marginal_sums(Moments.of(x, y, cov))
    # the third variant is a covariate
    assert np.isnan(sums.slope).tolist() == [False, False, True, False, False]
    for name in ("slope", "slope_se", "pval"):
        np.testing.assert_allclose(getattr(sums, name), getattr(people, name), rtol=1e-7, err_msg=name)


def test_sums_of_another_outcome_are_refused():
    with pytest.raises(GenopredError, match="outcome 1; there are 1"):
        marginal_sums(Moments.of(np.ones((3, 2)), np.arange(3.0)), 1)
    few = marginal_sums(Moments.of([[0.0], [1.0]], [1.0, 2.0]))
    assert np.isnan(few.slope[0]) and few.pval[0] == 1.0
