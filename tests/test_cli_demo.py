"""`genopred demo`: the main job on what the package brings along."""

from __future__ import annotations

import socket

import pytest

from genopred.cli import main


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("the demo must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_the_demo_ends_with_the_table_and_the_page(tmp_path, capsys, no_network, monkeypatch):
    monkeypatch.chdir(tmp_path)
    genes = ["--gene", "ENSG00000172404", "--gene", "ENSG00000100147"]
    assert main(["demo", *genes, "--learners", "baseline-prs,pt-prs,elastic-net", "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert out.rstrip().endswith("Page: genopred-demo/report.html")
    for name in ("baseline-prs", "pt-prs", "elastic-net", "stack-xgboost", "stack-nnls"):
        assert name in out
    page = (tmp_path / "genopred-demo" / "report.html").read_text(encoding="utf-8")
    assert "358" in page
    # the shipped weights were learned on these people, so the demo must not start from them
    assert "learned on" not in page
