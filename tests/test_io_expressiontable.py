"""genopred.io.expressiontable: TSV, CSV, GCT and featureCounts, and what is refused."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from genopred.errors import FormatError
from genopred.io.expressiontable import read_expression_table


def table(tmp_path, text, name="t.tsv"):
    file = tmp_path / name
    file.write_text(text)
    return read_expression_table(file)


def test_layouts_say_the_same(tmp_path):
    tsv = table(tmp_path, "gene\tliver\tbrain\nA\t1\t2.5\nB\tNA\t0\n")
    csv = table(tmp_path, "gene,liver,brain\nA,1,2.5\nB,,0\n", "t.csv")
    gct = table(tmp_path, "#1.2\n2\t2\nName\tDescription\tliver\tbrain\nA\tx\t1\t2.5\nB\ty\tnan\t0\n", "t.gct")
    for found in (tsv, csv, gct):
        assert found.genes == ("A", "B") and found.cells == ("liver", "brain") and found.lengths is None
        np.testing.assert_array_equal(found.values, [[1, 2.5], [np.nan, 0]])
    (tmp_path / "t.tsv.gz").write_bytes(gzip.compress((tmp_path / "t.tsv").read_bytes()))
    np.testing.assert_array_equal(read_expression_table(tmp_path / "t.tsv.gz").values, tsv.values)


def test_feature_counts_have_lengths(tmp_path):
    text = "# Program:featureCounts\nGeneid\tChr\tStart\tEnd\tStrand\tLength\ts1\ts2\nA\t1\t1\t9\t+\t900\t5\t6\n"
    found = table(tmp_path, text)
    assert found.cells == ("s1", "s2") and found.lengths.tolist() == [900] and found.values.tolist() == [[5, 6]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gene\tx\nA\t1\nA\t2\n", r"1 genes occur more than once, e\.g\. A on lines 2, 3"),
        ("gene\tx\nA\t-1\n", r"line 2, column 'x': a value below 0 \(-1"),
        ("gene\tx\nA\tinf\n", "line 2, column 'x': an infinite value"),
        ("gene\tx\nA\thigh\n", "line 2, column 'x': found 'high'"),
        ("gene\tx\tx\nA\t1\t2\n", "occurs more than once"),
        ("gene\tDescription\nA\ty\n", "needed a column a cell type"),
        ("gene\nA\n", "needed a table of genes x cell types"),
        ("# made today\ngene\tx\nA\t1\nB\tz\n", "line 4, column 'x'"),
        ("#1.2\n2\t1\nName\tDescription\tx\nA\ty\t1\nB\ty\tz\n", "line 5, column 'x'"),
    ],
)
def test_bad_tables_name_the_line(tmp_path, text, said):
    with pytest.raises(FormatError, match=said):
        table(tmp_path, text)
