"""A small Enformer: enformer-pytorch's own class with another start, and a training pass that is faster on a CPU.

So `sequence.models.enformer` runs what was trained here as it runs the published weights.
"""

from __future__ import annotations

from typing import Any

import torch

from genopred.errors import ModelError
from genopred.sequence.models.config import enformer_class
from genopred.training.networks.base import TrackNetwork
from genopred.training.splits import WindowShape


class SmallEnformer(TrackNetwork):
    """The Enformer with a single head; `body` is enformer-pytorch's module, and sizes are those of its config.json.

    The published Enformer has dim 1536, depth 11, 8 heads.
    """

    kind = "enformer-small"
    SIZES = {
        "dim": 144,
        "depth": 2,
        "heads": 4,
        "attn_dim_key": 24,
        "dim_divisible_by": 24,
        "dropout_rate": 0.3,
        "attn_dropout": 0.05,
        "pos_dropout": 0.01,
        # of whole channels of the convolutional tower, which enformer-pytorch does not have; in training only
        "tower_dropout": 0.0,
    }

    def __init__(self, n_tracks: int, shape: WindowShape, sizes: dict[str, Any]) -> None:
        super().__init__(n_tracks, shape, sizes)
        known = {key: value for key, value in sizes.items() if key != "tower_dropout"}
        known |= {"target_length": shape.n_bins, "output_heads": {"human": n_tracks}}
        self.body = enformer_class().from_hparams(**known)
        self.head = self.body._heads["human"][0]
        start_sharp(self.body)
        start_through(self.body)
        start_local(self.body)

    @classmethod
    def check(cls, shape: WindowShape, sizes: dict[str, Any]) -> None:
        if shape.bin != 128:
            raise ModelError(f"data.bin {shape.bin}: {cls.kind} halves its window seven times and has bins of 128 bp.")
        if sizes["dim"] % (6 * sizes["heads"]):
            raise ModelError(
                f"network.dim {sizes['dim']} with {sizes['heads']} heads: dim / heads must be divisible by 6, the "
                "number of kinds of relative positions."
            )
        # the tower's channels grow from half of dim to dim, each rounded to a multiple
        step = sizes["dim_divisible_by"]
        if sizes["dim"] % step or sizes["dim"] == step:
            raise ModelError(
                f"network.dim {sizes['dim']} with dim_divisible_by {step}: dim must be a multiple of it, twice or more."
            )

    @classmethod
    def kept(cls, shape: WindowShape, sizes: dict[str, Any]) -> int:
        # the first layer's output, and the attention of each pair of bins
        pairs = sizes["depth"] * sizes["heads"] * (shape.window // shape.bin) ** 2
        return shape.window * (sizes["dim"] // 2) + pairs

    def forward(self, onehot: torch.Tensor) -> torch.Tensor:
        return self.body(onehot)["human"]

    def fast(self, onehot: torch.Tensor) -> torch.Tensor:
        """Compute what `forward` does, several times faster on a CPU.

        enformer-pytorch keeps channels before positions, and pools pairs of positions through a softmax over a last
        axis of length two. With channels last the convolutions are matrix products over rows, and a softmax of two is
        a sigmoid of their difference.
        """
        return self.body._heads["human"](self.trunk(onehot))

    def trunk(self, onehot: torch.Tensor) -> torch.Tensor:
        """See `fast`."""
        body, dropout = self.body, float(self.sizes["tower_dropout"])
        # (B, L, 4) -> (B, 4, 1, L): a view whose memory is already channels last
        h = _conv(onehot.transpose(1, 2).unsqueeze(2), body.stem[0])
        h = h + _conv_block(h, body.stem[1].fn)
        h = _pool(h, body.stem[2])
        for block in body.conv_tower:
            h = _conv_block(h, block[0])
            h = h + _conv_block(h, block[1].fn)
            h = _pool(h, block[2])
            if dropout and body.training:
                h = torch.nn.functional.dropout2d(h, dropout)
        h = body.transformer(h.squeeze(2).transpose(1, 2))
        return body.final_pointwise(body.crop_final(h))


def start_sharp(body: Any, factor: float = 4.0) -> None:
    """Let pooling begin near the larger of two neighbours instead of near their mean.

    enformer-pytorch starts its attention pooling with logits of twice the channel; a fresh convolution's output spreads
    by about a half, so that seven levels of it all but average 128 bases, and a motif fills ten of them.
    """
    with torch.no_grad():
        for pool in (body.stem[2], *(block[2] for block in body.conv_tower)):
            pool.to_attn_logits.weight *= factor


def start_through(body: Any, noise: float = 0.3) -> None:
    """Let the convolutional tower begin by passing on what the first layer found.

    Each of the tower's six fresh convolutions mixes all its inputs, so that after seven levels nothing linear in a bin
    tells that a filter of the first layer fired there: no gradient leads from the signal to the filters, and whether
    one is found is chance. Here each channel begins as its own input, at the middle position, beside `noise` times the
    fresh weights (channels that a level adds have only these), and the residual blocks, which mix once more, begin at
    nothing. With sharp pooling a bin then begins with about the largest value of each filter in its 128 bases.
    """
    with torch.no_grad():
        for convolution in (block[0][2] for block in body.conv_tower):
            passed = min(convolution.weight.shape[:2])
            convolution.weight *= noise
            convolution.weight[range(passed), range(passed), convolution.padding[0]] += 1
            convolution.bias.zero_()
        for residual in (body.stem[1], *(block[1] for block in body.conv_tower)):
            residual.fn[2].weight.zero_()
            residual.fn[2].bias.zero_()


def start_local(body: Any, strength: float = 3.0) -> None:
    """Let each attention head begin with the bins around it: two on both sides, six before, six behind, or fourteen.

    Fresh attention looks everywhere alike, and on little data is slow to find that what counts lies near. The first
    heads get these four shares in turn, others stay as they are; everything is learned from there.

    Parameters
    ----------
    body : enformer_pytorch.Enformer
    strength : float
        What is added to the logits of those bins.
    """
    with torch.no_grad():
        for layer in body.transformer:
            attention = layer[0].fn[1]
            n = attention.num_rel_pos_features // 6
            keys = attention.to_rel_k.weight.view(attention.heads, -1, attention.num_rel_pos_features)
            attention.rel_content_bias.mul_(0.1)
            for head in range(attention.heads):
                # enformer-pytorch's features: exponentials, central masks (1, 3, 7, 15 ... bins), gammas; then the same
                # times the sign of the distance
                mask, side = ((1, 0), (2, 1), (2, -1), (3, 0))[head % 4]
                if mask >= n:
                    continue
                wanted = torch.zeros(attention.num_rel_pos_features)
                wanted[n + mask] = strength
                wanted[4 * n + mask] = strength * side
                bias = attention.rel_pos_bias[0, head, 0]
                keys[head] *= 0.2
                keys[head] += torch.outer(bias / (bias @ bias), wanted)


def _conv(h: torch.Tensor, layer: Any) -> torch.Tensor:
    return torch.nn.functional.conv2d(h, layer.weight.unsqueeze(2), layer.bias, padding=(0, layer.padding[0]))


def _conv_block(h: torch.Tensor, block: Any) -> torch.Tensor:
    norm, _, layer = block
    if norm.training:
        norm.num_batches_tracked.add_(1)
    h = torch.nn.functional.batch_norm(
        h, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.training, norm.momentum, norm.eps
    )
    return _conv(torch.sigmoid(1.702 * h) * h, layer)


def _pool(h: torch.Tensor, pool: Any) -> torch.Tensor:
    left, right = h[..., 0::2], h[..., 1::2]
    difference = left - right
    return right + torch.sigmoid(torch.nn.functional.conv2d(difference, pool.to_attn_logits.weight)) * difference
