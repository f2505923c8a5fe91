"""Pearson's correlation, and what it is where something does not vary."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

#: A variance below this share of the sum of squares is rounding.
TINY = 1e-12


def pearson(a: ArrayLike, b: ArrayLike, *, constant: float = np.nan, least: float | None = None) -> Floats:
    """Pearson's correlation of two vectors, or of each column of two tables.

    Parameters
    ----------
    a, b : array, shape (N,) or (N, T)
        Each is centred in its own precision.
    constant : float
        What it is where one side does not vary.
    least : float, optional
        One side does not vary where the root of the product of both sums of squared deviations is not above this.
        Without it, where its sum of squared deviations is at most `TINY` of its sum of squares.

    Returns
    -------
    float64, or array of float64, shape (T,)

    Examples
    --------
    >>> pearson([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]], [[0.0, 1.0], [1.0, 2.0], [2.0, 4.0]]).round(6).tolist()
    [1.0, nan]
    >>> float(pearson([1.0, 1.0], [1.0, 2.0], constant=0.0))
    0.0
    """
    sides = [np.asarray(side) for side in (a, b)]
    x, y = (side - side.mean(axis=0) for side in sides)
    xx, yy, xy = (u @ v if u.ndim == 1 else (u * v).sum(axis=0) for u, v in ((x, x), (y, y), (x, y)))
    root = np.sqrt(xx * yy)
    if least is None:
        whole = [(side**2).sum(axis=0) for side in sides]
        varies = (xx > TINY * whole[0]) & (yy > TINY * whole[1])
    else:
        varies = root > least
    return np.where(varies, xy / np.where(varies, root, 1.0), constant)[()]
