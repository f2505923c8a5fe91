"""GWAS and eQTL summary statistics: GWAS-SSF, plink 1.9 and plink 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from genopred.errors import FormatError, examples
from genopred.io.scores import build_name
from genopred.io.text import PathLike, by_spelling, read_bytes, read_table, to_numbers
from genopred.types import VARIANT_SCHEMA

#: Columns of `read_sumstats`. `alt` is the effect allele, `ref` the other one (null where unknown); `pos` is 1-based.
SUMSTATS_SCHEMA = VARIANT_SCHEMA | dict.fromkeys(("beta", "se", "pval", "af", "n"), pl.Float64)

#: Spellings of each column, in lower case, the most specific first.
_SPELLINGS = {
    "chrom": ("chromosome", "#chrom", "chrom", "chr", "#chr"),
    "pos": ("base_pair_location", "pos", "bp", "position"),
    "id": ("rsid", "rs_id", "variant_id", "id", "snp", "snpid", "markername", "rs"),
    "alt": ("effect_allele", "a1", "alt", "ea", "effectallele"),
    "ref": ("other_allele", "omitted", "a2", "nea", "oa", "non_effect_allele", "ref"),
    "beta": ("beta", "effect", "slope", "b", "effect_size"),
    "odds": ("odds_ratio", "or", "hazard_ratio"),
    "se": ("standard_error", "se", "stderr", "slope_se", "log(or)_se", "beta_se"),
    "t": ("stat", "t_stat", "t", "z_stat", "z", "tstat", "z_or_f_stat", "t_or_f_stat"),
    "pval": ("p_value", "p", "pval", "pvalue", "p-value", "pval_nominal"),
    "neglog": ("neg_log_10_p_value", "neg_log10_p_value", "log10_p", "mlog10p", "neg_log10_p"),
    "af": ("effect_allele_frequency", "a1_freq", "eaf", "af", "freq", "a1freq"),
    "n": ("n", "obs_ct", "nmiss", "sample_size", "n_total"),
}

#: Cells that say nothing.
MISSING = ("NA", "nan", "NaN", "#NA", ".", "")


def read_sumstats(path: PathLike) -> pl.DataFrame:
    """Read summary statistics; the columns of GWAS-SSF, plink 1.9 `--assoc`/`--linear` and plink2 `--glm` are known.

    Separators may be tabs, blanks or commas. Rows of plink tests other than the additive one (`ADD`) are left
    out; a missing p-value is null. Odds and hazard ratios become log ratios; `neg_log_10_p_value` becomes
    a p-value; a missing standard error comes from the effect and its statistic.

    Returns
    -------
    polars.DataFrame
        Columns of `SUMSTATS_SCHEMA`; null where the file does not say.

    Raises
    ------
    FormatError
        If a needed column is missing, a cell is not a number, or a p-value is outside (0, 1].

    References
    ----------
    GWAS-SSF: Hayhurst et al. (2022), doi:10.1101/2022.07.15.500230.
    """
    data = read_bytes(path, "summary statistics")
    first = data[: data.find(b"\n") if b"\n" in data else None]
    separator = "\t" if b"\t" in first else "," if b"," in first and b" " not in first.strip() else None
    table, first_row = read_table(data, path, separator=separator, comment=b"##")
    at = columns_of(table.columns, _SPELLINGS)
    needed = {
        "alt": "alt" in at,
        "id, or chrom and pos": "id" in at or {"chrom", "pos"} <= set(at),
        "beta or pval": not set(at).isdisjoint(("pval", "neglog", "beta", "odds")),
    }
    if lacking := [name for name, there in needed.items() if not there]:
        raise FormatError(
            f"{path} has no column for {', '.join(lacking)} (it has {', '.join(table.columns[:12])}); name "
            "them as GWAS-SSF does: chromosome, base_pair_location, effect_allele, other_allele, beta, "
            "standard_error, p_value."
        )
    table = table.with_columns(line=pl.int_range(first_row, first_row + table.height))
    tests = {name.upper(): name for name in table.columns}
    if "TEST" in tests:
        table = table.filter(pl.col(tests["TEST"]) == "ADD")
    table = table.select("line", *(pl.col(source).alias(name) for name, source in at.items()), *plink2_other(table, at))
    return _finish(table, path)


def sumstats_build(path: PathLike) -> str | None:
    """The genome build of summary statistics, from the GWAS-SSF metadata beside them; None where they do not say.

    The metadata of `results.tsv.gz` are `results.tsv.gz-meta.yaml` or `results.tsv-meta.yaml`.
    """
    for name in (str(path), str(path).removesuffix(".gz")):
        beside = Path(f"{name}-meta.yaml")
        if beside.is_file():
            for line in read_bytes(beside, "metadata of summary statistics").decode("utf-8", "replace").splitlines():
                key, _, value = line.partition(":")
                if key.strip() in ("genome_assembly", "genomeAssembly"):
                    return build_name(value.strip().strip("'\""))
    return None


def columns_of(names: Sequence[str], spellings: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Our columns -> the file's, as `by_spelling` finds them; plink2's REF is not the other allele of its A1."""
    out = by_spelling(names, spellings)
    # plink2 has REF, ALT and A1: A1 is the effect allele, and the other one is whichever it is not.
    if out.get("ref", "").lower() == "ref" and {"a1", "alt"} <= {name.lower() for name in names}:
        del out["ref"]
    return out


def plink2_other(table: pl.DataFrame, at: dict[str, str]) -> list[pl.Expr]:
    """The other allele where plink2 wrote REF, ALT and A1: whichever of the two A1 is not."""
    lower = {name.lower(): name for name in table.columns}
    if "ref" in at or not {"ref", "alt", "a1"} <= set(lower):
        return []
    ref, alt, a1 = (pl.col(lower[name]) for name in ("ref", "alt", "a1"))
    return [pl.when(a1 == ref).then(alt).otherwise(ref).alias("ref")]


def _finish(table: pl.DataFrame, path: PathLike) -> pl.DataFrame:
    have = {name: name in table.columns for name in _SPELLINGS}
    for name in ("beta", "odds", "se", "t", "pval", "neglog", "af", "n", "pos"):
        if have[name]:
            table = numbers_of(table, name, path, pl.Int64 if name == "pos" else pl.Float64)
    texts = [name for name in ("chrom", "id", "ref", "alt") if have[name]]
    table = table.with_columns(pl.when(~pl.col(texts).is_in(list(MISSING))).then(pl.col(texts)).name.keep())
    if not have["beta"] and have["odds"]:
        refuse_rows(table, pl.col("odds") <= 0, path, "ratio", "odds", "above 0")
        table = table.with_columns(beta=pl.col("odds").log())
    if not have["pval"] and have["neglog"]:
        table = table.with_columns(pval=10.0 ** -pl.col("neglog"))
        # -log10 p above 308 underflows: the smallest number keeps the order of what can still be told apart.
        table = table.with_columns(pl.col("pval").clip(lower_bound=5e-324))
    if "pval" in table.columns:
        remedy = "between 0 (excluded) and 1; give neg_log_10_p_value where p is too small to write"
        refuse_rows(table, (pl.col("pval") <= 0) | (pl.col("pval") > 1), path, "p-value", "pval", remedy)
    if not have["se"] and have["t"] and "beta" in table.columns:
        table = table.with_columns(se=pl.when(pl.col("t") != 0).then((pl.col("beta") / pl.col("t")).abs()))
    if have["se"]:
        refuse_rows(table, pl.col("se") < 0, path, "standard error", "se", "0 or above")
    columns = [
        (pl.col(name) if name in table.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in SUMSTATS_SCHEMA.items()
    ]
    return table.select(columns).with_columns(pl.col("ref", "alt").str.to_uppercase())


def numbers_of(table: pl.DataFrame, name: str, path: PathLike, kind: type[pl.DataType]) -> pl.DataFrame:
    """A column of text as numbers, null where missing; the table has the lines of the file in its column `line`."""
    absent = table[name].str.strip_chars().is_in(list(MISSING))
    cast = table.select(pl.when(~absent).then(pl.col(name).str.strip_chars()).cast(kind, strict=False)).to_series()
    bad = cast.is_null() & ~absent
    if bad.any():
        to_numbers(table[name].filter(bad).to_frame(), [name], path, int(table["line"].filter(bad)[0]), kind=kind)
    return table.with_columns(cast.alias(name))


def refuse_rows(table: pl.DataFrame, bad: pl.Expr, path: PathLike, what: str, name: str, needed: str) -> None:
    """Refuse a table with rows that are `bad`, naming their lines and what column `name` holds there."""
    rows = table.filter(bad)
    if rows.height:
        shown = examples([f"line {line}: {value:g}" for line, value in zip(rows["line"], rows[name])])
        raise FormatError(f"{path}: {rows.height} rows have a {what} that is not {needed} ({shown}).")
