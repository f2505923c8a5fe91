"""Dosages that go through a temporary file come back as they were written."""

from __future__ import annotations

import errno
import tempfile

import numpy as np
import pytest

from genopred.errors import GenopredError
from genopred.io.spool import Spool


@pytest.mark.parametrize("dtype", [np.int8, np.float32])
@pytest.mark.parametrize("n, size, in_file", [(10, 1, True), (10, 3, None), (10, 10, False), (10, 99, False)])
def test_what_is_written_is_read(dtype, n, size, in_file):
    rng = np.random.default_rng(n + size)
    m = 7
    whole = rng.integers(0, 3, (m, n)).astype(dtype)
    missing = rng.random((m, n)) < 0.3
    whole[missing] = -127 if dtype is np.int8 else np.nan
    if dtype is np.float32:
        whole[2, 1] = -0.25
        missing[2, 1] = False
    spool = Spool((m, n), dtype, size)
    if in_file is not None:
        assert (spool._file is not None) == in_file
    order = rng.permutation(m)
    spool[int(order[0])] = whole[order[0]]
    spool[order[1:].tolist()] = whole[order[1:]]
    wanted = np.where(missing, np.nan, whole.astype(np.float32))
    for _ in range(2):
        parts = list(spool.blocks())
        assert [people.stop - people.start for people, _ in parts] == [len(x) for _, x in parts]
        assert all(x.dtype == np.float32 and len(x) <= size for _, x in parts)
        np.testing.assert_array_equal(np.concatenate([x for _, x in parts]), wanted.T)


def test_no_variants_and_no_people():
    assert [x.shape for _, x in Spool((0, 5), np.int8, 2).blocks()] == [(2, 0), (2, 0), (1, 0)]
    assert list(Spool((3, 0), np.int8, 2).blocks()) == []


def test_a_full_folder_is_named():
    spool = Spool((2, 1000), np.int8, 1)

    class Full:
        def seek(self, at):
            pass

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    spool._file = Full()
    with pytest.raises(GenopredError, match=r"No space left on device\); needed are 2,000 bytes .* TMPDIR") as caught:
        spool[0] = np.zeros(1000, dtype=np.int8)
    assert tempfile.gettempdir() in str(caught.value)
