"""Scoring files of the PGS Catalog, format 2.0, as its tools read them; `genopred.io.scores` reads them too."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from genopred.types import plain_chrom

#: Lines of the header, in their order.
HEADER = (
    "format_version", "pgs_id", "pgs_name", "trait_reported", "trait_mapped", "trait_efo", "weight_type",
    "genome_build", "variants_number", "pgp_id", "citation",
)  # fmt: skip


def write_scoring_file(path: Path, weights: pl.DataFrame, about: Mapping[str, str]) -> None:
    """Write a scoring file (.txt.gz).

    Parameters
    ----------
    path : Path
    weights : polars.DataFrame
        chrom, pos (1-based), id, ref, alt (the effect allele), weight of one copy of it, and freq of it.
    about : mapping
        Values of the header; those of `HEADER` that it lacks are written as NR (not reported).
    """
    rs = pl.col("id").str.starts_with("rs")
    table = weights.select(
        pl.when(rs).then("id").alias("rsID"),
        pl.col("chrom").map_elements(plain_chrom, return_dtype=pl.String).alias("chr_name"),
        pl.col("pos").alias("chr_position"),
        pl.col("alt").alias("effect_allele"),
        pl.col("ref").alias("other_allele"),
        pl.col("weight").alias("effect_weight"),
        pl.col("freq").alias("allelefrequency_effect"),
    )
    known = {"format_version": "2.0", "variants_number": str(table.height)} | dict(about)
    lines = ["###PGS CATALOG SCORING FILE - see https://www.pgscatalog.org/downloads/#dl_ftp_scoring for more"]
    lines += ["#POLYGENIC SCORE (PGS) INFORMATION", *(f"#{name}={known.get(name) or 'NR'}" for name in HEADER)]
    text = "\n".join(lines) + "\n" + table.write_csv(separator="\t", float_precision=None)
    with (
        path.open("wb") as out,
        gzip.GzipFile("", "wb", fileobj=out, mtime=0) as file,
    ):  # no name: always the same bytes
        file.write(text.encode())
