"""Figures of a comparison of methods. Each function returns a matplotlib Figure; nothing touches pyplot's state.

`scores`, `summary` and `predictions` have the columns of `genopred.types.SCORE_SCHEMA`,
`genopred.report.tables.SUMMARY_COLUMNS` and `genopred.types.PREDICTION_SCHEMA`; `names` says what genes are called.

Sizes are in CSS pixels (1/72 inch), so that an SVG shown at its own size has text of the size given here. No text is
smaller than `SMALL`; a page draws a figure anew for narrow screens rather than shrink it (`WIDTHS`).
"""

from __future__ import annotations

import io
import os
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from genopred.errors import GenopredError, examples
from genopred.files import write_files
from genopred.report.tables import NO_NAMES, GeneNames, best_first, interval, number

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

#: Colours by role, on white. `genopred.report.page` swaps each for a CSS variable of the same name.
COLOURS = {
    "ink": "#1d2430",
    "soft": "#5c6675",
    "rule": "#d9dde3",
    "main": "#0b7a75",
    "learner": "#2f6bb3",
    "pt": "#c97b12",
    "baseline": "#8d95a1",
    "worse": "#b4433a",
    "other": "#8458a8",
}

#: Pixels of the smallest text.
SMALL = 11
#: Shades of a density.
_STEPS = 8
#: Pixels of a figure by itself on a wide, a middling and a narrow screen, and of one of several side by side.
WIDTHS, BESIDE = (1000, 660, 340), 320
#: Longer names of genes are cut on axes; the words on hover are whole. Ensembl's are 15 and a version.
_LONGEST = 24

_ROLES = {
    "baseline": ("baseline",),
    "pt": ("pt-", "p+t", "clump"),
    "main": ("stack",),
    "learner": ("elastic-net", "elastic net"),
}
_SPARE = ("other", "worse", "ink")

_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 12,
    "axes.labelsize": 12,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": COLOURS["soft"],
    "axes.labelcolor": COLOURS["soft"],
    "axes.titlecolor": COLOURS["ink"],
    "axes.unicode_minus": True,
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["soft"],
    "ytick.color": COLOURS["soft"],
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.frameon": False,
    "legend.fontsize": 11.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "genopred",
    "path.simplify": False,
}


def _style() -> AbstractContextManager[None]:
    from matplotlib import rc_context

    return rc_context(_STYLE)  # type: ignore[arg-type]  # its stub lists the keys one by one


@contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    """An empty figure, to be drawn into in this module's style."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with _style():
        layout = ConstrainedLayoutEngine(w_pad=8 / 72, h_pad=6 / 72)
        yield Figure(figsize=(width / 72, height / 72), dpi=72, layout=layout)


def in_widths(
    draw: Callable[..., Figure], *args: Any, widths: Sequence[float] = WIDTHS, **kwargs: Any
) -> tuple[Figure, ...]:
    """A figure drawn for each kind of screen, widest first: `draw(*args, width=width, **kwargs)`."""
    return tuple(draw(*args, width=width, **kwargs) for width in widths)


def main_method(summary: pl.DataFrame, wanted: str | None = None) -> str:
    """The method a page is about: the one wanted if it is there, else the best stack, else the best method."""
    ordered = best_first(summary)["method"].to_list()
    if wanted in ordered:
        return str(wanted)
    return next((name for name in ordered if name.startswith("stack")), ordered[0])


def beside(methods: Sequence[str], main: str) -> list[str]:
    """The methods that are drawn beside each other per gene: baseline, P+T, elastic net and the main one.

    Without those three, the first three others stand in.

    >>> beside(["stack", "susie", "elastic-net", "pt-prs", "baseline-prs"], "stack")
    ['baseline-prs', 'pt-prs', 'elastic-net', 'stack']
    """
    others = [name for name in methods if name != main]
    picked = []
    for role in ("baseline", "pt", "learner"):
        found = [name for name in others if _role(name) == role]
        picked += sorted(found, key=len)[:1]  # elastic-net rather than elastic-net-tss
    return [*(picked or others[:3]), main]


def _role(method: str) -> str | None:
    return next((role for role, starts in _ROLES.items() if method.lower().startswith(starts)), None)


def _colours(methods: Sequence[str], main: str) -> dict[str, str]:
    """A colour each, the same for the same role on every figure."""
    out = {main: COLOURS["main"]}
    for name in methods:
        role = _role(name)
        if name != main and role is not None and COLOURS[role] not in out.values():
            out[name] = COLOURS[role]
    used = {*out.values(), COLOURS["rule"], COLOURS["soft"]}
    spare = iter([COLOURS[key] for key in (*_SPARE, *COLOURS) if COLOURS[key] not in used])
    return out | {name: next(spare, COLOURS["soft"]) for name in methods if name not in out}


def method_means(
    summary: pl.DataFrame, scores: pl.DataFrame | None = None, *, main: str | None = None, width: float = 1000
) -> Figure:
    """Mean R² of each method with its 95 % interval, and the paired difference from the reference.

    For a single gene, where no interval over genes exists, the intervals over people are drawn from `scores`. `main`
    is set off (`main_method` by default). Under 600 pixels the two panels stand above one another.
    """
    main = main_method(summary, main)
    table = summary.sort("mean_r2", descending=False, nulls_last=False, maintain_order=True)
    reference, single = table["reference"][0], table["n_genes"].max() == 1
    if single and scores is not None:
        people = scores.select("method", "r2_low", "r2_high")
        table = table.join(people, on="method", how="left").with_columns(mean_r2_low="r2_low", mean_r2_high="r2_high")
    narrow, compared = width < 600, table.height > 1 and not single
    height = (62 + 24 * table.height) * (2 if narrow and compared else 1) + 10
    with _figure(width, height) as figure:
        shape = (1, 1) if not compared else (2, 1) if narrow else (1, 2)
        axes = figure.subplots(*shape, sharey=not narrow, squeeze=False).ravel()
        _intervals(axes[0], table, "mean_r2", "mean_r2_low", "mean_r2_high", main)
        axes[0].set_title("R² on held-out people" if single else "Mean R² on held-out people")
        axes[0].set_xlabel(f"R², 95 % interval over {'people' if single else 'genes'}")
        if compared:
            _intervals(axes[1], table, "delta_r2", "delta_low", "delta_high", main, skip=reference)
            axes[1].set_title(_wrapped(f"Difference from {reference}", width if narrow else width / 2 - 60))
            axes[1].set_xlabel("difference of R², paired over genes")
    return figure


def _intervals(
    ax: Axes, table: pl.DataFrame, middle: str, low: str, high: str, main: str, skip: str | None = None
) -> None:
    """A dot and a line a method; `skip` is the reference, whose difference from itself is no result."""
    floor, sign = _floor(table, middle, low, high), skip is not None
    for y, row in enumerate(table.iter_rows(named=True)):
        value, method = row[middle], row["method"]
        if value is None:
            continue
        tip = f"{method}: {number(value, sign=sign)}"
        if method == skip:
            (dot,) = ax.plot(0, y, "o", color=COLOURS["soft"], markerfacecolor="none", markersize=6.5, zorder=3)
            tip = f"{skip}: the reference"
        elif floor is not None and value < floor:
            (dot,) = ax.plot(floor, y, "<", color=COLOURS["worse"], markersize=7, zorder=3, clip_on=False)
            text = f"{number(value, 2, sign=sign)}, off the scale"
            ax.annotate(text, (floor, y), (9, 0), textcoords="offset points", va="center", fontsize=SMALL)
        else:
            colour, size = (COLOURS["main"], 8) if method == main else (COLOURS["soft"], 6.5)
            width = interval(row[low], row[high], sign=sign)
            if width.startswith("["):
                left = row[low] if floor is None else max(row[low], floor)
                ax.plot([left, row[high]], [y, y], color=colour, linewidth=2, solid_capstyle="round", zorder=2)
                tip += f" {width}"
            (dot,) = ax.plot(value, y, "o", color=colour, markersize=size, zorder=3)
        _tip(dot, tip)
    ax.set_yticks(range(table.height), table["method"].to_list())
    for label in ax.get_yticklabels():
        label.set_color(COLOURS["main"] if label.get_text() == main else COLOURS["ink"])
        label.set_fontweight("bold" if label.get_text() == main else "normal")
    ax.set_ylim(-0.6, table.height - 0.4)
    ax.axvline(0, color=COLOURS["soft"], linewidth=1, zorder=1)
    _named_rows(ax, nbins=5)


def _named_rows(ax: Axes, nbins: int, grid: bool = True) -> None:
    """An axis of rows, one a name: no line on the left, rules along the numbers."""
    if grid:
        ax.grid(axis="x", color=COLOURS["rule"], linewidth=0.8, zorder=0)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=nbins)


def _estimate(
    ax: Axes, y: float, value: float, low: float | None, high: float | None, *, colour: str, size: float,
    zorder: float = 3,
) -> Any:  # fmt: skip
    """A dot in a row, and the line of its interval where it has one; the dot."""
    if low is not None and high is not None:
        ax.plot([low, high], [y, y], color=colour, linewidth=2, solid_capstyle="round", zorder=2)
    (dot,) = ax.plot(value, y, "o", color=colour, markersize=size, zorder=zorder)
    return dot


def _zero_inside(ax: Axes) -> None:
    """A line at zero, where that lies within the axis."""
    low, high = ax.get_xlim()
    if low < 0 < high:
        ax.axvline(0, color=COLOURS["soft"], linewidth=1, zorder=1)


def _shades(role: str, lowest: float, steps: int) -> Colormap:
    """One colour, more and more opaque, so that it suits a light and a dark page."""
    from matplotlib.colors import ListedColormap, to_rgb

    colour = to_rgb(COLOURS[role])
    return ListedColormap([(*colour, alpha) for alpha in np.linspace(lowest, 1.0, steps)])


def _hexagons(lowest: float, most: float, narrow: bool) -> dict[str, Any]:
    """How `hexbin` draws a density of up to `most` in a hexagon."""
    from matplotlib.colors import LogNorm

    shades = {"cmap": _shades("main", lowest, _STEPS), "norm": LogNorm(1, max(10, most))}
    return {"gridsize": 16 if narrow else 26, "mincnt": 1, "linewidths": 0, "zorder": 2, **shades}


def _hexagon_bar(figure: Figure, drawn: Any, axes: Any, what: str, narrow: bool, **place: Any) -> None:
    """Beside the panels, above them on a narrow figure: how many of `what` a colour stands for."""
    from matplotlib.ticker import FuncFormatter

    bar = figure.colorbar(drawn, ax=axes, location="top" if narrow else "right", shrink=0.6, aspect=26, **place)
    bar.set_label(f"{what} in a hexagon", color=COLOURS["soft"])
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.minorticks_off()
    bar.formatter = FuncFormatter(lambda value, _: f"{value:,.0f}")  # no small exponents
    bar.update_ticks()


def _floor(table: pl.DataFrame, middle: str, low: str, high: str) -> float | None:
    """Where the axis ends when one method is so bad that it would flatten the differences between all others."""
    of = table.filter(pl.col(middle).is_finite())
    if of.height < 3:
        return None
    value = of[middle].to_numpy()
    ends = np.nan_to_num(of[low].fill_null(strategy="zero").to_numpy()), np.nan_to_num(of[high].to_numpy())
    typical = float(np.median(value))
    reach = max(float(np.max(ends[1])), float(np.max(value))) - typical
    good = value > typical - 2.5 * max(reach, 1e-3)
    if good.all():
        return None
    best_low = np.minimum(ends[0], value)[good]
    return float(min(best_low.min(), 0.0)) - 0.15 * (reach + typical - float(best_low.min()))


def gene_bars(
    scores: pl.DataFrame,
    methods: Sequence[str],
    *,
    max_genes: int = 40,
    width: float = 1000,
    horizontal: bool = False,
    names: GeneNames = NO_NAMES,
) -> Figure:
    """R² of the best genes, methods beside each other, genes sorted by the last method, which is the main one.

    `horizontal`: bars to the right, one gene below the other, for a narrow page.
    """
    wide = _wide(scores, methods).sort(methods[-1], "gene_id", descending=[True, False], nulls_last=True)
    wide = wide.head(max_genes)
    colours = _colours(methods, methods[-1])
    places = np.arange(wide.height, dtype=np.float64)
    thick = 0.8 / len(methods)
    labels = [_label(gene, names) for gene in wide["gene_id"]]
    longest = max(map(len, labels), default=0)
    lowest = -0.1  # a method that fails badly in one gene must not flatten all the others
    few = wide.height <= 8 and (longest + 2) * _LETTER * wide.height < width - 80
    if horizontal:
        height: float = 90 + (14 + 6 * len(methods)) * wide.height
    else:
        height = 320 + (0 if few else _LETTER * longest)
    with _figure(width, height) as figure:
        ax = figure.subplots()
        draw = ax.barh if horizontal else ax.bar
        for i, method in enumerate(methods):
            values = wide[method].to_numpy()
            offset = (i - (len(methods) - 1) / 2) * thick
            shown = np.maximum(values, lowest)
            bars = draw(places + offset, shown, thick * 0.92, color=colours[method], label=method, zorder=2)
            for bar, gene, value in zip(bars, wide["gene_id"], values):
                _tip(bar, f"{names.full(gene)}, {method}: R² {number(value)}")
        if horizontal:
            ax.margins(y=0.01)
            ax.set_yticks(places, labels)
            ax.invert_yaxis()
            ax.set_xlabel("R² on held-out people")
        else:
            ax.margins(x=0.01)
            ax.set_xticks(places, labels, rotation=0 if few else 90)
            ax.set_ylabel("R² on held-out people")
        zero = ax.axvline if horizontal else ax.axhline
        zero(0, color=COLOURS["soft"], linewidth=1, zorder=3)
        ax.grid(axis="x" if horizontal else "y", color=COLOURS["rule"], linewidth=0.8, zorder=0)
        ax.tick_params(axis="y" if horizontal else "x", length=0)
        columns, spacing = _columns(methods, width, len(methods)), 1.6 if width > 500 else 1
        figure.legend(loc="outside upper left", ncols=columns, handlelength=1, columnspacing=spacing)
    return figure


#: People that are drawn one by one.
MOST_POINTS = 3_000


def predicted_scatter(
    predictions: pl.DataFrame,
    gene_id: str,
    method: str,
    r2: float | None = None,
    *,
    width: float = BESIDE,
    names: GeneNames = NO_NAMES,
) -> Figure:
    """Predicted against measured expression of one gene, one point a held-out person; `r2` is written above them.

    More than `MOST_POINTS` people are drawn as their density.
    """
    of = predictions.filter((pl.col("gene_id") == gene_id) & (pl.col("method") == method))
    if of.height == 0:
        raise GenopredError(f"predictions: none of gene {gene_id!r} by method {method!r}.")
    x, y = of["predicted"].to_numpy(), of["observed"].to_numpy()
    with _figure(width, width * 0.94) as figure:
        ax = figure.subplots()
        if len(x) > MOST_POINTS:
            drawn = ax.hexbin(x, y, **_hexagons(0.15, len(x) / 50, narrow=False))
            _hexagon_bar(figure, drawn, ax, "people", narrow=False)
        else:
            ax.scatter(x, y, s=16, color=COLOURS["main"], alpha=0.55, linewidths=0, zorder=2)
        low, high = min(x.min(), y.min()), max(x.max(), y.max())
        ax.axline((0, 0), slope=1, color=COLOURS["soft"], linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        # Predictions shrink towards the mean, so each axis has its own range; the line says where both are equal.
        pad = 0.06 * (x.max() - x.min() or high - low or 1.0)
        ax.set_xlim(x.min() - pad, x.max() + pad)
        pad = 0.06 * (y.max() - y.min() or 1.0)
        ax.set_ylim(y.min() - pad, y.max() + pad)
        ax.set(xlabel="predicted", ylabel="measured")
        ax.locator_params(nbins=5)
        tail = "" if r2 is None else f"  R² {number(r2, 3)}"
        ax.set_title(f"{_label(gene_id, names)}{tail}", fontsize=11.5)
    return figure


def best_genes(scores: pl.DataFrame, method: str, n: int) -> list[tuple[str, float]]:
    """The `n` genes with the highest R² of a method, and that R², best first."""
    of = scores.filter((pl.col("method") == method) & pl.col("r2").is_finite())
    if of.height == 0:
        raise GenopredError(f"scores: none of method {method!r}; there are {_listed(scores)}.")
    return of.sort("r2", "gene_id", descending=[True, False]).head(n).select("gene_id", "r2").rows()


def r2_against_r2(
    scores: pl.DataFrame, x: str, y: str, *, width: float = BESIDE, names: GeneNames = NO_NAMES
) -> Figure:
    """R² of methods `x` and `y` against each other, one point a gene; about square."""
    wide = _wide(scores, [x, y]).drop_nulls()
    a, b = wide[x].to_numpy(), wide[y].to_numpy()
    with _figure(width, width) as figure:
        ax = figure.subplots()
        for gene, at, up in zip(wide["gene_id"], a, b):
            colour = COLOURS["main"] if up >= at else COLOURS["worse"]
            (dot,) = ax.plot(at, up, "o", color=colour, markersize=6, alpha=0.7, markeredgewidth=0, zorder=2)
            _tip(dot, f"{names.full(gene)}: {x} {number(at)}, {y} {number(up)}")
        low, high = min(a.min(), b.min()), max(a.max(), b.max())
        pad = 0.05 * (high - low or 1.0)
        ax.set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad), aspect="equal")
        ax.axline((0, 0), slope=1, color=COLOURS["soft"], linewidth=1, zorder=1)
        ax.axhline(0, color=COLOURS["rule"], linewidth=1, zorder=0)
        ax.axvline(0, color=COLOURS["rule"], linewidth=1, zorder=0)
        ax.locator_params(nbins=6)
        ax.set(xlabel=f"R² of {x}", ylabel=f"R² of {y}")
        better = int((b > a).sum())
        ax.set_title(_wrapped(f"{y} is better in {better} of {len(a)} genes", width - 70))
    return figure


def spreads(values: Mapping[str, ArrayLike], label: str, *, width: float = 720, names: GeneNames = NO_NAMES) -> Figure:
    """One row a gene, one point a person: how far people lie apart.

    `values` has the people's values, shape (N,), by gene, in the order from top to bottom; each gene needs a finite
    one. `label` is the axis'.
    """
    rows = {gene: np.asarray(of, dtype=np.float64) for gene, of in values.items()}
    rows = {gene: of[np.isfinite(of)] for gene, of in rows.items()}
    empty = [gene for gene, of in rows.items() if not len(of)]
    if empty or not rows:
        raise GenopredError(f"values: no finite value ({examples(empty) or 'no genes'}); each gene needs one.")
    rng = np.random.default_rng(0)
    with _figure(width, 70 + 34 * len(rows)) as figure:
        ax = figure.subplots()
        for y, (gene, of) in enumerate(rows.items()):
            ax.axhline(y, color=COLOURS["rule"], linewidth=1, zorder=0)
            # scattered across the row, so that people with the same value do not hide each other
            up = y + rng.uniform(-0.3, 0.3, len(of))
            (dots,) = ax.plot(of, up, "o", color=COLOURS["main"], markersize=4, alpha=0.4, markeredgewidth=0, zorder=2)
            low, high, distinct = number(of.min(), 2), number(of.max(), 2), len(np.unique(of))
            _tip(dots, f"{names.full(gene)}: {low} to {high}, {distinct:,} values")
        ax.set_yticks(range(len(rows)), [_label(gene, names) for gene in rows])
        ax.set_ylim(len(rows) - 0.4, -0.6)
        _named_rows(ax, 5 if width < 500 else 9, grid=False)
        ax.set_xlabel(label)
    return figure


def _wide(scores: pl.DataFrame, methods: Sequence[str]) -> pl.DataFrame:
    """gene_id and one column of R² per method."""
    have = set(scores["method"].unique().to_list())
    absent = [name for name in methods if name not in have]
    if absent:
        raise GenopredError(f"scores: none of method {examples(absent)}; there are {_listed(scores)}.")
    return scores.filter(pl.col("method").is_in(list(methods))).pivot(on="method", index="gene_id", values="r2")


def _listed(scores: pl.DataFrame) -> str:
    return ", ".join(scores["method"].unique(maintain_order=True).to_list()) or "no methods"


def _label(gene_id: str, names: GeneNames) -> str:
    """What an axis calls a gene: its symbol, or its whole id, unless that is far too long.

    >>> _label("ENSG00000100376.12", GeneNames()), _label("chr22:1000:2000:clu_12:ENSG00000100376", GeneNames())
    ('ENSG00000100376.12', 'chr22:1000:2000:clu_12:…')
    """
    name = names.short(gene_id)
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


#: Pixels of a letter: of text of `SMALL` size, and of bold titles.
_LETTER, _LETTER_BOLD = 7.0, 7.8


def _wrapped(title: str, width: float) -> str:
    """A title on as many lines as it needs; names are not broken.

    >>> _wrapped("stack-xgboost is better in 23 of 28 genes", 250)
    'stack-xgboost is better in 23 of\\n28 genes'
    """
    return textwrap.fill(title, max(12, int(width / _LETTER_BOLD)), break_long_words=False, break_on_hyphens=False)


def _columns(labels: Sequence[str], width: float, most: int) -> int:
    """How many columns of a legend fit side by side.

    >>> _columns(["observed", "its mean"], 300, 5), _columns(["top 50 of enformer-small only (10)"] * 4, 300, 5)
    (2, 1)
    """
    each = 45 + _LETTER * max(map(len, labels), default=0)
    return max(1, min(most, len(labels), int(width / each)))


def _tip(artist: Any, text: str) -> None:
    """Words that the SVG shows on hover."""
    artist.set_gid("tip:" + text)


def to_svg(figure: Figure, *, title: str, prefix: str = "figure") -> str:
    """The figure as an `<svg>` element to put into a page; the same figure gives the same text every time.

    Screen readers read `title` in place of the picture; `prefix` keeps every id unlike those of other figures.
    """
    buffer = io.StringIO()
    with _style():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>\s*", "", text, flags=re.DOTALL)  # its rules would hold for the whole page
    text = _lighter(text)
    text = re.sub(r'<g id="tip:([^"]*)">', r'<g class="tip"><title>\1</title>', text)
    text = re.sub(r' id="([^"]+)"', rf' id="{prefix}-\1"', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{prefix}-", text)
    text = re.sub(r"font: ([^;\"]*?)(\d[\d.]*)px [^;\"]*", r"font: \1\2px system-ui, sans-serif", text)
    head, _, body = text.partition(">")
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', head).groups()  # type: ignore[union-attr]
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-labelledby="{prefix}-label" xmlns="http://www.w3.org/2000/svg">'
        f'<title id="{prefix}-label">{escape(title)}</title>{body}'
    )


def _lighter(svg: str) -> str:
    """The same picture in fewer bytes: hundredths of a pixel, and the style of equal points said once."""

    def rounded(attribute: re.Match[str]) -> str:
        if "scale" in attribute[0]:
            return attribute[0]
        return re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."), attribute[0])

    def once(group: re.Match[str]) -> str:
        styles = set(re.findall(r'<use [^>]*?( style="[^"]*")/>', group[2]))
        if len(styles) != 1 or group[2].count("<use ") != group[2].count(" style="):
            return group[0]
        style = styles.pop()
        return f"{group[1]}{style}>{group[2].replace(style, '')}</g>"

    svg = re.sub(r' (?:d|x|y|transform)="[^"]*"', rounded, svg.replace("xlink:href", "href"))
    return re.sub(r'(<g clip-path="[^"]*")>((?:\s*<use [^>]*/>)+\s*)</g>', once, svg)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure as .png or .svg, by the extension; the same figure gives the same bytes."""
    target = Path(path)
    drawn = io.BytesIO()
    with _style():
        match target.suffix.lower():
            case ".png":
                figure.savefig(drawn, format="png", dpi=150, metadata={"Software": None})
            case ".svg":
                figure.savefig(drawn, format="svg", dpi=72, metadata={"Date": None, "Creator": None})
            case _:
                kind = target.suffix or "a name without one"
                raise GenopredError(f"{target}: figures are saved as .png or .svg, not as {kind}.")
    write_files({target: drawn.getvalue()})
    return target


def save_figures(drawn: Mapping[str, Sequence[Any]], folder: Path, kind: str) -> list[Path]:
    """Save the widest drawing of each figure by its name, as svg or png; none where the kind is `none`."""
    return [] if kind == "none" else [save_figure(of[0], folder / f"{name}.{kind}") for name, of in drawn.items()]
