"""Numbers and names as they are shown, and the table that compares methods: terminal, Markdown, TSV.

Every number on a page or a screen is written by a function of this module, so that there is one minus sign.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from genopred.errors import GenopredError
from genopred.types import plain_gene

if TYPE_CHECKING:
    from rich.table import Table

#: Columns of a summary, as `genopred.learning.evaluate.summarise` gives them.
SUMMARY_COLUMNS = (
    "method", "n_genes", "mean_r2", "mean_r2_low", "mean_r2_high", "mean_signed_r2", "mean_pearson", "mean_spearman",
    "mean_mse", "mean_mae", "n_significant", "delta_r2", "delta_low", "delta_high", "p_wilcoxon", "reference",
)  # fmt: skip

_MINUS = "\N{MINUS SIGN}"
_DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """One cell as it is shown."""

    text: str
    #: Of its column.
    best: bool = False
    #: The number to sort by. A column in which a cell has one is a column of numbers.
    value: float | None = None
    #: Set small after the text: the interval of a number, the id of a gene.
    note: str = ""

    @property
    def whole(self) -> str:
        """Text and note.

        >>> Cell("0.1", note="[0.0, 0.2]").whole
        '0.1 [0.0, 0.2]'
        """
        return f"{self.text} {self.note}".strip()


@dataclass(frozen=True)
class Grid:
    """A table whose cells are ready to be shown."""

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class GeneNames:
    """What genes are called beside their ids: their symbols, by id without version (`io.annotation.read_symbols`).

    >>> names = GeneNames({"ENSG00000167074": "TEF"})
    >>> names.short("ENSG00000167074.10"), names.full("ENSG00000167074.10"), names.full("ENSG00000172404.4")
    ('TEF', 'TEF (ENSG00000167074.10)', 'ENSG00000172404.4')
    """

    symbols: Mapping[str, str] = field(default_factory=dict)

    def symbol(self, gene_id: str) -> str | None:
        """The symbol, None where it is not known."""
        return self.symbols.get(plain_gene(gene_id))

    def short(self, gene_id: str) -> str:
        """The symbol, or the whole id."""
        return self.symbol(gene_id) or gene_id

    def full(self, gene_id: str) -> str:
        """Symbol and id, or the id."""
        symbol = self.symbol(gene_id)
        return f"{symbol} ({gene_id})" if symbol else gene_id

    def cell(self, gene_id: str) -> Cell:
        """Symbol and, small, the id; or the id."""
        symbol = self.symbol(gene_id)
        return Cell(symbol, note=gene_id) if symbol else Cell(gene_id)


#: Where no symbols are known.
NO_NAMES = GeneNames()


def duration(seconds: float) -> str:
    """Seconds in words short enough for a line.

    >>> duration(7.2), duration(200), duration(7300)
    ('7 s', '3 min 20 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def number(value: float | None, digits: int = 4, sign: bool = False) -> str:
    """A number as readers of the field expect it: fixed decimals, a true minus, `-` for a missing one.

    >>> number(0.06154), number(-0.0123, 3), number(0.01, 3, sign=True), number(None)
    ('0.0615', '−0.012', '+0.010', '–')
    """
    if value is None or math.isnan(value):
        return _DASH
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if float(text) == 0:  # no "-0.0000"
        text = text.lstrip("+-")
    return text.replace("-", _MINUS)


def p_value(value: float | None) -> str:
    """A p-value with two significant digits.

    >>> p_value(0.034), p_value(3.2e-7), p_value(1.0)
    ('0.034', '3.2e−07', '1')
    """
    if value is None or math.isnan(value):
        return _DASH
    return f"{value:.2g}".replace("-", _MINUS)


def significant(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, but no digit before the point lost: for columns of mixed measures.

    >>> significant(13.0), significant(-0.17041), significant(15.787), significant(12345.6), significant(3.2e-7)
    ('13', '−0.170', '15.8', '12,346', '3.20e−07')
    """
    if value is None or math.isnan(value):
        return _DASH
    whole = abs(value) < 1e9 and (float(value).is_integer() or abs(value) >= 10**digits)
    text = f"{value:,.0f}" if whole else f"{value:#.{digits}g}"
    return text.replace("-", _MINUS)


def count(value: int | None) -> str:
    """A whole number, its thousands apart.

    >>> count(12034), count(-3), count(None)
    ('12,034', '−3', '–')
    """
    return _DASH if value is None else f"{value:,}".replace("-", _MINUS)


def estimate(
    value: float | None, low: float | None, high: float | None, *, digits: int | None = 4, sign: bool = False
) -> Cell:
    """A number with its interval; without `digits` both with three significant ones.

    >>> estimate(-0.0123, -0.02, 0.01, digits=3, sign=True).whole, estimate(14.723, 10.0, 20.0, digits=None).whole
    ('−0.012 [−0.020, +0.010]', '14.7 [10, 20]')
    """
    text = significant(value) if digits is None else number(value, digits, sign)
    width = interval(low, high, digits, sign)
    return Cell(text, value=_plain(value), note="" if width == _DASH else width)


def metric_cells(rows: pl.DataFrame, key: str, metrics: Iterable[str], *, sign: bool = False) -> dict[str, list[Cell]]:
    """A row for each value of the column `key`: it, and each metric with its interval.

    `rows` has columns metric, estimate, low and high.
    """
    out = {name: [Cell(name)] for name in rows[key].unique(maintain_order=True).to_list()}
    for metric in metrics:
        of = rows.filter(pl.col("metric") == metric)
        for name, value, low, high in of.select(key, "estimate", "low", "high").iter_rows():
            out[name].append(estimate(value, low, high, digits=3, sign=sign))
    return out


def interval(low: float | None, high: float | None, digits: int | None = 4, sign: bool = False) -> str:
    """`[low, high]`, or a dash where the interval is unknown or of no width.

    >>> interval(0.01, 0.02, 3), interval(0.5, 0.5), interval(-1234.5, 3.0, None)
    ('[0.010, 0.020]', '–', '[−1,234, 3]')
    """
    if low is None or high is None or math.isnan(low) or math.isnan(high) or low == high:
        return _DASH
    first, last = (significant(end) if digits is None else number(end, digits, sign) for end in (low, high))
    return f"[{first}, {last}]"


def check_summary(summary: pl.DataFrame) -> None:
    """Refuse a table without one of `SUMMARY_COLUMNS`, or without a row."""
    absent = [name for name in SUMMARY_COLUMNS if name not in summary.columns]
    if absent:
        raise GenopredError(f"summary: no column {', '.join(absent)}; give the table that summarise() makes.")
    if summary.height == 0:
        raise GenopredError("summary: no row; at least one method must have been evaluated.")


def best_first(summary: pl.DataFrame) -> pl.DataFrame:
    """The methods of a summary, highest mean R² first."""
    check_summary(summary)
    return summary.sort("mean_r2", descending=True, nulls_last=True, maintain_order=True)


def summary_cells(summary: pl.DataFrame) -> tuple[list[str], list[list[Cell]]]:
    """Headings and rows of cells of a summary, best first; the best of each column is marked as they are rounded."""
    summary = best_first(summary)
    several = summary["n_genes"].max() != 1
    columns: list[tuple[str, list[Cell]]] = [
        ("Method", [Cell(name) for name in summary["method"]]),
        ("Mean R²" if several else "R²", _ranked(summary["mean_r2"])),
    ]
    if several:
        low_high = zip(summary["mean_r2_low"], summary["mean_r2_high"])
        columns.append(("95 % interval", [Cell(interval(low, high, 3), value=_plain(low)) for low, high in low_high]))
    if summary.height > 1:
        against = list(zip(*map(against_reference, summary.iter_rows(named=True))))
        columns.append((f"R² {_MINUS} {summary['reference'][0]}", list(against[0])))
        if several:
            columns.append(("Wilcoxon p", list(against[1])))
    columns += [
        ("Genes predicted", _ranked(summary["n_significant"], 0)),
        ("Signed r²", _ranked(summary["mean_signed_r2"])),
        ("Pearson r", _ranked(summary["mean_pearson"], 3)),
        ("Spearman ρ", _ranked(summary["mean_spearman"], 3)),
        ("MSE", _ranked(summary["mean_mse"], 3, lowest=True)),
        ("MAE", _ranked(summary["mean_mae"], 3, lowest=True)),
    ]
    headings = [heading for heading, _ in columns]
    return headings, [list(row) for row in zip(*(cells for _, cells in columns))]


def against_reference(row: Mapping[str, Any]) -> tuple[Cell, Cell]:
    """A row of a summary: the method's difference from the reference, and its p-value."""
    if row["method"] == row["reference"]:
        return Cell("reference", value=0.0), Cell("")
    delta = estimate(row["delta_r2"], row["delta_low"], row["delta_high"], sign=True)
    return delta, Cell(p_value(row["p_wilcoxon"]), value=_plain(row["p_wilcoxon"]))


def _ranked(values: pl.Series, digits: int = 4, lowest: bool = False) -> list[Cell]:
    known = [value for value in values if _plain(value) is not None]
    best = round(min(known) if lowest else max(known), digits) if known and len(values) > 1 else None
    if all(round(value, digits) == best for value in known):
        best = None  # where all are equal none is best
    return [
        Cell(number(value, digits), value is not None and round(value, digits) == best, _plain(value))
        for value in values
    ]


def _plain(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)


#: What a terminal too narrow for everything is spared, first to last.
_SPARED = ("MAE", "MSE", "Spearman ρ", "Pearson r", "Wilcoxon p", "Signed r²", "95 % interval", "Genes predicted")


def summary_table(summary: pl.DataFrame, *, width: int = 150) -> Table:
    """The comparison as a rich table for a terminal of so many columns; a narrow one gets the main columns only."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    headings, rows = summary_cells(summary)
    kept = _that_fit(headings, rows, width)
    n = int(summary["n_genes"].to_numpy().max())
    caption = (
        f"{n:,} gene{'s' if n != 1 else ''}, held-out people. R² = 1 {_MINUS} SSE/SST; "
        "genes predicted: positive correlation at FDR 5 %."
    )
    table = Table(caption=caption, caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for i in kept:
        width = max(len(row[i].whole) for row in rows)  # or rich would cut intervals before it breaks headings
        table.add_column(_broken(headings[i]), justify="left" if i == 0 else "right", min_width=width)
    for row in rows:
        table.add_row(*(Text(row[i].whole, style="bold" if row[i].best else "", no_wrap=True) for i in kept))
    return table


def _broken(heading: str) -> str:
    """A long heading on two lines."""
    return heading if len(heading) <= 13 else "\n".join(heading.rsplit(" ", 1))


def _that_fit(headings: list[str], rows: list[list[Cell]], width: int) -> list[int]:
    """Indices of the columns that fit into `width` characters, the least needed left out first."""
    needs = [
        max(max(len(line) for line in _broken(heading).split("\n")), *(len(row[i].whole) for row in rows)) + 2
        for i, heading in enumerate(headings)
    ]
    kept = list(range(len(headings)))
    for name in _SPARED:
        if sum(needs[i] for i in kept) + 2 <= width:
            break
        kept = [i for i in kept if headings[i] != name]
    return kept


def summary_tsv(summary: pl.DataFrame) -> str:
    """All columns of the comparison as TSV, six decimals, p-values with six significant digits."""
    check_summary(summary)

    def field(name: str, value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.6g}" if name == "p_wilcoxon" else f"{value:.6f}"
        return "" if value is None else str(value)

    table = summary.select(SUMMARY_COLUMNS).sort("mean_r2", descending=True, maintain_order=True)
    lines = [SUMMARY_COLUMNS, *(map(field, SUMMARY_COLUMNS, row) for row in table.iter_rows())]
    return "".join("\t".join(line) + "\n" for line in lines)
