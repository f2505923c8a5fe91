"""Is one prediction of genes better than another: tests that respect how genes depend on each other, and usual ones.

The usual ones take a score of each cell type and fold as an observation of its own (`t-cells`, `anova-cells`,
`anova-oneway`), or each gene (`wilcoxon-genes`). But all cell types are scored on the same genes, and genes of one
block are alike, so that the same chance counts many times: such a test finds differences that are none. They are here
because published comparisons have them, and each says what it ignores (`CAUTIONS`).

`blocks-mse` and `blocks-r` compare on the same genes and flip the sign of whole blocks: if neither prediction is
better, it is chance which of the two has the lesser error in a block.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from genopred.genetics.correlation import pearson
from genopred.training.gene_scores import (
    ALL_CELLS,
    BETWEEN,
    LEVEL,
    ROUNDING,
    checked,
    deviations,
    gene_pearson,
    shared_cells,
)
from genopred.training.scores import Floats, block_sums

#: Columns of `gene_tests`: `difference` is of `metric`, `model` minus `against`; `n` observations, each a `unit`.
GENE_TEST_SCHEMA = (
    dict.fromkeys(("test", "model", "against", "what", "cell", "metric"), pl.String)
    | dict.fromkeys(("difference", "statistic", "p", "p_holm"), pl.Float64)
    | {"n": pl.Int64, "unit": pl.String, "respects_genes": pl.Boolean}
)

#: Of each test what it is, and what it ignores.
CAUTIONS = {
    "blocks-mse": "squared errors, signs of whole blocks of genes flipped",
    "blocks-r": "Pearson r, each block's share in it (a jackknife), signs of whole blocks of genes flipped",
    "wilcoxon-genes": "signed ranks of the genes' absolute errors; takes neighbouring genes as independent",
    "t-cells": "paired t test of r over cell types and folds; ignores that cell types share their genes, and folds "
    "most of what they were trained on",
    "anova-cells": "repeated-measures ANOVA of r over all methods; ignores the same as the paired t test",
    "anova-oneway": "one-way ANOVA of r over all methods; ignores that, too, and that all methods see the same genes",
}
#: Those that no chance counts twice in.
RESPECT = ("blocks-mse", "blocks-r")

#: With up to so many blocks all signs are tried.
_EXACT = 13
#: Signs that are drawn at a time.
_AT_ONCE = 2000


def sign_flips(values: ArrayLike, blocks: ArrayLike, *, draws: int = 9999, seed: int = 1) -> float:
    """Two-sided p-value of a mean of zero: how often signs of whole blocks, drawn anew, give a sum as far from zero.

    Parameters
    ----------
    values : array, shape (N,)
        A difference of each gene.
    blocks : array, shape (N,)
        Genes of one block keep their signs together.
    draws : int
        Sets of signs, where blocks are too many to try all.
    seed : int

    Returns
    -------
    float
        Never below 1 / (draws + 1), or 2 / 2^B with few blocks.

    Examples
    --------
    >>> sign_flips([1.0, 2.0, 1.0, 3.0], [0, 1, 2, 2])
    0.25
    """
    of = np.unique(np.asarray(blocks), return_inverse=True)[1]
    sums = np.bincount(of, weights=np.asarray(values, dtype=np.float64))
    # as many signs give exactly this sum, and rounding must not tell them apart
    least = abs(sums.sum()) * (1 - 1e-9) - 1e-12 * np.abs(sums).sum()
    n = len(sums)
    if n <= _EXACT:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return float(np.mean(np.abs(signs @ sums) >= least))
    rng, more = np.random.default_rng(seed), 0
    for first in range(0, draws, _AT_ONCE):
        signs = rng.choice((-1.0, 1.0), size=(min(_AT_ONCE, draws - first), n))
        more += int((np.abs(signs @ sums) >= least).sum())
    return (more + 1) / (draws + 1)


def shares_of_r(measured: Floats, predicted: Floats, blocks: ArrayLike) -> Floats:
    """What each gene (N,) has in a Pearson correlation: the mean is r, and their spread over blocks is that of r.

    All genes of a block have the same: how r changes without the block (the pseudo-values of a jackknife over blocks of
    unequal size, Busing et al. 1999, doi:10.1023/A:1008800423698), moved so that their mean is r itself. NaN where r is
    not defined, with all genes or without a block.

    >>> y, x = np.array([1.0, 2.0, 4.0, 3.0]), np.array([0.0, 3.0, 1.0, 2.0])
    >>> bool(np.isclose(shares_of_r(y, x, [1, 1, 2, 3]).mean(), np.corrcoef(x, y)[0, 1]))
    True
    """
    r = float(pearson(measured, predicted))
    sums = block_sums(measured[:, None], predicted[:, None], blocks)
    n, of = len(sums.bins), np.unique(np.asarray(blocks), return_inverse=True)[1]
    if n == 1:
        return np.full(len(measured), r)
    without = 1 - np.eye(n, dtype=np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = sums.metrics(without)["pearson"][:, 0]
    share = sums.bins / sums.bins.sum()
    each = (r - (1 - share) * left) / share
    # not defined without one of the blocks: not defined
    return np.full(len(measured), np.nan) if np.isnan(each).any() else (each - share @ each + r)[of]


def gene_tests(
    measured: ArrayLike, predicted: Mapping[str, ArrayLike], blocks: ArrayLike, cells: Sequence[str], *,
    folds: ArrayLike | None = None, draws: int = 9999, seed: int = 1, level_only: Collection[str] = (),
    errors_only: Collection[str] = (),
) -> pl.DataFrame:  # fmt: skip
    """Tests of the first of some predictions against each of the others, and of all of them together.

    Parameters
    ----------
    measured : array, shape (N, C)
        NaN where a gene was not measured.
    predicted : dict of array, shape (N, C)
        By name; the first one is compared with the others. Columns of NaN are cell types that it does not predict.
    blocks : array of int, shape (N,)
    cells : sequence of C str
    folds : array, shape (N,), optional
        In which fold each gene was held out.
    draws, seed : int
        Of `sign_flips`.
    level_only, errors_only : collection of str
        Names of predictions of which deviations between cell types mean nothing, or no correlation does, because it is
        one number for all genes of a fold: these are not tested.

    Returns
    -------
    polars.DataFrame
        Columns of `GENE_TEST_SCHEMA`; `blocks-r` is also of the deviations `between` cell types. `p_holm` is corrected
        (Holm) over the comparisons of the same test: over the others for tests over all cell types, over others and
        cell types for those of single ones. The ANOVAs have no `against`: their null hypothesis is that no method
        differs from another. Null where a test is not defined.

    Raises
    ------
    GenopredError
        As `genopred.training.gene_scores.gene_scores`.
    """
    y = np.asarray(measured, dtype=np.float64)
    names, fold = list(predicted), np.zeros(len(y)) if folds is None else np.asarray(folds)
    rows: list[tuple[object, ...]] = []
    for other in names[1:]:
        one, two = shared_cells(predicted[names[0]], predicted[other])
        _, _, block, columns = checked(y, one, blocks, cells)
        each = [_of_genes(y[:, c], one[:, c], two[:, c], block) for c in columns]
        if other in errors_only:
            for part in each:
                del part["blocks-r"]
        for place, c in enumerate(columns):
            rows += _block_tests([each[place]], block, (names[0], other, LEVEL, cells[c]), draws, seed)
        if len(columns) > 1:
            rows += _block_tests(each, block, (names[0], other, LEVEL, ALL_CELLS), draws, seed)
        if len(columns) > 1 and other not in (*level_only, *errors_only):
            apart = [_between(y, one, two, block, columns, c) for c in columns]
            for place, c in enumerate(columns):
                rows += _block_tests([apart[place]], block, (names[0], other, BETWEEN, cells[c]), draws, seed)
            rows += _block_tests(apart, block, (names[0], other, BETWEEN, ALL_CELLS), draws, seed)
        rows.append(_t_test(y, one, two, columns, fold, (names[0], other)))
    rows += _anovas(y, predicted, fold)
    table = pl.DataFrame(rows, schema={k: v for k, v in GENE_TEST_SCHEMA.items() if k != "p_holm"}, orient="row")
    return _corrected(table).select(list(GENE_TEST_SCHEMA))


def _of_genes(y: Floats, one: Floats, two: Floats, block: NDArray[np.int64]) -> dict[str, Floats]:
    """Of each test the genes' differences (N,) between two predictions; NaN where a gene was not measured."""
    known = np.isfinite(y)
    out = {name: np.full(len(y), np.nan) for name in ("blocks-mse", "blocks-r", "wilcoxon-genes")}
    y, one, two, block = y[known], one[known], two[known], block[known]
    out["blocks-mse"][known] = (one - y) ** 2 - (two - y) ** 2
    out["blocks-r"][known] = shares_of_r(y, one, block) - shares_of_r(y, two, block)
    out["wilcoxon-genes"][known] = np.abs(one - y) - np.abs(two - y)
    return out


def _between(
    y: Floats, one: Floats, two: Floats, block: NDArray[np.int64], columns: Sequence[int], c: int
) -> dict[str, Floats]:
    """The same of r of the deviations from each gene's mean over cell types, of one cell type."""
    known = np.zeros(y.shape, dtype=bool)
    known[:, columns] = np.isfinite(y[:, columns])
    known &= (known.sum(axis=1) > 1)[:, None]
    a, b, d = (deviations(values, known)[:, c] for values in (one, two, y))
    rows, out = known[:, c], np.full(len(y), np.nan)
    for whole, part in ((one, a), (two, b)):
        if rows.any() and part[rows].std() <= ROUNDING * whole[rows, c].std():
            part[rows] = 0.0
    if rows.any():
        out[rows] = shares_of_r(d[rows], a[rows], block[rows]) - shares_of_r(d[rows], b[rows], block[rows])
    return {"blocks-r": out}


def _block_tests(
    parts: Sequence[dict[str, Floats]], block: NDArray[np.int64], labels: tuple[str, ...], draws: int, seed: int
) -> list[tuple[object, ...]]:
    """The tests over genes of one cell type, or of the mean over several."""
    from scipy.stats import wilcoxon

    rows: list[tuple[object, ...]] = []
    for test, metric in (("blocks-mse", "mse"), ("blocks-r", "pearson"), ("wilcoxon-genes", "mae")):
        if test not in parts[0]:
            continue
        values = np.stack([part[test] for part in parts])
        # each cell type counts alike, however many genes were measured there
        counts = np.isfinite(values).sum(axis=1, keepdims=True)
        used = np.isfinite(values).any(axis=0)
        undefined = (counts == 0).any()
        mean = np.nansum(values / np.maximum(counts, 1), axis=0)[used] / len(parts)
        difference = None if undefined else float(mean.sum())
        if test in RESPECT:
            of = block[used]
            p = None if undefined else sign_flips(mean, of, draws=draws, seed=seed)
            n, unit, statistic = len(np.unique(of)), "blocks of genes", difference
        else:
            n, unit = int(used.sum()), "genes"
            varies = not undefined and bool(np.any(mean != 0))
            found = wilcoxon(mean) if varies else None
            statistic, p = (float(found.statistic), float(found.pvalue)) if found is not None else (None, 1.0)
        rows.append((test, *labels, metric, difference, statistic, p, n, unit, test in RESPECT))
    return rows


def cell_correlations(measured: Floats, predicted: Floats, folds: ArrayLike) -> Floats:
    """Pearson r in each fold and cell type, (folds, C), of values (N, C); NaN where it is not defined."""
    fold = np.asarray(folds)
    return np.stack([gene_pearson(predicted[fold == name], measured[fold == name]) for name in np.unique(fold)])


def _t_test(
    y: Floats, one: Floats, two: Floats, columns: Sequence[int], fold: ArrayLike, names: tuple[str, str]
) -> tuple[object, ...]:
    from scipy.stats import ttest_rel

    a, b = (cell_correlations(y[:, columns], p[:, columns], fold).ravel() for p in (one, two))
    use = np.isfinite(a) & np.isfinite(b)
    n = int(use.sum())
    difference = float((a - b)[use].mean()) if n else None
    found = ttest_rel(a[use], b[use]) if n > 1 and np.ptp((a - b)[use]) > 0 else None
    numbers = (None, None) if found is None else (float(found.statistic), float(found.pvalue))
    return ("t-cells", *names, LEVEL, ALL_CELLS, "pearson", difference, *numbers, n, "cell types and folds", False)


def _anovas(y: Floats, predicted: Mapping[str, ArrayLike], fold: ArrayLike) -> list[tuple[object, ...]]:
    """Do any of the methods differ: r of the cell types and folds that all of them have."""
    r = {name: cell_correlations(y, np.asarray(p, dtype=np.float64), fold).ravel() for name, p in predicted.items()}
    # a method without any correlation (one number for all genes) or of few cell types takes no part
    most = max((np.isfinite(values).sum() for values in r.values()), default=0)
    r = {name: values for name, values in r.items() if np.isfinite(values).sum() == most and most}
    if len(r) < 2:
        return []
    table = np.column_stack(list(r.values()))
    table = table[np.isfinite(table).all(axis=1)]
    n, k = table.shape
    if n < 2 or not np.ptp(table) > 0:
        return []
    from scipy.stats import f_oneway

    plain = f_oneway(*table.T)
    f, p = repeated_measures(table)
    shown = (next(iter(predicted)), "", LEVEL, ALL_CELLS, "pearson", None)
    unit = f"cell types and folds, each of {k} methods"
    return [
        ("anova-cells", *shown, f, p, n, unit, False),
        ("anova-oneway", *shown, float(plain.statistic), float(plain.pvalue), n, unit, False),
    ]


def repeated_measures(table: ArrayLike) -> tuple[float, float]:
    """F and p of a repeated-measures ANOVA of one factor: subjects (n) by conditions (k).

    >>> f, p = repeated_measures([[1.0, 2.0], [2.0, 4.0], [3.0, 3.0]])
    >>> round(f, 6), round(p, 4)
    (3.0, 0.2254)
    """
    from scipy.stats import f as f_distribution

    values = np.asarray(table, dtype=np.float64)
    n, k = values.shape
    centred = values - values.mean()
    of_condition = n * (centred.mean(axis=0) ** 2).sum()
    of_subject = k * (centred.mean(axis=1) ** 2).sum()
    rest = max(float((centred**2).sum() - of_condition - of_subject), 0.0)
    df1, df2 = k - 1, (k - 1) * (n - 1)
    if rest <= 1e-12 * float((centred**2).sum()):
        return (np.inf, 0.0) if of_condition > 0 else (0.0, 1.0)
    statistic = float(of_condition / df1 / (rest / df2))
    return statistic, float(f_distribution.sf(statistic, df1, df2))


def holm(p: ArrayLike) -> Floats:
    """P-values corrected for their number by Holm's steps.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    # statsmodels' own collects garbage at each call, which takes 0.2 s in a process that holds much
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    out = np.empty(len(values))
    out[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)), 1.0)
    return out


def _corrected(table: pl.DataFrame) -> pl.DataFrame:
    """With `p_holm`: over the comparisons of one test, those over all cell types and those of single ones apart."""
    p = table["p"].to_numpy().astype(np.float64)
    out = np.full(len(p), np.nan)
    single = (table["cell"] != ALL_CELLS).to_numpy()
    for test, what in table.select("test", "what").unique().iter_rows():
        same = ((table["test"] == test) & (table["what"] == what)).to_numpy()
        for alone in (False, True):
            rows = np.flatnonzero(same & (single == alone) & np.isfinite(p))
            if len(rows):
                out[rows] = holm(p[rows])
    return table.with_columns(pl.Series("p_holm", out).fill_nan(None))
