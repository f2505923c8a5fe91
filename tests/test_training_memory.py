"""How much memory a training takes."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

from gene_networks import SMALL as SMALL_GENES  # noqa: E402
from training_data import SHAPE, SMALL, TINY  # noqa: E402

from genopred.training.memory import (  # noqa: E402
    gene_training_bytes,
    least_bytes,
    least_gene_bytes,
    training_bytes,
)
from genopred.training.networks.base import n_parameters  # noqa: E402
from genopred.training.networks.gene import GeneShape  # noqa: E402
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


@pytest.mark.parametrize("kind", ["hybrid", "dual-path", "transformer", "cnn", "enformer-small"])
def test_networks_of_genes(kind):
    sizes = SMALL_GENES[kind]
    shape = GeneShape(1000, 100, segments=2 if kind == "dual-path" else 0, segment=200)
    least = least_gene_bytes(kind, 3, shape, 8, sizes)
    assert 0 < least < gene_training_bytes(kind, 3, shape, 8, sizes)
    assert gene_training_bytes(kind, 3, shape, 8, sizes) < gene_training_bytes(kind, 3, shape, 64, sizes)
