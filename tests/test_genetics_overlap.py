"""Overlap of rankings: against naive loops, scipy and scikit-learn, and against simulations with nothing to find."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, precision_recall_curve

from genopred.errors import GenopredError
from genopred.genetics import loci
from genopred.genetics import overlap as ov


def two(m=200, seed=1, groups=1, **more):
    rng = np.random.default_rng(seed)
    group = np.sort(rng.integers(0, groups, m)) if groups > 1 else None
    return ov.rankings(rng.random(m), rng.random(m), pos=np.sort(rng.integers(1, 10**6, m)), group=group, **more)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 60), st.integers(1, 4), st.booleans())
def test_curve_is_the_naive_one(seed, m, groups, tied):
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 5, (2, m)) + [[0.0], [0.0]]) if tied else rng.random((2, m))
    a[0], b[0] = a[0] + 0.5, b[0] + 0.5
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return
    group = rng.integers(0, groups, m)
    r = ov.rankings(a, b, group=group)
    curve = ov.overlap_curve(r)
    for k in range(1, len(curve) + 1):
        total = 0
        for g in np.unique(r.group):
            here = np.flatnonzero(r.group == g)
            first = {i for i in here if r.rank_a[i] < k}
            total += len(first & {i for i in here if r.rank_b[i] < k})
        assert curve[k - 1] == total == ov.shared_at(r, k)
    # Ranks are a permutation within each group, and follow the scores.
    for g in np.unique(r.group):
        here = r.group == g
        assert sorted(r.rank_a[here]) == list(range(here.sum()))
        assert (np.diff(r.a[here][np.argsort(r.rank_a[here])]) <= 0).all()
    assert (r.a == a[r.row]).all() and (r.b == b[r.row]).all()


def test_hypergeometric_is_scipys_and_convolves_groups():
    r = two(300)
    shared = ov.shared_at(r, 40)
    p, (low, high) = ov.hypergeometric(r, 40)
    law = stats.hypergeom(300, 40, 40)
    assert p == pytest.approx(law.sf(shared - 1), rel=1e-10)
    assert (low, high) == tuple(law.interval(0.95))
    assert ov.expected_curve(r)[39] == pytest.approx(law.mean())
    many = two(90, groups=3)
    rng = np.random.default_rng(1)
    draws = sum(rng.hypergeometric(5, size - 5, 5, 200_000) for size in many.sizes.tolist())
    assert ov.hypergeometric(many, 5)[0] == pytest.approx(np.mean(draws >= ov.shared_at(many, 5)), abs=0.005)


@pytest.mark.parametrize("null", ["permutation", "shift"])
def test_moving_nulls_keep_scores_within_groups(null):
    r = two(120, groups=3)
    for draw in ov.null_draws(r, null, 5):
        for g in range(3):
            here = r.group == g
            assert sorted(draw.a[here]) == sorted(r.a[here])
            assert sorted(draw.rank_a[here]) == list(range(here.sum()))
        assert (draw.b == r.b).all()


def test_shifts_are_made_once_each_and_keep_neighbours():
    r = two(30)
    draws = list(ov.null_draws(r, "shift", 1000))
    assert len(draws) == 29
    assert {tuple(d.a) for d in draws} == {tuple(np.roll(r.a, i)) for i in range(1, 30)}
    assert len(list(ov.null_draws(r, "shift", 10))) == 10


def test_blocks_stay_whole_and_in_place():
    label = np.repeat([0, 1, 2], [4, 8, 2])
    a = label * 100.0 + np.concatenate([np.arange(n) for n in (4, 8, 2)])
    r = ov.rankings(a, np.random.default_rng(1).random(14), block=label)
    seen = set()
    for draw in ov.null_draws(r, "blocks", 200):
        sources = [set((draw.a[label == i] // 100).tolist()) for i in range(3)]
        assert all(len(s) == 1 for s in sources)  # a block's scores come from one block
        seen.add(tuple(int(s.pop()) for s in sources))
        assert sorted(draw.rank_a) == list(range(14))
    assert len(seen) == 6


def test_phenotype_null_has_the_ld_of_the_genotypes():
    rng = np.random.default_rng(1)
    base = rng.integers(0, 3, (200, 10)).astype(float)
    x = np.repeat(base, 3, axis=1)  # runs of three identical SNPs
    r = ov.rankings(rng.random(30), rng.random(30), dosage=x, z_b=np.full(30, 8.0))
    draws = np.array([d.b for d in ov.null_draws(r, "phenotype", 100)])
    runs = draws.reshape(100, 10, 3)
    assert np.ptp(runs, axis=2).max() < 1e-4
    assert 6 < np.median(draws.max(axis=1)) < 10  # as strong a signal as the one given
    noise = ov.rankings(rng.random(30), rng.random(30), dosage=x, z_b=np.full(30, 1.0))
    assert np.median([d.b.max() for d in ov.null_draws(noise, "phenotype", 100)]) < 3


def test_null_overlap_against_loops():
    r = two(60, seed=4)
    found = ov.null_overlap(r, "shift", 1000, ks=(7,))
    counts = []
    for i in range(1, 60):
        moved = np.roll(r.rank_a, i)
        counts.append(int(np.sum((moved < 7) & (r.rank_b < 7))))
    at = found.at(7)
    assert at["mean"] == pytest.approx(np.mean(counts))
    assert at["p"] == pytest.approx((1 + np.sum(np.array(counts) >= ov.shared_at(r, 7))) / 60)
    assert found.n == 59 and 0 < found.p_any <= 1
    with pytest.raises(GenopredError, match="not kept at k = 9999"):
        found.at(9999)


def test_true_overlap_is_found_by_every_null():
    rng = np.random.default_rng(2)
    x = np.repeat(rng.integers(0, 3, (150, 40)), 5, axis=1).astype(float)
    signal = np.repeat(rng.random(40), 5)
    a, b = signal + 0.05 * rng.random(200), signal + 0.05 * rng.random(200)
    r = ov.rankings(a, b, block=loci.ld_blocks(x, min_snps=5), dosage=x, z_b=b)
    for null in ov.NULLS:
        found = ov.null_overlap(r, null, 500, ks=(20,))
        assert found.at(20)["p"] < 0.02 and found.p_any < 0.02, null


def test_plain_tests_are_fooled_by_ld_and_the_others_are_not():
    """Two independent phenotypes on the same genotypes, 60 blocks of 8 SNPs in full LD: nothing is shared."""
    rng = np.random.default_rng(3)
    called = {"hypergeometric": 0, "permutation": 0, "shift": 0, "blocks": 0, "phenotype": 0}
    people, pairs, k = 120, 60, 24
    for _ in range(pairs):
        x = np.repeat(rng.standard_normal((people, 60)), 8, axis=1) + 0.1 * rng.standard_normal((people, 480))
        y = rng.standard_normal((2, people))
        a, b = np.abs(y @ (x - x.mean(axis=0)))
        r = ov.rankings(a, b, block=np.repeat(np.arange(60), 8), dosage=x)
        called["hypergeometric"] += ov.hypergeometric(r, k)[0] <= 0.05
        for null in ov.NULLS:
            test = ov.null_test(r, lambda draw: float(ov.shared_at(draw, k)), null, 99)
            called[null] += test.p <= 0.05
    # 3 of 60 expected at 5 %; more than 9 has p < 0.001.
    assert called["hypergeometric"] > 9 and called["permutation"] > 9, called
    assert called["blocks"] <= 9 and called["phenotype"] <= 9, called
    assert called["shift"] < called["permutation"], called


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 8, (2, 100)).astype(float)
    assert ov.rank_correlation(ov.rankings(a, b)) == pytest.approx(stats.spearmanr(a, b).statistic)
    group = np.repeat([0, 1], [30, 70])
    parts = [stats.spearmanr(a[group == g], b[group == g]).statistic for g in (0, 1)]
    together = ov.rank_correlation(ov.rankings(a, b, group=group))
    assert together == pytest.approx(0.3 * parts[0] + 0.7 * parts[1])


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.booleans())
def test_precision_and_recall_are_sklearns(seed, tied):
    rng = np.random.default_rng(seed)
    s = rng.integers(0, 6, 80) * 1.0 if tied else rng.random(80)
    hit = rng.random(80) < 0.2
    hit[0] = True
    assert ov.average_precision(s, hit) == pytest.approx(average_precision_score(hit, s))
    precision, recall, threshold = ov.precision_recall(s, hit)
    p, r, t = precision_recall_curve(hit, s)
    assert np.allclose(precision, p[:-1][::-1]) and np.allclose(recall, r[:-1][::-1])
    assert np.allclose(threshold, t[::-1])
    group = rng.integers(0, 3, 80)
    parts = [average_precision_score(hit[group == g], s[group == g]) for g in range(3) if hit[group == g].any()]
    assert ov.average_precision(s, hit, group) == pytest.approx(np.mean(parts))


def test_matched_enrichment_takes_out_what_is_matched():
    rng = np.random.default_rng(1)
    distance = rng.random(4000)
    score = 1 - distance + 0.1 * rng.random(4000)  # near the TSS high, whatever the eQTL
    member = rng.random(4000) < 0.3 * (1 - distance) ** 3
    plain = ov.matched_enrichment(score, member, np.zeros(4000) + rng.random(4000), n=500)
    matched = ov.matched_enrichment(score, member, distance, n=500, n_bins=40)
    assert plain.p < 0.01 and plain.mean > plain.high
    assert matched.p > 0.01 and matched.low <= matched.mean <= matched.high + 0.01
    score[member] += 0.2
    real = ov.matched_enrichment(score, member, distance, n=500, n_bins=40)
    assert real.p < 0.01 and real.ratio > 1.05
    assert real.n + real.unmatched == member.sum()


def test_matched_enrichment_refuses_what_cannot_be_matched():
    with pytest.raises(GenopredError, match="no SNP is a member"):
        ov.matched_enrichment([1.0, 2.0], [False, False], [1.0, 2.0])
    with pytest.raises(GenopredError, match="no member has a control"):
        ov.matched_enrichment([1.0, 2.0], [True, True], [1.0, 2.0])
    with pytest.raises(GenopredError, match="finite row"):
        ov.matched_enrichment([1.0, 2.0], [True, False], [1.0, np.nan])


def test_shared_loci():
    pos = [100, 150, 5_000, 5_050]
    r = ov.rankings([9.0, 8.0, 1.0, 2.0], [1.0, 9.0, 8.0, 2.0], pos=pos)
    assert ov.shared_loci(r, [1, 1, 2, 2], 2) == (1, 2, 1)


def test_intervals_hold_the_value_and_widen_with_fewer_loci():
    rng = np.random.default_rng(1)
    x = rng.random(400)
    r = ov.rankings(x, x + 0.1 * rng.random(400))
    low, high = ov.overlap_interval(r, 40, 300)
    assert low <= ov.shared_at(r, 40) <= high
    low, high = ov.bootstrap_interval(r, ov.rank_correlation, 300)
    assert low < ov.rank_correlation(r) < high <= 1
    groups = ov.rankings(x, x + 0.1 * rng.random(400), group=np.repeat(np.arange(20), 20))
    low, high = ov.overlap_interval(groups, 5, 300)
    assert low <= ov.shared_at(groups, 5) <= high


def test_sign_agreement():
    same, n, bounds, p = ov.sign_agreement([1.0] * 9 + [-1.0, 0.0], [1.0] * 10 + [1.0])
    assert (same, n) == (9, 10) and p == pytest.approx(stats.binomtest(9, 10).pvalue)
    assert bounds[0] < 0.9 < bounds[1]
    assert ov.sign_agreement([0.0], [1.0])[:2] == (0, 0)


def test_founding_recipe_finds_what_was_put_in():
    rng = np.random.default_rng(1)
    effect, p = rng.standard_normal(1000), rng.random(1000)
    score = ov.founding_score(effect, p)
    e, s = np.abs(effect), -np.log10(p)
    assert np.allclose(score, (e - e.min()) / np.ptp(e) + (s - s.min()) / np.ptp(s))
    shuffled = ov.shuffled_founding(effect, p, 50, 50)
    assert shuffled.mean() > 10  # effects of nothing at all, and 2.5 expected by chance


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ov.rankings([1.0, 1.0], [1.0, 2.0]), "same a"),
        (lambda: ov.rankings([1.0, np.nan], [1.0, 2.0]), "no finite a"),
        (lambda: ov.rankings([1.0], [1.0]), "at least 2"),
        (lambda: ov.rankings([1.0, 2.0], [1.0, 2.0, 3.0]), "shape"),
        (lambda: ov.rankings([1.0, 2.0], [1.0, 2.0], group=[1]), "group"),
        (lambda: ov.rankings([1.0, 2.0], [1.0, 2.0], dosage=[[1.0]]), "dosage"),
        (lambda: ov.shared_at(two(10), 11), "between 1 and the 10"),
        (lambda: list(ov.null_draws(two(10), "jackknife", 5)), "unknown"),
        (lambda: list(ov.null_draws(two(10), "shift", 0)), "at least 1"),
        (lambda: list(ov.null_draws(two(10), "blocks", 5)), "needs LD blocks"),
        (lambda: list(ov.null_draws(two(10, block=np.zeros(10)), "blocks", 5)), "one LD block"),
        (lambda: list(ov.null_draws(two(10), "phenotype", 5)), "give genotypes"),
        (lambda: ov.min_max([2.0, 2.0]), "cannot be scaled"),
        (lambda: ov.precision_recall([1.0], [False]), "no SNP"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(GenopredError, match=words):
        call()
