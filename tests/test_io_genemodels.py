"""The folder of models: read as written, and refused with the name of the file that is missing or damaged."""

from __future__ import annotations

import json

import polars as pl
import pytest
from models_data import copy_models

from genopred.errors import FormatError
from genopred.io.genemodels import FILES, join_models, read_card, read_models
from genopred.types import MODEL_GENE_SCHEMA, MODEL_LEARNER_SCHEMA, MODEL_WEIGHT_SCHEMA


def test_models_are_read_from_the_run_or_from_its_folder(trained):
    one, other = read_models(trained.run), read_models(trained.models)
    assert one.weights.equals(other.weights) and one.genes.equals(other.genes) and one.about == other.about
    assert one.source == str(trained.run) and one.build is None
    assert sorted(path.name for path in trained.models.iterdir()) == sorted(FILES)
    assert one.methods[0] == one.about["default"] == "stack-linear"


def test_parts_are_joined_and_the_card_comes_last(tmp_path):
    parts = tmp_path / "parts"
    parts.mkdir()
    weights, learners = {}, {}
    for gene in ("a", "b"):
        weights[gene] = pl.DataFrame(
            [(gene, "1", 5, "rs", "A", "G", "ridge", 0.5, 0.2, 1.0)], schema=MODEL_WEIGHT_SCHEMA, orient="row"
        )
        learners[gene] = pl.DataFrame(
            [(gene, "x", "xgboost", 0.0, b"{}", ["1:5:A:G"], [0.4])], schema=MODEL_LEARNER_SCHEMA, orient="row"
        )
        weights[gene].write_parquet(parts / f"{gene}.weights.parquet")
        learners[gene].write_parquet(parts / f"{gene}.learners.parquet")
    genes = pl.DataFrame(
        [("a", "A", "1", 7, "+", "ridge", 1, 0.0, 9, *[0.1] * 6, None)], schema=MODEL_GENE_SCHEMA, orient="row"
    )
    about = {
        "command": "", "made_by": "me", "versions": {"genopred": "1"}, "people": 9, "build": "GRCh38", "covariates": [],
        "transform": "none", "residualize": "none", "unit": "SD", "window": 1000, "maf": 0.05, "linear": {"ridge": 1.0},
        "mean_r2": {"ridge": 0.1}, "method": None,
    }  # fmt: skip
    join_models(tmp_path, [parts / "b", parts / "a"], genes, about)
    found = read_models(tmp_path)
    assert found.weights.equals(pl.concat([weights["b"], weights["a"]]))  # in the order given
    assert found.learners.equals(pl.concat([learners["b"], learners["a"]]))
    assert found.genes.equals(genes) and found.about == about and found.build == "GRCh38"
    assert pl.read_csv(tmp_path / "genes.tsv", separator="\t")["gene_id"].to_list() == ["a"]
    assert "Made by `me` with genopred 1" in (tmp_path / "README.md").read_text()
    assert not parts.exists()


def test_a_folder_without_its_card_holds_no_models(trained, tmp_path):
    folder = copy_models(trained, tmp_path)
    (folder / "models.json").unlink()
    assert read_card(folder) is None
    with pytest.raises(FormatError, match=f"{folder} holds no models: models.json is missing"):
        read_models(folder)


@pytest.mark.parametrize("name", ["weights.parquet", "genes.parquet", "learners.parquet"])
@pytest.mark.parametrize("harm", ["missing", "empty", "cut", "column", "type"])
def test_a_damaged_file_is_named(trained, tmp_path, name, harm):
    folder = copy_models(trained, tmp_path)
    path = folder / name
    whole = path.read_bytes()
    if harm == "missing":
        path.unlink()
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif harm == "column":
        pl.read_parquet(path).drop("gene_id").write_parquet(path)
    else:
        pl.read_parquet(path).with_columns(pl.lit(1).alias("gene_id")).write_parquet(path)
    with pytest.raises(FormatError, match=str(path)) as told:
        read_models(folder)
    if harm in ("column", "type"):
        assert "column(s) gene_id missing or of another type" in str(told.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "format None, where 1 is needed"),
        (json.dumps({"format": 2}), "format 2, where 1 is needed; these models are of another version"),
    ],
)
def test_a_damaged_card_is_named(trained, tmp_path, text, message):
    folder = copy_models(trained, tmp_path)
    (folder / "models.json").write_text(text)
    with pytest.raises(FormatError, match=f"{folder / 'models.json'}.*{message}"):
        read_models(folder)
