"""Tables of scored SNPs in any layout: what a model or an eQTL map says of each SNP, with columns found or named."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from genopred.errors import FormatError, did_you_mean, examples
from genopred.io.text import find_separator, read_bytes, read_table, regular, to_numbers
from genopred.types import Note, noted, plain_chrom, plain_gene

#: Known spellings of columns, in lower case, the most specific first.
SPELLINGS = {
    "id": ("variant_id", "rsid", "rs_id", "id", "snp", "snpid", "markername", "rs"),
    "gene": ("phenotype_id", "gene_id", "gene"),
    "chrom": ("chrom", "#chrom", "chr", "#chr", "chromosome"),
    "pos": ("pos", "position", "bp", "base_pair_location"),
    "ref": ("ref", "other_allele", "allele1"),
    "alt": ("alt", "effect_allele", "allele2"),
    "p": ("pval_nominal", "p_value", "p-value", "pvalue", "pval", "p"),
    "effect": ("effect", "result", "slope", "beta"),
    "af": ("af", "maf", "eaf", "a1_freq", "effect_allele_frequency"),
    "distance": ("start_distance", "tss_distance", "distance"),
    "se": ("slope_se", "se", "standard_error"),
    "pip": ("pip",),
}

_NUMBERS = ("pos", "p", "effect", "af", "distance", "se", "pip")
_MISSING = ("", "NA", "NaN", "nan", "#NA", ".", "None")

#: How a column becomes a score of which larger is better.
KINDS = {"abs": "absolute value", "p": "-log10 of a p-value", "high": "as it is", "low": "negated: smaller is better"}


@dataclass(frozen=True)
class TableSpec:
    """A table of SNPs and which of its columns to use; columns that are None are found by their usual names.

    `score` is `kind:column` with a kind of `KINDS`, or a column name; `column` may be a quotient, `slope/slope_se`.
    `where` is `column=value` and keeps only such rows, as one group of tracks.
    """

    path: Path
    name: str
    score: str | None = None
    id: str | None = None
    gene: str | None = None
    chrom: str | None = None
    pos: str | None = None
    effect: str | None = None
    where: str | None = None


@dataclass(frozen=True)
class SnpTable:
    """Scored SNPs, with the columns that were found.

    `data` has `id` always; `score` (larger is better) unless it is a plain set; gene, chrom, pos, ref, alt, p, effect,
    af, distance, se, pip where the file has them. Chromosomes have no `chr`, Ensembl genes no version. `label` is the
    column(s) of the score, `kind` how they became one, `notes` what was left out.
    """

    spec: TableSpec
    data: pl.DataFrame
    label: str
    kind: str
    notes: tuple[Note, ...] = ()

    @property
    def has(self) -> set[str]:
        """Columns with at least one value."""
        return {name for name in self.data.columns if self.data[name].null_count() < self.data.height}


def read_snps(spec: TableSpec, *, scored: bool = True) -> SnpTable:
    """Read a table of SNPs: TSV, CSV (gzipped or not) or parquet; a path with `*` gathers several parquet files.

    Each may be there once; unless `scored` is false: then which SNPs there are is read, each as often as it is listed.
    """
    raw, first = _raw(spec.path)
    if raw.height and spec.where is not None:
        raw = _where(raw, spec)
    if not raw.height:
        raise FormatError(f"{spec.path} has a header but no rows; needed one row a SNP.")
    columns = {key: _column(raw, spec, key) for key in SPELLINGS}
    if columns["id"] is None and (columns["chrom"] is None or columns["pos"] is None):
        raise FormatError(
            f"{spec.path} names no SNPs: no column is called id, variant_id, SNP or rsid, nor chrom and pos (it has "
            f"{examples(raw.columns, 12)}); name the column with --a-id, --b-id or --set-id."
        )
    kind, parts = _score_columns(raw, spec, columns) if scored else ("", [])
    numbers = [name for key, name in columns.items() if name is not None and key in _NUMBERS]
    raw = to_numbers(raw, list(dict.fromkeys([*numbers, *parts])), spec.path, first, missing=_MISSING)
    for name in dict.fromkeys([columns["p"], *(parts if kind == "p" else [])]):
        if name is not None:
            _check_p(raw, name, spec, first)
    if (pos := columns["pos"]) is not None:
        raw = raw.with_columns(pl.col(pos).cast(pl.Float64).fill_nan(None))
        _check_pos(raw, pos, spec, first)
    data = _standard(raw, columns)
    if not scored:
        return SnpTable(spec, data, "", "")
    label = "/".join(parts)
    data = data.with_columns(score=_score(raw, kind, parts))
    lost = ~data["score"].is_finite().fill_null(False)
    notes = noted("dropped", f"no value in column {label}", lost, data["id"])
    data = data.filter(~lost)
    if not data.height:
        raise FormatError(f"{spec.path}: column {label} holds no number; name another one.")
    _refuse_twice(data, spec)
    return SnpTable(spec, data, label, kind, tuple(notes))


def _standard(raw: pl.DataFrame, columns: dict[str, str | None]) -> pl.DataFrame:
    """The columns found, under their standard names."""
    kinds = dict.fromkeys(columns, pl.String) | dict.fromkeys(_NUMBERS, pl.Float64) | {"pos": pl.Int64}
    data = raw.select(pl.col(name).cast(kinds[key]).alias(key) for key, name in columns.items() if name is not None)
    for key, bare in (("chrom", plain_chrom), ("gene", plain_gene)):
        if key in data.columns:
            plain = {name: bare(name) for name in data[key].drop_nulls().unique().to_list()}
            data = data.with_columns(pl.col(key).replace(plain))
    if "id" not in data.columns:
        return data.with_columns(id=pl.format("{}:{}", "chrom", "pos"))
    return _from_id(data) if {"chrom", "pos"}.isdisjoint(data.columns) else data


def _where(raw: pl.DataFrame, spec: TableSpec) -> pl.DataFrame:
    """Only the rows with one value in one column."""
    name, equals, value = str(spec.where).partition("=")
    if not equals:
        raise FormatError(f"{spec.where!r}: rows are chosen as COLUMN=VALUE.")
    if name not in raw.columns:
        raise _no_column(spec, name, raw.columns)
    texts = raw[name].cast(pl.String)
    kept = raw.filter(texts == value)
    if not kept.height:
        shown = examples(texts.unique(maintain_order=True).head(4).to_list())
        raise FormatError(f"{spec.path}, column {name!r}: no row is {value!r} (found {shown}).")
    return kept


def _raw(path: Path) -> tuple[pl.DataFrame, int]:
    name = str(path)
    if "*" in name or name.endswith((".parquet", ".pq")):
        files = sorted(glob.glob(name)) if "*" in name else [name]
        if not files:
            raise FormatError(f"{name}: no file fits this pattern; check the folder and the names.")
        try:
            return pl.read_parquet([regular(file, "a table of SNPs") for file in files]), 1
        except (pl.exceptions.PolarsError, OSError) as problem:
            raise FormatError(f"{name} is no parquet file ({str(problem).splitlines()[0]}).") from None
    data = read_bytes(path, "a table of SNPs")
    separator = find_separator(data, comment=b"##", commas=True)
    return read_table(data, path, separator=separator, comment=b"##")


def _column(raw: pl.DataFrame, spec: TableSpec, key: str) -> str | None:
    """The column the user named, else the first known spelling."""
    named: str | None = getattr(spec, key, None)
    if named is not None:
        if named not in raw.columns:
            raise _no_column(spec, named, raw.columns)
        return named
    lower = {name.lower(): name for name in raw.columns}
    return next((lower[name] for name in SPELLINGS[key] if name in lower), None)


def _no_column(spec: TableSpec, name: str, there: Sequence[str]) -> FormatError:
    return FormatError(
        f"{spec.path} has no column {name!r}.{did_you_mean(name, there)} It has: {', '.join(there[:20])}."
    )


def _score_columns(raw: pl.DataFrame, spec: TableSpec, columns: dict[str, str | None]) -> tuple[str, list[str]]:
    """Kind and column(s) of the score."""
    if spec.score is None:
        for kind, key in (("p", "p"), ("abs", "effect")):
            if columns[key] is not None:
                return kind, [str(columns[key])]
        raise FormatError(
            f"{spec.path}: no column to rank by (it has {', '.join(raw.columns[:20])}); name one: "
            "--a-score abs:COLUMN, --b-score p:COLUMN."
        )
    kind, _, name = spec.score.partition(":")
    if kind not in KINDS or spec.score in raw.columns:
        kind, name = "", spec.score
    parts = [name] if name in raw.columns or "/" not in name else name.split("/", 1)
    for part in parts:
        if part not in raw.columns:
            raise _no_column(spec, part, raw.columns)
    if not kind:
        low = name.lower()
        kind = "p" if low in SPELLINGS["p"] else "abs" if low in SPELLINGS["effect"] else "high"
    return kind, parts


def _score(raw: pl.DataFrame, kind: str, parts: list[str]) -> pl.Series:
    value = raw[parts[0]].cast(pl.Float64)
    if len(parts) > 1:
        value = value / raw[parts[1]].cast(pl.Float64)
    if kind == "abs":
        return value.abs()
    if kind == "p":
        return -value.log10()
    return -value if kind == "low" else value


def _check_pos(raw: pl.DataFrame, name: str, spec: TableSpec, first: int) -> None:
    value = raw[name]
    bad = ~((value == value.floor()) & (value.abs() < 2**53)).fill_null(True)
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise FormatError(
            f"{spec.path} line {first + row}, column {name!r}: found {value[row]:g} where a position, a whole number, "
            f"is needed ({int(bad.sum())} such cells); correct it, or name another column."
        )


def _check_p(raw: pl.DataFrame, name: str, spec: TableSpec, first: int) -> None:
    value = raw[name].cast(pl.Float64)
    bad = ((value <= 0) | (value > 1)).fill_null(False)
    if bad.any():
        rows = np.flatnonzero(bad.to_numpy())
        shown = examples([f"line {first + int(i)}: {value[int(i)]:g}" for i in rows[:4]])
        what = (
            "Zeros are p-values too small for a double, and cannot be ranked: rank by a statistic, as --b-score "
            "abs:slope/slope_se, or give -log10 p as high:COLUMN."
            if (value.filter(bad) == 0).all()
            else "If the column is no p-value, say how to rank by it: abs:, high: or low:."
        )
        raise FormatError(
            f"{spec.path}, column {name!r}: {len(rows)} p-values are not above 0 and up to 1 ({shown}). {what}"
        )


def _refuse_twice(data: pl.DataFrame, spec: TableSpec) -> None:
    keys = ["gene", "id"] if "gene" in data.columns else ["id"]
    twice = data.filter(data.select(keys).is_duplicated()).select(keys).unique(maintain_order=True)
    if twice.height:
        shown = examples([" of ".join(reversed([str(x) for x in row])) for row in twice.head(4).iter_rows()])
        more = (
            "name the column of genes with --a-gene or --b-gene, or choose rows with --a-where COLUMN=VALUE"
            if len(keys) == 1
            else "choose rows with --a-where COLUMN=VALUE, or keep one row of each SNP and gene"
        )
        raise FormatError(f"{spec.path}: {twice.height} SNPs are listed more than once ({shown}); {more}.")


def _from_id(data: pl.DataFrame) -> pl.DataFrame:
    """Chromosome, position (and alleles) out of ids like 22_16051249, chr22:16051249:A:G or GTEx's chr1_1_A_G_b38."""
    pattern = r"^(?:chr)?([0-9XYMT]{1,2})[:_](\d+)(?:[:_]([ACGT]+)[:_]([ACGT]+))?(?:_b\d+)?$"
    chrom, pos, ref, alt = data["id"].str.extract_groups(pattern).struct.unnest()
    if pos.null_count():
        return data
    plain = {name: plain_chrom(name) for name in chrom.unique().to_list()}
    data = data.with_columns(chrom=pl.lit(chrom).replace(plain), pos=pos.cast(pl.Int64))
    if not ref.null_count() and {"ref", "alt"}.isdisjoint(data.columns):
        data = data.with_columns(ref=ref, alt=alt)
    return data
