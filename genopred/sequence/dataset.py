"""Windows of sequence and signal for training: how they are split, tiled, augmented and cut out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from genopred.errors import GenopredError, examples
from genopred.sequence.onehot import N_CODE, reverse_complement
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
class Track:
    """What a signal track measures, and how a bin's value is made of it.

    Parameters
    ----------
    name : str
    assay, cell : str
    strand : str
        `+`, `-`, or `.` where the signal has none.
    partner : str
        Name of the track of the other strand; its own where there is none.
    aggregate : str
        `mean` per bp of the bin, or `sum` over it.
    clip : float, optional
        Values x above c become c - 1 + sqrt(x - c + 1), so that a few very high bins do not rule the loss.
    """

    name: str
    assay: str = ""
    cell: str = ""
    strand: str = "."
    partner: str = ""
    aggregate: Literal["mean", "sum"] = "mean"
    clip: float | None = None

    def __post_init__(self) -> None:
        if not self.partner:
            object.__setattr__(self, "partner", self.name)
        if self.strand not in ("+", "-", "."):
            raise GenopredError(f"track {self.name}: strand = {self.strand!r}; needed '+', '-' or '.'.")
        if self.aggregate not in ("mean", "sum"):
            raise GenopredError(f"track {self.name}: aggregate = {self.aggregate!r}; needed 'mean' or 'sum'.")
        if self.clip is not None and not self.clip >= 1:
            raise GenopredError(f"track {self.name}: clip = {self.clip}; needed a number of 1 or more, or none.")


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
class SequenceData:
    """Sequence and signal of whole chromosomes.

    Parameters
    ----------
    codes : dict of uint8 array
        (L,) by chromosome: 0 A, 1 C, 2 G, 3 T, 4 N.
    sums : dict of float32 array
        (T, ceil(L / step)) by chromosome: each track's sum over each `step` bp.
    step : int
        In bp.
    tracks : tuple of Track
        Of length T.
    """

    codes: dict[str, NDArray[np.uint8]]
    sums: dict[str, NDArray[np.float32]]
    step: int
    tracks: tuple[Track, ...]

    def __post_init__(self) -> None:
        if set(self.codes) != set(self.sums):
            raise GenopredError(
                f"sequence is of {examples(sorted(self.codes))}, signal of {examples(sorted(self.sums))}; needed the "
                "same chromosomes."
            )
        for chrom, codes in self.codes.items():
            shape = (len(self.tracks), -(-len(codes) // self.step))
            if self.sums[chrom].shape != shape:
                raise GenopredError(
                    f"signal of {chrom} has shape {self.sums[chrom].shape}; needed {shape}: {len(self.tracks)} tracks, "
                    f"{len(codes):,} bp in steps of {self.step}."
                )
        _ = self.partners

    @cached_property
    def partners(self) -> NDArray[np.int64]:
        """Index (T,) of each track's other strand; of the track itself where it has none."""
        at = {track.name: i for i, track in enumerate(self.tracks)}
        if len(at) < len(self.tracks):
            raise GenopredError("two tracks have the same name; give each its own.")
        lost = [f"{t.name} names {t.partner}" for t in self.tracks if t.partner not in at]
        if lost:
            raise GenopredError(f"{len(lost)} tracks name a partner that is no track: {examples(lost)}.")
        out = np.array([at[track.partner] for track in self.tracks], dtype=np.int64)
        loose = [t.name for i, t in enumerate(self.tracks) if out[out[i]] != i]
        if loose:
            raise GenopredError(f"partners must name each other; {examples(loose)} are not named by theirs.")
        strands = [
            f"{t.name} ({t.strand}) and {t.partner} ({self.tracks[j].strand})"
            for t, j in zip(self.tracks, out.tolist())
            if t.partner != t.name and {t.strand, self.tracks[j].strand} != {"+", "-"}
        ]
        if strands:
            raise GenopredError(f"partners must be of the strands + and -, which {examples(strands)} are not.")
        return out

    @cached_property
    def _single(self) -> list[str]:
        """Tracks of one strand whose other strand is not there."""
        return [track.name for track in self.tracks if track.strand != "." and track.partner == track.name]

    @cached_property
    def lengths(self) -> dict[str, int]:
        """Bases of each chromosome."""
        return {chrom: len(codes) for chrom, codes in self.codes.items()}

    @cached_property
    def _clips(self) -> NDArray[np.float32]:
        return np.array([np.inf if t.clip is None else t.clip for t in self.tracks], dtype=np.float32)

    def target(self, chrom: str, start: int, n_bins: int, bin: int) -> NDArray[np.float32]:
        """Values (n_bins, T) of the bins of `bin` bp from `start` (0-based), aggregated and clipped.

        Raises
        ------
        GenopredError
            If `start` or `bin` is no multiple of the step, or the bins reach beyond the chromosome.
        """
        if start % self.step or bin % self.step:
            raise GenopredError(f"start = {start}, bin = {bin}: both must be multiples of the step, {self.step} bp.")
        end = start + n_bins * bin
        if start < 0 or end > len(self.codes[chrom]):
            raise GenopredError(
                f"bins {chrom}:{start}-{end} reach beyond the chromosome's {len(self.codes[chrom]):,} bp."
            )
        return self._finish(self._raw(chrom, start, n_bins, bin).T, bin)

    def _raw(self, chrom: str, start: int, n_bins: int, bin: int) -> NDArray[np.float32]:
        """Sums (T, n_bins)."""
        part = self.sums[chrom][:, start // self.step : (start + n_bins * bin) // self.step]
        return part.reshape(len(self.tracks), n_bins, bin // self.step).sum(axis=-1)

    def _finish(self, sums: NDArray[np.float32], bin: int) -> NDArray[np.float32]:
        """Bin values (..., T) of sums (..., T)."""
        means = np.array([t.aggregate == "mean" for t in self.tracks])
        values = sums / np.where(means, np.float32(bin), np.float32(1))
        over = values > self._clips
        if over.any():
            clips = np.broadcast_to(self._clips, values.shape)[over]
            values[over] = clips - 1 + np.sqrt(values[over] - clips + 1)
        return np.ascontiguousarray(values, dtype=np.float32)


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


def bytes_needed(lengths: Mapping[str, int], n_tracks: int, step: int) -> int:
    """Bytes that `SequenceData` of these chromosomes holds: codes and sums.

    >>> bytes_needed({"chr22": 50_818_468}, n_tracks=9, step=16)
    165160048
    """
    return sum(length + 4 * n_tracks * -(-length // step) for length in lengths.values())


def split_blocks(
    lengths: Mapping[str, int],
    *,
    block: int = 500_000,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
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
    shares = _fractions(fractions)
    if block < 1 or margin < 0:
        raise GenopredError(
            f"block = {block}, margin = {margin}: needed a block of 1 bp or more, a margin of 0 or more."
        )
    if shape is not None:
        _check_margin(margin, shape)
    table = _blocks(lengths, block, usable)
    labels = _deal(table.height, shares, seed)
    table = table.with_columns(pl.Series("split", [SPLITS[i] for i in labels], dtype=pl.String))
    pieces = [_apart(part, margin) for part in table.partition_by("chrom", maintain_order=True)]
    regions = pl.concat([pl.DataFrame(schema=REGION_SCHEMA), *(p.select(list(REGION_SCHEMA)) for p in pieces)])
    split = Split("block", regions, margin, seed)
    remedy = f"lower the block (now {block:,} bp) or the margin (now {margin:,} bp), or give more chromosomes"
    _check_counts(split, [n for n, share in zip(SPLITS, shares) if share > 0], shape, remedy)
    return split


def split_chromosomes(
    lengths: Mapping[str, int],
    chromosomes: Mapping[str, Sequence[str]],
    *,
    block: int = 500_000,
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
    table = _blocks({chrom: n for chrom, n in lengths.items() if chrom in label}, block, usable)
    regions = table.with_columns(pl.col("chrom").replace_strict(label, return_dtype=pl.String).alias("split"))
    split = Split("chromosome", regions.select(list(REGION_SCHEMA)), 0, 0)
    _check_counts(split, SPLITS, shape, "give each split a chromosome that is not mostly N")
    return split


def split_random(
    lengths: Mapping[str, int],
    shape: WindowShape,
    *,
    fractions: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int,
    stride: int | None = None,
    block: int = 500_000,
    usable: Mapping[str, NDArray[np.uint8]] | None = None,
) -> Split:
    """Deal overlapping windows at random, whatever their neighbours get.

    What is tested has then been seen in training, so that scores are too high. It is here to show by how much.

    Parameters
    ----------
    lengths : dict
    shape : WindowShape
    fractions : three floats
    seed : int
    stride : int, optional
        Distance in bp of neighbouring windows; half a window without it.
    block : int
        Width in bp of the blocks that intervals of scores are made over.
    usable : dict of uint8 array, optional
        As in `split_blocks`.

    Returns
    -------
    Split

    Raises
    ------
    GenopredError
        If a split gets no window.
    """
    shares = _fractions(fractions)
    stride = -(-(shape.window // 2) // shape.bin) * shape.bin if stride is None else stride
    if stride < 1 or stride % shape.bin:
        raise GenopredError(f"stride = {stride}: needed a multiple of the bin, {shape.bin} bp.")
    tables = []
    for row in _blocks(lengths, block, usable).iter_rows(named=True):
        first = -(-row["start"] // stride) * stride
        starts = np.arange(first, min(row["end"], lengths[row["chrom"]] - shape.window + 1), stride, dtype=np.int64)
        part = pl.DataFrame({"start": starts, "end": starts + shape.window})
        tables.append(part.with_columns(chrom=pl.lit(row["chrom"]), block=pl.lit(row["block"], dtype=pl.Int64)))
    table = pl.concat(
        [
            pl.DataFrame(schema=REGION_SCHEMA).drop("split"),
            *(t.select("chrom", "start", "end", "block") for t in tables),
        ]
    )
    labels = _deal(table.height, shares, seed)
    table = table.with_columns(pl.Series("split", [SPLITS[i] for i in labels], dtype=pl.String))
    split = Split("random", table.select(list(REGION_SCHEMA)), 0, seed)
    wanted = [n for n, share in zip(SPLITS, shares) if share > 0]
    _check_counts(split, wanted, shape, f"lower the stride (now {stride:,} bp) or give more chromosomes")
    return split


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
    chroms: list[NDArray[Any]] = [np.array([], dtype=str)]
    starts: list[NDArray[np.int64]] = [np.array([], dtype=np.int64)]
    blocks: list[NDArray[np.int64]] = [np.array([], dtype=np.int64)]
    for part in rows.partition_by("chrom", maintain_order=True):
        a, b, ids = (part[column].to_numpy() for column in ("start", "end", "block"))
        for first, last in _joined(a, b):
            start = -(-int(a[first]) // shape.bin) * shape.bin + offset
            here = np.arange(start, int(b[last - 1]) - shape.window + 1, shape.target, dtype=np.int64)
            centre = here + shape.window // 2
            starts.append(here)
            blocks.append(ids[first + np.searchsorted(a[first:last], centre, side="right") - 1])
            chroms.append(np.full(len(here), part["chrom"][0]))
    return Windows(np.concatenate(chroms), np.concatenate(starts), np.concatenate(blocks))


def drop_n(
    data: SequenceData,
    windows: tuple[NDArray[np.str_], NDArray[np.int64], NDArray[np.int64]],
    shape: WindowShape,
    max_n: float = 0.2,
) -> tuple[Windows, int]:
    """Leave out windows of which more than a share `max_n` is N.

    Parameters
    ----------
    data : SequenceData
    windows : Windows
    shape : WindowShape
    max_n : float
        From 0 to 1.

    Returns
    -------
    kept : Windows
    dropped : int
    """
    if not 0 <= max_n <= 1:
        raise GenopredError(f"max_n = {max_n}: needed a share from 0 to 1.")
    chroms, starts, blocks = windows
    n = np.zeros(len(starts), dtype=np.int64)
    for i, (chrom, start) in enumerate(zip(chroms.tolist(), starts.tolist())):
        n[i] = np.count_nonzero(data.codes[chrom][start : start + shape.window] == N_CODE)
    keep = n <= max_n * shape.window
    return Windows(chroms[keep], starts[keep], blocks[keep]), int((~keep).sum())


def batch(
    data: SequenceData,
    chroms: NDArray[np.str_],
    starts: NDArray[np.int64],
    shape: WindowShape,
    reverse: ArrayLike | None = None,
    jitter: ArrayLike | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Input and targets of some windows.

    Parameters
    ----------
    data : SequenceData
    chroms, starts : array (B,)
        Of the inputs without jitter, as `tile` gives them.
    shape : WindowShape
    reverse : bool array (B,), optional
        Windows to give from the other strand: reverse complement, bins in reverse order, strands swapped.
    jitter : int array (B,), optional
        Bases by which the input is shifted against the targets, to the right when positive.

    Returns
    -------
    codes : uint8 array (B, window)
        N beyond the chromosome's ends.
    targets : float32 array (B, n_bins, T)

    Raises
    ------
    GenopredError
        If targets are off the step's grid or reach beyond the chromosome, or a reversed window has a track of one
        strand without the other.

    Examples
    --------
    >>> codes, sums = {"1": np.arange(8, dtype=np.uint8) % 4}, {"1": np.array([[4, 8], [0, 2]], dtype=np.float32)}
    >>> tracks = (Track("up", strand="+", partner="down"), Track("down", strand="-", partner="up"))
    >>> data, shape = SequenceData(codes, sums, 4, tracks), WindowShape(window=8, bin=4)
    >>> batch(data, np.array(["1"]), np.array([0]), shape)[1].tolist()
    [[[1.0, 0.0], [2.0, 0.5]]]
    >>> codes, targets = batch(data, np.array(["1"]), np.array([0]), shape, reverse=True, jitter=1)
    >>> codes.tolist(), targets.tolist()
    ([[4, 0, 1, 2, 3, 0, 1, 2]], [[[0.5, 2.0], [0.0, 1.0]]])
    """
    n = len(starts)
    flip = np.zeros(n, dtype=bool) if reverse is None else np.broadcast_to(np.asarray(reverse, dtype=bool), n)
    shift = np.zeros(n, dtype=np.int64) if jitter is None else np.broadcast_to(np.asarray(jitter, dtype=np.int64), n)
    codes = np.full((n, shape.window), N_CODE, dtype=np.uint8)
    sums = np.empty((n, len(data.tracks), shape.n_bins), dtype=np.float32)
    if shape.bin % data.step or ((starts + shape.crop * shape.bin) % data.step).any():
        raise GenopredError(
            f"bins of {shape.bin} bp from {examples(starts.tolist())} are off the step, {data.step} bp."
        )
    for i, (name, start, moved) in enumerate(zip(chroms.tolist(), starts.tolist(), shift.tolist())):
        whole = data.codes[name]
        first = start + shape.crop * shape.bin
        if first < 0 or first + shape.target > len(whole):
            raise GenopredError(f"bins {name}:{first}-{first + shape.target} reach beyond its {len(whole):,} bp.")
        begin = start + moved
        left, right = max(begin, 0), min(begin + shape.window, len(whole))
        codes[i, left - begin : max(right, left) - begin] = whole[left : max(right, left)]
        sums[i] = data._raw(name, first, shape.n_bins, shape.bin)
    if flip.any() and data._single:
        raise GenopredError(
            f"{len(data._single)} tracks of one strand have no track of the other ({examples(data._single)}), so that "
            "nothing is known of the reverse complement; give its other strand, or train without reverse complement."
        )
    if flip.any():
        codes[flip] = reverse_complement(codes[flip])  # type: ignore[arg-type]
        sums[flip] = sums[flip][:, data.partners, ::-1]
    return codes, data._finish(sums.transpose(0, 2, 1), shape.bin)


def kmer_features(codes: NDArray[np.uint8], shape: WindowShape, k: int, neighbours: int) -> NDArray[np.float32]:
    """Composition of each predicted bin and of its surroundings, for a baseline without a network.

    Parameters
    ----------
    codes : uint8 array (B, window)
    shape : WindowShape
    k : int
        Length of the words, 1 to 6.
    neighbours : int
        Bins on each side whose mean is added; cut at the window's ends.

    Returns
    -------
    float32 array (B, n_bins, 2 * (1 + 4**k))
        Share of G and C among the bases, frequency of each word (in the order of its codes) among the bin's words,
        all without N; then the means of these over the bin and its neighbours. A bin of N alone is 0.

    Raises
    ------
    GenopredError
        If `k` or `neighbours` is out of range.

    Examples
    --------
    >>> codes = np.array([[0, 0, 1, 2]], dtype=np.uint8)
    >>> kmer_features(codes, WindowShape(window=4, bin=2), k=1, neighbours=1)[0, 0].tolist()
    [0.0, 1.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.25, 0.25, 0.0]
    """
    if not 1 <= k <= 6 or k > shape.bin or neighbours < 0:
        raise GenopredError(
            f"k = {k}, neighbours = {neighbours}: needed words of 1 to 6 bases, no longer than a bin, and neighbours "
            "of 0 or more."
        )
    n, bins, words = len(codes), shape.window // shape.bin, 4**k
    binned = codes.reshape(n * bins, shape.bin)
    gc = ((binned == 1) | (binned == 2)).sum(axis=1)
    bases = (binned < N_CODE).sum(axis=1)
    index = np.zeros((n * bins, shape.bin - k + 1), dtype=np.int64)
    known = np.ones(index.shape, dtype=bool)
    for i in range(k):
        part = binned[:, i : i + index.shape[1]]
        index *= 4
        index += part
        known &= part < N_CODE
    index += np.arange(n * bins)[:, None] * words
    counts = np.bincount(index[known], minlength=n * bins * words).reshape(n * bins, words)
    own = np.empty((n * bins, 1 + words), dtype=np.float32)
    own[:, 0] = gc / np.maximum(bases, 1)
    own[:, 1:] = counts / np.maximum(known.sum(axis=1), 1)[:, None]
    own = own.reshape(n, bins, 1 + words)
    at = np.arange(shape.crop, bins - shape.crop)
    low, high = np.maximum(at - neighbours, 0), np.minimum(at + neighbours + 1, bins)
    before = np.zeros((n, bins + 1, 1 + words))
    np.cumsum(own, axis=1, dtype=np.float64, out=before[:, 1:])
    around = (before[:, high] - before[:, low]) / (high - low)[:, None]
    return np.concatenate([own[:, at], around.astype(np.float32)], axis=2)


def _fractions(fractions: Sequence[float]) -> NDArray[np.float64]:
    shares = np.asarray(fractions, dtype=np.float64)
    if shares.shape != (3,) or not (shares >= 0).all() or not np.isclose(shares.sum(), 1) or shares[0] == 0:
        raise GenopredError(
            f"fractions = {list(fractions)}: needed three shares (training, validation, test) of 0 or more that sum "
            "to 1, the first above 0."
        )
    return shares


def _blocks(lengths: Mapping[str, int], block: int, usable: Mapping[str, NDArray[np.uint8]] | None) -> pl.DataFrame:
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


def _deal(n: int, shares: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """Labels 0, 1, 2 of n things in random order: as near to the shares as whole numbers are, none empty if it can."""
    exact = shares * n
    counts = np.floor(exact).astype(np.int64)
    for i in np.argsort(-(exact - counts), kind="stable")[: n - counts.sum()]:
        counts[i] += 1
    for i in np.flatnonzero((counts == 0) & (shares > 0)):
        if counts.max() > 1:
            counts[counts.argmax()] -= 1
            counts[i] += 1
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(3), counts))


def _joined(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Runs (first, after the last) of rows of which each begins where the one before it ends."""
    cuts = np.flatnonzero(starts[1:] != ends[:-1]) + 1
    edges = [0, *cuts.tolist(), len(starts)]
    return list(zip(edges[:-1], edges[1:])) if len(starts) else []


def _apart(table: pl.DataFrame, margin: int) -> pl.DataFrame:
    """Blocks of one chromosome with neighbours of different splits at least `margin` apart."""
    first, last = table["start"].to_numpy(), table["end"].to_numpy()
    start, end = first.copy(), last.copy()
    label = table["split"].to_numpy()
    for i in np.flatnonzero(label[1:] != label[:-1]):
        lacking = max(margin - int(table["start"][int(i) + 1] - table["end"][int(i)]), 0)
        border_left, border_right = (
            int(table["end"][int(i)]) - lacking // 2,
            int(table["start"][int(i) + 1]) + lacking - lacking // 2,
        )
        # a narrow block may lie whole in the margin, and the margin then reaches into its neighbours of the same split
        left = np.arange(np.searchsorted(last, border_left, side="right"), i + 1)
        right = np.arange(i + 1, np.searchsorted(first, border_right, side="left"))
        same_left, same_right = left[label[left] == label[i]], right[label[right] == label[i + 1]]
        end[same_left] = np.minimum(end[same_left], border_left)
        start[same_right] = np.maximum(start[same_right], border_right)
    keep = end > start
    return table.with_columns(pl.Series("start", start), pl.Series("end", end)).filter(pl.Series(keep))


def _check_margin(margin: int, shape: WindowShape) -> None:
    if margin < shape.window:
        raise GenopredError(
            f"margin = {margin:,} bp: needed at least the window, {shape.window:,} bp, so that no sequence of one "
            "split is seen in another; raise [split] margin."
        )


def _check_counts(split: Split, wanted: Sequence[str], shape: WindowShape | None, remedy: str) -> None:
    if shape is None:
        by = dict(split.regions.group_by("split").agg((pl.col("end") - pl.col("start")).sum()).iter_rows())
        counts, unit = {name: int(by.get(name, 0)) for name in SPLITS}, "bp"
    else:
        counts, unit = {name: len(_tile(split, name, shape, 0).starts) for name in SPLITS}, "windows"
    empty = [name for name in wanted if not counts[name]]
    if empty:
        got = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        raise GenopredError(f"split by {split.by}: nothing for {' and '.join(empty)} ({got} {unit}); {remedy}.")
