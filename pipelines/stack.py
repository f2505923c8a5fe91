"""The main job: base learners and meta-learners in nested cross-validation, gene by gene, and their comparison.

Files under `out`, each written whole or not at all:

======================  ============================================================================================
genes/ID.parquet        base predictions of one gene: outer_fold, inner_fold (-1 for held-out people), sample,
                        observed, then a column per base learner (out-of-fold for training people)
genes/ID.json           how many variants the gene had, which were dropped, or why the gene itself was
predictions.parquet     held-out predictions of every method (`genopred.types.PREDICTION_SCHEMA`)
scores.parquet, .tsv    accuracy per gene and method (`genopred.types.SCORE_SCHEMA`)
summary.parquet, .tsv   accuracy per method over genes (`genopred.learning.evaluate.summarise`)
comparisons.parquet     each method against the reference, gene by gene, on the same people: gene_id, method,
and .tsv                reference, delta_r2, delta_low, delta_high (95 %, bootstrap over people), pval, qval
matched.tsv             what came in, was used and was dropped, and why (`genopred.types.MatchReport`)
weights.json            the pooled stack's weights, for `--stack-weights` of another run
report.html             all of it on one page
features/               where `features` names a model: its features (`genopred.pipelines.features`)
run.json                the settings that the results depend on; another run with other settings is refused
======================  ============================================================================================
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from genopred import align
from genopred.errors import AlignmentError, GenopredError, ModelError
from genopred.files import safe_name, write_files, write_json, write_table
from genopred.genetics.transform import quantile_normalise
from genopred.io.annotation import read_symbols
from genopred.io.expression import read_expression
from genopred.io.features import MANIFEST
from genopred.io.folds import read_folds, read_labels
from genopred.io.text import read_bytes
from genopred.learning import learners as registry
from genopred.learning.evaluate import (
    Block,
    GeneResult,
    Outcome,
    Preparation,
    add_fdr,
    compare,
    nested_base,
    outer_folds,
    scores,
    summarise,
)
from genopred.learning.stack import (
    METAS,
    MIN_GENES_POOLED,
    GeneFold,
    Meta,
    Shipped,
    fit_weights,
    load_weights,
    make_meta,
    shipped,
)
from genopred.pipelines.inputs import open_cohort
from genopred.pipelines.run import Progress, Run, say
from genopred.report.provenance import versions
from genopred.sequence.models.registry import DEFAULT_MODEL, is_model
from genopred.settings import Features, Stack
from genopred.types import PREDICTION_SCHEMA, Cohort, Genotypes, Interval, MatchReport
from genopred.types import Features as FeatureTable

log = logging.getLogger("genopred.stack")

#: Name of what a gene costs besides its learners: reading, filtering, writing.
REST = "reading and writing"
#: Name of what the meta-learners and their scores cost.
METAS_COST = "meta-learners and scores"

#: Genes whose base predictions are kept in memory between the passes of the meta-learners; others are read again.
CACHED_GENES = 1_000


#: What is written into `out` here and by `genopred.pipelines.benchmark`; features have settings of their own.
OUTPUTS = (
    "genes/*", "glmnet/*", "predictions.parquet", "scores.*", "summary.*", "comparisons.*", "matched.tsv",
    "weights.json", "report.html", "benchmark.tsv", "benchmark_scores.tsv", "cost.tsv",
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
    seconds : float
        Wall time of the run.
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
    seconds: float = 0.0
    cost: dict[str, float] = field(default_factory=dict)
    symbols: dict[str, str] = field(default_factory=dict, repr=False)


def run(
    settings: Stack,
    progress: Progress | None = None,
    prepare: Callable[[], None] | None = None,
    page: Callable[[StackResult], object] | None = None,
) -> StackResult:
    """Run the main job.

    Parameters
    ----------
    settings : genopred.settings.Stack
    progress : callable, optional
        Called with (genes done, genes in all, gene) after each gene.
    prepare : callable, optional
        Called before genes are computed, once `out` is ours; for base predictions that are to be had elsewhere.
    page : callable, optional
        Writes the page from the result, in place of `write_report`.

    Returns
    -------
    StackResult

    Raises
    ------
    GenopredError
        On bad input, before any gene is computed where that is possible.
    """
    started = time.perf_counter()
    with Run(settings, OUTPUTS, progress) as job:
        chosen = _check(settings)
        prior = _prior(settings)
        symbols = {} if settings.symbols is None else read_symbols(settings.symbols)
        cohort = open_cohort(settings)
        symbols = symbols or read_symbols(settings.expression)
        folds = _folds(settings, cohort)
        _settle(job, settings, cohort, folds, chosen)
        if prepare is not None:
            prepare()
        settings = _with_features(settings, cohort, progress)
        say(cohort.report)
        taken = _compute_genes(job, settings, cohort, folds, chosen)
        done, report = _collect(settings, cohort)
        before = time.process_time()
        table, notes = _combine(settings, cohort, done, prior, job.threads)
        cost = {part: float(np.mean([gene[part] for gene in taken])) for part in (taken[0] if taken else ())}
        if cost:
            cost[METAS_COST] = (time.process_time() - before) / len(done)
        summary = summarise(table, _reference(settings, table["method"].to_list()), seed=settings.seed)
        stack = f"stack-{settings.meta}"
        result = StackResult(summary, table, report, stack, job.path("report.html"), notes, symbols=symbols)
        job.save(scores=result.scores, summary=result.summary)
        job.matched(report)
        if page is None:
            write_report(settings, result)
        else:
            page(result)
    return replace(result, seconds=time.perf_counter() - started, cost=cost)


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
    if settings.inputs == "sequence" and all(learner.genotype_only for learner in found):
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

    wanted = Features(
        model=model,
        out=settings.out / "features",
        seed=0,  # whatever the folds' is: the features of one stack serve another
        gene=tuple(cohort.expression.genes["gene_id"].to_list()),
        **{
            name: getattr(settings, name)
            for name in "bfile pfile vcf fasta expression keep remove threads resume max_bytes".split()
        },
    )
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
        features=model or (settings.features and Path(settings.features)),
        outer_folds=None,  # the folds themselves are known
        stratify=None,
    )


def _expression_values(settings: Stack, cohort: Cohort) -> NDArray[np.float64]:
    """Expression (N, G); with `--transform quantile` normalised over all genes of the file, used or not."""
    if settings.transform != "quantile":
        return cohort.expression.values
    whole = read_expression(settings.expression).select(cohort.samples)
    place = {gene: i for i, gene in enumerate(whole.genes["gene_id"].to_list())}
    columns = [place[gene] for gene in cohort.expression.genes["gene_id"].to_list()]
    return quantile_normalise(whole.values)[:, columns]


def _prior(settings: Stack) -> Shipped | None:
    if settings.stack_weights == "none":
        return None
    if settings.stack_weights == "shipped":
        return shipped()
    path = Path(settings.stack_weights)
    return load_weights(read_bytes(path, "stack weights").decode(errors="replace"), str(path))


# --- one gene --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Gene:
    """What a worker needs to know of one gene."""

    gene: dict[str, Any]
    genotypes: Genotypes
    expression: NDArray[np.float64]
    features: FeatureTable | None


def _compute_genes(
    job: Run, settings: Stack, cohort: Cohort, folds: NDArray[np.int64], chosen: tuple[registry.Learner, ...]
) -> list[dict[str, float]]:
    """Base predictions of every gene that has none yet, in parallel, each written as it comes.

    Returns the CPU seconds of each gene computed, by learner.
    """
    genes = cohort.expression.genes
    todo = [i for i, gene in enumerate(genes["gene_id"].to_list()) if not _info_path(settings.out, gene).is_file()]
    values = _expression_values(settings, cohort)
    covariates = None if cohort.covariates is None else cohort.covariates.values

    def arguments(i: int) -> tuple[Any, ...]:
        gene = genes.row(i, named=True)
        window = cohort.genotypes.select(variants=Interval.around(gene["chrom"], gene["tss"], settings.window))
        one = _Gene(gene, window, values[:, i], _features(settings, cohort, gene["gene_id"]))
        return settings, one, covariates, folds, chosen

    each = job.each(_one_gene, todo, arguments, names=lambda i: genes["gene_id"][i], ready=genes.height - len(todo))
    return [taken for taken in each if taken]


def _features(settings: Stack, cohort: Cohort, gene_id: str) -> FeatureTable | None:
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
        dosage = one.genotypes.dosage()
        use, notes = align.usable_variants(dosage, one.genotypes.variants, maf=settings.maf)
        info: dict[str, Any] = {
            "gene_id": gene_id,
            "variants_in_window": int(len(use)),
            "variants_used": int(use.sum()),
            "dropped": [list(note) for note in notes],
            "skipped": None,
        }
        blocks = []
        if settings.inputs != "sequence":
            blocks.append(Block("genotype", np.ascontiguousarray(dosage[:, use]), chosen))
        if one.features is not None:
            able = tuple(learner for learner in chosen if not learner.genotype_only)
            preparation = Preparation(settings.feature_transform, settings.feature_components)
            blocks.append(Block("sequence", one.features.values, able, preparation))
        try:
            if settings.inputs != "sequence" and not use.any():
                raise ModelError("no usable variant in the cis window")
            # the gene's own seed, so that it does not matter which genes run beside it
            own = int.from_bytes(hashlib.sha256(f"{settings.seed} {gene_id}".encode()).digest()[:4], "little")
            context = registry.GeneContext(one.genotypes.variants["pos"].to_numpy()[use], one.gene["tss"], own)
            outcome = Outcome(settings.transform, settings.residualize)
            result = nested_base(
                blocks, one.expression, covariates, folds, context, outcome=outcome, inner_folds=settings.inner_folds
            )
        except ModelError as problem:
            info["skipped"] = str(problem)
            write_json(_info_path(settings.out, gene_id), info)
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
    write_files({_base_path(settings.out, gene_id): lambda path: table.write_parquet(path)})
    write_json(_info_path(settings.out, gene_id), info)
    assert result.seconds is not None  # noqa: S101 - nested_base always measures
    seconds = dict(zip(result.names, result.seconds.tolist()))
    return {**seconds, REST: time.process_time() - started - sum(seconds.values())}


def read_base(out: Path, gene_id: str) -> pl.DataFrame:
    """The base predictions of one gene: outer_fold, inner_fold, sample, observed, and a column per base learner."""
    return pl.read_parquet(_base_path(out, gene_id))


def _base_path(out: Path, gene_id: str) -> Path:
    return out / "genes" / f"{safe_name(gene_id)}.parquet"


def _info_path(out: Path, gene_id: str) -> Path:
    return out / "genes" / f"{safe_name(gene_id)}.json"


def _collect(settings: Stack, cohort: Cohort) -> tuple[list[str], MatchReport]:
    """Genes that have base predictions, and the report with what happened to the others and to variants."""
    done, skipped = [], []
    tally = align.Tally(cohort.report)
    for gene_id in cohort.expression.genes["gene_id"].to_list():
        info = json.loads(_info_path(settings.out, gene_id).read_text(encoding="utf-8"))
        tally.come("gene-variant pairs", "in the windows of all genes together", info["variants_in_window"])
        tally.add("gene-variant pairs", info["dropped"])
        if info["skipped"]:
            skipped.append((gene_id, info["skipped"]))
            tally.drop("genes", info["skipped"], [gene_id])
            tally.drop("gene-variant pairs", "gene left out", info["variants_used"])
        else:
            done.append(gene_id)
            tally.use("gene-variant pairs", "in the windows of all genes together", info["variants_used"])
    if not done:
        reasons = "; ".join(f"{gene}: {reason}" for gene, reason in skipped[:3])
        raise AlignmentError(f"none of {len(skipped)} genes could be used ({reasons}).")
    return done, tally.report()


# --- meta-learners ---------------------------------------------------------------------------------------------


class BaseTables:
    """Base predictions of all genes, one gene in memory at a time beyond the first `CACHED_GENES`."""

    def __init__(self, out: Path, genes: Sequence[str]) -> None:
        self.out = out
        self.genes = genes
        self._cache: dict[str, GeneResult] = {}

    def result(self, gene_id: str) -> GeneResult:
        """The base predictions of one gene."""
        if gene_id in self._cache:
            return self._cache[gene_id]
        table = read_base(self.out, gene_id)
        names = tuple(table.columns[4:])
        result = GeneResult(
            names,
            table["outer_fold"].to_numpy().astype(np.int64),
            table["inner_fold"].to_numpy().astype(np.int64),
            np.arange(table.height),
            table["observed"].to_numpy(),
            table.select(names).to_numpy(),
        )
        if len(self._cache) < CACHED_GENES:
            self._cache[gene_id] = result
        return result

    def held_out(self, gene_id: str) -> pl.DataFrame:
        """Sample, fold and observed value of the held-out people, fold by fold."""
        table = pl.read_parquet(
            _base_path(self.out, gene_id), columns=["outer_fold", "inner_fold", "sample", "observed"]
        )
        return table.filter(pl.col("inner_fold") < 0)

    def fold(self, fold: int) -> Callable[[], Iterator[GeneFold]]:
        """All genes' training rows and held-out rows of one outer fold, to be walked through repeatedly."""
        return lambda: (self.result(gene).gene_fold(fold) for gene in self.genes)


def _combine(
    settings: Stack, cohort: Cohort, done: Sequence[str], prior: Shipped | None, threads: int
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Fit every meta-learner per outer fold over all genes, predict, score; returns scores and notes."""
    bases = BaseTables(settings.out, done)
    names = bases.result(done[0]).names
    outer = np.unique(bases.result(done[0]).fold).tolist()
    metas = {
        fold: [make_meta(name, names, seed=settings.seed, prior=prior).fit(bases.fold(fold)) for name in METAS]
        for fold in outer
    }
    tables, comparisons, files = [], [], []
    # threads, not processes: the time goes into XGBoost, which lets others run meanwhile
    threads = min(threads, len(done))
    parallel = joblib.Parallel(threads, backend="threading", return_as="generator", pre_dispatch="2*n_jobs")
    for gene, predicted in zip(done, parallel(joblib.delayed(_predict)(metas, bases, gene) for gene in done)):
        held = bases.held_out(gene)
        observed = held["observed"].to_numpy()
        tables.append(scores(gene, observed, predicted, seed=settings.seed))
        comparisons.append(compare(gene, observed, predicted, _reference(settings, predicted), seed=settings.seed))
        files.append(_write_predictions(settings.out, gene, held, predicted))
    _join_predictions(settings.out, files)
    write_table(add_fdr(pl.concat(comparisons)), settings.out / "comparisons")
    every = [bases.fold(fold) for fold in outer]
    weights = fit_weights(every, _origin(settings, cohort, len(done)), seed=settings.seed)
    write_json(settings.out / "weights.json", weights)
    return pl.concat(tables), _notes(settings, len(done), names, prior)


def _predict(metas: dict[int, list[Meta]], bases: BaseTables, gene: str) -> dict[str, NDArray[np.float64]]:
    """Held-out predictions of one gene by every method, outer fold by outer fold.

    Base learners that ask for it are calibrated; the meta-learners were given them as they are.
    """
    parts: dict[str, list[NDArray[np.float64]]] = {}
    result = bases.result(gene)
    for fold, fitted in metas.items():
        one = result.gene_fold(fold)
        for i, name in enumerate(result.names):
            calibrate = registry.find(name.split("@")[0]).calibrate
            parts.setdefault(name, []).append(one.calibrated(i) if calibrate else one.mean + one.test[:, i])
        for meta in fitted:
            parts.setdefault(f"stack-{meta.name}", []).append(meta.predict(one))
    return {name: np.concatenate(part) for name, part in parts.items()}


def _reference(settings: Stack, methods: Collection[str]) -> str:
    """What the others are compared with: the elastic net where it was trained."""
    return "elastic-net" if "elastic-net" in methods else f"stack-{settings.meta}"


def _notes(settings: Stack, genes: int, names: Sequence[str], prior: Shipped | None) -> tuple[str, ...]:
    notes = []
    if prior is not None:
        notes.append(
            f"The stack's weights start from those learned on {prior.origin.get('data', 'other data')} "
            f"({prior.origin.get('genes', '?')} genes, {prior.origin.get('people', '?')} people). If your people are "
            "among them, use --stack-weights none."
        )
    if genes < MIN_GENES_POOLED:
        what = "the shipped trees" if prior is not None and tuple(names) == prior.moments.names else "no trees"
        notes.append(
            f"{genes} genes are too few to grow the pooled XGBoost meta-learner ({MIN_GENES_POOLED} needed); "
            f"it used {what} on top of the NNLS weights."
        )
    if settings.residualize == "global":
        notes.append(
            "--residualize global: transform and covariates were applied to everyone at once, held-out people "
            "included, as is usual in TWAS; --residualize fold keeps them apart."
        )
    return tuple(notes)


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
    write_files({path: lambda temporary: table.write_parquet(temporary)})
    return path


def _join_predictions(out: Path, files: Sequence[Path]) -> None:
    """One file from the genes' own, streamed."""
    write_files(
        {out / "predictions.parquet": lambda path: pl.scan_parquet(list(files)).sink_parquet(path, maintain_order=True)}
    )
    for file in files:
        file.unlink()


# --- output ----------------------------------------------------------------------------------------------------


def write_report(
    settings: Stack,
    result: StackResult,
    sections: Sequence[Any] = (),
    *,
    first: Sequence[Any] = (),
    title: str = "genopred stack",
    lead: Sequence[str] = (),
) -> None:
    """The page of a run, with more sections where a workflow has more to show: `first` before those of the stack.

    Nothing on it depends on when or how fast it ran, so that a resumed run writes the same page.
    """
    from genopred.report.page import write_page
    from genopred.report.tables import GeneNames

    best = best_genes(result.scores, result.stack)
    predictions = pl.scan_parquet(settings.out / "predictions.parquet").filter(pl.col("gene_id").is_in(best)).collect()
    folds = settings.folds or f"{settings.outer_folds} over people, seed {settings.seed}"
    info = {
        "command": settings.command,
        "stack": result.stack,
        "outer folds": str(folds),
        "inner folds": settings.inner_folds,
        "seed": settings.seed,
        "transform": settings.transform,
        "residualize": settings.residualize,
        "window": f"{settings.window:,} bp on each side of the TSS",
        "maf": settings.maf,
        "notes": list(result.notes),
        "lead": list(lead),
    }
    write_page(
        result.page,
        title=title,
        summary=result.summary,
        scores=result.scores,
        predictions=predictions,
        report=result.report,
        info=info,
        sections=sections,
        first=first,
        names=GeneNames(result.symbols),
    )


def best_genes(table: pl.DataFrame, method: str, n: int = 6) -> list[str]:
    """Genes that `method` predicts best, best first."""
    of = table.filter(pl.col("method") == method).sort("r2", descending=True)
    return of["gene_id"].head(n).to_list()
