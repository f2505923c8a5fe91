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
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import polars as pl

from genopred import align
from genopred.errors import GenopredError
from genopred.files import safe_name, write_files, write_text
from genopred.io.text import bounded
from genopred.learning.evaluate import fill_missing, scores, summarise
from genopred.pipelines import stack, stack_genes
from genopred.pipelines.inputs import open_cohort
from genopred.pipelines.run import Progress
from genopred.settings import Benchmark
from genopred.types import Cohort, Interval
from genopred.workers import cores, workers

log = logging.getLogger("genopred.benchmark")

#: PrediXcan's recipe. Folds of the inner cross-validation are R's own, as PrediXcan leaves them.
GLMNET = """
suppressPackageStartupMessages(library(glmnet))
a <- commandArgs(TRUE); d <- as.integer(a[2:4]); set.seed(as.integer(a[5]))
con <- file(a[1], "rb"); n <- d[1]; m <- d[2]; k <- d[3]
fold <- readBin(con, "integer", n); person <- 1:n
y <- matrix(readBin(con, "double", n * k), n, k); x <- matrix(readBin(con, "double", n * m), n, m); close(con)
out <- numeric(n); started <- proc.time()
for (f in 1:k) {
  train <- fold != (f - 1)
  fit <- cv.glmnet(x[train, ], y[train, f], alpha = 0.5, nfolds = 10)
  out[!train] <- predict(fit, x[!train, , drop = FALSE], s = "lambda.min")
}
used <- (proc.time() - started)[1:2]
cat(sum(used), out, sep = "\\n")
"""


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
    """Run the stack, then the peers on the same folds.

    Parameters
    ----------
    settings : genopred.settings.Benchmark
    progress : callable, optional

    Returns
    -------
    BenchmarkResult
    """
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
        why_not = glmnet_missing()
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
    out = settings.out
    write_files(
        {
            out / "benchmark.tsv": lambda path: summary.write_csv(path, separator="\t"),
            out / "benchmark_scores.tsv": lambda path: table.write_csv(path, separator="\t"),
            out / "cost.tsv": lambda path: cost.write_csv(path, separator="\t"),
        }
    )
    result = replace(result, summary=summary, scores=table)
    stack.write_report(settings, result, [_cost_section(cost, notes)])
    return BenchmarkResult(result, cost, tuple(notes))


def _cost_section(cost: pl.DataFrame, notes: Sequence[str]) -> Any:
    """The cost table for the page."""
    from genopred.report.page import Section
    from genopred.report.tables import Cell, Grid, number

    rows = []
    for row in cost.iter_rows(named=True):
        share = Cell(number(row["share"] and 100 * row["share"], 1), value=row["share"])
        rows.append([Cell(row["what"]), Cell(number(row["seconds"], 3), value=row["seconds"]), share])
    table = Grid(["What", "CPU seconds", "Share, %"], rows)
    text = ("CPU seconds per gene, all outer folds together, on the machine that ran this.", *notes)
    return Section("What it costs", text, tables=((table, "CPU seconds per gene, and share of the stack's total."),))


def glmnet_missing() -> str | None:
    """Why R's glmnet cannot be run here; None when it can."""
    if shutil.which("Rscript") is None:
        return "Rscript is not installed"
    probe = subprocess.run(["Rscript", "-e", "library(glmnet)"], capture_output=True, check=False)
    return "R has no package glmnet" if probe.returncode else None


def _glmnet(settings: Benchmark, genes: Sequence[str], progress: Progress | None) -> tuple[pl.DataFrame, float]:
    """Scores of R's cv.glmnet, gene by gene in parallel, and its mean CPU seconds per gene."""
    with bounded(settings.max_bytes):
        cohort = open_cohort(settings)
    tables, seconds = [], []
    with tempfile.TemporaryDirectory(prefix="genopred-") as folder:
        script = Path(folder) / "glmnet.R"
        script.write_text(GLMNET)
        calls = (joblib.delayed(_glmnet_gene)(settings, cohort, gene, script) for gene in genes)
        with workers(cores(settings.threads), len(genes)) as in_parallel:
            for k, (table, taken) in enumerate(in_parallel(calls), start=1):
                tables.append(table)
                seconds += [] if taken is None else [taken]
                if progress is not None:
                    progress(k, len(genes), "glmnet")
    return pl.concat(tables), float(np.mean(seconds)) if seconds else float("nan")


def _glmnet_gene(settings: Benchmark, cohort: Cohort, gene_id: str, script: Path) -> tuple[pl.DataFrame, float | None]:
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
        gene = cohort.expression.genes.row(index, named=True)
        window = cohort.genotypes.select(variants=Interval.around(gene["chrom"], gene["tss"], settings.window))
        dosage = window.dosage()
        use, _ = align.usable_variants(dosage, window.variants, maf=settings.maf)
        x = fill_missing(dosage[:, use], dosage[:0, use])[0].astype(np.float64)
        fold_of = np.empty(len(people), dtype=np.int32)
        fold_of[place] = fold
        y = np.zeros((len(people), len(folds)))
        for i, name in enumerate(folds):
            rows = base.filter((pl.col("outer_fold") == name) & (pl.col("inner_fold") >= 0))
            y[[row[s] for s in rows["sample"].to_list()], i] = rows["observed"].to_numpy()
        data = script.with_name(f"{safe_name(gene_id)}.bin")
        with data.open("wb") as file:
            for array in (fold_of, y, x):
                array.ravel(order="F").tofile(file)
        command = ["Rscript", str(script), str(data), str(len(people)), str(x.shape[1]), str(len(folds)), "1"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        data.unlink()
        if answer.returncode:
            said = [line for line in answer.stderr.split("\n") if line.strip() not in ("", "Execution halted")]
            raise GenopredError(
                f"glmnet failed on {gene_id}: {' '.join(said[-2:]) or f'R ended with code {answer.returncode}'}; "
                "repair R, or leave it out with --peers none."
            )
        numbers = [float(line) for line in answer.stdout.split()]
        seconds = numbers[0]
        lines = [f"{name}\t{value!r}" for name, value in zip(people, numbers[1:])]
        write_text(path, "\n".join(["sample\tpredicted", *lines]) + "\n")
    table = pl.read_csv(path, separator="\t")
    predicted = dict(zip(table["sample"].to_list(), table["predicted"].to_list()))
    values = np.array([predicted[name] for name in held["sample"].to_list()], dtype=np.float64)
    return scores(gene_id, held["observed"].to_numpy(), {"glmnet-r": values}, seed=settings.seed), seconds
