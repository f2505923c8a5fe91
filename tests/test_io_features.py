"""genopred.io.features."""

import json

import numpy as np
import pytest

from genopred.errors import FormatError, GenopredError
from genopred.io.features import (
    feature_genes,
    feature_path,
    read_features,
    read_manifest,
    read_origin,
    write_features,
    write_manifest,
)
from genopred.types import Features

VALUES = np.array([[0.1, -2.0], [np.pi, 4e-9], [5.5, 6.0]], dtype=np.float32)
NAMES = ("DNASE:cerebellum male adult (27 years)", "CAGE:a, b; c/d")


def features():
    return Features(VALUES, np.array(["A", "B", "1"]), NAMES, {"model": "toy", "reference": [0.5, 1.5]})


def folder_with(tmp_path, *genes):
    for gene in genes:
        write_features(tmp_path, gene, features(), key="abc")
    write_manifest(tmp_path, {"settings": {}, "genes": dict.fromkeys(genes, "abc")})
    return tmp_path


def test_round_trip_keeps_bits_names_and_origin(tmp_path):
    folder_with(tmp_path, "ENSG1.2", "a/b c")
    for gene in ("ENSG1.2", "ENSG1", "ENSG1.7", "a/b c"):
        found = read_features(tmp_path, gene)
        assert found.values.dtype == np.float32 and found.values.tobytes() == VALUES.tobytes()
        assert found.names == NAMES and found.samples.tolist() == ["A", "B", "1"]
        assert found.origin["model"] == "toy" and found.origin["key"] == "abc"
    assert feature_genes(tmp_path) == ["ENSG1.2", "a/b c"]
    # nothing half-written is left beside the files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ENSG1.2.parquet", "a_b_c.parquet", "manifest.json"]


def test_a_gene_that_is_not_there(tmp_path):
    with pytest.raises(FormatError, match=r"no features of ENSG9; it has 1 genes \(ENSG1.2\)"):
        read_features(folder_with(tmp_path, "ENSG1.2"), "ENSG9")


def test_no_manifest_or_a_damaged_one(tmp_path):
    with pytest.raises(FormatError, match="no manifest.json"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"settings": ')
    with pytest.raises(FormatError, match="cannot be read"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps([1]))
    with pytest.raises(FormatError, match="no manifest of features"):
        read_manifest(tmp_path)


def test_a_damaged_or_foreign_file(tmp_path):
    folder_with(tmp_path, "ENSG1.2")
    path = feature_path(tmp_path, "ENSG1.2")
    whole = path.read_bytes()
    for content in (b"", b"text", whole[:-20]):
        path.write_bytes(content)
        assert read_origin(path) is None
        with pytest.raises(FormatError, match="missing, damaged, or not written by genopred"):
            read_features(tmp_path, "ENSG1.2")
    path.unlink()
    assert read_origin(path) is None


def test_a_track_may_not_be_called_sample(tmp_path):
    odd = Features(VALUES[:, :1], np.array(["A", "B", "C"]), ("sample",))
    with pytest.raises(GenopredError, match="named `sample`"):
        write_features(tmp_path, "ENSG1", odd)
