"""Genes from files: their windows, expression, signal and contacts, as a configuration of task "expression" says."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.io.fasta import open_fasta
from genopred.pipelines.train_genes_inputs import (
    batches_of,
    codes_of,
    families_of,
    genes_of,
    measured_of,
    some,
    with_segments,
    with_tracks,
)
from genopred.sequence.onehot import N_CODE
from genopred.settings.declare import naming
from genopred.training.config_expression import ExpressionConfig
from genopred.training.gene_memory import check_gene_memory
from genopred.training.gene_split import split_genes
from genopred.training.genes import GeneData, GeneSplit
from genopred.training.networks.composition import Composition
from genopred.training.networks.gene import GeneShape
from genopred.training.segments import kept_apart
from genopred.training.targets import Transform, make_targets
from genopred.types import MatchReport

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """What was read.

    Attributes
    ----------
    data : GeneData
    tally : align.Tally
        Genes, cell types and segments that came in and were left out.
    """

    data: GeneData
    tally: align.Tally


@dataclass(frozen=True)
class Prepared:
    """Genes with their parts and targets.

    Attributes
    ----------
    data : GeneData
        Without distal segments that another part reads.
    split : GeneSplit
    transform : Transform
    targets : float32 array, shape (G, C)
    shape : GeneShape
    report : MatchReport
    """

    data: GeneData
    split: GeneSplit
    transform: Transform
    targets: NDArray[np.float32]
    shape: GeneShape
    report: MatchReport


def load_genes(config: ExpressionConfig) -> GeneData:
    """Read genes, sequence, expression, signal and contacts.

    Raises
    ------
    GenopredError
        If a file cannot be read or does not fit the others, no gene is left, or memory would not do.
    """
    return open_genes(config).data


def open_genes(config: ExpressionConfig) -> Loaded:
    """The same with a tally of what was left out."""
    with naming(config.source):
        return _open(config)


def prepare(config: ExpressionConfig, loaded: Loaded, fold: int | None = None) -> Prepared:
    """Split genes, keep distal segments of the parts apart, and make targets; what `predict_genes` and scores take.

    Raises
    ------
    GenopredError
        If a part has too few genes, or a cell type nothing to learn.
    """
    split = split_genes(config, loaded.data, fold)
    with naming(config.source):
        data, gone = kept_apart(loaded.data, split)
        transform, targets = make_targets(data, split, config.expression, batches_of(config, data.cells))
    tally = align.Tally(loaded.tally.report())
    ids = data.genes["gene_id"].to_numpy()
    for why in dict.fromkeys(split.why[split.part == ""].tolist()):
        tally.drop("genes", why, ids[(split.part == "") & (split.why == why)].tolist())
    for name in dict.fromkeys(split.part[split.part != ""].tolist()):
        tally.note("genes", f"for {name}", int((split.part == name).sum()))
    if loaded.data.weights is not None:
        tally.drop("distal segments", "read by another part of the split", gone)
    return Prepared(data, split, transform, targets, gene_shape(config, data), tally.report())


def gene_shape(config: ExpressionConfig, data: GeneData) -> GeneShape:
    """What a network reads of these genes."""
    far = 0 if data.segments is None else config.contacts.segments
    inputs, motifs, names = config.inputs, (), ()
    if "inputs.motifs" in config.paths:
        from genopred.io.motifs import read_motifs

        found = read_motifs(config.paths["inputs.motifs"])
        # a base that was never seen has a hundredth
        odds = [
            np.log((np.clip(one.matrix, 0.01, None) / np.clip(one.matrix, 0.01, None).sum(1, keepdims=True)) / 0.25)
            for one in found
        ]
        motifs = tuple(tuple(tuple(float(round(x, 4)) for x in row) for row in one) for one in odds)  # type: ignore[assignment]
        names = tuple(one.id for one in found)  # type: ignore[assignment]
    what = Composition(inputs.gc, inputs.kmers, motifs, names)
    segment = config.contacts.segment if far else 0
    return GeneShape(config.genes.before, config.genes.after, len(data.track_names), far, segment, what)


def genes_table(made: Prepared) -> pl.DataFrame:
    """A row a gene: what it is, its part and block, why it is left out, and its targets."""
    table = made.data.genes.with_columns(
        pl.Series("split", made.split.part), pl.Series("block", made.split.block), pl.Series("why", made.split.why)
    )
    cells = [pl.Series(name, made.targets[:, c]).fill_nan(None) for c, name in enumerate(made.data.cells)]
    return table.with_columns(cells)


def _open(config: ExpressionConfig) -> Loaded:
    tally = align.Tally()
    fasta = open_fasta(config.paths["genes.fasta"])
    wanted = config.genes.chromosomes or fasta.chroms
    lengths = {chrom: fasta.length(chrom) for chrom in wanted}
    genes, bases = genes_of(config, lengths, tally)
    measured, cells, of_table = measured_of(config, genes, lengths, tally)
    if config.expression.unit == "counts" and of_table is not None:
        bases = of_table
    known: NDArray[np.bool_] = np.isfinite(measured).any(axis=1)  # type: ignore[assignment]
    tally.drop("genes", "no expression", genes["gene_id"].to_numpy()[~known].tolist())
    genes, measured, bases = genes.filter(known), measured[known], None if bases is None else bases[known]
    some(genes, tally, "has expression")
    flank = config.training.shift
    check_gene_memory(config, genes.height, len(cells), gene_shape_without_motifs(config))
    codes = codes_of(fasta, genes, flank)
    much = (codes[:, flank : codes.shape[1] - flank] == N_CODE).mean(axis=1) > config.genes.max_n
    tally.drop("genes", f"more than {config.genes.max_n:.0%} N", genes["gene_id"].to_numpy()[much].tolist())
    genes, measured, codes, bases = (
        genes.filter(~much),
        measured[~much],
        codes[~much],
        None if bases is None else bases[~much],
    )
    some(genes, tally, f"has at most {config.genes.max_n:.0%} N in its window (genes.max_n)")
    unit = config.expression.unit if config.expression.file else "signal"
    data = GeneData(
        genes, tuple(cells), measured.astype(np.float32), unit, codes, flank, step=config.inputs.step,
        families=families_of(config, genes), bases=bases, lengths=lengths,
    )  # fmt: skip
    data = with_tracks(config, with_segments(config, data, fasta, tally))
    tally.use("genes", "in a part of the split")
    log.info("%s genes, %d cell types", f"{genes.height:,}", len(cells))
    return Loaded(data, tally)


def gene_shape_without_motifs(config: ExpressionConfig) -> GeneShape:
    """As far as memory asks: without reading any file."""
    far = config.contacts if config.distal else None
    what = Composition(config.inputs.gc, config.inputs.kmers)
    segments = (far.segments, far.segment) if far else (0, 0)
    return GeneShape(config.genes.before, config.genes.after, len(config.tracks), *segments, what)
