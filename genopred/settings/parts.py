"""What several workflows are told alike: each part is a class that their settings inherit from."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from genopred.errors import GenopredError
from genopred.settings.declare import MOST, MOST_BASES, MOST_SEED, Option, Settings, base_pairs, names, number_of_bytes

GENOTYPES = "Genotypes (exactly one)"
EXPRESSION = "Expression and covariates"
GENES = "Genes"
FILTERS = "Samples and variants"
LEARNING = "Learning and evaluation"
MODEL = "Model"
TRACKS = "Tracks"
RUN = "Run and output"

_FILE = Option(metavar="FILE")

#: Options that name genotypes; one of them.
GENOTYPE_SOURCES = ("bfile", "pfile", "vcf", "bgen")


class Genotypes(Settings, panel=GENOTYPES):
    """Where the genotypes are.

    Attributes
    ----------
    bfile : PLINK 1: .bed, .bim, .fam.
    pfile : PLINK 2: .pgen, .pvar, .psam.
    vcf : VCF or BCF, .gz or not.
    bgen : BGEN 1.2 or 1.3, read by its dosages; with a .bgi beside it, opened faster.
    sample : The .sample of a --bgen, where the BGEN does not name its people.
    """

    #: Whether a run is possible without.
    NEEDS_GENOTYPES: ClassVar[bool] = True

    bfile: Annotated[Path | None, Option(metavar="PREFIX")] = None
    pfile: Annotated[Path | None, Option(metavar="PREFIX")] = None
    vcf: Annotated[Path | None, _FILE] = None
    bgen: Annotated[Path | None, _FILE] = None
    sample: Annotated[Path | None, _FILE] = None

    def check(self) -> None:
        if self.sample and not self.bgen:
            raise GenopredError("--sample names the people of a --bgen; give both, or neither.")
        if self.NEEDS_GENOTYPES or any(getattr(self, name) for name in GENOTYPE_SOURCES):
            self.needed_genotypes()

    def needed_genotypes(self) -> tuple[str, Path]:
        """Which of the four, and its path; none and several are refused."""
        return self.exactly_one("Genotypes", GENOTYPE_SOURCES, "exactly one of --bfile, --pfile, --vcf and --bgen")

    @property
    def genotypes(self) -> tuple[str, Path] | None:
        """Which of the four, and its path, where there is one."""
        return self.needed_genotypes() if any(getattr(self, name) for name in GENOTYPE_SOURCES) else None


class People(Settings, panel=FILTERS):
    """Which people.

    Attributes
    ----------
    keep : Use only these people (FID IID, or IID).
    remove : Leave these people out.
    """

    keep: Annotated[Path | None, _FILE] = None
    remove: Annotated[Path | None, _FILE] = None


class Overlapping(People, panel=FILTERS):
    """Which people, where several files name them.

    Attributes
    ----------
    min_overlap : Refuse to run when fewer people than this are in all files: a share below 1, or a number.
    keep_overlap : Use the people that are in all files, instead of refusing when some are missing from one.
    """

    min_overlap: Annotated[float, Option(low=0, high=1e9)] = 20.0
    keep_overlap: bool = False


class Variants(Settings, panel=FILTERS):
    """Which variants.

    Attributes
    ----------
    extract : Use only these variants (ids).
    exclude : Leave these variants out.
    """

    extract: Annotated[Path | None, _FILE] = None
    exclude: Annotated[Path | None, _FILE] = None


class Frequency(Variants, panel=FILTERS):
    """Which variants, and how rare.

    Attributes
    ----------
    maf : Leave out rarer variants.
    """

    maf: Annotated[float, Option(metavar="FREQ", low=0, high=0.5)] = 0.0


class NamedGenes(Settings, panel=GENES):
    """Which genes, one by one.

    Attributes
    ----------
    gene : A gene id, with or without version; repeatable.
    """

    gene: Annotated[tuple[str, ...], Option(metavar="ID", each=True, matters=False)] = ()


class ListedGenes(NamedGenes, panel=GENES):
    """Which genes of trained models.

    Attributes
    ----------
    genes : A file with one gene id a line; all genes of the models by default.
    """

    genes: Annotated[Path | None, _FILE] = None


class Genes(NamedGenes, panel=GENES):
    """Which genes.

    Attributes
    ----------
    genes : A file with one gene id a line.
    all_genes : Every gene of the expression file.
    """

    genes: Annotated[Path | None, Option(metavar="FILE", matters=False)] = None
    all_genes: Annotated[bool, Option(flag="--all", matters=False)] = False

    @property
    def names_genes(self) -> bool:
        """Whether genes were asked for in any way."""
        return bool(self.gene or self.genes or self.all_genes)

    def check_genes(self) -> None:
        """Refuse genes that are named in no way, or in several."""
        needed = "--gene ID (as often as you like), --genes FILE or --all"
        self.exactly_one("Genes", ("gene", "genes", "all_genes"), needed)


class Cis(Genes, panel=GENES):
    """Which genes, and how far around them.

    Attributes
    ----------
    window : Cis window on each side of the TSS: 500kb, 1Mb, 250000.
    """

    #: 500 kb is what PrediXcan, FUSION and most eQTL studies of this size use.
    window: Annotated[int, Option(metavar="SIZE", low=1, high=MOST_BASES, read=base_pairs)] = 500_000


class Covariates(Settings, panel=EXPRESSION):
    """Covariates of people.

    Attributes
    ----------
    covar : Covariates, people as rows or as columns (found out, and said).
    covar_name : Use only these covariates.
    n_covariates : Use only the first K covariates.
    """

    covar: Annotated[Path | None, _FILE] = None
    covar_name: Annotated[tuple[str, ...] | None, Option(metavar="A,B,...", read=names)] = None
    n_covariates: Annotated[int | None, Option(metavar="K", low=0, high=MOST)] = None


class Cohort(Genotypes, Covariates, Overlapping, Frequency, Cis, panel=EXPRESSION):
    """Genotypes and expression of the same people.

    Attributes
    ----------
    expression : Expression BED (GTEx/tensorQTL: 4 leading columns, QTLtools: 6), .gz or not.
    """

    expression: Annotated[Path, _FILE]


class Outcome(Settings, panel=EXPRESSION):
    """What is predicted of a gene's expression.

    Attributes
    ----------
    transform : Of the expression of each gene.
    residualize : Take the covariates out within each training fold (fold), over everyone first as TWAS do (global), or
        not (none).
    """

    transform: Literal["inverse-normal", "quantile", "zscore", "log1p", "none"] = "inverse-normal"
    residualize: Literal["fold", "global", "none"] = "fold"

    def check(self) -> None:
        if self.transform == "quantile" and self.residualize == "fold":
            raise GenopredError(
                "--transform quantile brings everyone to the mean distribution of all people, held-out ones included; "
                "give --residualize global or none with it, or another --transform."
            )


class Folds(Settings, panel=LEARNING):
    """Nested cross-validation over people.

    Attributes
    ----------
    outer_folds : Outer folds over people.
    inner_folds : Folds inside each training set.
    folds : Outer folds: two columns, sample and fold.
    """

    outer_folds: Annotated[int, Option(low=2, high=MOST)] = 5
    inner_folds: Annotated[int, Option(low=3, high=MOST)] = 5
    folds: Annotated[Path | None, _FILE] = None


class Learners(Settings, panel=LEARNING):
    """Who learns.

    Attributes
    ----------
    learners : Base learners, by default all: baseline-prs, pt-prs, ridge, elastic-net, susie, elastic-net-tss,
        susie-tss, gblup-tss, polynomial, random-forest, xgboost, lightgbm.
    """

    learners: Annotated[tuple[str, ...] | None, Option(metavar="A,B,...", read=names)] = None


class Memory(Settings, panel=RUN):
    """What learns from sums over people.

    Attributes
    ----------
    memory : What a worker may take for a gene's dosages and their sums: 2GB, 500MB; 2GB by default, more where a gene's
        variants need it. Results do not depend on it.
    """

    memory: Annotated[int | None, Option(metavar="SIZE", low=1, high=2**63, read=number_of_bytes, matters=False)] = None


class SequenceModel(Settings, panel=MODEL):
    """A sequence model, and how it runs.

    Attributes
    ----------
    fasta : Reference of the build of genotypes or SNPs, .gz (bgzip) or not.
    model : enformer-small (comes with genopred), enformer-small:FILE.safetensors, enformer:FOLDER or hub id,
        xpresso:FILE.h5, the folder of a genopred train run, or the name of a package's model.
    dtype : Precision.
    device : auto (every GPU that can be used, else the CPU), cpu or cuda:0; genes are shared out among cuda:0,cuda:1.
    batch_size : Windows at a time; halved when memory runs out.
    tf_gamma : Enformer: relative-position gammas as in TensorFlow's; decided from the checkpoint by default.
    tracks_file : One pattern a line, or a table with a column index.
    strands : model (as it was trained), or both: the mean of forward and reverse complement.
    max_ref_mismatch : Share of REF alleles that may differ from the FASTA.
    allow_swapped : REF and ALT may be swapped, as in plink1.9's .bed files; put right.
    """

    fasta: Annotated[Path, _FILE]
    model: Annotated[str, Option(metavar="NAME[:PATH]")] = "enformer-small"
    dtype: Literal["fp32", "tf32", "bf16"] = "fp32"
    device: Annotated[str, Option(matters=False)] = "auto"
    batch_size: Annotated[int | None, Option(low=1, high=MOST, matters=False)] = None
    tf_gamma: Annotated[bool | None, Option(off="--no-tf-gamma")] = None
    tracks_file: Annotated[Path | None, _FILE] = None
    strands: Literal["model", "both"] = "model"
    max_ref_mismatch: Annotated[float, Option(low=0, high=1)] = 0.01
    allow_swapped: bool = False

    @property
    def model_options(self) -> dict[str, Any]:
        """What the model's loader is told beside its device."""
        return {} if self.tf_gamma is None else {"tf_gamma": self.tf_gamma}


class TrackGroups(Settings, panel=TRACKS):
    """Which tracks and bins, and how they are put together.

    Attributes
    ----------
    tracks : A track group: regular expression on track names, named group (all, CAGE, DNase, ATAC, DNase/ATAC, histone,
        TF, founding) or index, with NAME= before it to name it; repeatable, all in one pass.
    bins : Bins around the centre, or all.
    aggregate : Over those bins.
    over_tracks : Over a group's tracks; each: for itself.
    """

    tracks: Annotated[tuple[str, ...], Option(metavar="PATTERN", each=True)] = ()
    bins: Annotated[int | Literal["all"], Option(metavar="N", low=1, high=MOST)] = "all"
    aggregate: Literal["sum", "mean"] = "sum"
    over_tracks: Literal["mean", "sum", "each"] = "mean"


class Matched(Settings, panel=FILTERS):
    """How well the variants of given weights must be found in the genotypes.

    Attributes
    ----------
    ambiguous : A/T and C/G variants: believe their alleles as they stand, or leave them out.
    min_match : Refuse to go on where less than this of the weights, by the variance they explain, is found.
    """

    ambiguous: Literal["keep", "drop"] = "keep"
    min_match: Annotated[float, Option(metavar="SHARE", low=0, high=1)] = 0.75


class Drawn(Settings, panel=RUN):
    """What draws figures.

    Attributes
    ----------
    gtf : Genes to draw under SNPs or tracks.
    figures : Their format.
    """

    gtf: Annotated[Path | None, _FILE] = None
    figures: Literal["svg", "png", "none"] = "svg"


def named_output(path: Any) -> Any:
    """Refuse what names no place of its own, where results would lie among other things."""
    if isinstance(path, (str, Path)) and Path(path).name in ("", ".."):
        raise GenopredError("results need a name of their own; give a new folder or prefix.")
    return path


class Command(Settings, panel=RUN):
    """Every command.

    Attributes
    ----------
    quiet : Only warnings and errors on stderr.
    max_bytes : Refuse tables and other text that hold more than this once expanded: 512MB, 4GB.
    threads : Cores to use; all by default. Results do not depend on it.
    command : The command line, for pages.
    """

    #: What is counted while it runs.
    UNIT: ClassVar[str] = "genes"

    threads: Annotated[int | None, Option(low=1, high=MOST, matters=False)] = None
    quiet: Annotated[bool, Option(matters=False)] = False
    max_bytes: Annotated[int, Option(metavar="SIZE", low=1, high=2**63, read=number_of_bytes, matters=False)] = (
        512_000_000
    )
    command: Annotated[str, Option(hidden=True, matters=False)] = ""

    @property
    def unit(self) -> str:
        """What is counted while it runs."""
        return self.UNIT

    @property
    def log_file(self) -> Path | None:
        """Where it keeps its log; None where it writes nothing that was not asked for."""
        return None


class Output(Command, panel=RUN):
    """Every run that leaves results.

    Attributes
    ----------
    out : Where the results go; also <out>.log.
    resume : Go on where an earlier run of the same command stopped.
    """

    #: Whether `out` is a folder (else how its files begin).
    FOLDER: ClassVar[bool] = True

    resume: Annotated[bool, Option(off="--no-resume", matters=False)] = True
    out: Annotated[Path, Option(metavar="PATH", read=named_output, matters=False)]

    def check(self) -> None:
        if self.out.exists() and not (self.out.is_file() or self.out.is_dir()):
            raise GenopredError(f"--out {self.out} is a device or pipe; give the name of a folder or prefix.")

    @property
    def log_file(self) -> Path:
        """<out>.log."""
        return Path(f"{self.out}.log")


class Seeded(Output, panel=RUN):
    """Every run that draws.

    Attributes
    ----------
    seed : Seed of every random choice.
    """

    seed: Annotated[int, Option(low=0, high=MOST_SEED)] = 1
