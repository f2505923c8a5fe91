"""Signal tracks from bigWig files, as sums over steps of equal width."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genopred.errors import FormatError, GenopredError, ModelError, examples
from genopred.io.text import PathLike, regular
from genopred.types import plain_chrom

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Bases read at a time: 16 MB of float32.
PIECE = 4_000_000

# Magic, version, zoom levels; offsets of the chromosome tree, data and index; and fields that are not looked at.
_HEADER = struct.Struct("<IHHQQQHHQQIQ")


def read_signal(file: PathLike, lengths: Mapping[str, int], step: int) -> dict[str, NDArray[np.float32]]:
    """Sum of a track's absolute values over each `step` bp of whole chromosomes.

    Where a track has no value it counts as 0. Tracks of the minus strand hold negative counts by custom, hence the
    absolute value.

    Parameters
    ----------
    file : str
        A bigWig of one value a base. `chr22` there matches `22` here.
    lengths : dict
        Chromosomes to read and their lengths in bp in the reference sequence.
    step : int
        Width in bp, at least 1; the last step of a chromosome may be shorter.

    Returns
    -------
    dict of float32 array
        By the names of `lengths`, each of shape (ceil(length / step),).

    Raises
    ------
    FormatError
        If the file is missing or no bigWig, lacks a chromosome, is of another build (a size differs), holds values
        of both signs or infinite ones, or has no signal on a chromosome.
    ModelError
        If pyBigWig is not installed.
    """
    if step < 1:
        raise GenopredError(f"step = {step}: needed 1 bp or more.")
    if not lengths:
        raise GenopredError(f"{file}: no chromosome was asked for; name at least one.")
    path = Path(file)
    with _opened(path) as handle:
        names = _names(path, handle, lengths)
        seen = np.zeros(2)
        out = {chrom: _sums(path, handle, names[chrom], n, step, seen) for chrom, n in lengths.items()}
    if silent := [chrom for chrom, sums in out.items() if not sums.any()]:
        raise FormatError(
            f"{path} is a track with no signal on {len(silent)} of {len(lengths)} chromosomes ({examples(silent)}): "
            "nothing can be learned there. Leave out those chromosomes, or give the whole track."
        )
    return out


def read_stretches(
    file: PathLike, lengths: Mapping[str, int], chroms: Sequence[str], starts: NDArray[np.int64], width: int
) -> NDArray[np.float32]:
    """Absolute values of a track at each base of some stretches, (n, width); 0 beyond a chromosome's ends.

    Parameters
    ----------
    file : str
        A bigWig.
    lengths : dict
        The chromosomes and their lengths in bp in the reference sequence.
    chroms : list of str
        Of each stretch, as in `lengths`.
    starts : int array
        0-based; may lie beyond the ends.
    width : int
        In bp.

    Raises
    ------
    FormatError
        As `read_signal`, but there may be no signal.
    """
    path = Path(file)
    out = np.zeros((len(starts), width), dtype=np.float32)
    with _opened(path) as handle:
        names = _names(path, handle, {chrom: lengths[chrom] for chrom in dict.fromkeys(chroms)})
        seen = np.zeros(2)
        for row, chrom, start in zip(out, chroms, np.asarray(starts).tolist()):
            first, last = max(start, 0), min(start + width, lengths[chrom])
            if first < last:
                row[first - start : last - start] = _heights(path, handle, names[chrom], first, last, seen)
    return out


def _opened(path: Path) -> Any:
    """The file, whose header was looked at."""
    _check(path)
    try:
        return _pybigwig().open(str(path))
    except RuntimeError as problem:
        raise FormatError(f"{path} could not be opened as bigWig ({problem}); write or download it again.") from None


def _sums(path: Path, handle: Any, name: str, length: int, step: int, seen: NDArray[np.float64]) -> NDArray[np.float32]:
    """Sums of one chromosome; `seen` as of `_heights`."""
    out = np.zeros(-(-length // step), dtype=np.float32)
    piece = max(PIECE // step, 1) * step
    for start in range(0, length, piece):
        end = min(start + piece, length)
        values = _heights(path, handle, name, start, end, seen)
        whole, first = len(values) // step, start // step
        out[first : first + whole] = values[: whole * step].reshape(-1, step).sum(axis=1, dtype=np.float64)
        if whole * step < len(values):
            out[first + whole] = values[whole * step :].sum(dtype=np.float64)
    return out


def _heights(
    path: Path, handle: Any, name: str, start: int, end: int, seen: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Absolute values of a stretch; `seen` remembers the lowest and the highest met so far in the file, and 0."""
    values = _values(path, handle, name, start, end)
    np.nan_to_num(values, copy=False, nan=0.0, posinf=np.inf, neginf=-np.inf)
    infinite = np.flatnonzero(~np.isfinite(values))
    if len(infinite):
        raise FormatError(
            f"{path} holds an infinite value at {name}:{start + int(infinite[0]) + 1}; needed finite ones or none."
        )
    seen[:] = min(seen[0], float(values.min())), max(seen[1], float(values.max()))
    if seen[0] < 0 < seen[1]:
        raise FormatError(
            f"{path} holds negative and positive values (from {seen[0]:g} to {seen[1]:g}, up to {name}:{end}); needed "
            "counts or coverage: all >= 0, or all <= 0 for a minus strand. A track of log ratios or differences cannot "
            "be used; give one file a strand."
        )
    return np.abs(values, out=values)


def _values(path: Path, handle: Any, name: str, start: int, end: int) -> NDArray[np.float32]:
    try:
        return np.asarray(handle.values(name, start, end, numpy=True), dtype=np.float32)
    except RuntimeError as problem:
        raise FormatError(
            f"{path} could not be read at {name}:{start + 1}-{end} ({problem}); it is cut short or damaged: write or "
            "download it again."
        ) from None


def _names(path: Path, handle: Any, lengths: Mapping[str, int]) -> dict[str, str]:
    """The file's name of each chromosome asked for."""
    sizes: dict[str, int] = handle.chroms() or {}
    there = {plain_chrom(name): name for name in sizes}
    lacking = [chrom for chrom in lengths if plain_chrom(chrom) not in there]
    if len(lacking) == len(lengths):
        raise FormatError(
            f"{path} has no chromosome in common with the reference: it names {examples(list(sizes)) or 'none'}, the "
            f"reference {examples(list(lengths))}. Give a track of the same assembly, or rename one of the two."
        )
    if lacking:
        raise FormatError(
            f"{path} lacks {len(lacking)} of {len(lengths)} chromosomes ({examples(lacking)}; it has "
            f"{examples(list(sizes))}). Leave out those chromosomes, or give the whole track."
        )
    names = {chrom: there[plain_chrom(chrom)] for chrom in lengths}
    wrong = [
        f"{names[c]}: {sizes[names[c]]:,} bp here, {n:,} in the FASTA"
        for c, n in lengths.items()
        if sizes[names[c]] != n
    ]
    if wrong:
        raise FormatError(
            f"{path} is of another genome build than the FASTA: {len(wrong)} of {len(lengths)} chromosomes have "
            f"another size ({examples(wrong)}). Give track and FASTA of one build, or lift the track over "
            "(CrossMap bigwig)."
        )
    return names


def _check(path: Path) -> None:
    """Look at the header first: pyBigWig only says that it failed, and crashes on a file cut within its header."""
    with regular(path, "a bigWig").open("rb") as handle:
        head = handle.read(_HEADER.size)
    if not head:
        raise FormatError(f"{path} is empty; needed a bigWig.")
    order = {b"\x26\xfc\x8f\x88": "<", b"\x88\x8f\xfc\x26": ">"}.get(head[:4])
    if order is None:
        if head[:4] in (b"\xeb\xf2\x89\x87", b"\x87\x89\xf2\xeb"):
            raise FormatError(
                f"{path} is a bigBed, which holds intervals; needed a bigWig, which holds a value for each base."
            )
        raise FormatError(
            f"{path} is not a bigWig (it starts with {head[:4]!r}, not with 26 fc 8f 88 in hex); a bedGraph becomes "
            "one with UCSC's bedGraphToBigWig."
        )
    size = path.stat().st_size
    offsets = struct.unpack(order + _HEADER.format[1:], head)[3:6] if len(head) == _HEADER.size else (_HEADER.size,)
    if max(offsets) >= size:
        raise FormatError(
            f"{path} is cut short: it has {size:,} bytes, and its header points to byte {max(offsets):,}; write or "
            "download it again."
        )


def _pybigwig() -> Any:
    try:
        import pyBigWig
    except ImportError as bad:
        raise ModelError(
            f"Reading bigWig needs pyBigWig, which could not be imported ({bad}): pip install 'genopred[sequence]'."
        ) from bad
    if not pyBigWig.numpy:
        raise ModelError(
            "This pyBigWig was built without numpy: pip install --force-reinstall --no-binary pyBigWig pyBigWig."
        )
    return pyBigWig
