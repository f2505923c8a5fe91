"""Variants with their alleles: what every genotype reader checks of them, and lists of them in a table or a VCF."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import FormatError, GenopredError, examples, shortened
from genopred.io.text import PathLike, by_spelling, find_separator, read_bytes, read_table, to_numbers
from genopred.types import CHROM_LENGTHS, VARIANT_SCHEMA, Genotypes, Note, noted, plain_chrom

#: The last position that a BAM, a VCF's index or plink can hold.
_LAST = 2**31 - 1

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

    Returns
    -------
    polars.DataFrame
        Columns of `genopred.types.VARIANT_SCHEMA`; alleles in upper case, `id` is `chrom:pos:ref:alt` where there is
        none.

    Raises
    ------
    FormatError
        If a column is missing, a position is not a whole number above 0, or ids are duplicated.
    """
    what = "a list of variants (chrom, pos, id, ref, alt)"
    data = read_bytes(path, what)
    separator = find_separator(data, comment=b"##", commas=True)
    table, first_row = read_table(data, path, separator=separator, comment=b"##")
    at = by_spelling(table.columns, _SPELLINGS)
    if absent := [name for name in _SPELLINGS if name not in at and name != "id"]:
        raise FormatError(
            f"{path} has no column {', '.join(absent)} (it has {examples(table.columns, 12)}); needed {what} with "
            "these names in its first line."
        )
    if not table.height:
        raise FormatError(f"{path} has a header and no variants; needed a line for each.")
    table = table.select(pl.col(source).str.strip_chars().alias(name) for name, source in at.items())
    table = to_numbers(table, ["pos"], path, first_row, kind=pl.Int64)
    low = table["pos"] < 1
    if low.any():
        row = int(low.arg_max() or 0)
        raise FormatError(f"{path} line {first_row + row}: position {table['pos'][row]}; positions count from 1.")
    if "id" not in table.columns:
        table = table.with_columns(id=pl.lit("."))
    upper = pl.col("ref", "alt").str.to_uppercase()
    table = table.with_columns(upper).with_columns(pl.col("alt").str.split(",")).explode("alt")
    table = table.select(pl.col(name).cast(kind) for name, kind in VARIANT_SCHEMA.items())
    return check_unique(named(table), path)


def named(variants: pl.DataFrame) -> pl.DataFrame:
    """Variants without id (`.` or nothing) get `chrom:pos:ref:alt`, the chromosome without `chr`.

    >>> named(pl.DataFrame({"chrom": ["chr22"], "pos": [5], "id": ["."], "ref": ["A"], "alt": ["G"]}))["id"].to_list()
    ['22:5:A:G']
    """
    if not variants["id"].is_in([".", ""]).any():
        return variants
    bare = {name: plain_chrom(name) for name in variants["chrom"].unique().to_list()}
    made = pl.format("{}:{}:{}:{}", pl.col("chrom").replace(bare), "pos", "ref", "alt")
    return variants.with_columns(pl.when(pl.col("id").is_in([".", ""])).then(made).otherwise(pl.col("id")).alias("id"))


def screened(genotypes: Genotypes) -> Genotypes:
    """Genotypes as a reader hands them over: every variant named, the unusable left out, the odd counted in `notes`.

    Left out are variants at negative positions, which plink skips too, and those of which both alleles are the same,
    which nothing can be told from. Only counted are a position of 0, or beyond the chromosome's end in both builds of
    man (it may be another species), and variants or ids that are there more than once.
    """
    if not genotypes.n_variants:
        return genotypes
    table = named(genotypes.variants)
    pos = table["pos"]
    if (pos > _LAST).any():
        row = int((pos > _LAST).arg_max() or 0)
        raise FormatError(
            f"{genotypes.source}: {int((pos > _LAST).sum())} positions are beyond {_LAST:,}, the last that the format "
            f"can hold (variant {shortened(table['id'][row])}: {pos[row]}); correct the positions."
        )
    alleles = table.select(pl.col("ref", "alt").str.to_uppercase())
    same = (alleles["ref"] == alleles["alt"]) & (alleles["ref"] != ".")
    longest = {
        name: max(lengths.get(plain_chrom(name), _LAST) for lengths in CHROM_LENGTHS.values())
        for name in table["chrom"].unique().to_list()
    }
    end = table["chrom"].replace_strict(longest, return_dtype=pl.Int64)
    repeats = table.select("chrom", "pos").is_duplicated()
    if repeats.any():  # the alleles, which take longer, only where one is needed
        repeats = table.select("chrom", "pos", "ref", "alt").is_duplicated()
    notes = list(genotypes.notes)
    use = pl.repeat(True, table.height, eager=True)
    for status, reason, found in (
        ("dropped", "negative position, as plink skips it", pos < 0),
        ("dropped", "both alleles are the same", same),
        ("note", "position 0: no gene's window reaches it", pos == 0),
        ("note", "position beyond the chromosome's end in GRCh37 and GRCh38", pos > end),
        ("note", "same position and alleles as another variant", repeats),
        ("note", "id that another variant has too", table["id"].is_duplicated() & ~repeats),
    ):
        notes += noted(status, reason, found & use, table["id"])
        if status == "dropped":
            use = use & ~found
    genotypes = replace(genotypes, variants=table, notes=tuple(notes))
    return genotypes if use.all() else genotypes.select(variants=use.to_numpy())


def alts_noted(what: str, none: Any, several: Any, multiallelic: str, names: Any) -> tuple[Note, ...]:
    """What became of records without ALT allele, and of those with several."""
    status, then = ("dropped", " (multiallelic='split' keeps them)") if multiallelic == "skip" else ("note", ", split")
    alone = noted("dropped", f"{what} without ALT allele", none, names)
    return (*alone, *noted(status, f"{what} with several ALT alleles{then}", several, names))


def one_each(counts: NDArray[np.int64], keep: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of the records kept, with so many ALT alleles each, one variant an allele: its record, its allele from 1.

    >>> one_each(np.array([1, 3, 2]), np.array([True, False, True]))
    (array([0, 2, 2]), array([1, 1, 2]))
    """
    record = np.repeat(np.flatnonzero(keep), counts[keep])
    first = np.cumsum(counts[keep]) - counts[keep]
    return record, np.arange(len(record)) - np.repeat(first, counts[keep]) + 1


def header_build(header: bytes) -> str | None:
    """The build by the `##contig` lines of a VCF or .pvar; None where they do not say, or say several things.

    >>> header_build(b"##contig=<ID=chr22,assembly=x,length=50818468>")
    'GRCh38'
    """
    found = re.findall(rb"##contig=<(?=[^\n]*\bID=([^,>\n]+))(?=[^\n]*\blength=(\d+))", header)
    lengths = {plain_chrom(name.decode("utf-8", "replace")): int(n) for name, n in found}
    builds = [
        build
        for build, known in CHROM_LENGTHS.items()
        if lengths.keys() & known.keys() and all(known.get(name, n) == n for name, n in lengths.items())
    ]
    return builds[0] if len(builds) == 1 else None


def check_unique(variants: pl.DataFrame, source: PathLike) -> pl.DataFrame:
    """The variants, if none is there twice and an id stands for one place (whose ALTs may share it, as in dbSNP)."""
    twice = variants.filter(pl.struct("chrom", "pos", "ref", "alt").is_duplicated())
    if twice.height:
        shown = [f"{c}:{p} {r}>{a}" for c, p, _, r, a in twice.unique(maintain_order=True).iter_rows()]
        raise FormatError(
            f"{source}: {twice.height} rows repeat a variant ({examples(shown)}); keep one of each, "
            "e.g. with plink2 --rm-dup or bcftools norm --rm-dup exact."
        )
    places = variants.select("id", "chrom", "pos").unique()
    if several := places.filter(pl.col("id").is_duplicated())["id"].unique().sort().to_list():
        raise FormatError(
            f"{source}: {len(several)} ids stand for more than one position ({examples(several)}); make them unique, "
            "e.g. with plink2 --set-all-var-ids @:#:\\$r:\\$a."
        )
    return variants


def extract_variants(variants: pl.DataFrame, wanted: list[str], source: PathLike, listed: PathLike) -> pl.DataFrame:
    """The variants with the ids of a list; where there is none, the error names the likely reason."""
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
