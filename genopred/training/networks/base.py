"""What all networks have in common, and what those that predict tracks have."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from genopred.training.splits import WindowShape


class Network(nn.Module):
    """Base of the networks of tracks and of those of genes.

    Parameters
    ----------
    shape : WindowShape or GeneShape
        What it reads.
    sizes : dict
        Every key of `SIZES`.

    Attributes
    ----------
    kind : str
        The name that a configuration has for it.
    SIZES : dict
        What can be said of its size, with the defaults.
    head : torch.nn.Linear
        The last layer, before softplus or a link.
    """

    kind: ClassVar[str]
    SIZES: ClassVar[dict[str, Any]]
    head: nn.Linear

    def __init__(self, shape: Any, sizes: dict[str, Any]) -> None:
        super().__init__()
        self.check(shape, sizes)
        self.shape, self.sizes = shape, sizes

    @classmethod
    def check(cls, shape: Any, sizes: dict[str, Any]) -> None:
        """Refuse a shape and sizes that do not go together, with a ModelError."""

    @classmethod
    def kept(cls, shape: Any, sizes: dict[str, Any]) -> int:
        """Numbers of a window or gene that the backward pass needs at the very least, without building anything."""
        raise NotImplementedError


class TrackNetwork(Network):
    """One-hot windows (B, L, 4) -> positive predictions (B, n_bins, T).

    Parameters
    ----------
    n_tracks : int
    shape : WindowShape
        Window, bin and crop.
    sizes : dict
        Every key of `SIZES`.
    """

    shape: WindowShape

    def __init__(self, n_tracks: int, shape: WindowShape, sizes: dict[str, Any]) -> None:
        super().__init__(shape, sizes)
        self.n_tracks = n_tracks

    def trunk(self, onehot: torch.Tensor) -> torch.Tensor:
        """What the head reads of each bin, (B, n_bins, channels); as fast as `fast`."""
        raise NotImplementedError

    def fast(self, onehot: torch.Tensor) -> torch.Tensor:
        """Compute what `forward` does from the same weights, where there is a faster way to train with."""
        return self(onehot)


def n_parameters(module: nn.Module) -> int:
    """How many weights a module learns."""
    return sum(p.numel() for p in module.parameters())
