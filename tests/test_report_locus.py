"""Figures of SNPs: what is drawn where, and that it becomes a titled SVG with words on hover."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest

from genopred.errors import GenopredError
from genopred.report import locus as draw
from genopred.report.figures import save_figure, to_svg

RNG = np.random.default_rng(1)
M = 300
POS = np.sort(RNG.integers(20_000_000, 21_000_000, M))
P = RNG.exponential(0.6, M)
EFFECT = RNG.exponential(1, M)
IDS = [f"rs{i}" for i in range(M)]
TOPS = (np.argsort(np.argsort(-EFFECT)) < 20, np.argsort(np.argsort(-P)) < 20)
TWO = (("top a", TOPS[0]), ("top b", TOPS[1]))
GENES = pl.DataFrame(
    {
        "gene_id": ["ENSG1", "ENSG2", "ENSG3"],
        "gene_name": ["ALPHA", "BETA", "GAMMA"],
        "start": [20_100_000, 20_110_000, 20_700_000],
        "end": [20_160_000, 20_140_000, 20_900_000],
        "strand": ["+", "-", "+"],
    }
)
EXONS = pl.DataFrame(
    {"gene_id": ["ENSG1", "ENSG1"], "start": [20_100_000, 20_150_000], "end": [20_101_000, 20_160_000]}
)


def points(ax) -> int:
    return sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() == "o")


@pytest.mark.parametrize("width", [1000, 340])
@pytest.mark.parametrize("how", ["ld", "sets", "plain"])
def test_locus_plot_shows_each_snp_once(width, how):
    more = {"ld": {"ld": RNG.random(M)}, "sets": {"sets": TWO}, "plain": {}}[how]
    figure = draw.locus_plot(POS, P, ids=IDS, genes=draw.GeneTrack(GENES, EXONS), chrom="22", width=width, **more)
    ax, track = figure.axes[:2]
    assert points(ax) == M
    assert {text.get_text().strip("→← ") for text in track.texts} == {"ALPHA", "BETA", "GAMMA"}
    assert len(track.collections) == 1  # exons of ALPHA
    lead = next(line for line in ax.lines if line.get_marker() == "D")
    assert lead.get_xdata()[0] == POS[np.argmax(P)]
    svg = to_svg(figure, title="locus")
    assert f"<title>{IDS[int(np.argmax(P))]}: " in svg and "chromosome 22" in svg
    assert "<title>ALPHA (ENSG1), +: 20,100,000 to 20,160,000</title>" in svg


def test_exons_are_drawn_in_the_order_of_their_table_each_once():
    starts = [20_100_000 + 1_000 * i for i in range(50)]
    exons = pl.DataFrame(
        {"gene_id": ["ENSG1"] * 100, "start": starts * 2, "end": [start + 500 for start in starts] * 2}
    )
    drawn = draw.locus_plot(POS, P, ids=IDS, genes=draw.GeneTrack(GENES, exons)).axes[1].collections[0]
    assert [segment[0, 0] for segment in drawn.get_segments()] == starts


def test_genes_that_would_collide_get_lanes_of_their_own():
    rows = draw.GeneTrack(GENES).rows((20_000_000, 21_000_000), 1000)
    lanes = {name: lane for _, name, *_, lane in rows}
    assert lanes["ALPHA"] != lanes["BETA"] and lanes["GAMMA"] == 0


def test_ld_bins_hold_all_values():
    ld = np.array([0.0, 0.2, 0.39, 0.6, 0.8, 1.0, np.nan])
    figure = draw.locus_plot(np.arange(1, 8), np.ones(7), ids=list("abcdefg"), ld=ld)
    assert points(figure.axes[0]) == 7


def test_effect_against_p_says_both_numbers_on_hover():
    figure = draw.effect_against_p(EFFECT, P, ids=IDS, sets=TWO)
    assert points(figure.axes[0]) == M
    best = int(np.argmax(P))
    assert re.search(rf"<title>{IDS[best]}: effect [\d.]+, p [\d.e−]+</title>", to_svg(figure, title="x"))


@pytest.mark.parametrize("width", [1000, 340])
def test_overlap_figure(width, tmp_path):
    k = np.array([1, 5, 20, 100, 300])
    seen = np.array([0, 1, 4, 40, 300])
    band = (k**2 / 300, k**2 / 400, k**2 / 250)
    figure = draw.overlap_figure(k, seen, {"permutation": band, "shift": band}, marks=(20,), total=300, width=width)
    axes = figure.axes
    assert len(axes) == (1 if width < 500 else 2)
    observed = [line for line in axes[0].lines if line.get_label() == "observed"][0]
    assert observed.get_ydata().tolist() == [0, 1, 4]
    if len(axes) == 2:  # less the null's mean, so it ends at 0
        assert [line for line in axes[1].lines if line.get_label() == "observed"][0].get_ydata()[-1] == pytest.approx(0)
    assert "<title>k = 20: 4 shared, null 1.3</title>" in to_svg(figure, title="x")
    assert save_figure(figure, tmp_path / "curve.png").stat().st_size > 5000


@pytest.mark.parametrize("width", [1000, 340])
def test_founding_panels_count_the_overlaps(width):
    score = EFFECT / EFFECT.max() + P / P.max()
    top = np.argsort(-score)[:20]
    built = len(set(top.tolist()) & set(np.flatnonzero(TOPS[1]).tolist()))
    figure = draw.founding_panels(POS, P, EFFECT, score, ids=IDS, k=20, chrom="19", width=width)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles[2] == f"C  sum of both: {built} of 20 shared (circular)"
    assert titles[3] == f"D  model against eQTL: {int(np.sum(TOPS[0] & TOPS[1]))} of 20 shared"
    assert [points(ax) for ax in figure.axes] == [M] * 4


def test_precision_recall_figure():
    figure = draw.precision_recall_figure([0.5, 1.0], [1.0, 0.5], 0.1, name="credible sets")
    assert figure.axes[0].get_xlabel() == "recall of credible sets"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: draw.locus_plot([], [], ids=[]), "0 positions"),
        (lambda: draw.locus_plot([1, 2], [1.0], ids=["a", "b"]), "1 values"),
        (lambda: draw.overlap_figure([1, 2], [1], {}), "2 values of k and 1"),
        (lambda: draw.founding_panels([1], [1.0], [1.0], [1.0, 2.0], ids=["a"], k=1), "for each SNP"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(GenopredError, match=words):
        call()
