"""genopred.attribution.seqlets: planted ones are found, and shuffles have theirs at the nominal rate."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tangermeme")

from attribution_data import Finder, Model, random_windows, values_of

from genopred.attribution.backgrounds import backgrounds
from genopred.attribution.methods import contributions
from genopred.attribution.seqlets import SEQLET_SCHEMA, find_seqlets


def noise(n, length, seed=0):
    return np.random.default_rng(seed).laplace(scale=0.1, size=(n, length))


def test_planted_seqlets_of_both_signs_are_found():
    values, controls = noise(2, 500), noise(19, 500, 1)
    values[0, 100:110] += 2
    values[0, 300:308] -= 2
    values[1, 50:60] += 3
    found, of_controls = find_seqlets(values, controls)
    assert dict(found.schema) == SEQLET_SCHEMA and of_controls["example"].is_between(0, 18).all()
    strong = found.filter(found["p"] <= 0.05)
    where = sorted(strong.select("example", "start", "end").rows())
    assert len(where) == 3
    for (example, start, end), (i, a, b) in zip(where, [(0, 100, 110), (0, 300, 308), (1, 50, 60)]):
        assert example == i and abs(start - a) <= 4 and abs(end - b) <= 4
    assert (strong["attribution"] > 0).sum() == 2 and (strong["q"] < 0.06).all()
    for example, start, end, height in found.select("example", "start", "end", "attribution").iter_rows():
        assert height == pytest.approx(values[example, start:end].sum())


def test_p_is_the_share_of_controls_with_one_as_strong():
    values, controls = noise(1, 400, 2), noise(9, 400, 3)
    values[0, 200:206] += 0.5
    found, of_controls = find_seqlets(values, controls)
    best = [of_controls.filter(of_controls["example"] == i)["attribution"].abs().max() or 0 for i in range(9)]
    for height, p in found.select("attribution", "p").iter_rows():
        assert p == pytest.approx((1 + sum(one >= abs(height) for one in best)) / 10)
    assert found["q"].is_sorted() and found["q"].max() <= 1
    for i, height, p in of_controls.select("example", "attribution", "p").iter_rows():
        assert p == pytest.approx((1 + sum(one >= abs(height) for k, one in enumerate(best) if k != i)) / 10)
    alone, nothing = find_seqlets(values, controls[:0])
    assert alone["p"].null_count() == alone.height > 0 and not nothing.height


def test_the_order_of_sequences_changes_nothing():
    values, controls = noise(3, 300, 4), noise(5, 300, 5)
    values[1, 20:30] += 1
    one, _ = find_seqlets(values, controls)
    other, _ = find_seqlets(values[::-1], controls[::-1])
    other = other.with_columns(2 - other["example"])
    assert one.sort("example", "start").equals(other.sort("example", "start"))


def test_shuffles_have_seqlets_at_the_nominal_rate():
    """A network that answers to parts of a motif too, on 200 windows without any: each beside 19 shuffles of itself."""
    values = values_of(Model(Finder(200, misses=4.5), 200), tracks="up")
    x = random_windows(200, 200, seed=8)
    shuffles = np.stack([backgrounds(one, "shuffled", 19, 100 + i) for i, one in enumerate(x)])

    def actual(windows):
        against = np.stack([backgrounds(one, "uniform", 1, 0) for one in windows])
        return contributions(values, windows, against, "deeplift", batch_size=256).actual[0]

    own, other = actual(x), actual(shuffles.reshape(-1, 200, 4)).reshape(200, 19, 200)
    least = []
    for i in range(200):
        found, _ = find_seqlets(own[i : i + 1], other[i])
        least.append(found["p"].min() if found.height else 1.0)
    found = np.mean(np.array(least) <= 0.05)
    # 5 % of 200 with three standard errors; not nothing either
    assert 0.01 <= found <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200), found
