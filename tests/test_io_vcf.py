"""VCF and BCF against a reader made of string methods."""

from __future__ import annotations

import gzip
import os
import pickle
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from test_io_plink import naive_dosage, naive_vcf
from test_types import in_blocks

from genopred.errors import FormatError, GenopredError
from genopred.io.plink import read_plink
from genopred.io.spool import Spool
from genopred.io.vcf import read_vcf
from genopred.types import Interval

TINY = Path(__file__).parent / "data" / "tiny"

HEAD = """##fileformat=VCFv4.2
##contig=<ID=1>
##contig=<ID=2>
##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">
##FORMAT=<ID=DS,Number=A,Type=Float,Description="Dosage">
#CHROM	POS	ID	REF	ALT	QUAL	FILTER	INFO	FORMAT	a	b	c
"""


def write(path, rows, head=HEAD):
    path.write_text(head + "".join("\t".join(row.split()) + "\n" for row in rows))
    return path


@pytest.fixture(params=["genotypes.vcf.gz", "genotypes.bcf", "unindexed", "plain"])
def genotypes(request, tmp_path):
    """The same file, read through both kinds of index and without any."""
    if request.param.startswith("genotypes"):
        return read_vcf(TINY / request.param)
    if request.param == "unindexed":
        return read_vcf(shutil.copy(TINY / "genotypes.vcf.gz", tmp_path))
    (tmp_path / "x.vcf").write_bytes(gzip.decompress((TINY / "genotypes.vcf.gz").read_bytes()))
    return read_vcf(tmp_path / "x.vcf")


def test_same_as_naive(genotypes):
    samples, rows, alleles = naive_vcf()
    assert genotypes.samples.tolist() == samples
    assert genotypes.variants.rows() == rows
    assert genotypes.phased and genotypes.haplotypes().phased
    np.testing.assert_array_equal(genotypes.haplotypes().alleles(), alleles)
    np.testing.assert_array_equal(genotypes.dosage(), naive_dosage(alleles))
    rng = np.random.default_rng(1)
    for _ in range(5):
        columns = rng.integers(0, len(rows), 12)
        people = rng.permutation(60)[:9]
        part = genotypes.select(samples=genotypes.samples[people], variants=columns)
        np.testing.assert_array_equal(part.haplotypes().alleles(), alleles[people][:, :, columns])
        again = pickle.loads(pickle.dumps(part))
        np.testing.assert_array_equal(again.dosage(), naive_dosage(alleles)[people][:, columns])
    low, high = rows[5][1], rows[30][1]
    np.testing.assert_array_equal(genotypes.dosage(Interval("22", low - 1, high)), naive_dosage(alleles)[:, 5:31])
    assert genotypes.dosage([]).shape == (60, 0)
    assert genotypes.haplotypes().alleles([]).shape == (60, 2, 0)


@pytest.mark.parametrize("in_file", [False, True])
def test_blocks_of_people(genotypes, in_file, monkeypatch):
    rng = np.random.default_rng(2)
    dosage = naive_dosage(naive_vcf()[2])
    again = pickle.loads(pickle.dumps(genotypes))  # which holds no genotypes, and goes by the index where there is one
    if in_file:
        monkeypatch.setattr("genopred.io.vcf.Spool", lambda shape, dtype, size: Spool(shape, dtype, min(size, 5)))
    for one in (genotypes, again):
        for size in (1, 7, 60):
            np.testing.assert_array_equal(in_blocks(one, size), dosage)
        people, columns = rng.permutation(60)[:33], rng.integers(0, dosage.shape[1], 12)
        some = one.select(one.samples[people], columns)
        np.testing.assert_array_equal(in_blocks(some, 16), dosage[people][:, columns])
        np.testing.assert_array_equal(in_blocks(some, 16, [5, 0, 5]), dosage[people][:, columns[[5, 0, 5]]])
        assert in_blocks(some, 16, []).shape == (33, 0)


@pytest.mark.skipif(shutil.which("bcftools") is None, reason="bcftools is not installed")
def test_blocks_of_imputed_dosages_and_records_without(tmp_path):
    rows = ["1 10 rs1 A G . . . DS 0.1 1.5 .", "1 20 x A G . . . XX 1 1 1", "1 30 y A G,T . . . DS 0.5,0.25 1,0 0,2"]
    head = HEAD.replace("ID=GT", "ID=XX")
    write(tmp_path / "x.vcf", rows, head)
    for command in ("bcftools view -Oz -o x.vcf.gz x.vcf", "bcftools index x.vcf.gz"):
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    indexed = read_vcf(tmp_path / "x.vcf.gz", multiallelic="split")
    nan = np.nan
    expected = np.array([[0.1, nan, 0.5, 0.25], [1.5, nan, 1, 0], [nan, nan, 0, 2]], dtype=np.float32)
    for size in (1, 2, 3):
        np.testing.assert_array_equal(in_blocks(indexed, size), expected)
    calls = read_vcf(write(tmp_path / "y.vcf", ["1 1 a A G . . . GT 0|1 1|1 .|1", "1 2 b A G . . . DS 1 1 1"]))
    np.testing.assert_array_equal(in_blocks(calls, 2), [[1, nan], [2, nan], [nan, nan]])


def test_few_records_at_a_time_are_the_same(monkeypatch):
    monkeypatch.setattr("genopred.io.vcf._BATCH_BYTES", 1)
    genotypes = pickle.loads(pickle.dumps(read_vcf(TINY / "genotypes.vcf.gz")))
    np.testing.assert_array_equal(genotypes.dosage(), naive_dosage(naive_vcf()[2]))


def test_without_index_decoded_once(tmp_path, monkeypatch):
    genotypes = read_vcf(shutil.copy(TINY / "genotypes.vcf.gz", tmp_path))
    first = genotypes.dosage([3])
    monkeypatch.setattr("genopred.io.vcf._open", None)
    np.testing.assert_array_equal(genotypes.dosage([3]), first)


def test_kinds_of_records(tmp_path):
    path = write(
        tmp_path / "x.vcf",
        [
            "1 10 rs1 A G . . . GT 0|1 1|1 .|.",
            "1 20 .   A G,T . . . GT 1|2 0|2 0|1",
            "1 30 .   A . . . . GT 0|0 0|0 0|0",
            "1 40 .   A G . . . GT 0 1 0|1",
            "1 50 .   A G . . . GT .|1 1|0 0|0",
            "2 5  .   AC A . . . GT 0|1 1|0 0|0",
        ],
    )
    genotypes = read_vcf(path)
    assert genotypes.variants["id"].to_list() == ["rs1", "1:40:A:G", "1:50:A:G", "2:5:AC:A"]
    nan = np.nan
    np.testing.assert_array_equal(genotypes.dosage(), [[1, 0, nan, 1], [2, 2, 1, 1], [nan, 1, 0, 0]])
    assert [note[:3] for note in genotypes.notes] == [
        ("dropped", "record without ALT allele", 1),
        ("dropped", "record with several ALT alleles (multiallelic='split' keeps them)", 1),
    ]
    split = read_vcf(path, multiallelic="split")
    assert split.variants["id"].to_list()[1:3] == ["1:20:A:G", "1:20:A:T"]
    np.testing.assert_array_equal(split.dosage([1, 2]), [[1, 1], [0, 1], [1, 0]])
    np.testing.assert_array_equal(split.haplotypes().alleles([1, 2])[0], [[1, 0], [0, 1]])
    assert split.notes[-1][:3] == ("note", "record with several ALT alleles, split", 1)


def test_dosages(tmp_path):
    rows = ["1 10 rs1 A G . . . DS 0.1 1.5 .", "1 20 rs2 A G,T . . . DS 0.5,0.25 1,0 0,2"]
    genotypes = read_vcf(write(tmp_path / "x.vcf", rows, HEAD.replace("ID=GT", "ID=XX")), multiallelic="split")
    expected = np.array([[0.1, 0.5, 0.25], [1.5, 1, 0], [np.nan, 0, 2]], dtype=np.float32)
    np.testing.assert_array_equal(genotypes.dosage(), expected)
    with pytest.raises(FormatError, match="dosages"):
        genotypes.haplotypes().alleles()
    both = write(tmp_path / "y.vcf", ["1 10 rs1 A G . . . GT:DS 0|1:0.9 1|1:2 0|0:0"])
    assert read_vcf(both).dosage().ravel().tolist() == [1, 2, 0]
    np.testing.assert_allclose(read_vcf(both, field="DS").dosage().ravel(), [0.9, 2, 0], rtol=1e-6)


def test_phase(tmp_path):
    unphased = write(tmp_path / "u.vcf", ["1 10 a A G . . . GT 0/1 1/1 0/0", "1 20 b A G . . . GT 1|0 0|0 0|1"])
    assert not read_vcf(unphased).phased
    assert read_vcf(unphased).haplotypes().alleles()[0].tolist() == [[0, 1], [1, 0]]
    homozygous = write(tmp_path / "h.vcf", ["1 10 a A G . . . GT 1/1 0/0 0/0", "1 20 b A G . . . GT 1|0 0|0 0|1"])
    assert read_vcf(homozygous).phased, "a homozygote has no phase to lose"
    assert not read_vcf(homozygous, phased=False).phased


def test_unsorted_file_is_read_in_its_order(tmp_path):
    rows = ["2 10 a A G . . . GT 0|1 0|0 0|0", "1 9 b A G . . . GT 1|1 0|0 0|0", "2 4 c A G . . . GT 0|0 0|0 0|0"]
    genotypes = read_vcf(write(tmp_path / "x.vcf", rows))
    assert genotypes.variants["id"].to_list() == ["a", "b", "c"]
    assert genotypes.dosage([2, 1, 0])[0].tolist() == [0, 2, 1]


def test_too_large_without_index(tmp_path):
    path = shutil.copy(TINY / "genotypes.vcf.gz", tmp_path)
    with pytest.raises(FormatError, match=r"no index.*bcftools index"):
        read_vcf(path, memory_limit=1000)


def test_index_of_another_file(tmp_path):
    path = tmp_path / "x.vcf.gz"
    shutil.copy(TINY / "genotypes.vcf.gz", path)
    other = tmp_path / "y.vcf"
    write(other, ["1 10 rs1 A G . . . GT 0|1 1|1 .|."])
    from cyvcf2 import VCF, Writer

    writer = Writer(str(tmp_path / "y.vcf.gz"), VCF(str(other)), mode="wz")
    for record in VCF(str(other)):
        writer.write_record(record)
    writer.close()
    shutil.copy(TINY / "genotypes.bcf.csi", f"{path}.csi")
    with pytest.raises(FormatError, match="index does not belong to this file"):
        read_vcf(path)
    (tmp_path / "x.vcf.gz.csi").unlink()
    shutil.copy(TINY / "genotypes.vcf.gz.tbi", tmp_path)
    shutil.copy(tmp_path / "y.vcf.gz", tmp_path / "genotypes.vcf.gz")
    with pytest.raises(FormatError, match=r"genotypes.vcf.gz.tbi speaks of 55 records, the file has 1\)"):
        read_vcf(tmp_path / "genotypes.vcf.gz")
    shutil.copy(TINY / "genotypes.vcf.gz.tbi", f"{path}.tbi")
    genotypes = pickle.loads(pickle.dumps(read_vcf(path)))  # a copy holds no genotypes and goes by the index
    genotypes.dosage()
    (tmp_path / "x.vcf.gz.tbi").unlink()
    shutil.copy(TINY / "genotypes.bcf.csi", f"{path}.csi")  # changed after opening
    with pytest.raises(FormatError, match="index"):
        pickle.loads(pickle.dumps(genotypes)).dosage()


def test_unknown_options():
    with pytest.raises(GenopredError, match="choose 'GT' or 'DS'"):
        read_vcf(TINY / "genotypes.bcf", field="GP")
    with pytest.raises(GenopredError, match="choose 'skip' or 'split'"):
        read_vcf(TINY / "genotypes.bcf", multiallelic="first")
    with pytest.raises(FormatError, match="FORMAT field DS is not in the header"):
        read_vcf(TINY / "genotypes.bcf", field="DS")


def test_real_chromosome(shared):
    """All 30 million genotypes of chr22, in windows, against plink2's conversion where it is installed."""
    genotypes = read_vcf(shared / "data" / "geuvadis_chr22" / "genotypes.chr22.vcf.gz")
    assert genotypes.n_variants == 85_485 and genotypes.n_samples == 358 and genotypes.phased
    window = Interval.around("22", 46_663_858, 100_000)
    alleles = genotypes.haplotypes().alleles(window)
    assert alleles.min() == 0 and alleles.max() == 1
    frequency = genotypes.dosage(window).mean(axis=0) / 2
    assert np.minimum(frequency, 1 - frequency).min() > 0.03


def test_tiny_is_a_slice_of_the_original(shared):
    tiny = read_vcf(TINY / "genotypes.vcf.gz")
    whole = read_vcf(shared / "data" / "geuvadis_chr22" / "genotypes.chr22.vcf.gz")
    at = np.flatnonzero(whole.variants["id"].is_in(tiny.variants["id"].to_list()).to_numpy())
    original = whole.select(samples=tiny.samples, variants=at)
    known = tiny.haplotypes().alleles() >= 0
    assert 0.99 < known.mean() < 1
    np.testing.assert_array_equal(tiny.haplotypes().alleles()[known], original.haplotypes().alleles()[known])
    np.testing.assert_array_equal(np.isnan(read_plink(TINY / "genotypes").dosage()), ~known[:, 0])


def test_a_record_without_gt_is_missing(tmp_path):
    text = (
        "##fileformat=VCFv4.2\n##contig=<ID=1>\n"
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="g">\n'
        '##FORMAT=<ID=GQ,Number=1,Type=Integer,Description="q">\n'
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ta\tb\n"
        "1\t5\tx\tA\tC\t.\t.\t.\tGT\t0|1\t1|1\n1\t9\ty\tA\tC\t.\t.\t.\tGQ\t3\t4\n"
    )
    path = tmp_path / "x.vcf"
    path.write_text(text)
    np.testing.assert_array_equal(read_vcf(path).dosage(), [[1, np.nan], [2, np.nan]])


@pytest.mark.parametrize("call", ["0|9", "2|0", "9|9"])
def test_an_allele_that_alt_does_not_list(tmp_path, call):
    write(tmp_path / "x.vcf", ["1 10 rs1 A G . . . GT 0|1 1|1 0|0", f"1 20 rs2 A G . . . GT 0|1 {call} 0|0"])
    with pytest.raises(FormatError, match=rf"x.vcf 1:20 has a genotype with allele {max(call[0], call[2])}, but ALT"):
        read_vcf(tmp_path / "x.vcf").dosage()
    write(tmp_path / "x.vcf", ["1 10 rs1 A G . . . GT 0|1 1|1 0|0", "1 20 rs2 A G,C . . . GT 0|1 2|2 0|0"])
    assert read_vcf(tmp_path / "x.vcf", multiallelic="split").dosage()[1].tolist() == [2, 0, 2]


def test_an_index_older_than_its_file_is_noted(tmp_path):
    for name in ("genotypes.vcf.gz", "genotypes.vcf.gz.tbi"):
        shutil.copy(TINY / name, tmp_path)
    assert read_vcf(tmp_path / "genotypes.vcf.gz").notes == ()
    os.utime(tmp_path / "genotypes.vcf.gz.tbi", (1, 1))
    assert read_vcf(tmp_path / "genotypes.vcf.gz").notes == (
        ("note", "index older than the file", 1, "genotypes.vcf.gz.tbi"),
    )
    (tmp_path / "genotypes.vcf.gz.tbi").write_bytes(b"rubbish")
    with pytest.raises(FormatError, match="index does not belong to this file.*cannot be read"):
        read_vcf(tmp_path / "genotypes.vcf.gz")
    (tmp_path / "genotypes.vcf.gz.tbi").unlink()
    os.mkfifo(tmp_path / "genotypes.vcf.gz.tbi")
    with pytest.raises(FormatError, match="genotypes.vcf.gz.tbi is a pipe"):
        read_vcf(tmp_path / "genotypes.vcf.gz")


def test_same_alleles_and_repeats_are_counted(tmp_path):
    rows = ["1 10 rs1 A A . . . GT 0|1 1|1 .|.", *["1 20 . A G . . . GT 0|1 1|1 .|."] * 2]
    write(tmp_path / "x.vcf", rows)
    genotypes = read_vcf(tmp_path / "x.vcf")
    assert genotypes.variants["id"].to_list() == ["1:20:A:G"] * 2
    assert [note[:3] for note in genotypes.notes] == [
        ("dropped", "both alleles are the same", 1),
        ("note", "same position and alleles as another variant", 2),
    ]
    assert genotypes.dosage()[:2].tolist() == [[1, 1], [2, 2]]


def test_the_build_is_known_by_the_header(shared):
    assert read_vcf(shared / "data" / "geuvadis_chr22" / "genotypes.chr22.vcf.gz").build == "GRCh37"


def test_a_byte_order_mark_is_named(tmp_path):
    write(tmp_path / "x.vcf", ["1 10 rs1 A G . . . GT 0|1 1|1 .|."])
    (tmp_path / "x.vcf").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "x.vcf").read_bytes())
    with pytest.raises(FormatError, match=r"x.vcf starts with a byte-order mark.*tail -c \+4"):
        read_vcf(tmp_path / "x.vcf")


@pytest.mark.parametrize(
    "line", ["##fileformat=VCFv4.2", "#CHROM POS", "7 30", "7 30 rs", "7 x rs A G . . . GT 0|1", ""]
)
def test_what_htslib_cannot_parse_on_an_undeclared_chromosome(tmp_path, line):
    rows = ["1 10 rs1 A G . . . GT 0|1 1|1 .|.", line]
    write(tmp_path / "x.vcf", rows)
    with pytest.raises(FormatError, match="x.vcf record 2"):  # where REF was asked for, the process ended
        read_vcf(tmp_path / "x.vcf")
