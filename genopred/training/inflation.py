"""How much a random split among overlapping windows promises beyond what a block split finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.training.dataset import SequenceData, drop_n, window_targets
from genopred.training.networks.base import TrackNetwork
from genopred.training.scores import log_pearson
from genopred.training.splits import Split, Windows, WindowShape, holding, tile
from genopred.training.tasks.tracks import predict_windows


def inflation(
    data: SequenceData,
    shape: WindowShape,
    *,
    random: tuple[TrackNetwork, Split],
    block: tuple[TrackNetwork, Split],
    max_n: float,
    device: str = "cpu",
    precision: str = "fp32",
) -> pl.DataFrame:
    """How much a random split among overlapping windows promises beyond what a block split finds, a row a track.

    Both networks are scored (Pearson of log(1 + value)) on the test windows of their own split, as they would be
    reported; and both on the same windows: those test windows of the random split that lie wholly in test regions of
    the block split, which that network never saw while parts of them were in the other's training windows.

    Parameters
    ----------
    data : SequenceData
    shape : WindowShape
    random, block : (network, Split)
    max_n : float
        Windows with a larger share of N are left out.
    device, precision : str

    Returns
    -------
    polars.DataFrame
        A row a track: track; random, block (own test windows); random_same, block_same (the same windows, null where
        there are none); windows_random, windows_block, windows_same; seen (share of the random split's test windows of
        which some predicted base is in a training window's prediction).
    """
    parts = {"random": random, "block": block}
    windows = {name: drop_n(data, tile(split, "test", shape), shape, max_n)[0] for name, (_, split) in parts.items()}
    windows["same"] = _inside(windows["random"], block[1], shape)
    counts = {name: len(of.starts) for name, of in windows.items()}

    def scored(name: str, of: Windows) -> NDArray[np.float64]:
        if not len(of.starts):
            return np.full(len(data.tracks), np.nan)
        predicted = predict_windows(parts[name][0], data, of, shape, device=device, precision=precision)
        return log_pearson(predicted, window_targets(data, of, shape))

    scores = {name: scored(name, windows[name]) for name in parts}
    scores |= {f"{name}_same": scored(name, windows["same"]) for name in parts}
    test, training = windows["random"], tile(random[1], "train", shape)
    seen = share_seen((test.chroms, test.starts), (training.chroms, training.starts), shape.target)
    return inflation_table({"track": [track.name for track in data.tracks]}, scores, {"windows": counts}, seen)


def inflation_table(
    names: dict[str, list[str]], scores: dict[str, NDArray[np.float64]], counts: dict[str, dict[str, int]], seen: float
) -> pl.DataFrame:
    """Names and scores, null where not defined, then counts as UNIT_NAME, and `seen`."""
    numbers: dict[str, Any] = {f"{unit}_{name}": pl.lit(n) for unit, of in counts.items() for name, n in of.items()}
    table = pl.DataFrame({**names, **scores})
    return table.with_columns(pl.col(pl.Float64).fill_nan(None), **numbers, seen=pl.lit(seen))


def inflation_lines(table: pl.DataFrame) -> list[str]:
    """What the table of `inflation` says, for the screen."""
    first = table.row(0, named=True)
    inflated = (
        f"{first['seen']:.0%} of its {first['windows_random']:,} test windows share predicted bases with training "
        "windows."
    )
    none = "" if first["windows_same"] else "No test window is common to both splits"
    return lines_of(table, "windows", inflated, "Pearson of log(1 + value), mean over tracks", "them", none)


def lines_of(table: pl.DataFrame, unit: str, inflated: str, score: str, unseen: str, none: str) -> list[str]:
    """What an `inflation_table` says: why it is so, both scores, and those on the same windows or genes, unless none.

    Parameters
    ----------
    table : polars.DataFrame
    unit : str
        `windows` or `genes`.
    inflated, score : str
        What a random split's training has of its test, and what is scored.
    unseen : str
        What the other network never saw of what both test.
    none : str
        Why there is nothing that both test; empty where there is something.
    """
    first = table.row(0, named=True)

    def mean(name: str) -> str:
        values = table[name].drop_nulls().to_numpy()
        return f"{values.mean():.3f}" if len(values) else "not known"

    out = [
        f"Scores of a random split are inflated: {inflated}",
        f"{score}: {mean('random')} on the test {unit} of the random split, {mean('block')} with a block split on its "
        f"{first[f'{unit}_block']:,}.",
    ]
    if none:
        out.append(f"{none}; report the block split's score.")
    else:
        out.append(
            f"On the same {first[f'{unit}_same']:,} {unit}: {mean('random_same')} by the network of the random split, "
            f"{mean('block_same')} by the one that never saw {unseen}. Report the block split's."
        )
    return out


def _inside(windows: Windows, split: Split, shape: WindowShape) -> Windows:
    """Windows whose whole input is in one test region."""
    tested = split.regions.filter(pl.col("split") == "test")
    return windows.take(holding(tested, windows.chroms, windows.starts, windows.starts + shape.window) == "test")


def share_seen(
    test: tuple[NDArray[Any], NDArray[np.int64]], training: tuple[NDArray[Any], NDArray[np.int64]], width: int
) -> float:
    """Share of the test's stretches that overlap one of the training: chromosomes and starts, all of one width."""
    (chroms, starts), (others, begins) = test, training
    hits = 0
    for chrom in np.unique(chroms):
        near = np.sort(begins[others == chrom])
        mine = starts[chroms == chrom]
        # all are equally wide: they overlap when they start less than that width apart
        low = np.searchsorted(near, mine - width, side="right")
        high = np.searchsorted(near, mine + width, side="left")
        hits += int((high > low).sum())
    return hits / max(1, len(starts))
