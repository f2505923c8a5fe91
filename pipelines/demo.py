"""The main job on the people and genes that come with the package, and sequence features beside it.

Besides the files of `genopred.pipelines.stack`, `out` gets `untrained-enformer` (a checkpoint with random weights) and
`sequence-features` (what `genopred.pipelines.features` writes) where torch is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.io.example import load_example
from genopred.pipelines import stack
from genopred.pipelines.cohort import CohortInputs

#: Genes, first on the chromosome first, that get sequence features.
SEQUENCE_GENES = 8

WITHOUT_TORCH = (
    'Sequence features are left out, because {} is not installed: pip install "genopred[sequence]" '
    "(in a clone: make demo EXTRAS=sequence) adds them."
)


@dataclass(frozen=True)
class DemoConfig:
    """What a demonstration run depends on.

    Attributes
    ----------
    out : Path
        Folder of the results.
    learners : tuple of str, optional
        Base learners; the default set when not given.
    genes : tuple of str, optional
        Genes; all of the example when not given.
    threads, seed : int
    resume : bool
    command : str
        For the page.
    """

    out: Path
    learners: tuple[str, ...] | None = None
    genes: tuple[str, ...] | None = None
    threads: int = 1
    seed: int = 1
    resume: bool = True
    command: str = ""


@dataclass(frozen=True)
class DemoResult:
    """What a demonstration run produced.

    Attributes
    ----------
    stack : StackResult
        Of genotypes alone.
    lines : tuple of str
        About the sequence features, for the screen.
    sequence : polars.DataFrame or None
        gene_id, snvs, haplotypes, distinct_windows, tokens (distinct), naive_tokens (one by one), spread (standard
        deviation over people of the features, mean over tracks of its ratio to the track's mean); None without torch.
    """

    stack: stack.StackResult
    lines: tuple[str, ...]
    sequence: pl.DataFrame | None


def example_inputs(genes: tuple[str, ...] | None = None) -> CohortInputs:
    """The embedded slice of GEUVADIS: 358 people, about 2 Mb of chromosome 22 (GRCh37), phased genotypes.

    Parameters
    ----------
    genes : tuple of str, optional
        Genes to use; all without it.

    Returns
    -------
    CohortInputs

    Raises
    ------
    GenopredError
        If the package was installed without its data.

    Examples
    --------
    >>> example_inputs().expression.name
    'expression.bed.gz'
    """
    example = load_example()
    return CohortInputs(
        expression=example.expression_file, bfile=example.bfile, covar=example.covariates_file, genes=genes
    )


def run(config: DemoConfig, progress: stack.Progress | None = None) -> DemoResult:
    """Run the stack on the example, then an untrained sequence model on some of its genes.

    The stack's weights that come with the package were learned on these very people, so the run starts without them.

    Parameters
    ----------
    config : DemoConfig
    progress : callable, optional
        Called with (genes done, genes in all, gene).

    Returns
    -------
    DemoResult
    """
    settings = stack.StackConfig(
        cohort=example_inputs(config.genes),
        out=config.out,
        learners=config.learners,
        threads=config.threads,
        seed=config.seed,
        stack_weights="none",
        resume=config.resume,
        command=config.command,
    )
    result = stack.run(settings, progress)
    genes = result.scores["gene_id"].unique(maintain_order=True).to_list()[:SEQUENCE_GENES]
    absent = [name for name in ("torch", "enformer_pytorch") if find_spec(name) is None]
    if absent:
        from genopred.report.page import Section

        line = WITHOUT_TORCH.format(absent[0].replace("_", "-"))
        stack.write_report(settings, result, [Section("Sequence features", (line,))])
        return DemoResult(result, (line,), None)
    table, values, error = sequence_features(config, genes, progress)
    lines = _lines(table, error)
    stack.write_report(settings, result, [_section(table, values, lines)])
    return DemoResult(result, lines, table)


def sequence_features(
    config: DemoConfig, genes: list[str], progress: Callable[[int, int, str], None] | None = None
) -> tuple[pl.DataFrame, dict[str, NDArray[np.float64]], float]:
    """Write a checkpoint of an untrained Enformer and run it on every haplotype of the example, in exact mode.

    Parameters
    ----------
    config : DemoConfig
    genes : list of str
    progress : callable, optional

    Returns
    -------
    table : polars.DataFrame
        As `DemoResult.sequence`.
    values : dict
        For each gene its first track, (N,), in percent of the mean over people less 100.
    error : float
        Largest relative difference from plain passes of the network, on two haplotypes a gene.
    """
    from genopred.io.features import read_features
    from genopred.pipelines import features
    from genopred.sequence.features import gene_sequences, work
    from genopred.sequence.registry import load_model
    from genopred.sequence.untrained import write_untrained

    example = load_example()
    checkpoint = write_untrained(config.out / "untrained-enformer", seed=config.seed)
    settings = features.FeaturesConfig(
        genotypes=("pfile", example.pfile),
        fasta=example.reference_file,
        model=f"enformer:{checkpoint}",
        out=config.out / "sequence-features",
        expression=example.expression_file,
        gene=tuple(genes),
        device="cpu",
        threads=1,  # more of them wait for each other in so small a network
        self_check=True,
        resume=config.resume,
    )
    run = features.run(settings, progress)
    model, reference = load_model(settings.model), example.reference()
    people = example.genotypes.select(samples=run.manifest["samples"])
    values, rows = {}, []
    for gene in run.genes.iter_rows(named=True):
        of = read_features(settings.out, gene["gene_id"]).values.astype(np.float64)
        mean = of.mean(axis=0)
        values[gene["gene_id"]] = 100 * (of[:, 0] / mean[0] - 1)
        counted = work(model, gene_sequences(model, people, reference, gene["chrom"], gene["tss"], gene["strand"]))
        rows.append(
            {
                "gene_id": gene["gene_id"],
                "snvs": gene["variants"],
                "haplotypes": counted["haplotypes"],
                "distinct_windows": counted["distinct"],
                "tokens": counted["tokens"],
                "naive_tokens": counted["naive_tokens"],
                "spread": float(np.mean(of.std(axis=0) / mean)),
            }
        )
    return pl.DataFrame(rows), values, float(run.genes["self_check_error"].max())  # type: ignore[arg-type]


def _lines(table: pl.DataFrame, error: float) -> tuple[str, ...]:
    """The same words for screen and page; nothing in them depends on speed."""
    from genopred.sequence.untrained import WINDOW

    total = {name: int(table[name].sum()) for name in ("haplotypes", "distinct_windows", "tokens", "naive_tokens")}
    return (
        "The network is untrained: a small one of Enformer's shape with random weights. Its features mean nothing "
        "about expression and are kept out of the accuracy table; they show that the people's own sequences go "
        "through a model, and what that costs. With a trained checkpoint, genopred features and genopred stack "
        "--features do the same in earnest.",
        f"{table.height} genes, windows of {WINDOW:,} bp around the TSS: {total['haplotypes']:,} haplotypes have "
        f"{total['distinct_windows']:,} distinct windows, and {total['tokens']:,} distinct local stretches (tokens) "
        f"instead of {total['naive_tokens']:,}. Each is computed once; on two haplotypes a gene the largest relative "
        f"difference from a plain pass of the network is below {_above(error)}.",
    )


def _above(error: float) -> str:
    """The next power of ten, so that a last digit that varies from machine to machine does not show."""
    return f"1e{int(np.ceil(np.log10(max(error, 1e-12))))}"


def _section(table: pl.DataFrame, values: dict[str, NDArray[np.float64]], lines: tuple[str, ...]) -> Any:
    from genopred.report.figures import spreads
    from genopred.report.page import Section

    label = "first track, percent from the mean"
    shown = table.select(
        pl.col("gene_id").alias("Gene"),
        pl.col("snvs").alias("SNVs"),
        pl.col("haplotypes").alias("Haplotypes"),
        pl.col("distinct_windows").alias("Distinct windows"),
        pl.col("tokens").alias("Distinct tokens"),
        pl.col("naive_tokens").alias("Tokens one by one"),
        (100 * pl.col("spread")).alias("Spread, %"),
    )
    return Section(
        "Sequence features",
        lines,
        figures=(
            (
                spreads(values, label),
                spreads(values, label, width=340),
                f"Untrained network: what it says of each of the {len(next(iter(values.values())))} people, one point "
                "a person.",
            ),
        ),
        tables=(
            (
                shown,
                "Spread: standard deviation over people in percent of the mean, averaged over the three tracks.",
            ),
        ),
    )
