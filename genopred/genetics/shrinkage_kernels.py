"""Compiled loops of `shrinkage`: coordinate descent on correlations."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True)
def descend(correlation, s, r, lambdas, tol, most, out):  # type: ignore[no-untyped-def]  # noqa: C901 - one loop nest
    """Fill out (L, M) with the weights at each of the falling lambdas, each from the last; returns how many are filled.

    The path ends where weights would explain more than all of the outcome's variance.
    `gradient` is r - ((1 - s) R + s I) b. Weights that are not 0 move until they rest, and only their own gradients
    are kept up meanwhile; then all are, and whoever else must move joins.
    """
    m = len(r)
    b, known = np.zeros(m), np.zeros(m)
    gradient = r.copy()
    inside = np.zeros(m, dtype=np.bool_)
    active = np.empty(m, dtype=np.int64)
    n_active = 0
    for k in range(len(lambdas)):
        cut = lambdas[k]
        for _ in range(most):
            added = 0
            for j in range(m):
                if not inside[j] and abs(gradient[j]) > cut:
                    inside[j] = True
                    active[n_active] = j
                    n_active += 1
                    added += 1
            for _ in range(most):
                biggest = 0.0
                for a in range(n_active):
                    j = active[a]
                    old = b[j]
                    z = gradient[j] + old
                    new = 0.0
                    if z > cut:
                        new = z - cut
                    elif z < -cut:
                        new = z + cut
                    if new != old:
                        step = new - old
                        b[j] = new
                        share = (1.0 - s) * step
                        for c in range(n_active):
                            gradient[active[c]] -= share * correlation[j, active[c]]
                        gradient[j] -= s * step
                        biggest = max(biggest, abs(step))
                if biggest < tol:
                    break
            for a in range(n_active):
                j = active[a]
                share = (1.0 - s) * (b[j] - known[j])
                if share != 0.0:
                    for i in range(m):
                        if not inside[i]:
                            gradient[i] -= share * correlation[j, i]
                    known[j] = b[j]
            left = False
            for j in range(m):
                if not inside[j] and abs(gradient[j]) > cut:
                    left = True
                    break
            if not left:
                break
        explained = 0.0
        for a in range(n_active):
            explained += b[active[a]] * (r[active[a]] + gradient[active[a]])
        if explained >= 1.0:
            return k
        out[k] = b
    return len(lambdas)
