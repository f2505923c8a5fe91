"""Enformer's stem and convolutional tower, computed once for each distinct local haplotype, resolution by resolution.

`sequence.tokens` finds the distinct rows. The numbers are those of enformer-pytorch's own forward, up to rounding.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genopred.sequence.haplotypes import VariantWindow
from genopred.sequence.tokens import Level, Step, base_level, next_level

#: Rows of a table worked on at a time on a CPU: a block's rows stay in its cache.
CPU_ROWS = 2048
CUDA_ROWS = 65_536


@dataclass
class Work:
    """What a prediction took. Operations count multiplications and additions of matrix products."""

    #: Rows asked for, and distinct ones among them: passes through the transformer.
    haplotypes: int = 0
    windows: int = 0
    #: Distinct rows at each resolution, bases first.
    tokens: list[int] = field(default_factory=list)
    tower_operations: float = 0.0
    transformer_operations: float = 0.0
    #: Of one plain pass of one haplotype: its tower, and all of it.
    naive_tower_operations: float = 0.0
    naive_operations: float = 0.0
    #: Largest memory of the tower's tables.
    table_bytes: int = 0
    #: Windows at a time in the transformer.
    batch_size: int = 0
    #: Finding distinct rows, tower, transformer and head.
    seconds_rows: float = 0.0
    seconds_tower: float = 0.0
    seconds_transformer: float = 0.0

    @property
    def tower_passes(self) -> float:
        """The tower's operations for all haplotypes, in plain passes of one."""
        return self.tower_operations / self.naive_tower_operations

    @property
    def fold_operations(self) -> float:
        """How many times more operations one pass a haplotype would have taken."""
        return self.haplotypes * self.naive_operations / (self.tower_operations + self.transformer_operations)


class Counter:
    """Counts the operations of the matrix products it does."""

    def __init__(self) -> None:
        self.operations = 0.0

    def linear(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        self.operations += 2.0 * x.numel() * weight.shape[0]
        return torch.nn.functional.linear(x, weight, bias)

    def bmm(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        self.operations += 2.0 * a.numel() * b.shape[-1]
        return a @ b


def gelu(x: torch.Tensor) -> torch.Tensor:
    """Enformer's own approximation."""
    return x * torch.sigmoid(1.702 * x)


def _gelu(x: torch.Tensor) -> torch.Tensor:
    """The same written over `x`."""
    return x.mul_(torch.sigmoid(1.702 * x))


def scale_and_shift(norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Batch norm in evaluation mode, of each channel."""
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - norm.running_mean * scale


def stages(module: Any) -> list[tuple[Any, Any, Any, Any]]:
    """Norm before it (None before the first), convolution, residual block and pooling of each stage of a module."""
    stem = module.stem
    tower = [(block[0][0], block[0][2], block[1].fn, block[2]) for block in module.conv_tower]
    return [(None, stem[0], stem[1].fn, stem[2]), *tower]


def paired(pairs: torch.Tensor, home: torch.Tensor, offset: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The two convolution rows of each variant row of `Step.pairs`.

    Variant ones begin at `offset`, and `home` is the reference's left one.
    """
    left = torch.where(pairs[:, 0] >= 0, pairs[:, 0] + offset, home)
    right = torch.where(pairs[:, 1] >= 0, pairs[:, 1] + offset, home + 1)
    # an odd last row is pooled with nothing, which is as with itself
    return left, torch.where(pairs[:, 1] == -2, left, right)


class Norm:
    """Batch norm in evaluation mode as scale and shift of each channel, which nothing learns."""

    def __init__(self, norm: Any) -> None:
        self.scale, self.shift = (part.detach() for part in scale_and_shift(norm))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """A new tensor, activated."""
        return _gelu(torch.addcmul(self.shift, x, self.scale))


class _Stage:
    """A convolution, a residual 1-wide convolution and attention pooling of pairs, on rows of tables."""

    def __init__(self, norm: Any | None, conv: Any, residual: Any, pool: Any) -> None:
        self.norm = None if norm is None else Norm(norm)
        self.width = conv.kernel_size[0]
        # (width, in, out)
        self.weight = conv.weight.detach().permute(2, 1, 0).contiguous()
        self.bias = conv.bias.detach()
        self.inner_norm = Norm(residual[0])
        self.inner = residual[2].weight.detach()[:, :, 0].contiguous()
        self.inner_bias = residual[2].bias.detach()
        self.pool = pool.to_attn_logits.weight.detach()[:, :, 0, 0].contiguous()
        self.channels = len(self.bias)

    def rows(self, table: torch.Tensor, begin: int, end: int, count: Counter) -> torch.Tensor:
        """Convolution at the reference's positions begin to end - 1; `table` starts with width // 2 zero rows."""
        m, (width, inputs, outputs) = end - begin, self.weight.shape
        count.operations += 2.0 * m * width * inputs * outputs
        if inputs < 16:
            flat = table[begin : end + width - 1].as_strided((m, width * inputs), (inputs, 1))
            return torch.addmm(self.bias, flat.contiguous(), self.weight.view(-1, outputs))
        out = torch.addmm(self.bias, table[begin:end], self.weight[0])
        for tap in range(1, width):
            out.addmm_(table[begin + tap : end + tap], self.weight[tap])
        return out

    def gathered(self, table: torch.Tensor, windows: torch.Tensor, count: Counter) -> torch.Tensor:
        """Convolution of listed rows, (M, width) indices into `table`."""
        width, inputs, outputs = self.weight.shape
        count.operations += 2.0 * len(windows) * width * inputs * outputs
        flat = table[windows.reshape(-1)].view(-1, width * inputs)
        return torch.addmm(self.bias, flat, self.weight.view(-1, outputs))

    def residual(self, y: torch.Tensor, count: Counter) -> torch.Tensor:
        """Written over `y`."""
        return y.add_(count.linear(self.inner_norm(y), self.inner, self.inner_bias))

    def pooled(self, left: torch.Tensor, right: torch.Tensor, count: Counter) -> torch.Tensor:
        """Softmax over two logits needs their difference only: one product for a pair instead of two."""
        return torch.lerp(right, left, torch.sigmoid(count.linear(left - right, self.pool)))


class ExactTower:
    """Enformer's stem and convolutional tower over the distinct local haplotypes of a window, some `rows` at a time.

    The module's weights are used as they are, at their own precision, on their device; evaluation mode is assumed
    whatever mode it is in.
    """

    def __init__(self, module: Any, rows: int | None = None) -> None:
        self.stages = [_Stage(*parts) for parts in stages(module)]
        first = module.stem[0].weight
        self.device, self.dtype = first.device, first.dtype
        self.rows = rows or (CPU_ROWS if first.device.type == "cpu" else CUDA_ROWS)

    @property
    def reach(self) -> tuple[int, int]:
        """Bases before and after the start of a token's own that it sees; the second counts its own bases.

        Token i of the published model sees bases 128 i - 259 to 128 i + 386: (259, 387).
        """
        before = after = 0
        for stage in reversed(self.stages):
            half = stage.width // 2
            before, after = 2 * before + half, 2 * after + 1 + half
        return before, after + 1

    def tokens(self, window: VariantWindow, work: Work | None = None) -> tuple[torch.Tensor, Level]:
        """Distinct tokens (T, C) of a window of any length, the reference's n first, and which each haplotype has.

        `level.index(haplotypes, H)` gives rows of the table, shape (len(haplotypes), n).
        """
        work = Work() if work is None else work
        started = time.perf_counter()
        level, extra = base_level(window)
        work.seconds_rows += time.perf_counter() - started
        work.tokens = [level.n_rows]
        count = Counter()
        with torch.inference_mode(), full_precision():
            bases = torch.as_tensor(np.asarray(window.reference)).to(self.device, self.dtype)
            table = self._padded(level, self.stages[0].width, 4)
            half = self.stages[0].width // 2
            table[half : half + level.n] = bases
            table[level.n + 2 * half :] = torch.as_tensor(extra).to(self.device, self.dtype)
            for number, stage in enumerate(self.stages):
                started = time.perf_counter()
                step = next_level(level, stage.width, len(window.alleles))
                work.seconds_rows += time.perf_counter() - started
                started = time.perf_counter()
                following = self.stages[number + 1] if number + 1 < len(self.stages) else None
                width = 1 if following is None else following.width
                out = self._padded(step.level, width, stage.channels)
                work.table_bytes = max(work.table_bytes, (table.numel() + out.numel()) * table.element_size())
                self._advance(stage, table, level.n, step, out, width // 2, count)
                if following is not None and following.norm is not None:
                    self._activate(out, step.level.n, width // 2, following.norm)
                table, level = out, step.level
                work.tokens.append(level.n_rows)
                work.seconds_tower += time.perf_counter() - started
        work.tower_operations += count.operations
        return table, level

    def plan(self, window: VariantWindow) -> Work:
        """Distinct rows and operations of `tokens`, without computing it."""
        work = Work(haplotypes=len(window.alleles))
        started = time.perf_counter()
        level, _ = base_level(window)
        work.tokens = [level.n_rows]
        below, size = 4, self.stages[0].bias.element_size()
        for stage in self.stages:
            step = next_level(level, stage.width, len(window.alleles))
            width, inputs, outputs = stage.weight.shape
            rows = level.n + len(step.windows)
            paired = level.n // 2 + step.level.n_variant
            work.tower_operations += 2.0 * outputs * (rows * (width * inputs + outputs) + paired * outputs)
            held = size * (level.n_rows * below + step.level.n_rows * outputs)
            work.table_bytes, below, level = max(work.table_bytes, held), outputs, step.level
            work.tokens.append(level.n_rows)
        work.seconds_rows = time.perf_counter() - started
        return work

    def _padded(self, level: Level, width: int, channels: int) -> torch.Tensor:
        """Zero rows, the reference's rows, zero rows, the variant rows."""
        return torch.zeros((level.n_rows + 2 * (width // 2), channels), dtype=self.dtype, device=self.device)

    def _activate(self, table: torch.Tensor, n: int, pad: int, norm: Norm) -> None:
        """The next stage's batch norm and GELU, on everything but the padding: that is zero after them."""
        for begin, end in ((pad, pad + n), (n + 2 * pad, len(table))):
            for at in range(begin, end, self.rows):
                block = table[at : min(at + self.rows, end)]
                block.copy_(norm(block))

    def _advance(
        self, stage: _Stage, table: torch.Tensor, n_in: int, step: Step, out: torch.Tensor, pad: int, count: Counter
    ) -> None:
        windows = torch.from_numpy(step.windows).to(self.device)
        pairs = torch.from_numpy(step.pairs.astype(np.int64)).to(self.device)
        variant = step.level.n + 2 * pad
        for begin, end in _blocks(step.window_first, self.rows):
            # convolution rows of a block of output positions: the reference's, then the variant ones
            low, high = 2 * begin, min(2 * end, n_in)
            w0, w1 = int(step.window_first[begin]), int(step.window_first[end])
            y = stage.residual(stage.rows(table, low, high, count), count)
            m = high - low
            whole = m // 2
            out[pad + begin : pad + begin + whole] = stage.pooled(y[0 : 2 * whole : 2], y[1 : 2 * whole : 2], count)
            if m % 2:  # an odd last row is pooled with nothing
                out[pad + end - 1] = y[-1]
            p0, p1 = int(step.level.first[begin]), int(step.level.first[end])
            if p1 == p0:
                continue
            both = torch.empty((m + w1 - w0, stage.channels), dtype=y.dtype, device=y.device)
            both[:m] = y
            for at in range(w0, w1, self.rows):
                stop = min(at + self.rows, w1)
                found = stage.gathered(table, windows[at:stop], count)
                both[m + at - w0 : m + stop - w0] = stage.residual(found, count)
            home_of = np.repeat(2 * np.arange(end - begin), np.diff(step.level.first[begin : end + 1]))
            homes = torch.from_numpy(home_of).to(self.device)
            for at in range(p0, p1, self.rows):
                stop = min(at + self.rows, p1)
                left, right = paired(pairs[at:stop], homes[at - p0 : stop - p0], m - w0)
                out[variant + at : variant + stop] = stage.pooled(both[left], both[right], count)


def _blocks(first: NDArray[np.int64], rows: int) -> Iterator[tuple[int, int]]:
    """Runs of output positions with at most about `rows` convolution rows, at least one position each."""
    n = len(first) - 1
    cost = first + 2 * np.arange(n + 1)
    begin = 0
    while begin < n:
        end = int(np.searchsorted(cost, cost[begin] + rows, side="right")) - 1
        end = min(max(end, begin + 1), n)
        yield begin, end
        begin = end


@contextmanager
def full_precision(tf32: bool = False) -> Iterator[None]:
    """Matrix products on CUDA in true fp32, or in TF32; what the caller had set is put back."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    cudnn = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = cudnn
