"""Sums over people that linear learners need instead of the people: of products of dosages, covariates and outcomes.

Sums add over blocks of people, machines and cohorts, and are subtracted to leave people out: a training fold is the
whole less what it holds out. Of hard calls they are whole numbers below 2^53, so that neither loses a digit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg.blas import dsyrk, ssyrk

from genopred.errors import GenopredError

Floats = NDArray[np.float64]

#: People whose dosages are multiplied at once.
BLOCK = 4096
#: Fewer people than this, and what is learned from people themselves is as fast (`benchmarks/growth.py`).
MANY = 1_000


def sums_suffice(n: int, m: int) -> bool:
    """Whether n people with m variants are learned from by their sums: they are many, and more than the variants.

    The one rule of where the (N, N) relationship between people gives way to the (M, M) products of variants.

    >>> sums_suffice(358, 2000), sums_suffice(3000, 2000), sums_suffice(358, 200)
    (False, True, False)
    """
    return n >= max(m, MANY)


class Weights(NamedTuple):
    """A linear model: weights of one ALT copy, shape (M,), and what they start from."""

    coef: Floats
    intercept: float


@dataclass(frozen=True)
class Moments:
    """Sums over n people of products of M dosages, K covariates and T outcomes.

    A missing dosage counts as 0 in all sums; which ones are missing is known to the sums of `holes`.

    Attributes
    ----------
    n : int
        People.
    gram : array, shape (M, M)
        Of dosage times dosage.
    sums : array, shape (M,)
        Of dosages.
    cross : array, shape (M, K + T)
        Of dosage times covariate, then of dosage times outcome.
    square : array, shape (K + T, K + T)
        Of covariates and outcomes with each other.
    totals : array, shape (K + T,)
        Of covariates and outcomes.
    covariates : int
        K.
    holes : array of int, shape (H,)
        Variants that somebody lacks, ascending.
    known : array, shape (H,)
        How many people have each of them.
    known_gram : array, shape (H, M)
        Sums of all dosages over the people who have that variant.
    known_both : array, shape (H, H)
        How many people have both.
    known_cross : array, shape (H, K + T)
        Sums of covariates and outcomes over the people who have that variant.

    Examples
    --------
    >>> x = np.array([[0, 1], [1, 1], [2, 0]])
    >>> a, b = Moments.of(x[:2], [1.0, 2.0]), Moments.of(x[2:], [4.0])
    >>> whole = Moments.of(x, [1.0, 2.0, 4.0])
    >>> (a + b).gram.tolist() == whole.gram.tolist(), (whole - b).n
    (True, 2)
    """

    n: int
    gram: Floats
    sums: Floats
    cross: Floats
    square: Floats
    totals: Floats
    covariates: int
    holes: NDArray[np.int64]
    known: Floats
    known_gram: Floats
    known_both: Floats
    known_cross: Floats

    # --- made from people ------------------------------------------------------------------------------------------

    @classmethod
    def of(cls, dosage: ArrayLike, outcomes: ArrayLike, covariates: ArrayLike | None = None) -> Moments:
        """Sums of people at hand.

        Parameters
        ----------
        dosage : array, shape (N, M)
            NaN where missing.
        outcomes : array, shape (N,) or (N, T)
        covariates : array, shape (N, K), optional

        Raises
        ------
        GenopredError
            If shapes do not fit, or outcomes or covariates are not finite.
        """
        x = np.asarray(dosage)
        others, k = _others(len(x), outcomes, covariates)
        adding = Adding(x.shape[1] if x.ndim == 2 else -1, others.shape[1], k)
        for start in range(0, len(x), BLOCK):
            adding.add(x[start : start + BLOCK], others[start : start + BLOCK])
        return adding.moments()

    @property
    def m(self) -> int:
        """M."""
        return len(self.sums)

    @property
    def outcomes(self) -> int:
        """T."""
        return len(self.totals) - self.covariates

    @property
    def counts(self) -> Floats:
        """How many people have each variant, shape (M,)."""
        out = np.full(self.m, float(self.n))
        out[self.holes] = self.known
        return out

    @property
    def mean(self) -> Floats:
        """Mean dosage of each variant over the people who have it, 0 where nobody does; shape (M,)."""
        return self.sums / np.maximum(self.counts, 1.0)

    @property
    def variance(self) -> Floats:
        """Variance (divided by n) of each variant over the people who have it, shape (M,)."""
        return np.maximum(np.diag(self.gram) / np.maximum(self.counts, 1.0) - self.mean**2, 0.0)

    # --- added and subtracted --------------------------------------------------------------------------------------

    def __add__(self, other: Moments) -> Moments:
        return self._joined(other, 1)

    def __sub__(self, other: Moments) -> Moments:
        if other.n > self.n:
            raise GenopredError(f"moments of {other.n} people cannot be taken out of those of {self.n}.")
        return self._joined(other, -1)

    def _joined(self, other: Moments, sign: int) -> Moments:
        if (self.m, self.covariates, self.outcomes) != (other.m, other.covariates, other.outcomes):
            raise GenopredError(
                f"moments of {self.m} variants, {self.covariates} covariates and {self.outcomes} outcomes do not add "
                f"to those of {other.m}, {other.covariates} and {other.outcomes}."
            )
        holes = np.union1d(self.holes, other.holes)
        a, b = self._with_holes(holes), other._with_holes(holes)
        summed = {
            name: getattr(a, name) + sign * getattr(b, name)
            for name in ("n", "gram", "sums", "cross", "square", "totals", "known", "known_gram", "known_both",
                         "known_cross")
        }  # fmt: skip
        out = replace(a, **summed)
        # whoever lacked a variant may be gone
        return out._of_holes(np.flatnonzero(out.known < out.n)) if len(holes) else out

    def _with_holes(self, holes: NDArray[np.int64]) -> Moments:
        """The same with rows for more variants among `holes`: everybody has those that were not."""
        if len(holes) == len(self.holes):
            return self
        old = np.searchsorted(holes, self.holes)
        known, gram = self.counts[holes], np.repeat(self.sums[None], len(holes), 0)
        cross = np.repeat(self.totals[None], len(holes), 0)
        both = np.minimum(known[:, None], known)
        gram[old], cross[old], both[np.ix_(old, old)] = self.known_gram, self.known_cross, self.known_both
        return replace(self, holes=holes, known=known, known_gram=gram, known_both=both, known_cross=cross)

    def _of_holes(self, which: NDArray[np.int64]) -> Moments:
        """The same with only some of the variants among `holes`."""
        if len(which) == len(self.holes):
            return self
        return replace(
            self,
            holes=self.holes[which],
            known=self.known[which],
            known_gram=self.known_gram[which],
            known_both=self.known_both[np.ix_(which, which)],
            known_cross=self.known_cross[which],
        )

    # --- of other variants, alleles, outcomes ------------------------------------------------------------------------

    def select(self, variants: ArrayLike) -> Moments:
        """The same of some variants: indices, in the order wanted, or a mask."""
        picked = np.asarray(variants)
        index = np.flatnonzero(picked) if picked.dtype == bool else picked.astype(np.int64)
        place = np.full(self.m, -1)
        place[self.holes] = np.arange(len(self.holes))
        old = place[index]
        rows = old[old >= 0]
        return replace(
            self,
            gram=self.gram[np.ix_(index, index)],
            sums=self.sums[index],
            cross=self.cross[index],
            holes=np.flatnonzero(old >= 0),
            known=self.known[rows],
            known_gram=self.known_gram[np.ix_(rows, index)],
            known_both=self.known_both[np.ix_(rows, rows)],
            known_cross=self.known_cross[rows],
        )

    def flipped(self, which: ArrayLike) -> Moments:
        """The same with the other allele counted where `which` (M,) is True: 2 - x in place of x."""
        flip = np.asarray(which, dtype=bool)
        if not flip.any():
            return self
        sign, shift = np.where(flip, -1.0, 1.0), np.where(flip, 2.0, 0.0)
        counts = self.counts
        # of a person: (shift + sign x) where x is known, 0 elsewhere
        of_known = self._known_sums()
        part = sign[:, None] * of_known.T * shift
        both = np.minimum(counts[:, None], counts)
        both[np.ix_(self.holes, self.holes)] = self.known_both
        gram = self.gram * np.outer(sign, sign) + part + part.T + np.outer(shift, shift) * both
        known_cross = np.repeat(self.totals[None], self.m, 0)
        known_cross[self.holes] = self.known_cross
        held = both[self.holes]
        return replace(
            self,
            gram=gram,
            sums=sign * self.sums + shift * counts,
            cross=sign[:, None] * self.cross + shift[:, None] * known_cross,
            known_gram=self.known_gram * sign + shift * held,
        )

    def _known_sums(self) -> Floats:
        """Row j: sums of all dosages over the people who have variant j, shape (M, M)."""
        out = np.repeat(self.sums[None], self.m, 0)
        out[self.holes] = self.known_gram
        return out

    def filled(self, means: ArrayLike | None = None) -> Moments:
        """The same with missing dosages at given values (M,), by default at the variant's mean here: without holes."""
        if not len(self.holes):
            return self
        fill = np.zeros(self.m)
        fill[self.holes] = (self.mean if means is None else np.asarray(means, dtype=np.float64))[self.holes]
        lacking = self.n - self.counts
        h = self.holes
        # what others have where a variant is missing: x_l over the people who lack j
        others = np.zeros((self.m, self.m))
        others[h] = fill[h, None] * (self.sums - self.known_gram)
        missing_both = np.zeros((self.m, self.m))
        missing_both[np.ix_(h, h)] = self.n - self.known[:, None] - self.known + self.known_both
        cross = self.cross.copy()
        cross[h] += fill[h, None] * (self.totals - self.known_cross)
        gram = self.gram + others + others.T + np.outer(fill, fill) * missing_both
        none = np.empty(0)
        return replace(
            self,
            gram=gram,
            sums=self.sums + lacking * fill,
            cross=cross,
            holes=np.empty(0, dtype=np.int64),
            known=none,
            known_gram=np.empty((0, self.m)),
            known_both=np.empty((0, 0)),
            known_cross=np.empty((0, len(self.totals))),
        )

    def with_outcome(self, outcome: int) -> Moments:
        """The same with the covariates and one of the outcomes."""
        return self._of_others([*range(self.covariates), self.covariates + outcome], self.covariates)

    def _of_others(self, columns: Sequence[int], covariates: int) -> Moments:
        index = list(columns)
        return replace(
            self,
            cross=self.cross[:, index],
            square=self.square[np.ix_(index, index)],
            totals=self.totals[index],
            covariates=covariates,
            known_cross=self.known_cross[:, index],
        )

    def residualised(self, coef: ArrayLike | None = None) -> Moments:
        """The same with covariates taken out of the outcomes, and no covariates (Frisch-Waugh).

        Parameters
        ----------
        coef : array, shape (K + 1, T), optional
            Intercept and covariates' coefficients, as `covariate_coef` of the training people; by default of these.

        Notes
        -----
        Dosages stay as they are, as in PrediXcan and FUSION: the outcome of the models is what covariates leave.
        """
        k = self.covariates
        b = self.covariate_coef() if coef is None else np.asarray(coef, dtype=np.float64)
        start, slope = b[0], b[1:]
        # of a person: y - start - c slope; everything below is that, multiplied out
        cross = self.cross[:, k:] - np.outer(self.sums, start) - self.cross[:, :k] @ slope
        totals = self.totals[k:] - self.n * start - self.totals[:k] @ slope
        design = np.empty((k + 1, k + 1))
        design[0, 0], design[0, 1:], design[1:, 0] = self.n, self.totals[:k], self.totals[:k]
        design[1:, 1:] = self.square[:k, :k]
        with_y = np.vstack([self.totals[k:], self.square[:k, k:]])
        square = self.square[k:, k:] - with_y.T @ b - b.T @ with_y + b.T @ design @ b
        known_cross = self.known_cross[:, k:] - np.outer(self.known, start) - self.known_cross[:, :k] @ slope
        return replace(self, cross=cross, totals=totals, square=square, covariates=0, known_cross=known_cross)

    def covariate_coef(self) -> Floats:
        """Least squares of the outcomes on intercept and covariates, shape (K + 1, T); minimum norm where collinear."""
        k = self.covariates
        mean = self.totals[:k] / self.n
        inner = self.square[:k, :k] - self.n * np.outer(mean, mean)
        outer = self.square[:k, k:] - np.outer(mean, self.totals[k:])
        scale = np.sqrt(np.maximum(np.diag(inner), 0.0))
        # what does not vary leaves rounding alone
        varies = scale > 1e-7 * np.sqrt(np.maximum(np.diag(self.square)[:k], 1e-300))
        slope = np.zeros((k, self.outcomes))
        if varies.any():
            s = scale[varies]
            part = inner[np.ix_(varies, varies)] / np.outer(s, s)
            # in sums of squares a collinearity of 1e-10 is one of 1e-20
            slope[varies] = (np.linalg.pinv(part, rcond=1e-12, hermitian=True) @ (outer[varies] / s[:, None])) / s[
                :, None
            ]
        start = (self.totals[k:] - self.totals[:k] @ slope) / self.n
        return np.vstack([start, slope])

    def scaled_outcomes(self, mean: ArrayLike, scale: ArrayLike) -> Moments:
        """The same with each outcome minus `mean` (T,) and divided by `scale` (T,)."""
        k = self.covariates
        m, s = np.zeros(len(self.totals)), np.ones(len(self.totals))
        m[k:], s[k:] = mean, scale
        totals = self.totals - self.n * m
        square = self.square - np.outer(self.totals, m) - np.outer(m, self.totals) + self.n * np.outer(m, m)
        return replace(
            self,
            cross=(self.cross - np.outer(self.sums, m)) / s,
            totals=totals / s,
            square=square / np.outer(s, s),
            known_cross=(self.known_cross - np.outer(self.known, m)) / s,
        )

    # --- what learners read ----------------------------------------------------------------------------------------

    def centred(self, outcome: int = 0) -> Centred:
        """Products around the means of these people."""
        return self.around(self.sums / max(self.n, 1), self.totals[self.covariates + outcome] / max(self.n, 1), outcome)

    def around(self, mean: ArrayLike, y_mean: float, outcome: int = 0, columns: ArrayLike | None = None) -> Centred:
        """Products around given means: of people kept aside, around those of the training people.

        Parameters
        ----------
        mean : array, shape (M,)
        y_mean : float
        outcome : int
        columns : array of int, optional
            Of these variants alone.
        """
        if len(self.holes):
            raise GenopredError(f"{len(self.holes)} variants have missing dosages; fill them first (Moments.filled).")
        m = np.asarray(mean, dtype=np.float64)
        y = self.covariates + outcome
        gram, sums, cross = self.gram, self.sums, self.cross[:, y]
        if columns is not None:
            index = np.asarray(columns)
            gram, sums, cross, m = gram[np.ix_(index, index)], sums[index], cross[index], m[index]
        total = float(self.totals[y])
        away = sums - self.n * m
        made = gram - np.outer(m, sums)
        made -= np.outer(away, m)
        made_cross = cross - y_mean * sums - m * (total - self.n * y_mean)
        square = float(self.square[y, y]) - 2 * y_mean * total + self.n * y_mean**2
        return Centred(self.n, m, made, float(y_mean), made_cross, max(square, 0.0))


@dataclass(frozen=True)
class Centred:
    """Products of n people's dosages and one outcome, each minus a mean.

    Attributes
    ----------
    n : int
    mean : array, shape (M,)
    gram : array, shape (M, M)
        Sums of products of dosages minus their means.
    y_mean : float
    cross : array, shape (M,)
        Sums of dosage minus mean times outcome minus mean.
    square : float
        Sum of squares of outcome minus mean.
    """

    n: int
    mean: Floats
    gram: Floats
    y_mean: float
    cross: Floats
    square: float

    def scale(self) -> Floats:
        """Standard deviation (divided by n) of each variant, shape (M,); 0 where it does not vary."""
        variance = np.maximum(np.diag(self.gram), 0.0) / max(self.n, 1)
        return np.sqrt(np.where(variance > 1e-10 * (self.mean**2 + variance), variance, 0.0))

    def squared_error(self, coef: Floats) -> Floats:
        """Sum over these people of (outcome - prediction)² by weights (M,) or (M, C) that act around these means."""
        inside = np.einsum("j...,j...->...", coef, self.gram @ coef)
        return np.asarray(self.square - 2 * (self.cross @ coef) + inside)


class Adding:
    """Moments in the making: blocks of people are added one by one.

    Parameters
    ----------
    m : int
        Variants.
    others : int
        Covariates and outcomes together.
    covariates : int
        How many of them are covariates; these come first.
    """

    def __init__(self, m: int, others: int, covariates: int = 0) -> None:
        self.n, self.covariates = 0, covariates
        self.gram = np.zeros((m, m), order="F")
        self.sums, self.cross = np.zeros(m), np.zeros((m, others))
        self.square, self.totals = np.zeros((others, others)), np.zeros(others)
        self.lacks = np.zeros(m, dtype=bool)
        self._holes: dict[str, Floats] = {}

    def add(self, dosage: NDArray[Any], others: Floats) -> None:
        """One block: dosages (n, M), NaN where missing, and covariates and outcomes (n, K + T)."""
        m = len(self.sums)
        if dosage.ndim != 2 or dosage.shape[1] != m or others.shape != (len(dosage), len(self.totals)):
            raise GenopredError(
                f"moments: dosage has shape {dosage.shape}, the rest {others.shape}; needed are (N, {m}) and "
                f"(N, {len(self.totals)})."
            )
        x = np.ascontiguousarray(dosage)
        x = x if x.dtype == np.float32 else x.astype(np.float64)
        missing = np.isnan(x)
        if missing.any():
            x = np.where(missing, x.dtype.type(0), x)
            self._add_holes(x, missing, others)
        elif self.lacks.any():
            self._add_holes(x, missing, others)
        exact = bool((x == np.rint(x)).all()) and float(np.abs(x).max(initial=0.0)) ** 2 * len(x) < 2**24
        # products of whole numbers are exact in single precision while they stay below 2^24
        wide = x.astype(np.float64)
        part = ssyrk(1.0, x.astype(np.float32).T) if exact else dsyrk(1.0, wide.T)
        self.gram += part
        self.sums += wide.sum(axis=0)
        self.cross += wide.T @ others
        self.square += others.T @ others
        self.totals += others.sum(axis=0)
        self.n += len(x)

    def _add_holes(self, x: NDArray[Any], missing: NDArray[np.bool_], others: Floats) -> None:
        new = missing.any(axis=0) & ~self.lacks
        lacks = self.lacks | new
        holes = np.flatnonzero(lacks)
        m, z = len(self.sums), len(self.totals)
        made = {
            "known": np.full(len(holes), float(self.n)),
            "known_gram": np.repeat(self.sums[None], len(holes), 0),
            "known_both": np.full((len(holes), len(holes)), float(self.n)),
            "known_cross": np.repeat(self.totals[None], len(holes), 0),
        }
        old = np.searchsorted(holes, np.flatnonzero(self.lacks))
        if len(old):
            known = self._holes["known"]
            made["known"][old], made["known_gram"][old] = known, self._holes["known_gram"]
            made["known_cross"][old] = self._holes["known_cross"]
            made["known_both"][old], made["known_both"][:, old] = known[:, None], known
            made["known_both"][np.ix_(old, old)] = self._holes["known_both"]
        has = (~missing[:, holes]).astype(np.float64)
        wide = x.astype(np.float64)
        made["known"] += has.sum(axis=0)
        made["known_gram"] += (has.T @ wide).reshape(len(holes), m)
        made["known_both"] += has.T @ has
        made["known_cross"] += (has.T @ others).reshape(len(holes), z)
        self._holes, self.lacks = made, lacks

    def moments(self) -> Moments:
        """What was added so far."""
        upper = np.triu(self.gram, 1)
        gram = np.ascontiguousarray(upper + upper.T)
        gram[np.diag_indices(len(gram))] = np.diag(self.gram)
        m, z = len(self.sums), len(self.totals)
        none = {"known": (0,), "known_gram": (0, m), "known_both": (0, 0), "known_cross": (0, z)}
        held = self._holes or {name: np.zeros(shape) for name, shape in none.items()}
        return Moments(
            self.n, gram, self.sums.copy(), self.cross.copy(), self.square.copy(), self.totals.copy(),
            self.covariates, np.flatnonzero(self.lacks), **held,
        )  # fmt: skip


def total(parts: Iterable[Moments]) -> Moments:
    """The sum of moments of different people.

    >>> total([Moments.of([[1.0]], [1.0]), Moments.of([[2.0]], [0.0])]).n
    2
    """
    found = list(parts)
    if not found:
        raise GenopredError("moments: there is nothing to add.")
    out = found[0]
    for one in found[1:]:
        out = out + one
    return out


def _others(n: int, outcomes: ArrayLike, covariates: ArrayLike | None) -> tuple[Floats, int]:
    """Covariates and outcomes side by side, (N, K + T), and K."""
    y = np.asarray(outcomes, dtype=np.float64)
    y = y[:, None] if y.ndim == 1 else y
    c = np.empty((n, 0)) if covariates is None else np.asarray(covariates, dtype=np.float64)
    c = c[:, None] if c.ndim == 1 else c
    if y.ndim != 2 or len(y) != n or c.ndim != 2 or len(c) != n:
        raise GenopredError(f"moments: outcomes {y.shape} and covariates {c.shape} do not fit {n} people.")
    both = np.hstack([c, y])
    if not np.isfinite(both).all():
        raise GenopredError("moments: covariates or outcomes are NaN or infinite; drop these people first.")
    return both, c.shape[1]
