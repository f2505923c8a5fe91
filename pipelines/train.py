"""A configuration, a FASTA and bigWig tracks -> a trained network, its curves, and the regions to test it on.

OUT/                     the folder of a run
  model/                   best network so far, config.json and model.safetensors; either folder serves `--model`
  history.tsv curves.svg   a row and a point an epoch
  timing.tsv               seconds of each epoch: beside the log the one file that two equal runs do not have in common
  regions.tsv              chrom, start, end (0-based half-open), split, block
  matched.tsv              windows that came in, were used and were dropped, and why
  config.json              the configuration with all defaults, and versions
  last.pt                  all that is needed to go on after an interruption; what the run depends on is in it
  inflation.tsv block/     of a random split alone: how much its scores promise, and the block split's run beside it
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from genopred import align
from genopred.errors import GenopredError
from genopred.files import write_json, write_text
from genopred.pipelines.run import Progress, Run, say, write_tables
from genopred.pipelines.train_inputs import load_data, read_config
from genopred.report import words
from genopred.resume import sweep
from genopred.sequence.models.config import CONFIG, NETWORK, REGIONS
from genopred.settings import Train
from genopred.settings.training import ByBlock, ByRandom
from genopred.training.config import TrainConfig, parse_config
from genopred.training.config_expression import ExpressionConfig
from genopred.training.config_personal import PersonalConfig
from genopred.training.dataset import SequenceData
from genopred.training.inflation import inflation, inflation_lines
from genopred.training.loop import Task, TrainingRun, train
from genopred.training.networks.registry import NETWORKS
from genopred.training.regions import make_split
from genopred.training.splits import SPLITS, Split
from genopred.training.store import save_network
from genopred.training.tasks.tracks import TrackTask

if TYPE_CHECKING:
    from genopred.pipelines.train_expression import ExpressionReport
    from genopred.pipelines.train_personal import PersonalReport
    from genopred.pipelines.train_search import SearchReport

log = logging.getLogger(__name__)

CHECKPOINT, HISTORY, CURVES, TIMING = "last.pt", "history.tsv", "curves.svg", "timing.tsv"
INFLATION, BESIDE = "inflation.tsv", "block"
_OF_EACH = (CHECKPOINT, HISTORY, CURVES, TIMING, REGIONS, CONFIG, f"{NETWORK}/*")
#: Of tasks of other files: a row a gene, a fold, a trial, a person or a cell, predictions, a page.
_OF_TASKS = (
    "genes.tsv", "folds.tsv", "search.tsv", "search.json", "samples.tsv", "people.tsv", "table.tsv",
    "predictions.parquet", "*.html", "*.svg",
)  # fmt: skip
OUTPUTS = (*_OF_EACH, *(f"{BESIDE}/{name}" for name in _OF_EACH), INFLATION, "inflation.txt", "matched.tsv", *_OF_TASKS)


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
        run = self.run
        out = words.training(run, self.windows)
        out.append(where_it_is(self.out))
        if run.plateau:
            out.append(run.plateau)
        if self.inflation is not None:
            out += inflation_lines(self.inflation)
        return out


def where_it_is(out: Path) -> str:
    """A line on what a run left in its folder."""
    return f"network in {out / NETWORK}, curves in {out / HISTORY} and {CURVES}"


def run(
    settings: Train, progress: Progress | None = None
) -> TrainReport | ExpressionReport | SearchReport | PersonalReport:
    """Train as a configuration says; everything lands in one folder.

    A run that was killed goes on from its last checkpoint, and on a CPU ends with the weights that it would have had.
    With a random split a second network is trained on the block split, unless `compare = false`, and both are scored.

    Parameters
    ----------
    settings : genopred.settings.Train
    progress : function of (done, total, label), optional

    Returns
    -------
    TrainReport, or what the task's own file or a search reports

    Raises
    ------
    GenopredError
        If the data do not fit each other or the memory, a split is empty, the folder's checkpoint is another run's, or
        training diverges.
    """
    changes = {name: getattr(settings, name) for name in ("epochs", "threads", "device", "seed")}
    config = read_config(settings.config, **changes)
    with Run(settings, OUTPUTS, progress, own_threads=True) as job:
        if isinstance(config, ExpressionConfig):
            from genopred.pipelines import train_expression

            return train_expression.run(job, config)
        if isinstance(config, PersonalConfig):
            if settings.search is not None:
                raise GenopredError(f"--search {settings.search}: with task = 'personal' nothing is searched.")
            from genopred.pipelines import train_personal

            return train_personal.run(job, config)
        if settings.search is not None:
            from genopred.pipelines.train_search import search

            return search(job, config, searched())
        # no `settle`: a checkpoint knows what it depends on more finely than a configuration file does
        job.sweep()
        data = load_data(config)
        task = _task(config, data, make_split(config, data))
        done = _train(job, config, task, job.out)
        _count(job, config, task)
        return TrainReport(job.out, done, task.windows, _compare(job, config, task, done))


def searched() -> Any:
    """What a search is told of this task."""
    from genopred.pipelines.train_search import Searched

    def train_windows(job: Run, config: TrainConfig, data: SequenceData, folder: Path) -> TrainingRun:
        sweep(folder, _OF_EACH)
        return _train(job, config, _task(config, data, make_split(config, data)), folder)

    return Searched(
        of="windows",
        parse=parse_config,
        networks=NETWORKS,
        margin=lambda config: config.data.window,
        depends=lambda config: [config.written["data"], config.written["tracks"]],
        read=load_data,
        train=train_windows,
        leaves=_OF_EACH,
    )


def _count(job: Run, config: TrainConfig, task: TrackTask) -> None:
    """What became of the windows, as they tile the regions without an offset."""
    tally = align.Tally()
    for name in SPLITS[:2]:
        item, dropped = f"{name} windows", task.windows[f"{name}_n"]
        tally.come(item, f"in the {name} regions", task.windows[name] + dropped)
        tally.drop(item, f"more than {config.data.max_n:.0%} N", dropped)
        tally.use(item, "trained on" if name == "train" else "validated on")
    report = tally.report()
    say(report)
    job.matched(report)


def _task(config: TrainConfig, data: SequenceData, split: Split) -> TrackTask:
    return TrackTask(data, split, config.shape, config.kind, config.training, config.sizes, config.data.max_n)


def _train(job: Run, config: TrainConfig, task: TrackTask, out: Path) -> TrainingRun:
    def describe() -> None:
        describe_run(out, config)
        write_tables({out / REGIONS: task.split.regions})

    def save(network: Any, best: dict[str, Any]) -> None:
        save_network(network, out / NETWORK, task.data, written=config.written, best=best)

    return run_task(job, task, out, describe, save)


def describe_run(out: Path, config: Any, **more: Any) -> None:
    """Write config.json: the configuration with all defaults, versions, and what more there is to say."""
    from genopred.provenance import machine, versions

    about = {"config": config.resolved(), "versions": versions(), "machine": machine(), "source": config.source}
    write_json(out / CONFIG, about | more)


def run_task(
    job: Run, task: Task, out: Path, describe: Callable[[], None], save: Callable[[Any, dict[str, Any]], None],
    **labels: Any,
) -> TrainingRun:  # fmt: skip
    """Train in a folder: checkpoints, the best network so far, history and curves.

    Parameters
    ----------
    job : Run
        Whose `resume` counts.
    task : Task
    out : Path
    describe : callable
        Writes what the run is about; at the start of a new one, and again after each epoch.
    save : callable
        Writes a network that is the best so far, given its row of the history.
    **labels
        Of the curves.
    """
    from genopred.report.figures import save_figure
    from genopred.report.figures_training import training_curves

    # before anything in the folder is touched: another run's checkpoint is refused in train()
    checkpoint = out / CHECKPOINT
    resume = job.settings.resume
    fresh = not (resume and checkpoint.exists())
    clock = Clock({} if fresh else read_timing(out / TIMING))

    def on_epoch(network: Any, history: pl.DataFrame, best: int) -> None:
        describe()
        write_tables({out / HISTORY: history, out / TIMING: clock.of(history["epoch"].to_list())})
        if network is not None:
            save(network, history.row(best, named=True))
        save_figure(training_curves(history, best=best, **labels), out / CURVES)

    if fresh:
        describe()
    return train(task, checkpoint=checkpoint, resume=resume, progress=job.step, on_epoch=on_epoch)


class Clock:
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


def read_timing(file: Path) -> dict[int, float]:
    """What an earlier run took; where that cannot be read it is not known."""
    try:
        table = pl.read_csv(file, separator="\t", schema={"epoch": pl.Int64, "seconds": pl.Float64})
    except (OSError, pl.exceptions.PolarsError):
        return {}
    return dict(table.drop_nulls().iter_rows())


def _compare(job: Run, config: TrainConfig, task: TrackTask, done: TrainingRun) -> pl.DataFrame | None:
    """Train the block split's network beside that of a random split, and score both."""

    def measure(folder: Path) -> pl.DataFrame:
        second = replace(config, split=ByBlock(**config.split.shared(ByBlock), margin=config.data.window))
        beside = make_split(second, task.data)
        other = _train(job, second, _task(second, task.data, beside), folder)
        networks: dict[str, Any] = {"random": (done.network, task.split), "block": (other.network, beside)}
        limits: dict[str, Any] = {"max_n": config.data.max_n, "precision": config.training.precision}
        return inflation(task.data, config.shape, **networks, **limits)

    why = "test windows overlap training windows, so that their scores are inflated"
    return compare(config.split, job.out, why, measure, inflation_lines)


def compare(
    split: Any, out: Path, why: str, measure: Callable[[Path], pl.DataFrame],
    lines: Callable[[pl.DataFrame], list[str]],
) -> pl.DataFrame | None:  # fmt: skip
    """Of a random split in `out`: warn, measure what its scores promise too much, and write that as table and text.

    Parameters
    ----------
    split : settings of a split
    out : Path
    why : str
        What a random split does, for the warning.
    measure : function of the folder of a second run
        Trains on the block split, and scores both.
    lines : function of what was measured
    """
    if not isinstance(split, ByRandom):
        return None
    warning = f"split.by = 'random': {why}"
    if not split.compare:
        log.warning("%s; by how much is not measured (split.compare = false).", warning)
        return None
    log.warning("%s; a second network is trained on the block split to say by how much.", warning)
    table = measure(out / BESIDE)
    write_tables({out / INFLATION: table})
    write_text(out / "inflation.txt", "\n".join(lines(table)) + "\n")
    return table
