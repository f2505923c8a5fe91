"""What `genopred train` shows of a model tuned on people: the 2 x 2 table, in a picture and in words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from genopred.report.tables import Cell, Grid, count, estimate, number, p_value
from genopred.types import MatchReport

#: What the elastic net is called in the table.
_LINEAR = "elastic net"


def reading(cells: pl.DataFrame) -> list[str]:
    """What the table says, a sentence for each question."""
    out = []
    for genes, people, question in (
        ("seen", "unseen", "New people, genes it was tuned on"),
        ("unseen", "unseen", "New people, genes it never saw"),
    ):
        cell = {
            row["method"]: row
            for row in cells.filter((pl.col("genes") == genes) & (pl.col("people") == people)).iter_rows(named=True)
        }
        tuned = cell.get("tuned")
        if tuned is None or tuned["mean_r"] is None:
            continue
        above = tuned["low"] > 0
        said = (
            f"{question}: mean r {number(tuned['mean_r'], 3, sign=True)} "
            f"({number(tuned['low'], 3, sign=True)} to {number(tuned['high'], 3, sign=True)}), "
            f"{'more than' if above else 'not told apart from'} nothing; positive in {tuned['positive']:.0%} of genes."
        )
        if tuned["delta"] is not None and genes == "seen":
            low, high = tuned["delta_low"], tuned["delta_high"]
            verdict = "worse than" if high < 0 else "better than" if low > 0 else "not told apart from"
            said += (
                f" It is {verdict} an elastic net on exactly the SNPs of the window: a difference of "
                f"{number(tuned['delta'], 3, sign=True)} ({number(low, 3, sign=True)} to {number(high, 3, sign=True)})."
            )
        elif tuned["delta"] is not None:
            said += (
                " An elastic net of these genes' own people, which has seen what the network has not, has "
                f"{number(cell[_LINEAR]['mean_r'], 3, sign=True)}: that much the window's SNPs hold."
            )
        out.append(said)
    return out


def grid(cells: pl.DataFrame) -> tuple[Grid, str]:
    """The 2 x 2 table."""
    rows = []
    for row in cells.iter_rows(named=True):
        delta = Cell("\N{EN DASH}")
        if row["delta"] is not None:
            delta = estimate(row["delta"], row["delta_low"], row["delta_high"], digits=3, sign=True)
        rows.append(
            [
                Cell(f"{row['genes']} genes, {row['people']} people"),
                Cell(row["method"]),
                Cell(count(row["n_genes"]), value=row["n_genes"]),
                estimate(row["mean_r"], row["low"], row["high"], digits=3, sign=True),
                Cell("\N{EN DASH}" if row["positive"] is None else f"{row['positive']:.0%}", value=row["positive"]),
                Cell(p_value(row["p_sign"]), value=row["p_sign"]),
                Cell(p_value(row["p_blocks"]), value=row["p_blocks"]),
                Cell(number(row["mean_r2"], 4, sign=True), value=row["mean_r2"]),
                delta,
            ]
        )
    headings = [
        "Cell",
        "Method",
        "Genes",
        "Mean r",
        "Above 0",
        "p (signs)",
        "p (blocks)",
        "Mean R²",
        "r less elastic net's",
    ]
    caption = (
        "Pearson r within genes, with its sign, averaged over genes; 95 % intervals draw blocks of genes. R² is that "
        "of predictions scaled by one slope, fitted on training people of training genes. Seen genes with seen people "
        "are what the network was fitted to. The elastic net has the SNPs of the window and the same people; of an "
        "unseen gene it has seen the people's expression, which the network has not: it says what there is, and is no "
        "rival."
    )
    return Grid(headings, rows), caption


def write(
    page: Path, figure: Path, cells: pl.DataFrame, of_gene: pl.DataFrame, report: MatchReport, info: Mapping[str, Any]
) -> list[Path]:
    """Write figure and page.

    Parameters
    ----------
    page, figure : Path
    cells : polars.DataFrame
        Columns of `genopred.training.two_by_two.CELL_SCHEMA`.
    of_gene : polars.DataFrame
        As `genopred.training.two_by_two.by_gene` gives it.
    report : MatchReport
    info : mapping
        For `genopred.report.page.render_page`.
    """
    from genopred.report.figures import in_widths, save_figure
    from genopred.report.figures_personal import two_by_two
    from genopred.report.page import Section, render_page, write_page

    pictures = in_widths(two_by_two, cells)
    drawn = (*pictures, "Mean Pearson r within genes, with 95 % intervals over blocks of genes.")
    file = save_figure(pictures[0], figure)
    told = Section("Seen and unseen genes and people", tuple(reading(cells)), (drawn,), (grid(cells),))
    best = of_gene.filter((pl.col("genes") == "seen") & (pl.col("people") == "unseen"))
    best = best.select("gene_id", "variants", *(name for name in best.columns if name.startswith("r_")))
    best = best.sort("r_tuned", descending=True, nulls_last=True).head(40)
    genes = Section(
        "Seen genes, unseen people", tables=((best, "Pearson r of each method; the 40 best of the tuned."),)
    )
    title = "A sequence model tuned on people"
    return [file, write_page(page, render_page(title=title, info=info, sections=[told, genes], report=report))]
