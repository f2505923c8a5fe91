"""genopred.sequence.snps: SNPs of genes, their REF, windows and parts."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from test_sequence_effects import Text, Toy, table

from genopred.sequence import snps
from genopred.sequence.effects import EffectSettings, snp_effects

POSITIONS = [20, 60, 100, 121, 150, 170, 200, 299]
GENES = pl.DataFrame(
    {
        "gene_id": ["one", "two", "three"],
        "chrom": ["chr1", "1", "2"],
        "tss": [150, 60, 150],
        "strand": ["+", "-", "+"],
        "far": [180, 10, 180],
    }
)


def test_snps_of_each_gene_lie_in_the_models_window():
    found = snps.around_genes(table(POSITIONS), GENES, Toy(), "tss")
    assert [gene["gene_id"] for gene, _ in found] == ["one", "two", "three"]
    # 30 before and 33 after the TSS; the model reads forward whatever the strand
    assert [rows.tolist() for _, rows in found] == [[3, 4, 5], [1], []]
    assert snps.around_genes(table(POSITIONS), GENES, Toy(strand_aware=True), "tss")[1][1].tolist() == [1]
    every = snps.around_genes(table(POSITIONS), GENES, Toy(), "snp")
    assert [rows.tolist() for _, rows in every] == [list(range(8)), list(range(8)), []]


def test_up_and_downstream_follow_the_genes_direction():
    found = snps.around_genes(table(POSITIONS), GENES, Toy(), "tss", upstream=50, downstream=20)
    # 100 to 200 (20 past the end at 180), and -10 to 110 backwards
    assert [rows.tolist() for _, rows in found] == [[2, 3, 4, 5, 6], [0, 1, 2], []]


def test_without_genes_chromosomes_stand_for_them():
    both = pl.concat([table(POSITIONS[:2]), table(POSITIONS[:1]).with_columns(chrom=pl.lit("2"))])
    found = snps.around_genes(both, None, Toy(), "snp")
    assert [(gene, rows.tolist()) for gene, rows in found] == [(None, [0, 1]), (None, [2])]


def test_rows_follow_what_is_kept():
    keep = np.array([True, False, True, True])
    left, around = snps.only(table(POSITIONS[:4]), [(None, np.array([0, 1, 3])), (None, np.array([2]))], keep)
    assert left["pos"].to_list() == [20, 100, 121] and [rows.tolist() for _, rows in around] == [[0, 2], [1]]


def test_ref_is_compared_once_a_snp(monkeypatch):
    monkeypatch.setattr(snps, "BLOCK", 50)
    given = table(POSITIONS, swap=(2,))
    status, shown = snps.compare_reference(given, Text(), allow_swapped=True)
    assert status == ["match"] * 2 + ["swapped"] + ["match"] * 5 and len(shown) == 1 and shown[0].startswith("1:100 ")


def test_blocks_cover_every_snp_once():
    given = pl.DataFrame({"chrom": ["1"] * 4 + ["2"], "pos": [1, 5, 300_000, 300_001, 300_002]})
    parts = list(snps._blocks(given))
    assert [part.height for part in parts] == [2, 2, 1] and pl.concat(parts).equals(given)


@pytest.mark.parametrize("center, share", [("tss", 0), ("snp", 0), ("snp", 12)])
def test_parts_together_are_the_effects_of_all_snps(center, share):
    model, given = Toy(), table([*range(122, 180, 3)])
    chosen = EffectSettings.of(model, tracks=["all", "CAGE"])
    gene = GENES.row(0, named=True)
    laid = snps.plan(model, given, [(gene, np.arange(given.height))], center=center, share=share)
    assert laid.used.all() and laid.inside == given.height and not laid.outside and laid.nearest is None
    assert len(laid.parts) == (1 if center == "tss" else 2 if not share else 1)
    tables, keys = [], set()
    for part in laid.parts:
        key, windows = snps.open_windows(part, model, given, Text(), chosen)
        assert key == snps.open_windows(part, model, given, Text(), chosen)[0]
        keys.add(key)
        tables.append(snps.score(part, windows, model, chosen))
    other = EffectSettings.of(model, tracks=["CAGE"])
    assert snps.open_windows(laid.parts[0], model, given, Text(), other)[0] not in keys and len(keys) == len(tables)
    alone = snp_effects(model, given, Text(), gene="one", tss=150, center=center, share=share, tracks=["all", "CAGE"])
    assert pl.concat(tables).equals(alone)


def test_what_is_outside_its_genes_window_is_counted():
    given = table([20, 100, 150])
    around = [(GENES.row(0, named=True), np.arange(3)), (GENES.row(2, named=True), np.array([0]))]
    laid = snps.plan(Toy(), given, around, center="tss")
    assert laid.used.tolist() == [False, False, True] and (laid.inside, laid.outside) == (1, 3)
    assert laid.empty == ["three"] and laid.nearest == 50
