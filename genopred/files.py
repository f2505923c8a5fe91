"""Outputs that appear whole or not at all, and a lock that keeps two runs off one output."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import polars as pl

from genopred.errors import GenopredError, no_space

PathLike = str | Path
Content = str | bytes | Callable[[Path], object]


@contextmanager
def atomic(path: PathLike) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends well, and goes when it does not.

    It keeps the extension of `path`; missing folders are made. If it cannot be written, a GenopredError says so.

    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic(folder / "table.tsv") as temporary:
    ...     _ = temporary.write_text("done")
    >>> [file.name for file in folder.iterdir()]
    ['table.tsv']
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise GenopredError(f"cannot write {path}: it is a folder; choose another output name with --out.")
        stem = os.fsencode(path.stem)[:180].decode(errors="ignore")  # the whole name has to stay within 255 bytes
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{stem}.", suffix=f".part{path.suffix}")
        os.close(handle)
        temporary = Path(name)
        os.chmod(temporary, 0o666 & ~_umask())
        yield temporary
        os.replace(temporary, path)
    except GenopredError:
        raise
    except Exception as problem:
        named = problem.filename if isinstance(problem, OSError) else None
        if temporary is not None and named is not None and not _concerns(problem, path, temporary):
            raise
        # Before the temporary file goes: what stopped it would no longer be seen.
        found = _cannot(path, problem, temporary)
        if found is None:
            raise
        raise GenopredError(found) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _cannot_write(path: Path, problem: BaseException, took: int = 0) -> str:
    """Why `path` could not be written and what to do; `took` bytes are written there now and will be free again."""
    number = getattr(problem, "errno", None)
    if isinstance(problem, OSError) and number not in (None, errno.ENOSPC) and not no_space(problem):
        reason = problem.strerror or problem
        return f"cannot write {path}: {reason}; choose a folder you may write to with --out, and check its free space."
    if number == errno.EFBIG or "too large" in str(problem).lower():
        reason, remedy = os.strerror(errno.EFBIG), "a limit on the size of files (ulimit -f) is in force: raise it"
    elif number == getattr(errno, "EDQUOT", -1) or "quota" in str(problem).lower():
        reason, remedy = "Disk quota exceeded", "free space"
    else:
        reason, remedy = os.strerror(errno.ENOSPC), "free space there"
        with suppress(OSError, StopIteration):
            folder = next(folder for folder in path.absolute().parents if folder.is_dir())
            reason += f", {shutil.disk_usage(folder).free + took:,} bytes are too few"
    return f"cannot write {path}: {reason}; {remedy} or choose another --out, then give the same command again."


def _cannot(path: Path, problem: Exception, temporary: Path | None) -> str | None:
    """The line for a failure to write; None for one that is none, such as a fault in what was to be written."""
    if temporary is None:
        return _cannot_write(path, problem) if isinstance(problem, OSError) else None
    took = 512 * getattr(temporary.stat(), "st_blocks", 0) if temporary.exists() else 0
    if not isinstance(problem, OSError) and not no_space(problem):
        try:  # libraries have errors of their own for a write that failed: ask the disk itself
            with temporary.open("ab") as file:
                file.write(bytes(1 << 20))
        except OSError as own:
            problem = own
        else:
            return None
    return _cannot_write(path, problem, took)


def _concerns(problem: Any, path: Path, temporary: Path) -> bool:
    named = {os.fspath(name) for name in (problem.filename, problem.filename2) if isinstance(name, (str, os.PathLike))}
    return bool(named & {str(path), str(temporary), str(path.parent)})


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_files(contents: Mapping[PathLike, Content]) -> None:
    """Write text, bytes, or what a function writes to the path it gets: all are complete before one has its name."""
    with ExitStack() as places:
        for path, content in contents.items():
            temporary = places.enter_context(atomic(path))
            if callable(content):
                content(temporary)
            elif isinstance(content, bytes):
                temporary.write_bytes(content)
            else:
                temporary.write_text(content, encoding="utf-8")


def write_text(path: PathLike, text: str) -> None:
    """Write text, whole or not at all; gzipped where the name ends in `.gz`."""
    data = text.encode()
    write_files({path: gzip.compress(data, 6, mtime=0) if str(path).endswith(".gz") else data})


def write_json(path: PathLike, content: object) -> None:
    """Write JSON with sorted keys, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def write_table(table: pl.DataFrame, prefix: PathLike) -> tuple[Path, Path]:
    """Write a table as `<prefix>.parquet` and `<prefix>.tsv`, whole or not at all.

    Floats in the TSV have the digits that bring the same number back; missing values are empty.
    """
    parquet, tsv = Path(f"{prefix}.parquet"), Path(f"{prefix}.tsv")
    write_files({parquet: table.write_parquet, tsv: lambda path: table.write_csv(path, separator="\t")})
    return parquet, tsv


def safe_name(name: str, taken: Collection[str] = ()) -> str:
    """A file name, without extension, for a gene or whatever else has a name; two names never share one.

    What cannot be read off the file name, because a character had to be replaced or the rest was cut off, or what is
    another file's name already (`taken`), gets a short hash.

    >>> safe_name("ENSG00000100001.3"), safe_name("a_b"), safe_name("a/b")
    ('ENSG00000100001.3', 'a_b', 'a_b-c14cddc0')
    """
    plain = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)[:100]
    if plain == name and plain not in taken:
        return plain
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@contextmanager
def lock_output(out: PathLike) -> Iterator[Path]:
    """Refuse to run while another run writes to the same output, a prefix or a folder.

    The lock is `<out>.lock`, or `.lock` inside `out` where that is a folder. It names the process that holds it. The
    operating system drops it when that process ends, however it ends, so a lock left by a killed run is taken over.
    """
    out = Path(out)
    path = out / ".lock" if out.is_dir() else Path(f"{out}.lock")
    handle = _acquire(path, out)
    try:
        yield path
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(handle)


def _acquire(path: Path, out: Path) -> int:
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as problem:
            raise GenopredError(_cannot_write(path, problem)) from None
        if not _try_lock(handle, path):
            found = _holder(path)
            os.close(handle)
            who = f"{found.get('pid')} on {found.get('host')}, since {found.get('since')}" if found else "unknown"
            raise GenopredError(
                f"another run writes to {out} (process {who}); wait for it, stop it, or choose another --out. "
                f"If you are sure that none is running, delete {path}."
            )
        # The former holder may have removed the file between our open and our lock: then it locks nobody out.
        if not _is(handle, path):
            os.close(handle)
            continue
        me = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps(me).encode(), 0)
        except OSError as problem:
            with suppress(OSError):
                path.unlink()
            os.close(handle)
            raise GenopredError(_cannot_write(path, problem)) from None
        return handle


def _is(handle: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _try_lock(handle: int, path: Path) -> bool:
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        # No locks on this file system: go by the process named in the file.
        return not _alive(path)


def _holder(path: Path) -> dict[str, object]:
    try:
        holder = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _alive(path: Path) -> bool:
    holder = _holder(path)
    pid = holder.get("pid")
    if not isinstance(pid, int):
        return False
    if holder.get("host") != socket.gethostname():
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError) as problem:
        return isinstance(problem, PermissionError)  # another user's
    return True
