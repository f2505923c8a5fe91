"""The embedded example says what it claims to be, in every format that it comes in."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from genopred.errors import GenopredError
from genopred.io import example as module
from genopred.io.example import load_example
from genopred.io.plink import read_plink
from genopred.types import Interval, plain_chrom


@pytest.fixture(scope="module")
def example():
    return load_example()


def test_what_the_readme_says(example):
    assert example.genotypes.n_samples == 358
    assert example.genotypes.n_variants == 2951
    assert example.expression.values.shape == (358, 28)
    assert example.covariates.values.shape == (358, 18)
    assert example.covariates.names[2:4] == ("genotype_PC3", "phenotype_PC1")
    assert example.genotypes.phased
    size = sum(path.stat().st_size for path in example.folder.iterdir())
    assert size < 1_600_000


def test_every_gene_has_its_whole_window(example):
    tss = example.expression.genes["tss"].to_numpy()
    pos = example.genotypes.variants["pos"].to_numpy()
    assert tss.min() - 500_000 >= 40_700_000
    assert tss.max() + 500_000 <= 42_700_000
    assert pos.min() > 40_700_000 and pos.max() <= 42_700_000
    assert np.all(np.diff(pos) > 0) and np.all(np.diff(tss) >= 0)


def test_same_people_everywhere(example):
    samples = example.genotypes.samples.tolist()
    assert set(samples) == set(example.expression.samples) == set(example.covariates.samples)
    assert len(set(samples)) == len(samples)


def test_frequencies_and_alleles(example):
    dosage = example.genotypes.dosage()
    frequency = dosage.mean(axis=0) / 2
    assert not np.isnan(dosage).any()
    assert frequency.min() >= 0.05 and frequency.max() <= 0.95
    assert set("".join(example.genotypes.variants["ref"])) == set("ACGT")


def test_phase_is_real(example):
    """Unphased or shuffled alleles would not show common SNPs that share nearly all their haplotypes."""
    alleles = example.genotypes.haplotypes().alleles(np.arange(400)).astype(float)
    heterozygous = alleles[:, 0] != alleles[:, 1]
    assert 0.3 < alleles[:, 0][heterozygous].mean() < 0.7
    haplotypes = alleles.reshape(-1, 400)
    within = np.corrcoef(haplotypes.T) ** 2
    across = np.corrcoef(np.concatenate([alleles[:, 0], alleles[::-1, 1]], axis=1).T)[:400, 400:] ** 2
    near = np.eye(400, k=1, dtype=bool)
    assert within[near].mean() > 0.4
    assert across[near].mean() < 0.02


def test_plink1_holds_the_same_calls(example):
    other = read_plink(example.bfile)
    assert other.samples.tolist() == example.genotypes.samples.tolist()
    assert other.variants.equals(example.genotypes.variants)
    np.testing.assert_array_equal(other.dosage(), example.genotypes.dosage())


@pytest.mark.parametrize("options", [["--pfile"], ["--bfile"]], ids=["pfile", "bfile"])
def test_plink2_reads_it(example, options, tmp_path):
    if shutil.which("plink2") is None:
        pytest.skip("plink2 is not installed")
    command = ["plink2", *options, str(example.pfile), "--freq", "--validate", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    table = np.loadtxt(tmp_path / "out.afreq", dtype=str, skiprows=1)
    np.testing.assert_allclose(table[:, 4].astype(float), example.genotypes.dosage().mean(axis=0) / 2, atol=1e-6)


def test_reference_has_the_alleles(example):
    reference = example.reference()
    assert reference.length("chr22") == 51_304_566
    variants = example.genotypes.variants
    assert {plain_chrom(name) for name in variants["chrom"].unique()} == {"22"}
    start, end = 40_700_000, 42_700_000
    bases = reference.fetch(Interval("22", start, end))
    assert [bases[pos - 1 - start] for pos in variants["pos"]] == variants["ref"].to_list()
    assert bases.count("N") == 199
    assert set(reference.fetch(Interval("22", start - 1000, start))) == {"N"}
    assert set(reference.fetch(Interval("22", end, end + 1000))) == {"N"}


def test_some_genes_are_predictable(example):
    """The gene whose best SNP is known to explain much of it, and one where nothing is known to."""
    r2 = {}
    for gene in ("ENSG00000167074", "ENSG00000100387"):
        i = example.expression.genes["gene"].to_list().index(gene)
        tss = example.expression.genes["tss"][i]
        order = [example.genotypes.samples.tolist().index(name) for name in example.expression.samples]
        x = example.genotypes.dosage(Interval.around("22", tss, 500_000))[order]
        y = example.expression.values[:, i].argsort().argsort().astype(float)
        x, y = x - x.mean(axis=0), y - y.mean()
        r2[gene] = np.max((x.T @ y) ** 2 / ((x**2).sum(axis=0) * (y @ y)))
    assert r2["ENSG00000167074"] > 0.2
    assert r2["ENSG00000100387"] < 0.08


def test_copy(example, tmp_path):
    mine = example.copy_to(tmp_path / "mine")
    names = sorted(path.name for path in mine.folder.iterdir())
    assert names == sorted(path.name for path in example.folder.iterdir())
    assert all((mine.folder / name).read_bytes() == (example.folder / name).read_bytes() for name in names)
    assert mine.bfile.parent == tmp_path / "mine"
    np.testing.assert_array_equal(mine.genotypes.dosage([0, 5]), example.genotypes.dosage([0, 5]))


def test_installed_without_data(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "files", lambda package: tmp_path)
    with pytest.raises(GenopredError, match="install genopred again"):
        load_example()
