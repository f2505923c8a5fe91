"""What the networks of genes are made of: convolutions down to tokens, and attention that pools tokens."""

from __future__ import annotations

import math

import torch
from torch import nn

#: The tokens' width in bases is the product of these.
POOLS = (8, 5, 5)
TOKEN = math.prod(POOLS)
#: A token so far from the TSS, in bp, begins with 1/e of the weight.
_REACH = 1000.0


class ConvolutionStem(nn.Module):
    """Windows (B, L, channels) -> tokens (B, ceil(L / 200), width), of 200 bp: convolve, normalise, keep the largest.

    Parameters
    ----------
    channels : int
        Of the input.
    width : int
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(channels, width, (1, 15), padding=(0, 7)), nn.BatchNorm2d(width), nn.ReLU(),
            nn.MaxPool2d((1, POOLS[0]), ceil_mode=True),
        )  # fmt: skip
        self.further = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, (1, 7), padding=(0, 3)), nn.BatchNorm2d(width), nn.ReLU())
            for _ in POOLS[1:]
        )
        self.pools = nn.ModuleList(nn.MaxPool2d((1, pool), ceil_mode=True) for pool in POOLS[1:])

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        # (B, L, C) -> (B, C, 1, L): two dimensions, because torch keeps channels last only there
        h = self.first(window.transpose(1, 2).unsqueeze(2))
        for layer, pool in zip(self.further, self.pools, strict=True):
            # what the first layer found is passed on beside what is made of it: without that, a filter that begins to
            # find a motif has no gradient through fresh convolutions, and whether it is learned is chance
            h = pool(h + layer(h))
        return h.squeeze(2).transpose(1, 2)


class AttentionPool(nn.Module):
    """Tokens (B, P, width) -> (B, heads * width): in each head the mean of the tokens by weights that add up to 1.

    A weight depends on what the token is and on where it is; at first the tokens around `centre` count most.

    Parameters
    ----------
    width, heads : int
    positions : int
        P, where it is always the same; 0 for tokens without a place.
    centre, token : float
        Place of the TSS, and width of a token, in bp.
    """

    def __init__(self, width: int, heads: int, positions: int = 0, centre: float = 0, token: float = TOKEN) -> None:
        super().__init__()
        self.score = nn.Linear(width, heads)
        self.place: nn.Parameter | None = None
        if positions:
            away = ((torch.arange(positions) + 0.5) * token - centre).abs() / _REACH
            self.place = nn.Parameter(-away[:, None].repeat(1, heads))

    def weights(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, P, heads)."""
        score = self.score(tokens)
        return torch.softmax(score if self.place is None else score + self.place, dim=1)

    def map(self, tokens: torch.Tensor) -> tuple[str, torch.Tensor]:
        """Name and weights (B, heads, P), as `GeneNetwork.attention_maps` has them."""
        return "pooling", self.weights(tokens).transpose(1, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bph,bpw->bhw", self.weights(tokens), tokens).flatten(1)


def n_tokens(window: int) -> int:
    """How many tokens `ConvolutionStem` makes of a window.

    >>> n_tokens(11_000), n_tokens(11_001)
    (55, 56)
    """
    for pool in POOLS:
        window = -(-window // pool)
    return window
