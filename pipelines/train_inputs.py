"""The way in of `train` and `evaluate`: sequence, signal and their split; runs and models that were trained."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from genopred.errors import FormatError, GenopredError, examples, shortened
from genopred.io.text import read_bytes, read_table
from genopred.pipelines.train_config import TrainConfig, read_config
from genopred.sequence.models.base import devices
from genopred.sequence.models.config import CONFIG, REGIONS, WEIGHTS, is_run, network_folder
from genopred.sequence.models.registry import load_model, load_trained
from genopred.settings import Evaluate
from genopred.settings.declare import naming
from genopred.settings.training import ByChromosome, ByRandom, Track
from genopred.training.dataset import SequenceData, bytes_needed
from genopred.training.heldout import Entry, Held, hold_out
from genopred.training.loop import find_device
from genopred.training.memory import least_bytes, training_bytes
from genopred.training.splits import REGION_SCHEMA, SPLITS, Split, split_blocks, split_chromosomes, split_random
from genopred.types import Interval
from genopred.workers import free_memory

if TYPE_CHECKING:
    from genopred.io.fasta import Fasta

log = logging.getLogger(__name__)


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
    lengths = _lengths(config, fasta)
    _check_memory(config, lengths)
    codes = {}
    for chrom, length in lengths.items():
        codes[chrom] = encode(fasta.fetch(Interval(chrom, 0, length))).astype(np.uint8)
    signals = [read_signal(file, lengths, config.data.step) for file in config.files]
    sums = {chrom: np.stack([signal.pop(chrom) for signal in signals]) for chrom in lengths}
    log.info("%d tracks of %s, %s bp", len(signals), examples(list(lengths)), f"{sum(lengths.values()):,}")
    return SequenceData(codes, sums, config.data.step, tuple(Track(**track.shared(Track)) for track in config.tracks))


def make_split(config: TrainConfig, data: SequenceData) -> Split:
    """The split that a configuration asks for."""
    of, shape = config.split, config.shape
    with naming(config.source):
        if isinstance(of, ByChromosome):
            lists = {name: getattr(of, name) for name in SPLITS}
            return split_chromosomes(data.lengths, lists, block=of.block, usable=data.codes, shape=shape)
        dealt = {"block": of.block, "fractions": of.fractions, "seed": of.seed, "usable": data.codes}
        if isinstance(of, ByRandom):
            return split_random(data.lengths, shape, **dealt)
        margin = shape.window if of.margin is None else of.margin
        return split_blocks(data.lengths, margin=margin, shape=shape, **dealt)


def _lengths(config: TrainConfig, fasta: Fasta) -> dict[str, int]:
    return {chrom: fasta.length(chrom) for chrom in config.data.chromosomes or fasta.chroms}


def _check_memory(config: TrainConfig, lengths: Mapping[str, int]) -> None:
    """Refuse what does not fit, before the files are read."""
    device = find_device(config.training.device)
    held = bytes_needed(lengths, len(config.tracks), config.data.step)
    # while it is stacked, a chromosome's signal is there twice
    held += max(4 * len(config.tracks) * -(-length // config.data.step) for length in lengths.values())
    free = {"host": free_memory()}
    if device.type == "cuda":
        import torch

        free[str(device)] = torch.cuda.mem_get_info(device)[0]
    network = (config.kind, len(config.tracks), config.shape)
    # to know it exactly takes a pass of one window: not of a network that cannot fit
    _refuse(config, lengths, held, least_bytes(*network, config.training.batch, **config.sizes), free)
    _refuse(config, lengths, held, training_bytes(*network, config.training.batch, config.sizes), free)


def _refuse(
    config: TrainConfig, lengths: Mapping[str, int], held: int, work: int, free: Mapping[str, int | None]
) -> None:
    """Refuse where the data and what training takes at work need more than is free."""
    on_gpu = len(free) > 1
    for place, left in free.items():
        needed = work if place != "host" else held if on_gpu else held + work
        if left is not None and needed > left:
            raise GenopredError(
                f"too little memory on {place}: about {_gb(needed)} are needed ({_gb(held)} for {len(config.tracks)} "
                f"tracks of {sum(lengths.values()):,} bp in steps of {config.data.step} bp, {_gb(work)} for training "
                f"with batches of {config.training.batch}), {_gb(left)} are free. Use a larger data.step (up to "
                f"data.bin, {config.shape.bin}), fewer data.chromosomes or tracks, or a smaller training.batch or "
                "network."
            )


def _gb(n: int) -> str:
    return f"{n / 1e9:,.2f} GB"


def check_within(regions: pl.DataFrame, data: SequenceData, file: Path) -> None:
    """Refuse regions that the data do not have."""
    for chrom, end in regions.group_by("chrom", maintain_order=True).agg(pl.col("end").max()).iter_rows():
        length = data.lengths.get(chrom, 0)
        if end > length:
            has = f"has {length:,} bp" if length else f"is not among its chromosomes ({examples(list(data.lengths))})"
            raise FormatError(
                f"{file}: a region of {chrom} ends at {end:,}, and {chrom} {has} in the FASTA; the run was trained on "
                "another reference."
            )


def read_regions(file: Path) -> pl.DataFrame:
    """Regions as `genopred train` writes them: columns of `genopred.training.splits.REGION_SCHEMA`.

    Raises
    ------
    FormatError
        If a column is missing or a position no number.
    """
    table, _ = read_table(read_bytes(file, "the regions of a training run"), file, separator="\t")
    lacking = [name for name in REGION_SCHEMA if name not in table.columns]
    if lacking:
        raise FormatError(f"{file} has no column {examples(lacking)}; needed {', '.join(REGION_SCHEMA)}.")
    try:
        regions = table.select(pl.col(name).cast(kind) for name, kind in REGION_SCHEMA.items())
    except pl.exceptions.InvalidOperationError as bad:
        raise FormatError(f"{file}: start, end and block must be whole numbers ({str(bad).splitlines()[0]}).") from None
    for wrong, what in (
        (~pl.col("split").is_in(SPLITS), f"split is none of {', '.join(SPLITS)}"),
        ((pl.col("start") < 0) | (pl.col("start") >= pl.col("end")), "start is below 0 or not before end"),
    ):
        rows = regions.with_row_index("line", offset=2).filter(wrong)
        if rows.height:
            row = ", ".join(str(value) for value in rows.row(0)[1:])
            raise FormatError(
                f"{file} line {rows['line'][0]}: {what} ({shortened(row)}; {rows.height:,} such lines); it is what "
                "genopred train wrote, and is not to be changed."
            )
    return regions


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
    data = load_data(config)
    split = make_split(config, data)
    if run_folder:
        # what the run trained on, whatever would be dealt today
        regions = read_regions(place / REGIONS)
        check_within(regions, data, place / REGIONS)
        split = replace(split, regions=regions)
    held = hold_out(data, split, config.shape, config.data.max_n, settings.split)
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
