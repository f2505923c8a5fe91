"""Scoring files of the PGS Catalog: what is written is what our own reader reads."""

from __future__ import annotations

import gzip

import polars as pl
import pytest

from genopred.io.pgscatalog import HEADER, write_scoring_file
from genopred.io.scores import read_weights

ROWS = pl.DataFrame(
    [
        ("chr22", 100, "rs1", "A", "G", 0.1 + 0.2, 0.25),
        ("22", 200, "22_200_AT_A", "AT", "A", -1e-9, 0.5),
        ("X", 300, "rs3", "C", "T", 2.0, None),
    ],
    schema=["chrom", "pos", "id", "ref", "alt", "weight", "freq"],
    orient="row",
)


@pytest.mark.parametrize("build", ["GRCh37", "GRCh38"])
def test_what_is_written_is_read_again(tmp_path, build):
    path = tmp_path / "s.txt.gz"
    write_scoring_file(path, ROWS, {"pgs_id": "ENSG1.2", "genome_build": build, "weight_type": "beta"})
    read = read_weights(path)
    assert read.build == build and not read.intercepts and not read.notes
    table = read.table
    assert table["weight"].to_list() == ROWS["weight"].to_list()  # to the last bit
    assert table.select("chrom", "pos", "ref", "alt").rows() == [
        ("22", 100, "A", "G"), ("22", 200, "AT", "A"), ("X", 300, "C", "T"),
    ]  # fmt: skip
    assert table["id"].to_list()[0] == "rs1"


def test_the_header_says_what_is_known(tmp_path):
    path = tmp_path / "s.txt.gz"
    write_scoring_file(path, ROWS, {"pgs_id": "X"})
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    header = [line for line in lines if line.startswith("#")]
    said = dict(line[1:].split("=", 1) for line in header[2:])
    assert tuple(said) == HEADER
    assert (said["format_version"], said["variants_number"], said["pgs_id"]) == ("2.0", "3", "X")
    assert {said[name] for name in ("trait_efo", "genome_build", "pgp_id")} == {"NR"}
    assert lines[len(header)].split("\t")[:6] == [
        "rsID", "chr_name", "chr_position", "effect_allele", "other_allele", "effect_weight",
    ]  # fmt: skip
    assert lines[len(header) + 2].split("\t")[:2] == ["", "22"]  # no rsID where the id is none
    again = tmp_path / "again.txt.gz"
    write_scoring_file(again, ROWS, {"pgs_id": "X"})
    assert again.read_bytes() == path.read_bytes()
