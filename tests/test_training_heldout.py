"""Models on held-out windows; tests/test_pipelines_evaluate.py has the same with networks that were trained."""

from __future__ import annotations

import doctest

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

pytest.importorskip("torch")

from training_data import SHAPE, blocks
from training_data import data as simulated

from genopred.errors import ModelError
from genopred.sequence.models.base import SequenceModel
from genopred.training import heldout
from genopred.training.heldout import (
    Entry,
    Held,
    bin_table,
    compare,
    distinct,
    fitted_ridge,
    predict,
    seen_bases,
    shared_columns,
)
from genopred.training.scores import track_scores

NAMES = ("open", "start +", "start -")


@pytest.fixture(scope="module")
def held():
    data = simulated()
    return Held(data, blocks(data), SHAPE, 0.2, "test")


def counter(tracks=NAMES, name="gc", regions=None, **changes) -> Entry:
    """Predicts the share of each bin that is G or C, and twice that, and so on."""

    def values(onehot: np.ndarray) -> np.ndarray:
        gc = onehot[:, :, 1:3].sum(axis=2).reshape(len(onehot), -1, 128).mean(axis=2)[:, 2:-2]
        return (gc[..., None] * np.arange(1, len(tracks) + 1)).astype(np.float32)

    model = SequenceModel()
    model.window, model.bin_size, model.n_bins = SHAPE.window, SHAPE.bin, SHAPE.n_bins
    model.tracks, model.predict_onehot = tracks, values
    vars(model).update(changes)
    return Entry(model, name, name, regions)


def test_predictions_are_in_the_windows_order(held):
    found = predict(counter(), held, both_strands=False)
    start = int(held.first[3])
    part = held.data.codes["chr1"][start : start + 128]
    assert found.shape == held.measured().shape
    assert found[3, 0].tolist() == pytest.approx([np.isin(part, [1, 2]).mean() * k for k in (1, 2, 3)])


def test_both_strands_swap_the_tracks(held):
    """GC content is the same from either strand: the mean of the second and third track is left."""
    one, both = (predict(counter(), held, both_strands=strands) for strands in (False, True))
    np.testing.assert_allclose(both[..., 0], one[..., 0], rtol=1e-6)
    np.testing.assert_allclose(both[..., 1], one[..., 1:].mean(axis=2), rtol=1e-6)
    with pytest.raises(ModelError, match=r"predicts start \+ but not the other strand's track"):
        predict(counter(NAMES[:2]), held, both_strands=True)


def test_models_that_do_not_fit(held):
    with pytest.raises(ModelError, match="has bins of 64 bp"):
        predict(counter(bin_size=64), held, both_strands=False)
    with pytest.raises(ModelError, match="not finite in 2 of 2"):
        two = Held(held.data, held.split, SHAPE, 0.2, "test")
        two.windows = type(two.windows)(*(part[:2] for part in two.windows))
        bad = counter(predict_onehot=lambda codes: np.full((len(codes), SHAPE.n_bins, 3), np.nan))
        predict(bad, two, both_strands=False)
    with pytest.raises(ModelError, match="none of the measured tracks"):
        shared_columns(held, [counter(("other",))])


def test_models_share_columns_and_get_names(held):
    models = distinct([counter(NAMES[1:]), counter(), counter(NAMES[:2])])
    assert [model.name for model in models] == ["gc", "gc #2", "gc #3"]
    assert shared_columns(held, models) == [[1, 2], [1, 2], [1]]


def test_a_model_that_saw_the_bases_is_told_on(held):
    regions = held.split.regions
    assert seen_bases(held, counter()) is None and seen_bases(held, counter(regions=regions)) is None
    all_train = regions.with_columns(split=pl.lit("train"))
    assert "saw 100.0% of these bases in its own train" in seen_bases(held, counter(regions=all_train))


def test_scores_and_differences(held):
    models = [counter(), fitted_ridge(held, lambda *_: None)]
    predicted = [predict(model, held, both_strands=False) for model in models]
    columns = shared_columns(held, models)
    scores, differences = compare(held, models, columns, predicted, resamples=20, seed=1)
    flat = [values.reshape(-1, 3) for values in (held.measured(), predicted[1])]
    alone = track_scores(*flat, np.repeat(held.windows.blocks, SHAPE.n_bins), held.data.tracks, resamples=20, seed=1)
    assert_frame_equal(scores.filter(model="ridge").drop("model", "split"), alone, rel_tol=1e-9)
    assert set(differences["against"]) == {"ridge"} and differences.height == alone.height
    table = bin_table(held, columns[0], held.measured(), predicted[0])
    assert (
        table.height == len(flat[0]) and table["predicted start -"].to_list() == predicted[0][..., 2].ravel().tolist()
    )
    none = compare(held, models[:1], columns[:1], predicted[:1], resamples=0, seed=1)[1]
    assert none.height == 0 and none.columns == differences.columns


def test_examples():
    assert doctest.testmod(heldout).failed == 0
