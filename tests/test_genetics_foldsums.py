"""Training sets by their sums, against the same people."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import linregress

from genopred.errors import GenopredError
from genopred.genetics.foldsums import SAME, FoldSums, by_strength
from genopred.genetics.moments import Moments, total


def people(seed=0, n=400, m=12, k=4, shift=0.0):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, (n, m)).astype(float)
    x[:, 3] = rng.uniform(0, 2, n)
    return x, x[:, 1] - 0.5 * x[:, 3] + rng.normal(size=n) + shift, rng.integers(0, k, n)


def sums(x, y, folds):
    parts = [Moments.of(x[folds == k], y[folds == k]) for k in range(folds.max() + 1)]
    return FoldSums(total(parts), parts, "test")


@pytest.mark.parametrize("shift", [0.0, 1e4])
def test_regressions_of_every_training_set_are_scipys(shift):
    x, y, folds = people(shift=shift)
    x[folds != 2, 5] = 1  # varies in one fold alone
    known = sums(x, y, folds)
    for out in [frozenset(some) for size in range(3) for some in combinations(range(4), size)]:
        keep = ~np.isin(folds, list(out))
        found = known.regress(out)
        assert found.df == keep.sum() - 2 and found.mean_y == pytest.approx(y[keep].mean(), rel=1e-12)
        np.testing.assert_allclose(found.mean_x, x[keep].mean(axis=0), rtol=1e-12)
        for j in range(x.shape[1]):
            if j == 5 and 2 in out:
                assert found.slope[j] == 0 and np.isnan(found.tstat[j])
                continue
            fit = linregress(x[keep, j], y[keep])
            assert found.slope[j] == pytest.approx(fit.slope, rel=1e-7, abs=1e-9)
            assert found.tstat[j] == pytest.approx(fit.slope / fit.stderr, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_gains_are_those_of_the_scores_of_people(share):
    x, y, folds = people(1)
    known = sums(x, y, folds)
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(5, x.shape[1])) * (rng.random((5, x.shape[1])) < share)
    weights[4] = 0
    for fold in range(4):
        base = known.regress(frozenset([fold, (fold + 1) % 4]))
        cross, square = known.gains(fold, base, weights)
        scores = weights @ (x[folds == fold] - base.mean_x).T
        np.testing.assert_allclose(cross, scores @ (y[folds == fold] - base.mean_y), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(square, (scores**2).sum(axis=1), rtol=1e-9, atol=1e-9)
        assert cross[4] == square[4] == 0


def test_ld_of_a_training_set_is_without_its_folds():
    x, y, folds = people(3)
    products = sums(x, y, folds).ld(frozenset([0, 2]))
    keep = ~np.isin(folds, [0, 2])
    alone = Moments.of(x[keep], y[keep])
    assert products.n == alone.n
    np.testing.assert_allclose(products.gram - products.out[0] - products.out[1], alone.gram, rtol=1e-12)
    np.testing.assert_allclose(products.spread, alone.n**2 * x[keep].var(axis=0), rtol=1e-9)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_strength_is_order_by_absolute_t_and_rounding_makes_no_difference(seed):
    rng = np.random.default_rng(seed)
    t = rng.integers(-6, 7, 30).astype(float)  # ties
    t[rng.random(30) < 0.2] = np.nan
    t[rng.random(30) < 0.05] = np.inf
    plain = by_strength(t, 50)
    usable = np.flatnonzero(~np.isnan(t))
    assert plain.tolist() == sorted(usable, key=lambda j: (-abs(t[j]), j))
    assert by_strength(t * (1 + 1e-15 * rng.integers(-3, 4, 30)), 50, SAME).tolist() == plain.tolist()
    assert by_strength(np.empty(0), 5, SAME).tolist() == []


def test_an_outcome_that_does_not_vary_has_no_regressions():
    x, y, folds = people()
    found = sums(x, np.full(len(y), 0.1), folds).regress(frozenset([1]))
    assert np.isnan(found.tstat).all() and not found.slope.any() and found.mean_y == pytest.approx(0.1)


def test_sums_of_something_else_are_refused():
    x, y, folds = people()
    parts = [Moments.of(x[folds == k], y[folds == k]) for k in range(4)]
    whole = total(parts)
    with pytest.raises(GenopredError, match="test: folds of .* people do not add up to the whole of 400"):
        FoldSums(whole, parts[:3], "test")
    with pytest.raises(GenopredError, match="do not add up"):
        FoldSums(whole, [parts[0], parts[1], parts[2], parts[3].flipped(np.ones(12, dtype=bool))], "test")
    holed = x.copy()
    holed[0, 0] = np.nan
    for wrong in (
        Moments.of(holed, y),
        Moments.of(x, np.column_stack([y, y])),
        Moments.of(x, y, y),
        Moments.of(x[:, :5], y),
    ):
        with pytest.raises(GenopredError, match="needed are .* variants, one outcome"):
            FoldSums(whole, [wrong], "test")
