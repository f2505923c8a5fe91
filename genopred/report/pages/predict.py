"""What is shown of models that were applied to people kept aside."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from genopred.report import figures as draw
from genopred.report.tables import GeneNames

if TYPE_CHECKING:
    from genopred.report.page import Section

#: Genes with a picture.
_SHOWN = 3


def aside_line(genes: pl.DataFrame, people: int) -> str:
    """In a sentence: what was promised and what was reached.

    Parameters
    ----------
    genes : polars.DataFrame
        gene_id, promised, reached.
    people : int
        Kept aside.
    """
    promised, reached = (genes[name].to_numpy().mean() for name in ("promised", "reached"))
    return (
        f"Models trained without {people} people, written to files and applied to these: on average over "
        f"{genes.height} genes they explain {100 * reached:.1f} % of the differences between them; cross-validation "
        f"without them had promised {100 * promised:.1f} %."
    )


def aside_section(
    genes: pl.DataFrame, predictions: pl.DataFrame, people: int, folder: str, names: GeneNames
) -> Section:
    """Models applied to people who had no part in them.

    Parameters
    ----------
    genes : polars.DataFrame
        gene_id, promised, reached, low, high, pearson.
    predictions : polars.DataFrame
        Columns of `genopred.types.PREDICTION_SCHEMA`, of one method.
    people : int
    folder : str
        Of the models, as it is to be typed.
    names : GeneNames
    """
    from genopred.report.page import Section

    method = predictions["method"][0]
    best = genes.sort("promised", descending=True).head(_SHOWN)
    figures = []
    for gene, r2 in best.select("gene_id", "reached").iter_rows():
        plot = partial(draw.predicted_scatter, predictions, gene, method, r2, names=names)
        figures.append((plot(), f"{names.full(gene)}: predicted and measured expression of the people kept aside."))
    table = genes.sort("promised", descending=True).select(
        pl.col("gene_id").alias("Gene"),
        pl.col("promised").alias("R² promised"),
        pl.col("reached").alias("R² reached"),
        pl.col("low").alias("from"),
        pl.col("high").alias("to"),
        pl.col("pearson").alias("Pearson r"),
    )
    text = (
        aside_line(genes, people),
        "In so few people a single gene's R² is uncertain (the interval is of 95 %): the mean over genes is what to "
        f"compare. The same for your own people: genopred predict --models {folder} --bfile NEW --out OUT.",
    )
    caption = "Genes, the best first by what cross-validation had promised."
    return Section("Models applied to people kept aside", text, tuple(figures), ((table, caption),), wide=False)
