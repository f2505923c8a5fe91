"""Elements along chromosomes: BED files of intervals, or a signal, as values of the bases of a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import FormatError, examples, shortened
from genopred.io.bigwig import read_window
from genopred.io.text import PathLike, decode, read_bytes
from genopred.types import Interval, plain_chrom

ELEMENT_SCHEMA = {"chrom": pl.String, "start": pl.Int64, "end": pl.Int64}
_WHAT = "a bigWig, or a BED of elements (chrom, start, end)"


def read_elements(path: PathLike) -> pl.DataFrame:
    """Intervals of a BED, gzipped or not: columns of `ELEMENT_SCHEMA`, 0-based half-open, chromosomes without `chr`.

    Further columns are not read; comments, `track` and `browser` lines are passed over.

    Raises
    ------
    FormatError
        If the file holds no interval, or a line is none; the line is named.
    """
    rows: list[tuple[str, int, int]] = []
    for number, line in enumerate(decode(read_bytes(path, _WHAT), path).split("\n"), start=1):
        if not line.strip() or line.startswith(("#", "track", "browser")):
            continue
        words = line.split("\t") if "\t" in line else line.split()
        if len(words) < 3 or not (words[1].strip().isdecimal() and words[2].strip().isdecimal()):
            raise FormatError(f"{path} line {number}: found {shortened(line)!r}; needed {_WHAT}.")
        start, end = int(words[1]), int(words[2])
        if not start < end < 2**40:
            raise FormatError(
                f"{path} line {number}: end {end} is not after start {start}; BED needs start < end, counted from 0."
            )
        rows.append((plain_chrom(words[0].strip()), start, end))
    if not rows:
        raise FormatError(f"{path} holds no interval; needed {_WHAT}.")
    return pl.DataFrame(rows, schema=ELEMENT_SCHEMA, orient="row")


class Elements:
    """A file of elements or of a signal, looked at window by window.

    Parameters
    ----------
    path : str
        `.bw` and `.bigwig` are signals; whatever else is BED.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self.signal = self.path.suffix.lower() in (".bw", ".bigwig")
        self.table = pl.DataFrame(schema=ELEMENT_SCHEMA) if self.signal else read_elements(path)

    @property
    def name(self) -> str:
        """The file's name without its endings, as tables and figures call it."""
        return self.path.name.removesuffix(".gz").rpartition(".")[0] or self.path.name

    def within(self, interval: Interval, length: int) -> NDArray[np.float64]:
        """Of each base of an interval the signal, or 1 inside an element and 0 outside.

        Parameters
        ----------
        interval : Interval
            It may reach over the chromosome's ends, where there is nothing.
        length : int
            Of the chromosome in the reference.

        Raises
        ------
        FormatError
            If the file is of another genome build or lacks the chromosome.
        """
        if self.signal:
            return read_window(self.path, interval, length)
        here = self.table.filter(pl.col("chrom") == plain_chrom(interval.chrom))
        if not here.height:
            raise FormatError(
                f"{self.path} has no element on {interval.chrom} (it has "
                f"{examples(self.table['chrom'].unique(maintain_order=True).to_list())}); give one of that chromosome."
            )
        last = int(here["end"].max())  # type: ignore[arg-type]
        if last > length:
            raise FormatError(
                f"{self.path}: an element of {interval.chrom} ends at {last:,}, and the FASTA has {length:,} bases; "
                "needed elements of the FASTA's genome build."
            )
        out = np.zeros(interval.length)
        near = here.filter((pl.col("end") > interval.start) & (pl.col("start") < interval.end))
        for _, start, end in near.iter_rows():
            out[max(start - interval.start, 0) : max(end - interval.start, 0)] = 1.0
        return out
