"""The same people in all files: names in common, relatives, ancestry, and whose expression fits whose genotypes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from genopred import align
from genopred.errors import GenopredError, examples
from genopred.genetics import quality
from genopred.genetics.transform import inverse_normal, residualise
from genopred.pipelines.doctor_files import Files, Opened, common_people
from genopred.pipelines.doctor_findings import Finding, amber, green, red, refused, some
from genopred.settings import Doctor
from genopred.types import Covariates, Expression, Genotypes, Interval

#: Fewest people that workflows go on with, by default.
FEWEST = 20

#: Independent SNPs from which relatives, and ancestry, can be told.
ENOUGH_SNPS = 800

#: People that are held against each other at most, and what is far off in robust standard deviations.
MOST_PEOPLE, FAR = 5000, 7.0

#: Genes whose cis SNPs are looked at for swaps, how far from the TSS, and n r2 from which a SNP is no chance (p 1e-5).
MOST_GENES, REACH, TELLING = 600, 200_000, 19.5


def overlaps(files: Files) -> Iterator[Finding]:
    """Names that two files have in common, and who is missing."""
    kinds = [one for one in (files.first(kind) for kind in ("genotypes", "expression", "covariates")) if one]
    held = [*files.genotypes, *files.of("expression"), *files.of("covariates")]
    for a, b in combinations(held, 2):
        if a.kind == b.kind or (a in files.genotypes and b in files.genotypes):
            continue
        yield from _overlap(a, b)
    if len(kinds) > 1:
        n = len(common_people(files))
        about = " + ".join(one.name for one in kinds)
        if n >= FEWEST:
            yield green(about, f"{n:,} people are in all of them.", "people")


def _overlap(a: Opened, b: Opened) -> Iterator[Finding]:
    first, second = a.content.samples.tolist(), b.content.samples.tolist()
    both = set(first) & set(second)
    about = f"{a.name} + {b.name}"
    shown = f"{examples(first, 2)} against {examples(second, 2)}"
    if len(both) < FEWEST:
        hint = align.name_hint(first, second)
        found = f"{len(both)} of {len(first):,} and {len(second):,} people are in both ({shown}){hint}"
        needed = f"; needed {FEWEST} or more with the same names."
        remedy = "Use the same names in both files." if hint or not both else "Give files of the same people."
        yield red(about, found + needed, remedy, "people")
        return
    if a.kind == "expression" or b.kind == "covariates":
        # covariates have to be there for everyone who is used
        lacking = [name for name in (first if a.kind == "expression" else []) if name not in set(second)]
        if lacking:
            said = f"{len(lacking)} of {len(first):,} people with expression have no covariates ({examples(lacking)})."
            remedy = "Add them to the covariates, or leave these people out with --keep-overlap."
            yield red(about, said, remedy, "people")
        return
    lacking = [name for name in second if name not in both]
    if lacking:
        hint = align.name_hint(lacking, [name for name in first if name not in both])
        said = (
            f"{len(lacking)} of {len(second):,} people with expression have no genotypes ({examples(lacking)}){hint}."
        )
        yield amber(about, said, "Check their names, or go on without them: --keep-overlap.", "people")


def relatives(one: Opened, dosage: NDArray[np.float32], pos: NDArray[np.int64], several: bool) -> Iterator[Finding]:
    """Duplicates, relatives and ancestry outliers among some people, by some variants.

    Parameters
    ----------
    several : bool
        Whether the variants are of several chromosomes: on one alone, distant relatives cannot be told.
    """
    names = one.content.samples
    if len(names) > MOST_PEOPLE:
        dosage, names = dosage[:MOST_PEOPLE], names[:MOST_PEOPLE]
    picked = quality.independent(dosage, pos)
    if len(picked) < ENOUGH_SNPS:
        said = f"{len(picked):,} independent SNPs, too few to tell relatives and ancestry ({ENOUGH_SNPS} are needed)."
        yield green(one.name, said, "relatives")
        return
    kin = quality.kinship(dosage[:, picked])
    # few SNPs make strangers look like cousins: what lies within the noise of all pairs is not said
    strangers = kin[np.triu_indices(len(kin), 1)]
    middle = float(np.nanmedian(strangers))
    noise = middle + 5 * 1.4826 * float(np.nanmedian(np.abs(strangers - middle)))
    least = max(quality.SECOND if several else quality.FIRST, noise)
    pairs = quality.related(kin, least)
    same = [f"{names[i]} = {names[j]}" for i, j, phi in pairs if phi >= quality.SAME]
    close = [f"{names[i]} - {names[j]} ({phi:.2f})" for i, j, phi in pairs if quality.SAME > phi >= quality.FIRST]
    far = [f"{names[i]} - {names[j]} ({phi:.2f})" for i, j, phi in pairs if phi < quality.FIRST]
    leave = "Keep one of each: --remove FILE; else people in training know those held out."
    if same:
        said = (
            f"{some(len(same), 'pair of samples is', 'pairs of samples are')} one person, or identical twins "
            f"({examples(same)})."
        )
        yield red(one.name, said, leave, "relatives")
    if close:
        said = (
            f"{some(len(close), 'pair is', 'pairs are')} as close as parent and child or siblings (kinship "
            f"{examples(close)})."
        )
        yield amber(one.name, said, leave, "relatives")
    if far:
        said = (
            f"{some(len(far), 'pair is', 'pairs are')} as close as second-degree relatives (kinship {examples(far)})."
        )
        yield amber(one.name, said, leave, "relatives")
    if not pairs:
        degree = "second" if least == quality.SECOND else "first"
        said = f"no relatives of {degree} degree among {len(names):,} people ({len(picked):,} independent SNPs)."
        yield green(one.name, said, "relatives")
    yield from _ancestry(one, dosage[:, picked], names, pairs)


def _ancestry(
    one: Opened, dosage: NDArray[np.float32], names: NDArray[np.str_], pairs: list[tuple[int, int, float]]
) -> Iterator[Finding]:
    alone = np.setdiff1d(np.arange(len(names)), [j for _, j, _ in pairs])  # a family makes a component of its own
    if len(alone) < FEWEST:
        return
    distance = quality.ancestry_distance(dosage[alone])
    far = np.flatnonzero(distance > FAR)
    shown = [f"{names[alone[i]]} at {distance[i]:.0f}" for i in far[np.argsort(-distance[far])]]
    if len(far) > 0.05 * len(alone):
        said = f"{len(far)} of {len(alone):,} people lie apart in the principal components: several ancestries."
        remedy = "Give the first principal components as covariates, and balance folds with --stratify."
        yield amber(one.name, said, remedy, "ancestry")
    elif len(far):
        said = (
            f"{some(len(far), 'person is an ancestry outlier', 'people are ancestry outliers')} "
            f"({examples(shown)} robust SD from the others; {FAR:.0f} allowed)."
        )
        remedy = "Leave them out with --remove, or give principal components as covariates."
        yield amber(one.name, said, remedy, "ancestry")
    else:
        yield green(one.name, "no ancestry outliers in the first 4 principal components.", "ancestry")


def swaps(files: Files, settings: Doctor) -> Iterator[Finding]:
    """Whether measured expression and genotypes of the same name are of the same person."""
    typed, measured = files.first("genotypes"), files.first("expression")
    if typed is None or measured is None:
        return
    names = common_people(files)
    about = f"{typed.name} + {measured.name}"
    if len(names) < 50:
        yield green(about, f"{len(names)} people, too few to look for swapped samples.", "swaps")
        return
    y = _outcome(measured.content, files.first("covariates"), names)
    rows, lead, r2 = leads(typed.content, measured.content, y, names)
    telling = np.flatnonzero(np.nan_to_num(r2) > TELLING / len(names))
    telling = telling[np.argsort(-r2[telling])][: min(150, len(names) // 4)]
    looked = int((~np.isnan(r2)).sum())
    if len(telling) < max(3, 0.02 * looked):
        few = looked < 40 or len(names) < 100
        said = f"{len(telling)} of {looked} genes follow a SNP near them"
        if few:
            yield green(about, f"{said}, too few to look for swapped samples.", "swaps")
        else:
            said += "; real cohorts of this size have many: names may not mean the same people."
            yield amber(about, said, "Check that people have the same names in both files.", "swaps")
        return
    found = quality.matching(y[:, telling], lead[:, telling], rows)
    yield from _mixed_up(found, about, names, typed.content.samples, len(telling))


def _mixed_up(
    found: quality.Matching, about: str, names: NDArray[np.str_], typed: NDArray[np.str_], genes: int
) -> Iterator[Finding]:
    pairs = [f"{names[i]} and {names[j]}" for i, j, _ in found.exchanged()]
    single = [f"that of {names[i]} is of {typed[j]}" for i, j, _ in found.mistaken()]
    if pairs:
        said = (
            f"{some(len(pairs), 'pair of people is', 'pairs of people are')} exchanged, by {genes} genes and "
            f"their SNPs ({examples(pairs)})."
        )
        yield red(about, said, "Exchange their names in one of the files, or --remove them.", "swaps")
    if single:
        said = (
            f"expression of {some(len(single), 'person', 'people')} fits another's genotypes "
            f"({examples(single)}; {genes} genes)."
        )
        yield red(about, said, "Correct the names in one of the files, or --remove them.", "swaps")
    odd = [str(names[i]) for i in found.strange()]
    if odd:
        who = some(len(odd), "person fits", "people fit")
        fit = f"{who} many others' genotypes better than their own ({examples(odd)}; {genes} genes)"
        said = f"expression of {fit}: names that are wrong, or odd samples."
        yield amber(about, said, "Look at them; leave them out with --remove.", "swaps")
    if not pairs and not single and not odd:
        sure = "" if found.power > 1.5 * found.enough else "; not all would be seen: signals are few"
        said = f"everybody's expression fits their own genotypes, by {genes} genes and their SNPs{sure}."
        yield green(about, said, "swaps")


def _outcome(expression: Expression, other: Opened | None, names: NDArray[np.str_]) -> NDArray[np.float64]:
    y = inverse_normal(expression.select(names).values)
    if other is None:
        return y
    covariates: Covariates = other.content.select(names)
    try:
        align.check_covariates(covariates)
    except GenopredError:
        return y
    return inverse_normal(residualise(y, covariates.values))


def leads(
    genotypes: Genotypes, expression: Expression, y: NDArray[np.float64], names: NDArray[np.str_]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The common SNP within `REACH` of each gene's TSS that explains most of its expression.

    Parameters
    ----------
    y : array, shape (N, G)
        Outcome of the people named.

    Returns
    -------
    rows : array of int, shape (N,)
        Where the people are among the genotypes'.
    lead : array, shape (P, G)
        Dosages of everybody with genotypes; 0 where a gene has no SNP.
    r2 : array, shape (G,)
        NaN of genes that were not looked at.
    """
    where = {name: i for i, name in enumerate(genotypes.samples.tolist())}
    rows = np.array([where[name] for name in names.tolist()])
    lead, r2 = np.zeros((genotypes.n_samples, y.shape[1])), np.full(y.shape[1], np.nan)
    z = (y - y.mean(axis=0)) / np.maximum(y.std(axis=0), 1e-12)
    picked = np.unique(np.linspace(0, y.shape[1] - 1, min(MOST_GENES, y.shape[1])).astype(int))
    for j in picked.tolist():
        chrom, tss = expression.genes["chrom"][j], int(expression.genes["tss"][j])
        columns = genotypes.index(Interval.around(chrom, max(tss, 1), REACH))
        if not len(columns):
            continue
        dosage = quality.mean_filled(genotypes.dosage(columns))
        mine = dosage[rows]
        p = mine.mean(axis=0) / 2
        common = np.flatnonzero(np.minimum(p, 1 - p) >= 0.05)
        spread = mine[:, common].std(axis=0)
        common = common[spread > 0]
        if not len(common):
            continue
        x = mine[:, common] - mine[:, common].mean(axis=0)
        r = (x.T @ z[:, j]) / len(rows) / x.std(axis=0)
        best = int(np.argmax(r**2))
        lead[:, j], r2[j] = dosage[:, common[best]], r[best] ** 2
    return rows, lead, r2


def covariates(files: Files) -> Iterator[Finding]:
    """Orientation, rank, missing values and number of covariates among the people that would be used."""
    for one in files.of("covariates"):
        held: Covariates = one.content
        names = common_people(files)
        names = names[np.isin(names, held.samples)]
        of = held if len(names) < FEWEST else held.select(names)
        try:
            align.check_covariates(of)
        except GenopredError as bad:
            finding = refused(bad, held.source, "covariates")
            yield red(one.name, finding.said, finding.remedy, "covariates")
            continue
        n = len(of.samples)
        layout = next((reason for _, reason, _, _ in held.notes), "").removeprefix("covariates read in layout ")
        said = f"{len(held.names)} covariates of {len(held.samples):,} people, full rank; {layout}."
        near = _nearly_collinear(of)
        if near:
            follow = (
                f"{some(len(near), 'covariate follows', 'covariates follow')} nearly from others ({examples(near)})"
            )
            yield amber(one.name, f"{follow}: R2 above 0.999.", "Leave them out: --covar-name A,B.", "covariates")
        if len(held.names) > n / 4:
            said = f"{len(held.names)} covariates for {n:,} people: they take away much of what is to be explained."
            yield amber(one.name, said, "Use fewer: --n-covariates K or --covar-name A,B.", "covariates")
        else:
            yield green(one.name, said, "covariates")


def _nearly_collinear(covariates: Covariates) -> list[str]:
    """Names of those that the others explain to a thousandth, the last of each group."""
    values = covariates.values - covariates.values.mean(axis=0)
    basis = np.linalg.qr(values / np.linalg.norm(values, axis=0))[1]
    return [name for name, rest in zip(covariates.names, np.abs(np.diag(basis))) if rest**2 < 1e-3]
