"""The plain convolutional network."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

from training_data import SHAPE, onehot  # noqa: E402

from genopred.training.networks.registry import build  # noqa: E402


def test_each_bin_sees_beyond_its_neighbours() -> None:
    torch.manual_seed(4)
    network = build("cnn", 1, SHAPE, channels=8, layers=4).eval()
    x = onehot(1)
    changed = x.clone()
    changed[0, 1024:1032] = torch.eye(4)[[0, 1, 2, 3] * 2]
    with torch.no_grad():
        moved = (network(changed) - network(x)).abs()[0, :, 0] > 0
    assert int(moved.sum()) > 4
