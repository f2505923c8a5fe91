"""Settings of `genopred stack`."""

from pathlib import Path
from typing import Annotated, Literal

from genopred.errors import GenopredError
from genopred.settings.declare import MOST, Option, names
from genopred.settings.parts import EXPRESSION, LEARNING, Cohort, Folds, Learners, Memory, Outcome, Seeded

STUDY = "Another study"

StudyLearner = Literal[
    "pt-prs", "lassosum", "ridge", "elastic-net", "susie", "elastic-net-tss", "susie-tss", "prs-cs"
]  # fmt: skip


class Stack(Cohort, Outcome, Learners, Folds, Memory, Seeded, panel=LEARNING, maf=0.05, out=Path("genopred-stack")):
    """Train base learners and the stack, gene by gene, and compare them with polygenic scores.

    Everything is trained in nested cross-validation: each person is predicted once, by models that never saw that
    person's expression. Writes into the folder OUT: predictions.parquet, scores.tsv (per gene), summary.tsv (per
    method), matched.tsv (what was dropped and why), weights.json and report.html. A run that was stopped goes on where
    it was when the same command is given again.

    With --features enformer-small --fasta FILE the model that comes with genopred first predicts from each person's own
    two sequences; the learners then see that beside the genotypes.

    Attributes
    ----------
    symbols : What the page calls genes: a GTF of any build, or a table with the columns gene_id and gene_name. Without
        it a fifth column gene_name of --expression.
    meta : Meta-learner that is the stack; the table shows them all.
    stratify : Balance the folds over groups (ancestry): two columns, sample and group.
    stack_weights : Weights to start from: shipped (learned on GEUVADIS), none, or another run's weights.json.
    features : Sequence features: a folder that `genopred features` wrote, or a model such as enformer-small, which then
        computes them from --fasta into OUT/features.
    fasta : With --features MODEL: reference of the genotypes' build, .gz (bgzip) or not.
    inputs : What learners see; by default both with --features.
    feature_transform : Of sequence features, learned in the training fold.
    feature_components : Use K principal components of the sequence features, learned in the training fold.
    groups : Accuracy by group (ancestry, batch), and of models that one group trained in the others: two columns,
        sample and group.
    models : Fit models on everybody as well, into OUT/models, for `genopred predict`.
    linear : Keep only models that are one weight per variant.
    sumstats : Marginal effects of another eQTL study (tensorQTL, GTEx, eQTL Catalogue, eQTLGen, genopred eqtl), text or
        parquet, * for several files: its learners join the stack. Nobody may be in both studies.
    ld : LD of that study: genotypes of a panel of its ancestry (prefix of .bed or .pgen, VCF, BGEN), or a folder that
        `genopred moments` wrote.
    sumstats_n : People of that study, where no column says.
    sumstats_learners : Who learns from it.
    sumstats_flipped : Variants whose effect fits those around it only with the other sign, alleles swapped by all
        appearance.
    sumstats_ambiguous : Its A/T and C/G variants where frequencies do not tell the strand: believe their alleles, or
        leave them out.
    """

    symbols: Annotated[Path | None, Option(metavar="FILE", panel=EXPRESSION, matters=False)] = None
    meta: Annotated[
        Literal["xgboost", "nnls", "linear", "ridge", "mean", "nnls-per-gene", "xgboost-per-gene"],
        Option(matters=False),
    ] = "xgboost"
    stratify: Annotated[Path | None, Option(metavar="FILE")] = None
    stack_weights: Annotated[str, Option(metavar="WHICH", matters=False)] = "shipped"
    features: Annotated[str | None, Option(metavar="DIR|MODEL")] = None
    fasta: Annotated[Path | None, Option(metavar="FILE")] = None
    inputs: Literal["genotype", "sequence", "both"] | None = None
    feature_transform: Literal["none", "zscore", "quantile", "log1p"] = "none"
    feature_components: Annotated[int | None, Option(metavar="K", low=1, high=MOST)] = None
    groups: Annotated[Path | None, Option(metavar="FILE", matters=False)] = None
    models: Annotated[bool, Option(off="--no-models", matters=False)] = True
    linear: Annotated[bool, Option(matters=False)] = False
    sumstats: Annotated[Path | None, Option(metavar="FILE", panel=STUDY)] = None
    ld: Annotated[Path | None, Option(metavar="GENOTYPES|DIR", panel=STUDY)] = None
    sumstats_n: Annotated[float | None, Option(metavar="N", low=3, high=1e9, panel=STUDY)] = None
    sumstats_learners: Annotated[tuple[StudyLearner, ...], Option(metavar="A,B,...", read=names, panel=STUDY)] = (
        "pt-prs", "lassosum", "susie-tss", "prs-cs",
    )  # fmt: skip
    sumstats_flipped: Annotated[Literal["drop", "flip", "keep"], Option(panel=STUDY)] = "drop"
    sumstats_ambiguous: Annotated[Literal["keep", "drop"], Option(panel=STUDY)] = "keep"

    def check(self) -> None:
        self.check_genes()
        if (self.seen != "genotype") != (self.features is not None):
            raise GenopredError(f"--inputs {self.seen} and --features go together; give both or neither.")

        if self.linear and not self.models:
            raise GenopredError("--linear says which models are kept, --no-models that none are; give one of them.")
        if (self.sumstats is None) != (self.ld is None):
            raise GenopredError(
                "--sumstats FILE and --ld GENOTYPES go together: effects of a study say nothing without LD; give both."
            )
        if self.sumstats is not None and self.seen == "sequence":
            raise GenopredError("--sumstats needs the genotypes: leave --inputs sequence out.")

    @property
    def seen(self) -> str:
        """What learners see: `inputs`, or what follows from the other options."""
        return self.inputs or ("genotype" if self.features is None else "both")
