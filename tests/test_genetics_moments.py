"""Sums over people: added, subtracted, flipped, filled, against the same made anew from the people."""

from __future__ import annotations

import numpy as np
import pytest

from genopred.errors import GenopredError
from genopred.genetics.moments import MANY, Adding, Moments, sums_suffice, total
from genopred.genetics.transform import Residualiser, mean_filled, residualise

FIELDS = (
    "n", "gram", "sums", "cross", "square", "totals", "covariates", "holes", "known", "known_gram", "known_both",
    "known_cross",
)  # fmt: skip
#: Sums of whole numbers, which lose nothing.
EXACT = ("n", "gram", "sums", "holes", "known", "known_gram", "known_both")


def people(seed=0, n=500, m=40, missing=0.05):
    """Dosages of which half the variants are missing in some people, three covariates, two outcomes."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, (n, m)).astype(np.float32)
    x[:, ::2] = np.where(rng.random((n, m))[:, ::2] < missing, np.nan, x[:, ::2])
    return x, rng.standard_normal((n, 2)), rng.standard_normal((n, 3)) + 5


def same(a, b, exact=(), rtol=1e-9):
    for name in FIELDS:
        one, other = np.asarray(getattr(a, name)), np.asarray(getattr(b, name))
        assert one.shape == other.shape, name
        if name in exact:
            assert np.array_equal(one, other), name
        else:
            np.testing.assert_allclose(one, other, rtol=rtol, atol=1e-8, err_msg=name)


def test_sums_are_those_of_a_plain_loop():
    x, y, c = people()
    made = Moments.of(x, y, c)
    m, others = x.shape[1], np.hstack([c, y])
    for j in range(0, m, 7):
        known = ~np.isnan(x[:, j])
        for k in range(0, m, 5):
            both = known & ~np.isnan(x[:, k])
            assert made.gram[j, k] == sum(float(a) * float(b) for a, b in zip(x[both, j], x[both, k]))
        np.testing.assert_allclose(made.cross[j], (x[known, j, None] * others[known]).sum(axis=0), rtol=1e-5)
    np.testing.assert_allclose(made.mean, np.nanmean(x.astype(float), axis=0))
    np.testing.assert_allclose(made.variance, np.nanvar(x.astype(float), axis=0))
    assert made.holes.tolist() == np.flatnonzero(np.isnan(x).any(axis=0)).tolist()
    assert made.outcomes == 2 and made.m == m


@pytest.mark.parametrize("seed", range(3))
def test_parts_in_any_order_add_up_to_the_whole(seed):
    x, y, c = people(seed)
    rng = np.random.default_rng(seed + 10)
    part = rng.integers(0, 7, len(x))
    part[np.isnan(x[:, 0])] = 3  # in most parts nobody lacks the first variant
    pieces = [Moments.of(x[part == i], y[part == i], c[part == i]) for i in rng.permutation(7)]
    same(total(pieces), Moments.of(x, y, c), EXACT)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_subtracted_was_never_there(seed):
    x, y, c = people(seed)
    out = np.random.default_rng(seed).random(len(x)) < 0.2
    out |= np.isnan(x[:, 2])  # nobody else lacks this one
    left = Moments.of(x, y, c) - Moments.of(x[out], y[out], c[out])
    same(left, Moments.of(x[~out], y[~out], c[~out]), EXACT)
    assert 2 not in left.holes


def test_order_of_people_and_size_of_blocks_change_nothing():
    x, y, c = people()
    order = np.random.default_rng(1).permutation(len(x))
    adding = Adding(x.shape[1], 5, 3)
    for start in range(0, len(x), 37):
        rows = order[start : start + 37]
        adding.add(x[rows], np.hstack([c, y])[rows])
    same(adding.moments(), Moments.of(x, y, c), EXACT)


def test_doses_that_are_no_whole_numbers_keep_their_digits():
    rng = np.random.default_rng(2)
    x = rng.random((300, 20)).astype(np.float32) * 2
    made = Moments.of(x, rng.standard_normal(300))
    np.testing.assert_allclose(made.gram, x.astype(float).T @ x.astype(float), rtol=1e-12)
    wide = rng.random((300, 20)) * 2
    np.testing.assert_allclose(Moments.of(wide, np.zeros(300)).gram, wide.T @ wide, rtol=1e-12)
    large = np.full((300, 1), 4001.0, dtype=np.float32)
    assert Moments.of(large, np.zeros(300)).gram[0, 0] == 300 * 4001.0**2


def test_the_other_allele():
    x, y, c = people()
    flip = np.random.default_rng(1).random(x.shape[1]) < 0.5
    made = Moments.of(x, y, c)
    turned = made.flipped(flip)
    same(turned, Moments.of(np.where(flip, 2 - x, x), y, c), EXACT)
    same(turned.flipped(flip), made, EXACT)


def test_some_variants_in_another_order():
    x, y, c = people()
    index = np.random.default_rng(1).permutation(x.shape[1])[:17]
    same(Moments.of(x, y, c).select(index), Moments.of(x[:, index], y, c), EXACT)
    mask = np.arange(x.shape[1]) % 3 == 0
    same(Moments.of(x, y, c).select(mask), Moments.of(x[:, mask], y, c), EXACT)


def test_missing_ones_at_the_mean():
    x, y, c = people()
    same(Moments.of(x, y, c).filled(), Moments.of(mean_filled(x), y, c), rtol=1e-7)
    given = np.linspace(0, 2, x.shape[1])
    same(Moments.of(x, y, c).filled(given), Moments.of(np.where(np.isnan(x), given, x.astype(float)), y, c))


def test_covariates_are_taken_out_by_training_people():
    x, y, c = people()
    c = np.hstack([c, c[:, :1] * 2 - 1])  # a collinear one
    made = Moments.of(x, y, c)
    same(made.residualised(), Moments.of(x, residualise(y, c)))
    train = np.arange(len(x)) % 5 != 0
    coef = Moments.of(x[train], y[train], c[train]).covariate_coef()
    others = Residualiser().fit(y[train], c[train]).transform(y[~train], c[~train])
    same(Moments.of(x[~train], y[~train], c[~train]).residualised(coef), Moments.of(x[~train], others))


def test_outcomes_scaled_and_picked():
    x, y, c = people()
    made = Moments.of(x, y, c)
    same(made.scaled_outcomes([1.0, 2.0], [3.0, 4.0]), Moments.of(x, (y - [1, 2]) / [3, 4], c))
    same(made.with_outcome(1), Moments.of(x, y[:, 1], c))


def test_products_around_other_peoples_means():
    x, y, _ = people(missing=0)
    made = Moments.of(x, y)
    mean, rows = x[:300].mean(axis=0, dtype=np.float64), np.arange(300, 500)
    kept = Moments.of(x[rows], y[rows]).around(mean, 0.3, 1)
    near, other = x[rows] - mean, y[rows, 1] - 0.3
    np.testing.assert_allclose(kept.gram, near.T @ near, atol=1e-8)
    np.testing.assert_allclose(kept.cross, near.T @ other, atol=1e-8)
    weights = np.random.default_rng(0).standard_normal((x.shape[1], 3))
    misses = ((other[:, None] - near @ weights) ** 2).sum(axis=0)
    np.testing.assert_allclose(kept.squared_error(weights), misses)
    assert kept.squared_error(weights[:, 0]) == pytest.approx(misses[0])
    part = Moments.of(x[rows], y[rows]).around(mean, 0.3, 1, columns=[5, 2])
    np.testing.assert_allclose(part.gram, kept.gram[np.ix_([5, 2], [5, 2])], atol=1e-9)
    own = made.centred(0)
    np.testing.assert_allclose(own.scale(), x.std(axis=0, dtype=np.float64))
    assert own.square == pytest.approx(((y[:, 0] - y[:, 0].mean()) ** 2).sum())
    same_everywhere = Moments.of(np.full((10, 1), 1.3, dtype=np.float32), np.arange(10.0)).centred()
    assert same_everywhere.scale()[0] == 0


def test_what_does_not_fit_is_refused():
    x, y, c = people()
    made = Moments.of(x, y, c)
    with pytest.raises(GenopredError, match="do not add"):
        made + Moments.of(x[:, :5], y, c)
    with pytest.raises(GenopredError, match="cannot be taken out"):
        Moments.of(x[:10], y[:10], c[:10]) - made
    with pytest.raises(GenopredError, match="fill them first"):
        made.centred()
    with pytest.raises(GenopredError, match="NaN or infinite"):
        Moments.of(x, np.where(np.arange(len(y)) == 3, np.nan, y[:, 0]))
    with pytest.raises(GenopredError, match="do not fit 500 people"):
        Moments.of(x, y[:-1])
    with pytest.raises(GenopredError, match="needed are"):
        Adding(3, 1).add(x, y)
    with pytest.raises(GenopredError, match="nothing to add"):
        total([])


def test_the_rule():
    assert not sums_suffice(MANY - 1, 10) and sums_suffice(MANY, 10)
    assert not sums_suffice(1_999, 2_000) and sums_suffice(2_000, 2_000)
