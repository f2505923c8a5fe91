"""genopred.sequence.models.enformer.whole against enformer-pytorch's own forward."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("enformer_pytorch")

import torch
from enformer_data import SMALL, randomised

from genopred.sequence.models.enformer.whole import WholeEnformer


@pytest.fixture(scope="module")
def body():
    from enformer_pytorch import Enformer

    torch.manual_seed(0)
    return randomised(Enformer.from_hparams(**SMALL)).eval()


@pytest.fixture(scope="module")
def windows():
    return torch.eye(4)[torch.from_numpy(np.random.default_rng(1).integers(0, 4, (2, 128 * 16)))]


def test_it_predicts_what_the_module_predicts(body, windows):
    with torch.no_grad():
        torch.testing.assert_close(WholeEnformer(body, "human")(windows), body(windows)["human"])


def test_attention_is_what_the_layers_weigh_their_values_with(body, windows):
    whole = WholeEnformer(body, "human").train()
    maps = whole.attention_maps(windows)
    assert [name for name, _ in maps] == [f"layer {i + 1}" for i in range(len(body.transformer))]
    attention = body.transformer[0][0].fn[1]
    given = []
    hook = attention.register_forward_hook(lambda module, x, out: given.append((x[0], out)))
    with torch.no_grad():
        body.eval()(windows)
    hook.remove()
    x, out = given[0]
    weights = maps[0][1]
    assert weights.shape == (2, attention.heads, 16, 16)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, attention.heads, 16))
    values = attention.to_v(x).reshape(2, 16, attention.heads, -1).transpose(1, 2)
    mixed = (weights @ values).transpose(1, 2).reshape(2, 16, -1)
    torch.testing.assert_close(attention.to_out(mixed), out, atol=1e-5, rtol=1e-4)
    assert not any(module._forward_hooks for module in body.modules())


def test_deeplift_goes_through_every_step(body, windows):
    """Its contributions add up, so no step of the network was taken for linear that is not."""
    pytest.importorskip("tangermeme")
    from attribution_data import Model

    from genopred.attribution.backgrounds import backgrounds
    from genopred.attribution.methods import contributions
    from genopred.attribution.target import GroupValues
    from genopred.sequence.effects import EffectSettings

    n = body(windows)["human"].shape
    tracks = tuple(f"t{i}" for i in range(n[2]))
    model = Model(WholeEnformer(body, "human"), 128 * 16, n_bins=n[1], bin_size=128, tracks=tracks)
    values = GroupValues(model, EffectSettings.of(model))
    x = windows.numpy()
    found = contributions(values, x[:1], backgrounds(x[0], "uniform", 1, 0)[None], "deeplift")
    assert found.missed < 0.02
