"""`genopred benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genopred.cli import options as opt

Peers = Annotated[
    str,
    typer.Option(
        "--peers",
        metavar="A,B,...",
        help="Programs to run beside: glmnet (R's cv.glmnet, PrediXcan's recipe) or none.",
        rich_help_panel=opt.LEARNING,
    ),
]


def command(
    expression: opt.ExpressionFile,
    symbols: opt.Symbols = None,
    bfile: opt.Bfile = None,
    pfile: opt.Pfile = None,
    vcf: opt.Vcf = None,
    covar: opt.Covar = None,
    covar_name: opt.CovarNames = None,
    n_covariates: opt.NCovariates = None,
    transform: opt.Transform = "inverse-normal",
    residualize: opt.Residualize = "fold",
    gene: opt.Gene = None,
    genes: opt.Genes = None,
    all_genes: opt.AllGenes = False,
    window: opt.Window = opt.WINDOW,
    maf: opt.Maf = 0.05,
    keep: opt.Keep = None,
    remove: opt.Remove = None,
    extract: opt.Extract = None,
    exclude: opt.Exclude = None,
    min_overlap: opt.MinOverlap = 20,
    keep_overlap: opt.KeepOverlap = False,
    learners: opt.Learners = None,
    meta: opt.Meta = "xgboost",
    outer_folds: opt.OuterFolds = 5,
    inner_folds: opt.InnerFolds = 5,
    folds: opt.Folds = None,
    stratify: opt.Stratify = None,
    stack_weights: opt.StackWeights = "shipped",
    features: opt.FeaturesDir = None,
    fasta: opt.FeaturesFasta = None,
    inputs: opt.Inputs = None,
    feature_transform: opt.FeatureTransform = "none",
    feature_components: opt.FeatureComponents = None,
    peers: Peers = "glmnet",
    seed: opt.Seed = 1,
    threads: opt.Threads = None,
    resume: opt.Resume = True,
    quiet: opt.Quiet = False,
    out: opt.Out = Path("genopred-benchmark"),
) -> None:
    """Run the stack and other programs on the same people and folds, and say what each costs.

    Takes the options of `genopred stack`. Besides its files the folder OUT gets benchmark.tsv (the comparison with
    the peers in it), benchmark_scores.tsv (per gene) and cost.tsv (CPU seconds per gene).
    """
    from genopred.cli.stack import stack_config

    config = stack_config(locals())
    from genopred.cli.progress import progress
    from genopred.cli.show import show_comparison, show_cost
    from genopred.pipelines import benchmark

    chosen = tuple(name for name in opt.parse_list(peers) or () if name != "none")
    with progress("genes", quiet=quiet) as step:
        done = benchmark.run(benchmark.BenchmarkConfig(config, chosen), step)
    show_comparison(done.result)
    show_cost(done)
