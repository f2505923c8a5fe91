"""How much a random split among genes that lie close together promises beyond what a block split finds."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.training.gene_scores import gene_pearson
from genopred.training.genes import GeneData, GeneSplit
from genopred.training.inflation import inflation_table, lines_of, share_seen
from genopred.training.networks.gene import GeneNetwork
from genopred.training.tasks.expression import ExpressionTask


def gene_inflation(
    random: ExpressionTask, random_network: GeneNetwork, block: ExpressionTask, block_network: GeneNetwork
) -> pl.DataFrame:
    """How much a random split promises beyond what a block split finds, a row a cell type.

    Both networks are scored (Pearson over genes) on the test genes of their own split, as they would be reported; and
    both on the genes that both splits test.

    Returns
    -------
    polars.DataFrame
        A row a cell type: cell; random, block (own test genes); random_same, block_same (the same genes, null
        where there are too few); genes_random, genes_block, genes_same; seen (share of the random
        split's test genes whose window overlaps that of a training gene).
    """
    rows = {"random": random.split.rows("test"), "block": block.split.rows("test")}
    rows["same"] = np.intersect1d(rows["random"], rows["block"])
    tasks = {"random": (random, random_network), "block": (block, block_network)}

    def scored(name: str, which: NDArray[np.int64]) -> NDArray[np.float64]:
        task, network = tasks[name]
        return gene_pearson(task.predict(network, which), task.targets[which])

    scores = {name: scored(name, rows[name]) for name in tasks}
    scores |= {f"{name}_same": scored(name, rows["same"]) for name in tasks}
    counts = {"genes": {name: len(which) for name, which in rows.items()}}
    seen = share_of_genes_seen(random.data, random.split)
    return inflation_table({"cell": list(random.data.cells)}, scores, counts, seen)


def share_of_genes_seen(data: GeneData, split: GeneSplit) -> float:
    """Share of the test genes whose window overlaps that of a training gene."""
    chroms, starts = data.genes["chrom"].to_numpy(), data.genes["start"].to_numpy()
    test, training = ((chroms[rows], starts[rows]) for rows in (split.rows("test"), split.rows("train")))
    return share_seen(test, training, data.window)


def gene_inflation_lines(table: pl.DataFrame) -> list[str]:
    """What the table of `gene_inflation` says, for the screen."""
    first = table.row(0, named=True)
    inflated = (
        f"windows of {first['seen']:.0%} of its {first['genes_random']:,} test genes overlap windows of training genes."
    )
    none = "" if table["block_same"].drop_nulls().len() else "Too few test genes are common to both splits"
    return lines_of(table, "genes", inflated, "Pearson over genes, mean over cell types", "their neighbours", none)
