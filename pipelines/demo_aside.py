"""The demonstration's models, trained without some people, applied to those from files alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from genopred.errors import ModelError
from genopred.files import write_text
from genopred.io.genemodels import read_card
from genopred.learning.evaluate import Outcome, scores
from genopred.learning.fitted import LINEAR
from genopred.learning.learners import is_linear
from genopred.pipelines import predict, stack
from genopred.pipelines.inputs import open_cohort
from genopred.pipelines.run import Progress
from genopred.settings import Predict, Stack
from genopred.types import PREDICTION_SCHEMA

#: Every so many people one is kept aside.
EVERY = 6

#: Learners of these models where none are chosen: those that the stack gives most of its weight.
LEARNERS = ("elastic-net-tss", "susie-tss", "gblup-tss")


@dataclass(frozen=True)
class Aside:
    """What the models were worth on people kept aside.

    Attributes
    ----------
    genes : polars.DataFrame
        gene_id, promised (R² in cross-validation without them), reached (R² in them; low, high: its 95 % interval),
        pearson.
    predictions : polars.DataFrame
        Columns of `genopred.types.PREDICTION_SCHEMA`.
    people : int
    folder : Path
        Of the models.
    """

    genes: pl.DataFrame
    predictions: pl.DataFrame
    people: int
    folder: Path


def kept_aside(settings: Stack, progress: Progress | None = None) -> Aside | None:
    """Train on all but every sixth person, write the models, and predict the others from files.

    Parameters
    ----------
    settings : genopred.settings.Stack
        Of the demonstration.
    progress : callable, optional

    Returns
    -------
    Aside or None
        None where no learner has a linear form that the stack gives a weight.
    """
    learners = LEARNERS if settings.learners is None else tuple(filter(is_linear, settings.learners))
    if not learners:
        return None
    cohort = open_cohort(settings)
    people = cohort.samples.tolist()
    aside = people[::EVERY]
    listed = settings.out / "kept-aside.txt"
    write_text(listed, "\n".join(aside) + "\n")
    folder = settings.out / "kept-aside"
    without = replace(settings, remove=listed, out=folder, learners=learners, meta="linear", linear=True)
    try:
        stack.run(without, progress, page=False)
    except ModelError:
        return None
    if read_card(folder / "models") is None:
        return None
    of = {name: getattr(settings, name) for name in ("bfile", "pfile", "vcf", "threads", "resume", "max_bytes")}
    found = predict.run(Predict(models=folder, keep=listed, out=folder / "predicted", **of), progress)
    place = {gene: i for i, gene in enumerate(cohort.expression.genes["gene_id"].to_list())}
    train = ~np.isin(cohort.samples, aside)
    outcome = Outcome(settings.transform, settings.residualize)
    covariates = None if cohort.covariates is None else cohort.covariates.values
    rows, parts = [], []
    where = {sample: i for i, sample in enumerate(found.samples.tolist())}
    at = [where[sample] for sample in cohort.samples[~train].tolist()]
    for gene, promised, values in zip(found.genes["gene_id"], found.genes["r2"], found.values):
        _, y = outcome.split(cohort.expression.values[:, place[gene]], covariates, train)
        guess = values[at]
        score = scores(gene, y, {LINEAR: guess}, seed=settings.seed).row(0, named=True)
        rows.append((gene, promised, score["r2"], score["r2_low"], score["r2_high"], score["pearson"]))
        one = {"gene_id": gene, "sample": cohort.samples[~train], "fold": 0, "method": LINEAR}
        parts.append(pl.DataFrame({**one, "observed": y, "predicted": guess}).cast(PREDICTION_SCHEMA))  # type: ignore[arg-type]
    columns = ["gene_id", "promised", "reached", "low", "high", "pearson"]
    genes = pl.DataFrame(rows, columns, orient="row")
    return Aside(genes, pl.concat(parts), len(aside), folder / "models")
