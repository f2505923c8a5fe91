"""The exact engine against enformer-pytorch's own forward; and mistakes that these tests would catch."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from enformer_data import (
    CROPPED,
    MODULES,
    case,
    difference_error,
    enformer_pytorch,
    error,
    model_of,
    naive,
    predicted,
    randomised,
    small,
    torch,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.errors import GenopredError, ModelError
from genopred.sequence import tokens as tokens_module
from genopred.sequence.features import FeatureSettings, features_from_sequences
from genopred.sequence.haplotypes import (
    PersonalSequences,
    VariantWindow,
)
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.models.enformer import tower as tower_module
from genopred.sequence.models.enformer import transformer as transformer_module
from genopred.sequence.models.enformer.tower import ExactTower
from genopred.types import Interval


@settings(max_examples=12, deadline=None)
@given(
    length=st.sampled_from([1408, 2048, 1999, 1537]),
    where=st.lists(st.floats(0, 1), max_size=40),
    edges=st.sets(st.sampled_from([0, 1, 7, -1, -2, -8])),
    n=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    kind=st.sampled_from([torch.float32, torch.float64]),
)
def test_equals_enformer_pytorch_on_any_snvs(
    length: int, where: list[float], edges: set[int], n: int, seed: int, kind: Any
) -> None:
    sites = {int(w * (length - 1)) for w in where} | {e % length for e in edges}
    window = case(length, list(sites), n, seed)
    module = MODULES[kind]
    got, work = predicted(module, window)
    want = naive(module, window)
    assert got.shape == want.shape == (n, *want.shape[1:])
    assert error(got, want) < (1e-5 if kind == torch.float32 else 1e-10)
    if kind == torch.float64:
        with torch.no_grad():
            plain = module.conv_tower(module.stem(torch.from_numpy(window.onehot()).double().mT)).mT
        table, level = ExactTower(module).tokens(window)
        assert error(table[torch.from_numpy(level.index(np.arange(n), n))].numpy(), plain.numpy()) < 1e-12
        # every row of the last table belongs to a haplotype or to the reference
        assert set(np.unique(level.index(np.arange(n), n))) | set(range(level.n)) == set(range(level.n_rows))
    assert work.windows == len(np.unique(window.alleles, axis=0))


def test_haplotypes_differ_visibly() -> None:
    """Without this the comparisons above could not fail."""
    window = case(2048, list(range(15, 2048, 60)), 6, 1)
    want = naive(MODULES[torch.float64], window)
    assert (want.std(axis=0) / want.mean(axis=0)).mean() > 0.02
    got, _ = predicted(MODULES[torch.float32], window)
    assert difference_error(got, want) < 1e-4


@pytest.mark.parametrize("bins", [[4], [0, 9], [3, 3, 1], list(range(10))])
def test_bins_and_tracks_asked_for(bins: list[int]) -> None:
    window = case(2048, [0, 700, 1000, 1003, 2047], 5, 2)
    module = MODULES[torch.float64]
    got, _ = predicted(module, window, bins=bins, tracks=[6, 0], batch_size=2)
    assert error(got, naive(module, window)[:, bins][:, :, [6, 0]]) < 1e-10


@pytest.mark.parametrize(
    "changed",
    [{"depth": 1}, {"target_length": -1}, {"num_downsamples": 4, "dim_divisible_by": 6}, {"attn_dim_key": 24}],
)
def test_other_sizes(changed: dict[str, int]) -> None:
    module = small(**changed)
    window = case(1408 if "num_downsamples" not in changed else 320, [0, 30, 33, 160, 319], 5, 3)
    for kwargs in ({}, {"bins": [1]}):
        got, _ = predicted(module, window, **kwargs)
        want = naive(module, window)
        assert error(got, want[:, [1]] if kwargs else want) < 1e-10
    got, _ = predicted(module, window, head="mouse")
    assert error(got, naive(module, window, "mouse")) < 1e-10


def test_tf_gamma_and_1536_tokens() -> None:
    window = case(1536 * 8, [3, 2000, 3000, 3001], 1, 4)
    # TensorFlow's table has 32 gammas: as many as features of 192 / 6
    wide = small(torch.float32, num_downsamples=3, dim_divisible_by=4, dim=384, heads=2, depth=1, target_length=896)
    for flag in (True, False):
        for part in wide.modules():
            if hasattr(part, "use_tf_gamma"):
                part.use_tf_gamma = flag
        got, _ = predicted(wide, window, bins=[448, 0])
        assert error(got, naive(wide, window)[:, [448, 0]]) < 1e-5


def test_sites_with_several_alternatives() -> None:
    made = case(1408, [500, 500, 503], 1, 5)
    reference, sites, ref = made.reference, made.sites, made.ref_codes
    ref[1] = ref[0]
    reference[500] = np.eye(4)[ref[0]]
    alt = np.array([(ref[0] + 1) % 4, (ref[0] + 2) % 4, (ref[2] + 1) % 4], dtype=np.int8)
    alleles = np.array([[1, 0, 0], [0, 1, 1], [2, 2, 0], [0, 0, 2]], dtype=np.int8)
    window = VariantWindow(reference, sites, ref, alt, alleles)
    got, _ = predicted(MODULES[torch.float64], window)
    assert error(got, naive(MODULES[torch.float64], window)) < 1e-10


def _reference_tokens(patch: Any) -> None:
    patch.setattr(tokens_module.Level, "index", lambda self, asked, n: np.tile(np.arange(self.n), (len(asked), 1)))


def _shifted_bias(patch: Any) -> None:
    made = transformer_module._Block.__init__

    def shifted(self: Any, *args: Any) -> None:
        made(self, *args)
        self.rel = self.rel.roll(1, dims=2)

    patch.setattr(transformer_module._Block, "__init__", shifted)


def _padding_before_activation(patch: Any) -> None:
    """Zero padding of bases instead of activations: batch norm and GELU go over the padding too."""
    made = ExactTower._activate

    def over_all(self: Any, table: Any, n: int, pad: int, norm: Any) -> None:
        made(self, table, n + pad, 0, norm) if pad == 0 else table.copy_(norm(table))

    patch.setattr(ExactTower, "_activate", over_all)


def _short_halo(patch: Any) -> None:
    """A variant's outermost base left out of the stem's convolution."""
    made = tower_module.next_level

    def short(level: Any, width: int, n: int) -> Any:
        step = made(level, width, n)
        if width == 15:
            edge = step.windows[:, -1] >= level.n + 14
            step.windows[edge, -1] = step.windows[edge, 0]
        return step

    patch.setattr(tower_module, "next_level", short)


def _reversed_pooling(patch: Any) -> None:
    """Each of a pair weighted as the other should be."""
    made = tower_module._Stage.pooled
    patch.setattr(tower_module._Stage, "pooled", lambda self, a, b, count: a + b - made(self, a, b, count))


@pytest.mark.parametrize(
    "mistake", [_reference_tokens, _shifted_bias, _padding_before_activation, _short_halo, _reversed_pooling]
)
def test_mistakes_are_caught(mistake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    window = case(2048, [0, 2, *range(100, 2000, 37), 2047], 5, 6)
    module = MODULES[torch.float32]
    want = naive(module, window)
    assert error(predicted(module, window)[0], want) < 1e-5
    mistake(monkeypatch)
    assert error(predicted(module, window)[0], want) > 1e-2


@pytest.mark.parametrize("mode", ["exact", "linear"])
def test_aggregated_bins(mode: str) -> None:
    window = case(1408, [300, 800], 3, 9)
    module = MODULES[torch.float64]
    whole, one = predicted(module, window, bins=[2, 5, 7], tracks=[1, 3], mode=mode)
    for how in ("mean", "sum"):
        got, work = predicted(module, window, bins=[2, 5, 7], tracks=[1, 3], mode=mode, aggregate=how)
        assert np.allclose(got, getattr(whole, how)(axis=1, keepdims=True), rtol=1e-10)
        assert mode == "exact" or work.transformer_operations < one.transformer_operations / 2


def test_linear_features_take_one_backward_pass_a_track() -> None:
    """The pipeline's numbers are the mean of the unaggregated ones, and each track costs one backward pass."""
    model = model_of(small(torch.float32))
    made = case(2048, [100, 700, 1000, 1010, 1500], 12, 5)
    people = PersonalSequences(
        samples=np.array([f"P{i}" for i in range(6)]),
        interval=Interval("1", 0, 2048),
        reverse=False,
        tss_offset=1024,
        reference=np.where(made.reference.any(axis=1), made.reference.argmax(axis=1), 4).astype(np.int8),
        sites=made.sites,
        ref_codes=made.ref_codes,
        alt_codes=made.alt_codes,
        alleles=np.minimum(made.alleles, 1),
        ploidy=2,
    )
    options = {"tracks": ["1", "4"], "bins": 3, "mode": "linear"}
    apart = features_from_sequences(model, people, FeatureSettings.of(model, aggregate="none", **options))
    assert model.last_work is not None
    each = model.last_work.transformer_operations
    for how in ("mean", "sum"):
        found = features_from_sequences(model, people, FeatureSettings.of(model, aggregate=how, **options))
        want = getattr(apart.values.reshape(6, 2, 3), how)(axis=2)
        np.testing.assert_allclose(found.values, want, rtol=1e-5)
        np.testing.assert_allclose(
            found.origin["reference"], getattr(np.reshape(apart.origin["reference"], (2, 3)), how)(axis=1), rtol=1e-5
        )
        # forward once, backward twice as dear, for 2 outputs instead of 6
        assert model.last_work.transformer_operations == pytest.approx(each * 5 / 13)
    agreement = features_from_sequences(model, people, FeatureSettings.of(model, **options), agreement=5)
    assert agreement.origin["linear_agreement"]["haplotypes"] == 5
    assert agreement.origin["linear_agreement"]["median_r"] > 0.3


def test_bad_choices() -> None:
    window = case(1408, [300], 2, 15)
    for kwargs, message in (
        ({"mode": "fast"}, "--mode fast"),
        ({"dtype": "fp8"}, "--dtype fp8"),
        ({"bins": [10]}, "bins: 1 of 1"),
        ({"tracks": [-1]}, "tracks: 1 of 1"),
    ):
        with pytest.raises(GenopredError, match=message):
            predicted(MODULES[torch.float32], window, **kwargs)


def test_model_behind_the_protocol() -> None:
    module = small(torch.float32)
    model = model_of(module)
    assert isinstance(model, SequenceModel)
    assert (model.window, model.bin_size, model.n_bins, model.tss_offset) == (2048, 128, 10, 1024)
    assert model.tracks[:2] == ("human:0", "human:1") and model.token_reach == (259, 387)
    # as published: forward always, no partners
    assert model.strand_aware is False and model.reverse_tracks is None
    window = case(2048, [100, 1000], 3, 16)
    module.train()
    plain = model.predict_onehot(window.onehot())
    assert module.training
    assert error(model.predict_haplotypes(window), plain) < 1e-5
    assert model.last_work is not None and model.last_work.haplotypes == 3
    with pytest.raises(ModelError, match="needs 2,048"):
        model.predict_haplotypes(replace(window, reference=window.reference[:100]))
    with pytest.raises(ModelError, match="windows have shape"):
        model.predict_onehot(np.zeros((1, 7, 4), dtype=np.float32))
    with pytest.raises(ModelError, match="no head 'dog'"):
        model_of(module, head="dog")


@settings(max_examples=8, deadline=None)
@given(
    where=st.lists(st.integers(0, 8191), max_size=30),
    edges=st.sets(st.sampled_from([0, 1, 127, 128, 511, 512, 513, 7679, 7680, 8063, 8064, 8190, 8191])),
    n=st.integers(1, 5),
    seed=st.integers(0, 10**6),
)
def test_a_small_window_cropped_by_four_bins(where: list[int], edges: set[int], n: int, seed: int) -> None:
    """Sizes of `enformer-small`: 8,192 bp, 64 tokens, 56 bins; variants at the edges and around the crop."""
    module = CROPPED
    window = case(8192, sorted({*where, *edges}), n, seed)
    want = naive(module, window)
    got, work = predicted(module, window)
    assert got.shape == want.shape == (n, 56, 5) and error(got, want) < 1e-10
    assert work.windows == len(np.unique(window.alleles, axis=0))
    few, _ = predicted(module, window, bins=[0, 27, 28, 29, 55], tracks=[4, 0])
    assert error(few, want[:, [0, 27, 28, 29, 55]][:, :, [4, 0]]) < 1e-10
    # bin b is token b + 4
    with torch.no_grad():
        whole = module.transformer(module.conv_tower(module.stem(torch.from_numpy(window.onehot()).double().mT)).mT)
        plain = module._heads["human"](module.final_pointwise(whole[:, 4:60])).numpy()
    assert error(got, plain) < 1e-10


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_same_on_a_gpu() -> None:
    module = small(torch.float32)
    window = case(2048, list(range(15, 2048, 60)), 6, 18)
    want = naive(module, window)
    got, _ = predicted(module.cuda(), window)
    assert error(got, want) < 1e-5


@pytest.mark.skipif(not os.environ.get("GENOPRED_SLOW"), reason="minutes of one full-size pass each; GENOPRED_SLOW=1")
def test_full_size() -> None:
    module = randomised(enformer_pytorch.Enformer.from_hparams())
    rng = np.random.default_rng(0)
    sites = np.sort(rng.choice(196_608, 480, replace=False))
    window = case(196_608, sites.tolist(), 2, 19)
    bins, tracks = [446, 447, 448], list(range(0, 5313, 50))
    got, work = predicted(module, window, bins=bins, tracks=tracks)
    with torch.inference_mode():
        want = np.stack([module(torch.from_numpy(one)[None], head="human")[0].numpy() for one in window.onehot()])[
            :, bins
        ][:, :, tracks]
    assert error(got, want) < 1e-5
    assert work.tower_passes < 1.5
