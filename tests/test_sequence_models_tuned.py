"""Tuned networks: LoRA merges into the same function, a folder gives back the same model, and bad ones are refused."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")
import torch
from personal_data import cnn, random_window, save_start
from test_sequence_models_bodies import xpresso

from genopred.errors import ModelError
from genopred.sequence.models.registry import load_model
from genopred.sequence.models.tuned import TunedModel, add_lora, load_tuned, merged, predict_window, save_tuned, tunable


def start(kind, tmp_path):
    if kind == "enformer":
        return load_model(str(save_start(tmp_path / "start")))
    return cnn() if kind == "cnn" else xpresso()


def tuned(kind, tmp_path, seed=2):
    """A network that has moved in every weight."""
    model = start(kind, tmp_path)
    network = tunable(model, kind, bins=1)
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.02 * torch.randn_like(weight)
    return network


@pytest.mark.parametrize("kind", ["enformer", "xpresso", "cnn"])
def test_lora_is_merged_into_the_same_function(kind, tmp_path):
    pytest.importorskip("peft")
    network = tuned(kind, tmp_path)
    window = random_window(length=network.body.window)
    before = predict_window(network, window)
    add_lora(network, 2)
    np.testing.assert_allclose(predict_window(network, window), before, atol=1e-6)
    free = {name for name, weight in network.named_parameters() if weight.requires_grad}
    assert "head.weight" in free and all(".lora_" in name for name in free - {"head.weight"}) and len(free) > 5
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if ".lora_B" in name:
                weight.normal_(0, 0.05)
    with_it = predict_window(network, window)
    assert np.abs(with_it - before).max() > 1e-4
    whole = merged(network)
    assert not any("lora" in name for name in whole.state_dict())
    np.testing.assert_allclose(predict_window(whole, window), with_it, atol=2e-6)
    np.testing.assert_array_equal(predict_window(network, window), with_it)


@pytest.mark.parametrize("kind", ["enformer", "xpresso", "cnn"])
def test_a_folder_is_a_model(kind, tmp_path):
    network = tuned(kind, tmp_path)
    save_tuned(network, tmp_path / "model", about={"start": kind})
    model = load_model(str(tmp_path / "model"))
    assert isinstance(model, TunedModel) and model.tracks == ("tuned",) and model.n_bins == 1
    body = network.body
    assert (model.window, model.tss_offset, model.strand_aware) == (body.window, body.tss_offset, True)
    window = random_window(length=body.window)
    expected = predict_window(network, window)
    np.testing.assert_allclose(model.predict_haplotypes(window)[:, 0, 0], expected, atol=1e-6)
    np.testing.assert_allclose(model.predict_onehot(window.onehot())[:, 0, 0], expected, atol=2e-6)
    x = torch.from_numpy(window.onehot([0]))
    assert model.torch_forward(x).shape == model.torch_module()(x).shape == (1, 1, 1)
    assert load_model(f"tuned:{tmp_path / 'model'}").checkpoint_hash == model.checkpoint_hash
    with pytest.raises(ModelError, match="--mode linear: .* only exact"):
        model.predict_haplotypes(window, mode="linear")
    assert not model.network.train().training


def test_a_folder_with_other_contents_is_refused(tmp_path):
    save_tuned(tuned("cnn", tmp_path), tmp_path / "model", about={})
    config, weights = tmp_path / "model" / "config.json", tmp_path / "model" / "model.safetensors"
    whole, text = weights.read_bytes(), config.read_text()

    class Runs:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    weights.write_bytes(pickle.dumps({"head.weight": Runs()}))
    with pytest.raises(ModelError, match="model.safetensors .* cannot be read as weights"):
        load_model(str(tmp_path / "model"))
    assert not (tmp_path / "ran").exists()
    weights.unlink()
    with pytest.raises(ModelError, match="no weights; needed model.safetensors"):
        load_tuned(tmp_path / "model")
    weights.write_bytes(whole)
    for key, value, said in (
        ("body", {"kind": "none"}, "body.kind is 'none'; known are enformer"),
        ("body", 3, "make no tuned network"),
        ("sequence_length", "long", "make no tuned network"),
    ):
        config.write_text(json.dumps(json.loads(text) | {key: value}))
        with pytest.raises(ModelError, match=said):
            load_tuned(tmp_path / "model")
    changed = json.loads(text)
    changed["body"]["training"]["network"]["channels"] = 8
    config.write_text(json.dumps(changed))
    with pytest.raises(ModelError, match="weights are missing, unknown or of another shape"):
        load_tuned(tmp_path / "model")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    network = tuned("cnn", tmp_path)
    with torch.no_grad():
        network.head.weight[0, 0] = float("nan")
    save_tuned(network, tmp_path / "model", about={})
    with pytest.raises(ModelError, match="1 weights hold values that are not finite"):
        load_tuned(tmp_path / "model")


def test_the_start_is_calibrated():
    network = tunable(cnn(), "cnn", bins=3)
    torch.manual_seed(1)
    said = [torch.randn(20, network.body.width) * torch.linspace(0.5, 2, network.body.width) for _ in range(6)]
    before = [network.head(value)[:, 0].detach() for value in said]
    network.calibrate(said, 0.1)
    after = [network.head(value / network.unit)[:, 0].detach() for value in said]
    for a, b in zip(before, after):
        assert np.corrcoef(a, b)[0, 1] > 1 - 1e-6
    assert float(torch.stack([value.var(correction=0) for value in after]).mean().sqrt()) == pytest.approx(
        0.1, rel=1e-4
    )
