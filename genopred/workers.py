"""Workers: processes, no more than there are tasks and none that outlives its parent; and threads, one a tool."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
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
