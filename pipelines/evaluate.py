"""A trained sequence model and measured tracks -> how well it predicts them on held-out stretches, beside baselines."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import FormatError, GenopredError, examples, shortened
from genopred.files import atomic, lock_output, write_files, write_table
from genopred.io.text import read_bytes, read_table
from genopred.pipelines import train
from genopred.pipelines.run import sweep
from genopred.pipelines.train_config import read_config
from genopred.report.pages import evaluate as page
from genopred.sequence.models.base import SequenceModel, devices
from genopred.sequence.models.config import WEIGHTS, network_folder
from genopred.sequence.models.registry import load_model, load_trained
from genopred.sequence.onehot import onehot
from genopred.training.dataset import SequenceData, track_table
from genopred.training.heldout import (
    Array,
    Held,
    Predictor,
    bin_table,
    compare,
    distinct,
    fitted_ridge,
    hold_out,
    predict,
    seen_bases,
    shared_columns,
)
from genopred.training.heldout import Step as Progress
from genopred.training.splits import REGION_SCHEMA, SPLITS, Split, WindowShape

log = logging.getLogger(__name__)

STRANDS = ("forward", "both")
BASELINES = ("ridge",)
FIGURES = ("svg", "png", "none")

#: One line for each time a split was predicted, in the training run's folder.
EVALUATIONS = "evaluations.tsv"
EVALUATION_SCHEMA = {name: pl.String for name in ("date", "split", "model", "model_hash", "out")}

#: More draws say nothing more of an interval, and take memory.
MOST_RESAMPLES = 100_000

#: Folder of predictions that a killed run has made.
_PARTS = ".parts"
#: With fewer blocks an interval over blocks is hardly one.
_FEW_BLOCKS = 5


@dataclass(frozen=True)
class EvaluateConfig:
    """What `genopred evaluate` was asked for; the fields are its options.

    Attributes
    ----------
    model : str
        A training run's folder, or what `genopred.sequence.registry.load_model` takes.
    out : Path
        Folder of the results.
    config : Path, optional
        A training config (TOML) or a training run's folder: tracks, windows and split. By default that of `model`.
    split : str
        `test`, `validation` or `train`.
    against : tuple of str
        Further models, on the same bins.
    baseline : tuple of str
        `ridge`.
    gtf : Path, optional
        Genes to draw.
    strands : str
        `forward`, or `both`: the mean of the predictions from both strands, for every model.
    figures : str
        `svg`, `png` or `none` beside the page.
    resamples, seed : int
        Of the intervals.
    device : str
    threads : int, optional
    command : str
        For the page.
    """

    model: str
    out: Path
    config: Path | None = None
    split: str = "test"
    against: tuple[str, ...] = ()
    baseline: tuple[str, ...] = ()
    gtf: Path | None = None
    strands: str = "forward"
    figures: str = "svg"
    resamples: int = 1000
    seed: int = 1
    device: str = "auto"
    threads: int | None = None
    command: str = ""


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
        from genopred.report.tables import interval, number

        out = list(self.reading)
        rows = self.scores.filter(pl.col("metric") == "pearson_log")
        model = rows["model"][0]
        width = max(len(name) for name in rows["track"])
        more = ", and differences from the others" if self.differences.height else ""
        out.append(f"Pearson r of log(1 + value) with its 95 % interval over blocks{more}:")
        for row in rows.filter(pl.col("model") == model).iter_rows(named=True):
            text = f"  {row['track']:<{width}} {number(row['estimate'], 3)} {interval(row['low'], row['high'], 3)}"
            of = self.differences.filter((pl.col("track") == row["track"]) & (pl.col("metric") == "pearson_log"))
            for other in of.iter_rows(named=True):
                text += f"; {number(other['estimate'], 3, True)} {interval(other['low'], other['high'], 3, True)}"
                text += f" over {other['against']}"
            out.append(text)
        return [*out, *self.notes, *(f"  {file}" for file in self.files)]


def run(config: EvaluateConfig, progress: Progress | None = None) -> EvaluateRun:
    """Predict the windows of a split, and write scores, differences, predictions, figures and a page.

    Predictions of each model are kept in the folder until all is written: a run that was killed does not make them
    again.

    Parameters
    ----------
    config : EvaluateConfig
    progress : callable, optional
        `progress(done, total, label)`.

    Raises
    ------
    GenopredError
        On bad input of any kind.
    """
    step = progress or (lambda done, total, label: None)
    _check(config)
    if config.threads is not None:
        import torch

        torch.set_num_threads(config.threads)
    # what is quick comes first: reading tracks takes a minute
    called = [("MODEL", config.model), *(("--against", name) for name in config.against)]
    models = distinct([open_model(name, config.device, said) for said, name in called])
    genes = exons = None
    if config.gtf is not None:
        from genopred.io.annotation import read_exons, read_gtf

        genes, exons = read_gtf(config.gtf), read_exons(config.gtf)
    data, split, shape, max_n, folder = open_setting(config)
    held = hold_out(data, split, shape, max_n, config.split)
    train.make_folder(config.out)
    with lock_output(config.out):
        sweep(config.out, ["*", f"{_PARTS}/*"])
        return evaluate(config, held, models, models[0].folder or folder or config.out, genes, exons, step)


def evaluate(
    config: EvaluateConfig,
    held: Held,
    models: Sequence[Predictor],
    folder: Path,
    genes: pl.DataFrame | None,
    exons: pl.DataFrame | None,
    step: Progress,
) -> EvaluateRun:
    """Score models on held-out windows, the first against the others, and write all of it.

    Parameters
    ----------
    config : EvaluateConfig
    held : Held
    models : sequence of Predictor
    folder : Path
        Where the look at the split is written down; it is in the folders of the other models' runs, too.
    genes, exons : polars.DataFrame, optional
    step : callable

    Returns
    -------
    EvaluateRun
    """
    columns = shared_columns(held, models)
    notes = [text for model in models if (text := seen_bases(held, model))]
    if config.baseline:
        models = [*models, fitted_ridge(held, step)]
        columns = [*columns, columns[0]]
    predicted = [_kept(config, held, model, which, step) for model, which in zip(models, columns, strict=True)]
    looks = _look(folder, config, held, models[0])
    for model in models[1:]:
        if model.folder is not None and model.folder.resolve() != folder.resolve():
            _look(model.folder, config, held, model)
    scores, differences = compare(held, models, columns, predicted, resamples=config.resamples, seed=config.seed)
    reading = _reading(config, held, models)
    notes += _notes(held, looks, folder)
    mine = columns[0]
    _, scores_file = write_table(scores, config.out / "scores")
    files = [scores_file]
    if differences.height:
        files.append(write_table(differences, config.out / "differences")[1])
    measured = held.measured()
    bins = bin_table(held, mine, measured, predicted[0])
    write_files({config.out / "predictions.parquet": lambda path: bins.write_parquet(path)})
    files.append(config.out / "predictions.parquet")
    info: dict[str, Any] = {"command": config.command} if config.command else {}
    info |= {"split": held.name, "strands": config.strands, "resamples": config.resamples, "seed": config.seed}
    info |= {f"hash of {model.name}": model.hash[:16] for model in models}
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
        info=info,
    )
    files += page.write(config.out, shown, config.figures)
    shutil.rmtree(config.out / _PARTS, ignore_errors=True)
    return EvaluateRun(scores, differences, looks.height, tuple(reading), tuple(notes), files)


def _check(config: EvaluateConfig) -> None:
    for option, value, known in (
        ("split", config.split, SPLITS),
        ("strands", config.strands, STRANDS),
        ("figures", config.figures, FIGURES),
        *(("baseline", name, BASELINES) for name in config.baseline),
    ):
        if value not in known:
            raise GenopredError(f"--{option} {value}: unknown; needed one of {', '.join(known)}.")
    if not 0 <= config.resamples <= MOST_RESAMPLES:
        raise GenopredError(f"--resamples {config.resamples}: needed 0 to {MOST_RESAMPLES:,}.")


def _kept(config: EvaluateConfig, held: Held, model: Predictor, which: list[int], step: Progress) -> Array:
    """Predictions of the tracks asked for; those that a killed run made are read."""
    key = hashlib.sha256()
    words = [model.hash, model.window, model.bin, config.strands, held.shape, [held.data.tracks[k] for k in which]]
    key.update(repr(words).encode())
    for chrom, codes in held.data.codes.items():
        key.update(chrom.encode() + hashlib.sha256(codes.tobytes()).digest())
    key.update(held.windows.starts.tobytes() + "".join(held.windows.chroms.tolist()).encode())
    file = config.out / _PARTS / f"{key.hexdigest()[:32]}.npy"
    if file.is_file():
        try:
            kept = np.load(file, allow_pickle=False)
            log.info("%s: predictions of an earlier run are used", model.name)
            return kept
        except (OSError, ValueError, EOFError):
            log.warning("%s is damaged and computed again", file)
    values = predict(model, held, both_strands=config.strands == "both", step=step)
    names = [held.data.tracks[k].name for k in which]
    values = np.ascontiguousarray(values[:, :, [model.tracks.index(name) for name in names]])
    with atomic(file) as temporary, temporary.open("wb") as handle:
        np.save(handle, values)
    return values


def _look(folder: Path, config: EvaluateConfig, held: Held, model: Predictor) -> pl.DataFrame:
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
    row = (now, held.name, model.name, model.hash, str(config.out))
    table = pl.concat([former, pl.DataFrame([row], schema=EVALUATION_SCHEMA, orient="row")])
    write_files({file: lambda path: table.write_csv(path, separator="\t")})
    return former.filter(pl.col("split") == held.name)


def _reading(config: EvaluateConfig, held: Held, models: Sequence[Predictor]) -> list[str]:
    """What was evaluated, in sentences."""
    n, shape = len(held.windows.starts), held.shape
    blocks = len(np.unique(held.windows.blocks))
    text = (
        f"{models[0].name} on the {held.name} split: {n * shape.n_bins:,} bins of {shape.bin} bp in {n:,} windows of "
        f"{blocks:,} block{'s' if blocks != 1 else ''}"
    )
    if held.dropped:
        text += f"; {held.dropped:,} more windows have over {held.max_n:.0%} N and are left out"
    out = [text + "."]
    if config.strands == "both":
        out.append("Predictions are the mean of those from both strands.")
    clipped = [track.name for track in held.data.tracks if track.clip is not None]
    if clipped:
        out.append(
            f"High values of {len(clipped)} of {len(held.data.tracks)} tracks are clipped softly, as in training: all "
            "metrics are of the clipped values."
        )
    return out


def _notes(held: Held, looks: pl.DataFrame, folder: Path) -> list[str]:
    """What to beware of."""
    out = []
    if held.name == "train":
        out.append("These are training windows: the scores say how well they were learned, not how well others are.")
    if held.name == "validation":
        out.append("The best epoch was chosen on the validation split: its scores are a little too high.")
    if held.name == "test":
        if looks.height:
            times = "once" if looks.height == 1 else f"{looks.height} times"
            out.append(
                f"The test split of this run had been evaluated {times} before, first on {looks['date'][0]} (see "
                f"{folder / EVALUATIONS}). Whatever was chosen after a look at it makes these scores too high."
            )
        else:
            out.append("This is the first evaluation of this run's test split.")
    if held.split.by == "random":
        out.append("The split is random: test windows overlap training windows, and the scores are too high.")
    blocks = len(np.unique(held.windows.blocks))
    if blocks < _FEW_BLOCKS:
        out.append(f"{blocks} block{'s are' if blocks != 1 else ' is'} few: intervals over them mean little.")
    return out


# --- what the command line names ---------------------------------------------------------------------------------


def is_run(path: str | Path) -> bool:
    """Whether this is the folder of a `genopred train` run."""
    folder = Path(path)
    return (folder / train.CONFIG).is_file() and (folder / train.REGIONS).is_file()


def open_setting(config: EvaluateConfig) -> tuple[SequenceData, Split, WindowShape, float, Path | None]:
    """Tracks, split, windows, largest share of N, and the run's folder that said so, if it was one.

    Raises
    ------
    GenopredError
        If there is no config, or what it names cannot be read.
    """
    place = config.config if config.config is not None else Path(config.model)
    run_folder = is_run(place)
    if not run_folder and config.config is None:
        raise GenopredError(
            f"{config.model} is not a training run's folder, which would say what to predict; give --config with the "
            "training's TOML file or with the folder of a run."
        )
    if not run_folder and place.is_dir():
        raise GenopredError(
            f"--config {place}: this folder holds no {train.CONFIG} and {train.REGIONS} of a run; give the --out of "
            "`genopred train`, or its TOML file."
        )
    wanted = read_config(place / train.CONFIG if run_folder else place, device="cpu")
    data = train.load_data(wanted)
    split = train.make_split(wanted, data)
    if run_folder:
        # what the run trained on, whatever would be dealt today
        regions = read_regions(place / train.REGIONS)
        _within(regions, data, place / train.REGIONS)
        split = replace(split, regions=regions)
    return data, split, wanted.shape, wanted.max_n, place if run_folder else None


def _within(regions: pl.DataFrame, data: SequenceData, file: Path) -> None:
    """Refuse regions that the data do not have."""
    for chrom, end in regions.group_by("chrom", maintain_order=True).agg(pl.col("end").max()).iter_rows():
        length = data.lengths.get(chrom, 0)
        if end > length:
            has = f"has {length:,} bp" if length else f"is not among its chromosomes ({examples(list(data.lengths))})"
            raise FormatError(
                f"{file}: a region of {chrom} ends at {end:,}, and {chrom} {has} in the FASTA; the run was trained on "
                "another reference."
            )


def read_regions(file: Path) -> pl.DataFrame:
    """Regions as `genopred train` writes them: columns of `genopred.training.splits.REGION_SCHEMA`.

    Raises
    ------
    FormatError
        If a column is missing or a position no number.
    """
    table, _ = read_table(read_bytes(file, "the regions of a training run"), file, separator="\t")
    lacking = [name for name in REGION_SCHEMA if name not in table.columns]
    if lacking:
        raise FormatError(f"{file} has no column {examples(lacking)}; needed {', '.join(REGION_SCHEMA)}.")
    try:
        regions = table.select(pl.col(name).cast(kind) for name, kind in REGION_SCHEMA.items())
    except pl.exceptions.InvalidOperationError as bad:
        raise FormatError(f"{file}: start, end and block must be whole numbers ({str(bad).splitlines()[0]}).") from None
    for wrong, what in (
        (~pl.col("split").is_in(SPLITS), f"split is none of {', '.join(SPLITS)}"),
        ((pl.col("start") < 0) | (pl.col("start") >= pl.col("end")), "start is below 0 or not before end"),
    ):
        rows = regions.with_row_index("line", offset=2).filter(wrong)
        if rows.height:
            row = ", ".join(str(value) for value in rows.row(0)[1:])
            raise FormatError(
                f"{file} line {rows['line'][0]}: {what} ({shortened(row)}; {rows.height:,} such lines); it is what "
                "genopred train wrote, and is not to be changed."
            )
    return regions


def open_model(spec: str, device: str = "auto", said: str = "MODEL") -> Predictor:
    """A training run's folder, its `model` folder, or anything that `load_model` knows; `said` is for messages.

    Raises
    ------
    ModelError
        If there is no such model, or it cannot be read.
    """
    place = devices(device)[0]
    folder = Path(spec)
    network = network_folder(folder) if is_run(folder) else None
    if network is None and not _is_trained(folder):
        return _predictor(load_model(spec, said=said, device=place))
    run_folder, network = (folder.resolve().parent, folder) if network is None else (folder, network)
    digest = hashlib.sha256()
    for file in (WEIGHTS[0], train.CONFIG):
        digest.update((network / file).read_bytes())
    whole = is_run(run_folder)
    return replace(
        _predictor(load_trained(network, device=place)),
        name=(run_folder if whole else network).resolve().name,
        hash=digest.hexdigest(),
        regions=read_regions(run_folder / train.REGIONS) if whole else None,
        folder=run_folder if whole else None,
    )


def _predictor(model: SequenceModel) -> Predictor:
    def predict(codes: NDArray[np.uint8]) -> Array:
        return model.predict_onehot(onehot(codes.astype(np.int8)))

    name, digest = model.name, model.checkpoint_hash
    return Predictor(name, digest, tuple(model.tracks), model.window, model.bin_size, model.n_bins, predict)


def _is_trained(folder: Path) -> bool:
    """Whether a folder holds a network of `genopred train`, of whatever kind."""
    try:
        found = json.loads((folder / train.CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "training" in found and "track_names" in found
