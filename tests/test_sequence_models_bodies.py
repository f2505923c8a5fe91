"""Bodies: what haplotypes share is computed once, and each kind says what its model says."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from personal_data import cnn, random_window, save_start

from genopred.errors import GenopredError, ModelError
from genopred.sequence.haplotypes import VariantWindow
from genopred.sequence.models.bodies import BODIES, Begun, reference_windows
from genopred.sequence.models.registry import load_model
from genopred.sequence.models.tuned import predict_window, tunable
from genopred.sequence.models.xpresso import WINDOW, XpressoModel


def xpresso(seed=1):
    rng = np.random.default_rng(seed)
    shapes = {"conv1.kernel": (6, 4, 8), "conv2.kernel": (9, 8, 4), "dense1.kernel": (10500 // 30 // 10 * 4 + 6, 16)}
    shapes |= {"dense2.kernel": (16, 2), "dense3.kernel": (2, 1)}
    shapes |= {f"{name.split('.')[0]}.bias": shape[-1:] for name, shape in shapes.items()}
    weights = {name: (0.3 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
    weights["dense2.bias"][:] = 3.0  # two numbers that no ReLU silences
    return XpressoModel(weights, (30, 10), "toy")


class Foreign(SimpleNamespace):
    """A package's model that gives its network."""

    def torch_module(self):
        class Mean(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = torch.nn.Linear(4, 2)

            def forward(self, x):
                return torch.nn.functional.softplus(self.layer(x.view(len(x), 4, -1, 4).mean(dim=2)))

        torch.manual_seed(1)
        return Mean()


def foreign():
    from genopred.sequence.models.base import SequenceModel

    class Model(Foreign, SequenceModel):
        pass

    place = {"window": 64, "tss_offset": 32, "strand_aware": True, "bin_size": 16, "n_bins": 4}
    return Model(name="mine", tracks=("a", "b"), checkpoint_hash="x", origin={}, **place)


def start(kind, tmp_path):
    if kind == "enformer":
        pytest.importorskip("enformer_pytorch")
        return load_model(str(save_start(tmp_path / "start")))
    return {"xpresso": xpresso, "cnn": cnn, "other": foreign}[kind]()


@pytest.mark.parametrize("kind", list(BODIES))
def test_haplotypes_are_what_each_person_would_have_alone(kind, tmp_path):
    model = start(kind, tmp_path)
    network = tunable(model, "spec", bins=3 if model.n_bins > 1 else 1)
    assert network.body.kind == kind
    window = random_window(length=model.window, sites=20)
    together = predict_window(network, window, batch=5)
    with torch.no_grad():
        alone = [float(network(torch.from_numpy(window.onehot([h])))[0, 0, 0]) for h in range(len(window.alleles))]
    np.testing.assert_allclose(together, alone, atol=2e-6)
    assert np.ptp(together) > 0


@pytest.mark.parametrize("kind", list(BODIES))
def test_it_begins_with_what_the_model_says(kind, tmp_path):
    model = start(kind, tmp_path)
    bins = 3 if model.n_bins > 1 else 1
    network = tunable(model, "spec", bins=bins, tracks=[len(model.tracks) - 1])
    window = random_window(length=model.window, sites=20)
    if kind == "other":
        with torch.no_grad():
            says = model.torch_module()(torch.from_numpy(window.onehot())).numpy()
    else:
        says = model.predict_haplotypes(window)
    middle = model.n_bins // 2 if kind != "xpresso" else 0
    near = says[:, middle - bins // 2 : middle + bins // 2 + 1, -1]
    np.testing.assert_allclose(predict_window(network, window), (near if kind == "xpresso" else np.log1p(near)).mean(1),
                               atol=2e-6)  # fmt: skip


def test_another_window_and_bins_that_do_not_fit(tmp_path):
    pytest.importorskip("enformer_pytorch")
    model = start("enformer", tmp_path)
    body = tunable(model, "x", window=512).body
    assert (body.window, body.tss_offset, body.bins) == (512, 256, [1, 2, 3])
    for window in (2048, 500):
        with pytest.raises(ModelError, match="reads up to 1,024 bp; needed a multiple of 256"):
            tunable(model, "x", window=window)
    for bins in (2, 99):
        with pytest.raises(GenopredError, match=f"model.bins = {bins}: .* needed an odd number"):
            tunable(model, "x", bins=bins)
    with pytest.raises(ModelError, match="data.window = 512: xpresso:toy reads 10,500 bp and no other"):
        tunable(xpresso(), "x", window=512)
    assert WINDOW == 10_500


def test_a_model_without_network_is_refused():
    from test_pipelines_features import Toy

    with pytest.raises(
        ModelError, match="model.start = 'toy': toy does not give its network .* such as enformer-small"
    ):
        tunable(Toy(), "toy")


def test_fresh_weights_are_others(tmp_path):
    for kind in ("cnn", "xpresso"):
        model = start(kind, tmp_path)
        torch.manual_seed(5)
        fresh = tunable(model, "x", fresh=True, bins=3 if model.n_bins > 1 else 1)
        old = tunable(model, "x", bins=3 if model.n_bins > 1 else 1)
        assert not torch.equal(next(fresh.body.parameters()), next(old.body.parameters()))


def test_begun_and_references():
    begun = Begun(torch.arange(4.0), torch.tensor([[0, 1], [2, 3], [0, 3]]))
    assert begun.rows().shape == (3, 2) and begun.take(1, 2).rows().tolist() == [[2.0, 3.0]]
    window = random_window(length=64, sites=2)
    assert isinstance(window, VariantWindow) and reference_windows([window, window]).shape == (2, 64, 4)
