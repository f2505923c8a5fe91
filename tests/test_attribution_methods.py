"""genopred.attribution.methods: sums are differences of predictions; captum beside a loop; lines known exactly."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("captum")
pytest.importorskip("tangermeme")

import torch
from attribution_data import Finder, Line, Model, line_model, random_windows, smooth_model, values_of

from genopred.attribution.backgrounds import backgrounds
from genopred.attribution.methods import METHODS, contributions
from genopred.errors import GenopredError, ModelError


def against(x, kind="shuffled", n=3):
    return np.stack([backgrounds(one, kind, n, 7 + i) for i, one in enumerate(x)])


@pytest.mark.parametrize("kind", ["shuffled", "uniform", "zero"])
@pytest.mark.parametrize("method, share", [("integrated-gradients", 5e-3), ("deeplift", 1e-5)])
def test_contributions_add_up_to_the_difference_of_predictions(method, share, kind):
    model, x = smooth_model(), random_windows(4, 48)
    values = values_of(model, tracks=["all", "y"], strands="both")
    r = against(x, kind)
    found = contributions(values, x, r, method, steps=300 if method == "integrated-gradients" else 2, batch_size=512)
    assert found.actual.shape == (2, 4, 48) and found.hypothetical.shape == (2, 4, 48, 4)
    np.testing.assert_allclose(found.value, values.of(x).T, rtol=1e-6)
    means = np.stack([values.of(one).mean(axis=0) for one in r], axis=1)
    np.testing.assert_allclose(found.background, means, rtol=1e-6)
    # without absolute slack: tolerance is a share of the largest difference
    assert np.abs(found.delta).max() <= share * np.abs(found.value - found.background).max()
    assert found.missed >= np.abs(found.delta).max() / np.abs(found.value - found.background).max() - 1e-12


def test_integrated_gradients_are_a_loop_over_points():
    model, x = smooth_model(), random_windows(2, 48, seed=3)
    values, r = values_of(model, tracks="x"), against(random_windows(2, 48, seed=3), n=2)
    found = contributions(values, x, r, "integrated-gradients", steps=8)
    nodes, weights = np.polynomial.legendre.leggauss(8)
    for i in range(2):
        wanted = np.zeros((48, 4))
        for k in range(2):
            for node, weight in zip(nodes, weights):
                at = torch.from_numpy(r[i, k] + (x[i] - r[i, k]) * (node + 1) / 2).float()[None].requires_grad_(True)
                (slope,) = torch.autograd.grad(model.module(at)[:, :, 0].sum(), at)
                wanted += (x[i] - r[i, k]) * slope[0].numpy() * weight / 2 / 2
        np.testing.assert_allclose(found.actual[0, i], wanted.sum(axis=1), atol=2e-6)


@pytest.mark.parametrize("method", list(METHODS))
def test_a_weighted_sum_is_shared_out_by_its_weights(method):
    x = random_windows(3, 20)
    r = against(x, "uniform" if method == "gradient-input" else "shuffled")
    found = contributions(values_of(line_model()), x, r, method, steps=5)
    w = Line().weight.detach().numpy().astype(float)
    np.testing.assert_allclose(found.actual[0], ((x[:, None] - r) * w).sum(-1).mean(1), atol=1e-5)
    np.testing.assert_allclose(found.hypothetical[0], w[None] - (r * w).sum(-1).mean(1)[..., None], atol=1e-5)
    assert np.abs(found.delta).max() < 1e-4


def test_gradient_input_is_the_gradient_less_its_mean():
    model, x = smooth_model(), random_windows(1, 48)
    found = contributions(values_of(model, tracks="z"), x, against(x, "uniform"), "gradient-input")
    at = torch.from_numpy(x).requires_grad_(True)
    (slope,) = torch.autograd.grad(model.module(at)[:, :, 2].sum(), at)
    centred = slope[0].numpy() - slope[0].numpy().mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found.hypothetical[0, 0], centred, atol=1e-5)
    np.testing.assert_allclose(found.actual[0, 0], (x[0] * centred).sum(axis=1), atol=1e-5)


@pytest.mark.parametrize("method", list(METHODS))
def test_batches_and_order_change_nothing(method):
    model, x = smooth_model(), random_windows(5, 48)
    values, r = values_of(model), against(x, n=2)
    one = contributions(values, x, r, method, batch_size=64)
    other = contributions(values, x, r, method, batch_size=2)
    turned = contributions(values, x[::-1].copy(), r[::-1].copy(), method, batch_size=3)
    np.testing.assert_allclose(one.actual, other.actual, atol=1e-5)
    np.testing.assert_allclose(one.actual, turned.actual[:, ::-1], atol=1e-5)
    assert not model.module.training and not any(module._forward_hooks for module in model.module.modules())


def test_the_base_that_is_there_is_one_of_the_four():
    x = random_windows(2, 48)
    found = contributions(values_of(smooth_model()), x, against(x), "deeplift")
    np.testing.assert_allclose((found.hypothetical[0] * x).sum(-1), found.actual[0], atol=1e-6)


def test_n_contributes_only_what_its_background_had():
    x = random_windows(1, 300)
    x[0, 100:120] = 0
    found = contributions(values_of(Model(Finder(300)), tracks="up"), x, against(x), "deeplift")
    assert not found.actual[0, 0, 100:120].any()


def test_what_cannot_be_is_refused():
    x = random_windows(1, 20)
    with pytest.raises(GenopredError, match="--method magic: there are gradient-input"):
        contributions(values_of(line_model()), x, against(x), "magic")
    model = line_model()
    model.module.weight.data[3, 2] = float("nan")
    with pytest.raises(ModelError, match="known: its gradients are not finite"):
        contributions(values_of(model), x, against(x), "integrated-gradients", steps=4)
