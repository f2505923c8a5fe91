"""How well predicted tracks fit measured ones: accuracy over bins, with intervals over blocks of the genome.

Neighbouring bins look alike, so intervals come from drawing whole blocks anew, with all their bins. Each metric is a
function of sums over bins, so the sums are taken once for each block and a resample adds up those of the blocks drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from genopred.errors import GenopredError, examples
from genopred.genetics.correlation import TINY, pearson
from genopred.settings.training import Track

Floats = NDArray[np.float64]

#: In the order of the tables: Pearson of the values, Pearson of log(1 + value), Spearman, 1 - SSE/SST, errors.
METRICS = ("pearson", "pearson_log", "spearman", "r2", "mse", "mae")

#: Columns of `track_scores` and `track_differences`.
TRACK_SCORE_SCHEMA = (
    dict.fromkeys(("track", "assay", "cell", "metric"), pl.String)
    | dict.fromkeys(("estimate", "low", "high"), pl.Float64)
    | dict.fromkeys(("n_bins", "n_blocks"), pl.Int64)
)

#: Share of the resamples within the interval.
LEVEL = 0.95


@dataclass(frozen=True)
class BlockSums:
    """Sums over the bins of each block from which every metric of any set of blocks follows.

    Attributes
    ----------
    sums : array, shape (B, K, T)
        For raw values, log(1 + value) and ranks: x, y, xx, yy, xy; then squared and absolute errors. x is the
        prediction and y the measurement, each less its mean over all bins, so that little is lost in differences.
    bins : array, shape (B,)
        Bins of each block.
    """

    sums: Floats
    bins: NDArray[np.int64]

    def metrics(self, draws: NDArray[np.int64] | None = None) -> dict[str, Floats]:
        """Each of `METRICS` over all blocks, (T,), or over R draws (R, B) of how often each block counts, (R, T).

        NaN where it is not defined: a correlation or R² with something constant.
        """
        n_blocks, k, t = self.sums.shape
        weights = np.ones((1, n_blocks)) if draws is None else draws.astype(np.float64)
        total = (weights @ self.sums.reshape(n_blocks, k * t)).reshape(-1, k, t)
        n = (weights @ self.bins.astype(np.float64))[:, None]
        pearson = [_pearson(n, *(total[:, 5 * kind + i] for i in range(5))) for kind in range(3)]
        sse, sae = total[:, 15], total[:, 16]
        # y and yy of the raw values
        sst = total[:, 3] - total[:, 1] ** 2 / n
        with np.errstate(divide="ignore", invalid="ignore"):
            r2 = np.where(sst > TINY * total[:, 3], 1 - sse / sst, np.nan)
        values = (*pearson, r2, sse / n, sae / n)
        return {name: value[0] if draws is None else value for name, value in zip(METRICS, values)}


def _pearson(n: Floats, x: Floats, y: Floats, xx: Floats, yy: Floats, xy: Floats) -> Floats:
    var_x, var_y = xx - x**2 / n, yy - y**2 / n
    varies = (var_x > TINY * xx) & (var_y > TINY * yy)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (xy - x * y / n) / np.sqrt(var_x * var_y)
    return np.where(varies, np.clip(r, -1, 1), np.nan)


def log_pearson(predicted: NDArray[np.floating], targets: NDArray[np.floating]) -> Floats:
    """Correlation of log(1 + value) of each track, (T,), of arrays (..., T); NaN where one of them does not vary."""
    a, b = (np.log1p(x.astype(np.float64)).reshape(-1, x.shape[-1]) for x in (predicted, targets))
    return pearson(a, b)


def block_sums(measured: ArrayLike, predicted: ArrayLike, blocks: ArrayLike) -> BlockSums:
    """The sums of each block, in ascending order of their ids, of values (N, T) of N bins and the block of each (N,).

    For the logarithm negative values count as zero (a ridge predicts some).
    """
    from scipy.stats import rankdata

    y, x = np.asarray(measured, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    block = np.asarray(blocks)
    if y.ndim != 2 or y.shape != x.shape or block.shape != y.shape[:1] or not len(y):
        raise GenopredError(
            f"track scores: measured {y.shape}, predicted {x.shape}, blocks {block.shape}; needed (bins, tracks) "
            "twice and (bins,), with at least one bin."
        )
    for what, values in (("measured", y), ("predicted", x)):
        bad = np.flatnonzero(~np.isfinite(values).all(axis=0))
        if len(bad):
            raise GenopredError(
                f"track scores: {what} values of {len(bad)} tracks (columns {examples(bad.tolist())}) are not finite; "
                "NaN or infinity cannot be scored: a network that predicts them has diverged."
            )
    ids, home = np.unique(block, return_inverse=True)
    order = np.argsort(home, kind="stable")
    bins = np.bincount(home, minlength=len(ids))
    first = np.cumsum(bins) - bins
    parts = []
    for a, b in (
        (x, y),
        (np.log1p(np.maximum(x, 0)), np.log1p(np.maximum(y, 0))),
        (rankdata(x, axis=0), rankdata(y, axis=0)),
    ):
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        parts += [a, b, a * a, b * b, a * b]
    parts += [(x - y) ** 2, np.abs(x - y)]
    sums = np.stack([np.add.reduceat(part[order], first, axis=0) for part in parts], axis=1)
    return BlockSums(sums, bins.astype(np.int64))


def block_draws(n_blocks: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each block is drawn in each resample, (R, B); the same seed draws the same blocks.

    >>> block_draws(4, 2, 1).sum(axis=1).tolist()
    [4, 4]
    """
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=resamples)


def track_scores(
    measured: ArrayLike,
    predicted: ArrayLike,
    blocks: ArrayLike,
    tracks: Sequence[Track],
    *,
    resamples: int = 1000,
    seed: int = 1,
) -> pl.DataFrame:
    """Accuracy of each track over all bins, with 95 % percentile intervals from drawing blocks with replacement.

    Parameters
    ----------
    measured, predicted : array, shape (N, T)
    blocks : array of int, shape (N,)
        Bins of one block are drawn together.
    tracks : sequence of T Track
    resamples : int
        Sets of blocks drawn; 0 for no intervals.
    seed : int

    Returns
    -------
    polars.DataFrame
        Columns of `TRACK_SCORE_SCHEMA`, a row for each track and metric of `METRICS`. Null where undefined: a
        correlation of something constant, an interval from a single block.

    Raises
    ------
    GenopredError
        If shapes do not fit or a value is not finite.

    Notes
    -----
    R² is 1 - SSE/SST on the values themselves, not a squared correlation: it is negative where the mean of these
    bins would have been nearer. In a resample SST is about the mean of the bins drawn.
    Spearman's ranks are taken once over all bins; a resample has the Pearson correlation of those ranks over the
    bins drawn and does not rank them anew. With many bins the two hardly differ.

    Examples
    --------
    >>> y = np.array([[0.0], [1.0], [2.0], [5.0]])
    >>> table = track_scores(y, 2 * y + 1, [0, 0, 1, 1], [Track(name="a", assay="DNase", cell="K562")])
    >>> table.filter(pl.col("metric") == "pearson")["estimate"].round(6).item()
    1.0
    """
    sums = block_sums(measured, predicted, blocks)
    return _table(tracks, sums, sums.metrics, resamples, seed)


def track_differences(
    measured: ArrayLike,
    predicted: ArrayLike,
    other: ArrayLike,
    blocks: ArrayLike,
    tracks: Sequence[Track],
    *,
    resamples: int = 1000,
    seed: int = 1,
) -> pl.DataFrame:
    """Metrics of `predicted` minus those of `other` on the same bins; both see the same blocks in each resample.

    Parameters
    ----------
    measured, predicted, other : array, shape (N, T)
    blocks, tracks, resamples, seed
        As in `track_scores`.

    Returns
    -------
    polars.DataFrame
        As of `track_scores`; `estimate`, `low` and `high` are of the difference. Above zero `predicted` is better,
        except for errors (mse, mae), where it is below.

    Raises
    ------
    GenopredError
        If shapes do not fit or a value is not finite.
    """
    one, two = block_sums(measured, predicted, blocks), block_sums(measured, other, blocks)

    def difference(draws: NDArray[np.int64] | None = None) -> dict[str, Floats]:
        a, b = one.metrics(draws), two.metrics(draws)
        return {metric: a[metric] - b[metric] for metric in METRICS}

    return _table(tracks, one, difference, resamples, seed)


def _table(
    tracks: Sequence[Track], sums: BlockSums, metrics: Callable[..., dict[str, Floats]], resamples: int, seed: int
) -> pl.DataFrame:
    """What `metrics` says over all blocks, with intervals from what it says of blocks that are drawn."""
    n_bins, n_blocks, n = int(sums.bins.sum()), len(sums.bins), sums.sums.shape[2]
    if len(tracks) != n:
        raise GenopredError(f"track scores: {len(tracks)} tracks are named and the values have {n}; one each.")
    estimate = metrics()
    drawn = metrics(block_draws(n_blocks, resamples, seed)) if resamples > 0 and n_blocks > 1 else None
    rows = []
    for i, track in enumerate(tracks):
        for metric in METRICS:
            value = float(estimate[metric][i])
            low, high = (np.nan, np.nan) if drawn is None else percentiles(drawn[metric][:, i])
            numbers = [None if np.isnan(x) or np.isnan(value) else float(x) for x in (value, low, high)]
            rows.append((track.name, track.assay, track.cell, metric, *numbers, n_bins, n_blocks))
    return pl.DataFrame(rows, schema=TRACK_SCORE_SCHEMA, orient="row")


def percentiles(values: Floats) -> tuple[float, float]:
    """The interval; resamples in which the metric is not defined (a block without signal drawn alone) do not count."""
    values = values[np.isfinite(values)]
    if not len(values):
        return np.nan, np.nan
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
