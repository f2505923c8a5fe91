"""A trained sequence model and measured tracks -> how well it predicts them on held-out stretches, beside baselines.

Of runs that learned genes' expression see `evaluate_genes`, which the same command runs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeVar
from zipfile import BadZipFile

import numpy as np
import polars as pl

from genopred import align
from genopred.errors import FormatError, GenopredError, examples
from genopred.files import atomic
from genopred.io.text import read_bytes, read_table
from genopred.pipelines.run import Progress, Run, write_tables
from genopred.pipelines.sequence_inputs import use_threads
from genopred.pipelines.train_inputs import is_gene_run, open_held, open_model
from genopred.report import words
from genopred.report.pages import evaluate as page
from genopred.resume import sweep
from genopred.sequence.models.config import REGIONS
from genopred.settings import Evaluate
from genopred.training.config import TrainConfig
from genopred.training.dataset import track_table
from genopred.training.heldout import (
    Array,
    Entry,
    Held,
    bin_table,
    compare,
    distinct,
    fitted_ridge,
    predict,
    seen_bases,
    shared_columns,
)

if TYPE_CHECKING:
    from genopred.pipelines.evaluate_genes import GeneEvaluation

log = logging.getLogger(__name__)

Kept = TypeVar("Kept")


class Evaluated(Protocol):
    """What is evaluated: a model of tracks or a run of genes."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def hash(self) -> str:
        """Equal ones predict equally."""

    @property
    def folder(self) -> Path | None:
        """Its training run's."""


#: One line for each time a split was predicted, in the training run's folder.
EVALUATIONS = "evaluations.tsv"
EVALUATION_SCHEMA = {name: pl.String for name in ("date", "split", "model", "model_hash", "out")}

#: Folder of predictions that a killed run has made.
PARTS = ".parts"
#: All that is written.
OUTPUTS = (
    "scores.*", "differences.*", "predictions.parquet", "density.*", "browser-*", "evaluate.html", "matched.tsv",
    "tests.*", "folds.*", "errors.*", "cells.*", "methods.*", "positions.*", f"{PARTS}/*",
)  # fmt: skip


@dataclass(frozen=True)
class EvaluateRun:
    """What a run found.

    Attributes
    ----------
    scores : polars.DataFrame
        `model`, `split`, and the columns of `genopred.training.scores.TRACK_SCORE_SCHEMA`.
    differences : polars.DataFrame
        `model`, `against`, `split`, and the same columns: of the differences on the same bins.
    looks : int
        How often this split had been evaluated before, as far as the run's folder knows.
    reading : tuple of str
        What was evaluated, in sentences.
    notes : tuple of str
        What to beware of.
    files : list of Path
    """

    scores: pl.DataFrame = field(repr=False)
    differences: pl.DataFrame = field(repr=False)
    looks: int
    reading: tuple[str, ...]
    notes: tuple[str, ...]
    files: list[Path]

    def lines(self) -> list[str]:
        """For the screen: the log-scale correlation of each track, then what to beware of."""
        tracks = words.track_scores(self.scores, self.differences)
        return [*self.reading, *tracks, *self.notes, *(f"  {file}" for file in self.files)]


def run(settings: Evaluate, progress: Progress | None = None) -> EvaluateRun | GeneEvaluation:
    """Predict the windows of a split, and write scores, differences, predictions, figures and a page.

    Predictions of each model are kept in the folder until all is written: a run that was killed does not make them
    again.

    Parameters
    ----------
    settings : genopred.settings.Evaluate
    progress : function of (done, total, label), optional

    Returns
    -------
    EvaluateRun, or of a run that learned expression `genopred.pipelines.evaluate_genes.GeneEvaluation`

    Raises
    ------
    GenopredError
        On bad input of any kind.
    """
    with Run(settings, OUTPUTS, progress, own_threads=True) as job:
        if is_gene_run(settings.model):
            from genopred.pipelines import evaluate_genes

            return evaluate_genes.run(job)
        if untold := [name for name in settings.baseline if name != "ridge"]:
            raise GenopredError(
                f"--baseline {untold[0]}: it is of runs that learned expression; of tracks there is ridge."
            )
        # what is quick comes first: reading tracks takes a minute
        called = [("MODEL", settings.model), *(("--against", name) for name in settings.against)]
        models = distinct([open_model(name, settings.device, said) for said, name in called])
        genes = exons = None
        if settings.gtf is not None:
            from genopred.io.annotation import read_exons, read_gtf

            genes, exons = read_gtf(settings.gtf), read_exons(settings.gtf)
        held, config, folder = open_held(settings)
        use_threads(settings)
        first, *others = ([model.name, model.hash] for model in models)
        job.settle(model=first, against=others, config=_predicted(config, folder))
        sweep(job.out, [EVALUATIONS])
        return evaluate(job, held, models, models[0].folder or folder or job.out, genes, exons)


def _predicted(config: TrainConfig, folder: Path | None) -> dict[str, Any]:
    """What is predicted, for the fingerprint: files stand for what is in them, wherever they lie."""
    written = config.written
    return {
        "data": written["data"] | {"fasta": config.fasta},
        "tracks": [row | {"file": file} for row, file in zip(written["tracks"], config.files, strict=True)],
        "split": written["split"] if folder is None else folder / REGIONS,
    }


def evaluate(
    job: Run, held: Held, models: Sequence[Entry], folder: Path, genes: pl.DataFrame | None,
    exons: pl.DataFrame | None,
) -> EvaluateRun:  # fmt: skip
    """Score models on held-out windows, the first against the others, and write all of it.

    The look at the split is written down, see `looked`.
    """
    settings = job.settings
    columns = shared_columns(held, models)
    notes = [text for model in models if (text := seen_bases(held, model))]
    if settings.baseline:
        models = [*models, fitted_ridge(held, job.step)]
        columns = [*columns, columns[0]]
    parts = [job.path(f"{PARTS}/{i}.npy") for i in range(len(models))]
    predicted = [_kept(job, held, *one) for one in zip(models, columns, parts, strict=True)]
    looks = looked(job, held.name, models, folder)
    scores, differences = compare(held, models, columns, predicted, resamples=settings.resamples, seed=settings.seed)
    reading = words.held_out(held, models[0].name, settings.strands)
    notes += words.held_out_cautions(held, looks, folder / EVALUATIONS)
    mine = columns[0]
    _count(job, held, mine)
    tables = {"scores": scores} | ({"differences": differences} if differences.height else {})
    files = [file for file in job.save(**tables) if file.suffix == ".tsv"]
    measured = held.measured()
    bins = bin_table(held, mine, measured, predicted[0])
    files.append(job.path("predictions.parquet"))
    write_tables({files[-1]: bins})
    shown = page.Shown(
        title=f"{models[0].name} on {held.name} blocks",
        reading=tuple(reading),
        notes=tuple(notes),
        model=models[0].name,
        split=held.name,
        tracks=track_table([held.data.tracks[k] for k in mine]),
        chroms=held.windows.chroms,
        starts=held.first,
        bin=held.shape.bin,
        measured=measured[:, :, mine],
        predicted=predicted[0],
        scores=scores,
        differences=differences,
        genes=genes,
        exons=exons,
        info=about(settings, held.name, models),
    )
    files += page.write(job.out, shown, settings.figures)
    job.drop(PARTS)
    return EvaluateRun(scores, differences, looks.height, tuple(reading), tuple(notes), files)


def _count(job: Run, held: Held, used: Sequence[int]) -> None:
    """What became of windows and tracks."""
    names = [track.name for track in held.data.tracks]
    tally = align.Tally()
    tally.come("windows", f"in the {held.name} regions", len(held.windows.starts) + held.dropped)
    tally.drop("windows", f"more than {held.max_n:.0%} N", held.dropped)
    tally.use("windows", "predicted")
    tally.come("tracks", "measured", len(names))
    tally.drop("tracks", "not among the model's", [name for k, name in enumerate(names) if k not in used])
    tally.use("tracks", "scored")
    job.matched(tally.report())


def _kept(job: Run, held: Held, model: Entry, which: list[int], file: Path) -> Array:
    """Predictions of the tracks asked for."""

    def make() -> Array:
        values = predict(model, held, both_strands=job.settings.strands == "both", step=job.step)
        names = [held.data.tracks[k].name for k in which]
        return np.ascontiguousarray(values[:, :, [model.tracks.index(name) for name in names]])

    return kept(file, model.name, make, lambda there: np.load(there, allow_pickle=False), np.save)


def kept(
    file: Path, name: str, make: Callable[[], Kept], read: Callable[[Path], Kept],
    write: Callable[[BinaryIO, Kept], None],
) -> Kept:  # fmt: skip
    """What is predicted by this name: what a killed run made is read, else it is made and written for the next."""
    if file.is_file():
        try:
            there = read(file)
            log.info("%s: predictions of an earlier run are used", name)
            return there
        except (OSError, ValueError, EOFError, KeyError, BadZipFile):
            log.warning("%s is damaged and computed again", file)
    made = make()
    with atomic(file) as temporary, temporary.open("wb") as handle:
        write(handle, made)
    return made


def about(settings: Evaluate, split: str, models: Sequence[Evaluated]) -> dict[str, Any]:
    """What the page says of the run."""
    out: dict[str, Any] = {"command": settings.command} if settings.command else {}
    out |= {"split": split} | {name: getattr(settings, name) for name in ("strands", "resamples", "seed")}
    return out | {f"hash of {model.name}": model.hash[:16] for model in models}


def looked(job: Run, split: str, models: Sequence[Evaluated], folder: Path) -> pl.DataFrame:
    """Write the look at a split down in `folder`, and in the folders of the runs after the first; those before it."""
    first, *others = models
    before = look(folder, job.out, split, first.name, first.hash)
    for one in others:
        if one.folder is not None and one.folder.resolve() != folder.resolve():
            look(one.folder, job.out, split, one.name, one.hash)
    return before


def look(folder: Path, out: Path, split: str, model: str, model_hash: str) -> pl.DataFrame:
    """Write down that a split was looked at; the looks at it before."""
    file = folder / EVALUATIONS
    former = pl.DataFrame(schema=EVALUATION_SCHEMA)
    if file.is_file():
        table, _ = read_table(read_bytes(file, "a list of evaluations"), file, separator="\t")
        lacking = [name for name in EVALUATION_SCHEMA if name not in table.columns]
        if lacking:
            raise FormatError(
                f"{file} has no column {examples(lacking)}; it lists the evaluations of this run. Put it back as it "
                "was, or move it away."
            )
        former = table.select(list(EVALUATION_SCHEMA))
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    row = (now, split, model, model_hash, str(out))
    table = pl.concat([former, pl.DataFrame([row], schema=EVALUATION_SCHEMA, orient="row")])
    write_tables({file: table})
    return former.filter(pl.col("split") == split)
