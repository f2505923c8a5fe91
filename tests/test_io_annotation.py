"""GTF against a reader made of string methods."""

from __future__ import annotations

import gzip
import re

import polars as pl

from genopred.io.annotation import GTF_EXON_SCHEMA, GTF_GENE_SCHEMA, exon_lengths, read_exons, read_gtf

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
