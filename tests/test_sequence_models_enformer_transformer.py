"""The transformer: to first order, at lower precision, in small blocks and little memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from enformer_data import MODULES, case, error, model_of, naive, predicted, torch

from genopred.errors import ModelError
from genopred.sequence.models.enformer.tower import ExactTower
from genopred.sequence.models.enformer.transformer import Transformer


def test_linear_is_the_derivative() -> None:
    """Against finite differences of the module's own transformer along each haplotype's change of tokens."""
    module = MODULES[torch.float64]
    window = case(2048, [5, 1990], 4, 8, share=0.6)
    linear, work = predicted(module, window, bins=[2, 5], tracks=[1], mode="linear")
    none = replace(window, alleles=np.zeros_like(window.alleles))
    reference, _ = predicted(module, none, bins=[2, 5], tracks=[1])
    assert work.windows == 1
    zero = (window.alleles == 0).all(axis=1)
    assert zero.any() and np.allclose(linear[zero], reference[zero], rtol=1e-12)
    tower = ExactTower(module)
    table, level = tower.tokens(window)
    index = level.index(np.arange(4), 4)
    step = 1e-6
    with torch.no_grad():
        change = table[torch.from_numpy(index)] - table[: level.n]

        def rest_of(x: Any) -> Any:
            return module._heads["human"](module.final_pointwise(module.crop_final(module.transformer(x))))

        slope = (rest_of(table[: level.n] + step * change) - rest_of(table[: level.n] - step * change)) / (2 * step)
    assert np.allclose(linear - reference, slope[:, [2, 5]][:, :, [1]].numpy(), rtol=1e-5, atol=1e-8)


def test_lower_precision_keeps_what_differs() -> None:
    window = case(2048, list(range(15, 2048, 60)), 12, 10)
    want = naive(MODULES[torch.float32], window)
    for dtype, limit in (("tf32", 1e-5), ("bf16", 0.05)):
        got, _ = predicted(MODULES[torch.float32], window, dtype=dtype)
        assert error(got, want) < limit
        r = np.corrcoef((got - got.mean(axis=0)).ravel(), (want - want.mean(axis=0)).ravel())[0, 1]
        assert r > 0.99
    before = torch.get_float32_matmul_precision()
    predicted(MODULES[torch.float32], window, dtype="tf32", bins=[0])
    assert torch.get_float32_matmul_precision() == before


def test_small_blocks_give_the_same() -> None:
    module = MODULES[torch.float64]
    window = case(2048, list(range(15, 2048, 60)), 6, 12)
    model = model_of(module)
    model._tower = ExactTower(module, rows=7)
    model._transformers[torch.float64] = Transformer(module, 16, "human", torch.float64, queries=5)
    got, _ = model.run(window)
    assert error(got, naive(module, window)) < 1e-10


def test_out_of_memory_halves_the_batch_and_then_says(monkeypatch: pytest.MonkeyPatch) -> None:
    module = MODULES[torch.float64]
    window = case(1408, [300, 800, 900], 6, 13)
    want, _ = predicted(module, window)
    run, limit = Transformer.run, [2]

    def small_memory(self: Any, table: Any, index: Any, *args: Any) -> Any:
        if len(index) > limit[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(self, table, index, *args)

    monkeypatch.setattr(Transformer, "run", small_memory)
    got, work = predicted(module, window, batch_size=5)
    assert work.batch_size == 2 and error(got, want) < 1e-12
    limit[0] = 0
    with pytest.raises(ModelError, match="out of memory with one window"):
        predicted(module, window, batch_size=4)
