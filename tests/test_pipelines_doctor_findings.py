"""Errors of readers become a finding with its remedy."""

from __future__ import annotations

import pytest

from genopred.errors import FormatError
from genopred.pipelines.doctor_findings import Finding, amber, green, red, refused


@pytest.mark.parametrize(
    ("text", "said", "remedy"),
    [
        ("f.txt: sample a occurs more than once; keep one.", "sample a occurs more than once.", "Keep one."),
        ("f.txt is cut off. Copy the file again.", "f.txt is cut off.", "Copy the file again."),
        ("f.txt is empty.", "f.txt is empty.", ""),
    ],
)
def test_the_last_clause_is_the_remedy(text, said, remedy):
    assert refused(FormatError(text), "f.txt", "files") == Finding("red", "f.txt", said, remedy, "files")


def test_lines():
    assert green("a", "is fine.", "x").line() == "green  a: is fine."
    assert amber("a", "is odd.", "Look.", "x").line() == "amber  a: is odd. -> Look."
    assert red("a", "is bad.", "Mend it.", "x").line() == "red    a: is bad. -> Mend it."
