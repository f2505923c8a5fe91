"""Training sets of folds by their sums: marginal regressions, and what scores gain on the fold kept aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genopred.errors import GenopredError
from genopred.genetics.ld import Products
from genopred.genetics.moments import Moments
from genopred.genetics.scores_kernels import squares

Floats = NDArray[np.float64]

#: Correlations with the phenotype that differ by less are the same but for rounding.
SAME = 1e-12


@dataclass(frozen=True)
class Regressions:
    """Marginal regressions of the people of a training set.

    Attributes
    ----------
    slope : array, shape (M,)
        Phenotype per allele copy, 0 where a variant does not vary.
    tstat : array, shape (M,)
        NaN where a variant does not vary.
    df : int
    mean_x : array, shape (M,)
    mean_y : float
    """

    slope: Floats
    tstat: Floats
    df: int
    mean_x: Floats
    mean_y: float


def regressions(n: int, sums: Floats, sum_y: float, yy: float, mean_y: float) -> Regressions:
    """Marginal regressions of n people.

    Parameters
    ----------
    n : int
    sums : array, shape (3, M)
        Of x, x² and xy, with y around any number that is near its mean.
    sum_y, yy : float
        Sum of that y, and its sum of squares around its mean.
    mean_y : float
        Mean phenotype as it is.
    """
    sx, sxx, sxy = sums
    xx = sxx - sx * sx / n
    xy = sxy - sx * sum_y / n
    varies = (xx > 1e-9 * n) & (yy > 0) & (n > 2)
    safe = np.where(varies, xx, 1.0)
    slope = np.where(varies, xy / safe, 0.0)
    r2 = np.clip(xy * xy / (safe * (yy if yy > 0 else 1.0)), 0.0, 1.0)
    with np.errstate(divide="ignore"):
        tstat = np.where(varies, np.sign(slope) * np.sqrt((n - 2) * r2 / (1.0 - r2)), np.nan)
    return Regressions(slope, tstat, n - 2, sx / n, mean_y)


def by_strength(tstat: Floats, df: int, same: float = 0.0) -> NDArray[np.int64]:
    """Variants from the largest |t| down, those without one left out; equal ones in order of column.

    Correlations count as equal that differ by at most `same`: sums over people in another order give copies of a
    variant other last digits.

    >>> by_strength(np.array([1.0, -3.0, np.nan, 3.0 + 1e-14]), 10, same=1e-12).tolist()
    [1, 3, 0]
    """
    strength = np.abs(tstat)
    usable = np.flatnonzero(~np.isnan(strength))
    order = usable[np.argsort(-strength[usable], kind="stable")]
    if same and len(order):
        t = strength[order]
        with np.errstate(invalid="ignore"):
            r = np.where(np.isinf(t), 1.0, t / np.sqrt(df + t * t))
        run = np.concatenate([[0], np.cumsum(r[:-1] - r[1:] > same)])
        order = order[np.lexsort((order, run))]
    return order


class FoldSums:
    """Training people known by the sums of all of them and of each of K folds.

    Parameters
    ----------
    whole : Moments
        Of one outcome, without covariates and missing dosages.
    folds : sequence of Moments
        Of disjoint folds that add up to `whole`.
    name : str
        Who asks, for messages.

    Raises
    ------
    GenopredError
        If the sums are of something else, or the folds do not add up.
    """

    #: Candidates and variants that are equal but for this are equal: the first one is taken.
    same = SAME

    def __init__(self, whole: Moments, folds: Sequence[Moments], name: str) -> None:
        _check(whole, folds, name)
        self.whole, self.parts = whole, list(folds)
        self.means = whole.sums / max(whole.n, 1)
        start = float(whole.totals[0]) / max(whole.n, 1)
        # y around its mean, or the digits of a large mean would be lost to it
        self._start = start
        self._n = np.array([part.n for part in folds])
        self._y = np.array([part.totals[0] - part.n * start for part in folds])
        self._yy = np.array([part.square[0, 0] - 2 * start * part.totals[0] + part.n * start**2 for part in folds])
        self._sums = np.array([[part.sums, np.diag(part.gram), part.cross[:, 0] - start * part.sums] for part in folds])

    @property
    def folds(self) -> int:
        """K."""
        return len(self.parts)

    def regress(self, without: frozenset[int]) -> Regressions:
        """Marginal regressions of all folds but some."""
        inside = [fold for fold in range(self.folds) if fold not in without]
        n, y = int(self._n[inside].sum()), float(self._y[inside].sum())
        yy = float(self._yy[inside].sum()) - y * y / n
        # below this it is the rounding of an outcome that does not vary
        yy = yy if yy > 1e-14 * n * self._start**2 else 0.0
        return regressions(n, self._sums[inside].sum(axis=0), y, yy, self._start + y / n)

    def ld(self, without: frozenset[int]) -> Products:
        """Products of dosages of all folds but at most two."""
        return Products.without(self.whole, [self.parts[fold] for fold in sorted(without)])

    def gains(self, fold: int, base: Regressions, weights: Floats) -> tuple[Floats, Floats]:
        """What tells how well scores, weights (C, M), predict a fold.

        Sums over its people of score times phenotype and of score squared, both around the means of the training
        people `base`; shape (C,) each.
        """
        part = self.parts[fold]
        middle = weights @ base.mean_x
        cross = weights @ (part.cross[:, 0] - base.mean_y * part.sums)
        cross -= middle * (float(part.totals[0]) - part.n * base.mean_y)
        # P+T leaves most variants out
        if np.count_nonzero(weights) > 0.5 * weights.size:
            square = np.einsum("cj,cj->c", weights @ part.gram, weights)
        else:
            square = squares(part.gram, weights)
        square += middle * (part.n * middle - 2 * (weights @ part.sums))
        return cross, np.maximum(square, 0.0)


def _check(whole: Moments, folds: Sequence[Moments], name: str) -> None:
    for one in (whole, *folds):
        if one.outcomes != 1 or one.covariates or len(one.holes) or one.m != whole.m:
            raise GenopredError(
                f"{name}: sums of {one.m} variants, {one.outcomes} outcomes and {one.covariates} covariates, "
                f"{len(one.holes)} variants with missing dosages; needed are {whole.m} variants, one outcome, no "
                "covariates and nothing missing (Moments.with_outcome, residualised, filled)."
            )
    n = sum(one.n for one in folds)
    apart = np.abs(sum((one.sums for one in folds), np.zeros(whole.m)) - whole.sums)
    if n != whole.n or (apart > 1e-6 * (1 + np.abs(whole.sums))).any():
        raise GenopredError(f"{name}: folds of {n} people do not add up to the whole of {whole.n}.")
