"""Messages stay short and printable, whatever a file holds."""

from __future__ import annotations

import pickle

import pytest

from genopred.errors import (
    AlignmentError,
    FormatError,
    GenopredError,
    ModelError,
    did_you_mean,
    examples,
    near,
    repeated,
    shortened,
)


@pytest.mark.parametrize("kind", [GenopredError, FormatError, AlignmentError, ModelError])
def test_a_header_of_ten_million_characters_is_not_printed_whole(kind):
    error = kind(f"x.txt line 1: found {10_000_000 * 'A'} where a header is needed; give one.")
    said = str(error)
    assert len(said) <= 2000 and said.startswith("x.txt line 1: found AAA")
    assert said.endswith("where a header is needed; give one.") and "A[...]A" in said
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind and str(again) == said


def test_what_a_terminal_would_act_on_is_written_out():
    assert str(FormatError("found \x1b[2J\x00 in x")) == r"found \x1b[2J\x00 in x"
    assert shortened("one\ttwo\nthree é") == "one\ttwo\nthree é"  # one_line of the command line takes these
    assert examples(["rs1", "r\x00s"]) == r"rs1, r\x00s"


def test_items_are_cut_in_their_middle_and_counted():
    assert shortened(80 * "x") == 80 * "x"
    assert len(shortened("ab" * 500)) == 80 and shortened("ab" * 500).endswith("b")
    assert len(examples([1000 * "x"] * 5)) == 3 * 80 + len(", , , ...")


def test_repeated_names_in_linear_time():
    assert repeated([*map(str, range(300_000)), "7", "x", "7"]) == ["7"]


def test_the_nearest_name_is_found_whatever_the_case():
    assert near("ELASTIK-net", ["ridge", "elastic-net"]) == "elastic-net" and near("x", ["ridge"]) is None
    assert did_you_mean("Slop", ["slope"]) == " Did you mean 'slope'?" and did_you_mean("x", []) == ""
