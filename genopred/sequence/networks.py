"""Networks that genopred trains itself: a small Enformer, and a plain dilated convolutional network beside it.

Both take one-hot windows (B, L, 4) and give positive predictions (B, bins, tracks). The Enformer is enformer-pytorch's
own class, so that `sequence.enformer` runs what was trained here as it runs the published weights; only its forward
pass in training is written anew, for speed.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from genopred.errors import ModelError
from genopred.sequence.models.config import LIMITS, check_sizes, enformer_class

if TYPE_CHECKING:
    import torch

    from genopred.sequence.dataset import WindowShape

ENFORMER = "enformer-small"
CNN = "cnn"
KINDS = (ENFORMER, CNN)

#: Sizes and their defaults. The published Enformer has dim 1536, depth 11, 8 heads.
SIZES: dict[str, dict[str, Any]] = {
    ENFORMER: {
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
    },
    CNN: {"channels": 96, "layers": 6, "dropout": 0.3},
}


def build(kind: str, n_tracks: int, shape: WindowShape, **sizes: Any) -> torch.nn.Module:
    """Make a network with fresh weights, drawn from torch's current random state.

    Parameters
    ----------
    kind : {"enformer-small", "cnn"}
    n_tracks : int
    shape : WindowShape
        Window, bin (128 bp for the Enformer; a power of two for the other) and crop.
    **sizes
        Instead of the defaults in `SIZES`; for the Enformer as in enformer-pytorch's config.json.

    Returns
    -------
    torch.nn.Module
        Attributes: `kind`, `sizes`, `body` (the Enformer itself; the module itself for the other), `head` (the last
        linear layer, before softplus).

    Raises
    ------
    ModelError
        If the kind or a size is unknown, or they do not go together.

    Examples
    --------
    >>> from genopred.sequence.dataset import WindowShape
    >>> network = build("cnn", 2, WindowShape(window=2048, bin=128, crop=2), channels=16, layers=2)
    >>> import torch
    >>> tuple(network(torch.zeros(3, 2048, 4)).shape)
    (3, 12, 2)
    """
    if kind not in KINDS:
        raise ModelError(f"network.kind {kind!r}: unknown{_near(kind, KINDS)}; needed one of {', '.join(KINDS)}.")
    unknown = [key for key in sizes if key not in SIZES[kind]]
    if unknown:
        raise ModelError(
            f"network.{unknown[0]}: {kind} has no such size{_near(unknown[0], tuple(SIZES[kind]))}; known: "
            f"{', '.join(SIZES[kind])}."
        )
    full = SIZES[kind] | sizes
    if shape.n_bins < 1 or shape.window % shape.bin:
        raise ModelError(
            f"data.window {shape.window:,} with bins of {shape.bin} bp and a crop of {shape.crop} has {shape.n_bins} "
            "bins; needed a window that is a multiple of the bin and longer than both crops."
        )
    check_window(shape)
    check_sizes(full, "network")
    network = _small_enformer(n_tracks, shape, full) if kind == ENFORMER else _cnn(n_tracks, shape, full)
    network.kind, network.sizes = kind, full  # type: ignore[assignment]
    return network


def check_window(shape: WindowShape) -> None:
    """Refuse a window beyond `LIMITS`."""
    most = LIMITS["sequence_length"]
    if shape.window > most:
        raise ModelError(f"data.window = {shape.window:,}: needed at most {most:,} bp.")


def least_bytes(kind: str, n_tracks: int, shape: WindowShape, batch: int, **sizes: Any) -> int:
    """Memory that training takes at the very least, without building the network.

    Its weights, gradients and AdamW's two moments, and of what the backward pass needs the first layer's output and the
    attention of each pair of bins.
    """
    import torch

    full = SIZES[kind] | sizes
    check_window(shape)
    check_sizes(full, "network")
    with torch.device("meta"):
        if kind == ENFORMER:
            _check_enformer(shape, full)
            weights = n_parameters(enformer_class().from_hparams(**_hparams(n_tracks, shape, full)))
            first, pairs = full["dim"] // 2, full["depth"] * full["heads"] * (shape.window // shape.bin) ** 2
        else:
            weights = n_parameters(_cnn(n_tracks, shape, full))
            first, pairs = full["channels"], 0
    return 4 * (4 * weights + batch * (shape.window * first + pairs))


def n_parameters(module: torch.nn.Module) -> int:
    """How many weights a module learns."""
    return sum(p.numel() for p in module.parameters())


def same_size(n_tracks: int, shape: WindowShape, parameters: int, **sizes: Any) -> dict[str, Any]:
    """Sizes of the `cnn` whose number of weights is nearest to `parameters`: its channels are searched."""
    import torch

    def count(channels: int) -> int:
        with torch.device("meta"):
            return n_parameters(build(CNN, n_tracks, shape, **(sizes | {"channels": channels})))

    best = min(range(8, 513, 4), key=lambda channels: abs(count(channels) - parameters))
    return SIZES[CNN] | sizes | {"channels": best}


def start_at(network: torch.nn.Module, mean: torch.Tensor) -> None:
    """Set the head so that an untrained network predicts about the mean of each track.

    Parameters
    ----------
    network : torch.nn.Module
        From `build`.
    mean : tensor, shape (T,)
        Positive.
    """
    import torch

    head: Any = network.head
    with torch.no_grad():
        mean = mean.to(head.bias).clamp(min=1e-4)
        # the inverse of softplus
        head.bias.copy_(mean + torch.log(-torch.expm1(-mean)))
        head.weight.mul_(0.1 * head_reach(mean)[:, None])


def head_reach(mean: torch.Tensor) -> torch.Tensor:
    """How far a row of the head moves a prediction of the track's mean by about as much again, (T,).

    It is mean / (1 - exp(-mean)), the mean by softplus' slope there: 1 for small means, the mean itself for large ones.

    Examples
    --------
    >>> import torch
    >>> [round(float(value), 2) for value in head_reach(torch.tensor([0.001, 1.0, 50.0]))]
    [1.0, 1.58, 50.0]
    """
    import torch

    return mean / -torch.expm1(-mean)


def start_sharp(body: Any, factor: float = 4.0) -> None:
    """Let pooling begin near the larger of two neighbours instead of near their mean.

    enformer-pytorch starts its attention pooling with logits of twice the channel; a fresh convolution's output spreads
    by about a half, so that seven levels of it all but average 128 bases, and a motif fills ten of them.
    """
    import torch

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
    import torch

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
    import torch

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


def training_forward(network: torch.nn.Module, *, compiled: bool = False) -> Callable[[torch.Tensor], torch.Tensor]:
    """A forward pass to train with: the same function of the same weights, several times faster on a CPU.

    enformer-pytorch keeps channels before positions, and pools pairs of positions through a softmax over a last axis of
    length two. With channels last the convolutions are matrix products over rows, and a softmax of two is a sigmoid of
    their difference.

    Parameters
    ----------
    network : torch.nn.Module
        From `build`. Its mode (training or evaluation) is read at each call.
    compiled : bool
        Through torch.compile, which needs a C++ compiler on a CPU.
    """
    import torch

    function: Callable[[torch.Tensor], torch.Tensor] = network
    if network.kind == ENFORMER:
        body, dropout = network.body, float(network.sizes["tower_dropout"])  # type: ignore[index, arg-type, call-overload]

        def function(onehot: torch.Tensor) -> torch.Tensor:
            return _channels_last(body, onehot, dropout)

    return torch.compile(function) if compiled else function


def _channels_last(body: Any, onehot: torch.Tensor, dropout: float) -> torch.Tensor:
    import torch

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
    h = body.final_pointwise(body.crop_final(h))
    return body._heads["human"](h)


def _conv(h: torch.Tensor, layer: Any) -> torch.Tensor:
    import torch

    return torch.nn.functional.conv2d(h, layer.weight.unsqueeze(2), layer.bias, padding=(0, layer.padding[0]))


def _conv_block(h: torch.Tensor, block: Any) -> torch.Tensor:
    import torch

    norm, _, layer = block
    if norm.training:
        norm.num_batches_tracked.add_(1)
    h = torch.nn.functional.batch_norm(
        h, norm.running_mean, norm.running_var, norm.weight, norm.bias, norm.training, norm.momentum, norm.eps
    )
    return _conv(torch.sigmoid(1.702 * h) * h, layer)


def _pool(h: torch.Tensor, pool: Any) -> torch.Tensor:
    import torch

    left, right = h[..., 0::2], h[..., 1::2]
    difference = left - right
    return right + torch.sigmoid(torch.nn.functional.conv2d(difference, pool.to_attn_logits.weight)) * difference


def _check_enformer(shape: WindowShape, sizes: dict[str, Any]) -> None:
    if shape.bin != 128:
        raise ModelError(f"data.bin {shape.bin}: {ENFORMER} halves its window seven times and has bins of 128 bp.")
    if sizes["dim"] % (6 * sizes["heads"]):
        raise ModelError(
            f"network.dim {sizes['dim']} with {sizes['heads']} heads: dim / heads must be divisible by 6, the number "
            "of kinds of relative positions."
        )
    # the tower's channels grow from half of dim to dim, each rounded to a multiple
    step = sizes["dim_divisible_by"]
    if sizes["dim"] % step or sizes["dim"] == step:
        raise ModelError(
            f"network.dim {sizes['dim']} with dim_divisible_by {step}: dim must be a multiple of it, twice or more."
        )


def _hparams(n_tracks: int, shape: WindowShape, sizes: dict[str, Any]) -> dict[str, Any]:
    """As enformer-pytorch takes them."""
    known = {key: value for key, value in sizes.items() if key != "tower_dropout"}
    return known | {"target_length": shape.n_bins, "output_heads": {"human": n_tracks}}


def _small_enformer(n_tracks: int, shape: WindowShape, sizes: dict[str, Any]) -> torch.nn.Module:
    import torch

    _check_enformer(shape, sizes)
    kind = enformer_class()

    class SmallEnformer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = kind.from_hparams(**_hparams(n_tracks, shape, sizes))
            self.head = self.body._heads["human"][0]
            start_sharp(self.body)
            start_through(self.body)
            start_local(self.body)

        def forward(self, onehot: torch.Tensor) -> torch.Tensor:
            return self.body(onehot)["human"]

    return SmallEnformer()


def _cnn(n_tracks: int, shape: WindowShape, sizes: dict[str, Any]) -> torch.nn.Module:
    import torch

    nn = torch.nn
    halvings = math.log2(shape.bin)
    if halvings % 1 or halvings < 1:
        raise ModelError(f"data.bin {shape.bin}: {CNN} halves its window; needed a power of two, such as 128.")
    c = int(sizes["channels"])

    class DilatedCnn(nn.Module):
        """Convolutions and max pooling down to bins, then residual dilated convolutions among bins."""

        def __init__(self) -> None:
            super().__init__()
            layers: list[nn.Module] = []
            for i in range(int(halvings)):
                width = 15 if i == 0 else 5
                layers += [
                    nn.Conv2d(c if i else 4, c, (1, width), padding=(0, width // 2)),
                    nn.BatchNorm2d(c),
                    nn.ReLU(),
                    nn.MaxPool2d((1, 2)),
                ]
            self.tower = nn.Sequential(*layers)
            self.dilated = nn.ModuleList(
                nn.Sequential(
                    nn.Conv2d(c, c, (1, 3), padding=(0, 2**i), dilation=(1, 2**i)),
                    nn.BatchNorm2d(c),
                    nn.ReLU(),
                    nn.Dropout(sizes["dropout"]),
                )
                for i in range(int(sizes["layers"]))
            )
            self.head = nn.Linear(c, n_tracks)

        @property
        def body(self) -> nn.Module:
            return self

        def forward(self, onehot: torch.Tensor) -> torch.Tensor:
            # (B, L, 4) -> (B, 4, 1, L): two dimensions, because torch keeps channels last only there
            h = self.tower(onehot.transpose(1, 2).unsqueeze(2))
            for layer in self.dilated:
                h = h + layer(h)
            h = h[:, :, 0, shape.crop : shape.crop + shape.n_bins].transpose(1, 2)
            return nn.functional.softplus(self.head(h))

    return DilatedCnn()


def _near(word: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""
