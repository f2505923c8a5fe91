"""Settings of `genopred features`."""

from pathlib import Path
from typing import Annotated, Literal

from genopred.errors import GenopredError
from genopred.settings.declare import MOST, Option
from genopred.settings.parts import FILTERS, GENES, MODEL, RUN, Genes, Genotypes, People, Seeded, SequenceModel

SEQUENCES = "Sequences"
FEATURES = "Features"


class Features(SequenceModel, Genotypes, Genes, People, Seeded, panel=FEATURES, out=Path("features")):
    """Predict, with a sequence model, from each person's own two sequences of every gene.

    Writes one parquet file a gene (people x tracks), reference.parquet, genes.tsv, matched.tsv and manifest.json into
    the folder OUT, and timing.tsv. A gene whose file is there and fits is not computed again.

    Attributes
    ----------
    expression : Expression BED: which genes, their TSSs, and which people.
    gtf : Genes and TSSs, where there is no expression; beside it, the strands that it lacks.
    all_samples : Also people without expression.
    indels : skip them, or apply them with the TSS kept in place (slow).
    unphased : Genotypes without phase: soft (mean of both alleles), random or error.
    mode : exact, linear (first order around the reference) or reference (one value a gene).
    self_check : Run two haplotypes a gene the naive way and compare.
    tracks : A regular expression on track names, a group (all, CAGE, DNase, ATAC, DNase/ATAC, histone, TF, founding) or
        an index; repeatable.
    bins : Bins around the TSS, or all.
    aggregate : Over those bins.
    log1p : log(1 + x) of each feature.
    per_haplotype : Keep a person's haplotypes apart instead of their mean.
    dry_run : Count the work and estimate time and memory; compute nothing.
    """

    expression: Annotated[Path | None, Option(metavar="FILE", panel=GENES)] = None
    gtf: Annotated[Path | None, Option(metavar="FILE", panel=GENES)] = None
    all_samples: Annotated[bool, Option(panel=FILTERS)] = False
    indels: Annotated[Literal["skip", "apply"], Option(panel=SEQUENCES)] = "skip"
    unphased: Annotated[Literal["soft", "random", "error"], Option(panel=SEQUENCES)] = "soft"
    mode: Annotated[Literal["exact", "linear", "reference"], Option(panel=MODEL)] = "exact"
    self_check: Annotated[bool, Option(panel=MODEL)] = False
    tracks: Annotated[tuple[str, ...], Option(metavar="PATTERN", each=True)] = ()
    bins: Annotated[int | Literal["all"], Option(metavar="N", low=1, high=MOST)] = 3
    aggregate: Literal["mean", "sum", "none"] = "mean"
    log1p: bool = False
    per_haplotype: bool = False
    dry_run: Annotated[bool, Option(panel=RUN, matters=False)] = False

    def check(self) -> None:
        self.check_genes()
        if self.self_check and self.mode != "exact":
            raise GenopredError(
                f"--self-check holds the exact mode against plain passes; leave it out with --mode {self.mode}"
                f"{', which reports how well it agrees with exact on its own' if self.mode == 'linear' else ''}."
            )
