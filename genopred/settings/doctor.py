"""Settings of `genopred doctor`."""

from pathlib import Path
from typing import Annotated, Any, ClassVar

from genopred.errors import GenopredError
from genopred.settings.declare import MOST_BASES, Option, base_pairs
from genopred.settings.parts import FILTERS, RUN, Command

CHECKS = "What is looked at"


def files(paths: Any) -> tuple[Path, ...]:
    """Paths, each once."""
    return tuple(dict.fromkeys(Path(path) for path in ([paths] if isinstance(paths, (str, Path)) else paths)))


class Doctor(Command, panel=CHECKS):
    """Look at the files that one is about to use, and say what is wrong before hours are spent.

    Genotypes (a fileset by its prefix or any of its files), expression BED, covariates, FASTA, GTF, models, summary
    statistics, score files and chains are told by name and content. Each is read as the other commands read it, and
    held against the others: people, genome build, chromosomes, alleles, frequencies; then quality, relatives, ancestry,
    swapped samples, and what stack and features would take here. Ends with one screen, green, amber and red, each with
    its remedy; exit code 0, 1 or 2. Nothing is written but the file that --json names.

    Attributes
    ----------
    files : Files to look at, as many as there are.
    window : Cis window on each side of the TSS, as stack is to be told: 500kb, 1Mb, 250000.
    maf : Rarer variants are left out, as stack is to be told.
    json : Write everything that was found into this file too.
    forecast : Estimate time, memory and disk of stack and features, by computing a little of each.
    """

    UNIT: ClassVar[str] = "checks"

    files: Annotated[tuple[Path, ...], Option(metavar="FILES", argument=True, each=True, read=files)]
    window: Annotated[int, Option(metavar="SIZE", low=1, high=MOST_BASES, read=base_pairs)] = 500_000
    maf: Annotated[float, Option(metavar="FREQ", low=0, high=0.5, panel=FILTERS)] = 0.05
    json: Annotated[Path | None, Option(metavar="FILE", panel=RUN, matters=False)] = None
    forecast: Annotated[bool, Option(off="--no-forecast")] = True

    def check(self) -> None:
        if not self.files:
            raise GenopredError(
                "FILES: none given; name the files that you are about to use, such as a fileset, expression and "
                "covariates."
            )
