"""The way in of genopred effects: SNPs, genes, REF against the FASTA, and files that do not fit."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

import test_pipelines_effects as shared
from test_pipelines_effects import SEQUENCE, SITES, settings

from genopred.errors import AlignmentError, FormatError, GenopredError, ModelError
from genopred.pipelines.effects import run
from genopred.types import Interval

files, packages = shared.files, shared.packages


def test_snps_from_genotypes_are_the_same(files):
    one = run(settings(files, out=files / "a")).table
    other = run(settings(files, snps=None, vcf=files / "people.vcf", out=files / "b")).table
    assert other.drop("chrom").equals(one.drop("chrom"))


def test_extract_and_exclude(files):
    (files / "some.txt").write_text("v1\nv2\nv3\nnothing\n")
    (files / "not.txt").write_text("v2\n")
    done = run(
        settings(files, extract=files / "some.txt", exclude=files / "not.txt", all_genes=False, model="forward:1")
    )
    assert done.table["id"].to_list() == ["v1", "v3"]
    notes = done.report.table.filter(pl.col("status") == "note")
    assert notes["examples"].to_list() == ["nothing"] and done.report.count("variants", "dropped") == 78


def spoil(files, how):
    """A table of SNPs in which some rows are turned into something else."""
    lines = (files / "snps.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines[1:]]
    how(rows)
    path = files / "spoilt.tsv"
    path.write_text("\n".join([lines[0], *["\t".join(row) for row in rows]]) + "\n")
    return path


def turned(rows):
    for row in rows:
        row[3], row[4] = row[4], row[3]


def elsewhere(rows):
    for row in rows:
        row[1] = str(int(row[1]) % 1190 + 3)


def test_swapped_alleles_are_put_right_and_negate(files):
    plain = run(settings(files)).table
    swapped = run(settings(files, snps=spoil(files, turned), allow_swapped=True, out=files / "b"))
    np.testing.assert_allclose(swapped.table["effect"], -plain["effect"], atol=1e-12)
    notes = swapped.report.table.filter(pl.col("status") == "note")["reason"].to_list()
    assert len(notes) == 1 and "swapped" in notes[0]


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"snps": turned}, AlignmentError, "another genome build|swapped with ALT"),
        ({"snps": elsewhere}, AlignmentError, "another genome build"),
        ({"snps": lambda rows: rows[0].__setitem__(1, "5000")}, AlignmentError, "1,200 bases, and a SNP is at 5,000"),
        ({"snps": lambda rows: rows[0].__setitem__(2, "v5")}, FormatError, "more than one position .v5."),
        ({"snps": lambda rows: [row.__setitem__(0, "7") for row in rows]}, FormatError, "no sequence 7"),
        ({"snps": lambda rows: rows[3].__setitem__(1, "x")}, FormatError, "line 5, column 'pos'"),
        ({"snps": None}, GenopredError, "none given"),
        ({"center": "tss", "all_genes": False}, GenopredError, "--center tss needs genes"),
        ({"upstream": 5, "all_genes": False}, GenopredError, "--upstream needs genes"),
        ({"share": 5}, GenopredError, "--share is for --center snp"),
        ({"gene": ("ENSG7",), "all_genes": False}, GenopredError, "1 of 1 genes are not in"),
        ({"expression": None}, GenopredError, "neither --expression nor --gtf"),
        ({"region": Interval("chr1", 2000, 3000)}, AlignmentError, "none of the 80 SNPs"),
        ({"region": Interval("chr2", 0, 3000)}, AlignmentError, "--region chr2:1-3,000"),
        ({"bins": 9}, GenopredError, "--bins 9"),
        ({"tracks": ("ATACC",)}, ModelError, "matches none"),
        ({"gradients": True}, GenopredError, "--gradients belongs to --ism"),
        ({"strands": "both"}, ModelError, "--strands both"),
        ({"device": "nowhere"}, GenopredError, "--device nowhere"),
    ],
)
def test_bad_input(files, changes, error, message):
    if callable(changes.get("snps")):
        changes = {**changes, "snps": spoil(files, changes["snps"])}
    with pytest.raises(error, match=message):
        run(settings(files, **changes))
    assert not (files / "out.parquet").exists()


def test_nothing_in_the_window_says_how_far_it_is(files):
    (files / "one.txt").write_text("v0\n")
    with pytest.raises(AlignmentError, match="No SNP can be scored: 79 not in --extract, 1 in no gene's window"):
        run(settings(files, extract=files / "one.txt", gene=("ENSG00000000003",), all_genes=False))
    far = int(830 - (SITES[0] + 1))
    with pytest.raises(AlignmentError, match=f"nearest SNP is {far} bp away.*--center snp"):
        run(settings(files, extract=files / "one.txt", gene=("ENSG00000000003",), all_genes=False, upstream=900))


def test_genes_without_strand_are_refused_where_it_matters(files):
    lines = [line.split("\t") for line in (files / "expression.bed").read_text().splitlines()]
    short = "\n".join("\t".join(row[:4] + row[6:]) for row in lines) + "\n"
    (files / "gtex.bed").write_text(short)
    with pytest.raises(GenopredError, match="no strand for 4 of 4 genes"):
        run(settings(files, expression=files / "gtex.bed"))
    assert run(settings(files, expression=files / "gtex.bed", model="forward:1")).table.height


def test_indels_and_symbolic_alleles_are_counted(files):
    text = (files / "snps.tsv").read_text()
    text += f"chr1\t500\tdel\t{SEQUENCE[499:502]}\t{SEQUENCE[499]}\nchr1\t505\tsv\t{SEQUENCE[504]}\t<DEL>\n"
    (files / "more.tsv").write_text(text)
    done = run(settings(files, snps=files / "more.tsv"))
    counts = {row["reason"]: (row["n"], row["examples"]) for row in done.report.table.iter_rows(named=True)}
    assert counts["indel"] == (1, "del") and counts["symbolic or missing allele"] == (1, "sv")
    assert done.table.equals(run(settings(files, out=files / "b")).table)
