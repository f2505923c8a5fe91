"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Before numpy, torch or numba are imported: pytest-xdist already uses the cores, one thread a worker.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
# Compiled kernels are kept from run to run, and in no folder of an installed package.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "numba"))
os.environ.setdefault("MPLBACKEND", "Agg")
# No test may wait for a network that is not there.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# The same examples in every run, and no limit on the time of one: machines differ.
settings.register_profile("genopred", deadline=None, derandomize=True)
settings.load_profile("genopred")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data: `$GENOPRED_SHARED`, or `../shared` from the project's root."""
    root = Path(os.environ.get("GENOPRED_SHARED", Path(__file__).parents[2] / "shared"))
    if not (root / "data").is_dir():
        pytest.skip(f"no shared data in {root} (set GENOPRED_SHARED)")
    return root
