"""genopred.pipelines.features, on files."""

import json
import multiprocessing
import os
import signal
import time
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

from genopred.errors import AlignmentError, GenopredError
from genopred.files import lock_output
from genopred.io.features import feature_path, read_features, read_manifest, read_origin
from genopred.pipelines import sequence_inputs
from genopred.pipelines.features import run
from genopred.sequence.models import registry
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.onehot import encode, onehot
from genopred.settings import Features

RNG = np.random.default_rng(11)
SEQUENCE = "".join(RNG.choice(list("ACGT"), 1200))
SITES = np.sort(RNG.choice(1200, 80, replace=False))
ALLELES = (RNG.random((10, 2, 80)) < 0.3).astype(int)
GENES = [
    ("ENSG00000000001.1", 100, "+"),
    ("ENSG00000000002.4", 500, "-"),
    ("ENSG00000000003.1", 830, "+"),
    ("ENSG00000000004.1", 1190, "-"),
]


class Toy(SequenceModel):
    """64 bp, 4 bins, 3 tracks; reverse genes are reverse-complemented."""

    name = "toy"
    window, tss_offset, strand_aware, bin_size, n_bins = 64, 32, True, 8, 4
    tracks = ("DNASE:x", "CAGE:y", "CAGE:z")
    checkpoint_hash = "toy-1"
    origin = {"by": "tests"}
    device = "cpu"
    pause = 0.0

    def __init__(self, path=None, device="cpu", **rest):
        self.kernel = np.random.default_rng(0).normal(size=(64 * 4, 12)).astype(np.float32) * 0.3
        self.checkpoint_hash = f"toy-{path}"

    def predict_onehot(self, onehot):
        time.sleep(self.pause)
        return np.exp(np.tanh(onehot.reshape(len(onehot), -1) @ self.kernel)).reshape(-1, 4, 3)


class LinearToy(Toy):
    def predict_haplotypes(self, *args, mode="exact", dtype="fp32", **rest):
        return super().predict_haplotypes(*args, **rest)


@pytest.fixture(autouse=True)
def packages(monkeypatch):
    points = [EntryPoint("toy", f"{__name__}:Toy", registry.GROUP), EntryPoint("lin", f"{__name__}:LinearToy", "g")]
    monkeypatch.setattr(registry, "entry_points", lambda group: points)


@pytest.fixture
def files(tmp_path):
    """A FASTA, a phased VCF and an expression BED that belong together."""
    (tmp_path / "ref.fa").write_text(">1\n" + "\n".join(SEQUENCE[i : i + 50] for i in range(0, 1200, 50)) + "\n")
    write_vcf(tmp_path / "people.vcf")
    header = ["#chr", "start", "end", "gene", "length", "strand", *[f"P{i}" for i in range(1, 11)]]
    rows = [
        ["chr1", str(tss - 1), str(tss), gene, "100", strand, *[f"{v:.3f}" for v in RNG.random(10)]]
        for gene, tss, strand in GENES
    ]
    (tmp_path / "expression.bed").write_text("\n".join("\t".join(row) for row in [header, *rows]) + "\n")
    return tmp_path


def write_vcf(path, mark="|", sequence=SEQUENCE):
    lines = ["##fileformat=VCFv4.2", "##contig=<ID=1,length=1200>"]
    lines.append('##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">')
    lines.append(
        "\t".join(
            ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"] + [f"P{i}" for i in range(10)]
        )
    )
    for k, site in enumerate(SITES):
        ref = sequence[site]
        alt = "CGTA"["ACGT".index(ref)]
        calls = [mark.join(map(str, pair)) for pair in ALLELES[:, :, k]]
        lines.append("\t".join(["1", str(site + 1), f"v{k}", ref, alt, ".", ".", ".", "GT", *calls]))
    path.write_text("\n".join(lines) + "\n")


def settings(files, **changes):
    base = {
        "vcf": files / "people.vcf",
        "all_genes": not changes.get("gene"),
        "fasta": files / "ref.fa",
        "model": "toy:1",
        "out": files / "out",
        "expression": files / "expression.bed",
        "device": "cpu",
    }
    return Features(**{**base, **changes})


def by_hand(gene, person):
    """Mean over both haplotypes of the three central bins, from characters."""
    _, tss, strand = GENES[gene]
    values = []
    for hap in range(2):
        bases = list(SEQUENCE)
        for k, site in enumerate(SITES):
            if ALLELES[person, hap, k]:
                bases[site] = "CGTA"["ACGT".index(SEQUENCE[site])]
        padded = "N" * 100 + "".join(bases) + "N" * 100
        start = 100 + tss - 1 - (32 if strand == "+" else 31)
        window = padded[start : start + 64]
        if strand == "-":
            window = window.translate(str.maketrans("ACGT", "TGCA"))[::-1]
        values.append(Toy().predict_onehot(onehot(encode(window))[None])[0][1:4].mean(axis=0))
    return np.mean(values, axis=0)


def test_files_hold_what_a_pass_a_haplotype_gives(files):
    steps = []
    done = run(settings(files, self_check=True), lambda *args: steps.append(args))
    assert steps[-1] == (4, 4, "ENSG00000000004.1") and done.genes["status"].to_list() == ["computed"] * 4
    for g, (gene, _, _) in enumerate(GENES):
        found = read_features(files / "out", gene)
        # P0 has no expression and is left out
        assert found.samples.tolist() == [f"P{i}" for i in range(1, 10)]
        np.testing.assert_allclose(found.values, [by_hand(g, p) for p in range(1, 10)], rtol=1e-5)
    manifest = read_manifest(files / "out")
    assert manifest["complete"] and manifest["model"] == "toy" and manifest["checkpoint_hash"] == "toy-1"
    assert manifest["counts"]["samples_without_expression"] == 1 and manifest["counts"]["ref_checked"] > 20
    assert manifest["build"] == "unknown" and manifest["phased"] is True
    reference = pl.read_parquet(files / "out" / "reference.parquet")
    assert reference.columns == ["gene_id", *Toy.tracks] and reference.height == 4
    assert done.genes["self_check_error"].max() < 1e-5
    assert any("4 genes (4 computed" in line for line in done.lines())


def test_nothing_is_computed_twice_and_only_what_changed_again(files, monkeypatch):
    run(settings(files))
    stamps = {gene: feature_path(files / "out", gene).stat().st_mtime_ns for gene, _, _ in GENES}
    again = run(settings(files))
    assert again.genes["status"].to_list() == ["reused"] * 4
    assert stamps == {gene: feature_path(files / "out", gene).stat().st_mtime_ns for gene, _, _ in GENES}
    # a genotype of one gene changes, a file is damaged: those two and no others
    monkeypatch.setitem(globals(), "ALLELES", ALLELES.copy())
    near = np.flatnonzero(np.abs(SITES - 500) < 25)[0]
    globals()["ALLELES"][5, 0, near] ^= 1
    write_vcf(files / "people.vcf")
    feature_path(files / "out", "ENSG00000000003.1").write_bytes(b"damaged")
    assert run(settings(files)).genes["status"].to_list() == ["reused", "computed", "computed", "reused"]
    np.testing.assert_allclose(read_features(files / "out", "ENSG00000000002").values[4], by_hand(1, 5), rtol=1e-5)


def test_other_settings_do_not_mix(files):
    run(settings(files))
    with pytest.raises(GenopredError, match="made with another bins.*--no-resume"):
        run(settings(files, bins=1))
    with pytest.raises(GenopredError, match="another checkpoint_hash"):
        run(settings(files, model="toy:2"))
    assert run(settings(files, bins=1, resume=False)).manifest["settings"]["bins"] == [2]


def in_a_process(folder):
    registry.entry_points = lambda group: [EntryPoint("toy", f"{__name__}:Toy", registry.GROUP)]
    Toy.pause = 0.05
    run(settings(Path(folder)))


def test_killed_and_resumed_it_is_the_same_file_for_file(files, tmp_path):
    whole = run(settings(files, out=tmp_path / "whole"))
    process = multiprocessing.get_context("spawn").Process(target=in_a_process, args=(str(files),))
    process.start()
    deadline = time.time() + 60
    while not feature_path(files / "out", "ENSG00000000001.1").exists() and time.time() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not read_manifest(files / "out")["complete"]
    resumed = run(settings(files))
    assert resumed.genes["status"][0] == "reused"
    assert resumed.manifest["genes"] == whole.manifest["genes"]
    for gene, _, _ in GENES:
        ours, theirs = read_features(files / "out", gene), read_features(tmp_path / "whole", gene)
        assert ours.values.tobytes() == theirs.values.tobytes() and ours.names == theirs.names
    # all of it but what the two runs did for each gene, and how long that took
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert sorted(path.name for path in (files / "out").iterdir()) == names and "timing.tsv" in names
    for name in set(names) - {"timing.tsv"}:
        assert (files / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    timing = pl.read_csv(files / "out" / "timing.tsv", separator="\t")
    assert timing.columns == ["gene_id", "status", "seconds", "predicting"] and timing["status"][0] == "reused"


def test_what_a_killed_run_was_writing_goes_at_the_next_start(files):
    left = files / "out" / ".ENSG00000000001.abcd1234.part.parquet"
    left.parent.mkdir()
    left.write_text("half")
    run(settings(files))
    assert not [path for path in (files / "out").iterdir() if path.name.startswith(".")]


def test_features_that_nobody_differs_in_are_counted(files, monkeypatch):
    sites = np.setdiff1d(SITES, np.arange(1100, 1200))
    monkeypatch.setitem(globals(), "SITES", sites)
    write_vcf(files / "people.vcf")
    done = run(settings(files))
    assert done.genes["constant"].to_list() == [0, 0, 0, 3] and done.genes["features"].to_list() == [3] * 4
    assert done.manifest["counts"]["features_constant"] == 3 and done.manifest["counts"]["features"] == 12
    said = "3 of 12 features are the same in everybody (column constant of genes.tsv); nothing varies in 1 of 4 genes"
    assert any(line.startswith(said) and "ENSG00000000004.1" in line for line in done.lines())
    # asked for one value a gene, there is nothing to say
    done = run(settings(files, mode="reference", model="lin:1", out=files / "ref"))
    assert not any("same in everybody" in line for line in done.lines())


def test_a_damaged_number_is_computed_again(files):
    run(settings(files))
    path = feature_path(files / "out", "ENSG00000000002.4")
    whole = path.read_bytes()
    # past the samples, within the numbers of the first track
    at = whole.index(b"\x28\xb5\x2f\xfd", 300) + 12
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    assert run(settings(files)).genes["status"].to_list() == ["reused", "computed", "reused", "reused"]
    assert path.read_bytes() == whole


def test_two_runs_on_one_folder(files):
    (files / "out").mkdir()
    with lock_output(files / "out"), pytest.raises(GenopredError, match="another run writes to"):
        run(settings(files))


def test_several_devices_give_the_same(files, monkeypatch):
    one = run(settings(files, out=files / "one"))
    monkeypatch.setattr(sequence_inputs, "devices", lambda device, several: ["cpu", "cpu", "cpu"])
    three = run(settings(files, out=files / "three"))
    assert one.manifest["genes"] == three.manifest["genes"]
    for gene, _, _ in GENES:
        assert (
            read_features(files / "one", gene).values.tobytes() == read_features(files / "three", gene).values.tobytes()
        )


def test_a_lower_precision_says_what_it_costs(files):
    done = run(settings(files, model="lin:1", dtype="bf16"))
    assert done.genes["dtype_error"].max() < 1e-6 and done.genes["dtype_lowest_r"].min() == pytest.approx(1)
    assert any("bf16 against fp32 on 8 haplotypes a gene" in line for line in done.lines())
    assert run(settings(files, model="lin:1", dtype="bf16")).genes["status"].to_list() == ["reused"] * 4


def test_linear_mode_says_how_well_it_agrees(files):
    done = run(settings(files, model="lin:1", mode="linear"))
    assert done.genes["linear_median_r"].min() == pytest.approx(1)
    assert done.genes["linear_median_slope"].to_list() == pytest.approx([1] * 4)
    assert any("linear against exact" in line for line in done.lines())
    assert "linear_agreement" in read_origin(feature_path(files / "out", "ENSG00000000001.1"))
    with pytest.raises(GenopredError, match="--self-check holds the exact mode.*--mode linear, which reports"):
        run(settings(files, model="lin:1", mode="linear", self_check=True))


def test_ref_that_is_not_the_fastas_is_refused_or_counted_on_the_screen(files):
    near = SITES[np.argmin(np.abs(SITES - 100))]
    (files / "changed").mkdir()
    fasta = files / "changed" / "ref.fa"
    # the FASTA has ALT where the genotypes have REF
    fasta.write_text(">1\n" + SEQUENCE[:near] + "CGTA"["ACGT".index(SEQUENCE[near])] + SEQUENCE[near + 1 :] + "\n")
    with pytest.raises(AlignmentError, match="the REF of 1 of"):
        run(settings(files, fasta=fasta))
    done = run(settings(files, fasta=fasta, max_ref_mismatch=0.5))
    counts = done.manifest["counts"]
    assert counts["windows_other"] + counts["windows_swapped"] == 1
    left = f"{counts['windows_other']} variants left out, {counts['windows_swapped']} swapped"
    assert any(line.startswith(f"REF unlike the FASTA: {left}") for line in done.lines())
    assert not any("REF unlike" in line for line in run(settings(files, out=files / "good")).lines())


def test_devices_and_folders_that_do_not_exist(files):
    with pytest.raises(GenopredError, match="--device tpu"):
        run(settings(files, device="tpu"))
    with pytest.raises(GenopredError, match="--device cuda:99"):
        run(settings(files, device="cuda:99"))
    (files / "file").write_text("")
    with pytest.raises(GenopredError, match="--out .*out: Not a directory; choose a folder that you may write"):
        run(settings(files, out=files / "file" / "out"))


def test_the_manifest_is_json_that_names_the_files(files):
    run(settings(files))
    manifest = json.loads((files / "out" / "manifest.json").read_text())
    assert set(manifest["genes"]) == {gene for gene, _, _ in GENES}
    assert manifest["genotypes"].endswith("people.vcf") and manifest["fasta"].endswith("ref.fa")


@pytest.fixture
def embedded(tmp_path, monkeypatch):
    """Stands for the model that comes with the package, in small."""
    from test_sequence_models_enformer_checkpoint import write_small

    from genopred.sequence.models.enformer import checkpoint

    file = write_small(tmp_path / "embedded.safetensors", window=2048, target=8)
    monkeypatch.setattr(checkpoint, "embedded_file", lambda: file)
    return file


def test_without_a_name_it_is_the_embedded_model(files, embedded):
    base = settings(files, aggregate="none", bins=1)
    done = run(Features(**{key: value for key, value in vars(base).items() if key != "model"}))
    assert done.manifest["model"] == Features.model == "enformer-small" and done.manifest["window"] == 2048
    model = registry.load_model("enformer-small")
    for gene, tss, strand in GENES[:2]:
        found = read_features(files / "out", gene)
        assert found.names[1] == "CAGE:a:+ | bin 4"
        want = []
        for hap in range(2):
            bases = list(SEQUENCE)
            for k, site in enumerate(SITES):
                if ALLELES[3, hap, k]:
                    bases[site] = "CGTA"["ACGT".index(SEQUENCE[site])]
            padded = "N" * 1100 + "".join(bases) + "N" * 1100
            at = 1100 + tss - 1 - (1024 if strand == "+" else 1023)
            window = padded[at : at + 2048]
            if strand == "-":
                window = window.translate(str.maketrans("ACGT", "TGCA"))[::-1]
            want.append(model.predict_onehot(onehot(encode(window))[None])[0, 4])
        np.testing.assert_allclose(found.values[2], np.mean(want, axis=0), rtol=2e-5)


def test_dry_run_counts_and_writes_nothing(files):
    found = run(settings(files, dry_run=True))
    assert not (files / "out").exists()
    ran = run(settings(files))
    assert found.cost.genes["distinct"].to_list() == ran.genes["distinct"].to_list()
    assert found.cost.genes["haplotypes"].sum() == 4 * 18 and found.cost.hours < found.cost.naive_hours
    assert any("distinct windows" in line for line in found.lines())


def test_what_each_mode_costs(files):
    costs = [
        run(settings(files, dry_run=True, model="lin:1", **more)).cost.genes["passes"].sum()
        for more in ({}, {"dtype": "bf16"}, {"mode": "linear"}, {"mode": "reference"})
    ]
    # 8 haplotypes a gene more; 1 + 2 x 9 backward passes and a sample of 18; one
    assert costs[0] < costs[1] <= costs[0] + 4 * 8 and costs[3] == 4 and costs[2] >= 4 * (1 + 2 * 9)
