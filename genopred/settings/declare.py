"""How a setting is declared: once, as a field of a frozen dataclass, whoever gives its value.

A field has a type, a default, an `Option` (range, spelling, panel) and a line of help, its entry under "Attributes" in
the docstring of its class. Parts that several workflows share are classes that these inherit from. Python users, TOML
files and the command line all make the same objects, so that the checks and their messages stand here alone.
"""

# Defaults are given to fields of other modules' classes: no `from __future__ import annotations` in this package.
import dataclasses
import math
import re
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from genopred.errors import FormatError, GenopredError, did_you_mean, repeated, shortened

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:  # for type checkers alone

    def dataclass_transform(**_: Any) -> Callable[[Any], Any]:
        return lambda decorator: decorator


#: Longest length in base pairs: no chromosome is longer.
MOST_BASES = 1_000_000_000
#: Largest seed: what every generator takes, scikit-learn's included.
MOST_SEED = 2**32 - 1
#: More of anything that is counted (folds, components, draws) is a slip of the hand, and would fill the memory.
MOST = 100_000
#: Whole numbers beyond this are slips, and too large to compute with.
MOST_WHOLE = 10**12

_UNITS = {"": 1, "b": 1, "bp": 1, "k": 1_000, "kb": 1_000, "m": 1_000_000, "mb": 1_000_000}

T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """What a field is beside its type and default.

    Attributes
    ----------
    metavar : str, optional
        What stands for its value in the help.
    low, high : float, optional
        Smallest and largest value.
    above, below : float, optional
        What it must be larger and smaller than.
    read : callable, optional
        Makes the value from text, and leaves alone what is none.
    flag : str, optional
        Its spelling; else `--` and the field's name.
    off : str, optional
        What turns a switch off.
    panel : str, optional
        Where the help shows it; else with its class.
    each : bool
        The option of a tuple is given once for each of its values.
    argument : bool
        It has no spelling: it is the word after the command.
    hidden : bool
        Neither on the command line nor in a file.
    matters : bool
        Whether results depend on it: a run with another value does not go on with them.
    """

    metavar: str | None = None
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    read: Callable[[Any], Any] | None = None
    flag: str | None = None
    off: str | None = None
    panel: str | None = None
    each: bool = False
    argument: bool = False
    hidden: bool = False
    matters: bool = True


@dataclass(frozen=True)
class Declared:
    """One field of a class of settings, as declared; see `declared`."""

    name: str
    hint: Any
    default: Any
    option: Option
    panel: str
    help: str
    section: str

    @property
    def flag(self) -> str:
        """How the command line spells it, or a file."""
        if self.section:
            return f"{self.section}.{self.name}"
        return self.option.flag or f"--{self.name.replace('_', '-')}"

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is dataclasses.MISSING

    @cached_property
    def kinds(self) -> tuple[Any, ...]:
        """The types it may have, without None."""
        return tuple(k for k in _kinds(self.hint) if k is not type(None))

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a `Literal`, or of a tuple of them."""
        inner = [get_args(k)[0] for k in self.kinds if get_origin(k) is tuple]
        return next((get_args(k) for k in (*self.kinds, *inner) if get_origin(k) is Literal), ())

    @property
    def many(self) -> bool:
        """Whether its value is a tuple."""
        return any(get_origin(k) is tuple for k in self.kinds)

    @property
    def switch(self) -> bool:
        """Whether it is on or off."""
        return self.kinds == (bool,)

    def settled(self, value: Any, said: str | None = None) -> Any:
        """The value as the field's type, within its range.

        Parameters
        ----------
        value : object
            Of the field's type, or text.
        said : str, optional
            What it is called in messages, its value included; by default as on the command line.

        Raises
        ------
        GenopredError
            If it is another thing, or out of range.
        """
        if value is None and type(None) in _kinds(self.hint):
            return None
        value = getattr(value, "tolist", lambda: value)()  # numpy's scalars and arrays
        each = said is None and not self.section and isinstance(value, (tuple, list))
        if said is None and self.section:
            said = f"{self.flag} = {shortened(repr(value))}"
        elif said is None:
            shown = "" if isinstance(value, (bool, tuple, list)) else f" {shortened(value) or repr(value)}"
            said = f"{self.flag if not self.option.argument else self.name.upper()}{shown}"
        if self.option.read is not None:
            if self.many and isinstance(value, (int, float)):
                value = (value,)
            try:
                value = self.option.read(value)
            except GenopredError as bad:
                raise type(bad)(f"{said}: {bad}") from None
            except TypeError:  # neither text nor what it makes of text
                raise GenopredError(f"{said}: needed text ({self.option.metavar}).") from None
        if self.many:
            inner = next(get_args(k)[0] for k in self.kinds if get_origin(k) is tuple)
            items = value if isinstance(value, (tuple, list)) else (value,)
            return tuple(
                self._one(item, _kinds(inner), f"{said} {shortened(item) or repr(item)}" if each else said)
                for item in items
            )
        return self._one(value, self.kinds, said)

    def _one(self, value: Any, kinds: tuple[Any, ...], said: str) -> Any:
        option = self.option
        for kind in kinds:
            if get_origin(kind) is Literal and str(value) in map(str, get_args(kind)):
                return next(choice for choice in get_args(kind) if str(choice) == str(value))
            if value == "" and not self.section and not option.hidden:
                continue
            made = _made(value, kind)
            if made is not None and _inside(made, option):
                return made
        if self.choices and not {int, float} & set(kinds):
            guess = did_you_mean(str(value), self.choices)
            are = "is" if len(self.choices) == 1 else "are"
            raise GenopredError(f"{said}: there {are} {', '.join(self.choices)}.{guess}")
        needed = " or ".join((_needed(kinds, option), *self.choices))
        raise GenopredError(f"{said}: needed {needed}.")


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The members of a union; a plain type alone."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _made(value: Any, kind: Any) -> Any:
    """The value as `kind`; None where it is no such thing."""
    if kind is bool:
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or value is None:
        return None
    if kind in (int, float):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return None
        if math.isnan(number):
            return None
        if kind is float:
            return number
        whole = number.is_integer() and not (isinstance(value, str) and re.search("[.eE]", value))
        return int(value) if whole else None
    if kind is Path:
        return Path(value) if isinstance(value, (str, Path)) else None
    if kind is str:
        return str(value) if isinstance(value, (str, Path)) else None
    return value if isinstance(kind, type) and isinstance(value, kind) else None


def _inside(value: Any, option: Option) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return True
    low = -MOST_WHOLE if option.low is None else option.low
    high = MOST_WHOLE if option.high is None else option.high
    inside = low <= value <= high
    if option.above is not None:
        inside = inside and value > option.above
    return inside and (option.below is None or value < option.below)


def _needed(kinds: tuple[Any, ...], option: Option) -> str:
    """In words what an option takes.

    >>> _needed((int,), Option(low=2, high=100_000)), _needed((float,), Option(low=0))
    ('a whole number from 2 to 100,000', 'a number, 0 or more')
    """
    if not {int, float} & set(kinds):
        return {bool: "true or false", Path: "a path"}.get(kinds[0], "text")
    what = "a number" if float in kinds else "a whole number"
    if option.above is not None or option.below is not None:
        low = f"from {option.low:,g}" if option.above is None else f"above {option.above:,g}"
        return f"{what} {low}, {f'up to {option.high:,g}' if option.below is None else f'below {option.below:,g}'}"
    if option.low is None and option.high is None:
        return what
    if option.high is None:
        return f"{what}, {option.low:,g} or more"
    low, high = (f"{x:,}" if isinstance(x, int) else f"{x:,.12g}" for x in (option.low or 0, option.high))
    return f"{what} from {low} to {high}"


def declared(settings: Any) -> Mapping[str, Declared]:
    """All fields of a class of settings, by name: those of its parts in their order, then its own."""
    return _declared(settings)


@cache
def _declared(settings: Any) -> Mapping[str, Declared]:
    help_of: dict[str, str] = {}
    panel_of: dict[str, str] = {}
    for part in reversed(settings.__mro__):
        help_of |= described(part.__dict__.get("__doc__") or "")
        panel_of |= dict.fromkeys(_own(part), part.__dict__.get("PANEL", ""))
    order = [name for part in (*settings.__mro__[1:], settings) for name in _own(part)]
    found = {}
    hints = get_type_hints(settings, include_extras=True)
    for field in sorted(dataclasses.fields(settings), key=lambda field: order.index(field.name)):
        hint, option = hints[field.name], Option()
        if get_origin(hint) is Annotated:
            hint, option = get_args(hint)[:2]
        if field.name in settings.HIDDEN:
            option = replace(option, hidden=True)
        panel = option.panel or panel_of[field.name]
        panel = settings.PANELS.get(panel, panel)
        found[field.name] = Declared(
            field.name, hint, field.default, option, panel, help_of.get(field.name, ""), settings.SECTION
        )
    return found


def _own(part: type) -> list[str]:
    """Fields that a class has itself (constants are in capitals), but not those to which it only gives a default."""
    others = part.__dict__.get("_OTHER_DEFAULTS", ())
    return [name for name in part.__dict__.get("__annotations__", {}) if name not in others and name.islower()]


def described(docstring: str) -> dict[str, str]:
    """What a numpydoc docstring says of each attribute, on one line.

    >>> described('''Parts.
    ...
    ...     Attributes
    ...     ----------
    ...     maf
    ...         Leave out
    ...         rarer variants.
    ...     ''')
    {'maf': 'Leave out rarer variants.'}
    """
    found: dict[str, list[str]] = {}
    lines = [line.rstrip() for line in docstring.split("\n")]
    start = next((i + 2 for i, line in enumerate(lines) if line.strip() == "Attributes"), len(lines))
    base = min((len(line) - len(line.lstrip()) for line in lines[start:] if line), default=0)
    name = ""
    for line in lines[start:]:
        inside = line.strip()
        if not inside:
            continue
        if len(line) - len(line.lstrip()) == base:
            name = inside.partition(" ")[0]
            found[name] = []
        elif name:
            found[name].append(inside)
    return {name: " ".join(words) for name, words in found.items()}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all settings: fields are converted and checked when an object is made, then each part's `check` runs.

    Raises
    ------
    GenopredError
        If a value is of the wrong type or out of range, or values contradict each other.
    """

    #: Title of the fields' panel in the help, and others in its place in one workflow.
    PANEL: ClassVar[str] = ""
    PANELS: ClassVar[Mapping[str, str]] = {}
    #: Fields of its parts that say nothing in one workflow, and are no options of it.
    HIDDEN: ClassVar[Collection[str]] = ()
    #: The section of a file that they are; else they are options.
    SECTION: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, field in declared(type(self)).items():
            object.__setattr__(self, name, field.settled(getattr(self, name)))
        for part in reversed(type(self).__mro__):
            check = part.__dict__.get("check")
            if check is not None:
                check(self)

    def given(self) -> dict[str, Any]:
        """All values, by the spelling of their options."""
        fields = declared(type(self)).items()
        return {field.flag: getattr(self, name) for name, field in fields if not field.option.hidden}

    def that_matter(self) -> dict[str, Any]:
        """The values that results depend on, by the spelling of their options."""
        return {f.flag: getattr(self, name) for name, f in declared(type(self)).items() if f.option.matters}

    def shared(self, of: type) -> dict[str, Any]:
        """The values of those fields that the computing dataclass `of` has as well."""
        names = (field.name for field in dataclasses.fields(of))
        return {name: getattr(self, name) for name in names if hasattr(self, name)}


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=())
def settings(**defaults: Any) -> Callable[[type[T]], type[T]]:
    """Make a class of settings, with other defaults than its parts have.

    Parameters
    ----------
    **defaults
        By field.
    """

    def make(part: type[T]) -> type[T]:
        own = part.__dict__.get("__annotations__", {})
        for name, value in defaults.items():
            hints = (base.__dict__.get("__annotations__", {}) for base in part.__mro__)
            own[name] = next(hint[name] for hint in hints if name in hint)
            setattr(part, name, value)
        part.__annotations__ = own
        part._OTHER_DEFAULTS = frozenset(defaults)  # type: ignore[attr-defined]
        return dataclass(frozen=True, kw_only=True)(part)

    return make


def from_table(settings: type[T], table: Any, source: str, section: str, **more: Any) -> T:
    """Settings from a section of a TOML or JSON file.

    Parameters
    ----------
    table : dict
        Key -> value.
    source, section : str
        File and section, for messages.
    **more
        Fields given elsewhere.

    Raises
    ------
    GenopredError
        If a key is unknown (the nearest is named) or missing, or a value is of another type or out of range.
    """
    fields = {name: field for name, field in declared(settings).items() if not field.option.hidden}
    if not isinstance(table, Mapping):
        raise FormatError(f"{source}: {section} = {shortened(repr(table))}; needed a section [{section}].")
    known_keys(table, fields, source, section)
    values = {}
    for key, value in table.items():
        said = f"{source}: {section}.{key} = {shortened(repr(value))}"
        if fields[key].many and not isinstance(value, list):
            raise GenopredError(f"{said}: needed a list.")
        if isinstance(value, str) and not {str, Path} & set(fields[key].kinds) and not fields[key].choices:
            raise GenopredError(f"{said}: needed {_needed(fields[key].kinds, fields[key].option)}.")
        values[key] = fields[key].settled(value, said)
    absent = [
        name for name, field in fields.items() if field.required and values.get(name, "") == "" and name not in more
    ]
    if absent:
        raise GenopredError(f"{source}: {section}.{absent[0]} is missing; needed: {fields[absent[0]].help}")
    with naming(source):
        return settings(**values, **more)


def known_keys(table: Collection[str], known: Collection[str], source: str, section: str = "") -> None:
    """Refuse a key that is none, naming the nearest."""
    unknown = [key for key in table if key not in known]
    if unknown:
        inside = f" in {section}" if section else ""
        more = f" ({len(unknown)} such keys)" if len(unknown) > 1 else ""
        raise GenopredError(
            f"{source}: unknown key {shortened(unknown[0])!r}{inside}{more}; known: {', '.join(known)}."
            f"{did_you_mean(unknown[0], known)}"
        )


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Put a file's name before what is wrong with a value of it."""
    try:
        yield
    except GenopredError as bad:
        raise type(bad)(f"{source}: {bad}") from None


def as_text(value: Any) -> str:
    """A value as the command line takes it.

    >>> as_text((1.0, 1e-05)), as_text(("maf", "ld")), as_text(0.5)
    ('1,1e-05', 'maf,ld', '0.5')
    """
    if type(value) is tuple:
        return ",".join(f"{one:g}" if isinstance(one, float) else str(one) for one in value)
    return str(value)


def base_pairs(text: Any) -> int:
    """Base pairs of a length such as `500kb`, `1Mb`, `0.5m` or `250000`.

    Parameters
    ----------
    text : str or int
        A number with an optional unit: b, bp, k, kb, m, mb, in any case (1 kb is 1,000 bp, as in plink).

    Raises
    ------
    GenopredError
        If it is no positive length in whole base pairs, or longer than any chromosome.

    Examples
    --------
    >>> base_pairs("500kb"), base_pairs("1.5Mb"), base_pairs("250,000")
    (500000, 1500000, 250000)
    """
    match = re.fullmatch(r"([0-9][0-9,_]*(?:\.[0-9]+)?)\s*([a-z]*)", str(text).strip().lower())
    if match and match[2] in _UNITS:
        length = float(re.sub("[,_]", "", match[1])) * _UNITS[match[2]]
        if length > MOST_BASES:
            raise GenopredError(f"longer than any chromosome; needed at most {MOST_BASES:,} bases.")
        if length >= 1 and abs(length - round(length)) < 1e-6:
            return round(length)
    raise GenopredError("not a length; needed one such as 500kb, 1Mb or 250000.")


def number_of_bytes(text: Any) -> int:
    """Bytes of a size such as `512MB`, `2GB` or `1000000000`; a unit is a thousand of the one before.

    Raises
    ------
    GenopredError
        If it is no whole number of bytes above 0.

    Examples
    --------
    >>> number_of_bytes("512MB"), number_of_bytes("1.5g"), number_of_bytes(1000000)
    (512000000, 1500000000, 1000000)
    """
    match = re.fullmatch(r"([0-9][0-9_,]*(?:\.[0-9]+)?)\s*([kmgt]?)b?", str(text).strip().lower())
    if match:
        size = float(re.sub("[,_]", "", match[1])) * 1000.0 ** " kmgt".index(match[2] or " ")
        if 1 <= size < 2**63 and abs(size - round(size)) < 1e-6:
            return round(size)
    raise GenopredError("no size; needed one such as 512MB, 2GB or a number of bytes.")


def names(text: Any) -> tuple[str, ...]:
    """Names between commas (or blanks), in order, each once.

    Examples
    --------
    >>> names("elastic-net, susie")
    ('elastic-net', 'susie')
    """
    found = [name for name in re.split(r"[,\s]+", text) if name] if isinstance(text, str) else list(text)
    if not found:
        raise GenopredError("names nothing; needed names between commas, or the option left out.")
    twice = repeated(map(str, found))
    if twice:
        raise GenopredError(f"{', '.join(twice)} is named twice; needed each once.")
    return tuple(found)


def numbers(text: Any) -> tuple[float, ...]:
    """Numbers between commas.

    >>> numbers("1, 0.05")
    (1.0, 0.05)
    """
    words = names(text)
    try:
        return tuple(float(word) for word in words)
    except ValueError:
        raise GenopredError("needed numbers between commas.") from None
