"""What a run leaves beside its results: files known again by their content, and what a killed run was writing."""

from __future__ import annotations

import json

import pytest

from genopred import resume
from genopred.files import atomic

OUTPUTS = ("table.tsv", "pairs.*.parquet", "parts/*.json")


def test_of_a_large_file_stretches_all_over_it_count(tmp_path, monkeypatch):
    monkeypatch.setattr(resume, "_WHOLE", 100)
    monkeypatch.setattr(resume, "_PIECE", 10)
    monkeypatch.setattr(resume, "_PIECES", 3)
    file = tmp_path / "large"
    seen = set()
    for changed in (None, 0, 999, 500):
        data = bytearray(1000)
        if changed is not None:
            data[changed] = 1
        file.write_bytes(data)
        seen.add(resume.digest(file))
    file.write_bytes(bytes(1001))
    assert len({*seen, resume.digest(file)}) == 5


def test_files_count_inside_lists_and_by_name(tmp_path):
    file = tmp_path / "table"
    file.write_text("1")

    def of_files():
        return resume.fingerprint({"--a": (("one", file),), "more": {"table": file}})

    before = of_files()
    assert before["--a"] == [["one", [["table", resume.digest(file)]]]] and str(tmp_path) not in json.dumps(before)
    file.write_text("2")
    assert resume.difference(before, of_files()) == ["--a", "more"]


@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("name", ["table.tsv", "pairs.chr1.parquet", "parts/one.json", "run.json"])
def test_what_a_killed_run_was_writing_goes_and_a_neighbours_stays(tmp_path, prefix, name):
    out = tmp_path / ("x" * 100)
    base = f"{out}." if prefix else f"{out}/"
    neighbour = f"{out}.other." if prefix else f"{tmp_path}/other/"
    with atomic(f"{base}{name}") as killed, atomic(f"{neighbour}{name}") as alive, atomic(f"{base}notours") as mine:
        resume.sweep(out, OUTPUTS, prefix=prefix)
        assert not killed.exists() and alive.exists() and mine.exists()
        killed.touch()
