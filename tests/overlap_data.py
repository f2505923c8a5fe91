"""What the tests of overlaps share."""

from __future__ import annotations

import numpy as np

from genopred.genetics.overlap.rankings import rankings


def two(m=200, seed=1, groups=1, **more):
    rng = np.random.default_rng(seed)
    group = np.sort(rng.integers(0, groups, m)) if groups > 1 else None
    return rankings(rng.random(m), rng.random(m), pos=np.sort(rng.integers(1, 10**6, m)), group=group, **more)
