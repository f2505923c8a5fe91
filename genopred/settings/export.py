"""Settings of `genopred export`."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from genopred.settings.declare import Option
from genopred.settings.parts import MODEL, Genotypes, ListedGenes, Matched, Output, People, Variants


class Export(Genotypes, People, Variants, ListedGenes, Matched, Output, panel=MODEL, out=Path("genopred-export")):
    """Write models for other programs: PrediXcan and S-PrediXcan, FUSION, plink2 and the PGS Catalog's.

    Only what is linear in dosage leaves: one weight per variant of each gene. Genotypes, where given, are the LD
    reference: covariances for S-PrediXcan, standard deviations for FUSION. Writes into the folder OUT: models.db and
    covariances.txt.gz (predictdb); models.pos and weights/GENE.wgt.RDat (fusion); scores/GENE.txt.gz (pgs).

    Attributes
    ----------
    models : The folder OUT/models of `genopred stack`, or a PredictDB database (.db).
    to : For whom.
    method : Which of the models' methods; by default the linear stack.
    predicted : Only genes that were predicted in people held out: p below 0.05 and r above 0.1, as PredictDB keeps.
    """

    NEEDS_GENOTYPES: ClassVar[bool] = False

    models: Annotated[Path, Option(metavar="DIR|DB")]
    to: Literal["predictdb", "fusion", "pgs"] = "predictdb"
    method: Annotated[str | None, Option(metavar="NAME")] = None
    predicted: bool = False
