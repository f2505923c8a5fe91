"""The errors that genopred raises on bad input; the command line turns each into exit code 2."""

from __future__ import annotations

from collections.abc import Sequence


class GenopredError(ValueError):
    """Bad input of any kind. The message says what was found, what was needed and the remedy."""


class FormatError(GenopredError):
    """A file does not hold what its format promises."""


class AlignmentError(GenopredError):
    """Files do not fit together: samples, alleles, builds or chromosome names."""


class ModelError(GenopredError):
    """A model, checkpoint or learner is unknown, corrupt, or does not fit the data."""


def examples(items: Sequence[object], limit: int = 3) -> str:
    """Name at most `limit` items and say that there are more.

    >>> examples(["HG00096", "HG00097", "HG00099", "HG00100"])
    'HG00096, HG00097, HG00099, ...'
    """
    shown = ", ".join(str(item) for item in items[:limit])
    return shown + (", ..." if len(items) > limit else "")
