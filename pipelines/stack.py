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
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from genopred import align
from genopred.errors import AlignmentError, GenopredError, ModelError
from genopred.files import lock_output, safe_name, write_files, write_json, write_table
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
from genopred.pipelines.cohort import CohortInputs, open_cohort
from genopred.pipelines.run import fingerprint, settle
from genopred.pipelines.workers import workers
from genopred.report.provenance import versions
from genopred.sequence.models.registry import DEFAULT_MODEL, is_model
from genopred.types import PREDICTION_SCHEMA, Cohort, Features, Interval, MatchReport

log = logging.getLogger("genopred.stack")

Progress = Callable[[int, int, str], None]

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

#: Fields of StackConfig that base predictions depend on, besides the data, the folds and the learners.
_SETTINGS = (
    "maf", "inner_folds", "transform", "residualize", "inputs", "feature_transform", "feature_components", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class StackConfig:
    """Everything that a run depends on.

    Attributes
    ----------
    cohort : CohortInputs
    out : Path
        Folder of the results.
    learners : tuple of str, optional
        Names of base learners; the default set when not given.
    meta : str
        The meta-learner that counts as the stack; all others are computed beside it.
    maf : float
        Variants with a lower minor allele frequency among the people used are left out.
    folds, stratify : Path, optional
        Outer folds, or groups to balance them over.
    outer_folds, inner_folds : int
    transform, residualize : str
        See `genopred.learning.evaluate.Outcome`.
    features : Path or str, optional
        For `inputs` 'sequence' and 'both': a folder of sequence features, or the name of a model
        (`genopred.sequence.models.registry.load_model`), whose features of the same genotypes and genes are computed
        into `out`/features first.
    fasta : Path, optional
        For the features of a model.
    inputs : str
        'genotype', 'sequence' or 'both'.
    feature_transform, feature_components
        See `genopred.learning.evaluate.Preparation`; learned in each training fold.
    stack_weights : str
        'shipped': weights learned on GEUVADIS count as pseudo-rows. 'none'. Or a `weights.json` of another run.
    threads, seed : int
    resume : bool
    command : str
        For the page.
    page : bool
        Write report.html; a workflow that writes a page of its own need not.
    symbols : Path, optional
        What the page calls genes beside their ids (`genopred.io.annotation.read_symbols`); without it the expression
        file is asked.
    """

    cohort: CohortInputs
    out: Path
    learners: tuple[str, ...] | None = None
    meta: str = "xgboost"
    maf: float = 0.05
    folds: Path | None = None
    stratify: Path | None = None
    outer_folds: int = 5
    inner_folds: int = 5
    transform: str = "inverse-normal"
    residualize: str = "fold"
    features: Path | str | None = None
    fasta: Path | None = None
    inputs: str = "genotype"
    feature_transform: str = "none"
    feature_components: int | None = None
    stack_weights: str = "shipped"
    threads: int = 1
    seed: int = 1
    resume: bool = True
    command: str = ""
    page: bool = True
    symbols: Path | None = None


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
    config: StackConfig, progress: Progress | None = None, prepare: Callable[[], None] | None = None
) -> StackResult:
    """Run the main job.

    Parameters
    ----------
    config : StackConfig
    progress : callable, optional
        Called with (genes done, genes in all, gene) after each gene.
    prepare : callable, optional
        Called before genes are computed, once `out` is ours; for base predictions that are to be had elsewhere.

    Returns
    -------
    StackResult

    Raises
    ------
    GenopredError
        On bad input, before any gene is computed where that is possible.
    """
    started = time.perf_counter()
    chosen = _check(config)
    prior = _prior(config)
    symbols = {} if config.symbols is None else read_symbols(config.symbols)
    _make_folder(config.out)
    with lock_output(config.out), threadpool_limits(1):
        cohort = open_cohort(config.cohort)
        symbols = symbols or read_symbols(config.cohort.expression)
        folds = _folds(config, cohort)
        _settle_settings(config, cohort, folds, chosen)
        if prepare is not None:
            prepare()
        config = _with_features(config, cohort, progress)
        values = _expression_values(config, cohort)
        for line in cohort.report.lines():
            log.info(line)
        taken = _compute_genes(config, cohort, values, folds, chosen, progress)
        done, report = _collect(config, cohort)
        before = time.process_time()
        table, notes = _combine(config, cohort, done, prior)
        cost = {part: float(np.mean([gene[part] for gene in taken])) for part in (taken[0] if taken else ())}
        if cost:
            cost[METAS_COST] = (time.process_time() - before) / len(done)
        reference = _reference(config, table["method"].to_list())
        summary = summarise(table, reference, seed=config.seed)
        page = config.out / "report.html"
        result = StackResult(summary, table, report, f"stack-{config.meta}", page, notes, symbols=symbols)
        _write(config, result)
    return replace(result, seconds=time.perf_counter() - started, cost=cost)


# --- settings --------------------------------------------------------------------------------------------------


def _check(config: StackConfig) -> tuple[registry.Learner, ...]:
    """Refuse settings that cannot work before anything is read."""
    Outcome(config.transform, config.residualize)
    Preparation(config.feature_transform, config.feature_components)
    if config.transform == "quantile" and config.residualize == "fold":
        raise GenopredError(
            "--transform quantile brings everyone to the mean distribution of all people, held-out ones included; "
            "give --residualize global or none with it, or another --transform."
        )
    if config.meta not in METAS:
        raise ModelError(f"--meta {config.meta}: there are {', '.join(METAS)}.")
    if config.inputs not in ("genotype", "sequence", "both"):
        raise GenopredError(f"--inputs {config.inputs}: there are genotype, sequence, both.")
    if (config.inputs != "genotype") != (config.features is not None):
        raise GenopredError(f"--inputs {config.inputs} and --features go together; give both or neither.")
    _check_features(config)
    for flag, value, least in (("--outer-folds", config.outer_folds, 2), ("--inner-folds", config.inner_folds, 3)):
        if value < least:
            raise GenopredError(f"{flag} {value}: at least {least} folds are needed.")
    if not 0 <= config.maf <= 0.5:
        raise GenopredError(f"--maf {config.maf}: a minor allele frequency lies between 0 and 0.5.")
    chosen = registry.DEFAULT_LEARNERS if config.learners is None else config.learners
    if not chosen:
        raise ModelError("--learners names none; name at least one, or leave it out for all.")
    twice = {name for name in chosen if chosen.count(name) > 1}
    if twice:
        raise ModelError(f"--learners names {', '.join(sorted(twice))} more than once; name each once.")
    found = tuple(registry.find(name) for name in chosen)
    if config.inputs == "sequence" and all(learner.genotype_only for learner in found):
        raise ModelError("--inputs sequence: none of the chosen learners can take sequence features.")
    return found


def _check_features(config: StackConfig) -> None:
    """Whether `--features` is something, and `--fasta` there where it is a model."""
    if _feature_model(config) is not None:
        if config.fasta is None:
            raise GenopredError(
                f"--features {config.features} needs --fasta FILE, the reference of the genotypes' build, for people's "
                "sequences."
            )
    elif config.features is not None and not Path(config.features).is_dir():
        raise GenopredError(
            f"--features {config.features}: no such folder, and no model of that name; give a folder that genopred "
            f"features wrote, or a model such as {DEFAULT_MODEL} with --fasta FILE."
        )
    elif config.fasta is not None:
        raise GenopredError(f"--fasta goes with --features MODEL, such as --features {DEFAULT_MODEL}; leave it out.")


def _feature_model(config: StackConfig) -> str | None:
    """The model that `features` names; None for a folder of features."""
    if config.features is None or (Path(config.features) / MANIFEST).is_file():
        return None
    return str(config.features) if is_model(str(config.features)) else None


def _with_features(config: StackConfig, cohort: Cohort, progress: Progress | None) -> StackConfig:
    """The settings with a folder of features, computed now where a model was named."""
    model = _feature_model(config)
    if model is None or config.fasta is None:
        return config
    from genopred.pipelines import features

    given = ((kind, getattr(config.cohort, kind)) for kind in ("bfile", "pfile", "vcf"))
    settings = features.FeaturesConfig(
        genotypes=next((kind, path) for kind, path in given if path is not None),
        fasta=config.fasta,
        out=config.out / "features",
        model=model,
        expression=config.cohort.expression,
        gene=tuple(cohort.expression.genes["gene_id"].to_list()),
        keep=config.cohort.keep,
        remove=config.cohort.remove,
        threads=config.threads,
        resume=config.resume,
    )
    try:
        done = features.run(settings, progress)
    except GenopredError as bad:
        raise type(bad)(
            f"--features {model}: {bad} (For other settings run genopred features first, and give --features its "
            "folder.)"
        ) from bad
    for line in done.lines():
        log.info(line)
    return replace(config, features=settings.out)


def _make_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise GenopredError(f"--out {out} is a file; give a folder.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise GenopredError(f"--out {out}: {problem.strerror}; choose a folder that you may write.") from None


def _folds(config: StackConfig, cohort: Cohort) -> NDArray[np.int64]:
    n = len(cohort.samples)
    if config.folds is not None:
        folds = read_folds(config.folds, cohort.samples)
    else:
        strata = None if config.stratify is None else read_labels(config.stratify, cohort.samples, "group")
        folds = outer_folds(n, config.outer_folds, config.seed, strata)
    smallest = n - int(np.bincount(folds).max())
    if smallest < 2 * config.inner_folds:
        raise ModelError(
            f"the largest outer fold leaves {smallest} training people, too few for --inner-folds {config.inner_folds} "
            "with two people each; use fewer inner folds or more even outer folds."
        )
    return folds


def _settle_settings(
    config: StackConfig, cohort: Cohort, folds: NDArray[np.int64], chosen: Sequence[registry.Learner]
) -> None:
    """Write the settings that results depend on, or refuse to mix with results of others."""
    model = _feature_model(config)  # its features are held against weights and settings by `pipelines.features` itself
    cohort_settings = {key: value for key, value in asdict(config.cohort).items() if key != "genes"}
    settings = fingerprint(
        {"cohort": cohort_settings},
        people=hashlib.sha256("\n".join(cohort.samples.tolist()).encode()).hexdigest()[:16],
        folds=hashlib.sha256(folds.astype("<i8").tobytes()).hexdigest()[:16],
        learners=[learner.name for learner in chosen],
        features=config.features and Path(config.features) if model is None else [model, config.fasta],
        **{key: getattr(config, key) for key in _SETTINGS},
    )
    settle(config.out, settings, OUTPUTS, resume=config.resume)


def _expression_values(config: StackConfig, cohort: Cohort) -> NDArray[np.float64]:
    """Expression (N, G); with `--transform quantile` normalised over all genes of the file, used or not."""
    if config.transform != "quantile":
        return cohort.expression.values
    whole = read_expression(config.cohort.expression).select(cohort.samples)
    place = {gene: i for i, gene in enumerate(whole.genes["gene_id"].to_list())}
    columns = [place[gene] for gene in cohort.expression.genes["gene_id"].to_list()]
    return quantile_normalise(whole.values)[:, columns]


def _prior(config: StackConfig) -> Shipped | None:
    if config.stack_weights == "none":
        return None
    if config.stack_weights == "shipped":
        return shipped()
    path = Path(config.stack_weights)
    return load_weights(read_bytes(path, "stack weights").decode(errors="replace"), str(path))


# --- one gene --------------------------------------------------------------------------------------------------


def _compute_genes(
    config: StackConfig,
    cohort: Cohort,
    values: NDArray[np.float64],
    folds: NDArray[np.int64],
    chosen: tuple[registry.Learner, ...],
    progress: Progress | None,
) -> list[dict[str, float]]:
    """Base predictions of every gene that has none yet, in parallel, each written as it comes.

    Returns the CPU seconds of each gene computed, by learner.
    """
    genes = cohort.expression.genes
    todo = [i for i, gene in enumerate(genes["gene_id"].to_list()) if not _info_path(config.out, gene).is_file()]
    total, ready = genes.height, genes.height - len(todo)
    if ready:
        log.info(f"{ready} of {total} genes were computed before; going on with the others")
    if progress is not None:
        progress(ready, total, "")
    if not todo:
        return []
    covariates = None if cohort.covariates is None else cohort.covariates.values
    outcome = Outcome(config.transform, config.residualize)

    def tasks() -> Iterator[Any]:
        for i in todo:
            gene = genes.row(i, named=True)
            interval = Interval.around(gene["chrom"], gene["tss"], config.cohort.window)
            window = cohort.genotypes.select(variants=interval)
            features = _features(config, cohort, gene["gene_id"])
            yield joblib.delayed(_one_gene)(
                config.out, gene, window, values[:, i], covariates, folds, chosen, outcome, config.maf,
                config.inner_folds, config.seed, config.inputs, features,
                Preparation(config.feature_transform, config.feature_components),
            )  # fmt: skip

    seconds = []
    with workers(config.threads, len(todo), ordered=False) as in_parallel:
        for k, (gene_id, taken) in enumerate(in_parallel(tasks()), start=1):
            seconds += [taken] if taken else []
            if progress is not None:
                progress(ready + k, total, gene_id)
    return seconds


def _features(config: StackConfig, cohort: Cohort, gene_id: str) -> Features | None:
    if config.features is None:
        return None
    from genopred.io.features import read_features

    return read_features(config.features, gene_id).select(cohort.samples)


def _one_gene(
    out: Path,
    gene: dict[str, Any],
    genotypes: Any,
    raw: NDArray[np.float64],
    covariates: NDArray[np.float64] | None,
    folds: NDArray[np.int64],
    chosen: tuple[registry.Learner, ...],
    outcome: Outcome,
    maf: float,
    inner_folds: int,
    seed: int,
    inputs: str,
    features: Features | None,
    preparation: Preparation,
) -> tuple[str, dict[str, float]]:
    """Compute and write one gene; its info file comes last and says that the gene is done.

    Returns the gene and the CPU seconds of each part.
    """
    gene_id = gene["gene_id"]
    started = time.process_time()
    with threadpool_limits(1):
        dosage = genotypes.dosage()
        use, notes = align.usable_variants(dosage, genotypes.variants, maf=maf)
        info: dict[str, Any] = {
            "gene_id": gene_id,
            "variants_in_window": int(len(use)),
            "variants_used": int(use.sum()),
            "dropped": [list(note) for note in notes],
            "skipped": None,
        }
        blocks = []
        if inputs != "sequence":
            blocks.append(Block("genotype", np.ascontiguousarray(dosage[:, use]), chosen))
        if features is not None:
            able = tuple(learner for learner in chosen if not learner.genotype_only)
            blocks.append(Block("sequence", features.values, able, preparation))
        try:
            if inputs != "sequence" and not use.any():
                raise ModelError("no usable variant in the cis window")
            # the gene's own seed, so that it does not matter which genes run beside it
            own = int.from_bytes(hashlib.sha256(f"{seed} {gene_id}".encode()).digest()[:4], "little")
            context = registry.GeneContext(genotypes.variants["pos"].to_numpy()[use], gene["tss"], own)
            result = nested_base(blocks, raw, covariates, folds, context, outcome=outcome, inner_folds=inner_folds)
        except ModelError as problem:
            info["skipped"] = str(problem)
            write_json(_info_path(out, gene_id), info)
            return gene_id, {}
    samples = genotypes.samples[result.person]
    table = pl.DataFrame(
        {
            "outer_fold": pl.Series(result.fold, dtype=pl.Int32),
            "inner_fold": pl.Series(result.inner, dtype=pl.Int32),
            "sample": samples.tolist(),
            "observed": result.observed,
            **{name: pl.Series(column, dtype=pl.Float32) for name, column in zip(result.names, result.base.T)},
        }
    )
    write_files({_base_path(out, gene_id): lambda path: table.write_parquet(path)})
    write_json(_info_path(out, gene_id), info)
    assert result.seconds is not None  # noqa: S101 - nested_base always measures
    seconds = dict(zip(result.names, result.seconds.tolist()))
    return gene_id, {**seconds, REST: time.process_time() - started - sum(seconds.values())}


def read_base(out: Path, gene_id: str) -> pl.DataFrame:
    """The base predictions of one gene: outer_fold, inner_fold, sample, observed, and a column per base learner."""
    return pl.read_parquet(_base_path(out, gene_id))


def _base_path(out: Path, gene_id: str) -> Path:
    return out / "genes" / f"{safe_name(gene_id)}.parquet"


def _info_path(out: Path, gene_id: str) -> Path:
    return out / "genes" / f"{safe_name(gene_id)}.json"


def _collect(config: StackConfig, cohort: Cohort) -> tuple[list[str], MatchReport]:
    """Genes that have base predictions, and the report with what happened to the others and to variants."""
    done, skipped = [], []
    tally = align.Tally(cohort.report)
    for gene_id in cohort.expression.genes["gene_id"].to_list():
        info = json.loads(_info_path(config.out, gene_id).read_text(encoding="utf-8"))
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
    config: StackConfig, cohort: Cohort, done: Sequence[str], prior: Shipped | None
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Fit every meta-learner per outer fold over all genes, predict, score; returns scores and notes."""
    bases = BaseTables(config.out, done)
    names = bases.result(done[0]).names
    outer = np.unique(bases.result(done[0]).fold).tolist()
    metas = {
        fold: [make_meta(name, names, seed=config.seed, prior=prior).fit(bases.fold(fold)) for name in METAS]
        for fold in outer
    }
    tables, comparisons, files = [], [], []
    # threads, not processes: the time goes into XGBoost, which lets others run meanwhile
    threads = min(config.threads, len(done))
    parallel = joblib.Parallel(threads, backend="threading", return_as="generator", pre_dispatch="2*n_jobs")
    for gene, predicted in zip(done, parallel(joblib.delayed(_predict)(metas, bases, gene) for gene in done)):
        held = bases.held_out(gene)
        observed = held["observed"].to_numpy()
        tables.append(scores(gene, observed, predicted, seed=config.seed))
        comparisons.append(compare(gene, observed, predicted, _reference(config, predicted), seed=config.seed))
        files.append(_write_predictions(config.out, gene, held, predicted))
    _join_predictions(config.out, files)
    write_table(add_fdr(pl.concat(comparisons)), config.out / "comparisons")
    every = [bases.fold(fold) for fold in outer]
    weights = fit_weights(every, _origin(config, cohort, len(done)), seed=config.seed)
    write_json(config.out / "weights.json", weights)
    return pl.concat(tables), _notes(config, len(done), names, prior)


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


def _reference(config: StackConfig, methods: Collection[str]) -> str:
    """What the others are compared with: the elastic net where it was trained."""
    return "elastic-net" if "elastic-net" in methods else f"stack-{config.meta}"


def _notes(config: StackConfig, genes: int, names: Sequence[str], prior: Shipped | None) -> tuple[str, ...]:
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
    if config.residualize == "global":
        notes.append(
            "--residualize global: transform and covariates were applied to everyone at once, held-out people "
            "included, as is usual in TWAS; --residualize fold keeps them apart."
        )
    return tuple(notes)


def _origin(config: StackConfig, cohort: Cohort, genes: int) -> dict[str, Any]:
    return {
        "data": cohort.expression.source,
        "genes": genes,
        "people": len(cohort.samples),
        "residualize": config.residualize,
        "transform": config.transform,
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


def _write(config: StackConfig, result: StackResult) -> None:
    write_table(result.scores, config.out / "scores")
    write_table(result.summary, config.out / "summary")
    write_files({config.out / "matched.tsv": lambda path: result.report.table.write_csv(path, separator="\t")})
    if config.page:
        write_report(config, result)


def write_report(
    config: StackConfig,
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
    predictions = pl.scan_parquet(config.out / "predictions.parquet").filter(pl.col("gene_id").is_in(best)).collect()
    folds = str(config.folds) if config.folds is not None else f"{config.outer_folds} over people, seed {config.seed}"
    info = {
        "command": config.command,
        "stack": result.stack,
        "outer folds": folds,
        "inner folds": config.inner_folds,
        "seed": config.seed,
        "transform": config.transform,
        "residualize": config.residualize,
        "window": f"{config.cohort.window:,} bp on each side of the TSS",
        "maf": config.maf,
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
