"""Held-out genes: pooled over folds, by other runs and baselines, none of which sees a held-out gene's expression."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

from torch import nn

from genopred.errors import ModelError
from genopred.training import gene_baselines
from genopred.training.gene_baselines import BASELINES
from genopred.training.gene_heldout import (
    OTHER_CELLS,
    TRAINING_MEAN,
    GeneFold,
    HeldGenes,
    Method,
    baseline_methods,
    calibrated_method,
    compare_genes,
    predict_held,
    predict_other,
    prediction_table,
    what_can_be_seen,
)
from genopred.training.gene_scores import BETWEEN, gene_scores
from genopred.training.networks.gene import GeneShape
from genopred.training.simulate import simulate_genes

MADE = simulate_genes(300, before=180, after=20, segments=0, cells=3, seed=4)


class Counting(nn.Module):
    """Says its own number plus the share of A: which network predicted a gene can be read off."""

    differentiable, sizes, n_cells = True, {}, 3

    def __init__(self, number, cells=3, shape=None):
        super().__init__()
        self.number, self.n_cells = number, cells
        self.shape = shape or GeneShape(before=180, after=20)

    def forward(self, inputs):
        a = inputs.window[..., 0].mean(dim=1, keepdim=True)
        return (a + self.number).expand(-1, self.n_cells)


def folds(n=3, targets=None, cells=None):
    """Blocks of ten genes dealt to three folds; the next one validates."""
    fold = MADE.split.block % n
    targets = MADE.data.measured if targets is None else targets
    data = MADE.data if cells is None else replace(MADE.data, cells=cells, measured=targets)
    out = []
    for k in range(n):
        part = np.where(fold == k, "test", np.where(fold == (k + 1) % n, "validation", "train"))
        split = replace(MADE.split, part=part)
        out.append(GeneFold(str(k + 1), data, split, targets, Counting(10 * (k + 1), targets.shape[1])))
    return out


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(gene_baselines, "TREES", 10)
    monkeypatch.setattr(gene_baselines, "GRIDS", {name: grid[-2:] for name, grid in gene_baselines.GRIDS.items()})


def test_each_gene_is_predicted_by_the_network_that_held_it_out():
    held = HeldGenes("test", folds())
    assert sorted(held.genes["gene_id"]) == sorted(MADE.data.genes["gene_id"])
    values = predict_held(held)
    np.testing.assert_array_equal((values[:, 0] // 10).astype(int), held.fold.astype(int))
    order = held.genes["gene_id"].str.tail(5).cast(pl.Int64).to_numpy()
    np.testing.assert_allclose(held.measured, MADE.data.measured[order])
    np.testing.assert_array_equal(held.blocks, MADE.split.block[order])
    a = (MADE.data.codes[order] == 0).mean(axis=1)
    np.testing.assert_allclose(values[:, 2], a + 10 * held.fold.astype(int), rtol=1e-5)


def test_another_run_predicts_what_it_held_out_and_its_scale_is_brought_over():
    held = HeldGenes("test", folds())
    same = predict_other(held, "other", folds())
    np.testing.assert_allclose(same.values, predict_held(held))
    assert same.caution == ""
    # one network, whose test genes are those of the first fold
    single = predict_other(held, "single", folds()[:1])
    assert (single.values < 12).all()
    assert single.caution.startswith("had 200 of these 300 genes in its own training or validation")
    # another scale: z values of the first run are 2 x + 1 here, and the cell types stand in another order
    moved = (2 * MADE.data.measured[:, [2, 0]] + 1).astype(np.float32)
    names = MADE.data.cells
    other = predict_other(held, "moved", folds(targets=moved, cells=(names[2], names[0])))
    np.testing.assert_allclose(other.values[:, 0], (predict_held(held)[:, 0] - 1) / 2, rtol=1e-4)
    assert np.isnan(other.values[:, 1]).all() and np.isfinite(other.values[:, 2]).all()


def test_runs_that_cannot_be_compared():
    held = HeldGenes("test", folds())
    bent = np.exp(MADE.data.measured)
    with pytest.raises(ModelError, match="after another transform, of which no line leads"):
        predict_other(held, "bent", folds(targets=bent))
    with pytest.raises(ModelError, match="predicts none of the cell types: it has x, y, z"):
        predict_other(held, "other", folds(cells=("x", "y", "z")))
    few = [replace(f, data=replace(f.data, genes=f.data.genes.head(100))) for f in folds()]
    with pytest.raises(ModelError, match="has no data for 200 of 300 held-out genes"):
        predict_other(held, "few", few)


def test_a_network_that_diverged_is_told():
    broken = folds()
    broken[1].network.number = float("nan")
    with pytest.raises(ModelError, match="not finite for 100 of 300 genes"):
        predict_held(HeldGenes("test", broken))


@pytest.mark.parametrize("name", [*BASELINES, "mean"])
def test_no_baseline_sees_a_held_out_gene(name):
    """Expression of the held-out genes is changed: predictions stay, but for the mean that reads other cell types."""
    one = folds(1 + 1)[:1]
    changed = MADE.data.measured.copy()
    test = one[0].split.rows("test")
    one[0] = replace(one[0], split=replace(one[0].split, part=np.where(one[0].split.part == "test", "test", _half())))
    changed[test] = 100 * np.random.default_rng(1).normal(size=changed[test].shape)
    before = baseline_methods(name, HeldGenes("test", one))
    after = baseline_methods(name, HeldGenes("test", [replace(one[0], targets=changed)]))
    assert [m.name for m in before] == ([TRAINING_MEAN, OTHER_CELLS] if name == "mean" else [name])
    np.testing.assert_array_equal(before[0].values, after[0].values)
    if name == "mean":
        assert not np.allclose(before[1].values, after[1].values) and not before[1].between
    else:
        assert "chosen on validation genes" in before[0].about


def _half():
    """Of the training genes every fourth block validates."""
    return np.where(MADE.split.block % 4 == 1, "validation", "train")


def test_a_model_of_another_scale_is_calibrated_on_training_genes():
    held = HeldGenes("test", folds())
    score = MADE.data.measured[:, 1].astype(float) * 7 - 3
    method = calibrated_method("x", held, [MADE.data.cells[1]], [score] * 3, "about")
    np.testing.assert_allclose(method.values[:, 1], held.measured[:, 1], atol=1e-5)
    assert np.isnan(method.values[:, [0, 2]]).all()
    # what the held-out genes have says nothing of the line
    one = folds()[:1]
    targets = MADE.data.measured.copy()
    targets[one[0].split.rows("test")] *= -5
    again = calibrated_method("x", HeldGenes("test", [replace(one[0], targets=targets)]), held.cells[1:2], [score], "")
    np.testing.assert_array_equal(again.values[:, 1], method.values[held.fold == "1", 1])


def example():
    held = HeldGenes("test", folds())
    rng = np.random.default_rng(2)
    good, bad = (held.measured + s * rng.normal(size=held.measured.shape) for s in (0.5, 2.0))
    return held, [Method("good", good), Method("bad", bad), *baseline_methods("mean", held)]


def test_tables_of_a_comparison():
    held, methods = example()
    tables = compare_genes(held, methods, resamples=50, seed=1, draws=99)
    scores, differences, tests, each = (tables[name] for name in ("scores", "differences", "tests", "folds"))
    wanted = gene_scores(held.measured, methods[0].values, held.blocks, held.cells, resamples=50, seed=1)
    assert scores.filter(pl.col("model") == "good").drop("model", "split").equals(wanted)
    assert set(scores["split"]) == {"test"} and set(differences["against"]) == {"bad", TRAINING_MEAN, OTHER_CELLS}
    # what copies the gene says nothing of the differences between its cell types, and -1 of it would be an artefact
    assert scores.filter((pl.col("model") == OTHER_CELLS) & (pl.col("what") == BETWEEN)).height == 0
    flat = scores.filter((pl.col("model") == TRAINING_MEAN) & pl.col("metric").is_in(["pearson", "spearman"]))
    assert flat["estimate"].null_count() == flat.height
    assert tests.filter((pl.col("against") == TRAINING_MEAN) & (pl.col("test") == "blocks-r")).height == 0
    assert tests.filter((pl.col("against") == OTHER_CELLS) & (pl.col("what") == BETWEEN)).height == 0
    row = differences.filter((pl.col("against") == "bad") & (pl.col("metric") == "pearson")).row(0, named=True)
    assert row["estimate"] > 0 and row["detectable"] == pytest.approx(2.802 * row["se"])
    assert set(each["fold"]) == {"1", "2", "3"}
    said = " ".join(what_can_be_seen(held, tables))
    assert said.startswith("With 300 genes in 30 blocks the 95 % interval of Pearson r is 0.")
    assert "in single folds" in said and "would be missed in more than one of five" in said
    alone = compare_genes(HeldGenes("test", folds()[:1]), [Method("a", methods[0].values[:100])], resamples=9, seed=1)
    assert "folds" not in alone and alone["tests"].height == 0 and alone["differences"].height == 0


def test_table_of_predictions():
    held, methods = example()
    one = np.full_like(methods[0].values, np.nan)
    one[:, 1] = 3.0
    table = prediction_table(held, [methods[0], Method("x", one)])
    assert table.columns[-4:] == [
        *(f"predicted {cell}" for cell in MADE.data.cells),
        f"predicted {MADE.data.cells[1]} by x",
    ]
    np.testing.assert_allclose(table[f"measured {MADE.data.cells[0]}"], held.measured[:, 0])
