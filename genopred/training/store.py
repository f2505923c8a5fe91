"""What training keeps: checkpoints to go on from, and trained networks in a folder."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from genopred.errors import GenopredError, ModelError, shortened
from genopred.files import atomic, write_files
from genopred.sequence.models.config import CONFIG, WEIGHTS, read_settings
from genopred.sequence.models.enformer.checkpoint import load_enformer, read_weights, save_enformer
from genopred.training.dataset import SequenceData
from genopred.training.networks.base import TrackNetwork
from genopred.training.networks.enformer_small import SmallEnformer
from genopred.training.networks.registry import NETWORKS, build
from genopred.training.splits import WindowShape


def write_state(file: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all: after a power cut the former one is still there."""
    # made in memory first: where the disk is full, torch's own writer ends in an error of its own
    whole = io.BytesIO()
    torch.save(_plain(state), whole)
    with atomic(file) as temporary, temporary.open("wb") as handle:
        handle.write(whole.getbuffer())
        handle.flush()
        os.fsync(handle.fileno())


def _plain(value: Any) -> Any:
    """The same value, of which equal texts are one object and containers are nobody else's.

    Pickle writes an object that it has met before as a reference, so that a resumed run's equal state would be other
    bytes.
    """
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    return sys.intern(value) if type(value) is str else value


def read_state(file: Path) -> dict[str, Any]:
    """Read a checkpoint; it holds tensors and plain values only, and nothing in it is executed."""
    needed = {"identity", "network", "average", "best", "optimiser", "state"}
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as bad:  # zip and pickle have their own errors
        state, reason = None, type(bad).__name__
    else:
        reason = "other contents"
    if not isinstance(state, dict) or not needed <= set(state):
        raise GenopredError(
            f"{file} cannot be read as a checkpoint of a training ({reason}); use --no-resume to start anew and "
            "replace it."
        )
    return state


def save_network(
    network: TrackNetwork,
    folder: str | Path,
    data: SequenceData,
    *,
    written: Mapping[str, Any],
    best: Mapping[str, Any],
) -> Path:
    """Write a trained network: config.json and model.safetensors.

    `load_network` reads it, and it is a `--model`. Track names, partners and the configuration are in config.json.

    Parameters
    ----------
    network : TrackNetwork
    folder : path
    data : SequenceData
        What it was trained on.
    written : dict
        The configuration: sections and keys, paths as they were written, not those of this machine.
    best : dict
        What is known of the epoch, kept under `validation`.
    """
    extra = {
        "track_names": [track.name for track in data.tracks],
        "strand_aware": True,
        "reverse_tracks": data.partners.tolist(),
        "training": written,
        "validation": dict(best),
    }
    if isinstance(network, SmallEnformer):
        return save_enformer(network.body, folder, window=network.shape.window, extra=extra)
    from safetensors.torch import save

    folder = Path(folder)
    state = {key: value.detach().contiguous() for key, value in network.state_dict().items()}
    settings = {"model_type": _model_type(network.kind), "sequence_length": network.shape.window} | extra
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    write_files({folder / CONFIG: text, folder / WEIGHTS[0]: save(state, metadata={"format": "pt"})})
    return folder


def _model_type(kind: str) -> str:
    """What config.json calls a kind of network; an Enformer, which enformer-pytorch writes, is `enformer`."""
    return "enformer" if kind == SmallEnformer.kind else f"genopred-{kind}"


def load_network(folder: str | Path) -> tuple[TrackNetwork, dict[str, Any]]:
    """A network of `genopred train`, in evaluation mode on the CPU, and its config.json.

    Parameters
    ----------
    folder : path
        `model` in a run's folder.

    Raises
    ------
    ModelError
        If the folder holds no such network, or a part of it is damaged.
    """
    folder = Path(folder)
    try:
        config = read_settings(folder / CONFIG, [_model_type(kind) for kind in NETWORKS])
        kind = config["training"]["network"]["kind"]
        with torch.device("cpu" if kind == SmallEnformer.kind else "meta"):
            network = unfilled(config)
    except (KeyError, TypeError, ValueError, AttributeError) as bad:
        # a GenopredError says by itself what is wrong with a value
        said = str(bad).rstrip(".") if isinstance(bad, GenopredError) else f"{type(bad).__name__}: {shortened(bad)}"
        raise ModelError(
            f"{folder}: no network of `genopred train` ({said}); give the folder `model` in its --out."
        ) from None
    if isinstance(network, SmallEnformer):
        network.body.load_state_dict(load_enformer(folder)[0].state_dict())
    else:
        _fill(network, folder / WEIGHTS[0])
    return network.eval(), config


def unfilled(config: Mapping[str, Any]) -> TrackNetwork:
    """The network that a config.json describes, with fresh weights; KeyError or TypeError where it describes none."""
    training, names = config["training"], config["track_names"]
    data, sizes = training["data"], dict(training["network"])
    shape = WindowShape(data["window"], data["bin"], data["crop"])
    if not isinstance(names, list) or not names:
        raise TypeError("track_names is no list of names")
    return build(sizes.pop("kind"), len(names), shape, **sizes)


def _fill(network: torch.nn.Module, file: Path) -> None:
    """Put the weights of a file into a network that was built without memory for them."""
    if not file.is_file():
        raise ModelError(f"{file.parent}: no weights; needed {file.name} beside {CONFIG}.")
    state = read_weights(file)
    damaged = [key for key, value in state.items() if not bool(torch.isfinite(value).all())]
    if damaged:
        raise ModelError(f"{file}: {len(damaged)} weights hold values that are not finite; train or copy it again.")
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as bad:
        # torch lists each weight on a line of its own
        said = [line.strip() for line in str(bad).splitlines() if line.strip()]
        raise ModelError(
            f"{file} does not fit its settings ({shortened(said[min(1, len(said) - 1)], 200)}); train or copy it again."
        ) from None
