"""genopred.attribution.backgrounds."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tangermeme")

from attribution_data import letters, random_windows
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.attribution.backgrounds import backgrounds
from genopred.errors import GenopredError
from genopred.sequence.onehot import encode, onehot


def pairs(text):
    return sorted(text[i : i + 2] for i in range(len(text) - 1))


@given(st.text("ACGT", min_size=4, max_size=60), st.integers(0, 1000))
@settings(max_examples=30)
def test_shuffles_keep_dinucleotides_and_ends(text, seed):
    shuffled = backgrounds(onehot(encode(text)), "shuffled", 3, seed)
    assert shuffled.shape == (3, len(text), 4) and shuffled.dtype == np.float32
    for one in shuffled:
        assert pairs(letters(one)) == pairs(text) and letters(one)[0] == text[0] and letters(one)[-1] == text[-1]
    np.testing.assert_array_equal(shuffled, backgrounds(onehot(encode(text)), "shuffled", 3, seed))


def test_n_stays_where_it_is():
    text = "ACGTACGGTTNNNNCCATGCATTACGNA"
    x = onehot(encode(text))
    for kind in ("shuffled", "uniform"):
        for one in backgrounds(x, kind, 2, 1):
            np.testing.assert_array_equal(one.sum(axis=1) > 0, x.sum(axis=1) > 0)
    assert pairs(letters(backgrounds(x, "shuffled", 1, 1)[0][:10])) == pairs(text[:10])


def test_the_others_are_one_each():
    x = random_windows(1, 12)[0]
    assert (backgrounds(x, "uniform", 5, 1) == 0.25).all() and len(backgrounds(x, "uniform", 5, 1)) == 1
    assert not backgrounds(x, "zero", 5, 1).any()
    y = random_windows(1, 60)[0]
    assert (backgrounds(y, "shuffled", 2, 1)[1] != backgrounds(y, "shuffled", 2, 2)[0]).any()
    with pytest.raises(GenopredError, match="--background ones: there are shuffled, uniform, zero"):
        backgrounds(x, "ones", 1, 1)
