"""`genopred eqtl` from the command line."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from genopred.cli import main

GOLDEN = Path(__file__).parent / "golden" / "eqtl"
BASE = ["eqtl", "--vcf", GOLDEN / "tiny.vcf.gz", "--expression", GOLDEN / "tiny.bed.gz", "--window", "150kb"]


def call(*more):
    return main([str(part) for part in (*BASE, *more)])


def test_one_gene(tmp_path, capsys):
    out = tmp_path / "one"
    code = call(
        "--covar", GOLDEN / "tiny.cov.txt", "--gene", "ENSG00000100347", "--permute", 200, "--susie", "--independent",
        "--threads", 1, "--out", out, "--quiet",
    )  # fmt: skip
    said = capsys.readouterr().out
    assert code == 0 and "1 of 1 genes with an eQTL" in said and "2 credible sets of 1 genes" in said
    assert pl.read_parquet(f"{out}.cis_qtl.parquet")["phenotype_id"].to_list() == ["ENSG00000100347.10"]
    assert (tmp_path / "one.log").read_text().count("eQTL") >= 1


def test_list_of_genes_and_compat(tmp_path):
    genes = tmp_path / "genes.txt"
    genes.write_text("ENSG00000100347\nENSG00000100344\n")
    code = call("--genes", genes, "--permute", 0, "--compat", "qtltools", "--out", tmp_path / "two", "--quiet")
    table = pl.read_parquet(tmp_path / "two.cis_qtl_pairs.chr22.parquet")
    assert code == 0 and table["phenotype_id"].n_unique() == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "Genes: none given; give --gene ID"),
        (["--gene", "ENSG1", "--all"], "--gene and --all given"),
        (["--all", "--permute", "100000000"], "--permute"),
        (["--all", "--coverage", "1.5"], "--coverage"),
        (["--all", "--min-abs-corr", "5"], "--min-abs-corr"),
        (["--all", "--fdr", "nan"], "--fdr"),
        (["--compat", "gtex"], "--compat gtex: there are tensorqtl, qtltools"),
        (["--gene", "ENSG1"], "ENSG1"),
        (["--bfile", "x"], "exactly one of"),
        (["--all", "--permute", "5"], "at least 100"),
        (["--all", "--covar", "absent.txt"], "absent.txt"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, more, message):
    code = call(*more, "--out", tmp_path / "bad", "--quiet")
    error = capsys.readouterr().err
    assert code == 2 and message in error and "Traceback" not in error
