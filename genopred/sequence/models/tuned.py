"""Sequence models with one scalar output, which people's expression can tune: each haplotype -> one number.

A `TunedNetwork` is the body of a model (`bodies`) and a head on what the body says of the bins around the TSS. What the
haplotypes of a window share is computed once, on the way back as well. `save_tuned` leaves plain weights in a folder,
and `TunedModel` runs them as any other model.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from genopred.errors import ModelError, shortened
from genopred.sequence.haplotypes import VariantWindow
from genopred.sequence.models.base import SequenceModel, as_tensor, on_device
from genopred.sequence.models.bodies import BODIES, Begun, Body
from genopred.sequence.models.config import CONFIG, TUNED, WEIGHTS, read_settings, why
from genopred.sequence.models.enformer.checkpoint import folder_hash, own_weights, write_network

#: What its only track is called.
TRACK = "tuned"
#: Haplotypes at a time where nothing has to be kept for the way back.
_CHUNK = 64


class TunedNetwork(nn.Module):
    """One-hot windows (B, L, 4), or the haplotypes of a window -> a number each.

    Batch norm and dropout are always as in prediction: what is learned is differences between people, in which a
    dropped channel is noise.

    Parameters
    ----------
    body : Body
    head : tensor, shape (F,), optional
        Weights of what the body says, to begin with; drawn anew by default.
    """

    def __init__(self, body: Body, head: torch.Tensor | None = None) -> None:
        super().__init__()
        self.body = body
        # a number that all people have in common says nothing: no intercept
        self.head = nn.Linear(body.width, 1, bias=False)
        # what the body says is counted from there and in these, so that a step moves all of it alike, and differences
        # between people are not lost behind what all have in common
        self.centre: torch.Tensor
        self.unit: torch.Tensor
        self.register_buffer("centre", torch.zeros(body.width))
        self.register_buffer("unit", torch.ones(body.width))
        if head is not None:
            with torch.no_grad():
                self.head.weight.copy_(head[None])
        self.train(False)

    def train(self, mode: bool = True) -> TunedNetwork:
        """Stay in evaluation mode."""
        super().train(False)
        return self

    def forward(self, onehot: torch.Tensor) -> torch.Tensor:
        """Predictions (B, 1, 1) of windows."""
        return self.end(self.body.begin_windows(onehot))[:, None, None]

    def end(self, begun: Begun) -> torch.Tensor:
        """Predictions (D,) of haplotypes whose frozen part is there already."""
        predicted: torch.Tensor = self.head((self.body.end(begun.rows()) - self.centre) / self.unit)[:, 0]
        return predicted

    @torch.no_grad()
    def calibrate(self, of_genes: Sequence[torch.Tensor], spread: float) -> None:
        """Count what the body says in units of its spread between people, and begin with so much of it.

        Parameters
        ----------
        of_genes : sequence of tensor, shape (N, F)
            What the body says of the people of some genes.
        spread : float
            Standard deviation of the predictions within genes, all those genes together.
        """

        def within(values: Sequence[torch.Tensor]) -> torch.Tensor:
            return torch.stack([value.double().var(dim=0, correction=0) for value in values]).mean(dim=0).sqrt()

        unit = within(of_genes)
        # what hardly differs between any people would be blown up
        unit = torch.where(unit > 0, unit.clamp(min=1e-2 * float(unit.max())), torch.ones_like(unit))
        self.centre.copy_(torch.stack([value.mean(dim=0) for value in of_genes]).mean(dim=0))
        # the same predictions but for a constant, in those units
        self.head.weight *= (unit.to(self.unit) / self.unit)[None]
        self.unit.copy_(unit)
        said = within([self.head(value / self.unit) for value in of_genes])
        if float(said) > 0:
            self.head.weight *= spread / float(said)

    def haplotypes(self, window: VariantWindow) -> torch.Tensor:
        """Predictions (H,) of the haplotypes of a window, which should be distinct."""
        return self.end(self.body.begin(self.body.plan(window)))


def add_lora(network: TunedNetwork, rank: int) -> TunedNetwork:
    """Freeze the body and put peft's LoRA beside each of its convolutions and linear layers; the head stays free.

    Hu et al. (2022), arXiv:2106.09685. What is added starts as zero.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ModelError("model.tune = 'lora' needs peft: pip install 'genopred[networks]'.") from None
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d)
    names = [name for name, layer in network.body.named_modules() if isinstance(layer, kinds)]
    if not names:
        raise ModelError("model.tune = 'lora': this model has no linear layer and no convolution; use 'all' or 'head'.")
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=names)
    inject_adapter_in_model(config, network.body)
    for name, parameter in network.body.named_parameters():
        parameter.requires_grad_(".lora_" in name)
    return network


def merged(network: TunedNetwork) -> TunedNetwork:
    """The same network in plain weights, in which what LoRA added is contained."""
    whole = copy.deepcopy(network)
    adapted = [(name, layer) for name, layer in whole.named_modules() if hasattr(layer, "base_layer")]
    for name, layer in adapted:
        layer.merge()
        place, _, last = name.rpartition(".")
        setattr(whole.get_submodule(place), last, layer.get_base_layer())
    return whole


def save_tuned(network: TunedNetwork, folder: str | Path, *, about: Mapping[str, Any]) -> Path:
    """Write a tuned network as config.json and model.safetensors, which `load_model` reads.

    Parameters
    ----------
    network : TunedNetwork
        With or without LoRA.
    folder : path
    about : dict
        More for config.json: `training`, `validation`, `start`.
    """
    plain = merged(network)
    body = plain.body
    settings = {
        "model_type": TUNED,
        "sequence_length": body.window,
        "tss_offset": body.tss_offset,
        "strand_aware": body.strand_aware,
        "track_names": [TRACK],
        "body": {"kind": body.kind} | body.settings,
    }
    return write_network(folder, settings | dict(about), _state(plain))


def _state(network: TunedNetwork) -> dict[str, torch.Tensor]:
    """Weights by name; what enformer-pytorch holds twice is there once."""
    return {key: value for key, value in network.state_dict().items() if "._trunk." not in key}


def load_tuned(folder: str | Path) -> tuple[TunedNetwork, dict[str, Any]]:
    """The network of a folder of `save_tuned`, on the CPU, and its config.json.

    Raises
    ------
    ModelError
        If the folder holds none, or its parts do not fit each other. Weights are tensors; nothing in them is run.
    """
    folder = Path(folder)
    config, weights = read_settings(folder / CONFIG, (TUNED,)), own_weights(folder, "tune")
    try:
        settings = dict(config["body"])
        place = {name: config[key] for name, key in _PLACE.items()}
        kind = settings.pop("kind")
        if kind not in BODIES:
            raise ValueError(f"body.kind is {shortened(repr(kind))}; known are {', '.join(BODIES)}")
        network = TunedNetwork(BODIES[kind].rebuilt(settings, **place))
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as bad:
        raise ModelError(
            f"{folder / CONFIG}: these settings make no tuned network ({why(bad)}); give the folder `model` of a run "
            "of `genopred train` with task = 'personal'."
        ) from None
    needed = _state(network)
    wrong = [key for key in {*needed, *weights} if key not in needed or key not in weights]
    wrong += [key for key in needed if key in weights and needed[key].shape != weights[key].shape]
    if wrong:
        raise ModelError(
            f"{folder / WEIGHTS[0]} does not fit its settings: {len(wrong)} weights are missing, unknown or of another "
            f"shape ({', '.join(sorted(wrong)[:3])}); tune or copy it again."
        )
    network.load_state_dict(weights, strict=False)
    return network, config


_PLACE = {"window": "sequence_length", "tss_offset": "tss_offset", "strand_aware": "strand_aware"}


class TunedModel(SequenceModel):
    """A model that was tuned on people, as a `SequenceModel` of one track; made by `TunedModel.load`."""

    n_bins = 1
    tracks = (TRACK,)
    #: In units of a gene's expression after its transform, which knows no zero.
    log_scale = True
    default_batch = _CHUNK

    def __init__(self, network: TunedNetwork, name: str, digest: str, device: str = "cpu") -> None:
        self.network, self.device, self.name = network, device, name
        body = network.body
        self.window = self.bin_size = body.window
        self.tss_offset, self.strand_aware = body.tss_offset, body.strand_aware
        self.checkpoint_hash = digest
        self.origin: dict[str, Any] = {"model": TRACK, "checkpoint": name, "checkpoint_hash": digest}

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu") -> TunedModel:
        """Load the network of a folder to a device; ModelError as `load_tuned`."""
        network, config = load_tuned(folder)
        digest = folder_hash(folder, {key: config[key] for key in (*_PLACE.values(), "body")})
        return cls(on_device(network, device), f"{TRACK}:{folder}", digest, device)

    def predict_onehot(self, onehot: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predictions (B, 1, 1) of one-hot windows (B, L, 4)."""
        self._check_windows(onehot)
        with torch.inference_mode():
            return self.network(as_tensor(onehot, self.device)).cpu().numpy()

    def _batches(self, window: VariantWindow, step: int) -> Iterator[NDArray[np.float32]]:
        """See `SequenceModel._batches`; what haplotypes share is computed once."""
        yield predict_window(self.network, window, step)[:, None, None]

    def torch_forward(self, x: torch.Tensor) -> torch.Tensor:
        """See `SequenceModel.torch_forward`."""
        found: torch.Tensor = self.network(x)
        return found

    def torch_module(self) -> nn.Module:
        """See `SequenceModel.torch_module`."""
        return self.network


@torch.inference_mode()
def predict_window(network: TunedNetwork, window: VariantWindow, batch: int = _CHUNK) -> NDArray[np.float32]:
    """Predictions (H,) of the haplotypes of a window, which should be distinct, some at a time."""
    body = network.body
    if body.shares:
        begun = body.begin(body.plan(window))
        parts = [network.end(begun.take(i, i + batch)) for i in range(0, len(window.alleles), batch)]
    else:
        n = len(window.alleles)
        spans = [np.arange(i, min(i + batch, n)) for i in range(0, n, batch)]
        parts = [network.end(body.begin(body.plan(window.take(rows)))) for rows in spans]
    return torch.cat(parts).cpu().numpy()


def tunable(
    model: SequenceModel, spec: str, *, bins: int = 3, tracks: Sequence[int] | None = None, window: int | None = None,
    fresh: bool = False,
) -> TunedNetwork:  # fmt: skip
    """A network to tune, with a model's own body.

    Parameters
    ----------
    model : SequenceModel
    spec : str
        What `load_model` made it of.
    bins : int
        Around the TSS, whose mean is looked at.
    tracks : sequence of int, optional
        The mean of log(1 + value) of these (of the value itself where the model predicts logarithms) is what the
        network predicts to begin with; all by default.
    window : int, optional
        Around the TSS, in bp; the model's own by default.
    fresh : bool
        Draw all weights anew, from torch's current random state.

    Raises
    ------
    ModelError
        If the model has no network that can be differentiated, or cannot read another window.
    """
    kind = next((kind for kind in BODIES.values() if kind.fits(model)), None)
    if kind is None:
        raise ModelError(
            f"model.start = {spec!r}: {model.name} does not give its network (torch_module), so that it cannot be "
            "tuned. Give one that does, such as enformer-small, xpresso:FILE.h5 or a folder of genopred train."
        )
    body = kind.of(model, spec, bins=bins, window=window or model.window)
    if fresh:
        body.draw()
        return TunedNetwork(body)
    return TunedNetwork(body, body.guess(range(len(model.tracks)) if tracks is None else tracks))
