"""Pearson's correlation against scipy's, and its rules for what does not vary."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr

from genopred.genetics.correlation import pearson


def test_vectors_and_columns_as_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(3, 1, (2, 50, 4))
    expected = [pearsonr(x, y).statistic for x, y in zip(a.T, b.T)]
    assert pearson(a, b) == pytest.approx(expected) == pearson(a, b, least=1e-12)
    assert pearson(a[:, 0], b[:, 0]) == pytest.approx(expected[0])
    assert isinstance(pearson(a[:, 0], b[:, 0]), float)


def test_each_side_is_centred_in_its_own_precision():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=200), rng.normal(5, 1, 200).astype(np.float32)
    x, y = a - a.mean(), b - b.mean()
    assert y.dtype == np.float32 and pearson(a, b) == float(x @ y) / float(np.sqrt((x @ x) * (y @ y)))


def test_what_does_not_vary():
    y = np.arange(5.0)
    assert np.isnan(pearson(np.full(5, 0.1), y)) and pearson(np.full(5, 0.1), y, constant=0.0, least=1e-12) == 0.0
    rounding = 1e6 + 1e-10 * y  # varies by less than 1e6 can show
    assert np.isnan(pearson(rounding, y))
    small = 1e-15 * y  # varies in its own units
    assert pearson(small, y) == pytest.approx(1.0) and pearson(small, y, constant=0.0, least=1e-12) == 0.0
    assert np.isnan(pearson(np.column_stack([y, y]), np.column_stack([y, np.ones(5)]))).tolist() == [False, True]
