"""Networks that genopred trains: their shapes, and a training pass that is the published class's own."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

from genopred.errors import ModelError  # noqa: E402
from genopred.sequence import networks  # noqa: E402
from genopred.sequence.dataset import WindowShape  # noqa: E402

SHAPE = WindowShape(window=2048, bin=128, crop=2)
TINY = {"dim": 48, "depth": 1, "heads": 2, "attn_dim_key": 8, "dim_divisible_by": 12}


def onehot(n: int = 3, seed: int = 1) -> torch.Tensor:
    bases = np.random.default_rng(seed).integers(5, size=(n, SHAPE.window))
    return torch.from_numpy(np.eye(5, 4, dtype=np.float32)[bases])


def stirred(network: torch.nn.Module) -> torch.nn.Module:
    """Nothing left at a value at which a part would drop out: fresh attention puts out zeros."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return network


@pytest.mark.parametrize("kind, sizes", [("enformer-small", TINY), ("cnn", {"channels": 12, "layers": 3})])
def test_predictions_are_positive_bins_by_tracks(kind: str, sizes: dict[str, int]) -> None:
    network = networks.build(kind, 5, SHAPE, **sizes).eval()
    predicted = network(onehot())
    assert tuple(predicted.shape) == (3, 12, 5)
    assert bool((predicted > 0).all())
    assert network.kind == kind and network.sizes == networks.SIZES[kind] | sizes


@pytest.mark.parametrize("training", [False, True])
def test_training_pass_is_the_classes_own(training: bool) -> None:
    torch.manual_seed(1)
    sizes = TINY | {"dropout_rate": 0.0, "attn_dropout": 0.0, "pos_dropout": 0.0}
    one = stirred(networks.build("enformer-small", 4, SHAPE, **sizes)).double().train(training)
    torch.manual_seed(1)
    other = stirred(networks.build("enformer-small", 4, SHAPE, **sizes)).double().train(training)
    x = onehot().double()
    own, fast = one(x), networks.training_forward(other)(x)
    # relative positions are computed in float32 on the way
    torch.testing.assert_close(fast, own, rtol=1e-9, atol=1e-9)
    weights = torch.linspace(0.5, 2, own.numel(), dtype=torch.float64).reshape(own.shape)
    (own * weights).sum().backward()
    (fast * weights).sum().backward()
    for (name, a), b in zip(one.named_parameters(), other.parameters()):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-7, atol=1e-9, msg=name)
    # batch norm's running statistics, and how many batches it has seen
    for (name, a), (_, b) in zip(one.named_buffers(), other.named_buffers()):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("kind, sizes", [("enformer-small", TINY), ("cnn", {"channels": 12, "layers": 2})])
def test_fresh_network_predicts_the_mean(kind: str, sizes: dict[str, int]) -> None:
    torch.manual_seed(2)
    network = networks.build(kind, 3, SHAPE, **sizes)
    mean = torch.tensor([0.01, 1.0, 50.0])
    networks.start_at(network, mean)
    with torch.no_grad():
        predicted = network.eval()(onehot()).mean(dim=(0, 1))
    torch.testing.assert_close(torch.log(predicted), torch.log(mean), rtol=0, atol=0.25)


def test_each_bin_sees_beyond_its_neighbours() -> None:
    torch.manual_seed(4)
    network = networks.build("cnn", 1, SHAPE, channels=8, layers=4).eval()
    x = onehot(1)
    changed = x.clone()
    changed[0, 1024:1032] = torch.eye(4)[[0, 1, 2, 3] * 2]
    with torch.no_grad():
        moved = (network(changed) - network(x)).abs()[0, :, 0] > 0
    assert int(moved.sum()) > 4


def test_same_size_finds_the_channels() -> None:
    wanted = networks.n_parameters(networks.build("enformer-small", 9, SHAPE, **TINY))
    sizes = networks.same_size(9, SHAPE, wanted, layers=3)
    found = networks.n_parameters(networks.build("cnn", 9, SHAPE, **sizes))
    assert sizes["layers"] == 3
    assert abs(found - wanted) < 0.1 * wanted


@pytest.mark.parametrize(
    "kind, sizes, said",
    [
        ("enformer-smal", {}, "did you mean enformer-small"),
        ("enformer-small", {"dimm": 48}, "did you mean dim"),
        ("cnn", {"dim": 48}, "cnn has no such size"),
        ("enformer-small", {"dim": 40, "heads": 4}, "divisible by 6"),
        ("enformer-small", {"dim": 24}, "dim 24 with dim_divisible_by 24: dim must be a multiple of it, twice or more"),
        ("enformer-small", {"dim": 120, "dim_divisible_by": 32}, "dim 120 with dim_divisible_by 32"),
        ("enformer-small", {"dim": 10**9}, "dim is 1,000,000,000; needed a whole number from 1 to 8,192"),
        ("enformer-small", {"depth": 10**9}, "depth is 1,000,000,000; needed"),
        ("cnn", {"channels": 10**6}, "channels is 1,000,000; needed a whole number from 1 to 8,192"),
        ("cnn", {"layers": 10**30}, "layers is 10+; needed a whole number from 1 to 20"),
        ("cnn", {"channels": 8.5}, "channels is 8.5; needed a whole number"),
    ],
)
def test_bad_sizes(kind: str, sizes: dict[str, int], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        networks.build(kind, 2, SHAPE, **sizes)


@pytest.mark.parametrize("kind, sizes", [("enformer-small", TINY), ("cnn", {"channels": 12, "layers": 3})])
def test_the_least_memory_is_below_what_is_measured(kind: str, sizes: dict[str, int]) -> None:
    from genopred.sequence.training import training_bytes

    least = networks.least_bytes(kind, 5, SHAPE, 4, **sizes)
    assert 0.02 < least / training_bytes(kind, 5, SHAPE, 4, sizes) < 1
    weights = networks.n_parameters(networks.build(kind, 5, SHAPE, **sizes))
    assert least - networks.least_bytes(kind, 5, SHAPE, 2, **sizes) == (least - 16 * weights) / 2


def test_a_window_beyond_the_limit() -> None:
    with pytest.raises(ModelError, match=r"data.window = 2,097,280: needed at most 2,097,152 bp"):
        networks.build("cnn", 2, WindowShape(window=2_097_280, bin=128, crop=2))


def test_bins_of_the_enformer_are_128_bp() -> None:
    with pytest.raises(ModelError, match="bins of 128 bp"):
        networks.build("enformer-small", 2, WindowShape(window=2048, bin=64, crop=2))
    with pytest.raises(ModelError, match="power of two"):
        networks.build("cnn", 2, WindowShape(window=2000, bin=100, crop=2))


def test_attention_begins_near() -> None:
    from enformer_pytorch.modeling_enformer import get_positional_embed, relative_shift

    torch.manual_seed(5)
    body = networks.build("enformer-small", 2, WindowShape(window=8192, bin=128, crop=4)).body
    for layer in body.transformer:
        attention = layer[0].fn[1]
        embed = get_positional_embed(64, attention.num_rel_pos_features, "cpu", False)
        keys = attention.to_rel_k(embed).view(127, 4, -1).permute(1, 0, 2)
        queries = attention.rel_pos_bias.expand(1, 4, 64, -1)
        share = relative_shift(torch.einsum("bhid,hjd->bhij", queries, keys)).softmax(-1)[0, :, 32].detach()
        near = [share[0, 30:35].sum(), share[3, 18:47].sum()]
        sides = sorted([float(share[1, 26:32].sum()), float(share[2, 26:32].sum())])
        assert min(near) > 0.5 and sides[0] < 0.1 and sides[1] > 0.8


def test_a_bin_begins_with_what_the_filters_found_in_it() -> None:
    """The largest value of each filter of the first layer in 128 bases, still seen after seven levels."""
    torch.manual_seed(7)
    body = networks.build("enformer-small", 2, SHAPE, **TINY).body.train()
    x = onehot(16).transpose(1, 2)
    with torch.no_grad():
        found = body.stem[0](x)
        bins = body.conv_tower(body.stem(x))
    most = found.unflatten(2, (-1, 128)).amax(3)
    n = most.shape[1]
    r = np.corrcoef(*(value.transpose(0, 1)[:n].reshape(n, -1).numpy() for value in (most, bins)))[:n, n:]
    assert np.diag(r).min() > 0.4
    assert np.diag(r).mean() > 0.6 and np.abs(r - np.diag(np.diag(r))).mean() < 0.2


def test_dropout_of_the_tower_is_for_training_only() -> None:
    torch.manual_seed(6)
    network = stirred(networks.build("enformer-small", 2, SHAPE, **TINY, tower_dropout=0.5))
    forward, x = networks.training_forward(network), onehot()
    with torch.no_grad():
        network.train()
        assert not torch.equal(forward(x), forward(x))
        network.eval()
        torch.testing.assert_close(forward(x), network(x), rtol=1e-4, atol=1e-5)
