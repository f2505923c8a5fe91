"""How much a random split among overlapping windows promises beyond what a block split finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.training.dataset import SequenceData, drop_n, window_targets
from genopred.training.networks.base import TrackNetwork
from genopred.training.scores import log_pearson
from genopred.training.splits import Split, Windows, WindowShape, tile
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

    def scored(name: str, of: Windows) -> NDArray[np.float64]:
        if not len(of.starts):
            return np.full(len(data.tracks), np.nan)
        predicted = predict_windows(parts[name][0], data, of, shape, device=device, precision=precision)
        return log_pearson(predicted, window_targets(data, of, shape))

    table: dict[str, Any] = {"track": [track.name for track in data.tracks]}
    table |= {name: scored(name, windows[name]) for name in parts}
    table |= {f"{name}_same": scored(name, windows["same"]) for name in parts}
    seen = _seen(windows["random"], tile(random[1], "train", shape), shape)
    counts = {f"windows_{name}": pl.lit(len(of.starts)) for name, of in windows.items()}
    return pl.DataFrame(table).with_columns(pl.col(pl.Float64).fill_nan(None), **counts, seen=pl.lit(seen))


def inflation_lines(table: pl.DataFrame) -> list[str]:
    """What the table of `inflation` says, for the screen."""
    first = table.row(0, named=True)

    def mean(name: str) -> str:
        values = table[name].drop_nulls().to_numpy()
        return f"{values.mean():.3f}" if len(values) else "not known"

    out = [
        f"Scores of a random split are inflated: {first['seen']:.0%} of its {first['windows_random']:,} test windows "
        "share predicted bases with training windows.",
        f"Pearson of log(1 + value), mean over tracks: {mean('random')} on the test windows of the random split, "
        f"{mean('block')} with a block split on its {first['windows_block']:,}.",
    ]
    if first["windows_same"]:
        out.append(
            f"On the same {first['windows_same']:,} windows: {mean('random_same')} by the network of the random split, "
            f"{mean('block_same')} by the one that never saw them. Report the block split's."
        )
    else:
        out.append("No test window is common to both splits; report the block split's score.")
    return out


def _inside(windows: Windows, split: Split, shape: WindowShape) -> Windows:
    """Windows whose whole input is in one test region."""
    keep = np.zeros(len(windows.starts), dtype=bool)
    regions = split.regions.filter(pl.col("split") == "test").sort("chrom", "start")
    for part in regions.partition_by("chrom", maintain_order=True):
        a, b = part["start"].to_numpy(), part["end"].to_numpy()
        # neighbouring blocks that adjoin are one region
        first = np.r_[True, a[1:] != b[:-1]]
        last = np.r_[first[1:], True]
        a, b = a[first], b[last]
        here = windows.chroms == part["chrom"][0]
        at = np.searchsorted(a, windows.starts[here], side="right") - 1
        keep[here] = (at >= 0) & (windows.starts[here] + shape.window <= b[np.maximum(at, 0)])
    return windows.take(keep)


def _seen(test: Windows, training: Windows, shape: WindowShape) -> float:
    """Share of test windows of which a predicted base is predicted in a training window too."""
    hits = 0
    for chrom in np.unique(test.chroms):
        starts = np.sort(training.starts[training.chroms == chrom])
        mine = test.starts[test.chroms == chrom]
        # all targets are equally wide: they overlap when they start less than that width apart
        low = np.searchsorted(starts, mine - shape.target, side="right")
        high = np.searchsorted(starts, mine + shape.target, side="left")
        hits += int((high > low).sum())
    return hits / max(1, len(test.starts))
