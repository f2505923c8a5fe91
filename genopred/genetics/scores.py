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
from genopred.genetics.foldsums import FoldSums, Regressions, by_strength, regressions
from genopred.genetics.moments import Moments, Weights, sums_suffice, total
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
    #: Scores of the fold that is out by the candidates of the training set (named by the folds that are out).
    scored: dict[tuple[frozenset[int], int], Floats] = field(default_factory=dict)
    #: See `FoldSums.same`: people's sums do not differ between copies of a variant.
    same: float = 0.0

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

    def regress(self, without: frozenset[int]) -> Regressions:
        """Marginal regressions of the people left, from sums: nothing is read again."""
        inside = [fold for fold in range(self.folds) if fold not in without]
        keep = self.mask(without)
        n = int(keep.sum())
        y = self.y[keep] - self.y.mean()
        sum_y = y.sum()
        yy = float(y @ y - sum_y * sum_y / n)
        return regressions(n, self.sums[inside].sum(axis=0), sum_y, yy, float(self.y[keep].mean()))

    def ld(self, without: frozenset[int]) -> ld.HardCalls | NDArray[np.float32]:
        """Genotypes of the people left."""
        keep = self.mask(without)
        return self.rows[:, keep].astype(np.float32) if self.calls is None else self.calls.masked(keep)

    def scores(self, without: frozenset[int], fold: int, base: Regressions, weights: Floats) -> Floats:
        """Candidates' scores (C, n) of one held-out fold, around the training people's mean score."""
        if (without, fold) not in self.scored:
            used = np.flatnonzero(weights.any(axis=0))
            part = self.rows[used, self.of(fold)]
            picked = weights[:, used]
            self.scored[without, fold] = picked @ part - (picked @ base.mean_x[used])[:, None]
        return self.scored[without, fold]


@dataclass
class _Train:
    """Training people or their sums, and the models of training sets, named by the folds that are out."""

    source: _People | FoldSums
    models: dict[frozenset[int], tuple[Regressions, Floats]] = field(default_factory=dict)


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
        self._finish(_Train(self._people(*self._checked(X, y, self._folds(len(np.asarray(y)), folds)))))
        return self

    def fit_oof(self, X: ArrayLike, y: ArrayLike, folds: ArrayLike) -> Floats:
        """`fit` with these folds, and predictions of each person by a model fitted, tuned and calibrated on the others.

        Those in fold k are predicted by weights from all other folds; thresholds and slope come from scores of fold
        l by weights from all but k and l. Weights without {k, l} serve both, so K folds need K (K + 1) / 2 models,
        and the fit little more. `folds` (N,) have at least three labels.
        """
        x, target, number = self._checked(X, y, np.asarray(folds))
        if number.max() < 2:
            raise GenopredError(f"fit_oof: folds have {number.max() + 1} labels; at least 3 are needed.")
        if self._sums_are_faster(x):
            return self._oof_by_sums(x, target, number)
        people = self._people(x, target, number)
        train = _Train(people)
        out = np.empty(len(people.y))
        for fold in range(people.folds):
            outside = frozenset([fold])
            choice, slope = self._tune(train, outside)
            base, weights = self._model(train, outside)
            scores = people.scores(outside, fold, base, weights)
            out[people.order[people.of(fold)]] = base.mean_y + slope * scores[choice]
        self._finish(train)
        return out

    def fit_sums(self, whole: Moments, folds: Sequence[Moments] = ()) -> list[Weights]:
        """`fit_oof` of people who are known by their sums: nothing here grows with their number.

        Parameters
        ----------
        whole : Moments
            Sums over all training people: one outcome, no covariates, nothing missing.
        folds : sequence of Moments
            The same of at least three disjoint inner folds that add up to `whole`.

        Returns
        -------
        list of Weights
            For each fold the model that leaves it out: thresholds and slope, too, are from the other folds.

        Raises
        ------
        GenopredError
            If the sums are of something else or do not add up, there are fewer than three folds, or LD is to be that
            of haplotypes, which sums do not tell.

        Notes
        -----
        Of hard calls LD is that of `fit_oof` to the last bit, of dosages but for the rounding of single precision.
        Where dosages are missing it is that of the filled ones; `fit_oof` takes r² of hard calls from the people who
        have both. Variants that are as strong but for rounding, such as copies of each other, go in order of column.

        Examples
        --------
        >>> from genopred.genetics.moments import Moments, total
        >>> rng = np.random.default_rng(0)
        >>> X = rng.integers(0, 3, (300, 20)).astype(float)
        >>> y = X[:, 3] + rng.normal(size=300)
        >>> folds = [Moments.of(X[i::3], y[i::3]) for i in range(3)]
        >>> coef, intercept = BaselinePRS().fit_sums(total(folds), folds)[0]
        >>> np.allclose(X[::3] @ coef + intercept, BaselinePRS().fit_oof(X, y, np.arange(300) % 3)[::3])
        True
        """
        if len(folds) < 3:
            raise GenopredError(
                f"{type(self).__name__}: {len(folds)} inner folds; thresholds and slope need sums of at least 3."
            )
        self._check_variants(whole.m)
        train = _Train(FoldSums(whole, folds, type(self).__name__))
        out = []
        for fold in range(len(folds)):
            outside = frozenset([fold])
            choice, slope = self._tune(train, outside)
            base, weights = self._model(train, outside)
            coef = slope * weights[choice]
            out.append(Weights(coef, float(base.mean_y - base.mean_x @ coef)))
        self._finish(train)
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

    def _finish(self, train: _Train) -> None:
        choice, slope = self._tune(train, frozenset())
        base, weights = self._model(train, frozenset())
        self.slope_ = slope
        self.coef_ = slope * weights[choice]
        self.intercept_ = float(base.mean_y - base.mean_x @ self.coef_)
        self.mean_ = train.source.means
        self.n_features_in_ = len(self.coef_)
        self._chosen(choice, slope)

    def _tune(self, train: _Train, outside: frozenset[int]) -> tuple[int, float]:
        """Best candidate and its slope, from people in none of the folds `outside`."""
        cross, square = np.zeros(1), np.zeros(1)
        for fold in range(train.source.folds):
            if fold in outside:
                continue
            own_cross, own_square = self._gains(train, outside | {fold}, fold)
            cross = cross + own_cross
            square = square + own_square
        # What the best slope at or above 0 takes off the sum of squared errors.
        positive = (cross > 0) & (square > 0)
        gain = np.where(positive, np.square(cross) / np.where(positive, square, 1.0), 0.0)
        best = int(np.argmax(gain >= gain.max() * (1 - train.source.same)))
        if gain[best] <= 0:
            return best, 0.0
        return best, float(cross[best] / square[best]) if self.calibrate else 1.0

    def _gains(self, train: _Train, without: frozenset[int], fold: int) -> tuple[Floats, Floats]:
        """Sums over a held-out fold of score times phenotype and score squared, of each candidate."""
        base, weights = self._model(train, without)
        if isinstance(train.source, FoldSums):
            return train.source.gains(fold, base, weights)
        scores = train.source.scores(without, fold, base, weights)
        y = train.source.y[train.source.of(fold)] - base.mean_y
        return scores @ y, np.einsum("ij,ij->i", scores, scores)

    def _model(self, train: _Train, without: frozenset[int]) -> tuple[Regressions, Floats]:
        """Regressions on all folds but some, and the candidates' weights (C, M)."""
        if without not in train.models:
            base = train.source.regress(without)
            train.models[without] = (base, self._weights(train.source, without, base))
        return train.models[without]

    def _weights(self, source: _People | FoldSums, without: frozenset[int], base: Regressions) -> Floats:
        raise NotImplementedError

    def _check_variants(self, m: int) -> None:
        """Refuse what sums of so many variants do not allow."""

    def _sums_are_faster(self, x: NDArray[np.float32]) -> bool:
        """Whether out-of-fold predictions of these people are the same by sums, and sooner."""
        return False

    def _oof_by_sums(self, x: NDArray[np.float32], y: Floats, number: NDArray[np.int64]) -> Floats:
        inside = [number == fold for fold in range(int(number.max()) + 1)]
        parts = [Moments.of(x[fold], y[fold]) for fold in inside]
        out = np.empty(len(y))
        for fold, model in zip(inside, self.fit_sums(total(parts), parts)):
            used = np.flatnonzero(model.coef)
            out[fold] = x[np.ix_(fold, used)] @ model.coef[used] + model.intercept
        return out

    def _chosen(self, choice: int, slope: float) -> None:
        """Remember what was chosen."""

    def _folds(self, n: int, folds: ArrayLike | None) -> NDArray[Any]:
        return self.own_folds(n) if folds is None else np.asarray(folds)

    def own_folds(self, n: int) -> NDArray[np.int64]:
        """The inner folds of n people that `fit` makes where none are given, shape (n,)."""
        if not 2 <= self.cv <= n:
            raise GenopredError(
                f"{type(self).__name__}: cv is {self.cv} for {n} people; it must be from 2 to that number."
            )
        out = np.empty(n, dtype=np.int64)
        for number, (_, held) in enumerate(KFold(self.cv, shuffle=True, random_state=self.random_state).split(out)):
            out[held] = number
        return out

    def _checked(
        self, X: ArrayLike, y: ArrayLike, folds: NDArray[Any]
    ) -> tuple[NDArray[np.float32], Floats, NDArray[np.int64]]:
        """Dosages, phenotypes and folds numbered from 0; refused where they do not fit."""
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
        labels, number = np.unique(folds, return_inverse=True)
        if len(labels) < 2:
            raise GenopredError(f"{name}: folds have one label; at least 2 are needed.")
        return x, target, number.ravel()

    def _people(self, x: NDArray[np.float32], y: Floats, number: NDArray[np.int64]) -> _People:
        order = np.argsort(number, kind="stable")
        bounds = np.concatenate([[0], np.cumsum(np.bincount(number))])
        rows32 = np.ascontiguousarray(x[order].T)
        rows, means = filled_rows(rows32)
        sorted_y = y[order]
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

    def _weights(self, source: _People | FoldSums, without: frozenset[int], base: Regressions) -> Floats:
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

    def _checked(
        self, X: ArrayLike, y: ArrayLike, folds: NDArray[Any]
    ) -> tuple[NDArray[np.float32], Floats, NDArray[np.int64]]:
        self._check_positions(np.shape(X)[1] if np.ndim(X) == 2 else None, f"X {np.shape(X)}")
        return super()._checked(X, y, folds)

    def _sums_are_faster(self, x: NDArray[np.float32]) -> bool:
        # r² of hard calls is of the people who have both variants, that of sums of everybody
        return self.r2 == "genotype" and sums_suffice(*x.shape) and not np.isnan(x).any()

    def _check_variants(self, m: int) -> None:
        self._check_positions(m, f"the sums ({m},)")
        if self.r2 == "em":
            raise GenopredError(
                "ClumpThresholdPRS: r2='em' needs hard calls of people, not sums; use r2='genotype', or fit people."
            )

    def _check_positions(self, m: int | None, found: str) -> None:
        if self.positions is None:
            raise GenopredError("ClumpThresholdPRS: give the positions of the columns of X (positions=...).")
        pos = np.asarray(self.positions)
        if pos.shape != (m,):
            raise GenopredError(
                f"ClumpThresholdPRS: positions have shape {pos.shape}, {found}; one per column is needed."
            )
        if (np.diff(pos) < 0).any():
            raise GenopredError("ClumpThresholdPRS: positions must not decrease; sort the columns of X.")
        ld.check_grid(self.p_thresholds, self.r2_thresholds, self.kb, self.r2)

    def _calls(self, raw: NDArray[np.float32]) -> ld.HardCalls | None:
        calls = ld.pack(raw.T)
        if calls is None and self.r2 == "em":
            raise GenopredError("ClumpThresholdPRS: r2='em' needs hard calls (0, 1, 2); round X, or use r2='genotype'.")
        return calls

    def _weights(self, source: _People | FoldSums, without: frozenset[int], base: Regressions) -> Floats:
        strength = np.abs(base.tstat)
        # At one number of people order by p is order by |t|, and |t| does not run out of digits.
        order = by_strength(base.tstat, base.df, source.same)
        bounds = np.array([_t_bound(p, base.df) for p in self.p_thresholds])
        n_index = int(np.sum(strength[order] >= bounds.min()))
        low, high = ld.windows(np.asarray(self.positions, dtype=np.int64), self.kb)
        limits = np.asarray(self.r2_thresholds, dtype=np.float64)
        owner = ld.greedy(source.ld(without), order, n_index, low, high, limits, self.r2)
        leads = owner == np.arange(owner.shape[1])
        passes = np.where(np.isnan(strength), -1.0, strength) >= bounds[:, None]
        return (leads[:, None, :] & passes[None, :, :]).reshape(len(leads) * len(passes), len(strength)) * base.slope

    def _chosen(self, choice: int, slope: float) -> None:
        self.p_threshold_ = float(self.p_thresholds[choice % len(self.p_thresholds)]) if slope else None
        self.r2_threshold_ = float(self.r2_thresholds[choice // len(self.p_thresholds)]) if slope else None


def _t_bound(p: float, df: int) -> float:
    """|t| from which a two-sided p-value is at most p."""
    return 0.0 if p >= 1 else float(-stdtrit(max(df, 1), p / 2)) if p > 0 else np.inf
