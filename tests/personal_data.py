"""Simulated people for the tests of tuning: SNPs that break a planted motif change expression, in every gene alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from training_data import ENFORMER, MOTIF

from genopred.sequence.haplotypes import VariantWindow
from genopred.sequence.models.enformer.checkpoint import save_enformer
from genopred.sequence.models.trained import TrainedModel
from genopred.sequence.onehot import decode, encode, onehot
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


def enformer(window: int = 1024, seed: int = 1) -> Any:
    """A tiny Enformer with fresh weights and batch norms that do something: enformer-pytorch's module."""
    torch.manual_seed(seed)
    body = build("enformer-small", 2, WindowShape(window, 128, 0), **ENFORMER).body.eval()
    for norm in (part for part in body.modules() if isinstance(part, torch.nn.BatchNorm1d)):
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
    return body


def save_start(folder: Path, window: int = 1024) -> Path:
    """The tiny Enformer as a folder that `load_model` reads."""
    extra = {"track_names": ["a", "b"], "strand_aware": True, "reverse_tracks": [0, 1]}
    return save_enformer(enformer(window), folder, window=window, extra=extra)


def random_window(
    n: int = 12, length: int = 1024, sites: int = 25, halves: bool = False, seed: int = 3
) -> VariantWindow:
    """Haplotypes that differ at random places, some alike."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 4, length).astype(np.int8)
    at = np.sort(rng.choice(length, sites, replace=False))
    alt = ((codes[at] + rng.integers(1, 4, sites)) % 4).astype(np.int8)
    alleles = rng.integers(0, 3 if halves else 2, (n, sites)).astype(np.int8) * (rng.random((n, sites)) < 0.4)
    alleles[n // 2 :] = alleles[: n - n // 2]
    return VariantWindow(onehot(codes), at, codes[at], alt, alleles.astype(np.int8))


CONFIG = """task = "personal"
[data]
fasta = "ref.fa"
vcf = "people.vcf"
expression = "expression.bed"
covariates = "covariates.txt"
[people]
fraction = 0.2
validation = 0.2
[split]
block = 12000
fractions = [0.5, 0.2, 0.3]
margin = 1024
seed = 1
[model]
start = "start"
tune = "all"
[training]
epochs = 2
batch = 4
warmup = 5
threads = 1
device = "cpu"
checkpoint_minutes = 1e-9
"""


def write(folder: Path, config: str = CONFIG, n: int = 50, n_genes: int = 30, seed: int = 1) -> Path:
    """Simulated files: genes every 4 kb on both strands, eight SNPs each, one of which has an effect."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    length = 4000 * (n_genes + 1)
    bases = decode(rng.integers(0, 4, length).astype(np.int8))
    (folder / "ref.fa").write_text(">chr1\n" + "\n".join(bases[i : i + 60] for i in range(0, length, 60)) + "\n")
    samples = [f"P{i:02d}" for i in range(n)]
    lines = ["##fileformat=VCFv4.2", '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">',
             f"##contig=<ID=chr1,length={length}>"]  # fmt: skip
    lines.append("\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples]))
    rows = ["\t".join(["#chr", "start", "end", "gene", "length", "strand", *samples])]
    for g in range(n_genes):
        tss, strand = 4000 * (g + 1), "+-"[g % 2]
        dosage = np.zeros(n)
        for k, at in enumerate(np.sort(rng.choice(np.arange(tss - 400, tss + 400), 8, replace=False))):
            ref = bases[at - 1]
            alt = "ACGT"[("ACGT".index(ref) + 1 + k % 3) % 4]
            alleles = (rng.random((n, 2)) < 0.35).astype(int)
            dosage += alleles.sum(axis=1) * (k == 3)
            calls = [f"{a}|{b}" for a, b in alleles]
            lines.append("\t".join(["chr1", str(at), f"s{g}_{k}", ref, alt, ".", ".", ".", "GT", *calls]))
        y = dosage + 0.7 * rng.standard_normal(n)
        name = f"ENSG{g:011d}.1"
        rows.append("\t".join(["chr1", str(tss - 1), str(tss), name, "100", strand, *[f"{v:.4f}" for v in y]]))
    (folder / "people.vcf").write_text("\n".join(lines) + "\n")
    (folder / "expression.bed").write_text("\n".join(rows) + "\n")
    pcs = [" ".join(["id", *samples])] + [
        " ".join([f"pc{i}", *[f"{v:.4f}" for v in rng.standard_normal(n)]]) for i in range(2)
    ]
    (folder / "covariates.txt").write_text("\n".join(pcs) + "\n")
    save_start(folder / "start")
    path = folder / "personal.toml"
    path.write_text(config)
    return path
