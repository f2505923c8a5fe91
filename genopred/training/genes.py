"""Genes: the sequence around each TSS, what is measured along it and of it, and which genes are for what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

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
