"""Settings of `genopred overlap`."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from genopred.errors import GenopredError, check_choice, repeated
from genopred.settings.declare import MOST, Option, names
from genopred.settings.parts import Drawn, Genotypes, Seeded

TABLES = "Tables of SNPs (TSV, CSV, parquet)"
TESTS = "What is tested"

#: Null models, and properties that SNPs are matched for.
NULLS = ("permutation", "shift", "blocks", "phenotype")
MATCHED = ("maf", "distance", "ld")

_COLUMN = Option(metavar="COLUMN")


class NamedFile(NamedTuple):
    """A file and what it is called."""

    name: str
    path: Path

    def __str__(self) -> str:
        return f"{self.name}={self.path}"


def named_file(text: Any) -> NamedFile:
    """`NAME=FILE`, or a file that gives its own name.

    >>> named_file("model=scores.tsv").name, named_file("out/effects.parquet").name
    ('model', 'effects')
    """
    if isinstance(text, NamedFile):
        return text
    match = re.fullmatch(r"([\w .-]+)=(.+)", str(text))
    if match and not Path(text).exists():
        return NamedFile(match[1], Path(match[2]))
    path = Path(text)
    if not str(text):
        raise GenopredError("needed a file, or NAME=FILE.")
    return NamedFile(path.name.split(".")[0].replace("*", "") or path.name, path)


def named_files(texts: Any) -> tuple[NamedFile, ...]:
    """Several of these."""
    return tuple(map(named_file, [texts] if isinstance(texts, (str, Path, NamedFile)) else texts))


class Overlap(Genotypes, Drawn, Seeded, panel=TABLES, figures="png", resume=False, out=Path("genopred")):
    """Ask whether two rankings of SNPs agree more than chance and LD make them.

    Writes <out>.overlap (every question and its answer), <out>.curves, <out>.snps, figures and the page <out>.html.

    Attributes
    ----------
    a : Scores of a model, one row a SNP; repeatable.
    b : eQTL results.
    a_score : Rank by: abs:COLUMN, p:COLUMN (-log10), high:COLUMN or low:COLUMN; a quotient as abs:slope/slope_se.
    b_score : How --b ranks them, likewise.
    a_id : SNP ids in --a; otherwise found by name.
    b_id : SNP ids in --b.
    a_gene : Genes in --a; SNPs are then ranked within each gene.
    b_gene : Genes in --b.
    a_effect : Signed effects of ALT in --a, for the agreement of sign.
    b_effect : Signed effects of ALT in --b.
    a_where : Use only such rows of --a.
    b_where : Use only such rows of --b.
    set_file : SNPs of credible sets, or fine-mapped.
    set_id : SNP ids in --set.
    min_pip : Take only SNPs of --set with this PIP or more.
    k : Top SNPs (of each gene) to compare.
    null : permutation, shift; with genotypes also blocks, phenotype. All that can be, by default.
    draws : Draws of each null.
    resamples : For intervals.
    match : Match SNPs for these: maf, distance, ld.
    clump_r2 : r2 that makes SNPs one locus.
    clump_kb : Reach of a locus; without genotypes all of it.
    recipe : Also rank by normalised |effect| + normalised -log10 p, marked as circular.
    """

    PANELS: ClassVar[Mapping[str, str]] = {"Genotypes (exactly one)": "Genotypes, for LD (one at most)"}
    UNIT: ClassVar[str] = "tables"
    FOLDER: ClassVar[bool] = False
    #: It works on one core, and starts anew every time.
    HIDDEN: ClassVar[Collection[str]] = ("threads", "resume")
    NEEDS_GENOTYPES: ClassVar[bool] = False

    a: Annotated[tuple[NamedFile, ...], Option(metavar="[NAME=]FILE", each=True, read=named_files)]
    b: Annotated[NamedFile, Option(metavar="[NAME=]FILE", read=named_file)]
    a_score: Annotated[str | None, Option(metavar="KIND:COLUMN")] = None
    b_score: Annotated[str | None, Option(metavar="KIND:COLUMN")] = None
    a_id: Annotated[str | None, _COLUMN] = None
    b_id: Annotated[str | None, _COLUMN] = None
    a_gene: Annotated[str | None, _COLUMN] = None
    b_gene: Annotated[str | None, _COLUMN] = None
    a_effect: Annotated[str | None, _COLUMN] = None
    b_effect: Annotated[str | None, _COLUMN] = None
    a_where: Annotated[str | None, Option(metavar="COLUMN=VALUE")] = None
    b_where: Annotated[str | None, Option(metavar="COLUMN=VALUE")] = None
    set_file: Annotated[NamedFile | None, Option(metavar="[NAME=]FILE", read=named_file, flag="--set")] = None
    set_id: Annotated[str | None, _COLUMN] = None
    min_pip: Annotated[float, Option(low=0, high=1)] = 0.0
    k: Annotated[tuple[int, ...], Option(metavar="K,...", low=1, high=10_000_000, read=names, panel=TESTS)] = (50,)
    null: Annotated[tuple[str, ...] | None, Option(metavar="A,B,...", read=names, panel=TESTS)] = None
    draws: Annotated[int, Option(metavar="N", low=100, high=10_000_000, panel=TESTS)] = 10_000
    resamples: Annotated[int, Option(metavar="N", low=100, high=MOST, panel=TESTS)] = 1000
    match: Annotated[tuple[str, ...], Option(metavar="A,B,...", read=names, panel=TESTS)] = ("maf", "distance", "ld")
    clump_r2: Annotated[float, Option(low=0, high=1, panel=TESTS)] = 0.5
    clump_kb: Annotated[float, Option(low=0, high=1e6, panel=TESTS)] = 250.0
    recipe: Annotated[Literal["founding-study"] | None, Option(panel=TESTS)] = None

    def check(self) -> None:
        if not self.a:
            raise GenopredError("--a: no table; give at least one.")
        twice = sorted(repeated(file.name for file in (*self.a, self.b)))
        if twice:
            raise GenopredError(f"two tables are called {twice[0]!r}; name them apart: --a full=FILE --a tracks=FILE.")
        for null in self.null or ():
            check_choice("null", null, NULLS)
        for trait in self.match:
            check_choice("match", trait, MATCHED)
