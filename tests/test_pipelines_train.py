"""`genopred.pipelines.train`: from files to a trained network in a folder."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyBigWig")
pytest.importorskip("enformer_pytorch")

from training_data import CONFIG, SHAPE, write  # noqa: E402

from genopred.errors import GenopredError, ModelError  # noqa: E402
from genopred.pipelines import train  # noqa: E402
from genopred.pipelines.train_inputs import read_config  # noqa: E402
from genopred.settings import Train  # noqa: E402
from genopred.training.splits import tile  # noqa: E402
from genopred.training.store import load_network  # noqa: E402
from genopred.training.tasks.tracks import predict_windows  # noqa: E402


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return read_config(write(tmp_path_factory.mktemp("simulated")))


@pytest.fixture(scope="module")
def out(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "out"
    report = train.run(Train(config=config.source, out=folder))
    return folder, report


def start(config, out, training=None, **sections):
    """Train with some keys of [training], or whole sections, changed."""
    changed = config.resolved() | sections
    changed["training"] = changed["training"] | (training or {})
    file = out.with_suffix(".json")
    file.write_text(json.dumps({"config": changed}))
    return train.run(Train(config=file, out=out))


def test_a_run_leaves_everything_in_its_folder(config, out):
    folder, report = out
    names = {path.name for path in folder.iterdir()}
    tables = {"history.tsv", "matched.tsv", "regions.tsv", "timing.tsv"}
    assert names == {"config.json", "curves.svg", "last.pt", "model", *tables}
    history = pl.read_csv(folder / "history.tsv", separator="\t")
    assert history.columns[:5] == ["epoch", "step", "learning_rate", "train_loss", "validation_loss"]
    assert history.height == 2 and "seconds" not in history.columns
    timing = pl.read_csv(folder / "timing.tsv", separator="\t")
    assert timing["epoch"].to_list() == [1, 2] and timing["seconds"].min() > 0
    regions = pl.read_csv(folder / "regions.tsv", separator="\t")
    assert regions.columns == ["chrom", "start", "end", "split", "block"]
    assert set(regions["split"]) == {"train", "validation", "test"}
    matched = pl.read_csv(folder / "matched.tsv", separator="\t")
    assert matched.select("item", "status", "n").rows() == [
        ("train windows", "in", 139),
        ("train windows", "used", 139),
        ("validation windows", "in", 22),
        ("validation windows", "used", 22),
    ]
    about = json.loads((folder / "config.json").read_text())
    assert {"genopred", "torch"} <= set(about["versions"]) and about["config"]["training"]["epochs"] == 2
    assert (folder / "curves.svg").read_text().lstrip().startswith("<?xml")
    text = "\n".join(report.lines())
    assert "139 training and 22 validation windows" in text and "start +: Pearson" in text


def test_a_run_on_its_plateau_says_so_at_its_end(config, out, tmp_path):
    report = start(config, tmp_path / "out", {"learning_rate": 1e-12})
    assert "still on the plateau" in report.lines()[-1] and report.lines()[-1] == report.run.plateau
    history = pl.read_csv(tmp_path / "out" / "history.tsv", separator="\t")
    assert history.columns[-1] == "plateau" and history["plateau"].all()


def test_the_resolved_configuration_reads_back(config, out):
    again = read_config(out[0] / "config.json")
    assert again.resolved() == config.resolved()
    assert (again.shape, again.training, again.split, again.sizes) == (
        config.shape,
        config.training,
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
    network = {"kind": "enformer-small"} | sizes
    report = start(config, tmp_path / "out", {"epochs": 1, "batch": 64}, network=network)
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
    again = train.run(Train(config=config.source, out=folder))
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
    train.run(Train(config=config.source, out=tmp_path / "out"))
    assert not any(file.exists() for file in left)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    again = sorted(path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert files == again
    same = [name for name in files if (folder / name).read_bytes() == (tmp_path / "out" / name).read_bytes()]
    assert {str(name) for name in set(files) - set(same)} <= {"timing.tsv"}


def test_another_configuration_is_refused_and_touches_nothing(config, out):
    folder, _ = out
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(GenopredError, match=r"training.batch was 8, is 4.*--out, or --no-resume"):
        start(config, folder, {"batch": 4})
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_divergence_leaves_the_former_model(config, tmp_path):
    with pytest.raises(GenopredError, match=r"not finite.*last good checkpoint.*last\.pt"):
        start(config, tmp_path / "out", {"learning_rate": 1e25, "gradient_clip": 0.0})
    assert (tmp_path / "out" / "last.pt").is_file() and (tmp_path / "out" / "regions.tsv").is_file()
    assert not (tmp_path / "out" / "model").exists()


def test_a_random_split_says_how_much_it_inflates(config, tmp_path):
    report = start(config, tmp_path / "out", split={"by": "random", "block": 20_000, "seed": 2})
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
    report = start(config, tmp_path / "out", {"epochs": 1}, split={"by": "random", "compare": False})
    assert report.inflation is None and not (tmp_path / "out" / "block").exists()


def test_a_split_without_windows(config, tmp_path):
    with pytest.raises(GenopredError, match=r"out\.json: split by block: nothing for"):
        start(config, tmp_path / "out", split={"by": "block", "block": 150_000})


def test_an_unknown_folder_is_no_network(tmp_path, out):
    with pytest.raises(ModelError, match="no network of `genopred train`"):
        load_network(tmp_path)
    copy = tmp_path / "model"
    copy.mkdir()
    (copy / "config.json").write_bytes((out[0] / "model" / "config.json").read_bytes())
    (copy / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match="cannot be read"):
        load_network(copy)


def test_the_simulated_configuration_is_the_documented_shape():
    assert all(section in CONFIG for section in ("[data]", "[[tracks]]", "[split]", "[network]", "[training]"))
