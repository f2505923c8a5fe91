"""What the model that comes with genopred says of people's genes: chr22, 608 genes, 358 GEUVADIS people.

    python benchmarks/enformer_small.py --out OUT [--step STEP] [--threads 1] [--record]

Steps, in this order; without --step all of them:

genotype   the genotype-only stack of every gene, which needs no model (protocol of benchmarks/accuracy.py)
features   `genopred features` on everybody's two haplotypes, and its time beside plain passes
genes      over genes: the reference's prediction at the TSS against mean expression, Xpresso beside it; apart for genes
           in the training, validation and test blocks of the model
people     over people, gene by gene: the feature against expression, with its sign
stack      features alone, and beside genotypes, in the stack; base predictions of `genotype` are used again

A killed step goes on where it was. What depends on the model lies in OUT/HASH, so that other weights can use the same
OUT. --record copies pages, tables and picture of the steps that ran to benchmarks/results/enformer_small/. Needs
../shared (or $GENOPRED_SHARED).
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from genopred.align import count_cis
from genopred.cli.progress import progress
from genopred.io.expression import read_expression
from genopred.io.vcf import read_vcf
from genopred.pipelines import stack
from genopred.pipelines.cohort import CohortInputs

RESULTS = Path(__file__).parent / "results" / "enformer_small"
SHARED = Path(os.environ.get("GENOPRED_SHARED", Path(__file__).parents[2] / "shared"))
GEUVADIS = SHARED / "data" / "geuvadis_chr22"
EXPRESSION = GEUVADIS / "genes.50percent.chr22.bed.gz"
GENOTYPES = GEUVADIS / "genotypes.chr22.vcf.gz"
COVARIATES = GEUVADIS / "genes.covariates.pc50.txt.gz"
FASTA = SHARED / "data" / "reference" / "chr22.b37.fa.gz"
STEPS = ("genotype", "features", "genes", "people", "stack")
#: As in benchmarks/sequence_stack.py: 1.8 CPU seconds a gene, and the stack is as good as with all twelve.
LEARNERS = ("baseline-prs", "pt-prs", "ridge", "elastic-net", "susie-tss", "gblup-tss", "xgboost")
N_COVARIATES = 18  # 3 genotype and 15 phenotype PCs, as in the peers' protocol
MIN_SNPS = 50


@dataclass(frozen=True)
class Setting:
    """What was asked for, and what every step needs of it."""

    out: Path
    model: str
    genes: int | None
    regions: Path | None
    threads: int

    @cached_property
    def sets(self) -> dict[str, list[str]]:
        """Genes with SNPs enough: the 120 that the peers were measured on, and all others."""
        table = read_expression(EXPRESSION).genes
        enough = count_cis(read_vcf(GENOTYPES), table, 500_000) >= MIN_SNPS
        names = [gene for gene, good in zip(table["gene_id"].to_list(), enough) if good]
        looked_at = set(pl.read_csv(SHARED / "peers" / "genes120.tsv", separator="\t")["gene"].to_list())
        return {
            "120": [gene for gene in names if gene in looked_at][: self.genes],
            "others": [gene for gene in names if gene not in looked_at][: self.genes],
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--step", choices=STEPS, help="this step alone")
    parser.add_argument("--model", default="enformer-small")
    parser.add_argument("--regions", type=Path, help="regions.tsv of the training run, where the model has none")
    parser.add_argument("--genes", type=int, help="only the first so many genes of either set, to try the script")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--record", action="store_true", help=f"copy what the steps say to {RESULTS.name}/")
    args = parser.parse_args()
    if not GEUVADIS.is_dir():
        raise SystemExit(f"{GEUVADIS} is not there; set GENOPRED_SHARED to the folder of the shared data.")
    setting = Setting(args.out, args.model, args.genes, args.regions, args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in (args.step,) if args.step else STEPS:
        globals()[f"step_{name}"](setting)


# --- genotype ---------------------------------------------------------------------------------------------------


def stack_config(setting: Setting, name: str, out: Path, **changes: Any) -> stack.StackConfig:
    """The protocol of benchmarks/accuracy.py for one set of genes."""
    config = stack.StackConfig(
        cohort=CohortInputs(
            expression=EXPRESSION,
            vcf=GENOTYPES,
            covar=COVARIATES,
            n_covariates=N_COVARIATES,
            genes=tuple(setting.sets[name]),
            window=500_000,
        ),
        out=out,
        learners=LEARNERS,
        folds=SHARED / "peers" / "folds.tsv",
        residualize="global",
        stack_weights="none",
        threads=setting.threads,
        command="python benchmarks/enformer_small.py",
    )
    return replace(config, **changes)


def step_genotype(setting: Setting) -> dict[str, stack.StackResult]:
    """The genotype-only stack of both sets."""
    done = {}
    for name in setting.sets:
        with progress("genes") as step:
            done[name] = stack.run(stack_config(setting, name, setting.out / f"genotype-{name}"), step)
        print(f"genotype, {name}: {done[name].cost}")
    return done


if __name__ == "__main__":
    main()
