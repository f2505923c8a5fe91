"""Sections of a file that `genopred train` reads: what its configurations check and fill in alike."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from genopred.errors import FormatError, GenopredError, examples, no_choice, repeated, shortened
from genopred.settings.declare import declared, from_table, known_keys, naming
from genopred.settings.expression import Genes
from genopred.settings.training import ByChromosome, Data, Split, Training
from genopred.training.networks.base import TrackNetwork
from genopred.training.networks.gene import GeneNetwork
from genopred.training.networks.registry import all_sizes
from genopred.types import plain_chrom

T = TypeVar("T", bound=Training)
#: A section that says which chromosomes are used.
C = TypeVar("C", Data, Genes)


def known_sections(raw: Any, known: Sequence[str], source: str) -> None:
    """Refuse what is no file of sections, and a section that is not among the known ones."""
    if not isinstance(raw, Mapping):
        raise GenopredError(f"{source}: {shortened(repr(raw))}; needed sections with keys.")
    with naming(source):
        known_keys(raw, known)


def split_section(table: Any, kinds: Mapping[str, type[Split]], source: str) -> Any:
    """[split]: its keys depend on what it is by, the first of the kinds where it does not say."""
    by, keys = next(iter(kinds)), table
    if isinstance(table, Mapping):
        by, keys = table.get("by", by), {key: value for key, value in table.items() if key != "by"}
        if not isinstance(by, str) or by not in kinds:
            raise GenopredError(no_choice(f"{source}: split.by = {shortened(repr(by))}", by, kinds))
        with naming(source):
            known_keys(keys, declared(kinds[by]), f"split (by = {by!r})")
    return from_table(kinds[by], keys, source, "split")


def network_section(
    table: Any, default: str, networks: Mapping[str, type[TrackNetwork] | type[GeneNetwork]], source: str
) -> tuple[str, dict[str, Any]]:
    """[network]: kind and sizes, with the defaults of that kind."""
    if not isinstance(table, Mapping):
        raise FormatError(f"{source}: network = {shortened(repr(table))}; needed a section [network].")
    kind = str(table.get("kind", default))
    with naming(source):
        return kind, all_sizes(kind, {key: value for key, value in table.items() if key != "kind"}, networks)


def changed(training: T, changes: Mapping[str, Any]) -> T:
    """[training] with some of its values replaced; None leaves the file's."""
    return replace(training, **{key: value for key, value in changes.items() if value is not None})


def with_chromosomes(section: C, split: Any, source: str) -> C:
    """The section with the chromosomes of a split by chromosome where it names none; refused if it names one twice."""
    if isinstance(split, ByChromosome) and not section.chromosomes:
        section = replace(section, chromosomes=(*split.train, *split.validation, *split.test))
    if twice := repeated(plain_chrom(name) for name in section.chromosomes):
        raise GenopredError(f"{source}: chromosomes are listed twice: {examples(twice)}; name each once.")
    return section


def existing_file(text: str, folder: Path, said: str) -> Path:
    """An existing file; `${NAME}` is the environment's, and relative paths start at the configuration's folder."""

    def of_environment(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise GenopredError(
                f"{said} = {text!r}: the environment has no {match[1]}; set it (export {match[1]}=FOLDER) or write the "
                "path out."
            )
        return os.environ[match[1]]

    path = folder / Path(re.sub(r"\$\{(\w+)\}", of_environment, text)).expanduser()
    if not path.exists():
        raise GenopredError(f"{said} = {text!r}: there is no file {path}; check the path.")
    return path


def shown(section: Any, nothing: Sequence[Any] = (None, "")) -> dict[str, Any]:
    """A section's values as in a file, but hidden ones and those that say `nothing`.

    >>> from genopred.settings.personal import PeopleSplit
    >>> shown(PeopleSplit())
    {'test': 0, 'fraction': 0.2, 'validation': 0.125, 'seed': 1}
    """
    fields = declared(type(section))
    values = {key: value for key, value in asdict(section).items() if not fields[key].option.hidden}
    return {key: value for key, value in values.items() if value not in nothing}
