"""The split of a training: dealt as its configuration says, or read back from what a run wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from genopred.errors import FormatError, examples, shortened
from genopred.settings.declare import naming
from genopred.settings.training import ByChromosome, ByRandom
from genopred.training.config import TrainConfig
from genopred.training.dataset import SequenceData
from genopred.training.splits import REGION_SCHEMA, SPLITS, Split, split_blocks, split_chromosomes, split_random


def make_split(config: TrainConfig, data: SequenceData) -> Split:
    """The split that a configuration asks for."""
    of, shape = config.split, config.shape
    with naming(config.source):
        if isinstance(of, ByChromosome):
            lists = {name: getattr(of, name) for name in SPLITS}
            return split_chromosomes(data.lengths, lists, block=of.block, usable=data.codes, shape=shape)
        dealt: dict[str, Any] = {"block": of.block, "fractions": of.fractions, "seed": of.seed, "usable": data.codes}
        if isinstance(of, ByRandom):
            return split_random(data.lengths, shape, **dealt)
        margin = shape.window if of.margin is None else of.margin
        return split_blocks(data.lengths, margin=margin, shape=shape, **dealt)


def as_regions(table: pl.DataFrame, file: Path) -> pl.DataFrame:
    """Regions as `genopred train` writes them, columns as in `REGION_SCHEMA`, from a table of text.

    Raises
    ------
    FormatError
        If a column is missing or a position no number.
    """
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
