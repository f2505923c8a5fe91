"""bgzip: gzip in blocks that can be read from the middle, as VCF and FASTA are kept."""

from __future__ import annotations

from pathlib import Path

from genopred.errors import FormatError

#: The empty block that ends a file.
END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def is_gzip(path: Path) -> bool:
    """Whether a file is gzipped, by blocks or not."""
    with path.open("rb") as handle:
        return handle.read(2) == b"\x1f\x8b"


def is_block(data: bytes, at: int = 0) -> bool:
    """Whether a block of bgzip starts there: gzip's magic, and an extra field BC with the block's size."""
    return data[at : at + 4] == b"\x1f\x8b\x08\x04" and data[at + 12 : at + 14] == b"BC"


def block_size(data: bytes, at: int = 0) -> int:
    """Bytes that the block starting there takes in the file."""
    return int.from_bytes(data[at + 16 : at + 18], "little") + 1


def check_end(path: Path) -> None:
    """Refuse a bgzipped file that lacks the empty block at its end: htslib only warns of it, and reads half a file."""
    with path.open("rb") as handle:
        if not is_block(handle.read(18)):
            return
        handle.seek(-min(len(END), path.stat().st_size), 2)
        if handle.read() != END:
            raise FormatError(f"{path} is cut off (it lacks bgzip's end block); copy the file again.")


def expanded_size(path: Path, block: int, before: int) -> int | None:
    """Bytes that a bgzipped file holds when expanded; None if no chain of blocks leads from `block` to the file's end.

    One of its last blocks starts at `block`, with `before` expanded bytes before it: the last line of a .gzi.
    """
    size, total = path.stat().st_size, before
    with path.open("rb") as handle:
        while block < size:
            handle.seek(block)
            head = handle.read(18)
            if not is_block(head) or (length := block_size(head)) < 26 or block + length > size:
                return None
            handle.seek(block + length - 4)
            total += int.from_bytes(handle.read(4), "little")
            block += length
    return total if block == size else None
