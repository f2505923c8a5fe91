"""The picture of a training: its losses, and how well each track is predicted, epoch by epoch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from genopred.errors import GenopredError
from genopred.report.figures import COLOURS, SMALL, _columns, _figure, _tip, _wrapped
from genopred.report.tables import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Before the track's name in the columns of a history.
PREFIX = "pearson_"
_LINES = ("main", "learner", "pt", "worse", "other", "ink", "baseline")
#: More tracks than this are drawn in one colour, and named on hover only.
_NAMED = 12


def training_curves(
    history: pl.DataFrame, *, best: int | None = None, width: float = 900,
    loss_label: str = "Poisson loss (1: each track's mean)", score_label: str = "Pearson of log(1 + value)",
    score_title: str = "Correlation on validation windows",
) -> Figure:  # fmt: skip
    """Training and validation loss, and each track's correlation on validation windows.

    `history` has a row an epoch: epoch, train_loss, validation_loss, and `pearson_<track>` of each track. `best` is the
    row of the epoch that is kept, by default the one with the lowest validation loss. Under 600 pixels the two panels
    stand above one another.
    """
    missing = [name for name in ("epoch", "train_loss", "validation_loss") if name not in history.columns]
    if missing or not history.height:
        what = f"no column {', '.join(missing)}" if missing else "no epoch"
        raise GenopredError(f"history: {what}; needed the table that a training writes.")
    epochs = history["epoch"].to_numpy()
    validation = history["validation_loss"].to_numpy()
    best = int(np.nanargmin(validation)) if best is None else best
    tracks = [name for name in history.columns if name.startswith(PREFIX)]
    names = [name.removeprefix(PREFIX) for name in tracks]
    narrow, named = width < 600, len(tracks) <= _NAMED
    panel = width if narrow or not tracks else width / 2
    columns = _columns(names, panel - 40, 4)
    legend = 18 * math.ceil(len(names) / columns) + 12 if tracks and named else 0
    points: dict[str, Any] = {"marker": "o" if history.height < 40 else "", "markersize": 3}
    with _figure(width, (660 if narrow else 340) + legend) as figure:
        shape = (1, 1) if not tracks else (2, 1) if narrow else (1, 2)
        axes = figure.subplots(*shape, squeeze=False).ravel()
        loss = axes[0]
        for label, column, role in (("training", "train_loss", "baseline"), ("validation", "validation_loss", "main")):
            values = history[column].to_numpy()
            (line,) = loss.plot(epochs, values, color=COLOURS[role], label=label, **points)
            _tip(line, f"{label}: {number(values[best])} in epoch {epochs[best]}")
        loss.plot(epochs[best], validation[best], "o", color=COLOURS["main"], markersize=8, zorder=4)
        loss.set_title(_wrapped(f"Loss; best network: epoch {epochs[best]}", panel - 70))
        loss.set_ylabel(loss_label)
        loss.legend()
        if tracks:
            score = axes[1]
            points |= {"linewidth": 1.6, "alpha": 1} if named else {"linewidth": 0.9, "alpha": 0.6}
            for i, (track, name) in enumerate(zip(tracks, names)):
                colour = COLOURS[_LINES[i % len(_LINES)]] if named else COLOURS["main"]
                style = "-" if i < len(_LINES) or not named else "--"
                values = history[track].to_numpy().astype(float)
                (line,) = score.plot(epochs, values, style, color=colour, label=name, **points)
                _tip(line, f"{name}: {number(values[best], 3)} in epoch {epochs[best]}")
            score.axvline(epochs[best], color=COLOURS["rule"], linewidth=1, zorder=0)
            score.set_title(_wrapped(score_title, panel - 70))
            score.set_ylabel(score_label)
            if named:
                # under the panel, where it covers no line
                score.legend(fontsize=SMALL, ncols=columns, loc="upper left", bbox_to_anchor=(-0.05, -0.2))
        for ax in axes:
            ax.set_xlabel("epoch")
            ax.grid(axis="y", color=COLOURS["rule"], linewidth=0.8, zorder=0)
            ax.xaxis.get_major_locator().set_params(integer=True)
    return figure
