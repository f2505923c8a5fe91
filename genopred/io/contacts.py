"""Contacts between stretches of a chromosome: BEDPE, and cooler's .cool and .mcool."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import FormatError, ModelError, examples
from genopred.io.text import PathLike, after_comments, read_bytes, read_table, regular, to_numbers
from genopred.types import plain_chrom

#: Both stretches are of `chrom`, 0-based half-open; a contact is there once.
CONTACT_SCHEMA: dict[str, Any] = {
    "chrom": pl.String, "start1": pl.Int64, "end1": pl.Int64, "start2": pl.Int64, "end2": pl.Int64,
    "weight": pl.Float64,
}  # fmt: skip
_WHAT = "contacts in BEDPE: chrom1, start1, end1, chrom2, start2, end2, name, score"


def read_contacts(
    file: PathLike, lengths: Mapping[str, int], places: Mapping[str, NDArray[np.int64]], *,
    farthest: int, resolution: int | None = None, inside: str = "",
) -> pl.DataFrame:  # fmt: skip
    """Contacts within chromosomes that touch some places.

    Parameters
    ----------
    file : path
        A BEDPE, or a .cool or .mcool; its content says which.
    lengths : dict
        Chromosomes of the reference and their lengths in bp; `chr22` matches `22`.
    places : dict of int array
        0-based positions (TSSs) by chromosome; of a cooler only what touches their bins is read.
    farthest : int
        Of a cooler, how far from a place's bin is read, in bp.
    resolution : int, optional
        Of an .mcool.
    inside : str
        `::resolutions/5000`, what follows the file's name in an address of cooler's.

    Returns
    -------
    polars.DataFrame
        Columns of `CONTACT_SCHEMA`, chromosomes as in `lengths`; weight above 0.

    Raises
    ------
    FormatError
        If the file is neither, is of another build (a stretch beyond its chromosome), or has no contacts there.
    ModelError
        If it is a cooler and cooler is not installed.
    """
    path = regular(file, "contacts: a BEDPE or a cooler")
    with path.open("rb") as handle:
        hdf5 = handle.read(8) == b"\x89HDF\r\n\x1a\n"
    if hdf5:
        out = _cooler(path, lengths, places, farthest, resolution, inside)
    else:
        out = _bedpe(path, lengths)
    if not out.height:
        raise FormatError(f"{path}: no contacts within the chromosomes of the genes ({examples(list(lengths))}).")
    return out


def _bedpe(path: Path, lengths: Mapping[str, int]) -> pl.DataFrame:
    body, skipped = after_comments(read_bytes(path, _WHAT), b"#")
    if re.match(rb"chrom?_?1?\t", body, re.I):
        body, skipped = body.partition(b"\n")[2], skipped + 1
    n = body.partition(b"\n")[0].count(b"\t") + 1
    if n < 6:
        raise FormatError(f"{path} line {skipped + 1}: {n} fields; needed {_WHAT}, separated by tabs.")
    names = ["chrom", "start1", "end1", "chrom2", "start2", "end2", *(f"field {i + 1}" for i in range(6, n))]
    table, first = read_table(body, path, columns=names, separator="\t")
    first += skipped
    table = to_numbers(table, ["start1", "end1", "start2", "end2"], path, first, kind=pl.Int64)
    table = table.with_row_index("line", offset=first).with_columns(_scores(table, path, first).alias("weight"))
    known = {plain_chrom(name): name for name in lengths}
    here = {name: known.get(plain_chrom(name), "") for name in {*table["chrom"].to_list(), *table["chrom2"].to_list()}}
    table = table.with_columns(pl.col("chrom", "chrom2").replace_strict(here, return_dtype=pl.String))
    table = table.filter((pl.col("chrom") == pl.col("chrom2")) & (pl.col("chrom") != ""))
    size = pl.col("chrom").replace_strict(lengths, return_dtype=pl.Int64, default=0)
    for i in "12":
        a, b = pl.col(f"start{i}"), pl.col(f"end{i}")
        for wrong, said in (
            ((a < 0) | (a >= b), "needed 0 <= start < end"),
            (b > size, "which is beyond the chromosome's end in the FASTA: the contacts are of another build"),
        ):
            bad = table.filter(wrong)
            if bad.height:
                row = bad.row(0, named=True)
                raise FormatError(
                    f"{path} line {row['line']}: {row['chrom']}:{row[f'start{i}']}-{row[f'end{i}']}; {said} "
                    f"({bad.height:,} such lines)."
                )
    return table.filter(pl.col("weight") > 0).select(pl.col(name).cast(kind) for name, kind in CONTACT_SCHEMA.items())


def _scores(table: pl.DataFrame, path: Path, first: int) -> pl.Series:
    """The eighth field; the seventh where there is no more and it holds numbers; else 1."""
    ones = pl.repeat(1.0, table.height, dtype=pl.Float64, eager=True)
    if "field 8" in table.columns:
        if (table["field 8"] == ".").all():
            return ones
        scores = to_numbers(table, ["field 8"], path, first)["field 8"].cast(pl.Float64)
    elif "field 7" in table.columns:
        maybe = table["field 7"].cast(pl.Float64, strict=False)
        if maybe.null_count():
            return ones
        scores = maybe
    else:
        return ones
    bad = ~(scores.is_finite() & (scores >= 0))
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise FormatError(f"{path} line {first + row}: the score {scores[row]}; needed a finite one, 0 or more.")
    return scores


def _cooler(
    path: Path, lengths: Mapping[str, int], places: Mapping[str, NDArray[np.int64]], farthest: int,
    resolution: int | None, inside: str,
) -> pl.DataFrame:  # fmt: skip
    try:
        import cooler
    except ImportError as bad:
        raise ModelError(
            f"{path} is a cooler, which needs the package cooler ({bad}): pip install 'genopred[networks]', or give "
            "the contacts as BEDPE (cooler dump --join)."
        ) from None
    inner = inside.removeprefix("::")
    try:
        there = cooler.fileops.list_coolers(str(path))
        if not inner:
            if len(there) > 1 and resolution is None:
                raise FormatError(f"{path} has {len(there)} resolutions ({examples(there)}); say contacts.resolution.")
            inner = there[0] if len(there) == 1 else f"/resolutions/{resolution}"
        if f"/{inner.lstrip('/')}" not in there:
            raise FormatError(f"{path} has no {inner}; it has {examples(there) or 'no contacts'}.")
        found = cooler.Cooler(f"{path}::{inner}")
        pixels = [_pixels(found, path, chrom, lengths[chrom], places[chrom], farthest) for chrom in places]
    except (OSError, KeyError, ValueError) as bad:
        if isinstance(bad, FormatError):
            raise
        raise FormatError(f"{path} cannot be read as a cooler ({type(bad).__name__}: {bad}).") from None
    return pl.concat([pl.DataFrame(schema=CONTACT_SCHEMA), *pixels])


def _pixels(found: Any, path: Path, chrom: str, length: int, places: NDArray[np.int64], farthest: int) -> pl.DataFrame:
    """Pixels of one chromosome of which a bin holds one of the places; balanced where the file has weights."""
    names = {plain_chrom(name): name for name in found.chromnames}
    name = names.get(plain_chrom(chrom))
    if name is None:
        return pl.DataFrame(schema=CONTACT_SCHEMA)
    if (size := int(found.chromsizes[name])) != length:
        raise FormatError(
            f"{path}: {name} has {size:,} bp there and {length:,} in the FASTA: the contacts are of another build."
        )
    balance = "weight" in found.bins().columns
    bins = found.bins().fetch(name)[["start", "end"]]
    edges = np.append(bins["start"].to_numpy(), length)
    matrix = found.matrix(balance=balance, as_pixels=True, join=True, ignore_index=True)
    parts = [pl.DataFrame(schema=CONTACT_SCHEMA)]
    for i in np.unique(np.searchsorted(edges, places, side="right") - 1).tolist():
        start, end = int(edges[i]), int(edges[i + 1])
        low, high = max(0, start - farthest), min(length, end + farthest)
        # a rectangle comes with both its ends in the order of the query
        part = matrix.fetch((name, start, end), (name, low, high))
        value = part["balanced" if balance else "count"].to_numpy().astype(np.float64)
        columns = {key: part[key].to_numpy().astype(np.int64) for key in ("start1", "end1", "start2", "end2")}
        rows = pl.DataFrame({"chrom": [chrom] * len(part), **columns, "weight": value}, schema=CONTACT_SCHEMA)
        parts.append(rows.filter(pl.col("weight").is_finite() & (pl.col("weight") > 0)))
    table = pl.concat(parts)
    turned = {"start1": "start2", "end1": "end2", "start2": "start1", "end2": "end1"}
    # between two bins that both hold a place a contact came twice
    flip = pl.col("start1") > pl.col("start2")
    table = table.with_columns(pl.when(flip).then(pl.col(b)).otherwise(pl.col(a)).alias(a) for a, b in turned.items())
    return table.unique(["start1", "start2"], keep="first", maintain_order=True).sort("start1", "start2")
