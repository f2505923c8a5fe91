"""BGEN, layout 2, by its dosages, through the package bgen; and the .sample files beside it."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import FormatError, GenopredError, examples, repeated
from genopred.io.plink import sample_names
from genopred.io.spool import Spool
from genopred.io.text import PathLike, name_array, read_bytes, read_table, regular
from genopred.io.variants import named, screened
from genopred.types import VARIANT_SCHEMA, Genotypes, noted, run_of

_WHAT = "a BGEN"


def read_bgen(path: PathLike, sample: PathLike | None = None, *, ids: str = "iid") -> Genotypes:
    """Open a BGEN; genotypes are read when asked for. Needs the package bgen: `pip install 'genopred[bgen]'`.

    `ref` is a variant's first allele and `alt` its second, as UK Biobank's files have them. plink2 writes REF second
    unless told `ref-first`; `align.harmonise` finds such swaps against another table.

    Parameters
    ----------
    path : str
        Layout 2 (BGEN 1.2 and 1.3), phased or not, of any number of bits. With bgenix's .bgi beside it, variants are
        known without reading through the file.
    sample : str, optional
        The .sample that names the people; by default the file itself, or else the .sample beside it of the same name.
    ids : {"iid", "fid_iid"}
        Name the people of a .sample by ID_2, or by ID_1_ID_2 where one ID_2 occurs in several families.

    Returns
    -------
    Genotypes
        Unphased: dosages are expected ones, and have no alleles. Variants with more or fewer than two alleles are left
        out and counted in `notes`; dosages of haploids count as of homozygous. Ids are rsids; 01 is chromosome 1.

    Raises
    ------
    FormatError
        If a file is missing, damaged, cut off, of layout 1 or no BGEN, an index or .sample is not its own, or nothing
        names the people.
    GenopredError
        If the package is missing.

    References
    ----------
    Band and Marchini (2018), doi:10.1101/308296; https://www.well.ox.ac.uk/~gav/bgen_format.
    """
    path = regular(path, _WHAT)
    header = _header(path)
    index = Path(f"{path}.bgi")
    with_index = index.exists() and regular(index, "the index of a BGEN")
    samples = _samples(path, header, sample, ids)
    table = _indexed(path, index, header) if with_index else _walked(path, header)
    usable = (table["alleles"] == 2).to_numpy()
    variants = named(table.select(list(VARIANT_SCHEMA)))
    notes = noted("dropped", "variant without exactly two alleles", ~usable, variants["id"])
    record = np.flatnonzero(usable)
    if not len(record):
        raise FormatError(f"{path}: none of its {table.height:,} variants has two alleles; needed such variants.")
    reader = BgenReader(path, len(samples), record, table["pos"].to_numpy()[record])
    return screened(Genotypes(samples, variants[record], reader, str(path), notes=tuple(notes)))


class _Header(NamedTuple):
    """What the first bytes of a BGEN say; its variants begin at byte `start`."""

    start: int
    variants: int
    samples: int
    names: bool


def _header(path: Path) -> _Header:
    with path.open("rb") as file:
        head = file.read(20)
        offset, length, variants, samples = (int.from_bytes(head[i : i + 4], "little") for i in range(0, 16, 4))
        if len(head) < 20 or head[16:] not in (b"bgen", bytes(4)) or not 20 <= length <= offset:
            raise FormatError(f"{path} does not start as {_WHAT} does (no `bgen` in bytes 17 to 20); needed {_WHAT}.")
        file.seek(length)
        flags = int.from_bytes(file.read(4), "little")
    size = path.stat().st_size
    if offset + 4 > size:
        raise FormatError(f"{path} is cut off: it ends within its header; copy the file again.")
    layout, compression = flags >> 2 & 15, flags & 3
    if layout != 2 or compression > 2:
        raise FormatError(
            f"{path} is a BGEN of layout {layout}, compression {compression}; needed layout 2 (BGEN 1.2 or 1.3): "
            "rewrite it with qctool, or with plink2 --export bgen-1.2."
        )
    if not variants or not samples:
        raise FormatError(f"{path} has {variants:,} variants of {samples:,} samples; needed some of both.")
    return _Header(offset + 4, variants, samples, bool(flags >> 31))


def _opened(path: Path) -> Any:
    try:
        from bgen import BgenReader as Package
    except ImportError as problem:
        raise GenopredError(
            f"BGEN: this needs the package bgen ({problem}); install it with pip install 'genopred[bgen]'."
        ) from None
    try:
        # an absolute path, since the package takes - for its standard input
        return Package(os.path.abspath(path), delay_parsing=True)
    except (ValueError, IndexError, RuntimeError, OSError, MemoryError, sqlite3.Error) as problem:
        raise _damaged(path, problem) from None


def _damaged(path: Path, problem: BaseException) -> FormatError:
    said = " ".join(str(problem).split()) or type(problem).__name__
    return FormatError(f"{path} is damaged or cut off ({said}); copy the file again.")


def _samples(path: Path, header: _Header, sample: PathLike | None, ids: str) -> NDArray[np.str_]:
    if ids not in ("iid", "fid_iid"):
        raise GenopredError(f"ids {ids!r} is unknown; choose 'iid' or 'fid_iid'.")
    beside = path.with_suffix(".sample")
    if sample is None and not header.names:
        if not beside.exists():
            raise FormatError(
                f"{path} does not name its people, and there is no {beside.name} beside it; give the .sample that "
                "belongs to it: --sample FILE."
            )
        sample = beside
    if sample is not None:
        found = read_sample(sample, ids=ids)
        if len(found) != header.samples:
            raise FormatError(
                f"{sample} names {len(found):,} people, {path} has {header.samples:,}; give the .sample that belongs "
                "to it."
            )
        return found
    with _opened(path) as file:
        try:
            names = file.samples
        except UnicodeDecodeError as problem:
            raise _damaged(path, problem) from None
    if twice := repeated(names):
        raise FormatError(
            f"{path}: {len(twice)} names of people are there more than once ({examples(twice)}); each may occur once. "
            "Give a .sample with other names: --sample FILE."
        )
    return name_array(names, path)


def read_sample(path: PathLike, *, ids: str = "iid") -> NDArray[np.str_]:
    """Names in a .sample (of SNPTEST, qctool, plink2), in its order, each exactly once: ID_2, or ID_1_ID_2 by `ids`.

    The first line names the columns, the second their types: 0, D, C, B or P.
    """
    table, first_row = read_table(read_bytes(path, "a .sample"), path)
    columns = [name.upper() for name in table.columns[:2]]
    types = table.row(0) if table.height else ()
    if columns[0] not in ("ID_1", "ID") or not types or types[0] != "0" or any(len(cell) > 1 for cell in types):
        raise FormatError(
            f"{path} lines {first_row - 1} and {first_row}: found {examples(table.columns)} and "
            f"{examples(list(types)) or 'nothing'}; needed a .sample, which starts with ID_1 ID_2 missing, and then "
            "0 0 0."
        )
    people = table[1:]
    first = people.to_series(0).to_list()
    second = people.to_series(1).to_list() if columns == ["ID_1", "ID_2"] else first
    return sample_names(first, second, path, ids=ids, first_row=first_row + 1)


_COLUMNS = {**VARIANT_SCHEMA, "alleles": pl.Int64}


def _table(rows: list[tuple[Any, ...]], path: Path) -> pl.DataFrame:
    """Rows of chrom, pos, id, ref, alt and number of alleles as a table; `01` is chromosome 1."""
    table = pl.DataFrame(rows, schema=_COLUMNS, orient="row")
    if (table["chrom"].str.len_chars() == 0).any():
        raise FormatError(f"{path} has variants without chromosome; write it again with plink2 or qctool.")
    names = {name: re.sub(r"^0+(?=\d)", "", name) for name in table["chrom"].unique().to_list()}
    return table.with_columns(pl.col("chrom").replace(names))


def _walked(path: Path, header: _Header) -> pl.DataFrame:
    """All variants, from the file itself; nothing is decoded."""
    rows: list[tuple[Any, ...]] = []
    end = header.start
    with _opened(path) as file:
        try:
            for _, one in zip(range(header.variants), file):
                alleles = [*one.alleles, ".", "."]
                rows.append((one.chrom, one.pos, one.rsid or ".", *alleles[:2], len(alleles) - 2))
                end = one.next_variant_offset
        except (ValueError, IndexError, RuntimeError, MemoryError, OverflowError) as problem:
            raise _damaged(path, problem) from None
    size = path.stat().st_size
    if len(rows) < header.variants or end != size:
        state = "is cut off" if end > size or len(rows) < header.variants else "is too long"
        raise FormatError(
            f"{path} {state}: its {header.variants:,} variants end at byte {end:,} or later, the file at {size:,}; "
            "copy the file again."
        )
    return _table(rows, path)


def _indexed(path: Path, index: Path, header: _Header) -> pl.DataFrame:
    """All variants, from bgenix's index, if that is the file's own."""
    query = (
        "SELECT chromosome, position, rsid, allele1, allele2, number_of_alleles, file_start_position, size_in_bytes "
        "FROM Variant ORDER BY file_start_position"
    )
    try:
        connection = sqlite3.connect(f"file:{quote(os.path.abspath(index))}?mode=ro", uri=True)
        try:
            rows = connection.execute(query).fetchall()
        finally:
            connection.close()
    except sqlite3.Error as problem:
        raise _foreign(path, f"it cannot be read: {problem}") from None
    size = path.stat().st_size
    places = [(row[6], row[7]) for row in rows]
    if len(rows) != header.variants:
        raise _foreign(path, f"it lists {len(rows):,} variants, the file has {header.variants:,}")
    if not all(isinstance(cell, int) for place in places for cell in place):
        raise _foreign(path, "its places in the file are no whole numbers")
    if places[0][0] != header.start or any(a + b != c for (a, b), (c, _) in zip(places, places[1:])):
        raise _foreign(path, "its variants do not lie where the file's do")
    if sum(places[-1]) > size:
        raise FormatError(
            f"{path} is cut off, or its index {index.name} another file's: by that its variants end at byte "
            f"{sum(places[-1]):,}, the file at {size:,}; copy the file again."
        )
    if sum(places[-1]) < size:
        raise _foreign(path, f"by it the file ends at byte {sum(places[-1]):,}, not at {size:,}")
    return _table([(c, p, name or ".", ref, alt or ".", k) for c, p, name, ref, alt, k, _, _ in rows], path)


def _foreign(path: Path, why: str) -> FormatError:
    return FormatError(
        f"{path}: its index does not belong to this file ({why}). Make it again: bgenix -g {path} -index -clobber; or "
        f"take {path.name}.bgi away."
    )


class BgenReader:
    """Dosages of a BGEN through the package bgen; opened on first use, and again after pickling."""

    def __init__(self, path: Path, n_samples: int, record: NDArray[np.int64], pos: NDArray[np.int64]) -> None:
        self.path, self.n_samples = path, n_samples
        self.record, self.pos = record, pos
        self._file: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def dosage(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float32]:
        """Copies of ALT, shape (rows, columns), NaN where missing."""
        columns = np.asarray(columns, dtype=np.int64)
        out = np.empty((len(columns), len(rows)), dtype=np.float32)
        for j, column in enumerate(columns.tolist()):
            out[j] = self._one(column)[rows]
        return out.T

    def alleles(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.int8]:
        """Refused: expected dosages have none."""
        raise FormatError(
            f"{self.path} is read by its dosages, which have no alleles; genotypes are needed: --pfile, --vcf or "
            "--bfile (plink2 --bgen FILE ref-first --make-pgen keeps phase)."
        )

    def blocks(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64], size: int
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """People and their dosages, as `Genotypes.blocks`, each variant decoded once."""
        wanted, inverse = np.unique(np.asarray(columns, dtype=np.int64), return_inverse=True)
        spool = Spool((len(wanted), len(rows)), np.float32, size)
        for j, column in enumerate(wanted.tolist()):
            spool[j] = self._one(column)[rows]
        in_order = len(wanted) == len(columns) and run_of(inverse) is not None
        for people, block in spool.blocks():
            yield people, block if in_order else block[:, inverse]

    def _one(self, column: int) -> NDArray[np.float32]:
        """Everybody's dosage of a variant, shape (N,)."""
        if self._file is None:
            self._file = _opened(self.path)
        try:
            one = self._file[int(self.record[column])]
            if one.pos != self.pos[column]:
                raise _foreign(self.path, f"it has position {self.pos[column]} where the file has {one.pos}")
            ploidy = one.ploidy
            if (most := int(ploidy.max())) > 2:
                raise FormatError(f"{self.path} {one.chrom}:{one.pos} has ploidy {most}; needed 1 or 2.")
            dosage: NDArray[np.float32] = one.alt_dosage
        except (ValueError, IndexError, RuntimeError, MemoryError, OverflowError, sqlite3.Error) as problem:
            raise _damaged(self.path, problem) from None
        if (ploidy != 2).any():
            dosage = np.where(ploidy == 0, np.float32(np.nan), np.where(ploidy == 1, 2 * dosage, dosage))
        # a call of 2 is stored as 2 - 255/255 of nothing, give or take rounding; sums want it whole
        whole = np.rint(dosage)
        return np.where(np.abs(dosage - whole) < 5e-6, whole, dosage)
