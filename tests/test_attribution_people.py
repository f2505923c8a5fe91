"""genopred.attribution.people: what makes two people differ adds up, whoever is first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("captum")

from attribution_data import Line, line_model, random_windows, smooth_model, values_of

from genopred.attribution.people import explain_difference
from genopred.errors import GenopredError
from genopred.sequence.haplotypes import PersonalSequences
from genopred.types import Interval


def people(length=48, n=4, sites=12, seed=0, repeat=True):
    """N people over a window; one position has two ALT alleles."""
    rng = np.random.default_rng(seed)
    reference = random_windows(1, length, seed)[0].argmax(axis=1).astype(np.int8)
    at = np.sort(rng.choice(length, sites, replace=False)).astype(np.int64)
    if repeat:
        at[5] = at[4]
    ref = reference[at]
    alt = ((ref + 1 + np.arange(sites) % 3) % 4).astype(np.int8)
    if repeat:
        alt[5] = [c for c in range(4) if c not in (ref[4], alt[4])][0]
    alleles = rng.integers(0, 2, (2 * n, sites)).astype(np.int8)
    if repeat:
        alleles[:, 5] &= 1 - alleles[:, 4]
    names = np.array([f"P{i}" for i in range(n)])
    return PersonalSequences(names, Interval("1", 100, 100 + length), False, 0, reference, at, ref, alt, alleles, 2)


def test_contributions_add_up_to_the_difference():
    model = smooth_model()
    values, sequences = values_of(model, tracks=["all", "y"], strands="both"), people()
    found = explain_difference(values, sequences, "P2", "P0", steps=200)
    every = values.of(sequences.onehot()).reshape(4, 2, 2).mean(axis=1)
    np.testing.assert_allclose(found.value - found.against, every[2] - every[0], rtol=1e-6)
    assert np.abs(found.residual).max() < 0.01 * np.abs(found.value - found.against).max()
    assert found.path.shape == (len(found.sites), 2)


def test_each_variant_alone_is_one_pass_with_it_less_one_without():
    values, sequences = values_of(smooth_model(), tracks="x"), people(seed=3)
    found = explain_difference(values, sequences, "P1", "P3")
    mine, theirs = sequences.alleles[2:4], sequences.alleles[6:8]
    for v, site in enumerate(found.sites):
        wanted = 0.0
        for h in range(2):
            changed = theirs[h].copy()
            changed[site] = mine[h, site]
            both = replace(sequences, alleles=np.stack([changed, theirs[h], changed, theirs[h]]))
            passes = values.of(both.window.onehot())[:, 0]
            wanted += (passes[0] - passes[1]) / 2
        assert found.alone[v, 0] == pytest.approx(wanted, abs=1e-6)
    assert found.copies.tolist() == (mine.astype(int) - theirs)[:, found.sites].sum(axis=0).tolist()


def test_of_a_weighted_sum_all_is_known():
    sequences = people(20, sites=8, seed=1)
    found = explain_difference(values_of(line_model()), sequences, "P0", "P1", steps=3)
    w = Line().weight.detach().numpy()
    gain = w[sequences.sites, sequences.alt_codes] - w[sequences.sites, sequences.ref_codes]
    wanted = found.copies * gain[found.sites] / 2
    np.testing.assert_allclose(found.path[:, 0], wanted, atol=1e-6)
    np.testing.assert_allclose(found.alone[:, 0], wanted, atol=1e-6)
    assert np.abs(found.residual).max() < 1e-5


def test_exchanging_the_two_changes_the_sign():
    values, sequences = values_of(smooth_model()), people(seed=5)
    one = explain_difference(values, sequences, "P0", "P2", steps=30)
    other = explain_difference(values, sequences, "P2", "P0", steps=30)
    np.testing.assert_allclose(one.path, -other.path, atol=2e-6)
    np.testing.assert_allclose(one.value - one.against, -(other.value - other.against), atol=1e-9)
    assert one.sites.tolist() == other.sites.tolist() and one.copies.tolist() == (-other.copies).tolist()


def test_who_else_is_there_and_where_changes_nothing():
    values, sequences = values_of(smooth_model()), people(seed=6)
    turned = replace(
        sequences, samples=sequences.samples[::-1], alleles=sequences.alleles.reshape(4, 2, -1)[::-1].reshape(8, -1)
    )
    one, other = (explain_difference(values, which, "P3", "P1") for which in (sequences, turned))
    np.testing.assert_allclose(one.path, other.path, atol=1e-7)
    backwards = explain_difference(values, sequences.with_reference(), "P3", "reference")
    assert backwards.against == pytest.approx(values.of(sequences.with_reference().onehot([8]))[0])


def test_the_other_strand_has_the_same_variants():
    values, sequences = values_of(smooth_model(), strands="both", tracks="x"), people(seed=7, repeat=False)
    one = explain_difference(values, sequences, "P0", "P1", steps=50)
    other = explain_difference(values, sequences.other_strand(), "P0", "P1", steps=50)
    np.testing.assert_allclose(one.path, other.path[::-1], atol=1e-6)


def test_two_who_are_alike_differ_by_nothing():
    sequences = people()
    same = replace(
        sequences, alleles=np.repeat(sequences.alleles[:2], 4, axis=0).reshape(2, 4, -1).swapaxes(0, 1).reshape(8, -1)
    )
    found = explain_difference(values_of(smooth_model()), same, "P0", "P1")
    assert not len(found.sites) and not found.residual.any()


def test_who_is_unknown_or_has_one_sequence_is_refused():
    values, sequences = values_of(smooth_model()), people()
    with pytest.raises(GenopredError, match="Q: 0 people of that name"):
        explain_difference(values, sequences, "Q", "P0")
    with pytest.raises(GenopredError, match="P0: 1 people of that name, 1 sequences each"):
        explain_difference(values, replace(sequences, ploidy=1, samples=np.array(["P0", *"abcdefg"])), "P0", "a")
