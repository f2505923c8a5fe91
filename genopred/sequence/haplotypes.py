"""Each person's two sequences of a window, and which of them are distinct.

The rules for variants that overlap are those of `bcftools consensus -H 1/2` (Danecek et al. 2021,
doi:10.1093/gigascience/giab008): records in file order, each haplotype by itself, a record that reaches into
the one applied before it is left out, except an indel that starts on its last base.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genopred.errors import AlignmentError, FormatError, GenopredError, check_choice, examples
from genopred.sequence.onehot import N_CODE, complement, decode, encode, onehot, reverse_complement
from genopred.types import Genotypes, Haplotypes, Interval

#: What an entry of `PersonalSequences.alleles` may be.
REF, ALT, HALF = 0, 1, 2

#: Share of variants whose REF may differ from the FASTA.
MAX_MISMATCH = 0.01

UNPHASED = ("soft", "random", "error")
INDELS = ("skip", "apply")

#: What is counted of the REF alleles held against the FASTA, and of all variants.
_CHECKED = ("checked", "swapped", "strand", "other", "reference_n")
_COUNTS = (
    *("variants", "used", "indels_skipped", "symbolic_skipped", "indels_applied", *_CHECKED),
    *("overlaps_skipped", "missing_alleles", "unphased_heterozygotes"),
)


class Reference(Protocol):
    """An opened FASTA, as `genopred.io.fasta.open_fasta` gives it."""

    def fetch(self, interval: Interval) -> str:
        """Bases of an interval, N off the ends of the chromosome."""


@dataclass(frozen=True)
class VariantWindow:
    """H haplotypes of one window of L bases, as differences from its reference: what a model is given.

    Attributes
    ----------
    reference : array, shape (L, 4)
        One-hot, A C G T, N all zero. It holds `ref_codes` at `sites`.
    sites : array, shape (V,)
        Offsets in the window, ascending. A site may repeat (several ALT alleles, or a multi-base substitution beside
        a SNV); then at most one of the repeats is 1 in any haplotype, or two are 2.
    ref_codes, alt_codes : array, shape (V,)
        0 A, 1 C, 2 G, 3 T.
    alleles : array, shape (H, V)
        0 REF, 1 ALT, 2 the mean of the two one-hot bases (a heterozygous site of unknown phase): the sequence is
        reference + sum of weight × (ALT − REF), weight 1 or ½. Rows need not be distinct.

    Examples
    --------
    >>> one = np.ones(1, dtype=np.int8)
    >>> window = VariantWindow(np.eye(4), np.array([0]), 0 * one, 3 * one, np.array([[1], [2]], dtype=np.int8))
    >>> window.onehot()[:, 0].tolist()
    [[0.0, 0.0, 0.0, 1.0], [0.5, 0.0, 0.0, 0.5]]
    """

    reference: NDArray[np.floating]
    sites: NDArray[np.integer]
    ref_codes: NDArray[np.integer]
    alt_codes: NDArray[np.integer]
    alleles: NDArray[np.integer]

    def take(self, rows: ArrayLike) -> VariantWindow:
        """Some haplotypes."""
        return replace(self, alleles=self.alleles[np.asarray(rows, dtype=np.int64)])

    @cached_property
    def distinct(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of the first haplotype of each distinct sequence (D,), and the distinct sequence of each (H,)."""
        return distinct_rows(self.alleles)

    def onehot(self, rows: ArrayLike | None = None) -> NDArray[np.float32]:
        """Channels (len(rows), L, 4) of some or all haplotypes; two halves at a site with two ALT alleles add up."""
        alleles = self.alleles if rows is None else self.alleles[np.asarray(rows, dtype=np.int64)]
        out = np.repeat(self.reference[None].astype(np.float32, copy=False), len(alleles), axis=0)
        for state, weight in ((ALT, np.float32(1.0)), (HALF, np.float32(0.5))):
            hap, var = np.nonzero(alleles == state)
            np.subtract.at(out, (hap, self.sites[var], self.ref_codes[var]), weight)
            np.add.at(out, (hap, self.sites[var], self.alt_codes[var]), weight)
        return out


@dataclass(frozen=True)
class PersonalSequences:
    """The sequences of N people over one window of L bases, as differences from its reference.

    Attributes
    ----------
    samples : array of str, shape (N,)
    interval : Interval
        The window on the genome; it may reach over the chromosome's ends.
    reverse : bool
        Whether everything below is read on the reverse strand.
    tss_offset : int
        0-based place of the TSS in the window as read.
    reference : array, shape (L,), int8
        Codes 0 A, 1 C, 2 G, 3 T, 4 N.
    sites : array, shape (V,), int64
        Offsets, ascending. They repeat where several ALT alleles meet.
    ref_codes, alt_codes : array, shape (V,), int8
    alleles : array, shape (H, V), int8
        0 REF, 1 ALT, 2 the mean of both. H = `ploidy` N, the haplotypes of a person next to each other.
        In one haplotype at most one of several repeats of a site is 1.
    ploidy : int
        Sequences a person: 2, or 1 where the phase is unknown and both were averaged.
    counts : dict
        How many variants were used, left out or mismatched, by reason.
    whole, whole_of : arrays, optional
        With indels: the distinct sequences (D, L) in codes, and which of them each haplotype is (H,).
        `sites` is empty then.
    """

    samples: NDArray[np.str_]
    interval: Interval
    reverse: bool
    tss_offset: int
    reference: NDArray[np.int8]
    sites: NDArray[np.int64]
    ref_codes: NDArray[np.int8]
    alt_codes: NDArray[np.int8]
    alleles: NDArray[np.int8]
    ploidy: int
    counts: dict[str, int] = field(default_factory=dict)
    whole: NDArray[np.int8] | None = None
    whole_of: NDArray[np.int64] | None = None

    @property
    def n_haplotypes(self) -> int:
        """H."""
        return len(self.samples) * self.ploidy

    @property
    def arrays(self) -> tuple[NDArray[Any] | None, ...]:
        """All that makes the sequences, for `hash_arrays`."""
        plain = (self.reference, self.sites, self.ref_codes, self.alt_codes, self.alleles)
        return (*plain, self.whole, self.whole_of)

    @cached_property
    def distinct(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of the first haplotype of each distinct sequence (D,), and the distinct sequence of each (H,)."""
        return distinct_rows(self.alleles if self.whole_of is None else self.whole_of[:, None])

    def codes(self, rows: ArrayLike | None = None) -> NDArray[np.int8]:
        """Bases (len(rows), L) of some or all haplotypes. Half-and-half sites have none: FormatError."""
        picked = np.arange(self.n_haplotypes) if rows is None else np.asarray(rows, dtype=np.int64)
        if self.whole is not None and self.whole_of is not None:
            return self.whole[self.whole_of[picked]]
        alleles = self.alleles[picked]
        if (alleles == HALF).any():
            raise FormatError("Unphased people have no sequence of single bases; use unphased='random', or onehot().")
        out = np.repeat(self.reference[None], len(picked), axis=0)
        hap, var = np.nonzero(alleles == ALT)
        out[hap, self.sites[var]] = self.alt_codes[var]
        return out

    def strings(self, rows: ArrayLike | None = None) -> list[str]:
        """Some or all haplotypes as text."""
        return [decode(row) for row in self.codes(rows)]

    def onehot(self, rows: ArrayLike | None = None) -> NDArray[np.float32]:
        """Channels (len(rows), L, 4) of some or all haplotypes."""
        return self.window.onehot(rows) if self.whole is None else onehot(self.codes(rows))

    @cached_property
    def window(self) -> VariantWindow:
        """As models take them, without indels."""
        return VariantWindow(onehot(self.reference), self.sites, self.ref_codes, self.alt_codes, self.alleles)

    def per_person(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Mean (N, ...) over each person's haplotypes of values (H, ...)."""
        return values.reshape(len(self.samples), self.ploidy, *values.shape[1:]).mean(axis=1)

    def other_strand(self) -> PersonalSequences:
        """The same sequences, read on the other strand."""
        length = len(self.reference)
        return replace(
            self,
            reverse=not self.reverse,
            tss_offset=length - 1 - self.tss_offset,
            reference=reverse_complement(self.reference),
            sites=np.ascontiguousarray(length - 1 - self.sites[::-1]),
            ref_codes=complement(self.ref_codes[::-1]),
            alt_codes=complement(self.alt_codes[::-1]),
            alleles=np.ascontiguousarray(self.alleles[:, ::-1]),
            whole=None if self.whole is None else reverse_complement(self.whole),
        )

    def with_reference(self) -> PersonalSequences:
        """One person more, last and named `reference`, whose sequences are the reference's."""
        alleles = np.pad(self.alleles, ((0, self.ploidy), (0, 0)))
        out = replace(self, samples=np.append(self.samples, "reference"), alleles=alleles)
        if self.whole is None or self.whole_of is None:
            return out
        same = np.flatnonzero((self.whole == self.reference).all(axis=1))
        whole = self.whole if len(same) else np.concatenate([self.whole, self.reference[None]])
        at = int(same[0]) if len(same) else len(self.whole)
        return replace(out, whole=whole, whole_of=np.append(self.whole_of, [at] * self.ploidy))

    def take(self, rows: ArrayLike) -> PersonalSequences:
        """Some haplotypes, each as if it were a person with one."""
        picked = np.asarray(rows, dtype=np.int64)
        samples = np.repeat(self.samples, self.ploidy)[picked]
        whole_of = None if self.whole_of is None else self.whole_of[picked]
        return replace(self, samples=samples, alleles=self.alleles[picked], ploidy=1, whole_of=whole_of)


def window_around(chrom: str, tss: int, length: int, tss_offset: int, *, reverse: bool = False) -> Interval:
    """The window of `length` bases in which the 1-based `tss` stands `tss_offset` bases from where reading starts.

    >>> window_around("22", 1000, 10, 6), window_around("22", 1000, 10, 6, reverse=True)
    (Interval(chrom='22', start=993, end=1003), Interval(chrom='22', start=996, end=1006))
    """
    start = tss - 1 - (length - 1 - tss_offset if reverse else tss_offset)
    return Interval(chrom, start, start + length)


def personal_sequences(
    genotypes: Genotypes | Haplotypes, reference: Reference, interval: Interval, *,
    tss: int | None = None, reverse: bool = False, indels: str = "skip", unphased: str = "soft", seed: int = 0,
    max_mismatch: float = MAX_MISMATCH, allow_swapped: bool = False,
) -> PersonalSequences:  # fmt: skip
    """Build each person's two sequences of a window.

    Parameters
    ----------
    genotypes : Genotypes or Haplotypes
        N people; its `phased` decides whether there are two sequences a person.
    reference : object with `fetch(Interval) -> str`
    interval : Interval
        The window, L bases; it may reach over the chromosome's ends, where it is N.
    tss : int, optional
        1-based; needed by `indels="apply"`, which keeps it at its place. The window's centre by default.
    reverse : bool
        Give the reverse complement.
    indels : {"skip", "apply"}
        `skip` leaves out and counts whatever changes the length. `apply` inserts them: every haplotype then
        is a sequence of its own, cut so that the TSS stays where it is.
    unphased : {"soft", "random", "error"}
        What to do with unphased genotypes. `soft`: one sequence a person, the mean of the two one-hot bases at
        heterozygous sites. `random`: two sequences, heterozygous sites assigned by a hash of seed, sample and
        position, so a variant falls the same way in every window. `error`: refuse.
    seed : int
        For `random`.
    max_mismatch : float
        Share of checked variants whose REF may differ from the FASTA.
    allow_swapped : bool
        Do not count variants whose ALT, in place of their REF, is the FASTA's base (usual in .bed files made by
        plink1.9), and take A/T and C/G for swapped as well. The others are turned round in any case.

    Returns
    -------
    PersonalSequences

    Raises
    ------
    AlignmentError
        If too many REF alleles differ from the FASTA.
    GenopredError
        If phase is demanded and missing, or an argument is not known.

    Notes
    -----
    A REF that is the FASTA's base on the other strand is complemented. One that is neither, or that could be
    swapped as well as on the other strand (A/T and C/G), leaves its variant out. Where the FASTA has N, the
    reference becomes REF. A missing allele counts as the reference's.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import polars as pl
    >>> table = pl.DataFrame({"chrom": ["1"], "pos": [3], "id": ["rs1"], "ref": ["G"], "alt": ["T"]})
    >>> reader = SimpleNamespace(alleles=lambda rows, columns: np.array([[[0], [1]]], dtype=np.int8))
    >>> people = Genotypes(np.array(["ann"]), table, reader, "toy.vcf", phased=True)
    >>> fasta = SimpleNamespace(fetch=lambda interval: "NACGTACGTA"[interval.start + 1 : interval.end + 1])
    >>> personal_sequences(people, fasta, Interval("1", 0, 5)).strings()
    ['ACGTA', 'ACTTA']
    """
    haplotypes = genotypes.haplotypes() if isinstance(genotypes, Genotypes) else genotypes
    soft = averaged(haplotypes, indels, unphased)
    anchor = interval.start + interval.length // 2 if tss is None else tss - 1
    if not interval.start <= anchor < interval.end:
        raise GenopredError(
            f"TSS {anchor + 1:,} is outside its window {interval.chrom}:{interval.start}-{interval.end}."
        )
    if indels == "skip":
        records = _Records.read(haplotypes, reference, interval, indels, allow_swapped)
        records.check(max_mismatch, allow_swapped)
        out = _substituted(records, anchor, soft, seed)
    else:
        out = _with_indels(haplotypes, reference, interval, anchor, max_mismatch, allow_swapped, seed)
    return out.other_strand() if reverse else out


def averaged(haplotypes: Haplotypes, indels: str, unphased: str) -> bool:
    """Whether a person has one sequence, the mean of two; GenopredError for what cannot be done without phase."""
    check_choice("indels", indels, INDELS)
    check_choice("unphased", unphased, UNPHASED)
    soft = not haplotypes.phased and unphased == "soft"
    source = haplotypes.genotypes.source
    if not haplotypes.phased and unphased == "error":
        raise GenopredError(
            f"{source} carries no phase, and --unphased error was asked for. Give phased genotypes (VCF/BCF with "
            "0|1, or .pgen with phase), or choose --unphased soft or random."
        )
    if indels == "apply" and soft:
        raise GenopredError(
            f"--indels apply needs two sequences a person, and {source} carries no phase: give phased genotypes or "
            "--unphased random."
        )
    return soft


def check_reference(
    genotypes: Genotypes, reference: Reference, intervals: Iterable[Interval], *,
    max_mismatch: float = MAX_MISMATCH, allow_swapped: bool = False,
) -> dict[str, int]:  # fmt: skip
    """Hold the REF of every variant of some windows against the FASTA, each variant once, before any work.

    Gives the numbers of checked, swapped, strand, other and reference_n; AlignmentError if too many differ.
    """
    haplotypes = genotypes.haplotypes()
    total = dict.fromkeys(_CHECKED, 0)
    shown: list[str] = []
    for interval in _merged(intervals):
        records = _Records.read(haplotypes, reference, interval, "skip", allow_swapped)
        shown += records.mismatched
        for key in total:
            total[key] += records.counts[key]
    refuse_mismatches(total, shown, max_mismatch, allow_swapped, genotypes.source)
    return total


def distinct_rows(alleles: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each distinct row first stands (D,), ascending, and which distinct row each row is (H,).

    >>> first, inverse = distinct_rows(np.array([[1, 0], [0, 0], [1, 0]], dtype=np.int8))
    >>> first.tolist(), inverse.tolist()
    ([0, 1], [0, 1, 0])
    """
    seen: dict[bytes, int] = {}
    first: list[int] = []
    inverse = np.empty(len(alleles), dtype=np.int64)
    for i, row in enumerate(np.ascontiguousarray(alleles)):
        inverse[i] = at = seen.setdefault(row.tobytes(), len(first))
        if at == len(first):
            first.append(i)
    return np.array(first, dtype=np.int64), inverse


def hash_arrays(digest: Any, arrays: Iterable[NDArray[Any] | None]) -> None:
    """Shapes and values of those that are there, into a digest of hashlib."""
    for part in arrays:
        if part is not None:
            digest.update(f"{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())


@dataclass
class _Records:
    """The variants of one stretch, in file order, after holding their REF against the FASTA."""

    haplotypes: Haplotypes
    interval: Interval
    codes: NDArray[np.int8]  # of the stretch, forward strand, N replaced by REF at variants
    index: NDArray[np.int64]  # into the variant table
    start: NDArray[np.int64]  # offsets of POS in the stretch
    ref: list[NDArray[np.int8]]
    alt: list[NDArray[np.int8]]
    flip: NDArray[np.bool_]  # REF and ALT were swapped: allele 0 is our ALT
    counts: dict[str, int]
    mismatched: list[str]

    @classmethod
    def read(
        cls, haplotypes: Haplotypes, reference: Reference, interval: Interval, indels: str, allow_swapped: bool
    ) -> _Records:
        codes = encode(reference.fetch(interval)).copy()
        index = haplotypes.genotypes.index(interval)
        table = haplotypes.variants[index]
        counts = dict.fromkeys(_COUNTS, 0) | {"variants": len(index)}
        order = np.argsort(table["pos"].to_numpy(), kind="stable")
        index, table = index[order], table[order]
        start = table["pos"].to_numpy() - 1 - interval.start
        keep: list[int] = []
        refs: list[NDArray[np.int8]] = []
        alts: list[NDArray[np.int8]] = []
        flips: list[bool] = []
        mismatched: list[str] = []
        for i, (pos, ref_text, alt_text) in enumerate(table.select("pos", "ref", "alt").iter_rows()):
            at, same = int(start[i]), len(ref_text) == len(alt_text)
            room = interval.length - at
            if not (is_sequence(ref_text) and is_sequence(alt_text)):
                counts["symbolic_skipped"] += 1
                continue
            if not same and (indels == "skip" or len(ref_text) > room):
                counts["indels_skipped"] += 1
                continue
            if same:  # a REF that reaches beyond the window is cut there, as bcftools consensus does
                ref_text, alt_text = ref_text[:room], alt_text[:room]
            ref, alt = encode(ref_text), encode(alt_text)
            counts["checked"] += 1
            here = slice(at, at + len(ref))
            ref, alt, kind, turned = compare_alleles(codes[here], ref, alt, allow_swapped)
            if kind:
                counts[kind] += 1
            if kind in ("swapped", "strand", "other"):
                mismatched.append(f"{interval.chrom}:{pos} {ref_text}>{alt_text}, FASTA {decode(codes[here])}")
            if kind == "other":
                continue
            if kind == "reference_n":
                codes[here] = ref
            flips.append(turned)
            keep.append(i)
            refs.append(ref)
            alts.append(alt)
        kept = np.array(keep, dtype=np.int64)
        flip = np.array(flips, dtype=bool)
        return cls(haplotypes, interval, codes, index[kept], start[kept], refs, alts, flip, counts, mismatched)

    def check(self, max_mismatch: float, allow_swapped: bool) -> None:
        source = self.haplotypes.genotypes.source
        refuse_mismatches(self.counts, self.mismatched, max_mismatch, allow_swapped, source)

    def alleles(self, soft: bool, seed: int) -> NDArray[np.int8]:
        """Alleles (2N, V) of our REF and ALT, overlaps resolved; missing is REF."""
        raw = self.haplotypes.alleles(self.index)
        missing = raw < 0
        self.counts["missing_alleles"] += int(missing.sum())
        if not self.haplotypes.phased:
            # soft counts them too, though there the order does not matter
            self.counts["unphased_heterozygotes"] += int(((raw[:, 0] != raw[:, 1]) & ~missing.any(axis=1)).sum())
            if not soft:
                raw = _assign_at_random(raw, self.haplotypes.samples, self.start + self.interval.start, seed)
                missing = raw < 0
        turned = np.where(self.flip, 1 - raw, raw).astype(np.int8)
        turned[missing] = REF
        flat = np.ascontiguousarray(turned.reshape(2 * len(raw), len(self.index)))
        self.counts["overlaps_skipped"] += _drop_overlaps(self, flat)
        return flat


def changed_bases(
    starts: Iterable[int], refs: Iterable[NDArray[np.int8]], alts: Iterable[NDArray[np.int8]]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8], NDArray[np.int8]]:
    """Where two alleles as long as each other differ: offsets, ascending, which variant, and the codes of both."""
    found = [
        (start + k, v, ref[k], alt[k])
        for v, (start, ref, alt) in enumerate(zip(starts, refs, alts))
        for k in np.flatnonzero(ref != alt)
    ]
    table = np.array(sorted(found, key=lambda one: one[0]), dtype=np.int64).reshape(-1, 4).T.copy()
    return table[0], table[1], table[2].astype(np.int8), table[3].astype(np.int8)


def _substituted(records: _Records, anchor: int, soft: bool, seed: int) -> PersonalSequences:
    """The fast path: nothing changes the length, so a haplotype is its alleles."""
    alleles = records.alleles(soft, seed)
    if soft:
        pairs = alleles.reshape(len(alleles) // 2, 2, alleles.shape[1])
        alleles = np.where(pairs[:, 0] == pairs[:, 1], pairs[:, 0], HALF).astype(np.int8)
    sites, take, ref_codes, alt_codes = changed_bases(records.start, records.ref, records.alt)
    alleles = np.ascontiguousarray(alleles[:, take])
    place = (records.haplotypes.samples, records.interval, False, anchor - records.interval.start)
    counts = records.counts | {"used": len(records.index)}
    ploidy = 1 if soft else 2
    return PersonalSequences(*place, records.codes, sites, ref_codes, alt_codes, alleles, ploidy, counts)


def _with_indels(
    haplotypes: Haplotypes, reference: Reference, interval: Interval, anchor: int,
    max_mismatch: float, allow_swapped: bool, seed: int,
) -> PersonalSequences:  # fmt: skip
    """The slow path: each distinct haplotype written out, then cut with the TSS at its place."""
    margin = 0
    while True:
        # what is deleted inside is made good from outside, and there may be deletions there too
        wide = Interval(interval.chrom, interval.start - margin, interval.end + margin)
        records = _Records.read(haplotypes, reference, wide, "apply", allow_swapped)
        alleles = records.alleles(False, seed)
        lost = np.array([max(0, len(r) - len(a)) for r, a in zip(records.ref, records.alt)], dtype=np.int64)
        need = int((alleles.astype(np.int64) @ lost).max(initial=0))
        if need <= margin:
            break
        margin = need
    records.check(max_mismatch, allow_swapped)
    first, inverse = distinct_rows(alleles)
    before = anchor - interval.start
    whole = np.empty((len(first), interval.length), dtype=np.int8)
    for row, hap in enumerate(first):
        sequence, tss = _apply(records, alleles[hap], anchor - wide.start)
        whole[row] = sequence[tss - before : tss - before + interval.length]
    applied = sum(len(r) != len(a) for r, a in zip(records.ref, records.alt))
    counts = records.counts | {"used": len(records.index), "indels_applied": applied}
    codes = records.codes[margin : margin + interval.length].copy()
    none, alleles = np.zeros(0, dtype=np.int8), np.zeros((len(inverse), 0), dtype=np.int8)
    place = (haplotypes.samples, interval, False, before)
    return PersonalSequences(
        *place, codes, none.astype(np.int64), none, none, alleles, 2, counts, whole=whole, whole_of=inverse
    )


def _apply(records: _Records, alleles: NDArray[np.int8], tss: int) -> tuple[NDArray[np.int8], int]:
    """One haplotype written out, and where the base `tss` of the stretch is in it."""
    pieces: list[NDArray[np.int8]] = []
    cursor = written = 0
    moved: int | None = None
    for v in np.flatnonzero(alleles == ALT):
        start, ref, alt = int(records.start[v]), records.ref[v], records.alt[v]
        if _anchored(ref, alt):
            # the first base is not the variant's: it stays as it is, even if the record before changed it
            start, ref, alt = start + 1, ref[1:], alt[1:]
        if moved is None and tss < start:
            moved = written + tss - cursor
        gap = records.codes[cursor:start]
        pieces += [gap, alt]
        written += len(gap)
        if moved is None and tss < start + len(ref):
            # a deleted TSS becomes the last base kept before it
            moved = written + min(tss - start, len(alt) - 1)
        written += len(alt)
        cursor = start + len(ref)
    if moved is None:
        moved = written + tss - cursor
    return np.concatenate([*pieces, records.codes[cursor:]]), moved


def _drop_overlaps(records: _Records, alleles: NDArray[np.int8]) -> int:
    """Set to REF, in place, every ALT that `bcftools consensus` would skip as overlapping; how many."""
    n = len(records.start)
    if n < 2:
        return 0
    ends = records.start + np.array([len(r) for r in records.ref], dtype=np.int64) - 1
    reach = np.maximum.accumulate(ends)
    touches = np.concatenate([[False], records.start[1:] <= reach[:-1]])
    dropped = 0
    frozen = np.full(len(alleles), -1, dtype=np.int64)
    inserted = np.zeros(len(alleles), dtype=bool)
    for v in np.flatnonzero(touches | np.concatenate([touches[1:], [False]])):
        ref, alt = records.ref[v], records.alt[v]
        carries = alleles[:, v] == ALT
        clash = carries & (records.start[v] <= frozen)
        if _anchored(ref, alt):
            clash &= (records.start[v] < frozen) | inserted
        alleles[clash, v] = REF
        dropped += int(clash.sum())
        applied = carries & ~clash
        frozen[applied] = ends[v]
        inserted[applied] = len(alt) > len(ref)
    return dropped


def _anchored(ref: NDArray[np.int8], alt: NDArray[np.int8]) -> bool:
    """Whether this is a plain insertion or deletion whose first base only says where it is."""
    if len(ref) == len(alt) or ref[0] != alt[0]:
        return False
    short, long = sorted((ref.tolist(), alt.tolist()), key=len)
    head = next((i for i, (a, b) in enumerate(zip(short, long)) if a != b), len(short))
    return bool(short[head:] == long[len(long) - len(short) + head :])


def compare_alleles(
    fasta: NDArray[np.int8], ref: NDArray[np.int8], alt: NDArray[np.int8], allow_swapped: bool
) -> tuple[NDArray[np.int8], NDArray[np.int8], str, bool]:
    """Hold a variant's alleles, in codes, against as many of the FASTA's bases as REF has.

    Gives the two alleles, the FASTA's own first; `swapped`, `strand`, `other`, `reference_n`, or nothing where REF is
    the FASTA's; and whether REF comes second. `allow_swapped` takes A/T and C/G whose ALT is the FASTA's for swapped.

    >>> a, c, g, t = (np.array([code], dtype=np.int8) for code in range(4))
    >>> compare_alleles(a, a, c, False)[2:], compare_alleles(c, a, c, False)[2:], compare_alleles(t, a, c, False)[2:]
    (('', False), ('swapped', True), ('strand', False))
    >>> compare_alleles(t, a, t, False)[2:], compare_alleles(t, a, t, True)[2:]
    (('other', False), ('swapped', True))
    """
    if (fasta == ref).all():
        return ref, alt, "", False
    if ((fasta == ref) | (fasta == N_CODE)).all():
        return ref, alt, "reference_n", False
    if len(ref) != 1 or len(alt) != 1:
        return ref, alt, "other", False
    other_ref, other_alt = complement(ref), complement(alt)
    if ref[0] == other_alt[0] and not (allow_swapped and fasta[0] == alt[0]):
        return ref, alt, "other", False  # A/T or C/G: swapped or on the other strand, nobody can tell
    if fasta[0] == alt[0]:
        return alt, ref, "swapped", True
    if fasta[0] == other_ref[0]:
        return other_ref, other_alt, "strand", False
    if fasta[0] == other_alt[0]:
        return other_alt, other_ref, "strand", True
    return ref, alt, "other", False


def refuse_mismatches(counts: dict[str, int], shown: list[str], limit: float, allow_swapped: bool, source: str) -> None:
    """Raise AlignmentError where more than a share of the REF alleles checked are not the FASTA's base.

    `counts` says how many were checked, swapped (not counted if allowed), strand and other; `shown` are some of them.
    """
    wrong = counts["strand"] + counts["other"] + (0 if allow_swapped else counts["swapped"])
    if wrong == 0 or wrong <= limit * counts["checked"]:
        return
    share = wrong / counts["checked"]
    if share > 0.4:
        remedy = "the FASTA is probably of another genome build than the genotypes"
    elif counts["swapped"] > 0.4 * wrong and counts["strand"] < 0.1 * wrong:
        # the rest are A/T and C/G, which count as other until swaps are allowed
        remedy = (
            "REF and ALT are swapped, as plink1.9 leaves them: restore them with `plink2 --ref-from-fa force`, or let "
            "genopred turn them round with --allow-swapped"
        )
    else:
        remedy = "fix the genotypes with `bcftools norm --check-ref` or `plink2 --ref-from-fa force`"
    raise AlignmentError(
        f"{source}: the REF of {wrong:,} of {counts['checked']:,} variants ({share:.1%}) is not the FASTA's base: "
        f"{counts['swapped']:,} swapped with ALT, {counts['strand']:,} on the other strand, {counts['other']:,} other "
        f"({examples(shown)}). At most {limit:.0%} may differ; {remedy}, or raise --max-ref-mismatch."
    )


def is_sequence(allele: str) -> bool:
    """Whether an allele is bases, not symbolic or missing.

    >>> is_sequence("ac"), is_sequence("<DEL>"), is_sequence("")
    (True, False, False)
    """
    return bool(allele) and set(allele.upper()) <= set("ACGT")


def _merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Intervals joined where they overlap, so that nothing is checked twice."""
    out: list[Interval] = []
    for interval in sorted(intervals, key=lambda i: (i.chrom, i.start)):
        if out and out[-1].chrom == interval.chrom and interval.start <= out[-1].end:
            out[-1] = Interval(interval.chrom, out[-1].start, max(out[-1].end, interval.end))
        else:
            out.append(interval)
    return out


def _assign_at_random(
    raw: NDArray[np.int8], samples: NDArray[np.str_], pos: NDArray[np.int64], seed: int
) -> NDArray[np.int8]:
    """Alleles (N, 2, V) with the order of each pair decided by a hash of seed, sample and position."""
    person = np.array([_mix_text(name) for name in samples.tolist()], dtype=np.uint64)
    with np.errstate(over="ignore"):
        key = _mix(person[:, None] ^ _mix(pos.astype(np.uint64) + np.uint64(seed % 2**63))[None, :])
    swap = (key >> np.uint64(63)).astype(bool)
    return np.where(swap[:, None, :], raw[:, ::-1], raw)


def _mix_text(text: str) -> int:
    """64-bit FNV-1a."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele et al. 2014, doi:10.1145/2660193.2660195)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
