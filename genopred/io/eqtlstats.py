"""eQTL summary statistics, a row a gene and variant: tensorQTL and GTEx, the eQTL Catalogue, eQTLGen, our own."""

from __future__ import annotations

import glob
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from genopred.errors import FormatError, examples
from genopred.io.scores import build_name
from genopred.io.sumstats import MISSING, columns_of, numbers_of, plink2_other, refuse_rows
from genopred.io.text import PathLike, after_comments, decode, find_separator, read_table, regular, whole_lines
from genopred.types import VARIANT_SCHEMA, Note, plain_chrom, plain_gene

#: Columns of `EqtlStats.data`. `alt` is the effect allele, `ref` the other one, both null where the file does not say;
#: `z` is effect over standard error; `af` the frequency of `alt`, `maf` that of the rarer allele.
EQTL_SCHEMA = (
    {"gene": pl.String} | VARIANT_SCHEMA | dict.fromkeys(("beta", "se", "z", "pval", "af", "maf", "n"), pl.Float64)
)

_WHAT = "summary statistics of eQTLs, a row a gene and variant"

#: Spellings of each column, in lower case, the most specific first.
_SPELLINGS = {
    "gene": ("phenotype_id", "gene_id", "molecular_trait_id", "gene", "ensembl_id", "probe"),
    "chrom": ("chromosome", "chrom", "#chrom", "chr", "#chr", "snpchr", "variant_chr"),
    "pos": ("position", "base_pair_location", "pos", "snppos", "bp", "variant_pos"),
    "id": ("variant_id", "rsid", "rs_id", "snp", "variant", "snpid", "id", "snps"),
    "alt": ("assessedallele", "effect_allele", "a1", "alt", "ea"),
    "ref": ("otherallele", "other_allele", "a2", "nea", "oa", "ref"),
    "beta": ("slope", "beta", "effect", "effect_size", "b"),
    "se": ("slope_se", "se", "standard_error", "beta_se", "stderr"),
    "z": ("zscore", "z", "z_score", "tstat", "t_stat", "t-stat", "statistic", "t"),
    "pval": ("pval_nominal", "pvalue", "p_value", "p-value", "pval", "p", "nominal_p_value"),
    "neglog": ("neg_log_10_p_value", "neg_log10_p_value", "mlog10p", "log10_p"),
    "af": ("af", "effect_allele_frequency", "eaf", "a1_freq", "alt_freq"),
    "maf": ("maf",),
    "n": ("nrsamples", "n", "n_samples", "sample_size", "obs_ct", "num_samples"),
    "an": ("an",),
    "ac": ("ac",),
    "ma_count": ("ma_count",),
}  # fmt: skip

_NUMBERS = ("beta", "se", "z", "pval", "neglog", "af", "maf", "n", "an", "ac", "ma_count")

#: Ids that say where a variant is: 22_16051249, chr22:16051249:A:G, GTEx's chr1_1_A_G_b38.
_PLACE = r"^(?:chr)?([0-9XYMT]{1,2})[:_](\d+)(?:[:_]([ACGTacgt]+)[:_]([ACGTacgt]+))?(?:_b\d+)?$"


@dataclass(frozen=True)
class EqtlStats:
    """Marginal effects of variants on genes, as another study published them.

    Attributes
    ----------
    data : polars.DataFrame
        Columns of `EQTL_SCHEMA`; each gene (without version) and variant once.
    source : str
    build : str or None
        GRCh37 or GRCh38, where the variants' ids end with it.
    rows : int
        Of the file, of all genes.
    notes : tuple of Note
        Rows that were left out.
    """

    data: pl.DataFrame
    source: str
    build: str | None
    rows: int
    notes: tuple[Note, ...] = ()


def read_eqtl_stats(path: PathLike, genes: Collection[str] | None = None) -> EqtlStats:
    """Read eQTL summary statistics of some genes from text, gzipped or not, or parquet; `*` gathers several files.

    Text is read in parts of which only the wanted genes stay, so that a file of all pairs of a genome needs little
    memory. Needed are a gene, a variant (chromosome and position, or an id) and its effect: with its standard error or
    p-value, or z. Where no column gives alleles, an id such as chr1_100_A_G_b38 does. The effect allele is ALT unless
    a column names it.

    Parameters
    ----------
    path : path
    genes : collection of str, optional
        Ids without version; all by default.

    Raises
    ------
    FormatError
        If a needed column is missing, a cell is not a number, or none of the genes is there.

    References
    ----------
    Taylor-Weiner et al. (2019), doi:10.1186/s13059-019-1836-7 (tensorQTL); Kerimov et al. (2021),
    doi:10.1038/s41588-021-00924-w (eQTL Catalogue); Võsa et al. (2021), doi:10.1038/s41588-021-00913-z (eQTLGen).
    """
    name = str(path)
    files = sorted(glob.glob(name)) if "*" in name else [name]
    if not files:
        raise FormatError(f"{name}: no file fits this pattern; check the folder and the names.")
    wanted = None if genes is None else set(genes)
    seen: list[str] = []
    parts, rows = [], 0
    for file in files:
        for raw in _parts(Path(file)):
            rows += raw.height
            part, named = _wanted(raw, file, wanted)
            seen += named if len(seen) < 4 else []
            parts.append(part)
    data = pl.concat(parts) if parts else pl.DataFrame(schema=EQTL_SCHEMA)
    if not data.height:
        asked = "" if wanted is None else f" ({examples(sorted(wanted)[:4])})"
        raise FormatError(
            f"{name}: none of its {rows:,} rows is of a wanted gene{asked}; its genes look like {examples(seen)}. "
            "Names against Ensembl ids, or another chromosome?"
        )
    once = data.unique(["gene", *VARIANT_SCHEMA], keep="first", maintain_order=True)
    notes = _lost(data, "gene and variant listed more than once", data.height - once.height)
    build = _build(once["id"])
    return EqtlStats(once, name, build, rows, notes)


def _lost(data: pl.DataFrame, reason: str, n: int) -> tuple[Note, ...]:
    return (("dropped", reason, n, ""),) if n else ()


def _build(ids: pl.Series) -> str | None:
    """What the ids end with, of GTEx's kind."""
    found = ids.str.extract(r"_(b3[78])$").drop_nulls().unique().to_list()
    return build_name(found[0]) if len(found) == 1 else None


def _parts(path: Path) -> Iterator[pl.DataFrame]:
    """The file as tables with the lines in column `line`, a part at a time: of strings, or as parquet has it."""
    if path.name.endswith((".parquet", ".pq")):
        regular(path, _WHAT)
        try:
            yield pl.read_parquet(path).with_columns(line=pl.int_range(1, pl.len() + 1))
        except (pl.exceptions.PolarsError, OSError) as problem:
            raise FormatError(f"{path} is no parquet file ({str(problem).splitlines()[0]}).") from None
        return
    names: list[str] | None = None
    separator, line = None, 1
    for data in whole_lines(path, _WHAT):
        if names is None:
            separator = find_separator(data, comment=b"##", commas=True)
            data, skipped = after_comments(data, b"##")
            head, _, data = data.partition(b"\n")
            text = decode(head, path, skipped + 1)
            names = text.split() if separator is None else text.split(separator)
            line += skipped + 1
            if not data:
                break
        # `read_table` counts lines from the first of what it is given
        table, _ = read_table(data, path, columns=names, separator=separator)
        yield table.with_columns(line=pl.int_range(line, line + table.height))
        line += table.height
    if names is None:
        raise FormatError(f"{path} is empty; needed {_WHAT}.")


def _wanted(raw: pl.DataFrame, path: PathLike, wanted: set[str] | None) -> tuple[pl.DataFrame, list[str]]:
    """The rows of the wanted genes in columns of `EQTL_SCHEMA`, and the first genes that are there."""
    at = columns_of(raw.drop("line").columns, _SPELLINGS)
    needed = {
        "a gene (gene_id, phenotype_id)": "gene" in at,
        "a variant (variant_id, or chrom and pos)": "id" in at or {"chrom", "pos"} <= set(at),
        "its effect (slope and slope_se or pval_nominal, or zscore)": "z" in at
        or ("beta" in at and not set(at).isdisjoint(("se", "pval", "neglog"))),
    }
    if lacking := [name for name, there in needed.items() if not there]:
        raise FormatError(
            f"{path} has no column for {', nor '.join(lacking)} (it has {examples(raw.columns[:-1], 12)}); name them "
            "as tensorQTL, the eQTL Catalogue or eQTLGen do."
        )
    named = raw[at["gene"]].cast(pl.String)
    plain = {name: plain_gene(name) for name in named.drop_nulls().unique().to_list()}
    some = list(plain)[:4]
    table = raw.select(
        "line", *(pl.col(source).alias(name) for name, source in at.items()), *plink2_other(raw, at)
    ).with_columns(gene=named)
    if wanted is not None:
        mine = [name for name, bare in plain.items() if bare in wanted]
        table = table.filter(pl.col("gene").is_in(mine))
    table = table.with_columns(pl.col("gene").replace(plain))
    return _standard(table, path), some


def _standard(table: pl.DataFrame, path: PathLike) -> pl.DataFrame:
    have = set(table.columns)
    for name in ("pos", *_NUMBERS):
        if name not in have:
            continue
        kind = pl.Int64 if name == "pos" else pl.Float64
        table = (
            numbers_of(table, name, path, kind)
            if table.schema[name] == pl.String
            else table.with_columns(pl.col(name).cast(kind))
        )
    texts = [name for name in ("chrom", "id", "ref", "alt") if name in have]
    table = table.with_columns(pl.col(texts).cast(pl.String))
    table = table.with_columns(pl.when(~pl.col(texts).is_in(list(MISSING))).then(pl.col(texts)).name.keep())
    if "neglog" in have and "pval" not in have:
        table = table.with_columns(pval=10.0 ** -pl.col("neglog"))
    if "pval" in table.columns:
        refuse_rows(table, (pl.col("pval") < 0) | (pl.col("pval") > 1), path, "p-value", "pval", "between 0 and 1")
    if "se" in have:
        refuse_rows(table, pl.col("se") < 0, path, "standard error", "se", "0 or above")
    if {"ac", "an"} <= have and "af" not in have:
        table = table.with_columns(af=pl.when(pl.col("an") > 0).then(pl.col("ac") / pl.col("an")))
    if "n" not in have:
        table = table.with_columns(n=_people(set(table.columns)))
    columns = [
        (pl.col(name) if name in table.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in EQTL_SCHEMA.items()
    ]
    return _placed(table.select(columns)).with_columns(pl.col("ref", "alt").str.to_uppercase())


def _people(have: set[str]) -> pl.Expr:
    """How many people were studied, from counts of alleles; tensorQTL gives those of the rarer one alone."""
    if "an" in have:
        return pl.col("an") / 2
    if "ma_count" in have and have & {"af", "maf"}:
        rare = pl.col("maf") if "maf" in have else pl.min_horizontal("af", 1 - pl.col("af"))
        return pl.when(rare > 0).then((pl.col("ma_count") / (2 * rare)).round())
    return pl.lit(None, pl.Float64)


def _placed(table: pl.DataFrame) -> pl.DataFrame:
    """Chromosome, position and alleles from ids that hold them, where no column does."""
    chrom, pos, ref, alt = table["id"].str.extract_groups(_PLACE).struct.unnest()
    lacks_place = pl.any_horizontal(pl.col("chrom", "pos").is_null())
    lacks_allele = pl.col("alt").is_null() & pl.col("ref").is_null()
    table = table.with_columns(
        chrom=pl.when(lacks_place).then(pl.lit(chrom)).otherwise("chrom"),
        pos=pl.when(lacks_place).then(pl.lit(pos.cast(pl.Int64))).otherwise("pos"),
        ref=pl.when(lacks_allele).then(pl.lit(ref)).otherwise("ref"),
        alt=pl.when(lacks_allele).then(pl.lit(alt)).otherwise("alt"),
    )
    plain = {name: plain_chrom(name) for name in table["chrom"].drop_nulls().unique().to_list()}
    return table.with_columns(pl.col("chrom").replace(plain))
