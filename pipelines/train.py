"""A configuration, a FASTA and bigWig tracks -> a trained network, its curves, and the regions to test it on.

OUT/                     the folder of a run
  model/                   best network so far, config.json and model.safetensors; either folder serves `--model`
  history.tsv curves.svg   a row and a point an epoch
  timing.tsv               seconds of each epoch: beside the log the one file that two equal runs do not have in common
  regions.tsv              chrom, start, end (0-based half-open), split, block
  config.json              the configuration with all defaults, and versions
  last.pt                  all that is needed to go on after an interruption
  inflation.tsv block/     of a random split alone: how much its scores promise, and the block split's run beside it
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from genopred.errors import GenopredError, examples
from genopred.files import lock_output, write_files, write_json, write_text
from genopred.io.text import PathLike
from genopred.pipelines.run import sweep
from genopred.pipelines.train_config import SPLIT_KEYS, TrainConfig, naming
from genopred.training.dataset import SequenceData, bytes_needed
from genopred.training.inflation import inflation, inflation_lines
from genopred.training.loop import Progress, TrainingRun, find_device, train
from genopred.training.memory import free_memory, least_bytes, training_bytes
from genopred.training.splits import SPLITS, Split, split_blocks, split_chromosomes, split_random
from genopred.training.store import save_network
from genopred.training.tasks.tracks import TrackTask
from genopred.types import Interval

if TYPE_CHECKING:
    from genopred.io.fasta import Fasta

log = logging.getLogger(__name__)

MODEL, CHECKPOINT, HISTORY, CURVES, TIMING = "model", "last.pt", "history.tsv", "curves.svg", "timing.tsv"
REGIONS, CONFIG, INFLATION, BESIDE = "regions.tsv", "config.json", "inflation.tsv", "block"


@dataclass(frozen=True)
class TrainReport:
    """What a run did.

    Attributes
    ----------
    out : Path
    run : TrainingRun
    windows : dict of str to int
        As of `TrackTask`.
    inflation : polars.DataFrame or None
        Of a random split: columns as `inflation` gives them.
    """

    out: Path
    run: TrainingRun
    windows: dict[str, int]
    inflation: pl.DataFrame | None = None

    def lines(self) -> list[str]:
        """For the screen."""
        run, w = self.run, self.windows
        best = run.history.row(run.best_epoch - 1, named=True)
        out = [
            f"{w['train']:,} training and {w['validation']:,} validation windows; {w['train_n'] + w['validation_n']:,} "
            "left out for their N",
            f"best epoch {run.best_epoch} of {run.history.height}"
            f"{', stopped early' if run.stopped_early else ''}: validation loss {best['validation_loss']:.4f}",
        ]
        for name in run.history.columns:
            if name.startswith("pearson_"):
                out.append(f"  {name[8:]}: Pearson of log(1 + value) {best[name]:.3f} on validation windows")
        out.append(f"network in {self.out / MODEL}, curves in {self.out / HISTORY} and {CURVES}")
        if run.plateau:
            out.append(run.plateau)
        if self.inflation is not None:
            out += inflation_lines(self.inflation)
        return out


def run(
    config: TrainConfig, out: PathLike, *, resume: bool = True, progress: Progress | None = None, figures: bool = True
) -> TrainReport:
    """Train as a configuration says; everything lands in one folder.

    A run that was killed goes on from its last checkpoint, and on a CPU ends with the weights that it would have had.
    With a random split a second network is trained on the block split, unless `compare = false`, and both are scored.

    Parameters
    ----------
    config : TrainConfig
    out : path
        Folder.
    resume : bool
        Go on where there is a checkpoint.
    progress : callable, optional
        Called as `progress(done, total, label)`.
    figures : bool
        Draw curves.svg after each epoch.

    Returns
    -------
    TrainReport

    Raises
    ------
    GenopredError
        If the data do not fit each other or the memory, a split is empty, the folder's checkpoint is another run's, or
        training diverges.
    """
    out = Path(out)
    make_folder(out)
    with lock_output(out):
        sweep(out, [f"{folder}*" for folder in ("", f"{MODEL}/", f"{BESIDE}/", f"{BESIDE}/{MODEL}/")])
        data = load_data(config)
        split = make_split(config, data)
        task = _task(config, data, split)
        done = _train(config, task, out, resume, progress, figures)
        table = None
        if config.split["by"] == "random":
            table = _compare(config, task, done, out, resume, progress, figures)
        return TrainReport(out, done, task.windows, table)


def load_data(config: TrainConfig) -> SequenceData:
    """Read sequence and signal; refused where the memory that is free would not do.

    Raises
    ------
    GenopredError
        If there is too little memory, or a file does not fit (see `genopred.io.bigwig.read_signal`).
    """
    from genopred.io.bigwig import read_signal
    from genopred.io.fasta import open_fasta
    from genopred.sequence.onehot import encode

    fasta = open_fasta(config.fasta)
    lengths = _lengths(config, fasta)
    _check_memory(config, lengths)
    codes = {}
    for chrom, length in lengths.items():
        codes[chrom] = encode(fasta.fetch(Interval(chrom, 0, length))).astype(np.uint8)
    signals = [read_signal(item.file, lengths, config.step) for item in config.tracks]
    sums = {chrom: np.stack([signal.pop(chrom) for signal in signals]) for chrom in lengths}
    log.info("%d tracks of %s, %s bp", len(signals), examples(list(lengths)), f"{sum(lengths.values()):,}")
    return SequenceData(codes, sums, config.step, tuple(item.track for item in config.tracks))


def make_split(config: TrainConfig, data: SequenceData, by: str | None = None) -> Split:
    """The split that a configuration asks for; with `by`, another one of the same fractions, blocks and seed."""
    of = config.split if by in (None, config.split["by"]) else SPLIT_KEYS[str(by)] | {"by": by} | _shared(config.split)
    with naming(config.source):
        if of["by"] == "chromosome":
            lists = {name: of[name] for name in SPLITS}
            return split_chromosomes(data.lengths, lists, block=of["block"], usable=data.codes, shape=config.shape)
        if of["by"] == "random":
            return split_random(
                data.lengths,
                config.shape,
                fractions=of["fractions"],
                seed=of["seed"],
                block=of["block"],
                usable=data.codes,
            )
        return split_blocks(
            data.lengths,
            block=of["block"],
            fractions=of["fractions"],
            margin=config.shape.window if of["margin"] is None else of["margin"],
            seed=of["seed"],
            usable=data.codes,
            shape=config.shape,
        )


def _task(config: TrainConfig, data: SequenceData, split: Split) -> TrackTask:
    return TrackTask(data, split, config.shape, config.kind, config.settings, config.sizes, config.max_n)


def _train(
    config: TrainConfig,
    task: TrackTask,
    out: Path,
    resume: bool,
    progress: Progress | None,
    figures: bool,
) -> TrainingRun:
    from genopred.report.provenance import machine, versions

    # before anything in the folder is touched: another run's checkpoint is refused in train()
    checkpoint = out / CHECKPOINT
    fresh = not (resume and checkpoint.exists())
    clock = _Clock({} if fresh else _read_timing(out / TIMING))

    def describe() -> None:
        about = {"config": config.resolved(), "versions": versions(), "machine": machine(), "source": config.source}
        write_json(out / CONFIG, about)
        write_files({out / REGIONS: lambda path: task.split.regions.write_csv(path, separator="\t")})

    def on_epoch(network: Any, history: pl.DataFrame, best: int) -> None:
        describe()
        table = clock.of(history["epoch"].to_list())
        write_files(
            {
                out / HISTORY: lambda path: history.write_csv(path, separator="\t"),
                out / TIMING: lambda path: table.write_csv(path, separator="\t"),
            }
        )
        if network is not None:
            row = history.row(best, named=True)
            save_network(network, out / MODEL, task.data, written=config.written, best=row)
        if figures:
            from genopred.report.figures import save_figure
            from genopred.report.figures_training import training_curves

            save_figure(training_curves(history, best=best), out / CURVES)

    if fresh:
        describe()
    return train(task, checkpoint=checkpoint, resume=resume, progress=progress, on_epoch=on_epoch)


class _Clock:
    """Seconds that epochs took; of one that was interrupted those since it was taken up again."""

    def __init__(self, known: dict[int, float]) -> None:
        self.known, self.begun = known, time.monotonic()

    def of(self, epochs: list[int]) -> pl.DataFrame:
        """The epochs so far: epoch, seconds; those that are new end now."""
        now = time.monotonic()
        for epoch in epochs:
            if epoch not in self.known:
                self.known[epoch], self.begun = round(now - self.begun, 3), now
        rows = [(epoch, self.known[epoch]) for epoch in epochs]
        return pl.DataFrame(rows, schema={"epoch": pl.Int64, "seconds": pl.Float64}, orient="row")


def _read_timing(file: Path) -> dict[int, float]:
    """What an earlier run took; where that cannot be read it is not known."""
    try:
        table = pl.read_csv(file, separator="\t", schema={"epoch": pl.Int64, "seconds": pl.Float64})
    except (OSError, pl.exceptions.PolarsError):
        return {}
    return dict(table.drop_nulls().iter_rows())


def _compare(
    config: TrainConfig,
    task: TrackTask,
    done: TrainingRun,
    out: Path,
    resume: bool,
    progress: Progress | None,
    figures: bool,
) -> pl.DataFrame | None:
    """Train the block split's network beside that of the random split, and score both."""
    warning = "split.by = 'random': test windows overlap training windows, so that their scores are inflated"
    if not config.split["compare"]:
        log.warning("%s; by how much is not measured (split.compare = false).", warning)
        return None
    log.warning("%s; a second network is trained on the block split to say by how much.", warning)
    beside = make_split(config, task.data, "block")
    make_folder(out / BESIDE)
    changed = dict(config.written) | {"split": {"by": "block"} | SPLIT_KEYS["block"] | _shared(config.split)}
    changed["split"]["margin"] = config.shape.window
    second = replace(config, split=changed["split"], written=changed)
    other = _train(second, _task(second, task.data, beside), out / BESIDE, resume, progress, figures)
    table = inflation(
        task.data,
        config.shape,
        random=(done.network, task.split),
        block=(other.network, beside),
        max_n=config.max_n,
        precision=config.settings.precision,
    )
    write_files({out / INFLATION: lambda path: table.write_csv(path, separator="\t")})
    write_text(out / "inflation.txt", "\n".join(inflation_lines(table)) + "\n")
    return table


def _shared(split: Mapping[str, Any]) -> dict[str, Any]:
    return {key: split[key] for key in ("block", "fractions", "seed") if key in split}


def _lengths(config: TrainConfig, fasta: Fasta) -> dict[str, int]:
    return {chrom: fasta.length(chrom) for chrom in config.chromosomes or fasta.chroms}


def _check_memory(config: TrainConfig, lengths: Mapping[str, int]) -> None:
    """Refuse what does not fit, before the files are read."""
    device = find_device(config.settings.device)
    held = bytes_needed(lengths, len(config.tracks), config.step)
    # while it is stacked, a chromosome's signal is there twice
    held += max(4 * len(config.tracks) * -(-length // config.step) for length in lengths.values())
    free = {"host": free_memory()}
    if device.type == "cuda":
        import torch

        free[str(device)] = torch.cuda.mem_get_info(device)[0]
    network = (config.kind, len(config.tracks), config.shape)
    # to know it exactly takes a pass of one window: not of a network that cannot fit
    _refuse(config, lengths, held, least_bytes(*network, config.settings.batch, **config.sizes), free)
    _refuse(config, lengths, held, training_bytes(*network, config.settings.batch, config.sizes), free)


def _refuse(
    config: TrainConfig, lengths: Mapping[str, int], held: int, work: int, free: Mapping[str, int | None]
) -> None:
    """Refuse where the data and what training takes at work need more than is free."""
    on_gpu = len(free) > 1
    for place, left in free.items():
        needed = work if place != "host" else held if on_gpu else held + work
        if left is not None and needed > left:
            raise GenopredError(
                f"too little memory on {place}: about {_gb(needed)} are needed ({_gb(held)} for {len(config.tracks)} "
                f"tracks of {sum(lengths.values()):,} bp in steps of {config.step} bp, {_gb(work)} for training with "
                f"batches of {config.settings.batch}), {_gb(left)} are free. Use a larger data.step (up to data.bin, "
                f"{config.shape.bin}), fewer data.chromosomes or tracks, or a smaller training.batch or network."
            )


def _gb(n: int) -> str:
    return f"{n / 1e9:,.2f} GB"


def make_folder(out: Path) -> None:
    """Make the folder of the results."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as bad:
        raise GenopredError(f"--out {out}: cannot make this folder ({bad.strerror}); choose another.") from None
