"""The picture of tuning on people: seen or unseen genes by seen or unseen people, each method's mean correlation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from genopred.report.figures import COLOURS, _figure, _tip, _wrapped
from genopred.report.tables import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROLES = {"tuned": "main", "untuned": "baseline", "elastic net": "learner"}


def two_by_two(cells: pl.DataFrame, *, width: float = 900) -> Figure:
    """Mean Pearson r within genes of each method in the four cells, with 95 % intervals over blocks of genes.

    `cells` has columns genes, people (`seen` or `unseen`), method, mean_r, low, high, n_genes. The panels are on one
    scale; under 600 pixels they stand above one another.
    """
    known = cells.filter(pl.col("mean_r").is_not_null())
    narrow = width < 600
    shape = (4, 1) if narrow else (2, 2)
    methods = known["method"].unique(maintain_order=True).to_list()
    low = min([0.0, *known["low"].to_list()]) - 0.02
    high = max([0.1, *known["high"].to_list()]) + 0.02
    with _figure(width, (60 + 30 * len(methods)) * shape[0] + 40) as figure:
        axes = figure.subplots(*shape, squeeze=False, sharex=True).ravel()
        places = [(genes, people) for genes in ("seen", "unseen") for people in ("seen", "unseen")]
        for ax, (genes, people) in zip(axes, places):
            cell = known.filter((pl.col("genes") == genes) & (pl.col("people") == people))
            for row in cell.iter_rows(named=True):
                at = len(methods) - 1 - methods.index(row["method"])
                colour = COLOURS[_ROLES.get(row["method"], "other")]
                ax.plot([row["low"], row["high"]], [at, at], color=colour, linewidth=3, solid_capstyle="round")
                (dot,) = ax.plot(row["mean_r"], at, "o", color=colour, markersize=8)
                _tip(dot, f"{row['method']}: mean r {number(row['mean_r'], 3, sign=True)}")
            ax.axvline(0, color=COLOURS["rule"], linewidth=1, zorder=0)
            ax.set_yticks(range(len(methods)), methods[::-1])
            ax.set_ylim(-0.6, len(methods) - 0.4)
            ax.set_xlim(low, high)
            n = int(cell["n_genes"][0]) if cell.height else 0
            ax.set_title(_wrapped(f"{genes} genes ({n}), {people} people", (width if narrow else width / 2) - 70))
        for ax in axes[-1:] if narrow else axes[-2:]:
            ax.set_xlabel("mean Pearson r within genes")
    return figure
