"""Summary statistics and LD as sums; flipped alleles; people in two studies. Against R's susieR, and on known truth."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache

import numpy as np
import pytest
from scipy.optimize import minimize
from sumstats_data import people, t_of

from genopred.errors import GenopredError
from genopred.genetics.moments import Moments
from genopred.genetics.sumstats import (
    Overlap,
    Reference,
    Spectrum,
    alleles_by_frequency,
    as_sums,
    find_flips,
    inconsistency,
    kriging,
    marginal_correlation,
    mixture_weights,
    overlap,
    panel_shrinkage,
    shared_noise,
    shrunk,
)

# --- LD --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [30, 300])
def test_reference_is_numpys_of_people_and_of_sums(n):
    x = people(n, 60, 0)
    x[:, 7] = 1.0
    for made in (Reference.of_people(x), Reference.of(Moments.of(x, np.zeros(n)))):
        varies = x.std(axis=0) > 0
        np.testing.assert_allclose(made.mean, x.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(made.scale, x.std(axis=0), atol=1e-9)
        got = made.correlation[np.ix_(varies, varies)]
        np.testing.assert_allclose(got, np.corrcoef(x[:, varies].T), atol=1e-9)
        assert (made.correlation[7, varies] == 0).all() and made.correlation[7, 7] == 1
        part = made.select([3, 9, 4])
        np.testing.assert_array_equal(part.correlation, made.correlation[np.ix_([3, 9, 4], [3, 9, 4])])


@pytest.mark.parametrize("n", [30, 300])
def test_missing_dosages_count_as_the_mean(n):
    x = people(n, 40, 1)
    x[np.random.default_rng(0).random(x.shape) < 0.1] = np.nan
    filled = np.where(np.isnan(x), np.nanmean(x, axis=0), x)
    for made in (Reference.of_people(x), Reference.of(Moments.of(x, np.zeros(n)))):
        np.testing.assert_allclose(made.correlation, Reference.of_people(filled).correlation, atol=1e-9)


def test_the_spectrum_of_few_people_is_that_of_their_correlations():
    reference = Reference.of_people(people(25, 60, 2))
    few, whole = reference.spectrum(), Spectrum.of(reference.correlation)
    assert few.vectors.shape == whole.vectors.shape and few.m == 60
    np.testing.assert_allclose(few.values, whole.values, rtol=1e-8)
    np.testing.assert_allclose((few.vectors * few.values) @ few.vectors.T, reference.correlation, atol=1e-10)


def test_panel_shrinkage_falls_with_people_and_brings_panels_nearer_to_the_truth():
    truth = np.corrcoef(people(20_000, 40, 3).T)
    shares = []
    for n in (40, 160, 640):
        gains = []
        for seed in range(4):
            r = Reference.of_people(people(n, 40, 10 + seed)).correlation
            s = panel_shrinkage(r, n)
            gains.append(((r - truth) ** 2).sum() - ((shrunk(r, s) - truth) ** 2).sum())
        assert np.mean(gains) > 0
        shares.append(s)
    assert shares == sorted(shares, reverse=True) and 0 < shares[-1] < 0.05


# --- sums ------------------------------------------------------------------------------------------------------------


def test_sums_from_t_and_own_ld_are_the_peoples_own():
    x = people(200, 30, 4)
    y = x[:, 3] - x[:, 20] + np.random.default_rng(0).standard_normal(200)
    y = (y - y.mean()) / y.std()
    made, own = as_sums(t_of(x, y), 200, Reference.of_people(x), 0.0), Moments.of(x, y).centred()
    for name in ("mean", "gram", "cross", "square", "n"):
        np.testing.assert_allclose(getattr(made, name), getattr(own, name), rtol=1e-9, atol=1e-8)
    drawn = as_sums(t_of(x, y), 200, Reference.of_people(x), 0.3)
    off = ~np.eye(30, dtype=bool)
    np.testing.assert_allclose(drawn.gram[off], 0.7 * own.gram[off], atol=1e-9)
    np.testing.assert_allclose(np.diag(drawn.gram), np.diag(own.gram))


def test_a_study_of_nobody_is_refused():
    with pytest.raises(GenopredError, match="--sumstats-n"):
        marginal_correlation([1.0], 2)


def test_frequencies_tell_strands_apart():
    assert alleles_by_frequency([0.05, 0.95, 0.4, 0.5], [0.1, 0.1, 0.45, 0.5]).tolist() == [1, -1, 0, 0]


# --- kriging ---------------------------------------------------------------------------------------------------------


@cache
def susier():
    """What keeps susieR from being asked; empty if nothing does."""
    if shutil.which("Rscript") is None:
        return "Rscript is not installed"
    found = subprocess.run(["Rscript", "-e", "library(susieR)"], capture_output=True)
    return "" if found.returncode == 0 else "R's susieR is not installed"


@pytest.mark.parametrize(("n", "m"), [(400, 60), (80, 120)])
def test_kriging_is_susiers(tmp_path, n, m):
    if susier():
        pytest.skip(susier())
    x = people(n, m, 5)
    reference = Reference.of_people(x)
    rng = np.random.default_rng(3)
    noise = Reference.of_people(people(500, m, 6)).correlation
    z = rng.multivariate_normal(np.zeros(m), noise) + 12 * noise[10]
    z[[13, 40]] *= -1
    np.savetxt(tmp_path / "r.txt", reference.correlation, fmt="%.17g")
    np.savetxt(tmp_path / "z.txt", z, fmt="%.17g")
    code = f"""
    suppressMessages(library(susieR))
    R <- as.matrix(read.table("{tmp_path}/r.txt")); R <- (R + t(R)) / 2; z <- scan("{tmp_path}/z.txt", quiet = TRUE)
    cat(format(estimate_s_rss(z, R, 500), digits = 12), "\n")
    write.table(format(as.matrix(kriging_rss(z, R, 500)$conditional_dist), digits = 12), row.names = FALSE,
                col.names = FALSE, quote = FALSE)"""
    lines = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=True).stdout.splitlines()
    mine = kriging(z, reference.spectrum(), 500)
    assert mine.s == pytest.approx(float(lines[0]), abs=1e-4)
    theirs = np.array([[float(cell) for cell in line.split()] for line in lines[1:]])
    columns = (mine.z, mine.expected, mine.variance, mine.distance, mine.log_ratio)
    np.testing.assert_allclose(np.column_stack(columns), theirs, atol=1e-4)


def test_what_is_expected_is_what_a_normal_distribution_expects():
    r = Reference.of_people(people(400, 12, 7)).correlation
    z, s = np.random.default_rng(0).standard_normal(12), 0.2
    covariance = shrunk(r, s)
    found = kriging(z, Spectrum.of(r), 1e12, s=s)
    for i in range(12):
        rest = np.delete(np.arange(12), i)
        solved = np.linalg.solve(covariance[np.ix_(rest, rest)], covariance[rest, i])
        assert found.expected[i] == pytest.approx(solved @ z[rest], abs=1e-6)
        assert found.variance[i] == pytest.approx(1 - solved @ covariance[rest, i], abs=1e-6)


def test_inconsistency_is_that_which_z_were_drawn_with():
    spectrum = Spectrum.of(Reference.of_people(people(2000, 200, 8)).correlation)
    r = (spectrum.vectors * spectrum.values) @ spectrum.vectors.T
    for s in (0.05, 0.3):
        found = [
            inconsistency(np.random.default_rng(seed).multivariate_normal(np.zeros(200), shrunk(r, s)), spectrum)
            for seed in range(6)
        ]
        assert np.mean(found) == pytest.approx(s, abs=0.08)


def test_mixture_weights_are_the_most_likely_ones():
    rng = np.random.default_rng(0)
    density = np.exp(-0.5 * (rng.standard_normal((300, 1)) / np.array([0.5, 1.0, 2.0, 4.0])) ** 2) / [
        0.5,
        1.0,
        2.0,
        4.0,
    ]

    def loss(free):
        w = np.exp(free) / np.exp(free).sum()
        return -np.log(density @ w).sum()

    best = min(minimize(loss, start, method="Nelder-Mead", options={"maxiter": 4000}).fun for start in np.eye(4) * 3)
    weights = mixture_weights(density)
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1)
    assert -np.log(density @ weights).sum() <= best + 1e-4


# --- flipped alleles -------------------------------------------------------------------------------------------------


def test_swapped_alleles_are_named():
    """Most of those whose z is beyond 2, by the LD of other people; and hardly any that were not swapped."""
    m, nameable, named, wrong, untouched = 300, 0, 0, 0, 0
    for seed in range(5):
        study, panel = (people(500, m, part + seed, keep=0.985) for part in (100, 200))
        rng = np.random.default_rng(seed)
        z = t_of(study, study[:, [40, 190]] @ [0.7, -0.7] + rng.standard_normal(500))
        spectrum = Reference.of_people(panel).spectrum()
        swapped = rng.random(m) < 0.05
        found = find_flips(np.where(swapped, -z, z), spectrum, 500)
        strong = swapped & (np.abs(z) > 2)
        nameable, named = nameable + strong.sum(), named + (found.flipped & strong).sum()
        wrong += (found.flipped & ~swapped).sum()
        untouched += find_flips(z, spectrum, 500).flipped.sum()
        assert found.after.s < found.before.s
    assert nameable >= 20 and named >= 0.8 * nameable
    assert wrong <= 3 and untouched <= 3  # of 1,500


def test_flips_do_not_depend_on_which_allele_is_counted():
    x = people(400, 80, 9)
    rng = np.random.default_rng(0)
    z = t_of(x, x[:, 30] + rng.standard_normal(400))
    z[[28, 33]] *= -1
    other = rng.random(80) < 0.5
    turned = np.where(other, 2 - x, x)
    a = find_flips(z, Reference.of_people(x).spectrum(), 400).flipped
    b = find_flips(np.where(other, -z, z), Reference.of_people(turned).spectrum(), 400).flipped
    assert a.tolist() == b.tolist() and a[[28, 33]].all()


# --- people in both --------------------------------------------------------------------------------------------------


def studies(share, seed, effect=0.0, genes=30):
    """`Shared` of genes in two studies of 150 people each, `share` of the second in the first, by another panel."""
    out = []
    for gene in range(genes):
        rng = np.random.default_rng((seed, gene))
        x = people(300, 80, rng.integers(1 << 30))
        y = effect * x[:, rng.integers(80)] + rng.standard_normal(300)
        both = int(150 * share)
        second = np.r_[np.arange(both), np.arange(150, 300 - both)]
        one, two = t_of(x[:150], y[:150]), t_of(x[second], y[second])
        panel = Reference.of_people(people(200, 80, rng.integers(1 << 30)))
        out.append(shared_noise(one, two, panel.spectrum(), 150, 150))
    return overlap(out)


@pytest.mark.parametrize("effect", [0.0, 0.4])
def test_people_in_both_studies_are_detected(effect):
    none, half = ([studies(share, seed, effect) for seed in range(2)] for share in (0.0, 0.5))
    assert all(found is not None and not found.likely for found in none)
    assert all(found is not None and found.likely for found in half)
    assert np.mean([found.r for found in half]) == pytest.approx(0.5, abs=0.1)
    assert abs(np.mean([found.r for found in none])) < 0.1


def test_few_genes_say_nothing():
    assert overlap([]) is None
    assert not Overlap(0.3, 0.1, 5).likely and Overlap(0.3, 0.02, 20).likely and not Overlap(0.05, 0.001, 20).likely
