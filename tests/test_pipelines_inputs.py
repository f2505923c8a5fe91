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
from genopred.pipelines.cohort import CohortInputs, choose_covariates, open_cohort, open_genotypes

TINY = Path(__file__).parent / "data" / "tiny"
BED = TINY / "expression.qtltools.bed"
SOURCES = {"bfile": TINY / "genotypes", "pfile": TINY / "genotypes", "vcf": TINY / "genotypes.vcf.gz"}


@pytest.fixture(scope="module")
def people():
    return read_expression(BED).samples.tolist()


@pytest.fixture(scope="module")
def covariates(people):
    return read_covariates(TINY / "covariates.qtltools.txt", samples=people)


def test_the_same_genotypes_from_each_format():
    opened = {kind: open_genotypes(**{kind: path}) for kind, path in SOURCES.items()}
    first = opened["bfile"].dosage()
    for genotypes in opened.values():
        assert genotypes.samples.tolist() == opened["bfile"].samples.tolist()
        np.testing.assert_array_equal(genotypes.dosage(), first)
    assert [opened[kind].phased for kind in SOURCES] == [False, True, True]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), "none given"),
        (("bfile", "vcf"), "--bfile and --vcf given"),
        (("bfile", "pfile", "vcf"), "--bfile and --pfile and --vcf given"),
    ],
)
def test_one_source_of_genotypes_is_needed(given, words):
    with pytest.raises(GenopredError, match=f"genotypes: {words}; give one of --bfile, --pfile, --vcf"):
        open_genotypes(**{kind: SOURCES[kind] for kind in given})


@pytest.mark.parametrize("kind", SOURCES)
def test_a_file_that_is_not_there_is_named(kind, tmp_path):
    with pytest.raises(GenopredError, match=re.escape(str(tmp_path / "none"))):
        open_genotypes(**{kind: tmp_path / "none"})


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
def test_covariates_by_name_and_number(covariates, names, first, left):
    chosen = choose_covariates(covariates, names, first)
    assert chosen.names == tuple(f"PC{i + 1}" for i in left)
    np.testing.assert_array_equal(chosen.values, covariates.values[:, left])
    assert chosen.samples.tolist() == covariates.samples.tolist()


def test_no_covariates_are_none(covariates):
    assert choose_covariates(covariates, None, 0) is None
    assert choose_covariates(covariates, (), None) is None


@pytest.mark.parametrize(
    ("names", "first", "words"),
    [
        (("PC1", "age", "sex"), None, ("--covar-name: age, sex not in", "which has PC1, PC2, PC3")),
        (None, 7, ("--n-covariates 7", "has only 6")),
        (("PC1", "PC2"), 3, ("--n-covariates 3", "has only 2")),
    ],
)
def test_covariates_that_are_not_there(covariates, names, first, words):
    with pytest.raises(AlignmentError) as caught:
        choose_covariates(covariates, names, first)
    for word in (*words, str(TINY / "covariates.qtltools.txt")):
        assert word in str(caught.value)


def test_a_cohort_with_lists_and_covariates(tmp_path, people):
    (tmp_path / "keep").write_text("".join(f"0 {name}\n" for name in people[:40]))
    (tmp_path / "remove").write_text("".join(f"{name}\n" for name in people[:5]))
    variants = open_genotypes(bfile=SOURCES["bfile"]).variants["id"].to_list()
    (tmp_path / "extract").write_text("\n".join(variants[:90]))
    (tmp_path / "exclude").write_text("\n".join(variants[:10]))
    inputs = CohortInputs(
        expression=BED,
        bfile=SOURCES["bfile"],
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
    inputs = CohortInputs(expression=BED, bfile=SOURCES["bfile"], keep=tmp_path / "keep", min_overlap=floor)
    if needed <= 30:
        assert len(open_cohort(inputs).samples) == 30
    else:
        with pytest.raises(AlignmentError, match=f"only 30 samples are left .* the floor of {needed}"):
            open_cohort(inputs)
