"""Accuracy of the stack by group (ancestry, batch), and of models that one group trained in the others.

Files under `out`, beside those of `genopred.pipelines.stack`:

================  ==================================================================================================
groups.parquet,   group, method, people, genes, mean_r2 with its 95 % interval over genes, mean_pearson: of people held
and .tsv          out, each group by itself (R² around the group's own mean)
transfer.parquet  trained_on, tested_on, people_trained, people_tested, genes, within (mean R² in the group trained on,
and .tsv          cross-validated), reached (in the group tested on), and what is lost between the two: lost_missing,
                  lost_frequency, lost_rest
groups/GROUP/     a stack of linear learners on the group alone, and its predictions of everybody else
================  ==================================================================================================

The loss is split by the score's variance, variants taken as independent: `lost_missing` is what variants carry that are
absent or do not vary in the group tested on, `lost_frequency` what other allele frequencies take from the rest (below 0
where they add), and `lost_rest` the remainder: LD, other effects, chance.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.errors import GenopredError, ModelError
from genopred.files import safe_name, write_text
from genopred.io.folds import read_labels
from genopred.io.genemodels import read_card, read_models
from genopred.learning.evaluate import Outcome, scores
from genopred.learning.fitted import LINEAR, dosage_moments, lost_between
from genopred.learning.learners import LEADING, is_linear
from genopred.pipelines import stack
from genopred.pipelines.apply_models import predict
from genopred.pipelines.inputs import expression_values, open_genotypes
from genopred.pipelines.model_inputs import match_models, weights_of
from genopred.pipelines.run import Progress, Run
from genopred.settings import Stack
from genopred.types import Cohort, GeneModels, Genotypes

log = logging.getLogger("genopred.stack")

#: What is written below `out`; the groups' own stacks keep theirs.
GROUPS = ("groups.parquet", "groups.tsv", "transfer.parquet", "transfer.tsv")

#: A group of fewer people is tested on, and trains no model.
FEWEST = 50

#: A group of fewer people is not tested on.
TESTED = 20


def by_group(settings: Stack, cohort: Cohort, job: Run, progress: Progress | None) -> dict[str, pl.DataFrame]:
    """Write both tables; returns them by name."""
    assert settings.groups is not None  # noqa: S101 - asked for only where they are given
    labels = read_labels(settings.groups, cohort.samples, "group")
    names, counts = np.unique(labels, return_counts=True)
    if len(names) < 2:
        raise GenopredError(f"{settings.groups}: everybody is of group {names[0]}; two groups are needed to compare.")
    tables = {"groups": _held_out(settings, cohort, labels)}
    trains = [name for name, n in zip(names.tolist(), counts) if n >= FEWEST]
    small = [name for name in names.tolist() if name not in trains]
    if small:
        log.warning(f"--groups: fewer than {FEWEST} people in {', '.join(small)}: no models are trained on them alone")
    rows = [row for name in trains for row in _trained_on(settings, cohort, labels, name, progress)]
    if rows:
        tables["transfer"] = pl.DataFrame(rows)
    job.save(**tables)
    return tables


def _held_out(settings: Stack, cohort: Cohort, labels: NDArray[np.str_]) -> pl.DataFrame:
    """Accuracy of the run's held-out predictions, group by group."""
    group = pl.DataFrame({"sample": cohort.samples.tolist(), "group": labels.tolist()})
    parts = []
    held = pl.scan_parquet(settings.out / "predictions.parquet")
    for gene in cohort.expression.genes["gene_id"].to_list():
        mine = held.filter(pl.col("gene_id") == gene).collect().join(group, on="sample")
        for (name,), rows in mine.group_by("group", maintain_order=True):
            wide = rows.pivot("method", index=["sample", "observed"], values="predicted")
            if wide.height < TESTED:
                continue
            predicted = {method: wide[method].to_numpy() for method in wide.columns[2:]}
            found = scores(gene, wide["observed"].to_numpy(), predicted, resamples=0)
            parts.append(found.with_columns(pl.lit(name).alias("group")))
    if not parts:
        raise GenopredError(f"{settings.groups}: no group has {TESTED} people; larger ones are needed to compare.")
    table = pl.concat(parts)
    rng = np.random.default_rng(settings.seed)
    out = []
    for (name, method), rows in table.group_by("group", "method", maintain_order=True):
        r2 = rows["r2"].to_numpy()
        draws = r2[rng.integers(0, len(r2), (2_000, len(r2)))].mean(axis=1)
        low, high = np.quantile(draws, [0.025, 0.975])
        people, r = int(rows["n"].max()), rows["pearson"].fill_nan(0.0).mean()  # type: ignore[arg-type]
        out.append((name, method, people, len(r2), float(r2.mean()), float(low), float(high), r))
    columns = ["group", "method", "people", "genes", "mean_r2", "mean_r2_low", "mean_r2_high", "mean_pearson"]
    return pl.DataFrame(out, columns, orient="row").sort("group", "mean_r2", descending=[False, True])


def _trained_on(
    settings: Stack, cohort: Cohort, labels: NDArray[np.str_], name: str, progress: Progress | None
) -> list[dict[str, object]]:
    """Models of one group, applied to the others."""
    folder = settings.out / "groups" / safe_name(name)
    listed, people = folder / "people.txt", "\n".join(cohort.samples[labels == name].tolist()) + "\n"
    if folder.is_dir() and not (listed.is_file() and listed.read_text(encoding="utf-8") == people):
        shutil.rmtree(folder)  # of other people of that name
    folder.mkdir(parents=True, exist_ok=True)
    write_text(listed, people)
    learners = LEADING if settings.learners is None else tuple(filter(is_linear, settings.learners))
    genes = tuple(cohort.expression.genes["gene_id"].to_list())
    alone = replace(
        settings, keep=listed, remove=None, out=folder, gene=genes, genes=None, all_genes=False, groups=None,
        learners=learners, meta="linear", linear=True, models=True, stack_weights="none", folds=None, stratify=None,
        features=None, fasta=None, inputs=None, min_overlap=float(FEWEST), keep_overlap=True,
    )  # fmt: skip
    try:
        stack.run(alone, progress, page=False)
    except ModelError as problem:
        log.warning(f"--groups: no models of {name}: {problem}")
        return []
    if read_card(folder / "models") is None:
        log.warning(f"--groups: no models of {name}: no learner has a weight")
        return []
    models = read_models(folder)
    genotypes = open_genotypes(settings)
    rows = []
    for other in np.unique(labels).tolist():
        people = cohort.samples[labels == other]
        if other != name and len(people) >= TESTED:
            rows.append(_tested_on(settings, cohort, labels, models, genotypes.select(people), name, other))
    return rows


def _tested_on(
    settings: Stack,
    cohort: Cohort,
    labels: NDArray[np.str_],
    models: GeneModels,
    people: Genotypes,
    name: str,
    other: str,
) -> dict[str, object]:
    """One group's models in another: what was promised, what was reached, and what went where."""
    tally = align.Tally()
    tally.come("variants", f"in {people.source}", people.n_variants)
    found = predict(models, people, tally, min_match=0.0)
    place = {gene: i for i, gene in enumerate(cohort.expression.genes["gene_id"].to_list())}
    outcome = Outcome(settings.transform, settings.residualize)
    mine = labels == other
    covariates = None if cohort.covariates is None else cohort.covariates.values[mine]
    reached, expression = {}, expression_values(settings, cohort)
    for gene, values in zip(found.genes["gene_id"].to_list(), found.values):
        # transformed and residualised within the group tested on: another batch has another scale and other factors
        y, _ = outcome.split(expression[mine, place[gene]], covariates, np.ones(int(mine.sum()), bool))
        reached[gene] = float(scores(gene, y, {LINEAR: values}, resamples=0)["r2"][0])
    promised = dict(found.genes.select("gene_id", "r2").iter_rows())
    matched = match_models(models, people, weights_of(models, LINEAR, found.genes), 0.0, "keep", align.Tally())
    matched = matched.join(dosage_moments(people, matched["column"]), on="column", how="left", maintain_order="left")
    alt = pl.col("mean") / 2
    matched = matched.with_columns(here=pl.when("flipped").then(1 - alt).otherwise(alt))
    missing, frequency = lost_between(matched, promised)
    genes = list(reached)
    within = float(np.mean([promised[gene] for gene in genes]))
    mean = float(np.mean(list(reached.values())))
    lost = [float(np.mean([part[gene] for gene in genes])) for part in (missing, frequency)]
    return {
        "trained_on": name,
        "tested_on": other,
        "people_trained": int((labels == name).sum()),
        "people_tested": int(mine.sum()),
        "genes": len(genes),
        "within": within,
        "reached": mean,
        "lost_missing": lost[0],
        "lost_frequency": lost[1],
        "lost_rest": within - mean - sum(lost),
    }
