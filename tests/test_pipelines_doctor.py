"""Planted faults: each is named in one line with its remedy; what is clean is not red."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from doctor_data import Cohort, cohort, write

import genopred
from genopred.builds import lift, side_by_side
from genopred.cli import main
from genopred.pipelines import doctor
from genopred.settings import Doctor

PEOPLE = ("vcf", "expression", "covar")


@pytest.fixture(scope="session")
def clean() -> Cohort:
    return cohort()


def findings(files, **more):
    return doctor.run(Doctor(files=tuple(files), forecast=False, **more)).findings


def test_a_clean_cohort_is_green(clean, tmp_path):
    found = findings(write(clean, tmp_path).values())
    assert [one.line() for one in found if one.level != "green"] == []
    assert {one.check for one in found} >= {
        "people",
        "covariates",
        "reference",
        "match",
        "swaps",
        "relatives",
        "ancestry",
    }


def test_the_embedded_data_are_not_red():
    example = genopred.load_example()
    files = [example.expression_file, example.covariates_file, example.reference_file]
    for genotypes in (example.pfile, example.folder / "geuvadis.bed"):
        diagnosis = doctor.run(Doctor(files=(genotypes, *files), forecast=False))
        assert [one.line() for one in diagnosis.findings if one.level == "red"] == []
    assert [one.check for one in diagnosis.findings if one.level == "amber"] == ["phase"]  # a .bed has none


def test_the_shared_data_are_not_red(shared):
    data = shared / "data"
    files = sorted((data / "geuvadis_chr22").glob("*.gz")) + [data / "reference" / "chr22.b37.fa.gz"]
    diagnosis = doctor.run(Doctor(files=tuple(files), forecast=False))
    assert [one.line() for one in diagnosis.findings if one.level == "red"] == []
    relatives, odd = [one for one in diagnosis.findings if one.level == "amber"]
    assert "HG00116 - HG00120" in relatives.said  # known cousins or closer of 1000 Genomes
    assert "NA12058" in odd.said and odd.check == "swaps"  # nobody's genotypes fit this expression
    # the same people against the other build
    other = [files[-1].with_name("chr22.hg38.fa.gz"), data / "reference" / "gencode.v24.annotation_chr22.gtf.gz"]
    found = findings([*files[:-1], *other])
    assert {one.check for one in found if one.level == "red"} == {"build", "reference"}


# --- planted faults --------------------------------------------------------------------------------------------------


def moved(c):
    """The variants at their places in GRCh38."""
    there = lift(c.variants, side_by_side())
    return there.with_columns(pl.coalesce("pos", c.variants["pos"]), chrom=c.variants["chrom"])


def other_build_effects(c):
    c.more |= {"effects": moved(c).with_columns(id="x" + pl.col("id")), "models_build": "b38"}


def other_build_by_id(c):
    c.more |= {"effects": moved(c), "models_build": "b38"}


def other_build_genotypes(c):
    c.variants = moved(c)


def header_against_genes(c):
    # a header of GRCh38, and a gene beyond its chromosome's end
    c.header = {"22": "##contig=<ID=22,length=50818468>"}
    c.variants = c.variants.with_columns(chrom=pl.col("chrom").replace({"2": "22"}))
    genes = c.genes.with_columns(chrom=pl.col("chrom").replace({"2": "22"}))
    last = genes["tss"].to_list()
    last[-1] = 51_200_000
    c.genes = genes.with_columns(tss=pl.Series(last))


def chr_names(c):
    c.genes = c.genes.with_columns(chrom="chr" + pl.col("chrom"))


def other_chromosomes(c):
    c.genes = c.genes.with_columns(chrom=pl.col("chrom").replace({"1": "3", "2": "4"}))


def disjoint(c):
    c.expressed = [f"X{i}" for i in range(len(c.expressed))]


def fid_iid(c):
    c.expressed = [f"F_{name}" for name in c.expressed]


def few_in_common(c):
    c.expressed = [name if i < 15 else f"X{i}" for i, name in enumerate(c.expressed)]


def some_without_genotypes(c):
    c.expressed = [name if i < 100 else f"X{i}" for i, name in enumerate(c.expressed)]
    c.covaried = c.expressed


def covariates_lack_people(c):
    c.covariates, c.covaried = c.covariates[:-7], c.covaried[:-7]


def constant_covariate(c):
    c.covariates[:, 1] = 3.0


def collinear_covariates(c):
    c.covariates[:, 3] = c.covariates[:, 0] - 2 * c.covariates[:, 2]


def missing_covariate(c):
    c.covariates[5, 2] = np.nan


def too_many_covariates(c):
    c.covariates = np.random.default_rng(3).standard_normal((len(c.covaried), 50))


def counts(c):
    c.values = np.round(50 * 2.0 ** (2 + c.values))


def missing_expression(c):
    c.values[4, 7] = np.nan


def same_gene_twice(c):
    ids = c.genes["gene_id"].to_list()
    ids[3] = ids[2]
    c.genes = c.genes.with_columns(gene_id=pl.Series(ids))


def same_sample_twice(c):
    c.expressed[9] = c.expressed[8]


def same_profile_twice(c):
    c.values[9] = c.values[8]


def no_places(c):
    c.genes = c.genes.with_columns(tss=pl.lit(1))


def constant_gene(c):
    c.values[:, 5] = 2.0


def calls_all_missing(c):
    c.alleles[:, :, ::10] = -1


def calls_often_missing(c):
    c.alleles[:30, :, ::5] = -1


def person_without_calls(c):
    c.alleles[17, :, ::3] = -1


def monomorphic(c):
    c.alleles[:, :, ::8] = 0


def unphased(c):
    c.phased = False


def exchanged(c):
    c.values[[3, 77]] = c.values[[77, 3]]


def mistaken(c):
    # three in a circle: no two are exchanged
    c.values[[3, 40, 77]] = c.values[[40, 77, 3]]


def shuffled(c):
    c.values = c.values[np.random.default_rng(2).permutation(len(c.values))]


def one_person_twice(c):
    c.alleles[11] = c.alleles[10]


def child(c):
    # one haplotype of each of two parents
    c.alleles[60, 0], c.alleles[60, 1] = c.alleles[61, 0], c.alleles[62, 1]


def foreigner(c):
    rng = np.random.default_rng(5)
    other = rng.uniform(0.0, 1.0, c.alleles.shape[2])
    c.alleles[33] = rng.random(c.alleles[33].shape) < other


def swapped_alleles(c):
    half = pl.int_range(pl.len()) % 2 == 0
    ref, alt = (
        pl.when(half).then(a).otherwise(b) for a, b in ((pl.col("alt"), pl.col("ref")), (pl.col("ref"), pl.col("alt")))
    )
    c.variants = c.variants.with_columns(ref=ref, alt=alt)


def zero_based(c):
    c.variants = c.variants.with_columns(pos=pl.col("pos") - 1)


def other_strand(c):
    half = pl.int_range(pl.len()) % 2 == 0
    turned = pl.col("ref", "alt").replace(dict(zip("ACGT", "TGCA")))
    c.variants = c.variants.with_columns(pl.when(half).then(turned).otherwise(pl.col("ref", "alt")))


def coded_alleles(c):
    c.variants = c.variants.with_columns(ref=pl.lit("1"), alt=pl.lit("2"))


def another_reference(c):
    rng = np.random.default_rng(7)
    c.sequence = {name: "".join(rng.choice(list("ACGT"), len(bases))) for name, bases in c.sequence.items()}


def reference_lacks_it(c):
    c.sequence = {"7": c.sequence["1"]}


def another_annotation(c):
    c.more["gtf"] = 65_000


def other_variants(c):
    table = c.variants.with_columns(pos=pl.col("pos") + 307, id=pl.lit("x") + pl.col("id"))
    c.more["effects"] = pl.concat([c.variants[::3], table[1::3], table[2::3]]).sort("chrom", "pos")


def no_effects(c):
    c.more["without"] = ("beta", "standard_error")


def unlogged(c):
    c.beta = np.exp(c.beta)


def other_allele(c):
    c.more["af"] = 1 - np.mean(c.dosage, axis=0) / 2


def wrong_errors(c):
    c.beta = c.beta * 3
    c.more["without"] = ()


FAULTS = [
    ("other build of models", other_build_effects, ("vcf", "models"), "red", "different genome builds", "[Ll]ift"),
    (
        "models match no genotypes",
        other_build_effects,
        ("vcf", "models"),
        "red",
        "different genome builds: the positions",
        "one build",
    ),
    ("other build told by id", other_build_by_id, ("vcf", "models"), "amber", "told by id, which goes well", "[Ll]ift"),
    (
        "other build of a score",
        other_build_effects,
        ("vcf", "score"),
        "red",
        "people.vcf is GRCh37 .*pgs.txt is GRCh38",
        "--chain",
    ),
    (
        "other build of genotypes",
        other_build_genotypes,
        ("vcf", "fasta"),
        "red",
        "another genome build",
        "lift them over",
    ),
    (
        "genes of another build",
        header_against_genes,
        ("vcf", "expression"),
        "red",
        "GRCh38 .*expression.bed.gz is not",
        "same build",
    ),
    ("chr in names", chr_names, ("vcf", "expression"), "green", "names matched .chr1 = 1", ""),
    (
        "other chromosomes",
        other_chromosomes,
        ("vcf", "expression"),
        "red",
        "no chromosome in common",
        "same chromosomes",
    ),
    ("other people", disjoint, ("vcf", "expression"), "red", "0 of 120 and 120 people are in both", "same names"),
    ("FID_IID", fid_iid, ("vcf", "expression"), "red", "120 would match but for the part after", "same names"),
    (
        "few in common",
        few_in_common,
        ("vcf", "expression"),
        "red",
        "15 of 120 and 120 people are in both",
        "same people",
    ),
    (
        "some lack genotypes",
        some_without_genotypes,
        PEOPLE,
        "amber",
        "20 of 120 people with expression have no genotypes",
        "--keep-overlap",
    ),
    (
        "covariates lack people",
        covariates_lack_people,
        PEOPLE,
        "red",
        "7 of 120 people with expression have no covariates",
        "--keep-overlap",
    ),
    ("constant covariate", constant_covariate, PEOPLE, "red", "same value in all 120 samples", "Remove them"),
    ("collinear covariates", collinear_covariates, PEOPLE, "red", "collinear, 1 follow", "Remove one of each"),
    ("NA in covariates", missing_covariate, PEOPLE, "red", "missing values, e.g. PC3", "Fill them in"),
    ("too many covariates", too_many_covariates, PEOPLE, "amber", "50 covariates for 120 people", "--n-covariates"),
    ("raw counts", counts, ("expression",), "amber", "raw counts", "TMM"),
    ("NaN in expression", missing_expression, ("expression",), "red", "finite number is needed", "Impute"),
    ("gene twice", same_gene_twice, ("expression",), "red", "occur more than once", "Keep one row per gene"),
    ("sample twice", same_sample_twice, ("expression",), "red", "S008 has more than one column", "once"),
    (
        "profile twice",
        same_profile_twice,
        ("expression",),
        "red",
        "same values in every gene .S00[89] = S00[89]",
        "Keep one",
    ),
    ("no TSS", no_places, ("expression",), "red", "48 of 48 genes have their TSS at 1", "end = TSS"),
    ("constant gene", constant_gene, ("expression",), "amber", "1 of 48 genes have the same value", "left out"),
    ("all calls missing", calls_all_missing, ("vcf",), "amber", "240 of 2,400 .* missing in everybody", "--geno"),
    ("calls often missing", calls_often_missing, ("vcf",), "amber", "480 of 2,400 .*more than 10% of people", "--geno"),
    (
        "person without calls",
        person_without_calls,
        ("vcf",),
        "amber",
        "1 person lacks more than 10% of calls .S017",
        "--remove",
    ),
    ("monomorphic", monomorphic, ("vcf",), "amber", "300 of 2,400 .* are the same in everybody", "left out"),
    ("no phase", unphased, ("vcf", "fasta"), "amber", "no phase, and features need", "Phase them"),
    ("two exchanged", exchanged, PEOPLE, "red", "1 pair of people is exchanged.*S003 and S077", "Exchange their names"),
    ("three in a circle", mistaken, PEOPLE, "red", "fits another's genotypes", "Correct the names"),
    ("all shuffled", shuffled, PEOPLE, "amber", "names may not mean the same people", "same names"),
    ("one person twice", one_person_twice, ("vcf",), "red", "one person, or identical twins .S010 = S011", "--remove"),
    ("parent and child", child, ("vcf",), "amber", "2 pairs are as close as parent and child .*S060 - S06", "--remove"),
    ("ancestry outlier", foreigner, ("vcf",), "amber", "1 person is an ancestry outlier .S033", "--remove"),
    ("REF and ALT swapped", swapped_alleles, ("vcf", "fasta"), "amber", "REF and ALT are swapped", "--allow-swapped"),
    ("positions from 0", zero_based, ("vcf", "fasta"), "red", "positions count from 0", "Add 1"),
    ("other strand", other_strand, ("vcf", "fasta"), "red", "fit on the other strand", "[Ff]lip"),
    (
        "alleles 1 and 2",
        coded_alleles,
        ("vcf", "models"),
        "red",
        "coded .1/2. where bases are needed",
        "update-alleles",
    ),
    (
        "another reference",
        another_reference,
        ("vcf", "fasta"),
        "red",
        "REF is the reference's base at only 2.%",
        "reference of the build",
    ),
    (
        "reference lacks it",
        reference_lacks_it,
        ("vcf", "fasta"),
        "red",
        "the reference lacks 1, 2",
        "these chromosomes",
    ),
    (
        "another annotation",
        another_annotation,
        ("expression", "gtf"),
        "red",
        "TSS of 48 of 48 genes is more than",
        "annotation of the build",
    ),
    (
        "models of other variants",
        other_variants,
        ("vcf", "models"),
        "red",
        "variants of models.db match|positions are not among",
        "same|models' variants",
    ),
    ("GWAS of other variants", other_variants, ("vcf", "sumstats"), "red", "only .* match", "variants"),
    ("GWAS without effects", no_effects, ("vcf", "sumstats"), "red", "no effects", "Add the columns beta"),
    ("odds ratios as beta", unlogged, ("vcf", "sumstats"), "red", "all 2,400 effects are positive", "logarithm"),
    (
        "frequencies of the other allele",
        other_allele,
        ("vcf", "sumstats"),
        "red",
        "frequencies are opposite",
        "effect allele",
    ),
]


@pytest.mark.parametrize(
    ("plant", "files", "level", "said", "remedy"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
def test_each_planted_fault_has_its_line(clean, tmp_path, plant, files, level, said, remedy):
    made = copy.deepcopy(clean)
    plant(made)
    found = findings(write(made, tmp_path, files).values())
    fits = [one for one in found if one.level == level and re.search(said, one.said)]
    assert fits, "\n".join(one.line() for one in found)
    assert re.search(remedy, fits[0].remedy) and "\n" not in fits[0].line()
    assert level == "green" or fits[0].remedy.endswith((".", ")"))


def test_transposed_covariates_are_fine(clean, tmp_path):
    made = replace(copy.deepcopy(clean), more={"transposed": False})
    found = findings(write(made, tmp_path, PEOPLE).values())
    assert {one.level for one in found if one.check == "covariates"} == {"green"}
    assert any("samples in rows" in one.said for one in found)


def test_a_file_that_is_cut_off_is_red(clean, tmp_path):
    files = write(clean, tmp_path, ("vcf", "expression"))
    whole = files["expression"].read_bytes()
    files["expression"].write_bytes(whole[: len(whole) // 2])
    [red] = [one for one in findings(files.values()) if one.level == "red"]
    assert red.about == "expression.bed.gz" and "cut off" in red.said and red.remedy == "Copy the file again."


def test_multi_allelic_sites_and_repeats_are_counted(clean, tmp_path):
    path = write(clean, tmp_path, ("vcf",))["vcf"]
    lines = path.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    for i in range(first, first + 50):
        cells = lines[i].split("\t")
        cells[4] = f"{cells[4]},{next(base for base in 'ACGT' if base not in (cells[3], cells[4]))}"
        lines[i] = "\t".join(cells)
    lines.insert(first + 60, lines[first + 60])
    path.write_text("\n".join(lines) + "\n")
    said = [one.line() for one in findings([path]) if one.level == "amber"]
    assert any("50 variants: " in line and "bcftools norm -m" in line for line in said), said
    assert any("same position and alleles" in line and "--rm-dup" in line for line in said), said


def test_files_that_are_none_and_that_are_not_there(tmp_path):
    (tmp_path / "notes.txt").write_text("Dear diary\n")
    found = findings([tmp_path / "notes.txt", tmp_path / "nothing"])
    assert [one.level for one in found] == ["red", "amber"]
    assert "no such file" in found[0].said and "no kind of file" in found[1].said


def test_the_json_and_nothing_else_is_written(clean, tmp_path, monkeypatch):
    files = write(clean, tmp_path / "data", (*PEOPLE, "fasta"))
    there = sorted((tmp_path / "data").iterdir())
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    steps = []
    settings = Doctor(files=tuple(files.values()), forecast=False, json=Path("found.json"))
    diagnosis = doctor.run(settings, lambda *step: steps.append(step))
    assert [path.name for path in work.iterdir()] == ["found.json"]
    assert sorted((tmp_path / "data").iterdir()) == there  # no index of the FASTA
    found = json.loads(Path("found.json").read_text())
    assert found["exit_code"] == diagnosis.exit_code == 0 and len(found["files"]) == 4
    assert found["findings"][0].keys() == {"level", "about", "said", "remedy", "check"}
    assert steps[-1][0] == steps[-1][1]


def test_exit_codes_follow_the_worst(clean, tmp_path):
    assert main(["doctor", *map(str, write(clean, tmp_path, ("vcf",)).values()), "--no-forecast", "--quiet"]) == 0
    made = copy.deepcopy(clean)
    counts(made)
    assert main(["doctor", *map(str, write(made, tmp_path, ("expression",)).values()), "--quiet"]) == 1
    no_places(made)
    assert main(["doctor", *map(str, write(made, tmp_path, ("expression",)).values()), "--quiet"]) == 2
