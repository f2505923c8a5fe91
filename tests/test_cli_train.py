"""`genopred train`: a killed run goes on to the same end, and bad input is one line."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from training_data import CONFIG, write

from genopred.cli import main

pytest.importorskip("torch")
pytest.importorskip("pyBigWig")

OFTEN = CONFIG.replace("epochs = 2", "epochs = 3\ncheckpoint_minutes = 1e-9")


def test_killed_at_any_moment_and_started_again_ends_the_same(tmp_path, capsys):
    config = write(tmp_path, OFTEN)
    assert main(["train", str(config), "--out", str(tmp_path / "whole"), "--quiet"]) == 0
    assert "best epoch" in capsys.readouterr().out
    command = [sys.executable, "-m", "genopred.cli", "train", str(config), "--out", str(tmp_path / "killed"), "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        # the first checkpoint is of step 0; some steps later, wherever it is then
        until, last = time.monotonic() + 300, tmp_path / "killed" / "last.pt"
        while not last.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        first = last.stat().st_mtime_ns
        while last.stat().st_mtime_ns == first and process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert process.returncode == -signal.SIGKILL, process.stderr.read().decode()
    capsys.readouterr()
    assert main(["train", str(config), "--out", str(tmp_path / "killed")]) == 0
    assert "going on after step" in capsys.readouterr().err
    whole, killed = ((tmp_path / name) for name in ("whole", "killed"))
    files = {path.relative_to(whole) for path in whole.rglob("*") if path.is_file()}
    assert {path.relative_to(killed) for path in killed.rglob("*") if path.is_file()} == files
    # the time that it took is in one file, and only there
    for name in files - {Path("timing.tsv")}:
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    for folder in (whole, killed):
        timing = pl.read_csv(folder / "timing.tsv", separator="\t")
        assert timing["epoch"].to_list() == [1, 2, 3] and timing["seconds"].min() > 0


def test_options_replace_the_configurations(tmp_path, capsys):
    config = write(tmp_path)
    options = ["--epochs", "1", "--seed", "9", "--threads", "1", "--device", "cpu"]
    assert main(["train", str(config), "--out", str(tmp_path / "out"), *options]) == 0
    text = (tmp_path / "out" / "config.json").read_text()
    assert '"epochs": 1' in text and '"seed": 9' in text
    assert main(["train", str(config), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("GenopredError:") and "training.epochs was 1, is 2" in error
    assert main(["train", str(config), "--out", str(tmp_path / "out"), "--no-resume"]) == 0


def test_bad_input_is_one_line(tmp_path, capsys):
    config = write(tmp_path, CONFIG.replace("channels", "chanels"))
    assert main(["train", str(config), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip()
    assert (
        error.count("\n") == 0 and "train.toml: unknown key 'chanels'" in error and "Did you mean 'channels'" in error
    )
    assert main(["train", str(tmp_path / "no.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_help_names_the_sections(capsys):
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    assert "CONFIG" in text and "data, tracks" in text and "--no-resume" in text
