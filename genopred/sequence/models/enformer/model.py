"""Enformer on many haplotypes of one window, exactly, without doing the same work twice.

The convolutional tower is computed once for each distinct local haplotype (`tower`); the transformer once for each
distinct whole window (`transformer`). The numbers are those of enformer-pytorch's own forward, up to rounding.

Avsec et al. (2021), doi:10.1038/s41592-021-01252-x; enformer-pytorch 0.8.12 is the oracle.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genopred.errors import ModelError, check_choice, examples
from genopred.sequence.haplotypes import VariantWindow
from genopred.sequence.models.base import Indices, SequenceModel, on_device
from genopred.sequence.models.enformer.checkpoint import load_enformer
from genopred.sequence.models.enformer.tower import ExactTower, Work, full_precision, stages
from genopred.sequence.models.enformer.transformer import Transformer, output_bins, predict_exactly, predict_linearly
from genopred.sequence.models.enformer.whole import WholeEnformer
from genopred.sequence.tracks import enformer_tracks

MODES = ("exact", "linear")
DTYPES = ("fp32", "tf32", "bf16")


class EnformerModel(SequenceModel):
    """An Enformer checkpoint as a `SequenceModel`; made by `EnformerModel.load`.

    Attributes
    ----------
    module : enformer_pytorch.Enformer
    last_work : Work or None
        What the latest `predict_haplotypes` took.

    Notes
    -----
    The checkpoint's settings say whether it is `strand_aware` (not by default, as published), and its `reverse_tracks`.
    """

    aggregates = True

    def __init__(self, module: Any, info: Any, tracks: Sequence[str] | None = None, *, head: str = "human") -> None:
        if head not in module._heads:
            raise ModelError(f"{info.source} has no head {head!r}; it has {', '.join(module._heads)}.")
        self.module, self.info, self.head = module, info, head
        self.name = f"enformer:{info.source}"
        self.window = int(info.window)
        self.tss_offset = self.window // 2
        self.strand_aware = bool(info.config.get("strand_aware", False))
        self.checkpoint_hash = info.hash
        self.device = module.stem[0].weight.device
        self._tower = ExactTower(module)
        self.bin_size = self.token_size = 2 ** len(self._tower.stages)
        self.token_reach = self._tower.reach
        self.n_tokens = -(-self.window // self.token_size)
        self.n_bins, _ = output_bins(module, self.n_tokens)
        tower, whole = naive_operations(module, self.window, head)
        self.tower_share = tower / whole
        self.tracks = _track_names(module._heads[head][0].out_features, head, tracks or info.config.get("track_names"))
        if head == "human" and info.config.get("reverse_tracks") is not None:
            self.reverse_tracks = tuple(info.config["reverse_tracks"])
        self.default_batch = 1 if self.device.type == "cpu" else 8
        self.last_work: Work | None = None
        self._transformers: dict[torch.dtype, Transformer] = {}
        self.origin = {
            "model": "enformer",
            "checkpoint": info.source,
            "checkpoint_hash": info.hash,
            "head": head,
            "tf_gamma": info.tf_gamma,
            "tf_gamma_because": info.tf_gamma_because,
        }

    @classmethod
    def load(
        cls, path: str | Path, *,
        device: str = "cpu", tf_gamma: bool | None = None, head: str = "human", window: int | None = None,
    ) -> EnformerModel:  # fmt: skip
        """Load a checkpoint (see `checkpoint.load_enformer`) to a device."""
        module, info = load_enformer(path, tf_gamma=tf_gamma, window=window)
        return cls(on_device(module, device), info, head=head)

    def predict_onehot(self, onehot: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predictions (B, n_bins, T) of one-hot windows (B, L, 4): enformer-pytorch's own forward, one at a time."""
        onehot = np.asarray(onehot)
        self._check_windows(onehot)
        out = np.empty((len(onehot), self.n_bins, len(self.tracks)), dtype=np.float32)
        with torch.inference_mode(), full_precision():
            for row, x in zip(out, onehot):
                row[:] = self.torch_forward(torch.as_tensor(x).to(self.device)[None])[0].float().cpu().numpy()
        return out

    def torch_forward(self, x: torch.Tensor) -> torch.Tensor:
        """See `SequenceModel.torch_forward`: enformer-pytorch's own forward, of one head."""
        training = self.module.training
        self.module.eval()
        try:
            predicted: torch.Tensor = WholeEnformer(self.module, self.head)(x)
            return predicted
        finally:
            self.module.train(training)

    def torch_module(self) -> torch.nn.Module:
        """See `SequenceModel.torch_module`."""
        return WholeEnformer(self.module, self.head).eval()

    def predict_haplotypes(self, window: VariantWindow, **options: Any) -> NDArray[np.float32]:
        """See `SequenceModel.predict_haplotypes`, and `run` for the options; what it took is in `last_work`."""
        predicted, self.last_work = self.run(window, **options)
        return predicted.astype(np.float32, copy=False)

    def run(
        self, window: VariantWindow, *, bins: Indices | None = None, tracks: Indices | None = None,
        batch_size: int | None = None, dtype: str = "fp32", mode: str = "exact", aggregate: str = "none",
    ) -> tuple[NDArray[np.floating], Work]:  # fmt: skip
        """As `predict_haplotypes`, at the module's own precision; and what it took.

        Parameters
        ----------
        dtype : {"fp32", "tf32", "bf16"}
            Of the transformer's matrix products. The tower, done about once, is always at the module's precision.
        mode : {"exact", "linear"}
            `linear` runs the tower exactly and the transformer to first order around the reference, with one backward
            pass for each bin and track.
        aggregate : {"none", "mean", "sum"}
            Of the asked bins, into one. In linear mode this leaves one backward pass a track.
        """
        if len(window.reference) != self.window:
            raise ModelError(f"reference has {len(window.reference):,} bases; {self.name} needs {self.window:,}.")
        check_choice("mode", mode, MODES)
        check_choice("dtype", dtype, DTYPES)
        check_choice("aggregate", aggregate, ("none", "mean", "sum"))
        n_haplotypes, linear = len(window.alleles), mode == "linear"
        if linear:
            used, inverse = window, np.arange(n_haplotypes)
        else:
            first, inverse = window.distinct
            used = window.take(first)
        work = Work(haplotypes=n_haplotypes, windows=1 if linear else len(used.alleles))
        work.naive_tower_operations, work.naive_operations = naive_operations(self.module, self.window, self.head)
        transformer = self._transformer(dtype)
        table, level = self._tower.tokens(used, work)
        picked = self.picked(bins, tracks)
        asked = (torch.from_numpy(picked[0]).to(self.device), torch.from_numpy(picked[1]).to(self.device))
        started = time.perf_counter()
        with full_precision(dtype == "tf32"):
            if linear:
                out = predict_linearly(transformer, table.clone(), level, n_haplotypes, asked, aggregate, work)
            else:
                with torch.inference_mode():
                    out = predict_exactly(transformer, table, level, work.windows, asked, batch_size, work, self.name)
                if aggregate != "none":
                    out = (out.mean if aggregate == "mean" else out.sum)(axis=1, keepdims=True)
        work.seconds_transformer = time.perf_counter() - started
        return out[inverse], work

    def _transformer(self, dtype: str) -> Transformer:
        kind = torch.bfloat16 if dtype == "bf16" else self._tower.dtype
        if kind not in self._transformers:
            self._transformers[kind] = Transformer(self.module, self.n_tokens, self.head, kind)
        return self._transformers[kind]


def naive_operations(module: Any, length: int, head: str = "human") -> tuple[float, float]:
    """Operations of matrix products in one plain pass of enformer-pytorch: its tower, and all of it.

    All heads are counted, as its forward computes all; without the last convolution's and head's cropped bins.
    """
    total, n = 0.0, length
    for _, conv, _, _ in stages(module):
        inputs, outputs, width = conv.in_channels, conv.out_channels, conv.kernel_size[0]
        total += 2.0 * n * inputs * outputs * width + 2.0 * n * outputs**2
        n = (n + 1) // 2
        total += 2.0 * 2 * n * outputs**2
    tower = total
    for block in module.transformer:
        attention, first = block[0].fn[1], block[1].fn[1]
        c, keys, values = attention.to_q.in_features, attention.to_q.out_features, attention.to_v.out_features
        total += 2.0 * n * c * (2 * keys + 2 * values) + 2.0 * 2 * n * c * first.out_features
        total += 2.0 * n * n * (keys + values) + 2.0 * n * (2 * n - 1) * keys
        total += 2.0 * (2 * n - 1) * attention.num_rel_pos_features * keys
    bins, _ = output_bins(module, n)
    conv = module.final_pointwise[1][2]
    total += 2.0 * bins * conv.in_channels * conv.out_channels
    total += sum(2.0 * bins * one[0].in_features * one[0].out_features for one in module._heads.values())
    return tower, total


def _track_names(n: int, head: str, names: Sequence[str] | None) -> tuple[str, ...]:
    if names is not None:
        if len(names) != n:
            raise ModelError(f"{len(names)} track names ({examples(list(names))}) for a head of {n} tracks.")
        return tuple(names)
    if (head, n) == ("human", 5313):
        return tuple(enformer_tracks()["name"].to_list())
    return tuple(f"{head}:{i}" for i in range(n))
