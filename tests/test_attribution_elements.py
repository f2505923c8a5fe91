"""genopred.attribution.elements against all shifts made one by one."""

from __future__ import annotations

import numpy as np
import pytest

from genopred.attribution.elements import enrichment, highest
from genopred.errors import GenopredError


def test_one_window_is_every_shift():
    rng = np.random.default_rng(1)
    size, signal = rng.normal(size=200), rng.random(200)
    found = enrichment([size], [signal], 0.1)
    top = np.argsort(-np.abs(size))[:20]
    null = [np.roll(signal, -k)[top].mean() for k in range(1, 200)]
    assert (found.top, found.n, found.shifts) == (20, 200, 199)
    assert found.observed == pytest.approx(signal[top].mean())
    assert found.expected == pytest.approx(np.mean(null))
    assert found.p == pytest.approx((1 + sum(value >= found.observed - 1e-12 for value in null)) / 200)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(null, [0.025, 0.975])))


def test_what_lies_together_is_found_and_what_does_not_is_not():
    rng = np.random.default_rng(2)
    size = rng.normal(size=1000)
    size[400:420] += 8
    inside, beside = np.zeros(1000), np.zeros(1000)
    inside[390:430], beside[700:740] = 1, 1
    found = enrichment([size], [inside], 0.02)
    assert found.p == pytest.approx(0.021, abs=0.01) and found.fold > 15  # shifts by a few bases still overlap
    assert enrichment([size], [beside], 0.02).p > 0.5


def test_the_rate_of_false_finds_is_nominal():
    """Elements and contributions that run along the sequence, laid without regard to each other."""
    rng = np.random.default_rng(3)
    p = []
    for _ in range(400):
        size = np.convolve(rng.normal(size=400), np.ones(15), "same")
        signal = np.zeros(400)
        for start in rng.integers(0, 360, 3):
            signal[start : start + 40] = 1
        p.append(enrichment([size], [signal], 0.05).p)
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.08


def test_windows_together():
    rng = np.random.default_rng(4)
    sizes, signals = rng.normal(size=(6, 300)), np.zeros((6, 300))
    sizes[:, 100:106] += 5
    signals[:, 95:125] = 1
    found = enrichment(list(sizes), list(signals), 0.02, draws=2000, seed=1)
    assert found.top == 36 and found.p < 0.002 and found.shifts == 2000
    assert found == enrichment(list(sizes), list(signals), 0.02, draws=2000, seed=1)


def test_unknown_bases_are_never_on_top_and_nothing_is_no_signal():
    size = np.array([np.nan, 1.0, 2.0, np.nan, 3.0])
    assert highest(size, 0.99).tolist() == [False, True, True, False, True]
    nothing = enrichment([size], [np.zeros(5)], 0.5)
    assert np.isnan(nothing.fold) and nothing.p == 1
    with pytest.raises(GenopredError, match="1 windows and 2 signals"):
        enrichment([size], [size, size], 0.5)
    with pytest.raises(GenopredError, match="5 bases and a signal of 4"):
        enrichment([size], [np.ones(4)], 0.5)
