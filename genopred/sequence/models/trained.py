"""Networks that `genopred train` wrote: read back as they were trained, and each a model like any other."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genopred.errors import ModelError
from genopred.sequence.models.base import SequenceModel, on_device
from genopred.sequence.models.config import CONFIG, WEIGHTS, check_partners


class TrainedModel(SequenceModel):
    """A network of `genopred train`; made by `TrainedModel.load`.

    It reads a gene in its own direction, the TSS in the middle of its window.
    """

    strand_aware = True
    default_batch = 16

    def __init__(self, network: Any, config: dict[str, Any], folder: str | Path, digest: str, device: str) -> None:
        shape = network.shape
        self.network, self.device = network, device
        self.name = f"{network.kind}:{folder}"
        self.window, self.tss_offset = shape.window, shape.window // 2
        self.bin_size, self.n_bins = shape.bin, shape.n_bins
        self.tracks = tuple(str(name) for name in config["track_names"])
        if config.get("reverse_tracks") is not None:
            self.reverse_tracks = tuple(config["reverse_tracks"])
        self.checkpoint_hash = digest
        self.origin: dict[str, Any] = {"model": network.kind, "checkpoint": str(folder), "checkpoint_hash": digest}

    @classmethod
    def load(cls, folder: str | Path, *, kind: str | None = None, device: str = "cpu") -> TrainedModel:
        """Load the network of a folder to a device; ModelError as `load_network`, or if it is of another kind."""
        # the one import of training: a network is rebuilt from its class, which stands where it is trained
        from genopred.training.store import load_network

        network, config = load_network(folder)
        place = Path(folder)
        if kind not in (None, network.kind):
            raise ModelError(f"{folder} is a trained {network.kind}, no {kind}; name it by its folder alone, {folder}.")
        check_partners(config, place / CONFIG)
        digest = hashlib.sha256((place / WEIGHTS[0]).read_bytes())
        keep = {key: config["training"][key] for key in ("data", "network")} | {"tracks": config["track_names"]}
        keep["data"] = {key: keep["data"][key] for key in ("window", "bin", "crop")}
        digest.update(json.dumps(keep, sort_keys=True).encode())
        return cls(on_device(network, device), config, folder, digest.hexdigest(), device)

    def predict_onehot(self, onehot: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predictions (B, n_bins, T) of one-hot windows (B, L, 4)."""
        self._check_windows(onehot)
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(onehot, dtype=np.float32)).to(self.device)
            return self.network.fast(x).float().cpu().numpy()

    def torch_forward(self, x: torch.Tensor) -> torch.Tensor:
        """See `SequenceModel.torch_forward`."""
        return self.network.fast(x)

    def torch_module(self) -> torch.nn.Module:
        """See `SequenceModel.torch_module`: the network as its class defines it."""
        network: torch.nn.Module = self.network
        return network.eval()
