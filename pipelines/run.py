"""What every workflow does around its science: its output locked, its inputs known again, counts and tables written.

A workflow opens a `Run` with the patterns of the files that it writes, lets it `settle` what its results depend on,
sends its genes through `each`, and has `matched` and `save` write what came out.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import joblib
import polars as pl
from threadpoolctl import threadpool_limits

from genopred import resume
from genopred.errors import GenopredError
from genopred.files import lock_output, write_files, write_table
from genopred.io.text import bounded
from genopred.provenance import versions
from genopred.settings import declared
from genopred.settings.parts import Output
from genopred.types import MatchReport
from genopred.workers import cores, workers

log = logging.getLogger(__name__)

#: What a workflow calls after each piece of work: done, in all, a name.
Progress = Callable[[int, int, str], None]


class Run:
    """One run of a workflow: a context in which its output is its own.

    Parameters
    ----------
    settings : Output
        `out` is a folder, made here, or how the files begin (`FOLDER` of its class says which).
    outputs : sequence of str
        Patterns of all files that the workflow writes, below `out` (`genes/*.json`) or after `<out>.`.
    progress : callable, optional
        Called with (done, total, name) after each piece of work.
    own_threads : bool
        The numeric libraries keep the threads that they choose; else they take one, and parallel work is `each`'s.
    """

    def __init__(
        self, settings: Output, outputs: Sequence[str], progress: Progress | None = None, *, own_threads: bool = False
    ) -> None:
        self.settings, self.outputs = settings, outputs
        self.out, self.prefix = settings.out, not settings.FOLDER
        self.step: Progress = progress or (lambda done, total, name: None)
        self._own_threads = own_threads
        self._held = ExitStack()
        self._made = False

    @cached_property
    def threads(self) -> int:
        """Cores to use."""
        return cores(self.settings.threads)

    def __enter__(self) -> Run:
        with ExitStack() as held:
            if not self.prefix:
                self._made = not self.out.exists()
                make_folder(self.out)
            held.enter_context(bounded(self.settings.max_bytes))
            held.enter_context(lock_output(self.out))
            if not self._own_threads:
                held.enter_context(threadpool_limits(1))
            self._held = held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()
        if self._made and error is not None:
            with suppress(OSError):  # refused before it wrote anything
                self.out.rmdir()

    def path(self, name: str) -> Path:
        """Where an output of this name lies."""
        return resume.named(self.out, name, self.prefix)

    def settle(self, **computed: Any) -> bool:
        """Go on with what is at `out`, refuse it, or remove it; see `genopred.resume.settle`.

        `computed` is what the results depend on beside the settings, or in place of some.
        """
        fields = declared(type(self.settings))
        spelt = {fields[name].flag if name in fields else name: value for name, value in computed.items()}
        known = resume.fingerprint(self.settings.that_matter() | spelt)
        about = {"command": self.settings.command, "versions": versions()}
        how: dict[str, Any] = {"resume": self.settings.resume, "prefix": self.prefix, "about": about}
        going_on = resume.settle(self.out, known, self.outputs, **how)
        if going_on:
            log.info(f"going on with what an earlier run of the same settings left at {self.out}")
        return going_on

    def drop(self, folder: str) -> None:
        """Remove a folder of parts, once all is written."""
        shutil.rmtree(self.path(folder), ignore_errors=True)

    def sweep(self) -> None:
        """Remove what a killed run was writing; `settle` does so as well."""
        resume.sweep(self.out, self.outputs, prefix=self.prefix)

    def clear(self) -> None:
        """Remove what the run wrote, and its settings."""
        resume.clear(self.out, self.outputs, prefix=self.prefix)

    def each(
        self, function: Callable[..., Any], todo: Sequence[Any], arguments: Callable[[Any], tuple[Any, ...]], *,
        names: Callable[[Any], str] = str, ready: int = 0, ordered: bool = False,
    ) -> Iterator[Any]:  # fmt: skip
        """Results of `function(*arguments(item))` for all items, in parallel, with progress.

        `arguments` is called for an item shortly before its turn, so that memory does not grow with their number.
        `names` says what an item is called, `ready` how many others had been done before; results come in the order of
        `todo` where they are `ordered`, else as they are done.
        """
        total = ready + len(todo)
        if ready:
            log.info(f"{ready:,} of {total:,} {self.settings.unit} were computed before; going on with the others")
        self.step(ready, total, "")
        calls = (joblib.delayed(_named_result)(function, names(item), arguments(item)) for item in todo)
        with workers(self.threads, len(todo), ordered=ordered) as in_parallel:
            for done, (name, result) in enumerate(in_parallel(calls), start=ready + 1):
                self.step(done, total, name)
                yield result

    def matched(self, report: MatchReport) -> None:
        """Write matched.tsv: what came in, was used and was dropped, and why."""
        write_tables({self.path("matched.tsv"): report.table})

    def save(self, **tables: pl.DataFrame) -> list[Path]:
        """Write tables by their names, each as parquet and TSV."""
        return [file for name, table in tables.items() for file in write_table(table, self.path(name))]


def _named_result(function: Callable[..., Any], name: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
    return name, function(*arguments)


def write_tables(tables: Mapping[Path, pl.DataFrame]) -> None:
    """Write tables that belong together, all or none; the ends of their names say whether as parquet or TSV."""

    def write(table: pl.DataFrame) -> Callable[[Path], None]:
        return lambda path: (
            table.write_parquet(path) if path.suffix == ".parquet" else table.write_csv(path, separator="\t")
        )

    write_files({path: write(table) for path, table in tables.items()})


def say(report: MatchReport) -> None:
    """The report's lines into the log."""
    for line in report.lines():
        log.info(line)


def make_folder(out: Path) -> None:
    """Make the folder of the results; refused where it is a file, or cannot be made."""
    if out.exists() and not out.is_dir():
        raise GenopredError(f"--out {out} is a file; give a folder.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise GenopredError(f"--out {out}: {problem.strerror}; choose a folder that you may write.") from None
