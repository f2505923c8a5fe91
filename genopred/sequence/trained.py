"""A `cnn` that `genopred train` wrote, as a model like any other; `sequence.enformer` runs a trained small Enformer."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genopred.errors import ModelError
from genopred.sequence.checkpoint import CONFIG, WEIGHTS, check_partners
from genopred.sequence.registry import WholeWindowModel


class TrainedCnn(WholeWindowModel):
    """A `cnn` of `genopred train`; made by `TrainedCnn.load`.

    As the small Enformer it reads a gene in its own direction, the TSS in the middle of its window.
    """

    strand_aware = True
    default_batch = 16

    def __init__(self, network: Any, config: dict[str, Any], folder: str | Path, digest: str, device: str) -> None:
        shape = network.shape
        self.network, self.device = network, device
        self.name = f"cnn:{folder}"
        self.window, self.tss_offset = shape.window, shape.window // 2
        self.bin_size, self.n_bins = shape.bin, shape.n_bins
        self.tracks = tuple(str(name) for name in config["track_names"])
        if config.get("reverse_tracks") is not None:
            self.reverse_tracks = tuple(config["reverse_tracks"])
        self.checkpoint_hash = digest
        self.origin: dict[str, Any] = {"model": "cnn", "checkpoint": str(folder), "checkpoint_hash": digest}

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "cpu") -> TrainedCnn:
        """Load the network of a folder to a device.

        Raises
        ------
        ModelError
            As `load_network`; or if it is another kind of network, or the device is not there.
        """
        import torch

        # the one import of training: a network is rebuilt from its class, which stands where it is trained
        from genopred.training.store import load_network

        network, config = load_network(folder)
        place = Path(folder)
        if network.kind != "cnn":
            raise ModelError(f"{folder} is a trained {network.kind}, no cnn; name it by its folder alone, {folder}.")
        check_partners(config, place / CONFIG)
        try:
            network = network.to(torch.device(device))
        except (RuntimeError, AssertionError) as bad:
            raise ModelError(f"--device {device}: {str(bad).splitlines()[0]}; use --device cpu.") from bad
        digest = hashlib.sha256((place / WEIGHTS[0]).read_bytes())
        keep = {key: config["training"][key] for key in ("data", "network")} | {"tracks": config["track_names"]}
        keep["data"] = {key: keep["data"][key] for key in ("window", "bin", "crop")}
        digest.update(json.dumps(keep, sort_keys=True).encode())
        return cls(network, config, folder, digest.hexdigest(), device)

    def predict_onehot(self, onehot: NDArray[np.float32]) -> NDArray[np.float32]:
        """Predictions (B, n_bins, T) of one-hot windows (B, L, 4)."""
        import torch

        if onehot.ndim != 3 or onehot.shape[1:] != (self.window, 4):
            raise ModelError(f"{self.name}: windows have shape {onehot.shape}; needed (B, {self.window}, 4).")
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(onehot, dtype=np.float32)).to(self.device)
            return self.network(x).float().cpu().numpy()
