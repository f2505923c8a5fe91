"""A site's folder: what is written comes back, and what is damaged or cannot be is refused with the file's name."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from genopred.errors import FormatError
from genopred.genetics.moments import Moments
from genopred.io import momentsfiles
from genopred.io.momentsfiles import GeneSums, Site, SiteGene
from genopred.types import VARIANT_SCHEMA

FOLDS, M, K = (60, 70), 5, 2


def sums(seed=0, imputed=False) -> GeneSums:
    rng = np.random.default_rng(seed)
    parts = []
    for n in FOLDS:
        x = rng.integers(0, 3, (n, M)) + (0.01 * rng.random((n, M)) if imputed else 0)
        parts.append(Moments.of(np.clip(x, 0, 2), rng.standard_normal(n), rng.standard_normal((n, K))))
    rows = [("22", 100 + j, f"rs{j}", "A", "GTC" if j == 2 else "G") for j in range(M)]
    arrays = {name: np.stack([getattr(one, name) for one in parts]) for name in ("gram", "sums", "cross", "square")}
    totals = np.stack([one.totals for one in parts])
    return GeneSums(pl.DataFrame(rows, VARIANT_SCHEMA, orient="row"), np.array(FOLDS), **arrays, totals=totals)


GENE = SiteGene("ENSG01.1", "22", 120, "+", M, "ENSG01.1.npz")


@pytest.fixture
def site(tmp_path):
    made = Site(
        tmp_path, "A", sum(FOLDS), FOLDS, ("age", "sex"), "none", 1000, 0.01, 5, 0.05, "GRCh37", (GENE,),
        {"genopred": "1"}, "abc", "genopred moments",
    )  # fmt: skip
    momentsfiles.write_gene_sums(momentsfiles.gene_path(tmp_path, GENE.gene_id), sums())
    momentsfiles.write_manifest(made)
    return made


def test_what_is_written_comes_back(site):
    assert momentsfiles.read_site(site.folder) == site
    found, made = momentsfiles.read_gene_sums(site, GENE), sums()
    assert found.variants.equals(made.variants)
    for name in ("n", "gram", "sums", "cross", "square", "totals"):
        assert np.array_equal(getattr(found, name), getattr(made, name)), name


def test_imputed_dosages_lose_nothing(site):
    made = sums(imputed=True)
    path = momentsfiles.gene_path(site.folder, GENE.gene_id)
    momentsfiles.write_gene_sums(path, made)
    assert np.array_equal(momentsfiles.read_gene_sums(site, GENE).gram, made.gram)
    assert np.load(path)["gram"].dtype == np.float64


def test_whole_numbers_are_written_as_such(site):
    with np.load(momentsfiles.gene_path(site.folder, GENE.gene_id)) as held:
        assert held["gram"].dtype == held["sums"].dtype == np.uint16
        assert held["gram"].shape == (2, M * (M + 1) // 2)
    many = replace(sums(), gram=sums().gram * 1000)
    momentsfiles.write_gene_sums(site.folder / "x.npz", many)
    assert np.load(site.folder / "x.npz")["gram"].dtype == np.uint32


def change(site, **values):
    path = site.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"version": 2}, "version 2 of the layout, where 1 is needed"),
        ({"format": "else"}, "is not of genopred moments"),
        ({"folds": [60, 71]}, "do not make 130"),
        ({"folds": []}, "do not make 130"),
        ({"covariates": ["age", "age"]}, "covariate is there twice"),
        ({"genes": [{"gene_id": "x"}]}, "is damaged"),
        ({"genes": [{**GENE.__dict__, "file": "../else.npz"}]}, "no plain file"),
        ({"people": None}, "is damaged"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(site, values, message):
    change(site, **values)
    with pytest.raises(FormatError, match=message):
        momentsfiles.read_site(site.folder)


def test_no_manifest_and_none_that_can_be_read(site):
    path = site.folder / "manifest.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(FormatError, match="is no JSON"):
        momentsfiles.read_site(site.folder)
    path.unlink()
    with pytest.raises(FormatError, match="is no site: manifest.json is missing"):
        momentsfiles.read_site(site.folder)


@pytest.mark.parametrize("keep", [0, 10, 200, -1, -40])
def test_a_truncated_file_is_refused(site, keep):
    path = momentsfiles.gene_path(site.folder, GENE.gene_id)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FormatError, match=r"ENSG01.1.npz is damaged"):
        momentsfiles.read_gene_sums(site, GENE)


def test_any_byte_that_changed_is_noticed_or_harmless(site):
    path, made = momentsfiles.gene_path(site.folder, GENE.gene_id), sums()
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 150):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            found = momentsfiles.read_gene_sums(site, GENE)
        except FormatError as told:
            assert "ENSG01.1.npz" in str(told)
            continue
        assert np.array_equal(found.gram, made.gram) and np.array_equal(found.cross, made.cross)


def test_a_missing_file_is_named(site):
    momentsfiles.gene_path(site.folder, GENE.gene_id).unlink()
    with pytest.raises(FormatError, match=r"ENSG01.1.npz is missing; the manifest of A names it"):
        momentsfiles.read_gene_sums(site, GENE)


def broken(name, *index, value):
    made = sums()
    array = getattr(made, name).copy()
    array[index] = value
    if name == "gram":
        array[index[0], index[2], index[1]] = value
    return replace(made, **{name: array})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (broken("gram", 0, 1, 1, value=1.0), "negative variance"),
        (broken("gram", 1, 0, 1, value=500.0), "correlation above 1"),
        (broken("gram", 0, 0, 0, value=np.nan), "not finite"),
        (broken("sums", 0, 1, value=130.0), "more or fewer alleles"),
        (broken("square", 1, 2, 2, value=-3.0), "negative variance"),
        (broken("cross", 0, 1, 2, value=1e4), "correlation above 1 with an expression"),
        (broken("n", 0, value=61), r"sums of \[61, 70\] people, where the manifest has \[60, 70\]"),
        (replace(sums(), totals=np.zeros((2, 4))), r"totals \(2, 4\) where 2 folds, 5 variants and 2 covariates"),
        (replace(sums(), variants=sums().variants[:4]), "4 variants where"),
    ],
)
def test_sums_of_nobody_are_refused(site, wrong, message):
    momentsfiles.write_gene_sums(momentsfiles.gene_path(site.folder, GENE.gene_id), wrong)
    with pytest.raises(FormatError, match=message):
        momentsfiles.read_gene_sums(site, GENE)


def test_sums_of_real_people_pass(site):
    """Of hard calls and imputed dosages, whatever the seed."""
    path = momentsfiles.gene_path(site.folder, GENE.gene_id)
    for seed in range(20):
        momentsfiles.write_gene_sums(path, sums(seed, imputed=seed % 2 == 1))
        momentsfiles.read_gene_sums(site, GENE)
