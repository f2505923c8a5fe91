"""What a network's attention looks at: its maps, and along the sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genopred.errors import ModelError
from genopred.sequence.models.base import SequenceModel, as_tensor

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AttentionMap:
    """One layer's attention over a window, in the direction in which the model reads it."""

    name: str
    #: (heads, queries, keys), or (heads, positions) where a layer weighs positions for one answer.
    weights: NDArray[np.float32]

    @property
    def heads(self) -> int:
        """How many heads."""
        return self.weights.shape[0]

    def towards(self, share: float) -> Floats:
        """Weights (heads, keys) of the query that stands at this share of the window."""
        if self.weights.ndim == 2:
            return self.weights.astype(np.float64)
        n = self.weights.shape[1]
        return self.weights[:, min(int(share * n), n - 1)].astype(np.float64)

    @property
    def received(self) -> Floats:
        """Mean weight (heads, keys) that a position gets from all queries."""
        return (
            self.weights.astype(np.float64) if self.weights.ndim == 2 else self.weights.mean(axis=1, dtype=np.float64)
        )

    def pooled(self, most: int = 128) -> Floats:
        """Mean over heads (n, n), or (n,), each side added up to at most so many stretches of equal length."""
        mean = self.weights.mean(axis=0, dtype=np.float64)
        for axis in range(mean.ndim):
            length = mean.shape[axis]
            edges = np.linspace(0, length, min(length, most) + 1).astype(np.int64)[:-1]
            last = axis == mean.ndim - 1
            added = np.add.reduceat(mean, edges, axis=axis)
            # keys of a stretch add up, so that rows still sum to 1; queries of a stretch are averaged
            sizes = np.diff(np.append(edges, length))
            mean = added if last else added / sizes.reshape(-1, *([1] * (mean.ndim - 1)))
        return mean


def check_attention(model: SequenceModel) -> Any:
    """The `attention_maps` of a model's network; ModelError where it has none."""
    offered = getattr(model.torch_module(), "attention_maps", None)
    if offered is None:
        raise ModelError(
            f"--method attention: {model.name} has no attention (its network has no attention_maps); leave it out."
        )
    return offered


def attention_maps(model: SequenceModel, window: NDArray[np.float32]) -> list[AttentionMap]:
    """The attention of every layer of a model over a window (L, 4).

    Raises
    ------
    ModelError
        If the model's network has no `attention_maps`, or none that is what `SequenceModel.torch_module` says.
    """
    import torch

    offered = check_attention(model)
    with torch.no_grad():
        found = offered(as_tensor(window, model.device)[None])
    if not found:
        raise ModelError(f"--method attention: {model.name} has no layer with attention; leave it out.")
    maps = [AttentionMap(str(name), weights[0].float().cpu().numpy()) for name, weights in found]
    for one in maps:
        if one.weights.ndim not in (2, 3):
            raise ModelError(
                f"{model.name}: attention {one.name} has shape (1, {', '.join(map(str, one.weights.shape))}); needed "
                "(B, heads, queries, keys) or (B, heads, positions)."
            )
    return maps
