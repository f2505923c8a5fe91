"""Reference sequences, plain and bgzipped, against string slices."""

from __future__ import annotations

import gzip
import os
import pickle
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.errors import FormatError
from genopred.io.example import load_example
from genopred.io.fasta import open_fasta
from genopred.types import Interval

BASES = {"chr1": ("acgtNRYtgca" * 40)[:411], "chrM": "ACGT"}


def write(path, width=50):
    text = "".join(
        f">{name} some words\n" + "".join(seq[i : i + width] + "\n" for i in range(0, len(seq), width))
        for name, seq in BASES.items()
    )
    path.write_text(text)
    return path


def expected(name, start, end):
    seq = BASES[name].upper()
    return "".join(seq[i] if 0 <= i < len(seq) else "N" for i in range(start, end))


@settings(max_examples=40, deadline=None)
@given(st.integers(-30, 450), st.integers(1, 500))
def test_any_interval(tmp_path_factory, start, length):
    folder = tmp_path_factory.getbasetemp() / "fasta"
    folder.mkdir(exist_ok=True)
    path = folder / "x.fa"
    if not path.exists():
        write(path)
    assert open_fasta(path).fetch(Interval("chr1", start, start + length)) == expected("chr1", start, start + length)


def test_names_lengths_and_pickles(tmp_path):
    fasta = open_fasta(write(tmp_path / "x.fa"))
    assert fasta.chroms == ["chr1", "chrM"]
    assert fasta.length("1") == fasta.length("chr1") == 411 and fasta.length("MT") == 4
    assert (tmp_path / "x.fa.fai").exists(), "the index is made on the fly"
    again = pickle.loads(pickle.dumps(fasta))
    assert again.fetch(Interval("MT", -2, 6)) == "NNACGTNN"
    with pytest.raises(FormatError, match=r"no sequence chr7 \(it has chr1, chrM\)"):
        fasta.fetch(Interval("chr7", 0, 1))


@pytest.mark.skipif(shutil.which("bgzip") is None, reason="bgzip is not installed")
def test_bgzip(tmp_path):
    write(tmp_path / "x.fa")
    subprocess.run(["bgzip", "x.fa"], cwd=tmp_path, check=True)
    for _ in range(2):  # the second time with the index that the first one made
        assert open_fasta(tmp_path / "x.fa.gz").fetch(Interval("1", 20, 420)) == expected("chr1", 20, 420)
    assert (tmp_path / "x.fa.gz.gzi").exists()


def test_folder_that_cannot_be_written(tmp_path, monkeypatch):
    path = write(tmp_path / "x.fa")
    monkeypatch.setattr("genopred.io.fasta._writable", lambda folder: False)
    assert open_fasta(path).fetch(Interval("1", 3, 9)) == expected("chr1", 3, 9)
    assert os.listdir(tmp_path) == ["x.fa"]


def test_index_of_another_file(tmp_path):
    path = write(tmp_path / "x.fa")
    (tmp_path / "x.fa.fai").write_text("chr1\t5000\t17\t50\t51\n")
    with pytest.raises(FormatError, match="its index does not belong to it"):
        open_fasta(path).fetch(Interval("1", 600, 700))


def test_real_reference(shared):
    folder = shared / "data" / "reference"
    fasta = open_fasta(folder / "chr22.b37.fa.gz")
    assert fasta.length("22") == 51_304_566
    with gzip.open(folder / "chr22.b37.fa.gz", "rt") as handle:
        handle.readline()
        bases = "".join(line.rstrip("\n") for line, _ in zip(handle, range(300_000)))
    assert fasta.fetch(Interval("22", 17_000_000, 17_001_000)) == bases[17_000_000:17_001_000].upper()
    assert fasta.fetch(Interval("22", 51_304_560, 51_304_570)).endswith("NNNN")


@pytest.fixture
def packed(tmp_path):
    """The embedded reference, with its indices."""
    for end in ("", ".fai", ".gzi"):
        shutil.copy(f"{load_example().reference_file}{end}", tmp_path / f"x.fa.gz{end}")
    return tmp_path / "x.fa.gz"


PLACE = Interval("22", 40_900_000, 41_100_000)


def test_cut_off_beside_a_good_index(tmp_path, packed):
    path = write(tmp_path / "x.fa")
    open_fasta(path)
    path.write_bytes(path.read_bytes()[:300])
    os.utime(f"{path}.fai")
    with pytest.raises(FormatError, match="x.fa: it is cut off, or its index does not belong to it"):
        open_fasta(path)
    packed.write_bytes(packed.read_bytes()[: packed.stat().st_size // 2])
    with pytest.raises(FormatError, match="x.fa.gz is cut off"):
        open_fasta(packed)


@pytest.mark.parametrize("change", ["x", "c", "0000"])
def test_index_with_another_sequence(tmp_path, packed, change):
    path = write(tmp_path / "x.fa")
    good = open_fasta(path)
    index = tmp_path / "x.fa.fai"
    index.write_text({"x": "chrX\t411\t17", "c": "chr1\t411\t10", "0000": "chr1\t300\t100"}[change] + "\t50\t51\n")
    assert good.fetch(Interval("1", 0, 4)) == expected("chr1", 0, 4)
    fasta = open_fasta(path)
    with pytest.raises(FormatError, match="does not begin at the place that its index names"):
        fasta.fetch(Interval(fasta.chroms[0], 100, 200))


def test_indices_of_another_bgzipped_file(packed, shared):
    folder = shared / "data" / "reference"
    good = open_fasta(packed).fetch(PLACE)
    for end in (".fai", ".gzi"):
        kept = (packed.parent / f"{packed.name}{end}").read_bytes()
        shutil.copy(folder / f"chr22.hg38.fa.gz{end}", f"{packed}{end}")
        with pytest.raises(FormatError, match="does not belong to it|does not begin at the place|no sequence"):
            open_fasta(packed).fetch(PLACE)
        (packed.parent / f"{packed.name}{end}").write_bytes(kept)
    assert open_fasta(packed).fetch(PLACE) == good


@pytest.mark.parametrize("index", [True, False])
def test_flipped_bits(packed, index):
    data = bytearray(packed.read_bytes())
    for at in range(1000, len(data) - 1000, len(data) // 40):
        data[at] ^= 8
    packed.write_bytes(data)
    for end in (".fai", ".gzi"):
        if index:
            os.utime(f"{packed}{end}")
        else:
            os.unlink(f"{packed}{end}")
    with pytest.raises(FormatError, match="x.fa.gz"):
        open_fasta(packed).fetch(PLACE)


def test_pipes_and_marks(tmp_path):
    os.mkfifo(tmp_path / "pipe.fa")
    with pytest.raises(FormatError, match="pipe.fa is a pipe"):
        open_fasta(tmp_path / "pipe.fa")
    path = write(tmp_path / "x.fa")
    os.mkfifo(tmp_path / "x.fa.fai")
    with pytest.raises(FormatError, match="x.fa.fai is a pipe"):
        open_fasta(path)
    (tmp_path / "y.fa").write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    with pytest.raises(FormatError, match="y.fa starts with a byte-order mark"):
        open_fasta(tmp_path / "y.fa")
