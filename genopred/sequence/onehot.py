"""Bases, codes and channels: A C G T in this order; N is code 4 and all zero in one-hot."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genopred.errors import FormatError

#: Code of every base; anything else that IUPAC knows is N.
BASES = "ACGT"
N_CODE = 4

_BAD = -1
_LOOKUP = np.full(256, _BAD, dtype=np.int8)
for _ambiguous in "NRYSWKMBDHVUX-":
    _LOOKUP[ord(_ambiguous)] = _LOOKUP[ord(_ambiguous.lower())] = N_CODE
for _code, _base in enumerate(BASES):
    _LOOKUP[ord(_base)] = _LOOKUP[ord(_base.lower())] = _code
_CHANNELS = np.vstack([np.eye(4, dtype=np.float32), np.zeros((1, 4), dtype=np.float32)])
_LETTERS = np.frombuffer(b"ACGTN", dtype=np.uint8)
_COMPLEMENT = np.array([3, 2, 1, 0, N_CODE], dtype=np.int8)


def encode(sequence: str) -> NDArray[np.int8]:
    """Codes (L,) of a sequence: 0 A, 1 C, 2 G, 3 T, 4 N and the other ambiguity letters; case does not matter.

    Raises
    ------
    FormatError
        If a character is no base.

    Examples
    --------
    >>> encode("AcgTN").tolist()
    [0, 1, 2, 3, 4]
    """
    try:
        raw = np.frombuffer(sequence.encode("ascii"), dtype=np.uint8)
    except UnicodeEncodeError as bad:
        raise FormatError(
            f"The sequence has {bad.object[bad.start]!r} at offset {bad.start}; needed A C G T N."
        ) from None
    codes = _LOOKUP[raw]
    wrong = np.flatnonzero(codes == _BAD)
    if len(wrong):
        at = int(wrong[0])
        raise FormatError(
            f"The sequence has {sequence[at]!r} at offset {at} ({len(wrong)} such characters); needed A C G T N."
        )
    return codes


def decode(codes: NDArray[np.int8]) -> str:
    """The sequence of codes (L,).

    >>> decode(encode("acgtn"))
    'ACGTN'
    """
    return _LETTERS[codes].tobytes().decode("ascii")


def complement(codes: NDArray[np.int8]) -> NDArray[np.int8]:
    """Codes of the complementary bases, in the same order.

    >>> decode(complement(encode("ACGTN")))
    'TGCAN'
    """
    return _COMPLEMENT[codes]


def reverse_complement(codes: NDArray[np.int8]) -> NDArray[np.int8]:
    """Codes (..., L) of the other strand, read from its own 5' end.

    >>> decode(reverse_complement(encode("AACG")))
    'CGTT'
    """
    return _COMPLEMENT[codes[..., ::-1]]


def onehot(codes: NDArray[np.int8]) -> NDArray[np.float32]:
    """Channels (..., L, 4) float32 of codes (..., L), in the order A, C, G, T; N is all zero.

    >>> onehot(encode("GN")).tolist()
    [[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    return _CHANNELS[codes]
