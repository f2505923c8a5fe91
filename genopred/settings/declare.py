"""How a setting is declared: once, as a field of a frozen dataclass, whoever gives its value.

A field has a type, a default, an `Option` (range, spelling, panel) and a line of help, its `NAME : HELP` under
"Attributes" in the docstring of its class. Parts that several workflows share are classes that these inherit from.
Python users, TOML files and the command line all make the same objects, so that the checks and their messages stand
here alone.
"""

# Defaults are given to fields of other modules' classes: no `from __future__ import annotations` in this package.
import dataclasses
import inspect
import math
import re
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from genopred.errors import FormatError, GenopredError, did_you_mean, no_choice, repeated, shortened

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

_LENGTHS = {"": 1, "b": 1, "bp": 1, "k": 1_000, "kb": 1_000, "m": 1_000_000, "mb": 1_000_000}
_SIZES = {f"{unit}{b}": 1000**i for i, unit in enumerate(["", *"kmgt"]) for b in ("", "b")}

T = TypeVar("T")


@dataclass(frozen=True)
class Option:
    """What a field is beside its type and default.

    Attributes
    ----------
    metavar : What stands for its value in the help.
    low, high : Smallest and largest value.
    above, below : What it must be larger and smaller than.
    read : Makes the value from text, and leaves alone what is none.
    flag : Its spelling; else `--` and the field's name.
    off : What turns a switch off.
    panel : Where the help shows it; else with its class.
    each : The option of a tuple is given once for each of its values.
    argument : It has no spelling: it is the word after the command.
    hidden : Neither on the command line nor in a file.
    matters : Whether results depend on it: a run with another value does not go on with them.
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

    @cached_property
    def items(self) -> tuple[Any, ...]:
        """The types that one value may have: those within a tuple."""
        return next((_kinds(get_args(k)[0]) for k in self.kinds if get_origin(k) is tuple), self.kinds)

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a `Literal`, or of a tuple of them."""
        return next((get_args(k) for k in self.items if get_origin(k) is Literal), ())

    @property
    def many(self) -> bool:
        """Whether its value is a tuple."""
        return self.items is not self.kinds

    @property
    def switch(self) -> bool:
        """Whether it is on or off."""
        return self.kinds == (bool,)

    @property
    def number(self) -> bool:
        """Whether one value is a number, or may be."""
        return bool({int, float} & set(self.items))

    @property
    def needed(self) -> str:
        """In words what one value is, as `a whole number from 2 to 100,000`; choices are named elsewhere."""
        option, what = self.option, "a number" if float in self.items else "a whole number"
        if not self.number:
            return {bool: "true or false", Path: "a path"}.get(self.items[0], "text")
        if option.above is not None or option.below is not None:
            low = f"from {option.low:,g}" if option.above is None else f"above {option.above:,g}"
            return f"{what} {low}, {f'up to {option.high:,g}' if option.below is None else f'below {option.below:,g}'}"
        if option.low is None and option.high is None:
            return what
        if option.high is None:
            return f"{what}, {option.low:,g} or more"
        low, high = (f"{x:,}" if isinstance(x, int) else f"{x:,.12g}" for x in (option.low or 0, option.high))
        return f"{what} from {low} to {high}"

    def settled(self, value: Any, said: str | None = None) -> Any:
        """The value as the field's type, within its range; else GenopredError.

        Parameters
        ----------
        value : object
            Of the field's type, or text.
        said : str, optional
            What it is called in messages, its value included; by default as on the command line.
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
        if not self.many:
            return self._one(value, said)
        items = value if isinstance(value, (tuple, list)) else (value,)
        return tuple(self._one(item, f"{said} {shortened(item) or repr(item)}" if each else said) for item in items)

    def _one(self, value: Any, said: str) -> Any:
        if value != "" or self.section or self.option.hidden:
            for kind in self.items:
                made = _made(value, kind)
                if made is not None and _inside(made, self.option):
                    return made
        if self.choices and not self.number:
            raise GenopredError(no_choice(said, value, self.choices))
        raise GenopredError(f"{said}: needed {' or '.join((self.needed, *self.choices))}.")


def _kinds(hint: Any) -> tuple[Any, ...]:
    """The members of a union; a plain type alone."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _made(value: Any, kind: Any) -> Any:
    """The value as `kind`; None where it is no such thing."""
    if get_origin(kind) is Literal:
        return next((choice for choice in get_args(kind) if str(choice) == str(value)), None)
    if isinstance(value, bool) or kind is bool:
        return value if isinstance(value, bool) and kind is bool else None
    if kind in (int, float):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return None
        if kind is float or math.isnan(number):
            return None if math.isnan(number) else number
        whole = number.is_integer() and not (isinstance(value, str) and re.search("[.eE]", value))
        return int(value) if whole else None
    if kind in (str, Path):
        return kind(value) if isinstance(value, (str, Path)) else None
    return value if isinstance(value, kind) else None


def _inside(value: Any, option: Option) -> bool:
    """Whether a number is in its range; other things have none."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return True
    low = -MOST_WHOLE if option.low is None else option.low
    high = MOST_WHOLE if option.high is None else option.high
    above, below = option.above is None or value > option.above, option.below is None or value < option.below
    return low <= value <= high and above and below


def declared(settings: Any) -> Mapping[str, Declared]:
    """All fields of a class of settings, by name: those of its parts in their order, then its own."""
    return _declared(settings)


@cache
def _declared(settings: Any) -> Mapping[str, Declared]:
    help_of: dict[str, str] = {}
    panel_of: dict[str, str] = {}
    for part in reversed(settings.__mro__):
        help_of |= described(vars(part).get("__doc__") or "")
        panel_of |= dict.fromkeys(_own(part), vars(part).get("PANEL", ""))
    hints = get_type_hints(settings, include_extras=True)
    defaults = {field.name: field.default for field in dataclasses.fields(settings)}
    found = {}
    for name in (name for part in (*settings.__mro__[1:], settings) for name in _own(part)):
        hint, option = get_args(hints[name])[:2] if hasattr(hints[name], "__metadata__") else (hints[name], Option())
        panel = option.panel or panel_of[name]
        found[name] = Declared(
            name,
            hint,
            defaults[name],
            replace(option, hidden=option.hidden or name in settings.HIDDEN),
            settings.PANELS.get(panel, panel),
            help_of.get(name, ""),
            settings.SECTION,
        )
    return found


def _own(part: type) -> list[str]:
    """Fields that a class has itself (constants are in capitals), but not those to which it only gives a default."""
    others = vars(part).get("DEFAULTS", ())
    return [name for name in vars(part).get("__annotations__", {}) if name not in others and name.islower()]


def described(docstring: str) -> dict[str, str]:
    """What the docstring of a class of settings says of each field, on one line.

    >>> described('''Parts.
    ...
    ...     Attributes
    ...     ----------
    ...     maf : Leave out
    ...         rarer variants.
    ...     ''')
    {'maf': 'Leave out rarer variants.'}
    """
    entries = inspect.cleandoc(docstring).partition("\nAttributes\n----------\n")[2]
    return dict(re.findall(r"^(\w+) : (.+)", re.sub(r"\n +", " ", entries), re.MULTILINE))


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Settings:
    """Base of all settings: fields are converted and checked when an object is made, then each part's `check` runs.

    A subclass is a frozen dataclass. In its head stand `panel`, the title of its fields in the help, or `section`, that
    of a file which they are, and other defaults than its parts have: `class Stack(Cohort, panel="Learning", maf=0.05)`.

    Raises
    ------
    GenopredError
        If a value is of the wrong type or out of range, or values contradict each other.
    """

    PANEL: ClassVar[str] = ""
    SECTION: ClassVar[str] = ""
    DEFAULTS: ClassVar[Mapping[str, Any]] = {}
    #: In one workflow: other titles for those of its parts, and fields of them that say nothing, and are no options.
    PANELS: ClassVar[Mapping[str, str]] = {}
    HIDDEN: ClassVar[Collection[str]] = ()

    def __init_subclass__(cls, panel: str = "", section: str = "", **defaults: Any) -> None:
        cls.PANEL, cls.SECTION, cls.DEFAULTS = panel, section or cls.SECTION, defaults
        hints = get_type_hints(cls, include_extras=True)
        cls.__annotations__ = cls.__dict__.get("__annotations__", {}) | {name: hints[name] for name in defaults}
        for name, value in defaults.items():
            setattr(cls, name, value)
        dataclass(frozen=True, kw_only=True)(cls)

    def __post_init__(self) -> None:
        for name, field in declared(type(self)).items():
            object.__setattr__(self, name, field.settled(getattr(self, name)))
        for part in reversed(type(self).__mro__):
            vars(part).get("check", lambda _: None)(self)

    def given(self) -> dict[str, Any]:
        """All values, by the spelling of their options."""
        fields = declared(type(self)).items()
        return {field.flag: getattr(self, name) for name, field in fields if not field.option.hidden}

    def that_matter(self) -> dict[str, Any]:
        """The values that results depend on, by the spelling of their options."""
        return {f.flag: getattr(self, name) for name, f in declared(type(self)).items() if f.option.matters}

    def exactly_one(self, what: str, of: Sequence[str], needed: str) -> tuple[str, Any]:
        """The only one of some fields that has a value, and the value; none and several are refused."""
        given = [name for name in of if getattr(self, name)]
        if len(given) != 1:
            flags = [declared(type(self))[name].flag for name in given]
            raise GenopredError(f"{what}: {' and '.join(flags) or 'none'} given; give {needed}.")
        return given[0], getattr(self, given[0])

    def shared(self, of: type) -> dict[str, Any]:
        """The values of those fields that the computing dataclass `of` has as well."""
        names = (field.name for field in dataclasses.fields(of))
        return {name: getattr(self, name) for name in names if hasattr(self, name)}


def from_table(settings: type[T], table: Any, source: str, section: str) -> T:
    """Settings from a section of a TOML or JSON file; `source` and `section` name both in messages.

    Raises
    ------
    GenopredError
        If a key is unknown (the nearest is named) or missing, or a value is of another type or out of range.
    """
    fields = {name: field for name, field in declared(settings).items() if not field.option.hidden}
    if not isinstance(table, Mapping):
        raise FormatError(f"{source}: {section} = {shortened(repr(table))}; needed a section [{section}].")
    with naming(source):
        known_keys(table, fields, section)
        values = {}
        for key, value in table.items():
            field, said = fields[key], f"{section}.{key} = {shortened(repr(value))}"
            if field.many and not isinstance(value, list):
                raise GenopredError(f"{said}: needed a list.")
            if isinstance(value, str) and not {str, Path} & set(field.kinds) and not field.choices:
                raise GenopredError(f"{said}: needed {field.needed}.")
            values[key] = field.settled(value, said)
        for name, field in fields.items():
            if field.required and values.get(name, "") == "":
                raise GenopredError(f"{section}.{name} is missing; needed: {field.help}")
        return settings(**values)


def known_keys(
    table: Collection[str], known: Collection[str], section: str = "", error: type[GenopredError] = GenopredError
) -> None:
    """Refuse a key that is none, naming the nearest."""
    unknown = [key for key in table if key not in known]
    if unknown:
        inside = f" in {section}" if section else ""
        more = f" ({len(unknown)} such keys)" if len(unknown) > 1 else ""
        raise error(
            f"unknown key {shortened(unknown[0])!r}{inside}{more}; known: {', '.join(known)}."
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

    Its unit is b, bp, k, kb, m, mb or none, in any case; 1 kb is 1,000 bp, as in plink.

    >>> base_pairs("500kb"), base_pairs("1.5Mb"), base_pairs("250,000")
    (500000, 1500000, 250000)
    """
    length = _amount(text, _LENGTHS)
    if length > MOST_BASES:
        raise GenopredError(f"longer than any chromosome; needed at most {MOST_BASES:,} bases.")
    if length >= 1 and abs(length - round(length)) < 1e-6:
        return round(length)
    raise GenopredError("not a length; needed one such as 500kb, 1Mb or 250000.")


def number_of_bytes(text: Any) -> int:
    """Bytes of a size such as `512MB`, `2GB` or `1000000000`; a unit is a thousand of the one before.

    >>> number_of_bytes("512MB"), number_of_bytes("1.5g"), number_of_bytes(1000000)
    (512000000, 1500000000, 1000000)
    """
    size = _amount(text, _SIZES)
    if 1 <= size < 2**63 and abs(size - round(size)) < 1e-6:
        return round(size)
    raise GenopredError("no size; needed one such as 512MB, 2GB or a number of bytes.")


def _amount(text: Any, units: Mapping[str, int]) -> float:
    """A number with its unit; 0 where it is none."""
    match = re.fullmatch(r"([0-9][0-9,_]*(?:\.[0-9]+)?)\s*([a-z]*)", str(text).strip().lower())
    return float(re.sub("[,_]", "", match[1])) * units.get(match[2], 0) if match else 0.0


def names(text: Any) -> tuple[str, ...]:
    """Names between commas (or blanks), in order, each once.

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
        return tuple(map(float, words))
    except ValueError:
        raise GenopredError("needed numbers between commas.") from None
