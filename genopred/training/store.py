"""What training keeps: checkpoints to go on from, and trained networks in a folder."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from genopred.errors import GenopredError, ModelError, examples, repeated, shortened
from genopred.files import atomic
from genopred.sequence.models.config import CONFIG, GENE, WEIGHTS, read_settings, why
from genopred.sequence.models.enformer.checkpoint import load_enformer, own_weights, save_enformer, write_network
from genopred.training.dataset import SequenceData
from genopred.training.networks.base import TrackNetwork
from genopred.training.networks.composition import Composition
from genopred.training.networks.embedding import Embedding, filled_later
from genopred.training.networks.enformer_small import SmallEnformer
from genopred.training.networks.gene import GeneNetwork, GeneShape
from genopred.training.networks.registry import GENE_NETWORKS, NETWORKS, build, build_gene
from genopred.training.splits import WindowShape

#: Of an `embedding`: the folder beside its config.json that has what its encoder is and its tokenizer.
_ENCODER = "encoder"


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
    settings = {"model_type": _model_type(network.kind), "sequence_length": network.shape.window} | extra
    return write_network(folder, settings, network.state_dict())


def save_gene_network(
    network: GeneNetwork,
    folder: str | Path,
    cells: Sequence[str],
    *,
    written: Mapping[str, Any],
    best: Mapping[str, Any],
    transform: Mapping[str, Any] | None = None,
) -> Path:
    """Write a trained network of genes: config.json and model.safetensors, and of an `embedding` what its encoder is.

    `load_network` reads it, and where it reads nothing but the sequence around the TSS it is a `--model`.

    Parameters
    ----------
    network : GeneNetwork
    folder : path
    cells : sequence of str
        What it predicts.
    written, best
        As of `save_network`.
    transform : dict, optional
        What was done to expression before it was learned, as plain values.
    """
    shape, folder = network.shape, Path(folder)
    sizes, encoder = dict(network.sizes), {}
    if isinstance(network, Embedding):
        sizes["folder"] = _ENCODER
        encoder = {folder / _ENCODER / name: text for name, text in network.described().items()}
    settings = {
        "model_type": _gene_type(network.kind),
        "sequence_length": shape.window,
        "track_names": list(cells),
        "strand_aware": True,
        "gene": asdict(shape),
        "network": sizes,
        "link": network.link,
        "training": dict(written),
        "transform": dict(transform or {}),
        "validation": dict(best),
    }
    return write_network(folder, settings, network.state_dict(), encoder)


def _model_type(kind: str) -> str:
    """What config.json calls a kind of network; an Enformer, which enformer-pytorch writes, is `enformer`."""
    return "enformer" if kind == SmallEnformer.kind else f"genopred-{kind}"


def _gene_type(kind: str) -> str:
    """The same of networks of genes."""
    return f"{GENE}{kind}"


def load_network(folder: str | Path) -> tuple[TrackNetwork | GeneNetwork, dict[str, Any]]:
    """A network of `genopred train`, of tracks or of genes, in evaluation mode on the CPU, and its config.json.

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
        kinds = [*(_model_type(kind) for kind in NETWORKS), *(_gene_type(kind) for kind in GENE_NETWORKS)]
        config = read_settings(folder / CONFIG, kinds)
        if str(config["model_type"]).startswith(GENE):
            return _load_gene_network(folder, config), config
        kind = config["training"]["network"]["kind"]
        with torch.device("cpu" if kind == SmallEnformer.kind else "meta"):
            network = unfilled(config)
    except (KeyError, TypeError, ValueError, AttributeError) as bad:
        raise ModelError(
            f"{folder}: no network of `genopred train` ({why(bad)}); give the folder `model` in its --out."
        ) from None
    if isinstance(network, SmallEnformer):
        network.body.load_state_dict(load_enformer(folder)[0].state_dict())
    else:
        _fill(network, folder)
    return network.eval(), config


def _load_gene_network(folder: Path, config: Mapping[str, Any]) -> GeneNetwork:
    """See `load_network`, which says what is wrong where a key is missing or of another kind."""
    about, sizes = dict(config["gene"]), dict(config["network"])
    kind, cells = str(config["model_type"]).removeprefix(GENE), config["track_names"]
    if not isinstance(cells, list) or not cells:
        raise TypeError("track_names is no list of names")
    if twice := repeated(str(cell) for cell in cells):
        raise TypeError(f"track_names has {examples(sorted(twice))} twice")
    what = dict(about.pop("composition"))
    what["motifs"] = tuple(tuple(tuple(row) for row in motif) for motif in what["motifs"])
    shape = GeneShape(**about, composition=Composition(**(what | {"names": tuple(what["names"])})))
    if kind == Embedding.kind:
        sizes["folder"] = str(folder / _ENCODER)
    with filled_later():
        network = build_gene(kind, len(cells), shape, link=config["link"], **sizes)
    _fill(network, folder)
    return network.eval()


def unfilled(config: Mapping[str, Any]) -> TrackNetwork:
    """The network that a config.json describes, with fresh weights; KeyError or TypeError where it describes none."""
    training, names = config["training"], config["track_names"]
    data, sizes = training["data"], dict(training["network"])
    shape = WindowShape(data["window"], data["bin"], data["crop"])
    if not isinstance(names, list) or not names:
        raise TypeError("track_names is no list of names")
    return build(sizes.pop("kind"), len(names), shape, **sizes)


def _fill(network: torch.nn.Module, folder: Path) -> None:
    """Put the weights of a folder into a network, which may have been built without memory for them."""
    state = own_weights(folder, "train")
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as bad:
        # torch lists each weight on a line of its own
        said = [line.strip() for line in str(bad).splitlines() if line.strip()]
        raise ModelError(
            f"{folder / WEIGHTS[0]} does not fit its settings ({shortened(said[min(1, len(said) - 1)], 200)}); train "
            "or copy it again."
        ) from None
