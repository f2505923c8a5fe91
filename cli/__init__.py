"""The command line: `genopred COMMAND ...`.

A command is a class of `genopred.settings` and the pipeline of the same name; `genopred.cli.commands` makes the one's
fields into options, and here the other's `run` is called and what it returns is shown. Around every command:

* bad input (`GenopredError`, a missing or unreadable file, a wrong option, a full disk) is one line on stderr,
  `ErrorClass: message`, and exit code 2; an interrupt is 130, SIGTERM 143; anything unexpected is a short
  traceback and exit code 1;
* `<out>.log` is appended to by every run, see `genopred.cli.runlog`.

Nothing that computes is imported before a command has been understood, so that every `--help` answers at once.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from genopred.errors import GenopredError, no_space

#: Packages that only some commands need, and the extra that brings them.
_EXTRAS = dict.fromkeys(
    ("torch", "einops", "safetensors", "h5py", "enformer_pytorch", "transformers", "pyBigWig"), "sequence"
) | {"pandas_plink": "pandas-plink", "rdata": "fusion"}


class _Terminated(KeyboardInterrupt):
    """SIGTERM: what a scheduler sends first. Cleaned up after like Ctrl-C."""


def execute(name: str, settings: Any) -> int:
    """Run the workflow of this name and show what came out; the exit code is 0, or what the result says."""
    from genopred.cli.progress import progress
    from genopred.cli.runlog import RunLog
    from genopred.cli.show import show

    with RunLog(name, settings):
        workflow = importlib.import_module(f"genopred.pipelines.{name.replace('-', '_')}")
        with progress(settings.unit, quiet=settings.quiet) as step:
            result = workflow.run(settings, step)
        show(name, result)
    return int(getattr(result, "exit_code", 0))


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM as an interrupt, unless somebody around us handles it in another way."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def stop(*_: Any) -> None:
        raise _Terminated

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with these arguments, `sys.argv[1:]` by default.

    Returns
    -------
    int
        The exit code: 0 done, 1 unexpected error, 2 bad input, 130 interrupted, 143 terminated; of `doctor` also 1
        something amber, 2 something red.
    """
    args = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    asked = None
    try:
        if args[0] == "--version":
            from importlib.metadata import version

            sys.stdout.write(f"genopred {version('genopred')}\n")
            return 0
        from genopred.cli.commands import parse
        from genopred.cli.runlog import command_line

        with _terminable():
            asked = parse(args, command_line())
            code = 0 if asked is None else execute(*asked)
            sys.stdout.flush()  # here, where it can still fail with a line and a code
        return code
    except KeyboardInterrupt as stop:
        terminated, kept = isinstance(stop, _Terminated), asked is not None and "--resume" in asked[1].given()
        hint = " Finished work is kept: the same command with --resume goes on from there." if kept else ""
        _say(f"{'Terminated' if terminated else 'Interrupted'}.{hint}")
        return 128 + (signal.SIGTERM if terminated else signal.SIGINT)  # as the shell counts
    except BaseException as error:  # the outermost frame: every error gets its line and its exit code here
        return _explain(error)


def _explain(error: BaseException) -> int:
    """Say on stderr what went wrong, in one line where the input is to blame; return the exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, BrokenPipeError) or (isinstance(error, OSError) and error.errno == errno.EPIPE):
        # The reader (head, less) went away: no message, and nothing more to the closed pipe at exit.
        _drop_output()
        return 1
    line = one_line(error)
    if line is not None:
        try:
            sys.stdout.flush()
        except OSError:  # what is left to be said fits nowhere
            _drop_output()
        _say(line)
        return 2
    if os.environ.get("GENOPRED_TRACEBACK"):
        _say("".join(traceback.format_exception(error)).rstrip())
        return 1
    for frame in traceback.extract_tb(error.__traceback__)[-3:]:
        _say(f"  {Path(frame.filename).name}:{frame.lineno} in {frame.name}: {frame.line}")
    _say(f"{type(error).__name__}: {error}")
    _say("This is a fault of genopred, not of your input; GENOPRED_TRACEBACK=1 shows the whole traceback.")
    return 1


def _drop_output() -> None:
    with suppress(OSError, ValueError):  # what stands in for stdout may be no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def one_line(error: BaseException) -> str | None:
    """The line for an error that the user can mend, or None for one that is a fault of the program.

    >>> one_line(FileNotFoundError(2, "No such file or directory", "cohort.bed"))
    'FileNotFoundError: cohort.bed does not exist; check the path.'
    >>> one_line(KeyError("x")) is None
    True
    """
    name = type(error).__name__
    if isinstance(error, GenopredError):
        return f"{name}: {' '.join(str(error).split())}"
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "").split(".")[0]
        extra = _EXTRAS.get(package)
        needed = f"this needs the package {package}; install it with pip install 'genopred[{extra}]'."
        return f"{name}: {needed}" if extra else None
    if isinstance(error, OSError) and error.filename is not None:
        remedies = {
            FileNotFoundError: " does not exist; check the path.",
            PermissionError: " may not be read or written by this user; change its permissions or choose another path.",
            IsADirectoryError: " is a folder where a file is needed.",
            NotADirectoryError: " goes through a file as if it were a folder.",
        }
        said = next((text for kind, text in remedies.items() if isinstance(error, kind)), f": {error.strerror}.")
        return f"{name}: {os.fspath(error.filename)}{said}"
    if no_space(error):
        return (
            f"{name}: no space left for the output or for temporary files; free some, or choose another --out or "
            "TMPDIR, then give the same command again."
        )
    return None


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
