"""`genopred.pipelines.train`: from files to a trained network in a folder."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyBigWig")
pytest.importorskip("enformer_pytorch")

from training_data import CONFIG, SHAPE, data, write  # noqa: E402

from genopred.errors import FormatError, GenopredError, ModelError  # noqa: E402
from genopred.pipelines import train  # noqa: E402
from genopred.pipelines.train_config import parse_config, read_config  # noqa: E402
from genopred.training.splits import tile  # noqa: E402
from genopred.training.store import load_network  # noqa: E402
from genopred.training.tasks.tracks import predict_windows  # noqa: E402


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return read_config(write(tmp_path_factory.mktemp("simulated")))


@pytest.fixture(scope="module")
def out(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    report = train.run(config, folder)
    return folder, report


def test_files_hold_what_was_simulated(config):
    loaded, expected = train.load_data(config), data()
    np.testing.assert_array_equal(loaded.codes["chr1"], expected.codes["chr1"])
    np.testing.assert_allclose(loaded.sums["chr1"], expected.sums["chr1"], rtol=1e-6)
    assert loaded.tracks == expected.tracks and loaded.step == 16
    assert loaded.partners.tolist() == [0, 2, 1]


def test_a_run_leaves_everything_in_its_folder(config, out):
    folder, report = out
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "curves.svg", "history.tsv", "last.pt", "model", "regions.tsv", "timing.tsv"}
    history = pl.read_csv(folder / "history.tsv", separator="\t")
    assert history.columns[:5] == ["epoch", "step", "learning_rate", "train_loss", "validation_loss"]
    assert history.height == 2 and "seconds" not in history.columns
    timing = pl.read_csv(folder / "timing.tsv", separator="\t")
    assert timing["epoch"].to_list() == [1, 2] and timing["seconds"].min() > 0
    regions = pl.read_csv(folder / "regions.tsv", separator="\t")
    assert regions.columns == ["chrom", "start", "end", "split", "block"]
    assert set(regions["split"]) == {"train", "validation", "test"}
    about = json.loads((folder / "config.json").read_text())
    assert {"genopred", "torch"} <= set(about["versions"]) and about["config"]["training"]["epochs"] == 2
    assert (folder / "curves.svg").read_text().lstrip().startswith("<?xml")
    text = "\n".join(report.lines())
    assert "139 training and 22 validation windows" in text and "start +: Pearson" in text


def test_a_run_on_its_plateau_says_so_at_its_end(config, out, tmp_path):
    slow = replace(config, settings=replace(config.settings, learning_rate=1e-12))
    report = train.run(slow, tmp_path / "out", figures=False)
    assert "still on the plateau" in report.lines()[-1] and report.lines()[-1] == report.run.plateau
    history = pl.read_csv(tmp_path / "out" / "history.tsv", separator="\t")
    assert history.columns[-1] == "plateau" and history["plateau"].all()


def test_the_resolved_configuration_reads_back(config, out):
    again = read_config(out[0] / "config.json")
    assert again.resolved() == config.resolved()
    assert (again.shape, again.settings, again.split, again.sizes) == (
        config.shape,
        config.settings,
        config.split,
        config.sizes,
    )
    split = train.make_split(again, train.load_data(again))
    assert split.regions.equals(pl.read_csv(out[0] / "regions.tsv", separator="\t"))


def test_the_network_reads_back(config, out):
    folder, report = out
    network, about = load_network(folder / "model")
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in report.run.network.state_dict().items())
    assert about["track_names"] == ["open", "start +", "start -"] and about["reverse_tracks"] == [0, 2, 1]
    assert about["strand_aware"] is True and about["sequence_length"] == 2048
    # the paths of this machine stay out of what is handed on
    assert about["training"]["data"]["fasta"] == "ref.fa"
    assert about["validation"]["epoch"] == report.run.best_epoch


def test_an_enformer_serves_the_exact_engine(config, tmp_path):
    """The folder is a checkpoint for `--model enformer:`, and predicts there as it did in training."""
    from genopred.sequence.models.enformer.checkpoint import load_enformer

    sizes = {"dim": 24, "depth": 1, "heads": 2, "attn_dim_key": 12, "dim_divisible_by": 6}
    written = config.written | {"network": {"kind": "enformer-small"} | sizes}
    small = parse_config(written, config.fasta.parent, "test", epochs=1)
    report = train.run(replace(small, settings=replace(small.settings, batch=64)), tmp_path / "out", figures=False)
    network, info = load_enformer(tmp_path / "out" / "model")
    assert info.window == 2048 and info.config["strand_aware"] and info.config["reverse_tracks"] == [0, 2, 1]
    loaded = train.load_data(config)
    windows = tile(train.make_split(config, loaded), "test", SHAPE)
    mine, _ = load_network(tmp_path / "out" / "model")
    expected = predict_windows(report.run.network, loaded, windows, SHAPE)
    np.testing.assert_array_equal(predict_windows(mine, loaded, windows, SHAPE), expected)
    codes = loaded.codes["chr1"][windows.starts[0] : windows.starts[0] + 2048]
    with torch.no_grad():
        plain = network(torch.eye(5, 4)[torch.from_numpy(codes).long()][None])["human"][0].numpy()
    np.testing.assert_allclose(plain, expected[0], rtol=1e-4, atol=1e-5)


def test_the_same_command_again_changes_nothing(config, out):
    folder, report = out
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    again = train.run(config, folder)
    assert again.run.resumed_at == report.run.history["step"][-1]
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_two_runs_leave_the_same_bytes_and_clear_what_a_killed_one_left(config, out, tmp_path):
    """Beside timing.tsv; temporaries of a killed run go at the next start."""
    folder, _ = out
    left = [tmp_path / "out" / name for name in (".curves.ab12cd34.part.svg", "model/.model.ab12cd34.part.safetensors")]
    left.append(tmp_path / "out" / ".last.0000aaaa.part.pt")
    for file in left:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    train.run(config, tmp_path / "out")
    assert not any(file.exists() for file in left)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    again = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert files == again
    same = [name for name in files if (folder / name).read_bytes() == (tmp_path / "out" / name).read_bytes()]
    assert {str(name) for name in set(files) - set(same)} <= {"timing.tsv"}


def test_another_configuration_is_refused_and_touches_nothing(config, out):
    folder, _ = out
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    other = replace(config, settings=replace(config.settings, batch=4))
    with pytest.raises(GenopredError, match=r"training.batch was 8, is 4.*--out, or --no-resume"):
        train.run(other, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_divergence_leaves_the_former_model(config, tmp_path):
    broken = replace(config, settings=replace(config.settings, learning_rate=1e25, gradient_clip=0.0))
    with pytest.raises(GenopredError, match=r"not finite.*last good checkpoint.*last\.pt"):
        train.run(broken, tmp_path / "out")
    assert (tmp_path / "out" / "last.pt").is_file() and (tmp_path / "out" / "regions.tsv").is_file()
    assert not (tmp_path / "out" / "model").exists()


def test_a_random_split_says_how_much_it_inflates(config, tmp_path):
    written = config.written | {"split": {"by": "random", "block": 20_000, "seed": 2}}
    random = parse_config(written, config.fasta.parent, "test")
    report = train.run(random, tmp_path / "out", figures=False)
    table = pl.read_csv(tmp_path / "out" / "inflation.tsv", separator="\t")
    assert table["track"].to_list() == ["open", "start +", "start -"]
    row = table.row(0, named=True)
    assert row["seen"] > 0.8 and row["windows_random"] > 0 and row["windows_block"] > 0
    text = (tmp_path / "out" / "inflation.txt").read_text()
    assert "are inflated" in text and text.splitlines() == report.lines()[-len(text.splitlines()) :]
    # the block split's run is the one that a configuration with that split makes
    beside = pl.read_csv(tmp_path / "out" / "block" / "regions.tsv", separator="\t")
    assert beside.equals(train.make_split(config, train.load_data(config)).regions)
    assert json.loads((tmp_path / "out" / "block" / "config.json").read_text())["config"]["split"]["by"] == "block"


def test_the_comparison_can_be_left_out(config, tmp_path):
    written = config.written | {"split": {"by": "random", "compare": False}}
    report = train.run(parse_config(written, config.fasta.parent, "test", epochs=1), tmp_path / "out", figures=False)
    assert report.inflation is None and not (tmp_path / "out" / "block").exists()


def test_too_little_memory(config, monkeypatch, tmp_path):
    monkeypatch.setattr(train, "free_memory", lambda: 1_000_000)
    with pytest.raises(GenopredError, match=r"too little memory on host.*3 tracks of 300,000 bp.*larger data.step"):
        train.run(config, tmp_path / "out")


@pytest.mark.parametrize(
    "network, data, batch",
    [
        ({"kind": "cnn", "channels": 8192, "layers": 20}, {}, 8),
        ({"kind": "enformer-small", "dim": 7680, "depth": 60, "heads": 10}, {}, 8),
        ({"kind": "cnn", "channels": 64}, {"window": 2_097_152}, 8),
        ({"kind": "enformer-small"}, {"window": 2_097_152}, 1),
        ({"kind": "cnn", "channels": 8}, {}, 1_000_000_000),
    ],
)
def test_a_network_too_large_is_refused_before_it_is_built(config, monkeypatch, tmp_path, network, data, batch):
    written = config.written | {"network": network, "training": config.written["training"] | {"batch": batch}}
    written["data"] = written["data"] | data
    written["split"] = {"by": "block", "block": 3_000_000}
    monkeypatch.setattr(train, "free_memory", lambda: 4_000_000_000)
    monkeypatch.setattr(train, "training_bytes", lambda *args: pytest.fail("it was built"))
    with pytest.raises(GenopredError, match=r"too little memory on host: about [0-9,.]+ GB are needed.*4.00 GB are fr"):
        train.run(parse_config(written, config.fasta.parent, "test"), tmp_path / "out")


def test_a_track_of_another_build(config, tmp_path):
    import pyBigWig

    path = tmp_path / "other.bw"
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader([("chr1", 299_000)])
        file.addEntries("chr1", [5], values=[1.0], span=1)
    bad = replace(config, tracks=(replace(config.tracks[0], file=path), *config.tracks[1:]))
    with pytest.raises(FormatError, match=r"299,000 bp here, 300,000 in the FASTA"):
        train.run(bad, tmp_path / "out")


def test_a_split_without_windows(config, tmp_path):
    written = config.written | {"split": {"by": "block", "block": 150_000}}
    with pytest.raises(GenopredError, match=r"simulated\.toml: split by block: nothing for"):
        train.run(parse_config(written, config.fasta.parent, "simulated.toml"), tmp_path / "out")


def test_an_unknown_folder_is_no_network(tmp_path, out):
    with pytest.raises(ModelError, match="no network of `genopred train`"):
        load_network(tmp_path)
    copy = tmp_path / "model"
    copy.mkdir()
    (copy / "config.json").write_bytes((out[0] / "model" / "config.json").read_bytes())
    (copy / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match="cannot be read"):
        load_network(copy)


def test_chromosomes_can_be_split(config):
    loaded = train.load_data(config)
    twice = replace(
        loaded,
        codes={name: loaded.codes["chr1"] for name in ("1", "2", "3")},
        sums={name: loaded.sums["chr1"] for name in ("1", "2", "3")},
    )
    text = {"by": "chromosome", "train": ["chr1"], "validation": ["2"], "test": ["3"]}
    by = parse_config(config.written | {"split": text}, config.fasta.parent, "test")
    regions = train.make_split(by, twice).regions
    assert dict(regions.select("chrom", "split").unique().iter_rows()) == {"1": "train", "2": "validation", "3": "test"}
    assert by.chromosomes == ("chr1", "2", "3")


def test_the_simulated_configuration_is_the_documented_shape():
    assert all(section in CONFIG for section in ("[data]", "[[tracks]]", "[split]", "[network]", "[training]"))
