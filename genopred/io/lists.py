"""Lists of samples, variants and genes: --keep, --remove, --extract, --exclude, --genes and --tracks-file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genopred.errors import FormatError, shortened
from genopred.io.text import PathLike, decode, name_array, read_bytes


def read_samples(path: PathLike, *, ids: str = "iid") -> NDArray[np.str_]:
    """Sample names of a `--keep` or `--remove` file: `FID IID` or `IID` a line, with or without plink2's header.

    Parameters
    ----------
    path : str
    ids : {"iid", "fid_iid"}
        As in `read_plink`: whether samples are named IID or FID_IID. A line with one column is taken as it is.

    Returns
    -------
    array of str
        In the file's order, each once. Names that no other file knows do no harm, as in plink.

    Raises
    ------
    FormatError
        If the file is empty.
    """
    names = []
    position: int | None = None
    for cells in _lines(path, "a list of samples"):
        if cells[0].startswith("#"):
            if cells[0] in ("#FID", "#IID"):
                position = 1 if cells[0] == "#FID" else 0
            continue
        if position is None and cells[:2] == ["FID", "IID"]:
            position = 1
            continue
        at = position if position is not None else (1 if len(cells) > 1 else 0)
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
    for name in ("index", "description"):
        if name in header:
            at = header.index(name)
            return [line.split("\t")[at] for line in lines[1:]]
    return [line.strip() for line in lines]


def _lines(path: PathLike, what: str) -> list[list[str]]:
    text = decode(read_bytes(path, what), path)
    return [cells for line in text.split("\n") if (cells := line.split())]


def _unique(names: list[str], path: PathLike, what: str) -> NDArray[np.str_]:
    if not names:
        raise FormatError(f"{path} names nothing; needed {what}.")
    return name_array(list(dict.fromkeys(names)), path)
