"""Learners of weights by correlations alone: against naive solutions, and on known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import t as student
from sklearn.linear_model import Lasso
from sumstats_data import people, t_of

from genopred.errors import GenopredError
from genopred.genetics.shrinkage import (
    SHRINKAGES,
    continuous_shrinkage,
    lassosum,
    ridge_weights,
    shrinkage_candidates,
    threshold_weights,
)
from genopred.genetics.sumstats import Reference, Spectrum, marginal_correlation, panel_shrinkage, shrunk


def study(n=400, m=60, seed=0):
    """r, reference and standardised dosages of people with two effects."""
    x = people(n, m, seed)
    rng = np.random.default_rng(1000 + seed)
    y = 0.8 * x[:, m // 5] - 0.6 * x[:, 3 * m // 4] + rng.standard_normal(n)
    reference = Reference.of_people(x)
    return (
        marginal_correlation(t_of(x, y), n),
        reference,
        (x - x.mean(axis=0)) / x.std(axis=0),
        (y - y.mean()) / y.std(),
    )


def test_thresholds_against_a_loop():
    r, reference, _, _ = study()
    pos = np.arange(60) * 30_000
    made = threshold_weights(r, reference.correlation, 400, pos, (1.0, 1e-3, 1e-6), (0.1, 0.5), kb=250.0)
    t = np.abs(r) * np.sqrt(398 / (1 - r**2))
    p = 2 * student.sf(t, 398)
    rows = []
    for limit in (0.1, 0.5):
        leads, gone = [], set()
        for j in np.argsort(-np.abs(r)).tolist():
            if j not in gone:
                leads.append(j)
                near = np.abs(pos - pos[j]) < 250_000
                gone |= set(np.flatnonzero(near & (reference.correlation[j] ** 2 >= limit)).tolist())
        for cut in (1.0, 1e-3, 1e-6):
            rows.append([r[j] if j in leads and p[j] <= cut else 0.0 for j in range(60)])
    np.testing.assert_allclose(made.weights, rows)
    assert made.labels[1] == "r2 0.1, p 0.001"


def test_lassosum_is_the_lasso_on_people():
    """(1 - s) R + s I is X'X / n of standardised people with sqrt(s) I below them."""
    r, reference, x, y = study()
    made = lassosum(r, reference.correlation)
    for s in SHRINKAGES:
        wide = np.vstack([np.sqrt(1 - s) * x, np.sqrt(s * len(x)) * np.eye(60)])
        # the outcome that makes X'y / n equal to r
        target = np.linalg.lstsq(wide.T, len(x) * r, rcond=None)[0]
        for label, weights in zip(made.labels, made.weights):
            if not label.startswith(f"s {s:g},"):
                continue
            lam = float(label.split()[-1])
            alpha = lam * len(x) / len(wide)
            b = Lasso(alpha, fit_intercept=False, tol=1e-10, max_iter=100_000).fit(wide, target).coef_
            np.testing.assert_allclose(weights, b, atol=5e-3 * np.abs(r).max())


def test_lassosum_without_ld_is_soft_thresholding_and_nothing_explains_more_than_all():
    r, reference, _, _ = study()
    made = lassosum(r, reference.correlation, (1.0,))
    for label, weights in zip(made.labels[1:], made.weights[1:]):
        lam = float(label.split()[-1])
        np.testing.assert_allclose(weights, np.sign(r) * np.maximum(np.abs(r) - lam, 0), atol=5e-3 * np.abs(r).max())
    other = Reference.of_people(people(30, 60, 77))  # so few people that LD does not fit
    for s in SHRINKAGES:
        for weights in lassosum(r, other.correlation, (s,)).weights:
            assert 2 * weights @ r - weights @ shrunk(other.correlation, s) @ weights < 1 + 1e-6
    assert lassosum(np.zeros(60), reference.correlation).labels == ("none",)


@pytest.mark.parametrize("n", [30, 300])
def test_ridge_solves_its_equations(n):
    reference = Reference.of_people(people(n, 60, 3))
    r = np.random.default_rng(0).standard_normal(60) / 20
    made = ridge_weights(r, reference.spectrum(), 500, 0.1, (0.05, 0.4))
    for h2, weights in zip((0.05, 0.4), made.weights):
        full = shrunk(reference.correlation, 0.1) + 60 / (500 * h2) * np.eye(60)
        np.testing.assert_allclose(full @ weights, r, atol=1e-10)


def test_continuous_shrinkage_finds_the_mean_of_its_posterior():
    """Of one variant: by numerical integration over psi and delta."""
    n, r, phi = 200, 0.3, 0.05
    how = {"iterations": 6000, "burn_in": 200}
    found = np.mean([continuous_shrinkage([r], Spectrum.of(np.eye(1)), n, 0.0, phi, seed=s, **how) for s in range(3)])
    psi = np.exp(np.linspace(-18, np.log(n), 4000))
    # psi ~ Gamma(1, delta), delta ~ Gamma(1/2, phi): density proportional to (psi + phi)^(-3/2)
    prior = (psi + phi) ** -1.5 * psi
    likely = (1 + psi) ** -0.5 * np.exp(0.5 * n * r**2 * psi / (1 + psi))
    expected = r * (prior * likely * psi / (1 + psi)).sum() / (prior * likely).sum()
    assert found == pytest.approx(expected, abs=0.01)


def test_two_seeds_agree_and_planted_effects_are_recovered_as_well_as_by_a_ridge_that_knows_the_truth():
    near, corr, ridge = [], [], []
    for seed in range(4):
        x = people(500, 120, 50 + seed)
        rng = np.random.default_rng(seed)
        beta = np.zeros(120)
        beta[rng.choice(120, 4, replace=False)] = rng.standard_normal(4)
        score = x @ beta
        score /= score.std()
        y = np.sqrt(0.2) * score + np.sqrt(0.8) * rng.standard_normal(500)
        new = people(2000, 120, 500 + seed)
        panel = Reference.of_people(people(400, 120, 900 + seed))
        r, s = marginal_correlation(t_of(x, y), 500), panel_shrinkage(panel.correlation, 400)
        one, two = (shrinkage_candidates(r, panel, 500, s, (1e-2,), seed=k).weights[0] for k in (1, 2))
        known = ridge_weights(r, panel.spectrum(), 500, s, (0.2,)).weights[0]
        a, b, c = (new @ (w / panel.scale) for w in (one, two, known))
        near.append(np.corrcoef(a, b)[0, 1])
        corr.append(np.corrcoef(a, new @ beta)[0, 1])
        ridge.append(np.corrcoef(c, new @ beta)[0, 1])
    assert np.mean(near) > 0.97
    assert np.mean(corr) > np.mean(ridge) and np.mean(corr) > 0.7


def test_the_same_seed_is_the_same_and_nothing_gives_nothing():
    r, reference, _, _ = study()
    one, two = (shrinkage_candidates(r, reference, 400, 0.1, (1e-3,), seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.weights, two.weights)
    assert not continuous_shrinkage(np.zeros(60), reference.spectrum(), 400, 0.1).any()
    assert np.isfinite(continuous_shrinkage(r, reference.spectrum(), 400, 0.1, None, iterations=60, burn_in=20)).all()
    with pytest.raises(GenopredError, match="10 draws, 10 before they count"):
        continuous_shrinkage(r, reference.spectrum(), 400, 0.1, iterations=10, burn_in=10)


def test_weights_follow_the_counted_allele():
    r, reference, _, _ = study()
    flip = np.random.default_rng(0).random(60) < 0.5
    sign = np.where(flip, -1.0, 1.0)
    turned = Reference(reference.n, reference.mean, reference.scale, reference.correlation * np.outer(sign, sign))
    for make in (
        lambda a, b: lassosum(a, b.correlation).weights,
        lambda a, b: threshold_weights(a, b.correlation, 400, np.arange(60)).weights,
        lambda a, b: ridge_weights(a, b.spectrum(), 400, 0.1).weights,
    ):
        np.testing.assert_allclose(make(r, reference) * sign, make(r * sign, turned), atol=1e-8)


def test_the_lasso_of_the_tests_is_a_minimum():
    """That the weights are where the objective of lassosum is smallest, by an optimiser that knows nothing of it."""
    r, reference, _, _ = study(m=8)
    made = lassosum(r, reference.correlation, (0.5,))
    lam, weights = float(made.labels[8].split()[-1]), made.weights[8]
    a = shrunk(reference.correlation, 0.5)

    def loss(b):
        return 0.5 * b @ a @ b - r @ b + lam * np.abs(b).sum()

    best = minimize(loss, weights, method="Powell", options={"xtol": 1e-8, "ftol": 1e-12}).fun
    assert loss(weights) <= best + 1e-5 * np.abs(r).max()
