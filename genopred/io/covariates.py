"""Covariates of samples, one row or one column per sample."""

from __future__ import annotations

import re
from collections.abc import Collection

import numpy as np
import polars as pl

from genopred.errors import FormatError, examples, repeated, shortened
from genopred.io.text import PathLike, decode, find_separator, name_array, read_bytes, read_table, to_numbers
from genopred.types import Covariates, Note

_MISSING = ("NA", "NaN", "nan", "na", ".", "")
_NUMBER = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$|^(NA|NaN|nan|na|\.)$")


def read_covariates(path: PathLike, samples: Collection[str] | None = None) -> Covariates:
    """Read covariates, gzipped or not, in either orientation.

    Tabs separate where the header has them, so that a name may hold a blank, else any run of blanks.

    plink's layout has a sample a row (`FID IID PC1 ...`, `#IID PC1 ...`, or no header at all), that of QTLtools,
    FastQTL and tensorQTL a covariate a row and samples in the header. Which it is, is told by the overlap with
    `samples`; without them by plink's header, else the longer side is taken for samples. `notes` says which.

    Parameters
    ----------
    samples : collection of str, optional
        Names to recognise samples by, e.g. those of the genotypes.

    Returns
    -------
    Covariates
        NaN where the file has NA.

    Raises
    ------
    FormatError
        If a cell is not a number, a sample or covariate occurs twice, or there is a header and nothing else.
    """
    data = read_bytes(path, "a covariate table")
    separator = find_separator(data)
    head, _, rest = data.partition(b"\n")
    cells = [cell.strip() for cell in decode(head, path).split(separator)]
    if len(cells) < 2:
        raise FormatError(f"{path} line 1: found {len(cells)} column(s); needed a header and at least one covariate.")
    first = [cell.lstrip("#").upper() for cell in cells[:2]]
    known = {str(name) for name in (() if samples is None else samples)}
    if first[0] == "IID" or first == ["FID", "IID"]:
        return _by_rows(data, path, cells, separator, 1 + (first[0] == "FID"), "plink's, a sample a row")
    if len(cells) > 2 and all(_NUMBER.match(cell) for cell in cells[2:]) and (not known or cells[1] in known):
        if not known or not set(cells[2:]) & known:
            names = ["FID", "IID", *(f"COV{j}" for j in range(1, len(cells) - 1))]
            return _by_rows(data, path, names, separator, 2, "plink's without header, a sample a row", header=False)
    if not rest.strip():
        raise FormatError(f"{path} has a header and no line after it, so no covariates; write them, or leave it out.")
    return _by_overlap(data, path, cells, separator, known)


def _by_overlap(data: bytes, path: PathLike, cells: list[str], separator: str | None, known: set[str]) -> Covariates:
    mark = None if separator is None else separator.encode()
    lines = [line.split(mark, 1) for line in data.split(b"\n")[1:] if line.strip()]
    firsts = [line[0].decode("utf-8", "replace").strip() for line in lines]
    across, down = len(known & set(cells[1:])), len(known & set(firsts))
    if not known:
        across, down = len(cells) - 1, len(firsts)
        why = f"taken so because {max(across, down)} is the longer side"
    elif across == down == 0:
        raise FormatError(
            f"{path}: neither its columns ({examples(cells[1:])}) nor its rows ({examples(firsts)}) name samples of "
            f"the other files ({examples(sorted(known))}); use the same names."
        )
    else:
        why = f"{max(across, down)} names match the other files"
    if across >= down:
        return _by_columns(data, path, separator, f"samples in columns: {why}")
    return _by_rows(data, path, cells, separator, 1, f"samples in rows: {why}")


def _by_rows(
    data: bytes, path: PathLike, names: list[str], separator: str | None, leading: int, layout: str, header: bool = True
) -> Covariates:
    table, first_row = read_table(data, path, columns=None if header else names, separator=separator)
    if not table.height:
        raise FormatError(f"{path} has a header and no samples; write a line a sample, or leave the file out.")
    labels = table.columns[leading:]
    if not labels:
        raise FormatError(f"{path} line 1: no covariates after the sample's name.")
    table = to_numbers(table, labels, path, first_row, missing=_MISSING)
    values = table.select(pl.col(labels).fill_null(float("nan"))).to_numpy()
    return _finish(values, table.to_series(leading - 1).to_list(), labels, path, layout)


def _by_columns(data: bytes, path: PathLike, separator: str | None, layout: str) -> Covariates:
    table, first_row = read_table(data, path, separator=separator)
    label, *samples = table.columns
    table = to_numbers(table, samples, path, first_row, missing=_MISSING)
    values = table.select(pl.col(samples).fill_null(float("nan"))).to_numpy().T
    return _finish(values, samples, table[label].to_list(), path, layout)


def _finish(values: np.ndarray, samples: list[str], names: list[str], path: PathLike, layout: str) -> Covariates:
    samples, names = [name.strip() for name in samples], [name.strip() for name in names]
    for what, labels in (("sample", samples), ("covariate", names)):
        if twice := repeated(labels):
            raise FormatError(f"{path}: {what} {shortened(twice[0])} occurs more than once; keep one.")
    if np.isinf(values).any():
        row, column = np.argwhere(np.isinf(values))[0]
        raise FormatError(f"{path}: covariate {names[column]} of {samples[row]} is infinite; correct it.")
    notes: tuple[Note, ...] = (("note", f"covariates read in layout {layout}", len(names), ""),)
    values = np.ascontiguousarray(values, dtype=np.float64)
    return Covariates(values, name_array(samples, path), tuple(names), str(path), notes)
