"""The main job on a cohort, with what it costs, beside R's glmnet on the same people, folds and phenotype.

Besides the files of `genopred.pipelines.stack`, `out` gets:

==============================  ====================================================================================
benchmark.tsv                   the comparison of methods with `glmnet-r` among them (columns of summary.tsv)
benchmark_scores.tsv            its accuracy per gene and method
cost.tsv                        what, seconds (CPU per gene, mean), share
glmnet/ID.DIGEST.tsv            sample, predicted: held-out predictions of R's cv.glmnet; the digest is of the folds
                                and phenotype that they belong to
==============================  ====================================================================================
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import numpy as np
import polars as pl

from genopred import align
from genopred.files import safe_name, write_text
from genopred.io.text import bounded
from genopred.learning import peers
from genopred.learning.evaluate import fill_missing, scores, summarise
from genopred.pipelines import stack, stack_genes
from genopred.pipelines.inputs import cis_window, open_cohort
from genopred.pipelines.run import Progress, write_tables
from genopred.report.pages import stack as page
from genopred.settings import Benchmark
from genopred.types import Cohort
from genopred.workers import cores, workers

log = logging.getLogger("genopred.benchmark")


@dataclass(frozen=True)
class BenchmarkResult:
    """The stack's result with peers among the methods, and the cost table.

    Attributes
    ----------
    result : StackResult
        Its summary and scores include the peers.
    cost : polars.DataFrame
        Columns: what, seconds (mean CPU seconds per gene, all folds), share (of the stack's total; null for peers).
    notes : tuple of str
        Peers that could not run, and why.
    """

    result: stack.StackResult
    cost: pl.DataFrame
    notes: tuple[str, ...] = ()


def run(settings: Benchmark, progress: Progress | None = None) -> BenchmarkResult:
    """Run the stack, then the peers on the same folds."""
    result = stack.run(settings, progress)
    notes: list[str] = []
    rows = [{"what": what, "seconds": seconds} for what, seconds in result.cost.items()]
    total = sum(result.cost.values())
    if not rows:
        notes.append("all genes had been computed before, so the stack's cost was not measured; use --no-resume.")
    else:
        rows.append({"what": "the stack, all of it", "seconds": total})
    table = result.scores
    if "glmnet" in settings.peers:
        why_not = peers.glmnet_missing()
        if why_not:
            notes.append(f"glmnet was not run: {why_not}.")
        else:
            peer, seconds = _glmnet(settings, table["gene_id"].unique(maintain_order=True).to_list(), progress)
            table = pl.concat([table, peer])
            if np.isfinite(seconds):  # else its predictions were there already
                rows.append({"what": "R cv.glmnet (alpha 0.5, 10 inner folds), fitting alone", "seconds": seconds})
    cost = pl.DataFrame(rows, schema={"what": pl.String, "seconds": pl.Float64}).with_columns(
        share=pl.when(~pl.col("what").str.starts_with("R ")).then(pl.col("seconds") / max(total, 1e-12))
    )
    reference = "glmnet-r" if "glmnet-r" in table["method"].to_list() else str(result.summary["reference"][0])
    summary = summarise(table, reference, seed=settings.seed)
    tables = {"benchmark": summary, "benchmark_scores": table, "cost": cost}
    write_tables({settings.out / f"{name}.tsv": of for name, of in tables.items()})
    result = replace(result, summary=summary, scores=table)
    stack.write_report(settings, result, [page.cost(cost, notes)])
    return BenchmarkResult(result, cost, tuple(notes))


def _glmnet(settings: Benchmark, genes: Sequence[str], progress: Progress | None) -> tuple[pl.DataFrame, float]:
    """Scores of R's cv.glmnet, gene by gene in parallel, and its mean CPU seconds per gene."""
    with bounded(settings.max_bytes):
        cohort = open_cohort(settings)
    tables, seconds = [], []
    with tempfile.TemporaryDirectory(prefix="genopred-") as folder:
        calls = (joblib.delayed(_glmnet_gene)(settings, cohort, gene, Path(folder)) for gene in genes)
        with workers(cores(settings.threads), len(genes)) as in_parallel:
            for k, (table, taken) in enumerate(in_parallel(calls), start=1):
                tables.append(table)
                seconds += [] if taken is None else [taken]
                if progress is not None:
                    progress(k, len(genes), "glmnet")
    return pl.concat(tables), float(np.mean(seconds)) if seconds else float("nan")


def _glmnet_gene(settings: Benchmark, cohort: Cohort, gene_id: str, folder: Path) -> tuple[pl.DataFrame, float | None]:
    base = stack_genes.read_base(settings.out, gene_id)
    people = cohort.samples.tolist()
    row = {name: i for i, name in enumerate(people)}
    held = base.filter(pl.col("inner_fold") < 0)
    folds, fold = np.unique(held["outer_fold"].to_numpy(), return_inverse=True)
    place = np.array([row[name] for name in held["sample"].to_list()])
    what = base.select("outer_fold", "inner_fold", "sample", "observed").write_csv()
    digest = hashlib.sha256(f"{settings.window} {settings.maf} {what}".encode()).hexdigest()[:12]
    path = settings.out / "glmnet" / f"{safe_name(gene_id)}.{digest}.tsv"
    seconds = None
    if not path.is_file():
        index = cohort.expression.genes["gene_id"].to_list().index(gene_id)
        _, window = cis_window(cohort, index, settings.window)
        dosage = window.dosage()
        use, _ = align.usable_variants(dosage, window.variants, maf=settings.maf)
        x = fill_missing(dosage[:, use], dosage[:0, use])[0].astype(np.float64)
        fold_of = np.empty(len(people), dtype=np.int32)
        fold_of[place] = fold
        y = np.zeros((len(people), len(folds)))
        for i, name in enumerate(folds):
            rows = base.filter((pl.col("outer_fold") == name) & (pl.col("inner_fold") >= 0))
            y[[row[s] for s in rows["sample"].to_list()], i] = rows["observed"].to_numpy()
        seconds, values = peers.glmnet(gene_id, folder / safe_name(gene_id), fold_of, y, x)
        lines = [f"{name}\t{value!r}" for name, value in zip(people, values)]
        write_text(path, "\n".join(["sample\tpredicted", *lines]) + "\n")
    table = pl.read_csv(path, separator="\t")
    predicted = dict(zip(table["sample"].to_list(), table["predicted"].to_list()))
    of_r = np.array([predicted[name] for name in held["sample"].to_list()], dtype=np.float64)
    return scores(gene_id, held["observed"].to_numpy(), {"glmnet-r": of_r}, seed=settings.seed), seconds
