"""`genopred evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from genopred.cli import options as opt

HELD = "What is predicted"
OTHERS = "What it is held against"

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="The folder of a training run, a model's folder or file, or a name such as enformer-small.",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Tracks, windows and split: the TOML file of a training, or a run's folder. MODEL's own by default.",
        rich_help_panel=HELD,
    ),
]
Part = Annotated[
    Literal["train", "validation", "test"],
    typer.Option("--split", help="Which part. Looks at test are counted.", rich_help_panel=HELD),
]
Strands = Annotated[
    Literal["forward", "both"],
    typer.Option(
        "--strands", help="forward, or both: the mean of the predictions from both strands.", rich_help_panel=HELD
    ),
]
Against = Annotated[
    list[str] | None,
    typer.Option(
        "--against", metavar="MODEL", help="Another model, on the same bins; repeatable.", rich_help_panel=OTHERS
    ),
]
Baseline = Annotated[
    list[str] | None,
    typer.Option(
        "--baseline",
        metavar="NAME",
        help="ridge: on GC content and k-mers, fitted on the training windows.",
        rich_help_panel=OTHERS,
    ),
]
Gtf = Annotated[
    Path | None, typer.Option("--gtf", metavar="FILE", help="Genes to draw under the tracks.", rich_help_panel=opt.RUN)
]
Figures = Annotated[
    Literal["svg", "png", "none"], typer.Option("--figures", help="Their format.", rich_help_panel=opt.RUN)
]
Resamples = Annotated[
    int,
    typer.Option(
        "--resamples",
        metavar="N",
        min=0,
        max=opt.MOST,
        help="Draws of blocks for the intervals.",
        rich_help_panel=opt.RUN,
    ),
]
Device = Annotated[
    str, typer.Option("--device", help="auto (a GPU, else CPU), cpu or cuda:0.", rich_help_panel=opt.RUN)
]


def command(
    model: Model,
    config: Config = None,
    split: Part = "test",
    strands: Strands = "forward",
    against: Against = None,
    baseline: Baseline = None,
    gtf: Gtf = None,
    figures: Figures = "svg",
    resamples: Resamples = 1000,
    seed: opt.Seed = 1,
    device: Device = "auto",
    threads: opt.Threads = None,
    out: opt.Out = Path("evaluation"),
    quiet: opt.Quiet = False,
) -> None:
    """Score a trained sequence model on tracks that it has not seen, beside other models and a ridge.

    Writes into the folder OUT: scores.tsv (each track and metric with its interval over blocks), differences.tsv,
    predictions.parquet, figures, and the page evaluate.html. Each look at a split is a line in evaluations.tsv of the
    training run's folder (of OUT, where MODEL has none).
    """
    from genopred.cli.progress import progress
    from genopred.cli.runlog import command_line
    from genopred.pipelines import evaluate

    settings = evaluate.EvaluateConfig(
        model,
        out,
        config=config,
        split=split,
        against=tuple(against or ()),
        baseline=tuple(baseline or ()),
        gtf=gtf,
        strands=strands,
        figures=figures,
        resamples=resamples,
        seed=seed,
        device=device,
        threads=threads,
        command=command_line(),
    )
    with progress("windows", quiet=quiet) as step:
        result = evaluate.run(settings, progress=step)
    for line in result.lines():
        typer.echo(line)
