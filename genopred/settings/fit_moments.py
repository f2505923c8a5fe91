"""Settings of `genopred fit-moments`."""

from pathlib import Path
from typing import Annotated, Literal

from genopred.errors import GenopredError, repeated
from genopred.settings.declare import MOST, Option, names
from genopred.settings.moments import check_folds
from genopred.settings.parts import FILTERS, GENES, LEARNING, NamedGenes, Seeded

SITES = "How sites are joined"


class FitMoments(NamedGenes, Seeded, panel=LEARNING, out=Path("genopred-federated")):
    """Train linear learners and their stack on the sums of several sites, as if on all of their people.

    Variants are matched by place and alleles; the sites' sums are added, fold by fold. Accuracy is of folds held out,
    and of whole sites held out. Writes into the folder OUT: models, as `genopred stack` does, for predict, export and
    associate; scores.tsv, summary.tsv, loso.tsv (sites held out), matched.tsv and report.html. A run that was stopped
    goes on where it was when the same command is given again.

    Attributes
    ----------
    sites : The folders that `genopred moments` wrote, two or more.
    genes : A file with one gene id a line; all genes of the sites by default.
    scale : Mean and spread of genotypes and expression of each site by itself (site), or one for all, as if people were
        pooled (common).
    covariates : Effects of covariates of each site by itself (site), or one for all, matched by name (common).
    fold_count : Folds held out in turn; sites with more add theirs up.
    meta : The stack of the learners; linear is one weight per variant.
    stack_weights : Stack weights to start from: shipped (learned on GEUVADIS), none, or the weights.json of a run.
    maf : Leave out variants that are rarer in all sites together.
    ambiguous : A/T and C/G variants, whose strand alleles do not tell: leave them out, or believe all sites.
    learners : Linear base learners, by default all that learn from sums.
    """

    sites: Annotated[tuple[Path, ...], Option(metavar="SITE", argument=True, panel=SITES)] = ()
    genes: Annotated[Path | None, Option(metavar="FILE", panel=GENES, matters=False)] = None
    scale: Annotated[Literal["site", "common"], Option(panel=SITES)] = "site"
    covariates: Annotated[Literal["site", "common"], Option(panel=SITES)] = "site"
    fold_count: Annotated[int, Option(metavar="N", low=1, high=MOST, flag="--folds")] = 5
    meta: Literal["linear"] = "linear"
    stack_weights: Annotated[str, Option(metavar="WHICH", matters=False)] = "shipped"
    maf: Annotated[float, Option(metavar="SHARE", low=0, high=0.5, panel=FILTERS)] = 0.05
    ambiguous: Annotated[Literal["drop", "keep"], Option(panel=SITES)] = "drop"
    learners: Annotated[tuple[str, ...] | None, Option(metavar="NAMES", read=names)] = None

    def check(self) -> None:
        if len(self.sites) < 2:
            raise GenopredError(
                f"SITES: {len(self.sites)} given; give the folders of two or more sites, which genopred moments wrote."
            )
        if twice := repeated(str(path.absolute()) for path in self.sites):
            raise GenopredError(f"SITES: {twice[0]} is given twice; its people would count twice.")
        check_folds(self.fold_count)
