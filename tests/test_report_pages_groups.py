"""The section on groups."""

from __future__ import annotations

import polars as pl

from genopred.report.page import render_page
from genopred.report.pages.groups import groups_section

GROUPS = pl.DataFrame(
    [("a", "stack-linear", 60, 5, 0.1, 0.05, 0.15, 0.3), ("a", "ridge", 60, 5, 0.2, 0.1, 0.3, 0.4)],
    ["group", "method", "people", "genes", "mean_r2", "mean_r2_low", "mean_r2_high", "mean_pearson"],
    orient="row",
)
TRANSFER = pl.DataFrame(
    [("a", "b", 60, 40, 5, 0.1, 0.04, 0.01, 0.02, 0.03)],
    ["trained_on", "tested_on", "people_trained", "people_tested", "genes", "within", "reached", "lost_missing",
     "lost_frequency", "lost_rest"],
    orient="row",
)  # fmt: skip


def test_shows_the_stack_of_each_group_and_where_accuracy_goes():
    section = groups_section({"groups": GROUPS, "transfer": TRANSFER}, "stack-xgboost")
    (accuracy, _), (moved, caption) = section.tables
    assert [[cell.text for cell in row][:2] for row in accuracy.rows] == [["a", "stack-linear"]]
    assert [cell.value for cell in moved.rows[0][3:]] == [0.1, 0.04, 0.01, 0.02, 0.03] and "LD" in caption
    assert "By group" in render_page(title="x", sections=[section])


def test_without_models_of_groups_there_is_one_table():
    assert len(groups_section({"groups": GROUPS}, "stack-linear").tables) == 1
