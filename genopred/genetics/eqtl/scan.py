"""Expression QTL in cis: every gene of a chromosome against every variant of its window, and against permutations.

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
from scipy.special import stdtr

from genopred.errors import GenopredError, examples
from genopred.genetics.transform import inverse_normal, mean_filled, residualise
from genopred.types import plain_chrom

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

_BLOCK = 1024  # variants standardised at a time: 3 MB of float64 for 358 people
_ROWS = 256  # variants per product with the permutations: the result stays in the second-level cache
_TIE = 1e-9  # correlations closer than this (relative) are one variant's, up to rounding


@dataclass(frozen=True)
class Chromosome:
    """Genes of one chromosome and its variants."""

    name: str  # as the genes have it
    genes: Ints  # rows of the gene table
    columns: Ints  # rows of the variant table, by position
    pos: Ints  # 1-based, as `tss`
    tss: Ints
    ids: pl.Series  # of the variants


def chromosomes(genes: pl.DataFrame, variants: pl.DataFrame) -> Iterator[Chromosome]:
    """Genes and variants chromosome by chromosome, in the genes' order; `chr22` matches `22`."""
    of_gene = np.array([plain_chrom(name) for name in genes["chrom"].to_list()])
    spelt = {name: plain_chrom(name) for name in variants["chrom"].unique().to_list()}
    for plain in dict.fromkeys(of_gene.tolist()):
        rows = np.flatnonzero(of_gene == plain)
        names = [name for name, bare in spelt.items() if bare == plain]
        columns = np.flatnonzero(variants["chrom"].is_in(names).to_numpy())
        pos = variants["pos"].to_numpy()[columns]
        if (np.diff(pos) < 0).any():
            order = np.argsort(pos, kind="stable")
            columns, pos = columns[order], pos[order]
        ids = variants["id"].gather(columns)
        yield Chromosome(genes["chrom"][int(rows[0])], rows, columns, pos, genes["tss"].to_numpy()[rows], ids)


@dataclass(frozen=True)
class CisModel:
    """What is regressed on what."""

    phenotypes: Floats  # (N, G), what is permuted: centred, not yet residualised (except under `qtltools`)
    residuals: Floats  # (N, G), what the variants are correlated with
    basis: Floats  # (N, B), orthonormal columns, taken out of the variants; the first is the intercept
    df: int  # degrees of freedom of the t test


def cis_model(
    phenotypes: ArrayLike, covariates: ArrayLike | None = None, *, normalise: bool = True, compat: str = "tensorqtl"
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
    if compat == "qtltools" and extra.shape[1]:
        y = residualise(y, extra)
    y = inverse_normal(y) if normalise else y
    y = y - y.mean(axis=0)
    if compat == "qtltools":
        return CisModel(y, y, basis[:, :1], df)
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
    """First of the sorted variants in each gene's window, and the first one behind it; `window` bases away is inside.

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
    """What one sweep over a chromosome found: of M variants and G genes."""

    start: Ints  # (G,), each gene's window among the variants
    stop: Ints
    offset: Ints  # (G + 1,), where each gene's window begins in `r`
    r: Floats  # (pairs,), of each gene with each variant of its window, gene after gene; NaN where unusable
    spread: Floats  # (M,), length of each variant's residual vector; 0 where unusable
    scale: Floats  # (G,), length of each gene's residual vector
    af: Floats  # (M,), frequency of ALT
    ma_samples: NDArray[np.int32]  # (M,), carriers of the minor allele
    ma_count: NDArray[np.int32]  # (M,), its copies
    df: int
    unusable: dict[str, NDArray[np.bool_]] = field(repr=False)  # (M,) each, variants left out, by reason
    top: Ints  # (G,), variant with the largest |r|; ties go to the one nearest to the TSS, then to the first. -1: none
    perm_r2: NDArray[np.float64] | None = field(repr=False)  # (G, P), largest of the window for each permutation

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

    References
    ----------
    Shabalin (2012), doi:10.1093/bioinformatics/bts163; Ongen et al. (2016), doi:10.1093/bioinformatics/btv722.
    """
    read = dosage if callable(dosage) else _reader(np.asarray(dosage, dtype=np.float32), len(model.residuals))
    positions, sites = np.asarray(pos, dtype=np.int64), np.asarray(tss, dtype=np.int64)
    if sites.shape != (model.residuals.shape[1],):
        raise GenopredError(f"cis_scan: {sites.shape} TSS for {model.residuals.shape[1]} genes of the model.")
    start, stop = cis_windows(positions, sites, window)
    m = len(positions)
    offset = np.concatenate([[0], np.cumsum(stop - start)])
    r = np.full(offset[-1], np.nan)
    facts: dict[str, Any] = {"spread": np.zeros(m), "af": np.full(m, np.nan)}
    facts |= {name: np.zeros(m, dtype=np.int32) for name in ("ma_samples", "ma_count")}
    unusable: dict[str, NDArray[np.bool_]] = {}
    scale = np.linalg.norm(model.residuals, axis=0)
    unit = model.residuals / scale
    perm = None if permutations is None else _Permuter(model, permutations, start, stop)
    with ThreadPoolExecutor(threads) as pool:
        for a, b in _blocks(start, stop):
            block = _standardise(read(a, b), model.basis, maf)
            for name, values in facts.items():
                values[a:b] = getattr(block, name)
            for reason, which in block.reasons.items():
                if which.any():
                    unusable.setdefault(reason, np.zeros(m, dtype=bool))[a:b] = which
            genes = np.flatnonzero((start < b) & (stop > a))
            product = unit[:, genes].T @ block.unit.T  # (genes, variants)
            product[:, ~block.usable] = np.nan
            for row, gene in zip(product, genes):
                low, high = max(a, start[gene]), min(b, stop[gene])
                r[offset[gene] + low - start[gene] : offset[gene] + high - start[gene]] = row[low - a : high - a]
            if perm is not None:
                perm.add(a, block)
                perm.finish(b, pool)
            if progress is not None:
                progress(int(np.sum(stop <= b)), len(sites))
    np.clip(r, -1, 1, out=r)
    top, perm_r2 = _top(r, offset, start, positions, sites), None if perm is None else perm.r2
    return CisScan(
        start, stop, offset, r, scale=scale, df=model.df, unusable=unusable, top=top, perm_r2=perm_r2, **facts
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
        known = n - hole.sum(axis=1)
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

    def finish(self, b: int, pool: ThreadPoolExecutor) -> None:
        """Permute the genes whose windows end at `b` or before."""
        count = int(np.searchsorted(self.stop[self.todo], b, side="right"))
        ready, self.todo = self.todo[:count], self.todo[count:]
        list(pool.map(self._gene, ready.tolist()))
        need = self.start[self.todo].min() if len(self.todo) else np.iinfo(np.int64).max
        for a in [a for a, (_, _, size) in self.kept.items() if a + size <= need]:
            del self.kept[a]

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


def residual_dosage(dosage: NDArray[np.float32], model: CisModel) -> Floats:
    """Dosages (N, M) with missing ones at their mean, residualised as `model` does; for fine-mapping."""
    x = mean_filled(dosage)
    return x - model.basis @ (model.basis.T @ x)
