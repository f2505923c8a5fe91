"""What a sequence is compared with: shuffles of itself that keep its dinucleotides, all bases alike, or none."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from genopred.attribution.target import package
from genopred.errors import check_choice

KINDS = ("shuffled", "uniform", "zero")
#: Shorter stretches between Ns stay as they are.
_SHORTEST = 4


def backgrounds(window: NDArray[np.float32], kind: str, n: int, seed: int | tuple[int, ...]) -> NDArray[np.float32]:
    """Sequences (K, L, 4) that a window (L, 4) is compared with: `n` shuffles, or one of the other kinds.

    Parameters
    ----------
    kind : {"shuffled", "uniform", "zero"}
        `shuffled`: each stretch between Ns is shuffled by itself, its dinucleotides and both ends kept (tangermeme's
        `dinucleotide_shuffle`). `uniform`: a quarter of each base; N stays N. `zero`: nothing.
    seed : int or tuple of int
        Other numbers give shuffles that have nothing to do with each other.
    """
    check_choice("background", kind, KINDS)
    if kind == "zero":
        return np.zeros((1, *window.shape), dtype=np.float32)
    known = window.sum(axis=1) > 0
    if kind == "uniform":
        return np.where(known[:, None], np.float32(0.25), np.float32(0.0)).repeat(4, axis=1)[None]
    shuffle = package("tangermeme.ersatz").dinucleotide_shuffle
    out = np.repeat(window[None].astype(np.float32), n, axis=0)
    edges = np.flatnonzero(np.diff(known.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    for start, end in edges.tolist():
        if end - start >= _SHORTEST:
            piece = torch.from_numpy(np.ascontiguousarray(window[None, start:end].transpose(0, 2, 1)))
            # one of each of n copies: of one it refuses several that are alike, as those of AAAA are
            state = np.random.SeedSequence([*np.atleast_1d(seed).tolist(), start]).generate_state(1)[0]
            shuffled = shuffle(piece.repeat(n, 1, 1), n=1, random_state=int(state >> 1))[:, 0]  # (n, 4, l)
            out[:, start:end] = shuffled.numpy().transpose(0, 2, 1)
    return out
