"""GTF against a reader made of string methods."""

from __future__ import annotations

import gzip
import re

import polars as pl
import pytest

from genopred.errors import FormatError
from genopred.io import annotation
from genopred.io.annotation import GTF_EXON_SCHEMA, GTF_GENE_SCHEMA, exon_lengths, read_exons, read_gtf
from genopred.io.text import bounded, whole_lines

ENSEMBL = """#!genome-build GRCh37
22\tx\tgene\t100\t900\t.\t-\t.\tgene_id "ENSG00000000001"; gene_version "2"; gene_name "A; B"; gene_biotype "lincRNA";
22\tx\ttranscript\t100\t900\t.\t-\t.\tgene_id "ENSG00000000001"; transcript_id "t1";
22\tx\texon\t100\t200\t.\t-\t.\tgene_id "ENSG00000000001"; transcript_id "t1"; exon_number 1;
22\tx\texon\t150\t250\t.\t-\t.\tgene_id "ENSG00000000001"; transcript_id "t2";
22\tx\texon\t800\t900\t.\t-\t.\tgene_id "ENSG00000000001"; transcript_id "t1";
"""


def test_ensembl(tmp_path):
    path = tmp_path / "x.gtf"
    path.write_text(ENSEMBL)
    genes = read_gtf(path)
    assert genes.schema == GTF_GENE_SCHEMA
    name = "ENSG00000000001"
    assert genes.rows() == [(name, name, "A; B", "lincRNA", "22", 100, 900, "-", 900)]
    exons = read_exons(path)
    assert exons.schema == GTF_EXON_SCHEMA
    assert exons["transcript_id"].to_list() == ["t1", "t2", "t1"]
    assert exon_lengths(exons).rows() == [(name, 151 + 101)]


def test_without_gene_lines(tmp_path):
    path = tmp_path / "x.gtf"
    path.write_text("".join(line + "\n" for line in ENSEMBL.splitlines() if "\tgene\t" not in line))
    assert read_gtf(path).select("start", "end", "tss").rows() == [(100, 900, 900)]


def test_gencode(shared):
    path = shared / "data" / "reference" / "gencode.v24.annotation_chr22.gtf.gz"
    genes, covered = {}, {}
    with gzip.open(path, "rt") as handle:
        for line in handle:
            cells = line.split("\t")
            gene = re.search(r'gene_id "([^"]+)"', line)
            if len(cells) == 9 and cells[2] == "gene":
                genes[gene[1]] = (int(cells[3]), int(cells[4]), cells[6])
            elif len(cells) == 9 and cells[2] == "exon" and gene[1] < "ENSG000000600":
                covered.setdefault(gene[1], set()).update(range(int(cells[3]), int(cells[4]) + 1))
    table = read_gtf(path)
    assert {row[0]: row[1:] for row in table.select("gene_id", "start", "end", "strand").rows()} == genes
    tss = [end if strand == "-" else start for start, end, strand in genes.values()]
    assert table["tss"].to_list() == tss
    lengths = dict(exon_lengths(read_exons(path).filter(pl.col("gene_id").is_in(list(covered)))).rows())
    assert lengths == {gene: len(bases) for gene, bases in covered.items()} and len(lengths) == 7


def test_lines_that_start_after_their_end_are_refused_by_number(tmp_path):
    path = tmp_path / "x.gtf"
    path.write_text(ENSEMBL.replace("\t100\t200\t", "\t300\t200\t").replace("\t800\t900\t", "\t950\t900\t"))
    with pytest.raises(FormatError, match=r"x.gtf line 4: 2 lines start after their end; .*\(300-200, 950-900\)"):
        read_gtf(path)
    path.write_text(ENSEMBL.replace("\t100\t900\t", "\t0\t900\t"))
    with pytest.raises(FormatError, match=r"x.gtf line 2: 1 lines start before the first base"):
        read_exons(path)
    path.write_bytes(ENSEMBL.replace("lincRNA", "caf\xe9").encode("latin-1"))
    with pytest.raises(FormatError, match=r"x.gtf line 2 is not UTF-8"):
        read_gtf(path)


def test_a_large_file_is_read_part_by_part(tmp_path, monkeypatch):
    path = tmp_path / "x.gtf.gz"
    lines = ENSEMBL.splitlines(keepends=True)
    many = "".join(line.replace("0000001", f"{i:07}") for i in range(3000) for line in lines[1:])
    path.write_bytes(gzip.compress((lines[0] + many).encode()))
    whole = read_gtf(path)
    assert whole.height == 3000
    monkeypatch.setattr(annotation, "whole_lines", lambda path, what: whole_lines(path, what, size=10_000))
    assert read_gtf(path).equals(whole)
    with bounded(200_000), pytest.raises(FormatError, match="--max-bytes"):
        read_gtf(path)
    path.write_bytes(gzip.compress((lines[0] + many + "22\tx\tgene\n").encode()))
    with pytest.raises(FormatError, match="line 15002: 3 fields"):
        read_gtf(path)
