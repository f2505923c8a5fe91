"""`genopred features`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from genopred.cli import options as opt
from genopred.cli.effects import AllGenes

SEQUENCE = "Sequences"
MODEL = "Model"
FEATURES = "Features"

Fasta = Annotated[
    Path,
    typer.Option(
        "--fasta",
        metavar="FILE",
        help="Reference of the genotypes' build, .gz (bgzip) or not.",
        rich_help_panel=SEQUENCE,
    ),
]
Expression = Annotated[
    Path | None,
    typer.Option(
        "--expression",
        metavar="FILE",
        help="Expression BED: which genes, their TSSs, and which people.",
        rich_help_panel=opt.GENES,
    ),
]
Gtf = Annotated[
    Path | None,
    typer.Option(
        "--gtf",
        metavar="FILE",
        help="Genes and TSSs, where there is no expression; beside it, the strands that it lacks.",
        rich_help_panel=opt.GENES,
    ),
]
AllSamples = Annotated[
    bool, typer.Option("--all-samples", help="Also people without expression.", rich_help_panel=opt.FILTERS)
]
Indels = Annotated[
    Literal["skip", "apply"],
    typer.Option(
        "--indels", help="skip them, or apply them with the TSS kept in place (slow).", rich_help_panel=SEQUENCE
    ),
]
Unphased = Annotated[
    Literal["soft", "random", "error"],
    typer.Option(
        "--unphased",
        help="Genotypes without phase: soft (mean of both alleles), random or error.",
        rich_help_panel=SEQUENCE,
    ),
]
MaxMismatch = Annotated[
    float,
    typer.Option(
        "--max-ref-mismatch",
        min=0.0,
        max=1.0,
        help="Share of REF alleles that may differ from the FASTA.",
        rich_help_panel=SEQUENCE,
    ),
]
AllowSwapped = Annotated[
    bool,
    typer.Option(
        "--allow-swapped",
        help="REF and ALT may be swapped, as in plink1.9's .bed files; turned round.",
        rich_help_panel=SEQUENCE,
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
Mode = Annotated[
    Literal["exact", "linear", "reference"],
    typer.Option(
        "--mode",
        help="exact, linear (first order around the reference) or reference (one value a gene).",
        rich_help_panel=MODEL,
    ),
]
Dtype = Annotated[Literal["fp32", "tf32", "bf16"], typer.Option("--dtype", help="Precision.", rich_help_panel=MODEL)]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        help="auto (every GPU, else CPU), cpu, or cuda:0,cuda:1: genes are shared out.",
        rich_help_panel=MODEL,
    ),
]
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
SelfCheck = Annotated[
    bool,
    typer.Option("--self-check", help="Run two haplotypes a gene the naive way and compare.", rich_help_panel=MODEL),
]
Tracks = Annotated[
    list[str] | None,
    typer.Option(
        "--tracks",
        metavar="PATTERN",
        help="A regular expression on track names, a group (all, CAGE, DNase, ATAC, DNase/ATAC, histone, TF, "
        "founding) or an index; repeatable.",
        rich_help_panel=FEATURES,
    ),
]
TracksFile = Annotated[
    Path | None,
    typer.Option(
        "--tracks-file",
        metavar="FILE",
        help="One pattern a line, or a table with a column index.",
        rich_help_panel=FEATURES,
    ),
]
Bins = Annotated[
    str, typer.Option("--bins", metavar="N", help="Bins around the TSS, or all.", rich_help_panel=FEATURES)
]
Aggregate = Annotated[
    Literal["mean", "sum", "none"], typer.Option("--aggregate", help="Over those bins.", rich_help_panel=FEATURES)
]
Log1p = Annotated[bool, typer.Option("--log1p", help="log(1 + x) of each feature.", rich_help_panel=FEATURES)]
PerHaplotype = Annotated[
    bool,
    typer.Option(
        "--per-haplotype", help="Keep a person's haplotypes apart instead of their mean.", rich_help_panel=FEATURES
    ),
]
Strands = Annotated[
    Literal["model", "both"],
    typer.Option(
        "--strands",
        help="model (as it was trained), or both: the mean of forward and reverse complement.",
        rich_help_panel=FEATURES,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Count the work and estimate time and memory; compute nothing.", rich_help_panel=opt.RUN
    ),
]


def command(
    fasta: Fasta,
    model: Model = "enformer-small",
    bfile: opt.Bfile = None,
    pfile: opt.Pfile = None,
    vcf: opt.Vcf = None,
    expression: Expression = None,
    gtf: Gtf = None,
    gene: opt.Gene = None,
    genes: opt.Genes = None,
    all_genes: AllGenes = False,
    keep: opt.Keep = None,
    remove: opt.Remove = None,
    all_samples: AllSamples = False,
    indels: Indels = "skip",
    unphased: Unphased = "soft",
    max_ref_mismatch: MaxMismatch = 0.01,
    allow_swapped: AllowSwapped = False,
    mode: Mode = "exact",
    dtype: Dtype = "fp32",
    device: Device = "auto",
    batch_size: BatchSize = None,
    tf_gamma: TfGamma = None,
    self_check: SelfCheck = False,
    tracks: Tracks = None,
    tracks_file: TracksFile = None,
    bins: Bins = "3",
    aggregate: Aggregate = "mean",
    log1p: Log1p = False,
    per_haplotype: PerHaplotype = False,
    strands: Strands = "model",
    seed: opt.Seed = 1,
    threads: opt.Threads = None,
    dry_run: DryRun = False,
    resume: opt.Resume = True,
    quiet: opt.Quiet = False,
    out: opt.Out = Path("features"),
) -> None:
    """Predict, with a sequence model, from each person's own two sequences of every gene.

    Writes one parquet file a gene (people x tracks), reference.parquet, genes.tsv and manifest.json into the
    folder OUT, and timing.tsv. A gene whose file is there and fits is not computed again.
    """
    from genopred.cli.progress import progress
    from genopred.pipelines import features

    opt.chosen_genes(gene, genes, all_genes)
    config = features.FeaturesConfig(
        genotypes=opt.one_genotype_source(bfile, pfile, vcf),
        fasta=fasta,
        model=model,
        out=out,
        expression=expression,
        gtf=gtf,
        gene=tuple(gene or ()),
        genes=genes,
        tracks=tuple(tracks or ()),
        tracks_file=tracks_file,
        bins=bins,
        settings={
            "aggregate": aggregate,
            "log1p": log1p,
            "per_haplotype": per_haplotype,
            "mode": mode,
            "dtype": dtype,
            "strands": strands,
            "indels": indels,
            "unphased": unphased,
            "seed": seed,
        },
        keep=keep,
        remove=remove,
        all_samples=all_samples,
        max_ref_mismatch=max_ref_mismatch,
        allow_swapped=allow_swapped,
        batch_size=batch_size,
        device=device,
        threads=threads,
        model_options={} if tf_gamma is None else {"tf_gamma": tf_gamma},
        self_check=self_check,
        resume=resume,
    )
    with progress("genes", quiet=quiet) as step:
        if dry_run:
            lines = features.estimate(config, step).lines()
        else:
            lines = features.run(config, step).lines()
    typer.echo("\n".join(lines))
