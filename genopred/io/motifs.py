"""Motifs: files in MEME's and JASPAR's formats."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from genopred.errors import FormatError, repeated, shortened
from genopred.io.text import PathLike, decode, read_bytes
from genopred.types import Motif

BASES = "ACGT"
_WHAT = "motifs in MEME's or JASPAR's format"
#: How far a position's probabilities may be from 1 together, as they are rounded in files.
_ROUNDED = 0.02
#: Longer is no motif.
_LONGEST = 200

Lines = Iterator[tuple[int, str]]


def read_motifs(path: PathLike) -> list[Motif]:
    """Motifs of a file, gzipped or not, which itself says in which format it is.

    MEME (minimal too): `MOTIF ID NAME`, then `letter-probability matrix:` and a line of four probabilities a position.
    JASPAR: `>ID NAME`, then a line a base, `A [ 4 19 0 ]` or the bare numbers in the order A, C, G, T; counts or
    probabilities.

    Returns
    -------
    list of Motif
        In the file's order.

    Raises
    ------
    FormatError
        If the file holds no motif, one is damaged (the line is named), or an id occurs twice.
    """
    text = decode(read_bytes(path, _WHAT), path)
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1)]
    first = next(line for _, line in lines if line)
    if first.startswith("MEME version") or any(line.startswith("MOTIF") for _, line in lines):
        motifs = list(_meme(lines, path))
    elif first.startswith(">"):
        motifs = list(_jaspar(lines, path))
    else:
        raise FormatError(
            f"{path} line 1: found {shortened(first)!r}; needed {_WHAT}: the line MEME version 4, or >ID NAME."
        )
    if not motifs:
        raise FormatError(f"{path} holds no motif; needed {_WHAT}.")
    twice = repeated(motif.id for motif in motifs)
    if twice:
        raise FormatError(f"{path}: the motif {twice[0]} is there twice ({len(twice)} such); keep one of each.")
    return motifs


def _meme(lines: list[tuple[int, str]], path: PathLike) -> Iterator[Motif]:
    for number, line in lines:
        if line.upper().startswith("ALPHABET") and re.sub(r"[^A-Za-z]", "", line.partition("=")[2]).upper() not in (
            "", "ACGT",
        ):  # fmt: skip
            raise FormatError(f"{path} line {number}: {shortened(line)!r}; needed the alphabet ACGT.")
    named: tuple[str, str, int] | None = None
    at = 0
    while at < len(lines):
        number, line = lines[at]
        at += 1
        if line.startswith("MOTIF"):
            if named is not None:
                raise FormatError(f"{path} line {named[2]}: motif {named[0]} has no letter-probability matrix.")
            words = line.split()[1:]
            if not words:
                raise FormatError(f"{path} line {number}: MOTIF without an id; needed MOTIF ID NAME.")
            named = (words[0], " ".join(words[1:]) or words[0], number)
        elif line.lower().startswith("letter-probability matrix"):
            if named is None:
                raise FormatError(f"{path} line {number}: a matrix before any MOTIF line; needed MOTIF ID NAME first.")
            said = re.search(r"\bw\s*=\s*(\d+)", line)
            rows: list[list[float]] = []
            end = int(said[1]) if said else _LONGEST + 1
            while at < len(lines) and len(rows) < end and (not lines[at][1] or _is_numbers(lines[at][1])):
                if lines[at][1]:
                    rows.append(_numbers(lines[at][1], path, lines[at][0], 4))
                elif rows and said is None:
                    break
                at += 1
            if said and len(rows) != end:
                where = lines[at][0] if at < len(lines) else lines[-1][0]
                raise FormatError(
                    f"{path} line {where}: motif {named[0]} has {len(rows)} positions; its matrix says w= {end}."
                )
            yield _motif(named[0], named[1], np.array(rows).reshape(-1, 4), path, number)
            named = None
    if named is not None:
        raise FormatError(f"{path} line {named[2]}: motif {named[0]} has no letter-probability matrix.")


def _jaspar(lines: list[tuple[int, str]], path: PathLike) -> Iterator[Motif]:
    given = [(number, line) for number, line in lines if line]
    starts = [i for i, (_, line) in enumerate(given) if line.startswith(">")]
    for i, start in enumerate(starts):
        number, head = given[start]
        words = head[1:].split()
        if not words:
            raise FormatError(f"{path} line {number}: '>' without an id; needed >ID NAME.")
        body = given[start + 1 : starts[i + 1] if i + 1 < len(starts) else len(given)]
        if len(body) != 4:
            raise FormatError(
                f"{path} line {number}: motif {words[0]} has {len(body)} lines; needed four, of A, C, G and T."
            )
        rows: dict[str, list[float]] = {}
        for base, (where, line) in zip(BASES, body):
            found = re.match(r"([ACGTacgt])\s*[\[|:]?\s*(.*?)\s*\]?$", line)
            letter, numbers = (found[1].upper(), found[2]) if found else (base, line.strip("[] \t"))
            if letter in rows:
                raise FormatError(f"{path} line {where}: {letter} a second time in motif {words[0]}.")
            width = len(next(iter(rows.values()))) if rows else None
            rows[letter] = _numbers(numbers, path, where, width)
        yield _motif(words[0], " ".join(words[1:]) or words[0], np.array([rows[b] for b in BASES]).T, path, number)


def _is_numbers(line: str) -> bool:
    return re.match(r"[-+.0-9]", line) is not None


def _numbers(line: str, path: PathLike, number: int, wanted: int | None) -> list[float]:
    words = line.split()
    try:
        found = [float(word) for word in words]
    except ValueError:
        raise FormatError(f"{path} line {number}: {shortened(line)!r}; needed numbers.") from None
    if not found or (wanted is not None and len(found) != wanted):
        raise FormatError(f"{path} line {number}: {len(found)} numbers; needed {wanted or 'one a position'}.")
    if not all(0 <= value < 1e9 for value in found):
        raise FormatError(f"{path} line {number}: {shortened(line)!r}; needed numbers from 0 up.")
    return found


def _motif(name: str, long_name: str, values: NDArray[np.float64], path: PathLike, number: int) -> Motif:
    """Counts or probabilities (w, 4) as probabilities."""
    if not 1 <= len(values) <= _LONGEST:
        raise FormatError(f"{path} line {number}: motif {name} has {len(values)} positions; needed 1 to {_LONGEST}.")
    total = values.sum(axis=1)
    if (total <= 0).any():
        at = int(np.flatnonzero(total <= 0)[0]) + 1
        raise FormatError(f"{path} line {number}: position {at} of motif {name} is all zero.")
    counts = total.max() > 1 + _ROUNDED
    if not counts and (np.abs(total - 1) > _ROUNDED).any():
        at = int(np.argmax(np.abs(total - 1)))
        raise FormatError(
            f"{path} line {number}: the probabilities of position {at + 1} of motif {name} add up to {total[at]:g}; "
            "needed 1."
        )
    return Motif(name, long_name, values / total[:, None])
