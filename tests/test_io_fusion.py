"""FUSION's weights through rdata: written and read back, read by R itself, and what is wrong named."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import polars as pl
import pytest

from genopred.errors import FormatError, GenopredError
from genopred.io.fusion import METHOD, read_fusion, write_weights
from genopred.types import MODEL_GENE_SCHEMA, MODEL_WEIGHT_SCHEMA

rdata = pytest.importorskip("rdata", reason="no rdata: FUSION's files are neither read nor written")

VARIANTS = pl.DataFrame(
    [("22", 100, "rs1", "A", "G"), ("22", 200, "22_200_AT_A", "AT", "A"), ("22", 3_000_000, "rs3", "C", "T")],
    schema=["chrom", "pos", "id", "ref", "alt"],
    orient="row",
)
WEIGHTS = {"blup": np.array([0.25, -1 / 3, 1e-9]), "top1": np.array([1.0, -4.0, 2.0])}
PERFORMANCE = {"blup": (0.2, 1e-8), "top1": (0.1, 1e-4)}


def panel(tmp_path, rows, extra=""):
    path = tmp_path / "models.pos"
    path.write_text("\n".join([f"WGT\tID\tCHR\tP0\tP1{extra}", *("\t".join(map(str, row)) for row in rows)]) + "\n")
    return path


def test_what_is_written_is_read_again(tmp_path):
    write_weights(tmp_path / "g.wgt.RDat", VARIANTS, WEIGHTS, PERFORMANCE, 120, (0.3, 0.1, 1e-4))
    read = read_fusion(panel(tmp_path, [("g.wgt.RDat", "ENSG1", "22", 1, 5)]))
    assert dict(read.weights.schema) == MODEL_WEIGHT_SCHEMA and dict(read.genes.schema) == MODEL_GENE_SCHEMA
    assert read.weights.select(VARIANTS.columns).equals(VARIANTS)
    assert read.weights["weight"].to_list() == WEIGHTS["blup"].tolist()  # of the smallest p
    assert read.weights["learner"].unique().to_list() == [METHOD] and read.about["per_sd"] is True
    row = read.genes.row(0, named=True)
    assert [row[key] for key in ("gene_id", "chrom", "method", "variants", "r2", "pval", "n", "intercept")] == [
        "ENSG1", "22", METHOD, 3, 0.2, 1e-8, 120, 0.0,
    ]  # fmt: skip


def test_of_top1_the_strongest_variant_alone_counts(tmp_path):
    write_weights(tmp_path / "g.RDat", VARIANTS, WEIGHTS, {"blup": (0.1, 0.5), "top1": (0.1, 0.01)}, 120)
    read = read_fusion(panel(tmp_path, [("g.RDat", "g", "22", 1, 5)]))
    assert read.weights.select("id", "weight").rows() == [("22_200_AT_A", -4.0)]


def test_genes_without_a_model_are_counted(tmp_path):
    write_weights(tmp_path / "a.RDat", VARIANTS, WEIGHTS, PERFORMANCE, 120)
    write_weights(tmp_path / "b.RDat", VARIANTS, WEIGHTS, dict.fromkeys(WEIGHTS, (np.nan, np.nan)), 120)
    write_weights(tmp_path / "c.RDat", VARIANTS, {"blup": np.zeros(3)}, {"blup": (0.0, 0.5)}, 120)
    rows = [(f"{name}.RDat", name, "22", 1, 5) for name in "abc"]
    read = read_fusion(panel(tmp_path, rows))
    assert read.genes["gene_id"].to_list() == ["a"] and read.notes == (("note", "genes without a model", 2, "b, c"),)
    with pytest.raises(FormatError, match="none of its 2 genes has a model"):
        read_fusion(panel(tmp_path, rows[1:]))


def test_two_variants_of_one_id_are_refused(tmp_path):
    twice = VARIANTS.with_columns(id=pl.lit("rs1"))
    with pytest.raises(GenopredError, match=r"g.RDat: two variants have one id; FUSION tells them by it"):
        write_weights(tmp_path / "g.RDat", twice, WEIGHTS, PERFORMANCE, 120)


def test_what_is_wrong_is_named(tmp_path):
    write_weights(tmp_path / "good.RDat", VARIANTS, WEIGHTS, PERFORMANCE, 120)
    whole = (tmp_path / "good.RDat").read_bytes()
    (tmp_path / "text.RDat").write_text("no R at all\n" * 9)
    (tmp_path / "cut.RDat").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.RDat").write_bytes(b"")
    rdata.write_rda(tmp_path / "other.RDat", {"x": np.arange(3.0)})
    for name in ("text", "cut", "empty", "other"):
        path = tmp_path / f"{name}.RDat"
        with pytest.raises(FormatError, match=f"{path} is no weights file of FUSION"):
            read_fusion(panel(tmp_path, [(path.name, "g", "22", 1, 5)]))
    with pytest.raises(FormatError, match="none.RDat does not exist or cannot be read; the list names it for g"):
        read_fusion(panel(tmp_path, [("none.RDat", "g", "22", 1, 5)]))
    (tmp_path / "models.pos").write_text("WGT CHR\na 1\n")
    with pytest.raises(FormatError, match="has no column ID; needed are WGT, ID, CHR, P0 and P1"):
        read_fusion(tmp_path / "models.pos")
    with pytest.raises(FormatError, match=r"none\.pos"):
        read_fusion(tmp_path / "none.pos")


def in_r(*words):
    program = shutil.which("Rscript")
    if program is None:
        pytest.skip("no Rscript: R cannot read what was written")
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_r_loads_it(tmp_path):
    path = tmp_path / "g.wgt.RDat"
    write_weights(path, VARIANTS, WEIGHTS, PERFORMANCE, 120, (0.3, 0.1, 1e-4))
    code = (
        "load(commandArgs(TRUE)[1]); cat(class(wgt.matrix)[1], dim(wgt.matrix), rownames(wgt.matrix), "
        "colnames(wgt.matrix), '\\n'); cat(format(wgt.matrix['rs1', 'blup'], digits=17), "
        "format(wgt.matrix['22_200_AT_A', 'top1']), '\\n'); cat(class(snps), names(snps), nrow(snps), '\\n'); "
        "for (i in 1:3) cat(as.character(unlist(snps[i, ])), '\\n'); cat(rownames(cv.performance), "
        "colnames(cv.performance), cv.performance['pval', 'top1'], '\\n'); cat(hsq, hsq.pv, N.tot, '\\n'); "
        "cat(names(which.min(cv.performance[2, ])), '\\n')"
    )
    lines = [line.strip() for line in in_r("-e", code, path).splitlines()]
    assert lines == [
        "matrix 3 2 rs1 22_200_AT_A rs3 blup top1",
        "0.25 -4",
        "data.frame V1 V2 V3 V4 V5 V6 3",
        "22 rs1 0 100 G A",
        "22 22_200_AT_A 0 200 A AT",
        "22 rs3 0 3000000 T C" if "22 rs3 0 3000000 T C" in lines else "22 rs3 0 3e+06 T C",
        "rsq pval blup top1 1e-04",
        "0.3 0.1 1e-04 120",
        "blup",
    ]


def test_what_r_saves_is_read(tmp_path):
    code = (
        "wgt.matrix <- matrix(c(.5, 0, -1, 2), 2, dimnames=list(c('rs1', 'rs2'), c('lasso', 'enet'))); "
        "snps <- data.frame(V1=c(22L, 22L), V2=c('rs1', 'rs2'), V3=0, V4=c(100L, 200L), V5=c('g', 'T'), "
        "V6=c('A', 'C'), stringsAsFactors=FALSE); cv.performance <- matrix(c(.1, .01, .2, .001), 2, "
        "dimnames=list(c('rsq', 'pval'), c('lasso', 'enet'))); N.tot <- 99; "
        "save(wgt.matrix, snps, cv.performance, N.tot, file=commandArgs(TRUE)[1])"
    )
    in_r("-e", code, tmp_path / "g.RDat")
    read = read_fusion(panel(tmp_path, [("g.RDat", "g", "22", 1, 5)]))
    assert read.weights.select("chrom", "pos", "id", "ref", "alt", "weight").rows() == [
        ("22", 100, "rs1", "A", "G", -1.0), ("22", 200, "rs2", "C", "T", 2.0),
    ]  # fmt: skip
    assert read.genes["n"].to_list() == [99]


def test_fusions_own_script_gives_the_weights(tmp_path, shared):
    script = shared / "programs" / "fusion" / "utils" / "make_score.R"
    if not script.is_file():
        pytest.skip(f"no {script}")
    write_weights(tmp_path / "g.RDat", VARIANTS, WEIGHTS, PERFORMANCE, 120)
    rows = [line.split("\t") for line in in_r(script, tmp_path / "g.RDat").splitlines()]
    assert [[cell.strip() for cell in row[:3]] for row in rows] == VARIANTS.select("id", "alt", "ref").rows() or [
        tuple(cell.strip() for cell in row[:3]) for row in rows
    ] == VARIANTS.select("id", "alt", "ref").rows()
    np.testing.assert_allclose([float(row[3]) for row in rows], WEIGHTS["blup"], rtol=5e-3)
