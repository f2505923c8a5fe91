"""`genopred train --search`: every trial in a table, the best one's network, killed and resumed, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import polars as pl
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from gene_data import CONFIG, write  # noqa: E402

from genopred.errors import GenopredError  # noqa: E402
from genopred.pipelines import train, train_expression  # noqa: E402
from genopred.pipelines.train_inputs import read_config  # noqa: E402
from genopred.pipelines.train_search import with_settings  # noqa: E402
from genopred.settings import Train  # noqa: E402

ONE = CONFIG.replace("epochs = 2", "epochs = 1")
SPACE = """
[search]
trials = 4
"training.learning_rate" = {low = 1e-4, high = 1e-1, log = true}
"network.hidden" = [2, 4]
"""


def run(folder, method="random", text=ONE + SPACE, out="out", **options):
    file = folder / "train.toml" if (folder / "train.toml").exists() else write(folder)
    file.write_text(text)
    return train.run(Train(config=file, out=folder / out, search=method, **options))


def files_of(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("timing.tsv", "config.json")
    }


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_a_killed_search_goes_on_to_the_same_end(tmp_path, monkeypatch, method):
    if method == "tpe":
        pytest.importorskip("optuna")
    report = run(tmp_path, method)
    table = pl.read_csv(tmp_path / "out" / "search.tsv", separator="\t")
    assert table.columns[:3] == ["trial", "training.learning_rate", "network.hidden"] and table.height == 4
    assert report.best == int(table["score"].arg_max()) + 1 and "best: trial" in report.lines()[1]
    best = tmp_path / "out" / "trials" / f"{report.best:03d}"
    for name in ("model/model.safetensors", "history.tsv", "genes.tsv", "config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (best / name).read_bytes()
    settings = read_config(tmp_path / "out" / "config.json")
    assert settings.training.learning_rate == table["training.learning_rate"][report.best - 1]
    # stopped in the third trial
    real, calls = train_expression.train_genes, []

    def stop(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(train_expression, "train_genes", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, method, out="killed")
    assert pl.read_csv(tmp_path / "killed" / "search.tsv", separator="\t").height == 2
    monkeypatch.setattr(train_expression, "train_genes", real)
    run(tmp_path, method, out="killed")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "killed")
    # more trials go on; another space is refused
    more = run(tmp_path, method, (ONE + SPACE).replace("trials = 4", "trials = 5"))
    assert more.trials.height == 5 and more.trials[:4].equals(report.trials)
    with pytest.raises(GenopredError, match="holds another search"):
        run(tmp_path, method, (ONE + SPACE).replace("[2, 4]", "[2, 3]"))


def test_a_trial_has_its_own_genes_and_the_score_of_its_best_epoch(tmp_path):
    """What reading depends on is read anew."""
    text = CONFIG.replace("epochs = 2", "epochs = 3").replace("5e-3", "1e-3")
    text += '\n[search]\n"expression.cells" = [["liver"], ["brain"], ["liver", "brain"]]\n'
    report = run(tmp_path, "grid", text)
    for row, cells in zip(report.trials.iter_rows(named=True), (["liver"], ["brain"], ["liver", "brain"])):
        folder = tmp_path / "out" / "trials" / f"{row['trial']:03d}"
        assert pl.read_csv(folder / "genes.tsv", separator="\t").columns[-len(cells) - 1 :] == ["why", *cells]
        history = pl.read_csv(folder / "history.tsv", separator="\t")
        best = history.row(int(history["validation_loss"].arg_min()), named=True)
        assert (row["best_epoch"], row["validation_loss"]) == pytest.approx((best["epoch"], best["validation_loss"]))
        assert row["score"] == pytest.approx(sum(best[f"pearson_{cell}"] for cell in cells) / len(cells))


def test_a_grid_whose_bad_trial_is_told(tmp_path):
    text = ONE + '\n[search]\n"expression.transform" = [["log", "z"], ["log"]]\n"training.loss" = ["mse", "poisson"]\n'
    report = run(tmp_path, "grid", text)
    table = pl.read_csv(tmp_path / "out" / "search.tsv", separator="\t")
    assert table.height == 4 and table["score"].null_count() == 1
    failed = table.filter(pl.col("score").is_null()).row(0, named=True)
    assert json.loads(failed["expression.transform"]) == ["log", "z"] and "leave z out" in failed["why"]
    assert "1 of them failed" in report.lines()[0] and (tmp_path / "out" / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (ONE, r"\[search\] names no setting"),
        (ONE + '\n[search]\n"training.rate" = [1, 2]\n', "unknown key 'rate' in training"),
        (ONE + '\n[search]\n"nothing.rate" = [1, 2]\n', "needed section.key"),
        (ONE + '\n[search]\n"training.batch" = [0, 2]\n', "training.batch = 0: needed a whole number"),
        (ONE.replace("block = 10000", "folds = 3") + SPACE, "needs one split by block or chromosome"),
    ],
)
def test_bad_searches(tmp_path, text, said):
    with pytest.raises(GenopredError, match=said):
        run(tmp_path, "random", text)
    assert not (tmp_path / "out").exists()


def test_settings_of_a_trial(tmp_path):
    config = read_config(write(tmp_path, ONE))
    task = train_expression.searched()
    wide = with_settings(config, {"genes.before": 720, "training.shift": 9}, task)
    assert wide.split.margin == 800 + 18 and wide.training.shift == 9 and wide.genes.before == 720
    other = with_settings(config, {"network.kind": "dual-path", "network.distal": 8}, task)
    assert other.sizes == {"channels": 8, "distal": 8, "heads": 1, "dropout": 0.0}
    kept = with_settings(replace(config, split=replace(config.split, margin=900)), {"genes.after": 90}, task)
    assert kept.split.margin == 900


def test_tracks_are_searched_alike(tmp_path):
    from training_data import CONFIG as TRACKS
    from training_data import write as write_tracks

    pytest.importorskip("pyBigWig")
    file = write_tracks(tmp_path)
    space = '\n[search]\n"network.channels" = [4, 8]\n"data.window" = [2048, 1536]\n'
    file.write_text(TRACKS.replace("epochs = 2", "epochs = 1") + space)
    report = train.run(Train(config=file, out=tmp_path / "out", search="grid"))
    assert report.trials.height == 4 and report.trials["score"].null_count() == 0
    assert "test windows were not looked at" in report.lines()[2]
    best = tmp_path / "out" / "trials" / f"{report.best:03d}"
    for name in ("model/model.safetensors", "history.tsv", "regions.tsv", "config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (best / name).read_bytes()
    config = read_config(tmp_path / "out" / "config.json")
    row = report.trials.row(report.best - 1, named=True)
    assert (config.data.window, config.sizes["channels"]) == (row["data.window"], row["network.channels"])
    assert config.split.margin == config.data.window
    # the same command goes on where it is: nothing is trained again
    again = train.run(Train(config=file, out=tmp_path / "out", search="grid"))
    assert again.trials.equals(report.trials)
    # without --search the section says nothing
    plain = train.run(Train(config=file, out=tmp_path / "plain"))
    assert plain.run.best_epoch == 1


def test_people_are_not_searched(tmp_path):
    from genopred.training.config_personal import PersonalConfig

    config = object.__new__(PersonalConfig)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "read_config", lambda *_, **__: config)
        with pytest.raises(GenopredError, match="--search grid: with task = 'personal' nothing is searched"):
            train.run(Train(config=tmp_path / "x.toml", out=tmp_path / "out", search="grid"))
