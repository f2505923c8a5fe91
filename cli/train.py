"""`genopred train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genopred.cli import options as opt

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="What to train on and how, in TOML.")]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs", metavar="N", min=1, max=opt.MOST, help="Instead of training.epochs.", rich_help_panel=opt.RUN
    ),
]
TrainThreads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        min=1,
        max=opt.MOST,
        help="Cores, instead of training.threads.",
        rich_help_panel=opt.RUN,
    ),
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="auto, cpu or cuda:0, instead of training.device.", rich_help_panel=opt.RUN),
]
TrainSeed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        metavar="N",
        min=0,
        max=opt.MOST_SEED,
        help="Instead of training.seed; the split stays.",
        rich_help_panel=opt.RUN,
    ),
]


def command(
    config: ConfigFile,
    out: opt.Out = Path("trained"),
    epochs: Epochs = None,
    threads: TrainThreads = None,
    device: Device = None,
    seed: TrainSeed = None,
    resume: opt.Resume = True,
    quiet: opt.Quiet = False,
) -> None:
    """Train a sequence model on a FASTA and bigWig tracks.

    CONFIG has the sections data, tracks (one each), split, network and training; relative paths in it start at its own
    folder, and ${NAME} is a variable of the environment. The chromosomes are split into blocks for training, validation
    and test, at least a window apart; training never looks at the test blocks.

    OUT/model is the network of the best epoch on the validation blocks so far, history.tsv and curves.svg show how it
    went, and regions.tsv has the split. Stopped or killed, the same command goes on from the last checkpoint (last.pt)
    and, on a CPU, ends with the same weights.
    """
    from genopred.cli.progress import progress
    from genopred.pipelines import train
    from genopred.pipelines.train_config import read_config

    read = read_config(config, epochs=epochs, threads=threads, device=device, seed=seed)
    with progress("batches", quiet=quiet) as step:
        report = train.run(read, out, resume=resume, progress=step)
    for line in report.lines():
        typer.echo(line)
