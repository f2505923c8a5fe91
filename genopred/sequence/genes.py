"""Genes as a sequence model needs them: on which chromosomes, of which build, in which direction."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import polars as pl

from genopred.errors import AlignmentError, examples
from genopred.types import CHROM_LENGTHS, plain_chrom

log = logging.getLogger(__name__)

#: Further apart, a gene's TSS in two files is not of one build; between releases it seldom moves so far.
FAR = 10_000


def on_chromosomes_of(genes: pl.DataFrame, variants: pl.DataFrame, source: str) -> pl.DataFrame:
    """The genes that are on a chromosome of the variants; refused where none is."""
    chroms = {plain_chrom(name) for name in variants["chrom"].unique().to_list()}
    kept = genes.filter(is_on(chroms))
    if not kept.height:
        raise AlignmentError(
            f"None of the {genes.height:,} genes is on a chromosome of {source} ({examples(sorted(chroms))}); the "
            f"genes are on {examples(sorted(set(genes['chrom'].to_list())))}."
        )
    return kept


def is_on(chroms: Collection[str]) -> pl.Expr:
    """Whether the column `chrom` is one of these, whether `chr` is written or not."""
    return pl.col("chrom").map_elements(lambda name: plain_chrom(name) in chroms, return_dtype=pl.Boolean)


def check_ends(fasta: Any, source: Path, table: pl.DataFrame, what: str) -> list[int]:
    """Lengths of the table's chromosomes in the FASTA; refused where one is missing, or a position is beyond its end.

    `what` is there: of a TSS the column tss is held against the ends, of a SNP pos.
    """
    lengths = []
    places = table.group_by("chrom").agg(pl.col("tss" if what == "TSS" else "pos").max()).sort("chrom")
    for chrom, last in places.iter_rows():
        length = fasta.length(chrom)  # its own error where the chromosome is missing
        if last > length:
            raise AlignmentError(
                f"{source}: {chrom} has {length:,} bases, and a {what} is at {last:,}; the FASTA is of another "
                f"genome build than the {what}s. Give the reference of their build."
            )
        lengths.append(length)
    return lengths


def compare_tss(genes: pl.DataFrame, source: Path, annotation: pl.DataFrame, gtf: Path) -> None:
    """Refuse an annotation of another genome build than that of the expression.

    Releases of an annotation move a TSS now and then, another build moves nearly all. So most of the genes that both
    have must be on the same chromosome, no more than `FAR` bp away.

    Parameters
    ----------
    genes, annotation : polars.DataFrame
        With columns gene, chrom and tss (of `genes` also gene_id), from the files `source` and `gtf`.
    source, gtf : Path
    """
    other = annotation.select("gene", other="tss", other_chrom="chrom")
    both = genes.join(other, on="gene", how="inner", maintain_order="left")
    if not both.height:
        log.warning("%s and %s have no gene in common (%s)", source, gtf, examples(genes["gene_id"].to_list()))
        return
    plain, other_plain = (pl.col(name).map_elements(plain_chrom, pl.String) for name in ("chrom", "other_chrom"))
    near = (plain == other_plain) & ((pl.col("tss") - pl.col("other")).abs() <= FAR)
    # a gene that the annotation has twice (PAR) is near when one of them is
    both = both.with_columns(near=near.any().over("gene")).unique("gene", keep="first", maintain_order=True)
    far = both.filter(~pl.col("near"))
    if 2 * far.height > both.height:
        shown = [f"{row['gene_id']} {row['tss']:,} and {row['other']:,}" for row in far.head(4).iter_rows(named=True)]
        raise AlignmentError(
            f"{source} and {gtf} are of different genome builds: the TSSs of {far.height:,} of {both.height:,} genes "
            f"that both have are more than {FAR:,} bp apart ({examples(shown)}); give the annotation of the build of "
            "the expression and the genotypes."
        )
    if far.height:
        log.warning(
            "%d of %d genes have their TSS more than %s bp away in %s (%s); that of %s is used",
            *(far.height, both.height, f"{FAR:,}", gtf, examples(far["gene_id"].to_list()), source),
        )


def genome_build(lengths: Iterable[int]) -> str:
    """The build that has chromosomes of these lengths, or `unknown`.

    >>> genome_build([51_304_566]), genome_build([50_818_468]), genome_build([51_304_566, 50_818_468])
    ('GRCh37', 'GRCh38', 'unknown')
    """
    builds = {name for length in lengths for name, known in CHROM_LENGTHS.items() if length in known.values()}
    return builds.pop() if len(builds) == 1 else "unknown"
