"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data: `$GENOPRED_SHARED`, or `../shared` from the project's root."""
    root = Path(os.environ.get("GENOPRED_SHARED", Path(__file__).parents[2] / "shared"))
    if not (root / "data").is_dir():
        pytest.skip(f"no shared data in {root} (set GENOPRED_SHARED)")
    return root
