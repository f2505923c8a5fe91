"""Q-Q and Manhattan plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from genopred.report.figures import COLOURS, _figure, _tip
from genopred.report.tables import p_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MINUS_LOG = "\N{MINUS SIGN}log10 p"

#: Points that get words on hover: more would only make a page heavy.
_TIPS = 60


def qq(pval: ArrayLike, *, title: str = "", width: float = 340) -> Figure:
    """Observed against expected p-values, with the 95 % band of no association.

    Parameters
    ----------
    pval : array, shape (G,)
    title : str
    width : float
        CSS pixels.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from scipy.stats import beta

    p = np.sort(np.clip(np.asarray(pval, dtype=np.float64), 1e-300, 1.0))
    n = len(p)
    rank = np.arange(1, n + 1)
    expected = -np.log10((rank - 0.5) / n)
    low, high = (-np.log10(beta.ppf(q, rank, n - rank + 1)) for q in (0.975, 0.025))
    with _figure(width, width) as figure:
        ax = figure.subplots()
        ax.fill_between(expected, low, high, color=COLOURS["rule"], linewidth=0, label="95 % without association")
        ax.plot([0, expected[0]], [0, expected[0]], color=COLOURS["soft"], linewidth=1)
        ax.scatter(expected, -np.log10(p), s=14, color=COLOURS["main"], linewidth=0, zorder=3)
        ax.set_xlabel(f"expected {_MINUS_LOG}")
        ax.set_ylabel(f"observed {_MINUS_LOG}")
        ax.set_xlim(left=0)
        ax.set_ylim(bottom=0)
        ax.legend(loc="upper left")
        ax.set_title(title)
    return figure


def manhattan(
    chrom: Sequence[str],
    pos: ArrayLike,
    pval: ArrayLike,
    names: Sequence[str],
    *,
    threshold: float | None = None,
    title: str = "",
    width: float = 1000,
) -> Figure:
    """-log10 p of genes along the genome.

    Parameters
    ----------
    chrom : sequence of str, length G
        In the order in which chromosomes are drawn.
    pos : array, shape (G,)
        TSS.
    pval : array, shape (G,)
    names : sequence of str, length G
        Written beside the strongest that pass the threshold.
    threshold : float, optional
        The largest p that passes, drawn as a line.
    title : str
    width : float
        CSS pixels.

    Returns
    -------
    matplotlib.figure.Figure
    """
    at = np.asarray(pos, dtype=np.float64)
    p = np.clip(np.asarray(pval, dtype=np.float64), 1e-300, 1.0)
    height = -np.log10(p)
    order = list(dict.fromkeys(chrom))
    which = np.array([order.index(name) for name in chrom])
    x, ticks, end = np.empty(len(at)), [], 0.0
    for k in range(len(order)):
        mine = which == k
        start, span = at[mine].min(), max(float(np.ptp(at[mine])), 1.0)
        x[mine] = end + at[mine] - start
        ticks.append(end + span / 2)
        end += span * 1.02 + 1
    with _figure(width, 320) as figure:
        ax = figure.subplots()
        ax.scatter(x, height, s=16, color=[COLOURS["main" if k % 2 == 0 else "learner"] for k in which], linewidth=0)
        strong = np.argsort(p, kind="stable")
        for i in strong[:_TIPS]:
            _tip(ax.scatter(x[i], height[i], s=60, alpha=0.0), f"{names[i]}, p {p_value(p[i])}")
        if threshold is not None:
            ax.axhline(-np.log10(threshold), color=COLOURS["worse"], linewidth=1, linestyle="--", label="FDR 5 %")
            ax.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
            for i in [i for i in strong if p[i] <= threshold][: max(2, int(width // 160))]:
                ax.annotate(names[i], (x[i], height[i]), xytext=(4, 4), textcoords="offset points", fontsize=11)
        if len(order) == 1:
            ax.set_xlabel(f"chromosome {order[0]}, Mb")
            marks = np.linspace(0, np.ptp(at) or 1, 5)
            ax.set_xticks(marks, [f"{round((at.min() + mark) / 1e6, 1):g}" for mark in marks])
        else:
            ax.set_xlabel("chromosome")
            ax.set_xticks(ticks, order, rotation=90 if width < 500 else 0)
        ax.set_ylabel(_MINUS_LOG)
        ax.set_ylim(0, float(height.max()) * 1.12 + 0.1)
        ax.set_title(title)
    return figure
