"""Genes' windows and their expression -> a trained network, of one split or of each fold of a cross-validation.

OUT/                     the folder of a run
  model/                   best network so far, config.json and model.safetensors
  history.tsv curves.svg   a row and a point an epoch; timing.tsv has the seconds
  genes.tsv                a row a gene: its part and block, why it is left out, its targets in each cell type
  matched.tsv              genes, cell types and distal segments that came in, were used and were dropped, and why
  config.json last.pt      as of tracks
  inflation.tsv block/     of a random split alone: how much its scores promise, and the block split's run beside it
  fold1/ ... folds.tsv     of a cross-validation: each fold is such a folder, and has a row in folds.tsv
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from genopred.pipelines.run import Run, say, write_tables
from genopred.pipelines.train import (
    CHECKPOINT,
    CURVES,
    HISTORY,
    TIMING,
    compare,
    describe_run,
    run_task,
    where_it_is,
)
from genopred.pipelines.train_genes import Loaded, Prepared, genes_table, open_genes, prepare
from genopred.pipelines.train_inputs import FOLD, FOLDS, GENES
from genopred.report import words
from genopred.resume import sweep
from genopred.sequence.models.config import CONFIG, NETWORK
from genopred.settings.expression import GenesByBlock
from genopred.training.config_expression import ExpressionConfig, parse_expression
from genopred.training.gene_inflation import gene_inflation, gene_inflation_lines
from genopred.training.loop import TrainingRun
from genopred.training.networks.registry import GENE_NETWORKS
from genopred.training.store import save_gene_network
from genopred.training.tasks.expression import ExpressionTask

MATCHED = "matched.tsv"
#: What lies in the folder of each run.
OF_EACH = (CHECKPOINT, HISTORY, CURVES, TIMING, CONFIG, GENES, MATCHED, f"{NETWORK}/*")
#: What the curves' axes say.
LABELS = {"score_label": "Pearson over genes", "score_title": "Correlation of validation genes"}
LOSSES = {
    "mse": "squared error (1: each cell type's mean)",
    "poisson": "Poisson loss (1: each cell type's mean)",
    "correlation": "1 - Pearson r + mse / 10",
}


@dataclass(frozen=True)
class ExpressionReport:
    """What a run did.

    Attributes
    ----------
    out : Path
    runs : tuple of TrainingRun
        One, or one a fold.
    counts : dict of str to int
        Genes by part, of the first.
    inflation : polars.DataFrame or None
        Of a random split: as `gene_inflation` gives it.
    """

    out: Path
    runs: tuple[TrainingRun, ...]
    counts: dict[str, int]
    inflation: pl.DataFrame | None = None

    @property
    def run(self) -> TrainingRun:
        """The first, or only, run."""
        return self.runs[0]

    def lines(self) -> list[str]:
        """For the screen."""
        if len(self.runs) > 1:
            out = words.folds_of_genes(self.runs)
            out.append(f"networks in {self.out / 'fold1'} to fold{len(self.runs)}, scores in {self.out / FOLDS}")
        else:
            out = words.training_of_genes(self.run, self.counts)
            out.append(where_it_is(self.out))
        out += [run.plateau for run in self.runs if run.plateau][:1]
        if self.inflation is not None:
            out += gene_inflation_lines(self.inflation)
        return out


def run(job: Run, config: ExpressionConfig) -> ExpressionReport | Any:
    """Train as a configuration says, or search its settings; everything lands in the job's folder.

    Parameters
    ----------
    job : Run
        Opened.
    config : ExpressionConfig

    Returns
    -------
    ExpressionReport, or with `--search` SearchReport

    Raises
    ------
    GenopredError
        If the data do not fit each other or the memory, a part has too few genes, the folder's checkpoint is another
        run's, or training diverges.
    """
    if job.settings.search is not None:
        from genopred.pipelines.train_search import search

        return search(job, config, searched())
    return train_genes(job, config, open_genes(config), job.out)


def searched() -> Any:
    """What a search is told of this task."""
    from genopred.pipelines.train_search import Searched

    def depends(config: ExpressionConfig) -> list[Any]:
        parts = [config.written.get(name) for name in ("genes", "expression", "signal", "inputs", "contacts")]
        return [*parts, config.training.shift, config.distal]

    return Searched(
        of="genes",
        parse=parse_expression,
        networks=GENE_NETWORKS,
        margin=lambda config: config.window + 2 * config.training.shift,
        depends=depends,
        read=open_genes,
        train=lambda job, config, loaded, folder: train_genes(job, config, loaded, folder).run,
        leaves=OF_EACH,
    )


def train_genes(job: Run, config: ExpressionConfig, loaded: Loaded, out: Path) -> ExpressionReport:
    """Train on genes that were read, into a folder."""
    sweep(out, OF_EACH)
    if config.folds:
        return _cross_validate(job, config, loaded, out)
    made = prepare(config, loaded)
    done = _train(job, config, made, out)
    return ExpressionReport(out, (done,), _counts(made), _compare(job, config, loaded, made, done, out))


def _counts(made: Prepared) -> dict[str, int]:
    """Genes by part; those that the split leaves out have an empty name."""
    return {name: len(made.split.rows(name)) for name in ("train", "validation", "test", "")}


def _cross_validate(job: Run, config: ExpressionConfig, loaded: Loaded, out: Path) -> ExpressionReport:
    """A network a fold: each block is in the test once."""
    runs, rows = [], []
    counts: dict[str, int] = {}
    for fold in range(config.folds):
        folder = out / f"{FOLD}{fold + 1}"
        sweep(folder, OF_EACH)
        made = prepare(config, loaded, fold)
        done = _train(job, config, made, folder, fold=fold + 1)
        counts = counts or _counts(made)
        runs.append(done)
        best = done.history.row(done.best_epoch - 1, named=True)
        scores = {key: value for key, value in best.items() if key == "validation_loss" or key.startswith("pearson_")}
        genes = {name: n for name, n in _counts(made).items() if name}
        rows.append({"fold": fold + 1} | genes | {"best_epoch": done.best_epoch} | scores)
        write_tables({out / FOLDS: pl.DataFrame(rows)})
    return ExpressionReport(out, tuple(runs), counts)


def _task(config: ExpressionConfig, made: Prepared) -> ExpressionTask:
    network = (config.kind, config.training, config.built)
    return ExpressionTask(made.data, made.split, made.transform, made.targets, made.shape, *network)


def _train(job: Run, config: ExpressionConfig, made: Prepared, out: Path, **about: Any) -> TrainingRun:
    task = _task(config, made)
    say(made.report)
    transform = made.transform.to_json()

    def describe() -> None:
        describe_run(out, config, **about)
        write_tables({out / GENES: genes_table(made), out / MATCHED: made.report.table})

    def save(network: Any, best: dict[str, Any]) -> None:
        cells = made.data.cells
        save_gene_network(network, out / NETWORK, cells, written=config.written, best=best, transform=transform)

    return run_task(job, task, out, describe, save, loss_label=LOSSES[config.training.loss], **LABELS)


def _compare(
    job: Run, config: ExpressionConfig, loaded: Loaded, made: Prepared, done: TrainingRun, out: Path
) -> pl.DataFrame | None:
    """Train the block split's network beside that of a random split, and score both."""

    def measure(folder: Path) -> pl.DataFrame:
        margin = config.window + 2 * config.training.shift
        second = replace(config, split=GenesByBlock(**config.split.shared(GenesByBlock), margin=margin))
        beside = prepare(second, loaded)
        sweep(folder, OF_EACH)
        other = _train(job, second, beside, folder)
        return gene_inflation(_task(config, made), done.network, _task(second, beside), other.network)

    why = "windows of test genes overlap those of training genes, so that scores are inflated"
    return compare(config.split, out, why, measure, gene_inflation_lines)
