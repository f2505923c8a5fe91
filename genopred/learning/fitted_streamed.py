"""Base learners fitted to everybody, for models that leave a run, where people are read in blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genopred.genetics.moments import Adding, Moments, total
from genopred.genetics.regression import marginal_sums
from genopred.learning.elasticnet import ElasticNet
from genopred.learning.evaluate import Outcome
from genopred.learning.fitted import Everybody, keep, keepable
from genopred.learning.kernel import PolynomialRegression
from genopred.learning.learners import GeneContext, Learner
from genopred.learning.streamed import Blocks, fold_sums
from genopred.learning.trees import Trees, strongest_by_sums

Array = NDArray[np.float64]


def fit_everybody_streamed(
    blocks: Blocks,
    raw: Array,
    covariates: Array | None,
    gene: GeneContext,
    learners: Sequence[Learner],
    outcome: Outcome,
) -> Everybody:
    """What `genopred.learning.fitted.fit_everybody` fits; memory is that of `genopred.learning.streamed`."""
    n = len(raw)
    y, _ = outcome.split(raw, covariates, np.ones(n, dtype=bool))
    wanted = [learner for learner in learners if keepable(learner, gene)]
    made = [learner.make(gene) for learner in wanted]
    folds = [estimator.own_folds(n) if hasattr(estimator, "own_folds") else None for estimator in made]
    # learners whose inner folds are the same share their sums
    distinct: dict[bytes, NDArray[np.int64]] = {label.tobytes(): label for label in folds if label is not None}
    labels = list(distinct.values()) or [np.zeros(n, dtype=np.int64)]
    sums = fold_sums(blocks, labels, [y] * len(labels))
    means = total(sums[0]).mean
    filled = {label.tobytes(): [part.filled(means) for part in parts] for label, parts in zip(labels, sums)}
    whole = total(next(iter(filled.values())))
    fitted = []
    for learner, estimator, label in zip(wanted, made, folds):
        if isinstance(estimator, ElasticNet) and label is not None:
            estimator.tune_sums(whole, filled[label.tobytes()])
        elif hasattr(estimator, "fit_sums"):
            parts = () if label is None else filled[label.tobytes()]
            estimator.fit_sums(whole, parts)
        elif isinstance(estimator, Trees):
            columns = strongest_by_sums(whole.centred(), estimator.n_top)
            estimator.fit_columns(columns, whole.m, blocks.columns(columns, means), y)
        elif isinstance(estimator, PolynomialRegression):
            _polynomial(estimator, blocks, whole, means, y)
        else:
            estimator.fit(blocks.columns(np.arange(whole.m), means), y)
        fitted.append(keep(learner, estimator))
    products = whole.centred()

    def spread(coef: Array) -> float:
        return float(np.sqrt(max(float(coef @ products.gram @ coef), 0.0) / n))

    return Everybody(fitted, means / 2, marginal_sums(whole).tstat, spread)


def _polynomial(model: PolynomialRegression, blocks: Blocks, whole: Moments, means: Array, y: Array) -> None:
    model.fit_components(whole)
    adding: Adding | None = None
    for people, x in blocks.filled(means):
        features = model.features(x)
        adding = adding or Adding(features.shape[1], 1)
        adding.add(features, y[people, None])
    if adding is not None:
        model.fit_features(adding.moments())
