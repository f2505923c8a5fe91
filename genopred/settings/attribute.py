"""Settings of `genopred attribute`."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from genopred.errors import GenopredError, repeated
from genopred.settings.declare import MOST, MOST_BASES, Option, base_pairs
from genopred.settings.effects import Region, parse_region
from genopred.settings.parts import (
    GENES,
    GENOTYPES,
    TRACKS,
    Drawn,
    Genes,
    Genotypes,
    Seeded,
    SequenceModel,
    TrackGroups,
)

ATTRIBUTION = "Attribution"
PEOPLE = "People"
AGAINST = "What contributions are held against"

#: What a person is compared with by default.
REFERENCE = "reference"


def parse_regions(texts: Any) -> tuple[Region, ...]:
    """Several stretches, as `parse_region` reads each."""
    several = isinstance(texts, (list, tuple)) and not hasattr(texts, "chrom")
    return tuple(map(parse_region, texts if several else [texts]))


class Attribute(TrackGroups, SequenceModel, Genotypes, Genes, Drawn, Seeded, panel=ATTRIBUTION, out=Path("attribute")):
    """Say which bases a sequence model goes by, at genes or regions, of the reference or of people.

    Writes, into the folder OUT, windows/NAME/*.parquet (contributions of every base, and more), and over all windows
    sums.tsv, seqlets.tsv, motifs.tsv, variants.tsv, differences.tsv, enrichment.tsv, overlap.tsv, matched.tsv, figures
    and the page attribute.html. A window whose files are there and fit is not computed again.

    Attributes
    ----------
    expression : Expression BED: which genes there are, and their TSSs.
    gtf : Genes, TSSs and exons; beside --expression and --region for exons to draw, and strands that are lacking.
    region : A stretch instead of genes, its middle where the model has the TSS, as chr22:29,190,000-29,190,200;
        repeatable.
    flank : Keep so many bases on each side of the TSS; the model's whole window by default.
    method : gradient-input, integrated-gradients, deeplift, ism (in-silico mutagenesis) or attention; repeatable.
    background : What a sequence is compared with: shuffled (its dinucleotides kept), uniform (a quarter of each base)
        or zero; gradient-input always takes uniform.
    backgrounds : How many shuffles.
    steps : Points of integrated gradients, between two sequences.
    ism_width : Bases around the TSS that ism changes; all of a --region.
    person : Attribute this person's two sequences too, and the difference from --against to variants; repeatable.
    against : Whom --person is compared with: another person, or reference.
    motifs : Known motifs in MEME's or JASPAR's format, which seqlets are compared with.
    controls : Shuffles of each window, attributed likewise, which say how strong seqlets are by chance; 0 for none.
    alpha : Seqlets and motifs up to this p and q are counted as found.
    signal : Open chromatin or other elements: a bigWig or a BED; repeatable.
    eqtl : eQTL results (of genopred eqtl, or any table of SNPs with p-values).
    top_fraction : Bases with the highest contributions, as a share, that --signal is looked at.
    top_snps : Top SNPs of each window that --eqtl is compared in.
    draws : Draws of the nulls of several windows together.
    """

    PANELS: ClassVar[Mapping[str, str]] = {GENOTYPES: PEOPLE, TRACKS: ATTRIBUTION}
    UNIT: ClassVar[str] = "windows"
    #: Everything is computed in full precision.
    HIDDEN: ClassVar[Collection[str]] = ("dtype",)
    NEEDS_GENOTYPES: ClassVar[bool] = False

    expression: Annotated[Path | None, Option(metavar="FILE", panel=GENES)] = None
    gtf: Annotated[Path | None, Option(metavar="FILE", panel=GENES)] = None
    region: Annotated[
        tuple[Region, ...], Option(metavar="CHROM:A-B", read=parse_regions, each=True, panel=GENES, matters=False)
    ] = ()
    flank: Annotated[int | None, Option(metavar="SIZE", low=1, high=MOST_BASES, read=base_pairs, panel=GENES)] = None
    method: Annotated[
        tuple[Literal["gradient-input", "integrated-gradients", "deeplift", "ism", "attention"], ...],
        Option(metavar="METHOD", each=True),
    ] = ("deeplift",)
    background: Literal["shuffled", "uniform", "zero"] = "shuffled"
    backgrounds: Annotated[int, Option(metavar="N", low=1, high=1000)] = 3
    steps: Annotated[int, Option(metavar="N", low=2, high=1000)] = 50
    ism_width: Annotated[int, Option(metavar="SIZE", low=1, high=100_000, read=base_pairs)] = 200
    person: Annotated[tuple[str, ...], Option(metavar="ID", each=True, panel=PEOPLE)] = ()
    against: Annotated[str, Option(metavar="ID", panel=PEOPLE)] = REFERENCE
    motifs: Annotated[Path | None, Option(metavar="FILE", panel=AGAINST)] = None
    controls: Annotated[int, Option(metavar="N", low=0, high=10_000, panel=AGAINST)] = 19
    alpha: Annotated[float, Option(above=0, high=1, panel=AGAINST)] = 0.05
    signal: Annotated[tuple[Path, ...], Option(metavar="FILE", each=True, panel=AGAINST)] = ()
    eqtl: Annotated[Path | None, Option(metavar="FILE", panel=AGAINST)] = None
    top_fraction: Annotated[float, Option(metavar="SHARE", above=0, below=1, panel=AGAINST)] = 0.01
    top_snps: Annotated[int, Option(metavar="K", low=1, high=MOST, panel=AGAINST)] = 10
    draws: Annotated[int, Option(metavar="N", low=100, high=10_000_000, panel=AGAINST)] = 2000

    def check(self) -> None:
        needed = "--gene ID (as often as you like), --genes FILE, --all, or --region CHROM:A-B"
        self.exactly_one("Windows", ("gene", "genes", "all_genes", "region"), needed)
        if not self.method:
            raise GenopredError("--method: none given; give at least one.")
        for flag, several in (("--method", self.method), ("--person", self.person)):
            if twice := repeated(several):
                raise GenopredError(f"{flag} {twice[0]} is given twice; give each once.")
        if self.person and self.genotypes is None:
            raise GenopredError("--person needs genotypes with phase: give one of --vcf, --pfile and --bfile.")
        if self.against != REFERENCE and not self.person:
            raise GenopredError("--against needs --person ID, whose difference from it is attributed.")
        if self.against in self.person:
            raise GenopredError(f"--against {self.against}: is --person as well; give two people, or one.")
        if REFERENCE in self.person:
            raise GenopredError("--person reference: that is attributed anyway; give the id of a person.")
        if self.motifs is not None and not set(self.method) & set(COMPLETE):
            raise GenopredError(f"--motifs needs seqlets, and so one --method of {', '.join(COMPLETE)}.")
        if self.flank is not None and self.region:
            raise GenopredError("--flank is for genes; with --region the stretch is as long as it says.")


#: Methods that give every base of a window its contribution.
COMPLETE = ("gradient-input", "integrated-gradients", "deeplift")
