"""Networks of tracks, pooled around the TSS to predict genes."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from genopred.errors import ModelError
from genopred.training.networks.base import TrackNetwork
from genopred.training.networks.cnn import DilatedCnn
from genopred.training.networks.enformer_small import SmallEnformer
from genopred.training.networks.gene import GeneInputs, GeneNetwork, GeneShape, Link
from genopred.training.networks.stem import AttentionPool
from genopred.training.splits import WindowShape

#: enformer-pytorch's own kinds of modules that are not linear.
_OWN = ("AttentionPool", "Attention", "GELU")
#: Width of a bin in bp.
BIN = 128


class Pooled(GeneNetwork):
    """What a network of tracks finds in each bin of 128 bp, pooled by attention that begins around the TSS."""

    trunk_of: ClassVar[type[TrackNetwork]]

    def __init__(self, n_cells: int, shape: GeneShape, sizes: dict[str, Any], link: Link = "identity") -> None:
        super().__init__(n_cells, shape, sizes, link)
        of_tracks = {key: value for key, value in sizes.items() if key != "pool_heads"}
        self.network = self.trunk_of(1, _bins(shape), of_tracks)
        self._widen()
        width = self.network.head.in_features
        self.network.head.requires_grad_(False)  # nothing reads it
        self.pool = AttentionPool(width, sizes["pool_heads"], _bins(shape).n_bins, shape.before, BIN)
        self.finish(width * sizes["pool_heads"])

    def _widen(self) -> None:
        """Make the first layer read the tracks, too."""

    @classmethod
    def check(cls, shape: GeneShape, sizes: dict[str, Any]) -> None:
        cls.trunk_of.check(_bins(shape), sizes)

    @classmethod
    def kept(cls, shape: GeneShape, sizes: dict[str, Any]) -> int:
        return cls.trunk_of.kept(_bins(shape), sizes)

    def tokens(self, inputs: GeneInputs) -> torch.Tensor:
        # with N behind it, up to whole bins
        short = _bins(self.shape).window - inputs.window.shape[1]
        return self._trunk(nn.functional.pad(inputs.window, (0, 0, 0, short)))

    def _trunk(self, filled: torch.Tensor) -> torch.Tensor:
        return self.network.trunk(filled)

    def embed(self, inputs: GeneInputs) -> torch.Tensor:
        return self.pool(self.tokens(inputs))  # type: ignore[no-any-return]


class PooledCnn(Pooled):
    """See `DilatedCnn`."""

    kind = DilatedCnn.kind
    trunk_of = DilatedCnn
    SIZES = {"channels": 32, "layers": 4, "dropout": 0.2, "pool_heads": 2}

    def _widen(self) -> None:
        if self.shape.tracks:
            tower: Any = self.network.tower
            old = tower[0]
            tower[0] = nn.Conv2d(self.shape.channels, old.out_channels, old.kernel_size, padding=old.padding)


class PooledEnformer(Pooled):
    """See `SmallEnformer`."""

    kind = SmallEnformer.kind
    trunk_of = SmallEnformer
    SIZES = SmallEnformer.SIZES | {"dim": 72, "depth": 1, "heads": 2, "dim_divisible_by": 12, "pool_heads": 2}

    @classmethod
    def check(cls, shape: GeneShape, sizes: dict[str, Any]) -> None:
        if shape.tracks:
            raise ModelError(
                f"network.kind {cls.kind!r} reads sequence alone, and [[inputs.tracks]] names {shape.tracks} tracks; "
                "leave them out, or use cnn, hybrid, transformer or dual-path."
            )
        super().check(shape, sizes)

    def __init__(self, n_cells: int, shape: GeneShape, sizes: dict[str, Any], link: Link = "identity") -> None:
        super().__init__(n_cells, shape, sizes, link)
        body: Any = self.network.body
        own = {type(module) for module in body.modules() if type(module).__name__ in _OWN}
        self.integrated = (*self.integrated, *sorted(own, key=lambda kind: kind.__name__))

    def _trunk(self, filled: torch.Tensor) -> torch.Tensor:
        if self.training or not torch.is_grad_enabled():
            return super()._trunk(filled)
        # where it is attributed: module by module, each of which can be gone through
        body: Any = self.network.body
        return body(filled, return_only_embeddings=True)  # type: ignore[no-any-return]


def _bins(shape: GeneShape) -> WindowShape:
    """The window, filled up to whole bins."""
    return WindowShape(-(-shape.window // BIN) * BIN, BIN)
