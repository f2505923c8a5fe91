"""What every network of genes has: a new one has no more to say than these."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

from gene_networks import SMALL, dna_model  # noqa: E402

from genopred.errors import ModelError  # noqa: E402
from genopred.training.networks.composition import Composition  # noqa: E402
from genopred.training.networks.gene import GeneInputs, GeneShape  # noqa: E402
from genopred.training.networks.registry import GENE_NETWORKS, build_gene  # noqa: E402


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """Of each kind."""
    folder = {"embedding": {"folder": str(dna_model(tmp_path_factory.mktemp("dna")))}}
    return {kind: SMALL[kind] | folder.get(kind, {}) for kind in GENE_NETWORKS}


def inputs(n: int = 3, window: int = 1100, tracks: int = 0) -> GeneInputs:
    torch.manual_seed(4)
    x = torch.eye(5, 4)[torch.randint(5, (n, window))]
    far = torch.eye(5, 4)[torch.randint(4, (n, 3, 400))]
    if tracks:
        x = torch.cat([x, torch.rand(n, window, tracks)], dim=2)
        far = torch.cat([far, torch.rand(n, 3, 400, tracks)], dim=3)
    return GeneInputs(x, far, torch.tensor([[0.5, 0.5, 0.0]] * n))


@pytest.mark.parametrize("kind", list(GENE_NETWORKS))
def test_a_network_says_what_it_is(kind, sizes):
    shape = GeneShape(1000, 100, composition=Composition(gc=True, kmers=2))
    torch.manual_seed(1)
    network = build_gene(kind, 2, shape, **sizes[kind]).eval()
    assert GENE_NETWORKS[kind].kind == network.kind == kind
    assert (network.n_cells, network.shape) == (2, shape) and shape.window == 1100
    assert set(network.sizes) == set(GENE_NETWORKS[kind].SIZES)
    given = inputs()
    with torch.no_grad():
        out = network(given)
        one = network(GeneInputs(*(part[1:2] for part in given)))
    assert out.shape == (3, 2) and network.head.in_features == network.embed(given).shape[1] + 17
    torch.testing.assert_close(out[1:2], one, rtol=1e-4, atol=1e-5)
    for name, weights in network.attention_maps(given):
        assert name and weights.shape[0] == 3
        np.testing.assert_allclose(weights.sum(-1).detach(), 1, atol=1e-5)
    positive = build_gene(kind, 2, shape, link="softplus", **sizes[kind]).eval()
    assert (positive(given) > 0).all()


@pytest.mark.parametrize("kind", list(GENE_NETWORKS))
def test_all_that_learns_has_a_gradient(kind, sizes):
    torch.manual_seed(1)
    network = build_gene(kind, 2, GeneShape(1000, 100), **sizes[kind]).train()
    network(inputs()).square().sum().backward()
    lost = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert lost == []


@pytest.mark.parametrize("kind", list(GENE_NETWORKS))
def test_tracks_along_the_window(kind, sizes):
    shape = GeneShape(1000, 100, tracks=2)
    assert not shape.sequence_alone
    if kind in ("embedding", "enformer-small"):
        with pytest.raises(ModelError, match="reads sequence alone"):
            build_gene(kind, 2, shape, **sizes[kind])
        return
    torch.manual_seed(1)
    network = build_gene(kind, 2, shape, **sizes[kind]).eval()
    given = inputs(tracks=2)
    other = GeneInputs(given.window * torch.tensor([1, 1, 1, 1, 0, 0]), *given[1:])
    with torch.no_grad():
        assert (network(given) != network(other)).any()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"before": -1}, "needed 0 or more, and 1 or more"),
        ({"after": 0}, "needed 0 or more, and 1 or more"),
        ({"before": 10.5}, "whole numbers"),
        ({"tracks": -1}, "needed 0 or more"),
        ({"segments": 2}, "segments of 1 bp or more"),
        ({"composition": Composition(kmers=5), "before": 1, "after": 3}, "shorter than a word or motif"),
    ],
)
def test_shapes_that_cannot_be(wrong, said):
    with pytest.raises(ModelError, match=said):
        GeneShape(**({"before": 100, "after": 20} | wrong))


def test_what_a_network_does_not_read_is_refused(sizes):
    with pytest.raises(ModelError, match="'hybrid' reads no distal segments"):
        build_gene("hybrid", 1, GeneShape(1000, 100, segments=2, segment=50))
    with pytest.raises(ModelError, match="link 'exp': needed identity or softplus"):
        build_gene("hybrid", 1, GeneShape(1000, 100), link="exp")
    with pytest.raises(ModelError, match="hidden is 10000000; needed a whole number from 1 to 8,192"):
        build_gene("hybrid", 1, GeneShape(1000, 100), hidden=10**7)
