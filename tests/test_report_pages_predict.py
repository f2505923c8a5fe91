"""The section on models applied to people kept aside."""

from __future__ import annotations

import numpy as np
import polars as pl

from genopred.report.page import render_page
from genopred.report.pages.predict import aside_line, aside_section
from genopred.report.tables import GeneNames
from genopred.types import PREDICTION_SCHEMA

GENES = pl.DataFrame(
    [(f"ENSG0000000000{i}.1", 0.1 * i, 0.05 * i, 0.0, 0.3, 0.4) for i in range(1, 6)],
    ["gene_id", "promised", "reached", "low", "high", "pearson"],
    orient="row",
)
PEOPLE = [f"P{i}" for i in range(12)]


def predictions() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        (gene, person, 0, "stack-linear", float(rng.normal()), float(rng.normal()))
        for gene in GENES["gene_id"]
        for person in PEOPLE
    ]
    return pl.DataFrame(rows, schema=PREDICTION_SCHEMA, orient="row")


def test_the_sentence_says_both_means():
    line = aside_line(GENES, 12)
    assert "12 people" in line and "5 genes" in line and "15.0 %" in line and "30.0 %" in line


def test_the_best_genes_are_drawn_and_all_are_listed():
    names = GeneNames({"ENSG00000000005": "BEST"})
    section = aside_section(GENES, predictions(), 12, "OUT/models", names)
    assert len(section.figures) == 3 and "BEST" in section.figures[0][1]
    assert section.tables[0][0]["Gene"].to_list() == GENES["gene_id"].to_list()[::-1]
    html = render_page(title="x", sections=[section], names=names)
    assert "Models applied to people kept aside" in html and "OUT/models" in html
