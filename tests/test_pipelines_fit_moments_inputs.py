"""Sites held against each other, and a gene's variants matched by place and alleles."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from moments_data import STRAND, joined, people, variants, write_site

from genopred import align
from genopred.errors import AlignmentError, FormatError, GenopredError, ModelError
from genopred.genetics.moments import total
from genopred.pipelines import moments
from genopred.pipelines.fit_moments_inputs import open_sites, read_together, same_variants


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sites A and B, whose people have nothing in common."""
    place = tmp_path_factory.mktemp("sites")
    for name, seed, n in (("A", 1, 220), ("B", 2, 240)):
        moments.run(write_site(place, people(n, seed), name, min_mac=2, maf=0.0))
    return place


@pytest.fixture
def copies(folder, tmp_path):
    """Copies of both that can be damaged; `change` puts other values into a manifest."""
    for name in "AB":
        shutil.copytree(folder / name, tmp_path / name)

    def change(which, **values):
        path = tmp_path / which / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return tmp_path, change


def opened(place, *names, **others):
    tally = align.Tally()
    return open_sites(joined([place / name for name in names or "AB"], place / "out", **others), tally), tally


def test_sites_stand_in_the_order_of_their_names(folder):
    one, tally = opened(folder, "B", "A")
    assert one.names == ("A", "B") and one.people == 460 and one.folds == 4 and not one.notes
    assert len(one.genes) == 2 and tally.report().count("genes", "used") == 2
    assert tally.report().count("people", "used") == 460


@pytest.mark.parametrize(
    ("values", "others", "message"),
    [
        ({"name": "A"}, {}, "two sites are called A"),
        ({"build": "GRCh38"}, {}, "different genome builds: A is of GRCh37, B is of GRCh38"),
        ({"transform": "log1p"}, {"scale": "common"}, r"--scale common: .*none \(A\), log1p \(B\)"),
        ({"covariates": ["C1", "age"]}, {"covariates": "common"}, r"not in all: A: C2; B: age"),
        ({"genes": []}, {}, r"the sites share no gene \(A: ENSG.*; B: none\)"),
        ({"folds": [120, 120]}, {}, "B has 2 folds, where 3 are needed"),
        ({"version": 9}, {}, "version 9 of the layout"),
    ],
)
def test_sites_that_do_not_fit_are_refused(copies, values, others, message):
    place, change = copies
    change("A", build="GRCh37")
    change("B", **values)
    with pytest.raises(GenopredError, match=message):
        opened(place, **others)


def test_the_same_people_twice_are_refused(copies):
    place, change = copies
    shutil.copytree(place / "A", place / "again")
    manifest = json.loads((place / "again" / "manifest.json").read_text())
    (place / "again" / "manifest.json").write_text(json.dumps(manifest | {"name": "C"}))
    with pytest.raises(GenopredError, match="A, C hold the sums of the same files"):
        opened(place, "A", "B", "again")
    with pytest.raises(GenopredError, match="is given twice"):
        opened(place, "A", "A")
    with pytest.raises(GenopredError, match="1 given; give the folders of two or more"):
        opened(place, "A")
    with pytest.raises(FormatError, match="is no site"):
        opened(place, "A", "nothing")


def test_what_may_differ_is_said(copies):
    place, change = copies
    genes = json.loads((place / "B" / "manifest.json").read_text())["genes"]
    genes[0]["tss"] += 5
    more = {**genes[0], "gene_id": "ENSG99.3", "file": "ENSG99.3.npz"}
    change("B", transform="log1p", window=5000, maf=0.2, genes=[*genes, more])
    made, tally = opened(place)
    words = " ".join(made.notes)
    assert "Expression was transformed differently: none (A), log1p (B)." in words
    assert "25,000 (A), 5,000 (B)" in words and "0.2 (B)" in words
    rows = {(status, reason): n for _, status, reason, n, _ in tally.report().table.filter(item="genes").iter_rows()}
    assert rows["dropped", "not in every site"] == rows["note", "not in A"] == 1
    assert rows["note", "TSS differs between sites; that of A is used"] == 1 and rows["used", "trained"] == 2


def test_genes_are_matched_without_their_version_and_chosen(copies):
    place, change = copies
    genes = json.loads((place / "B" / "manifest.json").read_text())["genes"]
    change("B", genes=[{**gene, "gene_id": gene["gene_id"].replace(".1", ".7")} for gene in genes])
    made, tally = opened(place, gene=("ENSG00000000002",))
    assert [gene[0].gene_id for gene in made.genes] == ["ENSG00000000002.1"]
    assert tally.report().count("genes", "dropped") == 1
    with pytest.raises(AlignmentError, match="1 of 1 genes are not in every site"):
        opened(place, gene=("ENSG0",))


@pytest.mark.parametrize(("count", "folds", "note"), [(5, 4, ""), (3, 3, "Only whole sites"), (1, 1, "tune nothing")])
def test_folds(folder, count, folds, note):
    made, _ = opened(folder, fold_count=count)
    assert made.folds == folds and note in " ".join(made.notes)


def test_two_folds_of_three_are_refused():
    with pytest.raises(GenopredError, match="--folds 2: 3 are needed"):
        joined(["a", "b"], "out", fold_count=2)


# --- variants --------------------------------------------------------------------------------------------------------


def sites_of(*tables, folder):
    site = opened(folder)[0].sites[0]
    return [replace(site, name=f"S{i}") for i in range(len(tables))]


def flipped_alleles(table, rows):
    """REF and ALT the other way round in some rows."""
    mask = pl.Series(np.isin(np.arange(table.height), rows))
    return table.with_columns(
        ref=pl.when(mask).then("alt").otherwise("ref"), alt=pl.when(mask).then("ref").otherwise("alt")
    )


def other_strand(table, rows):
    mask = np.isin(np.arange(table.height), rows)

    def turned(name):
        return [word.translate(STRAND) if yes else word for word, yes in zip(table[name].to_list(), mask)]

    return table.with_columns(ref=pl.Series(turned("ref")), alt=pl.Series(turned("alt")))


def test_variants_are_matched_by_place_and_alleles(folder):
    """Swapped, on the other strand, both, with chr and in another order, other alleles, absent; all counted."""
    first = variants()[:12]
    other = other_strand(flipped_alleles(first, [2, 3]), [3, 4]).with_columns(chrom=pl.lit("chr22"))
    other = other.with_columns(alt=pl.when(pl.col("id") == "rs5").then(pl.lit("TTT")).otherwise("alt"))
    other = other.filter(pl.col("id") != "rs6")[::-1]
    third = first.filter(pl.col("id") != "rs7")
    rows, flips, counts, matched = same_variants([first, other, third], sites_of(1, 2, 3, folder=folder), "drop")
    ids = [table["id"].gather(pl.Series(mine)).to_list() for table, mine in zip((first, other, third), rows)]
    assert ids[0] == ids[1] == ids[2] == [f"rs{i}" for i in (0, 1, 2, 3, 4, 8, 9, 10, 11)]
    assert np.flatnonzero(flips[1]).tolist() == [2, 3] and not flips[0].any() and not flips[2].any()
    assert counts[0] == {"not in every site": 3}
    assert counts[1] == {"alleles differ": 1, "not in every site": 1} and counts[2] == {"not in every site": 2}
    assert matched[1] == {"matched": 6, "swapped": 1, "strand-flipped": 1, "strand-flipped and swapped": 1}
    assert matched[0] == matched[2] == {"matched": 9}


def test_ambiguous_variants_are_left_out_or_believed(folder):
    first = variants()[:4].with_columns(ref=pl.Series(["A", "C", "G", "A"]), alt=pl.Series(["T", "G", "T", "C"]))
    other = flipped_alleles(first, [0])
    sites = sites_of(1, 2, folder=folder)
    rows, _, counts, matched = same_variants([first, other], sites, "drop")
    assert rows[0].tolist() == [2, 3]
    assert counts[0] == counts[1] == {"ambiguous strand (A/T or C/G)": 2}
    rows, flips, counts, matched = same_variants([first, other], sites, "keep")
    assert rows[0].tolist() == [0, 1, 2, 3] and flips[1].tolist() == [True, False, False, False]
    assert not counts[0] and matched[1] == {"matched": 3, "swapped": 1}


def test_counts_add_up_whatever_the_tables(folder):
    rng = np.random.default_rng(0)
    sites = sites_of(1, 2, 3, folder=folder)
    for _ in range(20):
        tables = []
        for _ in range(3):
            table = variants().filter(pl.Series(rng.random(40) < 0.8))
            table = flipped_alleles(table, np.flatnonzero(rng.random(table.height) < 0.3))
            table = other_strand(table, np.flatnonzero(rng.random(table.height) < 0.3))
            tables.append(table[rng.permutation(table.height).tolist()])
        rows, _, counts, matched = same_variants(tables, sites, "drop")
        for table, mine, lost, used in zip(tables, rows, counts, matched):
            assert sum(lost.values()) + sum(used.values()) == table.height and sum(used.values()) == len(mine)


def test_sites_of_other_builds_share_no_variant(folder):
    first = variants()
    moved = first.with_columns(pos=pl.col("pos") + 333)
    with pytest.raises(AlignmentError, match="S0 and S1 share no variant"):
        same_variants([first, moved], sites_of(1, 2, folder=folder), "drop")


def test_covariates_come_into_the_order_of_the_first_site(folder, tmp_path):
    """The same people with the columns of covariates the other way round have the same sums."""
    who = people(240, 2)
    given = write_site(tmp_path, who, "C", min_mac=2, maf=0.0, name="Z")
    lines = ["id\tC2\tC1", *(f"{name}\t{b:.9f}\t{a:.9f}" for name, (a, b) in zip(who.names, who.covariates))]
    given.covar.write_text("\n".join(lines) + "\n")
    moments.run(given)
    config = joined([folder / "A", folder / "B"], tmp_path / "out")
    plain = open_sites(config, align.Tally())
    turned = open_sites(replace(config, sites=(folder / "A", tmp_path / "C")), align.Tally())
    assert turned.sites[1].covariates == ("C2", "C1")
    ours, other = (read_together(sites, sites.genes[0], config).moments[1] for sites in (plain, turned))
    for name in ("gram", "cross", "square", "totals"):
        np.testing.assert_allclose(getattr(total(ours), name), getattr(total(other), name), rtol=1e-9, atol=1e-7)


def test_a_damaged_file_stops_the_run(copies):
    place, _ = copies
    sites, _ = opened(place)
    path = place / "B" / "genes" / sites.genes[0][1].file
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(FormatError, match=r"npz is damaged .*have the site send it again"):
        read_together(sites, sites.genes[0], joined([place / "A", place / "B"], place / "out"))


def test_no_learner_is_tuned_on_two_folds(copies):
    place, change = copies
    change("B", folds=[120, 120])
    with pytest.raises(ModelError, match="have it sum again"):
        opened(place)
