"""The elastic net against scikit-learn, R's glmnet and its own definition."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numba
import numpy as np
import pytest
from sklearn.linear_model import ElasticNet as Reference

from genopred.errors import ModelError
from genopred.genetics.moments import Centred, Moments, total
from genopred.learning import elasticnet
from genopred.learning.elasticnet import (
    ElasticNet,
    assign_folds,
    elastic_net_path,
    fold_sums,
    lambda_path,
    scaled_penalty,
)

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


# --- by sums -----------------------------------------------------------------------------------------------------


@numba.njit
def descend(z, r, b, penalty, lam, mix):
    """Plain coordinate descent on the residual, to the last digits."""
    p, n = z.shape
    for _ in range(100_000):
        biggest = 0.0
        for j in range(p):
            at = np.dot(z[j], r) / n + b[j] * np.dot(z[j], z[j]) / n
            cut = lam * mix * penalty[j]
            new = np.sign(at) * max(abs(at) - cut, 0.0) / (1.0 + lam * (1.0 - mix) * penalty[j])
            if new != b[j]:
                r -= z[j] * (new - b[j])
                biggest = max(biggest, (new - b[j]) ** 2)
                b[j] = new
        if biggest < 1e-24:
            return


class Naive:
    """One training set's path, in double precision and of plain loops."""

    def __init__(self, x, y, lambdas, penalty, mix):
        self.mean, self.scale = x.mean(axis=0), np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
        self.y_mean, sd = y.mean(), y.std()
        z, r = np.ascontiguousarray(((x - self.mean) / self.scale).T), (y - self.y_mean) / sd
        b = np.zeros(len(z))
        coefs = []
        for lam in lambdas / sd:
            descend(z, r, b, penalty, lam, mix)
            coefs.append(sd * b / self.scale)
        self.coef = np.array(coefs)

    def predict(self, x):
        return (x - self.mean) @ self.coef.T + self.y_mean


def naive_fit_oof(x, y, labels, factors, steps, mix=0.5):
    """The nested choice of the penalty by a double loop over folds, along `steps` of the path."""
    z = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    penalty = scaled_penalty(factors, x.shape[1])
    lambdas = (np.abs(z.T @ (y - y.mean())) / len(y) / penalty).max() / mix * np.logspace(0, -4, 100)[:steps]
    oof, names = np.empty(len(y)), np.unique(labels)
    for k in names:
        error = np.zeros(steps)
        for other in names:
            if other != k:
                fit, aside = (labels != k) & (labels != other), labels == other
                naive = Naive(x[fit], y[fit], lambdas, penalty, mix)
                error += ((y[aside, None] - naive.predict(x[aside])) ** 2).sum(axis=0)
        naive = Naive(x[labels != k], y[labels != k], lambdas, penalty, mix)
        oof[labels == k] = naive.predict(x[labels == k])[:, error.argmin()]
    error = np.zeros(steps)
    for k in names:
        naive = Naive(x[labels != k], y[labels != k], lambdas, penalty, mix)
        error += ((y[labels == k, None] - naive.predict(x[labels == k])) ** 2).sum(axis=0)
    step = int(error.argmin())
    r2 = 1 - error[step] / ((y - y.mean()) ** 2).sum()
    return oof, Naive(x, y, lambdas, penalty, mix).coef[step], lambdas[step], r2


def by_sums(model, x, y, labels):
    """`fit_sums`, and what its models predict of those whom they leave out."""
    oof = np.empty(len(y))
    parts = fold_sums(x, y, labels)
    for name, weights in zip(np.unique(labels), model.fit_sums(total(parts), parts)):
        oof[labels == name] = x[labels == name] @ weights.coef + weights.intercept
    return oof


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_are_a_naive_double_loop(seed, weighted):
    x, y = cohort(n=240, m=30, seed=seed, noise=2.0)
    factors = np.linspace(0.4, 1.6, 30) if weighted else None
    labels = assign_folds(240, 4, seed)
    model = ElasticNet(penalty_factors=factors)
    found = by_sums(model, x, y, labels)
    oof, coef, lam, r2 = naive_fit_oof(x.astype(np.float64), y, labels, factors, 60)
    assert model.lambda_ == pytest.approx(lam, rel=1e-9) and model.cv_r2_ == pytest.approx(r2, abs=1e-8)
    np.testing.assert_allclose(model.coef_, coef, atol=1e-7)
    assert model.intercept_ == pytest.approx(y.mean() - x.mean(axis=0) @ coef, abs=1e-6)
    np.testing.assert_allclose(found, oof, atol=1e-6)
    assert model.n_features_in_ == 30


@pytest.mark.parametrize("seed", range(4))
def test_sums_are_the_people_as_far_as_these_are_converged(seed):
    x, y = cohort(n=600, m=120, seed=seed, noise=2.0)
    labels = assign_folds(600, 5, seed)
    people, sums = ElasticNet(), ElasticNet()
    a, b = people.fit_oof(x, y, labels), by_sums(sums, x, y, labels)
    # a flat error curve may move by a step of the path
    assert sums.lambda_ == pytest.approx(people.lambda_, rel=0.2)
    assert sums.cv_r2_ == pytest.approx(people.cv_r2_, abs=2e-3)
    assert np.corrcoef(a, b)[0, 1] > 0.997
    assert np.corrcoef(people.predict(x), sums.predict(x))[0, 1] > 0.997


def test_people_converged_tightly_are_the_sums(monkeypatch):
    x, y = cohort(n=600, m=80, seed=1, noise=2.0)
    labels = assign_folds(600, 5, 1)
    people, sums = ElasticNet(), ElasticNet()
    monkeypatch.setattr(elasticnet, "TOLERANCE", 1e-11)
    a = people.fit_oof(x, y, labels)
    monkeypatch.undo()
    b = by_sums(sums, x, y, labels)
    assert sums.lambda_ == pytest.approx(people.lambda_, rel=1e-5)
    # what single precision leaves
    np.testing.assert_allclose(b, a, atol=2e-3 * a.std())


def test_many_people_are_fitted_by_their_sums(monkeypatch):
    x, y = cohort(n=1100, m=40, seed=3)
    labels = assign_folds(1100, 5, 2)
    model, again = ElasticNet(cv=5, random_state=2), ElasticNet()
    model.fit(x, y)
    oof = again.fit_oof(x, y, labels)
    monkeypatch.setattr(ElasticNet, "_singles", None)  # the people's route would call it
    other = ElasticNet()
    np.testing.assert_allclose(by_sums(other, x, y, labels), oof, atol=1e-9)
    for one in (model, again):
        np.testing.assert_allclose(one.coef_, other.coef_, atol=1e-9)
        assert (one.lambda_, one.cv_r2_) == (pytest.approx(other.lambda_), pytest.approx(other.cv_r2_))
    assert ElasticNet(cv=5, random_state=2).fit(x, y).coef_.tolist() == model.coef_.tolist()


def test_sums_of_few_people_go_by_the_people(monkeypatch):
    x, y = cohort()
    before = ElasticNet().fit(x, y).coef_
    monkeypatch.setattr(ElasticNet, "_sum_singles", None)
    assert ElasticNet().fit(x, y).coef_.tolist() == before.tolist()


def test_sums_without_signal_predict_the_mean():
    x, _ = cohort(n=300)
    labels = assign_folds(300, 4, 0)
    model = ElasticNet()
    np.testing.assert_allclose(by_sums(model, x, np.full(300, 3.1), labels), 3.1)
    assert (model.intercept_, model.lambda_, model.cv_r2_) == (pytest.approx(3.1), 0.0, 0.0)
    y = np.random.default_rng(0).standard_normal(300)
    oof = by_sums(model, np.ones_like(x), y, labels)
    assert not model.coef_.any()
    np.testing.assert_allclose(oof[labels == 2], y[labels != 2].mean())
    with pytest.raises(ModelError, match="sums of 2 folds; at least 3"):
        by_sums(model, x, y, labels % 2)
    with pytest.raises(ModelError, match="mix=2"):
        by_sums(ElasticNet(mix=2), x, y, labels)


def test_sums_in_parts_in_any_order_give_the_same_model():
    x, y = cohort(n=700, m=60, seed=6)
    labels = assign_folds(700, 5, 0)
    parts, names = fold_sums(x, y, labels), np.random.default_rng(1).permutation(700) % 7
    a, b = ElasticNet(), ElasticNet()
    first = a.fit_sums(total(parts), parts)
    second = b.fit_sums(total([Moments.of(x[names == k], y[names == k]) for k in (3, 0, 6, 5, 2, 4, 1)]), parts)
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-8)
    for one, other in zip(first, second):
        np.testing.assert_allclose(one.coef, other.coef, atol=1e-8)


def test_path_from_products():
    x, y = cohort(n=400, m=60, seed=2)
    sums = Moments.of(x, y).centred()
    lambdas, coef, intercepts = elastic_net_path(sums)
    assert lambdas.shape == (100,) and coef.shape == (100, 60)
    naive = Naive(x.astype(np.float64), y, lambdas[:60], np.ones(60), 0.5)
    np.testing.assert_allclose(coef[:60], naive.coef, atol=1e-6)
    np.testing.assert_allclose(x @ coef[30] + intercepts[30], naive.predict(x)[:, 30], atol=1e-6)
    # in the order asked for; to glmnet's tolerance where that is enough
    given, some, _ = elastic_net_path(sums, lambdas[[40, 10]])
    np.testing.assert_allclose(some, coef[[40, 10]], atol=1e-8)
    assert given.tolist() == lambdas[[40, 10]].tolist()
    loose = elastic_net_path(sums, exact=False)[1]
    assert 0 < np.abs(x @ (loose[40] - coef[40])).max() < 0.05 * (x @ coef[40]).std()
    assert not elastic_net_path(Moments.of(x, np.full(400, 2.0)).centred())[1].any()
    for wrong in ([0.1, 0.0], [np.nan], []):
        with pytest.raises(ModelError, match="above 0"):
            elastic_net_path(sums, wrong)
    with pytest.raises(ModelError, match="penalty_factors must be 60"):
        elastic_net_path(sums, penalty_factors=[1.0])


def test_ld_of_no_people_is_refused():
    gram = np.array([[1.0, 3.0], [3.0, 1.0]]) * 100
    with pytest.raises(ModelError, match="grow without bound"):
        elastic_net_path(Centred(100, np.ones(2), gram, 0.0, np.array([50.0, -50.0]), 100.0), [0.01])


GLMNET_SUMS = """
library(glmnet); a <- commandArgs(TRUE); options(digits=15)
x <- as.matrix(read.csv(a[1], header=FALSE)); y <- scan(a[2], quiet=TRUE); f <- scan(a[3], quiet=TRUE) + 1
v <- scan(a[4], quiet=TRUE)
m <- cv.glmnet(x, y, alpha=0.5, foldid=f, thresh=1e-14, maxit=1e7, penalty.factor=v)
cat(m$lambda.min, as.numeric(coef(m, s="lambda.min")), sep="\n")
"""


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="Rscript is not installed")
def test_sums_are_glmnets(tmp_path):
    if subprocess.run(["Rscript", "-e", "library(glmnet)"], capture_output=True).returncode:
        pytest.skip("R has no glmnet")
    x, y = cohort(n=300, m=60, seed=4, noise=2.0)
    folds, factors = assign_folds(300, 5, 4), np.linspace(0.5, 1.5, 60)
    for name, values in (("x.csv", x), ("y.txt", y), ("f.txt", folds), ("v.txt", factors)):
        np.savetxt(tmp_path / name, values, delimiter=",", fmt="%.17g")
    (tmp_path / "g.R").write_text(GLMNET_SUMS)
    command = ["Rscript", "g.R", "x.csv", "y.txt", "f.txt", "v.txt"]
    out = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()
    model = ElasticNet(penalty_factors=factors)
    by_sums(model, x, y, folds)
    assert model.lambda_ == pytest.approx(float(out[0]), rel=1e-6)
    np.testing.assert_allclose(model.coef_, np.array(out[2:], float), atol=1e-5)
    assert model.intercept_ == pytest.approx(float(out[1]), abs=1e-4)
