"""Which stretches of the genome are for training, validation and test, and the windows that tile them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import GenopredError, examples
from genopred.sequence.onehot import N_CODE
from genopred.settings.training import ByBlock
from genopred.types import plain_chrom

#: Names of the three parts of a split, in this order.
SPLITS = ("train", "validation", "test")

#: Columns of `Split.regions`; 0-based half-open.
REGION_SCHEMA: dict[str, Any] = {
    "chrom": pl.String,
    "start": pl.Int64,
    "end": pl.Int64,
    "split": pl.String,
    "block": pl.Int64,
}

#: A block with a larger share of N gets no label.
MOST_N = 0.5

#: Blocks of all chromosomes together; a human genome in blocks of 3 kb has as many.
MOST_BLOCKS = 1_000_000


@dataclass(frozen=True)
class WindowShape:
    """How long the input of a prediction is, and which bins of it are predicted.

    Parameters
    ----------
    window : int
        Input in bp, a multiple of `bin`.
    bin : int
        Width of a predicted bin in bp.
    crop : int
        Bins at each end that are read and not predicted.

    Examples
    --------
    >>> WindowShape(window=8192, bin=128, crop=4).n_bins
    56
    """

    window: int
    bin: int
    crop: int = 0

    def __post_init__(self) -> None:
        if self.bin < 1 or self.window < 1 or self.window % self.bin:
            raise GenopredError(f"window = {self.window}, bin = {self.bin}: the window must be a multiple of the bin.")
        if self.crop < 0 or self.n_bins < 1:
            raise GenopredError(
                f"crop = {self.crop}: of the {self.window // self.bin} bins of a window none would be left; needed "
                "0 or more, and less than half of them."
            )

    @property
    def n_bins(self) -> int:
        """Number of predicted bins."""
        return self.window // self.bin - 2 * self.crop

    @property
    def target(self) -> int:
        """Bases that are predicted: the width of all bins together."""
        return self.n_bins * self.bin


@dataclass(frozen=True)
class Split:
    """Which stretches of the genome are for training, validation and test.

    Parameters
    ----------
    by : str
        `block`, `chromosome` or `random`.
    regions : polars.DataFrame
        Columns of `REGION_SCHEMA`, a row a block (a row a window when random), in genome order. Rows of one split
        that adjoin are one region for windows.
    margin : int
        Least distance in bp between regions of different splits on a chromosome.
    seed : int
    """

    by: Literal["block", "chromosome", "random"]
    regions: pl.DataFrame
    margin: int
    seed: int


class Windows(NamedTuple):
    """Windows in genome order: chromosome, start of the input (0-based) and block of each."""

    chroms: NDArray[np.str_]
    starts: NDArray[np.int64]
    blocks: NDArray[np.int64]

    def take(self, which: Any) -> Windows:
        """Some of them, by anything that indexes an array."""
        return Windows(self.chroms[which], self.starts[which], self.blocks[which])


def split_blocks(
    lengths: Mapping[str, int],
    *,
    block: int = ByBlock.block,
    fractions: Sequence[float] = ByBlock.fractions,
    margin: int,
    seed: int,
    usable: Mapping[str, NDArray[np.uint8]] | None = None,
    shape: WindowShape | None = None,
) -> Split:
    """Deal blocks of each chromosome to training, validation and test at random.

    Where blocks of different splits meet, both give way by half the margin. A block of more than half N is dealt to
    none.

    Parameters
    ----------
    lengths : dict
        Chromosomes and their lengths in bp.
    block : int
        Width in bp; a rest of less than half a block joins the block before it.
    fractions : three floats
        Shares of training, validation and test.
    margin : int
        Least distance in bp between regions of different splits; at least the window.
    seed : int
    usable : dict of uint8 array, optional
        Codes of each chromosome, to find the Ns.
    shape : WindowShape, optional
        With it, the margin and the number of windows of each split are checked here rather than by `tile`.

    Returns
    -------
    Split

    Raises
    ------
    GenopredError
        If a split gets nothing, or the margin is smaller than the window.
    """
    shares = shares_of(fractions)
    if block < 1 or margin < 0:
        raise GenopredError(
            f"block = {block}, margin = {margin}: needed a block of 1 bp or more, a margin of 0 or more."
        )
    if shape is not None:
        _check_margin(margin, shape)
    table = dealt(blocks_along(lengths, block, usable), shares, seed)
    pieces = [set_apart(part, margin) for part in table.partition_by("chrom", maintain_order=True)]
    split = Split("block", pl.concat([table[:0], *pieces]), margin, seed)
    remedy = f"lower the block (now {block:,} bp) or the margin (now {margin:,} bp), or give more chromosomes"
    return _checked(split, shares, shape, remedy)


def split_chromosomes(
    lengths: Mapping[str, int],
    chromosomes: Mapping[str, Sequence[str]],
    *,
    block: int = ByBlock.block,
    usable: Mapping[str, NDArray[np.uint8]] | None = None,
    shape: WindowShape | None = None,
) -> Split:
    """Whole chromosomes for training, validation and test.

    Parameters
    ----------
    lengths : dict
        Chromosomes and their lengths in bp.
    chromosomes : dict
        Lists of chromosomes by `train`, `validation` and `test`; `chr22` matches `22`.
    block : int
        Width in bp of the blocks that intervals of scores are made over.
    usable, shape
        As in `split_blocks`.

    Returns
    -------
    Split

    Raises
    ------
    GenopredError
        If a chromosome is unknown or in two splits, or a split gets nothing.
    """
    unknown = [name for name in chromosomes if name not in SPLITS]
    if unknown:
        raise GenopredError(f"split by chromosome: {examples(unknown)} is no split; needed {', '.join(SPLITS)}.")
    label: dict[str, str] = {}
    known = {plain_chrom(name): name for name in lengths}
    for name in SPLITS:
        for chrom in chromosomes.get(name, ()):
            plain = plain_chrom(chrom)
            if plain not in known:
                raise GenopredError(
                    f"split by chromosome: {name} names {chrom}, which is not among the chromosomes of the data "
                    f"({examples(list(lengths))}); add it there or leave it out here."
                )
            if label.setdefault(known[plain], name) != name:
                raise GenopredError(
                    f"split by chromosome: {chrom} is in {label[known[plain]]} and in {name}; needed in one of them."
                )
    table = blocks_along({chrom: n for chrom, n in lengths.items() if chrom in label}, block, usable)
    regions = table.with_columns(pl.col("chrom").replace_strict(label, return_dtype=pl.String).alias("split"))
    split = Split("chromosome", regions.select(list(REGION_SCHEMA)), 0, 0)
    return _checked(split, (1, 1, 1), shape, "give each split a chromosome that is not mostly N")


def split_random(
    lengths: Mapping[str, int],
    shape: WindowShape,
    *,
    fractions: Sequence[float] = ByBlock.fractions,
    seed: int,
    stride: int | None = None,
    block: int = ByBlock.block,
    usable: Mapping[str, NDArray[np.uint8]] | None = None,
) -> Split:
    """Deal overlapping windows at random, whatever their neighbours get.

    What is tested has then been seen in training, so that scores are too high. It is here to show by how much.

    Parameters
    ----------
    lengths, fractions, seed, usable
        As in `split_blocks`.
    shape : WindowShape
    stride : int, optional
        Distance in bp of neighbouring windows; half a window without it.
    block : int
        Width in bp of the blocks that intervals of scores are made over.

    Returns
    -------
    Split

    Raises
    ------
    GenopredError
        If a split gets no window.
    """
    shares = shares_of(fractions)
    stride = -(-(shape.window // 2) // shape.bin) * shape.bin if stride is None else stride
    if stride < 1 or stride % shape.bin:
        raise GenopredError(f"stride = {stride}: needed a multiple of the bin, {shape.bin} bp.")
    tables = [pl.DataFrame(schema=REGION_SCHEMA).drop("split")]
    for chrom, low, high, number in blocks_along(lengths, block, usable).iter_rows():
        first, last = -(-low // stride) * stride, min(high, lengths[chrom] - shape.window + 1)
        starts = np.arange(first, last, stride, dtype=np.int64)
        columns = {"chrom": chrom, "start": starts, "end": starts + shape.window, "block": number}
        tables.append(pl.DataFrame(columns, tables[0].schema))
    split = Split("random", dealt(pl.concat(tables), shares, seed), 0, seed)
    return _checked(split, shares, shape, f"lower the stride (now {stride:,} bp) or give more chromosomes")


def tile(split: Split, name: str, shape: WindowShape, offset: int = 0) -> Windows:
    """Windows of one split whose predicted bins lie side by side and whose input lies inside its regions.

    Parameters
    ----------
    split : Split
    name : str
        `train`, `validation` or `test`.
    shape : WindowShape
    offset : int
        Bases by which the tiling is shifted within each region, less than the predicted width; a multiple of the
        data's step. A random split has its windows already and is not shifted.

    Returns
    -------
    Windows
        `starts` are of the inputs; the predicted bins of a window begin `crop * bin` bp further. Without offset they
        are multiples of `bin`. The block is the one that holds the window's centre.

    Raises
    ------
    GenopredError
        If the split has no window, the margin is smaller than the window, or name or offset are out of range.

    Examples
    --------
    >>> split = split_chromosomes({"1": 100, "2": 60, "3": 50}, {"train": ["1"], "validation": ["2"], "test": ["3"]})
    >>> tile(split, "train", WindowShape(window=40, bin=10, crop=1)).starts.tolist()
    [0, 20, 40, 60]
    """
    if name not in SPLITS:
        raise GenopredError(f"no split {name!r}; needed one of {', '.join(SPLITS)}.")
    if not 0 <= offset < shape.target:
        raise GenopredError(f"offset = {offset}: needed 0 to {shape.target - 1}, less than the predicted width.")
    if split.by == "block":
        _check_margin(split.margin, shape)
    windows = _tile(split, name, shape, offset)
    if not len(windows.starts):
        counts = ", ".join(f"{n} {len(_tile(split, n, shape, 0).starts):,}" for n in SPLITS)
        shifted = f" at offset {offset:,}" if offset else ""
        raise GenopredError(
            f"the {name} split has no window of {shape.window:,} bp{shifted} (windows without offset: {counts}); lower "
            f"the window or the margin (now {split.margin:,} bp), or give that split more blocks or chromosomes."
        )
    return windows


def _tile(split: Split, name: str, shape: WindowShape, offset: int) -> Windows:
    rows = split.regions.filter(pl.col("split") == name)
    if split.by == "random":
        rows = rows.filter(pl.col("end") - pl.col("start") == shape.window)
        return Windows(rows["chrom"].to_numpy().astype(str), rows["start"].to_numpy(), rows["block"].to_numpy())
    none = np.array([], dtype=np.int64)
    found = [Windows(np.array([], dtype=str), none, none)]
    for part in rows.partition_by("chrom", maintain_order=True):
        a, b, ids = (part[column].to_numpy() for column in ("start", "end", "block"))
        # blocks of which each begins where the one before it ends are one region
        for first, last in pairwise([0, *(np.flatnonzero(a[1:] != b[:-1]) + 1).tolist(), len(a)]):
            start = -(-int(a[first]) // shape.bin) * shape.bin + offset
            here = np.arange(start, int(b[last - 1]) - shape.window + 1, shape.target, dtype=np.int64)
            block = ids[first + np.searchsorted(a[first:last], here + shape.window // 2, side="right") - 1]
            found.append(Windows(np.full(len(here), part["chrom"][0]), here, block))
    return Windows(*map(np.concatenate, zip(*found)))


def holding(
    regions: pl.DataFrame, chroms: NDArray[Any], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.str_]:
    """The split in whose regions each stretch (N,) lies wholly; empty where it lies in none's.

    Parameters
    ----------
    regions : polars.DataFrame
        As `Split.regions`, of which none overlap; neighbours of one split that adjoin are one region.
    chroms, starts, ends : array, shape (N,)
        0-based half-open.

    Examples
    --------
    >>> table = pl.DataFrame({"chrom": "1", "start": [0, 10, 20], "end": [10, 20, 30], "split": ["a", "a", "b"]})
    >>> holding(table, np.array(["1"] * 3), np.array([5, 15, 20]), np.array([15, 25, 30])).tolist()
    ['a', '', 'b']
    """
    out = np.full(len(chroms), "", dtype="<U10")
    for part in regions.sort("chrom", "start").partition_by("chrom", maintain_order=True):
        a, b, label = (part[name].to_numpy() for name in ("start", "end", "split"))
        first = np.r_[True, (a[1:] != b[:-1]) | (label[1:] != label[:-1])]
        a, b, label = a[first], b[np.r_[first[1:], True]], label[first]
        here = np.flatnonzero(chroms == part["chrom"][0])
        at = np.searchsorted(a, starts[here], side="right") - 1
        inside = (at >= 0) & (ends[here] <= b[np.maximum(at, 0)])
        out[here[inside]] = label[at[inside]]
    return out


def shares_of(fractions: Sequence[float]) -> NDArray[np.float64]:
    """Shares of training, validation and test as an array; refused if they are none."""
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.shape != (3,) or not (shares >= 0).all() or not np.isclose(shares.sum(), 1) or shares[0] == 0:
        raise GenopredError(
            f"fractions = {list(fractions)}: needed three shares (training, validation, test) of 0 or more that sum "
            "to 1, the first above 0."
        )
    return shares


def blocks_along(
    lengths: Mapping[str, int], block: int, usable: Mapping[str, NDArray[np.uint8]] | None
) -> pl.DataFrame:
    """Blocks that are not mostly N: chrom, start, end, block; ids count all blocks, those of N too."""
    total = sum(lengths.values())
    if total // block > MOST_BLOCKS:
        raise GenopredError(
            f"block = {block}: {total:,} bp would be {total // block:,} blocks; needed {-(-total // MOST_BLOCKS):,} bp "
            f"or more, which makes at most {MOST_BLOCKS:,}."
        )
    rows, count = [], 0
    for chrom, length in lengths.items():
        edges = list(range(0, length, block))
        if len(edges) > 1 and 2 * (length - edges[-1]) < block:
            edges.pop()
        for start, end in zip(edges, [*edges[1:], length]):
            if usable is None or (usable[chrom][start:end] == N_CODE).mean() <= MOST_N:
                rows.append((chrom, start, end, count))
            count += 1
    schema = {name: REGION_SCHEMA[name] for name in ("chrom", "start", "end", "block")}
    return pl.DataFrame(rows, schema=schema, orient="row")


def dealt(table: pl.DataFrame, shares: NDArray[np.float64], seed: int) -> pl.DataFrame:
    """Rows dealt to splits at random: as near to the shares as whole numbers are, no split empty if it can."""
    exact = shares * table.height
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(-(exact - counts), kind="stable")[: table.height - counts.sum()]] += 1
    for i in np.flatnonzero((counts == 0) & (shares > 0)):
        if counts.max() > 1:
            counts[counts.argmax()] -= 1
            counts[i] += 1
    labels = np.random.default_rng(seed).permutation(np.repeat(SPLITS, counts))
    return table.with_columns(pl.Series("split", labels, dtype=pl.String)).select(list(REGION_SCHEMA))


def set_apart(table: pl.DataFrame, margin: int) -> pl.DataFrame:
    """Blocks of one chromosome with neighbours of different splits at least `margin` apart."""
    first, last = table["start"].to_numpy(), table["end"].to_numpy()
    start, end = first.copy(), last.copy()
    label = table["split"].to_numpy()
    for i in np.flatnonzero(label[1:] != label[:-1]):
        lacking = max(margin - int(first[i + 1] - last[i]), 0)
        border_left, border_right = last[i] - lacking // 2, first[i + 1] + lacking - lacking // 2
        # a narrow block may lie whole in the margin, and the margin then reaches into its neighbours of the same split
        left = np.arange(np.searchsorted(last, border_left, side="right"), i + 1)
        right = np.arange(i + 1, np.searchsorted(first, border_right, side="left"))
        same_left, same_right = left[label[left] == label[i]], right[label[right] == label[i + 1]]
        end[same_left] = np.minimum(end[same_left], border_left)
        start[same_right] = np.maximum(start[same_right], border_right)
    return table.with_columns(pl.Series("start", start), pl.Series("end", end)).filter(pl.col("end") > pl.col("start"))


def _check_margin(margin: int, shape: WindowShape) -> None:
    if margin < shape.window:
        raise GenopredError(
            f"margin = {margin:,} bp: needed at least the window, {shape.window:,} bp, so that no sequence of one "
            "split is seen in another; raise [split] margin."
        )


def _checked(split: Split, shares: Iterable[float], shape: WindowShape | None, remedy: str) -> Split:
    """The split, of which each part with a share has something: windows where their shape is known, else bases."""
    if shape is None:
        by = dict(split.regions.group_by("split").agg((pl.col("end") - pl.col("start")).sum()).iter_rows())
        counts, unit = {name: int(by.get(name, 0)) for name in SPLITS}, "bp"
    else:
        counts, unit = {name: len(_tile(split, name, shape, 0).starts) for name in SPLITS}, "windows"
    empty = [name for name, share in zip(SPLITS, shares) if share > 0 and not counts[name]]
    if empty:
        got = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        raise GenopredError(f"split by {split.by}: nothing for {' and '.join(empty)} ({got} {unit}); {remedy}.")
    return split
