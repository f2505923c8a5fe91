"""`genopred export`: other programs make of its files what `genopred predict` says, but for one number a gene."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from models_data import TRAIN, cohort, in_memory, new_people
from plink_data import write_plink, write_vcf

from genopred.cli import main
from genopred.errors import AlignmentError, ModelError
from genopred.io.predictdb import read_covariances, read_predictdb
from genopred.pipelines import export, prs
from genopred.pipelines.apply_models import load_models
from genopred.settings import Export, Prs


def exported(trained, out, **options):
    return export.run(Export(**{"models": trained.run, "out": out, "threads": 1} | options))


def whole_genotypes(folder):
    """The new people without gaps, which programs fill in their own ways."""
    x = cohort().dosage[TRAIN:]
    write_plink(folder / "whole", x, cohort().samples[TRAIN:].tolist(), cohort().variants)
    return x


def linear_sums(trained, method="stack-linear"):
    """Predictions of them without the intercept, gene -> (N,), by a naive loop."""
    models = load_models(trained.run).models
    place = {name: i for i, name in enumerate(cohort().variants["id"].to_list())}
    x, out = cohort().dosage[TRAIN:].astype(np.float64), {}
    for gene, name, weight in models.weights.filter(learner=method)["gene_id", "id", "weight"].iter_rows():
        out[gene] = out.get(gene, 0.0) + weight * x[:, place[name]]
    return out


def test_the_linear_sums_are_predictions(trained, tmp_path):
    """That what the others are held to is what `genopred predict` writes."""
    found = load_models(trained.run).predict(in_memory(whole_genotypes(tmp_path), cohort().variants))
    sums = linear_sums(trained)
    about = load_models(trained.run).genes.filter(method="stack-linear")
    for gene, values in zip(found.genes["gene_id"], found.values):
        np.testing.assert_allclose(values, sums[gene] + about.filter(gene_id=gene)["intercept"][0], atol=1e-6)


@pytest.mark.parametrize("method", [None, "ridge"])
def test_a_database_read_again_predicts_the_same(trained, tmp_path, method):
    done = exported(trained, tmp_path / "out", method=method)
    assert [path.name for path in done.files] == ["models.db"] and done.genes == 3
    models, database = load_models(trained.run), load_models(tmp_path / "out" / "models.db")
    ours = models.predict(new_people(), method=method or "stack-linear")
    theirs = database.predict(new_people())
    assert theirs.genes["gene_id"].to_list() == ours.genes["gene_id"].to_list()
    # missing genotypes: the database knows no frequencies, so that only people without gaps are compared
    whole = load_models(trained.run).predict(people_without_gaps(), method=method or "stack-linear")
    again = database.predict(people_without_gaps())
    apart = whole.values - again.values
    np.testing.assert_allclose(apart, np.tile(apart[:, :1], (1, apart.shape[1])), atol=1e-6)
    about = models.genes.filter(method=method or "stack-linear")
    np.testing.assert_allclose(apart[:, 0], about["intercept"], atol=1e-6)
    for name in ("r2", "pval"):
        assert database.genes[name].to_list() == about[name].to_list()
    lines = done.lines()
    assert lines[0].startswith("3 genes written:")
    assert len(lines) == (2 if method is None else 1)


def people_without_gaps():
    return in_memory(cohort().dosage[TRAIN:], cohort().variants, cohort().samples[TRAIN:])


def test_covariances_are_those_of_the_reference(trained, tmp_path):
    whole_genotypes(tmp_path)
    exported(trained, tmp_path / "out", bfile=tmp_path / "whole")
    held = read_covariances(tmp_path / "out" / "covariances.txt.gz")
    models = read_predictdb(tmp_path / "out" / "models.db")
    place = {name: i for i, name in enumerate(cohort().variants["id"].to_list())}
    x = cohort().dosage[TRAIN:].astype(np.float64)
    for gene, (names, matrix) in held.items():
        assert names == models.weights.filter(gene_id=gene)["id"].to_list()
        rows = [place[name] for name in names]
        np.testing.assert_allclose(matrix, np.cov(x[:, rows], rowvar=False), rtol=1e-6, atol=1e-8)


def test_the_reference_may_count_the_other_allele(trained, tmp_path):
    whole_genotypes(tmp_path)
    turned = cohort().variants.with_columns(ref=pl.col("alt"), alt=pl.col("ref"))
    write_plink(tmp_path / "turned", 2 - cohort().dosage[TRAIN:], cohort().samples[TRAIN:].tolist(), turned)
    for name in ("whole", "turned"):
        exported(trained, tmp_path / name[0], bfile=tmp_path / name)
    one, two = ((tmp_path / name / "covariances.txt.gz").read_bytes() for name in "wt")
    assert one == two


def test_variants_that_the_reference_lacks_are_left_out_and_counted(trained, tmp_path):
    half = np.arange(cohort().variants.height) % 2 == 0
    write_plink(tmp_path / "half", cohort().dosage[TRAIN:][:, half], cohort().samples[TRAIN:].tolist(),
                cohort().variants.filter(pl.Series(half)))  # fmt: skip
    with pytest.raises(AlignmentError, match="the floor is 75%"):
        exported(trained, tmp_path / "out", bfile=tmp_path / "half")
    done = exported(trained, tmp_path / "out", bfile=tmp_path / "half", min_match=0)
    models = read_predictdb(tmp_path / "out" / "models.db")
    held = read_covariances(tmp_path / "out" / "covariances.txt.gz")
    assert models.weights.height == sum(len(names) for names, _ in held.values())
    report = done.report
    assert report.count("weights", "in") == report.count("weights", "used") + report.count("weights", "dropped")
    assert report.count("weights", "used") == models.weights.height


def test_only_genes_that_are_predicted_or_asked_for(trained, tmp_path):
    genes = cohort().genes["gene_id"].to_list()
    exported(trained, tmp_path / "one", gene=(genes[1],))
    assert read_predictdb(tmp_path / "one" / "models.db").genes["gene_id"].to_list() == [genes[1]]
    done = exported(trained, tmp_path / "two", predicted=True)
    about = load_models(trained.run).genes.filter(method="stack-linear")
    good = about.filter((pl.col("pval") < 0.05) & (pl.col("pearson") > 0.1))
    assert done.genes == good.height
    with pytest.raises(ModelError, match="--method stack-xgboost: .* holds it as more than one weight per variant"):
        exported(trained, tmp_path / "three", method="stack-xgboost")
    assert not (tmp_path / "three").exists()


def test_a_run_writes_the_same_bytes_again(trained, tmp_path):
    whole_genotypes(tmp_path)
    for kind in ("predictdb", "pgs"):
        for name in "ab":
            exported(trained, tmp_path / f"{kind}{name}", to=kind, bfile=tmp_path / "whole")
        one, two = (
            {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.gz"))}
            for folder in (tmp_path / f"{kind}a", tmp_path / f"{kind}b")
        )
        assert one == two and one


def test_an_old_database_without_places_is_written_again(trained, tmp_path):
    """With genotypes: its variants are matched by id."""
    exported(trained, tmp_path / "new")
    old = tmp_path / "old.db"
    shutil.copy(tmp_path / "new" / "models.db", old)
    with sqlite3.connect(old) as base:
        base.execute("UPDATE weights SET varID = NULL, rsid = 'rs' || substr(rsid, 4, 8)")
    base.close()
    named = cohort().variants.with_columns(id=pl.format("rs{}", pl.col("pos")))
    write_plink(tmp_path / "named", cohort().dosage[TRAIN:], cohort().samples[TRAIN:].tolist(), named)
    export.run(Export(models=old, bfile=tmp_path / "named", out=tmp_path / "again", threads=1))
    again, new = (read_predictdb(tmp_path / name / "models.db") for name in ("again", "new"))
    assert again.weights["weight"].to_list() == new.weights["weight"].to_list()
    export.run(Export(models=old, out=tmp_path / "plain", threads=1))
    assert read_predictdb(tmp_path / "plain" / "models.db").weights.height == again.weights.height


# --- other programs --------------------------------------------------------------------------------------------------


def score_files(trained, tmp_path):
    exported(trained, tmp_path / "out", to="pgs")
    files = sorted((tmp_path / "out" / "scores").iterdir())
    assert len(files) == 3
    return {path.name.removesuffix(".txt.gz"): path for path in files}


def test_our_own_scores_are_the_predictions(trained, tmp_path):
    whole_genotypes(tmp_path)
    sums = linear_sums(trained)
    for gene, path in score_files(trained, tmp_path).items():
        done = prs.run(Prs(bfile=tmp_path / "whole", score=path, ambiguous="keep", threads=1, out=tmp_path / gene))
        np.testing.assert_allclose(done.tables["scores"]["score"].to_numpy(), sums[gene], atol=1e-6)


def test_plink2_scores_are_the_predictions(trained, tmp_path):
    program = shutil.which("plink2")
    if program is None:
        pytest.skip("no plink2")
    whole_genotypes(tmp_path)
    variants = cohort().variants.with_columns(id=pl.format("{}:{}", "chrom", "pos"))
    write_plink(tmp_path / "placed", cohort().dosage[TRAIN:], cohort().samples[TRAIN:].tolist(), variants)
    sums = linear_sums(trained)
    for gene, path in score_files(trained, tmp_path).items():
        rows = pl.read_csv(path, separator="\t", comment_prefix="#", schema_overrides={"chr_name": pl.String})
        flat = rows.select(pl.format("{}:{}", "chr_name", "chr_position").alias("ID"), "effect_allele", "effect_weight")
        flat.write_csv(tmp_path / "flat.txt", separator="\t")
        subprocess.run(
            [program, "--bfile", "placed", "--score", "flat.txt", "header", "cols=+scoresums", "--bad-freqs", "--out",
             "scored"],
            cwd=tmp_path, check=True, capture_output=True,
        )  # fmt: skip
        table = pl.read_csv(tmp_path / "scored.sscore", separator="\t")
        # plink2 writes six digits
        np.testing.assert_allclose(table["SCORE1_SUM"].to_numpy(), sums[gene], rtol=1e-5, atol=2e-5)


def metaxcan(tmp_path, shared, script, *words):
    """One of MetaXcan's programs, in the environment that `../shared/programs/metaxcan` made."""
    place = os.environ.get("GENOPRED_METAXCAN")
    if not place:
        pytest.skip("GENOPRED_METAXCAN names no environment of MetaXcan (../shared/programs/README.md)")
    software = shared / "programs" / "MetaXcan" / "software" / script
    if not software.is_file():
        pytest.skip(f"no {software}")
    done = subprocess.run([f"{place}/bin/python", str(software), *map(str, words)], cwd=tmp_path, capture_output=True,
                          text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def test_predixcan_predicts_the_same(trained, tmp_path, shared):
    write_vcf(tmp_path / "whole.vcf.gz", cohort().dosage[TRAIN:], cohort().samples[TRAIN:].tolist(), cohort().variants)
    exported(trained, tmp_path / "out")
    metaxcan(
        tmp_path, shared, "Predict.py", "--model_db_path", tmp_path / "out" / "models.db", "--vcf_genotypes",
        tmp_path / "whole.vcf.gz", "--vcf_mode", "genotyped", "--prediction_output", "predicted.txt",
        "--prediction_summary_output", "summary.txt", "--throw",
    )  # fmt: skip
    table = pl.read_csv(tmp_path / "predicted.txt", separator="\t")
    assert table["IID"].to_list() == cohort().samples[TRAIN:].tolist()
    for gene, values in linear_sums(trained).items():
        np.testing.assert_allclose(table[gene].to_numpy(), values, atol=1e-6)


def test_fusion_weights_give_the_predictions(trained, tmp_path):
    """Per standard deviation of the reference: the same people get the same sums but for a constant."""
    pytest.importorskip("rdata", reason="no rdata: FUSION's files are neither read nor written")
    whole_genotypes(tmp_path)
    done = exported(trained, tmp_path / "out", to="fusion", bfile=tmp_path / "whole")
    assert [path.name for path in done.files][0] == "models.pos" and len(done.files) == 4
    found = load_models(tmp_path / "out" / "models.pos").predict(people_without_gaps())
    listed = pl.read_csv(tmp_path / "out" / "models.pos", separator="\t")
    assert listed.columns == ["WGT", "ID", "CHR", "P0", "P1", "N"] and listed["N"].unique().to_list() == [TRAIN]
    ratio = np.sqrt((len(cohort().samples) - TRAIN) / (len(cohort().samples) - TRAIN - 1))
    for gene, values in zip(found.genes["gene_id"], found.values):
        expected = linear_sums(trained)[gene]
        # R's standard deviations are of n - 1; ours, when they are applied, of n
        np.testing.assert_allclose(values - values.mean(), (expected - expected.mean()) * ratio, atol=1e-6)
    without = exported(trained, tmp_path / "freq", to="fusion")
    assert without.genes == 3


def test_fusion_without_the_package_says_so(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rdata", None)
    words = ["export", "--models", str(trained.run), "--to", "fusion", "--out", str(tmp_path / "out"), "--quiet"]
    assert main(words) == 2
    assert "this needs the package rdata; install it with pip install 'genopred[fusion]'." in capsys.readouterr().err


def test_make_score_reads_what_was_exported(trained, tmp_path, shared):
    pytest.importorskip("rdata", reason="no rdata: FUSION's files are neither read nor written")
    program, script = shutil.which("Rscript"), shared / "programs" / "fusion" / "utils" / "make_score.R"
    if program is None or not script.is_file():
        pytest.skip("no Rscript or no make_score.R: FUSION's own script is not run")
    whole_genotypes(tmp_path)
    exported(trained, tmp_path / "out", to="fusion", bfile=tmp_path / "whole")
    weights = load_models(trained.run).models.weights.filter(learner="stack-linear")
    sd = cohort().dosage[TRAIN:].std(axis=0, ddof=1, dtype=np.float64)
    place = {name: i for i, name in enumerate(cohort().variants["id"].to_list())}
    for path in sorted((tmp_path / "out" / "weights").iterdir()):
        done = subprocess.run([program, str(script), str(path)], capture_output=True, text=True, check=True)
        rows = [[cell.strip() for cell in line.split("\t")] for line in done.stdout.splitlines()]
        mine = weights.filter(gene_id=path.name.removesuffix(".wgt.RDat"))
        assert [(row[0], row[1], row[2]) for row in rows] == mine.select("id", "alt", "ref").rows()
        expected = [weight * sd[place[name]] for name, weight in mine["id", "weight"].iter_rows()]
        # the script rounds to three digits of the smallest
        np.testing.assert_allclose([float(row[3]) for row in rows], expected, rtol=6e-3, atol=1e-12)


def test_weights_per_standard_deviation_become_per_allele(trained, tmp_path):
    """FUSION's, written for PredictDB: what they came from; refused without the genotypes that say the deviation."""
    pytest.importorskip("rdata", reason="no rdata: FUSION's files cannot be written")
    whole_genotypes(tmp_path)
    exported(trained, tmp_path / "fusion", to="fusion", bfile=tmp_path / "whole")
    listed = tmp_path / "fusion" / "models.pos"
    export.run(Export(models=listed, bfile=tmp_path / "whole", out=tmp_path / "db", threads=1))
    exported(trained, tmp_path / "direct", bfile=tmp_path / "whole")
    both = [read_predictdb(tmp_path / name / "models.db").weights.sort("gene_id", "id") for name in ("db", "direct")]
    # FUSION divides by N - 1, a standard deviation of people by N
    assert np.allclose(
        both[0]["weight"],
        both[1]["weight"] * np.sqrt(len(cohort().samples[TRAIN:]) / (len(cohort().samples[TRAIN:]) - 1)),
    )
    with pytest.raises(ModelError, match="per standard deviation of a genotype; give the genotypes"):
        export.run(Export(models=listed, out=tmp_path / "none", threads=1))
