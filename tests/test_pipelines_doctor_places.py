"""Builds, chromosomes and alleles, beyond the planted faults of test_pipelines_doctor.py."""

from __future__ import annotations

import copy

import polars as pl
import pytest
from doctor_data import cohort, write

import genopred
from genopred.pipelines import doctor_places
from genopred.pipelines.doctor_files import open_all
from genopred.settings import Doctor


@pytest.fixture(scope="module")
def made():
    return cohort(seed=4)


def opened(made, folder, *only):
    return open_all(tuple(write(made, folder, only).values()), lambda name: None)[0]


def test_the_build_is_said_where_it_is_known(made, tmp_path):
    made = copy.deepcopy(made)
    made.header = {"1": "##contig=<ID=1,length=249250621>", "2": "##contig=<ID=2,length=243199373>"}
    made.more["models_build"] = "b37"
    [one] = doctor_places.builds(opened(made, tmp_path, "vcf", "models"))
    assert one.level == "green" and one.about == "GRCh37" and "people.vcf by its header" in one.said
    [one] = doctor_places.builds(opened(cohort(), tmp_path, "vcf", "expression"))
    assert "cannot be told" in one.said
    assert list(doctor_places.builds(opened(made, tmp_path, "fasta"))) == []


def test_part_of_the_chromosomes_is_missing_from_the_reference(made, tmp_path):
    made = copy.deepcopy(made)
    del made.sequence["2"]
    found = list(doctor_places.references(opened(made, tmp_path, "vcf", "fasta")))
    assert [one.level for one in found] == ["green", "amber"] and "lacks 2 of 2" in found[1].said
    [one] = doctor_places.references(opened(made, tmp_path, "expression", "fasta"))
    assert one.level == "red" and "lacks 2" in one.said


def test_unknown_bases_are_not_held_against_alleles(made, tmp_path):
    made = copy.deepcopy(made)
    made.sequence = {name: "N" * len(bases) for name, bases in made.sequence.items()}
    [one] = doctor_places.references(opened(made, tmp_path, "vcf", "fasta"))
    assert one.level == "green" and "N elsewhere" in one.said


def test_genes_far_from_all_variants(made, tmp_path):
    made = copy.deepcopy(made)
    made.genes = made.genes.with_columns(tss=pl.col("tss") + 20_000_000)
    files = opened(made, tmp_path, "vcf", "expression")
    [one] = doctor_places.genes(files, Doctor(files=("x",)))
    assert one.level == "red" and "none of 48 genes has a variant within 500,000" in one.said


def test_variants_of_what_has_none():
    files, _ = open_all((genopred.load_example().reference_file,), lambda name: None)
    assert doctor_places.variants(files.opened[0]) is None
