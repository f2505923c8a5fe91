"""Polygenic scores: the sum itself, and estimators that learn its weights.

`BaselinePRS` sums every variant's marginal effect; `ClumpThresholdPRS` those of index variants that pass a p-value
threshold (P+T). Both scale their score with a slope from scores that people got without having helped to make them:
on the very people that gave the weights, a score of thousands of noisy effects fits far better than on anyone else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import KFold
from sklearn.utils.validation import check_is_fitted

from genopred.errors import GenopredError, examples
from genopred.genetics import ld
from genopred.genetics.scores_kernels import filled_rows, fold_sums
from genopred.genetics.transform import known_means

Floats = NDArray[np.float64]

P_THRESHOLDS = (1.0, 0.05, 0.01, 1e-3, 1e-5)
R2_THRESHOLDS = (0.1, 0.2, 0.5, 0.8)


def polygenic_score(
    dosage: ArrayLike,
    weights: ArrayLike,
    *,
    average: bool = False,
    missing: str = "mean",
    freq: ArrayLike | None = None,
    center: bool = False,
) -> Floats:
    """Sum effect-allele dosages, each times its weight: plink's ``--score``.

    Parameters
    ----------
    dosage : array, shape (N, M)
        Copies of the effect allele, 0 to 2; NaN where missing.
    weights : array, shape (M,)
        Effect of one allele copy, in units of the phenotype.
    average : bool
        Divide by the number of alleles (plink's default) rather than sum (its modifier ``sum``).
    missing : {"mean", "skip"}
        "mean" counts a missing dosage as twice the allele's frequency; "skip" leaves it out of the sum and out of
        the number of alleles (``no-mean-imputation``).
    freq : array, shape (M,), optional
        Frequency of the effect allele; by default that of the samples given (plink: of the founders).
    center : bool
        Subtract twice the frequency from each dosage (``center``).

    Returns
    -------
    array, shape (N,)
        Score of each sample, in units of the phenotype (per allele with `average`).

    Raises
    ------
    GenopredError
        If shapes do not fit or a weight is not a number.

    References
    ----------
    Purcell et al. (2007), doi:10.1086/519795.

    Examples
    --------
    >>> polygenic_score([[0, 2], [1, float("nan")]], [0.5, 1.0])
    array([2. , 2.5])
    """
    x = np.asarray(dosage, dtype=np.float64)
    w = np.asarray(weights, dtype=np.float64)
    if x.ndim != 2 or w.shape != (x.shape[1],):
        raise GenopredError(
            f"polygenic_score: dosage {x.shape} and weights {w.shape} do not fit; (N, M) and (M,) are needed."
        )
    bad = np.flatnonzero(~np.isfinite(w))
    if bad.size:
        raise GenopredError(
            f"polygenic_score: {bad.size} weights are NaN or infinite (columns {examples(bad.tolist())}); "
            "leave these variants out."
        )
    if missing not in ("mean", "skip"):
        raise GenopredError(f"polygenic_score: missing='{missing}' is unknown; choose 'mean' or 'skip'.")
    present = ~np.isnan(x)
    if freq is None:
        expected = known_means(x)
    else:
        expected = 2 * np.asarray(freq, dtype=np.float64)
        if expected.shape != w.shape:
            raise GenopredError(
                f"polygenic_score: freq has shape {expected.shape}; one entry per weight {w.shape} is needed."
            )
    if missing == "mean":
        filled, alleles = np.where(present, x, expected), np.full(len(x), 2.0 * len(w))
    else:
        filled, alleles = np.where(present, x, expected if center else 0.0), 2.0 * present.sum(axis=1)
    total = (filled - expected) @ w if center else filled @ w
    return total / np.maximum(alleles, 1.0) if average else total


def score_ranges(
    dosage: ArrayLike, weights: ArrayLike, pval: ArrayLike, ranges: Mapping[str, tuple[float, float]], **options: Any
) -> dict[str, Floats]:
    """One `polygenic_score` per range (lower, upper) of p-values (M,), bounds included: plink's ``--q-score-range``.

    A range without variants scores 0.

    >>> out = score_ranges([[0, 2], [1, 1]], [0.5, 1.0], [0.01, 0.2], {"all": (0, 1), "strict": (0, 0.05)})
    >>> {name: scores.tolist() for name, scores in out.items()}
    {'all': [2.0, 1.5], 'strict': [0.0, 0.5]}
    """
    x = np.asarray(dosage, dtype=np.float64)
    w, p = np.asarray(weights, dtype=np.float64), np.asarray(pval, dtype=np.float64)
    if p.shape != w.shape:
        raise GenopredError(f"score_ranges: pval has shape {p.shape}; one entry per weight {w.shape} is needed.")
    freq = options.pop("freq", None)
    out = {}
    for name, (low, high) in ranges.items():
        keep = (p >= low) & (p <= high)
        part = None if freq is None else np.asarray(freq)[keep]
        out[name] = polygenic_score(x[:, keep], w[keep], freq=part, **options)
    return out


@dataclass
class _People:
    """Training people sorted by fold, and sums over each fold from which any union's regressions follow.

    `rows` (M, N) float64 dosages with missing ones at the variant's mean; fold k owns columns bounds[k]:bounds[k+1].
    `sums` (K, 3, M): of x, x², xy per fold, with y around its overall mean.
    """

    rows: Floats
    y: Floats
    bounds: NDArray[np.int64]
    order: NDArray[np.int64]
    means: Floats
    sums: Floats
    calls: ld.HardCalls | None
    #: Of training sets, named by the folds that are out: regressions, candidates' weights, scores of held-out folds.
    cache: dict[frozenset[int], tuple[_Regressions, Floats, dict[int, Floats]]] = field(default_factory=dict)

    @property
    def folds(self) -> int:
        return len(self.bounds) - 1

    def of(self, fold: int) -> slice:
        """Columns of one fold."""
        return slice(self.bounds[fold], self.bounds[fold + 1])

    def mask(self, without: frozenset[int]) -> NDArray[np.bool_]:
        """Who is left when some folds are out."""
        keep = np.ones(len(self.y), dtype=bool)
        for fold in without:
            keep[self.of(fold)] = False
        return keep


@dataclass
class _Regressions:
    """Marginal slopes (0 where a variant does not vary) and t (NaN there) among the people of a training set."""

    slope: Floats
    tstat: Floats
    df: int
    mean_x: Floats
    mean_y: float


class _CalibratedScore(RegressorMixin, BaseEstimator):
    """What both scores share: inner folds, choice among candidate scores, slope from out-of-fold scores."""

    cv: int
    random_state: int | None
    calibrate: bool

    coef_: Floats
    intercept_: float
    slope_: float
    n_features_in_: int

    def fit(self, X: ArrayLike, y: ArrayLike, folds: ArrayLike | None = None) -> _CalibratedScore:
        """Learn from dosages `X` (N, M) and phenotypes `y` (N,); `folds` (N,) are inner fold labels, if not random."""
        self._finish(self._people(X, y, self._folds(len(np.asarray(y)), folds)))
        return self

    def fit_oof(self, X: ArrayLike, y: ArrayLike, folds: ArrayLike) -> Floats:
        """`fit` with these folds, and predictions of each person by a model fitted, tuned and calibrated on the others.

        Those in fold k are predicted by weights from all other folds; thresholds and slope come from scores of fold
        l by weights from all but k and l. Weights without {k, l} serve both, so K folds need K (K + 1) / 2 models,
        and the fit little more. `folds` (N,) have at least three labels.
        """
        people = self._people(X, y, np.asarray(folds))
        if people.folds < 3:
            raise GenopredError(f"fit_oof: folds have {people.folds} labels; at least 3 are needed.")
        out = np.empty(len(people.y))
        for fold in range(people.folds):
            outside = frozenset([fold])
            choice, slope = self._tune(people, outside)
            base, _ = self._model(people, outside)
            scores = self._score(people, outside, fold)
            out[people.order[people.of(fold)]] = base.mean_y + slope * scores[choice]
        self._finish(people)
        return out

    def predict(self, X: ArrayLike) -> Floats:
        """Predicted phenotype (N,) of dosages `X` (N, M); missing ones count as the training people's mean."""
        check_is_fitted(self)
        x = np.asarray(X, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != self.n_features_in_:
            raise GenopredError(
                f"{type(self).__name__}: X has shape {x.shape}; {self.n_features_in_} columns are needed."
            )
        used = np.flatnonzero(self.coef_)
        part = x[:, used]
        part = np.where(np.isnan(part), self.mean_[used], part)
        return part @ self.coef_[used] + self.intercept_

    def _finish(self, people: _People) -> None:
        choice, slope = self._tune(people, frozenset())
        base, weights = self._model(people, frozenset())
        self.slope_ = slope
        self.coef_ = slope * weights[choice]
        self.intercept_ = float(base.mean_y - base.mean_x @ self.coef_)
        self.mean_ = people.means
        self.n_features_in_ = len(self.coef_)
        self._chosen(choice, slope)

    def _tune(self, people: _People, outside: frozenset[int]) -> tuple[int, float]:
        """Best candidate and its slope, from people in none of the folds `outside`."""
        cross, square = np.zeros(1), np.zeros(1)
        for fold in range(people.folds):
            if fold in outside:
                continue
            without = outside | {fold}
            base, _ = self._model(people, without)
            scores = self._score(people, without, fold)
            cross = cross + scores @ (people.y[people.of(fold)] - base.mean_y)
            square = square + np.einsum("ij,ij->i", scores, scores)
        # What the best slope at or above 0 takes off the sum of squared errors.
        positive = (cross > 0) & (square > 0)
        gain = np.where(positive, np.square(cross) / np.where(positive, square, 1.0), 0.0)
        best = int(np.argmax(gain))
        if gain[best] <= 0:
            return best, 0.0
        return best, float(cross[best] / square[best]) if self.calibrate else 1.0

    def _model(self, people: _People, without: frozenset[int]) -> tuple[_Regressions, Floats]:
        """Regressions on all folds but some, and the candidates' weights (C, M)."""
        if without not in people.cache:
            base = _regress(people, without)
            people.cache[without] = (base, self._weights(people, without, base), {})
        return people.cache[without][:2]

    def _score(self, people: _People, without: frozenset[int], fold: int) -> Floats:
        """Candidates' scores (C, n) of one held-out fold, around the training people's mean score."""
        base, weights, scores = people.cache[without]
        if fold not in scores:
            used = np.flatnonzero(weights.any(axis=0))
            part = people.rows[used, people.of(fold)]
            picked = weights[:, used]
            scores[fold] = picked @ part - (picked @ base.mean_x[used])[:, None]
        return scores[fold]

    def _weights(self, people: _People, without: frozenset[int], base: _Regressions) -> Floats:
        raise NotImplementedError

    def _chosen(self, choice: int, slope: float) -> None:
        """Remember what was chosen."""

    def _folds(self, n: int, folds: ArrayLike | None) -> NDArray[Any]:
        if folds is not None:
            return np.asarray(folds)
        if not 2 <= self.cv <= n:
            raise GenopredError(
                f"{type(self).__name__}: cv is {self.cv} for {n} people; it must be from 2 to that number."
            )
        out = np.empty(n, dtype=np.int64)
        for number, (_, held) in enumerate(KFold(self.cv, shuffle=True, random_state=self.random_state).split(out)):
            out[held] = number
        return out

    def _people(self, X: ArrayLike, y: ArrayLike, folds: NDArray[Any]) -> _People:
        name = type(self).__name__
        x = np.asarray(X, dtype=np.float32)
        target = np.asarray(y, dtype=np.float64)
        if x.ndim != 2 or target.shape != (len(x),) or folds.shape != (len(x),):
            raise GenopredError(
                f"{name}: X {x.shape}, y {target.shape} and folds {folds.shape} do not fit; N is {len(x)}."
            )
        if not np.isfinite(target).all():
            raise GenopredError(
                f"{name}: y has {int(np.sum(~np.isfinite(target)))} NaN or infinite values; drop these people."
            )
        labels, number, count = np.unique(folds, return_inverse=True, return_counts=True)
        if len(labels) < 2:
            raise GenopredError(f"{name}: folds have one label; at least 2 are needed.")
        order = np.argsort(number.ravel(), kind="stable")
        bounds = np.concatenate([[0], np.cumsum(count)])
        rows32 = np.ascontiguousarray(x[order].T)
        rows, means = filled_rows(rows32)
        sorted_y = target[order]
        sums = fold_sums(rows, sorted_y - sorted_y.mean(), bounds)
        return _People(rows, sorted_y, bounds, order, means, sums, self._calls(rows32))

    def _calls(self, raw: NDArray[np.float32]) -> ld.HardCalls | None:
        """Bit planes of the people's genotypes (M, N), where weights need them."""
        return None


class BaselinePRS(_CalibratedScore):
    """Every variant's marginal effect times its dosage, summed, and scaled to the phenotype.

    Parameters
    ----------
    cv : int
        Inner folds that give the out-of-fold scores for the slope.
    random_state : int or None
        Seed of the inner folds.
    calibrate : bool
        Scale by the slope (never below 0) of phenotype on out-of-fold score; else the plain sum, and the training
        mean if out-of-fold scores do not go with the phenotype.

    Attributes
    ----------
    coef_ : array, shape (M,)
        Effect of one allele copy, slope included.
    intercept_ : float
    slope_ : float
        0 when the score predicts nothing: then everyone is predicted the training mean.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.integers(0, 3, (100, 20)).astype(float)
    >>> y = X[:, 3] + rng.normal(size=100)
    >>> model = BaselinePRS(random_state=1).fit(X, y)
    >>> bool(0 < model.slope_ < 1), bool(np.corrcoef(model.predict(X), y)[0, 1] > 0.5)
    (True, True)
    """

    def __init__(self, cv: int = 5, random_state: int | None = 0, calibrate: bool = True) -> None:
        self.cv = cv
        self.random_state = random_state
        self.calibrate = calibrate

    def _weights(self, people: _People, without: frozenset[int], base: _Regressions) -> Floats:
        return base.slope[None, :]


class ClumpThresholdPRS(_CalibratedScore):
    """Clumping and thresholding (P+T): index variants below a p-value, weighted by their marginal effects.

    Association, clumping, choice of thresholds and slope use the training people alone.

    Parameters
    ----------
    positions : array, shape (M,)
        1-based positions of the columns, on one chromosome.
    p_thresholds, r2_thresholds : sequence of float
        The grid; the pair with the lowest squared error of out-of-fold predictions is taken.
    kb : float
        Clumping window in kilobases.
    r2 : {"genotype", "em"}
        LD measure, see `genopred.genetics.ld.clump`.
    cv, random_state, calibrate : see `BaselinePRS`

    Attributes
    ----------
    coef_ : array, shape (M,)
        Effect of one allele copy, slope included; 0 where not chosen.
    intercept_, slope_ : float
    p_threshold_, r2_threshold_ : float or None
        None when nothing predicts: then everyone is predicted the training mean.

    References
    ----------
    Purcell et al. (2009), doi:10.1038/nature08185.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.integers(0, 3, (100, 20)).astype(float)
    >>> y = X[:, 3] + rng.normal(size=100)
    >>> model = ClumpThresholdPRS(positions=np.arange(20) * 1000, random_state=1).fit(X, y)
    >>> int(np.argmax(np.abs(model.coef_))), bool(model.p_threshold_ < 1)
    (3, True)
    """

    p_threshold_: float | None
    r2_threshold_: float | None

    def __init__(
        self,
        positions: ArrayLike | None = None,
        p_thresholds: Sequence[float] = P_THRESHOLDS,
        r2_thresholds: Sequence[float] = R2_THRESHOLDS,
        kb: float = 250.0,
        r2: str = "genotype",
        cv: int = 5,
        random_state: int | None = 0,
        calibrate: bool = True,
    ) -> None:
        self.positions = positions
        self.p_thresholds = p_thresholds
        self.r2_thresholds = r2_thresholds
        self.kb = kb
        self.r2 = r2
        self.cv = cv
        self.random_state = random_state
        self.calibrate = calibrate

    def _people(self, X: ArrayLike, y: ArrayLike, folds: NDArray[Any]) -> _People:
        if self.positions is None:
            raise GenopredError("ClumpThresholdPRS: give the positions of the columns of X (positions=...).")
        pos = np.asarray(self.positions)
        if np.ndim(X) != 2 or pos.shape != (np.shape(X)[1],):
            raise GenopredError(
                f"ClumpThresholdPRS: positions have shape {pos.shape}, X {np.shape(X)}; one per column is needed."
            )
        if (np.diff(pos) < 0).any():
            raise GenopredError("ClumpThresholdPRS: positions must not decrease; sort the columns of X.")
        ld.check_grid(self.p_thresholds, self.r2_thresholds, self.kb, self.r2)
        return super()._people(X, y, folds)

    def _calls(self, raw: NDArray[np.float32]) -> ld.HardCalls | None:
        calls = ld.pack(raw.T)
        if calls is None and self.r2 == "em":
            raise GenopredError("ClumpThresholdPRS: r2='em' needs hard calls (0, 1, 2); round X, or use r2='genotype'.")
        return calls

    def _weights(self, people: _People, without: frozenset[int], base: _Regressions) -> Floats:
        strength = np.abs(base.tstat)
        usable = np.flatnonzero(~np.isnan(strength))
        # At one number of people order by p is order by |t|, and |t| does not run out of digits.
        order = usable[np.argsort(-strength[usable], kind="stable")]
        bounds = np.array([_t_bound(p, base.df) for p in self.p_thresholds])
        n_index = int(np.sum(strength[order] >= bounds.min()))
        low, high = ld.windows(np.asarray(self.positions, dtype=np.int64), self.kb)
        keep = people.mask(without)
        source = people.rows[:, keep].astype(np.float32) if people.calls is None else people.calls.masked(keep)
        limits = np.asarray(self.r2_thresholds, dtype=np.float64)
        owner = ld.greedy(source, order, n_index, low, high, limits, self.r2)
        leads = owner == np.arange(owner.shape[1])
        passes = np.where(np.isnan(strength), -1.0, strength) >= bounds[:, None]
        return (leads[:, None, :] & passes[None, :, :]).reshape(len(leads) * len(passes), len(strength)) * base.slope

    def _chosen(self, choice: int, slope: float) -> None:
        self.p_threshold_ = float(self.p_thresholds[choice % len(self.p_thresholds)]) if slope else None
        self.r2_threshold_ = float(self.r2_thresholds[choice // len(self.p_thresholds)]) if slope else None


def _t_bound(p: float, df: int) -> float:
    """|t| from which a two-sided p-value is at most p."""
    return 0.0 if p >= 1 else float(-stdtrit(max(df, 1), p / 2)) if p > 0 else np.inf


def _regress(people: _People, without: frozenset[int]) -> _Regressions:
    """Marginal regressions of the people left, from sums: nothing is read again."""
    inside = [fold for fold in range(people.folds) if fold not in without]
    keep = people.mask(without)
    n = int(keep.sum())
    sx, sxx, sxy = people.sums[inside].sum(axis=0)
    y = people.y[keep] - people.y.mean()
    sy = y.sum()
    xx = sxx - sx * sx / n
    xy = sxy - sx * sy / n
    yy = float(y @ y - sy * sy / n)
    varies = (xx > 1e-9 * n) & (yy > 0) & (n > 2)
    safe = np.where(varies, xx, 1.0)
    slope = np.where(varies, xy / safe, 0.0)
    r2 = np.clip(xy * xy / (safe * (yy if yy > 0 else 1.0)), 0.0, 1.0)
    with np.errstate(divide="ignore"):
        tstat = np.where(varies, np.sign(slope) * np.sqrt((n - 2) * r2 / (1.0 - r2)), np.nan)
    return _Regressions(slope, tstat, n - 2, sx / n, float(people.y[keep].mean()))
