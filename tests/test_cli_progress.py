"""Progress on stderr."""

from __future__ import annotations

import io
import sys

import pytest

from genopred.cli.progress import duration, progress, say


def test_lines_without_a_terminal(capsys):
    with progress("genes", every=0.0) as step:
        for done in range(5):
            step(done, 4, "ENSG1")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("0 of 4 genes after")
    assert lines[1].startswith("1 of 4 genes after") and lines[1].endswith("left")
    assert lines[-1].startswith("4 of 4 genes after") and "left" not in lines[-1]


def test_few_lines_for_many_steps(capsys):
    with progress("genes", every=60.0) as step:
        for done in range(10_001):
            step(done, 10_000, "")
    assert capsys.readouterr().err.splitlines() == ["10,000 of 10,000 genes after 0 s"]


def test_quiet_says_nothing(capsys):
    with progress("genes", quiet=True) as step:
        step(1, 1, "x")
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal_with_lines_above_it(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with progress("genes") as step:
        step(1, 4, "ENSG00000100376")
        say("[3] people dropped")
        step(4, 4, "")
    shown = screen.getvalue()
    assert "genes" in shown and "4/4" in shown and "[3] people dropped" in shown
    say("after")
    assert screen.getvalue().endswith("after\n")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (90000, "25 h 0 min")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words
