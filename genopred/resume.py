"""What a run leaves beside its results, so that the next one goes on, or is refused: settings, inputs by their content.

It is `run.json` in a folder, `<out>.run.json` beside a prefix.
"""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from genopred.errors import GenopredError
from genopred.files import write_json
from genopred.provenance import versions

#: The files behind a genotype prefix. Indices are none: they follow from the data.
PREFIXES = {"bfile": (".bed", ".bim", ".fam"), "pfile": (".pgen", ".pvar", ".pvar.zst", ".psam")}

#: Files up to this size are read whole to know them again; of a larger one `_PIECES` stretches of `_PIECE` bytes.
_WHOLE = 64 << 20
_PIECE, _PIECES = 1 << 20, 64

#: What `genopred.files.atomic` calls a file that is being written.
_LEFTOVER = re.compile(r"\.(?P<stem>.+)\.[a-z0-9_]{8}\.part(?P<suffix>\.[^.]+)?")


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
    """Name and digest of the files behind a path: a file, a prefix (`--bfile`, `--pfile`) or a folder's manifests."""
    if suffixes := PREFIXES.get(option.lstrip("-")):
        files = [Path(f"{path}{suffix}") for suffix in suffixes]
    else:
        files = sorted(path.rglob("manifest.json")) if path.is_dir() else [path]
    return [[file.name, digest(file)] for file in files if file.is_file()]


def fingerprint(known: Mapping[str, Any]) -> dict[str, Any]:
    """What results depend on, as JSON: settings by name, a path as the files behind it, and genopred's version."""
    now = {**_known("", known), "version": versions()["genopred"]}
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
    settings : dict
        From `fingerprint`.
    outputs : sequence of str
        Patterns of all files that the workflow writes, below `out` (`genes/*.json`) or, if it is a `prefix`, after
        `<out>.`.
    resume : bool
        Go on where the settings are the same, refuse others; otherwise what the earlier run wrote is removed.
    about : dict, optional
        What is written down beside the settings, and not held against those of a later run.

    Returns
    -------
    bool
        Whether results of an earlier run are there, made with the same settings.
    """
    sweep(out, outputs, prefix=prefix)
    record = named(out, "run.json", prefix)
    there = any(_matching(out, outputs, prefix))
    if there and not resume:
        clear(out, outputs, prefix=prefix)
    elif there:
        before = _read(record)
        if before is None:
            what = f"a run whose settings are not known (no {record.name})"
        elif differ := difference(before, settings):
            what = f"a run with other settings ({', '.join(differ)})"
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
    named(out, "run.json", prefix).unlink(missing_ok=True)


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
    below = Path(pattern)
    if prefix and below.parent == Path("."):
        return out.parent, f"{glob.escape(out.name)}.{pattern}"
    return named(out, str(below.parent), prefix), below.name


def named(out: Path, name: str, prefix: bool) -> Path:
    """Where an output of this name lies."""
    return Path(f"{out}.{name}") if prefix else out / name


def _read(record: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return {key: value for key, value in found.items() if key != "about"} if isinstance(found, dict) else None
