"""The training loop: windows in random order, a Poisson loss, and checkpoints from which a killed run goes on exactly.

Whatever is random in a step is drawn from the seed, the epoch and the number of the batch alone: how the regions are
tiled, the order, which windows are turned to the other strand, by how much the input is shifted, and what dropout
leaves out. So a checkpoint needs no states of random generators, and an interrupted run that is taken up again computes
what it would have computed.
"""

from __future__ import annotations

import copy
import hashlib
import io
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import GenopredError, examples
from genopred.files import atomic
from genopred.sequence import networks
from genopred.sequence.dataset import SequenceData, Split, Windows, WindowShape, batch, drop_n, tile

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

PRECISIONS = ("fp32", "bf16")
CHOICES = ("loss", "pearson")
#: torch takes seeds of 64 bits; other whole numbers beyond `_MOST` are slips.
MOST_SEED = 2**63 - 1
_MOST = 1_000_000_000
#: What single precision holds, with room to multiply.
_MOST_FLOAT = 1e30
#: Settings that change how fast a run is and not, beyond rounding, what it computes: a resumed run may have others.
_FREE = ("threads", "device", "compile", "checkpoint_minutes")
#: Keeps the logarithm finite where a prediction is zero; predictions are in units of their track's mean there.
_TINY = 1e-6
#: A run is on its plateau while its validation loss is not by this below that of the tracks' means there (about 1),
PLATEAU_GAIN = 0.03
#: and the mean over tracks of the Pearson correlation of log(1 + value) is below this, which is chance where there are
#: few validation windows.
PLATEAU_PEARSON = 0.2
#: It says so after so many epochs, or the first one after the warm-up, or the last.
PLATEAU_EPOCHS = 3


class Progress(Protocol):
    """What is called after each batch."""

    def __call__(self, done: int, total: int, label: str = "") -> None: ...


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained.

    Parameters
    ----------
    epochs : int
        Passes over the training regions.
    batch : int
        Windows of a step.
    learning_rate : float
        At its highest, after the warm-up; then it falls along a cosine to zero at the end of the last epoch.
    warmup : int
        Steps over which it rises.
    weight_decay : float
        AdamW's; not applied to biases and norms.
    gradient_clip : float
        Longest gradient; 0 for no limit.
    patience : int
        Epochs without a better validation loss after which training stops; 0 for never.
    shift : int
        Inputs are shifted by up to so many bases, either way, against their targets.
    reverse_complement : bool
        Give half of the windows from the other strand.
    mutate : float
        Bases of a training window that are replaced at random: a share between 0 and this, drawn for each window, and
        falling to nothing along the learning rate's cosine (after Lee et al. 2023, doi:10.1186/s13059-023-02941-w).
    average : float
        Decay a step of the moving average of weights that is validated and kept; 0 for the weights themselves.
    choose : str
        What makes an epoch the best one, for `patience` and for the network that is kept: `loss`, or `pearson`, the
        mean over tracks of the correlation of log(1 + value), which a few bins with very high counts do not rule.
    both_strands : bool
        Validate the mean of the predictions from both strands.
    precision : str
        `fp32`, or `bf16` (mixed).
    seed : int
    threads : int, optional
        Cores; as many as torch takes by default.
    device : str
        `auto` (a GPU where there is one), `cpu`, `cuda:0`.
    compile : bool
        Use torch.compile, which needs a C++ compiler on a CPU.
    checkpoint_minutes : float
        Time between checkpoints within an epoch.
    """

    epochs: int = 30
    batch: int = 8
    learning_rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.05
    gradient_clip: float = 1.0
    patience: int = 0
    shift: int = 0
    reverse_complement: bool = True
    mutate: float = 0.0
    average: float = 0.998
    choose: str = "loss"
    both_strands: bool = False
    precision: str = "fp32"
    seed: int = 1
    threads: int | None = None
    device: str = "auto"
    compile: bool = False
    checkpoint_minutes: float = 10.0

    def __post_init__(self) -> None:
        least = {"epochs": 1, "batch": 1, "warmup": 0, "patience": 0, "shift": 0, "seed": 0, "threads": 1}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise GenopredError(f"training.{name} = {value}: needed {low} or more.")
            high = MOST_SEED if name == "seed" else _MOST
            if value is not None and value > high:
                raise GenopredError(f"training.{name} = {value}: needed {low} to {high:,}.")
        for name in ("learning_rate", "checkpoint_minutes"):
            value = getattr(self, name)
            if not 0 < value <= _MOST_FLOAT:
                raise GenopredError(f"training.{name} = {value}: needed a number above 0, up to {_MOST_FLOAT:g}.")
        for name in ("weight_decay", "gradient_clip"):
            value = getattr(self, name)
            if not 0 <= value <= _MOST_FLOAT:
                raise GenopredError(f"training.{name} = {value}: needed 0 to {_MOST_FLOAT:g}.")
        if not 0 <= self.average < 1:
            raise GenopredError(f"training.average = {self.average}: needed 0 or more and less than 1.")
        if not 0 <= self.mutate < 1:
            raise GenopredError(f"training.mutate = {self.mutate}: needed 0 or more and less than 1.")
        if self.choose not in CHOICES:
            raise GenopredError(f"training.choose = {self.choose!r}: needed one of {', '.join(CHOICES)}.")
        if self.precision not in PRECISIONS:
            raise GenopredError(f"training.precision = {self.precision!r}: needed one of {', '.join(PRECISIONS)}.")


@dataclass(frozen=True)
class TrainingRun:
    """What a run came to.

    Attributes
    ----------
    network : torch.nn.Module
        With the averaged weights of the best epoch, on the CPU, in evaluation mode.
    history : polars.DataFrame
        A row an epoch: epoch (from 1), step, learning_rate, train_loss, validation_loss, `pearson_<track>` (of
        log(1 + value) over validation bins), plateau (whether it is `on_plateau`).
    best_epoch : int
    mean : array, shape (T,)
        Mean of each track in the training regions.
    windows : dict of str to int
        `train`, `validation`, and what was left out for its N: `train_n`, `validation_n`.
    stopped_early : bool
    plateau : str
        What to do, where even the best epoch is on the plateau; else empty.
    resumed_at : int
        Step of the checkpoint that it began with; 0 without one.
    device : str
    """

    network: torch.nn.Module
    history: pl.DataFrame
    best_epoch: int
    mean: NDArray[np.float32]
    windows: dict[str, int]
    stopped_early: bool
    plateau: str
    resumed_at: int
    device: str


def train(
    data: SequenceData,
    split: Split,
    shape: WindowShape,
    kind: str,
    settings: TrainingSettings,
    *,
    sizes: dict[str, Any] | None = None,
    max_n: float = 0.2,
    checkpoint: str | Path | None = None,
    resume: bool = True,
    progress: Progress | None = None,
    on_epoch: Callable[[torch.nn.Module | None, pl.DataFrame], None] | None = None,
) -> TrainingRun:
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
        As in `genopred.sequence.networks.build`, which gets `sizes`.
    settings : TrainingSettings
    sizes : dict, optional
    max_n : float
        Windows with a larger share of N are left out.
    checkpoint : path, optional
        File that holds all that is needed to go on; written whole or not at all. Without it nothing is kept.
    resume : bool
        Go on from the checkpoint where there is one.
    progress : callable, optional
        Called as `progress(done, total, label)` after each batch.
    on_epoch : callable, optional
        Called as `on_epoch(network, history)` after each epoch and at the end; `network` is the best one so far when
        it is new, else None.

    Returns
    -------
    TrainingRun

    Raises
    ------
    GenopredError
        If a split has no window, a track no signal in the training regions, the device is not there, the checkpoint
        is another run's, or a loss or gradient is not finite.
    ModelError
        If kind or sizes do not make a network.
    """
    import torch

    device = find_device(settings.device)
    with _threads(settings.threads), torch.random.fork_rng(_forked(device)):
        trainer = _Trainer(data, split, shape, kind, settings, sizes or {}, max_n, device, checkpoint)
        return trainer.run(resume, progress or _silent, on_epoch or _ignore)


def fingerprint(
    data: SequenceData,
    split: Split,
    shape: WindowShape,
    kind: str,
    settings: TrainingSettings,
    sizes: dict[str, Any],
    max_n: float,
) -> dict[str, str]:
    """What a run depends on, by name: settings as they are, data as digests. Equal ones compute the same."""
    out = {f"training.{key}": repr(value) for key, value in asdict(settings).items() if key not in _FREE}
    out |= {"network.kind": kind} | {f"network.{key}": repr(value) for key, value in sizes.items()}
    out |= {f"data.{key}": str(getattr(shape, key)) for key in ("window", "bin", "crop")}
    out |= {"data.step": str(data.step), "data.max_n": str(max_n), "split.by": split.by}
    out["split regions"] = _digest(split.regions.write_csv().encode())
    for chrom, codes in data.codes.items():
        out[f"sequence of {chrom}"] = _digest(codes)
    for i, track in enumerate(data.tracks):
        out[f"track {track.name}"] = repr(track)
        out[f"signal of {track.name}"] = _digest(*(np.ascontiguousarray(sums[i]) for sums in data.sums.values()))
    return out


def training_bytes(kind: str, n_tracks: int, shape: WindowShape, batch_size: int, sizes: dict[str, Any]) -> int:
    """About how much memory training takes beside the data: weights with their copies, and what backward needs.

    What autograd keeps of one window is counted and multiplied.
    """
    import torch

    with torch.random.fork_rng([]):
        network = networks.build(kind, n_tracks, shape, **sizes)
    kept: dict[tuple[int, int], int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr(), tensor.numel()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.random.fork_rng([]), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        networks.training_forward(network.train())(torch.zeros(1, shape.window, 4))
    # weights, gradients, two of AdamW, average, best, and one more while a checkpoint is written
    weights = 7 * sum(value.numel() * value.element_size() for value in network.parameters())
    # backward makes gradients beside what forward kept
    return int(weights + 1.3 * batch_size * sum(kept.values()))


def predict_windows(
    network: torch.nn.Module,
    data: SequenceData,
    windows: Windows,
    shape: WindowShape,
    *,
    batch_size: int = 8,
    both_strands: bool = False,
    device: str = "cpu",
    precision: str = "fp32",
) -> NDArray[np.float32]:
    """Predictions of a network from `networks.build` for some windows, (B, n_bins, T), in the tracks' own units.

    With `both_strands` they are the mean of the predictions from either strand, on the windows' own one.
    """
    import torch

    forward = networks.training_forward(network)
    n, partners = len(windows.starts), data.partners
    out = np.empty((n, shape.n_bins, len(data.tracks)), dtype=np.float32)
    training = network.training
    network.eval()
    place = torch.device(device)
    with torch.inference_mode(), torch.autocast(place.type, torch.bfloat16, enabled=precision == "bf16"):
        for i in range(0, n, batch_size):
            part = slice(i, min(i + batch_size, n))
            chroms, starts = windows.chroms[part], windows.starts[part]
            codes, _ = batch(data, chroms, starts, shape)
            out[part] = forward(_onehot(codes, place)).float().cpu().numpy()
            if both_strands:
                codes, _ = batch(data, chroms, starts, shape, reverse=np.ones(len(starts), dtype=bool))
                other = forward(_onehot(codes, place)).float().cpu().numpy()
                out[part] = (out[part] + other[:, ::-1][:, :, partners]) / 2
    network.train(training)
    return out


def window_targets(data: SequenceData, windows: Windows, shape: WindowShape) -> NDArray[np.float32]:
    """Measured values of some windows, (B, n_bins, T), as `predict_windows` predicts them."""
    first = windows.starts + shape.crop * shape.bin
    parts = [data.target(str(c), int(s), shape.n_bins, shape.bin) for c, s in zip(windows.chroms, first)]
    return np.stack(parts) if parts else np.empty((0, shape.n_bins, len(data.tracks)), dtype=np.float32)


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
    return (p - t * np.log(p + _TINY)).reshape(-1, p.shape[-1]).mean(axis=0)


def log_pearson(predicted: NDArray[np.floating], targets: NDArray[np.floating]) -> NDArray[np.float64]:
    """Correlation of log(1 + value) of each track, (T,); NaN where one of them does not vary."""
    a, b = (np.log1p(x.astype(np.float64)).reshape(-1, x.shape[-1]) for x in (predicted, targets))
    size = [(x**2).sum(axis=0) for x in (a, b)]
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    spread = [(x**2).sum(axis=0) for x in (a, b)]
    # below that share of the squares a variance is rounding
    varies = (spread[0] > 1e-12 * size[0]) & (spread[1] > 1e-12 * size[1])
    return np.where(varies, (a * b).sum(axis=0) / np.sqrt(np.where(varies, spread[0] * spread[1], 1)), np.nan)


def flat_loss(targets: NDArray[np.floating], mean: NDArray[np.floating]) -> float:
    """The least loss, averaged over tracks, of predictions that are one value for each track.

    Parameters
    ----------
    targets : array, shape (..., T)
    mean : array, shape (T,)
        Each track's unit.
    """
    own = targets.reshape(-1, targets.shape[-1]).mean(axis=0, dtype=np.float64) / mean
    return float((own - own * np.log(own + _TINY)).mean())


def on_plateau(loss: float, pearson: float, flat: float = 1.0) -> bool:
    """Whether a network predicts no better than each track's mean would.

    Parameters
    ----------
    loss : float
        Validation loss.
    pearson : float
        Mean over tracks of the correlation of log(1 + value); NaN where nothing varies.
    flat : float
        What the tracks' means come to (`flat_loss`).

    Examples
    --------
    >>> on_plateau(1.01, 0.03), on_plateau(0.9, 0.1), on_plateau(1.01, 0.4)
    (True, False, False)
    """
    return loss > flat - PLATEAU_GAIN and not pearson >= PLATEAU_PEARSON


def find_device(name: str) -> torch.device:
    """`auto`: the first GPU, else the CPU; or the device of that name, if it is there."""
    import torch

    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise GenopredError(f"device {name!r}: not a device; use auto, cpu or cuda:0.") from None
    if device.type not in ("cpu", "cuda"):
        raise GenopredError(f"device {name!r}: training runs on cpu or cuda:0 only.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise GenopredError(
            f"device {name!r}: torch sees {torch.cuda.device_count()} CUDA devices; use cpu, or install a torch with "
            "CUDA."
        )
    return device


@dataclass
class _State:
    """Where a run is. `batch` counts the finished batches of the running epoch, `total` sums their losses."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    total: float = 0.0
    best: float = math.inf
    best_epoch: int = -1
    history: list[dict[str, Any]] = field(default_factory=list)


class _Trainer:
    def __init__(
        self,
        data: SequenceData,
        split: Split,
        shape: WindowShape,
        kind: str,
        settings: TrainingSettings,
        sizes: dict[str, Any],
        max_n: float,
        device: torch.device,
        checkpoint: str | Path | None,
    ) -> None:
        import torch

        self.data, self.split, self.shape, self.settings = data, split, shape, settings
        self.max_n, self.device = max_n, device
        self.file = None if checkpoint is None else Path(checkpoint)
        self.identity = {} if self.file is None else fingerprint(data, split, shape, kind, settings, sizes, max_n)
        first, train_n = drop_n(data, tile(split, "train", shape), shape, max_n)
        self.validation, validation_n = drop_n(data, tile(split, "validation", shape), shape, max_n)
        self.windows = {
            "train": len(first.starts),
            "validation": len(self.validation.starts),
            "train_n": train_n,
            "validation_n": validation_n,
        }
        for name in ("train", "validation"):
            if not self.windows[name]:
                raise GenopredError(
                    f"the {name} split has no window left: all {self.windows[name + '_n']:,} have more than "
                    f"{max_n:.0%} N; raise data.max_n, or give it other regions."
                )
        self.per_epoch = max(1, self.windows["train"] // settings.batch)
        self.mean = self._mean(first)
        torch.manual_seed(settings.seed)
        self.network = networks.build(kind, len(data.tracks), shape, **sizes)
        networks.start_at(self.network, torch.from_numpy(self.mean))
        self.network.to(device)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.best: dict[str, torch.Tensor] = {}
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98))
        self.unit = torch.from_numpy(self.mean).to(device)
        self.reach = networks.head_reach(self.unit)
        self.state = _State()
        self.resumed_at = 0

    def run(
        self,
        resume: bool,
        progress: Progress,
        on_epoch: Callable[[torch.nn.Module | None, pl.DataFrame], None],
    ) -> TrainingRun:
        state = self.state
        if self.file is not None:
            if resume and self.file.exists():
                self._load(self.file)
                self.resumed_at = state.step
            else:
                self._save()
        self.forward = self._forward()
        self.saved = time.monotonic()
        # what is left counts, so that a resumed run's time left is estimated from its own pace
        begun = self._done()
        total = max(1, self.settings.epochs * self.per_epoch - begun)
        while not self._finished():
            for _ in self._epoch():
                progress(min(self._done() - begun, total), total, self._label())
            new = self._validate()
            on_epoch(self._best_network() if new else None, self._history())
        # a run that was killed right here has its last checkpoint and perhaps not its last outputs
        best = self._best_network()
        on_epoch(best, self._history())
        progress(total, total, self._label())
        return TrainingRun(
            best,
            self._history(),
            state.best_epoch + 1,
            self.mean,
            self.windows,
            state.epoch < self.settings.epochs,
            self._advice(state.history[state.best_epoch]),
            self.resumed_at,
            str(self.device),
        )

    def _finished(self) -> bool:
        state, patience = self.state, self.settings.patience
        if state.epoch >= self.settings.epochs:
            return True
        return bool(patience) and state.best_epoch >= 0 and state.epoch - 1 - state.best_epoch >= patience

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

    def _forward(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """The network's forward pass; compiled where that was asked for and works."""
        if not self.settings.compile:
            return networks.training_forward(self.network)
        import torch

        kept = {key: value.clone() for key, value in self.network.state_dict().items()}
        n = min(self.settings.batch, self.windows["train"])
        codes = np.zeros((n, self.shape.window), dtype=np.uint8)
        try:
            forward = networks.training_forward(self.network, compiled=True)
            self.network.train()
            with self._autocast():
                loss = forward(_onehot(codes, self.device)).float().mean()
            loss.backward()
        except Exception as bad:  # compilers fail in many ways, and none of them matters
            reason = (str(bad).strip().splitlines() or [type(bad).__name__])[0][:200]
            log.warning("torch.compile failed (%s); training goes on without it, more slowly.", reason)
            torch.compiler.reset()
            forward = networks.training_forward(self.network)
        self.network.load_state_dict(kept)
        self.optimiser.zero_grad(set_to_none=True)
        return forward

    def _autocast(self) -> Any:
        import torch

        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16")

    def _draw(self, epoch: int) -> tuple[Windows, NDArray[np.bool_], NDArray[np.int64]]:
        """An epoch's windows in order, which of them are reversed, and their shifts."""
        rng = np.random.default_rng([self.settings.seed, epoch])
        offset = int(rng.integers(self.shape.target // self.data.step)) * self.data.step
        windows = _kept(self.data, self.split, self.shape, offset, self.max_n)
        n = len(windows.starts)
        order = rng.permutation(n)
        reverse = rng.random(n) < (0.5 if self.settings.reverse_complement else 0.0)
        shift = rng.integers(-self.settings.shift, self.settings.shift + 1, n)
        return Windows(windows.chroms[order], windows.starts[order], windows.blocks[order]), reverse, shift

    def _batches(self, epoch: int, first: int) -> Iterator[tuple[int, int, NDArray[np.uint8], NDArray[np.float32]]]:
        """Number, count, input and targets of the batches from `first`; the next one is made meanwhile."""
        windows, reverse, shift = self._draw(epoch)
        size = self.settings.batch
        # the last, smaller batch is left out: its windows come in other epochs
        count = max(1, len(windows.starts) // size)

        def make(i: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
            at = slice(i * size, (i + 1) * size)
            return batch(self.data, windows.chroms[at], windows.starts[at], self.shape, reverse[at], shift[at])

        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(make, first)
            for i in range(first, count):
                made = ahead.result()
                ahead = pool.submit(make, min(i + 1, count - 1))
                yield i, count, *made

    def _epoch(self) -> Iterator[None]:
        """Train to the end of the running epoch, from the batch where the state is."""
        state, settings = self.state, self.settings
        self.network.train()
        for i, count, codes, targets in self._batches(state.epoch, state.batch):
            rate = self._rate(state.epoch + i / count)
            state.total += self._step(codes, targets, rate, i)
            state.step, state.batch = state.step + 1, i + 1
            if time.monotonic() - self.saved > 60 * settings.checkpoint_minutes and i + 1 < count:
                self._save()
            yield

    def _rate(self, epochs: float) -> float:
        """Learning rate after so many epochs."""
        warm = min(1.0, (self.state.step + 1) / max(1, self.settings.warmup))
        return self.settings.learning_rate * warm * (0.5 + 0.5 * math.cos(math.pi * epochs / self.settings.epochs))

    def _step(self, codes: NDArray[np.uint8], targets: NDArray[np.float32], rate: float, i: int) -> float:
        import torch

        seed = np.random.SeedSequence([self.settings.seed, self.state.epoch, i]).generate_state(1, np.uint64)
        torch.manual_seed(int(seed[0]) >> 1)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        share = self.settings.mutate * rate / self.settings.learning_rate
        with self._autocast():
            predicted = self.forward(_mutated(_onehot(codes, self.device), share))
        p = predicted.float() / self.unit
        t = torch.from_numpy(targets).to(self.device) / self.unit
        loss = (p - t * torch.log(p + _TINY)).mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        limit = self.settings.gradient_clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), limit)
        value = float(loss.item())
        if not math.isfinite(value) or not bool(torch.isfinite(norm)):
            what = "loss" if not math.isfinite(value) else "gradient"
            raise self._diverged(f"the {what} is not finite", rate)
        self._move(rate)
        self._follow()
        return value

    def _move(self, rate: float) -> None:
        """Take AdamW's step; the head's rows in units of their tracks, as the loss is.

        AdamW moves all weights about alike, so that a track with a mean of 100 would need 100 times the steps of one
        with a mean of 1.
        """
        import torch

        head: Any = self.network.head
        before = head.weight.detach().clone(), head.bias.detach().clone()
        self.optimiser.step()
        with torch.no_grad():
            # what decay alone would have left
            kept = before[0] * (1 - rate * self.settings.weight_decay), before[1]
            head.weight.copy_(kept[0] + (head.weight - kept[0]) * self.reach[:, None])
            head.bias.copy_(kept[1] + (head.bias - kept[1]) * self.reach)

    def _follow(self) -> None:
        """Move the average towards the weights; faster at the start, when they are still far from anything."""
        import torch

        step = self.state.step
        decay = min(self.settings.average, (1 + step) / (10 + step))
        with torch.no_grad():
            # by parameters() and buffers(), which name a tensor once that the Enformer's state holds twice
            for mine, new in zip(self.average.parameters(), self.network.parameters()):
                mine.lerp_(new, 1 - decay)
            for old, now in zip(self.average.buffers(), self.network.buffers()):
                if old.is_floating_point():
                    old.lerp_(now, 1 - decay)
                else:
                    old.copy_(now)

    def _validate(self) -> bool:
        """Score the averaged weights, add a row to the history, write the checkpoint; whether they are the best."""
        state, settings = self.state, self.settings
        predicted = predict_windows(
            self.average,
            self.data,
            self.validation,
            self.shape,
            batch_size=settings.batch,
            both_strands=settings.both_strands,
            device=str(self.device),
            precision=settings.precision,
        )
        targets = window_targets(self.data, self.validation, self.shape)
        loss = float(poisson_loss(predicted, targets, self.mean).mean())
        rate = float(self.optimiser.param_groups[0]["lr"])
        if not math.isfinite(loss):
            raise self._diverged("the validation loss is not finite", rate)
        row = {
            "epoch": state.epoch + 1,
            "step": state.step,
            "learning_rate": rate,
            "train_loss": state.total / state.batch,
            "validation_loss": loss,
        }
        pearson = log_pearson(predicted, targets)
        row |= {f"pearson_{t.name}": float(r) for t, r in zip(self.data.tracks, pearson)}
        mean = float(np.nanmean(pearson)) if np.isfinite(pearson).any() else math.nan
        row["plateau"] = on_plateau(loss, mean, flat_loss(targets, self.mean))
        state.history.append(row)
        value = loss if settings.choose == "loss" or math.isnan(mean) else -mean
        new = value < state.best
        if new:
            state.best, state.best_epoch = value, state.epoch
            self.best = {key: value.detach().clone() for key, value in self.average.state_dict().items()}
        state.epoch, state.batch, state.total = state.epoch + 1, 0, 0.0
        self._save()
        log.info(
            "epoch %d: training loss %.4f, validation loss %.4f, Pearson of log(1 + value) %.3f on average%s",
            row["epoch"],
            row["train_loss"],
            loss,
            mean,
            " (best)" if new else "",
        )
        self._watch()
        return new

    def _watch(self) -> None:
        """Say once that a run is still on its plateau, and that it left it."""
        history, settings = self.state.history, self.settings
        due = [
            row["epoch"]
            for row in history
            if row["epoch"] == settings.epochs or row["epoch"] >= PLATEAU_EPOCHS and row["step"] > settings.warmup
        ]
        if due == [history[-1]["epoch"]] and all(row.get("plateau") for row in history):
            log.warning("%s", self._advice(history[-1]))
        elif len(due) > 1 and not history[-1]["plateau"] and all(row.get("plateau") for row in history[:-1]):
            log.info("epoch %d: the plateau is left", history[-1]["epoch"])

    def _advice(self, row: dict[str, Any]) -> str:
        """What to do about an epoch that is on the plateau; nothing about others and those of former versions."""
        if not row.get("plateau"):
            return ""
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

    def _diverged(self, what: str, rate: float) -> GenopredError:
        state = self.state
        kept = "No checkpoint was kept."
        if self.file is not None:
            kept = f"The last good checkpoint, after step {self.saved_step:,}, is {self.file}."
        return GenopredError(
            f"epoch {state.epoch + 1}, step {state.step + 1:,}: {what} at a learning rate of {rate:.2g}. Lower "
            f"training.learning_rate (now {self.settings.learning_rate:g}), lengthen training.warmup (now "
            f"{self.settings.warmup}) or lower training.gradient_clip (now {self.settings.gradient_clip:g}), and start "
            f"into another --out. {kept}"
        )

    def _best_network(self) -> torch.nn.Module:
        network = copy.deepcopy(self.average)
        network.load_state_dict(self.best)
        return network.requires_grad_(True).cpu().eval()

    def _history(self) -> pl.DataFrame:
        return pl.DataFrame(self.state.history, infer_schema_length=None)

    def _done(self) -> int:
        # batches of a tiling, which has a window more or less at another offset
        return self.state.epoch * self.per_epoch + min(self.state.batch, self.per_epoch)

    def _label(self) -> str:
        state, last = self.state, self.state.history[-1:]
        text = f"epoch {min(state.epoch + 1, self.settings.epochs)} of {self.settings.epochs}"
        return text + (f", validation loss {last[0]['validation_loss']:.4f}" if last else "")

    def _save(self) -> None:
        if self.file is None:
            return
        state = self.state
        write_state(
            self.file,
            {
                "identity": self.identity,
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "best": self.best,
                "optimiser": self.optimiser.state_dict(),
                "state": {f.name: getattr(state, f.name) for f in fields(state)},
            },
        )
        self.saved, self.saved_step = time.monotonic(), state.step

    def _load(self, file: Path) -> None:
        found = read_state(file)
        then, now = found["identity"], self.identity
        differs = [
            f"{key} was {then.get(key, 'absent')}, is {now.get(key, 'absent')}"
            for key in sorted({*then, *now})
            if then.get(key) != now.get(key)
        ]
        if differs:
            raise GenopredError(
                f"{file} is the checkpoint of another run: {len(differs)} things differ ({examples(differs)}). Use "
                "another --out, or --no-resume to start anew and replace it."
            )
        self.network.load_state_dict(found["network"])
        self.average.load_state_dict(found["average"])
        self.optimiser.load_state_dict(found["optimiser"])
        self.best = {key: value.to(self.device) for key, value in found["best"].items()}
        for name, value in found["state"].items():
            setattr(self.state, name, value)
        self.saved_step = self.state.step
        log.info("%s: going on after step %d (epoch %d)", file, self.state.step, self.state.epoch + 1)


def write_state(file: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all: after a power cut the former one is still there."""
    import torch

    # made in memory first: where the disk is full, torch's own writer ends in an error of its own
    whole = io.BytesIO()
    torch.save(_plain(state), whole)
    with atomic(file) as temporary, temporary.open("wb") as handle:
        handle.write(whole.getbuffer())
        handle.flush()
        os.fsync(handle.fileno())


def _plain(value: Any) -> Any:
    """The same value, of which equal texts are one object and containers are nobody else's.

    Pickle writes an object that it has met before as a reference, so that a resumed run's equal state would be other
    bytes.
    """
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    return sys.intern(value) if type(value) is str else value


def read_state(file: Path) -> dict[str, Any]:
    """Read a checkpoint; it holds tensors and plain values only, and nothing in it is executed.

    Raises
    ------
    GenopredError
        If it is no checkpoint of a training.
    """
    import torch

    needed = {"identity", "network", "average", "best", "optimiser", "state"}
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as bad:  # zip and pickle have their own errors
        state, reason = None, type(bad).__name__
    else:
        reason = "other contents"
    if not isinstance(state, dict) or not needed <= set(state):
        raise GenopredError(
            f"{file} cannot be read as a checkpoint of a training ({reason}); use --no-resume to start anew and "
            "replace it."
        )
    return state


def _kept(data: SequenceData, split: Split, shape: WindowShape, offset: int, max_n: float) -> Windows:
    """Training windows at an offset; without one where regions are so short that none fits."""
    if offset:
        try:
            windows, _ = drop_n(data, tile(split, "train", shape, offset), shape, max_n)
        except GenopredError:
            windows = Windows(np.array([], dtype=str), np.array([], dtype=np.int64), np.array([], dtype=np.int64))
        if len(windows.starts):
            return windows
    return drop_n(data, tile(split, "train", shape), shape, max_n)[0]


def _onehot(codes: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """(B, L, 4) float32; N is zero."""
    import torch

    table = torch.eye(5, 4, device=device)
    return table[torch.from_numpy(codes).to(device).long()]


def _mutated(onehot: torch.Tensor, most: float) -> torch.Tensor:
    """One-hot windows with a random share of their bases, 0 to `most` in each window, drawn anew."""
    import torch

    if most <= 0:
        return onehot
    n, length, _ = onehot.shape
    hit = torch.rand(n, length, device=onehot.device) < most * torch.rand(n, 1, device=onehot.device)
    drawn = torch.randint(4, (n, length), device=onehot.device)
    return torch.where(hit[..., None], torch.nn.functional.one_hot(drawn, 4).to(onehot), onehot)


def _digest(*parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


@contextmanager
def _threads(n: int | None) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    if n is not None:
        from joblib import cpu_count

        most = int(cpu_count())
        if n > most:
            log.warning("training.threads = %d: this process may use %d cores; using %d.", n, most, most)
        torch.set_num_threads(min(n, most))
    try:
        yield
    finally:
        if n is not None:
            torch.set_num_threads(before)


def _forked(device: torch.device) -> list[int]:
    return [device.index or 0] if device.type == "cuda" else []


def _silent(done: int, total: int, label: str = "") -> None:
    pass


def _ignore(network: torch.nn.Module | None, history: pl.DataFrame) -> None:
    pass
