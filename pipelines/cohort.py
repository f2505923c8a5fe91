"""Open genotypes, expression and covariates from their files and match them: the way in of every workflow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from genopred import align
from genopred.errors import AlignmentError, GenopredError, examples
from genopred.io.covariates import read_covariates
from genopred.io.expression import read_expression
from genopred.io.lists import read_ids, read_samples
from genopred.types import Cohort, Covariates, Genotypes


@dataclass(frozen=True)
class CohortInputs:
    """Where the data are and which part of them to use; exactly one of bfile, pfile and vcf."""

    expression: Path
    bfile: Path | None = None
    pfile: Path | None = None
    vcf: Path | None = None
    covar: Path | None = None
    covar_names: tuple[str, ...] | None = None
    n_covariates: int | None = None
    keep: Path | None = None
    remove: Path | None = None
    extract: Path | None = None
    exclude: Path | None = None
    genes: tuple[str, ...] | None = None
    window: int = 500_000
    min_overlap: float = 20
    keep_overlap: bool = False


def open_genotypes(bfile: Path | None = None, pfile: Path | None = None, vcf: Path | None = None) -> Genotypes:
    """Genotypes from whichever one of the three sources is given."""
    given = [name for name, path in (("--bfile", bfile), ("--pfile", pfile), ("--vcf", vcf)) if path is not None]
    if len(given) != 1:
        raise GenopredError(f"genotypes: {' and '.join(given) or 'none'} given; give one of --bfile, --pfile, --vcf.")
    if bfile is not None:
        from genopred.io.plink import read_plink

        return read_plink(bfile)
    if pfile is not None:
        from genopred.io.pgen import read_pgen

        return read_pgen(pfile)
    from genopred.io.vcf import read_vcf

    return read_vcf(Path(str(vcf)))


def open_cohort(inputs: CohortInputs) -> Cohort:
    """Open all files and match samples, chromosomes and genes.

    Raises
    ------
    GenopredError
        If a file is bad or the files do not fit together.
    """
    genotypes = open_genotypes(inputs.bfile, inputs.pfile, inputs.vcf)
    expression = read_expression(inputs.expression)
    covariates = None
    if inputs.covar is not None:
        known = set(expression.samples.tolist()) | set(genotypes.samples.tolist())
        covariates = choose_covariates(
            read_covariates(inputs.covar, samples=known), inputs.covar_names, inputs.n_covariates
        )
    floor = inputs.min_overlap
    if floor < 1:
        floor = int(np.ceil(floor * len(expression.samples)))
    return align.match(
        genotypes,
        expression,
        covariates,
        keep=None if inputs.keep is None else read_samples(inputs.keep),
        remove=None if inputs.remove is None else read_samples(inputs.remove),
        extract=None if inputs.extract is None else read_ids(inputs.extract),
        exclude=None if inputs.exclude is None else read_ids(inputs.exclude),
        genes=inputs.genes,
        window=inputs.window,
        min_overlap=int(floor),
        keep_overlap=inputs.keep_overlap,
    )


def choose_covariates(covariates: Covariates, names: tuple[str, ...] | None, first: int | None) -> Covariates | None:
    """The covariates named, or the first so many; None when none is left."""
    index = np.arange(len(covariates.names))
    if names is not None:
        where = {name: i for i, name in enumerate(covariates.names)}
        absent = [name for name in names if name not in where]
        if absent:
            raise AlignmentError(
                f"--covar-name: {examples(absent)} not in {covariates.source}, which has {examples(covariates.names)}."
            )
        index = np.array([where[name] for name in names], dtype=np.int64)
    if first is not None:
        if first > len(index):
            raise AlignmentError(f"--n-covariates {first}: {covariates.source} has only {len(index)}.")
        index = index[:first]
    if not len(index):
        return None
    return replace(
        covariates, values=covariates.values[:, index], names=tuple(covariates.names[i] for i in index.tolist())
    )
