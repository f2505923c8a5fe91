"""`genopred overlap`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from genopred.cli import options as opt
from genopred.errors import GenopredError

TABLES = "Tables of SNPs (TSV, CSV, parquet)"
TESTS = "What is tested"

A = Annotated[
    list[str],
    typer.Option(
        "--a", metavar="[NAME=]FILE", help="Scores of a model, one row a SNP; repeatable.", rich_help_panel=TABLES
    ),
]
B = Annotated[str, typer.Option("--b", metavar="[NAME=]FILE", help="eQTL results.", rich_help_panel=TABLES)]


_SCORE = "Rank by: abs:COLUMN, p:COLUMN (-log10), high:COLUMN or low:COLUMN; a quotient as abs:slope/slope_se."
AScore = Annotated[str | None, typer.Option("--a-score", metavar="KIND:COLUMN", help=_SCORE, rich_help_panel=TABLES)]
BScore = Annotated[str | None, typer.Option("--b-score", metavar="KIND:COLUMN", help=_SCORE, rich_help_panel=TABLES)]
AId = Annotated[
    str | None,
    typer.Option("--a-id", metavar="COLUMN", help="SNP ids in --a; otherwise found by name.", rich_help_panel=TABLES),
]
BId = Annotated[str | None, typer.Option("--b-id", metavar="COLUMN", help="SNP ids in --b.", rich_help_panel=TABLES)]
AGene = Annotated[
    str | None,
    typer.Option(
        "--a-gene",
        metavar="COLUMN",
        help="Genes in --a; SNPs are then ranked within each gene.",
        rich_help_panel=TABLES,
    ),
]
BGene = Annotated[str | None, typer.Option("--b-gene", metavar="COLUMN", help="Genes in --b.", rich_help_panel=TABLES)]
AEffect = Annotated[
    str | None,
    typer.Option(
        "--a-effect",
        metavar="COLUMN",
        help="Signed effects of ALT in --a, for the agreement of sign.",
        rich_help_panel=TABLES,
    ),
]
BEffect = Annotated[
    str | None,
    typer.Option("--b-effect", metavar="COLUMN", help="Signed effects of ALT in --b.", rich_help_panel=TABLES),
]
AWhere = Annotated[
    str | None,
    typer.Option("--a-where", metavar="COLUMN=VALUE", help="Use only such rows of --a.", rich_help_panel=TABLES),
]
BWhere = Annotated[
    str | None,
    typer.Option("--b-where", metavar="COLUMN=VALUE", help="Use only such rows of --b.", rich_help_panel=TABLES),
]
Sets = Annotated[
    str | None,
    typer.Option("--set", metavar="[NAME=]FILE", help="SNPs of credible sets, or fine-mapped.", rich_help_panel=TABLES),
]
SetId = Annotated[
    str | None, typer.Option("--set-id", metavar="COLUMN", help="SNP ids in --set.", rich_help_panel=TABLES)
]
MinPip = Annotated[
    float,
    typer.Option(
        "--min-pip", min=0.0, max=1.0, help="Take only SNPs of --set with this PIP or more.", rich_help_panel=TABLES
    ),
]
K = Annotated[
    str, typer.Option("--k", metavar="K,...", help="Top SNPs (of each gene) to compare.", rich_help_panel=TESTS)
]
Null = Annotated[
    str | None,
    typer.Option(
        "--null",
        metavar="A,B,...",
        help="permutation, shift; with genotypes also blocks, phenotype. All that can be, by default.",
        rich_help_panel=TESTS,
    ),
]
Draws = Annotated[
    int, typer.Option("--draws", metavar="N", min=1, max=10_000_000, help="Draws of each null.", rich_help_panel=TESTS)
]
Resamples = Annotated[
    int, typer.Option("--resamples", metavar="N", min=0, max=opt.MOST, help="For intervals.", rich_help_panel=TESTS)
]
Match = Annotated[
    str,
    typer.Option("--match", metavar="A,B,...", help="Match SNPs for these: maf, distance, ld.", rich_help_panel=TESTS),
]
ClumpR2 = Annotated[
    float, typer.Option("--clump-r2", min=0.0, max=1.0, help="r2 that makes SNPs one locus.", rich_help_panel=TESTS)
]
ClumpKb = Annotated[
    float,
    typer.Option(
        "--clump-kb", min=0, max=1e6, help="Reach of a locus; without genotypes all of it.", rich_help_panel=TESTS
    ),
]
Recipe = Annotated[
    Literal["founding-study"] | None,
    typer.Option(
        "--recipe",
        help="Also rank by normalised |effect| + normalised -log10 p, marked as circular.",
        rich_help_panel=TESTS,
    ),
]
Gtf = Annotated[
    Path | None,
    typer.Option("--gtf", metavar="FILE", help="Genes to draw under the SNPs.", rich_help_panel=opt.RUN),
]
Figures = Annotated[
    Literal["png", "svg", "none"], typer.Option("--figures", help="Their format.", rich_help_panel=opt.RUN)
]


def command(
    a: A,
    b: B,
    a_score: AScore = None,
    b_score: BScore = None,
    a_id: AId = None,
    b_id: BId = None,
    a_gene: AGene = None,
    b_gene: BGene = None,
    a_effect: AEffect = None,
    b_effect: BEffect = None,
    a_where: AWhere = None,
    b_where: BWhere = None,
    set_file: Sets = None,
    set_id: SetId = None,
    min_pip: MinPip = 0.0,
    bfile: opt.Bfile = None,
    pfile: opt.Pfile = None,
    vcf: opt.Vcf = None,
    k: K = "50",
    null: Null = None,
    draws: Draws = 10_000,
    resamples: Resamples = 1000,
    match: Match = "maf,distance,ld",
    clump_r2: ClumpR2 = 0.5,
    clump_kb: ClumpKb = 250.0,
    recipe: Recipe = None,
    gtf: Gtf = None,
    figures: Figures = "png",
    seed: opt.Seed = 1,
    out: opt.Out = Path("genopred"),
    quiet: opt.Quiet = False,
) -> None:
    """Ask whether two rankings of SNPs agree more than chance and LD make them.

    Writes <out>.overlap (every question and its answer), <out>.curves, <out>.snps, figures and the page <out>.html.
    """
    from genopred.cli.progress import progress
    from genopred.pipelines import overlap
    from genopred.report.pages.overlap import reading

    first = [_named(text) for text in a]
    (b_name, b_path), sets = _named(b), None
    if set_file is not None:
        set_name, set_path = _named(set_file)
        sets = overlap.TableSpec(set_path, set_name, id=set_id)
    depths = []
    for word in opt.parse_list(k) or []:
        if not word.isdigit():
            raise GenopredError(f"--k {k}: {word!r} is no whole number; write 50 or 20,50,100.")
        if not 1 <= int(word) <= 10_000_000:
            raise GenopredError(f"--k {word}: it lies between 1 and 10,000,000.")
        depths.append(int(word))
    nulls = opt.parse_list(null)
    config = overlap.OverlapConfig(
        tuple(overlap.TableSpec(p, n, a_score, a_id, a_gene, effect=a_effect, where=a_where) for n, p in first),
        overlap.TableSpec(b_path, b_name, b_score, b_id, b_gene, effect=b_effect, where=b_where),
        out,
        k=tuple(depths),
        sets=sets,
        min_pip=min_pip,
        bfile=bfile,
        pfile=pfile,
        vcf=vcf,
        match=tuple(opt.parse_list(match) or ()),
        nulls=None if nulls is None else tuple(nulls),
        draws=draws,
        resamples=resamples,
        clump_r2=clump_r2,
        clump_kb=clump_kb,
        recipe=recipe,
        gtf=gtf,
        seed=seed,
        figures=figures,
        command=" ".join(["genopred", *sys.argv[1:]]),
    )
    with progress("tables", quiet=quiet) as step:
        result = overlap.run(config, progress=step)
    for line in reading(result.results, config.k):
        typer.echo(line)
    for file in result.files:
        typer.echo(f"  {file}")


def _named(text: str) -> tuple[str, Path]:
    """`NAME=FILE`, or a file that gives its own name."""
    match = re.fullmatch(r"([\w .-]+)=(.+)", text)
    if match and not Path(text).exists():
        return match[1], Path(match[2])
    path = Path(text)
    return path.name.split(".")[0].replace("*", "") or path.name, path
