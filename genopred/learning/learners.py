"""The base learners by name: each a scikit-learn estimator made for one gene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genopred.errors import ModelError, did_you_mean
from genopred.genetics.finemap import susie
from genopred.genetics.finemap_sums import susie_sums
from genopred.genetics.leaveout import LeftOut
from genopred.genetics.moments import Moments, Weights, sums_suffice
from genopred.genetics.scores import BaselinePRS, ClumpThresholdPRS
from genopred.learning.elasticnet import ElasticNet, Linear, as_inputs
from genopred.learning.kernel import GBLUP, PolynomialRegression, Ridge
from genopred.learning.trees import LightGBMTrees, RandomForest, XGBoostTrees


@dataclass(frozen=True)
class GeneContext:
    """What a learner may know of the gene besides the dosages.

    Attributes
    ----------
    positions : array of int, shape (M,)
        1-based positions of the dosage columns.
    tss : int
        1-based position of the transcription start site.
    seed : int
    """

    positions: NDArray[np.int64]
    tss: int
    seed: int = 0

    @property
    def distance(self) -> NDArray[np.float64]:
        """Distance of each variant to the TSS in bp, shape (M,)."""
        return np.abs(self.positions - self.tss).astype(np.float64)

    def prior(self) -> NDArray[np.float64]:
        """Relative prior weight of each variant: exp(-distance / 50 kb) + 0.02."""
        return np.exp(-self.distance / 50_000) + 0.02

    def penalty(self) -> NDArray[np.float64]:
        """Relative elastic-net penalty of each variant: 1 / (0.3 + 0.7 exp(-distance / 100 kb))."""
        return 1.0 / (0.3 + 0.7 * np.exp(-self.distance / 100_000))


class SuSiE(Linear):
    """Predict with the posterior mean effects of a sum of single effects.

    Parameters
    ----------
    n_effects : int
        The largest number of effects.
    prior_weights : array, shape (M,), optional
        Relative prior probability of each variant to carry an effect.

    Attributes
    ----------
    coef_ : array, shape (M,)
        Posterior mean effect of one allele copy, in units of `y`.
    intercept_ : float
    pip_ : array, shape (M,)

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.integers(0, 3, (150, 20))
    >>> bool(SuSiE().fit(x, x[:, 0] + rng.standard_normal(150)).pip_[0] > 0.9)
    True
    """

    def __init__(self, n_effects: int = 10, prior_weights: ArrayLike | None = None) -> None:
        self.n_effects = n_effects
        self.prior_weights = prior_weights

    def fit(self, X: ArrayLike, y: ArrayLike) -> SuSiE:
        """Fit the effects."""
        x, target = as_inputs(X, y)
        if sums_suffice(*x.shape):
            self.fit_sums(Moments.of(x, target))
            return self
        found = susie(x, target, self.n_effects, self.prior_weights, dtype=np.float32)
        self.n_features_in_ = x.shape[1]
        self.coef_, self.intercept_, self.pip_ = found.coef, found.intercept, found.pip
        return self

    def fit_sums(self, whole: Moments, folds: Sequence[Moments] = ()) -> list[Weights]:
        """Fit on everybody by sums and return the models that each leave one fold out.

        Parameters
        ----------
        whole : Moments
            Of all training people: without holes and covariates, with one outcome.
        folds : sequence of Moments
            Of disjoint folds within `whole`.
        """
        room = np.empty((whole.m, whole.m))
        found = []
        for out in ([], *([fold] for fold in folds)):
            found.append(susie_sums(LeftOut(whole, out).centred(room), self.n_effects, self.prior_weights))
        self.n_features_in_ = whole.m
        self.coef_, self.intercept_, self.pip_ = found[0].coef, found[0].intercept, found[0].pip
        return [Weights(one.coef, one.intercept) for one in found[1:]]


@dataclass(frozen=True)
class Learner:
    """A base learner under a name.

    Attributes
    ----------
    name : str
    make : callable
        `GeneContext` -> an unfitted scikit-learn regressor. One with a method ``fit_oof(X, y, folds)`` is asked
        for its out-of-fold predictions; any other is cloned and fitted fold by fold.
    description : str
    genotype_only : bool
        True where the learner needs dosages with positions and cannot take sequence features.
    calibrate : bool
        Whether its own held-out predictions are reported after scaling by a slope learned from out-of-fold
        predictions, as trees and other learners that do not shrink themselves need.
    linear : bool
        Whether it ends, fitted, in one weight per column: ``coef_``, shape (M,), and ``intercept_``.
    """

    name: str
    make: Callable[[GeneContext], Any]
    description: str
    genotype_only: bool = False
    calibrate: bool = False
    linear: bool = False


_REGISTRY: dict[str, Learner] = {}


def register(learner: Learner) -> Learner:
    """Add a learner to those that ``--learners`` can name.

    >>> from sklearn.linear_model import HuberRegressor
    >>> register(Learner("huber", lambda gene: HuberRegressor(), "Huber regression", calibrate=True)).name
    'huber'
    >>> del _REGISTRY["huber"]
    """
    if learner.name in _REGISTRY:
        raise ModelError(f"learner '{learner.name}' is already registered; choose another name.")
    if not learner.name or any(c in learner.name for c in ", @/"):
        raise ModelError(f"learner name '{learner.name}': use letters, digits, '-' and '_' only.")
    _REGISTRY[learner.name] = learner
    return learner


def names() -> tuple[str, ...]:
    """All registered names, in the order of registration."""
    return tuple(_REGISTRY)


def find(name: str) -> Learner:
    """The learner of that name; refused where there is none, and the nearest one named."""
    if name not in _REGISTRY:
        nearest = did_you_mean(name, _REGISTRY)
        raise ModelError(f"no learner is called '{name}'.{nearest} There are: {', '.join(_REGISTRY)}.")
    return _REGISTRY[name]


for _learner in (
    Learner(
        "baseline-prs",
        lambda gene: BaselinePRS(random_state=gene.seed),
        "Sum of all marginal effects, slope calibrated",
        True,
        linear=True,
    ),
    Learner(
        "pt-prs",
        lambda gene: ClumpThresholdPRS(gene.positions, random_state=gene.seed),
        "Pruning and thresholding: 5 p-values x 4 r2 thresholds chosen in training, slope calibrated",
        True,
        linear=True,
    ),
    Learner(
        "ridge",
        lambda gene: Ridge(),
        "Ridge regression, penalty by leave-one-out error, with many people by GCV",
        linear=True,
    ),
    Learner(
        "elastic-net",
        lambda gene: ElasticNet(random_state=gene.seed),
        "Elastic net, alpha 0.5, as PrediXcan",
        linear=True,
    ),
    Learner("susie", lambda gene: SuSiE(), "Sum of single effects, L = 10, flat prior", True, linear=True),
    Learner(
        "elastic-net-tss",
        lambda gene: ElasticNet(penalty_factors=gene.penalty(), random_state=gene.seed),
        "Elastic net, penalty growing with the distance to the TSS",
        True,
        linear=True,
    ),
    Learner(
        "susie-tss",
        lambda gene: SuSiE(prior_weights=gene.prior()),
        "SuSiE, prior falling with the distance to the TSS",
        True,
        linear=True,
    ),
    Learner(
        "gblup-tss",
        lambda gene: GBLUP(weights=gene.prior()),
        "GBLUP, kernel weighted by the distance to the TSS",
        True,
        linear=True,
    ),
    Learner("polynomial", lambda gene: PolynomialRegression(), "Degree 2 on ten leading components, ridge-penalised"),
    Learner(
        "random-forest",
        lambda gene: RandomForest(random_state=gene.seed),
        "200 trees on the fold's 100 best columns",
        calibrate=True,
    ),
    Learner(
        "xgboost",
        lambda gene: XGBoostTrees(random_state=gene.seed),
        "Boosted trees on the fold's 100 best columns",
        calibrate=True,
    ),
    Learner(
        "lightgbm",
        lambda gene: LightGBMTrees(random_state=gene.seed),
        "Boosted trees on the fold's 100 best columns",
        calibrate=True,
    ),
):
    register(_learner)


#: What follows `@` in the names of learners that choose among weights of another study.
SUMSTATS = "sumstats"


def is_linear(column: str) -> bool:
    """Whether the base predictions under that name (`learner` or `learner@inputs`) are linear in dosage.

    >>> [is_linear(name) for name in ("susie-tss", "xgboost", "ridge@sequence", "lassosum@sumstats")]
    [True, False, False, True]
    """
    return column.endswith(f"@{SUMSTATS}") or (column in _REGISTRY and _REGISTRY[column].linear)


def calibrates(column: str) -> bool:
    """Whether the base predictions under that name are reported after scaling; see `Learner`."""
    return not column.endswith(f"@{SUMSTATS}") and find(column.split("@")[0]).calibrate


#: What ``genopred stack`` trains when ``--learners`` is not given.
DEFAULT_LEARNERS = names()

#: Those that the stack gives most of its weight; all are linear in dosage.
LEADING = ("elastic-net-tss", "susie-tss", "gblup-tss")
