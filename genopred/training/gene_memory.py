"""Whether a training on genes has enough memory: what it takes against what is free, said before sequence is read."""

from __future__ import annotations

from genopred.training.config_expression import ExpressionConfig
from genopred.training.enough_memory import check_free
from genopred.training.memory import gene_training_bytes, least_gene_bytes
from genopred.training.networks.gene import GeneShape


def gene_bytes(n_genes: int, n_cells: int, shape: GeneShape, flank: int, step: int) -> int:
    """Bytes that `GeneData` of so many genes holds.

    >>> gene_bytes(1000, 3, GeneShape(before=10_000, after=1_000), flank=0, step=16)
    11012000
    """
    whole = shape.window + 2 * flank
    near = whole + 4 * shape.tracks * -(-whole // step)
    far = shape.segments * (shape.segment + 4 * shape.tracks * -(-shape.segment // step) + 20)
    return n_genes * (near + far + 4 * n_cells)


def check_gene_memory(config: ExpressionConfig, n_genes: int, n_cells: int, shape: GeneShape) -> None:
    """Refuse what does not fit.

    Raises
    ------
    GenopredError
        Where genes and training need more than is free.
    """
    batch, flank = config.training.batch, config.training.shift
    held = gene_bytes(n_genes, n_cells, shape, flank, config.inputs.step)
    # while it is read, a track is there base by base
    held += 4 * n_genes * (shape.window + 2 * flank) if shape.tracks else n_genes * shape.window
    works = (
        count(config.kind, n_cells, shape, batch, config.built) for count in (least_gene_bytes, gene_training_bytes)
    )
    remedy = "Use fewer genes (genes.types, genes.chromosomes), a smaller window, training.batch or network."
    check_free(config.training, held, works, f"{n_genes:,} genes", remedy)
