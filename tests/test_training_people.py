"""People: distinct haplotypes and who has them; which genes and people are for what."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from personal_data import people, random_window

from genopred.errors import GenopredError
from genopred.training.people import PersonalGene, split_genes, split_people, within


def test_haplotypes_are_distinct_and_everybody_has_their_own():
    window = random_window(n=20)
    gene = PersonalGene.of(window, 2, np.arange(10.0))
    assert len(np.unique(gene.window.alleles, axis=0)) == len(gene.window.alleles) < 20
    np.testing.assert_array_equal(gene.window.alleles[gene.who.reshape(-1)], window.alleles)
    np.testing.assert_array_equal(gene.dosage, window.alleles.reshape(10, 2, -1).sum(axis=1))
    values = np.random.default_rng(1).standard_normal(len(gene.window.alleles))
    np.testing.assert_allclose(gene.per_person(values), values[gene.who].mean(axis=1))
    some = gene.take(np.array([7, 2]))
    np.testing.assert_array_equal(some.window.alleles[some.who], gene.window.alleles[gene.who[[7, 2]]])
    assert some.y.tolist() == [7.0, 2.0] and set(some.who.reshape(-1)) == set(range(len(some.window.alleles)))
    missing = replace(gene, y=np.r_[np.nan, np.arange(1.0, 10)])
    assert missing.take(np.arange(3)).y.tolist() == [1.0, 2.0]


def test_halves_count_half():
    window = random_window(n=8, halves=True)
    gene = PersonalGene.of(window, 1, np.zeros(8))
    expected = np.array([0, 1, 0.5])[window.alleles] * 2
    np.testing.assert_allclose(gene.dosage, expected)


def test_genes_near_each_other_are_not_of_different_kind():
    rng = np.random.default_rng(2)
    tss = np.sort(rng.choice(4_000_000, 400, replace=False)) + 5_000
    genes = pl.DataFrame({"chrom": "1", "tss": tss, "start": tss - 1000, "end": tss + 1000})
    split = split_genes(genes, block=100_000, fractions=(0.6, 0.2, 0.2), margin=3000, seed=1)
    part = split.part
    for name, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        assert abs((part == name).mean() - share) < 0.08
    for i in range(len(tss)):
        for j in range(i):
            if part[i] and part[j] and part[i] != part[j]:
                assert abs(tss[i] - tss[j]) - 2000 >= 3000
    dropped = part == ""
    assert dropped.any() and all("within 3,000 bp of a" in why for why in split.why[dropped])
    again = split_genes(genes, block=100_000, fractions=(0.6, 0.2, 0.2), margin=3000, seed=1)
    assert (again.part == part).all()
    # genes of one block are of one part, or left out
    assert all(len(set(part[(split.block == block) & (part != "")])) <= 1 for block in np.unique(split.block))
    other = split_genes(genes, block=100_000, fractions=(0.6, 0.2, 0.2), margin=3000, seed=2)
    assert (other.part != part).any()


def test_people_are_dealt():
    test = np.arange(50) < 10
    part = split_people(50, test=test, fraction=0.5, validation=0.25, seed=3)
    assert (part[:10] == "test").all() and (part[10:] == "validation").sum() == 10 and (part == "train").sum() == 30


def test_too_few_are_refused():
    data, _ = people(20, 20)
    with pytest.raises(GenopredError, match="no gene is for validation; change split.seed"):
        replace(data, split=replace(data.split, part=np.full(20, "train")))
    with pytest.raises(GenopredError, match="2 people are for test; needed at least 3"):
        replace(data, people=np.array(["train"] * 15 + ["validation"] * 3 + ["test"] * 2))


def test_what_does_not_vary_is_not_correlated():
    assert within(np.ones(4), np.arange(4.0)) == 0 and within([1.0, 2.0, 3.0], np.array([1.0, 2.0, 3.0])) == 1
