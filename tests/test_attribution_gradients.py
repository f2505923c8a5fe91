"""genopred.attribution.gradients against finite differences."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from test_sequence_effects import TSS, Text, Toy, turn

from genopred.attribution.gradients import _gradient, first_order, gradients
from genopred.attribution.mutagenesis import in_silico_mutagenesis, mutations
from genopred.errors import ModelError
from genopred.sequence.effects import EffectSettings, effect_rows
from genopred.sequence.haplotypes import window_around
from genopred.sequence.models.xpresso import XpressoModel
from genopred.sequence.onehot import encode, onehot
from genopred.types import Interval


class Smooth(Toy):
    """A toy with a gradient: exp(tanh(linear)), in torch as well."""

    def torch_forward(self, x):
        kernel = torch.from_numpy(self.kernel)
        return torch.exp(torch.tanh(x.reshape(len(x), -1) @ kernel)).reshape(-1, 4, 3)


@pytest.mark.parametrize("settings", [{}, {"aggregate": "mean", "over_tracks": "sum"}, {"strands": "both"}])
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_are_finite_differences(settings, reverse):
    model = Smooth()
    model.reverse_tracks = (0, 2, 1)
    chosen = EffectSettings.of(model, tracks=["CAGE:y", "all"], bins=1, **settings)
    window = window_around("1", TSS, 64, 30)
    slope = gradients(model, Text(), window, chosen, reverse=reverse)
    start = onehot(encode(Text().fetch(window))).astype(np.float64)

    def value(x, group):
        kernel = model.kernel.astype(np.float64)
        run = lambda y: np.exp(np.tanh(y.reshape(-1) @ kernel)).reshape(4, 3)  # noqa: E731
        tracks = list(chosen.groups[group][1])
        own, other = (x[::-1, ::-1], x) if reverse else (x, x[::-1, ::-1])
        found = run(own)[1]
        if chosen.strands == "both":
            found = (found + run(other)[2][[0, 2, 1]]) / 2
        return found[tracks].sum() if chosen.over_tracks == "sum" else found[tracks].mean()

    assert slope.shape == (2, 64, 4)
    for g in range(2):
        for place in [(0, 1), (17, 3), (63, 0)]:
            step = np.zeros_like(start)
            step[place] = 1e-5
            wanted = (value(start + step, g) - value(start - step, g)) / 2e-5
            assert slope[g][place] == pytest.approx(wanted, rel=1e-3, abs=1e-6)


def test_first_order_effects_are_alt_minus_ref():
    model = Smooth()
    chosen = EffectSettings.of(model, tracks=["CAGE:y", "all"])
    window = window_around("1", TSS, 64, 30)
    found = in_silico_mutagenesis(model, Text(), Interval("1", TSS - 3, TSS + 2), chosen, tss=TSS)
    rows = effect_rows(found.snps, found.window, found.effects, chosen)
    slope = gradients(model, Text(), window, chosen)
    first = first_order(slope, window, rows, chosen)
    for row, value in zip(rows.iter_rows(named=True), first, strict=True):
        at, g = row["pos"] - 1 - window.start, ["CAGE:y", "all"].index(row["track_group"])
        assert value == slope[g, at, "ACGT".index(row["alt"])] - slope[g, at, "ACGT".index(row["ref"])]


def test_a_model_without_gradient_says_so():
    model = Toy()
    with pytest.raises(ModelError, match="torch_forward"):
        gradients(model, Text(), window_around("1", TSS, 64, 30), EffectSettings.of(model))
    with pytest.raises(ModelError, match="reads 64 bp"):
        gradients(model, Text(), Interval("1", 0, 10), EffectSettings.of(model))


def random_xpresso():
    rng = np.random.default_rng(2)
    shapes = {"conv1": (6, 4, 8), "conv2": (9, 8, 4), "dense1": (35 * 4 + 6, 6), "dense2": (6, 2), "dense3": (2, 1)}
    weights = {}
    for name, shape in shapes.items():
        weights[f"{name}.kernel"] = (rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)
        weights[f"{name}.bias"] = np.abs(rng.normal(size=shape[-1])).astype(np.float32) * 0.5
    return XpressoModel(weights, (30, 10), "random")


def test_xpresso_has_its_own_gradient():
    model, rng = random_xpresso(), np.random.default_rng(1)
    text = Text("".join(rng.choice(list("ACGT"), 12_000)))
    window = Interval("1", 500, 11_000)
    chosen = EffectSettings.of(model)
    # bases that are not quite one-hot: equal words in one pooled segment would tie, where the derivative jumps
    x = onehot(encode(text.fetch(window))) + rng.normal(scale=0.05, size=(10_500, 4)).astype(np.float32)
    slope = _gradient(model, x, chosen)[0]
    run = model.torch_forward
    with torch.no_grad():
        value = run(torch.from_numpy(x)[None]).numpy()
        np.testing.assert_allclose(value, model.predict_onehot(x[None]), rtol=1e-5)
        # in double precision a small step crosses no kink of ReLU or max pooling
        model.weights = {name: weight.double() for name, weight in model.weights.items()}
        step = torch.from_numpy(rng.normal(size=x.shape))
        base = torch.from_numpy(x).double()
        moved = [run((base + sign * 1e-7 * step)[None]).item() for sign in (1, -1)]
    wanted = (moved[0] - moved[1]) / 2e-7
    assert abs(wanted) > 0.01 and float((slope * step.numpy()).sum()) == pytest.approx(wanted, rel=1e-3)
    model = random_xpresso()
    turned = gradients(model, text, window, chosen, reverse=True)[0]
    backwards = Text(turn(text.fetch(window)))
    np.testing.assert_allclose(turned[::-1, ::-1], gradients(model, backwards, Interval("1", 0, 10_500), chosen)[0])


def test_enformer_has_its_own_gradient():
    pytest.importorskip("enformer_pytorch")
    from enformer_data import SMALL, randomised

    from genopred.sequence.models.enformer.checkpoint import CheckpointInfo
    from genopred.sequence.models.enformer.model import EnformerModel

    torch.manual_seed(0)
    from enformer_pytorch import Enformer

    module = randomised(Enformer.from_hparams(**SMALL)).double()
    info = CheckpointInfo(source="x", hash="x", config={}, window=128 * 16, tf_gamma=False, tf_gamma_because="")
    model = EnformerModel(module, info)
    text = Text("".join(np.random.default_rng(1).choice(list("ACGT"), 128 * 16)))
    chosen = EffectSettings.of(model, bins=3, tracks="human:[0-2]")
    slope = gradients(model, text, Interval("1", 0, 128 * 16), chosen)[0]
    at = (1024, 2)
    found = []
    for sign in (1, -1):
        x = torch.from_numpy(onehot(encode(text.sequence)).astype(np.float64))
        x[at] += sign * 1e-5
        with torch.no_grad():
            found.append(module(x[None])["human"][0][list(chosen.bins)][:, :3].sum(0).mean().item())
    assert slope[at] == pytest.approx((found[0] - found[1]) / 2e-5, rel=1e-3)
    # and SNP effects of the engine are passes of the module
    snps = mutations("1", 1000, text.sequence[999:1003])
    from genopred.sequence.effects import snp_window, window_effects

    window = snp_window(snps, text, Interval("1", 0, 128 * 16))
    effects = window_effects(model, window, chosen)
    for k in range(len(window.index)):
        pair = torch.from_numpy(np.stack([window.sequences.onehot([k])[0], onehot(encode(text.sequence))])).double()
        with torch.no_grad():
            a, r = module(pair)["human"][:, list(chosen.bins)][:, :, :3].sum(1)
        assert effects.effect[k, 0] == pytest.approx((a - r).mean().item(), abs=1e-5 * a.abs().max().item())
    linear = window_effects(model, window, EffectSettings.of(model, bins=3, tracks="human:[0-2]", mode="linear"))
    assert np.corrcoef(linear.effect[:, 0], effects.effect[:, 0])[0, 1] > 0.8
    assert not np.allclose(linear.effect, effects.effect, rtol=1e-3)
