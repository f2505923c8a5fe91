"""How far a run is: a bar with the time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from genopred.report.tables import duration

#: The bar on the screen, if any: lines said meanwhile are put above it.
_live: list[Any] = []


class Step(Protocol):
    """What a pipeline calls after each piece of work."""

    def __call__(self, done: int, total: int, label: str = "") -> None:
        """Say that `done` of `total` pieces are finished; `label` names the last one."""


def say(text: str) -> None:
    """One line on stderr, above the progress bar when there is one."""
    if _live:
        _live[-1].console.print(text, markup=False, highlight=False, soft_wrap=True)
    else:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


@contextmanager
def progress(unit: str = "genes", *, quiet: bool = False, every: float = 30.0) -> Iterator[Step]:
    """Show progress on stderr while a pipeline runs, and give the pipeline what it calls after each piece of work.

    Off a terminal there are `every` seconds between two lines at the least.
    """
    if quiet:
        yield lambda done, total, label="": None
    elif sys.stderr.isatty():
        yield from _bar(unit)
    else:
        yield _lines(unit, every)


def _bar(unit: str) -> Iterator[Step]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn(unit), BarColumn(bar_width=None), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(compact=True), TextColumn("{task.fields[label]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(unit, total=None, label="")
        _live.append(bar)

        def step(done: int, total: int, label: str = "") -> None:
            bar.update(task, completed=done, total=total, label=label)

        try:
            yield step
        finally:
            _live.remove(bar)


def _lines(unit: str, every: float) -> Step:
    start = time.monotonic()
    last = [start, -1.0]  # when, and at which share, the last line was said

    def step(done: int, total: int, label: str = "") -> None:
        now, share = time.monotonic(), done / max(total, 1)
        finished = done >= total and last[1] < 1
        if not finished and (now - last[0] < every or share - last[1] < 0.01):
            return
        last[:] = [now, share]
        left = "" if not 0 < done < total else f", about {duration((now - start) * (total - done) / done)} left"
        say(f"{done:,} of {total:,} {unit} after {duration(now - start)}{left}")

    return step
