"""bigWig tracks against loops over the values that were written, and against the files' own headers."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.errors import FormatError, GenopredError, ModelError
from genopred.io import bigwig
from genopred.io.bigwig import read_signal, read_stretches

pyBigWig = pytest.importorskip("pyBigWig", reason="pyBigWig is not installed")

SIZES = {"chr1": 1003, "chr2": 257}


def write(path, values, sizes=SIZES):
    """A bigWig of values by chromosome and 0-based position; what is not named has no value."""
    with pyBigWig.open(str(path), "w") as out:
        out.addHeader(list(sizes.items()), maxZooms=2)
        for chrom in sizes:
            at = sorted(values.get(chrom, {}))
            if at:
                ends = [i + 1 for i in at]
                out.addEntries([chrom] * len(at), at, ends=ends, values=[float(values[chrom][i]) for i in at])
    return path


def naive(values, length, step):
    out = [0.0] * -(-length // step)
    for i, value in values.items():
        if value == value:
            out[i // step] += abs(value)
    return np.array(out)


def signal(seed=1, sign=1.0, share=0.3, sizes=SIZES):
    rng = np.random.default_rng(seed)
    return {
        chrom: {int(i): sign * float(np.float32(rng.gamma(1.0, 5.0))) for i in np.flatnonzero(rng.random(size) < share)}
        for chrom, size in sizes.items()
    }


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    step=st.sampled_from([1, 2, 7, 16, 128, 256, 257, 5000]),
    sign=st.sampled_from([1.0, -1.0]),
    share=st.sampled_from([0.02, 0.5, 1.0]),
    piece=st.sampled_from([1, 50, 300, 4_000_000]),
)
def test_sums_are_those_of_a_loop(tmp_path_factory, seed, step, sign, share, piece):
    file = tmp_path_factory.mktemp("bw") / "track.bw"
    values = signal(seed, sign, share)
    write(file, values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bigwig, "PIECE", piece)
        found = read_signal(file, SIZES, step)
    assert list(found) == list(SIZES)
    for chrom, size in SIZES.items():
        assert found[chrom].dtype == np.float32
        np.testing.assert_allclose(found[chrom], naive(values[chrom], size, step), rtol=1e-6)


def test_intervals_gaps_and_nan(tmp_path):
    """A value may span bases, be NaN, or be a zero among negative ones."""
    file = tmp_path / "track.bw"
    with pyBigWig.open(str(file), "w") as out:
        out.addHeader([("chr1", 100)], maxZooms=0)
        out.addEntries(["chr1"] * 4, [3, 20, 40, 60], ends=[13, 22, 45, 61], values=[-2.0, float("nan"), 0.0, -7.5])
    assert read_signal(file, {"chr1": 100}, 10)["chr1"].tolist() == [14, 6, 0, 0, 0, 0, 7.5, 0, 0, 0]


@pytest.mark.parametrize(("here", "there"), [("22", "chr22"), ("chr22", "22"), ("chrX", "X"), ("MT", "chrM")])
def test_chromosomes_match_without_prefix(tmp_path, here, there):
    file = write(tmp_path / "track.bw", {there: {5: 3.0}}, {"chr9": 50, there: 40})
    assert read_signal(file, {here: 40}, 20)[here].tolist() == [3, 0]


def test_only_what_is_asked_for_is_judged(tmp_path):
    """Another sign, another size or no value on a chromosome that is not read is no fault."""
    file = write(tmp_path / "track.bw", {"chr1": {3: -1.0}, "chr2": {3: 1.0}}, {**SIZES, "chr3": 10})
    assert read_signal(file, {"chr2": 257}, 257)["chr2"].tolist() == [1]


def refused(file, lengths=SIZES, step=16, kind=FormatError):
    with pytest.raises(kind) as caught:
        read_signal(file, lengths, step)
    return str(caught.value)


def test_a_window_is_its_values_and_nothing_beyond_the_ends(tmp_path):
    values = signal()
    write(tmp_path / "t.bw", values)
    for start, end in ((0, 50), (-7, 12), (990, 1020), (1500, 1510), (-20, -5)):
        found = read_stretches(tmp_path / "t.bw", {"1": 1003}, ["1"], np.array([start]), end - start)[0]
        np.testing.assert_allclose(found, [values["chr1"].get(i, 0.0) for i in range(start, end)], rtol=1e-6)
    with pytest.raises(FormatError, match="another genome build"):
        read_stretches(tmp_path / "t.bw", {"1": 1004}, ["1"], np.array([0]), 5)
    with pytest.raises(FormatError, match="not a bigWig"):
        (tmp_path / "x.bw").write_text(
            "text that is none, but long enough for a header of a file, which is 64 bytes long"
        )
        read_stretches(tmp_path / "x.bw", {"1": 1003}, ["1"], np.array([0]), 5)


def test_other_names(tmp_path):
    file = write(tmp_path / "t.bw", {"NC_000001.11": {3: 1.0}}, {"NC_000001.11": 1003, "NC_000002.12": 257})
    message = refused(file)
    assert "no chromosome in common" in message and "NC_000001.11" in message and "chr1, chr2" in message


def test_lacking_chromosome(tmp_path):
    message = refused(write(tmp_path / "t.bw", signal()), {**SIZES, "chr3": 80})
    assert "lacks 1 of 3 chromosomes (chr3;" in message


def test_other_build(tmp_path):
    message = refused(write(tmp_path / "t.bw", signal()), {"1": 1003, "2": 300})
    assert "another genome build" in message and "chr2: 257 bp here, 300 in the FASTA" in message
    assert "1 of 2" in message and str(tmp_path) in message and "lift" in message


def test_both_signs(tmp_path):
    values = signal()
    values["chr2"] = {int(i): -v for i, v in values["chr2"].items()}
    message = refused(write(tmp_path / "t.bw", values))
    assert "negative and positive" in message and "chr2" in message


def test_infinite_value(tmp_path):
    file = tmp_path / "t.bw"
    with pyBigWig.open(str(file), "w") as out:
        out.addHeader([("chr1", 1003)], maxZooms=0)
        out.addEntries(["chr1"], [500], ends=[501], values=[float("inf")])
    assert "infinite value at chr1:501" in refused(file, {"chr1": 1003})


@pytest.mark.parametrize(("values", "which"), [({}, "2 of 2 chromosomes (chr1, chr2)"), ({"chr1": {3: 1.0}}, "(chr2)")])
def test_no_signal(tmp_path, values, which):
    """Also on one chromosome of several: headers name chromosomes that the file has nothing of."""
    file = write(tmp_path / "t.bw", {**values, "chr3": {3: 1.0}}, {**SIZES, "chr3": 10})
    message = refused(file)
    assert "no signal" in message and which in message


def test_no_bigwig(tmp_path):
    file = tmp_path / "t.bedGraph"
    file.write_text("chr1\t0\t10\t3\n")
    assert "not a bigWig" in refused(file) and "bedGraphToBigWig" in refused(file)
    file.write_bytes(b"")
    assert "empty" in refused(file)
    file.write_bytes(bytes.fromhex("ebf28987") + bytes(100))
    assert "bigBed" in refused(file)
    assert "no such file" in refused(tmp_path / "none.bw")
    assert "is a folder" in refused(tmp_path)


def test_cut_files(tmp_path):
    """pyBigWig crashes on some of these, and takes the process with it."""
    data = write(tmp_path / "t.bw", signal(share=1.0)).read_bytes()
    for size in (4, 63, 64, 90, 200, len(data) // 4, len(data) // 2):
        file = tmp_path / f"{size}.bw"
        file.write_bytes(data[:size])
        assert "cut short" in refused(file)


def test_damaged_data(tmp_path):
    file = write(tmp_path / "t.bw", signal(share=1.0))
    data = bytearray(file.read_bytes())
    begin = int.from_bytes(data[16:24], "little")
    data[begin + 8 : begin + 2000] = bytes(1992)
    file.write_bytes(data)
    assert "damaged" in refused(file) or "could not be opened" in refused(file)


def test_arguments(tmp_path):
    file = write(tmp_path / "t.bw", signal())
    assert "step = 0" in refused(file, step=0, kind=GenopredError)
    assert "no chromosome was asked for" in refused(file, {}, kind=GenopredError)


def test_without_pybigwig(tmp_path, monkeypatch):
    file = write(tmp_path / "t.bw", signal())
    monkeypatch.setitem(sys.modules, "pyBigWig", None)
    assert "pip install 'genopred[sequence]'" in refused(file, kind=ModelError)


@pytest.mark.parametrize("name", ["acc.GM12878.chr22", "K562.ds.chr22.mn", "K562.ds.chr22.pl"])
def test_public_tracks_sum_to_their_headers(shared, name):
    file = shared / "data" / "tracks" / f"{name}.bw"
    with pyBigWig.open(str(file)) as track:
        length, total = track.chroms("chr22"), track.header()["sumData"]
    sums = read_signal(file, {"22": length}, 16)["22"]
    assert len(sums) == -(-length // 16) and (sums >= 0).all()
    np.testing.assert_allclose(sums.sum(dtype=np.float64), abs(total), rtol=1e-7)


def test_stretches_are_what_a_whole_chromosome_has_there(tmp_path):
    values = signal()
    file = write(tmp_path / "t.bw", values)
    chrom, length = next(iter(SIZES.items()))
    whole = read_signal(file, SIZES, 1)
    starts = np.array([-5, 0, 17, length - 3])
    found = read_stretches(file, SIZES, [chrom] * 4, starts, 9)
    for row, start in zip(found, starts.tolist()):
        at = np.arange(start, start + 9)
        inside = (at >= 0) & (at < length)
        np.testing.assert_allclose(row, np.where(inside, whole[chrom][np.clip(at, 0, length - 1)], 0))
    with pytest.raises(FormatError, match="of another genome build"):
        read_stretches(file, {chrom: length + 1}, [chrom], starts[:1], 9)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_value_in_a_stretch(tmp_path, value):
    file = tmp_path / "t.bw"
    with pyBigWig.open(str(file), "w") as out:
        out.addHeader([("chr1", 1003)], maxZooms=0)
        out.addEntries(["chr1"], [500], ends=[501], values=[value])
    with pytest.raises(FormatError, match="infinite value at chr1:501; needed finite"):
        read_stretches(file, {"chr1": 1003}, ["chr1"], np.array([400]), 200)


def test_both_signs_in_two_stretches(tmp_path):
    file = write(tmp_path / "t.bw", {"chr1": {10: 3.0, 500: -2.0}})
    assert read_stretches(file, SIZES, ["chr1"], np.array([490]), 20)[0, 10] == 2.0
    with pytest.raises(FormatError, match=r"negative and positive values \(from -2 to 3, up to chr1:510\)"):
        read_stretches(file, SIZES, ["chr1"] * 2, np.array([0, 490]), 20)
