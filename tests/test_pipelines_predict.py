"""`genopred predict`: formats of genotypes and of the output, chains, and refusals that say why."""

from __future__ import annotations

import gzip
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from models_data import TRAIN, cohort, copy_models, dosage, in_memory, new_people, predict_settings
from plink_data import write_pgen, write_plink, write_vcf

from genopred.builds import lift, side_by_side
from genopred.cli import main
from genopred.errors import AlignmentError, GenopredError
from genopred.io.expression import read_expression
from genopred.pipelines import predict
from genopred.pipelines.apply_models import load_models
from genopred.types import MatchReport

CLOSE = {"rtol": 0, "atol": 1e-6}
NAMES = cohort().samples[TRAIN:].tolist() if pytest.importorskip("msprime") else []


def build_to_38(variants):
    """Where these variants are in GRCh38, by the table in the package, which holds no gaps on this stretch."""
    moved = lift(variants, side_by_side())
    assert moved["pos"].is_not_null().all()
    return moved


@pytest.fixture(scope="module")
def expected(trained):
    models = load_models(trained.run)
    return {method: models.predict(new_people(), method=method).values for method in models.methods}


def table(out, expected, method="stack-linear"):
    """What was written equals what memory gives."""
    found = pl.read_parquet(out / "expression.parquet")
    assert found.columns == ["sample", *cohort().genes["gene_id"].to_list()]
    np.testing.assert_allclose(found.drop("sample").to_numpy().T, expected[method], **CLOSE)
    return found


def adds_up(report: MatchReport):
    for item in report.table["item"].unique():
        n = {status: report.count(item, status) for status in ("in", "used", "dropped")}
        assert n["in"] == n["used"] + n["dropped"], (item, n)


@pytest.mark.parametrize("kind", ["bfile", "pfile", "vcf", "vcf.gz"])
@pytest.mark.parametrize("method", ["stack-linear", "stack-xgboost"])
def test_any_format_of_the_genotypes(trained, tmp_path, expected, kind, method):
    chroms = cohort().variants.with_columns(chrom=pl.lit("chr22"), id=pl.format("x{}", "pos"))
    place = tmp_path / (kind if kind != "vcf" else "new.vcf") if kind != "vcf.gz" else tmp_path / "new.vcf.gz"
    write = {"bfile": write_plink, "pfile": write_pgen}.get(kind, write_vcf)
    write(place, dosage()[TRAIN:], NAMES, chroms)
    option = {kind.split(".")[0]: place}
    result = predict.run(predict_settings(trained.run, tmp_path / "out", method=method, **option))
    found = table(tmp_path / "out", expected, method)
    assert found["sample"].to_list() == NAMES
    adds_up(result.report)
    genes = pl.read_parquet(tmp_path / "out" / "genes.parquet")
    assert (genes["variance_found"] == 1).all() and (genes["matched"] == genes["variants"]).all()
    assert (genes["r2_left"] == genes["r2"]).all()
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_file() and path.name[0] != "."} >= {
        "expression.parquet", "genes.parquet", "genes.tsv", "matched.tsv", "run.json",
    }  # fmt: skip


def test_the_other_allele_may_be_the_counted_one(trained, tmp_path, expected):
    """plink1.9 makes the rarer allele the first: REF and ALT of some are swapped in the file."""
    swap = np.random.default_rng(0).random(cohort().variants.height) < 0.5
    rows = [(c, p, i, *((b, a) if s else (a, b))) for (c, p, i, a, b), s in zip(cohort().variants.rows(), swap)]
    variants = pl.DataFrame(rows, schema=cohort().variants.schema, orient="row")
    write_plink(tmp_path / "new", np.where(swap, 2 - dosage()[TRAIN:], dosage()[TRAIN:]), NAMES, variants)
    for method in ("stack-linear", "stack-xgboost"):
        out = tmp_path / method
        result = predict.run(predict_settings(trained.run, out, bfile=tmp_path / "new", method=method))
        table(out, expected, method)
        assert result.genes["swapped"].sum() > 0
        adds_up(result.report)


def test_formats_of_the_output(trained, tmp_path, expected):
    for kind in ("parquet", "tsv", "bed"):
        config = predict_settings(trained.run, tmp_path / kind, bfile=trained.folder / "new", format=kind)
        predict.run(config)
    table(tmp_path / "parquet", expected)
    flat = pl.read_csv(tmp_path / "tsv" / "expression.tsv", separator="\t")
    assert flat.columns == ["FID", "IID", *cohort().genes["gene_id"].to_list()]
    assert flat["FID"].to_list() == flat["IID"].to_list() == NAMES
    np.testing.assert_allclose(flat.drop("FID", "IID").to_numpy().T, expected["stack-linear"], atol=1e-6)
    bed = read_expression(tmp_path / "bed" / "expression.bed")
    assert bed.samples.tolist() == NAMES and bed.genes["tss"].to_list() == cohort().genes["tss"].to_list()
    np.testing.assert_allclose(bed.values.T, expected["stack-linear"], atol=1e-6)


def test_filters_of_people_and_variants(trained, tmp_path, expected):
    ids = cohort().variants["id"].to_list()
    for name, rows in (("keep", NAMES[:9]), ("remove", NAMES[2:4]), ("exclude", ids[:3]), ("genes", ["SIMG000002.1"])):
        (tmp_path / name).write_text("\n".join(rows) + "\n")
    files = {name: tmp_path / name for name in ("keep", "remove", "exclude", "genes")}
    result = predict.run(
        predict_settings(trained.run, tmp_path / "out", bfile=trained.folder / "new", min_match=0.2, **files)
    )
    left = NAMES[:2] + NAMES[4:9]
    assert result.samples.tolist() == left and result.genes["gene_id"].to_list() == ["SIMG000002.1"]
    adds_up(result.report)
    assert result.report.count("samples", "dropped") == 33
    gone = new_people().select(variants=np.arange(len(ids)) >= 3)
    memory = load_models(trained.run).predict(gone, genes=["SIMG000002.1"], min_match=0.2)
    np.testing.assert_allclose(result.values, memory.values[:, [NAMES.index(name) for name in left]], **CLOSE)


def tiny_chain(path, by):
    """A chain that moves everything here by so many bases, and back."""
    size = 60_000_000
    for name, start, there in (("there", 29_000_000, 29_000_000 + by), ("back", 29_000_000 + by, 29_000_000)):
        head = f"chain 1000 chr22 {size} + {start} {start + 3_000_000} chr22 {size} + {there} {there + 3_000_000} 1"
        (path / f"{name}.chain.gz").write_bytes(gzip.compress(f"{head}\n3000000\n".encode()))
    return path / "there.chain.gz", path / "back.chain.gz"


@pytest.mark.parametrize("method", ["stack-linear", "stack-xgboost"])
def test_models_are_lifted_to_the_genotypes_build(trained, tmp_path, expected, method):
    there, back = tiny_chain(tmp_path, 123_456)
    moved = cohort().variants.with_columns(pos=pl.col("pos") + 123_456, id=pl.format("y{}", "pos"))
    write_plink(tmp_path / "moved", dosage()[TRAIN:], NAMES, moved)
    result = predict.run(
        predict_settings(trained.run, tmp_path / "out", bfile=tmp_path / "moved", chain=there, method=method)
    )
    table(tmp_path / "out", expected, method)
    assert result.report.count("weights lifted over", "dropped") == 0
    with pytest.raises(GenopredError, match="--chain: none of .* variants of .* has a place in it|share no variant"):
        predict.run(predict_settings(trained.run, tmp_path / "no", bfile=tmp_path / "moved", chain=back, method=method))
    assert not (tmp_path / "no" / "expression.parquet").exists()


@pytest.mark.parametrize("method", ["stack-linear", "stack-xgboost"])
def test_what_a_chain_loses_counts_as_its_mean(trained, tmp_path, method):
    """Two variants of the same alleles that lead nowhere keep their own means."""
    middle = int(cohort().pos[60])
    size, start = 60_000_000, 29_000_000
    head = f"chain 9 chr22 {size} + {start} {middle - 1} chr22 {size} + {start + 777} {middle - 1 + 777} 1"
    (tmp_path / "half.chain").write_text(f"{head}\n{middle - 1 - start}\n")
    moved = cohort().variants.with_columns(pos=pl.col("pos") + 777, id=pl.lit("."))
    write_plink(tmp_path / "moved", dosage()[TRAIN:], NAMES, moved)
    config = predict_settings(
        trained.run, tmp_path / "out", bfile=tmp_path / "moved", chain=tmp_path / "half.chain", method=method,
        min_match=0, gene=("SIMG000002.1",),
    )  # fmt: skip
    result = predict.run(config)
    x = dosage()[TRAIN:].copy()
    x[:, cohort().pos >= middle] = np.nan
    memory = load_models(trained.run).predict(
        in_memory(x, cohort().variants), method=method, genes=["SIMG000002.1"], min_match=0
    )
    np.testing.assert_allclose(result.values, memory.values, **CLOSE)
    told = [line for line in result.report.lines() if "share of the variance that is found" in line]
    assert len(told) == 1 and "100.0%" not in told[0]
    with pytest.raises(AlignmentError, match="the floor is 99%"):  # what the chain lost counts against the floor
        predict.run(replace(config, out=tmp_path / "refused", min_match=0.99))
    assert not (tmp_path / "refused").exists()


def test_chain_files_there_and_back(trained, tmp_path, expected, shared):
    """b37 to hg38 with UCSC's chain, and b37 to itself over hg38."""
    folder = shared / "data" / "reference"
    if not (folder / "hg19ToHg38.over.chain.gz").is_file():
        pytest.skip(f"no chain files in {folder}")
    from genopred.io.chain import read_chain

    moved = lift(cohort().variants, read_chain(folder / "hg19ToHg38.over.chain.gz"))
    assert moved["pos"].is_not_null().all() and (moved["pos"] != cohort().variants["pos"]).all()
    write_plink(tmp_path / "hg38", dosage()[TRAIN:], NAMES, moved.with_columns(chrom=pl.lit("chr22"), id=pl.lit(".")))
    for method in ("stack-linear", "stack-xgboost"):
        config = predict_settings(
            trained.run, tmp_path / method, bfile=tmp_path / "hg38", method=method,
            chain=folder / "hg19ToHg38.over.chain.gz",
        )  # fmt: skip
        predict.run(config)
        table(tmp_path / method, expected, method)


# --- refusals --------------------------------------------------------------------------------------------------------


def refused(capsys, folder, *words):
    """One line on stderr, exit code 2, and no file but the log."""
    code = main([*words, "--out", str(folder / "out"), "--quiet", "--threads", "1"])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert code == 2 and len(lines) == 1, (code, lines)
    assert not (folder / "out").exists(), list((folder / "out").iterdir())
    return lines[0]


def changed_file(folder, change):
    write_plink(folder / "changed", dosage()[TRAIN:], NAMES, change(cohort().variants))
    return folder / "changed"


NO_IDS = {"id": pl.lit(".")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: build_to_38(v).with_columns(**NO_IDS),
         r"different genome builds: the positions of the one fit GRCh38, of the other GRCh37 \(lift one over\)"),
        (lambda v: v.with_columns(pos=pl.col("pos") - 1, **NO_IDS),
         "positions match when they are 1 lower: they count otherwise|they count from 0 instead of 1"),
        (lambda v: v.with_columns(chrom=pl.lit("21"), **NO_IDS), r"their chromosomes differ \(21 against 22\)"),
        (lambda v: v.with_columns(ref=pl.lit("1"), alt=pl.lit("2")), "alleles"),
        (lambda v: v.with_columns(pos=pl.col("pos") + 400_000, **NO_IDS), "no position does: probably different"),
        (lambda v: pl.concat([v[:1], v[1:].with_columns(pos=pl.col("pos") + 400_000, **NO_IDS)]),
         r"only 1 of \d+ variants of .*match .*the floor is 75%\)"),
    ],
    ids=["build", "0-based", "chromosome", "coded", "elsewhere", "one of many"],
)  # fmt: skip
def test_too_little_in_common_is_refused_with_the_reason(trained, tmp_path, capsys, change, message):
    place = changed_file(tmp_path, change)
    line = refused(capsys, tmp_path, "predict", "--models", str(trained.run), "--bfile", str(place))
    import re

    assert re.search(message, line), line


def test_coded_alleles_are_named(trained, tmp_path, capsys):
    place = changed_file(tmp_path, lambda v: v.with_columns(ref=pl.lit("1"), alt=pl.lit("2")))
    line = refused(capsys, tmp_path, "predict", "--models", str(trained.run), "--bfile", str(place))
    assert "alleles are coded (2) where bases are needed" in line


def test_other_naming_is_named(trained, tmp_path, capsys):
    """Models that know variants by rsID alone, genotypes that name them by position."""
    folder = copy_models(trained, tmp_path)
    weights = pl.read_parquet(folder / "weights.parquet")
    nameless = weights.with_columns(pl.lit(None, pl.String).alias("chrom"), pl.lit(None, pl.Int64).alias("pos"),
                                    id=pl.format("rs{}", "pos"))  # fmt: skip
    nameless.write_parquet(folder / "weights.parquet")
    words = ("predict", "--models", str(folder), "--bfile", str(trained.folder / "new"))
    line = refused(capsys, tmp_path, *words)
    assert "one names variants by rsID, the other by position (22_" in line


def test_the_floor_can_be_lowered(trained, tmp_path):
    place = changed_file(tmp_path, lambda v: pl.concat([v[::2], v[1::2].with_columns(pos=pl.col("pos") + 400_000,
                                                                                     id=pl.lit("."))]))  # fmt: skip
    order = np.argsort(np.concatenate([np.arange(0, 151, 2), np.arange(1, 151, 2)])[: cohort().variants.height])
    assert len(order) == cohort().variants.height
    result = predict.run(predict_settings(trained.run, tmp_path / "out", bfile=place, min_match=0))
    assert (result.genes["found"] < result.genes["variants"]).all()
    adds_up(result.report)
