"""Genes: the sequence around each TSS, what is measured along it and of it, and which genes are for what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike, NDArray

from genopred.sequence.onehot import reverse_complement
from genopred.training.bases import onehot_on
from genopred.training.networks.gene import GeneInputs

#: Columns of `GeneData.genes`: tss is 1-based, start and end are the window on the genome, 0-based half-open.
GENE_SCHEMA: dict[str, Any] = {
    "gene_id": pl.String,
    "gene": pl.String,
    "chrom": pl.String,
    "tss": pl.Int64,
    "strand": pl.String,
    "start": pl.Int64,
    "end": pl.Int64,
}


@dataclass(frozen=True)
class GeneData:
    """G genes and their expression in C cell types.

    Attributes
    ----------
    genes : polars.DataFrame
        Columns of `GENE_SCHEMA`.
    cells : tuple of str
        C names.
    measured : array, shape (G, C)
        As given, in `unit`; NaN where missing.
    unit : str
    codes : uint8 array, shape (G, flank + L + flank)
        0 A, 1 C, 2 G, 3 T, 4 N, in the gene's direction; N beyond a chromosome's ends.
    flank : int
        Bases at both ends that are there for windows that are shifted.
    tracks : float32 array, shape (G, K, n), optional
        Signal along the window and its flanks, as means of `step` bp, in the gene's direction.
    track_names : tuple of str
    step : int
    segments : uint8 array, shape (G, D, S), optional
        Distal segments in codes, in the gene's direction; N where a gene has fewer.
    segment_tracks : float32 array, shape (G, D, K, n), optional
    weights : float32 array, shape (G, D), optional
        Of the contacts; 0 where there is none.
    places : int array, shape (G, D, 2), optional
        Where the segments lie on the gene's chromosome, 0-based half-open; -1 where there is none.
    families : array of str, shape (G,), optional
        The family of each gene; empty where it has none.
    bases : array, shape (G,), optional
        Of exons, for counts per kilobase.
    lengths : dict of str to int
        Of the chromosomes, in bp.
    """

    genes: pl.DataFrame
    cells: tuple[str, ...]
    measured: NDArray[np.float32]
    unit: str
    codes: NDArray[np.uint8]
    flank: int = 0
    tracks: NDArray[np.float32] | None = None
    track_names: tuple[str, ...] = ()
    step: int = 1
    segments: NDArray[np.uint8] | None = None
    segment_tracks: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] | None = None
    places: NDArray[np.int64] | None = None
    families: NDArray[np.str_] | None = None
    bases: NDArray[np.float64] | None = None
    lengths: dict[str, int] = field(default_factory=dict)

    @property
    def window(self) -> int:
        """Bases around a TSS, without the flanks."""
        return self.codes.shape[1] - 2 * self.flank


@dataclass(frozen=True)
class GeneSplit:
    """Which genes are for what.

    Attributes
    ----------
    by : str
        `block`, `chromosome` or `random`.
    part : array of str, shape (G,)
        `train`, `validation`, `test`, or empty for a gene that is left out.
    block : array of int, shape (G,)
        Genes of one block are drawn together for intervals.
    why : array of str, shape (G,)
        Why a gene is left out.
    """

    by: str
    part: NDArray[np.str_]
    block: NDArray[np.int64]
    why: NDArray[np.str_]

    def rows(self, name: str) -> NDArray[np.int64]:
        """Rows of the genes of one part."""
        return np.flatnonzero(self.part == name)


def gene_arrays(
    data: GeneData, rows: NDArray[np.int64], shift: ArrayLike = 0, reverse: ArrayLike = False
) -> tuple[NDArray[Any] | None, ...]:
    """What is read of some genes.

    Parameters
    ----------
    data : GeneData
    rows : int array (B,)
    shift : int, or int array (B,)
        Bases by which windows are moved in the gene's direction, at most `data.flank` either way.
    reverse : bool, or bool array (B,)
        Genes of which window and segments are given as the other strand reads them.

    Returns
    -------
    codes : uint8 array (B, L)
    tracks : float32 array (B, L, K), or None
        log(1 + signal) at each base.
    segments : uint8 array (B, D, S), or None
    segment_tracks : float32 array (B, D, S, K), or None
    weights : float32 array (B, D), or None

    Examples
    --------
    >>> genes = pl.DataFrame(schema=GENE_SCHEMA)
    >>> codes = np.array([[0, 1, 2, 3, 0]], dtype=np.uint8)
    >>> data = GeneData(genes, ("a",), np.zeros((1, 1), np.float32), "tpm", codes, flank=1)
    >>> row = np.array([0])
    >>> gene_arrays(data, row, shift=1)[0].tolist(), gene_arrays(data, row, reverse=True)[0].tolist()
    ([[2, 3, 0]], [[0, 1, 2]])
    """
    n, length = len(rows), data.window
    at = data.flank + np.broadcast_to(np.asarray(shift, dtype=np.int64), n)
    flip = np.broadcast_to(np.asarray(reverse, dtype=bool), n)
    where = at[:, None] + np.arange(length)
    codes = data.codes[rows[:, None], where]
    codes[flip] = reverse_complement(codes[flip])
    tracks = segments = segment_tracks = weights = None
    if data.tracks is not None:
        tracks = np.log1p(data.tracks[rows[:, None], :, where // data.step])
        tracks[flip] = tracks[flip, ::-1]
    if data.segments is not None and data.weights is not None:
        segments, weights = data.segments[rows], data.weights[rows]
        segments[flip] = reverse_complement(segments[flip])
        if data.segment_tracks is not None:
            step = np.arange(segments.shape[2]) // data.step
            segment_tracks = np.log1p(data.segment_tracks[rows][..., step].transpose(0, 1, 3, 2))
            segment_tracks[flip] = segment_tracks[flip, :, ::-1]
    return codes, tracks, segments, segment_tracks, weights


def gene_inputs(arrays: tuple[NDArray[Any] | None, ...], device: torch.device) -> GeneInputs:
    """`gene_arrays` as a network takes them; a segment that is all N has the weight 0."""
    codes, tracks, segments, segment_tracks, weights = arrays
    window = _onehot(codes, tracks, device)
    if segments is None:
        return GeneInputs(window)
    return GeneInputs(window, _onehot(segments, segment_tracks, device), torch.from_numpy(weights).to(device))


def _onehot(codes: NDArray[Any] | None, tracks: NDArray[Any] | None, device: torch.device) -> torch.Tensor:
    """(..., 4 + K) float32; N is zero."""
    bases = onehot_on(codes, device)  # type: ignore[arg-type]
    if tracks is None:
        return bases
    return torch.cat([bases, torch.from_numpy(np.ascontiguousarray(tracks)).to(device)], dim=-1)
