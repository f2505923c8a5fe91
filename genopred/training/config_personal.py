"""The configuration of `genopred train` with task = "personal": a file's sections as settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genopred.errors import GenopredError, shortened
from genopred.settings.declare import from_table, naming
from genopred.settings.personal import GeneBlocks, PeopleSplit, PersonalData, PersonalTraining, Start
from genopred.training.sections import changed, existing_file, known_sections, shown

#: What a configuration says it is for.
TASK = "personal"
SECTIONS = ("task", "data", "people", "split", "model", "training")
#: Keys of [data] that name a file; `bfile` and `pfile` begin the names of several.
_FILES = ("fasta", "expression", "vcf", "covariates", "gene_list", "gtf")
_PREFIXES = {"bfile": ".bed", "pfile": ".pgen"}


@dataclass(frozen=True)
class PersonalConfig:
    """A configuration of tuning on people, read and checked.

    Attributes
    ----------
    source : str
        The file.
    data : PersonalData
        Paths as they were written.
    people : PeopleSplit
    split : GeneBlocks
    model : Start
    training : PersonalTraining
    paths : dict of str to Path
        Of [data], by key, and `folds`.
    start : str
        What `load_model` is given: `model.start` from where it was written.
    """

    source: str
    data: PersonalData
    people: PeopleSplit
    split: GeneBlocks
    model: Start
    training: PersonalTraining
    paths: dict[str, Path]
    start: str

    @property
    def written(self) -> dict[str, Any]:
        """As sections and keys, paths as they were written."""
        sections = {name: shown(getattr(self, name), (None, "", ())) for name in SECTIONS[1:]}
        return json.loads(json.dumps({"task": TASK} | sections))  # type: ignore[no-any-return]

    def resolved(self) -> dict[str, Any]:
        """As `written`, with absolute paths: `parse_personal` reads it from any folder."""
        out = self.written
        for key, path in self.paths.items():
            out["people" if key == "folds" else "data"][key] = str(path.absolute())
        out["model"]["start"] = self.start
        return out


def parse_personal(raw: Mapping[str, Any], folder: str | Path, source: str, **changes: Any) -> PersonalConfig:
    """Check sections and keys, and fill in the defaults.

    Parameters are those of `genopred.training.config.parse_config`.

    Raises
    ------
    GenopredError
        If a key is unknown, missing, of another type or out of range, or a file is not there.
    """
    known_sections(raw, SECTIONS, source)
    if raw.get("task") != TASK:
        raise GenopredError(f"{source}: task = {shortened(repr(raw.get('task')))}; needed task = {TASK!r}.")
    if "data" not in raw:
        raise GenopredError(f"{source}: section [data] is missing; needed at least fasta, genotypes and expression.")
    data = from_table(PersonalData, raw["data"], source, "data")
    people = from_table(PeopleSplit, raw.get("people", {}), source, "people")
    split = from_table(GeneBlocks, raw.get("split", {}), source, "split")
    model = from_table(Start, raw.get("model", {}), source, "model")
    training = from_table(PersonalTraining, raw.get("training", {}), source, "training")
    with naming(source):
        training = changed(training, changes)
    place = Path(folder)
    paths = {
        key: existing_file(getattr(data, key), place, f"{source}: data.{key}") for key in _FILES if getattr(data, key)
    }
    for key, end in _PREFIXES.items():
        if getattr(data, key):
            whole = existing_file(getattr(data, key) + end, place, f"{source}: data.{key}")
            paths[key] = whole.with_name(whole.name[: -len(end)])
    if people.folds:
        paths["folds"] = existing_file(people.folds, place, f"{source}: people.folds")
    return PersonalConfig(source, data, people, split, model, training, paths, _start(model.start, place, source))


def _start(spec: str, folder: Path, source: str) -> str:
    """A model's name and path, whose path starts at the configuration's folder where there is such a one."""
    name, colon, path = spec.partition(":")
    for before, text in ((f"{name}:", path), ("", spec)):
        if text and (colon or not before) and ("${" in text or (folder / text).exists()):
            return before + str(existing_file(text, folder, f"{source}: model.start").absolute())
    return spec
