"""Models, scores and summary statistics, beyond the planted faults of test_pipelines_doctor.py."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from doctor_data import cohort, write

from genopred.pipelines import doctor_effects
from genopred.pipelines.doctor_files import Files, open_all


@pytest.fixture(scope="module")
def made():
    return cohort(seed=5)


def opened(made, folder, *only):
    return open_all(tuple(write(made, folder, only).values()), lambda name: None)[0]


def test_errors_that_do_not_fit_the_p_values(made, tmp_path):
    files = opened(made, tmp_path, "sumstats")
    one = files.opened[0]
    wrong = replace(one, content=one.content.with_columns(se=one.content["se"] * 3))
    found = list(doctor_effects.effects(Files([wrong])))
    assert [f.level for f in found] == ["green", "amber"] and "does not give the p-value" in found[1].said


def test_some_of_the_models_is_missing(made, tmp_path):
    made = copy.deepcopy(made)
    kept = [i for i in range(made.variants.height) if i % 7]
    whole = made.variants
    made.variants, made.alleles = whole[kept], made.alleles[:, :, kept]
    made.more["effects"] = whole
    [match] = [f for f in doctor_effects.effects(opened(made, tmp_path, "vcf", "models")) if f.check == "match"]
    assert match.level == "amber" and "of the models' variance is found" in match.said and match.remedy


def test_alleles_the_other_way_round_are_put_right(made, tmp_path):
    files = opened(made, tmp_path, "vcf", "score")
    one = files.first("score")
    turned = one.content.rename({"ref": "alt", "alt": "ref"})
    found = list(doctor_effects.effects(Files([files.first("genotypes"), replace(one, content=turned)])))
    assert {f.level for f in found} == {"green"} and any("2,400 with alleles swapped" in f.said for f in found)


def test_models_found_by_id(made, tmp_path):
    files = opened(made, tmp_path, "vcf", "models")
    typed, models = files.first("genotypes"), files.first("models")
    assert doctor_effects.found_by_id(models, typed)
    other = replace(models.content, weights=models.content.weights.with_columns(id="x" + models.content.weights["id"]))
    assert not doctor_effects.found_by_id(replace(models, content=other), typed)
