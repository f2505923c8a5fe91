"""One self-contained HTML page per run: no network, readable on a telephone and on a wide screen, light or dark."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from genopred.errors import GenopredError
from genopred.files import write_text
from genopred.provenance import machine, versions
from genopred.report import figures as draw
from genopred.report.figures import WIDTHS
from genopred.report.tables import (
    NO_NAMES,
    Cell,
    GeneNames,
    Grid,
    best_first,
    count,
    interval,
    number,
    p_value,
    summary_cells,
)
from genopred.types import MatchReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Genes in the bar chart on a wide and on a narrow screen; the table has them all.
_BARS, _BARS_NARROW = 40, 12
#: Letters from which on a column of words breaks its lines (the first column on a narrow screen), and rows from which
#: on a table scrolls by itself.
_LONG, _LONG_FIRST, _TALL = 40, 24, 24
#: Genes with a scatter.
_SCATTERS = 6
#: With fewer genes not even a difference of one sign in all of them has p < 0.05 (two-sided signed ranks).
_FEW_GENES = 6
#: One-sided test at 5 %, power 80 %.
_DETECTABLE = 1.645 + 0.842


@dataclass(frozen=True)
class Section:
    """A further titled block of a page."""

    title: str
    #: Paragraphs, plain text.
    text: tuple[str, ...] = ()
    #: A figure, drawn for screens from wide to narrow (`genopred.report.figures.in_widths`), and its caption. Of two
    #: drawings the second is for narrow screens; one alone is for all.
    figures: tuple[tuple[Any, ...], ...] = ()
    #: A table, shown as it is with sensible rounding, and its caption. A cell that is the id of a gene with a symbol
    #: shows that as well.
    tables: tuple[tuple[pl.DataFrame | Grid, str], ...] = ()
    #: False puts several figures side by side.
    wide: bool = True


@dataclass
class _Shown:
    """A section ready for the template."""

    title: str
    anchor: str
    text: list[str] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    wide: bool = True


def write_page(path: str | os.PathLike[str], html: str) -> Path:
    """Write a page, whole or not at all."""
    target = Path(path)
    if not target.parent.is_dir():
        raise GenopredError(f"{target} cannot be written: there is no folder {target.parent}; choose another --out.")
    write_text(target, html)
    return target


def render_page(
    *,
    title: str,
    summary: pl.DataFrame | None = None,
    scores: pl.DataFrame | None = None,
    predictions: pl.DataFrame | None = None,
    report: MatchReport | None = None,
    info: Mapping[str, Any] | None = None,
    sections: Sequence[Section] = (),
    first: Sequence[Section] = (),
    names: GeneNames = NO_NAMES,
) -> str:
    """The page of a run as text.

    `summary` has the columns of `genopred.report.tables.SUMMARY_COLUMNS` and needs `scores`, with those of
    `genopred.types.SCORE_SCHEMA`. `predictions` (`genopred.types.PREDICTION_SCHEMA`) of the main method's best genes
    suffice. `info` may have `command` (str), `stack` (the main method), `notes` (list of str), `lead` (list of str:
    paragraphs for the top, which then moves what the comparison says to its own block), `versions` (mapping),
    `seconds`, `machine`, and anything else worth stating (seed, folds, window ...). `first` stands before the
    comparison of methods, `sections` after it, before what was dropped. `names` says what genes are called.
    """
    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup

    facts = dict(info or {})
    shown, tiles = [_show(section, f"first{i}", names) for i, section in enumerate(first)], []
    lead = list(facts.get("lead") or ())
    if summary is not None:
        main = draw.main_method(summary, facts.get("stack"))
        if scores is None:
            raise GenopredError("scores: needed with summary, for the figures and the table of genes.")
        said = reading(summary, scores, main, names)
        tiles = _tiles(summary, scores, main)
        standard = list(_standard(summary, scores, predictions, main, names))
        if lead:
            standard[0].text[:0] = said
        lead = lead or said
        shown += standard
    shown += [_show(section, f"more{i}", names) for i, section in enumerate(sections)]
    if report is not None:
        shown.append(_matched(report))
    loader = PackageLoader("genopred.report", ".")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("page.html.j2").render(
        title=title,
        lead=lead,
        tiles=tiles,
        sections=shown,
        notes=list(facts.get("notes") or ()),
        command=facts.get("command"),
        facts=_facts(facts),
        versions=facts.get("versions") or versions(),
        svg=Markup,
    )


# --- words -----------------------------------------------------------------------------------------------------


def reading(
    summary: pl.DataFrame, scores: pl.DataFrame, main: str | None = None, names: GeneNames = NO_NAMES
) -> list[str]:
    """What the result says, in plain sentences, the disappointing ones included: paragraphs about the method `main`."""
    main = draw.main_method(summary, main)
    row = _of(summary, main)
    n_genes, hits = int(row["n_genes"]), int(row["n_significant"])
    people = _people(scores)
    detectable = math.tanh(_DETECTABLE / math.sqrt(max(people - 3, 1))) ** 2
    if n_genes == 1:
        return [_one_gene(_of(scores, main), main, people, detectable, names)]
    if hits == 0:
        said = (
            f"Nothing could be predicted: in none of the {n_genes:,} genes does the prediction of {main} correlate "
            "positively with the measurement in held-out people (FDR 5 %), and its mean R² is "
            f"{number(row['mean_r2'])}. Genotype near these genes may say too little about their expression; or "
            "people are mixed up between the files, or are too few: with "
            f"{people:,} people a single gene is usually noticed from an R² of about {number(detectable, 3)} upwards."
        )
    else:
        said = (
            f"In people it has not seen, {main} explains on average {number(100 * row['mean_r2'], 1)} % of the "
            f"differences in expression (mean R² {number(row['mean_r2'])}, 95 % interval over genes "
            f"{interval(row['mean_r2_low'], row['mean_r2_high'], 3)}). In {hits:,} of {n_genes:,} genes prediction and "
            "measurement correlate positively (FDR 5 %); for the others genotype near the gene tells little or "
            f"nothing in {people:,} people."
        )
    against = _against(row, main)
    return [said, against] if against else [said]


def _of(table: pl.DataFrame, method: str) -> dict[str, Any]:
    """The only row of a method."""
    return table.row(by_predicate=pl.col("method") == method, named=True)


def _people(scores: pl.DataFrame) -> int:
    return int(scores["n"].to_numpy().max())


def _one_gene(row: Mapping[str, Any], main: str, people: int, detectable: float, names: GeneNames) -> str:
    width = interval(row["r2_low"], row["r2_high"], 3)
    start = (
        f"{names.full(row['gene_id'])}, {people:,} held-out people, {main}: R² {number(row['r2'])} (95 % interval "
        f"over people {width}), Pearson r {number(row['pearson'], 3)}. "
    )
    if row["r2_low"] is not None and row["r2_low"] > 0:
        return start + "Expression of this gene can be predicted from genotype; how well, the interval says."
    if row["r2"] > 0:
        return start + "The interval includes zero: these data do not show that this gene can be predicted."
    return start + (
        "The mean of the training people would have done as well or better: this gene could not be predicted. With "
        f"{people:,} people a gene is usually noticed from an R² of about {number(detectable, 3)} upwards."
    )


def _against(row: Mapping[str, Any], main: str) -> str:
    if row["reference"] == main or row["delta_low"] is None:
        return ""
    width = interval(row["delta_low"], row["delta_high"], sign=True)
    base = row["mean_r2"] - row["delta_r2"]
    if row["n_genes"] < _FEW_GENES:
        return (
            f"Against {row['reference']} the mean R² differs by {number(row['delta_r2'], sign=True)}; "
            f"{row['n_genes']} genes are too few to tell methods apart, and intervals over so few mean little."
        )
    if row["delta_low"] > 0:
        ratio = f", with {number(row['mean_r2'] / base, 2)} times its mean R²" if base > 0.005 else ""
        verdict = f"better than {row['reference']}{ratio}"
    elif row["delta_high"] < 0:
        verdict = f"worse than {row['reference']}"
    else:
        verdict = f"not told apart from {row['reference']} by these genes"
    return (
        f"{main} is {verdict}: the difference is {number(row['delta_r2'], sign=True)} {width}, paired over the same "
        f"genes (Wilcoxon p = {p_value(row['p_wilcoxon'])})."
    )


def _tiles(summary: pl.DataFrame, scores: pl.DataFrame, main: str) -> list[tuple[str, str, str]]:
    """The few numbers set large: label, number, words under it."""
    row = _of(summary, main)
    tiles = [("People", f"{_people(scores):,}", "each predicted once, held out")]
    if row["n_genes"] == 1:
        of = _of(scores, main)
        tiles.append(("R²", number(of["r2"], 3), f"{main}, {interval(of['r2_low'], of['r2_high'], 3)}"))
        tiles.append(("Pearson r", number(of["pearson"], 3), main))
        return tiles
    tiles.append(("Genes", f"{row['n_genes']:,}", f"{row['n_significant']:,} predicted at FDR 5 %"))
    tiles.append(("Mean R²", number(row["mean_r2"]), f"{main}, {interval(row['mean_r2_low'], row['mean_r2_high'], 3)}"))
    if row["reference"] != main:
        delta, width = number(row["delta_r2"], sign=True), interval(row["delta_low"], row["delta_high"], sign=True)
        tiles.append((f"Against {row['reference']}", delta, width))
    return tiles


def _facts(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What else was stated, in the order given."""
    special = {"command", "notes", "versions", "stack", "lead"}
    every = dict(info) if "machine" in info else {**info, "machine": machine()}
    return [(key.replace("_", " "), _fact(key, value)) for key, value in every.items() if key not in special]


def _fact(key: str, value: Any) -> str:
    if key == "seconds":
        return f"{float(value):,.1f}"
    if key == "window" and isinstance(value, int):
        return f"{value / 1000:g} kb on each side of the TSS"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value).replace("-", "\N{MINUS SIGN}")
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


# --- blocks ----------------------------------------------------------------------------------------------------


def _standard(
    summary: pl.DataFrame, scores: pl.DataFrame, predictions: pl.DataFrame | None, main: str, names: GeneNames
) -> Iterator[_Shown]:
    """What every comparison shows."""
    several = summary["n_genes"].to_numpy().max() > 1
    methods = best_first(summary)["method"].to_list()
    block = _Shown("Methods compared", "methods")
    means = draw.in_widths(draw.method_means, summary, scores, main=main)
    block.figures.append(_picture(means, "R² of each method with its interval.", "means"))
    block.tables.append(_summary_table(summary, main) if several else _method_table(scores, main))
    yield block

    if several:
        block = _Shown("Gene by gene", "genes")
        shown = draw.beside(methods, main)
        bars = draw.in_widths(draw.gene_bars, scores, shown, widths=WIDTHS[:2], max_genes=_BARS, names=names)
        narrow: dict[str, Any] = {"max_genes": _BARS_NARROW, "width": WIDTHS[2], "horizontal": True}
        caption = (
            f"R² per gene, best of {main} first (of {scores['gene_id'].n_unique():,} genes at most {_BARS}, or "
            f"{_BARS_NARROW} on a narrow screen; bars end at −0.1)."
        )
        bars += (draw.gene_bars(scores, shown, names=names, **narrow),)
        block.figures.append(_picture(bars, caption, "bars"))
        yield block
        yield from _rivals(summary, scores, methods, main, names)
    if predictions is not None and predictions.height:
        yield from _scatters(scores, predictions, main, names)
    if several:
        block = _Shown("All genes", "table")
        block.tables.append(_gene_table(scores, methods, main, names))
        yield block


def _rivals(
    summary: pl.DataFrame, scores: pl.DataFrame, methods: Sequence[str], main: str, names: GeneNames
) -> Iterator[_Shown]:
    """The main method gene by gene against the reference and against the best single learner."""
    singles = [name for name in methods if name != main and not name.startswith("stack")]
    rivals = list(dict.fromkeys(name for name in (str(summary["reference"][0]), *singles[:1]) if name != main))
    if not rivals:
        return
    block = _Shown(f"{main} against others", "against", wide=False)
    for i, rival in enumerate(rivals):
        best = " (best single learner)" if rival in singles[:1] else ""
        caption = f"{main} against {rival}{best}: one point a gene, above the line where {main} is better."
        figure = draw.r2_against_r2(scores, rival, main, names=names)
        block.figures.append(_picture((figure,), caption, f"against{i}"))
    yield block


def _scatters(scores: pl.DataFrame, predictions: pl.DataFrame, main: str, names: GeneNames) -> Iterator[_Shown]:
    have = predictions.filter(pl.col("method") == main)["gene_id"].unique()
    of = scores.filter(pl.col("gene_id").is_in(have.to_list()))
    if not of.height:
        return
    block = _Shown("Predicted and measured", "scatter", wide=False)
    many = int(scores["n"].max() or 0) > draw.MOST_POINTS  # type: ignore[arg-type]
    shown = "held-out people as their density" if many else "one point a held-out person"
    block.text.append(
        f"The genes that {main} predicts best, {shown}, in units of the training people's spread; along the dashed "
        "line both are equal."
    )
    for i, (gene, r2) in enumerate(draw.best_genes(of, main, _SCATTERS)):
        figure = draw.predicted_scatter(predictions, gene, main, r2, names=names)
        block.figures.append(_picture((figure,), f"{names.full(gene)}: predicted against measured.", f"scatter{i}"))
    yield block


def _gene_table(scores: pl.DataFrame, methods: Sequence[str], main: str, names: GeneNames) -> dict[str, Any]:
    order = [main, *(name for name in methods if name != main)]
    wide = scores.pivot(on="method", index="gene_id", values="r2")
    own = scores.filter(pl.col("method") == main).select("gene_id", "n", "r2_low", "r2_high", "pearson")
    wide = wide.join(own, on="gene_id").sort(main, "gene_id", descending=[True, False], nulls_last=True)
    headings = ["Gene", "People", f"R² {main}", "95 % interval", "Pearson r", *order[1:]]
    rows = []
    for row in wide.iter_rows(named=True):
        best = max(row[name] for name in order)
        r2 = [Cell(number(row[name], 3), row[name] == best, row[name]) for name in order]
        width = Cell(interval(row["r2_low"], row["r2_high"], 2), value=row["r2_low"])
        r = Cell(number(row["pearson"], 3), value=row["pearson"])
        rows.append([names.cell(row["gene_id"]), Cell(count(row["n"]), value=row["n"]), r2[0], width, r, *r2[1:]])
    caption = (
        f"R² on held-out people, interval (bootstrap over people) and Pearson r of {main}; then R² of the other "
        "methods. Bold: best of the gene."
    )
    return _table(headings, rows, caption, "all", search=len(rows) > 12)


def _summary_table(summary: pl.DataFrame, main: str) -> dict[str, Any]:
    caption = (
        "R² = 1 − SSE/SST on pooled held-out predictions; negative where the mean would have done better. Signed "
        "r² is the squared correlation with its sign. Genes predicted: positive correlation at FDR 5 %. Bold: best "
        "of its column."
    )
    return _table(*summary_cells(summary), caption, "summary", strong=main)


def _method_table(scores: pl.DataFrame, main: str) -> dict[str, Any]:
    """Of a single gene."""
    headings = ["Method", "R²", "95 % interval", "Pearson r", "Spearman ρ", "MSE", "MAE"]
    rows = []
    for row in scores.sort("r2", descending=True).iter_rows(named=True):
        width = Cell(interval(row["r2_low"], row["r2_high"], 3), value=row["r2_low"])
        others = [Cell(number(row[name], 3), value=row[name]) for name in ("pearson", "spearman", "mse", "mae")]
        rows.append([Cell(row["method"]), Cell(number(row["r2"]), value=row["r2"]), width, *others])
    caption = (
        "R² = 1 − SSE/SST on pooled held-out predictions; negative where the mean would have done better. Intervals: "
        "bootstrap over people."
    )
    return _table(headings, rows, caption, "summary", strong=main)


def _matched(report: MatchReport) -> _Shown:
    block = _Shown("What was used and what was dropped", "matched")
    if not report.table.filter((pl.col("status") == "dropped") & (pl.col("n") > 0)).height:
        block.text.append("Nothing was dropped.")
    rows = []
    for row in report.table.iter_rows(named=True):
        item, status, reason, examples = (Cell(row[name] or "") for name in ("item", "status", "reason", "examples"))
        rows.append([item, status, Cell(count(row["n"]), value=row["n"]), reason, examples])
    headings = ["What", "Status", "How many", "Why", "Examples"]
    block.tables.append(_table(headings, rows, "Counts by reason; at most three examples each.", "matched"))
    return block


def _show(section: Section, anchor: str, names: GeneNames) -> _Shown:
    block = _Shown(section.title, anchor, list(section.text), wide=section.wide)
    for i, (*drawings, caption) in enumerate(section.figures):
        block.figures.append(_picture(drawings, caption, f"{anchor}f{i}"))
    for i, (table, caption) in enumerate(section.tables):
        if isinstance(table, Grid):
            headings, rows = table.headings, table.rows
        else:
            headings = table.columns
            rows = [[_any_cell(*cell, names) for cell in zip(headings, row)] for row in table.iter_rows()]
        block.tables.append(_table(headings, rows, caption, f"{anchor}t{i}", search=len(rows) > 30))
    return block


def _any_cell(name: str, value: Any, names: GeneNames) -> Cell:
    if value is None or isinstance(value, float) and math.isnan(value):
        return Cell("\N{EN DASH}")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, int):
        return Cell(str(value) if name in ("pos", "tss", "start", "end") else count(value), value=value)
    if isinstance(value, float):
        small = 0 < abs(value) < 1e-3 or abs(value) >= 1e6
        return Cell(p_value(value) if small or name.startswith("p") and len(name) < 6 else number(value), value=value)
    return names.cell(str(value))


def _table(
    headings: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    caption: str,
    anchor: str,
    *,
    strong: str | None = None,
    search: bool = False,
) -> dict[str, Any]:
    """What the template needs. Columns of numbers stand to the right; long words may break, short ones do not."""
    classes, least = [], []
    for i, cells in enumerate(zip(*rows) if rows else [()] * len(headings)):
        words = i == 0 or not any(cell.value is not None for cell in cells)
        longest = max((len(cell.whole if i else cell.text) for cell in cells), default=0)
        long = words and longest > (_LONG if i else _LONG_FIRST)
        classes.append("word long" if long else "word" if words else "")
        # so wide that three of four cells have one line
        usual = sorted(len(cell.whole) for cell in cells)[3 * len(cells) // 4] if long and i else 0
        least.append(min(round(0.52 * max(usual, _LONG) + 1.5), 44) if usual else 0)
    return {
        "headings": list(headings),
        "rows": rows,
        "caption": caption,
        "anchor": anchor,
        "strong": strong,
        "search": search,
        "tall": len(rows) > _TALL,
        "label": caption.partition(". ")[0].rstrip("."),
        "classes": classes,
        "least": least,
    }


# --- pictures --------------------------------------------------------------------------------------------------


#: The screens of one, two and three drawings of a figure.
_SCREENS = {1: ("wide medium narrow",), 2: ("wide medium", "narrow"), 3: ("wide", "medium", "narrow")}
#: A drawing shrinks to so much of its size at most, then it is scrolled: text stays legible.
_SHRINK = 0.93


def _picture(drawings: Sequence[Figure], caption: str, prefix: str) -> dict[str, Any]:
    """A figure as inline SVG in the page's own colours, once for each kind of screen."""
    out = []
    for screens, figure, tail in zip(_SCREENS[len(drawings)], drawings, ("", "b", "c")):
        svg = _themed(draw.to_svg(figure, title=caption, prefix=prefix + tail))
        least = math.floor(_SHRINK * figure.get_figwidth() * 72)
        out.append({"screens": screens, "svg": svg.replace("<svg ", f'<svg style="min-width: {least}px" ', 1)})
    return {"caption": caption, "drawings": out}


def _themed(svg: str) -> str:
    for name, colour in draw.COLOURS.items():
        svg = re.sub(re.escape(colour), f"var(--{name})", svg, flags=re.IGNORECASE)
    return re.sub(r"\n\s*", " ", svg)
