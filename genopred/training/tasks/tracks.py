"""Predicting tracks of signal from sequence: the windows of an epoch, the Poisson loss, and what validation says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genopred.errors import GenopredError, examples
from genopred.settings.training import Data, Training
from genopred.training.bases import mutated, onehot_on
from genopred.training.dataset import SequenceData, batch, window_targets, windows_of
from genopred.training.loop import Validation, digest
from genopred.training.networks.base import TrackNetwork
from genopred.training.networks.registry import build
from genopred.training.scores import log_pearson
from genopred.training.splits import Split, Windows, WindowShape

#: Keeps the logarithm finite where a prediction is zero; predictions are in units of their track's mean there.
TINY = 1e-6
#: A run is on its plateau while its validation loss is not by this below that of the tracks' means there (about 1),
PLATEAU_GAIN = 0.03
#: and the mean over tracks of the Pearson correlation of log(1 + value) is below this, which is chance where there are
#: few validation windows.
PLATEAU_PEARSON = 0.2

Batch = tuple[NDArray[np.uint8], NDArray[np.float32]]


class TrackTask:
    """Train a network on the training regions, and keep the weights that fit the validation regions best.

    The loss is the Poisson one, p - t log p, with predictions p and targets t in units of their track's mean in
    training, so that all tracks weigh alike; it is averaged over bins and tracks. A network that predicts each track's
    mean has a loss of about 1. Test regions are not looked at.

    Parameters
    ----------
    data : SequenceData
    split : Split
    shape : WindowShape
    kind : str
        As in `genopred.training.networks.registry.build`, which gets `sizes`.
    settings : Training
    sizes : dict, optional
    max_n : float
        Windows with a larger share of N are left out.

    Attributes
    ----------
    mean : array, shape (T,)
        Mean of each track in the training regions.
    windows : dict of str to int
        `train`, `validation`, and what was left out for its N: `train_n`, `validation_n`.

    Raises
    ------
    GenopredError
        If a split has no window, or a track no signal in the training regions.
    """

    score = "Pearson of log(1 + value)"

    def __init__(
        self,
        data: SequenceData,
        split: Split,
        shape: WindowShape,
        kind: str,
        settings: Training,
        sizes: dict[str, Any] | None = None,
        max_n: float = Data.max_n,
    ) -> None:
        self.data, self.split, self.shape, self.kind = data, split, shape, kind
        self.settings, self.sizes, self.max_n = settings, sizes or {}, max_n
        self.training, train_n = windows_of(data, split, "train", shape, max_n)
        self.validation, validation_n = windows_of(data, split, "validation", shape, max_n)
        self.windows = {"train": len(self.training.starts), "validation": len(self.validation.starts)}
        self.windows |= {"train_n": train_n, "validation_n": validation_n}
        self.per_epoch = max(1, self.windows["train"] // settings.batch)
        self.mean = self._mean(self.training)

    def identity(self) -> dict[str, str]:
        """What the run depends on beside its settings: values as they are, data as digests."""
        data, shape = self.data, self.shape
        out = {"network.kind": self.kind} | {f"network.{key}": repr(value) for key, value in self.sizes.items()}
        out |= {f"data.{key}": str(getattr(shape, key)) for key in ("window", "bin", "crop")}
        out |= {"data.step": str(data.step), "data.max_n": str(self.max_n), "split.by": self.split.by}
        out["split regions"] = digest(self.split.regions.write_csv().encode())
        for chrom, codes in data.codes.items():
            out[f"sequence of {chrom}"] = digest(codes)
        for i, track in enumerate(data.tracks):
            out[f"track {track.name}"] = repr(track)
            out[f"signal of {track.name}"] = digest(*(sums[i] for sums in data.sums.values()))
        return out

    def build(self) -> TrackNetwork:
        """A fresh network that predicts about the mean of each track."""
        network = build(self.kind, len(self.data.tracks), self.shape, **self.sizes)
        start_at(network, torch.from_numpy(self.mean))
        return network

    def forward(self, network: TrackNetwork) -> Callable[[torch.Tensor], torch.Tensor]:
        """The pass to train with."""
        return network.fast

    def longer_steps(self, network: TrackNetwork) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """The head's rows move in units of their tracks, as the loss is.

        AdamW moves all weights about alike, so that a track with a mean of 100 would need 100 times the steps of one
        with a mean of 1.
        """
        reach = head_reach(torch.from_numpy(self.mean).to(network.head.weight.device))
        return [(network.head.weight, reach[:, None]), (network.head.bias, reach)]

    def batches(self, seed: Sequence[int]) -> tuple[int, Callable[[int], Batch]]:
        """How many batches an epoch has, and what makes the i-th: input (B, window) and targets (B, n_bins, T)."""
        windows, reverse, shift = self._draw(seed)
        size = self.settings.batch

        def make(i: int) -> Batch:
            at = slice(i * size, (i + 1) * size)
            return batch(self.data, windows.chroms[at], windows.starts[at], self.shape, reverse[at], shift[at])

        # the last, smaller batch is left out: its windows come in other epochs
        return max(1, len(windows.starts) // size), make

    def loss(
        self, forward: Callable[[torch.Tensor], torch.Tensor], made: Batch, device: torch.device, rate: float
    ) -> torch.Tensor:
        """The loss of a batch; its random part is drawn from torch's current state."""
        codes, targets = made
        unit = torch.from_numpy(self.mean).to(device)
        share = self.settings.mutate * rate / self.settings.learning_rate
        with autocast(device, self.settings.precision):
            predicted = forward(mutated(onehot_on(codes, device), share))
        p = predicted.float() / unit
        t = torch.from_numpy(targets).to(device) / unit
        return (p - t * torch.log(p + TINY)).mean()

    def validate(self, network: TrackNetwork, device: torch.device) -> Validation:
        """Loss and correlations over the validation windows."""
        how: dict[str, Any] = {name: getattr(self.settings, name) for name in ("both_strands", "precision")}
        how |= {"batch_size": self.settings.batch, "device": str(device)}
        predicted = predict_windows(network, self.data, self.validation, self.shape, **how)
        targets = window_targets(self.data, self.validation, self.shape)
        loss = float(poisson_loss(predicted, targets, self.mean).mean())
        pearson = log_pearson(predicted, targets)
        columns = {f"pearson_{t.name}": float(r) for t, r in zip(self.data.tracks, pearson)}
        mean = float(np.nanmean(pearson)) if np.isfinite(pearson).any() else math.nan
        return Validation(loss, mean, columns, on_plateau(loss, mean, flat_loss(targets, self.mean)))

    def advice(self, row: dict[str, Any]) -> str:
        """What to do about an epoch that is on the plateau."""
        settings = self.settings
        pearson = [value for name, value in row.items() if name.startswith("pearson_") and math.isfinite(value)]
        return (
            f"epoch {row['epoch']}, step {row['step']:,}: still on the plateau, with a validation loss of "
            f"{row['validation_loss']:.3f} (predicting each track's mean has about 1) and a Pearson of "
            f"{np.mean(pearson or 0):.2f} on average. Look whether tracks and FASTA are of one build; else try, into "
            f"another --out, another training.seed (now {settings.seed}), a higher training.learning_rate (now "
            f"{settings.learning_rate:g}) or more steps: training.batch below {settings.batch}, training.epochs above "
            f"{settings.epochs}."
        )

    def _mean(self, windows: Windows) -> NDArray[np.float32]:
        total = np.zeros(len(self.data.tracks))
        for chrom, start in zip(windows.chroms, windows.starts + self.shape.crop * self.shape.bin):
            total += self.data.target(str(chrom), int(start), self.shape.n_bins, self.shape.bin).sum(axis=0)
        mean = total / (len(windows.starts) * self.shape.n_bins)
        silent = [track.name for track, value in zip(self.data.tracks, mean) if not value > 0]
        if silent:
            raise GenopredError(
                f"{len(silent)} of {len(mean)} tracks have no signal in the training regions ({examples(silent)}); "
                "leave them out, or change split.seed or data.chromosomes."
            )
        return mean.astype(np.float32)

    def _draw(self, seed: Sequence[int]) -> tuple[Windows, NDArray[np.bool_], NDArray[np.int64]]:
        """An epoch's windows in order, which of them are reversed, and their shifts."""
        rng = np.random.default_rng(seed)
        offset = int(rng.integers(self.shape.target // self.data.step)) * self.data.step
        windows = self._kept(offset)
        n = len(windows.starts)
        order = rng.permutation(n)
        reverse = rng.random(n) < (0.5 if self.settings.reverse_complement else 0.0)
        shift = rng.integers(-self.settings.shift, self.settings.shift + 1, n)
        return windows.take(order), reverse, shift

    def _kept(self, offset: int) -> Windows:
        """Training windows at an offset; without one where regions are so short that none fits."""
        if offset:
            with suppress(GenopredError):
                return windows_of(self.data, self.split, "train", self.shape, self.max_n, offset)[0]
        return self.training


def predict_windows(
    network: TrackNetwork,
    data: SequenceData,
    windows: Windows,
    shape: WindowShape,
    *,
    batch_size: int = 8,
    both_strands: bool = False,
    device: str = "cpu",
    precision: str = "fp32",
) -> NDArray[np.float32]:
    """Predictions of a network from `build` for some windows, (B, n_bins, T), in the tracks' own units.

    With `both_strands` they are the mean of the predictions from either strand, on the windows' own one.
    """
    place, training = torch.device(device), network.training

    def predicted(chroms: NDArray[np.str_], starts: NDArray[np.int64], reverse: bool) -> NDArray[np.float32]:
        codes, _ = batch(data, chroms, starts, shape, reverse)
        return network.fast(onehot_on(codes, place)).float().cpu().numpy()

    out = np.empty((len(windows.starts), shape.n_bins, len(data.tracks)), dtype=np.float32)
    network.eval()
    with torch.inference_mode(), autocast(place, precision):
        for i in range(0, len(out), batch_size):
            part = slice(i, i + batch_size)
            where = windows.chroms[part], windows.starts[part]
            out[part] = predicted(*where, False)
            if both_strands:
                out[part] = (out[part] + predicted(*where, True)[:, ::-1][:, :, data.partners]) / 2
    network.train(training)
    return out


def poisson_loss(
    predicted: NDArray[np.floating], targets: NDArray[np.floating], mean: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The loss of each track, (T,), averaged over all else.

    Parameters
    ----------
    predicted, targets : array, shape (..., T)
        Not negative.
    mean : array, shape (T,)
        Each track's unit.

    Examples
    --------
    >>> poisson_loss(np.array([[2.0, 5.0]]), np.array([[2.0, 5.0]]), np.array([2.0, 5.0])).round(5).tolist()
    [1.0, 1.0]
    """
    p, t = predicted.astype(np.float64) / mean, targets.astype(np.float64) / mean
    return (p - t * np.log(p + TINY)).reshape(-1, p.shape[-1]).mean(axis=0)


def flat_loss(targets: NDArray[np.floating], mean: NDArray[np.floating]) -> float:
    """The least loss of targets (..., T), averaged over tracks, of predictions that are one value for each track.

    `mean` (T,) has each track's unit.
    """
    own = targets.reshape(-1, targets.shape[-1]).mean(axis=0, dtype=np.float64) / mean
    return float((own - own * np.log(own + TINY)).mean())


def on_plateau(
    loss: float, pearson: float, flat: float = 1.0, gain: float = PLATEAU_GAIN, least: float = PLATEAU_PEARSON
) -> bool:
    """Whether a network predicts no better than each track's mean would.

    Parameters
    ----------
    loss : float
        Validation loss.
    pearson : float
        Mean over tracks of the correlation of log(1 + value); NaN where nothing varies.
    flat : float
        What the tracks' means come to (`flat_loss`).
    gain, least : float
        By how much less the loss must be, or what the correlation must reach, to be off the plateau.

    Examples
    --------
    >>> on_plateau(1.01, 0.03), on_plateau(0.9, 0.1), on_plateau(1.01, 0.4)
    (True, False, False)
    """
    return loss > flat - gain and not pearson >= least


def start_at(network: TrackNetwork, mean: torch.Tensor) -> None:
    """Set the head so that an untrained network predicts about the mean of each track, (T,), which is positive."""
    head = network.head
    with torch.no_grad():
        mean = mean.to(head.bias).clamp(min=1e-4)
        # the inverse of softplus
        head.bias.copy_(mean + torch.log(-torch.expm1(-mean)))
        head.weight.mul_(0.1 * head_reach(mean)[:, None])


def head_reach(mean: torch.Tensor) -> torch.Tensor:
    """How far a row of the head moves a prediction of the track's mean by about as much again, (T,).

    It is mean / (1 - exp(-mean)), the mean by softplus' slope there: 1 for small means, the mean itself for large ones.

    Examples
    --------
    >>> [round(float(value), 2) for value in head_reach(torch.tensor([0.001, 1.0, 50.0]))]
    [1.0, 1.58, 50.0]
    """
    return mean / -torch.expm1(-mean)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision where it is asked for."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
