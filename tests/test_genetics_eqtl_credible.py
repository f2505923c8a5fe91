"""Credible sets of a gene: known truth, and the same whatever allele is counted."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from genopred.genetics.eqtl.credible import CREDIBLE_SCHEMA, credible_variants
from genopred.genetics.eqtl.scan import cis_model

PEOPLE, VARIANTS, CAUSAL = 300, 40, (7, 29)
IDS = pl.Series([f"v{i}" for i in range(VARIANTS)])


@pytest.fixture(params=[1, 2, 3])
def window(request):
    """Independent variants of which two have an effect, and a twin of the first."""
    rng = np.random.default_rng(request.param)
    dosage = rng.binomial(2, 0.3, (PEOPLE, VARIANTS)).astype(np.float32)
    dosage[:, CAUSAL[0] + 1] = dosage[:, CAUSAL[0]]
    values = dosage[:, CAUSAL] @ [1.0, -0.9] + rng.standard_normal(PEOPLE)
    return dosage, cis_model(values[:, None], None)


def sets(table):
    return {frozenset(of["variant_id"].to_list()) for _, of in table.group_by("cs_id")}


def test_the_sets_hold_the_causal_variants_and_their_twins(window):
    table = credible_variants(*window, gene_id="g", variant_ids=IDS)
    assert dict(table.schema) == CREDIBLE_SCHEMA
    assert sets(table) == {frozenset({"v7", "v8"}), frozenset({"v29"})}
    twins = table.filter(pl.col("variant_id").is_in(["v7", "v8"]))
    assert twins["pip"][0] == pytest.approx(twins["pip"][1]) and 0.45 < twins["pip"][0] < 0.75
    assert (table["cs_coverage"] >= 0.95).all() and sorted(table["cs_size"]) == [1, 2, 2]


def test_neither_the_allele_nor_a_missing_variant_matters(window):
    dosage, model = window
    plain = credible_variants(dosage, model, gene_id="g", variant_ids=IDS)
    turned = credible_variants(2 - dosage, model, gene_id="g", variant_ids=IDS)
    assert sets(turned) == sets(plain)
    np.testing.assert_allclose(turned["pip"], plain["pip"], rtol=1e-5)
    np.testing.assert_allclose(turned["af"], 1 - plain["af"], rtol=1e-5)
    dosage[:, 3] = np.nan
    assert sets(credible_variants(dosage, model, gene_id="g", variant_ids=IDS, maf=0.01)) == sets(plain)


def test_nothing_is_found_where_nothing_is(window):
    dosage, _ = window
    noise = cis_model(np.random.default_rng(9).standard_normal((PEOPLE, 1)), None)
    assert credible_variants(dosage, noise, gene_id="g", variant_ids=IDS).height == 0
