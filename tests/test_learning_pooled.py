"""Meta-learners over all genes: nothing of a held-out person reaches what predicts them."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from genopred.learning import pooled
from genopred.learning.pooled import ABOUT, BaseTables, Pooled
from genopred.learning.stack import METAS

GENES = ("a", "b", "c")
PEOPLE, FOLDS, INNER = 60, 3, 3


def table(seed: int) -> pl.DataFrame:
    """Base predictions as `learning.evaluate.nested_base` makes them: two learners, one of which is good."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(PEOPLE)
    good, noise = truth + rng.standard_normal(PEOPLE), rng.standard_normal(PEOPLE)
    outer = np.arange(PEOPLE) % FOLDS
    rows = []
    for fold in range(FOLDS):
        for person in range(PEOPLE):
            inner = -1 if outer[person] == fold else person % INNER
            rows.append((fold, inner, f"p{person}", truth[person], good[person], noise[person]))
    kinds = {"outer_fold": pl.Int32, "inner_fold": pl.Int32, "ridge": pl.Float32, "xgboost": pl.Float32}
    return pl.DataFrame(rows, schema=[*ABOUT, "ridge", "xgboost"], orient="row").with_columns(
        pl.col(name).cast(kind) for name, kind in kinds.items()
    )


@pytest.fixture
def tables():
    return {gene: table(seed) for seed, gene in enumerate(GENES)}


def bases(tables):
    return BaseTables(GENES, lambda gene: tables[gene].lazy())


def test_every_method_predicts_everyone_once(tables):
    every = bases(tables)
    predicted = Pooled(every, 1, None).predict("a")
    assert list(predicted) == ["ridge", "xgboost", *(f"stack-{name}" for name in METAS)]
    held = every.held_out("a")
    assert held.columns == list(ABOUT) and held["sample"].n_unique() == held.height == PEOPLE
    assert all(values.shape == (PEOPLE,) and np.isfinite(values).all() for values in predicted.values())
    r2 = {name: np.corrcoef(values, held["observed"])[0, 1] for name, values in predicted.items()}
    assert r2["ridge"] > 0.5 > abs(r2["xgboost"]) and r2["stack-nnls"] > 0.5


@pytest.mark.parametrize("name", METAS)
def test_held_out_people_have_no_part_in_what_predicts_them(tables, name):
    """Other measurements of a fold's held-out people change no prediction of that fold, in any gene."""
    before = {gene: Pooled(bases(tables), 1, None).predict(gene) for gene in GENES}
    changed = {
        gene: of.with_columns(
            observed=pl.when((pl.col("outer_fold") == 1) & (pl.col("inner_fold") < 0)).then(99.0).otherwise("observed")
        )
        for gene, of in tables.items()
    }
    after = Pooled(bases(changed), 1, None)
    fold = bases(tables).held_out("a")["outer_fold"].to_numpy() == 1
    assert fold.sum() == PEOPLE // FOLDS
    for gene in GENES:
        now = after.predict(gene)[f"stack-{name}"]
        np.testing.assert_array_equal(now[fold], before[gene][f"stack-{name}"][fold])


@pytest.mark.parametrize(("bound", "value"), [("CACHED_GENES", 1), ("CACHED_BYTES", 11_000)])
def test_tables_beyond_the_cache_are_read_again_and_give_the_same(tables, monkeypatch, bound, value):
    whole = Pooled(bases(tables), 1, None).predict("c")
    monkeypatch.setattr(pooled, bound, value)
    read = []
    every = BaseTables(GENES, lambda gene: read.append(gene) or tables[gene].lazy())
    again = Pooled(every, 1, None).predict("c")
    assert read.count("a") == 1 and read.count("c") > 1
    for name, values in whole.items():
        np.testing.assert_array_equal(values, again[name])
