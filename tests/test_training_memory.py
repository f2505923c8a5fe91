"""How much memory a training takes, and how much there is."""

from __future__ import annotations

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

from training_data import SHAPE, SMALL, TINY  # noqa: E402

from genopred.training.memory import free_memory, least_bytes, training_bytes  # noqa: E402
from genopred.training.networks.base import n_parameters  # noqa: E402
from genopred.training.networks.registry import build  # noqa: E402


@pytest.mark.parametrize("kind, sizes", [("enformer-small", TINY), ("cnn", {"channels": 12, "layers": 3})])
def test_the_least_memory_is_below_what_is_measured(kind: str, sizes: dict[str, int]) -> None:
    least = least_bytes(kind, 5, SHAPE, 4, sizes)
    assert 0.02 < least / training_bytes(kind, 5, SHAPE, 4, sizes) < 1
    weights = n_parameters(build(kind, 5, SHAPE, **sizes))
    assert least - least_bytes(kind, 5, SHAPE, 2, sizes) == (least - 16 * weights) / 2


def test_memory_estimate_grows_with_the_batch():
    one, eight = (training_bytes("cnn", 3, SHAPE, n, SMALL) for n in (1, 8))
    network = build("cnn", 3, SHAPE, **SMALL)
    weights = 4 * sum(p.numel() for p in network.parameters())
    assert one > 7 * weights
    # of the first convolution alone: input, output, its norm, its rectified values
    assert eight - one > 7 * 4 * SHAPE.window * (4 + 2 * 8)


def test_a_limit_on_memory_counts():
    """`ulimit -v`, as queues of clusters set it."""
    code = "import resource; resource.setrlimit(resource.RLIMIT_AS, (10**9, 10**9)); "
    code += "from genopred.training.memory import free_memory; print(free_memory())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0 and 0 <= int(found.stdout) < 10**9, found.stderr


def test_free_memory_is_a_number_or_not_known():
    free = free_memory()
    assert free is None or free > 0
