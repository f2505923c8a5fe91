"""genopred.pipelines.effects, on files."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from importlib.metadata import EntryPoint

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

import test_pipelines_features as toy_files
from test_pipelines_features import GENES, SEQUENCE, SITES, Toy, write_vcf

from genopred.errors import GenopredError
from genopred.pipelines.effects import run
from genopred.sequence.effects import EFFECT_SCHEMA
from genopred.sequence.models import registry
from genopred.sequence.onehot import encode, onehot
from genopred.settings import Effects
from genopred.types import Interval

embedded = toy_files.embedded


class Forward(Toy):
    """Reads forward whatever the gene's strand."""

    strand_aware = False
    calls = 0

    def predict_onehot(self, onehot):
        type(self).calls += len(onehot)
        return super().predict_onehot(onehot)


@pytest.fixture(autouse=True)
def packages(monkeypatch):
    points = [EntryPoint("toy", f"{__name__}:Toy", "g"), EntryPoint("forward", f"{__name__}:Forward", "g")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)


@pytest.fixture
def files(tmp_path):
    """A FASTA, a VCF, a table of its SNPs, an expression BED and a GTF that belong together."""
    (tmp_path / "ref.fa").write_text(">1\n" + "\n".join(SEQUENCE[i : i + 50] for i in range(0, 1200, 50)) + "\n")
    write_vcf(tmp_path / "people.vcf")
    lines = ["chrom\tpos\tid\tref\talt"]
    for k, site in enumerate(SITES):
        ref = SEQUENCE[site]
        lines.append(f"chr1\t{site + 1}\tv{k}\t{ref}\t{'CGTA'['ACGT'.index(ref)]}")
    (tmp_path / "snps.tsv").write_text("\n".join(lines) + "\n")
    header = ["#chr", "start", "end", "gene", "length", "strand", *[f"P{i}" for i in range(12)]]
    rows = [["chr1", tss - 1, tss, gene, 100, strand, *([1.5] * 12)] for gene, tss, strand in GENES]
    (tmp_path / "expression.bed").write_text("\n".join("\t".join(map(str, row)) for row in [header, *rows]) + "\n")
    gtf = []
    for gene, tss, strand in GENES:
        start, end = (tss, min(tss + 40, 1200)) if strand == "+" else (tss - 40, tss)
        fields = ["1", "x", "gene", start, end, ".", strand, ".", f'gene_id "{gene}"; gene_name "{gene[-3:]}";']
        gtf.append("\t".join(map(str, fields)))
    (tmp_path / "genes.gtf").write_text("\n".join(gtf) + "\n")
    return tmp_path


def settings(files, **changes):
    base = {
        "fasta": files / "ref.fa",
        "model": "toy:1",
        "out": files / "out",
        "snps": files / "snps.tsv",
        "expression": files / "expression.bed",
        "all_genes": True,
        "device": "cpu",
    }
    return Effects(**{**base, **changes})


def by_hand(model, row, centre, strand):
    """ALT minus REF (bins, tracks), from letters."""
    minus = model.strand_aware and strand == "-"
    start = centre - 1 - (31 if minus else 32)
    out = []
    for allele in (row["alt"], row["ref"]):
        changed = "N" * 100 + SEQUENCE[: row["pos"] - 1] + allele + SEQUENCE[row["pos"] :] + "N" * 100
        window = changed[100 + start : 164 + start]
        if minus:
            window = window.translate(str.maketrans("ACGT", "TGCA"))[::-1]
        out.append(model.predict_onehot(onehot(encode(window))[None])[0].astype(float))
    return out[0] - out[1]


@pytest.mark.parametrize("name", ["toy", "forward"])
def test_every_snp_in_the_window_of_every_gene(files, name):
    steps = []
    done = run(settings(files, model=f"{name}:1", tracks=("all", "cage=CAGE")), lambda *args: steps.append(args))
    table, model = done.table, {"toy": Toy, "forward": Forward}[name]()
    assert steps[-1][:2] == (4, 4) and dict(table.schema) == {k: v() for k, v in EFFECT_SCHEMA.items()}
    strands = {gene: (tss, strand) for gene, tss, strand in GENES}
    wanted = []
    for gene, tss, strand in GENES:
        minus = model.strand_aware and strand == "-"
        low = tss - (31 if minus else 32)
        wanted += [(gene, int(site) + 1) for site in SITES if low <= site + 1 <= low + 63]
    assert table.filter(pl.col("track_group") == "all").select("gene", "pos").rows() == wanted
    for row in table.iter_rows(named=True):
        tss, strand = strands[row["gene"]]
        tracks = [0, 1, 2] if row["track_group"] == "all" else [1, 2]
        difference = by_hand(model, row, tss, strand)[:, tracks]
        assert row["effect"] == pytest.approx(difference.sum(axis=0).mean(), abs=3e-6)
        assert row["tss_distance"] == (row["pos"] - tss) * (1 if strand == "+" else -1)
        assert row["chrom"] == "chr1"
    again = pl.read_csv(files / "out.tsv", separator="\t")
    assert again.columns == list(EFFECT_SCHEMA)
    np.testing.assert_allclose(again["effect"], pl.read_parquet(files / "out.parquet")["effect"], rtol=1e-12)
    manifest = json.loads((files / "out.json").read_text())
    assert manifest["groups"] == {"all": 3, "cage": 2} and manifest["center"] == "tss"
    report = done.report
    assert report.count("variants", "in") == 80
    assert report.count("variants", "in") == report.count("variants", "used") + report.count("variants", "dropped")
    assert report.count("pairs", "used") == len(wanted) and not (files / "out.parts").exists()


def test_a_window_of_snps_around_a_gene(files):
    """Upstream is before the TSS in the gene's direction, downstream after the gene's end where a GTF says it."""
    expected = {
        ("expression", 1): lambda p, tss, strand: -100 <= (p - tss) * strand <= 60,
        ("gtf", 1): lambda p, tss, strand: -100 <= (p - tss) * strand <= 60 + 40,
    }
    for (source, _), inside in expected.items():
        changes = {"expression": None, "gtf": files / "genes.gtf"} if source == "gtf" else {}
        done = run(settings(files, upstream=100, downstream=60, center="snp", model="forward:1", **changes))
        for gene, tss, strand in GENES[:3]:
            found = done.table.filter(pl.col("gene") == gene)["pos"].to_list()
            sign = 1 if strand == "+" else -1
            assert found == [int(s) + 1 for s in SITES if inside(int(s) + 1, tss, sign)]
    row = done.table.row(3, named=True)
    assert row["effect"] == pytest.approx(by_hand(Forward(), row, row["pos"], "+").sum(axis=0).mean(), abs=3e-6)


def test_snps_outside_the_models_window_are_counted(files):
    done = run(settings(files, upstream=300, downstream=300, all_genes=False, gene=("ENSG00000000002",)))
    counts = {(row["item"], row["reason"]): row["n"] for row in done.report.table.iter_rows(named=True)}
    near = [s for s in SITES if 200 <= s + 1 <= 800]
    inside = [s for s in SITES if 469 <= s + 1 <= 532]
    assert counts["pairs", "outside the model's window"] == len(near) - len(inside)
    assert counts["variants", "outside the model's window"] == len(near) - len(inside)
    assert counts["pairs", "scored"] == len(inside) == done.table.height


def test_regions_without_genes(files):
    done = run(settings(files, region=Interval("chr1", 300, 420), all_genes=False, model="forward:1", share=6))
    assert done.table["gene"].null_count() == done.table.height == len([s for s in SITES if 300 <= s < 420])
    alone = run(settings(files, region=Interval("1", 300, 420), all_genes=False, model="forward:1", out=files / "b"))
    for row in alone.table.iter_rows(named=True):
        difference = by_hand(Forward(), row, row["pos"], "+")
        assert row["effect"] == pytest.approx(difference.sum(axis=0).mean(), abs=3e-6)


def test_a_stopped_run_goes_on_where_it_was(files):
    Forward.calls = 0
    whole = run(settings(files, model="forward:1", out=files / "whole")).table
    once = Forward.calls

    def stop(done, total, label):
        if done == 2:
            raise KeyboardInterrupt

    Forward.calls = 0
    with pytest.raises(KeyboardInterrupt):
        run(settings(files, model="forward:1"), stop)
    assert not (files / "out.parquet").exists() and len(list((files / "out.parts").iterdir())) == 2
    halfway = Forward.calls
    result = run(settings(files, model="forward:1"))
    assert Forward.calls == once and 0 < halfway < once
    assert result.table.equals(whole) and not result.reused
    third = run(settings(files, model="forward:1"))
    assert third.reused and third.table.equals(whole) and Forward.calls == once
    assert "there already" in third.lines()[0]
    run(settings(files, model="forward:1", resume=False))
    assert Forward.calls == 2 * once
    assert not run(settings(files, model="forward:1", bins=1)).reused


def test_a_damaged_part_is_computed_again(files):
    def stop(done, total, label):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(settings(files), stop)
    (part,) = (files / "out.parts").iterdir()
    part.write_bytes(b"PAR1 half")
    assert run(settings(files)).table.equals(run(settings(files, out=files / "b")).table)


def test_mutagenesis_writes_a_table_and_pictures(files):
    base = settings(files, ism=Interval("chr1", 480, 510), all_genes=False, gene=("ENSG00000000002",))
    done = run(replace(base, tracks=("DNASE", "CAGE")))
    assert done.table.height == 30 * 3 * 2
    for row in done.table.sample(20, seed=1).iter_rows(named=True):
        difference = by_hand(Toy(), row, 500, "-")
        tracks = [0] if row["track_group"] == "DNASE" else [1, 2]
        assert row["effect"] == pytest.approx(difference[:, tracks].sum(axis=0).mean(), abs=3e-6)
    assert (files / "out.DNASE.png").is_file() and (files / "out.CAGE.svg").is_file()
    svg = (files / "out.CAGE.svg").read_text()
    marked = [f"v{k}" for k, site in enumerate(SITES) if 480 <= site < 510]
    assert marked and f">{marked[0]}<" in svg
    for change, message in (
        ({"ism": Interval("1", 0, 20)}, "--ism 1:1-20: toy sees"),
        ({"ism": Interval("1", 1190, 1300)}, "1,200 bases"),
        ({"ism": Interval("2", 0, 20), "snps": None}, "is on chr1"),
        ({"gene": (), "all_genes": True}, "4 genes were chosen"),
        ({"gradients": True}, "cannot be differentiated"),
    ):
        with pytest.raises(GenopredError, match=message):
            run(replace(base, **{"out": files / "bad", **change}))


def test_groups_of_odd_names_have_pictures_of_their_own(files):
    groups = ("CAGE:y", "CAGE[:]y", "cage:y", "DNASE:x")
    done = run(settings(files, ism=Interval("chr1", 480, 490), all_genes=False, tracks=groups))
    pictures = {file.name for file in done.files if file.suffix == ".svg"}
    assert len({name.lower() for name in pictures}) == 4 and "out.DNASE_x.svg" in pictures
    assert all((files / name).is_file() for name in pictures)


def test_a_reference_that_was_copied_back_is_the_same(files):
    run(settings(files))
    later = (files / "ref.fa").stat().st_mtime + 100
    for name in ("ref.fa", "ref.fa.fai"):
        os.utime(files / name, (later, later))
    assert run(settings(files)).reused
    (files / "ref.fa.fai").unlink()
    (files / "ref.fa").write_text((files / "ref.fa").read_text().replace(">1", ">chr1"))
    assert not run(settings(files)).reused


def test_what_a_killed_run_was_writing_goes_at_the_next_start(files):
    (files / "out.parts").mkdir()
    mine = [".out.abcd1234.part.parquet", ".out.matched.abcd1234.part.tsv", ".out.abcd1234.part.svg"]
    mine += ["out.parts/.0f0f.abcd1234.part.parquet"]
    # of another run in the same folder
    other = [".outer.abcd1234.part.parquet", ".b.abcd1234.part.tsv"]
    for name in (*mine, *other):
        (files / name).write_text("half")
    run(settings(files))
    assert not any((files / name).exists() for name in mine) and all((files / name).exists() for name in other)


def test_xpresso_on_real_genes(shared, tmp_path):
    """Trained weights, real SNPs: a SNP's effect is one plain pass with ALT minus one with REF."""
    from genopred.io.fasta import open_fasta
    from genopred.sequence.models.registry import load_model

    data = shared / "data"
    weights = data / "xpresso" / "GM12878_trainepoch.06-0.5062.h5"
    done = run(
        Effects(
            fasta=data / "reference" / "chr22.b37.fa.gz",
            model=f"xpresso:{weights}",
            out=tmp_path / "out",
            vcf=data / "geuvadis_chr22" / "genotypes.chr22.vcf.gz",
            expression=data / "geuvadis_chr22" / "genes.50percent.chr22.bed.gz",
            gene=("ENSG00000100376", "ENSG00000184674"),
            device="cpu",
        )
    )
    assert done.table["gene"].n_unique() == 2 and done.table.height > 20 and done.table["log_fc"].null_count()
    fasta, model = open_fasta(data / "reference" / "chr22.b37.fa.gz"), load_model(f"xpresso:{weights}")
    for row in done.table.sample(6, seed=2).iter_rows(named=True):
        strand = 1 if row["gene"] == "ENSG00000100376.7" else -1
        tss = row["pos"] - strand * row["tss_distance"]
        # 7,000 bases up to and with the TSS, 3,500 after it
        start = tss - 7000 if strand == 1 else tss - 3501
        letters = fasta.fetch(Interval("22", start, start + 10_500))
        at, values = row["pos"] - 1 - start, []
        assert letters[at] == row["ref"]
        for allele in (row["alt"], row["ref"]):
            window = letters[:at] + allele + letters[at + 1 :]
            if strand == -1:
                window = window.translate(str.maketrans("ACGT", "TGCA"))[::-1]
            values.append(model.predict_onehot(onehot(encode(window))[None])[0, 0, 0])
        assert row["effect"] == pytest.approx(float(values[0] - values[1]), abs=2e-6)
        assert row["reference"] == pytest.approx(float(values[1]), abs=2e-5)


def test_without_a_name_it_is_the_embedded_model(files, embedded, caplog):
    base = {key: value for key, value in vars(settings(files)).items() if key != "model"}
    done = run(Effects(**base | {"bins": 1, "over_tracks": "each"}))
    assert done.manifest["model"] == Effects.model == "enformer-small"
    model = registry.load_model("enformer-small")
    strands = {gene: (tss, strand) for gene, tss, strand in GENES}
    for row in done.table.sample(12, seed=3).iter_rows(named=True):
        tss, strand = strands[row["gene"]]
        values = []
        for allele in (row["alt"], row["ref"]):
            changed = "N" * 1100 + SEQUENCE[: row["pos"] - 1] + allele + SEQUENCE[row["pos"] :] + "N" * 1100
            at = 1100 + tss - 1 - (1024 if strand == "+" else 1023)
            window = changed[at : at + 2048]
            if strand == "-":
                window = window.translate(str.maketrans("ACGT", "TGCA"))[::-1]
            values.append(model.predict_onehot(onehot(encode(window))[None])[0, 4].astype(float))
        track = model.tracks.index(row["track_group"])
        assert row["effect"] == pytest.approx((values[0] - values[1])[track], abs=3e-5)
    # it predicts along any stretch: a window around each SNP is nothing unusual, and both strands mean something
    caplog.clear()
    around = {"center": "snp", "all_genes": False, "expression": None, "strands": "both"}
    assert run(Effects(**base | around | {"out": files / "snp"})).table.height == 80
    assert "was not trained for" not in caplog.text
    run(settings(files, center="snp", all_genes=False, out=files / "toy"))
    assert "was not trained for" in caplog.text
