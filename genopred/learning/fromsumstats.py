"""A base learner whose weights come from another study: what the people at hand decide is which, and how much of them.

The other study's weights are made before, by summary statistics and LD (`candidates`); none of them has seen the
people's outcomes. `FromSumstats` picks one and a slope by out-of-fold error among its training people alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genopred.errors import ModelError
from genopred.genetics.finemap_sums import susie_sums
from genopred.genetics.moments import Centred, Moments, Weights
from genopred.genetics.shrinkage import Candidates, lassosum, ridge_weights, shrinkage_candidates, threshold_weights
from genopred.genetics.sumstats import Reference, as_sums, marginal_correlation
from genopred.learning.elasticnet import Linear, as_inputs, assign_folds, elastic_net_path
from genopred.learning.learners import GeneContext, Learner

Array = NDArray[np.float64]

#: Elastic net's alpha, and penalties from the largest to a tenth of it.
MIX, N_PENALTIES = 0.5, 12


@dataclass(frozen=True)
class Study:
    """One gene's summary statistics with LD, as its learners get them.

    Attributes
    ----------
    z : array, shape (M,)
        Of one ALT copy.
    n : float
        People.
    reference : Reference
        LD of the M variants, all of which vary.
    s : float
        How far LD is drawn towards none.
    gene : GeneContext
        The variants' positions, the TSS, and a seed.
    """

    z: Array
    n: float
    reference: Reference
    s: float
    gene: GeneContext

    @property
    def r(self) -> Array:
        """Marginal correlations, shape (M,)."""
        return marginal_correlation(self.z, self.n)

    def sums(self) -> Centred:
        """Sums over people who would have these z."""
        return as_sums(self.z, self.n, self.reference, self.s)


def _per_allele(made: Candidates, study: Study) -> Candidates:
    return Candidates(made.weights / study.reference.scale, made.labels)


def _threshold(study: Study) -> Candidates:
    made = threshold_weights(study.r, study.reference.correlation, study.n, study.gene.positions)
    return _per_allele(made, study)


def _lassosum(study: Study) -> Candidates:
    return _per_allele(lassosum(study.r, study.reference.correlation), study)


def _ridge(study: Study) -> Candidates:
    return _per_allele(ridge_weights(study.r, study.reference.spectrum(), study.n, study.s), study)


def _shrinkage(study: Study) -> Candidates:
    made = shrinkage_candidates(study.r, study.reference, study.n, study.s, seed=study.gene.seed)
    return _per_allele(made, study)


def _susie(study: Study, prior: Array | None = None) -> Candidates:
    # as susie_rss: what does not fit another panel's LD must not count as explained
    fit = susie_sums(study.sums(), prior_weights=prior, estimate_residual_variance=False)
    return Candidates(fit.coef[None], ("L 10",))


def _elastic_net(study: Study, penalty: Array | None = None) -> Candidates:
    sums = study.sums()
    top = float(np.abs(study.r).max(initial=0.0)) / MIX
    if top <= 0:
        return Candidates(np.zeros((1, len(study.z))), ("none",))
    lambdas = top * np.logspace(np.log10(0.95), -1, N_PENALTIES)
    _, coef, _ = elastic_net_path(sums, lambdas, MIX, penalty, exact=False)
    # weights that seem to explain more than all there is say that LD does not fit
    possible = 2 * coef @ sums.cross - np.einsum("cj,jc->c", coef, sums.gram @ coef.T) < sums.square
    return Candidates(coef[possible], tuple(f"lambda {lam:.3g}" for lam in lambdas[possible]))


#: Learners of weights per ALT copy, by name.
METHODS: dict[str, Callable[[Study], Candidates]] = {
    "pt-prs": _threshold,
    "lassosum": _lassosum,
    "ridge": _ridge,
    "elastic-net": _elastic_net,
    "susie": _susie,
    "elastic-net-tss": lambda study: _elastic_net(study, study.gene.penalty()),
    "susie-tss": lambda study: _susie(study, study.gene.prior()),
    "prs-cs": _shrinkage,
}

#: What is said of them.
DESCRIPTIONS = {
    "pt-prs": "P+T on another study's effects: 5 p-values x 4 r2 thresholds",
    "lassosum": "Lasso on another study's correlations, LD drawn towards none by 4 shares",
    "ridge": "Best linear predictor (SBLUP) of another study's effects, for 4 heritabilities",
    "elastic-net": "Elastic net, alpha 0.5, on another study's effects",
    "susie": "Sum of single effects on another study's effects, flat prior",
    "elastic-net-tss": "The same elastic net, penalty growing with the distance to the TSS",
    "susie-tss": "SuSiE on another study's effects, prior falling with the distance to the TSS",
    "prs-cs": "Continuous shrinkage of another study's effects, as PRS-CS has it, for 3 phi",
}


def candidates(study: Study, name: str) -> Candidates:
    """The weights (C, M), per ALT copy, that one of `METHODS` learns from a study.

    Of rows that are alike, such as those that are all 0, the first is left.
    """
    made = METHODS[name](study)
    weights = made.weights if len(made.weights) else np.zeros((1, len(study.z)))
    labels = made.labels or ("none",)
    _, first = np.unique(weights, axis=0, return_index=True)
    rows = np.sort(first)
    return Candidates(weights[rows], tuple(labels[i] for i in rows.tolist()))


@dataclass(frozen=True)
class _Scores:
    """Sums over people of their scores (C,) by the candidates, and of the outcome."""

    n: float
    score: Array
    outcome: float
    cross: Array
    square: Array

    @classmethod
    def of_people(cls, scores: Array, y: Array) -> _Scores:
        """Of scores (N, C)."""
        return cls(len(y), scores.sum(axis=0), float(y.sum()), scores.T @ y, np.einsum("ij,ij->j", scores, scores))

    @classmethod
    def of_sums(cls, moments: Moments, weights: Array) -> _Scores:
        """Of sums over people without missing dosages."""
        square = np.einsum("cj,jc->c", weights, moments.gram @ weights.T)
        cross, outcome = weights @ moments.cross[:, -1], float(moments.totals[-1])
        return cls(moments.n, weights @ moments.sums, outcome, cross, square)

    def __sub__(self, other: _Scores) -> _Scores:
        return _Scores(
            self.n - other.n, self.score - other.score, self.outcome - other.outcome, self.cross - other.cross,
            self.square - other.square,
        )  # fmt: skip


def _added(parts: Sequence[_Scores]) -> _Scores:
    """Sums over the people of all parts; added and not taken out of a whole, so that others leave no trace at all."""
    names = ("n", "score", "outcome", "cross", "square")
    return _Scores(*(sum(getattr(part, name) for part in parts) for name in names))


class FromSumstats(Linear):
    """Predict by another study's weights: one of them, times a slope, both by out-of-fold error here.

    Parameters
    ----------
    candidates : array, shape (C, M)
        Weights of one ALT copy, made without the outcomes of the people at hand.
    cv : int
        Folds for choosing in `fit`.
    random_state : int
        Seed of those folds.

    Attributes
    ----------
    coef_ : array, shape (M,)
    intercept_ : float
    choice_ : int
        Row of the candidates.
    slope_ : float
        At least 0; 0 where no candidate predicts: then everyone is predicted the mean.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.integers(0, 3, (80, 4)).astype(float)
    >>> y = x[:, 1] + rng.standard_normal(80)
    >>> model = FromSumstats([[1.0, 0, 0, 0], [0, 0.5, 0, 0]]).fit(x, y)
    >>> model.choice_, bool(1.5 < model.slope_ < 2.5)
    (1, True)
    """

    def __init__(self, candidates: ArrayLike, cv: int = 5, random_state: int = 0) -> None:
        self.candidates = candidates
        self.cv = cv
        self.random_state = random_state

    def own_folds(self, n: int) -> NDArray[np.int64]:
        """The folds in which `fit` chooses among n people, shape (n,)."""
        return assign_folds(n, self.cv, self.random_state)

    def fit(self, X: ArrayLike, y: ArrayLike) -> FromSumstats:
        """Choose by cross-validation inside (X, y)."""
        x, target = as_inputs(X, y)
        self._parts(x, target, self.own_folds(len(target)))
        return self

    def fit_oof(self, X: ArrayLike, y: ArrayLike, folds: ArrayLike) -> Array:
        """`fit` with these folds, and predictions of each person by choice, slope and mean of the other folds alone."""
        x, target = as_inputs(X, y)
        labels = np.asarray(folds)
        out = np.empty(len(target))
        for name, model in zip(np.unique(labels), self._parts(x, target, labels)):
            here = labels == name
            out[here] = x[here].astype(np.float64) @ model.coef + model.intercept
        return out

    def fit_sums(self, whole: Moments, folds: Sequence[Moments] = ()) -> list[Weights]:
        """`fit_oof` of people who are known by their sums: for each fold the model that leaves it out.

        Parameters
        ----------
        whole : Moments
            Sums over all training people: one outcome, no covariates, nothing missing.
        folds : sequence of Moments
            The same of at least three disjoint inner folds that add up to `whole`.
        """
        weights = self._checked(whole.m)
        return self._finish([_Scores.of_sums(part, weights) for part in folds], weights)

    def _parts(self, x: NDArray[np.float32], y: Array, labels: NDArray[np.int64]) -> list[Weights]:
        weights = self._checked(x.shape[1])
        scores = x.astype(np.float64) @ weights.T
        rows = [labels == name for name in np.unique(labels)]
        return self._finish([_Scores.of_people(scores[here], y[here]) for here in rows], weights)

    def _checked(self, m: int) -> Array:
        weights = np.asarray(self.candidates, dtype=np.float64)
        if weights.ndim != 2 or weights.shape[1] != m or not np.isfinite(weights).all():
            raise ModelError(f"FromSumstats: candidates have shape {weights.shape}; needed are numbers (C, {m}).")
        return weights

    def _finish(self, parts: Sequence[_Scores], weights: Array) -> list[Weights]:
        if len(parts) < 3:
            raise ModelError(f"FromSumstats: {len(parts)} folds; at least 3 are needed.")
        out = []
        for i in range(len(parts)):
            others = [part for j, part in enumerate(parts) if j != i]
            out.append(self._model(_added(others), others, weights)[0])
        model, self.choice_, self.slope_ = self._model(_added(parts), parts, weights)
        self.coef_, self.intercept_ = model
        self.n_features_in_ = weights.shape[1]
        return out

    @staticmethod
    def _model(whole: _Scores, parts: Sequence[_Scores], weights: Array) -> tuple[Weights, int, float]:
        """The candidate and slope that take most off the squared error of `parts`, each predicted around the others."""
        cross, square = np.zeros(len(weights)), np.zeros(len(weights))
        for part in parts:
            rest = whole - part
            score, outcome = rest.score / rest.n, rest.outcome / rest.n
            cross += part.cross - score * part.outcome - outcome * part.score + part.n * score * outcome
            square += part.square - 2 * score * part.score + part.n * score**2
        positive = (cross > 0) & (square > 1e-12 * np.maximum(whole.square, 1e-300))
        gain = np.where(positive, cross**2 / np.where(positive, square, 1.0), 0.0)
        best = int(np.argmax(gain >= gain.max() * (1 - 1e-9)))
        slope = float(cross[best] / square[best]) if gain[best] > 0 else 0.0
        coef = slope * weights[best]
        return Weights(coef, float(whole.outcome / whole.n - slope * whole.score[best] / whole.n)), best, slope


def learner(name: str, weights: Array) -> Learner:
    """The base learner that chooses among these candidates (C, M)."""
    return Learner(
        name, lambda gene: FromSumstats(weights, random_state=gene.seed), DESCRIPTIONS[name], True, linear=True
    )
