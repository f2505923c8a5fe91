"""`genopred stack`."""

from __future__ import annotations

from pathlib import Path

from genopred.cli import options as opt


def command(
    expression: opt.ExpressionFile,
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
    inputs: opt.Inputs = "genotype",
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
    """
    from genopred.cli.progress import progress
    from genopred.cli.runlog import command_line
    from genopred.cli.show import show_comparison
    from genopred.pipelines import stack
    from genopred.pipelines.cohort import CohortInputs

    opt.one_genotype_source(bfile, pfile, vcf)
    names = opt.parse_list(covar_name)
    chosen = opt.parse_list(learners)
    config = stack.StackConfig(
        cohort=CohortInputs(
            expression=expression,
            bfile=bfile,
            pfile=pfile,
            vcf=vcf,
            covar=covar,
            covar_names=None if names is None else tuple(names),
            n_covariates=n_covariates,
            keep=keep,
            remove=remove,
            extract=extract,
            exclude=exclude,
            genes=opt.chosen_genes(gene, genes, all_genes),
            window=window,
            min_overlap=min_overlap,
            keep_overlap=keep_overlap,
        ),
        out=out,
        learners=None if chosen is None else tuple(chosen),
        meta=meta,
        maf=maf,
        folds=folds,
        stratify=stratify,
        outer_folds=outer_folds,
        inner_folds=inner_folds,
        transform=transform,
        residualize=residualize,
        features=features,
        inputs=inputs,
        stack_weights=stack_weights,
        threads=opt.cores(threads),
        seed=seed,
        resume=resume,
        command=command_line(),
    )
    with progress("genes", quiet=quiet) as step:
        result = stack.run(config, step)
    show_comparison(result)
