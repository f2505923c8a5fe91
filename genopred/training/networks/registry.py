"""The networks by name; a new one is a file beside this one and a line here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import torch

from genopred.errors import ModelError
from genopred.sequence.models.config import LIMITS, check_sizes
from genopred.training.networks.base import TrackNetwork, n_parameters
from genopred.training.networks.cnn import DilatedCnn
from genopred.training.networks.enformer_small import SmallEnformer
from genopred.training.splits import WindowShape

NETWORKS: dict[str, type[TrackNetwork]] = {
    SmallEnformer.kind: SmallEnformer,
    DilatedCnn.kind: DilatedCnn,
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
    if kind not in NETWORKS:
        raise ModelError(f"network.kind {kind!r}: unknown{_near(kind, NETWORKS)}; needed one of {', '.join(NETWORKS)}.")
    network = NETWORKS[kind]
    unknown = [key for key in sizes if key not in network.SIZES]
    if unknown:
        raise ModelError(
            f"network.{unknown[0]}: {kind} has no such size{_near(unknown[0], network.SIZES)}; known: "
            f"{', '.join(network.SIZES)}."
        )
    full = network.SIZES | sizes
    check_window(shape)
    check_sizes(full, "network")
    return network(n_tracks, shape, full)


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


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
