"""genopred.pipelines.attribute_against; what it finds is also in test_pipelines_attribute.py."""

from __future__ import annotations

import polars as pl
import pytest

pytest.importorskip("captum")
pytest.importorskip("tangermeme")

import attribution_files as made
from test_pipelines_attribute import settings

from genopred.align import Tally
from genopred.pipelines.attribute_against import (
    ENRICHMENT_SCHEMA,
    OVERLAP_SCHEMA,
    count_variants,
    eqtl_overlap,
    signal_enrichment,
)
from genopred.pipelines.attribute_inputs import open_inputs
from genopred.pipelines.attribute_windows import SCHEMAS
from genopred.sequence.models import registry


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "entry_points", lambda group: made.POINTS)
    files = made.write(tmp_path)
    return open_inputs(settings(files, signal=(files / "open.bed",), eqtl=files / "eqtl.tsv", draws=100))


def attributions(inputs, height):
    """One at the bases where `height` says so, hardly anything elsewhere; whole windows of the reference."""
    rows = []
    for place in inputs.places:
        for pos in range(place.stretch.start + 1, place.stretch.end + 1):
            who = (place.name, "reference", 0, "deeplift", "up", "1", pos, "A")
            rows.append((*who, height(pos), 0.0, 0.0, 0.0, 0.0))
    return pl.DataFrame(rows, schema=SCHEMAS["attributions"], orient="row")


def test_signals_are_compared_window_by_window_and_together(inputs):
    inside = {site + i for site in (made.site_of(0), made.site_of(1)) for i in range(3)}
    found = signal_enrichment(inputs, attributions(inputs, lambda pos: 1.0 if pos in inside else 1e-3 / pos))
    assert dict(found.schema) == {name: kind() for name, kind in ENRICHMENT_SCHEMA.items()}
    assert found["window"].to_list() == [*(gene for gene, *_ in made.GENES), "all windows"]
    assert (found["observed"] == 1).all() and found["top"].to_list() == [3, 3, 6]
    assert found["expected"][0] == pytest.approx(50 / 300, abs=0.01) and found["p"][2] < 0.1


def test_part_of_a_window_is_left_out(inputs):
    part = attributions(inputs, lambda pos: 1.0 / pos).filter(pl.col("pos") < 1000)
    found = signal_enrichment(inputs, part)
    assert not found.height


def test_snps_are_ranked_within_their_windows(inputs):
    strong = {made.site_of(0) + 3, made.site_of(1) + 5}
    answers, snps = eqtl_overlap(inputs, attributions(inputs, lambda pos: 5.0 if pos in strong else 1.0 / pos))
    assert set(answers.columns) == set(OVERLAP_SCHEMA)
    first = snps.filter(pl.col("rank_b") == 1)
    assert set(first["pos"]) == strong and (first["rank_a"] == 1).all()
    lines = inputs.tally.report().lines()
    assert any("7 used: in a window" in line for line in lines)


def test_windows_without_two_snps_are_said(inputs):
    answers, snps = eqtl_overlap(inputs, attributions(inputs, lambda pos: 1.0).filter(pl.col("pos") < 870))
    assert not answers.height and not snps.height
    assert any("no window has two SNPs" in line for line in inputs.tally.report().lines())


def test_contributions_that_are_all_alike_rank_nothing(inputs):
    answers, _ = eqtl_overlap(inputs, attributions(inputs, lambda pos: 1.0))
    assert not answers.height and any("not compared" in line for line in inputs.tally.report().lines())


def test_variants_of_all_windows_are_counted_once():
    names = ("variants", "used", "indels_skipped", "symbolic_skipped", "other", "swapped", "strand", "missing_alleles")
    tally = Tally()
    count_variants(tally, [dict(zip(names, (10, 8, 1, 0, 1, 2, 0, 3))), dict(zip(names, (5, 5, 0, 0, 0, 0, 0, 0)))])
    lines = tally.report().lines()
    assert "window-variant pairs: 13 used: in people's sequences" in lines and any("indel" in line for line in lines)
    count_variants(tally, [{}])
