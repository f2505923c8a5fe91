"""Text tables, gzipped or not, in which every complaint names the file and the line."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path

import polars as pl

from genopred.errors import FormatError

PathLike = str | Path


def read_bytes(path: PathLike, what: str) -> bytes:
    """All of a file, decompressed where it is gzipped; `what` says in messages which file was expected."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FormatError(f"{path}: no such file; needed {what}. Check the path.") from None
    except IsADirectoryError:
        raise FormatError(f"{path} is a folder; needed {what}.") from None
    except PermissionError:
        raise FormatError(f"{path}: no permission to read it; needed {what}.") from None
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as problem:
            raise FormatError(
                f"{path}: its gzip data are damaged or cut off ({problem}); copy the file again."
            ) from None
    if not data.strip():
        raise FormatError(f"{path} is empty; needed {what}.")
    return data


def read_table(
    data: bytes,
    path: PathLike,
    *,
    columns: Sequence[str] | None = None,
    separator: str | None = None,
    comment: bytes | None = None,
    text_columns: Collection[int] | None = None,
) -> tuple[pl.DataFrame, int]:
    """Parse a text table into string columns.

    Parameters
    ----------
    data : bytes
        The file's content, from `read_bytes`.
    path : str
        Its name, for messages.
    columns : list of str, optional
        Names of the columns of a file without header. Without it the first line is the header.
    separator : str, optional
        `"\\t"`, or None for any run of blanks and tabs.
    comment : bytes, optional
        Lines at the top that start with this are skipped.
    text_columns : collection of int, optional
        Columns that hold text; the others are read as float64 where all of them are numbers.
        Without it everything is text.

    Returns
    -------
    polars.DataFrame
    int
        Line number of the first row, counted from 1.

    Raises
    ------
    FormatError
        If a line has more or fewer fields than the header (or than `columns`).
    """
    skipped = 0
    if comment is not None:
        while data.startswith(comment):
            end = data.find(b"\n")
            data = data[end + 1 :] if end >= 0 else b""
            skipped += 1
    if b"\r" in data[:10_000]:
        data = data.replace(b"\r\n", b"\n")
    data = data.rstrip(b"\n") + b"\n"
    if separator is None:
        if b" " in data:
            data = re.sub(rb"(?m)^[ \t]+|[ \t]+$", b"", data)
            data = re.sub(rb"[ \t]+", b"\t", data)
        separator = "\t"
    first, _, _ = data.partition(b"\n")
    cells = first.decode("utf-8", "replace").split(separator)
    header = columns is None
    names = cells if columns is None else list(columns)
    if header:
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            raise FormatError(f"{path} line {skipped + 1}: column {twice[0]!r} occurs more than once; rename one.")
    first_row = skipped + (2 if header else 1)
    kinds: dict[str, type[pl.DataType]] = {name: pl.String for name in names}
    numbers = [name for j, name in enumerate(names) if text_columns is not None and j not in text_columns]
    kinds.update({name: pl.Float64 for name in numbers})
    try:
        if len(cells) != len(names):
            raise ValueError
        table = pl.read_csv(
            io.BytesIO(data),
            has_header=header,
            separator=separator,
            quote_char=None,
            schema=kinds,
        )
    except (pl.exceptions.PolarsError, ValueError):
        table = None
    rows = data.count(b"\n") - (1 if header else 0)
    if table is None or table.height != rows or table[names[-1]].null_count():
        _check_fields(data, path, separator, len(names), skipped)
    if table is None or table.height != rows or any(table[name].null_count() for name in numbers):
        return _read_strings(data, separator, names, header), first_row
    return table.with_columns(pl.col(pl.String).fill_null("")), first_row


def _check_fields(data: bytes, path: PathLike, separator: str, wanted: int, skipped: int) -> None:
    mark = separator.encode()
    for number, line in enumerate(data[:-1].split(b"\n"), start=skipped + 1):
        found = line.count(mark) + 1 if line else 0
        if found != wanted:
            raise FormatError(
                f"{path} line {number}: {found} fields where {wanted} are needed; each line needs one per column."
            )


def _read_strings(data: bytes, separator: str, names: Sequence[str], header: bool) -> pl.DataFrame:
    """The table as strings, cell by cell: the slow way, to find a bad cell."""
    lines = data.decode("utf-8", "replace").rstrip("\n").split("\n")[1 if header else 0 :]
    cells = [line.split(separator) for line in lines]
    return pl.DataFrame(
        {name: [row[j] for row in cells] for j, name in enumerate(names)}, schema={n: pl.String for n in names}
    )


def to_numbers(
    table: pl.DataFrame,
    columns: Sequence[str],
    path: PathLike,
    first_row: int,
    *,
    kind: type[pl.DataType] = pl.Float64,
    missing: Sequence[str] = (),
) -> pl.DataFrame:
    """Turn string columns into numbers; a cell that is none raises, with its line and column.

    Parameters
    ----------
    missing : list of str
        Cells that stand for a missing number and become null.
    """
    wanted = [name for name in columns if table.schema[name] == pl.String]
    if not wanted:
        return table
    cast = table.with_columns(pl.col(wanted).str.strip_chars().cast(kind, strict=False))
    noun = "a whole number" if kind.is_integer() else "a number"
    for name in wanted:
        bad = cast[name].is_null()
        if missing and bad.any():
            bad = bad & ~table[name].str.strip_chars().is_in(list(missing))
        if bad.any():
            row = int(bad.arg_max() or 0)
            more = int(bad.sum()) - 1
            tail = f" ({more} more such cells in this column)" if more else ""
            raise FormatError(
                f"{path} line {first_row + row}, column {name!r}: found {table[name][row]!r} "
                f"where {noun} is needed{tail}; correct the cell or leave it out."
            )
    return cast
