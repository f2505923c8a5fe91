"""Compiled loops of `covariance`: coordinate descent on correlations, along a path and to the end."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, fastmath=True)
def sweep(block, b, g, penalty, w, lam, mix, tol, most):  # type: ignore[no-untyped-def]
    """Coordinate descent over the first `w` variants; returns whether no squared step exceeded `tol` in the end.

    `g` is kept at the gradient, correlation of each with the residual: a variant that moves changes that of all.
    """
    for _ in range(most):
        biggest = 0.0
        for j in range(w):
            old = b[j]
            z = g[j] + old
            cut = lam * mix * penalty[j]
            new = 0.0
            if z > cut:
                new = (z - cut) / (1.0 + lam * (1.0 - mix) * penalty[j])
            elif z < -cut:
                new = (z + cut) / (1.0 + lam * (1.0 - mix) * penalty[j])
            if new != old:
                step = new - old
                b[j] = new
                row = block[j]
                for i in range(w):
                    g[i] -= row[i] * step
                if step * step > biggest:
                    biggest = step * step
        if biggest < tol:
            return True
    return False


@numba.njit(cache=True, fastmath=True)
def _gradient(corr, cross, b, active, w, out):  # type: ignore[no-untyped-def]
    """The gradient of every variant."""
    p = len(cross)
    for j in range(p):
        out[j] = cross[j]
    for a in range(w):
        if b[a] != 0.0:
            row, by = corr[active[a]], b[a]
            for j in range(p):
                out[j] -= row[j] * by


@numba.njit(cache=True, fastmath=True)
def _look(corr, cross, state, w, threshold):  # type: ignore[no-untyped-def]
    """Fill `found` with the gradients of other variants that may exceed their threshold, 0 for the rest.

    `g_ref` holds gradients at the weights `b_ref`. As each column has length 1, none has moved by more than the
    distance of the two fits: only those that could reach their threshold are looked at, so the screening is exact.
    """
    block, b, g, cuts, active, inside, b_ref, g_ref, found = state
    p = len(cross)
    moved = 0.0
    for a in range(w):
        moved += (b[a] - b_ref[a]) * (g_ref[active[a]] - g[a])
    # single precision of the products must not hide one
    moved = np.sqrt(max(moved, 0.0)) * 1.001 + 1e-6
    looked = 0
    for j in range(p):
        found[j] = 0.0
        if not inside[j] and abs(g_ref[j]) + moved >= threshold[j]:
            found[j] = 1.0
            looked += 1
    if looked > p // 8:
        _gradient(corr, cross, b, active, w, g_ref)
        for a in range(w):
            b_ref[a] = b[a]
            g[a] = g_ref[active[a]]
        for j in range(p):
            found[j] = 0.0 if inside[j] else g_ref[j]
        return
    for j in range(p):
        if found[j] != 0.0:
            row = corr[j]
            at = cross[j]
            for a in range(w):
                at -= row[active[a]] * b[a]
            found[j] = at


@numba.njit(cache=True, fastmath=True)
def walk(corr, cross, state, w, penalty, lambdas, first, stop, mix, tol, out):  # type: ignore[no-untyped-def]
    """Go on along the path from step `first` to `stop`, weights of each step into `out` (steps, M).

    Of the `w` variants that ever had a weight, `state` holds their products side by side, weights and gradients.
    Returns their number.
    """
    block, b, g, cuts, active, inside, b_ref, g_ref, found = state
    p = len(cross)
    threshold = np.empty(p)
    for k in range(first, stop):
        for j in range(p):
            threshold[j] = lambdas[k] * mix * penalty[j]
        while True:
            sweep(block, b, g, cuts, w, lambdas[k], mix, tol, 1000)
            _look(corr, cross, state, w, threshold)
            before = w
            for j in range(p):
                if abs(found[j]) > threshold[j]:
                    inside[j] = True
                    active[w], b[w], b_ref[w], g[w], cuts[w] = j, 0.0, 0.0, found[j], penalty[j]
                    row = corr[j]
                    for a in range(w + 1):
                        block[w, a] = row[active[a]]
                        block[a, w] = row[active[a]]
                    w += 1
            if w == before:
                break
        for a in range(w):
            out[k, active[a]] = b[a]
    return w
