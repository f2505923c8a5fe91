"""Genes' expression as a target: sections of the file that `genopred train` reads with task = "expression"."""

from typing import Annotated, ClassVar, Literal

from genopred.errors import GenopredError, repeated
from genopred.settings.declare import MOST_BASES, MOST_SEED, Option, Settings
from genopred.settings.training import ByBlock, ByChromosome, ByRandom, Split, Training

_LENGTH = Option(low=0, high=MOST_BASES)
_SHARE = Option(low=0, high=1)

#: What a table of expression may hold, and what can be made of counts.
Unit = Literal["counts", "tpm", "fpkm", "rpkm", "signal"]
#: What may be done with it, in the order in which it is written.
Step = Literal["log", "quantile", "z"]


class Genes(Settings, section="genes"):
    """Which genes, and what of the sequence around each TSS is read.

    Attributes
    ----------
    fasta : The reference of the genes' build.
    gtf : The genes, their TSSs and strands.
    table : Instead an expression BED, whose genes have TSSs (and strands, in QTLtools' layout; + without).
    before : Bases before the TSS, in the gene's direction.
    after : Bases from the TSS on.
    max_n : Genes with a larger share of N in their window are left out.
    families : Columns gene and family, separated by tabs: genes of one family are never in two parts of a split
        (but by random they are).
    types : Only genes of these types (gene_type of the GTF), such as protein_coding.
    chromosomes : All of the FASTA by default.
    """

    fasta: str
    gtf: str = ""
    table: str = ""
    before: Annotated[int, _LENGTH] = 10_000
    after: Annotated[int, Option(low=1, high=MOST_BASES)] = 1_000
    max_n: Annotated[float, _SHARE] = 0.2
    families: str = ""
    types: tuple[str, ...] = ()
    chromosomes: tuple[str, ...] = ()

    def check(self) -> None:
        self.exactly_one("genes", ("gtf", "table"), "one of them, which says where genes begin")
        if self.types and not self.gtf:
            raise GenopredError("genes.types: an expression BED has no types of genes; give genes.gtf.")


class Expression(Settings, section="expression"):
    """What is measured of each gene in each cell type.

    Attributes
    ----------
    file : Genes x cell types (TSV, CSV or GCT; ids first), or an expression BED; none where [[signal]] is all.
    unit : What it holds: counts, tpm, fpkm, rpkm, or signal (anything else that is not negative).
    make : What is made of counts: cpm (per million reads of the training genes), tpm, fpkm or rpkm (with the lengths of
        genes: a column Length of the table, else their exons in genes.gtf).
    average : Take the mean over all columns (samples) as the one cell type.
    cells : Columns to use; all by default. Of `average` the samples whose mean is taken.
    transform : What is done, in this order: log (of 1 + value), quantile (one distribution for all cell types), z (mean
        0, variance 1 over the training genes). All is fitted on training genes.
    batches : Columns cell and batch, separated by tabs: batches are adjusted by ComBat (inmoose) after the log.
    """

    file: str = ""
    unit: Unit = "tpm"
    make: Literal["cpm", "tpm", "fpkm", "rpkm"] = "cpm"
    average: bool = False
    cells: tuple[str, ...] = ()
    transform: tuple[Step, ...] = ("log", "z")
    batches: str = ""

    def check(self) -> None:
        if twice := repeated(self.transform):
            raise GenopredError(f"expression.transform: {twice[0]} is named twice; needed each once.")
        if "log" in self.transform[1:]:
            raise GenopredError(
                f"expression.transform = {list(self.transform)}: log comes first: quantiles and z values have no log."
            )
        if self.batches and self.average:
            raise GenopredError(
                "expression.batches with average = true: ComBat leaves a gene's mean over all samples as it is, so "
                "that nothing would come of it; leave batches out."
            )


class Signal(Settings, section="signal"):
    """A cell type whose expression is the signal at the TSS.

    Attributes
    ----------
    cell : Its name.
    plus : A bigWig of the plus strand, and
    minus : one of the minus strand; or
    file : one without strands.
    radius : Summed over TSS +- so many bases, on the gene's strand.
    """

    cell: str
    plus: str = ""
    minus: str = ""
    file: str = ""
    radius: Annotated[int, Option(low=0, high=1_000_000)] = 250

    def check(self) -> None:
        if bool(self.plus) != bool(self.minus) or bool(self.plus) == bool(self.file):
            raise GenopredError(f"signal {self.cell}: needed plus and minus, or file alone.")


class Inputs(Settings, section="inputs"):
    """What is read beside the sequence.

    Attributes
    ----------
    gc : The share of G and C of the window.
    kmers : Frequencies of words of so many bases, 1 to 5; 0 for none.
    motifs : A file of motifs (MEME, JASPAR) whose hits are counted.
    step : Resolution in bp of the tracks along the window.
    """

    gc: bool = False
    kmers: Annotated[int, Option(low=0, high=5)] = 0
    motifs: str = ""
    step: Annotated[int, Option(low=1, high=MOST_BASES)] = 16


class InputTrack(Settings, section="inputs.tracks"):
    """Signal that is read along the window, such as accessibility.

    Attributes
    ----------
    name : Its name.
    file : A bigWig.
    """

    name: str
    file: str


class ContactFile(Settings, section="contacts"):
    """Which distal segments are read of each gene.

    Attributes
    ----------
    file : BEDPE (.gz), .cool, .mcool or .mcool::resolutions/N; without it there are no distal segments.
    resolution : Of an .mcool, in bp.
    segments : The most segments of a gene: those with the strongest contacts.
    segment : Their length in bp, around the middle of what is in contact.
    nearest : Contacts of a smaller distance from the TSS in bp are not used.
    farthest : Nor those of a larger one.
    """

    file: str = ""
    resolution: Annotated[int | None, Option(low=1, high=MOST_BASES)] = None
    segments: Annotated[int, Option(low=1, high=1000)] = 8
    segment: Annotated[int, Option(low=1, high=1_000_000)] = 1_000
    nearest: Annotated[int, _LENGTH] = 5_000
    farthest: Annotated[int, _LENGTH] = 1_000_000

    def check(self) -> None:
        if self.nearest > self.farthest:
            raise GenopredError(
                f"contacts.nearest = {self.nearest:,} is more than contacts.farthest, {self.farthest:,}; needed less."
            )


class GenesByBlock(ByBlock):
    """Blocks along the chromosomes; a gene belongs to the block that its window lies in.

    Attributes
    ----------
    folds : Cross-validation: blocks are dealt to so many folds, of which each is the test once and the next one the
        validation; 0 for one split by `fractions`.
    """

    folds: Annotated[int, Option(low=0, high=100)] = 0

    def check(self) -> None:
        if self.folds in (1, 2):
            raise GenopredError(
                f"split.folds = {self.folds}: needed 3 or more (one for the test, one for validation, others to train)."
            )


#: What a split of genes can be by.
GENE_SPLITS: dict[str, type[Split]] = {kind.BY: kind for kind in (GenesByBlock, ByChromosome, ByRandom)}


class ExpressionTraining(Training, reverse_complement=False, batch=32, warmup=100):
    """How a network of genes is trained.

    Attributes
    ----------
    loss : mse, poisson (targets that are not negative), or correlation (1 - Pearson over the genes of a batch, and a
        tenth of the mse, which keeps predictions on the scale of the targets).
    """

    loss: Literal["mse", "poisson", "correlation"] = "mse"


class Search(Settings, section="search"):
    """How settings are searched.

    Attributes
    ----------
    trials : How many are tried (`grid`: all that the lists make).
    seed : Of what is drawn.
    """

    #: Keys beside these are settings to search, `section.key`.
    SPACE: ClassVar[str] = "section.key"

    trials: Annotated[int, Option(low=1, high=10_000)] = 20
    seed: Annotated[int, Option(low=0, high=MOST_SEED)] = 1
