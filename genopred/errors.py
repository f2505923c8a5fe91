"""The errors that genopred raises on bad input; the command line turns each into exit code 2."""

from __future__ import annotations

import errno
import re
from collections.abc import Sequence

_FULL = tuple(getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name))
_FULL_TEXT = re.compile(
    rf"no space left|quota exceeded|file too large|disk is full|os error ({'|'.join(map(str, _FULL))})\b", re.I
)


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


def no_space(error: BaseException) -> bool:
    """Whether an error says that a disk, a quota or a limit on files is full; of some libraries only the text does.

    >>> no_space(OSError(28, "No space left on device")), no_space(RuntimeError("IO error (os error 28)"))
    (True, True)
    >>> no_space(OSError(2, "No such file or directory"))
    False
    """
    number = getattr(error, "errno", None)
    return number in _FULL or (number is None and _FULL_TEXT.search(str(error)) is not None)
