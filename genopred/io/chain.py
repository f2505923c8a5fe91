"""Chain files of UCSC's liftOver: where the places of one genome build are in another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from genopred.errors import FormatError
from genopred.io.text import read_bytes
from genopred.types import CHAIN_SCHEMA, plain_chrom

PathLike = str | Path


def read_chain(path: PathLike) -> pl.DataFrame:
    """Read a chain file (.over.chain, .gz or not).

    Parameters
    ----------
    path : str

    Returns
    -------
    polars.DataFrame
        Columns of `genopred.types.CHAIN_SCHEMA`, one row a block without gaps, chains with the highest score first.
        Positions are 0-based half-open; on the reverse strand `to_start` is the place of the block's first base.

    Raises
    ------
    FormatError
        If a line is not what it should be; the message names it.
    """
    blocks: list[tuple[object, ...]] = []
    chain: tuple[object, ...] = ()
    here = there = sign = 0
    for number, line in enumerate(read_bytes(path, "a chain file").decode("utf-8", "replace").splitlines(), start=1):
        fields = line.split()
        if not fields or line.startswith("#"):
            continue
        try:
            if fields[0] == "chain":
                score, here = float(fields[1]), int(fields[5])
                size, start = int(fields[8]), int(fields[10])
                sign = -1 if fields[9] == "-" else 1
                there = start if sign > 0 else size - 1 - start
                chain = (plain_chrom(fields[2]), plain_chrom(fields[7]), sign, score)
                continue
            n, *gaps = (int(field) for field in fields)
            if not chain or len(gaps) not in (0, 2):
                raise ValueError
        except (ValueError, IndexError):
            raise FormatError(
                f"{path} line {number}: found {line[:40]!r}; needed are chain headers and lines of one or three "
                "numbers, as in UCSC's hg19ToHg38.over.chain."
            ) from None
        blocks.append((*chain, here, here + n, there))
        if gaps:
            here, there = here + n + gaps[0], there + sign * (n + gaps[1])
    if not blocks:
        raise FormatError(f"{path} holds no chain; give a file such as UCSC's hg19ToHg38.over.chain.gz.")
    table = pl.DataFrame(blocks, schema=CHAIN_SCHEMA, orient="row")
    order = np.argsort(-table["score"].to_numpy(), kind="stable")
    return table[order]
