"""The way in of attribute: which windows, of which people, by which model, and what contributions are held against."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import polars as pl

from genopred import align
from genopred.attribution.attention import check_attention
from genopred.attribution.motifs import FEW
from genopred.attribution.target import GroupValues, package
from genopred.errors import AlignmentError, GenopredError, did_you_mean, examples
from genopred.io.annotation import read_exons, read_gtf
from genopred.io.elements import Elements
from genopred.io.fasta import Fasta, open_fasta
from genopred.io.motifs import read_motifs
from genopred.io.snptable import SnpTable, TableSpec, read_snps
from genopred.pipelines.inputs import open_genotypes
from genopred.pipelines.sequence_inputs import (
    effect_settings,
    load_models,
    named_genes,
    open_genes,
    said,
    with_strands,
)
from genopred.report.locus import GeneTrack
from genopred.sequence.effects import EffectSettings
from genopred.sequence.genes import check_ends, genome_build
from genopred.sequence.models.base import SequenceModel
from genopred.settings import Attribute
from genopred.settings.attribute import COMPLETE, REFERENCE
from genopred.settings.effects import Region
from genopred.types import Genotypes, Interval, Motif

log = logging.getLogger(__name__)

#: The packages that each method and question needs.
_PACKAGES = {"gradient-input": "captum.attr", "integrated-gradients": "captum.attr", "deeplift": "tangermeme.seqlet"}


@dataclass(frozen=True)
class Place:
    """A window of the model, and the stretch of it that is looked at."""

    #: The gene's id, or the region.
    name: str
    #: 1-based, what stands where the model has the TSS; and the direction of the gene.
    tss: int
    strand: str
    #: Whether it is a gene's.
    gene: bool
    window: Interval
    stretch: Interval
    #: What in-silico mutagenesis changes.
    changed: Interval

    @property
    def chrom(self) -> str:
        """Its chromosome, as the FASTA or the annotation calls it."""
        return self.window.chrom


@dataclass(frozen=True)
class AttributeInputs:
    """What a run works on. `values` are what is attributed, None where all methods do without."""

    settings: Attribute
    model: SequenceModel
    chosen: EffectSettings
    values: GroupValues | None
    fasta: Fasta
    build: str
    places: list[Place]
    genotypes: Genotypes | None
    motifs: list[Motif]
    elements: list[Elements]
    eqtl: SnpTable | None
    annotation: GeneTrack | None
    tally: align.Tally


def open_inputs(settings: Attribute) -> AttributeInputs:
    """Open all files and the model, and lay the windows; what is quick comes first."""
    tally = align.Tally()
    _check_packages(settings)
    motifs = _open_motifs(settings, tally)
    genes = None
    if settings.names_genes:
        every, _, notes = open_genes(settings)
        tally.opened("genes", f"{settings.expression or settings.gtf}", every.height, notes)
        genes = named_genes(settings, every)
        tally.drop("genes", "not asked for", every.height - genes.height)
    fasta = open_fasta(settings.fasta)
    if genes is not None:
        lengths = check_ends(fasta, settings.fasta, genes, "TSS")
    else:
        lengths = [_checked_end(settings, fasta, region) for region in settings.region]
    elements = [Elements(path) for path in settings.signal]
    eqtl = None if settings.eqtl is None else _open_eqtl(settings, tally)
    annotation = None
    if settings.gtf is not None:
        annotation = GeneTrack(read_gtf(settings.gtf), _exons(settings))
    genotypes = None if settings.genotypes is None else _open_people(settings)
    model = load_models(settings)[0]
    chosen = effect_settings(settings, model)
    if "attention" in settings.method:
        check_attention(model)
    differentiated = bool(set(settings.method) & set(COMPLETE)) or bool(settings.person)
    values = GroupValues(model, chosen) if differentiated else None
    if genes is not None:
        places = [_of_gene(settings, model, fasta, row) for row in with_strands(settings, model, genes).to_dicts()]
    else:
        places = [_of_region(model, fasta, region) for region in dict.fromkeys(settings.region)]
    if settings.controls and 1 / (1 + settings.controls) > settings.alpha:
        log.warning(
            "--controls %d: no seqlet can have p up to --alpha %g; give %d or more",
            *(settings.controls, settings.alpha, round(1 / settings.alpha) - 1),
        )
    tally.come("windows", "asked for", len(places))
    tally.use("windows", "attributed", len(places))
    common: dict[str, Any] = {"fasta": fasta, "build": genome_build(lengths), "genotypes": genotypes, "tally": tally}
    return AttributeInputs(
        settings, model, chosen, values, places=places, motifs=motifs, elements=elements, eqtl=eqtl,
        annotation=annotation, **common,
    )  # fmt: skip


def _check_packages(settings: Attribute) -> None:
    """Refuse at once what could not be computed at the end."""
    found = {_PACKAGES[method] for method in settings.method if method in _PACKAGES}
    complete = set(settings.method) & set(COMPLETE)
    if complete:
        found.add("tangermeme.seqlet")
    if settings.person:
        found.add("captum.attr")
    if settings.motifs is not None:
        found.add("memelite.tomtom")
    for name in sorted(found):
        package(name)


def _open_motifs(settings: Attribute, tally: align.Tally) -> list[Motif]:
    if settings.motifs is None:
        return []
    motifs = read_motifs(settings.motifs)
    tally.come("motifs", f"in {settings.motifs}", len(motifs))
    if len(motifs) < FEW:
        log.warning(
            "%s has %d motifs: with fewer than %d the p-values of Tomtom depend on which they are; give a whole "
            "collection, such as JASPAR's",
            *(settings.motifs, len(motifs), FEW),
        )
        tally.note("motifs", f"fewer than {FEW}: Tomtom's p-values depend on which they are", len(motifs))
    return motifs


def _open_eqtl(settings: Attribute, tally: align.Tally) -> SnpTable:
    assert settings.eqtl is not None  # noqa: S101 - asked before
    table = read_snps(TableSpec(settings.eqtl, "eQTL"))
    if not {"chrom", "pos"} <= table.has:
        raise GenopredError(
            f"--eqtl {settings.eqtl}: no SNP has a chromosome and a position (columns chrom and pos, or ids such as "
            "22_16051249); needed to know which base it is."
        )
    tally.opened("eQTL", str(settings.eqtl), table.data.height, table.notes)
    return table


def _exons(settings: Attribute) -> pl.DataFrame | None:
    try:
        return read_exons(settings.gtf)  # type: ignore[arg-type]
    except GenopredError:  # genes alone are drawn as lines
        return None


def _open_people(settings: Attribute) -> Genotypes:
    """Genotypes, in which everybody named is."""
    genotypes = open_genotypes(settings, split=True)
    known = genotypes.samples.tolist()
    named = [*settings.person, *([settings.against] if settings.against != REFERENCE else [])]
    for who in named:
        if who not in known:
            flag = "--against" if who == settings.against and who not in settings.person else "--person"
            raise AlignmentError(
                f"{flag} {who}: nobody of {genotypes.source} is called so ({len(known):,} people: {examples(known)})."
                f"{did_you_mean(who, known)}"
            )
    if named and not genotypes.phased:
        raise AlignmentError(
            f"{genotypes.source} carries no phase, and --person needs two sequences a person: give phased genotypes "
            "(VCF or BCF with 0|1, or .pgen with phase)."
        )
    return genotypes


def _checked_end(settings: Attribute, fasta: Fasta, region: Region) -> int:
    length = fasta.length(region.chrom)
    if region.end > length:
        raise AlignmentError(
            f"--region {said(region)}: {settings.fasta} has {length:,} bases of {region.chrom}; give a stretch inside, "
            "of the FASTA's genome build."
        )
    return length


def _of_gene(settings: Attribute, model: SequenceModel, fasta: Fasta, gene: dict[str, Any]) -> Place:
    tss, length = gene["tss"], fasta.length(gene["chrom"])
    window = model.gene_window(gene["chrom"], tss, gene["strand"])
    low, high = max(window.start, 0), min(window.end, length)
    if settings.flank is not None:
        low, high = max(low, tss - 1 - settings.flank), min(high, tss + settings.flank)
    half = settings.ism_width // 2
    first = max(low, tss - 1 - half)
    changed = Interval(gene["chrom"], first, min(high, first + settings.ism_width))
    stretch = Interval(gene["chrom"], low, high)
    return _known(Place(gene["gene_id"], tss, gene["strand"] or "+", True, window, stretch, changed), fasta)


def _of_region(model: SequenceModel, fasta: Fasta, region: Region) -> Place:
    middle = (region.start + region.end) // 2 + 1
    window, stretch = model.gene_window(region.chrom, middle, "+"), Interval(*region)
    if region.start < window.start or region.end > window.end:
        raise GenopredError(
            f"--region {said(region)}: it has {stretch.length:,} bases, and {model.name} sees {window.start + 1:,}-"
            f"{window.end:,} ({model.window:,}) around its middle; give a shorter one, or several."
        )
    return _known(Place(said(region).replace(",", ""), middle, "+", False, window, stretch, stretch), fasta)


def _known(place: Place, fasta: Fasta) -> Place:
    if not set(fasta.fetch(place.stretch).upper()) & set("ACGT"):
        raise AlignmentError(f"{place.name}: {fasta.path} has nothing but N there; choose another place.")
    return place
