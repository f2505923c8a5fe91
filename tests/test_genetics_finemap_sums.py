"""SuSiE by sums against that of the people and R's susieR, and with LD of other people."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from genopred.errors import GenopredError
from genopred.genetics.finemap import credible_sets, susie
from genopred.genetics.finemap_sums import credible_sets_sums, susie_sums
from genopred.genetics.moments import Centred, Moments

SUSIE_R = """
suppressMessages(library(susieR))
path <- commandArgs(TRUE)
options(digits = 15)
scalars <- scan(path[4], quiet = TRUE)
f <- susie_suff_stat(XtX = as.matrix(read.table(path[1])), Xty = scan(path[2], quiet = TRUE), yty = scalars[2],
                     n = scalars[1], L = 6, tol = 1e-6, max_iter = 1000, prior_weights = scan(path[3], quiet = TRUE),
                     estimate_residual_variance = scalars[3] > 0)
cat(f$pip, "\\n", f$sigma2, "\\n", coef(f)[-1], "\\n", f$elbo[length(f$elbo)], "\\n")
"""


def locus(seed, n=600, m=120, effects=3, share=0.3):
    """Mosaics of few ancestors, so that neighbours are in strong LD; one variant does not vary."""
    rng = np.random.default_rng(seed)
    ancestors = rng.integers(0, 2, (12, m))
    ancestors[0], ancestors[1] = 0, 1  # all of them vary
    source = np.cumsum(rng.random((2 * n, m)) < 0.03, axis=1) + rng.integers(0, 12, (2 * n, 1))
    haplotypes = ancestors[source % 12, np.arange(m)]
    x = (haplotypes[:n] + haplotypes[n:]).astype(np.float64)
    x[:, 20] = 1.0
    causal = rng.choice(np.setdiff1d(np.arange(m), [20]), effects, replace=False)
    signal = x[:, causal] @ np.array([1.0, -1.0, 0.8])[:effects]
    noise = rng.standard_normal(n) * signal.std() * np.sqrt((1 - share) / share)
    return x, 5.0 + signal + noise, causal


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weighted", [False, True])
def test_is_the_fit_of_the_people(seed, weighted):
    x, y, _ = locus(seed)
    prior = np.exp(-np.abs(np.arange(x.shape[1]) - 40) / 20) + 0.02 if weighted else None
    a, b = susie(x, y, 6, prior, tol=1e-5), susie_sums(Moments.of(x, y).centred(), 6, prior, tol=1e-5)
    assert len(a.elbo) == len(b.elbo) and b.converged
    assert (a.prior_variance > 0).sum() >= 2
    for name in ("alpha", "mu", "mu2", "coef", "intercept", "pip", "prior_variance", "sigma2", "elbo"):
        np.testing.assert_allclose(getattr(b, name), getattr(a, name), rtol=1e-7, atol=1e-7, err_msg=name)
    assert b.pip[20] == 0.0 and b.coef[20] == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_credible_sets_are_those_of_the_people(seed):
    x, y, _ = locus(seed)
    sums = Moments.of(x, y).centred()
    a, b = credible_sets(susie(x, y, 6), x), credible_sets_sums(susie_sums(sums, 6), sums)
    assert len(a) >= 1
    assert [(one.effect, set(one.variants.tolist())) for one in a] == [
        (one.effect, set(one.variants.tolist())) for one in b
    ]
    for name in ("coverage", "min_abs_corr", "mean_abs_corr"):
        np.testing.assert_allclose([getattr(one, name) for one in b], [getattr(one, name) for one in a], atol=1e-7)
    assert len(credible_sets_sums(susie_sums(sums, 6), sums, min_abs_corr=0.0)) >= len(b)


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="Rscript is not installed")
@pytest.mark.parametrize("estimate", [True, False])
def test_is_susiers_on_sums(tmp_path, estimate):
    if subprocess.run(["Rscript", "-e", "library(susieR)"], capture_output=True).returncode:
        pytest.skip("R has no susieR")
    x, y, _ = locus(7)
    x = np.delete(x, 20, axis=1)
    prior = np.exp(-np.abs(np.arange(x.shape[1]) - 40) / 20) + 0.02
    sums = Moments.of(x, y).centred()
    scalars = [sums.n, sums.square, float(estimate)]
    for name, values in (("g", sums.gram), ("c", sums.cross), ("p", prior / prior.sum()), ("s", scalars)):
        np.savetxt(tmp_path / name, values, fmt="%.17g")
    (tmp_path / "run.R").write_text(SUSIE_R)
    command = ["Rscript", *(str(tmp_path / name) for name in ("run.R", "g", "c", "p", "s"))]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    fit = susie_sums(sums, 6, prior, tol=1e-6, max_iter=1000, estimate_residual_variance=estimate)
    np.testing.assert_allclose(fit.pip, np.array(out[0].split(), float), atol=1e-4)
    assert fit.sigma2 == pytest.approx(float(out[1]), rel=1e-4)
    np.testing.assert_allclose(fit.coef, np.array(out[2].split(), float), atol=1e-4 * np.abs(fit.coef).max())
    assert fit.elbo[-1] == pytest.approx(float(out[3]), abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("panel", "far", "least"), [(60, 20, 0.2), (500, 4, 0.4)])
def test_ld_of_other_people_does_not_diverge(seed, panel, far, least):
    """Marginal effects of many people, LD of a few others: what summary statistics come with."""
    x, y, _ = locus(seed, n=4000)
    train, reference, test = slice(0, 3000), slice(3000, 3000 + panel), slice(3500, 4000)
    own = Moments.of(x[train], y[train]).centred()
    z = (x[reference] - x[reference].mean(axis=0)) / np.maximum(x[reference].std(axis=0), 1e-9)
    spread = own.scale() * np.sqrt(own.n)
    mixed = Centred(own.n, own.mean, z.T @ z / panel * np.outer(spread, spread), own.y_mean, own.cross, own.square)
    fit = susie_sums(mixed, estimate_residual_variance=False)
    assert np.isfinite(fit.elbo).all() and fit.sigma2 == pytest.approx(own.square / (own.n - 1))
    predicted = x[test] @ fit.coef
    assert fit.converged and np.abs(predicted - predicted.mean()).max() < far * y.std()
    assert np.corrcoef(predicted, y[test])[0, 1] > least
    free = susie_sums(mixed)
    assert np.isfinite(free.elbo).all() and free.sigma2 >= 1e-4 * own.square / (own.n - 1)
    assert np.abs(x[test] @ free.coef - (x[test] @ free.coef).mean()).max() < far * y.std()


def test_an_outcome_without_noise_or_without_variation():
    x, _, _ = locus(2)
    fit = susie_sums(Moments.of(x, 2.0 * x[:, 4]).centred())
    # of variants that are the same one, either will do
    assert np.corrcoef(x @ fit.coef, x[:, 4])[0, 1] > 0.999
    nothing = susie_sums(Moments.of(x, np.zeros(len(x))).centred())
    assert not nothing.coef.any() and nothing.converged and nothing.intercept == 0.0
    constant = susie_sums(Moments.of(np.ones((50, 3)), np.arange(50.0)).centred())
    assert not constant.coef.any() and constant.intercept == pytest.approx(24.5)


def test_sums_that_do_not_fit_are_refused():
    x, y, _ = locus(1, n=100)
    sums = Moments.of(x, y).centred()
    with pytest.raises(GenopredError, match="prior_weights must be 120"):
        susie_sums(sums, prior_weights=[1.0])
    with pytest.raises(GenopredError, match="at least 2 people"):
        susie_sums(Centred(sums.n, sums.mean, sums.gram[:5, :5], sums.y_mean, sums.cross, sums.square))
    with pytest.raises(GenopredError, match="NaN"):
        susie_sums(Centred(sums.n, sums.mean, sums.gram, sums.y_mean, sums.cross * np.nan, sums.square))
    fit = susie_sums(sums)
    with pytest.raises(GenopredError, match="between 0 and 1"):
        credible_sets_sums(fit, sums, coverage=95)
    with pytest.raises(GenopredError, match="the fit has 120"):
        credible_sets_sums(fit, Moments.of(x[:, :5], y).centred())
