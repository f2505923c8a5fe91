"""Meta-learners of the stack over the genes' base predictions: their held-out predictions, scores and weights."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.files import safe_name, write_files, write_json, write_table
from genopred.learning.evaluate import add_fdr, compare, scores
from genopred.learning.pooled import BaseTables, Pooled
from genopred.learning.stack import MIN_GENES_POOLED, Shipped, fit_weights
from genopred.pipelines.run import write_tables
from genopred.pipelines.stack_genes import base_path
from genopred.provenance import versions
from genopred.report import words
from genopred.settings import Stack
from genopred.types import PREDICTION_SCHEMA, Cohort


def pool(settings: Stack, done: Sequence[str], prior: Shipped | None) -> Pooled:
    """Every meta-learner, fitted per outer fold over all genes."""
    return Pooled(BaseTables(done, lambda gene: pl.scan_parquet(base_path(settings.out, gene))), settings.seed, prior)


def combine(
    settings: Stack, cohort: Cohort, done: Sequence[str], pooled: Pooled, threads: int
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Held-out predictions of every meta-learner, and their scores; returns scores and notes."""
    bases = pooled.bases
    tables, comparisons, files = [], [], []
    # threads, not processes: the time goes into XGBoost, which lets others run meanwhile
    threads = min(threads, len(done))
    parallel = joblib.Parallel(threads, backend="threading", return_as="generator", pre_dispatch="2*n_jobs")
    for gene, predicted in zip(done, parallel(joblib.delayed(pooled.predict)(gene) for gene in done)):
        held = bases.held_out(gene)
        observed = held["observed"].to_numpy()
        tables.append(scores(gene, observed, predicted, seed=settings.seed))
        comparisons.append(compare(gene, observed, predicted, reference(settings, predicted), seed=settings.seed))
        files.append(_write_predictions(settings.out, gene, held, predicted))
    _join_predictions(settings.out, files)
    write_table(add_fdr(pl.concat(comparisons)), settings.out / "comparisons")
    every = [bases.fold(fold) for fold in bases.folds]
    weights = fit_weights(every, _origin(settings, cohort, len(done)), seed=settings.seed)
    write_json(settings.out / "weights.json", weights)
    prior = pooled.prior
    origin = None if prior is None else prior.origin
    trees = prior is not None and tuple(pooled.names) == prior.moments.names
    return pl.concat(tables), words.stack_notes(len(done), MIN_GENES_POOLED, origin, trees, settings.residualize)


def reference(settings: Stack, methods: Collection[str]) -> str:
    """What the others are compared with: the elastic net where it was trained."""
    return "elastic-net" if "elastic-net" in methods else f"stack-{settings.meta}"


def _origin(settings: Stack, cohort: Cohort, genes: int) -> dict[str, Any]:
    return {
        "data": cohort.expression.source,
        "genes": genes,
        "people": len(cohort.samples),
        "residualize": settings.residualize,
        "transform": settings.transform,
        "version": versions()["genopred"],
    }


def _write_predictions(out: Path, gene: str, held: pl.DataFrame, predicted: dict[str, NDArray[np.float64]]) -> Path:
    base = held.select(pl.lit(gene).alias("gene_id"), "sample", pl.col("outer_fold").alias("fold"), "observed")
    parts = [
        base.with_columns(pl.lit(name).alias("method"), pl.Series("predicted", v, dtype=pl.Float64))
        for name, v in predicted.items()
    ]
    table = pl.concat(parts).select(list(PREDICTION_SCHEMA)).cast(PREDICTION_SCHEMA)  # type: ignore[arg-type]
    path = out / "genes" / f"{safe_name(gene)}.predictions.parquet"
    write_tables({path: table})
    return path


def _join_predictions(out: Path, files: Sequence[Path]) -> None:
    """One file from the genes' own, streamed."""
    write_files(
        {out / "predictions.parquet": lambda path: pl.scan_parquet(list(files)).sink_parquet(path, maintain_order=True)}
    )
    for file in files:
        file.unlink()
