"""genopred.training.networks.pooled: networks of tracks around a TSS."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

from gene_networks import SMALL  # noqa: E402

from genopred.training.networks.gene import GeneInputs, GeneShape  # noqa: E402
from genopred.training.networks.registry import NETWORKS, build, build_gene  # noqa: E402
from genopred.training.splits import WindowShape  # noqa: E402


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_the_trunk_is_what_the_head_of_tracks_reads(kind):
    torch.manual_seed(1)
    sizes = {key: value for key, value in SMALL[kind].items() if key != "pool_heads"}
    network = build(kind, 3, WindowShape(2048, 128, 2), **sizes).eval()
    x = torch.eye(4)[torch.randint(4, (2, 2048))]
    with torch.no_grad():
        expected = torch.nn.functional.softplus(network.head(network.trunk(x)))
        torch.testing.assert_close(network.fast(x), expected)


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_a_window_is_filled_up_with_n(kind):
    torch.manual_seed(1)
    network = build_gene(kind, 2, GeneShape(1000, 100), **SMALL[kind]).eval()
    x = torch.eye(4)[torch.randint(4, (2, 1100))]
    assert network.network.shape.window == 1152
    with torch.no_grad():
        whole = torch.nn.functional.pad(x, (0, 0, 0, 52))
        torch.testing.assert_close(network.network.trunk(whole), network.tokens(GeneInputs(x)))
        assert network(GeneInputs(x)).shape == (2, 2)
