"""Files opened by the readers of every workflow; those that cannot be are findings."""

from __future__ import annotations

from pathlib import Path

import pytest

import genopred
from genopred.pipelines.doctor_files import common_people, open_all, people


def opened(*paths):
    return open_all(tuple(map(Path, paths)), lambda name: None)


def test_everything_is_opened_once_and_named():
    example = genopred.load_example()
    folder = example.folder
    files, found = opened(
        example.covariates_file, example.expression_file, folder / "geuvadis.pvar", folder / "geuvadis.pgen",
        example.reference_file, f"{example.reference_file}.fai",
    )  # fmt: skip
    assert found == []
    assert [one.kind for one in files.opened] == ["expression", "pfile", "fasta", "covariates"]  # people's names first
    assert files.first("genotypes").name == "geuvadis.pgen" and files.first("models") is None
    assert files.first("fasta").build == "GRCh37" and "lengths" in files.first("fasta").why
    assert len(people(files)) == 358 and common_people(files).tolist() == example.expression.samples.tolist()


def test_a_bgen_and_its_sample_are_one(tmp_path):
    pytest.importorskip("bgen")
    from test_io_bgen import SAMPLE, calls, some_dosages, write_bgen

    path = write_bgen(tmp_path / "x.bgen", calls(some_dosages()), names=None)
    (tmp_path / "x.sample").write_text(SAMPLE)
    files, found = opened(tmp_path / "x.sample", path)
    assert found == [] and [one.kind for one in files.opened] == ["bgen"]
    assert files.first("genotypes").name == "x.bgen" and people(files) == [f"p{i}" for i in range(5)]
    (tmp_path / "x.sample").unlink()
    files, found = opened(path)
    assert (
        files.opened == [] and [one.level for one in found] == ["red"] and "--sample" in found[0].remedy + found[0].said
    )


def test_what_cannot_be_read_is_red(tmp_path):
    (tmp_path / "a.vcf").write_text("no VCF\n")
    (tmp_path / "empty.fa").write_text("")
    files, found = opened(tmp_path / "a.vcf", tmp_path / "empty.fa", tmp_path / "none.bed", tmp_path)
    assert files.opened == [] and [one.level for one in found] == ["red", "red", "red", "amber"]
    assert all(str(tmp_path) not in one.said for one in found)


def test_nobody_where_there_are_no_people():
    files, _ = opened(genopred.load_example().reference_file)
    assert people(files) == [] and common_people(files).tolist() == []


def test_chains_say_where_from_and_where_to(shared):
    files, found = opened(shared / "data" / "reference" / "hg19ToHg38.over.chain.gz")
    assert found == [] and (files.opened[0].build, files.opened[0].why) == ("GRCh37", "to GRCh38")
