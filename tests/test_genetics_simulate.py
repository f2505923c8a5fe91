"""Simulated cohorts: the truth they claim, seeds, and eQTL mapping that finds it."""

from __future__ import annotations

import sys

import numpy as np
import polars as pl
import pytest

from genopred.errors import GenopredError
from genopred.genetics.eqtl.beta import permutation_table
from genopred.genetics.eqtl.qvalues import add_qvalues
from genopred.genetics.eqtl.scan import cis_model, cis_scan, permutation_indices
from genopred.genetics.simulate import CAUSAL_SCHEMA, simulate_alleles, simulate_cohort, simulate_gene
from genopred.types import GENE_SCHEMA, VARIANT_SCHEMA

msprime = pytest.importorskip("msprime", reason="msprime is not installed; pip install 'genopred[simulate]'")


@pytest.fixture(scope="module")
def cohort():
    return simulate_cohort(250, 40, h2=(0.1, 0.3), n_causal=(1, 2), null_fraction=0.5, seed=7)


def test_shapes_and_tables(cohort):
    n, m, g = 250, cohort.variants.height, 40
    assert cohort.alleles.shape == (n, 2, m) and set(np.unique(cohort.alleles)) == {0, 1}
    assert cohort.dosage.shape == (n, m) and cohort.dosage.dtype == np.float32
    assert cohort.expression.shape == (n, g) and cohort.covariates.shape == (n, 5)
    assert cohort.variants.schema == VARIANT_SCHEMA and cohort.genes.schema == GENE_SCHEMA
    assert cohort.causal.schema == CAUSAL_SCHEMA
    assert (np.diff(cohort.pos) > 0).all() and cohort.variants["id"].n_unique() == m
    frequency = cohort.dosage.mean(axis=0) / 2
    assert np.minimum(frequency, 1 - frequency).min() >= 0.05


def test_truth_is_true(cohort):
    dosage = cohort.dosage.astype(float)
    tss = dict(zip(cohort.genes["gene_id"], cohort.tss))
    genes = cohort.genes["gene_id"].to_list()
    assert cohort.causal["gene_id"].n_unique() == 20
    for (gene,), rows in cohort.causal.group_by("gene_id"):
        columns = rows["column"].to_numpy()
        assert rows["variant_id"].to_list() == cohort.variants["id"].gather(columns).to_list()
        assert (np.abs(cohort.pos[columns] - tss[gene]) <= 100_000).all()
        # Regressing on causal variants and covariates gives the effects back.
        at = genes.index(gene)
        design = np.column_stack([dosage[:, columns], cohort.covariates, np.ones(250)])
        beta, sse, _, _ = np.linalg.lstsq(design, cohort.expression[:, at], rcond=None)
        se = np.sqrt(sse[0] / (250 - design.shape[1]) * np.diag(np.linalg.inv(design.T @ design)))[: len(columns)]
        assert (np.abs(beta[: len(columns)] - rows["effect"].to_numpy()) < 4.5 * se).all()
        assert 0.02 < cohort.h2[at] < 0.5
    null = [i for i, gene in enumerate(genes) if gene not in set(cohort.causal["gene_id"])]
    assert (cohort.h2[null] == 0).all()


def test_linkage_disequilibrium_decays(cohort):
    x = cohort.dosage - cohort.dosage.mean(axis=0)
    x /= np.linalg.norm(x, axis=0)
    near = np.mean([(x[:, j] @ x[:, j + 1]) ** 2 for j in range(0, 2000, 5)])
    far = np.mean([(x[:, j] @ x[:, j + 1500]) ** 2 for j in range(0, 1000, 5)])
    assert near > 0.2 and far < 0.05


def test_a_seed_is_a_cohort():
    one, two = (simulate_cohort(30, 3, reach=20_000, seed=4) for _ in range(2))
    other = simulate_cohort(30, 3, reach=20_000, seed=5)
    assert np.array_equal(one.alleles, two.alleles) and np.array_equal(one.expression, two.expression)
    assert one.causal.equals(two.causal) and not np.array_equal(one.expression, other.expression)


def test_start_and_chromosome_are_kept():
    _, variants = simulate_alleles(20, 50_000, start=7_000_001, chrom="chr3", seed=2)
    assert variants["chrom"].unique().to_list() == ["chr3"] and variants["pos"].min() >= 7_000_001
    assert variants["pos"].max() <= 7_050_000


def test_eqtl_pass_finds_the_causal_variants(cohort):
    model = cis_model(cohort.expression, cohort.covariates)
    orders = permutation_indices(250, 300)
    scan = cis_scan(cohort.dosage, cohort.pos, cohort.tss, model, 100_000, permutations=orders)
    ids = cohort.variants["id"]
    genes = cohort.genes["gene_id"].to_list()
    table, pi0 = add_qvalues(permutation_table(scan, genes, ids, cohort.pos, cohort.tss))
    real = set(cohort.causal["gene_id"])
    hits = table.filter(pl.col("qval") <= 0.05)["phenotype_id"].to_list()
    assert len(set(hits) & real) >= 18  # h2 of 0.1 to 0.3 with 250 people: nearly all
    assert len(set(hits) - real) <= 3
    assert 0.2 < pi0 <= 1
    # Single causal variants: the top variant is it, or in strong linkage with it.
    alone = cohort.causal.filter(pl.len().over("gene_id") == 1)
    strong = 0
    for row in alone.iter_rows(named=True):
        top = int(scan.top[genes.index(row["gene_id"])])
        strong += np.corrcoef(cohort.dosage[:, top], cohort.dosage[:, row["column"]])[0, 1] ** 2 > 0.5
    assert strong >= 0.8 * alone.height


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulate_alleles(1, 1000), "at least 2 samples"),
        (lambda: simulate_alleles(20, 100, seed=3), "no variant with MAF"),
        (lambda: simulate_cohort(20, 0), "at least one gene"),
        (lambda: simulate_cohort(20, 2, reach=20_000, n_causal=500, null_fraction=0), "needs 500"),
        (lambda: simulate_cohort(20, 2, reach=20_000, n_causal=(3, 1), null_fraction=0), "n_causal is"),
        (lambda: simulate_gene(np.ones((5, 2)), [0], 1.5, np.random.default_rng(1)), "below 1"),
        (lambda: simulate_gene(np.ones((5, 2)), [0], 0.5, np.random.default_rng(1)), "does not vary"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(GenopredError, match=message):
        call()


def test_without_msprime_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "msprime", None)
    with pytest.raises(GenopredError, match=r"genopred\[simulate\]"):
        simulate_alleles(10, 1000)
