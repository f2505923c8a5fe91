"""What all tests share."""

from __future__ import annotations

import errno
import os
import subprocess
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


@pytest.fixture
def failing_write(monkeypatch):
    """Call it with n: the n-th output from now on finds no space left. What it returns counts them."""
    from genopred import files

    replace = os.replace

    def install(n):
        count = [0]

        def full(source, target):
            count[0] += 1
            if count[0] == n:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            replace(source, target)

        monkeypatch.setattr(files.os, "replace", full)
        return count

    return install


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 200 kB; `resize_disk` gives it another size."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=200k", "none", folder], capture_output=True, text=True
        )
    except OSError as problem:
        pytest.skip(f"no small disk: {problem}")
    if made.returncode:
        pytest.skip(f"no small disk: {made.stderr.strip() or 'mount failed'}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def resize_disk(folder, size):
    """Another size of a `small_disk`, as mount takes it: 64k, 20m."""
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Models that `genopred stack` trained on a small simulated cohort (`models_data.Trained`)."""
    pytest.importorskip("msprime", reason="no msprime: no cohort can be simulated, so that no models are trained")
    from models_data import Trained, grow_trees, stack_settings, write_inputs

    from genopred.pipelines import stack

    folder = tmp_path_factory.mktemp("trained")
    inputs = write_inputs(folder)
    with pytest.MonkeyPatch.context() as patch:
        grow_trees(patch)
        stack.run(stack_settings(inputs, folder / "stack"))
    return Trained(folder, inputs, folder / "stack")
