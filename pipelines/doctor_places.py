"""The same places in all files: genome builds, chromosomes, alleles, and frequencies."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.builds import other_build
from genopred.errors import GenopredError, examples
from genopred.io.fasta import Fasta
from genopred.pipelines.doctor_effects import found_by_id
from genopred.pipelines.doctor_files import Files, Opened
from genopred.pipelines.doctor_findings import Finding, amber, green, red, refused
from genopred.sequence.genes import FAR
from genopred.settings import Doctor
from genopred.types import Expression, Genotypes, Interval, builds_with, plain_chrom

#: SNPs that are held against a FASTA, and that frequencies are compared at.
MOST_SNPS, MOST_FREQUENCIES = 4000, 2000

#: Share of REF alleles that may differ, as of `--max-ref-mismatch`; and of variants that must match, of `--min-match`.
MISMATCH, MATCH = 0.01, 0.75

_COMPLEMENT = str.maketrans("ACGT", "TGCA")


def variants(one: Opened) -> pl.DataFrame | None:
    """chrom, pos, ref, alt (and others) of whatever holds variants; None of what holds none, or no places."""
    if isinstance(one.content, Genotypes):
        return one.content.variants
    table = one.content.weights if one.kind == "models" else one.content if one.kind in ("sumstats", "score") else None
    return None if table is None or not table["pos"].count() else table


def builds(files: Files) -> Iterator[Finding]:
    """The genome build of each file, by itself and by the others; they have to agree."""
    known = {id(one): (one.build, one.why) for one in files.opened if one.build and one.kind != "chain"}
    for one in files.of("expression", "gtf", "sumstats", "score", "models"):
        table = one.content.genes.select("chrom", pos="tss") if one.kind == "expression" else variants(one)
        if one.kind == "gtf":
            table = one.content.select("chrom", pos="end")
        if table is None or id(one) in known:
            continue
        room = builds_with(table.drop_nulls(["chrom", "pos"]))
        if len(room) == 1:
            known[id(one)] = (min(room), "positions beyond the other build's ends")
    told = [(one, *known[id(one)]) for one in files.opened if id(one) in known]
    pairs = list(_by_others(files))
    for a, b, here, there in pairs:
        for one, build, other in ((a, here, b), (b, there, a)):
            if id(one) not in known:
                told.append((one, build, f"positions against {other.name}"))
                known[id(one)] = (build, "")
    different = {build for _, build, _ in told}
    if len(different) > 1:
        said = "; ".join(f"{one.name} is {build} (by {why})" for one, build, why in told)
        chain = files.first("chain")
        with_it = f"--chain {chain.name if chain else 'FILE'} of predict for models"
        remedy = f"Lift one over ({with_it}, bcftools +liftover, CrossMap), or take files of one build."
        about = " + ".join(one.name for one, _, _ in told)
        if _by_id(files, {id(one): build for one, build, _ in told}):
            said += "; their variants are told by id, which goes well here"
            yield amber(about, f"different genome builds: {said}.", remedy, "build")
        else:
            yield red(about, f"different genome builds: {said}.", remedy, "build")
    elif told:
        said = "; ".join(f"{one.name} by {why}" for one, _, why in told)
        yield green(told[0][1], f"genome build of {said}.", "build")
    else:
        if positional := [*files.genotypes, *files.of("expression")]:
            said = "its build cannot be told from positions: they fit GRCh37 and GRCh38."
            yield green(positional[0].name, said, "build")
    yield from _chains(files)


def _by_id(files: Files, builds: dict[int, str]) -> bool:
    """Whether all that is of another build than the genotypes is models whose variants are found by id."""
    typed = files.first("genotypes")
    of = builds.get(id(typed))
    odd = [one for one in files.opened if builds.get(id(one), of) != of]
    return typed is not None and of is not None and all(one.kind == "models" and found_by_id(one, typed) for one in odd)


def _by_others(files: Files) -> Iterator[tuple[Opened, Opened, str, str]]:
    """Pairs of files whose places are the other's once they are moved to its build."""
    tables = [(one, table) for one in files.opened if (table := variants(one)) is not None]
    for (a, left), (b, right) in combinations(tables, 2):
        found = other_build(left, right)
        if found is not None:
            yield a, b, *found


def _chains(files: Files) -> Iterator[Finding]:
    for one in files.of("chain"):
        way = f"from {one.build or 'a build not known'} {one.why or 'to one not known'}"
        yield green(one.name, f"{one.content['chrom'].n_unique()} chromosomes, {way}.", "chain")


def genes(files: Files, settings: Doctor) -> Iterator[Finding]:
    """Genes have genotypes around them, start where the annotation says, and are of the genotypes' build."""
    for one in files.of("expression"):
        held: Expression = one.content
        for typed in files.genotypes:
            about = f"{typed.name} + {one.name}"
            try:
                align.check_builds(typed.content, held.genes, one.name)
            except GenopredError as bad:
                yield _named(refused(bad, about, "build"), typed, one)
                continue
            yield from _near(about, typed.content, held.genes, settings)
        for gtf in files.of("gtf"):
            yield from _annotated(one, gtf)


def _near(about: str, typed: Genotypes, genes: pl.DataFrame, settings: Doctor) -> Iterator[Finding]:
    here = {plain_chrom(name): name for name in genes["chrom"].unique().to_list()}
    there = {plain_chrom(name): name for name in typed.variants["chrom"].unique().to_list()}
    if not set(here) & set(there):
        said = (
            f"no chromosome in common: genes on {examples(sorted(here.values()))}, genotypes on "
            f"{examples(sorted(there.values()))}."
        )
        yield red(about, said, "Give files of the same chromosomes.", "chromosomes")
        return
    count = align.count_cis(typed, genes, settings.window)
    empty = count == 0
    differ = [f"{here[name]} = {there[name]}" for name in sorted(set(here) & set(there)) if here[name] != there[name]]
    also = f"; names matched ({examples(differ)})" if differ else ""
    if empty.all():
        said = f"none of {genes.height:,} genes has a variant within {settings.window:,} bases of its TSS."
        yield red(about, said, "Check that both are of the same build and region.", "genes")
    elif empty.mean() > 0.5:
        said = f"{empty.sum():,} of {genes.height:,} genes have no variant within {settings.window:,} bases{also}."
        yield amber(about, said, "Nothing if genotypes are of a part of the genome; else check the build.", "genes")
    else:
        said = (
            f"{(~empty).sum():,} of {genes.height:,} genes have variants near, "
            f"{int(np.median(count[~empty])):,} in the median{also}."
        )
        yield green(about, said, "genes")


def _annotated(one: Opened, gtf: Opened) -> Iterator[Finding]:
    about = f"{one.name} + {gtf.name}"
    both = one.content.genes.join(gtf.content.select("gene", other="tss"), on="gene", how="inner").unique("gene")
    if not both.height:
        yield amber(about, "no gene in common.", "Give the annotation whose ids the expression has.", "genes")
        return
    away = (both["tss"] - both["other"]).abs()
    far, median = int((away > FAR).sum()), float(away.median() or 0)  # type: ignore[arg-type]
    said = f"the TSS of {far:,} of {both.height:,} genes is more than {FAR:,} bases away in the other"
    if 2 * far > both.height:
        build = f" ({gtf.name} is {gtf.build})" if gtf.build else ""
        said = f"different genome builds{build}: {said}."
        yield red(about, said, "Give the annotation of the build of expression and genotypes.", "build")
    else:
        yield green(about, f"{said} (median {median:,.0f}).", "genes")


def _named(finding: Finding, *of: Opened) -> Finding:
    said = finding.said
    for one in of:
        for path in (str(one.path), getattr(one.content, "source", one.name)):
            said = said.replace(str(path), one.name)
    return Finding(finding.level, finding.about, said, finding.remedy, finding.check)


# --- reference -------------------------------------------------------------------------------------------------------


def references(files: Files) -> Iterator[Finding]:
    """Alleles of variants against the reference sequence, and its chromosomes."""
    for fasta in files.of("fasta"):
        tables = [
            (one, table) for one in files.opened if (table := variants(one)) is not None and one.kind != "sumstats"
        ]
        for one, table in tables:
            yield from _against(one, table, fasta)
        for one in files.of("expression"):
            absent = sorted(set(one.content.genes["chrom"].to_list()), key=str)
            held = {plain_chrom(name) for name in fasta.content.chroms}
            absent = [name for name in absent if plain_chrom(name) not in held]
            if absent and not tables:
                yield _without(f"{one.name} + {fasta.name}", absent, fasta)


def _without(about: str, absent: list[str], fasta: Opened) -> Finding:
    said = f"the reference lacks {examples(absent)} (it has {examples(fasta.content.chroms)})."
    return red(about, said, "Give the reference of these chromosomes and their build.", "reference")


def _against(one: Opened, table: pl.DataFrame, fasta: Opened) -> Iterator[Finding]:
    about = f"{one.name} + {fasta.name}"
    reference: Fasta = fasta.content
    held = {plain_chrom(name) for name in reference.chroms}
    chroms = table["chrom"].drop_nulls().unique(maintain_order=True).to_list()
    absent = [name for name in chroms if plain_chrom(name) not in held]
    if len(absent) == len(chroms):
        yield _without(about, absent, fasta)
        return
    bases_only = pl.all_horizontal(pl.col("ref", "alt").str.contains("^[ACGTacgt]$"))
    snps = table.select("chrom", "pos", "ref", "alt").drop_nulls().unique(maintain_order=True)
    snps = snps.filter(bases_only, ~pl.col("chrom").is_in(absent), pl.col("pos") > 1)
    if not snps.height:
        return
    picked = snps[np.unique(np.linspace(0, snps.height - 1, min(MOST_SNPS, snps.height)).astype(int)).tolist()]
    try:
        places = picked["chrom", "pos"].iter_rows()
        bases = np.array([list(reference.fetch(Interval(chrom, pos - 2, pos + 1))) for chrom, pos in places])
    except GenopredError as bad:
        yield refused(bad, fasta.name, "reference")
        return
    yield _agreement(about, one, fasta, picked, bases)
    if absent:
        said = f"the reference lacks {examples(absent)} of {len(chroms)} chromosomes."
        yield amber(about, said, "Give the whole genome, or leave these chromosomes out.", "reference")


def _agreement(about: str, one: Opened, fasta: Opened, picked: pl.DataFrame, bases: NDArray[np.str_]) -> Finding:
    """How REF and ALT agree with the bases before, at and after each position."""
    ref = np.array(picked["ref"].str.to_uppercase().to_list())
    alt = np.array(picked["alt"].str.to_uppercase().to_list())
    known = bases[:, 1] != "N"
    n = int(known.sum())
    if n < 20:
        said = f"only {n} of {len(ref):,} SNPs are at known bases (N elsewhere), too few to compare alleles."
        return green(about, said, "reference")

    def share(wanted: NDArray[np.str_], at: int = 1) -> float:
        return float((wanted[known] == bases[known, at]).mean())

    flip = np.array([base.translate(_COMPLEMENT) for base in ref.tolist()])
    fits, swapped = share(ref), share(alt)
    shifted = {by: share(ref, 1 + by) for by in (-1, 1)}
    if fits >= 1 - MISMATCH:
        return green(about, f"REF is the reference's base at {fits:.2%} of {n:,} SNPs.", "reference")
    found = f"REF is the reference's base at only {fits:.0%} of {n:,} SNPs; needed {1 - MISMATCH:.0%}."
    by, best = max(shifted.items(), key=lambda item: item[1])
    if best > 0.9 and best > fits + swapped:
        to = "0 instead of 1" if by > 0 else "2 instead of 1"
        said = (
            f"{found[:-1]}; at the base {'after' if by > 0 else 'before'} it is {best:.0%}: positions count from {to}."
        )
        return red(about, said, f"{'Add 1 to' if by > 0 else 'Take 1 from'} every position.", "reference")
    if fits + swapped >= 1 - MISMATCH:
        said = f"{found[:-1]}; at the others ALT is: REF and ALT are swapped, as plink 1.9 writes them."
        return amber(about, said, "Give --allow-swapped to features and effects, or plink2 --ref-from-fa.", "reference")
    if fits + share(flip) >= 0.97 and share(flip) > 0.05:
        said = f"{found[:-1]}; the others fit on the other strand."
        return red(about, said, "Flip them to the forward strand: plink --flip, or bcftools +fixref.", "reference")
    build = f" ({fasta.name} is {fasta.build})" if fasta.build else ""
    said = f"{found[:-1]}, with ALT {fits + swapped:.0%}: another genome build{build}, or other alleles."
    return red(about, said, "Give the reference of the build of these positions, or lift them over.", "reference")
