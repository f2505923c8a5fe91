"""Text tables: what is read, and that every complaint names file and line."""

from __future__ import annotations

import gzip

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.errors import FormatError
from genopred.io.text import read_bytes, read_table, to_numbers


def test_bytes_plain_and_gzipped(tmp_path):
    (tmp_path / "plain").write_bytes(b"a b\n")
    (tmp_path / "packed").write_bytes(gzip.compress(b"a b\n"))  # known by its content, not by its name
    assert read_bytes(tmp_path / "plain", "x") == read_bytes(tmp_path / "packed", "x") == b"a b\n"


def test_what_is_no_file_is_named_with_what_was_needed(tmp_path):
    (tmp_path / "empty").write_bytes(b" \n\n")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(bytes(range(256)) * 40)[:-20])
    flipped = bytearray(gzip.compress(b"sample fold\n" * 50))
    flipped[-6] ^= 1  # its checksum
    (tmp_path / "damaged.gz").write_bytes(flipped)
    for name, words in {
        "none": "no such file; needed genes",
        ".": "is a folder; needed genes",
        "empty": "is empty; needed genes",
        "cut.gz": "damaged or cut off",
        "damaged.gz": "damaged or cut off",
    }.items():
        with pytest.raises(FormatError) as caught:
            read_bytes(tmp_path / name, "genes")
        assert words in str(caught.value) and str(tmp_path / name) in str(caught.value)


WORD = st.text(alphabet="abcXYZ0189._-'\"#é", min_size=1, max_size=6)


@settings(max_examples=40)
@given(
    rows=st.lists(st.tuples(WORD, WORD, st.floats(allow_nan=False, width=32)), min_size=1, max_size=8),
    blanks=st.sampled_from(["\t", " ", "   ", " \t "]),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
)
def test_any_table_is_read_as_splitting_it_by_hand_does(rows, blanks, end, last):
    lines = [blanks.join(["one", "two", "three"]), *(blanks.join([a, b, repr(x)]) for a, b, x in rows)]
    data = (end.join(lines) + (end if last else "")).encode()
    table, first = read_table(data, "f")
    assert first == 2 and table.columns == ["one", "two", "three"]
    assert table.rows() == [(a, b, repr(x)) for a, b, x in rows]
    numbers, _ = read_table(data, "f", text_columns=(0, 1))
    assert numbers["three"].to_list() == [x for _, _, x in rows]


def test_columns_without_header_comments_and_edges():
    data = b"# made today\n## twice\n  a  1 \n\tb\t2\n"
    table, first = read_table(data, "f", columns=("name", "n"), comment=b"#")
    assert first == 3 and table.rows() == [("a", "1"), ("b", "2")]
    # with a given separator blanks belong to the cell
    table, _ = read_table(b"name\tn\nx y\t \n", "f", separator="\t")
    assert table.rows() == [("x y", " ")]
    # a cell may be empty where tabs say so
    table, _ = read_table(b"name\tn\nx\t\n", "f", separator="\t")
    assert table.rows() == [("x", "")]


def test_a_bad_number_leaves_text_for_the_caller_to_find():
    table, first = read_table(b"id a b\nx 1 2\ny 1 two\n", "f", text_columns=(0,))
    assert set(table.dtypes) == {pl.String}
    with pytest.raises(FormatError, match=r"f line 3, column 'b': found 'two' where a number is needed;"):
        to_numbers(table, ["a", "b"], "f", first)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (b"a b\n1 2\n3\n", {}, "f line 3: 1 fields where 2 are needed"),
        (b"a b\n1 2\n3 4 5\n6 7\n", {}, "f line 3: 3 fields where 2 are needed"),
        (b"# c\na b\n1 2\n\n3 4\n", {"comment": b"#"}, "f line 4: 0 fields where 2 are needed"),
        (b"1 2 3\n", {"columns": ("a", "b")}, "f line 1: 3 fields where 2 are needed"),
        (b"a b a\n1 2 3\n", {}, "f line 1: column 'a' occurs more than once"),
    ],
)
def test_ragged_tables_name_the_line(data, options, message):
    with pytest.raises(FormatError, match=message):
        read_table(data, "f", **options)


def test_numbers_kinds_and_missing_cells():
    table = pl.DataFrame({"pos": ["1", " 2 "], "p": ["NA", "1e-300"], "beta": [1.5, 2.5]})
    out = to_numbers(table, ["p", "beta"], "f", 2, missing=("NA",))
    assert out["p"].to_list() == [None, 1e-300] and out["beta"].to_list() == [1.5, 2.5]
    assert to_numbers(table, ["pos"], "f", 2, kind=pl.Int64)["pos"].to_list() == [1, 2]
    with pytest.raises(FormatError, match=r"f line 2, column 'p': found 'NA' where a number is needed;"):
        to_numbers(table, ["p"], "f", 2)
    many = pl.DataFrame({"pos": ["1", "2.5", "x", "y"]})
    with pytest.raises(FormatError, match=r"line 11, column 'pos': found '2.5' where a whole number .*\(2 more such"):
        to_numbers(many, ["pos"], "f", 10, kind=pl.Int64)
