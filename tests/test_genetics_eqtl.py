"""eQTL passes: against FastQTL, QTLtools, tensorQTL and R's qvalue, against plain regressions, and on known truth."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from genopred.errors import GenopredError
from genopred.genetics import eqtl
from genopred.genetics.transform import inverse_normal

GOLDEN = Path(__file__).parent / "golden" / "eqtl"
WINDOW = 150_000


class Tiny:
    """The cut of GEUVADIS on which the peers were run, read without genopred's own readers."""

    def __init__(self):
        with gzip.open(GOLDEN / "tiny.vcf.gz", "rt") as handle:
            rows = [line.split() for line in handle if not line.startswith("##")]
        self.samples = rows[0][9:]
        self.pos = np.array([int(row[1]) for row in rows[1:]])
        self.ids = pl.Series([row[2] for row in rows[1:]])
        self.dosage = np.array([[cell.count("1") for cell in row[9:]] for row in rows[1:]], dtype=np.float32).T
        with gzip.open(GOLDEN / "tiny.bed.gz", "rt") as handle:
            cells = [line.split() for line in handle]
        assert cells[0][6:] == self.samples
        self.genes = [row[3] for row in cells[1:]]
        self.tss = np.array([int(row[2]) for row in cells[1:]])
        self.expression = np.array([[float(v) for v in row[6:]] for row in cells[1:]]).T
        rows = [line.split() for line in (GOLDEN / "tiny.cov.txt").read_text().splitlines()]
        column = {name: i for i, name in enumerate(rows[0])}
        self.covariates = np.array([[float(row[column[s]]) for row in rows[1:]] for s in self.samples])

    def scan(self, permutations=0, **options):
        model = eqtl.cis_model(self.expression, self.covariates, **options)
        orders = eqtl.permutation_indices(len(self.samples), permutations) if permutations else None
        return eqtl.cis_scan(self.dosage, self.pos, self.tss, model, WINDOW, permutations=orders)

    def nominal(self, **options):
        return eqtl.nominal_table(self.scan(**options), self.genes, self.ids, self.pos, self.tss)

    def permuted(self, **options):
        return eqtl.permutation_table(self.scan(**options), self.genes, self.ids, self.pos, self.tss)


@pytest.fixture(scope="module")
def tiny():
    return Tiny()


def text(name, columns=None, separator=" "):
    return pl.read_csv(
        gzip.decompress((GOLDEN / name).read_bytes()),
        separator=separator,
        has_header=columns is None,
        new_columns=columns,
    )


QTLTOOLS = "phenotype_id c1 start end strand num_var distance variant_id c2 p1 p2".split()


def off_by_more_than_print(ours, printed, rtol, digits=6):
    """How many values differ by more than `rtol` plus half of the last printed digit."""
    printed = np.asarray(printed, dtype=float)
    last = 10.0 ** (np.floor(np.log10(np.maximum(np.abs(printed), 1e-300))) - digits + 1)
    return int(np.sum(np.abs(np.asarray(ours) - printed) > rtol * np.abs(printed) + 0.5001 * last))


# --- nominal pass against the peers ------------------------------------------------------------------------------


def test_nominal_equals_tensorqtl_in_double_precision(tiny):
    # The golden is tensorQTL's own code with float64 in the place of float32.
    peer = text("tensorqtl.nominal.tsv.gz", separator="\t")
    both = tiny.nominal().join(peer, on=["phenotype_id", "variant_id"], suffix="_peer")
    assert both.height == peer.height == tiny.nominal().height > 500
    for column in ("start_distance", "ma_samples", "ma_count"):
        assert (both[column] == both[f"{column}_peer"]).all()
    np.testing.assert_allclose(both["pval_nominal"], both["pval_nominal_peer"], rtol=1e-9)
    for column in ("slope", "slope_se", "af"):  # float32 columns, as in tensorQTL's files
        np.testing.assert_allclose(both[column], both[f"{column}_peer"], rtol=2e-7)


def test_nominal_equals_fastqtl_as_printed(tiny):
    names = ["phenotype_id", "variant_id", "distance", "ma_samples_p", "ma_count_p", "maf", "p", "b", "se"]
    peer = text("fastqtl.nominal.txt.gz", names, "\t")
    both = tiny.nominal().join(peer, on=["phenotype_id", "variant_id"])
    assert both.height == peer.height == tiny.nominal().height
    assert (both["ma_count"] == both["ma_count_p"]).all() and (both["start_distance"] == both["distance"]).all()
    # FastQTL computes in float32: its slopes are good to 1e-5 standard errors.
    np.testing.assert_allclose(both["slope"] / both["slope_se"], both["b"] / both["se"], atol=5e-5, rtol=2e-5)
    assert off_by_more_than_print(both["pval_nominal"], both["p"], 1e-4) == 0
    assert np.median(np.abs(both["pval_nominal"] / both["p"] - 1)) < 2e-6


def test_compat_equals_qtltools_as_printed(tiny):
    peer = text("qtltools.nominal.txt.gz", [*QTLTOOLS, "p", "r2", "b", "se", "best"])
    both = tiny.nominal(compat="qtltools").join(peer, on=["phenotype_id", "variant_id"])
    assert both.height == peer.height
    np.testing.assert_allclose(both["slope"] / both["slope_se"], both["b"] / both["se"], atol=5e-5, rtol=2e-5)
    assert off_by_more_than_print(both["pval_nominal"], both["p"], 1e-4) == 0
    assert np.median(np.abs(both["pval_nominal"] / both["p"] - 1)) < 2e-6


def test_both_ways_differ_on_one_pair(tiny):
    one, two = tiny.nominal(), tiny.nominal(compat="qtltools")
    assert np.abs(np.log10(one["pval_nominal"]) - np.log10(two["pval_nominal"])).max() > 0.3


def test_nominal_equals_ordinary_least_squares(tiny):
    y = inverse_normal(tiny.expression[:, 2])
    table = tiny.nominal().filter(pl.col("phenotype_id") == tiny.genes[2])
    row = {name: i for i, name in enumerate(tiny.ids.to_list())}
    for record in table.sort("pval_nominal").head(3).iter_rows(named=True):
        x = tiny.dosage[:, row[record["variant_id"]]].astype(float)
        design = np.column_stack([x, np.ones(len(y)), tiny.covariates])
        beta, sse, _, _ = np.linalg.lstsq(design, y, rcond=None)
        df = len(y) - design.shape[1]
        se = np.sqrt(sse[0] / df * np.linalg.inv(design.T @ design)[0, 0])
        assert record["slope"] == pytest.approx(beta[0], rel=1e-6)
        assert record["slope_se"] == pytest.approx(se, rel=1e-6)
        assert record["pval_nominal"] == pytest.approx(2 * stats.t.sf(abs(beta[0] / se), df), rel=1e-6)


# --- permutation pass --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("golden", "compat"), [("qtltools.permute.txt.gz", "qtltools"), ("tensorqtl.permute.tsv.gz", "tensorqtl")]
)
def test_permutation_pass_equals_the_peers_within_noise(tiny, golden, compat):
    # 10,000 permutations on both sides; the noise of log10 p is measured by repeating ours with 8 seeds.
    if compat == "qtltools":
        names = [*QTLTOOLS, "df", "true_df", "beta_shape1", "beta_shape2", "p", "r2", "slope", "emp", "pval_beta"]
        peer = text(golden, names)
    else:
        peer = text(golden, separator="\t")
    model = eqtl.cis_model(tiny.expression, tiny.covariates, compat=compat)
    runs = []
    for seed in range(1, 9):
        orders = eqtl.permutation_indices(len(tiny.samples), 1500, seed)
        scan = eqtl.cis_scan(tiny.dosage, tiny.pos, tiny.tss, model, WINDOW, permutations=orders)
        runs.append(eqtl.permutation_table(scan, tiny.genes, tiny.ids, tiny.pos, tiny.tss))
    peer = runs[0].select("phenotype_id").join(peer, on="phenotype_id", maintain_order="left")
    assert peer["num_var"].to_list() == runs[0]["num_var"].to_list()
    for ours, theirs in zip(runs[0]["variant_id"], peer["variant_id"]):
        # Peers may name another variant of the same dosages; what it is must not matter.
        a, b = (tiny.dosage[:, tiny.ids.to_list().index(name)] for name in (ours, theirs))
        assert ours == theirs or np.abs(np.corrcoef(a, b)[0, 1]) > 1 - 1e-12
    for column in ("pval_beta", "true_df", "beta_shape1", "beta_shape2"):
        logs = np.log10(np.stack([run[column].to_numpy() for run in runs]))
        centre, noise = logs.mean(axis=0), logs.std(axis=0, ddof=1)
        gap = np.log10(peer[column].to_numpy()) - centre
        assert (np.abs(gap) < 4 * noise + 0.01).all(), (column, gap, noise)


def test_permutation_maximum_equals_a_loop(tiny):
    model = eqtl.cis_model(tiny.expression, tiny.covariates)
    orders = eqtl.permutation_indices(len(tiny.samples), 5, seed=3)
    found = eqtl.cis_scan(tiny.dosage, tiny.pos, tiny.tss, model, WINDOW, permutations=orders).perm_r2
    design = np.column_stack([np.ones(len(tiny.samples)), tiny.covariates])
    take_out = np.eye(len(design)) - design @ np.linalg.pinv(design)
    for gene in (0, 3):
        near = np.abs(tiny.pos - tiny.tss[gene]) <= WINDOW
        x = take_out @ tiny.dosage[:, near]
        y = inverse_normal(tiny.expression[:, gene])
        for order, value in zip(orders, found[gene]):
            shuffled = take_out @ y[order]
            r = x.T @ shuffled / np.linalg.norm(x, axis=0) / np.linalg.norm(shuffled)
            assert value == pytest.approx(np.max(r**2), rel=1e-5)


def test_threads_and_block_bounds_change_nothing(tiny, monkeypatch):
    model = eqtl.cis_model(tiny.expression, tiny.covariates)
    orders = eqtl.permutation_indices(len(tiny.samples), 50)
    one = eqtl.cis_scan(tiny.dosage, tiny.pos, tiny.tss, model, WINDOW, permutations=orders)
    two = eqtl.cis_scan(tiny.dosage, tiny.pos, tiny.tss, model, WINDOW, permutations=orders, threads=3)
    assert np.array_equal(one.r, two.r) and np.array_equal(one.perm_r2, two.perm_r2)
    monkeypatch.setattr(eqtl, "_BLOCK", 37)
    three = eqtl.cis_scan(tiny.dosage, tiny.pos, tiny.tss, model, WINDOW, permutations=orders)
    np.testing.assert_allclose(three.r, one.r, atol=1e-12)
    np.testing.assert_allclose(three.perm_r2, one.perm_r2, rtol=1e-5)
    assert np.array_equal(three.top, one.top)


def test_identical_and_mirrored_columns_are_found():
    rng = np.random.default_rng(1)
    x = rng.integers(0, 3, (40, 6)).astype(np.float32)
    x[:, 3], x[:, 4] = x[:, 1], 2 - x[:, 1]
    assert eqtl._same_rows(np.ascontiguousarray(x.T)).tolist() == [0, 1, 2, 1, 1, 5]


def test_ties_go_to_the_variant_nearest_to_the_tss():
    rng = np.random.default_rng(2)
    x = rng.integers(0, 3, (60, 5)).astype(np.float32)
    x[:, 4] = 2 - x[:, 0]
    y = x[:, 0] + rng.standard_normal(60)
    scan = eqtl.cis_scan(x, [100, 200, 300, 400, 480], [500], eqtl.cis_model(y), 1000)
    assert scan.top.tolist() == [4]


# --- beta approximation, q-values --------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.floats(0.6, 1.6), st.floats(5, 800), st.integers(0, 10**6))
def test_fit_beta_is_a_maximum(a, b, seed):
    p = np.random.default_rng(seed).beta(a, b, 400)
    fit = eqtl.fit_beta(p)
    assert fit is not None

    def loglik(one, two):
        return stats.beta.logpdf(p, one, two).sum()

    best = loglik(*fit)
    for one, two in ((1.01, 1), (0.99, 1), (1, 1.01), (1, 0.99)):
        assert loglik(fit[0] * one, fit[1] * two) < best


def test_beta_approximation_equals_the_empirical_p_where_both_can_be_had():
    rng = np.random.default_rng(1)
    null = stats.t.rvs(80, size=(20_000, 30), random_state=rng) ** 2
    best = np.max(null / (null + 80), axis=1)
    for r2 in np.quantile(best, [0.5, 0.9, 0.99]):
        fit = eqtl.beta_approximation(best, r2, 80)
        assert fit.pval_beta == pytest.approx(fit.pval_perm, rel=0.1)
    assert fit.true_df == pytest.approx(80, rel=0.1)
    assert fit.shape2 == pytest.approx(30, rel=0.15)


def test_qvalues_equal_rs_qvalue():
    rng = np.random.default_rng(1)
    p = np.concatenate([rng.random(300), rng.beta(0.2, 20, 100)])
    numbers = np.array((GOLDEN / "qvalue.txt").read_text().split(), dtype=float)
    q, pi0 = eqtl.qvalues(p)
    # R stops its search for the smoother's 3 degrees of freedom early.
    assert pi0 == pytest.approx(numbers[0], rel=1e-3)
    np.testing.assert_allclose(q / pi0, numbers[1:] / numbers[0], rtol=1e-5)


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_pi0_equals_rs_smooth_spline_live():
    x = np.arange(0.05, 0.951, 0.05)
    y = 0.3 + 0.2 * np.sin(5 * x)
    code = f"x <- seq(.05, .95, .05); s <- smooth.spline(x, c({','.join(map(repr, y.tolist()))}), df = 3); cat(s$y)"
    run = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=True)
    np.testing.assert_allclose(eqtl._smooth(x, y, 3.0), np.array(run.stdout.split(), float), atol=2e-4)


def test_qvalues_without_an_estimate_are_benjamini_hochberg():
    p = np.random.default_rng(3).random(15) ** 2
    np.testing.assert_allclose(eqtl.qvalues(p)[0], stats.false_discovery_control(p))
    q, _ = eqtl.qvalues([0.1, np.nan])
    assert np.isnan(q[1]) and q[0] == pytest.approx(0.1)
    with pytest.raises(GenopredError, match="outside 0 to 1"):
        eqtl.qvalues([0.5, 1.5])


def test_nominal_threshold_reaches_the_gene_level_cut():
    table = pl.DataFrame(
        {"pval_beta": [1e-8, 1e-6, 0.4, 0.9], "beta_shape1": [1.0, 1.1, 1.0, 1.0], "beta_shape2": [50.0, 200, 90, 10]}
    )
    out, pi0 = eqtl.add_qvalues(table)
    assert pi0 == 1.0 and (out["qval"] <= 0.05).to_list() == [True, True, False, False]
    cut = (1e-6 + 0.4) / 2
    for row in out.iter_rows(named=True):
        p = stats.beta.cdf(row["pval_nominal_threshold"], row["beta_shape1"], row["beta_shape2"])
        assert p == pytest.approx(cut)


# --- independent signals -----------------------------------------------------------------------------------------


def test_independent_signals_equal_tensorqtl(tiny):
    peer = text("tensorqtl.independent.tsv.gz", separator="\t")
    orders = eqtl.permutation_indices(len(tiny.samples), 500)
    for gene in peer["phenotype_id"].unique(maintain_order=True).to_list()[1:]:
        at = tiny.genes.index(gene)
        near = np.flatnonzero(np.abs(tiny.pos - tiny.tss[at]) <= WINDOW)
        found = eqtl.independent_signals(
            tiny.dosage[:, near],
            tiny.pos[near],
            int(tiny.tss[at]),
            tiny.expression[:, at],
            tiny.covariates,
            0.01,
            orders,
            gene_id=gene,
            variant_ids=tiny.ids.gather(near),
        )
        theirs = peer.filter(pl.col("phenotype_id") == gene)
        assert found["variant_id"].to_list() == theirs["variant_id"].to_list()
        np.testing.assert_allclose(found["slope"], theirs["slope"], rtol=1e-5)
        np.testing.assert_allclose(found["pval_nominal"], theirs["pval_nominal"], rtol=1e-3)


def test_no_signal_gives_no_rows(tiny):
    noise = np.random.default_rng(5).standard_normal(len(tiny.samples))
    orders = eqtl.permutation_indices(len(tiny.samples), 200)
    found = eqtl.independent_signals(tiny.dosage, tiny.pos, int(tiny.tss[0]), noise, None, 1e-4, orders)
    assert found.height == 0 and found.schema == eqtl.INDEPENDENT_SCHEMA


# --- missing genotypes and odd variants --------------------------------------------------------------------------


def test_missing_dosages_become_the_mean_and_odd_variants_are_counted():
    rng = np.random.default_rng(4)
    x = rng.integers(0, 3, (50, 6)).astype(np.float32)
    covariates = rng.standard_normal((50, 2))
    x[:, 1] = np.nan
    x[:, 2] = 1.0
    x[:, 3] = covariates[:, 0]
    x[:, 4] = 0
    x[0, 4] = 1
    x[3, 0] = np.nan
    y = rng.standard_normal(50)
    model = eqtl.cis_model(y, covariates)
    scan = eqtl.cis_scan(x, np.arange(1, 7), [3], model, 10, maf=0.05)
    assert {reason: np.flatnonzero(which).tolist() for reason, which in scan.unusable.items()} == {
        "genotype of everybody missing": [1],
        "monomorphic": [2],
        "explained by the covariates": [3],
        "MAF below 0.05": [4],
    }
    filled = np.where(np.isnan(x[:, 0]), np.nanmean(x[:, 0]), x[:, 0])[:, None]
    assert scan.r[0] == pytest.approx(eqtl.cis_scan(filled, [1], [3], model, 10).r[0], abs=1e-7)
    table = eqtl.nominal_table(scan, ["g"], pl.Series(list("abcdef")), np.arange(1, 7), np.array([3]))
    assert table["variant_id"].to_list() == ["a", "f"]


def test_gene_without_variants_has_no_row():
    rng = np.random.default_rng(4)
    x = rng.integers(0, 3, (30, 3)).astype(np.float32)
    model = eqtl.cis_model(rng.standard_normal((30, 2)))
    orders = eqtl.permutation_indices(30, 100)
    scan = eqtl.cis_scan(x, [10, 20, 30], np.array([20, 9000]), model, 50, permutations=orders)
    table = eqtl.permutation_table(
        scan, ["near", "far"], pl.Series(list("abc")), np.array([10, 20, 30]), scan.start * 0
    )
    assert scan.top[1] == -1 and table["phenotype_id"].to_list() == ["near"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: eqtl.cis_model(np.ones((10, 1))), "do not vary"),
        (lambda: eqtl.cis_model([[1.0], [np.nan]]), "missing values"),
        (lambda: eqtl.cis_model(np.arange(4.0), np.random.default_rng(1).random((4, 3))), "degrees of freedom"),
        (lambda: eqtl.cis_model(np.arange(4.0), np.ones((3, 1))), "covariates have shape"),
        (lambda: eqtl.cis_model(np.arange(4.0), compat="matrixeqtl"), "choose one of"),
        (lambda: eqtl.cis_model(np.arange(9.0), np.arange(9.0), normalise=False), "explain 1 phenotypes fully"),
        (lambda: eqtl.cis_windows([3, 1], [2], 5), "not sorted"),
        (lambda: eqtl.permutation_indices(10, 0), "at least 1"),
        (lambda: eqtl.cis_scan(np.ones((3, 2)), [1, 2], [1], eqtl.cis_model(np.arange(4.0)), 5), "shape"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(GenopredError, match=message):
        call()


# --- known truth -------------------------------------------------------------------------------------------------


def test_p_values_are_uniform_under_the_null():
    rng = np.random.default_rng(11)
    n, genes = 120, 300
    founders = rng.random((8, 40)) < 0.4
    x = np.concatenate(
        [founders[rng.integers(8, size=n)] + 1.0 * founders[rng.integers(8, size=n)] for _ in range(3)], 1
    )
    covariates = rng.standard_normal((n, 4))
    # Expression depends on the covariates, and they on genotype: ignoring either side would inflate.
    covariates[:, 0] += x[:, 0] + x[:, 50]
    y = np.exp(covariates @ rng.standard_normal((4, genes)) + 2 * rng.standard_normal((n, genes)))
    model = eqtl.cis_model(y, covariates)
    pos = np.arange(1, x.shape[1] + 1)
    tss = np.full(genes, 60)
    scan = eqtl.cis_scan(x, pos, tss, model, 1000, permutations=eqtl.permutation_indices(n, 300))
    nominal = eqtl.correlation_test(scan.r.reshape(genes, -1), scan.df)[1]
    one_each = nominal[:, 7]
    assert stats.kstest(one_each, "uniform").pvalue > 0.01
    assert np.mean(nominal < 0.05) == pytest.approx(0.05, abs=0.01)
    names = pl.Series([str(i) for i in pos])
    table = eqtl.permutation_table(scan, [str(i) for i in range(genes)], names, pos, tss)
    assert stats.kstest(table["pval_beta"].to_numpy(), "uniform").pvalue > 0.01
    assert np.mean(table["pval_beta"].to_numpy() < 0.05) == pytest.approx(0.05, abs=0.04)


def test_power_is_what_theory_says():
    # One causal variant explaining q of the variance: t is noncentral with N q / (1 - q).
    rng = np.random.default_rng(12)
    n, genes, q, level = 200, 400, 0.08, 1e-3
    x = rng.binomial(2, 0.3, (n, genes)).astype(np.float32)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    y = np.sqrt(q) * z + np.sqrt(1 - q) * rng.standard_normal((n, genes))
    model = eqtl.cis_model(y)
    pos = np.arange(1, genes + 1)
    scan = eqtl.cis_scan(x, pos, pos, model, 0)
    found = eqtl.correlation_test(scan.r, scan.df)[1] < level
    cut = stats.t.isf(level / 2, n - 2)
    expected = stats.nct.sf(cut, n - 2, np.sqrt(n * q / (1 - q)))
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / genes))


# --- the programs themselves, where they are installed ------------------------------------------------------------


@pytest.mark.skipif(
    not all(map(shutil.which, ("QTLtools", "bgzip", "tabix"))), reason="QTLtools, bgzip or tabix is not installed"
)
def test_compat_equals_qtltools_live(tiny, tmp_path):
    (tmp_path / "g.vcf").write_bytes(gzip.decompress((GOLDEN / "tiny.vcf.gz").read_bytes()))
    (tmp_path / "e.bed").write_bytes(gzip.decompress((GOLDEN / "tiny.bed.gz").read_bytes()))
    for name, kind in (("g.vcf", "vcf"), ("e.bed", "bed")):
        subprocess.run(["bgzip", name], cwd=tmp_path, check=True)
        subprocess.run(["tabix", "-p", kind, f"{name}.gz"], cwd=tmp_path, check=True)
    command = ["QTLtools", "cis", "--vcf", "g.vcf.gz", "--bed", "e.bed.gz", "--cov", str(GOLDEN / "tiny.cov.txt")]
    command += ["--normal", "--window", str(WINDOW), "--nominal", "1", "--std-err", "--out", "out.txt"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    names = [*QTLTOOLS, "p", "r2", "b", "se", "best"]
    peer = pl.read_csv(tmp_path / "out.txt", separator=" ", has_header=False, new_columns=names)
    both = tiny.nominal(compat="qtltools").join(peer, on=["phenotype_id", "variant_id"])
    assert both.height == peer.height > 500
    assert off_by_more_than_print(both["pval_nominal"], both["p"], 1e-4) == 0


# --- all of chr22 ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chr22(shared):
    """Expression, the 18 covariates and genotypes of chr22, as in the peers' runs."""
    from genopred.io.covariates import read_covariates
    from genopred.io.expression import read_expression
    from genopred.io.vcf import read_vcf

    data = shared / "data" / "geuvadis_chr22"
    expression = read_expression(data / "genes.50percent.chr22.bed.gz")
    covariates = read_covariates(data / "genes.covariates.pc50.txt.gz").select(expression.samples).values[:, :18]
    genotypes = read_vcf(data / "genotypes.chr22.vcf.gz").select(samples=expression.samples)
    return expression, covariates, genotypes, genotypes.dosage()


def peer_table(path, columns):
    data = gzip.decompress(path.read_bytes())
    return pl.read_csv(data, separator=" ", has_header=False, new_columns=[*QTLTOOLS, *columns])


def test_chr22_nominal_equals_qtltools(shared, chr22):
    expression, covariates, genotypes, dosage = chr22
    peer = peer_table(shared / "peers" / "qtltools_nominal_8genes.txt.gz", ["p", "r2", "b", "se", "best"])
    wanted = peer["phenotype_id"].unique(maintain_order=True).to_list()
    every = expression.genes["gene_id"].to_list()
    expression = expression.select(genes=[every.index(gene) for gene in wanted])
    pos, tss = genotypes.variants["pos"].to_numpy(), expression.genes["tss"].to_numpy()
    model = eqtl.cis_model(expression.values, covariates, compat="qtltools")
    scan = eqtl.cis_scan(dosage, pos, tss, model, 500_000)
    ours = eqtl.nominal_table(scan, wanted, genotypes.variants["id"], pos, tss)
    both = ours.join(peer, on=["phenotype_id", "variant_id"])
    assert both.height == ours.height == peer.height
    assert off_by_more_than_print(both["pval_nominal"], both["p"], 2e-4) == 0
    np.testing.assert_allclose(both["slope"] / both["slope_se"], both["b"] / both["se"], atol=1e-4, rtol=2e-5)


def test_chr22_permutation_pass_equals_qtltools(shared, chr22):
    expression, covariates, genotypes, dosage = chr22
    columns = ["df", "true_df", "shape1", "shape2", "p", "r2_top", "b", "emp", "beta"]
    peer = peer_table(shared / "peers" / "qtltools_permute1000.txt.gz", columns)
    pos = genotypes.variants["pos"].to_numpy()
    ids, genes = genotypes.variants["id"], expression.genes["gene_id"].to_list()
    assert peer["phenotype_id"].to_list() == genes
    tss = expression.genes["tss"].to_numpy()
    model = eqtl.cis_model(expression.values, covariates, compat="qtltools")
    scan = eqtl.cis_scan(dosage, pos, tss, model, 500_000)
    assert ids.gather(scan.top).to_list() == peer["variant_id"].to_list()  # all 608
    some = np.arange(0, 608, 12)
    model = eqtl.cis_model(expression.values[:, some], covariates, compat="qtltools")
    orders = eqtl.permutation_indices(len(expression.samples), 1000, seed=7)
    scan = eqtl.cis_scan(dosage, pos, tss[some], model, 500_000, permutations=orders, threads=2)
    ours = eqtl.permutation_table(scan, [genes[i] for i in some], ids, pos, tss[some])
    peer = peer[some.tolist()]
    # Two seeds of QTLtools differ by 0.033 (standard deviation of log10 p) above 0.01, by 0.14 down to 1e-5.
    log_p = np.log10(np.maximum(peer["beta"].to_numpy(), 1e-300))
    gap = np.log10(np.maximum(ours["pval_beta"].to_numpy(), 1e-300)) - log_p
    large, middle = log_p > -2, (log_p > -5) & (log_p <= -2)
    assert large.sum() > 15 and middle.sum() > 3
    assert gap[large].std() < 0.06 and abs(gap[large].mean()) < 0.03 and np.abs(gap[middle]).max() < 0.6
    log_df = np.log(ours["true_df"].to_numpy() / peer["true_df"].to_numpy())
    assert abs(log_df.mean()) < 0.03 and log_df.std() < 0.1


@pytest.mark.parametrize("perm_r2", [[0.1], [0.1, 0.1, 0.1], [0.1, 0.2]])
def test_too_few_or_equal_permutations_give_no_beta(perm_r2):
    fit = eqtl.beta_approximation(perm_r2, 0.15, 50)
    assert np.isnan(fit.pval_beta) or 0 < fit.pval_beta <= 1
    assert fit.pval_perm == (np.sum(np.array(perm_r2) >= 0.15) + 1) / (len(perm_r2) + 1)
