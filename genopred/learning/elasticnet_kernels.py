"""Compiled loops of `elasticnet`: coordinate descent along a path, and its columns."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, fastmath=True)
def solve(  # type: ignore[no-untyped-def]  # noqa: C901 - one loop nest, kept together for speed
    xt, r, b, g_ref, r_ref, active, n_active, penalty, lam, mix, tol
):
    """Move (b, r) to the optimum at `lam`; returns the number of active variables.

    `g_ref` holds x_j'r/n at the residual `r_ref`. As each column has squared norm n, a gradient cannot have
    moved by more than |r - r_ref| / sqrt(n): only columns for which that could reach their threshold are
    looked at again, so the screening is exact.
    """
    p, n = xt.shape
    in_active = np.zeros(p, dtype=np.bool_)
    for a in range(n_active):
        in_active[active[a]] = True
    while True:
        # coordinate descent over the active set
        for _ in range(1000):
            biggest = 0.0
            for a in range(n_active):
                j = active[a]
                row = xt[j]
                g = numba.float32(0.0)
                for i in range(n):
                    g += row[i] * r[i]
                old = b[j]
                z = g / n + old
                cut = lam * mix * penalty[j]
                new = 0.0
                if z > cut:
                    new = (z - cut) / (1.0 + lam * (1.0 - mix) * penalty[j])
                elif z < -cut:
                    new = (z + cut) / (1.0 + lam * (1.0 - mix) * penalty[j])
                if new != old:
                    step = numba.float32(old - new)
                    for i in range(n):
                        r[i] += row[i] * step
                    b[j] = new
                    if step * step > biggest:
                        biggest = step * step
            if biggest < tol:
                break
        # which other columns could have become active
        moved = 0.0
        for i in range(n):
            moved += (r[i] - r_ref[i]) ** 2
        moved = np.sqrt(moved / n)
        added = 0
        looked = 0
        for j in range(p):
            if in_active[j]:
                continue
            cut = lam * mix * penalty[j]
            if abs(g_ref[j]) + moved < cut:
                continue
            looked += 1
            row = xt[j]
            g = numba.float32(0.0)
            for i in range(n):
                g += row[i] * r[i]
            if abs(g / n) > cut:
                in_active[j] = True
                active[n_active] = j
                n_active += 1
                added += 1
        if looked > p // 8:
            for j in range(p):
                row = xt[j]
                g = numba.float32(0.0)
                for i in range(n):
                    g += row[i] * r[i]
                g_ref[j] = g / n
            for i in range(n):
                r_ref[i] = r[i]
        if added == 0:
            return n_active


@numba.njit(cache=True, fastmath=True)
def advance(xt, state, n_active, xt_out, penalty, lambdas, first, stop, mix, tol, out):  # type: ignore[no-untyped-def]
    """Go on along the path from step `first` to `stop`; fill `out` (n_out, steps) with held-out predictions."""
    b, r, g_ref, r_ref, active = state
    for k in range(first, stop):
        n_active = solve(xt, r, b, g_ref, r_ref, active, n_active, penalty, lambdas[k], mix, tol)
        for a in range(n_active):
            j = active[a]
            if b[j] != 0.0:
                for i in range(out.shape[0]):
                    out[i, k] += xt_out[j, i] * b[j]
    return n_active


@numba.njit(cache=True, fastmath=True)
def standardise(x, xt, mean, scale):  # type: ignore[no-untyped-def]
    """Fill xt (M, N) with the centred and scaled columns of x (N, M); constant columns become zeros.

    In double precision and two passes: a sequence feature may vary by a ten-thousandth of its mean.
    """
    n, m = x.shape
    mean[:] = 0.0
    for i in range(n):
        for j in range(m):
            mean[j] += x[i, j]
    mean /= n
    square = np.zeros(m)
    for i in range(n):
        for j in range(m):
            square[j] += (x[i, j] - mean[j]) ** 2
    inverse = np.zeros(m)
    for j in range(m):
        variance = square[j] / n
        # below this the differences are rounding
        varies = variance > 1e-10 * (mean[j] ** 2 + variance)
        scale[j] = np.sqrt(variance) if varies else 1.0
        inverse[j] = 1.0 / scale[j] if varies else 0.0
    for i in range(n):
        for j in range(m):
            xt[j, i] = (x[i, j] - mean[j]) * inverse[j]
