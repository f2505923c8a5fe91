"""genopred.report.figures_attribution."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from genopred.errors import GenopredError
from genopred.report.figures import save_figure
from genopred.report.figures_attribution import (
    Lane,
    along_sequence,
    attention_layers,
    contribution_logo,
    motif_pair,
    variant_contributions,
)
from genopred.report.locus import GeneTrack
from genopred.types import Motif

RNG = np.random.default_rng(1)
GENES = GeneTrack(
    pl.DataFrame(
        {"gene_id": ["E1"], "gene_name": ["ONE"], "start": [1500], "end": [4000], "strand": ["+"], "chrom": ["22"]}
    ),
    pl.DataFrame({"gene_id": ["E1"], "start": [1500], "end": [1700], "chrom": ["22"]}),
)


def lane(n=2000, kind="contribution", start=1001, step=1.0):
    edges = start - 0.5 + step * np.arange(n + 1)
    values = RNG.normal(size=n) if kind == "contribution" else RNG.random(n)
    return Lane(f"a {kind}", edges, values, kind)


@pytest.mark.parametrize("width", [1000, 340])
def test_lanes_lie_above_each_other_with_tss_exons_and_seqlets(width, tmp_path):
    lanes = [lane(), lane(10, "attention", step=200), lane(2000, "element")]
    how = {
        "chrom": "22",
        "start": 1001,
        "end": 3000,
        "tss": (1500, "+"),
        "genes": GENES,
        "marks": [(1490, 1499, "ETS")],
    }
    figure = along_sequence(lanes, **how, width=width)
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["a contribution", "a attention", "a element", ""]
    assert all(ax.get_xlim() == (1000.5, 3000.5) for ax in figure.axes)
    assert [text.get_text() for text in figure.axes[0].texts] == ["TSS \N{RIGHTWARDS ARROW}"]
    assert "ONE" in figure.axes[-1].texts[0].get_text() and figure.axes[-1].collections
    marked = [line for line in figure.axes[0].lines if line.get_marker() == "v"]
    assert len(marked) == 1 and marked[0].get_gid() == "tip:ETS"
    assert save_figure(figure, tmp_path / "x.svg").stat().st_size < 400_000


def test_peaks_survive_when_many_bases_share_a_pixel():
    values = np.zeros(100_000)
    values[51_234], values[51_236] = 5.0, -3.0
    figure = along_sequence([Lane("x", np.arange(100_001), values)], chrom="22", start=1, end=100_000, width=340)
    shapes = [part.get_paths()[0].vertices[:, 1] for part in figure.axes[0].collections]
    assert max(y.max() for y in shapes) == 5 and min(y.min() for y in shapes) == -3


def test_a_logo_is_as_high_as_contributions():
    heights = np.array([1.0, -0.5, 0.0, 2.0])
    figure = contribution_logo("ACNT", heights, chrom="22", start=101, spans=[(102, 104, "ETS"), (500, 510, "far")])
    boxes = [patch.get_path().get_extents() for patch in figure.axes[0].patches if patch.get_alpha() is None]
    assert [(round(box.y0, 6), round(box.y1, 6)) for box in boxes] == [(0, 1), (-0.5, 0), (0, 2)]
    assert [text.get_text() for text in figure.axes[0].texts] == ["ETS"]
    narrow = contribution_logo("ACGT" * 40, RNG.normal(size=160), chrom="22", start=101, width=340)
    shown = narrow.axes[0].get_xlim()
    assert 40 <= shown[1] - shown[0] <= 60 and shown[0] > 101


@pytest.mark.parametrize("strand", ["+", "-"])
def test_a_motif_lies_where_tomtom_lays_it(strand):
    motif = Motif("M", "M", np.eye(4)[[0, 1, 2, 3, 3]])
    figure = motif_pair(np.eye(4)[[1, 2, 3]], motif, offset=1, strand=strand, title="T")
    bottom = [patch.get_path().get_extents() for patch in figure.axes[1].patches]
    places = sorted(round((box.x0 + box.x1) / 2, 3) for box in bottom if box.height > 0.1)
    assert places == [-1, 0, 1, 2, 3] and len(figure.axes[0].patches) == 3
    first = min(bottom, key=lambda box: box.x0)
    assert first.height == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize("width, columns", [(1000, 3), (340, 1)])
def test_attention_has_a_map_a_layer(width, columns):
    maps = {f"layer {i}": RNG.dirichlet(np.ones(16), size=16) for i in range(1, 6)}
    figure = attention_layers(maps, chrom="22", start=1, end=2048, tss=1024, width=width)
    seen = [ax for ax in figure.axes if ax.get_visible()]
    assert len(seen) == 5 and figure.axes[0].get_subplotspec().get_gridspec().ncols == columns
    np.testing.assert_allclose(seen[2].images[0].get_array(), maps["layer 3"])


def test_variants_have_a_bar_and_a_ring():
    table = pl.DataFrame({
        "pos": [100, 200, 900], "id": ["rs1", "rs2", "rs3"], "path": [0.5, -1.0, 0.01], "alone": [0.4, -1.2, 0.0],
        "chrom": ["22"] * 3,
    })  # fmt: skip
    figure = variant_contributions(table, tss=500, title="T")
    (ax,) = figure.axes
    assert {text.get_text() for text in ax.texts} == {"TSS", "rs1", "rs2", "rs3"}
    rings = [line for line in ax.lines if line.get_label() == "alone"]
    assert rings[0].get_ydata().tolist() == [0.4, -1.2, 0.0] and ax.get_xlabel() == "position on 22"
    variant_contributions(table.head(1), width=340)


def test_nothing_to_draw_is_refused():
    where = {"chrom": "1", "start": 1, "end": 2}
    for draw in (lambda: along_sequence([], **where), lambda: attention_layers({}, **where),
                 lambda: variant_contributions(pl.DataFrame({"pos": []}))):  # fmt: skip
        with pytest.raises(GenopredError, match="needed at least one"):
            draw()
    with pytest.raises(GenopredError, match="3 bases and 2 values"):
        contribution_logo("ACG", [1, 2], chrom="1", start=1)
    with pytest.raises(GenopredError, match="2 values and 2 edges"):
        along_sequence([Lane("x", [0, 1], [1, 2])], chrom="1", start=1, end=2)
