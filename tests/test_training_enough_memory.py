"""`genopred.training.enough_memory`: what does not fit is refused, before it is built."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("pyBigWig")

from test_pipelines_train import config, start

from genopred.errors import GenopredError
from genopred.training import enough_memory

__all__ = ["config"]


def test_too_little_memory(config, monkeypatch, tmp_path):
    monkeypatch.setattr(enough_memory, "free_memory", lambda: 1_000_000)
    with pytest.raises(GenopredError, match=r"too little memory on host.*3 tracks of 300,000 bp.*larger data.step"):
        start(config, tmp_path / "out")


@pytest.mark.parametrize(
    "network, data, batch",
    [
        ({"kind": "cnn", "channels": 8192, "layers": 20}, {}, 8),
        ({"kind": "enformer-small", "dim": 7680, "depth": 60, "heads": 10}, {}, 8),
        ({"kind": "cnn", "channels": 64}, {"window": 2_097_152}, 8),
        ({"kind": "enformer-small"}, {"window": 2_097_152}, 1),
        ({"kind": "cnn", "channels": 8}, {}, 1_000_000_000),
    ],
)
def test_a_network_too_large_is_refused_before_it_is_built(config, monkeypatch, tmp_path, network, data, batch):
    data = config.resolved()["data"] | data
    monkeypatch.setattr(enough_memory, "free_memory", lambda: 4_000_000_000)
    monkeypatch.setattr(enough_memory, "training_bytes", lambda *args: pytest.fail("it was built"))
    with pytest.raises(GenopredError, match=r"too little memory on host: about [0-9,.]+ GB are needed.*4.00 GB are fr"):
        start(
            config,
            tmp_path / "out",
            {"batch": batch},
            network=network,
            data=data,
            split={"by": "block", "block": 3_000_000},
        )
