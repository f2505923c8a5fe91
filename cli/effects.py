"""`genopred effects`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from genopred.cli import options as opt
from genopred.errors import GenopredError
from genopred.types import Interval

SNPS = "SNPs (--snps or one of the genotype files)"
MODEL = "Model"
EFFECTS = "Effects"


def parse_region(text: str | Interval) -> Interval:
    """A stretch as people write it: 1-based, both ends inside.

    >>> parse_region("chr22:29,190,000-29,190,200")
    Interval(chrom='chr22', start=29189999, end=29190200)
    """
    if isinstance(text, Interval):
        return text
    match = re.fullmatch(r"([^:\s]+):([0-9,_]+)-([0-9,_]+)", text.strip())
    if match:
        start, end = (int(re.sub("[,_]", "", number)) for number in match.groups()[1:])
        if 1 <= start <= end <= opt.MOST_BASES:
            return Interval(match[1], start - 1, end)
    raise typer.BadParameter(f"{text!r} is not a region; write chr22:20000000-20100000 (1-based, both ends inside)")


Fasta = Annotated[
    Path,
    typer.Option(
        "--fasta", metavar="FILE", help="Reference of the SNPs' build, .gz (bgzip) or not.", rich_help_panel=MODEL
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME[:PATH]",
        help="enformer-small (comes with genopred), enformer-small:FILE.safetensors, enformer:FOLDER or hub id, "
        "xpresso:FILE.h5, the folder of a genopred train run, or the name of a package's model.",
        rich_help_panel=MODEL,
    ),
]
Snps = Annotated[
    Path | None,
    typer.Option(
        "--snps",
        metavar="FILE",
        help="A table with columns chrom, pos, id, ref, alt, or a VCF without samples, .gz or not.",
        rich_help_panel=SNPS,
    ),
]
Bfile = Annotated[
    Path | None, typer.Option("--bfile", metavar="PREFIX", help="PLINK 1: .bed, .bim, .fam.", rich_help_panel=SNPS)
]
Pfile = Annotated[
    Path | None, typer.Option("--pfile", metavar="PREFIX", help="PLINK 2: .pgen, .pvar, .psam.", rich_help_panel=SNPS)
]
Vcf = Annotated[
    Path | None, typer.Option("--vcf", metavar="FILE", help="VCF or BCF, .gz or not.", rich_help_panel=SNPS)
]
Region = Annotated[
    Interval | None,
    typer.Option(
        "--region",
        metavar="CHROM:A-B",
        parser=parse_region,
        help="Only SNPs of this stretch, e.g. chr22:20,000,000-20,100,000.",
        rich_help_panel=SNPS,
    ),
]
Extract = Annotated[
    Path | None, typer.Option("--extract", metavar="FILE", help="Use only these SNPs (ids).", rich_help_panel=SNPS)
]
Exclude = Annotated[
    Path | None, typer.Option("--exclude", metavar="FILE", help="Leave these SNPs out.", rich_help_panel=SNPS)
]
Expression = Annotated[
    Path | None,
    typer.Option("--expression", metavar="FILE", help="Expression BED: genes and TSSs.", rich_help_panel=opt.GENES),
]
Gtf = Annotated[
    Path | None,
    typer.Option("--gtf", metavar="FILE", help="Genes and TSSs, instead of --expression.", rich_help_panel=opt.GENES),
]
AllGenes = Annotated[
    bool, typer.Option("--all", help="Every gene of --expression or --gtf.", rich_help_panel=opt.GENES)
]
Upstream = Annotated[
    int | None,
    typer.Option(
        "--upstream",
        metavar="SIZE",
        parser=opt.parse_size,
        help="SNPs up to so far before the TSS, in the gene's direction. By default the model's window, or 500kb with "
        "--center snp.",
        rich_help_panel=opt.GENES,
    ),
]
Downstream = Annotated[
    int | None,
    typer.Option(
        "--downstream",
        metavar="SIZE",
        parser=opt.parse_size,
        help="SNPs up to so far after the gene's end (after the TSS where --expression is all that is known).",
        rich_help_panel=opt.GENES,
    ),
]
Center = Annotated[
    Literal["tss", "snp"] | None,
    typer.Option(
        "--center",
        help="What is in the middle of the sequence; tss by default with genes.",
        rich_help_panel=EFFECTS,
    ),
]
Share = Annotated[
    int,
    typer.Option(
        "--share",
        metavar="BP",
        min=0,
        max=opt.MOST_BASES,
        help="With --center snp: neighbours share a window in which none is further than this from the middle.",
        rich_help_panel=EFFECTS,
    ),
]
Tracks = Annotated[
    list[str] | None,
    typer.Option(
        "--tracks",
        metavar="PATTERN",
        help="A track group: regular expression on track names, named group (all, CAGE, DNase, ATAC, DNase/ATAC, "
        "histone, TF, founding) or index, with NAME= before it to name it; repeatable, all in one pass.",
        rich_help_panel=EFFECTS,
    ),
]
TracksFile = Annotated[
    Path | None,
    typer.Option(
        "--tracks-file",
        metavar="FILE",
        help="A track group: one pattern a line, or a table with a column index.",
        rich_help_panel=EFFECTS,
    ),
]
Bins = Annotated[
    str, typer.Option("--bins", metavar="N", help="Bins around the centre, or all.", rich_help_panel=EFFECTS)
]
Aggregate = Annotated[
    Literal["sum", "mean"], typer.Option("--aggregate", help="Over those bins.", rich_help_panel=EFFECTS)
]
OverTracks = Annotated[
    Literal["mean", "sum", "each"],
    typer.Option("--over-tracks", help="Over a group's tracks; each: for itself.", rich_help_panel=EFFECTS),
]
Pseudocount = Annotated[
    float,
    typer.Option(
        "--pseudocount", min=0, max=1e9, help="Added to both sides of the fold change.", rich_help_panel=EFFECTS
    ),
]
Strands = Annotated[
    Literal["model", "both"],
    typer.Option(
        "--strands",
        help="model (as it was trained), or both: the mean of forward and reverse complement.",
        rich_help_panel=EFFECTS,
    ),
]
Mode = Annotated[
    Literal["exact", "linear"],
    typer.Option("--mode", help="exact, or linear (first order around the reference).", rich_help_panel=MODEL),
]
Dtype = Annotated[Literal["fp32", "tf32", "bf16"], typer.Option("--dtype", help="Precision.", rich_help_panel=MODEL)]
Device = Annotated[str, typer.Option("--device", help="auto (a GPU, else CPU), cpu or cuda:0.", rich_help_panel=MODEL)]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        min=1,
        max=opt.MOST,
        help="Windows at a time; halved when memory runs out.",
        rich_help_panel=MODEL,
    ),
]
TfGamma = Annotated[
    bool | None,
    typer.Option(
        "--tf-gamma/--no-tf-gamma",
        help="Enformer: relative-position gammas as in TensorFlow's; decided from the checkpoint by default.",
        rich_help_panel=MODEL,
    ),
]
MaxMismatch = Annotated[
    float,
    typer.Option(
        "--max-ref-mismatch",
        min=0.0,
        max=1.0,
        help="Share of REF alleles that may differ from the FASTA.",
        rich_help_panel=EFFECTS,
    ),
]
AllowSwapped = Annotated[
    bool,
    typer.Option(
        "--allow-swapped",
        help="REF and ALT may be swapped, as in plink1.9's .bed files; put right.",
        rich_help_panel=EFFECTS,
    ),
]
Ism = Annotated[
    Interval | None,
    typer.Option(
        "--ism",
        metavar="CHROM:A-B",
        parser=parse_region,
        help="In-silico mutagenesis: every change of every base of this stretch, with a picture (SNPs of --snps or a "
        "genotype file are marked).",
        rich_help_panel=EFFECTS,
    ),
]
Gradients = Annotated[
    bool,
    typer.Option("--gradients", help="With --ism: also the first-order effects.", rich_help_panel=EFFECTS),
]


def command(
    fasta: Fasta,
    model: Model = "enformer-small",
    snps: Snps = None,
    bfile: Bfile = None,
    pfile: Pfile = None,
    vcf: Vcf = None,
    extract: Extract = None,
    exclude: Exclude = None,
    region: Region = None,
    expression: Expression = None,
    gtf: Gtf = None,
    gene: opt.Gene = None,
    genes: opt.Genes = None,
    all_genes: AllGenes = False,
    upstream: Upstream = None,
    downstream: Downstream = None,
    center: Center = None,
    share: Share = 0,
    tracks: Tracks = None,
    tracks_file: TracksFile = None,
    bins: Bins = "all",
    aggregate: Aggregate = "sum",
    over_tracks: OverTracks = "mean",
    pseudocount: Pseudocount = 1.0,
    strands: Strands = "model",
    ism: Ism = None,
    gradients: Gradients = False,
    mode: Mode = "exact",
    dtype: Dtype = "fp32",
    device: Device = "auto",
    batch_size: BatchSize = None,
    tf_gamma: TfGamma = None,
    max_ref_mismatch: MaxMismatch = 0.01,
    allow_swapped: AllowSwapped = False,
    threads: opt.Threads = None,
    resume: opt.Resume = True,
    quiet: opt.Quiet = False,
    out: opt.Out = Path("effects"),
) -> None:
    """Score SNPs with a sequence model: prediction with ALT minus prediction with REF.

    Writes <out>.parquet and <out>.tsv (chrom, pos, id, ref, alt, gene, track_group, effect, abs_effect, log_fc, ...),
    <out>.counts.tsv (what was left out, and why) and <out>.json; with --ism also the picture.
    """
    from genopred.cli.progress import progress
    from genopred.pipelines import effects

    given = [path for path in (bfile, pfile, vcf) if path is not None]
    if gene or genes or all_genes:
        # one way to name genes, said as in the other commands
        opt.chosen_genes(gene, genes, all_genes)
    if gtf is not None and expression is not None:
        raise GenopredError("Genes: --gtf and --expression given; give one of them.")
    config = effects.EffectsConfig(
        fasta=fasta,
        model=model,
        out=out,
        snps=snps,
        genotypes=opt.one_genotype_source(bfile, pfile, vcf) if given else None,
        expression=expression,
        gtf=gtf,
        gene=tuple(gene or ()),
        genes=genes,
        all_genes=all_genes,
        upstream=upstream,
        downstream=downstream,
        region=region,
        extract=extract,
        exclude=exclude,
        center=center,
        share=share,
        tracks=tuple(tracks or ()),
        tracks_file=tracks_file,
        bins=bins,
        settings={
            "aggregate": aggregate,
            "over_tracks": over_tracks,
            "pseudocount": pseudocount,
            "strands": strands,
            "mode": mode,
            "dtype": dtype,
        },
        ism=ism,
        gradients=gradients,
        max_ref_mismatch=max_ref_mismatch,
        allow_swapped=allow_swapped,
        batch_size=batch_size,
        device=device,
        threads=threads,
        model_options={} if tf_gamma is None else {"tf_gamma": tf_gamma},
        resume=resume,
    )
    with progress("genes" if gene or genes or all_genes else "windows", quiet=quiet) as step:
        result = effects.run(config, step)
    typer.echo("\n".join(result.lines()))
