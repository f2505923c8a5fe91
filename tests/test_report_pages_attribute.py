"""genopred.report.pages.attribute."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from attribution_data import CONSENSUS, matrix

from genopred.report.locus import GeneTrack
from genopred.report.pages import attribute as page
from genopred.types import MatchReport, Motif

pytest.importorskip("torch")
pytest.importorskip("captum")
pytest.importorskip("tangermeme")

from genopred.pipelines.attribute_against import (
    ENRICHMENT_SCHEMA,
    MOTIF_COUNT_SCHEMA,
    MOTIF_SCHEMA,
    OVERLAP_SCHEMA,
)
from genopred.pipelines.attribute_windows import SCHEMAS

WHO = ("ENSG00000100376.7", "reference", 0)


def shown(**changes):
    rng, text = np.random.default_rng(1), "TTTTACCGGAAGTGTTTT"
    place = page.Place(WHO[0], "22", 101, 118, 110, "+", True, (1, 218), {"open": np.ones(18)})
    rows = {name: [] for name in SCHEMAS}
    for method in ("deeplift", "ism"):
        for i, base in enumerate(text):
            height = 1.0 if 4 <= i < 14 else 0.1
            rows["attributions"].append((*WHO, method, "up", "22", 101 + i, base, height, *rng.normal(size=4)))
    rows["sums"] = [(*WHO, "deeplift", "up", 3.0, 1.0, 2.1, 0.1)]
    rows["seqlets"] = [(*WHO, "deeplift", "up", "22", 105, 114, text[4:14], 10.0, 0.05, 0.01)]
    rows["variants"] = [(WHO[0], "ann", "reference", "up", "22", 107, "rs1", "C", "T", -1, -0.5, -0.4)]
    rows["differences"] = [(WHO[0], "ann", "reference", "up", 2.5, 3.0, -0.5, 1, -0.49, -0.01, -0.4)]
    rows["attention"] = [(*WHO, "layer 1", 1, 1, 218, 0.5, 0.2)]
    rows["attention_maps"] = [(*WHO, "layer 1", q, k, 0.5) for q in range(2) for k in range(2)]
    tables = {name: pl.DataFrame(rows[name], schema=kinds, orient="row") for name, kinds in SCHEMAS.items()}
    match = (*WHO, "deeplift", "up", "22", 105, 114, text[4:14], 0.05, "ETS", "ETS", 1e-5, 1e-4, 0, 10, "+")
    tables["motifs"] = pl.DataFrame([match], schema=MOTIF_SCHEMA, orient="row")
    counts = ("deeplift", "up", "ETS", "ETS", 1, 0.0, 0.05, 0.05)
    tables["motif_counts"] = pl.DataFrame([counts], schema=MOTIF_COUNT_SCHEMA, orient="row")
    lies = (WHO[0], "deeplift", "up", "open", 1, 18, 1.0, 0.5, 0.1, 0.9, 2.0, 0.04, 17)
    tables["enrichment"] = pl.DataFrame([lies], schema=ENRICHMENT_SCHEMA, orient="row")
    tables["overlap"] = pl.DataFrame(schema=OVERLAP_SCHEMA)
    motifs = [Motif(name, name, matrix(text)) for name, text in CONSENSUS.items()]
    genes = {
        "gene_id": [WHO[0]],
        "gene_name": ["FAM118A"],
        "start": [110],
        "end": [300],
        "strand": ["+"],
        "chrom": ["22"],
    }
    base = {
        "places": [place], "model": "toy", "groups": ("up",), "methods": ("deeplift", "ism", "attention"),
        "tables": tables, "motifs": motifs, "annotation": GeneTrack(pl.DataFrame(genes)),
    }  # fmt: skip
    return page.Shown(**base | changes)


def test_what_was_found_is_said_in_words():
    said = " ".join(page.reading(shown()))
    assert "deeplift, ism, attention of toy: 1 window, track group up" in said
    assert "within 5.00 % of it" in said and "1 of 1 candidate seqlets" in said
    assert "ETS: 1 seqlet of the reference (deeplift) like it; a shuffle has 0.00, p = 0.05" in said
    assert "ann is predicted 2.500, reference 3.000: a difference of −0.500 over 1 variants" in said
    assert "open: at the bases with the highest contributions (deeplift, up) it is 2.00 times" in said


def test_the_page_has_a_figure_of_each_kind(tmp_path):
    report = MatchReport(pl.DataFrame(schema=MatchReport.SCHEMA))
    files = page.write(tmp_path, shown(), report, {"seed": 1})
    names = {path.name for path in files}
    kinds = ("along", "logo", "motif1", "ism", "attention", "variants.ann")
    assert names == {*(f"{WHO[0]}.{kind}.svg" for kind in kinds), "attribute.html"}
    text = (tmp_path / "attribute.html").read_text()
    assert "FAM118A (ENSG00000100376.7)" in text and "Known motifs" in text and "Do contributions add up" in text
    plain = [page.write(tmp_path, shown(kind="none"), report, {"seed": 1})[-1].read_text() for _ in range(2)]
    assert plain[0] == plain[1]


def test_with_nothing_but_attention_there_is_a_page(tmp_path):
    only = shown()
    tables = {name: table if name.startswith("attention") else table.clear() for name, table in only.tables.items()}
    report = MatchReport(pl.DataFrame(schema=MatchReport.SCHEMA))
    files = page.write(tmp_path, shown(tables=tables, methods=("attention",), kind="png"), report, {})
    assert {path.name for path in files} == {f"{WHO[0]}.along.png", f"{WHO[0]}.attention.png", "attribute.html"}
