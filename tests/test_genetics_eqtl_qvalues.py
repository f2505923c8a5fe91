"""q-values: against R's qvalue and SciPy."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import polars as pl
import pytest
from eqtl_data import GOLDEN
from scipy import stats

from genopred.errors import GenopredError
from genopred.genetics.eqtl.qvalues import _smooth, add_qvalues, qvalues


def test_qvalues_equal_rs_qvalue():
    rng = np.random.default_rng(1)
    p = np.concatenate([rng.random(300), rng.beta(0.2, 20, 100)])
    numbers = np.array((GOLDEN / "qvalue.txt").read_text().split(), dtype=float)
    q, pi0 = qvalues(p)
    # R stops its search for the smoother's 3 degrees of freedom early.
    assert pi0 == pytest.approx(numbers[0], rel=1e-3)
    np.testing.assert_allclose(q / pi0, numbers[1:] / numbers[0], rtol=1e-5)


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_pi0_equals_rs_smooth_spline_live():
    x = np.arange(0.05, 0.951, 0.05)
    y = 0.3 + 0.2 * np.sin(5 * x)
    code = f"x <- seq(.05, .95, .05); s <- smooth.spline(x, c({','.join(map(repr, y.tolist()))}), df = 3); cat(s$y)"
    run = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=True)
    np.testing.assert_allclose(_smooth(x, y, 3.0), np.array(run.stdout.split(), float), atol=2e-4)


def test_qvalues_without_an_estimate_are_benjamini_hochberg():
    p = np.random.default_rng(3).random(15) ** 2
    np.testing.assert_allclose(qvalues(p)[0], stats.false_discovery_control(p))
    q, _ = qvalues([0.1, np.nan])
    assert np.isnan(q[1]) and q[0] == pytest.approx(0.1)
    with pytest.raises(GenopredError, match="outside 0 to 1"):
        qvalues([0.5, 1.5])


def test_nominal_threshold_reaches_the_gene_level_cut():
    table = pl.DataFrame(
        {"pval_beta": [1e-8, 1e-6, 0.4, 0.9], "beta_shape1": [1.0, 1.1, 1.0, 1.0], "beta_shape2": [50.0, 200, 90, 10]}
    )
    out, pi0 = add_qvalues(table)
    assert pi0 == 1.0 and (out["qval"] <= 0.05).to_list() == [True, True, False, False]
    cut = (1e-6 + 0.4) / 2
    for row in out.iter_rows(named=True):
        p = stats.beta.cdf(row["pval_nominal_threshold"], row["beta_shape1"], row["beta_shape2"])
        assert p == pytest.approx(cut)
