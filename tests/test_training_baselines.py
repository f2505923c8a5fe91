"""The ridge baseline: scikit-learn's ridge on the same features, and what composition can and cannot tell."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from genopred.errors import GenopredError
from genopred.settings.training import Track
from genopred.training import baselines
from genopred.training.baselines import RidgeBaseline, kmer_features
from genopred.training.dataset import SequenceData, batch
from genopred.training.splits import Windows, WindowShape

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
        Track(name="gc"),
        Track(name="noise"),
        Track(name="aa", strand="+", partner="tt", aggregate="sum"),
        Track(name="tt", strand="-", partner="aa", aggregate="sum"),
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


@pytest.mark.parametrize(("k", "neighbours", "crop"), [(1, 0, 0), (2, 1, 2), (3, 5, 1), (2, 50, 0)])
def test_kmer_features_are_those_of_a_loop(k, neighbours, crop):
    shape = WindowShape(64, 8, crop)
    rng = np.random.default_rng(k)
    codes = np.where(rng.random((3, 64)) < 0.1, 4, rng.integers(0, 4, (3, 64))).astype(np.uint8)
    codes[0, 16:24] = 4
    own = np.zeros((3, 8, 1 + 4**k))
    for i in range(3):
        for j in range(8):
            letters = codes[i, j * 8 : j * 8 + 8].tolist()
            bases = [b for b in letters if b < 4]
            own[i, j, 0] = sum(b in (1, 2) for b in bases) / max(len(bases), 1)
            words = [letters[s : s + k] for s in range(8 - k + 1) if 4 not in letters[s : s + k]]
            for word in words:
                own[i, j, 1 + sum(b * 4 ** (k - 1 - p) for p, b in enumerate(word))] += 1 / len(words)
    found = kmer_features(codes, shape, k, neighbours)
    assert found.shape == (3, shape.n_bins, 2 * (1 + 4**k)) and found.dtype == np.float32
    for j in range(shape.n_bins):
        at = j + crop
        near = [b for b in range(8) if abs(b - at) <= neighbours]
        np.testing.assert_allclose(found[:, j, : 1 + 4**k], own[:, at], atol=1e-6)
        np.testing.assert_allclose(found[:, j, 1 + 4**k :], own[:, near].mean(axis=1), atol=1e-6)


@pytest.mark.parametrize(("k", "neighbours"), [(0, 1), (7, 1), (5, 1), (2, -1)])
def test_wrong_kmers(k, neighbours):
    with pytest.raises(GenopredError, match=f"k = {k}, neighbours = {neighbours}"):
        kmer_features(np.zeros((1, 8), np.uint8), WindowShape(8, 4), k, neighbours)


def test_examples():
    import doctest

    assert doctest.testmod(baselines).failed == 0
