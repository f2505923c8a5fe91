"""Lift-over base by base, and builds told by positions."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genopred import align
from genopred.builds import lift, other_build, reverse_complement, side_by_side
from genopred.errors import AlignmentError
from genopred.types import CHAIN_SCHEMA, VARIANT_SCHEMA

CHAIN = pl.DataFrame(
    [
        ("1", "2", -1, 900.0, 100, 130, 449),
        ("1", "3", 1, 100.0, 10, 120, 1010),
        ("1", "3", 1, 100.0, 140, 160, 1135),
    ],
    schema=["chrom", "to_chrom", "sign", "score", "start", "end", "to_start"],
    orient="row",
)


def variants(rows):
    return pl.DataFrame(rows, schema=VARIANT_SCHEMA, orient="row")


def naive_lift(chrom, pos, ref, alt):
    """Base by base through the first chain that has all of REF."""
    if chrom is None or pos is None:
        return None, None, ref, alt
    for name, to, sign, _, start, end, there in CHAIN.rows():
        bases = range(pos - 1, pos - 1 + len(ref))
        if name == chrom.removeprefix("chr") and start <= bases[0] and bases[-1] < end:
            places = [there + sign * (base - start) for base in bases]
            if sign < 0 and len(ref) != len(alt):  # where the base before an indel lies there is not told
                return None, None, ref, alt
            if sign < 0:
                ref, alt = ("".join({"A": "T", "C": "G", "G": "C", "T": "A"}[x] for x in a[::-1]) for a in (ref, alt))
            return to, min(places) + 1, ref, alt
    return None, None, ref, alt


@given(st.lists(st.tuples(st.sampled_from(["1", "chr1", "2", None]), st.none() | st.integers(1, 200),
                          st.text("ACGT", min_size=1, max_size=4), st.text("ACGT", min_size=1, max_size=4)),
                min_size=1, max_size=12))  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_lifting_is_that_base_by_base(rows):
    table = variants([(c, p, "x", r, a) for c, p, r, a in rows]).with_columns(weight=pl.lit(1.0))
    out = lift(table, CHAIN)
    assert out.columns == table.columns and out["id"].to_list() == table["id"].to_list()
    assert out.select("chrom", "pos", "ref", "alt").rows() == [naive_lift(*row) for row in rows]


def test_lifting_there_and_back_is_where_it_was(shared):
    from genopred.io.chain import read_chain

    folder = shared / "data" / "reference"
    if not (folder / "hg19ToHg38.over.chain.gz").is_file():
        pytest.skip(f"no chain files in {folder}")
    forth, back = (
        read_chain(folder / f"{name}.over.chain.gz").filter(pl.col("chrom") == "22")
        for name in ("hg19ToHg38", "hg38ToHg19")
    )
    rng = np.random.default_rng(0)
    pos = np.sort(rng.integers(17_000_000, 51_000_000, 2000))
    table = variants([("chr22", int(p), f"v{p}", "A", "G") for p in pos])
    there = lift(table, forth)
    known = there.filter(pl.col("pos").is_not_null() & (pl.col("chrom") == "22"))
    assert known.height > 1900
    again = lift(known, back)
    same = again["id"] == pl.Series([f"v{p}" if p is not None else "" for p in again["pos"].to_list()])
    assert same.mean() > 0.995 and (known["pos"] != table.filter(table["id"].is_in(known["id"].to_list()))["pos"]).any()
    told = other_build(table, known)
    assert told == ("GRCh37", "GRCh38") and other_build(known, table) == ("GRCh38", "GRCh37")


def other_places(n=300, seed=1):
    """Places on chromosome 22 in GRCh37, and where the embedded table has them in GRCh38."""
    pos = np.random.default_rng(seed).choice(np.arange(24_000_000, 50_000_000), n, replace=False)
    old = variants([("22", int(p), f"v{p}", "A", "G") for p in sorted(pos)])
    new = lift(old, side_by_side())
    there = new["pos"].is_not_null()
    return old.filter(there), new.filter(there)


def test_builds_are_known_by_positions_alone():
    old, new = other_places()
    assert old.height > 250
    assert other_build(old, new) == ("GRCh37", "GRCh38")
    assert other_build(new.with_columns(chrom=pl.lit("chr22")), old) == ("GRCh38", "GRCh37")
    assert other_build(old, old) is None
    assert other_build(old, other_places(seed=2)[1]) is None  # other variants of the other build
    with pytest.raises(AlignmentError, match=r"the positions of the one fit GRCh37, of the other GRCh38 \(lift one ov"):
        align.harmonise(old, new.with_columns(id=pl.lit(".")), by="position")


def test_indels_have_no_place_where_the_chain_turns():
    """The base that a deletion is written with lies on its other side there; alleles alone do not tell which it is."""
    chain = pl.DataFrame(
        [("22", "22", -1, 1.0, 0, 100, 199), ("22", "22", 1, 1.0, 100, 200, 200)], list(CHAIN_SCHEMA), orient="row"
    )
    table = pl.DataFrame(
        {"chrom": ["22"] * 4, "pos": [5, 6, 105, 106], "ref": ["A", "AT", "A", "AT"], "alt": ["G", "A", "G", "A"]}
    )
    moved = lift(table, chain)
    assert moved["pos"].to_list() == [196, None, 205, 206]
    assert moved["ref"].to_list() == ["T", "AT", "A", "AT"] and moved["alt"].to_list() == ["C", "A", "G", "A"]


def test_the_other_strand():
    assert reverse_complement(pl.Series(["A", "AC", None])).tolist() == ["T", "GT", None]
