"""Settings of `genopred prs`."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from genopred.errors import GenopredError
from genopred.settings.declare import MOST, Option, numbers
from genopred.settings.parts import FILTERS, LEARNING, Cohort, Folds, Outcome, Seeded

SOURCE = "Where the weights come from (exactly one)"
CLUMPING = "Clumping and thresholds"
SCORING = "Scoring"
_SOURCES = ("expression", "pheno", "sumstats", "score")

_FILE = Option(metavar="FILE", panel=SOURCE)


def _columns(text: Any) -> tuple[int, ...]:
    found = numbers(text)
    if not all(k.is_integer() and 1 <= k <= MOST for k in found):
        raise GenopredError("needed whole numbers, counted from 1.")
    return tuple(int(k) for k in found)


class Prs(Cohort, Outcome, Folds, Seeded, panel=SCORING, out=Path("genopred-prs")):
    """Polygenic scores: learn weights (association, clumping, thresholds), or apply given ones.

    With --expression, each gene's sum of marginal effects and its P+T score learn from the training people and predict
    everyone; the table says how well they predict people they had not seen. With --pheno or --sumstats, index variants
    of clumps over all chromosomes are scored at every pair of thresholds. With --score, given weights are applied as by
    plink. Writes OUT.weights, OUT.scores, OUT.clumps, OUT.accuracy, OUT.models (as .tsv and .parquet, those that apply)
    and OUT.matched.tsv: alleles and samples matched, swapped, dropped, and why. A run with --expression that was
    stopped goes on when the same command is given again.

    Attributes
    ----------
    expression : Expression BED: scores of genes, in cis.
    pheno : A quantitative phenotype: FID IID value.
    pheno_name : Its column.
    sumstats : GWAS results (GWAS-SSF, plink 1.9, plink 2).
    score : Given weights: id, allele, weight; or a table with a header, as the OUT.weights.tsv of this command.
    score_columns : Columns of variant id, effect allele and weight, as plink's --score FILE I J K.
    average : Divide by the number of alleles, as plink does.
    no_mean_imputation : Leave missing genotypes out instead of imputing.
    center : Scores around the mean expected from frequencies.
    q_score_range : Ranges of p: name, lower, upper bound.
    q_score_file : p by variant id, for those ranges.
    ambiguous : A/T and C/G variants; by default kept with --score, dropped with --sumstats.
    min_match : Refuse to score where less of the variants of --score match; of --sumstats: of these or the genotypes',
        whichever are fewer.
    clump_p1 : Index variants have p up to this. Of several, genes' training people choose; else each is scored.
    clump_p2 : Members of a clump are listed below this p.
    clump_r2 : A clump takes variants with r2 above this.
    clump_kb : ... and less than so far away.
    ld : r2 of genotypes (fast), or em: of haplotypes, exactly as plink1.9 --clump.
    train : People whose expression or phenotype makes the weights; everyone is scored.
    calibrate : Genes: scale by a slope from inner cross-validation.
    """

    FOLDER: ClassVar[bool] = False

    expression: Annotated[Path | None, _FILE] = None  # type: ignore[assignment]
    pheno: Annotated[Path | None, _FILE] = None
    pheno_name: Annotated[str | None, Option(metavar="NAME", panel=SOURCE)] = None
    sumstats: Annotated[Path | None, _FILE] = None
    score: Annotated[Path | None, _FILE] = None
    score_columns: Annotated[tuple[int, ...] | None, Option(metavar="I,J,K", read=_columns)] = None
    average: Annotated[bool, Option(off="--sum")] = False
    no_mean_imputation: bool = False
    center: bool = False
    q_score_range: Annotated[Path | None, Option(metavar="FILE")] = None
    q_score_file: Annotated[Path | None, Option(metavar="FILE")] = None
    ambiguous: Literal["keep", "drop"] | None = None
    min_match: Annotated[float, Option(metavar="SHARE", low=0, high=1)] = 0.75
    clump_p1: Annotated[tuple[float, ...], Option(metavar="P,...", low=0, high=1, read=numbers, panel=CLUMPING)] = (
        1.0, 0.05, 0.01, 0.001, 0.00001,
    )  # fmt: skip
    clump_p2: Annotated[float, Option(low=0, high=1, panel=CLUMPING)] = 0.01
    clump_r2: Annotated[tuple[float, ...], Option(metavar="R2,...", low=0, high=1, read=numbers, panel=CLUMPING)] = (
        0.1, 0.2, 0.5, 0.8,
    )  # fmt: skip
    clump_kb: Annotated[float, Option(low=0.001, high=1e6, panel=CLUMPING)] = 250.0
    ld: Annotated[Literal["genotype", "em"], Option(panel=CLUMPING)] = "genotype"
    train: Annotated[Path | None, Option(metavar="FILE", panel=FILTERS)] = None
    calibrate: Annotated[bool, Option(off="--no-calibrate", panel=LEARNING)] = True

    def check(self) -> None:
        self.exactly_one("Weights", _SOURCES, f"exactly one of {', '.join(f'--{source}' for source in _SOURCES)}")
        if self.mode == "expression":
            self.check_genes()
        elif self.names_genes:
            raise GenopredError(f"--gene, --genes and --all go with --expression, not with --{self.mode}.")

    @property
    def mode(self) -> str:
        """Where the weights come from: expression, pheno, sumstats or score."""
        return next(name for name in _SOURCES if getattr(self, name) is not None)

    @property
    def source(self) -> Path:
        """The file of that."""
        path: Path = getattr(self, self.mode)
        return path

    @property
    def unit(self) -> str:
        """What is counted while it runs."""
        return "genes" if self.mode == "expression" else "variants"
