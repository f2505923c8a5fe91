"""What is counted of a sequence and put beside what a network finds: GC content, k-mers, hits of motifs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from genopred.errors import ModelError


@dataclass(frozen=True)
class Composition:
    """What is counted of a window.

    Parameters
    ----------
    gc : bool
        Share of G and C among the bases that are known.
    kmers : int
        Length of the words whose frequencies are taken, 1 to 5; 0 for none.
    motifs : tuple
        Position weight matrices, each a tuple of rows of four log-odds (A, C, G, T).
    names : tuple of str
        Of the motifs.
    """

    gc: bool = False
    kmers: int = 0
    motifs: tuple[tuple[tuple[float, ...], ...], ...] = ()
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.kmers <= 5:
            raise ModelError(f"kmers = {self.kmers}: needed words of 1 to 5 bases, or 0 for none.")

    @property
    def width(self) -> int:
        """How many numbers it is."""
        return int(self.gc) + (4**self.kmers if self.kmers else 0) + len(self.motifs)


class CompositionLayer(nn.Module):
    """One-hot windows (B, L, 4) -> (B, width); of the sequence alone, so that it can be differentiated."""

    def __init__(self, what: Composition) -> None:
        super().__init__()
        self.what, self.width = what, what.width

    def forward(self, onehot: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError
