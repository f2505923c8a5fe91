"""Programs that do the same, run beside ours on the same arrays: R's glmnet."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genopred.errors import GenopredError

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


def glmnet_missing() -> str | None:
    """Why R's glmnet cannot be run here; None when it can."""
    if shutil.which("Rscript") is None:
        return "Rscript is not installed"
    probe = subprocess.run(["Rscript", "-e", "library(glmnet)"], capture_output=True, check=False)
    return "R has no package glmnet" if probe.returncode else None


def glmnet(
    gene_id: str, place: Path, fold: NDArray[np.int32], y: NDArray[np.float64], x: NDArray[np.float64]
) -> tuple[float, list[float]]:
    """R's cv.glmnet on one gene: its CPU seconds, fitting alone, and a held-out prediction of each person.

    Parameters
    ----------
    gene_id : str
        For messages.
    place : Path
        Where files for R may lie for a moment, without their suffix.
    fold : array of int, shape (N,)
        Of the K outer folds the one in which a person is held out.
    y : array, shape (N, K)
        The phenotype of each fold's training people.
    x : array, shape (N, M)
        Dosages.

    Raises
    ------
    GenopredError
        If R fails.
    """
    script, data = (place.with_name(f"{place.name}.{end}") for end in ("R", "bin"))
    script.write_text(GLMNET)
    with data.open("wb") as file:
        for array in (fold, y, x):
            array.ravel(order="F").tofile(file)
    command = ["Rscript", str(script), str(data), *map(str, (*x.shape, y.shape[1], 1))]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    data.unlink()
    if answer.returncode:
        said = [line for line in answer.stderr.split("\n") if line.strip() not in ("", "Execution halted")]
        raise GenopredError(
            f"glmnet failed on {gene_id}: {' '.join(said[-2:]) or f'R ended with code {answer.returncode}'}; "
            "repair R, or leave it out with --peers none."
        )
    seconds, *predicted = (float(line) for line in answer.stdout.split())
    return seconds, predicted
