"""Relatives, outliers, swaps and values, on people whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from genopred.errors import GenopredError
from genopred.genetics import quality


@pytest.fixture(scope="module")
def people():
    rng = np.random.default_rng(1)
    frequency = rng.uniform(0.1, 0.5, 3000)
    return rng, frequency, (rng.random((80, 2, 3000)) < frequency).astype(np.int8)


def test_calls_are_counted_by_hand():
    x = np.array([[0, 1, 2, np.nan], [0, 1, np.nan, np.nan], [0, 2, 0, np.nan], [0, 0, 0, np.nan]])
    found = quality.call_quality(x)
    assert found.missing.tolist() == [0, 0, 0.25, 1]
    assert found.missing_of_people.round(9).tolist() == [0, 0.333333333, 0, 0]  # what nobody has does not count
    np.testing.assert_allclose(found.frequency, [0, 0.5, 1 / 3, np.nan])
    assert found.varies.tolist() == [False, True, True, False]


def test_hardy_weinberg_is_the_chi_square_of_counts():
    calls = np.repeat([0.0, 1.0, 2.0], [50, 20, 30])[:, None]
    p = quality.call_quality(calls).hwe[0]
    f = 0.4
    expected = 100 * np.array([0.36, 0.48, 0.16])
    assert p == pytest.approx(chi2.sf((((np.array([50, 20, 30]) - expected) ** 2) / expected).sum(), 1))
    assert f == quality.call_quality(calls).frequency[0]
    assert quality.call_quality(np.repeat([0.0, 1.0, 2.0], [25, 50, 25])[:, None]).hwe[0] == pytest.approx(1)


def test_too_many_heterozygotes_show(people):
    _, _, alleles = people
    mixed = alleles.copy()
    mixed[3] = (mixed[3] | mixed[4] | mixed[5]).astype(np.int8)
    mixed[3, 1] = 0  # all heterozygous where any of three has ALT
    f = quality.call_quality(mixed.sum(axis=1)).inbreeding
    assert f[3] < -0.3 and abs(np.median(f)) < 0.05


def test_kinship_knows_twins_children_and_strangers(people):
    rng, frequency, alleles = people
    alleles = alleles.copy()
    alleles[1] = alleles[0]
    child = rng.integers(0, 2, (2, 3000))
    alleles[2] = np.stack([np.take_along_axis(alleles[3 + k], child[k][None], 0)[0] for k in (0, 1)])
    # siblings: another child of the same parents; half siblings share one
    child = rng.integers(0, 2, (2, 3000))
    alleles[5] = np.stack([np.take_along_axis(alleles[3 + k], child[k][None], 0)[0] for k in (0, 1)])
    x = alleles.sum(axis=1).astype(float)
    x[7, ::4] = np.nan
    kin = quality.kinship(x)
    assert kin[0, 1] == 0.5
    for i, j in ((2, 3), (2, 4), (2, 5)):
        assert quality.FIRST < kin[i, j] < quality.SAME
    assert np.abs(kin[10:, 10:][np.triu_indices(70, 1)]).max() < quality.SECOND + 0.02
    np.testing.assert_allclose(kin, kin.T)
    pairs = quality.related(kin, quality.FIRST)
    assert pairs[0][:2] == (0, 1) and {p[:2] for p in pairs[1:]} == {(2, 3), (2, 4), (2, 5), (3, 5), (4, 5)}


def test_kinship_is_kings_formula():
    """N_AaAa - 2 N_AA,aa over twice the smaller count, as in the paper's equation for families not known."""
    rng = np.random.default_rng(2)
    x = rng.integers(0, 3, (6, 40)).astype(float)
    x[2, :5] = np.nan
    kin = quality.kinship(x)
    for i in range(6):
        for j in range(6):
            both = ~np.isnan(x[i]) & ~np.isnan(x[j])
            a, b = x[i, both], x[j, both]
            het = (a == 1).sum(), (b == 1).sum()
            opposite = (np.abs(a - b) == 2).sum()
            least = min(het)
            expected = (((a == 1) & (b == 1)).sum() - 2 * opposite) / (2 * least) + 0.5 - 0.25 * sum(het) / least
            assert kin[i, j] == pytest.approx(expected)


def test_independent_variants_are_common_and_in_no_ld(people):
    _, _, alleles = people
    x = alleles.sum(axis=1).astype(float)
    x[:, 1::2] = x[:, ::2]  # every second one is the one before it
    x[:, :2] = 0
    picked = quality.independent(x, np.arange(3000) * 1000, r2=0.3)
    assert picked.min() == 2 and len(picked) > 1000 and not (set(picked // 2 * 2 + 1) & set(picked))
    # far away, or on another chromosome, nothing is held against it
    twice = np.concatenate([x[:, 2:4], x[:, 2:4]], axis=1)
    assert len(quality.independent(twice, [10, 20, 10, 20])) == 2
    assert len(quality.independent(twice, [10, 20, 5_000_000, 5_000_010])) == 2


def test_an_outlier_is_far_and_nobody_else(people):
    rng, _, alleles = people
    x = alleles.sum(axis=1).astype(float)
    assert quality.ancestry_distance(x).max() < 7
    x[5] = rng.binomial(2, rng.random(3000))
    distance = quality.ancestry_distance(x)
    assert distance.argmax() == 5 and distance[5] > 7 and np.sort(distance)[-2] < 7
    with pytest.raises(GenopredError, match="too small for 4 components"):
        quality.ancestry_distance(x[:, :3])


def swapped(rng, genes=40, n=200, share=0.4):
    dosage = rng.binomial(2, 0.4, (n + 5, genes)).astype(float)
    own = rng.permutation(n + 5)[:n]
    z = dosage[own]
    z = (z - z.mean(axis=0)) / z.std(axis=0)
    factor = rng.standard_normal((n, 1)) @ rng.standard_normal((1, genes))  # residuals go together
    noise = (factor + rng.standard_normal((n, genes))) / np.sqrt(2)
    return np.sqrt(share) * z + np.sqrt(1 - share) * noise, dosage, own


def test_exchanged_people_are_found_and_others_are_not():
    for seed in range(5):
        y, dosage, own = swapped(np.random.default_rng(seed))
        clean = quality.matching(y, dosage, own)
        assert clean.exchanged() == [] and clean.mistaken() == [] and clean.power > clean.enough
        y[[3, 60]] = y[[60, 3]]
        found = quality.matching(y, dosage, own)
        [(i, j, gain)] = found.exchanged()
        assert (i, j) == (3, 60) and gain > found.enough and found.mistaken() == []


def test_expression_of_somebody_else_without_expression():
    y, dosage, own = swapped(np.random.default_rng(9))
    other = np.setdiff1d(np.arange(len(dosage)), own)[0]
    taken = own.copy()
    taken[7] = other  # person 7 is named after one whose expression nobody measured
    found = quality.matching(y, dosage, taken)
    assert found.exchanged() == []
    [(row, column, _)] = found.mistaken()
    assert (row, column) == (7, own[7])


def test_noise_matches_nobody():
    rng = np.random.default_rng(4)
    found = quality.matching(rng.standard_normal((60, 5)), rng.binomial(2, 0.3, (60, 5)), np.arange(60))
    assert found.exchanged() == [] and found.mistaken() == [] and found.power < found.enough


def test_a_sample_unlike_the_others():
    rng = np.random.default_rng(3)
    values = np.exp(rng.standard_normal(200) + 0.3 * rng.standard_normal((30, 200)))
    values[4] = rng.permutation(values[4])
    far = quality.outlying_profiles(values)
    assert far.argmax() == 4 and far[4] > 15 and np.sort(far)[-2] < 5


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.random.default_rng(1).poisson(30, (20, 9)), "counts"),
        (np.random.default_rng(1).gamma(2, 3, (20, 9)), "abundance"),
        (np.random.default_rng(1).standard_normal((200, 9)), "normal"),
        (5 + np.random.default_rng(1).standard_normal((200, 9)) - 3, "other"),
    ],
)
def test_kinds_of_values(values, kind):
    assert quality.kind_of_values(values) == kind
