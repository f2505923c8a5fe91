"""Which stretches the page of `genopred evaluate` shows, and what it says."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest

from genopred.report.pages.evaluate import METRIC_NAMES, Shown, _pieces, choose_stretches, write
from genopred.settings.training import Track
from genopred.training.dataset import track_table
from genopred.training.scores import METRICS, track_differences, track_scores
from genopred.training.splits import Windows, WindowShape

SHAPE = WindowShape(window=1024, bin=128, crop=1)
TRACKS = (
    Track(name="acc", assay="accessibility", cell="K5"),
    Track(name="init +", assay="initiation", cell="K5", strand="+", partner="init -", aggregate="sum"),
    Track(name="init -", assay="initiation", cell="K5", strand="-", partner="init +", aggregate="sum"),
)


def windows(*runs: tuple[str, int, int]) -> Windows:
    """Runs of windows whose bins adjoin: chromosome, start, how many."""
    chroms = np.concatenate([np.full(n, chrom) for chrom, _, n in runs])
    starts = np.concatenate([start + SHAPE.target * np.arange(n) for _, start, n in runs])
    return Windows(chroms, starts, np.concatenate([np.full(n, i) for i, (_, _, n) in enumerate(runs)]))


WINDOWS = windows(("chr1", 0, 20), ("chr1", 100_000, 9), ("chr2", 100_000 + 9 * SHAPE.target, 11), ("chr2", 900_000, 1))
#: Where their bins begin.
FIRST = WINDOWS.starts + SHAPE.crop * SHAPE.bin
#: Four windows.
LENGTH = 4 * SHAPE.target


def measured(seed=1):
    rng = np.random.default_rng(seed)
    return rng.poisson(rng.gamma(0.5, 4, (len(WINDOWS.starts), SHAPE.n_bins, 3))).astype(np.float32)


def genes(*places: tuple[str, int, int, str]) -> pl.DataFrame:
    table = pl.DataFrame(places, schema=["chrom", "start", "end", "gene_type"], orient="row")
    names = [f"G{i}" for i in range(table.height)]
    return table.with_columns(
        gene_id=pl.Series(names, dtype=pl.String), gene_name=pl.Series(names, dtype=pl.String), strand=pl.lit("+")
    )


def test_pieces_adjoin_within_and_are_of_about_the_length():
    pieces = _pieces(WINDOWS.chroms, FIRST, SHAPE.target, LENGTH)
    seen = np.zeros(len(WINDOWS.starts), dtype=int)
    for first, last in pieces:
        seen[first:last] += 1
        assert 2 <= last - first <= 7
        assert len(set(WINDOWS.chroms[first:last])) == 1
        assert (np.diff(WINDOWS.starts[first:last]) == SHAPE.target).all()
    # all are in one piece, but for the single window, which would show nothing
    assert seen.tolist() == [1] * 40 + [0]


def test_short_runs_are_taken_where_there_are_no_others():
    alone = windows(("chr1", 0, 1), ("chr1", 50_000, 1))
    assert _pieces(alone.chroms, alone.starts, SHAPE.target, LENGTH) == [(0, 1), (1, 2)]


def test_the_rule_counts_genes_and_takes_the_median_signal():
    y = measured()
    table = genes(
        ("2", 905_000, 906_000, "protein_coding"),
        ("1", 100_500, 101_000, "protein_coding"),
        ("1", 100_700, 102_000, "protein_coding"),
        *[("1", 500 + i, 600 + i, "lincRNA") for i in range(5)],
    )
    most, median = choose_stretches(WINDOWS.chroms, FIRST, SHAPE.bin, y, table, LENGTH)
    assert most.name == "genes" and (most.chrom, most.first) == ("chr1", 20)
    assert most.start == 100_000 + 128 and most.end == most.start + (most.last - most.first) * SHAPE.target
    assert "most protein-coding genes (2)" in most.rule
    # the median of the pieces that are left, by a loop
    means = y.mean(axis=(0, 1))
    signal = {
        piece: np.mean([np.mean(y[i].mean(axis=0) / means) for i in range(*piece)])
        for piece in _pieces(WINDOWS.chroms, FIRST, SHAPE.target, LENGTH)
        if piece[0] != 20
    }
    ordered = sorted(signal, key=lambda piece: signal[piece])
    assert (median.first, median.last) == ordered[(len(ordered) - 1) // 2]
    # untyped genes all count
    most, _ = choose_stretches(WINDOWS.chroms, FIRST, SHAPE.bin, y, table.drop("gene_type"), LENGTH)
    assert most.first == 0 and "most genes (5)" in most.rule


def test_without_genes_only_the_median():
    for table in (None, genes(("chr7", 1, 2, "protein_coding"))):
        (only,) = choose_stretches(WINDOWS.chroms, FIRST, SHAPE.bin, measured(), table, LENGTH)
        assert only.name == "median" and "other" not in only.rule


def shown(**changes) -> Shown:
    y = measured()
    rng = np.random.default_rng(2)
    x, z = (0.5 * y + rng.gamma(1, 1, y.shape).astype(np.float32) for _ in range(2))
    blocks = np.repeat(WINDOWS.blocks, SHAPE.n_bins)
    flat = [v.reshape(-1, 3) for v in (y, x, z)]
    scores = [
        track_scores(flat[0], v, blocks, TRACKS, resamples=20).select(
            pl.lit(name).alias("model"), pl.lit("test").alias("split"), pl.all()
        )
        for name, v in (("net", flat[1]), ("ridge", flat[2]))
    ]
    difference = track_differences(*flat, blocks, TRACKS, resamples=20).select(
        pl.lit("net").alias("model"), pl.lit("ridge").alias("against"), pl.lit("test").alias("split"), pl.all()
    )
    values = {
        "title": "net on test blocks",
        "reading": ("What was read.",),
        "notes": ("Beware of this.",),
        "model": "net",
        "split": "test",
        "tracks": track_table(TRACKS),
        "chroms": WINDOWS.chroms,
        "starts": FIRST,
        "bin": SHAPE.bin,
        "measured": y,
        "predicted": x,
        "scores": pl.concat(scores),
        "differences": difference,
        "genes": genes(("1", 500, 1_000, "protein_coding")),
        "exons": None,
        "info": {"command": "genopred evaluate net"},
    }
    return Shown(**(values | changes))


def test_every_metric_has_a_name():
    assert tuple(METRIC_NAMES) == METRICS


def test_the_page_has_every_figure_and_table(tmp_path):
    files = write(tmp_path, shown(), "svg")
    assert [file.name for file in files] == [
        *(f"{name}.svg" for name in ("scores", "density", "browser-genes", "browser-median")),
        "evaluate.html",
    ]
    html = files[-1].read_text()
    assert html.count("<svg") == 3 * 4 and html.count("<table") == 3
    for words in ("What was read.", "Beware of this.", "net against the others", "Scores of the others", "Pearson r"):
        assert words in html
    row = shown().scores.row(1, named=True)
    assert f"{row['estimate']:.3f} <small>[{row['low']:.3f}, {row['high']:.3f}]</small>" in html
    assert re.search(r"chr1:129-\d\d,\d\d\d, measured and predicted by net", html)
    assert "+ strand up" in html and "chosen without looking at predictions" in html


@pytest.mark.parametrize("figures", ["none", "png"])
def test_a_model_alone_without_genes(tmp_path, figures):
    alone = shown()
    alone = shown(
        genes=None, differences=alone.differences.head(0), scores=alone.scores.filter(pl.col("model") == "net")
    )
    files = write(tmp_path, alone, figures)
    html = files[-1].read_text()
    assert len(files) == (1 if figures == "none" else 4) and html.count("<table") == 1
    assert "others" not in html and "Under them" not in html
