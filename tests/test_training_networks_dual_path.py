"""genopred.training.networks.dual_path: contacts weigh, their order does not, and none is none."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

from gene_networks import SMALL  # noqa: E402

from genopred.training.networks.gene import GeneInputs, GeneShape  # noqa: E402
from genopred.training.networks.registry import build_gene  # noqa: E402

SHAPE = GeneShape(900, 100, segments=3, segment=400)


@pytest.fixture
def network():
    torch.manual_seed(2)
    return build_gene("dual-path", 2, SHAPE, **SMALL["dual-path"]).eval()


@pytest.fixture
def given() -> GeneInputs:
    torch.manual_seed(3)
    window, far = torch.eye(4)[torch.randint(4, (2, 1000))], torch.eye(4)[torch.randint(4, (2, 3, 400))]
    return GeneInputs(window, far, torch.tensor([[0.7, 0.3, 0.0], [0.2, 0.3, 0.5]]))


def test_the_order_of_segments_does_not_matter(network, given):
    order = [2, 0, 1]
    turned = GeneInputs(given.window, given.segments[:, order], given.weights[:, order])
    torch.testing.assert_close(network(turned), network(given), rtol=1e-5, atol=1e-6)


def test_contacts_weigh_linearly(network, given):
    none = network(GeneInputs(given.window, given.segments, 0 * given.weights))
    full = network(given)
    half = network(GeneInputs(given.window, given.segments, 0.5 * given.weights))
    torch.testing.assert_close(half - none, 0.5 * (full - none), rtol=1e-4, atol=1e-6)
    assert (full != none).all()


def test_without_contacts_it_is_as_if_there_were_no_segment(network, given):
    none = network(GeneInputs(given.window))
    assert torch.equal(none, network(GeneInputs(given.window, given.segments, 0 * given.weights)))
    assert torch.equal(none, network(GeneInputs(given.window, 7 + 0 * given.segments, 0 * given.weights)))


def test_a_segment_of_no_weight_is_not_read(network, given):
    other = given.segments.clone()
    other[0, 2] = 0.25
    network.train()  # where a batch's mean would tell
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
            module.p = 0.0
    a, b = network(given), network(GeneInputs(given.window, other, given.weights))
    assert torch.equal(a, b)


def test_without_a_distal_path(given):
    network = build_gene("dual-path", 2, GeneShape(900, 100), **SMALL["dual-path"]).eval()
    assert network.distal is None and torch.equal(network(given), network(GeneInputs(given.window)))
