"""What `genopred evaluate` shows of expression: five figures, and a page that says how well genes are predicted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from genopred.report.figures_genes import MOST_PANELS, Along, Floats
from genopred.report.pages.evaluate import METRIC_NAMES as OF_TRACKS
from genopred.report.pages.evaluate import write_evaluation
from genopred.report.tables import Cell, Grid, count, estimate, metric_cells, number, p_value

__all__ = ["Along", "ShownGenes", "write"]

METRIC_NAMES = {metric: name for metric, name in OF_TRACKS.items() if metric != "pearson_log"}
#: Panels of the figure of cell types.
PANELS = {"level pearson": "Pearson r over genes", "level r2": "R²", "between pearson": "r between cell types"}
#: What tests are called.
TEST_NAMES = {
    "blocks-mse": "Squared errors, blocks flipped",
    "blocks-r": "r, blocks flipped",
    "wilcoxon-genes": "Wilcoxon over genes",
    "t-cells": "Paired t test over cell types and folds",
    "anova-cells": "Repeated-measures ANOVA",
    "anova-oneway": "One-way ANOVA",
}
#: What is compared, and which of the tests to trust.
_COMPARED = (
    "All methods learned from the same training genes, chose their settings on the same validation genes and are "
    "scored on the same held-out genes.",
    "Tests with whole blocks of genes flipped respect that neighbouring genes are alike and that all cell types are "
    "scored on the same genes. The t test and the ANOVAs are as published comparisons have them: they take the scores "
    "of cell types and folds as independent, which they are not, so that the same chance counts many times and small p "
    "values mean little.",
)


@dataclass(frozen=True)
class ShownGenes:
    """What the page is made of."""

    title: str
    #: Paragraphs: what was evaluated on what, and what so many genes can show.
    reading: tuple[str, ...]
    #: Warnings, set off at the top.
    notes: tuple[str, ...]
    #: The scale of the values, in words.
    unit: str
    split: str
    cells: tuple[str, ...]
    #: gene_id and perhaps gene_name; a row for each of the n genes.
    genes: pl.DataFrame
    #: Shape (n, C).
    measured: Floats
    #: By method, the one evaluated first; shape (n, C).
    predicted: Mapping[str, Floats]
    #: Of each method what it is.
    about: Mapping[str, str]
    #: As of `genopred.training.gene_heldout.compare_genes`.
    tables: Mapping[str, pl.DataFrame]
    along: Along
    #: What each test is and ignores.
    cautions: Mapping[str, str]
    #: For `genopred.report.page.render_page`.
    info: dict[str, Any]

    @property
    def main(self) -> str:
        """The method evaluated."""
        return next(iter(self.predicted))

    @property
    def names(self) -> list[str]:
        """Of genes, for people."""
        if "gene_name" not in self.genes.columns:
            return self.genes["gene_id"].to_list()
        return [name or gene for name, gene in self.genes.select("gene_name", "gene_id").iter_rows()]


def write(folder: Path, shown: ShownGenes, figures: str = "svg") -> list[Path]:
    """Write the figures (`svg`, `png`, or `none` outside the page) and `evaluate.html` into a folder."""
    from genopred.report.figures import save_figures
    from genopred.report.page import Section

    drawn = _figures(shown)
    files = save_figures(drawn, folder, figures)
    sections = [
        Section("Predicted and measured", shown.reading, (drawn["density"],)),
        Section("Errors", figures=(drawn["errors"],)),
        Section("In each cell type", figures=(drawn["cells"],), tables=(_score_table(shown, shown.main),)),
    ]
    if len(shown.predicted) > 1:
        tables = (_method_table(shown), _about_table(shown), _difference_table(shown), *_test_tables(shown))
        sections.append(Section("Methods compared", _COMPARED, (drawn["methods"],), tables))
    if "positions" in drawn:
        sections.append(Section("Along the sequence", figures=(drawn["positions"],)))
    others = tuple(_score_table(shown, name) for name in list(shown.predicted)[1:])
    if others:
        sections.append(Section("Scores of the others", tables=others))
    return [*files, write_evaluation(folder, shown, sections)]


def _figures(shown: ShownGenes) -> dict[str, tuple[Any, ...]]:
    """By name the figure drawn for wide to narrow screens, and its caption."""
    from genopred.report import figures_genes as draw
    from genopred.report.figures import in_widths

    y, x, tables = shown.measured, shown.predicted[shown.main], shown.tables
    which = draw.shown_cells(y, x)
    names = [shown.cells[c] for c in which]
    chosen = (
        ""
        if len(which) == len(shown.cells)
        else f" Of {len(shown.cells)} cell types {MOST_PANELS}, from the best to the worst predicted."
    )
    text = (
        f"Genes of the {shown.split} split, {shown.unit}: the darker, the more. Dashed: both equal. Red: the genes "
        f"furthest from it.{chosen}"
    )
    how: dict[str, Any] = {"unit": shown.unit}
    out = {"density": (*in_widths(draw.gene_density, y[:, which], x[:, which], names, shown.names, **how), text)}
    text = (
        "Predicted minus measured of all genes and cell types, in standard deviations of the cell type. By level: "
        "medians and quarters of tenths of the genes; dotted: what the mean of all genes would give. A slope is "
        "expected, as whoever is uncertain predicts nearer to the mean. Relative to the spread and not to the value, "
        "which passes zero on this scale. Grey curve and dashed line: a normal distribution."
    )
    out["errors"] = (*in_widths(draw.gene_errors, y, x), text)
    own = tables["scores"].filter(pl.col("model") == shown.main)
    folds = tables.get("folds")
    of_folds = None if folds is None else folds.filter(pl.col("model") == shown.main)
    rings = "" if folds is None else " Rings: single folds, which differ in their genes and in their networks."
    text = (
        f"{shown.main} in each cell type, 95 % intervals over blocks of genes.{rings} Between cell types: r of each "
        "gene's deviation from its own mean, of which a network that finds only whether a gene is on everywhere "
        "knows nothing."
    )
    out["cells"] = (*in_widths(draw.cell_scores, own, of_folds, PANELS), text)
    if len(shown.predicted) > 1:
        text = (
            f"Pearson r of each method with its 95 % interval over blocks of genes, and {shown.main} minus the other "
            "with intervals of the same draws; p of whole blocks flipped, corrected for the number of methods "
            "(Holm). A dash: not defined, as of a method that predicts the same for all genes or in all cell types."
        )
        arguments = (tables["scores"], tables["differences"], tables["tests"], shown.main, _mean(shown))
        out["methods"] = (*in_widths(draw.methods_compared, *arguments), text)
    if shown.along.profile.height:
        text = (
            "How much the bases count, 1 being the window's average, aligned at the TSS (red). Gradient × input: its "
            "size, mean over cell types; attention: the last map, mean over heads, in parts as wide as the network "
            "pools. Bands: 95 % intervals over blocks of genes. Below, what is known to lie there; then one gene "
            "with its exons, the one with the highest measured expression: it was chosen without looking at "
            "predictions."
        )
        out["positions"] = (*in_widths(draw.sequence_profile, shown.along), text)
    return out


def _mean(shown: ShownGenes) -> str:
    """The last cell type of the first method's rows: their mean, where there are several."""
    rows = shown.tables["scores"].filter((pl.col("model") == shown.main) & (pl.col("what") == "level"))
    return str(rows["cell"][-1])


def _score_table(shown: ShownGenes, model: str) -> tuple[Grid, str]:
    rows = shown.tables["scores"].filter(pl.col("model") == model)
    out = metric_cells(rows.filter(pl.col("what") == "level"), "cell", METRIC_NAMES)
    headings = ["Cell type", *METRIC_NAMES.values()]
    between = rows.filter((pl.col("what") == "between") & (pl.col("metric") == "pearson"))
    if between.height:
        headings.append("r between cell types")
        found = {row["cell"]: row for row in between.iter_rows(named=True)}
        for cell, cells in out.items():
            row = found.get(cell)
            cells.append(
                Cell("\N{EN DASH}") if row is None else estimate(row["estimate"], row["low"], row["high"], digits=3)
            )
    caption = (
        f"{model}: each metric with its 95 % interval over blocks of genes. R² is 1 \N{MINUS SIGN} SSE/SST: negative "
        f"where these genes' mean would have been nearer. MSE and MAE on the scale that was learned ({shown.unit})."
    )
    return Grid(headings, list(out.values())), caption


def _method_table(shown: ShownGenes) -> tuple[Grid, str]:
    cell, rows = _mean(shown), []
    scores = shown.tables["scores"].filter(pl.col("metric").is_in(["pearson", "r2"]))
    for name in shown.predicted:
        of = scores.filter(pl.col("model") == name)
        last = of.filter(pl.col("cell") == cell)
        # a method of a single cell type has no mean over them
        of = last if last.height else of
        line = [Cell(name)]
        for what, metric in (("level", "pearson"), ("level", "r2"), ("between", "pearson")):
            line.append(_first(of.filter((pl.col("what") == what) & (pl.col("metric") == metric)).tail(1)))
        rows.append(line)
    caption = f"Methods, {cell}: with 95 % intervals over blocks of genes."
    return Grid(["Method", "Pearson r", "R²", "r between cell types"], rows), caption


def _first(rows: pl.DataFrame, sign: bool = False) -> Cell:
    """The first row's estimate with its interval; a dash where there is none."""
    values = rows.select("estimate", "low", "high").row(0) if rows.height else (None, None, None)
    return estimate(*values, digits=3, sign=sign)


def _about_table(shown: ShownGenes) -> tuple[Grid, str]:
    rows = []
    for name, values in shown.predicted.items():
        known = np.atleast_1d(np.isfinite(values).any(axis=0))
        cells = [cell for cell, one in zip(shown.cells, known) if one]
        alone = "" if len(cells) == len(shown.cells) else f" Predicts {', '.join(cells)} alone."
        rows.append([Cell(name), Cell(shown.about.get(name, "") + "." + alone)])
    return Grid(["Method", "What it is"], rows), "What each method is and reads."


def _difference_table(shown: ShownGenes) -> tuple[Grid, str]:
    rows = []
    table = shown.tables["differences"].filter(pl.col("metric").is_in(["pearson", "mse"]))
    table = table.filter((pl.col("cell") == _mean(shown)) | (pl.col("cell").n_unique().over("against", "what") == 1))
    for (other, what, cell), of in table.group_by("against", "what", "cell", maintain_order=True):
        said = "values" if what == "level" else "between cell types"
        line = [Cell(str(other)), Cell(said if cell == _mean(shown) else f"{said}, {cell}")]
        for metric in ("pearson", "mse"):
            one = of.filter(pl.col("metric") == metric)
            line.append(_first(one, sign=True))
            if metric == "pearson":
                seen = one["detectable"][0] if one.height else None
                line.append(Cell(number(seen, 3), value=seen))
        rows.append(line)
    caption = (
        f"{shown.main} minus the other on the same genes, with 95 % intervals from drawing the same blocks for both. "
        "Above 0 it is better, for MSE below 0. Unseen below: a true difference of r smaller than this would be "
        "missed in more than one of five such sets of genes. differences.tsv has each cell type."
    )
    return Grid(["Against", "Of", "Pearson r", "Unseen below", "MSE"], rows), caption


def _test_tables(shown: ShownGenes) -> tuple[tuple[Grid, str], ...]:
    """The tests over all cell types, and what each of them is."""
    rows = []
    table = shown.tables["tests"].filter(pl.col("cell") == _mean(shown))
    for row in table.iter_rows(named=True):
        name = TEST_NAMES.get(row["test"], row["test"])
        name += ", between cell types" if row["what"] == "between" else ""
        line = [Cell(row["against"] or "all methods"), Cell(name), Cell("yes" if row["respects_genes"] else "no")]
        for key, digits in (("difference", 3), ("statistic", 2)):
            line.append(Cell(number(row[key], digits, sign=key == "difference"), value=row[key]))
        line += [Cell(p_value(row[key]), value=row[key]) for key in ("p", "p_holm")]
        line.append(Cell(f"{count(row['n'])} {row['unit']}"))
        rows.append(line)
    caption = (
        "Tests over all cell types; tests.tsv has those of each. p (Holm) is corrected over the methods compared by "
        "the same test."
    )
    headings = ["Against", "Test", "Respects genes", "Difference", "Statistic", "p", "p (Holm)", "Of"]
    used = table["test"].unique(maintain_order=True).to_list()
    about = [[Cell(TEST_NAMES.get(test, test)), Cell(shown.cautions.get(test, ""))] for test in used]
    explained = Grid(["Test", "What it is, and ignores"], about), "What each test is."
    return (Grid(headings, rows), caption), explained
