"""What is held at a time stays inside the memory given, and uses it."""

from __future__ import annotations

import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.errors import GenopredError
from genopred.genetics.moments import Adding, Moments
from genopred.learning.budget import CELL, DEFAULT, FEWEST, MOST, WORKING, plan, sums_bytes
from genopred.settings.declare import number_of_bytes

SIZES = {
    "memory": st.integers(10**6, 10**11), "n": st.integers(1, 10**6), "m": st.integers(1, 8000),
    "outer": st.integers(2, 20), "inner": st.integers(3, 10),
}  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(**SIZES, missing=st.booleans())
def test_a_plan_fits_and_no_better_one_does(memory, n, m, outer, inner, missing):
    holes = m if missing else 0
    try:
        found = plan(memory, n, m, outer, inner, holes=holes)
    except GenopredError:
        assert (inner + 1 + WORKING) * sums_bytes(m, holes) + min(n, FEWEST) * CELL * m > memory
        return

    def takes(block, folds):
        return (folds * (inner + 1) + WORKING) * sums_bytes(m, holes) + block * CELL * m

    assert 1 <= found.folds_at_once <= outer and min(n, FEWEST) <= found.block <= min(n, MOST)
    assert found.bytes == takes(*found[:2]) <= memory
    assert found.block == min(n, MOST) or takes(found.block + 1, found.folds_at_once) > memory
    passes = -(-outer // found.folds_at_once)
    assert passes == 1 or all(
        takes(min(n, 1024), folds) > memory for folds in range(1, outer + 1) if -(-outer // folds) < passes
    )


@settings(max_examples=100, deadline=None)
@given(**SIZES, more=st.integers(0, 10**10))
def test_more_memory_never_means_more_passes(memory, n, m, outer, inner, more):
    try:
        less = plan(memory, n, m, outer, inner)
    except GenopredError:
        return
    assert plan(memory + more, n, m, outer, inner).folds_at_once >= less.folds_at_once


def test_what_is_needed_is_said_and_is_enough():
    for m in (500, 2000, 2345, 7000):
        with pytest.raises(GenopredError, match="--memory 1MB: the sums of a gene of") as caught:
            plan(1_000_000, 50_000, m, 5, 5)
        needed = number_of_bytes(re.search(r"need (\S+),", str(caught.value))[1])
        assert plan(needed, 50_000, m, 5, 5).folds_at_once == 1
        with pytest.raises(GenopredError):
            plan(int(needed * 0.9), 50_000, m, 5, 5)


def test_by_default_two_gigabytes_or_what_is_needed_and_free():
    assert plan(None, 100_000, 2000, 5, 5) == plan(DEFAULT, 100_000, 2000, 5, 5)
    assert plan(None, 100_000, 2000, 5, 5).folds_at_once == 5, "the size that the documentation promises"
    large = plan(None, 100_000, 8000, 5, 5)
    assert large.bytes > DEFAULT and large[:2] == (FEWEST, 1)
    assert plan(None, 100_000, 2000, 5, 5, free=10**12) == plan(DEFAULT, 100_000, 2000, 5, 5)
    tight = plan(None, 100_000, 2000, 5, 5, free=600_000_000)
    assert tight.bytes <= 600_000_000 and tight.folds_at_once == 2
    with pytest.raises(GenopredError, match=r"3GB of memory are free for one worker: .* need 4\.65GB, .*--threads"):
        plan(None, 100_000, 8000, 5, 5, free=3_000_000_000)


@pytest.mark.parametrize("missing", [False, True])
def test_bytes_of_sums_are_those_of_moments(missing):
    rng = np.random.default_rng(1)
    m = 150
    x = rng.integers(0, 3, (400, m)).astype(np.float32)
    if missing:
        x[rng.random(x.shape) < 0.1] = np.nan
    held = Moments.of(x, rng.standard_normal(400))
    total = sum(v.nbytes for v in vars(held).values() if isinstance(v, np.ndarray))
    assert sums_bytes(m, len(held.holes)) <= total <= 1.1 * sums_bytes(m, len(held.holes))


@pytest.mark.parametrize("fractions", [False, True])
def test_bytes_of_a_person_cover_what_adding_takes(fractions):
    n, m = 4096, 300
    x = np.random.default_rng(1).integers(0, 3, (n, m)).astype(np.float32) + (0.25 if fractions else 0.0)
    adding = Adding(m, 1)
    y = np.zeros((n, 1))
    tracemalloc.start()
    try:
        adding.add(np.asfortranarray(x), y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= CELL * n * m + WORKING * sums_bytes(m)
