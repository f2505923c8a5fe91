"""The untrained network: an ordinary checkpoint whose predictions depend on bases."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

from genopred.sequence.registry import load_model
from genopred.sequence.untrained import TRACKS, write_untrained

WINDOW = 64 * 128


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_untrained(tmp_path_factory.mktemp("untrained"), window=WINDOW)


def test_it_loads_as_any_checkpoint(folder):
    import torch

    model = load_model(f"enformer:{folder}")
    assert (model.window, model.tracks, model.n_bins) == (WINDOW, TRACKS, 64)
    assert model.origin["tf_gamma"] is False
    norms = [part for part in model.module.modules() if isinstance(part, torch.nn.BatchNorm1d)]
    assert norms and all(
        float(part.running_var.min()) > 0 and float((part.running_var - 1).abs().max()) > 1e-3 for part in norms
    )
    assert all(bool(part.to_out.weight.any()) for part in model.module.modules() if hasattr(part, "to_rel_k"))


def test_a_base_far_away_counts_as_only_attention_can_bring_it(folder):
    model = load_model(f"enformer:{folder}")
    rng = np.random.default_rng(3)
    bases = np.eye(4, dtype=np.float32)[rng.integers(0, 4, WINDOW)]
    near, far = bases.copy(), bases.copy()
    near[WINDOW // 2] = np.roll(near[WINDOW // 2], 1)
    far[200] = np.roll(far[200], 1)
    plain, one, other = model.predict_onehot(np.stack([bases, near, far]))
    middle = slice(31, 33)
    assert plain.std() > 1e-3
    assert np.abs(one - plain)[middle].max() > 1e-4 * plain.max()
    assert np.abs(other - plain)[middle].max() > 1e-6 * plain.max()


def test_the_same_seed_gives_the_same_network_and_leaves_what_is_there(folder, tmp_path):
    first = load_model(f"enformer:{folder}").checkpoint_hash
    before = (folder / "model.safetensors").stat().st_mtime_ns
    write_untrained(folder, window=WINDOW)
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert load_model(f"enformer:{write_untrained(tmp_path / 'a', window=WINDOW)}").checkpoint_hash == first
    other = write_untrained(tmp_path / "a", seed=2, window=WINDOW)
    assert json.loads((other / "config.json").read_text())["untrained_seed"] == 2
    assert load_model(f"enformer:{other}").checkpoint_hash != first


def test_writing_it_leaves_torchs_own_random_numbers_alone(tmp_path):
    import torch

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    write_untrained(tmp_path, window=WINDOW)
    assert torch.equal(torch.rand(3), expected)
