"""Splits of genes: no base is shared, families stay together, folds cover all, expression has no say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

from gene_data import CONFIG, write

from genopred.errors import GenopredError
from genopred.pipelines.train_genes import load_genes
from genopred.pipelines.train_inputs import read_config
from genopred.settings.expression import GenesByBlock
from genopred.settings.training import ByChromosome, ByRandom
from genopred.training.gene_inflation import share_of_genes_seen
from genopred.training.gene_split import BORDER, ELSEWHERE, FAMILY, split_genes
from genopred.training.splits import SPLITS


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return read_config(write(tmp_path_factory.mktemp("genes"), CONFIG.replace("shift = 4", "shift = 40")))


@pytest.fixture(scope="module")
def data(config):
    return load_genes(config)


def bases_of(data, rows):
    read = {chrom: np.zeros(length, dtype=bool) for chrom, length in data.lengths.items()}
    for chrom, start, end in data.genes.select("chrom", "start", "end")[rows.tolist()].iter_rows():
        read[chrom][max(0, start - data.flank) : end + data.flank] = True
    return np.concatenate(list(read.values()))


@pytest.mark.parametrize("seed", range(6))
def test_no_base_of_a_test_window_is_in_another_part(config, data, seed):
    """Shifts included; regions of parts are a window and more apart."""
    of = replace(config.split, seed=seed, block=4_000)
    split = split_genes(replace(config, split=of), data)
    assert set(split.why[split.part == ""]) <= {BORDER} and (split.why[split.part != ""] == "").all()
    read = {name: bases_of(data, split.rows(name)) for name in SPLITS}
    for a, b in (("train", "test"), ("train", "validation"), ("validation", "test")):
        assert not (read[a] & read[b]).any()
        near = np.convolve(read[a], np.ones(2 * 400 + 1), "same") > 0
        assert not (near & read[b])[: data.lengths["chr1"]].any()


@pytest.mark.parametrize("seed", range(3))
def test_windows_with_their_shifts_are_a_margin_apart(config, data, seed):
    """Of genes anywhere: what a window reads that is shifted by 200 bp is 480 bp and more from another part's."""
    codes = np.zeros((len(data.codes), 800), np.uint8)
    away = np.random.default_rng(seed).integers(-300, 300, data.genes.height)
    genes = data.genes.with_columns(pl.col("tss", "start", "end") + pl.Series(away))
    moved = replace(data, genes=genes, codes=codes, flank=200)
    split = split_genes(replace(config, split=replace(config.split, seed=seed, block=4_000)), moved)
    chroms, starts, ends = (genes[name].to_numpy() for name in ("chrom", "start", "end"))
    mine, other = np.nonzero((split.part[:, None] < split.part) & (split.part != "")[:, None])
    same = chroms[mine] == chroms[other]
    mine, other = mine[same], other[same]
    apart = np.maximum(starts[mine] - ends[other], starts[other] - ends[mine]) - 2 * moved.flank
    assert len(apart) > 1_000 and apart.min() >= 480


def test_folds_test_every_block_once(config, data):
    of = replace(config, split=replace(config.split, folds=4, block=8_000))
    splits = [split_genes(of, data, fold) for fold in range(4)]
    times = sum((split.part == "test").astype(int) for split in splits)
    assert times.max() == 1 and (times == 0).mean() < 0.25
    for i, split in enumerate(splits):
        after = splits[(i + 1) % 4]
        # what one fold validates on, the next one tests
        assert len(np.intersect1d(split.rows("validation"), after.rows("test"))) > 0.7 * len(split.rows("validation"))
        assert not len(np.intersect1d(split.rows("train"), split.rows("test")))
    with pytest.raises(GenopredError, match="needed one of the 4 folds"):
        split_genes(of, data, 4)
    with pytest.raises(GenopredError, match="hold genes; lower split.block"):
        split_genes(replace(config, split=replace(config.split, folds=90)), data, 0)


def test_families_are_in_one_part(config, data):
    families = np.array([f"F{i % 40}" if i % 4 else "" for i in range(len(data.codes))])
    free, split = split_genes(config, data), split_genes(config, replace(data, families=families))
    for family in set(families) - {""}:
        assert len(set(split.part[(families == family) & (split.part != "")])) == 1
    moved = split.part != free.part
    assert moved.sum() > 10 and (split.part[moved] == "").all() and set(split.why[moved]) == {FAMILY}
    np.testing.assert_array_equal(split.part[families == ""], free.part[families == ""])


def test_by_chromosome_and_what_is_elsewhere(config, data):
    of = ByChromosome(train=("1",), validation=("chr2",), test=("chr2",))
    with pytest.raises(GenopredError, match="chr2 is in validation and in test"):
        split_genes(replace(config, split=of), data)
    three = replace(data, genes=data.genes.with_columns(
        chrom=pl.when(pl.arange(pl.len()) < 40).then(pl.lit("chr3")).when(pl.arange(pl.len()) < 60).then(pl.lit("chr4"))
        .otherwise("chrom")
    ), lengths=data.lengths | {"chr3": 200_000, "chr4": 200_000})  # fmt: skip
    split = split_genes(replace(config, split=ByChromosome(train=("2",), validation=("1",), test=("3",))), three)
    assert set(split.part[:40]) == {"test"} and set(split.why[40:60]) == {ELSEWHERE}


def test_random_is_what_it_says(config, data):
    split = split_genes(replace(config, split=ByRandom(seed=1)), data)
    assert (split.part != "").all() and len(split.rows("train")) == round(0.7 * len(data.codes))
    # genes 1 kb apart share no base of 400; 1 kb windows do
    assert share_of_genes_seen(data, split) == 0
    assert share_of_genes_seen(replace(data, codes=np.zeros((len(data.codes), 2080), np.uint8)), split) > 0.8


def test_expression_has_no_say(config, data):
    changed = replace(data, measured=data.measured[::-1])
    np.testing.assert_array_equal(split_genes(config, data).part, split_genes(config, changed).part)


def test_too_few_genes(config, data):
    with pytest.raises(GenopredError, match=r"train.toml: split by block: fewer than 3 genes for .*lower split.block"):
        split_genes(replace(config, split=GenesByBlock(block=80_000, margin=400)), data)
