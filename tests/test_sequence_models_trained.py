"""genopred.sequence.models.trained: what `genopred train` wrote is a model like any other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from training_data import CONFIG, simulate, write

from genopred.attribution.gradients import gradients
from genopred.errors import ModelError
from genopred.io.features import read_features
from genopred.pipelines import effects, features, train
from genopred.sequence.effects import EffectSettings
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.models.registry import is_model, load_model, load_trained
from genopred.sequence.models.trained import TrainedModel
from genopred.sequence.onehot import encode, onehot
from genopred.settings import Effects, Features, Train
from genopred.training.store import load_network
from genopred.types import Interval

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
pytest.importorskip("pyBigWig")
pytest.importorskip("enformer_pytorch")

RNG = np.random.default_rng(5)
BASES = simulate()[0]
GENES = [("ENSG01.1", 50_000, "+"), ("ENSG02.2", 120_400, "-"), ("ENSG03.1", 500, "+")]
SITES = np.sort(np.concatenate([tss - 1 + RNG.choice(np.arange(-400, 900), 12, replace=False) for _, tss, _ in GENES]))
ALLELES = (RNG.random((4, 2, len(SITES))) < 0.4).astype(int)


def alt_of(ref: str) -> str:
    return "CGTA"["ACGT".index(ref)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A trained cnn in run/, and the genotypes, genes and reference that it is used on."""
    folder = tmp_path_factory.mktemp("trained")
    train.run(Train(config=write(folder), out=folder / "run"))
    names = [f"P{i}" for i in range(len(ALLELES))]
    head = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *names]
    lines = ["##fileformat=VCFv4.2", "##contig=<ID=chr1,length=300000>"]
    lines += ['##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">', "\t".join(head)]
    for k, site in enumerate(SITES):
        calls = ["|".join(map(str, pair)) for pair in ALLELES[:, :, k]]
        ref = BASES[site]
        lines.append("\t".join(["chr1", str(site + 1), f"v{k}", ref, alt_of(ref), ".", ".", ".", "GT", *calls]))
    (folder / "people.vcf").write_text("\n".join(lines) + "\n")
    gtf = [
        f'chr1\tx\tgene\t{tss - (strand == "-") * 90}\t{tss + (strand == "+") * 90}\t.\t{strand}\t.\tgene_id "{gene}";'
        for gene, tss, strand in GENES
    ]
    (folder / "genes.gtf").write_text("\n".join(gtf) + "\n")
    return folder


def window(bases: str, tss: int, strand: str) -> np.ndarray:
    """One-hot (2048, 4) in the gene's direction, from letters; N beyond the ends."""
    padded = "N" * 2048 + bases + "N" * 2048
    at = 2048 + tss - 1 - (1024 if strand == "+" else 1023)
    text = padded[at : at + 2048]
    if strand == "-":
        text = text.translate(str.maketrans("ACGT", "TGCA"))[::-1]
    return onehot(encode(text))


def direct(folder: Path, windows: np.ndarray) -> np.ndarray:
    """What the network itself says."""
    network, _ = load_network(folder / "run" / "model")
    with torch.no_grad():
        return network(torch.from_numpy(np.ascontiguousarray(windows))).numpy()


def haplotype(person: int, hap: int) -> str:
    bases = list(BASES)
    for k, site in enumerate(SITES):
        if ALLELES[person, hap, k]:
            bases[site] = alt_of(BASES[site])
    return "".join(bases)


@pytest.mark.parametrize("strands", ["model", "both"])
@pytest.mark.parametrize("spec", ["run", "run/model", "cnn:run"])
def test_features_are_what_the_network_says_of_each_persons_haplotypes(files, tmp_path, spec, strands, monkeypatch):
    monkeypatch.chdir(files)
    settings = Features(
        vcf=files / "people.vcf",
        all_genes=True,
        fasta=files / "ref.fa",
        model=spec,
        out=tmp_path / "out",
        gtf=files / "genes.gtf",
        bins=3,
        device="cpu",
        self_check=True,
        strands=strands,
    )
    done = features.run(settings)
    assert done.manifest["model"] == "cnn:run/model" and done.genes["self_check_error"].max() < 1e-5
    for gene, tss, strand in GENES:
        found = read_features(tmp_path / "out", gene)
        assert found.names == ("open", "start +", "start -")
        windows = np.stack([window(haplotype(p, h), tss, strand) for p in range(len(ALLELES)) for h in range(2)])
        want = direct(files, windows)
        if strands == "both":
            back = direct(files, windows[:, ::-1, ::-1])
            want = (want + back[:, ::-1][:, :, [0, 2, 1]]) / 2
        # 16 bins less 2 at each end: the TSS is in bin 6
        want = want[:, 5:8].mean(axis=1).reshape(len(ALLELES), 2, 3).mean(axis=1)
        np.testing.assert_allclose(found.values, want, rtol=2e-5, atol=1e-6)
        assert np.ptp(want, axis=0).max() > 1e-4


def test_effects_are_what_the_network_says_of_both_alleles(files, tmp_path):
    settings = Effects(
        fasta=files / "ref.fa",
        model=str(files / "run"),
        out=tmp_path / "out",
        vcf=files / "people.vcf",
        gtf=files / "genes.gtf",
        all_genes=True,
        bins=3,
        device="cpu",
        over_tracks="each",
    )
    table = effects.run(settings).table
    known = {gene: (tss, strand) for gene, tss, strand in GENES}
    assert set(table["gene"]) == set(known) and table.height > 60
    for row in table.sample(20, seed=1).iter_rows(named=True):
        tss, strand = known[row["gene"]]
        other = BASES[: row["pos"] - 1] + row["alt"] + BASES[row["pos"] :]
        ref, alt = direct(files, np.stack([window(BASES, tss, strand), window(other, tss, strand)]))[:, 5:8].sum(axis=1)
        which = ["open", "start +", "start -"].index(row["track_group"].removeprefix("all:").removeprefix("all "))
        assert row["effect"] == pytest.approx(float(alt[which] - ref[which]), abs=2e-5)


def test_a_trained_cnn_is_a_model(files):
    model = load_model(str(files / "run" / "model"))
    assert isinstance(model, TrainedModel) and isinstance(model, SequenceModel)
    assert (model.window, model.tss_offset, model.bin_size, model.n_bins) == (2048, 1024, 128, 12)
    assert model.strand_aware and model.reverse_tracks == (0, 2, 1)
    assert is_model(str(files / "run")) and is_model("cnn:run")
    assert load_model(f"cnn:{files / 'run'}").checkpoint_hash == model.checkpoint_hash
    with pytest.raises(ModelError, match="windows have shape"):
        model.predict_onehot(np.zeros((1, 100, 4), dtype=np.float32))
    with pytest.raises(ModelError, match="cnn needs the folder of its network"):
        load_model("cnn")
    with pytest.raises(ModelError, match="--tf-gamma and --no-tf-gamma are for Enformer"):
        load_model(str(files / "run"), tf_gamma=True)
    with pytest.raises(ModelError, match=r"model_type 'genopred-cnn'; needed 'enformer'.*named by its folder alone"):
        load_model(f"enformer:{files / 'run'}")


def test_a_trained_enformer_is_named_by_its_runs_folder_too(files, tmp_path):
    text = CONFIG.replace(
        'kind = "cnn"\nchannels = 8\nlayers = 1',
        'kind = "enformer-small"\ndim = 24\ndepth = 1\nheads = 2\ndim_divisible_by = 6',
    )
    for name in ("ref.fa", "open.bw", "plus.bw", "minus.bw"):
        (tmp_path / name).symlink_to(files / name)
    (tmp_path / "train.toml").write_text(text.replace("batch = 8", "batch = 64"))
    train.run(Train(config=tmp_path / "train.toml", epochs=1, out=tmp_path / "run"))
    model = load_model(str(tmp_path / "run"))
    assert model.name == f"enformer:{tmp_path / 'run' / 'model'}"
    assert model.checkpoint_hash == load_model(f"enformer:{tmp_path / 'run' / 'model'}").checkpoint_hash
    with pytest.raises(ModelError, match="trained enformer-small, no cnn"):
        load_model(f"cnn:{tmp_path / 'run'}")
    plain = load_trained(tmp_path / "run" / "model")
    assert isinstance(plain, TrainedModel) and (plain.tracks, plain.n_bins) == (model.tracks, model.n_bins)
    x = onehot(encode(BASES[:4096])).reshape(2, 2048, 4)
    np.testing.assert_allclose(plain.predict_onehot(x), model.predict_onehot(x), rtol=2e-5, atol=1e-6)


def test_a_trained_cnn_has_gradients(files):
    model = load_model(str(files / "run"))
    text = SimpleNamespace(fetch=lambda interval: BASES[interval.start : interval.end])
    settings = EffectSettings.of(model, tracks="open", bins=3)
    slope = gradients(model, text, Interval("chr1", 3000, 5048), settings)[0]
    x = torch.from_numpy(onehot(encode(BASES[3000:5048]))).double()
    network = load_network(files / "run" / "model")[0].double()
    at, step = (1020, 2), 1e-6
    moved = []
    for sign in (1, -1):
        here = x.clone()
        here[at] += sign * step
        with torch.no_grad():
            moved.append(network(here[None])[0, list(settings.bins), 0].sum().item())
    assert slope[at] == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-3, abs=1e-6)


def test_a_trained_cnn_can_be_taken_apart(files):
    """For DeepLIFT no step of it is a bare function but those that are linear."""
    pytest.importorskip("tangermeme")
    from genopred.attribution.backgrounds import backgrounds
    from genopred.attribution.methods import contributions
    from genopred.attribution.target import GroupValues
    from genopred.sequence.effects import EffectSettings

    model = load_model(str(files / "run"))
    x = np.eye(4, dtype=np.float32)[np.random.default_rng(2).integers(0, 4, (1, model.window))]
    values = GroupValues(model, EffectSettings.of(model))
    found = contributions(values, x, backgrounds(x[0], "shuffled", 2, 1)[None], "deeplift")
    assert found.missed < 1e-3


def test_a_run_without_a_network_yet(files, tmp_path):
    shutil.copytree(files / "run", tmp_path / "run", ignore=shutil.ignore_patterns("model"))
    with pytest.raises(ModelError, match=r"run has no network yet .model/config.json.; finish an epoch"):
        load_model(str(tmp_path / "run"))


def test_the_hash_is_of_weights_and_shape(files, tmp_path):
    shutil.copytree(files / "run" / "model", tmp_path / "a")
    shutil.copytree(files / "run" / "model", tmp_path / "b")
    edit(tmp_path / "b", lambda c: c["validation"].update(epoch=99))
    first = load_model(str(files / "run")).checkpoint_hash
    assert {load_model(str(tmp_path / name)).checkpoint_hash for name in "ab"} == {first}
    edit(tmp_path / "b", lambda c: c["training"]["data"].update(crop=1))
    state = safetensors_torch.load_file(tmp_path / "a" / "model.safetensors")
    state["head.bias"][0] += 1
    safetensors_torch.save_file(state, tmp_path / "a" / "model.safetensors")
    assert len({first, *(load_model(str(tmp_path / name)).checkpoint_hash for name in "ab")}) == 3


def edit(folder: Path, change) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))


def nan(folder: Path) -> None:
    state = safetensors_torch.load_file(folder / "model.safetensors")
    state["head.bias"][0] = float("nan")
    safetensors_torch.save_file(state, folder / "model.safetensors")


def cut(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-50])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda f: edit(f, lambda c: c["training"]["network"].update(channels=10**6)),
            "channels is 1,000,000; needed a",
        ),
        (lambda f: edit(f, lambda c: c["training"]["network"].update(channels=8000)), "does not fit its settings"),
        (lambda f: edit(f, lambda c: c["training"]["network"].update(layers=10**9)), "layers is 1,000,000,000; needed"),
        (
            lambda f: edit(f, lambda c: c["training"]["data"].update(window=128 * 10**7)),
            "window = 1,280,000,000: needed",
        ),
        (lambda f: edit(f, lambda c: c["training"]["data"].update(window="wide")), "no network of `genopred train`"),
        (lambda f: edit(f, lambda c: c["training"].pop("data")), "no network of `genopred train` .KeyError"),
        (lambda f: edit(f, lambda c: c.update(training=3)), "no network of `genopred train`"),
        (lambda f: edit(f, lambda c: c.update(track_names="abc")), "track_names is no list"),
        (lambda f: edit(f, lambda c: c.update(track_names=["a"])), "does not fit its settings"),
        (lambda f: edit(f, lambda c: c.update(reverse_tracks=[1, 2, 0])), "reverse_tracks is"),
        (lambda f: edit(f, lambda c: c["training"]["network"].update(kind="resnet")), "kind = 'resnet'"),
        (lambda f: (f / "model.safetensors").unlink(), "no weights; needed model.safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"junk"), "cannot be read as weights"),
        (cut, "cannot be read as weights"),
        (nan, "1 weights hold values that are not finite"),
    ],
)
def test_what_is_damaged_or_absurd_is_said_before_it_is_built(files, tmp_path, harm, message):
    shutil.copytree(files / "run" / "model", tmp_path / "model")
    harm(tmp_path / "model")
    with pytest.raises(ModelError, match=message) as said:
        load_model(str(tmp_path / "model"))
    assert "\n" not in str(said.value)


def test_predictions_do_not_depend_on_how_windows_are_batched(files):
    model = load_model(str(files / "run"))
    rng = np.random.default_rng(1)
    windows = onehot(rng.integers(0, 4, (5, 2048)).astype(np.int8))
    whole = model.predict_onehot(windows)
    np.testing.assert_allclose(np.concatenate([model.predict_onehot(w[None]) for w in windows]), whole, rtol=1e-5)
    assert pl.Series(whole.ravel()).is_finite().all()


def saved_genes(folder, kind="hybrid", **shape):
    """A network of genes with random weights, in a folder."""
    from gene_networks import SMALL as SMALL_GENES
    from gene_networks import dna_model

    from genopred.training.networks.gene import GeneShape
    from genopred.training.networks.registry import build_gene
    from genopred.training.store import save_gene_network

    sizes = SMALL_GENES[kind] | ({"folder": str(dna_model(folder / "dna"))} if kind == "embedding" else {})
    torch.manual_seed(1)
    network = build_gene(kind, 2, GeneShape(700, 300, **shape), **sizes).eval()
    return save_gene_network(network, folder / "model", ["a", "b"], written={}, best={}, transform={"steps": ["log"]})


def test_a_network_of_genes_is_a_model_like_any_other(tmp_path):
    folder = saved_genes(tmp_path)
    model = load_model(str(folder))
    assert (model.window, model.tss_offset, model.n_bins, model.tracks) == (1000, 700, 1, ("a", "b"))
    assert model.strand_aware and model.log_scale and not model.reads_either_strand
    x = np.eye(4, dtype=np.float32)[np.random.default_rng(1).integers(0, 4, (3, 1000))]
    predicted = model.predict_onehot(x)
    assert predicted.shape == (3, 1, 2)
    given = torch.from_numpy(x).requires_grad_(True)
    out = model.torch_forward(given)
    torch.testing.assert_close(out.detach(), torch.from_numpy(predicted))
    out.sum().backward()
    assert given.grad.abs().sum() > 0
    assert model.torch_module().attention_maps(given)[0][1].shape == (3, 2, 5)
    # which way the gene lies
    forward, reverse = (model.gene_window("1", 5001, strand) for strand in "+-")
    assert (forward.start, forward.end, reverse.start, reverse.end) == (4300, 5300, 4701, 5701)


def test_a_network_that_reads_more_than_sequence_is_no_model(tmp_path):
    with pytest.raises(ModelError, match="reads distal segments beside the sequence"):
        load_model(str(saved_genes(tmp_path / "far", "dual-path", segments=2, segment=200)))
    with pytest.raises(ModelError, match="reads tracks along the window beside"):
        load_model(str(saved_genes(tmp_path / "tracks", tracks=2)))


def test_words_have_no_gradient(tmp_path):
    model = load_model(str(saved_genes(tmp_path, "embedding")))
    x = np.eye(4, dtype=np.float32)[np.zeros((2, 1000), dtype=int)]
    assert model.predict_onehot(x).shape == (2, 1, 2)
    with pytest.raises(ModelError, match="cannot be differentiated: it reads words"):
        model.torch_forward(torch.from_numpy(x))


@pytest.mark.parametrize("kind", ["hybrid", "transformer", "dual-path", "cnn", "enformer-small"])
def test_deeplift_goes_through_every_network_of_genes(tmp_path, kind):
    """What it has no rule for is said: contributions add up to the difference of predictions."""
    pytest.importorskip("tangermeme")
    from genopred.attribution.methods import contributions
    from genopred.attribution.target import GroupValues

    model = load_model(str(saved_genes(tmp_path, kind)))
    settings = EffectSettings(groups=(("all", (0, 1)),), bins=(0,), aggregate="mean")
    rng = np.random.default_rng(3)
    x, r = (np.eye(4, dtype=np.float32)[rng.integers(0, 4, (2, *shape, 1000))] for shape in ((), (1,)))
    found = contributions(GroupValues(model, settings), x, r, "deeplift")
    assert found.missed < 0.1
