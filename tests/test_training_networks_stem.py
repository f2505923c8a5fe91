"""genopred.training.networks.stem: tokens, and attention that begins around the TSS."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from genopred.training.networks.stem import TOKEN, AttentionPool, ConvolutionStem, n_tokens  # noqa: E402


@pytest.mark.parametrize("length", [200, 1000, 1001, 1399, 11_000])
def test_as_many_tokens_as_said(length):
    stem = ConvolutionStem(4, 6).eval()
    assert stem(torch.zeros(2, length, 4)).shape == (2, n_tokens(length), 6)
    assert n_tokens(length) >= length / TOKEN


def test_pooling_begins_around_the_tss():
    pool = AttentionPool(6, 2, positions=50, centre=10_000 * 0.7)
    weights = pool.weights(torch.zeros(1, 50, 6))
    torch.testing.assert_close(weights.sum(1), torch.ones(1, 2))
    assert int(weights[0, :, 0].argmax()) in (34, 35)
    alike = AttentionPool(6, 2).weights(torch.zeros(1, 50, 6))
    torch.testing.assert_close(alike, torch.full((1, 50, 2), 0.02))


def test_pooling_is_a_mean():
    torch.manual_seed(1)
    pool, tokens = AttentionPool(3, 2), torch.randn(2, 5, 3)
    weights = pool.weights(tokens)
    expected = torch.stack([(weights[..., head, None] * tokens).sum(1) for head in range(2)], dim=1)
    torch.testing.assert_close(pool(tokens), expected.flatten(1))
