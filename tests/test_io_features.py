"""genopred.io.features."""

import json
import os

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
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "ENSG1.2.parquet",
        "a_b_c-0af99a60.parquet",
        "manifest.json",
    ]


def test_odd_ids_never_share_a_file(tmp_path):
    """Ids with other characters, in another case, of any length, or called as another file of the folder."""
    genes = ["a/b", "a_b", "a b", "A_b", "a_B", "reference", "..", "x" * 300, "x" * 299 + "y", "ENSG1.2"]
    paths = [feature_path(tmp_path, gene) for gene in genes]
    assert len({path.name for path in paths}) == len(genes) and {path.parent for path in paths} == {tmp_path}
    assert paths[1].name == "a_b.parquet" and paths[-1].name == "ENSG1.2.parquet"
    for i, gene in enumerate(genes):
        write_features(tmp_path, gene, Features(VALUES + i, np.array(["A", "B", "1"]), NAMES, {}))
    write_manifest(tmp_path, {"settings": {}, "genes": dict.fromkeys(genes, "abc")})
    for i, gene in enumerate(genes):
        np.testing.assert_array_equal(read_features(tmp_path, gene).values, VALUES + i)


def test_damage_anywhere_is_noticed(tmp_path):
    """Each byte of the numbers has a checksum; what is left is the file's description, which cannot be read then."""
    folder_with(tmp_path, "ENSG1.2")
    path = feature_path(tmp_path, "ENSG1.2")
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    good = read_features(tmp_path, "ENSG1.2")
    noticed = 0
    for at in rng.choice(len(whole), 200, replace=False):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << rng.integers(8))]) + whole[at + 1 :])
        try:
            found = read_features(tmp_path, "ENSG1.2")
        except FormatError as said:
            assert "damaged" in str(said) and "\n" not in str(said)
            noticed += 1
        else:
            np.testing.assert_array_equal(found.values, good.values)
    assert noticed > 60
    for _ in range(50):
        path.write_bytes(whole[:4] + rng.bytes(len(whole) - 12) + whole[-8:])
        assert read_origin(path) is None
    path.write_bytes(rng.bytes(5000))
    assert read_origin(path) is None


def test_a_pipe_is_not_waited_for(tmp_path):
    folder_with(tmp_path, "ENSG1.2")
    path = feature_path(tmp_path, "ENSG1.2")
    path.unlink()
    os.mkfifo(path)
    assert read_origin(path) is None
    (tmp_path / "manifest.json").unlink()
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(FormatError, match="is a pipe"):
        read_manifest(tmp_path)


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
