"""`genopred.learning.peers`: what R is given and says. Whole runs are in tests/test_pipelines_benchmark.py."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from genopred.errors import GenopredError
from genopred.learning import peers

FOLD = np.array([0, 1, 0, 1], dtype=np.int32)
Y = np.arange(8.0).reshape(4, 2)
X = np.arange(12.0).reshape(4, 3)


def test_arrays_go_to_r_column_by_column_and_what_it_says_comes_back(tmp_path, monkeypatch):
    seen = []

    def rscript(command, **_):
        seen.append((command[3:], np.fromfile(command[2], np.uint8).tobytes()))
        return subprocess.CompletedProcess(command, 0, "0.5\n1\n2\n3\n4\n", "")

    monkeypatch.setattr(peers.subprocess, "run", rscript)
    assert peers.glmnet("gene", tmp_path / "gene.1", FOLD, Y, X) == (0.5, [1.0, 2.0, 3.0, 4.0])
    assert seen == [(["4", "3", "2", "1"], FOLD.tobytes() + Y.tobytes("F") + X.tobytes("F"))]
    assert [path.name for path in tmp_path.iterdir()] == ["gene.1.R"]


def test_where_r_fails_its_last_words_are_passed_on(tmp_path, monkeypatch):
    for said, shown in (("Error: no\nExecution halted\n", "gene: Error: no; repair R"), ("", "R ended with code 3; ")):
        failed = subprocess.CompletedProcess([], 3, "", said)
        monkeypatch.setattr(peers.subprocess, "run", lambda *args, failed=failed, **kwargs: failed)
        with pytest.raises(GenopredError, match=f"glmnet failed on .*{shown}"):
            peers.glmnet("gene", tmp_path / "gene", FOLD, Y, X)


def test_without_r_it_cannot_run(monkeypatch):
    monkeypatch.setattr(peers.shutil, "which", lambda name: None)
    assert peers.glmnet_missing() == "Rscript is not installed"
