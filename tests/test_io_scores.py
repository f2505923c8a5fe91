"""Score files, ranges and phenotypes: the layouts of plink, PGS Catalog and ours, and their bad cousins."""

from __future__ import annotations

import numpy as np
import pytest

from genopred.errors import FormatError
from genopred.io import scores


def written(tmp_path, text):
    path = tmp_path / "file.txt"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "rs1 A 0.5\nrs2 g -1e-2\n",
        "SNP A1 BETA\nrs1 A 0.5\nrs2 G -0.01\n",
        "what ever header\nrs1 A 0.5\nrs2 G -0.01\n",
        "variant_id\teffect_allele\tother_allele\tweight\nrs1\tA\tC\t0.5\nrs2\tG\tT\t-0.01\n",
        "###PGS CATALOG\n#format=2.0\nrsID\teffect_allele\teffect_weight\nrs1\tA\t0.5\nrs2\tG\t-0.01\n",
        "##comment\nID ALT WEIGHT\nrs1 A 0.5\nrs2 G -0.01\n",
    ],
)
def test_layouts(tmp_path, text):
    table = scores.read_weights(written(tmp_path, text)).table
    assert table.schema == scores.WEIGHT_SCHEMA
    assert table.select("score", "id", "alt", "weight").rows() == [
        ("score", "rs1", "A", 0.5),
        ("score", "rs2", "G", -0.01),
    ]
    assert table["ref"].null_count() in (0, 2)


def test_column_numbers(tmp_path):
    path = written(tmp_path, "CHR SNP BP A1 BETA\n22 rs1 10 A 0.5\n22 rs2 20 G -0.01\n")
    table = scores.read_weights(path, (2, 4, 5)).table
    assert table["id"].to_list() == ["rs1", "rs2"] and table["weight"].to_list() == [0.5, -0.01]


def test_several_scores_in_one_file(tmp_path):
    text = "gene_id method variant_id chrom pos ref alt weight\ng1 pt rs1 22 5 C A 1\ng2 pt rs1 22 5 C A 2\n"
    table = scores.read_weights(written(tmp_path, text)).table
    assert table.rows() == [("g1:pt", "rs1", "22", 5, "C", "A", 1.0), ("g2:pt", "rs1", "22", 5, "C", "A", 2.0)]
    split = scores.read_weights(written(tmp_path, "score id alt weight\nx rs1 A 1\ny rs1 A 2\n")).table
    assert split["score"].to_list() == ["x", "y"]


def test_ranges_and_values(tmp_path):
    assert scores.read_ranges(written(tmp_path, "a 0 0.1\nb 0.2 1\n")) == {"a": (0, 0.1), "b": (0.2, 1)}
    assert scores.read_values(written(tmp_path, "SNP P\nrs1 0.5\nrs2 NA\n")) == {"rs1": 0.5}


def test_phenotypes(tmp_path):
    samples, values, name = scores.read_phenotype(written(tmp_path, "0 a 1.5\n0 b -9\n0 c NA\n"))
    assert samples.tolist() == ["a", "b", "c"] and name == "P1"
    np.testing.assert_array_equal(values, [1.5, np.nan, np.nan])
    header = written(tmp_path, "#FID IID height bmi\n0 a 1 2\n0 b 3 4\n")
    assert scores.read_phenotype(header, "bmi")[1].tolist() == [2, 4]
    assert scores.read_phenotype(written(tmp_path, "IID height\na 1\n"))[1].tolist() == [1]


@pytest.mark.parametrize(
    ("reader", "text", "message"),
    [
        ("read_weights", "rs1 A\n", "2 columns where variant id, effect allele and weight"),
        ("read_weights", "rs1 A 0.5\nrs2 G x\n", r"line 2.*'x' where a number is needed"),
        ("read_weights", "rs1 A 0.5\nrs2 G nan\n", r"1 weights are not finite numbers \(lines 2\)"),
        ("read_weights", "rs1 A 0.5\nrs1 G 1\n", "share their variant with another row"),
        ("read_weights", "rs1 A 0.5\nrs2 G\n", "line 2: 2 fields where 3"),
        ("read_ranges", "a 0 x\n", "'x' where a number"),
        ("read_ranges", "a 0 1\na 0 2\n", "a name occurs twice"),
        ("read_phenotype", "0 a\n", "needed are FID, IID and a phenotype"),
        ("read_phenotype", "0 a 1\n0 a 2\n", r"1 samples occur more than once \(a\)"),
        ("read_phenotype", "0 a tall\n", "'tall' where a number"),
        ("read_weights", "", "is empty"),
    ],
)
def test_bad_files_are_named(tmp_path, reader, text, message):
    with pytest.raises(FormatError, match=message) as caught:
        getattr(scores, reader)(written(tmp_path, text))
    assert "file.txt" in str(caught.value)


def test_an_absent_phenotype_column_is_named(tmp_path):
    with pytest.raises(FormatError, match="needed are FID, IID and bmi"):
        scores.read_phenotype(written(tmp_path, "FID IID height\n0 a 1\n"), "bmi")


def test_a_score_file_of_the_catalog(tmp_path):
    """Harmonised positions and their build are taken; rows of haplotypes go; nothing is invented for the others."""
    head = (
        "###PGS CATALOG SCORING FILE - see https://www.pgscatalog.org/downloads/#dl_ftp_scoring\n#format_version=2.0\n"
        "#pgs_id=PGS000001\n#genome_build=GRCh37\n#HmPOS_build=GRCh38\n"
    )
    columns = "rsID chr_name chr_position effect_allele other_allele effect_weight is_haplotype"
    rows = [
        columns + " hm_source hm_rsID hm_chr hm_pos hm_inferOtherAllele",
        "rs1 1 100 A G 0.5 False ENSEMBL rs1b 1 200 ",
        "rs2 1 101 t  0.25 False ENSEMBL  1 201 C",
        "rs3 1 102 T  1 False ENSEMBL rs3 1 202 C/G",
        "HLA-B*08:01 6  P N 2 False Unknown    ",
        "rs4 1 103 A G  True ENSEMBL rs4 1 203 ",
        "rs1 1 100 A G 0.5 False ENSEMBL rs1b 1 200 ",
    ]
    file = scores.read_weights(written(tmp_path, head + "\n".join(row.replace(" ", "\t") for row in rows) + "\n"))
    assert file.build == "GRCh38" and not file.intercepts
    assert file.notes == (("dropped", "not additive (is_haplotype)", 1, "lines 11"),)
    assert file.table.drop("score").rows() == [
        ("rs1b", "1", 200, "G", "A", 0.5),
        ("rs2", "1", 201, "C", "T", 0.25),
        ("rs3", "1", 202, None, "T", 1.0),
        ("HLA-B*08:01", None, None, "N", "P", 2.0),
        ("rs1b", "1", 200, "G", "A", 0.5),
    ]


@pytest.mark.parametrize(
    ("text", "build"), [("GRCh37", "GRCh37"), ("hg38", "GRCh38"), ("NR", None), ("NCBI36", None), ("hg19 ", "GRCh37")]
)
def test_the_build_of_a_header(tmp_path, text, build):
    rows = f"#genome_build={text}\nrsID\teffect_allele\teffect_weight\nrs1\tA\t0.5\n"
    assert scores.read_weights(written(tmp_path, rows)).build == build


def test_intercepts_of_scores(tmp_path):
    head = "gene_id method variant_id chrom pos ref alt weight intercept\n"
    text = head + "g1 pt rs1 22 5 C A 1 -0.5\ng1 pt rs2 22 6 C A 1 -0.5\ng2 pt rs1 22 5 C A 2 0.25\n"
    assert scores.read_weights(written(tmp_path, text)).intercepts == {"g1:pt": -0.5, "g2:pt": 0.25}
    with pytest.raises(FormatError, match=r"1 scores have several intercepts \(g1:pt\)"):
        scores.read_weights(written(tmp_path, text.replace("22 6 C A 1 -0.5", "22 6 C A 1 -0.4")))


@pytest.mark.parametrize(
    ("reader", "text", "message"),
    [
        ("read_weights", "#a\n##b\nrsID\teffect_allele\teffect_weight\nrs1\tA\tx\n", "line 4, column 'effect_weight'"),
        ("read_weights", "#a\nrs1 A 1\nrs2 A x\n", "line 3, column '3'"),
        ("read_weights", "#a\nSNP A1 BETA\nrs1 A 1\nrs2 A NA\n", r"'BETA': 1 weights are not .* \(lines 4\)"),
        ("read_weights", "SNP A1 BETA\n", "a header but no rows"),
        ("read_weights", "chrom\tpos\talt\tweight\n", "a header but no rows"),
        ("read_weights", "some other words\n", "one line and no number in its column 3"),
        ("read_weights", "#a\nrs1 A 0.5\nrs2 G\n", "line 3: 2 fields where 3"),
        ("read_phenotype", "FID IID y\n", "a header but no rows"),
        ("read_phenotype", "FID IID y\n0 a 1\n0 b inf\n", "line 3, column 'y': found inf where a finite number"),
        ("read_phenotype", "FID IID y\n0 a 1\n0 b tall\n", "line 3, column 'y': found 'tall'"),
        ("read_phenotype", "0 a -9\n0 b NA\n", r"column 'P1': all 2 values are missing \(NA, or -9"),
    ],
)
def test_complaints_name_the_line_and_column_of_the_file(tmp_path, reader, text, message):
    with pytest.raises(FormatError, match=message):
        getattr(scores, reader)(written(tmp_path, text))


CATALOG = """###PGS CATALOG SCORING FILE
#format_version=2.0
#pgs_id=PGS000001
#genome_build=GRCh37
#weight_type=log(OR)
#HmPOS_build=GRCh38
rsID\tchr_name\tchr_position\teffect_allele\tother_allele\teffect_weight\thm_chr\thm_pos
rs1\t22\t100\tA\tG\t0.5\t22\t900
rs2\t22\t200\tC\tT\t-1\t\t
HLA-B*57\t\t\tP\t\t2\t\t
"""


@pytest.mark.parametrize(
    "build, pos, told", [(None, [900, None, None], "GRCh38"), ("GRCh38", [900, None, None], "GRCh38"),
                         ("GRCh37", [100, 200, None], "GRCh37")]
)  # fmt: skip
def test_positions_of_the_catalog_are_those_of_the_genotypes_build(tmp_path, build, pos, told):
    """Harmonised columns serve where they are of the genotypes' build; HLA alleles keep no position, and stay."""
    found = scores.read_weights(written(tmp_path, CATALOG), build=build)
    assert found.table["pos"].to_list() == pos and found.build == told and found.weight_type == "log(OR)"
    assert found.table["alt"].to_list() == ["A", "C", "P"]
