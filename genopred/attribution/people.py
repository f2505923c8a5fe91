"""Why two people's predictions differ: the difference shared out among the bases at which their sequences do."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from genopred.attribution.methods import integrated_gradients
from genopred.attribution.target import GroupValues
from genopred.errors import GenopredError
from genopred.sequence.haplotypes import PersonalSequences, VariantWindow

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """One person's prediction minus another's, each the mean of their two sequences, of G track groups.

    `path` and `alone` are of the V sites at which the two differ.
    """

    #: Values, (G,).
    value: Floats
    against: Floats
    #: Which of the sequences' sites, (V,).
    sites: NDArray[np.int64]
    #: Copies of the site's ALT that the one has more than the other, (V,).
    copies: NDArray[np.int64]
    #: Contributions along the straight path from the other's sequences to the one's, (V, G): they add up.
    path: Floats = field(repr=False)
    #: Of each site by itself, all else as in the other's sequences, (V, G): they need not add up.
    alone: Floats = field(repr=False)

    @property
    def residual(self) -> Floats:
        """What the path's contributions miss of the difference, (G,)."""
        return (self.value - self.against) - self.path.sum(axis=0)


def explain_difference(
    values: GroupValues, sequences: PersonalSequences, person: str, against: str, *,
    steps: int = 20, batch_size: int | None = None,
) -> Difference:  # fmt: skip
    """Share out the difference between two people's predictions.

    Parameters
    ----------
    values : GroupValues
        What is predicted.
    sequences : PersonalSequences
        Among others of both; two sequences each. `with_reference` adds one called `reference`.
    person, against : str
    steps : int
        Of the path (integrated gradients, Gauss-Legendre): the first sequence of the one to the first of the other, the
        second to the second.
    batch_size : int, optional

    Returns
    -------
    Difference
        Exchanging the two changes the sign of differences and paths, up to rounding.

    Raises
    ------
    GenopredError
        If one of them is not among the sequences, or has not two.
    """
    one, other = _rows(sequences, person), _rows(sequences, against)
    every = sequences.window
    mine, theirs = every.alleles[one].astype(np.int64), every.alleles[other].astype(np.int64)
    differ = np.flatnonzero((mine != theirs).any(axis=0))
    at = (sequences.sites[differ], every.ref_codes[differ], every.alt_codes[differ])
    ends, starts = every.onehot(one), every.onehot(other)
    value, low = values.of(ends, batch_size), values.of(starts, batch_size)  # (2, G)
    more = (mine - theirs)[:, differ]  # (2, V): 1, 0, -1
    path, alone = np.zeros((2, len(differ), len(values.names)))
    if len(differ):
        m = integrated_gradients(values, ends, starts[:, None], steps, batch_size or values.batch)[:, :, 0]
        slope = m[:, :, at[0], at[2]] - m[:, :, at[0], at[1]]  # (G, 2, V)
        path = (slope * more).mean(axis=1).T
        for h in range(2):
            which = np.flatnonzero(more[h])
            if len(which):
                changed = np.repeat(every.alleles[other[h]][None], len(which), axis=0)
                changed[np.arange(len(which)), differ[which]] = mine[h, differ[which]]
                each = replace(every, alleles=changed)
                alone[which] += (_in_parts(values, each, batch_size) - low[h]) / 2
    return Difference(value.mean(axis=0), low.mean(axis=0), differ, more.sum(axis=0), path, alone)


def _rows(sequences: PersonalSequences, person: str) -> NDArray[np.int64]:
    found = np.flatnonzero(sequences.samples == person)
    if len(found) != 1 or sequences.ploidy != 2 or sequences.whole is not None:
        raise GenopredError(
            f"{person}: {len(found)} people of that name, {sequences.ploidy} sequences each; needed one with two "
            "sequences, of substitutions alone."
        )
    return 2 * found[0] + np.arange(2)


def _in_parts(values: GroupValues, window: VariantWindow, batch_size: int | None) -> Floats:
    """Values (H, G) of all sequences of a window, some at a time."""
    step, n = batch_size or values.batch, len(window.alleles)
    return np.concatenate([values.of(window.onehot(np.arange(i, min(i + step, n))), step) for i in range(0, n, step)])
