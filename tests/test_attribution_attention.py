"""genopred.attribution.attention."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from attribution_data import random_windows, smooth_model

from genopred.attribution.attention import AttentionMap, attention_maps, check_attention
from genopred.errors import ModelError


def offering(*maps):
    model = smooth_model()
    model.module.attention_maps = lambda x: list(maps)
    return model


def test_maps_are_what_the_network_offers():
    weights = torch.softmax(torch.randn(1, 2, 6, 6), dim=-1)
    place = torch.rand(1, 3, 6)
    first, second = attention_maps(offering(("a", weights), ("b", place)), random_windows(1, 48)[0])
    np.testing.assert_array_equal(first.weights, weights[0])
    assert (first.name, first.heads, second.heads) == ("a", 2, 3)
    np.testing.assert_allclose(first.towards(0.5), weights[0, :, 3])
    np.testing.assert_allclose(first.towards(1.0), weights[0, :, 5])
    np.testing.assert_allclose(first.received, weights[0].mean(1), rtol=1e-6)
    np.testing.assert_allclose(second.towards(0.2), place[0])
    np.testing.assert_allclose(second.received, place[0])


def test_pooled_maps_keep_the_sum_of_a_row():
    weights = np.random.default_rng(1).dirichlet(np.ones(10), size=(2, 10)).astype(np.float32)
    pooled = AttentionMap("a", weights).pooled(4)
    assert pooled.shape == (4, 4)
    np.testing.assert_allclose(pooled.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(AttentionMap("a", weights).pooled(), weights.mean(0), rtol=1e-6)
    np.testing.assert_allclose(
        AttentionMap("a", weights[0]).pooled(5), weights[0].mean(0).reshape(5, 2).sum(1), rtol=1e-5
    )


def test_a_model_without_attention_says_so():
    with pytest.raises(ModelError, match="--method attention: known has no attention"):
        check_attention(smooth_model())
    with pytest.raises(ModelError, match="known has no layer with attention"):
        attention_maps(offering(), random_windows(1, 48)[0])
    with pytest.raises(ModelError, match=r"attention a has shape \(1, 4\); needed"):
        attention_maps(offering(("a", torch.zeros(1, 4))), random_windows(1, 48)[0])
