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
from genopred.genetics.simulate import CAUSAL_SCHEMA, Mosaics, simulate_alleles, simulate_cohort, simulate_gene
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


def given_haplotypes(seed=1, h=40, m=120, span=400_000):
    """Haplotypes in LD: neighbours on a tree of a few copies, with changes along the way."""
    rng = np.random.default_rng(seed)
    latent = np.empty((h, m))
    latent[:, 0] = rng.standard_normal(h)
    for j in range(1, m):
        latent[:, j] = 0.95 * latent[:, j - 1] + np.sqrt(1 - 0.95**2) * rng.standard_normal(h)
    positions = np.sort(rng.choice(span, m, replace=False)) + 1
    return (latent > rng.uniform(-1, 1, m)).astype(np.int8), positions


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("rate, flip", [(0.0, 0.0), (5e-6, 0.0), (5e-6, 0.02), (5e-4, 0.0)])
def test_mosaics_have_the_frequencies_and_ld_of_what_they_copy(seed, rate, flip):
    haplotypes, positions = given_haplotypes(seed)
    mosaics = Mosaics(haplotypes, positions, seed=seed, rate=rate, flip=flip)
    n = 20_000
    x = np.concatenate(list(mosaics.people(n))).astype(float)
    assert x.shape == (n, 120) and set(np.unique(x)) <= {0, 1, 2}
    covariance = mosaics.covariance()
    variance = np.diag(covariance)
    assert (np.abs(x.mean(axis=0) - mosaics.mean()) <= 5 * np.sqrt(variance / n) + 1e-12).all()
    off = np.abs(np.cov(x.T) - covariance)
    assert (off <= 6 * np.sqrt(3 * np.outer(variance, variance) / n) + 1e-12).all()
    if not flip:
        np.testing.assert_allclose(mosaics.mean(), 2 * haplotypes.mean(axis=0))
    if not flip and rate < 1e-5:
        near = (np.abs(positions[:, None] - positions) < 10_000) & (variance > 0) & (variance > 0)[:, None]
        wanted = np.corrcoef(haplotypes.T[variance > 0])
        found = np.corrcoef(x.T[variance > 0])
        both = near[np.ix_(variance > 0, variance > 0)]
        assert np.abs(found - wanted)[both].max() < 0.1, "LD of near variants is that of the given haplotypes"


def test_mosaics_of_one_haplotype_by_hand():
    alone = Mosaics(np.array([[0, 1, 1]]), np.array([1, 5, 9]))
    assert np.concatenate(list(alone.people(300))).tolist() == [[0, 2, 2]] * 300
    pieces = Mosaics(np.array([[0, 0], [1, 1]]), np.array([1, 10**9]), rate=1.0)
    x = np.concatenate(list(pieces.people(5000)))
    assert abs(np.corrcoef(x.T)[0, 1]) < 0.06, "far apart, pieces are independent"
    whole = Mosaics(np.array([[0, 0], [1, 1]]), np.array([1, 10**9]), rate=0.0)
    x = np.concatenate(list(whole.people(500)))
    assert (x[:, 0] == x[:, 1]).all() and set(x[:, 0]) == {0, 1, 2}


def test_neither_blocks_nor_their_number_change_mosaics():
    haplotypes, positions = given_haplotypes(m=20)
    mosaics = Mosaics(haplotypes, positions, seed=5, flip=0.01)
    whole = np.concatenate(list(mosaics.people(1000)))
    gene = mosaics.gene(3, 0.4)
    y = gene.expression(whole)
    for n, block in ((1000, 1), (1000, 255), (1000, 256), (1000, 999), (1000, 5000), (300, 77)):
        blocks = list(mosaics.people(n, block=block))
        assert [len(x) for x in blocks] == [block] * (n // block) + [n % block] * (n % block > 0)
        np.testing.assert_array_equal(np.concatenate(blocks), whole[:n])
        starts = range(0, n, block)
        np.testing.assert_array_equal(
            np.concatenate([gene.expression(x, start) for start, x in zip(starts, blocks)]), y[:n]
        )
    assert list(mosaics.people(0)) == []
    other = Mosaics(haplotypes, positions, seed=6, flip=0.01)
    assert not np.array_equal(next(other.people(1000)), whole)
    assert not np.array_equal(mosaics.gene(3, 0.4, number=1).expression(whole), y)


def test_flips_let_people_differ_in_more_ways_than_there_are_haplotypes():
    haplotypes, positions = given_haplotypes(h=8)
    without, some = (next(Mosaics(haplotypes, positions, rate=0.0, flip=flip).people(500)) for flip in (0.0, 0.01))
    assert np.linalg.matrix_rank(without) <= 8 < 100 < np.linalg.matrix_rank(some)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("n_effects, h2", [(1, 0.1), (5, 0.3), (60, 0.8), (4, 0.0), (0, 0.5)])
def test_genes_of_mosaics_have_their_heritability_and_effects(seed, n_effects, h2):
    haplotypes, positions = given_haplotypes(seed)
    mosaics = Mosaics(haplotypes, positions, seed=seed, flip=0.001)
    gene = mosaics.gene(n_effects, h2)
    n = 10_000
    x = np.concatenate(list(mosaics.people(n))).astype(float)
    y = gene.expression(x)
    assert len(gene.columns) == len(set(gene.columns.tolist())) == n_effects
    value = x[:, gene.columns] @ gene.effects
    expected = h2 if n_effects else 0.0
    assert gene.h2 == expected and abs(value.var() - expected) < 0.06 * max(expected, 1e-9) + 1e-12
    assert abs(y.var() - 1) < 0.08 and abs(y.mean()) < 0.06
    design = np.column_stack([x[:, gene.columns], np.ones(n)])
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    se = np.sqrt((1 - expected) * np.diag(np.linalg.pinv(design.T @ design)))
    assert (np.abs(beta - np.append(gene.effects, -gene.mean)) < 5 * se).all()


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"haplotypes": [[0, -1]]}, "must be 0 or 1"),
        ({"haplotypes": [[0, 1, 1]]}, r"shape \(1, 3\), positions \(2,\)"),
        ({"positions": [5, 4]}, "must ascend"),
        ({"flip": 0.5}, "below 0.5"),
        ({"rate": -1.0}, "at least 0"),
    ],
)
def test_what_mosaics_cannot_be_made_of(chosen, message):
    with pytest.raises(GenopredError, match=message):
        Mosaics(**({"haplotypes": [[0, 1]], "positions": [4, 5]} | chosen))
    mosaics = Mosaics([[0, 1], [0, 0]], [4, 5])
    with pytest.raises(GenopredError, match="from 0 to 1 effects"):
        mosaics.gene(2, 0.1)
    with pytest.raises(GenopredError, match="below 1"):
        mosaics.gene(1, 1.0)
    with pytest.raises(GenopredError, match="at least 0 and 1"):
        next(mosaics.people(5, block=0))
