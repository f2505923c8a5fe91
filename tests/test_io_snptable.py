"""Tables of scored SNPs: columns found by name, and what is wrong with them said."""

from __future__ import annotations

import gzip
import os

import polars as pl
import pytest

from genopred.errors import FormatError
from genopred.io.snptable import TableSpec, read_snps

TEXT = "Chrom\tSNP\tPosition\tAllele1\tAllele2\tResult\nchr19\trs1\t10\tA\tC\t-2.5\n19\trs2\t20\tG\tA\t1\n"


def read(tmp_path, text, name="table.tsv", **spec):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return read_snps(TableSpec(path, "t", **spec))


@pytest.mark.parametrize("name", ["table.tsv", "table.tsv.gz"])
def test_columns_by_their_names(tmp_path, name):
    table = read(tmp_path, TEXT, name)
    assert (table.label, table.kind) == ("Result", "abs")
    assert table.data["score"].to_list() == [2.5, 1.0] and table.data["effect"].to_list() == [-2.5, 1.0]
    assert table.data["chrom"].to_list() == ["19", "19"] and table.data["pos"].to_list() == [10, 20]
    assert table.has >= {"ref", "alt"}


def test_comma_separated_and_parquet(tmp_path):
    assert read(tmp_path, TEXT.replace("\t", ",")).data["score"].to_list() == [2.5, 1.0]
    frame = pl.DataFrame(
        {"phenotype_id": ["ENSG00000000001.2"] * 2, "variant_id": ["22_5", "22_7"], "pval_nominal": [0.1, 0.01]}
    )
    for i in (0, 1):
        frame[i : i + 1].write_parquet(tmp_path / f"pairs.{i}.parquet")
    table = read_snps(TableSpec(tmp_path / "pairs.*.parquet", "eqtl"))
    assert table.data["score"].to_list() == pytest.approx([1.0, 2.0])
    assert table.data["gene"].unique().to_list() == ["ENSG00000000001"]
    assert table.data["pos"].to_list() == [5, 7] and table.data["chrom"].to_list() == ["22", "22"]


def test_gtex_ids_hold_alleles(tmp_path):
    table = read(tmp_path, "variant_id\tslope\nchr1_100_A_G_b38\t2\nchr1_200_C_T_b38\t1\n")
    assert table.data.select("chrom", "pos", "ref", "alt").row(0) == ("1", 100, "A", "G")


@pytest.mark.parametrize(
    ("score", "expected", "kind"),
    [
        ("abs:x", [2.0, 1.0], "abs"),
        ("low:x", [2.0, -1.0], "low"),
        ("high:x", [-2.0, 1.0], "high"),
        ("x", [-2.0, 1.0], "high"),
        ("p:q", [1.0, 2.0], "p"),
        ("abs:x/q", [20.0, 100.0], "abs"),
    ],
)
def test_ways_to_rank(tmp_path, score, expected, kind):
    table = read(tmp_path, "id\tx\tq\na\t-2\t0.1\nb\t1\t0.01\n", score=score)
    assert table.data["score"].to_list() == pytest.approx(expected) and table.kind == kind


def test_missing_scores_are_counted(tmp_path):
    table = read(tmp_path, "id\tp\na\t0.5\nb\tNA\nc\t\nd\t0.1\n")
    assert table.data["id"].to_list() == ["a", "d"]
    assert table.notes == (("dropped", "no value in column p", 2, "b, c"),)


def test_rows_of_one_group(tmp_path):
    text = "id\tgene\ttrack_group\teffect\na\tG\tall\t1\na\tG\tchosen\t2\nb\tG\tall\t3\nb\tG\tchosen\t4\n"
    assert read(tmp_path, text, where="track_group=chosen").data["score"].to_list() == [2.0, 4.0]
    with pytest.raises(FormatError, match="2 SNPs are listed more than once.*a of G.*--a-where"):
        read(tmp_path, text)
    with pytest.raises(FormatError, match="no row is 'none' .found all, chosen"):
        read(tmp_path, text, where="track_group=none")


@pytest.mark.parametrize(
    ("text", "spec", "words"),
    [
        ("id\tslop\na\t1\n", {"score": "abs:slope"}, "no column 'slope'.*Did you mean 'slop'.*It has: id, slop"),
        ("id\tx\na\t1\n", {"id": "rsid"}, "no column 'rsid'"),
        ("id\tx\na\t1\n", {}, "no column to rank by.*--a-score"),
        ("name\teffect\na\t1\n", {}, "names no SNPs.*--a-id"),
        ("id\teffect\na\tbig\n", {}, "line 2, column 'effect': found 'big'"),
        ("id\tp\na\t0\nb\t0.5\n", {}, "1 p-values are not above 0.*line 2: 0.*abs:slope/slope_se"),
        ("id\tp\na\t0.5\nb\t1.5\n", {}, "line 3: 1.5.*no p-value"),
        ("id\tq\na\t0.5\nb\t-1\n", {"score": "p:q"}, "line 3: -1"),
        ("id\teffect\na\t1\na\t2\n", {}, "1 SNPs are listed more than once .a."),
        ("id\teffect\na\tNA\n", {}, "holds no number"),
        ("id\teffect\n", {}, "no rows"),
        ("id\teffect\na\t1\n", {"where": "effect"}, "COLUMN=VALUE"),
    ],
)
def test_bad_tables(tmp_path, text, spec, words):
    with pytest.raises(FormatError, match=words):
        read(tmp_path, text, **spec)


def test_files_that_are_not_there(tmp_path):
    for name in ("none.tsv", "none.parquet"):
        with pytest.raises(FormatError, match="no such file"):
            read_snps(TableSpec(tmp_path / name, "t"))
    (tmp_path / "bad.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(FormatError, match="is no parquet file"):
        read_snps(TableSpec(tmp_path / "bad.parquet", "t"))


def test_a_pattern_that_fits_no_file(tmp_path):
    with pytest.raises(FormatError, match=r"none\*.parquet: no file fits this pattern"):
        read_snps(TableSpec(tmp_path / "none*.parquet", "a"))
    pl.DataFrame({"id": ["rs1"], "p": [0.5]}).write_parquet(tmp_path / "x1.parquet")
    pl.DataFrame({"id": ["rs2"], "p": [0.1]}).write_parquet(tmp_path / "x2.parquet")
    assert read_snps(TableSpec(tmp_path / "x*.parquet", "a")).data["id"].to_list() == ["rs1", "rs2"]


def test_a_pipe_instead_of_a_parquet_file(tmp_path):
    os.mkfifo(tmp_path / "x.parquet")
    with pytest.raises(FormatError, match="x.parquet is a pipe"):
        read_snps(TableSpec(tmp_path / "x.parquet", "a"))
