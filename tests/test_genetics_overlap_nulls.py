"""Nulls of overlaps: against loops, and against simulations with nothing to find."""

from __future__ import annotations

import numpy as np
import pytest
from overlap_data import two

from genopred.errors import GenopredError
from genopred.genetics import loci
from genopred.genetics.overlap.nulls import (
    NULLS,
    bootstrap_interval,
    null_draws,
    null_overlap,
    null_test,
    overlap_interval,
)
from genopred.genetics.overlap.rankings import hypergeometric, rank_correlation, rankings, shared_at


@pytest.mark.parametrize("null", ["permutation", "shift"])
def test_moving_nulls_keep_scores_within_groups(null):
    r = two(120, groups=3)
    for draw in null_draws(r, null, 5):
        for g in range(3):
            here = r.group == g
            assert sorted(draw.a[here]) == sorted(r.a[here])
            assert sorted(draw.rank_a[here]) == list(range(here.sum()))
        assert (draw.b == r.b).all()


def test_shifts_are_made_once_each_and_keep_neighbours():
    r = two(30)
    draws = list(null_draws(r, "shift", 1000))
    assert len(draws) == 29
    assert {tuple(d.a) for d in draws} == {tuple(np.roll(r.a, i)) for i in range(1, 30)}
    assert len(list(null_draws(r, "shift", 10))) == 10


def test_blocks_stay_whole_and_in_place():
    label = np.repeat([0, 1, 2], [4, 8, 2])
    a = label * 100.0 + np.concatenate([np.arange(n) for n in (4, 8, 2)])
    r = rankings(a, np.random.default_rng(1).random(14), block=label)
    seen = set()
    for draw in null_draws(r, "blocks", 200):
        sources = [set((draw.a[label == i] // 100).tolist()) for i in range(3)]
        assert all(len(s) == 1 for s in sources)  # a block's scores come from one block
        seen.add(tuple(int(s.pop()) for s in sources))
        assert sorted(draw.rank_a) == list(range(14))
    assert len(seen) == 6


def test_phenotype_null_has_the_ld_of_the_genotypes():
    rng = np.random.default_rng(1)
    base = rng.integers(0, 3, (200, 10)).astype(float)
    x = np.repeat(base, 3, axis=1)  # runs of three identical SNPs
    r = rankings(rng.random(30), rng.random(30), dosage=x, z_b=np.full(30, 8.0))
    draws = np.array([d.b for d in null_draws(r, "phenotype", 100)])
    runs = draws.reshape(100, 10, 3)
    assert np.ptp(runs, axis=2).max() < 1e-4
    assert 6 < np.median(draws.max(axis=1)) < 10  # as strong a signal as the one given
    noise = rankings(rng.random(30), rng.random(30), dosage=x, z_b=np.full(30, 1.0))
    assert np.median([d.b.max() for d in null_draws(noise, "phenotype", 100)]) < 3


def test_null_overlap_against_loops():
    r = two(60, seed=4)
    found = null_overlap(r, "shift", 1000, ks=(7,))
    counts = []
    for i in range(1, 60):
        moved = np.roll(r.rank_a, i)
        counts.append(int(np.sum((moved < 7) & (r.rank_b < 7))))
    at = found.at(7)
    assert at["mean"] == pytest.approx(np.mean(counts))
    assert at["p"] == pytest.approx((1 + np.sum(np.array(counts) >= shared_at(r, 7))) / 60)
    assert found.n == 59 and 0 < found.p_any <= 1
    with pytest.raises(GenopredError, match="not kept at k = 9999"):
        found.at(9999)


def test_true_overlap_is_found_by_every_null():
    rng = np.random.default_rng(2)
    x = np.repeat(rng.integers(0, 3, (150, 40)), 5, axis=1).astype(float)
    signal = np.repeat(rng.random(40), 5)
    a, b = signal + 0.05 * rng.random(200), signal + 0.05 * rng.random(200)
    r = rankings(a, b, block=loci.ld_blocks(x, min_snps=5), dosage=x, z_b=b)
    for null in NULLS:
        found = null_overlap(r, null, 500, ks=(20,))
        assert found.at(20)["p"] < 0.02 and found.p_any < 0.02, null


def test_plain_tests_are_fooled_by_ld_and_the_others_are_not():
    """Two independent phenotypes on the same genotypes, 60 blocks of 8 SNPs in full LD: nothing is shared."""
    rng = np.random.default_rng(3)
    called = {"hypergeometric": 0, "permutation": 0, "shift": 0, "blocks": 0, "phenotype": 0}
    people, pairs, k = 120, 60, 24
    for _ in range(pairs):
        x = np.repeat(rng.standard_normal((people, 60)), 8, axis=1) + 0.1 * rng.standard_normal((people, 480))
        y = rng.standard_normal((2, people))
        a, b = np.abs(y @ (x - x.mean(axis=0)))
        r = rankings(a, b, block=np.repeat(np.arange(60), 8), dosage=x)
        called["hypergeometric"] += hypergeometric(r, k)[0] <= 0.05
        for null in NULLS:
            test = null_test(r, lambda draw: float(shared_at(draw, k)), null, 99)
            called[null] += test.p <= 0.05
    # 3 of 60 expected at 5 %; more than 9 has p < 0.001.
    assert called["hypergeometric"] > 9 and called["permutation"] > 9, called
    assert called["blocks"] <= 9 and called["phenotype"] <= 9, called
    assert called["shift"] < called["permutation"], called


def test_intervals_hold_the_value_and_widen_with_fewer_loci():
    rng = np.random.default_rng(1)
    x = rng.random(400)
    r = rankings(x, x + 0.1 * rng.random(400))
    low, high = overlap_interval(r, 40, 300)
    assert low <= shared_at(r, 40) <= high
    low, high = bootstrap_interval(r, rank_correlation, 300)
    assert low < rank_correlation(r) < high <= 1
    groups = rankings(x, x + 0.1 * rng.random(400), group=np.repeat(np.arange(20), 20))
    low, high = overlap_interval(groups, 5, 300)
    assert low <= shared_at(groups, 5) <= high


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: list(null_draws(two(10), "jackknife", 5)), "unknown"),
        (lambda: list(null_draws(two(10), "shift", 0)), "at least 1"),
        (lambda: list(null_draws(two(10), "blocks", 5)), "needs LD blocks"),
        (lambda: list(null_draws(two(10, block=np.zeros(10)), "blocks", 5)), "one LD block"),
        (lambda: list(null_draws(two(10), "phenotype", 5)), "give genotypes"),
    ],
)
def test_bad_input_of_nulls(call, words):
    with pytest.raises(GenopredError, match=words):
        call()
