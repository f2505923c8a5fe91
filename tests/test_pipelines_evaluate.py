"""genopred.pipelines.evaluate: a small network is trained on planted signal, and scored on what was held out."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")
pytest.importorskip("pyBigWig")

import pyBigWig
from polars.testing import assert_frame_equal

from genopred.errors import FormatError, GenopredError, ModelError
from genopred.pipelines import evaluate, train
from genopred.pipelines.evaluate import EVALUATIONS, run
from genopred.pipelines.train_inputs import open_held, open_model, read_config
from genopred.sequence.models import registry
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.onehot import reverse_complement
from genopred.settings import Evaluate, Train
from genopred.training.dataset import batch, inputs
from genopred.training.heldout import Entry, predict
from genopred.training.scores import METRICS, TRACK_SCORE_SCHEMA, track_differences, track_scores
from genopred.training.splits import REGION_SCHEMA, Windows
from genopred.training.store import load_network
from genopred.training.tasks.tracks import predict_windows

LENGTH = 60_000
TRACKS = ("K5 acc", "K5 init +", "K5 init -")
CONFIG = """
[data]
fasta = "ref.fa"
chromosomes = ["chr9"]
window = {window}
bin = 64
crop = 1
step = 16
[[tracks]]
name = "K5 acc"
file = "acc.bw"
assay = "accessibility"
cell = "K5"
[[tracks]]
name = "K5 init +"
file = "plus.bw"
assay = "initiation"
cell = "K5"
strand = "+"
aggregate = "sum"
[[tracks]]
name = "K5 init -"
file = "minus.bw"
assay = "initiation"
cell = "K5"
strand = "-"
aggregate = "sum"
[split]
by = "block"
block = 4000
fractions = [0.4, 0.2, 0.4]
margin = 1024
seed = {seed}
[network]
kind = "cnn"
channels = 8
layers = 1
[training]
epochs = 1
batch = 4
device = "cpu"
seed = 3
"""


def write_track(path, values):
    handle = pyBigWig.open(str(path), "w")
    handle.addHeader([("chr9", LENGTH)])
    starts = np.flatnonzero(values)
    handle.addEntries(
        ["chr9"] * len(starts), starts.tolist(), ends=(starts + 1).tolist(), values=values[starts].tolist()
    )
    handle.close()


def write_data(folder):
    """A sequence with GC-rich islands, where the signal is."""
    rng = np.random.default_rng(1)
    gc = np.repeat(rng.choice([0.3, 0.7], LENGTH // 500, p=[0.8, 0.2]), 500)
    at = rng.random(LENGTH) >= gc
    letters = np.where(at, np.where(rng.random(LENGTH) < 0.5, "A", "T"), np.where(rng.random(LENGTH) < 0.5, "C", "G"))
    text = "".join(letters)
    lines = [text[i : i + 60] for i in range(0, LENGTH, 60)]
    (folder / "ref.fa").write_text(">chr9\n" + "\n".join(lines) + "\n")
    for name, sign, scale in (("acc", 1, 2.0), ("plus", 1, 1.0), ("minus", -1, 0.5)):
        signal = rng.poisson(scale * (0.05 + (gc > 0.5)))
        write_track(folder / f"{name}.bw", sign * signal.astype(float))
    (folder / "train.toml").write_text(CONFIG.format(window=512, seed=1))
    (folder / "other.toml").write_text(CONFIG.format(window=1024, seed=2))
    gtf = [
        f'chr9\tx\t{kind}\t{start}\t{start + 900}\t.\t{strand}\t.\tgene_id "E{i}"; gene_name "G{i}"; gene_type '
        '"protein_coding"; transcript_id "T";'
        for i, (start, strand) in enumerate(zip(range(500, LENGTH - 2000, 1500), "+-" * 50))
        for kind in ("gene", "exon")
    ]
    (folder / "genes.gtf").write_text("\n".join(gtf) + "\n")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with data and two runs: `run`, and `wide` with another window and another split."""
    folder = tmp_path_factory.mktemp("evaluate")
    write_data(folder)
    train.run(Train(config=folder / "train.toml", out=folder / "run"))
    train.run(Train(config=folder / "other.toml", out=folder / "wide"))
    return folder


class Gc(SequenceModel):
    """Tells the share of G and C of each bin; the tracks differ by a factor."""

    name, window, tss_offset, strand_aware, bin_size, n_bins = "gc", 512, 256, False, 64, 6
    tracks = ("K5 init -", "K5 acc", "another")
    checkpoint_hash, origin, calls = "0" * 64, {}, 0

    def __init__(self, path=None, **options):
        pass

    def predict_onehot(self, onehot):
        type(self).calls += len(onehot)
        gc = onehot[:, 64:-64, 1:3].sum(axis=2).reshape(len(onehot), 6, 64).mean(axis=2)
        return np.stack([gc, 2 * gc, 3 * gc], axis=2).astype(np.float32)


@pytest.fixture(autouse=True)
def packages(monkeypatch):
    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint("gc", f"{__name__}:Gc", "g")])
    monkeypatch.setattr(Gc, "calls", 0)


@pytest.fixture
def looks(trained):
    """The run's list of looks, gone before and after."""
    file = trained / "run" / EVALUATIONS
    file.unlink(missing_ok=True)
    yield file
    file.unlink(missing_ok=True)


@pytest.fixture
def no_page(monkeypatch):
    """Figures take most of the time."""
    monkeypatch.setattr(evaluate.page, "write", lambda *_: [])


def settings(trained, out, **changes) -> Evaluate:
    return Evaluate(**({"model": str(trained / "run"), "out": out, "device": "cpu", "resamples": 50} | changes))


def test_everything_that_is_written(trained, looks, tmp_path):
    out = tmp_path / "out"
    done = run(settings(trained, out, against=("gc",), baseline=("ridge",), gtf=trained / "genes.gtf", figures="svg"))
    assert [file.name for file in done.files] == [
        "scores.tsv",
        "differences.tsv",
        "predictions.parquet",
        *(f"{name}.svg" for name in ("scores", "density", "browser-genes", "browser-median")),
        "evaluate.html",
    ]
    assert not (out / ".parts").exists()
    table = pl.read_parquet(out / "predictions.parquet")
    assert table.columns == [
        *("chrom", "start", "block"),
        *(f"{what} {track}" for track in TRACKS for what in ("measured", "predicted")),
    ]
    regions = pl.read_csv(trained / "run" / "regions.tsv", separator="\t").filter(pl.col("split") == "test")
    for chrom, start, block in table.select("chrom", "start", "block").unique(keep="first").rows():
        assert chrom == "chr9" and start % 64 == 0
        assert regions.filter((pl.col("start") <= start) & (pl.col("end") >= start + 64)).height == 1
        assert block in set(regions["block"])
    # what was measured is what the bigWig holds
    with pyBigWig.open(str(trained / "minus.bw")) as handle:
        row = table.row(int(table["measured K5 init -"].arg_max()), named=True)
        assert row["measured K5 init -"] == -np.nansum(handle.values("chr9", row["start"], row["start"] + 64))
    # scores are those of the predictions written
    measured = table.select(f"measured {t}" for t in TRACKS).to_numpy()
    predicted = table.select(f"predicted {t}" for t in TRACKS).to_numpy()
    tracks = read_config(trained / "train.toml").tracks
    wanted = track_scores(measured, predicted, table["block"].to_numpy(), tracks, resamples=50)
    scores = pl.read_csv(out / "scores.tsv", separator="\t")
    assert scores.columns == ["model", "split", *TRACK_SCORE_SCHEMA]
    assert scores["model"].unique(maintain_order=True).to_list() == ["run", "gc", "ridge"]
    assert_frame_equal(done.scores.filter(pl.col("model") == "run").drop("model", "split"), wanted)
    assert scores.filter(pl.col("model") == "gc")["track"].unique().sort().to_list() == ["K5 acc", "K5 init -"]
    # the signal follows GC content: the ridge must see that
    ridge = done.scores.filter((pl.col("model") == "ridge") & (pl.col("metric") == "pearson_log"))
    assert ridge["estimate"].min() > 0.5
    # the difference from the model with fewer tracks is of the tracks of both
    rows = done.differences.filter(pl.col("against") == "gc")
    assert rows["track"].unique(maintain_order=True).to_list() == ["K5 acc", "K5 init -"]
    gc = scores.filter(pl.col("model") == "gc").select("track", "metric", other="estimate")
    joined = rows.join(done.scores.filter(pl.col("model") == "run"), on=["track", "metric"]).join(
        gc, on=["track", "metric"]
    )
    np.testing.assert_allclose(joined["estimate"], joined["estimate_right"] - joined["other"], atol=1e-12)
    html = (out / "evaluate.html").read_text()
    assert "http://" not in html.replace("http://www.w3.org", "") and "G3" in html
    assert "chosen without looking at predictions" in html and "most protein-coding genes" in html
    lines = "\n".join(done.lines())
    assert "K5 init + " in lines and "over ridge" in lines and "first evaluation of this run's test split" in lines


def test_each_look_is_counted_where_the_run_is(trained, looks, no_page, tmp_path):
    first = run(settings(trained, tmp_path / "a", figures="none"))
    assert first.looks == 0
    validation = run(settings(trained, tmp_path / "b", split="validation", figures="none"))
    assert validation.looks == 0 and "a little too high" in " ".join(validation.notes)
    second = run(settings(trained, tmp_path / "a", figures="none"))
    assert second.looks == 1 and "had been evaluated once before" in " ".join(second.notes)
    table = pl.read_csv(looks, separator="\t")
    assert table["split"].to_list() == ["test", "validation", "test"] and table["model"].unique().to_list() == ["run"]
    assert table["model_hash"].n_unique() == 1
    # a model without a folder of its own: the run that gave the config, else the output's folder
    by_run = run(settings(trained, tmp_path / "c", model="gc", config=trained / "run", figures="none"))
    assert by_run.looks == 2
    by_toml = run(settings(trained, tmp_path / "d", model="gc", config=trained / "train.toml", figures="none"))
    assert by_toml.looks == 0 and (tmp_path / "d" / EVALUATIONS).is_file()


def test_folders_of_a_run_and_of_its_network_are_the_same_model(trained, looks, no_page, tmp_path):
    whole = run(settings(trained, tmp_path / "a", figures="none"))
    part = run(
        settings(
            trained, tmp_path / "b", model=str(trained / "run" / "model"), config=trained / "train.toml", figures="none"
        )
    )
    assert part.scores.equals(whole.scores) and part.looks == 1


def test_a_model_that_saw_the_held_out_bases_is_told_on(trained, looks, no_page, tmp_path):
    done = run(settings(trained, tmp_path / "a", against=(str(trained / "wide"),), figures="none"))
    assert any("wide saw" in note and "too high" in note for note in done.notes)
    # and its own run knows of the look
    assert pl.read_csv(trained / "wide" / EVALUATIONS, separator="\t")["model"].to_list() == ["wide"]
    own = run(settings(trained, tmp_path / "b", figures="none"))
    assert not any("saw" in note for note in own.notes)


def test_predictions_are_those_of_the_network(trained):
    held, _, folder = open_held(settings(trained, trained))
    assert folder == trained / "run"
    data, shape = held.data, held.shape
    network, _ = load_network(trained / "run" / "model")
    model = open_model(str(trained / "run"), "cpu")
    for both in (False, True):
        wanted = predict_windows(network, data, held.windows, shape, both_strands=both)
        np.testing.assert_allclose(predict(model, held, both_strands=both), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(held.measured(), batch(data, held.windows.chroms, held.windows.starts, shape)[1])


def counter(window, n_bins, offset=0.0):
    """A model that says of each bin how many Gs it has: on the other strand that is the number of Cs."""

    def predict(onehot):
        codes = np.where(onehot.any(axis=2), onehot.argmax(axis=2), 4)
        margin = (window - 64 * n_bins) // 2
        inner = codes[:, margin : window - margin].reshape(len(codes), n_bins, 64)
        g, c, n = ((inner == code).sum(axis=2) for code in (2, 1, 4))
        return np.stack([n, g + offset, c + offset], axis=2).astype(np.float32)

    model = SequenceModel()
    model.window, model.bin_size, model.n_bins, model.tracks = window, 64, n_bins, TRACKS
    model.predict_onehot = predict
    return Entry(model, f"counter{window}", "x")


@pytest.mark.parametrize(("window", "n_bins"), [(512, 6), (256, 4), (128, 1), (1024, 12), (896, 14), (320, 5)])
def test_a_model_of_another_window_predicts_the_same_bins(trained, window, n_bins):
    held, *_ = open_held(settings(trained, trained))
    data, shape = held.data, held.shape
    out = predict(counter(window, n_bins), held, both_strands=False)
    for i in (0, 1, len(out) - 1):
        start = int(held.first[i])
        codes = data.codes["chr9"][start : start + shape.target].reshape(shape.n_bins, 64)
        np.testing.assert_array_equal(out[i, :, 1], (codes == 2).sum(axis=1))
    # strands are swapped back: Gs of the other strand in the track of its + are Cs of this one in that of its -
    np.testing.assert_array_equal(predict(counter(window, n_bins), held, both_strands=True), out)


def test_beyond_the_chromosome_is_n(trained):
    held, *_ = open_held(settings(trained, trained))
    data = held.data
    held.windows = Windows(np.array(["chr9", "chr9"]), np.array([0, LENGTH - LENGTH % 64 - 512]), np.array([0, 1]))
    out = predict(counter(1024, 16), held, both_strands=False)
    assert out.shape == (2, 6, 3) and (out[:, :, 0] == 0).all()
    codes = inputs(data, np.array(["chr9", "chr9"]), np.array([-100, LENGTH - 50]), 200)
    assert (codes[0, :100] == 4).all() and (codes[1, 50:] == 4).all()
    np.testing.assert_array_equal(codes[0, 100:], data.codes["chr9"][:100])
    np.testing.assert_array_equal(reverse_complement(reverse_complement(codes.astype(np.int8))), codes)


def test_a_killed_run_does_not_predict_again(trained, looks, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate.page, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        run(settings(trained, tmp_path / "a", model="gc", config=trained / "train.toml", figures="none"))
    monkeypatch.setattr(evaluate.page, "write", lambda *_: [])
    assert Gc.calls
    before = Gc.calls
    done = run(settings(trained, tmp_path / "a", model="gc", config=trained / "train.toml", figures="none"))
    assert Gc.calls == before
    fresh = run(settings(trained, tmp_path / "b", model="gc", config=trained / "train.toml", figures="none"))
    assert Gc.calls == 2 * before and fresh.scores.equals(done.scores)
    assert done.looks == 1  # the killed run had predicted the split


def test_a_damaged_part_of_a_killed_run_is_predicted_again(trained, looks, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    monkeypatch.setattr(evaluate.page, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        run(settings(trained, out))
    (out / ".scores.abcd1234.part.tsv").write_text("half")
    (part,) = (out / evaluate.PARTS).iterdir()
    part.write_bytes(part.read_bytes()[:100])
    monkeypatch.setattr(evaluate.page, "write", lambda *_: [])
    done = run(settings(trained, out))
    assert done.scores.equals(run(settings(trained, tmp_path / "whole")).scores)
    assert not [file.name for file in out.iterdir() if file.name.startswith(".")]


def test_other_settings_are_not_mixed_with_what_is_there(trained, looks, no_page, tmp_path):
    run(settings(trained, tmp_path / "out", figures="none"))
    assert str(trained) not in (tmp_path / "out" / "run.json").read_text()
    with pytest.raises(GenopredError, match=r"a run with other settings \(--strands\).*--no-resume"):
        run(settings(trained, tmp_path / "out", figures="none", strands="both"))
    with pytest.raises(GenopredError, match=r"a run with other settings \(--model\)"):
        run(settings(trained, tmp_path / "out", figures="none", model="gc", config=trained / "run"))
    assert run(settings(trained, tmp_path / "out", strands="both", resume=False)).looks == 1


def test_windows_and_tracks_are_counted(trained, looks, no_page, tmp_path):
    run(settings(trained, tmp_path / "out", model="gc", config=trained / "run", figures="none"))
    matched = pl.read_csv(tmp_path / "out" / "matched.tsv", separator="\t")
    assert matched.select("item", "status", "n", "examples").rows() == [
        ("windows", "in", 48, ""),
        ("windows", "used", 48, ""),
        ("tracks", "in", 3, ""),
        ("tracks", "used", 2, ""),
        ("tracks", "dropped", 1, "K5 init +"),
    ]


def test_tracks_without_assay_and_cell_are_evaluated_as_they_were_trained(trained, tmp_path):
    text = (trained / "train.toml").read_text()
    for line in ('assay = "accessibility"\n', 'cell = "K5"\n', 'assay = "initiation"\n'):
        text = text.replace(line, "")
    (trained / "bare.toml").write_text(text)
    train.run(Train(config=trained / "bare.toml", out=tmp_path / "run"))
    done = run(settings(trained, tmp_path / "out", model=str(tmp_path / "run"), figures="none"))
    rows = done.scores.select("track", "assay", "cell").unique(maintain_order=True).rows()
    assert rows == [("K5 acc", "signal", "K5 acc"), *[(name, "signal", "unknown") for name in TRACKS[1:]]]


def test_differences_are_those_of_the_same_bins(trained, looks, no_page, tmp_path):
    done = run(settings(trained, tmp_path / "a", against=("gc", "gc"), figures="none"))
    assert done.scores["model"].unique(maintain_order=True).to_list() == ["run", "gc", "gc #2"]
    one, two = (done.differences.filter(pl.col("against") == name).drop("against") for name in ("gc", "gc #2"))
    assert one.equals(two) and set(one["metric"]) == set(METRICS)
    table = pl.read_parquet(tmp_path / "a" / "predictions.parquet")
    names = ["K5 acc", "K5 init -"]
    held, *_ = open_held(settings(trained, trained))
    data = held.data
    gc = predict(open_model("gc", "cpu"), held, both_strands=False)[:, :, [1, 0]].reshape(-1, 2)
    wanted = track_differences(
        table.select(f"measured {t}" for t in names).to_numpy(),
        table.select(f"predicted {t}" for t in names).to_numpy(),
        gc,
        table["block"].to_numpy(),
        [data.tracks[0], data.tracks[2]],
        resamples=50,
    )
    assert_frame_equal(one.drop("model", "split"), wanted)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"split": "tset"}, GenopredError, "--split tset: there are train, validation, test"),
        ({"strands": "reverse"}, GenopredError, "--strands reverse"),
        ({"figures": "pdf"}, GenopredError, "--figures pdf"),
        ({"baseline": ("lasso",)}, GenopredError, "--baseline lasso: there are ridge, forest"),
        ({"model": "gc", "config": None}, GenopredError, "gc is not a training run's folder.*give --config"),
        ({"model": "enformr-small"}, ModelError, "there is no model"),
    ],
)
def test_bad_options(trained, tmp_path, changes, kind, words):
    with pytest.raises(kind, match=words):
        run(settings(trained, tmp_path / "out", **({"config": trained / "train.toml"} | changes)))
    assert not (tmp_path / "out").exists()


def test_the_bound_on_text_holds_for_every_file(trained, tmp_path):
    """A GTF is read before the run's tracks are, and is bounded as they are."""
    line = 'chr9\tx\tgene\t1\t900\t.\t+\t.\tgene_id "E"; gene_type "protein_coding";\n'
    big = tmp_path / "big.gtf"
    big.write_text(line * 2000)
    with pytest.raises(FormatError, match="big.gtf holds more than 100,000 bytes"):
        run(settings(trained, tmp_path / "out", gtf=big, max_bytes=100_000))


def test_bad_folders(trained, looks, tmp_path):
    with pytest.raises(GenopredError, match="holds no config.json and regions.tsv of a run"):
        run(settings(trained, tmp_path / "out", model="gc", config=trained / "run" / "model"))
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("config.json", "regions.tsv"):
        (bare / name).write_bytes((trained / "run" / name).read_bytes())
    with pytest.raises(ModelError, match="no network yet"):
        run(settings(trained, tmp_path / "out", model=str(bare)))
    looks.write_text("when\nnow\n")
    with pytest.raises(FormatError, match="evaluations.tsv has no column date, split, model"):
        run(settings(trained, tmp_path / "out"))


def test_models_that_do_not_fit(trained, tmp_path, monkeypatch):
    given = settings(trained, tmp_path / "out", model="gc", config=trained / "train.toml")
    monkeypatch.setattr(Gc, "tracks", ("x", "y", "z"))
    with pytest.raises(ModelError, match="predicts none of the measured tracks: it has x, y, z"):
        run(given)
    monkeypatch.setattr(Gc, "tracks", TRACKS)
    monkeypatch.setattr(Gc, "predict_onehot", lambda self, x: np.full((len(x), 6, 3), np.nan, np.float32))
    with pytest.raises(ModelError, match="not finite in"):
        run(given)
    held, *_ = open_held(given)
    narrow = counter(512, 6)
    narrow.model.bin_size = 32
    with pytest.raises(ModelError, match="bins of 32 bp and the evaluation has bins of 64"):
        predict(narrow, held, both_strands=False)


def test_regions_come_from_the_run_not_from_a_new_deal(trained, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    config = json.loads((trained / "run" / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config))
    regions = pl.read_csv(trained / "run" / "regions.tsv", separator="\t")
    kept = regions.filter((pl.col("split") != "test") | (pl.col("block") == regions["block"][-1]))
    kept = kept if (kept["split"] == "test").any() else regions.filter(pl.col("split") != "train")
    kept.write_csv(copy / "regions.tsv", separator="\t")
    split = open_held(settings(trained, tmp_path, model="gc", config=copy))[0].split
    assert dict(split.regions.schema) == REGION_SCHEMA and split.regions.height == kept.height
    assert split.margin == 1024


def test_what_was_kept_is_read_and_what_is_damaged_made_again(tmp_path):
    file, made = tmp_path / "0.npy", []

    def once():
        made.append(1)
        return np.arange(3)

    def load(there):
        return np.load(there, allow_pickle=False)

    for _ in range(2):
        assert evaluate.kept(file, "m", once, load, np.save).tolist() == [0, 1, 2] and len(made) == 1
    file.write_bytes(b"")
    assert evaluate.kept(file, "m", once, load, np.save).tolist() == [0, 1, 2] and len(made) == 2
