"""The way in of features: genotypes, FASTA, genes, people and the model on each device, checked against each other."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import polars as pl

from genopred import align
from genopred.errors import AlignmentError, examples
from genopred.io.fasta import open_fasta
from genopred.io.lists import read_patterns, read_samples
from genopred.pipelines.inputs import open_genotypes
from genopred.pipelines.run import say
from genopred.pipelines.sequence_inputs import (
    check_ends,
    genome_build,
    load_models,
    named_genes,
    on_chromosomes_of,
    open_genes,
    with_strands,
)
from genopred.sequence.features import FeatureSettings, check_per_haplotype, gene_sequences
from genopred.sequence.haplotypes import PersonalSequences, averaged
from genopred.sequence.models.base import SequenceModel
from genopred.settings import Features
from genopred.types import Genotypes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureInputs:
    """What a run works on.

    Attributes
    ----------
    genotypes : Genotypes
        Of the people to use.
    fasta : object with `fetch(Interval) -> str`
    genes : polars.DataFrame
        gene_id, gene, chrom, tss, strand.
    models : list of SequenceModel
        The same on each device.
    settings : FeatureSettings
    allow_swapped : bool
    build : str
    counts : dict
        For the manifest.
    tally : align.Tally
        Of samples and genes.
    """

    genotypes: Genotypes
    fasta: Any
    genes: pl.DataFrame
    models: list[SequenceModel]
    settings: FeatureSettings
    allow_swapped: bool
    build: str
    counts: dict[str, int]
    tally: align.Tally

    def sequences(self, gene: dict[str, Any]) -> PersonalSequences:
        """Everybody's sequences of a gene; the limit on mismatches was held over all windows together."""
        options = self.settings.haplotypes | {"max_mismatch": 1.0, "allow_swapped": self.allow_swapped}
        place = (gene["chrom"], gene["tss"], gene["strand"])
        return gene_sequences(self.models[0], self.genotypes, self.fasta, *place, **options)


def open_inputs(settings: Features) -> FeatureInputs:
    """Open all files and the model on each device; which genes and people, checked against each other.

    Raises
    ------
    GenopredError
        On bad input of any kind.
    """
    genotypes = open_genotypes(settings, split=True)
    counts, tally = {"samples_in_genotypes": genotypes.n_samples}, align.Tally()
    tally.come("samples", f"in genotypes {genotypes.source}", genotypes.n_samples)
    genes, people, notes = open_genes(settings)
    tally.opened("genes", f"{settings.expression or settings.gtf}", genes.height, notes)
    genotypes = _people(settings, genotypes, people, counts, tally)
    fasta = open_fasta(settings.fasta)
    named = named_genes(settings, genes)
    tally.drop("genes", "not asked for", genes.height - named.height)
    genes = on_chromosomes_of(named, genotypes.variants, genotypes.source)
    counts["genes_on_chromosomes_without_genotypes"] = named.height - genes.height
    tally.drop("genes", "chromosome not in genotypes", named.height - genes.height)
    build = genome_build(check_ends(settings, fasta, genes, "TSS"))
    models = load_models(settings, several=True)
    genes = with_strands(settings, models[0], genes)
    chosen = FeatureSettings.of(models[0], **settings.shared(FeatureSettings) | {"tracks": _patterns(settings)})
    check_per_haplotype(chosen, averaged=averaged(genotypes.haplotypes(), chosen.indels, chosen.unphased))
    if not genotypes.phased:
        log.warning(
            "%s carries no phase: --unphased %s. What this costs in accuracy is in docs/features.md.",
            genotypes.source,
            settings.unphased,
        )
    counts |= {"samples": genotypes.n_samples, "genes": genes.height}
    say(tally.report())
    return FeatureInputs(genotypes, fasta, genes, models, chosen, settings.allow_swapped, build, counts, tally)


def _people(
    settings: Features, genotypes: Genotypes, expressed: set[str] | None, counts: dict[str, int], tally: align.Tally
) -> Genotypes:
    names = genotypes.samples.tolist()

    def leave_out(key: str, reason: str, gone: list[str]) -> None:
        nonlocal names
        counts[key] = len(gone)
        tally.drop("samples", reason, gone)
        without = set(gone)
        names = [name for name in names if name not in without]

    if expressed is not None and not settings.all_samples:
        leave_out("samples_without_expression", "no expression", [name for name in names if name not in expressed])
        if not names:
            people = genotypes.samples.tolist()
            raise AlignmentError(
                f"None of the {len(people):,} people of {genotypes.source} ({examples(people)}) has expression in "
                f"{settings.expression} ({examples(sorted(expressed))}); check the ids, or use --all-samples."
            )
    if settings.keep is not None:
        kept = set(read_samples(settings.keep).tolist())
        leave_out("samples_left_out_by_keep", "not in --keep", [name for name in names if name not in kept])
    if settings.remove is not None:
        removed = set(read_samples(settings.remove).tolist())
        leave_out("samples_left_out_by_remove", "in --remove", [name for name in names if name in removed])
    if not names:
        raise AlignmentError("No people are left after --keep and --remove; check the ids in those files.")
    return genotypes.select(samples=names)


def _patterns(settings: Features) -> list[str] | None:
    patterns = list(settings.tracks)
    if settings.tracks_file is not None:
        patterns += read_patterns(settings.tracks_file)
    return patterns or None
