"""What plink's `--score` and `--pheno` read: weights of variants, ranges of p-values, phenotypes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import FormatError, examples
from genopred.io.text import PathLike, read_bytes, read_table, to_numbers

#: Columns of `read_weights`. `alt` is the effect allele, `ref` the other one where the file has it; `score` names the
#: score that a row belongs to.
WEIGHT_SCHEMA = {
    "score": pl.String,
    "id": pl.String,
    "chrom": pl.String,
    "pos": pl.Int64,
    "ref": pl.String,
    "alt": pl.String,
    "weight": pl.Float64,
}

#: Spellings of a header's columns, in lower case, the most specific first.
_SPELLINGS = {
    "id": ("variant_id", "rsid", "rs_id", "id", "snp", "snpid", "varid", "markername"),
    "alt": ("effect_allele", "a1", "alt", "ea", "allele", "eff_allele"),
    "ref": ("other_allele", "a2", "ref", "nea", "ref_allele"),
    "weight": ("weight", "effect_weight", "beta", "slope", "score"),
    "chrom": ("chrom", "#chrom", "chr", "chr_name", "chromosome"),
    "pos": ("pos", "bp", "position", "chr_position", "base_pair_location"),
}

_NUMBERS_MISSING = ("NA", "nan", "NaN", "")


def read_weights(path: PathLike, columns: Sequence[int] | None = None) -> pl.DataFrame:
    """Read a score file: plink's three columns, a table with a header, PGS Catalog's, or that of `genopred prs`.

    Parameters
    ----------
    path : str
    columns : three int, optional
        Numbers (from 1) of variant id, effect allele and weight, as in plink's `--score FILE i j k`. Without it a
        first line whose columns have known names is a header (`variant_id`, `SNP`, `A1`, `effect_allele`, `alt`,
        `weight`, `beta`, ...); else the first three columns are taken.

    Returns
    -------
    polars.DataFrame
        Columns of `WEIGHT_SCHEMA`. A file with columns `gene_id` and `method` holds one score for each pair, named
        `gene_id:method`; one with a column `score` beside its weights is split by that; else it is called `score`.

    Raises
    ------
    FormatError
        If a column is missing, a weight is not a finite number, or a variant occurs twice in a score.
    """
    data = read_bytes(path, "a score file")
    while data.startswith(b"##") or (data.startswith(b"#") and not data.lower().startswith((b"#chrom", b"#id"))):
        data = data.partition(b"\n")[2]
    first = data.partition(b"\n")[0].decode("utf-8", "replace").split()
    known = _known(first) if columns is None else {}
    table: pl.DataFrame
    if {"alt", "weight"} <= set(known) and ("id" in known or {"chrom", "pos"} <= set(known)):
        table, first_row = read_table(data, path, separator="\t" if b"\t" in data[:10_000] else None)
        groups: list[str] = [name for name in ("gene_id", "method") if name in table.columns]
        if not groups and "score" in table.columns and known["weight"] != "score":
            groups = ["score"]
        picked = {name: table[source] for name, source in known.items()}
        score = table.select(pl.concat_str(groups, separator=":")).to_series() if groups else None
    else:
        picked, score, first_row = _by_number(data, path, columns or (1, 2, 3), len(first))
    out = pl.DataFrame(picked)
    out = to_numbers(out, ["weight"], path, first_row)
    if "pos" in out.columns:
        out = to_numbers(out, ["pos"], path, first_row, kind=pl.Int64, missing=(*_NUMBERS_MISSING, "."))
    out = out.with_columns(score=pl.lit("score") if score is None else score)
    out = out.select(
        (pl.col(name) if name in out.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in WEIGHT_SCHEMA.items()
    ).with_columns(pl.col("ref", "alt").str.to_uppercase())
    _check_weights(out, path, first_row)
    return out


def _known(names: Sequence[str]) -> dict[str, str]:
    lower = {name.lower(): name for name in names}
    found = {}
    for name, spellings in _SPELLINGS.items():
        match = next((lower[spelling] for spelling in spellings if spelling in lower), None)
        if match is not None:
            found[name] = match
    return found


def _by_number(
    data: bytes, path: PathLike, columns: Sequence[int], width: int
) -> tuple[dict[str, pl.Series], None, int]:
    if len(columns) != 3 or min(columns) < 1 or len(set(columns)) < 3:
        raise FormatError(f"{path}: columns {examples(list(columns))} asked for; name three different ones, from 1.")
    if width < max(columns):
        raise FormatError(
            f"{path}: {width} columns where variant id, effect allele and weight are needed in columns "
            f"{', '.join(map(str, columns))}; give a header, or the column numbers."
        )
    table, first_row = read_table(data, path, columns=[str(k + 1) for k in range(width)])
    id_, alt, weight = (table[str(k)] for k in columns)
    if weight.len() and _number(weight[0]) is None:  # plink's modifier `header`, found out
        id_, alt, weight, first_row = id_[1:], alt[1:], weight[1:], first_row + 1
    return {"id": id_, "alt": alt, "weight": weight}, None, first_row


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _check_weights(table: pl.DataFrame, path: PathLike, first_row: int) -> None:
    lines = np.arange(first_row, first_row + table.height)
    bad = ~np.isfinite(table["weight"].to_numpy())
    if bad.any():
        raise FormatError(
            f"{path}: {int(bad.sum())} weights are not finite numbers (lines {examples(lines[bad].tolist())}); "
            "leave these variants out."
        )
    key = ["score", "id", "alt"] if table["id"].null_count() == 0 else ["score", "chrom", "pos", "ref", "alt"]
    twice = table.select(key[:-1] if key[1] == "id" else key).is_duplicated().to_numpy()
    if twice.any():
        shown = table.filter(pl.Series(twice)).select(pl.concat_str(key[1:], separator=" ", ignore_nulls=True))
        raise FormatError(
            f"{path}: {int(twice.sum())} rows share their variant with another row of the same score "
            f"({examples(shown.to_series().to_list())}); keep one row a variant."
        )


def read_ranges(path: PathLike) -> dict[str, tuple[float, float]]:
    """Ranges of plink's `--q-score-range`: name, lower and upper bound a line, without header.

    Raises
    ------
    FormatError
        If a bound is not a number, or a name occurs twice.
    """
    table, first_row = read_table(read_bytes(path, "ranges"), path, columns=["name", "low", "high"])
    table = to_numbers(table, ["low", "high"], path, first_row)
    if table["name"].is_duplicated().any():
        raise FormatError(
            f"{path}: a name occurs twice ({examples(table['name'].to_list())}); give each range its own."
        )
    return {name: (low, high) for name, low, high in table.iter_rows()}


def read_values(path: PathLike) -> dict[str, float]:
    """p-values (or other values) by variant id for `--q-score-range`: id and value a line; a header is skipped."""
    table, first_row = read_table(read_bytes(path, "values of variants"), path, columns=["id", "value"])
    if table.height and _number(table["value"][0]) is None:
        table, first_row = table[1:], first_row + 1
    table = to_numbers(table, ["value"], path, first_row, missing=_NUMBERS_MISSING)
    return {name: value for name, value in table.iter_rows() if value is not None}


def read_phenotype(path: PathLike, name: str | None = None) -> tuple[NDArray[np.str_], NDArray[np.float64], str]:
    """One quantitative phenotype of a plink file: `FID IID value ...`, with or without header.

    Parameters
    ----------
    path : str
    name : str, optional
        Column to take (`--pheno-name`), where there is a header; by default the first.

    Returns
    -------
    samples : array of str, shape (N,)
        IIDs.
    values : array, shape (N,)
        NaN where the file has NA or, as in plink, -9.
    name : str

    Raises
    ------
    FormatError
        If the column is not there, a cell is no number, or a sample occurs twice.
    """
    data = read_bytes(path, "phenotypes")
    first = data.partition(b"\n")[0].decode("utf-8", "replace").lstrip("#").split()
    header = first[:1] in (["FID"], ["IID"])
    at = first.index("IID") if header and "IID" in first else 1
    names = first[at + 1 :] if header else [f"P{k + 1}" for k in range(max(len(first) - at - 1, 0))]
    if not names or (name is not None and name not in names):
        raise FormatError(
            f"{path}: needed are FID, IID and {name or 'a phenotype'}; found {examples(first)}. "
            "--pheno-name needs a header line FID IID NAME."
        )
    chosen = name or names[0]
    columns = [*(["FID"] if at else []), "IID", *names]
    body = data.partition(b"\n")[2] if header else data
    table, first_row = read_table(body, path, columns=columns)
    table = to_numbers(table, [chosen], path, first_row + int(header), missing=_NUMBERS_MISSING)
    if table["IID"].is_duplicated().any():
        twice = table.filter(table["IID"].is_duplicated())["IID"].unique(maintain_order=True).to_list()
        raise FormatError(f"{path}: {len(twice)} samples occur more than once ({examples(twice)}); keep one of each.")
    values = table[chosen].cast(pl.Float64).fill_null(np.nan).to_numpy()
    return table["IID"].to_numpy().astype(str), np.where(values == -9, np.nan, values), chosen
