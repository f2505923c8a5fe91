"""The page of `genopred associate`: every gene in the table, pictures of each trait, what is not known left blank."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest

from genopred.pipelines.associate import COLUMNS
from genopred.report.pages import associate as page_module
from genopred.report.pages.associate import write_association_page
from genopred.types import MatchReport

COUNTS = [("genes", "in", "in models", 4, ""), ("genes", "used", "tested", 4, "")]
REPORT = MatchReport(pl.DataFrame(COUNTS, schema=MatchReport.SCHEMA, orient="row"))


def table(trait="height", placed=True, n=4):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        p = 1e-9 if i == 0 else float(rng.uniform(0.05, 1))
        place = (f"chr{i % 2 + 1}", 1_000_000 * (i + 1)) if placed else (None, None)
        known = (10, 8, 0.8, 0.2) if placed else (None, None, None, None)
        rows.append((trait, f"ENSG0000000000{i}.1", "GENE<0>" if i == 0 else None, *place, 500, 0.1, 0.02, 5.0, p,
                     min(1.0, p * n), *known))  # fmt: skip
    kinds = dict.fromkeys(COLUMNS, pl.Float64) | dict.fromkeys(("trait", "gene_id", "gene_name", "chrom"), pl.String)
    kinds |= dict.fromkeys(("tss", "n", "variants", "used"), pl.Int64)
    return pl.DataFrame(rows, schema=kinds, orient="row")


def write(tmp_path, whole):
    figures = tmp_path / "figures"
    figures.mkdir(exist_ok=True)
    files = write_association_page(tmp_path / "report.html", figures, whole, REPORT, {"command": "x", "lead": ["line"]})
    return files, (tmp_path / "report.html").read_text()


def test_every_trait_and_gene_is_shown(tmp_path):
    files, html = write(tmp_path, pl.concat([table("height"), table("body/mass")]))
    assert {file.name for file in files} == {"report.html", "height.manhattan.svg", "height.qq.svg",
                                             *(f.name for f in files if f.name.startswith("body"))}  # fmt: skip
    assert len(files) == 5 and all(file.is_file() and file.parent.name in ("figures", tmp_path.name) for file in files)
    for i in range(1, 4):
        assert html.count(f"ENSG0000000000{i}") >= 2
    assert "GENE&lt;0&gt;" in html and "GENE<0>" not in html
    assert "80.0%" in html and "1:1,000,000" in html and "height" in html and "body/mass" in html
    assert not re.search(r"https?://(?!www\.w3\.org)[^\s\"'<]*\.(js|css|woff)", html)  # nothing from elsewhere


def test_what_is_not_known_is_left_blank(tmp_path):
    files, html = write(tmp_path, table(placed=False))
    assert [file.name for file in files] == ["report.html", "height.qq.svg"]
    assert ">None<" not in html and ">nan<" not in html and "NaN%" not in html


def test_genes_without_a_test_are_shown(tmp_path):
    whole = table().with_columns(
        *(pl.when(pl.col("gene_name").is_null()).then(np.nan).otherwise(pl.col(name)).alias(name)
          for name in ("effect", "se", "z"))
    )  # fmt: skip
    _, html = write(tmp_path, whole)
    assert ">nan<" not in html


def test_a_long_table_is_cut_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "_ROWS", 2)
    _, html = write(tmp_path, table())
    assert "The 2 with the smallest p of 4 genes." in html


@pytest.mark.parametrize(("names", "order"), [(["X", "10", "chr2", "1", "MT"], ["1", "chr2", "10", "X", "MT"])])
def test_chromosomes_are_in_their_order(names, order):
    assert sorted(names, key=page_module._rank) == order
