"""PLINK 2 filesets against the VCF they were converted from by plink2."""

from __future__ import annotations

import pickle
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from test_io_plink import naive_dosage, naive_vcf
from test_io_vcf import write
from test_types import in_blocks

from genopred.errors import FormatError, GenopredError
from genopred.io.example import load_example
from genopred.io.pgen import _pvar, read_pgen, read_psam, stored_bytes
from genopred.io.text import bounded
from genopred.io.variants import named
from genopred.io.vcf import read_vcf
from genopred.types import Interval

TINY = Path(__file__).parent / "data" / "tiny"
plink2 = pytest.mark.skipif(shutil.which("plink2") is None, reason="plink2 is not installed")


def test_same_as_vcf():
    samples, rows, alleles = naive_vcf()
    genotypes = read_pgen(TINY / "genotypes")
    assert genotypes.samples.tolist() == samples
    assert genotypes.variants.rows() == [(c.removeprefix("chr"), *rest) for c, *rest in rows]
    assert genotypes.phased
    np.testing.assert_array_equal(genotypes.dosage(), naive_dosage(alleles))
    np.testing.assert_array_equal(genotypes.haplotypes().alleles(), alleles)
    part = genotypes.select(samples=genotypes.samples[[9, 2]], variants=[8, 8, 1])
    np.testing.assert_array_equal(part.haplotypes().alleles(), alleles[[9, 2]][:, :, [8, 8, 1]])
    again = pickle.loads(pickle.dumps(part))
    np.testing.assert_array_equal(again.dosage(), naive_dosage(alleles)[[9, 2]][:, [8, 8, 1]])
    assert genotypes.dosage(Interval("1", 0, 10)).shape == (60, 0)
    assert genotypes.haplotypes().alleles([]).shape == (60, 2, 0)
    assert not read_pgen(f"{TINY}/genotypes.pgen", phased=False).phased


@plink2
@pytest.mark.parametrize("multiallelic", ["skip", "split"])
@pytest.mark.parametrize("compress", [[], ["vzs"]])
def test_kinds_of_variants(tmp_path, multiallelic, compress):
    rows = [
        "1 10 rs1 A G . . . GT 0|1 1|1 .|.",
        "1 20 y   A G,T . . . GT 1|2 0|2 0|1",
        "1 30 z   A G . . . GT 0|1 1|0 0/1",
        "1 40 w   A . . . . GT 0|0 0|0 0|0",
    ]
    vcf = write(tmp_path / "x.vcf", rows)
    command = ["plink2", "--vcf", "x.vcf", "--make-pgen", *compress, "--out", "x"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    ours, other = read_pgen(tmp_path / "x", multiallelic=multiallelic), read_vcf(vcf, multiallelic=multiallelic)
    assert ours.phased and not other.phased
    assert ours.variants.equals(other.variants)
    np.testing.assert_array_equal(ours.dosage(), other.dosage())
    assert [note[:1] + note[2:3] for note in ours.notes] == [note[:1] + note[2:3] for note in other.notes]
    with pytest.raises(FormatError, match=r"variant 3 of the \.pvar has 1 unphased"):
        ours.haplotypes().alleles()
    unordered = read_pgen(tmp_path / "x", multiallelic=multiallelic, phased=False)
    np.testing.assert_array_equal(unordered.haplotypes().alleles(), other.haplotypes().alleles())


@plink2
def test_imputed_dosages(tmp_path):
    write(tmp_path / "x.vcf", ["1 10 rs1 A G . . . GT:DS 0|1:0.9 1|1:1.75 0|0:0.25"])
    command = ["plink2", "--vcf", "x.vcf", "dosage=DS", "--make-pgen", "--out", "x"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    np.testing.assert_allclose(read_pgen(tmp_path / "x").dosage().ravel(), [0.9, 1.75, 0.25], atol=1e-4)


def test_psam_and_pvar_layouts(tmp_path):
    psam = tmp_path / "x.psam"
    psam.write_text("##made by hand\n#FID\tIID\tSEX\nf1\ta\t1\nf2\ta\t2\n")
    with pytest.raises(FormatError, match="FID_IID does"):
        read_psam(psam)
    assert read_psam(psam, ids="fid_iid").tolist() == ["f1_a", "f2_a"]
    psam.write_text("f1 a 0 0 1 -9\nf1 b 0 0 1 -9\n")
    assert read_psam(psam).tolist() == ["a", "b"]
    psam.write_text("#SID\tSEX\nx\t1\n")
    with pytest.raises(FormatError, match="line 1: no column IID"):
        read_psam(psam)
    psam.write_text("#IID\tSEX\nx\t1\nx\t1\n")
    with pytest.raises(FormatError, match="line 3: sample x .* already on line 2"):
        read_psam(psam)
    pvar = tmp_path / "x.pvar"
    pvar.write_text("22\trs1\t0\t10\tG\tA\n")
    assert named(_pvar(pvar)[0]).rows() == [("22", 10, "rs1", "A", "G")]
    pvar.write_text("##x\n#CHROM\tPOS\tID\tREF\n22\t1\t.\tA\n")
    with pytest.raises(FormatError, match="line 2: no column ALT"):
        _pvar(pvar)
    pvar.write_text("#CHROM\tPOS\tID\tREF\tALT\n22\t1\t.\tA\tG\n")
    assert named(_pvar(pvar)[0])["id"].to_list() == ["22:1:A:G"]


def test_missing_file_and_option(tmp_path):
    with pytest.raises(FormatError, match=r"x\.pvar"):
        read_pgen(tmp_path / "x")
    with pytest.raises(GenopredError, match="choose 'skip' or 'split'"):
        read_pgen(TINY / "genotypes", multiallelic="no")


def test_build_names_and_odd_variants(tmp_path):
    shutil.copy(TINY / "genotypes.pgen", tmp_path / "x.pgen")
    shutil.copy(TINY / "genotypes.psam", tmp_path / "x.psam")
    lines = [line.split("\t") for line in (TINY / "genotypes.pvar").read_text().splitlines() if line[:2] != "##"]
    head = "##contig=<ID=22,length=51304566>\n"
    for cells in lines[1:]:
        cells[0], cells[2] = "chr22", "."
    lines[1][4] = lines[1][3]
    lines[3][1:5] = lines[2][1:5]
    (tmp_path / "x.pvar").write_text("\ufeff" + head + "".join("\t".join(cells) + "\n" for cells in lines))
    genotypes = read_pgen(tmp_path / "x")
    assert genotypes.build == "GRCh37" and read_pgen(TINY / "genotypes").n_variants == genotypes.n_variants + 1
    _, pos, _, ref, alt = lines[2][:5]
    assert genotypes.variants["id"][0] == f"22:{pos}:{ref}:{alt}"
    assert [note[:3] for note in genotypes.notes][-2:] == [
        ("dropped", "both alleles are the same", 1),
        ("note", "same position and alleles as another variant", 2),
    ]
    np.testing.assert_array_equal(genotypes.dosage(), read_pgen(TINY / "genotypes").dosage()[:, 1:])


def test_a_zstd_bomb_is_left_at_the_bound(tmp_path):
    zstd = pytest.importorskip("pyarrow")
    shutil.copy(TINY / "genotypes.pgen", tmp_path / "x.pgen")
    shutil.copy(TINY / "genotypes.psam", tmp_path / "x.psam")
    with zstd.output_stream(str(tmp_path / "x.pvar.zst"), compression="zstd") as stream:
        stream.write(b"#CHROM\tPOS\tID\tREF\tALT\n" + b"22\t1\t.\tA\tG\n" * 1_000_000)
    with bounded(1_000_000), pytest.raises(FormatError, match=r"x.pvar.zst holds more than 1,000,000.*--max-bytes"):
        read_pgen(tmp_path / "x")


@pytest.mark.parametrize("cut", [5, 12, 60, 400])
def test_a_file_that_is_cut_off(tmp_path, cut):
    for end in (".pgen", ".pvar", ".psam"):
        shutil.copy(TINY / f"genotypes{end}", tmp_path / f"x{end}")
    (tmp_path / "x.pgen").write_bytes((TINY / "genotypes.pgen").read_bytes()[:cut])
    with pytest.raises(FormatError, match="x.pgen"):
        read_pgen(tmp_path / "x").dosage(Interval("22", 0, 10**9))


def test_a_file_cut_off_anywhere_is_noticed_before_its_last_variants_are_asked_for(tmp_path):
    example = load_example()
    for suffix in (".pgen", ".pvar", ".psam"):
        (tmp_path / f"x{suffix}").write_bytes(Path(f"{example.pfile}{suffix}").read_bytes())
    path = tmp_path / "x.pgen"
    whole = path.read_bytes()
    assert stored_bytes(path) == len(whole)
    for keep in (len(whole) - 1, len(whole) // 2, 9000):
        path.write_bytes(whole[:keep])
        with pytest.raises(FormatError, match="x.pgen"):
            read_pgen(tmp_path / "x")
    path.write_bytes(whole + b"\0")
    with pytest.raises(FormatError, match=f"its index ends at {len(whole):,}"):
        read_pgen(tmp_path / "x")


@plink2
def test_the_index_of_plink2s_own_files(shared, tmp_path):
    """More than one block of variants."""
    vcf = shared / "data" / "geuvadis_chr22" / "genotypes.chr22.vcf.gz"
    words = ["plink2", "--vcf", vcf, "--make-pgen", "--threads", "1", "--memory", "2000", "--out", tmp_path / "x"]
    subprocess.run(words, check=True, capture_output=True)
    assert stored_bytes(tmp_path / "x.pgen") == (tmp_path / "x.pgen").stat().st_size


@pytest.mark.parametrize("seed", [1, 2])
def test_some_people_are_read_as_from_all(seed):
    rng = np.random.default_rng(seed)
    whole = read_pgen(TINY / "genotypes")
    dosage, alleles = whole.dosage(), whole.haplotypes().alleles()
    n = whole.n_samples
    for rows in (rng.permutation(n), rng.permutation(n)[:7], np.sort(rng.permutation(n)[:30]), np.arange(9, 20)):
        np.testing.assert_array_equal(whole.reader.dosage(rows, np.arange(whole.n_variants)), dosage[rows])
        np.testing.assert_array_equal(whole.reader.alleles(rows, np.arange(whole.n_variants)), alleles[rows])
    twice = rng.integers(0, n, 2 * n)
    np.testing.assert_array_equal(whole.reader.dosage(twice, np.array([3, 1])), dosage[twice][:, [3, 1]])
    assert whole.reader.dosage(np.array([], dtype=np.int64), np.array([3, 1])).shape == (0, 2)
    np.testing.assert_array_equal(whole.dosage(), dosage)
    for size in (1, 8, 59, 60):
        np.testing.assert_array_equal(in_blocks(whole, size), dosage)
    fewer = whole.select(whole.samples[rng.permutation(n)[:31]])
    np.testing.assert_array_equal(in_blocks(fewer, 7, [5, 2]), fewer.dosage([5, 2]))


@plink2
@pytest.mark.parametrize(
    "row, options",
    [
        ("1 10 rs1 A G . . . GT:DS 0|1:0.9 1|1:1.75 0|0:0.25", ["dosage=DS"]),
        ("1 20 y A G,T . . . GT 1|2 0|2 .|.", []),
    ],
    ids=["imputed", "split"],
)
def test_some_people_of_other_kinds(tmp_path, row, options):
    write(tmp_path / "x.vcf", [row])
    command = ["plink2", "--vcf", "x.vcf", *options, "--make-pgen", "--out", "x"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    whole = read_pgen(tmp_path / "x", multiallelic="split")
    assert whole.n_variants == (1 if options else 2)
    dosage = whole.dosage()
    for size in (1, 2):
        np.testing.assert_array_equal(in_blocks(whole, size), dosage)
    np.testing.assert_array_equal(whole.reader.dosage(np.array([2, 0]), np.arange(whole.n_variants)), dosage[[2, 0]])
