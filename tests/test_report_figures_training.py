"""The picture of a training."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from genopred.errors import GenopredError
from genopred.report.figures import save_figure, to_svg
from genopred.report.figures_training import training_curves


def history(epochs: int = 12, tracks: int = 4) -> pl.DataFrame:
    x = np.arange(epochs)
    table = {
        "epoch": x + 1,
        "step": 100 * (x + 1),
        "learning_rate": 1e-3 * np.cos(x / epochs),
        "train_loss": 0.6 + 0.4 * np.exp(-x / 4),
        "validation_loss": 0.7 + 0.3 * np.exp(-x / 3) + 0.004 * x,
    }
    table |= {f"pearson_track {i}": (0.3 + 0.05 * i) * (1 - np.exp(-(x + 1) / 3)) for i in range(tracks)}
    return pl.DataFrame(table).with_columns(seconds=pl.lit(1.0))


def test_losses_and_every_track_are_drawn():
    table = history()
    figure = training_curves(table)
    loss, score = figure.axes
    best = int(table["validation_loss"].arg_min())
    assert f"best network: epoch {best + 1}" in loss.get_title("left")
    np.testing.assert_allclose(loss.lines[0].get_ydata(), table["train_loss"])
    np.testing.assert_allclose(loss.lines[1].get_ydata(), table["validation_loss"])
    drawn = {line.get_label(): line.get_ydata() for line in score.lines if not line.get_label().startswith("_")}
    assert set(drawn) == {f"track {i}" for i in range(4)}
    for name, values in drawn.items():
        np.testing.assert_allclose(values, table[f"pearson_{name}"])
    svg = to_svg(figure, title="Training")
    assert "best network: epoch 3" in training_curves(table, best=2).axes[0].get_title("left")
    assert "track 3: " in svg and "validation: " in svg


@pytest.mark.parametrize(("epochs", "tracks", "width"), [(1, 1, 900), (100, 9, 900), (5, 30, 400), (3, 0, 900)])
def test_few_and_many(tmp_path, epochs, tracks, width):
    figure = training_curves(history(epochs, tracks), width=width)
    assert save_figure(figure, tmp_path / "curves.png").stat().st_size > 5000
    assert len(figure.axes) == (2 if tracks else 1)


def test_a_track_without_correlation_leaves_a_gap():
    table = history().with_columns(pl.lit(float("nan")).alias("pearson_track 1"))
    table = table.with_columns(pl.lit(None, dtype=pl.Float64).alias("pearson_track 2"))
    score = training_curves(table).axes[1]
    drawn = {line.get_label(): line.get_ydata() for line in score.lines if not line.get_label().startswith("_")}
    # named all the same, so that a legend of four says that two could not be scored
    assert list(drawn) == [f"track {i}" for i in range(4)]
    assert np.isnan(drawn["track 1"]).all() and np.isnan(drawn["track 2"]).all()
    np.testing.assert_allclose(drawn["track 0"], table["pearson_track 0"])
    # in single epochs it is a gap in the line
    some = history().with_columns(
        pl.when(pl.col("epoch") == 4).then(float("nan")).otherwise(pl.col("pearson_track 3")).alias("pearson_track 3")
    )
    (line,) = [line for line in training_curves(some).axes[1].lines if line.get_label() == "track 3"]
    assert np.flatnonzero(np.isnan(line.get_ydata())).tolist() == [3]


def test_what_is_no_history_is_refused():
    with pytest.raises(GenopredError, match="no epoch"):
        training_curves(history().clear())
    with pytest.raises(GenopredError, match="no column validation_loss"):
        training_curves(history().drop("validation_loss"))
