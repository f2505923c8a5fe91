"""How well the expression of held-out genes is predicted, in each cell type and between them.

Neighbouring genes share enhancers, duplicates and domains, so intervals come from drawing whole blocks of genes anew,
as in `scores`, whose sums over blocks these are.

Two questions are kept apart. `level`: how well the genes' values are told in a cell type. Housekeeping genes are on
everywhere, so that whoever finds only "is expressed" scores well there in all cell types. `between`: how well each
gene's deviation from its own mean over cell types is told, of which such a prediction knows nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from genopred.errors import GenopredError, examples
from genopred.genetics.correlation import pearson
from genopred.training.scores import BlockSums, Floats, block_draws, block_sums, percentiles

#: In the order of the tables.
GENE_METRICS = ("pearson", "spearman", "r2", "mse", "mae")
#: What is scored: values, and deviations from each gene's mean over cell types.
LEVEL, BETWEEN = "level", "between"
#: What the mean over cell types is called among them.
ALL_CELLS = "mean over cell types"

#: Columns of `gene_scores` and `gene_differences`; `se` is the standard deviation over the draws.
GENE_SCORE_SCHEMA = (
    dict.fromkeys(("what", "cell", "metric"), pl.String)
    | dict.fromkeys(("estimate", "low", "high", "se"), pl.Float64)
    | dict.fromkeys(("n_genes", "n_blocks"), pl.Int64)
)

#: Deviations that vary by less than this share of the values are rounding.
ROUNDING = 1e-6
#: Two-sided test at 5 %, power 80 %: so many standard errors.
_DETECTABLE = 1.96 + 0.842


def detectable(se: float | None) -> float | None:
    """The true difference that a two-sided test at 5 % finds in four of five such sets of genes.

    >>> round(detectable(0.01), 4)
    0.028
    """
    return None if se is None else _DETECTABLE * se


def gene_scores(
    measured: ArrayLike, predicted: ArrayLike, blocks: ArrayLike, cells: Sequence[str], *, resamples: int = 1000,
    seed: int = 1,
) -> pl.DataFrame:  # fmt: skip
    """Accuracy over genes in each cell type, with 95 % percentile intervals from drawing blocks with replacement.

    Parameters
    ----------
    measured, predicted : array, shape (N, C)
        A gene that was not measured in a cell type is NaN there. A cell type that is not predicted is a column of NaN
        of `predicted`, and has no rows.
    blocks : array of int, shape (N,)
        Genes of one block are drawn together.
    cells : sequence of C str
    resamples : int
        Sets of blocks drawn; 0 for no intervals.
    seed : int
        Equal ones draw the same blocks, whatever is predicted.

    Returns
    -------
    polars.DataFrame
        Columns of `GENE_SCORE_SCHEMA`: a row for each of `what`, cell type and metric of `GENE_METRICS`, and after the
        cell types their mean (`ALL_CELLS`) where there are several. `between` has Pearson and Spearman only, and
        only where at least two cell types are predicted. Null where undefined: a correlation of something constant, an
        interval from a single block.

    Raises
    ------
    GenopredError
        If shapes do not fit, nothing is predicted, or a cell type has no measured gene.

    Notes
    -----
    R² is 1 - SSE/SST of the values themselves, about the mean of the very genes that are scored: negative where that
    mean would have been nearer. Spearman's ranks are taken once, see `genopred.training.scores.track_scores`. The mean
    over cell types is taken within each draw, so that its interval knows that the cell types share their genes.

    Examples
    --------
    >>> y = np.array([[0.0], [1.0], [2.0], [5.0]])
    >>> table = gene_scores(y, 2 * y + 1, [0, 0, 1, 1], ["liver"])
    >>> table.filter(pl.col("metric") == "pearson")["estimate"].round(6).item()
    1.0
    """
    return _table([_sums(measured, predicted, blocks, cells)], blocks, resamples, seed)


def gene_differences(
    measured: ArrayLike, predicted: ArrayLike, other: ArrayLike, blocks: ArrayLike, cells: Sequence[str], *,
    resamples: int = 1000, seed: int = 1,
) -> pl.DataFrame:  # fmt: skip
    """Metrics of `predicted` minus those of `other` on the same genes; both see the same blocks in each draw.

    Parameters
    ----------
    measured, predicted, other : array, shape (N, C)
        Only cell types that both predict are compared.
    blocks, cells, resamples, seed
        As in `gene_scores`.

    Returns
    -------
    polars.DataFrame
        As of `gene_scores`. Above zero `predicted` is better, except for errors (mse, mae), where it is below.

    Raises
    ------
    GenopredError
        As `gene_scores`.
    """
    one, two = shared_cells(predicted, other)
    return _table([_sums(measured, p, blocks, cells) for p in (one, two)], blocks, resamples, seed)


def shared_cells(predicted: ArrayLike, other: ArrayLike) -> tuple[Floats, Floats]:
    """Two predictions (N, C), of which cell types that either lacks are NaN in both."""
    one, two = (np.asarray(values, dtype=np.float64) for values in (predicted, other))
    if one.shape != two.shape:
        raise GenopredError(f"gene scores: predictions of shapes {one.shape} and {two.shape}; needed the same genes.")
    lacking = np.isnan(one).all(axis=0) | np.isnan(two).all(axis=0)
    return np.where(lacking, np.nan, one), np.where(lacking, np.nan, two)


def deviations(values: Floats, known: NDArray[np.bool_]) -> Floats:
    """Values (N, C) less their gene's mean over the cell types that are `known` (N, C); NaN where not known.

    >>> deviations(np.array([[1.0, 3.0]]), np.array([[True, True]])).tolist()
    [[-1.0, 1.0]]
    """
    kept = np.where(known, values, 0.0)
    mean = kept.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.where(known, values - mean[:, None], np.nan)


@dataclass(frozen=True)
class _Part:
    """The sums of one cell type, and which of all blocks have a gene that was measured there."""

    what: str
    cell: str
    sums: BlockSums
    present: NDArray[np.int64]

    @property
    def metrics(self) -> tuple[str, ...]:
        return GENE_METRICS if self.what == LEVEL else GENE_METRICS[:2]

    def values(self, draws: NDArray[np.int64] | None) -> dict[str, Floats]:
        """Each metric over all blocks, (1,), or of R draws of all blocks, (R,)."""
        # a draw may have none of the blocks in which this cell type was measured
        with np.errstate(divide="ignore", invalid="ignore"):
            found = self.sums.metrics(None if draws is None else draws[:, self.present])
        return {name: found[name].reshape(-1) for name in self.metrics}


def checked(
    measured: ArrayLike, predicted: ArrayLike, blocks: ArrayLike, cells: Sequence[str]
) -> tuple[Floats, Floats, NDArray[np.int64], list[int]]:
    """Measured and predicted values as arrays, the block of each gene, and the columns that are predicted."""
    y, x, block = np.asarray(measured, np.float64), np.asarray(predicted, np.float64), np.asarray(blocks)
    if y.ndim != 2 or y.shape != x.shape or block.shape != y.shape[:1] or y.shape[1] != len(cells) or not len(y):
        raise GenopredError(
            f"gene scores: measured {y.shape}, predicted {x.shape}, blocks {block.shape}, {len(cells)} cell types; "
            "needed (genes, cell types) twice, (genes,) and a name each, with at least one gene."
        )
    columns = np.flatnonzero(~np.isnan(x).all(axis=0)).tolist()
    bad = [cells[c] for c in columns if not np.isfinite(x[:, c]).all()]
    if not columns or bad:
        said = f"in {examples(bad)} some genes have no finite prediction" if bad else "no cell type is predicted"
        raise GenopredError(f"gene scores: {said}; needed a number for each gene of each cell type that is predicted.")
    empty = [cells[c] for c in columns if not np.isfinite(y[:, c]).any()]
    if empty:
        raise GenopredError(f"gene scores: no gene was measured in {examples(empty)}; leave these cell types out.")
    return y, x, block, columns


def _sums(measured: ArrayLike, predicted: ArrayLike, blocks: ArrayLike, cells: Sequence[str]) -> list[_Part]:
    """Of each cell type the sums over the blocks: of levels, then of what lies between."""
    y, x, block, columns = checked(measured, predicted, blocks, cells)
    ids = np.unique(block)
    y, x = y[:, columns], x[:, columns]
    known = np.isfinite(y)

    def parts(what: str, a: Floats, b: Floats, use: NDArray[np.bool_]) -> Iterator[_Part]:
        for i, column in enumerate(columns):
            rows = use[:, i]
            if rows.any():
                values = b[rows, i : i + 1]
                # whoever predicts the same in all cell types up to a shift knows nothing of what lies between
                if values.std() <= ROUNDING * x[rows, i].std():
                    values = np.zeros_like(values)
                sums = block_sums(a[rows, i : i + 1], values, block[rows])
                yield _Part(what, cells[column], sums, np.searchsorted(ids, np.unique(block[rows])))

    out = list(parts(LEVEL, y, x, known))
    if len(columns) > 1:
        several = known & (known.sum(axis=1) > 1)[:, None]
        out += parts(BETWEEN, deviations(y, several), deviations(x, several), several)
    return out


def _table(methods: Sequence[Sequence[_Part]], blocks: ArrayLike, resamples: int, seed: int) -> pl.DataFrame:
    """Metrics of one method, or of the first minus the second, with what they are of blocks that are drawn."""
    n_blocks = len(np.unique(np.asarray(blocks)))
    draws = block_draws(n_blocks, resamples, seed) if resamples > 0 and n_blocks > 1 else None

    def found(place: int, draw: NDArray[np.int64] | None) -> dict[str, Floats]:
        one, *two = (parts[place].values(draw) for parts in methods)
        return {name: one[name] - two[0][name] for name in one} if two else one

    rows = []
    first = methods[0]
    for what in (LEVEL, BETWEEN):
        places = [i for i, part in enumerate(first) if part.what == what]
        whole = [found(i, None) for i in places]
        drawn = [found(i, draws) for i in places] if draws is not None else [None] * len(places)
        counts = [(int(first[i].sums.bins.sum()), len(first[i].present)) for i in places]
        names = [first[i].cell for i in places]
        if len(places) > 1:
            names.append(ALL_CELLS)
            whole.append(_mean(whole))
            drawn.append(_mean(drawn) if draws is not None else None)  # type: ignore[arg-type]
            counts.append((max(n for n, _ in counts), n_blocks))
        for cell, estimate, resampled, count in zip(names, whole, drawn, counts):
            for metric in estimate:
                values = None if resampled is None else resampled[metric]
                rows.append((what, cell, metric, *_numbers(float(estimate[metric][0]), values), *count))
    return pl.DataFrame(rows, schema=GENE_SCORE_SCHEMA, orient="row")


def _mean(parts: Sequence[dict[str, Floats]]) -> dict[str, Floats]:
    """The mean over cell types; not defined where it is not in one of them."""
    return {name: np.mean([part[name] for part in parts], axis=0) for name in parts[0]}


def _numbers(value: float, drawn: Floats | None) -> list[float | None]:
    """Estimate, low, high, se; None where not defined."""
    if not np.isfinite(value):
        return [None] * 4
    if drawn is None or not np.isfinite(drawn).any():
        return [value, None, None, None]
    return [value, *percentiles(drawn), float(np.std(drawn[np.isfinite(drawn)]))]


def gene_pearson(predicted: NDArray[np.floating], targets: NDArray[np.floating]) -> Floats:
    """Pearson's correlation over genes in each cell type (C,), of what is known; NaN where one side does not vary."""
    out = np.full(targets.shape[1], np.nan)
    for c, (p, t) in enumerate(zip(predicted.T.astype(np.float64), targets.T.astype(np.float64))):
        ok = np.isfinite(t)
        if ok.sum() > 2:
            out[c] = pearson(p[ok], t[ok])
    return out


def fold_scores(measured: ArrayLike, predicted: ArrayLike, folds: ArrayLike, cells: Sequence[str]) -> pl.DataFrame:
    """The same metrics of each fold's held-out genes by themselves: `fold`, `what`, `cell`, `metric`, `estimate`.

    Folds differ in their genes as well as in the network that was trained, so that their spread is of both.

    >>> y = np.arange(6.0)[:, None]
    >>> fold_scores(y, y, [1, 1, 1, 2, 2, 2], ["liver"]).filter(pl.col("metric") == "r2")["estimate"].to_list()
    [1.0, 1.0]
    """
    y, x, fold = np.asarray(measured, np.float64), np.asarray(predicted, np.float64), np.asarray(folds)
    parts = []
    for name in np.unique(fold).tolist():
        rows = fold == name
        # without intervals blocks do not matter
        table = _table([_sums(y[rows], x[rows], np.zeros(rows.sum(), dtype=int), cells)], [0], 0, 0)
        parts.append(table.select(pl.lit(str(name)).alias("fold"), "what", "cell", "metric", "estimate", "n_genes"))
    return pl.concat(parts)
