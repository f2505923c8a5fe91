"""The page of `genopred fit-moments`: methods compared as of a stack, the sites, and models in sites left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from genopred.report.page import Section, render_page, write_page
from genopred.report.tables import Cell, GeneNames, Grid, count, number


def write(result: Any, sites: Sequence[tuple[str, int, int, int, int]], info: Mapping[str, Any]) -> None:
    """Write the page of a `genopred.pipelines.fit_moments.Federated`.

    Parameters
    ----------
    result : Federated
    sites : sequence of tuple
        Of each site name, people, folds, covariates and genes.
    info : mapping
        What to state of the settings, for `genopred.report.page.render_page`; `stack` is the main method.
    """
    names = GeneNames(result.symbols)
    html = render_page(
        title="genopred fit-moments",
        summary=result.summary,
        scores=result.scores,
        report=result.report,
        info=dict(info),
        sections=(held_out_section(result.loso, str(info["stack"]), names), sites_section(sites)),
        names=names,
    )
    write_page(result.page, html)


def held_out_section(loso: pl.DataFrame, main: str, names: GeneNames) -> Section:
    """Models trained without a site, in that site: means over genes of each method, and each gene of the main one.

    Parameters
    ----------
    loso : polars.DataFrame
        site, gene_id, method, n, r2, pearson, slope.
    main : str
        The method whose genes are listed.
    names : GeneNames
    """
    places = loso["site"].unique(maintain_order=True).to_list()
    means = loso.group_by("method", "site").agg(
        pl.col("n").max(), pl.col("r2", "pearson").mean(), pl.col("slope").median()
    )
    known = {(row["method"], row["site"]): row for row in means.iter_rows(named=True)}
    first = means.group_by("method").agg(pl.col("r2").mean()).sort("r2", descending=True)["method"].to_list()
    headings = ["Method", *(f"{what} in {site}" for site in places for what in ("R²", "r", "slope"))]
    rows = []
    for method in first:
        cells = [Cell(method)]
        for site in places:
            row = known[method, site]
            cells += [
                Cell(number(row[key], digits), value=row[key])
                for key, digits in (("r2", 4), ("pearson", 3), ("slope", 2))
            ]
        rows.append(cells)
    genes = loso.filter(pl.col("method") == main)
    best = genes.group_by("gene_id").agg(pl.col("r2").mean()).sort("r2", descending=True)["gene_id"].to_list()
    of = {(row["gene_id"], row["site"]): row for row in genes.iter_rows(named=True)}
    each = []
    for gene in best:
        values = [of[gene, site][key] for site in places for key in ("r2", "pearson")]
        each.append([names.cell(gene), *(Cell(number(value, 3), value=value) for value in values)])
    text = (
        "Each site in turn is left out: models are trained and tuned on the others, and predict its people, whom "
        "nothing in the training has seen. R² is 1 − SSE/SST in that site, r the correlation, slope that of measured "
        "on predicted expression (1 where predictions are as wide as they should be).",
    )
    means_table = (Grid(headings, rows), "Means over genes; of slopes the median.")
    gene_table = (
        Grid(["Gene", *(f"{what} in {site}" for site in places for what in ("R²", "r"))], each),
        f"{main}, gene by gene, the best first.",
    )
    return Section("Sites left out", text, tables=(means_table, gene_table))


def sites_section(sites: Sequence[tuple[str, int, int, int, int]]) -> Section:
    """The sites: name, people, folds, covariates, genes."""
    rows = [[Cell(name), *(Cell(count(value), value=value) for value in values)] for name, *values in sites]
    text = (
        "Sums over people came from the sites, no person: intervals of R² are therefore of the jackknife over sites "
        "and folds, and rank correlations and absolute errors, which need people, are not known.",
    )
    grid = Grid(["Site", "People", "Folds", "Covariates", "Genes"], rows)
    return Section("Sites", text, tables=((grid, "Sites whose sums were added."),))
