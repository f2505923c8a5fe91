"""PredictDB models, as PrediXcan and S-PrediXcan (MetaXcan) read them: an SQLite database and SNP covariances."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from genopred.errors import FormatError, GenopredError, examples, shortened
from genopred.files import atomic, write_text
from genopred.io.text import PathLike, read_bytes, read_table, regular, to_numbers

#: Columns of `ModelDatabase.weights`. `ref` and `alt` are PredictDB's ref_allele and eff_allele.
WEIGHT_SCHEMA = {
    "gene_id": pl.String,
    "id": pl.String,
    "var_id": pl.String,
    "ref": pl.String,
    "alt": pl.String,
    "weight": pl.Float64,
}

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

_WEIGHT_COLUMNS = {
    "gene_id": "gene",
    "id": "rsid",
    "var_id": "varID",
    "ref": "ref_allele",
    "alt": "eff_allele",
    "weight": "weight",
}
_GENE_COLUMNS = {
    "gene_id": "gene",
    "gene_name": "genename",
    "gene_type": "gene_type",
    "n_snps": "n.snps.in.model",
    "r2": "pred.perf.R2",
    "pval": "pred.perf.pval",
    "qval": "pred.perf.qval",
}


@dataclass(frozen=True)
class ModelDatabase:
    """Linear models of gene expression.

    Attributes
    ----------
    weights : polars.DataFrame
        Columns of `WEIGHT_SCHEMA`: expression per copy of `alt`.
    genes : polars.DataFrame
        Columns of `MODEL_GENE_SCHEMA`: each gene's cross-validated performance.
    n_samples : int or None
        How many people the models were trained on.
    """

    weights: pl.DataFrame
    genes: pl.DataFrame
    n_samples: int | None = None


def read_models(path: PathLike) -> ModelDatabase:
    """Read a PredictDB database (`.db`); old ones without varID and gene_type too.

    Raises
    ------
    FormatError
        If the file is no SQLite database, or lacks the tables weights and extra or their columns.
    """
    path = regular(path, "a PredictDB database (.db)")
    # Read-only and immutable: a database in a folder without write permission opens too.
    uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as db:
            tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")}
            lacking = {"weights", "extra"} - tables
            if lacking:
                raise FormatError(
                    f"{path} has no table {' or '.join(sorted(lacking))} (found {examples(sorted(tables)) or 'none'}); "
                    "needed a PredictDB database."
                )
            weights = _select(db, path, "weights", _WEIGHT_COLUMNS, WEIGHT_SCHEMA, {"var_id"})
            genes = _select(db, path, "extra", _GENE_COLUMNS, MODEL_GENE_SCHEMA, set(MODEL_GENE_SCHEMA) - {"gene_id"})
            n_samples = _n_samples(db, path) if "sample_info" in tables else None
    except sqlite3.DatabaseError as problem:
        raise FormatError(f"{path} is no readable SQLite database ({problem}); needed a PredictDB .db.") from None
    return ModelDatabase(weights, genes, n_samples)


def _select(
    db: sqlite3.Connection,
    path: Path,
    table: str,
    columns: dict[str, str],
    schema: dict[str, type[pl.DataType]],
    optional: set[str],
) -> pl.DataFrame:
    found = {row[1].lower().replace("_", "."): row[1] for row in db.execute(f"PRAGMA table_info({table})")}
    have = {name: found.get(column.lower().replace("_", ".")) for name, column in columns.items()}
    lacking = [columns[name] for name, column in have.items() if column is None and name not in optional]
    if lacking:
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

    Parameters
    ----------
    path : str
    models : ModelDatabase
        Each gene with weights needs its row in `genes`.

    Raises
    ------
    GenopredError
        If a gene has weights but no row in `genes`.
    """
    lonely = sorted(set(models.weights["gene_id"].to_list()) - set(models.genes["gene_id"].to_list()))
    if lonely:
        raise GenopredError(f"{len(lonely)} genes have weights but no row in genes ({examples(lonely)}).")
    with atomic(path) as temporary, closing(sqlite3.connect(temporary)) as db:
        db.execute("PRAGMA journal_mode = OFF")
        columns = "gene TEXT, rsid TEXT, varID TEXT, ref_allele TEXT, eff_allele TEXT, weight REAL"
        db.execute(f"CREATE TABLE weights ({columns})")
        db.execute(
            'CREATE TABLE extra (gene TEXT, genename TEXT, gene_type TEXT, "n.snps.in.model" INTEGER, '
            '"pred.perf.R2" REAL, "pred.perf.pval" REAL, "pred.perf.qval" REAL)'
        )
        db.execute('CREATE TABLE sample_info ("n.samples" INTEGER)')
        db.executemany(
            "INSERT INTO weights VALUES (?, ?, ?, ?, ?, ?)", models.weights.select(list(WEIGHT_SCHEMA)).rows()
        )
        db.executemany(
            "INSERT INTO extra VALUES (?, ?, ?, ?, ?, ?, ?)", models.genes.select(list(MODEL_GENE_SCHEMA)).rows()
        )
        if models.n_samples is not None:
            db.execute("INSERT INTO sample_info VALUES (?)", (models.n_samples,))
        for index in ("weights (rsid)", "weights (gene)", "weights (rsid, gene)", "extra (gene)"):
            name = index.replace(" (", "_").replace(", ", "_").rstrip(")")
            db.execute(f"CREATE INDEX {name} ON {index}")
        db.commit()


def read_covariances(path: PathLike) -> pl.DataFrame:
    """Read a MetaXcan covariance table (`GENE RSID1 RSID2 VALUE`), gzipped or not.

    Returns
    -------
    polars.DataFrame
        Columns of `COVARIANCE_SCHEMA`.
    """
    table, first_row = read_table(read_bytes(path, "a covariance table"), path)
    wanted = ["GENE", "RSID1", "RSID2", "VALUE"]
    if [name.upper() for name in table.columns[:4]] != wanted:
        raise FormatError(f"{path} line 1: found {examples(table.columns, 6)}; needed GENE RSID1 RSID2 VALUE.")
    table = to_numbers(table, [table.columns[3]], path, first_row, missing=("NA",))
    table = table.select(table.columns[:4])
    table.columns = list(COVARIANCE_SCHEMA)
    return table


def write_covariances(path: PathLike, table: pl.DataFrame) -> None:
    """Write a MetaXcan covariance table, gzipped where the name ends in `.gz`."""
    out = table.select(list(COVARIANCE_SCHEMA))
    out.columns = ["GENE", "RSID1", "RSID2", "VALUE"]
    write_text(path, out.write_csv(separator=" ", null_value="NA"))
