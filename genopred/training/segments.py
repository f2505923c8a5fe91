"""Distal segments of genes: chosen by their contacts, and kept off what another part of a split reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.sequence.onehot import N_CODE
from genopred.training.genes import GeneData, GeneSplit
from genopred.training.splits import SPLITS

#: A base that two parts would read is taken from the earlier one here, so that what is tested is read in full.
_GIVES_WAY = SPLITS


def choose_segments(
    genes: pl.DataFrame, contacts: pl.DataFrame, *, segments: int, segment: int, nearest: int, farthest: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The segments of each gene that are most in contact with its TSS.

    A contact counts where one of its ends holds the TSS; the segment is `segment` bp around the middle of the other.
    Contacts with one place add up. The strongest come first; of equal ones the nearer, then those before the TSS.

    Parameters
    ----------
    genes : polars.DataFrame
        Columns of `genopred.training.genes.GENE_SCHEMA`.
    contacts : polars.DataFrame
        chrom, start1, end1, start2, end2 (0-based half-open), weight above 0.
    segments, segment : int
        The most of a gene, and their length.
    nearest, farthest : int
        Distances in bp from the TSS between which the middle of a segment lies; it is outside the gene's window.

    Returns
    -------
    places : int array, shape (G, segments, 2)
        0-based half-open; -1 where there is none.
    weights : float32 array, shape (G, segments)
        They add up to 1 for a gene that has any.
    """
    places = np.full((genes.height, segments, 2), -1, dtype=np.int64)
    weights = np.zeros((genes.height, segments), dtype=np.float32)
    by_chrom = {key[0]: part for key, part in contacts.group_by("chrom", maintain_order=True)}
    ends = {chrom: [part[name].to_numpy() for name in contacts.columns[1:]] for chrom, part in by_chrom.items()}
    for row, (chrom, tss, strand, start, end) in enumerate(
        genes.select("chrom", "tss", "strand", "start", "end").iter_rows()
    ):
        if chrom not in ends:
            continue
        a1, b1, a2, b2, weight = ends[chrom]
        first, second = (a1 < tss) & (tss <= b1), (a2 < tss) & (tss <= b2)
        left = np.concatenate([a2[first], a1[second]])
        begins = (left + np.concatenate([b2[first], b1[second]]) - segment) // 2
        begins, group = np.unique(begins, return_inverse=True)
        if not len(begins):
            continue
        total = np.bincount(group, np.concatenate([weight[first], weight[second]]))
        # from the middle of the TSS' base, so that both directions count alike
        away = begins + segment / 2 - (tss - 0.5)
        far = np.abs(away)
        outside = (begins + segment <= start) | (begins >= end)
        kept = np.flatnonzero((far >= nearest) & (far <= farthest) & outside & (begins >= 0))
        order = np.lexsort((away[kept] if strand != "-" else -away[kept], far[kept], -total[kept]))
        kept = kept[order][:segments]
        if len(kept):
            places[row, : len(kept)] = np.stack([begins[kept], begins[kept] + segment], axis=1)
            weights[row, : len(kept)] = total[kept] / total[kept].sum()
    return places, weights


def kept_apart(data: GeneData, split: GeneSplit) -> tuple[GeneData, int]:
    """Genes without the distal segments that another part of the split reads, and how many segments those are.

    A segment of a training gene is taken away where it overlaps a window or a segment of a validation or test gene; one
    of a validation gene where it overlaps a window of a training gene, or anything of a test gene; one of a test gene
    where it overlaps a window of another part. So no base that is read of a test gene is read of any other. The weights
    of the others add up to 1 again. A random split keeps nothing apart.

    Parameters
    ----------
    data : GeneData
    split : GeneSplit

    Returns
    -------
    GeneData, int
    """
    if data.segments is None or data.places is None or data.weights is None or split.by == "random":
        return data, 0
    places = data.places
    chroms = data.genes["chrom"].to_numpy()
    windows = data.genes.select("start", "end").to_numpy() + np.array([-data.flank, data.flank])
    gone = np.zeros(places.shape[:2], dtype=bool)
    present = places[..., 0] >= 0
    # what gives way last first, so that a segment that is gone takes nothing from others
    for part in reversed(_GIVES_WAY):
        mine = split.part == part
        others = [np.flatnonzero((split.part != part) & (split.part != ""))]
        later = np.isin(split.part, _GIVES_WAY[_GIVES_WAY.index(part) + 1 :])
        for chrom in np.unique(chroms[mine]):
            here = chroms == chrom
            read = [windows[here & np.isin(np.arange(len(chroms)), others[0])]]
            kept = (here & later)[:, None] & present & ~gone
            read.append(places[kept])
            rows = np.flatnonzero(here & mine)
            gone[rows] |= _overlap(places[rows], np.concatenate(read)) & present[rows]
    if not gone.any():
        return data, 0
    segments, weights, where = data.segments.copy(), data.weights.copy(), places.copy()
    segments[gone], weights[gone], where[gone] = N_CODE, 0, -1
    total = weights.sum(axis=1, keepdims=True)
    weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    tracks = data.segment_tracks
    if tracks is not None:
        tracks = tracks.copy()
        tracks[gone] = 0
    changed = {"segments": segments, "weights": weights, "places": where, "segment_tracks": tracks}
    return replace(data, **changed), int(gone.sum())  # type: ignore[arg-type]


def _overlap(places: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each of some intervals (..., 2) overlaps any of the others (M, 2)."""
    if not len(others):
        return np.zeros(places.shape[:-1], dtype=bool)
    starts, ends = np.sort(others[:, 0]), np.sort(others[:, 1])
    # of all that start before its end, not all end at or before its start
    return np.searchsorted(starts, places[..., 1], side="left") > np.searchsorted(ends, places[..., 0], side="right")
