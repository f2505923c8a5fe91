"""Reference sequences from FASTA, plain or bgzipped, through pyfaidx."""

from __future__ import annotations

import tempfile
import zlib
from bisect import bisect_right
from pathlib import Path
from typing import Any

from genopred.errors import FormatError, GenopredError, examples
from genopred.io.bgzf import block_size, check_end, expanded_size, is_block, is_gzip
from genopred.io.text import BOM, PathLike, regular
from genopred.types import Interval, plain_chrom

#: Bytes that the line with a sequence's name is looked for in.
_HEADER = 10_000


def open_fasta(path: PathLike, *, keep_index: bool = True) -> Fasta:
    """Open a reference; without index (.fai, and .gzi for bgzip) one is made, in a temporary folder if need be.

    Parameters
    ----------
    path : str
        .fa, or .fa.gz compressed with bgzip.
    keep_index : bool
        Leave an index that was made beside the file.

    Raises
    ------
    FormatError
        If the file is missing, is no FASTA, is gzipped rather than bgzipped, or its index does not fit.
    """
    return Fasta(path, keep_index)


class Fasta:
    """An indexed reference. `chr22` finds `22` and the other way round.

    It is opened on first use, and again after pickling.
    """

    def __init__(self, path: PathLike, keep_index: bool = True) -> None:
        self.path, self.keep_index = Path(path), keep_index
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._file: Any = None
        _check(self.path)
        self._names = {plain_chrom(name): name for name in self._open().keys()}
        self._checked: set[str] = set()
        self._check_size()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_temporary": None}

    def _open(self) -> Any:
        if self._file is not None:
            return self._file
        import pyfaidx

        options: dict[str, Any] = {"as_raw": True, "sequence_always_upper": True, "rebuild": False}
        if not self._indexed() and not (self.keep_index and _writable(self.path.parent)):
            self._temporary = tempfile.TemporaryDirectory(prefix="genopred-fasta-")
            place = f"{self._temporary.name}/{self.path.name}"
            options |= {"indexname": f"{place}.fai", "gzi_indexname": f"{place}.gzi"}
        try:
            self._file = pyfaidx.Fasta(str(self.path), **options)
        except ImportError as problem:
            raise GenopredError(
                f"{self.path} is bgzipped, which pyfaidx reads through Biopython ({problem}); "
                "pip install biopython, or decompress it."
            ) from None
        except Exception as problem:
            raise FormatError(
                f"{self.path} could not be indexed or opened as FASTA ({problem}); "
                "needed '>name' lines with sequence lines of one length (samtools faidx checks that)."
            ) from None
        if not self._file.keys():
            raise FormatError(f"{self.path} has no '>name' line; needed a FASTA.")
        return self._file

    def _indexed(self) -> bool:
        needed = [Path(f"{self.path}{end}") for end in ((".fai", ".gzi") if is_gzip(self.path) else (".fai",))]
        there = [regular(index, "the index of a FASTA") for index in needed if index.exists()]
        return len(there) == len(needed)

    def _check_size(self) -> None:
        """Whether the file holds as much as its index says: it may be cut off, or the index another file's."""
        index = self._open().faidx
        size: int | None = self.path.stat().st_size
        if is_gzip(self.path):
            last = index.gzi_index[-1]
            size = expanded_size(self.path, last.cstart, last.ustart)
        ends = [
            record.offset + max(record.rlen - 1, 0) // record.lenc * record.lenb + (record.rlen - 1) % record.lenc + 1
            for record in index.index.values()
            if record.rlen and record.lenc
        ]
        if size is None or max(ends, default=0) > size:
            raise self._foreign("it is cut off, or its index does not belong to it")

    def _check_name(self, name: str) -> None:
        """Whether a sequence begins where the index says, after its own name."""
        if name in self._checked:
            return
        before = self._before(self._open().faidx.index[name].offset)
        _, line, header = before.rstrip(b"\r\n").rpartition(b"\n")
        seen = bool(line) or len(before) < _HEADER  # else the line is longer than what was looked at
        wrong = header[:1] != b">" or header[1:].split()[:1] != [name.encode()]
        if not before.endswith(b"\n") or (seen and wrong):
            raise self._foreign(f"sequence {name} does not begin at the place that its index names")
        self._checked.add(name)

    def _before(self, offset: int) -> bytes:
        """Some bytes of the expanded file before a place."""
        index = self._open().faidx
        start = max(offset - _HEADER, 0)
        if not is_gzip(self.path):
            index.file.seek(start)
            return bytes(index.file.read(offset - start))
        at = bisect_right([block.ustart for block in index.gzi_index], start) - 1
        block = index.gzi_index[at]
        held = b""
        with self.path.open("rb") as handle:
            handle.seek(block.cstart)
            while len(held) < offset - block.ustart and is_block(head := handle.read(18)):
                try:
                    held += zlib.decompress(head + handle.read(block_size(head) - 18), 31)
                except zlib.error:
                    break
        return held[start - block.ustart : offset - block.ustart]

    def _foreign(self, why: str) -> FormatError:
        return FormatError(
            f"{self.path}: {why}. Copy it again, or delete {self.path}.fai (and .gzi) so that they are made again."
        )

    @property
    def chroms(self) -> list[str]:
        """Sequence names as the file has them."""
        return list(self._names.values())

    def _name(self, chrom: str) -> str:
        name = self._names.get(plain_chrom(chrom))
        if name is None:
            raise FormatError(
                f"{self.path} has no sequence {chrom} (it has {examples(self.chroms)}); give the reference of "
                "the genotypes' build and chromosome."
            )
        return name

    def length(self, chrom: str) -> int:
        """Number of bases of a sequence."""
        return len(self._open()[self._name(chrom)])

    def fetch(self, interval: Interval) -> str:
        """Bases of an interval, in upper case, as many as it has; N where it reaches beyond the sequence's ends.

        It is 0-based half-open, and its start may be negative.
        """
        name = self._name(interval.chrom)
        size = self.length(interval.chrom)
        start, end = min(max(interval.start, 0), size), min(max(interval.end, 0), size)
        self._check_name(name)
        try:
            inside = str(self._open()[name][start:end]) if end > start else ""
        except Exception as problem:  # pyfaidx, Bio.bgzf, zlib and struct each raise their own
            said = " ".join(str(problem).split()) or type(problem).__name__
            raise self._foreign(f"{name}:{start}-{end} cannot be read ({said}): it is damaged") from None
        if len(inside) != end - start or ">" in inside:
            raise self._foreign(
                f"{len(inside)} bases came for {name}:{start}-{end}: it is cut off, or its index does not belong to it"
            )
        left = min(max(-interval.start, 0), interval.length)
        return ("N" * left + inside).ljust(interval.length, "N")


def _check(path: Path) -> None:
    with regular(path, "a reference FASTA").open("rb") as handle:
        head = handle.read(18)
    if not head:
        raise FormatError(f"{path} is empty; needed a reference FASTA.")
    if head[:2] == b"\x1f\x8b":
        # bgzip marks its blocks with an extra field BC; plain gzip cannot be read from the middle.
        if not is_block(head):
            raise FormatError(f"{path} is gzipped, not bgzipped; run: gunzip -c {path} | bgzip > {path.stem}.bgz.gz")
        check_end(path)
    elif head[:3] == BOM:
        raise FormatError(f"{path} starts with a byte-order mark, not with '>'; take it off: tail -c +4 FILE.")
    elif head[:1] not in (b">", b";"):
        raise FormatError(f"{path} does not start with '>' (found {head[:1]!r}); needed a FASTA.")


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
