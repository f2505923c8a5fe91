"""SuSiE and credible sets against R's susieR, and on known truth."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from genopred.errors import GenopredError
from genopred.genetics.eqtl.scan import cis_model, cis_scan, residual_dosage
from genopred.genetics.finemap import SusieFit, credible_sets, susie

GOLDEN = Path(__file__).parent / "golden" / "eqtl"

SUSIE_R = """
suppressMessages(library(susieR))
path <- commandArgs(TRUE)
options(digits = 15)
f <- susie(as.matrix(read.table(path[1])), scan(path[2], quiet = TRUE), L = 4, tol = 1e-6, max_iter = 1000,
           prior_weights = scan(path[3], quiet = TRUE))
cat(f$pip, "\\n", f$sigma2, "\\n", coef(f), "\\n")
"""


@pytest.fixture(scope="module")
def locus():
    """Residuals of a real gene with two signals, as susieR got them."""
    with gzip.open(GOLDEN / "tiny.vcf.gz", "rt") as handle:
        rows = [line.split() for line in handle if not line.startswith("##")]
    samples = rows[0][9:]
    dosage = np.array([[cell.count("1") for cell in row[9:]] for row in rows[1:]], dtype=np.float32).T
    with gzip.open(GOLDEN / "tiny.bed.gz", "rt") as handle:
        cells = [line.split() for line in handle]
    y = np.array([float(v) for v in cells[3][6:]])
    rows = [line.split() for line in (GOLDEN / "tiny.cov.txt").read_text().splitlines()]
    column = {name: i for i, name in enumerate(rows[0])}
    covariates = np.array([[float(row[column[s]]) for row in rows[1:]] for s in samples])
    model = cis_model(y, covariates)
    return residual_dosage(dosage, model), model.residuals[:, 0]


def test_susie_and_credible_sets_equal_susier(locus):
    x, y = locus
    fit = susie(x, y, n_effects=5, tol=1e-6, max_iter=1000)
    lines = [line.split() for line in (GOLDEN / "susier.txt").read_text().splitlines()]
    assert fit.sigma2 == pytest.approx(float(lines[0][0]), rel=1e-5)
    np.testing.assert_allclose(fit.prior_variance, np.array(lines[1], float), atol=2e-4)
    np.testing.assert_allclose(fit.pip, np.array(lines[2], float), atol=1e-5)
    assert fit.elbo[-1] == pytest.approx(float(lines[3][0]), abs=1e-4)
    found = credible_sets(fit, x)
    assert [",".join(map(str, np.sort(one.variants) + 1)) for one in found] == lines[4]
    np.testing.assert_allclose([one.coverage for one in found], np.array(lines[5], float), atol=1e-5)
    np.testing.assert_allclose([one.min_abs_corr for one in found], np.array(lines[6], float), atol=1e-6)
    np.testing.assert_allclose([one.mean_abs_corr for one in found], np.array(lines[7], float), atol=1e-6)


def _has_susier():
    if shutil.which("Rscript") is None:
        return False
    return subprocess.run(["Rscript", "-e", "library(susieR)"], capture_output=True).returncode == 0


def test_susie_with_prior_weights_equals_susier_live(locus, tmp_path):
    if not _has_susier():
        pytest.skip("R or its package susieR is not installed")
    x, y = locus
    x = x[:, ::3]
    prior = np.exp(-np.abs(np.arange(x.shape[1]) - 30) / 20) + 0.02
    for name, values in (("x", x), ("y", y), ("p", prior / prior.sum())):
        np.savetxt(tmp_path / name, values, fmt="%.17g")
    (tmp_path / "run.R").write_text(SUSIE_R)
    command = ["Rscript", *(str(tmp_path / name) for name in ("run.R", "x", "y", "p"))]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    fit = susie(x, y, n_effects=4, prior_weights=prior, tol=1e-6, max_iter=1000)
    np.testing.assert_allclose(fit.pip, np.array(out[0].split(), float), atol=2e-5)
    assert fit.sigma2 == pytest.approx(float(out[1]), rel=1e-4)
    np.testing.assert_allclose([fit.intercept, *fit.coef], np.array(out[2].split(), float), atol=2e-5)


def test_susie_in_single_precision_agrees(locus):
    x, y = locus
    np.testing.assert_allclose(susie(x, y, dtype=np.float32).pip, susie(x, y).pip, atol=2e-2)


def make_fit(alpha, variance):
    alpha = np.asarray(alpha, dtype=float)
    zero = np.zeros_like(alpha)
    m = alpha.shape[1]
    return SusieFit(
        alpha, zero, zero, np.zeros(m), 0.0, np.zeros(m), np.asarray(variance, float), 1.0, np.zeros(1), True
    )


def test_credible_sets_by_hand():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((100, 4))
    x[:, 1] = -x[:, 0]
    x[:, 3] = 7.0
    alpha = [
        [0.5, 0.46, 0.04, 0.0],  # 0 and 1: mirrored, so pure
        [0.46, 0.5, 0.04, 0.0],  # the same set again
        [0.0, 0.3, 0.7, 0.0],  # impure
        [0.0, 0.0, 0.999, 0.001],  # one variant
        [1.0, 0.0, 0.0, 0.0],  # an effect that the data do not want
        [0.0, 0.0, 0.6, 0.4],  # with a constant column
    ]
    found = credible_sets(make_fit(alpha, [1, 1, 1, 1, 0, 1]), x)
    assert {one.effect: one.variants.tolist() for one in found} == {0: [0, 1], 3: [2]}
    assert {one.effect: round(one.coverage, 6) for one in found} == {0: 0.96, 3: 0.999}
    wide = credible_sets(make_fit(alpha, [1, 1, 1, 1, 0, 1]), x, coverage=0.99, min_abs_corr=0.0)
    assert [len(one.variants) for one in wide if one.effect == 0] == [3]


def test_credible_set_of_everything_when_rounding_falls_short():
    alpha = np.full((1, 10), 0.1 - 1e-13)
    assert len(credible_sets(make_fit(alpha, [1]), np.tile(np.arange(5.0)[:, None], 10), 1 - 1e-13)[0].variants) == 10


@pytest.mark.parametrize("coverage", [0.0, 1.0, 95])
def test_coverage_out_of_range_is_named(coverage):
    with pytest.raises(GenopredError, match="between 0 and 1"):
        credible_sets(make_fit([[1.0]], [1]), [[1.0]], coverage)


def test_dosage_of_other_variants_is_refused():
    with pytest.raises(GenopredError, match="the fit has 2 variants"):
        credible_sets(make_fit([[0.5, 0.5]], [1]), np.ones((3, 5)))


def test_credible_sets_cover_at_their_level():
    pytest.importorskip("msprime", reason="msprime is not installed; pip install 'genopred[simulate]'")
    from genopred.genetics.simulate import simulate_alleles, simulate_gene

    alleles, _ = simulate_alleles(300, 300_000, maf=0.05, seed=5)
    dosage = alleles.sum(axis=1).astype(np.float64)
    rng = np.random.default_rng(5)
    total = covered = power = 0
    for _ in range(150):
        start = rng.integers(0, dosage.shape[1] - 120)
        x = dosage[:, start : start + 120]
        causal = rng.choice(120, 2, replace=False)
        y, _, _ = simulate_gene(x, causal, 0.15, rng)
        hit = set()
        for one in credible_sets(susie(x, y, n_effects=5), x):
            inside = set(causal.tolist()) & set(one.variants.tolist())
            total, covered = total + 1, covered + bool(inside)
            hit |= inside
        power += len(hit)
    # 95 % of sets hold a causal variant; three standard errors of a binomial below that is the floor.
    assert total > 100
    assert covered / total > 0.95 - 3 * np.sqrt(0.95 * 0.05 / total)
    assert power / 300 > 0.3


def test_no_credible_set_where_there_is_nothing():
    rng = np.random.default_rng(6)
    x = rng.binomial(2, 0.3, (200, 60)).astype(float)
    found = [credible_sets(susie(x, rng.standard_normal(200)), x) for _ in range(30)]
    assert sum(map(bool, found)) <= 3


def test_residual_dosage_gives_the_same_test_as_the_scan(locus):
    rng = np.random.default_rng(7)
    x = rng.binomial(2, 0.3, (80, 5)).astype(np.float32)
    x[4, 2] = np.nan
    covariates, y = rng.standard_normal((80, 3)), rng.standard_normal(80)
    model = cis_model(y, covariates)
    z = residual_dosage(x, model)
    r = [np.corrcoef(z[:, j], model.residuals[:, 0])[0, 1] for j in range(5)]
    np.testing.assert_allclose(cis_scan(x, np.arange(1, 6), [3], model, 9).r, r, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [200, 2000])
def test_a_phenotype_without_noise_is_found(dtype, n):
    x = np.random.default_rng(0).integers(0, 3, (n, 30)).astype(dtype)
    fit = susie(x, x[:, 4].astype(np.float64), dtype=dtype)
    assert fit.pip.argmax() == 4 and fit.pip[4] > 0.999
    assert np.corrcoef(x @ fit.coef, x[:, 4])[0, 1] > 0.999
