"""Compiled loops of `ld`: packed genotypes, r² of pairs, clumping."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba.extending import intrinsic

#: Covariances of haplotypes smaller than this count as zero, as in plink 1.9.
TINY = 2.0**-44

#: What `greedy_owner` takes r² from.
COMPLETE, PAIRWISE, EM, ROWS, HOLES, PRODUCTS = range(6)


@intrinsic  # type: ignore[untyped-decorator]
def _popcount(typingctx: Any, word: Any) -> Any:
    """Bits set in a uint64 (one instruction where the processor has one)."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return numba.uint64(numba.uint64), build


@numba.njit(cache=True)
def pack_rows(rows):  # type: ignore[no-untyped-def]
    m, n = rows.shape
    words = (n + 63) // 64
    het = np.zeros((m, words), dtype=np.uint64)
    hom = np.zeros((m, words), dtype=np.uint64)
    obs = np.zeros((m, words), dtype=np.uint64)
    complete = True
    for j in range(m):
        for w in range(words):
            one, two, here = np.uint64(0), np.uint64(0), np.uint64(0)
            odd = 0
            for i in range(min(64, n - 64 * w)):
                value = rows[j, 64 * w + i]
                bit = np.uint64(i)
                is_one, is_two, is_none = np.uint64(value == 1.0), np.uint64(value == 2.0), np.uint64(value != value)
                one |= is_one << bit
                two |= is_two << bit
                here |= (np.uint64(1) - is_none) << bit
                odd += (value != 0.0) & (value != 1.0) & (value != 2.0) & (value == value)
            if odd:
                return het, hom, obs, False, False
            filled = np.uint64(min(64, n - 64 * w))
            if _popcount(here) != filled:
                complete = False
            het[j, w], hom[j, w], obs[j, w] = one, two, here
    return het, hom, obs, True, complete


@numba.njit(cache=True, inline="always")
def _genotype_r2(n, sx, sxx, sy, syy, sxy):  # type: ignore[no-untyped-def]
    """r² from whole-number sums, so the products below are exact."""
    vx = n * sxx - sx * sx
    vy = n * syy - sy * sy
    if vx <= 0.0 or vy <= 0.0:
        return np.nan
    cov = n * sxy - sx * sy
    return cov * cov / (vx * vy)


@numba.njit(cache=True)
def _loglik(x, half, f11, f12, f21, f22):  # type: ignore[no-untyped-def]
    """Log likelihood (over 2N) of x, the share of double heterozygotes in phase 11/22; `half` is all of them."""
    a, b, c, d = f11 + x, f12 + half - x, f21 + half - x, f22 + x
    out = half * math.log(max(a * d + b * c, 1e-300))
    if f11 > 0.0:
        out += f11 * math.log(max(a, 1e-300))
    if f12 > 0.0:
        out += f12 * math.log(max(b, 1e-300))
    if f21 > 0.0:
        out += f21 * math.log(max(c, 1e-300))
    if f22 > 0.0:
        out += f22 * math.log(max(d, 1e-300))
    return out


@numba.njit(cache=True)
def _cubic(a, b, c, roots):  # type: ignore[no-untyped-def]
    """Real roots of x³ + ax² + bx + c into `roots`; returns how many."""
    q = (a * a - 3.0 * b) / 9.0
    r = (2.0 * a * a * a - 9.0 * a * b + 27.0 * c) / 54.0
    shift = a / 3.0
    gap = q * q * q - r * r
    if gap >= 0.0 and q > 0.0:
        size = math.sqrt(q)
        angle = math.acos(min(1.0, max(-1.0, r / (size * size * size)))) / 3.0
        for k in range(3):
            roots[k] = -2.0 * size * math.cos(angle + 2.0 * math.pi * (k - 1) / 3.0) - shift
        count = 3
    else:
        big = (abs(r) + math.sqrt(max(-gap, 0.0))) ** (1.0 / 3.0)
        big = -big if r > 0.0 else big
        roots[0] = big + (q / big if big != 0.0 else 0.0) - shift
        count = 1
    for k in range(count):
        x = roots[k]
        for _ in range(2):  # Newton takes back what acos and the cube root lost
            slope = (3.0 * x + 2.0 * a) * x + b
            step = (((x + a) * x + b) * x + c) / slope if slope != 0.0 else 0.0
            if abs(step) < 1e-6:
                x -= step
        roots[k] = x
    return count


@numba.njit(cache=True)
def _haplotype_r2(k11, k12, k21, k22, both, roots):  # type: ignore[no-untyped-def]
    """r² from counted haplotypes k and `both` double heterozygotes, whose phase is a maximum-likelihood estimate.

    The share x of double heterozygotes in phase 11/22 is a fixed point of EM where
    x (11·22 + 12·21) = half · 11·22 with each haplotype's frequency a function of x: a cubic.
    """
    total = k11 + k12 + k21 + k22 + 2.0 * both
    if total == 0.0:
        return np.nan
    f11, f12, f21, f22, half = k11 / total, k12 / total, k21 / total, k22 / total, both / total
    p1 = f11 + f12 + half
    q1 = f11 + f21 + half
    p2, q2 = f21 + f22 + half, f12 + f22 + half
    if p1 < TINY or p2 < TINY or q1 < TINY or q2 < TINY:
        return np.nan
    x = 0.0
    if both > 0.0:
        same, cross = f11 * f22, f12 * f21
        count = _cubic(
            0.5 * (f11 + f22 - f12 - f21 - 3.0 * half),
            0.5 * (same + cross + half * (f12 + f21 - f11 - f22 + half)),
            -0.5 * half * same,
            roots,
        )
        best = -np.inf
        for k in range(count):
            root = min(max(roots[k], 0.0), half)
            if count > 1:
                if abs(root - roots[k]) > 1e-9:
                    continue
                value = _loglik(root, half, f11, f12, f21, f22)
                if value <= best:
                    continue
                best = value
            x = root
    d = f11 + x - p1 * q1
    return 0.0 if abs(d) < TINY else d * d / (p1 * q1 * p2 * q2)


@numba.njit(cache=True)
def _pair(het, hom, obs, complete, em, i, j, sums, roots):  # type: ignore[no-untyped-def]
    """r² of two variants from their bit planes; `sums` (M, 2) holds counts of het and hom where nothing is missing."""
    c11 = c12 = c21 = c22 = np.uint64(0)
    for w in range(het.shape[1]):
        a1, a2, b1, b2 = het[i, w], hom[i, w], het[j, w], hom[j, w]
        c11 += _popcount(a1 & b1)
        c12 += _popcount(a1 & b2)
        c21 += _popcount(a2 & b1)
        c22 += _popcount(a2 & b2)
    if complete:
        n = sums[i, 2]
        x1, x2, y1, y2 = sums[i, 0], sums[i, 1], sums[j, 0], sums[j, 1]
    else:
        u1 = u2 = v1 = v2 = both = np.uint64(0)
        for w in range(het.shape[1]):
            here = obs[i, w] & obs[j, w]
            both += _popcount(here)
            u1 += _popcount(het[i, w] & here)
            u2 += _popcount(hom[i, w] & here)
            v1 += _popcount(het[j, w] & here)
            v2 += _popcount(hom[j, w] & here)
        n, x1, x2, y1, y2 = float(both), float(u1), float(u2), float(v1), float(v2)
    t11, t12, t21, t22 = float(c11), float(c12), float(c21), float(c22)
    if not em:
        return _genotype_r2(
            n, x1 + 2.0 * x2, x1 + 4.0 * x2, y1 + 2.0 * y2, y1 + 4.0 * y2, t11 + 2.0 * (t12 + t21) + 4.0 * t22
        )
    t10, t20 = x1 - t11 - t12, x2 - t21 - t22
    t01, t02 = y1 - t11 - t21, y2 - t12 - t22
    t00 = n - x1 - x2 - t01 - t02
    return _haplotype_r2(
        2.0 * t22 + t21 + t12, 2.0 * t20 + t21 + t10, 2.0 * t02 + t01 + t12, 2.0 * t00 + t01 + t10, t11, roots
    )


@numba.njit(cache=True)
def _counts(het, hom, obs):  # type: ignore[no-untyped-def]
    m, words = het.shape
    out = np.zeros((m, 3))
    for j in range(m):
        for w in range(words):
            out[j, 0] += float(_popcount(het[j, w]))
            out[j, 1] += float(_popcount(hom[j, w]))
            out[j, 2] += float(_popcount(obs[j, w]))
    return out


@numba.njit(cache=True, fastmath=True)
def _dot(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for k in range(a.shape[0]):
        total += a[k] * b[k]
    return total


@numba.njit(cache=True)
def _hole_r2(rows, i, j):  # type: ignore[no-untyped-def]
    n = 0
    sx = sy = sxx = syy = sxy = 0.0
    for k in range(rows.shape[1]):
        x, y = float(rows[i, k]), float(rows[j, k])
        if x == x and y == y:
            n += 1
            sx += x
            sy += y
            sxx += x * x
            syy += y * y
            sxy += x * y
    vx, vy = n * sxx - sx * sx, n * syy - sy * sy
    if vx <= 1e-9 * n * n or vy <= 1e-9 * n * n:
        return np.nan
    return (n * sxy - sx * sy) ** 2 / (vx * vy)


@numba.njit(cache=True)
def _complete_r2(planes, first, second, i, others, count, value):  # type: ignore[no-untyped-def]
    """Genotype r² of variant i with others, nothing missing: the sum of products is four counts of common bits.

    `planes` alternates the words of "one or two copies" and of "two copies", which add up to the dosage; `first` is
    the sum of dosages, `second` N² times their variance. All are whole numbers, so r² is exact.
    """
    n = first[-1]
    for q in range(count):
        j = others[q]
        bits = np.uint64(0)
        for w in range(0, planes.shape[1], 2):
            a, b, c, d = planes[i, w], planes[i, w + 1], planes[j, w], planes[j, w + 1]
            bits += _popcount(a & c) + _popcount(a & d) + _popcount(b & c) + _popcount(b & d)
        cov = n * float(bits) - first[i] * first[j]
        spread = second[i] * second[j]
        value[q] = cov * cov / spread if spread > 0.0 else np.nan


@numba.njit(cache=True)
def _pairwise_r2(planes, obs, i, others, count, value):  # type: ignore[no-untyped-def]
    """As `_complete_r2`, where genotypes are missing: each pair over the samples that have both."""
    for q in range(count):
        j = others[q]
        both = xy = x1 = x2 = y1 = y2 = np.uint64(0)
        for w in range(obs.shape[1]):
            a, b, c, d = planes[i, 2 * w], planes[i, 2 * w + 1], planes[j, 2 * w], planes[j, 2 * w + 1]
            xy += _popcount(a & c) + _popcount(a & d) + _popcount(b & c) + _popcount(b & d)
            both += _popcount(obs[i, w] & obs[j, w])
            x1 += _popcount(a & obs[j, w])
            x2 += _popcount(b & obs[j, w])
            y1 += _popcount(c & obs[i, w])
            y2 += _popcount(d & obs[i, w])
        sx, sy = float(x1 + x2), float(y1 + y2)
        value[q] = _genotype_r2(float(both), sx, sx + 2.0 * float(x2), sy, sy + 2.0 * float(y2), float(xy))


@numba.njit(cache=True)
def _dosage_planes(het, hom, sums):  # type: ignore[no-untyped-def]
    """`planes`, `first` and `second` of `_complete_r2`; the last entry of `first` is N."""
    m, words = het.shape
    planes = np.empty((m, 2 * words), dtype=np.uint64)
    first, second = np.empty(m + 1), np.empty(m)
    first[m] = sums[0, 2] if m else 0.0
    for j in range(m):
        for w in range(words):
            planes[j, 2 * w] = het[j, w] | hom[j, w]
            planes[j, 2 * w + 1] = hom[j, w]
        first[j] = sums[j, 0] + 2.0 * sums[j, 1]
        second[j] = first[m] * (sums[j, 0] + 4.0 * sums[j, 1]) - first[j] * first[j]
    return planes, first, second


@numba.njit(cache=True)
def _dosage_r2(rows, holes, i, others, count, value):  # type: ignore[no-untyped-def]
    """r² of row i with others: raw rows with `holes`, else standardised ones."""
    for q in range(count):
        if holes:
            value[q] = _hole_r2(rows, i, others[q])
        else:
            r = float(_dot(rows[i], rows[others[q]]))
            value[q] = r * r


@numba.njit(cache=True)
def _product_r2(products, i, others, count, value):  # type: ignore[no-untyped-def]
    """As `_complete_r2`, its sums of products given: of everybody, less those of two groups of people."""
    n, first, second, gram, out_a, out_b = products
    for q in range(count):
        j = others[q]
        both = gram[i, j]
        if out_a.shape[0]:
            both -= out_a[i, j]
        if out_b.shape[0]:
            both -= out_b[i, j]
        cov = n * both - first[i] * first[j]
        spread = second[i] * second[j]
        value[q] = cov * cov / spread if spread > 0.0 else np.nan


@numba.njit(cache=True)
def _take(i, leads, others, count, value, thresholds, least, owner, free):  # type: ignore[no-untyped-def]
    """Give variant i the others whose r² is above the thresholds at which it leads and they are free."""
    for q in range(count):
        if value[q] > least:
            j = others[q]
            open_here = free[j] & leads
            for t in range(len(thresholds)):
                if open_here >> t & 1 and value[q] > thresholds[t]:
                    owner[t, j] = i
                    free[j] &= ~(1 << t)


@numba.njit(cache=True)
def greedy_owner(kind, het, hom, obs, complete, rows, products, order, n_index, low, high, thresholds, owner):  # type: ignore[no-untyped-def]
    sums = _counts(het, hom, obs)
    planes, first, second = _dosage_planes(het, hom, sums)
    roots = np.empty(3)
    others = np.empty(len(low), dtype=np.int64)
    value = np.empty(len(low))
    # One bit per threshold: at which the variant has not been taken yet.
    free = np.zeros(len(low), dtype=np.int64)
    least = thresholds.min()
    for j in order:
        free[j] = (1 << len(thresholds)) - 1
    for rank in range(n_index):
        i = order[rank]
        leads = free[i]
        if leads == 0:
            continue
        free[i] = 0
        for t in range(len(thresholds)):
            if leads >> t & 1:
                owner[t, i] = i
        count = 0
        for j in range(low[i], high[i]):
            others[count] = j
            count += (free[j] & leads) != 0
        if kind == COMPLETE:
            _complete_r2(planes, first, second, i, others, count, value)
        elif kind == PAIRWISE:
            _pairwise_r2(planes, obs, i, others, count, value)
        elif kind == ROWS or kind == HOLES:
            _dosage_r2(rows, kind == HOLES, i, others, count, value)
        elif kind == PRODUCTS:
            _product_r2(products, i, others, count, value)
        else:
            for q in range(count):
                value[q] = _pair(het, hom, obs, complete, True, i, others[q], sums, roots)
        _take(i, leads, others, count, value, thresholds, least, owner, free)


@numba.njit(cache=True)
def matrix_calls(het, hom, obs, complete, em, out):  # type: ignore[no-untyped-def]
    sums = _counts(het, hom, obs)
    roots = np.empty(3)
    for i in range(out.shape[0]):
        for j in range(i, out.shape[0]):
            value = _pair(het, hom, obs, complete, em, i, j, sums, roots)
            out[i, j] = value
            out[j, i] = value
