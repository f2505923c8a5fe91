"""What surrounds one run of a command: its log file, warnings on stderr, time and memory.

Every run appends to `<out>.log`: command line, versions, the values of all options, warnings, errors, seconds, peak
memory, and everything sent to `logging.getLogger("genopred")` and its children at INFO (counts go there), which is also
shown on stderr unless `--quiet`. A Python warning is one line in both.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
import traceback
import warnings
from contextlib import suppress
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

from genopred.errors import GenopredError
from genopred.settings.parts import Command


class RunLog:
    """Context of one run of a subcommand: sends the `genopred` loggers, warnings and errors to stderr and `<out>.log`.

    A command that leaves no results keeps no log.

    Raises
    ------
    GenopredError
        If `<out>.log` cannot be written, before any work is done.
    """

    def __init__(self, name: str, settings: Command) -> None:
        self.name = name
        self.settings = settings
        self.path = settings.log_file
        self.logger = logging.getLogger("genopred")
        self.warned: set[str] = set()

    def __enter__(self) -> RunLog:
        self.start, self.cpu = time.perf_counter(), _cpu_seconds()
        self._before = (self.logger.level, self.logger.propagate, warnings.showwarning)
        self.handlers: list[logging.Handler] = [_StderrHandler(self.settings.quiet)]
        if self.path is not None:
            self.handlers.append(_log_file(self.path))
        for handler in self.handlers:
            self.logger.addHandler(handler)
        self.logger.setLevel(logging.INFO)
        self.logger.propagate = False
        warnings.showwarning = self._show_warning
        self._header()
        return self

    def _header(self) -> None:
        from genopred.provenance import versions
        from genopred.settings.declare import as_text

        now = datetime.now(timezone.utc)
        self._file_only(f"genopred {version('genopred')} {self.name}, {now:%Y-%m-%d %H:%M:%S} UTC")
        self._file_only(f"command: {command_line()}")
        for flag, value in self.settings.given().items():
            if value is not None and value is not False and value != ():
                self._file_only(f"  {flag} {as_text(value)}")
        self._file_only("versions: " + ", ".join(f"{name} {number}" for name, number in versions().items()))

    def _file_only(self, text: str) -> None:
        self.logger.info(text, extra={"file_only": True})

    def _show_warning(self, message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        text = f"{category.__name__}: {' '.join(str(message).split())}"
        if text not in self.warned:  # once each: a warning in the first of 600 genes is one in all
            self.warned.add(text)
            self.logger.warning(text)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self.start
        if error is not None:
            self.logger.error(_error_text(error), extra={"file_only": True})
        memory = peak_memory_mb()
        self._file_only(
            f"{'done' if error is None else 'stopped'} after {seconds:.1f} s "
            f"({_cpu_seconds() - self.cpu:.1f} s of CPU in this process"
            f"{f', {memory:,.0f} MB at most' if memory else ''}), {len(self.warned)} warnings\n"
        )
        level, propagate, warnings.showwarning = self._before
        self.logger.setLevel(level)
        self.logger.propagate = propagate
        for handler in self.handlers:
            self.logger.removeHandler(handler)
            handler.close()


class _StderrHandler(logging.Handler):
    """One plain line on stderr per record, above the progress bar when there is one."""

    def __init__(self, quiet: bool) -> None:
        super().__init__(logging.WARNING if quiet else logging.INFO)
        self.addFilter(lambda record: not getattr(record, "file_only", False))

    def emit(self, record: logging.LogRecord) -> None:
        from genopred.cli.progress import say

        say(record.getMessage() if record.levelno < logging.WARNING else f"Warning: {record.getMessage()}")


class _LogFile(logging.FileHandler):
    """The log; where it cannot be written any more this is said once, and the run goes on without it."""

    failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        problem = sys.exc_info()[1]
        if not isinstance(problem, OSError):
            super().handleError(record)
        elif not self.failed:
            from genopred.cli.progress import say

            self.failed = True
            say(f"Warning: {self.baseFilename} cannot be written ({problem.strerror or problem}); the log ends there.")

    def emit(self, record: logging.LogRecord) -> None:
        if not self.failed:
            super().emit(record)

    def close(self) -> None:
        with suppress(OSError):  # what did not fit is tried again
            super().close()


def _log_file(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Appended, so that neither a resumed run nor one refused beside a running one wipes the other's log.
        handler = _LogFile(path, mode="a", encoding="utf-8")
    except OSError as error:
        raise GenopredError(
            f"--out: {path} cannot be written ({error.strerror}); choose a folder that exists and is yours to write."
        ) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    return handler


def _error_text(error: BaseException) -> str:
    from genopred.cli import one_line

    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return one_line(error) or "".join(traceback.format_exception(error)).rstrip()


def command_line() -> str:
    """The command as it can be pasted again."""
    return shlex.join(["genopred", *sys.argv[1:]])


def peak_memory_mb() -> float | None:
    """Largest resident memory of this process or its finished children, in MB; None where it cannot be known."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    unit = 1 / 1e6 if sys.platform == "darwin" else 1024 / 1e6
    return unit * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _cpu_seconds() -> float:
    return sum(os.times()[:4])  # user and system, of this process and of its children
