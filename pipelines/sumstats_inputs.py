"""The way in of another study: its effects and the LD panel, matched to the cohort's variants gene by gene."""

from __future__ import annotations

import glob
import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.errors import AlignmentError, GenopredError
from genopred.genetics.associate import z_scores
from genopred.io.eqtlstats import EqtlStats, read_eqtl_stats
from genopred.pipelines.sumstats_panel import (
    PeopleOfGene,
    PeoplePanel,
    SitePanel,
    SumsOfGene,
    open_panel,
    panel_kind,
)
from genopred.settings import Stack
from genopred.types import VARIANT_SCHEMA, Cohort, Genotypes, Interval, plain_chrom, plain_gene

log = logging.getLogger("genopred.stack")

#: What the report calls the study's variants.
STUDY = "other study's variants"


@dataclass(frozen=True)
class GeneStudy:
    """What another study says of one gene's window, for the worker that learns from it.

    Attributes
    ----------
    z, n, af : array, shape (W,)
        Of each variant of the window, of the cohort's ALT: effect over standard error, people, frequency; NaN where
        the study has none.
    ambiguous : array of bool, shape (W,)
        A/T and C/G variants, whose alleles were believed.
    panel : PeopleOfGene or SumsOfGene
        LD between the window's variants.
    """

    z: NDArray[np.float64]
    n: NDArray[np.float64]
    af: NDArray[np.float64]
    ambiguous: NDArray[np.bool_]
    panel: PeopleOfGene | SumsOfGene


@dataclass(frozen=True)
class OtherStudy:
    """Another study, matched to the cohort.

    Attributes
    ----------
    table : polars.DataFrame
        gene (without version), column (of the cohort's genotypes), z, n, af (of the cohort's ALT), ambiguous; sorted.
    rows : dict
        Of each gene, where its rows begin and end.
    panel : PeoplePanel or SitePanel
    """

    table: pl.DataFrame = field(repr=False)
    rows: dict[str, tuple[int, int]] = field(repr=False)
    panel: PeoplePanel | SitePanel

    def of_gene(self, cohort: Cohort, i: int, size: int) -> GeneStudy:
        """What it says of the window of the cohort's gene `i`."""
        gene = cohort.expression.genes.row(i, named=True)
        columns = cohort.genotypes.index(Interval.around(gene["chrom"], gene["tss"], size))
        values = {name: np.full(len(columns), np.nan) for name in ("z", "n", "af")}
        ambiguous = np.zeros(len(columns), dtype=bool)
        start, end = self.rows.get(plain_gene(gene["gene_id"]), (0, 0))
        part = self.table[start:end]
        place = np.full(cohort.genotypes.n_variants, -1)
        place[columns] = np.arange(len(columns))
        at = place[part["column"].to_numpy()]
        inside = at >= 0
        for name, column in values.items():
            column[at[inside]] = part[name].to_numpy()[inside]
        ambiguous[at[inside]] = part["ambiguous"].to_numpy()[inside]
        panel = self.panel.of_gene(gene["gene_id"], columns, cohort.genotypes.variants[columns])
        return GeneStudy(**values, ambiguous=ambiguous, panel=panel)


def open_study(settings: Stack, cohort: Cohort, tally: align.Tally) -> OtherStudy | None:
    """Read another study's effects and open its LD panel, if there is one; what was lost goes into the tally.

    Raises
    ------
    GenopredError
        If a file is bad, no gene or variant is shared, or nobody says how many people the study had.
    """
    if settings.sumstats is None or settings.ld is None:
        return None
    genes = {plain_gene(gene) for gene in cohort.expression.genes["gene_id"].to_list()}
    stats = read_eqtl_stats(settings.sumstats, genes)
    panel = open_panel(settings.ld, cohort, tally)
    table = _match_study(settings, cohort, stats, tally)
    table = table.sort("gene", "column", maintain_order=True)
    ends = table.with_row_index("row").group_by("gene", maintain_order=True)
    bounds = ends.agg(pl.col("row").min().alias("start"), (pl.col("row").max() + 1).alias("end"))
    rows = {gene: (int(start), int(end)) for gene, start, end in bounds.iter_rows()}
    tally.note("genes", "with effects of another study", len(rows))
    log.warning(
        f"--sumstats {settings.sumstats}: people who are in that study and in this cohort make accuracy look better "
        "than it is. Nothing in the files names them: that nobody is in both is yours to see to (--remove)."
    )
    return OtherStudy(table, rows, panel)


def study_files(settings: Stack) -> dict[str, tuple[Path, ...]]:
    """The files behind `sumstats` and `ld`, which results depend on."""
    if settings.sumstats is None or settings.ld is None:
        return {}
    name = str(settings.sumstats)
    files = sorted(glob.glob(name)) if "*" in name else [name]
    _, prefix, suffixes = panel_kind(settings.ld)
    return {
        "sumstats": tuple(Path(file) for file in files),
        "ld": tuple(Path(f"{prefix}{suffix}") for suffix in suffixes),
    }


def _match_study(settings: Stack, cohort: Cohort, stats: EqtlStats, tally: align.Tally) -> pl.DataFrame:
    """Rows of the study on the cohort's variants: gene, column, z, n, af, ambiguous."""
    data, known = stats.data, cohort.genotypes
    columns = (data[name].fill_null(np.nan).to_numpy() for name in ("beta", "se", "pval"))
    made = pl.Series(z_scores(*columns)).fill_nan(None)
    # effect over standard error where there are both: z in a column may be rounded
    own = pl.when(pl.col("se") > 0).then(pl.col("beta") / pl.col("se"))
    data = data.with_columns(z=pl.coalesce(own, pl.col("z"), pl.lit(made)))
    if settings.sumstats_n is not None:
        data = data.with_columns(n=pl.lit(settings.sumstats_n))
    if data["n"].null_count() == data.height:
        raise GenopredError(
            f"{stats.source} does not say how many people were studied (no column n, NrSamples, an, or ma_count with "
            "af); give --sumstats-n N."
        )
    item = "other study's gene-variant pairs"
    tally.come(item, "of the cohort's genes", data.height + sum(n for _, _, n, _ in stats.notes))
    tally.add(item, stats.notes)
    lost = ~data["z"].is_finite().fill_null(False)
    tally.drop(item, "no effect with standard error or p-value, and no z", int(lost.sum()))
    data = _with_alleles(data.filter(~lost), known, tally)
    keys = list(VARIANT_SCHEMA)
    distinct = data.select(keys).unique(maintain_order=True)
    names, builds = (known.source, stats.source), (align.known_build(known), stats.build)
    found = align.harmonise(known.variants, distinct, ambiguous="keep", shared=True, names=names, builds=builds)
    tally.come(STUDY, f"in {stats.source}, of the cohort's genes", distinct.height)
    tally.add(STUDY, found.notes)
    share = len(np.unique(found.a)) / max(distinct.height, 1)
    if share < 0.5:
        log.warning(f"only {share:.0%} of the {distinct.height:,} variants of {stats.source} are the cohort's")
    pairs = distinct[found.b].with_columns(column=pl.Series(found.a), sign=pl.Series(found.sign))
    joined = data.join(pairs, on=keys, how="inner", nulls_equal=True, maintain_order="left")
    tally.drop(item, "variant not in the cohort, or other alleles", data.height - joined.height)
    once = joined.unique(["gene", "column"], keep="first", maintain_order=True)
    tally.drop(item, "variant listed more than once", joined.height - once.height)
    if not once.height:
        raise AlignmentError(f"{stats.source} and {known.source} share no variant of a shared gene.")
    swapped = pl.col("sign") < 0
    return once.select(
        "gene",
        "column",
        z=pl.col("z") * pl.col("sign"),
        n="n",
        af=pl.when(swapped).then(1 - pl.col("af")).otherwise("af"),
        ambiguous=_complementary(),
    )


def _complementary() -> pl.Expr:
    pair = pl.concat_str("ref", "alt").fill_null("")
    return pair.is_in(["AT", "TA", "CG", "GC"])


def _with_alleles(data: pl.DataFrame, known: Genotypes, tally: align.Tally) -> pl.DataFrame:
    """The same with the cohort's alleles where the study gives none: its effects are then taken to be of ALT."""
    bare = pl.col("ref").is_null() & pl.col("alt").is_null()
    if not data.select(bare.any()).item():
        return data
    plain = {name: plain_chrom(name) for name in known.variants["chrom"].unique().to_list()}
    there = known.variants.with_columns(pl.col("chrom").replace(plain))
    whole = data.with_row_index("row")
    for keys in (["id"], ["chrom", "pos"]):
        table = there.unique(keys, keep="none", maintain_order=True)
        others = [name for name in VARIANT_SCHEMA if name not in keys]
        table = table.select(*keys, *(pl.col(name).alias(f"{name}_known") for name in others))
        lacking = whole.filter(bare).select("row", *keys).drop_nulls(keys).join(table, on=keys, how="inner")
        named = lacking.drop(keys).unique("row", keep="first")
        whole = whole.join(named, on="row", how="left", maintain_order="left")
        filled = [name.removesuffix("_known") for name in named.columns if name.endswith("_known")]
        empty = bare & pl.col("ref_known").is_not_null()
        whole = whole.with_columns(
            pl.when(empty).then(f"{name}_known").otherwise(name).alias(name) for name in filled
        ).drop(f"{name}_known" for name in filled)
    n = data.select(bare.sum()).item() - whole.select(bare.sum()).item()
    if n:
        tally.note("other study's gene-variant pairs", "no alleles: effects taken to be of the cohort's ALT", int(n))
        log.warning(f"{n:,} rows of the other study give no alleles: their effects are taken to be of the cohort's ALT")
    return whole.drop("row")
