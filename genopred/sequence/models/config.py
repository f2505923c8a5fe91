"""What the config.json of a network's folder says, held against what a network may be; no weights are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genopred.errors import GenopredError, ModelError, shortened

CONFIG = "config.json"
#: Looked for in this order.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
#: `model_type` of a `cnn` of `genopred train`.
CNN = "genopred-cnn"
#: How that of a network of genes begins, and that of a model that was tuned on people.
GENE, TUNED = "genopred-gene-", "genopred-tuned"
#: Of a `genopred train` run: the folder of its network, and where, or on which genes, it was trained, validated and is
#: to be tested.
NETWORK, REGIONS, GENES = "model", "regions.tsv", "genes.tsv"
#: The largest settings that a network may ask for: beyond any that was published, and far short of what ends in a lack
#: of memory or in no time. The window is twice the longest one, 1 Mb.
LIMITS = {
    "sequence_length": 2_097_152,
    "dim": 8192,
    "depth": 64,
    "heads": 64,
    "attn_dim_key": 1024,
    "dim_divisible_by": 1024,
    "num_downsamples": 12,
    "channels": 8192,
    "layers": 20,
}
#: Bytes of a config.json; those of the published networks have a few thousand.
_MOST_CONFIG = 4_000_000


def check_sizes(sizes: Mapping[str, Any], place: str) -> None:
    """Hold the sizes of a network, where they are given, against `LIMITS`: ModelError."""
    for key, most in LIMITS.items():
        value = sizes.get(key, 1)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            said = f"{value:,}" if isinstance(value, int) and abs(value) < 1e15 else shortened(repr(value))
            raise ModelError(f"{place}: {key} is {said}; needed a whole number from 1 to {most:,}.")


def is_run(place: str | Path) -> bool:
    """Whether this is the folder of a `genopred train` run."""
    folder = Path(place)
    return (folder / CONFIG).is_file() and any((folder / name).is_file() for name in (REGIONS, GENES))


def network_folder(place: str | Path) -> Path | None:
    """Where a network is: the folder itself, or that of its network if it is a `genopred train` run's; else None.

    ModelError if it is a run's that has no network yet.
    """
    folder = Path(place)
    if not (folder / CONFIG).is_file():
        return None
    if not is_run(folder):
        return folder
    if not (folder / NETWORK / CONFIG).is_file():
        raise ModelError(f"{folder} has no network yet ({NETWORK}/{CONFIG}); finish an epoch of training.")
    return folder / NETWORK


def is_cnn(folder: Path) -> bool:
    """Whether a folder holds a `cnn` of `genopred train`."""
    return _kind_of(folder) == CNN


def is_gene_network(folder: Path) -> bool:
    """Whether a folder holds a network of genes of `genopred train`."""
    return _kind_of(folder).startswith(GENE)


def is_tuned(folder: Path) -> bool:
    """Whether a folder holds a model that was tuned on people."""
    return _kind_of(folder) == TUNED


def _kind_of(folder: Path) -> str:
    """`model_type` of a folder; nothing where its config.json is none."""
    try:
        return str(_settings(folder / CONFIG).get("model_type"))
    except ModelError:
        return ""


def read_settings(file: Path, kinds: Sequence[str] = ("enformer", CNN)) -> dict[str, Any]:
    """What a config.json says; ModelError if it is missing, no JSON object, or not of one of these kinds of network."""
    config = _settings(file)
    kind = config.get("model_type", "enformer")
    if kind not in kinds:
        raise ModelError(
            f"{file} is of model_type {shortened(repr(kind))}; needed 'enformer'. (A network of genopred train is "
            f"named by its folder alone: {file.parent}.)"
        )
    return config


def _settings(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ModelError(f"{file} is missing; a checkpoint needs {CONFIG} beside its weights.")
    size = file.stat().st_size
    if size > _MOST_CONFIG:
        raise ModelError(f"{file} has {size:,} bytes; settings of a network have at most {_MOST_CONFIG:,}.")
    try:
        config = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError, OSError) as bad:
        raise ModelError(f"{file} is not JSON ({shortened(bad)}).") from bad
    if not isinstance(config, dict):
        raise ModelError(f"{file} holds a {type(config).__name__}; needed an object of settings.")
    return config


def why(bad: Exception) -> str:
    """What was wrong with settings: a GenopredError says it by itself, of others the kind is named."""
    return str(bad).rstrip(".") if isinstance(bad, GenopredError) else f"{type(bad).__name__}: {shortened(bad)}"


def check_partners(config: dict[str, Any], place: Path) -> None:
    """Hold `reverse_tracks` to what it says: each track's partner on the other strand has it as its own partner."""
    partners = config.get("reverse_tracks")
    if partners is None:
        return
    n = (config.get("output_heads") or {}).get("human") or len(config.get("track_names") or partners)
    whole = isinstance(partners, list) and all(isinstance(i, int) and 0 <= i < n for i in partners)
    if not whole or len(partners) != n or [partners[i] for i in partners] != list(range(n)):
        raise ModelError(
            f"{place}: reverse_tracks is {partners!r}; needed for each of {n} tracks the index of its partner on the "
            "other strand, or its own index."
        )


def enformer_class() -> Any:
    """enformer-pytorch's module; a ModelError that says what to install where it is not there."""
    try:
        from enformer_pytorch import Enformer
    except ImportError as bad:
        raise ModelError(
            f"Enformer needs enformer-pytorch, which could not be imported ({bad}); pip install "
            "'genopred[sequence]' (enformer-pytorch 0.8.12 wants transformers 4.56)."
        ) from bad
    return Enformer
