"""How much memory a training takes."""

from __future__ import annotations

from typing import Any

import torch

from genopred.training.networks.base import n_parameters
from genopred.training.networks.registry import NETWORKS, all_sizes, build, check_window
from genopred.training.splits import WindowShape


def training_bytes(kind: str, n_tracks: int, shape: WindowShape, batch_size: int, sizes: dict[str, Any]) -> int:
    """About how much memory training takes beside the data: weights with their copies, and what backward needs.

    What autograd keeps of one window is counted and multiplied.
    """
    with torch.random.fork_rng([]):
        network = build(kind, n_tracks, shape, **sizes)
    kept: dict[tuple[int, int], int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr(), tensor.numel()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.random.fork_rng([]), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network.train().fast(torch.zeros(1, shape.window, 4))
    # weights, gradients, two of AdamW, average, best, and one more while a checkpoint is written
    weights = 7 * sum(value.numel() * value.element_size() for value in network.parameters())
    # backward makes gradients beside what forward kept
    return int(weights + 1.3 * batch_size * sum(kept.values()))


def least_bytes(kind: str, n_tracks: int, shape: WindowShape, batch: int, sizes: dict[str, Any]) -> int:
    """Memory that training takes at the very least, without building the network.

    Its weights, gradients and AdamW's two moments, and what the backward pass needs at least.
    """
    network, full = NETWORKS[kind], all_sizes(kind, sizes)
    check_window(shape)
    with torch.device("meta"):
        weights = n_parameters(network(n_tracks, shape, full))
    return 4 * (4 * weights + batch * network.kept(shape, full))
