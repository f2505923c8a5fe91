"""The training loop: an interrupted run ends like an uninterrupted one, what is kept, and when it speaks up."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")

from training_data import ENFORMER, QUICK, SMALL, blocks, task  # noqa: E402
from training_data import data as simulated  # noqa: E402

from genopred.errors import GenopredError  # noqa: E402
from genopred.training import loop  # noqa: E402
from genopred.training.loop import find_device, fingerprint, train  # noqa: E402
from genopred.training.store import read_state, write_state  # noqa: E402
from genopred.training.tasks import tracks  # noqa: E402


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
    return train(task(data, split, QUICK), checkpoint=file), file


@pytest.fixture
def warnings_said(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("genopred"), "propagate", True)
    with caplog.at_level(logging.WARNING, "genopred"):
        yield caplog


def same_weights(a, b) -> bool:
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


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
        train(task(data, split, QUICK), checkpoint=file, progress=progress)
    # states of random generators must not matter
    torch.manual_seed(99)
    run = train(task(data, split, QUICK), checkpoint=file)
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
    expected = train(task(data, split, settings, "enformer-small", sizes))

    def progress(done, total, label=""):
        if done == 2:
            raise Stop

    file = tmp_path / "last.pt"
    with pytest.raises(Stop):
        train(task(data, split, settings, "enformer-small", sizes), checkpoint=file, progress=progress)
    run = train(task(data, split, settings, "enformer-small", sizes), checkpoint=file)
    assert run.resumed_at == 2
    assert same_weights(run.network, expected.network)


def test_a_finished_run_is_not_trained_again(data, split, whole):
    expected, file = whole
    calls = []
    run = train(
        task(data, split, QUICK),
        checkpoint=file,
        on_epoch=lambda network, history, best: calls.append((network, history.height)),
    )
    assert same_weights(run.network, expected.network) and run.resumed_at == 34
    # its outputs are written once more, in case it was killed just before
    assert len(calls) == 1 and calls[0][1] == 2 and same_weights(calls[0][0], expected.network)


def test_the_seed_decides(data, split, whole):
    torch.manual_seed(5)
    again = train(task(data, split, QUICK))
    assert same_weights(again.network, whole[0].network)
    other = train(task(data, split, replace(QUICK, epochs=1, seed=2)))
    assert not same_weights(other.network, whole[0].network)


def test_the_callers_random_state_is_left_alone(data, split):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train(task(data, split, replace(QUICK, epochs=1)))
    assert torch.equal(torch.rand(3), expected)


def test_the_callers_threads_are_left_alone():
    before = torch.get_num_threads()
    with loop._threads(before + 1):
        assert torch.get_num_threads() == before + 1
    with loop._threads(None):
        assert torch.get_num_threads() == before


def test_a_run_that_stays_on_its_plateau_says_so_once(data, split, warnings_said):
    settings = replace(QUICK, epochs=5, learning_rate=1e-12)
    run = train(task(data, split, settings))
    assert run.history["plateau"].to_list() == [True] * 5
    assert [record.levelname for record in warnings_said.records] == ["WARNING"]
    text = warnings_said.records[0].getMessage()
    assert text.startswith("epoch 3, step 51: still on the plateau, with a validation loss of ")
    assert "training.seed (now 1), a higher training.learning_rate (now 1e-12)" in text and "\n" not in text
    assert run.plateau.startswith(f"epoch {run.best_epoch}, step {17 * run.best_epoch}: still on the plateau")


@pytest.mark.parametrize(("epochs", "warmup", "said"), [(2, 0, 2), (5, 60, 4), (5, 1000, 5)])
def test_the_plateau_is_spoken_of_after_the_warm_up_or_at_the_end(data, split, warnings_said, epochs, warmup, said):
    settings = replace(QUICK, epochs=epochs, warmup=warmup, learning_rate=1e-12)
    train(task(data, split, settings))
    assert [record.getMessage().split(",")[0] for record in warnings_said.records] == [f"epoch {said}"]


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
    run = trainer.run(False, progress, lambda *_: None)
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
    monkeypatch.setattr(tracks, "poisson_loss", lambda *_: np.array([next(losses)]))
    run = train(
        task(data, split, replace(QUICK, epochs=5, patience=2)),
        on_epoch=lambda network, history, best: kept.append(network),
    )
    assert (
        run.stopped_early and run.best_epoch == 2 and run.history["validation_loss"].to_list() == [0.9, 0.8, 0.85, 0.81]
    )
    assert [network is not None for network in kept] == [True, True, False, False, True]
    assert same_weights(run.network, kept[1]) and not same_weights(run.network, kept[0])


def test_correlation_chooses_the_best_where_asked(data, split, monkeypatch):
    found = iter([0.1, 0.3, 0.2])
    monkeypatch.setattr(tracks, "log_pearson", lambda *_: np.full(len(data.tracks), next(found)))
    monkeypatch.setattr(tracks, "poisson_loss", lambda *_: np.array([next(losses)]))
    losses = iter([0.9, 0.8, 0.7])
    run = train(task(data, split, replace(QUICK, epochs=3, choose="pearson")))
    assert run.best_epoch == 2 and run.history["validation_loss"].to_list() == [0.9, 0.8, 0.7]


def test_divergence_stops_with_the_last_good_checkpoint(data, split, tmp_path):
    file = tmp_path / "last.pt"
    settings = replace(QUICK, learning_rate=1e25, gradient_clip=0.0, checkpoint_minutes=60, warmup=0)
    with pytest.raises(GenopredError) as error:
        train(task(data, split, settings), checkpoint=file)
    for part in ("epoch 1, step ", "not finite", "1e+25", "training.learning_rate", str(file), "after step 0"):
        assert part in str(error.value)
    state = read_state(file)
    assert state["state"]["step"] == 0
    assert all(bool(torch.isfinite(v).all()) for v in state["network"].values() if v.is_floating_point())
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_gradient_that_is_not_finite_stops_too(data, split, monkeypatch):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(GenopredError, match=r"epoch 1, step 1: the gradient is not finite.*No checkpoint was kept"):
        train(task(data, split, QUICK))


def test_a_validation_loss_that_is_not_finite_stops_too(data, split, monkeypatch):
    monkeypatch.setattr(tracks, "poisson_loss", lambda *_: np.array([np.inf]))
    with pytest.raises(GenopredError, match="epoch 1, .* the validation loss is not finite"):
        train(task(data, split, QUICK))


def test_another_runs_checkpoint_is_refused(data, split, whole, monkeypatch):
    _, file = whole
    before = file.read_bytes()
    with pytest.raises(GenopredError, match=r"another run.*training.learning_rate was 0.005, is 0.001.*--no-resume"):
        train(task(data, split, replace(QUICK, learning_rate=1e-3)), checkpoint=file)
    with pytest.raises(GenopredError, match=r"network.channels was 8, is 12"):
        train(task(data, split, QUICK, sizes=SMALL | {"channels": 12}), checkpoint=file)
    sums = {"chr1": data.sums["chr1"].copy()}
    sums["chr1"][1, 500] += 1
    with pytest.raises(GenopredError, match=r"signal of start \+ was"):
        train(task(replace(data, sums=sums), split, QUICK), checkpoint=file)
    assert file.read_bytes() == before
    with monkeypatch.context() as other:
        other.setattr(loop, "version", lambda name: "0.0")
        with pytest.raises(GenopredError, match=r"genopred was .*, is 0\.0"):
            train(task(data, split, QUICK), checkpoint=file)
    # how fast it runs may change
    run = train(task(data, split, replace(QUICK, threads=2, checkpoint_minutes=3)), checkpoint=file)
    assert run.resumed_at == 34


def test_fingerprint_names_what_matters(data, split):
    def of(**changes):
        return fingerprint(task(data, split, replace(QUICK, **changes)))

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
        train(task(data, split, QUICK), checkpoint=file)
    settings = replace(QUICK, epochs=1)
    run = train(task(data, split, settings), checkpoint=file, resume=False)
    assert run.resumed_at == 0 and read_state(file)["state"]["epoch"] == 1


def test_a_compiler_that_fails_is_done_without(data, split, whole, monkeypatch, caplog):
    def broken(forward):
        def fail(onehot):
            forward(onehot)  # moves the norms' statistics, then fails
            raise RuntimeError("no C++ compiler\nlong text")

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(logging.getLogger("genopred"), "propagate", True)
    with caplog.at_level(logging.WARNING, "genopred"):
        run = train(task(data, split, replace(QUICK, compile=True)))
    assert "torch.compile failed (no C++ compiler)" in caplog.text
    assert same_weights(run.network, whole[0].network)


def test_half_precision_trains(data, split):
    run = train(task(data, split, replace(QUICK, precision="bf16", both_strands=True)))
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
        train(task(data, split, QUICK), checkpoint=file, progress=stopping)
    assert seen == [(i, 34) for i in range(1, 21)]
    rest = []
    train(
        task(data, split, QUICK),
        checkpoint=file,
        progress=lambda done, total, label="": rest.append((done, total, label)),
    )
    assert [done for done, _, _ in rest][:14] == list(range(1, 15)) and {total for _, total, _ in rest} == {14}
    assert rest[-1][:2] == (14, 14) and rest[0][2].startswith("epoch 2 of 2, validation loss ")


def test_devices():
    assert find_device("cpu").type == "cpu"
    assert find_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name, text in (("gpu", "not a device"), ("meta", "cpu or cuda:0 only"), ("cuda:77", "CUDA devices")):
        with pytest.raises(GenopredError, match=text):
            find_device(name)


def _trainer(data, split, settings=QUICK):
    return loop._Trainer(task(data, split, settings), torch.device("cpu"), None)
