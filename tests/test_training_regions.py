"""`genopred.training.regions`: the split that a configuration asks for, and regions that a run wrote."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("pyBigWig")

from test_pipelines_train import config
from training_data import data as simulated

from genopred.errors import FormatError
from genopred.pipelines.train_inputs import load_data, read_regions
from genopred.training.config import parse_config
from genopred.training.regions import check_within, make_split

__all__ = ["config"]


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
