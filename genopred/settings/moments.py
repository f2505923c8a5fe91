"""Settings of `genopred moments`."""

from pathlib import Path
from typing import Annotated, Literal

from genopred.errors import GenopredError
from genopred.settings.declare import Option
from genopred.settings.parts import EXPRESSION, FILTERS, LEARNING, RUN, Cohort, Seeded

#: Fewer people than this are not summed: neither a site's nor a fold's.
FEWEST = 50
#: Folds that learners are tuned on; where one more is held out to tell accuracy, there must be four.
FEWEST_FOLDS = 3


def check_folds(count: int | None) -> None:
    """Refuse so few folds that nothing can be tuned on them, but for one."""
    if count is not None and 1 < count < FEWEST_FOLDS:
        raise GenopredError(
            f"--folds {count}: {FEWEST_FOLDS} are needed to tune learners on; give as many or more, or 1 for learners "
            "that tune nothing."
        )


class Moments(Cohort, Seeded, panel=LEARNING, maf=0.01, out=Path("genopred-site")):
    """Sum a cohort's people gene by gene, for `genopred fit-moments` elsewhere: no person leaves the site.

    Writes into the folder OUT, for each gene and each fold of the people, the sums of products of dosages, covariates
    and expression that linear learners need; manifest.json; and matched.tsv, counts without any name of a person.
    Sums are not anonymous: docs/federated.md says what they can reveal, and to whom to give them. A run that was
    stopped goes on where it was when the same command is given again.

    Attributes
    ----------
    transform : Of the expression of each gene, over the people of the site.
    folds : Folds of the people, each summed by itself; by default as many as leave 50 people each, at most 10. 1 allows
        only learners that tune nothing.
    min_mac : Leave out variants of whose rarer allele any fold has fewer copies.
    max_missing : Leave out variants that more of the people lack; what the others lack is filled with a whole number.
    name : What the site is called; by default the name of OUT.
    """

    transform: Annotated[Literal["inverse-normal", "zscore", "log1p", "none"], Option(panel=EXPRESSION)] = (
        "inverse-normal"
    )
    folds: Annotated[int | None, Option(metavar="N", low=1, high=100)] = None
    min_mac: Annotated[int, Option(metavar="N", low=1, high=10**6, panel=FILTERS)] = 5
    max_missing: Annotated[float, Option(metavar="SHARE", low=0, high=1, panel=FILTERS)] = 0.05
    name: Annotated[str | None, Option(metavar="NAME", panel=RUN)] = None

    def check(self) -> None:
        self.check_genes()
        check_folds(self.folds)

    @property
    def called(self) -> str:
        """The site's name."""
        return self.name or self.out.name
