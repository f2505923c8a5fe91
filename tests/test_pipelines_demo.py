"""The demonstration run: its settings, and what it says of sequence features with torch and without."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from genopred.io.example import load_example
from genopred.pipelines import demo, stack

GENES = ("ENSG00000100372.10", "ENSG00000100387.8")


@pytest.fixture
def ran(monkeypatch):
    """Stands in for the stack and its page; what they were given."""
    seen = SimpleNamespace(stack=[], pages=[])

    def run(config, progress):
        seen.stack.append((config, progress))
        return SimpleNamespace(scores=pl.DataFrame({"gene_id": [g for g in GENES for _ in "ab"]}))

    monkeypatch.setattr(stack, "run", run)
    monkeypatch.setattr(stack, "write_report", lambda config, result, sections: seen.pages.append(sections))
    return seen


def without(monkeypatch, *names):
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name in names else find_spec(name))


def test_it_is_the_stack_on_the_example_without_weights_learned_on_these_people(monkeypatch, tmp_path, ran):
    without(monkeypatch, "torch")
    demo.run(demo.DemoConfig(out=tmp_path, learners=("ridge",), genes=("g",), threads=3, seed=5, resume=False), print)
    (config, progress) = ran.stack[0]
    assert config.stack_weights == "none" and progress is print
    assert (config.out, config.learners, config.threads, config.seed, config.resume) == (
        tmp_path,
        ("ridge",),
        3,
        5,
        False,
    )
    assert config.cohort == demo.example_inputs(("g",))
    # sequence features never reach the stack
    assert config.features is None and config.inputs == "genotype"


@pytest.mark.parametrize(("absent", "named"), [(["torch"], "torch"), (["enformer_pytorch"], "enformer-pytorch")])
def test_without_torch_one_line_says_what_adds_sequence_features(monkeypatch, tmp_path, ran, absent, named):
    without(monkeypatch, *absent)
    result = demo.run(demo.DemoConfig(out=tmp_path))
    assert result.sequence is None and len(result.lines) == 1
    assert named in result.lines[0] and "genopred[sequence]" in result.lines[0] and "\n" not in result.lines[0]
    [[section]] = ran.pages
    assert (section.title, section.text) == ("Sequence features", result.lines)
    assert list(tmp_path.iterdir()) == []


def test_sequence_features_of_an_untrained_network(tmp_path, ran):
    pytest.importorskip("enformer_pytorch")
    from genopred.io.features import read_features

    result = demo.run(demo.DemoConfig(out=tmp_path))
    assert "untrained" in result.lines[0] and "kept out of the accuracy table" in result.lines[0]
    [[section]] = ran.pages
    assert section.text == result.lines and len(section.figures) == len(section.tables) == 1
    table = result.sequence
    assert table["gene_id"].to_list() == list(GENES)  # each once, as the stack has them
    assert table["haplotypes"].to_list() == [716, 716] and table["naive_tokens"].to_list() == [716 * 128] * 2
    example = load_example()
    for row in table.iter_rows(named=True):
        tss = example.expression.genes.row(by_predicate=pl.col("gene_id") == row["gene_id"], named=True)["tss"]
        pos = example.genotypes.variants["pos"].to_numpy()
        inside = (pos > tss - 1 - 8_192) & (pos <= tss - 1 + 8_192)
        assert row["snvs"] == inside.sum()
        whole = example.genotypes.select(variants=np.flatnonzero(inside)).haplotypes().alleles().reshape(716, -1)
        assert row["distinct_windows"] == len(np.unique(whole, axis=0))
        assert 128 < row["tokens"] < 128 * row["distinct_windows"]
        features = read_features(tmp_path / "sequence-features", row["gene_id"])
        assert features.samples.tolist() == example.genotypes.samples.tolist()
        assert len(np.unique(features.values[:, 0])) > 5  # it tells people apart
        np.testing.assert_allclose(
            row["spread"], (features.values.std(0, dtype=float) / features.values.mean(0, dtype=float)).mean()
        )
    again = demo.run(demo.DemoConfig(out=tmp_path))
    assert again.lines == result.lines and again.sequence.equals(table)


def test_the_example_files_are_there():
    inputs = demo.example_inputs()
    assert inputs.genes is None and inputs.expression.is_file() and inputs.covar.is_file()
    assert all(inputs.bfile.with_name(inputs.bfile.name + end).is_file() for end in (".bed", ".bim", ".fam"))
    assert isinstance(inputs.bfile, Path)
