"""The training loop: epochs of batches, and checkpoints from which a killed run goes on exactly.

What is learned is a `Task`'s. Whatever is random is drawn from the seed, the epoch and the number of the batch alone:
what the task draws for an epoch (how regions are tiled, the order of windows), and in a step (what is mutated or
dropped out). So a checkpoint needs no states of random generators, and an interrupted run that is taken up again
computes what it would have computed.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from genopred.errors import GenopredError, examples
from genopred.sequence.models.base import devices
from genopred.settings.training import Training
from genopred.training.store import read_state, write_state
from genopred.workers import cores

log = logging.getLogger(__name__)

#: Settings that change how fast a run is and not, beyond rounding, what it computes: a resumed run may have others.
_FREE = ("threads", "device", "compile", "checkpoint_minutes")
#: It says so after so many epochs, or the first one after the warm-up, or the last.
PLATEAU_EPOCHS = 3

#: What is called after each epoch: the network, or None; the history; its best row.
OnEpoch = Callable[[Any, pl.DataFrame, int], None]
#: What is called after each batch: done, in all, a label.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Validation:
    """What a task says of a network: its loss, and whether it has learned nothing yet (`plateau`).

    The score is the higher the better, and NaN where it is not defined; `columns` are further ones of the history.
    """

    loss: float
    score: float
    columns: dict[str, float]
    plateau: bool


class Task(Protocol):
    """What is learned from what; the loop knows no more of it than this.

    Attributes
    ----------
    settings : Training
    score : str
        What `Validation.score` is, in words.
    per_epoch : int
        About how many batches an epoch has.
    """

    settings: Training
    score: str
    per_epoch: int

    def identity(self) -> dict[str, str]:
        """What a run depends on beside its settings, by name; equal ones compute the same."""

    def build(self) -> Any:
        """A network with fresh weights, drawn from torch's current random state."""

    def forward(self, network: Any) -> Callable[[torch.Tensor], torch.Tensor]:
        """The network's pass to train with; its mode (training or evaluation) is read at each call."""

    def longer_steps(self, network: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Weights that move by more than the learning rate, and by how many times."""

    def batches(self, seed: Sequence[int]) -> tuple[int, Callable[[int], Any]]:
        """How many batches an epoch has, and what makes the i-th of them."""

    def loss(
        self, forward: Callable[[torch.Tensor], torch.Tensor], made: Any, device: torch.device, rate: float
    ) -> torch.Tensor:
        """The loss of a batch at a learning rate; its random part is drawn from torch's current state."""

    def validate(self, network: Any, device: torch.device) -> Validation:
        """How good a network is."""

    def advice(self, row: dict[str, Any]) -> str:
        """What to do about an epoch (a row of the history) that is on the plateau."""


@dataclass(frozen=True)
class TrainingRun:
    """What a run came to.

    Attributes
    ----------
    network : torch.nn.Module
        With the averaged weights of the best epoch, on the CPU, in evaluation mode.
    history : polars.DataFrame
        A row an epoch: epoch (from 1), step, learning_rate, train_loss, validation_loss, the task's own columns,
        plateau.
    best_epoch : int
    stopped_early : bool
    plateau : str
        What to do, where even the best epoch is on the plateau; else empty.
    resumed_at : int
        Step of the checkpoint that it began with; 0 without one.
    device : str
    """

    network: Any
    history: pl.DataFrame
    best_epoch: int
    stopped_early: bool
    plateau: str
    resumed_at: int
    device: str


def train(
    task: Task,
    *,
    checkpoint: str | Path | None = None,
    resume: bool = True,
    progress: Progress | None = None,
    on_epoch: OnEpoch | None = None,
) -> TrainingRun:
    """Train a task's network, and keep the weights that validate best.

    Parameters
    ----------
    task : Task
    checkpoint : path, optional
        File that holds all that is needed to go on; written whole or not at all. Without it nothing is kept.
    resume : bool
        Go on from the checkpoint where there is one.
    progress : callable, optional
        Called as `progress(done, total, label)` after each batch.
    on_epoch : callable, optional
        Called as `on_epoch(network, history, best)` after each epoch and at the end; `network` is the best one so far
        when it is new, else None, and `best` its row of the history.

    Returns
    -------
    TrainingRun

    Raises
    ------
    GenopredError
        If the device is not there, the checkpoint is another run's, or a loss or gradient is not finite.
    ModelError
        If the task's network cannot be built.
    """
    device = find_device(task.settings.device)
    forked = [device.index or 0] if device.type == "cuda" else []
    with _threads(task.settings.threads), torch.random.fork_rng(forked):
        trainer = _Trainer(task, device, checkpoint)
        return trainer.run(resume, progress or _ignore, on_epoch or _ignore)


def fingerprint(task: Task) -> dict[str, str]:
    """What a run depends on, by name: genopred's version, settings as they are, and the task's identity."""
    settings = {f"training.{key}": repr(value) for key, value in asdict(task.settings).items() if key not in _FREE}
    return {"genopred": version("genopred")} | settings | task.identity()


def digest(*parts: bytes | NDArray[Any]) -> str:
    """Of data, for a task's identity: what it is in memory, not of which shape or type.

    >>> digest(b"ab") == digest(b"a", np.frombuffer(b"b", np.uint8)) != digest(b"ba")
    True
    """
    whole = hashlib.blake2b(digest_size=8)
    for part in parts:
        whole.update(part if isinstance(part, bytes) else np.ascontiguousarray(part))  # type: ignore[arg-type]
    return whole.hexdigest()


def find_device(name: str) -> torch.device:
    """As `genopred.sequence.models.base.devices`; refused if it is not the CPU or one CUDA device."""
    device = torch.device(devices(name)[0])
    if device.type not in ("cpu", "cuda"):
        raise GenopredError(f"--device {name}: training runs on cpu or cuda:0 only.")
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
    def __init__(self, task: Task, device: torch.device, checkpoint: str | Path | None) -> None:
        self.task, self.settings, self.device = task, task.settings, device
        self.file = None if checkpoint is None else Path(checkpoint)
        self.identity = {} if self.file is None else fingerprint(task)
        torch.manual_seed(self.settings.seed)
        self.network = task.build().to(device)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.best: dict[str, torch.Tensor] = {}
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        decay = self.settings.weight_decay
        groups = [{"params": decayed, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=self.settings.learning_rate, betas=(0.9, 0.98))
        self.longer = task.longer_steps(self.network)
        self.state = _State()
        self.resumed_at = 0

    def run(self, resume: bool, progress: Progress, on_epoch: OnEpoch) -> TrainingRun:
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
        total = max(1, self.settings.epochs * self.task.per_epoch - begun)
        while not self._finished():
            for _ in self._epoch():
                progress(min(self._done() - begun, total), total, self._label())
            new = self._validate()
            on_epoch(self._best_network() if new else None, self._history(), state.best_epoch)
        # a run that was killed right here has its last checkpoint and perhaps not its last outputs
        best, row = self._best_network(), state.history[state.best_epoch]
        on_epoch(best, self._history(), state.best_epoch)
        progress(total, total, self._label())
        return TrainingRun(
            best,
            self._history(),
            state.best_epoch + 1,
            state.epoch < self.settings.epochs,
            # checkpoints of former versions say nothing of a plateau
            self.task.advice(row) if row.get("plateau") else "",
            self.resumed_at,
            str(self.device),
        )

    def _finished(self) -> bool:
        state, patience = self.state, self.settings.patience
        stale = state.best_epoch >= 0 and state.epoch - 1 - state.best_epoch >= patience
        return state.epoch >= self.settings.epochs or patience > 0 and stale

    def _forward(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """The network's forward pass; compiled where that was asked for and works."""
        forward = self.task.forward(self.network)
        if not self.settings.compile:
            return forward
        kept = {key: value.clone() for key, value in self.network.state_dict().items()}
        compiled: Callable[[torch.Tensor], torch.Tensor] = torch.compile(forward)
        _, make = self.task.batches([self.settings.seed, 0])
        try:
            self.network.train()
            self.task.loss(compiled, make(0), self.device, self.settings.learning_rate).backward()
        except Exception as bad:  # compilers fail in many ways, and none of them matters
            reason = (str(bad).strip().splitlines() or [type(bad).__name__])[0][:200]
            log.warning("torch.compile failed (%s); training goes on without it, more slowly.", reason)
            torch.compiler.reset()
            compiled = forward
        self.network.load_state_dict(kept)
        self.optimiser.zero_grad(set_to_none=True)
        return compiled

    def _epoch(self) -> Iterator[None]:
        """Train to the end of the running epoch, from the batch where the state is; the next one is made meanwhile."""
        state, settings = self.state, self.settings
        self.network.train()
        count, make = self.task.batches([settings.seed, state.epoch])
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(make, state.batch)
            for i in range(state.batch, count):
                made = ahead.result()
                ahead = pool.submit(make, min(i + 1, count - 1))
                state.total += self._step(made, self._rate(state.epoch + i / count), i)
                state.step, state.batch = state.step + 1, i + 1
                if time.monotonic() - self.saved > 60 * settings.checkpoint_minutes and i + 1 < count:
                    self._save()
                yield

    def _rate(self, epochs: float) -> float:
        """Learning rate after so many epochs."""
        warm = min(1.0, (self.state.step + 1) / max(1, self.settings.warmup))
        return self.settings.learning_rate * warm * (0.5 + 0.5 * math.cos(math.pi * epochs / self.settings.epochs))

    def _step(self, made: Any, rate: float, i: int) -> float:
        seed = np.random.SeedSequence([self.settings.seed, self.state.epoch, i]).generate_state(1, np.uint64)
        torch.manual_seed(int(seed[0]) >> 1)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = self.task.loss(self.forward, made, self.device, rate)
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
        """Take AdamW's step, and more of it where the task asks for longer ones."""
        before = [weight.detach().clone() for weight, _ in self.longer]
        self.optimiser.step()
        with torch.no_grad():
            for (weight, times), old in zip(self.longer, before):
                # what decay alone would have left
                kept = old * (1 - rate * self.settings.weight_decay) if weight.ndim > 1 else old
                weight.copy_(kept + (weight - kept) * times)

    def _follow(self) -> None:
        """Move the average towards the weights; faster at the start, when they are still far from anything."""
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
        state = self.state
        found = self.task.validate(self.average, self.device)
        rate = float(self.optimiser.param_groups[0]["lr"])
        if not math.isfinite(found.loss):
            raise self._diverged("the validation loss is not finite", rate)
        row = {
            "epoch": state.epoch + 1,
            "step": state.step,
            "learning_rate": rate,
            "train_loss": state.total / state.batch,
            "validation_loss": found.loss,
            **found.columns,
            "plateau": found.plateau,
        }
        state.history.append(row)
        by_loss = self.settings.choose == "loss" or math.isnan(found.score)
        value = found.loss if by_loss else -found.score
        new = value < state.best
        if new:
            state.best, state.best_epoch = value, state.epoch
            self.best = {key: value.detach().clone() for key, value in self.average.state_dict().items()}
        state.epoch, state.batch, state.total = state.epoch + 1, 0, 0.0
        self._save()
        text = "epoch %d: training loss %.4f, validation loss %.4f, %s %.3f on average%s"
        best = " (best)" if new else ""
        log.info(text, row["epoch"], row["train_loss"], found.loss, self.task.score, found.score, best)
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
            log.warning("%s", self.task.advice(history[-1]))
        elif len(due) > 1 and not history[-1]["plateau"] and all(row.get("plateau") for row in history[:-1]):
            log.info("epoch %d: the plateau is left", history[-1]["epoch"])

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

    def _best_network(self) -> Any:
        network = copy.deepcopy(self.average)
        network.load_state_dict(self.best)
        return network.requires_grad_(True).cpu().eval()

    def _history(self) -> pl.DataFrame:
        return pl.DataFrame(self.state.history, infer_schema_length=None)

    def _done(self) -> int:
        # batches of a tiling, which has a window more or less at another offset
        return self.state.epoch * self.task.per_epoch + min(self.state.batch, self.task.per_epoch)

    def _label(self) -> str:
        state, last = self.state, self.state.history[-1:]
        text = f"epoch {min(state.epoch + 1, self.settings.epochs)} of {self.settings.epochs}"
        return text + (f", validation loss {last[0]['validation_loss']:.4f}" if last else "")

    def _save(self) -> None:
        if self.file is None:
            return
        kept = {"identity": self.identity, "network": self.network.state_dict(), "average": self.average.state_dict()}
        kept |= {"best": self.best, "optimiser": self.optimiser.state_dict(), "state": vars(self.state)}
        write_state(self.file, kept)
        self.saved, self.saved_step = time.monotonic(), self.state.step

    def _load(self, file: Path) -> None:
        found = read_state(file)
        then, now = found["identity"], self.identity
        keys = [key for key in sorted({*then, *now}) if then.get(key) != now.get(key)]
        if keys:
            differs = [f"{key} was {then.get(key, 'absent')}, is {now.get(key, 'absent')}" for key in keys]
            raise GenopredError(
                f"{file} is the checkpoint of another run: {len(differs)} things differ ({examples(differs)}). Use "
                "another --out, or --no-resume to start anew and replace it."
            )
        self.network.load_state_dict(found["network"])
        self.average.load_state_dict(found["average"])
        self.optimiser.load_state_dict(found["optimiser"])
        self.best = {key: value.to(self.device) for key, value in found["best"].items()}
        vars(self.state).update(found["state"])
        self.saved_step = self.state.step
        log.info("%s: going on after step %d (epoch %d)", file, self.state.step, self.state.epoch + 1)


@contextmanager
def _threads(n: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if n is not None:
        torch.set_num_threads(cores(n, f"training.threads = {n}"))
    try:
        yield
    finally:
        if n is not None:
            torch.set_num_threads(before)


def _ignore(*_: Any) -> None:
    pass
