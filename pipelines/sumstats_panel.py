"""The LD panel of another study: people's genotypes or a site's sums, brought to the cohort's variants gene by gene."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.errors import AlignmentError, GenopredError
from genopred.genetics.moments import Moments
from genopred.genetics.sumstats import Reference
from genopred.io.momentsfiles import MANIFEST, Site, SiteGene, read_gene_sums, read_site
from genopred.learning.federated import plain_moments
from genopred.pipelines.inputs import open_genotypes
from genopred.settings import parts
from genopred.types import Cohort, Genotypes, plain_gene

#: What the report calls its variants.
PANEL = "LD panel's variants"

Where = tuple[NDArray[np.int64], NDArray[np.bool_]]


@dataclass(frozen=True)
class PeopleOfGene:
    """A panel's genotypes around a gene.

    Attributes
    ----------
    genotypes : Genotypes
        Of the window's variants that the panel has.
    there : array of int, shape (W,)
        Which of these each of the window's variants is; -1 where the panel has none.
    flipped : array of bool, shape (W,)
        Whether the panel counts the other allele.
    """

    genotypes: Genotypes
    there: NDArray[np.int64]
    flipped: NDArray[np.bool_]

    @property
    def has(self) -> NDArray[np.bool_]:
        """Which of the window's variants are there, shape (W,)."""
        return self.there >= 0

    def reference(self, index: NDArray[np.int64]) -> Reference:
        """LD of some of them, of the cohort's ALT."""
        x = self.genotypes.dosage(self.there[index])
        return Reference.of_people(np.where(self.flipped[index], 2 - x, x))


@dataclass(frozen=True)
class SumsOfGene:
    """A site's sums of a gene, read where they are asked for: in the worker.

    Attributes
    ----------
    site : Site
        Without its list of genes.
    gene : SiteGene or None
        None where the site does not have the gene.
    variants : polars.DataFrame, W rows
        Of the cohort's window.
    """

    site: Site
    gene: SiteGene | None
    variants: pl.DataFrame = field(repr=False)

    @cached_property
    def _read(self) -> tuple[Moments, Where] | None:
        if self.gene is None:
            return None
        one = read_gene_sums(self.site, self.gene)
        try:
            where = _matched(self.variants, one.variants, "the cohort", self.site.name)[0]
        except AlignmentError:
            return None
        sums = (part.sum(axis=0) for part in (one.gram, one.sums, one.cross, one.square, one.totals))
        return plain_moments(int(one.n.sum()), *sums), where

    @property
    def has(self) -> NDArray[np.bool_]:
        """Which of the window's variants are there, shape (W,)."""
        return np.zeros(self.variants.height, dtype=bool) if self._read is None else self._read[1][0] >= 0

    def reference(self, index: NDArray[np.int64]) -> Reference:
        """LD of some of them, of the cohort's ALT."""
        if self._read is None:
            return Reference(0, np.zeros(0), np.zeros(0), np.zeros((0, 0)))
        moments, (there, flipped) = self._read
        return Reference.of(moments.select(there[index]).flipped(flipped[index]))


@dataclass(frozen=True)
class PeoplePanel:
    """A panel's genotypes, matched to all of the cohort's variants; `there` and `flipped` as of `PeopleOfGene`."""

    genotypes: Genotypes
    there: NDArray[np.int64] = field(repr=False)
    flipped: NDArray[np.bool_] = field(repr=False)

    def of_gene(self, gene_id: str, columns: NDArray[np.int64], variants: pl.DataFrame) -> PeopleOfGene:
        """Around a gene whose window has these of the cohort's variants."""
        there = self.there[columns]
        known = there >= 0
        local = np.where(known, np.cumsum(known) - 1, -1)
        return PeopleOfGene(self.genotypes.select(variants=there[known]), local, self.flipped[columns])


@dataclass(frozen=True)
class SitePanel:
    """A folder that `genopred moments` wrote."""

    site: Site
    genes: dict[str, SiteGene] = field(repr=False)

    def of_gene(self, gene_id: str, columns: NDArray[np.int64], variants: pl.DataFrame) -> SumsOfGene:
        """Of a gene whose window has these variants."""
        return SumsOfGene(replace(self.site, genes=()), self.genes.get(plain_gene(gene_id)), variants)


def panel_kind(path: Path) -> tuple[str, Path, tuple[str, ...]]:
    """How what is at a path is opened, by its files: kind, path, and the ends of the files' names."""
    kinds: dict[str, tuple[str, ...]] = {"bfile": (".bed", ".bim", ".fam"), "pfile": (".pgen", ".pvar", ".psam")}
    name = str(path)
    if (path / MANIFEST).is_file():
        return "site", path, (f"/{MANIFEST}",)
    for kind, suffixes in kinds.items():
        prefix = Path(name.removesuffix(suffixes[0]))
        if Path(f"{prefix}{suffixes[0]}").is_file():
            return kind, prefix, suffixes
    if path.is_file():
        return ("bgen" if name.endswith(".bgen") else "vcf"), path, ("",)
    raise GenopredError(
        f"--ld {path}: no such panel; give the prefix of a .bed or .pgen, a VCF or BGEN, of people of the study's "
        "ancestry, or a folder that genopred moments finished."
    )


def open_panel(path: Path, cohort: Cohort, tally: align.Tally) -> PeoplePanel | SitePanel:
    """Open the panel and match it with the cohort; what was lost goes into the tally.

    Raises
    ------
    GenopredError
        If there is none, or it shares no variant or gene with the cohort.
    """
    kind, prefix, _ = panel_kind(path)
    known = cohort.genotypes
    build = align.known_build(known)
    if kind == "site":
        site = read_site(prefix)
        if build and site.build and site.build != build:
            raise AlignmentError(
                f"{known.source} is of {build}, {site.name} (--ld {path}) of {site.build}: lift one of them over."
            )
        genes = {plain_gene(gene.gene_id): gene for gene in site.genes}
        shared = [gene for gene in cohort.expression.genes["gene"].to_list() if gene in genes]
        if not shared:
            raise AlignmentError(
                f"--ld {path}: {site.name} has none of the cohort's genes; take genotypes as the panel."
            )
        tally.note("genes", f"in the LD panel {site.name}, sums of {site.people:,} people", len(shared))
        return SitePanel(site, genes)
    kinds: dict[str, Any] = {kind: prefix}
    panel = open_genotypes(parts.Genotypes(**kinds))
    builds = (build, align.known_build(panel))
    (there, flipped), found = _matched(known.variants, panel.variants, known.source, panel.source, builds)
    tally.come(PANEL, f"in {panel.source}", panel.n_variants)
    tally.add(PANEL, found.notes)
    both = set(known.samples.tolist()) & set(panel.samples.tolist())
    if both:
        tally.note(PANEL, "people of the cohort are in the panel: their genotypes alone", sorted(both))
    return PeoplePanel(panel, there, flipped)


def _matched(
    mine: pl.DataFrame,
    its: pl.DataFrame,
    name: str,
    its_name: str,
    builds: tuple[str | None, str | None] = (None, None),
) -> tuple[Where, align.Harmonised]:
    """Which of its variants each of mine is (-1: none), and whether it counts the other allele."""
    found = align.harmonise(mine, its, ambiguous="keep", names=(name, its_name), builds=builds)
    there, flipped = np.full(mine.height, -1), np.zeros(mine.height, dtype=bool)
    there[found.a], flipped[found.a] = found.b, found.sign < 0
    return (there, flipped), found
