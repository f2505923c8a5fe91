"""genopred.pipelines.attribute, on files."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

pytest.importorskip("captum")
pytest.importorskip("tangermeme")
pytest.importorskip("memelite")

import attribution_files as made
from attribution_data import PLANTED

from genopred.errors import GenopredError
from genopred.pipelines import attribute
from genopred.pipelines.attribute import run
from genopred.sequence.models import registry
from genopred.settings import Attribute


@pytest.fixture(autouse=True)
def packages(monkeypatch):
    monkeypatch.setattr(registry, "entry_points", lambda group: made.POINTS)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Figures take most of a small run; they are drawn in test_cli_attribute.py and test_report_pages_attribute.py."""
    monkeypatch.setattr(attribute.page, "write", lambda *given: [])


@pytest.fixture
def files(tmp_path):
    return made.write(tmp_path)


def settings(files, **changes):
    base = {
        "fasta": files / "ref.fa", "model": "finder", "out": files / "out", "gtf": files / "genes.gtf",
        "all_genes": True, "tracks": ("up",), "device": "cpu", "controls": 19, "backgrounds": 2, "steps": 12,
        "figures": "none",
    }  # fmt: skip
    return Attribute(**{**base, **changes})


def test_planted_motifs_are_found_at_every_gene_and_in_every_table(files):
    steps = []
    asked = settings(
        files, method=("deeplift", "integrated-gradients", "gradient-input", "ism"), motifs=files / "motifs.meme",
        signal=(files / "open.bed",), eqtl=files / "eqtl.tsv", vcf=files / "people.vcf", draws=200, ism_width=120,
    )  # fmt: skip
    done = run(asked, lambda *args: steps.append(args[:2]))
    assert steps[-1] == (2, 2)
    bases = done.tables["attributions"]
    text = made.sequence()
    for g, (gene, _, _) in enumerate(made.GENES):
        site = made.site_of(g)
        for method in ("deeplift", "integrated-gradients", "ism"):
            rows = bases.filter((pl.col("window") == gene) & (pl.col("method") == method))
            assert "".join(rows["base"]) == text[rows["pos"][0] - 1 : rows["pos"][-1]]
            top = rows.sort(pl.col("attribution"), descending=True).head(10)["pos"].to_list()
            # a base that a shuffle happens to have too contributes less
            assert len(set(top) & set(range(site, site + 10))) >= 8, (gene, method)
    strong = done.tables["seqlets"].filter((pl.col("p") <= 0.05) & (pl.col("method") == "deeplift"))
    assert strong["window"].to_list() == [gene for gene, *_ in made.GENES]
    first = done.tables["motifs"].filter(pl.col("method") == "deeplift").group_by("window", "start").first()
    assert first.join(strong, on=["window", "start"])["motif"].to_list() == ["ETS", "ETS"]
    counts = done.tables["motif_counts"].filter(pl.col("method") == "deeplift")
    assert counts["motif"][0] == "ETS" and counts["seqlets"][0] == 2 and counts["p"][0] < 0.05
    open_ = done.tables["enrichment"].filter((pl.col("window") == "all windows") & (pl.col("method") == "deeplift"))
    assert open_["fold"][0] > 4 and open_["p"][0] < 0.05 and "ism" not in done.tables["enrichment"]["method"]
    overlap = done.tables["overlap"].filter(pl.col("measure") == "Spearman rho")
    assert (overlap.filter(pl.col("method") == "deeplift")["value"] > 0.5).all()
    sums = done.tables["sums"].filter(pl.col("method") != "gradient-input")
    assert (sums["delta"].abs() <= 0.2 * (sums["value"] - sums["background"]).abs() + 1e-5).all()
    assert all(path.is_file() for path in done.files) and any("ETS" in line for line in done.lines())
    again = pl.read_csv(files / "out" / "seqlets.tsv", separator="\t")
    assert again.height == done.tables["seqlets"].height


def test_what_people_differ_by_adds_up_and_turns_with_them(files):
    asked = settings(files, vcf=files / "people.vcf", person=("ann", "eve"), method=("deeplift",), controls=0, steps=60)
    done = run(asked)
    text, model = made.sequence(), made.finder()
    differences = done.tables["differences"]
    assert differences.height == 4 and set(differences["against"]) == {"reference"}
    np.testing.assert_allclose(differences["difference"], differences["sum_path"] + differences["residual"], atol=1e-6)
    assert (differences["residual"].abs() <= 0.02 * differences["difference"].abs() + 1e-5).all()
    # ann has the first motif broken on one of two sequences
    site = made.site_of(0) + 3
    variants = done.tables["variants"].filter((pl.col("person") == "ann") & (pl.col("window") == made.GENES[0][0]))
    row = variants.row(by_predicate=pl.col("pos") == site, named=True)
    assert row["ref"] == text[site - 1] and row["copies"] == 1 and row["id"].startswith("rs") and row["path"] < -0.3
    from genopred.sequence.onehot import encode, onehot

    def value(changed):
        return float(model.predict_onehot(onehot(encode(changed[849:1149]))[None])[0, :, 0].sum())

    broken = text[: site - 1] + row["alt"] + text[site:]
    assert row["alone"] == pytest.approx((value(broken) - value(text)) / 2, abs=1e-5)
    # the reference's bases, and both sequences of people, are those of the forward strand in genes of both directions
    for person, haplotype in (("reference", 0), ("ann", 1), ("ann", 2), ("eve", 1), ("eve", 2)):
        letters = list(text)
        for pos, calls in made.CALLS.items() if haplotype else ():
            if calls.split()[made.PEOPLE.index(person)].split("|")[haplotype - 1] == "1":
                letters[pos - 1] = "CGTA"["ACGT".index(text[pos - 1])]
        whose = (pl.col("person") == person) & (pl.col("haplotype") == haplotype)
        for gene, *_ in made.GENES:
            rows = done.tables["attributions"].filter(whose & (pl.col("window") == gene))
            assert "".join(rows["base"]) == "".join(letters[rows["pos"][0] - 1 : rows["pos"][-1]]), (person, gene)
    # both sequences of people have contributions of their own
    people = done.tables["attributions"].filter(pl.col("person") == "ann")
    assert sorted(people["haplotype"].unique()) == [1, 2]
    assert people.filter((pl.col("pos") == site) & (pl.col("haplotype") == 1))["base"].to_list() == [row["alt"]]
    turned = run(
        settings(files, vcf=files / "people.vcf", person=("ann",), against="eve", method=("ism",), out=files / "a")
    )
    other = run(
        settings(files, vcf=files / "people.vcf", person=("eve",), against="ann", method=("ism",), out=files / "b")
    )
    a, b = (one.tables["variants"].sort("window", "pos") for one in (turned, other))
    np.testing.assert_allclose(a["path"], -b["path"], atol=2e-6)
    assert a["copies"].to_list() == (-b["copies"]).to_list()
    report = done.report.table.filter(pl.col("item") == "window-variant pairs")
    assert report.filter(pl.col("reason") == "indel")["n"].to_list() == [1]


def test_a_run_goes_on_where_it_was_killed(files, monkeypatch):
    asked = settings(files, motifs=files / "motifs.meme")
    whole = run(asked)
    before = {path.name: path.read_bytes() for path in (files / "out").rglob("*.tsv")}
    windows = sorted((files / "out" / "windows").glob("ENSG00000000002*"))
    assert windows
    for path in windows[:1]:
        path.unlink()  # as a kill would leave it: one window is not whole
    computed = []
    compute = attribute.window_tables
    monkeypatch.setattr(
        attribute, "window_tables", lambda inputs, place: (computed.append(place.name), compute(inputs, place))[1]
    )
    again = run(asked)
    assert computed == ["ENSG00000000002"]
    assert {path.name: path.read_bytes() for path in (files / "out").rglob("*.tsv")} == before
    assert again.tables["seqlets"].equals(whole.tables["seqlets"])
    windows[0].write_bytes(b"damaged")
    run(asked)
    assert computed == 2 * ["ENSG00000000002"]
    one = run(settings(files, motifs=files / "motifs.meme", all_genes=False, gene=("ENSG00000000001",)))
    assert len(computed) == 2 and set(one.tables["sums"]["window"]) == {"ENSG00000000001.2"}
    with pytest.raises(GenopredError, match="other settings.*--steps"):
        run(settings(files, motifs=files / "motifs.meme", steps=40))


def test_a_region_is_read_as_it_stands(files):
    site = made.site_of(0)
    region = f"chr1:{site - 50}-{site + 60}"
    done = run(
        settings(
            files,
            all_genes=False,
            region=(region,),
            gtf=None,
            method=("deeplift", "ism", "attention"),
            model="attentive",
        )
    )
    bases = done.tables["attributions"].filter(pl.col("method") == "ism")
    assert bases["pos"].to_list() == list(range(site - 50, site + 61))
    assert "".join(bases["base"]) == made.sequence()[site - 51 : site + 60]
    looked = done.tables["attention"].filter(pl.col("head") == 1)
    assert looked.height == 30 and looked["end"].max() - looked["start"].min() + 1 == made.WINDOW
    at = looked.filter(pl.col("from_tss") > 0.5)
    middle = site + 5
    assert at["start"][0] > middle - 10 and done.tables["attention_maps"].height == 900


def test_the_reverse_strand_is_written_forward(files):
    """The same numbers whether a stretch is read as a gene on the other strand, or turned round first."""
    site = made.site_of(1)
    done = run(
        settings(
            files, all_genes=False, gene=("ENSG00000000002",), method=("attention", "gradient-input"), model="attentive"
        )
    )
    bases = done.tables["attributions"]
    top = bases.sort("attribution", descending=True).head(8)["pos"]
    assert top.is_between(site, site + len(PLANTED) - 1).all()
    hypothetical = bases.filter(pl.col("pos") == site + 4)
    best = max("ACGT", key=lambda base: hypothetical[base][0])
    assert best == made.sequence()[site + 3]


def test_a_model_that_cannot_be_differentiated_has_mutagenesis(files):
    done = run(settings(files, model="bare", method=("ism",), tracks=("x",), ism_width=20))
    assert done.tables["attributions"].height == 40 and not done.tables["sums"].height
    with pytest.raises(GenopredError, match="bare cannot be taken apart"):
        run(settings(files, model="bare", tracks=("x",), out=files / "other"))
