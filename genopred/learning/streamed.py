"""Base learners of a gene whose people are read in blocks: from sums where sums are enough, from few columns else.

Memory does not grow with people, but for their predictions: of an outer fold there are as many (M, M) sums as inner
folds, and one block of dosages. Trees keep the columns that they chose.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from genopred.genetics.moments import Adding, Moments, Weights, total
from genopred.learning.kernel import PolynomialRegression
from genopred.learning.learners import GeneContext, Learner
from genopred.learning.stack import BaseFit
from genopred.learning.trees import Trees, strongest_by_sums
from genopred.types import Genotypes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class OuterFold:
    """One outer fold, as base learners get it.

    Attributes
    ----------
    fold : int
    train : array of bool, shape (N,)
        Who is in training.
    y_train, y_test : array
        Outcome of those in training and of the others, in units of the training spread.
    inner : array of int, shape (n_train,)
        Inner fold of those in training.
    gene : GeneContext
    """

    fold: int
    train: NDArray[np.bool_]
    y_train: Array
    y_test: Array
    inner: NDArray[np.int64]
    gene: GeneContext

    def labels(self) -> NDArray[np.int64]:
        """Inner fold of everybody, shape (N,); -1 for those held out."""
        out = np.full(len(self.train), -1)
        out[self.train] = self.inner
        return out


@dataclass(frozen=True)
class Blocks:
    """Dosages of a window in blocks of people, without gaps.

    Attributes
    ----------
    genotypes : Genotypes
        Of the variants used.
    size : int
        People in memory at once.
    """

    genotypes: Genotypes
    size: int

    def raw(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """People and their dosages (n, M), NaN where missing."""
        yield from self.genotypes.blocks(self.size)

    def filled(self, means: Array) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """The same with missing ones at given values (M,)."""
        for people, x in self.raw():
            yield people, fill(x, means)

    def columns(self, index: NDArray[np.int64], means: Array) -> NDArray[np.float32]:
        """Some variants of everybody, (N, k)."""
        return fill(self.genotypes.dosage(index), means[index])


def fill(x: NDArray[np.float32], means: Array) -> NDArray[np.float32]:
    """Missing dosages at given values (M,)."""
    holes = np.isnan(x)
    return np.where(holes, means, x).astype(np.float32) if holes.any() else x


def fold_sums(blocks: Blocks, labels: Sequence[NDArray[np.int64]], outcomes: Sequence[Array]) -> list[list[Moments]]:
    """Sums of the people of each fold, in one pass over the people.

    Parameters
    ----------
    blocks : Blocks
    labels : sequence of array of int, shape (N,)
        Folds, one or several ways to make them; -1 for people who are in none.
    outcomes : sequence of array, shape (N,)
        One for each of them; what people in no fold have is not read.

    Returns
    -------
    list of lists of Moments
        For each way its folds in ascending order, with one outcome each.
    """
    m = blocks.genotypes.n_variants
    names = [np.unique(label[label >= 0]) for label in labels]
    adding = [[Adding(m, 1) for _ in name] for name in names]
    for people, x in blocks.raw():
        for label, y, name, parts in zip(labels, outcomes, names, adding):
            here, of = label[people], y[people]
            for fold, part in zip(name, parts):
                rows = np.flatnonzero(here == fold)
                if len(rows):
                    part.add(x[rows], of[rows, None])
    # one after another, so that sums are not held twice
    return [[parts.pop(0).moments() for _ in name] for name, parts in zip(names, adding)]


def fit_streamed(
    blocks: Blocks, learners: Sequence[Learner], folds: Sequence[OuterFold]
) -> tuple[list[list[BaseFit]], Array]:
    """Fit base learners in some outer folds at once; each pass over the people serves all of them.

    Returns
    -------
    fits : list of lists of BaseFit
        For each outer fold, one a learner.
    seconds : array, shape (B,)
        CPU time of each learner; what they share is shared out evenly.
    """
    seconds = np.zeros(len(learners))
    clock = _Clock()
    outcomes = []
    for one in folds:
        y = np.zeros(len(one.train))
        y[one.train] = one.y_train
        outcomes.append(y)
    sums = fold_sums(blocks, [one.labels() for one in folds], outcomes)
    seconds += clock.lap() / len(learners)
    jobs: list[_Job] = []
    while sums:
        jobs.append(_Job(folds[len(jobs)], outcomes[len(jobs)], sums.pop(0)))
        for b, learner in enumerate(learners):
            jobs[-1].fit(learner, blocks)
            seconds[b] += clock.lap()
        jobs[-1].forget()
    seconds += _polynomials(blocks, learners, jobs)
    clock.lap()
    predicted = _predictions(blocks, learners, jobs)
    seconds += clock.lap() / len(learners)
    return predicted, seconds


class _Clock:
    """CPU time since the last look."""

    def __init__(self) -> None:
        self.at = time.process_time()

    def lap(self) -> float:
        before, self.at = self.at, time.process_time()
        return self.at - before


class _Job:
    """One outer fold: its sums, and the models of each learner, of everybody in training, then without each inner fold.

    A model is `Weights`, or a polynomial; of others their predictions are `made` at once.
    """

    def __init__(self, fold: OuterFold, y: Array, parts: list[Moments]) -> None:
        self.fold, self.y, self.labels = fold, y, fold.labels()
        self.names = np.unique(fold.inner)
        whole = total(parts)
        self.means = whole.mean
        self.parts = [part.filled(self.means) for part in parts]
        self.whole = total(self.parts)
        self.weights: dict[str, list[Weights]] = {}
        self.curves: dict[str, list[PolynomialRegression]] = {}
        self.made: dict[str, Array] = {}

    def forget(self) -> None:
        """Let the sums go, once all learners have read them."""
        del self.parts, self.whole

    def fit(self, learner: Learner, blocks: Blocks) -> None:
        estimator = learner.make(self.fold.gene)
        if hasattr(estimator, "fit_sums"):
            without = estimator.fit_sums(self.whole, self.parts)
            self.weights[learner.name] = [Weights(estimator.coef_, estimator.intercept_), *without]
        elif isinstance(estimator, PolynomialRegression):
            models = [clone(estimator) for _ in range(len(self.parts) + 1)]
            for model, sums in zip(models, self.training_sums()):
                model.fit_components(sums)
            self.curves[learner.name] = models
        elif isinstance(estimator, Trees):
            self.made[learner.name] = self._trees(estimator, blocks)
        else:
            self.made[learner.name] = self._people(estimator, blocks)

    def training_sums(self) -> Iterator[Moments]:
        """Sums of everybody in training, then without each inner fold."""
        yield self.whole
        for part in self.parts:
            yield self.whole - part

    def sets(self) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """Who is learned from and who is predicted, in the order of `training_sums`."""
        yield self.fold.train, ~self.fold.train
        for name in self.names:
            out = self.labels == name
            yield self.fold.train & ~out, out

    def _trees(self, estimator: Trees, blocks: Blocks) -> Array:
        made = np.empty(len(self.y))
        for sums, (train, out) in zip(self.training_sums(), self.sets()):
            model = clone(estimator)
            columns = strongest_by_sums(sums.centred(), model.n_top)
            x = blocks.columns(columns, self.means)
            model.fit_columns(columns, self.whole.m, x[train], self.y[train])
            made[out] = model.predict_columns(x[out])
        return made

    def _people(self, estimator: Any, blocks: Blocks) -> Array:
        """A learner that needs everybody's dosages at once: they are all read."""
        made = np.empty(len(self.y))
        x = blocks.columns(np.arange(self.whole.m), self.means)
        for train, out in self.sets():
            made[out] = clone(estimator).fit(x[train], self.y[train]).predict(x[out])
        return made


def _polynomials(blocks: Blocks, learners: Sequence[Learner], jobs: Sequence[_Job]) -> Array:
    """Fit polynomials of leading components, whose features are summed in a pass of their own; CPU time by learner."""
    seconds = np.zeros(len(learners))
    for b, learner in enumerate(learners):
        if not any(learner.name in job.curves for job in jobs):
            continue
        clock = _Clock()
        sums: list[list[Adding]] = [[] for _ in jobs]
        for people, raw in blocks.raw():
            for job, adding in zip(jobs, sums):
                x = fill(raw, job.means)
                models = job.curves[learner.name]
                for i, (model, (train, _)) in enumerate(zip(models, job.sets())):
                    rows = np.flatnonzero(train[people])
                    features = model.features(x[rows])
                    if len(adding) == i:
                        adding.append(Adding(features.shape[1], 1))
                    adding[i].add(features, job.y[people][rows, None])
        for job, adding in zip(jobs, sums):
            for model, part in zip(job.curves[learner.name], adding):
                model.fit_features(part.moments())
        seconds[b] = clock.lap()
    return seconds


def _predictions(blocks: Blocks, learners: Sequence[Learner], jobs: Sequence[_Job]) -> list[list[BaseFit]]:
    """Everybody predicted by the model that did not see them, in one pass."""
    made = [{learner.name: np.empty(len(job.y)) for learner in learners} for job in jobs]
    for job, values in zip(jobs, made):
        values.update(job.made)
    for people, raw in blocks.raw():
        for job, values in zip(jobs, made):
            x = fill(raw, job.means)
            linear = list(job.weights)
            for i, name in enumerate([-1, *job.names]):
                rows = np.flatnonzero(job.labels[people] == name)
                if not len(rows):
                    continue
                part, place = x[rows], people.start + rows
                if linear:
                    coef = np.column_stack([job.weights[one][i].coef for one in linear])
                    start = [job.weights[one][i].intercept for one in linear]
                    for one, column in zip(linear, (part.astype(np.float64) @ coef + start).T):
                        values[one][place] = column
                for one, models in job.curves.items():
                    values[one][place] = models[i].predict(part)
    out = []
    for job, values in zip(jobs, made):
        train = job.fold.train
        columns = [values[learner.name] for learner in learners]
        out.append([BaseFit(column[train], column[~train]) for column in columns])
    return out
