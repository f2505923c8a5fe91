"""Seqlets: short stretches of high contributions, and how often shuffled sequence has one as strong.

Candidates are those of tangermeme's recursive algorithm, whose own p-values only rank. Here a seqlet's p-value is the
chance that a shuffle of the window has any seqlet so strong: under the null that the window is one more shuffle of
itself, p <= a in at most a share a of windows, whatever the model and however many seqlets a window has.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from genopred.attribution.target import package

Floats = NDArray[np.float64]

#: Offsets into what was given, half-open; the sum of contributions; p and q, null without controls.
SEQLET_SCHEMA = {
    "example": pl.Int64, "start": pl.Int64, "end": pl.Int64, "attribution": pl.Float64, "p": pl.Float64,
    "q": pl.Float64,
}  # fmt: skip


def find_seqlets(
    contributions: Floats, controls: Floats, *, threshold: float = 0.01, shortest: int = 4, longest: int = 25
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Seqlets of some sequences of one window, and those of its controls.

    Parameters
    ----------
    contributions : array, shape (N, L)
        Of the bases that are there: the window, or its haplotypes.
    controls : array, shape (C, L)
        The same of shuffles of the window, made in the same way; may be none.
    threshold : float
        Of tangermeme's ranking: how unusual all parts of a candidate must be among all bases given.
    shortest, longest : int
        Bases.

    Returns
    -------
    seqlets, of_controls : polars.DataFrame
        Columns of `SEQLET_SCHEMA`; strongest first. `p` is (1 + controls with a seqlet as strong) / (1 + C), `q` the
        expected number of seqlets as strong in a shuffle over the number found (target and decoy). Those of a control
        have their p among the other controls.
    """
    n, c = len(contributions), len(controls)
    every = np.concatenate([contributions, controls.reshape(c, -1)]) if c else contributions
    found = _signed(every, threshold, shortest, longest)
    own, other = found.filter(pl.col("example") < n), found.filter(pl.col("example") >= n)
    other = other.with_columns(pl.col("example") - n)
    parts = [_with_chance(own.filter(pl.col("example") == i), other, c) for i in range(n)]
    table = pl.concat(parts) if parts else own
    best = _strongest(other, c)
    again = [float((best >= size).sum() / (1 + c)) for size in other["attribution"].abs()]  # itself is one of them
    other = other.with_columns(p=pl.Series(again, dtype=pl.Float64), q=pl.lit(None, pl.Float64))
    return table.select(list(SEQLET_SCHEMA)), other.select(list(SEQLET_SCHEMA))


def _signed(values: Floats, threshold: float, shortest: int, longest: int) -> pl.DataFrame:
    """Positive seqlets, and negative ones that overlap none."""
    recursive = package("tangermeme.seqlet").recursive_seqlets
    rows: list[tuple[int, int, int, float]] = []
    taken = np.zeros(values.shape, dtype=bool)
    for sign in (1.0, -1.0):
        table = recursive(sign * values, threshold=threshold, min_seqlet_len=shortest, max_seqlet_len=longest)
        for example, start, end in table.iloc[:, :3].itertuples(index=False):
            if not taken[example, start:end].any():
                taken[example, start:end] = True
                rows.append((int(example), int(start), int(end), float(values[example, start:end].sum())))
    kinds = {name: SEQLET_SCHEMA[name] for name in ("example", "start", "end", "attribution")}
    return pl.DataFrame(rows, schema=kinds, orient="row").sort(pl.col("attribution").abs(), descending=True)


def _strongest(controls: pl.DataFrame, c: int) -> Floats:
    """The strength of each control's strongest seqlet; 0 where it has none."""
    best = np.zeros(c)
    np.maximum.at(best, controls["example"].to_numpy(), controls["attribution"].abs().to_numpy())
    return best


def _with_chance(own: pl.DataFrame, other: pl.DataFrame, c: int) -> pl.DataFrame:
    """p and q of the seqlets of one sequence, from those of so many controls."""
    if not c or not own.height:
        return own.with_columns(p=pl.lit(None, pl.Float64), q=pl.lit(None, pl.Float64))
    strength = own["attribution"].abs().to_numpy()  # strongest first
    best = _strongest(other, c)
    p = (1 + (best[None] >= strength[:, None]).sum(axis=1)) / (1 + c)
    many = np.sort(other["attribution"].abs().to_numpy())
    expected = (1 + len(many) - np.searchsorted(many, strength)) / c
    q = np.minimum.accumulate((expected / np.arange(1, len(strength) + 1))[::-1])[::-1]
    return own.with_columns(p=pl.Series(p), q=pl.Series(np.minimum(q, 1.0)))
