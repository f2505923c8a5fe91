"""Polygenic scores: learn weights from expression, a phenotype or summary statistics, or apply given ones.

What is asked for follows from the inputs:

* ``expression``: for each gene the two score estimators learn in the training people (association, clumping, choice
  of thresholds and slope by inner cross-validation) and predict everyone;
* ``pheno`` or ``sumstats``: association (or the effects given), clumps at each r², scores of the index variants at
  each p-value threshold, over all chromosomes, as `plink --clump` and `--score` would;
* ``score``: given weights are applied, as by `plink --score`.

Files, each written whole or not at all, tables as .parquet and .tsv:

====================  ==============================================================================================
OUT.weights           score, variant_id, chrom, pos, ref, alt, beta, pval, weight: effects of one ALT copy (those of a
                      gene: gene_id, method, weight with the slope in it, and intercept); read by `--score`
OUT.clumps            pheno and sumstats only: r2, index variant, its p, and the clump's members with p < p2
OUT.scores            expression: gene_id, method, sample, set, fold, observed, cross_validated, predicted;
                      else sample, then a column per score
OUT.accuracy          expression only: per gene, method and set the columns of `genopred.types.SCORE_SCHEMA`
OUT.models            expression only: gene_id, method, variants, slope, intercept, p_threshold, r2_threshold
OUT.matched.tsv       what came in, was used and was dropped, and why (`genopred.types.MatchReport`)
OUT.run.json          what the results depend on; a run with other settings is refused
OUT.parts/            genes that are done, until all are: a run that was stopped goes on from there
====================  ==============================================================================================
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from genopred import align
from genopred.errors import AlignmentError, ModelError, examples
from genopred.files import write_json
from genopred.genetics import ld
from genopred.io.folds import read_folds
from genopred.io.lists import read_samples
from genopred.learning.evaluate import Outcome, outer_folds
from genopred.learning.genescores import Gene, GeneScores
from genopred.pipelines.inputs import chosen_genes, cis_window, expression_values, open_cohort
from genopred.pipelines.run import Progress, Run, say, write_tables
from genopred.report import words
from genopred.settings import Prs
from genopred.types import Genotypes, MatchReport, Note

log = logging.getLogger("genopred.prs")

#: Every table that a run may write.
TABLES = ("weights", "clumps", "scores", "accuracy", "models")

#: Every file that a run may write, after `OUT.`.
OUTPUTS = (*(f"{name}.{kind}" for name in TABLES for kind in ("parquet", "tsv")), "matched.tsv", "parts/*")


@dataclass(frozen=True)
class PrsResult:
    """What a run produced: its tables by name, the report of what was used, and words for the screen."""

    tables: dict[str, pl.DataFrame]
    report: MatchReport
    words: tuple[str, ...] = field(default=())

    def lines(self) -> list[str]:
        """What came out, for the screen."""
        return list(self.words)


def run(settings: Prs, progress: Progress | None = None) -> PrsResult:
    """Compute and write what the settings ask for.

    Raises
    ------
    GenopredError
        On bad input, or where another run's results are at `out`.
    """
    from genopred.pipelines import prs_whole

    kinds = {"expression": _genes, "score": prs_whole.apply}
    ld.check_grid(settings.clump_p1, settings.clump_r2, settings.clump_kb, settings.ld)
    with Run(settings, OUTPUTS, progress) as job:
        result = kinds.get(settings.mode, prs_whole.learn)(settings, job)
        say(result.report)
        _write(job, result)
    return result


def _write(job: Run, result: PrsResult) -> None:
    named = [(f"{name}.{end}", table) for name, table in result.tables.items() for end in ("parquet", "tsv")]
    write_tables({job.path(name): table for name, table in (*named, ("matched.tsv", result.report.table))})
    job.drop("parts")


def train_mask(settings: Prs, samples: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Who has a part in the weights: those of `--train`, or everyone."""
    if settings.train is None:
        return np.ones(len(samples), dtype=bool)
    train = np.isin(samples, read_samples(settings.train))
    if not train.any():
        raise AlignmentError(
            f"{settings.train}: none of its samples is among the {len(samples)} used ({examples(samples.tolist())})."
        )
    return train


# --- genes -----------------------------------------------------------------------------------------------------------


def _genes(settings: Prs, job: Run) -> PrsResult:
    cohort = open_cohort(settings)
    scores = _scores(settings, cohort.samples, None if cohort.covariates is None else cohort.covariates.values)
    genes, values = cohort.expression.genes, expression_values(settings, cohort)
    job.settle(gene=chosen_genes(settings))  # parts are numbered, so which genes there are matters
    # absolute, because a worker may have been started in another folder
    names = [job.path("parts").absolute() / f"{i:06d}.json" for i in range(genes.height)]
    todo = [i for i, name in enumerate(names) if not name.is_file()]

    def arguments(i: int) -> tuple[Any, ...]:
        gene, window = cis_window(cohort, i, settings.window)
        return settings.maf, gene["gene_id"], window, values[:, i], scores, names[i]

    for _ in job.each(_one_gene, todo, arguments, names=lambda i: genes["gene_id"][i], ready=genes.height - len(todo)):
        pass
    return _gather(names, align.Tally(cohort.report))


def _scores(settings: Prs, samples: NDArray[np.str_], covariates: NDArray[np.float64] | None) -> GeneScores:
    """How the scores are learned, and in whom."""
    train = train_mask(settings, samples)
    n = int(train.sum())
    for name, size in (("--train", n), ("training people outside a fold", n - -(-n // settings.outer_folds))):
        if size < settings.inner_folds:
            raise ModelError(f"{name}: {size} people cannot be split into {settings.inner_folds} inner folds.")
    if settings.folds is not None:
        folds = read_folds(settings.folds, samples[train])
    else:
        folds = outer_folds(n, settings.outer_folds, settings.seed)
    outcome = Outcome(settings.transform, settings.residualize)
    grid = (settings.clump_p1, settings.clump_r2, settings.clump_kb, settings.ld)
    return GeneScores(train, folds, covariates, outcome, *grid, settings.inner_folds, settings.seed, settings.calibrate)


def _one_gene(
    maf: float, gene_id: str, window: Genotypes, expression: NDArray[np.float64], scores: GeneScores, name: Path
) -> None:
    """Both scores of one gene: weights, predictions of everyone, accuracy. They are written; `name` comes last."""
    with threadpool_limits(1):
        dosage = window.dosage()
        use, notes = align.usable_variants(dosage[scores.train], window.variants, maf=maf)
        known: list[Note] = [("in", "in the windows of all genes together", len(use), ""), *notes]
        skipped, tables = None if use.any() else "no usable variant in the cis window", {}
        if skipped is None:
            x, variants = np.ascontiguousarray(dosage[:, use]), window.variants.filter(pl.Series(use))
            try:
                tables = scores.learn(Gene(gene_id, window.samples, x, variants, expression))
            except ModelError as problem:
                skipped = str(problem)
        if skipped is None:
            known.append(("used", "in a gene's window", int(use.sum()), ""))
        elif use.any():
            known.append(("dropped", "gene left out", int(use.sum()), ""))
    write_tables({_table_part(name, key): table for key, table in tables.items()})
    write_json(name, {"gene_id": gene_id, "notes": known, "skipped": skipped, "tables": list(tables)})


def _gather(names: list[Path], tally: align.Tally) -> PrsResult:
    """Tables and counts of all genes, from their parts."""
    parts: dict[str, list[pl.DataFrame]] = {}
    skipped = []
    for name in names:
        gene = json.loads(name.read_text(encoding="utf-8"))
        tally.add("variants in windows", gene["notes"])
        if gene["skipped"]:
            tally.drop("genes", gene["skipped"], [gene["gene_id"]])
            skipped.append(gene["skipped"])
        for table in gene["tables"]:
            parts.setdefault(table, []).append(pl.read_parquet(_table_part(name, table)))
    if not parts:
        why = examples(skipped).rstrip(".")
        raise ModelError(f"none of {len(names)} genes could be used: {why}.")
    tables = {name: pl.concat(tables, rechunk=True) for name, tables in parts.items()}
    return PrsResult(tables, tally.report(), words.gene_scores(tables["accuracy"]))


def _table_part(name: Path, table: str) -> Path:
    return name.with_suffix(f".{table}.parquet")
