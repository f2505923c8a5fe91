"""Independent signals: against tensorQTL."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from eqtl_data import WINDOW, Tiny, text

from genopred.genetics.eqtl.scan import permutation_indices
from genopred.genetics.eqtl.signals import INDEPENDENT_SCHEMA, independent_signals


@pytest.fixture(scope="module")
def tiny():
    return Tiny()


def test_independent_signals_equal_tensorqtl(tiny):
    peer = text("tensorqtl.independent.tsv.gz", separator="\t")
    orders = permutation_indices(len(tiny.samples), 500)
    for gene in peer["phenotype_id"].unique(maintain_order=True).to_list()[1:]:
        at = tiny.genes.index(gene)
        near = np.flatnonzero(np.abs(tiny.pos - tiny.tss[at]) <= WINDOW)
        found = independent_signals(
            tiny.dosage[:, near],
            tiny.pos[near],
            int(tiny.tss[at]),
            tiny.expression[:, at],
            tiny.covariates,
            0.01,
            orders,
            gene_id=gene,
            variant_ids=tiny.ids.gather(near),
        )
        theirs = peer.filter(pl.col("phenotype_id") == gene)
        assert found["variant_id"].to_list() == theirs["variant_id"].to_list()
        np.testing.assert_allclose(found["slope"], theirs["slope"], rtol=1e-5)
        np.testing.assert_allclose(found["pval_nominal"], theirs["pval_nominal"], rtol=1e-3)


def test_no_signal_gives_no_rows(tiny):
    noise = np.random.default_rng(5).standard_normal(len(tiny.samples))
    orders = permutation_indices(len(tiny.samples), 200)
    found = independent_signals(tiny.dosage, tiny.pos, int(tiny.tss[0]), noise, None, 1e-4, orders)
    assert found.height == 0 and found.schema == INDEPENDENT_SCHEMA
