"""What is printed when a run ends, and what of it the log keeps."""

from __future__ import annotations

import logging
from pathlib import Path

import polars as pl
import pytest
from report_data import match_report, results

from genopred.cli.show import show_comparison, show_cost
from genopred.pipelines.benchmark import BenchmarkResult
from genopred.pipelines.stack import StackResult
from genopred.report.page import reading

LONG = "a/folder/with/a/very/long/name/" * 8 + "report.html"


@pytest.fixture(scope="module")
def result():
    _, scores, summary = results(12)
    return StackResult(summary, scores, match_report(), "stack-xgboost", Path(LONG), ("Twelve [genes] are few.",))


@pytest.fixture
def logged(caplog):
    caplog.set_level(logging.INFO, logger="genopred.cli")
    return caplog


def test_the_table_what_it_means_and_the_page(result, capsys, logged):
    show_comparison(result)
    out = capsys.readouterr().out
    lines = out.rstrip("\n").split("\n")
    assert lines[-1] == f"Page: {LONG}"  # paths are not broken
    said = reading(result.summary, result.scores, "stack-xgboost")
    table = [line.split()[0] for line in lines[: lines.index(said[0])] if line.split()]
    best_first = result.summary.sort("mean_r2", descending=True)["method"].to_list()
    assert [name for name in table if name in best_first] == best_first
    assert all(line in lines for line in said)
    assert "\x1b" not in out and max(map(len, lines[:12])) <= 150
    warned = [record.getMessage() for record in logged.records if record.levelno == logging.WARNING]
    assert warned == list(result.notes) and result.notes[0] not in out


def test_the_log_gets_the_numbers_for_machines(result, logged, capsys):
    show_comparison(result)
    kept = [record.getMessage() for record in logged.records if getattr(record, "file_only", False)]
    rows = [line.split("\t") for line in kept]
    assert rows[0] == result.summary.columns and len(rows) == 1 + result.summary.height
    r2 = dict(zip(result.summary["method"], result.summary["mean_r2"]))
    assert {row[0]: float(row[2]) for row in rows[1:]} == pytest.approx(r2, abs=1e-5)


def test_more_comes_before_the_page_unbroken_and_into_the_log(result, capsys, logged):
    paragraph = "A [bold]paragraph[/bold] " + "of many words " * 40
    show_comparison(result, more={"Sequence features": (paragraph, "Another.")})
    lines = capsys.readouterr().out.rstrip("\n").split("\n")
    at = lines.index("Sequence features")
    assert [line.rstrip() for line in lines[at + 1 : at + 3]] == [paragraph.rstrip(), "Another."]
    assert lines[at + 3] == f"Page: {LONG}"
    assert {paragraph, "Another."} <= {record.getMessage() for record in logged.records}


def test_costs_and_why_a_peer_did_not_run(result, capsys, logged):
    cost = pl.DataFrame(
        {"what": ["elastic-net", "R cv.glmnet"], "seconds": [1.234, 5.678], "share": [0.25, None]},
        schema={"what": pl.String, "seconds": pl.Float64, "share": pl.Float64},
    )
    show_cost(BenchmarkResult(result, cost, ("glmnet was not run: no R.",)))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["elastic-net", "1.23", "25%"] in rows and ["R", "cv.glmnet", "5.68"] in rows
    said = [record.getMessage() for record in logged.records]
    assert "elastic-net: 1.234 s of CPU per gene" in said and "glmnet was not run: no R." in said


def test_no_costs_no_table(result, capsys, logged):
    empty = pl.DataFrame(schema={"what": pl.String, "seconds": pl.Float64, "share": pl.Float64})
    show_cost(BenchmarkResult(result, empty, ("Use --no-resume.",)))
    assert capsys.readouterr().out == ""
    assert [record.getMessage() for record in logged.records] == ["Use --no-resume."]
