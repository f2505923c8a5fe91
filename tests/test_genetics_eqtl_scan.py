"""Nominal pass: against FastQTL, QTLtools and tensorQTL, against plain regressions, and on known truth."""

from __future__ import annotations

import gzip
import shutil
import subprocess

import numpy as np
import polars as pl
import pytest
from eqtl_data import GOLDEN, QTLTOOLS, WINDOW, Tiny, chr22_data, off_by_more_than_print, peer_table, text
from scipy import stats

from genopred.errors import GenopredError
from genopred.genetics.eqtl import scan as scan_module
from genopred.genetics.eqtl.scan import (
    _same_rows,
    cis_model,
    cis_scan,
    cis_windows,
    correlation_test,
    nominal_table,
    permutation_indices,
)
from genopred.genetics.transform import inverse_normal


@pytest.fixture(scope="module")
def tiny():
    return Tiny()


@pytest.fixture(scope="module")
def chr22(shared):
    return chr22_data(shared)


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


def test_permutation_maximum_equals_a_loop(tiny):
    model = cis_model(tiny.expression, tiny.covariates)
    orders = permutation_indices(len(tiny.samples), 5, seed=3)
    found = cis_scan(tiny.dosage, tiny.pos, tiny.tss, model, WINDOW, permutations=orders).perm_r2
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
    model = cis_model(tiny.expression, tiny.covariates)
    orders = permutation_indices(len(tiny.samples), 50)
    one = cis_scan(tiny.dosage, tiny.pos, tiny.tss, model, WINDOW, permutations=orders)
    two = cis_scan(tiny.dosage, tiny.pos, tiny.tss, model, WINDOW, permutations=orders, threads=3)
    assert np.array_equal(one.r, two.r) and np.array_equal(one.perm_r2, two.perm_r2)
    monkeypatch.setattr(scan_module, "_BLOCK", 37)
    three = cis_scan(tiny.dosage, tiny.pos, tiny.tss, model, WINDOW, permutations=orders)
    np.testing.assert_allclose(three.r, one.r, atol=1e-12)
    np.testing.assert_allclose(three.perm_r2, one.perm_r2, rtol=1e-5)
    assert np.array_equal(three.top, one.top)


def test_identical_and_mirrored_columns_are_found():
    rng = np.random.default_rng(1)
    x = rng.integers(0, 3, (40, 6)).astype(np.float32)
    x[:, 3], x[:, 4] = x[:, 1], 2 - x[:, 1]
    assert _same_rows(np.ascontiguousarray(x.T)).tolist() == [0, 1, 2, 1, 1, 5]


def test_ties_go_to_the_variant_nearest_to_the_tss():
    rng = np.random.default_rng(2)
    x = rng.integers(0, 3, (60, 5)).astype(np.float32)
    x[:, 4] = 2 - x[:, 0]
    y = x[:, 0] + rng.standard_normal(60)
    scan = cis_scan(x, [100, 200, 300, 400, 480], [500], cis_model(y), 1000)
    assert scan.top.tolist() == [4]


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
    model = cis_model(y, covariates)
    scan = cis_scan(x, np.arange(1, 7), [3], model, 10, maf=0.05)
    assert {reason: np.flatnonzero(which).tolist() for reason, which in scan.unusable.items()} == {
        "genotype of everybody missing": [1],
        "monomorphic": [2],
        "explained by the covariates": [3],
        "MAF below 0.05": [4],
    }
    filled = np.where(np.isnan(x[:, 0]), np.nanmean(x[:, 0]), x[:, 0])[:, None]
    assert scan.r[0] == pytest.approx(cis_scan(filled, [1], [3], model, 10).r[0], abs=1e-7)
    table = nominal_table(scan, ["g"], pl.Series(list("abcdef")), np.arange(1, 7), np.array([3]))
    assert table["variant_id"].to_list() == ["a", "f"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cis_model(np.ones((10, 1))), "do not vary"),
        (lambda: cis_model([[1.0], [np.nan]]), "missing values"),
        (lambda: cis_model(np.arange(4.0), np.random.default_rng(1).random((4, 3))), "degrees of freedom"),
        (lambda: cis_model(np.arange(4.0), np.ones((3, 1))), "covariates have shape"),
        (lambda: cis_model(np.arange(4.0), compat="matrixeqtl"), "choose one of"),
        (lambda: cis_model(np.arange(9.0), np.arange(9.0), normalise=False), "explain 1 phenotypes fully"),
        (lambda: cis_windows([3, 1], [2], 5), "not sorted"),
        (lambda: permutation_indices(10, 0), "at least 1"),
        (lambda: cis_scan(np.ones((3, 2)), [1, 2], [1], cis_model(np.arange(4.0)), 5), "shape"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(GenopredError, match=message):
        call()


def test_power_is_what_theory_says():
    # One causal variant explaining q of the variance: t is noncentral with N q / (1 - q).
    rng = np.random.default_rng(12)
    n, genes, q, level = 200, 400, 0.08, 1e-3
    x = rng.binomial(2, 0.3, (n, genes)).astype(np.float32)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    y = np.sqrt(q) * z + np.sqrt(1 - q) * rng.standard_normal((n, genes))
    model = cis_model(y)
    pos = np.arange(1, genes + 1)
    scan = cis_scan(x, pos, pos, model, 0)
    found = correlation_test(scan.r, scan.df)[1] < level
    cut = stats.t.isf(level / 2, n - 2)
    expected = stats.nct.sf(cut, n - 2, np.sqrt(n * q / (1 - q)))
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / genes))


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


def test_chr22_nominal_equals_qtltools(shared, chr22):
    expression, covariates, genotypes, dosage = chr22
    peer = peer_table(shared / "peers" / "qtltools_nominal_8genes.txt.gz", ["p", "r2", "b", "se", "best"])
    wanted = peer["phenotype_id"].unique(maintain_order=True).to_list()
    every = expression.genes["gene_id"].to_list()
    expression = expression.select(genes=[every.index(gene) for gene in wanted])
    pos, tss = genotypes.variants["pos"].to_numpy(), expression.genes["tss"].to_numpy()
    model = cis_model(expression.values, covariates, compat="qtltools")
    scan = cis_scan(dosage, pos, tss, model, 500_000)
    ours = nominal_table(scan, wanted, genotypes.variants["id"], pos, tss)
    both = ours.join(peer, on=["phenotype_id", "variant_id"])
    assert both.height == ours.height == peer.height
    assert off_by_more_than_print(both["pval_nominal"], both["p"], 2e-4) == 0
    np.testing.assert_allclose(both["slope"] / both["slope_se"], both["b"] / both["se"], atol=1e-4, rtol=2e-5)
