"""A site's sums: of the people they are of, with no name and nothing that grows with the people."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from moments_data import WINDOW, genes, people, write_site

from genopred import align
from genopred.cli import main
from genopred.errors import GenopredError, ModelError
from genopred.genetics.transform import inverse_normal
from genopred.io.momentsfiles import read_gene_sums, read_site
from genopred.learning.evaluate import outer_folds
from genopred.pipelines import moments
from genopred.pipelines.moments import nameless, outcome, without_rare


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """220 people, one of whose expression samples has no covariates and is left out."""
    folder = tmp_path_factory.mktemp("site")
    who = people(220, 1)
    settings = write_site(folder, who, "A", transform="inverse-normal", min_mac=3, maf=0.0)
    return who, settings, moments.run(settings)


def test_sums_are_those_of_the_people(site):
    who, settings, done = site
    made = read_site(settings.out)
    fold = outer_folds(220, 4, 1)
    assert made == done.site and made.people == 220 and made.folds == (55, 55, 55, 55)
    assert made.covariates == ("C1", "C2") and (made.transform, made.window) == ("inverse-normal", WINDOW)
    for g, gene in enumerate(made.genes):
        one = read_gene_sums(made, gene)
        columns = [int(name[2:]) for name in one.variants["id"].to_list()]
        assert columns == np.flatnonzero(np.abs(who.variants["pos"].to_numpy() - gene.tss) <= WINDOW).tolist()
        y = inverse_normal(np.round(who.expression[:, g], 6))
        for k in range(4):
            x, rest = who.dosage[fold == k][:, columns], np.column_stack([who.covariates, y])[fold == k]
            assert np.array_equal(one.gram[k], x.astype(float).T @ x) and np.array_equal(one.sums[k], x.sum(axis=0))
            np.testing.assert_allclose(one.cross[k], x.T @ rest, rtol=1e-5, atol=1e-4)
            np.testing.assert_allclose(one.square[k], rest.T @ rest, rtol=1e-6, atol=1e-5)
            np.testing.assert_allclose(one.totals[k], rest.sum(axis=0), rtol=1e-6, atol=1e-5)


def test_no_name_of_a_person_leaves_the_site(site):
    who, settings, _ = site
    for path in sorted(settings.out.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            assert b"PERSON" not in data, path
            assert str(settings.out.parent).encode() not in data, path
    arrays = [array for path in settings.out.glob("genes/*.npz") for array in np.load(path).values()]
    assert all("PERSON" not in str(value) for array in arrays if array.dtype.kind == "U" for value in array.ravel())


def test_no_name_where_people_are_left_out(tmp_path, caplog):
    caplog.set_level("INFO", logger="genopred")
    who = people(210, 2)
    settings = write_site(tmp_path, who, "A", keep_overlap=True, remove=tmp_path / "gone.txt")
    (tmp_path / "gone.txt").write_text("\n".join(who.names[:4]) + "\n")
    covar = settings.covar.read_text().splitlines()
    settings.covar.write_text("\n".join([*covar[:100], *covar[103:]]) + "\n")
    done = moments.run(settings)
    assert done.site.people == 203
    table = pl.read_csv(settings.out / "matched.tsv", separator="\t")
    rows = dict(table.filter(item="samples", status="dropped").select("reason", "n").iter_rows())
    assert rows == {"in --remove": 4, "no covariates": 3}
    assert "PERSON" not in (settings.out / "matched.tsv").read_text() and "PERSON" not in caplog.text


def test_a_report_without_names_counts_the_same():
    tally = align.Tally()
    tally.come("samples", "in genotypes /some/where/geno.bed", 10)
    tally.drop("samples", "no expression", ["P1", "P2"])
    tally.come("genes", "in a/b.bed", 3)
    tally.drop("genes", "constant", ["G1"])
    made = nameless(tally.report())
    assert made.count("samples", "dropped") == 2 and made.count("genes", "used") == 2
    text = "\n".join(made.lines())
    assert "P1" not in text and "G1" in text and "/" not in text and "in genotypes geno.bed" in text and "b.bed" in text


# --- nothing grows with the people -----------------------------------------------------------------------------------


def test_nothing_in_a_site_grows_with_its_people(tmp_path):
    """Every array has the same shape and bytes for 150, 300 and 600 people, and so has the manifest."""
    shapes, manifests = [], []
    for n in (150, 300, 600):
        settings = write_site(tmp_path, people(n, 3), f"S{n}", folds=3, name="S", min_mac=1, maf=0.0)
        moments.run(settings)
        files = sorted(path for path in settings.out.rglob("*") if path.is_file() and path.name != "run.json")
        held = [np.load(path) for path in files if path.suffix == ".npz"]
        shapes.append(
            [(name, one[name].shape, one[name].dtype, one[name].nbytes) for one in held for name in one.files]
        )
        manifests.append([path.relative_to(settings.out) for path in files])
        for one in held:
            assert n not in {length for name in one.files for length in one[name].shape}
    assert shapes[0] == shapes[1] == shapes[2] and manifests[0] == manifests[1] == manifests[2]


# --- who and what is refused or left out -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "folds", "message"),
    [
        (49, 1, "49 people are too few to be summed: fewer than 50"),
        (149, None, "149 people make 2 folds of 50 or more, where 3 are needed to tune on .150 people."),
        (149, 3, "--folds 3: 149 people make folds of 49, fewer than 50; give at most 2"),
        (330, 7, "--folds 7: 330 people make folds of 47"),
    ],
)
def test_few_people_are_refused(tmp_path, n, folds, message):
    settings = write_site(tmp_path, people(n, 4), "A", folds=folds, min_overlap=10)
    with pytest.raises(GenopredError, match=message):
        moments.run(settings)
    assert not settings.out.exists()


@pytest.mark.parametrize(("n", "folds", "made"), [(50, 1, 1), (150, None, 3), (349, None, 6), (700, None, 10)])
def test_as_many_folds_as_leave_50_people_each(tmp_path, n, folds, made):
    settings = write_site(tmp_path, people(n, 5), "A", folds=folds, min_mac=1)
    site = moments.run(settings).site
    assert len(site.folds) == made and min(site.folds) >= 50 and sum(site.folds) == n


def test_two_folds_are_refused_before_anything_is_read(capsys, tmp_path):
    assert (
        main(["moments", "--bfile", "x", "--expression", "y", "--all", "--folds", "2", "--out", str(tmp_path / "o")])
        == 2
    )
    assert "--folds 2: 3 are needed to tune learners on" in capsys.readouterr().err


def test_variants_that_few_of_a_fold_carry_are_left_out():
    rng = np.random.default_rng(0)
    fold = np.arange(240) % 4
    x = rng.integers(0, 3, (240, 6)).astype(np.float32)
    x[:, 0] = 0
    x[fold == 1, 1] = 0
    x[np.flatnonzero(fold == 1)[:2], 1] = [2, 1]  # three copies in a fold
    x[:, 2] = 2
    x[:3, 2] = 1  # the other allele is the rare one
    x[:13, 3] = np.nan
    x[20:40, 4] = np.nan
    table = people(5).variants[:6]
    filled, use, notes = without_rare(x, table, fold, 0.01, 4, 0.06)
    assert use.tolist() == [False, False, False, True, False, True]
    reasons = {reason: n for _, reason, n, _ in notes}
    assert reasons == {
        "monomorphic": 1, "MAF below 0.01": 1, "missing in more than 0.06 of the people": 1,
        "fewer than 4 copies of the rarer allele in a fold": 1,
    }  # fmt: skip
    assert without_rare(x, table, fold, 0.01, 3, 0.06)[1].tolist() == [False, True, False, True, False, True]
    # gaps are filled with whole numbers, so that no fraction of a sum tells who has the gap
    assert np.array_equal(filled, np.rint(filled)) and set(filled[:13, 3]) == {np.rint(np.nanmean(x[:, 3]))}


def test_no_fold_of_a_site_has_fewer_copies_than_the_floor(site):
    _, settings, done = site
    for gene in done.site.genes:
        one = read_gene_sums(done.site, gene)
        assert np.minimum(one.sums, 2 * one.n[:, None] - one.sums).min() >= settings.min_mac


def test_outcomes():
    rng = np.random.default_rng(1)
    raw = rng.gamma(2, 3, 60)
    assert np.array_equal(outcome(raw, "none"), raw)
    np.testing.assert_allclose(outcome(raw, "zscore"), (raw - raw.mean()) / raw.std())
    np.testing.assert_allclose(outcome(raw, "log1p"), np.log1p(raw))
    np.testing.assert_allclose(outcome(raw, "inverse-normal"), inverse_normal(raw))
    with pytest.raises(GenopredError, match="--transform log1p: expression has negative values"):
        outcome(raw - 5, "log1p")
    with pytest.raises(ModelError, match="does not vary"):
        outcome(np.ones(60), "zscore")


def test_a_gene_that_cannot_be_summed_is_left_out(tmp_path):
    who = people(220, 6)
    x = who.dosage.copy()
    x[:, 15:] = 0  # the second gene has variants of which nothing is left
    x[:, :2] = 0
    settings = write_site(tmp_path, replace(who, dosage=x), "A", window=7_000)
    site = moments.run(settings).site
    assert [gene.gene_id for gene in site.genes] == genes()["gene_id"].to_list()[:1]
    table = pl.read_csv(settings.out / "matched.tsv", separator="\t")
    assert table.filter(item="genes", status="dropped")["reason"].to_list() == ["no usable variant in the cis window"]


# --- resume ----------------------------------------------------------------------------------------------------------


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_stopped_run_goes_on_and_ends_alike(site, tmp_path, monkeypatch):
    who, _, _ = site
    settings = write_site(tmp_path, who, "B")
    moments.run(settings)
    before = files(settings.out)
    (settings.out / "genes" / f"{genes()['gene_id'][1]}.json").unlink()
    (settings.out / "manifest.json").unlink()
    done = []
    moments.run(settings, lambda *step: done.append(step))
    assert done[0][:2] == (1, 2) and files(settings.out) == before
    with pytest.raises(GenopredError, match="other settings .*--min-mac"):
        moments.run(replace(settings, min_mac=4))


def test_other_people_or_options_are_another_digest(site, tmp_path):
    who, _, done = site
    same = moments.run(write_site(tmp_path, who, "x", transform="inverse-normal", min_mac=3, maf=0.0, name="other"))
    other = moments.run(write_site(tmp_path, people(220, 9), "y", transform="inverse-normal", min_mac=3, maf=0.0))
    assert same.site.digest == done.site.digest != other.site.digest


def test_the_command_line_says_what_sums_may_reveal(tmp_path, capsys):
    who = people(160, 7)
    given = write_site(tmp_path, who, "A")
    words = ["moments", "--bfile", given.bfile, "--expression", given.expression, "--covar", given.covar, "--all"]
    out = tmp_path / "site_a"
    assert main([*map(str, words), "--window", "25kb", "--threads", "1", "--out", str(out), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "site_a: 2 genes summed over 160 people in 3 folds of 53 or more." in said
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["name"] == "site_a" and "/" not in manifest["command"]
    few = tmp_path / "wide"
    monkey = [*map(str, words), "--window", "25kb", "--threads", "1", "--out", str(few), "--quiet", "--min-mac", "500"]
    assert main(monkey) == 2
    assert "none of 2 genes could be summed" in capsys.readouterr().err


def test_what_sums_tell_of_people_is_said(site):
    _, _, done = site
    assert done.wide == 0 and done.told >= 0
    quiet, wide, told = (replace(done, wide=a, told=b).lines() for a, b in ((0, 0), (2, 0), (0, 7)))
    assert not any("never publish" in line for line in quiet)
    assert any("2 genes have more variants" in line for line in wide) and "never publish" in " ".join(wide)
    assert any("expression of up to 7 people of a fold" in line for line in told) and "never publish" in " ".join(told)
