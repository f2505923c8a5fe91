"""genopred.io.variants."""

import gzip

import polars as pl
import pytest

from genopred.errors import FormatError, GenopredError
from genopred.io.variants import check_unique, extract_variants, header_build, read_variants, screened
from genopred.types import VARIANT_SCHEMA, Genotypes

ROWS = [("22", 100, "rs1", "A", "G"), ("22", 250, "22:250:C:T", "C", "T")]


@pytest.mark.parametrize(
    "text",
    [
        "chrom\tpos\tid\tref\talt\n22\t100\trs1\tA\tG\n22\t250\t.\tC\tT\n",
        "CHR,BP,SNP,REF,ALT\n22,100,rs1,a,g\n22,250,.,c,t\n",
        "alt  ref position rsid chromosome\nG A 100 rs1 22\nT C 250 . 22\n",
        "##fileformat=VCFv4.2\n##x=1\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        "22\t100\trs1\tA\tG\t.\t.\t.\n22\t250\t.\tC\tT\t.\t.\t.\n",
    ],
)
def test_spellings_and_separators(tmp_path, text):
    path = tmp_path / "snps.txt"
    path.write_text(text)
    table = read_variants(path)
    assert table.rows() == ROWS and dict(table.schema) == {name: kind() for name, kind in VARIANT_SCHEMA.items()}
    packed = tmp_path / "snps.txt.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert read_variants(packed).rows() == ROWS


def test_several_alt_alleles_become_rows_and_no_id_column_is_needed(tmp_path):
    path = tmp_path / "snps.tsv"
    path.write_text("chrom\tpos\tref\talt\n1\t5\tA\tC,T\n")
    assert read_variants(path)["id"].to_list() == ["1:5:A:C", "1:5:A:T"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("chrom\tpos\tid\tref\n22\t100\trs1\tA\n", "no column alt"),
        ("chrom\tpos\tid\tref\talt\n22\tx\trs1\tA\tG\n", "line 2, column 'pos': found 'x'"),
        ("chrom\tpos\tid\tref\talt\n22\t0\trs1\tA\tG\n", "line 2: position 0"),
        ("chrom\tpos\tid\tref\talt\n22\t100\trs1\tA\n", "line 2: 4 fields where 5"),
        (
            "chrom\tpos\tid\tref\talt\n1\t5\trs1\tA\tG\n1\t9\trs1\tA\tG\n",
            "1 ids stand for more than one position (rs1)",
        ),
        ("chrom\tpos\tid\tref\talt\n1\t5\trs1\tA\tG\n1\t5\trs2\tA\tG\n", "repeat a variant (1:5 A>G"),
        ("", "is empty"),
    ],
)
def test_bad_tables(tmp_path, text, message):
    path = tmp_path / "bad.tsv"
    path.write_text(text)
    with pytest.raises(FormatError) as caught:
        read_variants(path)
    assert message in str(caught.value) and "bad.tsv" in str(caught.value)


def test_alleles_of_one_place_may_share_an_id():
    table = pl.DataFrame([("1", 5, "rs1", "A", "G"), ("1", 5, "rs1", "A", "T")], schema=VARIANT_SCHEMA, orient="row")
    assert check_unique(table, "x").height == 2


def test_extract_says_why_nothing_is_common():
    table = pl.DataFrame([("1", 5, "1_5", "A", "G")], schema=VARIANT_SCHEMA, orient="row")
    with pytest.raises(GenopredError, match="one side has rs numbers"):
        extract_variants(table, ["rs1", "rs2"], "a.vcf", "list.txt")
    with pytest.raises(GenopredError, match="same build"):
        extract_variants(table, ["1_6"], "a.vcf", "list.txt")
    assert extract_variants(table, ["1_5", "1_6"], "a.vcf", "list.txt").height == 1


def genotypes_of(rows):
    table = pl.DataFrame(rows, schema=VARIANT_SCHEMA, orient="row")
    return Genotypes.from_arrays(["a", "b"], table, dosage=[[float(i) for i in range(len(rows))]] * 2, source="x.bim")


def test_variants_are_screened_counted_and_named():
    genotypes = genotypes_of(
        [
            ("chr22", 10, ".", "A", "G"),
            ("chr22", -5, "rs1", "A", "G"),
            ("22", 11, "rs2", "t", "T"),
            ("22", 12, "rs3", "A", "."),
            ("22", 13, "rs4", ".", "."),
            ("22", 0, "rs5", "A", "C"),
            ("22", 51_304_567, "rs6", "A", "C"),
            ("22", 51_304_566, "rs7", "A", "C"),
            ("22", 20, "rs8", "A", "C"),
            ("22", 20, "rs9", "A", "C"),
            ("22", 21, "rs8", "A", "C"),
            ("contig", 900_000_000, "", "A", "C"),
        ]
    )
    out = screened(genotypes)
    assert out.notes == (
        ("dropped", "negative position, as plink skips it", 1, "rs1"),
        ("dropped", "both alleles are the same", 1, "rs2"),
        ("note", "position 0: no gene's window reaches it", 1, "rs5"),
        ("note", "position beyond the chromosome's end in GRCh37 and GRCh38", 1, "rs6"),
        ("note", "same position and alleles as another variant", 2, "rs8, rs9"),
        ("note", "id that another variant has too", 1, "rs8"),
    )
    assert out.n_variants == 10 == genotypes.n_variants - 2
    assert out.variants["id"].to_list()[0] == "22:10:A:G" and out.variants["id"].to_list()[-1] == "contig:900000000:A:C"
    assert out.dosage()[0].tolist() == [0, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert screened(genotypes_of([("22", 1, "rs1", "A", "G")])).notes == ()
    with pytest.raises(FormatError, match=r"x.bim: 1 positions are beyond 2,147,483,647.*\(variant rs1: 2147483648\)"):
        screened(genotypes_of([("22", 2**31, "rs1", "A", "G")]))


def test_the_build_by_a_header():
    line = "##contig=<ID={},length={}>\n"
    assert header_build(line.format("chr1", 249250621).encode()) == "GRCh37"
    assert header_build((line.format(22, 50818468) + line.format("HLA-A", 3)).encode()) == "GRCh38"
    assert header_build(b"##contig=<length=51304566,ID=22>\n") == "GRCh37"
    for header in ("", "##contig=<ID=22>\n", line.format(22, 7), line.format(1, 249250621) + line.format(22, 50818468)):
        assert header_build(header.encode()) is None


def test_a_header_alone_is_no_list(tmp_path):
    (tmp_path / "x").write_text("## made\nchrom\tpos\tref\talt\n")
    with pytest.raises(FormatError, match="x has a header and no variants"):
        read_variants(tmp_path / "x")
