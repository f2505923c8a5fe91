"""The main job: base learners and meta-learners in nested cross-validation, gene by gene, and their comparison.

Files under `out`, each written whole or not at all:

======================  ============================================================================================
genes/ID.parquet        base predictions of one gene: outer_fold, inner_fold (-1 for held-out people), sample,
                        observed, then a column per base learner (out-of-fold for training people)
genes/ID.json           how many variants the gene had, which were dropped, or why the gene itself was
predictions.parquet     held-out predictions of every method (`genopred.types.PREDICTION_SCHEMA`)
scores.parquet, .tsv    accuracy per gene and method (`genopred.types.SCORE_SCHEMA`), with gene_name where it is known
summary.parquet, .tsv   accuracy per method over genes (`genopred.learning.evaluate.summarise`)
comparisons.parquet     each method against the reference, gene by gene, on the same people: gene_id, method,
and .tsv                reference, delta_r2, delta_low, delta_high (95 %, bootstrap over people), pval, qval
matched.tsv             what came in, was used and was dropped, and why (`genopred.types.MatchReport`)
weights.json            the pooled stack's weights, for `--stack-weights` of another run
models/                 models fitted on everybody, for `genopred predict` (`genopred.io.genemodels`)
sumstats_check.tsv      with `sumstats`, effects of the other study whose alleles look swapped: gene_id, variant, z,
                        expected_z, log_ratio, verdict; its candidates are in sumstats/
report.html             all of it on one page
features/               where `features` names a model: its features (`genopred.pipelines.features`)
run.json                the settings that the results depend on; another run with other settings is refused
======================  ============================================================================================
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.errors import AlignmentError, GenopredError, ModelError
from genopred.io.annotation import known_symbols, read_symbols
from genopred.io.features import MANIFEST
from genopred.io.folds import read_folds, read_labels
from genopred.io.text import read_bytes
from genopred.learning import learners as registry
from genopred.learning.evaluate import outer_folds, summarise
from genopred.learning.stack import Shipped, load_weights, shipped
from genopred.pipelines.inputs import open_cohort
from genopred.pipelines.run import Progress, Run, say
from genopred.pipelines.stack_genes import compute_genes, read_info
from genopred.pipelines.stack_meta import combine, pool, reference
from genopred.pipelines.stack_models import MODELS, keep_models, no_models
from genopred.pipelines.stack_sumstats import STUDY_OUTPUTS, tell_study
from genopred.pipelines.sumstats_inputs import open_study, study_files
from genopred.sequence.models.registry import DEFAULT_MODEL, is_model
from genopred.settings import Features, Stack, parts
from genopred.types import Cohort, MatchReport, plain_gene

log = logging.getLogger("genopred.stack")

#: Name of what the meta-learners and their scores cost.
METAS_COST = "meta-learners and scores"

#: What is written into `out` here and by `genopred.pipelines.benchmark`; features have settings of their own.
OUTPUTS = (
    "genes/*", "glmnet/*", "predictions.parquet", "scores.*", "summary.*", "comparisons.*", "matched.tsv",
    "weights.json", "report.html", "benchmark.tsv", "benchmark_scores.tsv", "cost.tsv", *MODELS,
    "groups.*", "transfer.*", *STUDY_OUTPUTS,
)  # fmt: skip


@dataclass(frozen=True)
class StackResult:
    """What a run produced, besides its files.

    Attributes
    ----------
    summary : polars.DataFrame
    scores : polars.DataFrame
    report : MatchReport
    stack : str
        The method that is the stack, for instance `stack-xgboost`.
    page : Path
    notes : tuple of str
    cost : dict
        Mean CPU seconds per gene of each base learner, of reading and writing, and of the meta-learners; empty
        when all genes had been computed before.
    symbols : dict
        What genes are called, by their ids without version.
    """

    summary: pl.DataFrame
    scores: pl.DataFrame
    report: MatchReport
    stack: str
    page: Path
    notes: tuple[str, ...] = field(default=())
    cost: dict[str, float] = field(default_factory=dict)
    symbols: dict[str, str] = field(default_factory=dict, repr=False)


def run(
    settings: Stack, progress: Progress | None = None, prepare: Callable[[], None] | None = None, page: bool = True
) -> StackResult:
    """Run the main job.

    Parameters
    ----------
    settings : genopred.settings.Stack
    progress : callable, optional
        Called with (genes done, genes in all, gene) after each gene.
    prepare : callable, optional
        Called before genes are computed, once `out` is ours; for base predictions that are to be had elsewhere.
    page : bool
        Write the page.

    Raises
    ------
    GenopredError
        On bad input, before any gene is computed where that is possible.
    """
    with Run(settings, OUTPUTS, progress) as job:
        chosen = _check(settings)
        prior = _prior(settings)
        given = {} if settings.symbols is None else read_symbols(settings.symbols)
        cohort = open_cohort(settings, given)
        symbols = known_symbols() | (given or read_symbols(settings.expression))
        folds = _folds(settings, cohort)
        study_tally = align.Tally(cohort.report)
        study = open_study(settings, cohort, study_tally)
        cohort = replace(cohort, report=study_tally.report()) if study is not None else cohort
        _settle(job, settings, cohort, folds, chosen)
        if prepare is not None:
            prepare()
        settings = _with_features(settings, cohort, progress)
        say(cohort.report)
        taken = compute_genes(job, settings, cohort, folds, chosen, study)
        done, report = _collect(settings, cohort)
        said: tuple[str, ...] = ()
        if study is not None:
            report, said = tell_study(settings, job, done, report)
        before = time.process_time()
        pooled = pool(settings, done, prior)
        table, notes = combine(settings, cohort, done, pooled, job.threads)
        notes = (*said, *notes)
        cost = {part: float(np.mean([gene[part] for gene in taken])) for part in (taken[0] if taken else ())}
        if cost:
            cost[METAS_COST] = (time.process_time() - before) / len(done)
        if settings.models:
            notes += keep_models(job, settings, cohort, done, pooled, table, symbols)
        else:
            no_models(job.path("models"))
        summary = summarise(table, reference(settings, table["method"].to_list()), seed=settings.seed)
        stack = f"stack-{settings.meta}"
        result = StackResult(summary, table, report, stack, job.path("report.html"), notes, cost, symbols)
        job.save(scores=_with_names(table, symbols), summary=summary)
        job.matched(report)
        sections: list[Any] = []
        if settings.groups is not None:
            from genopred.pipelines.stack_groups import by_group
            from genopred.report.pages.groups import groups_section

            sections.append(groups_section(by_group(settings, cohort, job, progress), stack))
        if page:
            write_report(settings, result, sections)
    return result


def _with_names(table: pl.DataFrame, symbols: Mapping[str, str]) -> pl.DataFrame:
    """What genes are called beside their ids, for those who read the table."""
    called = [symbols.get(plain_gene(gene)) for gene in table["gene_id"].to_list()]
    return table.clone().insert_column(1, pl.Series("gene_name", called, dtype=pl.String)) if any(called) else table


# --- settings --------------------------------------------------------------------------------------------------


def _check(settings: Stack) -> tuple[registry.Learner, ...]:
    """The learners, and whether features are something, before anything is read."""
    if _feature_model(settings) is not None:
        if settings.fasta is None:
            raise GenopredError(
                f"--features {settings.features} needs --fasta FILE, the reference of the genotypes' build, for "
                "people's sequences."
            )
    elif settings.features is not None and not Path(settings.features).is_dir():
        raise GenopredError(
            f"--features {settings.features}: no such folder, and no model of that name; give a folder that genopred "
            f"features wrote, or a model such as {DEFAULT_MODEL} with --fasta FILE."
        )
    elif settings.fasta is not None:
        raise GenopredError(f"--fasta goes with --features MODEL, such as --features {DEFAULT_MODEL}; leave it out.")
    chosen = registry.DEFAULT_LEARNERS if settings.learners is None else settings.learners
    found = tuple(registry.find(name) for name in chosen)
    if settings.seen == "sequence" and all(learner.genotype_only for learner in found):
        raise ModelError("--inputs sequence: none of the chosen learners can take sequence features.")
    return found


def _feature_model(settings: Stack) -> str | None:
    """The model that `features` names; None for a folder of features."""
    if settings.features is None or (Path(settings.features) / MANIFEST).is_file():
        return None
    return settings.features if is_model(settings.features) else None


def _with_features(settings: Stack, cohort: Cohort, progress: Progress | None) -> Stack:
    """The settings with a folder of features, computed now where a model was named."""
    model = _feature_model(settings)
    if model is None or settings.fasta is None:
        return settings
    from genopred.pipelines import features

    alike = ("sample", "fasta", "expression", "keep", "remove", "threads", "resume", "max_bytes")
    same = {name: getattr(settings, name) for name in (*parts.GENOTYPE_SOURCES, *alike)}
    genes = tuple(cohort.expression.genes["gene_id"].to_list())
    # whatever the folds' seed is: the features of one stack serve another
    wanted = Features(model=model, out=settings.out / "features", seed=0, gene=genes, **same)
    try:
        done = features.run(wanted, progress)
    except GenopredError as bad:
        raise type(bad)(
            f"--features {model}: {bad} (For other settings run genopred features first, and give --features its "
            "folder.)"
        ) from bad
    for line in done.lines():
        log.info(line)
    return replace(settings, features=str(wanted.out), fasta=None)


def _folds(settings: Stack, cohort: Cohort) -> NDArray[np.int64]:
    n = len(cohort.samples)
    if settings.folds is not None:
        folds = read_folds(settings.folds, cohort.samples)
    else:
        strata = None if settings.stratify is None else read_labels(settings.stratify, cohort.samples, "group")
        folds = outer_folds(n, settings.outer_folds, settings.seed, strata)
    smallest = n - int(np.bincount(folds).max())
    if smallest < 2 * settings.inner_folds:
        raise ModelError(
            f"the largest outer fold leaves {smallest} training people, too few for --inner-folds "
            f"{settings.inner_folds} with two people each; use fewer inner folds or more even outer folds."
        )
    return folds


def _settle(
    job: Run, settings: Stack, cohort: Cohort, folds: NDArray[np.int64], chosen: Sequence[registry.Learner]
) -> None:
    """Go on with base predictions of the same settings, or refuse to mix with those of others."""
    # the features of a model are held against weights and settings by `pipelines.features` itself
    model = _feature_model(settings)
    job.settle(
        people=hashlib.sha256("\n".join(cohort.samples.tolist()).encode()).hexdigest()[:16],
        folds=hashlib.sha256(folds.astype("<i8").tobytes()).hexdigest()[:16],
        learners=[learner.name for learner in chosen],
        inputs=settings.seen,
        features=model or (settings.features and Path(settings.features)),
        outer_folds=None,  # the folds themselves are known
        stratify=None,
        **study_files(settings),
    )


def _prior(settings: Stack) -> Shipped | None:
    if settings.stack_weights in ("none", "shipped"):
        return shipped() if settings.stack_weights == "shipped" else None
    path = Path(settings.stack_weights)
    return load_weights(read_bytes(path, "stack weights").decode(errors="replace"), str(path))


def _collect(settings: Stack, cohort: Cohort) -> tuple[list[str], MatchReport]:
    """Genes that have base predictions, and the report with what happened to the others and to variants."""
    done, skipped = [], []
    tally, pairs = align.Tally(cohort.report), "gene-variant pairs"
    for gene_id in cohort.expression.genes["gene_id"].to_list():
        info = read_info(settings.out, gene_id)
        tally.come(pairs, "in the windows of all genes together", info["variants_in_window"])
        tally.add(pairs, info["dropped"])
        if info["skipped"]:
            skipped.append((gene_id, info["skipped"]))
            tally.drop("genes", info["skipped"], [gene_id])
            tally.drop(pairs, "gene left out", info["variants_used"])
        else:
            done.append(gene_id)
            tally.use(pairs, "in the windows of all genes together", info["variants_used"])
    if not done:
        reasons = "; ".join(f"{gene}: {reason}" for gene, reason in skipped[:3])
        raise AlignmentError(f"none of {len(skipped)} genes could be used ({reasons}).")
    return done, tally.report()


def write_report(settings: Stack, result: StackResult, *sections: Any, **more: Any) -> None:
    """The page of a run; see `genopred.report.pages.stack.write`."""
    from genopred.report.pages import stack as page

    folds = settings.folds or f"{settings.outer_folds} over people, seed {settings.seed}"
    info = {
        "command": settings.command,
        "outer folds": str(folds),
        "inner folds": settings.inner_folds,
        **{name: getattr(settings, name) for name in ("seed", "transform", "residualize")},
        "window": f"{settings.window:,} bp on each side of the TSS",
        "maf": settings.maf,
    }
    page.write(result, settings.out / "predictions.parquet", info, *sections, **more)
