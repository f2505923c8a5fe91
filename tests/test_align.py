"""Matching of samples, genes, chromosomes and alleles."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred import align
from genopred.errors import AlignmentError, GenopredError
from genopred.io.covariates import read_covariates
from genopred.io.expression import read_expression
from genopred.io.pgen import read_pgen
from genopred.io.plink import read_plink
from genopred.io.vcf import read_vcf
from genopred.types import VARIANT_SCHEMA, Covariates, Genotypes

TINY = Path(__file__).parent / "data" / "tiny"


@pytest.fixture
def genotypes():
    return read_plink(TINY / "genotypes")


@pytest.fixture
def expression():
    return read_expression(TINY / "expression.qtltools.bed")


@pytest.fixture
def covariates():
    return read_covariates(TINY / "covariates.qtltools.txt")


def adds_up(report):
    for item in ("samples", "genes", "variants"):
        assert report.count(item, "used") + report.count(item, "dropped") == report.count(item, "in"), item
    for row in report.table.iter_rows(named=True):
        assert len(row["examples"].replace(", ...", "").split(", ")) <= 3


def test_everything_matches(genotypes, expression, covariates):
    cohort = align.match(genotypes, expression, covariates, window=500_000)
    assert cohort.samples.tolist() == expression.samples.tolist()
    assert cohort.genotypes.samples.tolist() == cohort.covariates.samples.tolist() == expression.samples.tolist()
    adds_up(cohort.report)
    assert cohort.report.count("samples", "used") == 60 and cohort.report.count("genes", "used") == 4
    assert "genes: 1 note: chromosome names matched (chr22 = 22)" in cohort.report.lines()


def test_the_same_people_whatever_the_format_and_order(genotypes, expression, covariates):
    rng = np.random.default_rng(0)
    shuffled = genotypes.select(samples=rng.permutation(genotypes.samples))
    cohorts = [
        align.match(g, expression, covariates.select(rng.permutation(covariates.samples)))
        for g in (genotypes, shuffled, read_pgen(TINY / "genotypes"), read_vcf(TINY / "genotypes.bcf"))
    ]
    first = cohorts[0]
    by_name = {name: i for i, name in enumerate(genotypes.samples.tolist())}
    rows = [by_name[name] for name in first.samples.tolist()]
    np.testing.assert_array_equal(first.genotypes.dosage(), genotypes.dosage()[rows])
    for cohort in cohorts[1:]:
        assert cohort.samples.tolist() == first.samples.tolist()
        np.testing.assert_array_equal(cohort.genotypes.dosage(), first.genotypes.dosage())
        np.testing.assert_array_equal(cohort.covariates.values, first.covariates.values)


def test_keep_remove_extract_exclude_and_genes(genotypes, expression):
    names, ids = genotypes.samples.tolist(), genotypes.variants["id"].to_list()
    cohort = align.match(
        genotypes,
        expression,
        keep=[*names[:40], "nobody"],
        remove=names[:5],
        extract=ids[:30],
        exclude=ids[:3],
        genes=["ENSG00000100105", "ENSG00000185721.7"],
    )
    assert cohort.samples.tolist() == names[5:40]
    assert cohort.genotypes.variants["id"].to_list() == ids[3:30]
    assert cohort.expression.genes["gene_id"].to_list() == ["ENSG00000100105.13", "ENSG00000185721.7"]
    adds_up(cohort.report)
    reasons = {row[2]: row[3] for row in cohort.report.table.filter(status="dropped").rows()}
    assert reasons == {
        "not in --keep": 20,
        "in --remove": 5,
        "not in --extract": 25,
        "in --exclude": 3,
        "not asked for": 2,
    }


def test_expression_without_genotypes_is_refused_unless_allowed(genotypes, expression, covariates):
    fewer = genotypes.select(samples=genotypes.samples[3:])
    with pytest.raises(AlignmentError, match=r"3 of 60 expression samples have no genotypes \(.*--keep-overlap"):
        align.match(fewer, expression)
    cohort = align.match(fewer, expression, keep_overlap=True)
    assert len(cohort.samples) == 57
    adds_up(cohort.report)
    with pytest.raises(AlignmentError, match=r"2 of 60 genotype and expression samples have no covariates"):
        align.match(genotypes, expression, covariates.select(covariates.samples[2:]))


def test_people_without_expression_are_dropped_and_counted(genotypes, expression):
    cohort = align.match(genotypes, expression.select(expression.samples[:50]))
    assert cohort.report.table.filter(reason="no expression")["n"].to_list() == [10]
    adds_up(cohort.report)


def renamed(genotypes, change):
    return replace(genotypes, samples=np.array([change(name) for name in genotypes.samples.tolist()]))


@pytest.mark.parametrize(
    "change, hint",
    [
        (lambda s: f"0_{s}", "FID_IID against IID"),
        (str.lower, "letter case"),
        (lambda s: f"{s}-LCL", "first '-' or '.'"),
        (lambda s: f"person{hash(s)}", "use the same names in both"),
    ],
)
def test_no_common_samples(genotypes, expression, change, hint):
    with pytest.raises(AlignmentError) as caught:
        align.match(renamed(genotypes, change), expression)
    message = str(caught.value)
    assert "no sample is in both" in message and hint in message and "HG00096, HG00097, HG00099, ..." in message


def test_floor(genotypes, expression):
    with pytest.raises(AlignmentError, match=r"only 10 samples.*floor of 20; 50 dropped: not in --keep.*--min-overlap"):
        align.match(genotypes, expression, keep=genotypes.samples[:10])
    assert len(align.match(genotypes, expression, keep=genotypes.samples[:10], min_overlap=10).samples) == 10
    with pytest.raises(AlignmentError, match="--keep and --remove leave none of 60"):
        align.match(genotypes, expression, keep=["x"])


def test_sample_twice(genotypes, expression):
    double = replace(expression, samples=np.array([*expression.samples[:-1], expression.samples[0]]))
    with pytest.raises(AlignmentError, match=r"1 samples occur more than once in .*qtltools.bed \(HG00096\)"):
        align.match(genotypes, double)


def with_chrom(genotypes, chrom):
    return replace(genotypes, variants=genotypes.variants.with_columns(chrom=pl.lit(chrom)))


def test_chromosomes(genotypes, expression):
    with pytest.raises(AlignmentError, match=r"genes are on chr22 .*genotypes on 1 .*same chromosome"):
        align.match(with_chrom(genotypes, "1"), expression)
    table = expression.genes.with_columns(chrom=pl.Series(["chr22", "chr21", "chr22", "chr22"]))
    cohort = align.match(with_chrom(genotypes, "chr22"), replace(expression, genes=table))
    assert cohort.report.table.filter(reason="chromosome not in genotypes")["examples"].to_list() == [
        "ENSG00000213888.2"
    ]
    mixed = genotypes.variants.with_columns(chrom=pl.Series(["21"] * 5 + ["22"] * 50))
    cohort = align.match(replace(genotypes, variants=mixed), expression)
    assert cohort.genotypes.n_variants == 50
    np.testing.assert_array_equal(cohort.genotypes.dosage(), genotypes.dosage()[:, 5:])
    adds_up(cohort.report)


def test_genes_that_cannot_be_used(genotypes, expression):
    values = expression.values.copy()
    values[:, 1] = 3.0
    flat = replace(expression, values=values)
    cohort = align.match(genotypes, flat)
    assert cohort.report.table.filter(reason="constant expression")["examples"].to_list() == ["ENSG00000213888.2"]
    adds_up(cohort.report)
    with pytest.raises(AlignmentError, match=r"no gene .* 1 constant expression \(ENSG00000213888.2\)"):
        align.match(genotypes, flat, genes=["ENSG00000213888"])
    far = replace(genotypes, variants=genotypes.variants.with_columns(pl.col("pos") + 10_000_000))
    with pytest.raises(AlignmentError, match="4 no variant within 100,000 bases.*same genome build"):
        align.match(far, expression, window=100_000)


def test_count_cis(genotypes, expression):
    pos, tss = genotypes.variants["pos"].to_numpy(), expression.genes["tss"].to_numpy()
    expected = [(np.abs(pos - t) <= 60_000).sum() for t in tss]
    assert align.count_cis(genotypes, expression.genes, 60_000).tolist() == expected
    assert min(expected) < max(expected)


def test_genes_by_name(expression):
    genes = expression.genes
    assert align.find_genes(genes, ["ENSG00000240591.99", "ENSG00000100105", "ENSG00000100105.13"]).tolist() == [3, 0]
    with pytest.raises(AlignmentError, match=r"1 of 2 genes.*\(ENSG00000100106\); nearest .* ENSG00000100105.13"):
        align.find_genes(genes, ["ENSG00000100106", "ENSG00000240591"])


def test_nothing_left_to_extract(genotypes, expression):
    with pytest.raises(AlignmentError, match="none of its 55 variants is left, all are not in --extract .*rs1"):
        align.match(genotypes, expression, extract=["rs1"])


def covariates_of(values, names=None):
    values = np.asarray(values, dtype=float)
    names = names or tuple(f"c{j}" for j in range(values.shape[1]))
    return Covariates(values, np.array([f"s{i}" for i in range(len(values))]), names)


def test_missing_covariate():
    values = np.random.default_rng(0).normal(size=(30, 3))
    values[[4, 7], 1] = np.nan
    with pytest.raises(AlignmentError, match=r"1 covariate\(s\) .*c1 of 2 samples \(s4, s7\).*--remove"):
        align.check_covariates(covariates_of(values))


def test_missing_covariate_of_people_not_used(genotypes, expression, covariates):
    values = covariates.values.copy()
    values[0, 2] = np.nan
    bad = replace(covariates, values=values)
    with pytest.raises(AlignmentError, match="PC3 of 1 samples"):
        align.match(genotypes, expression, bad)
    assert len(align.match(genotypes, expression, bad, remove=covariates.samples[:1]).samples) == 59


def test_collinear_covariates():
    values = np.random.default_rng(0).normal(size=(30, 5))
    align.check_covariates(covariates_of(values))
    align.check_covariates(covariates_of(values * [1, 1e-9, 1e9, 1, 1] + 1e3 * np.arange(5)))
    values[:, 3] = 2 * values[:, 0] - values[:, 1] + 7
    with pytest.raises(AlignmentError, match=r"1 follow\(s\) exactly from others: c3 from c0, c1\."):
        align.check_covariates(covariates_of(values))
    dummies = np.eye(3)[np.arange(30) % 3]
    with pytest.raises(AlignmentError, match="c2 from c"):
        align.check_covariates(covariates_of(dummies))
    values[:, 3] = 4
    with pytest.raises(AlignmentError, match=r"same value in all 30 samples used \(c3\)"):
        align.check_covariates(covariates_of(values))
    with pytest.raises(AlignmentError, match="5 covariates of 6 samples"):
        align.check_covariates(covariates_of(values[:6]))


def variants(rows):
    return pl.DataFrame(rows, schema=VARIANT_SCHEMA, orient="row")


def test_variants_without_information():
    nan = np.nan
    dosage = np.array([[0, nan, 1, 0, nan, 2], [1, nan, 1, 0, 0, 2], [2, nan, 1, 1, 1, 2], [1, nan, nan, 0, nan, 2]])
    table = variants([("1", j, f"rs{j}", "A", "G") for j in range(6)])
    use, notes = align.usable_variants(dosage.astype(np.float32), table, maf=0.2)
    assert use.tolist() == [True, False, False, False, True, False]
    assert notes == (
        ("dropped", "genotype of everybody missing", 1, "rs1"),
        ("dropped", "monomorphic", 2, "rs2, rs5"),
        ("dropped", "MAF below 0.2", 1, "rs3"),
    )
    use, notes = align.usable_variants(np.zeros((3, 0), dtype=np.float32), table[:0])
    assert use.shape == (0,) and notes == ()


def sums_of(dosage):
    """Counts, sums and sums of squares of known dosages, block by block as sums over many people are made."""
    parts = [dosage[start : start + 100].astype(np.float64) for start in range(0, len(dosage), 100)]
    return (
        sum((~np.isnan(part)).sum(axis=0) for part in parts),
        sum(np.nansum(part, axis=0) for part in parts),
        sum(np.nansum(part**2, axis=0) for part in parts),
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("hard", [True, False])
def test_variants_are_usable_by_sums_as_by_dosages(seed, hard):
    rng = np.random.default_rng(seed)
    n, m = 2500, 120
    dosage = rng.binomial(2, rng.uniform(0, 1, m) ** 3, (n, m)).astype(np.float32)
    if not hard:
        dosage = np.clip(dosage + rng.choice([0, 1 / 255, -1 / 255], dosage.shape), 0, 2).astype(np.float32)
    dosage[rng.random(dosage.shape) < 0.03] = np.nan
    dosage[:, :10] = np.array([0, 2, 1, 0, 2, *rng.uniform(0, 2, 5).round(0 if hard else 3)], dtype=np.float32)
    step = 1 if hard else 0.001
    dosage[0, 3], dosage[0, 4] = step, 2 - step  # one person differs
    dosage[rng.random(n) < 0.5, 8] = np.nan
    dosage[:, 9] = np.nan
    table = variants([("1", j, f"rs{j}", "A", "G") for j in range(m)])
    for maf in (0.0, 0.05):
        use, notes = align.usable_by_sums(*sums_of(dosage), table, maf=maf)
        expected, said = align.usable_variants(dosage, table, maf=maf)
        assert use.tolist() == expected.tolist() and notes == said
        assert len(notes) == 2 + (maf > 0)
    assert use.sum() > 20 and align.usable_by_sums(*sums_of(dosage), table)[0][3:5].all()


def test_sums_of_other_variants_are_refused():
    with pytest.raises(GenopredError, match=r"squares have shape \(2,\); one entry for each of 3 variants"):
        align.usable_by_sums(np.ones(3), np.ones(3), np.ones(2), variants([("1", j, "", "A", "G") for j in range(3)]))


def test_extended_report_still_adds_up(genotypes, expression):
    longer = align.match(genotypes, expression).report
    for _ in range(2):
        tally = align.Tally(longer)
        tally.add("variants", [("dropped", "monomorphic", 2, "rs1, rs2")])
        longer = tally.report()
        adds_up(longer)
    assert longer.count("variants", "used") == 51
    assert longer.table.filter(reason="monomorphic")["n"].to_list() == [4]


def test_a_tally_holds_those_who_counted_to_their_count():
    tally = align.Tally()
    tally.come("pairs", "in all windows", 1000)
    tally.drop("pairs", "monomorphic", 300)
    tally.drop("pairs", "rare", 0)
    tally.note("pairs", "seen", ["a", "b", "c", "d"])
    report = tally.report()
    assert report.lines() == [
        "pairs: 1,000 in: in all windows",
        "pairs: 700 used: matched",
        "pairs: 300 dropped: monomorphic",
        "pairs: 4 note: seen (a, b, c, ...)",
    ]
    tally.use("pairs", "tested", 700)
    assert tally.report().count("pairs", "used") == 700
    tally.use("pairs", "tested twice", 1)
    with pytest.raises(RuntimeError, match="counts of pairs do not add up: 1000 in, 701 used, 300 dropped"):
        tally.report()


@pytest.mark.parametrize("notes", [[("dropped", "rare", 1, "")], [("in", "here", 1, ""), ("dropped", "rare", 2, "")]])
def test_what_never_came_in_cannot_be_dropped(genotypes, expression, notes):
    tally = align.Tally(align.match(genotypes, expression).report)
    tally.add("pairs", notes)
    with pytest.raises(RuntimeError, match="counts of pairs do not add up"):
        tally.report()


A = variants(
    [
        ("chr1", 10, "rs1", "A", "G"),
        ("chr1", 20, "rs2", "A", "C"),
        ("chr1", 30, "rs3", "A", "G"),
        ("chr1", 40, "rs4", "A", "G"),
        ("chr1", 50, "rs5", "A", "T"),
        ("chr1", 60, "rs6", "A", "G"),
        ("chr1", 70, "rs7", "AC", "A"),
        ("chr1", 80, "rs8", "C", "T"),
        ("chr1", 80, "rs8b", "C", "A"),
    ]
)
B = variants(
    [
        ("1", 80, "rs8b", "A", "C"),  # swapped, of two variants at one place
        ("1", 70, "rs7", "GT", "T"),  # an indel on the other strand
        ("1", 60, "rs6", "A", "C"),  # other alleles
        ("1", 50, "rs5", "T", "A"),  # ambiguous
        ("1", 40, "rs4", "C", "T"),  # other strand, swapped
        ("1", 30, "rs3", "T", "C"),  # other strand
        ("1", 20, "rs2", "c", "a"),  # swapped
        ("1", 10, "rs1", "A", "G"),  # the same
        ("1", 10, "rs1x", "A", "G"),  # once more
        ("1", 99, "rs9", "A", "G"),  # absent
    ]
)


@pytest.mark.parametrize("by", ["position", None])
def test_harmonise(by):
    found = align.harmonise(A, B, by=by, names=("the genotypes", "weights"))
    assert found.a.tolist() == [0, 1, 2, 3, 6, 8]
    assert found.b.tolist() == [7, 6, 5, 4, 1, 0]
    assert found.sign.tolist() == [1, -1, 1, -1, 1, -1]
    assert {(status, reason): n for status, reason, n, _ in found.notes} == {
        ("used", "matched"): 1,
        ("used", "swapped"): 2,
        ("used", "strand-flipped"): 2,
        ("used", "strand-flipped and swapped"): 1,
        ("dropped", "ambiguous strand (A/T or C/G)"): 1,
        ("dropped", "alleles differ"): 1,
        ("dropped", "variant listed more than once"): 1,
        ("dropped", "not in the genotypes"): 1,
    }
    assert found.count("strand-flipped") == 3
    kept = align.harmonise(A, B, ambiguous="keep")
    assert kept.a.tolist() == [0, 1, 2, 3, 4, 6, 8] and kept.sign[4] == -1
    assert ("note", "ambiguous strand (A/T or C/G), alleles believed", 1, "rs5") in kept.notes


def test_harmonise_by_id_and_with_one_allele():
    weights = pl.DataFrame({"id": ["rs2", "rs1", "rs6"], "ref": [None, None, None], "alt": ["A", "G", "C"]}).cast(
        {"ref": pl.String}
    )
    found = align.harmonise(A, weights)
    assert (found.a.tolist(), found.b.tolist(), found.sign.tolist()) == ([0, 1, 5], [1, 0, 2], [1, -1, 1])
    with pytest.raises(GenopredError, match="need the column"):
        align.harmonise(A, weights, by="position")


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_effects_mean_the_same_after_harmonising(data):
    """Whatever strand and order a table has its alleles in, a person's score stays the same up to a constant."""
    m = data.draw(st.integers(1, 8))
    pairs = st.sampled_from([("A", "G"), ("A", "C"), ("G", "A"), ("T", "C"), ("T", "G"), ("C", "T")])
    table = variants([("1", 10 * j, f"rs{j}", *data.draw(pairs)) for j in range(m)])
    swap = np.array(data.draw(st.lists(st.booleans(), min_size=m, max_size=m)))
    flip = data.draw(st.lists(st.booleans(), min_size=m, max_size=m))
    order = data.draw(st.permutations(range(m)))
    other = [{"A": "T", "T": "A", "C": "G", "G": "C"}[base] for base in table["alt"]]
    rows = []
    for j, (chrom, pos, name, ref, alt) in enumerate(table.rows()):
        if flip[j]:
            ref, alt = ({"A": "T", "T": "A", "C": "G", "G": "C"}[base] for base in (ref, alt))
        rows.append((chrom, pos, name, *((alt, ref) if swap[j] else (ref, alt))))
    beta = np.arange(1.0, m + 1)
    theirs = np.where(swap, -beta, beta)[order]
    found = align.harmonise(table, variants([rows[j] for j in order]))
    assert len(other) == m and found.a.tolist() == list(range(m))
    np.testing.assert_array_equal(theirs[found.b] * found.sign, beta)


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda t: t.with_columns(chrom=pl.lit("2")), r"chromosomes differ \(1 against 2\)"),
        (lambda t: t.with_columns(pos=pl.col("pos") + 1), "different genome builds"),
        (lambda t: t.drop("chrom", "pos"), r"by rsID, the other by position \(rs1 against 1:10:A:G\)"),
    ],
)
def test_no_common_variants(change, reason):
    renamed = B.with_columns(id=pl.format("{}:{}:{}:{}", "chrom", "pos", "ref", "alt")).reverse()
    renamed = renamed.with_columns(id=pl.Series(["1:10:A:G", *renamed["id"][1:]]))
    with pytest.raises(AlignmentError, match=f"share no variant.*{reason}"):
        align.harmonise(A, change(renamed))


GRID = variants([("22", 1000 + 7 * j, f"rs{j}", "A", "G") for j in range(200)])


def refusal(b, floor=0.75, **options):
    found = align.harmonise(GRID, b)
    with pytest.raises(AlignmentError) as caught:
        align.require_match(GRID, b, found, floor, names=("cohort", "score"), **options)
    return str(caught.value)


def moved(by, one_right=1):
    """The same variants elsewhere, without ids, and a few where they are."""
    return GRID.with_columns(pos=pl.col("pos") + by, id=pl.lit(".")).vstack(GRID[:one_right])


def named(name):
    return GRID.with_columns(id=pl.lit(name)).vstack(GRID[:1]).drop("chrom", "pos")


@pytest.mark.parametrize(
    "b, message",
    [
        (
            moved(3, 200)[:300],
            r"only 100 of 300 variants of score match cohort \(33.3%; the floor is 75%\): 200 of 300",
        ),
        (moved(-1), "200 of 201 positions match when they are 1 higher: they count from 0"),
        (moved(1), "200 of 201 positions match when they are 1 lower: they count otherwise"),
        (moved(3510), "only 1 of 201 positions do: probably different genome builds"),
        (GRID.with_columns(alt=pl.lit("T"), ref=pl.lit("A")), "alleles differ in 200 rows"),
        (GRID.with_columns(alt=pl.lit("2"), ref=pl.lit("1")), r"alleles are coded \(2\) where bases are needed"),
        (named("22:5:A:G"), r"one names variants by rsID, the other by position \(rs0 against 22:5:A:G\)"),
        (named("rsx"), r"200 of 201 ids are not among the 200 variants \(rs0 against rsx\)"),
    ],
)
def test_too_few_matches_are_refused_with_the_reason(b, message):
    text = refusal(b)
    assert re.search(message, text) and text.endswith("If that is as it should be, lower --min-match."), text


def test_a_named_build_is_in_the_reason():
    other = moved(3510)
    assert "different genome builds, GRCh37 against GRCh38 (lift" in refusal(other, builds=("GRCh37", "GRCh38"))
    assert "(one says that it is of GRCh38; lift" in refusal(other, builds=(None, "GRCh38"))


def test_the_share_leaves_out_what_could_not_match():
    b = GRID[:8].with_columns(weight=pl.Series([1.0, 1, 1, 1, 1, 1, 1, -3]), id=pl.lit("."))
    elsewhere = b.with_columns(chrom=pl.lit("3"))
    nowhere = b.with_columns(pos=pl.lit(None, pl.Int64))
    absent = b[7:].with_columns(pos=pl.lit(5, pl.Int64), id=pl.lit("x"))
    table = pl.concat([b[:7], elsewhere, nowhere, absent, b[:2]])
    found = align.harmonise(GRID, table, names=("cohort", "score"))
    assert {reason: n for _, reason, n, _ in found.notes} == {
        "matched": 7,
        "variant listed more than once": 2,
        "not in cohort": 1,
        "chromosome not in cohort": 8,
        "no position": 8,
    }
    assert found.share() == 7 / 8 and found.share(table["weight"]) == 7 / 10
    assert align.require_match(GRID, table, found, 0.75, names=("a", "b"), weight=table["weight"]) == 7 / 8
    assert "87.5%, 70.0% by weight" in refusal(table, 0.9, weight=table["weight"])
    with pytest.raises(AlignmentError, match=r"share no variant: their chromosomes differ \(22 against 3\)"):
        align.harmonise(GRID, elsewhere, by="position")


def test_results_may_hold_more_than_the_genotypes():
    more = GRID.with_columns(pos=pl.col("pos") + 3, id=pl.lit("x"))
    table = pl.concat([GRID[:150], more])
    found = align.harmonise(GRID, table)
    assert align.require_match(GRID, table, found, 0.75, names=("a", "b"), either=True) == 0.75
    assert "only 150 of 200 variants of cohort match score (75.0%; the floor is 80%)" in refusal(
        table, 0.8, either=True
    )
    assert "only 150 of 350 variants of score match cohort" in refusal(table)


def test_ids_match_where_positions_are_of_another_build():
    other = GRID.with_columns(pos=pl.col("pos") + 700)  # half of the places are taken, by other variants
    found = align.harmonise(GRID, other)
    assert found.by == "position" and found.count("matched") == 100
    few = GRID.with_columns(pos=pl.col("pos") + 1200 // 7 * 7)
    found = align.harmonise(GRID, few)
    assert found.by == "id" and found.count("matched") == 200
    assert ("note", "told by id: by position far fewer are the same", 200, "") in found.notes
    assert np.array_equal(found.a, found.b)


def test_each_score_may_have_a_variant_in_its_own_orientation():
    row = GRID[:2].with_columns(score=pl.lit("x"))
    turned = row.select("chrom", "pos", "id", pl.col("alt").alias("ref"), pl.col("ref").alias("alt"), score=pl.lit("y"))
    table = pl.concat([row, turned, turned])
    found = align.harmonise(GRID, table, within="score")
    assert found.a.tolist() == [0, 0, 1, 1] and sorted(found.b.tolist()) == [0, 1, 2, 3]
    assert dict(zip(found.b.tolist(), found.sign.tolist())) == {0: 1, 1: 1, 2: -1, 3: -1}
    assert found.count("variant listed more than once") == 2
    assert align.harmonise(GRID, table).count("variant listed more than once") == 4


def test_variants_without_id_are_named_by_place():
    table = GRID[:3].with_columns(id=pl.Series([".", None, "rs2"]), ref=pl.Series(["A", None, "A"]))
    assert align.variant_names(table).to_list() == ["22:1000:A:G", "22:1007:G", "rs2"]
    found = align.harmonise(
        GRID, table.with_columns(pos=pl.col("pos") + pl.Series([0, 1, 1])), by="position", names=("a", "b")
    )
    assert ("dropped", "not in a", 2, "22:1008:G, rs2") in found.notes


def test_genotypes_in_memory_match_too(expression):
    table = variants([("22", 31_742_000, "rs1", "A", "G")])
    held = Genotypes.from_arrays(expression.samples, table, dosage=np.ones((60, 1)))
    assert align.match(held, expression, window=10_000).report.count("genes", "used") == 2


def test_a_floor_above_all_people_does_not_blame_the_names(genotypes, expression):
    with pytest.raises(AlignmentError, match=r"floor of 400; the files hold no more: lower --min-overlap\.$"):
        align.match(genotypes, expression, min_overlap=400)


def test_covariates_too_large_or_too_small_for_a_square():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 3))
    align.check_covariates(covariates_of(values * [1e-300, 1, 1e60]))
    values[3, 2] = 1e300
    with pytest.raises(AlignmentError, match=r"1 value\(s\) are too large to calculate with, e.g. 1e\+300 as"):
        align.check_covariates(covariates_of(values))
    values[:, 2] = values[:, 0] * 1e-200
    with pytest.raises(AlignmentError, match="collinear, 1 follow"):
        align.check_covariates(covariates_of(values))


def test_genes_of_another_build_than_the_genotypes(genotypes, expression):
    def genes_at(tss, chrom="17"):
        table = expression.genes.with_columns(chrom=pl.lit(chrom), tss=pl.lit(tss, pl.Int64))
        return align.check_builds(here, table, "expr.bed")

    here = replace(genotypes, build="GRCh37")
    genes_at(81_195_210)
    genes_at(60_000_000, "chr22")  # beyond both: of another species, or an error that the builds do not explain
    with pytest.raises(AlignmentError, match=r"is of GRCh37 by the lengths.*expr.bed is not: 4 genes start beyond"):
        genes_at(83_000_000)
    here = replace(genotypes, build="GRCh38")
    with pytest.raises(AlignmentError, match="is of GRCh38"):
        align.match(here, replace(expression, genes=expression.genes.with_columns(tss=pl.lit(51_000_000, pl.Int64))))
    late = genotypes.variants.with_columns(pos=pl.lit(83_000_000, pl.Int64), chrom=pl.lit("chr17"))
    here = replace(genotypes, variants=late, build=None)
    with pytest.raises(AlignmentError, match=r"is of GRCh38 by variants.*\(.* at 22:51,000,000"):
        genes_at(51_000_000, "22")
    here = replace(genotypes, build=None)
    genes_at(83_000_000)


# --- weights, and builds ---------------------------------------------------------------------------------------------


def test_the_share_can_be_that_of_the_variance():
    b = GRID[:4].with_columns(pos=pl.Series([1000, 1007, 3, 4]))
    found = align.harmonise(GRID, b, by="position")
    for weight, share in (([1, 1, 1, 1], 0.5), ([9, 9, 1, 1], 0.9)):
        assert align.require_match(GRID, b, found, 0.5, names=("a", "b"), weight=weight, by_weight=True) == share
    with pytest.raises(AlignmentError, match=r"only 2 of 4 variants of b match a \(10.0% by the variance they explain"):
        align.require_match(GRID, b, found, 0.5, names=("a", "b"), weight=[1, 1, 9, 9], by_weight=True)
    assert align.require_match(GRID, b, found, 0.4, names=("a", "b"), weight=[1, 1, 9, 9]) == 0.5


def test_weights_are_matched_by_place_and_the_rest_by_id():
    b = variants([
        ("22", 1000, "other", "A", "G"),  # by place, whatever its id
        ("22", 5, "rs3", "A", "G"),  # another place: by id
        ("22", 6, "rs4", "G", "A"),
        ("22", 7, "rs5", "A", "C"),  # its alleles differ there too
        ("22", 8, "rs0", "A", "G"),  # another gene's name of the first: both find it
        ("22", 9, "unknown", "A", "G"),
        ("22", 1042, "rs6", "T", "C"),
        *GRID[100:120].rows(),
    ])  # fmt: skip
    found = align.match_weights(GRID, b)
    pairs = {j: i for i, j in zip(found.a.tolist(), found.b.tolist()) if j < 7}
    assert pairs == {0: 0, 4: 0, 1: 3, 2: 4, 6: 6} and len(found.a) == 25
    signs = dict(zip(found.b.tolist(), found.sign.tolist()))
    assert [signs[j] for j in (0, 1, 2, 6)] == [1, 1, -1, 1]
    assert [align.FATES[i] for i in found.fate[:7]] == [
        "matched", "matched", "swapped", "not in {}", "matched", "not in {}", "strand-flipped",
    ]  # fmt: skip
    assert np.all(np.diff(found.a) >= 0)
    assert sum(n for status, _, n, _ in found.notes if status in ("used", "dropped")) == b.height


@given(st.permutations(range(40)), st.integers(0, 2**31))
def test_matching_weights_does_not_depend_on_order_or_naming(order, seed):
    rng = np.random.default_rng(seed)
    a = GRID[:60]
    b = GRID[20:60]
    moved_on = rng.random(40) < 0.3
    b = b.with_columns(pos=pl.Series(np.where(moved_on, b["pos"].to_numpy() + 1, b["pos"].to_numpy())),
                       chrom=pl.lit("chr22"))  # fmt: skip
    one, two = align.match_weights(a, b), align.match_weights(a, b[list(order)])
    assert sorted(zip(one.a.tolist(), one.b.tolist())) == sorted(
        (i, order[j]) for i, j in zip(two.a.tolist(), two.b.tolist())
    )
    assert len(one.a) == 40  # by place, or by id where that moved


CHAIN = pl.DataFrame(
    [
        ("1", "2", -1, 900.0, 100, 130, 449),
        ("1", "3", 1, 100.0, 10, 120, 1010),
        ("1", "3", 1, 100.0, 140, 160, 1135),
    ],
    schema=["chrom", "to_chrom", "sign", "score", "start", "end", "to_start"],
    orient="row",
)
