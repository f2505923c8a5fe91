"""The training loop: what it learns, what it never sees, and that an interrupted run ends like an uninterrupted one."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from training_data import ENFORMER, LEARNING, SHAPE, blocks
from training_data import data as simulated

from genopred.errors import GenopredError, ModelError
from genopred.sequence import training
from genopred.sequence.dataset import (
    SequenceData,
    Windows,
    batch,
    split_chromosomes,
    tile,
)
from genopred.sequence.training import (
    TrainingSettings,
    find_device,
    fingerprint,
    flat_loss,
    log_pearson,
    on_plateau,
    poisson_loss,
    predict_windows,
    read_state,
    train,
    training_bytes,
    window_targets,
    write_state,
)

torch = pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

SMALL = {"channels": 8, "layers": 1, "dropout": 0.2}
QUICK = TrainingSettings(
    epochs=2,
    batch=8,
    learning_rate=5e-3,
    warmup=5,
    shift=3,
    average=0.9,
    device="cpu",
    threads=1,
    checkpoint_minutes=1e-9,
)


class Stop(Exception):
    pass


@pytest.fixture(scope="module")
def data():
    return simulated()


@pytest.fixture(scope="module")
def split(data):
    return blocks(data)


@pytest.fixture(scope="module")
def whole(data, split, tmp_path_factory):
    """An uninterrupted run, and its checkpoint."""
    file = tmp_path_factory.mktemp("whole") / "last.pt"
    return train(data, split, SHAPE, "cnn", QUICK, sizes=SMALL, checkpoint=file), file


@pytest.fixture
def warnings_said(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("genopred"), "propagate", True)
    with caplog.at_level(logging.WARNING, "genopred"):
        yield caplog


def same_weights(a, b) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


# benchmarks/take_off.py does the same for twenty seeds; these stayed on the plateau with a former start
@pytest.mark.parametrize("seed", [1, 4, 10])
def test_a_small_enformer_learns_the_motif_and_its_strand(data, split, seed, warnings_said):
    run = train(data, split, SHAPE, "enformer-small", replace(LEARNING, seed=seed), sizes=ENFORMER)
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


@pytest.mark.parametrize("stop", [1, 5, 17, 18, 30])
def test_interrupted_and_resumed_equals_uninterrupted(data, split, whole, tmp_path, stop):
    """After any batch: in the middle of an epoch, at its end (17 batches an epoch), at the next one's start."""
    expected, _ = whole
    file, seen = tmp_path / "last.pt", []

    def progress(done, total, label=""):
        seen.append(done)
        if len(seen) == stop:
            raise Stop

    with pytest.raises(Stop):
        train(data, split, SHAPE, "cnn", QUICK, sizes=SMALL, checkpoint=file, progress=progress)
    # states of random generators must not matter
    torch.manual_seed(99)
    run = train(data, split, SHAPE, "cnn", QUICK, sizes=SMALL, checkpoint=file)
    assert run.resumed_at in (stop, stop - 1)  # at an epoch's end the next checkpoint comes after validation
    assert same_weights(run.network, expected.network)
    assert run.history.equals(expected.history)
    last, first = read_state(file), read_state(whole[1])
    for name in ("network", "average", "best"):
        assert all(torch.equal(last[name][key], value) for key, value in first[name].items())
    for mine, other in zip(last["optimiser"]["state"].values(), first["optimiser"]["state"].values()):
        assert all(torch.equal(mine[key], other[key]) for key in other)


def test_an_interrupted_enformer_resumes_exactly(data, split, tmp_path):
    """Its dropout, attention and two-fold names of weights; mutated bases."""
    settings = replace(QUICK, epochs=1, batch=32, mutate=0.1)
    sizes = ENFORMER | {"dropout_rate": 0.4, "attn_dropout": 0.1, "tower_dropout": 0.1}
    expected = train(data, split, SHAPE, "enformer-small", settings, sizes=sizes)

    def progress(done, total, label=""):
        if done == 2:
            raise Stop

    file = tmp_path / "last.pt"
    with pytest.raises(Stop):
        train(data, split, SHAPE, "enformer-small", settings, sizes=sizes, checkpoint=file, progress=progress)
    run = train(data, split, SHAPE, "enformer-small", settings, sizes=sizes, checkpoint=file)
    assert run.resumed_at == 2
    assert same_weights(run.network, expected.network)


def test_a_finished_run_is_not_trained_again(data, split, whole):
    expected, file = whole
    calls = []
    run = train(
        data,
        split,
        SHAPE,
        "cnn",
        QUICK,
        sizes=SMALL,
        checkpoint=file,
        on_epoch=lambda network, history: calls.append((network, history.height)),
    )
    assert same_weights(run.network, expected.network) and run.resumed_at == 34
    # its outputs are written once more, in case it was killed just before
    assert len(calls) == 1 and calls[0][1] == 2 and same_weights(calls[0][0], expected.network)


def test_the_seed_decides(data, split, whole):
    torch.manual_seed(5)
    again = train(data, split, SHAPE, "cnn", QUICK, sizes=SMALL)
    assert same_weights(again.network, whole[0].network)
    other = train(data, split, SHAPE, "cnn", replace(QUICK, epochs=1, seed=2), sizes=SMALL)
    assert not same_weights(other.network, whole[0].network)


def test_the_callers_random_state_is_left_alone(data, split):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train(data, split, SHAPE, "cnn", replace(QUICK, epochs=1), sizes=SMALL)
    assert torch.equal(torch.rand(3), expected)


def test_the_callers_threads_are_left_alone():
    before = torch.get_num_threads()
    with training._threads(before + 1):
        assert torch.get_num_threads() == before + 1
    with training._threads(None):
        assert torch.get_num_threads() == before


def test_training_never_sees_other_splits(data, split, monkeypatch):
    """No base of an input lies within half a margin of a region of another split, shifts included."""
    seen = []

    def spy(data, chroms, starts, shape, reverse=None, jitter=None):
        if jitter is not None:
            seen.extend(zip(starts + jitter, starts + jitter + shape.window, reverse))
        return batch(data, chroms, starts, shape, reverse, jitter)

    monkeypatch.setattr(training, "batch", spy)
    train(data, split, SHAPE, "cnn", replace(QUICK, epochs=3), sizes=SMALL)
    low, high, reverse = (np.array(part) for part in zip(*seen))
    assert len(low) > 3 * 100 and 0.3 < reverse.mean() < 0.7
    for row in split.regions.filter(split.regions["split"] != "train").iter_rows(named=True):
        assert ((high <= row["start"] - SHAPE.window // 2) | (low >= row["end"] + SHAPE.window // 2)).all()


def test_an_epoch_tiles_the_training_regions_anew(data, split):
    trainer = _trainer(data, split)
    offsets = set()
    for epoch in range(5):
        windows, reverse, shift = trainer._draw(epoch)
        offset = set((np.sort(windows.starts) - tile(split, "train", SHAPE).starts[: len(windows.starts)]).tolist())
        offsets.add(min(offset))
        assert len(set(windows.starts.tolist())) == len(windows.starts) == len(reverse) == len(shift)
        assert (windows.starts % data.step == 0).all() and np.abs(shift).max() <= 3
        assert (np.diff(windows.starts) < 0).any()
    assert len(offsets) > 1
    again = trainer._draw(3)[0]
    assert (again.starts == trainer._draw(3)[0].starts).all()


def test_regions_of_one_window_are_used_at_every_offset():
    """Where a tiling at an offset has no window at all, the one without offset serves."""
    n = SHAPE.window
    rng = np.random.default_rng(0)
    chroms = {name: rng.integers(0, 4, n).astype(np.uint8) for name in ("chr1", "chr2", "chr3")}
    sums = {name: rng.random((1, n // 16)).astype(np.float32) for name in chroms}
    data = SequenceData(chroms, sums, 16, simulated().tracks[:1])
    split = split_chromosomes(data.lengths, {"train": ["1"], "validation": ["2"], "test": ["3"]}, shape=SHAPE)
    run = train(data, split, SHAPE, "cnn", replace(QUICK, epochs=3), sizes=SMALL)
    assert run.windows["train"] == 1 and run.history["step"].to_list() == [1, 2, 3]


def test_untrained_predictions_are_the_mean_and_have_loss_one(data, split):
    run = train(data, split, SHAPE, "cnn", replace(QUICK, epochs=1, learning_rate=1e-12), sizes=SMALL)
    windows = tile(split, "train", SHAPE)
    measured = window_targets(data, windows, SHAPE)
    np.testing.assert_allclose(run.mean, measured.reshape(-1, 3).mean(axis=0), rtol=1e-5)
    predicted = predict_windows(run.network, data, windows, SHAPE)
    np.testing.assert_allclose(predicted.reshape(-1, 3).mean(axis=0), run.mean, rtol=0.1)
    assert run.history["validation_loss"][0] == pytest.approx(1, abs=0.05)


def test_targets_are_those_of_batch(data, split):
    windows = tile(split, "test", SHAPE)
    _, targets = batch(data, windows.chroms, windows.starts, SHAPE)
    np.testing.assert_array_equal(window_targets(data, windows, SHAPE), targets)
    none = Windows(windows.chroms[:0], windows.starts[:0], windows.blocks[:0])
    assert window_targets(data, none, SHAPE).shape == (0, SHAPE.n_bins, 3)


def test_a_run_that_stays_on_its_plateau_says_so_once(data, split, warnings_said):
    settings = replace(QUICK, epochs=5, learning_rate=1e-12)
    run = train(data, split, SHAPE, "cnn", settings, sizes=SMALL)
    assert run.history["plateau"].to_list() == [True] * 5
    assert [record.levelname for record in warnings_said.records] == ["WARNING"]
    text = warnings_said.records[0].getMessage()
    assert text.startswith("epoch 3, step 51: still on the plateau, with a validation loss of ")
    assert "training.seed (now 1), a higher training.learning_rate (now 1e-12)" in text and "\n" not in text
    assert run.plateau.startswith(f"epoch {run.best_epoch}, step {17 * run.best_epoch}: still on the plateau")


@pytest.mark.parametrize(("epochs", "warmup", "said"), [(2, 0, 2), (5, 60, 4), (5, 1000, 5)])
def test_the_plateau_is_spoken_of_after_the_warm_up_or_at_the_end(data, split, warnings_said, epochs, warmup, said):
    settings = replace(QUICK, epochs=epochs, warmup=warmup, learning_rate=1e-12)
    train(data, split, SHAPE, "cnn", settings, sizes=SMALL)
    assert [record.getMessage().split(",")[0] for record in warnings_said.records] == [f"epoch {said}"]


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
    plain, large = (
        train(replace(data, sums=of), split, SHAPE, "cnn", settings, sizes=SMALL) for of in (data.sums, sums)
    )
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


def test_correlation_is_numpys_and_nan_where_nothing_varies():
    rng = np.random.default_rng(2)
    a, b = rng.gamma(1, 2, (6, 7, 2)), rng.gamma(1, 2, (6, 7, 2))
    b[..., 0] += a[..., 0]
    expected = [np.corrcoef(np.log1p(a[..., i]).ravel(), np.log1p(b[..., i]).ravel())[0, 1] for i in range(2)]
    np.testing.assert_allclose(log_pearson(a, b), expected)
    a[..., 1] = 3
    assert np.isnan(log_pearson(a, b)[1])


def test_both_strands_are_averaged_on_the_windows_own(data, split, whole):
    network, windows = whole[0].network, tile(split, "test", SHAPE)
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


def test_weights_average_decay_and_rate(data, split):
    """Beside a plain loop over the weights after each step."""
    settings = replace(QUICK, epochs=1, average=0.8, weight_decay=0.3)
    trainer = _trainer(data, split, settings)
    after, rates = [], []

    def progress(done, total, label=""):
        if len(after) < 17:
            after.append({k: v.clone() for k, v in trainer.network.state_dict().items()})
            rates.append(trainer.optimiser.param_groups[0]["lr"])

    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    run = trainer.run(False, progress, lambda network, history: None)
    for step, new in enumerate(after):
        decay = min(0.8, (1 + step) / (10 + step))
        for key, value in new.items():
            before[key] = before[key] * decay + value * (1 - decay) if value.is_floating_point() else value
    for key, value in run.network.state_dict().items():
        np.testing.assert_allclose(value.numpy(), before[key].numpy(), rtol=1e-4, atol=1e-6)
    expected = [5e-3 * min(1, (i + 1) / 5) * (1 + np.cos(np.pi * i / 17)) / 2 for i in range(17)]
    np.testing.assert_allclose(rates, expected, rtol=1e-9)
    decayed, others = trainer.optimiser.param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.3, 0)
    assert all(p.ndim > 1 for p in decayed["params"]) and all(p.ndim == 1 for p in others["params"])
    assert len(decayed["params"]) + len(others["params"]) == len(list(trainer.network.parameters()))


def test_without_average_the_weights_themselves_are_kept(data, split):
    trainer = _trainer(data, split, replace(QUICK, epochs=1, average=0.0))
    run = trainer.run(False, lambda *_: None, lambda *_: None)
    assert same_weights(run.network, trainer.network)


def test_early_stopping_keeps_the_best(data, split, monkeypatch):
    losses = iter([0.9, 0.8, 0.85, 0.81, 0.7])
    kept = []
    monkeypatch.setattr(training, "poisson_loss", lambda *_: np.array([next(losses)]))
    run = train(
        data,
        split,
        SHAPE,
        "cnn",
        replace(QUICK, epochs=5, patience=2),
        sizes=SMALL,
        on_epoch=lambda network, history: kept.append(network),
    )
    assert (
        run.stopped_early and run.best_epoch == 2 and run.history["validation_loss"].to_list() == [0.9, 0.8, 0.85, 0.81]
    )
    assert [network is not None for network in kept] == [True, True, False, False, True]
    assert same_weights(run.network, kept[1]) and not same_weights(run.network, kept[0])


def test_correlation_chooses_the_best_where_asked(data, split, monkeypatch):
    found = iter([0.1, 0.3, 0.2])
    monkeypatch.setattr(training, "log_pearson", lambda *_: np.full(len(data.tracks), next(found)))
    monkeypatch.setattr(training, "poisson_loss", lambda *_: np.array([next(losses)]))
    losses = iter([0.9, 0.8, 0.7])
    run = train(data, split, SHAPE, "cnn", replace(QUICK, epochs=3, choose="pearson"), sizes=SMALL)
    assert run.best_epoch == 2 and run.history["validation_loss"].to_list() == [0.9, 0.8, 0.7]


def test_mutations_are_as_many_as_asked_and_of_single_bases():
    torch.manual_seed(1)
    onehot = torch.nn.functional.one_hot(torch.randint(4, (400, 500)), 4).float()
    mutated = training._mutated(onehot, 0.4)
    assert bool((mutated.sum(dim=2) == 1).all())
    share = (mutated != onehot).any(dim=2).float().mean(dim=1)
    # uniform between 0 and 0.4 in each window, and a quarter of the drawn bases is the base that was there
    assert abs(float(share.mean()) - 0.15) < 0.01 and float(share.max()) < 0.36 and float(share.min()) < 0.02
    assert training._mutated(onehot, 0.0) is onehot


def test_divergence_stops_with_the_last_good_checkpoint(data, split, tmp_path):
    file = tmp_path / "last.pt"
    settings = replace(QUICK, learning_rate=1e25, gradient_clip=0.0, checkpoint_minutes=60, warmup=0)
    with pytest.raises(GenopredError) as error:
        train(data, split, SHAPE, "cnn", settings, sizes=SMALL, checkpoint=file)
    for part in ("epoch 1, step ", "not finite", "1e+25", "training.learning_rate", str(file), "after step 0"):
        assert part in str(error.value)
    state = read_state(file)
    assert state["state"]["step"] == 0
    assert all(bool(torch.isfinite(v).all()) for v in state["network"].values() if v.is_floating_point())
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_gradient_that_is_not_finite_stops_too(data, split, monkeypatch):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(GenopredError, match=r"epoch 1, step 1: the gradient is not finite.*No checkpoint was kept"):
        train(data, split, SHAPE, "cnn", QUICK, sizes=SMALL)


def test_a_validation_loss_that_is_not_finite_stops_too(data, split, monkeypatch):
    monkeypatch.setattr(training, "poisson_loss", lambda *_: np.array([np.inf]))
    with pytest.raises(GenopredError, match="epoch 1, .* the validation loss is not finite"):
        train(data, split, SHAPE, "cnn", QUICK, sizes=SMALL)


def test_another_runs_checkpoint_is_refused(data, split, whole):
    _, file = whole
    before = file.read_bytes()
    with pytest.raises(GenopredError, match=r"another run.*training.learning_rate was 0.005, is 0.001.*--no-resume"):
        train(data, split, SHAPE, "cnn", replace(QUICK, learning_rate=1e-3), sizes=SMALL, checkpoint=file)
    with pytest.raises(GenopredError, match=r"network.channels was 8, is 12"):
        train(data, split, SHAPE, "cnn", QUICK, sizes=SMALL | {"channels": 12}, checkpoint=file)
    sums = {"chr1": data.sums["chr1"].copy()}
    sums["chr1"][1, 500] += 1
    with pytest.raises(GenopredError, match=r"signal of start \+ was"):
        train(replace(data, sums=sums), split, SHAPE, "cnn", QUICK, sizes=SMALL, checkpoint=file)
    assert file.read_bytes() == before
    # how fast it runs may change
    run = train(
        data, split, SHAPE, "cnn", replace(QUICK, threads=2, checkpoint_minutes=3), sizes=SMALL, checkpoint=file
    )
    assert run.resumed_at == 34


def test_fingerprint_names_what_matters(data, split):
    def of(**changes):
        return fingerprint(data, split, SHAPE, "cnn", replace(QUICK, **changes), SMALL, 0.2)

    assert of() == of(threads=3, device="auto", compile=True, checkpoint_minutes=1.0)
    assert {key for key, value in of(seed=5, batch=3).items() if of()[key] != value} == {
        "training.seed",
        "training.batch",
    }


@pytest.mark.parametrize("content", [b"", b"junk", "half", "other"])
def test_a_damaged_checkpoint_is_refused(data, split, whole, tmp_path, content):
    file = tmp_path / "last.pt"
    whole_file = whole[1].read_bytes()
    if content == "other":
        write_state(file, {"a": torch.zeros(1)})
    else:
        file.write_bytes(whole_file[: len(whole_file) // 2] if content == "half" else content)
    with pytest.raises(GenopredError, match=r"last.pt cannot be read as a checkpoint.*--no-resume"):
        train(data, split, SHAPE, "cnn", QUICK, sizes=SMALL, checkpoint=file)
    settings = replace(QUICK, epochs=1)
    run = train(data, split, SHAPE, "cnn", settings, sizes=SMALL, checkpoint=file, resume=False)
    assert run.resumed_at == 0 and read_state(file)["state"]["epoch"] == 1


def test_a_checkpoint_holds_no_code(tmp_path, capsys):
    import pickle

    class Harm:
        def __reduce__(self):
            return (print, ("executed",))

    file = tmp_path / "last.pt"
    torch.save({"identity": Harm()}, file, pickle_module=pickle)
    with pytest.raises(GenopredError, match="cannot be read") as said:
        read_state(file)
    assert "executed" not in capsys.readouterr().out and "weights_only" not in str(said.value)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(GenopredError, match=r"cannot write .*last\.pt"):
        write_state(tmp_path / "file" / "last.pt", {})


def test_a_compiler_that_fails_is_done_without(data, split, whole, monkeypatch, caplog):
    plain = training.networks.training_forward

    def forward(network, *, compiled=False):
        def broken(onehot):
            plain(network)(onehot)  # moves the norms' statistics, then fails
            raise RuntimeError("no C++ compiler\nlong text")

        return broken if compiled else plain(network)

    monkeypatch.setattr(training.networks, "training_forward", forward)
    monkeypatch.setattr(logging.getLogger("genopred"), "propagate", True)
    with caplog.at_level(logging.WARNING, "genopred"):
        run = train(data, split, SHAPE, "cnn", replace(QUICK, compile=True), sizes=SMALL)
    assert "torch.compile failed (no C++ compiler)" in caplog.text
    assert same_weights(run.network, whole[0].network)


def test_half_precision_trains(data, split):
    run = train(data, split, SHAPE, "cnn", replace(QUICK, precision="bf16", both_strands=True), sizes=SMALL)
    assert np.isfinite(run.history["validation_loss"].to_numpy()).all()
    assert all(value.dtype != torch.bfloat16 for value in run.network.state_dict().values())


def test_progress_counts_what_is_left(data, split, tmp_path):
    seen = []
    file = tmp_path / "last.pt"

    def stopping(done, total, label=""):
        seen.append((done, total))
        if done == 20:
            raise Stop

    with pytest.raises(Stop):
        train(data, split, SHAPE, "cnn", QUICK, sizes=SMALL, checkpoint=file, progress=stopping)
    assert seen == [(i, 34) for i in range(1, 21)]
    rest = []
    train(
        data,
        split,
        SHAPE,
        "cnn",
        QUICK,
        sizes=SMALL,
        checkpoint=file,
        progress=lambda done, total, label="": rest.append((done, total, label)),
    )
    assert [done for done, _, _ in rest][:14] == list(range(1, 15)) and {total for _, total, _ in rest} == {14}
    assert rest[-1][:2] == (14, 14) and rest[0][2].startswith("epoch 2 of 2, validation loss ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("warmup", -1),
        ("weight_decay", -0.1),
        ("gradient_clip", float("inf")),
        ("patience", -1),
        ("shift", -1),
        ("average", 1.0),
        ("mutate", 1.0),
        ("choose", "spearman"),
        ("precision", "fp16"),
        ("seed", -1),
        ("threads", 0),
        ("checkpoint_minutes", 0.0),
    ],
)
def test_settings_out_of_range(name, value):
    with pytest.raises(GenopredError, match=rf"training\.{name} = .*needed"):
        TrainingSettings(**{name: value})


def test_devices():
    assert find_device("cpu").type == "cpu"
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name, text in (("gpu", "not a device"), ("meta", "cpu or cuda:0 only"), ("cuda:77", "CUDA devices")):
        with pytest.raises(GenopredError, match=text):
            find_device(name)


def test_a_track_without_signal_in_training_is_named(data, split):
    sums = {"chr1": data.sums["chr1"].copy()}
    for row in split.regions.filter(split.regions["split"] == "train").iter_rows(named=True):
        sums["chr1"][2, row["start"] // 16 : row["end"] // 16 + 1] = 0
    with pytest.raises(GenopredError, match=r"1 of 3 tracks have no signal in the training regions \(start -\)"):
        train(replace(data, sums=sums), split, SHAPE, "cnn", QUICK, sizes=SMALL)


def test_a_split_of_n_alone_is_said(data, split):
    codes = {"chr1": np.full_like(data.codes["chr1"], 4)}
    with pytest.raises(GenopredError, match=r"train split has no window left: all \d+ have more than 20% N"):
        train(replace(data, codes=codes), split, SHAPE, "cnn", QUICK, sizes=SMALL)


def test_unknown_network(data, split):
    with pytest.raises(ModelError, match="network.kind 'lstm'"):
        train(data, split, SHAPE, "lstm", QUICK)


def test_memory_estimate_grows_with_the_batch():
    one, eight = (training_bytes("cnn", 3, SHAPE, n, SMALL) for n in (1, 8))
    network = training.networks.build("cnn", 3, SHAPE, **SMALL)
    weights = 4 * sum(p.numel() for p in network.parameters())
    assert one > 7 * weights
    # of the first convolution alone: input, output, its norm, its rectified values
    assert eight - one > 7 * 4 * SHAPE.window * (4 + 2 * 8)


def _trainer(data, split, settings=QUICK):
    return training._Trainer(data, split, SHAPE, "cnn", settings, SMALL, 0.2, torch.device("cpu"), None)
