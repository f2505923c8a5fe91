"""eQTL summary statistics in the columns of the programs and projects that publish them."""

from __future__ import annotations

import gzip

import numpy as np
import polars as pl
import pytest

from genopred.errors import FormatError
from genopred.io import text
from genopred.io.eqtlstats import EQTL_SCHEMA, read_eqtl_stats

#: Header and two rows, one of a gene each; the same variant, effect and number of people in all.
GTEX = (
    "gene_id variant_id tss_distance ma_samples ma_count maf pval_nominal slope slope_se\n"
    "ENSG00000000001.4 chr1_100_A_G_b38 5 60 80 0.2 0.001 0.5 0.125\n"
    "ENSG00000000002.1 chr1_100_A_G_b38 9 60 80 0.2 0.9 -0.1 0.5\n"
)
TENSORQTL = (
    "phenotype_id variant_id start_distance af ma_samples ma_count pval_nominal slope slope_se\n"
    "ENSG00000000001 1:100:A:G 5 0.8 60 80 0.001 0.5 0.125\n"
    "ENSG00000000002 1:100:A:G 9 0.8 60 80 0.9 -0.1 0.5\n"
)
CATALOGUE = (
    "molecular_trait_id chromosome position ref alt variant ma_samples maf pvalue beta se type ac an r2 gene_id rsid\n"
    "ENSG00000000001 1 100 A G chr1_100_A_G 60 0.2 0.001 0.5 0.125 SNP 320 400 NA ENSG00000000001 rs1\n"
    "ENSG00000000002 1 100 A G chr1_100_A_G 60 0.2 0.9 -0.1 0.5 SNP 320 400 NA ENSG00000000002 rs1\n"
)
EQTLGEN = (
    "Pvalue SNP SNPChr SNPPos AssessedAllele OtherAllele Zscore Gene GeneSymbol NrCohorts NrSamples FDR\n"
    "0.001 rs1 1 100 G A 4.0 ENSG00000000001 ONE 3 200 0\n"
    "0.9 rs1 1 100 G A -0.2 ENSG00000000002 TWO 3 200 1\n"
)


@pytest.mark.parametrize("name", ["GTEX", "TENSORQTL", "CATALOGUE", "EQTLGEN"])
@pytest.mark.parametrize("kind", ["tsv", "tsv.gz", "parquet"])
def test_published_columns(tmp_path, name, kind):
    content = globals()[name].replace(" ", "\t")
    path = tmp_path / f"x.{kind}"
    if kind == "parquet":
        pl.read_csv(content.encode(), separator="\t", null_values="NA").write_parquet(path)
    else:
        path.write_bytes(gzip.compress(content.encode()) if kind.endswith("gz") else content.encode())
    found = read_eqtl_stats(path, {"ENSG00000000001"})
    assert dict(found.data.schema) == EQTL_SCHEMA and found.rows == 2
    row = found.data.row(0, named=True)
    assert found.data.height == 1 and row["gene"] == "ENSG00000000001"
    assert (row["chrom"], row["pos"], row["ref"], row["alt"], row["n"]) == ("1", 100, "A", "G", 200)
    assert row["z"] == 4 if name == "EQTLGEN" else row["beta"] / row["se"] == 4
    assert row["af"] == {"TENSORQTL": 0.8, "CATALOGUE": 0.8}.get(name)
    assert found.build == ("GRCh38" if name == "GTEX" else None)


def test_all_genes_and_the_order_of_rows(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text(EQTLGEN.replace(" ", "\t"))
    assert read_eqtl_stats(path).data["gene"].to_list() == ["ENSG00000000001", "ENSG00000000002"]


def test_a_file_read_in_many_parts_is_the_same(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    lines = [f"G{i % 7}\t1:{100 + i}:A:G\t{z:.4f}\t{50 + i}" for i, z in enumerate(rng.standard_normal(3000))]
    path = tmp_path / "x.tsv.gz"
    path.write_bytes(gzip.compress(("gene\tid\tz\tn\n" + "\n".join(lines) + "\n").encode()))
    whole = read_eqtl_stats(path, {"G3"}).data
    monkeypatch.setattr(text, "_PIECE", 700)
    monkeypatch.setattr(text.whole_lines, "__defaults__", (1000,))
    assert read_eqtl_stats(path, {"G3"}).data.equals(whole)
    assert whole["n"].to_list() == [50 + i for i in range(3000) if i % 7 == 3]


def test_a_bad_cell_is_named_with_its_line(tmp_path, monkeypatch):
    monkeypatch.setattr(text.whole_lines, "__defaults__", (100,))
    monkeypatch.setattr(text, "_PIECE", 100)
    rows = [f"G\t1:{i}:A:G\t{'x' if i == 40 else 1.0}\t50" for i in range(1, 60)]
    path = tmp_path / "x.tsv"
    path.write_text("gene\tid\tz\tn\n" + "\n".join(rows) + "\n")
    with pytest.raises(FormatError, match="line 41, column 'z': found 'x' where a number is needed"):
        read_eqtl_stats(path)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("variant_id\tslope\tslope_se", "no column for a gene"),
        ("gene\tslope\tslope_se", "a variant"),
        ("gene\tid\tslope", "its effect"),
        ("gene\tid\tpval", "its effect"),
    ],
)
def test_lacking_columns_are_named(tmp_path, header, said):
    path = tmp_path / "x.tsv"
    path.write_text(header + "\n" + "\t".join("1" for _ in header.split("\t")) + "\n")
    with pytest.raises(FormatError, match=said):
        read_eqtl_stats(path)


def test_impossible_values_and_other_genes_are_refused(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("gene\tid\tslope\tpval\nG\tv\t1\t1.5\n")
    with pytest.raises(FormatError, match="1 rows have a p-value that is not between 0 and 1"):
        read_eqtl_stats(path)
    path.write_text("gene\tid\tslope\tse\nG\tv\t1\t-1\n")
    with pytest.raises(FormatError, match="standard error"):
        read_eqtl_stats(path)
    path.write_text("gene\tid\tslope\tse\nG\tv\t1\t1\n")
    with pytest.raises(FormatError, match="none of its 1 rows is of a wanted gene .H.; its genes look like G"):
        read_eqtl_stats(path, {"H"})
    with pytest.raises(FormatError, match="no file fits this pattern"):
        read_eqtl_stats(tmp_path / "*.parquet")
    (tmp_path / "x.parquet").write_text("no parquet")
    with pytest.raises(FormatError, match="is no parquet file"):
        read_eqtl_stats(tmp_path / "x.parquet")
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(FormatError, match="is empty"):
        read_eqtl_stats(tmp_path / "empty.tsv")


def test_rows_listed_twice_are_counted_and_alleles_of_plink2(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text("gene\tchrom\tpos\tid\tref\talt\ta1\tz\nG\tchr1\t5\tv\tA\tG\tA\t2\nG\tchr1\t5\tv\tA\tG\tA\t3\n")
    found = read_eqtl_stats(path)
    assert found.data.height == 1 and found.notes == (("dropped", "gene and variant listed more than once", 1, ""),)
    assert found.data.select("chrom", "ref", "alt", "z").row(0) == ("1", "G", "A", 2.0)


def test_several_files(tmp_path):
    for i in (1, 2):
        pl.DataFrame(
            {"gene": ["G"], "variant_id": [f"{i}_7_A_C"], "slope": [0.1 * i], "slope_se": [0.1]}
        ).write_parquet(tmp_path / f"s.chr{i}.parquet")
    found = read_eqtl_stats(tmp_path / "s.chr*.parquet")
    assert found.data["chrom"].to_list() == ["1", "2"] and found.data["n"].null_count() == 2
