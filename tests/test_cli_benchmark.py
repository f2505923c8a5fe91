"""`genopred benchmark` from the command line; its settings are in test_cli_stack.py, its numbers in the pipeline's."""

from __future__ import annotations

import pytest

from genopred.cli import main
from genopred.learning import peers
from genopred.pipelines.demo import example_inputs


def words(out, *more):
    inputs = example_inputs()
    given = [*(word for name in ("bfile", "expression", "covar") for word in (f"--{name}", inputs[name])), "--out", out]
    few = ["--gene", "ENSG00000172404", "--learners", "pt-prs,elastic-net", "--outer-folds", "2", "--threads", "1"]
    return ["benchmark", *map(str, given), *few, "--inner-folds", "3", "--stack-weights", "none", *more]


def test_table_costs_and_page(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(peers, "glmnet_missing", lambda: "Rscript is not installed")
    out = tmp_path / "run"
    assert main(words(out)) == 0
    said = capsys.readouterr()
    for part in ("stack-xgboost", f"Page: {out}/report.html", "CPU s per gene", "the stack, all of it", "100%"):
        assert part in said.out
    assert "Warning: glmnet was not run: Rscript is not installed." in said.err
    assert {"benchmark.tsv", "benchmark_scores.tsv", "cost.tsv", "summary.tsv", "report.html"} <= {
        path.name for path in out.iterdir()
    }
    log = (tmp_path / "run.log").read_text()
    assert "s of CPU per gene" in log and "glmnet was not run" in log

    # again: computed before, so there is nothing to time, and no peer was asked for
    assert main(words(out, "--peers", "none", "--quiet")) == 0
    again = capsys.readouterr()
    assert "CPU s per gene" not in again.out and "use --no-resume" in again.err and "glmnet" not in again.err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--peers", "glmnet,fusion"], "--peers fusion: there is glmnet"),
        (["--peers", "glmnet,glmnet"], "glmnet is named twice"),
        (["--meta", "magic"], "--meta magic"),
    ],
)
def test_bad_words_are_one_line_and_exit_2(more, message, tmp_path, capsys):
    assert main(words(tmp_path / "run", *more)) == 2
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()
