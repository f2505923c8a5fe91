"""Figures of tracks: what is drawn where, and that it becomes a titled SVG with words on hover."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from genopred.errors import GenopredError
from genopred.report import figures_tracks as draw
from genopred.report.figures import COLOURS, save_figure, to_svg
from genopred.report.locus import GeneTrack

RNG = np.random.default_rng(1)
N = 400
TRACKS = pl.DataFrame(
    [
        ("GM acc", "accessibility", "GM", "."),
        ("GM init +", "initiation", "GM", "+"),
        ("GM init -", "initiation", "GM", "-"),
        ("K5 acc", "accessibility", "K5", "."),
    ],
    schema=list(draw.TRACK_COLUMNS),
    orient="row",
)
MEASURED = RNG.poisson(RNG.gamma(0.3, 6, (N, 4))).astype(float)
PREDICTED = 0.5 * MEASURED + RNG.gamma(1, 1, (N, 4))
GENES = pl.DataFrame(
    {"gene_id": ["E1"], "gene_name": ["ALPHA"], "start": [1_010_000], "end": [1_020_000], "strand": ["-"]}
)
EXONS = pl.DataFrame({"gene_id": ["E1", "E1"], "start": [1_010_000, 1_019_000], "end": [1_011_000, 1_020_000]})


def shown(figure):
    return [ax for ax in figure.axes if ax.get_visible()]


@pytest.mark.parametrize("width", [1000, 340])
def test_density_has_a_panel_for_each_assay_and_cell_and_counts_every_bin(width):
    figure = draw.predicted_density(MEASURED, PREDICTED, TRACKS, width=width)
    *panels, bar = shown(figure)
    titles = [ax.get_title(loc="left") for ax in panels]
    both = " (both strands)" if width > 600 else ""
    assert sorted(titles) == sorted(["GM, accessibility", "K5, accessibility", f"GM, initiation{both}"])
    for ax, title in zip(panels, titles):
        cell, assay = title.replace(both, "").split(", ")
        which = [i for i, row in enumerate(TRACKS.rows()) if row[1:3] == (assay, cell)]
        y, x = np.log1p(MEASURED[:, which]).ravel(), np.log1p(PREDICTED[:, which]).ravel()
        assert ax.collections[0].get_array().sum() == N * len(which)
        assert ax.texts[0].get_text() == f"r = {np.corrcoef(y, x)[0, 1]:.2f}"
        assert ax.get_xlim() == ax.get_ylim() and ax.get_xlim()[1] >= max(y.max(), x.max())
        for place, label in zip(ax.get_xticks(), ax.get_xticklabels()):
            assert math.expm1(place) == pytest.approx(int(label.get_text().replace(",", "")))
    assert "bins" in bar.get_ylabel() + bar.get_xlabel()
    assert COLOURS["main"] in to_svg(figure, title="density")


def test_density_of_tracks_without_any_signal():
    figure = draw.predicted_density(np.zeros((5, 4)), -np.ones((5, 4)), TRACKS)
    assert all(ax.texts[0].get_text() == "r = \N{EN DASH}" for ax in shown(figure)[:-1])


@pytest.mark.parametrize("width", [1000, 340])
def test_browser_has_two_lanes_each_and_strands_mirrored(width):
    where = {"chrom": "chr22", "start": 1_000_000, "bin_size": 128}
    figure = draw.track_browser(MEASURED, PREDICTED, TRACKS, **where, genes=GeneTrack(GENES, EXONS), width=width)
    *lanes, genes = figure.axes
    assert len(lanes) == 6
    labels = [ax.get_ylabel().replace("\n", ", ") + ax.get_title(loc="left") for ax in lanes[::2]]
    assert labels == ["GM, accessibility", "K5, accessibility", "GM, initiation"]
    for measured, predicted in zip(lanes[::2], lanes[1::2]):
        assert measured.get_ylim() == predicted.get_ylim()  # one scale
        assert len(predicted.get_yticks()) == 0
    low, high = lanes[4].get_ylim()
    assert low < 0 < high and lanes[0].get_ylim()[0] == 0
    plus, minus = (patch.get_xy()[:, 1] for patch in lanes[4].patches)
    fold = math.ceil(N / 320) if width < 500 else 1
    assert plus.min() == 0 and plus.max() == pytest.approx(np.log1p(means(MEASURED[:, 1], fold)).max())
    assert minus.max() == 0 and minus.min() == pytest.approx(-np.log1p(means(MEASURED[:, 2], fold)).max())
    assert {label.get_text()[0] for label in lanes[4].get_yticklabels()} == {"+", "\N{MINUS SIGN}"}
    assert genes.get_xlim() == (1_000_000, 1_000_000 + 128 * N)
    assert [text.get_text() for text in genes.texts] == ["← ALPHA"]
    svg = to_svg(figure, title="browser")
    assert "<title>GM init -, predicted</title>" in svg and "chromosome 22" in svg


def means(values, fold):
    return np.array([values[i : i + fold].mean() for i in range(0, len(values), fold)])


def test_browser_draws_without_genes_and_with_one_strand(tmp_path):
    figure = draw.track_browser(
        MEASURED[:, [2]], PREDICTED[:, [2]], TRACKS[2:3], chrom="7", start=0, bin_size=64, width=340
    )
    assert figure.axes[0].get_ylim()[1] == 0 and figure.axes[0].get_ylim()[0] < 0
    assert save_figure(figure, tmp_path / "browser.png").stat().st_size > 3000


def test_flat_stretches_cost_no_points_and_lose_none():
    place, value = np.arange(10.0), np.array([0, 0, 0, 0, 3, 3, 3, 0, 0, 2.0])
    x, y = draw._outline(place, value)
    assert len(x) < 12 and y[0] == y[-1] == 0
    np.testing.assert_array_equal(np.interp(place, x[1:-1], y[1:-1]), value)


@pytest.mark.parametrize("fold", [1, 3, 4, 50])
def test_pooling_is_the_mean_of_neighbours(fold):
    np.testing.assert_allclose(draw._pooled(MEASURED[:, :1], fold)[:, 0], means(MEASURED[:, 0], fold))


def test_log_ticks():
    assert draw._log_ticks(math.log1p(40), 6) == [0, 1, 3, 10, 30]
    assert draw._log_ticks(math.log1p(2000), 5) == [0, 1, 10, 100, 1000]
    assert draw._log_ticks(0.2, 6) == [0]
    assert len(draw._log_ticks(math.log1p(1e7), 4)) <= 5


def scores() -> pl.DataFrame:
    rows = [
        (model, track, "a", "c", "pearson_log", value, None if value is None else value - 0.1, 0.9, 100, 5)
        for model, shift in (("net", 0.5), ("cnn", 0.3), ("ridge", 0.1))
        for track, value in (("t1", shift), ("t2", shift - 0.2), ("t3", None if model == "cnn" else 0.2))
    ]
    names = ["model", "track", "assay", "cell", "metric", "estimate", "low", "high", "n_bins", "n_blocks"]
    return pl.DataFrame(rows, schema=names, orient="row")


@pytest.mark.parametrize("width", [1000, 340])
def test_intervals_show_each_model_and_track(width):
    figure = draw.score_intervals(scores(), label="Pearson r", width=width)
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["t1", "t2", "t3"]
    dots = [line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1]
    assert len(dots) == 8  # one is not defined
    # the model evaluated is drawn first, the ridge in the baselines' colour
    by_model = {line.get_label(): line.get_color() for line in ax.lines if line.get_label() in ("net", "cnn", "ridge")}
    assert by_model == {"net": COLOURS["main"], "cnn": COLOURS["learner"], "ridge": COLOURS["baseline"]}
    assert "<title>net, t1: 0.500 [0.400, 0.900]</title>" in to_svg(figure, title="scores")
    assert ax.get_xlabel() == "Pearson r"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: draw.predicted_density(MEASURED, PREDICTED[:5], TRACKS), r"predicted \(5, 4\)"),
        (lambda: draw.predicted_density(MEASURED[:0], PREDICTED[:0], TRACKS), "at least one bin"),
        (lambda: draw.track_browser(MEASURED, PREDICTED, TRACKS[:2], chrom="1", start=0, bin_size=1), "2 tracks"),
        (lambda: draw.score_intervals(scores(), metric="auc"), "no rows of metric 'auc'; the table has pearson_log"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(GenopredError, match=words):
        call()
