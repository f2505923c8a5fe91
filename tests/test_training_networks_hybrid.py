"""Networks of genes learn a planted motif, whatever the seed, and do not take a decoy for it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

from genopred.training.networks.gene import GeneInputs, GeneShape  # noqa: E402
from genopred.training.networks.registry import build_gene  # noqa: E402
from genopred.training.simulate import SimulatedGenes, simulate_genes  # noqa: E402


@cache
def simulated() -> SimulatedGenes:
    return simulate_genes(500, before=700, after=100, segments=0, cells=1, promoter=0.85, seed=3)


def held_out_r(kind: str, seed: int, epochs: int, rate: float = 5e-3, **sizes) -> float:
    """Correlation on genes that were not trained on, after a plain training."""
    made = simulated()
    x = torch.eye(5, 4)[torch.from_numpy(made.data.codes.astype(np.int64))]
    y = torch.from_numpy(made.data.measured)
    train, test = made.split.rows("train"), made.split.rows("test")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = build_gene(kind, 1, GeneShape(700, 100), **sizes)
        optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
        plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, epochs * (len(train) // 16))
        for _ in range(epochs):
            for rows in torch.from_numpy(train)[torch.randperm(len(train))].split(16)[: len(train) // 16]:
                turned = x[rows].flip(1, 2) if torch.rand(()) < 0.5 else x[rows]
                loss = (network(GeneInputs(turned)) - y[rows]).square().mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                plan.step()
    torch.set_num_threads(before)
    with torch.no_grad():
        return float(np.corrcoef(network.eval()(GeneInputs(x[test]))[:, 0], y[test, 0])[0, 1])


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("kind", ["hybrid", "transformer", "dual-path", "cnn"])
def test_a_planted_motif_is_learned(kind, seed):
    sizes = {"channels": 32} | ({"layers": 1} if kind in ("cnn", "transformer") else {})
    assert held_out_r(kind, seed, 14, dropout=0.05, **sizes) > 0.6
