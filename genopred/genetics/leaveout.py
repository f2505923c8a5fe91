"""Training people by their sums: the whole less what folds keep aside, without a product matrix of each.

What a model reads of the (M, M) products (all of them, a block, times weights) is put together when it is asked for:
of K folds there are K (K + 1) / 2 + 1 sets of training people, and memory is what sums cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genopred.errors import GenopredError
from genopred.genetics.moments import Centred, Moments

Floats = NDArray[np.float64]

#: Rows of a product matrix that are made at once: they stay in the processor's cache.
ROWS = 64


class LeftOut:
    """Products of the people that are in `whole` and in none of `folds`, around their means.

    Parameters
    ----------
    whole : Moments
        Without holes and covariates, with one outcome.
    folds : sequence of Moments
        Of people within `whole`, each of whom is in one of them at most.

    Attributes
    ----------
    n : int
    mean, scale : array, shape (M,)
        Of dosages; the scale (divided by n) is 0 where a variant does not vary.
    inverse : array, shape (M,)
        1 / scale; 0 where a variant does not vary.
    y_mean, y_scale : float
        Of the outcome; the scale is 1 where it does not vary.
    cross : array, shape (M,)
        Mean of standardised dosage times standardised outcome.

    Raises
    ------
    GenopredError
        If there are holes, covariates or several outcomes, or nobody is left.

    Examples
    --------
    >>> x, y = np.array([[0, 2], [1, 1], [2, 0], [2, 2]]), np.array([0.0, 1.0, 2.0, 3.0])
    >>> left = LeftOut(Moments.of(x, y), [Moments.of(x[3:], y[3:])])
    >>> left.n, left.correlations().round(6).tolist()
    (3, [[1.0, -1.0], [-1.0, 1.0]])
    """

    def __init__(self, whole: Moments, folds: Sequence[Moments] = ()) -> None:
        for one in (whole, *folds):
            check(one)
        n = whole.n - sum(fold.n for fold in folds)
        if n < 1:
            raise GenopredError(f"sums of {whole.n} people less those of {whole.n - n}: nobody is left to train on.")
        sums = _left([one.sums for one in (whole, *folds)])
        cross = _left([one.cross[:, 0] for one in (whole, *folds)])
        diagonal = _left([np.diag(one.gram) for one in (whole, *folds)])
        totals = whole.totals[0] - sum(float(fold.totals[0]) for fold in folds)
        square = whole.square[0, 0] - sum(float(fold.square[0, 0]) for fold in folds)
        mean, y_mean = sums / n, totals / n
        self._set(n, mean, diagonal - n * mean**2, y_mean, cross - sums * y_mean, square - n * y_mean**2)
        self._grams = (whole.gram, *(fold.gram for fold in folds))
        # what stands between sums of products and products around the means
        self._shift = np.sqrt(n) * mean

    @classmethod
    def of(cls, centred: Centred) -> LeftOut:
        """The same of products that are at hand already."""
        out = cls.__new__(cls)
        out._set(centred.n, centred.mean, np.diag(centred.gram), centred.y_mean, centred.cross, centred.square)
        out._grams, out._shift = (centred.gram,), np.zeros(len(centred.mean))
        return out

    def _set(self, n: int, mean: Floats, diagonal: Floats, y_mean: float, cross: Floats, square: float) -> None:
        self.n, self.mean, self.y_mean = n, mean, float(y_mean)
        variance = np.maximum(diagonal, 0.0) / n
        # below this the differences are rounding, as where people are standardised
        varies = variance > 1e-10 * (mean**2 + variance)
        self.scale = np.where(varies, np.sqrt(variance), 0.0)
        self.inverse = np.where(varies, 1.0 / np.where(varies, self.scale, 1.0), 0.0)
        self._cross, self._square = cross, max(float(square), 0.0)
        spread = self._square / n  # rounding alone where it is so little beside the mean
        self.y_scale = float(np.sqrt(spread)) if spread > 1e-12 * (self.y_mean**2 + spread) else 1.0
        self.cross = cross * self.inverse / (n * self.y_scale)

    @property
    def m(self) -> int:
        """M."""
        return len(self.mean)

    def centred(self, out: Floats | None = None) -> Centred:
        """Sums of products around the means; `out`, shape (M, M), is written into and becomes part of them."""
        gram = self._products(np.ones(self.m), out if out is not None else np.empty((self.m, self.m)))
        return Centred(self.n, self.mean, gram, self.y_mean, self._cross, self._square)

    def correlations(self, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Between variants, shape (M, M), 0 where one does not vary; written into `out` in its precision."""
        scale = self.inverse / np.sqrt(self.n)
        return self._products(scale, out if out is not None else np.empty((self.m, self.m)))

    def _products(self, scale: Floats, out: NDArray[Any]) -> NDArray[Any]:
        shift = self._shift * scale
        first, *others = self._grams
        for start in range(0, self.m, ROWS):
            rows = slice(start, start + ROWS)
            part = first[rows].copy()
            for gram in others:
                part -= gram[rows]
            part *= scale
            part *= scale[rows, None]
            part -= shift[rows, None] * shift
            out[rows] = part
        return out

    def block(self, columns: ArrayLike) -> Floats:
        """Correlations of some variants (indices, shape (A,)) with each other, shape (A, A)."""
        index = np.asarray(columns)
        scale = (self.inverse / np.sqrt(self.n))[index]
        first, *others = self._grams
        part = first[np.ix_(index, index)]
        for gram in others:
            part -= gram[np.ix_(index, index)]
        part *= scale * scale[:, None]
        shift = self._shift[index] * scale
        part -= shift * shift[:, None]
        return part

    def product(self, columns: ArrayLike, weights: Floats) -> Floats:
        """Correlations of all variants with some (indices, shape (A,)) times weights, shapes (A, C) and (M, C)."""
        index = np.asarray(columns)
        scale = self.inverse / np.sqrt(self.n)
        scaled = scale[index, None] * weights
        first, *others = self._grams
        made = first[index].T @ scaled
        for gram in others:
            made -= gram[index].T @ scaled
        shift = self._shift
        out: Floats = scale[:, None] * (made - shift[:, None] * (shift[index] @ scaled))
        return out


def _left(parts: Sequence[Floats]) -> Floats:
    """The first less all others."""
    out = parts[0].copy()
    for one in parts[1:]:
        out -= one
    return out


def check(moments: Moments) -> None:
    """Refuses sums that a learner cannot read: with holes, covariates, or several outcomes."""
    if len(moments.holes) or moments.covariates or moments.outcomes != 1:
        raise GenopredError(
            f"a learner needs sums without missing dosages and covariates, of one outcome; these have "
            f"{len(moments.holes)} variants with missing ones, {moments.covariates} covariates and "
            f"{moments.outcomes} outcomes: Moments.filled, residualised and with_outcome make them fit."
        )
