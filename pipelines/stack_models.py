"""Models of the stack that leave the run: every gene fitted on everybody, written into OUT/models."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from genopred import align
from genopred.files import safe_name
from genopred.io.genemodels import FILES, join_models, read_card
from genopred.learning import learners as registry
from genopred.learning.evaluate import Outcome, benjamini_hochberg, correlation_pvalue
from genopred.learning.fitted import LINEAR, Combination, Fitted, collapse, combination, fit_everybody, keepable
from genopred.learning.fitted_streamed import fit_everybody_streamed
from genopred.learning.pooled import Pooled
from genopred.learning.streamed import Blocks
from genopred.pipelines.inputs import cis_window, expression_values
from genopred.pipelines.run import Run, write_tables
from genopred.pipelines.stack_genes import gene_seed
from genopred.pipelines.stack_sumstats import kept_learners
from genopred.pipelines.stack_window import open_window
from genopred.provenance import versions
from genopred.settings import Stack
from genopred.types import (
    MODEL_GENE_SCHEMA,
    MODEL_LEARNER_SCHEMA,
    MODEL_WEIGHT_SCHEMA,
    Cohort,
    Genotypes,
    plain_gene,
)

log = logging.getLogger("genopred.stack")

#: A score that spreads less than this, in standard deviations of expression, is what rounding left of no effect.
NOTHING = 1e-6

#: Where only the kind of a learner's estimator is asked for.
ANY_GENE = registry.GeneContext(np.array([1]), 1)

#: The most inner folds that a learner makes of everybody for its own tuning.
MOST_FOLDS = 10

#: What is written below `out`.
MODELS = (*(f"models/{name}" for name in FILES), "models/parts/*")


def keep_models(
    job: Run,
    settings: Stack,
    cohort: Cohort,
    done: Sequence[str],
    pooled: Pooled,
    scores: pl.DataFrame,
    symbols: dict[str, str],
) -> tuple[str, ...]:
    """Fit the learners that the stack gives a weight on everybody, and write the models; returns notes."""
    folder = job.path("models")
    able = [name for name in pooled.names if registry.is_linear(name)]
    if not able:
        no_models(folder)
        return ("No models are kept: none of the learners is linear in the dosages of genotypes.",)
    whole = not settings.linear and not any("@" in name and not registry.is_linear(name) for name in pooled.names)
    kept = combination(pooled.names, pooled.last, settings.meta if whole else None)
    if not kept.linear:
        no_models(folder)
        return ("No models are kept: the stack gives no learner that is linear in dosage a weight.",)
    named = [name for name in kept.needed if "@" not in name]
    lost = [name for name in named if not keepable(registry.find(name), ANY_GENE)]
    if lost:
        kept = combination(pooled.names, pooled.last, None)
    notes = _notes(settings, kept, scores, whole, lost)
    about = _about(settings, cohort, kept, scores, symbols)
    if read_card(folder) == about:
        return notes
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    needed = [registry.find(name) for name in kept.needed if "@" not in name]
    of_study = [name for name in kept.needed if name.endswith(f"@{registry.SUMSTATS}")]
    values = expression_values(settings, cohort)
    covariates = None if cohort.covariates is None else cohort.covariates.values
    outcome = Outcome(settings.transform, settings.residualize)
    place = {gene: i for i, gene in enumerate(cohort.expression.genes["gene_id"].to_list())}

    def arguments(gene_id: str) -> tuple[Any, ...]:
        gene, window = cis_window(cohort, place[gene_id], settings.window)
        part = folder.absolute() / "parts" / safe_name(gene_id)
        learners = [*needed, *kept_learners(settings, gene_id, of_study)]
        known = {"settings": settings, "kept": kept, "outcome": outcome, "learners": learners}
        return gene, window, values[:, place[gene_id]], covariates, known, part

    log.info(f"fitting {', '.join([*(learner.name for learner in needed), *of_study])} on everybody")
    rows = dict(job.each(_one_gene, list(done), arguments))
    pieces = [folder / "parts" / safe_name(gene) for gene in done]
    join_models(folder, pieces, _genes(cohort, done, rows, kept, pooled, scores, symbols), about)
    return notes


def _one_gene(
    gene: dict[str, Any],
    window: Genotypes,
    expression: NDArray[np.float64],
    covariates: NDArray[np.float64] | None,
    known: dict[str, Any],
    part: Path,
) -> tuple[str, dict[str, tuple[int, float]]]:
    """Fit and write one gene; returns the number of variants and the intercept of each of its linear methods."""
    kept: Combination = known["kept"]
    settings: Stack = known["settings"]
    with threadpool_limits(1):
        found = open_window(settings, window, window.n_samples, 1, MOST_FOLDS)
        variants = window.variants.filter(pl.Series(found.use))
        seed = gene_seed(settings.seed, gene["gene_id"])
        context = registry.GeneContext(variants["pos"].to_numpy(), gene["tss"], seed)
        how = (expression, covariates, context, known["learners"], known["outcome"])
        many = isinstance(found.values, Blocks)
        made = fit_everybody_streamed(found.values, *how) if many else fit_everybody(found.values, *how)
    fitted = made.fitted
    coef, intercept = collapse(fitted, kept.linear)
    if not made.spread(coef) > NOTHING:
        coef, intercept = np.zeros_like(coef), 0.0
    table = variants.with_columns(pl.Series("freq", made.freq), pl.Series("z", made.z), gene_id=pl.lit(gene["gene_id"]))
    linear = [(LINEAR, coef, intercept)]
    linear += [(one.name, one.coef, one.intercept) for one in fitted if one.coef is not None and not settings.linear]
    weights = pl.concat(
        [
            table.with_columns(pl.lit(name).alias("learner"), pl.Series("weight", values)).filter(pl.col("weight") != 0)
            for name, values, _ in linear
        ]
    ).select(list(MODEL_WEIGHT_SCHEMA))
    learners = _learners(gene["gene_id"], variants, made.freq, fitted if kept.method is not None else [])
    tables = {"weights": weights, "learners": learners}
    write_tables({part.with_name(f"{part.name}.{name}.parquet"): table for name, table in tables.items()})
    return gene["gene_id"], {name: (int(np.count_nonzero(values)), start) for name, values, start in linear}


def _learners(
    gene_id: str, variants: pl.DataFrame, freq: NDArray[np.float64], fitted: Sequence[Fitted]
) -> pl.DataFrame:
    keys = variants.select(pl.concat_str("chrom", "pos", "ref", "alt", separator=":")).to_series().to_list()
    rows = []
    for one in fitted:
        columns = [] if one.columns is None else one.columns.tolist()
        names, means = [keys[i] for i in columns], [2 * float(freq[i]) for i in columns]
        rows.append((gene_id, one.name, one.kind, one.intercept, one.payload, names, means))
    return pl.DataFrame(rows, schema=MODEL_LEARNER_SCHEMA, orient="row")


def _genes(
    cohort: Cohort,
    done: Sequence[str],
    rows: dict[str, dict[str, tuple[int, float]]],
    kept: Combination,
    pooled: Pooled,
    scores: pl.DataFrame,
    symbols: dict[str, str],
) -> pl.DataFrame:
    """A row per gene and method: what it is and how well held-out people were predicted."""
    own = cohort.expression.genes.filter(pl.col("gene_id").is_in(list(done)))
    names = [symbols.get(plain_gene(gene), symbols.get(gene)) for gene in own["gene_id"].to_list()]
    own = own.with_columns(pl.Series("gene_name", names, dtype=pl.String))
    parts = []
    linear = list(dict.fromkeys(method for gene in done for method in rows[gene]))
    for method in (linear[0], *([kept.method] if kept.method else []), *linear[1:]):
        one = scores.filter(pl.col("method") == method)
        pval = correlation_pvalue(one["pearson"].fill_nan(0.0).to_numpy(), one["n"].to_numpy())
        one = one.with_columns(pl.Series("pval", pval), pl.Series("qval", benjamini_hochberg(pval)))
        parts.append(own.join(one, on="gene_id", maintain_order="left"))
    counts = [(gene, method, *found) for gene in done for method, found in rows[gene].items()]
    table = pl.concat(parts).join(
        pl.DataFrame(counts, ["gene_id", "method", "variants", "intercept"], orient="row"),
        on=["gene_id", "method"],
        how="left",
        maintain_order="left",
    )
    table = table.with_columns(pl.lit(None, pl.Float64).alias("phi"))
    table = table.select(pl.col(name).cast(kind) for name, kind in MODEL_GENE_SCHEMA.items())
    if kept.booster is None:
        return table
    of = {gene: pooled.bases.result(gene).everybody() for gene in done}
    extra = [(gene, kept.method, float(one.y.std() or 1.0), one.summary().tolist()) for gene, one in of.items()]
    kinds: dict[str, Any] = {
        "gene_id": pl.String,
        "method": pl.String,
        "scale": pl.Float64,
        "summary": pl.List(pl.Float64),
    }
    return table.join(
        pl.DataFrame(extra, kinds, orient="row"), on=["gene_id", "method"], how="left", maintain_order="left"
    )


def _about(
    settings: Stack, cohort: Cohort, kept: Combination, scores: pl.DataFrame, symbols: dict[str, str]
) -> dict[str, Any]:
    """What the models are, in words and numbers, as JSON."""
    accuracy = scores.group_by("method").agg(pl.col("r2").mean()).filter(pl.col("method").is_in([LINEAR, kept.method]))
    covariates = [] if cohort.covariates is None or settings.residualize == "none" else list(cohort.covariates.names)
    people = "\n".join(cohort.samples.tolist()).encode()
    genes = cohort.expression.genes["gene_id"].to_list()
    named = "\n".join(f"{gene} {symbols.get(plain_gene(gene), '')}" for gene in genes).encode()
    about = {
        "made_by": "genopred stack",
        "command": settings.command,
        "versions": versions(),
        "build": align.known_build(cohort.genotypes),
        "genotypes": cohort.genotypes.source,
        "expression": cohort.expression.source,
        "people": len(cohort.samples),
        "people_hash": hashlib.sha256(people).hexdigest()[:16],
        "genes_hash": hashlib.sha256(named).hexdigest()[:16],
        "each": not settings.linear,
        "transform": settings.transform,
        "residualize": settings.residualize,
        "covariates": covariates,
        "unit": "standard deviations of the gene's transformed expression after its covariates",
        "window": settings.window,
        "maf": settings.maf,
        "seed": settings.seed,
        "default": LINEAR,
        "mean_r2": dict(sorted((method, round(r2, 6)) for method, r2 in accuracy.iter_rows())),
        "names": list(kept.names),
        "linear": kept.linear,
        "method": kept.method,
        "weights": None if kept.weights is None else kept.weights.tolist(),
        "booster": kept.booster,
    }
    return json.loads(json.dumps(about))  # type: ignore[no-any-return]


def no_models(folder: Path) -> None:
    """Take away models that an earlier run left, which are not of this one."""
    for file in [*(folder / name for name in FILES), *folder.glob("parts/*")]:
        file.unlink(missing_ok=True)


def _notes(
    settings: Stack, kept: Combination, scores: pl.DataFrame, whole: bool, lost: Sequence[str]
) -> tuple[str, ...]:
    means = dict(scores.group_by("method").agg(pl.col("r2").mean()).iter_rows())
    words = [f"{weight:.2f} {name}" for name, weight in sorted(kept.linear.items(), key=lambda item: -item[1])]
    cost = f"Models are kept in {settings.out.name}/models. One weight per variant: {', '.join(words)}; mean R2 "
    cost += f"{means[LINEAR]:.4f}, against {means[f'stack-{settings.meta}']:.4f} of stack-{settings.meta}."
    log.info(cost)
    notes = []
    if lost:
        notes.append(f"Only the linear stack is kept: {', '.join(lost)} cannot be written down.")
    elif not whole and not settings.linear:
        notes.append("Models use the genotypes alone: base learners on sequence features are not kept.")
    elif kept.method is None and not settings.linear and settings.meta != "linear":
        notes.append(f"Of stack-{settings.meta}, which is fitted gene by gene, only the linear learners are kept.")
    return tuple(notes)
