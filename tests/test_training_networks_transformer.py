"""genopred.training.networks.transformer: distances from the TSS, and sizes that go together."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

from genopred.errors import ModelError  # noqa: E402
from genopred.training.networks.gene import GeneInputs, GeneShape  # noqa: E402
from genopred.training.networks.registry import build_gene  # noqa: E402
from genopred.training.networks.transformer import distances  # noqa: E402


def test_places_are_distances_from_the_tss():
    near, far = distances(20, 1000, 8), distances(30, 3000, 8)
    torch.testing.assert_close(near, far[10:])  # the same distances, whatever stands before
    assert near.unique(dim=0).shape == near.shape


def test_order_matters():
    torch.manual_seed(1)
    network = build_gene("transformer", 1, GeneShape(900, 100), channels=16, heads=2, layers=1).eval()
    x = torch.eye(4)[torch.randint(4, (1, 1000))]
    moved = torch.cat([x[:, 200:], x[:, :200]], dim=1)
    with torch.no_grad():
        assert abs(float(network(GeneInputs(x)) - network(GeneInputs(moved)))) > 1e-5


def test_heads_share_the_channels():
    with pytest.raises(ModelError, match="network.channels 20 with 8 heads"):
        build_gene("transformer", 1, GeneShape(900, 100), channels=20, heads=8)
