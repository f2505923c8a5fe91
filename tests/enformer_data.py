"""Small Enformers whose every weight matters, windows for them, and the plain pass that is the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from genopred.sequence.haplotypes import VariantWindow

torch = pytest.importorskip("torch")
enformer_pytorch = pytest.importorskip("enformer_pytorch")

from genopred.sequence.models.enformer.checkpoint import CheckpointInfo  # noqa: E402
from genopred.sequence.models.enformer.model import EnformerModel  # noqa: E402

SMALL = {
    "dim": 96,
    "depth": 3,
    "heads": 4,
    "output_heads": {"human": 7, "mouse": 3},
    "target_length": 10,
    "dim_divisible_by": 12,
    "attn_dim_key": 16,
}


def randomised(module: Any, seed: int = 0) -> Any:
    """Weights under which attention and every base matter, as in a trained network.

    As enformer-pytorch initialises it, attention's output is zero and the tower's tokens are almost constant:
    any mistake in either would pass. Batch norm gets the statistics of random sequences, then noise.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: Any, mean: float, std: float) -> None:
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * std + mean)

    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, torch.nn.Conv1d | torch.nn.Linear | torch.nn.Conv2d):
                normal(part.weight, 0, part.weight[0].numel() ** -0.5)
                if part.bias is not None:
                    normal(part.bias, 0, 0.1)
            elif isinstance(part, torch.nn.LayerNorm | torch.nn.BatchNorm1d):
                normal(part.weight, 1, 0.2)
                normal(part.bias, 0, 0.2)
        norms = [part for part in module.eval().modules() if isinstance(part, torch.nn.BatchNorm1d)]
        for part in norms:
            part.train()
            part.momentum = 1.0
        tokens = max(module._trunk[-2].target_length, 8)
        bases = torch.randint(4, (2, tokens << len(module.conv_tower) + 1), generator=generator)
        module(torch.nn.functional.one_hot(bases, 4).float())
        for part in norms:
            part.eval()
            part.running_mean += (
                0.2 * part.running_var.sqrt() * torch.randn(part.running_mean.shape, generator=generator)
            )
            part.running_var *= 0.7 + 0.6 * torch.rand(part.running_var.shape, generator=generator)
    return module


def small(dtype: Any = torch.float64, seed: int = 0, **changed: Any) -> Any:
    torch.manual_seed(seed)
    return randomised(enformer_pytorch.Enformer.from_hparams(**(SMALL | changed)), seed).to(dtype)


CROPPED = small(depth=2, target_length=56, output_heads={"human": 5})
MODULES = {torch.float32: small(torch.float32), torch.float64: small()}


def case(length: int, sites: list[int], n: int, seed: int, share: float = 0.3) -> VariantWindow:
    """A window with some N, and n haplotypes with SNVs at `sites`; the first two are soft."""
    rng = np.random.default_rng(seed)
    reference = np.eye(4, dtype=np.float32)[rng.integers(0, 4, length)]
    reference[rng.integers(0, length - 20) :][:20] = 0
    sites = np.array(sorted(sites), dtype=np.int64)
    ref = rng.integers(0, 4, len(sites))
    alt = (ref + rng.integers(1, 4, len(sites))) % 4
    reference[sites] = np.eye(4, dtype=np.float32)[ref]
    alleles = (rng.random((n, len(sites))) < share).astype(np.int8)
    alleles[:2] *= rng.integers(1, 3, (2, len(sites))).astype(np.int8)[: len(alleles[:2])]
    if n > 3:
        alleles[3] = alleles[2]
        alleles[-1] = 0
    return VariantWindow(reference, sites, ref.astype(np.int8), alt.astype(np.int8), alleles)


def naive(module: Any, window: VariantWindow, head: str = "human") -> Any:
    dtype = module.stem[0].weight.dtype
    with torch.no_grad():
        return module(torch.from_numpy(window.onehot()).to(dtype), head=head).numpy()


def model_of(module: Any, length: int = 2048, head: str = "human") -> EnformerModel:
    return EnformerModel(module, CheckpointInfo("here", "0" * 64, {}, length, False, "test"), head=head)


def predicted(module: Any, window: VariantWindow, head: str = "human", **options: Any) -> Any:
    return model_of(module, len(window.reference), head).run(window, **options)


def error(got: Any, want: Any) -> float:
    return float(np.abs(got - want).max() / np.abs(want).max())


def difference_error(got: Any, want: Any) -> float:
    """Of what differs between haplotypes, relative to the largest such difference."""
    return float(
        np.abs((got - got.mean(axis=0)) - (want - want.mean(axis=0))).max() / np.abs(want - want.mean(axis=0)).max()
    )
