"""The way in of `train` and `evaluate`: sequence and signal, their split, and what a former run says of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from genopred.errors import FormatError, GenopredError, examples, shortened
from genopred.io.text import read_bytes, read_table
from genopred.pipelines.train_config import TrainConfig
from genopred.settings.declare import naming
from genopred.settings.training import ByChromosome, ByRandom, Track
from genopred.training.dataset import SequenceData, bytes_needed
from genopred.training.loop import find_device
from genopred.training.memory import free_memory, least_bytes, training_bytes
from genopred.training.splits import REGION_SCHEMA, SPLITS, Split, split_blocks, split_chromosomes, split_random
from genopred.types import Interval

if TYPE_CHECKING:
    from genopred.io.fasta import Fasta

log = logging.getLogger(__name__)

#: Of a run: its configuration, and where it was trained, validated and is to be tested.
CONFIG, REGIONS = "config.json", "regions.tsv"


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
    return SequenceData(codes, sums, config.data.step, tuple(track.part(Track) for track in config.tracks))


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


def is_run(path: str | Path) -> bool:
    """Whether this is the folder of a `genopred train` run."""
    folder = Path(path)
    return (folder / CONFIG).is_file() and (folder / REGIONS).is_file()


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
