"""Gradients of a sequence model over its window: the first-order effect of every change, in one pass a group."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from genopred.attribution.target import group_values
from genopred.errors import ModelError
from genopred.sequence.effects import EffectSettings
from genopred.sequence.haplotypes import Reference
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.onehot import BASES, encode, onehot, reverse_complement
from genopred.types import Interval


def gradients(
    model: SequenceModel, reference: Reference, interval: Interval, settings: EffectSettings, *, reverse: bool = False
) -> NDArray[np.float64]:
    """Derivatives of each group's prediction by the one-hot sequence, from one forward and one backward pass a group.

    Parameters
    ----------
    model : SequenceModel
        One that has `torch_forward`.
    interval : Interval
        The model's window, L bases.
    settings : EffectSettings
        `strands="both"` averages both directions.
    reverse : bool
        Read the window on the reverse strand.

    Returns
    -------
    array, shape (G, L, 4)
        On the forward strand. `gradient[alt] - gradient[ref]` at a base is the first-order effect of a SNP there.
        Subtract the mean over the four bases before reading single channels (Majdandzic et al. 2023,
        doi:10.1186/s13059-023-02956-3).

    Raises
    ------
    ModelError
        If the model cannot be differentiated; `in_silico_mutagenesis` works with all.
    """
    if interval.length != model.window:
        raise ModelError(f"{model.name} reads {model.window:,} bp; the interval has {interval.length:,} bp.")
    codes = encode(reference.fetch(interval))

    def read(other: bool, bins: NDArray[np.int64], partners: NDArray[np.int64]) -> NDArray[np.float64]:
        groups = tuple((name, tuple(partners[list(tracks)].tolist())) for name, tracks in settings.groups)
        here = replace(settings, groups=groups, bins=tuple(bins.tolist()))
        if other == reverse:
            return _gradient(model, onehot(codes), here)
        return _gradient(model, onehot(reverse_complement(codes)), here)[:, ::-1, ::-1].copy()

    # `settings` are those of the direction that is read
    return model.over_strands(settings.strands, read, settings.bins, np.arange(len(model.tracks)))


def _gradient(model: SequenceModel, window: NDArray[np.float32], settings: EffectSettings) -> NDArray[np.float64]:
    out = np.empty((len(settings.groups), *window.shape))
    with torch.enable_grad():
        x = torch.tensor(window, device=model.device)[None].requires_grad_(True)
        for g, value in enumerate(group_values(model.torch_forward(x), settings)):
            (found,) = torch.autograd.grad(value, x, retain_graph=g + 1 < len(settings.groups))
            out[g] = found[0].cpu().numpy()
    return out


def first_order(
    slope: NDArray[np.float64], window: Interval, table: pl.DataFrame, settings: EffectSettings
) -> NDArray[np.float64]:
    """ALT's derivative minus REF's of `gradients` over a window, for each row of a table of effects of single bases."""
    group = {name: g for g, name in enumerate(settings.names)}
    g = np.array([group[name] for name in table["track_group"].to_list()])
    at = table["pos"].to_numpy() - 1 - window.start
    ref, alt = (np.array([BASES.index(base) for base in table[column].to_list()]) for column in ("ref", "alt"))
    return slope[g, at, alt] - slope[g, at, ref]
