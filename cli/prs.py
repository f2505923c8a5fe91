"""`genopred prs`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

import typer

from genopred.cli import options as opt

SOURCE = "Where the weights come from (exactly one)"
CLUMPING = "Clumping and thresholds"
SCORING = "Scoring"

Expression = Annotated[
    Path | None,
    typer.Option(
        "--expression", metavar="FILE", help="Expression BED: scores of genes, in cis.", rich_help_panel=SOURCE
    ),
]
Pheno = Annotated[
    Path | None,
    typer.Option("--pheno", metavar="FILE", help="A quantitative phenotype: FID IID value.", rich_help_panel=SOURCE),
]
PhenoName = Annotated[
    str | None, typer.Option("--pheno-name", metavar="NAME", help="Its column.", rich_help_panel=SOURCE)
]
Sumstats = Annotated[
    Path | None,
    typer.Option(
        "--sumstats", metavar="FILE", help="GWAS results (GWAS-SSF, plink 1.9, plink 2).", rich_help_panel=SOURCE
    ),
]
Score = Annotated[
    Path | None,
    typer.Option(
        "--score",
        metavar="FILE",
        help="Given weights: id, allele, weight; or a table with a header, as the OUT.weights.tsv of this command.",
        rich_help_panel=SOURCE,
    ),
]
ScoreColumns = Annotated[
    str | None,
    typer.Option(
        "--score-columns",
        metavar="I,J,K",
        help="Columns of variant id, effect allele and weight, as plink's --score FILE I J K.",
        rich_help_panel=SCORING,
    ),
]
Average = Annotated[
    bool,
    typer.Option("--average/--sum", help="Divide by the number of alleles, as plink does.", rich_help_panel=SCORING),
]
NoMeanImputation = Annotated[
    bool,
    typer.Option(
        "--no-mean-imputation", help="Leave missing genotypes out instead of imputing.", rich_help_panel=SCORING
    ),
]
Center = Annotated[
    bool, typer.Option("--center", help="Scores around the mean expected from frequencies.", rich_help_panel=SCORING)
]
QScoreRange = Annotated[
    Path | None,
    typer.Option(
        "--q-score-range", metavar="FILE", help="Ranges of p: name, lower, upper bound.", rich_help_panel=SCORING
    ),
]
QScoreFile = Annotated[
    Path | None,
    typer.Option("--q-score-file", metavar="FILE", help="p by variant id, for those ranges.", rich_help_panel=SCORING),
]
Ambiguous = Annotated[
    Literal["keep", "drop"] | None,
    typer.Option(
        "--ambiguous",
        help="A/T and C/G variants; by default kept with --score, dropped with --sumstats.",
        rich_help_panel=SCORING,
    ),
]
MinMatch = Annotated[
    float,
    typer.Option(
        "--min-match",
        metavar="SHARE",
        min=0.0,
        max=1.0,
        help="Refuse to score where less of the variants of --score match; of --sumstats: of these or the genotypes', "
        "whichever are fewer.",
        rich_help_panel=SCORING,
    ),
]
P1 = Annotated[
    str,
    typer.Option(
        "--clump-p1",
        metavar="P,...",
        help="Index variants have p up to this. Of several, genes' training people choose; else each is scored.",
        rich_help_panel=CLUMPING,
    ),
]
P2 = Annotated[
    float,
    typer.Option(
        "--clump-p2", min=0, max=1, help="Members of a clump are listed below this p.", rich_help_panel=CLUMPING
    ),
]
R2 = Annotated[
    str,
    typer.Option(
        "--clump-r2", metavar="R2,...", help="A clump takes variants with r2 above this.", rich_help_panel=CLUMPING
    ),
]
Kb = Annotated[
    float,
    typer.Option("--clump-kb", min=0.001, max=1e6, help="... and less than so far away.", rich_help_panel=CLUMPING),
]
Ld = Annotated[
    Literal["genotype", "em"],
    typer.Option(
        "--ld",
        help="r2 of genotypes (fast), or em: of haplotypes, exactly as plink1.9 --clump.",
        rich_help_panel=CLUMPING,
    ),
]
Train = Annotated[
    Path | None,
    typer.Option(
        "--train",
        metavar="FILE",
        help="People whose expression or phenotype makes the weights; everyone is scored.",
        rich_help_panel=opt.FILTERS,
    ),
]
Calibrate = Annotated[
    bool,
    typer.Option(
        "--calibrate/--no-calibrate",
        help="Genes: scale by a slope from inner cross-validation.",
        rich_help_panel=opt.LEARNING,
    ),
]


def command(
    bfile: opt.Bfile = None,
    pfile: opt.Pfile = None,
    vcf: opt.Vcf = None,
    expression: Expression = None,
    pheno: Pheno = None,
    pheno_name: PhenoName = None,
    sumstats: Sumstats = None,
    score: Score = None,
    score_columns: ScoreColumns = None,
    average: Average = False,
    no_mean_imputation: NoMeanImputation = False,
    center: Center = False,
    q_score_range: QScoreRange = None,
    q_score_file: QScoreFile = None,
    ambiguous: Ambiguous = None,
    min_match: MinMatch = 0.75,
    clump_p1: P1 = "1,0.05,0.01,0.001,0.00001",
    clump_p2: P2 = 0.01,
    clump_r2: R2 = "0.1,0.2,0.5,0.8",
    clump_kb: Kb = 250.0,
    ld: Ld = "genotype",
    covar: opt.Covar = None,
    covar_name: opt.CovarNames = None,
    n_covariates: opt.NCovariates = None,
    transform: opt.Transform = "inverse-normal",
    residualize: opt.Residualize = "fold",
    gene: opt.Gene = None,
    genes: opt.Genes = None,
    all_genes: opt.AllGenes = False,
    window: opt.Window = opt.WINDOW,
    maf: opt.Maf = 0.0,
    train: Train = None,
    keep: opt.Keep = None,
    remove: opt.Remove = None,
    extract: opt.Extract = None,
    exclude: opt.Exclude = None,
    min_overlap: opt.MinOverlap = 20,
    keep_overlap: opt.KeepOverlap = False,
    outer_folds: opt.OuterFolds = 5,
    inner_folds: opt.InnerFolds = 5,
    folds: opt.Folds = None,
    calibrate: Calibrate = True,
    seed: opt.Seed = 1,
    threads: opt.Threads = None,
    resume: opt.Resume = True,
    quiet: opt.Quiet = False,
    out: opt.Out = Path("genopred-prs"),
) -> None:
    """Polygenic scores: learn weights (association, clumping, thresholds), or apply given ones.

    With --expression, each gene's sum of marginal effects and its P+T score learn from the training people and
    predict everyone; the table says how well they predict people they had not seen. With --pheno or --sumstats,
    index variants of clumps over all chromosomes are scored at every pair of thresholds. With --score, given
    weights are applied as by plink. Writes OUT.weights, OUT.scores, OUT.clumps, OUT.accuracy, OUT.models (as .tsv
    and .parquet, those that apply) and OUT.matched.tsv: alleles and samples matched, swapped, dropped, and why. A run
    with --expression that was stopped goes on when the same command is given again.
    """
    from genopred.cli.progress import progress
    from genopred.errors import GenopredError
    from genopred.pipelines import prs
    from genopred.pipelines.cohort import CohortInputs

    opt.one_genotype_source(bfile, pfile, vcf)
    sources = {"genes": expression, "pheno": pheno, "sumstats": sumstats, "score": score}
    given = [mode for mode, path in sources.items() if path is not None]
    flags = {"genes": "--expression", "pheno": "--pheno", "sumstats": "--sumstats", "score": "--score"}
    if len(given) != 1:
        found = " and ".join(flags[mode] for mode in given) or "none"
        raise GenopredError(f"{found} given; give exactly one of {', '.join(flags.values())}.")
    mode = given[0]
    names = opt.parse_list(covar_name)
    chosen = None
    if mode == "genes":
        chosen = opt.chosen_genes(gene, genes, all_genes)
    elif gene or genes or all_genes:
        raise GenopredError(f"--gene, --genes and --all go with --expression, not with {flags[mode]}.")
    config = prs.PRSConfig(
        cohort=CohortInputs(
            expression=expression or Path(),
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
        out=out,
        mode=mode,
        source=sources[mode],
        pheno_name=pheno_name,
        score_columns=None if score_columns is None else _whole(score_columns, "--score-columns"),
        average=average,
        skip_missing=no_mean_imputation,
        center=center,
        ranges=q_score_range,
        range_values=q_score_file,
        ambiguous=ambiguous,
        min_match=min_match,
        train=train,
        folds=folds,
        p1=_numbers(clump_p1, "--clump-p1"),
        p2=clump_p2,
        r2=_numbers(clump_r2, "--clump-r2"),
        kb=clump_kb,
        ld=ld,
        maf=maf,
        outer_folds=outer_folds,
        inner_folds=inner_folds,
        transform=transform,
        residualize=residualize,
        calibrate=calibrate,
        threads=opt.cores(threads),
        seed=seed,
        resume=resume,
    )
    with progress("genes" if mode == "genes" else "variants", quiet=quiet) as step:
        result = prs.run(config, step)
    typer.echo("\n".join(result.lines))


def _numbers(text: str, flag: str, low: float = 0, high: float = 1) -> tuple[float, ...]:
    from genopred.errors import GenopredError

    if not text.strip(", "):
        raise GenopredError(f"{flag}: give at least one number.")
    try:
        found = tuple(float(cell) for cell in opt.parse_list(text) or ())
    except ValueError:
        raise GenopredError(f"{flag} {text}: numbers between commas are needed.") from None
    for number in found:
        if not low <= number <= high:
            raise GenopredError(f"{flag} is {number}; numbers between {low:g} and {high:g} are needed.")
    return found


def _whole(text: str, flag: str) -> tuple[int, ...]:
    from genopred.errors import GenopredError

    found = _numbers(text, flag, -math.inf, math.inf)
    if not all(k.is_integer() and 1 <= k <= opt.MOST for k in found):
        raise GenopredError(f"{flag} {text}: whole numbers are needed, counted from 1.")
    return tuple(int(k) for k in found)
