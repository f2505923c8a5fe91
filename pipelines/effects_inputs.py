"""The way in of effects: SNPs and genes from their files, held against the FASTA, and what is left out."""

from __future__ import annotations

import numpy as np
import polars as pl

from genopred import align
from genopred.errors import AlignmentError, examples
from genopred.io.fasta import Fasta
from genopred.io.lists import read_ids
from genopred.io.text import PathLike
from genopred.io.variants import check_unique, extract_variants, named, read_variants
from genopred.pipelines.inputs import open_genotypes
from genopred.pipelines.run import say
from genopred.pipelines.sequence_inputs import inside, named_genes, open_genes, said
from genopred.sequence.effects import MATCH, OUTSIDE, STRAND, SWAPPED, check_reference_alleles
from genopred.sequence.genes import check_ends, is_on, on_chromosomes_of
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.snps import GeneSnps, Plan, around_genes, compare_reference, only, plan
from genopred.settings import Effects
from genopred.types import VARIANT_SCHEMA, plain_chrom

USED = (MATCH, SWAPPED, STRAND)


def open_snps(settings: Effects, tally: align.Tally) -> pl.DataFrame:
    """The SNPs on offer, after --extract, --exclude and --region."""
    if settings.snps is not None:
        source: PathLike = settings.snps
        table, notes = read_variants(settings.snps), ()
    else:
        genotypes = open_genotypes(settings, split=True)
        source, table = genotypes.source, named(genotypes.variants)
        notes = genotypes.notes
    tally.opened("variants", str(source), table.height, notes)

    def keep(kept: pl.DataFrame, reason: str) -> pl.DataFrame:
        tally.drop("variants", reason, table.height - kept.height)
        return kept

    if settings.extract is not None:
        wanted = read_ids(settings.extract).tolist()
        kept = extract_variants(table, wanted, source, settings.extract)
        absent = sorted(set(wanted) - set(kept["id"].to_list()))
        tally.note("variants", f"in {settings.extract} but not in {source}", absent)
        table = keep(kept, "not in --extract")
    if settings.exclude is not None:
        unwanted = read_ids(settings.exclude).tolist()
        table = keep(table.filter(~pl.col("id").is_in(unwanted)), "in --exclude")
    if settings.region is not None:
        kept = table.filter(inside(table, settings.region))
        if not kept.height:
            chroms = examples(table["chrom"].unique(maintain_order=True).to_list())
            raise AlignmentError(
                f"--region {said(settings.region)}: none of the {table.height:,} SNPs of {source} is there (they "
                f"are on {chroms}); check the build and the chromosome."
            )
        table = keep(kept, "outside --region")
    if not table.height:
        raise AlignmentError(f"{source}: no SNPs are left after --extract and --exclude; check the ids in those files.")
    table = check_unique(table.select(list(VARIANT_SCHEMA)), source)
    rank = {name: i for i, name in enumerate(table["chrom"].unique(maintain_order=True).to_list())}
    order = pl.col("chrom").replace_strict(rank, return_dtype=pl.Int64)
    return table.with_columns(order.alias("order")).sort("order", "pos", maintain_order=True).drop("order")


def chosen_genes(settings: Effects) -> pl.DataFrame | None:
    """The genes asked for, if any; columns as in `open_genes`."""
    return named_genes(settings, open_genes(settings)[0]) if settings.names_genes else None


def on_known_chromosomes(
    settings: Effects, snps: pl.DataFrame, genes: pl.DataFrame | None, fasta: Fasta, tally: align.Tally
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    """SNPs and genes whose chromosome is in the FASTA, and none beyond its end."""
    here = is_on({plain_chrom(name) for name in fasta.chroms})
    kept = snps.filter(here)
    if not kept.height:
        fasta.length(snps["chrom"][0])  # its own error
    tally.drop("variants", f"chromosome not in {settings.fasta}", snps.height - kept.height)
    check_ends(fasta, settings.fasta, kept, "SNP")
    if genes is None:
        return kept, None
    check_ends(fasta, settings.fasta, genes.filter(here), "TSS")
    tally.come("genes", str(settings.gtf or settings.expression), genes.height)
    near = on_chromosomes_of(genes, kept, "the SNPs")
    tally.drop("genes", "on a chromosome without SNPs", genes.height - near.height)
    return kept, near


def lay_out(
    settings: Effects,
    snps: pl.DataFrame,
    genes: pl.DataFrame | None,
    model: SequenceModel,
    fasta: Fasta,
    tally: align.Tally,
) -> tuple[pl.DataFrame, list[GeneSnps], Plan]:
    """The SNPs that can be scored, those of each gene, and the windows for them; all others are counted.

    Raises
    ------
    AlignmentError
        If too many REF are not the FASTA's, or nothing can be scored.
    """
    around = around_genes(snps, genes, model, settings.centre, settings.upstream, settings.downstream)
    touched = np.zeros(snps.height, dtype=bool)
    for _, rows in around:
        touched[rows] = True
    if genes is not None:
        tally.drop("variants", "in no gene's window", int((~touched).sum()))
    snps, around = only(snps, around, touched)
    snps, around = only(snps, around, _is_like_the_fasta(settings, snps, fasta, tally))
    laid = plan(model, snps, around, center=settings.centre, share=settings.share)
    used, pairs = int(laid.used.sum()), laid.inside + laid.outside
    tally.drop("variants", OUTSIDE, snps.height - used)
    tally.use("variants", "scored", used)
    if genes is not None:
        tally.drop("genes", "no SNP to score", laid.empty)
        tally.use("genes", "with SNPs", len(around) - len(laid.empty))
        tally.come("pairs", "SNPs in the genes' windows", pairs)
        tally.drop("pairs", OUTSIDE, laid.outside)
        tally.use("pairs", "scored", laid.inside)
    say(tally.report())
    if not laid.parts:
        raise AlignmentError(_nothing_to_score(model, settings.centre, tally, laid.nearest))
    return snps, around, laid


def _is_like_the_fasta(
    settings: Effects, snps: pl.DataFrame, fasta: Fasta, tally: align.Tally
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which SNPs can be used by their REF; the others are counted, and so are those put right."""
    status, shown = compare_reference(snps, fasta, allow_swapped=settings.allow_swapped)
    source = str(settings.snps or settings.genotypes[1])  # type: ignore[index]
    check_reference_alleles(status, shown, source, settings.max_ref_mismatch, settings.allow_swapped)
    ids, kinds = np.array(snps["id"].to_list(), dtype=object), np.array(status, dtype=object)
    for kind in dict.fromkeys(status):
        names = ids[kinds == kind].tolist()
        if kind not in USED:
            tally.drop("variants", kind, names)
        elif kind != MATCH:
            how = "the FASTA has ALT" if kind == SWAPPED else "on the FASTA's other strand"
            tally.note("variants", f"REF compared with the FASTA: {kind} ({how}), put right", names)
    return np.array([kind in USED for kind in status], dtype=bool)


def _nothing_to_score(model: SequenceModel, center: str, tally: align.Tally, nearest: int | None) -> str:
    dropped = [f"{n:,} {reason}" for reason, n, _ in tally.dropped("variants")]
    text = f"No SNP can be scored: {', '.join(dropped) or 'none given'}."
    if center == "tss":
        before, after = model.tss_offset, model.window - 1 - model.tss_offset
        text += f" {model.name} sees {before:,} bp before and {after:,} bp after a TSS"
        text += f"; the nearest SNP is {nearest:,} bp away." if nearest is not None else "."
        text += " Choose other genes or SNPs, or give each SNP its own window with --center snp."
    return text
