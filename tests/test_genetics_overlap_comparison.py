"""All questions of two rankings: answers where the truth is known, and what is said where there is none."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from genopred.genetics.overlap.comparison import RESULT_SCHEMA, Asked, between, compare, possible_nulls, rank_snps

NAMES = ("model", "eqtl")
ASKED = Asked((5, 10), ("permutation", "shift"), 200, 100, 1)


def table(m=60, genes=1, seed=1, **more):
    rng = np.random.default_rng(seed)
    signal = rng.random(m)
    return pl.DataFrame(
        {
            "gene": [f"g{i * genes // m}" for i in range(m)],
            "id": [f"rs{i}" for i in range(m)],
            "chrom": ["22"] * m,
            "pos": np.arange(m) * 1_000,
            "score_a": signal,
            "score_b": signal + 0.01 * rng.random(m),
            "effect_a": signal - 0.5,
            "effect_b": signal - 0.5,
            "p_b": 10 ** (-5 * signal),
            **more,
        }
    )


def asked(snps, **options):
    ranked = rank_snps(NAMES, snps, grouped=False, kb=0.5)
    return ranked, compare(ranked, ASKED, match={"distance": np.abs(snps["pos"].to_numpy()[ranked.rankings.row])},
                           distance="alone", **options)  # fmt: skip


def test_rankings_that_agree_are_found_to():
    ranked, found = asked(table(), recipe=True)
    rows = pl.DataFrame(found.rows, schema=RESULT_SCHEMA, orient="row")
    assert possible_nulls(ranked) == ["permutation", "shift"] and found.notes == ()
    plain = rows.filter(pl.col("measure") == "overlap at k")
    assert set(plain["null"]) == {"hypergeometric", "permutation", "shift"} and (plain["p"] < 0.05).all()
    assert (plain["value"] >= 0.8 * plain["k"]).all()
    same = rows.filter(pl.col("measure").str.starts_with("share of same sign"))
    assert (same["value"] == 1).all() and same.height == 4
    circular = rows.filter(pl.col("circular"))
    assert circular["note"].str.starts_with("CIRCULAR").all() and circular.height == 2
    assert found.snps.columns[-1] == "founding_score" and found.snps["rank_a"].min() == 1


def test_sets_and_unknown_effects():
    snps = table().with_columns(effect_a=pl.lit(None, pl.Float64))
    member = np.zeros(60, dtype=bool)
    _, found = asked(snps, sets=("sets", member))
    measures = {row["measure"]: row for row in found.rows}
    assert measures["average precision for sets"]["note"] == "no SNP of the sets is ranked"
    assert "percentile of the score in sets" not in measures and "percentile of the score in top 5 of eqtl" in measures
    assert [note for _, note, _, _ in found.notes] == [
        "no agreement of sign: effects of both tables with both alleles (ref, alt) are needed"
    ]


def test_genes_of_one_snp_are_left_out_and_ties_are_noted():
    snps = table(genes=3)
    snps = pl.concat([snps, snps[:1].with_columns(gene=pl.lit("alone"))])
    ranked = rank_snps(NAMES, snps.with_columns(score_a=pl.col("score_a").round(1)), grouped=True)
    assert ranked.dropped == ["alone"] and ranked.rankings.n == 60 and len(ranked.rankings.sizes) == 3
    assert [(status, reason) for status, reason, _, _ in ranked.notes] == [
        ("note", "SNPs with tied scores in model, put in random order")
    ]


def test_two_rankings_with_each_other():
    snps = table()
    ranked = rank_snps(("one", "two"), snps, grouped=False)
    p = ranked.snps["p_b"].set(pl.Series([True] + [False] * 59), None)
    rows = between(ranked, ASKED, p)
    assert [(row["measure"], row["k"], row["n"]) for row in rows] == [
        ("overlap at k", 5, 60),
        ("overlap at k", 10, 60),
        ("overlap at k, founding study's recipe", 5, 59),
        ("overlap at k, founding study's recipe", 10, 59),
    ]
    assert rows[0]["p"] == pytest.approx(1 / 60) and rows[2]["circular"]
