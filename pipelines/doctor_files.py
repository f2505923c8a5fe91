"""The files that are looked at, opened by the readers of every workflow, and who is in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genopred.errors import GenopredError
from genopred.pipelines.doctor_findings import Finding, amber, red, refused
from genopred.pipelines.doctor_kinds import first_bytes, told
from genopred.settings.parts import GENOTYPE_SOURCES
from genopred.types import CHROM_LENGTHS, Covariates, Expression, Genotypes

#: Kinds in words.
NAMES = {
    "bfile": "PLINK 1 genotypes", "pfile": "PLINK 2 genotypes", "vcf": "genotypes", "bgen": "BGEN genotypes",
    "expression": "expression BED", "covariates": "covariates", "fasta": "reference", "gtf": "genes",
    "models": "models", "sumstats": "summary statistics", "score": "score file", "chain": "chain",
}  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """A file that could be read: what it is, and what its reader makes of it."""

    path: Path
    kind: str
    content: Any
    build: str | None = None
    #: How the build is known.
    why: str = ""

    @property
    def name(self) -> str:
        """How the screen calls it."""
        return self.path.name


@dataclass
class Files:
    """All files that could be read, by kind, in the order in which they were given."""

    opened: list[Opened] = field(default_factory=list)

    def of(self, *kinds: str) -> list[Opened]:
        """Those of some kinds."""
        return [one for one in self.opened if one.kind in kinds]

    @property
    def genotypes(self) -> list[Opened]:
        """Genotypes of all formats."""
        return self.of(*GENOTYPE_SOURCES)

    def first(self, kind: str) -> Opened | None:
        """The first of a kind."""
        found = self.genotypes if kind == "genotypes" else self.of(kind)
        return found[0] if found else None


def open_all(paths: tuple[Path, ...], step: Callable[[str], None]) -> tuple[Files, list[Finding]]:
    """Read every file with the reader of its kind; those that know people's names come first.

    Returns
    -------
    Files
    list of Finding
        Red for each that cannot be read, amber for each that no command reads.
    """
    kinds = [(path, *told(path)) for path in paths]
    order = sorted(kinds, key=lambda item: item[1] == "covariates")  # told from people's names
    files, found, seen = Files(), [], set()
    for path, kind, place in order:
        if (kind, place) in seen:
            continue
        seen.add((kind, place))
        step(path.name)
        if kind is None and not path.exists():
            found.append(red(str(path), "no such file, nor a fileset of that name.", "Check the path.", "files"))
        elif kind is None:
            said = "no kind of file that genopred doctor knows; it is not looked at."
            found.append(amber(path.name, said, "Leave it out, or name the file that is meant.", "files"))
        else:
            try:
                files.opened.append(_open(kind, place, files))
            except (GenopredError, OSError) as bad:
                found.append(refused(bad, str(place), "files"))
    return files, [_short(one, paths) for one in found]


def _short(one: Finding, paths: tuple[Path, ...]) -> Finding:
    name = Path(one.about).name
    said = one.said
    for path in paths:
        said = said.replace(str(path), path.name)
    return Finding(one.level, name, said.removeprefix(f"{name}: ").removeprefix(f"{name} "), one.remedy, one.check)


def _open(kind: str, path: Path, files: Files) -> Opened:
    if kind in GENOTYPE_SOURCES:
        return _genotypes(kind, path)
    if kind == "expression":
        from genopred.io.expression import read_expression

        return Opened(path, kind, read_expression(path))
    if kind == "covariates":
        from genopred.io.covariates import read_covariates

        known = set(people(files)) or None
        return Opened(path, kind, read_covariates(path, samples=known))
    if kind == "fasta":
        from genopred.io.fasta import open_fasta

        fasta = open_fasta(path, keep_index=False)
        return Opened(path, kind, fasta, *_build_of({name: fasta.length(name) for name in fasta.chroms}))
    if kind == "gtf":
        from genopred.io.annotation import read_gtf

        head = first_bytes(path).decode("utf-8", "replace")
        comments = "\n".join(line for line in head.splitlines() if line.startswith("#"))
        named = next((build for build in CHROM_LENGTHS if build in comments), None)
        return Opened(path, kind, read_gtf(path), named, "its header" if named else "")
    if kind == "chain":
        from genopred.io.chain import read_chain

        return Opened(path, kind, read_chain(path), *_chain_builds(path))
    return _effects(kind, path)


def _genotypes(kind: str, path: Path) -> Opened:
    from genopred import align

    if kind == "bfile":
        from genopred.io.plink import read_plink

        genotypes = read_plink(path)
    elif kind == "pfile":
        from genopred.io.pgen import read_pgen

        genotypes = read_pgen(path)
    elif kind == "bgen":
        from genopred.io.bgen import read_bgen

        genotypes = read_bgen(path)
    else:
        from genopred.io.vcf import read_vcf

        genotypes = read_vcf(path)
    why = "its header" if genotypes.build else "positions beyond the other build's ends"
    build = align.known_build(genotypes)
    shown = Path(genotypes.source) if kind != "pfile" else path.with_name(f"{path.name}.pgen")
    return Opened(shown, kind, genotypes, build, why if build else "")


def _effects(kind: str, path: Path) -> Opened:
    if kind == "models":
        from genopred.pipelines.model_inputs import open_models

        models = open_models(path)
        return Opened(path, kind, models, models.build, "its card" if models.build else "")
    if kind == "sumstats":
        from genopred.io.sumstats import read_sumstats, sumstats_build

        build = sumstats_build(path)
        return Opened(path, kind, read_sumstats(path), build, "its metadata" if build else "")
    from genopred.io.scores import read_weights

    score = read_weights(path)
    return Opened(path, kind, score.table, score.build, "its header" if score.build else "")


def _build_of(lengths: dict[str, int]) -> tuple[str | None, str]:
    builds = {build for build, known in CHROM_LENGTHS.items() if set(lengths.values()) & set(known.values())}
    return (builds.pop(), "lengths of its sequences") if len(builds) == 1 else (None, "")


def _chain_builds(path: Path) -> tuple[str | None, str]:
    """The build that a chain leads from, and where it leads, by the lengths in its headers."""
    heads = re.findall(r"^chain \S+ \S+ (\d+) \S+ \d+ \d+ \S+ (\d+) ", first_bytes(path).decode("latin-1"), re.M)
    ends = [_build_of({str(i): int(pair[side]) for i, pair in enumerate(heads)})[0] for side in (0, 1)]
    return ends[0], f"to {ends[1]}" if ends[1] else ""


def people(files: Files) -> list[str]:
    """Names of people in genotypes and expression, each once."""
    named: Iterator[NDArray[np.str_]] = (
        one.content.samples for one in files.opened if isinstance(one.content, (Genotypes, Expression))
    )
    return list(dict.fromkeys(name for names in named for name in names.tolist()))


def common_people(files: Files) -> NDArray[np.str_]:
    """People with genotypes, expression and covariates, as far as there are such files, in the expression's order."""
    held: list[Genotypes | Expression | Covariates] = [
        one.content for one in (files.first("expression"), files.first("genotypes"), files.first("covariates")) if one
    ]
    if not held:
        return np.array([], dtype=str)
    names = held[0].samples
    for other in held[1:]:
        names = names[np.isin(names, other.samples)]
    return names
