"""Chain files: blocks, gaps, strands, and the line that is wrong."""

from __future__ import annotations

import gzip

import pytest

from genopred.errors import FormatError
from genopred.io.chain import read_chain
from genopred.types import CHAIN_SCHEMA

TINY = """# a comment
chain 100 chr1 1000 + 10 60 chr2 2000 + 110 165 1
20 5 10
25

chain 900 chr1 1000 + 100 130 chr3 500 - 50 80 2
30
"""


@pytest.mark.parametrize("packed", [False, True])
def test_blocks(tmp_path, packed):
    path = tmp_path / ("a.chain.gz" if packed else "a.chain")
    path.write_bytes(gzip.compress(TINY.encode()) if packed else TINY.encode())
    table = read_chain(path)
    assert dict(table.schema) == CHAIN_SCHEMA
    # the best chain first; on the other strand base 50 from the end of 500 is base 449
    assert table.rows() == [
        ("1", "3", -1, 900.0, 100, 130, 449),
        ("1", "2", 1, 100.0, 10, 30, 110),
        ("1", "2", 1, 100.0, 35, 60, 140),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("20\n", "line 1: found '20'; needed are chain headers and lines of one or three numbers"),
        (TINY.replace("20 5 10", "20 5"), "line 3: found '20 5'"),
        (TINY.replace("25\n", "25 x y\n"), "line 4: found '25 x y'"),
        (TINY.replace("chain 900", "chain much"), "line 6: found 'chain much"),
        ("chain 1 chr1\n", "line 1"),
        ("# nothing\n", "holds no chain; give a file such as UCSC's hg19ToHg38"),
        ("", "a.chain"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, message):
    path = tmp_path / "a.chain"
    path.write_text(text)
    with pytest.raises(FormatError, match=message):
        read_chain(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FormatError, match="none.chain"):
        read_chain(tmp_path / "none.chain")


def test_the_published_chain(shared):
    path = shared / "data" / "reference" / "hg19ToHg38.over.chain.gz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    table = read_chain(path)
    assert table["score"].is_sorted(descending=True) and "22" in table["chrom"]
    assert (table["end"] > table["start"]).all() and (table["to_start"] >= 0).all()
