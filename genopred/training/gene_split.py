"""Which genes are for what: by blocks of the genome, by chromosomes, by folds, or at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import GenopredError
from genopred.settings.declare import naming
from genopred.settings.expression import GenesByBlock
from genopred.settings.training import ByChromosome, ByRandom
from genopred.training.config_expression import ExpressionConfig
from genopred.training.genes import GeneData, GeneSplit
from genopred.training.splits import SPLITS, blocks_along, dealt, holding, set_apart, shares_of, split_chromosomes

#: Fewer genes do not tell whether a network predicts anything.
LEAST = 3
#: Why a gene is left out.
BORDER, ELSEWHERE, FAMILY = "near the border of a block", "on a chromosome of no part", "of a family in another part"


def split_genes(config: ExpressionConfig, data: GeneData, fold: int | None = None) -> GeneSplit:
    """The split that a configuration asks for.

    A gene is of a part where its whole window, with its flanks for shifts, lies within the part's regions; regions of
    different parts are at least `margin` apart. A family is of the part that has most of its genes (of equal ones the
    first of test, validation, training); those in other parts are left out. Expression has no say in it.

    Parameters
    ----------
    config : ExpressionConfig
    data : GeneData
    fold : int, optional
        From 0, of `split.folds`: blocks dealt to this number are the test, those of the next one the validation.

    Returns
    -------
    GeneSplit

    Raises
    ------
    GenopredError
        If a part has fewer than three genes, or the fold is none.
    """
    of = config.split
    block, lengths = of.block, data.lengths
    with naming(config.source):
        if isinstance(of, ByRandom):
            shares = shares_of(of.fractions)
            rows = pl.DataFrame({"chrom": "", "start": np.arange(len(data.codes)), "end": 0, "block": 0})
            part = dealt(rows, shares, of.seed)["split"].to_numpy().astype(str)
            made = GeneSplit("random", part, _block_of(data, block), np.full(len(part), "", dtype=object).astype(str))
            return _checked(made, shares)
        if isinstance(of, ByChromosome):
            lists = {name: getattr(of, name) for name in SPLITS}
            regions, shares = split_chromosomes(lengths, lists, block=block).regions, np.ones(3)
        else:
            regions, shares = _block_regions(of, data, fold, config.window + 2 * data.flank)
        part = _within(data, regions)
        here = set(regions["chrom"])
        chroms = data.genes["chrom"].to_list()
        why = np.array([("" if p else BORDER) if c in here else ELSEWHERE for p, c in zip(part, chroms)])
        split = GeneSplit(of.BY, part, _block_of(data, block), why)
        return _checked(_families_apart(split, data), shares)


def _block_regions(
    of: GenesByBlock, data: GeneData, fold: int | None, window: int
) -> tuple[pl.DataFrame, NDArray[np.float64]]:
    """Regions of blocks dealt to parts, and the share of each part; only blocks that hold a TSS are dealt."""
    margin = window if of.margin is None else of.margin
    table = blocks_along(data.lengths, of.block, None)
    held = table.filter(pl.col("block").is_in(np.unique(_block_of(data, of.block)).tolist()))
    if of.folds:
        if fold is None or not 0 <= fold < of.folds:
            raise GenopredError(f"fold {fold}: needed one of the {of.folds} folds, from 0.")
        if held.height < of.folds:
            raise GenopredError(
                f"split.folds = {of.folds}: only {held.height} blocks of {of.block:,} bp hold genes; lower split.block."
            )
        numbers = np.random.default_rng(of.seed).permutation(np.arange(held.height) % of.folds)
        parts = np.where(numbers == fold, "test", np.where(numbers == (fold + 1) % of.folds, "validation", "train"))
        parted = held.with_columns(pl.Series("split", parts, dtype=pl.String))
        shares = np.ones(3)
    else:
        shares = shares_of(of.fractions)
        parted = dealt(held, shares, of.seed)
    # a block without genes is part of the one before it, so that no gene is lost at a border with nothing
    whole = table.join(parted.select("block", "split"), on="block", how="left", maintain_order="left")
    filled = pl.col("split").forward_fill().backward_fill()
    whole = whole.with_columns(filled).select("chrom", "start", "end", "split", "block")
    pieces = [set_apart(part, margin) for part in whole.partition_by("chrom", maintain_order=True)]
    return pl.concat([whole[:0], *pieces]), shares


def _block_of(data: GeneData, block: int) -> NDArray[np.int64]:
    """The block that holds each TSS, as `splits` numbers them."""
    out = np.zeros(len(data.codes), dtype=np.int64)
    chroms, at = data.genes["chrom"].to_numpy(), data.genes["tss"].to_numpy() - 1
    for part in blocks_along(data.lengths, block, None).partition_by("chrom", maintain_order=True):
        here = chroms == part["chrom"][0]
        inside = np.searchsorted(part["start"].to_numpy(), at[here], side="right") - 1
        out[here] = part["block"].to_numpy()[inside]
    return out


def _within(data: GeneData, regions: pl.DataFrame) -> NDArray[np.str_]:
    """The part in whose regions each gene's window lies wholly, flanks included; empty where it lies in none's."""
    chroms = data.genes["chrom"].to_numpy()
    ends = np.array([data.lengths.get(chrom, 0) for chrom in chroms.tolist()], dtype=np.int64)
    low = np.maximum(data.genes["start"].to_numpy() - data.flank, 0)
    return holding(regions, chroms, low, np.minimum(data.genes["end"].to_numpy() + data.flank, ends))


def _families_apart(split: GeneSplit, data: GeneData) -> GeneSplit:
    """Leave out genes whose family is of another part."""
    if data.families is None:
        return split
    part, why = split.part.copy(), split.why.astype(object)
    for family in np.unique(data.families[data.families != ""]):
        rows = np.flatnonzero((data.families == family) & (part != ""))
        counts = {name: int((part[rows] == name).sum()) for name in reversed(SPLITS)}
        others = rows[part[rows] != max(counts, key=counts.__getitem__)]
        part[others], why[others] = "", FAMILY
    return GeneSplit(split.by, part, split.block, why.astype(str))


def _checked(split: GeneSplit, shares: Any) -> GeneSplit:
    counts = {name: len(split.rows(name)) for name in SPLITS}
    few = [name for name, share in zip(SPLITS, shares) if (share > 0 or name != "test") and counts[name] < LEAST]
    if few:
        got = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        left = int((split.part == "").sum())
        raise GenopredError(
            f"split by {split.by}: fewer than {LEAST} genes for {' and '.join(few)} ({got}, left out {left:,}); lower "
            "split.block or split.margin, change split.seed or the chromosomes, or give more genes."
        )
    return split
