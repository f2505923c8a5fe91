"""What simple methods predict of genes' expression: ridge, forest, support vectors, a small network on k-mers and GC.

They learn from the same training genes as a network, choose their settings on the same validation genes, and are scored
on the same test genes, of which they see the sequence alone. Where a network also reads signal, they have it too,
as means.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genopred.errors import GenopredError
from genopred.training.baselines import kmer_features
from genopred.training.genes import GeneData, gene_arrays
from genopred.training.scores import Floats
from genopred.training.splits import WindowShape

#: Bases around the TSS of which the composition is taken by itself, besides that of the whole window.
NEAR = 1000
#: Length of the words.
K = 4
#: Windows whose words are counted at a time.
_AT_ONCE = 64

#: Of each method what it is, for people.
BASELINES = {
    "ridge": "ridge regression",
    "forest": "random forest",
    "svm": "support vector regression, radial kernel",
    "mlp": "one hidden layer of 64",
}
#: Of each method the settings that are tried on the validation genes.
GRIDS: dict[str, tuple[dict[str, Any], ...]] = {
    "ridge": tuple({"alpha": 10.0**i} for i in range(6)),
    "forest": tuple({"max_features": share, "min_samples_leaf": leaf} for share in (0.1, 0.33) for leaf in (2, 8)),
    "svm": tuple({"C": c, "epsilon": 0.1} for c in (0.1, 0.3, 1.0, 3.0, 10.0)),
    "mlp": tuple({"alpha": alpha, "max_iter": n} for alpha in (10.0, 100.0, 1000.0) for n in (20, 100)),
}
TREES = 300


def gene_features(data: GeneData, before: int, *, near: int = NEAR, k: int = K) -> tuple[Floats, list[str]]:
    """What is counted of each gene, (G, F), and what each number is called.

    Parameters
    ----------
    data : GeneData
    before : int
        Bases of the window before the TSS.
    near : int
        Bases around the TSS that count by themselves, half on either side, as far as the window goes.
    k : int

    Returns
    -------
    features : array, shape (G, F)
        Share of G and C and the frequency of each word of k bases, of the window and of what is near; of each track
        of signal the mean of log(1 + signal) over both; with distal segments the same of them all, each weighted by
        its contact.
    names : list of str
    """
    from itertools import product

    words = ["G+C", *("".join(word) for word in product("ACGT", repeat=k))]
    stretches = {"window": slice(0, data.window), "TSS": slice(max(0, before - near // 2), before + near // 2)}
    parts: list[NDArray[Any]] = []
    for first in range(0, len(data.codes), _AT_ONCE):
        rows = np.arange(first, min(first + _AT_ONCE, len(data.codes)))
        codes, tracks, segments, segment_tracks, weights = gene_arrays(data, rows)
        columns = []
        for where in stretches.values():
            columns.append(_words(np.asarray(codes)[:, where], k))
            if tracks is not None:
                columns.append(tracks[:, where].mean(axis=1))
        if segments is not None and weights is not None:
            n, d, s = segments.shape
            each = _words(segments.reshape(n * d, s), k).reshape(n, d, -1)
            columns.append((each * weights[..., None]).sum(axis=1))
            if segment_tracks is not None:
                columns.append((segment_tracks.mean(axis=2) * weights[..., None]).sum(axis=1))
            columns.append(weights.sum(axis=1, keepdims=True))
        parts.append(np.concatenate(columns, axis=1))
    signal = list(data.track_names) if data.tracks is not None else []
    names = [f"{where} {name}" for where in stretches for name in (*words, *signal)]
    if data.segments is not None and data.weights is not None:
        far = signal if data.segment_tracks is not None else []
        names += [f"distal {name}" for name in (*words, *far, "contacts")]
    return np.concatenate(parts).astype(np.float64), names


def _words(codes: NDArray[np.uint8], k: int) -> NDArray[np.float32]:
    """GC and words of whole stretches (B, 1 + 4^k)."""
    width = codes.shape[1]
    return kmer_features(codes, WindowShape(width, width), k, 0)[:, 0, : 1 + 4**k]


@dataclass(frozen=True)
class GeneBaseline:
    """A fitted baseline.

    Attributes
    ----------
    name : str
    chosen : dict
        Its settings.
    loss : float
        Mean squared error on the validation genes over cell types, in units of the training variance.
    predict : callable
        Features (n, F) -> (n, C), on the scale of the targets.
    """

    name: str
    chosen: dict[str, Any]
    loss: float
    predict: Callable[[Floats], Floats]


def fit_baseline(
    name: str, training: tuple[Floats, Floats], validation: tuple[Floats, Floats], *, seed: int = 1
) -> GeneBaseline:
    """Fit each setting of `GRIDS` on the training genes and keep the one with the least error on the validation genes.

    Parameters
    ----------
    name : str
        One of `BASELINES`.
    training, validation : (features (n, F), targets (n, C))
        Targets are NaN where a gene was not measured; such a gene is left out of that cell type. Features are scaled to
        variance 1 over the training genes, and targets for the fit.
    seed : int

    Raises
    ------
    GenopredError
        If there are no validation genes, or fewer than three training genes in a cell type.
    """
    (x, y), (x_held, y_held) = training, validation
    known = np.isfinite(y)
    if len(x_held) == 0 or not (known.sum(axis=0) > 2).all():
        raise GenopredError(
            f"baseline {name}: {len(x_held)} validation genes and {int(known.sum(axis=0).min())} training genes in the "
            "cell type with the fewest; needed 1 and 3: its settings are chosen on validation genes."
        )
    mean, spread = np.nanmean(y, axis=0), np.nanstd(y, axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    z, z_held = (y - mean) / spread, (y_held - mean) / spread
    # cell types in which the same genes were measured are learned together
    patterns, of = np.unique(known, axis=1, return_inverse=True)
    of = np.asarray(of).ravel()
    best: tuple[float, int, Any] | None = None
    for place, setting in enumerate(GRIDS[name]):
        fits = []
        for i, rows in enumerate(patterns.T):
            cells = np.flatnonzero(of == i)
            fits.append((cells, _fitted(name, setting, x[rows], z[np.ix_(rows, cells)], seed)))
        wrong = np.nanmean((_together(fits, x_held, y.shape[1]) - z_held) ** 2)
        if best is None or wrong < best[0]:
            best = float(wrong), place, fits
    assert best is not None  # noqa: S101 - a grid is never empty
    loss, place, fits = best
    return GeneBaseline(
        name, GRIDS[name][place], loss, lambda features: _together(fits, features, y.shape[1]) * spread + mean
    )


def _together(fits: list[tuple[NDArray[np.int64], Any]], x: Floats, n: int) -> Floats:
    out = np.empty((len(x), n))
    for cells, model in fits:
        out[:, cells] = np.asarray(model.predict(x)).reshape(len(x), len(cells))
    return out


def _fitted(name: str, setting: dict[str, Any], x: Floats, z: Floats, seed: int) -> Any:
    """A pipeline of scikit-learn, fitted."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Ridge
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR
    from threadpoolctl import threadpool_limits

    makers: dict[str, Callable[[], Any]] = {
        "ridge": lambda: Ridge(**setting),
        "forest": lambda: RandomForestRegressor(TREES, random_state=seed, n_jobs=1, **setting),
        "svm": lambda: MultiOutputRegressor(SVR(**setting)),
        "mlp": lambda: MLPRegressor(hidden_layer_sizes=(64,), random_state=seed, **setting),
    }
    # many small products: threads of theirs would wait for each other
    with warnings.catch_warnings(), threadpool_limits(1):
        # the number of rounds is one of its settings
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(StandardScaler(), makers[name]()).fit(x, z if z.shape[1] > 1 or name == "svm" else z[:, 0])


def mean_of_training(targets: ArrayLike, rows: int) -> Floats:
    """The mean of the training genes (n, C) of each cell type, for so many genes: what knows nothing of a gene."""
    return np.tile(np.nanmean(np.asarray(targets, dtype=np.float64), axis=0), (rows, 1))


def mean_of_others(targets: ArrayLike, training: ArrayLike) -> Floats:
    """Of each gene and cell type the gene's mean over the other cell types, as measured: what copies the gene.

    It reads the measurements of the very genes that are scored, in the other cell types, and no sequence. A network
    that predicts from sequence alone is not expected to reach it; one that does not come near says how much is left.

    Parameters
    ----------
    targets : array, shape (n, C)
        Of the genes to predict; at least two cell types.
    training : array, shape (m, C)
        Of the training genes, by which cell types are brought to one mean, and which a gene has where it was measured
        nowhere else.

    Examples
    --------
    >>> mean_of_others([[3.0, 5.0, 10.0]], [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]).tolist()
    [[7.0, 6.0, 5.0]]
    """
    mean = np.nanmean(np.asarray(training, dtype=np.float64), axis=0)
    apart = np.asarray(targets, dtype=np.float64) - mean
    known = np.isfinite(apart)
    filled = np.where(known, apart, 0.0)
    others = known.sum(axis=1, keepdims=True) - known
    return mean + (filled.sum(axis=1, keepdims=True) - filled) / np.maximum(others, 1)


def calibrated(predicted: ArrayLike, training: tuple[ArrayLike, ArrayLike]) -> Floats:
    """Predictions (n,) of a model of another scale, with the slope and intercept that fit training genes best.

    >>> calibrated([3.0], ([1.0, 2.0], [10.0, 20.0])).round(6).tolist()
    [30.0]
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in training)
    use = np.isfinite(x) & np.isfinite(y)
    if use.sum() < 2 or not np.ptp(x[use]) > 0:
        return np.full(len(np.asarray(predicted)), float(np.mean(y[use])) if use.any() else np.nan)
    slope, intercept = np.polyfit(x[use], y[use], 1)
    return slope * np.asarray(predicted, dtype=np.float64) + intercept
