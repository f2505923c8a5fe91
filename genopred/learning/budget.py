"""How many people are read at a time, and how many outer folds' sums are held, in the memory that a gene may take."""

from __future__ import annotations

from typing import NamedTuple

from genopred.errors import GenopredError

#: What a gene may take where nobody says how much.
DEFAULT = 2_000_000_000

#: Sums that learners make beside those of the folds: what they centre, scale and factorise.
WORKING = 3

#: Bytes of a person and variant in a block: float32 as it is read, a copy in another order, and what
#: `moments.Adding.add` makes of both (17 measured).
CELL = 20

#: People of a block: below the first a pass over the file costs more than its sums, above the last nothing is gained.
FEWEST, MOST = 256, 8192


class Plan(NamedTuple):
    """What is held at a time, and what that takes.

    Attributes
    ----------
    block : int
        People read at a time.
    folds_at_once : int
        Outer folds whose sums are held at a time; more passes over the people for the others.
    bytes : int
        What the block and the sums take.
    """

    block: int
    folds_at_once: int
    bytes: int


def sums_bytes(m: int, holes: int = 0) -> int:
    """Bytes of one `Moments` of m variants, of which so many have missing dosages.

    >>> sums_bytes(2000), sums_bytes(2000, 2000)
    (32000000, 96000000)
    """
    return 8 * (m * m + holes * m + holes * holes)


def plan(
    memory: int | None, n: int, m: int, outer: int, inner: int, *, holes: int = 0, free: int | None = None
) -> Plan:
    """Blocks of people and outer folds at once for a gene of n people and m variants.

    An outer fold needs the sums of its training people and of each inner fold.

    Parameters
    ----------
    memory : int, optional
        Bytes that the gene may take (`--memory`); by default 2 GB, and more where that is not enough and is free.
    n, m : int
        People and variants.
    outer, inner : int
        Folds.
    holes : int
        Variants with missing dosages, where these are not filled before they are added; their sums are up to three
        times as large.
    free : int, optional
        Bytes that a worker may have at most (`workers.free_memory` over the number of workers), where known.

    Returns
    -------
    Plan
        As many folds at once as fit with a block of a thousand people, shared out evenly over the passes, then as
        large a block as fits.

    Raises
    ------
    GenopredError
        If one outer fold and the smallest block do not fit; it says what they need.

    Examples
    --------
    >>> plan(None, 100_000, 2000, 5, 5)
    Plan(block=8192, folds_at_once=5, bytes=1383680000)
    >>> plan(600_000_000, 100_000, 2000, 5, 5).folds_at_once
    2
    """
    one = sums_bytes(m, holes)
    person = CELL * max(m, 1)
    fewest = min(n, FEWEST)

    def of_sums(folds: int) -> int:
        return (folds * (inner + 1) + WORKING) * one

    least = of_sums(1) + fewest * person
    limit = max(DEFAULT, least) if memory is None else memory
    if memory is None and free is not None:
        limit = min(limit, free)
    if least > limit:
        found = (
            f"--memory {_said(limit)}" if memory is not None else f"{_said(limit)} of memory are free for one worker"
        )
        remedy = (
            "give --memory that much" if memory is not None else "take fewer workers (--threads), or another machine"
        )
        raise GenopredError(
            f"{found}: the sums of a gene of {m:,} variants need {_said(least)}, {inner + 1 + WORKING} times "
            f"{_said(one)} and a block of {fewest:,} people; {remedy}, or take fewer variants (--window, --maf) or "
            "inner folds."
        )
    wanted = min(n, 1024) * person
    folds = max((k for k in range(1, outer + 1) if of_sums(k) + wanted <= limit), default=1)
    passes = -(-outer // folds)
    folds = -(-outer // passes)
    block = max(min(n, MOST, (limit - of_sums(folds)) // person), fewest)
    return Plan(block, folds, of_sums(folds) + block * person)


def _said(size: int) -> str:
    """Bytes as a person says them, rounded up.

    >>> _said(1_234_567_890), _said(96_000_000)
    ('1.24GB', '96MB')
    """
    if size >= 1_000_000_000:
        return f"{-(-size // 10_000_000) / 100:g}GB"
    return f"{-(-size // 1_000_000)}MB"
