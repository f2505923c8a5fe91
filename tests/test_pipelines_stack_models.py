"""Models that a stack leaves: fitted on the people at hand alone, whole or not there, made again after a kill."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from models_data import LEARNERS, TRAIN, cohort, dosage, stack_settings, write_inputs

from genopred.io.genemodels import FILES, read_models
from genopred.pipelines import stack, stack_models
from genopred.pipelines.apply_models import load_models
from genopred.types import MODEL_GENE_SCHEMA, MODEL_LEARNER_SCHEMA, MODEL_WEIGHT_SCHEMA


def model_files(run):
    return {path.name: path.read_bytes() for path in sorted((run / "models").iterdir()) if path.is_file()}


@pytest.fixture(scope="module")
def whole(trained, tmp_path_factory):
    """A quick run that nothing disturbed."""
    place = tmp_path_factory.mktemp("whole") / "run"
    run(quick(trained.inputs, place))
    return place


def run(config):
    """Without the page, which costs more than the rest."""
    return stack.run(config, page=False)


def quick(inputs, out, **others):
    """Two genes and two learners."""
    genes = cohort().genes["gene_id"].to_list()[:2]
    options = {"all_genes": False, "gene": tuple(genes), "learners": ("ridge", "susie-tss")} | others
    return stack_settings(inputs, out, **options)


def test_what_is_written(trained):
    models = read_models(trained.run)
    genes = cohort().genes["gene_id"].to_list()
    assert dict(models.weights.schema) == MODEL_WEIGHT_SCHEMA and dict(models.learners.schema) == MODEL_LEARNER_SCHEMA
    assert {name: models.genes.schema[name] for name in MODEL_GENE_SCHEMA} == MODEL_GENE_SCHEMA
    assert models.methods[:2] == ["stack-linear", "stack-xgboost"]
    for method in models.methods:
        assert models.genes.filter(method=method)["gene_id"].to_list() == genes
    about = models.about
    assert about["people"] == TRAIN and about["names"] == list(LEARNERS) and about["covariates"] == ["C1", "C2"]
    assert (about["transform"], about["residualize"], about["window"]) == ("inverse-normal", "fold", 40_000)
    scores = pl.read_parquet(trained.run / "scores.parquet")
    for row in models.genes.iter_rows(named=True):
        held_out = scores.filter(gene_id=row["gene_id"], method=row["method"]).row(0, named=True)
        assert all(row[key] == held_out[key] for key in ("r2", "r2_low", "r2_high", "pearson", "n"))
        mine = models.weights.filter(gene_id=row["gene_id"], learner=row["method"])
        assert row["variants"] == (mine.height if mine.height else None)
    assert about["mean_r2"]["stack-linear"] == pytest.approx(
        scores.filter(method="stack-linear")["r2"].mean(), abs=1e-6
    )


def test_frequencies_and_marginal_z_are_those_of_the_training(trained):
    weights = read_models(trained.run).weights.filter(learner="stack-linear")
    means = np.nanmean(dosage()[:TRAIN].astype(np.float64), axis=0) / 2
    place = {name: i for i, name in enumerate(cohort().variants["id"].to_list())}
    np.testing.assert_allclose(weights["freq"], [means[place[name]] for name in weights["id"]], rtol=1e-6)
    assert weights["z"].is_finite().all() and weights.select(pl.corr("z", "weight")).item() > 0.1
    assert (weights["weight"] != 0).all() and not weights.select("gene_id", "id").is_duplicated().any()


def test_people_outside_the_cohort_have_no_part_in_it(trained, whole, tmp_path):
    """Their expression changes, and not a byte of the models does."""

    def change(values):
        values[TRAIN:] = np.random.default_rng(1).permutation(values[TRAIN:]) * 50 + 7
        return values

    others = tmp_path / "inputs"
    others.mkdir()
    inputs = write_inputs(others, change)
    assert inputs["expression"].read_bytes() != trained.inputs["expression"].read_bytes()
    run(quick(inputs, tmp_path / "two"))
    one, two = model_files(whole), model_files(tmp_path / "two")
    assert sorted(one) == sorted(FILES)
    for name in ("weights.parquet", "genes.parquet", "learners.parquet"):
        assert one[name] == two[name], name
    cards = [json.loads(files["models.json"]) for files in (one, two)]
    assert {k: v for k, v in cards[0].items() if k not in ("genotypes", "expression")} == {
        k: v for k, v in cards[1].items() if k not in ("genotypes", "expression")
    }


def test_linear_models_alone(trained, whole, tmp_path, caplog):
    caplog.set_level("INFO", logger="genopred")
    result = run(quick(trained.inputs, tmp_path / "run", linear=True))
    models = read_models(tmp_path / "run")
    assert models.methods == ["stack-linear"] and models.about["method"] is None
    assert models.weights["learner"].unique().to_list() == ["stack-linear"] and models.learners.height == 0
    assert "Models are kept in run/models. One weight per variant:" in caplog.text and not result.notes[1:]
    other = read_models(whole).weights.filter(learner="stack-linear")
    assert other.equals(models.weights)  # the same, whatever else is kept


def test_no_models(trained, whole, tmp_path):
    run(quick(trained.inputs, tmp_path / "run", models=False))
    assert not (tmp_path / "run" / "models").exists()
    # and the same run makes them later, from what is there
    run(quick(trained.inputs, tmp_path / "run"))
    assert model_files(tmp_path / "run") == model_files(whole)


def test_without_a_linear_learner_there_are_no_models(trained, tmp_path):
    result = run(quick(trained.inputs, tmp_path / "run", learners=("polynomial",)))
    assert any("none of the learners is linear in the dosages" in note for note in result.notes)
    assert not (tmp_path / "run" / "models").exists()


@pytest.mark.parametrize("meta", ["nnls", "mean", "xgboost-per-gene"])
def test_other_stacks(trained, tmp_path, meta):
    run(quick(trained.inputs, tmp_path / "run", meta=meta, learners=("ridge", "polynomial")))
    models = load_models(tmp_path / "run")
    kept = meta in ("nnls", "mean")
    assert (f"stack-{meta}" in models.methods) == kept
    about = models.models.about
    if kept:
        assert len(about["weights"]) == 2 and about["booster"] is None
    if meta == "mean":
        assert about["weights"] == [0.5, 0.5]


def test_models_of_a_killed_run_are_made_again(trained, whole, tmp_path, monkeypatch):
    """`models.json` comes last: what stopped before it is no models, and the next run makes them whole."""
    place = tmp_path / "run"
    done = []
    one_gene = stack_models._one_gene

    def killed(*args):
        if done:
            raise KeyboardInterrupt
        done.append(one_gene(*args))
        return done[-1]

    monkeypatch.setattr(stack_models, "_one_gene", killed)
    with pytest.raises(KeyboardInterrupt):
        run(quick(trained.inputs, place))
    assert not (place / "models" / "models.json").exists()
    monkeypatch.setattr(stack_models, "_one_gene", one_gene)
    run(quick(trained.inputs, place))
    assert model_files(place) == model_files(whole)
    assert not (place / "models" / "parts").exists()
    (place / "models" / "models.json").unlink()  # as after a kill between the tables and the card
    run(quick(trained.inputs, place))
    assert model_files(place) == model_files(whole)


def test_models_that_are_there_are_not_made_again(trained, whole, tmp_path, monkeypatch):
    config = quick(trained.inputs, shutil.copytree(whole, tmp_path / "run"))
    before = model_files(whole)

    def never(*_):
        raise AssertionError

    monkeypatch.setattr(stack_models, "_one_gene", never)
    run(config)
    assert model_files(tmp_path / "run") == before
    with pytest.raises(AssertionError):
        run(replace(config, linear=True))  # other models are other models


def test_a_gene_without_any_effect_has_no_weights(tmp_path, monkeypatch):
    """What rounding left of no effect is none."""
    monkeypatch.setattr(stack_models, "NOTHING", 1e9)
    folder = tmp_path / "inputs"
    folder.mkdir()
    run(quick(write_inputs(folder), tmp_path / "run"))
    models = load_models(tmp_path / "run")
    about = models.genes.filter(method="stack-linear")
    assert about["variants"].to_list() == [0, 0] and about["intercept"].to_list() == [0.0, 0.0]
    assert not models.models.weights.filter(learner="stack-linear").height


def test_trees_of_the_stack_are_kept_with_what_they_read(trained):
    models = read_models(trained.run)
    rows = models.genes.filter(method="stack-xgboost")
    assert models.about["booster"] and rows["scale"].is_not_null().all()
    assert (rows["summary"].list.len() == 3 * len(LEARNERS)).all()
    for row in models.learners.filter(pl.col("kind") != "linear").iter_rows(named=True):
        assert len(row["variants"]) == len(row["means"]) > 0 and row["payload"]


def test_a_learner_that_cannot_be_written_down_leaves_the_linear_stack(trained, tmp_path):
    """As a user's own: the whole stack would promise what its files cannot keep."""
    from sklearn.neighbors import KNeighborsRegressor

    from genopred.learning import learners as registry

    registry.register(registry.Learner("knn", lambda gene: KNeighborsRegressor(20), "nearest people"))
    try:
        config = quick(trained.inputs, tmp_path / "run", learners=("ridge", "knn"), meta="mean")
        result = run(config)
    finally:
        del registry._REGISTRY["knn"]
    models = read_models(tmp_path / "run")
    assert "stack-mean" not in models.methods and models.about["method"] is None
    assert any("knn cannot be written down" in note for note in result.notes)


def test_models_of_an_earlier_run_do_not_stay_beside_other_numbers(trained, whole, tmp_path):
    import shutil

    shutil.copytree(whole, tmp_path / "run")
    run(quick(trained.inputs, tmp_path / "run", models=False))
    assert not list((tmp_path / "run" / "models").glob("*"))


def test_other_symbols_are_written(trained, tmp_path):
    gene = read_models(trained.run).genes["gene_id"][0]
    for name in ("AAA", "BBB"):
        (tmp_path / "symbols.tsv").write_text(f"gene_id\tgene_name\n{gene}\t{name}\n")
        run(quick(trained.inputs, tmp_path / "run", symbols=tmp_path / "symbols.tsv"))
        assert read_models(tmp_path / "run").genes["gene_name"][0] == name
