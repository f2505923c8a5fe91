"""Enformer's transformer, crop and head, once for each distinct whole window.

Its first projections are done once for each distinct token, its relative-position keys once for all, its last block and
the head only for the bins and tracks asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from enformer_pytorch.modeling_enformer import get_positional_embed
from numpy.typing import NDArray

from genopred.errors import ModelError
from genopred.sequence.models.base import halving
from genopred.sequence.models.enformer.tower import CPU_ROWS, CUDA_ROWS, Counter, Norm, Work, gelu
from genopred.sequence.tokens import Level

#: Queries of a haplotype worked on at a time on a CPU.
CPU_QUERIES = 128


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
    weight, bias = norm.weight.detach(), norm.bias.detach()
    return lambda x: torch.nn.functional.layer_norm(x, weight.shape, weight, bias, norm.eps)


class Transformer:
    """Enformer's transformer, crop and head, on tokens given by table and index.

    The residual stream and the normalisations stay at the module's own precision; `dtype` is that of the matrix
    products.
    """

    def __init__(self, module: Any, n: int, head: str, dtype: torch.dtype, queries: int | None = None) -> None:
        weight = module.stem[0].weight
        self.n, self.dtype, self.device, self.own = n, dtype, weight.device, weight.dtype
        self.queries = queries or (CPU_QUERIES if weight.device.type == "cpu" else n)
        attention = module.transformer[0][0].fn[1]
        with torch.no_grad():
            positions = _positions(attention, n, weight)
            self.blocks = [_Block(block, dtype, positions) for block in module.transformer]
        final, out = module.final_pointwise, module._heads[head][0]
        self.final_norm, conv = Norm(final[1][0]), final[1][2]
        self.final, self.final_bias = conv.weight.detach()[:, :, 0], conv.bias.detach()
        self.head, self.head_bias = out.weight.detach(), out.bias.detach()
        self.n_bins, self.crop = output_bins(module, n)

    def shared(self, table: torch.Tensor, count: Counter) -> tuple[torch.Tensor, ...]:
        """The first block's queries, keys and values of each distinct token."""
        block = self.blocks[0]
        parts: tuple[list[torch.Tensor], ...] = ([], [], [])
        for chunk in table.split(CUDA_ROWS if self.device.type == "cuda" else CPU_ROWS):
            x = block.norm(chunk).to(self.dtype)
            for part, weight in zip(parts, (block.q, block.k, block.v)):
                part.append(count.linear(x, weight))
        return tuple(torch.cat(part) for part in parts)

    def run(
        self, table: torch.Tensor, index: torch.Tensor, bins: torch.Tensor, tracks: torch.Tensor, count: Counter,
        shared: tuple[torch.Tensor, ...] | None = None,
    ) -> torch.Tensor:  # fmt: skip
        """Predictions (B, len(bins), len(tracks)) of B rows of `index` (B, n) into `table`."""
        x = table[index]
        for number, block in enumerate(self.blocks[:-1]):
            if number == 0 and shared is not None:
                q, k, v = (part[index] for part in shared)
            else:
                y = block.norm(x).to(self.dtype)
                q, k, v = (count.linear(y, weight) for weight in (block.q, block.k, block.v))
            x = x + count.linear(self._attend(block, q, k, v, count), block.out, block.out_bias).to(self.own)
            x = self._forward(block, x, count)
        x = self._last(self.blocks[-1], x, bins + self.crop, count)
        # batch norm and GELU before the last convolution, differentiable
        x = gelu(x * self.final_norm.scale + self.final_norm.shift)
        x = gelu(count.linear(x, self.final, self.final_bias))
        return torch.nn.functional.softplus(count.linear(x, self.head[tracks], self.head_bias[tracks]))

    def _forward(self, block: _Block, x: torch.Tensor, count: Counter) -> torch.Tensor:
        y = count.linear(block.inner_norm(x).to(self.dtype), block.first, block.first_bias).relu_()
        return x + count.linear(y, block.second, block.second_bias).to(self.own)

    def _attend(self, block: _Block, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, count: Counter) -> torch.Tensor:
        """Attention of all queries, (B, n, heads * dim_value)."""
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

    def _last(self, block: _Block, x: torch.Tensor, wanted: torch.Tensor, count: Counter) -> torch.Tensor:
        """The last block for some queries only, (B, len(wanted), C).

        Few queries are multiplied into the key and value weights, instead of the weights into all tokens.
        """
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


def _positions(attention: Any, n: int, weight: torch.Tensor) -> torch.Tensor:
    """Features of the 2 n - 1 distances, at the module's precision."""
    embedded: torch.Tensor = get_positional_embed(
        n, attention.num_rel_pos_features, weight.device, use_tf_gamma=attention.use_tf_gamma, dtype=weight.dtype
    )
    return embedded


def output_bins(module: Any, n: int) -> tuple[int, int]:
    """Bins that the module gives for n tokens, and how many tokens come before the first."""
    target = module._trunk[-2].target_length
    if target == -1:
        return n, 0
    if target > n:
        raise ModelError(f"The checkpoint's target_length is {target} bins and its window has only {n} tokens.")
    trim = (n - target + 1) // 2
    return n - 2 * trim, trim


def predict_exactly(
    transformer: Transformer, table: torch.Tensor, level: Level, n_windows: int,
    asked: tuple[torch.Tensor, torch.Tensor], batch_size: int | None, work: Work, name: str,
) -> NDArray[np.floating]:  # fmt: skip
    """All windows through the transformer; where memory runs out the batch is halved."""
    count = Counter()
    shared = transformer.shared(table, count) if len(transformer.blocks) > 1 else None
    index = level.index(np.arange(n_windows), n_windows)
    batch = max(1, int(batch_size or fitting_batch(transformer)))
    out = np.empty((n_windows, len(asked[0]), len(asked[1])), dtype=str(transformer.own).removeprefix("torch."))
    at = 0
    while at < n_windows:

        def run(size: int | None, at: int = at, before: float = count.operations) -> NDArray[np.floating]:
            count.operations = before  # what ran out of memory is not counted
            rows = torch.from_numpy(index[at : at + (size or 1)]).to(transformer.device)
            return transformer.run(table, rows, *asked, count, shared).cpu().numpy()

        part, fitted = halving(run, batch, batch, name)
        batch = fitted or batch
        out[at : at + len(part)] = part
        at += len(part)
    work.batch_size = batch
    work.transformer_operations += count.operations
    return out


def predict_linearly(
    transformer: Transformer, table: torch.Tensor, level: Level, n_haplotypes: int,
    asked: tuple[torch.Tensor, torch.Tensor], aggregate: str, work: Work,
) -> NDArray[np.floating]:  # fmt: skip
    """First order around the reference: a haplotype is a sum over the tokens in which it differs."""
    n, count = level.n, Counter()
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


def fitting_batch(transformer: Transformer) -> int:
    """Windows at a time that fit into half of what memory is free; on a CPU more than its caches hold gain nothing."""
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
