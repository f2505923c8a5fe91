"""The page of evaluated genes: that it has its figures, what its tables and captions say."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

from genopred.report.figures_genes import Along
from genopred.report.pages import evaluate_genes as page
from genopred.training.gene_heldout import Method, compare_genes
from genopred.training.gene_tests import CAUTIONS

N, CELLS = 240, ("liver", "brain", "blood")


def shown(cells=CELLS, others=True, folds=2, profile=True) -> page.ShownGenes:
    rng = np.random.default_rng(1)
    c = len(cells)
    y = rng.normal(size=(N, 1)) + 0.5 * rng.normal(size=(N, c))
    block = np.arange(N) // 10
    genes = pl.DataFrame({"gene_id": [f"ENSG{i:011d}" for i in range(N)], "gene_name": [f"G{i}" for i in range(N)]})
    fold = (block % folds).astype(str)
    held = SimpleNamespace(name="test", measured=y, blocks=block, fold=fold, folds=range(folds), cells=cells)
    one = np.full((N, c), np.nan)
    one[:, 0] = y[:, 0] + rng.normal(size=N)
    methods = [Method("net", 0.5 * y + 0.4 * rng.normal(size=y.shape), "hybrid")]
    if others:
        methods += [
            Method("ridge", 0.3 * y + 0.5 * rng.normal(size=y.shape), "k-mers"),
            Method("flat", np.zeros_like(y), "one number", flat=True),
            Method("xpresso liver", one, "weights"),
        ]
    edges = np.arange(-100, 51, 10)
    rows = [("attention", int(a), int(a) + 10, 1.0, 0.9, 1.1) for a in edges[:-1]] if profile else []
    schema = {"kind": pl.String, "start": pl.Int64, "end": pl.Int64} | dict.fromkeys(
        ("share", "low", "high"), pl.Float64
    )
    table = pl.DataFrame(rows, schema=schema, orient="row")
    along = Along(table, edges, np.full(15, 0.4), None, "TEF", {"attention": np.ones(15)} if profile else {}, ())
    return page.ShownGenes(
        title="net on test genes",
        reading=("What was evaluated.",),
        notes=("Beware.",),
        unit="z of log(1 + tpm)",
        split="test",
        cells=cells,
        genes=genes,
        measured=y,
        predicted={m.name: m.values for m in methods},
        about={m.name: m.about for m in methods},
        tables=compare_genes(held, methods, resamples=30, seed=1, draws=99),
        along=along,
        cautions=CAUTIONS,
        info={"split": "test"},
    )


def test_the_page_has_five_figures_and_says_what_tests_ignore(tmp_path):
    files = page.write(tmp_path, shown())
    assert [file.name for file in files] == [
        *(f"{name}.svg" for name in ("density", "errors", "cells", "methods", "positions")),
        "evaluate.html",
    ]
    html = (tmp_path / "evaluate.html").read_text()
    for words in (
        "Beware.", "What was evaluated.", "z of log(1 + tpm)", "Rings: single folds", "Unseen below", "values, liver",
        "ignores that cell types share their genes", "Repeated-measures ANOVA", "chosen without looking",
        "Predicts liver alone", "Tests with whole blocks of genes flipped",
    ):  # fmt: skip
        assert words in html, words
    assert "http://" not in html.replace("http://www.w3.org", "")


def test_one_cell_type_one_method_no_folds_no_profile(tmp_path):
    files = page.write(tmp_path, shown(("liver",), others=False, folds=1, profile=False), figures="none")
    assert [file.name for file in files] == ["evaluate.html"]
    html = (tmp_path / "evaluate.html").read_text()
    assert "Methods compared" not in html and "Along the sequence" not in html and "Rings" not in html
    assert "r between cell types [" not in html


def test_one_cell_type_and_others(tmp_path):
    page.write(tmp_path, shown(("liver",)), figures="none")
    assert "xpresso liver" in (tmp_path / "evaluate.html").read_text()


def test_tables_are_rounded_and_named():
    made = shown()
    grid, caption = page._score_table(made, "net")
    assert [row[0].text for row in grid.rows] == [*CELLS, "mean over cell types"]
    scores = made.tables["scores"].filter((pl.col("model") == "net") & (pl.col("metric") == "r2"))
    assert grid.rows[0][3].value == pytest.approx(scores["estimate"][0]) and "blocks of genes" in caption
    grid, _ = page._difference_table(made)
    assert [[cell.text for cell in row[:2]] for row in grid.rows] == [
        ["ridge", "values"],
        ["ridge", "between cell types"],
        ["flat", "values"],
        ["flat", "between cell types"],
        ["xpresso liver", "values, liver"],
    ]
    assert all(len(row) == len(grid.headings) for row in grid.rows)
    for grid, _ in page._test_tables(made):
        assert all(len(row) == len(grid.headings) for row in grid.rows)
