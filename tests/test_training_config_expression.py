"""The configuration of task "expression": read, written, and what is refused."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from gene_data import CONFIG, write

from genopred.errors import GenopredError
from genopred.pipelines.train_inputs import read_config
from genopred.settings.expression import GenesByBlock
from genopred.training.config_expression import ExpressionConfig, parse_expression

MORE = """
[[signal]]
cell = "x.y"
file = "a.bw"

[inputs]
gc = true

[[inputs.tracks]]
name = "open"
file = "a.bw"

[contacts]
file = "c.mcool::resolutions/1000"
"""


@pytest.fixture
def folder(tmp_path):
    write(tmp_path)
    (tmp_path / "a.bw").write_text("")
    (tmp_path / "c.mcool").write_text("")
    return tmp_path


def read(folder, text):
    (folder / "train.toml").write_text(text)
    return read_config(folder / "train.toml")


def test_defaults_and_what_reads_back(folder, tmp_path):
    config = read(folder, CONFIG + MORE)
    assert isinstance(config, ExpressionConfig) and config.kind == "hybrid" and config.training.batch == 16
    assert config.split == GenesByBlock(block=10_000, seed=3, margin=408)
    assert config.expression.transform == ("log", "z") and not config.training.reverse_complement
    again = parse_expression(config.resolved(), "/nowhere", "again")
    assert again.resolved() == config.resolved() and again.written["split"] == config.written["split"]
    assert config.written["genes"]["fasta"] == "ref.fa"
    assert config.resolved()["contacts"]["file"] == f"{tmp_path}/c.mcool::resolutions/1000"
    assert config.resolved()["signal"][0]["file"] == f"{tmp_path}/a.bw"
    assert not config.distal and config.link == "identity"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('task = "expression"', 'task = "expresion"', r"task = 'expresion': there are .*Did you mean 'expression'"),
        ("channels", "chanels", "unknown key 'chanels'.*Did you mean 'channels'"),
        ("[genes]", "[gene]", "unknown key 'gene'.*Did you mean 'genes'"),
        ('fasta = "ref.fa"', "", "genes.fasta is missing"),
        ('gtf = "genes.gtf"', "", "give one of them, which says where genes begin"),
        ('gtf = "genes.gtf"', 'gtf = "none.gtf"', "genes.gtf = 'none.gtf': there is no file"),
        ('unit = "tpm"', 'unit = "tpn"', "expression.unit = 'tpn': there are counts, tpm.*Did you mean 'tpm'"),
        ('unit = "tpm"', 'transform = ["z", "log"]', "log comes first"),
        ('unit = "tpm"', 'transform = ["log", "log"]', "log is named twice"),
        ('unit = "tpm"', 'batches = "genes.gtf"\naverage = true', "leave batches out"),
        ('file = "expression.tsv"', "", r"expression.file is missing, and there is no \[\[signal\]\]"),
        ("before = 320", "before = 3.5", "genes.before = 3.5: needed a whole number"),
        ("after = 80", "after = 0", "genes.after = 0: needed a whole number from 1"),
        ("block = 10000", "block = 300", "split.block = 300: needed at least the window, 400 bp"),
        ("block = 10000", "margin = 300", "split.margin = 300: needed at least the window"),
        ("block = 10000", "folds = 2", "split.folds = 2: needed 3 or more"),
        ("block = 10000", 'by = "gene"', "split.by = 'gene': there are block, chromosome, random"),
        ("shift = 4", "shift = 400", "training.shift = 400: needed less than the window"),
        ("shift = 4", 'loss = "poisson"', "z values are negative too"),
        ("shift = 4", 'loss = "hubert"', "training.loss = 'hubert': there are mse, poisson, correlation"),
        ("[network]", '[[signal]]\ncell = "x"\nplus = "a.bw"\n[network]', "signal x: needed plus and minus, or file"),
        ("[network]", '[contacts]\nnearest = 9\nfarthest = 8\n[network]', "contacts.nearest = 9 is more than"),
        ("[network]", "[inputs]\nkmers = 6\n[network]", "inputs.kmers = 6: needed a whole number from 0 to 5"),
        ("[network]", '[[inputs.tracks]]\nname = "a"\nfile = "b.bw"\n[network]', r"there is no file .*b.bw"),
    ],
)  # fmt: skip
def test_what_is_refused(folder, old, new, said):
    assert old in CONFIG
    with pytest.raises(GenopredError, match=said) as error:
        read(folder, CONFIG.replace(old, new))
    assert "train.toml" in str(error.value)


def test_lists_of_sections(folder):
    twice = MORE.replace('cell = "x.y"', 'cell = "x.y"\nfile = "a.bw"\n[[signal]]\ncell = "x.y"')
    with pytest.raises(GenopredError, match=r"signal: cell x\.y is listed twice"):
        read(folder, CONFIG + twice)
    with pytest.raises(GenopredError, match=r"signal: needed sections \[\[signal\]\]"):
        read(folder, CONFIG.replace('task = "expression"', 'task = "expression"\nsignal = 3'))
