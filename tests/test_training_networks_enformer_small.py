"""The small Enformer: a training pass that is the published class's own, and where it begins."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

from training_data import SHAPE, TINY, onehot  # noqa: E402

from genopred.training.networks.registry import build  # noqa: E402
from genopred.training.splits import WindowShape  # noqa: E402


def stirred(network: torch.nn.Module) -> torch.nn.Module:
    """Nothing left at a value at which a part would drop out: fresh attention puts out zeros."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in network.parameters():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return network


@pytest.mark.parametrize("training", [False, True])
def test_training_pass_is_the_classes_own(training: bool) -> None:
    torch.manual_seed(1)
    sizes = TINY | {"dropout_rate": 0.0, "attn_dropout": 0.0, "pos_dropout": 0.0}
    one = stirred(build("enformer-small", 4, SHAPE, **sizes)).double().train(training)
    torch.manual_seed(1)
    other = stirred(build("enformer-small", 4, SHAPE, **sizes)).double().train(training)
    x = onehot().double()
    own, fast = one(x), other.fast(x)
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


def test_attention_begins_near() -> None:
    from enformer_pytorch.modeling_enformer import get_positional_embed, relative_shift

    torch.manual_seed(5)
    body = build("enformer-small", 2, WindowShape(window=8192, bin=128, crop=4)).body
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
    body = build("enformer-small", 2, SHAPE, **TINY).body.train()
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
    network = stirred(build("enformer-small", 2, SHAPE, **TINY, tower_dropout=0.5))
    x = onehot()
    with torch.no_grad():
        network.train()
        assert not torch.equal(network.fast(x), network.fast(x))
        network.eval()
        torch.testing.assert_close(network.fast(x), network(x), rtol=1e-4, atol=1e-5)
