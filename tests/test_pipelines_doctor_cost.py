"""Forecasts: scaled up from what was measured, and held against what is free."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import genopred
from genopred.errors import GenopredError
from genopred.pipelines import doctor, doctor_cost
from genopred.pipelines.doctor_cost import Forecast, _at, judged
from genopred.settings import Doctor

#: An hour on two cores: 3 processes of 1 GB, 10 GB on disk.
HOUR = Forecast("stack", 1000, 500, 7200.0, 3600.0, 1e9, 3, 1e10, 2)


def test_what_fits_is_green():
    [one] = judged(HOUR, int(8e9), int(1e12))
    assert one.level == "green"
    assert (
        "1,000 genes of 500 people take about 2 h 0 min of CPU, 1 h 0 min on 2 cores; 3 processes of 1.0 GB" in one.said
    )
    assert [f.level for f in judged(HOUR, None, int(1e12))] == ["green"]


def test_a_disk_that_is_too_small_is_red():
    [one] = judged(HOUR, int(8e9), int(5e9))
    assert one.level == "red" and "where 5.0 GB are free" in one.said and one.remedy.startswith("Free 7.0 GB")


def test_memory_that_is_too_small_is_red():
    [one] = judged(HOUR, int(3e9), int(1e12))
    assert one.level == "red" and "3.0 GB of memory are free, 3.0 GB needed" in one.said and "--threads 1" in one.remedy
    [one] = judged(replace(HOUR, memory=4e9), int(3e9), int(1e12))
    assert "more memory" in one.remedy


def test_more_than_a_day_is_amber():
    [one] = judged(replace(HOUR, wall=90_000.0), int(8e9), int(1e12))
    assert one.level == "amber" and "--genes" in one.remedy


def test_seconds_follow_the_number_of_variants():
    found = _at([(100.0, 1.0), (300.0, 2.0)], np.array([100, 200, 300, 0]))
    assert found.tolist() == [1.0, 1.5, 2.0, 0.5]
    assert _at([(100.0, 2.0), (300.0, 1.0)], np.array([100, 300])).tolist() == [1.5, 1.5]  # it does not fall


def test_the_disk_of_a_small_cohort_is_measured(monkeypatch):
    """The whole way, with a disk that is full."""
    monkeypatch.setattr(doctor_cost.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1_000_000}))
    example = genopred.load_example()
    files = (example.pfile, example.expression_file, example.covariates_file)
    diagnosis = doctor.run(Doctor(files=files, threads=1))
    [stack] = diagnosis.forecasts
    assert stack.genes == 28 and stack.people == 358 and stack.processes == 1
    assert 30 < stack.cpu < 500 and 3e8 < stack.memory < 1.5e9 and 4e6 < stack.disk < 2e7
    [red] = [one for one in diagnosis.findings if one.level == "red"]
    assert red.check == "disk" and "1.0 MB are free" in red.said and diagnosis.exit_code == 2


def test_features_are_computed_of_a_few_genes():
    pytest.importorskip("enformer_pytorch")
    example = genopred.load_example()
    chosen = {"pfile": str(example.pfile), "expression": str(example.expression_file), "all_genes": True, "threads": 1}
    found = Forecast(**doctor_cost._measure("features", chosen | {"fasta": str(example.reference_file)}))
    assert found.genes == 28 and 2 < found.cpu < 60 and found.memory > 2e8 and 1e5 < found.disk < 2e6


def test_a_forecast_that_fails_is_said():
    with pytest.raises(GenopredError, match="no such file"):
        doctor_cost._measure("stack", {"pfile": "nothing", "expression": "nothing", "all_genes": True})
