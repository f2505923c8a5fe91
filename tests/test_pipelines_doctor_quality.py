"""Genotypes and expression by themselves, beyond the planted faults of test_pipelines_doctor.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import genopred
from genopred.pipelines import doctor_quality
from genopred.pipelines.doctor_files import Files, Opened
from genopred.types import Genotypes


def table(m):
    rows = {"chrom": ["1"] * m, "pos": range(1, m + 1), "id": [f"v{i}" for i in range(m)], "ref": "A", "alt": "C"}
    return pl.DataFrame(rows)


def test_a_sample_is_spread_in_runs_and_bounded(monkeypatch):
    held = Genotypes.from_arrays(["a", "b"], table(5000), dosage=np.zeros((2, 5000)))
    assert len(doctor_quality.sample(held).variants) == 5000
    monkeypatch.setattr(doctor_quality, "MOST_VARIANTS", 400)
    taken = doctor_quality.sample(held)
    assert taken.dosage.shape == (2, len(taken.variants)) and 380 <= len(taken.variants) <= 400
    assert taken.variants[0] == 0 and taken.variants[-1] == 4999 and (np.diff(taken.variants[:20]) == 1).all()
    monkeypatch.setattr(doctor_quality, "MOST_BYTES", 4 * 2 * 100)
    assert len(doctor_quality.sample(held).variants) <= 100


def test_no_variant_is_no_sample():
    held = Genotypes.from_arrays(["a", "b"], table(0), dosage=np.zeros((2, 0)))
    assert doctor_quality.sample(held).dosage.shape == (2, 0)


def test_a_mixture_of_two_people_shows():
    rng = np.random.default_rng(1)
    alleles = (rng.random((60, 2, 6000)) < rng.uniform(0.1, 0.5, 6000)).astype(np.int8)
    x = alleles.sum(axis=1).astype(np.float32)
    x[5] = np.clip(np.round((x[5] + x[6] + x[7]) / 3), 0, 2)
    held = Genotypes.from_arrays([f"S{i}" for i in range(60)], table(6000), dosage=x)
    one = Opened(Path("x.bed"), "bfile", held)
    found = list(doctor_quality.genotypes(one, Files([one]), doctor_quality.sample(held)))
    [odd] = [f for f in found if f.check == "heterozygotes"]
    assert "1 person has an odd share of heterozygotes (S5" in odd.said


@pytest.fixture
def expression():
    return Opened(Path("e.bed"), "expression", genopred.load_example().expression)


def test_a_sample_unlike_the_others(expression):
    values = expression.content.values.copy()
    values[7] = np.random.default_rng(2).permutation(values[7])[::-1]
    odd = replace(expression, content=replace(expression.content, values=values))
    said = [f.said for f in doctor_quality.expression(odd) if f.check == "samples"]
    assert said == [] or expression.content.samples[7] in said[0]
    assert [f for f in doctor_quality.expression(expression) if f.level != "green"] == []


def test_genes_in_versions_and_genes_at_zero(expression):
    held = expression.content
    values, genes = held.values.copy(), held.genes
    values[:200, 3] = 0
    names = genes["gene"].to_list()
    names[4] = names[5]
    odd = replace(held, values=values, genes=genes.with_columns(gene=pl.Series(names)))
    said = [f.line() for f in doctor_quality.expression(replace(expression, content=odd)) if f.level == "amber"]
    assert any("0 in more than half" in line for line in said) and any("several versions" in line for line in said)
