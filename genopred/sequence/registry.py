"""One name or path -> a sequence model, whatever library made it.

A model is anything with the attributes and the two methods of `SequenceModel`. Three come with genopred
(`enformer`, `xpresso`, and checkpoints that genopred trained); a package of the user's adds its own through
the entry point group `genopred.models`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from genopred.errors import ModelError, examples
from genopred.sequence.haplotypes import distinct_rows, haplotype_onehot

#: Entry point group in which other packages register `loader(path: str | None, **options) -> SequenceModel`.
GROUP = "genopred.models"


@runtime_checkable
class SequenceModel(Protocol):
    """What a model offers to the rest of genopred.

    Attributes
    ----------
    name : str
        As the user calls it, e.g. `xpresso:GM12878`.
    window : int
        Length L of its input in bp.
    tss_offset : int
        0-based place of the TSS base within the window, read in the direction the model reads.
    strand_aware : bool
        True: a gene on the reverse strand is given as the reverse complement. False: always the forward strand.
    bin_size, n_bins : int
        Its output: `n_bins` bins of `bin_size` bp, centred in the window.
    tracks : tuple of str
        T unique names.
    checkpoint_hash : str
        SHA-256 of the weights: two checkpoints with the same hash predict the same.
    origin : dict
        Where it came from, as it goes into manifests.
    """

    name: str
    window: int
    tss_offset: int
    strand_aware: bool
    bin_size: int
    n_bins: int
    tracks: tuple[str, ...]
    checkpoint_hash: str
    origin: dict[str, Any]

    def predict_onehot(self, onehot: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predictions (B, n_bins, T) float32 of one-hot windows (B, L, 4)."""
        ...

    def predict_haplotypes(
        self,
        reference: NDArray[np.float32],
        sites: NDArray[np.int64],
        ref_codes: NDArray[np.int8],
        alt_codes: NDArray[np.int8],
        alleles: NDArray[np.int8],
        *,
        bins: Sequence[int] | NDArray[np.int64] | None = None,
        tracks: Sequence[int] | NDArray[np.int64] | None = None,
        batch_size: int | None = None,
        dtype: str = "fp32",
        mode: str = "exact",
    ) -> NDArray[np.float32]:
        """Predictions (H, len(bins), len(tracks)) float32 of H haplotypes of one window.

        Parameters
        ----------
        reference : array, shape (L, 4)
            One-hot reference, A C G T, N all zero.
        sites : array, shape (V,)
            Offsets in the window, ascending. A site may repeat (several ALT alleles, or a multi-base
            substitution beside a SNV); then at most one of the repeats is 1 in any haplotype, or two are 2.
        ref_codes, alt_codes : array, shape (V,)
            0 A, 1 C, 2 G, 3 T. `reference` holds `ref_codes` at `sites`.
        alleles : array, shape (H, V)
            0 REF, 1 ALT, 2 the mean of the two one-hot bases (a heterozygous site of unknown phase): the input
            is reference + sum of weight × (ALT − REF), weight 1 or ½. Rows need not be distinct.
        bins, tracks : indices, optional
            Which bins and tracks to return; all by default.
        batch_size : int, optional
            Windows at a time; by default chosen by the model.
        dtype : {"fp32", "tf32", "bf16"}
        mode : {"exact", "linear"}
            `linear`: first order around the reference, where the model has it.
        """
        ...


class WholeWindowModel:
    """Base of models without a shared tower: distinct windows once, in batches, through `predict_onehot`.

    A user's own model needs the attributes of `SequenceModel` and `predict_onehot`; the rest is here.
    `default_batch` may be set to what fits.
    """

    window: int
    n_bins: int
    tracks: tuple[str, ...]
    default_batch: int = 32

    def predict_onehot(self, onehot: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predictions (B, n_bins, T) of one-hot windows (B, L, 4)."""
        raise NotImplementedError

    def predict_haplotypes(
        self,
        reference: NDArray[np.float32],
        sites: NDArray[np.int64],
        ref_codes: NDArray[np.int8],
        alt_codes: NDArray[np.int8],
        alleles: NDArray[np.int8],
        *,
        bins: Sequence[int] | NDArray[np.int64] | None = None,
        tracks: Sequence[int] | NDArray[np.int64] | None = None,
        batch_size: int | None = None,
        dtype: str = "fp32",
        mode: str = "exact",
    ) -> NDArray[np.float32]:
        """See `SequenceModel.predict_haplotypes`."""
        self._only_exact(mode, dtype)
        which_bins = np.arange(self.n_bins) if bins is None else np.asarray(bins, dtype=np.int64)
        which_tracks = np.arange(len(self.tracks)) if tracks is None else np.asarray(tracks, dtype=np.int64)
        first, inverse = distinct_rows(alleles)
        step = batch_size or self.default_batch
        out = np.empty((len(first), len(which_bins), len(which_tracks)), dtype=np.float32)
        for start in range(0, len(first), step):
            rows = alleles[first[start : start + step]]
            whole = self.predict_onehot(haplotype_onehot(reference, sites, ref_codes, alt_codes, rows))
            out[start : start + len(rows)] = whole[:, which_bins][:, :, which_tracks]
        return out[inverse]

    def _only_exact(self, mode: str, dtype: str) -> None:
        if mode != "exact":
            raise ModelError(f"--mode {mode}: {type(self).__name__} has only exact; use --mode exact.")
        if dtype != "fp32":
            raise ModelError(f"--dtype {dtype}: {type(self).__name__} has only fp32; use --dtype fp32.")
