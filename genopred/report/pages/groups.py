"""What is shown of accuracy by group, and of models that one group trained in the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import polars as pl

from genopred.report.tables import Cell, Grid, count, estimate, number

if TYPE_CHECKING:
    from genopred.report.page import Section


def groups_section(tables: Mapping[str, pl.DataFrame], method: str) -> Section:
    """Both tables of `genopred.pipelines.stack_groups`; of the first the rows of one method and the linear stack."""
    from genopred.report.page import Section

    shown = tables["groups"].filter(pl.col("method").is_in([method, "stack-linear"]))
    rows = [
        [
            Cell(row["group"]),
            Cell(row["method"]),
            Cell(count(row["people"]), value=row["people"]),
            estimate(row["mean_r2"], row["mean_r2_low"], row["mean_r2_high"]),
            Cell(number(row["mean_pearson"], 3), value=row["mean_pearson"]),
        ]
        for row in shown.iter_rows(named=True)
    ]
    grid = Grid(["Group", "Method", "People", "Mean R²", "Mean r"], rows)
    caption = "Accuracy by group. People held out, each group by itself, around its own mean; 95 % interval over genes."
    both = [(grid, caption)]
    if "transfer" in tables:
        names = ("within", "reached", "lost_missing", "lost_frequency", "lost_rest")
        moved = [
            [
                Cell(row["trained_on"]),
                Cell(row["tested_on"]),
                Cell(count(row["people_trained"]), value=row["people_trained"]),
                *(Cell(number(row[name], 4), value=row[name]) for name in names),
            ]
            for row in tables["transfer"].iter_rows(named=True)
        ]
        headings = ["Trained on", "Tested on", "People", "R² within", "R² reached"]
        headings += ["Lost: variants", "Lost: frequency", "Lost: rest"]
        text = (
            "Models of one group in another. Within: mean R² cross-validated in the group trained on. Lost: to "
            "variants that are absent or do not vary, to other allele frequencies (variants taken as independent), and "
            "to the rest: LD, other effects, chance."
        )
        both.append((Grid(headings, moved), text))
    return Section("By group", (), (), tuple(both))
