"""genopred.sequence.cost: what is counted and timed before anything is computed."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from test_sequence_features import Toy, sequences

from genopred.sequence.cost import cost, count_passes, time_pass, work
from genopred.sequence.features import FeatureSettings


def test_work_counts_distinct_tokens_as_a_loop_would():
    model = Toy()
    people = sequences()
    plain = work(model, people)
    assert plain == {"haplotypes": 24, "distinct": len({*people.strings()}), "tokens": 0, "naive_tokens": 0}
    model.token_size, model.token_reach = 8, (5, 10)
    found = work(model, people)
    texts = ["N" * 5 + text + "N" * 20 for text in [*people.strings(), people.with_reference().strings()[-1]]]
    tokens = sum(len({text[i : i + 16] for text in texts}) for i in range(0, 64, 8))
    assert found["tokens"] == tokens and found["naive_tokens"] == 24 * 8


GENES = pl.DataFrame(
    {
        "gene_id": ["a", "b"],
        "haplotypes": [100, 100],
        "distinct": [40, 10],
        "tokens": [400, 100],
        "naive_tokens": [10_000, 10_000],
    }
)


def settings(**changes):
    return FeatureSettings(**{"tracks": (0, 1, 2), "bins": (0, 1, 2)} | changes)


def test_passes_are_tokens_in_the_tower_and_windows_after_it():
    model = Toy()
    model.tower_share = 0.75
    # 100 tokens a window: 4 and 1 windows' worth of tower
    np.testing.assert_allclose(count_passes(GENES, model, settings()), [0.75 * 4 + 0.25 * 40, 0.75 + 0.25 * 10])
    lower = count_passes(GENES, model, settings(dtype="bf16"))
    np.testing.assert_allclose(lower - count_passes(GENES, model, settings()), 0.75 + 0.25 * np.array([8, 8]))
    assert count_passes(GENES, model, settings(mode="reference")).tolist() == [1, 1]
    without = GENES.with_columns(tokens=0, naive_tokens=0)
    assert count_passes(without, model, settings()).tolist() == [40, 10]


def test_linear_that_costs_more_says_so(caplog):
    model = Toy()
    model.tower_share = 0.75
    three, one = settings(mode="linear"), settings(mode="linear", tracks=(0,), bins=(0,))
    with caplog.at_level("WARNING", logger="genopred"):
        found = count_passes(GENES.with_columns(distinct=400), model, one)
    assert not caplog.text and found[0] == pytest.approx(0.75 * 5 + 0.25 * (1 + 2 * 1 + 20))
    with caplog.at_level("WARNING", logger="genopred"):
        found = count_passes(GENES, model, three)
    np.testing.assert_allclose(found, [0.75 * 5 + 0.25 * (1 + 2 * 9 + 20), 0.75 * 2 + 0.25 * (1 + 2 * 9 + 10)])
    assert "--mode linear with 3 tracks costs more than --mode exact" in caplog.text


def test_both_strands_take_twice_the_time_and_two_devices_half():
    one = cost(GENES, [Toy()], settings(strands="both"), people=50)
    two = cost(GENES, [Toy(), Toy()], settings(strands="both", per_haplotype=True), people=50)
    assert one.genes["passes"].sum() == 2 * count_passes(GENES, Toy(), settings()).sum()
    assert one.hours == pytest.approx(one.genes["seconds"].sum() / 3600)
    assert two.hours == pytest.approx(two.genes["seconds"].sum() / 3600 / 2)
    assert one.output_gb == pytest.approx(3 * 50 * 4 * 2 / 1e9) and two.output_gb == pytest.approx(2 * one.output_gb)


def test_a_pass_takes_time_and_memory():
    seconds, peak = time_pass(Toy())
    assert 0 < seconds < 5 and peak > 1e6
