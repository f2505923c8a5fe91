"""Reference sequences from FASTA, plain or bgzipped, through pyfaidx."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from genopred.errors import FormatError, GenopredError, examples
from genopred.io.text import PathLike
from genopred.types import Interval, plain_chrom


def open_fasta(path: PathLike) -> Fasta:
    """Open a reference; without index (.fai, and .gzi for bgzip) one is made, in a temporary folder if need be.

    Parameters
    ----------
    path : str
        .fa, or .fa.gz compressed with bgzip.

    Returns
    -------
    Fasta

    Raises
    ------
    FormatError
        If the file is missing, is no FASTA, is gzipped rather than bgzipped, or its index does not fit.
    """
    return Fasta(path)


class Fasta:
    """An indexed reference. `chr22` finds `22` and the other way round.

    It is opened on first use, and again after pickling.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._file: Any = None
        _check(self.path)
        self._names = {plain_chrom(name): name for name in self._open().keys()}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_temporary": None}

    def _open(self) -> Any:
        if self._file is not None:
            return self._file
        import pyfaidx

        options: dict[str, Any] = {"as_raw": True, "sequence_always_upper": True, "rebuild": False}
        if not self._indexed() and not _writable(self.path.parent):
            self._temporary = tempfile.TemporaryDirectory(prefix="genopred-fasta-")
            options["indexname"] = str(Path(self._temporary.name) / f"{self.path.name}.fai")
            options["gzi_indexname"] = str(Path(self._temporary.name) / f"{self.path.name}.gzi")
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
        ends = (".fai", ".gzi") if _is_gzip(self.path) else (".fai",)
        return all(Path(f"{self.path}{end}").exists() for end in ends)

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
        """Bases of an interval in upper case, N where it reaches beyond the sequence's ends.

        Parameters
        ----------
        interval : Interval
            0-based half-open; its start may be negative.

        Returns
        -------
        str
            As long as the interval.
        """
        name = self._name(interval.chrom)
        size = self.length(interval.chrom)
        start, end = min(max(interval.start, 0), size), min(max(interval.end, 0), size)
        inside = str(self._open()[name][start:end]) if end > start else ""
        if len(inside) != end - start:
            raise FormatError(
                f"{self.path}: {len(inside)} bases came for {name}:{start}-{end}; its index does not belong to it. "
                f"Delete {self.path}.fai (and .gzi) so that it is made again."
            )
        left = min(max(-interval.start, 0), interval.length)
        return ("N" * left + inside).ljust(interval.length, "N")


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(2) == b"\x1f\x8b"


def _check(path: Path) -> None:
    if not path.is_file():
        raise FormatError(f"{path}: no such file; needed a reference FASTA.")
    with path.open("rb") as handle:
        head = handle.read(18)
    if not head:
        raise FormatError(f"{path} is empty; needed a reference FASTA.")
    if head[:2] == b"\x1f\x8b":
        # bgzip marks its blocks with an extra field BC; plain gzip cannot be read from the middle.
        if not head[3] & 4 or head[12:14] != b"BC":
            raise FormatError(f"{path} is gzipped, not bgzipped; run: gunzip -c {path} | bgzip > {path.stem}.bgz.gz")
    elif head[:1] not in (b">", b";"):
        raise FormatError(f"{path} does not start with '>' (found {head[:1]!r}); needed a FASTA.")


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
