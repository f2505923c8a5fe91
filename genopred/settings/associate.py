"""Settings of `genopred associate`."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from genopred.errors import GenopredError
from genopred.settings.declare import Option, names
from genopred.settings.parts import (
    MODEL,
    Covariates,
    Genotypes,
    ListedGenes,
    Matched,
    Output,
    People,
    Variants,
)

TRAIT = "Traits (exactly one)"


class Associate(
    Genotypes, People, Variants, Covariates, ListedGenes, Matched, Output, panel=MODEL, out=Path("genopred-associate")
):
    """Test whether genes' predicted expression goes with traits: of people, or by statistics of a GWAS.

    With --pheno, traits of people are regressed on what --predicted holds, or on what --models predict from their
    genotypes: linear regression, or logistic where a trait has two values. With --sumstats, models and LD, from
    genotypes or from PredictDB's covariances, give each gene's z. Writes into the folder OUT: associations.tsv (gene
    and trait), Q-Q and Manhattan pictures, report.html and matched.tsv.

    Attributes
    ----------
    pheno : Traits of people: FID IID and a column a trait, with a header; cases and controls are 1 and 0, or 2 and 1.
    pheno_name : Use only these traits; by default all.
    sumstats : GWAS results (GWAS-SSF, plink 1.9, plink 2).
    predicted : What `genopred predict` wrote: expression.parquet or .tsv.
    models : The folder OUT/models of `genopred stack`, a PredictDB database (.db), or FUSION's list of weights (.pos).
    method : Which of the models' methods; by default one weight per variant.
    covariances : LD between variants of --models for --sumstats: S-PrediXcan's covariances, in place of genotypes.
    regression : Of traits with two values only logistic, of others only linear is offered; auto chooses.
    gwas_n : People of the GWAS: with --gwas-h2, z is corrected by the models' phi.
    gwas_h2 : Heritability of its trait.
    """

    NEEDS_GENOTYPES: ClassVar[bool] = False

    pheno: Annotated[Path | None, Option(metavar="FILE", panel=TRAIT)] = None
    pheno_name: Annotated[tuple[str, ...] | None, Option(metavar="A,B,...", read=names, panel=TRAIT)] = None
    sumstats: Annotated[Path | None, Option(metavar="FILE", panel=TRAIT)] = None
    predicted: Annotated[Path | None, Option(metavar="FILE")] = None
    models: Annotated[Path | None, Option(metavar="DIR|DB|POS")] = None
    method: Annotated[str | None, Option(metavar="NAME")] = None
    covariances: Annotated[Path | None, Option(metavar="FILE")] = None
    regression: Literal["auto", "linear", "logistic"] = "auto"
    gwas_n: Annotated[float | None, Option(metavar="N", low=1, high=1e9)] = None
    gwas_h2: Annotated[float | None, Option(metavar="H2", low=0, high=1)] = None

    def check(self) -> None:
        self.exactly_one("Traits", ("pheno", "sumstats"), "exactly one of --pheno and --sumstats")
        if (self.gwas_n is None) != (self.gwas_h2 is None):
            raise GenopredError("--gwas-n and --gwas-h2 go together: z is divided by sqrt(1 + phi N h2); give both.")
        if self.pheno is not None:
            self.exactly_one("Expression", ("predicted", "models"), "exactly one of --predicted and --models")
            if self.models is not None and self.genotypes is None:
                raise GenopredError("--models with --pheno needs the people's genotypes: --bfile, --pfile or --vcf.")
            self._only_with("sumstats", ("covariances", "gwas_n"))
            return
        self._only_with("pheno", ("predicted", "covar", "pheno_name"))
        if self.models is None:
            raise GenopredError("--sumstats needs --models.")
        given = (self.genotypes, self.covariances)
        if sum(value is not None for value in given) != 1:
            raise GenopredError(
                "--sumstats needs LD between the models' variants: genotypes (--bfile, --pfile or --vcf) or "
                "--covariances, one of the two."
            )

    def _only_with(self, other: str, names: tuple[str, ...]) -> None:
        given = [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None]
        if given:
            raise GenopredError(f"{given[0]} goes with --{other}; leave it out.")
