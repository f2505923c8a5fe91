"""Bases in training: one-hot, and drawn anew."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from genopred.sequence.onehot import onehot  # noqa: E402
from genopred.training.bases import mutated, onehot_on  # noqa: E402


def test_onehot_is_that_of_models():
    codes = np.random.default_rng(1).integers(5, size=(3, 7)).astype(np.uint8)
    made = onehot_on(codes, torch.device("cpu"))
    assert made.dtype == torch.float32
    np.testing.assert_array_equal(made.numpy(), onehot(codes.astype(np.int8)))


def test_mutations_are_as_many_as_asked_and_of_single_bases():
    torch.manual_seed(1)
    bases = torch.nn.functional.one_hot(torch.randint(4, (400, 500)), 4).float()
    changed = mutated(bases, 0.4)
    assert bool((changed.sum(dim=2) == 1).all())
    share = (changed != bases).any(dim=2).float().mean(dim=1)
    # uniform between 0 and 0.4 in each window, and a quarter of the drawn bases is the base that was there
    assert abs(float(share.mean()) - 0.15) < 0.01 and float(share.max()) < 0.36 and float(share.min()) < 0.02
    assert mutated(bases, 0.0) is bases
