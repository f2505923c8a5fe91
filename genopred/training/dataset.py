"""Sequence and signal of whole chromosomes, and what is cut out of them for some windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from genopred.errors import GenopredError, examples
from genopred.sequence.onehot import N_CODE, reverse_complement
from genopred.settings.training import Data, Track
from genopred.training.splits import Split, Windows, WindowShape, tile


def track_table(tracks: Sequence[Track]) -> pl.DataFrame:
    """Columns track, assay, cell, strand."""
    rows = [(t.name, t.assay, t.cell, t.strand) for t in tracks]
    return pl.DataFrame(rows, schema=["track", "assay", "cell", "strand"], orient="row")


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
        return self._finish(self._raw(chrom, start, n_bins, bin).T, bin)

    def _raw(self, chrom: str, start: int, n_bins: int, bin: int) -> NDArray[np.float32]:
        """Sums (T, n_bins); refused as `target` says."""
        end, length = start + n_bins * bin, len(self.codes[chrom])
        if start % self.step or bin % self.step:
            raise GenopredError(
                f"bins of {bin} bp from {start} are off the step; needed multiples of the step, {self.step} bp."
            )
        if start < 0 or end > length:
            raise GenopredError(f"bins {chrom}:{start}-{end} reach beyond the chromosome's {length:,} bp.")
        part = self.sums[chrom][:, start // self.step : end // self.step]
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


def bytes_needed(lengths: Mapping[str, int], n_tracks: int, step: int) -> int:
    """Bytes that `SequenceData` of these chromosomes holds: codes and sums.

    >>> bytes_needed({"chr22": 50_818_468}, n_tracks=9, step=16)
    165160048
    """
    return sum(length + 4 * n_tracks * -(-length // step) for length in lengths.values())


def drop_n(data: SequenceData, windows: Windows, shape: WindowShape, max_n: float = Data.max_n) -> tuple[Windows, int]:
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
    inputs = (data.codes[c][s : s + shape.window] for c, s in zip(windows.chroms.tolist(), windows.starts.tolist()))
    keep = np.array([np.count_nonzero(codes == N_CODE) <= max_n * shape.window for codes in inputs], dtype=bool)
    return windows.take(keep), int((~keep).sum())


def windows_of(
    data: SequenceData, split: Split, name: str, shape: WindowShape, max_n: float, offset: int = 0
) -> tuple[Windows, int]:
    """The windows of one split, as of `tile`, without those that are mostly N, and how many these are.

    Raises
    ------
    GenopredError
        If no window is left.
    """
    windows, dropped = drop_n(data, tile(split, name, shape, offset), shape, max_n)
    if not len(windows.starts):
        raise GenopredError(
            f"the {name} split has no window left: all {dropped:,} have more than {max_n:.0%} N; raise data.max_n, or "
            "give it other regions."
        )
    return windows, dropped


def inputs(data: SequenceData, chroms: NDArray[np.str_], starts: NDArray[np.int64], window: int) -> NDArray[np.uint8]:
    """Codes (B, window) of stretches that begin at `starts`; N beyond a chromosome's ends."""
    out = np.full((len(starts), window), N_CODE, dtype=np.uint8)
    for row, chrom, start in zip(out, chroms.tolist(), starts.tolist()):
        whole = data.codes[chrom]
        left = max(start, 0)
        right = max(min(start + window, len(whole)), left)
        row[left - start : right - start] = whole[left:right]
    return out


def window_targets(data: SequenceData, windows: Windows, shape: WindowShape) -> NDArray[np.float32]:
    """Measured values of some windows, (B, n_bins, T)."""
    first = windows.starts + shape.crop * shape.bin
    parts = [data.target(str(c), int(s), shape.n_bins, shape.bin) for c, s in zip(windows.chroms, first)]
    return np.stack(parts) if parts else np.empty((0, shape.n_bins, len(data.tracks)), dtype=np.float32)


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
    reverse : bool, or bool array (B,), optional
        Windows to give from the other strand: reverse complement, bins in reverse order, strands swapped.
    jitter : int, or int array (B,), optional
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
    >>> tracks = (Track(name="up", strand="+", partner="down"), Track(name="down", strand="-", partner="up"))
    >>> data, shape = SequenceData(codes, sums, 4, tracks), WindowShape(window=8, bin=4)
    >>> batch(data, np.array(["1"]), np.array([0]), shape)[1].tolist()
    [[[1.0, 0.0], [2.0, 0.5]]]
    >>> codes, targets = batch(data, np.array(["1"]), np.array([0]), shape, reverse=True, jitter=1)
    >>> codes.tolist(), targets.tolist()
    ([[4, 0, 1, 2, 3, 0, 1, 2]], [[[0.5, 2.0], [0.0, 1.0]]])
    """
    n = len(starts)
    flip = np.broadcast_to(np.asarray(False if reverse is None else reverse, dtype=bool), n)
    shift = np.asarray(0 if jitter is None else jitter, dtype=np.int64)
    codes = inputs(data, chroms, starts + shift, shape.window)
    sums = np.empty((n, len(data.tracks), shape.n_bins), dtype=np.float32)
    for out, name, start in zip(sums, chroms.tolist(), starts.tolist()):
        out[:] = data._raw(name, start + shape.crop * shape.bin, shape.n_bins, shape.bin)
    if flip.any() and data._single:
        raise GenopredError(
            f"{len(data._single)} tracks of one strand have no track of the other ({examples(data._single)}), so that "
            "nothing is known of the reverse complement; give its other strand, or train without reverse complement."
        )
    if flip.any():
        codes[flip] = reverse_complement(codes[flip])  # type: ignore[arg-type]
        sums[flip] = sums[flip][:, data.partners, ::-1]
    return codes, data._finish(sums.transpose(0, 2, 1), shape.bin)
