"""Resuming, refusing and starting over: the one rule of all workflows."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from genopred.errors import GenopredError
from genopred.files import atomic
from genopred.pipelines import run

OUTPUTS = ("table.tsv", "pairs.*.parquet", "parts/*.json")


@dataclass(frozen=True)
class Inputs:
    bfile: Path | None = None
    pfile: Path | None = None
    covar: Path | None = None
    window: int = 1


@dataclass(frozen=True)
class Config:
    cohort: Inputs
    out: Path = Path("x")
    seed: int = 1
    threads: int = 1
    genotypes: tuple[str, Path] | None = None


def test_a_copied_file_is_the_same_and_a_changed_one_is_not(tmp_path):
    file = tmp_path / "covar.txt"
    file.write_text("abc")
    one = run.fingerprint(Config(Inputs(covar=file)))
    (tmp_path / "back").mkdir()
    copy = Path(shutil.copy(file, tmp_path / "back"))
    os.utime(copy, ns=(1, 1))
    assert run.fingerprint(Config(Inputs(covar=copy), out=Path("y"), threads=2)) == one
    copy.write_text("abd")  # as long as before
    os.utime(copy, ns=(1, 1))
    assert run.difference(one, run.fingerprint(Config(Inputs(covar=copy)))) == ["--covar"]


def test_of_a_large_file_stretches_all_over_it_count(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_WHOLE", 100)
    monkeypatch.setattr(run, "_PIECE", 10)
    monkeypatch.setattr(run, "_PIECES", 3)
    file = tmp_path / "large"
    seen = set()
    for changed in (None, 0, 999, 500):
        data = bytearray(1000)
        if changed is not None:
            data[changed] = 1
        file.write_bytes(data)
        seen.add(run.digest(file))
    file.write_bytes(bytes(1001))
    assert len({*seen, run.digest(file)}) == 5


@pytest.mark.parametrize(
    ("option", "suffix"), [("bfile", ".bed"), ("bfile", ".fam"), ("pfile", ".pvar.zst"), ("pfile", ".psam")]
)
def test_all_files_of_a_prefix_count_and_nothing_beside_them(tmp_path, option, suffix):
    prefix = tmp_path / "geno.v2"
    for end in (*run.PREFIXES[option], ".log", ".parquet"):
        Path(f"{prefix}{end}").write_text(end)
    one = run.fingerprint(Config(Inputs(**{option: prefix})))
    pair = run.fingerprint(Config(Inputs(), genotypes=(option, prefix)))
    Path(f"{prefix}.log").write_text("other")
    Path(f"{prefix}.pgi").write_text("an index")
    assert run.fingerprint(Config(Inputs(**{option: prefix}))) == one
    Path(f"{prefix}{suffix}").write_text("OTHER")
    assert run.difference(one, run.fingerprint(Config(Inputs(**{option: prefix})))) == [f"--{option}"]
    assert run.difference(pair, run.fingerprint(Config(Inputs(), genotypes=(option, prefix)))) == ["genotypes"]


def test_the_version_counts(monkeypatch):
    one = run.fingerprint(Config(Inputs()), folds="abc")
    monkeypatch.setattr(run, "versions", lambda: {"genopred": "99"})
    assert run.difference(one, run.fingerprint(Config(Inputs(), seed=2), folds="abd")) == ["seed", "folds", "version"]


@pytest.mark.parametrize("prefix", [False, True])
def test_same_goes_on_others_are_refused_and_no_resume_removes_them(tmp_path, prefix):
    out = tmp_path / "a[b]"
    (out if not prefix else tmp_path).mkdir(exist_ok=True)
    base = f"{out}." if prefix else f"{out}/"
    settings = run.fingerprint(Config(Inputs()))

    def settle(**changes):
        return run.settle(out, settings | changes, OUTPUTS, resume=True, prefix=prefix)

    assert not settle()
    assert json.loads(Path(f"{base}run.json").read_text()) == settings
    assert not settle(seed=2)  # nothing had come of it
    assert not settle()
    written = [Path(f"{base}{name}") for name in ("table.tsv", "pairs.chr1.parquet", "parts/one.json")]
    other = [Path(f"{base}{name}") for name in ("mine.tsv", "parts/mine.txt")] + [tmp_path / "table.tsv"]
    written[2].parent.mkdir()
    for file in written + other:
        file.write_text("{}")
    assert settle()
    with pytest.raises(GenopredError, match=r"other settings \(--window, seed\).*--no-resume"):
        settle(seed=2, cohort={**settings["cohort"], "window": 5})
    assert all(file.exists() for file in written)
    Path(f"{base}run.json").write_text("{half")
    with pytest.raises(GenopredError, match=r"settings are not known \(no (a\[b\]\.)?run\.json\)"):
        settle()
    assert not run.settle(out, settings, OUTPUTS, resume=False, prefix=prefix)
    assert not any(file.exists() for file in written) and all(file.exists() for file in other)
    assert not settle()


@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("name", ["table.tsv", "pairs.chr1.parquet", "parts/one.json", "run.json"])
def test_what_a_killed_run_was_writing_goes_and_a_neighbours_stays(tmp_path, prefix, name):
    out = tmp_path / ("x" * 100)
    base = f"{out}." if prefix else f"{out}/"
    neighbour = f"{out}.other." if prefix else f"{tmp_path}/other/"
    with atomic(f"{base}{name}") as killed, atomic(f"{neighbour}{name}") as alive, atomic(f"{base}notours") as mine:
        run.sweep(out, OUTPUTS, prefix=prefix)
        assert not killed.exists() and alive.exists() and mine.exists()
        killed.touch()
