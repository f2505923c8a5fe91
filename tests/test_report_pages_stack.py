"""The page of `genopred stack`: what the run's files hold, and what it cost."""

from __future__ import annotations

from types import SimpleNamespace

import polars as pl
from report_data import results

from genopred.align import Tally
from genopred.report.pages import stack


def test_the_page_has_comparison_settings_and_costs(tmp_path):
    predictions, scores, summary = results(12)
    predictions.write_parquet(tmp_path / "predictions.parquet")
    tally = Tally()
    tally.come("genes", "in a file", 12)
    result = SimpleNamespace(
        summary=summary, scores=scores, report=tally.report(), stack="stack-xgboost", notes=("a note",), symbols={},
        page=tmp_path / "report.html",
    )  # fmt: skip
    table = pl.DataFrame({"what": ["ridge", "R cv.glmnet"], "seconds": [1.25, 2.0], "share": [0.5, None]})
    cost = stack.cost(table, ["glmnet was run."])
    stack.write(result, tmp_path / "predictions.parquet", {"inner folds": 5}, [cost], title="a title")
    page = result.page.read_text(encoding="utf-8")
    for said in (
        "a title",
        "a note",
        "inner folds",
        "What it costs",
        "R cv.glmnet",
        "1.250",
        "50.0",
        "glmnet was run.",
    ):
        assert said in page
    first = stack.write(result, tmp_path / "predictions.parquet", {}, first=[cost], lead=["Words at the top."])
    page = result.page.read_text(encoding="utf-8")
    assert first is None and "genopred stack" in page and "Words at the top." in page
