"""The configuration of `genopred train`: what is wrong is named with its remedy."""

from __future__ import annotations

import json
import os

import pytest
from training_data import CONFIG

from genopred.errors import FormatError, GenopredError
from genopred.pipelines.train_inputs import read_config
from genopred.settings.training import Track
from genopred.training.config import parse_config


@pytest.fixture
def folder(tmp_path):
    for name in ("ref.fa", "open.bw", "plus.bw", "minus.bw", "more.bw"):
        (tmp_path / name).write_text(name)
    return tmp_path


def read(folder, *changes, **options):
    text = CONFIG
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "train.toml").write_text(text)
    return read_config(folder / "train.toml", **options)


def test_defaults_are_filled_in(folder):
    config = read(folder)
    assert config.shape.window == 2048 and config.data.step == 16 and config.data.max_n == 0.2
    assert config.written["split"] == {
        "by": "block",
        "block": 20_000,
        "fractions": [0.7, 0.15, 0.15],
        "margin": 2048,
        "seed": 2,
    }
    assert (config.kind, config.sizes) == ("cnn", {"channels": 8, "layers": 1, "dropout": 0.3})
    assert [track.partner for track in config.tracks] == ["open", "start -", "start +"]
    assert config.training.threads == 1 and config.training.average == 0.998
    json.dumps(config.written)


def test_tracks_without_assay_or_cell_have_them_all_the_same(folder):
    """And the file that says so reads back, as `genopred evaluate` does."""
    bare = {"data": {"fasta": "ref.fa"}, "tracks": [{"name": "a", "file": "open.bw"}, {"name": "b", "file": "more.bw"}]}
    bare["tracks"] += [{"name": f"s{s}", "file": f"{f}.bw", "strand": s} for s, f in (("+", "plus"), ("-", "minus"))]
    config = parse_config(bare, folder, "here")
    tracks = config.tracks
    assert [(t.assay, t.cell) for t in tracks] == [("signal", "a"), ("signal", "b"), *[("signal", "unknown")] * 2]
    assert [t.partner for t in tracks] == ["a", "b", "s-", "s+"]
    again = parse_config(config.resolved(), "elsewhere", "again")
    assert [track.shared(Track) for track in again.tracks] == [track.shared(Track) for track in tracks]
    old = json.loads(json.dumps(config.resolved()))
    for row in old["tracks"]:
        row["assay"] = row["cell"] = ""
    assert parse_config(old, "elsewhere", "old").tracks == again.tracks


def test_a_byte_order_mark_is_passed_over(folder):
    (folder / "train.toml").write_bytes(b"\xef\xbb\xbf" + CONFIG.encode())
    assert read_config(folder / "train.toml").training.epochs == 2


def test_the_command_lines_values_win(folder):
    settings = read(folder, epochs=7, threads=None, seed=5).training
    assert (settings.epochs, settings.threads, settings.seed) == (7, 1, 5)


def test_without_network_and_split_sections(folder):
    config = parse_config({"data": {"fasta": "ref.fa"}, "tracks": [{"name": "a", "file": "open.bw"}]}, folder, "here")
    assert config.kind == "enformer-small" and config.shape.window == 8192 and config.split.margin == 8192
    assert config.shape.crop == 4 and config.training.epochs == 30


def test_paths_and_variables(folder, monkeypatch):
    with pytest.raises(GenopredError, match=r"the environment has no GENOPRED_TEST_DATA; set it"):
        read(folder, ('"ref.fa"', '"${GENOPRED_TEST_DATA}/ref.fa"'))
    monkeypatch.setenv("GENOPRED_TEST_DATA", str(folder))
    config = read(folder, ('"ref.fa"', '"${GENOPRED_TEST_DATA}/ref.fa"'))
    assert config.fasta == folder / "ref.fa"
    assert config.written["data"]["fasta"] == "${GENOPRED_TEST_DATA}/ref.fa"
    assert config.resolved()["data"]["fasta"] == str(folder / "ref.fa")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("window = 2048", "windw = 2048", r"unknown key 'windw' in data; known: .*Did you mean 'window'\?"),
        ("epochs = 2", "epoch = 2", r"unknown key 'epoch' in training; known: .*Did you mean 'epochs'\?"),
        ("[training]", "[trainig]", r"unknown key 'trainig'; known: .*Did you mean 'training'\?"),
        ('cell = "x"', 'cel = "x"', r"unknown key 'cel' in tracks 1 \(open\); known: .*Did you mean 'cell'\?"),
        ("channels = 8", "chanels = 8", r"unknown key 'chanels' in network .*Did you mean 'channels'"),
        ("channels = 8", "dim = 8", r"unknown key 'dim' in network \(kind = 'cnn'\)"),
        ("block = 20000", "blok = 20000", r"unknown key 'blok' in split .*Did you mean 'block'"),
        ("block = 20000", 'train = ["chr1"]', r"unknown key 'train' in split \(by = 'block'\)"),
        ("block = 20000", 'by = "blok"', r"split.by = 'blok': there are .*Did you mean 'block'\?"),
        ('kind = "cnn"', 'kind = "cn"', r"network.kind = 'cn': there are .*Did you mean 'cnn'\?"),
        ("window = 2048", 'window = "2048"', r"data.window = '2048': needed a whole number"),
        ("window = 2048", "window = 2048.5", r"data.window = 2048.5: needed a whole number"),
        ("window = 2048", "window = true", r"data.window = True: needed a whole number"),
        ("window = 2048", 'chromosomes = "chr1"', r"data.chromosomes = 'chr1': needed a list"),
        ("window = 2048", 'chromosomes = ["1", "chr1"]', r"chromosomes are listed twice: 1"),
        ("window = 2048", "window = 2000", r"window = 2000, bin = 128: the window must be a multiple"),
        ("window = 2048", "max_n = 2", r"data.max_n = 2: needed a number from 0 to 1"),
        ("step = 16", "step = 24", r"data.step = 24: needed a divisor of data.bin, 128"),
        ("crop = 2", "crop = 8", r"crop = 8: of the 16 bins"),
        ("batch = 8", "batch = 0", r"training.batch = 0: needed a whole number from 1 to 1,000,000,000"),
        ("batch = 8", "compile = 1", r"training.compile = 1: needed true or false"),
        ("batch = 8", "learning_rate = nan", r"training.learning_rate = nan: needed a number"),
        ("batch = 8", "seed = 1.5", r"training.seed = 1.5: needed a whole number"),
        (
            "batch = 8",
            "learning_rate = 1e300",
            r"training.learning_rate = 1e\+300: needed a number above 0, up to 1e\+30",
        ),
        ("batch = 8", "weight_decay = 1e300", r"training.weight_decay = 1e\+300: needed a number from 0 to 1e\+30"),
        ('file = "plus.bw"', 'file = "."', r"track start \+: file: .* is a folder; needed a bigWig"),
        (
            "batch = 8",
            "seed = 99999999999999999999",
            r"training.seed = 9+: needed a whole number from 0 to 9,223,372,036",
        ),
        (
            "seed = 2",
            "seed = 99999999999999999999",
            r"split.seed = 9+: needed a whole number from 0 to 9,223,372,036",
        ),
        (
            "batch = 8",
            "batch = 9999999999",
            r"training.batch = 9999999999: needed a whole number from 1 to 1,000,",
        ),
        ("batch = 8", f"batch = 1{400 * '0'}", r"training.batch = 10+\[\.\.\.\]0+: needed a whole number from 1 to"),
        ("shift = 3", "shift = 2048", r"training.shift = 2,048: needed less than data.window, 2,048 bp"),
        ("window = 2048", "window = 2097280", r"data.window = 2,097,280: needed at most 2,097,152 bp"),
        ("window = 2048", "window = 10000000000000", r"data.window = 10+: needed a whole number from 1 to"),
        ("block = 20000", "block = 1", r"split.block = 1: needed at least data.window, 2,048 bp"),
        (
            "channels = 8",
            "channels = 1000000",
            r"channels is 1,000,000; needed a whole number from 1 to 8,192",
        ),
        ("layers = 1", "layers = 60", r"network: layers is 60; needed a whole number from 1 to 20"),
        (
            "layers = 1\n",
            f"layers = {200 * '['}{200 * ']'}\n",
            r"train.toml: network: layers is \[+.*needed a whole number",
        ),
        ("layers = 1\n", f"layers = {5000 * '['}{5000 * ']'}\n", r"train.toml is not TOML \("),
        ("channels = 8", "channels = 0", r"network: channels is 0; needed a whole number from 1"),
        ("channels = 8", "dropout = 1.0", r"network: dropout is 1.0; needed a number from 0, below 1"),
        ("block = 20000", "fractions = [0.5, true]", r"split.fractions = .*needed a number"),
        ('fasta = "ref.fa"', "", r"data.fasta is missing"),
        ('fasta = "ref.fa"', 'fasta = "no.fa"', r"data.fasta = 'no.fa': there is no file .*no.fa; check the path"),
        ('file = "plus.bw"', "", r"tracks 2 \(start \+\).file is missing"),
        ('file = "plus.bw"', 'file = "no.bw"', r"track start \+: file = 'no.bw': there is no file"),
        ('file = "plus.bw"', 'file = "open.bw"', r"1 track files are listed twice \(.*open.bw\)"),
        ('name = "start +"', 'name = "open"', r"1 track names are listed twice \(open\)"),
        ('strand = "+"', 'strand = "."', r"strand '\+' is absent and strand '-' is start -"),
        ('strand = "-"', 'strand = "+"', r"strand '\+' is start \+, start - and strand '-' is absent"),
        ('strand = "+"', 'strand = "plus"', r"strand"),
        ('aggregate = "sum"', 'aggregate = "max"', r"tracks 2 \(start \+\).aggregate = 'max': there are mean, sum"),
        ('aggregate = "sum"', "clip = 0.5", r"tracks 2 \(start \+\).clip = 0.5: needed a number from 1"),
        ("[data]", "data]", r"train.toml is not TOML \("),
    ],
)
def test_what_is_wrong_is_named(folder, old, new, message):
    with pytest.raises(GenopredError, match=message) as error:
        read(folder, (old, new))
    assert "train.toml" in str(error.value)


def test_missing_sections_and_files(folder):
    for raw, message in (
        ({}, r"section \[data\] is missing"),
        ({"data": {"fasta": "ref.fa"}}, r"section \[\[tracks\]\] is missing"),
        ({"data": {"fasta": "ref.fa"}, "tracks": []}, "at least one section"),
        ({"data": 3, "tracks": []}, r"data = 3; needed a section"),
    ):
        with pytest.raises(GenopredError, match=message):
            parse_config(raw, folder, "here")
    with pytest.raises(FormatError, match="no such file; needed a configuration"):
        read_config(folder / "nothing.toml")
    (folder / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="cannot be read as text"):
        read_config(folder / "bytes.toml")
    (folder / "huge.toml").write_bytes(b"#" * 4_000_001)
    with pytest.raises(FormatError, match=r"has 4,000,001 bytes; needed a configuration.*at most 4,000,000"):
        read_config(folder / "huge.toml")
    (folder / "ref.fa").unlink()
    os.mkfifo(folder / "ref.fa")
    with pytest.raises(GenopredError, match=r"train.toml: data.fasta: .*ref.fa is a pipe; needed a reference"):
        read(folder)
    os.mkfifo(folder / "pipe.toml")
    with pytest.raises(FormatError, match=r"pipe.toml is a pipe; needed a configuration"):
        read_config(folder / "pipe.toml")
    (folder / "config.json").write_text('{"config": 3}')
    with pytest.raises(GenopredError, match=r"config.json: 3; needed sections with keys"):
        read_config(folder / "config.json")
    (folder / "config.json").write_text("{}")
    with pytest.raises(FormatError, match=r"not a config.json of a run"):
        read_config(folder / "config.json")
