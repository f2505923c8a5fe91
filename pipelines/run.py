"""What every workflow does around its science: its output locked, its inputs known again, counts and tables written.

A workflow opens a `Run` with the patterns of the files that it writes, lets it `settle` what its results depend on,
sends its genes through `each`, and has `matched` and `save` write what came out. The settings stay beside the results
as `run.json` in a folder, `<out>.run.json` beside a prefix. Two runs are never mixed: other settings are refused.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import joblib
import polars as pl
from threadpoolctl import threadpool_limits

from genopred.errors import GenopredError
from genopred.files import lock_output, write_files, write_json, write_table
from genopred.io.text import bounded
from genopred.pipelines.workers import workers
from genopred.report.provenance import versions
from genopred.settings import declared
from genopred.settings.parts import Output
from genopred.types import MatchReport

log = logging.getLogger(__name__)

#: What a workflow calls after each piece of work: done, in all, a name.
Progress = Callable[[int, int, str], None]

#: The files behind a genotype prefix. Indices are none: they follow from the data.
PREFIXES = {"bfile": (".bed", ".bim", ".fam"), "pfile": (".pgen", ".pvar", ".pvar.zst", ".psam")}

#: Files up to this size are read whole to know them again; of a larger one `_PIECES` stretches of `_PIECE` bytes.
_WHOLE = 64 << 20
_PIECE, _PIECES = 1 << 20, 64

#: What `genopred.files.atomic` calls a file that is being written.
_LEFTOVER = re.compile(r"\.(?P<stem>.+)\.[a-z0-9_]{8}\.part(?P<suffix>\.[^.]+)?")


class Run:
    """One run of a workflow: a context in which its output is its own.

    Parameters
    ----------
    settings : Output
        `out` is a folder, made here, or how the files begin (`FOLDER` of its class says which).
    outputs : sequence of str
        Patterns of all files that the workflow writes, below `out` (`genes/*.json`) or after `<out>.`.
    progress : callable, optional
        Called with (done, total, name).
    own_threads : bool
        The numeric libraries keep the threads that they choose; else they take one, and parallel work is `each`'s.

    Attributes
    ----------
    threads : int
        Cores to use.
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
        return _named(self.out, name, self.prefix)

    def settle(self, *, anew: bool = False, **computed: Any) -> bool:
        """Go on with what is at `out`, refuse it, or remove it; see `settle`.

        Parameters
        ----------
        anew : bool
            Whatever `resume` says, remove it.
        **computed
            What the results depend on beside the settings, or in place of some.
        """
        fields = declared(type(self.settings))
        spelt = {fields[name].flag if name in fields else name: value for name, value in computed.items()}
        known = fingerprint(self.settings.that_matter() | spelt)
        about = {"command": self.settings.command, "versions": versions()}
        how: dict[str, Any] = {"resume": self.settings.resume and not anew, "prefix": self.prefix, "about": about}
        going_on = settle(self.out, known, self.outputs, **how)
        if going_on:
            log.info(f"going on with what an earlier run of the same settings left at {self.out}")
        return going_on

    def sweep(self) -> None:
        """Remove what a killed run was writing; `settle` does so as well."""
        sweep(self.out, self.outputs, prefix=self.prefix)

    def clear(self) -> None:
        """Remove what the run wrote, and its settings."""
        clear(self.out, self.outputs, prefix=self.prefix)

    def each(
        self, function: Callable[..., Any], todo: Sequence[Any], arguments: Callable[[Any], tuple[Any, ...]], *,
        names: Callable[[Any], str] = str, ready: int = 0, ordered: bool = False,
    ) -> Iterator[Any]:  # fmt: skip
        """Results of `function(*arguments(item))` for all items, in parallel, with progress.

        Parameters
        ----------
        todo : sequence
        arguments : callable
            Called for an item shortly before its turn, so that memory does not grow with their number.
        names : callable
            What an item is called while it runs.
        ready : int
            How many others had been done before.
        ordered : bool
            Results in the order of `todo`; else as they are done.
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
        table = report.table
        write_files({self.path("matched.tsv"): lambda path: table.write_csv(path, separator="\t")})

    def save(self, **tables: pl.DataFrame) -> list[Path]:
        """Write tables by their names, each as parquet and TSV."""
        return [file for name, table in tables.items() for file in write_table(table, self.path(name))]


def _named_result(function: Callable[..., Any], name: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
    return name, function(*arguments)


def say(report: MatchReport) -> None:
    """The report's lines into the log."""
    for line in report.lines():
        log.info(line)


def cores(threads: int | None) -> int:
    """`threads`, but no more than the cores that this process may use; all of those without it."""
    most = int(joblib.cpu_count())
    if threads is not None and threads > most:
        log.warning(
            f"--threads {threads}: this process may use {most} {'core' if most == 1 else 'cores'}; using {most}."
        )
    return most if threads is None else min(threads, most)


def make_folder(out: Path) -> None:
    """Make the folder of the results.

    Raises
    ------
    GenopredError
        If `out` is a file, or cannot be made.
    """
    if out.exists() and not out.is_dir():
        raise GenopredError(f"--out {out} is a file; give a folder.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise GenopredError(f"--out {out}: {problem.strerror}; choose a folder that you may write.") from None


def digest(path: Path) -> str:
    """A short hash of what is in a file, of stretches spread evenly over it where it is large.

    Neither name nor time count: a file that was copied back is the same.
    """
    size = path.stat().st_size
    known = hashlib.blake2b(f"{size} ".encode(), digest_size=12)
    with path.open("rb") as file:
        if size <= _WHOLE:
            while piece := file.read(_PIECE):
                known.update(piece)
        else:
            for i in range(_PIECES):
                file.seek((size - _PIECE) * i // (_PIECES - 1))
                known.update(file.read(_PIECE))
    return known.hexdigest()


def identity(path: Path, option: str = "") -> list[list[str]]:
    """Name and digest of the files behind a path: a file, a genotype prefix, or a folder with a manifest.

    Parameters
    ----------
    path : Path
    option : str
        `bfile` and `pfile` (also with their dashes) make it a prefix.
    """
    if option.lstrip("-") in PREFIXES:
        files = [Path(f"{path}{suffix}") for suffix in PREFIXES[option.lstrip("-")]]
    else:
        files = sorted(path.rglob("manifest.json")) if path.is_dir() else [path]
    return [[file.name, digest(file)] for file in files if file.is_file()]


def fingerprint(known: Mapping[str, Any]) -> dict[str, Any]:
    """What results depend on, as JSON: settings as they are, files by their content, and genopred's version.

    Parameters
    ----------
    known : dict
        Settings and what was computed from them, by name. A path counts as the files behind it.
    """
    now = {key: _known(key, value) for key, value in known.items()} | {"version": versions()["genopred"]}
    return json.loads(json.dumps(now, default=str))  # type: ignore[no-any-return]


def _known(option: str, value: Any) -> Any:
    if isinstance(value, Path):
        return identity(value, option)
    if isinstance(value, Mapping):
        return {key: _known(key, one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_known(option, one) for one in value]
    return value


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of the settings that differ."""
    return [key for key in dict.fromkeys([*now, *before]) if before.get(key) != now.get(key)]


def settle(
    out: Path,
    settings: Mapping[str, Any],
    outputs: Sequence[str],
    *,
    resume: bool,
    prefix: bool = False,
    about: Mapping[str, Any] | None = None,
) -> bool:
    """Decide whether to go on with what is at `out`, refuse it, or remove it; and write the settings down.

    What a killed run was writing is removed first, so the caller holds the lock of `out`.

    Parameters
    ----------
    out : Path
    settings : dict
        From `fingerprint`.
    outputs : sequence of str
        Patterns of all files that the workflow writes, below `out` (`genes/*.json`) or after `<out>.`.
    resume : bool
        Go on where the settings are the same; otherwise what the earlier run wrote is removed.
    prefix : bool
        `out` is the beginning of file names, not a folder.
    about : dict, optional
        What is written down beside the settings, and not held against those of a later run.

    Returns
    -------
    bool
        Whether results of an earlier run are there, made with the same settings.

    Raises
    ------
    GenopredError
        If results of a run with other, or unknown, settings are there and `resume` is set.
    """
    sweep(out, outputs, prefix=prefix)
    record = _record(out, prefix)
    there = list(_matching(out, outputs, prefix))
    if there and not resume:
        clear(out, outputs, prefix=prefix)
    elif there:
        before = _read(record)
        differ = None if before is None else difference(before, settings)
        if differ:
            what = f"a run with other settings ({', '.join(differ)})"
        elif differ is None:
            what = f"a run whose settings are not known (no {record.name})"
        else:
            return True
        raise GenopredError(
            f"{out} holds results of {what}; choose another --out, or start over there with --no-resume."
        )
    write_json(record, {**settings, "about": about} if about else settings)
    return False


def clear(out: Path, outputs: Sequence[str], *, prefix: bool = False) -> None:
    """Remove what a run wrote, and its settings last."""
    for file in _matching(out, outputs, prefix):
        file.unlink()
    _record(out, prefix).unlink(missing_ok=True)


def sweep(out: Path, outputs: Sequence[str], *, prefix: bool = False) -> None:
    """Remove what a killed run was writing: the temporary files of `outputs`, and of no other run beside it."""
    for pattern in {*outputs, "run.json"}:
        folder, name = _place(out, pattern, prefix)
        for file in folder.glob(".*.part*"):
            found = _LEFTOVER.fullmatch(file.name)
            if found and fnmatch.fnmatchcase(f"{found['stem']}{found['suffix'] or ''}", name):
                file.unlink(missing_ok=True)


def _matching(out: Path, outputs: Sequence[str], prefix: bool) -> Iterator[Path]:
    for pattern in outputs:
        folder, name = _place(out, pattern, prefix)
        # not glob: a prefix may hold its special characters
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            if not file.name.startswith(".") and file.is_file() and fnmatch.fnmatchcase(file.name, name):
                yield file


def _place(out: Path, pattern: str, prefix: bool) -> tuple[Path, str]:
    """The folder of an output, and the pattern of its name there."""
    if not prefix:
        return (out / pattern).parent, Path(pattern).name
    below = Path(pattern)
    if below.parent == Path("."):
        return out.parent, "".join(f"[{c}]" if c in "*?[" else c for c in out.name) + f".{pattern}"
    return Path(f"{out}.{below.parent}"), below.name


def _named(out: Path, name: str, prefix: bool) -> Path:
    return Path(f"{out}.{name}") if prefix else out / name


def _record(out: Path, prefix: bool) -> Path:
    return _named(out, "run.json", prefix)


def _read(record: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return {key: value for key, value in found.items() if key != "about"} if isinstance(found, dict) else None
