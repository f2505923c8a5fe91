"""`genopred eqtl`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from genopred.cli import options as opt

MAPPING = "Mapping"

#: What FastQTL, QTLtools and tensorQTL take by default.
WINDOW: Any = "1Mb"

Nominal = Annotated[
    bool,
    typer.Option("--nominal/--no-nominal", help="Write all gene-variant pairs in cis.", rich_help_panel=MAPPING),
]
Permute = Annotated[
    int,
    typer.Option(
        "--permute",
        metavar="N",
        min=0,
        max=opt.MOST,
        help="Permutations for gene-level p-values and q-values; 0 for none.",
        rich_help_panel=MAPPING,
    ),
]
Independent = Annotated[
    bool,
    typer.Option("--independent", help="Conditionally independent signals of eGenes.", rich_help_panel=MAPPING),
]
Susie = Annotated[bool, typer.Option("--susie", help="SuSiE credible sets of eGenes.", rich_help_panel=MAPPING)]
Fdr = Annotated[
    float, typer.Option("--fdr", min=0, max=1, help="Genes with q up to this are eGenes.", rich_help_panel=MAPPING)
]
Compat = Annotated[
    Literal["tensorqtl", "qtltools"],
    typer.Option(
        "--compat",
        help="tensorqtl (as FastQTL: normalise, then residualise both sides, N - 2 - K degrees of freedom) or qtltools "
        "(as its --normal: residualise, then normalise, raw genotypes, N - 2).",
        rich_help_panel=MAPPING,
    ),
]
Transform = Annotated[
    Literal["inverse-normal", "none"],
    typer.Option(
        "--transform",
        help="Of each gene; none for values already normalised.",
        rich_help_panel=opt.EXPRESSION,
    ),
]
Coverage = Annotated[
    float,
    typer.Option(
        "--coverage",
        min=0.01,
        max=0.9999,
        help="Probability that a credible set holds.",
        rich_help_panel=MAPPING,
    ),
]
MinAbsCorr = Annotated[
    float,
    typer.Option(
        "--min-abs-corr",
        min=0,
        max=1,
        help="Leave out credible sets with a smaller correlation inside.",
        rich_help_panel=MAPPING,
    ),
]
NEffects = Annotated[
    int,
    typer.Option(
        "--max-effects", min=1, max=1000, help="Most effects of a gene that SuSiE looks for.", rich_help_panel=MAPPING
    ),
]


def command(
    expression: opt.ExpressionFile,
    bfile: opt.Bfile = None,
    pfile: opt.Pfile = None,
    vcf: opt.Vcf = None,
    covar: opt.Covar = None,
    covar_name: opt.CovarNames = None,
    n_covariates: opt.NCovariates = None,
    transform: Transform = "inverse-normal",
    gene: opt.Gene = None,
    genes: opt.Genes = None,
    all_genes: opt.AllGenes = False,
    window: opt.Window = WINDOW,
    keep: opt.Keep = None,
    remove: opt.Remove = None,
    extract: opt.Extract = None,
    exclude: opt.Exclude = None,
    maf: opt.Maf = 0.0,
    min_overlap: opt.MinOverlap = 20,
    keep_overlap: opt.KeepOverlap = False,
    nominal: Nominal = True,
    permute: Permute = 1000,
    independent: Independent = False,
    susie: Susie = False,
    fdr: Fdr = 0.05,
    compat: Compat = "tensorqtl",
    coverage: Coverage = 0.95,
    min_abs_corr: MinAbsCorr = 0.5,
    max_effects: NEffects = 10,
    threads: opt.Threads = None,
    seed: opt.Seed = 1,
    out: opt.Out = Path("genopred"),
    resume: opt.Resume = True,
    quiet: opt.Quiet = False,
) -> None:
    """Map expression QTLs in cis, in tensorQTL's tables.

    Writes <out>.cis_qtl_pairs.<chrom>.parquet (every gene and variant), <out>.cis_qtl (every gene, its top variant,
    permutation p-value and q-value), <out>.matched.tsv (what was dropped and why), and on request
    <out>.cis_independent_qtl and <out>.SuSiE_summary.
    """
    from genopred.cli.progress import progress
    from genopred.pipelines import eqtl
    from genopred.pipelines.cohort import CohortInputs

    opt.one_genotype_source(bfile, pfile, vcf)
    names = opt.parse_list(covar_name)
    chosen = opt.chosen_genes(gene, genes, all_genes)
    config = eqtl.EqtlConfig(
        CohortInputs(
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
            genes=chosen,
            window=window,
            min_overlap=min_overlap,
            keep_overlap=keep_overlap,
        ),
        out,
        nominal=nominal,
        permutations=permute,
        independent=independent,
        susie=susie,
        fdr=fdr,
        compat=compat,
        transform=transform,
        maf=maf,
        n_effects=max_effects,
        coverage=coverage,
        min_abs_corr=min_abs_corr,
        threads=opt.cores(threads),
        seed=seed,
        resume=resume,
    )
    with progress("genes", quiet=quiet) as step:
        result = eqtl.run(config, progress=step)
    typer.echo(f"{result.pairs:,} gene-variant pairs tested")
    if result.genes is not None:
        hits = int((result.genes["qval"] <= fdr).sum())
        typer.echo(f"{hits:,} of {result.genes.height:,} genes with an eQTL at FDR {fdr:g} (pi0 {result.pi0:.3f})")
    if result.independent is not None:
        typer.echo(f"{result.independent.height:,} independent signals")
    if result.susie is not None:
        sets = result.susie.select("phenotype_id", "cs_id").n_unique()
        typer.echo(f"{sets:,} credible sets of {result.susie['phenotype_id'].n_unique():,} genes")
    for file in result.files:
        typer.echo(f"  {file}")
