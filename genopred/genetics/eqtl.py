"""Expression QTL in cis: nominal and permutation passes, q-values, independent signals.

The default is what FastQTL and tensorQTL do: each gene is normalised, then gene and variant are both residualised
on the covariates, and t has N - 2 - K degrees of freedom. `compat="qtltools"` gives the numbers of
`QTLtools cis --normal` instead: residualise, then normalise, leave the variants alone, N - 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaincinv, digamma, stdtr, zeta

from genopred.errors import GenopredError, examples
from genopred.genetics.transform import inverse_normal, residualise

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: Dosages (N, stop - start) of the variants from `start` to `stop`.
ReadDosage = Callable[[int, int], NDArray[np.float32]]
Progress = Callable[[int, int], None]

COMPAT = ("tensorqtl", "qtltools")

#: One row per gene and variant, as tensorQTL's `cis_nominal`; distances are pos - TSS, whatever the strand.
NOMINAL_SCHEMA = {
    "phenotype_id": pl.String,
    "variant_id": pl.String,
    "start_distance": pl.Int32,
    "af": pl.Float32,
    "ma_samples": pl.Int32,
    "ma_count": pl.Int32,
    "pval_nominal": pl.Float64,
    "slope": pl.Float32,
    "slope_se": pl.Float32,
}

#: One row per gene, as tensorQTL's `cis`.
PERMUTATION_SCHEMA = {
    "phenotype_id": pl.String,
    "num_var": pl.Int32,
    "beta_shape1": pl.Float64,
    "beta_shape2": pl.Float64,
    "true_df": pl.Float64,
    "pval_true_df": pl.Float64,
    "variant_id": pl.String,
    "start_distance": pl.Int32,
    "end_distance": pl.Int32,
    "ma_samples": pl.Int32,
    "ma_count": pl.Int32,
    "af": pl.Float32,
    "pval_nominal": pl.Float64,
    "slope": pl.Float64,
    "slope_se": pl.Float64,
    "pval_perm": pl.Float64,
    "pval_beta": pl.Float64,
}

#: One row per independent signal, as tensorQTL's `cis_independent`.
INDEPENDENT_SCHEMA = {**PERMUTATION_SCHEMA, "rank": pl.Int32}

_BLOCK = 1024  # variants standardised at a time: 3 MB of float64 for 358 people
_ROWS = 256  # variants per product with the permutations: the result stays in the second-level cache
_TIE = 1e-9  # correlations closer than this (relative) are one variant's, up to rounding


@dataclass(frozen=True)
class CisModel:
    """What is regressed on what.

    Attributes
    ----------
    phenotypes : array, shape (N, G)
        What is permuted: centred, not yet residualised (except under `qtltools`).
    residuals : array, shape (N, G)
        What the variants are correlated with.
    basis : array, shape (N, B)
        Orthonormal columns, taken out of the variants; the first is the intercept.
    df : int
        Degrees of freedom of the t test.
    """

    phenotypes: Floats
    residuals: Floats
    basis: Floats
    df: int


def cis_model(
    phenotypes: ArrayLike,
    covariates: ArrayLike | None = None,
    *,
    normalise: bool = True,
    compat: str = "tensorqtl",
) -> CisModel:
    """Prepare phenotypes and covariates for the passes below.

    Parameters
    ----------
    phenotypes : array, shape (N, G)
        Expression, one gene a column, no missing values.
    covariates : array, shape (N, K), optional
    normalise : bool
        Rank-based inverse normal transform of each gene, (rank - 0.5) / N.
    compat : {"tensorqtl", "qtltools"}
        See the top of this file.

    Returns
    -------
    CisModel

    Raises
    ------
    GenopredError
        If shapes do not fit, a value is missing, a gene does not vary, or too few people are left.

    Examples
    --------
    >>> cis_model([[1.0], [3.0], [2.0], [5.0]], [[0.0], [1.0], [0.0], [1.0]]).df
    1
    """
    y = np.asarray(phenotypes, dtype=np.float64)
    y = y[:, None] if y.ndim == 1 else y
    n = len(y)
    if compat not in COMPAT:
        raise GenopredError(f"cis_model: compat is {compat!r}; choose one of {', '.join(COMPAT)}.")
    if y.ndim != 2 or not np.isfinite(y).all():
        raise GenopredError(
            f"cis_model: phenotypes have shape {y.shape} or missing values; (N, G) without gaps is needed: impute or "
            "drop the genes."
        )
    extra = np.empty((n, 0)) if covariates is None else np.asarray(covariates, dtype=np.float64)
    extra = extra[:, None] if extra.ndim == 1 else extra
    if extra.ndim != 2 or len(extra) != n or not np.isfinite(extra).all():
        raise GenopredError(
            f"cis_model: covariates have shape {extra.shape} or missing values; ({n}, K) without gaps is needed."
        )
    flat = np.flatnonzero(np.ptp(y, axis=0) == 0) if n else np.arange(y.shape[1])
    if flat.size:
        raise GenopredError(
            f"cis_model: {flat.size} phenotypes do not vary (columns {examples(flat.tolist())}); leave these genes out."
        )
    basis = _basis(extra)
    df = n - 1 - (basis.shape[1] if compat == "tensorqtl" else 1)
    if df < 1:
        raise GenopredError(
            f"cis_model: {n} samples and {basis.shape[1] - 1} independent covariates leave {df} degrees of freedom; "
            "use fewer covariates."
        )
    if compat == "qtltools":
        if extra.shape[1]:
            y = residualise(y, extra)
        y = inverse_normal(y) if normalise else y
        y = y - y.mean(axis=0)
        return CisModel(y, y, basis[:, :1], df)
    y = inverse_normal(y) if normalise else y
    y = y - y.mean(axis=0)
    residuals = y - basis @ (basis.T @ y)
    gone = np.flatnonzero(np.sum(residuals**2, axis=0) <= 1e-10 * np.sum(y**2, axis=0))
    if gone.size:
        raise GenopredError(
            f"cis_model: the covariates explain {gone.size} phenotypes fully (columns {examples(gone.tolist())}); "
            "leave these genes or some covariates out."
        )
    return CisModel(y, residuals, basis, df)


def _basis(covariates: Floats) -> Floats:
    """Orthonormal columns that span intercept and covariates, intercept first; collinear columns are left out."""
    n = len(covariates)
    first = np.full((n, 1), 1 / np.sqrt(max(n, 1)))
    centred = covariates - covariates.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    centred = centred[:, length > 1e-10 * np.maximum(np.linalg.norm(covariates, axis=0), 1e-300)]
    if not centred.shape[1]:
        return first
    left, size, _ = np.linalg.svd(centred / np.linalg.norm(centred, axis=0), full_matrices=False)
    return np.column_stack([first, left[:, size > 1e-9 * size[0]]])


def cis_windows(pos: ArrayLike, tss: ArrayLike, window: int) -> tuple[Ints, Ints]:
    """First variant of each gene's window, and the first one behind it; `window` bases away is inside.

    Parameters
    ----------
    pos : array, shape (M,)
        Sorted positions on one chromosome.
    tss : array, shape (G,)
    window : int

    Returns
    -------
    array, shape (G,); array, shape (G,)

    Examples
    --------
    >>> cis_windows([10, 20, 30, 40], [25], 10)
    (array([1]), array([3]))
    """
    positions, sites = np.asarray(pos, dtype=np.int64), np.asarray(tss, dtype=np.int64)
    if (np.diff(positions) < 0).any():
        raise GenopredError("cis_windows: positions are not sorted; sort the variants by position first.")
    if window < 0:
        raise GenopredError(f"cis_windows: window is {window}; it must be at least 0 bases.")
    start = np.searchsorted(positions, sites - window, side="left")
    return start, np.searchsorted(positions, sites + window, side="right")


@dataclass(frozen=True)
class CisScan:
    """What one sweep over a chromosome found.

    Attributes
    ----------
    start, stop : array, shape (G,)
        Each gene's window among the variants.
    offset : array, shape (G + 1,)
        Where each gene's window begins in `r`.
    r : array, shape (pairs,)
        Correlation of each gene with each variant of its window, gene after gene; NaN where unusable.
    spread : array, shape (M,)
        Length of each variant's residual vector; 0 where unusable.
    scale : array, shape (G,)
        Length of each gene's residual vector.
    af, ma_samples, ma_count : arrays, shape (M,)
        Frequency of ALT, carriers and copies of the minor allele.
    df : int
    unusable : dict of str to array of bool, shape (M,)
        Variants left out, by reason.
    top : array, shape (G,)
        Variant with the largest |r|; ties go to the one nearest to the TSS, then to the first. -1: none.
    perm_r2 : array, shape (G, P), or None
        Largest squared correlation in the window for each permutation.
    """

    start: Ints
    stop: Ints
    offset: Ints
    r: Floats
    spread: Floats
    scale: Floats
    af: Floats
    ma_samples: NDArray[np.int32]
    ma_count: NDArray[np.int32]
    df: int
    unusable: dict[str, NDArray[np.bool_]] = field(repr=False)
    top: Ints
    perm_r2: NDArray[np.float64] | None = field(repr=False)

    def gene(self, index: int) -> Floats:
        """Correlations of one gene's window."""
        return self.r[self.offset[index] : self.offset[index + 1]]


def permutation_indices(n_samples: int, permutations: int, seed: int = 1) -> NDArray[np.intp]:
    """Random orders of the samples, shape (permutations, N); the same for every gene, as in tensorQTL."""
    if permutations < 1:
        raise GenopredError(f"permutation_indices: {permutations} permutations; at least 1 is needed.")
    return np.argsort(np.random.default_rng(seed).random((permutations, n_samples)), axis=1)


def cis_scan(
    dosage: ArrayLike | ReadDosage,
    pos: ArrayLike,
    tss: ArrayLike,
    model: CisModel,
    window: int = 1_000_000,
    *,
    permutations: NDArray[np.intp] | None = None,
    maf: float = 0.0,
    threads: int = 1,
    progress: Progress | None = None,
) -> CisScan:
    """Correlate every gene of a chromosome with every variant of its window, and with permuted genes.

    Variants are read and residualised block by block, each once. Missing dosages become the variant's mean, as in
    the peers. A permutation shuffles the normalised gene and residualises it then, as FastQTL and tensorQTL do.

    Parameters
    ----------
    dosage : array, shape (N, M), or function of (start, stop)
        ALT dosages of all variants, or what reads those of variants start to stop; NaN where missing.
    pos : array, shape (M,)
        Sorted positions on the chromosome.
    tss : array, shape (G,)
    model : CisModel
        Of the same G genes.
    window : int
        Bases on each side of the TSS, inclusive.
    permutations : array of int, shape (P, N), optional
        From `permutation_indices`.
    maf : float
        Leave out variants with a lower minor allele frequency.
    threads : int
        Genes permuted at a time. The result does not depend on it.
    progress : function of (done, total), optional
        Called with the number of genes finished.

    Returns
    -------
    CisScan

    References
    ----------
    Shabalin (2012), doi:10.1093/bioinformatics/bts163; Ongen et al. (2016), doi:10.1093/bioinformatics/btv722.
    """
    read = dosage if callable(dosage) else _reader(np.asarray(dosage, dtype=np.float32), len(model.residuals))
    positions, sites = np.asarray(pos, dtype=np.int64), np.asarray(tss, dtype=np.int64)
    if sites.shape != (model.residuals.shape[1],):
        raise GenopredError(f"cis_scan: {sites.shape} TSS for {model.residuals.shape[1]} genes of the model.")
    start, stop = cis_windows(positions, sites, window)
    m, g = len(positions), len(sites)
    offset = np.concatenate([[0], np.cumsum(stop - start)])
    r = np.full(offset[-1], np.nan)
    facts = _VariantFacts(m)
    scale = np.linalg.norm(model.residuals, axis=0)
    unit = model.residuals / scale
    perm = None if permutations is None else _Permuter(model, permutations, start, stop)
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        for a, b in _blocks(start, stop):
            block = _standardise(read(a, b), model.basis, maf)
            facts.put(a, b, block)
            genes = np.flatnonzero((start < b) & (stop > a))
            product = unit[:, genes].T @ block.unit.T  # (genes, variants)
            product[:, ~block.usable] = np.nan
            for row, gene in zip(product, genes):
                low, high = max(a, start[gene]), min(b, stop[gene])
                r[offset[gene] + low - start[gene] : offset[gene] + high - start[gene]] = row[low - a : high - a]
            if perm is not None:
                perm.add(a, block)
                done += perm.finish(b, pool)
            else:
                done = int(np.sum(stop <= b))
            if progress is not None:
                progress(min(done, g), g)
    np.clip(r, -1, 1, out=r)
    return CisScan(
        start,
        stop,
        offset,
        r,
        facts.spread,
        scale,
        facts.af,
        facts.ma_samples,
        facts.ma_count,
        model.df,
        facts.unusable,
        _top(r, offset, start, positions, sites),
        None if perm is None else perm.r2,
    )


def _reader(dosage: NDArray[np.float32], n: int) -> ReadDosage:
    if dosage.ndim != 2 or len(dosage) != n:
        raise GenopredError(f"cis_scan: dosage has shape {dosage.shape}; ({n}, M) is needed.")
    return lambda start, stop: dosage[:, start:stop]


def _blocks(start: Ints, stop: Ints) -> Iterator[tuple[int, int]]:
    """Consecutive stretches of variants that some window needs."""
    if not len(start):
        return
    first, last = int(start.min()), int(stop.max())
    # Bounds are multiples of the block size, so that rounding does not depend on which genes are asked for.
    for a in range(first - first % _BLOCK, last, _BLOCK):
        b = min(a + _BLOCK, last)
        if ((start < b) & (stop > a)).any():
            yield a, b


@dataclass(frozen=True)
class _Block:
    """Variants as rows: residuals of length 1, and what else is known of them."""

    unit: Floats
    spread: Floats
    af: Floats
    ma_samples: NDArray[np.int32]
    ma_count: NDArray[np.int32]
    reasons: dict[str, NDArray[np.bool_]]
    usable: NDArray[np.bool_]
    same: Ints  # for each variant the first of the block with the same (or mirrored) dosages


def _standardise(dosage: NDArray[np.float32], basis: Floats, maf: float) -> _Block:
    x = np.ascontiguousarray(dosage.T, dtype=np.float32)  # (m, N)
    m, n = x.shape
    sums = x.sum(axis=1, dtype=np.float64)
    lost = np.isnan(sums)
    absent = np.zeros(m, dtype=bool)
    if lost.any():
        part = x[lost]
        hole = np.isnan(part)
        known = part.shape[1] - hole.sum(axis=1)
        absent[lost] = known == 0
        mean = np.where(hole, 0.0, part).sum(axis=1, dtype=np.float64) / np.maximum(known, 1)
        x = x.copy()
        x[lost] = np.where(hole, mean[:, None], part)
        sums = x.sum(axis=1, dtype=np.float64)
    af = sums / (2 * n)
    minor = af <= 0.5
    carried = x > 0.5
    # Sums over carriers only, as tensorQTL counts; with whole dosages that is every copy.
    copies = sums - np.where(carried, 0.0, x).sum(axis=1, dtype=np.float64)
    ma_samples = np.where(minor, carried.sum(axis=1), n - np.count_nonzero(x >= 1.5, axis=1)).astype(np.int32)
    ma_count = np.where(minor, copies, 2 * n - copies).astype(np.int32)
    z = x - (2 * af)[:, None]  # float64
    total = np.einsum("ij,ij->i", z, z)
    # The intercept is out already, but once more costs nothing and takes rounding along.
    z -= (z @ basis) @ basis.T
    squares = np.einsum("ij,ij->i", z, z)
    same_everywhere = total <= 1e-12 * n
    explained = ~same_everywhere & (squares <= 1e-10 * total)
    rare = ~same_everywhere & (np.minimum(af, 1 - af) < maf)
    usable = ~(absent | same_everywhere | explained | rare)
    spread = np.where(usable, np.sqrt(squares), 0.0)
    z /= np.where(usable, spread, 1.0)[:, None]
    z[~usable] = 0.0
    reasons = {
        "genotype of everybody missing": absent,
        "monomorphic": same_everywhere & ~absent,
        "explained by the covariates": explained,
        f"MAF below {maf:g}": rare & ~explained,
    }
    return _Block(z, spread, np.where(absent, np.nan, af), ma_samples, ma_count, reasons, usable, _same_rows(x))


def _same_rows(x: NDArray[np.float32]) -> Ints:
    """For each row the first row that equals it, or equals 2 minus it: both have the same squared correlations."""
    m, n = x.shape
    # Whole dosages times whole weights sum exactly, so equal rows get equal keys.
    bits = 52 - int(np.ceil(np.log2(2 * n + 1)))
    weights = np.random.default_rng(0).integers(1, 2**bits, n).astype(np.float64)
    key = x.astype(np.float64) @ weights
    key = np.minimum(key, 2 * weights.sum() - key)
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    same = first[inverse]
    twins = np.flatnonzero(same != np.arange(m))
    if twins.size:
        mates = x[same[twins]]
        equal = (x[twins] == mates).all(axis=1) | (x[twins] == 2 - mates).all(axis=1)
        same[twins[~equal]] = twins[~equal]
    return same


class _VariantFacts:
    """What is known of each variant of the chromosome, filled block by block."""

    def __init__(self, m: int) -> None:
        self.spread = np.zeros(m)
        self.af = np.full(m, np.nan)
        self.ma_samples = np.zeros(m, dtype=np.int32)
        self.ma_count = np.zeros(m, dtype=np.int32)
        self.unusable: dict[str, NDArray[np.bool_]] = {}
        self._m = m

    def put(self, a: int, b: int, block: _Block) -> None:
        self.spread[a:b], self.af[a:b] = block.spread, block.af
        self.ma_samples[a:b], self.ma_count[a:b] = block.ma_samples, block.ma_count
        for reason, which in block.reasons.items():
            if which.any():
                self.unusable.setdefault(reason, np.zeros(self._m, dtype=bool))[a:b] = which


class _Permuter:
    """Largest |r| of each gene's window under each permutation; keeps only the blocks that genes still need."""

    def __init__(self, model: CisModel, indices: NDArray[np.intp], start: Ints, stop: Ints) -> None:
        if indices.ndim != 2 or indices.shape[1] != len(model.phenotypes):
            raise GenopredError(f"cis_scan: permutations {indices.shape} of {len(model.phenotypes)} samples.")
        self.model, self.indices, self.start, self.stop = model, indices, start, stop
        self.basis = model.basis.astype(np.float32)
        self.kept: dict[int, tuple[NDArray[np.float32], NDArray[np.int64], int]] = {}
        self.r2 = np.zeros((len(start), len(indices)))
        self.todo = np.argsort(stop, kind="stable")

    def add(self, a: int, block: _Block) -> None:
        first = np.unique(block.same)
        self.kept[a] = (block.unit[first].astype(np.float32), np.searchsorted(first, block.same), len(block.same))

    def finish(self, b: int, pool: ThreadPoolExecutor) -> int:
        """Permute the genes whose windows end at `b` or before; returns how many."""
        count = int(np.searchsorted(self.stop[self.todo], b, side="right"))
        ready, self.todo = self.todo[:count], self.todo[count:]
        list(pool.map(self._gene, ready.tolist()))
        need = self.start[self.todo].min() if len(self.todo) else np.iinfo(np.int64).max
        for a in [a for a, (_, _, size) in self.kept.items() if a + size <= need]:
            del self.kept[a]
        return count

    def _gene(self, gene: int) -> None:
        y = self.model.phenotypes[:, gene]
        length = float(y @ y)
        y32 = (y / np.sqrt(length)).astype(np.float32)
        shuffled = y32[self.indices]  # (P, N)
        explained = shuffled @ self.basis[:, 1:]
        left = np.maximum(1 - np.einsum("ij,ij->i", explained, explained, dtype=np.float64), 1e-12)
        high = np.zeros(len(shuffled), dtype=np.float32)
        out = np.empty((_ROWS, len(shuffled)), dtype=np.float32)
        low_v, high_v = int(self.start[gene]), int(self.stop[gene])
        for a, (unit, where, size) in self.kept.items():
            b = a + size
            if a >= high_v or b <= low_v:
                continue
            if low_v > a or high_v < b:
                unit = unit[np.unique(where[max(low_v - a, 0) : high_v - a])]
            for top in range(0, len(unit), _ROWS):
                part = unit[top : top + _ROWS]
                product = np.matmul(part, shuffled.T, out=out[: len(part)])
                np.maximum(high, product.max(axis=0), out=high)
                np.maximum(high, -product.min(axis=0), out=high)
        self.r2[gene] = np.minimum(high.astype(np.float64) ** 2 / left, 1.0)


def _top(r: Floats, offset: Ints, start: Ints, pos: Ints, tss: Ints) -> Ints:
    out = np.full(len(tss), -1, dtype=np.int64)
    for gene in range(len(tss)):
        size = np.abs(r[offset[gene] : offset[gene + 1]])
        if not size.size or np.isnan(size).all():
            continue
        best = np.flatnonzero(size >= np.nanmax(size) * (1 - _TIE)) + start[gene]
        out[gene] = best[np.argmin(np.abs(pos[best] - tss[gene]))]
    return out


def correlation_test(r: ArrayLike, df: float) -> tuple[Floats, Floats]:
    """t statistic and two-sided p-value of correlations with `df` degrees of freedom.

    Examples
    --------
    >>> t, p = correlation_test([0.5], 10)
    >>> t.round(4).tolist(), p.round(4).tolist()
    ([1.8257], [0.0979])
    """
    values = np.asarray(r, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = values * np.sqrt(df / (1 - values * values))
    return t, 2 * stdtr(df, -np.abs(t))


def nominal_table(scan: CisScan, gene_ids: Sequence[str], variant_ids: pl.Series, pos: Ints, tss: Ints) -> pl.DataFrame:
    """All gene-variant pairs of a scan in tensorQTL's columns.

    Parameters
    ----------
    scan : CisScan
    gene_ids : list of str, length G
    variant_ids : polars.Series, length M
    pos, tss : arrays, shape (M,), (G,)

    Returns
    -------
    polars.DataFrame
        Columns of `NOMINAL_SCHEMA`; unusable variants are left out.
    """
    size = scan.stop - scan.start
    gene = np.repeat(np.arange(len(size), dtype=np.int32), size)
    variant = np.arange(scan.offset[-1]) - np.repeat(scan.offset[:-1] - scan.start, size)
    r = scan.r
    if scan.unusable:
        good = ~np.isnan(r)
        gene, variant, r = gene[good], variant[good], r[good]
    # slope = r sd(y)/sd(x); its standard error from 1 - r^2, which is defined at r = 0 too
    ratio = scan.scale[gene] / scan.spread[variant]
    se = np.sqrt((1 - r * r) / scan.df)
    with np.errstate(divide="ignore"):
        pval = 2 * stdtr(scan.df, -np.abs(r) / se)
    return pl.DataFrame(
        {
            "phenotype_id": pl.Series(list(gene_ids), dtype=pl.String).gather(gene),
            "variant_id": variant_ids.gather(variant),
            "start_distance": (pos[variant] - tss[gene]).astype(np.int32),
            "af": scan.af.astype(np.float32)[variant],
            "ma_samples": scan.ma_samples[variant],
            "ma_count": scan.ma_count[variant],
            "pval_nominal": pval,
            "slope": (r * ratio).astype(np.float32),
            "slope_se": (se * ratio).astype(np.float32),
        },
        schema=NOMINAL_SCHEMA,
    )


@dataclass(frozen=True)
class BetaFit:
    """Beta approximation of a gene's smallest p-value under permutation.

    Attributes
    ----------
    shape1, shape2 : float
        Maximum likelihood; NaN where they could not be fitted.
    true_df : float
        Degrees of freedom at which the permuted p-values look like a minimum of independent ones (shape1 = 1).
    pval_true_df : float
        p of the top variant with that many degrees of freedom.
    pval_perm, pval_beta : float
        Empirical (b + 1) / (P + 1), and beta-approximated.
    """

    shape1: float
    shape2: float
    true_df: float
    pval_true_df: float
    pval_perm: float
    pval_beta: float


def beta_approximation(perm_r2: ArrayLike, r2: float, df: float) -> BetaFit:
    """Extend permutation p-values below 1 / P by a fitted beta distribution, as FastQTL does.

    Parameters
    ----------
    perm_r2 : array, shape (P,)
        Largest squared correlation of each permutation.
    r2 : float
        Squared correlation of the top variant.
    df : float
        Nominal degrees of freedom, the start of the search for the effective ones.

    Returns
    -------
    BetaFit

    References
    ----------
    Ongen et al. (2016), doi:10.1093/bioinformatics/btv722.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> best = np.max(rng.standard_normal((1000, 50)) ** 2 / 100, axis=1)
    >>> fit = beta_approximation(best, 0.25, 100)
    >>> bool(0.9 < fit.shape1 < 1.1), bool(fit.pval_beta < 1e-4)
    (True, True)
    """
    permuted = np.asarray(perm_r2, dtype=np.float64)
    pval_perm = (np.sum(permuted >= r2) + 1) / (len(permuted) + 1)
    nothing = BetaFit(np.nan, np.nan, float(df), float(_r2_pval(r2, df)), float(pval_perm), np.nan)
    if len(permuted) < 2 or np.ptp(permuted) == 0:
        return nothing
    true_df = _effective_df(permuted, df)
    pvals = np.clip(_r2_pval(permuted, true_df), 1e-300, 1 - 1e-16)
    shapes = fit_beta(pvals)
    if shapes is None:
        return nothing
    pval = float(_r2_pval(r2, true_df))
    return BetaFit(*shapes, true_df, pval, float(pval_perm), float(betainc(*shapes, pval)))


def _r2_pval(r2: ArrayLike, df: float) -> Floats:
    return betainc(df / 2, 0.5, 1 - np.asarray(r2, dtype=np.float64))


def _moments(pvals: Floats) -> tuple[float, float]:
    mean, var = float(pvals.mean()), float(pvals.var(ddof=1))
    size = mean * (1 - mean) / max(var, 1e-300) - 1
    return mean * size, (1 - mean) * size


def _effective_df(perm_r2: Floats, df: float) -> float:
    """Where the moments of the permuted p-values give shape1 = 1; `df` where they never do."""

    def gap(log_df: float) -> float:
        shape = _moments(_r2_pval(perm_r2, float(np.exp(log_df))))[0]
        return float(np.log(shape)) if shape > 0 else -10.0

    at, step = float(np.log(df)), -0.05
    value = gap(at)
    low, high = np.log(df / 20), np.log(20 * df)
    for _ in range(30):
        if abs(value) < 1e-4:
            return float(np.exp(at))
        other = gap(at + step)
        if other == value:
            break
        # Secant; the gap is nearly linear in log df, so a handful of steps do.
        new = float(np.clip(at - value * step / (other - value), low, high))
        if abs(new - at - step) < 1e-6:
            return float(np.exp(new))
        at, value, step = at + step, other, new - at - step
        if step == 0:
            break
    return float(df)


def fit_beta(pvals: ArrayLike, tol: float = 1e-8) -> tuple[float, float] | None:
    """Maximum-likelihood shapes of a beta distribution by Newton's method; None where it does not converge.

    Examples
    --------
    >>> shapes = fit_beta(np.random.default_rng(1).beta(1.1, 300, 20000))
    >>> round(shapes[0], 1), round(shapes[1], -1)
    (1.1, 300.0)
    """
    p = np.asarray(pvals, dtype=np.float64)
    one, two = float(np.mean(np.log(p))), float(np.mean(np.log1p(-p)))
    a, b = _moments(p)
    if not (a > 0 and b > 0):
        return None
    for _ in range(100):
        both = digamma(a + b)
        ga, gb = digamma(a) - both - one, digamma(b) - both - two
        curve = zeta(2, a + b)  # trigamma
        haa, hbb = zeta(2, a) - curve, zeta(2, b) - curve
        det = haa * hbb - curve * curve
        if not det > 0:
            return None
        da, db = (hbb * ga + curve * gb) / det, (haa * gb + curve * ga) / det
        # Never more than halfway to 0.
        factor = 1.0
        for shape, change in ((a, da), (b, db)):
            if change > 0.5 * shape:
                factor = min(factor, 0.5 * shape / change)
        a, b = a - factor * da, b - factor * db
        if abs(da) <= tol * a and abs(db) <= tol * b:
            return float(a), float(b)
    return None


def permutation_table(
    scan: CisScan, gene_ids: Sequence[str], variant_ids: pl.Series, pos: Ints, tss: Ints
) -> pl.DataFrame:
    """One row per gene in tensorQTL's columns: top variant and its beta-approximated p-value.

    Parameters
    ----------
    scan : CisScan
        With permutations.
    gene_ids : list of str, length G
    variant_ids : polars.Series, length M
    pos, tss : arrays, shape (M,), (G,)

    Returns
    -------
    polars.DataFrame
        Columns of `PERMUTATION_SCHEMA`; genes without a usable variant are left out.
    """
    if scan.perm_r2 is None:
        raise GenopredError("permutation_table: the scan has no permutations; give cis_scan permutation_indices.")
    rows = [
        _top_row(scan, scan.perm_r2[gene], gene, gene_ids[gene], variant_ids, pos, int(tss[gene]))
        for gene in np.flatnonzero(scan.top >= 0).tolist()
    ]
    return pl.DataFrame(rows, schema=PERMUTATION_SCHEMA, orient="row")


def _top_row(
    scan: CisScan, perm_r2: Floats, gene: int, gene_id: str, variant_ids: pl.Series, pos: Ints, tss: int
) -> dict[str, Any]:
    top = int(scan.top[gene])
    r = float(scan.gene(gene)[top - scan.start[gene]])
    fit = beta_approximation(perm_r2, r * r, scan.df)
    ratio = scan.scale[gene] / scan.spread[top]
    return {
        "phenotype_id": gene_id,
        "num_var": int(np.sum(~np.isnan(scan.gene(gene)))),
        "beta_shape1": fit.shape1,
        "beta_shape2": fit.shape2,
        "true_df": fit.true_df,
        "pval_true_df": fit.pval_true_df,
        "variant_id": variant_ids[top],
        "start_distance": int(pos[top]) - tss,
        "end_distance": int(pos[top]) - tss,
        "ma_samples": int(scan.ma_samples[top]),
        "ma_count": int(scan.ma_count[top]),
        "af": float(scan.af[top]),
        "pval_nominal": float(correlation_test(r, scan.df)[1]),
        "slope": r * ratio,
        "slope_se": float(np.sqrt((1 - r * r) / scan.df)) * ratio,
        "pval_perm": fit.pval_perm,
        "pval_beta": fit.pval_beta,
    }


def qvalues(pvals: ArrayLike, lambdas: ArrayLike | None = None) -> tuple[Floats, float]:
    """Storey's q-values, with the proportion of true nulls from a smoother, as R's qvalue does by default.

    Parameters
    ----------
    pvals : array, shape (G,)
        NaN gets NaN.
    lambdas : array, optional
        Where to estimate pi0; 0.05, 0.1 to 0.95. One number uses the estimate there.

    Returns
    -------
    q : array, shape (G,)
    pi0 : float
        Estimated proportion of true nulls. 1, which makes q the Benjamini-Hochberg value, where it cannot be
        estimated: no p-value above the largest lambda, or fewer than 20 p-values.

    Raises
    ------
    GenopredError
        If a p-value is below 0 or above 1.

    References
    ----------
    Storey and Tibshirani (2003), doi:10.1073/pnas.1530509100.

    Examples
    --------
    >>> q, pi0 = qvalues([0.01, 0.02, 0.5])
    >>> q.round(3).tolist(), pi0
    ([0.03, 0.03, 0.5], 1.0)
    """
    p = np.asarray(pvals, dtype=np.float64)
    known = np.isfinite(p)
    wrong = p[known & ((p < 0) | (p > 1))]
    if wrong.size:
        raise GenopredError(f"qvalues: {wrong.size} p-values are outside 0 to 1 ({examples(wrong.tolist())}).")
    out = np.full(p.shape, np.nan)
    if not known.any():
        return out, 1.0
    mine = p[known]
    pi0 = _pi0(mine, np.arange(0.05, 0.951, 0.05) if lambdas is None else np.atleast_1d(np.asarray(lambdas, float)))
    order = np.argsort(-mine, kind="stable")
    rank = np.arange(len(mine), 0, -1)
    q = np.minimum.accumulate(np.minimum(pi0 * len(mine) / rank * mine[order], 1.0))
    back = np.empty_like(q)
    back[order] = q
    out[known] = back
    return out, pi0


def _pi0(p: Floats, lambdas: Floats) -> float:
    if len(p) < 20 or p.max() < lambdas.max():
        return 1.0
    above = (p[None, :] >= lambdas[:, None]).mean(axis=1) / (1 - lambdas)
    pi0 = float(above[-1]) if len(lambdas) < 4 else float(_smooth(lambdas, above, 3.0)[-1])
    return min(pi0, 1.0) if pi0 > 0 else 1.0


def _smooth(x: Floats, y: Floats, df: float) -> Floats:
    """Cubic smoothing spline with `df` effective degrees of freedom, at x."""
    h = np.diff(x)
    n = len(x)
    q = np.zeros((n, n - 2))
    r = np.zeros((n - 2, n - 2))
    for i in range(n - 2):
        q[i : i + 3, i] = 1 / h[i], -1 / h[i] - 1 / h[i + 1], 1 / h[i + 1]
        r[i, i] = (h[i] + h[i + 1]) / 3
        if i:
            r[i, i - 1] = r[i - 1, i] = h[i] / 6
    size, vectors = np.linalg.eigh(q @ np.linalg.solve(r, q.T))
    size = np.maximum(size, 0.0)
    low, high = -40.0, 40.0  # log penalty; the degrees of freedom fall with it
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.sum(1 / (1 + np.exp(middle) * size)) > df else (low, middle)
    return vectors @ ((vectors.T @ y) / (1 + np.exp(low) * size))


def add_qvalues(table: pl.DataFrame, fdr: float = 0.05) -> tuple[pl.DataFrame, float]:
    """Add `qval` and `pval_nominal_threshold` to a permutation table, as tensorQTL does.

    Parameters
    ----------
    table : polars.DataFrame
        From `permutation_table`, all chromosomes together.
    fdr : float
        Genes with q up to this are eGenes; the nominal threshold of each gene is where its beta distribution
        reaches the p-value halfway between the last eGene and the first other gene.

    Returns
    -------
    polars.DataFrame, float
        The table with two more columns, and pi0.
    """
    pval = table["pval_beta"].to_numpy()
    q, pi0 = qvalues(pval)
    threshold = np.full(len(pval), np.nan)
    hits = q <= fdr
    if hits.any():
        cut = gene_threshold(pval, q, fdr)
        one, two = table["beta_shape1"].to_numpy(), table["beta_shape2"].to_numpy()
        threshold = betaincinv(one, two, cut)
    return table.with_columns(qval=pl.Series(q), pval_nominal_threshold=pl.Series(threshold)), pi0


def gene_threshold(pval_beta: Floats, q: Floats, fdr: float) -> float:
    """Gene-level p-value between the last gene with q up to `fdr` and the first one beyond; 0 without the former."""
    inside, outside = pval_beta[q <= fdr], pval_beta[q > fdr]
    if not inside.size:
        return 0.0
    return float((inside.max() + outside.min()) / 2) if outside.size else float(inside.max())


def independent_signals(
    dosage: ArrayLike,
    pos: ArrayLike,
    tss: int,
    phenotype: ArrayLike,
    covariates: ArrayLike | None,
    threshold: float,
    permutations: NDArray[np.intp],
    *,
    gene_id: str = "gene",
    variant_ids: pl.Series | None = None,
    normalise: bool = True,
    maf: float = 0.0,
    max_signals: int = 20,
) -> pl.DataFrame:
    """Conditionally independent signals of one gene by forward selection and backward checks, as GTEx did.

    Forward: the top variant is added to the covariates until the permutation p-value of the next one exceeds
    `threshold`. Backward: each signal is mapped again with all others as covariates, and kept if it still passes.

    Parameters
    ----------
    dosage : array, shape (N, M)
        The gene's window; NaN where missing.
    pos : array, shape (M,)
        Sorted positions.
    tss : int
    phenotype : array, shape (N,)
    covariates : array, shape (N, K), optional
    threshold : float
        Largest `pval_beta` of a signal; the gene-level threshold of the permutation pass.
    permutations : array of int, shape (P, N)
    gene_id : str
    variant_ids : polars.Series, length M, optional
        Column numbers without it.
    normalise : bool
    maf : float
    max_signals : int
        Stop the forward selection there.

    Returns
    -------
    polars.DataFrame
        Columns of `INDEPENDENT_SCHEMA`, by rank; no rows where the first variant does not pass.

    References
    ----------
    GTEx Consortium (2017), doi:10.1038/nature24277, supplement.
    """
    x = np.asarray(dosage, dtype=np.float32)
    y = np.asarray(phenotype, dtype=np.float64)
    positions = np.asarray(pos, dtype=np.int64)
    base = np.empty((len(y), 0)) if covariates is None else np.asarray(covariates, dtype=np.float64)
    names = pl.Series([str(i) for i in range(x.shape[1])]) if variant_ids is None else variant_ids
    sites = np.array([tss])
    # A window as wide as the data: the caller has cut it.
    reach = int(np.abs(positions - tss).max(initial=0))

    def best(extra: list[int]) -> tuple[int, dict[str, Any]] | None:
        model = cis_model(y, np.column_stack([base, _filled(x[:, extra])]), normalise=normalise)
        scan = cis_scan(x, positions, sites, model, reach, permutations=permutations, maf=maf)
        if scan.top[0] < 0 or scan.perm_r2 is None:
            return None
        row = _top_row(scan, scan.perm_r2[0], 0, gene_id, names, positions, tss)
        return (int(scan.top[0]), row) if row["pval_beta"] <= threshold else None

    forward: list[int] = []
    rows: list[dict[str, Any]] = []
    while len(forward) < max_signals:
        found = best(forward)
        if found is None:
            break
        forward.append(found[0])
        rows.append({**found[1], "rank": len(forward)})
    if len(forward) > 1:
        rows, seen = [], set()
        for rank, own in enumerate(forward, start=1):
            found = best([other for other in forward if other != own])
            if found is not None and found[0] not in seen:
                seen.add(found[0])
                rows.append({**found[1], "rank": rank})
    return pl.DataFrame(rows, schema=INDEPENDENT_SCHEMA, orient="row")


def _filled(dosage: NDArray[np.float32]) -> Floats:
    x = dosage.astype(np.float64)
    hole = np.isnan(x)
    if hole.any():
        mean = np.where(hole, 0.0, x).sum(axis=0) / np.maximum((~hole).sum(axis=0), 1)
        x = np.where(hole, mean, x)
    return x


def residual_dosage(dosage: NDArray[np.float32], model: CisModel) -> Floats:
    """Dosages (N, M) with missing ones at their mean, residualised as `model` does; for fine-mapping."""
    x = _filled(dosage)
    return x - model.basis @ (model.basis.T @ x)
