"""Expression matrices: BED with one gene a row, as GTEx, tensorQTL, FastQTL and QTLtools have it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from genopred.errors import FormatError, examples, repeated, shortened
from genopred.io.text import PathLike, after_comments, decode, name_array, read_bytes, read_table, to_numbers
from genopred.types import GENE_SCHEMA, Expression, Note, noted, plain_gene


def read_expression(path: PathLike) -> Expression:
    """Read an expression BED, gzipped or not.

    Two layouts are told apart by their sixth column: GTEx, tensorQTL and FastQTL have four leading columns
    (`#chr start end gene_id`), QTLtools has six (`... gene, group or length, strand`). `end` is the TSS, 1-based.
    Where an interval is longer than one base and the strand is known, the TSS is the end that the strand says.

    Returns
    -------
    Expression
        Values as they stand in the file; nothing is transformed.

    Raises
    ------
    FormatError
        If rows are not sorted, a gene or sample occurs twice, or a cell is not a finite number.
    """
    data = read_bytes(path, "an expression BED")
    body, skipped = after_comments(data, b"##")
    names = _header(body, path, skipped + 1)
    leading = _leading(body, names)
    del body
    table, first_row = read_table(data, path, separator="\t", comment=b"##", text_columns=range(leading))
    if not table.height:
        raise FormatError(f"{path} has a header and no genes.")
    chrom, start, end, gene = table.columns[:4]
    table = to_numbers(table, [start, end], path, first_row, kind=pl.Int64)
    _check_positions(table[chrom], table[start].to_numpy(), table[end].to_numpy(), path, first_row)
    _check_unique(table[gene], path, first_row)
    strand = table[table.columns[5]] if leading == 6 else pl.repeat(".", table.height, dtype=pl.String, eager=True)
    tss, notes = _tss(table[start].to_numpy(), table[end].to_numpy(), strand, table[gene])
    samples = table.columns[leading:]
    if not samples:
        raise FormatError(f"{path} line {skipped + 1}: no sample columns after the first {leading}.")
    table = to_numbers(table, samples, path, first_row)
    values = np.ascontiguousarray(table.select(samples).to_numpy().T, dtype=np.float64)
    if not np.isfinite(values).all():
        column, row = np.argwhere(~np.isfinite(values))[0]
        raise FormatError(
            f"{path} line {first_row + row}, column {samples[column]!r}: found {values[column, row]} where a finite "
            "number is needed; impute the value or remove the gene."
        )
    plain = [plain_gene(name) for name in table[gene].to_list()]
    genes = pl.DataFrame(
        {"gene_id": table[gene], "gene": plain, "chrom": table[chrom], "tss": tss, "strand": strand}, schema=GENE_SCHEMA
    )
    return Expression(values, name_array(samples, path), genes, str(path), notes)


def _header(data: bytes, path: PathLike, line: int) -> list[str]:
    names = decode(data.partition(b"\n")[0], path, line).split("\t")
    if len(names) < 5 or not names[0].lower().lstrip("#").startswith("chr"):
        raise FormatError(
            f"{path} line {line}: found {examples(names)!r} where the header of an expression BED is needed: "
            "#chr, start, end, gene_id, then one column per sample, separated by tabs."
        )
    if twice := repeated(names):
        raise FormatError(
            f"{path} line {line}: sample {shortened(twice[0])} has more than one column; each sample may occur once."
        )
    return names


def _leading(data: bytes, names: Sequence[str]) -> int:
    """4 or 6: a sixth column of strands, by its name or its content, makes it QTLtools' layout."""
    if len(names) > 5 and names[5].lower() in ("strand", "strd"):
        return 6
    rows = data[:2_000_000].split(b"\n")[1:101]
    sixth = {row.split(b"\t")[5].strip() for row in rows if row.count(b"\t") > 5}
    return 6 if len(names) > 6 and sixth and sixth <= {b"+", b"-", b"."} else 4


def _check_positions(chrom: pl.Series, start: np.ndarray, end: np.ndarray, path: PathLike, first_row: int) -> None:
    bad = end <= start
    if bad.any():
        i = int(bad.argmax())
        raise FormatError(
            f"{path} line {first_row + i}: end {end[i]} is not after start {start[i]}; BED needs start < end "
            "(the TSS t, 1-based, is start t - 1, end t)."
        )
    names = chrom.to_numpy()
    seen = {names[0]}
    for i in (np.flatnonzero(names[1:] != names[:-1]) + 1).tolist():
        if names[i] in seen:
            raise FormatError(f"{path} line {first_row + i}: {names[i]} comes back after another chromosome; {_SORT}")
        seen.add(names[i])
    back = (start[1:] < start[:-1]) & (names[1:] == names[:-1])
    if back.any():
        i = int(back.argmax()) + 1
        raise FormatError(
            f"{path} line {first_row + i}: start {start[i]} comes after {start[i - 1]} on {names[i]}, "
            f"so the file is not sorted; {_SORT}"
        )


_SORT = "sort it: (head -1 F; tail -n +2 F | sort -k1,1 -k2,2n) > sorted.bed"


def _check_unique(gene: pl.Series, path: PathLike, first_row: int) -> None:
    twice = gene.is_duplicated()
    if twice.any():
        name = gene.filter(twice)[0]
        lines = [first_row + i for i in np.flatnonzero((gene == name).to_numpy()).tolist()]
        n = gene.filter(twice).n_unique()
        raise FormatError(
            f"{path}: {n} gene_id(s) occur more than once, e.g. {name} on lines {', '.join(map(str, lines[:3]))}; "
            "keep one row per gene."
        )


def _tss(start: np.ndarray, end: np.ndarray, strand: pl.Series, gene: pl.Series) -> tuple[np.ndarray, tuple[Note, ...]]:
    long = end - start > 1
    if not long.any():
        return end, ()
    tss = np.where(long & (strand == "+").to_numpy(), start + 1, end)
    known = strand.is_in(["+", "-"]).to_numpy()
    said = noted("note", "interval longer than 1 base: TSS taken from the strand", long & known, gene)
    blind = noted("note", "interval longer than 1 base, strand unknown: TSS taken as end", long & ~known, gene)
    return tss, (*said, *blind)
