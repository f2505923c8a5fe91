"""Figures of SNPs along a chromosome and of two rankings of them. Sizes in CSS pixels, as in `figures`.

Arrays are of shape (M,), a value a SNP, and `ids` has the SNPs' names. Positions are 1-based.
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
from genopred.report.figures import COLOURS, SMALL, _columns, _figure, _tip
from genopred.report.tables import number, p_value
from genopred.types import plain_chrom

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: r² with the lead, from low to high, and the colour role of each bin.
LD_BINS = ((0.2, "baseline"), (0.4, "learner"), (0.6, "main"), (0.8, "pt"), (1.01, "worse"))

#: Membership: neither, first, second, both.
SET_ROLES = ("baseline", "learner", "pt", "worse")

Floats = NDArray[np.float64]
#: Two sets of SNPs: of each its name and who is in it, an array of bool, shape (M,).
TwoSets = tuple[tuple[str, ArrayLike], tuple[str, ArrayLike]]

#: Pixels between a panel and its title, for a legend of two lines that covers no point.
_LEGEND = 42

#: Points of a bin of LD with words of their own on hover; more would only add to the page's size.
_TIPS = 80

#: A gene to be drawn: id, name, start, end, strand, place of the name, lane.
GeneRow = tuple[str, str, int, int, str, float, int]


@dataclass(frozen=True)
class GeneTrack:
    """Genes to be drawn along a chromosome, under what lies there."""

    #: `gene_id`, `gene_name`, `start`, `end`, `strand` (`genopred.io.annotation.read_gtf`).
    genes: pl.DataFrame
    #: `gene_id`, `start`, `end` of the same genes.
    exons: pl.DataFrame | None = None

    def within(self, chrom: str, start: int, end: int) -> GeneTrack:
        """Those that touch a 0-based stretch; both tables need `chrom`."""

        def here(table: pl.DataFrame) -> pl.DataFrame:
            names = [name for name in table["chrom"].unique().to_list() if plain_chrom(name) == plain_chrom(chrom)]
            return table.filter(pl.col("chrom").is_in(names) & (pl.col("end") > start) & (pl.col("start") <= end))

        return GeneTrack(here(self.genes), None if self.exons is None else here(self.exons))

    def rows(self, span: tuple[float, float], width: float) -> list[GeneRow]:
        """Genes in the span, in lanes in which no names collide."""
        here = self.genes.filter((pl.col("end") >= span[0]) & (pl.col("start") <= span[1]))
        if "gene_type" in here.columns and here.height > 12:
            here = here.filter(pl.col("gene_type") == "protein_coding")
        most = 14 if width < 500 else 60
        if here.height > most:  # longest first
            here = here.sort(pl.col("end") - pl.col("start"), descending=True).head(most)
        per_letter = (span[1] - span[0]) / (width - 130) * 7.6
        ends = [-math.inf] * 6
        out = []
        for row in here.sort("start").iter_rows(named=True):
            name = row.get("gene_name") or row["gene_id"]
            start, end = max(row["start"], span[0]), min(row["end"], span[1])
            half = per_letter * (len(name) + 2) / 2
            middle = min(max((start + end) / 2, span[0] + half), span[1] - half)
            left, right = min(start, middle - half), max(end, middle + half)
            lane = next((i for i, edge in enumerate(ends) if edge < left), None)
            if lane is not None:
                ends[lane] = right
                out.append((row["gene_id"], name, row["start"], row["end"], row["strand"] or "+", middle, lane))
        return out

    def draw(self, ax: Axes, rows: Sequence[GeneRow], lanes: int) -> None:
        """Draw rows into so many lanes."""
        from matplotlib.collections import LineCollection

        style: dict[str, Any] = {"color": COLOURS["soft"], "linewidth": 1.6, "solid_capstyle": "butt", "zorder": 1}
        for gene_id, name, start, end, strand, middle, lane in rows:
            y = -lane
            (line,) = ax.plot([start, end], [y, y], **style)
            _tip(line, f"{name} ({gene_id}), {strand}: {start:,} to {end:,}")
            if self.exons is not None:
                of = self.exons.filter(pl.col("gene_id") == gene_id).select("start", "end").unique(maintain_order=True)
                segments = [[(a, y), (max(b, a + 1), y)] for a, b in of.iter_rows()]
                if segments:
                    ax.add_collection(LineCollection(segments, colors=COLOURS["learner"], linewidths=6, zorder=2))
            words = f"{name} \N{RIGHTWARDS ARROW}" if strand == "+" else f"\N{LEFTWARDS ARROW} {name}"
            ax.text(middle, y + 0.22, words, ha="center", va="bottom", fontsize=SMALL, clip_on=True)
        ax.set_ylim(-lanes + 0.6, 1.0)
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)


def _genes_below(ax: Axes, genes: GeneTrack | None, rows: Sequence[GeneRow], lanes: int) -> None:
    """The lowest axes of a stretch: genes where there are any, else nothing but the positions."""
    if genes is not None and rows:
        genes.draw(ax, rows, lanes)
    else:
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)


def locus_plot(
    pos: ArrayLike,
    y: ArrayLike,
    *,
    ids: Sequence[str],
    ld: ArrayLike | None = None,
    sets: TwoSets | None = None,
    lead: int | None = None,
    genes: GeneTrack | None = None,
    chrom: str = "",
    ylabel: str = "\N{MINUS SIGN}log10 p",
    width: float = 1000,
) -> Figure:
    """SNPs by position, coloured by LD with the lead SNP or by membership in two sets, genes underneath.

    `y` is usually -log10 p. `ld` is r² with the lead SNP, NaN where unknown; of `sets` neither, first, second and both
    have colours. `lead` is the row of the SNP to mark with a diamond, by default the highest. `genes` are of this
    chromosome.
    """
    x, value = np.asarray(pos, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if not len(x) or x.shape != value.shape or len(ids) != len(x):
        raise GenopredError(f"locus_plot: {len(x)} positions, {len(value)} values, {len(ids)} ids; one each a SNP.")
    top = int(np.argmax(value)) if lead is None else lead
    left, right = float(x.min()), float(x.max())
    pad = 0.02 * max(right - left, 1000)
    span = (left - pad, right + pad)
    rows = genes.rows(span, width) if genes is not None else []
    lanes = 1 + max((row for *_, row in rows), default=-1)
    track = 18 + 24 * lanes
    height = (300 if width < 500 else 340) + (track if rows else 0)
    with _figure(width, height) as figure:
        if genes is not None and rows:
            ax, below = figure.subplots(2, 1, sharex=True, height_ratios=[height - track, track])
            genes.draw(below, rows, lanes)
            ax.tick_params(axis="x", length=0, labelbottom=False)
        else:
            ax = below = figure.subplots()
        if ld is not None:
            _by_ld(ax, x, value, np.asarray(ld, dtype=np.float64), ids)
        elif sets is not None:
            _by_set(ax, x, value, sets, ids)
        else:
            _points(ax, x, value, np.ones(len(x), dtype=bool), "learner", ids)
        at, inks = (x[top], value[top]), {"color": COLOURS["other"], "markeredgecolor": COLOURS["ink"]}
        (mark,) = ax.plot(*at, "D", markersize=8, zorder=6, **inks)
        _tip(mark, f"{ids[top]}: {int(x[top]):,}, {number(value[top], 2)}")
        away, side = (-9, "right") if x[top] > (left + right) / 2 else (9, "left")
        ax.annotate(ids[top], at, (away, 1), textcoords="offset points", ha=side, va="center", fontsize=SMALL)
        ax.set_xlim(*span)
        ax.set_ylim(min(0.0, float(value.min())), float(value.max()) * 1.1 or 1.0)
        ax.set_ylabel(ylabel)
        _megabases(below, chrom, width)
        _legend(figure, ax, width)
    return figure


def _legend(figure: Figure, ax: Axes, width: float) -> None:
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        how: dict[str, Any] = {"loc": "outside upper right", "handletextpad": 0.3, "columnspacing": 1.2}
        figure.legend(handles, labels, ncols=_columns(labels, width, 6), **how)


def _megabases(ax: Axes, chrom: str, width: float) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(4 if width < 500 else 8, steps=[1, 2, 5, 10]))
    low, high = ax.get_xlim()
    digits = max(0, math.ceil(6.7 - math.log10(high - low)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e6:.{digits}f}"))
    ax.set_xlabel(f"position on chromosome {chrom} (Mb)" if chrom else "position (Mb)")


def _points(
    ax: Axes,
    x: Floats,
    y: Floats,
    which: NDArray[np.bool_],
    role: str,
    ids: Sequence[str],
    label: str | None = None,
    tips: int = 0,
    size: float = 5.0,
    extra: Sequence[str] | None = None,
) -> None:
    """Dots of one colour; the `tips` highest of them have words of their own."""
    rows = np.flatnonzero(which)
    named = np.sort(rows[np.argsort(-y[rows], kind="stable")][:tips])
    plain = np.setdiff1d(rows, named)
    style: dict[str, Any] = {"color": COLOURS[role], "markeredgewidth": 0, "linestyle": "none", "marker": "o"}
    style |= {"markersize": size, "alpha": 0.55 if role == "baseline" else 0.85}
    style["zorder"] = 2 + SET_ROLES.index(role) / 4 if role in SET_ROLES else 3
    ax.plot(x[plain], y[plain], label=label, **style)
    for i in named.tolist():
        (dot,) = ax.plot(x[i], y[i], **style)
        _tip(dot, f"{ids[i]}: {extra[i] if extra is not None else f'{int(x[i]):,}, {number(float(y[i]), 2)}'}")


def _by_ld(ax: Axes, x: Floats, y: Floats, ld: Floats, ids: Sequence[str]) -> None:
    below = 0.0
    for limit, role in LD_BINS:
        which = (ld >= below) & (ld < limit)
        if below == 0:
            which |= ~np.isfinite(ld)
        words = f"r² ≥ {below:g}" if limit > 1 else f"r² < {limit:g}"
        _points(ax, x, y, which, role, ids, words, _TIPS)
        below = limit


def _by_set(
    ax: Axes, x: Floats, y: Floats, sets: TwoSets, ids: Sequence[str], extra: Sequence[str] | None = None
) -> None:
    (a, in_a), (b, in_b) = sets
    first, second = np.asarray(in_a, dtype=bool), np.asarray(in_b, dtype=bool)
    groups = (~first & ~second, first & ~second, second & ~first, first & second)
    for which, role, words in zip(groups, SET_ROLES, ("neither", f"{a} only", f"{b} only", "both")):
        if which.any():
            label = f"{words} ({int(which.sum()):,})"
            tips, size = (40, 4.5) if role == "baseline" else (120, 6.5)
            _points(ax, x, y, which, role, ids, label, tips, size, extra)


def effect_against_p(
    effect: ArrayLike,
    neglog: ArrayLike,
    *,
    ids: Sequence[str],
    sets: TwoSets,
    xlabel: str = "|effect|",
    ylabel: str = "\N{MINUS SIGN}log10 p",
    width: float = 520,
) -> Figure:
    """A model's effects against -log10 p, one point a SNP, coloured by membership in the two top sets."""
    x, y = np.asarray(effect, dtype=np.float64), np.asarray(neglog, dtype=np.float64)
    words = [f"effect {number(a, 3)}, p {p_value(10.0**-b)}" for a, b in zip(x.tolist(), y.tolist())]
    with _figure(width, min(width, 440) * 0.95) as figure:
        ax = figure.subplots()
        _by_set(ax, x, y, sets, ids, words)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        ax.set_ylim(bottom=min(0.0, float(y.min())))
        _legend(figure, ax, width)
    return figure


def overlap_figure(
    k: ArrayLike,
    observed: ArrayLike,
    bands: Mapping[str, tuple[ArrayLike, ArrayLike, ArrayLike]],
    *,
    marks: Sequence[int] = (),
    total: int | None = None,
    width: float = 640,
) -> Figure:
    """Overlap of two rankings at every k, with the null's mean and 95 % band.

    `bands` has mean, low and high, shape (P,) as `k` and `observed`, by the null's name: the last one is filled, of the
    others the edges are dashed lines. `marks` are values of k to mark; `total` is SNPs in all, where the curves end.
    """
    where, seen = np.asarray(k, dtype=np.int64), np.asarray(observed, dtype=np.float64)
    if not len(where) or where.shape != seen.shape:
        raise GenopredError(f"overlap_figure: {len(where)} values of k and {len(seen)} overlaps; one each is needed.")
    narrow = width < 500
    nulls = {name: np.asarray(band, dtype=np.float64) for name, band in bands.items()}
    last = list(nulls)[-1] if nulls else None
    mean = np.zeros(len(where)) if last is None else nulls[last][0]
    few, every = where <= max([10, *(3 * m for m in marks)]), np.ones(len(where), dtype=bool)
    # Over all k the curve hides its own deviations: there the null's mean is taken off.
    whole = f"all {total:,}, less the null's mean" if total else "all, less the null's mean"
    views = (("the first few", few, 0 * mean), (whole, every, mean))
    with _figure(width, 330 if narrow else 360) as figure:
        both = figure.subplots(1, 1 if narrow else 2, squeeze=False)[0]
        for ax, (title, part, off) in zip(both, views):
            x = where[part]
            for name, band in nulls.items():
                middle, low, high = (band - off)[:, part]
                if name == last:
                    shade = {"color": COLOURS["baseline"], "alpha": 0.3, "linewidth": 0}
                    ax.fill_between(x, low, high, label=f"95 % of {name}", **shade)
                    ax.plot(x, middle, color=COLOURS["baseline"], linewidth=1.5, label="its mean")
                else:
                    edge = {"color": COLOURS["learner"], "linewidth": 1, "linestyle": (0, (3, 2))}
                    ax.plot(x, high, label=f"95 % of {name}", **edge)
                    ax.plot(x, low, **edge)
            ax.plot(x, (seen - off)[part], color=COLOURS["worse"], linewidth=2, label="observed", zorder=4)
            for at in (i for mark in marks for i in np.flatnonzero((where == mark) & part)):
                (dot,) = ax.plot(where[at], (seen - off)[at], "o", color=COLOURS["worse"], markersize=8, zorder=5)
                _tip(dot, f"k = {where[at]}: {int(seen[at])} shared, null {number(float(mean[at]), 1)}")
            ax.set(xlabel="k: SNPs taken from the top of each ranking", ylabel="SNPs in both", title=title)
            ax.set_xlim(left=0)
            if not off.any():
                ax.set_ylim(bottom=0)
            ax.locator_params(axis="x", nbins=5)
        handles, labels = both[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=_columns(labels, width, 5), columnspacing=1.4)
    return figure


def founding_panels(
    pos: ArrayLike,
    neglog: ArrayLike,
    effect: ArrayLike,
    score: ArrayLike,
    *,
    ids: Sequence[str],
    k: int,
    chrom: str = "",
    width: float = 1000,
) -> Figure:
    """The founding study's four views of a locus: eQTL, model, their sum, and model against eQTL.

    `neglog` is -log10 p, `effect` |effect|, `score` the sum of both after min-max normalisation. The top `k` of the
    eQTL p-values and of the sum are coloured, so that it can be seen where the overlap comes from.
    """
    x, p, e, s = (np.asarray(v, dtype=np.float64) for v in (pos, neglog, effect, score))
    if len({len(x), len(p), len(e), len(s), len(ids)}) != 1 or not len(x):
        raise GenopredError("founding_panels: position, -log10 p, effect, score and id are needed for each SNP.")
    top_p, top_e, top_s = (np.isin(np.arange(len(v)), np.argsort(-v, kind="stable")[:k]) for v in (p, e, s))
    narrow = width < 500
    minus = "\N{MINUS SIGN}log10 p"
    shared, built = int(np.sum(top_e & top_p)), int(np.sum(top_s & top_p))
    by_sum, by_effect = ("top by sum", top_s), ("top by |effect|", top_e)
    views = (
        (x, p, "A  eQTL", minus, by_sum),
        (x, e, "B  model", "|effect|", by_sum),
        (x, s, f"C  sum of both: {built} of {k} shared (circular)", "score", by_sum),
        (e, p, f"D  model against eQTL: {shared} of {k} shared", minus, by_effect),
    )
    with _figure(width, 1280 if narrow else 700) as figure:
        axes = figure.subplots(4, 1) if narrow else figure.subplots(2, 2).ravel()
        for ax, (across, up, title, ylabel, top) in zip(axes, views):
            _by_set(ax, across, up, (top, ("top by p", top_p)), ids)
            ax.set_title(title, pad=_LEGEND)
            ax.set_ylabel(ylabel)
            ax.set_ylim(bottom=min(0.0, float(up.min())))
            if across is e:
                ax.set_xlabel("|effect|")
            else:
                _megabases(ax, chrom, width / (1 if narrow else 2))
            tight: dict[str, Any] = {"handlelength": 1, "handletextpad": 0.3, "columnspacing": 0.8, "borderaxespad": 0}
            ax.legend(fontsize=SMALL, ncols=2, loc="lower left", bbox_to_anchor=(0, 1.0), **tight)
    return figure


def precision_recall_figure(
    recall: ArrayLike, precision: ArrayLike, base: float, *, name: str = "", width: float = 420
) -> Figure:
    """Precision against recall of a set called `name`, with the precision of a score that knows nothing.

    That is `base`, the share of members among all SNPs.
    """
    with _figure(width, width * 0.8) as figure:
        ax = figure.subplots()
        ax.step(np.asarray(recall), np.asarray(precision), where="post", color=COLOURS["main"], linewidth=2)
        ax.axhline(base, color=COLOURS["soft"], linewidth=1, linestyle=(0, (4, 3)))
        text: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "va": "top", "fontsize": SMALL}
        ax.annotate("share of members", (1, base), (0, -5), **text)
        top = max(0.05, min(1.0, 1.15 * float(np.max(np.asarray(precision), initial=base))))
        ax.set(xlabel=f"recall of {name}" if name else "recall", ylabel="precision", xlim=(0, 1), ylim=(0, top))
    return figure
