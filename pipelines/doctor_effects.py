"""Models, score files and summary statistics: what they say, and how much of it is among the genotypes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from genopred import align
from genopred.errors import GenopredError, examples
from genopred.genetics.correlation import pearson
from genopred.genetics.transform import known_means
from genopred.learning.fitted import score_variance
from genopred.pipelines.doctor_files import Files, Opened
from genopred.pipelines.doctor_findings import Finding, amber, green, red, refused
from genopred.types import VARIANT, Genotypes

#: Variants that frequencies are compared at; and the share of variants that must match, of `--min-match`.
MOST_FREQUENCIES, MATCH = 2000, 0.75


def effects(files: Files) -> Iterator[Finding]:
    """How much of models, scores and summary statistics is among the genotypes, and whether frequencies agree."""
    for one in files.of("models", "sumstats", "score"):
        yield from _stated(one)
        for typed in files.genotypes:
            yield from _matched(one, typed)


def _stated(one: Opened) -> Iterator[Finding]:
    if one.kind == "models":
        models = one.content
        said = (
            f"models of {models.genes['gene_id'].n_unique():,} genes, {models.weights.height:,} weights, "
            f"methods {examples(models.methods)}."
        )
        yield green(one.name, said, "models")
        return
    table = one.content
    if one.kind == "score":
        yield green(one.name, f"{table.height:,} weights of {table['score'].n_unique():,} scores.", "score")
        return
    beta, se, p = (table[name] for name in ("beta", "se", "pval"))
    if not beta.count():
        said = (
            f"{table.height:,} variants with p-values and no effects (beta or odds_ratio); scores and TWAS need them."
        )
        yield red(one.name, said, "Add the columns beta and standard_error.", "effects")
    elif (beta.drop_nulls() >= 0).all() and beta.count() > 20:
        said = f"all {beta.count():,} effects are positive: odds ratios named beta, or absolute values."
        yield red(one.name, said, "Name the column odds_ratio, or take its logarithm.", "effects")
    else:
        yield green(one.name, f"effects of {table.height:,} variants.", "effects")
    both = pl.DataFrame([beta, se, p]).drop_nulls().filter(pl.col("se") > 0, pl.col("pval") > 1e-300)
    if both.height > 20:
        from scipy.stats import norm

        z = norm.isf(both["pval"].to_numpy() / 2)
        off = np.abs((both["beta"] / both["se"]).abs().to_numpy() - z) > 0.2 + 0.1 * z
        if off.mean() > 0.05:
            said = f"beta / standard_error does not give the p-value in {off.mean():.0%} of {both.height:,} variants."
            remedy = "Check which columns are effect, standard error and p-value, and the effect's scale."
            yield amber(one.name, said, remedy, "effects")


def _matched(one: Opened, typed: Opened) -> Iterator[Finding]:
    about = f"{typed.name} + {one.name}"
    held: Genotypes = typed.content
    table = one.content.weights if one.kind == "models" else one.content
    if one.kind == "models":
        table = table.with_columns(size=score_variance())
        table = table.group_by(VARIANT, maintain_order=True).agg(pl.col("size").sum(), af=pl.col("freq").first())
    elif one.kind == "score":
        table = table.group_by(VARIANT, maintain_order=True).agg(size=pl.col("weight").abs().sum())
    names = (typed.name, one.name)
    chosen: dict[str, Any] = {"names": names, "builds": (typed.build, one.build)}
    size = table["size"].to_numpy() if "size" in table.columns else None
    floor = {
        "weight": size,
        "either": one.kind == "sumstats",
        "by_weight": one.kind == "models" and size is not None and bool(size.any()),
    }
    try:
        found = align.match_weights(held.variants, table, ambiguous="keep", **chosen)
        share = align.require_match(held.variants, table, found, MATCH, **floor, **chosen)
    except GenopredError as bad:
        finding = refused(bad, about, "match")
        more = "" if "lower --" in finding.remedy or not finding.remedy else f" {finding.remedy}"
        said = f"{finding.said}{more}"
        remedy = "Give genotypes with the models' variants, named alike and of one build (predict has --chain)."
        yield red(about, said, remedy, "match")
        return
    swapped = found.count("swapped") + found.count("strand-flipped and swapped")
    level = "green" if share >= 0.9 else "amber"
    what = "of the models' variance is" if one.kind == "models" else "of the variants are"
    said = (
        f"{share:.1%} {what} found, {int((found.fate < 4).sum()):,} variants ({swapped:,} with alleles "
        "swapped, put right)."
    )
    remedy = "" if level == "green" else "Impute the genotypes, or take models made for these variants."
    yield Finding(level, about, said, remedy, "match")
    if "af" in table.columns and table["af"].count() > 50:
        yield from _frequencies(about, held, table, found)


def found_by_id(one: Opened, typed: Opened) -> bool:
    """Whether nearly all variants of models have the ids of variants among the genotypes."""
    ids = one.content.weights["id"].drop_nulls().unique()
    met = ids.is_in(typed.content.variants["id"].implode())
    return bool(ids.len()) and float(met.sum()) >= 0.9 * one.content.weights.n_unique(subset=VARIANT)


def _frequencies(about: str, held: Genotypes, table: pl.DataFrame, found: align.Harmonised) -> Iterator[Finding]:
    stated = table["af"].cast(pl.Float64).to_numpy()[found.b]
    use = np.flatnonzero(~np.isnan(stated))
    use = use[np.unique(np.linspace(0, len(use) - 1, min(MOST_FREQUENCIES, len(use))).astype(int))] if len(use) else use
    if len(use) < 50:
        return
    own = known_means(held.dosage(found.a[use])) / 2
    theirs = np.where(found.sign[use] > 0, stated[use], 1 - stated[use])
    r = float(pearson(own, theirs, constant=1.0))
    away = float(np.mean(np.abs(own - theirs) > 0.2))
    if r < 0:
        said = (
            f"allele frequencies are opposite (r = {r:.2f} at {len(use):,} variants): those stated are of the "
            "other allele."
        )
        yield red(about, said, "Check which allele is the effect allele.", "frequencies")
    elif r < 0.9 or away > 0.1:
        said = f"allele frequencies agree badly (r = {r:.2f}; {away:.0%} of {len(use):,} differ by more than 0.2)."
        yield amber(about, said, "Check ancestry, strand and build of both.", "frequencies")
    else:
        said = f"allele frequencies agree (r = {r:.2f} at {len(use):,} variants)."
        yield green(about, said, "frequencies")
