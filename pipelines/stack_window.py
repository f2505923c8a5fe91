"""The window of a gene as base learners get it: dosages in memory, or read in blocks where people are many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genopred import align
from genopred.genetics.moments import MANY, sums_suffice
from genopred.learning.budget import MOST, plan
from genopred.learning.streamed import Blocks
from genopred.settings import Stack
from genopred.types import Genotypes, Note


@dataclass(frozen=True)
class Window:
    """A gene's variants that are used.

    Attributes
    ----------
    values : array, shape (N, M), or Blocks
        Dosages, NaN where missing.
    use : array of bool
        Which variants of the window they are.
    notes : tuple of Note
        What is wrong with the others.
    at_once : int
        Outer folds whose sums are in memory at a time, of blocks.
    """

    values: NDArray[np.float32] | Blocks
    use: NDArray[np.bool_]
    notes: tuple[Note, ...]
    at_once: int = 1


def open_window(settings: Stack, genotypes: Genotypes, fewest: int, outer: int, inner: int) -> Window:
    """Read a window, or look through it, as the number of people who are learned from says.

    Parameters
    ----------
    settings : Stack
    genotypes : Genotypes
        Of the cis window.
    fewest : int
        People of the smallest training set.
    outer, inner : int
        Folds.
    """
    n, everything = genotypes.n_samples, genotypes.n_variants
    if fewest < MANY or not everything:
        dosage = genotypes.dosage()
        use, notes = align.usable_variants(dosage, genotypes.variants, maf=settings.maf)
        return Window(np.ascontiguousarray(dosage[:, use]), use, notes)
    sums = np.zeros((3, everything))
    for _, x in genotypes.blocks(MOST // 4):
        known = ~np.isnan(x)
        filled = np.where(known, x, 0).astype(np.float64)
        sums += [known.sum(axis=0), filled.sum(axis=0), np.einsum("ij,ij->j", filled, filled)]
    known_n, total, squares = sums
    use, notes = align.usable_by_sums(known_n, total, squares, genotypes.variants, maf=settings.maf)
    chosen = genotypes.select(variants=use)
    if not sums_suffice(fewest, max(chosen.n_variants, 1)):
        return Window(chosen.dosage(), use, notes)
    holes = int((known_n[use] < n).sum())
    room = plan(settings.memory, n, chosen.n_variants, outer, inner, holes=holes)
    return Window(Blocks(chosen, room.block), use, notes, room.folds_at_once)
