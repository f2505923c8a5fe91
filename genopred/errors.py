"""The errors that genopred raises on bad input; the command line turns each into exit code 2."""

from __future__ import annotations

import difflib
import errno
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

#: Characters of one quoted item, and of a whole message: a header line may have ten million.
_ITEM, _MESSAGE = 80, 2000

_FULL = tuple(getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name))
_FULL_TEXT = re.compile(
    rf"no space left|quota exceeded|file too large|disk is full|os error ({'|'.join(map(str, _FULL))})\b", re.I
)


class GenopredError(ValueError):
    """Bad input of any kind. The message says what was found, what was needed and the remedy.

    A very long message loses its middle, and characters that a terminal would act on are written out.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(shortened(message, _MESSAGE))


class FormatError(GenopredError):
    """A file does not hold what its format promises."""


class AlignmentError(GenopredError):
    """Files do not fit together: samples, alleles, builds or chromosome names."""


class ModelError(GenopredError):
    """A model, checkpoint or learner is unknown, corrupt, or does not fit the data."""


def no_choice(said: str, value: object, known: Collection[str]) -> str:
    """What there is to say of a value, said with its name, that is not among the known ones.

    >>> no_choice("--mode exakt", "exakt", ("exact", "linear"))
    "--mode exakt: there are exact, linear. Did you mean 'exact'?"
    """
    return f"{said}: there {'is' if len(known) == 1 else 'are'} {', '.join(known)}.{did_you_mean(str(value), known)}"


def check_choice(name: str, value: str, known: Collection[str]) -> None:
    """Refuse a value of the option `--name` that is not among the known ones, with `no_choice`."""
    if value not in known:
        raise GenopredError(no_choice(f"--{name} {shortened(value)}", value, known))


def shortened(item: object, limit: int = _ITEM) -> str:
    """The text of something that a file or a user wrote, fit to be quoted: printable, its middle left out if long.

    >>> shortened("rs1" + 5_000 * "x", 20)
    'rs1xxxx[...]xxxxxxxx'
    """
    text = str(item)
    if len(text) > limit:
        text = f"{text[: limit // 2 - 3]}[...]{text[len(text) - (limit - limit // 2 - 2) :]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


def examples(items: Sequence[object], limit: int = 3) -> str:
    """Name at most `limit` items and say that there are more.

    >>> examples(["HG00096", "HG00097", "HG00099", "HG00100"])
    'HG00096, HG00097, HG00099, ...'
    """
    shown = ", ".join(shortened(item) for item in items[:limit])
    return shown + (", ..." if len(items) > limit else "")


def nearest(word: str, known: Mapping[str, str], limit: int, likeness: float = 0.5) -> list[str]:
    """The values of at most so many keys that a word is closest to, whatever the case, each once, closest first.

    >>> nearest("CAGE:lver", {"CAGE:liver": "a track", "liver": "a track", "DNASE": "another"}, 3)
    ['a track']
    """
    lower: dict[str, str] = {}
    for key, name in known.items():
        lower.setdefault(key.lower(), name)
    found = difflib.get_close_matches(word.lower(), lower, n=limit, cutoff=likeness)
    return list(dict.fromkeys(lower[key] for key in found))


def near(word: str, known: Iterable[str]) -> str | None:
    """The name that a word is closest to, whatever the case; None where none is close.

    >>> near("Elastik-net", ["ridge", "elastic-net"]), near("x", ["ridge"])
    ('elastic-net', None)
    """
    return next(iter(nearest(word, {name: name for name in known}, 1)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest of the known names, with a space before it; empty where none is close.

    >>> did_you_mean("ridg", ["ridge"])
    " Did you mean 'ridge'?"
    """
    name = near(word, known)
    return "" if name is None else f" Did you mean {name!r}?"


def no_space(error: BaseException) -> bool:
    """Whether an error says that a disk, a quota or a limit on files is full; of some libraries only the text does.

    >>> no_space(OSError(28, "No space left on device")), no_space(RuntimeError("IO error (os error 28)"))
    (True, True)
    >>> no_space(OSError(2, "No such file or directory"))
    False
    """
    number = getattr(error, "errno", None)
    return number in _FULL or (number is None and _FULL_TEXT.search(str(error)) is not None)


def repeated(names: Iterable[str]) -> list[str]:
    """Names that occur more than once, each once, in their order.

    >>> repeated(["b", "a", "b", "a", "c"])
    ['b', 'a']
    """
    return [name for name, n in Counter(names).items() if n > 1]
