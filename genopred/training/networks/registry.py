"""The networks by name; a new one is a file beside this one and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from genopred.errors import ModelError, no_choice, shortened
from genopred.sequence.models.config import LIMITS, check_sizes
from genopred.settings.declare import known_keys
from genopred.training.networks.base import Network, TrackNetwork, n_parameters
from genopred.training.networks.cnn import DilatedCnn
from genopred.training.networks.dual_path import DualPath
from genopred.training.networks.embedding import Embedding
from genopred.training.networks.enformer_small import SmallEnformer
from genopred.training.networks.gene import GeneNetwork, GeneShape, Link
from genopred.training.networks.hybrid import Hybrid
from genopred.training.networks.pooled import PooledCnn, PooledEnformer
from genopred.training.networks.transformer import GeneTransformer
from genopred.training.splits import WindowShape

#: Those that predict tracks, and those that predict genes.
NETWORKS: dict[str, type[TrackNetwork]] = {SmallEnformer.kind: SmallEnformer, DilatedCnn.kind: DilatedCnn}
GENE_NETWORKS: dict[str, type[GeneNetwork]] = {
    network.kind: network for network in (Hybrid, DualPath, GeneTransformer, Embedding, PooledCnn, PooledEnformer)
}


def build(kind: str, n_tracks: int, shape: WindowShape, **sizes: Any) -> TrackNetwork:
    """Make a network with fresh weights, drawn from torch's current random state.

    Parameters
    ----------
    kind : str
        A name in `NETWORKS`.
    n_tracks : int
    shape : WindowShape
        Window, bin (128 bp for the Enformer; a power of two for the cnn) and crop.
    **sizes
        Instead of the defaults in the network's `SIZES`.

    Returns
    -------
    TrackNetwork

    Raises
    ------
    ModelError
        If the kind or a size is unknown, or they do not go together.

    Examples
    --------
    >>> network = build("cnn", 2, WindowShape(window=2048, bin=128, crop=2), channels=16, layers=2)
    >>> tuple(network(torch.zeros(3, 2048, 4)).shape)
    (3, 12, 2)
    """
    full = all_sizes(kind, sizes)
    check_window(shape)
    return NETWORKS[kind](n_tracks, shape, full)


def build_gene(kind: str, n_cells: int, shape: GeneShape, *, link: Link = "identity", **sizes: Any) -> GeneNetwork:
    """Make a network of genes with fresh weights, drawn from torch's current random state.

    Parameters
    ----------
    kind : str
        A name in `GENE_NETWORKS`.
    n_cells : int
        Cell types.
    shape : GeneShape
    link : {"identity", "softplus"}
    **sizes
        Instead of the defaults in the network's `SIZES`.

    Returns
    -------
    GeneNetwork

    Raises
    ------
    ModelError
        If the kind or a size is unknown, or they do not go together.

    Examples
    --------
    >>> from genopred.training.networks.gene import GeneInputs
    >>> network = build_gene("hybrid", 2, GeneShape(before=900, after=100), channels=8, hidden=4)
    >>> tuple(network(GeneInputs(torch.zeros(3, 1000, 4))).shape)
    (3, 2)
    """
    full = all_sizes(kind, sizes, GENE_NETWORKS)
    check_length(shape.window, "genes.before and genes.after together")
    return GENE_NETWORKS[kind](n_cells, shape, full, link)


def all_sizes(kind: str, given: Mapping[str, Any], networks: Mapping[str, type[Network]] = NETWORKS) -> dict[str, Any]:
    """Sizes of a kind of network, with its defaults where none is given.

    Raises
    ------
    ModelError
        If the kind or a size is unknown, or a size is of another type or out of range.
    """
    if kind not in networks:
        raise ModelError(no_choice(f"network.kind = {kind!r}", kind, networks))
    sizes = networks[kind].SIZES
    known_keys(given, sizes, f"network (kind = {kind!r})", ModelError)
    check_sizes(given, "network")
    for key, value in given.items():
        _check_size(key, value, sizes[key])
    return sizes | {key: float(value) if isinstance(sizes[key], float) else value for key, value in given.items()}


def _check_size(key: str, value: Any, default: Any) -> None:
    """Refuse a value that is not of its default's kind; counts that `LIMITS` has were held against it."""
    if isinstance(default, bool):
        right, needed = isinstance(value, bool), "true or false"
    elif isinstance(default, str):
        right, needed = isinstance(value, str), "a text"
    elif isinstance(default, float):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        right, needed = number and 0 <= value < 1, "a number from 0, below 1"
    else:
        most = LIMITS["sequence_length" if key == "piece" else "channels"]
        right = isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most
        needed = f"a whole number from 1 to {most:,}"
    if not right:
        raise ModelError(f"network: {key} is {shortened(repr(value))}; needed {needed}.")


def check_window(shape: WindowShape) -> None:
    """Refuse a window beyond `LIMITS`."""
    check_length(shape.window, "data.window")


def check_length(window: int, said: str) -> None:
    """Refuse a window of so many bp beyond `LIMITS`."""
    most = LIMITS["sequence_length"]
    if window > most:
        raise ModelError(f"{said} = {window:,}: needed at most {most:,} bp.")


def same_size(n_tracks: int, shape: WindowShape, parameters: int, **sizes: Any) -> dict[str, Any]:
    """Sizes of the `cnn` whose number of weights is nearest to `parameters`: its channels are searched."""

    def count(channels: int) -> int:
        with torch.device("meta"):
            return n_parameters(build(DilatedCnn.kind, n_tracks, shape, **(sizes | {"channels": channels})))

    best = min(range(8, 513, 4), key=lambda channels: abs(count(channels) - parameters))
    return DilatedCnn.SIZES | sizes | {"channels": best}
