"""The elastic net against scikit-learn, R's glmnet and its own definition."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet as Reference

from genopred.errors import ModelError
from genopred.learning.elasticnet import ElasticNet, assign_folds, lambda_path, scaled_penalty

GOLDEN = Path(__file__).parent / "golden" / "glmnet_cv.json"


def cohort(n=150, m=60, seed=0, effects=4, noise=1.0):
    """Correlated dosages (a copying process, so that neighbours are in LD) and a phenotype."""
    rng = np.random.default_rng(seed)
    ancestors = rng.integers(0, 2, (8, m))
    source = np.cumsum(rng.random((2 * n, m)) < 0.05, axis=1) + rng.integers(0, 8, (2 * n, 1))
    haplotypes = ancestors[source % 8, np.arange(m)]
    x = (haplotypes[:n] + haplotypes[n:]).astype(np.float32)
    beta = np.zeros(m)
    beta[rng.choice(m, effects, replace=False)] = rng.normal(size=effects)
    return x, x @ beta + noise * rng.standard_normal(n)


@pytest.mark.parametrize("mix", [0.5, 1.0, 0.1])
def test_coefficients_are_scikit_learns(mix):
    x, y = cohort()
    model = ElasticNet(mix=mix).fit(x, y)
    varies = x.std(axis=0) > 0
    z = (x[:, varies] - x[:, varies].mean(axis=0)) / x[:, varies].std(axis=0)
    sd = y.std()  # glmnet standardises the phenotype, which matters for the quadratic part of the penalty
    reference = Reference(alpha=model.lambda_ / sd, l1_ratio=mix, tol=1e-7, max_iter=100_000).fit(z, y / sd)
    reference.coef_ *= sd
    ours = model.coef_[varies] * x[:, varies].std(axis=0)
    assert np.abs(ours - reference.coef_).max() < 2e-3 * np.abs(reference.coef_).max()
    assert np.corrcoef(model.predict(x), reference.predict(z))[0, 1] > 0.99999


def test_penalty_factors_are_a_rescaling_of_columns():
    """v_j |b_j| with a pure lasso is the lasso on columns divided by v_j."""
    x, y = cohort(seed=3)
    x = x[:, x.std(axis=0) > 0]
    factors = scaled_penalty(np.linspace(0.5, 2.0, x.shape[1]), x.shape[1])
    model = ElasticNet(mix=1.0, penalty_factors=factors).fit(x, y)
    z = (x - x.mean(axis=0)) / x.std(axis=0) / factors
    reference = Reference(alpha=model.lambda_, l1_ratio=1.0, tol=1e-7, max_iter=100_000).fit(z, y)
    assert np.corrcoef(model.predict(x), reference.predict(z))[0, 1] > 0.99999


def test_screening_is_exact_with_more_variants_than_people():
    x, y = cohort(n=60, m=400, seed=5, effects=8)
    model = ElasticNet(cv=5).fit(x, y)
    residual = y - model.predict(x)
    varies = x.std(axis=0) > 0
    z = (x[:, varies] - x[:, varies].mean(axis=0)) / x[:, varies].std(axis=0)
    b = model.coef_[varies] * x[:, varies].std(axis=0)
    gradient = z.T @ residual / len(y) - model.lambda_ * 0.5 * b / y.std()
    # the optimality conditions of the penalised problem, for every variant
    slack = 2e-3 * y.std()
    assert np.all(np.abs(gradient[b == 0]) <= model.lambda_ * 0.5 + slack)
    assert np.allclose(gradient[b != 0], model.lambda_ * 0.5 * np.sign(b[b != 0]), atol=slack)


def test_lambda_path_starts_where_the_first_variant_enters():
    x, y = cohort(seed=1)
    x = x[:, x.std(axis=0) > 0]
    z = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    r = (y - y.mean()).astype(np.float32)
    path = lambda_path(np.ascontiguousarray(z.T), r, np.ones(x.shape[1]), 0.5)
    assert len(path) == 100
    assert path[0] == pytest.approx(np.abs(z.T @ r).max() / len(y) / 0.5, rel=1e-5)
    assert path[-1] == pytest.approx(path[0] * 1e-4)


def test_flipping_the_counted_allele_negates_the_weight():
    x, y = cohort(seed=2)
    flipped = x.copy()
    flipped[:, 7] = 2 - x[:, 7]
    a, b = ElasticNet().fit(x, y), ElasticNet().fit(flipped, y)
    assert b.coef_[7] == pytest.approx(-a.coef_[7], abs=2e-4)
    assert np.allclose(a.predict(x), b.predict(flipped), atol=2e-3)


def test_no_signal_and_constant_inputs_predict_the_mean():
    x, _ = cohort()
    y = np.full(len(x), 3.0)
    assert np.allclose(ElasticNet().fit(x, y).predict(x), 3.0)
    y = np.random.default_rng(0).standard_normal(len(x))
    constant = np.ones_like(x)
    model = ElasticNet().fit(constant, y)
    assert np.allclose(model.predict(constant), y.mean())
    assert np.allclose(model.fit_oof(constant, y, assign_folds(len(y), 5, 0)), y.mean(), atol=0.3)


def test_out_of_fold_predictions_are_nested():
    """Fold k's predictions come from a lambda and a model that never saw fold k: a naive double loop agrees."""
    x, y = cohort(n=90, m=40, seed=8)
    folds = assign_folds(90, 4, 1)
    oof = ElasticNet().fit_oof(x, y, folds)
    for k in range(4):
        changed = y.copy()
        changed[folds == k] = -1.7 * y[folds == k] + 0.3
        other = ElasticNet().fit_oof(x, changed, folds)
        # only the grid of lambdas is shared, so predictions move by no more than a step on it
        assert np.corrcoef(oof[folds == k], other[folds == k])[0, 1] > 0.97
        outside = folds != k
        naive = Reference(alpha=1.0)
        errors, grid = [], np.logspace(0, -2, 60) * 2 * np.abs((x - x.mean(0)).T @ (y - y.mean()) / 90 / x.std(0)).max()
        for lam in grid:
            total = 0.0
            for j in range(4):
                if j != k:
                    fit, held = outside & (folds != j), folds == j
                    mean, sd = x[fit].mean(axis=0), x[fit].std(axis=0)
                    naive = Reference(alpha=lam, l1_ratio=0.5).fit((x[fit] - mean) / sd, y[fit])
                    total += ((y[held] - naive.predict((x[held] - mean) / sd)) ** 2).sum()
            errors.append(total)
        mean, sd = x[outside].mean(axis=0), x[outside].std(axis=0)
        naive = Reference(alpha=grid[int(np.argmin(errors))], l1_ratio=0.5).fit((x[outside] - mean) / sd, y[outside])
        assert np.corrcoef(oof[folds == k], naive.predict((x[folds == k] - mean) / sd))[0, 1] > 0.97


def test_bad_arguments_are_named():
    x, y = cohort()
    with pytest.raises(ModelError, match="penalty_factors must be 60 numbers"):
        ElasticNet(penalty_factors=np.ones(3)).fit(x, y)
    with pytest.raises(ModelError, match="mix=0"):
        ElasticNet(mix=0.0).fit(x, y)
    with pytest.raises(ModelError, match="150 people cannot be split into 200 folds"):
        ElasticNet(cv=200).fit(x, y)
    x[3, 3] = np.nan
    with pytest.raises(ModelError, match="missing values"):
        ElasticNet().fit(x, y)


GLMNET = """
library(glmnet); a <- commandArgs(TRUE)
x <- as.matrix(read.csv(a[1], header=FALSE)); y <- scan(a[2], quiet=TRUE); f <- scan(a[3], quiet=TRUE) + 1
m <- cv.glmnet(x, y, alpha=0.5, foldid=f, thresh=1e-10)
cat(m$lambda.min, as.numeric(predict(m, x, s="lambda.min")), sep="\\n")
"""


def run_glmnet(folder, x, y, folds):
    np.savetxt(folder / "x.csv", x, delimiter=",")
    np.savetxt(folder / "y.txt", y)
    np.savetxt(folder / "f.txt", folds, fmt="%d")
    (folder / "g.R").write_text(GLMNET)
    command = ["Rscript", "g.R", "x.csv", "y.txt", "f.txt"]
    out = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    return [float(line) for line in out.split()]


def check_glmnet(answer, x, y):
    model = ElasticNet(cv=10, random_state=4).fit(x, y)
    assert model.lambda_ == pytest.approx(answer[0], rel=0.05)  # at most one step of the path
    # the error curve is flat at its minimum, so rounding may move the choice by that one step
    assert np.corrcoef(model.predict(x), answer[1:])[0, 1] > 0.999


def test_cross_validated_fit_is_glmnets_by_golden():
    """The golden was made by `run_glmnet` below with R's glmnet; see the file for versions."""
    x, y = cohort(n=150, m=200, seed=11)
    check_glmnet(json.loads(GOLDEN.read_text())["answer"], x, y)


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="Rscript is not installed")
def test_cross_validated_fit_is_glmnets(tmp_path):
    probe = subprocess.run(["Rscript", "-e", "library(glmnet)"], capture_output=True)
    if probe.returncode:
        pytest.skip("R has no glmnet")
    x, y = cohort(n=150, m=200, seed=11)
    check_glmnet(run_glmnet(tmp_path, x, y, assign_folds(150, 10, 4)), x, y)


def test_columns_that_hardly_vary_beside_their_mean_are_standardised_all_the_same():
    """Sequence features vary by a ten-thousandth of their mean, and are nearly copies of each other."""
    rng = np.random.default_rng(3)
    signal = rng.integers(0, 11, 300) / 10
    small = np.column_stack([12.7 + 1e-3 * signal * (1 + j / 10) for j in range(9)]).astype(np.float32)
    y = signal + rng.standard_normal(300)
    folds = assign_folds(300, 5, 1)
    plain = (small.astype(np.float64) - small.astype(np.float64).mean(axis=0)) * 1e3
    for x in (small, small / 1000):
        found, expected = ElasticNet().fit_oof(x, y, folds), ElasticNet().fit_oof(plain, y, folds)
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_rounding_of_a_constant_is_no_variation():
    x = np.full((100, 2), 12.7, dtype=np.float32)
    x[::3, 0] = np.nextafter(np.float32(12.7), np.float32(13))
    y = np.random.default_rng(1).standard_normal(100)
    np.testing.assert_allclose(ElasticNet().fit(x, y).predict(x), y.mean())
