"""How much memory a training takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from genopred.training.networks.base import n_parameters
from genopred.training.networks.gene import GeneInputs, GeneShape
from genopred.training.networks.registry import (
    GENE_NETWORKS,
    NETWORKS,
    all_sizes,
    build,
    build_gene,
    check_length,
    check_window,
)
from genopred.training.splits import WindowShape


def training_bytes(kind: str, n_tracks: int, shape: WindowShape, batch_size: int, sizes: dict[str, Any]) -> int:
    """About how much memory training takes beside the data: weights with their copies, and what backward needs.

    What autograd keeps of one window is counted and multiplied.
    """
    with torch.random.fork_rng([]):
        network = build(kind, n_tracks, shape, **sizes)
    return _bytes(network, lambda: network.train().fast(torch.zeros(1, shape.window, 4)), batch_size)


def gene_training_bytes(kind: str, n_cells: int, shape: GeneShape, batch_size: int, sizes: dict[str, Any]) -> int:
    """The same of a network of genes."""
    with torch.random.fork_rng([]):
        network = build_gene(kind, n_cells, shape, **sizes)
    # two genes, because a normalisation wants more than one
    far = (2, shape.segments, shape.segment, shape.channels)
    inputs = GeneInputs(torch.zeros(2, shape.window, shape.channels), torch.zeros(far), torch.ones(far[:2]))
    return _bytes(network, lambda: network.train()(inputs), -(-batch_size // 2))


def _bytes(network: torch.nn.Module, run: Callable[[], Any], times: int) -> int:
    """Weights with their copies, and what backward needs of a pass, so many times."""
    kept: dict[tuple[int, int], int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr(), tensor.numel()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.random.fork_rng([]), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    # weights, gradients, two of AdamW, average, best, and one more while a checkpoint is written
    weights = 7 * sum(value.numel() * value.element_size() for value in network.parameters())
    # backward makes gradients beside what forward kept
    return int(weights + 1.3 * times * sum(kept.values()))


def least_bytes(kind: str, n_tracks: int, shape: WindowShape, batch: int, sizes: dict[str, Any]) -> int:
    """Memory that training takes at the very least, without building the network.

    Its weights, gradients and AdamW's two moments, and what the backward pass needs at least.
    """
    network, full = NETWORKS[kind], all_sizes(kind, sizes)
    check_window(shape)
    with torch.device("meta"):
        weights = n_parameters(network(n_tracks, shape, full))
    return 4 * (4 * weights + batch * network.kept(shape, full))


def least_gene_bytes(kind: str, n_cells: int, shape: GeneShape, batch: int, sizes: dict[str, Any]) -> int:
    """The same of a network of genes; of an `embedding` without its encoder."""
    network, full = GENE_NETWORKS[kind], all_sizes(kind, sizes, GENE_NETWORKS)
    check_length(shape.window, "genes.before and genes.after together")
    network.check(shape, full)
    return 4 * batch * network.kept(shape, full)
