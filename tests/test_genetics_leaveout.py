"""Training people as the whole less some folds: against sums and correlations made of those people."""

from __future__ import annotations

import numpy as np
import pytest

from genopred.errors import GenopredError
from genopred.genetics.leaveout import ROWS, LeftOut, check
from genopred.genetics.moments import Moments, total


def people(seed, n=400, m=2 * ROWS + 9):
    """Dosages of neighbours in LD, two of which do not vary; some are not whole numbers."""
    rng = np.random.default_rng(seed)
    x = rng.binomial(2, 0.3, (n, m)).astype(np.float64)
    x[:, 1::2] = np.where(rng.random((n, m // 2)) < 0.8, x[:, :-1:2], x[:, 1::2])
    x[:, 5] = 2.0
    x[:, 8] = 0.7
    x[:, 11] += 0.1 * rng.random(n)
    return x, 3.0 + x[:, 3] + rng.standard_normal(n), rng.integers(0, 4, n)


def folds_of(x, y, labels):
    return [Moments.of(x[labels == k], y[labels == k]) for k in range(4)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("out", [[], [2], [0, 3]])
def test_is_what_the_training_people_are(seed, out):
    x, y, labels = people(seed)
    parts = folds_of(x, y, labels)
    left = LeftOut(total(parts), [parts[k] for k in out])
    train = ~np.isin(labels, out)
    fit, target = x[train], y[train]
    varies = fit.std(axis=0) > 1e-6
    z = np.where(varies, (fit - fit.mean(axis=0)) / np.where(varies, fit.std(axis=0), 1.0), 0.0)
    assert left.n == train.sum() and left.m == x.shape[1]
    assert not left.scale[[5, 8]].any() and not left.inverse[[5, 8]].any()
    np.testing.assert_allclose(left.scale, np.where(varies, fit.std(axis=0), 0.0), rtol=1e-9)
    np.testing.assert_allclose([left.y_mean, left.y_scale], [target.mean(), target.std()], rtol=1e-10)
    np.testing.assert_allclose(left.cross, z.T @ (target - target.mean()) / left.n / target.std(), atol=1e-10)
    expected = z.T @ z / left.n
    np.testing.assert_allclose(left.correlations(), expected, atol=1e-10)
    single = np.empty(expected.shape, dtype=np.float32)
    assert left.correlations(single) is single
    np.testing.assert_allclose(single, expected, atol=1e-6)
    columns = np.array([40, 3, 8, 11, 100])
    np.testing.assert_allclose(left.block(columns), expected[np.ix_(columns, columns)], atol=1e-10)
    weights = np.random.default_rng(9).standard_normal((5, 3))
    np.testing.assert_allclose(left.product(columns, weights), expected[:, columns] @ weights, atol=1e-10)


def test_products_around_the_means_are_those_of_the_moments():
    x, y, labels = people(4)
    parts = folds_of(x, y, labels)
    left = LeftOut(total(parts), parts[1:2])
    room = np.empty((left.m, left.m))
    made, expected = left.centred(room), (total(parts) - parts[1]).centred()
    assert made.gram is room and made.n == expected.n
    for name in ("mean", "gram", "cross", "square", "y_mean"):
        np.testing.assert_allclose(getattr(made, name), getattr(expected, name), rtol=1e-9, atol=1e-7, err_msg=name)
    again = LeftOut.of(expected)
    np.testing.assert_allclose(again.correlations(), left.correlations(), atol=1e-10)
    np.testing.assert_allclose(again.cross, left.cross, atol=1e-10)
    columns = np.array([7, 2])
    np.testing.assert_allclose(again.product(columns, np.eye(2)), left.product(columns, np.eye(2)), atol=1e-10)


def test_an_outcome_that_does_not_vary_has_scale_1():
    x, _, labels = people(5)
    left = LeftOut(total(folds_of(x, np.full(len(x), 0.1), labels)))
    assert left.y_scale == 1.0 and np.abs(left.cross).max() < 1e-9


def test_sums_that_learners_cannot_read_are_refused():
    x, y, _ = people(6)
    made = Moments.of(x, y)
    with pytest.raises(GenopredError, match="nobody is left"):
        LeftOut(made, [made])
    with pytest.raises(GenopredError, match="1 covariates and 1 outcomes"):
        check(Moments.of(x, y, y))
    with pytest.raises(GenopredError, match="0 covariates and 2 outcomes"):
        check(Moments.of(x, np.column_stack([y, y])))
    x[3, 7] = np.nan
    with pytest.raises(GenopredError, match="1 variants with missing ones"):
        LeftOut(Moments.of(x, y))
