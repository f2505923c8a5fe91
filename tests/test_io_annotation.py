"""GTF against a reader made of string methods."""

from __future__ import annotations

import gzip
import re

import pytest

from genopred.errors import FormatError
from genopred.io import annotation
from genopred.io.annotation import GTF_EXON_SCHEMA, GTF_GENE_SCHEMA, read_exons, read_gtf, read_symbols
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
    assert exons.select("start", "end").rows() == [(100, 200), (150, 250), (800, 900)]


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
    bases: dict[str, set[int]] = {}
    for gene, start, end in read_exons(path).select("gene_id", "start", "end").iter_rows():
        bases.setdefault(gene, set()).update(range(start, end + 1) if gene in covered else ())
    assert {gene: bases[gene] for gene in covered} == covered and len(covered) == 7


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


BED = "#chr\tstart\tend\tgene_id\t{}\tstrand\tA\n22\t1\t2\tENSG00000000001.4\tTEF\t+\t0.5\n"


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        (ENSEMBL, {"ENSG00000000001": "A; B"}),
        ("gene_id\tgene_name\nENSG00000000001.4\tTEF\nENSG00000000002\t\n", {"ENSG00000000001": "TEF"}),
        ("Gene_ID\tx\tSymbol\nENSG00000000001\t1\tTEF\n", {"ENSG00000000001": "TEF"}),
        (BED.format("gene_name"), {"ENSG00000000001": "TEF"}),
        (BED.format("length"), {}),
    ],
)
def test_symbols_of_three_layouts(tmp_path, text, symbols):
    path = tmp_path / "x.txt"
    path.write_text(text)
    assert read_symbols(path) == symbols


def test_a_symbol_that_several_genes_share_names_none_of_them(tmp_path):
    path = tmp_path / "x.tsv"
    rows = ["G1\tY_RNA", "G2\tY_RNA", "G3\tTEF", "G4\tG4", "G5\t.", "G6\tNA"]
    path.write_text("\n".join(["gene_id\tgene_name", *rows]) + "\n")
    assert read_symbols(path) == {"G3": "TEF"}


def test_a_file_without_symbols_is_refused(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("gene\tvalue\nG1\t2\n")
    with pytest.raises(FormatError, match="found the header gene, value; gene symbols need a GTF, or a table with"):
        read_symbols(path)
