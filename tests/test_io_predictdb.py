"""PredictDB databases and covariances: MetaXcan's own, and ours read back."""

from __future__ import annotations

import gzip
import sqlite3

import numpy as np
import polars as pl
import pytest

from genopred.errors import FormatError, GenopredError
from genopred.io.predictdb import (
    COVARIANCE_SCHEMA,
    MODEL_GENE_SCHEMA,
    WEIGHT_SCHEMA,
    ModelDatabase,
    read_covariance_table,
    read_covariances,
    read_models,
    write_covariances,
    write_models,
)


def small():
    weights = pl.DataFrame(
        [("g.1", "rs1", "chr1_5_A_G_b38", "A", "G", 0.1), ("g.1", "rs2", None, "C", "T", -1e-17)],
        schema=WEIGHT_SCHEMA,
        orient="row",
    )
    genes = pl.DataFrame([("g.1", "G", None, 2, 0.1, 0.01, None, None)], schema=MODEL_GENE_SCHEMA, orient="row")
    return ModelDatabase(weights, genes, 358)


def test_metaxcan_database(shared):
    path = shared / "data" / "formats" / "metaxcan_TW_Whole_Blood_0.5.db"
    models = read_models(path)
    with sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True) as db:
        raw = db.execute("SELECT gene, rsid, NULL, ref_allele, eff_allele, weight FROM weights").fetchall()
    assert models.weights.rows() == raw and len(raw) == 113
    assert models.genes["gene_name"].to_list() == ["GTPBP4", "PITRM1", "HLA-B"]
    assert models.genes["n_snps"].to_list() == [26, 61, 26] and models.n_samples == 338


def written_is_read(folder, models):
    write_models(folder / "x.db", models)
    back = read_models(folder / "x.db")
    assert back.weights.equals(models.weights) and back.genes.equals(models.genes)
    assert back.n_samples == models.n_samples
    assert [path.name for path in folder.iterdir()] == ["x.db"]


def test_database_written_is_read(tmp_path):
    written_is_read(tmp_path, small())
    written_is_read(tmp_path, ModelDatabase(small().weights, small().genes))


def test_metaxcan_database_written_is_read(tmp_path, shared):
    written_is_read(tmp_path, read_models(shared / "data" / "formats" / "metaxcan_TW_Whole_Blood_0.5.db"))


def test_columns_that_metaxcan_asks_for(tmp_path):
    """The queries of MetaXcan's WeightDB and PredictionModel."""
    write_models(tmp_path / "x.db", small())
    with sqlite3.connect(tmp_path / "x.db") as db:
        weights = db.execute("SELECT rsid, gene, weight, ref_allele, eff_allele FROM weights ORDER BY rsid").fetchall()
        extra = db.execute(
            'SELECT gene, genename, "n.snps.in.model", "pred.perf.R2", "pred.perf.pval", "pred.perf.qval" FROM extra'
        ).fetchall()
    assert weights[0] == ("rs1", "g.1", 0.1, "A", "G")
    assert extra == [("g.1", "G", 2, 0.1, 0.01, None)]


def test_gene_without_row():
    with pytest.raises(GenopredError, match=r"1 genes have weights but no row in genes \(g\.1\)"):
        write_models("unused.db", ModelDatabase(small().weights, small().genes.clear()))


def test_other_database(tmp_path):
    with sqlite3.connect(tmp_path / "x.db") as db:
        db.execute("CREATE TABLE extra (gene TEXT)")
    with pytest.raises(FormatError, match=r"no table weights \(found extra\)"):
        read_models(tmp_path / "x.db")
    with sqlite3.connect(tmp_path / "x.db") as db:
        db.execute("CREATE TABLE weights (gene TEXT, rsid TEXT)")
    with pytest.raises(FormatError, match="weights .*ref_allele, eff_allele, weight"):
        read_models(tmp_path / "x.db")


def test_covariances(tmp_path, shared):
    path = shared / "data" / "formats" / "metaxcan_TW_Whole_Blood.txt.gz"
    table = read_covariance_table(path)
    with gzip.open(path, "rt") as handle:
        rows = [line.split() for line in handle][1:]
    assert table.rows() == [(*row[:3], float(row[3])) for row in rows]
    assert table.schema == COVARIANCE_SCHEMA
    held = read_covariances(path)
    assert sum(len(names) * (len(names) + 1) // 2 for names, _ in held.values()) == table.height
    write_covariances(tmp_path / "x.txt.gz", [(gene, *one) for gene, one in held.items()])
    back = read_covariances(tmp_path / "x.txt.gz")
    for gene, (names, matrix) in held.items():
        assert back[gene][0] == names
        np.testing.assert_allclose(back[gene][1], matrix, rtol=1e-8)
        assert (matrix == matrix.T).all() and (np.diag(matrix) > 0).all()
