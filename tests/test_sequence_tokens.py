"""genopred.sequence.tokens: distinct rows against every haplotype written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.errors import GenopredError
from genopred.sequence.haplotypes import VariantWindow
from genopred.sequence.tokens import base_level, next_level


def case(length, sites, n, seed, share=0.3):
    """A reference and n haplotypes with SNVs at `sites`; some are half and half, the last one is the reference."""
    rng = np.random.default_rng(seed)
    sites = np.array(sorted(sites), dtype=np.int64)
    reference = np.eye(4)[rng.integers(0, 4, length)]
    ref = reference[sites].argmax(axis=1).astype(np.int8)
    alt = ((ref + rng.integers(1, 4, len(sites))) % 4).astype(np.int8)
    alleles = (rng.random((n, len(sites))) < share).astype(np.int8)
    alleles[: n // 3] *= rng.integers(1, 3, (n // 3, len(sites))).astype(np.int8)
    alleles[-1] = 0
    return VariantWindow(reference, sites, ref, alt, alleles)


def plainly(x, weight):
    """A zero-padded convolution of one haplotype (n, C), something not linear, and pairs put together."""
    half = len(weight) // 2
    padded = np.pad(x, ((half, half), (0, 0)))
    y = np.tanh(np.stack([np.tensordot(padded[i : i + len(weight)], weight, 2) for i in range(len(x))]))
    left, right = y[0::2], y[1::2]
    return np.concatenate([2 * left[: len(right)] + 3 * right, left[len(right) :]])


def through_tables(table, n, step, weight):
    """The same from distinct rows: `table` holds the reference's n rows and the variant ones."""
    half = len(weight) // 2
    zero = np.zeros((half, table.shape[1]))
    rows = np.concatenate([zero, table[:n], zero, table[n:]])
    of_reference = np.tanh([np.tensordot(rows[i : i + len(weight)], weight, 2) for i in range(n)])
    of_variants = np.tanh(np.tensordot(rows[step.windows], weight, 2))
    out = [*plainly(table[:n], weight)]
    for i in range(step.level.n):
        for left, right in step.pairs[step.level.first[i] : step.level.first[i + 1]]:
            a = of_reference[2 * i] if left == -1 else of_variants[left]
            if right == -2:
                out.append(a)
            else:
                out.append(2 * a + 3 * (of_reference[2 * i + 1] if right == -1 else of_variants[right]))
    return np.array(out)


@settings(max_examples=25, deadline=None)
@given(st.integers(3, 45), st.integers(2, 9), st.sampled_from([1, 3, 5, 15]), st.integers(0, 10**6), st.data())
def test_three_levels_give_every_haplotype_its_rows(length, n, width, seed, data):
    sites = data.draw(st.lists(st.integers(0, length - 1), unique=True, max_size=12))
    window = case(length, sites, n, seed)
    rng = np.random.default_rng(seed + 1)
    level, extra = base_level(window)
    table = np.concatenate([window.reference, extra])
    plain = list(window.onehot())
    np.testing.assert_array_equal(table[level.index(np.arange(n), n)], plain)
    for size in (width, 3, 5):
        weight = rng.normal(size=(size, table.shape[1], 3))
        step = next_level(level, size, n)
        table, level = through_tables(table, level.n, step, weight), step.level
        plain = [plainly(x, weight) for x in plain]
        assert table.shape == (level.n_rows, 3)
        np.testing.assert_allclose(table[level.index(np.arange(n), n)], plain, rtol=1e-12, atol=1e-12)


def test_rows_are_the_distinct_strings_of_the_receptive_field_and_no_more():
    window = case(300, range(0, 300, 4), 40, 17, share=0.1)
    step = next_level(base_level(window)[0], 15, 40)
    # the reference is the last haplotype
    onehot = np.pad(window.onehot(), ((0, 0), (7, 8), (0, 0)))
    for i in range(150):
        seen = {row[2 * i : 2 * i + 16].tobytes() for row in onehot}
        assert step.level.first[i + 1] - step.level.first[i] + 1 == len(seen)
    assert len({tuple(row) for row in step.windows.tolist()}) == len(step.windows)


def test_some_haplotypes_in_another_order():
    window = case(40, [3, 10, 11, 39], 8, 2)
    level, _ = base_level(window)
    whole = level.index(np.arange(8), 8)
    np.testing.assert_array_equal(level.index(np.array([6, 0, 3]), 8), whole[[6, 0, 3]])


def test_several_alternatives_at_a_site():
    """Rows of a repeated site: either ALT, halves of both, and nobody with neither."""
    reference = np.eye(4)[[0, 1, 2]]
    alleles = np.array([[1, 0], [0, 1], [2, 2], [0, 0], [1, 0]], dtype=np.int8)
    level, rows = base_level(VariantWindow(reference, [1, 1], [1, 1], [3, 0], alleles))
    assert level.n_variant == 3 and level.haplotype.tolist() == [0, 1, 2, 4]
    found = np.concatenate([reference, rows])[level.index(np.arange(5), 5)][:, 1]
    np.testing.assert_array_equal(found, [[0, 0, 0, 1], [1, 0, 0, 0], [0.5, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 0, 1]])


def test_nothing_varies():
    window = case(10, [], 4, 3)
    level, extra = base_level(window)
    step = next_level(level, 5, 4)
    assert (level.n_rows, extra.shape, step.level.n, step.level.n_rows) == (10, (0, 4), 5, 5)
    assert step.windows.shape == (0, 5) and step.pairs.shape == (0, 2)


@pytest.mark.parametrize(
    "change, message",
    [
        ({1: [5, 20]}, "sites go from 5 to 20; needed .* 20 bases"),
        ({1: [7, 5]}, "needed ascending"),
        ({1: [5]}, "needed .H, V. and .2, V. with V = 1"),
        ({2: [0, 4]}, "base codes go from"),
        ({4: [[0, 3]]}, "alleles go from 0 to 3.*Impute"),
        ({4: [[-1, 0]]}, "alleles go from -1 to 0"),
    ],
)
def test_haplotypes_that_make_no_sense(change, message):
    arguments = [np.eye(4)[np.zeros(20, int)], [5, 7], [0, 0], [1, 2], [[0, 1]]]
    for at, value in change.items():
        arguments[at] = value
    arguments = [arguments[0], *(np.array(value) for value in arguments[1:])]
    with pytest.raises(GenopredError, match=message):
        base_level(VariantWindow(*arguments))
