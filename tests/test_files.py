"""Outputs appear whole or not at all, and two runs keep off one output."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.errors import GenopredError
from genopred.files import atomic, lock_output, write_files, write_json, write_table, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a" / "x.tsv"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        assert temporary.parent == path.parent and temporary.suffix == ".tsv"
        raise RuntimeError
    assert path.read_text() == "old" and names(path.parent) == ["x.tsv"]


def test_files_that_belong_together(tmp_path):
    def fail(path):
        path.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_files({tmp_path / "a": "1", tmp_path / "b": b"2", tmp_path / "c": fail})
    assert names(tmp_path) == []
    write_files({tmp_path / "a": "1", tmp_path / "b": b"2"})
    assert names(tmp_path) == ["a", "b"]


def test_permissions_are_those_of_a_plain_write(tmp_path):
    write_text(tmp_path / "x", "1")
    (tmp_path / "y").write_text("1")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


def test_unwritable(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "x.tsv", Path("/proc/genopred/x.tsv")):
        with pytest.raises(GenopredError, match=r"cannot write .*x\.tsv: .*--out"):
            write_text(path, "1")
    with pytest.raises(GenopredError, match="it is a folder"):
        write_text(tmp_path, "1")
    with pytest.raises(GenopredError, match=r"cannot write .*--out"), lock_output(tmp_path / "file" / "x"):
        pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_full_disk(tmp_path):
    with pytest.raises(GenopredError, match="No space left on device.*free space"):
        write_files({tmp_path / "x": lambda path: Path("/dev/full").write_text("x" * 100_000)})
    assert names(tmp_path) == []


def test_foreign_error_passes(tmp_path):
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "x"):
        (tmp_path / "absent").read_text()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=5), st.data())
def test_table_written_is_read(tmp_path_factory, values, data):
    texts = data.draw(st.lists(st.text("abc,\"'; ", min_size=1), min_size=len(values), max_size=len(values)))
    table = pl.DataFrame({"name": texts, "value": values, "n": list(range(len(values)))})
    prefix = tmp_path_factory.mktemp("table") / "x"
    parquet, tsv = write_table(table, prefix)
    assert pl.read_parquet(parquet).equals(table)
    assert pl.read_csv(tsv, separator="\t", schema=table.schema).equals(table)


def test_json(tmp_path):
    write_json(tmp_path / "x.json", {"b": 1, "a": [1.5]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1.5], "b": 1}


HOLD = """
import sys, time
from genopred.files import lock_output
with lock_output(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    run = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "held\n"
    yield run
    run.kill()
    run.wait()
    run.stdout.close()


def test_two_runs(tmp_path, holder):
    with pytest.raises(GenopredError) as caught, lock_output(tmp_path / "out"):
        pass
    message = str(caught.value)
    assert f"process {holder.pid} on " in message and "out.lock" in message and "another --out" in message


def test_lock_of_a_killed_run_is_taken_over(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "out.lock").exists()
    with lock_output(tmp_path / "out") as path:
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert names(tmp_path) == []


def test_lock_is_let_go(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(RuntimeError), lock_output(folder) as path:
        assert path == folder / ".lock"
        raise RuntimeError
    with lock_output(folder), pytest.raises(GenopredError, match=f"process {os.getpid()}"), lock_output(folder):
        pass
    assert names(folder) == []


def test_file_systems_without_locks_go_by_the_process(tmp_path, monkeypatch):
    import fcntl

    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    lock, out = tmp_path / "out.lock", tmp_path / "out"
    with lock_output(out), pytest.raises(GenopredError, match="another run"), lock_output(out):
        pass
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    import socket

    lock.write_text(json.dumps({"pid": ended.pid, "host": socket.gethostname()}))
    with lock_output(tmp_path / "out"):
        pass
    lock.write_text(json.dumps({"pid": ended.pid, "host": "another machine"}))
    with pytest.raises(GenopredError, match="on another machine.*delete"), lock_output(tmp_path / "out"):
        pass


def _numpy(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(100_000))


def _torch(path):
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.zeros(100_000)}, path)


def _torch_handle(path):
    torch = pytest.importorskip("torch")
    with path.open("wb") as file:
        torch.save({"a": torch.zeros(100_000)}, file)


def _safetensors(path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors.torch").save_file({"a": torch.rand(100_000)}, path)


def _figure(path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(30, 30))
    figure.add_subplot().imshow(np.random.default_rng(0).random((900, 900)))
    figure.savefig(path, format="png")


def _sqlite(path):
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE t (a)")
        db.execute("INSERT INTO t VALUES (?)", ["x" * 900_000])


NOISE = pl.DataFrame({"a": np.random.default_rng(0).random(100_000)})

#: Every library that writes for us, each with errors of its own for a disk that is full.
WRITERS = {
    "text": lambda path: path.write_text("x" * 900_000),
    "parquet": lambda path: NOISE.write_parquet(path),
    "csv": lambda path: NOISE.write_csv(path),
    "streamed": lambda path: NOISE.lazy().sink_parquet(path),
    "pyarrow": lambda path: pq.write_table(NOISE.to_arrow(), path),
    "numpy": _numpy,
    "torch": _torch,
    "torch, open file": _torch_handle,
    "safetensors": _safetensors,
    "matplotlib": _figure,
    "sqlite": _sqlite,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_disk_that_fills_is_one_line_and_no_half_file(small_disk, writer):
    write_text(small_disk / "x.out", "former")
    with pytest.raises(
        GenopredError, match=r"cannot write \S*x\.out: No space left on device, 1\d\d,\d\d\d bytes"
    ) as e:
        write_files({small_disk / "y.out": "1", small_disk / "x.out": WRITERS[writer]})
    assert "\n" not in str(e.value) and "same command again" in str(e.value)
    assert names(small_disk) == ["x.out"] and (small_disk / "x.out").read_text() == "former"


@pytest.mark.parametrize("writer", WRITERS)
def test_a_limit_on_files_is_one_line_and_no_half_file(tmp_path, writer):
    resource = pytest.importorskip("resource")
    WRITERS[writer](tmp_path / "once")  # imports and compiled caches of libraries are written before the limit
    (tmp_path / "once").unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(GenopredError, match=r"cannot write \S*x\.out: ") as caught:
            write_files({tmp_path / "y.out": "1", tmp_path / "x.out": WRITERS[writer]})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_a_fault_that_is_none_of_the_disk_passes(tmp_path):
    with pytest.raises(RuntimeError, match="own"), atomic(tmp_path / "x"):
        raise RuntimeError("own")
    with pytest.raises(KeyError), atomic(tmp_path / "x") as temporary:
        temporary.unlink()
        raise KeyError
    assert names(tmp_path) == []


FILL = """
import sys
from genopred.errors import GenopredError
from genopred.files import lock_output
try:
    with lock_output(sys.argv[1]):
        print("held")
except GenopredError as bad:
    print(bad)
"""


def test_no_lock_where_not_one_byte_is_free(small_disk):
    """The loop that waits for a lock file that is removed went on for ever."""
    filler = small_disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert shutil.disk_usage(small_disk).free == 0
    try:
        said = subprocess.run(
            [sys.executable, "-c", FILL, small_disk / "run"], capture_output=True, text=True, timeout=60
        )
    finally:
        filler.unlink()
    assert "run.lock: No space left on device, 0 bytes" in said.stdout and not said.stderr
    assert names(small_disk) == []
    with lock_output(small_disk / "run"):
        pass
