"""What a search tries: grids, draws, proposals, and what is refused."""

from __future__ import annotations

import pytest

from genopred.errors import GenopredError
from genopred.training.search import Range, draw, grid, propose, read_space

SECTION = {
    "trials": 5,
    "seed": 2,
    "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "network": {"channels": {"low": 8, "high": 64}, "heads": [1, 2]},
}


def test_draws_follow_from_seed_and_number():
    space = read_space(SECTION, "f")
    assert space.settings.trials == 5
    drawn = [draw(space, i) for i in range(200)]
    assert drawn == [draw(space, i) for i in range(200)]
    rates = [one["training.learning_rate"] for one in drawn]
    assert 1e-4 <= min(rates) < 2e-4 and 8e-3 < max(rates) <= 1e-2
    # as many below as above the middle of the logarithms
    assert 70 < sum(rate < 1e-3 for rate in rates) < 130
    assert {one["network.heads"] for one in drawn} == {1, 2}
    channels = {one["network.channels"] for one in drawn}
    assert all(type(value) is int and 8 <= value <= 64 for value in channels) and len(channels) > 40
    assert Range(1, 3, False).at(0.0) == 1 and Range(1, 3, False).at(1.0) == 3


def test_a_grid_is_every_combination():
    space = read_space({"training.batch": [8, 16], "network.channels": [4, 5, 6]}, "f")
    tried = grid(space)
    assert len(tried) == 6 and tried[1] == {"training.batch": 8, "network.channels": 5}


def test_proposals_follow_from_the_trials_before():
    pytest.importorskip("optuna")
    space = read_space(SECTION, "f")

    def score(values):
        return -((values["network.channels"] - 20) ** 2) - 100 * (values["network.heads"] != 2)

    done = []
    for i in range(25):
        values = propose(space, i, done)
        assert values == propose(space, i, done)
        done.append((values, score(values)))
    best = max(value for _, value in done[10:])
    assert best > -50 and sum(v["network.heads"] == 2 for v, _ in done[12:]) > 8
    # a failed trial has no score
    assert propose(space, 3, [*done[:2], (done[2][0], float("nan"))])


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({}, "names no setting"),
        ({"training.batch": 8}, "needed a list of values"),
        ({"training.batch": {"low": 8, "high": 4}}, "low below high"),
        ({"training.batch": {"low": 0, "high": 4, "log": True}}, "low above 0"),
        ({"split.seed": [1, 2]}, "judged on one validation set"),
        ({"trial": 3, "training.batch": [1]}, "unknown key 'trial'.*Did you mean 'trials'"),
    ],
)
def test_bad_spaces(section, said):
    with pytest.raises(GenopredError, match=said):
        read_space(section, "f")


def test_a_grid_of_ranges_is_refused():
    with pytest.raises(GenopredError, match="1 settings are ranges"):
        grid(read_space({"training.batch": {"low": 1, "high": 4}}, "f"))
    with pytest.raises(GenopredError, match="at most 10,000"):
        grid(read_space({"training.batch": list(range(200)), "training.warmup": list(range(200))}, "f"))
