"""The way in of `genopred fit-moments`: sites opened and held against each other, a gene's variants matched."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.errors import AlignmentError, GenopredError, ModelError, examples, repeated
from genopred.genetics.moments import Moments
from genopred.io.annotation import known_symbols
from genopred.io.momentsfiles import GeneSums, Site, SiteGene, read_gene_sums, read_site
from genopred.learning.federated import fewer_folds, plain_moments
from genopred.pipelines.inputs import chosen_genes
from genopred.settings import FitMoments
from genopred.settings.moments import FEWEST_FOLDS
from genopred.types import VARIANT_SCHEMA, plain_gene

log = logging.getLogger("genopred.fit_moments")


@dataclass(frozen=True)
class Sites:
    """Sites that fit together, in the order of their names, and their genes.

    Attributes
    ----------
    sites : tuple of Site
    genes : list of tuples of SiteGene
        Each gene as its sites have it.
    folds : int
        Folds of all sites together.
    build : str or None
    notes : tuple of str
        What differs between sites, and may.
    """

    sites: tuple[Site, ...]
    genes: list[tuple[SiteGene, ...]]
    folds: int
    build: str | None
    notes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """What the sites are called."""
        return tuple(site.name for site in self.sites)

    @property
    def people(self) -> int:
        """Of all sites."""
        return sum(site.people for site in self.sites)


def open_sites(settings: FitMoments, tally: align.Tally) -> Sites:
    """Read the manifests, refuse sites that do not fit together, and find the genes that all have.

    Raises
    ------
    GenopredError
        If a folder is no site, two sites are the same, or are of different builds; if they must have covariates or a
        transform in common and have not; or if they share no gene.
    """
    sites = sorted((read_site(path) for path in settings.sites), key=lambda site: site.name)
    names = [site.name for site in sites]
    if twice := repeated(names):
        where = [str(site.folder) for site in sites if site.name == twice[0]]
        raise GenopredError(
            f"two sites are called {twice[0]} ({examples(where)}); have one of them written again with another --name."
        )
    if twice := repeated(site.digest for site in sites):
        same = [site.name for site in sites if site.digest == twice[0]]
        raise GenopredError(f"{examples(same)} hold the sums of the same files: their people would count twice.")
    build = _build(sites)
    notes = _differences(settings, sites)
    folds = _folds(settings, sites, notes)
    for site in sites:
        tally.come("people", f"in {site.name}", site.people)
        tally.use("people", "summed by their sites", site.people)
    genes = _genes(settings, sites, tally)
    for words in notes:
        log.warning(words)
    return Sites(tuple(sites), genes, folds, build, tuple(notes))


def _build(sites: Sequence[Site]) -> str | None:
    known = {site.build: site.name for site in sites if site.build is not None}
    if len(known) > 1:
        words = ", ".join(f"{name} is of {build}" for build, name in sorted(known.items()))
        raise AlignmentError(
            f"the sites are of different genome builds: {words}. Have the genotypes of one lifted over and "
            "summed again."
        )
    return next(iter(known), None)


def _differences(settings: FitMoments, sites: Sequence[Site]) -> list[str]:
    """What differs between sites: refused where it must not, else in words."""
    notes = []
    if len({site.transform for site in sites}) > 1:
        words = "expression was transformed differently: " + _each(sites, "transform")
        if settings.scale == "common":
            raise GenopredError(f"--scale common: {words}. Have all write their sums with one --transform.")
        notes.append(f"{words[0].upper()}{words[1:]}.")
    if settings.covariates == "common" and len({frozenset(site.covariates) for site in sites}) > 1:
        every = set.intersection(*(set(site.covariates) for site in sites))
        lone = [f"{site.name}: {examples(sorted(set(site.covariates) - every)) or 'none'}" for site in sites]
        raise GenopredError(
            f"--covariates common: the sites' covariates differ (not in all: {'; '.join(lone)}). Give --covariates "
            "site, or have all sum the same ones (--covar-name)."
        )
    if len({site.window for site in sites}) > 1:
        notes.append(f"Windows differ, and genes get what all have: {_each(sites, 'window')}.")
    if len({(site.maf, site.min_mac) for site in sites}) > 1:
        notes.append(
            f"Floors of frequency differ: {_each(sites, 'maf')}; fewest copies in a fold: {_each(sites, 'min_mac')}."
        )
    return notes


def _each(sites: Sequence[Site], what: str) -> str:
    return ", ".join(f"{getattr(site, what):,} ({site.name})" if what == "window" else
                     f"{getattr(site, what)} ({site.name})" for site in sites)  # fmt: skip


def _folds(settings: FitMoments, sites: Sequence[Site], notes: list[str]) -> int:
    """Folds of all sites together: as many as asked for and as each site has; 1 where they are too few to tune on."""
    fewest = min(sites, key=lambda site: len(site.folds))
    k = min(settings.fold_count, len(fewest.folds))
    if k > FEWEST_FOLDS:
        return k
    if k == FEWEST_FOLDS:
        notes.append(f"Only whole sites are held out: {k} folds are tuned on, and none is left ({fewest.name}).")
        return k
    if k > 1:
        raise ModelError(f"{fewest.name} has {k} folds, where {FEWEST_FOLDS} are needed to tune on; have it sum again.")
    why = "--folds 1" if settings.fold_count == 1 else f"{fewest.name} has one fold"
    notes.append(f"Only learners that tune nothing are trained, and only whole sites are held out: {why}.")
    return 1


def _genes(settings: FitMoments, sites: Sequence[Site], tally: align.Tally) -> list[tuple[SiteGene, ...]]:
    """The genes that all sites have and that are asked for, by id without version."""
    known = [{plain_gene(gene.gene_id): gene for gene in site.genes} for site in sites]
    every = list(dict.fromkeys(name for of in known for name in of))
    tally.come("genes", "in any site", len(every))
    for site, of in zip(sites, known):
        tally.note("genes", f"not in {site.name}", [name for name in every if name not in of])
    shared = [name for name in known[0] if all(name in of for of in known)]
    tally.drop("genes", "not in every site", [name for name in every if name not in set(shared)])
    if not shared:
        shown = "; ".join(f"{site.name}: {examples(list(of)) or 'none'}" for site, of in zip(sites, known))
        raise AlignmentError(f"the sites share no gene ({shown}); have them name genes alike.")
    wanted = chosen_genes(settings)
    if wanted is not None:
        table = pl.DataFrame({"gene_id": [known[0][name].gene_id for name in shared], "gene": shared})
        rows = align.find_genes(table, wanted, "every site", known_symbols())
        tally.drop("genes", "not asked for", len(shared) - len(rows))
        shared = [shared[i] for i in rows.tolist()]
    genes = [tuple(of[name] for of in known) for name in shared]
    moved = [of[0].gene_id for of in genes if len({gene.tss for gene in of}) > 1]
    tally.note("genes", f"TSS differs between sites; that of {sites[0].name} is used", moved)
    tally.use("genes", "trained")
    return genes


# --- one gene --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Together:
    """One gene's sums of all sites, of the variants that all have.

    Attributes
    ----------
    variants : polars.DataFrame, M rows
        As the first site has them.
    moments : list of lists of Moments
        Of each site its folds.
    counts : list of dict of str to int
        Of each site why variants were left out.
    matched : list of dict of str to int
        How the others were matched.
    """

    variants: pl.DataFrame
    moments: list[list[Moments]]
    counts: list[dict[str, int]]
    matched: list[dict[str, int]]


def read_together(sites: Sites, gene: Sequence[SiteGene], settings: FitMoments) -> Together:
    """Read a gene of all sites, and bring them to the same variants, alleles and folds.

    Raises
    ------
    GenopredError
        If a file is damaged, or the sites share no variant.
    """
    tables, folded = [], []
    for site, of in zip(sites.sites, gene):
        one = _in_order(site, sites.sites[0], read_gene_sums(site, of))
        tables.append(one.variants)
        parts = zip(one.n, one.gram, one.sums, one.cross, one.square, one.totals)
        folded.append(fewer_folds([plain_moments(*arrays) for arrays in parts], sites.folds))
    rows, flips, counts, matched = same_variants(tables, sites.sites, settings.ambiguous)
    moments = [[part.select(mine).flipped(flip) for part in of] for of, mine, flip in zip(folded, rows, flips)]
    return Together(tables[0][rows[0]], moments, counts, matched)


def _in_order(site: Site, first: Site, one: GeneSums) -> GeneSums:
    """The sums with covariates in the order of the first site, where both have the same."""
    if site.covariates == first.covariates or set(site.covariates) != set(first.covariates):
        return one
    order = [*(site.covariates.index(name) for name in first.covariates), len(first.covariates)]
    square = one.square[:, order][:, :, order]
    return replace(one, cross=one.cross[:, :, order], square=square, totals=one.totals[:, order])


Rows = list[NDArray[np.int64]]


def same_variants(
    tables: Sequence[pl.DataFrame], sites: Sequence[Site], ambiguous: str
) -> tuple[Rows, list[NDArray[np.bool_]], list[dict[str, int]], list[dict[str, int]]]:
    """Which rows of sites' tables of variants are the same variants, by place and alleles.

    Parameters
    ----------
    tables : sequence of polars.DataFrame
        Columns of `VARIANT_SCHEMA`.
    sites : sequence of Site
    ambiguous : str
        'drop' or 'keep' A/T and C/G variants.

    Returns
    -------
    rows : list of array of int, shape (M,)
        Of each table, in the order of the first.
    flips : list of array of bool, shape (M,)
        Where a site counts the other allele than the first.
    dropped, matched : list of dict of str to int
        What became of each table's variants, by reason.
    """
    first = tables[0]
    shared = np.ones(first.height, dtype=bool)
    place = [np.arange(first.height)]
    sign = [np.ones(first.height)]
    fates = []
    for table, site in zip(tables[1:], sites[1:]):
        found = align.harmonise(
            first, table.select(list(VARIANT_SCHEMA)), by="position", ambiguous=ambiguous,
            names=(sites[0].name, site.name), builds=(sites[0].build, site.build),
        )  # fmt: skip
        where, signs = np.full(first.height, -1), np.ones(first.height)
        where[found.a], signs[found.a] = found.b, found.sign
        shared &= where >= 0
        place.append(where)
        sign.append(signs)
        fates.append(found.fate)
    if not shared.any():
        raise AlignmentError(f"{examples([site.name for site in sites])} share no variant of the gene in common.")
    rows = [where[shared] for where in place]
    counts, matched = [_first_counts(first, shared, ambiguous)], [{"matched": int(shared.sum())}]
    for fate, mine in zip(fates, rows[1:]):
        names = [reason.format(sites[0].name if "not in" in reason else "position") for reason in align.FATES]
        used = np.zeros(len(fate), dtype=bool)
        used[mine] = True
        matched.append({names[k]: int(n) for k, n in enumerate(np.bincount(fate[used])) if n})
        lost = {names[k]: int(n) for k, n in enumerate(np.bincount(fate[~used], minlength=1)) if n}
        elsewhere = sum(lost.pop(name, 0) for name in names[:4])
        counts.append(lost | ({"not in every site": elsewhere} if elsewhere else {}))
    return rows, [one[shared] < 0 for one in sign], counts, matched


def _first_counts(first: pl.DataFrame, shared: NDArray[np.bool_], ambiguous: str) -> dict[str, int]:
    pairs = pl.concat_str(pl.col("ref").str.to_uppercase(), pl.col("alt").str.to_uppercase())
    palindromes = first.select(pairs.is_in(["AT", "TA", "CG", "GC"])).to_series().to_numpy()
    strand = int((palindromes & ~shared).sum()) if ambiguous == "drop" else 0
    found = {"ambiguous strand (A/T or C/G)": strand, "not in every site": int((~shared).sum()) - strand}
    return {reason: n for reason, n in found.items() if n}
