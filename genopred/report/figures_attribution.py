"""Figures of attributions: along the sequence, as letters, beside known motifs; attention; variants between people.

Sizes are in CSS pixels, as in `figures`. Positions are 1-based.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from genopred.errors import GenopredError
from genopred.report.figures import COLOURS, SMALL, _figure, _shades, _tip, _wrapped
from genopred.report.figures_ism import BASES, _letters, _positions, _stacks
from genopred.report.locus import GeneTrack, _genes_below
from genopred.report.tables import number
from genopred.types import Motif

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

#: Pixels of a lane of contributions, of attention, and of one of elements.
_HIGH, _LOW, _FLAT = 74.0, 44.0, 24.0
#: Pixels of a letter at least.
_LETTER = 5.5
#: Variants that are named.
_NAMED, _NAMED_NARROW = 8, 3


@dataclass(frozen=True)
class Lane:
    """Values along the sequence."""

    label: str
    #: Where each value begins, ascending, and after the last; n + 1 of n values.
    edges: ArrayLike
    values: ArrayLike
    #: `contribution` (both signs), `attention`, or `element`.
    kind: str = "contribution"


def along_sequence(
    lanes: Sequence[Lane], *, chrom: str, start: int, end: int, tss: tuple[int, str] | None = None,
    genes: GeneTrack | None = None, marks: Sequence[tuple[int, int, str]] = (), width: float = 1000,
) -> Figure:  # fmt: skip
    """Contributions, attention and elements along a stretch, with the TSS and genes.

    Parameters
    ----------
    lanes : sequence of Lane
        From top to bottom.
    chrom, start, end
        The stretch; both ends inside.
    tss : (int, str), optional
        A gene's TSS and strand.
    genes : GeneTrack, optional
        Of this chromosome; drawn below, with their exons.
    marks : sequence of (start, end, name)
        Seqlets, pointed at above the first lane.
    """
    if not lanes:
        raise GenopredError("along_sequence: no lane; needed at least one.")
    narrow = width < 500
    span = (start - 0.5, end + 0.5)
    rows = genes.rows(span, width) if genes is not None else []
    deep = 1 + max((row[-1] for row in rows), default=-1)
    heights = [{"contribution": _HIGH, "attention": _LOW}.get(lane.kind, _FLAT) for lane in lanes]
    heights.append(8 + 22.0 * deep if rows else 1.0)
    with _figure(width, sum(heights) + 20.0 * len(lanes) + 92) as figure:
        layout: Any = figure.get_layout_engine()
        layout.set(h_pad=2 / 72, hspace=0.0)
        every = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        for lane, ax in zip(lanes, every):
            _lane(ax, lane, span, int(width - 90))
            # above the lane and not beside it: a long name would take the room from all lanes
            ax.set_title(_wrapped(lane.label, width - 60), fontsize=SMALL, fontweight="normal", pad=3)
            ax.tick_params(axis="x", length=0, labelbottom=False)
            if tss is not None and start <= tss[0] <= end:
                ax.axvline(tss[0], color=COLOURS["ink"], linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)
        _marks(every[0], marks)
        below = every[-1]
        _genes_below(below, genes, rows, deep)
        below.set_xlim(*span)
        if tss is not None and start <= tss[0] <= end:
            below.axvline(tss[0], color=COLOURS["ink"], linewidth=0.8, linestyle=(0, (3, 2)), zorder=0)
            arrow = "\N{RIGHTWARDS ARROW}" if tss[1] != "-" else "\N{LEFTWARDS ARROW}"
            side = tss[0] > (start + end) / 2
            every[0].annotate(
                f"TSS {arrow}", (tss[0], 1), xycoords=("data", "axes fraction"), xytext=(-4 if side else 4, -2),
                textcoords="offset points", ha="right" if side else "left", va="top", fontsize=SMALL,
            )  # fmt: skip
        _positions(below, chrom, 3 if narrow else 8)
    return figure


def _lane(ax: Axes, lane: Lane, span: tuple[float, float], pixels: int) -> None:
    edges, values = np.asarray(lane.edges, dtype=np.float64), np.asarray(lane.values, dtype=np.float64)
    if len(edges) != len(values) + 1 or not len(values):
        raise GenopredError(f"{lane.label}: {len(values)} values and {len(edges)} edges; needed one edge more.")
    values = np.nan_to_num(values)
    highs, lows = np.maximum(values, 0), np.minimum(values, 0)
    if len(values) > pixels:  # the extremes of the values that share a pixel
        cut = np.unique(np.linspace(0, len(values), pixels + 1).astype(np.int64)[:-1])
        highs, lows = np.maximum.reduceat(highs, cut), np.minimum.reduceat(lows, cut)
        edges = np.append(edges[cut], edges[-1])
    ax.spines["left"].set_visible(lane.kind != "element")
    role = {"contribution": "main", "attention": "other"}.get(lane.kind, "learner")
    how: dict[str, Any] = {"step": "post", "linewidth": 0, "zorder": 2}
    ax.fill_between(edges, np.append(highs, highs[-1]), color=COLOURS[role], **how)
    if lows.any():
        ax.fill_between(edges, np.append(lows, lows[-1]), color=COLOURS["worse"], **how)
    ax.axhline(0, color=COLOURS["soft"], linewidth=0.7, zorder=1)
    top = float(highs.max()) or (0.0 if lows.any() else 1.0)
    low = float(lows.min())
    reach = top - low
    ax.set_ylim(low - (0.04 * reach if low else 0), top + 0.12 * reach)
    if lane.kind == "element":
        ax.set_yticks([])
    else:
        ax.locator_params(axis="y", nbins=3)
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}"))
    ax.set_xlim(*span)


def _marks(ax: Axes, marks: Sequence[tuple[int, int, str]]) -> None:
    """Small triangles above a lane, with words on hover."""
    for a, b, name in marks:
        style: dict[str, Any] = {"color": COLOURS["pt"], "markersize": 5, "clip_on": False, "markeredgewidth": 0}
        (point,) = ax.plot([(a + b) / 2], [1.0], "v", transform=ax.get_xaxis_transform(), zorder=5, **style)
        _tip(point, name)


def contribution_logo(
    sequence: str, contributions: ArrayLike, *, chrom: str, start: int, title: str = "",
    spans: Sequence[tuple[int, int, str]] = (), width: float = 1000,
) -> Figure:  # fmt: skip
    """Letters as high as what each base contributes, down where it is negative; spans are named above them.

    `contributions` has a value a base of `sequence`, whose first base stands at `start`. What does not fit, with
    letters wide enough to be read, is left out on both sides.
    """
    heights = np.nan_to_num(np.asarray(contributions, dtype=np.float64))
    if len(heights) != len(sequence) or not sequence:
        raise GenopredError(f"contribution_logo: {len(sequence)} bases and {len(heights)} values; needed one each.")
    most = max(10, int((width - 70) / _LETTER))
    if len(sequence) > most:
        off = (len(sequence) - most) // 2
        sequence, heights, start = sequence[off : off + most], heights[off : off + most], start + off
    end = start + len(sequence) - 1
    with _figure(width, 190) as figure:
        ax = figure.subplots()
        low, high = min(0.0, float(heights.min())), max(0.0, float(heights.max()))
        reach = (high - low) or 1.0
        for i, (a, b, name) in enumerate(sorted(spans)):
            if b < start or a > end:
                continue
            a, b = max(a, start), min(b, end)
            ax.axvspan(a - 0.5, b + 0.5, color=COLOURS["pt"], alpha=0.16, linewidth=0, zorder=0)
            per = (end - start + 1) / (width - 70)
            half = 3.6 * len(name) * per
            middle = min(max((a + b) / 2, start + half), end - half)
            if name:
                text: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": SMALL, "annotation_clip": False}
                ax.annotate(name, (middle, high + (0.04 + 0.14 * (i % 2)) * reach), **text)
        _letters(ax, sequence, heights, start)
        ax.axhline(0, color=COLOURS["soft"], linewidth=0.8)
        ax.set_xlim(start - 0.5, end + 0.5)
        ax.set_ylim(low - 0.06 * reach, high + (0.36 if spans else 0.06) * reach)
        ax.set_ylabel("contribution")
        ax.locator_params(axis="y", nbins=4)
        _positions(ax, chrom, 3 if width < 500 else 8)
        if title:
            ax.set_title(_wrapped(title, width - 60))
    return figure


def motif_pair(
    seqlet: ArrayLike, motif: Motif, *, offset: int, strand: str, title: str = "", width: float = 320
) -> Figure:
    """A seqlet's bases above the motif that it looks most like, laid so as Tomtom lays them.

    Parameters
    ----------
    seqlet : array, shape (w, 4)
        What each base contributes, 0 for those that are not there.
    motif : Motif
    offset : int
        Where the motif, on `strand`, has the seqlet's first base.
    strand : {"+", "-"}
    """
    above = np.asarray(seqlet, dtype=np.float64)
    bits = motif.information if strand == "+" else motif.information[::-1, ::-1]
    first = min(0, -offset)
    last = max(len(above), len(bits) - offset)
    with _figure(width, 190) as figure:
        top, bottom = figure.subplots(2, 1, sharex=True)
        letters = "".join(BASES[i] for i in np.abs(above).argmax(axis=1).tolist())
        heights = above[np.arange(len(above)), [BASES.index(base) for base in letters]]
        _letters(top, letters, heights, 0)
        _stacks(bottom, bits, -offset)
        low, high = min(0.0, float(heights.min())), max(0.0, float(heights.max()))
        reach = (high - low) or 1.0
        top.set_ylim(low - 0.05 * reach, high + 0.05 * reach)
        bottom.set_ylim(0, 2.05)
        top.set_ylabel("seqlet")
        bottom.set_ylabel("bits")
        for ax in (top, bottom):
            ax.axhline(0, color=COLOURS["soft"], linewidth=0.8)
            ax.set_xlim(first - 0.6, last - 0.4)
            ax.tick_params(axis="x", length=0, labelbottom=False)
            ax.locator_params(axis="y", nbins=3)
        if title:
            top.set_title(_wrapped(title, width - 60), fontsize=SMALL)
    return figure


def attention_layers(
    maps: Mapping[str, ArrayLike], *, chrom: str, start: int, end: int, tss: int | None = None, width: float = 1000
) -> Figure:
    """Each layer's attention, mean over its heads: rows are where from, columns where to, dark where much.

    `maps` has (n, n) by the layer's name; both sides run from `start` to `end` of the chromosome.
    """
    if not maps:
        raise GenopredError("attention_layers: no layer; needed at least one.")
    columns = 1 if width < 500 else min(3, len(maps))
    rows = math.ceil(len(maps) / columns)
    side = min((width - 20) / columns - 90, 290)
    shades = _shades("other", 0, 32)
    with _figure(min(width, columns * (side + 100) + 20), rows * (side + 82)) as figure:
        every = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax in every:
            ax.set_visible(False)
        for ax, (name, weights) in zip(every, maps.items()):
            ax.set_visible(True)
            shown = np.asarray(weights, dtype=np.float64)
            # a few positions that all look at would leave the rest white
            top = float(np.quantile(shown, 0.995)) or float(shown.max()) or 1.0
            around = (start / 1000, end / 1000, end / 1000, start / 1000)
            ax.imshow(shown, cmap=shades, vmin=0, vmax=top, extent=around, aspect="auto", interpolation="nearest")
            if tss is not None:
                for line in (ax.axvline, ax.axhline):
                    line(tss / 1000, color=COLOURS["ink"], linewidth=0.7, linestyle=(0, (3, 2)))
            ax.set_title(f"{name}: 0 to {number(top, 3)}", fontsize=SMALL)
            ax.set_box_aspect(1)
            ax.locator_params(nbins=3)
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
            ax.set_xlabel(f"to, kb on {chrom}")
            ax.set_ylabel("from")
    return figure


def variant_contributions(
    variants: pl.DataFrame, *, tss: int | None = None, title: str = "", width: float = 1000
) -> Figure:
    """What each variant adds to the difference between two people: along the path (bars), and alone (rings).

    `variants` has pos, id, path and alone, a row a site of one difference.
    """
    if not variants.height:
        raise GenopredError("variant_contributions: no variant; needed at least one.")
    narrow = width < 500
    pos, path, alone = (variants[name].to_numpy().astype(np.float64) for name in ("pos", "path", "alone"))
    with _figure(width, 280) as figure:
        ax = figure.subplots()
        up = path >= 0
        for which, role in ((up, "main"), (~up, "worse")):
            if which.any():
                ax.vlines(pos[which], 0, path[which], color=COLOURS[role], linewidth=2.2, zorder=2)
        hollow: dict[str, Any] = {"markerfacecolor": "none", "markersize": 6, "linestyle": "none", "zorder": 3}
        ax.plot(pos, alone, "o", color=COLOURS["soft"], label="alone", **hollow)
        for x, y, name, by_itself in zip(pos, path, variants["id"].to_list(), alone):
            colour = COLOURS["main"] if y >= 0 else COLOURS["worse"]
            (dot,) = ax.plot(x, y, "o", color=colour, markersize=5, markeredgewidth=0, zorder=4)
            _tip(
                dot,
                f"{name}: {number(float(y), 3, sign=True)} on the path, {number(float(by_itself), 3, sign=True)} alone",
            )
        ax.axhline(0, color=COLOURS["soft"], linewidth=0.8)
        if tss is not None:
            ax.axvline(tss, color=COLOURS["ink"], linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)
            ax.annotate("TSS", (tss, 0.0), xycoords=("data", "axes fraction"), xytext=(4, 3),
                        textcoords="offset points", fontsize=SMALL)  # fmt: skip
        values = np.concatenate([path, alone, [0.0]])
        reach = float(np.ptp(values)) or 1.0
        ax.set_ylim(float(values.min()) - 0.14 * reach, float(values.max()) + 0.14 * reach)
        pad = 0.04 * max(float(np.ptp(pos)), 100.0)
        edges = [*pos.tolist(), *([float(tss)] if tss is not None else [])]
        ax.set_xlim(min(edges) - pad, max(edges) + pad)
        _names(ax, pos, path, variants["id"].to_list(), _NAMED_NARROW if narrow else _NAMED, width)
        ax.set_ylabel("of the difference")
        chroms = variants["chrom"].unique().to_list() if "chrom" in variants.columns else []
        _positions(ax, chroms[0] if len(chroms) == 1 else "the chromosome", 3 if narrow else 8)
        if title:
            ax.set_title(_wrapped(title, width - 60))
    return figure


def _names(ax: Axes, pos: Floats, path: Floats, names: Sequence[str], most: int, width: float) -> None:
    """The largest by name, where names do not lie on each other."""
    low, high = ax.get_xlim()
    per = (high - low) / (width - 80)
    taken: list[tuple[float, float, bool]] = []
    for i in np.argsort(-np.abs(path), kind="stable")[:most].tolist():
        half = (3.4 * len(names[i]) + 4) * per
        middle = min(max(float(pos[i]), low + half), high - half)
        up = bool(path[i] >= 0)
        if all(side != up or abs(middle - at) > half + other for at, other, side in taken):
            taken.append((middle, half, up))
            style: dict[str, Any] = {"ha": "center", "va": "bottom" if up else "top", "fontsize": SMALL}
            ax.annotate(names[i], (middle, path[i]), xytext=(0, 5 if up else -5), textcoords="offset points", **style)
