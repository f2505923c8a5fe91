"""The main job on the people and genes that come with the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from genopred.io.example import load_example
from genopred.pipelines import stack
from genopred.pipelines.cohort import CohortInputs


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


def run(config: DemoConfig, progress: stack.Progress | None = None) -> stack.StackResult:
    """Run the stack on the example.

    The weights shipped with the package were learned on these very people, so the run starts without them.

    Parameters
    ----------
    config : DemoConfig
    progress : callable, optional
        Called with (genes done, genes in all, gene).

    Returns
    -------
    StackResult
    """
    return stack.run(
        stack.StackConfig(
            cohort=example_inputs(config.genes),
            out=config.out,
            learners=config.learners,
            threads=config.threads,
            seed=config.seed,
            stack_weights="none",
            resume=config.resume,
            command=config.command,
        ),
        progress,
    )
