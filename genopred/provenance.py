"""What a result was made with: versions and machine."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

#: Packages whose version can change a number.
_PACKAGES = ("numpy", "scipy", "polars", "scikit-learn", "xgboost-cpu", "xgboost", "lightgbm", "numba", "torch")


def versions() -> dict[str, str]:
    """Versions of genopred, Python and the packages whose version can change a number.

    >>> list(versions())[:2]
    ['genopred', 'python']
    """
    out = {"genopred": version("genopred"), "python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            out[name] = version(name)
    return out


def machine() -> str:
    """The kind of machine, without its name, such as `Linux x86_64, 2 cores`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{platform.system()} {platform.machine()}, {cores} cores"
