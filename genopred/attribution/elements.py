"""Do the bases a model goes by lie in given elements? Against all shifts of the elements along the window.

A shift keeps how long elements are and how they lie to each other, and how contributions run along the sequence: only
where the two lie together is left to chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genopred.errors import GenopredError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Enrichment:
    """Mean signal at the bases with the highest contributions, and what shifts of the signal give."""

    #: How many bases, of how many.
    top: int
    n: int
    observed: float
    expected: float
    #: 95 % of the shifts.
    low: float
    high: float
    #: Shifts with at least as much, itself counted in.
    p: float
    shifts: int

    @property
    def fold(self) -> float:
        """Observed over expected; NaN where there is no signal."""
        return self.observed / self.expected if self.expected > 0 else float("nan")


def highest(contributions: ArrayLike, share: float) -> NDArray[np.bool_]:
    """Which of the bases have the largest |contribution|: that share of those that are known, one at least.

    >>> highest([0.1, -3.0, np.nan, 0.2, 1.0], 0.5).tolist()
    [False, True, False, False, True]
    """
    size = np.abs(np.asarray(contributions, dtype=np.float64))
    known = np.flatnonzero(np.isfinite(size))
    out = np.zeros(len(size), dtype=bool)
    count = max(1, round(share * len(known)))
    out[known[np.argsort(-size[known], kind="stable")[:count]]] = True
    return out


def enrichment(
    contributions: Sequence[ArrayLike],
    signals: Sequence[ArrayLike],
    share: float,
    *,
    draws: int = 10_000,
    seed: int = 1,
) -> Enrichment:
    """Signal at the top bases of one or several windows.

    Parameters
    ----------
    contributions : sequence of array, shape (L,)
        A window each; NaN where unknown.
    signals : sequence of array, shape (L,)
        What lies at the same bases: 1 in an element and 0 outside, or a height.
    share : float
        Of the bases of each window that are the top.
    draws : int
        Of independent shifts of several windows. Of one window all shifts are made, and nothing is drawn.
    seed : int

    Raises
    ------
    GenopredError
        If there is no window, or lengths differ.
    """
    if not contributions or len(contributions) != len(signals):
        raise GenopredError(f"enrichment: {len(contributions)} windows and {len(signals)} signals; needed one each.")
    sums, many, total = [], 0, 0
    for values, signal in zip(contributions, signals):
        heights = np.nan_to_num(np.asarray(signal, dtype=np.float64))
        top = highest(values, share)
        if len(top) != len(heights):
            raise GenopredError(f"enrichment: {len(top)} bases and a signal of {len(heights)}; needed one each.")
        # sums at the top bases of the signal moved on by 0, 1, ... bases: a circular correlation
        moved = np.fft.irfft(np.conj(np.fft.rfft(heights)) * np.fft.rfft(top.astype(np.float64)), len(top))
        moved[0] = heights[top].sum()
        sums.append(moved)
        many, total = many + int(top.sum()), total + len(top)
    observed = sum(moved[0] for moved in sums)
    if len(sums) == 1:
        null = sums[0][1:]
    else:
        rng = np.random.default_rng(seed)
        null = np.sum([moved[rng.integers(0, len(moved), draws)] for moved in sums], axis=0)
    slack = 1e-9 * max(1.0, float(np.abs(null).max(initial=0.0)))
    p = float((1 + (null >= observed - slack).sum()) / (1 + len(null)))
    low, high = np.quantile(null, [0.025, 0.975]) if len(null) else (observed, observed)
    middle = float(null.mean()) if len(null) else observed
    return Enrichment(
        many,
        total,
        float(observed) / many,
        max(middle, 0.0) / many,
        float(low) / many,
        float(high) / many,
        p,
        len(null),
    )
