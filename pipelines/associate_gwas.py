"""Association of genes with a trait from the summary statistics of its GWAS, and LD."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.errors import AlignmentError, GenopredError, examples
from genopred.genetics import associate as tests
from genopred.io.predictdb import read_covariances
from genopred.io.sumstats import read_sumstats, sumstats_build
from genopred.learning.fitted import score_variance
from genopred.pipelines.inputs import open_filtered
from genopred.pipelines.model_inputs import (
    chosen_models,
    linear_method,
    match_models,
    open_models,
    reference_dosage,
    weights_of,
)
from genopred.pipelines.run import Run
from genopred.settings import Associate
from genopred.types import VARIANT, GeneModels

log = logging.getLogger("genopred.associate")

#: Columns of what comes out, but for the q-values.
FIRST = (
    "trait", "gene_id", "gene_name", "chrom", "tss", "n", "effect", "se", "z", "pval", "variants", "used",
    "variance_found", "r2",
)  # fmt: skip


def of_summaries(settings: Associate, job: Run, genes: Any, tally: align.Tally) -> pl.DataFrame:
    """Every gene's z from the GWAS, by the LD of a reference."""
    assert settings.models is not None and settings.sumstats is not None  # noqa: S101 - the settings hold them
    models = open_models(settings.models)
    method = linear_method(models, settings.method)
    about = chosen_models(models, method, genes, tally)
    weights = weights_of(models, method, about)
    gwas = _gwas(settings, models, weights, tally)
    weights = weights.join(gwas, on=VARIANT, how="left", nulls_equal=True, maintain_order="left")
    whole = dict(weights.group_by("gene_id").agg(score_variance().sum()).iter_rows())
    rows, seen = [], 0.0
    for done, (gene, part, covariance) in enumerate(_with_ld(settings, models, about, weights, tally), start=1):
        weight = part["weight"].to_numpy()
        if models.about.get("per_sd"):  # FUSION's, of a genotype with standard deviation 1
            sd = np.sqrt(np.diag(covariance))
            weight = np.where(sd > 0, weight / np.where(sd > 0, sd, 1.0), 0.0)
        found = tests.summary(weight, covariance, part["z_gwas"].to_numpy(), part["beta_gwas"].to_numpy())
        there = part.filter(pl.col("z_gwas").is_finite())
        of, people = float(there.select(score_variance().sum()).item() or 0.0), there["n_gwas"].fill_nan(None).median()
        share, seen = of / whole[gene] if whole.get(gene) else None, seen + of
        rows.append((gene, people, found.effect, found.z, there.height, share))
        job.step(done, about.height, gene)
    if seen < settings.min_match * sum(whole.values()):
        raise AlignmentError(
            f"only {seen / sum(whole.values()):.1%} of {models.source}, by the variance it explains, is in both "
            f"{settings.sumstats} and the LD reference (the floor is {settings.min_match:.0%}). If that is as it "
            "should be, lower --min-match."
        )
    kinds: dict[str, Any] = {"gene_id": pl.String, "n": pl.Float64, "effect": pl.Float64, "z": pl.Float64}
    kinds |= {"used": pl.Int64, "variance_found": pl.Float64}
    table = about.drop("n", "pval", "qval").join(
        pl.DataFrame(rows, kinds, orient="row"), on="gene_id", maintain_order="left"
    )
    table = table.with_columns(pl.col("n").round().cast(pl.Int64), trait=pl.lit(settings.sumstats.name))
    z = table["z"].fill_null(np.nan).to_numpy()
    extra = []
    if settings.gwas_n is not None and settings.gwas_h2 is not None:
        unknown = table.filter(pl.col("phi").is_null())["gene_id"].to_list()
        if len(unknown) == table.height:
            raise GenopredError(f"--gwas-n and --gwas-h2: {models.source} has no phi, which the correction needs.")
        tally.note("genes", "without phi: z not corrected", unknown)
        table = table.with_columns(pl.col("z").alias("z_uncorrected"))
        z = tests.deflated(z, table["phi"].fill_null(0.0).to_numpy(), settings.gwas_n, settings.gwas_h2)
        extra = ["z_uncorrected", "phi"]
    table = table.with_columns(pl.Series("z", z), pl.Series("pval", tests.two_sided(z)))
    lost = table.filter(pl.col("z").is_nan())["gene_id"].to_list()
    tally.drop("genes", "no variant in the GWAS and the LD reference, or a score that does not vary", lost)
    table = table.filter(~pl.col("z").is_nan())
    tally.use("genes", "tested", table.height)
    if not table.height:
        raise AlignmentError(f"no gene of {models.source} can be tested with {settings.sumstats}.")
    poor = table.filter(pl.col("variance_found") < settings.min_match)["gene_id"].to_list()
    if poor:
        words = f"with less than {settings.min_match:.0%} of their variance in the GWAS"
        log.warning(f"{len(poor)} genes {words} ({examples(poor)})")
        tally.note("genes", words, poor)
    se = pl.col("effect") / pl.col("z")
    return table.with_columns(se=se).select(*FIRST, *extra)


def _gwas(settings: Associate, models: GeneModels, weights: pl.DataFrame, tally: align.Tally) -> pl.DataFrame:
    """z and effect of the models' variants in the GWAS, counted as the models count alleles."""
    path = settings.sumstats
    assert path is not None  # noqa: S101 - the settings hold one
    table = read_sumstats(path)
    beta, se, pval = (table[name].fill_null(np.nan).to_numpy() for name in ("beta", "se", "pval"))
    table = table.with_columns(z=pl.Series(tests.z_scores(beta, se, pval))).filter(pl.col("z").is_finite())
    if not table.height:
        raise AlignmentError(f"{path}: no row has an effect and its standard error or p-value.")
    distinct = weights.group_by(VARIANT, maintain_order=True).agg(score_variance().sum().alias("size"))
    names, builds = (str(path), models.source), (sumstats_build(path), models.build)
    found = align.match_weights(table, distinct, ambiguous=settings.ambiguous, names=names, builds=builds)
    align.require_match(
        table, distinct, found, settings.min_match, names=names, weight=distinct["size"].to_numpy(), by_weight=True,
        builds=builds,
    )  # fmt: skip
    tally.come("models' variants", f"in {models.source}", distinct.height)
    tally.add("models' variants", found.notes)
    values = {name: np.full(distinct.height, np.nan) for name in ("z", "beta", "n")}
    for name, out in values.items():
        column = table[name].cast(pl.Float64).fill_null(np.nan).to_numpy()[found.a]
        out[found.b] = column if name == "n" else column * found.sign
    return distinct.select(VARIANT).with_columns(
        *(pl.Series(f"{name}_gwas", column) for name, column in values.items())
    )


def _with_ld(
    settings: Associate, models: GeneModels, about: pl.DataFrame, weights: pl.DataFrame, tally: align.Tally
) -> Iterator[tuple[str, pl.DataFrame, NDArray[np.float64]]]:
    """Each gene's weights, and the covariance of its variants."""
    parts: dict[Any, pl.DataFrame] = weights.partition_by("gene_id", as_dict=True)
    if settings.covariances is not None:
        held = read_covariances(settings.covariances)
        for gene in about["gene_id"].to_list():
            names, matrix = held.get(gene, ([], np.zeros((0, 0))))
            place = {name: i for i, name in enumerate(names)}
            part = parts.get((gene,), weights.clear())
            part = part.filter(pl.col("id").is_in(names))
            rows = np.array([place[name] for name in part["id"].to_list()], dtype=np.int64)
            yield gene, part, matrix[np.ix_(rows, rows)]
        return
    _, people, counts = open_filtered(settings)
    matched = match_models(models, people, weights, settings.min_match, settings.ambiguous, counts)
    tally.join(counts.report(), "LD reference: ")
    parts = matched.partition_by("gene_id", as_dict=True)
    for gene in about["gene_id"].to_list():
        part = parts.get((gene,), matched.clear())
        there = part.filter(pl.col("column").is_not_null())
        x = reference_dosage(people, there)
        yield gene, there, np.atleast_2d(np.cov(x, rowvar=False)) if there.height else np.zeros((0, 0))
