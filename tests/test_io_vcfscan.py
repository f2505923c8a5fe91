"""The one-pass reader of plain VCFs against cyvcf2 on the same files."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.errors import FormatError
from genopred.io import vcf, vcfscan
from genopred.io.vcf import read_vcf

TINY = Path(__file__).parent / "data" / "tiny"

HEAD = """##fileformat=VCFv4.2
##contig=<ID=1>
##contig=<ID=chr2>
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
##FORMAT=<ID=DS,Number=A,Type=Float,Description="Dosage">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ta\tb\tc
"""


def block(text):
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = packer.compress(text) + packer.flush()
    head = b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff\x06\x00BC\x02\x00" + (len(body) + 25).to_bytes(2, "little")
    return head + body + zlib.crc32(text).to_bytes(4, "little") + len(text).to_bytes(4, "little")


def bgzip(path, text, size=65280):
    text = text.encode()
    path.write_bytes(b"".join(block(text[i : i + size]) for i in range(0, len(text), size)) + block(b""))
    return path


def lines(*rows):
    return HEAD + "".join("\t".join(row.split()) + "\n" for row in rows)


def outcome(path, **options):
    """Everything that a caller sees of a file, errors included."""
    try:
        genotypes = read_vcf(path, **options)
        seen = [genotypes.samples.tolist(), genotypes.variants.rows(), genotypes.variants.schema, genotypes.phased]
        seen += [genotypes.notes, genotypes.reader.records.sorted, genotypes.reader.indexed]
        seen += [genotypes.reader.records.chroms, genotypes.reader.records.starts.tolist()]
    except FormatError as problem:
        return str(problem)
    try:
        alleles = genotypes.reader.alleles(np.arange(genotypes.n_samples), np.arange(genotypes.n_variants))
        dosage = genotypes.dosage()
    except FormatError as problem:
        return [*seen, str(problem)]
    assert dosage.dtype == np.float32 and alleles.dtype == np.int8
    return [*seen, alleles.tolist(), np.nan_to_num(dosage, nan=-9.0).tolist()]


def both(path, **options):
    """The outcomes with and without the one pass."""
    fast = outcome(path, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vcf, "_KEEP", 0)
        slow = outcome(path, **options)
    return fast, slow


GENOTYPE = st.sampled_from(["0|0", "0|1", "1|0", "1|1", ".|.", "./.", "0/0", "1/1", ".|1", "0/.", "."])
ODD = st.sampled_from(["0/1", "1/0", "0|2", "1", "0|1|1", "10|0", "0|", "-1|0"])


@st.composite
def files(draw):
    genotype = st.one_of(GENOTYPE, ODD) if draw(st.integers(0, 3)) == 0 else GENOTYPE
    rows, pos = [], 1
    for _ in range(draw(st.integers(0, 6))):
        pos = max(1, pos + draw(st.integers(-1, 40)))
        kind = draw(st.sampled_from(["GT"] * 3 + ["GT:DS"]))
        calls = [draw(genotype) + draw(st.sampled_from(["", ":0.5"] if kind == "GT:DS" else [""])) for _ in "abc"]
        alt = draw(st.sampled_from(["G", "T", "AC", "<DEL>"] * 3 + [".", "G,T"]))
        chrom = draw(st.sampled_from(["1", "1", "chr2"]))
        name = draw(st.sampled_from([".", "rs1", 'r"2;x']))
        rows.append("\t".join([chrom, str(pos), name, "A", alt, ".", "PASS", ".", kind, *calls]) + "\n")
    text = HEAD + "".join(rows)
    if draw(st.booleans()):
        text = text.rstrip("\n") if rows else text
    if draw(st.integers(0, 5)) == 0:
        text = text.replace("\n", "\r\n")
    return text, draw(st.integers(20, 400)), draw(st.integers(30, 500))


@settings(max_examples=150, deadline=None)
@given(files(), st.sampled_from([None, False]), st.sampled_from(["skip", "split"]))
def test_same_as_cyvcf2(tmp_path_factory, drawn, phased, multiallelic):
    text, size, chunk = drawn
    path = bgzip(tmp_path_factory.mktemp("scan") / "x.vcf.gz", text, size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vcfscan, "_CHUNK", chunk)
        fast, slow = both(path, phased=phased, multiallelic=multiallelic)
    assert fast == slow


@pytest.mark.parametrize("size", [37, 65280])
def test_plain_file_takes_the_pass(tmp_path, size):
    text = lines("1 10 rs1 A G . . . GT 0|1 1|1 .|.", "chr2 7 . AC A . . . GT:DS 0|0:0 1/1:2 .:0")
    scan = vcfscan.scan_vcf(bgzip(tmp_path / "x.vcf.gz", text, size), 3, 1e6)
    assert scan is not None
    assert scan.table.rows() == [("1", 10, "rs1", "A", "G"), ("chr2", 7, ".", "AC", "A")]
    assert scan.alleles.tolist() == [[[0, 1], [1, 1], [-1, -1]], [[0, 0], [1, 1], [-1, -1]]]
    assert scan.heterozygotes.tolist() == [1, 0] and scan.unphased.tolist() == [0, 0]
    assert vcfscan.scan_vcf(tmp_path / "x.vcf.gz", 3, 5) is None, "more than the limit"
    assert vcfscan.scan_vcf(tmp_path / "x.vcf.gz", 2, 1e6) is None, "another number of samples"


@pytest.mark.parametrize(
    "row",
    [
        "1 10 rs1 A G,T . . . GT 0|1 1|1 0|0",
        "1 10 rs1 A . . . . GT 0|0 0|0 0|0",
        "1 10 rs1 A G . . . GT 0 1|1 0|0",
        "1 10 rs1 A G . . . GT 0|2 1|1 0|0",
        "1 10 rs1 A G . . . DS:GT 1:0|1 2:1|1 0:0|0",
        "1 10 rs1 A G . . . GT 0|1 1|1",
        "1 1e3 rs1 A G . . . GT 0|1 1|1 0|0",
        "1 10 rs1",
    ],
)
def test_other_records_are_left_to_cyvcf2(tmp_path, row):
    path = bgzip(tmp_path / "x.vcf.gz", lines("1 9 a A G . . . GT 0|1 1|1 0|0", row))
    assert vcfscan.scan_vcf(path, 3, 1e6) is None
    fast, slow = both(path)
    assert fast == slow


def test_damage_is_left_to_cyvcf2(tmp_path):
    path = bgzip(tmp_path / "x.vcf.gz", lines(*["1 9 a A G . . . GT 0|1 1|1 0|0"] * 50))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 255
    path.write_bytes(raw)
    assert vcfscan.scan_vcf(path, 3, 1e6) is None
    path.write_bytes(b"\x1f\x8b no gzip at all, but long enough")
    assert vcfscan.scan_vcf(path, 3, 1e6) is None


def test_heterozygotes_that_lose_their_phase(tmp_path):
    rows = [f"1 {i} a A G . . . GT 0|1 1|1 0|0" for i in range(1, 1003)] + ["1 2000 b A G . . . GT 0/1 0|0 0|0"]
    path = bgzip(tmp_path / "x.vcf.gz", lines(*rows))
    fast, slow = both(path)
    assert fast == slow and "1:2000 has unphased heterozygotes" in fast[-1]
    fast, slow = both(path, phased=False)
    assert fast == slow and not fast[3]


def test_indexed_slice_of_the_original(monkeypatch):
    fast, slow = both(TINY / "genotypes.vcf.gz")
    assert fast == slow
    assert read_vcf(TINY / "genotypes.vcf.gz").reader._cache is not None


def test_whole_chromosome(shared, monkeypatch):
    path = shared / "data" / "geuvadis_chr22" / "genotypes.chr22.vcf.gz"
    fast = read_vcf(path)
    monkeypatch.setattr(vcf, "_KEEP", 0)
    slow = read_vcf(path)
    assert fast.reader._cache is not None and slow.reader._cache is None
    assert fast.phased == slow.phased and fast.variants.equals(slow.variants)
    np.testing.assert_array_equal(fast.haplotypes().alleles(), slow.haplotypes().alleles())
    np.testing.assert_array_equal(fast.dosage(), slow.dosage())
