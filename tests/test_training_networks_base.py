"""What every network that predicts tracks has: a new one has no more to say than these."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

from training_data import SHAPE, onehot  # noqa: E402

from genopred.training.networks.base import n_parameters  # noqa: E402
from genopred.training.networks.registry import NETWORKS, build  # noqa: E402


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_a_network_says_what_it_is(kind: str) -> None:
    network = build(kind, 3, SHAPE).eval()
    assert NETWORKS[kind].kind == network.kind == kind
    assert (network.n_tracks, network.shape, network.sizes) == (3, SHAPE, NETWORKS[kind].SIZES)
    assert n_parameters(network) == sum(p.numel() for p in network.parameters()) > network.head.weight.numel()
    x = onehot()
    with torch.no_grad():
        torch.testing.assert_close(network.fast(x), network(x), rtol=1e-4, atol=1e-5)
