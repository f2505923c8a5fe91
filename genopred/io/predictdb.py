"""PredictDB's model databases (.db), as PrediXcan and S-PrediXcan read them, and their covariance files.

Weights are of one copy of `eff_allele`. Newer databases name a variant by rsid and by `varID` (chr22_100_A_G_b38),
older ones by rsid alone.
"""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from genopred.errors import FormatError
from genopred.io.text import regular
from genopred.types import MODEL_GENE_SCHEMA, MODEL_WEIGHT_SCHEMA, GeneModels, Note, plain_chrom

PathLike = str | Path

#: What their predictions are called.
METHOD = "predictdb"

_BUILDS = {"b37": "GRCh37", "b38": "GRCh38"}
_VARID = r"^(?:chr)?([0-9A-Za-z]+)_([0-9]+)_([A-Za-z]+)_([A-Za-z]+)(?:_(b37|b38))?$"


def read_predictdb(path: PathLike) -> GeneModels:
    """Read a PredictDB database.

    Parameters
    ----------
    path : str

    Returns
    -------
    GeneModels
        `alt` is the effect allele; `chrom` and `pos` (1-based) are those of `varID`, null where there is none. Rows
        whose weight is no finite number are left out and counted.

    Raises
    ------
    FormatError
        If the file is no SQLite database, or has no table of weights with the columns needed.
    """
    file = regular(path, "a PredictDB database")
    with sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True) as base:
        weights = _table(base, path, "weights", ("gene", "rsid", "ref_allele", "eff_allele", "weight"))
        extra = _table(base, path, "extra", ("gene",))
    base.close()
    weights = weights.with_columns(pl.col("weight").cast(pl.Float64, strict=False))
    good = pl.col("weight").is_finite().fill_null(False)
    lost = weights.filter(~good)["rsid"].to_list()
    notes: tuple[Note, ...] = (
        (("dropped", "weight is no finite number", len(lost), ", ".join(map(str, lost[:3]))),) if lost else ()
    )
    weights = weights.filter(good)
    if not weights.height:
        raise FormatError(f"{path}: its table of weights holds none that can be used; needed one row a variant.")
    places = weights["varID" if "varID" in weights.columns else "rsid"].str.extract_groups(_VARID).struct.unnest()
    places.columns = ["chrom", "pos", "ref", "alt", "build"]
    builds = places["build"].drop_nulls().unique().to_list()
    table = weights.select(
        pl.col("gene").alias("gene_id"),
        places["chrom"],
        places["pos"].cast(pl.Int64, strict=False),
        pl.col("rsid").alias("id"),
        pl.col("ref_allele").str.to_uppercase().alias("ref"),
        pl.col("eff_allele").str.to_uppercase().alias("alt"),
        pl.lit(METHOD).alias("learner"),
        "weight",
        pl.lit(None, pl.Float64).alias("freq"),
        pl.lit(None, pl.Float64).alias("z"),
    ).cast(MODEL_WEIGHT_SCHEMA)  # type: ignore[arg-type]
    about = {
        "made_by": "PredictDB",
        "build": _BUILDS[builds[0]] if len(builds) == 1 else None,
        "default": METHOD,
        "unit": "the unit of the database's expression",
    }
    return GeneModels(table, _genes(table, extra), about, None, str(path), tuple(notes))


def _table(base: sqlite3.Connection, path: PathLike, name: str, needed: Iterable[str]) -> pl.DataFrame:
    try:
        rows = base.execute(f"SELECT * FROM {name}")
        columns = [column[0] for column in rows.description]
        values = rows.fetchall()
    except sqlite3.Error as problem:
        raise FormatError(
            f"{path}: its table {name} cannot be read ({problem}); needed is a PredictDB database (SQLite) with the "
            "tables weights and extra."
        ) from None
    lacking = [column for column in needed if column not in columns]
    if lacking:
        raise FormatError(f"{path}: its table {name} has no column {', '.join(lacking)}; it has {', '.join(columns)}.")
    data = {column: [row[i] for row in values] for i, column in enumerate(columns)}
    return pl.DataFrame({key: pl.Series(key, one, strict=False) for key, one in data.items()})


def _genes(table: pl.DataFrame, extra: pl.DataFrame) -> pl.DataFrame:
    counts = table.group_by("gene_id", maintain_order=True).agg(pl.len().alias("variants"), pl.col("chrom").first())
    known = {"genename": "gene_name", "phi": "phi"} | {
        f"pred.perf.{name}": name.lower() for name in ("R2", "pval", "qval")
    }
    have = [pl.col(old).alias(new) for old, new in known.items() if old in extra.columns]
    said = extra.select(pl.col("gene").alias("gene_id"), *have).unique("gene_id", maintain_order=True)
    genes = counts.join(said, on="gene_id", how="left", maintain_order="left")
    genes = genes.with_columns(pl.lit(METHOD).alias("method"), pl.lit(0.0).alias("intercept"))
    blank = [pl.lit(None).alias(name) for name in MODEL_GENE_SCHEMA if name not in genes.columns]
    return genes.with_columns(blank).select(
        pl.col(name).cast(kind, strict=False) for name, kind in MODEL_GENE_SCHEMA.items()
    )


def var_ids(table: pl.DataFrame, build: str | None) -> pl.Series:
    """`varID` of each variant: chr22_100_A_G_b38."""
    end = {name: short for short, name in _BUILDS.items()}.get(build or "", "")
    chrom = pl.col("chrom").map_elements(plain_chrom, return_dtype=pl.String)
    parts = [pl.lit("chr") + chrom, pl.col("pos"), pl.col("ref"), pl.col("alt"), *([pl.lit(end)] if end else [])]
    return table.select(pl.concat_str(parts, separator="_")).to_series()


def write_predictdb(path: Path, models: GeneModels, genes: pl.DataFrame, weights: pl.DataFrame) -> None:
    """Write a PredictDB database.

    Parameters
    ----------
    path : Path
        A new file.
    models : GeneModels
        For what is known of them as a whole.
    genes : polars.DataFrame
        Rows of `genopred.types.MODEL_GENE_SCHEMA`.
    weights : polars.DataFrame
        Their weights; `id` becomes the rsid, by which S-PrediXcan matches.
    """
    rows = weights.select("gene_id", "id", var_ids(weights, models.build).alias("varID"), "ref", "alt", "weight")
    chromosomes = sorted({plain_chrom(name) for name in genes["chrom"].drop_nulls().to_list()})
    counts = weights.group_by("gene_id").len()
    extra = genes.join(counts, on="gene_id", maintain_order="left")
    extra = extra.select("gene_id", pl.coalesce("gene_name", "gene_id"), "len", "r2", "pval", "qval")
    about = models.about
    base = sqlite3.connect(path)
    with base:
        for statement in _SCHEMA:
            base.execute(statement)
        base.executemany("INSERT INTO weights VALUES (?, ?, ?, ?, ?, ?)", rows.iter_rows())
        base.executemany("INSERT INTO extra VALUES (?, ?, ?, ?, ?, ?)", extra.iter_rows())
        base.executemany("INSERT INTO construction VALUES (?, ?)", [(name, about.get("seed")) for name in chromosomes])
        base.execute("INSERT INTO sample_info VALUES (?, ?)", (about.get("people"), about.get("expression")))
    base.close()


_SCHEMA = (
    "CREATE TABLE weights (gene TEXT, rsid TEXT, varID TEXT, ref_allele TEXT, eff_allele TEXT, weight REAL)",
    'CREATE TABLE extra (gene TEXT, genename TEXT, "n.snps.in.model" INTEGER, "pred.perf.R2" REAL, '
    '"pred.perf.pval" REAL, "pred.perf.qval" REAL)',
    "CREATE TABLE construction (chromosome TEXT, cv_seed INTEGER)",
    "CREATE TABLE sample_info (n_samples INTEGER, population TEXT)",
    "CREATE INDEX weights_rsid ON weights (rsid)",
    "CREATE INDEX weights_gene ON weights (gene)",
    "CREATE INDEX weights_rsid_gene ON weights (rsid, gene)",
    "CREATE INDEX extra_gene ON extra (gene)",
)


def write_covariances(path: Path, genes: Iterable[tuple[str, list[str], Any]]) -> None:
    """Write S-PrediXcan's covariances: GENE RSID1 RSID2 VALUE, each pair once, the diagonal included.

    Parameters
    ----------
    path : Path
    genes : iterable of (gene, names (M,), covariance of dosages (M, M))
    """
    # without a name of the file in it: always the same bytes
    with path.open("wb") as out, gzip.GzipFile("", "wb", compresslevel=6, fileobj=out, mtime=0) as file:
        file.write(b"GENE RSID1 RSID2 VALUE\n")
        for gene, names, values in genes:
            for i, one in enumerate(names):
                lines = [f"{gene} {one} {names[j]} {values[i, j]:.9g}\n" for j in range(i, len(names))]
                file.write("".join(lines).encode())


def read_covariances(path: PathLike) -> dict[str, tuple[list[str], Any]]:
    """Read S-PrediXcan's covariances: gene -> (names (M,), covariance (M, M))."""
    import numpy as np

    from genopred.io.text import read_bytes, read_table, to_numbers

    data = read_bytes(path, "covariances of PredictDB")
    table, first = read_table(data, path, separator=" ")
    lacking = [name for name in ("GENE", "RSID1", "RSID2", "VALUE") if name not in table.columns]
    if lacking:
        raise FormatError(f"{path} has no column {', '.join(lacking)}; needed are GENE RSID1 RSID2 VALUE.")
    table = to_numbers(table, ["VALUE"], path, first, missing=("NA", "NaN", "nan"))
    out = {}
    for (gene,), part in table.drop_nulls().group_by("GENE", maintain_order=True):
        names = list(dict.fromkeys([*part["RSID1"].to_list(), *part["RSID2"].to_list()]))
        place = {name: i for i, name in enumerate(names)}
        matrix = np.full((len(names), len(names)), np.nan)
        i = [place[name] for name in part["RSID1"].to_list()]
        j = [place[name] for name in part["RSID2"].to_list()]
        matrix[i, j] = matrix[j, i] = part["VALUE"].to_numpy()
        out[str(gene)] = (names, matrix)
    return out
