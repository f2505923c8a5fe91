"""Networks that `genopred train` wrote: read back as they were trained, and each a model like any other."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genopred.errors import GenopredError, ModelError, shortened
from genopred.sequence.models.base import SequenceModel, on_device
from genopred.sequence.models.config import CONFIG, WEIGHTS, check_partners, read_settings
from genopred.sequence.models.enformer.checkpoint import load_enformer, read_weights


def load_network(folder: str | Path) -> tuple[torch.nn.Module, dict[str, Any]]:
    """A network of `genopred train`, in evaluation mode on the CPU, and its config.json.

    Parameters
    ----------
    folder : path
        `model` in a run's folder.

    Raises
    ------
    ModelError
        If the folder holds no such network, or a part of it is damaged.
    """
    from genopred.sequence import networks
    from genopred.sequence.dataset import WindowShape

    folder = Path(folder)
    try:
        config = read_settings(folder / CONFIG)
        training = config["training"]
        data, sizes = training["data"], dict(training["network"])
        shape = WindowShape(data["window"], data["bin"], data["crop"])
        names, kind = config["track_names"], sizes.pop("kind")
        if not isinstance(names, list) or not names:
            raise TypeError("track_names is no list of names")
        with torch.device("meta" if kind == networks.CNN else "cpu"):
            network = networks.build(kind, len(names), shape, **sizes)
    except (KeyError, TypeError, ValueError, AttributeError) as bad:
        # a GenopredError says by itself what is wrong with a value
        said = str(bad).rstrip(".") if isinstance(bad, GenopredError) else f"{type(bad).__name__}: {shortened(bad)}"
        raise ModelError(
            f"{folder}: no network of `genopred train` ({said}); give the folder `model` in its --out."
        ) from None
    if kind == networks.ENFORMER:
        network.body.load_state_dict(load_enformer(folder)[0].state_dict())  # type: ignore[operator, union-attr]
    else:
        _fill(network, folder / WEIGHTS[0])
    return network.eval(), config


class TrainedModel(SequenceModel):
    """A network of `genopred train`; made by `TrainedModel.load`.

    It reads a gene in its own direction, the TSS in the middle of its window.
    """

    strand_aware = True
    default_batch = 16

    def __init__(self, network: Any, config: dict[str, Any], folder: str | Path, digest: str, device: str) -> None:
        from genopred.sequence.dataset import WindowShape
        from genopred.sequence.networks import training_forward

        data = config["training"]["data"]
        shape = WindowShape(data["window"], data["bin"], data["crop"])
        self.network, self.device = network, device
        self.name = f"{network.kind}:{folder}"
        self.window, self.tss_offset = shape.window, shape.window // 2
        self.bin_size, self.n_bins = shape.bin, shape.n_bins
        self.tracks = tuple(str(name) for name in config["track_names"])
        if config.get("reverse_tracks") is not None:
            self.reverse_tracks = tuple(config["reverse_tracks"])
        self.checkpoint_hash = digest
        self.origin: dict[str, Any] = {
            "model": network.kind,
            "checkpoint": str(folder),
            "checkpoint_hash": digest,
        }
        self._forward = training_forward(network)

    @classmethod
    def load(cls, folder: str | Path, *, kind: str | None = None, device: str = "cpu") -> TrainedModel:
        """Load the network of a folder to a device.

        Raises
        ------
        ModelError
            As `load_network`; or if it is another kind of network than `kind`, or the device is not there.
        """
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
            return self._forward(x).float().cpu().numpy()

    def torch_forward(self, x: torch.Tensor) -> torch.Tensor:
        """See `SequenceModel.torch_forward`."""
        return self._forward(x)


def _fill(network: torch.nn.Module, file: Path) -> None:
    """Put the weights of a file into a network that was built without memory for them."""
    if not file.is_file():
        raise ModelError(f"{file.parent}: no weights; needed {file.name} beside {CONFIG}.")
    state = read_weights(file)
    damaged = [key for key, value in state.items() if not bool(torch.isfinite(value).all())]
    if damaged:
        raise ModelError(f"{file}: {len(damaged)} weights hold values that are not finite; train or copy it again.")
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as bad:
        # torch lists each weight on a line of its own
        said = [line.strip() for line in str(bad).splitlines() if line.strip()]
        raise ModelError(
            f"{file} does not fit its settings ({shortened(said[min(1, len(said) - 1)], 200)}); train or copy it again."
        ) from None
