"""Simulated people for the tests of tuning: SNPs that break a planted motif change expression, in every gene alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import torch
from training_data import MOTIF

from genopred.sequence.haplotypes import VariantWindow
from genopred.sequence.models.trained import TrainedModel
from genopred.sequence.onehot import encode, onehot
from genopred.settings.personal import PersonalTraining, Start
from genopred.training.genes import GeneSplit
from genopred.training.networks.registry import build
from genopred.training.people import PersonalData, PersonalGene, gene_table, split_people
from genopred.training.splits import WindowShape
from genopred.training.tasks.personal import PersonalTask

WINDOW = 512
SHAPE = WindowShape(WINDOW, 128, 0)
CNN = {"channels": 16, "layers": 1, "dropout": 0.0}


def people(
    n_genes: int = 60, n: int = 60, *, motifs: int = 2, decoys: int = 6, share: float = 0.8, window: int = WINDOW,
    seed: int = 1,
) -> tuple[PersonalData, np.ndarray]:  # fmt: skip
    """The simulation, and the genetic part (N, G) of the expression."""
    rng = np.random.default_rng(seed)
    genes, truth = [], np.zeros((n, n_genes))
    motif = encode(MOTIF)
    for g in range(n_genes):
        codes = rng.integers(0, 4, window).astype(np.int8)
        starts = window // 2 - 120 + 40 * rng.choice(6, motifs, replace=False) + rng.integers(0, 20, motifs)
        sites, effects = [], []
        for start in starts:
            codes[start : start + len(motif)] = motif
            sites.append(int(start + rng.integers(2, len(motif) - 2)))
            effects.append(-1.0)
        free = [i for i in range(window // 2 - 200, window // 2 + 200) if all(abs(i - s) > 15 for s in sites)]
        for site in rng.choice(free, decoys, replace=False):
            sites.append(int(site))
            effects.append(0.0)
        order = np.argsort(sites)
        at, effect = np.array(sites)[order], np.array(effects)[order]
        ref = codes[at]
        alt = ((ref + rng.integers(1, 4, len(at))) % 4).astype(np.int8)
        alleles = (rng.random((2 * n, len(at))) < rng.uniform(0.15, 0.5, len(at))).astype(np.int8)
        value = (alleles @ effect).reshape(n, 2).sum(axis=1)
        value = (value - value.mean()) / (value.std() or 1.0)
        y = np.sqrt(share) * value + np.sqrt(1 - share) * rng.standard_normal(n)
        truth[:, g] = value
        genes.append(PersonalGene.of(VariantWindow(onehot(codes), at, ref, alt, alleles), 2, (y - y.mean()) / y.std()))
    tss = 10_000 + 100_000 * np.arange(n_genes)
    names = [f"G{i:03d}" for i in range(n_genes)]
    table = pl.DataFrame({"gene_id": names, "gene": names, "chrom": "1", "tss": tss, "strand": "+"})
    table = gene_table(table, tss - window // 2, tss + window // 2)
    part = np.array(["train"] * int(0.6 * n_genes) + ["validation"] * int(0.15 * n_genes), dtype="U10")
    part = np.concatenate([part, np.full(n_genes - len(part), "test", dtype="U10")])
    split = GeneSplit("block", part, np.arange(n_genes), np.full(n_genes, ""))
    who = split_people(n, test=None, fraction=0.2, validation=0.2, seed=seed)
    samples = np.array([f"P{i:03d}" for i in range(n)])
    return PersonalData(samples, table, tuple(genes), split, who), truth


def cnn(seed: int = 1, **sizes: Any) -> TrainedModel:
    """A network with fresh weights, as a model."""
    torch.manual_seed(seed)
    network = build("cnn", 2, SHAPE, **(CNN | sizes))
    return TrainedModel(network.eval(), {"track_names": ["a", "b"]}, "fresh", "0" * 64, "cpu")


QUICK = dict(epochs=2, batch=4, learning_rate=3e-3, warmup=5, average=0.9, device="cpu", threads=1)


def task(data: PersonalData, model: Any = None, *, how: dict[str, Any] | None = None, **settings: Any) -> PersonalTask:
    """To tune on them."""
    start = Start(**({"start": "cnn", "weights": "random", "bins": 3} | (how or {})))
    return PersonalTask(data, model or cnn(), start, PersonalTraining(**(QUICK | settings)), [0, 1])
