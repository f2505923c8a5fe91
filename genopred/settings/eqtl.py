"""Settings of `genopred eqtl`."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from genopred.errors import GenopredError
from genopred.settings.declare import MOST, Option
from genopred.settings.parts import EXPRESSION, Cohort, Seeded


# 1 Mb is what FastQTL, QTLtools and tensorQTL take by default.
class Eqtl(Cohort, Seeded, panel="Mapping", window=1_000_000, out=Path("genopred")):
    """Map expression QTLs in cis, in tensorQTL's tables.

    Writes <out>.cis_qtl_pairs.<chrom>.parquet (every gene and variant), <out>.cis_qtl (every gene, its top variant,
    permutation p-value and q-value), <out>.matched.tsv (what was dropped and why), and on request
    <out>.cis_independent_qtl and <out>.SuSiE_summary.

    Attributes
    ----------
    transform : Of each gene; none for values already normalised.
    nominal : Write all gene-variant pairs in cis.
    permute : Permutations for gene-level p-values and q-values; 0 for none.
    independent : Conditionally independent signals of eGenes.
    susie : SuSiE credible sets of eGenes.
    fdr : Genes with q up to this are eGenes.
    compat : tensorqtl (as FastQTL: normalise, then residualise both sides, N - 2 - K degrees of freedom) or qtltools
        (as its --normal: residualise, then normalise, raw genotypes, N - 2).
    coverage : Probability that a credible set holds.
    min_abs_corr : Leave out credible sets with a smaller correlation inside.
    max_effects : Most effects of a gene that SuSiE looks for.
    """

    FOLDER: ClassVar[bool] = False

    transform: Annotated[Literal["inverse-normal", "none"], Option(panel=EXPRESSION)] = "inverse-normal"
    nominal: Annotated[bool, Option(off="--no-nominal")] = True
    permute: Annotated[int, Option(metavar="N", low=0, high=MOST)] = 1000
    independent: bool = False
    susie: bool = False
    fdr: Annotated[float, Option(above=0, below=1)] = 0.05
    compat: Literal["tensorqtl", "qtltools"] = "tensorqtl"
    coverage: Annotated[float, Option(low=0.01, high=0.9999)] = 0.95
    min_abs_corr: Annotated[float, Option(low=0, high=1)] = 0.5
    max_effects: Annotated[int, Option(low=1, high=1000)] = 10

    def check(self) -> None:
        self.check_genes()
        if not self.nominal and not self.permute:
            raise GenopredError("--no-nominal with --permute 0 leaves nothing to do; ask for one of the two.")
        if self.permute and self.permute < 100:
            raise GenopredError(
                f"--permute {self.permute}: a beta distribution needs at least 100 permutations; 1000 is usual."
            )
        for flag, on in (("--independent", self.independent), ("--susie", self.susie)):
            if on and not self.permute:
                raise GenopredError(
                    f"{flag} works on the genes of the permutation pass; leave --permute at 1000 or so."
                )
            if on and self.compat == "qtltools":
                raise GenopredError(
                    f"{flag} follows tensorQTL and has no QTLtools version; leave out --compat qtltools."
                )
