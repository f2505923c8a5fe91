"""Base predictions of the stack, gene by gene: genotypes and expression in, a table of a gene out."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from genopred.errors import GenopredError, ModelError
from genopred.files import safe_name, write_json
from genopred.learning import learners as registry
from genopred.learning.evaluate import Block, Outcome, Preparation, nested_base
from genopred.pipelines.inputs import cis_window, expression_values
from genopred.pipelines.run import Run, write_tables
from genopred.pipelines.stack_sumstats import learn_study
from genopred.pipelines.stack_window import open_window
from genopred.pipelines.sumstats_inputs import GeneStudy, OtherStudy
from genopred.settings import Stack
from genopred.types import Cohort, Features, Genotypes

#: Name of what a gene costs besides its learners: reading, filtering, writing.
REST = "reading and writing"


@dataclass(frozen=True)
class _Gene:
    """What a worker needs to know of one gene."""

    gene: dict[str, Any]
    genotypes: Genotypes
    expression: NDArray[np.float64]
    features: Features | None
    study: GeneStudy | None = None


def compute_genes(
    job: Run,
    settings: Stack,
    cohort: Cohort,
    folds: NDArray[np.int64],
    chosen: tuple[registry.Learner, ...],
    study: OtherStudy | None = None,
) -> list[dict[str, float]]:
    """Base predictions of every gene that has none yet, in parallel, each written as it comes.

    Returns the CPU seconds of each gene computed, by learner.
    """
    genes = cohort.expression.genes
    todo = [i for i, gene in enumerate(genes["gene_id"].to_list()) if not info_path(settings.out, gene).is_file()]
    values = expression_values(settings, cohort)
    covariates = None if cohort.covariates is None else cohort.covariates.values

    def arguments(i: int) -> tuple[Any, ...]:
        gene, window = cis_window(cohort, i, settings.window)
        one = _Gene(gene, window, values[:, i], _features(settings, cohort, gene["gene_id"]))
        if study is not None:
            one = replace(one, study=study.of_gene(cohort, i, settings.window))
        return settings, one, covariates, folds, chosen

    each = job.each(_one_gene, todo, arguments, names=lambda i: genes["gene_id"][i], ready=genes.height - len(todo))
    return [taken for taken in each if taken]


def _features(settings: Stack, cohort: Cohort, gene_id: str) -> Features | None:
    if settings.features is None:
        return None
    from genopred.io.features import read_features

    return read_features(settings.features, gene_id).select(cohort.samples)


def _one_gene(
    settings: Stack,
    one: _Gene,
    covariates: NDArray[np.float64] | None,
    folds: NDArray[np.int64],
    chosen: tuple[registry.Learner, ...],
) -> dict[str, float]:
    """Compute and write one gene; its info file comes last and says that the gene is done.

    Returns the CPU seconds of each part.
    """
    gene_id, started = one.gene["gene_id"], time.process_time()
    with threadpool_limits(1):
        fewest, outer = len(folds) - int(np.bincount(folds).max()), len(np.unique(folds))
        window = open_window(settings, one.genotypes, fewest, outer, settings.inner_folds)
        use = window.use
        info: dict[str, Any] = {
            "gene_id": gene_id,
            "variants_in_window": int(len(use)),
            "variants_used": int(use.sum()),
            "dropped": [list(note) for note in window.notes],
            "skipped": None,
        }
        blocks = []
        if settings.seen != "sequence":
            blocks.append(Block("genotype", window.values, chosen))
        if one.features is not None:
            able = tuple(learner for learner in chosen if not learner.genotype_only)
            preparation = Preparation(settings.feature_transform, settings.feature_components)
            blocks.append(Block("sequence", one.features.values, able, preparation))
        try:
            if settings.seen != "sequence" and not use.any():
                raise ModelError("no usable variant in the cis window")
            own = gene_seed(settings.seed, gene_id)
            context = registry.GeneContext(one.genotypes.variants["pos"].to_numpy()[use], one.gene["tss"], own)
            outcome = Outcome(settings.transform, settings.residualize)
            if one.study is not None:
                y, _ = outcome.split(one.expression, covariates, np.ones(len(folds), dtype=bool))
                of_study = learn_study(settings, gene_id, one.study, window, one.genotypes.variants, context, y)
                blocks.append(Block(registry.SUMSTATS, window.values, of_study))
            how = {"outcome": outcome, "inner_folds": settings.inner_folds, "at_once": window.at_once}
            result = nested_base(blocks, one.expression, covariates, folds, context, **how)
        except ModelError as problem:
            write_json(info_path(settings.out, gene_id), info | {"skipped": str(problem)})
            return {}
    samples = one.genotypes.samples[result.person]
    table = pl.DataFrame(
        {
            "outer_fold": pl.Series(result.fold, dtype=pl.Int32),
            "inner_fold": pl.Series(result.inner, dtype=pl.Int32),
            "sample": samples.tolist(),
            "observed": result.observed,
            **{name: pl.Series(column, dtype=pl.Float32) for name, column in zip(result.names, result.base.T)},
        }
    )
    write_tables({base_path(settings.out, gene_id): table})
    write_json(info_path(settings.out, gene_id), info)
    assert result.seconds is not None  # noqa: S101 - nested_base always measures
    seconds = dict(zip(result.names, result.seconds.tolist()))
    return {**seconds, REST: time.process_time() - started - sum(seconds.values())}


def gene_seed(seed: int, gene_id: str) -> int:
    """A gene's own seed, so that it does not matter which genes run beside it."""
    return int.from_bytes(hashlib.sha256(f"{seed} {gene_id}".encode()).digest()[:4], "little")


def read_base(out: Path, gene_id: str) -> pl.DataFrame:
    """The base predictions of one gene: outer_fold, inner_fold, sample, observed, and a column per base learner."""
    return pl.read_parquet(base_path(out, gene_id))


def base_path(out: Path, gene_id: str) -> Path:
    """Where the base predictions of a gene are."""
    return out / "genes" / f"{safe_name(gene_id)}.parquet"


def info_path(out: Path, gene_id: str) -> Path:
    """What is known of a gene once it is done: how many variants it had, which were dropped, why it was skipped."""
    return out / "genes" / f"{safe_name(gene_id)}.json"


def read_info(out: Path, gene_id: str) -> dict[str, Any]:
    """What `info_path` holds."""
    return json.loads(info_path(out, gene_id).read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def join_base(first: Path, second: Path, out: Path, genes: list[str]) -> None:
    """Put the base predictions of two runs of the stack side by side, as a run on both inputs would write them.

    Learners of one block of inputs never see the other, and folds and seeds depend on people and gene alone.

    `out` is the folder of a third run, which then finds its genes computed; those that are there are left alone.

    Raises
    ------
    GenopredError
        If the two runs are not of the same people and folds.
    """
    same = ["outer_fold", "inner_fold", "sample", "observed"]
    for gene in genes:
        target = info_path(out, gene)
        if target.is_file():
            continue
        of_second = read_info(second, gene)
        if of_second["skipped"]:  # then a run on both leaves the gene out as well
            write_json(target, of_second)
            continue
        a, b = read_base(first, gene), read_base(second, gene)
        if not a.select(same).equals(b.select(same)):
            raise GenopredError(f"{first} and {second}: {gene} has other people or folds; start over with --no-resume.")
        table = a.hstack(b.drop(same).get_columns())
        write_tables({base_path(out, gene): table})
        write_json(target, read_info(first, gene))
