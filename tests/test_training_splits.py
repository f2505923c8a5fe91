"""Splits and their windows against loops over bases, and what must hold of every split."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from genopred.errors import GenopredError
from genopred.training import splits
from genopred.training.splits import (
    REGION_SCHEMA,
    SPLITS,
    Split,
    WindowShape,
    split_blocks,
    split_chromosomes,
    split_random,
    tile,
)


def message_of(call, *arguments, **options):
    with pytest.raises(GenopredError) as caught:
        call(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize(("window", "bin", "crop"), [(100, 16, 0), (64, 16, 2), (64, 16, -1), (0, 16, 0), (64, 0, 0)])
def test_wrong_shape(window, bin, crop):
    assert "needed" in message_of(WindowShape, window, bin, crop) or "multiple" in message_of(
        WindowShape, window, bin, crop
    )


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
    from genopred.training.splits import set_apart

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
    assert set_apart(table, margin).rows() == want and (margin == 0) == (len(want) == len(a))


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


def test_examples():
    import doctest

    assert doctest.testmod(splits).failed == 0
