"""What a random split of genes promises too much: whose windows overlap, and how it is said."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

from genopred.training.gene_inflation import gene_inflation, gene_inflation_lines, share_of_genes_seen
from genopred.training.genes import GENE_SCHEMA, GeneData, GeneSplit


def test_windows_that_overlap():
    rows = [("a", "a", "1", 0, "+", 0, 100), ("b", "b", "1", 0, "+", 99, 199), ("c", "c", "1", 0, "+", 199, 299)]
    rows.append(("d", "d", "2", 0, "+", 0, 100))
    genes = pl.DataFrame(rows, schema=GENE_SCHEMA, orient="row")
    data = GeneData(genes, ("x",), np.zeros((4, 1), np.float32), "tpm", np.zeros((4, 100), np.uint8))

    def seen(*parts):
        return share_of_genes_seen(data, GeneSplit("random", np.array(parts), np.zeros(4, np.int64), np.full(4, "")))

    assert seen("train", "test", "", "") == 1 and seen("train", "", "test", "") == 0
    assert seen("train", "test", "test", "test") == pytest.approx(1 / 3)


def test_both_networks_are_scored_on_their_own_and_on_the_same_genes():
    rng = np.random.default_rng(1)
    rows = [(f"g{i}", f"g{i}", "1", 0, "+", 1000 * i, 1000 * i + 100) for i in range(30)]
    genes = pl.DataFrame(rows, schema=GENE_SCHEMA, orient="row")
    data = GeneData(genes, ("x",), np.zeros((30, 1), np.float32), "tpm", np.zeros((30, 100), np.uint8))
    tests = {"random": np.arange(20), "block": np.arange(12, 30)}

    def task(name):
        part = np.where(np.isin(np.arange(30), tests[name]), "test", "train")
        split = GeneSplit(name, part, np.zeros(30, np.int64), np.full(30, ""))
        targets, said = rng.normal(size=(2, 30, 1))
        return SimpleNamespace(data=data, split=split, targets=targets, said=said, predict=lambda _, which: said[which])

    tasks = {name: task(name) for name in tests}
    row = gene_inflation(tasks["random"], None, tasks["block"], None).row(0, named=True)
    assert (row["genes_random"], row["genes_block"], row["genes_same"], row["seen"]) == (20, 18, 8, 0)
    for name, which in tests.items():
        for column, at in ((name, which), (f"{name}_same", np.arange(12, 20))):
            right = np.corrcoef(tasks[name].said[at, 0], tasks[name].targets[at, 0])[0, 1]
            assert row[column] == pytest.approx(right), column


def test_what_is_said():
    row = {"cell": "x", "random": 0.5, "block": 0.3, "random_same": 0.45, "block_same": 0.28, "seen": 0.61}
    row |= {"genes_random": 200, "genes_block": 180, "genes_same": 30}
    text = " ".join(gene_inflation_lines(pl.DataFrame([row])))
    assert "61% of its 200 test genes" in text and "0.500 on the test genes" in text and "same 30 genes: 0.450" in text
    none = pl.DataFrame([row | {"block_same": None}], schema_overrides={"block_same": pl.Float64})
    assert "Too few test genes are common" in " ".join(gene_inflation_lines(none))
