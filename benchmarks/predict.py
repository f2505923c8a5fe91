"""Models that leave a run: do they keep what cross-validation promised, and what do predictions of a biobank cost.

    python benchmarks/predict.py --out OUT [--part promised|cost|all] [--seeds 1,2,3] [--people 20000,150000]
        [--whole 20000]

promised: for each seed `genopred stack` sees a random half of the 358 people of GEUVADIS (the peers' 120 genes of
chr22) and `genopred predict`, another process, predicts the other half from the models' files and a VCF. Their outcome
is made inside that half by the same transform and covariates. R² there against R² of cross-validation inside the first
half.

cost: a .bed of people who are two haplotypes of GEUVADIS each (whole ones, at random), written block by block, and
models of all 608 genes with a random weight at every variant within 500 kb. `genopred predict` beside `plink2 --score`
with 608 columns (which multiplies every variant with every column; --whole says for how many people) and beside plink2
in 12 runs, each with the columns of neighbouring genes and their variants alone; by turns, each measured as a whole
process: wall and CPU seconds, peak memory. Then the VCF of the 358 people.

Needs ../shared (or $GENOPRED_SHARED), plink2 for `cost`, and 6 GB of disk at OUT/work, removed at the end unless
--keep. On two quiet cores an hour, much of it plink2's where people are many. What was made already is not made again.
Writes OUT/promised.md and .tsv, OUT/cost.md and .jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import polars as pl

from genopred.io.covariates import read_covariates
from genopred.io.expression import read_expression
from genopred.io.genemodels import join_models
from genopred.io.vcf import read_vcf
from genopred.learning.evaluate import Outcome, scores
from genopred.learning.fitted import LINEAR
from genopred.provenance import versions
from genopred.types import MODEL_GENE_SCHEMA, MODEL_LEARNER_SCHEMA, MODEL_WEIGHT_SCHEMA, Genotypes, Interval

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("GENOPRED_SHARED", ROOT.parent / "shared"))
DATA = SHARED / "data" / "geuvadis_chr22"
VCF, EXPRESSION = DATA / "genotypes.chr22.vcf.gz", DATA / "genes.50percent.chr22.bed.gz"
COVARIATES, N_COVARIATES = DATA / "genes.covariates.pc50.txt.gz", 18
METHODS = (LINEAR, "stack-xgboost")
#: Variants of the simulated .bed that are in memory at once.
BLOCK = 256


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", choices=["promised", "cost", "all"], default="all")
    parser.add_argument("--seeds", default="1,2,3", help="of the halves")
    parser.add_argument("--people", default="20000,150000", help="how many people are simulated")
    parser.add_argument("--whole", help="of these, for which plink2 runs with all columns at once; by default all")
    parser.add_argument("--threads", default="1,2", help="of the programs whose cost is measured")
    parser.add_argument("--repeats", type=int, default=2, help="measurements of each")
    parser.add_argument("--keep", action="store_true", help="leave OUT/work")
    args = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"{DATA} is not there; set GENOPRED_SHARED to the folder of the shared data.")
    if args.part != "promised" and shutil.which("plink2") is None:
        raise SystemExit("plink2 is not installed (Debian and Ubuntu: apt-get install plink2)")
    work = args.out / "work"
    work.mkdir(parents=True, exist_ok=True)
    if args.part != "cost":
        text = promised(work / "promised", numbers(args.seeds))
        (args.out / "promised.md").write_text(text, encoding="utf-8")
        print(text)
    if args.part != "promised":
        sizes, whole = (numbers(text) for text in (args.people, args.whole or args.people))
        text = cost(work / "cost", sizes, whole, numbers(args.threads), args.repeats)
        (args.out / "cost.md").write_text(text, encoding="utf-8")
        print(text)
    if not args.keep:
        shutil.rmtree(work)
    return 0


def genopred(*words: str | Path) -> list[str]:
    """The command of this environment."""
    return [str(Path(sys.executable).with_name("genopred")), *map(str, words)]


def numbers(text: str) -> list[int]:
    """1,2,3 as numbers."""
    return [int(cell) for cell in text.split(",")]


def machine() -> str:
    """The machine, in words."""
    return f"{platform.machine()}, {os.cpu_count()} cores"


# --- accuracy in other people ----------------------------------------------------------------------------------------


def promised(folder: Path, seeds: list[int]) -> str:
    """Train on halves, predict the others, compare."""
    folder.mkdir(parents=True, exist_ok=True)
    genes = pl.read_csv(SHARED / "peers" / "genes120.tsv", separator="\t")["gene"].to_list()
    (folder / "genes.txt").write_text("\n".join(genes) + "\n", encoding="utf-8")
    tables = []
    for seed in seeds:
        train, new = halves(folder / str(seed), seed)
        run = folder / str(seed) / "stack"
        if not (run / "models" / "models.json").is_file():
            subprocess.run(
                genopred(
                    "stack", "--expression", EXPRESSION, "--vcf", VCF, "--covar", COVARIATES,
                    "--n-covariates", str(N_COVARIATES), "--residualize", "fold", "--stack-weights", "none",
                    "--genes", folder / "genes.txt", "--keep", train, "--threads", "1", "--quiet", "--out", run,
                ),
                check=True,
            )  # fmt: skip
        for method in METHODS:
            out = folder / str(seed) / method
            subprocess.run(
                genopred(
                    "predict", "--vcf", VCF, "--models", run / "models", "--keep", new, "--method", method,
                    "--threads", "1", "--quiet", "--out", out,
                ),
                check=True,
            )  # fmt: skip
            tables.append(
                kept_promise(out, run / "models", method).with_columns(seed=pl.lit(seed), method=pl.lit(method))
            )
    table = pl.concat(tables)
    table.write_csv(folder.parent.parent / "promised.tsv", separator="\t", float_precision=5)
    return promised_words(table, seeds)


def halves(folder: Path, seed: int) -> tuple[Path, Path]:
    """Lists of a random half of the people and of the others."""
    folder.mkdir(exist_ok=True)
    samples = read_vcf(VCF).samples
    order = np.random.default_rng(seed).permutation(len(samples))
    paths = folder / "train.txt", folder / "new.txt"
    for path, part in zip(paths, np.split(order, [len(samples) // 2])):
        path.write_text("".join(f"{name}\n" for name in samples[np.sort(part)]), encoding="utf-8")
    return paths


def kept_promise(out: Path, models: Path, method: str) -> pl.DataFrame:
    """gene_id, promised (R² of cross-validation), kept and signed (R² and signed r² in these people), strict.

    For `kept` the outcome is made inside these people; for `strict`, as cross-validation makes it, ranks and
    coefficients of the covariates come from the people of the training, so that noise of the coefficients stays in.
    Genes whose models have no weight are not predicted: everyone is the mean, and R² is 0.
    """
    predicted = pl.read_parquet(out / "expression.parquet")
    about = pl.read_parquet(models / "genes.parquet").filter(pl.col("method") == method)
    people = np.array(predicted["sample"].to_list())
    expression = read_expression(EXPRESSION)
    covariates = read_covariates(COVARIATES, samples=set(people.tolist())).select(expression.samples)
    known = covariates.values[:, :N_COVARIATES]
    new = np.isin(expression.samples, people)
    expression_of_new, known_of_new = expression.select(people), covariates.select(people).values[:, :N_COVARIATES]
    order = [people.tolist().index(name) for name in expression.samples[new].tolist()]
    place = {gene: i for i, gene in enumerate(expression.genes["gene_id"].to_list())}
    everyone = np.ones(len(people), dtype=bool)
    rows = []
    for gene, r2 in about.select("gene_id", "r2").iter_rows():
        if gene not in predicted.columns:
            rows.append((gene, r2, 0.0, 0.0, 0.0))
            continue
        values = predicted[gene].to_numpy()
        y, _ = Outcome().split(expression_of_new.values[:, place[gene]], known_of_new, everyone)
        _, as_held_out = Outcome().split(expression.values[:, place[gene]], known, ~new)
        found = scores(gene, y, {"new": values}, resamples=0)
        strict = scores(gene, as_held_out, {"new": values[order]}, resamples=0)
        rows.append((gene, r2, found["r2"][0], found["signed_r2"][0], strict["r2"][0]))
    return pl.DataFrame(rows, ["gene_id", "promised", "kept", "signed", "strict"], orient="row")


def interval(values: np.ndarray, resamples: int = 10_000) -> tuple[float, float]:
    """95 % bootstrap interval of a mean, over genes."""
    draws = np.random.default_rng(0).multinomial(len(values), np.full(len(values), 1 / len(values)), size=resamples)
    low, high = np.quantile(draws @ values / len(values), [0.025, 0.975])
    return float(low), float(high)


def gap(part: pl.DataFrame, name: str) -> str:
    """Mean difference from what was promised, with its interval."""
    values = (part[name] - part["promised"]).to_numpy()
    low, high = interval(values)
    return f"{values.mean():+.4f} ({low:+.4f} to {high:+.4f})"


def promised_words(table: pl.DataFrame, seeds: list[int]) -> str:
    """A row per method and seed, and the mean over seeds of each gene."""
    lines = [
        "| method | seed of the halves | genes | promised: mean R² of cross-validation | kept: mean R² of the others "
        "| kept - promised (95 % over genes) | signed r² there | outcome as in training: mean R² | - promised |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for method in METHODS:
        of = table.filter(pl.col("method") == method)
        mean = of.group_by("gene_id").agg(pl.col("promised", "kept", "signed", "strict").mean()).sort("gene_id")
        for name, part in [*((str(seed), of.filter(pl.col("seed") == seed)) for seed in seeds), ("all", mean)]:
            lines.append(
                f"| {method} | {name} | {part.height} | {part['promised'].mean():.4f} | {part['kept'].mean():.4f} "
                f"| {gap(part, 'kept')} | {part['signed'].mean():.4f} | {part['strict'].mean():.4f} "
                f"| {gap(part, 'strict')} |"
            )
    return "\n".join(lines) + "\n"


# --- cost ------------------------------------------------------------------------------------------------------------


def cost(folder: Path, sizes: list[int], whole: list[int], threads: list[int], repeats: int) -> str:
    """Make the data, run the programs by turns, compare."""
    folder.mkdir(parents=True, exist_ok=True)
    source = read_vcf(VCF)
    entries, genes = dense_weights(source)
    if not (folder / "models" / "models.json").is_file():
        write_models(folder / "models", entries, genes, source)
    if not (folder / f"scores{RUNS}.txt").is_file():
        write_scores(folder / "scores0.txt", entries, genes["gene_id"].to_list())
        for i, some in enumerate(neighbours(genes), start=1):
            write_scores(folder / f"scores{i}.txt", entries.filter(pl.col("gene_id").is_in(some)), some)
    kept, apart = folder.parent.parent / "cost.jsonl", 0.0
    for people in sizes:
        bfile = folder / f"people{people}"
        if not bfile.with_suffix(".fam").is_file():
            write_people(bfile, source, people)
        for n in threads:
            commands = {"genopred predict": predict(folder, "--bfile", bfile, "--threads", str(n))}
            commands[f"plink2 --score, {RUNS} runs"] = plink_runs(folder, bfile, genes, n)
            if people in whole:
                commands["plink2 --score, 608 columns"] = plink(folder, bfile, genes.height, n)
            for repeat in range(repeats):
                for what in list(commands)[:: 1 if repeat % 2 == 0 else -1]:
                    measure(kept, {"people": people, "what": what, "threads": n}, commands[what], repeat)
        apart = max(apart, difference(folder, genes))
    for repeat in range(repeats):
        about = {"people": source.n_samples, "what": "genopred predict, VCF", "threads": 1}
        measure(kept, about, predict(folder, "--vcf", VCF, "--threads", "1"), repeat)
    rows = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    return cost_words(pl.DataFrame(rows), source.n_variants, genes.height, len(entries), apart)


def measure(kept: Path, about: dict[str, Any], command: list[str], repeat: int) -> None:
    """Measure a command and add that to the file, unless it has so many measurements of it already."""
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else []
    if sum(about.items() <= json.loads(line).items() for line in lines) <= repeat:
        line = json.dumps(about | measured(command))
        print(line, flush=True)
        kept.write_text("".join(f"{one}\n" for one in [*lines, line]), encoding="utf-8")


def predict(folder: Path, *genotypes: str | Path) -> list[str]:
    """The command of `genopred predict`."""
    out = folder / "predicted"
    return genopred("predict", *genotypes, "--models", folder / "models", "--no-resume", "--quiet", "--out", out)


def plink(folder: Path, bfile: Path, columns: int, threads: int, part: int = 0) -> list[str]:
    """The command of plink2, of all columns or of one of the runs."""
    return [
        "plink2", "--bfile", str(bfile), "--score", str(folder / f"scores{part}.txt"), "1", "2", "header-read",
        "cols=+scoresums,-scoreavgs", "--score-col-nums", f"3-{2 + columns}", "--threads", str(threads), "--out",
        str(folder / f"plink{part}"),
    ]  # fmt: skip


#: Into how many runs plink2's work is cut.
RUNS = 12


def neighbours(genes: pl.DataFrame) -> list[list[str]]:
    """Genes in as many stretches as plink2 has runs."""
    order = genes.sort("tss")["gene_id"].to_numpy()
    return [part.tolist() for part in np.array_split(order, RUNS)]


def plink_runs(folder: Path, bfile: Path, genes: pl.DataFrame, threads: int) -> list[str]:
    """One command for all runs."""
    runs = (plink(folder, bfile, len(some), threads, i) for i, some in enumerate(neighbours(genes), start=1))
    return ["sh", "-c", " && ".join(shlex.join(run) for run in runs)]


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


def measured(command: list[str]) -> dict[str, float]:
    """Wall and CPU seconds and peak memory of one process."""
    done = subprocess.run([sys.executable, "-S", "-c", _MEASURE, *command], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    if found.pop("status"):
        raise SystemExit(f"{' '.join(command[:3])} ... failed: {found['said']}")
    del found["said"]
    return found  # type: ignore[no-any-return]


def dense_weights(source: Genotypes) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A random weight of every variant within 500 kb of each of the 608 genes, and the genes."""
    genes = read_expression(EXPRESSION).genes
    rng = np.random.default_rng(0)
    parts = []
    for gene, chrom, tss in genes.select("gene_id", "chrom", "tss").iter_rows():
        rows = source.index(Interval.around(chrom, tss, 500_000))
        parts.append(
            source.variants[rows].select(
                pl.lit(gene).alias("gene_id"), pl.all(),
                pl.Series("weight", rng.normal(size=len(rows)).round(4) / 20), pl.lit(0.25).alias("freq"),
            )
        )  # fmt: skip
    entries = pl.concat(parts).filter(pl.col("weight") != 0)
    return entries, genes.filter(pl.col("gene_id").is_in(entries["gene_id"].unique().implode()))


#: Linear learners whose weights are in the folder too, as `genopred stack` keeps them beside the stack's.
BESIDE = ("elastic-net-tss", "susie-tss", "gblup-tss")


def write_models(folder: Path, entries: pl.DataFrame, genes: pl.DataFrame, source: Genotypes) -> None:
    """A folder of models as `genopred stack` leaves it."""
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    tables = [entries.with_columns(learner=pl.lit(name), z=pl.lit(1.0)) for name in (LINEAR, *BESIDE)]
    weights = pl.concat(tables).sort("gene_id", maintain_order=True).select(list(MODEL_WEIGHT_SCHEMA))
    weights.write_parquet(folder / "parts" / "all.weights.parquet")
    pl.DataFrame(schema=MODEL_LEARNER_SCHEMA).write_parquet(folder / "parts" / "all.learners.parquet")
    known = genes.with_columns(
        gene_name=pl.lit(None, pl.String), method=pl.lit(LINEAR), variants=pl.lit(1000), intercept=pl.lit(0.0),
        n=pl.lit(358), r2=pl.lit(0.05),
    )  # fmt: skip
    lacking = [name for name in MODEL_GENE_SCHEMA if name not in known.columns]
    known = known.with_columns(pl.lit(None).alias(name) for name in lacking)
    known = known.select(pl.col(name).cast(kind) for name, kind in MODEL_GENE_SCHEMA.items())
    about = {
        "made_by": "benchmarks/predict.py", "command": "", "versions": versions(), "build": "GRCh37", "people": 358,
        "genotypes": source.source, "transform": "inverse-normal", "residualize": "fold", "covariates": [],
        "unit": "random units", "window": 500_000, "maf": 0.05, "default": LINEAR, "mean_r2": {LINEAR: 0.05},
        "names": list(BESIDE), "linear": dict.fromkeys(BESIDE, 1 / 3), "method": None, "weights": None,
        "booster": None,
    }  # fmt: skip
    join_models(folder, [folder / "parts" / "all"], known, about)


def write_scores(path: Path, entries: pl.DataFrame, genes: list[str]) -> None:
    """The same weights as plink2 reads them: id, allele, a column per gene."""
    wide = entries.pivot(on="gene_id", index=["id", "alt"], values="weight", maintain_order=True).fill_null(0.0)
    text = pl.when(pl.col(genes) == 0).then(pl.lit("0")).otherwise(pl.col(genes).cast(pl.String)).name.keep()
    wide.select("id", "alt", *genes).with_columns(text).write_csv(path, separator="\t")


def write_people(prefix: Path, source: Genotypes, people: int) -> None:
    """A fileset of people who are two haplotypes of the source each."""
    rng = np.random.default_rng(1)
    haplotypes = np.concatenate(list(_haplotypes(source)))
    first, second = (rng.integers(haplotypes.shape[1], size=people) for _ in range(2))
    variants = source.variants
    with Path(f"{prefix}.bed").open("wb") as file:
        file.write(b"\x6c\x1b\x01")
        for start in range(0, variants.height, BLOCK):
            file.write(_packed(haplotypes[start : start + BLOCK], first, second).tobytes())
    variants.select("chrom", "id", pl.lit(0).alias("cm"), "pos", "alt", "ref").write_csv(
        f"{prefix}.bim", separator="\t", include_header=False
    )
    Path(f"{prefix}.fam").write_text("".join(f"0 p{i} 0 0 0 -9\n" for i in range(people)), encoding="utf-8")


def _haplotypes(source: Genotypes) -> Iterator[np.ndarray]:
    for start in range(0, source.n_variants, 8192):
        columns = np.arange(start, min(start + 8192, source.n_variants))
        alleles = source.reader.alleles(np.arange(source.n_samples), columns)
        yield np.ascontiguousarray(alleles.reshape(-1, len(columns)).T)


@numba.njit
def _packed(haplotypes, first, second):  # type: ignore[no-untyped-def]
    """Bytes of a .bed: 00 two copies of allele 1 (ALT), 10 one, 11 none."""
    code = np.array([3, 2, 0], dtype=np.uint8)
    out = np.zeros((haplotypes.shape[0], (len(first) + 3) // 4), dtype=np.uint8)
    for row in range(len(out)):
        for i in range(len(first)):
            copies = haplotypes[row, first[i]] + haplotypes[row, second[i]]
            out[row, i // 4] |= code[copies] << (2 * (i % 4))
    return out


def difference(folder: Path, genes: pl.DataFrame) -> float:
    """Largest difference of the two programs' last predictions of a gene of each run, in units of its spread."""
    out = 0.0
    for i, some in enumerate(neighbours(genes), start=1):
        mine = pl.read_parquet(folder / "predicted" / "expression.parquet", columns=some[:1]).to_series().to_numpy()
        theirs = pl.read_csv(folder / f"plink{i}.sscore", separator="\t", columns=[f"{some[0]}_SUM"]).to_series()
        out = max(out, float(np.abs(mine - theirs.to_numpy()).max() / mine.std()))
    return out


def cost_words(table: pl.DataFrame, variants: int, genes: int, weights: int, apart: float) -> str:
    """Each measurement and the ratios."""
    lines = [
        f"{variants:,} variants, {genes} genes, {weights:,} weights; {machine()}. Seconds and peak memory of whole "
        "processes, each measurement given, in the order in which they were made by turns; largest difference between "
        f"the predictions of the two programs: {apart:.0e} standard deviations (plink2 writes six digits).",
        "",
        "| people | threads | what | wall seconds | CPU seconds | peak memory, GB |",
        "|---|---|---|---|---|---|",
    ]
    for (people, n, what), part in table.group_by("people", "threads", "what", maintain_order=True):
        cells = (", ".join(f"{value:.1f}" for value in part[name]) for name in ("wall_s", "cpu_s", "peak_gb"))
        lines.append(f"| {people:,} | {n} | {what} | {' | '.join(cells)} |")
    best = table.group_by("people", "threads", "what", maintain_order=True).agg(
        pl.col("wall_s", "cpu_s", "peak_gb").min()
    )
    own = best.filter(pl.col("what") == "genopred predict").drop("what")
    pairs = best.filter(pl.col("what").str.starts_with("plink2")).join(own, on=["people", "threads"], suffix="_own")
    if pairs.height:
        lines += ["", "The best of each, divided by that of genopred:", ""]
        lines += ["| people | threads | | wall | CPU | memory |", "|---|---|---|---|---|---|"]
    for row in pairs.iter_rows(named=True):
        ratio = (f"{row[name] / row[f'{name}_own']:.1f}" for name in ("wall_s", "cpu_s", "peak_gb"))
        lines.append(f"| {row['people']:,} | {row['threads']} | {row['what']} | {' | '.join(ratio)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
