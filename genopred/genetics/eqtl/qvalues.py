"""Which genes have an eQTL: Storey's q-values over genes, and each gene's nominal threshold."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from genopred.errors import GenopredError, examples

Floats = NDArray[np.float64]


def qvalues(pvals: ArrayLike, lambdas: ArrayLike | None = None) -> tuple[Floats, float]:
    """Storey's q-values, with the proportion of true nulls from a smoother, as R's qvalue does by default.

    Parameters
    ----------
    pvals : array, shape (G,)
        From 0 to 1; NaN gets NaN.
    lambdas : array, optional
        Where to estimate pi0; 0.05, 0.1 to 0.95. One number uses the estimate there.

    Returns
    -------
    q : array, shape (G,)
    pi0 : float
        Estimated proportion of true nulls. 1, which makes q the Benjamini-Hochberg value, where it cannot be
        estimated: no p-value above the largest lambda, or fewer than 20 p-values.

    References
    ----------
    Storey and Tibshirani (2003), doi:10.1073/pnas.1530509100.

    Examples
    --------
    >>> q, pi0 = qvalues([0.01, 0.02, 0.5])
    >>> q.round(3).tolist(), pi0
    ([0.03, 0.03, 0.5], 1.0)
    """
    p = np.asarray(pvals, dtype=np.float64)
    known = np.isfinite(p)
    wrong = p[known & ((p < 0) | (p > 1))]
    if wrong.size:
        raise GenopredError(f"qvalues: {wrong.size} p-values are outside 0 to 1 ({examples(wrong.tolist())}).")
    out = np.full(p.shape, np.nan)
    if not known.any():
        return out, 1.0
    mine = p[known]
    pi0 = _pi0(mine, np.arange(0.05, 0.951, 0.05) if lambdas is None else np.atleast_1d(np.asarray(lambdas, float)))
    order = np.argsort(-mine, kind="stable")
    rank = np.arange(len(mine), 0, -1)
    out[np.flatnonzero(known)[order]] = np.minimum.accumulate(np.minimum(pi0 * len(mine) / rank * mine[order], 1.0))
    return out, pi0


def _pi0(p: Floats, lambdas: Floats) -> float:
    if len(p) < 20 or p.max() < lambdas.max():
        return 1.0
    above = (p[None, :] >= lambdas[:, None]).mean(axis=1) / (1 - lambdas)
    pi0 = float(above[-1]) if len(lambdas) < 4 else float(_smooth(lambdas, above, 3.0)[-1])
    return min(pi0, 1.0) if pi0 > 0 else 1.0


def _smooth(x: Floats, y: Floats, df: float) -> Floats:
    """Cubic smoothing spline with `df` effective degrees of freedom, at x."""
    h = np.diff(x)
    n = len(x)
    q = np.zeros((n, n - 2))
    r = np.zeros((n - 2, n - 2))
    for i in range(n - 2):
        q[i : i + 3, i] = 1 / h[i], -1 / h[i] - 1 / h[i + 1], 1 / h[i + 1]
        r[i, i] = (h[i] + h[i + 1]) / 3
        if i:
            r[i, i - 1] = r[i - 1, i] = h[i] / 6
    size, vectors = np.linalg.eigh(q @ np.linalg.solve(r, q.T))
    size = np.maximum(size, 0.0)
    low, high = -40.0, 40.0  # log penalty; the degrees of freedom fall with it
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.sum(1 / (1 + np.exp(middle) * size)) > df else (low, middle)
    return vectors @ ((vectors.T @ y) / (1 + np.exp(low) * size))


def add_qvalues(table: pl.DataFrame, fdr: float = 0.05) -> tuple[pl.DataFrame, float]:
    """Add `qval` and `pval_nominal_threshold` to a permutation table, as tensorQTL does.

    Parameters
    ----------
    table : polars.DataFrame
        From `permutation_table`, all chromosomes together.
    fdr : float
        Genes with q up to this are eGenes; the nominal threshold of each gene is where its beta distribution
        reaches the p-value halfway between the last eGene and the first other gene.

    Returns
    -------
    polars.DataFrame, float
        The table with two more columns, and pi0.
    """
    pval = table["pval_beta"].to_numpy()
    q, pi0 = qvalues(pval)
    threshold = np.full(len(pval), np.nan)
    inside, outside = pval[q <= fdr], pval[q > fdr]
    if inside.size:
        cut = (inside.max() + outside.min()) / 2 if outside.size else inside.max()
        threshold = betaincinv(table["beta_shape1"].to_numpy(), table["beta_shape2"].to_numpy(), cut)
    return table.with_columns(qval=pl.Series(q), pval_nominal_threshold=pl.Series(threshold)), pi0
