"""Do two rankings of SNPs pick the same SNPs? Their overlap at k, and what chance expects if SNPs came singly.

Neighbours share LD, and often a regulatory element, so they come in runs in both rankings. The hypergeometric test,
which takes every SNP as drawn by itself, sees surprises where there are none; see `nulls`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from genopred.errors import GenopredError, examples
from genopred.genetics.loci import standardised

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Rankings:
    """Two scores of the same M SNPs, in the order of group and position. Made by `rankings`; arrays are (M,)."""

    a: Floats  # larger is better
    b: Floats
    rank_a: Ints  # from 0, best first, within each group; ties in random order
    rank_b: Ints
    group: Ints  # 0, 1, ...: SNPs of one gene (or chromosome); nothing moves between groups
    pos: Ints
    block: Ints | None  # LD blocks, numbered along the rows
    row: Ints  # which row of the input each SNP was
    tied_a: int  # SNPs that share their score with another one of their group
    tied_b: int
    dosage: NDArray[np.float32] | None = field(default=None, repr=False)  # (N, M), standardised, for "phenotype"
    lead_z: Floats | None = field(default=None, repr=False)  # (groups,): largest |z| of ranking b, for the same

    @property
    def n(self) -> int:
        """M."""
        return len(self.a)

    @property
    def sizes(self) -> Ints:
        """SNPs of each group."""
        return np.bincount(self.group)


def rankings(
    a: ArrayLike,
    b: ArrayLike,
    *,
    pos: ArrayLike | None = None,
    group: ArrayLike | None = None,
    block: ArrayLike | None = None,
    dosage: ArrayLike | None = None,
    z_b: ArrayLike | None = None,
    seed: int = 1,
    names: tuple[str, str] = ("a", "b"),
) -> Rankings:
    """Rank the same SNPs by two scores.

    Parameters
    ----------
    a, b : array, shape (M,)
        Scores, larger is better: -log10 p, |effect|. No missing values.
    pos : array, shape (M,), optional
        Positions; by default the rows are taken as sorted along the chromosome.
    group : array, shape (M,), optional
        Gene or chromosome of each SNP; SNPs are ranked within it.
    block : array, shape (M,), optional
        LD block of each SNP, e.g. from `ld_blocks`.
    dosage : array, shape (N, M), optional
        Genotypes, for the null "phenotype"; NaN where missing.
    z_b : array, shape (M,), optional
        |z| of ranking b, which says how strong the made-up signal must be; noise without it.
    seed : int
        Of the order of ties.
    names : (str, str)
        What to call the scores in messages.

    Returns
    -------
    Rankings

    Raises
    ------
    GenopredError
        If shapes do not fit, a score is missing, there are fewer than two SNPs, or all scores are equal.

    Examples
    --------
    >>> r = rankings([0.1, 0.9, 0.5], [1.0, 3.0, 2.0])
    >>> r.rank_a.tolist(), shared_at(r, 2)
    ([2, 0, 1], 2)
    """
    scores = [np.asarray(x, dtype=np.float64) for x in (a, b)]
    m = len(scores[0])
    for x, name in zip(scores, names):
        if x.shape != (m,):
            raise GenopredError(f"rankings: {name} has shape {x.shape}; both scores need one entry a SNP ({m}).")
        if m < 2:
            raise GenopredError(f"rankings: {m} SNPs; at least 2 are needed to rank them.")
        gone = np.flatnonzero(~np.isfinite(x))
        if gone.size:
            raise GenopredError(
                f"rankings: {gone.size} of {m} SNPs have no finite {name} (rows {examples(gone.tolist())}); leave them "
                "out first."
            )
        if np.ptp(x) == 0:
            raise GenopredError(
                f"rankings: all {m} SNPs have the same {name} ({x[0]:g}), so it ranks nothing; check that the right "
                "column was named, and that the model saw both alleles."
            )
    where = np.arange(m) if pos is None else np.asarray(pos, dtype=np.int64)
    code = np.zeros(m, dtype=np.int64) if group is None else codes(group)
    label = None if block is None else np.asarray(block)
    shapes = {"pos": where.shape, "group": code.shape, "block": (m,) if label is None else label.shape}
    for name, shape in shapes.items():
        if shape != (m,):
            raise GenopredError(f"rankings: {name} has shape {shape}; one entry a SNP ({m}) is needed.")
    order = np.lexsort((where, code)).astype(np.int64)
    x, y, code, where = scores[0][order], scores[1][order], code[order], where[order]
    rng = np.random.default_rng(seed)
    rank_x, rank_y = ranks_within(x, code, rng), ranks_within(y, code, rng)
    # A block ends where its label or the group changes; labels that come back start a new block.
    blocks = None if label is None else runs(label[order], code)
    people = lead = None
    if dosage is not None:
        g = np.asarray(dosage)
        if g.ndim != 2 or g.shape[1] != m:
            raise GenopredError(f"rankings: dosage has shape {g.shape}; (N, {m}) is needed.")
        people = standardised(g[:, order]).astype(np.float32)
    if z_b is not None:
        lead = np.zeros(int(code.max()) + 1)
        np.maximum.at(lead, code, np.abs(np.asarray(z_b, dtype=np.float64))[order])
    return Rankings(x, y, rank_x, rank_y, code, where, blocks, order, _tied(x, code), _tied(y, code), people, lead)


def codes(labels: ArrayLike) -> Ints:
    """0, 1, ... for each distinct label."""
    return np.asarray(np.unique(np.asarray(labels), return_inverse=True)[1], dtype=np.int64).ravel()


def runs(*columns: NDArray[Any]) -> Ints:
    """0, 1, ... for each stretch of rows that are the same in all columns."""
    new = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return np.concatenate([[0], np.cumsum(new)])


def ranks_within(score: Floats, group: Ints, rng: np.random.Generator) -> Ints:
    out = np.empty(len(score), dtype=np.int64)
    if group[-1] == 0:  # one group: several times faster, and the nulls rank thousands of times
        mixed = rng.permutation(len(score))
        out[mixed[np.argsort(-score[mixed], kind="stable")]] = np.arange(len(score))
        return out
    order = np.lexsort((rng.random(len(score)), -score, group))
    size = np.bincount(group)
    out[order] = np.arange(len(score)) - (np.cumsum(size) - size)[group[order]]
    return out


def _tied(score: Floats, group: Ints) -> int:
    order = np.lexsort((score, group))
    size = np.bincount(runs(score[order], group[order]))
    return int(size[size > 1].sum())


def shared_at(r: Rankings, k: int) -> int:
    """SNPs among the first k of their group in both rankings, summed over groups."""
    check_k(r, [k])
    return int(np.sum(np.maximum(r.rank_a, r.rank_b) < k))


def overlap_curve(r: Rankings) -> Ints:
    """Shared SNPs at every k from 1 to the size of the largest group.

    Examples
    --------
    >>> overlap_curve(rankings([3.0, 2.0, 1.0], [3.0, 1.0, 2.0])).tolist()
    [1, 1, 3]
    """
    return shared_counts(r.rank_a, r.rank_b, int(r.sizes.max()))


def shared_counts(rank_a: Ints, rank_b: Ints, length: int) -> Ints:
    return np.cumsum(np.bincount(np.maximum(rank_a, rank_b), minlength=length))


def expected_curve(r: Rankings) -> Floats:
    """Overlap that chance expects at every k, if SNPs were drawn singly: the sum over groups of k² / M."""
    k = np.arange(1, int(r.sizes.max()) + 1)
    sizes = r.sizes[:, None]
    return np.asarray((np.minimum(k, sizes) ** 2 / sizes).sum(axis=0))


def hypergeometric(r: Rankings, k: int, *, level: float = 0.95) -> tuple[float, tuple[int, int]]:
    """P-value of at least the observed overlap at k, and the central interval, if SNPs were drawn singly.

    With several groups their hypergeometric distributions are convolved.

    Examples
    --------
    >>> r = rankings(np.arange(20.0), np.arange(20.0))
    >>> p, bounds = hypergeometric(r, 5)
    >>> round(p, 8), bounds
    (6.45e-05, (0, 3))
    """
    check_k(r, [k])
    total = np.ones(1)
    for size, count in zip(*np.unique(r.sizes, return_counts=True)):
        depth = min(k, int(size))
        part = stats.hypergeom.pmf(np.arange(depth + 1), size, depth, depth)
        for _ in range(int(count)):
            total = np.convolve(total, part)
    shared = shared_at(r, k)
    below = np.cumsum(total)
    tail = (1 - level) / 2
    low, high = (int(x) for x in np.searchsorted(below, [tail, 1 - tail]))
    return float(min(1.0, total[shared:].sum())), (low, min(high, len(total) - 1))


def check_k(r: Rankings, ks: list[int]) -> None:
    largest = int(r.sizes.max())
    wrong = [k for k in ks if not 1 <= k <= largest]
    if wrong:
        raise GenopredError(f"overlap: k = {examples(wrong)}; it must lie between 1 and the {largest} SNPs ranked.")


def shared_loci(r: Rankings, locus: ArrayLike, k: int) -> tuple[int, int, int]:
    """How many loci hold a SNP of the first k in a, in b, and in both.

    `locus` (M,) numbers each SNP's locus, in the order of `r`; the same one in two groups is two loci.
    """
    place = np.asarray(locus, dtype=np.int64)
    names = r.group * (int(place.max()) + 1) + place
    of_a, of_b = (np.unique(names[rank < k]) for rank in (r.rank_a, r.rank_b))
    return len(of_a), len(of_b), len(np.intersect1d(of_a, of_b, assume_unique=True))


def rank_correlation(r: Rankings) -> float:
    """Spearman's rho within groups: mean over groups, weighted by their SNPs. Ties get mean ranks.

    >>> round(rank_correlation(rankings([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0])), 6)
    0.8
    """
    size = r.sizes
    half = (size[r.group] - 1) / 2
    # Without ties the ranks are there already.
    x = half - r.rank_a if r.tied_a == 0 else centred_ranks(r.a, r.group)
    y = half - r.rank_b if r.tied_b == 0 else centred_ranks(r.b, r.group)
    top = np.bincount(r.group, x * y)
    scale = np.sqrt(np.bincount(r.group, x * x) * np.bincount(r.group, y * y))
    good = scale > 0
    return float(np.average(top[good] / scale[good], weights=size[good])) if good.any() else float("nan")


def centred_ranks(x: Floats, group: Ints) -> Floats:
    """Mean ranks within groups, minus the group's mean."""
    order = np.lexsort((x, group))
    run = runs(x[order], group[order])
    size = np.bincount(run)
    rank = np.empty(len(x))
    rank[order] = (np.cumsum(size) - (size + 1) / 2)[run]
    mean = np.bincount(group, rank) / np.maximum(np.bincount(group), 1)
    return np.asarray(rank - mean[group])
