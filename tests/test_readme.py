"""README's commands on the embedded people, word for word but for the names of files; and what they count adds up."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from genopred.cli import main
from genopred.io.example import load_example
from genopred.pipelines import eqtl
from genopred.pipelines.demo import example_inputs
from genopred.settings import Eqtl
from genopred.types import MatchReport

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def words(start, example):
    """The one command of README that begins so, with the embedded files in place of the reader's."""
    (line,) = [line for line in README.splitlines() if line.startswith(f"genopred {start}")]
    names = {
        "cohort": example.bfile,
        "others": example.bfile,
        "phased.vcf.gz": example.pfile,
        "--vcf": "--pfile",
        "ref.fa.gz": example.folder / "reference.fa.gz",
        "expression.bed.gz": example.expression_file,
        "covariates.txt": example.covariates_file,
        "ID": GENE,
    }
    return [str(names.get(word, word)) for word in shlex.split(line, comments=True)[1:]]


#: A gene with 31 SNPs in the window of enformer-small.
GENE = "ENSG00000235513"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The folder in which the commands were run."""
    pytest.importorskip("torch")
    folder, example = tmp_path_factory.mktemp("readme"), load_example()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for start in ("eqtl", "features", "effects", "overlap", "prs   --bfile cohort", "prs   --bfile others"):
            more = {"eqtl": ["--permute", "100"], "overlap": ["--draws", "200", "--resamples", "100"]}.get(start, [])
            assert main([*words(start, example), *more, "--quiet"]) == 0, start
        stack = ["stack", "--bfile", str(example.bfile), "--expression", str(example.expression_file), "--gene", GENE]
        learners = ["--learners", "ridge,gblup-tss", "--outer-folds", "3", "--maf", "0.2", "--threads", "1", "--quiet"]
        assert main([*stack, *learners, "--out", "run"]) == 0
    return folder


def test_the_commands_run_as_written(ran):
    for name in ("overlap.overlap.tsv", "overlap.html", "scored.scores.tsv", "eqtl.cis_qtl.tsv", "effects.tsv"):
        assert (ran / name).stat().st_size > 0, name


def test_applied_weights_are_the_predictions(ran):
    learned = pl.read_csv(ran / "prs.scores.tsv", separator="\t")
    applied = pl.read_csv(ran / "scored.scores.tsv", separator="\t")
    assert applied.width > 1
    for name in applied.columns[1:]:
        gene_id, _, method = name.partition(":")
        mine = learned.filter(gene_id=gene_id, method=method).join(applied, on="sample")
        np.testing.assert_allclose(mine[name], mine["predicted"], atol=1e-6)


@pytest.mark.parametrize(
    "name", ["prs.matched", "scored.matched", "overlap.matched", "eqtl.matched", "effects.matched", "run/matched"]
)
def test_what_came_in_was_used_or_dropped(ran, name):
    table = pl.read_csv(ran / f"{name}.tsv", separator="\t", schema_overrides=MatchReport.SCHEMA)
    assert table.height
    for item in table["item"].unique().to_list():
        count = {s: table.filter(item=item, status=s)["n"].sum() for s in ("in", "used", "dropped")}
        assert count["in"] == count["used"] + count["dropped"], (item, count)
        assert count["in"] > 0 or set(table.filter(item=item)["status"]) == {"note"}, item


def test_counts_of_features_add_up(ran):
    counts = json.loads((ran / "feat" / "manifest.json").read_text(encoding="utf-8"))["counts"]
    assert counts["samples_in_genotypes"] == counts["samples"] + counts["samples_without_expression"] == 358
    assert counts["genes"] + counts["genes_on_chromosomes_without_genotypes"] == 28
    left_out = sum(counts[f"windows_{reason}"] for reason in ("indels_skipped", "symbolic_skipped", "other"))
    assert counts["windows_variants"] == counts["windows_used"] + left_out > 0


def test_variants_of_eqtl_are_those_that_it_tested(tmp_path):
    example = load_example()
    found = eqtl.run(Eqtl(**example_inputs(), out=tmp_path / "out", permute=0, window=500_000, maf=0.2))
    frequency = example.genotypes.dosage().mean(axis=0) / 2
    common = np.minimum(frequency, 1 - frequency) >= 0.2
    assert found.report.count("variants", "in") == 2951
    tss = example.expression.genes["tss"].to_numpy()
    near = (np.abs(example.genotypes.variants["pos"].to_numpy()[:, None] - tss) <= 500_000).any(axis=1)
    assert found.report.count("variants", "used") == int((common & near).sum())
    tested = pl.read_parquet(tmp_path / "out.cis_qtl_pairs.*.parquet")
    assert found.report.count("variants", "used") == tested["variant_id"].n_unique()
