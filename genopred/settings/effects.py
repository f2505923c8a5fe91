"""Settings of `genopred effects`."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from genopred.errors import GenopredError
from genopred.settings.declare import MOST_BASES, Option, base_pairs
from genopred.settings.parts import (
    FILTERS,
    GENES,
    GENOTYPES,
    MODEL,
    TRACKS,
    Genes,
    Genotypes,
    Output,
    SequenceModel,
    TrackGroups,
    Variants,
)

SNPS = "SNPs (--snps or one of the genotype files)"
EFFECTS = "Effects"


class Region(NamedTuple):
    """A stretch of a chromosome, 0-based half-open."""

    chrom: str
    start: int
    end: int


def parse_region(text: Any) -> Region:
    """A stretch as people write it: 1-based, both ends inside.

    >>> parse_region("chr22:29,190,000-29,190,200")
    Region(chrom='chr22', start=29189999, end=29190200)
    """
    if hasattr(text, "chrom"):
        return Region(text.chrom, text.start, text.end)
    match = re.fullmatch(r"([^:\s]+):([0-9,_]+)-([0-9,_]+)", str(text).strip())
    if match:
        start, end = (int(re.sub("[,_]", "", number)) for number in match.groups()[1:])
        if 1 <= start <= end <= MOST_BASES:
            return Region(match[1], start - 1, end)
    raise GenopredError("not a region; needed one such as chr22:20000000-20100000 (1-based, both ends inside).")


class Effects(TrackGroups, SequenceModel, Genotypes, Variants, Genes, Output, panel=EFFECTS, out=Path("effects")):
    """Score SNPs with a sequence model: prediction with ALT minus prediction with REF.

    Writes <out>.parquet and <out>.tsv (chrom, pos, id, ref, alt, gene, track_group, effect, abs_effect, log_fc, ...),
    <out>.matched.tsv (what was left out, and why) and <out>.json; with --ism also the picture.

    Attributes
    ----------
    snps : A table with columns chrom, pos, id, ref, alt, or a VCF without samples, .gz or not.
    region : Only SNPs of this stretch, e.g. chr22:20,000,000-20,100,000.
    expression : Expression BED: genes and TSSs.
    gtf : Genes and TSSs, instead of --expression.
    upstream : SNPs up to so far before the TSS, in the gene's direction. By default the model's window, or 500kb with
        --center snp.
    downstream : SNPs up to so far after the gene's end (after the TSS where --expression is all that is known).
    center : What is in the middle of the sequence; tss by default with genes.
    share : With --center snp: neighbours share a window in which none is further than this from the middle.
    pseudocount : Added to both sides of the fold change.
    mode : exact, or linear (first order around the reference).
    ism : In-silico mutagenesis: every change of every base of this stretch, with a picture (SNPs of --snps or a
        genotype file are marked).
    gradients : With --ism: also the first-order effects.
    """

    PANELS: ClassVar[Mapping[str, str]] = {GENOTYPES: SNPS, FILTERS: SNPS, TRACKS: EFFECTS}
    FOLDER: ClassVar[bool] = False
    NEEDS_GENOTYPES: ClassVar[bool] = False

    snps: Annotated[Path | None, Option(metavar="FILE", panel=SNPS)] = None
    region: Annotated[Region | None, Option(metavar="CHROM:A-B", read=parse_region, panel=SNPS)] = None
    expression: Annotated[Path | None, Option(metavar="FILE", panel=GENES)] = None
    gtf: Annotated[Path | None, Option(metavar="FILE", panel=GENES)] = None
    upstream: Annotated[int | None, Option(metavar="SIZE", low=1, high=MOST_BASES, read=base_pairs, panel=GENES)] = None
    downstream: Annotated[int | None, Option(metavar="SIZE", low=1, high=MOST_BASES, read=base_pairs, panel=GENES)] = (
        None
    )
    center: Literal["tss", "snp"] | None = None
    share: Annotated[int, Option(metavar="BP", low=0, high=MOST_BASES)] = 0
    pseudocount: Annotated[float, Option(low=0, high=1e9)] = 1.0
    mode: Annotated[Literal["exact", "linear"], Option(panel=MODEL)] = "exact"
    ism: Annotated[Region | None, Option(metavar="CHROM:A-B", read=parse_region)] = None
    gradients: bool = False

    def check(self) -> None:
        if self.names_genes:
            self.check_genes()
        if self.gtf is not None and self.expression is not None:
            raise GenopredError("Genes: --gtf and --expression given; give one of them.")
        if self.ism is None or self.snps or self.genotypes:
            sources = ("snps", "vcf", "bfile", "pfile", "bgen")
            self.exactly_one("SNPs", sources, "one of --snps TABLE, --vcf, --bfile, --pfile and --bgen")
        if self.ism is not None:  # the stretch is all that counts
            return
        if self.gradients:
            raise GenopredError("--gradients belongs to --ism; for SNPs there is --mode linear.")
        if not self.names_genes:
            if self.center == "tss":
                raise GenopredError(
                    "--center tss needs genes: give --gene ID, --genes FILE or --all, or use --center snp."
                )
            for flag, size in (("--upstream", self.upstream), ("--downstream", self.downstream)):
                if size is not None:
                    raise GenopredError(f"{flag} needs genes to count from: give --gene ID, --genes FILE or --all.")
        if self.share and self.centre == "tss":
            raise GenopredError("--share is for --center snp; with --center tss all SNPs of a gene share its window.")

    @property
    def centre(self) -> str:
        """What is in the middle of the sequence."""
        return self.center or ("tss" if self.names_genes else "snp")

    @property
    def unit(self) -> str:
        """What is counted while it runs."""
        return "genes" if self.names_genes else "windows"
