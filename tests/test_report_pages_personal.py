"""What the page of a tuned model says."""

from __future__ import annotations

import polars as pl
from test_report_figures_personal import table

from genopred.align import Tally
from genopred.report.pages.personal import grid, reading, write


def test_in_words():
    seen, unseen = reading(table())
    assert seen.startswith("New people, genes it was tuned on: mean r +0.250 (+0.210 to +0.290), more than nothing")
    assert (
        "It is better than" not in seen
        and "not told apart from an elastic net" not in seen
        or "a difference of" in seen
    )
    assert (
        unseen.startswith("New people, genes it never saw: mean r +0.150")
        and "has seen what the network has not" in unseen
    )
    worse = table().with_columns(low=pl.lit(-0.1), delta_high=pl.lit(-0.01))
    assert "not told apart from nothing" in reading(worse)[0] and "worse than an elastic net" in reading(worse)[0]


def test_the_table_and_the_page(tmp_path):
    made, caption = grid(table())
    assert len(made.rows) == 12 and len(made.headings) == len(made.rows[0]) and "the same people" in caption
    of_gene = pl.DataFrame(
        {"gene_id": ["g"], "genes": ["seen"], "people": ["unseen"], "variants": [3], "r_tuned": [0.2]}
    )
    tally = Tally()
    tally.come("genes", "in a file", 1)
    files = write(
        tmp_path / "p.html", tmp_path / "f.svg", table(), of_gene, tally.report(), {"command": "genopred train"}
    )
    assert [file.name for file in files] == ["f.svg", "p.html"]
    assert "A sequence model tuned on people" in (tmp_path / "p.html").read_text()
