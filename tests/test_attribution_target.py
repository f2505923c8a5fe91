"""genopred.attribution.target: what is attributed is what `genopred effects` would say."""

from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip("torch")

from attribution_data import random_windows, smooth_model, values_of

from genopred.attribution.target import package
from genopred.errors import ModelError
from genopred.sequence.models.base import SequenceModel


@pytest.mark.parametrize("strands", ["model", "both"])
@pytest.mark.parametrize("aggregate, over", [("sum", "mean"), ("mean", "sum")])
def test_values_are_predictions_put_together(strands, aggregate, over):
    model, x = smooth_model(), random_windows(5, 48)
    values = values_of(model, tracks=["all", "odd=y|z"], bins=1, aggregate=aggregate, over_tracks=over, strands=strands)
    found = values.of(x, 2)
    plain = model.predict_onehot(x).astype(float)[:, 1]
    if strands == "both":
        plain = (plain + model.predict_onehot(x[:, ::-1, ::-1].copy()).astype(float)[:, 1][:, [0, 2, 1]]) / 2
    join = np.sum if over == "sum" else np.mean
    wanted = np.stack([join(plain, axis=1), join(plain[:, 1:], axis=1)], axis=1)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert values.names == ("all", "odd") and not values.training and values.integrated == ()


def test_a_batch_is_as_small_as_windows_are_long():
    assert values_of(smooth_model()).batch == SequenceModel.default_batch
    long = smooth_model()
    long.window = 150_000
    assert values_of(long).batch == 1


def test_a_model_that_cannot_be_taken_apart_says_so():
    model = smooth_model()
    model.torch_module = lambda: SequenceModel.torch_module(model)
    with pytest.raises(ModelError, match=r"known cannot be taken apart: it has no method torch_module\(\)"):
        values_of(model)


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.delitem(sys.modules, "captum.attr", raising=False)
    with pytest.raises(ModelError, match=r"needs the package captum .*: pip install 'genopred\[attribution\]'"):
        package("captum.attr")
