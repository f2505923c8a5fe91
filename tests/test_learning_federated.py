"""Sums of sites joined, against the same people put together, site by site and pooled."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from genopred.errors import ModelError
from genopred.genetics.moments import Moments, Weights, total
from genopred.genetics.regression import marginal_sums
from genopred.genetics.transform import Residualiser
from genopred.learning import evaluate, stack
from genopred.learning.federated import (
    Joining,
    accuracy,
    fewer_folds,
    fit,
    of_method,
    plain_moments,
    products,
    split,
    stack_moments,
    stack_weights,
    told_apart,
    with_stack,
    without_folds,
)
from genopred.learning.learners import GeneContext, Learner, find

FOLDS = 4
COMMON = Joining("common", "common")


class Site:
    """People of a site, their folds, and their sums."""

    def __init__(self, seed, n, level=0.0, m=12, k=2):
        rng = np.random.default_rng(seed)
        shared = rng.integers(0, 3, (n, 1))
        own = rng.binomial(2, 0.2 + 0.1 * level, (n, m))
        self.x = np.where(rng.random((n, m)) < 0.4, shared, own).astype(np.float64)
        self.c = rng.standard_normal((n, k)) + 3 * level
        self.y = 10 * level + self.x[:, :2] @ [0.5, -0.4] + self.c @ np.linspace(0.5, 1, k) + rng.standard_normal(n)
        self.fold = rng.permutation(n) % FOLDS
        self.sums = [self.of(self.fold == k) for k in range(FOLDS)]

    def of(self, rows):
        return Moments.of(self.x[rows], self.y[rows], self.c[rows])


def sites(seed=0, **others):
    return [Site(seed, 90, **others), Site(seed + 100, 130, 1.0, **others), Site(seed + 200, 70, 0.5, **others)]


def sums(of):
    return [site.sums for site in of]


def standardised(y, c, train):
    """Outcome without covariates, in units of the training people."""
    left = Residualiser().fit(y[train], c[train]).transform(y, c)
    return (left - left[train].mean()) / left[train].std()


def same(a, b):
    assert a.n == b.n and (a.covariates, a.outcomes) == (b.covariates, b.outcomes) == (0, 1)
    for name in ("gram", "sums", "cross", "square", "totals"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-8, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("seed", range(3))
def test_common_is_the_pooled_cohort(seed):
    of = sites(seed)
    x, c, y, fold = (np.concatenate([getattr(site, name) for site in of]) for name in ("x", "c", "y", "fold"))
    for out in (None, 0, 3):
        made = split(sums(of), COMMON, fold=out)
        target = standardised(y, c, fold != out)
        inside = [k for k in range(FOLDS) if k != out]
        for part, k in zip(made.folds, inside, strict=True):
            same(part, Moments.of(x[fold == k], target[fold == k]))
        if out is not None:
            same(total(made.held), Moments.of(x[fold == out], target[fold == out]))
    where = np.repeat(np.arange(3), [len(site.y) for site in of])
    made, target = split(sums(of), COMMON, site=1), standardised(y, c, where != 1)
    same(total(made.folds), Moments.of(x[where != 1], target[where != 1]))
    same(total(made.held), Moments.of(x[where == 1], target[where == 1]))


@pytest.mark.parametrize("seed", range(3))
def test_site_by_site_each_is_centred_and_scaled_by_its_own_people(seed):
    of = sites(seed)
    for out in (None, 2):
        made = split(sums(of), Joining(), fold=out)
        train = [site.fold != out for site in of]
        everybody = np.concatenate([site.x[rows] for site, rows in zip(of, train)]).mean(axis=0)
        moved = [site.x - site.x[rows].mean(axis=0) + everybody for site, rows in zip(of, train)]
        target = [standardised(site.y, site.c, rows) for site, rows in zip(of, train)]
        for part, k in zip(made.folds, [k for k in range(FOLDS) if k != out], strict=True):
            rows = [site.fold == k for site in of]
            x = np.concatenate([one[of_fold] for one, of_fold in zip(moved, rows)])
            same(part, Moments.of(x, np.concatenate([one[of_fold] for one, of_fold in zip(target, rows)])))
        for s, part in enumerate(made.held):
            rows = of[s].fold == out
            same(part, Moments.of(moved[s][rows], target[s][rows]))
    made = split(sums(of), Joining(), site=0)
    stranger = standardised(of[0].y, of[0].c, np.ones(90, dtype=bool))
    trained = np.concatenate([of[1].x, of[2].x]).mean(axis=0)
    same(total(made.held), Moments.of(of[0].x - of[0].x.mean(axis=0) + trained, stranger))


def test_levels_that_differ_between_sites_are_no_association_site_by_site():
    """Frequencies and expression are both higher at one site; within sites nothing goes with anything."""
    rng = np.random.default_rng(5)
    people = []
    for level in (0.0, 1.0):
        x, y = rng.binomial(2, 0.2 + 0.5 * level, (400, 3)), rng.standard_normal(400) + 5 * level
        people.append([Moments.of(x[i::FOLDS], y[i::FOLDS]) for i in range(FOLDS)])
    z = [marginal_sums(total(split(people, how).folds)).tstat for how in (Joining(), COMMON)]
    assert np.abs(z[0]).max() < 4 and np.abs(z[1]).min() > 10


def test_covariates_of_a_site_are_its_own_whatever_the_others_have():
    one, other = Site(1, 90, k=2), Site(2, 120, k=4)
    made = split([one.sums, other.sums], Joining(scale="common"))
    left = [Residualiser().fit(site.y, site.c).transform(site.y, site.c) for site in (one, other)]
    # the level of each site stays, as expression has it at the mean of the covariates
    level = np.concatenate([part - part.mean() + site.y.mean() for part, site in zip(left, (one, other))])
    target = (level - level.mean()) / level.std()
    same(total(made.folds), Moments.of(np.concatenate([one.x, other.x]), target))


def test_what_cannot_be_learned_is_refused():
    many = Site(3, 60, k=45)
    with pytest.raises(ModelError, match="45 covariates leave no degrees of freedom in 45 training people"):
        split([many.sums], Joining(), fold=0)
    flat = [Moments.of(np.eye(8), np.ones(8)) for _ in range(FOLDS)]
    with pytest.raises(ModelError, match="does not vary"):
        split([flat, flat], Joining())


def test_the_order_of_sites_changes_rounding_alone():
    of = sites(4)
    for how in (Joining(), COMMON, Joining("common", "site"), Joining("site", "common")):
        one, other = split(sums(of), how, fold=1), split(sums(of[::-1]), how, fold=1)
        for a, b in zip(one.folds, other.folds, strict=True):
            same(a, b)
        for a, b in zip(one.held, other.held[::-1], strict=True):
            same(a, b)


def test_fewer_folds_are_the_same_people():
    whole = Site(5, 100).sums
    made = fewer_folds(whole, 3)
    assert [part.n for part in made] == [whole[0].n + whole[3].n, whole[1].n, whole[2].n]
    one = total(whole)
    again = plain_moments(one.n, one.gram, one.sums, one.cross, one.square, one.totals)
    assert again.covariates == 2 and again.outcomes == 1 and not len(again.holes)
    assert np.array_equal(total(made).gram, again.gram)


# --- fits ------------------------------------------------------------------------------------------------------------


class Least:
    """Least squares of the people whom sums stand for; an oracle that shares nothing with the library's learners."""

    def fit_sums(self, whole, folds=()):
        def solve(people):
            c = people.centred()
            coef = np.linalg.solve(c.gram + np.eye(len(c.gram)), c.cross)
            return Weights(coef, c.y_mean - float(c.mean @ coef))

        self.coef_, self.intercept_ = solve(whole)
        return [solve(whole - fold) for fold in folds]


LEAST = Learner("least", lambda gene: Least(), "least squares", linear=True)


def context(m):
    return GeneContext(np.arange(1, m + 1) * 1000, 3000)


def predictions(coef, start, x):
    return x @ coef + start


def test_products_are_those_of_the_people():
    site = sites()[0]
    rng = np.random.default_rng(0)
    models = [Weights(rng.standard_normal(12), float(i)) for i in range(3)]
    columns = [np.ones(90), site.y, *(predictions(*model, site.x) for model in models)]
    table = np.column_stack(columns)
    np.testing.assert_allclose(products(Moments.of(site.x, site.y), models), table.T @ table, rtol=1e-10)


def test_a_fit_is_that_of_the_people_and_out_of_fold():
    of = sites(1)
    made = split(sums(of), COMMON, fold=2)
    fits = fit(made, [LEAST, find("ridge")], context(12))
    x, c, y, fold = (np.concatenate([getattr(site, name) for site in of]) for name in ("x", "c", "y", "fold"))
    train = fold != 2
    target = standardised(y, c, train)
    ridge = find("ridge").make(context(12)).fit(x[train], target[train])
    np.testing.assert_allclose(fits.coef[:, 1], ridge.coef_, rtol=1e-3, atol=1e-4)
    assert fits.names == ("least", "ridge") and fits.n == int(train.sum()) and abs(fits.mean) < 1e-10
    oof = np.empty(len(y))
    for k in (0, 1, 3):
        own = Least()
        own.fit_sums(Moments.of(x[train & (fold != k)], target[train & (fold != k)]))
        oof[fold == k] = predictions(own.coef_, own.intercept_, x[fold == k])
    table = np.column_stack([target[train], oof[train]])
    table = evaluate.GeneResult(
        ("least",), np.zeros(len(table)), fold[train], np.arange(len(table)), *table.T[:, :, None]
    )
    one = table.gene_fold(0)
    expected = np.column_stack([one.y.ravel(), one.oof.ravel()])
    np.testing.assert_allclose(fits.oof[:2, :2], expected.T @ expected, rtol=1e-8)
    blocks = [np.column_stack([np.ones(mask.sum()), target[mask]]) for mask in _held(of)]
    for block, held in zip(blocks, fits.held, strict=True):
        np.testing.assert_allclose(held[:2, :2], block.T @ block, rtol=1e-8)


def _held(of):
    """Masks over all people: those in fold 2 of each site."""
    where = np.repeat(np.arange(len(of)), [len(site.y) for site in of])
    fold = np.concatenate([site.fold for site in of])
    return [(where == s) & (fold == 2) for s in range(len(of))]


def test_one_fold_has_nothing_out_of_fold():
    parts = [[total(site.sums)] for site in sites(2)]
    fits = fit(split(parts, Joining(), site=0), [LEAST], context(12))
    assert not fits.oof.any() and fits.held.shape == (1, 3, 3)
    assert fit(split(parts, Joining()), [LEAST], context(12)).held.shape == (0, 3, 3)


def test_accuracy_is_that_of_the_people():
    rng = np.random.default_rng(3)
    y, p = rng.standard_normal(300), rng.standard_normal(300)
    p = 0.4 * y + 0.3 * p + 0.1
    table = np.column_stack([np.ones(300), y, p])
    parts = [table[i::6] for i in range(6)]
    found = accuracy(np.stack([part.T @ part for part in parts]))
    people = evaluate.scores("g", y, {"p": p}, resamples=10).row(0, named=True)
    for key in ("n", "r2", "pearson", "signed_r2", "mse"):
        assert found[key] == pytest.approx(people[key], rel=1e-10)
    assert found["slope"] == pytest.approx(LinearRegression().fit(p[:, None], y).coef_[0])
    left = []
    for i in range(6):
        others = np.concatenate([part for j, part in enumerate(parts) if j != i])
        left.append(1 - ((others[:, 1] - others[:, 2]) ** 2).sum() / ((others[:, 1] - others[:, 1].mean()) ** 2).sum())
    error = np.sqrt(5 / 6 * ((np.array(left) - np.mean(left)) ** 2).sum())
    assert found["r2_high"] - found["r2_low"] == pytest.approx(2 * 2.5705818 * error, rel=1e-6)
    assert np.isnan(accuracy(np.stack([parts[0].T @ parts[0]]))["r2_low"])


def test_the_interval_covers_what_is_true():
    """95 % of intervals hold the R² of endless people, within what chance allows in 300 of them."""
    rng, hits = np.random.default_rng(11), 0
    for _ in range(300):
        y = rng.standard_normal(400)
        p = 0.25 * (0.5 * y + np.sqrt(0.75) * rng.standard_normal(400))
        table = np.column_stack([np.ones(400), y, p])
        found = accuracy(np.stack([table[i::10].T @ table[i::10] for i in range(10)]))
        hits += found["r2_low"] < 1 - (1 - 2 * 0.125 + 0.0625) < found["r2_high"]
    assert 270 <= hits <= 297


def test_what_does_not_vary_predicts_nothing():
    table = np.column_stack([np.ones(50), np.arange(50.0), np.full(50, 3.0)])
    found = accuracy((table.T @ table)[None])
    assert found["pearson"] == 0.0 and np.isnan(found["slope"]) and found["r2"] < 0


# --- the stack -------------------------------------------------------------------------------------------------------


def gene_fold(seed, b=3):
    rng = np.random.default_rng(seed)
    fold, y = np.arange(150) % 3, 2.0 * rng.standard_normal(150)
    oof = np.column_stack([0.3 * y + rng.standard_normal(150) for _ in range(b)])
    rows = [(fold, y, oof)]
    result = evaluate.GeneResult(tuple("abc"[:b]), np.zeros(150, dtype=int), fold, np.arange(150), y, oof)
    parts = []
    for k in range(3):
        table = np.column_stack([np.ones(50), y[fold == k], oof[fold == k]])
        parts.append(table.T @ table)
    return rows, result.gene_fold(0), without_folds([part[None] for part in parts])


def test_the_stack_learns_from_sums_what_it_learns_from_people():
    made = [gene_fold(seed) for seed in range(3)]
    people = stack.Moments.of([one for _, one, _ in made])
    ours = stack_moments(("a", "b", "c"), [(oof, 150) for _, _, oof in made])
    np.testing.assert_allclose(ours.gram, people.gram, rtol=1e-9)
    np.testing.assert_allclose(ours.cross, people.cross, rtol=1e-9)
    assert ours.rows == people.rows
    meta = stack.make_meta("linear", "abc").fit(lambda: (one for _, one, _ in made))
    np.testing.assert_allclose(stack_weights(ours, None), meta.weights_, rtol=1e-6, atol=1e-9)


def test_the_prior_counts_as_in_the_stack():
    prior = stack.shipped()
    names = prior.moments.names[:3]
    made = [gene_fold(seed) for seed in range(2)]
    renamed = [evaluate.GeneFold(names, one.oof, one.y, one.test, one.mean) for _, one, _ in made]
    meta = stack.make_meta("linear", names, prior=prior).fit(lambda: renamed)
    ours = stack_moments(names, [(oof, 150) for _, _, oof in made])
    np.testing.assert_allclose(stack_weights(ours, prior), meta.weights_, rtol=1e-6, atol=1e-9)
    unknown = stack_moments(("x", "y", "z"), [(oof, 150) for _, _, oof in made])
    np.testing.assert_allclose(stack_weights(unknown, prior), stack_weights(unknown, None))


def test_without_people_the_stack_is_the_prior_or_the_mean():
    empty = stack_moments(("a", "b"), [(np.zeros((3, 3)), 0)])
    assert stack_weights(empty, None).tolist() == [0.5, 0.5]
    names = stack.shipped().moments.names[:2]
    assert stack_weights(stack_moments(names, [(np.zeros((3, 3)), 0)]), stack.shipped()).max() > 0


def test_the_stack_predicts_the_weighted_sum():
    rng = np.random.default_rng(2)
    y, p = rng.standard_normal(40), rng.standard_normal((40, 2))
    table = np.column_stack([np.ones(40), y, p])
    weights, mean = np.array([0.3, 0.4]), 0.7
    stacked = mean + (p - mean) @ weights
    made = of_method(with_stack((table.T @ table)[None], weights, mean), 2)[0]
    expected = np.column_stack([np.ones(40), y, stacked])
    np.testing.assert_allclose(made, expected.T @ expected, rtol=1e-10)


# --- what sums tell --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_who_is_told_apart_is_read_off_by_subtraction(seed):
    """Differences of the sums of variants at distance 1 are somebody's genotypes: of all who are told apart."""
    rng = np.random.default_rng(seed)
    x = np.repeat(rng.integers(0, 3, (60, 6)), 5, axis=1).astype(float)
    for j in range(0, 30, 2):  # one person, or two, have one copy more or less of every second variant
        for who in rng.choice(60, 1 + j % 4 // 2, replace=False):
            x[who, j] += 1 if x[who, j] < 2 else -1
    x[:, 1] = 2 - x[:, 1]  # counted the other way round
    gram, found = x.T @ x, set()
    for i in range(30):
        for j in range(i):
            for a in (x[:, i], 2 - x[:, i]):
                if ((a - x[:, j]) ** 2).sum() == 1:
                    found.add(int(np.abs(a - x[:, j]).argmax()))
    told = told_apart(x, gram)
    assert set(np.flatnonzero(told).tolist()) == found and 3 < len(found) < 60
    own = np.diag(gram)
    pairs = np.argwhere(np.triu(own[:, None] + own - 2 * gram == 1, 1))
    assert len(pairs)
    for i, j in pairs:
        row = np.abs(gram[i] - gram[j])
        assert any(told[k] and np.array_equal(row, x[k]) for k in range(60))
