"""What `genopred associate` shows: Q-Q and Manhattan pictures, and a table of genes to sort and search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from genopred.files import safe_name
from genopred.report import figures_association as draw
from genopred.report.figures import BESIDE, in_widths, save_figure
from genopred.report.page import Section, render_page, write_page
from genopred.report.tables import Cell, GeneNames, Grid, count, number, p_value, significant
from genopred.types import MatchReport, plain_chrom, plain_gene

#: Genes in a page's table; associations.tsv has them all.
_ROWS = 2_000


def write_association_page(
    page: Path, folder: Path, table: pl.DataFrame, report: MatchReport, info: Mapping[str, Any]
) -> list[Path]:
    """Write the page and its figures.

    Parameters
    ----------
    page : Path
    folder : Path
        Of the figures.
    table : polars.DataFrame
        As written by `genopred.pipelines.associate`.
    report : MatchReport
    info : mapping
        For `genopred.report.page.render_page`.
    """
    names = GeneNames(
        {plain_gene(gene): name for gene, name in table.select("gene_id", "gene_name").iter_rows() if name}
    )
    sections, files = [], []
    for (trait,), rows in table.group_by("trait", maintain_order=True):
        figures: list[tuple[Any, ...]] = []
        passed = rows.filter(pl.col("qval") < 0.05)["pval"].to_list()
        threshold = max(passed) if passed else None
        placed = rows.filter(pl.col("tss").is_not_null()).with_columns(
            order=pl.col("chrom").map_elements(lambda name: _rank(name), return_dtype=pl.Int64)
        ).sort("order", "chrom", "tss")  # fmt: skip
        if placed.height:
            called = [names.short(gene) for gene in placed["gene_id"].to_list()]
            chroms = [plain_chrom(name) for name in placed["chrom"].to_list()]
            plot = partial(
                draw.manhattan, chroms, placed["tss"].to_numpy(), placed["pval"].to_numpy(), called, threshold=threshold
            )
            words = f"Genes along the genome: association of their predicted expression with {trait}."
            figures.append((*in_widths(plot), words))
            files.append(save_figure(plot(), folder / f"{safe_name(str(trait))}.manhattan.svg"))
        plain = partial(draw.qq, rows["pval"].to_numpy())
        figures.append(
            (*in_widths(plain, widths=(480, BESIDE)), "p-values against those expected without any association.")
        )
        files.append(save_figure(plain(), folder / f"{safe_name(str(trait))}.qq.svg"))
        sections.append(Section(str(trait), (), tuple(figures), ((_grid(rows, names), _caption(rows)),)))
    html = render_page(title="genopred associate", report=report, info=dict(info), sections=sections, names=names)
    return [write_page(page, html), *files]


def _rank(chrom: str) -> int:
    plain = plain_chrom(chrom)
    return int(plain) if plain.isdigit() else 100 + len(plain)


def _caption(rows: pl.DataFrame) -> str:
    shown = f"The {_ROWS:,} with the smallest p of {rows.height:,} genes. " if rows.height > _ROWS else ""
    return (
        f"Genes. {shown}Effect: of one unit of predicted expression. Variance found: share of the model's variance by "
        "the variants used. R²: of the models in people held out of their training."
    )


def _grid(rows: pl.DataFrame, names: GeneNames) -> Grid:
    """The genes' table, without columns of which nothing is known."""
    shown = rows.head(_ROWS)
    unknown = {name for name in shown.columns if not shown[name].count()}
    plain = {"z": 2, "r2": 3}
    headings = {
        "tss": "Place", "effect": "Effect", "se": "SE", "z": "z", "pval": "p", "qval": "q (FDR)",
        "variants": "Variants", "used": "Used", "variance_found": "Variance found", "r2": "R²", "n": "n",
    }  # fmt: skip
    kept = [name for name in headings if name not in unknown]

    def cell(row: Mapping[str, Any], name: str) -> Cell:
        value = row[name]
        if value is None:
            return Cell("\N{EN DASH}")
        if name == "tss":
            return Cell(f"{plain_chrom(row['chrom'])}:{value:,}")
        if name in plain:
            return Cell(number(value, plain[name]), value=value)
        written: dict[str, Callable[[Any], str]] = {"pval": p_value, "qval": p_value, "variance_found": "{:.1%}".format}
        whole: Callable[[Any], str] = count if isinstance(value, int) else significant
        return Cell(written.get(name, whole)(value), value=value)

    cells = [[names.cell(row["gene_id"]), *(cell(row, name) for name in kept)] for row in shown.iter_rows(named=True)]
    return Grid(["Gene", *(headings[name] for name in kept)], cells)
