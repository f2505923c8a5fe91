"""`genopred associate --sumstats`: the formula by hand, people's own z, S-PrediXcan, and alleles either way round."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess

import numpy as np
import polars as pl
import pytest
from models_data import cohort, in_memory
from plink_data import write_plink

from genopred.errors import AlignmentError, GenopredError
from genopred.genetics.associate import linear
from genopred.io.predictdb import read_covariances, write_covariances
from genopred.pipelines import associate, export
from genopred.pipelines.apply_models import load_models
from genopred.settings import Associate, Export

HEAD = "chromosome\tbase_pair_location\tvariant_id\teffect_allele\tother_allele\tbeta\tstandard_error\tp_value\tn"


@pytest.fixture(scope="module")
def gwas(trained, tmp_path_factory):
    """A trait of everybody, with the second gene's effect: its GWAS, and the folder of files."""
    folder = tmp_path_factory.mktemp("gwas")
    x = cohort().dosage.astype(np.float64)
    write_plink(folder / "people", x, cohort().samples.tolist(), cohort().variants)
    found = load_models(trained.run).predict(in_memory(x, cohort().variants))
    rng = np.random.default_rng(9)
    y = 0.35 * found.values[1] / found.values[1].std() + rng.standard_normal(len(x))
    each = linear(x.T, y)
    np.savez(folder / "gwas.npz", effect=each.effect, se=each.se, z=each.z)
    write_gwas(folder / "gwas.tsv", each.effect, each.se, cohort().variants)
    export.run(Export(models=trained.run, bfile=folder / "people", out=folder / "models", threads=1))
    return folder, x, y, each, found


def write_gwas(path, beta, se, variants, keep=None):
    lines = [HEAD]
    for i, (chrom, pos, name, ref, alt) in enumerate(variants.rows()):
        if keep is None or keep[i]:
            lines.append(f"{chrom}\t{pos}\t{name}\t{alt}\t{ref}\t{beta[i]!r}\t{se[i]!r}\t0.5\t160")
    path.write_text("\n".join(line.replace("np.float64(", "").replace(")", "") for line in lines) + "\n")
    return path


def run(trained, gwas, out, **options):
    settings = {"models": trained.run, "sumstats": gwas[0] / "gwas.tsv", "out": out, "threads": 1}
    if not {"covariances"} & set(options):
        settings["bfile"] = gwas[0] / "people"
    return associate.run(Associate(**settings | options))


def by_hand(trained, gwas, lost=frozenset(), reference=None):
    """z of each gene by a naive loop: gene -> z, effect, share."""
    _, x, _, each, _ = gwas
    x = x if reference is None else reference
    place = {name: i for i, name in enumerate(cohort().variants["id"].to_list())}
    out = {}
    for (gene,), part in load_models(trained.run).models.weights.filter(learner="stack-linear").group_by("gene_id"):
        rows = [(place[name], weight) for name, weight in part["id", "weight"].iter_rows()]
        size = {place[name]: 2 * f * (1 - f) * w * w for name, w, f in part["id", "weight", "freq"].iter_rows()}
        c = np.cov(x, rowvar=False)
        used = [(i, w) for i, w in rows if i not in lost]
        variance = sum(w * v * c[i, j] for i, w in used for j, v in used)
        z = sum(w * np.sqrt(c[i, i]) * each.z[i] for i, w in used) / np.sqrt(variance)
        effect = sum(w * c[i, i] * each.effect[i] for i, w in used) / variance
        out[gene] = (z, effect, sum(v for i, v in size.items() if i not in lost) / sum(size.values()))
    return out


def compare(table, expected, **close):
    for row in table.iter_rows(named=True):
        z, effect, share = expected[row["gene_id"]]
        assert (row["z"], row["effect"], row["variance_found"]) == pytest.approx((z, effect, share), **close)
        assert row["se"] == pytest.approx(row["effect"] / row["z"])


def test_z_is_the_formula_by_genotypes_and_by_covariances(trained, gwas, tmp_path):
    expected = by_hand(trained, gwas)
    one = run(trained, gwas, tmp_path / "one")
    compare(one.table, expected, rel=1e-6)
    assert one.table["n"].to_list() == [160] * 3 and one.table["trait"].unique().to_list() == ["gwas.tsv"]
    assert one.table["gene_id"][0] == cohort().genes["gene_id"][1]
    assert (one.table["used"] == one.table["variants"]).all()
    covariances = gwas[0] / "models" / "covariances.txt.gz"
    two = run(trained, gwas, tmp_path / "two", covariances=covariances)
    compare(two.table, expected, rel=1e-5)
    three = run(trained, gwas, tmp_path / "three", covariances=covariances, models=gwas[0] / "models" / "models.db")
    compare(three.table, expected, rel=1e-5)  # everything is found, however variants are weighed


def test_z_is_nearly_that_of_the_people_themselves(trained, gwas, tmp_path):
    """With LD of the very people: apart from what a strong gene takes from the trait's variance."""
    _, _, y, _, found = gwas
    direct = linear(found.values, y)
    table = run(trained, gwas, tmp_path / "out").table
    z = dict(zip(table["gene_id"], table["z"]))
    for gene, expected in zip(found.genes["gene_id"], direct.z):
        assert z[gene] == pytest.approx(expected, rel=0.06, abs=0.02)


def test_the_other_allele_of_the_gwas_changes_nothing(trained, gwas, tmp_path):
    folder, _, _, each, _ = gwas
    turn = np.random.default_rng(0).random(cohort().variants.height) < 0.5
    rows = [(c, p, i, *((b, a) if t else (a, b))) for (c, p, i, a, b), t in zip(cohort().variants.rows(), turn)]
    variants = pl.DataFrame(rows, schema=cohort().variants.schema, orient="row").with_columns(chrom=pl.lit("chr22"))
    order = np.random.default_rng(1).permutation(len(turn))
    beta = np.where(turn, -each.effect, each.effect)
    path = write_gwas(tmp_path / "gwas.tsv", beta[order], each.se[order], variants[order])
    one, two = run(trained, gwas, tmp_path / "one"), run(trained, gwas, tmp_path / "two", sumstats=path)
    for name in ("gene_id", "z", "effect", "pval", "variance_found"):
        assert one.table[name].to_list() == pytest.approx(two.table[name].to_list())
    assert two.report.count("models' variants", "used") == one.report.count("models' variants", "used")
    assert folder.is_dir()


def test_variants_that_the_gwas_lacks(trained, gwas, tmp_path):
    keep = np.random.default_rng(3).random(cohort().variants.height) < 0.9
    path = write_gwas(tmp_path / "gwas.tsv", gwas[3].effect, gwas[3].se, cohort().variants, keep)
    result = run(trained, gwas, tmp_path / "out", sumstats=path, min_match=0)
    compare(result.table, by_hand(trained, gwas, set(np.flatnonzero(~keep))), rel=1e-6)
    assert (result.table["used"] < result.table["variants"]).any()
    for item in result.report.table["item"].unique():
        n = {status: result.report.count(item, status) for status in ("in", "used", "dropped")}
        assert n["in"] == n["used"] + n["dropped"], item


def test_a_gwas_without_the_other_allele_is_used(trained, gwas, tmp_path):
    """As plink1.9 --linear writes it: the effect allele alone, whichever of the two it is."""
    each, turn = gwas[3], np.arange(cohort().variants.height) % 2 == 0
    lines = [" CHR SNP BP A1 TEST NMISS BETA STAT P"]
    for i, (chrom, pos, name, ref, alt) in enumerate(cohort().variants.rows()):
        beta, z = (-each.effect[i], -each.z[i]) if turn[i] else (each.effect[i], each.z[i])
        lines.append(f" {chrom} {name} {pos} {ref if turn[i] else alt} ADD 160 {float(beta)!r} {float(z)!r} 0.5")
    (tmp_path / "gwas.assoc.linear").write_text("\n".join(lines) + "\n")
    one, two = run(trained, gwas, tmp_path / "one"), run(trained, gwas, tmp_path / "two",
                                                       sumstats=tmp_path / "gwas.assoc.linear")  # fmt: skip
    assert two.table["z"].to_list() == pytest.approx(one.table["z"].to_list(), rel=1e-6)


def test_covariances_of_few_variants_are_refused(trained, gwas, tmp_path):
    held = read_covariances(gwas[0] / "models" / "covariances.txt.gz")
    few = [(gene, names[:3], values[:3, :3]) for gene, (names, values) in held.items()]
    write_covariances(tmp_path / "few.txt.gz", few)
    with pytest.raises(AlignmentError, match=r"is in both .*gwas.tsv and the LD reference \(the floor is 75%\)"):
        run(trained, gwas, tmp_path / "out", covariances=tmp_path / "few.txt.gz")
    assert not (tmp_path / "out").exists()
    table = run(trained, gwas, tmp_path / "lower", covariances=tmp_path / "few.txt.gz", min_match=0).table
    assert (table["variance_found"] < 0.75).all() and (table["used"] == 3).all()


def test_too_few_variants_of_the_gwas_are_refused(trained, gwas, tmp_path):
    keep = np.arange(cohort().variants.height) < 20
    path = write_gwas(tmp_path / "gwas.tsv", gwas[3].effect, gwas[3].se, cohort().variants, keep)
    with pytest.raises(AlignmentError, match=r"the floor is 75%\).*lower --min-match"):
        run(trained, gwas, tmp_path / "out", sumstats=path)
    moved = cohort().variants.with_columns(pos=pl.col("pos") - 1, id=pl.lit("."))
    path = write_gwas(tmp_path / "moved.tsv", gwas[3].effect, gwas[3].se, moved)
    with pytest.raises(AlignmentError, match="positions match when they are 1 "):
        run(trained, gwas, tmp_path / "out", sumstats=path)
    assert not (tmp_path / "out").exists()


def with_phi(source, path, phi):
    shutil.copy(source, path)
    with sqlite3.connect(path) as base:
        columns = [row[1] for row in base.execute("PRAGMA table_info(extra)")]
        if "phi" not in columns:
            base.execute("ALTER TABLE extra ADD COLUMN phi REAL")
        for gene, value in phi.items():
            base.execute("UPDATE extra SET phi = ? WHERE gene = ?", (value, gene))
    base.close()
    return path


def phis():
    return dict(zip(cohort().genes["gene_id"].to_list(), [1e-4, -1e-5, 2e-3]))


def test_the_correction_by_phi(trained, gwas, tmp_path):
    folder, expected = gwas[0], by_hand(trained, gwas)
    place = with_phi(folder / "models" / "models.db", tmp_path / "phi.db", phis())
    options = {"covariances": folder / "models" / "covariances.txt.gz", "gwas_n": 160.0, "gwas_h2": 0.5}
    table = run(trained, gwas, tmp_path / "out", models=place, **options).table
    for row in table.iter_rows(named=True):
        z, phi = expected[row["gene_id"]][0], phis()[row["gene_id"]]
        assert row["z_uncorrected"] == pytest.approx(z, rel=1e-5) and row["phi"] == phi
        assert row["z"] == pytest.approx(z / np.sqrt(1 + max(phi, 0) * 160 * 0.5), rel=1e-5)
    with pytest.raises(GenopredError, match="has no phi, which the correction needs"):
        run(trained, gwas, tmp_path / "no", gwas_n=160.0, gwas_h2=0.5)


@pytest.mark.parametrize("corrected", [False, True])
def test_s_predixcan_says_the_same(trained, gwas, tmp_path, shared, corrected):
    place = os.environ.get("GENOPRED_METAXCAN")
    if not place:
        pytest.skip("GENOPRED_METAXCAN names no environment of MetaXcan (../shared/programs/README.md)")
    script = shared / "programs" / "MetaXcan" / "software" / "SPrediXcan.py"
    if not script.is_file():
        pytest.skip(f"no {script}")
    folder = gwas[0]
    database = with_phi(folder / "models" / "models.db", tmp_path / "phi.db", phis())
    words = [
        "--model_db_path", database, "--covariance", folder / "models" / "covariances.txt.gz", "--gwas_file",
        folder / "gwas.tsv", "--snp_column", "variant_id", "--effect_allele_column", "effect_allele",
        "--non_effect_allele_column", "other_allele", "--beta_column", "beta", "--se_column", "standard_error",
        "--keep_non_rsid", "--additional_output", "--throw", "--output_file", tmp_path / "theirs.csv",
    ]  # fmt: skip
    options = {}
    if corrected:
        words += ["--gwas_N", "160", "--gwas_h2", "0.5"]
        options = {"gwas_n": 160.0, "gwas_h2": 0.5}
    done = subprocess.run([f"{place}/bin/python", str(script), *map(str, words)], cwd=tmp_path, capture_output=True,
                          text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = pl.read_csv(tmp_path / "theirs.csv", null_values="NA")
    held = {"covariances": folder / "models" / "covariances.txt.gz"}
    for name, by in (("genotypes", {}), ("covariances", held)):
        ours = run(trained, gwas, tmp_path / name, models=database, **by, **options).table
        both = ours.join(theirs, left_on="gene_id", right_on="gene", how="inner")
        assert both.height == 3
        np.testing.assert_allclose(both["zscore"], both["z"], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(both["pvalue"], both["pval"], rtol=1e-5)
        if not corrected:
            np.testing.assert_allclose(both["effect_size"], both["effect"], rtol=1e-5)
        assert both["n_snps_used"].to_list() == both["used"].to_list()


#: FUSION reads its LD reference through plink2R, which no registry here has; this stands in for it.
READ_PLINK = """read_plink = function(root, impute="avg") {
  x = as.matrix(read.table(paste(root, ".dosage", sep=""), head=F))
  list(bed=x, bim=read.table(paste(root, ".bim", sep=""), as.is=T), fam=NULL)
}
"""


def test_fusion_says_the_same(trained, gwas, tmp_path, shared):
    """FUSION.assoc_test.R on exported weights: the z of the same variants, A/T and C/G left out as it does."""
    pytest.importorskip("rdata", reason="no rdata: FUSION's files cannot be written")
    rscript = shutil.which("Rscript")
    needed = 'for (p in c("optparse", "here")) if (!requireNamespace(p, quietly=TRUE)) quit(status=1)'
    if rscript is None or subprocess.run([rscript, "-e", needed], capture_output=True).returncode:
        pytest.skip("no Rscript with the packages optparse and here: FUSION.assoc_test.R cannot run")
    folder, x, _, each, _ = gwas
    out = tmp_path / "fusion"
    export.run(Export(models=trained.run, to="fusion", bfile=folder / "people", out=out, threads=1))
    (tmp_path / ".here").touch()
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils" / "plink_utils.R").write_text(READ_PLINK)
    np.savetxt(tmp_path / "ref22.dosage", x, fmt="%d")
    variants = cohort().variants
    bim = [f"{chrom}\t{name}\t0\t{pos}\t{alt}\t{ref}" for chrom, pos, name, ref, alt in variants.rows()]
    (tmp_path / "ref22.bim").write_text("\n".join(bim) + "\n")
    z = [f"{name}\t{alt}\t{ref}\t{each.z[i]:.12g}" for i, (_, _, name, ref, alt) in enumerate(variants.rows())]
    (tmp_path / "gwas.txt").write_text("\n".join(["SNP\tA1\tA2\tZ", *z]) + "\n")
    command = [rscript, str(shared / "programs" / "fusion" / "FUSION.assoc_test.R"), "--sumstats", "gwas.txt"]
    command += ["--weights", str(out / "models.pos"), "--weights_dir", str(out), "--ref_ld_chr", "ref", "--chr", "22"]
    done = subprocess.run([*command, "--out", "fusion.dat"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    theirs = pl.read_csv(tmp_path / "fusion.dat", separator="\t", infer_schema=False)
    z = pl.col("TWAS.Z").str.strip_chars().cast(pl.Float64, strict=False)
    theirs = theirs.with_columns(z.alias("TWAS.Z"))
    options = {"ambiguous": "drop", "min_match": 0.0, "models": out / "models.pos"}
    for ours in (run(trained, gwas, tmp_path / "of-fusion", **options).table,
                 run(trained, gwas, tmp_path / "own", **options | {"models": trained.run}).table):  # fmt: skip
        both = ours.join(theirs.select(pl.col("ID").alias("gene_id"), "TWAS.Z"), on="gene_id")
        assert both.height == theirs["TWAS.Z"].count() > 0
        assert np.allclose(both["z"], both["TWAS.Z"], rtol=5e-3, atol=5e-4)  # it prints three digits
