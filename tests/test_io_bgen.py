"""BGEN against plink2's conversions of the same calls, and against what the package's own writer was given."""

from __future__ import annotations

import pickle
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from test_io_plink import table
from test_types import in_blocks

from genopred.errors import FormatError, GenopredError
from genopred.io.bgen import read_bgen, read_sample
from genopred.io.pgen import read_pgen

bgen = pytest.importorskip("bgen")

TINY = Path(__file__).parent / "data" / "tiny"
plink2 = pytest.mark.skipif(shutil.which("plink2") is None, reason="plink2 is not installed")
NAMES = ["a", "b", "c", "d", "e"]


def write_bgen(path, probabilities, *, names=NAMES, variants=None, index=False, phased=False, **options):
    """Genotypes (M, N, 3), or haplotypes' probabilities (M, N, 4); by default at 22:100, 22:200 ..."""
    variants = table(len(probabilities)) if variants is None else variants
    with bgen.BgenWriter(str(path), len(probabilities[0]), samples=names, **options) as writer:
        for one, row in zip(probabilities, variants.iter_rows(named=True)):
            writer.add_variant(
                "", row["id"], row["chrom"], row["pos"], [row["ref"], *row["alt"].split(",")], np.asarray(one, float),
                phased=phased, bit_depth=16,
            )  # fmt: skip
    if not index:
        Path(f"{path}.bgi").unlink(missing_ok=True)
    return path


def calls(dosage):
    """Probabilities (M, N, 3) of whole dosages (N, M), NaN where missing."""
    dosage = np.asarray(dosage, dtype=float).T
    out = (dosage[:, :, None] == np.arange(3)).astype(float)
    out[np.isnan(dosage)] = np.nan
    return out


def some_dosages(m=6, n=5, seed=1):
    rng = np.random.default_rng(seed)
    dosage = rng.integers(0, 3, (n, m)).astype(np.float32)
    dosage[rng.random((n, m)) < 0.2] = np.nan
    return dosage


@plink2
@pytest.mark.parametrize(
    "options, within",
    [(["bgen-1.2", "bits=8"], 2 / 255), (["bgen-1.2"], 1e-4), (["bgen-1.3"], 1e-4)],
    ids=["8 bits", "16 bits", "zstd"],
)
@pytest.mark.parametrize("kind", ["calls", "imputed"])
def test_same_as_pgen(tmp_path, options, within, kind):
    source = TINY / "genotypes"
    if kind == "imputed":
        rng = np.random.default_rng(1)
        rows = [
            "\t".join(["1", str(10 * j + 10), f"rs{j}", "A", "G", ".", ".", ".", "DS", *map("{:.3f}".format, ds)])
            for j, ds in enumerate(rng.uniform(0, 2, (20, 30)))
        ]
        head = '##fileformat=VCFv4.2\n##contig=<ID=1>\n##FORMAT=<ID=DS,Number=A,Type=Float,Description="D">\n'
        head += "\t".join(["#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT", *(f"p{i}" for i in range(30))])
        (tmp_path / "x.vcf").write_text("\n".join([head, *rows]) + "\n")
        command = ["plink2", "--vcf", "x.vcf", "dosage=DS", "--make-pgen", "--out", "source"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        source = tmp_path / "source"
    command = ["plink2", "--pfile", str(source), "--export", *options, "ref-first", "--out", "x"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    ours, other = read_bgen(tmp_path / "x.bgen"), read_pgen(source)
    assert ours.samples.tolist() == other.samples.tolist()
    assert ours.variants.equals(other.variants) and not ours.phased and not ours.notes
    expected = other.dosage()
    assert ours.dosage().dtype == np.float32
    np.testing.assert_allclose(ours.dosage(), expected, atol=within)
    if kind == "calls":
        np.testing.assert_array_equal(ours.dosage(), expected)
    else:
        assert not np.array_equal(np.rint(expected), expected)
    by_sample = read_bgen(tmp_path / "x.bgen", tmp_path / "x.sample")
    assert by_sample.samples.tolist() == other.samples.tolist()
    if options[0] == "bgen-1.3":
        command = ["plink2", "--pfile", str(source), "--export", "bgen-1.2", "--out", "last"]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        last = read_bgen(tmp_path / "last.bgen")
        assert last.variants.rename({"ref": "alt", "alt": "ref"}).select(ours.variants.columns).equals(ours.variants)
        np.testing.assert_allclose(2 - last.dosage(), expected, atol=1e-4)


@pytest.mark.parametrize("index", [True, False], ids=["indexed", "walked"])
@pytest.mark.parametrize("compression", [None, "zlib", "zstd"])
def test_written_is_read(tmp_path, index, compression):
    dosage = some_dosages()
    path = write_bgen(tmp_path / "x.bgen", calls(dosage), index=index, compression=compression)
    assert Path(f"{path}.bgi").exists() == index
    found = read_bgen(path)
    assert found.samples.tolist() == NAMES and found.variants.equals(table(6))
    np.testing.assert_array_equal(found.dosage(), dosage)
    part = found.select(["d", "a"], [4, 4, 0])
    np.testing.assert_array_equal(part.dosage(), dosage[[3, 0]][:, [4, 4, 0]])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(part)).dosage(), dosage[[3, 0]][:, [4, 4, 0]])
    assert found.dosage([]).shape == (5, 0) and part.select([]).dosage().shape == (0, 3)
    for size in (1, 2, 4, 5):
        np.testing.assert_array_equal(in_blocks(found, size), dosage)
        np.testing.assert_array_equal(in_blocks(part, size), part.dosage())
    with pytest.raises(FormatError, match=r"read by its dosages, which have no alleles.*--make-pgen"):
        found.haplotypes().alleles()


def test_phased_and_uncertain_ones(tmp_path):
    rng = np.random.default_rng(3)
    p = rng.uniform(0, 1, (4, 5, 2))
    p[1, 2] = np.nan
    haplotypes = np.stack([1 - p[..., 0], p[..., 0], 1 - p[..., 1], p[..., 1]], axis=-1)
    found = read_bgen(write_bgen(tmp_path / "x.bgen", haplotypes, phased=True))
    assert not found.phased
    np.testing.assert_allclose(found.dosage(), p.sum(axis=2).T, atol=1e-4)
    q = rng.dirichlet([1, 1, 1], (4, 5))
    found = read_bgen(write_bgen(tmp_path / "y.bgen", q))
    np.testing.assert_allclose(found.dosage(), (q[..., 1] + 2 * q[..., 2]).T, atol=1e-4)


def test_other_ploidies(tmp_path):
    path = tmp_path / "x.bgen"
    with bgen.BgenWriter(str(path), 3, samples=["a", "b", "c"]) as writer:
        mixed = np.array([[0, 1, np.nan], [0.25, 0.5, 0.25], [1, 0, np.nan]])
        writer.add_variant("", "x", "X", 5, ["A", "G"], mixed, ploidy=np.array([1, 2, 1], dtype=np.uint8))
        writer.add_variant("", "y", "X", 6, ["A", "G"], np.array([[0, 1], [1, 0], [0.5, 0.5]]), ploidy=1)
        writer.add_variant("", "z", "X", 7, ["A", "G"], np.tile([0, 1, 0, 0.0], (3, 1)), ploidy=3)
    found = read_bgen(path)
    np.testing.assert_allclose(found.dosage([0, 1]), [[2, 2], [1, 0], [0, 1]], atol=0.01)
    with pytest.raises(FormatError, match="X:7 has ploidy 3; needed 1 or 2"):
        found.dosage([2])


@pytest.mark.parametrize("index", [True, False], ids=["indexed", "walked"])
def test_variants_are_screened_and_named(tmp_path, index):
    rows = [
        ("01", 10, "", "A", "G"), ("01", 20, "m", "A", "G,T"), ("01", 20, "rs2", "C", "G"), ("01", 30, "s", "A", "A"),
    ]  # fmt: skip
    variants = pl.DataFrame(rows, schema=table(1).schema, orient="row")
    three = np.tile(np.eye(6)[0], (5, 1))
    probabilities = [calls(np.ones((5, 1)))[0], three, calls(np.full((5, 1), 2))[0], calls(np.ones((5, 1)))[0]]
    found = read_bgen(write_bgen(tmp_path / "x.bgen", probabilities, variants=variants, index=index))
    assert found.variants.rows() == [("1", 10, "1:10:A:G", "A", "G"), ("1", 20, "rs2", "C", "G")]
    np.testing.assert_array_equal(found.dosage(), np.tile([1, 2], (5, 1)))
    assert [note[:3] for note in found.notes] == [
        ("dropped", "variant without exactly two alleles", 1), ("dropped", "both alleles are the same", 1),
    ]  # fmt: skip
    only = write_bgen(tmp_path / "y.bgen", [three], variants=variants[1:2], index=index)
    with pytest.raises(FormatError, match="none of its 1 variants has two alleles"):
        read_bgen(only)


SAMPLE = "ID_1 ID_2 missing sex\n0 0 0 D\n" + "".join(f"f{i} p{i} 0 1\n" for i in range(5))


def test_people_of_a_sample(tmp_path):
    path = write_bgen(tmp_path / "x.bgen", calls(some_dosages()), names=None)
    with pytest.raises(FormatError, match=r"does not name its people, and there is no x\.sample.*--sample FILE"):
        read_bgen(path)
    (tmp_path / "x.sample").write_text(SAMPLE)
    assert read_bgen(path).samples.tolist() == [f"p{i}" for i in range(5)]
    other = tmp_path / "other.sample"
    other.write_text("ID\tmissing\n0\t0\n" + "".join(f"q{i}\t0\n" for i in range(5)))
    assert read_bgen(path, other).samples.tolist() == [f"q{i}" for i in range(5)]
    assert read_bgen(path, ids="fid_iid").samples[0] == "f0_p0"
    other.write_text(SAMPLE + "f9 p9 0 1\n")
    with pytest.raises(FormatError, match=r"names 6 people, .*x\.bgen has 5"):
        read_bgen(path, other)
    for text, words in [
        (SAMPLE + "f0 p0 0 1\n", r"line 8: sample p0 \(family f0\) is already on line 3"),
        (SAMPLE.replace("ID_1", "FID"), "found FID, ID_2, .*; needed a .sample"),
        (SAMPLE.replace("0 0 0 D\n", ""), r"lines 1 and 2: found ID_1.* and f0, p0"),
        ("ID_1 ID_2 missing\n", "and nothing; needed a .sample"),
        ("", "is empty; needed a .sample"),
    ]:
        other.write_text(text)
        with pytest.raises(FormatError, match=words):
            read_sample(other)
    with pytest.raises(GenopredError, match="ids 'x' is unknown"):
        read_bgen(path, ids="x")
    twice = write_bgen(tmp_path / "twice.bgen", calls(some_dosages()), names=["a", "b", "a", "c", "b"])
    with pytest.raises(FormatError, match=r"2 names of people are there more than once \(a, b\)"):
        read_bgen(twice)


def test_no_bgen(tmp_path):
    with pytest.raises(FormatError, match=r"none\.bgen: no such file"):
        read_bgen(tmp_path / "none.bgen")
    with pytest.raises(FormatError, match="is a folder; needed a BGEN"):
        read_bgen(tmp_path)
    for name, data in {
        "empty": b"", "text": b"hello\n" * 20, "zeros": bytes(100), "pgen": (TINY / "genotypes.pgen").read_bytes()
    }.items():  # fmt: skip
        path = tmp_path / f"{name}.bgen"
        path.write_bytes(data)
        with pytest.raises(FormatError, match="does not start as a BGEN does"):
            read_bgen(path)
    path = write_bgen(tmp_path / "x.bgen", calls(some_dosages()), layout=1, compression="zlib")
    with pytest.raises(FormatError, match="layout 1, .*; needed layout 2"):
        read_bgen(path)


@pytest.mark.parametrize("index", [True, False], ids=["indexed", "walked"])
def test_cut_off_and_too_long(tmp_path, index):
    whole = write_bgen(tmp_path / "x.bgen", calls(some_dosages()), index=index)
    data = whole.read_bytes()
    for size in (4, 19, 22, 30, 60, len(data) // 2, len(data) - 1):
        whole.write_bytes(data[:size])
        with pytest.raises(FormatError, match=r"cut off|does not start as a BGEN"):
            read_bgen(whole)
    whole.write_bytes(data + b"more")
    with pytest.raises(FormatError, match=r"x\.bgen is too long|by it the file ends"):
        read_bgen(whole)


def test_a_file_cut_off_after_it_was_opened(tmp_path):
    path = write_bgen(tmp_path / "x.bgen", calls(some_dosages()))
    found = read_bgen(path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(FormatError, match="damaged or cut off"):
        found.dosage()
    path.unlink()
    with pytest.raises(FormatError, match="damaged or cut off"):
        pickle.loads(pickle.dumps(found)).dosage()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_damaged_byte_never_ends_the_program(tmp_path, seed):
    path = write_bgen(tmp_path / "x.bgen", calls(some_dosages(3)))
    data = path.read_bytes()
    rng = np.random.default_rng(seed)
    refused = 0
    for at in rng.integers(0, len(data), 150).tolist():
        path.write_bytes(data[:at] + bytes([data[at] ^ int(rng.integers(1, 256))]) + data[at + 1 :])
        try:
            assert read_bgen(path).dosage().shape[0] > 0
        except GenopredError:
            refused += 1
    assert refused > 50


def test_an_index_of_another_file(tmp_path):
    path = write_bgen(tmp_path / "x.bgen", calls(some_dosages()), index=True)
    index = Path(f"{path}.bgi")
    again = write_bgen(tmp_path / "y.bgen", calls(some_dosages(5)), index=True)
    good = index.read_bytes()

    def changed(statement):
        index.write_bytes(good)
        connection = sqlite3.connect(index)
        connection.execute(statement)
        connection.commit()
        connection.close()

    shutil.copy(f"{again}.bgi", index)
    with pytest.raises(FormatError, match=r"it lists 5 variants, the file has 6\).*bgenix -g \S+ -index -clobber"):
        read_bgen(path)
    index.write_bytes(b"no database at all" * 100)
    with pytest.raises(FormatError, match=r"index does not belong to this file \(it cannot be read"):
        read_bgen(path)
    changed("DROP TABLE Variant")
    with pytest.raises(FormatError, match="it cannot be read: no such table"):
        read_bgen(path)
    changed("UPDATE Variant SET size_in_bytes = size_in_bytes + 1 WHERE position = (SELECT MIN(position) FROM Variant)")
    with pytest.raises(FormatError, match="do not lie where the file's do"):
        read_bgen(path)
    changed("UPDATE Variant SET position = position + 1")
    found = read_bgen(path)
    with pytest.raises(FormatError, match="it has position [0-9]+ where the file has"):
        found.dosage()
    index.unlink()
    index.mkdir()
    with pytest.raises(FormatError, match=r"x\.bgen\.bgi is a folder; needed the index of a BGEN"):
        read_bgen(path)


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    path = write_bgen(tmp_path / "x.bgen", calls(some_dosages()))
    monkeypatch.setitem(sys.modules, "bgen", None)
    with pytest.raises(GenopredError, match=re.escape("pip install 'genopred[bgen]'")):
        read_bgen(path)
