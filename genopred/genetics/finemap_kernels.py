"""Compiled loops of `finemap` and `finemap_sums`: the shrinkage of one single effect, products times an effect."""

from __future__ import annotations

import math

import numba


@numba.njit(cache=True, fastmath=True)
def shrinkage(z2, log_prior, alpha):  # type: ignore[no-untyped-def]  # noqa: C901 - one numba kernel
    """Empirical-Bayes shrinkage w = V / (V + s^2) of one single effect; fills `alpha`, returns (w, log BF).

    With equal standard errors s the log Bayes factor of variant j is log(1 - w)/2 + w z_j^2 / 2, so V enters
    through w alone, and the stationary points solve 1 / (1 - w) = E_alpha(w)[z^2]. The right side grows with w,
    so the fixed-point iteration from the largest possible w falls monotonically to the largest of them.
    """
    m = z2.shape[0]
    top = 0.0
    for j in range(m):
        if log_prior[j] > -1e300 and z2[j] > top:
            top = z2[j]
    best_w, best = 0.0, 0.0
    if top > 1.0:
        w = min(1.0 - 1.0 / top, 1.0 - 1e-12)
        for _ in range(200):
            peak = -1e308
            for j in range(m):
                v = log_prior[j] + 0.5 * w * z2[j]
                if v > peak:
                    peak = v
            total = 0.0
            mean = 0.0
            for j in range(m):
                v = log_prior[j] + 0.5 * w * z2[j] - peak
                if v > -40.0:
                    e = math.exp(v)
                    total += e
                    mean += e * z2[j]
            mean /= total
            best_w = w
            best = 0.5 * math.log(1.0 - w) + peak + math.log(total)
            new = min(1.0 - 1.0 / mean, 1.0 - 1e-12) if mean > 1.0 else 0.0
            if new <= 0.0:
                best_w = 0.0
                break
            if w - new < 1e-7 * w:
                break
            w = new
        if best <= 0.0:
            best_w = 0.0
            best = 0.0
    if best_w == 0.0:
        total = 0.0
        for j in range(m):
            alpha[j] = math.exp(log_prior[j])
            total += alpha[j]
        for j in range(m):
            alpha[j] /= total
        return 0.0, 0.0
    peak = -1e308
    for j in range(m):
        alpha[j] = log_prior[j] + 0.5 * best_w * z2[j]
        if alpha[j] > peak:
            peak = alpha[j]
    total = 0.0
    for j in range(m):
        v = alpha[j] - peak
        alpha[j] = math.exp(v) if v > -700.0 else 0.0
        total += alpha[j]
    for j in range(m):
        alpha[j] /= total
    return best_w, 0.5 * math.log(1.0 - best_w) + peak + math.log(total)


@numba.njit(cache=True, fastmath=True)
def weighted(gram, b, out):  # type: ignore[no-untyped-def]
    """Fill `out` with the symmetric `gram` times `b`, of which only large entries are read."""
    m = b.shape[0]
    for i in range(m):
        out[i] = 0.0
    for j in range(m):
        if abs(b[j]) > 1e-12:
            row, by = gram[j], b[j]
            for i in range(m):
                out[i] += row[i] * by
