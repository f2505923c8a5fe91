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
