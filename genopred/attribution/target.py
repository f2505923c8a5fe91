"""What is attributed: one number a track group, of a model that can be differentiated, as in `genopred effects`."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from genopred.errors import ModelError
from genopred.sequence.effects import EffectSettings
from genopred.sequence.models.base import SequenceModel, as_tensor

#: Bases at a time, of all windows of a batch, where the user does not say.
_BASES = 200_000


class GroupValues(nn.Module):
    """One-hot windows (B, L, 4), as the model reads them -> the value (B, G) of each track group.

    Parameters
    ----------
    model : SequenceModel
        One that has `torch_module`.
    settings : EffectSettings
        Groups, bins, and how they are put together. `strands="both"` is the mean over a window and its reverse
        complement.

    Raises
    ------
    ModelError
        If the model cannot be taken apart.
    """

    def __init__(self, model: SequenceModel, settings: EffectSettings) -> None:
        super().__init__()
        self.network, self.device, self.named = model.torch_module(), model.device, model.name
        self.names = settings.names
        # a backward pass keeps what every layer gave
        self.batch = min(model.default_batch, max(1, _BASES // model.window))
        self._settings, self._n_bins = settings, model.n_bins
        partners = range(len(model.tracks)) if model.reverse_tracks is None else model.reverse_tracks
        self._partners = list(partners)
        self.eval()

    @property
    def integrated(self) -> tuple[type[nn.Module], ...]:
        """Types of modules that DeepLIFT goes through by integrated gradients."""
        return tuple(getattr(self.network, "integrated", ()))

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        own = self._of(windows, False)
        return own if self._settings.strands != "both" else (own + self._of(windows.flip(1, 2), True)) / 2

    def _of(self, windows: torch.Tensor, other: bool) -> torch.Tensor:
        s = self._settings
        if other:
            groups = tuple((name, tuple(self._partners[i] for i in tracks)) for name, tracks in s.groups)
            s = replace(s, groups=groups, bins=tuple(self._n_bins - 1 - i for i in s.bins))
        return torch.stack(group_values(self.network(windows), s), dim=1)

    def of(self, windows: NDArray[np.float32], batch_size: int | None = None) -> NDArray[np.float64]:
        """Values (N, G) of windows (N, L, 4)."""
        step, out = batch_size or self.batch, []
        with torch.no_grad():
            for start in range(0, len(windows), step):
                out.append(self(self.tensor(windows[start : start + step])).double().cpu().numpy())
        return np.concatenate(out)

    def tensor(self, windows: NDArray[np.float32]) -> torch.Tensor:
        """Windows on the model's device."""
        return as_tensor(windows, self.device)


def group_values(predicted: torch.Tensor, settings: EffectSettings) -> list[torch.Tensor]:
    """The values (B,) of each track group of predictions (B, n_bins, T)."""
    asked = predicted[:, list(settings.bins)]
    along = asked.sum(1) if settings.aggregate == "sum" else asked.mean(1)
    groups = [along[:, list(tracks)] for _, tracks in settings.groups]
    return [part.sum(1) if settings.over_tracks == "sum" else part.mean(1) for part in groups]


def package(name: str) -> Any:
    """A module of captum, tangermeme or memelite; ModelError where the package is not installed."""
    root = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ImportError as missing:
        raise ModelError(
            f"attribution needs the package {root} ({missing}): pip install 'genopred[attribution]'."
        ) from None
