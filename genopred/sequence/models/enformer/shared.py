"""Enformer's stem and convolutional tower over the distinct local haplotypes of a window, so that it can be trained.

As `tower.ExactTower`, whose numbers these are, with a way back: no tensor is written over, weights are read anew at
each call, and those that peft adapts count with what it adds. What is distinct is found once (`plan`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from genopred.sequence.haplotypes import VariantWindow
from genopred.sequence.models.enformer.tower import gelu, paired, scale_and_shift, stages
from genopred.sequence.tokens import Level, base_level, next_level


@dataclass(frozen=True)
class Plan:
    """What is distinct in a window, level by level.

    Attributes
    ----------
    bases : tensor, shape (length + V, 4)
        Channels of the reference's bases, then of the variant ones.
    length : int
        Bases of the window.
    stages : tuple of (windows, left, right)
        Of each stage the input rows of each variant convolution row, (M, width), in a table of zero rows, the
        reference's, zero rows and the variant ones; and the two convolution rows of each output row.
    index : tensor, shape (D, n)
        Rows of the last table that each haplotype has.
    """

    bases: torch.Tensor
    length: int
    stages: tuple[tuple[torch.Tensor, torch.Tensor, torch.Tensor], ...]
    index: torch.Tensor


def plan(body: Any, window: VariantWindow) -> Plan:
    """What of a window's haplotypes is distinct at each level of enformer-pytorch's module `body`."""
    level, extra = base_level(window)
    bases = np.concatenate([np.asarray(window.reference), extra]).astype(np.float32)
    found = []
    for _, convolution, _, _ in stages(body):
        width = getattr(convolution, "base_layer", convolution).kernel_size[0]
        step = next_level(level, width, len(window.alleles))
        found.append((torch.from_numpy(step.windows.astype(np.int64)), *_pairs(step.pairs, level.n, step.level)))
        level = step.level
    index = level.index(np.arange(len(window.alleles)), len(window.alleles))
    return Plan(torch.from_numpy(bases), len(window.reference), tuple(found), torch.from_numpy(index))


def _pairs(pairs: NDArray[np.int32], n: int, out: Level) -> tuple[torch.Tensor, torch.Tensor]:
    """The two convolution rows of each output row: of the reference's, then of the variant ones."""
    first = torch.arange(0, n, 2)
    home = torch.from_numpy(2 * np.repeat(np.arange(out.n), np.diff(out.first)))
    left, right = paired(torch.from_numpy(pairs.astype(np.int64)), home, n)
    return torch.cat([first, left]), torch.cat([(first + 1).clamp(max=n - 1), right])


def shared_tokens(body: Any, found: Plan) -> torch.Tensor:
    """Distinct tokens (R, C) of a window, differentiable; `found.index` says which of them each haplotype has."""
    device = body.final_pointwise[1][0].weight.device
    table, n = found.bases.to(device), found.length
    for (norm, convolution, residual, pool), (windows, left, right) in zip(stages(body), found.stages):
        x = table if norm is None else _activated(norm, table)
        y = _convolved(convolution, x, n, windows.to(device))
        y = y + functional.linear(_activated(residual[0], y), weight_of(residual[2])[:, :, 0], _bias_of(residual[2]))
        second = y[right.to(device)]
        difference = y[left.to(device)] - second
        # a softmax of two logits is a sigmoid of their difference
        share = torch.sigmoid(functional.linear(difference, weight_of(pool.to_attn_logits)[:, :, 0, 0]))
        table, n = second + share * difference, (n + 1) // 2
    return table


def _convolved(layer: Any, x: torch.Tensor, n: int, windows: torch.Tensor) -> torch.Tensor:
    """Rows of a zero-padded convolution: at the reference's n positions, then of the listed windows."""
    weight, bias = weight_of(layer), _bias_of(layer)
    half = weight.shape[2] // 2
    # (n, C) is (1, C, 1, n) with its channels last in memory, which torch's convolutions like best
    reference = functional.conv2d(x[:n].t()[None, :, None], weight[:, :, None], bias, padding=(0, half))[0, :, 0].t()
    zero = x.new_zeros(half, x.shape[1])
    padded = torch.cat([zero, x[:n], zero, x[n:]])
    rows = padded[windows.reshape(-1)].view(len(windows), weight.shape[1] * weight.shape[2])
    variant = functional.linear(rows, weight.permute(0, 2, 1).reshape(len(weight), -1), bias)
    return torch.cat([reference, variant])


def _activated(norm: Any, x: torch.Tensor) -> torch.Tensor:
    """Batch norm as in evaluation, then Enformer's GELU."""
    scale, shift = scale_and_shift(norm)
    return gelu(x * scale + shift)


def weight_of(layer: Any) -> torch.Tensor:
    """A layer's weight, with what peft's LoRA adds to it."""
    base = getattr(layer, "base_layer", layer)
    weight: torch.Tensor = base.weight
    if base is not layer:
        for name in layer.active_adapters:
            weight = weight + layer.get_delta_weight(name)
    return weight


def _bias_of(layer: Any) -> torch.Tensor | None:
    bias: torch.Tensor | None = getattr(layer, "base_layer", layer).bias
    return bias
