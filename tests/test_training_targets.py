"""Targets: each transform against a plain one, batches, and that test genes have no say."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

from genopred.errors import GenopredError
from genopred.genetics.transform import quantile_normalise, rpkm, tpm, zscore
from genopred.settings.expression import Expression
from genopred.training.genes import GENE_SCHEMA, GeneData, GeneSplit
from genopred.training.targets import Transform, make_targets

G, C = 90, 4


def data_of(measured, unit="tpm", bases=None):
    n = len(measured)
    cells = tuple(f"c{i}" for i in range(measured.shape[1]))
    codes = np.zeros((n, 10), dtype=np.uint8)
    return GeneData(pl.DataFrame(schema=GENE_SCHEMA), cells, measured.astype(np.float32), unit, codes, bases=bases)


def split_of(n=G):
    part = np.array(["train", "train", "validation", "test", "train", ""] * (n // 6))
    return GeneSplit("block", part, np.zeros(n, dtype=np.int64), np.full(n, ""))


@pytest.fixture
def measured():
    rng = np.random.default_rng(1)
    return np.round(rng.gamma(0.7, 50, (G, C)) * np.array([1, 2, 3, 0.5]))


TRAIN = split_of().rows("train")


def test_log_quantile_z_against_plain_ones(measured):
    how = Expression(file="x", transform=["log", "quantile", "z"])
    transform, targets = make_targets(data_of(measured), split_of(), how)
    plain = np.log1p(measured[TRAIN])
    plain = quantile_normalise(plain.T).T
    np.testing.assert_allclose(targets[TRAIN], zscore(plain, axis=0), atol=1e-5)
    np.testing.assert_allclose(targets[TRAIN].mean(axis=0), 0, atol=1e-5)
    # others lie between the training genes that they lie between
    order = np.argsort(measured[:, 0])
    assert (np.diff(targets[order, 0]) >= -1e-6).all()
    again = Transform.from_json(json.loads(json.dumps(transform.to_json())))
    assert again == transform
    np.testing.assert_allclose(again.apply(measured), targets, atol=1e-5)


@pytest.mark.parametrize("make", ["cpm", "tpm", "rpkm", "fpkm"])
def test_counts(measured, make):
    bases = np.linspace(500, 5000, G)
    how = Expression(file="x", unit="counts", make=make, transform=[])
    _, targets = make_targets(data_of(measured, "counts", bases), split_of(), how)
    counts = measured[TRAIN].T
    expected = {
        "cpm": counts / counts.sum(axis=1, keepdims=True) * 1e6,
        "tpm": tpm(counts, bases[TRAIN]),
        "rpkm": rpkm(counts, bases[TRAIN]),
        "fpkm": rpkm(counts, bases[TRAIN]),
    }[make]
    np.testing.assert_allclose(targets[TRAIN], expected.T, rtol=1e-5)


def test_counts_need_lengths(measured):
    with pytest.raises(GenopredError, match=r"expression\.make = 'tpm' needs the lengths of genes"):
        make_targets(data_of(measured, "counts"), split_of(), Expression(file="x", unit="counts", make="tpm"))


@pytest.mark.parametrize("batches", [None, ["a", "a", "b", "b"]])
@pytest.mark.parametrize("unit", ["tpm", "counts"])
def test_other_genes_change_nothing_of_the_training_genes(measured, unit, batches):
    """Nor test genes anything of the validation genes."""
    if batches:
        pytest.importorskip("inmoose")
    how, split = Expression(file="x", unit=unit, transform=["log", "quantile", "z"]), split_of()
    transform, targets = make_targets(data_of(measured, unit), split, how, batches)
    changed = measured.copy()
    changed[(split.part == "test") | (split.part == "")] *= 37
    other, moved = make_targets(data_of(changed, unit), split, how, batches)
    assert other == transform
    for name in ("train", "validation"):
        np.testing.assert_array_equal(moved[split.rows(name)], targets[split.rows(name)])
    assert (moved[split.rows("test")] != targets[split.rows("test")]).any()


def test_combat_removes_a_planted_shift():
    pytest.importorskip("inmoose")
    rng = np.random.default_rng(2)
    level = rng.normal(3, 1, (G, 1))
    clean = level + 0.2 * rng.standard_normal((G, 8))
    batches = ["a"] * 4 + ["b"] * 4
    shifted = clean + np.where(np.array(batches) == "b", rng.normal(1.5, 0.3, (G, 1)), 0)
    how = Expression(file="x", transform=["log"])
    _, targets = make_targets(data_of(np.expm1(shifted)), split_of(), how, batches)
    for name in ("train", "validation", "test"):
        rows = split_of().rows(name)
        before = np.abs(shifted[rows, 4:].mean(axis=1) - shifted[rows, :4].mean(axis=1)).mean()
        after = np.abs(targets[rows, 4:].mean(axis=1) - targets[rows, :4].mean(axis=1)).mean()
        assert before > 1.3 and after < 0.15
        # what is a gene's own stays
        assert np.corrcoef(targets[rows].mean(axis=1), shifted[rows].mean(axis=1))[0, 1] > 0.99


def test_combat_is_what_inmoose_gives():
    pycombat = pytest.importorskip("inmoose.pycombat")
    rng = np.random.default_rng(3)
    values, batches = rng.gamma(2, 2, (G, 6)), ["a", "a", "a", "b", "b", "b"]
    _, targets = make_targets(data_of(values), split_of(), Expression(file="x", transform=["log"]), batches)
    expected = pycombat.pycombat_norm(np.log1p(values.astype(np.float32).astype(float)[TRAIN]), batches)
    np.testing.assert_allclose(targets[TRAIN], expected, atol=1e-5)


def test_missing_values_stay_missing(measured):
    measured[3, 1] = measured[7, 1] = np.nan
    _, targets = make_targets(data_of(measured), split_of(), Expression(file="x", transform=["log", "quantile", "z"]))
    assert np.isnan(targets[[3, 7], 1]).all() and np.isnan(targets).sum() == 2


@pytest.mark.parametrize(
    ("change", "batches", "said"),
    [
        (lambda x: np.where(np.arange(C) == 1, 0, x), None, r"1 of 4 cell types have no expression.*\(c1\)"),
        (lambda x: np.where(np.arange(C) == 1, 5, x), None, r"1 cell types have the same value.*\(c1\)"),
        (lambda x: x, ["a", "a", "a", "b"], r"2 batches of 4 cell types, of which 1 have a single one \(b\)"),
        (lambda x: x, ["a"] * 4, "ComBat needs two batches"),
        (lambda x: np.where(np.arange(G)[:, None] == 2, np.nan, x), ["a", "a", "b", "b"], "there are missing values"),
    ],
)
def test_bad_expression(measured, change, batches, said):
    with pytest.raises(GenopredError, match=said):
        make_targets(data_of(change(measured)), split_of(), Expression(file="x"), batches)
