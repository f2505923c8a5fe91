"""The picture of a training: its losses, and how well each track is predicted, epoch by epoch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from genopred.errors import GenopredError
from genopred.report.figures import COLOURS, SMALL, _columns, _figure, _style, _tip, _wrapped
from genopred.report.tables import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Before the track's name in the columns of a history.
PREFIX = "pearson_"
_LINES = ("main", "learner", "pt", "worse", "other", "ink", "baseline")
#: More tracks than this are drawn in one colour, and named on hover only.
_NAMED = 12


def training_curves(history: pl.DataFrame, *, best: int | None = None, width: float = 900) -> Figure:
    """Training and validation loss, and each track's correlation on validation windows.

    Parameters
    ----------
    history : polars.DataFrame
        A row an epoch: epoch, train_loss, validation_loss, and `pearson_<track>` of each track.
    best : int, optional
        Row of the epoch that is kept; the one with the lowest validation loss by default.
    width : float
        In pixels; under 600 the two panels stand above one another.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    GenopredError
        If there is no epoch, or a column is missing.
    """
    missing = [name for name in ("epoch", "train_loss", "validation_loss") if name not in history.columns]
    if missing or not history.height:
        what = f"no column {', '.join(missing)}" if missing else "no epoch"
        raise GenopredError(f"history: {what}; needed the table that a training writes.")
    epochs = history["epoch"].to_numpy()
    validation = history["validation_loss"].to_numpy()
    best = int(np.nanargmin(validation)) if best is None else best
    tracks = [name for name in history.columns if name.startswith(PREFIX)]
    narrow, few = width < 600, history.height < 40
    with _style():
        names = [name[len(PREFIX) :] for name in tracks]
        panel = width if narrow or not tracks else width / 2
        columns = _columns(names, panel - 40, 4)
        legend = 18 * math.ceil(len(names) / columns) + 12 if names and len(names) <= _NAMED else 0
        figure = _figure(width, (660 if narrow else 340) + legend)
        if tracks:
            loss, score = figure.subplots(2, 1) if narrow else figure.subplots(1, 2)
        else:
            loss, score = figure.subplots(), None
        marker = "o" if few else ""
        for name, colour, label in (
            ("train_loss", COLOURS["baseline"], "training"),
            ("validation_loss", COLOURS["main"], "validation"),
        ):
            (line,) = loss.plot(
                epochs, history[name].to_numpy(), color=colour, marker=marker, markersize=3, label=label
            )
            _tip(line, f"{label}: {number(history[name][best])} in epoch {epochs[best]}")
        loss.plot(epochs[best], validation[best], "o", color=COLOURS["main"], markersize=8, zorder=4)
        loss.set_title(_wrapped(f"Loss; best network: epoch {epochs[best]}", panel - 70))
        loss.set_ylabel("Poisson loss (1: each track's mean)")
        loss.legend()
        if score is not None:
            for i, name in enumerate(tracks):
                named = len(tracks) <= _NAMED
                colour = COLOURS[_LINES[i % len(_LINES)]] if named else COLOURS["main"]
                style = "-" if i < len(_LINES) or not named else "--"
                values = history[name].to_numpy().astype(float)
                (line,) = score.plot(
                    epochs,
                    values,
                    style,
                    color=colour,
                    marker=marker,
                    markersize=3,
                    linewidth=1.6 if named else 0.9,
                    alpha=1 if named else 0.6,
                    label=name[len(PREFIX) :],
                )
                _tip(line, f"{name[len(PREFIX) :]}: {number(values[best], 3)} in epoch {epochs[best]}")
            score.axvline(epochs[best], color=COLOURS["rule"], linewidth=1, zorder=0)
            score.set_title(_wrapped("Correlation on validation windows", panel - 70))
            score.set_ylabel("Pearson of log(1 + value)")
            if len(tracks) <= _NAMED:
                # under the panel, where it covers no line
                score.legend(fontsize=SMALL, ncols=columns, loc="upper left", bbox_to_anchor=(-0.05, -0.2))
        for ax in (loss, score):
            if ax is not None:
                ax.set_xlabel("epoch")
                ax.grid(axis="y", color=COLOURS["rule"], linewidth=0.8, zorder=0)
                ax.xaxis.get_major_locator().set_params(integer=True)
    return figure
