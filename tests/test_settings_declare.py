"""How settings are declared: conversion, ranges, help and sections of a file, whoever gives the value."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from genopred.errors import FormatError, GenopredError
from genopred.settings import declare
from genopred.settings.declare import Option, Settings, base_pairs, declared, names, number_of_bytes, numbers


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("500kb", 500_000),
        ("1Mb", 1_000_000),
        ("250000", 250_000),
        ("0.5m", 500_000),
        ("100 KB", 100_000),
        ("1,000bp", 1_000),
        ("1_000", 1_000),
        (500_000, 500_000),
    ],
)
def test_lengths(text, length):
    assert base_pairs(text) == length


@pytest.mark.parametrize("text", ["", "kb", "-5kb", "5q", "1.5", "0", "0kb", "1e6", "5 parsecs", "1.2.3kb", "0.0001kb"])
def test_what_is_no_length(text):
    with pytest.raises(GenopredError, match="not a length; needed one such as 500kb"):
        base_pairs(text)


@hypothesis_settings(max_examples=50)
@given(st.integers(1, 10**9), st.sampled_from(["", "b", "bp", "kb", "Mb"]))
def test_lengths_scale_with_their_unit(number, unit):
    factor = {"": 1, "b": 1, "bp": 1, "kb": 1_000, "Mb": 1_000_000}[unit]
    if number * factor <= declare.MOST_BASES:
        assert base_pairs(f"{number}{unit}") == number * factor
    else:
        with pytest.raises(GenopredError, match="longer than any chromosome; needed at most 1,000,000,000 bases"):
            base_pairs(f"{number}{unit}")


def test_sizes():
    assert [number_of_bytes(x) for x in ("512MB", "2GB", "1.5k", 7)] == [512_000_000, 2_000_000_000, 1500, 7]
    for bad in ("0", "-1", "many", "1.5", "1e400MB", "9" * 30):
        with pytest.raises(GenopredError, match="no size; needed one such as 512MB"):
            number_of_bytes(bad)


def test_lists_keep_order_and_refuse_repeats_and_nothing():
    assert names("b, a,,c") == ("b", "a", "c") == names(["b", "a", "c"])
    with pytest.raises(GenopredError, match="susie is named twice"):
        names("susie,ridge,susie")
    for text in (",", "", " , "):
        with pytest.raises(GenopredError, match="names nothing"):
            names(text)
    assert numbers("1,5e-8") == (1.0, 5e-8)
    with pytest.raises(GenopredError, match="needed numbers between commas"):
        numbers("0.1;0.2")


class Part(Settings, panel="Part"):
    """A part.

    Attributes
    ----------
    share : How much
        of it.
    many : Some numbers.
    words : Some words.
    """

    share: Annotated[float, Option(low=0, high=1)] = 0.5
    many: Annotated[tuple[int, ...], Option(metavar="K,...", low=1, high=9, read=names)] = (1,)
    words: Annotated[tuple[str, ...], Option(each=True)] = ()


class Whole(Part, panel="Whole", share=0.25):
    """A workflow.

    Attributes
    ----------
    file : Where it is.
    kind : Which.
    on : Whether.
    maybe : Whether, or unknown.
    """

    file: Annotated[Path, Option(metavar="FILE")]
    kind: Literal["ridge", "susie"] = "ridge"
    on: bool = False
    maybe: Annotated[bool | None, Option(flag="--may-be", off="--no-may-be")] = None
    count: Annotated[int | None, Option(low=1, high=10, matters=False)] = None

    def check(self) -> None:
        if self.on and self.maybe:
            raise GenopredError("--on and --may-be go not together.")


def test_fields_come_with_panel_help_and_the_defaults_of_the_workflow():
    fields = declared(Whole)
    assert list(fields) == ["share", "many", "words", "file", "kind", "on", "maybe", "count"]
    assert (fields["share"].panel, fields["share"].help, fields["share"].default) == ("Part", "How much of it.", 0.25)
    assert (fields["file"].panel, fields["file"].required, fields["maybe"].flag) == ("Whole", True, "--may-be")
    assert fields["kind"].choices == ("ridge", "susie") and fields["on"].switch and fields["many"].many


def test_values_are_converted_whoever_gives_them():
    one = Whole(file="x", share="0.5", many="2,3", count="7")
    assert one == Whole(file=Path("x"), share=0.5, many=[2, 3], count=7)
    assert one == Whole(file="x", share=np.float64(0.5), many=np.array([2, 3]), count=np.int64(7), on=np.bool_(False))
    assert isinstance(one.file, Path) and one.many == (2, 3) and one.count == 7 and one.kind == "ridge"
    assert one.that_matter() == {k: v for k, v in one.given().items() if k != "--count"}
    assert one.given()["--may-be"] is None
    assert Whole(file="x", many=7).many == (7,) and type(Whole(file="x", kind=Path("susie")).kind) is str


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"share": 1.5}, "--share 1.5: needed a number from 0 to 1."),
        ({"share": "nan"}, "--share nan: needed a number from 0 to 1."),
        ({"share": float("nan")}, "--share nan: needed a number"),
        ({"share": True}, "--share: needed a number"),
        ({"share": None}, "--share None: needed a number"),
        ({"many": "1,10"}, "--many 1,10: needed a whole number from 1 to 9."),
        ({"many": "1,x"}, "--many 1,x: needed a whole number"),
        ({"count": "1.5"}, "--count 1.5: needed a whole number from 1 to 10."),
        ({"count": 1e30}, "--count 1e+30: needed a whole number"),
        ({"kind": "suzie"}, "--kind suzie: there are ridge, susie. Did you mean 'susie'?"),
        ({"on": "yes"}, "--on yes: needed true or false."),
        ({"on": True, "maybe": True}, "--on and --may-be go not together."),
        ({"file": 3}, "--file 3: needed a path."),
        ({"file": ""}, "--file '': needed a path."),
        ({"words": ("a", "")}, "--words '': needed text."),
        ({"many": None}, "--many None: needed text (K,...)."),
        ({"many": {1: 2}.items}, "needed text (K,...)."),
    ],
)
def test_what_does_not_fit_is_refused_in_the_same_words(values, message):
    with pytest.raises(GenopredError) as refused:
        Whole(**{"file": "x", **values})
    assert message in str(refused.value)


def test_a_section_of_a_file_is_read_into_the_same_settings():
    read = declare.from_table(Whole, {"file": "x", "share": 1, "many": [2], "on": True}, "a.toml", "whole")
    assert read == Whole(file="x", share=1.0, many=(2,), on=True)
    for table, message in (
        ({"shore": 1}, "a.toml: unknown key 'shore' in whole; known: share, many, words, file.* Did you mean 'share'?"),
        ({"share": "0.5"}, "a.toml: whole.share = '0.5': needed a number from 0 to 1"),
        ({"kind": 3}, "a.toml: whole.kind = 3: there are ridge, susie"),
        ({"share": 3}, "a.toml: whole.share = 3: needed a number"),
        ({"on": True, "maybe": True}, "a.toml: --on and --may-be go not together"),
    ):
        with pytest.raises(GenopredError, match=message):
            declare.from_table(Whole, {"file": "x"} | table, "a.toml", "whole")
    with pytest.raises(GenopredError, match="a.toml: whole.file is missing; needed: Where it is."):
        declare.from_table(Whole, {}, "a.toml", "whole")
    with pytest.raises(FormatError, match=r"a.toml: whole = 3; needed a section \[whole\]"):
        declare.from_table(Whole, 3, "a.toml", "whole")


def test_a_computing_dataclass_takes_its_fields_from_the_settings():
    @dataclasses.dataclass
    class Computing:
        share: float
        on: bool
        own: int = 3

    assert Whole(file="x").shared(Computing) == {"share": 0.25, "on": False}
