"""PredictDB models, as PrediXcan and S-PrediXcan (MetaXcan) read them: an SQLite database and SNP covariances."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from genopred.errors import FormatError, GenopredError, examples, shortened
from genopred.files import atomic, write_text
from genopred.io.text import PathLike, read_bytes, read_table, regular, to_numbers

#: Columns of `ModelDatabase.weights`. `ref` and `alt` are PredictDB's ref_allele and eff_allele.
WEIGHT_SCHEMA = dict.fromkeys(("gene_id", "id", "var_id", "ref", "alt"), pl.String) | {"weight": pl.Float64}

#: Columns of `ModelDatabase.genes`.
MODEL_GENE_SCHEMA = {
    "gene_id": pl.String,
    "gene_name": pl.String,
    "gene_type": pl.String,
    "n_snps": pl.Int64,
    "r2": pl.Float64,
    "pval": pl.Float64,
    "qval": pl.Float64,
}

#: Columns of a covariance table: between SNPs of one gene's model, each pair once, the diagonal included.
COVARIANCE_SCHEMA = {"gene_id": pl.String, "id1": pl.String, "id2": pl.String, "covariance": pl.Float64}

# What PredictDB and MetaXcan call them.
_WEIGHT_COLUMNS = ["gene", "rsid", "varID", "ref_allele", "eff_allele", "weight"]
_GENE_COLUMNS = "gene genename gene_type n.snps.in.model pred.perf.R2 pred.perf.pval pred.perf.qval".split()
_COVARIANCE_COLUMNS = ["GENE", "RSID1", "RSID2", "VALUE"]


@dataclass(frozen=True)
class ModelDatabase:
    """Linear models of gene expression, trained on `n_samples` people.

    `weights` (columns of `WEIGHT_SCHEMA`) are expression per copy of `alt`; `genes` (of `MODEL_GENE_SCHEMA`) hold each
    gene's cross-validated performance.
    """

    weights: pl.DataFrame
    genes: pl.DataFrame
    n_samples: int | None = None


def read_models(path: PathLike) -> ModelDatabase:
    """Read a PredictDB database (`.db`); old ones without varID and gene_type too."""
    path = regular(path, "a PredictDB database (.db)")
    # Read-only and immutable: a database in a folder without write permission opens too.
    uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as db:
            tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")}
            if lacking := {"weights", "extra"} - tables:
                raise FormatError(
                    f"{path} has no table {' or '.join(sorted(lacking))} (found {examples(sorted(tables)) or 'none'}); "
                    "needed a PredictDB database."
                )
            weights = _select(db, path, "weights", _WEIGHT_COLUMNS, WEIGHT_SCHEMA, {"varID"})
            genes = _select(db, path, "extra", _GENE_COLUMNS, MODEL_GENE_SCHEMA, set(_GENE_COLUMNS) - {"gene"})
            n_samples = _n_samples(db, path) if "sample_info" in tables else None
    except sqlite3.DatabaseError as problem:
        raise FormatError(f"{path} is no readable SQLite database ({problem}); needed a PredictDB .db.") from None
    return ModelDatabase(weights, genes, n_samples)


def _select(
    db: sqlite3.Connection,
    path: Path,
    table: str,
    columns: Sequence[str],
    schema: Mapping[str, type[pl.DataType]],
    optional: set[str],
) -> pl.DataFrame:
    found = {row[1].lower().replace("_", "."): row[1] for row in db.execute(f"PRAGMA table_info({table})")}
    have = {column: found.get(column.lower().replace("_", ".")) for column in columns}
    if lacking := [column for column, there in have.items() if there is None and column not in optional]:
        raise FormatError(
            f"{path}: table {table} has no column {', '.join(lacking)} (found {', '.join(found.values())})."
        )
    chosen = ", ".join("NULL" if column is None else f'"{column}"' for column in have.values())
    rows = db.execute(f"SELECT {chosen} FROM {table}").fetchall()
    try:
        return pl.DataFrame(rows, schema=schema, orient="row", strict=False)
    except (pl.exceptions.PolarsError, TypeError) as problem:
        raise FormatError(f"{path}: table {table} holds what its columns should not ({problem}).") from None


def _n_samples(db: sqlite3.Connection, path: Path) -> int | None:
    row = db.execute("SELECT * FROM sample_info").fetchone()
    try:
        return int(row[0]) if row and row[0] is not None else None
    except (TypeError, ValueError):
        raise FormatError(f"{path}: sample_info holds {shortened(row[0])!r}; needed the number of samples.") from None


def write_models(path: PathLike, models: ModelDatabase) -> None:
    """Write a PredictDB database with the tables weights, extra and sample_info, whole or not at all.

    Each gene with weights needs its row in `genes`.
    """
    if lonely := sorted(set(models.weights["gene_id"].to_list()) - set(models.genes["gene_id"].to_list())):
        raise GenopredError(f"{len(lonely)} genes have weights but no row in genes ({examples(lonely)}).")
    with atomic(path) as temporary, closing(sqlite3.connect(temporary)) as db:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute(
            "CREATE TABLE weights (gene TEXT, rsid TEXT, varID TEXT, ref_allele TEXT, eff_allele TEXT, weight REAL)"
        )
        db.execute(
            'CREATE TABLE extra (gene TEXT, genename TEXT, gene_type TEXT, "n.snps.in.model" INTEGER, '
            '"pred.perf.R2" REAL, "pred.perf.pval" REAL, "pred.perf.qval" REAL)'
        )
        db.execute('CREATE TABLE sample_info ("n.samples" INTEGER)')
        weights, genes = models.weights.select(list(WEIGHT_SCHEMA)), models.genes.select(list(MODEL_GENE_SCHEMA))
        db.executemany("INSERT INTO weights VALUES (?, ?, ?, ?, ?, ?)", weights.rows())
        db.executemany("INSERT INTO extra VALUES (?, ?, ?, ?, ?, ?, ?)", genes.rows())
        if models.n_samples is not None:
            db.execute("INSERT INTO sample_info VALUES (?)", (models.n_samples,))
        for index in ("weights (rsid)", "weights (gene)", "weights (rsid, gene)", "extra (gene)"):
            name = index.replace(" (", "_").replace(", ", "_").rstrip(")")
            db.execute(f"CREATE INDEX {name} ON {index}")
        db.commit()


def read_covariances(path: PathLike) -> pl.DataFrame:
    """Read a MetaXcan covariance table (`GENE RSID1 RSID2 VALUE`), gzipped or not: columns of `COVARIANCE_SCHEMA`."""
    table, first_row = read_table(read_bytes(path, "a covariance table"), path)
    if [name.upper() for name in table.columns[:4]] != _COVARIANCE_COLUMNS:
        raise FormatError(f"{path} line 1: found {examples(table.columns, 6)}; needed GENE RSID1 RSID2 VALUE.")
    table = to_numbers(table, [table.columns[3]], path, first_row, missing=("NA",))
    return table.select(pl.col(name).alias(ours) for name, ours in zip(table.columns, COVARIANCE_SCHEMA))


def write_covariances(path: PathLike, table: pl.DataFrame) -> None:
    """Write a MetaXcan covariance table, gzipped where the name ends in `.gz`."""
    out = table.select(pl.col(ours).alias(name) for name, ours in zip(_COVARIANCE_COLUMNS, COVARIANCE_SCHEMA))
    write_text(path, out.write_csv(separator=" ", null_value="NA"))
