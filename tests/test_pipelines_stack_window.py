"""A gene's window: in memory where people are few, in blocks where they are many, the same variants either way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from genopred import align
from genopred.errors import GenopredError
from genopred.learning.streamed import Blocks
from genopred.pipelines.stack_window import open_window
from genopred.settings import Stack
from genopred.types import VARIANT_SCHEMA, Genotypes


def genotypes(n=1_500, m=40, seed=0):
    """Some variants rare, one that does not vary, one that nobody has."""
    rng = np.random.default_rng(seed)
    x = rng.binomial(2, rng.uniform(0.01, 0.5, m), (n, m)).astype(np.float32)
    x[rng.random((n, m)) < 0.02] = np.nan
    x[:, 3], x[:, 7] = 2, np.nan
    rows = [("1", 1_000 * j + 1, f"v{j}", "A", "G") for j in range(m)]
    return x, Genotypes.from_arrays(
        [f"P{i}" for i in range(n)], pl.DataFrame(rows, VARIANT_SCHEMA, orient="row"), dosage=x
    )


def settings(**more):
    return Stack(bfile=Path("a"), expression=Path("b"), gene=("G",), **more)


@pytest.mark.parametrize(("fewest", "blocks"), [(999, False), (1_000, True)])
def test_many_people_are_read_in_blocks(fewest, blocks):
    x, source = genotypes()
    found = open_window(settings(), source, fewest, 5, 5)
    use, notes = align.usable_variants(x, source.variants, maf=0.05)
    assert isinstance(found.values, Blocks) == blocks
    assert np.array_equal(found.use, use) and found.notes == notes and {note[1] for note in notes} == {
        "genotype of everybody missing", "monomorphic", "MAF below 0.05",
    }  # fmt: skip
    values = np.concatenate([part for _, part in found.values.raw()]) if blocks else found.values
    np.testing.assert_array_equal(values, x[:, use])
    assert found.at_once == (5 if blocks else 1)


def test_more_variants_than_people_are_read_at_once():
    x, source = genotypes(n=1_100, m=1_300)
    found = open_window(settings(maf=0.0), source, 1_050, 5, 5)
    assert isinstance(found.values, np.ndarray)
    np.testing.assert_array_equal(found.values, x[:, found.use])


def test_memory_says_how_much_is_held():
    _, source = genotypes(m=900)
    small = open_window(settings(memory=250_000_000), source, 1_200, 5, 5)
    large = open_window(settings(memory=4_000_000_000), source, 1_200, 5, 5)
    assert small.at_once < large.at_once == 5
    with pytest.raises(GenopredError, match="--memory 1MB: the sums of a gene of .* variants need"):
        open_window(settings(memory=1_000_000), source, 1_200, 5, 5)


def test_no_variant_at_all():
    _, source = genotypes()
    none = source.select(variants=[3, 7])
    found = open_window(settings(), none, 1_200, 5, 5)
    assert not found.use.any() and isinstance(found.values, (np.ndarray, Blocks))
    empty = source.select(variants=[])
    assert open_window(settings(), empty, 1_200, 5, 5).values.shape == (1_500, 0)
