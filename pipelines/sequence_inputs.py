"""What `genopred features` and `genopred effects` share: settings, and models, genes, tracks and build from them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from genopred.errors import AlignmentError, GenopredError, examples
from genopred.io.text import PathLike
from genopred.sequence.haplotypes import MAX_MISMATCH
from genopred.sequence.models.base import SequenceModel, devices
from genopred.sequence.models.registry import DEFAULT_MODEL, load_model
from genopred.types import CHROM_LENGTHS, Genotypes, plain_chrom, plain_gene

log = logging.getLogger(__name__)

#: Further apart, a gene's TSS in two files is not of one build; between releases it seldom moves so far.
FAR = 10_000


@dataclass(frozen=True, kw_only=True)
class SequenceConfig:
    """Options of both commands.

    Attributes
    ----------
    fasta, out : Path
    model : str
        See `genopred.sequence.models.registry.load_model`.
    expression, gtf : Path, optional
        Where the genes are.
    gene, genes : tuple of str, Path
        Ids of genes, and a file of them.
    tracks, tracks_file : tuple of str, Path
        Patterns of tracks, and a file of them.
    settings : dict
        Fields of the command's own settings.
    max_ref_mismatch, allow_swapped
        See `genopred.sequence.haplotypes.personal_sequences`.
    batch_size, device, threads, model_options
        How the model runs.
    resume : bool
    """

    fasta: Path
    out: Path
    model: str = DEFAULT_MODEL
    expression: Path | None = None
    gtf: Path | None = None
    gene: tuple[str, ...] = ()
    genes: Path | None = None
    tracks: tuple[str, ...] = ()
    tracks_file: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    max_ref_mismatch: float = MAX_MISMATCH
    allow_swapped: bool = False
    batch_size: int | None = None
    device: str = "auto"
    threads: int | None = None
    model_options: dict[str, Any] = field(default_factory=dict)
    resume: bool = True


def open_genotypes(kind: str, path: PathLike) -> Genotypes:
    """Genotypes of any of the three formats (bfile, pfile, vcf), with several ALT alleles a record split."""
    if kind == "vcf":
        from genopred.io.vcf import read_vcf

        return read_vcf(path, multiallelic="split")
    if kind == "pfile":
        from genopred.io.pgen import read_pgen

        return read_pgen(path)
    from genopred.io.plink import read_plink

    return read_plink(path)


def load_models(config: SequenceConfig, *, several: bool = False) -> list[SequenceModel]:
    """The model on each device of `--device`, on one only unless `several`."""
    import torch

    names = devices(config.device, several=several)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    return [load_model(config.model, device=name, **config.model_options) for name in names]


def named_genes(config: SequenceConfig, table: pl.DataFrame, source: PathLike) -> pl.DataFrame:
    """The genes of `--gene` and `--genes`; versions do not matter.

    Parameters
    ----------
    table : polars.DataFrame
        With columns gene_id and gene.
    source : path
        Its file, for messages.

    Raises
    ------
    GenopredError
        If some are not in the table.
    """
    wanted = list(config.gene)
    if config.genes is not None:
        from genopred.io.lists import read_ids

        wanted += read_ids(config.genes, "a list of genes").tolist()
    bare = {plain_gene(name) for name in wanted}
    known = set(table["gene"].to_list()) | set(table["gene_id"].to_list())
    absent = [name for name in wanted if name not in known and plain_gene(name) not in known]
    if absent:
        raise GenopredError(
            f"{len(absent):,} of {len(wanted):,} genes are not in {source} ({examples(absent)}); check the ids, "
            "versions do not matter."
        )
    return table.filter(pl.col("gene").is_in(bare) | pl.col("gene_id").is_in(wanted))


def with_strands(config: SequenceConfig, model: SequenceModel, genes: pl.DataFrame) -> pl.DataFrame:
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
    if config.expression is not None and config.gtf is not None:
        from genopred.io.annotation import read_gtf

        strands = dict(read_gtf(config.gtf).select("gene", "strand").iter_rows())
        of_gtf = pl.col("gene").replace_strict(strands, default=pl.col("strand"), return_dtype=pl.String)
        genes = genes.with_columns(strand=pl.when(known).then(pl.col("strand")).otherwise(of_gtf))
    unknown = genes.filter(~known.fill_null(False))["gene_id"].to_list()
    if unknown:
        raise GenopredError(
            f"{model.name} reads each gene in its own direction, and {config.gtf or config.expression} has no strand "
            f"for {len(unknown):,} of {genes.height:,} genes ({examples(unknown)}); give --gtf FILE, or an expression "
            "file with a strand column (QTLtools' six)."
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
    from genopred.io.annotation import read_gtf

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


def read_track_file(path: PathLike) -> list[str]:
    """Patterns of `--tracks-file`: one a line, or the column `index` (else `description`) of a table with a header."""
    from genopred.io.text import read_bytes

    text = read_bytes(path, "a list of tracks").decode("utf-8", "replace")
    lines = [line.rstrip("\r") for line in text.split("\n") if line.strip() and not line.startswith("#")]
    header = lines[0].split("\t") if lines else []
    for name in ("index", "description"):
        if name in header:
            at = header.index(name)
            return [line.split("\t")[at] for line in lines[1:]]
    return [line.strip() for line in lines]
