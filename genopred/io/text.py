"""Files of text, gzipped or not: opened, expanded within a bound, and parsed; complaints name the file and the line."""

from __future__ import annotations

import gzip
import io
import math
import re
import stat
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import FormatError, GenopredError, repeated, shortened
from genopred.files import PathLike as PathLike

#: Bytes of text that one file may hold, expanded, unless `bounded` says otherwise.
MAX_BYTES = 512_000_000

#: Columns that a table may have: each costs some kilobytes, however few its rows.
_COLUMNS = 200_000

#: Characters that a name may have.
_NAME = 1000

#: Bytes taken at a time.
_PIECE = 1 << 20

_bound = MAX_BYTES

#: The byte-order mark that some editors put before UTF-8.
BOM = b"\xef\xbb\xbf"

#: How files start that hold no text, what they are, and what to do.
_NO_TEXT = {
    b"\x6c\x1b": "is a PLINK .bed or .pgen (genotypes); needed {what}, which is text.",
    b"BZh": "is compressed with bzip2; needed {what}, plain or gzipped: bunzip2 it.",
    b"\xfd7zXZ": "is compressed with xz; needed {what}, plain or gzipped: unxz it.",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd; needed {what}, plain or gzipped: unzstd it.",
    b"PK\x03\x04": "is a zip archive or a spreadsheet; needed {what}: unpack it, or save it as text.",
    b"\x1f\x8b": "is gzipped twice; needed {what}, plain or gzipped once: gunzip it.",
    b"PAR1": "is a parquet file; needed {what}, which is text.",
    b"\xff\xfe": "is UTF-16; needed {what} in UTF-8: iconv -f UTF-16 -t UTF-8.",
    b"\xfe\xff": "is UTF-16; needed {what} in UTF-8: iconv -f UTF-16 -t UTF-8.",
}


@contextmanager
def bounded(max_bytes: int) -> Iterator[None]:
    """Let files of text hold so many bytes, expanded, while the context lasts (`--max-bytes`); else `MAX_BYTES`.

    A gzipped file of some megabytes may expand to more than the memory; reading stops at the bound and says so.

    Examples
    --------
    >>> with bounded(2_000_000_000):
    ...     expression = read_expression("large.bed.gz")  # doctest: +SKIP
    """
    global _bound
    if max_bytes < 1:
        raise GenopredError(f"max_bytes = {max_bytes}: needed 1 or more.")
    before, _bound = _bound, int(max_bytes)
    try:
        yield
    finally:
        _bound = before


def regular(path: PathLike, what: str) -> Path:
    """The path, if it is a file that can be read from its start as often as need be; `what` is for the message.

    A pipe whose writer never comes would be waited for without end, and what readers do first, looking at the
    beginning, would eat it.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            with path.open("rb"):
                return path
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise FormatError(f"{path}: no such file; needed {what}. Check the path.") from None
    except PermissionError:
        raise FormatError(f"{path}: no permission to read it; needed {what}.") from None
    except OSError as problem:
        raise FormatError(f"{path} cannot be read ({problem.strerror}); needed {what}.") from None
    if stat.S_ISDIR(mode):
        raise FormatError(f"{path} is a folder; needed {what}.")
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    raise FormatError(
        f"{path} is {kinds.get(stat.S_IFMT(mode), 'no regular file')}; needed {what} in a regular file, which can be "
        "read more than once: save it to a file first."
    )


def pieces(path: PathLike, what: str) -> Iterator[bytes]:
    """What is in a file of text, a piece at a time, expanded where it is gzipped, without a byte-order mark.

    No bound is held to: whoever keeps the pieces asks `check_bound`.
    """
    path = regular(path, what)
    line, first = 1, True
    with path.open("rb", buffering=_PIECE) as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        # The gzip module reads several members, as bgzip writes them, one after the other.
        handle: IO[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
        while piece := _read(handle, path, what):
            if first:
                if said := next((said for magic, said in _NO_TEXT.items() if piece.startswith(magic)), None):
                    raise FormatError(f"{path} {said.format(what=what)}")
                piece, first = piece.removeprefix(BOM), False
            if b"\0" in piece:
                line += piece.count(b"\n", 0, piece.index(b"\0"))
                raise FormatError(
                    f"{path} line {line} holds a NUL byte, which no text has; needed {what}. "
                    "The file is damaged, or of another kind."
                )
            line += piece.count(b"\n")
            yield piece


def _read(handle: IO[bytes], path: Path, what: str) -> bytes:
    try:
        return handle.read(_PIECE)
    except (EOFError, gzip.BadGzipFile, zlib.error) as problem:
        raise FormatError(f"{path}: its gzip data are damaged or cut off ({problem}); copy the file again.") from None
    except OSError as problem:
        raise FormatError(f"{path} cannot be read ({problem.strerror}); needed {what}.") from None


def whole_lines(path: PathLike, what: str, size: int = 1 << 24) -> Iterator[bytes]:
    """What is in a file of text, `size` bytes or a little more at a time, each part ending with the end of a line."""
    held = io.BytesIO()
    for piece in pieces(path, what):
        cut = piece.rfind(b"\n") + 1
        check_bound(held.tell() + len(piece), path)
        held.write(piece[:cut] if cut else piece)
        if cut and held.tell() >= size:
            yield _unix(held.getvalue())
            held = io.BytesIO()
        held.write(piece[cut:] if cut else b"")
    if held.tell():
        yield _unix(held.getvalue()).rstrip(b"\n") + b"\n"


def check_bound(held: int, path: PathLike) -> None:
    """Refuse to keep more of a file than the bound."""
    if held > _bound:
        raise FormatError(
            f"{path} holds more than {_bound:,} bytes of text (expanded), the bound on what is taken into memory; "
            f"if the file should be so large, raise it: --max-bytes {math.ceil(2 * _bound / 1e6)}MB, or what it needs."
        )


def read_bytes(path: PathLike, what: str) -> bytes:
    """All of a file of text, decompressed where it is gzipped; `what` says in messages which file was expected.

    Lines end with a line feed, whatever system wrote them, and a byte-order mark is left out.
    """
    held = io.BytesIO()
    for piece in pieces(path, what):
        check_bound(held.tell() + len(piece), path)
        held.write(piece)
    data = held.getvalue()
    if not data or data.isspace():
        raise FormatError(f"{path} is empty; needed {what}.")
    return _unix(data)


def _unix(data: bytes) -> bytes:
    """Lines ended by a line feed alone, as everywhere but on Windows and old Macs."""
    if b"\r" not in data:
        return data
    if b"\n" not in data:
        return data.replace(b"\r", b"\n")
    return data.replace(b"\r\r\n", b"\n").replace(b"\r\n", b"\n")  # the former where it was converted twice


def decode(data: bytes, path: PathLike, first_line: int = 1) -> str:
    """Text from UTF-8; a line that is none is named, counted from `first_line`."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as problem:
        line = first_line + data.count(10, 0, problem.start)
        raise FormatError(
            f"{path} line {line} is not UTF-8 (byte {data[problem.start]:02x}); if it is Latin-1, convert it: "
            "iconv -f LATIN1 -t UTF-8."
        ) from None


def name_array(names: Sequence[str], path: PathLike) -> NDArray[np.str_]:
    """Names as an array, in which each takes the room of the longest, so that one longer than any name is refused."""
    longest = max(names, key=len, default="")
    if len(longest) > _NAME:
        raise FormatError(
            f"{path}: a name of {len(longest):,} characters ({shortened(longest)}); needed {_NAME:,} at most. Is a "
            "line end or a tab missing there?"
        )
    return np.array(names, dtype=str)


def find_separator(data: bytes, *, comment: bytes | None = None, commas: bool = False) -> str | None:
    """What separates the columns: tabs where the header has them, commas if they may, None for any run of blanks.

    So a name may hold a blank where there are tabs. Lines (of the first thousand, after those at the top that start
    with `comment`) that do not agree in their number of tabs, or a header with an empty name, are not tab separated,
    only written with some tabs.
    """
    data = data[: 1 << 24]
    head, *lines = (data if comment is None else after_comments(data, comment)[0]).split(b"\n", 1000)
    n = head.count(b"\t")
    if n:  # the last one may be cut, or be what follows them all
        agree = all(line.count(b"\t") == n for line in lines[:-1] if line)
        return "\t" if agree and all(head.split(b"\t")[1:]) else None
    return "," if commas and b"," in head else None


def after_comments(data: bytes, mark: bytes) -> tuple[bytes, int]:
    """What follows the lines at the top that start with `mark`, and how many these are.

    >>> after_comments(b"## made today\\n#chrom pos\\n", b"##")
    (b'#chrom pos\\n', 1)
    """
    if not data.startswith(mark):
        return data, 0
    found = re.search(rb"\n(?!%b)" % re.escape(mark), data)
    end = found.end() if found else len(data)
    return data[end:], data.count(b"\n", 0, end)


def by_spelling(names: Sequence[str], spellings: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The columns of a table that are known, whatever their case: our name -> the file's, by its first spelling there.

    >>> by_spelling(["SNP", "P"], {"id": ("rsid", "snp"), "pos": ("bp",), "pval": ("p",)})
    {'id': 'SNP', 'pval': 'P'}
    """
    lower = {name.strip().lower(): name for name in names}
    found = {ours: [lower[word] for word in words if word in lower] for ours, words in spellings.items()}
    return {ours: there[0] for ours, there in found.items() if there}


def read_table(
    data: bytes,
    path: PathLike,
    *,
    columns: Sequence[str] | None = None,
    separator: str | None = None,
    comment: bytes | None = None,
    text_columns: Collection[int] | None = None,
) -> tuple[pl.DataFrame, int]:
    """Parse a text table into string columns; and the line number of its first row, counted from 1.

    Parameters
    ----------
    data : bytes
        The content, from `read_bytes`, of the file at `path`.
    columns : list of str, optional
        Names of the columns of a file without header. Without it the first line is the header.
    separator : str, optional
        `"\\t"`, or None for any run of blanks and tabs.
    comment : bytes, optional
        Lines at the top that start with this are skipped.
    text_columns : collection of int, optional
        Columns that hold text; the others are read as float64 where all of them are numbers.
        Without it everything is text.
    """
    data, skipped = (_unix(data), 0) if comment is None else after_comments(_unix(data), comment)
    if not data.endswith(b"\n") or data.endswith(b"\n\n"):
        data = data.rstrip(b"\n") + b"\n"
    if separator is None:
        if b" " in data:
            data = re.sub(rb"(?m)^[ \t]+|[ \t]+$", b"", data)
            data = re.sub(rb"[ \t]+", b"\t", data)
        separator = "\t"
    first, _, _ = data.partition(b"\n")
    cells = decode(first, path, skipped + 1).split(separator)
    if len(cells) > _COLUMNS:
        raise FormatError(
            f"{path} line {skipped + 1}: {len(cells):,} columns; needed {_COLUMNS:,} at most. Turn the table round, or "
            "look whether line ends are missing."
        )
    header = columns is None
    names = cells if columns is None else list(columns)
    if header and (twice := repeated(names)):
        raise FormatError(
            f"{path} line {skipped + 1}: column {shortened(twice[0])!r} occurs more than once; rename one."
        )
    rows = data.count(b"\n")
    if len(cells) != len(names) or data.count(separator.encode()) != rows * (len(names) - 1):
        _check_fields(data, path, separator, len(names), skipped)
    rows -= header
    first_row = skipped + 1 + header
    numbers = [name for j, name in enumerate(names) if text_columns is not None and j not in text_columns]
    kinds = dict.fromkeys(names, pl.String) | dict.fromkeys(numbers, pl.Float64)
    try:
        table = pl.read_csv(io.BytesIO(data), has_header=header, separator=separator, quote_char=None, schema=kinds)
    except pl.exceptions.PolarsError:
        table = None
    if table is None or table.height != rows or table[names[-1]].null_count():
        _check_fields(data, path, separator, len(names), skipped)
    if table is None or table.height != rows or any(table[name].null_count() for name in numbers):
        return _read_strings(data, path, separator, names, header, skipped + 1), first_row
    return table.with_columns(pl.col(pl.String).fill_null("")), first_row


def _check_fields(data: bytes, path: PathLike, separator: str, wanted: int, skipped: int) -> None:
    mark = separator.encode()
    for number, line in enumerate(data[:-1].split(b"\n"), start=skipped + 1):
        found = line.count(mark) + 1 if line else 0
        if found != wanted:
            raise FormatError(
                f"{path} line {number}: {found} fields where {wanted} are needed; each line needs one per column."
            )


def _read_strings(
    data: bytes, path: PathLike, separator: str, names: Sequence[str], header: bool, first_line: int
) -> pl.DataFrame:
    """The table as strings, to find a bad cell; the slow way where polars does not read as many rows as there are."""
    schema = dict.fromkeys(names, pl.String)
    with suppress(pl.exceptions.PolarsError):
        table = pl.read_csv(io.BytesIO(data), has_header=header, separator=separator, quote_char=None, schema=schema)
        if table.height == data.count(b"\n") - header:
            return table.fill_null("")
    lines = decode(data, path, first_line).rstrip("\n").split("\n")[1 if header else 0 :]
    cells = zip(*(line.split(separator) for line in lines))
    return pl.DataFrame(dict(zip(names, cells)), schema=schema)


def to_numbers(
    table: pl.DataFrame,
    columns: Sequence[str],
    path: PathLike,
    first_row: int,
    *,
    kind: type[pl.DataType] = pl.Float64,
    missing: Sequence[str] = (),
) -> pl.DataFrame:
    """Turn string columns into numbers, and `missing` ones into nulls; a cell that is none is refused."""
    kinds = table.schema  # made anew at each look: people may be columns
    wanted = [name for name in columns if kinds[name] == pl.String]
    if not wanted:
        return table
    cast = table.with_columns(pl.col(wanted).str.strip_chars().cast(kind, strict=False))
    noun = "a whole number" if kind.is_integer() else "a number"
    # most tables are clean: no column is looked at by itself then
    nulls = cast.select(pl.col(wanted).null_count()).row(0)
    for name in (name for name, count in zip(wanted, nulls) if count):
        bad = cast[name].is_null()
        if missing and bad.any():
            bad = bad & ~table[name].str.strip_chars().is_in(list(missing))
        if bad.any():
            row, more = int(bad.arg_max() or 0), int(bad.sum()) - 1
            tail = f" ({more} more such cells in this column)" if more else ""
            raise FormatError(
                f"{path} line {first_row + row}, column {shortened(name)!r}: found {shortened(table[name][row])!r} "
                f"where {noun} is needed{tail}; correct the cell or leave it out."
            )
    return cast
