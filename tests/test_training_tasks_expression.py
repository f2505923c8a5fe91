"""Predicting genes: what is learned, that test genes have no say, losses, directions, orders, and the plateau."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")

from genopred.settings.expression import Expression, ExpressionTraining  # noqa: E402
from genopred.training.gene_scores import gene_pearson  # noqa: E402
from genopred.training.genes import GeneData, gene_arrays, gene_inputs  # noqa: E402
from genopred.training.loop import fingerprint, train  # noqa: E402
from genopred.training.networks.composition import Composition  # noqa: E402
from genopred.training.networks.gene import GeneShape  # noqa: E402
from genopred.training.simulate import simulate_genes  # noqa: E402
from genopred.training.targets import make_targets  # noqa: E402
from genopred.training.tasks.expression import (  # noqa: E402
    ExpressionTask,
    expression_loss,
    predict_genes,
)

SIZES = {"channels": 16, "hidden": 8, "heads": 1, "dropout": 0.0}
QUICK = ExpressionTraining(
    epochs=2, batch=32, learning_rate=5e-3, warmup=5, average=0.9, device="cpu", threads=1, checkpoint_minutes=1e-9
)


@pytest.fixture(scope="module")
def made():
    return simulate_genes(300, before=300, after=100, segments=2, segment=60, promoter=0.8, distal=0.1, seed=4)


def task_of(made, settings=QUICK, data=None, kind="hybrid", sizes=SIZES, composition=None, transform=("z",)):
    data = made.data if data is None else data
    far = 0 if kind == "hybrid" else data.segments.shape[1]
    shape = GeneShape(300, 100, len(data.track_names), far, 60 if far else 0, composition or Composition())
    transform, targets = make_targets(data, made.split, Expression(file="x", unit="signal", transform=list(transform)))
    return ExpressionTask(data, made.split, transform, targets, shape, kind, settings, sizes)


def test_a_motif_is_learned_on_genes_never_seen():
    made = simulate_genes(500, before=300, after=100, segments=0, promoter=0.85, seed=4)
    task = task_of(made, replace(QUICK, epochs=14, batch=12, learning_rate=1e-2, average=0.95))
    run = train(task)
    test = made.split.rows("test")
    found = gene_pearson(task.predict(run.network, test), task.targets[test])
    shuffled = gene_pearson(task.predict(run.network, test), np.random.default_rng(0).permutation(task.targets[test]))
    assert found[0] > 0.6 and found[0] > abs(shuffled[0]) + 0.25
    assert run.history["validation_loss"][-1] < 0.75 and not run.history["plateau"][-1]
    assert [name for name in run.history.columns if name.startswith("pearson_")] == ["pearson_cell 1", "pearson_cell 2"]


def test_test_genes_change_nothing(made):
    """Neither their expression nor their sequence: the same weights, and the same run to go on with."""
    test = made.split.rows("test")
    measured, codes = made.data.measured.copy(), made.data.codes.copy()
    measured[test], codes[test] = 7 * measured[test] + 3, 3 - codes[test]
    tasks = [task_of(made), task_of(made, data=replace(made.data, measured=measured, codes=codes))]
    first, second = (train(task).network.state_dict() for task in tasks)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert fingerprint(tasks[0]) == fingerprint(tasks[1]) and tasks[0].transform == tasks[1].transform
    changed = made.data.measured.copy()
    changed[made.split.rows("train")[0]] += 1
    other = fingerprint(task_of(made, data=replace(made.data, measured=changed)))
    differs = {key for key, value in fingerprint(tasks[0]).items() if other[key] != value}
    assert "expression of training genes" in differs and "sequence of training genes" not in differs


def test_what_else_is_read_of_genes_tells_runs_apart(made):
    """Tracks, distal segments and contacts, of training genes as of validation genes."""
    rng = np.random.default_rng(1)
    g, d, s = made.data.segments.shape
    signal = {"tracks": rng.random((g, 1, 100)), "segment_tracks": rng.random((g, d, 1, s // 4))}
    signal = {name: values.astype(np.float32) for name, values in signal.items()}
    data = replace(made.data, track_names=("x",), step=4, **signal)
    sizes = {"channels": 4, "distal": 4, "heads": 1, "dropout": 0.0}
    first = fingerprint(task_of(made, data=data, kind="dual-path", sizes=sizes))
    for what in ("tracks", "segments", "segment_tracks", "weights"):
        for part in ("training", "validation"):
            values = getattr(data, what).copy()
            values[made.split.rows("train" if part == "training" else part)[0]] += 1
            other = fingerprint(task_of(made, data=replace(data, **{what: values}), kind="dual-path", sizes=sizes))
            differs = {key for key, value in first.items() if other[key] != value}
            assert differs == {f"{what.replace('_', ' ')} of {part} genes"}


@pytest.mark.parametrize(
    ("kind", "sizes"), [("hybrid", SIZES), ("dual-path", {"channels": 8, "distal": 8, "heads": 1, "dropout": 0.2})]
)
@pytest.mark.parametrize("loss", ["mse", "poisson", "correlation"])
def test_interrupted_and_resumed_is_uninterrupted(made, tmp_path, kind, sizes, loss):
    transform = () if loss == "poisson" else ("z",)
    data = replace(made.data, measured=np.abs(made.data.measured))
    settings = replace(QUICK, loss=loss, mutate=0.1, reverse_complement=True)
    task = task_of(made, settings, data, kind, sizes, Composition(gc=True, kmers=2), transform)
    whole = train(task)

    def stop(done, total, label):
        if done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(task, checkpoint=tmp_path / "last.pt", progress=stop)
    again = train(task, checkpoint=tmp_path / "last.pt")
    assert 0 < again.resumed_at < 12 and again.history.equals(whole.history)
    state = whole.network.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in again.network.state_dict().items())


def test_an_untrained_network_predicts_the_mean(made):
    for loss, transform in (("mse", ("z",)), ("poisson", ())):
        data = replace(made.data, measured=np.abs(made.data.measured) * 50)
        task = task_of(made, replace(QUICK, loss=loss, epochs=1, learning_rate=1e-12), data, transform=transform)
        run = train(task)
        flat = task._flat(task.targets[task.validation])
        assert flat < run.history["validation_loss"][0] < 1.15 * flat
        predicted = task.predict(run.network, task.training)
        np.testing.assert_allclose(predicted.mean(axis=0) / task.unit, task.mean / task.unit, atol=0.15)
        # nothing is learned, and it says so
        assert run.plateau.startswith("epoch 1") and "still on the plateau" in run.plateau


def test_losses_against_plain_ones():
    rng = np.random.default_rng(1)
    p, t = rng.gamma(2, 1, (50, 3)), rng.gamma(2, 1, (50, 3))
    t[3, 1] = np.nan
    mean, unit = np.array([1.0, 2.0, 3.0]), np.array([0.5, 1.0, 2.0])
    known = np.isfinite(t)
    tensors = [torch.from_numpy(x) for x in (p, t)]
    given = [torch.from_numpy(x) for x in (mean, unit)]
    mse = np.mean((((p - t) / unit) ** 2)[known])
    np.testing.assert_allclose(float(expression_loss(*tensors, "mse", *given)), mse)
    poisson = np.mean((p / unit - t / unit * np.log(p / unit + 1e-6))[known])
    np.testing.assert_allclose(float(expression_loss(*tensors, "poisson", *given)), poisson, rtol=1e-6)
    r = [np.corrcoef(p[known[:, c], c], t[known[:, c], c])[0, 1] for c in range(3)]
    found = float(expression_loss(*tensors, "correlation", *given))
    np.testing.assert_allclose(found, np.mean(1 - np.array(r)) + 0.1 * mse, rtol=1e-4)
    np.testing.assert_allclose(gene_pearson(p, t), r)


def test_missing_targets_have_no_gradient():
    t = torch.tensor([[1.0, float("nan")], [2.0, 1.0], [4.0, 3.0], [3.0, 2.5]])
    for kind in ("mse", "poisson", "correlation"):
        p = torch.full((4, 2), 1.5) + torch.rand(4, 2)
        p.requires_grad_(True)
        expression_loss(p, t, kind, torch.ones(2), torch.ones(2)).backward()
        assert torch.isfinite(p.grad).all() and p.grad[0, 1] == 0 and p.grad[0, 0] != 0


def test_predictions_commute_with_the_order_of_genes(made):
    task = task_of(made, kind="dual-path", sizes={"channels": 8, "distal": 8, "heads": 1, "dropout": 0.0})
    network = task.build()
    rows = np.random.default_rng(2).permutation(len(made.data.codes))
    whole = predict_genes(network, made.data, np.arange(len(rows)))
    np.testing.assert_allclose(predict_genes(network, made.data, rows, batch_size=7), whole[rows], atol=1e-5)
    assert network.training


def test_arrays_shifts_and_the_other_strand():
    rng = np.random.default_rng(3)
    g, length, flank, step = 4, 20, 3, 4
    codes = rng.integers(0, 5, (g, length + 2 * flank)).astype(np.uint8)
    tracks = rng.random((g, 2, 7)).astype(np.float32)
    far = rng.integers(0, 4, (g, 2, 8)).astype(np.uint8)
    data = GeneData(
        pl.DataFrame(), ("a",), np.zeros((g, 1), np.float32), "tpm", codes, flank, tracks, ("x", "y"), step, far,
        rng.random((g, 2, 2, 2)).astype(np.float32), rng.random((g, 2)).astype(np.float32),
    )  # fmt: skip
    rows, shift = np.array([2, 0, 3]), np.array([-3, 0, 2])
    found = gene_arrays(data, rows, shift)
    whole = np.log1p(np.repeat(tracks, step, axis=2))
    for i, (row, s) in enumerate(zip(rows, shift)):
        at = slice(flank + s, flank + s + length)
        assert (found[0][i] == codes[row, at]).all()
        np.testing.assert_array_equal(found[1][i], whole[row, :, at].T)
    turned = gene_arrays(data, rows, shift, True)
    comp = np.array([3, 2, 1, 0, 4])
    np.testing.assert_array_equal(turned[0], comp[found[0][:, ::-1]])
    np.testing.assert_array_equal(turned[1], found[1][:, ::-1])
    np.testing.assert_array_equal(turned[2], comp[found[2][..., ::-1]])
    np.testing.assert_array_equal(turned[3], found[3][:, :, ::-1])
    inputs = gene_inputs(found, torch.device("cpu"))
    assert inputs.window.shape == (3, 20, 6) and inputs.segments.shape == (3, 2, 8, 6)
    assert (inputs.window[..., :4].sum(-1).numpy() == (found[0] < 4)).all()
    np.testing.assert_array_equal(inputs.weights, data.weights[rows])


def test_both_strands_are_averaged(made):
    network = task_of(made).build()
    rows = np.arange(10)
    both = predict_genes(network, made.data, rows, both_strands=True)
    turned = replace(made.data, codes=3 - made.data.codes[:, ::-1])
    expected = (predict_genes(network, made.data, rows) + predict_genes(network, turned, rows)) / 2
    np.testing.assert_allclose(both, expected, atol=1e-6)


def test_an_epoch_has_each_gene_once(made):
    task = task_of(replace(made, data=made.data), replace(QUICK, batch=10, shift=0))
    count, make = task.batches([1, 0])
    seen = np.concatenate([make(i)[1][:, 0] for i in range(count)])
    mine = task.targets[task.training, 0]
    assert count == len(task.training) // 10 and np.isin(seen, mine).all() and len(np.unique(seen)) == len(seen)
    other = np.concatenate([task.batches([1, 1])[1](i)[1][:, 0] for i in range(count)])
    assert (other != seen).any()
