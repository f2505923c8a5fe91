"""genopred evaluate, from the command line."""

from __future__ import annotations

import polars as pl
import pytest

pytest.importorskip("torch")
pytest.importorskip("pyBigWig")

import test_pipelines_evaluate as shared
import test_pipelines_evaluate_genes as of_genes

from genopred.cli import main

trained, looks, packages, no_page = shared.trained, shared.looks, shared.packages, shared.no_page


def words(trained, out, *more, model=None):
    return ["evaluate", model or str(trained / "run"), "--out", str(out), "--device", "cpu", "--quiet", *more]


def test_a_run_prints_scores_and_looks(trained, looks, no_page, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(words(trained, out, "--baseline", "ridge", "--resamples", "20", "--strands", "both")) == 0
    said = capsys.readouterr().out
    assert "run on the test split: 288 bins of 64 bp in 48 windows of 6 blocks." in said
    assert "mean of those from both strands" in said and "over ridge" in said and "first evaluation" in said
    table = pl.read_csv(out / "differences.tsv", separator="\t")
    assert set(table["against"]) == {"ridge"} and set(table["split"]) == {"test"}
    assert "genopred" in (tmp_path / "out.log").read_text()
    assert main(words(trained, out, "--resamples", "20")) == 2
    assert "other settings (--strands, --baseline)" in capsys.readouterr().err
    assert main(words(trained, out, "--resamples", "20", "--no-resume")) == 0
    assert "had been evaluated once before" in capsys.readouterr().out


def test_other_splits_and_models(trained, looks, no_page, tmp_path, capsys):
    more = ["--config", str(trained / "train.toml"), "--split", "validation", "--threads", "1"]
    assert main(words(trained, tmp_path / "out", *more, model="gc")) == 0
    assert "gc on the validation split" in capsys.readouterr().out
    assert not looks.exists() and (tmp_path / "out" / "evaluations.tsv").is_file()


@pytest.mark.parametrize(
    ("more", "words_said"),
    [
        (["--split", "tests"], "--split tests: there are train, validation, test."),
        (["--baseline", "lasso"], "--baseline lasso: there are ridge, forest, svm, mlp, mean, xpresso:FILE.h5."),
        (
            ["--baseline", "forest"],
            "--baseline forest: it is of runs that learned expression; of tracks there is ridge.",
        ),
        (["--baseline", "ridge", "--baseline", "ridge"], "--baseline ridge is given twice; once is enough."),
        (["--config", "absent.toml"], "absent.toml: no such file"),
        (
            ["--against", "gc", "--strands", "both"],
            "gc predicts K5 init - but not the other strand's track (K5 init +)",
        ),
        (["--against", "nothing"], "ModelError: --against nothing: there is no model"),
        (["--gtf", "absent.gtf"], "absent.gtf: no such file; needed a GTF annotation"),
    ],
)
def test_bad_input_is_one_line(trained, tmp_path, capsys, more, words_said):
    assert main(words(trained, tmp_path / "out", *more)) == 2
    said = capsys.readouterr().err
    assert words_said in said.splitlines()[-1] and "Traceback" not in said


def test_a_model_without_a_config(trained, tmp_path, capsys):
    assert main(words(trained, tmp_path / "out", model="gc")) == 2
    assert "give --config with the training's TOML file" in capsys.readouterr().err


genes, quick = of_genes.trained, of_genes.quick


def test_genes(genes, quick, tmp_path, capsys):
    """A run that learned expression, beside every baseline that needs no file."""
    out, names = tmp_path / "out", ("ridge", "forest", "svm", "mlp", "mean")
    given = ["evaluate", str(genes / "run"), "--split", "test", "--resamples", "20", "--device", "cpu", "--quiet"]
    given += ["--against", str(genes / "cv"), "--out", str(out), "--figures", "none"]
    assert main([*given, *(word for name in names for word in ("--baseline", name))]) == 0
    said = capsys.readouterr().out
    assert "run on the test split:" in said and "over forest, p " in said and "(blocks flipped, Holm)" in said
    assert "Pearson r of deviations from each gene's mean over cell types" in said
    table = pl.read_csv(out / "differences.tsv", separator="\t")
    assert set(table["against"]) == {"cv", *names[:4], "mean of training genes", "mean of other cell types"}
    assert main([*given, "--baseline", "xpresso:absent.h5"]) == 2
    assert "other settings (--baseline)" in capsys.readouterr().err
    given[given.index(str(out))] = str(tmp_path / "other")
    assert main([*given, "--baseline", "xpresso:absent.h5"]) == 2
    assert "absent.h5" in capsys.readouterr().err.splitlines()[-1]
