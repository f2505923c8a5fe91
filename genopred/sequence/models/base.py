"""What a sequence model offers to the rest of genopred, and what all models share: batches, strands, devices."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from genopred.errors import GenopredError, ModelError, examples
from genopred.sequence.haplotypes import VariantWindow, window_around
from genopred.types import Interval

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

#: What torch says in a RuntimeError when memory runs out.
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate")

Indices = Sequence[int] | NDArray[np.int64]
Array = TypeVar("Array", bound=NDArray[Any])
Module = TypeVar("Module", bound="torch.nn.Module")


class SequenceModel:
    """Base of all sequence models. One of the user's sets the attributes without a value here, and `predict_onehot`.

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
    default_batch : int
        Windows at a time where the user does not say.
    log_scale : bool
        Whether its tracks are logarithms.
    reverse_tracks : tuple of int, optional
        For each track its partner on the other strand. A strand-aware model that has them predicts along any stretch,
        one that has none only from a TSS.
    device : str or torch.device
    aggregates : bool
        Whether `predict_haplotypes` also takes aggregate="mean" or "sum" and then returns one bin: asked for in linear
        mode, where it saves backward passes.
    token_size : int, optional
        Bases of a token of the shared tower, where it has one. It, `token_reach` (bases before a token's first and
        behind it that it sees) and `tower_share` (the tower's share of a pass) are for the estimate of `--dry-run`.
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

    default_batch: int = 32
    log_scale: bool = False
    reverse_tracks: tuple[int, ...] | None = None
    device: Any = "cpu"
    aggregates: bool = False
    token_size: int | None = None
    token_reach: tuple[int, int] = (0, 0)
    tower_share: float = 0.0

    @property
    def about(self) -> dict[str, Any]:
        """What manifests say of it."""
        named = ("checkpoint_hash", "window", "tss_offset", "bin_size")
        return {"model": self.name, "model_origin": self.origin} | {name: getattr(self, name) for name in named}

    def predict_onehot(self, onehot: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predictions (B, n_bins, T) float32 of one-hot windows (B, L, 4)."""
        raise NotImplementedError

    def torch_forward(self, x: torch.Tensor) -> torch.Tensor:
        """Predictions (1, n_bins, T) of a window (1, L, 4), which can be differentiated."""
        raise ModelError(
            f"{self.name} cannot be differentiated: it has no method torch_forward(x). In-silico mutagenesis needs "
            "none."
        )

    def torch_module(self) -> torch.nn.Module:
        """Its network, which maps windows (B, L, 4) to predictions (B, n_bins, T), in evaluation mode.

        For DeepLIFT its steps that are not linear are modules, not functions. Two things it may have beside `forward`:
        `attention_maps(x)`, a list of (name, weights (B, heads, queries, keys) or (B, heads, positions)), and
        `integrated`, types of its modules that DeepLIFT has no rule for and goes through by integrated gradients.
        """
        raise ModelError(
            f"{self.name} cannot be taken apart: it has no method torch_module(). In-silico mutagenesis needs none."
        )

    def predict_haplotypes(
        self, window: VariantWindow, *, bins: Indices | None = None, tracks: Indices | None = None,
        batch_size: int | None = None, dtype: str = "fp32", mode: str = "exact",
    ) -> NDArray[np.float32]:  # fmt: skip
        """Predictions (H, len(bins), len(tracks)) float32 of the haplotypes of a window.

        Here each distinct one goes through `predict_onehot`; a model that can share work does it its own way.

        Parameters
        ----------
        window : VariantWindow
        bins, tracks : indices, optional
            Which bins and tracks to return; all by default.
        batch_size : int, optional
            Windows at a time; by default chosen by the model.
        dtype : {"fp32", "tf32", "bf16"}
        mode : {"exact", "linear"}
            `linear`: first order around the reference, where the model has it.
        """
        for name, asked, only in (("mode", mode, "exact"), ("dtype", dtype, "fp32")):
            if asked != only:
                raise ModelError(f"--{name} {asked}: {self.name} has only {only}; use --{name} {only}.")
        which_bins, which_tracks = self.picked(bins, tracks)
        first, inverse = window.distinct
        out = np.empty((len(first), len(which_bins), len(which_tracks)), dtype=np.float32)
        start = 0
        for whole in self._batches(window.take(first), batch_size or self.default_batch):
            out[start : start + len(whole)] = whole[:, which_bins][:, :, which_tracks]
            start += len(whole)
        return out[inverse]

    def _batches(self, window: VariantWindow, step: int) -> Iterator[NDArray[np.float32]]:
        """Predictions of all haplotypes of a window, `step` at a time."""
        n = len(window.alleles)
        for start in range(0, n, step):
            yield self.predict_onehot(window.onehot(np.arange(start, min(start + step, n))))

    def picked(self, bins: Indices | None, tracks: Indices | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of bins and tracks, all by default; GenopredError where the model has no such."""
        out = []
        for name, wanted, n in (("bins", bins, self.n_bins), ("tracks", tracks, len(self.tracks))):
            which = np.arange(n) if wanted is None else np.asarray(wanted, dtype=np.int64).reshape(-1)
            bad = which[(which < 0) | (which >= n)].tolist()
            if bad or not len(which):
                raise GenopredError(
                    f"{name}: {len(bad)} of {len(which)} are not in 0 to {n - 1} ({examples(bad) or 'none given'})."
                )
            out.append(which)
        return out[0], out[1]

    def _check_windows(self, onehot: NDArray[Any]) -> None:
        if onehot.ndim != 3 or onehot.shape[1:] != (self.window, 4):
            raise ModelError(f"{self.name}: windows have shape {onehot.shape}; needed (B, {self.window}, 4).")

    def reads_reverse(self, strand: str) -> bool:
        """Whether a gene on this strand is read as the reverse complement."""
        return self.strand_aware and strand == "-"

    def gene_window(self, chrom: str, tss: int, strand: str) -> Interval:
        """The window that the model needs for a gene; `tss` is 1-based."""
        return window_around(chrom, tss, self.window, self.tss_offset, reverse=self.reads_reverse(strand))

    @property
    def reads_either_strand(self) -> bool:
        """Whether a sequence and its reverse complement are both input of the kind that it was trained on."""
        return not self.strand_aware or self.reverse_tracks is not None

    def over_strands(
        self, strands: str, read: Callable[[bool, NDArray[np.int64], NDArray[np.int64]], Array], bins: Indices,
        tracks: Indices,
    ) -> Array:  # fmt: skip
        """What `read(other, bins, tracks)` gives of the strand as given (`model`), or its mean over `both`.

        Of the reverse complement (`other`) it is asked for the bins that lie in the same places and for the tracks'
        partners.
        """
        which_bins, which_tracks = np.asarray(bins, dtype=np.int64), np.asarray(tracks, dtype=np.int64)
        own = read(False, which_bins, which_tracks)
        if strands != "both":
            return own
        partners = np.arange(len(self.tracks)) if self.reverse_tracks is None else np.asarray(self.reverse_tracks)
        other = read(True, self.n_bins - 1 - which_bins, partners[which_tracks])
        return (own + other) / 2  # type: ignore[return-value]


def halving(run: Callable[[int | None], Array], batch: int | None, default: int, name: str) -> tuple[Array, int | None]:
    """Run, and when memory runs out run again with half the batch; what it gave, and the batch with which it ran.

    `run` is given the number of windows at a time, or None to choose by itself, which is taken for `default` when
    memory runs out. ModelError if one window at a time of the model called `name` is too much.
    """
    while True:
        try:
            return run(batch), batch
        except (MemoryError, RuntimeError) as bad:
            said = str(bad).lower()
            if not isinstance(bad, MemoryError) and not any(text in said for text in _OUT_OF_MEMORY):
                raise
            now = batch or default
            if now <= 1:
                raise ModelError(
                    f"{name}: out of memory with one window at a time. Use a machine with more memory, fewer --tracks, "
                    "--dtype bf16, or another --device."
                ) from None
            batch = now // 2
            log.warning("%s: out of memory with %d windows at a time, trying %d", name, now, batch)
        # outside the handler, where the failed call's tensors are no longer held by its traceback
        gc.collect()
        loaded = sys.modules.get("torch")
        if loaded is not None and loaded.cuda.is_available():
            loaded.cuda.empty_cache()


def devices(device: str, *, several: bool = False) -> list[str]:
    """`auto`: every GPU (or the first), else the CPU; or names between commas. GenopredError where one is not there."""
    import torch

    if device == "auto":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return [f"cuda:{i}" for i in range(count if several else min(count, 1))] or ["cpu"]
    names = [name.strip() for name in device.split(",") if name.strip()] if several else [device]
    for name in names:
        try:
            kind = torch.device(name)
        except RuntimeError:
            known = "cuda:0,cuda:1" if several else "cuda:0"
            raise GenopredError(f"--device {name}: not a device; use auto, cpu, or {known}.") from None
        if kind.type == "cuda" and (kind.index or 0) >= torch.cuda.device_count():
            raise GenopredError(
                f"--device {name}: torch sees {torch.cuda.device_count()} CUDA devices; use --device cpu, or install a "
                "torch with CUDA."
            )
    return names or ["cpu"]


def as_tensor(onehot: NDArray[np.float32], device: Any) -> torch.Tensor:
    """One-hot sequences on a device."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(onehot, dtype=np.float32)).to(device)


def on_device(module: Module, device: str) -> Module:
    """A module on a device; ModelError where it is not there."""
    import torch

    try:
        return module.to(torch.device(device))
    except (RuntimeError, AssertionError) as bad:
        raise ModelError(f"--device {device}: {str(bad).splitlines()[0]}; use --device cpu.") from bad
