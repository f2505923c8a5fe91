"""The page of `genopred stack`, which benchmark and demo write with sections of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from genopred.report.page import Section, render_page, write_page
from genopred.report.tables import Cell, GeneNames, Grid, number


def write(
    result: Any,
    predictions: Path,
    info: Mapping[str, Any],
    sections: Sequence[Section] = (),
    *,
    first: Sequence[Section] = (),
    title: str = "genopred stack",
    lead: Sequence[str] = (),
) -> None:
    """Write the page of a `genopred.pipelines.stack.StackResult`; `first` has sections that stand before those of it.

    Nothing on it depends on when or how fast it ran, so that a resumed run writes the same page. `predictions` is the
    file of all genes' held-out predictions, `info` what to state of the settings.
    """
    best = result.scores.filter(pl.col("method") == result.stack).sort("r2", descending=True)["gene_id"].head(6)
    html = render_page(
        title=title,
        summary=result.summary,
        scores=result.scores,
        predictions=pl.scan_parquet(predictions).filter(pl.col("gene_id").is_in(best.implode())).collect(),
        report=result.report,
        info={**info, "stack": result.stack, "notes": list(result.notes), "lead": list(lead)},
        sections=sections,
        first=first,
        names=GeneNames(result.symbols),
    )
    write_page(result.page, html)


def cost(table: pl.DataFrame, notes: Sequence[str]) -> Section:
    """What the parts of a run cost: what, seconds, share."""
    rows = []
    for what, seconds, share in table.select("what", "seconds", "share").iter_rows():
        percent = Cell(number(share and 100 * share, 1), value=share)
        rows.append([Cell(what), Cell(number(seconds, 3), value=seconds), percent])
    grid = Grid(["What", "CPU seconds", "Share, %"], rows)
    text = ("CPU seconds per gene, all outer folds together, on the machine that ran this.", *notes)
    return Section("What it costs", text, tables=((grid, "CPU seconds per gene, and share of the stack's total."),))
