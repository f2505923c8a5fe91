"""The founding study's recipe, which is circular, and what shows it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genopred.errors import GenopredError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def min_max(values: ArrayLike) -> Floats:
    """Values scaled to 0 to 1.

    >>> min_max([2.0, 4.0, 3.0]).tolist()
    [0.0, 1.0, 0.5]
    """
    x = np.asarray(values, dtype=np.float64)
    if np.ptp(x) == 0:
        raise GenopredError(f"min_max: all {len(x)} values are {x.flat[0]:g}; they cannot be scaled to 0 to 1.")
    return np.asarray((x - x.min()) / np.ptp(x))


def founding_score(effect: ArrayLike, pval: ArrayLike) -> Floats:
    """Min-max normalised |effect| plus min-max normalised -log10 p: CIRCULAR when held against that p.

    The score holds half of what it is then compared with, so a large overlap with the ranking by p says nothing
    about the effects. Here to reproduce the founding study, and for `shuffled_founding`, which shows it.

    >>> founding_score([1.0, -3.0, 0.0], [0.1, 1.0, 0.01]).round(3).tolist()
    [0.833, 1.0, 1.0]
    """
    return min_max(np.abs(np.asarray(effect, dtype=np.float64))) + min_max(-np.log10(np.asarray(pval)))


def shuffled_founding(effect: ArrayLike, pval: ArrayLike, k: int, n: int = 1000, *, seed: int = 1) -> Ints:
    """Overlaps (n,) at k of `founding_score` with the ranking by p when the effects are shuffled over SNPs."""
    strength = min_max(np.abs(np.asarray(effect, dtype=np.float64)))
    against = min_max(-np.log10(np.asarray(pval, dtype=np.float64)))
    rng = np.random.default_rng(seed)
    first = top(against, k)
    return np.array([np.sum(first & top(rng.permutation(strength) + against, k)) for _ in range(n)])


def top(score: Floats, k: int) -> NDArray[np.bool_]:
    """Which SNPs have the k highest scores; ties in file order, as in the study."""
    out = np.zeros(len(score), dtype=bool)
    out[np.argsort(-score, kind="stable")[:k]] = True
    return out
