"""The way in of every workflow: which files are opened, which covariates and how many people are needed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genopred.errors import AlignmentError, GenopredError
from genopred.io.covariates import read_covariates
from genopred.io.expression import read_expression
from genopred.pipelines.inputs import (
    chosen_genes,
    expression_values,
    open_cohort,
    open_covariates,
    open_filtered,
    open_genotypes,
)
from genopred.settings import Prs, Stack, parts

TINY = Path(__file__).parent / "data" / "tiny"
BED = TINY / "expression.qtltools.bed"
COVAR = TINY / "covariates.qtltools.txt"
ONE = "exactly one of --bfile, --pfile, --vcf and --bgen"
SOURCES = {"bfile": TINY / "genotypes", "pfile": TINY / "genotypes", "vcf": TINY / "genotypes.vcf.gz"}


@pytest.fixture(scope="module")
def people():
    return read_expression(BED).samples.tolist()


@pytest.fixture(scope="module")
def covariates(people):
    return read_covariates(COVAR, samples=people)


def of(kind, **chosen):
    return open_genotypes(parts.Genotypes(**{kind: SOURCES[kind]} if not chosen else chosen))


def cohort_of(**chosen):
    return parts.Cohort(**({"expression": BED, "bfile": SOURCES["bfile"]} | chosen))


def test_the_same_genotypes_from_each_format():
    opened = {kind: of(kind) for kind in SOURCES}
    first = opened["bfile"].dosage()
    for genotypes in opened.values():
        assert genotypes.samples.tolist() == opened["bfile"].samples.tolist()
        np.testing.assert_array_equal(genotypes.dosage(), first)
    assert [opened[kind].phased for kind in SOURCES] == [False, True, True]


def test_a_bgen_with_its_sample(tmp_path):
    pytest.importorskip("bgen")
    from test_io_bgen import SAMPLE, calls, some_dosages, write_bgen

    path = write_bgen(tmp_path / "x.bgen", calls(some_dosages()), names=None)
    (tmp_path / "people.sample").write_text(SAMPLE)
    found = open_genotypes(parts.Genotypes(bgen=path, sample=tmp_path / "people.sample"))
    assert found.samples.tolist() == [f"p{i}" for i in range(5)]
    np.testing.assert_array_equal(found.dosage(), some_dosages())
    with pytest.raises(GenopredError, match="--sample names the people of a --bgen"):
        parts.Genotypes(bfile=SOURCES["bfile"], sample=tmp_path / "people.sample")
    with pytest.raises(GenopredError, match="--vcf and --bgen given"):
        parts.Genotypes(vcf=SOURCES["vcf"], bgen=path)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), "none given"),
        (("bfile", "vcf"), "--bfile and --vcf given"),
        (("bfile", "pfile", "vcf"), "--bfile and --pfile and --vcf given"),
    ],
)
def test_one_source_of_genotypes_is_needed(given, words):
    with pytest.raises(GenopredError, match=f"Genotypes: {words}; give {ONE}"):
        parts.Genotypes(**{kind: SOURCES[kind] for kind in given})


def test_genotypes_that_can_be_left_out_are_missed_where_they_are_needed():
    from genopred.settings import Overlap

    without = Overlap(a=("a=x",), b="b=y")
    with pytest.raises(GenopredError, match=f"Genotypes: none given; give {ONE}"):
        open_genotypes(without)


def test_alleles_of_a_vcf_are_split_on_request(tmp_path):
    line = "22\t{}\tv{}\tA\t{}\t.\tPASS\t.\tGT\t0|1\t{}|1\n"
    head = '##fileformat=VCFv4.2\n##contig=<ID=22>\n##FORMAT=<ID=GT,Number=1,Type=String,Description="">\n'
    head += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ta\tb\n"
    vcf = tmp_path / "two.vcf"
    vcf.write_text(head + line.format(10, 1, "C", 0) + line.format(20, 2, "C,G", 2))
    asked = parts.Genotypes(vcf=vcf)
    assert open_genotypes(asked).variants["pos"].to_list() == [10]
    split = open_genotypes(asked, split=True)
    assert split.variants.select("pos", "alt").rows() == [(10, "C"), (20, "C"), (20, "G")]
    np.testing.assert_array_equal(split.dosage()[:, 1:], [[1, 0], [1, 1]])


@pytest.mark.parametrize("kind", SOURCES)
def test_a_file_that_is_not_there_is_named(kind, tmp_path):
    with pytest.raises(GenopredError, match=re.escape(str(tmp_path / "none"))):
        of(kind, **{kind: tmp_path / "none"})


@pytest.mark.parametrize(
    ("names", "first", "left"),
    [
        (None, None, [0, 1, 2, 3, 4, 5]),
        (None, 2, [0, 1]),
        (None, 6, [0, 1, 2, 3, 4, 5]),
        (("PC4", "PC2"), None, [3, 1]),
        (("PC4", "PC2", "PC1"), 2, [3, 1]),
    ],
)
def test_covariates_by_name_and_number(people, covariates, names, first, left):
    chosen = open_covariates(parts.Covariates(covar=COVAR, covar_name=names, n_covariates=first), set(people))
    assert chosen.names == tuple(f"PC{i + 1}" for i in left)
    np.testing.assert_array_equal(chosen.values, covariates.values[:, left])
    assert chosen.samples.tolist() == covariates.samples.tolist()


def test_no_covariates_are_none(people):
    assert open_covariates(parts.Covariates(covar=COVAR, n_covariates=0), set(people)) is None
    assert open_covariates(parts.Covariates(), set(people)) is None
    with pytest.raises(GenopredError, match="--covar-name: names nothing"):
        parts.Covariates(covar=COVAR, covar_name=())


@pytest.mark.parametrize(
    ("names", "first", "words"),
    [
        (("PC1", "age", "sex"), None, ("--covar-name: age, sex not in", "which has PC1, PC2, PC3")),
        (None, 7, ("--n-covariates 7", "has only 6")),
        (("PC1", "PC2"), 3, ("--n-covariates 3", "has only 2")),
    ],
)
def test_covariates_that_are_not_there(people, names, first, words):
    chosen = parts.Covariates(covar=COVAR, covar_name=names, n_covariates=first)
    with pytest.raises(AlignmentError) as caught:
        open_covariates(chosen, set(people))
    for word in (*words, str(COVAR)):
        assert word in str(caught.value)


def test_a_cohort_with_lists_and_covariates(tmp_path, people):
    (tmp_path / "keep").write_text("".join(f"0 {name}\n" for name in people[:40]))
    (tmp_path / "remove").write_text("".join(f"{name}\n" for name in people[:5]))
    variants = of("bfile").variants["id"].to_list()
    (tmp_path / "extract").write_text("\n".join(variants[:90]))
    (tmp_path / "exclude").write_text("\n".join(variants[:10]))
    inputs = cohort_of(
        covar=TINY / "covariates.plink.txt",
        n_covariates=3,
        **{name: tmp_path / name for name in ("keep", "remove", "extract", "exclude")},
    )
    cohort = open_cohort(inputs)
    assert cohort.samples.tolist() == people[5:40]
    assert cohort.covariates.names == ("PC1", "PC2", "PC3")
    assert cohort.genotypes.variants["id"].to_list() == variants[10:90]
    assert cohort.report.count("samples", "dropped") == 25
    assert open_cohort(replace(inputs, n_covariates=0)).covariates is None
    with pytest.raises(GenopredError, match="--n-covariates 9"):
        open_cohort(replace(inputs, n_covariates=9))


@pytest.mark.parametrize(("floor", "needed"), [(0.5, 30), (0.51, 31), (0.99, 60), (30, 30), (31, 31), (1, 1)])
def test_the_fewest_people_as_a_share_or_a_number(tmp_path, people, floor, needed):
    """Of the 60 people with expression 30 are kept."""
    (tmp_path / "keep").write_text("\n".join(people[:30]))
    inputs = cohort_of(keep=tmp_path / "keep", min_overlap=floor)
    if needed <= 30:
        assert len(open_cohort(inputs).samples) == 30
    else:
        with pytest.raises(AlignmentError, match=f"only 30 samples are left .* the floor of {needed}"):
            open_cohort(inputs)


def test_genes_by_name_from_a_file_or_all(tmp_path):
    (tmp_path / "genes").write_text("g2\ng3\n")
    assert chosen_genes(parts.Genes(all_genes=True)) is None
    assert chosen_genes(parts.Genes(gene=("g1", "g2"))) == ("g1", "g2")
    assert chosen_genes(parts.Genes(genes=tmp_path / "genes")) == ("g2", "g3")
    with pytest.raises(GenopredError, match="no such file"):
        chosen_genes(parts.Genes(genes=tmp_path / "absent"))


def test_a_cohort_of_some_genes_within_a_window(people):
    every = open_cohort(cohort_of())
    ids = every.expression.genes["gene_id"].to_list()
    some = open_cohort(cohort_of(gene=(ids[1].partition(".")[0],), window="100kb"))
    assert len(ids) > 1 and some.expression.genes["gene_id"].to_list() == [ids[1]]


@pytest.mark.parametrize(("workflow", "more"), [(Stack, {}), (Prs, {"inner_folds": 3})])
@pytest.mark.parametrize("transform", ["inverse-normal", "quantile"])
def test_quantile_normalisation_knows_all_genes_of_the_file(workflow, more, transform, people):
    """A gene's values do not depend on the genes beside it."""

    def values(**chosen):
        settings = workflow(
            bfile=SOURCES["bfile"], expression=BED, transform=transform, residualize="none", **more, **chosen
        )
        cohort = open_cohort(settings)
        return expression_values(settings, cohort), cohort.expression

    all_genes, whole = values(all_genes=True)
    one, _ = values(gene=(whole.genes["gene_id"][1],))
    assert np.array_equal(one[:, 0], all_genes[:, 1])
    assert np.array_equal(all_genes, whole.values) == (transform == "inverse-normal")
    # after it, everyone has the same values over the genes of the file
    assert (np.ptp(np.sort(all_genes, axis=1), axis=0) < 1e-9).all() == (transform == "quantile")


@pytest.fixture
def lists(tmp_path, people):
    """Lists of people and variants, and what all of them leave."""
    variants = of("bfile").variants["id"].to_list()
    names = {"keep": people[:40], "remove": people[:5], "extract": variants[:40], "exclude": variants[:10]}
    for name, listed in names.items():
        (tmp_path / name).write_text("\n".join(listed) + "\n")
    return {name: tmp_path / name for name in names}


def test_genotypes_after_the_lists_of_people_and_variants(lists, people):
    whole = of("bfile")
    everything, fewer, tally = open_filtered(cohort_of(**lists))
    kept = [name for name in whole.samples.tolist() if name in people[5:40]]
    assert everything.samples.tolist() == fewer.samples.tolist() == kept
    assert everything.variants.equals(whole.variants) and fewer.variants.equals(whole.variants[10:40])
    assert [row[:2] for row in tally.dropped("samples")] == [
        ("not in --keep", len(whole.samples) - 40),
        ("in --remove", 5),
    ]
    assert [row[:2] for row in tally.dropped("variants")] == [
        ("not in --extract", whole.n_variants - 40),
        ("in --exclude", 10),
    ]
    everything, fewer, tally = open_filtered(cohort_of())
    assert fewer is everything and not tally.dropped("samples") and not tally.dropped("variants")


@pytest.mark.parametrize(
    ("of_list", "words"),
    [
        ({"keep": ["x"]}, r"--keep \S* leaves none of \d+ samples \(HG"),
        ({"keep": 5, "remove": 5}, r"--remove \S* leaves none of 5 samples"),
        ({"extract": ["x"]}, r"--extract \S* leaves none of [\d,]+ variants"),
        ({"extract": 3, "exclude": 3}, r"--exclude \S* leaves none of 3 variants"),
    ],
)
def test_lists_that_leave_nothing_are_named(tmp_path, people, of_list, words):
    variants = of("bfile").variants["id"].to_list()
    for name, listed in of_list.items():
        if isinstance(listed, int):
            listed = (people if name in ("keep", "remove") else variants)[:listed]
        (tmp_path / name).write_text("\n".join(listed) + "\n")
    with pytest.raises(AlignmentError, match=words):
        open_filtered(cohort_of(**{name: tmp_path / name for name in of_list}))
