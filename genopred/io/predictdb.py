"""PredictDB models, as PrediXcan and S-PrediXcan (MetaXcan) read them: an SQLite database and SNP covariances.

Weights are of one copy of `eff_allele`. Newer databases name a variant by rsid and by `varID` (chr22_100_A_G_b38),
older ones by rsid alone.
"""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import FormatError, GenopredError, examples, shortened
from genopred.files import atomic
from genopred.io.text import PathLike, read_bytes, read_table, regular, to_numbers
from genopred.types import MODEL_GENE_SCHEMA as _GENES
from genopred.types import MODEL_WEIGHT_SCHEMA, GeneModels, noted, plain_chrom

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
    "phi": pl.Float64,
}

#: Columns of a covariance table: between SNPs of one gene's model, each pair once, the diagonal included.
COVARIANCE_SCHEMA = {"gene_id": pl.String, "id1": pl.String, "id2": pl.String, "covariance": pl.Float64}

# What PredictDB and MetaXcan call them.
_WEIGHT_COLUMNS = ["gene", "rsid", "varID", "ref_allele", "eff_allele", "weight"]
_GENE_COLUMNS = "gene genename gene_type n.snps.in.model pred.perf.R2 pred.perf.pval pred.perf.qval phi".split()
_COVARIANCE_COLUMNS = ["GENE", "RSID1", "RSID2", "VALUE"]


@dataclass(frozen=True)
class ModelDatabase:
    """Linear models of gene expression, trained on `n_samples` people of `population`.

    `weights` (columns of `WEIGHT_SCHEMA`) are expression per copy of `alt`; `genes` (of `MODEL_GENE_SCHEMA`) hold each
    gene's cross-validated performance. `construction` has the seed of each chromosome's cross-validation.
    """

    weights: pl.DataFrame
    genes: pl.DataFrame
    n_samples: int | None = None
    population: str | None = None
    construction: tuple[tuple[str, int | None], ...] = ()


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
    """Write a PredictDB database with the tables weights, extra, sample_info and construction, whole or not at all.

    Each gene with weights needs its row in `genes`.
    """
    if lonely := sorted(set(models.weights["gene_id"].to_list()) - set(models.genes["gene_id"].to_list())):
        raise GenopredError(f"{len(lonely)} genes have weights but no row in genes ({examples(lonely)}).")
    weights, genes = models.weights.select(list(WEIGHT_SCHEMA)), models.genes.select(list(MODEL_GENE_SCHEMA))
    # S-PrediXcan that is told N and h2 drops genes without phi: the column is there only where it is known
    known = genes["phi"].count() > 0
    extra = (
        'gene TEXT, genename TEXT, gene_type TEXT, "n.snps.in.model" INTEGER, "pred.perf.R2" REAL, '
        '"pred.perf.pval" REAL, "pred.perf.qval" REAL'
    )
    people = [] if models.n_samples is None else [(models.n_samples, models.population)]
    tables = {
        "weights": ("gene TEXT, rsid TEXT, varID TEXT, ref_allele TEXT, eff_allele TEXT, weight REAL", weights.rows()),
        "extra": (extra + ", phi REAL", genes.rows()) if known else (extra, genes.drop("phi").rows()),
        "sample_info": ("n_samples INTEGER, population TEXT", people),
        "construction": ("chromosome TEXT, cv_seed INTEGER", list(models.construction)),
    }
    with atomic(path) as temporary, closing(sqlite3.connect(temporary)) as db:
        db.execute("PRAGMA journal_mode = OFF")
        for table, (columns, rows) in tables.items():
            db.execute(f"CREATE TABLE {table} ({columns})")
            db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * (columns.count(',') + 1))})", rows)
        for index in ("weights (rsid)", "weights (gene)", "weights (rsid, gene)", "extra (gene)"):
            name = index.replace(" (", "_").replace(", ", "_").rstrip(")")
            db.execute(f"CREATE INDEX {name} ON {index}")
        db.commit()


def read_covariance_table(path: PathLike) -> pl.DataFrame:
    """Read a MetaXcan covariance table (`GENE RSID1 RSID2 VALUE`), gzipped or not: columns of `COVARIANCE_SCHEMA`."""
    table, first_row = read_table(read_bytes(path, "a covariance table"), path)
    if [name.upper() for name in table.columns[:4]] != _COVARIANCE_COLUMNS:
        raise FormatError(f"{path} line 1: found {examples(table.columns, 6)}; needed GENE RSID1 RSID2 VALUE.")
    table = to_numbers(table, [table.columns[3]], path, first_row, missing=("NA",))
    return table.select(pl.col(name).alias(ours) for name, ours in zip(table.columns, COVARIANCE_SCHEMA))


def read_covariances(path: PathLike) -> dict[str, tuple[list[str], NDArray[np.float64]]]:
    """Covariances of a MetaXcan table by gene: names of the variants (M,), covariance (M, M), NaN where not given."""
    out = {}
    for (gene,), part in read_covariance_table(path).group_by("gene_id", maintain_order=True):
        names = list(dict.fromkeys([*part["id1"].to_list(), *part["id2"].to_list()]))
        place = {name: i for i, name in enumerate(names)}
        i, j = ([place[name] for name in part[column].to_list()] for column in ("id1", "id2"))
        matrix = np.full((len(names), len(names)), np.nan)
        matrix[i, j] = matrix[j, i] = part["covariance"].to_numpy()
        out[str(gene)] = (names, matrix)
    return out


def write_covariances(path: Path, genes: Iterable[tuple[str, Sequence[str], NDArray[np.float64]]]) -> None:
    """Write a MetaXcan covariance table (.gz), gene by gene, each pair once and the diagonal included.

    Parameters
    ----------
    path : Path
    genes : iterable of (gene, names (M,), covariance of dosages (M, M))
    """
    # without a name of the file in it: always the same bytes
    with path.open("wb") as out, gzip.GzipFile("", "wb", compresslevel=6, fileobj=out, mtime=0) as file:
        file.write((" ".join(_COVARIANCE_COLUMNS) + "\n").encode())
        for gene, names, values in genes:
            for i, one in enumerate(names):
                lines = [f"{gene} {one} {names[j]} {values[i, j]:.9g}\n" for j in range(i, len(names))]
                file.write("".join(lines).encode())


# --- as models of genopred -------------------------------------------------------------------------------------------

#: What predictions of a database are called.
METHOD = "predictdb"

_BUILDS = {"b37": "GRCh37", "b38": "GRCh38"}
_VARID = r"^(?:chr)?([0-9A-Za-z]+)_([0-9]+)_([A-Za-z]+)_([A-Za-z]+)(?:_(b37|b38))?$"


def read_predictdb(path: PathLike) -> GeneModels:
    """Read a PredictDB database as gene models.

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
        If the file is no SQLite database, lacks the tables weights and extra or their columns, or has no weights.
    """
    held = read_models(path)
    good = held.weights["weight"].is_finite().fill_null(False)
    notes = noted("dropped", "weight is no finite number", ~good, held.weights["id"])
    weights = held.weights.filter(good)
    if not weights.height:
        raise FormatError(f"{path}: its table weights holds none that can be used; needed one row a variant.")
    places = weights.select(pl.coalesce("var_id", "id").str.extract_groups(_VARID)).to_series().struct.unnest()
    places.columns = ["chrom", "pos", "ref", "alt", "build"]
    builds = places["build"].drop_nulls().unique().to_list()
    table = weights.with_columns(
        places["chrom"],
        places["pos"].cast(pl.Int64, strict=False),
        pl.col("ref", "alt").str.to_uppercase(),
        learner=pl.lit(METHOD),
    )
    counts = table.group_by("gene_id", maintain_order=True).agg(pl.len().alias("variants"), pl.col("chrom").first())
    genes = counts.join(held.genes.unique("gene_id"), on="gene_id", how="left", maintain_order="left")
    genes = genes.with_columns(pl.lit(METHOD).alias("method"), pl.lit(0.0).alias("intercept"))
    about = {
        "made_by": "PredictDB",
        "build": _BUILDS[builds[0]] if len(builds) == 1 else None,
        "people": held.n_samples,
        "default": METHOD,
        "unit": "the unit of the database's expression",
    }
    tables = (_with_schema(table, MODEL_WEIGHT_SCHEMA), _with_schema(genes, _GENES))
    return GeneModels(*tables, about, None, str(path), tuple(notes))


def _with_schema(table: pl.DataFrame, schema: Mapping[str, Any]) -> pl.DataFrame:
    """Its columns in the schema's order, null where it has none."""
    return table.select(
        (pl.col(name) if name in table.columns else pl.lit(None).alias(name)).cast(kind, strict=False)
        for name, kind in schema.items()
    )


def var_ids(table: pl.DataFrame, build: str | None) -> pl.Series:
    """`varID` of each variant: chr22_100_A_G_b38."""
    end = {name: short for short, name in _BUILDS.items()}.get(build or "", "")
    chrom = pl.col("chrom").map_elements(plain_chrom, return_dtype=pl.String)
    parts = [pl.lit("chr") + chrom, pl.col("pos"), pl.col("ref"), pl.col("alt"), *([pl.lit(end)] if end else [])]
    return table.select(pl.concat_str(parts, separator="_")).to_series()


def write_predictdb(path: Path, models: GeneModels, genes: pl.DataFrame, weights: pl.DataFrame) -> None:
    """Write gene models as a PredictDB database.

    Parameters
    ----------
    path : Path
    models : GeneModels
        For what is known of them as a whole.
    genes : polars.DataFrame
        Rows of `genopred.types.MODEL_GENE_SCHEMA`.
    weights : polars.DataFrame
        Their weights; `id` becomes the rsid, by which S-PrediXcan matches.
    """
    rows = weights.with_columns(var_ids(weights, models.build).alias("var_id"))
    counts = weights.group_by("gene_id").agg(pl.len().alias("n_snps"))
    extra = genes.join(counts, on="gene_id", maintain_order="left")
    extra = extra.with_columns(pl.coalesce("gene_name", "gene_id"), pl.lit(None, pl.String).alias("gene_type"))
    chromosomes = sorted({plain_chrom(name) for name in genes["chrom"].drop_nulls().to_list()})
    about = models.about
    construction = tuple((name, about.get("seed")) for name in chromosomes)
    write_models(path, ModelDatabase(rows, extra, about.get("people"), about.get("expression"), construction))
