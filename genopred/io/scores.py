"""What plink's `--score` and `--pheno` read: weights of variants, ranges of p-values, phenotypes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import FormatError, examples, repeated
from genopred.io.text import PathLike, by_spelling, read_bytes, read_table, to_numbers
from genopred.types import Note

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

#: Spellings of a header's columns, in lower case, the most specific first. Those of harmonised files (`hm_`) are the
#: places in the build that the file was brought to.
_SPELLINGS = {
    "id": ("hm_rsid", "variant_id", "rsid", "rs_id", "id", "snp", "snpid", "varid", "markername"),
    "alt": ("effect_allele", "a1", "alt", "ea", "allele", "eff_allele"),
    "ref": ("other_allele", "a2", "ref", "nea", "ref_allele", "reference_allele"),
    "weight": ("weight", "effect_weight", "beta", "slope", "score"),
    "chrom": ("hm_chr", "chrom", "#chrom", "chr", "chr_name", "chromosome"),
    "pos": ("hm_pos", "pos", "bp", "position", "chr_position", "base_pair_location"),
}

#: PGS Catalog's marks of rows whose weight does not multiply a dosage.
_NOT_ADDITIVE = ("is_haplotype", "is_diplotype", "is_interaction", "is_dominant", "is_recessive")

_NUMBERS_MISSING = ("NA", "nan", "NaN", "")

_TEXT_MISSING = ("", ".", "NA", "NR")


@dataclass(frozen=True)
class ScoreFile:
    """Weights of one or several scores (a table of `WEIGHT_SCHEMA`), and what the file says besides.

    `build` is that of its positions, as `GRCh37`, where the header says it; `intercepts` are of those scores that have
    one (`prs` writes it, so that applying weights gives the prediction); `notes` tell of rows left out.
    `weight_type` is what PGS Catalog's header calls the weights, such as `beta`; empty where it does not say.
    """

    table: pl.DataFrame
    build: str | None = None
    intercepts: dict[str, float] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    weight_type: str = ""


def read_weights(path: PathLike, columns: Sequence[int] | None = None, build: str | None = None) -> ScoreFile:
    """Read a score file: plink's three columns, a table with a header, PGS Catalog's, or that of `genopred prs`.

    `columns` are the numbers (from 1) of variant id, effect allele and weight, as in plink's `--score FILE i j k`.
    Without them a first line whose columns have known names is a header; else the first three columns are taken.

    A file with columns `gene_id` and `method` holds one score for each pair, named `gene_id:method`; one with a column
    `score` beside its weights is split by that; else it is called `score`. Of PGS Catalog's harmonised files the `hm_`
    columns are taken, unless `build` (of the genotypes) is that of the others and not theirs. Rows whose weight does
    not multiply a dosage (haplotypes, interactions, dominant effects) are left out; rows without a place keep nulls.
    """
    data = read_bytes(path, "a score file")
    comments: list[str] = []
    while data.startswith(b"#") and (data.startswith(b"##") or not data.lower().startswith((b"#chrom", b"#id"))):
        line, _, data = data.partition(b"\n")
        comments.append(line.decode("utf-8", "replace").strip())
    header = data.partition(b"\n")[0]
    first = header.decode("utf-8", "replace").split()
    data = b"##\n" * len(comments) + data  # so that lines keep their numbers
    known = by_spelling(_fitting(first, comments, build), _SPELLINGS) if columns is None else {}
    score: pl.Series | None = None
    dropped: list[Note] = []
    if {"alt", "weight"} <= set(known) and ("id" in known or {"chrom", "pos"} <= set(known)):
        table, first_row = read_table(data, path, separator="\t" if b"\t" in header else None, comment=b"##")
        if not table.height:
            raise FormatError(f"{path} has a header but no rows; needed one row a variant.")
        table, dropped = _additive(_numbers(table, known, path, first_row))
        groups: list[str] = [name for name in ("gene_id", "method") if name in table.columns]
        if not groups and "score" in table.columns and known["weight"] != "score":
            groups = ["score"]
        score = table.select(pl.concat_str(groups, separator=":")).to_series() if groups else None
    else:
        table, known = _by_number(data, path, columns or (1, 2, 3), len(first))
    out = _standard(table, known).with_columns(score=pl.lit("score") if score is None else score)
    catalog = any(line.lower().startswith(("#pgs_id", "###pgs catalog")) for line in comments)
    _check_weights(out, table["line"], known["weight"], path, catalog)
    intercepts = _intercepts(table, out["score"], path) if "intercept" in table.columns else {}
    said = (_build(comments, known), _header(comments, "weight_type"))
    return ScoreFile(out.select(list(WEIGHT_SCHEMA)), said[0], intercepts, tuple(dropped), said[1])


def _numbers(table: pl.DataFrame, known: dict[str, str], path: PathLike, first_row: int) -> pl.DataFrame:
    """Weights and positions as numbers, under the file's own names, and a column `line`."""
    table = to_numbers(table, [known["weight"]], path, first_row, missing=_NUMBERS_MISSING)
    if "pos" in known:
        missing = (*_NUMBERS_MISSING, ".")
        table = to_numbers(table, [known["pos"]], path, first_row, kind=pl.Int64, missing=missing)
    return table.with_columns(line=pl.int_range(first_row, first_row + table.height))


def _additive(table: pl.DataFrame) -> tuple[pl.DataFrame, list[Note]]:
    """Only rows whose weight multiplies a dosage."""
    notes: list[Note] = []
    for name in _NOT_ADDITIVE:
        if name in table.columns:
            marked = table[name].str.strip_chars().str.to_lowercase().is_in(["true", "1", "t", "yes"])
            if marked.any():
                lines = table["line"].filter(marked).head(4).to_list()
                notes.append(("dropped", f"not additive ({name})", int(marked.sum()), f"lines {examples(lines)}"))
                table = table.filter(~marked)
    return table, notes


def _standard(table: pl.DataFrame, known: dict[str, str]) -> pl.DataFrame:
    """The known columns under their standard names, missing text as null."""
    lower = {name.lower(): name for name in table.columns}
    # what stands in where the best column has nothing; PGS Catalog's inferred other allele may be several: A/T
    spare = {"id": lower.get("rsid"), "ref": lower.get("hm_inferotherallele")}
    parts = []
    for name, kind in WEIGHT_SCHEMA.items():
        sources = [source for source in dict.fromkeys((known.get(name), spare.get(name))) if source is not None]
        values = [pl.col(source) for source in sources]
        if kind == pl.String:
            texts = [value.str.strip_chars() for value in values]
            values = [pl.when(~text.is_in(_TEXT_MISSING)).then(text) for text in texts]
        parts.append((pl.coalesce(values) if values else pl.lit(None)).cast(kind).alias(name))
    out = table.select(parts).with_columns(pl.col("ref", "alt").str.to_uppercase())
    return out.with_columns(ref=pl.when(~pl.col("ref").str.contains("/", literal=True)).then(pl.col("ref")))


def _header(comments: Sequence[str], key: str) -> str:
    """What PGS Catalog's header says of something; empty where it does not."""
    wanted = f"#{key.lower()}="
    said = (line.partition("=")[2].strip() for line in comments if line.lower().replace(" ", "").startswith(wanted))
    return next(said, "")


def _build(comments: Sequence[str], known: dict[str, str]) -> str | None:
    """The genome build that the header names for the positions taken."""
    return build_name(_header(comments, "HmPOS_build" if known.get("pos", "").lower() == "hm_pos" else "genome_build"))


def _fitting(names: list[str], comments: Sequence[str], build: str | None) -> list[str]:
    """The columns of a header without those of harmonisation where the others are the ones of the build wanted."""
    own, harmonised = (build_name(_header(comments, key)) for key in ("genome_build", "HmPOS_build"))
    if build is None or own != build or harmonised in (build, None):
        return names
    return [name for name in names if name.lower() not in ("hm_chr", "hm_pos")]


def build_name(text: str) -> str | None:
    """`GRCh37` or `GRCh38` for any of its names; None for others.

    >>> build_name("hg19"), build_name("GRCh38.p13"), build_name("NR")
    ('GRCh37', 'GRCh38', None)
    """
    known = {"GRCh37": ("grch37", "hg19", "b37"), "GRCh38": ("grch38", "hg38", "b38")}
    return next((build for build, names in known.items() if text.strip().lower().startswith(names)), None)


def _intercepts(table: pl.DataFrame, score: pl.Series, path: PathLike) -> dict[str, float]:
    values = to_numbers(table.select("intercept"), ["intercept"], path, int(table["line"][0]), missing=_NUMBERS_MISSING)
    found = pl.DataFrame([score.alias("score"), values["intercept"]]).drop_nulls().unique(maintain_order=True)
    if several := repeated(found["score"].to_list()):
        raise FormatError(
            f"{path}: {len(several)} scores have several intercepts ({examples(several)}); give each one."
        )
    return dict(found.iter_rows())


def _by_number(data: bytes, path: PathLike, columns: Sequence[int], width: int) -> tuple[pl.DataFrame, dict[str, str]]:
    if len(columns) != 3 or min(columns) < 1 or len(set(columns)) < 3:
        raise FormatError(f"{path}: columns {examples(list(columns))} asked for; name three different ones, from 1.")
    if width < max(columns):
        raise FormatError(
            f"{path}: {width} columns where variant id, effect allele and weight are needed in columns "
            f"{', '.join(map(str, columns))}; give a header, or the column numbers."
        )
    table, first_row = read_table(data, path, columns=[str(k + 1) for k in range(width)], comment=b"##")
    known = {name: str(k) for name, k in zip(("id", "alt", "weight"), columns)}
    if table.height and _number(table[known["weight"]][0]) is None:  # plink's modifier `header`, found out
        if table.height == 1:
            raise FormatError(
                f"{path} has one line and no number in its column {known['weight']}; needed are rows of variant id, "
                "effect allele and weight, perhaps below a header."
            )
        table, first_row = table[1:], first_row + 1
    return _numbers(table, known, path, first_row), known


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _check_weights(table: pl.DataFrame, lines: pl.Series, column: str, path: PathLike, catalog: bool) -> None:
    bad = ~np.isfinite(table["weight"].to_numpy())
    if bad.any():
        raise FormatError(
            f"{path}, column {column!r}: {int(bad.sum())} weights are not finite numbers (lines "
            f"{examples(lines.to_numpy()[bad].tolist())}); leave these variants out."
        )
    # Where positions tell variants apart, `align.harmonise` keeps one row of each and counts the others.
    twice = table.select("score", "id").is_duplicated().to_numpy()
    if twice.any() and not catalog and not table["pos"].count():
        shown = table.filter(pl.Series(twice)).select(pl.concat_str("id", "alt", separator=" ", ignore_nulls=True))
        raise FormatError(
            f"{path}: {int(twice.sum())} rows share their variant with another row of the same score "
            f"({examples(shown.to_series().to_list())}); keep one row a variant."
        )


def read_ranges(path: PathLike) -> dict[str, tuple[float, float]]:
    """Ranges of plink's `--q-score-range`: name, lower and upper bound a line, without header."""
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
    """One quantitative phenotype of a plink file, `FID IID value ...`, with or without header: IIDs, values, its name.

    It is the first, or that of `name` (`--pheno-name`) where there is a header. Values are NaN where the file has NA
    or, as in plink, -9; not all are.
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
    if header:
        if not data.partition(b"\n")[2].strip():
            raise FormatError(f"{path} has a header but no rows; needed one row a person.")
        data = b"##" + data  # skipped, so that lines keep their numbers
    table, first_row = read_table(data, path, columns=columns, comment=b"##" if header else None)
    table = to_numbers(table, [chosen], path, first_row, missing=_NUMBERS_MISSING)
    if twice := repeated(table["IID"].to_list()):
        raise FormatError(f"{path}: {len(twice)} samples occur more than once ({examples(twice)}); keep one of each.")
    values = table[chosen].cast(pl.Float64).fill_null(np.nan).to_numpy()
    endless = np.flatnonzero(np.isinf(values))
    if len(endless):
        raise FormatError(
            f"{path} line {first_row + int(endless[0])}, column {chosen!r}: found {values[endless[0]]:g} where a "
            f"finite number is needed ({len(endless)} such cells); write NA where it is not known."
        )
    values = np.where(values == -9, np.nan, values)
    if np.isnan(values).all():
        raise FormatError(
            f"{path}, column {chosen!r}: all {len(values):,} values are missing (NA, or -9 as in plink); choose "
            "another with --pheno-name."
        )
    return table["IID"].to_numpy().astype(str), values, chosen


def phenotype_names(path: PathLike) -> list[str]:
    """The phenotypes of a plink file, by its header; of a file without one those that `read_phenotype` makes up."""
    first = read_bytes(path, "phenotypes").partition(b"\n")[0].decode("utf-8", "replace").lstrip("#").split()
    if first[:1] in (["FID"], ["IID"]):
        return first[first.index("IID") + 1 :] if "IID" in first else []
    return [f"P{k + 1}" for k in range(max(len(first) - 2, 0))]
