"""The way in of another study: its variants, alleles and LD panel brought to the cohort's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from plink_data import write_plink
from study_data import COHORT, GENES, STUDY, VARIANTS, population, study_table, write

from genopred import align
from genopred.errors import AlignmentError, GenopredError
from genopred.pipelines.inputs import open_cohort
from genopred.pipelines.sumstats_inputs import open_study, panel_kind, study_files

SWAP = {"ref": "alt", "alt": "ref"}


def opened(settings):
    """The study, matched, the cohort, and what was counted."""
    cohort = open_cohort(settings)
    tally = align.Tally(cohort.report)
    return open_study(settings, cohort, tally), cohort, tally.report()


def test_without_a_study_there_is_none(tmp_path):
    settings = write(tmp_path)
    plain = replace(settings, sumstats=None, ld=None)
    assert open_study(plain, open_cohort(plain), align.Tally()) is None and study_files(plain) == {}
    for lacking in ({"ld": None}, {"sumstats": None}):
        with pytest.raises(GenopredError, match="--sumstats FILE and --ld GENOTYPES go together"):
            replace(settings, **lacking)


def test_each_gene_gets_its_rows_and_its_ld(tmp_path):
    study, cohort, report = opened(write(tmp_path))
    truth, data = study_table(), population()
    for i in (0, GENES - 1):
        one = study.of_gene(cohort, i, 50_000)
        of = truth.filter(pl.col("Gene") == data.genes["gene"][i])
        np.testing.assert_allclose(one.z, of["Zscore"], rtol=1e-12)
        assert (one.n == STUDY).all() and one.ambiguous.tolist() == [
            sorted(pair) in (["A", "T"], ["C", "G"]) for pair in of.select("AssessedAllele", "OtherAllele").rows()
        ]
        x = data.x[COHORT + STUDY :, i * VARIANTS : (i + 1) * VARIANTS]
        np.testing.assert_allclose(one.reference(np.arange(VARIANTS)).correlation, np.corrcoef(x.T), atol=1e-6)
    assert report.count("other study's gene-variant pairs", "used") == GENES * VARIANTS


def test_swapped_and_strand_flipped_alleles_turn_effects_and_panel(tmp_path):
    """The same study and panel, written with other alleles counted, are the same to the cohort."""
    plain, cohort, _ = opened(write(tmp_path / "a"))
    rng = np.random.default_rng(0)
    table = study_table()
    swap, strand = rng.random(table.height) < 0.4, rng.random(table.height) < 0.4
    # of A/T and C/G the other strand cannot be told by alleles
    strand &= (
        ~table.select(pl.concat_str("AssessedAllele", "OtherAllele").is_in(["AT", "TA", "CG", "GC"]))
        .to_series()
        .to_numpy()
    )
    one, two, complement = "AssessedAllele", "OtherAllele", dict(zip("ACGT", "TGCA"))
    table = table.with_columns(swap=pl.Series(swap), strand=pl.Series(strand)).with_columns(
        Zscore=pl.when("swap").then(-pl.col("Zscore")).otherwise("Zscore"),
        af=pl.when("swap").then(1 - pl.col("af")).otherwise("af"),
        AssessedAllele=pl.when("swap").then(two).otherwise(one),
        OtherAllele=pl.when("swap").then(one).otherwise(two),
    )
    table = table.with_columns(
        pl.when("strand").then(pl.col(name).replace(complement)).otherwise(name).alias(name) for name in (one, two)
    )
    settings = write(tmp_path / "b", table=table.drop("swap", "strand"))
    data = population()
    other = rng.random(len(data.variants)) < 0.5
    known = data.variants.with_columns(other=pl.Series(other)).with_columns(
        pl.when("other").then(SWAP[name]).otherwise(name).alias(name) for name in ("ref", "alt")
    )
    x = np.where(other, 2 - data.x, data.x)[COHORT + STUDY :]
    write_plink(tmp_path / "b" / "panel", x, [f"p{i}" for i in range(COHORT + STUDY, len(data.x))], known.drop("other"))
    turned, _, report = opened(settings)
    for i in range(GENES):
        a, b = plain.of_gene(cohort, i, 50_000), turned.of_gene(cohort, i, 50_000)
        np.testing.assert_allclose(a.z, b.z, rtol=1e-12)
        np.testing.assert_allclose(a.af, b.af, rtol=1e-12)
        every = np.arange(VARIANTS)
        np.testing.assert_allclose(a.reference(every).correlation, b.reference(every).correlation, atol=1e-6)
    text = "\n".join(report.lines())
    assert "other study's variants" in text and "swapped" in text and "strand-flipped" in text


def test_what_is_lost_is_counted_by_reason(tmp_path):
    table = study_table().with_row_index("i")
    table = table.with_columns(
        Zscore=pl.when(pl.col("i") == 3).then(None).otherwise("Zscore"),
        AssessedAllele=pl.when(pl.col("i") == 5).then(pl.lit("C")).otherwise("AssessedAllele"),
        SNPPos=pl.when(pl.col("i") == 7).then(99).otherwise("SNPPos"),
    ).drop("i")
    _, _, report = opened(write(tmp_path, table=pl.concat([table, table[10:11]])))
    lines = "\n".join(report.lines())
    assert "1 dropped: no effect with standard error or p-value, and no z" in lines
    assert "1 dropped: gene and variant listed more than once" in lines
    assert "2 dropped: variant not in the cohort, or other alleles" in lines
    assert report.count("other study's gene-variant pairs", "used") == GENES * VARIANTS - 3


@pytest.mark.parametrize("place", ["id", "position"])
def test_without_alleles_effects_are_of_the_cohorts_alt(tmp_path, place, caplog):
    table = study_table().drop("AssessedAllele", "OtherAllele")
    table = table.drop("SNPChr", "SNPPos") if place == "id" else table.with_columns(SNP=pl.lit("."))
    study, cohort, report = opened(write(tmp_path, table=table))
    np.testing.assert_allclose(study.of_gene(cohort, 2, 50_000).z, study_table()["Zscore"][80:120], rtol=1e-12)
    assert "320 rows of the other study give no alleles" in caplog.text
    assert "nobody is in both is yours to see to" in caplog.text


def test_people_of_the_study_must_be_known(tmp_path):
    settings = write(tmp_path, table=study_table().drop("NrSamples"))
    with pytest.raises(GenopredError, match="give --sumstats-n N"):
        opened(settings)
    study, cohort, _ = opened(replace(settings, sumstats_n=250))
    assert (study.of_gene(cohort, 0, 50_000).n == 250).all()


def test_another_build_is_said(tmp_path):
    with pytest.raises(AlignmentError, match="share no variant"):
        opened(write(tmp_path, table=study_table().with_columns(pl.col("SNPPos") + 7, SNP=pl.lit("."))))


def test_panels_are_told_by_their_files(tmp_path):
    write(tmp_path)
    assert (
        panel_kind(tmp_path / "panel")[0] == "bfile"
        and panel_kind(tmp_path / "panel.bed")[:2] == panel_kind(tmp_path / "panel")[:2]
    )
    for name, kind in (("x.vcf.gz", "vcf"), ("x.bgen", "bgen")):
        (tmp_path / name).write_bytes(b"")
        assert panel_kind(tmp_path / name)[0] == kind
    (tmp_path / "y.pgen").write_bytes(b"")
    assert panel_kind(tmp_path / "y")[0] == "pfile"
    with pytest.raises(GenopredError, match="no such genotypes"):
        panel_kind(tmp_path / "none")
    files = study_files(write(tmp_path))
    assert [path.name for path in files["ld"]] == ["panel.bed", "panel.bim", "panel.fam"]
    assert [path.name for path in files["sumstats"]] == ["study.tsv"]
