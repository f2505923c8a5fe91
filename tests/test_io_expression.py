"""Expression BED in both layouts, against a reader made of string methods."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.io.expression import read_expression
from genopred.types import GENE_SCHEMA

TINY = Path(__file__).parent / "data" / "tiny"


def naive(path, leading):
    opened = gzip.open if path.name.endswith(".gz") else open
    with opened(path, "rt") as handle:
        lines = [line.rstrip("\n").split("\t") for line in handle]
    return lines[0][leading:], lines[1:], np.array([[float(v) for v in line[leading:]] for line in lines[1:]]).T


@pytest.mark.parametrize("name, leading", [("expression.qtltools.bed", 6), ("expression.gtex.bed.gz", 4)])
def test_same_as_naive(name, leading):
    samples, rows, values = naive(TINY / name, leading)
    expression = read_expression(TINY / name)
    assert expression.samples.tolist() == samples
    np.testing.assert_array_equal(expression.values, values)
    assert expression.genes.schema == GENE_SCHEMA
    assert expression.genes["gene_id"].to_list() == [row[3] for row in rows]
    assert expression.genes["gene"].to_list() == [row[3].split(".")[0] for row in rows]
    assert expression.genes["tss"].to_list() == [int(row[2]) for row in rows]
    assert expression.genes["strand"].to_list() == ([row[5] for row in rows] if leading == 6 else ["."] * 4)
    assert expression.notes == ()


def test_whole_chromosome(shared):
    path = shared / "data" / "geuvadis_chr22" / "genes.50percent.chr22.bed.gz"
    samples, rows, values = naive(path, 6)
    expression = read_expression(path)
    assert expression.values.shape == (358, 608)
    np.testing.assert_array_equal(expression.values, values)
    assert expression.genes["gene_id"].to_list() == [row[3] for row in rows]


@pytest.mark.parametrize(
    "columns, strands",
    [
        (("pid", "gid", "strand"), ["+", "-"]),
        (("id", "length", "strd"), [".", "."]),
        (("gene", "group", "orientation"), ["+", "-"]),  # told by content
    ],
)
def test_six_columns(tmp_path, columns, strands):
    path = tmp_path / "x.bed"
    rows = [f"22\t{9 + 10 * i}\t{10 + 10 * i}\tg{i}\t55\t{strand}\t{i}\t2" for i, strand in enumerate(strands)]
    path.write_text("\n".join(["#chr\tstart\tend\t" + "\t".join(columns) + "\ta\tb", *rows]) + "\n")
    expression = read_expression(path)
    assert expression.samples.tolist() == ["a", "b"]
    assert expression.genes["strand"].to_list() == strands


def test_four_columns_with_windows_line_ends_and_comments(tmp_path):
    path = tmp_path / "x.bed"
    path.write_bytes(b"## made by hand\r\n#Chr\tstart\tend\tTargetID\ta\tb\tc\r\n22\t9\t10\tg\t1\t-2e3\t0.5\r\n")
    expression = read_expression(path)
    assert expression.samples.tolist() == ["a", "b", "c"]
    assert expression.values.ravel().tolist() == [1, -2000, 0.5]


def test_long_intervals_follow_the_strand_and_say_so(tmp_path):
    path = tmp_path / "x.bed"
    cells = ["100 500 f 1 + 1 2", "200 600 r 1 - 1 2", "300 700 u 1 . 1 2", "400 401 s 1 + 1 2"]
    rows = ["\t".join(["22", *row.split()]) for row in cells]
    path.write_text("\n".join(["#chr\tstart\tend\tgene\tlength\tstrand\ta\tb", *rows]) + "\n")
    expression = read_expression(path)
    assert expression.genes["tss"].to_list() == [101, 600, 700, 401]
    assert [(note[0], note[2]) for note in expression.notes] == [("note", 2), ("note", 1)]
    assert "strand unknown" in expression.notes[1][1] and expression.notes[1][3] == "u"


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_written_is_read(tmp_path_factory, data):
    n, g = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)
    values = np.array(data.draw(st.lists(numbers, min_size=n * g, max_size=n * g))).reshape(n, g)
    tss = sorted(data.draw(st.lists(st.integers(1, 10**8), min_size=g, max_size=g)))
    strands = st.lists(st.sampled_from("+-"), min_size=g, max_size=g)
    strand = data.draw(st.one_of(strands, st.just(["."] * g)))
    genes = pl.DataFrame(
        {
            "gene_id": [f"ENSG0000000000{i}.{i}" for i in range(g)],
            "gene": [f"ENSG0000000000{i}" for i in range(g)],
            "chrom": ["chr22"] * g,
            "tss": tss,
            "strand": strand,
        },
        schema=GENE_SCHEMA,
    )
    samples = [f"s{i}" for i in range(n)]
    stranded = strand[0] != "."
    rows = [["#chr", "start", "end", "gene_id", *(["group", "strand"] if stranded else []), *samples]]
    for gene, column in zip(genes.iter_rows(named=True), values.T.tolist()):
        lead = ["chr22", str(gene["tss"] - 1), str(gene["tss"]), gene["gene_id"]]
        rows.append([*lead, *(["x", gene["strand"]] if stranded else []), *map(repr, column)])
    text = "".join("\t".join(row) + "\n" for row in rows).encode()
    path = tmp_path_factory.mktemp("expr") / data.draw(st.sampled_from(["x.bed", "x.bed.gz"]))
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    back = read_expression(path)
    np.testing.assert_array_equal(back.values, values)
    assert back.samples.tolist() == samples
    assert back.genes.equals(genes)
