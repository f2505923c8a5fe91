"""The embedded example: real people and genes to try things on, with no network."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from genopred.errors import GenopredError
from genopred.files import write_files
from genopred.io.covariates import read_covariates
from genopred.io.expression import read_expression
from genopred.io.fasta import Fasta, open_fasta
from genopred.io.pgen import read_pgen
from genopred.io.text import PathLike
from genopred.types import Covariates, Expression, Genotypes


@dataclass(frozen=True)
class Example:
    """A slice of GEUVADIS: 358 people, 28 genes of chromosome 22 and the SNPs within 500 kb of them, GRCh37.

    Attributes
    ----------
    genotypes : Genotypes
        Phased; the same calls lie in `bfile` without phase.
    expression : Expression
        RNA-seq quantification as published, not normalised.
    covariates : Covariates
        Three genotype and fifteen phenotype principal components.
    folder : pathlib.Path
        Where the files are; `genopred/data/README.md` tells their origin and terms.
    """

    genotypes: Genotypes
    expression: Expression
    covariates: Covariates
    folder: Path

    @property
    def bfile(self) -> Path:
        """Prefix of the PLINK 1 fileset (`--bfile`)."""
        return self.folder / "geuvadis"

    @property
    def pfile(self) -> Path:
        """Prefix of the PLINK 2 fileset (`--pfile`), which keeps the phase."""
        return self.folder / "geuvadis"

    @property
    def expression_file(self) -> Path:
        """QTLtools BED (`--expression`)."""
        return self.folder / "expression.bed.gz"

    @property
    def covariates_file(self) -> Path:
        """A covariate a row, a person a column (`--covar`)."""
        return self.folder / "covariates.txt.gz"

    @property
    def symbols_file(self) -> Path:
        """What 27 of the 28 genes are called (`--symbols`)."""
        return self.folder / "symbols.tsv"

    @property
    def reference_file(self) -> Path:
        """Bgzipped, indexed FASTA in chromosome 22's own coordinates; N outside 40.7 to 42.7 Mb."""
        return self.folder / "reference.fa.gz"

    def reference(self) -> Fasta:
        """The reference sequence, opened.

        >>> from genopred.types import Interval
        >>> load_example().reference().fetch(Interval("22", 40_700_000, 40_700_012))
        'CTGTTTTGAATA'
        """
        return open_fasta(self.reference_file)

    def copy_to(self, folder: PathLike) -> Example:
        """The same example, read from a folder of one's own (made when missing) that its files are copied to.

        Files of the same names are replaced.
        """
        ours = [Path(f"{self.bfile}{end}") for end in (".bed", ".bim", ".fam", ".pgen", ".pvar", ".psam")]
        ours += [self.expression_file, self.covariates_file, self.symbols_file]
        ours += [Path(f"{self.reference_file}{end}") for end in ("", ".fai", ".gzi")]
        write_files({Path(folder) / file.name: file.read_bytes() for file in ours})
        return _open(Path(folder))


def load_example() -> Example:
    """Open the example that comes with the package.

    Raises
    ------
    GenopredError
        If the package was installed without its data.

    References
    ----------
    Lappalainen et al. (2013), doi:10.1038/nature12531; 1000 Genomes Project (2015), doi:10.1038/nature15393.

    Examples
    --------
    >>> example = load_example()
    >>> example.expression.values.shape, example.genotypes.n_variants, example.genotypes.phased
    ((358, 28), 2951, True)
    """
    return _open(Path(str(files("genopred"))) / "data" / "example")


def _open(folder: Path) -> Example:
    if not (folder / "geuvadis.pgen").is_file():
        raise GenopredError(f"{folder} does not hold the example's files; install genopred again, data included.")
    genotypes = read_pgen(folder / "geuvadis")
    covariates = read_covariates(folder / "covariates.txt.gz", samples=genotypes.samples.tolist())
    return Example(genotypes, read_expression(folder / "expression.bed.gz"), covariates, folder)
