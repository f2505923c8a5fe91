"""Baselines of genes: what is counted, that truth is found, and that no test gene is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from genopred.errors import GenopredError
from genopred.training import gene_baselines as module
from genopred.training.gene_baselines import (
    BASELINES,
    GRIDS,
    calibrated,
    fit_baseline,
    gene_features,
    mean_of_others,
    mean_of_training,
)
from genopred.training.simulate import simulate_genes

RNG = np.random.default_rng(1)


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(module, "TREES", 30)


def example(n=240, seed=2, noise=0.5):
    """Features of which two matter, one of them not linearly; of the second cell type the other way round."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 12)) * np.arange(1, 13) + 5
    z = (x - 5) / np.arange(1, 13)
    y = np.column_stack([z[:, 0] + np.abs(z[:, 1]), 3 - 2 * z[:, 0]]) + noise * rng.normal(size=(n, 2))
    return x, y


def test_words_are_those_of_a_naive_count():
    data = simulate_genes(30, before=80, after=40, segments=2, segment=50, seed=3).data
    x, names = gene_features(data, 80, near=40, k=2)
    assert x.shape == (30, len(names)) and len(set(names)) == len(names)
    letters = "ACGT"
    for row in (0, 17):
        whole = "".join(letters[c] for c in data.codes[row])
        near = whole[60:100]
        far = ["".join(letters[c] for c in part) for part in data.segments[row]]
        for name, value in zip(names, x[row]):
            where, word = name.split()
            if word == "contacts":
                wanted = data.weights[row].sum()
            else:
                texts = {"window": [whole], "TSS": [near], "distal": far}[where]
                each = [share(text, word) for text in texts]
                wanted = np.dot(each, data.weights[row]) if where == "distal" else each[0]
            assert value == pytest.approx(wanted, abs=1e-6), name


def share(text, word):
    if word == "G+C":
        return sum(text.count(letter) for letter in "GC") / len(text)
    return sum(text[i : i + 2] == word for i in range(len(text) - 1)) / (len(text) - 1)


def test_signal_is_among_the_features_where_there_is_any():
    data = simulate_genes(30, before=80, after=40, segments=0, seed=3).data
    tracks = RNG.random((30, 1, 12)).astype(np.float32)
    x, names = gene_features(replace(data, tracks=tracks, track_names=("acc",), step=10), 80, near=40, k=1)
    at = names.index("TSS acc")
    np.testing.assert_allclose(x[:, at], np.log1p(tracks[:, 0, 6:10]).mean(axis=1), rtol=1e-5)
    assert "window acc" in names


@pytest.mark.parametrize("name", list(BASELINES))
def test_each_learns_and_its_setting_is_the_best_on_validation_genes(name):
    x, y = example(600)
    fit = fit_baseline(name, (x[:300], y[:300]), (x[300:400], y[300:400]))
    assert fit.chosen in GRIDS[name]
    error = ((fit.predict(x[300:400]) - y[300:400]) ** 2 / y[:300].var(axis=0)).mean()
    assert fit.loss == pytest.approx(error)
    r2 = 1 - ((fit.predict(x[400:]) - y[400:]) ** 2).mean(axis=0) / y[400:].var(axis=0)
    assert r2[1] > 0.5 and r2[0] > (0.4 if name == "ridge" else 0.5)
    again = fit_baseline(name, (x[:300], y[:300]), (x[300:400], y[300:400]))
    np.testing.assert_array_equal(fit.predict(x[400:]), again.predict(x[400:]))


def test_the_ridge_is_that_of_scikit_learn():
    x, y = example()
    fit = fit_baseline("ridge", (x[:150], y[:150]), (x[150:200], y[150:200]))
    scaler = StandardScaler().fit(x[:150])
    errors = {}
    for setting in GRIDS["ridge"]:
        model = Ridge(**setting).fit(scaler.transform(x[:150]), (y[:150] - y[:150].mean(0)) / y[:150].std(0))
        found = model.predict(scaler.transform(x[150:])) * y[:150].std(0) + y[:150].mean(0)
        errors[setting["alpha"]] = ((found[:50] - y[150:200]) ** 2 / y[:150].var(0)).mean(), found
    best = min(errors, key=lambda alpha: errors[alpha][0])
    assert fit.chosen == {"alpha": best}
    np.testing.assert_allclose(fit.predict(x[150:]), errors[best][1])


@pytest.mark.parametrize("name", list(BASELINES))
def test_genes_that_were_not_measured_in_a_cell_type_do_not_count_there(name):
    x, y = example()
    holed = y.copy()
    holed[:60, 1] = np.nan
    fit = fit_baseline(name, (x[:150], holed[:150]), (x[150:200], holed[150:200]))
    other = holed.copy()
    other[:60, 0] = 100.0  # what those genes have in the first cell type says nothing of the second
    again = fit_baseline(name, (x[:150], other[:150]), (x[150:200], holed[150:200]))
    assert np.isfinite(fit.predict(x[200:])).all()
    if fit.chosen == again.chosen:
        np.testing.assert_allclose(fit.predict(x[200:])[:, 1], again.predict(x[200:])[:, 1])


def test_one_cell_type():
    x, y = example()
    for name in BASELINES:
        fit = fit_baseline(name, (x[:150], y[:150, :1]), (x[150:200], y[150:200, :1]))
        assert fit.predict(x[200:]).shape == (40, 1)


def test_without_validation_genes_there_is_nothing_to_choose_on():
    x, y = example()
    with pytest.raises(GenopredError, match="baseline ridge: 0 validation genes and 240 training genes"):
        fit_baseline("ridge", (x, y), (x[:0], y[:0]))


def test_means():
    y = np.array([[1.0, 2.0, np.nan], [3.0, 6.0, 4.0], [np.nan, np.nan, 5.0]])
    training = np.array([[0.0, 1.0, 0.0], [2.0, 1.0, np.nan]])
    np.testing.assert_allclose(mean_of_training(training, 2), [[1, 1, 0]] * 2)
    # deviations from the training means 1, 1, 0: (0, 1, -), (2, 5, 4), (-, -, 5)
    wanted = [[1 + 1, 1 + 0, 0 + 0.5], [1 + 4.5, 1 + 3, 0 + 3.5], [1 + 5, 1 + 5, 0]]
    np.testing.assert_allclose(mean_of_others(y, training), wanted)


def test_calibration_is_the_line_of_the_training_genes():
    x, y = np.array([0.0, 1.0, 2.0, np.nan]), np.array([1.0, 3.0, 5.0, 9.0])
    np.testing.assert_allclose(calibrated([10.0, -1.0], (x, y)), [21.0, -1.0])
    np.testing.assert_allclose(calibrated([10.0], ([1.0, 1.0], [4.0, 6.0])), [5.0])
