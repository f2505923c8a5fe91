"""The founding study's recipe."""

from __future__ import annotations

import numpy as np
import pytest

from genopred.errors import GenopredError
from genopred.genetics.overlap.recipe import founding_score, min_max, shuffled_founding


def test_founding_recipe_finds_what_was_put_in():
    rng = np.random.default_rng(1)
    effect, p = rng.standard_normal(1000), rng.random(1000)
    score = founding_score(effect, p)
    e, s = np.abs(effect), -np.log10(p)
    assert np.allclose(score, (e - e.min()) / np.ptp(e) + (s - s.min()) / np.ptp(s))
    shuffled = shuffled_founding(effect, p, 50, 50)
    assert shuffled.mean() > 10  # effects of nothing at all, and 2.5 expected by chance


def test_min_max_of_a_constant():
    with pytest.raises(GenopredError, match="cannot be scaled"):
        min_max([2.0, 2.0])
