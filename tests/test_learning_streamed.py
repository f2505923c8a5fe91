"""A gene whose people are read in blocks: the same predictions as from all of them at once."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import BayesianRidge

from genopred.genetics import moments
from genopred.genetics.moments import Moments
from genopred.learning import learners as registry
from genopred.learning.evaluate import Block, Outcome, fill_missing, nested_base, outer_folds
from genopred.learning.learners import GeneContext, Learner
from genopred.learning.streamed import Blocks, fold_sums
from genopred.types import VARIANT_SCHEMA, Genotypes

#: Every training set, also without an inner fold, is large enough for sums.
N, M = 1_700, 50


def people(seed=0, missing=0.01):
    """Dosages of which neighbours are correlated, some missing, an expression with three effects, two covariates."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((2, N, M))
    for j in range(1, M):
        latent[:, :, j] = 0.8 * latent[:, :, j - 1] + 0.6 * latent[:, :, j]
    x = (latent > rng.normal(0.4, 0.4, M)).sum(axis=0).astype(np.float32)
    covariates = rng.standard_normal((N, 2))
    raw = x[:, [5, 20, 33]] @ [0.4, -0.3, 0.3] + covariates[:, 0] + rng.standard_normal(N)
    x[rng.random((N, M)) < missing] = np.nan
    return x, raw, covariates, GeneContext(np.arange(M) * 20_000 + 1, 400_000, 1)


def in_blocks(x, size=97):
    rows = [("1", 20_000 * j + 1, f"v{j}", "A", "G") for j in range(x.shape[1])]
    variants = pl.DataFrame(rows, schema=VARIANT_SCHEMA, orient="row")
    return Blocks(Genotypes.from_arrays([f"P{i}" for i in range(len(x))], variants, dosage=x), size)


def base(values, made, learners, **more):
    x, raw, covariates, gene = made
    block = Block("genotype", values, tuple(registry.find(name) for name in learners))
    return nested_base([block], raw, covariates, outer_folds(N, 5, 1), gene, outcome=Outcome(), inner_folds=4, **more)


LINEAR = tuple(name for name in registry.names() if registry.find(name).linear)
#: Learners whose penalty is one of a grid, which may be the neighbour where it is chosen by other digits or criteria.
ON_A_GRID = ("ridge", "elastic-net", "elastic-net-tss", "polynomial")


@pytest.mark.parametrize("missing", [0.0, 0.01])
def test_blocks_of_people_predict_as_all_at_once(missing):
    made = people(missing=missing)
    names = registry.names()
    whole, blocks = base(made[0], made, names, only=[0, 3]), base(in_blocks(made[0]), made, names, only=[0, 3])
    assert whole.names == blocks.names and np.array_equal(whole.person, blocks.person)
    np.testing.assert_array_equal(whole.observed, blocks.observed)
    assert (blocks.seconds > 0).all()
    for name, a, b in zip(whole.names, whole.base.T, blocks.base.T):
        np.testing.assert_allclose(b, a, atol=1e-5 * a.std(), err_msg=name)


def test_sums_predict_as_people_do(monkeypatch):
    made = people()
    names = (*LINEAR, "polynomial")
    blocks = base(in_blocks(made[0]), made, names, only=[1])
    monkeypatch.setattr(moments, "MANY", 10**9)
    whole = base(made[0], made, names, only=[1])
    for name, a, b in zip(whole.names, whole.base.T, blocks.base.T):
        if name in ON_A_GRID:
            assert np.corrcoef(a, b)[0, 1] > 0.998, name
        else:
            assert np.abs(a - b).max() < 1e-5 * a.std(), name


def test_it_does_not_matter_how_many_are_in_memory():
    made = people()
    names = ("gblup-tss", "polynomial", "xgboost", "pt-prs")
    first = base(in_blocks(made[0]), made, names, only=[0, 2, 4], at_once=2)
    for size, at_once in ((1700, 1), (333, 3)):
        other = base(in_blocks(made[0], size), made, names, only=[0, 2, 4], at_once=at_once)
        np.testing.assert_allclose(other.base, first.base, atol=1e-6)
        assert np.array_equal(other.fold, first.fold) and np.array_equal(other.inner, first.inner)


def test_expression_of_held_out_people_changes_nothing():
    x, raw, covariates, gene = people()
    names = ("pt-prs", "ridge", "elastic-net-tss", "susie", "gblup-tss", "polynomial", "xgboost")
    folds = outer_folds(N, 5, 1)
    first = base(in_blocks(x), (x, raw, covariates, gene), names, only=[2])
    other = np.where(folds == 2, raw[::-1] * 9 - 4, raw)
    second = base(in_blocks(x), (x, other, covariates, gene), names, only=[2])
    np.testing.assert_array_equal(first.base, second.base)
    # and of people of one inner fold no out-of-fold prediction of that fold
    rows = first.inner == 1
    changed = raw.copy()
    changed[first.person[rows]] += np.random.default_rng(0).standard_normal(rows.sum())
    third = base(in_blocks(x), (x, changed, covariates, gene), names, only=[2])
    assert np.abs(third.base[~rows] - first.base[~rows]).max() > 0.01


def test_inner_folds_are_predicted_by_the_others():
    """With the outcome given as it is, an inner fold's expression has no part in its out-of-fold predictions."""
    x, raw, _, gene = people()
    learners = tuple(
        registry.find(name) for name in ("baseline-prs", "ridge", "susie-tss", "elastic-net", "polynomial")
    )

    def of(y):
        block = Block("genotype", in_blocks(x), learners)
        outcome = Outcome("none", "none")
        return nested_base([block], y, None, outer_folds(N, 5, 1), gene, outcome=outcome, inner_folds=4, only=[0])

    first = of(raw)
    rows = first.inner == 1
    place = first.person[rows]
    # the same values in another order: mean and spread of the outcome, which everybody's is scaled by, stay
    changed = raw.copy()
    changed[place] = raw[np.random.default_rng(1).permutation(place)]
    second = of(changed)
    net = first.names.index("elastic-net")
    others = np.delete(np.arange(len(learners)), net)
    np.testing.assert_allclose(second.base[rows][:, others], first.base[rows][:, others], atol=1e-9)
    # folds of the elastic net share one grid of penalties, as cv.glmnet's do
    assert np.corrcoef(second.base[rows, net], first.base[rows, net])[0, 1] > 0.95
    assert np.abs(second.base[first.inner == 2] - first.base[first.inner == 2]).max() > 1e-3


def test_a_learner_of_somebody_else_gets_everybody():
    made = people()
    registry.register(Learner("bayes", lambda gene: BayesianRidge(), "A regressor of scikit-learn"))
    try:
        whole, blocks = base(made[0], made, ("bayes",)), base(in_blocks(made[0]), made, ("bayes",))
    finally:
        del registry._REGISTRY["bayes"]
    np.testing.assert_allclose(blocks.base, whole.base, atol=1e-5)


def test_sums_of_folds():
    x, raw, _, _ = people()
    label = np.random.default_rng(0).integers(-1, 3, N)
    other = np.arange(N) % 2
    made = fold_sums(in_blocks(x), [label, other], [raw, raw**2])
    assert [len(parts) for parts in made] == [3, 2]
    for labels, y, parts in ((label, raw, made[0]), (other, raw**2, made[1])):
        for fold, part in enumerate(parts):
            right = Moments.of(x[labels == fold], y[labels == fold])
            assert np.array_equal(part.gram, right.gram) and np.array_equal(part.holes, right.holes)
            np.testing.assert_allclose(part.cross, right.cross, rtol=1e-10)


def test_gaps_are_filled_with_the_training_peoples_means():
    x, *_ = people()
    means = np.linspace(0, 2, M)
    filled = np.concatenate([part for _, part in in_blocks(x).filled(means)])
    np.testing.assert_allclose(filled, np.where(np.isnan(x), means, x).astype(np.float32))
    train = np.arange(N) < 1_000
    right, _ = fill_missing(x[train], x[~train])
    own = Moments.of(x[train], np.zeros(1_000)).mean
    np.testing.assert_allclose(in_blocks(x).columns(np.arange(5), own)[:1_000], right[:, :5], rtol=1e-6)
