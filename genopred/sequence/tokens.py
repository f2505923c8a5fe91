"""Distinct local haplotypes of a window, level by level of a convolutional tower.

At each resolution a haplotype is a row of a table at every position: row 0 of the position is the
reference's, the others are the distinct local patterns that some haplotype has there. A row of the next level is
determined by the rows in its receptive field, so it is computed once for each distinct tuple of them. Tuples are
compared as integers, never as floating-point values or hashes: sharing loses nothing.

Only carriers of something else than the reference are stored, so rare variants cost little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from genopred.errors import GenopredError
from genopred.sequence.haplotypes import VariantWindow


@dataclass(frozen=True)
class Level:
    """Which row every haplotype has at every position of one resolution.

    Of n positions: the carriers of position p are `haplotype[indptr[p]:indptr[p + 1]]`, and `rank` says which of the
    position's rows each has, from 1; all others have the reference's row, 0. Rows of rank 1, 2, ... at position p are
    the variant rows `first[p]`, `first[p] + 1`, ...
    """

    n: int
    indptr: NDArray[np.int64]  # (n + 1,)
    haplotype: NDArray[np.int32]  # (nnz,)
    rank: NDArray[np.int32]  # (nnz,)
    first: NDArray[np.int64]  # (n + 1,)

    @property
    def n_variant(self) -> int:
        """Rows beside the reference's."""
        return int(self.first[-1])

    @property
    def n_rows(self) -> int:
        """Distinct rows: n of the reference and the variant ones."""
        return self.n + self.n_variant

    def index(self, haplotypes: NDArray[np.int64], n_haplotypes: int) -> NDArray[np.int64]:
        """Row of each asked haplotype at each position, shape (len(haplotypes), n).

        Rows 0 to n - 1 of the table are the reference's, then come the variant ones.
        """
        place = np.full(n_haplotypes, -1, dtype=np.int64)
        place[haplotypes] = np.arange(len(haplotypes))
        out = np.tile(np.arange(self.n), (len(haplotypes), 1))
        position = np.repeat(np.arange(self.n), np.diff(self.indptr))
        at = place[self.haplotype]
        keep = at >= 0
        out[at[keep], position[keep]] = self.n + self.first[position[keep]] + self.rank[keep] - 1
        return out


@dataclass(frozen=True)
class Step:
    """What to compute from one level to the next: a convolution of odd width, then pooling of pairs.

    Attributes
    ----------
    windows : array, shape (M, width)
        Input rows of each variant convolution row, in a table of `pad` zero rows, the reference's n rows, `pad`
        zero rows and the variant rows.
    window_first : array, shape (n_out + 1,)
        Variant convolution rows of output position i are `windows[window_first[i]:window_first[i + 1]]`.
    pairs : array, shape (R, 2)
        The two convolution rows of each variant output row: an index into `windows`, -1 the reference's, -2 none
        (the last pair of an odd number).
    level : Level
        The output; its variant rows stand in the order of `pairs`.
    """

    windows: NDArray[np.int32]
    window_first: NDArray[np.int64]
    pairs: NDArray[np.int32]
    level: Level


def base_level(window: VariantWindow) -> tuple[Level, NDArray[np.floating]]:
    """The lowest level: bases, n is L; and channels (n_variant, 4) of the variant rows.

    GenopredError if a site is outside the window, sites are not ascending, shapes differ, a code is no base or an
    allele is none of 0, 1, 2.

    >>> reference = np.eye(4, dtype=np.float32)  # ACGT
    >>> level, rows = base_level(VariantWindow(reference, [1], [1], [3], np.array([[0], [1], [2]])))
    >>> level.haplotype.tolist(), level.rank.tolist(), rows.tolist()
    ([1, 2], [1, 2], [[0.0, 0.0, 0.0, 1.0], [0.0, 0.5, 0.0, 0.5]])
    """
    reference, alleles = np.asarray(window.reference), np.asarray(window.alleles)
    sites = np.asarray(window.sites, dtype=np.int64)
    codes = np.stack([np.asarray(part, dtype=np.int64) for part in (window.ref_codes, window.alt_codes)])
    _check(len(reference), sites, codes, alleles)
    eye = np.eye(4, dtype=reference.dtype)
    change = eye[codes[1]] - eye[codes[0]]  # (V, 4)
    weight = np.array([0.0, 1.0, 0.5], dtype=reference.dtype)
    n = len(reference)
    count = np.zeros(n, dtype=np.int64)
    carriers, ranks, rows = [], [], []
    n_carriers = np.zeros(n, dtype=np.int64)
    begins = np.flatnonzero(np.diff(sites, prepend=-1))
    for begin, end in zip(begins, np.append(begins[1:], len(sites))):
        block = alleles[:, begin:end]
        who = np.flatnonzero(block.any(axis=1))
        if not len(who):
            continue
        distinct, rank = np.unique(block[who], axis=0, return_inverse=True)
        position = sites[begin]
        rows.append(reference[position] + weight[distinct] @ change[begin:end])
        count[position], n_carriers[position] = len(distinct), len(who)
        carriers.append(who.astype(np.int32))
        ranks.append(rank.reshape(-1).astype(np.int32) + 1)
    level = Level(
        n,
        np.concatenate([[0], np.cumsum(n_carriers)]),
        np.concatenate(carriers) if carriers else np.empty(0, dtype=np.int32),
        np.concatenate(ranks) if ranks else np.empty(0, dtype=np.int32),
        np.concatenate([[0], np.cumsum(count)]),
    )
    return level, np.concatenate(rows) if rows else np.empty((0, 4), dtype=reference.dtype)


def _check(length: int, sites: NDArray[np.integer], codes: NDArray[np.integer], alleles: NDArray[np.integer]) -> None:
    if alleles.ndim != 2 or alleles.shape[1] != len(sites) or codes.shape != (2, len(sites)):
        raise GenopredError(
            f"alleles has shape {alleles.shape} and codes {codes.shape}; needed (H, V) and (2, V) "
            f"with V = {len(sites)} sites."
        )
    if not len(sites):
        return
    if sites[0] < 0 or sites[-1] >= length or (np.diff(sites) < 0).any():
        raise GenopredError(
            f"sites go from {sites.min()} to {sites.max()}; needed ascending offsets in the window's {length} bases."
        )
    if codes.min() < 0 or codes.max() > 3:
        raise GenopredError(f"base codes go from {codes.min()} to {codes.max()}; needed 0 A, 1 C, 2 G, 3 T.")
    if alleles.size and (alleles.min() < 0 or alleles.max() > 2):
        raise GenopredError(
            f"alleles go from {alleles.min()} to {alleles.max()}; needed 0 REF, 1 ALT or 2 half of each. "
            "Impute missing alleles or set them to REF."
        )


def next_level(level: Level, width: int, n_haplotypes: int) -> Step:
    """Distinct rows after a zero-padded convolution of odd `width` and pooling of pairs of positions.

    >>> level, _ = base_level(VariantWindow(np.eye(4), [1], [1], [3], np.array([[0], [1], [1]])))
    >>> step = next_level(level, 3, 3)
    >>> step.windows.tolist(), step.pairs.tolist(), step.level.n_rows
    ([[0, 1, 6], [1, 6, 3], [6, 3, 4]], [[0, 1], [2, -1]], 4)
    """
    arrays = (level.indptr, level.haplotype, level.rank, level.first)
    windows, window_first, pairs, *out = _advance(level.n, *arrays, width, n_haplotypes)
    return Step(windows, window_first, pairs, Level((level.n + 1) // 2, *out))


@numba.njit(cache=True)
def _grown(array: Any, size: int) -> Any:  # pragma: no cover - compiled
    """`array` with room for `size` entries along its first axis."""
    if size <= array.shape[0]:
        return array
    more = np.empty((max(size, 2 * array.shape[0]),) + array.shape[1:], dtype=array.dtype)
    more[: array.shape[0]] = array
    return more


@numba.njit(cache=True)
def _find(keys: Any, values: Any, stamps: Any, stamp: int, key: int, value: int) -> int:  # pragma: no cover - compiled
    """The value of `key` in this stamp's open-addressing table; `value` is stored where there is none."""
    mask = keys.shape[0] - 1
    at = (key * -7046029254386353131 >> 20) & mask
    while stamps[at] == stamp:
        if keys[at] == key:
            return values[at]
        at = (at + 1) & mask
    stamps[at], keys[at], values[at] = stamp, key, value
    return value


@numba.njit(cache=True)
def _advance(  # noqa: C901 - one pass over positions, kept in one place
    n: int, indptr: Any, haplotype: Any, rank: Any, first: Any, width: int, n_haplotypes: int
) -> Any:  # pragma: no cover - compiled
    half = width // 2
    n_out = (n + 1) // 2
    size = 16
    while size < 2 * n_haplotypes * width + 16:
        size *= 2
    keys, values = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
    stamps, stamp = np.zeros(size, dtype=np.int64), 0
    # nodes of the tree of tuples: what each one adds to its parent
    room = n_haplotypes * width + 1
    parent, place, which = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    row_of_node = np.empty(room, dtype=np.int64)
    node = np.zeros((2, n_haplotypes), dtype=np.int64)  # of each haplotype, left and right of the pair
    touched = np.empty(n_haplotypes, dtype=np.int64)
    seen = np.zeros(n_haplotypes, dtype=np.int64)
    windows, pairs = np.empty((1024, width), dtype=np.int32), np.empty((1024, 2), dtype=np.int32)
    out_haplotype, out_rank = np.empty(4096, dtype=np.int32), np.empty(4096, dtype=np.int32)
    n_windows, n_pairs, nnz = 0, 0, 0
    window_first, out_first = np.zeros(n_out + 1, dtype=np.int64), np.zeros(n_out + 1, dtype=np.int64)
    out_indptr = np.zeros(n_out + 1, dtype=np.int64)
    for i in range(n_out):
        low, high = max(0, 2 * i - half), min(n, 2 * i + 2 + half)
        if indptr[high] > indptr[low]:
            n_touched = 0
            for side in range(2):
                j = 2 * i + side
                if j >= n:
                    continue
                stamp += 1
                n_nodes = 1
                for p in range(max(0, j - half), min(n, j + half + 1)):
                    for c in range(indptr[p], indptr[p + 1]):
                        h = haplotype[c]
                        if seen[h] != i + 1:
                            seen[h] = i + 1
                            node[0, h] = 0
                            node[1, h] = 0
                            touched[n_touched] = h
                            n_touched += 1
                        key = (node[side, h] << 36) | ((p - j + half) << 31) | rank[c]
                        at = _find(keys, values, stamps, stamp, key, n_nodes)
                        if at == n_nodes:
                            parent[at], place[at], which[at] = node[side, h], p - j, first[p] + rank[c] - 1
                            row_of_node[at] = -1
                            n_nodes += 1
                        node[side, h] = at
                # whole tuples become convolution rows; from here on `node` is a row of `windows`, plus one
                for t in range(n_touched):
                    at = node[side, touched[t]]
                    if at == 0:
                        continue
                    if row_of_node[at] < 0:
                        windows = _grown(windows, n_windows + 1)
                        for d in range(width):
                            windows[n_windows, d] = j + d  # position j + d - half, after `half` zero rows
                        up = at
                        while up != 0:
                            windows[n_windows, place[up] + half] = n + 2 * half + which[up]
                            up = parent[up]
                        row_of_node[at] = n_windows
                        n_windows += 1
                    node[side, touched[t]] = row_of_node[at] + 1
            stamp += 1
            out_haplotype, out_rank = _grown(out_haplotype, nnz + n_touched), _grown(out_rank, nnz + n_touched)
            begin = n_pairs
            for t in range(n_touched):
                h = touched[t]
                left, right = node[0, h], node[1, h]
                at = _find(keys, values, stamps, stamp, (left << 31) | right, n_pairs)
                if at == n_pairs:
                    pairs = _grown(pairs, n_pairs + 1)
                    pairs[n_pairs, 0] = left - 1
                    pairs[n_pairs, 1] = right - 1 if 2 * i + 1 < n else -2
                    n_pairs += 1
                out_haplotype[nnz], out_rank[nnz] = h, at - begin + 1
                nnz += 1
        window_first[i + 1], out_first[i + 1], out_indptr[i + 1] = n_windows, n_pairs, nnz
    return (
        windows[:n_windows].copy(),
        window_first,
        pairs[:n_pairs].copy(),
        out_indptr,
        out_haplotype[:nnz].copy(),
        out_rank[:nnz].copy(),
        out_first,
    )
