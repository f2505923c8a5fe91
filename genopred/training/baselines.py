"""What base composition alone predicts of a track: a ridge regression on GC content and k-mer frequencies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from genopred.errors import GenopredError
from genopred.genetics.correlation import pearson
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.onehot import N_CODE
from genopred.training.dataset import SequenceData, batch
from genopred.training.splits import Windows, WindowShape

#: Windows whose features are held at a time.
_AT_ONCE = 64
PENALTIES = (1e2, 1e3, 1e4, 1e5, 1e6)


@dataclass
class RidgeBaseline(SequenceModel):
    """Ridge regression of log(1 + signal) on the k-mers of a bin and of its surroundings, fitted: a model as others.

    Features of a bin: GC content and the frequency of each k-mer on the given strand, and the mean of both over the
    bins around it. They are scaled to variance 1 over the training bins; the penalty is the one of `penalties` whose
    predictions of the validation bins correlate best, averaged over tracks.

    Parameters
    ----------
    shape : WindowShape
    k : int
        Length of the k-mers.
    neighbours : int
        Bins on each side that count as surroundings.
    penalties : tuple of float

    Attributes
    ----------
    coef : array, shape (F, T)
    intercept : array, shape (T,)
    penalty : float
        The chosen one.
    validation : dict
        Penalty -> mean correlation.
    """

    shape: WindowShape
    k: int = 5
    neighbours: int = 4
    penalties: tuple[float, ...] = PENALTIES
    coef: NDArray[np.float64] = field(init=False, repr=False)
    intercept: NDArray[np.float64] = field(init=False, repr=False)
    penalty: float = field(init=False)
    validation: dict[float, float] = field(init=False, default_factory=dict)
    name = "ridge"

    def __post_init__(self) -> None:
        self.window, self.bin_size, self.n_bins = self.shape.window, self.shape.bin, self.shape.n_bins

    def fit(self, data: SequenceData, training: Windows, validation: Windows) -> RidgeBaseline:
        """Fit on the training windows, both strands, and choose the penalty on the validation windows.

        Sums of products are collected over batches, so that memory does not grow with the number of windows.

        Raises
        ------
        GenopredError
            If there are no training or no validation windows.
        """
        if not len(training.starts) or not len(validation.starts):
            raise GenopredError(
                f"The ridge baseline needs training and validation windows; found {len(training.starts)} and "
                f"{len(validation.starts)}."
            )
        self.tracks = tuple(track.name for track in data.tracks)
        n = 0
        sx = sy = xx = xy = np.zeros(())
        for reverse in (False, True):
            for x, y in self._bins(data, training, reverse):
                n += len(x)
                sx, sy = sx + x.sum(axis=0, dtype=np.float64), sy + y.sum(axis=0, dtype=np.float64)
                xx, xy = xx + (x.T @ x).astype(np.float64), xy + (x.T @ y).astype(np.float64)
        mean_x, mean_y = sx / n, sy / n
        xx, xy = xx - n * np.outer(mean_x, mean_x), xy - n * np.outer(mean_x, mean_y)
        scale = np.sqrt(np.diag(xx) / n)
        scale[scale < 1e-8] = np.inf  # a feature that does not vary gets no weight
        gram, cross = xx / scale / scale[:, None], xy / scale[:, None]
        ridges = (penalty * np.eye(len(gram)) for penalty in self.penalties)
        coefs = [np.linalg.solve(gram + ridge, cross) / scale[:, None] for ridge in ridges]
        fits = [(coef, mean_y - mean_x @ coef) for coef in coefs]
        observed, predicted = [], []
        for x, y in self._bins(data, validation, False):
            observed.append(y)
            predicted.append([x @ coef + intercept for coef, intercept in fits])
        y = np.concatenate(observed).astype(np.float64)
        for penalty, found in zip(self.penalties, zip(*predicted), strict=True):
            # a track that does not vary counts as not predicted
            self.validation[penalty] = float(np.mean(np.nan_to_num(pearson(np.concatenate(found), y))))
        self.penalty = max(self.validation, key=lambda penalty: self.validation[penalty])
        self.coef, self.intercept = fits[self.penalties.index(self.penalty)]
        return self

    def predict(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Signal of each bin, on the tracks' own scale, not below 0.

        Parameters
        ----------
        codes : array, shape (B, window)
            0 to 3 for A C G T, 4 for N.

        Returns
        -------
        array, shape (B, bins, T)
        """
        x = kmer_features(codes, self.shape, self.k, self.neighbours)
        flat = x.reshape(-1, x.shape[-1]) @ self.coef + self.intercept
        return np.expm1(np.maximum(flat, 0)).reshape(*x.shape[:2], -1).astype(np.float32)

    def predict_onehot(self, onehot: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `predict`, of one-hot windows (B, window, 4)."""
        return self.predict(np.where(onehot.any(axis=2), onehot.argmax(axis=2), N_CODE).astype(np.uint8))

    def _bins(
        self, data: SequenceData, windows: Windows, reverse: bool
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Features and log(1 + signal) of the windows' bins, some windows at a time."""
        for start in range(0, len(windows.starts), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            codes, targets = batch(data, windows.chroms[part], windows.starts[part], self.shape, reverse)
            x = kmer_features(codes, self.shape, self.k, self.neighbours)
            yield x.reshape(-1, x.shape[-1]), np.log1p(targets.reshape(-1, targets.shape[-1]))


def kmer_features(codes: NDArray[np.uint8], shape: WindowShape, k: int, neighbours: int) -> NDArray[np.float32]:
    """Composition of each predicted bin and of its surroundings, for a baseline without a network.

    Parameters
    ----------
    codes : uint8 array (B, window)
    shape : WindowShape
    k : int
        Length of the words, 1 to 6.
    neighbours : int
        Bins on each side whose mean is added; cut at the window's ends.

    Returns
    -------
    float32 array (B, n_bins, 2 * (1 + 4**k))
        Share of G and C among the bases, frequency of each word (in the order of its codes) among the bin's words,
        all without N; then the means of these over the bin and its neighbours. A bin of N alone is 0.

    Raises
    ------
    GenopredError
        If `k` or `neighbours` is out of range.

    Examples
    --------
    >>> codes = np.array([[0, 0, 1, 2]], dtype=np.uint8)
    >>> kmer_features(codes, WindowShape(window=4, bin=2), k=1, neighbours=1)[0, 0].tolist()
    [0.0, 1.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.25, 0.25, 0.0]
    """
    if not 1 <= k <= 6 or k > shape.bin or neighbours < 0:
        raise GenopredError(
            f"k = {k}, neighbours = {neighbours}: needed words of 1 to 6 bases, no longer than a bin, and neighbours "
            "of 0 or more."
        )
    n, bins, words = len(codes), shape.window // shape.bin, 4**k
    binned = codes.reshape(n * bins, shape.bin)
    gc = ((binned == 1) | (binned == 2)).sum(axis=1)
    bases = (binned < N_CODE).sum(axis=1)
    index = np.zeros((n * bins, shape.bin - k + 1), dtype=np.int64)
    known = np.ones(index.shape, dtype=bool)
    for i in range(k):
        part = binned[:, i : i + index.shape[1]]
        index *= 4
        index += part
        known &= part < N_CODE
    index += np.arange(n * bins)[:, None] * words
    counts = np.bincount(index[known], minlength=n * bins * words).reshape(n * bins, words)
    own = np.empty((n * bins, 1 + words), dtype=np.float32)
    own[:, 0] = gc / np.maximum(bases, 1)
    own[:, 1:] = counts / np.maximum(known.sum(axis=1), 1)[:, None]
    own = own.reshape(n, bins, 1 + words)
    at = np.arange(shape.crop, bins - shape.crop)
    low, high = np.maximum(at - neighbours, 0), np.minimum(at + neighbours + 1, bins)
    before = np.zeros((n, bins + 1, 1 + words))
    np.cumsum(own, axis=1, dtype=np.float64, out=before[:, 1:])
    around = (before[:, high] - before[:, low]) / (high - low)[:, None]
    return np.concatenate([own[:, at], around.astype(np.float32)], axis=2)
