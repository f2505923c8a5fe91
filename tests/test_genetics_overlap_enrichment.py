"""Sets of SNPs: against scikit-learn and SciPy, and on known truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, precision_recall_curve

from genopred.errors import GenopredError
from genopred.genetics.overlap.enrichment import average_precision, matched_enrichment, precision_recall, sign_agreement


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.booleans())
def test_precision_and_recall_are_sklearns(seed, tied):
    rng = np.random.default_rng(seed)
    s = rng.integers(0, 6, 80) * 1.0 if tied else rng.random(80)
    hit = rng.random(80) < 0.2
    hit[0] = True
    assert average_precision(s, hit) == pytest.approx(average_precision_score(hit, s))
    precision, recall, threshold = precision_recall(s, hit)
    p, r, t = precision_recall_curve(hit, s)
    assert np.allclose(precision, p[:-1][::-1]) and np.allclose(recall, r[:-1][::-1])
    assert np.allclose(threshold, t[::-1])
    group = rng.integers(0, 3, 80)
    parts = [average_precision_score(hit[group == g], s[group == g]) for g in range(3) if hit[group == g].any()]
    assert average_precision(s, hit, group) == pytest.approx(np.mean(parts))


def test_matched_enrichment_takes_out_what_is_matched():
    rng = np.random.default_rng(1)
    distance = rng.random(4000)
    score = 1 - distance + 0.1 * rng.random(4000)  # near the TSS high, whatever the eQTL
    member = rng.random(4000) < 0.3 * (1 - distance) ** 3
    plain = matched_enrichment(score, member, np.zeros(4000) + rng.random(4000), n=500)
    matched = matched_enrichment(score, member, distance, n=500, n_bins=40)
    assert plain.p < 0.01 and plain.mean > plain.high
    assert matched.p > 0.01 and matched.low <= matched.mean <= matched.high + 0.01
    score[member] += 0.2
    real = matched_enrichment(score, member, distance, n=500, n_bins=40)
    assert real.p < 0.01 and real.ratio > 1.05
    assert real.n + real.unmatched == member.sum()


def test_matched_enrichment_refuses_what_cannot_be_matched():
    with pytest.raises(GenopredError, match="no SNP"):
        precision_recall([1.0], [False])
    with pytest.raises(GenopredError, match="no SNP is a member"):
        matched_enrichment([1.0, 2.0], [False, False], [1.0, 2.0])
    with pytest.raises(GenopredError, match="no member has a control"):
        matched_enrichment([1.0, 2.0], [True, True], [1.0, 2.0])
    with pytest.raises(GenopredError, match="finite row"):
        matched_enrichment([1.0, 2.0], [True, False], [1.0, np.nan])


def test_sign_agreement():
    same, n, bounds, p = sign_agreement([1.0] * 9 + [-1.0, 0.0], [1.0] * 10 + [1.0])
    assert (same, n) == (9, 10) and p == pytest.approx(stats.binomtest(9, 10).pvalue)
    assert bounds[0] < 0.9 < bounds[1]
    assert sign_agreement([0.0], [1.0])[:2] == (0, 0)
