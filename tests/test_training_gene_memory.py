"""Memory of a training on genes: counted, and refused in time."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from gene_data import write

from genopred.errors import GenopredError
from genopred.pipelines.train_genes import load_genes
from genopred.pipelines.train_inputs import read_config
from genopred.training import enough_memory
from genopred.training.gene_memory import check_gene_memory, gene_bytes
from genopred.training.networks.gene import GeneShape


def test_what_genes_take(tmp_path):
    config = read_config(write(tmp_path))
    data = load_genes(config)
    shape = GeneShape(config.genes.before, config.genes.after)
    assert gene_bytes(len(data.codes), 2, shape, 4, 16) == data.codes.nbytes + data.measured.nbytes


def test_too_little_is_said(tmp_path, monkeypatch):
    config = read_config(write(tmp_path))
    monkeypatch.setattr(enough_memory, "free_memory", lambda: 10_000_000)
    with pytest.raises(GenopredError, match=r"too little memory on host: about .* GB are needed .*genes.types"):
        check_gene_memory(config, 1_000_000, 2, GeneShape(320, 80))
    monkeypatch.setattr(enough_memory, "free_memory", lambda: None)
    check_gene_memory(config, 1_000_000, 2, GeneShape(320, 80))
