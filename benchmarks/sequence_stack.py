"""What sequence features add: Xpresso's predictions of each person beside, and together with, their genotypes.

    python benchmarks/sequence_stack.py --out OUT [--threads 2] [--record]

The 120 genes and the protocol of benchmarks/accuracy.py. Features: Xpresso GM12878 on everybody's two haplotypes. One
table: sequence features with gradient boosting, P+T, the baseline score, the stack of genotype learners, and the stack
of everything; and the paired difference between those two stacks. Needs ../shared (or $GENOPRED_SHARED).
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from genopred.cli.progress import progress
from genopred.learning.evaluate import summarise
from genopred.pipelines import features, stack
from genopred.settings import Features, Stack

RESULTS = Path(__file__).parent / "results"
SHARED = Path(os.environ.get("GENOPRED_SHARED", Path(__file__).parents[2] / "shared"))
LEARNERS = ("baseline-prs", "pt-prs", "ridge", "elastic-net", "susie-tss", "gblup-tss", "xgboost")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--record", action="store_true", help="write the tables under benchmarks/results/")
    args = parser.parse_args()
    data = SHARED / "data" / "geuvadis_chr22"
    genes = pl.read_csv(SHARED / "peers" / "genes120.tsv", separator="\t")["gene"].to_list()
    listed = args.out / "genes.txt"
    args.out.mkdir(parents=True, exist_ok=True)
    listed.write_text("\n".join(genes) + "\n")
    features.run(
        Features(
            vcf=data / "genotypes.chr22.vcf.gz",
            fasta=SHARED / "data" / "reference" / "chr22.b37.fa.gz",
            model=f"xpresso:{SHARED / 'data' / 'xpresso' / 'GM12878_trainepoch.06-0.5062.h5'}",
            out=args.out / "features",
            expression=data / "genes.50percent.chr22.bed.gz",
            genes=listed,
        )
    )
    settings = Stack(
        expression=data / "genes.50percent.chr22.bed.gz",
        vcf=data / "genotypes.chr22.vcf.gz",
        covar=data / "genes.covariates.pc50.txt.gz",
        n_covariates=18,
        gene=tuple(genes),
        out=args.out / "genotype",
        learners=LEARNERS,
        folds=SHARED / "peers" / "folds.tsv",
        residualize="global",
        stack_weights="none",
        threads=args.threads,
        command="python benchmarks/sequence_stack.py",
    )
    both = replace(settings, out=args.out / "both", inputs="both", features=args.out / "features")
    with progress("genes") as step:
        alone, together = stack.run(settings, step), stack.run(both, step)
    scores = pl.concat(
        [
            together.scores.with_columns(
                pl.when(pl.col("method").str.starts_with("stack-"))
                .then(pl.col("method") + " (genotype + sequence)")
                .otherwise(pl.col("method"))
                .alias("method")
            ),
            alone.scores.filter(pl.col("method").str.starts_with("stack-")),
        ]
    )
    summary = summarise(scores, "stack-xgboost")
    text = report(summary, scores)
    print(text)
    if args.record:
        (RESULTS / "sequence_stack.md").write_text(text + "\n", encoding="utf-8")
        wide = scores.with_columns(pl.col("r2").round(5)).pivot(on="method", index="gene_id", values="r2")
        wide.write_csv(RESULTS / "sequence_stack_r2.tsv", separator="\t")


def report(summary: pl.DataFrame, scores: pl.DataFrame) -> str:
    """The table as markdown, and how the sequence features do by themselves."""
    lines = [
        f"`python benchmarks/sequence_stack.py --out OUT --record`: {summary['n_genes'][0]} genes, 358 people, "
        "features of Xpresso GM12878 on each person's two haplotypes; `@sequence` learners see nothing else.",
        "",
        "| method | mean R² | difference from stack-xgboost (genotype) | p (Wilcoxon) | signed r² |",
        "|---|---|---|---|---|",
    ]
    for row in summary.iter_rows(named=True):
        lines.append(
            f"| {row['method']} | {row['mean_r2']:.4f} | {row['delta_r2']:+.4f} "
            f"({row['delta_low']:+.4f} to {row['delta_high']:+.4f}) | {row['p_wilcoxon']:.2g} "
            f"| {row['mean_signed_r2']:.4f} |"
        )
    own = scores.filter(pl.col("method") == "ridge@sequence")["pearson"].to_numpy()
    lines += ["", f"ridge@sequence: held-out r above 0 in {int((own > 0).sum())} of {len(own)} genes, "
              f"median {np.median(own):+.3f}."]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
