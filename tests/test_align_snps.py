"""Two tables of SNPs become one: which SNPs meet, whose sign is turned, what the genotypes add, and who is lost."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from overlap_data import MODEL, write
from plink_data import write_plink

from genopred.align import Tally
from genopred.align_snps import joined, with_alleles, with_dosage
from genopred.errors import AlignmentError
from genopred.io.plink import read_plink
from genopred.io.snptable import TableSpec, read_snps
from genopred.types import VARIANT_SCHEMA


def together(a, b, tally=None):
    return joined(read_snps(TableSpec(a, "a")), read_snps(TableSpec(b, "b")), tally or Tally())


@pytest.fixture
def genotypes(tmp_path):
    """Three people and four variants."""
    variants = pl.DataFrame(
        {"chrom": ["chr1"] * 4, "pos": [10, 20, 30, 40], "id": [f"rs{i}" for i in range(1, 5)], "ref": ["A"] * 4,
         "alt": ["C"] * 4},
        schema=VARIANT_SCHEMA,
    )  # fmt: skip
    dosage = np.array([[0, 1, 2, 0], [1, 1, 2, 0], [2, np.nan, 0, 1]])
    write_plink(tmp_path / "people", dosage, ["p1", "p2", "p3"], variants)
    return read_plink(tmp_path / "people")


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            MODEL.replace("rs", "x").replace("\t10\t", "\t11\t").replace("20\tA", "21\tA").replace("30\tA", "31\tA"),
            "builds",
        ),
        (MODEL.replace("rs", "x").replace("\t1\t", "\t2\t"), "chromosomes differ .1 against 2"),
        ("id\teffect\n1:10\t1\n1:20\t2\n1:30\t3\n", "one names variants by rsID, the other by position"),
        ("id\teffect\nrs7\t1\nrs8\t2\n", "share no variant"),
    ],
)
def test_no_common_snps_says_why(tmp_path, other, words):
    a, b = write(tmp_path, "a.tsv", MODEL), write(tmp_path, "b.tsv", other)
    if words.startswith("one names"):
        a = write(tmp_path, "a.tsv", "id\teffect\nrs1\t1\nrs2\t2\n")
    with pytest.raises(AlignmentError, match=words):
        together(a, b)


def test_chromosome_names_and_positions_match_where_ids_do_not(tmp_path):
    a = write(tmp_path, "a.tsv", MODEL)
    b = write(tmp_path, "b.tsv", MODEL.replace("rs", "x").replace("\t1\t", "\tchr1\t", 9).replace("effect", "beta"))
    snps, grouped = together(a, b)
    assert snps.height == 3 and not grouped and snps.select("id", "id_b").row(0) == ("rs1", "x1")


def test_effects_of_the_other_allele_are_turned(tmp_path):
    turned = MODEL.replace("effect", "beta").replace("A\tC\t2", "C\tA\t2").replace("A\tC\t3", "A\tG\t3")
    tally = Tally()
    snps, _ = together(write(tmp_path, "a.tsv", MODEL), write(tmp_path, "b.tsv", turned), tally)
    assert snps.select("id", "effect_a", "effect_b").rows() == [("rs1", 1, 1), ("rs2", 2, -2)]
    report = tally.report()
    assert (report.count("a and b", "in"), report.count("a and b", "dropped")) == (4, 2)  # rs3, once of each
    reasons = report.table.filter(status="dropped").select("reason", "n", "examples").rows()
    assert reasons == [("only in a, or alleles differ", 1, "rs3"), ("only in b, or alleles differ", 1, "rs3")]


def test_without_alleles_signs_are_not_known(tmp_path):
    a = write(tmp_path, "a.tsv", "id\teffect\nrs1\t1\nrs2\t2\n")
    snps, _ = together(a, write(tmp_path, "b.tsv", "id\teffect\nrs2\t1\nrs1\t2\n"))
    assert snps["score_b"].to_list() == [2, 1] and snps["effect_b"].null_count() == 2


def test_snps_are_paired_within_their_gene(tmp_path):
    a = write(tmp_path, "a.tsv", "id\tgene\teffect\nrs1\tg1\t1\nrs1\tg2\t2\nrs2\tg2\t3\n")
    b = write(tmp_path, "b.tsv", "id\tgene\tp\nrs1\tg2\t0.1\nrs2\tg2\t0.2\nrs2\tg1\t0.3\n")
    snps, grouped = together(a, b)
    assert grouped and snps.select("gene", "id", "score_a", "p_b").rows() == [
        ("g2", "rs1", 2, 0.1),
        ("g2", "rs2", 3, 0.2),
    ]
    b = write(tmp_path, "c.tsv", "id\tgene\tp\nrs1\tg3\t0.1\nrs9\tg1\t0.3\nrs9\tg2\t0.3\n")
    with pytest.raises(AlignmentError, match="share SNPs, but none of the same gene"):
        together(a, b)


def test_genes_that_do_not_meet(tmp_path):
    a = write(tmp_path, "a.tsv", "id\tgene\teffect\nrs1\tAPOE\t1\nrs2\tAPOE\t2\n")
    b = write(tmp_path, "b.tsv", "id\tgene\tp\nrs1\tENSG00000130203\t0.1\nrs2\tENSG00000130203\t0.2\n")
    with pytest.raises(AlignmentError, match="share no gene .APOE against ENSG00000130203"):
        together(a, b)


def test_alleles_and_positions_come_from_the_genotypes(tmp_path, genotypes):
    bare = read_snps(TableSpec(write(tmp_path, "b.tsv", "id\teffect\nrs3\t1\nrs9\t2\n"), "b")).data
    filled = with_alleles(bare, genotypes)
    assert filled.select("id", "chrom", "pos", "ref", "alt").rows() == [
        ("rs3", "1", 30, "A", "C"),
        ("rs9", None, None, None, None),
    ]
    whole = read_snps(TableSpec(write(tmp_path, "a.tsv", MODEL), "a")).data
    assert with_alleles(whole, genotypes) is whole


def test_dosages_of_the_snps_that_have_some(tmp_path, genotypes):
    bare = "id\teffect\nrs3\t1\nrs9\t2\nrs1\t3\n"
    snps, _ = together(write(tmp_path, "a.tsv", bare), write(tmp_path, "b.tsv", bare))
    tally = Tally()
    tally.come("a and b", "SNPs", 3)
    tally.use("a and b", "ranked", 2)
    found, dosage = with_dosage("a and b", snps, genotypes, tally)
    assert found.select("id", "chrom", "pos", "column").rows() == [("rs3", "1", 30, 2), ("rs1", "1", 10, 0)]
    np.testing.assert_array_equal(dosage, genotypes.dosage(np.array([0, 2]))[:, ::-1])
    np.testing.assert_allclose(found["af"], [2 / 3, 0.5])
    dropped = tally.report().table.filter(status="dropped").select("reason", "n", "examples").rows()
    assert dropped == [(f"not in {genotypes.source}", 1, "rs9")]


def test_dosages_by_position_where_no_name_is_known(tmp_path, genotypes):
    a = write(tmp_path, "a.tsv", MODEL.replace("rs", "x"))
    snps, _ = together(a, write(tmp_path, "b.tsv", MODEL.replace("rs", "y")))
    found, dosage = with_dosage("a and b", snps, genotypes, Tally())
    assert found["column"].to_list() == [0, 1, 2]
    np.testing.assert_array_equal(dosage, genotypes.dosage(np.arange(3)))
    far, _ = together(*(write(tmp_path, "f.tsv", MODEL.replace("rs", "z").replace("\t1\t", "\t5\t", 5)),) * 2)
    with pytest.raises(AlignmentError, match=r"none of the 3 SNPs is in \S*people.* \(z1, z2, z3 against rs1, rs2"):
        with_dosage("a and b", far, genotypes, Tally())
