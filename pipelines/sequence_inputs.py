"""What features and effects open alike: models on their devices, genes and their strands, the build."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import polars as pl

from genopred import align
from genopred.errors import AlignmentError, GenopredError, examples
from genopred.io.annotation import known_symbols, read_gtf, read_symbols
from genopred.io.expression import read_expression
from genopred.io.fasta import Fasta
from genopred.io.text import PathLike
from genopred.pipelines.inputs import chosen_genes
from genopred.sequence.models.base import SequenceModel, devices
from genopred.sequence.models.registry import load_model
from genopred.settings import Effects, Features
from genopred.types import CHROM_LENGTHS, Note, plain_chrom
from genopred.workers import cores

log = logging.getLogger(__name__)

#: Further apart, a gene's TSS in two files is not of one build; between releases it seldom moves so far.
FAR = 10_000


def load_models(settings: Features | Effects, *, several: bool = False) -> list[SequenceModel]:
    """The model on each device of `--device`, on one only unless `several`."""
    import torch

    names = devices(settings.device, several=several)
    if settings.threads is not None:
        torch.set_num_threads(cores(settings.threads))
    return [load_model(settings.model, device=name, **settings.model_options) for name in names]


def open_genes(settings: Features | Effects) -> tuple[pl.DataFrame, set[str] | None, Sequence[Note]]:
    """All genes of the expression file, or of the GTF.

    Returns
    -------
    genes : polars.DataFrame
        gene_id, gene, chrom, tss, strand, far (the gene's other end; the TSS where that is all that is known).
    people : set of str or None
        Who has expression.
    notes : sequence
        What the reader has to say.
    """
    columns = ("gene_id", "gene", "chrom", "tss", "strand")
    if settings.expression is not None:
        expression = read_expression(settings.expression)
        if settings.gtf is not None:
            compare_tss(expression.genes, settings.expression, settings.gtf)
        return expression.genes.select(*columns, far="tss"), set(expression.samples.tolist()), expression.notes
    if settings.gtf is None:
        raise GenopredError("Genes: neither --expression nor --gtf given; one of them must say where the TSSs are.")
    far = pl.when(pl.col("strand") == "-").then(pl.col("start")).otherwise(pl.col("end"))
    return read_gtf(settings.gtf).select(*columns, far=far), None, ()


def named_genes(settings: Features | Effects, genes: pl.DataFrame) -> pl.DataFrame:
    """The genes of `--gene` and `--genes`, in the table's order; versions do not matter.

    Raises
    ------
    AlignmentError
        If some are not in the table.
    """
    wanted, source = chosen_genes(settings), f"{settings.expression or settings.gtf}"
    if wanted is None:
        return genes
    symbols = known_symbols() | ({} if settings.gtf is None else read_symbols(settings.gtf))
    return genes[np.sort(align.find_genes(genes, wanted, source, symbols))]


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


def check_ends(settings: Features | Effects, fasta: Fasta, table: pl.DataFrame, what: str) -> list[int]:
    """Lengths of the table's chromosomes in the FASTA; refused where one is missing, or a position is beyond its end.

    Parameters
    ----------
    table : polars.DataFrame
    what : {"TSS", "SNP"}
        What is there: of a TSS the column tss is held against the ends, of a SNP pos.
    """
    lengths = []
    places = table.group_by("chrom").agg(pl.col("tss" if what == "TSS" else "pos").max()).sort("chrom")
    for chrom, last in places.iter_rows():
        length = fasta.length(chrom)  # its own error where the chromosome is missing
        if last > length:
            raise AlignmentError(
                f"{settings.fasta}: {chrom} has {length:,} bases, and a {what} is at {last:,}; the FASTA is of another "
                f"genome build than the {what}s. Give the reference of their build."
            )
        lengths.append(length)
    return lengths


def with_strands(settings: Features | Effects, model: SequenceModel, genes: pl.DataFrame) -> pl.DataFrame:
    """The genes with their strands, which a model that reads in a gene's direction must know.

    Where the expression file has none, those of the GTF are taken.

    Raises
    ------
    GenopredError
        If the strand of a gene is not known.
    """
    known = pl.col("strand").is_in(["+", "-"])
    if not model.strand_aware or genes.select(known.all()).item():
        return genes
    if settings.expression is not None and settings.gtf is not None:
        strands = dict(read_gtf(settings.gtf).select("gene", "strand").iter_rows())
        of_gtf = pl.col("gene").replace_strict(strands, default=pl.col("strand"), return_dtype=pl.String)
        genes = genes.with_columns(strand=pl.when(known).then(pl.col("strand")).otherwise(of_gtf))
    unknown = genes.filter(~known.fill_null(False))["gene_id"].to_list()
    if unknown:
        raise GenopredError(
            f"{model.name} reads each gene in its own direction, and {settings.gtf or settings.expression} has "
            f"no strand for {len(unknown):,} of {genes.height:,} genes ({examples(unknown)}); give --gtf FILE, or "
            "an expression file with a strand column (QTLtools' six)."
        )
    return genes


def compare_tss(genes: pl.DataFrame, source: PathLike, gtf: PathLike) -> None:
    """Refuse an annotation of another genome build than that of the expression.

    Releases of an annotation move a TSS now and then, another build moves nearly all.

    Parameters
    ----------
    genes : polars.DataFrame
        With columns gene_id, gene, chrom and tss, from `source`.
    source, gtf : path

    Raises
    ------
    AlignmentError
        If most of the genes that both have are on another chromosome or more than `FAR` bp away.
    """
    other = read_gtf(gtf).select("gene", other="tss", other_chrom="chrom")
    both = genes.join(other, on="gene", how="inner", maintain_order="left")
    if not both.height:
        log.warning("%s and %s have no gene in common (%s)", source, gtf, examples(genes["gene_id"].to_list()))
        return
    same = pl.col("chrom").map_elements(plain_chrom, return_dtype=pl.String) == pl.col("other_chrom").map_elements(
        plain_chrom, return_dtype=pl.String
    )
    near = same & ((pl.col("tss") - pl.col("other")).abs() <= FAR)
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
