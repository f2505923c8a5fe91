"""How much a random split among genes that lie close together promises beyond what a block split finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.training.genes import GeneData, GeneSplit
from genopred.training.networks.gene import GeneNetwork
from genopred.training.tasks.expression import ExpressionTask, gene_pearson


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

    table: dict[str, Any] = {"cell": list(random.data.cells)}
    table |= {name: scored(name, rows[name]) for name in tasks}
    table |= {f"{name}_same": scored(name, rows["same"]) for name in tasks}
    counts = {f"genes_{name}": pl.lit(len(which)) for name, which in rows.items()}
    seen = pl.lit(share_seen(random.data, random.split))
    return pl.DataFrame(table).with_columns(pl.col(pl.Float64).fill_nan(None), **counts, seen=seen)


def share_seen(data: GeneData, split: GeneSplit) -> float:
    """Share of the test genes whose window overlaps that of a training gene."""
    chroms, width = data.genes["chrom"].to_numpy(), data.window
    starts, hits = data.genes["start"].to_numpy(), 0
    test = split.rows("test")
    for chrom in np.unique(chroms[test]):
        training = split.rows("train")
        others = np.sort(starts[training[chroms[training] == chrom]])
        mine = starts[test[chroms[test] == chrom]]
        # all windows are equally wide: they overlap when they start less than that apart
        low, high = (
            np.searchsorted(others, mine - width, side="right"),
            np.searchsorted(others, mine + width, side="left"),
        )
        hits += int((high > low).sum())
    return hits / max(1, len(test))


def gene_inflation_lines(table: pl.DataFrame) -> list[str]:
    """What the table of `gene_inflation` says, for the screen."""
    first = table.row(0, named=True)

    def mean(name: str) -> str:
        values = table[name].drop_nulls().to_numpy()
        return f"{values.mean():.3f}" if len(values) else "not known"

    out = [
        f"Scores of a random split are inflated: windows of {first['seen']:.0%} of its {first['genes_random']:,} test "
        "genes overlap windows of training genes.",
        f"Pearson over genes, mean over cell types: {mean('random')} on the test genes of the random split, "
        f"{mean('block')} with a block split on its {first['genes_block']:,}.",
    ]
    if table["block_same"].drop_nulls().len():
        out.append(
            f"On the same {first['genes_same']:,} genes: {mean('random_same')} by the network of the random split, "
            f"{mean('block_same')} by the one that never saw their neighbours. Report the block split's."
        )
    else:
        out.append("Too few test genes are common to both splits; report the block split's score.")
    return out
