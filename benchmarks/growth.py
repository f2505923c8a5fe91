"""What a gene costs as people become more: CPU seconds and memory of the stack and of each learner.

    python benchmarks/growth.py --out OUT [--people 358,1000,3000,10000,30000,100000] [--variants 2000]
        [--before PYTHON --before-people 358,1000,3000] [--trees-up-to 10000]
        [--parts whole,linear,learners,peers,crossing] [--record]

One gene with so many SNPs: people are mosaics of the haplotypes of GEUVADIS around a gene of chr22, with a few alleles
changed so that variants are not determined by so few haplotypes; the first of them are the smaller cohorts. Expression
has a heritability of 0.2 from five SNPs. Each command is a process of its own on one core, measured as a whole:

whole: `genopred stack` with all learners and models, for up to --trees-up-to people. With --before the same with the
Python of another installation, such as one made before people were summed.
linear: the learners that are linear in dosage, and polynomial, together, five outer folds.
learners: each learner alone, without models.
peers: R's cv.glmnet and susieR on the same training people, beside our seconds in the same run.
crossing: linear learners that go by sums, and by people, where people are about as many as variants.

Needs ../shared (or $GENOPRED_SHARED). What was measured already is not measured again. Writes OUT/growth.md and .jsonl;
--record copies them to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from mosaics import geuvadis, near, write_cohort
from threadpoolctl import threadpool_limits

from genopred.genetics import moments
from genopred.genetics.moments import Moments, total
from genopred.io.expression import read_expression
from genopred.io.plink import read_plink
from genopred.learning import learners as registry
from genopred.learning.elasticnet import assign_folds
from genopred.learning.evaluate import outer_folds
from genopred.learning.stack import fit_base
from genopred.provenance import versions

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("GENOPRED_SHARED", ROOT.parent / "shared"))
DATA = SHARED / "data" / "geuvadis_chr22"
RESULTS = Path(__file__).parent / "results"
GENE, SEED, H2 = "GENE1", 1, 0.2
LINEAR = tuple(name for name in registry.names() if registry.is_linear(name))
BY_SUMS = (*LINEAR, "polynomial")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people", default="358,1000,3000,10000,30000,100000")
    parser.add_argument("--variants", type=int, default=2000)
    parser.add_argument("--before", help="the Python of another installation of genopred")
    parser.add_argument("--before-people", default="358,1000,3000", help="how many people it is given")
    parser.add_argument("--trees-up-to", type=int, default=10_000, help="people for whom trees are grown as well")
    parser.add_argument("--parts", default="whole,linear,learners,peers,crossing")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"{DATA} is not there; set GENOPRED_SHARED to the folder of the shared data.")
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    sizes, parts = [int(n) for n in args.people.split(",")], args.parts.split(",")
    threadpool_limits(1)
    kept = Measured(args.out / "growth.jsonl")
    for n in sizes:
        folder = cohort(args.out / "work", n, args.variants)
        trees = n <= args.trees_up_to
        if "whole" in parts and trees:
            kept.add({"part": "whole", "n": n}, stack(folder, "whole"))
            if args.before and n in [int(k) for k in args.before_people.split(",")]:
                kept.add({"part": "before", "n": n}, stack(folder, "before", python=args.before))
        if "linear" in parts:
            kept.add(
                {"part": "linear", "n": n}, stack(folder, "linear", "--learners", ",".join(BY_SUMS), "--no-models")
            )
        if "learners" in parts:
            for name in registry.names() if trees else BY_SUMS:
                command = stack(folder, name, "--learners", name, "--no-models")
                kept.add({"part": "learner", "n": n, "what": name}, command)
        if "peers" in parts and n <= 1000:
            peers(kept, folder, n)
    if "crossing" in parts:
        crossing(kept, args.out / "work", args.variants)
    text = words(kept.table(), args.variants)
    (args.out / "growth.md").write_text(text, encoding="utf-8")
    if args.record:
        shutil.copy(args.out / "growth.md", RESULTS / "growth.md")
        shutil.copy(args.out / "growth.jsonl", RESULTS / "growth.jsonl")
    print(text)


# --- people ----------------------------------------------------------------------------------------------------------


def cohort(work: Path, n: int, m: int) -> Path:
    """A folder with the first n people."""
    folder = work / str(n)
    if not (folder / "truth.json").is_file():
        source, genes = geuvadis(DATA)
        counts = np.array([len(near(source, gene)) for gene in genes])
        # the gene whose window has the fewest variants that are enough
        gene = genes[int(np.argmin(np.where(counts < m, 10**9, counts)))]
        write_cohort(folder, source, {GENE: (gene, near(source, gene, m))}, n, h2=H2, causal=5, seed=SEED)
    return folder


# --- measured --------------------------------------------------------------------------------------------------------


def stack(folder: Path, out: str, *more: str, python: str = sys.executable) -> list[str]:
    """The command."""
    return [
        python, "-m", "genopred.cli", "stack", "--bfile", str(folder / "cohort"), "--expression",
        str(folder / "expression.bed"), "--gene", GENE, "--threads", "1", "--quiet", "--no-resume", "--out",
        str(folder / out), *more,
    ]  # fmt: skip


#: A process of its own starts the command: what a child inherits of a large parent would count as its memory.
_MEASURE = """
import json, os, subprocess, sys, time
start = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
said = child.stderr.read().decode(errors="replace")[-2000:]
_, status, usage = os.wait4(child.pid, 0)
print(json.dumps({"status": status, "said": said, "wall_s": time.perf_counter() - start,
                  "cpu_s": usage.ru_utime + usage.ru_stime, "peak_gb": usage.ru_maxrss * 1024 / 1e9}))
"""


class Measured:
    """What was measured, a line each in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def has(self, about: dict[str, Any]) -> bool:
        return any(about.items() <= row.items() for row in self.rows)

    def put(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        self.path.write_text("".join(f"{json.dumps(one)}\n" for one in self.rows), encoding="utf-8")
        print(json.dumps(row), flush=True)

    def add(self, about: dict[str, Any], command: list[str]) -> None:
        """Measure a command, unless that was done."""
        if self.has(about):
            return
        line = [sys.executable, "-S", "-c", _MEASURE, *command]
        # where no genopred lies: another Python must find its own
        done = subprocess.run(line, check=True, capture_output=True, text=True, cwd=self.path.parent)
        found = json.loads(done.stdout)
        if found.pop("status"):
            raise SystemExit(f"{' '.join(command[:4])} ... failed: {found['said']}")
        del found["said"]
        self.put(about | found)

    def table(self) -> pl.DataFrame:
        return pl.DataFrame(self.rows, infer_schema_length=None)


# --- beside R, and beside the people's own route ---------------------------------------------------------------------

#: cv.glmnet as PrediXcan trains it and susieR, in five outer folds; CPU seconds of fitting alone.
_PEERS = """
suppressPackageStartupMessages({library(glmnet); library(susieR)})
a <- commandArgs(TRUE); d <- as.integer(a[2:3]); set.seed(1)
con <- file(a[1], "rb"); n <- d[1]; m <- d[2]
fold <- readBin(con, "integer", n); y <- readBin(con, "double", n)
x <- matrix(readBin(con, "double", n * m), n, m); close(con)
taken <- function(expr) sum(system.time(expr)[1:2])
net <- 0; single <- 0
for (f in unique(fold)) {
  keep <- fold != f
  net <- net + taken(cv.glmnet(x[keep, ], y[keep], alpha = 0.5, nfolds = 10))
  single <- single + taken(susie(x[keep, ], y[keep], L = 10))
}
cat(net, single)
"""


def held(folder: Path) -> tuple[np.ndarray, np.ndarray, registry.GeneContext]:
    """Dosages, expression, and what learners know of the gene."""
    genotypes = read_plink(folder / "cohort")
    expression = read_expression(folder / "expression.bed")
    tss = int(expression.genes["tss"][0])
    x = genotypes.dosage()
    use = np.minimum(x.mean(axis=0), 2 - x.mean(axis=0)) / 2 >= 0.05
    return (
        x[:, use],
        expression.values[:, 0],
        registry.GeneContext(genotypes.variants["pos"].to_numpy()[use], tss, SEED),
    )


def peers(kept: Measured, folder: Path, n: int) -> None:
    """R's programs and ours on the same training people, five fits each."""
    if kept.has({"part": "peers", "n": n}) or (why := _no_peers()):
        if not kept.has({"part": "peers", "n": n}):
            print(f"peers are left out: {why}")
        return
    x, y, gene = held(folder)
    folds = outer_folds(n, 5, SEED)
    script, data = folder / "peers.R", folder / "peers.bin"
    script.write_text(_PEERS)
    with data.open("wb") as file:
        for array in (folds.astype(np.int32), y, x.astype(np.float64)):
            array.ravel(order="F").tofile(file)
    command = ["Rscript", str(script), str(data), str(n), str(x.shape[1])]
    one = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=one)
    data.unlink()
    found = dict(zip(("glmnet", "susieR"), map(float, answer.stdout.split())))
    for name in ("elastic-net", "susie"):
        registry.find(name).make(gene).fit(x[:200], y[:200])  # compiled
        start = time.process_time()
        for fold in range(5):
            registry.find(name).make(gene).fit(x[folds != fold], y[folds != fold])
        found[name] = time.process_time() - start
    kept.put({"part": "peers", "n": n} | found)


def _no_peers() -> str | None:
    if shutil.which("Rscript") is None:
        return "Rscript is not installed"
    probe = subprocess.run(["Rscript", "-e", "library(glmnet); library(susieR)"], capture_output=True, check=False)
    return "R has no glmnet or susieR" if probe.returncode else None


def crossing(kept: Measured, work: Path, m: int) -> None:
    """Out-of-fold fits by people and by sums, which include making the sums."""
    for n in (500, 700, 1000, 1500, 2000, 3000):
        if kept.has({"part": "crossing", "n": n}):
            continue
        x, y, gene = held(cohort(work, n, m))
        inner = assign_folds(n, 5, SEED)
        for name in LINEAR:
            row: dict[str, Any] = {"part": "crossing", "n": n, "what": name}
            usual = moments.MANY
            try:
                moments.MANY = 10**9
                start = time.process_time()
                fit_base(registry.find(name).make(gene), x, y, x[:1], inner)
                row["people_s"] = time.process_time() - start
            finally:
                moments.MANY = usual
            start = time.process_time()
            parts = [Moments.of(x[inner == k], y[inner == k]) for k in range(5)]
            row["summing_s"] = time.process_time() - start
            registry.find(name).make(gene).fit_sums(total(parts), parts)
            row["sums_s"] = time.process_time() - start
            kept.put(row)


# --- in words --------------------------------------------------------------------------------------------------------


def words(table: pl.DataFrame, m: int) -> str:
    """The tables, as markdown."""
    lines = [
        f"# What a gene of {m:,} SNPs costs as people become more", "",
        f"`python benchmarks/growth.py`; {platform.machine()}, one core, {versions()['genopred']}, "
        f"NumPy {versions()['numpy']}. CPU seconds (peak memory in GB) of whole processes.", "",
    ]  # fmt: skip
    sizes = sorted(table["n"].unique().to_list())

    def cell(part: str, n: int, what: str | None = None) -> str:
        rows = table.filter((pl.col("part") == part) & (pl.col("n") == n))
        if what is not None:
            rows = rows.filter(pl.col("what") == what)
        return f"{rows['cpu_s'][0]:.1f} ({rows['peak_gb'][0]:.2f})" if rows.height else "-"

    shown = [n for n in sizes if any(cell(part, n) != "-" for part in ("whole", "linear", "learner"))]
    lines += ["| | " + " | ".join(f"{n:,} people" for n in shown) + " |", "|---|" + "---:|" * len(shown)]
    for part, name in (("whole", "`genopred stack`, all learners and models"), ("before", "the same before"),
                       ("linear", "linear learners and polynomial together, five outer folds")):  # fmt: skip
        lines.append(f"| {name} | " + " | ".join(cell(part, n) for n in shown) + " |")
    for what in registry.names():
        lines.append(f"| {what} alone | " + " | ".join(cell("learner", n, what) for n in shown) + " |")
    rows = table.filter(pl.col("part") == "peers")
    if rows.height:
        lines += ["", "Five fits to the training people of five outer folds, CPU seconds of fitting:", ""]
        lines += ["| people | R cv.glmnet | elastic-net | R susieR | susie |", "|---:|---:|---:|---:|---:|"]
        for row in rows.sort("n").iter_rows(named=True):
            values = (row[name] for name in ("glmnet", "elastic-net", "susieR", "susie"))
            lines.append(f"| {row['n']:,} | " + " | ".join(f"{value:.2f}" for value in values) + " |")
    rows = table.filter(pl.col("part") == "crossing")
    if rows.height:
        lines += ["", "Out-of-fold fits (five inner folds) by people / by sums, summing included; CPU seconds:", ""]
        lines += ["| people | " + " | ".join(LINEAR) + " | summing |", "|---:|" + "---:|" * (len(LINEAR) + 1)]
        for n in sorted(rows["n"].unique().to_list()):
            of = {row["what"]: row for row in rows.filter(pl.col("n") == n).iter_rows(named=True)}
            cells = [f"{of[name]['people_s']:.2f} / {of[name]['sums_s']:.2f}" for name in LINEAR]
            lines.append(f"| {n:,} | " + " | ".join(cells) + f" | {of[LINEAR[0]]['summing_s']:.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
