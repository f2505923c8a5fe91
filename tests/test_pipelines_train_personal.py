"""`genopred train` with task = "personal", on files: the table, the model, and the same again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")
pytest.importorskip("enformer_pytorch")
from personal_data import CONFIG, people, write

from genopred.cli import main
from genopred.errors import GenopredError
from genopred.io.features import read_features
from genopred.pipelines.features import run as features
from genopred.pipelines.train import run
from genopred.pipelines.train_personal import _elastic_net
from genopred.settings import Features, Train
from genopred.training.two_by_two import CELL_SCHEMA


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("personal")
    config = write(folder)
    return folder, run(Train(config=config, out=folder / "out"))


def test_a_run_leaves_the_table_and_all_around_it(done):
    folder, report = done
    out = folder / "out"
    names = {path.name for path in out.iterdir()}
    expected = {"model", "history.tsv", "curves.svg", "genes.tsv", "samples.tsv", "people.tsv", "table.tsv", "last.pt"}
    assert expected | {"predictions.parquet", "personal.html", "two_by_two.svg", "matched.tsv", "config.json"} <= names
    table = pl.read_csv(out / "table.tsv", separator="\t")
    assert table.columns == list(CELL_SCHEMA) and table.height == 12
    assert set(table["method"]) == {"tuned", "untuned", "elastic net"}
    # the elastic net finds the SNP, in genes of either kind, as it sees both
    linear = table.filter((pl.col("method") == "elastic net") & (pl.col("people") == "unseen"))
    assert linear["mean_r"].min() > 0.4
    text = (out / "personal.html").read_text()
    assert "exactly the SNPs of the window" in text and "which the network has not" in text
    lines = report.lines()
    assert any("unseen genes, unseen people: tuned" in line for line in lines)


def test_predictions_are_those_of_the_model_it_leaves(done):
    """`genopred features --model OUT/model` gives what the run's own table was made of."""
    folder, _ = done
    settings = Features(
        vcf=folder / "people.vcf", fasta=folder / "ref.fa", expression=folder / "expression.bed", all_genes=True,
        model=str(folder / "out" / "model"), out=folder / "features", device="cpu",
    )  # fmt: skip
    table = features(settings).genes
    assert table.height == 30 and table["features"].to_list() == [1] * 30
    predicted = pl.read_parquet(folder / "out" / "predictions.parquet")
    for gene in table["gene_id"].to_list()[:4]:
        found = read_features(folder / "features", gene)
        of = dict(predicted.filter(gene_id=gene).select("sample", "tuned").iter_rows())
        expected = np.array([of[name] for name in found.samples])
        # fresh weights tell people apart in their fourth digit only
        np.testing.assert_allclose(found.values[:, 0], expected, atol=1e-2 * expected.std())


def test_genes_that_are_seen_lie_apart_from_those_that_are_not(done):
    genes = pl.read_csv(done[0] / "out" / "genes.tsv", separator="\t")
    assert set(genes["part"].drop_nulls()) >= {"train", "validation", "test"}
    seen = genes.filter(pl.col("part").is_in(["train", "validation"]))
    for start, end in genes.filter(part="test").select("start", "end").iter_rows():
        assert ((seen["start"] - end).to_numpy().clip(0) + (start - seen["end"]).to_numpy().clip(0)).min() >= 1024


def test_people_in_another_order_leave_the_same_weights(done, tmp_path):
    folder = done[0]
    lines = (folder / "people.vcf").read_text().splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("##")]
    order = [*range(9), *(9 + np.random.default_rng(2).permutation(50))]
    for path in folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "start").symlink_to(folder / "start")
    header = [line for line in lines if line.startswith("##")]
    (tmp_path / "people.vcf").write_text(
        "\n".join([*header, *("\t".join(row[i] for i in order) for row in rows)]) + "\n"
    )
    bed = [line.split("\t") for line in (folder / "expression.bed").read_text().splitlines()]
    order = [*range(6), *(6 + np.random.default_rng(3).permutation(50))]
    (tmp_path / "expression.bed").write_text("\n".join("\t".join(row[i] for i in order) for row in bed) + "\n")
    run(Train(config=tmp_path / "personal.toml", out=tmp_path / "out"))
    for name in ("model/model.safetensors", "table.tsv", "samples.tsv"):
        assert (tmp_path / "out" / name).read_bytes() == (folder / "out" / name).read_bytes(), name


def test_expression_of_people_kept_aside_changes_no_weight(done, tmp_path):
    """Nor the transform: ranks, covariates and scale are those of the training people."""
    folder = done[0]
    for path in folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "start").symlink_to(folder / "start")
    part = dict(pl.read_csv(folder / "out" / "samples.tsv", separator="\t").iter_rows())
    bed = [line.split("\t") for line in (folder / "expression.bed").read_text().splitlines()]
    rng = np.random.default_rng(4)
    for row in bed[1:]:
        row[6:] = [f"{50 * rng.standard_normal():.3f}" if part[n] == "test" else v for n, v in zip(bed[0][6:], row[6:])]
    (tmp_path / "expression.bed").write_text("\n".join("\t".join(row) for row in bed) + "\n")
    run(Train(config=tmp_path / "personal.toml", out=tmp_path / "out"))
    weights = [(place / "out" / "model" / "model.safetensors").read_bytes() for place in (tmp_path, folder)]
    assert weights[0] == weights[1]


def test_the_elastic_net_sees_training_and_validation_people():
    """And nobody else: it is held against the network, which sees the same."""
    data, _ = people(8, 40)
    job = SimpleNamespace(step=lambda *_: None)
    plain = _elastic_net(data, job)
    for part, same in (("test", True), ("validation", False), ("train", False)):
        rng, genes = np.random.default_rng(1), []
        for gene in data.of_gene:
            y = gene.y.copy()
            y[data.rows(part)] = 3 * rng.standard_normal(int((data.people == part).sum()))
            genes.append(replace(gene, y=y))
        assert np.array_equal(_elastic_net(replace(data, of_gene=tuple(genes)), job), plain) == same, part


def test_killed_and_started_again_ends_the_same(done, tmp_path):
    folder = done[0]

    def kill(step, total, label):
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Train(config=folder / "personal.toml", out=tmp_path / "out"), kill)
    run(Train(config=folder / "personal.toml", out=tmp_path / "out"))
    files = {path.relative_to(folder / "out") for path in (folder / "out").rglob("*") if path.is_file()}
    assert {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file()} == files
    for name in files - {Path("timing.tsv")}:
        assert (folder / "out" / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name


def test_a_checkpoint_that_wants_to_run_code_is_refused(done, tmp_path):
    import torch

    class Runs:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "out").mkdir()
    torch.save({"identity": Runs(), "network": {}}, tmp_path / "out" / "last.pt")
    with pytest.raises(GenopredError, match=r"last.pt cannot be read as a checkpoint .* use --no-resume"):
        run(Train(config=done[0] / "personal.toml", out=tmp_path / "out"))
    assert not (tmp_path / "ran").exists()


def test_the_command_line(done, tmp_path, capsys):
    config = done[0] / "personal.toml"
    config.with_name("head.toml").write_text(CONFIG.replace('"all"', '"head"').replace("margin = 1024\n", ""))
    options = ["--out", str(tmp_path / "out"), "--epochs", "1", "--quiet"]
    assert main(["train", str(config.with_name("head.toml")), *options]) == 0
    assert "seen genes, unseen people: tuned" in capsys.readouterr().out
    assert main(["evaluate", str(config), "--out", str(tmp_path / "no")]) == 2
    assert "Error" in capsys.readouterr().err
