"""Association of predicted expression: statsmodels gene by gene, the null, power, and summaries against people."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2 as chi2_distribution
from scipy.stats import kstest, ncx2, norm

from genopred.errors import GenopredError
from genopred.genetics.associate import deflated, inflation, linear, logistic, summary, two_sided, z_scores


def people(seed, n=150, genes=6, k=2):
    rng = np.random.default_rng(seed)
    x, c = rng.standard_normal((genes, n)), rng.standard_normal((n, k))
    x[2] += c[:, 0]
    y = 0.4 * x[1] + c @ [0.5, -0.3] + rng.standard_normal(n)
    return x * 3 + 10, y, c


@pytest.mark.parametrize("with_covariates", [False, True])
def test_linear_is_ordinary_least_squares_of_each_gene(with_covariates):
    import statsmodels.api as sm

    x, y, c = people(1)
    y[[3, 17]] = np.nan
    found = linear(x, y, c if with_covariates else None)
    used = ~np.isnan(y)
    for g in range(len(x)):
        parts = [np.ones(used.sum()), x[g, used], *(c[used].T if with_covariates else [])]
        fit = sm.OLS(y[used], np.column_stack(parts)).fit()
        assert (found.effect[g], found.se[g], found.z[g], found.pval[g]) == pytest.approx(
            (fit.params[1], fit.bse[1], fit.tvalues[1], fit.pvalues[1]), rel=1e-6
        )
    assert found.n.tolist() == [148] * 6


@pytest.mark.parametrize("with_covariates", [False, True])
def test_logistic_is_statsmodels_of_each_gene(with_covariates):
    from statsmodels.discrete.discrete_model import Logit

    x, y, c = people(2)
    cases = (y > np.quantile(y, 0.6)).astype(float)
    cases[[0, 9]] = np.nan
    found = logistic(x, cases, c if with_covariates else None)
    used = ~np.isnan(cases)
    for g in range(len(x)):
        parts = [x[g, used], np.ones(used.sum()), *(c[used].T if with_covariates else [])]
        fit = Logit(cases[used], np.column_stack(parts)).fit(disp=0, tol=1e-12)
        assert (found.effect[g], found.se[g], found.z[g], found.pval[g]) == pytest.approx(
            (fit.params[0], fit.bse[0], fit.tvalues[0], fit.pvalues[0]), rel=1e-4
        )


def test_genes_that_cannot_be_tested_have_p_1():
    x, y, _ = people(3)
    x[0] = 5.0
    cases = (y > 0).astype(float)
    x[1] = cases * 2 - 1  # separates them
    one, two = linear(x, y), logistic(x, cases)
    assert np.isnan(one.z[0]) and one.pval[0] == 1 and not np.isnan(one.z[1:]).any()
    assert np.isnan(two.z[:2]).all() and (two.pval[:2] == 1).all() and not np.isnan(two.z[2:]).any()


@pytest.mark.parametrize("cases", [[0, 1, 2], [1, 1, 1], [0, 0, np.nan]])
def test_only_cases_and_controls(cases):
    with pytest.raises(GenopredError, match="logistic: cases must be 1 and controls 0, and both be there; found"):
        logistic(np.ones((1, 3)), cases)


@pytest.mark.parametrize("test", [linear, logistic])
def test_without_effect_p_is_uniform(test):
    """Over seeds, none of them chosen: the smallest of eight p-values of a test of uniformity is not tiny."""
    worst = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x, c = rng.standard_normal((60, 400)), rng.standard_normal((400, 2))
        y = rng.standard_normal(400) + c[:, 0]
        worst.append(kstest(test(x, y if test is linear else (y > 0).astype(float), c).pval, "uniform").pvalue)
    assert min(worst) > 1e-4 and np.median(worst) > 0.05


def test_power_is_that_of_theory():
    n, r2, level = 300, 0.03, 0.001
    rng = np.random.default_rng(7)
    hits = []
    for _ in range(10):
        x = rng.standard_normal((1, n))
        for _ in range(40):
            y = np.sqrt(r2) * x[0] + np.sqrt(1 - r2) * rng.standard_normal(n)
            hits.append(linear(x, y).pval[0] < level)
    expected = ncx2.sf(chi2_distribution.isf(level, 1), 1, n * r2 / (1 - r2))
    assert abs(np.mean(hits) - expected) < 4 * np.sqrt(expected * (1 - expected) / len(hits)) + 0.02


# --- summaries -------------------------------------------------------------------------------------------------------


def naive_summary(w, c, z):
    there = [i for i in range(len(w)) if np.isfinite(z[i])]
    variance = sum(w[i] * w[j] * c[i, j] for i in there for j in there)
    return sum(w[i] * np.sqrt(c[i, i]) * z[i] for i in there) / np.sqrt(variance), variance


@given(st.integers(1, 6), st.integers(0, 2**31))
def test_a_summary_is_the_formula(m, seed):
    rng = np.random.default_rng(seed)
    c = np.atleast_2d(np.cov(rng.standard_normal((m + 5, m)), rowvar=False))
    w, z = rng.standard_normal(m), rng.standard_normal(m)
    z[1:][rng.random(m - 1) < 0.3] = np.nan
    found = summary(w, c, z)
    score, variance = naive_summary(w, c, z)
    assert (found.z, found.variance) == pytest.approx((score, variance), rel=1e-6)
    assert found.share == pytest.approx(variance / (w @ c @ w), rel=1e-6)
    turned = rng.choice([-1.0, 1.0], m)  # the other allele of some variants
    same = summary(w * turned, c * np.outer(turned, turned), z * turned)
    assert same.z == pytest.approx(found.z, rel=1e-6)


def test_summaries_are_what_people_themselves_give():
    """With LD from the same people, z is theirs but for the trait's variance that a gene itself takes away."""
    rng = np.random.default_rng(5)
    n, m = 2000, 8
    base = rng.standard_normal((n, m))
    x = ((base + 0.8 * base[:, [0]]) > 0.5).astype(float) + ((base + 0.8 * rng.standard_normal((n, m))) > 0.5)
    w = rng.standard_normal(m)
    y = 0.05 * (x @ w) + rng.standard_normal(n)
    each = linear(x.T, y)
    found = summary(w, np.cov(x, rowvar=False), each.z, each.effect)
    direct = linear((x @ w)[None], y)
    assert found.z == pytest.approx(direct.z[0], rel=0.02)
    assert found.effect == pytest.approx(direct.effect[0], rel=1e-6)


def test_what_does_not_vary_has_no_summary():
    assert np.isnan(summary([1.0, 1.0], np.zeros((2, 2)), [1.0, 2.0]).z)
    assert np.isnan(summary([1.0], np.eye(1), [np.nan]).z)
    assert summary([1.0], np.eye(1), [np.nan]).share == 0


def test_z_and_its_correction():
    np.testing.assert_allclose(z_scores([0.3, -0.3, 0.3], [0.1, np.nan, 0.0], [0.9, 0.01, 0.01]),
                               [3, -norm.isf(0.005), norm.isf(0.005)])  # fmt: skip
    naive = [z / np.sqrt(1 + max(phi, 0) * 1e5 * 0.3) for z, phi in ((4.0, 1e-5), (-4.0, -1e-5), (1.0, 0.0))]
    np.testing.assert_allclose(deflated([4.0, -4.0, 1.0], [1e-5, -1e-5, 0.0], 1e5, 0.3), naive)
    np.testing.assert_allclose(two_sided([1.96, -1.96, np.nan]), [0.05, 0.05, 1.0], atol=1e-4)
    assert 0 < two_sided([37.0])[0] < 1e-200
    rng = np.random.default_rng(0)
    assert inflation(two_sided(rng.standard_normal(20_000) * np.sqrt(1.3))) == pytest.approx(1.3, abs=0.1)


def test_p_values_too_small_for_a_number_are_strong_and_not_lost():
    from genopred.genetics.associate import z_scores

    z = z_scores([1.0, -1.0, 1.0], [np.nan] * 3, [5e-324, 1e-310, 1e-300])
    assert np.isfinite(z).all() and abs(z[0]) > 37 and z[1] == -z[0] and z[2] == z[0]
