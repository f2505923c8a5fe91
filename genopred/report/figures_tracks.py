"""Figures of predicted and measured tracks. Sizes in CSS pixels, as in `figures`.

`measured` and `predicted` are of shape (bins, T), at least one bin; the table of tracks has `TRACK_COLUMNS` and T rows.
Negative values count as zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

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
    _named_rows,
    _tip,
    _wrapped,
    _zero_inside,
)
from genopred.report.locus import Floats, GeneTrack, _genes_below, _megabases
from genopred.report.tables import interval, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Columns that a table of tracks needs here, in the order of the values' columns.
TRACK_COLUMNS = ("track", "assay", "cell", "strand")

#: Colour roles of the models of `score_intervals`, in turn; the first is the one evaluated.
_ROLES = ("main", "learner", "pt", "other", "worse")

#: Pixels beside a lane for the numbers of its scale.
_NUMBERS = 46
#: Points of a lane on a wide and a narrow figure, at most; more bins are averaged.
_POINTS, _POINTS_NARROW = 1200, 320


def predicted_density(
    measured: ArrayLike, predicted: ArrayLike, tracks: pl.DataFrame, *, width: float = 1000
) -> Figure:
    """Predicted against measured bins, a panel for each assay (row) and cell type (column), coloured by density.

    Both strands of an assay are in one panel. Axes are those of log(1 + value), with the values themselves written on
    them, and the same in a row, so that the dashed line is where both are equal. The r in the corner is the Pearson
    correlation of log(1 + value) of the bins drawn. Under 600 pixels two panels are in a row, each with its cell type
    in the title.
    """
    y, x = (np.log1p(values) for values in _checked(measured, predicted, tracks))
    groups = _groups(tracks)
    assays = list(dict.fromkeys(assay for assay, _, _ in groups))
    cells = list(dict.fromkeys(cell for _, cell, _ in groups))
    narrow = width < 600
    columns = min(2, len(groups)) if narrow else len(cells)
    rows = math.ceil(len(groups) / columns) if narrow else len(assays)
    # what is left of the width beside tick labels, the axis' name and the colour bar
    side = min((width - (30 if narrow else 140)) / columns - 46, 300)
    hexagons = _hexagons(0.14, len(y), narrow)
    highest = np.maximum(y, x).max(axis=0)
    tops = {assay: max(highest[which].max() for a, _, which in groups if a == assay) for assay in assays}
    size = (width if narrow else columns * (side + 46) + 140, rows * (side + 52) + (90 if narrow else 34))
    with _figure(*size) as figure:
        axes = figure.subplots(rows, columns, squeeze=False)
        for ax in axes.flat:
            ax.set_visible(False)
        for i, (assay, cell, which) in enumerate(groups):
            ax = axes[divmod(i, columns)] if narrow else axes[assays.index(assay), cells.index(cell)]
            ax.set_visible(True)
            a, b = y[:, which].ravel(), x[:, which].ravel()
            top = max(float(tops[assay]), math.log1p(1.0)) * 1.04
            drawn = ax.hexbin(a, b, extent=(0, top, 0, top), **hexagons)
            ax.plot([0, top], [0, top], color=COLOURS["soft"], linewidth=1, linestyle="--", zorder=3)
            strands = " (both strands)" if len(which) > 1 and not narrow else ""
            r = float(pearson(a, b))
            ax.text(0.04, 0.96, f"r = {number(r, 2)}", transform=ax.transAxes, ha="left", va="top", zorder=4)
            title = _wrapped(f"{cell}, {assay}{strands}", side + 30)
            ax.set_title(title, fontsize=SMALL if narrow else 12)
            ax.set_box_aspect(1)
            ticks = _log_ticks(top, 4 if narrow else 6)
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_ticks([math.log1p(v) for v in ticks], [f"{v:,}" for v in ticks])
            ax.set(xlim=(-0.02 * top, top), ylim=(-0.02 * top, top))
        figure.supxlabel("measured", color=COLOURS["soft"], fontsize=12)
        figure.supylabel("predicted", color=COLOURS["soft"], fontsize=12)
        _hexagon_bar(figure, drawn, axes, "bins", narrow)
    return figure


def track_browser(
    measured: ArrayLike,
    predicted: ArrayLike,
    tracks: pl.DataFrame,
    *,
    chrom: str,
    start: int,
    bin_size: int,
    genes: GeneTrack | None = None,
    width: float = 1000,
) -> Figure:
    """Measured and predicted tracks along a stretch of a chromosome, with the genes under them.

    Bins are consecutive, of `bin_size` bp; the first begins at `start`, 0-based. Where they are more than points can be
    seen, neighbours are averaged. Each assay and cell type has two lanes with one scale: measured above, predicted
    below it. Of stranded tracks + goes up and - goes down. Heights are log(1 + value); the scale's number is the value
    itself. `genes` are of this chromosome.
    """
    from matplotlib.patches import Patch

    y, x = _checked(measured, predicted, tracks)
    narrow, n = width < 500, len(y)
    fold = math.ceil(n / (_POINTS_NARROW if narrow else _POINTS))
    y, x = np.log1p(_pooled(y, fold)), np.log1p(_pooled(x, fold))
    edges = start + bin_size * np.minimum(np.arange(len(y) + 1) * fold, n)
    place = (edges[:-1] + edges[1:]) / 2
    span = (float(edges[0]), float(edges[-1]))
    strands = tracks["strand"].to_list()
    groups = _groups(tracks)
    gene_rows = genes.rows(span, width) if genes is not None else []
    gene_lanes = 1 + max((row[-1] for row in gene_rows), default=-1)
    kinds = {"measured": "soft", "predicted": "main"}
    heights: list[float] = []
    for _, _, which in groups:
        lane = 44.0 if len(which) > 1 else 30.0
        heights += [lane, lane, 20.0 if narrow else 9.0]
    heights.append(10 + 21 * gene_lanes if gene_rows else 1.0)
    with _figure(width, sum(heights) + 78) as figure:
        layout: Any = figure.get_layout_engine()
        layout.set(h_pad=1.5 / 72, hspace=0.0)
        grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
        shared: Axes | None = None
        for i, (assay, cell, which) in enumerate(groups):
            reach = _reach(np.maximum(y, x), which, strands)
            for j, (values, (what, role)) in enumerate(zip((y, x), kinds.items())):
                ax = figure.add_subplot(grid[3 * i + j], sharex=shared)
                shared = shared or ax
                for k in which:
                    sign = -1 if strands[k] == "-" else 1
                    (area,) = ax.fill(*_outline(place, sign * values[:, k]), color=COLOURS[role], linewidth=0, zorder=2)
                    _tip(area, f"{tracks['track'][k]}, {what}")
                _lane(ax, reach, numbered=j == 0)
                if j == 0 and narrow:
                    ax.set_title(f"{cell}, {assay}", fontsize=SMALL, fontweight="normal", pad=2)
                elif j == 0:
                    ax.set_ylabel(f"{cell}\n{assay}", rotation=0, ha="right", va="center", fontsize=SMALL)
                    # left of the numbers, which take so many pixels at any width
                    ax.yaxis.set_label_coords(-_NUMBERS / (width - 150), -0.05)
        below = figure.add_subplot(grid[len(heights) - 1], sharex=shared)
        _genes_below(below, genes, gene_rows, gene_lanes)
        below.set_xlim(*span)
        _megabases(below, chrom.removeprefix("chr"), width)
        handles = [Patch(color=COLOURS[role], label=what, linewidth=0) for what, role in kinds.items()]
        figure.legend(handles=handles, loc="outside upper right", ncols=2, handlelength=1, columnspacing=1.4)
    return figure


def score_intervals(
    scores: pl.DataFrame, *, metric: str = "pearson_log", label: str | None = None, width: float = 1000
) -> Figure:
    """A metric of each track with its interval, models beside each other; `label` is the axis'.

    `scores` has the columns of `genopred.training.scores.TRACK_SCORE_SCHEMA`, and `model`; the first model is set off.
    """
    rows = scores.filter(pl.col("metric") == metric)
    if not rows.height:
        raise GenopredError(
            f"score_intervals: no rows of metric {metric!r}; the table has {', '.join(scores['metric'].unique())}."
        )
    tracks = rows["track"].unique(maintain_order=True).to_list()
    models = rows["model"].unique(maintain_order=True).to_list()
    step = min(0.26, 0.8 / len(models))
    with _figure(width, 82 + max(26, 13 * len(models) + 8) * len(tracks)) as figure:
        ax = figure.subplots()
        for m, model in enumerate(models):
            colour, size = COLOURS[_role(model, m)], 7 if m == 0 else 5.5
            of = rows.filter((pl.col("model") == model) & pl.col("estimate").is_not_null())
            for track, value, low, high in of.select("track", "estimate", "low", "high").iter_rows():
                at = tracks.index(track) + (m - (len(models) - 1) / 2) * step
                dot = _estimate(ax, at, value, low, high, colour=colour, size=size)
                _tip(dot, f"{model}, {track}: {number(value, 3)} {interval(low, high, 3)}".rstrip(" –"))
            ax.plot([], [], "o", color=colour, markersize=size, label=model)
        ax.set_yticks(range(len(tracks)), tracks)
        ax.set_ylim(len(tracks) - 0.5, -0.5)
        ax.set_xlabel(label or f"{metric}, 95 % interval over blocks")
        _zero_inside(ax)
        _named_rows(ax, 5 if width < 500 else 8)
        columns = _columns(models, width, len(models))
        figure.legend(loc="outside upper left", ncols=columns, handlelength=0.8, columnspacing=1.6)
    return figure


def _role(model: str, place: int) -> str:
    return "baseline" if model.lower().startswith("ridge") and place else _ROLES[min(place, len(_ROLES) - 1)]


def _checked(measured: ArrayLike, predicted: ArrayLike, tracks: pl.DataFrame) -> tuple[Floats, Floats]:
    """Both as arrays, negative values zero."""
    y, x = np.asarray(measured, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if y.ndim != 2 or y.shape != x.shape or y.shape[1:] != (tracks.height,) or not len(y):
        raise GenopredError(
            f"figures of tracks: measured {y.shape}, predicted {x.shape}, {tracks.height} tracks; needed (bins, "
            "tracks) twice, with at least one bin."
        )
    return np.maximum(y, 0), np.maximum(x, 0)


def _groups(tracks: pl.DataFrame) -> list[tuple[str, str, list[int]]]:
    """Assay, cell type and the tracks of both, assays first."""
    found: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(tracks.select(TRACK_COLUMNS).iter_rows(named=True)):
        found.setdefault((row["assay"], row["cell"]), []).append(i)
    assays = list(dict.fromkeys(assay for assay, _ in found))
    return [(assay, cell, which) for a in assays for (assay, cell), which in found.items() if assay == a]


def _pooled(values: Floats, fold: int) -> Floats:
    """Means of `fold` neighbours; the last one is of what is left."""
    if fold == 1:
        return values
    first = np.arange(0, len(values), fold)
    return np.add.reduceat(values, first, axis=0) / np.diff([*first, len(values)])[:, None]


def _log_ticks(top: float, most: int) -> list[int]:
    """Whole values whose log(1 + value) is at most `top`: 0, 1, 3, 10, 30 ...; tens only where they get too many."""
    for steps in ((1, 3), (1,)):
        ticks = [0] + [s * 10**k for k in range(10) for s in steps if math.log1p(s * 10**k) <= top]
        if len(ticks) <= most:
            return ticks
    return ticks[:1] + ticks[1:][:: math.ceil(len(ticks) / most)]


def _reach(height: Floats, which: Sequence[int], strands: Sequence[str]) -> tuple[float, float]:
    """How far a lane goes down and up: as far as its tracks do, but with room for a number where one is quiet."""
    down = [float(height[:, k].max()) for k in which if strands[k] == "-"]
    up = [float(height[:, k].max()) for k in which if strands[k] != "-"]
    top = max(*down, *up, math.log1p(1.0))
    return tuple(max(*side, 0.3 * top) if side else 0.0 for side in (down, up))  # type: ignore[return-value]


def _outline(place: Floats, value: Floats) -> tuple[Floats, Floats]:
    """The area between a line and zero, without points inside flat stretches: a page has many of these."""
    keep = np.ones(len(value), dtype=bool)
    keep[1:-1] = (value[1:-1] != value[:-2]) | (value[1:-1] != value[2:])
    x, y = place[keep], value[keep]
    return np.concatenate([x[:1], x, x[-1:]]), np.concatenate([[0.0], y, [0.0]])


def _lane(ax: Axes, reach: tuple[float, float], numbered: bool) -> None:
    """Axes of one lane: a base line, and one number of its scale in each direction."""
    down, up = reach
    pad = 0.08 * (down + up)
    ax.set_ylim(-down - pad if down else 0, up + pad if up else 0)
    ax.axhline(0, color=COLOURS["rule"], linewidth=0.8, zorder=1)
    for side in ("bottom", "left"):
        ax.spines[side].set_visible(False)
    ax.tick_params(axis="x", length=0, labelbottom=False)
    ticks = {}
    if numbered:
        # the mark says the strand, not that values were below zero
        for length, sign, mark in ((up, 1, "+" if down else ""), (down, -1, "\N{MINUS SIGN}")):
            if value := _log_ticks(length, 99)[-1]:
                ticks[sign * math.log1p(value)] = f"{mark}{value:,}"
        ax.tick_params(axis="y", labelsize=SMALL, length=3)
    ax.set_yticks(list(ticks), list(ticks.values()))
