"""Where networks look: by hand, by finite differences, and where a motif was planted."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from genopred.errors import ModelError
from genopred.training.gene_positions import (
    ATTENTION,
    GRADIENT,
    POSITION_SCHEMA,
    _spread,
    along_sequence,
    binned,
    position_profile,
)
from genopred.training.genes import gene_arrays, gene_inputs
from genopred.training.networks.gene import GeneShape
from genopred.training.networks.registry import build_gene
from genopred.training.simulate import simulate_genes

DATA = simulate_genes(30, before=800, after=200, segments=0, seed=3).data
ROWS = np.array([3, 4, 20])


class Linear(nn.Module):
    """A weight a base, two cell types; counts a known way."""

    differentiable, sizes = True, {}

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(2)
        self.weight = nn.Parameter(torch.from_numpy(rng.normal(size=(1000, 4, 2)).astype(np.float32)))

    def forward(self, inputs):
        return torch.einsum("blk,lkc->bc", inputs.window[..., :4], self.weight)

    def attention_maps(self, inputs):
        raise ModelError("none")


def test_gradient_times_input_of_a_linear_network_is_its_weight():
    network = Linear()
    found = along_sequence(network, DATA, ROWS, batch_size=2)
    assert list(found) == [GRADIENT]
    weight = network.weight.detach().numpy().mean(axis=2)
    wanted = np.abs(weight[np.arange(1000), DATA.codes[ROWS]])
    np.testing.assert_allclose(found[GRADIENT], wanted / wanted.sum(axis=1, keepdims=True), rtol=1e-5)
    assert network.weight.grad is None and network.training


@pytest.mark.parametrize("kind", ["hybrid", "transformer", "cnn"])
def test_attention_adds_up_to_one_and_is_that_of_the_network(kind):
    torch.manual_seed(1)
    network = build_gene(kind, 2, GeneShape(before=800, after=200))
    found = along_sequence(network.eval(), DATA, ROWS)
    assert set(found) == {ATTENTION, GRADIENT}
    for values in found.values():
        assert values.shape == (3, 1000) and (values >= 0).all()
        np.testing.assert_allclose(values.sum(axis=1), 1, rtol=1e-4)
    with torch.no_grad():
        pooled = network.attention_maps(gene_inputs(gene_arrays(DATA, ROWS), torch.device("cpu")))[-1][1]
    # the last bin of a cnn reaches beyond the window, and what it has there is left out
    part = 128 if kind == "cnn" else 200
    along = np.repeat(pooled.mean(dim=1).numpy(), part, axis=1)[:, :1000]
    np.testing.assert_allclose(found[ATTENTION], along / along.sum(axis=1, keepdims=True), rtol=1e-4)
    assert np.ptp(found[ATTENTION][:, :part], axis=1).max() == 0


@pytest.mark.parametrize(
    ("length", "n", "piece", "width"), [(1000, 5, 0, 200), (10_500, 53, 0, 200), (1000, 8, 0, 128)]
)
def test_parts_are_as_wide_as_networks_pool(length, n, piece, width):
    spread = _spread(np.arange(1.0, n + 1)[None, None], length, piece)[0]
    np.testing.assert_allclose(spread[:width], 1 / width)
    assert spread[width] == pytest.approx(2 / width)
    # queries are averaged
    both = _spread(np.ones((1, 2, 7, n)), length, piece)
    np.testing.assert_allclose(both, 1 / width)


def test_profile_is_the_mean_over_genes_with_intervals_over_blocks():
    rng = np.random.default_rng(1)
    values = rng.dirichlet(np.ones(110), size=40).astype(np.float32)
    blocks = np.repeat(np.arange(8), 5)
    table = position_profile({"a": values}, blocks, 100, bins=11, resamples=300)
    assert dict(table.schema) == POSITION_SCHEMA and table.height == 11
    assert table["start"][0] == -100 and table["end"][-1] == 10
    np.testing.assert_allclose(table["share"], values.reshape(40, 11, 10).sum(axis=2).mean(axis=0) * 11, rtol=1e-5)
    assert (table["low"] < table["share"]).all() and (table["share"] < table["high"]).all()
    assert table["share"].mean() == pytest.approx(1, abs=1e-5)
    single = position_profile({"a": values}, np.zeros(40, dtype=int), 100)
    assert single["low"].null_count() == single.height
    assert position_profile({}, blocks, 100).height == 0


def test_bins_of_a_length_that_is_no_multiple():
    sums, edges = binned(np.ones((2, 103), np.float32), 10)
    assert edges.tolist() == [*range(0, 103, 11), 103] and sums[0].tolist() == [11.0] * 9 + [4.0]
