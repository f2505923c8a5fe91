"""What the tests of overlaps share."""

from __future__ import annotations

import numpy as np

from genopred.genetics.overlap.rankings import rankings

#: A model's table of three SNPs.
MODEL = "id\tchrom\tpos\tref\talt\teffect\nrs1\t1\t10\tA\tC\t1\nrs2\t1\t20\tA\tC\t2\nrs3\t1\t30\tA\tC\t3\n"


def write(folder, name, text):
    """A file of this text."""
    path = folder / name
    path.write_text(text)
    return path


def two(m=200, seed=1, groups=1, **more):
    rng = np.random.default_rng(seed)
    group = np.sort(rng.integers(0, groups, m)) if groups > 1 else None
    return rankings(rng.random(m), rng.random(m), pos=np.sort(rng.integers(1, 10**6, m)), group=group, **more)
