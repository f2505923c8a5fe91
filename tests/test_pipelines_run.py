"""What surrounds a workflow: its output locked, resumed, refused or started over; its genes and tables."""

# Settings are made here: no `from __future__ import annotations`.
import json
import os
import shutil
from pathlib import Path
from typing import Annotated

import joblib
import polars as pl
import pytest
from threadpoolctl import threadpool_info

from genopred import files, resume
from genopred.align import Tally
from genopred.errors import GenopredError
from genopred.files import lock_output
from genopred.io import text
from genopred.pipelines import run
from genopred.provenance import versions as run_versions
from genopred.settings import Option, parts

OUTPUTS = ("table.tsv", "pairs.*.parquet", "parts/*.json")


class Small(parts.Genotypes, parts.Covariates, parts.Seeded, out=Path("x")):
    """Little to say.

    Attributes
    ----------
    width : Of what is looked at.
    lists : Files by what they are for.
    """

    NEEDS_GENOTYPES = False

    width: int = 1
    lists: Annotated[tuple[str, ...], Option(flag="--list", each=True)] = ()


class Prefixed(Small):
    FOLDER = False


def known(**chosen):
    return resume.fingerprint(Small(**chosen).that_matter())


def test_a_copied_file_is_the_same_and_a_changed_one_is_not(tmp_path):
    file = tmp_path / "covar.txt"
    file.write_text("abc")
    one = known(covar=file)
    (tmp_path / "back").mkdir()
    copy = Path(shutil.copy(file, tmp_path / "back"))
    os.utime(copy, ns=(1, 1))
    assert known(covar=copy, out=Path("y"), threads=2, resume=False, quiet=True, max_bytes=5, command="x") == one
    copy.write_text("abd")  # as long as before
    os.utime(copy, ns=(1, 1))
    assert resume.difference(one, known(covar=copy)) == ["--covar"]


@pytest.mark.parametrize(
    ("option", "suffix"), [("bfile", ".bed"), ("bfile", ".fam"), ("pfile", ".pvar.zst"), ("pfile", ".psam")]
)
def test_all_files_of_a_prefix_count_and_nothing_beside_them(tmp_path, option, suffix):
    prefix = tmp_path / "geno.v2"
    for end in (*resume.PREFIXES[option], ".log", ".parquet"):
        Path(f"{prefix}{end}").write_text(end)
    one = known(**{option: prefix})
    Path(f"{prefix}.log").write_text("other")
    Path(f"{prefix}.pgi").write_text("an index")
    assert known(**{option: prefix}) == one
    Path(f"{prefix}{suffix}").write_text("OTHER")
    assert resume.difference(one, known(**{option: prefix})) == [f"--{option}"]


def test_the_version_counts(monkeypatch):
    one = resume.fingerprint(Small().that_matter() | {"folds": "abc"})
    monkeypatch.setattr(resume, "versions", lambda: {"genopred": "99"})
    two = resume.fingerprint(Small(seed=2).that_matter() | {"folds": "abd"})
    assert resume.difference(one, two) == ["--seed", "folds", "version"]


@pytest.mark.parametrize("prefix", [False, True])
def test_same_goes_on_others_are_refused_and_no_resume_removes_them(tmp_path, prefix):
    out = tmp_path / "a[b]"
    (out if not prefix else tmp_path).mkdir(exist_ok=True)
    base = f"{out}." if prefix else f"{out}/"
    kind = Prefixed if prefix else Small

    def settle(**changes):
        return run.Run(kind(out=out, **changes), OUTPUTS).settle()

    assert not settle()
    written = json.loads(Path(f"{base}run.json").read_text())
    assert written.pop("about").keys() == {"command", "versions"} and written == known()
    assert not settle(seed=2)  # nothing had come of it
    assert not settle()
    written = [Path(f"{base}{name}") for name in ("table.tsv", "pairs.chr1.parquet", "parts/one.json")]
    other = [Path(f"{base}{name}") for name in ("mine.tsv", "parts/mine.txt")] + [tmp_path / "table.tsv"]
    written[2].parent.mkdir()
    for file in written + other:
        file.write_text("{}")
    assert settle()
    with pytest.raises(GenopredError, match=r"other settings \((--seed, --width|--width, --seed)\).*--no-resume"):
        settle(seed=2, width=5)
    assert all(file.exists() for file in written)
    Path(f"{base}run.json").write_text("{half")
    with pytest.raises(GenopredError, match=r"settings are not known \(no (a\[b\]\.)?run\.json\)"):
        settle()
    assert not settle(resume=False)
    assert not any(file.exists() for file in written) and all(file.exists() for file in other)
    assert not settle()
    for file in written:
        file.write_text("{}")
    assert settle() and not settle(resume=False)
    assert not any(file.exists() for file in written)


def test_command_and_versions_are_written_down_and_do_not_count(tmp_path, monkeypatch):
    def settle(command):
        return run.Run(Small(out=tmp_path, command=command), OUTPUTS).settle()

    assert not settle("genopred small --width 1")
    (tmp_path / "table.tsv").touch()
    monkeypatch.setattr(run, "versions", lambda: run_versions() | {"numpy": "99"})
    assert settle("genopred small")
    about = json.loads((tmp_path / "run.json").read_text())["about"]
    assert about == {"command": "genopred small --width 1", "versions": run_versions()}


def test_what_was_computed_counts_by_its_name_or_in_place_of_a_setting(tmp_path):
    def settle(seed=1, **computed):
        return run.Run(Small(out=tmp_path, seed=seed), OUTPUTS).settle(**computed)

    assert not settle(seed=1, lists=("a",), folds=[0, 1])
    written = json.loads((tmp_path / "run.json").read_text())
    assert (written["--list"], written["folds"]) == (["a"], [0, 1]) and "lists" not in written
    (tmp_path / "table.tsv").touch()
    assert settle(seed=1, lists=("a",), folds=[0, 1])
    with pytest.raises(GenopredError, match=r"other settings \(--list, folds\)"):
        settle(lists=("b",), folds=[1, 0])


@pytest.mark.parametrize("prefix", [False, True])
def test_clear_leaves_no_result_and_no_settings(tmp_path, prefix):
    job = run.Run((Prefixed if prefix else Small)(out=tmp_path / "out"), OUTPUTS)
    with job:
        job.settle()
        for name in ("table.tsv", "parts/one.json", "mine.tsv"):
            job.path(name).parent.mkdir(exist_ok=True)
            job.path(name).touch()
        job.clear()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [job.path("mine.tsv").name]


@pytest.mark.parametrize(("kind", "name"), [(Small, "out/table.tsv"), (Prefixed, "out.table.tsv")])
def test_while_a_run_lasts_its_output_is_its_own(tmp_path, monkeypatch, kind, name):
    out = tmp_path / "new" / "out"
    with run.Run(kind(out=out, max_bytes=1234), OUTPUTS) as job:
        assert job.path("table.tsv") == tmp_path / "new" / name
        assert out.is_dir() == kind.FOLDER
        with pytest.raises(GenopredError, match="another run writes to"), lock_output(out):
            pass
        assert text._bound == 1234
        assert {pool["num_threads"] for pool in threadpool_info()} <= {1}
    assert text._bound != 1234
    with lock_output(out):
        pass
    with pytest.raises(KeyboardInterrupt), run.Run(kind(out=out), OUTPUTS):
        raise KeyboardInterrupt
    second = run.Run(kind(out=out), ())
    with run.Run(kind(out=out), ()), pytest.raises(GenopredError, match="another run writes to"), second:
        pass
    assert text._bound == text.MAX_BYTES


def test_a_run_that_was_refused_leaves_no_folder(tmp_path):
    out = tmp_path / "new"

    def refused(write=False):
        with pytest.raises(GenopredError), run.Run(Small(out=out), OUTPUTS) as job:
            if write:
                job.settle()
            raise GenopredError("bad input")

    refused()
    assert not out.exists()
    refused(write=True)
    assert [path.name for path in out.iterdir()] == ["run.json"]
    (out / "run.json").unlink()
    refused()  # it was there before
    assert out.is_dir() and not list(out.iterdir())


def test_threads_of_the_numeric_libraries_are_left_alone_on_request(tmp_path, monkeypatch):
    limited = []
    monkeypatch.setattr(run, "threadpool_limits", lambda n: limited.append(n) or files.suppress())
    for own in (True, False):
        with run.Run(Small(out=tmp_path), OUTPUTS, own_threads=own):
            pass
    assert limited == [1]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(GenopredError, match=r"--out \S*file is a file; give a folder"):
        run.make_folder(file)
    with pytest.raises(GenopredError, match=r"--out \S*below: .*; choose a folder that you may write"):
        run.make_folder(file / "below")
    run.make_folder(tmp_path / "a" / "b")
    run.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def squared(x):
    if x < 0:
        raise ModuleNotFoundError("below")
    return x * x


@pytest.mark.parametrize("threads", [1, 2])
def test_each_item_is_computed_and_said(tmp_path, monkeypatch, caplog, threads):
    caplog.set_level("INFO")
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    seen, asked = [], []

    def arguments(item):
        asked.append(item)
        return (ord(item) - ord("a"),)

    job = run.Run(Small(out=tmp_path, threads=threads), (), lambda *step: seen.append(step))
    with job:
        found = list(job.each(squared, "abcdef", arguments, names=str.upper, ready=3, ordered=True))
        assert found == [0, 1, 4, 9, 16, 25] and asked == list("abcdef")
        assert seen == [(3, 9, ""), *((i, 9, name) for i, name in enumerate("ABCDEF", start=4))]
        assert "3 of 9 genes were computed before; going on with the others" in caplog.text
        caplog.clear()
        assert sorted(job.each(squared, [3, 2], lambda x: (x,))) == [4, 9] and not caplog.text
        assert {name for _, _, name in seen[-2:]} == {"2", "3"}
        assert list(job.each(squared, [], arguments, ready=2)) == [] and seen[-1] == (2, 2, "")
        with pytest.raises(ModuleNotFoundError):
            list(job.each(squared, [1, -1], lambda x: (x,)))


def test_arguments_are_made_shortly_before_they_are_needed(tmp_path):
    made = []
    job = run.Run(Small(out=tmp_path, threads=1), ())
    results = job.each(squared, range(100), lambda x: made.append(x) or (x,))
    for _ in range(3):
        next(results)
    assert len(made) <= 4


@pytest.mark.parametrize("kind", [Small, Prefixed])
def test_counts_and_tables_are_written(tmp_path, kind):
    tally = Tally()
    tally.come("samples", "in a file", 3)
    tally.use("samples", "scored", 2)
    tally.drop("samples", "no luck", ["x"])
    table = pl.DataFrame({"a": [1.5, None]})
    with run.Run(kind(out=tmp_path / "out"), OUTPUTS) as job:
        job.matched(tally.report())
        assert job.save(one=table, two=table) == [
            job.path(f"{name}.{end}") for name in ("one", "two") for end in ("parquet", "tsv")
        ]
    assert pl.read_csv(job.path("matched.tsv"), separator="\t")["n"].to_list() == [3, 2, 1]
    assert pl.read_parquet(job.path("one.parquet")).equals(table)
    assert pl.read_csv(job.path("two.tsv"), separator="\t", null_values="NA").height == 2


def test_counts_are_said(caplog):
    caplog.set_level("INFO")
    tally = Tally()
    tally.come("samples", "in a file", 2)
    tally.use("samples", "scored", 2)
    run.say(tally.report())
    assert "samples: 2 used: scored" in caplog.text
