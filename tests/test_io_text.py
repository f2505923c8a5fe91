"""Text tables: what is read, and that every complaint names file and line."""

from __future__ import annotations

import gzip
import os
import socket
import time
import tracemalloc
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.errors import FormatError, GenopredError
from genopred.io.text import (
    bounded,
    decode,
    find_separator,
    name_array,
    read_bytes,
    read_table,
    regular,
    to_numbers,
    whole_lines,
)


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


def test_a_bomb_is_left_at_the_bound_which_the_message_names(tmp_path):
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b"sample fold\n" * 1_000_000))
    (tmp_path / "plain").write_bytes(b"sample fold\n" * 1_000_000)
    for name in ("bomb.gz", "plain"):
        with bounded(5_000_000), pytest.raises(FormatError) as caught:
            read_bytes(tmp_path / name, "folds")
        assert f"{tmp_path / name} holds more than 5,000,000 bytes" in str(caught.value)
        assert "--max-bytes 10MB" in str(caught.value)
        with bounded(12_000_000):
            assert len(read_bytes(tmp_path / name, "folds")) == 12_000_000
        assert len(read_bytes(tmp_path / name, "folds")) == 12_000_000, "the bound is what it was before"
    with pytest.raises(GenopredError, match="max_bytes = 0"), bounded(0):
        pass


def test_a_bomb_takes_no_more_memory_than_the_bound(tmp_path):
    with gzip.open(tmp_path / "bomb.gz", "wb") as handle:
        for _ in range(20):
            handle.write(b"sample\tfold\n" * 1_000_000)
    tracemalloc.start()
    try:
        with bounded(20_000_000), pytest.raises(FormatError, match="--max-bytes 40MB"):
            read_bytes(tmp_path / "bomb.gz", "folds")
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()


def test_members_of_gzip_follow_one_another(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(b"".join(gzip.compress(part) for part in (b"a b\n", b"", b"1 2\n")) + bytes(30))
    assert read_bytes(path, "x") == b"a b\n1 2\n"


def test_a_pipe_socket_or_device_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "socket"))
        for path, word in {
            tmp_path / "pipe": "is a pipe",
            tmp_path / "socket": "is a socket",
            Path("/dev/zero"): "is a device",
            tmp_path: "is a folder",
            tmp_path / "none": "no such file",
            tmp_path / "pipe" / "x": "no such file",
        }.items():
            for read in (regular, read_bytes):
                with pytest.raises(FormatError, match=word) as caught:
                    read(path, "genes")
                assert str(path) in str(caught.value) and "needed genes" in str(caught.value)
    assert regular(__file__, "x") == Path(__file__)


def test_a_mark_and_line_ends_of_other_systems_are_left_out(tmp_path):
    path = tmp_path / "x"
    for data in (b"a b\r\n1 2\r\n", b"a b\r1 2\r", b"a b\r\r\n1 2\r\r\n", b"\xef\xbb\xbfa b\n1 2\n"):
        path.write_bytes(data)
        assert read_bytes(path, "x") == b"a b\n1 2\n"
        path.write_bytes(gzip.compress(data))
        assert read_bytes(path, "x") == b"a b\n1 2\n"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x6c\x1b\x01\x00", "is a PLINK .bed or .pgen"),
        (b"BZh91AY", "compressed with bzip2"),
        (b"\xfd7zXZ\x00", "compressed with xz"),
        (b"\x28\xb5\x2f\xfd\x24", "compressed with zstd"),
        (b"PK\x03\x04\x14", "zip archive or a spreadsheet"),
        (b"PAR1\x15", "parquet"),
        ("a b\n".encode("utf-16"), "is UTF-16"),
        (gzip.compress(gzip.compress(b"a b\n", mtime=0), mtime=0), "gzipped twice"),
        (b"a b\n1 2\n3 \x004\n", "line 3 holds a NUL byte"),
    ],
)
def test_what_holds_no_text_is_named(tmp_path, data, words):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(FormatError, match=words):
        read_bytes(tmp_path / "x", "a table")


def test_latin_1_is_named_with_its_line(tmp_path):
    for data in (b"# caf\xe9\nname n\na 1\nJos\xe9 2\n", b"# caf\xe9\nname n\na 1\nJos\xe9 two\n"):
        with pytest.raises(FormatError, match=r"f line 4 is not UTF-8 \(byte e9\); if it is Latin-1, convert it"):
            read_table(data, "f", comment=b"#", text_columns=(0,))
    with pytest.raises(FormatError, match="f line 1 is not UTF-8"):
        read_table(b"n\xe9 n\na 1\n", "f")
    with pytest.raises(FormatError, match="f line 3 is not UTF-8"):
        decode(b"a\nb\n\xe9\n", "f")


def test_parts_are_whole_lines_of_the_file(tmp_path):
    data = b"".join(b"line %d\r\n" % i for i in range(400_000)) + b"no end"
    (tmp_path / "x.gz").write_bytes(gzip.compress(data, 1))
    parts = list(whole_lines(tmp_path / "x.gz", "x", size=1 << 20))
    assert len(parts) > 3 and all(part.endswith(b"\n") and part.count(b"\n") > 1000 for part in parts[:-1])
    assert b"".join(parts) == data.replace(b"\r\n", b"\n") + b"\n"
    with bounded(1_500_000), pytest.raises(FormatError, match="--max-bytes"):
        list(whole_lines(tmp_path / "x.gz", "x"))
    (tmp_path / "y").write_bytes(b"x" * 3_000_000)
    with bounded(2_000_000), pytest.raises(FormatError, match="--max-bytes"):
        list(whole_lines(tmp_path / "y", "x", size=1000))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"a\tb\n1\t2\n", "\t"),
        (b"id\ta b\nx y\t2\n", "\t"),
        (b"\ta\nPC 1\t2\n", "\t"),
        (b"a b\n1 2\n", None),
        (b"FID\tIID PC1\n1\t2\t3\n", None),
        (b"a\tb\t\n1\t2\t\n", None),
        (b"a,b\n1,2\n", None),
    ],
)
def test_separator_by_the_header(data, found):
    assert find_separator(data) == found
    assert find_separator(b"## a\n##\tb\n" + data, comment=b"##") == found


def test_commas_where_asked_for():
    assert find_separator(b"a,b\n1,2\n", commas=True) == ","
    assert find_separator(b"a\tb,c\n1\t2\n", commas=True) == "\t"


def test_millions_of_comments_or_of_equal_names_are_passed_quickly():
    started = time.perf_counter()
    table, first = read_table(b"#\n" * 3_000_000 + b"a\n1\n", "f", comment=b"#")
    assert (table.rows(), first) == ([("1",)], 3_000_002)
    with pytest.raises(FormatError, match="f line 1: 1,000,001 columns; needed 200,000 at most"):
        read_table(b"\t" * 1_000_000 + b"\n", "f", separator="\t")
    with pytest.raises(FormatError, match="column '' occurs more than once"):
        read_table(b"\t" * 100_000 + b"\n", "f", separator="\t")
    wide = b"\t".join(b"%d" % i for i in range(150_000)) + b"\n"
    with pytest.raises(FormatError, match="f line 3: 2 fields where 150000"):  # not 20,000 rows of missing cells
        read_table(wide + wide + b"1\t2\n" * 20_000, "f", separator="\t")
    assert time.perf_counter() - started < 20


def test_quoted_cells_are_short():
    table = pl.DataFrame({"pos": ["x" * 100_000]})
    with pytest.raises(FormatError) as caught:
        to_numbers(table, ["pos"], "f", 2)
    assert len(str(caught.value)) < 300


def test_a_name_of_ten_million_characters_is_no_array_of_them():
    with pytest.raises(FormatError, match=r"f: a name of 10,000,000 characters \(AAA"):
        name_array(["a", "A" * 10_000_000], "f")
    assert name_array(["b", "aa"], "f").tolist() == ["b", "aa"] and name_array([], "f").shape == (0,)
