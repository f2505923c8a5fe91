"""The way in of features: genotypes, FASTA, genes, people and the model on each device, checked against each other."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import polars as pl

from genopred import align
from genopred.errors import AlignmentError, examples
from genopred.io.fasta import open_fasta
from genopred.io.lists import read_patterns, read_samples
from genopred.pipelines.inputs import open_genotypes
from genopred.pipelines.run import say
from genopred.pipelines.sequence_inputs import load_models, named_genes, open_genes, with_strands
from genopred.sequence.features import FeatureSettings, check_per_haplotype, gene_sequences
from genopred.sequence.genes import check_ends, genome_build, on_chromosomes_of
from genopred.sequence.haplotypes import PersonalSequences, averaged
from genopred.sequence.models.base import SequenceModel
from genopred.settings import Features
from genopred.types import Genotypes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureInputs:
    """What a run works on.

    `genotypes` are of the people to use, `genes` has gene_id, gene, chrom, tss and strand, the `models` are the same on
    each device, the `counts` are for the manifest, and the `tally` is of samples and genes.
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
    """Open all files and the model on each device; which genes and people, checked against each other."""
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
    build = genome_build(check_ends(fasta, settings.fasta, genes, "TSS"))
    models = load_models(settings, several=True)
    genes = with_strands(settings, models[0], genes)
    chosen = FeatureSettings.of(models[0], **settings.shared(FeatureSettings) | {"tracks": _patterns(settings)})
    check_per_haplotype(chosen, averaged=averaged(genotypes.haplotypes(), chosen.indels, chosen.unphased))
    if not genotypes.phased:
        log.warning(
            "%s carries no phase: --unphased %s. What this costs in accuracy is in docs/features.md.",
            *(genotypes.source, settings.unphased),
        )
    counts |= {"samples": genotypes.n_samples, "genes": genes.height}
    say(tally.report())
    return FeatureInputs(genotypes, fasta, genes, models, chosen, settings.allow_swapped, build, counts, tally)


def _people(
    settings: Features, genotypes: Genotypes, expressed: set[str] | None, counts: dict[str, int], tally: align.Tally
) -> Genotypes:
    names = genotypes.samples.tolist()

    def leave_out(key: str, reason: str, listed: Collection[str], *, others: bool = True) -> None:
        """Those who are not listed, or those who are."""
        nonlocal names
        gone = [name for name in names if (name not in listed) == others]
        counts[f"samples_{key}"] = len(gone)
        tally.drop("samples", reason, gone)
        names = [name for name in names if (name in listed) == others]

    if expressed is not None and not settings.all_samples:
        leave_out("without_expression", "no expression", expressed)
        if not names:
            people = genotypes.samples.tolist()
            raise AlignmentError(
                f"None of the {len(people):,} people of {genotypes.source} ({examples(people)}) has expression in "
                f"{settings.expression} ({examples(sorted(expressed))}); check the ids, or use --all-samples."
            )
    if settings.keep is not None:
        leave_out("left_out_by_keep", "not in --keep", set(read_samples(settings.keep).tolist()))
    if settings.remove is not None:
        leave_out("left_out_by_remove", "in --remove", set(read_samples(settings.remove).tolist()), others=False)
    if not names:
        raise AlignmentError("No people are left after --keep and --remove; check the ids in those files.")
    return genotypes.select(samples=names)


def _patterns(settings: Features) -> list[str] | None:
    of_file = [] if settings.tracks_file is None else read_patterns(settings.tracks_file)
    return [*settings.tracks, *of_file] or None
