"""The tower: what it sees, what it costs, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from enformer_data import MODULES, case, model_of, predicted, small, torch

from genopred.errors import GenopredError
from genopred.sequence.haplotypes import VariantWindow
from genopred.sequence.models.enformer.tower import ExactTower


def test_receptive_field_of_the_published_tower() -> None:
    tower = ExactTower(small(torch.float32))
    assert tower.reach == (259, 387)
    # measured: the tokens that one base changes
    reference = case(2048, [], 1, 7).reference
    base = 1024
    sites, ref = np.array([base]), reference[[base]].argmax(axis=1)
    _, level = tower.tokens(VariantWindow(reference, sites, ref, (ref + 1) % 4, np.array([[1]])))
    changed = np.flatnonzero(np.diff(level.indptr))
    before, after = tower.reach
    expected = [i for i in range(16) if 128 * i - before <= base < 128 * i + after]
    assert changed.tolist() == expected


def test_operations_are_counted_as_torch_counts_them() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    module = MODULES[torch.float32]
    window = case(2048, [100, 1000, 1001], 4, 11)

    def in_place(_: Any, a: Any, b: Any, **rest: Any) -> int:
        return 2 * a[0] * a[1] * b[1]

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.from_numpy(window.onehot()[:1]))
    _, work = predicted(module, window, batch_size=2)
    assert work.naive_operations == counter.get_total_flops()
    model = model_of(module)
    model._transformer("fp32")
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: in_place}) as counter:
        _, work = model.run(window)
    assert work.tower_operations + work.transformer_operations == counter.get_total_flops()
    planned = ExactTower(module).plan(window)
    assert planned.tower_operations == work.tower_operations and planned.tokens == work.tokens
    assert work.tower_passes < 2 and work.fold_operations > 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alleles": np.array([[-1, 0]], dtype=np.int8)}, "alleles go from -1"),
        ({"sites": np.array([5, 1408])}, "sites go from 5 to 1408"),
        ({"sites": np.array([9, 5])}, "ascending"),
        ({"alt_codes": np.array([0, 4])}, "base codes"),
        ({"alleles": np.zeros((2, 3), dtype=np.int8)}, "alleles has shape"),
    ],
)
def test_bad_haplotypes(change: dict[str, Any], message: str) -> None:
    window = replace(case(1408, [300, 800], 3, 14), **change)
    with pytest.raises(GenopredError, match=message):
        predicted(MODULES[torch.float32], window)
