"""Accuracy by group: what is counted where, what models of one group reach in another, and where accuracy is lost."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from models_data import LEARNERS, cohort, stack_settings, write_inputs

from genopred.errors import GenopredError
from genopred.learning.fitted import lost_between
from genopred.pipelines import stack, stack_groups
from genopred.pipelines.inputs import open_cohort

pytest.importorskip("msprime", reason="no msprime: no cohort can be simulated")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Two groups of one population, and 25 others who are too few to train on."""
    folder = tmp_path_factory.mktemp("groups")
    names = cohort().samples.tolist()
    label = ["few" if i < 25 else "ab"[i % 2] for i in range(len(names))]
    (folder / "groups.tsv").write_text("sample\tgroup\n" + "".join(f"{s}\t{g}\n" for s, g in zip(names, label)))
    inputs = write_inputs(folder) | {"keep": None}
    settings = stack_settings(
        inputs, folder / "out", learners=("ridge", "susie-tss", "elastic-net-tss"), meta="linear",
        groups=folder / "groups.tsv", outer_folds=3, min_overlap=150.0,
    )  # fmt: skip
    stack.run(settings)
    return settings, dict(zip(names, label))


def test_accuracy_of_each_group_is_that_of_its_own_held_out_people(ran):
    settings, label = ran
    table = pl.read_parquet(settings.out / "groups.parquet")
    held = pl.read_parquet(settings.out / "predictions.parquet").filter(pl.col("method") == "stack-linear")
    for row in table.filter(pl.col("method") == "stack-linear").iter_rows(named=True):
        mine = held.filter(pl.col("sample").replace_strict(label) == row["group"])
        naive = []
        for _, part in mine.group_by("gene_id"):
            y, p = part["observed"].to_numpy(), part["predicted"].to_numpy()
            naive.append(1 - np.sum((y - p) ** 2) / np.sum((y - y.mean()) ** 2))
        assert row["mean_r2"] == pytest.approx(np.mean(naive)) and row["genes"] == len(naive)
        assert row["people"] == sum(group == row["group"] for group in label.values())
        assert row["mean_r2_low"] <= row["mean_r2"] <= row["mean_r2_high"]
    assert set(table["group"]) == {"a", "b", "few"}


def test_models_of_one_group_in_another_lose_what_is_said(ran):
    settings, _ = ran
    table = pl.read_parquet(settings.out / "transfer.parquet")
    pairs = set(table.select("trained_on", "tested_on").iter_rows())
    assert pairs == {("a", "b"), ("b", "a"), ("a", "few"), ("b", "few")}  # too few to train on, enough to test on
    lost = table.select(pl.sum_horizontal("reached", "lost_missing", "lost_frequency", "lost_rest"))
    assert np.allclose(lost.to_series(), table["within"])
    assert (table["reached"] > 0).all()  # half of expression is heritable, and both are of one population
    assert (table["lost_missing"].abs() < 0.05).all()


def test_training_never_sees_the_group_tested_on(ran):
    settings, label = ran
    people = (settings.out / "groups" / "a" / "people.txt").read_text().split()
    assert set(people) == {name for name, group in label.items() if group == "a"}
    held = pl.read_parquet(settings.out / "groups" / "a" / "predictions.parquet")
    assert set(held["sample"]) == set(people)


def test_page_shows_groups(ran):
    html = (ran[0].out / "report.html").read_text()
    assert "By group" in html and "Lost: frequency" in html


def test_variants_that_do_not_vary_elsewhere_and_other_frequencies_take_what_they_carry():
    weights = [0.5, 1.0, -0.3]
    freq, here = [0.2, 0.5, 0.4], [np.nan, 0.1, 0.4]
    table = pl.DataFrame({"gene_id": ["g"] * 3, "weight": weights, "freq": freq, "here": here})
    missing, frequency = lost_between(table, {"g": 0.3})
    v = [w * w * f * (1 - f) for w, f in zip(weights, freq)]
    now = weights[1] ** 2 * 0.1 * 0.9 + v[2]
    assert missing["g"] == pytest.approx(0.3 * v[0] / sum(v))
    assert frequency["g"] == pytest.approx(0.3 * (v[1] + v[2] - now) / sum(v))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sample\tgroup\n{all:x}", "everybody is of group x; two groups are needed"),
        ("sample\tgroup\nP0\tx\n", "samples have no group"),
        ("sample\tbatch\nP0\tx\n", "needed are 'sample' \\(or 'IID'\\) and 'group'"),
    ],
)
def test_groups_that_say_nothing(ran, tmp_path, text, said):
    file = tmp_path / "groups.tsv"
    file.write_text(text.replace("{all:x}", "".join(f"{name}\tx\n" for name in cohort().samples)))
    with pytest.raises(GenopredError, match=said):
        stack.run(replace(ran[0], groups=file), page=False)


def test_constants_fit_the_learners():
    assert stack_groups.TESTED < stack_groups.FEWEST and len(LEARNERS) > 1


def test_other_people_in_a_group_train_other_models(ran, tmp_path):
    """The run itself goes on; a group's own stack is of the people it now has, however many must overlap in the run."""
    settings, label = ran
    shutil.copytree(settings.out, tmp_path / "out")
    moved = dict(list(label.items())[::-1])
    first = next(name for name, group in moved.items() if group == "a")
    moved[first] = "b"
    text = "sample\tgroup\n" + "".join(f"{name}\t{group}\n" for name, group in moved.items())
    (tmp_path / "groups.tsv").write_text(text)
    stack.run(replace(settings, out=tmp_path / "out", groups=tmp_path / "groups.tsv"), page=False)
    for group in "ab":
        people = (tmp_path / "out" / "groups" / group / "people.txt").read_text().split()
        assert set(people) == {name for name, of in moved.items() if of == group}
        held = pl.read_parquet(tmp_path / "out" / "groups" / group / "predictions.parquet")
        assert set(held["sample"]) == set(people)


def test_quantile_normalised_expression_is_what_is_reached_too(ran, tmp_path, monkeypatch):
    """The outcome of the group tested on is made of the same values as the training's."""
    settings, _ = ran
    seen = []
    plain = stack_groups.expression_values
    monkeypatch.setattr(stack_groups, "expression_values", lambda *args: seen.append(plain(*args)) or seen[-1])
    config = replace(settings, out=tmp_path / "out", transform="quantile", residualize="none")
    stack.run(config, page=False)
    assert seen and not np.allclose(seen[0], open_cohort(config).expression.values)
