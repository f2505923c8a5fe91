"""Cohorts with known truth: genotypes with real linkage disequilibrium, and genes whose causal variants are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from genopred.errors import GenopredError
from genopred.types import GENE_SCHEMA, VARIANT_SCHEMA

Floats = NDArray[np.float64]

#: One row per causal variant: `effect` is in standard deviations of the gene per ALT copy, `share` the part of the
#: gene's variance that the variant alone would explain.
CAUSAL_SCHEMA = {
    "gene_id": pl.String,
    "variant_id": pl.String,
    "column": pl.Int64,
    "effect": pl.Float64,
    "share": pl.Float64,
}


#: People of mosaics that are drawn together, from a generator of their own: so blocks may have any size.
_DRAWN = 256


@dataclass(frozen=True)
class SimulatedCohort:
    """People with genotypes, expression, covariates, and the truth about them.

    Attributes
    ----------
    samples : array of str, shape (N,)
    alleles : array of int8, shape (N, 2, M)
        Phased: 0 REF, 1 ALT.
    variants : polars.DataFrame, M rows
        Columns of `VARIANT_SCHEMA`.
    expression : array, shape (N, G)
    genes : polars.DataFrame, G rows
        Columns of `GENE_SCHEMA`.
    covariates : array, shape (N, K)
    causal : polars.DataFrame
        Columns of `CAUSAL_SCHEMA`; genes without a row have no effect of genotype.
    h2 : array, shape (G,)
        Part of each gene's variance, covariates apart, that its causal variants explain in this sample.
    """

    samples: NDArray[np.str_]
    alleles: NDArray[np.int8]
    variants: pl.DataFrame
    expression: Floats
    genes: pl.DataFrame
    covariates: Floats
    causal: pl.DataFrame
    h2: Floats

    @property
    def dosage(self) -> NDArray[np.float32]:
        """Copies of ALT, shape (N, M)."""
        return self.alleles.sum(axis=1, dtype=np.int8).astype(np.float32)

    @property
    def pos(self) -> NDArray[np.int64]:
        """Positions of the variants, 1-based, shape (M,)."""
        return self.variants["pos"].to_numpy()

    @property
    def tss(self) -> NDArray[np.int64]:
        """Transcription start sites of the genes, 1-based, shape (G,)."""
        return self.genes["tss"].to_numpy()


def simulate_alleles(
    n_samples: int,
    length: int,
    *,
    maf: float = 0.01,
    population_size: float = 10_000,
    recombination_rate: float = 1e-8,
    mutation_rate: float = 1.25e-8,
    chrom: str = "1",
    start: int = 1,
    seed: int = 1,
) -> tuple[NDArray[np.int8], pl.DataFrame]:
    """Phased genotypes from a coalescent with recombination; needs msprime: `pip install 'genopred[simulate]'`.

    Parameters
    ----------
    n_samples : int
        Diploid people from one randomly mating population.
    length : int
        Base pairs.
    maf : float
        Leave out variants with a lower minor allele frequency in the sample.
    population_size : float
        Effective; smaller means longer linkage disequilibrium.
    recombination_rate, mutation_rate : float
        Per base and generation.
    start : int
        Position of the first base, 1-based.
    seed : int
        At least 1.

    Returns
    -------
    alleles : array of int8, shape (N, 2, M)
    variants : polars.DataFrame, M rows
        Sites with two alleles.

    References
    ----------
    Baumdicker et al. (2022), doi:10.1093/genetics/iyab229.
    """
    if n_samples < 2 or length < 2 or not 0 <= maf < 0.5 or seed < 1:
        raise GenopredError(
            f"simulate_alleles: n_samples {n_samples}, length {length}, maf {maf}, seed {seed}; needed are at least 2 "
            "samples and bases, a maf from 0 to below 0.5, and a seed of at least 1."
        )
    try:
        import msprime
    except ModuleNotFoundError:
        raise GenopredError(
            "simulate: this needs the package msprime; install it with pip install 'genopred[simulate]'."
        ) from None
    trees = msprime.sim_ancestry(
        n_samples,
        sequence_length=length,
        recombination_rate=recombination_rate,
        population_size=population_size,
        random_seed=seed,
    )
    trees = msprime.sim_mutations(trees, rate=mutation_rate, random_seed=seed)
    rows, sites = [], []
    for site in trees.variants():
        if len(site.alleles) != 2:
            continue
        frequency = site.genotypes.mean()
        if min(frequency, 1 - frequency) >= max(maf, 0.5 / site.genotypes.size):
            rows.append(site.genotypes.astype(np.int8))
            pos, (ref, alt) = int(site.site.position) + start, site.alleles
            sites.append((chrom, pos, f"{chrom}_{pos}_{ref}_{alt}", ref, alt))
    if not rows:
        raise GenopredError(
            f"simulate_alleles: no variant with MAF {maf:g} or more on {length:,} bases; take a longer stretch."
        )
    alleles = np.stack(rows).reshape(len(rows), n_samples, 2).transpose(1, 2, 0)
    return np.ascontiguousarray(alleles), pl.DataFrame(sites, schema=VARIANT_SCHEMA, orient="row")


def simulate_gene(
    dosage: ArrayLike, columns: ArrayLike, h2: float, rng: np.random.Generator
) -> tuple[Floats, Floats, float]:
    """One gene whose causal variants explain `h2` (0 to below 1) of its variance in expectation.

    `columns` (C,) are the causal variants; none gives pure noise.

    Returns
    -------
    values : array, shape (N,)
        Mean 0; noise has variance 1 - h2.
    effects : array, shape (C,)
        Per ALT copy: drawn from a normal for standardised genotypes, then scaled.
    h2 : float
        Explained share of the variance in this sample.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> values, effects, h2 = simulate_gene(rng.integers(0, 3, (500, 4)), [2], 0.3, rng)
    >>> values.shape, effects.shape, bool(0.2 < h2 < 0.4)
    ((500,), (1,), True)
    """
    if not 0 <= h2 < 1:
        raise GenopredError(f"simulate_gene: h2 is {h2}; it must be at least 0 and below 1.")
    x = np.asarray(dosage)[:, np.asarray(columns, dtype=np.int64)].astype(np.float64)
    n, c = x.shape
    noise = np.asarray(rng.standard_normal(n))
    if not c or h2 == 0:
        return noise - noise.mean(), np.zeros(c), 0.0
    spread = x.std(axis=0)
    if (spread == 0).any():
        raise GenopredError("simulate_gene: a causal variant does not vary; choose among those that do.")
    effects = rng.standard_normal(c) / spread
    value = (x - x.mean(axis=0)) @ effects
    # Causal variants in tight linkage may cancel; scaled up again they still explain h2.
    scale = np.sqrt(h2) / max(float(value.std()), 1e-12)
    value, effects = value * scale, effects * scale
    noise *= np.sqrt(1 - h2)
    total = value + noise
    return total - total.mean(), effects, float(np.var(value) / np.var(total))


# Twelve parameters: what may be chosen of a cohort, each with a default; users call it by these names.
def simulate_cohort(
    n_samples: int = 400,
    n_genes: int = 20,
    *,
    length: int | None = None,
    n_causal: int | tuple[int, int] = 1,
    h2: float | tuple[float, float] = 0.1,
    null_fraction: float = 0.5,
    reach: int = 100_000,
    n_covariates: int = 5,
    covariate_share: float = 0.3,
    maf: float = 0.05,
    seed: int = 1,
    **coalescent: Any,
) -> SimulatedCohort:
    """A cohort with known causal variants, for checking what a method finds and how sure it may be.

    Parameters
    ----------
    n_samples : int
    n_genes : int
        Evenly spaced along the chromosome.
    length : int, optional
        Bases; 50,000 per gene and twice `reach` without it.
    n_causal : int or (low, high)
        Causal variants per gene, drawn evenly between both.
    h2 : float or (low, high)
        Share of a gene's variance that genotype explains, covariates apart.
    null_fraction : float
        Share of genes without any causal variant.
    reach : int
        Causal variants lie within so many bases of the TSS.
    n_covariates : int
        Standard normal, each with an effect on every gene.
    covariate_share : float
        Share of each gene's total variance from covariates.
    maf : float
        Lowest minor allele frequency kept.
    **coalescent
        Passed to `simulate_alleles`, as `seed`: at least 1.

    Raises
    ------
    GenopredError
        If msprime is missing, or a gene has too few variants within `reach`.
    """
    if n_genes < 1 or not 0 <= null_fraction <= 1 or not 0 <= covariate_share < 1:
        raise GenopredError(
            f"simulate_cohort: n_genes {n_genes}, null_fraction {null_fraction}, covariate_share {covariate_share}; "
            "needed are at least one gene, a fraction from 0 to 1 and a share from 0 to below 1."
        )
    span = 50_000 * n_genes + 2 * reach if length is None else length
    alleles, variants = simulate_alleles(n_samples, span, maf=maf, seed=seed, **coalescent)
    rng = np.random.default_rng(seed)
    dosage = alleles.sum(axis=1)
    pos = variants["pos"].to_numpy()
    origin = coalescent.get("start", 1)
    # Windows fit on the stretch where it is long enough for that.
    margin = min(reach, span // 4)
    tss = (origin + np.linspace(margin, span - margin - 1, n_genes)).astype(np.int64)
    is_null = rng.permutation(n_genes) < round(null_fraction * n_genes)
    ids = [f"SIMG{i + 1:06d}.1" for i in range(n_genes)]
    covariates = rng.standard_normal((n_samples, n_covariates))
    values = np.empty((n_samples, n_genes))
    explained = np.zeros(n_genes)
    causal: list[tuple[Any, ...]] = []
    for gene in range(n_genes):
        near = np.flatnonzero(np.abs(pos - tss[gene]) <= reach)
        count = 0 if is_null[gene] else _draw_count(n_causal, rng)
        if count > len(near):
            raise GenopredError(
                f"simulate_cohort: gene {gene + 1} has {len(near)} variants within {reach:,} bases of its TSS and "
                f"needs {count}; raise reach or n_samples, or lower maf."
            )
        columns = np.sort(rng.choice(near, count, replace=False))
        share = float(rng.uniform(*h2)) if isinstance(h2, tuple) else float(h2)
        values[:, gene], effects, explained[gene] = simulate_gene(dosage, columns, share, rng)
        for column, effect in zip(columns.tolist(), effects.tolist()):
            part = effect**2 * float(np.var(dosage[:, column])) / float(np.var(values[:, gene]))
            causal.append((ids[gene], variants["id"][column], column, effect, part))
    if n_covariates and covariate_share > 0:
        nuisance = covariates @ rng.standard_normal((n_covariates, n_genes))
        values += (
            nuisance * np.sqrt(covariate_share / (1 - covariate_share)) * values.std(axis=0) / nuisance.std(axis=0)
        )
    genes = pl.DataFrame(
        {
            "gene_id": ids,
            "gene": [name.split(".")[0] for name in ids],
            "chrom": [variants["chrom"][0]] * n_genes,
            "tss": tss,
            "strand": np.where(rng.random(n_genes) < 0.5, "+", "-").tolist(),
        },
        schema=GENE_SCHEMA,
    )
    samples = np.array([f"S{i + 1:05d}" for i in range(n_samples)])
    table = pl.DataFrame(causal, schema=CAUSAL_SCHEMA, orient="row")
    return SimulatedCohort(samples, alleles, variants, values, genes, covariates, table, explained)


def _draw_count(n_causal: int | tuple[int, int], rng: np.random.Generator) -> int:
    low, high = n_causal if isinstance(n_causal, tuple) else (n_causal, n_causal)
    if not 0 <= low <= high:
        raise GenopredError(f"simulate_cohort: n_causal is {n_causal}; it must be a number or (low, high) from 0 up.")
    return int(rng.integers(low, high + 1))


@dataclass(frozen=True)
class Mosaics:
    """Any number of people whose haplotypes are pieces of given ones, copied side by side.

    Frequencies are those of the given haplotypes, and so is LD between near variants: the covariance of two at a
    distance of d bases is that of the given ones times exp(-rate d) (1 - 2 flip)², as in the copying model of Li and
    Stephens, which imputation uses.

    Parameters
    ----------
    haplotypes : array of int8, shape (H, M)
        0 REF, 1 ALT; `alleles.transpose(1, 0, 2).reshape(-1, M)` of phased people.
    positions : array of int, shape (M,)
        Ascending.
    seed : int
    rate : float
        Changes of the copied haplotype a base; by default one in 500 kb.
    flip : float
        Share of alleles that are changed into the other one, so that more than H people differ in more than H ways.

    References
    ----------
    Li and Stephens (2003), doi:10.1093/genetics/165.4.2213.

    Examples
    --------
    >>> given = np.array([[0, 0, 1], [1, 1, 0], [0, 1, 0]], dtype=np.int8)
    >>> mosaics = Mosaics(given, np.array([100, 200, 90_000]), seed=1)
    >>> [block.shape for block in mosaics.people(1000, block=600)]
    [(600, 3), (400, 3)]
    >>> gene = mosaics.gene(2, h2=0.3)
    >>> y = np.concatenate([gene.expression(x, start) for start, x in zip((0, 600), mosaics.people(1000, block=600))])
    >>> y.shape, bool(0.8 < y.var() < 1.2)
    ((1000,), True)
    """

    haplotypes: NDArray[np.int8]
    positions: NDArray[np.int64]
    seed: int = 1
    rate: float = 2e-6
    flip: float = 0.0

    def __post_init__(self) -> None:
        given, pos = np.asarray(self.haplotypes), np.asarray(self.positions, dtype=np.int64)
        if given.ndim != 2 or not len(given) or pos.shape != given.shape[1:] or not len(pos):
            raise GenopredError(
                f"Mosaics: haplotypes have shape {given.shape}, positions {pos.shape}; needed are (H, M) and (M,)."
            )
        if not np.isin(given, (0, 1)).all():
            raise GenopredError("Mosaics: haplotypes must be 0 or 1 throughout; leave variants with missing ones out.")
        if (np.diff(pos) < 0).any():
            raise GenopredError("Mosaics: positions must ascend; sort variants (of one chromosome) by position.")
        if not (self.rate >= 0 and 0 <= self.flip < 0.5 and self.seed >= 0):
            raise GenopredError(
                f"Mosaics: rate {self.rate}, flip {self.flip}, seed {self.seed}; needed are a rate and a seed of at "
                "least 0 and a share from 0 to below 0.5."
            )
        object.__setattr__(self, "haplotypes", np.ascontiguousarray(given, dtype=np.int8))
        object.__setattr__(self, "positions", pos)

    def people(self, n: int, *, block: int = 4096) -> Iterator[NDArray[np.int8]]:
        """Dosages (n_b, M) of n people, `block` at a time; the first people are the same whatever n and `block` are."""
        if n < 0 or block < 1:
            raise GenopredError(f"Mosaics.people: {n} people, {block} at a time; needed at least 0 and 1.")
        held: list[NDArray[np.int8]] = []
        count = 0
        for part in range(-(-n // _DRAWN)):
            fresh = self._part(part)[: n - part * _DRAWN]
            while count + len(fresh) >= block:
                take = block - count
                yield np.concatenate([*held, fresh[:take]])
                held, count, fresh = [], 0, fresh[take:]
            if len(fresh):
                held.append(fresh)
                count += len(fresh)
        if count:
            yield np.concatenate(held)

    def _part(self, number: int) -> NDArray[np.int8]:
        """The people of one generator, shape (_DRAWN, M)."""
        rng = np.random.default_rng([self.seed, 0, number])
        h, m = self.haplotypes.shape
        copies = 2 * _DRAWN
        first, last = float(self.positions[0]), float(self.positions[-1])
        if self.rate * (last - first) < m:
            changes = rng.poisson(self.rate * (last - first), copies)
            # a change between two variants: the second is the first of the next piece
            cut = np.searchsorted(self.positions, rng.uniform(first, last, int(changes.sum())))
            start = np.sort(np.concatenate([np.arange(copies) * m, np.repeat(np.arange(copies), changes) * m + cut]))
        else:  # several changes between two variants are as good as one
            chance = np.concatenate([[1.0], -np.expm1(-self.rate * np.diff(self.positions))])
            start = np.flatnonzero(rng.random((copies, m)) < chance)
        source = np.repeat(rng.integers(0, h, len(start)), np.diff(start, append=copies * m))
        column = np.tile(np.arange(m), copies)
        alleles = self.haplotypes.ravel()[source * m + column]
        if self.flip:
            # each allele is changed a Poisson number of times, of which an odd one counts
            often = rng.poisson(-0.5 * np.log1p(-2 * self.flip) * len(alleles))
            np.bitwise_xor.at(alleles, rng.integers(0, len(alleles), often), np.int8(1))
        both = alleles.reshape(_DRAWN, 2, m)
        total: NDArray[np.int8] = both[:, 0] + both[:, 1]
        return total

    def mean(self) -> Floats:
        """Expected dosages, shape (M,)."""
        frequency = self.haplotypes.mean(axis=0)
        return np.asarray(2 * (frequency + self.flip * (1 - 2 * frequency)))

    def covariance(self, columns: ArrayLike | None = None) -> Floats:
        """Expected covariance of dosages, shape (M, M), or of some of them."""
        index = np.arange(len(self.positions)) if columns is None else np.asarray(columns, dtype=np.int64)
        x = self.haplotypes[:, index].astype(np.float64)
        x -= x.mean(axis=0)
        pos = self.positions[index].astype(np.float64)
        out = 2 * (x.T @ x / len(x)) * np.exp(-self.rate * np.abs(pos[:, None] - pos)) * (1 - 2 * self.flip) ** 2
        frequency = self.mean()[index] / 2
        out[np.diag_indices(len(index))] = 2 * frequency * (1 - frequency)
        return np.asarray(out)

    def gene(self, n_effects: int, h2: float, *, number: int = 0) -> MosaicGene:
        """A gene of these people: causal variants drawn among those that vary, effects that explain h2 in expectation.

        Parameters
        ----------
        n_effects : int
            From 0 up; effects are normal for standardised genotypes.
        h2 : float
            From 0 to below 1.
        number : int
            Which gene: each has variants, effects and noise of its own.
        """
        rng = np.random.default_rng([self.seed, 1, number])
        mean = self.mean()
        varies = np.flatnonzero((mean > 0) & (mean < 2))
        if not 0 <= h2 < 1 or not 0 <= n_effects <= len(varies):
            raise GenopredError(
                f"Mosaics.gene: {n_effects} effects, h2 {h2}; needed are from 0 to {len(varies):,} effects (so many "
                "variants vary) and an h2 of at least 0 and below 1."
            )
        columns = np.sort(rng.choice(varies, n_effects, replace=False))
        covariance = self.covariance(columns)
        effects = rng.standard_normal(n_effects) / np.sqrt(np.diag(covariance))
        share = h2 if n_effects else 0.0
        if n_effects:
            effects = effects * np.sqrt(share / max(float(effects @ covariance @ effects), 1e-12))
        return MosaicGene(columns, effects, float(mean[columns] @ effects), share, (self.seed, 2, number))


@dataclass(frozen=True)
class MosaicGene:
    """A gene of `Mosaics`: its causal variants (C,), their effects (C,) a copy, and how its people's values are made.

    `h2` is the part of the variance that they explain in expectation; `mean` of these values is taken off.
    """

    columns: NDArray[np.int64]
    effects: Floats
    mean: float
    h2: float
    seed: tuple[int, ...]

    def expression(self, dosage: ArrayLike, start: int = 0) -> Floats:
        """Values (n,) of the people whose dosages (n, M) these are, `start` people after the first."""
        x = np.asarray(dosage)[:, self.columns].astype(np.float64)
        low, high = start // _DRAWN, -(-(start + len(x)) // _DRAWN)
        parts = [np.random.default_rng([*self.seed, part]).standard_normal(_DRAWN) for part in range(low, high)]
        noise = np.concatenate([*parts, np.empty(0)])[start - low * _DRAWN :][: len(x)]
        return np.asarray(x @ self.effects - self.mean + np.sqrt(1 - self.h2) * noise)
