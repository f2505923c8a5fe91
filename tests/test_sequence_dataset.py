"""Splits, windows and batches against loops over bases, and what must hold of every split."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from genopred.errors import GenopredError
from genopred.sequence import dataset
from genopred.sequence.dataset import (
    REGION_SCHEMA,
    SPLITS,
    SequenceData,
    Split,
    Track,
    Windows,
    WindowShape,
    batch,
    bytes_needed,
    drop_n,
    kmer_features,
    split_blocks,
    split_chromosomes,
    split_random,
    tile,
)
from genopred.sequence.onehot import decode

STEP = 4
TRACKS = (
    Track("open", "DNase", "A", clip=3.0),
    Track("up", "PRO-cap", "A", "+", "down", aggregate="sum"),
    Track("down", "PRO-cap", "A", "-", "up", aggregate="sum", clip=20.0),
    Track("raw", "ATAC", "B"),
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
    data = SequenceData({"1": np.zeros(7, np.uint8)}, {"1": x}, 1, (Track("a", clip=3),))
    found = data.target("1", 0, 7, 1)[:, 0]
    np.testing.assert_allclose(found, [0.5, 2, 3, 3.00005, 2 + 2**0.5, 7, 2 + (1e6 - 2) ** 0.5], rtol=1e-5)
    assert (np.diff(found) > 0).all()


def test_partners():
    data, _ = make()
    assert data.partners.tolist() == [0, 2, 1, 3]
    assert Track("a").partner == "a"


@pytest.mark.parametrize(
    ("tracks", "says"),
    [
        ((Track("a"), Track("a")), "same name"),
        ((Track("a", strand="+", partner="c"), Track("b")), "a names c"),
        ((Track("a", strand="+", partner="b"), Track("b", strand="-")), "name each other; a are"),
        ((Track("a", strand="+", partner="b"), Track("b", strand="+", partner="a")), "a (+) and b (+)"),
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


@pytest.mark.parametrize(
    ("options", "says"),
    [({"strand": "x"}, "strand"), ({"aggregate": "max"}, "aggregate"), ({"clip": 0.5}, "clip")],
)
def test_wrong_track(options, says):
    assert f"track t: {says} = " in message_of(Track, "t", **options)


@pytest.mark.parametrize(("window", "bin", "crop"), [(100, 16, 0), (64, 16, 2), (64, 16, -1), (0, 16, 0), (64, 0, 0)])
def test_wrong_shape(window, bin, crop):
    assert "needed" in message_of(WindowShape, window, bin, crop) or "multiple" in message_of(
        WindowShape, window, bin, crop
    )


def test_bytes_needed_are_those_held():
    data, _ = make()
    held = sum(a.nbytes for part in (data.codes, data.sums) for a in part.values())
    assert bytes_needed(data.lengths, len(TRACKS), STEP) == held


# --- splits -------------------------------------------------------------------------------------------------------


def intervals(split, name, shape, offset=0):
    windows = tile(split, name, shape, offset)
    return {(c, s, s + shape.window) for c, s in zip(windows.chroms.tolist(), windows.starts.tolist())}


@settings(max_examples=80)
@given(
    seed=st.integers(0, 10_000),
    lengths=st.lists(st.integers(300, 9000), min_size=1, max_size=3),
    block=st.sampled_from([40, 150, 400, 1000]),
    window=st.sampled_from([32, 64, 160]),
    wider=st.sampled_from([0, 1, 37, 200]),
    fractions=st.sampled_from([(0.7, 0.15, 0.15), (0.4, 0.3, 0.3), (0.8, 0.1, 0.1)]),
    gaps=st.booleans(),
)
def test_no_window_comes_near_another_split(seed, lengths, block, window, wider, fractions, gaps):
    sizes = {str(i): n for i, n in enumerate(lengths)}
    shape = WindowShape(window, 16, window // 64)
    margin = window + wider
    usable = None
    if gaps:
        rng = np.random.default_rng(seed)
        usable = {c: np.where(np.repeat(rng.random(n // 50 + 1) < 0.3, 50)[:n], 4, 0) for c, n in sizes.items()}
    try:
        split = split_blocks(
            sizes, block=block, fractions=fractions, margin=margin, seed=seed, usable=usable, shape=shape
        )
    except GenopredError as refusal:
        assert "nothing for" in str(refusal)
        assume(False)
    rows = split.regions.rows()
    for chrom, a, b, label, _ in rows:
        assert a < b
        for where, c, d, other, _ in rows:
            assert label == other or chrom != where or c - b >= margin or a - d >= margin
    offset = seed % shape.target
    found = {name: sorted(intervals(split, name, shape)) for name in SPLITS}
    try:
        found["train"] += sorted(intervals(split, "train", shape, offset))
    except GenopredError:
        pass  # the offset left no room for a window
    for i, one in enumerate(SPLITS):
        for other in SPLITS[i + 1 :]:
            for chrom, a, b in found[one]:
                for where, c, d in found[other]:
                    assert chrom != where or c - b >= margin or a - d >= margin


@pytest.mark.parametrize("seed", range(5))
def test_fractions_are_about_right(seed):
    split = split_blocks({"1": 5_000_000, "2": 3_000_000}, block=10_000, margin=100, seed=seed)
    bases = dict(split.regions.group_by("split").agg((pl.col("end") - pl.col("start")).sum()).iter_rows())
    for name, share in zip(SPLITS, (0.7, 0.15, 0.15)):
        assert abs(bases[name] / 8e6 - share) < 0.01
    assert split.regions.schema == REGION_SCHEMA


def test_same_seed_same_split():
    one, two, other = (split_blocks({"1": 900_000}, block=9_000, margin=10, seed=s) for s in (3, 3, 4))
    assert one.regions.equals(two.regions) and not one.regions.equals(other.regions)


def test_blocks_of_n_get_no_label():
    codes = np.zeros(1000, np.uint8)
    codes[100:151] = 4  # 51 of block 1
    codes[300:350] = 4  # 50 of block 3
    split = split_blocks({"1": 1000}, block=100, margin=1, seed=1, usable={"1": codes})
    assert split.regions["block"].to_list() == [0, 2, 3, 4, 5, 6, 7, 8, 9]


def test_rest_of_a_chromosome():
    """A rest of less than half a block joins its neighbour, a longer one is a block."""
    ends = [split_blocks({"1": n}, block=100, margin=0, seed=1).regions["end"].to_list() for n in (1049, 1050, 1000)]
    assert [e[-2:] for e in ends] == [[900, 1049], [1000, 1050], [900, 1000]]


def test_neighbours_of_one_split_join():
    """Windows reach over the border of two blocks, and keep the block of their centre."""
    rows = [
        ("1", 0, 100, "train", 0),
        ("1", 100, 200, "train", 1),
        ("1", 240, 300, "train", 2),
        ("2", 300, 360, "train", 7),
    ]
    split = Split("block", pl.DataFrame(rows, schema=REGION_SCHEMA, orient="row"), 40, 0)
    windows = tile(split, "train", WindowShape(40, 10, 1))
    assert windows.chroms.tolist() == ["1"] * 11 + ["2"] * 2
    assert windows.starts.tolist() == [*range(0, 161, 20), 240, 260, 300, 320]
    assert windows.blocks.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 7, 7]


def test_margin_must_be_the_window():
    shape = WindowShape(64, 16)
    says = message_of(split_blocks, {"1": 9000}, block=1000, margin=63, seed=1, shape=shape)
    assert "margin = 63 bp" in says and "64 bp" in says
    split = split_blocks({"1": 9000}, block=1000, margin=63, seed=1)
    assert "margin = 63 bp" in message_of(tile, split, "train", shape)


def test_empty_block_split_names_the_numbers():
    says = message_of(split_blocks, {"1": 2400}, block=1000, margin=64, seed=1, shape=WindowShape(64, 16))
    assert (
        "nothing for test" in says
        and "test 0 windows" in says
        and "train 15" in says
        and "lower the block (now 1,000" in says
    )
    says = message_of(split_blocks, {"1": 20_000}, block=1000, margin=5000, seed=1)
    assert "nothing for validation" in says and " bp)" in says and "the margin (now 5,000" in says


def test_a_share_of_zero_may_be_empty():
    split = split_blocks({"1": 9000}, block=1000, fractions=(0.5, 0.5, 0), margin=10, seed=1)
    assert set(split.regions["split"].to_list()) == {"train", "validation"}


@pytest.mark.parametrize(
    "fractions", [(0.7, 0.3), (0.7, 0.2, 0.2), (1.2, -0.1, -0.1), (0, 0.5, 0.5), (1, float("nan"), 0)]
)
def test_wrong_fractions(fractions):
    assert "sum" in message_of(split_blocks, {"1": 9000}, block=1000, fractions=fractions, margin=10, seed=1)


def test_wrong_block():
    assert "block = 0" in message_of(split_blocks, {"1": 9000}, block=0, margin=10, seed=1)
    assert "margin = -1" in message_of(split_blocks, {"1": 9000}, margin=-1, seed=1)


LENGTHS = {"chr1": 980, "chr2": 700, "chr3": 500, "chrX": 300}


def test_blocks_too_many_are_refused_at_once():
    for block in (1, 50):
        with pytest.raises(GenopredError, match=rf"block = {block}: 60,000,000 bp would be .*needed 60 bp or more"):
            split_blocks({"1": 60_000_000}, block=block, margin=0, seed=1)
    with pytest.raises(GenopredError, match="needed 60 bp or more"):
        split_chromosomes({"1": 60_000_000}, {"train": ["1"]}, block=1)


@pytest.mark.parametrize("margin", [0, 7, 100, 1000])
def test_many_narrow_blocks_give_way_as_in_a_plain_loop(margin):
    from genopred.sequence.dataset import SPLITS, _apart

    rng = np.random.default_rng(margin)
    edges = np.unique(rng.integers(0, 5000, 200))
    rows = pl.DataFrame({"start": edges[:-1], "end": edges[1:]}).sample(fraction=0.9, seed=1).sort("start")
    table = rows.with_columns(split=pl.Series(rng.choice(SPLITS, rows.height)))
    a, b, label = (table[name].to_list() for name in ("start", "end", "split"))
    start, end = list(a), list(b)
    for i in range(len(a) - 1):
        if label[i] != label[i + 1]:
            lacking = max(margin - (a[i + 1] - b[i]), 0)
            for j in range(len(a)):
                if j <= i and label[j] == label[i]:
                    end[j] = min(end[j], b[i] - lacking // 2)
                if j > i and label[j] == label[i + 1]:
                    start[j] = max(start[j], a[i + 1] + lacking - lacking // 2)
    want = [(s, e, n) for s, e, n in zip(start, end, label) if e > s]
    assert _apart(table, margin).rows() == want and (margin == 0) == (len(want) == len(a))


def test_by_chromosome():
    parts = {"train": ["1", "chr3"], "validation": ["chr2"], "test": ["X"]}
    split = split_chromosomes(LENGTHS, parts, block=400, shape=WindowShape(64, 16))
    assert split.by == "chromosome"
    assert split.regions.rows() == [
        ("chr1", 0, 400, "train", 0),
        ("chr1", 400, 980, "train", 1),
        ("chr2", 0, 400, "validation", 2),
        ("chr2", 400, 700, "validation", 3),
        ("chr3", 0, 500, "train", 4),
        ("chrX", 0, 300, "test", 5),
    ]
    assert set(tile(split, "train", WindowShape(64, 16)).chroms) == {"chr1", "chr3"}


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"train": ["1"], "validation": ["2"], "test": ["9"]}, "test names 9, which is not"),
        ({"train": ["1"], "validation": ["2"], "test": ["chr1"]}, "chr1 is in train and in test"),
        ({"train": ["1"], "validation": ["2"]}, "nothing for test (train 980, validation 700, test 0 bp)"),
        ({"train": ["1"], "valid": ["2"], "test": ["3"]}, "valid is no split"),
    ],
)
def test_wrong_chromosomes(parts, says):
    assert says in message_of(split_chromosomes, LENGTHS, parts)


def test_random_split_overlaps():
    shape = WindowShape(64, 16, 1)
    split = split_random({"1": 5000, "2": 3000}, shape, seed=1, block=500)
    found = {name: intervals(split, name, shape) for name in SPLITS}
    assert sum(map(len, found.values())) == 155 + 92
    assert [len(found[name]) for name in SPLITS] == [173, 37, 37]
    assert all(s % 32 == 0 for part in found.values() for _, s, _ in part)
    near = sum(any(c == d and abs(s - t) < 64 for d, t, _ in found["train"]) for c, s, _ in found["test"])
    assert near > 30
    windows = tile(split, "test", shape, offset=5)
    assert windows.starts.tolist() == tile(split, "test", shape).starts.tolist()
    assert (windows.blocks == windows.starts // 500 + np.where(windows.chroms == "2", 10, 0)).all()


def test_random_split_refuses():
    shape = WindowShape(64, 16, 1)
    assert "nothing for" in message_of(split_random, {"1": 100}, shape, seed=1)
    assert "nothing for" in message_of(split_random, {"1": 30}, shape, seed=1)
    assert "stride = 20" in message_of(split_random, {"1": 5000}, shape, seed=1, stride=20)


# --- windows ------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    seed=st.integers(0, 1000),
    window=st.sampled_from([64, 96, 128]),
    crop=st.integers(0, 1),
    offset=st.integers(0, 15),
    block=st.sampled_from([500, 700, 1111]),
)
def test_targets_tile_and_inputs_stay_inside(seed, window, crop, offset, block):
    shape = WindowShape(window, 16, crop)
    codes = {"1": np.zeros(20_000, np.uint8), "2": np.zeros(9_777, np.uint8)}
    codes["1"][seed * 10 : seed * 10 + 3000] = 4
    lengths = {c: len(v) for c, v in codes.items()}
    split = split_blocks(lengths, block=block, margin=window, seed=seed, usable=codes, fractions=(0.6, 0.2, 0.2))
    for name in SPLITS:
        rows = split.regions.filter(pl.col("split") == name)
        inside = {c: np.zeros(n, bool) for c, n in lengths.items()}
        label = {c: np.full(n, -1) for c, n in lengths.items()}
        for chrom, start, end, _, block_id in rows.iter_rows():
            inside[chrom][start:end] = True
            label[chrom][start:end] = block_id
        predicted = {c: np.zeros(n, int) for c, n in lengths.items()}
        windows = tile(split, name, shape, offset)
        order = [(list(lengths).index(c), s) for c, s in zip(windows.chroms.tolist(), windows.starts.tolist())]
        assert order == sorted(order)
        for chrom, start, where in zip(windows.chroms.tolist(), windows.starts.tolist(), windows.blocks.tolist()):
            assert (start - offset) % 16 == 0
            assert inside[chrom][start : start + window].all()
            predicted[chrom][start + crop * 16 : start + window - crop * 16] += 1
            assert label[chrom][start + window // 2] == where
        assert max(p.max() for p in predicted.values()) == 1


def test_a_long_region_is_predicted_whole():
    split = split_chromosomes({"1": 1000, "2": 80, "3": 64}, {"train": ["1"], "validation": ["2"], "test": ["3"]})
    shape = WindowShape(64, 16, 1)
    found = tile(split, "train", shape)
    assert found.starts.tolist() == list(range(0, 937, 32))
    assert tile(split, "train", shape, offset=8).starts.tolist() == list(range(8, 937, 32))
    assert tile(split, "test", shape).starts.tolist() == [0]
    says = message_of(tile, split, "test", shape, 4)
    assert "test split has no window of 64 bp at offset 4" in says and "train 30, validation 1, test 1" in says


def test_wrong_tiling():
    split = split_chromosomes({"1": 1000, "2": 80, "3": 64}, {"train": ["1"], "validation": ["2"], "test": ["3"]})
    shape = WindowShape(64, 16, 1)
    assert "no split 'valid'" in message_of(tile, split, "valid", shape)
    assert "offset = 32" in message_of(tile, split, "train", shape, 32)
    assert "offset = -1" in message_of(tile, split, "train", shape, -1)


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
    track = Track("up", strand="+")
    data = SequenceData({"1": np.zeros(64, np.uint8)}, {"1": np.zeros((1, 16), np.float32)}, 4, (track,))
    at = (np.array(["1"]), np.array([0]), SHAPE)
    assert batch(data, *at)[1].shape == (1, 4, 1)
    assert "(up)" in message_of(batch, data, *at, reverse=True)


# --- composition --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("k", "neighbours", "crop"), [(1, 0, 0), (2, 1, 2), (3, 5, 1), (2, 50, 0)])
def test_kmer_features_are_those_of_a_loop(k, neighbours, crop):
    shape = WindowShape(64, 8, crop)
    rng = np.random.default_rng(k)
    codes = np.where(rng.random((3, 64)) < 0.1, 4, rng.integers(0, 4, (3, 64))).astype(np.uint8)
    codes[0, 16:24] = 4
    own = np.zeros((3, 8, 1 + 4**k))
    for i in range(3):
        for j in range(8):
            letters = codes[i, j * 8 : j * 8 + 8].tolist()
            bases = [b for b in letters if b < 4]
            own[i, j, 0] = sum(b in (1, 2) for b in bases) / max(len(bases), 1)
            words = [letters[s : s + k] for s in range(8 - k + 1) if 4 not in letters[s : s + k]]
            for word in words:
                own[i, j, 1 + sum(b * 4 ** (k - 1 - p) for p, b in enumerate(word))] += 1 / len(words)
    found = kmer_features(codes, shape, k, neighbours)
    assert found.shape == (3, shape.n_bins, 2 * (1 + 4**k)) and found.dtype == np.float32
    for j in range(shape.n_bins):
        at = j + crop
        near = [b for b in range(8) if abs(b - at) <= neighbours]
        np.testing.assert_allclose(found[:, j, : 1 + 4**k], own[:, at], atol=1e-6)
        np.testing.assert_allclose(found[:, j, 1 + 4**k :], own[:, near].mean(axis=1), atol=1e-6)


@pytest.mark.parametrize(("k", "neighbours"), [(0, 1), (7, 1), (5, 1), (2, -1)])
def test_wrong_kmers(k, neighbours):
    says = message_of(kmer_features, np.zeros((1, 8), np.uint8), WindowShape(8, 4), k, neighbours)
    assert f"k = {k}, neighbours = {neighbours}" in says


def test_examples():
    import doctest

    assert doctest.testmod(dataset).failed == 0
