"""`genopred prs`: against plink1.9's goldens, against the library called by hand, and on bad input."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from bed_reader import open_bed, to_bed

from genopred.cli import main
from genopred.genetics.scores import BaselinePRS, ClumpThresholdPRS
from genopred.genetics.transform import inverse_normal
from genopred.io.plink import read_plink
from genopred.pipelines import prs
from genopred.pipelines.cohort import CohortInputs

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "plink_prs"
TINY = HERE / "data" / "tiny"


@pytest.fixture
def founders(tmp_path):
    path = tmp_path / "founders.txt"
    rows = [line.split() for line in (GOLDEN / "cohort.fam").read_text().splitlines()]
    path.write_text("".join(f"{row[0]} {row[1]}\n" for row in rows if row[2] == "0"))
    return path


def trait(tmp_path, out="out", **options):
    inputs = CohortInputs(expression=Path(), bfile=GOLDEN / "cohort")
    return prs.PRSConfig(cohort=inputs, out=tmp_path / out, **options)


def golden_profile(name):
    rows = [line.split() for line in (GOLDEN / name).read_text().splitlines()[1:]]
    return [row[1] for row in rows], np.array([float(row[5]) for row in rows])


def test_clumps_of_summary_statistics_are_plinks(tmp_path, founders):
    config = trait(
        tmp_path, mode="sumstats", source=GOLDEN / "linear.txt", train=founders, ld="em", kb=100, p2=1, ambiguous="keep"
    )
    result = prs.run(config)
    golden: dict[tuple[float, float], list[tuple[str, str]]] = {}
    for line in (GOLDEN / "clumps.tsv").read_text().splitlines()[1:]:
        r2, p1, index, members = line.split("\t")
        golden.setdefault((float(r2), float(p1)), []).append((index, "" if members == "-" else members))
    clumps = result.tables["clumps"]
    for r2 in prs.R2_THRESHOLDS:
        rows = clumps.filter(pl.col("r2") == r2).select("variant_id", "members").rows()
        assert rows == golden[r2, 1]
        for p1 in prs.P_THRESHOLDS:
            score = result.tables["weights"].filter(pl.col("score") == f"p{p1:g}_r{r2:g}")
            assert score["variant_id"].to_list() == [index for index, _ in golden.get((r2, p1), [])]
    assert result.tables["scores"].width == 1 + len(result.tables["weights"]["score"].unique())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("score_sum.txt", {}),
        ("score_average.txt", {"average": True}),
        ("score_skip.txt", {"average": True, "skip_missing": True}),
        ("score_center.txt", {"center": True}),
    ],
)
@pytest.mark.parametrize("block", [7, 2048])
def test_given_weights_score_as_plink(tmp_path, founders, monkeypatch, name, options, block):
    monkeypatch.setattr(prs, "BLOCK", block)
    result = prs.run(trait(tmp_path, mode="score", source=GOLDEN / "weights.txt", train=founders, **options))
    samples, golden = golden_profile(name)
    table = result.tables["scores"]
    assert table["sample"].to_list() == samples
    np.testing.assert_allclose(table["score"].to_numpy(), golden, rtol=5.1e-6, atol=1e-6)
    counted = [line.split()[1] for line in (GOLDEN / "weights.txt").read_text().splitlines()]
    used = result.report.table.filter((pl.col("item") == "weights") & (pl.col("status") == "used"))
    assert dict(zip(used["reason"], used["n"])) == {"matched": counted.count("A"), "swapped": counted.count("G")}
    assert result.report.count("weights", "in") == 156


def test_ranges_are_plinks(tmp_path, founders):
    options = {"ranges": GOLDEN / "ranges.txt", "range_values": GOLDEN / "pval.txt"}
    result = prs.run(trait(tmp_path, mode="score", source=GOLDEN / "weights.txt", train=founders, **options))
    for name in ("strict", "middle"):
        golden = golden_profile(f"score_range_{name}.txt")[1]
        np.testing.assert_allclose(result.tables["scores"][name].to_numpy(), golden, rtol=5.1e-6, atol=1e-6)


@pytest.mark.parametrize("covar", [False, True])
def test_association_of_a_phenotype_is_plinks_and_its_weights_can_be_applied_again(tmp_path, covar):
    config = trait(tmp_path, mode="pheno", source=GOLDEN / "y.phe", p1=(1.0,), r2=(0.99,))
    inputs = replace(config.cohort, covar=GOLDEN / "covar.txt") if covar else config.cohort
    first = prs.run(replace(config, cohort=inputs))
    golden = {}
    for line in (GOLDEN / ("linear_covar.txt" if covar else "linear.txt")).read_text().splitlines()[1:]:
        cells = line.split()
        golden[cells[1]] = cells
    weights = first.tables["weights"]
    alt_is_a1 = read_plink(GOLDEN / "cohort").variants["alt"][0] == "A"
    for row in weights.iter_rows(named=True):
        beta = float(golden[row["variant_id"]][6]) * (1 if alt_is_a1 else -1)
        assert row["beta"] == pytest.approx(beta, rel=6e-4)
        assert row["pval"] == pytest.approx(float(golden[row["variant_id"]][8]), rel=1e-3)
    again = prs.run(trait(tmp_path, "again", mode="score", source=tmp_path / "out.weights.tsv"))
    name = weights["score"][0]
    np.testing.assert_allclose(again.tables["scores"][name], first.tables["scores"][name], atol=1e-9)


def test_held_out_people_have_no_part_in_their_score(tmp_path, founders):
    lines = (GOLDEN / "y.phe").read_text().splitlines()
    inside = {line.split()[1] for line in founders.read_text().splitlines()}
    changed = [line if line.split()[1] in inside else " ".join([*line.split()[:2], "99"]) for line in lines]
    (tmp_path / "changed.phe").write_text("\n".join(changed) + "\n")
    results = [
        prs.run(trait(tmp_path, source.stem, mode="pheno", source=source, train=founders))
        for source in (GOLDEN / "y.phe", tmp_path / "changed.phe")
    ]
    assert results[0].tables["scores"].equals(results[1].tables["scores"])


def test_chromosomes_are_clumped_apart_and_order_in_the_file_is_free(tmp_path):
    rng = np.random.default_rng(0)
    g = rng.integers(0, 3, 50).astype(np.float32)
    x = np.column_stack([g, g, g, rng.integers(0, 3, 50)]).astype(np.float32)
    properties = {"chromosome": ["1", "2", "1", "2"], "sid": list("abcd"), "bp_position": [50, 60, 40, 70]}
    to_bed(tmp_path / "g.bed", x, properties=properties | {"allele_1": ["A"] * 4, "allele_2": ["C"] * 4})
    (tmp_path / "gwas.txt").write_text("SNP A1 BETA P\na A 1 0.01\nb A 1 0.02\nc A 1 0.005\nd A 1 0.5\n")
    inputs = CohortInputs(expression=Path(), bfile=tmp_path / "g")
    config = prs.PRSConfig(cohort=inputs, out=tmp_path / "out", mode="sumstats", source=tmp_path / "gwas.txt")
    clumps = prs.run(replace(config, p1=(1.0,), r2=(0.5,), p2=1.0)).tables["clumps"]
    assert clumps.select("variant_id", "members").rows() == [("c", "a"), ("b", ""), ("d", "")]


def genes(tmp_path, out="genes", **options):
    inputs = CohortInputs(
        expression=TINY / "expression.qtltools.bed",
        vcf=TINY / "genotypes.vcf.gz",
        covar=TINY / "covariates.qtltools.txt",
    )
    return prs.PRSConfig(cohort=inputs, out=tmp_path / out, outer_folds=3, inner_folds=4, **options)


def test_scores_of_genes_are_the_estimators(tmp_path):
    train = tmp_path / "train.txt"

    names = [line.split() for line in (TINY / "expression.qtltools.bed").read_text().splitlines()][0][6:]
    train.write_text("\n".join(names[:45]) + "\n")
    config = genes(tmp_path, train=train, residualize="none")
    config = replace(config, cohort=replace(config.cohort, covar=None))
    result = prs.run(config)
    scores = result.tables["scores"]
    assert scores.height == 4 * 2 * 60 and set(scores["set"]) == {"training", "held-out"}
    held = scores.filter(pl.col("set") == "held-out")
    assert held["cross_validated"].null_count() == held.height and set(held["fold"]) == {-1}
    # One gene by hand.
    cohort = prs.open_cohort(config.cohort)
    gene = cohort.expression.genes.row(0, named=True)
    window = cohort.genotypes.select(variants=prs.Interval.around(gene["chrom"], gene["tss"], 500_000))
    inside = np.isin(cohort.samples, names[:45])
    x, raw = window.dosage(), cohort.expression.values[:, 0]
    use = np.nanmax(x[inside], axis=0) > np.nanmin(x[inside], axis=0)
    y = inverse_normal(raw[inside])
    y = (y - y.mean()) / y.std()
    positions = window.variants["pos"].to_numpy()[use]
    models = {
        "baseline-prs": BaselinePRS(cv=4, random_state=1),
        "pt-prs": ClumpThresholdPRS(positions, cv=4, random_state=1),
    }
    for method, model in models.items():
        model.fit(x[inside][:, use], y)
        this = (pl.col("gene_id") == gene["gene_id"]) & (pl.col("method") == method)
        np.testing.assert_allclose(scores.filter(this)["predicted"], model.predict(x[:, use]), atol=1e-9)
        assert result.tables["models"].filter(this)["variants"][0] == np.count_nonzero(model.coef_)
        weights = result.tables["weights"].filter(this)
        np.testing.assert_allclose(weights["weight"], model.coef_[model.coef_ != 0], atol=1e-12)
    assert result.tables["weights"].height > 0


def test_results_do_not_depend_on_threads(tmp_path):
    one = prs.run(genes(tmp_path))
    two = prs.run(genes(tmp_path, "two", threads=2))
    for name, table in one.tables.items():
        assert table.equals(two.tables[name]), name


def test_weights_of_genes_can_be_applied(tmp_path):
    result = prs.run(genes(tmp_path))
    inputs = CohortInputs(expression=Path(), vcf=TINY / "genotypes.vcf.gz")
    again = prs.run(prs.PRSConfig(inputs, tmp_path / "x", mode="score", source=tmp_path / "genes.weights.tsv"))
    for gene_id, method in result.tables["models"].select("gene_id", "method").iter_rows():
        name = f"{gene_id}:{method}"
        if name not in again.tables["scores"].columns:  # nothing predicts: no weights
            continue
        mine = result.tables["scores"].filter((pl.col("gene_id") == gene_id) & (pl.col("method") == method))
        both = mine.join(again.tables["scores"].select("sample", name), on="sample")
        np.testing.assert_allclose(both[name], both["predicted"], atol=1e-9)


def test_the_command_line_writes_log_tables_and_counts(tmp_path, capsys):
    arguments = ["prs", "--vcf", TINY / "genotypes.vcf.gz", "--expression", TINY / "expression.qtltools.bed"]
    arguments += ["--gene", "ENSG00000100105", "--out", tmp_path / "one", "--threads", "1", "--outer-folds", "3"]
    assert main([str(word) for word in arguments]) == 0
    assert "pt-prs" in capsys.readouterr().out
    for name in ("weights.tsv", "weights.parquet", "scores.tsv", "accuracy.tsv", "models.tsv", "matched.tsv", "log"):
        assert (tmp_path / f"one.{name}").stat().st_size > 0
    assert not list(tmp_path.glob("*.lock"))
    assert "genes: 1 used" in (tmp_path / "one.log").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--score", GOLDEN / "weights.txt", "--pheno", GOLDEN / "y.phe"], "--pheno and --score given"),
        ([], "none given; give exactly one of --expression"),
        (["--score", GOLDEN / "absent.txt"], "absent.txt: no such file"),
        (["--score", GOLDEN / "y.phe"], "130 rows share their variant"),
        (["--score", GOLDEN / "weights.txt", "--gene", "x"], "go with --expression, not with --score"),
        (["--score", GOLDEN / "weights.txt", "--q-score-range", GOLDEN / "ranges.txt"], "give --q-score-file"),
        (["--pheno", TINY / "genotypes.fam"], r"no sample of .*genotypes.fam is in .*\(HG00096, .* against s000, "),
        (["--pheno", GOLDEN / "y.phe", "--clump-p1", "2"], "p1 is 2.0"),
        (["--pheno", GOLDEN / "y.phe", "--clump-r2", "a"], "numbers between commas"),
        (["--pheno", GOLDEN / "y.phe", "--clump-p1", "1e-30"], "no variant has p <= 1e-30; raise --clump-p1"),
        (["--pheno", GOLDEN / "y.phe", "--ld", "dprime"], "choose one of genotype, em"),
        (["--pheno", GOLDEN / "y.phe", "--train", GOLDEN / "ranges.txt"], "none of its samples"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, words, message):
    arguments = ["prs", "--bfile", GOLDEN / "cohort", *words, "--out", tmp_path / "bad", "--threads", "1"]
    assert main([str(word) for word in arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "Error" in line]
    assert len(lines) == 1

    assert re.search(message, lines[0]), lines[0]
    assert not list(tmp_path.glob("bad*.tsv")) and not list(tmp_path.glob("bad*.parquet"))


def test_a_phenotype_that_does_not_vary_is_named(tmp_path, capsys):
    samples = open_bed(GOLDEN / "cohort.bed", num_threads=1).iid
    (tmp_path / "flat.phe").write_text("".join(f"0 {name} 3\n" for name in samples))
    words = ["prs", "--bfile", GOLDEN / "cohort", "--pheno", tmp_path / "flat.phe", "--out", tmp_path / "bad"]
    assert main([str(word) for word in words]) == 2
    assert "is the same for all 130 training people" in capsys.readouterr().err
