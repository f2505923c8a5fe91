"""`genopred train` with task = "expression": what a run leaves, killed and resumed, folds, random splits, one line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from gene_data import CONFIG, start, write  # noqa: E402

from genopred.cli import main  # noqa: E402
from genopred.errors import GenopredError  # noqa: E402
from genopred.pipelines import train  # noqa: E402
from genopred.pipelines.train_genes import open_genes, prepare  # noqa: E402
from genopred.pipelines.train_inputs import read_config  # noqa: E402
from genopred.settings import Train  # noqa: E402
from genopred.training.gene_scores import gene_pearson  # noqa: E402
from genopred.training.networks.gene import GeneNetwork  # noqa: E402
from genopred.training.store import load_network  # noqa: E402
from genopred.training.targets import Transform  # noqa: E402
from genopred.training.tasks.expression import predict_genes  # noqa: E402


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return read_config(write(tmp_path_factory.mktemp("genes")))


@pytest.fixture(scope="module")
def out(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    return folder, train.run(Train(config=config.source, out=folder))


def test_a_run_leaves_everything_in_its_folder(config, out):
    folder, report = out
    tables = {"history.tsv", "matched.tsv", "genes.tsv", "timing.tsv"}
    assert {path.name for path in folder.iterdir()} == {"config.json", "curves.svg", "last.pt", "model", *tables}
    about = json.loads((folder / "config.json").read_text())
    assert about["config"]["task"] == "expression" and "torch" in about["versions"]
    again = read_config(folder / "config.json")
    assert again.resolved() == config.resolved()
    genes = pl.read_csv(folder / "genes.tsv", separator="\t")
    assert genes.columns[:5] == ["gene_id", "gene", "chrom", "tss", "strand"]
    assert genes.columns[-2:] == ["liver", "brain"] and set(genes["split"]) >= {"train", "validation", "test"}
    text = "\n".join(report.lines())
    assert "106 training, 28 validation and 19 test genes; 7 left out" in text and "liver: Pearson" in text
    assert "Pearson over genes" in (folder / "curves.svg").read_text()


def test_the_network_reads_back_and_predicts_the_same(config, out):
    folder, report = out
    network, about = load_network(folder / "model")
    assert isinstance(network, GeneNetwork) and about["track_names"] == ["liver", "brain"]
    assert about["training"]["genes"]["fasta"] == "ref.fa"
    made = prepare(config, open_genes(config))
    assert Transform.from_json(about["transform"]) == made.transform
    test = made.split.rows("test")
    expected = predict_genes(report.run.network, made.data, test)
    np.testing.assert_array_equal(predict_genes(network, made.data, test), expected)
    validation = made.split.rows("validation")
    found = gene_pearson(predict_genes(network, made.data, validation), made.targets[validation])
    row = report.run.history.row(report.run.best_epoch - 1, named=True)
    np.testing.assert_allclose(found, [row["pearson_liver"], row["pearson_brain"]], atol=1e-6)


def test_killed_and_started_again_ends_the_same(tmp_path, capsys):
    file = write(tmp_path, CONFIG.replace("epochs = 2", "epochs = 3\ncheckpoint_minutes = 1e-9"))
    assert main(["train", str(file), "--out", str(tmp_path / "whole"), "--quiet"]) == 0
    command = [sys.executable, "-m", "genopred.cli", "train", str(file), "--out", str(tmp_path / "killed"), "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        until, last = time.monotonic() + 300, tmp_path / "killed" / "last.pt"
        while not last.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        first = last.stat().st_mtime_ns
        while last.stat().st_mtime_ns == first and process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL, process.stderr.read().decode()
    capsys.readouterr()
    assert main(["train", str(file), "--out", str(tmp_path / "killed")]) == 0
    assert "going on after step" in capsys.readouterr().err
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    files = {path.relative_to(whole) for path in whole.rglob("*") if path.is_file()}
    assert {path.relative_to(killed) for path in killed.rglob("*") if path.is_file()} == files
    for name in files - {Path("timing.tsv")}:
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name


def test_another_configuration_is_refused(config, out):
    folder, _ = out
    with pytest.raises(GenopredError, match=r"training.batch was 16, is 8.*--no-resume"):
        start(config, folder, batch=8)
    with pytest.raises(GenopredError, match=r"expression of training genes was"):
        start(config, folder, {"expression": {"transform": ["log", "quantile", "z"]}})


def test_folds(config, tmp_path):
    report = start(config, tmp_path / "out", {"split": {"by": "block", "block": 8000, "folds": 3}}, epochs=1)
    table = pl.read_csv(tmp_path / "out" / "folds.tsv", separator="\t")
    assert table["fold"].to_list() == [1, 2, 3] and len(report.runs) == 3
    tests = []
    for fold in range(3):
        folder = tmp_path / "out" / f"fold{fold + 1}"
        assert json.loads((folder / "config.json").read_text())["fold"] == fold + 1
        genes = pl.read_csv(folder / "genes.tsv", separator="\t")
        tests.append(set(genes.filter(pl.col("split") == "test")["gene_id"]))
        assert (folder / "model" / "config.json").is_file() and table["test"][fold] == len(tests[-1])
    assert not (tests[0] & tests[1]) and len(tests[0] | tests[1] | tests[2]) > 110
    assert "3 folds" in report.lines()[0]
    again = start(config, tmp_path / "out", {"split": {"by": "block", "block": 8000, "folds": 3}}, epochs=1)
    assert all(a.history.equals(b.history) for a, b in zip(report.runs, again.runs))


def test_a_random_split_says_how_much_it_promises(config, tmp_path):
    report = start(config, tmp_path / "out", {"split": {"by": "random", "block": 10000, "seed": 3}})
    folder = tmp_path / "out"
    table = pl.read_csv(folder / "inflation.tsv", separator="\t")
    assert table["cell"].to_list() == ["liver", "brain"] and table["genes_random"][0] == 24
    text = (folder / "inflation.txt").read_text()
    assert "are inflated" in text and text.splitlines() == report.lines()[-len(text.splitlines()) :]
    beside = pl.read_csv(folder / "block" / "genes.tsv", separator="\t")
    assert set(beside["split"].drop_nulls()) >= {"train", "test"}
    # the network beside it has seen nothing near: windows, shifts and a margin lie between
    train_, other = (beside.filter(pl.col("split").is_in(names)) for names in (["train"], ["validation", "test"]))
    pairs = train_.join(other, on="chrom").select(
        apart=pl.max_horizontal(pl.col("start_right") - pl.col("end"), pl.col("start") - pl.col("end_right"))
    )
    assert pairs.height > 1_000 and pairs["apart"].min() >= 416
    one = start(config, tmp_path / "one", {"split": {"by": "random", "compare": False}}, epochs=1)
    assert one.inflation is None and not (tmp_path / "one" / "block").exists()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('task = "expression"', 'task = "expressions"', "Did you mean 'expression'"),
        ('gtf = "genes.gtf"', 'gtf = "ref.fa"', "a GTF line has 9"),
        ('file = "expression.tsv"', 'file = "ref.fa"', "needed a table of genes x cell types"),
        ('fasta = "ref.fa"', 'fasta = "genes.gtf"', "does not start with '>'"),
        ('kind = "hybrid"', 'kind = "hybrids"', "Did you mean 'hybrid'"),
        ("epochs = 2", "epochs = 0", "training.epochs = 0"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, old, new, said):
    file = write(tmp_path, CONFIG.replace(old, new))
    assert main(["train", str(file), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0 and said in error, error
    assert not (tmp_path / "out").exists()
