"""The command line: `genopred COMMAND ...`, one file per subcommand.

How to add a subcommand
-----------------------
Put a file `cli/<name>.py` here that defines one function named `command`; nothing has to be registered.
Its file name is the subcommand (`fit_model.py` becomes `fit-model`), the first line of the function's
docstring is its line in `genopred --help`, the whole docstring its own help. Files without a top-level
`command` (like `options.py`) are no subcommands. For example::

    from __future__ import annotations
    from genopred.cli import options as opt

    def command(
        bfile: opt.Bfile = None,
        window: opt.Window = opt.WINDOW,
        seed: opt.Seed = 1,
        out: opt.Out = Path("genopred"),
    ) -> None:
        \"\"\"Do one thing, said in one line.

        More help.
        \"\"\"
        from genopred.cli.progress import progress
        from genopred.pipelines import thing      # heavy imports only inside the function

        with progress("genes") as step:           # step(done, total, label)
            result = thing.run(thing.ThingConfig(...), progress=step)
        typer.echo(...)                           # results to stdout, everything else to stderr

Around every command `main` does the rest:

* bad input (`GenopredError`, a missing or unreadable file, a wrong option, a full disk) is one line on stderr,
  `ErrorClass: message`, and exit code 2; an interrupt is 130, SIGTERM 143; anything unexpected is a short
  traceback and exit code 1;
* a command that takes an `out` argument gets `<out>.log`, appended to by every run: command line, versions,
  the values of all options, seed, warnings, errors, seconds, peak memory, and everything sent to
  `logging.getLogger("genopred")` and its children at INFO (counts go there, e.g. `for line in report.lines():
  log.info(line)`), which is also shown on stderr unless the command takes `quiet` and it is set;
* `--max-bytes` bounds what readers take from a file of text (`genopred.io.text.bounded`);
* Python warnings become one line on stderr and in the log.

A subcommand's file may import typer and `genopred.cli.options` at its top and nothing that computes, so that
`genopred --help` stays fast; for the list of commands the files are parsed, not imported.
"""

from __future__ import annotations

import ast
import difflib
import errno
import functools
import importlib
import inspect
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer

from genopred.errors import GenopredError, no_space

#: The order in `genopred --help`; other subcommands follow by name.
_FIRST = ("demo", "stack", "prs", "benchmark", "features", "effects", "eqtl", "overlap", "train", "evaluate")

#: Packages that only some commands need, and the extra that brings them.
_EXTRAS = {
    "torch": "sequence",
    "einops": "sequence",
    "safetensors": "sequence",
    "h5py": "sequence",
    "enformer_pytorch": "sequence",
    "transformers": "sequence",
    "pyBigWig": "sequence",
    "pandas_plink": "pandas-plink",
}


class UsageError(GenopredError):
    """The command line itself cannot be understood."""


def commands() -> dict[str, str]:
    """Subcommand names and their one-line help, read from the files without importing them.

    Returns
    -------
    dict of str to str
        `{"stack": "Train ...", ...}` in the order of `genopred --help`.
    """
    found: dict[str, str] = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name.startswith("_"):
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name == "command":
                text = ast.get_docstring(node) or ""
                found[path.stem.replace("_", "-")] = text.split("\n", 1)[0]
    order = [name for name in _FIRST if name in found] + [name for name in found if name not in _FIRST]
    return {name: found[name] for name in order}


def build_app(chosen: str | None = None) -> typer.Typer:
    """The typer application; only the subcommand `chosen` is imported, the others are names with a help line."""
    app = typer.Typer(
        name="genopred",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )

    @app.callback()
    def root(
        version: bool = typer.Option(False, "--version", help="Print the version and leave.", is_eager=True),
    ) -> None:
        """Predict gene expression from genotype, and say honestly how well.

        `genopred demo` shows the main job on real people in a few minutes; `genopred COMMAND --help` says more.
        """

    for name, help_line in commands().items():
        if name == chosen:
            module = importlib.import_module(f"genopred.cli.{name.replace('-', '_')}")
            app.command(name, help=_unwrapped(module.command))(_logged(name, _bounded(module.command)))
        else:
            app.command(name, help=help_line)(_not_loaded)
    return app


def _unwrapped(function: Callable[..., Any]) -> str:
    """A docstring with each paragraph on one line, for the terminal to wrap."""
    return "\n\n".join(" ".join(part.split()) for part in (inspect.getdoc(function) or "").split("\n\n"))


def _not_loaded() -> None:
    """Stand in for a subcommand that was not asked for."""


def _logged(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` inside a `RunLog` of its `out`, `seed` and other arguments."""

    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        from genopred.cli import options
        from genopred.cli.runlog import RunLog

        options.check(kwargs)
        with RunLog(name, kwargs):
            if kwargs.get("threads") is not None:
                kwargs["threads"] = options.cores(kwargs["threads"])
            try:
                return function(*args, **kwargs)
            except KeyboardInterrupt as stop:
                # Named here, where the options are known; typer would turn it into a bare "Aborted".
                raise _Interrupted("resume" in kwargs, _interrupt_code(stop)) from None

    return inner


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with the option `--max-bytes`, which every command has, and which its readers then hold to."""
    from genopred.cli import options as opt

    @functools.wraps(function)
    def inner(*args: Any, max_bytes: int, **kwargs: Any) -> Any:
        from genopred.io.text import bounded

        with bounded(max_bytes):
            return function(*args, **kwargs)

    signature = inspect.signature(function, eval_str=True)
    option = inspect.Parameter(
        "max_bytes", inspect.Parameter.KEYWORD_ONLY, default=opt.MAX_BYTES, annotation=opt.MaxBytes
    )
    inner.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
    inner.__annotations__ = {**function.__annotations__, "max_bytes": opt.MaxBytes}
    return inner


class _Interrupted(Exception):
    """Ctrl-C, or a polite kill, inside a command."""

    def __init__(self, resumable: bool, code: int) -> None:
        super().__init__("interrupted")
        self.resumable = resumable
        self.code = code


class _Terminated(KeyboardInterrupt):
    """SIGTERM: what a scheduler sends first. Cleaned up after like Ctrl-C."""


def _interrupt_code(error: BaseException) -> int:
    """As the shell counts: 128 and the number of the signal."""
    return 128 + (signal.SIGTERM if isinstance(error, _Terminated) else signal.SIGINT)


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
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; `sys.argv[1:]` by default.

    Returns
    -------
    int
        The exit code: 0 done, 1 unexpected error, 2 bad input, 130 interrupted, 143 terminated.
    """
    args = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        if "--version" in args[:1]:
            from importlib.metadata import version

            typer.echo(f"genopred {version('genopred')}")
            return 0
        chosen = next((word for word in args if not word.startswith("-")), None)
        if chosen is not None:
            _check_name(chosen)
        with _terminable():
            code = build_app(chosen)(args=args, prog_name="genopred", standalone_mode=False)
            sys.stdout.flush()  # here, where it can still fail with a line and a code
        return code if isinstance(code, int) else 0
    except BaseException as error:  # the outermost frame: every error gets its line and its exit code here
        return _explain(error)


def _check_name(chosen: str) -> None:
    names = list(commands())
    if chosen not in names:
        near = difflib.get_close_matches(chosen.lower().replace("_", "-"), names, n=1, cutoff=0.5)
        hint = f" Did you mean `genopred {near[0]}`?" if near else ""
        raise UsageError(f"there is no command {chosen!r}.{hint} The commands are: {', '.join(names)}.")


def _explain(error: BaseException) -> int:
    """Say on stderr what went wrong, in one line where the input is to blame; return the exit code."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, (KeyboardInterrupt, _Interrupted)):
        hint = " Finished work is kept: the same command with --resume goes on from there."
        code = error.code if isinstance(error, _Interrupted) else _interrupt_code(error)
        word = "Interrupted" if code == 128 + signal.SIGINT else "Terminated"
        _say(f"{word}." + (hint if getattr(error, "resumable", False) else ""))
        return code
    if isinstance(error, BrokenPipeError) or (isinstance(error, OSError) and error.errno == errno.EPIPE):
        # The reader (head, less) went away: no message, and nothing more to the closed pipe at exit.
        _drop_output()
        return 1
    if hasattr(error, "format_message"):  # what typer raises on a wrong option, wherever it keeps the class
        message = _house_style(" ".join(error.format_message().split()))
        if message:
            _say(f"UsageError: {message}{'' if message.endswith(('.', '?', ')')) else '.'} See --help.")
        return 2
    line = one_line(error)
    if line is not None:
        try:
            sys.stdout.flush()
        except OSError:  # what is left to be said fits nowhere
            _drop_output()
        _say(line)
        return 2
    trace = traceback.extract_tb(error.__traceback__)
    if os.environ.get("GENOPRED_TRACEBACK"):
        _say("".join(traceback.format_exception(error)).rstrip())
    else:
        for frame in trace[-3:]:
            _say(f"  {Path(frame.filename).name}:{frame.lineno} in {frame.name}: {frame.line}")
        _say(f"{type(error).__name__}: {error}")
        _say("This is a fault of genopred, not of your input; GENOPRED_TRACEBACK=1 shows the whole traceback.")
    return 1


def _house_style(message: str) -> str:
    """A wrong choice as the pipelines say it; other messages as they are.

    >>> _house_style("Invalid value for '--meta': 'magic' is not one of 'nnls', 'ridge'.")
    '--meta magic: there are nnls, ridge.'
    """
    message = message.replace("Value error, ", "")
    found = re.fullmatch(r"Invalid value for '(--[\w-]+)': '(.*)' is not one of ('.*')\.?", message)
    return f"{found[1]} {found[2]}: there are {found[3].replace(chr(39), '')}." if found else message


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
        if package in _EXTRAS:
            return (
                f"{name}: this needs the package {package}; install it with pip install 'genopred[{_EXTRAS[package]}]'."
            )
        return None
    if isinstance(error, OSError) and error.filename is not None:
        remedies = {
            FileNotFoundError: "does not exist; check the path.",
            PermissionError: "may not be read or written by this user; change its permissions or choose another path.",
            IsADirectoryError: "is a folder where a file is needed.",
            NotADirectoryError: "goes through a file as if it were a folder.",
        }
        said = next((text for kind, text in remedies.items() if isinstance(error, kind)), f": {error.strerror}.")
        return f"{name}: {os.fspath(error.filename)}{' ' if said[0] != ':' else ''}{said}"
    if no_space(error):
        return (
            f"{name}: no space left for the output or for temporary files; free some, or choose another --out or "
            "TMPDIR, then give the same command again."
        )
    return None


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
