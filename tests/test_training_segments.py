"""Distal segments: chosen by contacts, and kept off what another part reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")

from genopred.training.genes import GENE_SCHEMA, GeneData, GeneSplit
from genopred.training.segments import choose_segments, kept_apart

LENGTH = 100_000


def genes_at(rows):
    out = []
    for i, (tss, strand) in enumerate(rows):
        start = tss - 1 - 300 if strand == "+" else tss - 100
        out.append((f"G{i}", f"G{i}", "1", tss, strand, start, start + 400))
    return pl.DataFrame(out, schema=GENE_SCHEMA, orient="row")


def contacts_of(rows):
    columns = ["start1", "end1", "start2", "end2", "weight"]
    table = pl.DataFrame(rows, schema=columns, orient="row").with_columns(chrom=pl.lit("1"))
    return table.select("chrom", *columns)


HOW = {"segments": 3, "segment": 200, "nearest": 1_000, "farthest": 50_000}


def test_the_strongest_contacts_of_the_tss():
    genes = genes_at([(10_000, "+"), (90_000, "-")])
    rows = [
        (9_000, 10_000, 20_000, 21_000, 2.0),  # holds the TSS (0-based 9,999)
        (30_000, 31_000, 9_900, 10_100, 5.0),  # at its other end
        (9_000, 10_000, 20_100, 20_900, 1.0),  # the same middle: adds up
        (9_000, 9_999, 40_000, 41_000, 9.0),  # ends before the TSS
        (9_000, 10_000, 10_000, 10_400, 9.0),  # too near
        (9_000, 10_000, 70_000, 71_000, 9.0),  # too far
    ]
    places, weights = choose_segments(genes, contacts_of(rows), **HOW)
    assert places[0].tolist() == [[30_400, 30_600], [20_400, 20_600], [-1, -1]]
    np.testing.assert_allclose(weights, [[5 / 8, 3 / 8, 0], [0, 0, 0]])
    assert (places[1] == -1).all()


def test_order_of_genes_and_direction_make_no_difference():
    rng = np.random.default_rng(1)
    tss = np.sort(rng.choice(np.arange(2_000, LENGTH - 2_000, 10), 60, replace=False))
    genes = genes_at([(int(t), "+-"[i % 2]) for i, t in enumerate(tss)])
    rows = []
    for t in tss.tolist():
        for _ in range(5):
            other = int(rng.integers(0, 99)) * 1000
            rows.append((t // 1000 * 1000, t // 1000 * 1000 + 1000, other, other + 1000, float(rng.integers(1, 4))))
    places, weights = choose_segments(genes, contacts_of(rows), **HOW)
    order = rng.permutation(genes.height)
    again = choose_segments(genes[order.tolist()], contacts_of(rows)[::-1], **HOW)
    np.testing.assert_array_equal(again[0], places[order])
    np.testing.assert_allclose(again[1], weights[order])
    # on the other strand of the same chromosome
    turned = genes.with_columns(
        tss=LENGTH + 1 - pl.col("tss"),
        start=LENGTH - pl.col("end"),
        end=LENGTH - pl.col("start"),
        strand=pl.when(pl.col("strand") == "+").then(pl.lit("-")).otherwise(pl.lit("+")),
    )
    mirrored = contacts_of([(LENGTH - b, LENGTH - a, LENGTH - d, LENGTH - c, w) for a, b, c, d, w in rows])
    there = choose_segments(turned, mirrored, **HOW)
    np.testing.assert_allclose(there[1], weights)
    np.testing.assert_array_equal(there[0], np.where(places >= 0, LENGTH - places[..., ::-1], -1))
    assert (weights > 0).sum() > 100


def data_of(genes, places, flank=0):
    g, d, _ = places.shape
    rng = np.random.default_rng(0)
    return GeneData(
        genes,
        ("a",),
        np.zeros((g, 1), np.float32),
        "tpm",
        rng.integers(0, 4, (g, 400 + 2 * flank)).astype(np.uint8),
        flank,
        segments=rng.integers(0, 4, (g, d, 200)).astype(np.uint8),
        weights=np.where(places[..., 0] >= 0, np.float32(1 / d), np.float32(0)),
        places=places,
        lengths={"1": LENGTH},
    )


def test_no_base_of_a_test_gene_is_read_of_another_part():
    """Neither of its window, shifted or not, nor of its segments."""
    flank = 50
    rng = np.random.default_rng(3)
    n, d = 120, 4
    genes = genes_at([(1_000 + 800 * i, "+-"[i % 2]) for i in range(n)])
    places = rng.integers(0, LENGTH - 200, (n, d, 1)) + np.array([0, 200])
    part = np.repeat(["train", "test", "train", "validation", ""], n // 5)
    split = GeneSplit("block", part, np.zeros(n, dtype=np.int64), np.full(n, ""))
    data = data_of(genes, places, flank)
    made, gone = kept_apart(data, split)
    bases = {}
    for name in ("train", "validation", "test"):
        read = np.zeros(LENGTH, dtype=bool)
        for i in split.rows(name).tolist():
            read[genes["start"][i] - flank : genes["end"][i] + flank] = True
            for a, b in made.places[i][made.weights[i] > 0]:
                read[a:b] = True
        bases[name] = read
    assert not (bases["test"] & (bases["train"] | bases["validation"])).any()
    assert not (bases["train"] & bases["validation"]).any()
    masked = (made.weights == 0) & (data.weights > 0)
    assert masked.sum() == gone > 20 and (made.segments[masked] == 4).all()
    total = made.weights.sum(axis=1)
    np.testing.assert_allclose(total[total > 0], 1, rtol=1e-6)
    # test genes keep what no training or validation window holds
    assert (made.weights[split.rows("test")] > 0).mean() > (made.weights[split.rows("train")] > 0).mean()
    same, none = kept_apart(data, replace(split, by="random"))
    assert none == 0 and same is data
