"""Another study in the stack: its learners, what they may see, what is checked and said of it, models that leave."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from study_data import COHORT, GENES, STUDY, VARIANTS, population, study_table, write

from genopred.errors import GenopredError, ModelError
from genopred.genetics import sumstats
from genopred.learning.fromsumstats import METHODS
from genopred.learning.learners import GeneContext
from genopred.pipelines import predict, stack
from genopred.pipelines import stack_window as windows
from genopred.pipelines.stack_genes import read_base
from genopred.pipelines.stack_sumstats import VERDICTS, check_learners, study_learners
from genopred.settings import Predict


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with all learners, and its settings."""
    settings = replace(write(tmp_path_factory.mktemp("study")), sumstats_learners=tuple(METHODS))
    return stack.run(settings), settings


def r2(result, method):
    return float(result.scores.filter(pl.col("method") == method)["r2"].mean())


def test_learners_of_the_study_join_the_stack_and_help(finished):
    result, settings = finished
    methods = set(result.scores["method"])
    assert {f"{name}@sumstats" for name in METHODS} <= methods
    # 600 people are worth more than 80, at a heritability of a third
    for name in ("pt-prs", "lassosum", "susie", "susie-tss", "elastic-net", "prs-cs"):
        assert r2(result, f"{name}@sumstats") > r2(result, "ridge"), name
    assert r2(result, "stack-nnls") > r2(result, "ridge")
    base = read_base(settings.out, population().genes["gene_id"][0])
    assert np.isfinite(base["lassosum@sumstats"].to_numpy()).all()


def test_everything_is_said(finished):
    result, settings = finished
    words = " ".join(result.notes)
    assert "none looks as if its alleles were swapped" in words or "Swapped alleles!" in words
    assert "inconsistency s is" in words and "taken on trust" in words
    pairs = "other study's pairs in windows"
    assert result.report.count(pairs, "in") == GENES * VARIANTS
    infos = [json.loads(path.read_text()) for path in sorted((settings.out / "sumstats").glob("*.json"))]
    assert result.report.count(pairs, "used") == sum(info["used"] for info in infos)
    assert {info["panel"] for info in infos} == {200} and {info["people"] for info in infos} == {STUDY}


def test_models_hold_the_study_and_predict(finished):
    """The linear stack of everybody, its learners of the study among it, predicts from the files as it was fitted."""
    result, settings = finished
    weights = pl.read_parquet(settings.out / "models" / "weights.parquet")
    assert any(name.endswith("@sumstats") for name in weights["learner"].unique())
    card = json.loads((settings.out / "models" / "models.json").read_text())
    assert any(name.endswith("@sumstats") and weight > 0 for name, weight in card["linear"].items())
    for method in ("stack-linear", "stack-xgboost"):
        out = settings.out.parent / method
        predict.run(Predict(bfile=settings.bfile, models=settings.out / "models", out=out, method=method, threads=1))
        predicted = pl.read_parquet(out / "expression.parquet")
        data = population()
        for g, gene in enumerate(data.genes["gene_id"].to_list()):
            assert np.corrcoef(predicted[gene].to_numpy(), data.y[:COHORT, g])[0, 1] > 0.3


def test_expression_of_the_cohort_changes_no_weight_of_the_study(tmp_path):
    """Candidates are the same to the last bit whatever the cohort's expression; shuffled, nothing is predicted."""
    settings = write(tmp_path / "a")
    first = stack.run(settings, page=False)
    rng = np.random.default_rng(0)
    shuffled = write(tmp_path / "b", change=lambda y: y[rng.permutation(len(y))])
    second = stack.run(shuffled, page=False)
    for gene in population().genes["gene_id"].to_list():
        a, b = (pl.read_parquet(one.out / "sumstats" / f"{gene}.parquet") for one in (settings, shuffled))
        assert a.equals(b) and a.height
    assert r2(first, "lassosum@sumstats") > 0.1
    assert -0.1 < r2(second, "lassosum@sumstats") < 0.02 and -0.1 < r2(second, "pt-prs@sumstats") < 0.02


def test_held_out_expression_changes_no_prediction(tmp_path):
    """What people of outer fold 0 have does not move their own predictions by learners of the study."""
    settings = write(tmp_path / "a")
    names = [f"p{i}" for i in range(COHORT)]
    fold = np.arange(COHORT) % 3
    folds = tmp_path / "folds.tsv"
    folds.write_text("sample\tfold\n" + "".join(f"{name}\t{k}\n" for name, k in zip(names, fold)))
    rng = np.random.default_rng(1)
    noise = np.where(fold[:, None] == 0, 5 * rng.standard_normal((COHORT, GENES)), 0.0)
    both = settings, write(tmp_path / "b", change=lambda y: y + noise)
    for one in both:
        stack.run(replace(one, folds=folds), page=False)
    for gene in population().genes["gene_id"].to_list():
        held = pl.col("outer_fold") == 0, pl.col("inner_fold") < 0
        a, b = (read_base(one.out, gene).filter(*held) for one in both)
        assert a["sample"].to_list() == b["sample"].to_list() and not a["observed"].equals(b["observed"])
        for name in ("pt-prs@sumstats", "lassosum@sumstats"):
            assert a[name].equals(b[name])


@pytest.mark.parametrize("what", ["drop", "flip", "keep"])
def test_swapped_alleles_are_named_and_dealt_with(tmp_path, what):
    table = study_table()
    swapped = np.random.default_rng(3).random(table.height) < 0.06
    table = table.with_columns(Zscore=pl.when(pl.Series(swapped)).then(-pl.col("Zscore")).otherwise("Zscore"))
    result = stack.run(replace(write(tmp_path, table=table), sumstats_flipped=what), page=False)
    check = pl.read_csv(tmp_path / "run" / "sumstats_check.tsv", separator="\t")
    assert check.columns == ["gene_id", "variant", "z", "expected_z", "log_ratio", "verdict"]
    named = set(check["variant"])
    truth = {f"rs{i}" for i in np.flatnonzero(swapped & (table["Zscore"].abs() > 2).to_numpy())}
    assert len(truth) >= 5 and len(named & truth) >= 0.8 * len(truth)
    assert len(named - {f"rs{i}" for i in np.flatnonzero(swapped)}) <= 2
    assert check["verdict"].unique().to_list() == [VERDICTS[what]] and (check["log_ratio"] > 2).all()
    assert (check["z"] * check["expected_z"] < 0).all()
    assert any(note.startswith("Swapped alleles!") for note in result.notes)
    lost = result.report.table.filter(pl.col("reason") == "allele flipped by all appearance")["n"].sum()
    assert lost == (check.height if what == "drop" else 0)


def test_people_in_both_studies_are_reported(tmp_path, monkeypatch):
    # of 8 genes with effects none would be left: here those that are seen count as well
    monkeypatch.setattr(sumstats, "SEEN_EFFECT", 1e9)
    monkeypatch.setattr(sumstats, "FAINT", 0.0)
    with_shared = stack.run(write(tmp_path, table=study_table(shared=COHORT)), page=False)
    found = next(note for note in with_shared.notes if "noise of the two studies" in note)
    assert found.startswith("People seem to be in both studies!")


def test_strands_by_frequency_and_left_out(tmp_path):
    """A/T and C/G variants on the other strand are turned by their frequency; without it they go where asked."""
    table = study_table()
    pair = pl.concat_str("AssessedAllele", "OtherAllele").is_in(["AT", "CG", "TA", "GC"])
    other = table.with_columns(
        AssessedAllele=pl.when(pair).then("OtherAllele").otherwise("AssessedAllele"),
        OtherAllele=pl.when(pair).then("AssessedAllele").otherwise("OtherAllele"),
    )
    ambiguous = table.select(pair.sum()).item()
    dropped = replace(write(tmp_path / "a", table=table.drop("af")), sumstats_ambiguous="drop")
    result = stack.run(dropped, page=False)
    lost = result.report.table.filter(pl.col("reason") == "ambiguous strand (A/T or C/G)")["n"].sum()
    assert lost == ambiguous
    plain, turned = stack.run(write(tmp_path / "b"), page=False), write(tmp_path / "c", table=other)
    again = stack.run(replace(turned, sumstats_ambiguous="drop"), page=False)
    kept = again.report.table.filter(pl.col("reason") == "ambiguous strand (A/T or C/G)")["n"].sum()
    assert kept < 0.6 * ambiguous  # those with a frequency near one half
    assert abs(r2(again, "lassosum@sumstats") - r2(plain, "lassosum@sumstats")) < 0.05


def test_read_in_blocks_is_the_same(tmp_path, monkeypatch):
    plain = stack.run(write(tmp_path / "a"), page=False)
    monkeypatch.setattr(windows, "MANY", 10)
    monkeypatch.setattr(windows, "sums_suffice", lambda n, m: True)
    blocks = stack.run(write(tmp_path / "b"), page=False)
    for name in ("pt-prs@sumstats", "lassosum@sumstats"):
        a, b = (one.scores.filter(pl.col("method") == name)["r2"].to_numpy() for one in (plain, blocks))
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_going_on_and_other_settings(tmp_path):
    settings = write(tmp_path)
    first = stack.run(settings, page=False)
    again = stack.run(settings, page=False)
    assert first.scores.equals(again.scores) and first.notes == again.notes
    study_table().with_columns(pl.col("Zscore") * 2).write_csv(tmp_path / "study.tsv", separator="\t")
    with pytest.raises(GenopredError, match="--sumstats"):
        stack.run(settings, page=False)


def test_genes_without_statistics_are_predicted_the_mean(tmp_path):
    gene = population().genes["gene"][0]
    table = study_table().filter(pl.col("Gene") != gene)
    settings = write(tmp_path, table=table)
    stack.run(settings, page=False)
    for one in study_learners(settings, population().genes["gene_id"][0]):
        made = one.make(GeneContext(np.arange(VARIANTS), 1))
        assert made.candidates.shape == (1, VARIANTS) and not made.candidates.any()
    base = read_base(settings.out, population().genes["gene_id"][0]).filter(pl.col("inner_fold") < 0)
    distinct = base.group_by("outer_fold").agg(pl.col("lassosum@sumstats").n_unique())
    assert distinct["lassosum@sumstats"].to_list() == [1] * 3


def test_unknown_learners_are_refused():
    with pytest.raises(ModelError, match="lassosun.*lassosum"):
        check_learners(("lassosun",))
    for bad in (("ridge", "ridge"), ()):
        with pytest.raises(ModelError, match="each learner once"):
            check_learners(bad)
