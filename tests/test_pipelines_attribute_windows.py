"""genopred.pipelines.attribute_windows: tables of one window."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

pytest.importorskip("captum")
pytest.importorskip("tangermeme")

import attribution_files as made
from test_attribution_people import people
from test_pipelines_attribute import settings

from genopred.pipelines.attribute_inputs import open_inputs
from genopred.pipelines.attribute_windows import SCHEMAS, _Haplotype, named_sites, window_tables
from genopred.sequence.models import registry
from genopred.types import VARIANT_SCHEMA, Genotypes, Interval


@pytest.fixture(autouse=True)
def packages(monkeypatch):
    monkeypatch.setattr(registry, "entry_points", lambda group: made.POINTS)


@pytest.mark.parametrize("span", [(100, 110), (95, 103), (108, 120), (50, 60), (90, 130)])
def test_a_haplotype_is_a_fasta_with_n_around(span):
    letters = "ACGTACGTAC"
    found = _Haplotype(letters, Interval("1", 100, 110)).fetch(Interval("1", *span))
    assert found == "".join(letters[i - 100] if 100 <= i < 110 else "N" for i in range(*span))


@pytest.mark.parametrize("reverse", [False, True])
def test_sites_have_the_variants_names_on_the_forward_strand(reverse):
    sequences = people(repeat=False)
    start = sequences.interval.start
    rows = []
    for k, (site, ref, alt) in enumerate(zip(sequences.sites, sequences.ref_codes, sequences.alt_codes)):
        pair = ("ACGT"[ref], "ACGT"[alt]) if k % 2 else ("ACGT"[alt], "ACGT"[ref])  # every second is swapped
        rows.append(("1", start + int(site) + 1, f"rs{k}", *pair))
    table = pl.DataFrame(rows[:-1], schema=VARIANT_SCHEMA, orient="row")
    genotypes = Genotypes.from_arrays(["a"], table, dosage=np.zeros((1, len(rows) - 1)))
    read = sequences.other_strand() if reverse else sequences
    found = list(named_sites(read, SimpleNamespace(sites=np.arange(len(rows))), genotypes))
    found = found[::-1] if reverse else found
    assert [row[:2] for row in found[:-1]] == [(row[1], row[2]) for row in rows[:-1]]
    for (_, _, ref, alt), a, b in zip(found, sequences.ref_codes, sequences.alt_codes):
        assert (ref, alt) == ("ACGT"[a], "ACGT"[b])
    assert found[-1][1].startswith("1:")  # one that the table lacks is named by its place


def test_tables_have_their_columns_whatever_was_asked(tmp_path):
    files = made.write(tmp_path)
    inputs = open_inputs(settings(files, method=("ism",), ism_width=4))
    tables, counts = window_tables(inputs, inputs.places[0])
    assert counts == {} and set(tables) == set(SCHEMAS)
    for name, table in tables.items():
        assert dict(table.schema) == {column: kind() for column, kind in SCHEMAS[name].items()}, name
    assert tables["attributions"].height == 4 and not tables["sums"].height


@pytest.mark.parametrize("gene", [0, 1])
def test_controls_lie_as_the_window_does(tmp_path, monkeypatch, gene):
    """Where shuffles are the window itself, they have its contributions, on the forward strand."""
    from genopred.pipelines import attribute_windows

    real, find, given = attribute_windows.backgrounds, attribute_windows.find_seqlets, []

    def same(window, kind, n, seed):
        return np.repeat(window[None], n, axis=0) if kind == "shuffled" else real(window, kind, n, seed)

    monkeypatch.setattr(attribute_windows, "backgrounds", same)
    monkeypatch.setattr(attribute_windows, "find_seqlets", lambda *both: (given.append(both), find(*both))[1])
    inputs = open_inputs(settings(made.write(tmp_path), method=("gradient-input",), controls=19))
    tables, _ = window_tables(inputs, inputs.places[gene])
    ((contributions, controls),) = given
    np.testing.assert_allclose(controls, np.repeat(contributions, 19, axis=0), atol=1e-7)
    assert np.abs(contributions - contributions[:, ::-1]).max() > 0.1
    assert set(tables["control_seqlets"]["sequence"]) <= set(tables["seqlets"]["sequence"])


@pytest.mark.parametrize(("gene", "tss", "turn"), [(0, 1000, 1), (1, 2000, -1)])
def test_attention_lies_on_the_forward_strand(tmp_path, gene, tss, turn):
    """Every position looks at the next one in the gene's direction, which on the reverse strand is the one before."""
    inputs = open_inputs(settings(made.write(tmp_path), model="attentive", method=("attention",)))
    tables, _ = window_tables(inputs, inputs.places[gene])
    looked = tables["attention"].filter(pl.col("from_tss") > 0.5)
    ends = sorted((tss + turn * 10, tss + turn * 19))
    assert looked.select("start", "end").rows() == [tuple(ends)] * 2
    pairs = tables["attention_maps"].filter(pl.col("weight") > 0.5).select("query", "key").rows()
    assert len(pairs) == 30 and all((key - query - turn) % 30 == 0 for query, key in pairs)


def test_out_of_memory_halves_the_batch(tmp_path, monkeypatch):
    from genopred.pipelines import attribute_windows

    files, asked = made.write(tmp_path), []
    inputs = open_inputs(settings(files, controls=0, batch_size=8))
    plain, _ = window_tables(inputs, inputs.places[0])
    real = attribute_windows.contributions

    def small(values, windows, against, method, *, steps, batch_size):
        asked.append(batch_size)
        if batch_size > 2:
            raise MemoryError
        return real(values, windows, against, method, steps=steps, batch_size=batch_size)

    monkeypatch.setattr(attribute_windows, "contributions", small)
    again, _ = window_tables(inputs, inputs.places[0])
    assert asked == [8, 4, 2]
    np.testing.assert_allclose(again["attributions"]["attribution"], plain["attributions"]["attribution"], atol=1e-6)
