"""Settings of `genopred predict`."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from genopred.settings.declare import Option
from genopred.settings.parts import FILTERS, MODEL, Genotypes, ListedGenes, Matched, Output, People, Variants


class Predict(Genotypes, People, Variants, ListedGenes, Matched, Output, panel=MODEL, out=Path("genopred-predict")):
    """Predict expression of people never seen, from their genotypes and models that were trained before.

    Variants are matched by place and alleles, then by id; swapped alleles and strands are put right, and what is
    missing is counted for each gene. Missing genotypes take the frequency in training. Writes into the folder OUT:
    expression (people in rows; .bed: genes in rows), genes.tsv (how much of each gene's model was found and what that
    leaves of its accuracy) and matched.tsv.

    Attributes
    ----------
    models : The folder OUT/models of `genopred stack`, a PredictDB database (.db), or FUSION's list of weights (.pos).
    method : Which of the models' methods, such as stack-linear or stack-xgboost; by default one weight per variant.
    format : Of the predictions: parquet, tsv (FID, IID and a column a gene, as PrediXcan), or bed (an expression BED).
    chain : Lift the models' positions over to the genotypes' build: a chain file from the one to the other.
    """

    UNIT: ClassVar[str] = "variants"

    models: Annotated[Path, Option(metavar="DIR|DB|POS")]
    method: Annotated[str | None, Option(metavar="NAME")] = None
    format: Literal["parquet", "tsv", "bed"] = "parquet"
    chain: Annotated[Path | None, Option(metavar="FILE", panel=FILTERS)] = None
