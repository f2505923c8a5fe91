"""`genopred prs`: scores of genes against the library called by hand, resume, and on bad input."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from bed_reader import open_bed
from prs_data import GOLDEN, TINY, files_of, genes

from genopred.cli import main
from genopred.errors import GenopredError
from genopred.genetics.scores import BaselinePRS, ClumpThresholdPRS
from genopred.genetics.transform import inverse_normal
from genopred.learning.genescores import GeneScores
from genopred.pipelines import prs
from genopred.pipelines.inputs import open_cohort
from genopred.types import Interval


def test_scores_of_genes_are_the_estimators(tmp_path):
    train = tmp_path / "train.txt"

    names = [line.split() for line in (TINY / "expression.qtltools.bed").read_text().splitlines()][0][6:]
    train.write_text("\n".join(names[:45]) + "\n")
    config = genes(tmp_path, train=train, residualize="none", covar=None)
    result = prs.run(config)
    scores = result.tables["scores"]
    assert scores.height == 4 * 2 * 60 and set(scores["set"]) == {"training", "held-out"}
    held = scores.filter(pl.col("set") == "held-out")
    assert held["cross_validated"].null_count() == held.height and set(held["fold"]) == {-1}
    # One gene by hand.
    cohort = open_cohort(config)
    gene = cohort.expression.genes.row(0, named=True)
    window = cohort.genotypes.select(variants=Interval.around(gene["chrom"], gene["tss"], 500_000))
    inside = np.isin(cohort.samples, names[:45])
    x, raw = window.dosage(), cohort.expression.values[:, 0]
    use = np.nanmax(x[inside], axis=0) > np.nanmin(x[inside], axis=0)
    y = inverse_normal(raw[inside])
    y = (y - y.mean()) / y.std()
    positions = window.variants["pos"].to_numpy()[use]
    models = {
        "baseline-prs": BaselinePRS(cv=4, random_state=1),
        "pt-prs": ClumpThresholdPRS(positions, cv=4, random_state=1),
    }
    for method, model in models.items():
        model.fit(x[inside][:, use], y)
        this = (pl.col("gene_id") == gene["gene_id"]) & (pl.col("method") == method)
        np.testing.assert_allclose(scores.filter(this)["predicted"], model.predict(x[:, use]), atol=1e-9)
        assert result.tables["models"].filter(this)["variants"][0] == np.count_nonzero(model.coef_)
        weights = result.tables["weights"].filter(this)
        np.testing.assert_allclose(weights["weight"], model.coef_[model.coef_ != 0], atol=1e-12)
    assert result.tables["weights"].height > 0


def test_results_do_not_depend_on_threads(tmp_path):
    one = prs.run(genes(tmp_path))
    two = prs.run(genes(tmp_path, "two", threads=2))
    for name, table in one.tables.items():
        assert table.equals(two.tables[name]), name


def test_a_gene_does_not_depend_on_the_genes_beside_it(tmp_path):
    """Quantile normalisation is over all genes of the file, whichever are asked for."""
    more = {"transform": "quantile", "residualize": "none", "covar": None}
    all_genes = prs.run(genes(tmp_path, **more))
    for gene_id in all_genes.tables["scores"]["gene_id"].unique(maintain_order=True)[:2]:
        alone = prs.run(genes(tmp_path, "alone", all_genes=False, gene=(gene_id,), resume=False, **more))
        for name, table in alone.tables.items():
            assert table.equals(all_genes.tables[name].filter(pl.col("gene_id") == gene_id)), name


def test_the_command_line_writes_log_tables_and_counts(tmp_path, capsys):
    arguments = ["prs", "--vcf", TINY / "genotypes.vcf.gz", "--expression", TINY / "expression.qtltools.bed"]
    arguments += ["--gene", "ENSG00000100105", "--out", tmp_path / "one", "--threads", "1", "--outer-folds", "3"]
    assert main([str(word) for word in arguments]) == 0
    assert "pt-prs" in capsys.readouterr().out
    for name in ("weights.tsv", "weights.parquet", "scores.tsv", "accuracy.tsv", "models.tsv", "matched.tsv", "log"):
        assert (tmp_path / f"one.{name}").stat().st_size > 0
    assert not list(tmp_path.glob("*.lock"))
    assert "genes: 1 used" in (tmp_path / "one.log").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--score", GOLDEN / "weights.txt", "--pheno", GOLDEN / "y.phe"], "--pheno and --score given"),
        ([], "none given; give exactly one of --expression"),
        (["--score", GOLDEN / "absent.txt"], "absent.txt: no such file"),
        (["--score", GOLDEN / "y.phe"], "130 rows share their variant"),
        (["--score", GOLDEN / "weights.txt", "--gene", "x"], "go with --expression, not with --score"),
        (["--score", GOLDEN / "weights.txt", "--q-score-range", GOLDEN / "ranges.txt"], "give --q-score-file"),
        (["--pheno", TINY / "genotypes.fam"], r"no sample of .*genotypes.fam is in .*\(HG00096, .* against s000, "),
        (["--pheno", GOLDEN / "y.phe", "--clump-p1", "2"], "--clump-p1 2: needed a number from 0 to 1"),
        (["--pheno", GOLDEN / "y.phe", "--clump-r2", "a"], "numbers between commas"),
        (["--pheno", GOLDEN / "y.phe", "--clump-p1", "1e-30"], "no variant has p <= 1e-30; raise --clump-p1"),
        (["--pheno", GOLDEN / "y.phe", "--ld", "dprime"], "--ld dprime: there are genotype, em"),
        (["--pheno", GOLDEN / "y.phe", "--train", GOLDEN / "ranges.txt"], "none of its samples"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, words, message):
    arguments = ["prs", "--bfile", GOLDEN / "cohort", *words, "--out", tmp_path / "bad", "--threads", "1"]
    assert main([str(word) for word in arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "Error" in line]
    assert len(lines) == 1

    assert re.search(message, lines[0]), lines[0]
    assert not list(tmp_path.glob("bad*.tsv")) and not list(tmp_path.glob("bad*.parquet"))


def test_a_phenotype_that_does_not_vary_is_named(tmp_path, capsys):
    samples = open_bed(GOLDEN / "cohort.bed", num_threads=1).iid
    (tmp_path / "flat.phe").write_text("".join(f"0 {name} 3\n" for name in samples))
    words = ["prs", "--bfile", GOLDEN / "cohort", "--pheno", tmp_path / "flat.phe", "--out", tmp_path / "bad"]
    assert main([str(word) for word in words]) == 2
    assert "is the same for all 130 training people" in capsys.readouterr().err


# --- stopped, resumed, refused ---------------------------------------------------------------------------------------


def cohort_ids(tmp_path):
    return open_cohort(genes(tmp_path)).expression.genes["gene_id"].to_list()


def test_killed_and_resumed_is_the_same_file_for_file(tmp_path, monkeypatch):
    whole = prs.run(genes(tmp_path / "a"))
    learn, seen = GeneScores.learn, []

    def failing(scores, gene):
        seen.append(gene.gene_id)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return learn(scores, gene)

    monkeypatch.setattr(GeneScores, "learn", failing)
    with pytest.raises(KeyboardInterrupt):
        prs.run(genes(tmp_path / "b"))
    assert (
        not list((tmp_path / "b").glob("genes.*.tsv")) and len(list((tmp_path / "b/genes.parts").glob("*.json"))) == 2
    )
    left = tmp_path / "b" / "genes.parts" / ".000003.abcdefgh.part.json"  # what a kill leaves in the middle of a write
    left.write_text("{")
    with pytest.raises(GenopredError, match=r"other settings \(--maf\); choose another --out, or .* --no-resume"):
        prs.run(replace(genes(tmp_path / "b"), maf=0.2))
    some = cohort_ids(tmp_path)[:3]
    with pytest.raises(GenopredError, match=r"other settings \(--gene\)"):  # parts are numbered
        prs.run(genes(tmp_path / "b", gene=some, all_genes=False))
    resumed = prs.run(genes(tmp_path / "b"))
    assert len(seen) == 5  # the first two are not computed again
    assert files_of(tmp_path / "b", "genes") == files_of(tmp_path / "a", "genes")
    assert not (tmp_path / "b" / "genes.parts").exists()
    assert resumed.report.table.equals(whole.report.table) and resumed.lines() == whole.lines()


def test_counts_of_genes_add_up_and_are_the_true_ones(tmp_path):
    result = prs.run(genes(tmp_path, maf=0.3))
    cohort = open_cohort(genes(tmp_path))
    pos, dosage = cohort.genotypes.variants["pos"].to_numpy(), cohort.genotypes.dosage()
    frequency = np.nanmean(dosage, axis=0) / 2
    common = np.minimum(frequency, 1 - frequency) >= 0.3
    near = [np.abs(pos - tss) <= 500_000 for tss in cohort.expression.genes["tss"]]
    assert result.report.count("variants in windows", "in") == sum(int(w.sum()) for w in near)
    assert result.report.count("variants in windows", "used") == sum(int((w & common).sum()) for w in near)
