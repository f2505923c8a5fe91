"""Covariates in either orientation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.errors import FormatError
from genopred.io.covariates import read_covariates

TINY = Path(__file__).parent / "data" / "tiny"


def test_both_orientations_of_the_same_table():
    lines = [line.split() for line in (TINY / "covariates.qtltools.txt").read_text().splitlines()]
    across, down = read_covariates(TINY / "covariates.qtltools.txt"), read_covariates(TINY / "covariates.plink.txt")
    np.testing.assert_array_equal(across.values, np.array([[float(v) for v in line[1:]] for line in lines[1:]]).T)
    np.testing.assert_array_equal(across.values, down.values)
    assert across.names == down.names == tuple(f"PC{k}" for k in range(1, 7))
    assert across.samples.tolist() == down.samples.tolist() == lines[0][1:]
    assert "samples in columns: taken so because 60 is the longer side" in across.notes[0][1]
    assert "a sample a row" in down.notes[0][1]


@pytest.mark.parametrize(
    "text, layout",
    [
        ("#IID age sex\na 1 2\nb 3 4\n", "plink's, a sample a row"),
        ("FID IID age sex\n0 a 1 2\n0 b 3 4\n", "plink's, a sample a row"),
        ("name age sex\na 1 2\nb 3 4\n", "samples in rows: 2 names match"),
        ("name\ta\tb\nage\t1\t3\nsex\t2\t4\n", "samples in columns: 2 names match"),
    ],
)
def test_orientation_by_overlap(tmp_path, text, layout):
    path = tmp_path / "x.txt"
    path.write_text(text)
    covariates = read_covariates(path, ["a", "b", "c"])
    assert layout in covariates.notes[0][1]
    assert covariates.samples.tolist() == ["a", "b"] and covariates.names == ("age", "sex")
    assert covariates.values.tolist() == [[1, 2], [3, 4]]


def test_plink_without_header(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("0 a 1 2\n0 b 3 NA\n")
    covariates = read_covariates(path, ["a", "b"])
    assert covariates.names == ("COV1", "COV2") and covariates.samples.tolist() == ["a", "b"]
    np.testing.assert_array_equal(covariates.values, [[1, 2], [3, np.nan]])


def test_samples_with_numbers_for_names(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("id 101 102 103\nPC1 1 2 3\n")
    assert read_covariates(path, ["101", "102", "103"]).samples.tolist() == ["101", "102", "103"]


def test_no_overlap(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("id a b\nPC1 1 2\n")
    with pytest.raises(FormatError, match=r"neither its columns \(a, b\) nor its rows \(PC1\).*\(x, y\)"):
        read_covariates(path, ["x", "y"])


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_written_is_read(tmp_path_factory, data):
    n, k = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    numbers = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.just(float("nan")))
    values = np.array(data.draw(st.lists(numbers, min_size=n * k, max_size=n * k))).reshape(n, k)
    samples = np.array([f"s{i}" for i in range(n)])
    path = tmp_path_factory.mktemp("cov") / "x.txt"
    rows = [["id", *samples], *([f"c{j}", *map(repr, row)] for j, row in enumerate(values.T.tolist()))]
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    back = read_covariates(path, samples.tolist())
    np.testing.assert_array_equal(back.values, values)
    assert back.samples.tolist() == samples.tolist() and back.names == tuple(f"c{j}" for j in range(k))


def test_a_name_may_hold_a_blank_where_tabs_separate(tmp_path):
    (tmp_path / "x").write_text("id\ta\tb c\ngenotype PC 1\t1\t2\nage\t\t4\n")
    found = read_covariates(tmp_path / "x", samples=["a", "b c"])
    assert found.samples.tolist() == ["a", "b c"] and found.names == ("genotype PC 1", "age")
    np.testing.assert_array_equal(found.values, [[1, np.nan], [2, 4]])
    (tmp_path / "x").write_text("\ta\tb\nPC1\t1\t2\n")  # R's row names, without a name of their own
    assert read_covariates(tmp_path / "x", samples=["a", "b"]).values.tolist() == [[1], [2]]
    (tmp_path / "x").write_text("id\ta b\nPC1\t1\t2\n")  # tabs and blanks mixed
    assert read_covariates(tmp_path / "x", samples=["a", "b"]).values.tolist() == [[1], [2]]


@pytest.mark.parametrize("text", ["id a b c\n", "id\ta\tb\n\n", "FID IID age\n", "#IID PC1\n"])
def test_a_header_alone_is_refused(tmp_path, text):
    (tmp_path / "x").write_text(text)
    with pytest.raises(FormatError, match="x has a header and no (line|samples)"):
        read_covariates(tmp_path / "x", samples=["a", "b"])
