"""The configuration of tuning on people: what is wrong is named with its remedy."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")
from genopred.errors import GenopredError
from genopred.pipelines.train_inputs import read_config
from genopred.training.config_personal import parse_personal

FILES = ("ref.fa", "people.vcf", "expression.bed", "w.h5", "folds.tsv")
RAW = {"task": "personal", "data": {"fasta": "ref.fa", "vcf": "people.vcf", "expression": "expression.bed"}}


@pytest.fixture
def folder(tmp_path):
    for name in FILES:
        (tmp_path / name).write_text(name)
    return tmp_path


def changed(section, **keys):
    return RAW | {section: RAW.get(section, {}) | keys}


def test_defaults_and_back_again(folder):
    config = parse_personal(changed("model", start="xpresso:w.h5"), folder, "here", epochs=3, seed=None)
    assert (config.training.epochs, config.training.batch, config.model.tune) == (3, 2, "all")
    assert config.start == f"xpresso:{folder / 'w.h5'}" and config.paths["vcf"] == folder / "people.vcf"
    assert config.written["model"]["start"] == "xpresso:w.h5" and "bfile" not in config.written["data"]
    again = parse_personal(config.resolved(), "elsewhere", "again")
    assert (again.start, again.paths, again.training) == (config.start, config.paths, config.training)
    json.dumps(config.resolved())


def test_environment_and_prefixes(folder, monkeypatch):
    monkeypatch.setenv("PLACE", str(folder))
    (folder / "cohort.bed").write_text("x")
    data = {"fasta": "${PLACE}/ref.fa", "bfile": "cohort", "expression": "expression.bed"}
    config = parse_personal(RAW | {"data": data, "model": {"start": "xpresso:${PLACE}/w.h5"}}, folder, "x")
    assert config.paths["bfile"] == folder / "cohort" and config.start == f"xpresso:{folder / 'w.h5'}"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (3, "needed sections with keys"),
        (RAW | {"task": "persons"}, "task = 'persons'; needed task = 'personal'"),
        ({"task": "personal"}, r"section \[data\] is missing"),
        (RAW | {"tracks": []}, "unknown key 'tracks'"),
        (changed("data", vcf=""), "Genotypes: none given; give exactly one of data.vcf, data.bfile and data.pfile"),
        (changed("data", bfile="b"), "Genotypes: data.bfile and data.vcf given|data.vcf and data.bfile given"),
        (changed("data", fasta="no.fa"), "data.fasta = 'no.fa': there is no file"),
        (changed("data", genes=["a"], gene_list="folds.tsv"), "data.genes and data.gene_list are both given"),
        (changed("people", validation=1.0), "people.validation = 1.0: needed a number above 0, below 1"),
        (changed("split", fractions=[0.5, 0.5]), "needed three shares"),
        (changed("model", tune="some"), "model.tune = 'some'"),
        (changed("model", rank=0), "model.rank = 0: needed a whole number from 1"),
        (changed("training", shift=3), "unknown key 'shift' in training"),
        (changed("training", precision="bf16"), "unknown key 'precision' in training"),
    ],
)
def test_what_is_wrong_is_named(folder, raw, said):
    with pytest.raises(GenopredError, match=f"^file.toml: .*({said})|^file.toml: {said}"):
        parse_personal(raw, folder, "file.toml")


def test_a_file_says_its_task(folder):
    (folder / "a.toml").write_text('task = "persona"\n')
    with pytest.raises(GenopredError, match="a.toml: task = 'persona'.*Did you mean 'personal'"):
        read_config(folder / "a.toml")
