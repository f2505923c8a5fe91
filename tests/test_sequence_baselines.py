"""The ridge baseline: scikit-learn's ridge on the same features, and what composition can and cannot tell."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from genopred.errors import GenopredError
from genopred.sequence.baselines import RidgeBaseline
from genopred.sequence.dataset import SequenceData, Track, Windows, WindowShape, batch, kmer_features

SHAPE = WindowShape(window=640, bin=64, crop=1)
LENGTH = 64_000


def simulated(seed: int = 1) -> SequenceData:
    """A track that follows GC content, one that nothing in the sequence tells, and a pair of strands."""
    rng = np.random.default_rng(seed)
    bases = np.concatenate([rng.choice(4, 64, p=[(1 - g) / 2, g / 2, g / 2, (1 - g) / 2]) for g in rng.random(1000)])
    codes = bases.astype(np.uint8)
    gc = ((codes == 1) | (codes == 2)).reshape(-1, 64).mean(axis=1)
    cg = ((codes[:-1] == 0) & (codes[1:] == 0)).astype(float)
    aa = np.append(cg, 0).reshape(-1, 64).sum(axis=1)
    tt = np.append((codes[:-1] == 3) & (codes[1:] == 3), 0).reshape(-1, 64).sum(axis=1)
    values = np.stack([64 * np.exp(3 * gc), 64 * rng.gamma(1, 5, len(gc)), aa, tt])
    tracks = (
        Track("gc"),
        Track("noise"),
        Track("aa", strand="+", partner="tt", aggregate="sum"),
        Track("tt", strand="-", partner="aa", aggregate="sum"),
    )
    return SequenceData({"1": codes}, {"1": values.astype(np.float32)}, 64, tracks)


def windows(first: int, last: int) -> Windows:
    starts = np.arange(first, last - SHAPE.window + 1, SHAPE.target)
    return Windows(np.full(len(starts), "1"), starts, np.zeros(len(starts), dtype=np.int64))


TRAINING, VALIDATION, TEST = windows(0, 40_000), windows(40_000, 51_200), windows(51_200, LENGTH)


@pytest.fixture(scope="module")
def fitted() -> RidgeBaseline:
    return RidgeBaseline(SHAPE, k=2, neighbours=1).fit(simulated(), TRAINING, VALIDATION)


def test_it_is_sklearns_ridge_on_both_strands(fitted: RidgeBaseline) -> None:
    data, x, y = simulated(), [], []
    for reverse in (False, True):
        codes, targets = batch(data, TRAINING.chroms, TRAINING.starts, SHAPE, np.full(len(TRAINING.starts), reverse))
        x.append(kmer_features(codes, SHAPE, 2, 1).reshape(-1, 34))
        y.append(np.log1p(targets.reshape(-1, 4)))
    x, y = np.concatenate(x).astype(np.float64), np.concatenate(y)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    oracle = Ridge(alpha=fitted.penalty).fit((x - mean) / scale, y)
    codes, _ = batch(data, TEST.chroms, TEST.starts, SHAPE)
    features = kmer_features(codes, SHAPE, 2, 1).reshape(-1, 34)
    expected = np.expm1(np.maximum(oracle.predict((features - mean) / scale), 0))
    np.testing.assert_allclose(fitted.predict(codes).reshape(-1, 4), expected, rtol=2e-3, atol=2e-3)


def test_composition_tells_what_follows_it_and_no_more(fitted: RidgeBaseline) -> None:
    codes, targets = batch(simulated(), TEST.chroms, TEST.starts, SHAPE)
    predicted = fitted.predict(codes)
    assert predicted.shape == targets.shape and bool((predicted >= 0).all())
    r = [float(np.corrcoef(predicted[..., t].ravel(), targets[..., t].ravel())[0, 1]) for t in range(4)]
    assert r[0] > 0.9 and abs(r[1]) < 0.3 and min(r[2:]) > 0.7


def test_strands_are_each_others_mirror(fitted: RidgeBaseline) -> None:
    data = simulated()
    forward, _ = batch(data, TEST.chroms, TEST.starts, SHAPE)
    backward, _ = batch(data, TEST.chroms, TEST.starts, SHAPE, np.ones(len(TEST.starts), dtype=bool))
    mirrored = fitted.predict(backward)[:, ::-1][..., data.partners]
    np.testing.assert_allclose(mirrored, fitted.predict(forward), rtol=1e-3, atol=1e-3)


def test_the_penalty_is_the_best_on_validation() -> None:
    fitted = RidgeBaseline(SHAPE, k=3, neighbours=0, penalties=(1.0, 1e9)).fit(simulated(), TRAINING, VALIDATION)
    assert set(fitted.validation) == {1.0, 1e9}
    assert fitted.penalty == max(fitted.validation, key=lambda key: fitted.validation[key])


def test_nothing_to_fit_on() -> None:
    none = Windows(np.array([], dtype=str), np.array([], dtype=np.int64), np.array([], dtype=np.int64))
    with pytest.raises(GenopredError, match="found 0 and"):
        RidgeBaseline(SHAPE).fit(simulated(), none, VALIDATION)
