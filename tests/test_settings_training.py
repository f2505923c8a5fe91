"""Settings of a training; tests/test_training_config.py reads them from files."""

from __future__ import annotations

import pytest

from genopred.errors import GenopredError
from genopred.settings.training import SPLIT_KINDS, ByRandom, Data, Track, Training


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("warmup", -1),
        ("weight_decay", -0.1),
        ("gradient_clip", float("inf")),
        ("patience", -1),
        ("shift", -1),
        ("average", 1.0),
        ("mutate", 1.0),
        ("choose", "spearman"),
        ("precision", "fp16"),
        ("seed", -1),
        ("threads", 0),
        ("checkpoint_minutes", 0.0),
    ],
)
def test_settings_out_of_range(name, value):
    with pytest.raises(GenopredError, match=rf"training\.{name} = .*: (needed|there are)"):
        Training(**{name: value})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strand": "x"}, r"track.strand = 'x': there are \+, -, \."),
        ({"aggregate": "max"}, "track.aggregate = 'max': there are mean, sum"),
        ({"clip": 0.5}, "track.clip = 0.5: needed a number from 1"),
    ],
)
def test_wrong_track(options, said):
    with pytest.raises(GenopredError, match=said):
        Track(name="t", **options)


def test_what_a_track_does_not_say():
    assert (Track(name="a").assay, Track(name="a").cell, Track(name="a").partner) == ("signal", "a", "a")
    assert Track(name="a", strand="+").cell == "unknown" and Track(name="a", strand="+", cell="K5").cell == "K5"


def test_the_step_goes_into_the_bin():
    assert Data(fasta="x").step == 16 and Data(fasta="x", bin=20).step == 4
    with pytest.raises(GenopredError, match=r"data.step = 24: needed a divisor of data.bin, 128"):
        Data(fasta="x", step=24)


def test_splits_are_written_with_what_they_are_by():
    assert list(SPLIT_KINDS) == ["block", "chromosome", "random"]
    assert ByRandom(seed=4).written == {
        "by": "random",
        "block": 500_000,
        "fractions": (0.7, 0.15, 0.15),
        "seed": 4,
        "compare": True,
    }


def test_bounds_that_do_not_count_themselves():
    for value, said in ((0, "above 0, up to 1e"), (float("inf"), "above 0, up to 1e")):
        with pytest.raises(GenopredError, match=f"needed a number {said}"):
            Training(learning_rate=value)
    with pytest.raises(GenopredError, match=r"training.average = 1.0: needed a number from 0, below 1"):
        Training(average=1.0)
