"""eQTL mapping beside QTLtools, FastQTL and tensorQTL on all of chr22: the numbers, and the processor time.

    python benchmarks/eqtl.py [--tensorqtl PYTHON] [--fastqtl-permute]

358 people, 608 genes, 85,485 variants, 500 kb on each side, 18 covariates (../shared or $GENOPRED_SHARED). Every
program runs as its own process on one core, start-up and reading and writing included. Programs that are not
installed are left out and named. --tensorqtl takes the Python of an environment with tensorqtl 1.0.10. Writes
benchmarks/results/eqtl.md. About five minutes.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from bed_reader import to_bed

from genopred.genetics.transform import inverse_normal
from genopred.io.expression import read_expression
from genopred.io.vcf import read_vcf

HERE = Path(__file__).parent
SHARED = Path(os.environ.get("GENOPRED_SHARED", HERE.parent.parent / "shared"))
DATA = SHARED / "data" / "geuvadis_chr22"
VCF, BED = DATA / "genotypes.chr22.vcf.gz", DATA / "genes.50percent.chr22.bed.gz"
WINDOW = 500_000
KEYS = ["phenotype_id", "variant_id"]
QTLTOOLS = "phenotype_id c1 start end strand num_var distance variant_id c2 p1 p2".split()


@dataclass
class Run:
    """One process: seconds of processor and wall time (medians over repeats), and its largest memory."""

    name: str
    task: str
    cpu: float
    wall: float
    memory_mb: float


def timed(name: str, task: str, command: list[object], repeats: int = 1) -> Run:
    """Run on one core, with one thread."""
    core = max(os.sched_getaffinity(0))
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    env["POLARS_MAX_THREADS"] = "1"
    found = []
    for _ in range(repeats):
        clock = os.times()
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                env=env,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )
            _, status, used = os.wait4(process.pid, 0)
            if status:
                log.seek(0)
                tail = log.read().decode(errors="replace")[-2000:]
                raise SystemExit(f"{name} ({task}) failed:\n{tail}")
        found.append((used.ru_utime + used.ru_stime, os.times().elapsed - clock.elapsed, used.ru_maxrss / 1024))
    cpu, wall, memory = (statistics.median(column) for column in zip(*found))
    print(f"{task:12s} {name:28s} {cpu:7.2f} s CPU {wall:7.2f} s wall {memory:6.0f} MB", flush=True)
    return Run(name, task, cpu, wall, memory)


def prepare(work: Path) -> list[str]:
    """The same data in each program's format; returns the samples."""
    expression = read_expression(BED)
    genotypes = read_vcf(VCF)
    dosage, names = genotypes.dosage(), {"chromosome": "chrom", "sid": "id", "bp_position": "pos"}
    names |= {"allele_1": "alt", "allele_2": "ref"}
    properties = {key: genotypes.variants[column].to_list() for key, column in names.items()}
    calls = np.where(np.isnan(dosage), -127, dosage).astype(np.int8)
    to_bed(work / "chr22.bed", calls, properties={"iid": genotypes.samples, **properties})
    with gzip.open(DATA / "genes.covariates.pc50.txt.gz", "rt") as handle:
        rows = [handle.readline().split() for _ in range(19)]
    rows = [rows[0], *([f"PC{i}", *row[1:]] for i, row in enumerate(rows[1:], start=1))]
    (work / "cov.txt").write_text("".join(" ".join(row) + "\n" for row in rows))
    rows[0][0] = "id"
    (work / "cov.tab.txt").write_text("".join("\t".join(row) + "\n" for row in rows))
    normal = inverse_normal(expression.values)
    for name, values in (("four", expression.values), ("normal", normal)):
        with (work / f"{name}.bed").open("w") as out:
            out.write("\t".join(["#chr", "start", "end", "gene_id", *expression.samples]) + "\n")
            for gene, tss, column in zip(expression.genes["gene_id"], expression.genes["tss"], values.T):
                cells = ["chr22", str(tss - 1), str(tss), gene, *map(repr, column.tolist())]
                out.write("\t".join(cells) + "\n")
        subprocess.run(["bgzip", "-f", work / f"{name}.bed"], check=True)
        subprocess.run(["tabix", "-p", "bed", work / f"{name}.bed.gz"], check=True)
    return expression.samples.tolist()


TENSORQTL_64 = """
import sys, torch
torch.float = torch.float32 = torch.float64
import numpy as np, pandas as pd
import tensorqtl
from tensorqtl import cis, genotypeio
np.float32 = np.float64
plink, bed, cov, out = sys.argv[1:]
reader = genotypeio.PlinkReader(plink, verbose=False)
g, v = reader.load_genotypes().astype(float), reader.bim.set_index("snp")[["chrom", "pos"]]
p, pos = tensorqtl.read_phenotype_bed(bed)
c = pd.read_csv(cov, sep="\\t", index_col=0).T.astype(float)
pos["chr"] = pos["chr"].astype(str)
cis.map_nominal(g, v, p.astype(float), pos, out, covariates_df=c, window=500000, verbose=False)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tensorqtl", metavar="PYTHON", help="Python of an environment with tensorqtl 1.0.10")
    parser.add_argument("--fastqtl-permute", action="store_true", help="FastQTL's permutation pass too (two minutes)")
    parser.add_argument("--repeats", type=int, default=3, help="of the nominal passes; the median is shown")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "eqtl.md")
    options = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"no data in {DATA}; set GENOPRED_SHARED")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prepare(work)
        runs, missing = run_all(work, options)
        lines = report(work, runs, missing)
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def run_all(work: Path, options: argparse.Namespace) -> tuple[list[Run], list[str]]:
    runs, missing = [], []
    ours = [Path(sys.executable).parent / "genopred", "eqtl", "--expression", BED, "--covar", work / "cov.txt"]
    ours += ["--window", WINDOW, "--all", "--threads", 1, "--seed", 1, "--quiet"]
    bed, vcf = ["--bfile", work / "chr22"], ["--vcf", VCF]
    n = options.repeats
    subprocess.run([str(part) for part in (*ours, "--help")], stdout=subprocess.DEVNULL, check=True)  # byte code
    runs.append(timed("genopred, .bed", "nominal", [*ours, *bed, "--permute", 0, "--out", work / "ours"], n))
    runs.append(timed("genopred, VCF", "nominal", [*ours, *vcf, "--permute", 0, "--out", work / "ours_vcf"], n))
    compat = [*ours, *bed, "--compat", "qtltools"]
    runs.append(timed("genopred, .bed, compat", "nominal", [*compat, "--permute", 0, "--out", work / "ours_q"], n))
    only = ["--no-nominal", "--permute", 1000]
    runs.append(timed("genopred, .bed", "permutation", [*ours, *bed, *only, "--out", work / "ours_p"]))
    runs.append(timed("genopred, VCF", "permutation", [*ours, *vcf, *only, "--out", work / "ours_pv"]))
    runs.append(timed("genopred, .bed, compat", "permutation", [*compat, *only, "--out", work / "ours_pq"]))
    if options.tensorqtl:
        base = [options.tensorqtl, "-m", "tensorqtl", work / "chr22", work / "normal.bed.gz"]
        tail = ["--covariates", work / "cov.tab.txt", "--window", WINDOW, "--output_dir", work]
        runs.append(timed("tensorQTL, CPU", "nominal", [*base, "tensor", "--mode", "cis_nominal", *tail], n))
        extra = ["--mode", "cis", "--permutations", 1000, "--seed", 1]
        runs.append(timed("tensorQTL, CPU", "permutation", [*base, "tensor", *extra, *tail]))
        script = work / "tensor64.py"
        script.write_text(TENSORQTL_64)
        cells = [work / "chr22", work / "normal.bed.gz", work / "cov.tab.txt", work / "tensor64"]
        timed("tensorQTL in float64", "reference", [options.tensorqtl, script, *cells])
    else:
        missing.append("tensorQTL (give --tensorqtl PYTHON)")
    if shutil.which("QTLtools"):
        qtl = ["QTLtools", "cis", "--vcf", VCF, "--bed", BED, "--cov", work / "cov.txt", "--normal"]
        qtl += ["--window", WINDOW]
        runs.append(timed("QTLtools", "nominal", [*qtl, "--nominal", 1, "--std-err", "--out", work / "qtl.txt"], n))
        for seed in (1, 2):
            runs.append(
                timed(f"QTLtools, seed {seed}", "permutation",
                      [*qtl, "--permute", 1000, "--seed", seed, "--out", work / f"qtl{seed}.txt"])
            )  # fmt: skip
    else:
        missing.append("QTLtools")
    if shutil.which("fastQTL"):
        fast = ["fastQTL", "--vcf", VCF, "--bed", work / "four.bed.gz", "--cov", work / "cov.tab.txt", "--normal"]
        fast += ["--window", WINDOW, "--region", "chr22:1-60000000", "--log", work / "fast.log", "--seed", 1]
        runs.append(timed("FastQTL", "nominal", [*fast, "--out", work / "fast.txt.gz"], n))
        if options.fastqtl_permute:
            runs.append(timed("FastQTL", "permutation", [*fast, "--permute", 1000, "--out", work / "fastp.txt.gz"]))
    else:
        missing.append("FastQTL")
    return runs, missing


def report(work: Path, runs: list[Run], missing: list[str]) -> list[str]:
    lines = ["# eQTL mapping on chr22", "", " ".join((__doc__ or "").split("\n\n")[2].split()), ""]
    lines += ["Made by `python benchmarks/eqtl.py`.", ""]
    if missing:
        lines += [f"Left out, not installed: {', '.join(missing)}.", ""]
    lines += [
        "## Processor time",
        "",
        "| pass | program | CPU s | wall s | MB | CPU / genopred .bed |",
        "|---|---|---|---|---|---|",
    ]
    for task in ("nominal", "permutation"):
        base = next(run.cpu for run in runs if run.task == task and run.name == "genopred, .bed")
        lines += [
            f"| {task} | {run.name} | {run.cpu:.2f} | {run.wall:.2f} | {run.memory_mb:.0f} | {run.cpu / base:.1f} |"
            for run in sorted((run for run in runs if run.task == task), key=lambda run: run.cpu)
        ]
    lines += ["", "## Nominal pass, all pairs", ""]
    lines += ["Relative difference of p, slope and standard error to genopred's; t: difference of slope / SE.", ""]
    lines += [
        "| peer | pairs | value | median | 99.9 % | largest | share within 1e-6 |",
        "|---|---|---|---|---|---|---|",
    ]
    ours = pl.read_parquet(work / "ours.cis_qtl_pairs.chr22.parquet")
    if (work / "tensor64.cis_qtl_pairs.chr22.parquet").exists():
        names = {"pval_nominal": "p", "slope": "b", "slope_se": "se"}
        for name, file in (("tensorQTL in float64", "tensor64"), ("tensorQTL", "tensor")):
            peer = pl.read_parquet(work / f"{file}.cis_qtl_pairs.chr22.parquet").rename(names)
            lines += compare(name, ours, peer)
    if (work / "fast.txt.gz").exists():
        names = ["phenotype_id", "variant_id", "distance", "ma_samples", "ma_count", "maf", "p", "b", "se"]
        lines += compare("FastQTL (six digits)", ours, table(work / "fast.txt.gz", names, "\t"))
    if (work / "qtl.txt").exists():
        peer = table(work / "qtl.txt", [*QTLTOOLS, "p", "r2", "b", "se", "best"])
        like = pl.read_parquet(work / "ours_q.cis_qtl_pairs.chr22.parquet")
        lines += compare("QTLtools (six digits), `--compat qtltools`", like, peer)
        lines += ["", "The same pairs, the default against QTLtools:", ""]
        both = ours.join(peer, on=KEYS)
        gap = np.abs(np.log10(both["pval_nominal"].to_numpy()) - np.log10(np.maximum(both["p"].to_numpy(), 1e-300)))
        lines += [f"|log10 p| differs by {np.median(gap):.3f} in the middle, {gap.max():.1f} at most."]
    lines += ["", "## Permutation pass", "", *permutations(work)]
    return lines


def table(path: Path, names: list[str], separator: str = " ") -> pl.DataFrame:
    return pl.read_csv(path, separator=separator, has_header=False, new_columns=names)


def compare(name: str, ours: pl.DataFrame, peer: pl.DataFrame) -> list[str]:
    both = ours.join(peer.select(*KEYS, "p", "b", "se"), on=KEYS)
    out = []
    for label, a, b in (("p", "pval_nominal", "p"), ("slope", "slope", "b"), ("SE", "slope_se", "se")):
        x, y = both[a].to_numpy().astype(float), both[b].to_numpy().astype(float)
        gap = np.abs(x - y) / np.maximum(np.abs(y), 1e-300)
        out.append(row(name, both.height, label, gap))
    t = np.abs(both["slope"].to_numpy() / both["slope_se"].to_numpy() - both["b"].to_numpy() / both["se"].to_numpy())
    return [*out, row(name, both.height, "t (absolute)", t)]


def row(name: str, pairs: int, label: str, gap: np.ndarray) -> str:
    middle, high = np.quantile(gap, [0.5, 0.999])
    within = np.mean(gap < 1e-6)
    return f"| {name} | {pairs:,} | {label} | {middle:.1e} | {high:.1e} | {gap.max():.1e} | {within:.4f} |"


def permutations(work: Path) -> list[str]:
    """Top variants, and log10 of the beta-approximated p beside the noise between two seeds of one program."""
    names = [*QTLTOOLS, "df", "true_df", "beta_shape1", "beta_shape2", "p", "r2", "slope", "emp", "pval_beta"]
    found: dict[str, pl.DataFrame] = {}
    for seed in (1, 2):
        if (work / f"qtl{seed}.txt").exists():
            found[f"QTLtools, seed {seed}"] = table(work / f"qtl{seed}.txt", names)
    found["genopred, compat"] = pl.read_parquet(work / "ours_pq.cis_qtl.parquet")
    found["genopred"] = pl.read_parquet(work / "ours_p.cis_qtl.parquet")
    if (work / "tensor.cis_qtl.txt.gz").exists():
        found["tensorQTL"] = table_with_header(work / "tensor.cis_qtl.txt.gz")
    pairs = [
        ("QTLtools, seed 1", "QTLtools, seed 2"),
        ("genopred, compat", "QTLtools, seed 1"),
        ("genopred, compat", "QTLtools, seed 2"),
        ("genopred", "tensorQTL"),
    ]
    lines = [
        "Mean (standard deviation) of the difference of log10 beta-approximated p, by the size of p. Two seeds of",
        "QTLtools show how much of it is the noise of 1,000 permutations.",
        "",
        "| programs | same top variant | p above 0.01 | 1e-5 to 0.01 | 1e-10 to 1e-5 | below | log true df |",
        "|---|---|---|---|---|---|---|",
    ]
    dosage = None
    for a, b in pairs:
        if a not in found or b not in found:
            continue
        both = found[a].join(found[b], on="phenotype_id", suffix="_b", maintain_order="left")
        same = int((both["variant_id"] == both["variant_id_b"]).sum())
        text = f"{same} of {both.height}"
        if same < both.height:
            dosage = read_vcf(VCF) if dosage is None else dosage
            text += f", {ties(both, dosage)} others tie with it"
        x, y = (np.log10(np.maximum(both[c].to_numpy().astype(float), 1e-300)) for c in ("pval_beta", "pval_beta_b"))
        cells = []
        for low, high in ((-2, 0.1), (-5, -2), (-10, -5), (-400, -10)):
            part = (x - y)[(y > low) & (y <= high)]
            cells.append(f"{part.mean():+.3f} ({part.std():.3f}), {len(part)}")
        df = np.log(both["true_df"].to_numpy().astype(float) / both["true_df_b"].to_numpy().astype(float))
        lines.append(f"| {a} – {b} | {text} | {' | '.join(cells)} | {df.mean():+.3f} ({df.std():.3f}) |")
    return lines


def table_with_header(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, separator="\t")


def ties(both: pl.DataFrame, genotypes: object) -> int:
    """Of the genes with different top variants, how many name two with the same (or mirrored) dosages."""
    ids = {name: i for i, name in enumerate(genotypes.variants["id"].to_list())}  # type: ignore[attr-defined]
    count = 0
    for one, two in (
        both.filter(pl.col("variant_id") != pl.col("variant_id_b")).select("variant_id", "variant_id_b").rows()
    ):
        x = genotypes.dosage(np.array([ids[one], ids[two]]))  # type: ignore[attr-defined]
        count += bool(np.array_equal(x[:, 0], x[:, 1]) or np.array_equal(x[:, 0], 2 - x[:, 1]))
    return count


if __name__ == "__main__":
    main()
