"""Figures of predicted expression of genes. Sizes in CSS pixels, as in `figures`.

`measured` and `predicted` have shape (genes, cell types); a gene that was not measured in a cell type is NaN there.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from genopred.errors import GenopredError
from genopred.genetics.correlation import pearson
from genopred.report.figures import (
    COLOURS,
    SMALL,
    _columns,
    _estimate,
    _figure,
    _hexagon_bar,
    _hexagons,
    _intervals,
    _named_rows,
    _tip,
    _wrapped,
    _zero_inside,
)
from genopred.report.tables import interval, number, p_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

#: Panels of `gene_density`, at most, and genes of each that are named on hover.
MOST_PANELS, _NAMED = 6, 6
#: Groups of genes of equal number by their measured level.
_LEVELS = 10
#: Colour roles of the ways to see where a network looks.
_KINDS = ("main", "learner", "pt")


@dataclass(frozen=True)
class Along:
    """Where networks look along the sequence, in bins of bases from the TSS, which is 0.

    Attributes
    ----------
    profile : polars.DataFrame
        kind, start, end, share, low, high: means over genes, times the window's average.
    edges : int array (B + 1,)
    gc : array (B,)
        Share of G and C.
    exons : array (B,), optional
        Share of genes with an exon of their own there.
    example : str
        A gene.
    of_example : dict of array (B,)
        Its own values by kind.
    exons_of_example : tuple of (int, int)
        First and last base from its TSS.
    """

    profile: pl.DataFrame = field(repr=False)
    edges: NDArray[np.int64] = field(repr=False)
    gc: Floats = field(repr=False)
    exons: Floats | None = field(repr=False)
    example: str
    of_example: Mapping[str, Floats] = field(repr=False)
    exons_of_example: tuple[tuple[int, int], ...] = ()


def shown_cells(measured: ArrayLike, predicted: ArrayLike, most: int = MOST_PANELS) -> list[int]:
    """Which cell types have a panel: all, or of many so many from the best to the worst predicted, evenly."""
    y, x = _checked(measured, predicted)
    n = y.shape[1]
    if n <= most:
        return list(range(n))
    r = np.array([_r(y[:, c], x[:, c]) for c in range(n)])
    order = np.argsort(-np.nan_to_num(r, nan=-2.0), kind="stable")
    return [int(order[round(i * (n - 1) / (most - 1))]) for i in range(most)]


def gene_density(
    measured: ArrayLike, predicted: ArrayLike, cells: Sequence[str], names: Sequence[str], *, unit: str = "",
    width: float = 1000,
) -> Figure:  # fmt: skip
    """Predicted against measured genes, a panel for each cell type, coloured by density.

    All panels have the same axes, so that the dashed line is where both are equal. r is over the genes of the panel.
    The genes furthest from the line are points with their `names` on hover.
    """
    y, x = _checked(measured, predicted)
    narrow, n = width < 600, len(cells)
    columns = min(n, 2 if narrow else 3)
    rows = math.ceil(n / columns)
    side = min((width - (40 if narrow else 140)) / columns - 46, 300)
    both = np.concatenate([y[np.isfinite(y)], x[np.isfinite(x)]])
    low, high = float(both.min()), float(both.max())
    pad = 0.04 * (high - low or 1.0)
    low, high = low - pad, high + pad
    hexagons = _hexagons(0.16, len(y) / 20, narrow) | {"extent": (low, high, low, high)}
    size = (width if narrow else columns * (side + 46) + 140, rows * (side + 52) + (96 if narrow else 34))
    with _figure(*size) as figure:
        axes = figure.subplots(rows, columns, squeeze=False)
        for ax in axes.flat[n:]:
            ax.set_visible(False)
        for ax, name, a, b in zip(axes.flat, cells, y.T, x.T):
            use = np.isfinite(a) & np.isfinite(b)
            drawn = ax.hexbin(a[use], b[use], **hexagons)
            ax.plot([low, high], [low, high], color=COLOURS["soft"], linewidth=1, linestyle="--", zorder=3)
            off = np.flatnonzero(use)[np.argsort(-np.abs(b - a)[use], kind="stable")[:_NAMED]]
            for i in off:
                (dot,) = ax.plot(a[i], b[i], "o", color=COLOURS["worse"], markersize=4, markeredgewidth=0, zorder=4)
                _tip(dot, f"{names[i]}, {name}: measured {number(a[i], 2)}, predicted {number(b[i], 2)}")
            ax.text(0.04, 0.96, f"r = {number(_r(a, b), 2)}", transform=ax.transAxes, ha="left", va="top", zorder=5)
            ax.set_title(_wrapped(name, side + 30), fontsize=SMALL if narrow else 12)
            ax.set_box_aspect(1)
            ax.set(xlim=(low, high), ylim=(low, high))
            ax.locator_params(nbins=5)
        tail = f", {unit}" if unit else ""
        figure.supxlabel(f"measured{tail}", color=COLOURS["soft"], fontsize=12)
        figure.supylabel(f"predicted{tail}", color=COLOURS["soft"], fontsize=12)
        _hexagon_bar(figure, drawn, axes, "genes", narrow, pad=0.05 / (rows if narrow else 1))
    return figure


def gene_errors(measured: ArrayLike, predicted: ArrayLike, *, width: float = 1000) -> Figure:
    """Errors of all cell types together: how they are distributed, by level, relative to the spread, against a normal.

    Every error is predicted minus measured, in units of its cell type's standard deviation over the genes measured.
    """
    y, x = _checked(measured, predicted)
    spread = np.nanstd(y, axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    use = np.isfinite(y) & np.isfinite(x)
    errors = ((x - y) / spread)[use]
    level = ((y - np.nanmean(y, axis=0)) / spread)[use]
    narrow = width < 600
    shape, height = ((4, 1), 4 * 250) if narrow else ((2, 2), 2 * 270)
    with _figure(width, height) as figure:
        axes = figure.subplots(*shape).ravel()
        _error_histogram(axes[0], errors)
        _errors_by_level(axes[1], level, errors)
        _relative_errors(axes[2], np.abs(errors), np.abs(level))
        _normal_quantiles(axes[3], errors)
    return figure


def _error_histogram(ax: Axes, errors: Floats) -> None:
    low, high = np.quantile(errors, [0.002, 0.998]) if len(errors) > 20 else (errors.min(), errors.max())
    reach = max(abs(low), abs(high), 1e-9)
    inside = np.clip(errors, -reach, reach)
    bins = int(np.clip(np.sqrt(len(errors)), 12, 50))
    counts, edges, patches = ax.hist(
        inside, bins=bins, range=(-reach, reach), color=COLOURS["main"], alpha=0.55, zorder=2
    )
    for bar, n, a, b in zip(patches, counts, edges[:-1], edges[1:]):  # type: ignore[arg-type]
        _tip(bar, f"{number(a, 2, True)} to {number(b, 2, True)}: {int(n):,}")
    grid = np.linspace(-reach, reach, 200)
    mean, sd = float(errors.mean()), float(errors.std()) or 1.0
    normal = np.exp(-0.5 * ((grid - mean) / sd) ** 2) / (sd * math.sqrt(2 * math.pi))
    ax.plot(grid, normal * len(errors) * (edges[1] - edges[0]), color=COLOURS["soft"], linewidth=1.4, zorder=3)
    ax.axvline(0, color=COLOURS["soft"], linewidth=1, linestyle="--", zorder=1)
    ax.set_title("Distribution of errors")
    ax.set(xlabel="predicted \N{MINUS SIGN} measured, in SD", ylabel="genes \N{MULTIPLICATION SIGN} cell types")


def _errors_by_level(ax: Axes, level: Floats, errors: Floats) -> None:
    order = np.argsort(level, kind="stable")
    groups = [part for part in np.array_split(order, min(_LEVELS, len(order))) if len(part)]
    at = np.array([np.median(level[part]) for part in groups])
    low, middle, high = (np.array([np.quantile(errors[part], q) for part in groups]) for q in (0.25, 0.5, 0.75))
    ax.fill_between(at, low, high, color=COLOURS["main"], alpha=0.22, linewidth=0, zorder=2)
    ax.plot(at, middle, color=COLOURS["main"], linewidth=1.6, zorder=3)
    for a, b, c, d, part in zip(at, low, middle, high, groups):
        (dot,) = ax.plot(a, c, "o", color=COLOURS["main"], markersize=5, zorder=4)
        _tip(dot, f"{len(part):,} values about {number(a, 2)} SD: error {number(c, 2, True)} {interval(b, d, 2, True)}")
    ax.plot(at, -at, color=COLOURS["baseline"], linewidth=1.2, linestyle=(0, (1, 2)), zorder=2)
    ax.axhline(0, color=COLOURS["soft"], linewidth=1, linestyle="--", zorder=1)
    ax.set_title("By measured level")
    ax.set(xlabel="measured, SD from the mean", ylabel="error, in SD")


def _relative_errors(ax: Axes, errors: Floats, of_mean: Floats) -> None:
    reach = float(np.quantile(np.concatenate([errors, of_mean]), 0.99)) or 1.0
    share = (np.arange(len(errors)) + 1) / len(errors)
    for values, role, label in ((of_mean, "baseline", "the genes' mean"), (errors, "main", "the network")):
        (line,) = ax.plot(np.sort(values), share, color=COLOURS[role], linewidth=1.8, label=label, zorder=3)
        _tip(line, f"{label}: half of the errors are below {number(float(np.median(values)), 2)} SD")
    ax.set(xlim=(0, reach), ylim=(0, 1), xlabel="error relative to the spread: size in SD", ylabel="share with less")
    ax.grid(color=COLOURS["rule"], linewidth=0.8, zorder=0)
    ax.legend(loc="lower right")
    ax.set_title("Relative errors")


def _normal_quantiles(ax: Axes, errors: Floats) -> None:
    from scipy.stats import norm

    spread = float(errors.std()) or 1.0
    found = np.sort((errors - errors.mean()) / spread)
    wanted = norm.ppf((np.arange(len(found)) + 0.5) / len(found))
    if len(found) > 400:  # all of the tails, and enough of the middle
        keep = np.unique(np.r_[0:60, np.linspace(60, len(found) - 61, 280).astype(int), len(found) - 60 : len(found)])
        found, wanted = found[keep], wanted[keep]
    ax.plot(wanted, wanted, color=COLOURS["soft"], linewidth=1, linestyle="--", zorder=1)
    ax.plot(wanted, found, "o", color=COLOURS["main"], markersize=3.5, alpha=0.6, markeredgewidth=0, zorder=2)
    ax.set_title("Q\N{EN DASH}Q against a normal")
    ax.set(xlabel="normal quantile", ylabel="error, standardised")


def cell_scores(
    scores: pl.DataFrame, folds: pl.DataFrame | None, labels: Mapping[str, str], *, width: float = 1000
) -> Figure:
    """Of one model r, R² and r between cell types in each of them with intervals, and small rings for single folds.

    `scores` and `folds` are of `genopred.training.gene_heldout.compare_genes`, of one model; `labels` are the axes' by
    (what, metric) joined by a space, in the order of the panels.
    """
    panels = [key for key in labels if _of(scores, key).height]
    if not panels:
        raise GenopredError("cell_scores: none of the scores asked for is in the table.")
    cells = list(dict.fromkeys(scores["cell"].to_list()))
    narrow = width < 600
    shape = (len(panels), 1) if narrow else (1, len(panels))
    height = (72 + 22 * len(cells)) * (len(panels) if narrow else 1)
    with _figure(width, height) as figure:
        axes = figure.subplots(*shape, squeeze=False, sharey=not narrow).ravel()
        for ax, key in zip(axes, panels):
            table = _of(scores, key).select("cell", "estimate", "low", "high")
            for cell, value, low, high in table.iter_rows():
                if value is None:
                    continue
                y, last = cells.index(cell), cell == cells[-1] and len(cells) > 1
                colour = COLOURS["ink" if last else "main"]
                dot = _estimate(ax, y, value, low, high, colour=colour, size=7, zorder=4)
                _tip(dot, f"{cell}: {number(value, 3)} {interval(low, high, 3)}")
                if folds is not None:
                    of = _of(folds, key).filter(pl.col("cell") == cell)
                    for fold, one in of.select("fold", "estimate").iter_rows():
                        if one is not None:
                            ring: dict[str, Any] = {"color": COLOURS["pt"], "markerfacecolor": "none", "markersize": 5}
                            (dot,) = ax.plot(one, y + 0.24, "o", zorder=3, **ring)
                            _tip(dot, f"{cell}, fold {fold}: {number(one, 3)}")
            ax.set_title(_wrapped(labels[key], (width if narrow else width / len(panels)) - 90))
            ax.set_yticks(range(len(cells)), cells)
            ax.set_ylim(len(cells) - 0.5, -0.5)
            _zero_inside(ax)
            _named_rows(ax, 4)
    return figure


def methods_compared(
    scores: pl.DataFrame, differences: pl.DataFrame, tests: pl.DataFrame, main: str, cell: str, *, width: float = 1000
) -> Figure:
    """Each method's r over genes with its interval, and by how much the main one has more, with p of flipped blocks.

    The tables are of `genopred.training.gene_heldout.compare_genes`; `cell` is a cell type, or their mean.
    A method of a single other cell type is shown with that.
    """
    scores, differences, tests = (_of_cell(table, cell) for table in (scores, differences, tests))
    names = list(dict.fromkeys(scores["model"].to_list()))
    level, between = (scores.filter(pl.col("what") == what) for what in ("level", "between"))
    rank = {name: value for name, value in level.select("model", "estimate").iter_rows() if value is not None}
    order = sorted(names, key=lambda name: rank.get(name, -math.inf))
    labels = {name: name if at == cell else f"{name}, {at}" for name, at in level.select("model", "cell").iter_rows()}
    if width < 600:
        labels = {name: textwrap.fill(label, 17) for name, label in labels.items()}
    panels: list[tuple[str, pl.DataFrame, bool]] = [("r over genes", level, False)]
    if differences.height:
        panels.append(("Difference of r", differences.filter(pl.col("what") == "level"), True))
    if between["estimate"].drop_nulls().len():
        panels.append(("r between cell types", between, False))
    of_r = tests.filter((pl.col("what") == "level") & (pl.col("test") == "blocks-r"))
    p = dict(of_r.select("against", "p_holm").iter_rows())
    narrow = width < 600
    shape = (len(panels), 1) if narrow else (1, len(panels))
    height = (74 + 26 * len(names)) * (len(panels) if narrow else 1)
    with _figure(width, height) as figure:
        axes = figure.subplots(*shape, squeeze=False, sharey=not narrow).ravel()
        for ax, (title, of, paired) in zip(axes, panels):
            values = {row["against" if paired else "model"]: row for row in of.iter_rows(named=True)}
            blank = {"estimate": None, "low": None, "high": None}
            rows = [{"method": labels[name]} | {k: values.get(name, blank)[k] for k in blank} for name in order]
            if paired:
                rows = [row | {"estimate": 0.0} if row["method"] == labels[main] else row for row in rows]
            schema = {"method": pl.String} | dict.fromkeys(blank, pl.Float64)
            table = pl.DataFrame(rows, schema=schema)
            _intervals(ax, table, "estimate", "low", "high", labels[main], skip=labels[main] if paired else None)
            ax.set_title(_wrapped(title, (width if narrow else width / len(panels)) - 80))
            if paired:
                _p_values(ax, [p.get(name) for name in order])
            for y, row in enumerate(rows):
                if row["estimate"] is None:
                    ax.annotate(
                        "\N{EN DASH}", (0.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=SMALL
                    )
    return figure


def _of_cell(table: pl.DataFrame, cell: str) -> pl.DataFrame:
    """Rows of r in a cell type (or their mean), or of a method of a single other one those in that."""
    by = [name for name in ("model", "against", "what", "test") if name in table.columns]
    alone = pl.col("cell").n_unique().over(by) == 1
    return table.filter((pl.col("metric") == "pearson") & ((pl.col("cell") == cell) | alone))


def _p_values(ax: Axes, values: Sequence[float | None]) -> None:
    """At the right end of each row, outside the axes."""
    for y, value in enumerate(values):
        if value is not None:
            place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "ha": "left"}
            text = f"p {p_value(value)}"
            ax.annotate(text, (1.01, y), fontsize=SMALL, color=COLOURS["soft"], annotation_clip=False, **place)


def sequence_profile(along: Along, *, width: float = 1000) -> Figure:
    """Where networks look: means over genes aligned at the TSS, what lies there, and one gene with its exons."""
    from matplotlib.ticker import FuncFormatter

    kinds = along.profile["kind"].unique(maintain_order=True).to_list()
    narrow = width < 600
    middle = (along.edges[:-1] + along.edges[1:]) / 2
    colours = {kind: COLOURS[role] for kind, role in zip(kinds, _KINDS)}
    heights = [190.0, 96.0, 130.0, 30.0 if along.exons_of_example else 1.0]
    with _figure(width, sum(heights) + 130) as figure:
        layout: Any = figure.get_layout_engine()
        layout.set(h_pad=2 / 72, hspace=0.0)
        top, below, one, own = figure.subplots(4, 1, sharex=True, height_ratios=heights)
        for kind in kinds:
            of = along.profile.filter(pl.col("kind") == kind)
            if of["low"].null_count() == 0:
                band = of["low"].to_numpy(), of["high"].to_numpy()
                top.fill_between(middle, *band, color=colours[kind], alpha=0.2, linewidth=0, step="mid", zorder=2)
            (line,) = top.step(middle, of["share"].to_numpy(), where="mid", color=colours[kind], label=kind, zorder=3)
            peak = int(of["share"].arg_max() or 0)
            _tip(line, f"{kind}: highest {number(of['share'][peak], 1)} times the average at {_from_tss(middle[peak])}")
            (line,) = one.step(
                middle, along.of_example[kind], where="mid", color=colours[kind], linewidth=1.2, zorder=3
            )
            _tip(line, f"{along.example}, {kind}")
        top.axhline(1, color=COLOURS["soft"], linewidth=1, linestyle=(0, (1, 2)), zorder=1)
        top.set_ylim(bottom=0)
        top.set_title("Mean over genes")
        top.set_ylabel("times average", fontsize=SMALL)
        below.plot(middle, along.gc, color=COLOURS["ink"], linewidth=1.2, label="share of G and C", zorder=3)
        if along.exons is not None:
            below.fill_between(
                middle,
                along.exons,
                color=COLOURS["other"],
                alpha=0.35,
                linewidth=0,
                step="mid",
                label="genes with own exon",
                zorder=2,
            )
        below.set(ylim=(0, 1))
        below.set_ylabel("share", fontsize=SMALL)
        one.set_ylim(bottom=0)
        one.set_title(_wrapped(f"One gene: {along.example}", width - 90))
        one.set_ylabel("times average", fontsize=SMALL)
        _exon_row(own, along)
        for ax in (top, below, one, own):
            ax.axvline(0, color=COLOURS["worse"], linewidth=1, zorder=4)
        for ax in (top, below, one):
            ax.tick_params(axis="x", length=0, labelbottom=False)
        own.set_xlim(along.edges[0], along.edges[-1])
        own.locator_params(axis="x", nbins=5 if narrow else 9)
        own.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _from_tss(value)))
        own.set_xlabel("from the TSS, in the genes' direction")
        handles = [h for ax in (top, below) for h in ax.get_legend_handles_labels()[0]]
        names = [n for ax in (top, below) for n in ax.get_legend_handles_labels()[1]]
        columns = _columns(names, width, len(names))
        figure.legend(handles, names, loc="outside upper left", ncols=columns, handlelength=1.2, columnspacing=1.4)
    return figure


def _exon_row(ax: Axes, along: Along) -> None:
    """Exons of the example as thick lines on a thin one from its first to its last base."""
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    if not along.exons_of_example:
        return
    first, last = along.exons_of_example[0][0], max(b for _, b in along.exons_of_example)
    ax.plot([first, last], [0, 0], color=COLOURS["soft"], linewidth=1.4, zorder=1)
    for a, b in along.exons_of_example:
        (line,) = ax.plot([a, b + 1], [0, 0], color=COLOURS["other"], linewidth=8, solid_capstyle="butt", zorder=2)
        _tip(line, f"{along.example}: exon from {_from_tss(a)} to {_from_tss(b)}")
    ax.set_ylim(-1, 1)


def _from_tss(value: float) -> str:
    """A distance from the TSS.

    >>> _from_tss(-5000), _from_tss(0), _from_tss(250), _from_tss(-12345)
    ('−5 kb', 'TSS', '+250 bp', '−12.3 kb')
    """
    if value == 0:
        return "TSS"
    sign, size = "+" if value > 0 else "\N{MINUS SIGN}", abs(value)
    return f"{sign}{size:.0f} bp" if size < 1000 else f"{sign}{round(size / 1000, 1):g} kb"


def _of(table: pl.DataFrame, key: str) -> pl.DataFrame:
    what, metric = key.split()
    return table.filter((pl.col("what") == what) & (pl.col("metric") == metric))


def _r(a: Floats, b: Floats) -> float:
    use = np.isfinite(a) & np.isfinite(b)
    return float(pearson(a[use], b[use])) if use.sum() > 1 else math.nan


def _checked(measured: ArrayLike, predicted: ArrayLike) -> tuple[Floats, Floats]:
    y, x = np.asarray(measured, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if y.ndim != 2 or y.shape != x.shape or not np.isfinite(y[np.isfinite(x)]).any():
        raise GenopredError(
            f"figures of genes: measured {y.shape}, predicted {x.shape}; needed (genes, cell types) twice, with at "
            "least one gene that is both measured and predicted."
        )
    return y, x
