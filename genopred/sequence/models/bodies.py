"""What of a sequence model is tuned on people: its network without the output, in two parts.

The first part is what `model.tune = "head"` freezes and `plan`, `begin` compute once for all haplotypes of a window;
the second part and the head follow for each. For every model of the registry there is one: the small and the published
Enformer, Xpresso, the `cnn` of `genopred train`, and whatever else gives its network.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from genopred.errors import GenopredError, ModelError
from genopred.sequence.haplotypes import VariantWindow
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.models.config import check_sizes, enformer_class


@dataclass(frozen=True)
class Begun:
    """The first part's results: `table` (R, ...), and which of its rows each haplotype has, (D,) or (D, n)."""

    table: torch.Tensor
    index: torch.Tensor | None = None

    def rows(self) -> torch.Tensor:
        """What the second part gets, a row a haplotype."""
        return self.table if self.index is None else self.table[self.index]

    def take(self, low: int, high: int) -> Begun:
        """Some of the haplotypes."""
        return Begun(self.table[low:high]) if self.index is None else Begun(self.table, self.index[low:high])

    def detached(self) -> Begun:
        """The same without a way back."""
        return Begun(self.table.detach(), self.index)


class Body(nn.Module):
    """Base of all bodies. A kind has `kind`, `settings` (of which `rebuilt` makes it) and the two parts.

    Attributes
    ----------
    window, tss_offset : int
    strand_aware : bool
        As of a `SequenceModel`.
    width : int
        Numbers a haplotype that the second part gives.
    shares : bool
        Whether `begin` does what haplotypes have in common once.
    """

    kind: ClassVar[str]
    shares: ClassVar[bool] = True
    width: int
    settings: dict[str, Any]

    def __init__(self, window: int, tss_offset: int, strand_aware: bool) -> None:
        super().__init__()
        self.window, self.tss_offset, self.strand_aware = int(window), int(tss_offset), bool(strand_aware)

    @classmethod
    def fits(cls, model: SequenceModel) -> bool:
        """Whether this is the body of such a model."""
        raise NotImplementedError

    @classmethod
    def of(cls, model: SequenceModel, spec: str, *, bins: int, window: int) -> Body:
        """That of a model."""
        raise NotImplementedError

    @classmethod
    def rebuilt(cls, settings: dict[str, Any], **place: Any) -> Body:
        """One of these settings, whose weights are to be filled in."""
        raise NotImplementedError

    def plan(self, window: VariantWindow) -> Any:
        """What is needed of a window, which does not depend on weights."""
        raise NotImplementedError

    def begin(self, plan: Any) -> Begun:
        """The first part, of the haplotypes of a window."""
        raise NotImplementedError

    def begin_windows(self, onehot: torch.Tensor) -> Begun:
        """The first part, of windows (B, L, 4)."""
        raise NotImplementedError

    def end(self, rows: torch.Tensor) -> torch.Tensor:
        """The second part, (D, width): what the model predicts of its tracks, then a last layer's input."""
        raise NotImplementedError

    def first_part(self) -> list[nn.Module]:
        """Modules of the first part."""
        raise NotImplementedError

    def guess(self, tracks: Sequence[int]) -> torch.Tensor:
        """Weights (width,) with which the head says what the model says of some of its tracks."""
        out = torch.zeros(self.width)
        out[list(tracks)] = 1.0 / len(tracks)
        return out

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def draw(self) -> None:
        """Draw all weights anew."""
        for module in self.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()


def _own_window(model: SequenceModel, window: int) -> dict[str, Any]:
    """Window, TSS and strands of a model whose window is what it is."""
    if window != model.window:
        raise ModelError(
            f"data.window = {window:,}: {model.name} reads {model.window:,} bp and no other window; leave it out."
        )
    return {"window": window, "tss_offset": model.tss_offset, "strand_aware": model.strand_aware}


def _middle(tss_offset: int, size: int, bins: int, most: int, said: str) -> list[int]:
    """`bins` bins of a size around that of the TSS."""
    first = tss_offset // size - bins // 2
    if bins % 2 == 0 or first < 0 or first + bins > most:
        raise GenopredError(f"model.bins = {bins}: {said}; needed an odd number that fits around the TSS.")
    return list(range(first, first + bins))


class EnformerBody(Body):
    """Enformer's tower, level by level on distinct local haplotypes; then its transformer and all behind it."""

    kind = "enformer"

    def __init__(self, module: Any, head: str, bins: Sequence[int], settings: dict[str, Any], **place: Any) -> None:
        super().__init__(**place)
        self.module, self.head, self.bins, self.settings = module, head, list(bins), settings
        self.n_tracks = int(module._heads[head][0].out_features)
        self.width = self.n_tracks + int(module._heads[head][0].in_features)

    @classmethod
    def fits(cls, model: SequenceModel) -> bool:
        return hasattr(getattr(model, "module", None), "conv_tower") and hasattr(model, "info")

    @classmethod
    def of(cls, model: Any, spec: str, *, bins: int, window: int) -> EnformerBody:
        size = int(model.bin_size)
        if window > model.window or window % (2 * size):
            raise ModelError(
                f"data.window = {window:,}: {model.name} reads up to {model.window:,} bp; needed a multiple of "
                f"{2 * size} up to that."
            )
        picked = _middle(window // 2, size, bins, window // size, f"the window has {window // size} bins of {size} bp")
        hparams = {key: value for key, value in model.module.config.to_dict().items() if key in _HPARAMS}
        settings = {"head": model.head, "bins": picked, "network": hparams}
        place = {"window": window, "tss_offset": window // 2, "strand_aware": model.strand_aware}
        return cls(_copied(model.module), model.head, picked, settings, **place)

    @classmethod
    def rebuilt(cls, settings: dict[str, Any], **place: Any) -> EnformerBody:
        check_sizes(settings["network"], "body.network")
        module = enformer_class().from_hparams(**settings["network"])
        return cls(module, settings["head"], settings["bins"], settings, **place)

    def plan(self, window: VariantWindow) -> Any:
        from genopred.sequence.models.enformer.shared import plan

        return plan(self.module, window)

    def begin(self, plan: Any) -> Begun:
        from genopred.sequence.models.enformer.shared import shared_tokens

        return Begun(shared_tokens(self.module, plan), plan.index.to(self.device))

    def begin_windows(self, onehot: torch.Tensor) -> Begun:
        return Begun(self.module.conv_tower(self.module.stem(onehot.transpose(1, 2))).transpose(1, 2))

    def end(self, rows: torch.Tensor) -> torch.Tensor:
        tokens = self.module.transformer(rows)[:, self.bins]
        hidden = self.module.final_pointwise(tokens)
        tracks = torch.log1p(self.module._heads[self.head](hidden))
        return torch.cat([tracks, hidden], dim=2).mean(dim=1)

    def first_part(self) -> list[nn.Module]:
        return [self.module.stem, self.module.conv_tower]

    def draw(self) -> None:
        """Draw all weights anew, as enformer-pytorch does."""
        self.module.load_state_dict(enformer_class().from_hparams(**self.settings["network"]).state_dict())


#: Settings of enformer-pytorch that make its network.
_HPARAMS = (
    "dim depth heads output_heads target_length attn_dim_key dropout_rate attn_dropout pos_dropout num_downsamples "
    "dim_divisible_by use_tf_gamma"
).split()


def _copied(module: Any) -> Any:
    """A module of one's own, all of whose weights can be learned."""
    return copy.deepcopy(module).requires_grad_(True)


class XpressoBody(Body):
    """Xpresso's first convolution on distinct segments, its second one; then its dense layers."""

    kind = "xpresso"

    def __init__(self, network: Any, settings: dict[str, Any], **place: Any) -> None:
        super().__init__(**place)
        self.network, self.settings = network, settings
        # its one output, and its first dense layer's; the second one has two numbers only, which easily fall silent
        self.width = 1 + int(network.dense[0].out_features)

    @classmethod
    def fits(cls, model: SequenceModel) -> bool:
        return type(model).__name__ == "XpressoModel"

    @classmethod
    def of(cls, model: Any, spec: str, *, bins: int, window: int) -> XpressoBody:
        place = _own_window(model, window)
        shapes = {key: list(value.shape) for key, value in model.weights.items()}
        settings = {"pools": list(model.pools), "shapes": shapes}
        return cls(_copied(model.torch_module()), settings, **place)

    @classmethod
    def rebuilt(cls, settings: dict[str, Any], **place: Any) -> XpressoBody:
        from genopred.sequence.models.xpresso import XpressoNetwork

        shapes = settings["shapes"]
        if sum(math.prod(shape) for shape in shapes.values()) > _MOST_WEIGHTS:
            raise ValueError(f"its shapes come to more than {_MOST_WEIGHTS:,} weights")
        weights = {key: torch.zeros([int(n) for n in shape]) for key, shape in shapes.items()}
        network = XpressoNetwork(weights, tuple(settings["pools"])).requires_grad_(True)  # type: ignore[arg-type]
        return cls(network, settings, **place)

    def plan(self, window: VariantWindow) -> Any:
        from genopred.sequence.models.xpresso import distinct_segments

        pool, size = int(self.settings["pools"][0]), int(self.settings["shapes"]["conv1.kernel"][0])
        segments, row_of = distinct_segments(window, self.window, pool, size)
        return torch.from_numpy(segments), torch.from_numpy(row_of)

    def begin(self, plan: Any) -> Begun:
        segments, row_of = (part.to(self.device) for part in plan)
        # the segments hold what the padding would have been at the window's ends
        found = torch.relu(self.network.tower[1](segments.transpose(1, 2))).amax(dim=2)
        return Begun(self._second(found[row_of]))

    def begin_windows(self, onehot: torch.Tensor) -> Begun:
        return Begun(self._second(self.network.tower[:4](onehot.transpose(1, 2)).transpose(1, 2)))

    def _second(self, pooled: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network.tower[4:](pooled.transpose(1, 2)).transpose(1, 2).flatten(1)
        return found

    def end(self, rows: torch.Tensor) -> torch.Tensor:
        hidden = self.network.dense[:2](rows)
        return torch.cat([self.network.dense[2:](hidden), hidden], dim=1)

    def first_part(self) -> list[nn.Module]:
        return [self.network.tower]


_MOST_WEIGHTS = 100_000_000


class _WindowBody(Body):
    """A body that gets whole windows: nothing is shared between haplotypes that differ anywhere."""

    shares = False

    def plan(self, window: VariantWindow) -> Any:
        return window

    def begin(self, plan: Any) -> Begun:
        return self.begin_windows(torch.from_numpy(plan.onehot()).to(self.device))


class CnnBody(_WindowBody):
    """The `cnn` of `genopred train`: its convolutions down to bins; then those among bins."""

    kind = "cnn"

    def __init__(self, network: Any, bins: Sequence[int], settings: dict[str, Any], **place: Any) -> None:
        super().__init__(**place)
        self.network, self.bins, self.settings = network, list(bins), settings
        self.width = int(network.head.out_features + network.head.in_features)

    @classmethod
    def fits(cls, model: SequenceModel) -> bool:
        network: Any = getattr(model, "network", None)
        # one of genes has the same name, and no bins
        return getattr(network, "kind", None) == "cnn" and hasattr(network.shape, "bin")

    @classmethod
    def of(cls, model: Any, spec: str, *, bins: int, window: int) -> CnnBody:
        place = _own_window(model, window)
        network = model.network
        whole = network.shape.window // network.shape.bin
        picked = _middle(model.tss_offset, network.shape.bin, bins, whole, f"the window has {whole} bins")
        shape = {key: getattr(network.shape, key) for key in ("window", "bin", "crop")}
        training = {"data": shape, "network": {"kind": network.kind} | dict(network.sizes)}
        settings = {"bins": picked, "training": training, "track_names": list(model.tracks)}
        return cls(_copied(network), picked, settings, **place)

    @classmethod
    def rebuilt(cls, settings: dict[str, Any], **place: Any) -> CnnBody:
        # a network is rebuilt from its class, which stands where it is trained
        from genopred.training.store import unfilled

        return cls(unfilled(settings), settings["bins"], settings, **place)

    def begin_windows(self, onehot: torch.Tensor) -> Begun:
        return Begun(self.network.tower(onehot.transpose(1, 2).unsqueeze(2)))

    def end(self, rows: torch.Tensor) -> torch.Tensor:
        for layer in self.network.dilated:
            rows = rows + layer(rows)
        hidden = rows[:, :, 0, self.bins].transpose(1, 2)
        tracks = torch.log1p(nn.functional.softplus(self.network.head(hidden)))
        return torch.cat([tracks, hidden], dim=2).mean(dim=1)

    def first_part(self) -> list[nn.Module]:
        return [self.network.tower]


class OtherBody(_WindowBody):
    """Any model that gives its network: all of it is the first part, and what it predicts is what the head sees."""

    kind = "other"

    def __init__(self, module: nn.Module, bins: Sequence[int], settings: dict[str, Any], **place: Any) -> None:
        super().__init__(**place)
        self.module, self.bins, self.settings = module, list(bins), settings
        self.width = int(settings["tracks"])

    @classmethod
    def fits(cls, model: SequenceModel) -> bool:
        try:
            return isinstance(model.torch_module(), nn.Module)
        except ModelError:
            return False

    @classmethod
    def of(cls, model: SequenceModel, spec: str, *, bins: int, window: int) -> OtherBody:
        from genopred.sequence.features import central_bins

        place = _own_window(model, window)
        picked = central_bins(model, bins if model.n_bins > 1 else 1).tolist()
        settings = {"start": spec, "bins": picked, "tracks": len(model.tracks), "logs": bool(model.log_scale)}
        return cls(_copied(model.torch_module()), picked, settings, **place)

    @classmethod
    def rebuilt(cls, settings: dict[str, Any], **place: Any) -> OtherBody:
        from genopred.sequence.models.registry import load_model

        module = _copied(load_model(str(settings["start"]), said="body.start").torch_module())
        return cls(module, settings["bins"], settings, **place)

    def begin_windows(self, onehot: torch.Tensor) -> Begun:
        found = self.module(onehot)[:, self.bins]
        return Begun((found if self.settings["logs"] else torch.log1p(found)).mean(dim=1))

    def end(self, rows: torch.Tensor) -> torch.Tensor:
        return rows

    def first_part(self) -> list[nn.Module]:
        return [self.module]


#: By name; the first that fits a model is its body.
BODIES: dict[str, type[Body]] = {kind.kind: kind for kind in (EnformerBody, XpressoBody, CnnBody, OtherBody)}


def reference_windows(windows: Sequence[VariantWindow]) -> torch.Tensor:
    """The reference sequences of some windows, (B, L, 4)."""
    return torch.from_numpy(np.stack([np.asarray(window.reference, dtype=np.float32) for window in windows]))
