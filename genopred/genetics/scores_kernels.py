"""Compiled loops of `scores` and `foldsums`: rows of genotypes filled, their sums over folds, squares of scores."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True)
def filled_rows(raw):  # type: ignore[no-untyped-def]
    """Rows as float64 with NaN at the row's mean (0 if all are missing), and the means."""
    m, n = raw.shape
    rows, means = np.empty((m, n)), np.zeros(m)
    for j in range(m):
        total, count = 0.0, 0
        for i in range(n):
            value = float(raw[j, i])
            rows[j, i] = value
            if value == value:
                total += value
                count += 1
        means[j] = total / count if count else 0.0
        if count < n:
            for i in range(n):
                if rows[j, i] != rows[j, i]:
                    rows[j, i] = means[j]
    return rows, means


@numba.njit(cache=True)
def fold_sums(rows, y, bounds):  # type: ignore[no-untyped-def]
    """Sums of x, x² and xy over each fold, shape (K, 3, M)."""
    m = rows.shape[0]
    folds = len(bounds) - 1
    out = np.empty((folds, 3, m))
    for j in range(m):
        for k in range(folds):
            sx = sxx = sxy = 0.0
            for i in range(bounds[k], bounds[k + 1]):
                x = rows[j, i]
                sx += x
                sxx += x * x
                sxy += x * y[i]
            out[k, 0, j], out[k, 1, j], out[k, 2, j] = sx, sxx, sxy
    return out


@numba.njit(cache=True)
def squares(gram, weights):  # type: ignore[no-untyped-def]
    """Sums of squares w'Gw of scores, shape (C,), whose weights (C, M) are mostly 0."""
    count, m = weights.shape
    out = np.zeros(count)
    used = np.empty(m, dtype=np.int64)
    for c in range(count):
        many = 0
        for j in range(m):
            used[many] = j
            many += weights[c, j] != 0.0
        for a in range(many):
            i = used[a]
            half = 0.5 * weights[c, i] * gram[i, i]
            for b in range(a):
                half += weights[c, used[b]] * gram[i, used[b]]
            out[c] += 2.0 * weights[c, i] * half
    return out
