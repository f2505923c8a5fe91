"""Lists of variants with their alleles: a text table, or the first columns of a VCF."""

from __future__ import annotations

import polars as pl

from genopred.errors import FormatError, GenopredError, examples
from genopred.io.text import PathLike, read_bytes, read_table, to_numbers
from genopred.types import VARIANT_SCHEMA

#: Spellings of each column, in lower case.
_SPELLINGS = {
    "chrom": ("chrom", "#chrom", "chr", "#chr", "chromosome"),
    "pos": ("pos", "bp", "position", "base_pair_location"),
    "id": ("id", "rsid", "snp", "variant_id", "rs_id"),
    "ref": ("ref", "reference_allele", "other_allele"),
    "alt": ("alt", "alternate_allele", "effect_allele"),
}


def read_variants(path: PathLike) -> pl.DataFrame:
    """Read variants from a table with columns chrom, pos, ref, alt and perhaps id, or from a VCF's first columns.

    Separators may be tabs, blanks or commas, gzipped or not. Several ALT alleles in one line, separated by commas,
    become a row each.

    Parameters
    ----------
    path : str

    Returns
    -------
    polars.DataFrame
        Columns of `genopred.types.VARIANT_SCHEMA`; alleles in upper case, `id` is `chrom:pos:ref:alt` where there is
        none.

    Raises
    ------
    FormatError
        If a column is missing, a position is not a whole number above 0, or ids are duplicated (see
        `check_unique`).
    """
    what = "a list of variants (chrom, pos, id, ref, alt)"
    data = read_bytes(path, what)
    body = data
    while body.startswith(b"##"):
        body = body.partition(b"\n")[2]
    first = body.partition(b"\n")[0]
    separator = "\t" if b"\t" in first else "," if b"," in first else None
    table, first_row = read_table(data, path, separator=separator, comment=b"##")
    lower = {name.strip().lower(): name for name in table.columns}
    at = {
        name: next((lower[spelling] for spelling in spellings if spelling in lower), None)
        for name, spellings in _SPELLINGS.items()
    }
    absent = [name for name, found in at.items() if found is None and name != "id"]
    if absent:
        raise FormatError(
            f"{path} has no column {', '.join(absent)} (it has {examples(table.columns, 12)}); needed {what} with "
            "these names in its first line."
        )
    table = table.select(pl.col(source).str.strip_chars().alias(name) for name, source in at.items() if source)
    table = to_numbers(table, ["pos"], path, first_row, kind=pl.Int64)
    low = table["pos"] < 1
    if low.any():
        row = int(low.arg_max() or 0)
        raise FormatError(f"{path} line {first_row + row}: position {table['pos'][row]}; positions count from 1.")
    if "id" not in table.columns:
        table = table.with_columns(id=pl.lit("."))
    table = table.with_columns(pl.col("ref", "alt").str.to_uppercase())
    table = table.with_columns(pl.col("alt").str.split(",")).explode("alt")
    table = table.select(pl.col(name).cast(kind) for name, kind in VARIANT_SCHEMA.items())
    return check_unique(named(table), path)


def named(variants: pl.DataFrame) -> pl.DataFrame:
    """Variants without id (`.` or nothing) get `chrom:pos:ref:alt`.

    >>> named(pl.DataFrame({"chrom": ["22"], "pos": [5], "id": ["."], "ref": ["A"], "alt": ["G"]}))["id"].to_list()
    ['22:5:A:G']
    """
    made = pl.format("{}:{}:{}:{}", "chrom", "pos", "ref", "alt")
    return variants.with_columns(pl.when(pl.col("id").is_in([".", ""])).then(made).otherwise(pl.col("id")).alias("id"))


def check_unique(variants: pl.DataFrame, source: PathLike) -> pl.DataFrame:
    """The variants, if an id stands for one place and no variant is there twice.

    Several ALT alleles of one place may share an id, as in dbSNP; they are told apart by `alt`.

    Raises
    ------
    FormatError
    """
    twice = variants.filter(pl.struct("chrom", "pos", "ref", "alt").is_duplicated())
    if twice.height:
        shown = [f"{c}:{p} {r}>{a}" for c, p, _, r, a in twice.unique(maintain_order=True).iter_rows()]
        raise FormatError(
            f"{source}: {twice.height} rows repeat a variant ({examples(shown)}); keep one of each, "
            "e.g. with plink2 --rm-dup or bcftools norm --rm-dup exact."
        )
    places = variants.select("id", "chrom", "pos").unique()
    several = places.filter(pl.col("id").is_duplicated())["id"].unique(maintain_order=True).sort().to_list()
    if several:
        raise FormatError(
            f"{source}: {len(several)} ids stand for more than one position ({examples(several)}); make them unique, "
            "e.g. with plink2 --set-all-var-ids @:#:\\$r:\\$a."
        )
    return variants


def extract_variants(variants: pl.DataFrame, wanted: list[str], source: PathLike, listed: PathLike) -> pl.DataFrame:
    """The variants with the ids of a list.

    Raises
    ------
    GenopredError
        If none is there, with the likely reason.
    """
    kept = variants.filter(pl.col("id").is_in(wanted))
    if kept.height:
        return kept
    have = variants["id"].head(3).to_list()
    rs = [sum(name.startswith("rs") for name in names) > len(names) / 2 for names in (wanted[:100], have)]
    reason = (
        "one side has rs numbers and the other has not: use the other's ids, or add them with bcftools annotate -c ID"
        if rs[0] != rs[1]
        else "check that both are of the same build and chromosome"
    )
    raise GenopredError(
        f"{listed}: none of its {len(wanted):,} ids ({examples(wanted)}) is in {source} ({examples(have)}); {reason}."
    )
