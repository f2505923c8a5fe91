"""Figures of genes: what is drawn where, and that it becomes a titled SVG with words on hover."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from genopred.errors import GenopredError
from genopred.report import figures_genes as draw
from genopred.report.figures import COLOURS, save_figure, to_svg

RNG = np.random.default_rng(1)
N = 300
CELLS = ["liver", "brain", "blood"]
NAMES = [f"G{i}" for i in range(N)]
MEASURED = RNG.normal(size=(N, 1)) + 0.5 * RNG.normal(size=(N, 3))
PREDICTED = 0.6 * MEASURED + 0.4 * RNG.normal(size=(N, 3))
MEASURED[:20, 1] = np.nan
PANELS = {"level pearson": "Pearson r", "level r2": "R²", "between pearson": "r between cell types"}


def panels(figure):
    return [ax for ax in figure.axes if ax.get_visible()]


@pytest.mark.parametrize("width", [1000, 660, 340])
def test_density_has_a_panel_for_each_cell_and_counts_every_gene(width):
    figure = draw.gene_density(MEASURED, PREDICTED, CELLS, NAMES, unit="z", width=width)
    *shown, bar = panels(figure)
    assert [ax.get_title(loc="left") for ax in shown] == CELLS
    for c, ax in enumerate(shown):
        use = np.isfinite(MEASURED[:, c])
        assert ax.collections[0].get_array().sum() == use.sum()
        assert ax.texts[0].get_text() == f"r = {np.corrcoef(MEASURED[use, c], PREDICTED[use, c])[0, 1]:.2f}"
        assert ax.get_xlim() == ax.get_ylim() == shown[0].get_xlim()
    assert "genes" in bar.get_ylabel() + bar.get_xlabel()
    # the furthest gene is named
    worst = int(np.nanargmax(np.abs(PREDICTED - MEASURED)[:, 0]))
    svg = to_svg(figure, title="density")
    assert f"<title>G{worst}, liver: measured" in svg and COLOURS["worse"] in svg


def test_of_many_cell_types_those_from_the_best_to_the_worst_are_shown():
    noise = np.linspace(0.1, 3, 20)
    y = RNG.normal(size=(500, 1)) + np.zeros((1, 20))
    x = y + noise * RNG.normal(size=(500, 20))
    which = draw.shown_cells(y, x)
    assert len(which) == draw.MOST_PANELS and which[0] < 3 and which[-1] > 15
    assert draw.shown_cells(MEASURED, PREDICTED) == [0, 1, 2]


@pytest.mark.parametrize("width", [1000, 340])
def test_errors_are_counted_and_lie_on_the_lines(width):
    figure = draw.gene_errors(MEASURED, PREDICTED, width=width)
    histogram, level, relative, quantiles = figure.axes
    n = np.isfinite(MEASURED).sum()
    assert sum(bar.get_height() for bar in histogram.patches) == n
    spread, mean = np.nanstd(MEASURED, axis=0), np.nanmean(MEASURED, axis=0)
    use = np.isfinite(MEASURED)
    errors, at = ((PREDICTED - MEASURED) / spread)[use], ((MEASURED - mean) / spread)[use]
    lowest = np.argsort(at, kind="stable")[: len(at) // 10]
    assert level.lines[0].get_ydata()[0] == pytest.approx(np.median(errors[lowest]))
    curves = {line.get_label(): line for line in relative.lines}
    np.testing.assert_allclose(curves["the network"].get_xdata(), np.sort(np.abs(errors)))
    np.testing.assert_allclose(curves["the genes' mean"].get_xdata(), np.sort(np.abs(at)))
    assert max(curves["the network"].get_ydata()) == 1.0
    found = quantiles.lines[1].get_ydata()
    assert found[0] == pytest.approx(((errors - errors.mean()) / errors.std()).min())
    assert "half of the errors are below" in to_svg(figure, title="errors")


def scores(**models: float) -> pl.DataFrame:
    rows = [
        (model, what, cell, metric, r if what == "level" else None if model == "mean" else r / 3, r - 0.1, r + 0.1)
        for model, r in models.items()
        for what, metric in (("level", "pearson"), ("level", "r2"), ("between", "pearson"))
        for cell in (["brain"] if model == "xpresso" else [*CELLS, "mean over cell types"])
        if not (model == "xpresso" and what == "between")
    ]
    return pl.DataFrame(rows, schema=["model", "what", "cell", "metric", "estimate", "low", "high"], orient="row")


@pytest.mark.parametrize("width", [1000, 340])
def test_cell_types_have_intervals_and_rings_of_folds(width):
    folds = pl.DataFrame(
        [(str(k), "level", cell, "pearson", 0.4 + k / 10) for k in (1, 2) for cell in CELLS],
        schema=["fold", "what", "cell", "metric", "estimate"],
        orient="row",
    )
    figure = draw.cell_scores(scores(net=0.5), folds, PANELS, width=width)
    assert [ax.get_title(loc="left") for ax in figure.axes] == list(PANELS.values())
    first = figure.axes[0]
    assert [label.get_text() for label in first.get_yticklabels()] == [*CELLS, "mean over cell types"]
    rings = [line for line in first.lines if line.get_markerfacecolor() == "none"]
    assert sorted(line.get_xdata()[0] for line in rings) == [0.5] * 3 + [0.6000000000000001] * 3
    svg = to_svg(figure, title="cells")
    assert "<title>liver: 0.500 [0.400, 0.600]</title>" in svg and "<title>brain, fold 2: 0.600</title>" in svg


@pytest.mark.parametrize("width", [1000, 340])
def test_methods_are_in_order_with_differences_and_p(width):
    table = scores(net=0.6, ridge=0.5, mean=0.4, xpresso=0.3)
    differences = table.filter(pl.col("model") != "net").rename({"model": "against"})
    tests = pl.DataFrame(
        {
            "test": ["blocks-r", "t-cells"],
            "against": ["ridge"] * 2,
            "what": ["level"] * 2,
            "cell": ["mean over cell types"] * 2,
            "metric": ["pearson"] * 2,
            "p_holm": [0.031, 1e-9],
        }
    )
    figure = draw.methods_compared(table, differences, tests, "net", "mean over cell types", width=width)
    level, paired, between = figure.axes
    labels = [label.get_text().replace("\n", " ") for label in level.get_yticklabels()]
    assert labels == ["xpresso, brain", "mean", "ridge", "net"]
    assert [text.get_text() for text in paired.texts] == ["p 0.031"]  # and not that of the t test
    assert len([text for text in between.texts if text.get_text() == "\N{EN DASH}"]) == 2
    bold = {label.get_text() for label in level.get_yticklabels() if label.get_fontweight() == "bold"}
    assert bold == {"net"}
    assert "net: the reference" in to_svg(figure, title="methods")


def along(exons=True, kinds=("attention", "gradient × input")):
    edges = np.arange(-500, 101, 50)
    share = np.linspace(0.5, 2, 12)
    rows = [
        (kind, int(a), int(b), float(s), None if kind == "attention" else s - 0.1, s + 0.1)
        for kind in kinds
        for a, b, s in zip(edges[:-1], edges[1:], share)
    ]
    profile = pl.DataFrame(rows, schema=["kind", "start", "end", "share", "low", "high"], orient="row")
    inside = np.r_[np.zeros(10), 1, 0.5] if exons else None
    own = ((0, 30), (80, 400)) if exons else ()
    return draw.Along(profile, edges, np.full(12, 0.4), inside, "TEF", dict.fromkeys(kinds, share), own)


@pytest.mark.parametrize("width", [1000, 340])
def test_the_sequence_has_the_tss_what_lies_there_and_a_gene(width):
    figure = draw.sequence_profile(along(), width=width)
    top, below, one, own = figure.axes
    assert own.get_xlim() == (-500, 100)
    for ax in figure.axes:
        assert any(list(line.get_xdata()) == [0, 0] for line in ax.lines)  # the TSS
    assert len(top.collections) == 1  # attention has no interval here
    assert one.get_title(loc="left") == "One gene: TEF"
    assert "TSS" in [label.get_text() for label in own.get_xticklabels()]
    svg = to_svg(figure, title="sequence")
    assert "TEF: exon from TSS to +30 bp" in svg and "highest 2.0 times the average at +75 bp" in svg
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {
        *("attention", "gradient × input", "share of G and C", "genes with own exon")
    }


def test_the_sequence_without_a_gtf(tmp_path):
    figure = draw.sequence_profile(along(exons=False, kinds=("attention",)))
    assert len(figure.axes[3].lines) == 1
    assert save_figure(figure, tmp_path / "a.png").stat().st_size > 3000


def test_bad_input():
    with pytest.raises(GenopredError, match=r"measured \(300, 3\), predicted \(5, 3\)"):
        draw.gene_errors(MEASURED, PREDICTED[:5])
    with pytest.raises(GenopredError, match="at least one gene"):
        draw.gene_density(np.full((2, 1), np.nan), np.ones((2, 1)), ["a"], ["x", "y"])
    with pytest.raises(GenopredError, match="none of the scores"):
        draw.cell_scores(scores(net=0.5), None, {"level auc": "AUC"})
