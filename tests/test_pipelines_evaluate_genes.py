"""genopred.pipelines.evaluate_genes: small networks trained on planted motifs, scored on the genes held out."""

from __future__ import annotations

import json
import shutil

import gene_data
import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

from polars.testing import assert_frame_equal

from genopred.errors import GenopredError, ModelError
from genopred.pipelines import evaluate, evaluate_genes, train
from genopred.pipelines.evaluate import EVALUATIONS
from genopred.settings import Evaluate, Train
from genopred.training import gene_baselines
from genopred.training.gene_scores import ALL_CELLS, gene_scores
from genopred.training.gene_tests import GENE_TEST_SCHEMA

FOLDED = gene_data.CONFIG.replace("seed = 3", "seed = 3\nfolds = 3")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Two runs on one set of files: `run` of one split, and `cv` with three folds."""
    folder = tmp_path_factory.mktemp("genes")
    gene_data.write(folder)
    (folder / "folds.toml").write_text(FOLDED)
    train.run(Train(config=folder / "train.toml", out=folder / "run", epochs=5))
    train.run(Train(config=folder / "folds.toml", out=folder / "cv"))
    return folder


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(gene_baselines, "TREES", 10)


@pytest.fixture(autouse=True)
def looks(trained):
    """No looks before and after."""
    files = [trained / name / EVALUATIONS for name in ("run", "cv")]
    for file in files:
        file.unlink(missing_ok=True)
    yield files
    for file in files:
        file.unlink(missing_ok=True)


@pytest.fixture
def no_page(monkeypatch):
    """Figures take most of the time."""
    monkeypatch.setattr(evaluate_genes.page, "write", lambda *_: [])


def settings(trained, out, model="run", **changes) -> Evaluate:
    given = {"model": str(trained / model), "out": out, "device": "cpu", "resamples": 40}
    return Evaluate(**(given | changes))


def test_everything_that_is_written(trained, looks, tmp_path):
    out = tmp_path / "out"
    done = evaluate.run(settings(trained, out, model="cv", baseline=("ridge", "mean"), figures="svg"))
    assert [file.name for file in done.files] == [
        *("scores.tsv", "differences.tsv", "tests.tsv", "folds.tsv", "predictions.parquet", "positions.tsv"),
        *(f"{name}.svg" for name in ("density", "errors", "cells", "methods", "positions")),
        "evaluate.html",
    ]
    assert not (out / ".parts").exists()
    # each gene once, by the fold that held it out, with its targets there
    table = pl.read_parquet(out / "predictions.parquet")
    assert table["gene_id"].n_unique() == table.height
    for k in (1, 2, 3):
        genes = pl.read_csv(trained / "cv" / f"fold{k}" / "genes.tsv", separator="\t").filter(pl.col("split") == "test")
        joined = table.filter(pl.col("fold") == str(k)).join(genes, on="gene_id", suffix=" there")
        assert joined.height == genes.height
        np.testing.assert_allclose(joined["measured liver"], joined["liver"], rtol=1e-5)
        assert (joined["block"] == joined["block there"]).all()
    # scores are those of the predictions written
    y, x = (table.select(f"{what} {cell}" for cell in gene_data.CELLS).to_numpy() for what in ("measured", "predicted"))
    wanted = gene_scores(
        y, x, table["block"].to_numpy(), gene_data.CELLS, resamples=40, seed=settings(trained, out).seed
    )
    found = done.tables["scores"].filter(pl.col("model") == "cv").drop("model", "split")
    assert_frame_equal(found, wanted)
    tests = pl.read_csv(out / "tests.tsv", separator="\t")
    assert tests.columns == list(GENE_TEST_SCHEMA)
    # GC and words of a random sequence with motifs: the ridge finds them
    ridge = done.tables["scores"].filter((pl.col("model") == "ridge") & (pl.col("metric") == "pearson"))
    assert ridge.filter((pl.col("what") == "level") & (pl.col("cell") == ALL_CELLS))["estimate"].item() > 0.4
    positions = pl.read_csv(out / "positions.tsv", separator="\t")
    assert set(positions["kind"]) == {"attention", "gradient × input"}
    assert positions["start"].min() == -gene_data.BEFORE and positions["end"].max() == gene_data.AFTER
    # the motifs are before the TSS
    of = positions.filter(pl.col("kind") == "gradient × input")
    html = (out / "evaluate.html").read_text()
    assert "http://" not in html.replace("http://www.w3.org", "") and "genes with own exon" in html
    assert "ignores that cell types share their genes" in html and of.height > 50
    lines = "\n".join(done.lines())
    assert "held-out genes of 3 folds" in lines and "first evaluation of this run's test split" in lines
    assert "over ridge, p " in lines and "mean over cell types" in lines
    assert "of the test split, scored" in (out / "matched.tsv").read_text()


def test_another_run_and_its_looks(trained, looks, no_page, tmp_path):
    done = evaluate.run(settings(trained, tmp_path / "a", against=(str(trained / "cv"),), strands="both"))
    differences = done.tables["differences"]
    assert set(differences["against"]) == {"cv"}
    assert not any("in its own training" in note for note in done.notes)  # each fold held its genes out
    other = evaluate.run(settings(trained, tmp_path / "b", model="cv", against=(str(trained / "run"),)))
    assert any("run had " in note and "too high" in note for note in other.notes)
    for file, names in zip(looks, (["run", "run"], ["cv", "cv"])):
        assert pl.read_csv(file, separator="\t")["model"].to_list() == names
    assert other.looks == 1


def test_a_fold_by_itself_is_a_run(trained, no_page, tmp_path):
    done = evaluate.run(settings(trained, tmp_path / "a", model="cv/fold2"))
    genes = pl.read_csv(trained / "cv" / "fold2" / "genes.tsv", separator="\t")
    assert done.tables["scores"]["n_genes"].max() == (genes["split"] == "test").sum() and "folds" not in done.tables
    assert (trained / "cv" / "fold2" / EVALUATIONS).is_file()


def test_a_killed_run_goes_on(trained, no_page, tmp_path, monkeypatch):
    out = tmp_path / "out"
    made = evaluate_genes.compare_genes
    monkeypatch.setattr(evaluate_genes, "compare_genes", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate.run(settings(trained, out, baseline=("ridge", "mean")))
    assert sorted(file.name for file in (out / ".parts").iterdir()) == ["baseline0.npz", "baseline1.npz", "model.npz"]
    monkeypatch.setattr(evaluate_genes, "compare_genes", made)
    whole = evaluate.run(settings(trained, tmp_path / "whole", baseline=("ridge", "mean")))
    for name in ("predict_held", "baseline_methods"):
        monkeypatch.setattr(evaluate_genes, name, lambda *_, **__: 1 / 0)
    (out / ".parts" / "model.npz").write_bytes(b"damaged")
    with pytest.raises(ZeroDivisionError):
        evaluate.run(settings(trained, out, baseline=("ridge", "mean")))
    shutil.copy(next((tmp_path / "whole").glob("scores.tsv")), tmp_path / "scores.tsv")
    monkeypatch.undo()
    monkeypatch.setattr(gene_baselines, "TREES", 10)
    monkeypatch.setattr(evaluate_genes.page, "write", lambda *_: [])
    again = evaluate.run(settings(trained, out, baseline=("ridge", "mean")))
    assert again.tables["scores"].equals(whole.tables["scores"])
    with pytest.raises(GenopredError, match="--baseline"):
        evaluate.run(settings(trained, out, baseline=("ridge",)))


def test_validation_and_training_genes_are_told_to_be_so(trained, no_page, tmp_path):
    done = evaluate.run(settings(trained, tmp_path / "a", split="validation"))
    assert "a little too high" in " ".join(done.notes) and done.looks == 0
    assert "training genes" in " ".join(evaluate.run(settings(trained, tmp_path / "b", split="train")).notes)


class Scores:
    """Stands for Xpresso: the share of C before the TSS, of windows in the gene's direction."""

    name = "xpresso:liver"

    def predict_onehot(self, onehot):
        assert onehot.shape[1:] == (10_500, 4)
        return onehot[:, 6_999 - 200 : 6_999, 1].mean(axis=1)[:, None, None]


def test_xpresso_reads_its_own_window(trained, no_page, tmp_path, monkeypatch):
    from genopred.sequence.models import xpresso

    monkeypatch.setattr(xpresso.XpressoModel, "load", lambda *_, **__: Scores())
    done = evaluate.run(settings(trained, tmp_path / "a", baseline=("xpresso:liver.h5",)))
    of = done.tables["scores"].filter(pl.col("model") == "xpresso liver")
    assert set(of["cell"]) == {"liver"} and "trained by its authors" in " ".join(done.notes)
    # a straight line of what the stand-in counts
    table = pl.read_parquet(tmp_path / "a" / "predictions.parquet")
    from genopred.pipelines.evaluate_genes_inputs import load_folds, open_gene_run

    (fold,), *_ = load_folds(open_gene_run(str(trained / "run")))
    codes = fold.data.codes[[fold.place[gene] for gene in table["gene_id"]]]
    at = fold.data.flank + gene_data.BEFORE
    c = (codes[:, at - 200 : at] == 1).mean(axis=1)
    assert abs(np.corrcoef(c, table["predicted liver by xpresso liver"])[0, 1]) == pytest.approx(1, abs=1e-6)
    monkeypatch.setattr(Scores, "name", "xpresso:K562")
    with pytest.raises(ModelError, match="weights of K562, and the run has liver, brain"):
        evaluate.run(settings(trained, tmp_path / "b", baseline=("xpresso:k.h5",)))


def test_data_that_changed_since_the_training_are_refused(trained, no_page, tmp_path):
    folder = tmp_path / "moved"
    shutil.copytree(trained / "run", folder)
    about = json.loads((folder / "config.json").read_text())
    lines = (trained / "expression.tsv").read_text().splitlines()
    lines[5] = lines[5].split("\t")[0] + "\t99\t99"
    (tmp_path / "expression.tsv").write_text("\n".join(lines) + "\n")
    about["config"]["expression"]["file"] = str(tmp_path / "expression.tsv")
    (folder / "config.json").write_text(json.dumps(about))
    with pytest.raises(GenopredError, match="other expression than the files give today"):
        evaluate.run(settings(trained, tmp_path / "a", model=str(folder)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"config": "x.toml"}, "has its own genes and split; leave it out"),
        ({"against": ("enformer-small",)}, "--against enformer-small: not the folder of a run that learned expression"),
    ],
)
def test_what_does_not_apply(trained, tmp_path, changes, said):
    with pytest.raises(GenopredError, match=said):
        evaluate.run(settings(trained, tmp_path / "a", **changes))


def test_a_run_without_a_network(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained / "run", folder)
    shutil.rmtree(folder / "model")
    with pytest.raises(ModelError, match="has no network yet"):
        evaluate.run(settings(trained, tmp_path / "a", model=str(folder)))
