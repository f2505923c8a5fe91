"""The tower over distinct local haplotypes, on the way back as well: the numbers and gradients of the plain module."""

from __future__ import annotations

import copy

import pytest

pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")
import torch
from personal_data import enformer, random_window

from genopred.sequence.models.enformer.shared import plan, shared_tokens, weight_of
from genopred.sequence.models.enformer.tower import ExactTower


def plain(body, window):
    x = torch.from_numpy(window.onehot())
    return body.conv_tower(body.stem(x.transpose(1, 2))).transpose(1, 2)


@pytest.mark.parametrize("length", [1024, 1000, 777, 200])
@pytest.mark.parametrize("halves", [False, True])
def test_tokens_are_those_of_each_haplotype_alone(length, halves):
    body, window = enformer(), random_window(length=length, halves=halves)
    found = plan(body, window)
    with torch.no_grad():
        tokens, whole = shared_tokens(body, found)[found.index], plain(body, window)
    assert tokens.shape == whole.shape
    torch.testing.assert_close(tokens, whole, rtol=1e-4, atol=1e-5)
    table, _ = ExactTower(body).tokens(window)
    torch.testing.assert_close(shared_tokens(body, found).detach(), table, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_all_haplotypes_together():
    ours, theirs = enformer(), enformer()
    window = random_window()
    found = plan(ours, window)
    weight = torch.randn(len(window.alleles), 8, 24)
    (shared_tokens(ours, found)[found.index] * weight).sum().backward()
    (plain(theirs, window) * weight).sum().backward()
    some = 0
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters()):
        if b.grad is not None and ("stem" in name or "conv_tower" in name):
            torch.testing.assert_close(a.grad, b.grad, rtol=2e-3, atol=2e-4 * float(b.grad.abs().max()) + 1e-6)
            some += 1
    assert some > 40


def test_nobody_differs():
    body, window = enformer(), random_window(sites=3)
    window = type(window)(window.reference, window.sites, window.ref_codes, window.alt_codes, 0 * window.alleles[:1])
    found = plan(body, window)
    torch.testing.assert_close(shared_tokens(body, found)[found.index], plain(body, window), rtol=1e-4, atol=1e-5)


def test_what_peft_adds_counts():
    peft = pytest.importorskip("peft")
    layer = torch.nn.Sequential(torch.nn.Conv1d(4, 6, 5))
    before = copy.deepcopy(layer[0].weight)
    config = peft.LoraConfig(r=2, target_modules=["0"])
    peft.inject_adapter_in_model(config, layer)
    torch.testing.assert_close(weight_of(layer[0]), before)
    layer[0].lora_B["default"].weight.data.normal_()
    whole = weight_of(layer[0])
    layer[0].merge()
    torch.testing.assert_close(whole, layer[0].base_layer.weight)
