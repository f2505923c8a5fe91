"""A trained sequence model and measured tracks -> how well it predicts them on held-out stretches, beside baselines."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import FormatError, GenopredError, ModelError, examples, shortened
from genopred.files import atomic, lock_output, write_files, write_table
from genopred.io.text import read_bytes, read_table
from genopred.pipelines import evaluate_page, train
from genopred.pipelines.run import sweep
from genopred.pipelines.train_config import read_config
from genopred.sequence.dataset import REGION_SCHEMA, SPLITS, SequenceData, Split, Windows, WindowShape, drop_n, tile
from genopred.sequence.models.base import SequenceModel, devices
from genopred.sequence.models.config import network_folder
from genopred.sequence.models.registry import load_model, load_trained
from genopred.sequence.onehot import N_CODE, onehot, reverse_complement
from genopred.sequence.trackscores import TRACK_SCORE_SCHEMA, track_differences, track_scores

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
Array = NDArray[np.float32]

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
#: Inputs that are made at a time.
_AT_ONCE = 16
#: With fewer blocks an interval over blocks is hardly one.
_FEW_BLOCKS = 5


@dataclass(frozen=True)
class EvaluateConfig:
    """What `genopred evaluate` was asked for; the fields are its options.

    Attributes
    ----------
    model : str
        A training run's folder, or what `genopred.sequence.models.registry.load_model` takes.
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
        `model`, `split`, and the columns of `genopred.sequence.trackscores.TRACK_SCORE_SCHEMA`.
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


@dataclass(frozen=True)
class Predictor:
    """A model as it is asked here: codes in, bins out, in the order of its own tracks.

    Attributes
    ----------
    name : str
    hash : str
        Equal ones predict equally.
    tracks : tuple of str
    window, bin, n_bins : int
        Input in bp; `n_bins` bins of `bin` bp in its middle.
    predict : callable
        (B, window) uint8 codes -> (B, n_bins, T) float32.
    regions : polars.DataFrame or None
        Where it was trained, if its folder says.
    folder : Path or None
        Of the training run, where looks at a split are written down.
    """

    name: str
    hash: str
    tracks: tuple[str, ...]
    window: int
    bin: int
    n_bins: int
    predict: Callable[[NDArray[np.uint8]], Array] = field(repr=False)
    regions: pl.DataFrame | None = field(default=None, repr=False)
    folder: Path | None = None


@dataclass(frozen=True)
class Held:
    """The bins that are predicted: tracks, windows and what was measured there."""

    data: SequenceData
    split: Split
    shape: WindowShape
    max_n: float
    name: str
    windows: Windows
    dropped: int

    @property
    def first(self) -> NDArray[np.int64]:
        """Start of each window's first bin."""
        return self.windows.starts + self.shape.crop * self.shape.bin

    def measured(self) -> Array:
        """(B, n_bins, T)."""
        parts = [
            self.data.target(str(chrom), int(start), self.shape.n_bins, self.shape.bin)
            for chrom, start in zip(self.windows.chroms, self.first)
        ]
        return np.stack(parts)


def hold_out(data: SequenceData, split: Split, shape: WindowShape, max_n: float, name: str) -> Held:
    """The fixed tiling of a split, without windows that are mostly N.

    Raises
    ------
    GenopredError
        If no window is left.
    """
    windows, dropped = drop_n(data, tile(split, name, shape), shape, max_n)
    if not len(windows.starts):
        raise GenopredError(
            f"the {name} split has no window left: all {dropped:,} have more than {max_n:.0%} N; raise data.max_n, or "
            "give it other regions."
        )
    return Held(data, split, shape, max_n, name, windows, dropped)


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
    models = _distinct([open_model(name, config.device, said) for said, name in called])
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
    columns = _columns(held, models)
    notes = [text for model in models if (text := _seen(held, model))]
    if config.baseline:
        models = [*models, _ridge(held, step)]
        columns = [*columns, columns[0]]
    predicted = [_kept(config, held, model, which, step) for model, which in zip(models, columns, strict=True)]
    looks = _look(folder, config, held, models[0])
    for model in models[1:]:
        if model.folder is not None and model.folder.resolve() != folder.resolve():
            _look(model.folder, config, held, model)
    measured = held.measured()
    blocks = np.repeat(held.windows.blocks, held.shape.n_bins)
    scores, differences = [], []
    settings: dict[str, Any] = {"resamples": config.resamples, "seed": config.seed}
    flat = measured.reshape(-1, measured.shape[-1])
    for i, (model, which, values) in enumerate(zip(models, columns, predicted, strict=True)):
        tracks = [held.data.tracks[k] for k in which]
        own = values.reshape(-1, len(which))
        table = track_scores(flat[:, which], own, blocks, tracks, **settings)
        scores.append(table.select(pl.lit(model.name).alias("model"), pl.lit(held.name).alias("split"), pl.all()))
        if i:
            # both models' values of the tracks that the other one has
            same = [columns[0].index(k) for k in which]
            first = predicted[0].reshape(-1, len(columns[0]))[:, same]
            table = track_differences(flat[:, which], first, own, blocks, tracks, **settings)
            labels = {"model": models[0].name, "against": model.name, "split": held.name}
            differences.append(table.select(*(pl.lit(v).alias(k) for k, v in labels.items()), pl.all()))
    schema = {"model": pl.String, "against": pl.String, "split": pl.String, **TRACK_SCORE_SCHEMA}
    all_scores = pl.concat(scores)
    all_differences = pl.concat(differences) if differences else pl.DataFrame(schema=schema)
    reading = _reading(config, held, models)
    notes += _notes(held, looks, folder)
    mine = columns[0]
    _, scores_file = write_table(all_scores, config.out / "scores")
    files = [scores_file]
    if differences:
        files.append(write_table(all_differences, config.out / "differences")[1])
    bins = _bin_table(held, mine, measured, predicted[0])
    write_files({config.out / "predictions.parquet": lambda path: bins.write_parquet(path)})
    files.append(config.out / "predictions.parquet")
    info: dict[str, Any] = {"command": config.command} if config.command else {}
    info |= {"split": held.name, "strands": config.strands, "resamples": config.resamples, "seed": config.seed}
    info |= {f"hash of {model.name}": model.hash[:16] for model in models}
    shown = evaluate_page.Shown(
        title=f"{models[0].name} on {held.name} blocks",
        reading=tuple(reading),
        notes=tuple(notes),
        model=models[0].name,
        split=held.name,
        tracks=tuple(held.data.tracks[k] for k in mine),
        shape=held.shape,
        windows=held.windows,
        measured=measured[:, :, mine],
        predicted=predicted[0],
        scores=all_scores,
        differences=all_differences,
        genes=genes,
        exons=exons,
        info=info,
    )
    files += evaluate_page.write(config.out, shown, config.figures)
    shutil.rmtree(config.out / _PARTS, ignore_errors=True)
    return EvaluateRun(all_scores, all_differences, looks.height, tuple(reading), tuple(notes), files)


def predict(model: Predictor, held: Held, *, both_strands: bool, step: Progress | None = None) -> Array:
    """A model's values of every bin of the windows, (B, n_bins, its tracks).

    A model whose windows are of another size than the evaluation's is given windows of its own around the same bins;
    what they hold beyond the chromosome is N.

    Raises
    ------
    ModelError
        If its bins are of another width, or it predicts values that are not finite.
    """
    shape = held.shape
    if model.bin != shape.bin:
        raise ModelError(
            f"{model.name} has bins of {model.bin} bp and the evaluation has bins of {shape.bin} bp; give --config "
            "with the model's own bins."
        )
    # the model's first bins within each window: side by side, the last one moved back to end with the window
    if model.n_bins >= shape.n_bins:
        places = [-((model.n_bins - shape.n_bins) // 2)]
    else:
        places = [min(at, shape.n_bins - model.n_bins) for at in range(0, shape.n_bins, model.n_bins)]
    before = (model.window - model.n_bins * model.bin) // 2
    partner = _partners(held, model) if both_strands else None
    n = len(held.windows.starts)
    out = np.empty((n, shape.n_bins, len(model.tracks)), dtype=np.float32)
    for begin in range(0, n, _AT_ONCE):
        rows = slice(begin, min(begin + _AT_ONCE, n))
        for at in places:
            starts = held.first[rows] + at * shape.bin - before
            codes = _inputs(held.data, held.windows.chroms[rows], starts, model.window)
            values = np.asarray(model.predict(codes))
            if partner is not None:
                other = np.asarray(model.predict(reverse_complement(codes).astype(np.uint8)))  # type: ignore[arg-type]
                values = ((values + other[:, ::-1][:, :, partner]) / 2).astype(np.float32)
            low, high = max(at, 0), min(at + model.n_bins, shape.n_bins)
            out[rows, low:high] = values[:, low - at : high - at]
        if step is not None:
            step(rows.stop, n, model.name)
    if not np.isfinite(out).all():
        raise ModelError(
            f"{model.name} predicts values that are not finite in {int((~np.isfinite(out)).any(axis=(1, 2)).sum())} of "
            f"{n} windows; its weights are damaged or its training diverged."
        )
    return out


def _partners(held: Held, model: Predictor) -> list[int]:
    """Of each of a model's tracks the one that has its values when the sequence is turned round."""
    names = [track.name for track in held.data.tracks]
    wanted = {track.name: names[held.data.partners[i]] for i, track in enumerate(held.data.tracks)}
    lacking = [name for name in model.tracks if wanted.get(name, name) not in model.tracks]
    if lacking:
        raise ModelError(
            f"--strands both: {model.name} predicts {examples(lacking)} but not the other strand's track "
            f"({examples([wanted[name] for name in lacking])}); use --strands forward."
        )
    return [model.tracks.index(wanted.get(name, name)) for name in model.tracks]


def _inputs(data: SequenceData, chroms: NDArray[np.str_], starts: NDArray[np.int64], window: int) -> NDArray[np.uint8]:
    """Codes (B, window), N beyond a chromosome's ends."""
    out = np.full((len(starts), window), N_CODE, dtype=np.uint8)
    for row, chrom, start in zip(out, chroms.tolist(), starts.tolist()):
        whole = data.codes[chrom]
        left, right = max(start, 0), min(start + window, len(whole))
        row[left - start : right - start] = whole[left:right]
    return out


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


def _distinct(models: list[Predictor]) -> list[Predictor]:
    """Models of different names: those that share one get their number."""
    seen: dict[str, int] = {}
    out = []
    for model in models:
        seen[model.name] = seen.get(model.name, 0) + 1
        out.append(model if seen[model.name] == 1 else replace(model, name=f"{model.name} #{seen[model.name]}"))
    return out


def _columns(held: Held, models: Sequence[Predictor]) -> list[list[int]]:
    """The data's tracks that each model has; of the others those that the first one has too."""
    names = [track.name for track in held.data.tracks]
    out: list[list[int]] = []
    for model in models:
        have = [k for k, name in enumerate(names) if name in model.tracks and (not out or k in out[0])]
        if not have:
            raise ModelError(
                f"{model.name} predicts none of the measured tracks: it has {examples(model.tracks)} and the config "
                f"measures {examples(names)}; name the config's tracks as the model's."
            )
        lacking = [names[k] for k in (out[0] if out else range(len(names))) if k not in have]
        if lacking:
            log.warning("%s has no track %s; left out", model.name, examples(lacking))
        out.append(have)
    return out


def _seen(held: Held, model: Predictor) -> str | None:
    """A warning where a model was trained, or chosen, on bins that it is evaluated on."""
    if model.regions is None or held.name == "train":
        return None
    used = ["train"] if held.name == "validation" else ["train", "validation"]
    regions = model.regions.filter(pl.col("split").is_in(used))
    shared = 0
    for chrom, start in zip(held.windows.chroms.tolist(), held.first.tolist()):
        here = regions.filter((pl.col("chrom") == chrom) & (pl.col("start") < start + held.shape.target))
        low, high = here["start"].to_numpy(), here["end"].to_numpy()
        shared += int(np.maximum(np.minimum(high, start + held.shape.target) - np.maximum(low, start), 0).sum())
    if not shared:
        return None
    share = shared / (len(held.windows.starts) * held.shape.target)
    text = (
        f"{model.name} saw {share:.1%} of these bases in its own {' and '.join(used)} regions: its scores here are too "
        "high."
    )
    log.warning("%s", text)
    return text


def _ridge(held: Held, step: Progress) -> Predictor:
    """The ridge on GC content and k-mers, fitted on the training windows."""
    from genopred.sequence.baselines import RidgeBaseline

    parts = [drop_n(held.data, tile(held.split, name, held.shape), held.shape, held.max_n)[0] for name in SPLITS[:2]]
    step(0, 1, "ridge")
    ridge = RidgeBaseline(held.shape).fit(held.data, *parts)
    step(1, 1, "ridge")
    digest = hashlib.sha256(ridge.coef.tobytes() + ridge.intercept.tobytes()).hexdigest()
    names = tuple(track.name for track in held.data.tracks)
    shape = held.shape
    return Predictor("ridge", digest, names, shape.window, shape.bin, shape.n_bins, ridge.predict)


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


def _bin_table(held: Held, which: list[int], measured: Array, predicted: Array) -> pl.DataFrame:
    """A row a bin: chrom, start (0-based), block, then measured and predicted of each track."""
    n_bins, n = held.shape.n_bins, len(held.windows.starts)
    starts = held.first[:, None] + held.shape.bin * np.arange(n_bins)
    columns: dict[str, Any] = {
        "chrom": np.repeat(held.windows.chroms, n_bins),
        "start": starts.reshape(-1),
        "block": np.repeat(held.windows.blocks, n_bins),
    }
    for place, k in enumerate(which):
        name = held.data.tracks[k].name
        columns[f"measured {name}"] = measured[:, :, k].reshape(n * n_bins)
        columns[f"predicted {name}"] = predicted[:, :, place].reshape(n * n_bins)
    return pl.DataFrame(columns)


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
    """Regions as `genopred train` writes them: columns of `genopred.sequence.dataset.REGION_SCHEMA`.

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
    for file in (train.WEIGHTS, train.CONFIG):
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

    shape = (model.window, model.bin_size, model.n_bins)
    return Predictor(model.name, model.checkpoint_hash, model.tracks, *shape, predict)


def _is_trained(folder: Path) -> bool:
    """Whether a folder holds a network of `genopred train`, of whatever kind."""
    try:
        found = json.loads((folder / train.CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and "training" in found and "track_names" in found
