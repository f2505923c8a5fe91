"""A plain dilated convolutional network, to hold others against."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from genopred.errors import ModelError
from genopred.training.networks.base import TrackNetwork
from genopred.training.splits import WindowShape


class DilatedCnn(TrackNetwork):
    """Convolutions and max pooling down to bins, then residual dilated convolutions among bins."""

    kind = "cnn"
    SIZES = {"channels": 96, "layers": 6, "dropout": 0.3}

    def __init__(self, n_tracks: int, shape: WindowShape, sizes: dict[str, Any]) -> None:
        super().__init__(n_tracks, shape, sizes)
        c = int(sizes["channels"])
        layers: list[nn.Module] = []
        for i in range(int(math.log2(shape.bin))):
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
        self.positive = nn.Softplus()

    @classmethod
    def check(cls, shape: WindowShape, sizes: dict[str, Any]) -> None:
        if math.log2(shape.bin) % 1 or shape.bin < 2:
            raise ModelError(f"data.bin {shape.bin}: {cls.kind} halves its window; needed a power of two, such as 128.")

    @classmethod
    def kept(cls, shape: WindowShape, sizes: dict[str, Any]) -> int:
        return shape.window * sizes["channels"]  # the first layer's output

    def trunk(self, onehot: torch.Tensor) -> torch.Tensor:
        # (B, L, 4) -> (B, 4, 1, L): two dimensions, because torch keeps channels last only there
        h = self.tower(onehot.transpose(1, 2).unsqueeze(2))
        for layer in self.dilated:
            h = h + layer(h)
        crop = self.shape.crop
        return h[:, :, 0, crop : crop + self.shape.n_bins].transpose(1, 2)

    def forward(self, onehot: torch.Tensor) -> torch.Tensor:
        return self.positive(self.head(self.trunk(onehot)))
