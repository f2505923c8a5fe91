"""What a random split promises too much: which windows were seen, and which are common."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

from training_data import SHAPE  # noqa: E402

from genopred.training import inflation  # noqa: E402
from genopred.training.splits import Windows, split_blocks, split_random, tile  # noqa: E402


def test_seen_and_common_windows_as_in_plain_loops():
    lengths = {"chr1": 200_000, "chr2": 100_000}
    random = split_random(lengths, SHAPE, seed=1)
    block = split_blocks(lengths, block=20_000, margin=2048, seed=1)
    test, training = tile(random, "test", SHAPE), tile(random, "train", SHAPE)
    regions = [row for row in block.regions.iter_rows(named=True) if row["split"] == "test"]
    bases = {(row["chrom"], i) for row in regions for i in range(row["start"], row["end"])}
    inside = [
        all((chrom, i) in bases for i in range(start, start + SHAPE.window))
        for chrom, start in zip(test.chroms, test.starts)
    ]
    common = inflation._inside(test, block, SHAPE)
    assert sum(inside) > 0
    np.testing.assert_array_equal(common.starts, test.starts[inside])
    np.testing.assert_array_equal(common.chroms, test.chroms[inside])
    few = Windows(training.chroms[::9], training.starts[::9], training.blocks[::9])
    hits = [
        any(c == d and abs(s - t) < SHAPE.target for d, t in zip(few.chroms, few.starts))
        for c, s in zip(test.chroms, test.starts)
    ]
    assert 0 < sum(hits) < len(hits)
    assert inflation.share_seen((test.chroms, test.starts), (few.chroms, few.starts), SHAPE.target) == pytest.approx(
        np.mean(hits)
    )
