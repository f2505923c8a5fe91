"""Networks that `genopred train` wrote: read back as they were trained, and each a model like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genopred.errors import ModelError
from genopred.sequence.models.base import SequenceModel, as_tensor, on_device
from genopred.sequence.models.config import CONFIG, check_partners, is_gene_network
from genopred.sequence.models.enformer.checkpoint import folder_hash


class _Trained(SequenceModel):
    """What both kinds have in common: each reads a gene in its own direction."""

    strand_aware = True
    default_batch = 16

    def __init__(self, network: Any, config: dict[str, Any], folder: str | Path, digest: str, device: str) -> None:
        self.network, self.device = network, device
        self.name = f"{network.kind}:{folder}"
        self.window = network.shape.window
        self.tracks = tuple(str(name) for name in config["track_names"])
        self.checkpoint_hash = digest
        self.origin = {"model": network.kind, "checkpoint": str(folder), "checkpoint_hash": digest}

    def predict_onehot(self, onehot: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predictions (B, n_bins, T) of one-hot windows (B, L, 4)."""
        self._check_windows(onehot)
        with torch.inference_mode():
            return self._predicted(as_tensor(onehot, self.device)).float().cpu().numpy()

    def _predicted(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class TrainedModel(_Trained):
    """A network of `genopred train`, the TSS in the middle of its window; made by `TrainedModel.load`."""

    def __init__(self, network: Any, config: dict[str, Any], folder: str | Path, digest: str, device: str) -> None:
        super().__init__(network, config, folder, digest, device)
        shape = network.shape
        self.tss_offset = shape.window // 2
        self.bin_size, self.n_bins = shape.bin, shape.n_bins
        if config.get("reverse_tracks") is not None:
            self.reverse_tracks = tuple(config["reverse_tracks"])

    @classmethod
    def load(cls, folder: str | Path, *, kind: str | None = None, device: str = "cpu") -> TrainedModel:
        """Load the network of a folder to a device; ModelError as `load_network`, or if it is of another kind."""
        # the one import of training: a network is rebuilt from its class, which stands where it is trained
        from genopred.training.store import load_network

        network, config = load_network(folder)
        place = Path(folder)
        if is_gene_network(place):
            raise ModelError(f"{folder} is a network of genes; name it by its folder alone, {folder}.")
        if kind not in (None, network.kind):
            raise ModelError(f"{folder} is a trained {network.kind}, no {kind}; name it by its folder alone, {folder}.")
        check_partners(config, place / CONFIG)
        keep = {key: config["training"][key] for key in ("data", "network")} | {"tracks": config["track_names"]}
        keep["data"] = {key: keep["data"][key] for key in ("window", "bin", "crop")}
        return cls(on_device(network, device), config, folder, folder_hash(folder, keep), device)

    def _predicted(self, x: torch.Tensor) -> torch.Tensor:
        return self.network.fast(x)  # type: ignore[no-any-return]

    def torch_forward(self, x: torch.Tensor) -> torch.Tensor:
        """See `SequenceModel.torch_forward`."""
        return self._predicted(x)

    def torch_module(self) -> torch.nn.Module:
        """See `SequenceModel.torch_module`: the network as its class defines it."""
        network: torch.nn.Module = self.network
        return network.eval()


class TrainedGeneModel(_Trained):
    """A network of genes of `genopred train` that reads nothing but the sequence around the TSS.

    Made by `TrainedGeneModel.load`. Like Xpresso it has one value for each cell type, on the scale that it was trained
    on, which is called one bin of the whole window.
    """

    n_bins = 1

    def __init__(self, network: Any, config: dict[str, Any], folder: str | Path, digest: str, device: str) -> None:
        super().__init__(network, config, folder, digest, device)
        self.bin_size, self.tss_offset = self.window, network.shape.before
        self.log_scale = "log" in str(config.get("transform", "")) or network.link == "identity"
        self.origin["transform"] = config.get("transform", {})

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu") -> TrainedGeneModel:
        """Load the network of a folder to a device; ModelError as `load_network`, or if it reads more than sequence."""
        from genopred.training.store import load_network

        network: Any
        network, config = load_network(folder)
        if not network.shape.sequence_alone:
            also = "tracks along the window" if network.shape.tracks else "distal segments"
            raise ModelError(
                f"{folder}: this network reads {also} beside the sequence around the TSS, which a person's sequence "
                "alone does not have; `genopred evaluate` uses it. Train one without [contacts] and [[inputs.tracks]]."
            )
        digest = folder_hash(folder, {key: config[key] for key in ("gene", "network", "link", "track_names")})
        return cls(on_device(network, device), config, folder, digest, device)

    def _predicted(self, x: torch.Tensor) -> torch.Tensor:
        return OfSequence(self.network)(x)  # type: ignore[no-any-return]

    def torch_forward(self, x: torch.Tensor) -> torch.Tensor:
        """See `SequenceModel.torch_forward`."""
        return self.torch_module()(x)  # type: ignore[no-any-return]

    def torch_module(self) -> torch.nn.Module:
        """See `SequenceModel.torch_module`."""
        if not self.network.differentiable:
            raise ModelError(
                f"{self.name} cannot be differentiated: it reads words, which a base cannot be a little of. In-silico "
                "mutagenesis works."
            )
        return OfSequence(self.network).eval()


class OfSequence(torch.nn.Module):
    """A network of genes as one of windows alone: (B, L, 4) -> (B, 1, T)."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network, self.integrated = network, network.integrated

    def forward(self, onehot: torch.Tensor) -> torch.Tensor:
        return self.network(self.network.given(onehot))[:, None]  # type: ignore[no-any-return]

    def attention_maps(self, onehot: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
        """Where the network looks."""
        maps: list[tuple[str, torch.Tensor]] = self.network.attention_maps(self.network.given(onehot))
        return maps
