"""Genotypes of a window on their way through a temporary file: written variant by variant, read in blocks of people."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from genopred.errors import GenopredError


class Spool:
    """Dosages (M, N) of a reader that must decode everybody for each variant, so that one pass over the file is enough.

    They are in memory where that is no more than a block of people will be, else in a file without name in the
    temporary folder (TMPDIR), which ends with this object.

    Parameters
    ----------
    shape : (M, N)
    dtype : {numpy.int8, numpy.float32}
        int8 where all dosages are whole numbers; what is negative is then missing.
    size : int
        People of a block.

    Raises
    ------
    GenopredError
        If the temporary folder has no room.

    Examples
    --------
    >>> spool = Spool((2, 3), np.int8, 2)
    >>> spool[[0, 1]] = np.array([[0, 1, 2], [-1, 0, 0]], dtype=np.int8)
    >>> [block.tolist() for _, block in spool.blocks()]
    [[[0.0, nan], [1.0, 0.0]], [[2.0, 0.0]]]
    """

    def __init__(self, shape: tuple[int, int], dtype: type[np.int8] | type[np.float32], size: int) -> None:
        self.shape, self.size = shape, size
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        small = shape[1] * self.dtype.itemsize <= 4 * size or not shape[0]
        self._held: NDArray[Any] = np.empty(shape if small else (0, 0), dtype=self.dtype)
        self._file: IO[bytes] | None = None if small else tempfile.TemporaryFile(prefix="genopred-")

    def __setitem__(self, which: Any, values: NDArray[Any]) -> None:
        """Write variants, by number or numbers: dosages of everybody (N,) or (k, N)."""
        if self._file is None:
            self._held[which] = values
            return
        rows = np.ascontiguousarray(np.atleast_2d(values), dtype=self.dtype)
        try:
            for number, row in zip(np.atleast_1d(which).tolist(), rows):
                self._file.seek(number * row.nbytes)
                self._file.write(row.data)
        except OSError as problem:
            raise self._full(problem) from None

    def _full(self, problem: OSError) -> GenopredError:
        need = self.shape[0] * self.shape[1] * self.dtype.itemsize
        return GenopredError(
            f"the temporary folder {tempfile.gettempdir()} cannot hold the genotypes of a window ({problem.strerror}); "
            f"needed are {need:,} bytes for {self.shape[1]:,} people and {self.shape[0]:,} variants: set TMPDIR to a "
            "folder with that much room."
        )

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """People and their dosages (n, M), float32, NaN where missing, block by block; all have been written."""
        n = self.shape[1]
        if self._file is not None:
            try:
                self._file.flush()
            except OSError as problem:
                raise self._full(problem) from None
        for start in range(0, n, self.size):
            people = slice(start, min(n, start + self.size))
            part = self._people(people).astype(np.float32, copy=self._file is None)
            if self.dtype == np.int8:
                part[part < 0] = np.nan
            yield people, part.T

    def _people(self, people: slice) -> NDArray[Any]:
        """Some people's dosages (M, n)."""
        if self._file is None:
            return self._held[:, people]
        part = np.empty((self.shape[0], people.stop - people.start), dtype=self.dtype)
        for number, row in enumerate(part):
            self._file.seek((number * self.shape[1] + people.start) * self.dtype.itemsize)
            self._file.readinto(row.data)  # type: ignore[attr-defined]
        return part
