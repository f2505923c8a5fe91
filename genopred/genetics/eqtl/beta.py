"""Permutation p-values below 1 / P: a beta distribution fitted to each gene's smallest p-values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, digamma, zeta

from genopred.errors import GenopredError
from genopred.genetics.eqtl.scan import CisScan, correlation_test

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


#: One row per gene, as tensorQTL's `cis`.
PERMUTATION_SCHEMA = {
    "phenotype_id": pl.String,
    "num_var": pl.Int32,
    "beta_shape1": pl.Float64,
    "beta_shape2": pl.Float64,
    "true_df": pl.Float64,
    "pval_true_df": pl.Float64,
    "variant_id": pl.String,
    "start_distance": pl.Int32,
    "end_distance": pl.Int32,
    "ma_samples": pl.Int32,
    "ma_count": pl.Int32,
    "af": pl.Float32,
    "pval_nominal": pl.Float64,
    "slope": pl.Float64,
    "slope_se": pl.Float64,
    "pval_perm": pl.Float64,
    "pval_beta": pl.Float64,
}


@dataclass(frozen=True)
class BetaFit:
    """Beta approximation of a gene's smallest p-value under permutation: columns of `PERMUTATION_SCHEMA`."""

    beta_shape1: float  # maximum likelihood; NaN where the two could not be fitted
    beta_shape2: float
    true_df: float  # at which the permuted p-values look like a minimum of independent ones (shape1 = 1)
    pval_true_df: float  # of the top variant, with that many degrees of freedom
    pval_perm: float  # empirical, (b + 1) / (P + 1)
    pval_beta: float


def beta_approximation(perm_r2: ArrayLike, r2: float, df: float) -> BetaFit:
    """Extend permutation p-values below 1 / P by a fitted beta distribution, as FastQTL does.

    `perm_r2` (P,) is the largest squared correlation of each permutation, `r2` that of the top variant; `df` are the
    nominal degrees of freedom, where the search for the effective ones starts. Ongen et al. (2016),
    doi:10.1093/bioinformatics/btv722.

    >>> rng = np.random.default_rng(1)
    >>> best = np.max(rng.standard_normal((1000, 50)) ** 2 / 100, axis=1)
    >>> fit = beta_approximation(best, 0.25, 100)
    >>> bool(0.9 < fit.beta_shape1 < 1.1), bool(fit.pval_beta < 1e-4)
    (True, True)
    """
    permuted = np.asarray(perm_r2, dtype=np.float64)
    pval_perm = float((np.sum(permuted >= r2) + 1) / (len(permuted) + 1))
    if len(permuted) >= 2 and np.ptp(permuted) > 0:
        true_df = _effective_df(permuted, df)
        shapes = fit_beta(np.clip(_r2_pval(permuted, true_df), 1e-300, 1 - 1e-16))
        if shapes is not None:
            pval = float(_r2_pval(r2, true_df))
            return BetaFit(*shapes, true_df, pval, pval_perm, float(betainc(*shapes, pval)))
    return BetaFit(np.nan, np.nan, float(df), float(_r2_pval(r2, df)), pval_perm, np.nan)


def _r2_pval(r2: ArrayLike, df: float) -> Floats:
    return betainc(df / 2, 0.5, 1 - np.asarray(r2, dtype=np.float64))


def _moments(pvals: Floats) -> tuple[float, float]:
    mean, var = float(pvals.mean()), float(pvals.var(ddof=1))
    size = mean * (1 - mean) / max(var, 1e-300) - 1
    return mean * size, (1 - mean) * size


def _effective_df(perm_r2: Floats, df: float) -> float:
    """Where the moments of the permuted p-values give shape1 = 1; `df` where they never do."""

    def gap(log_df: float) -> float:
        shape = _moments(_r2_pval(perm_r2, float(np.exp(log_df))))[0]
        return float(np.log(shape)) if shape > 0 else -10.0

    at, step = float(np.log(df)), -0.05
    value = gap(at)
    low, high = np.log(df / 20), np.log(20 * df)
    for _ in range(30):
        if abs(value) < 1e-4:
            return float(np.exp(at))
        other = gap(at + step)
        if other == value:
            break
        # Secant; the gap is nearly linear in log df, so a handful of steps do.
        new = float(np.clip(at - value * step / (other - value), low, high))
        if abs(new - at - step) < 1e-6:
            return float(np.exp(new))
        at, value, step = at + step, other, new - at - step
        if step == 0:
            break
    return float(df)


def fit_beta(pvals: ArrayLike, tol: float = 1e-8) -> tuple[float, float] | None:
    """Maximum-likelihood shapes of a beta distribution by Newton's method; None where it does not converge.

    >>> shapes = fit_beta(np.random.default_rng(1).beta(1.1, 300, 20000))
    >>> round(shapes[0], 1), round(shapes[1], -1)
    (1.1, 300.0)
    """
    p = np.asarray(pvals, dtype=np.float64)
    one, two = float(np.mean(np.log(p))), float(np.mean(np.log1p(-p)))
    a, b = _moments(p)
    if not (a > 0 and b > 0):
        return None
    for _ in range(100):
        both = digamma(a + b)
        ga, gb = digamma(a) - both - one, digamma(b) - both - two
        curve = zeta(2, a + b)  # trigamma
        haa, hbb = zeta(2, a) - curve, zeta(2, b) - curve
        det = haa * hbb - curve * curve
        if not det > 0:
            return None
        da, db = (hbb * ga + curve * gb) / det, (haa * gb + curve * ga) / det
        # Never more than halfway to 0.
        factor = min([1.0, *(0.5 * shape / change for shape, change in ((a, da), (b, db)) if change > 0.5 * shape)])
        a, b = a - factor * da, b - factor * db
        if abs(da) <= tol * a and abs(db) <= tol * b:
            return float(a), float(b)
    return None


def permutation_table(
    scan: CisScan, gene_ids: Sequence[str], variant_ids: pl.Series, pos: Ints, tss: Ints
) -> pl.DataFrame:
    """One row per gene in tensorQTL's columns: top variant and its beta-approximated p-value.

    Parameters
    ----------
    scan : CisScan
        With permutations.
    gene_ids : list of str, length G
    variant_ids : polars.Series, length M
    pos, tss : arrays, shape (M,), (G,)
        1-based.

    Returns
    -------
    polars.DataFrame
        Columns of `PERMUTATION_SCHEMA`; genes without a usable variant are left out.
    """
    if scan.perm_r2 is None:
        raise GenopredError("permutation_table: the scan has no permutations; give cis_scan permutation_indices.")
    rows = [
        top_row(scan, scan.perm_r2[gene], gene, gene_ids[gene], variant_ids, pos, int(tss[gene]))
        for gene in np.flatnonzero(scan.top >= 0).tolist()
    ]
    return pl.DataFrame(rows, schema=PERMUTATION_SCHEMA, orient="row")


def top_row(
    scan: CisScan, perm_r2: Floats, gene: int, gene_id: str, variant_ids: pl.Series, pos: Ints, tss: int
) -> dict[str, Any]:
    top = int(scan.top[gene])
    r = float(scan.gene(gene)[top - scan.start[gene]])
    ratio = scan.scale[gene] / scan.spread[top]
    return {
        **vars(beta_approximation(perm_r2, r * r, scan.df)),
        "phenotype_id": gene_id,
        "num_var": int(np.sum(~np.isnan(scan.gene(gene)))),
        "variant_id": variant_ids[top],
        "start_distance": int(pos[top]) - tss,
        "end_distance": int(pos[top]) - tss,
        "ma_samples": int(scan.ma_samples[top]),
        "ma_count": int(scan.ma_count[top]),
        "af": float(scan.af[top]),
        "pval_nominal": float(correlation_test(r, scan.df)[1]),
        "slope": r * ratio,
        "slope_se": float(np.sqrt((1 - r * r) / scan.df)) * ratio,
    }
