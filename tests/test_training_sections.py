"""What all configurations of a training check alike; what they say of it is in test_training_config*.py."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from genopred.errors import GenopredError
from genopred.settings.expression import GENE_SPLITS, Genes, GenesByBlock
from genopred.settings.personal import PersonalTraining
from genopred.settings.training import SPLIT_KINDS, ByBlock, ByChromosome, Data, TrackFile, Training
from genopred.training.config import parse_config
from genopred.training.config_expression import parse_expression
from genopred.training.config_personal import parse_personal
from genopred.training.networks.registry import GENE_NETWORKS, NETWORKS
from genopred.training.sections import (
    changed,
    existing_file,
    network_section,
    shown,
    split_section,
    with_chromosomes,
)


@pytest.mark.parametrize("parse", [parse_config, parse_expression, parse_personal])
def test_what_is_no_file_of_sections_is_refused_by_all(parse):
    with pytest.raises(GenopredError, match=r"here: \['x'\]; needed sections with keys"):
        parse(["x"], ".", "here")
    with pytest.raises(GenopredError, match="here: unknown key 'trainig'"):
        parse({"trainig": {}}, ".", "here")


def test_a_split_is_by_blocks_where_it_does_not_say():
    assert type(split_section({}, SPLIT_KINDS, "here")) is ByBlock
    assert type(split_section({}, GENE_SPLITS, "here")) is GenesByBlock
    with pytest.raises(GenopredError, match="unknown key 'folds'"):
        split_section({"folds": 3}, SPLIT_KINDS, "here")


def test_a_network_is_one_of_its_task():
    assert network_section({"kind": "cnn"}, "enformer-small", NETWORKS, "here")[1]["layers"] > 0
    assert network_section({}, "hybrid", GENE_NETWORKS, "here")[0] == "hybrid"
    for table in ([], "cnn"):
        with pytest.raises(GenopredError, match=r"needed a section \[network\]"):
            network_section(table, "hybrid", GENE_NETWORKS, "here")


def test_values_that_are_given_replace_the_files():
    assert changed(Training(epochs=3), {"epochs": None, "seed": 9}) == Training(epochs=3, seed=9)


@pytest.mark.parametrize("kind", [Data, Genes])
def test_chromosomes_are_the_splits_where_none_are_named(kind):
    split = ByChromosome(train=("1",), validation=("2",), test=("3",))
    extra = {"gtf": "genes.gtf"} if kind is Genes else {}
    assert with_chromosomes(kind(fasta="ref.fa", **extra), split, "here").chromosomes == ("1", "2", "3")
    assert with_chromosomes(kind(fasta="ref.fa", chromosomes=("1",), **extra), split, "here").chromosomes == ("1",)
    with pytest.raises(GenopredError, match="here: chromosomes are listed twice: 1; name each once"):
        with_chromosomes(kind(fasta="ref.fa", chromosomes=("1", "chr1"), **extra), split, "here")


def test_a_file_is_there(tmp_path, monkeypatch):
    (tmp_path / "x").write_text("")
    monkeypatch.setenv("GENOPRED_TEST_DATA", str(tmp_path))
    assert existing_file("x", tmp_path, "a") == existing_file("${GENOPRED_TEST_DATA}/x", tmp_path / "b", "a")
    with pytest.raises(GenopredError, match="data.fasta = 'y': there is no file"):
        existing_file("y", tmp_path, "data.fasta")


def test_what_says_nothing_and_what_is_hidden_is_not_shown():
    track = TrackFile(name="a", file="a.bw")
    assert "partner" not in shown(track) and "clip" not in shown(track) and shown(track)["strand"] == "."
    assert "precision" not in shown(PersonalTraining()) and shown(PersonalTraining())["weight_decay"] == 0.01
    assert shown(Genes(fasta="ref.fa", gtf="g"))["types"] == () and "table" not in shown(Genes(fasta="ref.fa", gtf="g"))
