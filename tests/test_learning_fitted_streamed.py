"""Models of everybody, people read in blocks: those that all people at once give."""

from __future__ import annotations

import numpy as np
import pytest
from test_learning_streamed import in_blocks, people

from genopred.errors import ModelError
from genopred.learning import learners as registry
from genopred.learning.evaluate import Outcome
from genopred.learning.fitted import fit_everybody
from genopred.learning.fitted_streamed import fit_everybody_streamed


@pytest.mark.parametrize("missing", [0.0, 0.01])
def test_the_same_models(missing):
    x, raw, covariates, gene = people(missing=missing)
    learners = [registry.find(name) for name in registry.names()]
    how = (raw, covariates, gene, learners, Outcome())
    whole, blocks = fit_everybody(x, *how), fit_everybody_streamed(in_blocks(x), *how)
    assert [one.name for one in blocks.fitted] == [one.name for one in whole.fitted]
    np.testing.assert_allclose(blocks.freq, whole.freq, rtol=1e-6)
    np.testing.assert_allclose(blocks.z, whole.z, rtol=1e-4, atol=1e-5)
    filled = np.where(np.isnan(x), 2 * whole.freq, x).astype(np.float32)
    for a, b in zip(whole.fitted, blocks.fitted):
        assert (a.kind, a.columns is None) == (b.kind, b.columns is None)
        one, other = (each.predict(filled if each.columns is None else filled[:, each.columns]) for each in (a, b))
        np.testing.assert_allclose(other, one, atol=2e-5 * one.std() + 1e-12, err_msg=a.name)
    coef = np.random.default_rng(0).standard_normal(x.shape[1])
    assert blocks.spread(coef) == pytest.approx((filled.astype(float) @ coef).std(), rel=1e-6)
    assert blocks.spread(np.zeros(x.shape[1])) == 0


def test_expression_that_does_not_vary_is_refused():
    x, raw, covariates, gene = people()
    with pytest.raises(ModelError, match="does not vary"):
        fit_everybody_streamed(in_blocks(x), 0 * raw, None, gene, [registry.find("ridge")], Outcome("none", "none"))
