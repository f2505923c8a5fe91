"""PredictDB databases and covariances: MetaXcan's own, and ours read back."""

from __future__ import annotations

import gzip
import sqlite3

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genopred import types
from genopred.errors import FormatError, GenopredError
from genopred.io.predictdb import (
    COVARIANCE_SCHEMA,
    METHOD,
    MODEL_GENE_SCHEMA,
    WEIGHT_SCHEMA,
    ModelDatabase,
    read_covariance_table,
    read_covariances,
    read_models,
    read_predictdb,
    var_ids,
    write_covariances,
    write_models,
    write_predictdb,
)
from genopred.types import GeneModels


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


# --- as models of genopred ---


def models(build="GRCh38", people=100):
    weights = pl.DataFrame(
        [
            ("ENSG1.2", "chr22", 100, "rs1", "A", "G", "m", 0.25, 0.3, 1.5),
            ("ENSG1.2", "chr22", 200, "rs2", "AT", "A", "m", -1 / 3, 0.3, 1.5),
            ("ENSG2.1", "22", 100, "rs1", "A", "G", "m", 1e-17, 0.3, 1.5),
        ],
        schema=types.MODEL_WEIGHT_SCHEMA,
        orient="row",
    )
    genes = pl.DataFrame(
        [
            ("ENSG1.2", "ONE", "chr22", 150, "+", "m", 2, 0.7, people, 0.2, 0.1, 0.3, 0.45, 1e-8, 1e-7, None),
            ("ENSG2.1", None, "22", 160, "-", "m", 1, -0.1, people, 0.01, 0.0, 0.1, 0.1, 0.2, 0.3, None),
        ],
        schema=types.MODEL_GENE_SCHEMA,
        orient="row",
    )
    about = {"build": build, "people": people, "seed": 1, "expression": "e.bed"}
    return GeneModels(weights, genes, about)


@pytest.mark.parametrize("build", ["GRCh37", "GRCh38", None])
def test_what_is_written_is_read_again(tmp_path, build):
    one = models(build)
    write_predictdb(tmp_path / "m.db", one, one.genes, one.weights)
    read = read_predictdb(tmp_path / "m.db")
    kept = ["gene_id", "pos", "id", "ref", "alt", "weight"]
    assert read.weights.select(kept).equals(one.weights.select(kept))
    assert read.weights["chrom"].to_list() == ["22"] * 3 and read.weights["learner"].unique().to_list() == [METHOD]
    assert read.build == build
    assert read.genes["gene_id"].to_list() == ["ENSG1.2", "ENSG2.1"]
    assert read.genes["gene_name"].to_list() == ["ONE", "ENSG2.1"] and read.genes["variants"].to_list() == [2, 1]
    for name in ("r2", "pval", "qval"):
        assert read.genes[name].to_list() == one.genes[name].to_list()
    assert read.genes["intercept"].to_list() == [0.0, 0.0]  # which the format does not hold
    write_predictdb(tmp_path / "again.db", read, read.genes, read.weights)
    assert read_predictdb(tmp_path / "again.db").weights.equals(read.weights)


def test_tables_are_as_predixcan_reads_them(tmp_path):
    one = models()
    write_predictdb(tmp_path / "m.db", one, one.genes, one.weights)
    with sqlite3.connect(tmp_path / "m.db") as base:
        rows = base.execute("SELECT gene, rsid, varID, ref_allele, eff_allele, weight FROM weights").fetchall()
        assert rows[1] == ("ENSG1.2", "rs2", "chr22_200_AT_A_b38", "AT", "A", -1 / 3)
        columns = [row[1] for row in base.execute("PRAGMA table_info(extra)")]
        assert columns == [
            "gene",
            "genename",
            "gene_type",
            "n.snps.in.model",
            "pred.perf.R2",
            "pred.perf.pval",
            "pred.perf.qval",
        ]
        assert base.execute("SELECT * FROM construction").fetchall() == [("22", 1)]
        assert base.execute("SELECT * FROM sample_info").fetchall() == [(100, "e.bed")]
        indices = {tuple(row[2] for row in base.execute(f"PRAGMA index_info({name})"))
                   for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}  # fmt: skip
        assert indices == {("rsid",), ("gene",), ("rsid", "gene")}
    base.close()


def made(path, *statements):
    base = sqlite3.connect(path)
    with base:
        for statement in statements:
            base.execute(statement)
    base.close()
    return path


WEIGHTS = "CREATE TABLE weights (rsid TEXT, gene TEXT, weight DOUBLE, ref_allele CHARACTER, eff_allele CHARACTER)"
EXTRA = "CREATE TABLE extra (gene TEXT, genename TEXT)"


def test_an_old_database_names_variants_by_rsid_alone(tmp_path):
    path = made(
        tmp_path / "old.db", WEIGHTS, EXTRA, "INSERT INTO extra VALUES ('g', 'G')",
        "INSERT INTO weights VALUES ('rs1', 'g', 0.5, 'a', 't'), ('rs2', 'g', 'nan', 'A', 'T'), "
        "('rs3', 'g', NULL, 'A', 'T')",
    )  # fmt: skip
    read = read_predictdb(path)
    assert read.weights["chrom"].is_null().all() and read.weights["pos"].is_null().all() and read.build is None
    assert read.weights.select("id", "ref", "alt", "weight").rows() == [("rs1", "A", "T", 0.5)]
    assert read.notes == (("dropped", "weight is no finite number", 2, "rs2, rs3"),)
    assert read.genes.select("gene_name", "r2", "variants").rows() == [("G", None, 1)]


def test_phi_is_read(tmp_path):
    path = made(
        tmp_path / "phi.db", WEIGHTS, "CREATE TABLE extra (gene TEXT, phi REAL)",
        "INSERT INTO extra VALUES ('g', 0.0001)", "INSERT INTO weights VALUES ('rs1', 'g', 0.5, 'A', 'T')",
    )  # fmt: skip
    assert read_predictdb(path).genes["phi"].to_list() == [0.0001]


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        ((EXTRA,), "has no table weights"),
        ((WEIGHTS,), "has no table extra"),
        ((WEIGHTS, EXTRA), "its table weights holds none that can be used"),
        (("CREATE TABLE weights (gene TEXT, weight REAL)", EXTRA),
         "table weights has no column rsid, ref_allele, eff_allele"),
        ((WEIGHTS, "CREATE TABLE extra (name TEXT)"), "table extra has no column gene"),
    ],
)  # fmt: skip
def test_what_a_database_lacks_is_named(tmp_path, statements, message):
    path = made(tmp_path / "bad.db", *statements)
    with pytest.raises(FormatError, match=f"{path}:? {message}"):
        read_predictdb(path)


def test_what_is_no_database_is_named(tmp_path):
    (tmp_path / "text.db").write_text("gene rsid weight\n" * 100)
    for name, message in (("text.db", "text.db is no readable SQLite database"), ("none.db", "none.db")):
        with pytest.raises(FormatError, match=message):
            read_predictdb(tmp_path / name)
    assert not (tmp_path / "none.db").exists()
    one = models()
    write_predictdb(tmp_path / "m.db", one, one.genes, one.weights)
    whole = (tmp_path / "m.db").read_bytes()
    (tmp_path / "cut.db").write_bytes(whole[:4096])
    with pytest.raises(FormatError, match=r"cut\.db"):
        read_predictdb(tmp_path / "cut.db")


def test_names_of_variants():
    assert var_ids(models().weights, None).to_list()[0] == "chr22_100_A_G"
    assert var_ids(models().weights, "GRCh37").to_list()[:2] == ["chr22_100_A_G_b37", "chr22_200_AT_A_b37"]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 2**31))
def test_covariances_are_read_as_written(tmp_path_factory, sizes, seed):
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("cov") / "c.txt.gz"
    genes = []
    for g, m in enumerate(sizes):
        x = rng.standard_normal((m + 3, m))
        genes.append((f"g{g}.1", [f"rs{g}_{i}" for i in range(m)], np.atleast_2d(np.cov(x, rowvar=False))))
    write_covariances(path, iter(genes))
    read = read_covariances(path)
    assert list(read) == [name for name, _, _ in genes]
    for name, ids, matrix in genes:
        assert read[name][0] == ids
        np.testing.assert_allclose(read[name][1], matrix, rtol=1e-8)
    write_covariances(path.with_name("other"), iter(genes))
    assert path.with_name("other").read_bytes() == path.read_bytes()  # whatever the name, as a run writes it elsewhere
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    assert lines[0] == "GENE RSID1 RSID2 VALUE" and len(lines) == 1 + sum(m * (m + 1) // 2 for m in sizes)


def test_pairs_that_a_file_lacks_are_not_known(tmp_path):
    path = tmp_path / "c.txt"
    path.write_text("GENE RSID1 RSID2 VALUE\ng a a 1.5\ng b b 2\ng a c NA\n")
    names, matrix = read_covariances(path)["g"]
    assert names == ["a", "b", "c"] and np.isnan([matrix[0, 1], matrix[0, 2], matrix[2, 2]]).all()
    assert np.diag(matrix)[:2].tolist() == [1.5, 2.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("GENE RSID1 VALUE\ng a 1\n", "found GENE, RSID1, VALUE; needed GENE RSID1 RSID2 VALUE"),
        ("GENE RSID1 RSID2 VALUE\ng a a much\n", "line 2"),
        ("", "c.txt"),
    ],
)
def test_bad_covariances_are_named(tmp_path, text, message):
    path = tmp_path / "c.txt"
    path.write_text(text)
    with pytest.raises(FormatError, match=message):
        read_covariances(path)


def test_a_published_database(shared):
    path = shared / "data" / "formats" / "metaxcan_TW_Whole_Blood_0.5.db"
    if not path.is_file():
        pytest.skip(f"no {path}")
    read = read_predictdb(path)
    assert dict(read.weights.schema) == types.MODEL_WEIGHT_SCHEMA and dict(read.genes.schema) == types.MODEL_GENE_SCHEMA
    with sqlite3.connect(path) as base:
        (rows,) = base.execute("SELECT COUNT(*) FROM weights").fetchone()
        (genes,) = base.execute("SELECT COUNT(DISTINCT gene) FROM weights").fetchone()
    base.close()
    assert (read.weights.height, read.genes.height) == (rows, genes)
    covariances = path.with_name("metaxcan_TW_Whole_Blood.txt.gz")
    if covariances.is_file():
        held = read_covariances(covariances)
        gene, (names, matrix) = next(iter(held.items()))
        assert gene and matrix.shape == (len(names),) * 2 and (np.diag(matrix) > 0).all()
