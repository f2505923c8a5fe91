"""Tables of genes x cell types: TSV, CSV, GTEx' GCT, featureCounts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import FormatError, examples, repeated
from genopred.io.text import PathLike, after_comments, find_separator, read_bytes, read_table, to_numbers

#: Columns that are no cell types, in lower case.
_ABOUT = {
    "description", "gene_name", "symbol", "gene_symbol", "hgnc_symbol", "chr", "chrom", "start", "end", "strand",
    "gene_type", "gene_biotype",
}  # fmt: skip
_LENGTH = {"length", "effective_length"}
#: What stands where nothing was measured.
_MISSING = ("", "NA", "NaN", "nan", "na", ".")
_WHAT = "a table of genes x cell types"


@dataclass(frozen=True)
class ExpressionTable:
    """G genes in C cell types.

    Attributes
    ----------
    genes : tuple of str
        As the file has them.
    cells : tuple of str
    values : array, shape (G, C)
        NaN where missing.
    lengths : array, shape (G,), optional
        Of the genes in bp, where the file has them.
    """

    genes: tuple[str, ...]
    cells: tuple[str, ...]
    values: NDArray[np.float64]
    lengths: NDArray[np.float64] | None = None


def read_expression_table(path: PathLike) -> ExpressionTable:
    """Read a table with a header, gzipped or not, whose first column names genes; tabs, commas or blanks separate.

    Columns that describe a gene (Description, gene_name, Chr, Start, End, Strand) are left out, Length is its length.
    Lines that start with # are comments; those of a GCT file (#1.2 and the sizes) are known. An empty cell, NA and nan
    are missing values.

    Raises
    ------
    FormatError
        If a gene or cell type is there twice, a cell is no finite number or negative, or no cell types are left.
    """
    data = read_bytes(path, _WHAT)
    skipped = 0
    if data.startswith(b"#1."):
        data, skipped = data.split(b"\n", 2)[-1], 2
    body, comments = after_comments(data, b"#") if not skipped else (data, 0)
    skipped += comments
    table, first = read_table(body, path, separator=find_separator(body, commas=True))
    first += skipped
    gene, *others = table.columns
    if not table.height or not others:
        raise FormatError(f"{path}: found {table.height} genes, {len(others)} columns beside them; needed {_WHAT}.")
    names = table[gene].str.strip_chars().to_list()
    if twice := repeated(names):
        lines = [first + i for i, name in enumerate(names) if name == twice[0]]
        raise FormatError(
            f"{path}: {len(twice)} genes occur more than once, e.g. {twice[0]} on lines "
            f"{', '.join(map(str, lines[:3]))}; keep one row per gene."
        )
    cells = [name for name in others if name.strip().lower() not in _ABOUT | _LENGTH]
    if not cells:
        raise FormatError(f"{path}: found the columns {examples(table.columns)}; needed a column a cell type.")
    lengths = next((name for name in others if name.strip().lower() in _LENGTH), None)
    numbers = to_numbers(table, cells + ([lengths] if lengths else []), path, first, missing=_MISSING)
    values = numbers.select(pl.col(cells).cast(pl.Float64)).to_numpy().astype(np.float64)
    _check(values, cells, path, first)
    return ExpressionTable(
        tuple(names),
        tuple(name.strip() for name in cells),
        values,
        None if lengths is None else numbers[lengths].cast(pl.Float64).to_numpy().astype(np.float64),
    )


def _check(values: NDArray[np.float64], cells: list[str], path: PathLike, first: int) -> None:
    for bad, what in ((np.isinf(values), "an infinite value"), (values < 0, "a value below 0")):
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise FormatError(
                f"{path} line {first + row}, column {cells[column]!r}: {what} ({values[row, column]:g}; {bad.sum():,} "
                "such cells); needed counts or abundances, 0 or more, neither logs nor z values: these are made here."
            )
