"""Bases as networks are given them in training: one-hot on the device, and with some of them drawn anew."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike

from genopred.sequence.onehot import N_CODE


def onehot_on(codes: ArrayLike, device: torch.device) -> torch.Tensor:
    """Codes (...) as one-hot (..., 4), float32; N is zero.

    >>> onehot_on(np.array([2, 4], dtype=np.uint8), torch.device("cpu")).tolist()
    [[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    return torch.eye(N_CODE + 1, 4, device=device)[torch.from_numpy(np.asarray(codes)).to(device).long()]


def mutated(onehot: torch.Tensor, most: float) -> torch.Tensor:
    """One-hot windows (B, L, 4) with a random share of their bases, 0 to `most` in each window, drawn anew."""
    if most <= 0:
        return onehot
    n, length, _ = onehot.shape
    hit = torch.rand(n, length, device=onehot.device) < most * torch.rand(n, 1, device=onehot.device)
    drawn = torch.randint(4, (n, length), device=onehot.device)
    return torch.where(hit[..., None], torch.nn.functional.one_hot(drawn, 4).to(onehot), onehot)
