"""LD panels: genotypes told by their files, and a site's sums, which are as good as its people."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from models_data import expression_bed
from plink_data import write_pgen, write_vcf
from study_data import COHORT, GENES, STUDY, VARIANTS, population, write

from genopred import align
from genopred.errors import AlignmentError, GenopredError
from genopred.pipelines import moments, stack
from genopred.pipelines.inputs import open_cohort
from genopred.pipelines.sumstats_inputs import study_files
from genopred.pipelines.sumstats_panel import PeoplePanel, SitePanel, open_panel, panel_kind
from genopred.settings import Moments


def test_panels_are_told_by_their_files(tmp_path):
    write(tmp_path)
    assert panel_kind(tmp_path / "panel")[0] == "bfile"
    assert panel_kind(tmp_path / "panel.bed") == panel_kind(tmp_path / "panel")
    for name, kind in (("x.vcf.gz", "vcf"), ("x.bgen", "bgen")):
        (tmp_path / name).write_bytes(b"")
        assert panel_kind(tmp_path / name)[0] == kind
    (tmp_path / "y.pgen").write_bytes(b"")
    assert panel_kind(tmp_path / "y")[0] == "pfile"
    (tmp_path / "z").mkdir()
    for lacking in ("none", "z"):
        with pytest.raises(GenopredError, match="no such panel"):
            panel_kind(tmp_path / lacking)


@pytest.mark.parametrize("kind", ["pgen", "vcf"])
def test_the_format_of_the_genotypes_does_not_matter(tmp_path, kind):
    settings, data = write(tmp_path), population()
    x, names = data.x[COHORT + STUDY :], [f"p{i}" for i in range(COHORT + STUDY, len(data.x))]
    if kind == "pgen":
        write_pgen(tmp_path / "other", x, names, data.variants)
        path = tmp_path / "other"
    else:
        path = tmp_path / "other.vcf.gz"
        write_vcf(path, x, names, data.variants)
    cohort = open_cohort(settings)
    columns = np.arange(VARIANTS)
    made = [
        open_panel(one, cohort, align.Tally()).of_gene("g", columns, cohort.genotypes.variants[columns])
        for one in (settings.ld, path)
    ]
    np.testing.assert_array_equal(*(one.reference(columns).correlation for one in made))


def site(tmp_path, settings, rows=slice(COHORT + STUDY, None)):
    """The panel's people as a site, whose expression does not matter."""
    data = population()
    names = [f"p{i}" for i in range(len(data.x))][rows]
    noise = np.random.default_rng(0).standard_normal((len(names), GENES))
    expression_bed(tmp_path / "site.bed", names, noise, data.genes)
    given = {"bfile": settings.ld, "expression": tmp_path / "site.bed", "all_genes": True, "window": 50_000}
    moments.run(Moments(**given, out=tmp_path / "site", folds=4, threads=1, maf=0.0))
    return tmp_path / "site"


def test_a_sites_sums_are_as_good_as_its_people(tmp_path):
    settings = write(tmp_path)
    folder = site(tmp_path, settings)
    cohort = open_cohort(settings)
    tally = align.Tally()
    people, sums = open_panel(settings.ld, cohort, tally), open_panel(folder, cohort, tally)
    assert isinstance(people, PeoplePanel) and isinstance(sums, SitePanel)
    assert "sums of 200 people" in "\n".join(tally.report().lines())
    columns = np.arange(VARIANTS, 2 * VARIANTS)
    variants = cohort.genotypes.variants[columns]
    gene = population().genes["gene_id"][1]
    one = people.of_gene(gene, columns, variants)
    other = pickle.loads(pickle.dumps(sums.of_gene(gene, columns, variants)))
    both = np.flatnonzero(one.has & other.has)
    assert len(both) >= 0.5 * VARIANTS  # a site leaves out what would tell a person
    a, b = one.reference(both), other.reference(both)
    assert a.n == b.n == 200
    np.testing.assert_allclose(a.correlation, b.correlation, atol=1e-6)
    np.testing.assert_allclose(a.mean, b.mean, atol=1e-6)
    turned = variants.with_columns(ref="alt", alt="ref")
    flipped = sums.of_gene(gene, columns, turned).reference(both)
    np.testing.assert_allclose(flipped.mean, 2 - b.mean, atol=1e-6)
    assert not sums.of_gene("ENSG99", columns, variants).has.any()


def test_a_stack_takes_a_site_as_its_panel(tmp_path):
    settings = write(tmp_path)
    plain = stack.run(settings, page=False)
    of_site = replace(settings, ld=site(tmp_path, settings), out=tmp_path / "other")
    sums = stack.run(of_site, page=False)
    assert [path.name for path in study_files(of_site)["ld"]] == ["manifest.json"]
    r2 = [
        float(one.scores.filter(pl.col("method") == "lassosum@sumstats")["r2"].mean())  # type: ignore[arg-type]
        for one in (plain, sums)
    ]
    assert r2[1] == pytest.approx(r2[0], abs=0.03) and r2[1] > 0.1


def test_panels_of_other_genes_or_builds_are_refused(tmp_path):
    settings = write(tmp_path)
    folder = site(tmp_path, settings)
    cohort = open_cohort(settings)
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace("ENSG", "GENE"))
    with pytest.raises(AlignmentError, match="has none of the cohort's genes"):
        open_panel(folder, cohort, align.Tally())
    of_other = replace(cohort, genotypes=replace(cohort.genotypes, build="GRCh37"))
    (folder / "manifest.json").write_text(text.replace('"build": null', '"build": "GRCh38"'))
    with pytest.raises(AlignmentError, match="lift one of them over"):
        open_panel(folder, of_other, align.Tally())
