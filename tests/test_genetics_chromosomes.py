"""Clumps and scores over whole files: a chromosome at a time, a block at a time. plink's are in test_pipelines_prs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from genopred.errors import GenopredError
from genopred.genetics import chromosomes
from genopred.genetics.chromosomes import Summing, clump_chromosomes, score_table
from genopred.genetics.scores import polygenic_score
from genopred.types import Genotypes


def cohort(seed=1, n=40, soft=False):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, (n, 6)).astype(np.float32)
    x[:, 1], x[:, 4] = x[:, 0], x[:, 0]  # a copy near by, and one on the other chromosome
    x = x + 0.1 if soft else x
    variants = pl.DataFrame(
        {
            "chrom": ["1"] * 3 + ["chr2"] * 3,
            "pos": [100, 200, 300, 100, 200, 300],
            "id": [f"v{i}" for i in range(6)],
            "ref": ["A"] * 6,
            "alt": ["C"] * 6,
        }
    )
    reader = SimpleNamespace(dosage=lambda rows, columns: x[np.ix_(rows, columns)])
    return Genotypes(np.array([f"P{i}" for i in range(n)]), variants, reader, "toy"), x


EFFECTS = pl.DataFrame(
    {"column": range(6), "beta": [1.0, 0.9, 0.5, 0.4, 0.8, 0.3], "pval": [1e-6, 1e-5, 0.5, 1, 1e-4, 1]}
)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("block", [2, 2048])
def test_chromosomes_are_clumped_apart(monkeypatch, soft, block):
    monkeypatch.setattr(chromosomes, "BLOCK", block)
    weights, clumps = clump_chromosomes(cohort(soft=soft)[0], EFFECTS, (1e-3,), (0.9,))
    assert weights["variant_id"].to_list() == ["v0", "v4"] and weights["score"].unique().to_list() == ["p0.001_r0.9"]
    assert clumps.filter(pl.col("n_members") > 0).select("variant_id", "members").rows() == [("v0", "v1")]


def test_em_needs_hard_calls():
    with pytest.raises(GenopredError, match="needs hard calls"):
        clump_chromosomes(cohort(soft=True)[0], EFFECTS, (1e-3,), (0.9,), method="em")


@pytest.mark.parametrize("block", [2, 2048])
def test_scores_are_the_sums_over_all_chromosomes(monkeypatch, block):
    monkeypatch.setattr(chromosomes, "BLOCK", block)
    genotypes, x = cohort()
    x[3, 2] = np.nan
    weights = pl.DataFrame({"score": ["a", "a", "a", "b"], "column": [0, 2, 5, 4], "weight": [1.0, 0.5, -2.0, 3.0]})
    everybody, flipped, seen = np.ones(40, dtype=bool), np.array([False, True, False, False]), []
    table = score_table(genotypes, weights, everybody, flipped=flipped, progress=lambda *step: seen.append(step))
    used = x[:, [0, 2, 5]] * [1, -1, 1] + [0, 2, 0]
    np.testing.assert_allclose(table["a"], polygenic_score(used, [1.0, 0.5, -2.0]))
    np.testing.assert_allclose(table["b"], 3 * x[:, 4])
    assert seen[-1][:2] == (4, 4)
    average = score_table(genotypes, weights, everybody, Summing(average=True, skip_missing=True), flipped=flipped)
    np.testing.assert_allclose(average["a"], polygenic_score(used, [1.0, 0.5, -2.0], average=True, missing="skip"))
