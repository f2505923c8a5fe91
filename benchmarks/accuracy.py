"""The comparison on real people: every method on GEUVADIS chr22, in nested cross-validation.

Protocol (README of the shared data): expression normalised by ranks, residualised on 3 genotype and 15 phenotype
components and scaled over everyone at once; SNPs with MAF >= 0.05 within 500 kb of the TSS; five outer folds over
people. First the 120 genes that the peers were measured on, with R's cv.glmnet beside ours where R has it; then,
because those 120 have been looked at often, every other gene with at least 50 SNPs. The weights shipped with the
package come from such data and are left out.

    python benchmarks/accuracy.py --out OUT [--set 120|others|both] [--threads 2]

Needs ../shared (or $GENOPRED_SHARED). A stopped run goes on where it was. Writes the tables under
benchmarks/results/accuracy/ when given --record.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
from pathlib import Path

import polars as pl

from genopred.align import count_cis
from genopred.cli.progress import progress
from genopred.io.expression import read_expression
from genopred.io.vcf import read_vcf
from genopred.pipelines import benchmark
from genopred.settings import Benchmark

RESULTS = Path(__file__).parent / "results" / "accuracy"
#: What the peers reached on the 120 genes (README of the shared data): mean R².
PEERS = {"glmnet-r": 0.0483, "pt-prs": 0.0479, "susie": 0.0562, "susie-tss": 0.0598, "baseline-prs": 0.0396}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", choices=["120", "others", "both"], default="both")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--record", action="store_true", help="write the tables under benchmarks/results/accuracy/")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    shared = Path(os.environ.get("GENOPRED_SHARED", Path(__file__).parents[2] / "shared"))
    data, peers = shared / "data" / "geuvadis_chr22", shared / "peers"
    if not data.is_dir():
        raise SystemExit(f"{data} is not there; set GENOPRED_SHARED to the folder of the shared data.")
    expression = data / "genes.50percent.chr22.bed.gz"
    looked_at = pl.read_csv(peers / "genes120.tsv", separator="\t")["gene"].to_list()
    for name in ("120", "others") if args.set == "both" else (args.set,):
        genes = looked_at
        if name == "others":
            table = read_expression(expression).genes
            enough = count_cis(read_vcf(data / "genotypes.chr22.vcf.gz"), table, 500_000) >= 50
            genes = [gene for gene, good in zip(table["gene_id"].to_list(), enough) if good and gene not in looked_at]
        settings = Benchmark(
            expression=expression,
            vcf=data / "genotypes.chr22.vcf.gz",
            covar=data / "genes.covariates.pc50.txt.gz",
            n_covariates=18,
            gene=tuple(genes),
            window=500_000,
            out=args.out / f"genes-{name}",
            folds=peers / "folds.tsv",
            residualize="global",
            stack_weights="none",
            threads=args.threads,
            command=f"python benchmarks/accuracy.py --set {name}",
            peers=("glmnet" if name == "120" else "none",),
        )
        with progress("genes") as step:
            done = benchmark.run(settings, step)
        text = report(name, done)
        print(text)
        if args.record:
            RESULTS.mkdir(parents=True, exist_ok=True)
            (RESULTS / f"{name}.md").write_text(text + "\n", encoding="utf-8")
            scores = done.result.scores.select("gene_id", "method", "n", "r2", "signed_r2", "pearson")
            rounded = scores.with_columns(pl.col(pl.Float64).round(5))
            rounded.pivot(on="method", index="gene_id", values="r2").write_csv(
                RESULTS / f"{name}_r2.tsv", separator="\t"
            )
            done.result.summary.write_csv(RESULTS / f"{name}_summary.tsv", separator="\t")
            if done.result.cost:
                done.cost.write_csv(RESULTS / f"{name}_cost.tsv", separator="\t")


def report(name: str, done: benchmark.BenchmarkResult) -> str:
    """The comparison and the cost as markdown."""
    summary = done.result.summary
    reference = summary["reference"][0]
    which = "the peers' set of 120" if name == "120" else "all others"
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    lines = [
        f"# GEUVADIS chr22, {summary['n_genes'][0]} genes ({which})",
        "",
        f"`python benchmarks/accuracy.py --out OUT --set {name} --record` ({machine})",
        "",
        f"| method | mean R² | 95 % interval | difference from {reference} | p (Wilcoxon) | signed r² | peers' R² |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in summary.iter_rows(named=True):
        peer = PEERS.get(row["method"]) if name == "120" else None
        lines.append(
            f"| {row['method']} | {row['mean_r2']:.4f} | {row['mean_r2_low']:.4f} to {row['mean_r2_high']:.4f} "
            f"| {row['delta_r2']:+.4f} ({row['delta_low']:+.4f} to {row['delta_high']:+.4f}) "
            f"| {row['p_wilcoxon']:.2g} | {row['mean_signed_r2']:.4f} | {'' if peer is None else peer} |"
        )
    r2 = dict(zip(summary["method"].to_list(), summary["mean_r2"].to_list()))
    lines += ["", f"Stack (stack-xgboost) / own elastic net: {r2['stack-xgboost'] / r2['elastic-net']:.3f} in mean R²."]
    if done.cost.height:
        lines += ["", "| CPU seconds per gene (all five outer folds) | |", "|---|---|"]
        lines += [f"| {row['what']} | {row['seconds']:.2f} |" for row in done.cost.iter_rows(named=True)]
    return "\n".join([*lines, *[f"\n{note}" for note in done.notes]])


if __name__ == "__main__":
    main()
