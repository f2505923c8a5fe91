"""The stack beside R's glmnet: same people, folds and phenotype; what it costs; what the page says."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import r2_score

from genopred.errors import GenopredError
from genopred.io import text
from genopred.learning import peers
from genopred.pipelines import benchmark, stack, stack_genes
from genopred.pipelines.demo import example_inputs
from genopred.pipelines.inputs import open_cohort
from genopred.settings import Benchmark

GENES = ("ENSG00000172404.4", "ENSG00000100387.8")


def settings(out, **others):
    base = {"learners": ("pt-prs", "elastic-net"), "stack_weights": "none", "outer_folds": 2, "inner_folds": 3}
    return Benchmark(**example_inputs(GENES) | base | {"out": out, "threads": 1} | others)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Without a peer."""
    out = tmp_path_factory.mktemp("benchmark") / "run"
    return out, benchmark.run(settings(out, peers=()))


@pytest.fixture(scope="module")
def beside(alone, tmp_path_factory):
    """With glmnet, going on from the same base predictions."""
    why_not = peers.glmnet_missing()
    if why_not:
        pytest.skip(why_not)
    out = tmp_path_factory.mktemp("glmnet") / "run"
    shutil.copytree(alone[0], out)
    steps = []
    done = benchmark.run(settings(out), lambda *step: steps.append(step))
    return out, done, steps


def test_the_cost_of_each_part(alone):
    out, done = alone
    cost = dict(zip(done.cost["what"], done.cost["seconds"]))
    parts = ["pt-prs", "elastic-net", stack_genes.REST, stack.METAS_COST]
    assert list(cost) == [*parts, "the stack, all of it"] and done.notes == ()
    assert all(cost[part] > 0 for part in parts)
    assert cost["the stack, all of it"] == pytest.approx(sum(cost[part] for part in parts))
    share = dict(zip(done.cost["what"], done.cost["share"]))
    assert sum(share[part] for part in parts) == pytest.approx(1) == share["the stack, all of it"]
    assert pl.read_csv(out / "cost.tsv", separator="\t").equals(done.cost)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "What it costs" in page and "the stack, all of it" in page


def test_without_a_peer_the_comparison_is_the_stacks(alone):
    out, done = alone
    for name in ("summary", "scores"):
        written = "benchmark" if name == "summary" else "benchmark_scores"
        theirs, own = (pl.read_csv(out / f"{of}.tsv", separator="\t") for of in (written, name))
        assert theirs.equals(own.drop("gene_name", strict=False))
    assert set(done.result.summary["reference"]) == {"elastic-net"}


def test_glmnet_among_the_methods(beside):
    out, done, steps = beside
    assert steps[-1][:2] == (2, 2) and steps[-1][2] == "glmnet"
    assert set(done.result.summary["reference"]) == {"glmnet-r"}  # the others are measured against it
    scores = pl.read_csv(out / "benchmark_scores.tsv", separator="\t")
    r2 = {(row["gene_id"], row["method"]): row["r2"] for row in scores.iter_rows(named=True)}
    for gene in GENES:
        held = stack_genes.read_base(out, gene).filter(pl.col("inner_fold") < 0)
        [file] = (out / "glmnet").glob(f"{gene}.*tsv")  # its name has a digest of what R was given
        table = pl.read_csv(file, separator="\t")
        predicted = dict(zip(table["sample"], table["predicted"]))
        values = np.array([predicted[name] for name in held["sample"]])
        assert len(values) == 358 and np.isfinite(values).all()
        assert r2[gene, "glmnet-r"] == pytest.approx(r2_score(held["observed"], values))
        # the same recipe in two programs, whose inner folds differ
        assert r2[gene, "glmnet-r"] == pytest.approx(r2[gene, "elastic-net"], abs=0.04)
    assert r2[GENES[0], "glmnet-r"] > 0.5
    row = done.cost.row(by_predicate=pl.col("what").str.starts_with("R cv.glmnet"), named=True)
    assert row["seconds"] > 0 and row["share"] is None
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "glmnet-r" in page and row["what"] in page
    assert "use --no-resume" in done.notes[0] and "use --no-resume" in page


def test_a_second_run_takes_glmnets_predictions_from_its_files(beside, monkeypatch):
    out, done, _ = beside
    monkeypatch.setattr(peers, "GLMNET", "stop('called again')")
    again = benchmark.run(settings(out))
    assert again.result.scores.equals(done.result.scores)
    assert again.cost.height == 0  # nothing was computed, so nothing is said of its cost


def test_what_r_says_when_it_fails_is_passed_on(beside, monkeypatch, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(beside[0], out)
    shutil.rmtree(out / "glmnet")
    monkeypatch.setattr(peers, "GLMNET", "stop('x should be a matrix')")
    monkeypatch.setattr(benchmark.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(GenopredError, match=r"glmnet failed on ENSG00000172404.4: .*x should be a matrix"):
        benchmark.run(settings(out))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("genopred-")] == []


def test_r_sees_of_each_fold_only_training_people(alone, monkeypatch, tmp_path):
    """Phenotypes of held-out people never reach the peer's process."""
    out, seen = tmp_path / "run", []
    shutil.copytree(alone[0], out)

    def rscript(command, **_):
        if command[1] == "-e":
            return subprocess.CompletedProcess(command, 0, "", "")
        n, m, k = (int(word) for word in command[3:6])
        with open(command[2], "rb") as file:
            fold = np.fromfile(file, np.int32, n)
            y = np.fromfile(file, np.float64, n * k).reshape(k, n)
            x = np.fromfile(file, np.float64, n * m).reshape(m, n)
        seen.append((fold, y, x))
        return subprocess.CompletedProcess(command, 0, "\n".join(["0.5", *map(str, fold)]), "")

    monkeypatch.setattr(peers.shutil, "which", lambda name: name)
    monkeypatch.setattr(peers.subprocess, "run", rscript)
    done = benchmark.run(settings(out))
    assert len(seen) == 2
    for (fold, y, x), gene in zip(seen, GENES):
        base = stack_genes.read_base(out, gene)
        people = open_cohort(settings(out)).samples.tolist()
        for f in range(2):
            assert not y[f, fold == f].any()
            of = base.filter((pl.col("outer_fold") == f) & (pl.col("inner_fold") >= 0))
            given = dict(zip(people, y[f]))
            assert [given[name] for name in of["sample"]] == of["observed"].to_list()
        assert np.isfinite(x).all() and x.min() >= 0 and x.max() <= 2
    row = done.cost.row(by_predicate=pl.col("what").str.starts_with("R cv.glmnet"), named=True)
    assert row["seconds"] == 0.5


@pytest.mark.parametrize("which", ["no R", "no glmnet"])
def test_without_glmnet_the_rest_is_done_and_the_reason_is_said(which, alone, monkeypatch, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(alone[0], out)
    if which == "no R":
        monkeypatch.setattr(peers.shutil, "which", lambda name: None)
    else:
        monkeypatch.setattr(peers.shutil, "which", lambda name: name)
        failed = subprocess.CompletedProcess([], 1, b"", b"there is no package called 'glmnet'")
        monkeypatch.setattr(peers.subprocess, "run", lambda *args, **kwargs: failed)
    done = benchmark.run(settings(out))
    reason = "Rscript is not installed" if which == "no R" else "R has no package glmnet"
    assert done.notes[-1] == f"glmnet was not run: {reason}."
    assert done.notes[-1] in (out / "report.html").read_text(encoding="utf-8")
    assert "glmnet-r" not in done.result.summary["method"].to_list()


def test_an_unknown_peer_is_refused_before_any_work(tmp_path):
    with pytest.raises(GenopredError, match="--peers fusion: there is glmnet"):
        settings(tmp_path / "run", peers=("glmnet", "fusion"))
    assert not (tmp_path / "run").exists()


def test_the_bound_on_text_holds_for_the_peers_too(tmp_path, monkeypatch):
    """What the stack was let read with --max-bytes is read once more for R."""
    seen = []

    def opened(_):
        seen.append(text._bound)
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "open_cohort", opened)
    with pytest.raises(KeyboardInterrupt):
        benchmark._glmnet(settings(tmp_path / "run", max_bytes=4_000_000_000), GENES, None)
    assert seen == [4_000_000_000] != [text.MAX_BYTES]
