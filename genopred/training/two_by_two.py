"""Seen or unseen genes by seen or unseen people: how well differences between people are predicted, and by whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.training.gene_tests import sign_flips
from genopred.training.people import PersonalData, within
from genopred.training.scores import block_draws

#: A row a gene and set of people; `r_` and `r2_` of each method follow.
OF_GENE: dict[str, Any] = {
    "gene_id": pl.String,
    "block": pl.Int64,
    "genes": pl.String,
    "people": pl.String,
    "n": pl.Int64,
    "variants": pl.Int64,
}
#: A row a cell and method.
CELL_SCHEMA: dict[str, Any] = {
    "genes": pl.String,
    "people": pl.String,
    "method": pl.String,
    "n_genes": pl.Int64,
    "n_blocks": pl.Int64,
    "n_people": pl.Float64,
    **dict.fromkeys(("mean_r", "low", "high", "positive", "p_sign", "p_blocks", "mean_r2"), pl.Float64),
    **dict.fromkeys(("delta", "delta_low", "delta_high"), pl.Float64),
}
SEEN = {"train": "seen", "test": "unseen"}
_RESAMPLES = 2_000
_SEED = 0


def pooled_slope(predicted: NDArray[np.float64], data: PersonalData) -> float:
    """Slope of expression on predictions (N, G) within genes, over training people of all training genes together."""
    people = data.rows("train")
    xy = xx = 0.0
    for g in data.split.rows("train"):
        y = data.of_gene[g].y[people]
        known = np.isfinite(y)
        x = predicted[people, g][known]
        x = x - x.mean()
        xy, xx = xy + float(x @ y[known]), xx + float(x @ x)
    return xy / xx if xx > 0 else 0.0


def by_gene(data: PersonalData, predicted: Mapping[str, NDArray[np.float64]]) -> pl.DataFrame:
    """How well each method's predictions (N, G) fit each gene, among seen and among unseen people.

    Validation genes and people, who chose the epoch, are in neither set. R² is 1 - SSE/SST on the set's own mean of
    expression, of predictions that are scaled by the pooled slope in training, without intercept: a gene's training
    people have a mean of zero, in expression and, subtracted here, in predictions. Where there are predictions that are
    NaN (a method that does not exist for a gene), so are the scores.

    Returns
    -------
    polars.DataFrame
        Columns of `OF_GENE`, then r_METHOD and r2_METHOD for each.
    """
    slopes = {name: pooled_slope(values, data) if name != "elastic net" else 1.0 for name, values in predicted.items()}
    train = data.rows("train")
    rows = []
    for g, gene in enumerate(data.of_gene):
        kind = SEEN.get(str(data.split.part[g]))
        if kind is None:
            continue
        for part, seen in SEEN.items():
            people = data.rows(part)
            people = people[np.isfinite(gene.y[people])]
            y = gene.y[people]
            row: dict[str, Any] = {"gene_id": data.genes["gene_id"][g], "block": int(data.split.block[g])}
            row |= {"genes": kind, "people": seen, "n": len(people), "variants": gene.window.alleles.shape[1]}
            for name, values in predicted.items():
                x = values[people, g]
                if not np.isfinite(x).all():
                    row |= {f"r_{name}": None, f"r2_{name}": None}
                    continue
                fit = slopes[name] * (x - values[train, g].mean())
                row[f"r_{name}"] = within(x, y)
                row[f"r2_{name}"] = 1.0 - float(((y - fit) ** 2).sum() / ((y - y.mean()) ** 2).sum())
            rows.append(row)
    floats: dict[str, Any] = {f"{what}_{name}": pl.Float64 for name in predicted for what in ("r", "r2")}
    return pl.DataFrame(rows, schema=OF_GENE | floats)


def cells(table: pl.DataFrame, reference: str = "elastic net") -> pl.DataFrame:
    """The 2 x 2 table: of each cell and method the mean correlation over genes, and how it differs from a reference's.

    Intervals (95 %) draw blocks of genes, the same for all methods, so that the difference is paired. `positive` is the
    share of genes whose correlation is above zero, `p_sign` the two-sided sign test of one half (genes without any
    variation are left out of it). It takes genes of one block as independent, which they are not; `p_blocks` does not:
    of a mean correlation of zero, signs of whole blocks flipped (`genopred.training.gene_tests.sign_flips`).

    Parameters
    ----------
    table : polars.DataFrame
        Of `by_gene`.
    reference : str
        A method of it.

    Returns
    -------
    polars.DataFrame
        Columns of `CELL_SCHEMA`.
    """
    from scipy.stats import binomtest

    methods = [name[2:] for name in table.columns if name.startswith("r_")]
    rows = []
    for genes in ("seen", "unseen"):
        for people in ("seen", "unseen"):
            cell = table.filter((pl.col("genes") == genes) & (pl.col("people") == people))
            if not cell.height:
                continue
            names, of = np.unique(cell["block"].to_numpy(), return_inverse=True)
            # how often each gene is in each draw of blocks, (draws, genes)
            draws = block_draws(len(names), _RESAMPLES, _SEED)[:, of].astype(np.float64)
            for method in methods:
                r, r2 = (cell[f"{what}_{method}"].to_numpy() for what in ("r", "r2"))
                mean = _mean(r, draws)
                some = r[np.isfinite(r) & (r != 0)]
                row: dict[str, Any] = {"genes": genes, "people": people, "method": method, "n_genes": cell.height}
                row |= {"n_blocks": int(cell["block"].n_unique()), "n_people": float(cell["n"].mean())}  # type: ignore[arg-type]
                row |= dict(zip(("mean_r", "low", "high"), mean))
                row["positive"] = float((some > 0).mean()) if len(some) else None
                row["p_sign"] = binomtest(int((some > 0).sum()), len(some)).pvalue if len(some) else None
                known = np.isfinite(r)
                row["p_blocks"] = sign_flips(r[known], of[known], seed=_SEED) if known.any() else None
                row["mean_r2"] = float(np.nanmean(r2)) if np.isfinite(r2).any() else None
                if reference in methods and method != reference:
                    gap = _mean(r - cell[f"r_{reference}"].to_numpy(), draws)
                    row |= dict(zip(("delta", "delta_low", "delta_high"), gap))
                rows.append(row)
    return pl.DataFrame(rows, schema=CELL_SCHEMA)


def _mean(values: NDArray[np.float64], draws: NDArray[np.float64]) -> tuple[float | None, float | None, float | None]:
    """Mean and its 95 % interval; none where nothing is known."""
    known = np.isfinite(values)
    if not known.any():
        return None, None, None
    weight = draws[:, known]
    total = weight.sum(axis=1)
    boot = (weight @ values[known])[total > 0] / total[total > 0]
    low, high = np.quantile(boot, (0.025, 0.975))
    return float(values[known].mean()), float(low), float(high)
