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
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from genopred import align
from genopred.errors import AlignmentError, GenopredError, ModelError, examples
from genopred.files import lock_output, write_files, write_json
from genopred.genetics import ld
from genopred.genetics.chromosomes import Summing, blocks, clump_chromosomes, score_table
from genopred.genetics.regression import marginal_association
from genopred.genetics.scores import (
    P_THRESHOLDS,
    R2_THRESHOLDS,
    BaselinePRS,
    ClumpThresholdPRS,
)
from genopred.genetics.transform import quantile_normalise
from genopred.io.covariates import read_covariates
from genopred.io.folds import read_folds
from genopred.io.lists import read_ids, read_samples
from genopred.io.scores import ScoreFile, read_phenotype, read_ranges, read_values, read_weights
from genopred.io.sumstats import read_sumstats, sumstats_build
from genopred.learning.evaluate import Outcome, outer_folds, scores
from genopred.pipelines.cohort import CohortInputs, choose_covariates, open_cohort, open_genotypes
from genopred.pipelines.run import fingerprint, settle
from genopred.pipelines.workers import workers
from genopred.types import SCORE_SCHEMA, Genotypes, Interval, MatchReport, Note

log = logging.getLogger("genopred.prs")

Progress = Callable[[int, int, str], None]

#: To be called once the inputs are known to be good, before anything is computed or written.
Begin = Callable[[], None]

METHODS = ("baseline-prs", "pt-prs")

#: Every table that a run may write.
TABLES = ("weights", "clumps", "scores", "accuracy", "models")

#: Every file that a run may write, after `OUT.`.
OUTPUTS = (*(f"{name}.{kind}" for name in TABLES for kind in ("parquet", "tsv")), "matched.tsv", "parts/*")


@dataclass(frozen=True)
class PRSConfig:
    """Everything that a run depends on. `cohort` has genotypes, filters and, for genes, expression.

    Attributes
    ----------
    cohort : CohortInputs
        Its `expression` is not read where pheno, sumstats or score is given.
    out : Path
    mode : {"genes", "pheno", "sumstats", "score"}
    source : Path, optional
        The file of pheno, sumstats or score.
    pheno_name : str, optional
    score_columns : tuple of int, optional
        Columns of variant id, effect allele and weight, from 1.
    average, skip_missing, center : bool
        See `genopred.genetics.scores.polygenic_score`.
    ranges, range_values : Path, optional
        plink's `--q-score-range`: ranges, and p-values by variant.
    ambiguous : str, optional
        'keep' or 'drop' A/T and C/G variants; by default kept for score files, dropped for summary statistics.
    min_match : float
        Smallest share of a score file's variants, or of whichever of summary statistics and genotypes has fewer, that
        must match (see `genopred.align.require_match`).
    train : Path, optional
        Training people; by default everyone. They also give the frequencies by which missing genotypes are filled.
    folds : Path, optional
    p1, r2 : tuple of float
        Thresholds; with more than one pair the training people choose (genes), or all are scored.
    p2 : float
        Members of a clump are listed if their p is below.
    kb, ld : clumping, see `genopred.genetics.ld.clump`
    maf, outer_folds, inner_folds, transform, residualize, calibrate, threads, seed
    resume : bool
        Go on where an earlier run of the same settings stopped; otherwise start over.
    """

    cohort: CohortInputs
    out: Path
    mode: str = "genes"
    source: Path | None = None
    pheno_name: str | None = None
    score_columns: tuple[int, ...] | None = None
    average: bool = False
    skip_missing: bool = False
    center: bool = False
    ranges: Path | None = None
    range_values: Path | None = None
    ambiguous: str | None = None
    min_match: float = 0.75
    train: Path | None = None
    folds: Path | None = None
    p1: tuple[float, ...] = P_THRESHOLDS
    p2: float = 0.01
    r2: tuple[float, ...] = R2_THRESHOLDS
    kb: float = 250.0
    ld: str = "genotype"
    maf: float = 0.0
    outer_folds: int = 5
    inner_folds: int = 5
    transform: str = "inverse-normal"
    residualize: str = "fold"
    calibrate: bool = True
    threads: int = 1
    seed: int = 1
    resume: bool = True


@dataclass(frozen=True)
class PRSResult:
    """What a run produced: its tables by name, the report of what was used, and lines for the screen."""

    tables: dict[str, pl.DataFrame]
    report: MatchReport
    lines: tuple[str, ...] = field(default=())


def run(config: PRSConfig, progress: Progress | None = None) -> PRSResult:
    """Compute and write what the configuration asks for.

    Parameters
    ----------
    config : PRSConfig
    progress : callable, optional
        Called with (done, total, label).

    Returns
    -------
    PRSResult

    Raises
    ------
    GenopredError
        On bad input, or where another run's results are at `out`.
    """
    kinds = {"genes": _genes, "pheno": _trait, "sumstats": _trait, "score": _apply}
    if config.mode not in kinds:
        raise GenopredError(f"mode {config.mode!r} is unknown; there are {', '.join(kinds)}.")
    ld.check_grid(config.p1, config.r2, config.kb, config.ld)
    with lock_output(config.out), threadpool_limits(1):
        result = kinds[config.mode](config, progress or (lambda done, total, label: None), lambda: _begin(config))
        for line in result.report.lines():
            log.info(line)
        _write(config.out, result)
    return result


def _begin(config: PRSConfig) -> None:
    """Refuse to mix with another run's results; remove them where asked to start over."""
    settings = asdict(config)
    if config.mode != "genes":
        settings["cohort"].pop("expression")
    if settle(config.out, fingerprint(settings), OUTPUTS, resume=config.resume, prefix=True):
        log.info(f"going on with what an earlier run of the same settings left at {config.out}")


def _write(out: Path, result: PRSResult) -> None:
    files: dict[Any, Any] = {}
    for name, table in {**result.tables, "matched": result.report.table}.items():
        if name != "matched":
            files[f"{out}.{name}.parquet"] = lambda path, t=table: t.write_parquet(path)
        files[f"{out}.{name}.tsv"] = lambda path, t=table: t.write_csv(path, separator="\t")
    write_files(files)
    with suppress(FileNotFoundError):
        for part in sorted(_parts(out).iterdir()):
            part.unlink()
        _parts(out).rmdir()


def _parts(out: Path) -> Path:
    return Path(f"{out}.parts")


# --- genes -----------------------------------------------------------------------------------------------------------


def _genes(config: PRSConfig, progress: Progress, begin: Begin) -> PRSResult:
    cohort = open_cohort(config.cohort)
    samples = cohort.samples
    train = _train_mask(config, samples)
    for name, size in (("--train", int(train.sum())), ("training people outside a fold", _smallest(config, train))):
        if size < config.inner_folds:
            raise ModelError(f"{name}: {size} people cannot be split into {config.inner_folds} inner folds.")
    folds = _folds(config, samples[train])
    outcome = Outcome(config.transform, config.residualize)
    covariates = None if cohort.covariates is None else cohort.covariates.values
    genes = cohort.expression.genes
    values = cohort.expression.values
    values = quantile_normalise(values) if config.transform == "quantile" else values

    begin()
    # absolute, because a worker may have been started in another folder
    names = [_parts(config.out).absolute() / f"{i:06d}.json" for i in range(genes.height)]
    ready = [name.is_file() for name in names]

    def tasks() -> Iterator[Any]:
        for i, gene in enumerate(genes.iter_rows(named=True)):
            if not ready[i]:
                interval = Interval.around(gene["chrom"], gene["tss"], config.cohort.window)
                window = cohort.genotypes.select(variants=interval)
                raw = values[:, i]
                job = (config, gene["gene_id"], window, raw, covariates, train, folds, outcome, names[i])
                yield joblib.delayed(_one_gene)(*job)

    progress(sum(ready), genes.height, "")
    with workers(config.threads, genes.height - sum(ready)) as in_parallel:
        for done, gene_id in enumerate(in_parallel(tasks()), start=sum(ready) + 1):
            progress(done, genes.height, gene_id)
    return _gather(names, align.Tally(cohort.report))


def _gather(names: list[Path], tally: align.Tally) -> PRSResult:
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
        raise ModelError(f"none of {len(names)} genes could be used: {examples(skipped)}.")
    tables = {name: pl.concat(tables, rechunk=True) for name, tables in parts.items()}
    return PRSResult(tables, tally.report(), _gene_lines(tables["accuracy"]))


def _table_part(name: Path, table: str) -> Path:
    return name.with_suffix(f".{table}.parquet")


def _gene_lines(accuracy: pl.DataFrame) -> tuple[str, ...]:
    means = accuracy.group_by("set", "method", maintain_order=True).agg(
        pl.len().alias("genes"), pl.col("r2", "signed_r2").mean()
    )
    lines = ["set              method        genes  mean R2  mean signed r2"]
    for row in means.iter_rows(named=True):
        lines.append(
            f"{row['set']:<16} {row['method']:<12} {row['genes']:>6,}  {row['r2']:>7.4f}  {row['signed_r2']:>14.4f}"
        )
    return tuple(lines)


def _train_mask(config: PRSConfig, samples: NDArray[np.str_]) -> NDArray[np.bool_]:
    if config.train is None:
        return np.ones(len(samples), dtype=bool)
    train = np.isin(samples, read_samples(config.train))
    if not train.any():
        raise AlignmentError(
            f"{config.train}: none of its samples is among the {len(samples)} used ({examples(samples.tolist())})."
        )
    return train


def _smallest(config: PRSConfig, train: NDArray[np.bool_]) -> int:
    n = int(train.sum())
    return n - -(-n // config.outer_folds)


def _folds(config: PRSConfig, samples: NDArray[np.str_]) -> NDArray[np.int64]:
    if config.folds is not None:
        return read_folds(config.folds, samples)
    return outer_folds(len(samples), config.outer_folds, config.seed)


def _one_gene(
    config: PRSConfig,
    gene_id: str,
    window: Genotypes,
    raw: NDArray[np.float64],
    covariates: NDArray[np.float64] | None,
    train: NDArray[np.bool_],
    folds: NDArray[np.int64],
    outcome: Outcome,
    name: Path,
) -> str:
    """Both scores of one gene: weights, predictions of everyone, accuracy. They are written; `name` comes last."""
    with threadpool_limits(1):
        dosage = window.dosage()
        use, notes = align.usable_variants(dosage[train], window.variants, maf=config.maf)
        known: list[Note] = [("in", "in the windows of all genes together", len(use), ""), *notes]
        skipped, tables = None if use.any() else "no usable variant in the cis window", {}
        if skipped is None:
            x, variants = np.ascontiguousarray(dosage[:, use]), window.variants.filter(pl.Series(use))
            try:
                tables = _learn(config, gene_id, window.samples, x, variants, raw, covariates, train, folds, outcome)
            except ModelError as problem:
                skipped = str(problem)
        if skipped is None:
            known.append(("used", "in a gene's window", int(use.sum()), ""))
        elif use.any():
            known.append(("dropped", "gene left out", int(use.sum()), ""))
    for key, table in tables.items():
        write_files({_table_part(name, key): lambda path, t=table: t.write_parquet(path)})  # type: ignore[misc]
    write_json(name, {"gene_id": gene_id, "notes": known, "skipped": skipped, "tables": list(tables)})
    return gene_id


def _learn(
    config: PRSConfig,
    gene_id: str,
    samples: NDArray[np.str_],
    x: NDArray[np.float32],
    variants: pl.DataFrame,
    raw: NDArray[np.float64],
    covariates: NDArray[np.float64] | None,
    train: NDArray[np.bool_],
    folds: NDArray[np.int64],
    outcome: Outcome,
) -> dict[str, pl.DataFrame]:
    y_train, y_rest = outcome.split(raw, covariates, train)
    observed = np.empty(len(raw))
    observed[train], observed[~train] = y_train, y_rest
    parts: dict[str, list[pl.DataFrame]] = {"weights": [], "scores": [], "accuracy": [], "models": []}
    for method in METHODS:
        cross, measured = _cross_validate(config, method, x, raw, covariates, train, folds, outcome, variants)
        model = _estimator(config, method, variants).fit(x[train], y_train)
        tables = _gene_tables(gene_id, method, model, x, variants, y_train, train)
        parts["weights"].append(tables["weights"])
        parts["models"].append(tables["models"])
        predicted = model.predict(x)
        fold = np.full(len(raw), -1)
        fold[train] = folds
        parts["scores"].append(_gene_scores(gene_id, method, samples, train, fold, observed, cross, predicted))
        parts["accuracy"].append(_accuracy(gene_id, method, "cross-validated", measured, cross[train], config.seed))
        if not train.all():
            held = (observed[~train], predicted[~train])
            parts["accuracy"].append(_accuracy(gene_id, method, "held-out", *held, config.seed))
    return {name: pl.concat(tables) for name, tables in parts.items()}


def _estimator(config: PRSConfig, method: str, variants: pl.DataFrame) -> BaselinePRS | ClumpThresholdPRS:
    common: dict[str, Any] = {"cv": config.inner_folds, "random_state": config.seed, "calibrate": config.calibrate}
    if method == "baseline-prs":
        return BaselinePRS(**common)
    positions = variants["pos"].to_numpy()
    return ClumpThresholdPRS(positions, config.p1, config.r2, config.kb, config.ld, **common)


def _cross_validate(
    config: PRSConfig,
    method: str,
    x: NDArray[np.float32],
    raw: NDArray[np.float64],
    covariates: NDArray[np.float64] | None,
    train: NDArray[np.bool_],
    folds: NDArray[np.int64],
    outcome: Outcome,
    variants: pl.DataFrame,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Predictions (N,) of training people by models of the other folds, and what was measured (n_train,).

    Everything, transform and covariates included, is learned outside the fold.
    """
    people = np.flatnonzero(train)
    cross, measured = np.full(len(raw), np.nan), np.empty(len(people))
    values, cov = raw[people], None if covariates is None else covariates[people]
    for fold in np.unique(folds):
        inside = folds != fold
        y_in, measured[~inside] = outcome.split(values, cov, inside)
        model = _estimator(config, method, variants).fit(x[people[inside]], y_in)
        cross[people[~inside]] = model.predict(x[people[~inside]])
    return cross, measured


def _gene_tables(
    gene_id: str,
    method: str,
    model: Any,
    x: NDArray[np.float32],
    variants: pl.DataFrame,
    y_train: NDArray[np.float64],
    train: NDArray[np.bool_],
) -> dict[str, pl.DataFrame]:
    marginal = marginal_association(x[train], y_train)
    chosen = np.flatnonzero(model.coef_)
    weights = variants[chosen].select(
        pl.lit(gene_id).alias("gene_id"),
        pl.lit(method).alias("method"),
        pl.col("id").alias("variant_id"),
        "chrom",
        "pos",
        "ref",
        "alt",
        pl.Series("beta", marginal.slope[chosen]),
        pl.Series("pval", marginal.pval[chosen]),
        pl.Series("weight", model.coef_[chosen]),
        pl.lit(model.intercept_, pl.Float64).alias("intercept"),
    )
    row = {
        "gene_id": gene_id,
        "method": method,
        "variants": len(chosen),
        "slope": model.slope_,
        "intercept": model.intercept_,
        "p_threshold": getattr(model, "p_threshold_", None),
        "r2_threshold": getattr(model, "r2_threshold_", None),
    }
    kinds = {"p_threshold": pl.Float64, "r2_threshold": pl.Float64}
    return {"weights": weights, "models": pl.DataFrame([row], schema_overrides=kinds)}


def _gene_scores(
    gene_id: str,
    method: str,
    samples: NDArray[np.str_],
    train: NDArray[np.bool_],
    fold: NDArray[np.int64],
    observed: NDArray[np.float64],
    cross: NDArray[np.float64],
    predicted: NDArray[np.float64],
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "gene_id": [gene_id] * len(samples),
            "method": [method] * len(samples),
            "sample": samples.tolist(),
            "set": np.where(train, "training", "held-out").tolist(),
            "fold": fold.astype(np.int32),
            "observed": observed,
            "cross_validated": pl.Series(cross).fill_nan(None),
            "predicted": predicted,
        }
    )


def _accuracy(
    gene_id: str, method: str, which: str, observed: NDArray[np.float64], predicted: NDArray[np.float64], seed: int
) -> pl.DataFrame:
    table = scores(gene_id, observed, {method: predicted}, seed=seed)
    return table.select("gene_id", "method", pl.lit(which).alias("set"), *list(SCORE_SCHEMA)[2:])


# --- a trait over whole files ----------------------------------------------------------------------------------------


def _trait(config: PRSConfig, progress: Progress, begin: Begin) -> PRSResult:
    everything, genotypes, tally = _open(config)
    if config.mode == "pheno":
        effects = _associate(config, genotypes, tally, progress, begin)
    else:
        effects = _given_effects(config, everything, genotypes, tally)
        begin()
    smallest = float(effects["pval"].to_numpy().min())
    if smallest > max(config.p1):
        raise ModelError(
            f"no variant has p <= {max(config.p1):g}; raise --clump-p1 (the smallest of {effects.height:,} is "
            f"{smallest:.3g})."
        )
    train = _train_mask(config, genotypes.samples)
    people = genotypes.select(genotypes.samples[train])
    weights, clumps = clump_chromosomes(
        people, effects, config.p1, config.r2, p2=config.p2, kb=config.kb, method=config.ld
    )
    tally.note("variants", "index variants of at least one clump", weights["column"].n_unique())
    table = score_table(genotypes, weights, train, _summing(config), progress=progress)
    lines = tuple(f"{name}: {n:,} variants" for name, n in weights.group_by("score", maintain_order=True).len().rows())
    tables = {"weights": weights.drop("column"), "clumps": clumps, "scores": table}
    return PRSResult(tables, tally.report(), lines)


def _summing(config: PRSConfig) -> Summing:
    return Summing(config.average, config.skip_missing, config.center)


def _open(config: PRSConfig) -> tuple[Genotypes, Genotypes, align.Tally]:
    """Genotypes after --keep and --remove; the same after --extract and --exclude; what these left out."""
    inputs = config.cohort
    genotypes = open_genotypes(inputs.bfile, inputs.pfile, inputs.vcf)
    tally = align.Tally()
    samples = genotypes.samples.tolist()
    tally.come("samples", f"in {genotypes.source}", len(samples))
    for path, flag, stay in ((inputs.keep, "--keep", True), (inputs.remove, "--remove", False)):
        if path is not None:
            listed = set(read_samples(path).tolist())
            left = [name for name in samples if (name in listed) == stay]
            if not left:
                raise AlignmentError(f"{flag} {path} leaves none of {len(samples)} samples ({examples(samples)}).")
            gone = [name for name in samples if (name in listed) != stay]
            tally.drop("samples", f"not in {flag}" if stay else f"in {flag}", gone)
            samples = left
    genotypes = genotypes.select(samples)
    tally.use("samples", "scored", len(samples))
    tally.opened("variants", genotypes.source, genotypes.n_variants, genotypes.notes)
    fewer = genotypes
    for path, flag, stay in ((inputs.extract, "--extract", True), (inputs.exclude, "--exclude", False)):
        if path is not None:
            ids = pl.Series(read_ids(path).tolist())
            use = fewer.variants["id"].is_in(ids.implode()).to_numpy() == stay
            if not use.any():
                raise AlignmentError(f"{flag} {path} leaves none of {len(use):,} variants.")
            tally.drop("variants", f"not in {flag}" if stay else f"in {flag}", int((~use).sum()))
            fewer = fewer.select(variants=use)
    return genotypes, fewer, tally


def _match(
    config: PRSConfig,
    everything: Genotypes,
    genotypes: Genotypes,
    table: pl.DataFrame,
    build: str | None,
    tally: align.Tally,
) -> align.Harmonised:
    """Variants of a score file or of summary statistics among the genotypes, or the reason why too few are there."""
    given = config.mode == "score"
    names, builds = (genotypes.source, str(config.source)), (align.known_build(everything), build)
    settings: dict[str, Any] = {"ambiguous": config.ambiguous or ("keep" if given else "drop")}
    settings["within"] = "score" if given else None
    found = align.harmonise(everything.variants, table, names=names, builds=builds, **settings)
    # Held against all variants: what --extract leaves out is left out on purpose.
    share = align.require_match(
        everything.variants,
        table,
        found,
        config.min_match,
        names=names,
        weight=table["weight"] if given else None,
        either=not given,
        builds=builds,
    )
    text = f"share that matches: {share:.1%}" + (f", {found.share(table['weight']):.1%} by weight" if given else "")
    number = int(found.met.sum())
    if found.by == "position" and None not in builds and builds[0] != builds[1]:
        log.warning(f"{names[1]} says that it is of {build}, but its positions are those of {names[0]}, {builds[0]}")
    if genotypes is not everything:
        names = (f"{names[0]} after --extract and --exclude", names[1])
        found = align.harmonise(genotypes.variants, table, names=names, by=found.by, **settings)
    tally.add("weights", found.notes)
    tally.note("weights", text, number)
    met = len(np.unique(found.a))
    if not met:
        raise AlignmentError(
            f"{names[1]}: none of its {table.height:,} variants can be used: {_dropped(tally, 'weights')}."
        )
    tally.drop("variants", f"not in {config.source}", genotypes.n_variants - met)
    tally.use("variants", f"in {config.source}", met)
    return found


def _associate(
    config: PRSConfig, genotypes: Genotypes, tally: align.Tally, progress: Progress, begin: Begin
) -> pl.DataFrame:
    """Marginal effect of every variant on the phenotype of the training people, block by block."""
    y, covariates = _phenotype(config, genotypes, tally)
    used = ~np.isnan(y)
    begin()
    people = genotypes.select(genotypes.samples[used])
    parts = []
    total = genotypes.n_variants
    for columns in blocks(np.arange(total)):
        dosage = people.dosage(columns)
        out = marginal_association(dosage, y[used], None if covariates is None else covariates[used])
        flat = np.isnan(out.slope) | np.isnan(out.pval)
        rare = (np.minimum(out.af, 1 - out.af) < config.maf) & ~flat
        parts.append(pl.DataFrame({"column": columns, "beta": out.slope, "pval": out.pval, "rare": rare, "flat": flat}))
        progress(int(columns[-1]) + 1, total, "association")
    table = pl.concat(parts)
    tally.drop("variants", f"MAF below {config.maf:g}", int(table["rare"].sum()))
    tally.drop("variants", "does not vary", int(table["flat"].sum()))
    table = table.filter(~pl.col("rare") & ~pl.col("flat")).drop("rare", "flat")
    tally.use("variants", "associated", table.height)
    if not table.height:
        why = _dropped(tally, "variants")
        raise ModelError(f"none of the variants of {genotypes.source} can be associated: {why}.")
    return table


def _phenotype(
    config: PRSConfig, genotypes: Genotypes, tally: align.Tally
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """The phenotype of each person, NaN of those who have no part in the weights, and covariates."""
    samples, values, name = read_phenotype(Path(str(config.source)), config.pheno_name)
    people = genotypes.samples
    value = dict(zip(samples.tolist(), values.tolist()))
    if not set(value) & set(people.tolist()):
        raise AlignmentError(
            f"no sample of {config.source} is in {genotypes.source} ({examples(samples.tolist())} against "
            f"{examples(people.tolist())}){align.name_hint(samples.tolist(), people.tolist())}; use the same names."
        )
    y = np.array([value.get(sample, np.nan) for sample in people.tolist()])
    item = "training people"
    tally.come(item, "samples scored", len(people))

    def drop(bad: NDArray[np.bool_], reason: str) -> None:
        bad = bad & ~np.isnan(y) if reason != f"no {name}" else bad
        tally.drop(item, reason, people[bad].tolist())
        y[bad] = np.nan

    drop(np.isnan(y), f"no {name}")
    drop(~_train_mask(config, people), "not in --train")
    covariates = None
    if config.cohort.covar is not None:
        covariates, there = _trait_covariates(config, people, y)
        drop(~there, "no covariates")
    used = ~np.isnan(y)
    tally.use(item, f"with {name}", int(used.sum()))
    if used.sum() < max(3, config.cohort.min_overlap):
        raise AlignmentError(
            f"{int(used.sum())} samples have genotypes and {name} ({config.source}), fewer than the floor of "
            f"{max(3, config.cohort.min_overlap):g}, of {len(people)}: {_dropped(tally, item)}. Give more, or lower "
            "--min-overlap."
        )
    if np.ptp(y[used]) == 0:
        raise ModelError(f"{config.source}: {name} is the same for all {int(used.sum())} training people.")
    kinds = np.unique(y[used])
    if set(kinds.tolist()) <= {0.0, 1.0, 2.0}:
        text = f"{name} looks like case and control ({'/'.join(f'{k:g}' for k in kinds)}): analysed as quantitative"
        log.warning(f"{config.source}: {text}; plink would fit a logistic regression, which genopred has not")
        tally.note(item, text, int(used.sum()))
    if used.all():
        log.warning("weights and scores are of the same people: give --train to score people who had no part in them")
    return y, covariates


def _trait_covariates(
    config: PRSConfig, samples: NDArray[np.str_], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64] | None, NDArray[np.bool_]]:
    """Covariates (N, K) of the people with a phenotype, and who has any."""
    inputs = config.cohort
    found = choose_covariates(
        read_covariates(Path(str(inputs.covar)), samples=set(samples.tolist())), inputs.covar_names, inputs.n_covariates
    )
    if found is None:
        return None, np.ones(len(samples), dtype=bool)
    there = np.isin(samples, found.samples)
    used = there & ~np.isnan(y)
    if not used.any():
        raise AlignmentError(f"{found.source}: none of its samples has genotypes and a phenotype.")
    align.check_covariates(found.select(samples[used]))
    values = np.zeros((len(samples), len(found.names)))
    values[used] = found.select(samples[used]).values
    return values, there


def _given_effects(config: PRSConfig, everything: Genotypes, genotypes: Genotypes, tally: align.Tally) -> pl.DataFrame:
    """Effects of summary statistics on the genotypes' ALT alleles."""
    path = Path(str(config.source))
    table = read_sumstats(path)
    tally.come("weights", f"in {path}", table.height)
    known = pl.col("beta").is_not_null() & pl.col("pval").is_not_null()
    lacking, table = table.filter(~known), table.filter(known)
    tally.drop("weights", "no effect or p-value", align.variant_names(lacking).to_list())
    if not table.height:
        raise AlignmentError(f"{config.source}: no row has both an effect and a p-value; scores need both.")
    matched = _match(config, everything, genotypes, table, sumstats_build(path), tally)
    return pl.DataFrame(
        {
            "column": matched.a,
            "beta": table["beta"].to_numpy()[matched.b] * matched.sign,
            "pval": table["pval"].to_numpy()[matched.b],
        }
    )


# --- given weights ---------------------------------------------------------------------------------------------------


def _apply(config: PRSConfig, progress: Progress, begin: Begin) -> PRSResult:
    everything, genotypes, tally = _open(config)
    path = Path(str(config.source))
    file = read_weights(path, config.score_columns)
    table = file.table
    tally.opened("weights", str(path), table.height, file.notes)
    matched = _match(config, everything, genotypes, table, file.build, tally)
    used = table[matched.b].with_columns(row=matched.b, column=matched.a, flipped=matched.sign < 0).sort("row")
    if not used.height:
        raise AlignmentError(
            f"{path}: none of its {table.height:,} variants can be used: {_dropped(tally, 'weights')}."
        )
    begin()
    lines = _shares(config, table, matched, used, tally)
    if config.ranges is not None:
        used = _ranges(config, used, tally)
        lines = [f"{name}: {n:,} variants" for name, n in used.group_by("score", maintain_order=True).len().rows()]
    train, flipped = _train_mask(config, genotypes.samples), used["flipped"].to_numpy()
    result = score_table(genotypes, used, train, _summing(config), flipped=flipped, progress=progress)
    return PRSResult({"scores": _with_intercepts(config, result, file)}, tally.report(), tuple(lines))


def _shares(
    config: PRSConfig, table: pl.DataFrame, matched: align.Harmonised, used: pl.DataFrame, tally: align.Tally
) -> list[str]:
    """A line for each score: how much of it is there. Those of which too little is there are said."""
    size = pl.col("weight").abs()
    found = (
        table.with_columns(met=pl.Series(matched.met), expected=pl.Series(matched.expected))
        .group_by("score", maintain_order=True)
        .agg(
            pl.len().alias("n"),
            pl.col("met").sum(),
            (pl.col("met").sum() / pl.col("expected").sum()).alias("share"),
            (size.filter(pl.col("met")).sum() / size.sum()).alias("weight"),
        )
    )
    poor = found.filter(~(pl.col("share") >= config.min_match))["score"].to_list()
    if poor:
        reason = f"scores with less than {config.min_match:.0%} of their variants"
        log.warning(f"{config.source}: {len(poor)} {reason} ({examples(poor)}); they say little")
        tally.note("weights", reason, poor)
    counted = dict(used.group_by("score", maintain_order=True).len().iter_rows())
    return [
        f"{name}: {counted[name]:,} variants" + (f" of {n:,}, {weight:.1%} of all weight" if counted[name] < n else "")
        for name, n, _, _, weight in found.iter_rows()
        if name in counted
    ]


def _with_intercepts(config: PRSConfig, scores: pl.DataFrame, file: ScoreFile) -> pl.DataFrame:
    """Predictions rather than sums, where a file of `genopred prs` says the intercepts."""
    if not file.intercepts:
        return scores
    flags = {"--average": config.average, "--center": config.center, "--q-score-range": config.ranges is not None}
    given = [flag for flag, on in flags.items() if on]
    if given:
        log.warning(f"{config.source}: its intercepts are left out: they belong to plain sums, not to {given[0]}")
        return scores
    return scores.with_columns(pl.col(name) + file.intercepts.get(name, 0.0) for name in scores.columns[1:])


def _dropped(tally: align.Tally, item: str) -> str:
    return "; ".join(f"{n:,} {reason}" for reason, n, _ in tally.dropped(item))


def _ranges(config: PRSConfig, used: pl.DataFrame, tally: align.Tally) -> pl.DataFrame:
    """One score per range of p-values and score of the file."""
    if config.range_values is None:
        raise GenopredError("--q-score-range needs the p-values of the variants: give --q-score-file.")
    ranges, values = read_ranges(Path(str(config.ranges))), read_values(config.range_values)
    p = np.array([values.get(name, np.nan) for name in used["id"].to_list()])
    inside = np.zeros(len(p), dtype=bool)
    several = used["score"].n_unique() > 1
    parts = []
    for name, (low, high) in ranges.items():
        here = (p >= low) & (p <= high)
        inside |= here
        part = used.filter(pl.Series(here))
        if not part.height:
            log.warning(f"--q-score-range: no variant has a value in {name} ({low:g} to {high:g}); no score is written")
        label = pl.concat_str("score", pl.lit(f":{name}")) if several else pl.lit(name)
        parts.append(part.with_columns(label.alias("score")))
    item = "weights by range"
    tally.come(item, "weights used", len(p))
    tally.drop(item, f"no p-value in {config.range_values}", int(np.isnan(p).sum()))
    tally.drop(item, "in no range", int((~np.isnan(p) & ~inside).sum()))
    tally.use(item, "in a range", int(inside.sum()))
    out = pl.concat(parts)
    if not out.height:
        raise ModelError(f"--q-score-range: no variant is in any range of {config.ranges}.")
    return out
