"""Models on held-out windows: what each predicts there, how well, and what it had seen of them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import ModelError, examples
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.onehot import onehot, reverse_complement
from genopred.training.baselines import RidgeBaseline
from genopred.training.dataset import SequenceData, drop_n, inputs, window_targets, windows_of
from genopred.training.loop import Progress
from genopred.training.scores import TRACK_SCORE_SCHEMA, track_differences, track_scores
from genopred.training.splits import SPLITS, Split, Windows, WindowShape, tile

log = logging.getLogger(__name__)

Array = NDArray[np.float32]
#: What has a `name`.
Named = TypeVar("Named", bound=Any)

#: Inputs that are made at a time.
_AT_ONCE = 16


@dataclass(frozen=True)
class Entry:
    """A model, and what is known of it.

    Attributes
    ----------
    model : SequenceModel
        Its predictions are in the order of its own tracks.
    name : str
        As the tables have it.
    hash : str
        Equal ones predict equally.
    regions : polars.DataFrame or None
        Where it was trained, if its folder says.
    folder : Path or None
        Of the training run, where looks at a split are written down.
    """

    model: SequenceModel
    name: str
    hash: str
    regions: pl.DataFrame | None = field(default=None, repr=False)
    folder: Path | None = None

    @property
    def tracks(self) -> tuple[str, ...]:
        """Names of what it predicts."""
        return tuple(self.model.tracks)


@dataclass
class Held:
    """The bins that are predicted: tracks, windows and what was measured there.

    The windows are the fixed tiling of the split of that name, without the `dropped` ones that are mostly N.

    Raises
    ------
    GenopredError
        If no window is left.
    """

    data: SequenceData
    split: Split
    shape: WindowShape
    max_n: float
    name: str
    windows: Windows = field(init=False)
    dropped: int = field(init=False)

    def __post_init__(self) -> None:
        self.windows, self.dropped = windows_of(self.data, self.split, self.name, self.shape, self.max_n)

    @property
    def first(self) -> NDArray[np.int64]:
        """Start of each window's first bin."""
        return self.windows.starts + self.shape.crop * self.shape.bin

    def measured(self) -> Array:
        """(B, n_bins, T)."""
        return window_targets(self.data, self.windows, self.shape)


def predict(entry: Entry, held: Held, *, both_strands: bool, step: Progress | None = None) -> Array:
    """A model's values of every bin of the windows, (B, n_bins, its tracks).

    A model whose windows are of another size than the evaluation's is given windows of its own around the same bins;
    what they hold beyond the chromosome is N. Bins of another width, and values that are not finite, are a ModelError.
    """
    model, shape = entry.model, held.shape
    if model.bin_size != shape.bin:
        raise ModelError(
            f"{entry.name} has bins of {model.bin_size} bp and the evaluation has bins of {shape.bin} bp; give "
            "--config with the model's own bins."
        )
    # the model's first bins within each window: side by side, the last one moved back to end with the window
    if model.n_bins >= shape.n_bins:
        places = [-((model.n_bins - shape.n_bins) // 2)]
    else:
        places = [min(at, shape.n_bins - model.n_bins) for at in range(0, shape.n_bins, model.n_bins)]
    before = (model.window - model.n_bins * model.bin_size) // 2
    partner = _partners(held, entry) if both_strands else None
    n = len(held.windows.starts)
    out = np.empty((n, shape.n_bins, len(model.tracks)), dtype=np.float32)
    for begin in range(0, n, _AT_ONCE):
        rows = slice(begin, min(begin + _AT_ONCE, n))
        for at in places:
            starts = held.first[rows] + at * shape.bin - before
            codes = inputs(held.data, held.windows.chroms[rows], starts, model.window)
            values = np.asarray(model.predict_onehot(onehot(codes.astype(np.int8))))
            if partner is not None:
                other = np.asarray(model.predict_onehot(onehot(reverse_complement(codes.astype(np.int8)))))
                values = ((values + other[:, ::-1][:, :, partner]) / 2).astype(np.float32)
            low, high = max(at, 0), min(at + model.n_bins, shape.n_bins)
            out[rows, low:high] = values[:, low - at : high - at]
        if step is not None:
            step(rows.stop, n, entry.name)
    if not np.isfinite(out).all():
        raise ModelError(
            f"{entry.name} predicts values that are not finite in {int((~np.isfinite(out)).any(axis=(1, 2)).sum())} of "
            f"{n} windows; its weights are damaged or its training diverged."
        )
    return out


def _partners(held: Held, entry: Entry) -> list[int]:
    """Of each of a model's tracks the one that has its values when the sequence is turned round."""
    tracks = entry.tracks
    names = [track.name for track in held.data.tracks]
    wanted = {track.name: names[held.data.partners[i]] for i, track in enumerate(held.data.tracks)}
    lacking = [name for name in tracks if wanted.get(name, name) not in tracks]
    if lacking:
        raise ModelError(
            f"--strands both: {entry.name} predicts {examples(lacking)} but not the other strand's track "
            f"({examples([wanted[name] for name in lacking])}); use --strands forward."
        )
    return [tracks.index(wanted.get(name, name)) for name in tracks]


def distinct(models: list[Named]) -> list[Named]:
    """Models, or what is predicted, of different names: those that share one get their number."""
    names = [model.name for model in models]
    ranks = (names[: i + 1].count(name) for i, name in enumerate(names))
    return [m if rank == 1 else replace(m, name=f"{m.name} #{rank}") for m, rank in zip(models, ranks)]


def shared_columns(held: Held, models: Sequence[Entry]) -> list[list[int]]:
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


def seen_bases(held: Held, model: Entry) -> str | None:
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


def fitted_ridge(held: Held, step: Progress) -> Entry:
    """The ridge on GC content and k-mers, fitted on the training windows."""
    parts = [drop_n(held.data, tile(held.split, name, held.shape), held.shape, held.max_n)[0] for name in SPLITS[:2]]
    step(0, 1, "ridge")
    ridge = RidgeBaseline(held.shape).fit(held.data, *parts)
    step(1, 1, "ridge")
    digest = hashlib.sha256(ridge.coef.tobytes() + ridge.intercept.tobytes()).hexdigest()
    return Entry(ridge, ridge.name, digest)


def compare(
    held: Held,
    models: Sequence[Entry],
    columns: Sequence[list[int]],
    predicted: Sequence[Array],
    *,
    resamples: int,
    seed: int,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Scores of each model, and differences of the first one from each of the others on the same bins.

    `columns` are of `shared_columns`, and `predicted` has (B, n_bins, its tracks) of each model. The tables have the
    columns of `TRACK_SCORE_SCHEMA` after `model`, `split`, and after `model`, `against`, `split`.
    """

    def labelled(table: pl.DataFrame, **labels: str) -> pl.DataFrame:
        return table.select(*(pl.lit(value).alias(name) for name, value in labels.items()), pl.all())

    measured = held.measured()
    blocks = np.repeat(held.windows.blocks, held.shape.n_bins)
    scores, differences = [], []
    for i, (model, which, values) in enumerate(zip(models, columns, predicted, strict=True)):
        flat, own = (array.reshape(-1, len(which)) for array in (measured[:, :, which], values))
        how: dict[str, Any] = {"tracks": [held.data.tracks[k] for k in which], "resamples": resamples, "seed": seed}
        scores.append(labelled(track_scores(flat, own, blocks, **how), model=model.name, split=held.name))
        if i:
            # both models' values of the tracks that the other one has
            first = predicted[0][:, :, [columns[0].index(k) for k in which]].reshape(-1, len(which))
            table = track_differences(flat, first, own, blocks, **how)
            differences.append(labelled(table, model=models[0].name, against=model.name, split=held.name))
    schema = {"model": pl.String, "against": pl.String, "split": pl.String, **TRACK_SCORE_SCHEMA}
    return pl.concat(scores), pl.concat(differences) if differences else pl.DataFrame(schema=schema)


def bin_table(held: Held, which: list[int], measured: Array, predicted: Array) -> pl.DataFrame:
    """A row a bin: chrom, start (0-based), block, then measured and predicted of each track."""
    n_bins, n = held.shape.n_bins, len(held.windows.starts)
    starts = held.first[:, None] + held.shape.bin * np.arange(n_bins)
    columns: dict[str, Any] = {"chrom": np.repeat(held.windows.chroms, n_bins), "start": starts.reshape(-1)}
    columns["block"] = np.repeat(held.windows.blocks, n_bins)
    for place, k in enumerate(which):
        name = held.data.tracks[k].name
        columns[f"measured {name}"] = measured[:, :, k].reshape(n * n_bins)
        columns[f"predicted {name}"] = predicted[:, :, place].reshape(n * n_bins)
    return pl.DataFrame(columns)
