"""Genome builds: variants lifted over, and builds told by where positions lie."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.types import plain_chrom

_COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def reverse_complement(alleles: pl.Series) -> NDArray[np.object_]:
    """Alleles on the other strand; None where one is null."""
    table = {s: s.translate(_COMPLEMENT)[::-1] for s in alleles.drop_nulls().unique().to_list()}
    return np.array([table.get(s) for s in alleles.to_list()], dtype=object)


def lift(variants: pl.DataFrame, chain: pl.DataFrame) -> pl.DataFrame:
    """Variants at their places in another build.

    Parameters
    ----------
    variants : polars.DataFrame
        Columns `chrom`, `pos` (1-based), `ref` and `alt`, and others.
    chain : polars.DataFrame
        Columns of `genopred.types.CHAIN_SCHEMA`, the best chains first.

    Returns
    -------
    polars.DataFrame
        The same rows and columns; alleles are those of the other strand where the chain turns, and chrom and pos are
        null where it leads nowhere, to bases of which only some are aligned, or turns an indel. Whether REF is that of
        the other build is seen when they are matched with its genotypes (`genopred.align.harmonise`).
    """
    plain = {name: plain_chrom(name) for name in variants["chrom"].drop_nulls().unique().to_list()}
    chrom = variants["chrom"].replace(plain).to_numpy()
    first = variants["pos"].cast(pl.Float64).fill_null(np.nan).to_numpy() - 1
    length = variants["ref"].str.len_bytes().fill_null(1).to_numpy().astype(np.int64)
    pos, sign = np.full(len(first), -1, dtype=np.int64), np.ones(len(first), dtype=np.int64)
    to = np.full(len(first), None, dtype=object)
    for name in set(chrom[~np.isnan(first)].tolist()) - {None}:
        mine = np.flatnonzero((chrom == name) & ~np.isnan(first))
        mine = mine[np.argsort(first[mine], kind="stable")]
        blocks = chain.filter(pl.col("chrom") == name)
        columns = (blocks[column].to_numpy() for column in ("start", "end", "to_start", "sign"))
        for start, end, there, way, target in zip(*columns, blocks["to_chrom"].to_list()):
            low, high = np.searchsorted(first[mine], [start, end])
            rows = mine[low:high]
            rows = rows[(pos[rows] < 0) & (first[rows] + length[rows] <= end)]  # the best chain has it already
            ahead = (first[rows] - start).astype(np.int64)
            pos[rows] = there + ahead if way > 0 else there - ahead - (length[rows] - 1)
            to[rows], sign[rows] = target, way
    # the base before an indel is behind it on the other strand: where it lies there, alleles alone do not tell
    indel = (variants["ref"].str.len_bytes() != variants["alt"].str.len_bytes()).fill_null(False).to_numpy()
    pos[(sign < 0) & indel] = -1
    found = pl.Series(pos >= 0)
    turned = pl.Series((sign < 0) & (pos >= 0))
    out = variants.with_columns(
        chrom=pl.when(found).then(pl.Series(to.tolist(), dtype=pl.String)),
        pos=pl.when(found).then(pl.Series(pos + 1)),
    )
    if not turned.any():
        return out
    other = {name: pl.Series(reverse_complement(variants[name]).tolist(), dtype=pl.String) for name in ("ref", "alt")}
    return out.with_columns(
        pl.when(turned).then(series).otherwise(pl.col(name)).alias(name) for name, series in other.items()
    )


@cache
def side_by_side() -> pl.DataFrame:
    """Where GRCh37 and GRCh38 lie side by side, as a chain."""
    text = (files("genopred") / "data" / "builds.tsv").read_bytes()
    table = pl.read_csv(text, separator="\t", schema_overrides={"chrom": pl.String})
    return table.select(
        "chrom", pl.col("chrom").alias("to_chrom"), pl.lit(1, pl.Int8).alias("sign"), pl.lit(0.0).alias("score"),
        "start", "end", (pl.col("start") + pl.col("by")).alias("to_start"),
    )  # fmt: skip


def other_build(a: pl.DataFrame, b: pl.DataFrame) -> tuple[str, str] | None:
    """The builds of two tables of variants (`chrom`, `pos` 1-based) where the places of one, moved, are the other's.

    None where moving them makes no difference, or no more than chance does.
    """
    left, right = (_keyed_places(table) for table in (a, b))
    spots = left.unique()
    right = right.join(spots.select("chrom").unique(), on="chrom", how="semi")

    def met(table: pl.DataFrame) -> int:
        return table.join(spots, on=["chrom", "pos"], how="semi").height

    chain = side_by_side()
    back = chain.with_columns(
        start=pl.col("to_start"), end=pl.col("to_start") + pl.col("end") - pl.col("start"), to_start=pl.col("start")
    )
    as_it_is = met(right)
    bases = right.with_columns(ref=pl.lit("N"), alt=pl.lit("N"))
    moved = {("GRCh38", "GRCh37"): met(lift(bases, chain)), ("GRCh37", "GRCh38"): met(lift(bases, back))}
    builds, most = max(moved.items(), key=lambda item: item[1])
    return builds if most > 2 * as_it_is and 2 * most > min(right.height, spots.height) else None


def _keyed_places(table: pl.DataFrame) -> pl.DataFrame:
    plain = {name: plain_chrom(name) for name in table["chrom"].drop_nulls().unique().to_list()}
    return table.select(pl.col("chrom").replace(plain), pl.col("pos").cast(pl.Int64)).drop_nulls()
