"""genopred.sequence.haplotypes, held against bcftools consensus."""

import hashlib
import importlib.util
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.errors import AlignmentError, FormatError, GenopredError
from genopred.sequence.haplotypes import (
    VariantWindow,
    check_reference,
    compare_alleles,
    distinct_rows,
    is_sequence,
    personal_sequences,
    refuse_mismatches,
    window_around,
)
from genopred.sequence.onehot import encode, onehot
from genopred.types import Genotypes, Interval

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "consensus"
DATA = HERE / "data" / "consensus"
SHARED = Path(os.environ.get("GENOPRED_SHARED", HERE.parents[1] / "shared"))


class Text:
    """A reference held in memory."""

    def __init__(self, sequence):
        self.sequence = sequence

    def fetch(self, interval):
        inside = self.sequence[max(interval.start, 0) : max(interval.end, 0)]
        left = min(max(-interval.start, 0), interval.length)
        return "N" * left + inside + "N" * (interval.length - left - len(inside))


def people(variants, alleles, phased=True, samples=None):
    """Genotypes of (pos, ref, alt) variants on chromosome 1 and alleles (N, 2, M)."""
    alleles = np.asarray(alleles, dtype=np.int8)
    table = pl.DataFrame(
        {
            "chrom": ["1"] * len(variants),
            "pos": [v[0] for v in variants],
            "id": [f"v{i}" for i in range(len(variants))],
            "ref": [v[1] for v in variants],
            "alt": [v[2] for v in variants],
        },
        schema_overrides={"pos": pl.Int64},
    )
    reader = SimpleNamespace(alleles=lambda rows, columns: alleles[rows][:, :, columns])
    names = np.array(samples or [f"P{i}" for i in range(len(alleles))])
    return Genotypes(names, table, reader, "toy.vcf", phased=phased)


@pytest.fixture(scope="module")
def toy():
    sequence = "".join((DATA / "toy.fa").read_text().split("\n")[1:])
    lines = [line.split("\t") for line in (DATA / "toy.vcf").read_text().splitlines() if not line.startswith("##")]
    variants = [(int(row[1]), row[3], row[4]) for row in lines[1:]]
    alleles = np.array([[cell.split("|") for cell in row[9:]] for row in lines[1:]], dtype=np.int8)
    return SimpleNamespace(
        sequence=sequence,
        variants=variants,
        genotypes=people(variants, alleles.transpose(1, 2, 0), samples=lines[0][9:]),
        golden=pl.read_csv(GOLDEN / "toy.tsv", separator="\t"),
    )


def test_substitutions_follow_bcftools_consensus(toy):
    found = personal_sequences(toy.genotypes, Text(toy.sequence), Interval("1", 0, len(toy.sequence)))
    assert found.strings() == toy.golden.filter(pl.col("what") == "substitutions")["sequence"].to_list()
    assert found.counts["overlaps_skipped"] > 50  # the goldens are crowded on purpose
    assert found.counts["indels_skipped"] == sum(len(r) != len(a) for _, r, a in toy.variants)


def test_indels_follow_bcftools_consensus_around_the_tss(toy):
    """Anchored far from any edge, a window is a stretch of what bcftools makes of the whole sequence."""
    whole = toy.golden.filter(pl.col("what") == "indels")["sequence"].to_list()
    reference = Text(toy.sequence)
    for tss in (400, 750, 1001):
        window = Interval("1", tss - 1 - 150, tss - 1 + 200)
        found = personal_sequences(toy.genotypes, reference, window, tss=tss, indels="apply")
        for row, (mine, theirs) in enumerate(zip(found.strings(), whole)):
            assert len(mine) == 350
            at = theirs.find(mine)
            assert at >= 0
            # how far the TSS moved in the whole sequence is how much was inserted and deleted before it
            moved = shift_before(toy, row, tss - 1)
            if moved is not None:
                assert at + 150 == tss - 1 + moved
    assert found.counts["indels_applied"] > 20


def shift_before(toy, row, tss):
    """Net length of what a haplotype's indels add before the TSS; None where a variant covers it."""
    sample, hap = divmod(row, 2)
    alleles = toy.genotypes.reader.alleles(np.array([sample]), np.arange(len(toy.variants)))[0, hap]
    frozen, inserted, moved = -1, False, 0
    for (pos, ref, alt), allele in zip(toy.variants, alleles):
        start = pos - 1
        if allele != 1:
            continue
        plain = len(ref) != len(alt) and (ref.startswith(alt[0]) and is_plain(ref, alt))
        if start <= frozen and (start < frozen or not plain or inserted):
            continue
        frozen, inserted = start + len(ref) - 1, len(alt) > len(ref)
        if start <= tss <= frozen:
            return None
        if frozen < tss:
            moved += len(alt) - len(ref)
    return moved


def is_plain(ref, alt):
    short, long = sorted((ref, alt), key=len)
    return any(long.startswith(short[:i]) and long.endswith(short[i:]) for i in range(1, len(short) + 1))


def test_goldens_are_what_the_installed_bcftools_says(toy, tmp_path):
    if shutil.which("bcftools") is None:
        pytest.skip("bcftools is not installed; its stored output is compared in the other tests")
    spec = importlib.util.spec_from_file_location("make_consensus", GOLDEN / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    import subprocess

    packed = tmp_path / "toy.vcf.gz"
    subprocess.run(["bcftools", "view", "-Oz", "-o", str(packed), str(DATA / "toy.vcf")], check=True)
    subprocess.run(["bcftools", "index", "-t", str(packed)], check=True)
    for row in toy.golden.filter(pl.col("what") == "indels").head(4).iter_rows(named=True):
        text = make.consensus(DATA / "toy.fa", packed, row["sample"], str(row["haplotype"]), [])
        assert text == row["sequence"]


def test_twenty_people_five_genes_are_bcftools_sequences():
    folder = SHARED / "data" / "geuvadis_chr22"
    if not folder.is_dir():
        pytest.skip(f"no {folder}; set GENOPRED_SHARED")
    from genopred.io.fasta import open_fasta
    from genopred.io.vcf import read_vcf

    golden = pl.read_csv(GOLDEN / "chr22.tsv", separator="\t")
    assert golden["sample"].n_unique() == 20 and golden["gene"].n_unique() == 5
    genotypes = read_vcf(folder / "genotypes.chr22.vcf.gz")
    fasta = open_fasta(SHARED / "data" / "reference" / "chr22.b37.fa.gz")
    for (start, end), part in golden.group_by("start", "end", maintain_order=True):
        chosen = genotypes.select(samples=part["sample"].unique(maintain_order=True).to_list())
        found = personal_sequences(chosen, fasta, Interval("22", start, end))
        assert found.counts["checked"] > 0 and found.counts["other"] == 0
        hashes = [hashlib.sha256(text.encode()).hexdigest() for text in found.strings()]
        assert hashes == part["sha256"].to_list()
        assert len(set(hashes)) > 4


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_snvs_equal_a_loop_over_characters(data):
    length = data.draw(st.integers(8, 40))
    sequence = data.draw(st.text("ACGT", min_size=length, max_size=length))
    start = data.draw(st.integers(-6, length - 2))
    stop = data.draw(st.integers(start + 1, length + 6))
    positions = sorted(data.draw(st.sets(st.integers(0, length - 1), max_size=8)))
    variants = [
        (p + 1, sequence[p], data.draw(st.sampled_from([b for b in "ACGT" if b != sequence[p]]))) for p in positions
    ]
    n = data.draw(st.integers(1, 4))
    flat = data.draw(st.lists(st.integers(-1, 1), min_size=2 * n * len(variants), max_size=2 * n * len(variants)))
    alleles = np.array(flat, dtype=np.int8).reshape(n, 2, len(variants))
    reverse = data.draw(st.booleans())
    found = personal_sequences(people(variants, alleles), Text(sequence), Interval("1", start, stop), reverse=reverse)
    expected = []
    for person in range(n):
        for hap in range(2):
            bases = list(sequence)
            for (pos, _, alt), allele in zip(variants, alleles[person, hap]):
                if allele == 1:
                    bases[pos - 1] = alt
            padded = "N" * 6 + "".join(bases) + "N" * 6
            window = padded[start + 6 : stop + 6]
            expected.append(window.translate(str.maketrans("ACGT", "TGCA"))[::-1] if reverse else window)
    assert found.strings() == expected
    np.testing.assert_array_equal(found.onehot(), np.stack([onehot(encode(text)) for text in expected]))
    first, inverse = found.distinct
    assert len(first) == len(set(expected))
    assert [expected[i] for i in first[inverse]] == expected
    assert (np.diff(found.sites) > 0).all()


def test_window_puts_the_tss_at_its_offset_on_both_strands():
    sequence = "ACGTACCTGA" * 3
    for reverse in (False, True):
        window = window_around("1", 12, 9, 2, reverse=reverse)
        found = personal_sequences(people([], np.zeros((1, 2, 0))), Text(sequence), window, tss=12, reverse=reverse)
        assert found.tss_offset == 2
        base = sequence[11] if not reverse else "TGCA"["ACGT".index(sequence[11])]
        assert found.strings()[0][2] == base


def test_ref_mismatches_are_counted_by_kind_and_put_right():
    #           1234567890
    sequence = "ACGTACGTNA"
    variants = [
        (1, "A", "G"),  # as it should be
        (2, "T", "C"),  # swapped: the FASTA has ALT
        (3, "C", "A"),  # the other strand: the FASTA's G is C's complement
        (4, "G", "A"),  # the other strand and swapped: the FASTA's T is A's complement
        (5, "T", "A"),  # swapped or the other strand, nobody knows
        (6, "A", "T"),  # A/T where the FASTA has C
        (9, "G", "T"),  # the FASTA has N
    ]
    alleles = np.array([[[0] * 7, [1] * 7]])
    found = personal_sequences(people(variants, alleles), Text(sequence), Interval("1", 0, 10), max_mismatch=1.0)
    counts = found.counts
    assert (counts["checked"], counts["swapped"], counts["strand"], counts["other"], counts["reference_n"]) == (
        7,
        1,
        2,
        2,
        1,
    )
    assert counts["used"] == 5
    # REF G at 4 is C on the FASTA's strand and ALT A is T there
    assert found.strings() == ["ATGCACGTGA", "GCTTACGTTA"]


def test_too_many_mismatches_are_refused_with_kinds_and_remedy():
    sequence = "ACGTACGTAC" * 20
    variants = [(i + 1, sequence[i], "ACGT"[("ACGT".index(sequence[i]) + 1) % 4]) for i in range(100)]
    fine = people(variants, np.zeros((1, 2, 100)))
    window = Interval("1", 0, 200)
    assert check_reference(fine, Text(sequence), [window, window])["checked"] == 100
    one_wrong = people([(1, "G", "T"), *variants[1:]], np.zeros((1, 2, 100)))
    personal_sequences(one_wrong, Text(sequence), window)  # 1 % is allowed
    two_wrong = people([(1, "G", "T"), (2, "A", "G"), *variants[2:]], np.zeros((1, 2, 100)))
    with pytest.raises(AlignmentError, match=r"2 of 100 variants \(2.0%\).*bcftools norm"):
        personal_sequences(two_wrong, Text(sequence), window)
    with pytest.raises(AlignmentError, match="another genome build"):
        check_reference(fine, Text(sequence[1:] + "A"), [window])
    turned = people([(p, a, r) for p, r, a in variants[:10]] + variants[10:], np.zeros((1, 2, 100)))
    with pytest.raises(AlignmentError, match="--ref-from-fa"):
        personal_sequences(turned, Text(sequence), window)
    allowed = personal_sequences(turned, Text(sequence), window, allow_swapped=True)
    assert allowed.counts["swapped"] == 10
    # dosage 0 of a swapped variant is the FASTA's other base
    assert allowed.strings()[0][:10] == "".join(a for _, _, a in variants[:10])


def test_symbolic_alleles_and_indels_are_counted():
    sequence = "ACGTACGTAC"
    variants = [(1, "A", "<DEL>"), (2, "C", "*"), (3, "G", "GTT"), (4, "TA", "T"), (6, "C", "G")]
    found = personal_sequences(people(variants, np.ones((1, 2, 5))), Text(sequence), Interval("1", 0, 10))
    assert found.counts["symbolic_skipped"] == 2 and found.counts["indels_skipped"] == 2
    assert found.strings() == ["ACGTAGGTAC"] * 2


def test_indels_make_good_from_outside_and_at_the_chromosomes_ends():
    sequence = "AAAACCCCGGGGTTTT"
    # 4 bases lost before the TSS, 3 added behind it
    variants = [(3, "AACCC", "A"), (11, "G", "GACA")]
    found = personal_sequences(
        people(variants, [[[1, 1], [0, 0]]]), Text(sequence), Interval("1", 2, 14), tss=9, indels="apply"
    )
    assert found.strings()[1] == sequence[2:14]
    assert found.strings()[0] == "NNAAACGGGACA"
    assert found.strings()[0][6] == "G" and found.tss_offset == 6
    deleted = personal_sequences(
        people([(8, "CGG", "C")], [[[1], [0]]]),
        Text(sequence),
        Interval("1", 4, 12),
        tss=9,
        indels="apply",
    )
    # the TSS itself is gone: the base before it takes its place
    assert deleted.strings()[0][4] == "C"


def test_unphased_soft_is_the_mean_of_both_bases():
    sequence = "ACGTACGT"
    variants = [(2, "C", "A"), (4, "T", "G"), (4, "T", "C"), (6, "C", "T")]
    alleles = [[[0, 1, 0, 1], [1, 0, 1, 1]], [[-1, 0, 0, 0], [1, 0, 0, 0]]]
    found = personal_sequences(people(variants, alleles, phased=False), Text(sequence), Interval("1", 0, 8))
    assert found.ploidy == 1 and found.n_haplotypes == 2
    channels = found.onehot()
    assert channels[0, 1].tolist() == [0.5, 0.5, 0, 0]
    assert channels[0, 3].tolist() == [0, 0.5, 0.5, 0]  # two ALT alleles, no REF
    assert channels[0, 5].tolist() == [0, 0, 0, 1]
    assert channels[1, 1].tolist() == [0.5, 0.5, 0, 0]  # a missing allele counts as REF
    assert found.counts["missing_alleles"] == 1 and found.counts["unphased_heterozygotes"] == 3
    phased = personal_sequences(people(variants, alleles), Text(sequence), Interval("1", 0, 8))
    np.testing.assert_allclose(phased.onehot().reshape(2, 2, 8, 4).mean(axis=1), channels)
    with pytest.raises(FormatError, match="random"):
        found.codes()
    np.testing.assert_array_equal(found.other_strand().onehot(), channels[:, ::-1, ::-1])


def test_unphased_random_is_seeded_and_the_same_in_every_window():
    rng = np.random.default_rng(0)
    sequence = "".join(rng.choice(list("ACGT"), 200))
    variants = [(i + 1, sequence[i], "ACGT"["CGTA".index(sequence[i])]) for i in range(0, 200, 5)]
    alleles = rng.integers(0, 2, (30, 2, len(variants)))
    genotypes = people(variants, alleles, phased=False)
    options = {"unphased": "random", "seed": 4}
    wide = personal_sequences(genotypes, Text(sequence), Interval("1", 0, 200), **options)
    narrow = personal_sequences(genotypes, Text(sequence), Interval("1", 60, 160), **options)
    assert [text[60:160] for text in wide.strings()] == narrow.strings()
    other = personal_sequences(genotypes, Text(sequence), Interval("1", 0, 200), unphased="random", seed=5)
    assert other.strings() != wide.strings()
    # a person's two sequences together always hold the person's alleles, and half of the pairs are turned
    np.testing.assert_array_equal(
        wide.onehot().reshape(30, 2, 200, 4).sum(axis=1), other.onehot().reshape(30, 2, 200, 4).sum(axis=1)
    )
    het = alleles[:, 0] != alleles[:, 1]
    turned = (wide.alleles.reshape(30, 2, -1) != alleles).any(axis=1)[het].mean()
    assert 0.4 < turned < 0.6


def test_phase_demanded_and_missing_is_refused():
    genotypes = people([(1, "A", "C")], np.zeros((1, 2, 1)), phased=False)
    with pytest.raises(GenopredError, match="toy.vcf carries no phase.*soft or random"):
        personal_sequences(genotypes, Text("ACGT"), Interval("1", 0, 4), unphased="error")
    with pytest.raises(GenopredError, match="--indels apply needs two sequences"):
        personal_sequences(genotypes, Text("ACGT"), Interval("1", 0, 4), indels="apply")
    with pytest.raises(GenopredError, match="there are soft, random, error"):
        personal_sequences(genotypes, Text("ACGT"), Interval("1", 0, 4), unphased="maybe")


def test_reference_row_and_picked_rows(toy):
    window = Interval("1", 500, 700)
    for indels in ("skip", "apply"):
        found = personal_sequences(toy.genotypes, Text(toy.sequence), window, indels=indels)
        more = found.with_reference()
        assert more.strings()[:-2] == found.strings() and more.strings()[-2:] == [toy.sequence[500:700]] * 2
        assert found.take([3, 5]).strings() == [found.strings()[3], found.strings()[5]]


def test_per_person_is_the_mean_of_neighbours(toy):
    found = personal_sequences(toy.genotypes, Text(toy.sequence), Interval("1", 500, 700))
    values = np.arange(16, dtype=float)[:, None]
    assert found.per_person(values)[:, 0].tolist() == [0.5 + 2 * i for i in range(8)]


def test_distinct_rows_and_onehot_of_rows_agree_with_loops():
    rng = np.random.default_rng(1)
    alleles = rng.integers(0, 3, (40, 3)).astype(np.int8)
    first, inverse = distinct_rows(alleles)
    assert len(first) == len({tuple(row) for row in alleles.tolist()})
    np.testing.assert_array_equal(alleles[first][inverse], alleles)
    reference = onehot(encode("ACGTA"))
    sites, ref, alt = np.array([0, 2, 4]), np.array([0, 2, 0], dtype=np.int8), np.array([3, 1, 2], dtype=np.int8)
    found = VariantWindow(reference, sites, ref, alt, alleles).onehot()
    for row, expected in zip(alleles, found):
        loop = reference.copy()
        for site, r, a, allele in zip(sites, ref, alt, row):
            weight = (0.0, 1.0, 0.5)[allele]
            loop[site, r] -= weight
            loop[site, a] += weight
        np.testing.assert_array_equal(loop, expected)


def test_every_pair_of_bases_against_every_base_of_the_fasta():
    """The definition, letter by letter."""
    pair = str.maketrans("ACGT", "TGCA")
    for fasta in "ACGTN":
        for ref in "ACGT":
            for alt in set("ACGT") - {ref}:
                for allow in (False, True):
                    ambiguous = alt == ref.translate(pair)
                    if fasta in (ref, "N"):
                        kind = "" if fasta == ref else "reference_n"
                        wanted = (ref, alt, kind, False)
                    elif ambiguous and not (allow and fasta == alt):
                        wanted = (ref, alt, "other", False)
                    elif fasta == alt:
                        wanted = (alt, ref, "swapped", True)
                    elif fasta == ref.translate(pair):
                        wanted = (fasta, alt.translate(pair), "strand", False)
                    else:  # with neither allele, nor REF's complement, it is ALT's
                        wanted = (alt.translate(pair), ref.translate(pair), "strand", True)
                    own, other, kind, turned = compare_alleles(encode(fasta), encode(ref), encode(alt), allow)
                    assert ("ACGT"[own[0]], "ACGT"[other[0]], kind, turned) == wanted


def test_a_few_mismatches_pass_and_symbols_are_no_sequences():
    counts = {"checked": 100, "swapped": 1, "strand": 1, "other": 0}
    refuse_mismatches(counts, [], 0.02, False, "x.vcf")
    refuse_mismatches(counts, [], 0.01, True, "x.vcf")
    with pytest.raises(AlignmentError, match="x.vcf: the REF of 2 of 100"):
        refuse_mismatches(counts, [], 0.01, False, "x.vcf")
    assert is_sequence("ACgt") and not any(is_sequence(text) for text in ("", "*", ".", "<DEL>", "N", "AN"))
