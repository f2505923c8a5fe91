"""genopred.io.elements."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from genopred.errors import FormatError
from genopred.io.elements import ELEMENT_SCHEMA, Elements, read_elements
from genopred.types import Interval


def test_a_bed_is_ones_inside(tmp_path):
    path = tmp_path / "open.bed.gz"
    text = "track name=x\n#chr\tstart\tend\nchr1\t5\t8\tpeak\t3\nchr1 7 10\n1\t90\t120\nchr2\t1\t2\n"
    path.write_bytes(gzip.compress(text.encode()))
    table = read_elements(path)
    assert (
        dict(table.schema) == ELEMENT_SCHEMA and table.height == 4 and table["chrom"].to_list() == ["1", "1", "1", "2"]
    )
    elements = Elements(path)
    assert elements.name == "open" and not elements.signal
    assert np.flatnonzero(elements.within(Interval("chr1", 0, 20), 200)).tolist() == [5, 6, 7, 8, 9]
    assert np.flatnonzero(elements.within(Interval("1", -3, 8), 200)).tolist() == [8, 9, 10]
    assert elements.within(Interval("1", 100, 130), 200).sum() == 20
    assert not elements.within(Interval("1", 20, 30), 200).any()


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is empty"),
        ("#only\n", "holds no interval"),
        ("chr1\t5\n", "line 1: found 'chr1\\t5'; needed a bigWig, or a BED"),
        ("chr1\t5\t8\nchr1\t5\tx\n", "line 2: found"),
        ("chr1\t8\t8\n", "line 1: end 8 is not after start 8"),
    ],
)
def test_what_is_no_bed(tmp_path, text, message):
    path = tmp_path / "x.bed"
    path.write_text(text)
    with pytest.raises(FormatError) as said:
        Elements(path)
    assert message in str(said.value)


def test_another_build_or_chromosome_is_refused(tmp_path):
    path = tmp_path / "x.bed"
    path.write_text("chr1\t5\t800\n")
    with pytest.raises(FormatError, match="ends at 800, and the FASTA has 700 bases"):
        Elements(path).within(Interval("1", 0, 10), 700)
    with pytest.raises(FormatError, match=r"has no element on chr2 \(it has 1\)"):
        Elements(path).within(Interval("chr2", 0, 10), 900)


def test_a_bigwig_is_its_values(tmp_path):
    bigwig = pytest.importorskip("pyBigWig")
    path = tmp_path / "acc.x.bw"
    with bigwig.open(str(path), "w") as file:
        file.addHeader([("chr1", 100)])
        file.addEntries(["chr1"], [10], ends=[20], values=[2.5])
    elements = Elements(path)
    assert elements.signal and elements.name == "acc.x"
    values = elements.within(Interval("1", 95, 110), 100)
    assert len(values) == 15 and not values.any()
    assert elements.within(Interval("1", -5, 15), 100).tolist() == [0.0] * 15 + [2.5] * 5
    with pytest.raises(FormatError, match="another genome build"):
        elements.within(Interval("1", 0, 10), 200)
