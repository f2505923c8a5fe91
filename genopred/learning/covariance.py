"""Elastic-net paths from correlations: glmnet's covariance updates, in which people appear by their sums alone.

Paths are walked to glmnet's own tolerance in single precision, which shows where the best penalties lie; there, the
weights are then solved for to the last digits, by Newton steps among the variants that have a weight.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dposv

from genopred.errors import ModelError
from genopred.genetics.leaveout import LeftOut
from genopred.genetics.moments import Moments
from genopred.learning.covariance_kernels import sweep, walk

Floats = NDArray[np.float64]

#: Squared step, as a share of the phenotype's variance, below which a solution is at rest.
RESTING = 1e-22
#: Sweeps between two Newton steps; Newton steps at most; sweeps after these.
SWEEPS, NEWTONS, LAST = 10, 100, 1000


class Penalties(NamedTuple):
    """What a path is walked for: penalties in units of the outcome, variants' factors (M,), glmnet's alpha."""

    lambdas: Floats
    factors: Floats
    mix: float


class Room:
    """Memory of one path, (M, M) twice in single precision, which one after the other may use."""

    def __init__(self, m: int) -> None:
        self.corr = np.empty((m, m), dtype=np.float32)
        self.block = np.empty((m, m), dtype=np.float32)


class SumPath:
    """One model's walk down the path of penalties.

    Parameters
    ----------
    left : LeftOut
        Its training people.
    steps : int
        The longest that the path can become.
    room : Room, optional

    Attributes
    ----------
    weights : array, shape (steps, M)
        Of standardised dosages on the standardised outcome, where the path has been.
    """

    def __init__(self, left: LeftOut, steps: int, room: Room | None = None) -> None:
        room = Room(left.m) if room is None else room
        self.left, m = left, left.m
        self._corr = left.correlations(room.corr)
        self.weights = np.zeros((steps, m))
        self._state = (
            room.block, np.zeros(m), np.zeros(m), np.zeros(m), np.zeros(m, dtype=np.int64), np.zeros(m, dtype=np.bool_),
            np.zeros(m), left.cross.copy(), np.zeros(m),
        )  # fmt: skip
        self._active, self.done = 0, 0

    def advance(self, penalties: Penalties, stop: int, tol: float) -> None:
        """Walk up to (not including) step `stop`, until no squared step exceeds `tol`."""
        if stop > self.done:
            self._active = walk(
                self._corr, self.left.cross, self._state, self._active, penalties.factors,
                penalties.lambdas / self.left.y_scale, self.done, stop, penalties.mix, tol, self.weights,
            )  # fmt: skip
            self.done = stop
            if not np.isfinite(self.weights[:stop]).all():
                raise ModelError(
                    "ElasticNet: the weights grow without bound; the LD cannot be that of any people (it has negative "
                    "eigenvalues). Shrink it towards none, or take it from people's genotypes."
                )

    def solve(self, penalties: Penalties, steps: NDArray[np.int64]) -> None:
        """Solve for the weights of some steps to the last digits."""
        where = np.asarray(steps, dtype=np.int64)
        scaled = penalties._replace(lambdas=penalties.lambdas[where] / self.left.y_scale)
        self.weights[where] = solved(self.left, self.weights[where], scaled)

    def coef(self, step: int) -> tuple[Floats, float]:
        """Effects of one allele copy, shape (M,), and the intercept."""
        coef = self.left.y_scale * self.weights[step] * self.left.inverse
        return coef, float(self.left.y_mean - self.left.mean @ coef)

    def squared_error(self, kept: Moments, steps: slice | NDArray[np.int64]) -> Floats:
        """Sum over people kept aside of (outcome - prediction)² at some steps."""
        weights = self.weights[steps]
        active = np.flatnonzero(weights.any(axis=0))
        around = kept.around(self.left.mean, self.left.y_mean, columns=active)
        return around.squared_error((self.left.y_scale * weights[:, active] * self.left.inverse[active]).T)


def solved(left: LeftOut, weights: Floats, penalties: Penalties) -> Floats:
    """Weights (C, M) at the optimum of C penalties, from those nearby; penalties here are of a standardised outcome.

    Every variant without a weight is held against its threshold in the end: the optimum is that of all.
    """
    lambdas, factors, mix = penalties
    out = weights.copy()
    near = _gradients(left, out)
    # those close to their threshold are likely to be needed
    close = np.abs(near) > 0.99 * (lambdas * mix)[:, None] * factors
    columns = np.flatnonzero((out != 0.0).any(axis=0) | close.any(axis=0))
    waiting = np.arange(len(lambdas))
    while len(waiting):
        block = left.block(columns)
        for step in waiting:
            use = np.flatnonzero((out[step, columns] != 0.0) | close[step, columns])
            part = columns[use]
            whole = len(use) == len(columns)
            inner = block if whole else np.ascontiguousarray(block[np.ix_(use, use)])
            out[step, part] = _descend(
                inner, left.cross[part], out[step, part], float(lambdas[step]), factors[part], mix
            )
        gradient = _gradients(left, out[waiting])
        above = np.abs(gradient) > (lambdas[waiting] * mix)[:, None] * factors * (1 + 1e-9) + 1e-13
        above &= ~close[waiting] & (out[waiting] == 0.0)
        close[waiting] |= above
        waiting = waiting[above.any(axis=1)]
        columns = np.union1d(columns, np.flatnonzero(above.any(axis=0)))
    return out


def _gradients(left: LeftOut, weights: Floats) -> Floats:
    """Correlation of each variant with the residual of each model, shape (C, M)."""
    active = np.flatnonzero(weights.any(axis=0))
    return left.cross - left.product(active, weights[:, active].T).T


def _descend(block: Floats, cross: Floats, start: Floats, lam: float, factors: Floats, mix: float) -> Floats:
    """The optimum among some variants, from `start`: coordinate descent settles signs, Newton steps the rest."""
    b, g = start.copy(), cross - block @ start
    newtons = 0
    while not sweep(block, b, g, factors, len(b), lam, mix, RESTING, SWEEPS if newtons < NEWTONS else LAST):
        if newtons >= NEWTONS:
            break
        newtons += 1
        step = _newton(block, b, g, lam * mix * factors, lam * (1.0 - mix) * factors)
        b += step
        # anew rather than by the step, so that rounding does not gather
        g = cross - block @ b
    return b


def _newton(block: Floats, b: Floats, g: Floats, lasso: Floats, ridge: Floats) -> Floats:
    """A step that lowers the objective: to the optimum of the present signs, or part of the way.

    Weights that would change their sign stop at zero, where that lowers the objective; else all stop with the first.
    """
    step = np.zeros(len(b))
    on = np.flatnonzero(b)
    if not len(on):
        return step
    sign, at = np.sign(b[on]), b[on]
    inner = block[np.ix_(on, on)]
    slope = g[on] - lasso[on] * sign - ridge[on] * at
    curved = inner.copy()
    # copies of one variant without a ridge leave the curvature singular
    curved[np.diag_indices(len(on))] += ridge[on] + 1e-12
    _, move, failed = dposv(curved, slope, overwrite_a=True)
    if failed:
        return step
    crossing = (at + move) * sign < 0.0
    if crossing.any():
        for share in (1.0, 0.5, 0.25, 0.1):
            part = np.where((at + share * move) * sign < 0.0, -at, share * move)
            gain = part @ slope - 0.5 * (part @ (inner @ part) + (ridge[on] * part) @ part)
            # signs do not change, so that the lasso's part is in the slope
            if gain > 0.0:
                step[on] = part
                return step
        reach = np.where(crossing, -at / np.where(crossing, move, 1.0), np.inf)
        move = np.where(reach <= reach.min(), -at, reach.min() * move)
    step[on] = move
    return step
