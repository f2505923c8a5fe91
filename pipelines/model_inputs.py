"""The way in of whatever uses trained models: open, choose method and genes, lift over, match with genotypes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.builds import lift
from genopred.errors import AlignmentError, ModelError, did_you_mean, examples
from genopred.genetics.transform import mean_filled
from genopred.io.annotation import known_symbols
from genopred.io.genemodels import read_models
from genopred.learning.fitted import score_variance
from genopred.types import MODEL_WEIGHT_SCHEMA, VARIANT, GeneModels, Genotypes, plain_gene


def open_models(path: str | Path) -> GeneModels:
    """Models from a folder of `genopred stack`, a PredictDB database (.db) or FUSION's list (.pos)."""
    kind = Path(path).suffix.lower()
    if kind == ".db":
        from genopred.io.predictdb import read_predictdb

        return read_predictdb(path)
    if kind == ".pos":
        from genopred.io.fusion import read_fusion

        return read_fusion(path)
    return read_models(path)


def models_files(path: Path) -> Path | list[Path]:
    """What resume is held against: the files that hold the models."""
    for place in (path, path / "models"):
        if (place / "models.json").is_file():
            return [place / name for name in ("models.json", "weights.parquet", "learners.parquet", "genes.parquet")]
    return path


def chosen_models(models: GeneModels, method: str, genes: Sequence[str] | None, tally: align.Tally) -> pl.DataFrame:
    """Rows of `models.genes` of one method, of the genes asked for by id (with or without version) or name."""
    about = models.genes.filter(pl.col("method") == method)
    if genes is not None:
        about = about[_find(about, genes, models.source)]
    n = models.genes["gene_id"].n_unique()
    tally.come("genes", f"in {models.source}", n)
    tally.drop("genes", "not asked for", n - about.height)
    return about


def linear_method(models: GeneModels, method: str | None) -> str:
    """The method, which must be one weight per variant."""
    name = method_of(models, method)
    if name not in models.weights["learner"].unique().to_list():
        raise ModelError(
            f"--method {name}: {models.source} holds it as more than one weight per variant; give "
            f"{examples([one for one in models.methods if one != name])}, or leave it out."
        )
    return name


def method_of(models: GeneModels, method: str | None) -> str:
    """The method asked for, or the models' own first choice."""
    if method is None:
        return str(models.about.get("default") or models.methods[0])
    if method not in models.methods:
        raise ModelError(
            f"--method {method}: {models.source} has {examples(models.methods)}.{did_you_mean(method, models.methods)}"
        )
    return method


def _find(about: pl.DataFrame, wanted: Sequence[str], source: str) -> NDArray[np.int64]:
    """Rows of the genes asked for, by id with or without version or by name."""
    ids = about["gene_id"].to_list()
    own = {plain_gene(gene): name for gene, name in zip(ids, about["gene_name"].to_list()) if name}
    rows, absent = align.look_up_genes(ids, wanted, known_symbols() | own)
    if absent:
        raise AlignmentError(
            f"{len(absent)} of {len(wanted)} genes have no model in {source} ({examples(absent)}); its genes look like "
            f"{examples(ids[:1])}."
        )
    return rows


def lifted(models: GeneModels, chain: pl.DataFrame, tally: align.Tally) -> GeneModels:
    """The models at their places in another build."""
    moved = lift(models.weights, chain)
    lost = moved["pos"].is_null() & models.weights["pos"].is_not_null()
    tally.come("weights lifted over", f"in {models.source}", moved.height)
    tally.drop(
        "weights lifted over", "no place in the other build", align.variant_names(models.weights.filter(lost)).to_list()
    )
    if lost.all():
        raise AlignmentError(
            f"--chain: none of {moved.height:,} variants of {models.source} has a place in it; is it a chain from the "
            f"models' build{f', {models.build},' if models.build else ''} to the genotypes'?"
        )
    moved = moved.with_columns(id=pl.when(lost).then(align.variant_names(models.weights)).otherwise("id"))
    learners = models.learners
    if learners is not None and learners.height:
        learners = learners.with_columns(_lifted_keys(learners["variants"], chain))
    other = {"GRCh37": "GRCh38", "GRCh38": "GRCh37"}.get(models.build or "")
    return replace(models, weights=moved, learners=learners, about=models.about | {"build": other})


def _lifted_keys(keys: pl.Series, chain: pl.DataFrame) -> pl.Series:
    parts = keys.explode().str.splitn(":", 4).struct.rename_fields(["chrom", "pos", "ref", "alt"]).struct.unnest()
    parts = parts.with_columns(pl.col("pos").cast(pl.Int64))
    moved = lift(parts, chain)
    # those that lead nowhere stay apart, each with its own mean, on a chromosome that nobody has
    moved = moved.with_columns(
        chrom=pl.coalesce("chrom", pl.lit("not lifted ") + parts["chrom"]), pos=pl.coalesce("pos", parts["pos"])
    )
    text = moved.select(pl.concat_str("chrom", "pos", "ref", "alt", separator=":")).to_series()
    size = keys.list.len().to_list()
    ends = np.cumsum(size)
    return pl.Series(
        keys.name, [text[int(end) - n : int(end)].to_list() for end, n in zip(ends, size)], pl.List(pl.String)
    )


def tree_variants(models: GeneModels, about: pl.DataFrame) -> pl.DataFrame:
    """Variants that trees and polynomials read, as weights of 0; of the same id as where they have weights."""
    assert models.learners is not None  # noqa: S101 - a stack with a method has them
    rows = models.learners.filter(
        pl.col("gene_id").is_in(about["gene_id"].implode()), pl.col("variants").list.len() > 0
    )
    flat = rows.select("gene_id", "learner", "variants", "means").explode("variants", "means")
    parts = pl.col("variants").str.splitn(":", 4).struct
    table = flat.select(
        "gene_id",
        parts.field("field_0").alias("chrom"),
        parts.field("field_1").cast(pl.Int64, strict=False).alias("pos"),
        parts.field("field_2").alias("ref"),
        parts.field("field_3").alias("alt"),
        "learner",
        pl.lit(0.0).alias("weight"),
        (pl.col("means") / 2).alias("freq"),
        pl.lit(None, pl.Float64).alias("z"),
    )
    place = ["chrom", "pos", "ref", "alt"]
    named = models.weights.select(*place, "id").unique(place, keep="first", maintain_order=True)
    return table.join(named, on=place, how="left", maintain_order="left").select(list(MODEL_WEIGHT_SCHEMA))


def weights_of(models: GeneModels, method: str, about: pl.DataFrame) -> pl.DataFrame:
    """The weights of some genes that are one per variant, without those of 0."""
    mine = pl.col("gene_id").is_in(about["gene_id"].implode())
    return models.weights.filter((pl.col("learner") == method) & (pl.col("weight") != 0) & mine)


def reference_dosage(people: Genotypes, matched: pl.DataFrame) -> NDArray[np.float64]:
    """Copies of the models' ALT in an LD reference, shape (N, M), missing ones at the mean, of matched weights."""
    x = mean_filled(people.dosage(matched["column"].to_numpy()))
    return np.where(matched["flipped"].to_numpy(), 2 - x, x)


def match_models(
    models: GeneModels,
    genotypes: Genotypes,
    weights: pl.DataFrame,
    min_match: float,
    ambiguous: str,
    tally: align.Tally,
) -> pl.DataFrame:
    """The weights with `column`, `flipped` and `fate`: where each variant is among the genotypes."""
    weights = weights.with_columns(variance=score_variance())
    distinct = weights.group_by(VARIANT, maintain_order=True).agg(pl.col("variance").sum())
    names, builds = (genotypes.source, models.source), (align.known_build(genotypes), models.build)
    found = align.match_weights(genotypes.variants, distinct, ambiguous=ambiguous, names=names, builds=builds)
    size = distinct["variance"].to_numpy()
    align.require_match(
        genotypes.variants, distinct, found, min_match, names=names, weight=size, by_weight=bool(size.any()),
        builds=builds,
    )  # fmt: skip
    tally.opened("models' variants", models.source, distinct.height, models.notes)
    tally.add("models' variants", found.notes)
    share = found.share(size, placeless=True)
    tally.note("models' variants", f"share of the variance that is found: {share:.1%}", int(found.met.sum()))
    column = np.full(distinct.height, -1)
    column[found.b] = found.a
    flipped = np.zeros(distinct.height, dtype=bool)
    flipped[found.b] = found.sign < 0
    distinct = distinct.drop("variance").with_columns(
        column=pl.when(pl.Series(column >= 0)).then(pl.Series(column)),
        flipped=pl.Series(flipped),
        fate=pl.Series([align.FATES[i] for i in found.fate]),
    )
    return weights.join(distinct, on=VARIANT, how="left", nulls_equal=True, maintain_order="left")
