"""Open genotypes, expression and covariates from their files and match them: the way in of every workflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred import align
from genopred.errors import AlignmentError, examples
from genopred.genetics.transform import quantile_normalise
from genopred.io.annotation import known_symbols, read_symbols
from genopred.io.covariates import read_covariates
from genopred.io.expression import read_expression
from genopred.io.lists import read_ids, read_samples
from genopred.settings import Prs, Stack, parts
from genopred.types import Cohort, Covariates, Genotypes, Interval


def open_genotypes(genotypes: parts.Genotypes, *, split: bool = False) -> Genotypes:
    """Genotypes from whichever one of the four sources is given.

    Parameters
    ----------
    genotypes : settings with that part
    split : bool
        Records of a VCF with several ALT alleles become one variant each; else they are left out.
    """
    kind, path = genotypes.needed_genotypes()
    if kind == "bfile":
        from genopred.io.plink import read_plink

        return read_plink(path)
    if kind == "pfile":
        from genopred.io.pgen import read_pgen

        return read_pgen(path)
    if kind == "bgen":
        from genopred.io.bgen import read_bgen

        return read_bgen(path, genotypes.sample)
    from genopred.io.vcf import read_vcf

    return read_vcf(path, multiallelic="split") if split else read_vcf(path)


def chosen_genes(genes: parts.Genes) -> tuple[str, ...] | None:
    """Ids of the genes that are named, one by one and in a file; None for all."""
    listed: list[str] = [] if genes.genes is None else read_ids(genes.genes, "a list of genes, one a line").tolist()
    return (*genes.gene, *listed) or None


def open_cohort(cohort: parts.Cohort, symbols: Mapping[str, str] | None = None) -> Cohort:
    """Open all files and match samples, chromosomes and genes.

    Raises
    ------
    GenopredError
        If a file is bad or the files do not fit together.
    """
    genes = chosen_genes(cohort)
    genotypes = open_genotypes(cohort)
    expression = read_expression(cohort.expression)
    covariates = open_covariates(cohort, set(expression.samples.tolist()) | set(genotypes.samples.tolist()))
    floor = cohort.min_overlap
    if floor < 1:
        floor = int(np.ceil(floor * len(expression.samples)))
    return align.match(
        genotypes,
        expression,
        covariates,
        keep=None if cohort.keep is None else read_samples(cohort.keep),
        remove=None if cohort.remove is None else read_samples(cohort.remove),
        extract=None if cohort.extract is None else read_ids(cohort.extract),
        exclude=None if cohort.exclude is None else read_ids(cohort.exclude),
        genes=genes,
        window=cohort.window,
        min_overlap=int(floor),
        keep_overlap=cohort.keep_overlap,
        symbols=known_symbols() | dict(symbols or read_symbols(cohort.expression)) if genes else None,
    )


def cis_window(cohort: Cohort, i: int, size: int) -> tuple[dict[str, Any], Genotypes]:
    """Gene `i` of a cohort, and the genotypes within `size` bp of its TSS."""
    gene = cohort.expression.genes.row(i, named=True)
    return gene, cohort.genotypes.select(variants=Interval.around(gene["chrom"], gene["tss"], size))


def expression_values(settings: Stack | Prs, cohort: Cohort) -> NDArray[np.float64]:
    """Expression (N, G); with `--transform quantile` normalised over all genes of the file, used or not."""
    values = cohort.expression.values
    if settings.transform != "quantile" or settings.expression is None:
        return values
    whole = read_expression(settings.expression).select(cohort.samples)
    place = {gene: i for i, gene in enumerate(whole.genes["gene_id"].to_list())}
    columns = [place[gene] for gene in cohort.expression.genes["gene_id"].to_list()]
    return quantile_normalise(whole.values)[:, columns]


def open_filtered(settings: parts.Cohort) -> tuple[Genotypes, Genotypes, align.Tally]:
    """Genotypes after --keep and --remove; the same after --extract and --exclude; what these left out."""
    genotypes = open_genotypes(settings)
    tally = align.Tally()
    samples = genotypes.samples.tolist()
    tally.come("samples", f"in {genotypes.source}", len(samples))
    for path, flag, stay in ((settings.keep, "--keep", True), (settings.remove, "--remove", False)):
        if path is not None:
            listed = set(read_samples(path).tolist())
            left = [name for name in samples if (name in listed) == stay]
            if not left:
                raise AlignmentError(f"{flag} {path} leaves none of {len(samples)} samples ({examples(samples)}).")
            gone = [name for name in samples if (name in listed) != stay]
            tally.drop("samples", f"not in {flag}" if stay else f"in {flag}", gone)
            samples = left
    genotypes = genotypes.select(samples)
    tally.use("samples", "scored", len(samples))
    tally.opened("variants", genotypes.source, genotypes.n_variants, genotypes.notes)
    fewer = genotypes
    for path, flag, stay in ((settings.extract, "--extract", True), (settings.exclude, "--exclude", False)):
        if path is not None:
            ids = pl.Series(read_ids(path).tolist())
            use = fewer.variants["id"].is_in(ids.implode()).to_numpy() == stay
            if not use.any():
                raise AlignmentError(f"{flag} {path} leaves none of {len(use):,} variants.")
            tally.drop("variants", f"not in {flag}" if stay else f"in {flag}", int((~use).sum()))
            fewer = fewer.select(variants=use)
    return genotypes, fewer, tally


def open_covariates(chosen: parts.Covariates, samples: set[str]) -> Covariates | None:
    """The covariates named, or the first so many; None when none is left.

    Parameters
    ----------
    samples : set of str
        Names by which people are told from covariates, whichever of the two are rows.
    """
    if chosen.covar is None:
        return None
    covariates = read_covariates(chosen.covar, samples=samples)
    index = np.arange(len(covariates.names))
    if chosen.covar_name is not None:
        where = {name: i for i, name in enumerate(covariates.names)}
        absent = [name for name in chosen.covar_name if name not in where]
        if absent:
            raise AlignmentError(
                f"--covar-name: {examples(absent)} not in {covariates.source}, which has {examples(covariates.names)}."
            )
        index = np.array([where[name] for name in chosen.covar_name], dtype=np.int64)
    if chosen.n_covariates is not None:
        if chosen.n_covariates > len(index):
            raise AlignmentError(f"--n-covariates {chosen.n_covariates}: {covariates.source} has only {len(index)}.")
        index = index[: chosen.n_covariates]
    if not len(index):
        return None
    names = tuple(covariates.names[i] for i in index.tolist())
    return replace(covariates, values=covariates.values[:, index], names=names)


def trait_covariates(
    settings: parts.Covariates, samples: NDArray[np.str_], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64] | None, NDArray[np.bool_]]:
    """Covariates (N, K) of the people with a phenotype, and who has any."""
    found = open_covariates(settings, set(samples.tolist()))
    if found is None:
        return None, np.ones(len(samples), dtype=bool)
    there = np.isin(samples, found.samples)
    used = there & ~np.isnan(y)
    if not used.any():
        raise AlignmentError(f"{found.source}: none of its samples has genotypes and a phenotype.")
    align.check_covariates(found.select(samples[used]))
    values = np.zeros((len(samples), len(found.names)))
    values[used] = found.select(samples[used]).values
    return values, there
