"""People's genotypes and expression -> a model tuned on them, and the 2 x 2 table of what it can then do.

OUT/                     the folder of a run
  model/                   best network so far, a `--model` of its own
  history.tsv curves.svg   a row and a point an epoch; timing.tsv has the seconds
  genes.tsv samples.tsv    which genes and people were for what
  people.tsv               a row a gene and set of people: correlations of each method, with signs
  table.tsv                seen or unseen genes by seen or unseen people
  predictions.parquet      a row a gene and person
  personal.html two_by_two.svg
  matched.tsv config.json last.pt
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.learning.elasticnet import ElasticNet
from genopred.pipelines.run import Run, say, write_tables
from genopred.pipelines.train import describe_run, run_task
from genopred.pipelines.train_personal_inputs import PersonalInputs, open_people
from genopred.sequence.models.config import NETWORK
from genopred.sequence.models.tuned import TunedNetwork, save_tuned, tunable
from genopred.training.config_personal import PersonalConfig
from genopred.training.loop import TrainingRun
from genopred.training.people import PersonalData
from genopred.training.tasks.personal import PersonalTask
from genopred.training.two_by_two import by_gene, cells

GENES, SAMPLES, PEOPLE, TABLE, PREDICTIONS = (
    "genes.tsv",
    "samples.tsv",
    "people.tsv",
    "table.tsv",
    "predictions.parquet",
)
PAGE, FIGURE = "personal.html", "two_by_two.svg"
#: What the curves are of.
LABELS: dict[str, Any] = {
    "loss_label": "variance of the error within genes",
    "score_label": "Pearson r within genes",
    "score_title": "Correlation of validation people",
}
#: What methods are called.
TUNED, UNTUNED, LINEAR = "tuned", "untuned", "elastic net"


@dataclass(frozen=True)
class PersonalReport:
    """What a run did.

    Attributes
    ----------
    out : Path
    run : TrainingRun
    table : polars.DataFrame
        Columns of `genopred.training.two_by_two.CELL_SCHEMA`.
    of_gene : polars.DataFrame
        As people.tsv.
    """

    out: Path
    run: TrainingRun
    table: pl.DataFrame
    of_gene: pl.DataFrame

    def lines(self) -> list[str]:
        """For the screen."""
        run = self.run
        out = [f"best epoch {run.best_epoch} of {run.history.height} on {run.device}; mean Pearson r within genes:"]
        for (genes, people), cell in self.table.group_by("genes", "people", maintain_order=True):
            means = [f"{row['method']} {row['mean_r']:+.3f}" for row in cell.iter_rows(named=True)]
            out.append(f"  {genes} genes, {people} people: {', '.join(means)} ({cell['n_genes'][0]} genes)")
        out.append(f"network in {self.out / NETWORK}, table in {self.out / TABLE}, page in {self.out / PAGE}")
        return [*out, run.plateau] if run.plateau else out


def run(job: Run, config: PersonalConfig) -> PersonalReport:
    """Tune as a configuration says, and hold what came of it against an elastic net; all lands in the job's folder.

    Parameters
    ----------
    job : Run
        Opened.
    config : PersonalConfig

    Returns
    -------
    PersonalReport

    Raises
    ------
    GenopredError
        As `open_people`; or if the folder's checkpoint is another run's, or training diverges.
    """
    job.sweep()
    inputs = open_people(config, lambda done, total, name: None)
    say(inputs.report)
    job.matched(inputs.report)
    task = PersonalTask(
        inputs.data, inputs.model, config.model, config.training, inputs.tracks, window=config.data.window
    )
    done = _train(job, config, task)
    untuned = _untuned(task, config)
    predicted = {TUNED: task.predict(done.network), UNTUNED: untuned, LINEAR: _elastic_net(inputs.data, job)}
    of_gene = by_gene(inputs.data, predicted)
    table = cells(of_gene, LINEAR)
    write_tables(
        {
            job.path(PEOPLE): of_gene,
            job.path(TABLE): table,
            job.path(PREDICTIONS): _long(inputs.data, predicted),
        }
    )
    _page(job, config, inputs, done, table, of_gene)
    return PersonalReport(job.out, done, table, of_gene)


def _train(job: Run, config: PersonalConfig, task: PersonalTask) -> TrainingRun:
    data = task.data

    def describe() -> None:
        describe_run(job.out, config)
        used = data.genes.with_columns(
            pl.Series("part", data.split.part), pl.Series("block", data.split.block), pl.Series("why", data.split.why)
        )
        people = pl.DataFrame({"sample": data.samples, "part": data.people})
        write_tables({job.path(GENES): used, job.path(SAMPLES): people})

    def save(network: TunedNetwork, best: dict[str, Any]) -> None:
        about = {"start": config.model.start, "training": config.written, "validation": best}
        save_tuned(network, job.path(NETWORK), about=about)

    return run_task(job, task, job.out, describe, save, **LABELS)


def _untuned(task: PersonalTask, config: PersonalConfig) -> NDArray[np.float64]:
    """What the model said before, (N, G)."""
    options = {"bins": config.model.bins, "tracks": task.tracks, "window": config.data.window}
    return task.predict(tunable(task.model, config.model.start, **options))  # type: ignore[arg-type]


def _elastic_net(data: PersonalData, job: Run) -> NDArray[np.float64]:
    """An elastic net of each gene on the SNPs of its window, (N, G), fitted on training and validation people.

    The network sees both as well: these choose its epoch. For a seen gene it is what there is to beat; of an unseen
    gene it has seen what the network has not.
    """
    out = np.zeros((len(data.samples), len(data.of_gene)))
    fit = np.flatnonzero(data.people != "test")
    for g, gene in enumerate(data.of_gene):
        rows = fit[np.isfinite(gene.y[fit])]
        x = gene.dosage
        varies = x[rows].std(axis=0) > 0
        if varies.any():
            out[:, g] = ElasticNet().fit(x[rows][:, varies], gene.y[rows]).predict(x[:, varies])
        job.step(g + 1, len(data.of_gene), f"elastic net {data.genes['gene_id'][g]}")
    return out


def _long(data: PersonalData, predicted: dict[str, NDArray[np.float64]]) -> pl.DataFrame:
    """A row a gene and person."""
    n, g = len(data.samples), len(data.of_gene)
    table = pl.DataFrame(
        {
            "gene_id": np.repeat(data.genes["gene_id"].to_numpy(), n),
            "sample": np.tile(data.samples, g),
            "observed": np.concatenate([gene.y for gene in data.of_gene]),
        }
    )
    return table.with_columns(
        pl.Series(name.replace(" ", "_"), values.T.reshape(-1)) for name, values in predicted.items()
    )


def _page(
    job: Run,
    config: PersonalConfig,
    inputs: PersonalInputs,
    done: TrainingRun,
    table: pl.DataFrame,
    of_gene: pl.DataFrame,
) -> None:
    from genopred.report.pages.personal import write

    chosen = config.model
    info = {"command": job.settings.command, "start": chosen.start, "weights": chosen.weights, "tune": chosen.tune}
    info |= {"epoch": f"{done.best_epoch} of {done.history.height}"}
    write(job.path(PAGE), job.path(FIGURE), table, of_gene, inputs.report, info)
