"""LD blocks, LD scores and loci against naive sums and made-up blocks."""

from __future__ import annotations

import numpy as np
import pytest

from genopred.errors import GenopredError
from genopred.genetics import loci
from genopred.genetics.ld import r2_matrix


def test_loci_by_distance_and_by_ld():
    pos = [100, 150, 5_000, 5_050]
    assert loci.loci([1.0, 4.0, 3.0, 2.0], pos, kb=1).tolist() == [1, 1, 2, 2]
    rng = np.random.default_rng(1)
    x = rng.integers(0, 3, (100, 2))[:, [0, 1, 0, 1]].astype(float)
    assert loci.loci([1.0, 4.0, 3.0, 2.0], pos, dosage=x, kb=250).tolist() == [2, 1, 2, 1]


def test_ld_scores_are_the_sum_of_unbiased_r2():
    rng = np.random.default_rng(1)
    base = rng.integers(0, 3, (60, 12)).astype(float)
    x = (base + np.roll(base, 1, axis=1) > 2).astype(float) + (rng.random((60, 12)) < 0.3)
    pos = np.sort(rng.integers(1, 3_000_000, 12))
    r2 = r2_matrix(x)
    r2 = r2 - (1 - r2) / 58
    near = np.abs(pos[:, None] - pos) < 1_000_000
    assert np.allclose(loci.ld_scores(x, pos), np.where(near, r2, 0).sum(axis=1), atol=1e-6)
    assert np.allclose(loci.ld_scores(x, pos, columns=[7, 2]), np.where(near, r2, 0).sum(axis=1)[[7, 2]], atol=1e-6)
    with pytest.raises(GenopredError, match="sorted"):
        loci.ld_scores(x, pos[::-1])


def test_ld_blocks_cut_where_ld_is_low():
    rng = np.random.default_rng(1)
    sizes = [15, 30, 12, 20]
    x = np.repeat(rng.integers(0, 3, (300, 4)), sizes, axis=1) * 1.0
    assert np.bincount(loci.ld_blocks(x)).tolist() == sizes
    assert loci.ld_blocks(np.repeat(rng.integers(0, 3, (300, 1)), 50, axis=1)).max() == 0
