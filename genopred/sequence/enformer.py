"""Enformer on many haplotypes of one window, exactly, without doing the same work twice.

The convolutional tower is computed once for each distinct local haplotype, resolution by resolution
(`sequence.tokens` finds them); the transformer once for each distinct whole window, its first projections once for
each distinct token, its relative-position keys once for all, its last block and the head only for the bins and tracks
asked for. The numbers are those of enformer-pytorch's own forward, up to rounding.

Avsec et al. (2021), doi:10.1038/s41592-021-01252-x; enformer-pytorch 0.8.12 is the oracle.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genopred.errors import GenopredError, ModelError, examples
from genopred.sequence.checkpoint import load_enformer
from genopred.sequence.haplotypes import distinct_rows
from genopred.sequence.tokens import Level, Step, base_level, next_level

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

MODES = ("exact", "linear", "reference")
DTYPES = ("fp32", "tf32", "bf16")
#: Rows of a table worked on at a time on a CPU: a block's rows stay in its cache.
CPU_ROWS = 2048
CUDA_ROWS = 65_536
#: Queries of a haplotype worked on at a time on a CPU.
CPU_QUERIES = 128


@dataclass
class Work:
    """What a prediction took. Operations count multiplications and additions of matrix products.

    Attributes
    ----------
    haplotypes, windows : int
        Rows asked for, and distinct ones among them: passes through the transformer.
    tokens : list of int
        Distinct rows at each resolution, bases first.
    tower_operations, transformer_operations : float
    naive_tower_operations, naive_operations : float
        Of one plain pass of one haplotype: its tower, and all of it.
    table_bytes : int
        Largest memory of the tower's tables.
    batch_size : int
        Windows a time in the transformer.
    seconds_rows, seconds_tower, seconds_transformer : float
        Finding distinct rows, tower, transformer and head.
    """

    haplotypes: int = 0
    windows: int = 0
    tokens: list[int] = field(default_factory=list)
    tower_operations: float = 0.0
    transformer_operations: float = 0.0
    naive_tower_operations: float = 0.0
    naive_operations: float = 0.0
    table_bytes: int = 0
    batch_size: int = 0
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

    def as_dict(self) -> dict[str, Any]:
        """All of it, for manifests and tables."""
        return asdict(self) | {"tower_passes": self.tower_passes, "fold_operations": self.fold_operations}


class _Counter:
    """Counts the operations of the matrix products it does."""

    def __init__(self) -> None:
        self.operations = 0.0

    def linear(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        import torch

        self.operations += 2.0 * x.numel() * weight.shape[0]
        return torch.nn.functional.linear(x, weight, bias)

    def bmm(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        self.operations += 2.0 * a.numel() * b.shape[-1]
        return a @ b


def _gelu(x: torch.Tensor) -> torch.Tensor:
    """Enformer's own approximation; written over `x`."""
    import torch

    return x.mul_(torch.sigmoid(1.702 * x))


class _Norm:
    """Batch norm in evaluation mode as scale and shift of each channel."""

    def __init__(self, norm: Any) -> None:
        self.scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
        self.shift = norm.bias.detach() - norm.running_mean * self.scale

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """A new tensor, activated."""
        import torch

        return _gelu(torch.addcmul(self.shift, x, self.scale))


class _Stage:
    """A convolution, a residual 1-wide convolution and attention pooling of pairs, on rows of tables."""

    def __init__(self, norm: Any | None, conv: Any, residual: Any, pool: Any) -> None:
        self.norm = None if norm is None else _Norm(norm)
        self.width = conv.kernel_size[0]
        # (width, in, out)
        self.weight = conv.weight.detach().permute(2, 1, 0).contiguous()
        self.bias = conv.bias.detach()
        self.inner_norm = _Norm(residual[0])
        self.inner = residual[2].weight.detach()[:, :, 0].contiguous()
        self.inner_bias = residual[2].bias.detach()
        self.pool = pool.to_attn_logits.weight.detach()[:, :, 0, 0].contiguous()
        self.channels = len(self.bias)

    def rows(self, table: torch.Tensor, begin: int, end: int, count: _Counter) -> torch.Tensor:
        """Convolution at the reference's positions begin to end - 1; `table` starts with width // 2 zero rows."""
        import torch

        m, (width, inputs, outputs) = end - begin, self.weight.shape
        count.operations += 2.0 * m * width * inputs * outputs
        if inputs < 16:
            flat = table[begin : end + width - 1].as_strided((m, width * inputs), (inputs, 1))
            return torch.addmm(self.bias, flat.contiguous(), self.weight.view(-1, outputs))
        out = torch.addmm(self.bias, table[begin:end], self.weight[0])
        for tap in range(1, width):
            out.addmm_(table[begin + tap : end + tap], self.weight[tap])
        return out

    def gathered(self, table: torch.Tensor, windows: torch.Tensor, count: _Counter) -> torch.Tensor:
        """Convolution of listed rows, (M, width) indices into `table`."""
        import torch

        width, inputs, outputs = self.weight.shape
        count.operations += 2.0 * len(windows) * width * inputs * outputs
        return torch.addmm(
            self.bias, table[windows.reshape(-1)].view(-1, width * inputs), self.weight.view(-1, outputs)
        )

    def residual(self, y: torch.Tensor, count: _Counter) -> torch.Tensor:
        """Written over `y`."""
        return y.add_(count.linear(self.inner_norm(y), self.inner, self.inner_bias))

    def pooled(self, left: torch.Tensor, right: torch.Tensor, count: _Counter) -> torch.Tensor:
        """Softmax over two logits needs their difference only: one product for a pair instead of two."""
        import torch

        return torch.lerp(right, left, torch.sigmoid(count.linear(left - right, self.pool)))


class ExactTower:
    """Enformer's stem and convolutional tower over the distinct local haplotypes of a window.

    Parameters
    ----------
    module : enformer_pytorch.Enformer
        Its weights are used as they are, at their own precision, on their device; evaluation mode is assumed
        whatever mode it is in.
    rows : int, optional
        Rows worked on at a time.
    """

    def __init__(self, module: Any, rows: int | None = None) -> None:
        stem = module.stem
        self.stages = [_Stage(None, stem[0], stem[1].fn, stem[2])]
        for block in module.conv_tower:
            self.stages.append(_Stage(block[0][0], block[0][2], block[1].fn, block[2]))
        first = stem[0].weight
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

    def tokens(
        self,
        reference: NDArray[np.floating],
        sites: NDArray[np.integer],
        ref_codes: NDArray[np.integer],
        alt_codes: NDArray[np.integer],
        alleles: NDArray[np.integer],
        work: Work | None = None,
    ) -> tuple[torch.Tensor, Level]:
        """Distinct tokens, and which of them each haplotype has.

        Parameters
        ----------
        reference, sites, ref_codes, alt_codes, alleles
            As in `registry.SequenceModel.predict_haplotypes`; any L.

        Returns
        -------
        table : tensor, shape (T, C)
            The reference's n tokens, then the variant ones.
        level : tokens.Level
            `level.index(haplotypes, H)` gives rows of `table`, shape (len(haplotypes), n).
        """
        import torch

        work = Work() if work is None else work
        started = time.perf_counter()
        level, extra = base_level(np.asarray(reference), sites, ref_codes, alt_codes, alleles)
        work.seconds_rows += time.perf_counter() - started
        work.tokens = [level.n_rows]
        count = _Counter()
        with torch.inference_mode(), _full_precision():
            bases = torch.as_tensor(np.asarray(reference)).to(self.device, self.dtype)
            table = self._padded(level, self.stages[0].width, 4)
            half = self.stages[0].width // 2
            table[half : half + level.n] = bases
            table[level.n + 2 * half :] = torch.as_tensor(extra).to(self.device, self.dtype)
            for number, stage in enumerate(self.stages):
                started = time.perf_counter()
                step = next_level(level, stage.width, len(alleles))
                work.seconds_rows += time.perf_counter() - started
                started = time.perf_counter()
                last = number + 1 == len(self.stages)
                width = 1 if last else self.stages[number + 1].width
                out = self._padded(step.level, width, stage.channels)
                work.table_bytes = max(work.table_bytes, (table.numel() + out.numel()) * table.element_size())
                self._advance(stage, table, level.n, step, out, width // 2, count)
                if not last:
                    self._activate(out, step.level.n, width // 2, self.stages[number + 1])
                table, level = out, step.level
                work.tokens.append(level.n_rows)
                work.seconds_tower += time.perf_counter() - started
        work.tower_operations += count.operations
        return table, level

    def plan(
        self,
        reference: NDArray[np.floating],
        sites: NDArray[np.integer],
        ref_codes: NDArray[np.integer],
        alt_codes: NDArray[np.integer],
        alleles: NDArray[np.integer],
    ) -> Work:
        """Distinct rows and operations of `tokens`, without computing it."""
        work = Work(haplotypes=len(alleles))
        started = time.perf_counter()
        level, _ = base_level(np.asarray(reference), sites, ref_codes, alt_codes, alleles)
        work.tokens = [level.n_rows]
        below, size = 4, self.stages[0].bias.element_size()
        for stage in self.stages:
            step = next_level(level, stage.width, len(alleles))
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
        import torch

        return torch.zeros((level.n_rows + 2 * (width // 2), channels), dtype=self.dtype, device=self.device)

    def _activate(self, table: torch.Tensor, n: int, pad: int, stage: _Stage) -> None:
        """The next stage's batch norm and GELU, on everything but the padding: that is zero after them."""
        norm = stage.norm
        if norm is None:
            return
        for begin, end in ((pad, pad + n), (n + 2 * pad, len(table))):
            for at in range(begin, end, self.rows):
                block = table[at : min(at + self.rows, end)]
                block.copy_(norm(block))

    def _advance(
        self, stage: _Stage, table: torch.Tensor, n_in: int, step: Step, out: torch.Tensor, pad: int, count: _Counter
    ) -> None:
        import torch

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
                both[m + at - w0 : m + stop - w0] = stage.residual(
                    stage.gathered(table, windows[at:stop], count), count
                )
            position = torch.from_numpy(
                np.repeat(np.arange(begin, end), np.diff(step.level.first[begin : end + 1])) - begin
            ).to(self.device)
            for at in range(p0, p1, self.rows):
                stop = min(at + self.rows, p1)
                pair, home = pairs[at:stop], 2 * position[at - p0 : stop - p0]
                left = torch.where(pair[:, 0] >= 0, pair[:, 0] - w0 + m, home)
                right = torch.where(pair[:, 1] >= 0, pair[:, 1] - w0 + m, home + 1)
                alone = pair[:, 1] == -2
                right = torch.where(alone, left, right)
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


class _Block:
    """One transformer block's weights at the precision of its matrix products."""

    def __init__(self, block: Any, dtype: torch.dtype, positions: torch.Tensor) -> None:
        norm, attention = block[0].fn[0], block[0].fn[1]
        inner, first, second = block[1].fn[0], block[1].fn[1], block[1].fn[4]
        self.heads, self.scale = attention.heads, attention.scale

        def cast(x: torch.Tensor) -> torch.Tensor:
            return x.detach().to(dtype)

        self.norm, self.inner_norm = _layer_norm(norm), _layer_norm(inner)
        self.q, self.k, self.v = (cast(m.weight) for m in (attention.to_q, attention.to_k, attention.to_v))
        self.out, self.out_bias = cast(attention.to_out.weight), cast(attention.to_out.bias)
        self.first, self.first_bias = cast(first.weight), cast(first.bias)
        self.second, self.second_bias = cast(second.weight), cast(second.bias)
        # (heads, 1, dim_key)
        self.content_bias = cast(attention.rel_content_bias)[0]
        self.position_bias = cast(attention.rel_pos_bias)[0]
        # relative keys do not depend on the haplotype: (heads, dim_key, 2 n - 1)
        keys = positions @ attention.to_rel_k.weight.detach().t()
        self.rel = keys.view(len(keys), self.heads, -1).permute(1, 2, 0).to(dtype).contiguous()


def _layer_norm(norm: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    import torch

    weight, bias = norm.weight.detach(), norm.bias.detach()
    return lambda x: torch.nn.functional.layer_norm(x, weight.shape, weight, bias, norm.eps)


class Transformer:
    """Enformer's transformer, crop and head, on tokens given by table and index.

    The residual stream and the normalisations stay at the module's own precision; `dtype` is that of the matrix
    products.
    """

    def __init__(self, module: Any, n: int, head: str, dtype: torch.dtype, queries: int | None = None) -> None:
        import torch

        weight = module.stem[0].weight
        self.n, self.dtype, self.device, self.own = n, dtype, weight.device, weight.dtype
        self.queries = queries or (CPU_QUERIES if weight.device.type == "cpu" else n)
        attention = module.transformer[0][0].fn[1]
        with torch.no_grad():
            positions = _positions(attention, n, weight)
            self.blocks = [_Block(block, dtype, positions) for block in module.transformer]
        final, out = module.final_pointwise, module._heads[head][0]
        self.final_norm, conv = _Norm(final[1][0]), final[1][2]
        self.final, self.final_bias = conv.weight.detach()[:, :, 0], conv.bias.detach()
        self.head, self.head_bias = out.weight.detach(), out.bias.detach()
        self.n_bins, self.crop = _bins(module, n)

    def shared(self, table: torch.Tensor, count: _Counter) -> tuple[torch.Tensor, ...]:
        """The first block's queries, keys and values of each distinct token."""
        import torch

        block = self.blocks[0]
        parts: tuple[list[torch.Tensor], ...] = ([], [], [])
        for chunk in table.split(CUDA_ROWS if self.device.type == "cuda" else CPU_ROWS):
            x = block.norm(chunk).to(self.dtype)
            for part, weight in zip(parts, (block.q, block.k, block.v)):
                part.append(count.linear(x, weight))
        return tuple(torch.cat(part) for part in parts)

    def run(
        self,
        table: torch.Tensor,
        index: torch.Tensor,
        bins: torch.Tensor,
        tracks: torch.Tensor,
        count: _Counter,
        shared: tuple[torch.Tensor, ...] | None = None,
    ) -> torch.Tensor:
        """Predictions (B, len(bins), len(tracks)) of B rows of `index` (B, n) into `table`."""
        import torch

        x = table[index]
        wanted = bins + self.crop
        for number, block in enumerate(self.blocks):
            if number + 1 == len(self.blocks):
                x = self._last(block, x, wanted, count)
                continue
            if number == 0 and shared is not None:
                q, k, v = (part[index] for part in shared)
            else:
                y = block.norm(x).to(self.dtype)
                q, k, v = (count.linear(y, weight) for weight in (block.q, block.k, block.v))
            x = x + count.linear(self._attend(block, q, k, v, count), block.out, block.out_bias).to(self.own)
            x = self._forward(block, x, count)
        x = _sigmoid_gelu(count.linear(self.final_norm_of(x), self.final, self.final_bias))
        return torch.nn.functional.softplus(count.linear(x, self.head[tracks], self.head_bias[tracks]))

    def final_norm_of(self, x: torch.Tensor) -> torch.Tensor:
        """Batch norm and GELU before the last convolution, differentiable."""
        return _sigmoid_gelu(x * self.final_norm.scale + self.final_norm.shift)

    def _forward(self, block: _Block, x: torch.Tensor, count: _Counter) -> torch.Tensor:
        y = count.linear(block.inner_norm(x).to(self.dtype), block.first, block.first_bias).relu_()
        return x + count.linear(y, block.second, block.second_bias).to(self.own)

    def _attend(
        self, block: _Block, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, count: _Counter
    ) -> torch.Tensor:
        """Attention of all queries, (B, n, heads * dim_value)."""
        import torch

        b, n, h = len(q), self.n, block.heads
        q, k, v = (t.view(b, n, h, -1).transpose(1, 2) for t in (q, k, v))
        kt = k.transpose(2, 3)
        out = []
        for low in range(0, n, self.queries):
            high = min(low + self.queries, n)
            m = high - low
            part = q[:, :, low:high] * block.scale
            # query i meets key j at distance j - i, column n - 1 - i + j of the relative keys; only those columns
            # that this block of queries can meet are multiplied
            rel = block.rel[:, :, n - high : 2 * n - 1 - low]
            flat = (part + block.position_bias).transpose(0, 1).reshape(h, b * m, -1)
            far = count.bmm(flat, rel).view(h, b, m, n + m - 1).transpose(0, 1)
            s0, s1, s2, _ = far.stride()
            shifted = far.as_strided((b, h, m, n), (s0, s1, s2 - 1, 1), far.storage_offset() + m - 1)
            logits = count.bmm(part + block.content_bias, kt).add_(shifted)
            out.append(count.bmm(torch.softmax(logits, dim=-1), v))
        return torch.cat(out, dim=2).transpose(1, 2).reshape(b, n, -1)

    def _last(self, block: _Block, x: torch.Tensor, wanted: torch.Tensor, count: _Counter) -> torch.Tensor:
        """The last block for some queries only, (B, len(wanted), C).

        Few queries are multiplied into the key and value weights, instead of the weights into all tokens.
        """
        import torch

        b, n, c = x.shape
        h, nq = block.heads, len(wanted)
        y = block.norm(x).to(self.dtype)
        q = count.linear(y[:, wanted], block.q).view(b, nq, h, -1).transpose(1, 2) * block.scale
        dk, dv = q.shape[-1], len(block.v) // h
        column = (n - 1 - wanted)[:, None] + torch.arange(n, device=x.device)
        flat = (q + block.position_bias).transpose(0, 1).reshape(h, b * nq, dk)
        far = count.bmm(flat, block.rel).view(h, b, nq, -1).transpose(0, 1)
        logits = far.gather(3, column.expand(b, h, nq, n))
        q = q + block.content_bias
        if nq * h * c * (dk + n) < n * c * h * dk + nq * h * n * dk:
            mixed = count.bmm(q, block.k.view(h, dk, c).expand(b, h, dk, c))
            logits = logits + count.bmm(mixed.reshape(b, h * nq, c), y.transpose(1, 2)).view(b, h, nq, n)
        else:
            k = count.linear(y, block.k).view(b, n, h, dk).permute(0, 2, 3, 1)
            logits = logits + count.bmm(q, k)
        attention = torch.softmax(logits, dim=-1)
        if nq * h * c * (dv + n) < n * c * h * dv + nq * h * n * dv:
            mean = count.bmm(attention.reshape(b, h * nq, n), y).view(b, h, nq, c)
            out = count.bmm(mean, block.v.view(h, dv, c).transpose(1, 2).expand(b, h, c, dv))
        else:
            out = count.bmm(attention, count.linear(y, block.v).view(b, n, h, dv).transpose(1, 2))
        out = out.transpose(1, 2).reshape(b, nq, h * dv)
        return self._forward(block, x[:, wanted] + count.linear(out, block.out, block.out_bias).to(self.own), count)


def _sigmoid_gelu(x: torch.Tensor) -> torch.Tensor:
    import torch

    return x * torch.sigmoid(1.702 * x)


def _positions(attention: Any, n: int, weight: torch.Tensor) -> torch.Tensor:
    """Features of the 2 n - 1 distances, at the module's precision."""
    from enformer_pytorch.modeling_enformer import get_positional_embed

    embedded: torch.Tensor = get_positional_embed(
        n, attention.num_rel_pos_features, weight.device, use_tf_gamma=attention.use_tf_gamma, dtype=weight.dtype
    )
    return embedded


def _bins(module: Any, n: int) -> tuple[int, int]:
    """Bins that the module gives for n tokens, and how many tokens come before the first."""
    target = module._trunk[-2].target_length
    if target == -1:
        return n, 0
    if target > n:
        raise ModelError(f"The checkpoint's target_length is {target} bins and its window has only {n} tokens.")
    trim = (n - target + 1) // 2
    return n - 2 * trim, trim


def predict_haplotypes(
    module: Any,
    reference: NDArray[np.floating],
    sites: NDArray[np.integer],
    ref_codes: NDArray[np.integer],
    alt_codes: NDArray[np.integer],
    alleles: NDArray[np.integer],
    *,
    bins: Sequence[int] | NDArray[np.int64] | None = None,
    tracks: Sequence[int] | NDArray[np.int64] | None = None,
    head: str = "human",
    mode: str = "exact",
    dtype: str = "fp32",
    batch_size: int | None = None,
    aggregate: str = "none",
    transformer: Transformer | None = None,
    tower: ExactTower | None = None,
) -> tuple[NDArray[np.floating], Work]:
    """Enformer's predictions of many haplotypes of one window.

    Parameters
    ----------
    module : enformer_pytorch.Enformer
        On the device to be used; neither its mode nor its weights are changed.
    reference, sites, ref_codes, alt_codes, alleles
        As in `registry.SequenceModel.predict_haplotypes`.
    bins, tracks : indices, optional
        All by default.
    mode : {"exact", "linear", "reference"}
        `linear` runs the tower exactly and the transformer to first order around the reference, with one backward
        pass for each bin and track; `reference` gives every haplotype the reference's prediction.
    dtype : {"fp32", "tf32", "bf16"}
        Of the transformer's matrix products. The tower, done about once, is always at the module's precision.
    batch_size : int, optional
        Windows at a time in the transformer; from free memory by default. Halved where memory runs out.
    aggregate : {"none", "mean", "sum"}
        Of the asked bins, into one. In linear mode this leaves one backward pass a track instead of one a bin and
        track.
    transformer, tower : optional
        Made from `module` before, to be used again.

    Returns
    -------
    predictions : array, shape (H, len(bins), len(tracks)), or (H, 1, len(tracks)) aggregated
    work : Work

    Raises
    ------
    GenopredError
        On bad input; `ModelError` where one window does not fit into memory.
    """
    import torch

    _choice("mode", mode, MODES)
    _choice("dtype", dtype, DTYPES)
    _choice("aggregate", aggregate, ("none", "mean", "sum"))
    tower = tower or ExactTower(module)
    alleles = np.asarray(alleles)
    n = len(reference)
    for _ in tower.stages:
        n = (n + 1) // 2
    transformer = transformer or Transformer(module, n, head, _matrix_dtype(dtype, tower.dtype))
    which_bins = _indices("bins", bins, transformer.n_bins)
    which_tracks = _indices("tracks", tracks, len(transformer.head))
    work = Work(haplotypes=len(alleles))
    work.naive_tower_operations, work.naive_operations = naive_operations(module, len(reference), head)
    if mode == "exact":
        first, inverse = distinct_rows(alleles)
        used = alleles[first]
    elif mode == "linear":
        used, inverse = alleles, np.arange(len(alleles))
    else:
        used, inverse = np.zeros((1, alleles.shape[1]), dtype=np.int8), np.zeros(len(alleles), dtype=np.int64)
    work.windows = len(used) if mode == "exact" else 1
    table, level = tower.tokens(reference, sites, ref_codes, alt_codes, used, work)
    to = {"device": tower.device}
    asked = torch.from_numpy(which_bins).to(**to), torch.from_numpy(which_tracks).to(**to)
    started = time.perf_counter()
    if mode == "linear":
        with _full_precision(dtype == "tf32"):
            out = _linear(transformer, table.clone(), level, len(used), asked, aggregate, work)
    else:
        with torch.inference_mode(), _full_precision(dtype == "tf32"):
            out = _batched(transformer, table, level, len(used), asked, batch_size, work)
        if aggregate != "none":
            out = (out.mean if aggregate == "mean" else out.sum)(axis=1, keepdims=True)
    work.seconds_transformer = time.perf_counter() - started
    return out[inverse], work


def _batched(
    transformer: Transformer,
    table: torch.Tensor,
    level: Level,
    n_windows: int,
    asked: tuple[torch.Tensor, torch.Tensor],
    batch_size: int | None,
    work: Work,
) -> NDArray[np.floating]:
    """All windows through the transformer; where memory runs out the batch is halved."""
    import torch

    count = _Counter()
    shared = transformer.shared(table, count) if len(transformer.blocks) > 1 else None
    index = level.index(np.arange(n_windows), n_windows)
    batch = max(1, int(batch_size or _fitting_batch(transformer)))
    out = np.empty((n_windows, len(asked[0]), len(asked[1])), dtype=str(transformer.own).removeprefix("torch."))
    at = 0
    while at < n_windows:
        before = count.operations
        try:
            rows = torch.from_numpy(index[at : at + batch]).to(transformer.device)
            out[at : at + batch] = transformer.run(table, rows, *asked, count, shared).cpu().numpy()
        except (MemoryError, RuntimeError) as bad:
            if not _out_of_memory(bad):
                raise
            count.operations = before
            if batch == 1:
                raise ModelError(
                    f"enformer: out of memory with one window of {transformer.n} tokens at a time. Use a machine with "
                    "more memory, fewer --tracks, --dtype bf16, or another --device."
                ) from None
            batch //= 2
            log.warning("enformer: out of memory, going on with %d windows at a time", batch)
            if transformer.device.type == "cuda":
                torch.cuda.empty_cache()
            continue
        at += batch
    work.batch_size = batch
    work.transformer_operations += count.operations
    return out


def _linear(
    transformer: Transformer,
    table: torch.Tensor,
    level: Level,
    n_haplotypes: int,
    asked: tuple[torch.Tensor, torch.Tensor],
    aggregate: str,
    work: Work,
) -> NDArray[np.floating]:
    """First order around the reference: a haplotype is a sum over the tokens in which it differs."""
    import torch

    n, count = level.n, _Counter()
    tokens = table[:n].clone().requires_grad_(True)
    # where each variant row stands: its change from the reference's token there
    home = torch.from_numpy(np.repeat(np.arange(n), np.diff(level.first))).to(table.device)
    change = table[n:] - table[:n][home]
    with torch.enable_grad():
        index = torch.arange(n, device=table.device)[None]
        value = transformer.run(tokens, index, *asked, count)[0]
        if aggregate != "none":
            value = (value.mean if aggregate == "mean" else value.sum)(dim=0, keepdim=True)
        flat = value.reshape(-1)
        effect = torch.empty((len(change), len(flat)), dtype=table.dtype, device=table.device)
        for i in range(len(flat)):
            (gradient,) = torch.autograd.grad(flat[i], tokens, retain_graph=i + 1 < len(flat))
            effect[:, i] = (change * gradient[home]).sum(dim=1)
    # a backward pass multiplies twice as much as a forward pass
    work.transformer_operations += count.operations * (1 + 2 * len(flat))
    out = np.tile(flat.detach().cpu().numpy(), (n_haplotypes, 1))
    position = np.repeat(np.arange(n), np.diff(level.indptr))
    rows = level.first[position] + level.rank - 1
    effects = effect.cpu().numpy()
    order = np.argsort(level.haplotype, kind="stable")
    ends = np.searchsorted(level.haplotype[order], np.arange(n_haplotypes + 1))
    for h in range(n_haplotypes):
        out[h] += effects[rows[order[ends[h] : ends[h + 1]]]].sum(axis=0)
    return out.reshape(n_haplotypes, *value.shape)


def naive_operations(module: Any, length: int, head: str = "human") -> tuple[float, float]:
    """Operations of matrix products in one plain pass of enformer-pytorch: its tower, and all of it.

    All heads are counted, as its forward computes all; without the last convolution's and head's cropped bins.
    """
    total, n = 0.0, length
    for block in [module.stem, *module.conv_tower]:
        conv = block[0] if block is module.stem else block[0][2]
        inputs, outputs, width = conv.in_channels, conv.out_channels, conv.kernel_size[0]
        total += 2.0 * n * inputs * outputs * width + 2.0 * n * outputs**2
        n = (n + 1) // 2
        total += 2.0 * 2 * n * outputs**2
    tower = total
    for block in module.transformer:
        attention, first = block[0].fn[1], block[1].fn[1]
        c, keys, values = attention.to_q.in_features, attention.to_q.out_features, attention.to_v.out_features
        total += 2.0 * n * c * (2 * keys + 2 * values) + 2.0 * 2 * n * c * first.out_features
        total += 2.0 * n * n * (keys + values) + 2.0 * n * (2 * n - 1) * keys
        total += 2.0 * (2 * n - 1) * attention.num_rel_pos_features * keys
    bins, _ = _bins(module, n)
    conv = module.final_pointwise[1][2]
    total += 2.0 * bins * conv.in_channels * conv.out_channels
    total += sum(2.0 * bins * one[0].in_features * one[0].out_features for one in module._heads.values())
    return tower, total


class EnformerModel:
    """An Enformer checkpoint as a `registry.SequenceModel`; made by `EnformerModel.load`.

    Attributes
    ----------
    module : enformer_pytorch.Enformer
    last_work : Work or None
        What the latest `predict_haplotypes` took.

    Notes
    -----
    The checkpoint's settings say whether it is `strand_aware` (not by default, as published), and its `reverse_tracks`.
    """

    aggregates = True

    def __init__(self, module: Any, info: Any, tracks: Sequence[str] | None = None, *, head: str = "human") -> None:
        if head not in module._heads:
            raise ModelError(f"{info.source} has no head {head!r}; it has {', '.join(module._heads)}.")
        self.module, self.info, self.head = module, info, head
        self.name = f"enformer:{info.source}"
        self.window = int(info.window)
        self.tss_offset = self.window // 2
        self.strand_aware = bool(info.config.get("strand_aware", False))
        self.checkpoint_hash = info.hash
        self.device = module.stem[0].weight.device
        self._tower = ExactTower(module)
        self.bin_size = self.token_size = 2 ** len(self._tower.stages)
        self.token_reach = self._tower.reach
        self.n_tokens = -(-self.window // self.token_size)
        self.n_bins, _ = _bins(module, self.n_tokens)
        tower, whole = naive_operations(module, self.window, head)
        self.tower_share = tower / whole
        self.tracks = _track_names(module._heads[head][0].out_features, head, tracks or info.config.get("track_names"))
        if head == "human" and info.config.get("reverse_tracks") is not None:
            self.reverse_tracks = tuple(info.config["reverse_tracks"])
        self.default_batch = 1 if self.device.type == "cpu" else 8
        self.last_work: Work | None = None
        self._transformers: dict[str, Transformer] = {}
        self.origin = {
            "model": "enformer",
            "checkpoint": info.source,
            "checkpoint_hash": info.hash,
            "head": head,
            "tf_gamma": info.tf_gamma,
            "tf_gamma_because": info.tf_gamma_because,
        }

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str = "cpu",
        tf_gamma: bool | None = None,
        head: str = "human",
        window: int | None = None,
    ) -> EnformerModel:
        """Load a checkpoint (see `checkpoint.load_enformer`) to a device."""
        import torch

        module, info = load_enformer(path, tf_gamma=tf_gamma, window=window)
        try:
            module = module.to(torch.device(device))
        except (RuntimeError, AssertionError) as bad:
            raise ModelError(f"--device {device}: {str(bad).splitlines()[0]}; use --device cpu.") from bad
        return cls(module, info, head=head)

    def predict_onehot(self, onehot: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predictions (B, n_bins, T) of one-hot windows (B, L, 4): enformer-pytorch's own forward, one at a time."""
        import torch

        onehot = np.asarray(onehot)
        if onehot.ndim != 3 or onehot.shape[1:] != (self.window, 4):
            raise ModelError(f"onehot has shape {onehot.shape}; {self.name} needs (B, {self.window}, 4).")
        training = self.module.training
        self.module.eval()
        try:
            with torch.inference_mode(), _full_precision():
                out = []
                for row in onehot:
                    x = torch.as_tensor(row).to(self.device, self._tower.dtype)[None]
                    embedded = self.module(x, return_only_embeddings=True)
                    out.append(self.module._heads[self.head](embedded)[0].float().cpu().numpy())
        finally:
            self.module.train(training)
        return np.stack(out) if out else np.empty((0, self.n_bins, len(self.tracks)), dtype=np.float32)

    def predict_haplotypes(
        self,
        reference: NDArray[np.float32],
        sites: NDArray[np.int64],
        ref_codes: NDArray[np.int8],
        alt_codes: NDArray[np.int8],
        alleles: NDArray[np.int8],
        *,
        bins: Sequence[int] | NDArray[np.int64] | None = None,
        tracks: Sequence[int] | NDArray[np.int64] | None = None,
        batch_size: int | None = None,
        dtype: str = "fp32",
        mode: str = "exact",
        aggregate: str = "none",
    ) -> NDArray[np.float32]:
        """See `registry.SequenceModel.predict_haplotypes`, and `predict_haplotypes` here for `aggregate`.

        Counts of what it took are in `last_work`.
        """
        if len(reference) != self.window:
            raise ModelError(f"reference has {len(reference):,} bases; {self.name} needs {self.window:,}.")
        _choice("dtype", dtype, DTYPES)
        kind = _matrix_dtype(dtype, self._tower.dtype)
        if str(kind) not in self._transformers:
            self._transformers[str(kind)] = Transformer(self.module, self.n_tokens, self.head, kind)
        out, self.last_work = predict_haplotypes(
            self.module,
            reference,
            sites,
            ref_codes,
            alt_codes,
            alleles,
            bins=bins,
            tracks=tracks,
            head=self.head,
            mode=mode,
            dtype=dtype,
            batch_size=batch_size,
            aggregate=aggregate,
            transformer=self._transformers[str(kind)],
            tower=self._tower,
        )
        return out.astype(np.float32, copy=False)


def precision_error(
    model: EnformerModel,
    window: tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]],
    dtype: str,
    *,
    bins: Sequence[int] | NDArray[np.int64] | None = None,
    tracks: Sequence[int] | NDArray[np.int64] | None = None,
    n: int = 8,
) -> dict[str, float]:
    """What a lower precision costs, on up to `n` distinct haplotypes of a window (the arguments of `plan`).

    Differences between people are what matters, and they are small beside the values: a precision may give every
    value to 1 % and lose all of them.

    Returns
    -------
    dict
        haplotypes; error, the largest relative to the largest fp32 value; and over tracks the median and lowest
        Pearson correlation over haplotypes with fp32, bins pooled, each about its mean (NaN where nothing varies).
    """
    first, _ = distinct_rows(np.asarray(window[4]))
    rows = first[np.unique(np.linspace(0, len(first) - 1, min(n, len(first))).astype(np.int64))]
    args = (*window[:4], np.asarray(window[4])[rows])
    full = model.predict_haplotypes(*args, bins=bins, tracks=tracks).astype(np.float64)
    less = model.predict_haplotypes(*args, bins=bins, tracks=tracks, dtype=dtype).astype(np.float64)
    a, b = full - full.mean(axis=0), less - less.mean(axis=0)
    spread = np.sqrt((a**2).sum(axis=(0, 1)) * (b**2).sum(axis=(0, 1)))
    varies = spread > 0
    r = (a * b).sum(axis=(0, 1))[varies] / spread[varies]
    return {
        "haplotypes": len(rows),
        "error": float(np.abs(less - full).max() / max(float(np.abs(full).max()), 1e-30)),
        "median_r": float(np.median(r)) if len(r) else float("nan"),
        "lowest_r": float(r.min()) if len(r) else float("nan"),
    }


def _track_names(n: int, head: str, names: Sequence[str] | None) -> tuple[str, ...]:
    if names is not None:
        if len(names) != n:
            raise ModelError(f"{len(names)} track names ({examples(list(names))}) for a head of {n} tracks.")
        return tuple(names)
    if (head, n) == ("human", 5313):
        from genopred.sequence.tracks import enformer_tracks

        return tuple(enformer_tracks()["name"].to_list())
    return tuple(f"{head}:{i}" for i in range(n))


def _choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise GenopredError(f"--{name} {value}: unknown; needed one of {', '.join(known)}.")


def _indices(name: str, wanted: Any, n: int) -> NDArray[np.int64]:
    if wanted is None:
        return np.arange(n)
    out = np.asarray(wanted, dtype=np.int64).reshape(-1)
    bad = [i for i in out.tolist() if not 0 <= i < n]
    if bad or not len(out):
        raise GenopredError(
            f"{name}: {len(bad)} of {len(out)} are not in 0 to {n - 1} ({examples(bad) or 'none given'})."
        )
    return out


def _matrix_dtype(name: str, own: torch.dtype) -> torch.dtype:
    import torch

    return torch.bfloat16 if name == "bf16" else own


@contextmanager
def _full_precision(tf32: bool = False) -> Iterator[None]:
    """Matrix products on CUDA in true fp32, or in TF32; what the caller had set is put back."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    cudnn = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch.backends.cudnn.allow_tf32 = cudnn


def _fitting_batch(transformer: Transformer) -> int:
    """Windows at a time that fit into half of what memory is free; on a CPU more than its caches hold gain nothing."""
    import torch

    block, n = transformer.blocks[0], transformer.n
    channels = block.q.shape[1]
    size = torch.empty(0, dtype=transformer.dtype).element_size()
    rows = block.heads * min(transformer.queries, n) * (5 * n) * size
    one = rows + n * (4 * channels * 4 + (len(block.q) * 2 + len(block.v) * 3 + len(block.first)) * size)
    if transformer.device.type == "cuda":
        free = torch.cuda.mem_get_info(transformer.device)[0]
        return int(max(1, min(64, free / 2 // one)))
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        free = 1 << 31
    return int(max(1, min(1 + 1536 // n, free / 2 // one)))


def _out_of_memory(error: BaseException) -> bool:
    import torch

    text = str(error).lower()
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError) or "out of memory" in text or "can't allocate" in text
    )
