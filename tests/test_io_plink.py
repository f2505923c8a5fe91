"""PLINK 1 filesets against the VCF they were converted from by plink2, and against plink's own bit layout."""

from __future__ import annotations

import gzip
import os
import pickle
import subprocess
import sys
import tracemalloc
import venv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plink_data import write_pgen, write_plink
from test_types import in_blocks

from genopred.errors import FormatError, GenopredError
from genopred.io.pgen import read_pgen
from genopred.io.plink import read_bim, read_fam, read_plink
from genopred.types import VARIANT_SCHEMA, Interval

TINY = Path(__file__).parent / "data" / "tiny"


def naive_vcf(path=TINY / "genotypes.vcf.gz"):
    """Samples, variant rows and alleles (N, 2, M) of a simple VCF, read with nothing but string methods."""
    rows, calls = [], []
    with gzip.open(path, "rt") as handle:
        for line in handle:
            cells = line.rstrip("\n").split("\t")
            if line.startswith("#CHROM"):
                samples = cells[9:]
            elif not line.startswith("#"):
                rows.append((cells[0], int(cells[1]), cells[2], cells[3], cells[4]))
                calls.append([[-1 if c == "." else int(c) for c in cell.split("|")] for cell in cells[9:]])
    return samples, rows, np.transpose(np.array(calls, dtype=np.int8), (1, 2, 0))


def naive_dosage(alleles):
    return np.where((alleles < 0).any(axis=1), np.nan, alleles.sum(axis=1)).astype(np.float32)


def naive_bed(path, n):
    """Copies of allele 1, decoded bit by bit as PLINK's format description has it."""
    data = path.read_bytes()[3:]
    width = (n + 3) // 4
    out = np.empty((n, len(data) // width), dtype=np.float32)
    for j in range(out.shape[1]):
        for i in range(n):
            out[i, j] = {0b00: 2, 0b01: np.nan, 0b10: 1, 0b11: 0}[data[j * width + i // 4] >> 2 * (i % 4) & 3]
    return out


def table(m, chrom="22"):
    return pl.DataFrame(
        {
            "chrom": [chrom] * m,
            "pos": [100 + 10 * j for j in range(m)],
            "id": [f"rs{j}" for j in range(m)],
            "ref": ["A"] * m,
            "alt": ["G"] * m,
        },
        schema=VARIANT_SCHEMA,
    )


def test_same_as_vcf_and_as_the_bits():
    samples, rows, alleles = naive_vcf()
    genotypes = read_plink(TINY / "genotypes")
    assert genotypes.samples.tolist() == samples
    plain = [(c.removeprefix("chr"), *rest) for c, *rest in rows]
    assert genotypes.variants.rows() == plain
    assert not genotypes.phased
    dosage = genotypes.dosage()
    assert dosage.dtype == np.float32
    np.testing.assert_array_equal(dosage, naive_dosage(alleles))
    np.testing.assert_array_equal(dosage, naive_bed(TINY / "genotypes.bed", len(samples)))
    assert np.isnan(dosage).sum() > 5
    unordered = genotypes.haplotypes().alleles()
    np.testing.assert_array_equal(unordered, np.sort(alleles, axis=1))


def test_windows_selections_and_pickles():
    genotypes = read_plink(f"{TINY}/genotypes.bed")
    whole = genotypes.dosage()
    pos = genotypes.variants["pos"].to_numpy()
    window = Interval("chr22", int(pos[10]) - 1, int(pos[20]))
    np.testing.assert_array_equal(genotypes.dosage(window), whole[:, 10:21])
    some = genotypes.select(samples=genotypes.samples[[7, 3, 50]], variants=[9, 2])
    np.testing.assert_array_equal(some.dosage(), whole[np.ix_([7, 3, 50], [9, 2])])
    np.testing.assert_array_equal(some.select(variants=[1]).dosage(), whole[np.ix_([7, 3, 50], [2])])
    again = pickle.loads(pickle.dumps(some))
    np.testing.assert_array_equal(again.dosage([0]), whole[np.ix_([7, 3, 50], [9])])
    assert genotypes.dosage([]).shape == (60, 0)
    assert genotypes.dosage(Interval("chr1", 0, 10**9)).shape == (60, 0)


def test_blocks_of_people():
    genotypes = read_plink(TINY / "genotypes")
    whole = genotypes.dosage()
    for size in (1, 7, 60):
        np.testing.assert_array_equal(in_blocks(genotypes, size), whole)
    people = np.random.default_rng(1).permutation(60)[:33]
    some = genotypes.select(genotypes.samples[people], [9, 2, 9])
    np.testing.assert_array_equal(in_blocks(some, 10), whole[people][:, [9, 2, 9]])


@pytest.mark.parametrize("kind", ["bed", "pgen"])
def test_memory_is_that_of_a_block(tmp_path, kind):
    n, m, size = 20_000, 150, 500
    dosage = np.random.default_rng(1).integers(0, 3, (n, m)).astype(np.float32)
    names = [f"p{i}" for i in range(n)]
    (write_plink if kind == "bed" else write_pgen)(tmp_path / "x", dosage, names, table(m))
    genotypes = (read_plink if kind == "bed" else read_pgen)(tmp_path / "x")
    tracemalloc.start()
    try:
        at = 0
        for _, block in genotypes.blocks(size):
            np.testing.assert_array_equal(block, dosage[at : at + len(block)])
            at += len(block)
            del block
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert at == n
    assert peak < 16 * size * m + 20 * n < dosage.nbytes / 6, "a block, its copy, and the numbers of people"


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_written_is_read(tmp_path_factory, data):
    n, m = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 6))
    cells = st.sampled_from([0, 1, 2, np.nan])
    dosage = np.array(data.draw(st.lists(cells, min_size=n * m, max_size=n * m)), dtype=np.float32).reshape(n, m)
    prefix = tmp_path_factory.mktemp("bed") / "x"
    names = [f"s{i}" for i in range(n)]
    write_plink(prefix, dosage, names, table(m))
    back = read_plink(prefix)
    np.testing.assert_array_equal(back.dosage(), dosage)
    assert back.samples.tolist() == names and back.variants.equals(table(m))
    assert sorted(path.name for path in prefix.parent.iterdir()) == ["x.bed", "x.bim", "x.fam"]


def test_blanks_tabs_and_missing_alleles(tmp_path):
    bim = tmp_path / "x.bim"
    bim.write_text("  22   rs1 0  100 0 A \n22\trs2\t0\t200\tG\tC\n")
    assert read_bim(bim).rows() == [("22", 100, "rs1", "A", "."), ("22", 200, "rs2", "C", "G")]
    fam = tmp_path / "x.fam"
    fam.write_text("f1 a 0 0 1 -9\r\nf1 b 0 0 2 -9\r\n")
    assert read_fam(fam).tolist() == ["a", "b"]
    assert read_fam(fam, ids="fid_iid").tolist() == ["f1_a", "f1_b"]


def test_iids_of_several_families(tmp_path):
    fam = tmp_path / "x.fam"
    fam.write_text("f1 a 0 0 1 -9\nf2 a 0 0 2 -9\n")
    with pytest.raises(FormatError, match="FID_IID does"):
        read_fam(fam)
    assert read_fam(fam, ids="fid_iid").tolist() == ["f1_a", "f2_a"]


def test_negative_positions_are_left_out_as_in_plink(tmp_path):
    write_plink(tmp_path / "x", [[0, 1, 2]], ["a"], table(3).with_columns(pos=pl.Series([1, -2, 3])))
    genotypes = read_plink(tmp_path / "x")
    assert genotypes.dosage().tolist() == [[0, 2]]
    assert genotypes.notes[0][2:] == (1, "rs1")


def test_file_gone_meanwhile(tmp_path):
    write_plink(tmp_path / "x", [[0, 1]], ["a"], table(2))
    genotypes = read_plink(tmp_path / "x")
    (tmp_path / "x.bed").unlink()
    with pytest.raises(FormatError, match="was it changed or moved"):
        genotypes.dosage()


def test_unknown_engine_and_absent_pandas_plink():
    with pytest.raises(GenopredError, match="choose 'bed-reader' or 'pandas-plink'"):
        read_plink(TINY / "genotypes", engine="plinkio")
    try:
        import pandas_plink  # noqa: F401
    except ImportError:
        with pytest.raises(GenopredError, match=r"install genopred\[pandas-plink\]"):
            read_plink(TINY / "genotypes", engine="pandas-plink")


ENGINES = """
import pickle, sys
import numpy as np
from pandas_plink import read_plink1_bin
from genopred.io.plink import read_plink
from genopred.types import Genotypes
prefix = sys.argv[1]
ours, theirs = read_plink(prefix), read_plink(prefix, engine="pandas-plink")
expected = ours.dosage()
assert np.isnan(expected).any() and (expected == 2).any()
np.testing.assert_array_equal(theirs.dosage(), expected)
np.testing.assert_array_equal(theirs.dosage([5, 1]), expected[:, [5, 1]])
np.testing.assert_array_equal(theirs.haplotypes().alleles(), ours.haplotypes().alleles())
np.testing.assert_array_equal(pickle.loads(pickle.dumps(theirs)).dosage([3]), expected[:, [3]])
assert theirs.variants.equals(ours.variants) and (theirs.samples == ours.samples).all()
for counted in ("a1", "a0"):
    array = read_plink1_bin(prefix + ".bed", verbose=False, ref=counted)
    held = Genotypes.from_xarray(array, counted=counted)
    np.testing.assert_array_equal(held.dosage(), expected)
    assert held.variants.equals(ours.variants) and (held.samples == ours.samples).all()
default = read_plink1_bin(prefix + ".bed", verbose=False)
np.testing.assert_array_equal(Genotypes.from_xarray(default).dosage(), expected)
np.testing.assert_array_equal(default.values, 2 - expected)
print("engines agree on", expected.size, "genotypes")
"""


def test_pandas_plink_decodes_as_bed_reader_does(monkeypatch):
    """Against a module of its name, whose lazy array counts the .bim's allele 1 where it is told ref="a0"."""
    ours = read_plink(TINY / "genotypes")

    class Lazy:
        def __init__(self, values):
            self.values = values

        def __getitem__(self, key):
            return Lazy(self.values[key])

        def compute(self, scheduler):
            return self.values

    def read_plink1_bin(bed, bim, fam, *, verbose, ref):
        assert ref == "a0" and [path.suffix for path in (bed, bim, fam)] == [".bed", ".bim", ".fam"]
        return SimpleNamespace(data=Lazy(ours.dosage()))

    monkeypatch.setitem(sys.modules, "pandas_plink", SimpleNamespace(read_plink1_bin=read_plink1_bin))
    theirs = read_plink(TINY / "genotypes", engine="pandas-plink")
    np.testing.assert_array_equal(theirs.dosage(), ours.dosage())
    np.testing.assert_array_equal(theirs.haplotypes().alleles(), ours.haplotypes().alleles())
    assert theirs.dosage().dtype == np.float32 and np.isnan(theirs.dosage()).any()
    assert pickle.loads(pickle.dumps(theirs)).n_variants == ours.n_variants


@pytest.mark.skipif(not os.environ.get("GENOPRED_SLOW"), reason="GENOPRED_SLOW is not set: builds an environment")
def test_pandas_plink_in_its_own_environment(tmp_path):
    """pandas-plink pins numpy<2 and pandas<3, so it is tried where it can live: in an environment of its own."""
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    wanted = ["numpy<2", "pandas<3", "pandas-plink>=2.3", "polars>=1.20", "bed-reader>=1.0.5"]
    installed = subprocess.run([python, "-m", "pip", "install", "-q", *wanted], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"pip cannot install pandas-plink here: {installed.stderr.strip().splitlines()[-1:]}")
    run = subprocess.run(
        [python, "-c", ENGINES, str(TINY / "genotypes")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert run.returncode == 0, run.stderr
    assert "engines agree on 3300 genotypes" in run.stdout


def test_variants_without_id_are_named_by_place_and_alleles(tmp_path):
    rows = table(2).with_columns(id=pl.lit("."), chrom=pl.lit("chr22"))
    write_plink(tmp_path / "x", [[0, 1]], ["a"], rows)
    assert read_plink(tmp_path / "x").variants["id"].to_list() == [
        f"22:{pos}:{ref}:{alt}" for pos, ref, alt in rows.select("pos", "ref", "alt").iter_rows()
    ]


def test_a_fileset_with_a_pipe_in_it(tmp_path):
    write_plink(tmp_path / "x", [[0, 1]], ["a"], table(2))
    for end in (".bed", ".bim", ".fam"):
        path = tmp_path / f"x{end}"
        kept = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(FormatError, match=f"x{end} is a pipe"):
            read_plink(tmp_path / "x")
        path.unlink()
        path.write_bytes(kept)
    read_plink(tmp_path / "x")


def test_a_file_that_was_cut_after_it_was_opened(tmp_path):
    write_plink(tmp_path / "x", [[0, 1, 2]] * 9, [f"s{i}" for i in range(9)], table(3))
    genotypes = read_plink(tmp_path / "x")
    (tmp_path / "x.bed").write_bytes((tmp_path / "x.bed").read_bytes()[:7])
    with pytest.raises(FormatError, match="x.bed"):
        genotypes.dosage(Interval("22", 110, 200))
