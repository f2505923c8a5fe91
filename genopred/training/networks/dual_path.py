"""Two paths: the promoter, and distal segments that are in contact with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from genopred.training.networks.gene import GeneInputs, GeneNetwork, GeneShape, Link
from genopred.training.networks.stem import AttentionPool, ConvolutionStem, n_tokens


class DualPath(GeneNetwork):
    """What a network finds in the promoter, beside the sum of what another finds in each distal segment, by contact.

    The sum is over segments, each times the weight of its contact, so that their order does not matter and a gene
    without contacts has 0 there. Without contacts at all (`shape.segments` 0) it is the promoter's path alone.
    """

    kind = "dual-path"
    reads_segments = True
    SIZES = {"channels": 64, "distal": 32, "heads": 2, "dropout": 0.2}

    def __init__(self, n_cells: int, shape: GeneShape, sizes: dict[str, Any], link: Link = "identity") -> None:
        super().__init__(n_cells, shape, sizes, link)
        width, distal = sizes["channels"], sizes["distal"] if shape.segments else 0
        self.stem = nn.Sequential(ConvolutionStem(shape.channels, width), _dense(width))
        self.pool = AttentionPool(width, sizes["heads"], n_tokens(shape.window), shape.before)
        self.distal: nn.Module | None = None
        if distal:
            self.distal = nn.Sequential(ConvolutionStem(shape.channels, distal), _dense(distal))
            self.distal_pool = AttentionPool(distal, sizes["heads"])
        self.dropout = nn.Dropout(sizes["dropout"])
        self.finish((width + distal) * sizes["heads"])

    @classmethod
    def kept(cls, shape: GeneShape, sizes: dict[str, Any]) -> int:
        return shape.window * sizes["channels"] + shape.segments * shape.segment * sizes["distal"]

    def tokens(self, inputs: GeneInputs) -> torch.Tensor:
        return self.stem(inputs.window)  # type: ignore[no-any-return]

    def embed(self, inputs: GeneInputs) -> torch.Tensor:
        near = super().embed(inputs)
        if self.distal is None:
            return near
        return torch.cat([near, self._far(inputs, near)], dim=1)

    def _far(self, inputs: GeneInputs, near: torch.Tensor) -> torch.Tensor:
        """(B, heads * distal)."""
        out = near.new_zeros(len(near), self.distal_pool.score.out_features * self.distal_pool.score.in_features)
        if inputs.segments is None or inputs.weights is None:
            return out
        # segments that are not there are not looked at: they would count in the batch's mean and variance
        gene, place = torch.nonzero(inputs.weights, as_tuple=True)
        if not len(gene) or self.distal is None:
            return out
        found = self.distal_pool(self.distal(inputs.segments[gene, place]))
        return out.index_add(0, gene, found * inputs.weights[gene, place][:, None].to(found))


def _dense(width: int) -> nn.Module:
    """What is made of a token by itself."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
