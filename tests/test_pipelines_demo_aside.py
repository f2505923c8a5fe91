"""Models trained without some people, applied to these: nobody is in both, and the numbers are those of the files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from models_data import stack_settings, write_inputs

from genopred.learning.evaluate import Outcome
from genopred.pipelines import demo_aside
from genopred.pipelines.inputs import open_cohort

pytest.importorskip("msprime", reason="no msprime: no cohort can be simulated")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("aside")
    inputs = write_inputs(folder) | {"keep": None}
    settings = stack_settings(inputs, folder / "out", learners=("ridge", "susie-tss", "xgboost"))
    settings.out.mkdir()
    return settings, demo_aside.kept_aside(settings)


def test_nobody_who_is_predicted_had_a_part_in_the_models(ran):
    settings, aside = ran
    listed = (settings.out / "kept-aside.txt").read_text().split()
    everybody = open_cohort(settings).samples.tolist()
    assert listed == everybody[:: demo_aside.EVERY] and aside.people == len(listed)
    trained = pl.read_parquet(settings.out / "kept-aside" / "predictions.parquet")["sample"].unique().to_list()
    assert set(trained) == set(everybody) - set(listed)
    assert set(aside.predictions["sample"]) == set(listed)


def test_what_was_reached_is_of_the_predictions_in_the_file(ran):
    settings, aside = ran
    written = pl.read_parquet(settings.out / "kept-aside" / "predicted" / "expression.parquet")
    cohort = open_cohort(settings)
    held = np.isin(cohort.samples, written["sample"].to_numpy())
    genes = cohort.expression.genes["gene_id"].to_list()
    for gene, reached in aside.genes.select("gene_id", "reached").iter_rows():
        _, y = Outcome().split(cohort.expression.values[:, genes.index(gene)], cohort.covariates.values, ~held)
        p = written[gene].to_numpy()
        assert reached == pytest.approx(1 - np.sum((y - p) ** 2) / np.sum((y - y.mean()) ** 2))
    assert aside.genes["reached"].mean() > 0  # half of expression is heritable
    assert aside.folder == settings.out / "kept-aside" / "models"


def test_without_a_linear_learner_there_are_no_models(ran):
    assert demo_aside.kept_aside(replace(ran[0], learners=("xgboost",))) is None
