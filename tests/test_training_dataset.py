"""Targets, batches and what is left out, against loops over bases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.errors import GenopredError
from genopred.sequence.onehot import decode
from genopred.settings.training import Track
from genopred.training import dataset
from genopred.training.dataset import SequenceData, batch, bytes_needed, drop_n
from genopred.training.splits import Windows, WindowShape

STEP = 4
TRACKS = (
    Track(name="open", assay="DNase", cell="A", clip=3.0),
    Track(name="up", assay="PRO-cap", cell="A", strand="+", partner="down", aggregate="sum"),
    Track(name="down", assay="PRO-cap", cell="A", strand="-", partner="up", aggregate="sum", clip=20.0),
    Track(name="raw", assay="ATAC", cell="B"),
)


def genome(seed=1, lengths=None, share_n=0.02):
    """Random sequence and the value of each track at each base."""
    rng = np.random.default_rng(seed)
    lengths = lengths or {"1": 1003, "2": 640}
    codes, values = {}, {}
    for chrom, length in lengths.items():
        codes[chrom] = rng.integers(0, 4, length).astype(np.uint8)
        codes[chrom][rng.random(length) < share_n] = 4
        values[chrom] = rng.gamma(0.3, 4.0, (len(TRACKS), length)).round(2)
    return codes, values


def stepped(values, step=STEP):
    out = {}
    for chrom, array in values.items():
        n = -(-array.shape[1] // step)
        out[chrom] = np.array([[row[i * step : (i + 1) * step].sum() for i in range(n)] for row in array], np.float32)
    return out


def make(seed=1, **options):
    codes, values = genome(seed, **options)
    return SequenceData(codes, stepped(values), STEP, TRACKS), values


def naive_target(values, chrom, start, n_bins, bin):
    out = np.zeros((n_bins, len(TRACKS)))
    for i in range(n_bins):
        for t, track in enumerate(TRACKS):
            x = sum(values[chrom][t][start + i * bin + j] for j in range(bin))
            if track.aggregate == "mean":
                x /= bin
            if track.clip is not None and x > track.clip:
                x = track.clip - 1 + (x - track.clip + 1) ** 0.5
            out[i, t] = x
    return out


def message_of(call, *arguments, **options):
    with pytest.raises(GenopredError) as caught:
        call(*arguments, **options)
    return str(caught.value)


# --- tracks, shapes, data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("chrom", "start", "n_bins", "bin"), [("1", 0, 5, 8), ("1", 4, 3, 4), ("2", 128, 16, 32)])
def test_targets_are_those_of_a_loop(chrom, start, n_bins, bin):
    data, values = make()
    found = data.target(chrom, start, n_bins, bin)
    assert found.shape == (n_bins, len(TRACKS)) and found.dtype == np.float32
    np.testing.assert_allclose(found, naive_target(values, chrom, start, n_bins, bin), rtol=1e-5)


def test_soft_clip_is_smooth():
    """At the limit the function and its slope's start are continuous, and it grows on."""
    x = np.array([[0.5, 2.0, 3.0, 3.0001, 4.0, 27.0, 1e6]], dtype=np.float32)
    data = SequenceData({"1": np.zeros(7, np.uint8)}, {"1": x}, 1, (Track(name="a", clip=3),))
    found = data.target("1", 0, 7, 1)[:, 0]
    np.testing.assert_allclose(found, [0.5, 2, 3, 3.00005, 2 + 2**0.5, 7, 2 + (1e6 - 2) ** 0.5], rtol=1e-5)
    assert (np.diff(found) > 0).all()


def test_partners():
    data, _ = make()
    assert data.partners.tolist() == [0, 2, 1, 3]
    assert Track(name="a").partner == "a"


@pytest.mark.parametrize(
    ("tracks", "says"),
    [
        ((Track(name="a"), Track(name="a")), "same name"),
        ((Track(name="a", strand="+", partner="c"), Track(name="b")), "a names c"),
        ((Track(name="a", strand="+", partner="b"), Track(name="b", strand="-")), "name each other; a are"),
        ((Track(name="a", strand="+", partner="b"), Track(name="b", strand="+", partner="a")), "a (+) and b (+)"),
    ],
)
def test_wrong_partners(tracks, says):
    codes, sums = {"1": np.zeros(8, np.uint8)}, {"1": np.zeros((2, 2), np.float32)}
    assert says in message_of(SequenceData, codes, sums, 4, tracks)


def test_shapes_must_fit():
    data, _ = make()
    assert "same chromosomes" in message_of(SequenceData, data.codes, {"1": data.sums["1"]}, STEP, TRACKS)
    assert "needed (4, 502)" in message_of(SequenceData, data.codes, data.sums, 2, TRACKS)
    assert "multiples of the step" in message_of(data.target, "1", 2, 3, 8)
    assert "multiples of the step" in message_of(data.target, "1", 4, 3, 6)
    assert "beyond" in message_of(data.target, "1", 1000, 1, 8)
    assert "beyond" in message_of(data.target, "1", -4, 1, 8)


def test_bytes_needed_are_those_held():
    data, _ = make()
    held = sum(a.nbytes for part in (data.codes, data.sums) for a in part.values())
    assert bytes_needed(data.lengths, len(TRACKS), STEP) == held


@pytest.mark.parametrize("max_n", [0.0, 0.2, 0.25, 1.0])
def test_drop_n(max_n):
    data, _ = make(share_n=0.2)
    rng = np.random.default_rng(2)
    shape = WindowShape(64, 16)
    chroms = np.array(["1", "2"])[rng.integers(0, 2, 60)]
    windows = Windows(chroms, rng.integers(0, 570, 60), np.arange(60))
    share = [sum(int(b) == 4 for b in data.codes[c][s : s + 64]) / 64 for c, s in zip(chroms, windows.starts)]
    wanted = [i for i in range(60) if share[i] <= max_n]
    kept, dropped = drop_n(data, windows, shape, max_n)
    assert kept.blocks.tolist() == wanted and dropped == 60 - len(wanted)
    assert kept.chroms.tolist() == chroms[wanted].tolist()
    assert "max_n = 1.5" in message_of(drop_n, data, windows, shape, 1.5)


# --- batches ------------------------------------------------------------------------------------------------------

SHAPE = WindowShape(64, 8, 2)
COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}


def some_windows(seed, n=12):
    rng = np.random.default_rng(seed)
    chroms = np.array(["1", "2"])[rng.integers(0, 2, n)]
    starts = rng.integers(0, (640 - 64) // 4, n) * 4
    # at the chromosome's start, and with the last input beyond its end
    chroms[:2], starts[0], starts[1] = "2", 0, 640 - 48
    return chroms, starts, rng.random(n) < 0.5, rng.integers(-9, 10, n)


@settings(max_examples=25)
@given(seed=st.integers(0, 1000))
def test_batches_are_those_of_a_loop(seed):
    data, values = make(seed)
    chroms, starts, reverse, jitter = some_windows(seed)
    codes, targets = batch(data, chroms, starts, SHAPE, reverse, jitter)
    assert codes.shape == (12, 64) and codes.dtype == np.uint8
    assert targets.shape == (12, 4, 4) and targets.dtype == np.float32 and targets.flags.c_contiguous
    for i, chrom in enumerate(chroms):
        whole = decode(data.codes[chrom])
        begin = int(starts[i] + jitter[i])
        letters = [whole[p] if 0 <= p < len(whole) else "N" for p in range(begin, begin + 64)]
        wanted = naive_target(values, chrom, int(starts[i]) + 16, 4, 8)
        if reverse[i]:
            letters = [COMPLEMENT[letter] for letter in reversed(letters)]
            # "up" and "down" have their own limits: the other strand's signal is clipped as the track it goes to
            swapped = {chrom: values[chrom][[0, 2, 1, 3]]}
            wanted = naive_target(swapped, chrom, int(starts[i]) + 16, 4, 8)[::-1]
        assert decode(codes[i]) == "".join(letters)
        np.testing.assert_allclose(targets[i], wanted, rtol=1e-5)


def test_reversing_twice_changes_nothing():
    """The other strand of data that hold the other strand is the strand itself."""
    length = 640
    codes, values = genome(3, lengths={"2": length})
    mirrored = {"2": np.array([3, 2, 1, 0, 4], np.uint8)[codes["2"][::-1]]}
    turned = {"2": values["2"][[0, 2, 1, 3], ::-1]}
    data = SequenceData(codes, stepped(values), STEP, TRACKS)
    other = SequenceData(mirrored, stepped(turned), STEP, TRACKS)
    starts = np.arange(0, length - 63, 32)
    chroms = np.full(len(starts), "2")
    jitter = np.arange(len(starts)) % 7 - 3
    one = batch(data, chroms, starts, SHAPE, jitter=jitter)
    two = batch(other, chroms, length - 64 - starts, SHAPE, reverse=True, jitter=-jitter)
    assert (one[0] == two[0]).all()
    np.testing.assert_allclose(one[1], two[1], rtol=1e-6)


def test_jitter_moves_the_input_alone():
    data, _ = make()
    chroms, starts, reverse, _ = some_windows(5)
    chroms, starts, reverse = chroms[2:], starts[2:] + 8, reverse[2:]
    still = batch(data, chroms, starts, SHAPE, reverse)
    moved = batch(data, chroms, starts, SHAPE, reverse, np.full(len(starts), 4))
    assert (still[1] == moved[1]).all() and (still[0] != moved[0]).any()
    forward, back = ~reverse, reverse
    assert (moved[0][forward, :-4] == still[0][forward, 4:]).all()
    assert (moved[0][back, 4:] == still[0][back, :-4]).all()


def test_whole_input_beyond_the_chromosome_is_n():
    data, _ = make()
    codes, _ = batch(data, np.array(["2", "2"]), np.array([0, 576]), SHAPE, jitter=np.array([-500, 500]))
    assert (codes == 4).all()


def test_empty_batch():
    data, _ = make()
    codes, targets = batch(data, np.array([], dtype=str), np.array([], dtype=np.int64), SHAPE)
    assert codes.shape == (0, 64) and targets.shape == (0, 4, 4)


def test_wrong_batches():
    data, _ = make()
    at = np.array(["1"])
    assert "beyond" in message_of(batch, data, at, np.array([960]), SHAPE)
    assert "beyond" in message_of(batch, data, at, np.array([-20]), SHAPE)
    assert "off the step" in message_of(batch, data, at, np.array([2]), SHAPE)
    assert "off the step" in message_of(batch, data, at, np.array([0]), WindowShape(60, 6))


def test_one_strand_alone_cannot_be_reversed():
    track = Track(name="up", strand="+")
    data = SequenceData({"1": np.zeros(64, np.uint8)}, {"1": np.zeros((1, 16), np.float32)}, 4, (track,))
    at = (np.array(["1"]), np.array([0]), SHAPE)
    assert batch(data, *at)[1].shape == (1, 4, 1)
    assert "(up)" in message_of(batch, data, *at, reverse=True)


# --- composition --------------------------------------------------------------------------------------------------


def test_examples():
    import doctest

    assert doctest.testmod(dataset).failed == 0
