"""A Transformer over tokens that convolutions make."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from genopred.errors import ModelError
from genopred.training.networks.gene import GeneInputs, GeneNetwork, GeneShape, Link
from genopred.training.networks.stem import TOKEN, AttentionPool, ConvolutionStem, n_tokens


class _Layer(nn.Module):
    """Self-attention and two dense layers, each beside what came in."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.dense = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        x = self.norm(h)
        h = h + self.attention(x, x, x, need_weights=False)[0]
        return h + self.dense(self.norm2(h))  # type: ignore[no-any-return]

    def weights(self, h: torch.Tensor) -> torch.Tensor:
        """Where each head looks, (B, heads, queries, keys)."""
        x = self.norm(h)
        return self.attention(x, x, x, average_attn_weights=False)[1]  # type: ignore[no-any-return]


class GeneTransformer(GeneNetwork):
    """Tokens of 200 bp by convolution, each with its distance from the TSS, then layers of self-attention."""

    kind = "transformer"
    integrated = (*GeneNetwork.integrated, _Layer)
    SIZES = {"channels": 64, "layers": 2, "heads": 4, "dropout": 0.2}

    def __init__(self, n_cells: int, shape: GeneShape, sizes: dict[str, Any], link: Link = "identity") -> None:
        super().__init__(n_cells, shape, sizes, link)
        width, heads, share = sizes["channels"], sizes["heads"], sizes["dropout"]
        n = n_tokens(shape.window)
        self.stem = ConvolutionStem(shape.channels, width)
        self.register_buffer("places", distances(n, shape.before, width), persistent=False)
        self.layers = nn.ModuleList(_Layer(width, heads, share) for _ in range(sizes["layers"]))
        self.norm = nn.LayerNorm(width)
        self.pool = AttentionPool(width, 2, n, shape.before)
        self.dropout = nn.Dropout(share)
        self.finish(2 * width)

    @classmethod
    def check(cls, shape: GeneShape, sizes: dict[str, Any]) -> None:
        if sizes["channels"] % sizes["heads"] or sizes["channels"] % 2:
            raise ModelError(
                f"network.channels {sizes['channels']} with {sizes['heads']} heads: needed an even multiple of them."
            )

    @classmethod
    def kept(cls, shape: GeneShape, sizes: dict[str, Any]) -> int:
        return shape.window * sizes["channels"] + sizes["layers"] * sizes["heads"] * n_tokens(shape.window) ** 2

    def tokens(self, inputs: GeneInputs) -> torch.Tensor:
        h = self.stem(inputs.window) + self.places
        for layer in self.layers:
            h = layer(h)
        return self.norm(h)  # type: ignore[no-any-return]

    def attention_maps(self, inputs: GeneInputs) -> list[tuple[str, torch.Tensor]]:
        h, maps = self.stem(inputs.window) + self.places, []
        for i, layer in enumerate(self.layers, 1):
            maps.append((f"layer {i}", layer.weights(h)))  # type: ignore[operator]
            h = layer(h)
        return [*maps, self.pool.map(self.norm(h))]


def distances(n: int, before: int, width: int) -> torch.Tensor:
    """Sines and cosines (n, width) of each token's distance from the TSS, of wavelengths of 400 bp to 100 kb.

    >>> distances(3, 300, 2)[1].tolist()
    [0.0, 1.0]
    """
    away = (torch.arange(n) + 0.5) * TOKEN - before
    lengths = 400.0 * torch.exp(torch.linspace(0, math.log(250), width // 2))
    angle = 2 * math.pi * away[:, None] / lengths
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)
