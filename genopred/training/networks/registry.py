"""The networks by name; a new one is a file beside this one and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from genopred.errors import ModelError, no_choice, shortened
from genopred.sequence.models.config import LIMITS, check_sizes
from genopred.settings.declare import known_keys
from genopred.training.networks.base import TrackNetwork, n_parameters
from genopred.training.networks.cnn import DilatedCnn
from genopred.training.networks.enformer_small import SmallEnformer
from genopred.training.splits import WindowShape

NETWORKS: dict[str, type[TrackNetwork]] = {SmallEnformer.kind: SmallEnformer, DilatedCnn.kind: DilatedCnn}


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


def all_sizes(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of a kind of network, with its defaults where none is given.

    Raises
    ------
    ModelError
        If the kind or a size is unknown, or a size is of another type or out of range.
    """
    if kind not in NETWORKS:
        raise ModelError(no_choice(f"network.kind = {kind!r}", kind, NETWORKS))
    sizes = NETWORKS[kind].SIZES
    known_keys(given, sizes, f"network (kind = {kind!r})", ModelError)
    check_sizes(given, "network")
    shares = {key for key, value in sizes.items() if isinstance(value, float)}
    for key in shares & set(given):
        value = given[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
            raise ModelError(f"network: {key} is {shortened(repr(value))}; needed a number from 0, below 1.")
    return sizes | {key: float(value) if key in shares else value for key, value in given.items()}


def check_window(shape: WindowShape) -> None:
    """Refuse a window beyond `LIMITS`."""
    most = LIMITS["sequence_length"]
    if shape.window > most:
        raise ModelError(f"data.window = {shape.window:,}: needed at most {most:,} bp.")


def same_size(n_tracks: int, shape: WindowShape, parameters: int, **sizes: Any) -> dict[str, Any]:
    """Sizes of the `cnn` whose number of weights is nearest to `parameters`: its channels are searched."""

    def count(channels: int) -> int:
        with torch.device("meta"):
            return n_parameters(build(DilatedCnn.kind, n_tracks, shape, **(sizes | {"channels": channels})))

    best = min(range(8, 513, 4), key=lambda channels: abs(count(channels) - parameters))
    return DilatedCnn.SIZES | sizes | {"channels": best}
