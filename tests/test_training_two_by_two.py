"""The 2 x 2 table: signs, slopes, intervals over blocks, and what does not exist."""

from __future__ import annotations

import numpy as np
import pytest
from personal_data import people

from genopred.training.two_by_two import CELL_SCHEMA, by_gene, cells, pooled_slope


@pytest.fixture(scope="module")
def made():
    data, truth = people(40, 60, share=0.5)
    return data, truth


def test_scores_of_the_truth_and_of_its_opposite(made):
    data, truth = made
    predicted = {"tuned": 0.01 * truth, "untuned": -truth, "elastic net": 0.0 * truth}
    table = by_gene(data, predicted)
    assert set(table["genes"]) == set(table["people"]) == {"seen", "unseen"}
    assert table.height == 2 * int(np.isin(data.split.part, ["train", "test"]).sum())
    row = table.filter(genes="unseen", people="unseen").row(0, named=True)
    g = data.genes["gene_id"].to_list().index(row["gene_id"])
    rows = data.rows("test")
    y, x = data.of_gene[g].y[rows], truth[rows, g]
    assert row["r_tuned"] == pytest.approx(np.corrcoef(x, y)[0, 1]) == pytest.approx(-row["r_untuned"])
    slope = pooled_slope(truth, data)
    fit = slope * (x - truth[data.rows("train"), g].mean())
    assert row["r2_tuned"] == pytest.approx(1 - ((y - fit) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    assert row["r2_tuned"] == pytest.approx(row["r2_untuned"]) and row["r_elastic net"] == 0
    assert slope == pytest.approx(np.sqrt(0.5), abs=0.1)


def test_cells(made):
    data, truth = made
    table = cells(by_gene(data, {"tuned": truth, "untuned": -truth, "elastic net": 0.5 * truth}))
    assert dict(table.schema) == CELL_SCHEMA and table.height == 12
    tuned = table.filter(method="tuned", genes="seen", people="unseen").row(0, named=True)
    untuned = table.filter(method="untuned", genes="seen", people="unseen").row(0, named=True)
    assert tuned["mean_r"] == pytest.approx(-untuned["mean_r"]) and tuned["low"] < tuned["mean_r"] < tuned["high"]
    assert tuned["positive"] == 1 and tuned["p_sign"] == pytest.approx(2 * 0.5 ** tuned["n_genes"])
    assert tuned["n_blocks"] == untuned["n_blocks"]
    assert tuned["p_blocks"] == untuned["p_blocks"] <= max(1e-4, 2 * 0.5 ** tuned["n_blocks"])
    assert table.filter(method="elastic net")["p_blocks"].null_count() == 0
    assert untuned["positive"] == 0 and untuned["delta_high"] < 0
    assert (tuned["delta"], tuned["delta_low"], tuned["delta_high"]) == (0, 0, 0)
    assert table.filter(method="elastic net")["delta"].null_count() == 4


def test_a_method_that_does_not_exist_for_a_gene(made):
    data, truth = made
    holes = truth.copy()
    holes[:, data.split.rows("test")] = np.nan
    table = cells(by_gene(data, {"tuned": truth, "elastic net": holes}))
    unseen = table.filter(genes="unseen", method="elastic net")
    assert unseen["mean_r"].null_count() == unseen.height == 2
    assert table.filter(genes="unseen", method="tuned")["delta"].null_count() == 2
