"""What is said of results. Whole runs say it in tests/test_pipelines_*.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl

from genopred.align import Tally
from genopred.learning.stack import MIN_GENES_POOLED, shipped
from genopred.report import words

FILE = Path("evaluations.tsv")


def held(name, by="block", blocks=9, **more):
    windows = SimpleNamespace(blocks=np.arange(blocks), starts=np.arange(2 * blocks))
    shape = SimpleNamespace(n_bins=10, bin=128)
    tracks = [SimpleNamespace(clip=None), SimpleNamespace(clip=32.0)]
    rest = {"shape": shape, "data": SimpleNamespace(tracks=tracks), "dropped": 0, "max_n": 0.2} | more
    return SimpleNamespace(name=name, split=SimpleNamespace(by=by), windows=windows, **rest)


def looks(n):
    return pl.DataFrame({"date": [f"day {i}" for i in range(n)]})


def test_random_splits_and_training_windows_are_told_on():
    assert "training windows" in words.held_out_cautions(held("train"), looks(0), FILE)[0]
    notes = words.held_out_cautions(held("test", by="random"), looks(0), FILE)
    assert any("random" in note for note in notes)
    assert words.held_out_cautions(held("validation", blocks=1), looks(3), FILE) == [
        "The best epoch was chosen on the validation split: its scores are a little too high.",
        "1 block is few: intervals over them mean little.",
    ]


def test_looks_at_the_test_split_are_counted():
    first, once, twice = (words.held_out_cautions(held("test"), looks(n), FILE)[0] for n in range(3))
    assert first == "This is the first evaluation of this run's test split."
    assert "evaluated once before, first on day 0 (see evaluations.tsv)" in once and "2 times before" in twice


def test_what_was_held_out():
    assert words.held_out(held("test", dropped=3), "cnn", "both") == [
        "cnn on the test split: 180 bins of 128 bp in 18 windows of 9 blocks; 3 more windows have over 20% N and are "
        "left out.",
        "Predictions are the mean of those from both strands.",
        "High values of 1 of 2 tracks are clipped softly, as in training: all metrics are of the clipped values.",
    ]


def test_notes_say_where_weights_come_from_and_what_sees_everyone():
    few = words.stack_notes(3, MIN_GENES_POOLED, shipped().origin, True, "fold")
    assert "use --stack-weights none" in few[0] and "3 genes are too few" in few[1] and "the shipped trees" in few[1]
    assert "no trees" in words.stack_notes(3, MIN_GENES_POOLED, shipped().origin, False, "fold")[1]
    assert words.stack_notes(MIN_GENES_POOLED, MIN_GENES_POOLED, None, False, "fold") == ()
    [note] = words.stack_notes(MIN_GENES_POOLED, MIN_GENES_POOLED, None, False, "global")
    assert note.startswith("--residualize global: transform and covariates were applied to everyone at once")


def test_snps_of_genes_and_what_was_left_out():
    tally = Tally()
    tally.come("variants", "in snps.vcf", 2)
    tally.use("variants", "scored", 2)
    table = pl.DataFrame({"chrom": ["1"] * 2, "pos": [5, 6], "ref": ["A"] * 2, "alt": ["C"] * 2, "gene": ["g"] * 2})
    said = words.effects(table, 1, "cnn", tally.report(), reused=True)
    assert said[0] == "2 SNPs of 1 gene, 1 track group of cnn (there already)" and "variants: 2 used: scored" in said
    assert (
        words.effects(table.with_columns(gene=None), 2, "cnn", tally.report(), False)[0]
        == "2 SNPs, 2 track groups of cnn"
    )


def test_sizes_are_said_in_their_units():
    assert [words._size(gb) for gb in (2.5, 0.0025, 0.0000025)] == ["2.5 GB", "2.5 MB", "2.5 kB"]
