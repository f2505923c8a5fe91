"""Look at the files that one is about to use, and say what is wrong with them before hours are spent.

Nothing is written but the JSON that is asked for: `version`, `command`, `exit_code`, `files` (path, kind, build),
`findings` (level, about, said, remedy, check) and `forecasts` (command, genes, people, cpu and wall in seconds, memory
and disk in bytes).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from genopred.errors import GenopredError
from genopred.files import write_json
from genopred.io.text import bounded
from genopred.pipelines import doctor_effects, doctor_people, doctor_places, doctor_quality
from genopred.pipelines.doctor_cost import Forecast, forecasts
from genopred.pipelines.doctor_files import NAMES, Files, open_all
from genopred.pipelines.doctor_findings import Finding, green, refused
from genopred.pipelines.run import Progress
from genopred.provenance import versions
from genopred.settings import Doctor

_LEVELS = ("red", "amber", "green")


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes
    ----------
    findings : tuple of Finding
        The worst first.
    files : Files
        Those that could be read.
    forecasts : tuple of Forecast
    command : str
    """

    findings: tuple[Finding, ...]
    files: Files
    forecasts: tuple[Forecast, ...] = ()
    command: str = ""

    @property
    def exit_code(self) -> int:
        """0 where all is green, 1 where something is amber, 2 where something is red."""
        levels = {finding.level for finding in self.findings}
        return 2 if "red" in levels else 1 if "amber" in levels else 0

    def lines(self) -> list[str]:
        """A line for each finding, and how many there are of each level."""
        count = {level: sum(finding.level == level for finding in self.findings) for level in _LEVELS}
        return [
            *(finding.line() for finding in self.findings),
            ", ".join(f"{n} {level}" for level, n in count.items()) + ".",
        ]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "version": versions().get("genopred"),
            "command": self.command,
            "exit_code": self.exit_code,
            "files": [
                {"path": str(one.path), "kind": one.kind, "what": NAMES[one.kind], "build": one.build}
                for one in self.files.opened
            ],
            "findings": [asdict(finding) for finding in self.findings],
            "forecasts": [asdict(forecast) for forecast in self.forecasts],
        }


def run(settings: Doctor, progress: Progress | None = None) -> Diagnosis:
    """Look at the files.

    Parameters
    ----------
    settings : genopred.settings.Doctor
    progress : callable, optional
        Called with (checks done, checks in all, what is looked at).
    """
    step: Progress = progress or (lambda done, total, name: None)
    done, total = 0, len(settings.files) + 7

    def tick(name: str) -> None:
        nonlocal done
        step(min(done, total), total, name)
        done += 1

    with bounded(settings.max_bytes), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files, found = open_all(settings.files, tick)
        for name, look in _checks(files, settings):
            tick(name)
            found += list(_kept(look, name))
        made: list[Forecast] = []
        if settings.forecast and files.genotypes and files.of("expression"):
            tick("forecast")
            if any(one.level == "red" for one in found):
                said = "what stack and features would take is not estimated before what is red is put right."
                found.append(green("forecast", said, "cost"))
            else:
                made, more = forecasts(files, settings)
                found += more
    step(total, total, "")
    ordered = sorted(found, key=lambda finding: _LEVELS.index(finding.level))
    diagnosis = Diagnosis(tuple(dict.fromkeys(ordered)), files, tuple(made), settings.command)
    if settings.json is not None:
        write_json(settings.json, diagnosis.as_dict())
    return diagnosis


Look = Callable[[], Iterable[Finding]]


def _checks(files: Files, settings: Doctor) -> Iterator[tuple[str, Look]]:
    yield "genotypes", lambda: _genotypes(files)
    yield "expression", lambda: (f for one in files.of("expression") for f in doctor_quality.expression(one))
    yield "people", lambda: doctor_people.overlaps(files)
    yield "covariates", lambda: doctor_people.covariates(files)
    yield "builds", lambda: doctor_places.builds(files)
    yield "genes", lambda: doctor_places.genes(files, settings)
    yield "reference", lambda: doctor_places.references(files)
    yield "effects", lambda: doctor_effects.effects(files)
    yield "swaps", lambda: doctor_people.swaps(files, settings)


def _genotypes(files: Files) -> Iterator[Finding]:
    for one in files.genotypes:
        taken = doctor_quality.sample(one.content)
        yield from doctor_quality.genotypes(one, files, taken)
        if taken.dosage.size:
            table = one.content.variants[taken.variants]
            several = table["chrom"].n_unique() > 1
            yield from doctor_people.relatives(one, taken.dosage, np.asarray(table["pos"]), several)


def _kept(look: Look, name: str) -> Iterator[Finding]:
    """The findings of a check; what it cannot read any more is one."""
    try:
        yield from look()
    except (GenopredError, OSError) as bad:
        yield refused(bad, name, name)
