"""genopred features --dry-run, on files."""

import pytest

pytest.importorskip("torch")

import test_pipelines_features as shared
from test_pipelines_features import settings

from genopred.pipelines.features import run

files, packages = shared.files, shared.packages


def test_dry_run_counts_and_writes_nothing(files):
    found = run(settings(files, dry_run=True))
    assert not (files / "out").exists()
    ran = run(settings(files))
    assert found.cost.genes["distinct"].to_list() == ran.genes["distinct"].to_list()
    assert found.cost.genes["haplotypes"].sum() == 4 * 18 and found.cost.hours < found.cost.naive_hours
    assert any("distinct windows" in line for line in found.lines())


def test_what_each_mode_costs(files):
    costs = [
        run(settings(files, dry_run=True, model="lin:1", **more)).cost.genes["passes"].sum()
        for more in ({}, {"dtype": "bf16"}, {"mode": "linear"}, {"mode": "reference"})
    ]
    # 8 haplotypes a gene more; 1 + 2 x 9 backward passes and a sample of 18; one
    assert costs[0] < costs[1] <= costs[0] + 4 * 8 and costs[3] == 4 and costs[2] >= 4 * (1 + 2 * 9)
