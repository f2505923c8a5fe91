"""Symmetric matrices asked many times: (A + delta I)^-1 for every delta after one reduction; leading eigenvectors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.linalg.blas import dsymv
from scipy.linalg.lapack import dormqr, dpttrf, dpttrs, dsytrd, dsytrd_lwork
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from genopred.errors import ModelError

Array = NDArray[np.float64]

#: Up to this size all of a matrix is decomposed; above it products with vectors reach the leading eigenvectors sooner.
SMALL = 200


class Shifted(NamedTuple):
    """Of A + delta I: Q'(A + delta I)^-1 b, shape (M,); the log determinant; the trace of the inverse."""

    solution: Array
    logdet: float
    inverse_trace: float


class Tridiagonal:
    """A = Q T Q' with T tridiagonal, and b: O(M³) once, then O(M) for each delta.

    Parameters
    ----------
    a : array, shape (M, M), M at least 1
        Symmetric and positive semidefinite; its lower triangle is read. Overwritten where its order is Fortran's.
    b : array, shape (M,)

    Attributes
    ----------
    b : array, shape (M,)
        Q'b.

    References
    ----------
    Golub and Van Loan (2013), Matrix Computations, 8.3.1; Elden (1977), doi:10.1007/BF01932285.

    Examples
    --------
    >>> a, b = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([3.0, 0.0])
    >>> form = Tridiagonal(a.copy(order="F"), b)
    >>> np.round(form.back(form.at(1.0).solution) @ (a + np.eye(2)), 9).tolist()
    [3.0, 0.0]
    """

    def __init__(self, a: Array, b: Array) -> None:
        m = len(b)
        lwork = int(dsytrd_lwork(m, lower=1)[0])
        reduced, self._d, self._e, self._tau, _ = dsytrd(a, lower=1, lwork=lwork, overwrite_a=1)
        # LAPACK's wrappers want one element even where there is none beside the diagonal
        self._e = self._e if m > 1 else np.zeros(1)
        # the reflectors lie below the first subdiagonal, and leave the first coordinate as it is
        self._reflectors = np.asfortranarray(reduced[1:, :-1])
        self.b = self._rotated(b, "T")

    def at(self, delta: float) -> Shifted:
        """Of A + delta I.

        Raises
        ------
        ModelError
            If A + delta I is not positive definite.
        """
        shifted = self._d + delta
        down, lower, failed = dpttrf(shifted, self._e)
        up, _, failed_up = dpttrf(shifted[::-1], self._e[::-1])
        if failed or failed_up:
            raise ModelError(
                f"the sums of products of dosages have an eigenvalue below -{delta:.2g} (variants standardised, each "
                "weighing 1/M), which those of people never have; sums of one cohort are needed, or an LD reference "
                "that is shrunk."
            )
        solution = dpttrs(down, lower, self.b)[0]
        # a diagonal element of the inverse, from the pivots of both elimination orders
        inverse = 1.0 / (down + up[::-1] - shifted)
        return Shifted(solution, float(np.log(down).sum()), float(inverse.sum()))

    def back(self, rotated: Array) -> Array:
        """Q times a vector."""
        return self._rotated(rotated, "N")

    def _rotated(self, vector: Array, transpose: str) -> Array:
        out = np.array(vector, dtype=np.float64)
        if len(out) > 1:
            part = out[1:, None]
            lwork = int(dormqr("L", transpose, self._reflectors, self._tau, part, -1)[1][0])
            out[1:] = dormqr("L", transpose, self._reflectors, self._tau, part, lwork)[0][:, 0]
        return out


def leading(a: Array, k: int) -> tuple[Array, Array]:
    """The k largest eigenvalues, descending, and their eigenvectors (M, k), each with its largest element positive.

    Parameters
    ----------
    a : array, shape (M, M)
        Symmetric; its lower triangle is read.
    k : int
        From 1 to M.

    Notes
    -----
    Lanczos with restarts to machine precision (Lehoucq, Sorensen and Yang 1998, ARPACK), from a fixed start.

    Examples
    --------
    >>> values, vectors = leading(np.diag([1.0, 3.0, 2.0]), 2)
    >>> values.tolist(), np.abs(vectors).argmax(axis=0).tolist()
    ([3.0, 2.0], [1, 2])
    """
    m = len(a)
    found = None
    if SMALL < m and k < m:
        # in Fortran's order no product copies the matrix
        held = np.asfortranarray(a)
        product = LinearOperator((m, m), matvec=lambda v: dsymv(1.0, held, v.ravel(), lower=1), dtype=np.float64)
        start = np.random.default_rng(0).standard_normal(m)
        try:
            found = eigsh(product, k=k, ncv=min(m, max(40, 3 * k)), v0=start)
        except ArpackError:
            found = None
    if found is None:
        found = eigh(a, lower=True, subset_by_index=[m - k, m - 1], check_finite=False)
    order = np.argsort(-found[0], kind="stable")
    values, vectors = found[0][order], found[1][:, order]
    sign = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(k)])
    return values, vectors * sign
