"""Convolutions, then a recurrent network in both directions, then attention that pools."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from genopred.training.networks.gene import GeneInputs, GeneNetwork, GeneShape, Link
from genopred.training.networks.stem import AttentionPool, ConvolutionStem, n_tokens


class _Recurrent(nn.LSTM):
    """The outputs of an LSTM alone, so that attribution can go through it."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(tokens)[0]  # type: ignore[no-any-return]


class Hybrid(GeneNetwork):
    """Motifs by convolution, their order by a bidirectional LSTM over tokens of 200 bp, what counts by attention."""

    kind = "hybrid"
    integrated = (*GeneNetwork.integrated, _Recurrent)
    SIZES = {"channels": 64, "hidden": 32, "heads": 2, "dropout": 0.2}

    def __init__(self, n_cells: int, shape: GeneShape, sizes: dict[str, Any], link: Link = "identity") -> None:
        super().__init__(n_cells, shape, sizes, link)
        hidden, heads = sizes["hidden"], sizes["heads"]
        self.stem = ConvolutionStem(shape.channels, sizes["channels"])
        self.lstm = _Recurrent(sizes["channels"], hidden, batch_first=True, bidirectional=True)
        self.pool = AttentionPool(2 * hidden, heads, n_tokens(shape.window), shape.before)
        self.dropout = nn.Dropout(sizes["dropout"])
        self.finish(2 * hidden * heads)

    @classmethod
    def kept(cls, shape: GeneShape, sizes: dict[str, Any]) -> int:
        return shape.window * sizes["channels"]

    def tokens(self, inputs: GeneInputs) -> torch.Tensor:
        return self.lstm(self.stem(inputs.window))  # type: ignore[no-any-return]
