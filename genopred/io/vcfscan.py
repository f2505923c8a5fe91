"""One pass over a bgzipped VCF of plain diploid calls; whatever is not plain is left to cyvcf2."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import NDArray

from genopred.io.bgzf import block_size, is_block
from genopred.io.text import PathLike
from genopred.types import VARIANT_SCHEMA

#: Compressed bytes taken at a time, some 3 MB of text.
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Scan:
    """What a VCF of M records and N samples holds: a table of chrom, pos, id, ref, alt as written, and alleles.

    These (M, N, 2) are 0 REF, 1 ALT, -1 missing (both, also where one is missing). `heterozygotes` (M,) are those of
    each record, `unphased` (M,) those of them written with a slash.
    """

    table: pl.DataFrame
    alleles: NDArray[np.int8]
    heterozygotes: NDArray[np.int64]
    unphased: NDArray[np.int64]


def scan_vcf(path: PathLike, n_samples: int, limit: float) -> Scan | None:
    """Read all genotypes of a bgzipped VCF whose records are all biallelic, GT first, diploid.

    None if anything is out of the ordinary, damage included: the general reader then judges. A file whose alleles will
    need more than `limit` bytes is given up after its first chunk.
    """
    size = Path(path).stat().st_size
    tables: list[bytes] = []
    parts: list[tuple[NDArray[np.int8], NDArray[np.int64], NDArray[np.int64]]] = []
    held = 0
    try:
        for text, taken in _lines(Path(path)):
            most = len(text) // (2 * n_samples + 10) + 1  # a sample takes two bytes at least
            alleles = np.empty((most, n_samples, 2), dtype=np.int8)
            het, unphased = np.zeros(most, dtype=np.int64), np.zeros(most, dtype=np.int64)
            table = np.empty(len(text), dtype=np.uint8)
            n, width = _parse(np.frombuffer(text, dtype=np.uint8), held > 0, table, alleles, het, unphased)
            if n < 0:
                return None
            held += 2 * n * n_samples
            if held > limit or held * (size / taken) > 1.5 * limit:
                return None
            tables.append(table[:width].tobytes())
            parts.append((alleles[:n].copy(), het[:n], unphased[:n]))
        if not held:
            return None
        frame = pl.read_csv(b"".join(tables), has_header=False, separator="\t", quote_char=None, schema=VARIANT_SCHEMA)
    except (_NotPlain, zlib.error, pl.exceptions.PolarsError):
        return None
    columns = [np.concatenate(column) for column in zip(*parts)]
    return Scan(frame, columns[0], columns[1], columns[2]) if frame.height == len(columns[0]) else None


class _NotPlain(Exception):
    """The file is no BGZF, or breaks off."""


def _lines(path: Path) -> Iterator[tuple[bytes, int]]:
    """Whole lines, many at a time, each ended, with the number of compressed bytes behind them."""
    rest, tail, taken = b"", b"", 0
    with path.open("rb") as handle:
        while raw := handle.read(_CHUNK):
            taken += len(raw)
            raw = rest + raw
            blocks, at = [tail], 0
            while at + 18 <= len(raw):
                if not is_block(raw, at):
                    raise _NotPlain
                end = at + block_size(raw, at)
                if end > len(raw):
                    break
                blocks.append(zlib.decompress(raw[at:end], 31, 1 << 16))  # 31: gzip, its checksum compared
                at = end
            rest = raw[at:]
            text = b"".join(blocks)
            cut = text.rfind(b"\n") + 1
            tail = text[cut:]
            if cut:
                yield text[:cut], taken
    if rest:
        raise _NotPlain
    if tail:
        yield tail + b"\n", taken


_TAB, _END, _COLON, _DOT, _HASH = 9, 10, 58, 46, 35


@njit(cache=True, nogil=True)
def _parse(text, started, table, alleles, het, unphased):  # type: ignore[no-untyped-def]  # noqa: C901
    """Number of records and of bytes in `table`, the first five columns; -1 where a line is not plain.

    `text` ends with the end of a line, so that a byte that is not one has a next.
    """
    n, width, p = 0, 0, 0
    samples = alleles.shape[1]
    while p < len(text):
        if text[p] == _HASH:
            if started or n > 0:
                return -1, 0
            while text[p] != _END:
                p += 1
            p += 1
            continue
        if n == len(alleles):
            return -1, 0
        for column in range(5):
            first = p
            while text[p] > 32:
                byte = text[p]
                # POS of 1 to 9 digits; ALT one allele
                if column == 1 and (byte < 48 or byte > 57 or p - first > 8) or column == 4 and byte == 44:
                    return -1, 0
                table[width] = byte
                width += 1
                p += 1
            if p == first or text[p] != _TAB or (column == 4 and p == first + 1 and text[first] == _DOT):
                return -1, 0
            table[width] = _TAB if column < 4 else _END
            width += 1
            p += 1
        for _ in range(3):  # QUAL, FILTER, INFO
            while text[p] != _TAB:
                if text[p] == _END:
                    return -1, 0
                p += 1
            p += 1
        if text[p] != 71 or text[p + 1] != 84 or (text[p + 2] != _COLON and text[p + 2] != _TAB):  # GT
            return -1, 0
        p += 2
        while text[p] != _TAB:
            if text[p] == _END:
                return -1, 0
            p += 1
        hets, slashes = 0, 0
        for i in range(samples):
            if text[p] != _TAB:
                return -1, 0
            a = text[p + 1]
            if a != 48 and a != 49 and a != _DOT:
                return -1, 0
            p += 2
            separator = text[p]
            if separator == 124 or separator == 47:  # | and /
                b = text[p + 1]
                if b != 48 and b != 49 and b != _DOT:
                    return -1, 0
                p += 2
            elif a == _DOT:
                b = a
            else:
                return -1, 0
            if text[p] == _COLON:
                while text[p] != _TAB and text[p] != _END:
                    p += 1
            if a == _DOT or b == _DOT:
                alleles[n, i, 0] = -1
                alleles[n, i, 1] = -1
            else:
                alleles[n, i, 0] = a - 48
                alleles[n, i, 1] = b - 48
                if a != b:
                    hets += 1
                    if separator == 47:
                        slashes += 1
        if text[p] != _END:
            return -1, 0
        p += 1
        het[n], unphased[n] = hets, slashes
        n += 1
    return n, width
