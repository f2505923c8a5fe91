"""The way in of `train` and `evaluate`: sequence, signal and their split; runs and models that were trained."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from genopred.errors import FormatError, GenopredError, examples, no_choice, shortened
from genopred.io.text import PathLike, read_bytes, read_table, regular
from genopred.sequence.models.base import devices
from genopred.sequence.models.config import CONFIG, REGIONS, WEIGHTS, is_run, network_folder
from genopred.sequence.models.registry import load_model, load_trained
from genopred.settings import Evaluate
from genopred.settings.declare import naming
from genopred.settings.training import Track
from genopred.training.config import TrainConfig, parse_config
from genopred.training.config_expression import parse_expression
from genopred.training.config_personal import PersonalConfig, parse_personal
from genopred.training.dataset import SequenceData
from genopred.training.enough_memory import check_memory
from genopred.training.heldout import Entry, Held
from genopred.training.regions import as_regions, check_within, make_split
from genopred.types import Interval

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Of a run that learned expression: its genes and their parts; of a cross-validation the folds, and their folders.
GENES, FOLDS, FOLD = "genes.tsv", "folds.tsv", "fold"
#: A configuration file is shorter than that.
_MOST_BYTES = 4_000_000

log = logging.getLogger(__name__)


#: What a configuration may be for -> what reads it.
PARSERS: dict[str, Callable[..., Any]] = {
    "tracks": parse_config,
    "expression": parse_expression,
    "personal": parse_personal,
}


def read_config(file: PathLike, **changes: Any) -> Any:
    """Read a configuration file (TOML; or a run's config.json).

    Parameters
    ----------
    file : path
    **changes
        Values of [training] to replace; None leaves the file's.

    Returns
    -------
    TrainConfig, or of another `task` its configuration

    Raises
    ------
    GenopredError
        If the file is missing or not TOML; a key is unknown, missing, of another type or out of range; a track is
        listed twice, its file is missing, or its other strand is.
    """
    path = regular(file, "a configuration in TOML")
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise FormatError(f"{path} has {size:,} bytes; needed a configuration in TOML, of at most {_MOST_BYTES:,}.")
    try:
        # editors on Windows put a byte-order mark first
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as bad:
        raise FormatError(f"{path} cannot be read as text ({bad}); needed a configuration in TOML.") from None
    saved = path.suffix == ".json"
    try:
        raw = json.loads(text)["config"] if saved else tomllib.loads(text)
    except (ValueError, KeyError, TypeError, RecursionError) as bad:
        what = "a config.json of a run" if saved else "TOML"
        raise FormatError(f"{path} is not {what} ({shortened(bad, 200)}).") from None
    if isinstance(raw, dict) and "task" in raw:
        task = raw["task"]
        if not isinstance(task, str) or task not in PARSERS:
            raise GenopredError(no_choice(f"{path}: task = {shortened(repr(task))}", task, PARSERS))
        if task != "tracks":
            return PARSERS[task](raw, path.parent, str(path), **changes)
        raw = {key: value for key, value in raw.items() if key != "task"}
    config = parse_config(raw, path.parent, str(path), **changes)
    named = ((f"track {track.name}: file", name, "a bigWig") for track, name in zip(config.tracks, config.files))
    for what, name, needed in (("data.fasta", config.fasta, "a reference"), *named):
        with naming(f"{path}: {what}"):
            regular(name, needed)
    return config


def load_data(config: TrainConfig) -> SequenceData:
    """Read sequence and signal; refused where the memory that is free would not do.

    Raises
    ------
    GenopredError
        If there is too little memory, or a file does not fit (see `genopred.io.bigwig.read_signal`).
    """
    from genopred.io.bigwig import read_signal
    from genopred.io.fasta import open_fasta
    from genopred.sequence.onehot import encode

    fasta = open_fasta(config.fasta)
    lengths = {chrom: fasta.length(chrom) for chrom in config.data.chromosomes or fasta.chroms}
    check_memory(config, lengths)
    codes = {name: encode(fasta.fetch(Interval(name, 0, end))).astype(np.uint8) for name, end in lengths.items()}
    signals = [read_signal(file, lengths, config.step) for file in config.files]
    sums = {chrom: np.stack([signal.pop(chrom) for signal in signals]) for chrom in lengths}
    log.info("%d tracks of %s, %s bp", len(signals), examples(list(lengths)), f"{sum(lengths.values()):,}")
    return SequenceData(codes, sums, config.step, tuple(Track(**track.shared(Track)) for track in config.tracks))


def read_regions(file: Path) -> pl.DataFrame:
    """Regions of a training run; see `as_regions`."""
    return as_regions(read_table(read_bytes(file, "the regions of a training run"), file, separator="\t")[0], file)


def is_gene_run(place: str | Path) -> bool:
    """Whether this is the folder of a training that learned expression, of one of its folds or of all of them."""
    folder = Path(place)
    if (folder / FOLDS).is_file():
        folder = folder / f"{FOLD}1"
    if not (folder / GENES).is_file():
        return False
    try:
        about = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        return bool(about["config"]["task"] == "expression")
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def open_held(settings: Evaluate) -> tuple[Held, TrainConfig, Path | None]:
    """What is to be predicted, the configuration that says so, and the run's folder that has it, if it was one.

    Raises
    ------
    GenopredError
        If there is no configuration, or what it names cannot be read.
    """
    place = settings.config if settings.config is not None else Path(settings.model)
    run_folder = is_run(place)
    if not run_folder and settings.config is None:
        raise GenopredError(
            f"{settings.model} is not a training run's folder, which would say what to predict; give --config with the "
            "training's TOML file or with the folder of a run."
        )
    if not run_folder and place.is_dir():
        raise GenopredError(
            f"--config {place}: this folder holds no {CONFIG} and {REGIONS} of a run; give the --out of "
            "`genopred train`, or its TOML file."
        )
    config = read_config(place / CONFIG if run_folder else place, device="cpu")
    if isinstance(config, PersonalConfig):
        raise GenopredError(
            f"{place}: task = 'personal' has no tracks to evaluate; its table.tsv says how well it does."
        )
    if not isinstance(config, TrainConfig):
        raise GenopredError(f"{place}: its task is no prediction of tracks; needed a configuration without task.")
    data = load_data(config)
    split = make_split(config, data)
    if run_folder:
        # what the run trained on, whatever would be dealt today
        regions = read_regions(place / REGIONS)
        check_within(regions, data, place / REGIONS)
        split = replace(split, regions=regions)
    held = Held(data, split, config.shape, config.data.max_n, settings.split)
    return held, config, place if run_folder else None


def open_model(spec: str, device: str = "auto", said: str = "MODEL") -> Entry:
    """A training run's folder, its `model` folder, or anything that `load_model` knows; `said` is for messages.

    Raises
    ------
    ModelError
        If there is no such model, or it cannot be read.
    """
    folder, place = Path(spec), devices(device)[0]
    network = network_folder(folder)
    if network is None or not _is_trained(network):
        other = load_model(spec, said=said, device=place)
        return Entry(other, other.name, other.checkpoint_hash)
    run_folder = folder.resolve().parent if network == folder else folder
    digest = hashlib.sha256()
    for file in (WEIGHTS[0], CONFIG):
        digest.update((network / file).read_bytes())
    whole = is_run(run_folder)
    return Entry(
        load_trained(network, device=place),
        (run_folder if whole else network).resolve().name,
        digest.hexdigest(),
        regions=read_regions(run_folder / REGIONS) if whole else None,
        folder=run_folder if whole else None,
    )


def _is_trained(folder: Path) -> bool:
    """Whether a folder holds a network of `genopred train`, of whatever kind."""
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "training" in found and "track_names" in found
