"""Lists of samples, variants and genes: --keep, --remove, --extract, --exclude, --genes and --tracks-file; pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genopred.errors import FormatError, examples, shortened
from genopred.io.text import PathLike, decode, name_array, read_bytes, read_table


def read_samples(path: PathLike, *, ids: str = "iid") -> NDArray[np.str_]:
    """Sample names of a `--keep` or `--remove` file, in its order, each once; names that nobody knows do no harm.

    A line is `FID IID` or `IID`, with or without plink2's header. `ids` is as in `read_plink`, "iid" or "fid_iid":
    whether samples are named IID or FID_IID. A line with one column is taken as it is.
    """
    names = []
    position: int | None = None
    for cells in _lines(path, "a list of samples"):
        if cells[0].startswith("#"):
            position = {"#FID": 1, "#IID": 0}.get(cells[0], position)
            continue
        if position is None and cells[:2] == ["FID", "IID"]:
            position = 1
            continue
        at = int(len(cells) > 1) if position is None else position
        if at >= len(cells):
            raise FormatError(f"{path}: found {shortened(' '.join(cells))!r} where FID and IID are needed.")
        names.append(f"{cells[0]}_{cells[1]}" if ids == "fid_iid" and at == 1 else cells[at])
    return _unique(names, path, "a list of samples")


def read_ids(path: PathLike, what: str = "a list of variants") -> NDArray[np.str_]:
    """Identifiers, one a line (further columns are not read): `--extract`, `--exclude`, `--genes`."""
    return _unique([cells[0] for cells in _lines(path, what) if not cells[0].startswith("#")], path, what)


def read_patterns(path: PathLike) -> list[str]:
    """Patterns of `--tracks-file`: one a line, or the column `index` (else `description`) of a table with a header."""
    text = read_bytes(path, "a list of tracks").decode("utf-8", "replace")
    lines = [line.rstrip("\r") for line in text.split("\n") if line.strip() and not line.startswith("#")]
    header = lines[0].split("\t") if lines else []
    at = next((header.index(name) for name in ("index", "description") if name in header), None)
    return [line.strip() for line in lines] if at is None else [line.split("\t")[at] for line in lines[1:]]


def _lines(path: PathLike, what: str) -> list[list[str]]:
    text = decode(read_bytes(path, what), path)
    return [cells for line in text.split("\n") if (cells := line.split())]


def _unique(names: list[str], path: PathLike, what: str) -> NDArray[np.str_]:
    if not names:
        raise FormatError(f"{path} names nothing; needed {what}.")
    return name_array(list(dict.fromkeys(names)), path)


def read_pairs(path: PathLike, key: str, value: str) -> dict[str, str]:
    """Columns `key` and `value` of a table with a header, separated by tabs, such as gene and family.

    Raises
    ------
    FormatError
        If a column is missing, or a key is there twice with different values.
    """
    data = read_bytes(path, f"a table of {key} and {value}")
    table, first = read_table(data, path, separator="\t" if b"\t" in data.partition(b"\n")[0] else None)
    names = {name.strip().lower().lstrip("#"): name for name in table.columns}
    if key not in names or value not in names:
        raise FormatError(f"{path}: columns are {examples(table.columns)}; needed are '{key}' and '{value}'.")
    out: dict[str, str] = {}
    for line, (one, of) in enumerate(table.select(names[key], names[value]).iter_rows(), start=first):
        if out.setdefault(one.strip(), of.strip()) != of.strip():
            raise FormatError(
                f"{path} line {line}: {key} {shortened(one)} is of {value} {shortened(of)} here and of "
                f"{shortened(out[one.strip()])} before; needed one."
            )
    return out
