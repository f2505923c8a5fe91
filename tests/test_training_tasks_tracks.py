"""Predicting tracks: what is learned, what is never seen, and the loss and its plateau."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

from training_data import ENFORMER, LEARNING, QUICK, SHAPE, TINY, blocks, onehot, task  # noqa: E402
from training_data import data as simulated  # noqa: E402

from genopred.errors import GenopredError, ModelError  # noqa: E402
from genopred.training.dataset import SequenceData, batch, window_targets  # noqa: E402
from genopred.training.loop import train  # noqa: E402
from genopred.training.networks.registry import build  # noqa: E402
from genopred.training.scores import log_pearson  # noqa: E402
from genopred.training.splits import Windows, split_chromosomes, tile  # noqa: E402
from genopred.training.tasks import tracks  # noqa: E402
from genopred.training.tasks.tracks import (  # noqa: E402
    flat_loss,
    on_plateau,
    poisson_loss,
    predict_windows,
    start_at,
)


@pytest.fixture(scope="module")
def data():
    return simulated()


@pytest.fixture(scope="module")
def split(data):
    return blocks(data)


@pytest.fixture
def warnings_said(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("genopred"), "propagate", True)
    with caplog.at_level(logging.WARNING, "genopred"):
        yield caplog


# benchmarks/take_off.py does the same for twenty seeds; these stayed on the plateau with a former start
@pytest.mark.parametrize("seed", [1, 4, 10])
def test_a_small_enformer_learns_the_motif_and_its_strand(data, split, seed, warnings_said):
    run = train(task(data, split, replace(LEARNING, seed=seed), "enformer-small", ENFORMER))
    held_out = tile(split, "test", SHAPE)
    predicted = predict_windows(run.network, data, held_out, SHAPE, both_strands=True)
    measured = window_targets(data, held_out, SHAPE)
    score = log_pearson(predicted, measured)
    control = log_pearson(predicted, np.random.default_rng(0).permutation(measured))
    assert score[0] > 0.5 and score[0] > np.abs(control).max() + 0.3
    # the strands are told apart
    swapped = log_pearson(predicted[..., [0, 2, 1]], measured)
    assert (score[1:] > swapped[1:] + 0.1).all()
    history = run.history
    assert history["epoch"].to_list() == list(range(1, 10))
    assert history["validation_loss"][-1] < 0.8 and history["validation_loss"][0] < 1.05
    # it left the plateau in time, and nothing was said of one
    assert not history["plateau"][2:].any() and run.plateau == "" and not warnings_said.text
    assert history["validation_loss"].arg_min() == run.best_epoch - 1
    assert [name for name in history.columns if name.startswith("pearson")] == [
        "pearson_open",
        "pearson_start +",
        "pearson_start -",
    ]
    # what the history says of the best epoch is found again with the weights that are kept
    validation = tile(split, "validation", SHAPE)
    again = log_pearson(predict_windows(run.network, data, validation, SHAPE), window_targets(data, validation, SHAPE))
    said = history.row(run.best_epoch - 1, named=True)
    np.testing.assert_allclose(again, [said[f"pearson_{t.name}"] for t in data.tracks], atol=1e-5)


def test_training_never_sees_other_splits(data, split, monkeypatch):
    """No base of an input lies within half a margin of a region of another split, shifts included."""
    seen = []

    def spy(data, chroms, starts, shape, reverse=None, jitter=None):
        if jitter is not None:
            seen.extend(zip(starts + jitter, starts + jitter + shape.window, reverse))
        return batch(data, chroms, starts, shape, reverse, jitter)

    monkeypatch.setattr(tracks, "batch", spy)
    train(task(data, split, replace(QUICK, epochs=3)))
    low, high, reverse = (np.array(part) for part in zip(*seen))
    assert len(low) > 3 * 100 and 0.3 < reverse.mean() < 0.7
    for row in split.regions.filter(split.regions["split"] != "train").iter_rows(named=True):
        assert ((high <= row["start"] - SHAPE.window // 2) | (low >= row["end"] + SHAPE.window // 2)).all()


def test_an_epoch_tiles_the_training_regions_anew(data, split):
    made = task(data, split)
    offsets = set()
    for epoch in range(5):
        windows, reverse, shift = made._draw([1, epoch])
        offset = set((np.sort(windows.starts) - tile(split, "train", SHAPE).starts[: len(windows.starts)]).tolist())
        offsets.add(min(offset))
        assert len(set(windows.starts.tolist())) == len(windows.starts) == len(reverse) == len(shift)
        assert (windows.starts % data.step == 0).all() and np.abs(shift).max() <= 3
        assert (np.diff(windows.starts) < 0).any()
    assert len(offsets) > 1
    again = made._draw([1, 3])[0]
    assert (again.starts == made._draw([1, 3])[0].starts).all()


def test_regions_of_one_window_are_used_at_every_offset():
    """Where a tiling at an offset has no window at all, the one without offset serves."""
    n = SHAPE.window
    rng = np.random.default_rng(0)
    chroms = {name: rng.integers(0, 4, n).astype(np.uint8) for name in ("chr1", "chr2", "chr3")}
    sums = {name: rng.random((1, n // 16)).astype(np.float32) for name in chroms}
    data = SequenceData(chroms, sums, 16, simulated().tracks[:1])
    split = split_chromosomes(data.lengths, {"train": ["1"], "validation": ["2"], "test": ["3"]}, shape=SHAPE)
    made = task(data, split, replace(QUICK, epochs=3))
    run = train(made)
    assert made.windows["train"] == 1 and run.history["step"].to_list() == [1, 2, 3]


def test_untrained_predictions_are_the_mean_and_have_loss_one(data, split):
    made = task(data, split, replace(QUICK, epochs=1, learning_rate=1e-12))
    run = train(made)
    windows = tile(split, "train", SHAPE)
    measured = window_targets(data, windows, SHAPE)
    np.testing.assert_allclose(made.mean, measured.reshape(-1, 3).mean(axis=0), rtol=1e-5)
    predicted = predict_windows(run.network, data, windows, SHAPE)
    np.testing.assert_allclose(predicted.reshape(-1, 3).mean(axis=0), made.mean, rtol=0.1)
    assert run.history["validation_loss"][0] == pytest.approx(1, abs=0.05)


def test_targets_are_those_of_batch(data, split):
    windows = tile(split, "test", SHAPE)
    _, targets = batch(data, windows.chroms, windows.starts, SHAPE)
    np.testing.assert_array_equal(window_targets(data, windows, SHAPE), targets)
    none = Windows(windows.chroms[:0], windows.starts[:0], windows.blocks[:0])
    assert window_targets(data, none, SHAPE).shape == (0, SHAPE.n_bins, 3)


def test_what_a_plateau_is():
    rng = np.random.default_rng(4)
    targets, mean = rng.gamma(1, 2, (50, 7, 2)) * [1, 30], np.array([1.5, 66.0])
    flat = flat_loss(targets, mean)
    own = np.broadcast_to(targets.reshape(-1, 2).mean(axis=0), targets.shape)
    assert flat == pytest.approx(poisson_loss(own, targets, mean).mean(), rel=1e-6)
    # no other value does better
    for factor in (0.9, 1.1):
        assert poisson_loss(factor * own, targets, mean).mean() > flat
    assert on_plateau(flat, 0.1, flat) and on_plateau(flat + 0.2, float("nan"), flat)
    assert not on_plateau(flat - 0.04, 0.1, flat) and not on_plateau(flat + 0.2, 0.25, flat)


def test_a_track_in_other_units_is_learned_as_fast(data, split):
    """Counts a hundred times as large: the same losses, which are in units of the mean."""
    sums = {"chr1": data.sums["chr1"] * np.float32([[1], [100], [100]])}
    # few steps: afterwards rounding would grow
    settings = replace(QUICK, batch=64, warmup=0, weight_decay=0.5)
    plain, large = (train(task(replace(data, sums=of), split, settings)) for of in (data.sums, sums))
    np.testing.assert_allclose(large.history["train_loss"], plain.history["train_loss"], atol=2e-3)
    for name in ("weight", "bias"):
        one, other = (getattr(run.network.head, name).detach()[1:] for run in (plain, large))
        torch.testing.assert_close(other / 100, one, rtol=0, atol=1e-3 * float(one.abs().max()))


def test_loss_is_torchs_poisson_loss_in_units_of_the_mean():
    rng = np.random.default_rng(1)
    p, t, mean = rng.gamma(1, 2, (4, 5, 3)), rng.poisson(1, (4, 5, 3)).astype(float), np.array([0.1, 2, 30])
    reference = torch.nn.PoissonNLLLoss(log_input=False, eps=1e-6, reduction="none")
    expected = reference(torch.from_numpy(p / mean), torch.from_numpy(t / mean)).mean(dim=(0, 1)).numpy()
    np.testing.assert_allclose(poisson_loss(p, t, mean), expected, rtol=1e-10)


def test_both_strands_are_averaged_on_the_windows_own(data, split):
    network, windows = train(task(data, split)).network, tile(split, "test", SHAPE)
    got = predict_windows(network, data, windows, SHAPE, batch_size=3, both_strands=True)
    for i, start in enumerate(windows.starts[:4]):
        codes = data.codes["chr1"][start : start + SHAPE.window]
        eye = np.vstack([np.eye(4), np.zeros(4)]).astype(np.float32)
        with torch.no_grad():
            forward = network(torch.from_numpy(eye[codes][None])).numpy()[0]
            # in the order A C G T turning the channels over is the complement
            backward = network(torch.from_numpy(eye[codes][None, ::-1, ::-1].copy())).numpy()[0]
        np.testing.assert_allclose(got[i], (forward + backward[::-1][:, [0, 2, 1]]) / 2, rtol=1e-4, atol=1e-5)
    assert not network.training


def test_a_track_without_signal_in_training_is_named(data, split):
    sums = {"chr1": data.sums["chr1"].copy()}
    for row in split.regions.filter(split.regions["split"] == "train").iter_rows(named=True):
        sums["chr1"][2, row["start"] // 16 : row["end"] // 16 + 1] = 0
    with pytest.raises(GenopredError, match=r"1 of 3 tracks have no signal in the training regions \(start -\)"):
        train(task(replace(data, sums=sums), split, QUICK))


def test_a_split_of_n_alone_is_said(data, split):
    codes = {"chr1": np.full_like(data.codes["chr1"], 4)}
    with pytest.raises(GenopredError, match=r"train split has no window left: all \d+ have more than 20% N"):
        train(task(replace(data, codes=codes), split, QUICK))


def test_unknown_network(data, split):
    with pytest.raises(ModelError, match="network.kind = 'lstm'"):
        train(task(data, split, QUICK, "lstm", {}))


@pytest.mark.parametrize("kind, sizes", [("enformer-small", TINY), ("cnn", {"channels": 12, "layers": 2})])
def test_fresh_network_predicts_the_mean(kind: str, sizes: dict[str, int]) -> None:
    torch.manual_seed(2)
    network = build(kind, 3, SHAPE, **sizes)
    mean = torch.tensor([0.01, 1.0, 50.0])
    start_at(network, mean)
    with torch.no_grad():
        predicted = network.eval()(onehot()).mean(dim=(0, 1))
    torch.testing.assert_close(torch.log(predicted), torch.log(mean), rtol=0, atol=0.25)
