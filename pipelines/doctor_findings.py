"""One thing that was looked at, in a line: how bad it is, what was found, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["green", "amber", "red"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    level : {"green", "amber", "red"}
        Red: a command would refuse the files, or its results would be wrong. Amber: worth a look before going on.
    about : str
        File or files.
    said : str
        What was found and, where it is not as it should be, what was needed.
    remedy : str
        What to do; nothing where it is green.
    check : str
        What was looked at, in a word.
    """

    level: Level
    about: str
    said: str
    remedy: str = ""
    check: str = ""

    def line(self) -> str:
        """All of it on one line."""
        return f"{self.level:<5}  {self.about}: {self.said}{f' -> {self.remedy}' if self.remedy else ''}"


def refused(error: Exception, about: str, check: str) -> Finding:
    """A red finding of an error that a workflow would end with: its last clause is the remedy."""
    text = " ".join(str(error).split()).removeprefix(f"{about}: ")
    cut = max(text.rfind("; "), text.rstrip(".").rfind(". "))
    said, remedy = (text[:cut], text[cut + 2 :]) if cut > 0 else (text, "")
    return Finding("red", about, f"{said.rstrip('.')}.", remedy[:1].upper() + remedy[1:], check)


def some(n: int, one: str, several: str = "") -> str:
    """How many of something.

    >>> some(1, "pair"), some(2, "pair"), some(1200, "person is", "people are")
    ('1 pair', '2 pairs', '1,200 people are')
    """
    return f"{n:,} {one if n == 1 else several or f'{one}s'}"


def green(about: str, said: str, check: str) -> Finding:
    """A finding that is as it should be."""
    return Finding("green", about, said, check=check)


def amber(about: str, said: str, remedy: str, check: str) -> Finding:
    """A finding that is worth a look."""
    return Finding("amber", about, said, remedy, check)


def red(about: str, said: str, remedy: str, check: str) -> Finding:
    """A finding with which a command would refuse the files, or go wrong."""
    return Finding("red", about, said, remedy, check)
