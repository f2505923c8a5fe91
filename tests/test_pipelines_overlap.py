"""The overlap workflow: the founding study's numbers, planted truth, and tables that do not fit."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from overlap_data import MODEL, write
from plink_data import write_plink

from genopred.errors import GenopredError
from genopred.pipelines import overlap
from genopred.settings import Overlap
from genopred.settings.overlap import NamedFile
from genopred.types import VARIANT_SCHEMA

FEW = {"draws": 200, "resamples": 100, "figures": "none"}


def config(folder, a, b, **more):
    return Overlap(a=(NamedFile("model", a),), b=NamedFile("eqtl", b), out=folder / "out", **{**FEW, **more})


def value(results, measure, **where):
    rows = results.filter(pl.col("measure") == measure, *(pl.col(k) == v for k, v in where.items()))
    assert rows.height == 1, rows
    return rows.row(0, named=True)


@pytest.fixture(scope="module")
def apoe(shared, tmp_path_factory):
    folder = shared / "data" / "apoe"
    if not (folder / "eQTL_APOE_result.csv").is_file():
        pytest.skip("no tables of the founding study")
    return overlap.run(
        Overlap(
            a=(
                NamedFile("full", folder / "chr19_numer_1402_result.csv"),
                NamedFile("tracks", folder / "chr19_numer_1402_tracks_result.csv"),
            ),
            b=NamedFile("eqtl", folder / "eQTL_APOE_result.csv"),
            out=tmp_path_factory.mktemp("apoe") / "apoe",
            recipe="founding-study",
            draws=1400,  # all 1,396 shifts
            resamples=100,
            figures="svg",
        )
    )


def test_the_founding_studys_numbers(apoe):
    recipe = "overlap at k, founding study's recipe"
    pairs = {("full", "eqtl"): 41, ("tracks", "eqtl"): 33, ("full", "tracks"): 40}
    for (a, b), shared in pairs.items():
        row = value(apoe.results, recipe, a=a, b=b)
        assert row["value"] == shared and row["circular"] and "CIRCULAR" in row["note"]
    row = value(apoe.results, recipe, a="full", b="eqtl")
    assert row["n"] == 1397 and row["null_low"] <= 41 <= row["null_high"] and row["expected"] > 30


def test_the_honest_overlap_beside_it(apoe):
    for name in ("full", "tracks"):
        row = value(apoe.results, "overlap at k", a=name, b="eqtl", null="hypergeometric")
        assert row["value"] == 1 and row["expected"] == pytest.approx(2500 / 1397) and not row["circular"]
        assert row["p"] == pytest.approx(0.8437, abs=1e-4) and (row["null_low"], row["null_high"]) == (0, 5)
        assert row["low"] <= 1 <= row["high"]
        row = value(apoe.results, "overlap at k", a=name, b="eqtl", null="shift")
        assert row["expected"] == pytest.approx(1.79, abs=0.02) and row["p"] > 0.5 and "1,396 draws" in row["note"]
    rho = value(apoe.results, "Spearman rho", a="full", b="eqtl", null="shift")
    assert rho["value"] == pytest.approx(0.01515, abs=1e-5)
    assert value(apoe.results, "overlap at k", a="full", b="tracks")["value"] == 34


def test_what_was_written(apoe):
    names = {path.name for path in apoe.files}
    assert {"apoe.overlap.tsv", "apoe.snps.tsv", "apoe.curves.tsv", "apoe.html", "apoe.full.founding.svg"} <= names
    page = next(path for path in apoe.files if path.suffix == ".html").read_text(encoding="utf-8")
    assert "41 of 50 shared (circular)" in page and "1 of 50 shared" in page
    assert re.search(r"CIRCULAR, full and eqtl: the founding study(&#39;|.)s recipe gives 41 of 50", page)
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
    assert ("eqtl", "dropped", "no value in column P-value", 5) in [row[:4] for row in apoe.report.table.rows()]


# --- planted truth, several genes, genotypes -------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Twelve genes of 40 SNPs in pairs of LD; the model knows the one causal SNP of each, and its sign."""
    folder = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(1)
    m, n = 480, 150
    base = rng.binomial(2, rng.uniform(0.2, 0.5, m // 2), (n, m // 2))
    dosage = np.repeat(base, 2, axis=1)
    swap = rng.random(dosage.shape) < 0.02
    dosage[swap] = rng.integers(0, 3, swap.sum())
    pos = np.arange(m) * 1000 + 500
    variants = pl.DataFrame(
        {"chrom": ["22"] * m, "pos": pos, "id": [f"v{i}" for i in range(m)], "ref": ["A"] * m, "alt": ["G"] * m},
        schema=VARIANT_SCHEMA,
    )
    write_plink(folder / "people", dosage, [f"S{i}" for i in range(n)], variants)
    gene = np.repeat([f"ENSG{i:011d}" for i in range(12)], 40)
    slope, effect = np.zeros(m), rng.normal(0, 0.3, m)
    causal = []
    for g in range(12):
        c = g * 40 + int(rng.integers(40))
        causal.append(c)
        sign = rng.choice([-1.0, 1.0])
        r = np.array([np.corrcoef(dosage[:, c], dosage[:, j])[0, 1] for j in range(g * 40, g * 40 + 40)])
        slope[g * 40 : g * 40 + 40] = sign * 6 * r + rng.normal(0, 1, 40)
        effect[c] = 3 * sign
    p = np.exp(-(slope**2) / 2).clip(1e-300, 1)
    # The model's table has other alleles first for every third SNP, and so the other sign.
    turn = np.arange(m) % 3 == 0
    pl.DataFrame(
        {
            "chrom": ["chr22"] * m,
            "pos": pos,
            "id": variants["id"],
            "ref": np.where(turn, "G", "A"),
            "alt": np.where(turn, "A", "G"),
            "gene": [f"{name}.3" for name in gene],
            "effect": np.where(turn, -effect, effect),
        }
    ).write_csv(folder / "effects.tsv", separator="\t")
    pl.DataFrame(
        {
            "phenotype_id": gene,
            "variant_id": variants["id"],
            "start_distance": (np.arange(m) % 40 - 20) * 1000,
            "af": dosage.mean(axis=0) / 2,
            "pval_nominal": p,
            "slope": slope,
        }
    ).write_parquet(folder / "eqtl.parquet")
    pl.DataFrame({"phenotype_id": gene[causal], "variant_id": [f"v{c}" for c in causal], "pip": [0.9] * 12}).write_csv(
        folder / "sets.tsv", separator="\t"
    )
    return folder, causal


@pytest.fixture(scope="module")
def found(planted):
    folder, _ = planted
    sets = NamedFile("sets", folder / "sets.tsv")
    return overlap.run(
        config(
            folder, folder / "effects.tsv", folder / "eqtl.parquet", k=(2, 5), set_file=sets, bfile=folder / "people"
        )
    )


def test_all_nulls_find_the_planted_overlap(found):
    rows = found.results.filter((pl.col("measure") == "overlap at k") & (pl.col("k") == 2))
    assert set(rows["null"]) == {"hypergeometric", "permutation", "shift", "blocks", "phenotype"}
    assert (rows["p"] < 0.02).all() and (rows["value"] >= 12).all()
    # With three or four LD blocks a gene, "blocks" often leaves one where it was, and so expects more.
    moved = rows.filter(pl.col("null") != "blocks")["expected"].to_numpy()
    assert moved == pytest.approx(12 * 4 / 40, abs=0.35)
    loci = found.results.filter((pl.col("measure") == "shared loci at k") & (pl.col("k") == 2))
    assert (loci["p"] < 0.02).all() and (loci["value"] >= 11).all()


def test_sets_signs_and_matched_snps(found):
    ap = found.results.filter(pl.col("measure") == "average precision for sets")
    assert (ap["value"] > 0.9).all() and (ap["p"] < 0.02).all() and set(ap["n"]) == {12}
    signs = value(found.results, "share of same sign, loci of sets")
    assert (signs["value"], signs["n"]) == (1.0, 12) and signs["p"] == pytest.approx(2 / 2**12)
    matched = value(found.results, "percentile of the score in sets")
    assert matched["value"] > 0.95 and matched["p"] < 0.02 and "maf, distance, ld" in matched["note"]


def test_ranks_are_those_of_each_gene(found):
    snps = found.comparisons[0].snps
    best = snps.filter(pl.col("rank_a") == 1)
    assert best.height == 12 and best["member"].all()
    with_slope = snps.select(pl.corr("effect_a", "effect_b")).item()
    assert with_slope > 0.3  # turned to the same allele


def test_the_same_seed_gives_the_same_tables(planted, found, tmp_path):
    folder, _ = planted
    sets = NamedFile("sets", folder / "sets.tsv")
    again = overlap.run(
        config(
            tmp_path, folder / "effects.tsv", folder / "eqtl.parquet", k=(2, 5), set_file=sets, bfile=folder / "people"
        )
    )
    assert again.results.equals(found.results)


# --- bad input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "more", "words"),
    [
        (re.sub(r"\d$", "1", MODEL, flags=re.M), {}, "same score in model"),
        (MODEL, {"k": (9,)}, "only 3 SNPs are in both"),
        (MODEL, {"k": (0,)}, "--k 0: needed a whole number from 1 to 10,000,000"),
        (MODEL, {"recipe": "other"}, "--recipe other: there is founding-study"),
        (MODEL, {"recipe": "founding-study", "k": (1,)}, "no p-value"),
        (MODEL, {"null": ("blocks",), "k": (1,)}, "needs genotypes"),
        (MODEL, {"null": ("jackknife",)}, "--null jackknife: there are permutation, shift"),
        (MODEL, {"match": ("gc",)}, "--match gc: there are maf, distance, ld"),
        (MODEL, {"draws": 10}, "--draws 10"),
        (MODEL, {"figures": "gif"}, "--figures gif: there are (png, svg|svg, png), none"),
    ],
)
def test_bad_arguments(tmp_path, model, more, words):
    a, b = write(tmp_path, "a.tsv", model), write(tmp_path, "b.tsv", MODEL.replace("effect", "beta"))
    with pytest.raises(GenopredError, match=words):
        overlap.run(config(tmp_path, a, b, **more))
    assert not list(tmp_path.glob("out.*"))


def test_two_tables_of_one_name(tmp_path):
    a = write(tmp_path, "a.tsv", MODEL)
    with pytest.raises(GenopredError, match="two tables are called 'x'"):
        Overlap(a=(NamedFile("x", a),), b=NamedFile("x", a), out=tmp_path / "o", **FEW)


def balanced(report):
    for item in report.table["item"].unique():
        came, used, dropped = (report.count(item, status) for status in ("in", "used", "dropped"))
        assert came == used + dropped, item


def test_counts_add_up_and_nothing_of_an_earlier_run_stays(tmp_path):
    """Of each gene's SNPs: in both tables, in one alone, alone in its gene; sets below a PIP and repeated."""
    rng = np.random.default_rng(1)
    genes = [("g1", range(60)), ("g2", range(40, 90)), ("g3", [7])]
    rows = [(g, f"rs{i}", "22", 100 * i + 1, "A", "G", float(rng.random())) for g, ids in genes for i in ids]
    table = pl.DataFrame(rows, schema=["gene", "id", "chrom", "pos", "ref", "alt", "effect"], orient="row")
    table.write_csv(tmp_path / "a.tsv", separator="\t")
    b = table.filter(pl.col("id") != "rs50").with_columns(
        effect=pl.when(pl.col("id") == "rs41").then(None).otherwise(pl.col("effect").reverse()),
        alt=pl.when(pl.col("id") == "rs42").then(pl.lit("C")).otherwise(pl.col("alt")),
    )
    b.write_csv(tmp_path / "b.tsv", separator="\t")
    sets = table.filter(gene="g1")[:5].with_columns(pip=pl.Series([0.9, 0.8, 0.1, 0.9, 0.9]))
    sets = sets.vstack(sets[:1]).vstack(sets[-1:].with_columns(id=pl.lit("rs999")))
    sets.write_csv(tmp_path / "sets.tsv", separator="\t")
    settings = config(
        tmp_path,
        tmp_path / "a.tsv",
        tmp_path / "b.tsv",
        k=(5,),
        set_file=NamedFile("sets", tmp_path / "sets.tsv"),
        min_pip=0.5,
    )
    found = overlap.run(replace(settings, figures="svg"))
    balanced(found.report)
    report = found.report
    counts = {item: [report.count(item, s) for s in ("in", "used", "dropped")] for item in report.table["item"]}
    # b lacks rs50 (of g1 and g2), has no score for rs41 (of both) and other alleles for rs42 (of both)
    assert counts["model"] == [111, 111, 0] and counts["eqtl"] == [109, 107, 2]
    assert counts["model and eqtl"] == [111 + 2, 104, 9]  # 105 in both, of which g3's one; 6 and 2 in one alone
    assert counts["sets"] == [7, 5, 2] and counts["sets in model and eqtl"] == [5, 4, 1]
    written = pl.read_csv(tmp_path / "out.matched.tsv", separator="\t")
    assert written.select("item", "status", "reason", "n").equals(found.report.table.drop("examples"))
    assert (tmp_path / "out.model.curve.svg").is_file()
    overlap.run(settings)
    assert not list(tmp_path.glob("out.*.svg"))
