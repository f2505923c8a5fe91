"""Worker processes: as many as there is work, and none that stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import joblib
import pytest

from genopred.workers import cores, free_memory, share_out, workers


def where(x):
    return x, os.getpid()


@pytest.mark.parametrize(("threads", "tasks"), [(1, 5), (8, 1), (3, 0)])
def test_one_worker_or_one_task_is_this_process(threads, tasks):
    with workers(threads, tasks) as run:
        assert list(run(joblib.delayed(where)(i) for i in range(tasks))) == [(i, os.getpid()) for i in range(tasks)]


def test_no_more_cores_than_there_are(monkeypatch, caplog):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 3)
    assert (cores(None), cores(2), cores(3)) == (3, 2, 3) and not caplog.text
    assert cores(10_000) == 3
    assert "--threads 10000: this process may use 3 cores; using 3." in caplog.text
    assert cores(4, "training.threads = 4") == 3 and "training.threads = 4: this process may" in caplog.text


def test_no_more_processes_than_tasks(monkeypatch):
    asked = []

    class Parallel:
        def __init__(self, n, **options):
            asked.append((n, options["return_as"]))

        def __call__(self, calls):
            return [function(*args) for function, args, _ in calls]

    monkeypatch.setattr(joblib, "Parallel", Parallel)
    for threads, ordered in ((10_000, True), (2, False)):
        with workers(threads, 3, ordered=ordered) as run:
            assert len(run(joblib.delayed(where)(i) for i in range(3))) == 3
    assert asked == [(3, "generator"), (2, "generator_unordered")]


def test_results_of_processes_are_in_order():
    with workers(2, 6) as run:
        found = list(run(joblib.delayed(where)(i) for i in range(6)))
    assert [x for x, _ in found] == list(range(6)) and os.getpid() not in {pid for _, pid in found}


PARENT = """
import os, sys, time
from pathlib import Path
import joblib
from genopred.cli import _terminable
from genopred.workers import cores, free_memory, share_out, workers

folder = Path(sys.argv[1])

if __name__ == "__main__":
    from victim import work
    with _terminable(), workers(2, 6) as run:
        for _ in run(joblib.delayed(work)(folder, i) for i in range(6)):
            pass
"""

WORK = """
import os, time

def work(folder, i):
    (folder / f"{i}.pid").write_text(str(os.getpid()))
    time.sleep(120)
"""


def alive(pid):
    """Whether a process runs; one that waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def descendants(pid):
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found += [int(entry.parent.name), *descendants(int(entry.parent.name))]
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc on this system")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_their_parent(tmp_path, number):
    """They stayed for minutes, 375 MB each, busy with what nobody would take."""
    (tmp_path / "parent.py").write_text(PARENT)
    (tmp_path / "victim.py").write_text(WORK)
    process = subprocess.Popen(
        [sys.executable, "parent.py", str(tmp_path)],
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    try:
        until = time.monotonic() + 90
        while len(list(tmp_path.glob("*.pid"))) < 2 and process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(0.3)  # what names a process is written, then it sleeps
        children = descendants(process.pid)
        assert len(children) >= 2 and {int(path.read_text()) for path in tmp_path.glob("*.pid")} <= set(children)
    finally:
        process.send_signal(number)
        process.wait(timeout=60)
    until = time.monotonic() + 20
    while any(map(alive, children)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not [pid for pid in children if alive(pid)]


def test_each_tool_has_one_item_at_a_time():
    busy = {"a": threading.Lock(), "b": threading.Lock()}

    def use(item, tool):
        assert busy[tool].acquire(blocking=False)
        time.sleep(0.002)
        busy[tool].release()
        return item**2

    assert sorted(share_out(use, range(20), ["a", "b"])) == [(i, i**2) for i in range(20)]
    assert list(share_out(use, range(3), ["a"])) == [(0, 0), (1, 1), (2, 4)]


def test_what_is_queued_is_not_begun_after_a_fault():
    begun = []

    def fail(item, tool):
        begun.append(item)
        time.sleep(0.01)
        raise ValueError(item)

    with pytest.raises(ValueError):
        list(share_out(fail, range(100), ["a", "b"]))
    assert len(begun) < 20


def test_a_limit_on_memory_counts():
    """`ulimit -v`, as queues of clusters set it."""
    code = "import resource; resource.setrlimit(resource.RLIMIT_AS, (10**9, 10**9)); "
    code += "from genopred.workers import free_memory; print(free_memory())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0 and 0 <= int(found.stdout) < 10**9, found.stderr


def test_free_memory_is_a_number_or_not_known():
    free = free_memory()
    assert free is None or free > 0
