"""enformer-pytorch's module with one of its heads, as one network that can be taken apart."""

from __future__ import annotations

from typing import Any

import torch
from enformer_pytorch.modeling_enformer import GELU, Attention, AttentionPool
from torch import nn


class WholeEnformer(nn.Module):
    """One-hot windows (B, L, 4) -> predictions (B, n_bins, T) of one head; `body` is enformer-pytorch's module."""

    #: Its own kinds of modules: DeepLIFT has no rule for them, and goes through them by integrated gradients.
    integrated = (GELU, AttentionPool, Attention)

    def __init__(self, body: Any, head: str) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, onehot: torch.Tensor) -> torch.Tensor:
        """Compute what enformer-pytorch's own forward gives of this head."""
        embedded = self.body(onehot.to(self.body.stem[0].weight.dtype), return_only_embeddings=True)
        predicted: torch.Tensor = self.body._heads[self.head](embedded)
        return predicted

    def attention_maps(self, onehot: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
        """Of each layer its name and what each token attends to, (B, heads, queries, keys); rows sum to 1.

        enformer-pytorch's attention passes its weights through a dropout, which does nothing here but is a module.
        """
        found: list[torch.Tensor] = []
        hooks = [
            layer[0].fn[1].attn_dropout.register_forward_hook(lambda module, given, weights: found.append(weights))
            for layer in self.body.transformer
        ]
        training = self.body.training
        self.body.eval()
        try:
            with torch.no_grad():
                self.forward(onehot)
        finally:
            self.body.train(training)
            for hook in hooks:
                hook.remove()
        return [(f"layer {i}", weights) for i, weights in enumerate(found, start=1)]
