"""Rankings and their overlap: against naive loops and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from overlap_data import two
from scipy import stats

from genopred.errors import GenopredError
from genopred.genetics.overlap.rankings import (
    expected_curve,
    hypergeometric,
    overlap_curve,
    rank_correlation,
    rankings,
    shared_at,
    shared_loci,
)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(1, 4), st.booleans())
def test_curve_is_the_naive_one(seed, m, groups, tied):
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 5, (2, m)) + [[0.0], [0.0]]) if tied else rng.random((2, m))
    a[0], b[0] = a[0] + 0.5, b[0] + 0.5
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return
    group = rng.integers(0, groups, m)
    r = rankings(a, b, group=group)
    curve = overlap_curve(r)
    for k in range(1, len(curve) + 1):
        total = 0
        for g in np.unique(r.group):
            here = np.flatnonzero(r.group == g)
            first = {i for i in here if r.rank_a[i] < k}
            total += len(first & {i for i in here if r.rank_b[i] < k})
        assert curve[k - 1] == total == shared_at(r, k)
    # Ranks are a permutation within each group, and follow the scores.
    for g in np.unique(r.group):
        here = r.group == g
        assert sorted(r.rank_a[here]) == list(range(here.sum()))
        assert (np.diff(r.a[here][np.argsort(r.rank_a[here])]) <= 0).all()
    assert (r.a == a[r.row]).all() and (r.b == b[r.row]).all()


def test_hypergeometric_is_scipys_and_convolves_groups():
    r = two(300)
    shared = shared_at(r, 40)
    p, (low, high) = hypergeometric(r, 40)
    law = stats.hypergeom(300, 40, 40)
    assert p == pytest.approx(law.sf(shared - 1), rel=1e-10)
    assert (low, high) == tuple(law.interval(0.95))
    assert expected_curve(r)[39] == pytest.approx(law.mean())
    many = two(90, groups=3)
    rng = np.random.default_rng(1)
    draws = sum(rng.hypergeometric(5, size - 5, 5, 200_000) for size in many.sizes.tolist())
    assert hypergeometric(many, 5)[0] == pytest.approx(np.mean(draws >= shared_at(many, 5)), abs=0.005)


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 8, (2, 100)).astype(float)
    assert rank_correlation(rankings(a, b)) == pytest.approx(stats.spearmanr(a, b).statistic)
    group = np.repeat([0, 1], [30, 70])
    parts = [stats.spearmanr(a[group == g], b[group == g]).statistic for g in (0, 1)]
    together = rank_correlation(rankings(a, b, group=group))
    assert together == pytest.approx(0.3 * parts[0] + 0.7 * parts[1])


def test_shared_loci():
    pos = [100, 150, 5_000, 5_050]
    r = rankings([9.0, 8.0, 1.0, 2.0], [1.0, 9.0, 8.0, 2.0], pos=pos)
    assert shared_loci(r, [1, 1, 2, 2], 2) == (1, 2, 1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rankings([1.0, 1.0], [1.0, 2.0]), "same a"),
        (lambda: rankings([1.0, np.nan], [1.0, 2.0]), "no finite a"),
        (lambda: rankings([1.0], [1.0]), "at least 2"),
        (lambda: rankings([1.0, 2.0], [1.0, 2.0, 3.0]), "shape"),
        (lambda: rankings([1.0, 2.0], [1.0, 2.0], group=[1]), "group"),
        (lambda: rankings([1.0, 2.0], [1.0, 2.0], dosage=[[1.0]]), "dosage"),
        (lambda: shared_at(two(10), 11), "between 1 and the 10"),
    ],
)
def test_bad_input_of_rankings(call, words):
    with pytest.raises(GenopredError, match=words):
        call()
