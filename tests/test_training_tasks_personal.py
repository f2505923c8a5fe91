"""Tuning on people: the loss, what is frozen, what is learned, what is not looked at, and a run that goes on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from personal_data import cnn, people, task

from genopred.errors import GenopredError
from genopred.sequence.haplotypes import VariantWindow
from genopred.training.loop import train
from genopred.training.people import PersonalGene, within
from genopred.training.tasks.personal import variance_loss


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("n", [2, 3, 50, 358])
def test_the_variance_is_the_loss_of_all_pairs(n):
    rng = np.random.default_rng(n)
    p, y = torch.from_numpy(rng.standard_normal(n) + 5), torch.from_numpy(3 * rng.standard_normal(n))
    pairs = [((p[i] - p[j]) - (y[i] - y[j])) ** 2 for i in range(n) for j in range(n)]
    assert float(variance_loss(p, y)) == pytest.approx(float(sum(pairs)) / n**2 / 2, rel=1e-6)
    among = [((p[i] - p[j]) - (y[i] - y[j])) ** 2 for i in range(n) for j in range(i)]
    assert float(variance_loss(p, y)) == pytest.approx(float(sum(among)) / len(among) / 2 * (n - 1) / n, rel=1e-6)


def test_its_gradient_is_that_of_all_pairs():
    p = torch.randn(12, dtype=torch.float64, requires_grad=True)
    y = torch.randn(12, dtype=torch.float64)
    (ours,) = torch.autograd.grad(variance_loss(p, y), p)
    pairs = ((p[:, None] - p[None]) - (y[:, None] - y[None])) ** 2
    (theirs,) = torch.autograd.grad(pairs.mean() / 2, p)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("tune", ["head", "lora", "all"])
def test_the_loss_is_that_of_each_person_alone(tune):
    """Haplotypes deduplicated, and frozen parts kept, against one pass for each person and haplotype."""
    if tune == "lora":
        pytest.importorskip("peft")
    data, _ = people(20, 30)
    what = task(data, how={"tune": tune, "rank": 2})
    torch.manual_seed(1)
    network = what.build()
    rows = np.array([0, 3, 5])
    ours = what.loss(what.forward(network), rows, torch.device("cpu"), 1e-3)
    losses = []
    for row in rows:
        gene, who = data.of_gene[row], data.rows("train")
        alone = torch.stack(
            [
                torch.stack([network(torch.from_numpy(gene.window.onehot([h])))[0, 0, 0] for h in gene.who[i]]).mean()
                for i in who
            ]
        )
        losses.append(variance_loss(alone, torch.from_numpy(gene.y[who]).float()))
    assert ours.item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


@pytest.mark.parametrize("tune", ["head", "lora"])
def test_what_is_frozen_stays(tune):
    if tune == "lora":
        pytest.importorskip("peft")
    data, _ = people(20, 30)
    what = task(data, how={"tune": tune, "rank": 2, "weights": "trained"})
    model = what.model.network
    before = {key: value.clone() for key, value in model.state_dict().items()}
    tuned = train(what).network
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())  # the start is left alone
    after = {key.replace("base_layer.", ""): value for key, value in tuned.body.network.state_dict().items()}
    same = {key for key, value in before.items() if torch.equal(after[key], value)}
    if tune == "lora":
        assert same == set(before) and any("lora_B" in key and bool(v.abs().max() > 0) for key, v in after.items())
    else:
        assert {key for key in before if key.startswith("tower")} <= same
        assert any(key.startswith("dilated") for key in set(before) - same)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_motif_is_found_and_holds_in_genes_never_seen(seed):
    """From random weights; SNPs break the motif in some people, and the truth of unseen genes is known."""
    data, truth = people(110, 50, decoys=4, seed=seed)
    what = task(data, epochs=7, batch=2, learning_rate=5e-3, seed=seed, patience=0, average=0.95, warmup=20)
    predicted = what.predict(train(what).network)
    aside = data.rows("test")
    unseen = np.array([within(predicted[aside, g], truth[aside, g]) for g in data.split.rows("test")])
    seen = np.array([within(predicted[aside, g], truth[aside, g]) for g in data.split.rows("train")])
    assert seen.mean() > 0.7 and unseen.mean() > 0.4 and (unseen > 0).mean() > 0.75


def test_without_effect_nothing_is_found_in_genes_never_seen():
    data, _ = people(60, 50, seed=4)
    rng = np.random.default_rng(1)
    genes = tuple(replace(gene, y=rng.permutation(gene.y)) for gene in data.of_gene)
    what = task(replace(data, of_gene=genes), epochs=3)
    predicted = what.predict(train(what).network)
    aside = data.rows("test")
    r = np.array([within(predicted[aside, g], genes[g].y[aside]) for g in data.split.rows("test")])
    assert abs(r.mean()) < 4 / np.sqrt(len(r) * (len(aside) - 1))


@pytest.mark.parametrize("tune", ["head", "lora", "all"])
def test_killed_and_resumed_is_uninterrupted(tune, tmp_path):
    if tune == "lora":
        pytest.importorskip("peft")
    data, _ = people(20, 30)

    def make():
        return task(data, how={"tune": tune, "rank": 2}, checkpoint_minutes=1e-9, epochs=3)

    whole = train(make(), checkpoint=tmp_path / "whole.pt")

    def kill(done, total, label):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(make(), checkpoint=tmp_path / "part.pt", progress=kill)
    resumed = train(make(), checkpoint=tmp_path / "part.pt")
    assert resumed.resumed_at > 0 and equal(whole.network, resumed.network)
    assert (tmp_path / "whole.pt").read_bytes() == (tmp_path / "part.pt").read_bytes()


def test_the_order_of_people_does_not_matter():
    data, _ = people(20, 30)
    one = train(task(data)).network
    order = np.random.default_rng(5).permutation(30)
    genes = []
    for gene in data.of_gene:
        rows = gene.window.alleles[gene.who[order].reshape(-1)]
        shuffled = VariantWindow(gene.window.reference, gene.window.sites, gene.window.ref_codes,
                                 gene.window.alt_codes, rows)  # fmt: skip
        genes.append(PersonalGene.of(shuffled, 2, gene.y[order]))
    other = replace(data, of_gene=tuple(genes), people=data.people[order])
    two = train(task(other)).network
    # the same haplotypes in the same order; sums over people in another
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_people_and_genes_that_are_kept_aside_decide_nothing():
    data, _ = people(20, 30)
    one = task(data)
    rng = np.random.default_rng(9)
    genes = []
    for g, gene in enumerate(data.of_gene):
        y = gene.y.copy()
        aside = np.ones(len(y), bool) if data.split.part[g] == "test" else data.people == "test"
        y[aside] = 100 * rng.standard_normal(int(aside.sum()))
        genes.append(replace(gene, y=y))
    two = task(replace(data, of_gene=tuple(genes)))
    assert one.identity() == two.identity()
    assert equal(train(one).network, train(two).network)
    changed = replace(data.of_gene[0], y=data.of_gene[0].y + np.arange(30.0))
    assert task(replace(data, of_gene=(changed, *data.of_gene[1:]))).identity() != one.identity()


def test_people_without_expression_are_left_out_of_a_gene():
    data, _ = people(20, 30)
    y = data.of_gene[0].y.copy()
    y[data.rows("train")[:5]] = np.nan
    what = task(replace(data, of_gene=(replace(data.of_gene[0], y=y), *data.of_gene[1:])))
    network = what.build()
    assert torch.isfinite(what.loss(what.forward(network), np.array([0]), torch.device("cpu"), 1e-3))
    assert np.isfinite(what.predict(network)).all()


def test_a_random_start_has_batch_norms_of_the_sequences():
    data, _ = people(20, 30)
    network = task(data).build()
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and all(not m.training and float(m.running_mean.abs().max()) > 0 and m.momentum == 0.1 for m in norms)


def test_what_is_said_where_nothing_is_learned(caplog):
    data, _ = people(20, 30)
    what = task(data, cnn())
    row = {"epoch": 2, "step": 10, "validation_loss": 1.0, "pearson_seen": 0.01}
    assert "nothing learned that holds in validation people" in what.advice(row)
    found = what.validate(what.build(), torch.device("cpu"))
    assert {"loss_seen", "loss_unseen", "pearson_seen", "pearson_unseen"} == set(found.columns)


def test_another_runs_checkpoint_is_refused(tmp_path):
    data, _ = people(20, 30)
    train(task(data), checkpoint=tmp_path / "last.pt")
    with pytest.raises(GenopredError, match="model.tune was 'all', is 'head'"):
        train(task(data, how={"tune": "head"}), checkpoint=tmp_path / "last.pt")
