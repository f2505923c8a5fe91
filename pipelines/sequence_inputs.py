"""What features, effects and attribute open alike: models on their devices, genes and their strands, stretches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from genopred import align
from genopred.errors import GenopredError, examples
from genopred.io.annotation import known_symbols, read_gtf, read_symbols
from genopred.io.expression import read_expression
from genopred.io.lists import read_patterns
from genopred.pipelines.inputs import chosen_genes
from genopred.sequence.effects import EffectSettings
from genopred.sequence.genes import compare_tss
from genopred.sequence.models.base import SequenceModel, devices
from genopred.sequence.models.registry import load_model
from genopred.settings import Attribute, Effects, Evaluate, Features
from genopred.settings.effects import Region
from genopred.types import Interval, Note, plain_chrom
from genopred.workers import cores


def load_models(settings: Features | Effects | Attribute, *, several: bool = False) -> list[SequenceModel]:
    """The model on each device of `--device`, on one only unless `several`."""
    names = devices(settings.device, several=several)
    use_threads(settings)
    return [load_model(settings.model, device=name, **settings.model_options) for name in names]


def use_threads(settings: Features | Effects | Attribute | Evaluate) -> None:
    """Have torch compute on as many cores as `--threads` says, if it says."""
    import torch

    if settings.threads is not None:
        torch.set_num_threads(cores(settings.threads))


def inside(table: pl.DataFrame, region: Region | Interval) -> pl.Expr:
    """Rows of a table of variants in a stretch, however either calls the chromosome."""
    names = table["chrom"].drop_nulls().unique().to_list()
    here = [name for name in names if plain_chrom(name) == plain_chrom(region.chrom)]
    return pl.col("chrom").is_in(here) & (pl.col("pos") > region.start) & (pl.col("pos") <= region.end)


def said(region: Region) -> str:
    """A stretch as people write it."""
    return f"{region.chrom}:{region.start + 1:,}-{region.end:,}"


def effect_settings(settings: Effects | Attribute, model: SequenceModel) -> EffectSettings:
    """What decides the numbers; a file of tracks is a group called as the file."""
    files = []
    if settings.tracks_file is not None:
        name = re.sub(r"\.(gz|tsv|txt|csv)$", "", re.sub(r"\.gz$", "", settings.tracks_file.name))
        files.append((name, read_patterns(settings.tracks_file)))
    return EffectSettings.of(model, tracks=settings.tracks or None, files=files, **settings.shared(EffectSettings))


def open_genes(settings: Features | Effects | Attribute) -> tuple[pl.DataFrame, set[str] | None, Sequence[Note]]:
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
            compare_tss(expression.genes, settings.expression, read_gtf(settings.gtf), settings.gtf)
        return expression.genes.select(*columns, far="tss"), set(expression.samples.tolist()), expression.notes
    if settings.gtf is None:
        raise GenopredError("Genes: neither --expression nor --gtf given; one of them must say where the TSSs are.")
    far = pl.when(pl.col("strand") == "-").then(pl.col("start")).otherwise(pl.col("end"))
    return read_gtf(settings.gtf).select(*columns, far=far), None, ()


def named_genes(settings: Features | Effects | Attribute, genes: pl.DataFrame) -> pl.DataFrame:
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


class GeneFiles(NamedTuple):
    """Where genes come from."""

    expression: Path | None
    gtf: Path | None


def with_strands(
    settings: Features | Effects | Attribute | GeneFiles, model: SequenceModel, genes: pl.DataFrame
) -> pl.DataFrame:
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
