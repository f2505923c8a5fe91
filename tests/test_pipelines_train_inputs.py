"""`genopred.pipelines.train_inputs`: files to sequence and signal, what does not fit, and the regions of a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pyBigWig")

from test_pipelines_train import config, start
from training_data import data as simulated

from genopred.errors import FormatError, GenopredError
from genopred.pipelines import train_inputs
from genopred.pipelines.train_config import parse_config
from genopred.pipelines.train_inputs import check_within, load_data, make_split, read_regions

__all__ = ["config"]


def test_files_hold_what_was_simulated(config):
    loaded, expected = load_data(config), simulated()
    np.testing.assert_array_equal(loaded.codes["chr1"], expected.codes["chr1"])
    np.testing.assert_allclose(loaded.sums["chr1"], expected.sums["chr1"], rtol=1e-6)
    assert loaded.tracks == expected.tracks and loaded.step == 16
    assert loaded.partners.tolist() == [0, 2, 1]


def test_chromosomes_can_be_split(config):
    loaded = load_data(config)
    twice = replace(
        loaded,
        codes={name: loaded.codes["chr1"] for name in ("1", "2", "3")},
        sums={name: loaded.sums["chr1"] for name in ("1", "2", "3")},
    )
    text = {"by": "chromosome", "train": ["chr1"], "validation": ["2"], "test": ["3"]}
    by = parse_config(config.written | {"split": text}, config.fasta.parent, "test")
    regions = make_split(by, twice).regions
    assert dict(regions.select("chrom", "split").unique().iter_rows()) == {"1": "train", "2": "validation", "3": "test"}
    assert by.data.chromosomes == ("chr1", "2", "3")


def test_too_little_memory(config, monkeypatch, tmp_path):
    monkeypatch.setattr(train_inputs, "free_memory", lambda: 1_000_000)
    with pytest.raises(GenopredError, match=r"too little memory on host.*3 tracks of 300,000 bp.*larger data.step"):
        start(config, tmp_path / "out")


@pytest.mark.parametrize(
    "network, data, batch",
    [
        ({"kind": "cnn", "channels": 8192, "layers": 20}, {}, 8),
        ({"kind": "enformer-small", "dim": 7680, "depth": 60, "heads": 10}, {}, 8),
        ({"kind": "cnn", "channels": 64}, {"window": 2_097_152}, 8),
        ({"kind": "enformer-small"}, {"window": 2_097_152}, 1),
        ({"kind": "cnn", "channels": 8}, {}, 1_000_000_000),
    ],
)
def test_a_network_too_large_is_refused_before_it_is_built(config, monkeypatch, tmp_path, network, data, batch):
    data = config.resolved()["data"] | data
    monkeypatch.setattr(train_inputs, "free_memory", lambda: 4_000_000_000)
    monkeypatch.setattr(train_inputs, "training_bytes", lambda *args: pytest.fail("it was built"))
    with pytest.raises(GenopredError, match=r"too little memory on host: about [0-9,.]+ GB are needed.*4.00 GB are fr"):
        start(
            config,
            tmp_path / "out",
            {"batch": batch},
            network=network,
            data=data,
            split={"by": "block", "block": 3_000_000},
        )


def test_a_track_of_another_build(config, tmp_path):
    import pyBigWig

    path = tmp_path / "other.bw"
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader([("chr1", 299_000)])
        file.addEntries("chr1", [5], values=[1.0], span=1)
    tracks = config.resolved()["tracks"]
    tracks[0]["file"] = str(path)
    with pytest.raises(FormatError, match=r"299,000 bp here, 300,000 in the FASTA"):
        start(config, tmp_path / "out", tracks=tracks)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("chrom\tstart\tend\nchr1\t1\t2", "has no column split, block"),
        ("chr1\tx\t2\ttest\t1", "whole numbers"),
        (
            "chr1\t1\t2\ttset\t1",
            r"regions.tsv line 2: split is none of train, validation, test \(chr1, 1, 2, tset, 1",
        ),
        ("chr1\t5\t2\ttest\t1", r"regions.tsv line 2: start is below 0 or not before end"),
        (
            "chr1\t1\t300001\ttest\t1",
            r"a region of chr1 ends at 300,001, and chr1 has 300,000 bp in the FASTA",
        ),
        (
            "chr7\t1\t100\ttest\t1",
            r"a region of chr7 ends at 100, and chr7 is not among its chromosomes \(chr1\)",
        ),
    ],
)
def test_regions_of_a_run_that_are_wrong(tmp_path, rows, message):
    file = tmp_path / "regions.tsv"
    file.write_text(rows if rows.startswith("chrom") else f"chrom\tstart\tend\tsplit\tblock\n{rows}\n")
    with pytest.raises(FormatError, match=message):
        check_within(read_regions(file), simulated(), file)
