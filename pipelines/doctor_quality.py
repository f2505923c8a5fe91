"""Each file by itself: calls, alleles and phase of genotypes; values, samples and genes of an expression BED."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.errors import examples
from genopred.genetics import quality
from genopred.pipelines.doctor_files import Files, Opened
from genopred.pipelines.doctor_findings import Finding, amber, green, red, some
from genopred.types import Expression, Genotypes, plain_chrom

#: Variants that calls are looked at in, in runs of so many neighbours; and bytes of dosages held at a time.
MOST_VARIANTS, RUN, MOST_BYTES = 20_000, 20, 400_000_000

#: Notes of readers that are worth a look, and what to do.
_NOTES = (
    ("several ALT", "Split them: bcftools norm -m-any; features and effects split them themselves."),
    ("same position and alleles", "Keep one of each: plink2 --rm-dup or bcftools norm --rm-dup exact."),
    ("id that another variant", "Make ids unique: plink2 --set-all-var-ids @:#:\\$r:\\$a."),
    ("position 0", "Give them positions, or leave them out: plink2 --chr 1-22,X,Y."),
    ("beyond the chromosome's end", "Check the species and the build of the positions."),
    ("both alleles are the same", "Nothing, unless these variants matter."),
    ("negative position", "Nothing, unless these variants matter."),
)


@dataclass(frozen=True)
class Sample:
    """Some variants of a file, with everybody's dosages: `variants` are its rows in the file."""

    variants: NDArray[np.int64]
    dosage: NDArray[np.float32]


def sample(genotypes: Genotypes) -> Sample:
    """Runs of neighbouring variants, evenly spread over the file; no more than `MOST_BYTES` of dosages."""
    n, m = genotypes.n_samples, genotypes.n_variants
    most = int(max(RUN, min(MOST_VARIANTS, MOST_BYTES // (4 * max(n, 1)))))
    if m <= most:
        picked = np.arange(m)
    else:
        starts = np.linspace(0, m - RUN, most // RUN).astype(np.int64)
        picked = np.unique(starts[:, None] + np.arange(RUN))
    pieces = [genotypes.dosage(picked[i : i + 1000]) for i in range(0, len(picked), 1000)]
    return Sample(picked, np.concatenate(pieces, axis=1) if pieces else np.empty((n, 0), dtype=np.float32))


def genotypes(one: Opened, files: Files, taken: Sample) -> Iterator[Finding]:
    """Calls, duplicates, multi-allelic and coded alleles, and phase."""
    held: Genotypes = one.content
    chroms = held.variants["chrom"].unique(maintain_order=True).to_list()
    where = f"{some(len(chroms), 'chromosome')} ({examples(chroms)})"
    said = f"{held.n_samples:,} people, {held.n_variants:,} variants on {where}"
    yield green(one.name, f"{said}, {'phased' if held.phased else 'without phase'}.", "genotypes")
    yield from _notes(one, held)
    yield from _alleles(one, held, files)
    if not held.phased and files.first("fasta"):
        said = "no phase, and features need each person's two sequences: heterozygotes become the mean of both alleles."
        remedy = "Phase them (SHAPEIT5, Eagle2, Beagle) and give a VCF or .pgen, or accept --unphased soft."
        yield amber(one.name, said, remedy, "phase")
    if taken.dosage.size:
        yield from calls(one, taken)


def _notes(one: Opened, held: Genotypes) -> Iterator[Finding]:
    for status, reason, n, shown in held.notes:
        for words, remedy in _NOTES:
            if words in reason:
                tail = f" ({shown})" if shown else ""
                done = ", left out" if status == "dropped" else ""
                yield amber(one.name, f"{n:,} variants: {reason}{tail}{done}.", remedy, "variants")
    if "pos" in held.variants.columns and held.n_variants:
        places = held.variants.select("chrom", "pos")
        several = int(places.is_duplicated().sum()) - int(
            held.variants.select("chrom", "pos", "ref", "alt").is_duplicated().sum()
        )
        if several > 0 and one.kind != "vcf":
            said = f"{several:,} variants share their position with another: multi-allelic sites, split."
            level = "amber" if several > 0.05 * held.n_variants else "green"
            remedy = "Nothing where it is meant; else plink2 --max-alleles 2." if level == "amber" else ""
            yield Finding(level, one.name, said, remedy, "variants")


def _alleles(one: Opened, held: Genotypes, files: Files) -> Iterator[Finding]:
    coded = held.variants.filter(pl.col("ref").str.contains("^[0-9]+$") | pl.col("alt").str.contains("^[0-9]+$"))
    if coded.height:
        shown = "/".join(coded.row(0, named=True)[name] for name in ("ref", "alt"))
        said = (
            f"alleles of {coded.height:,} variants are coded ({shown}) where bases are needed to know them elsewhere."
        )
        bases = files.of("fasta", "models", "sumstats", "score")
        remedy = "Give A, C, G, T: plink --update-alleles with the array's annotation."
        yield Finding("red" if bases else "amber", one.name, said, remedy, "alleles")


def calls(one: Opened, taken: Sample) -> Iterator[Finding]:
    """Missing calls, variants that do not vary, Hardy-Weinberg proportions, heterozygotes; of a sample of variants."""
    table, names = one.content.variants, one.content.samples
    found = quality.call_quality(taken.dosage)
    m = len(taken.variants)
    of = f"of {m:,} variants looked at"
    absent = found.missing == 1
    holes = (found.missing > 0.1) & ~absent
    people = np.flatnonzero(found.missing_of_people > 0.1)

    def shown(mask: NDArray[np.bool_]) -> str:
        return examples(table["id"].gather(taken.variants[np.flatnonzero(mask)[:4]]).to_list())

    if absent.any():
        level = "red" if absent.mean() > 0.5 else "amber"
        said = f"{absent.sum():,} {of} are missing in everybody ({shown(absent)})."
        yield Finding(level, one.name, said, "Leave them out: plink2 --geno 0.1.", "missing")
    if holes.any():
        said = f"{holes.sum():,} {of} are missing in more than 10% of people ({shown(holes)})."
        yield amber(one.name, said, "Leave them out (plink2 --geno 0.1), or impute them.", "missing")
    if len(people):
        worst = people[np.argsort(-found.missing_of_people[people])]
        said = (
            f"{some(len(people), 'person lacks', 'people lack')} more than 10% of calls "
            f"({examples(names[worst].tolist())})."
        )
        yield amber(one.name, said, "Leave them out with --remove, or impute them.", "missing")
    if not (absent.any() or holes.any() or len(people)):
        share = float(found.missing.mean())
        yield green(one.name, f"{share:.2%} of calls are missing.", "missing")
    still = ~found.varies & ~absent
    if still.mean() > 0.01:
        said = f"{still.sum():,} {of} are the same in everybody ({shown(still)}): they carry nothing."
        yield amber(one.name, said, "Nothing: they are left out; or plink2 --mac 1.", "monomorphic")
    wrong = np.nan_to_num(found.hwe, nan=1.0) < 1e-10
    if wrong.mean() > 0.05:
        said = f"{wrong.sum():,} {of} are far from Hardy-Weinberg proportions ({shown(wrong)})."
        yield amber(one.name, said, "Check calling and ancestry; plink2 --hwe 1e-10 leaves them out.", "hwe")
    yield from _heterozygotes(one, found, names, m)


def _heterozygotes(one: Opened, found: quality.CallQuality, names: NDArray[np.str_], m: int) -> Iterator[Finding]:
    f = found.inbreeding
    if m < 5000 or not np.isfinite(f).all():
        return
    middle = np.median(f)
    spread = max(1.4826 * float(np.median(np.abs(f - middle))), 0.01)
    odd = np.flatnonzero((f - middle < -8 * spread) | (f - middle > 10 * spread))
    if len(odd):
        said = (
            f"{some(len(odd), 'person has', 'people have')} an odd share of heterozygotes "
            f"({examples([f'{names[i]} F={f[i]:.2f}' for i in odd])})."
        )
        remedy = "Too many: a mixture of two people's DNA; too few: related parents or bad calls. Look, or --remove."
        yield amber(one.name, said, remedy, "heterozygotes")


def expression(one: Opened) -> Iterator[Finding]:
    """What the values are, genes that are off or lack a place, samples that are alike or unlike the others."""
    held: Expression = one.content
    n, g = held.values.shape
    yield from _values(one, held)
    tss = held.genes["tss"].to_numpy()
    low = tss <= 1
    if low.any():
        said = f"{low.sum():,} of {g:,} genes have their TSS at {int(tss[low].max())}: no place ({_genes(held, low)})."
        remedy = "Give start = TSS - 1 and end = TSS, from a GTF of the genotypes' build."
        yield red(one.name, said, remedy, "genes")
    elif g > 3 and held.genes.select("chrom", "tss").n_unique() < g / 2:
        said = f"{g:,} genes have only {held.genes.select('chrom', 'tss').n_unique():,} different TSSs."
        yield amber(one.name, said, "Take each gene's own TSS from a GTF.", "genes")
    still = np.ptp(held.values, axis=0) == 0
    if still.any():
        said = f"{still.sum():,} of {g:,} genes have the same value in everybody ({_genes(held, still)}): left out."
        yield amber(one.name, said, "Nothing: they are left out.", "genes")
    zero = ((held.values == 0).mean(axis=0) > 0.5) & ~still
    if zero.any():
        said = f"{zero.sum():,} of {g:,} genes are 0 in more than half of the people ({_genes(held, zero)})."
        yield amber(one.name, said, "Leave them out, as GTEx does (0.1 TPM in 20% of people).", "genes")
    plain = held.genes["gene"]
    twice = plain.filter(plain.is_duplicated()).unique(maintain_order=True).to_list()
    if twice:
        said = f"{some(len(twice), 'gene is', 'genes are')} there in several versions ({examples(twice)})."
        yield amber(one.name, said, "Keep one version of each.", "genes")
    if n > 5 and g >= 10:
        yield from _samples(one, held)


def _genes(held: Expression, mask: NDArray[np.bool_]) -> str:
    return examples(held.genes["gene_id"].filter(pl.Series(mask)).head(4).to_list())


def _values(one: Opened, held: Expression) -> Iterator[Finding]:
    n, g = held.values.shape
    chroms = {plain_chrom(name) for name in held.genes["chrom"].unique().to_list()}
    size = f"{g:,} genes of {n:,} people on {some(len(chroms), 'chromosome')}"
    kind = quality.kind_of_values(held.values)
    if kind == "counts":
        total = held.values.sum(axis=1)
        fold = float(total.max() / max(total.min(), 1.0))
        said = (
            f"{size}; whole numbers: raw counts, whose libraries differ {fold:.1f}-fold; needed are normalised values."
        )
        remedy = "Normalise between samples (TMM with edgeR, or TPM), as GTEx and tensorQTL do."
        yield amber(one.name, said, remedy, "values")
    elif kind == "abundance":
        said = f"{size}; abundances (TPM, RPKM), not normalised: the default --transform inverse-normal does it."
        yield green(one.name, said, "values")
    elif kind == "normal":
        yield green(one.name, f"{size}; normalised.", "values")
    else:
        yield green(one.name, f"{size}; values from {held.values.min():.3g} to {held.values.max():.3g}.", "values")


def _samples(one: Opened, held: Expression) -> Iterator[Finding]:
    values, names = held.values, held.samples
    varies = np.ptp(values, axis=0) > 0
    order = np.lexsort(values[:, varies].T[:3]) if varies.any() else np.arange(len(values))
    same = [
        f"{names[a]} = {names[b]}"
        for a, b in zip(order[:-1], order[1:])
        if varies.any() and (values[a] == values[b]).all()
    ]
    if same:
        said = (
            f"{some(len(same), 'pair of samples has', 'pairs of samples have')} the same values in every gene "
            f"({examples(same)})."
        )
        yield red(one.name, said, "Keep one of each, under the right name.", "samples")
    if len(names) > 10_000 or quality.kind_of_values(values) == "normal":
        return
    far = quality.outlying_profiles(values)
    odd = np.flatnonzero(far > 15)
    if len(odd):
        said = (
            f"{some(len(odd), 'sample goes', 'samples go')} badly with the others "
            f"({examples(names[odd[np.argsort(-far[odd])]].tolist())})."
        )
        yield amber(one.name, said, "Look at their quality; leave them out with --remove.", "samples")
