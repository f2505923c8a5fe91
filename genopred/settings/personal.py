"""How a model is tuned on people: sections of the file that `genopred train` reads with task = "personal"."""

from typing import Annotated, ClassVar, Literal

from genopred.errors import GenopredError
from genopred.settings.declare import MOST_BASES, MOST_SEED, Option, Settings
from genopred.settings.training import Training

_COUNT = Option(low=1, high=1_000_000_000)
_SEED = Option(low=0, high=MOST_SEED)
_SHARE = Option(low=0, high=1)


class PersonalData(Settings, section="data"):
    """Who has which sequences and which expression.

    Attributes
    ----------
    fasta : The reference of the genotypes' build.
    vcf : VCF or BCF, .gz or not; or
    bfile : PLINK 1, a prefix; or
    pfile : PLINK 2, a prefix.
    expression : Expression BED: genes, their TSSs and strands, people.
    covariates : Covariates, people as rows or as columns.
    covariate_names : Use only these covariates.
    n_covariates : Use only the first so many.
    genes : Ids; all of the expression file by default.
    gene_list : A file with one id a line, instead.
    gtf : Where the expression file has no strands.
    window : Bases around the TSS; as many as the model reads by default.
    transform : Of the expression of each gene.
    residualize : Take the covariates out as the training people tell (fold), or as everybody does, held-out people too
        (global), or not (none).
    unphased : Genotypes without phase: soft (mean of both alleles), random or error.
    max_ref_mismatch : Share of REF alleles that may differ from the FASTA.
    allow_swapped : REF and ALT may be swapped, as in plink1.9's .bed files; put right.
    keep_overlap : Use the people that are in all files, instead of refusing when some are missing from one.
    min_variants : Genes with fewer variants in the window are left out.
    """

    fasta: str
    expression: str
    vcf: str = ""
    bfile: str = ""
    pfile: str = ""
    covariates: str = ""
    covariate_names: tuple[str, ...] = ()
    n_covariates: Annotated[int | None, Option(low=0, high=1_000_000_000)] = None
    genes: tuple[str, ...] = ()
    gene_list: str = ""
    gtf: str = ""
    window: Annotated[int | None, Option(low=1, high=MOST_BASES)] = None
    transform: Literal["inverse-normal", "zscore", "log1p", "none"] = "inverse-normal"
    residualize: Literal["fold", "global", "none"] = "fold"
    unphased: Literal["soft", "random", "error"] = "soft"
    max_ref_mismatch: Annotated[float, _SHARE] = 0.01
    allow_swapped: bool = False
    keep_overlap: bool = False
    min_variants: Annotated[int, _COUNT] = 1

    def check(self) -> None:
        self.exactly_one("Genotypes", ("vcf", "bfile", "pfile"), "exactly one of data.vcf, data.bfile and data.pfile")
        if self.genes and self.gene_list:
            raise GenopredError("data.genes and data.gene_list are both given; give one of them.")


class PeopleSplit(Settings, section="people"):
    """Which people are for what.

    Attributes
    ----------
    folds : A table with the columns sample and fold; `test` is one of its folds. Dealt at random without it.
    test : The fold of the people who are kept aside.
    fraction : Share of people who are kept aside, where there are no folds.
    validation : Share of the others who choose the epoch.
    seed : Of the deal.
    """

    folds: str = ""
    test: Annotated[int, Option(low=0, high=1_000_000)] = 0
    fraction: Annotated[float, Option(above=0, below=1)] = 0.2
    validation: Annotated[float, Option(above=0, below=1)] = 0.125
    seed: Annotated[int, _SEED] = 1


class GeneBlocks(Settings, section="split"):
    """Which genes are for what: blocks along the chromosomes.

    Attributes
    ----------
    block : Width in bp.
    fractions : Shares of training, validation and test.
    margin : Least distance in bp between windows of different kind; genes within it are left out of training and
        validation. The window by default.
    seed : Of the deal.
    """

    BY: ClassVar[str] = "block"

    block: Annotated[int, _COUNT] = 500_000
    fractions: tuple[float, ...] = (0.7, 0.1, 0.2)
    margin: Annotated[int | None, Option(low=0, high=1_000_000_000)] = None
    seed: Annotated[int, _SEED] = 1

    def check(self) -> None:
        if len(self.fractions) != 3 or min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise GenopredError(
                f"split.fractions = {list(self.fractions)}: needed three shares of training, validation and test genes "
                "that add up to 1."
            )


class Start(Settings, section="model"):
    """What is tuned, and how much of it.

    Attributes
    ----------
    start : enformer-small, xpresso:FILE.h5, enformer:FOLDER, the folder of a genopred train run, or the name of a
        package's model.
    weights : As they were trained, or drawn anew at random.
    tune : head (the convolutional tower is frozen), lora (low-rank additions to all weights) or all.
    rank : Of the additions.
    bins : Around the TSS.
    tracks : Patterns: the mean of these tracks is what is predicted to begin with; all by default.
    """

    start: str = "enformer-small"
    weights: Literal["trained", "random"] = "trained"
    tune: Literal["head", "lora", "all"] = "all"
    rank: Annotated[int, Option(low=1, high=1024)] = 4
    bins: Annotated[int, Option(low=1, high=10_001)] = 3
    tracks: tuple[str, ...] = ()


class PersonalTraining(
    Training, section="training", epochs=10, batch=2, learning_rate=2e-3, warmup=50, weight_decay=0.01, patience=3,
    average=0.98, choose="loss",
):  # fmt: skip
    """How a network is tuned; `batch` counts genes, with all training people each.

    Whatever changes windows or precision is not there: what is learned is the difference between people.
    """

    HIDDEN = ("shift", "reverse_complement", "mutate", "both_strands", "precision", "compile")
