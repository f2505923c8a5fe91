"""Workers: processes, no more than there are tasks and none that outlives its parent; threads, one a tool; and how many
cores and how much memory there are for them.
"""

from __future__ import annotations

import logging
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import joblib

log = logging.getLogger(__name__)

#: Seconds between two looks at whether the parent is still there.
_LOOK = 0.5

Item = TypeVar("Item")
Tool = TypeVar("Tool")
Result = TypeVar("Result")

#: Calls as `joblib.delayed` makes them -> their results.
Run = Callable[[Iterable[Any]], Iterable[Any]]


def cores(threads: int | None, said: str = "") -> int:
    """`threads` (in the warning: `said`), at most the cores that this process may use; all of these without it."""
    most = int(joblib.cpu_count())
    if threads is not None and threads > most:
        said = said or f"--threads {threads}"
        log.warning(f"{said}: this process may use {most} {'core' if most == 1 else 'cores'}; using {most}.")
    return most if threads is None else min(threads, most)


def free_memory() -> int | None:
    """Bytes that this process may still take: what the system calls available, or less where a limit is set."""
    found: list[int] = []
    try:
        text = Path("/proc/meminfo").read_text()
        found.append(1024 * int(re.search(r"MemAvailable:\s+(\d+)", text)[1]))  # type: ignore[index]
    except (OSError, TypeError):
        try:
            found.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        except (ValueError, OSError, AttributeError):
            pass
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            stat = (Path(limit).parent / "memory.stat").read_text()
            # pages of files that were read are given back when they are needed
            cache = re.search(r"^(?:total_)?inactive_file (\d+)", stat, re.MULTILINE)
            found.append(int(Path(limit).read_text()) - int(Path(used).read_text()) + (int(cache[1]) if cache else 0))
        except (OSError, ValueError):
            continue
    try:
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        if most != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            found.append(most - pages * os.sysconf("SC_PAGE_SIZE"))
    except (ImportError, OSError, ValueError):
        pass
    return max(0, min(found)) if found else None


@contextmanager
def workers(threads: int, tasks: int, *, ordered: bool = True) -> Iterator[Run]:
    """A function that runs calls of `joblib.delayed` in parallel and yields their results, `ordered` or as they come.

    Processes are as many as threads or tasks, whichever are fewer; with one the calls run in this process. Few calls
    are prepared ahead, so that memory does not grow with their number. When the block ends with an error, or an
    interrupt, workers are stopped at once; when this process is killed, they end within a second or so.

    >>> with workers(1, 2) as run:
    ...     list(run(joblib.delayed(abs)(x) for x in (-1, -2)))
    [1, 2]
    """
    threads = min(threads, tasks)
    if threads <= 1:
        yield lambda calls: (function(*args, **kwargs) for function, args, kwargs in calls)
        return
    try:
        yield joblib.Parallel(
            threads,
            return_as="generator" if ordered else "generator_unordered",
            pre_dispatch="2*n_jobs",
            initializer=_end_with,
            initargs=(os.getpid(),),
        )
    except BaseException:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)
        raise


def share_out(
    function: Callable[[Item, Tool], Result], items: Sequence[Item], tools: Sequence[Tool]
) -> Iterator[tuple[int, Result]]:
    """Number and result of each item as they come, in a thread for each tool (a model on a device, say).

    No tool is given to two calls at a time. With one tool the calls run in this thread, in order.

    >>> list(share_out(pow, [2, 3], [2]))
    [(0, 4), (1, 9)]
    """
    if len(tools) == 1:
        yield from ((i, function(item, tools[0])) for i, item in enumerate(items))
        return
    free: queue.SimpleQueue[Tool] = queue.SimpleQueue()
    for tool in tools:
        free.put(tool)

    def one(item: Item) -> Result:
        tool = free.get()
        try:
            return function(item, tool)
        finally:
            free.put(tool)

    with ThreadPoolExecutor(len(tools)) as pool:
        calls = {pool.submit(one, item): i for i, item in enumerate(items)}
        try:
            yield from ((calls[call], call.result()) for call in as_completed(calls))
        except BaseException:  # an interrupt does not wait for the items that are queued
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_with(parent: int) -> None:
    """End this worker when its parent is no more: nobody would take its results."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
