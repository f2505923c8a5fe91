"""Xpresso's published Keras weights, run with torch.

Agarwal and Shendure (2020), doi:10.1016/j.celrep.2020.107663: two convolutions over 10,500 bp around the TSS,
three dense layers, one number: log10 expression, z-scored over genes. Its six half-life features are inputs
of their own; here they are zero, as where only the sequence is looked at.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from genopred.errors import ModelError
from genopred.sequence.haplotypes import VariantWindow, distinct_rows
from genopred.sequence.models.base import SequenceModel, as_tensor

WINDOW = 10_500
#: The TSS base is the 7,000th of the window in the gene's direction.
TSS_OFFSET = 6_999

_LAYERS = ("Conv1D", "MaxPooling1D", "Conv1D", "MaxPooling1D", "Flatten", "Concatenate", "Dense", "Dense", "Dense")
_INERT = ("Dropout", "Activation", "InputLayer")
#: Settings of layers by their class; a pooling's strides are its size.
_WANTED: dict[str, dict[str, Any]] = {
    "Conv1D": {"activation": "relu", "padding": "same", "strides": [1], "dilation_rate": [1], "use_bias": True},
    "Dense": {"activation": "linear", "use_bias": True},
    "MaxPooling1D": {"padding": "valid"},
}


class XpressoModel(SequenceModel):
    """A checkpoint of Xpresso; made by `XpressoModel.load`.

    Its first convolution and pooling see 35 bases a segment of 30, so they are done once for each distinct
    segment of a window's haplotypes, and what follows once for each distinct window: the numbers are those of
    one pass a haplotype.
    """

    strand_aware = True
    bin_size = WINDOW
    n_bins = 1
    #: log10 expression already: `--log1p` makes no sense of it.
    log_scale = True
    default_batch = 256

    def __init__(
        self, weights: dict[str, NDArray[np.float32]], pools: tuple[int, int], name: str, device: str = "cpu"
    ) -> None:
        self.name = f"xpresso:{name}"
        self.window, self.tss_offset = WINDOW, TSS_OFFSET
        self.tracks = (f"Xpresso {name}: log10 expression (z-score)",)
        self.device = torch.device(device)
        self.pools = pools
        self.weights = {key: torch.from_numpy(value).to(self.device) for key, value in weights.items()}
        self.checkpoint_hash = _hash(weights)
        self.origin: dict[str, Any] = {
            "model": "xpresso",
            "weights": name,
            "reference": "Agarwal and Shendure 2020, doi:10.1016/j.celrep.2020.107663",
            "halflife_features": "zero",
            "output": "log10 expression, z-scored over genes",
        }

    @classmethod
    def load(cls, path: str | Path, *, device: str = "cpu") -> XpressoModel:
        """Read a Keras HDF5 checkpoint, such as `GM12878_trainepoch.06-0.5062.h5`, to a device.

        ModelError if the file is missing, no HDF5, damaged, or of another network than the published one.
        """
        path = Path(path)
        try:
            import h5py
        except ImportError:
            raise ModelError("Reading Keras weights needs h5py: pip install 'genopred[sequence]'.") from None
        if not path.is_file():
            raise ModelError(
                f"{path}: no such file. Xpresso's weights are .h5 files from github.com/vagarwal87/Xpresso "
                "(e.g. GM12878_trainepoch.06-0.5062.h5); give one as xpresso:PATH."
            )
        try:
            with h5py.File(path, "r") as file:
                config = file.attrs.get("model_config")
                if config is None:
                    raise ModelError(
                        f"{path}: no model_config in it; needed a whole Keras model, not its weights alone."
                    )
                layers, pools = _check_config(json.loads(config), path)
                weights = _read_weights(file, layers)
        except ModelError:
            raise
        except (OSError, KeyError, ValueError) as bad:
            raise ModelError(
                f"{path}: not a readable Keras HDF5 checkpoint ({bad}); download it again and compare its size."
            ) from None
        _check_shapes(weights, pools, path)
        return cls(weights, pools, path.stem.split("_trainepoch")[0], device)

    def predict_onehot(self, onehot: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predictions (B, 1, 1) of one-hot windows (B, 10500, 4), each read in its gene's direction."""
        self._check_windows(onehot)
        with torch.inference_mode():
            before, after = _same_padding(len(self.weights["conv1.kernel"]))
            x = functional.pad(as_tensor(onehot, self.device), (0, 0, before, after))
            segments = x.unfold(1, self.pools[0] + before + after, self.pools[0]).transpose(2, 3)
            pooled = self._first(segments.reshape(-1, *segments.shape[2:]))
            return self._rest(pooled.view(len(x), -1, pooled.shape[-1])).cpu().numpy().reshape(-1, 1, 1)

    @torch.inference_mode()
    def _batches(self, window: VariantWindow, step: int) -> Iterator[NDArray[np.float32]]:
        """See `SequenceModel._batches`; each distinct segment goes through the first layer once."""
        segments, row_of = distinct_segments(window, self.window, self.pools[0], len(self.weights["conv1.kernel"]))
        table = torch.cat([self._first(part.to(self.device)) for part in torch.from_numpy(segments).split(64 * step)])
        for rows in torch.from_numpy(row_of).split(step):
            yield self._rest(table[rows.to(self.device)]).cpu().numpy()[:, None]

    def torch_forward(self, x: torch.Tensor) -> torch.Tensor:
        """See `SequenceModel.torch_forward`: the plain network, which has no in-place steps."""
        return self.torch_module()(x)  # type: ignore[no-any-return]

    def torch_module(self) -> nn.Module:
        """See `SequenceModel.torch_module`: the plain network, made of the same weights."""
        return XpressoNetwork(self.weights, self.pools).eval()

    def _first(self, segments: torch.Tensor) -> torch.Tensor:
        """First convolution, ReLU and max pooling of segments (S, width, 4): (S, channels)."""
        w = self.weights
        kernel = w["conv1.kernel"]
        size = kernel.shape[0]
        taps = segments.contiguous().flatten(1).unfold(1, 4 * size, 4)  # (S, pool, 4 * size)
        return (taps @ kernel.reshape(4 * size, -1)).amax(1).add_(w["conv1.bias"]).relu_()

    def _rest(self, pooled: torch.Tensor) -> torch.Tensor:
        """All that follows, of pooled windows (B, n, channels): (B, 1)."""
        w = self.weights
        before, after = _same_padding(w["conv2.kernel"].shape[0])
        x = functional.pad(pooled.transpose(1, 2), (before, after))
        x = functional.conv1d(x, w["conv2.kernel"].permute(2, 1, 0), w["conv2.bias"]).relu_()
        x = functional.max_pool1d(x, self.pools[1])
        flat = x.transpose(1, 2).flatten(1)  # channels last, as Keras flattens
        # the half-life features come after the sequence's and are zero: their rows of the kernel drop out
        x = torch.addmm(w["dense1.bias"], flat, w["dense1.kernel"][: flat.shape[1]]).relu_()
        x = torch.addmm(w["dense2.bias"], x, w["dense2.kernel"]).relu_()
        return torch.addmm(w["dense3.bias"], x, w["dense3.kernel"])


class XpressoNetwork(nn.Module):
    """Xpresso as a module a step, without half-life features: windows (B, 10500, 4) -> (B, 1, 1)."""

    def __init__(self, weights: dict[str, torch.Tensor], pools: tuple[int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for name, pool in zip(("conv1", "conv2"), pools):
            kernel = weights[f"{name}.kernel"].permute(2, 1, 0)
            conv = _filled(
                nn.Conv1d(kernel.shape[1], kernel.shape[0], kernel.shape[2]), kernel, weights[f"{name}.bias"]
            )
            layers += [nn.ConstantPad1d(_same_padding(kernel.shape[2]), 0.0), conv, nn.ReLU(), nn.MaxPool1d(pool)]
        self.tower = nn.Sequential(*layers)
        flat = WINDOW // pools[0] // pools[1] * len(weights["conv2.bias"])
        steps: list[nn.Module] = []
        for name in ("dense1", "dense2", "dense3"):
            kernel = weights[f"{name}.kernel"][: flat if name == "dense1" else None].t()
            steps += [_filled(nn.Linear(kernel.shape[1], kernel.shape[0]), kernel, weights[f"{name}.bias"]), nn.ReLU()]
        self.dense = nn.Sequential(*steps[:-1])

    def forward(self, onehot: torch.Tensor) -> torch.Tensor:
        """Predictions (B, 1, 1); channels last before the dense layers, as Keras flattens."""
        found = self.tower(onehot.transpose(1, 2)).transpose(1, 2).flatten(1)
        predicted: torch.Tensor = self.dense(found).unsqueeze(1)
        return predicted


def _filled(layer: Any, kernel: torch.Tensor, bias: torch.Tensor) -> nn.Module:
    """A layer with these weights, at their precision and on their device."""
    layer.weight, layer.bias = (nn.Parameter(values.clone(), requires_grad=False) for values in (kernel, bias))
    made: nn.Module = layer
    return made


def distinct_segments(
    window: VariantWindow, length: int, pool: int, size: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Distinct segments (S, width, 4) of what a first convolution sees, and which each haplotype has (D, n).

    Of the first `length` bases each `pool` make a place, and a kernel of `size` reaches beyond its ends, where the
    window is padded with zeros.
    """
    before, after = _same_padding(size)
    n, width = length // pool, pool + before + after
    reference, sites, alleles = window.reference, window.sites, window.alleles
    plain = np.pad(reference, ((before, after), (0, 0)))
    rows = [plain[None, i * pool : i * pool + width] for i in range(n)]
    row_of = np.tile(np.arange(n), (len(alleles), 1))
    total = n
    for i in range(n):
        seen = np.flatnonzero((sites >= i * pool - before) & (sites < (i + 1) * pool + after))
        if not len(seen):
            continue
        local = alleles[:, seen]
        head, of = distinct_rows(local)
        near = slice(max(0, i * pool - before), min(length, (i + 1) * pool + after))
        patches = VariantWindow(
            reference[near], sites[seen] - near.start, window.ref_codes[seen], window.alt_codes[seen], local[head]
        ).onehot()
        off = near.start - (i * pool - before)
        block = np.zeros((len(head), width, 4), dtype=np.float32)
        block[:, off : off + patches.shape[1]] = patches
        rows.append(block)
        row_of[:, i] = total + of
        total += len(head)
    return np.concatenate(rows), row_of


def _same_padding(size: int) -> tuple[int, int]:
    """What Keras' padding "same" adds before and after at stride 1."""
    return (size - 1) // 2, size // 2


def _check_config(config: dict[str, Any], path: Path) -> tuple[list[dict[str, Any]], tuple[int, int]]:
    """The layers with weights, in order, and the two pool sizes."""
    every = config["config"]["layers"]
    layers = [layer for layer in every if layer["class_name"] not in _INERT]
    found = tuple(layer["class_name"] for layer in layers)
    if found != _LAYERS:
        raise ModelError(f"{path}: layers are {', '.join(found)}; Xpresso has {', '.join(_LAYERS)}.")
    ends = [layer for layer in every if layer["class_name"] == "InputLayer"]
    inputs = {layer["name"]: layer["config"]["batch_input_shape"][1:] for layer in ends}
    order = [node[0] for node in config["config"]["input_layers"]]
    if [inputs.get(name) for name in order] != [[WINDOW, 4], [6]]:
        raise ModelError(
            f"{path}: inputs are {inputs}; Xpresso has a promoter of [{WINDOW}, 4] and 6 half-life features."
        )
    joined = [node[0] for node in layers[5]["inbound_nodes"][0]]
    if joined[0] != layers[4]["name"]:
        raise ModelError(f"{path}: {joined} are joined in another order than Xpresso's (sequence, then half-life).")
    activations = [layer["config"]["activation"] for layer in every if layer["class_name"] == "Activation"]
    for layer in layers:
        settings, wanted = layer["config"], _WANTED.get(layer["class_name"], {})
        if layer["class_name"] == "MaxPooling1D":
            wanted = wanted | {"strides": settings["pool_size"]}
        for key, value in wanted.items():
            if settings[key] != value:
                raise ModelError(f"{path}: {layer['name']} has {key} {settings[key]}; Xpresso has {value}.")
    if activations != ["relu", "relu"]:
        raise ModelError(f"{path}: activations of the dense layers are {activations}; Xpresso has two relu.")
    return layers, (layers[1]["config"]["pool_size"][0], layers[3]["config"]["pool_size"][0])


def _read_weights(file: Any, layers: list[dict[str, Any]]) -> dict[str, NDArray[np.float32]]:
    names = ("conv1", "", "conv2", "", "", "", "dense1", "dense2", "dense3")
    out = {}
    for ours, layer in zip(names, layers):
        if ours:
            group = file["model_weights"][layer["name"]][layer["name"]]
            for part in ("kernel", "bias"):
                out[f"{ours}.{part}"] = np.asarray(group[f"{part}:0"], dtype=np.float32)
    return out


def _check_shapes(weights: dict[str, NDArray[np.float32]], pools: tuple[int, int], path: Path) -> None:
    conv1, conv2 = weights["conv1.kernel"], weights["conv2.kernel"]
    flat = WINDOW // pools[0] // pools[1] * conv2.shape[2]
    wanted = {
        "conv1.kernel": (conv1.shape[0], 4, conv1.shape[2]),
        "conv2.kernel": (conv2.shape[0], conv1.shape[2], conv2.shape[2]),
        "dense1.kernel": (flat + 6, weights["dense1.bias"].shape[0]),
        "dense2.kernel": (weights["dense1.bias"].shape[0], weights["dense2.bias"].shape[0]),
        "dense3.kernel": (weights["dense2.bias"].shape[0], 1),
    }
    for key, shape in wanted.items():
        if weights[key].shape != shape:
            raise ModelError(f"{path}: {key} has shape {weights[key].shape}; needed {shape}.")
    for key, value in weights.items():
        if not np.isfinite(value).all():
            raise ModelError(f"{path}: {key} holds values that are not finite; the file is damaged, download it again.")


def _hash(weights: dict[str, NDArray[np.float32]]) -> str:
    digest = hashlib.sha256()
    for key in sorted(weights):
        digest.update(f"{key}{weights[key].shape}".encode())
        digest.update(np.ascontiguousarray(weights[key]).tobytes())
    return digest.hexdigest()
