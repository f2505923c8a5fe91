"""The way in of models: which reader, which genes and methods, and where their variants are."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from models_data import in_memory

from genopred import align
from genopred.errors import AlignmentError, FormatError, ModelError
from genopred.io.chain import read_chain
from genopred.pipelines.model_inputs import (
    chosen_models,
    lifted,
    linear_method,
    match_models,
    method_of,
    models_files,
    open_models,
    tree_variants,
)
from genopred.types import (
    MODEL_GENE_SCHEMA,
    MODEL_LEARNER_SCHEMA,
    MODEL_WEIGHT_SCHEMA,
    VARIANT_SCHEMA,
    GeneModels,
)


def models(**about):
    weights = [
        ("ENSG00000000001.2", "22", 100, "rs1", "A", "G", "stack-linear", 0.5, 0.2, 1.0),
        ("ENSG00000000001.2", "22", 200, ".", "AC", "A", "stack-linear", -0.5, 0.4, 1.0),
        ("ENSG00000000002.1", "22", 100, "rs1", "A", "G", "stack-linear", 0.1, 0.2, 1.0),
    ]
    genes = [
        (gene, name, "22", 150, "+", method, 2, 0.0, 50, *[0.1] * 6, None)
        for method in ("stack-linear", "stack-xgboost")
        for gene, name in (("ENSG00000000001.2", "ONE"), ("ENSG00000000002.1", None))
    ]
    learners = [
        (
            "ENSG00000000001.2",
            "xgboost",
            "xgboost",
            0.0,
            b"{}",
            ["22:100:A:G", "22:900:C:T", "22:950:C:T"],
            [0.4, 0.6, 1.8],
        ),
        ("ENSG00000000002.1", "xgboost", "xgboost", 0.0, b"{}", [], []),
    ]
    return GeneModels(
        pl.DataFrame(weights, schema=MODEL_WEIGHT_SCHEMA, orient="row"),
        pl.DataFrame(genes, schema=MODEL_GENE_SCHEMA, orient="row"),
        {"default": "stack-linear", "build": "GRCh37", "method": "stack-xgboost"} | about,
        pl.DataFrame(learners, schema=MODEL_LEARNER_SCHEMA, orient="row"),
    )


def test_the_ending_says_what_models_are(tmp_path):
    (tmp_path / "a.DB").write_text("no database\n" * 50)
    (tmp_path / "a.pos").write_text("no list\n")
    for name, message in (
        ("a.DB", "no readable SQLite database"),
        ("a.pos", "has no column"),
        ("b", "holds no models"),
    ):
        with pytest.raises(FormatError, match=message):
            open_models(tmp_path / name)


def test_files_that_a_run_depends_on(trained, tmp_path):
    names = {"models.json", "weights.parquet", "learners.parquet", "genes.parquet"}
    for place in (trained.run, trained.models):
        found = models_files(place)
        assert {path.name for path in found} == names and all(path.is_file() for path in found)
    assert models_files(tmp_path / "x.db") == tmp_path / "x.db"


@pytest.mark.parametrize("wanted", ["ENSG00000000001.2", "ENSG00000000001", "ENSG00000000001.9", "ONE"])
def test_genes_by_id_version_or_name(wanted):
    tally = align.Tally()
    found = chosen_models(models(), "stack-linear", [wanted, wanted], tally)
    assert found["gene_id"].to_list() == ["ENSG00000000001.2"]
    report = tally.report()
    assert (report.count("genes", "in"), report.count("genes", "dropped")) == (2, 1)
    with pytest.raises(AlignmentError, match=r"1 of 2 genes have no model in models \(TWO\); its genes look like ENSG"):
        chosen_models(models(), "stack-linear", ["ONE", "TWO"], align.Tally())


def test_methods():
    assert method_of(models(), None) == "stack-linear" and method_of(models(default=None), None) == "stack-linear"
    assert linear_method(models(), None) == "stack-linear"
    with pytest.raises(
        ModelError, match="--method stack-xgboost: models holds it as more than one weight per variant;"
    ):
        linear_method(models(), "stack-xgboost")
    with pytest.raises(ModelError, match="--method ridge: models has stack-linear, stack-xgboost"):
        method_of(models(), "ridge")


def test_variants_of_trees_are_those_of_the_weights():
    """Of one id where a linear learner has them too: a variant is matched once, and seen by both."""
    about = models().genes.filter(method="stack-xgboost")
    found = tree_variants(models(), about)
    assert dict(found.schema) == MODEL_WEIGHT_SCHEMA
    assert found.select("pos", "id", "weight", "freq").rows() == [
        (100, "rs1", 0.0, 0.2), (900, None, 0.0, 0.3), (950, None, 0.0, 0.9),
    ]  # fmt: skip
    both = pl.concat([models().weights, found])
    people = in_memory(
        np.ones((3, 2)), pl.DataFrame([("22", 100, "x", "G", "A"), ("22", 900, "y", "C", "T")], VARIANT_SCHEMA,
                                      orient="row"),
    )  # fmt: skip
    tally = align.Tally()
    matched = match_models(models(), people, both, 0.0, "keep", tally)
    where = {(row["learner"], row["pos"]): (row["column"], row["flipped"]) for row in matched.iter_rows(named=True)}
    assert where == {
        ("stack-linear", 100): (0, True), ("stack-linear", 200): (None, False), ("xgboost", 100): (0, True),
        ("xgboost", 900): (1, False), ("xgboost", 950): (None, False),
    }  # fmt: skip
    assert matched.height == both.height and matched["variance"][0] == pytest.approx(2 * 0.2 * 0.8 * 0.25)


def test_lifted_models(tmp_path):
    path = tmp_path / "a.chain"
    path.write_text("chain 9 chr22 5000 + 50 500 chr22 5000 + 1050 1500 1\n450\n")
    tally = align.Tally()
    moved = lifted(models(), read_chain(path), tally)
    assert moved.weights["pos"].to_list() == [1100, 1200, 1100] and moved.build == "GRCh38"
    keys = moved.learners["variants"].to_list()
    assert keys[0][0] == "22:1100:A:G" and len(set(keys[0])) == 3 and keys[1] == []
    assert tree_variants(moved, moved.genes.filter(method="stack-xgboost"))["id"][0] == "rs1"
    assert tally.report().count("weights lifted over", "dropped") == 0
    path.write_text("chain 9 chr22 5000 + 50 150 chr22 5000 + 1050 1150 1\n100\n")
    tally = align.Tally()
    half = lifted(models(), read_chain(path), tally)
    assert (
        half.weights["pos"].to_list() == [1100, None, 1100]
        and tally.report().count("weights lifted over", "dropped") == 1
    )
    path.write_text("chain 9 chr21 5000 + 50 150 chr21 5000 + 1050 1150 1\n100\n")
    with pytest.raises(AlignmentError, match="--chain: none of 3 variants .* is it a chain from the models' build"):
        lifted(models(), read_chain(path), align.Tally())
