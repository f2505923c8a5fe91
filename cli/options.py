"""Options that several subcommands share, spelled as plink spells them, and how their values are read.

Use a type as annotation and give the default in the signature: `def command(bfile: opt.Bfile = None, ...)`.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from genopred.errors import GenopredError

log = logging.getLogger("genopred.cli")

GENOTYPES = "Genotypes (exactly one)"
EXPRESSION = "Expression and covariates"
GENES = "Genes"
FILTERS = "Samples and variants"
LEARNING = "Learning and evaluation"
RUN = "Run and output"

#: Longest length in base pairs: no chromosome is longer.
MOST_BASES = 1_000_000_000
#: Largest seed: what every generator takes, scikit-learn's included.
MOST_SEED = 2**32 - 1
#: More of anything that is counted (folds, components, draws) is a slip of the hand, and would fill the memory.
MOST = 100_000

_UNITS = {"": 1, "b": 1, "bp": 1, "k": 1_000, "kb": 1_000, "m": 1_000_000, "mb": 1_000_000}


def parse_size(text: str | int) -> int:
    """Base pairs of a length such as `500kb`, `1Mb`, `0.5m` or `250000`.

    Parameters
    ----------
    text : str or int
        A number with an optional unit: b, bp, k, kb, m, mb, in any case (1 kb is 1,000 bp, as in plink).

    Returns
    -------
    int

    Raises
    ------
    typer.BadParameter
        If it is no positive length in whole base pairs, or longer than any chromosome.

    Examples
    --------
    >>> parse_size("500kb"), parse_size("1.5Mb"), parse_size("250,000")
    (500000, 1500000, 250000)
    """
    match = re.fullmatch(r"([0-9][0-9,_]*(?:\.[0-9]+)?)\s*([a-z]*)", str(text).strip().lower())
    if match and match[2] in _UNITS:
        length = float(re.sub("[,_]", "", match[1])) * _UNITS[match[2]]
        if length > MOST_BASES:
            raise typer.BadParameter(f"{text!r} is longer than any chromosome; at most {MOST_BASES:,} bases")
        if length >= 1 and abs(length - round(length)) < 1e-6:
            return round(length)
    raise typer.BadParameter(f"{text!r} is not a length; write 500kb, 1Mb or 250000")


def parse_list(text: str | None) -> list[str] | None:
    """Names between commas (or blanks), in order; None stays None.

    >>> parse_list("elastic-net, susie")
    ['elastic-net', 'susie']
    """
    if text is None:
        return None
    names = [name for name in re.split(r"[,\s]+", text) if name]
    if not names:
        raise GenopredError(f"{text!r} names nothing; write names between commas, or leave the option out.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise GenopredError(f"{', '.join(twice)} is named twice in {text!r}; name each once.")
    return names


def parse_bytes(text: str | int) -> int:
    """Bytes of a size such as `512MB`, `2GB` or `1000000000`; a unit is a thousand of the one before.

    Raises
    ------
    typer.BadParameter
        If it is no whole number of bytes above 0.

    Examples
    --------
    >>> parse_bytes("512MB"), parse_bytes("1.5g"), parse_bytes("1000000")
    (512000000, 1500000000, 1000000)
    """
    match = re.fullmatch(r"([0-9][0-9_,]*(?:\.[0-9]+)?)\s*([kmgt]?)b?", str(text).strip().lower())
    if match:
        size = float(re.sub("[,_]", "", match[1])) * 1000.0 ** " kmgt".index(match[2] or " ")
        if 1 <= size < 2**63 and abs(size - round(size)) < 1e-6:
            return round(size)
    raise typer.BadParameter(f"{text!r} is no size; write 512MB, 2GB or a number of bytes")


def one_genotype_source(bfile: Path | None, pfile: Path | None, vcf: Path | None) -> tuple[str, Path]:
    """Which of `--bfile`, `--pfile` and `--vcf` was given.

    Returns
    -------
    kind : str
        `bfile`, `pfile` or `vcf`.
    path : Path

    Raises
    ------
    GenopredError
        If none or more than one was given.
    """
    given = [(kind, path) for kind, path in (("bfile", bfile), ("pfile", pfile), ("vcf", vcf)) if path is not None]
    if len(given) != 1:
        found = " and ".join(f"--{kind}" for kind, _ in given) or "none"
        raise GenopredError(f"Genotypes: {found} given; give exactly one of --bfile, --pfile and --vcf.")
    return given[0]


def chosen_genes(gene: list[str] | None, genes: Path | None, all_genes: bool) -> tuple[str, ...] | None:
    """The genes of `--gene`, `--genes` or `--all`, of which exactly one must be given.

    Returns
    -------
    tuple of str, or None for all

    Raises
    ------
    GenopredError
        If none or more than one was given.
    """
    given = [flag for flag, on in (("--gene", gene), ("--genes", genes), ("--all", all_genes)) if on]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise GenopredError(f"Genes: {found} given; give --gene ID (as often as you like), --genes FILE or --all.")
    if genes is not None:
        from genopred.io.lists import read_ids

        return tuple(read_ids(genes, "a list of genes, one a line").tolist())
    return tuple(gene) if gene else None


def cores(threads: int | None) -> int:
    """`--threads`, but no more than the cores that this process may use; all of those without it."""
    from joblib import cpu_count

    most = int(cpu_count())
    if threads is not None and threads > most:
        log.warning(
            f"--threads {threads}: this process may use {most} {'core' if most == 1 else 'cores'}; using {most}."
        )
    return most if threads is None else min(threads, most)


def check(options: Mapping[str, Any]) -> None:
    """Refuse values that no type of an option can: an output that names no file, and what is no number.

    Raises
    ------
    GenopredError
    """
    out = options.get("out")
    if out is not None:
        path = Path(out)
        if path.name in ("", ".."):
            raise GenopredError(f"--out {str(out)!r}: results need a name of their own; give a new folder or prefix.")
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise GenopredError(f"--out {path} is a device or pipe; give the name of a folder or prefix.")
    for name, value in options.items():
        if isinstance(value, float) and math.isnan(value):
            raise GenopredError(f"--{name.replace('_', '-')} nan: a number is needed.")


Bfile = Annotated[
    Path | None, typer.Option("--bfile", metavar="PREFIX", help="PLINK 1: .bed, .bim, .fam.", rich_help_panel=GENOTYPES)
]
Pfile = Annotated[
    Path | None,
    typer.Option("--pfile", metavar="PREFIX", help="PLINK 2: .pgen, .pvar, .psam.", rich_help_panel=GENOTYPES),
]
Vcf = Annotated[
    Path | None, typer.Option("--vcf", metavar="FILE", help="VCF or BCF, .gz or not.", rich_help_panel=GENOTYPES)
]
ExpressionFile = Annotated[
    Path,
    typer.Option(
        "--expression",
        metavar="FILE",
        help="Expression BED (GTEx/tensorQTL: 4 leading columns, QTLtools: 6), .gz or not.",
        rich_help_panel=EXPRESSION,
    ),
]
Covar = Annotated[
    Path | None,
    typer.Option(
        "--covar",
        metavar="FILE",
        help="Covariates, people as rows or as columns (found out, and said).",
        rich_help_panel=EXPRESSION,
    ),
]
CovarNames = Annotated[
    str | None,
    typer.Option("--covar-name", metavar="A,B,...", help="Use only these covariates.", rich_help_panel=EXPRESSION),
]
NCovariates = Annotated[
    int | None,
    typer.Option(
        "--n-covariates",
        metavar="K",
        min=0,
        max=MOST,
        help="Use only the first K covariates.",
        rich_help_panel=EXPRESSION,
    ),
]
Transform = Annotated[
    Literal["inverse-normal", "quantile", "zscore", "log1p", "none"],
    typer.Option(
        "--transform",
        help="Of the expression of each gene.",
        rich_help_panel=EXPRESSION,
    ),
]
Residualize = Annotated[
    Literal["fold", "global", "none"],
    typer.Option(
        "--residualize",
        help="Take the covariates out within each training fold (fold), over everyone first as TWAS do (global), or "
        "not (none).",
        rich_help_panel=EXPRESSION,
    ),
]
Gene = Annotated[
    list[str] | None,
    typer.Option("--gene", metavar="ID", help="A gene id, with or without version; repeatable.", rich_help_panel=GENES),
]
Genes = Annotated[
    Path | None,
    typer.Option("--genes", metavar="FILE", help="A file with one gene id a line.", rich_help_panel=GENES),
]
AllGenes = Annotated[bool, typer.Option("--all", help="Every gene of the expression file.", rich_help_panel=GENES)]
Window = Annotated[
    int,
    typer.Option(
        "--window",
        metavar="SIZE",
        parser=parse_size,
        help="Cis window on each side of the TSS: 500kb, 1Mb, 250000.",
        rich_help_panel=GENES,
    ),
]
Keep = Annotated[
    Path | None,
    typer.Option("--keep", metavar="FILE", help="Use only these people (FID IID, or IID).", rich_help_panel=FILTERS),
]
Remove = Annotated[
    Path | None,
    typer.Option("--remove", metavar="FILE", help="Leave these people out.", rich_help_panel=FILTERS),
]
Extract = Annotated[
    Path | None,
    typer.Option("--extract", metavar="FILE", help="Use only these variants (ids).", rich_help_panel=FILTERS),
]
Exclude = Annotated[
    Path | None,
    typer.Option("--exclude", metavar="FILE", help="Leave these variants out.", rich_help_panel=FILTERS),
]
Maf = Annotated[
    float,
    typer.Option("--maf", metavar="FREQ", min=0.0, max=0.5, help="Leave out rarer variants.", rich_help_panel=FILTERS),
]
KeepOverlap = Annotated[
    bool,
    typer.Option(
        "--keep-overlap",
        help="Use the people that are in all files, instead of refusing when some are missing from one.",
        rich_help_panel=FILTERS,
    ),
]
MinOverlap = Annotated[
    float,
    typer.Option(
        "--min-overlap",
        min=0.0,
        max=1e9,
        help="Refuse to run when fewer people than this are in all files: a share below 1, or a number.",
        rich_help_panel=FILTERS,
    ),
]
Folds = Annotated[
    Path | None,
    typer.Option(
        "--folds", metavar="FILE", help="Outer folds: two columns, sample and fold.", rich_help_panel=LEARNING
    ),
]
Stratify = Annotated[
    Path | None,
    typer.Option(
        "--stratify",
        metavar="FILE",
        help="Balance the folds over groups (ancestry): two columns, sample and group.",
        rich_help_panel=LEARNING,
    ),
]
OuterFolds = Annotated[
    int, typer.Option("--outer-folds", min=2, max=MOST, help="Outer folds over people.", rich_help_panel=LEARNING)
]
InnerFolds = Annotated[
    int,
    typer.Option("--inner-folds", min=3, max=MOST, help="Folds inside each training set.", rich_help_panel=LEARNING),
]
Learners = Annotated[
    str | None,
    typer.Option(
        "--learners",
        metavar="A,B,...",
        help="Base learners, by default all: baseline-prs, pt-prs, ridge, elastic-net, susie, elastic-net-tss, "
        "susie-tss, gblup-tss, polynomial, random-forest, xgboost, lightgbm.",
        rich_help_panel=LEARNING,
    ),
]
Meta = Annotated[
    Literal["xgboost", "nnls", "ridge", "mean", "nnls-per-gene", "xgboost-per-gene"],
    typer.Option(
        "--meta",
        help="Meta-learner that is the stack; the table shows them all.",
        rich_help_panel=LEARNING,
    ),
]
StackWeights = Annotated[
    str,
    typer.Option(
        "--stack-weights",
        metavar="WHICH",
        help="Weights to start from: shipped (learned on GEUVADIS), none, or another run's weights.json.",
        rich_help_panel=LEARNING,
    ),
]
FeaturesDir = Annotated[
    Path | None,
    typer.Option(
        "--features",
        metavar="DIR|MODEL",
        help="Sequence features: a folder that `genopred features` wrote, or a model such as enformer-small, which "
        "then computes them from --fasta into OUT/features.",
        rich_help_panel=LEARNING,
    ),
]
FeaturesFasta = Annotated[
    Path | None,
    typer.Option(
        "--fasta",
        metavar="FILE",
        help="With --features MODEL: reference of the genotypes' build, .gz (bgzip) or not.",
        rich_help_panel=LEARNING,
    ),
]
Inputs = Annotated[
    Literal["genotype", "sequence", "both"] | None,
    typer.Option(
        "--inputs",
        help="What learners see; by default both with --features.",
        rich_help_panel=LEARNING,
    ),
]
FeatureTransform = Annotated[
    Literal["none", "zscore", "quantile", "log1p"],
    typer.Option(
        "--feature-transform",
        help="Of sequence features, learned in the training fold.",
        rich_help_panel=LEARNING,
    ),
]
FeatureComponents = Annotated[
    int | None,
    typer.Option(
        "--feature-components",
        metavar="K",
        min=1,
        max=MOST,
        help="Use K principal components of the sequence features, learned in the training fold.",
        rich_help_panel=LEARNING,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=MOST,
        help="Cores to use; all by default. Results do not depend on it.",
        rich_help_panel=RUN,
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, max=MOST_SEED, help="Seed of every random choice.", rich_help_panel=RUN)
]
Out = Annotated[
    Path, typer.Option("--out", metavar="PATH", help="Where the results go; also <out>.log.", rich_help_panel=RUN)
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume/--no-resume", help="Go on where an earlier run of the same command stopped.", rich_help_panel=RUN
    ),
]
MaxBytes = Annotated[
    int,
    typer.Option(
        "--max-bytes",
        metavar="SIZE",
        parser=parse_bytes,
        help="Refuse tables and other text that hold more than this once expanded: 512MB, 4GB.",
        rich_help_panel=RUN,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Only warnings and errors on stderr.", rich_help_panel=RUN)]

#: The window that PrediXcan, FUSION and most eQTL studies of this size use; a size as `--window` takes it.
WINDOW: Any = "500kb"

#: What `genopred.io.text.MAX_BYTES` is; a size as `--max-bytes` takes it.
MAX_BYTES: Any = "512MB"
