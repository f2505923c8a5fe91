"""`genopred stack`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genopred.cli import options as opt

if TYPE_CHECKING:
    from genopred.pipelines.stack import StackConfig


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
    seed: opt.Seed = 1,
    threads: opt.Threads = None,
    resume: opt.Resume = True,
    quiet: opt.Quiet = False,
    out: opt.Out = Path("genopred-stack"),
) -> None:
    """Train base learners and the stack, gene by gene, and compare them with polygenic scores.

    Everything is trained in nested cross-validation: each person is predicted once, by models that never saw
    that person's expression. Writes into the folder OUT: predictions.parquet, scores.tsv (per gene), summary.tsv
    (per method), matched.tsv (what was dropped and why), weights.json and report.html. A run that was stopped
    goes on where it was when the same command is given again.

    With --features enformer-small --fasta FILE the model that comes with genopred first predicts from each person's
    own two sequences; the learners then see that beside the genotypes.
    """
    config = stack_config(locals())
    from genopred.cli.progress import progress
    from genopred.cli.show import show_comparison
    from genopred.pipelines import stack

    with progress("genes", quiet=quiet) as step:
        result = stack.run(config, step)
    show_comparison(result)


def stack_config(options: Mapping[str, Any]) -> StackConfig:
    """The settings of a stack run from the options of `genopred stack`, by their names in `command`.

    Raises
    ------
    GenopredError
        If options contradict each other.
    """
    from genopred.cli.runlog import command_line
    from genopred.pipelines.cohort import CohortInputs
    from genopred.pipelines.stack import StackConfig

    opt.one_genotype_source(options["bfile"], options["pfile"], options["vcf"])
    names = opt.parse_list(options["covar_name"])
    learners = opt.parse_list(options["learners"])
    same = (
        "expression bfile pfile vcf covar n_covariates keep remove extract exclude window min_overlap keep_overlap"
    ).split()
    cohort = CohortInputs(
        covar_names=None if names is None else tuple(names),
        genes=opt.chosen_genes(options["gene"], options["genes"], options["all_genes"]),
        **{name: options[name] for name in same},
    )
    same = (
        "out meta maf folds stratify outer_folds inner_folds transform residualize features fasta feature_transform "
        "feature_components stack_weights symbols seed resume"
    ).split()
    return StackConfig(
        cohort=cohort,
        learners=None if learners is None else tuple(learners),
        inputs=options["inputs"] or ("genotype" if options["features"] is None else "both"),
        threads=opt.cores(options["threads"]),
        command=command_line(),
        **{name: options[name] for name in same},
    )
