"""Names, relatives and swaps beyond the planted faults of test_pipelines_doctor.py."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from doctor_data import cohort, write

from genopred.pipelines import doctor_people
from genopred.pipelines.doctor_files import common_people, open_all
from genopred.settings import Doctor


@pytest.fixture(scope="module")
def made():
    return cohort(seed=3)


def opened(made, folder, *only):
    files, found = open_all(tuple(write(made, folder, only).values()), lambda name: None)
    assert found == []
    return files


def settings(files):
    return Doctor(files=tuple(one.path for one in files.opened))


def test_people_of_the_genotypes_alone_are_no_fault(made, tmp_path):
    made = copy.deepcopy(made)
    made.expressed, made.values = made.expressed[20:], made.values[20:]
    made.covaried, made.covariates = made.covaried[10:], made.covariates[10:]
    files = opened(made, tmp_path, "vcf", "expression", "covar")
    assert {one.level for one in doctor_people.overlaps(files)} == {"green"}
    assert common_people(files).tolist() == made.expressed


def test_swaps_are_found_whatever_the_order_of_people(made, tmp_path):
    made = copy.deepcopy(made)
    order = np.random.default_rng(1).permutation(len(made.expressed))
    made.values, made.expressed = made.values[order], [made.expressed[i] for i in order]
    files = opened(made, tmp_path, "vcf", "expression", "covar")
    assert [one.level for one in doctor_people.swaps(files, settings(files))] == ["green"]
    a, b = made.expressed.index("S010"), made.expressed.index("S099")
    made.values[[a, b]] = made.values[[b, a]]
    files = opened(made, tmp_path, "vcf", "expression", "covar")
    [red] = [one for one in doctor_people.swaps(files, settings(files)) if one.level == "red"]
    assert "S010" in red.said and "S099" in red.said


def test_leads_are_the_best_common_snps(made, tmp_path):
    files = opened(made, tmp_path, "vcf", "expression")
    genotypes, expression = files.first("genotypes").content, files.first("expression").content
    names = expression.samples
    rows, lead, r2 = doctor_people.leads(genotypes, expression, expression.values, names)
    assert (r2[::2] > 0.35).all() and np.median(r2[1::2]) < 0.2  # every second gene has a SNP
    np.testing.assert_allclose(
        [np.corrcoef(lead[rows, j], expression.values[:, j])[0, 1] ** 2 for j in range(6)], r2[:6], rtol=1e-6
    )


def test_few_people_or_few_genes_are_not_judged(made, tmp_path):
    made = copy.deepcopy(made)
    made.expressed, made.values = made.expressed[:30], made.values[:30]
    files = opened(made, tmp_path, "vcf", "expression")
    [one] = doctor_people.swaps(files, settings(files))
    assert one.level == "green" and "too few" in one.said
    assert list(doctor_people.swaps(opened(made, tmp_path, "vcf"), settings(files))) == []


def test_several_ancestries_are_not_outliers(made, tmp_path):
    made = copy.deepcopy(made)
    rng = np.random.default_rng(1)
    other = rng.uniform(0, 1, made.alleles.shape[2])
    made.alleles[:25] = rng.random(made.alleles[:25].shape) < other
    one = opened(made, tmp_path, "vcf").first("genotypes")
    x, pos = one.content.dosage(), one.content.variants["pos"].to_numpy()
    [found] = [f for f in doctor_people.relatives(one, x, pos, True) if f.check == "ancestry"]
    assert found.level == "amber" and "several ancestries" in found.said and "--stratify" in found.remedy


def test_covariates_that_nearly_follow(made, tmp_path):
    made = copy.deepcopy(made)
    made.covariates[:, 3] = made.covariates[:, 0] + 1e-3 * made.covariates[:, 3]
    files = opened(made, tmp_path, "vcf", "expression", "covar")
    assert any("nearly from others (PC4)" in f.said and f.level == "amber" for f in doctor_people.covariates(files))
