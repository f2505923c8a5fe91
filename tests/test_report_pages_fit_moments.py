"""The page of sites that were joined: sites left out, and what the sites were."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from genopred.align import Tally
from genopred.learning.evaluate import summarise
from genopred.pipelines.fit_moments_models import LOSO_SCHEMA
from genopred.report.pages.fit_moments import held_out_section, sites_section, write
from genopred.report.tables import GeneNames
from genopred.types import SCORE_SCHEMA

METHODS, GENES, SITES = ("ridge", "stack-linear"), ("ENSG00000000001.1", "ENSG00000000002.1"), ("north", "south")


def loso() -> pl.DataFrame:
    rows = []
    for s, site in enumerate(SITES):
        for g, gene in enumerate(GENES):
            for i, method in enumerate(METHODS):
                rows.append((site, gene, method, 200 + s, 0.1 + 0.2 * g + 0.01 * i, 0.3, 0.9, 0.8))
    return pl.DataFrame(rows, LOSO_SCHEMA, orient="row")


@dataclass
class Done:
    page: Path
    scores: pl.DataFrame
    summary: pl.DataFrame
    loso: pl.DataFrame
    report: object
    symbols: dict = field(default_factory=dict)


def test_sites_left_out_are_a_table_of_methods_and_one_of_genes():
    section = held_out_section(loso(), "stack-linear", GeneNames({"ENSG00000000002": "BEST"}))
    means, genes = (grid for grid, _ in section.tables)
    columns = [f"{what} in {site}" for site in SITES for what in ("R²", "r", "slope")]
    assert list(means.headings) == ["Method", *columns]
    assert [row[0].text for row in means.rows] == ["stack-linear", "ridge"]
    assert means.rows[0][1].text == "0.2100" and means.rows[1][1].value == 0.2
    assert [row[0].text for row in genes.rows] == ["BEST", "ENSG00000000001.1"]
    assert genes.rows[0][1].text == "0.310"


def test_the_sites_are_listed():
    section = sites_section([("north", 1200, 5, 3, 20)])
    assert [cell.text for cell in section.tables[0][0].rows[0]] == ["north", "1,200", "5", "3", "20"]


def test_the_page_is_whole(tmp_path):
    rows = [
        (gene, method, 400, 0.1 + 0.02 * g, 0.05, 0.2, 0.33, np.nan, 0.11, 0.9, np.nan)
        for g, gene in enumerate(GENES)
        for method in METHODS
    ]
    scores = pl.DataFrame(rows, SCORE_SCHEMA, orient="row")
    tally = Tally()
    tally.come("genes", "in any site", 2)
    done = Done(tmp_path / "report.html", scores, summarise(scores, "ridge"), loso(), tally.report())
    write(done, [("north", 200, 4, 2, 2), ("south", 201, 4, 2, 2)], {"stack": "stack-linear", "command": "genopred x"})
    html = done.page.read_text()
    for words in ("Sites left out", "Sites whose sums were added", "north", "Methods compared", "nan"):
        assert (words in html) == (words != "nan"), words
