"""Polygenic scores over whole files: against plink1.9's goldens, score files that hardly match, odd phenotypes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from bed_reader import open_bed, to_bed
from prs_data import GOLDEN, TINY, files_of, genes, trait

from genopred.errors import AlignmentError, GenopredError
from genopred.genetics import chromosomes
from genopred.io.example import load_example
from genopred.io.plink import read_plink
from genopred.pipelines import prs
from genopred.pipelines.demo import example_inputs
from genopred.settings import Prs


@pytest.fixture
def founders(tmp_path):
    path = tmp_path / "founders.txt"
    rows = [line.split() for line in (GOLDEN / "cohort.fam").read_text().splitlines()]
    path.write_text("".join(f"{row[0]} {row[1]}\n" for row in rows if row[2] == "0"))
    return path


def golden_profile(name):
    rows = [line.split() for line in (GOLDEN / name).read_text().splitlines()[1:]]
    return [row[1] for row in rows], np.array([float(row[5]) for row in rows])


def test_clumps_of_summary_statistics_are_plinks(tmp_path, founders):
    config = trait(
        tmp_path, sumstats=GOLDEN / "linear.txt", train=founders, ld="em", clump_kb=100, clump_p2=1, ambiguous="keep"
    )
    result = prs.run(config)
    golden: dict[tuple[float, float], list[tuple[str, str]]] = {}
    for line in (GOLDEN / "clumps.tsv").read_text().splitlines()[1:]:
        r2, p1, index, members = line.split("\t")
        golden.setdefault((float(r2), float(p1)), []).append((index, "" if members == "-" else members))
    clumps = result.tables["clumps"]
    for r2 in config.clump_r2:
        rows = clumps.filter(pl.col("r2") == r2).select("variant_id", "members").rows()
        assert rows == golden[r2, 1]
        for p1 in config.clump_p1:
            score = result.tables["weights"].filter(pl.col("score") == f"p{p1:g}_r{r2:g}")
            assert score["variant_id"].to_list() == [index for index, _ in golden.get((r2, p1), [])]
    assert result.tables["scores"].width == 1 + len(result.tables["weights"]["score"].unique())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("score_sum.txt", {}),
        ("score_average.txt", {"average": True}),
        ("score_skip.txt", {"average": True, "no_mean_imputation": True}),
        ("score_center.txt", {"center": True}),
    ],
)
@pytest.mark.parametrize("block", [7, 2048])
def test_given_weights_score_as_plink(tmp_path, founders, monkeypatch, name, options, block):
    monkeypatch.setattr(chromosomes, "BLOCK", block)
    result = prs.run(trait(tmp_path, score=GOLDEN / "weights.txt", train=founders, **options))
    samples, golden = golden_profile(name)
    table = result.tables["scores"]
    assert table["sample"].to_list() == samples
    np.testing.assert_allclose(table["score"].to_numpy(), golden, rtol=5.1e-6, atol=1e-6)
    counted = [line.split()[1] for line in (GOLDEN / "weights.txt").read_text().splitlines()]
    used = result.report.table.filter((pl.col("item") == "weights") & (pl.col("status") == "used"))
    assert dict(zip(used["reason"], used["n"])) == {"matched": counted.count("A"), "swapped": counted.count("G")}
    assert result.report.count("weights", "in") == 156


def test_ranges_are_plinks(tmp_path, founders):
    options = {"q_score_range": GOLDEN / "ranges.txt", "q_score_file": GOLDEN / "pval.txt"}
    result = prs.run(trait(tmp_path, score=GOLDEN / "weights.txt", train=founders, **options))
    for name in ("strict", "middle"):
        golden = golden_profile(f"score_range_{name}.txt")[1]
        np.testing.assert_allclose(result.tables["scores"][name].to_numpy(), golden, rtol=5.1e-6, atol=1e-6)


@pytest.mark.parametrize("covar", [False, True])
def test_association_of_a_phenotype_is_plinks_and_its_weights_can_be_applied_again(tmp_path, covar):
    config = trait(tmp_path, pheno=GOLDEN / "y.phe", clump_p1=(1.0,), clump_r2=(0.99,))
    first = prs.run(replace(config, covar=GOLDEN / "covar.txt") if covar else config)
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
    again = prs.run(trait(tmp_path, "again", score=tmp_path / "out.weights.tsv"))
    name = weights["score"][0]
    np.testing.assert_allclose(again.tables["scores"][name], first.tables["scores"][name], atol=1e-9)


def test_held_out_people_have_no_part_in_their_score(tmp_path, founders):
    lines = (GOLDEN / "y.phe").read_text().splitlines()
    inside = {line.split()[1] for line in founders.read_text().splitlines()}
    changed = [line if line.split()[1] in inside else " ".join([*line.split()[:2], "99"]) for line in lines]
    (tmp_path / "changed.phe").write_text("\n".join(changed) + "\n")
    results = [
        prs.run(trait(tmp_path, source.stem, pheno=source, train=founders))
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
    config = Prs(bfile=tmp_path / "g", out=tmp_path / "out", sumstats=tmp_path / "gwas.txt")
    clumps = prs.run(replace(config, clump_p1=(1.0,), clump_r2=(0.5,), clump_p2=1.0)).tables["clumps"]
    assert clumps.select("variant_id", "members").rows() == [("c", "a"), ("b", ""), ("d", "")]


# --- score files and summary statistics that hardly match ------------------------------------------------------------


@pytest.fixture(scope="module")
def example():
    return load_example()


HEADER = "rsID\tchr_name\tchr_position\teffect_allele\tother_allele\teffect_weight\thm_source\thm_rsID\thm_chr\thm_pos"


def catalog(path, table, *, build="GRCh37", more=()):
    """A harmonised file of the PGS Catalog; its authors' positions are of another build."""
    head = ["###PGS CATALOG SCORING FILE", "#format_version=2.0", "#pgs_id=PGS000001", "#genome_build=GRCh38"]
    rows = [
        f"\t{c}\t{p + 1_000_000}\t{alt}\t{ref}\t{w}\tENSEMBL\t\t{c}\t{p}"
        for c, p, ref, alt, w in table.select("chrom", "pos", "ref", "alt", "weight").iter_rows()
    ]
    path.write_text("\n".join([*head, f"#HmPOS_build={build}", HEADER, *rows, *more]) + "\n")
    return path


@pytest.fixture
def picked(example):
    rng = np.random.default_rng(7)
    variants = example.genotypes.variants
    rows = np.sort(rng.choice(variants.height, 849, replace=False))
    return variants[rows].with_columns(weight=pl.Series(rng.normal(size=849).round(4)), row=pl.Series(rows))


def scored(example, tmp_path, source, mode="score", **options):
    return prs.run(Prs(bfile=example.bfile, out=tmp_path / "out", threads=1, **{mode: source}, **options))


def test_a_real_file_of_the_catalog_is_scored(tmp_path, example, picked):
    """HLA alleles without position, repeated rows and other chromosomes are counted; the rest is the sum."""
    hla = [f"HLA-B*08:{i:02d}\t6\t\tP\tN\t0.3\tUnknown\t\t\t" for i in range(22)]
    twice = [
        f"\t22\t0\t{a}\t{r}\t9\tENSEMBL\t\t22\t{p}" for p, r, a in picked[:3].select("pos", "ref", "alt").iter_rows()
    ]
    far = [f"\t{c}\t0\tA\tG\t1\tENSEMBL\t\t{c}\t5000" for c in (1, 2, 3)]
    source = catalog(tmp_path / "pgs.txt", picked, more=[*hla, *twice, *far])
    result = scored(example, tmp_path, source)
    expected = example.genotypes.dosage(picked["row"].to_numpy()).astype(float) @ picked["weight"].to_numpy()
    np.testing.assert_allclose(result.tables["scores"]["score"], expected, atol=1e-9)
    rows = result.report.table.filter(item="weights")
    assert dict(rows.filter(status="dropped").select("reason", "n").iter_rows()) == {
        "no position": 22,
        "variant listed more than once": 3,
        f"chromosome not in {example.bfile}.bed": 3,
    }
    assert result.report.count("weights", "in") == 849 + 28 and result.report.count("weights", "used") == 849
    assert result.report.count("variants", "used") == 849
    assert "share that matches: 100.0%, 100.0% by weight" in rows["reason"].to_list()
    assert result.lines()[0].startswith("score: 849 variants of 877, ")


def mixed(table):
    rng = np.random.default_rng(3)
    order = np.where(rng.random(table.height) < 0.85, rng.permutation(table.height), np.arange(table.height))
    return table.with_columns(table.select("ref", "alt")[order])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.with_columns(pos=pl.col("pos") - 396_123),
            r"genome builds \(one says that it is of GRCh38; lift one",
        ),
        (
            lambda t: t.with_columns(pos=pl.col("pos") - 1),
            "849 of 849 positions match when they are 1 higher: they count from 0",
        ),
        (mixed, "alleles differ in .* rows"),
        (lambda t: t.with_columns(ref=pl.lit("1"), alt=pl.lit("2")), r"alleles are coded \(2\) where bases"),
        (lambda t: t.with_columns(chrom=pl.lit("7")), r"their chromosomes differ \(22 against 7\)"),
    ],
)
def test_a_score_of_which_too_little_matches_is_refused(tmp_path, example, picked, change, message):
    source = catalog(tmp_path / "pgs.txt", change(picked), build="GRCh38")
    with pytest.raises(AlignmentError, match=message):
        scored(example, tmp_path, source)
    assert not list(tmp_path.glob("out.*"))


def test_the_floor_can_be_lowered(tmp_path, example, picked):
    source = catalog(tmp_path / "pgs.txt", mixed(picked))
    assert 0 < scored(example, tmp_path, source, min_match=0.05).report.count("weights", "used") < 0.75 * 849


def test_chromosomes_without_genotypes_are_said_and_do_not_count(tmp_path, example, picked):
    source = catalog(tmp_path / "pgs.txt", picked[1:].with_columns(chrom=pl.lit("7")).vstack(picked[:1]))
    report = scored(example, tmp_path, source).report
    assert report.count("weights", "used") == 1 and report.count("weights", "dropped") == 848


@pytest.mark.parametrize(
    "shift, message", [(1, "they count otherwise"), (-1, "they count from 0"), (-396_123, "probably dif")]
)
def test_summary_statistics_of_another_build_are_refused(tmp_path, example, shift, message):
    table = example.genotypes.variants.select(
        chromosome="chrom", base_pair_location=pl.col("pos") + shift, effect_allele="alt", other_allele="ref"
    )
    table.with_columns(beta=pl.lit(0.1), p_value=pl.lit(0.01)).write_csv(tmp_path / "g.tsv", separator="\t")
    with pytest.raises(AlignmentError, match=f"of 2,951 variants of .*g.tsv match .*{message}"):
        scored(example, tmp_path, tmp_path / "g.tsv", "sumstats")


def test_results_of_more_variants_than_there_are_genotypes_are_fine(tmp_path, example):
    variants = example.genotypes.variants
    more = variants.with_columns(pos=pl.col("pos") + 2, id=pl.lit("."))
    table = pl.concat([variants, more, more.with_columns(chrom=pl.lit("21"))]).with_columns(
        beta=pl.lit(0.1), p=pl.Series(np.linspace(1e-9, 1, 3 * variants.height))
    )
    table.rename({"id": "rsid"}).write_csv(tmp_path / "g.tsv", separator="\t")
    result = scored(example, tmp_path, tmp_path / "g.tsv", "sumstats", clump_p1=(1e-4,), clump_r2=(0.1,))
    assert result.report.count("weights", "in") == 3 * variants.height
    reasons = dict(result.report.table.filter(item="weights", status="dropped").select("reason", "n").iter_rows())
    assert reasons[f"chromosome not in {example.bfile}.bed"] == variants.height


def test_what_is_left_out_on_purpose_is_not_held_against_the_score(tmp_path, example, picked):
    (tmp_path / "ids.txt").write_text("\n".join(picked["id"][:100]) + "\n")
    source = catalog(tmp_path / "pgs.txt", picked)
    result = scored(example, tmp_path, source, extract=tmp_path / "ids.txt")
    assert result.report.count("weights", "used") == 100 == result.report.count("variants", "used")
    assert "score: 100 variants of 849" in result.lines()[0]


def test_one_poor_score_of_many_is_said(tmp_path, example, picked, caplog):
    good = picked.select(pl.lit("good").alias("score"), "chrom", "pos", "ref", "alt", "weight")
    poor = good[:4].with_columns(score=pl.lit("poor"), pos=pl.Series([*good["pos"][:1], 5, 6, 7]))
    pl.concat([good, poor]).write_csv(tmp_path / "w.tsv", separator="\t")
    result = scored(example, tmp_path, tmp_path / "w.tsv")
    assert "1 scores with less than 75% of their variants (poor)" in caplog.text
    note = result.report.table.filter(reason="scores with less than 75% of their variants")
    assert note.select("item", "status", "n", "examples").rows() == [("weights", "note", 1, "poor")]
    assert result.lines()[1].startswith("poor: 1 variants of 4, ")


# --- phenotypes that are not what they seem --------------------------------------------------------------------------


@pytest.mark.parametrize("values", [(1, 2), (0, 1)])
def test_case_and_control_are_said_to_be_analysed_as_numbers(tmp_path, example, caplog, values):
    samples = example.genotypes.samples.tolist()
    rows = [f"0 {name} {values[i % 2] if i % 5 else -9}" for i, name in enumerate(samples)]
    (tmp_path / "y.phe").write_text("\n".join(rows) + "\n")
    result = scored(example, tmp_path, tmp_path / "y.phe", "pheno", clump_r2=(0.1,))
    assert f"P1 looks like case and control ({values[0]:g}/{values[1]:g}): analysed as quantitative" in caplog.text
    assert "looks like case and control" in " ".join(result.report.table["reason"])
    missing = len(samples[::5])
    assert result.report.count("training people", "used") == len(samples) - missing
    assert result.report.count("training people", "dropped") == missing


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (lambda i, name: f"0 {name} -9", r"column 'P1': all 358 values are missing \(NA, or -9"),
        (lambda i, name: f"0 {name} {'inf' if i == 4 else i}", "line 5, column 'P1': found inf"),
        (lambda i, name: f"0 {name}_x {i}", "no sample of .*y.phe is in .*; use the same names"),
        (
            lambda i, name: f"0 {name} {i if i < 7 else 'NA'}",
            "7 samples .* fewer than the floor of 20, of 358: 351 no P1",
        ),
    ],
)
def test_a_phenotype_of_nobody_says_why(tmp_path, example, row, message):
    lines = [row(i, name) for i, name in enumerate(example.genotypes.samples.tolist())]
    (tmp_path / "y.phe").write_text("\n".join(lines) + "\n")
    with pytest.raises(GenopredError, match=message):
        scored(example, tmp_path, tmp_path / "y.phe", "pheno")


def test_genotypes_that_never_vary_are_named(tmp_path):
    properties = {"chromosome": ["22"] * 3, "sid": list("abc"), "bp_position": [1, 2, 3]}
    to_bed(tmp_path / "g.bed", np.ones((40, 3)), properties=properties)
    names = open_bed(tmp_path / "g.bed", num_threads=1).iid
    (tmp_path / "y.phe").write_text("".join(f"0 {name} {i}\n" for i, name in enumerate(names)))
    config = Prs(bfile=tmp_path / "g", out=tmp_path / "out", pheno=tmp_path / "y.phe")
    with pytest.raises(GenopredError, match="none of the variants of .*g.bed can be associated: 3 does not vary"):
        prs.run(config)


# --- weights and their application -----------------------------------------------------------------------------------


def test_weights_of_genes_can_be_applied(tmp_path):
    result = prs.run(genes(tmp_path))
    source = tmp_path / "genes.weights.tsv"
    again = prs.run(Prs(vcf=TINY / "genotypes.vcf.gz", out=tmp_path / "x", score=source))
    for gene_id, method in result.tables["models"].select("gene_id", "method").iter_rows():
        name = f"{gene_id}:{method}"
        if name not in again.tables["scores"].columns:  # nothing predicts: no weights
            continue
        mine = result.tables["scores"].filter((pl.col("gene_id") == gene_id) & (pl.col("method") == method))
        both = mine.join(again.tables["scores"].select("sample", name), on="sample")
        np.testing.assert_allclose(both[name], both["predicted"], atol=1e-9)


def test_written_weights_give_the_predictions_again(tmp_path, example, caplog):
    """As README says: learn, then apply to the same genotypes; intercepts belong to plain sums."""
    gene_ids = tuple(example.expression.genes["gene_id"].to_list()[:3])
    first = prs.run(Prs(**example_inputs(gene_ids), out=tmp_path / "prs", outer_folds=3, inner_folds=3, threads=1))
    source = tmp_path / "prs.weights.tsv"
    again = scored(example, tmp_path, source).tables["scores"]
    assert again.width > 3
    for name in again.columns[1:]:
        gene_id, _, method = name.partition(":")
        mine = first.tables["scores"].filter(gene_id=gene_id, method=method)
        both = mine.join(again.select("sample", name), on="sample")
        assert both.height == 358 and both["predicted"].n_unique() > 1
        np.testing.assert_allclose(both[name], both["predicted"], atol=1e-6)
    mean = prs.run(replace(config_of(example, tmp_path / "mean", source), average=True)).tables["scores"]
    assert "its intercepts are left out: they belong to plain sums, not to --average" in caplog.text
    sums = again[name] - first.tables["models"].filter(gene_id=gene_id, method=method)["intercept"][0]
    alleles = 2 * first.tables["weights"].filter(gene_id=gene_id, method=method).height
    np.testing.assert_allclose(mean[name], sums / alleles, atol=1e-9)


def config_of(example, out, source):
    return Prs(bfile=example.bfile, out=out, score=source)


def test_a_run_never_mixes_with_another(tmp_path, example, picked):
    """The weights of one run do not stay beside the scores of the next."""
    prs.run(genes(tmp_path, "out"))
    source = catalog(tmp_path / "pgs.txt", picked)
    config = config_of(example, tmp_path / "out", source)
    with pytest.raises(GenopredError, match="holds results of a run with other settings"):
        prs.run(config)
    assert (tmp_path / "out.models.tsv").is_file()
    prs.run(replace(config, resume=False))
    assert set(files_of(tmp_path, "out.")) == {
        "out.scores.tsv",
        "out.scores.parquet",
        "out.matched.tsv",
        "out.run.json",
    }
    with pytest.raises(GenopredError, match="no such file"):  # a slip does not cost what is there
        prs.run(replace(config, resume=False, score=tmp_path / "absent.txt"))
    assert (tmp_path / "out.scores.tsv").is_file()
