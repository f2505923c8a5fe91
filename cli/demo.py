"""`genopred demo`."""

from __future__ import annotations

from pathlib import Path

from genopred.cli import options as opt


def command(
    learners: opt.Learners = None,
    gene: opt.Gene = None,
    seed: opt.Seed = 1,
    threads: opt.Threads = None,
    resume: opt.Resume = True,
    quiet: opt.Quiet = False,
    out: opt.Out = Path("genopred-demo"),
) -> None:
    """Run all of genopred on real people and genes that come with the package, with no network.

    358 people of the GEUVADIS study and 28 genes in 2 Mb of chromosome 22: polygenic scores, base learners and the
    stack in nested cross-validation; where torch is installed also sequence features, SNP effects and their overlap
    with eQTLs, by the sequence model that comes with genopred. Ends with the table and the short answers on the
    screen, and one page in the folder OUT.
    """
    from genopred.cli.progress import progress
    from genopred.cli.runlog import command_line
    from genopred.cli.show import show_comparison
    from genopred.pipelines import demo

    chosen = opt.parse_list(learners)
    config = demo.DemoConfig(
        out=out,
        learners=None if chosen is None else tuple(chosen),
        genes=tuple(gene) if gene else None,
        threads=opt.cores(threads),
        seed=seed,
        resume=resume,
        command=command_line(),
    )
    with progress("genes", quiet=quiet) as step:
        done = demo.run(config, step)
    show_comparison(done.stack, more=done.lines)
