"""Simulated genes in files: a chromosome, a GTF, expression that follows a motif around the TSS, contacts, signal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from genopred.pipelines import train
from genopred.sequence.onehot import decode, encode, reverse_complement
from genopred.settings import Train

MOTIF = "ACAGGGAAGCTT"
BEFORE, AFTER, SPACE = 320, 80, 1000
CELLS = ("liver", "brain")

CONFIG = """
task = "expression"

[genes]
fasta = "ref.fa"
gtf = "genes.gtf"
before = 320
after = 80

[expression]
file = "expression.tsv"
unit = "tpm"

[split]
block = 10000
seed = 3

[network]
kind = "hybrid"
channels = 8
hidden = 4
heads = 1
dropout = 0.0

[training]
epochs = 2
batch = 16
learning_rate = 5e-3
warmup = 5
shift = 4
average = 0.9
threads = 1
device = "cpu"
"""


def simulate(n: int = 160, seed: int = 1) -> dict[str, Any]:
    """Bases of two chromosomes, TSSs and strands, and expression: e to the number of motifs, and noise."""
    rng = np.random.default_rng(seed)
    chroms = {"chr1": (n // 2 + 1) * SPACE, "chr2": (n - n // 2 + 1) * SPACE}
    codes = {chrom: rng.integers(0, 4, length).astype(np.int8) for chrom, length in chroms.items()}
    genes, values = [], []
    motif = encode(MOTIF)
    for i in range(n):
        chrom = "chr1" if i < n // 2 else "chr2"
        tss0 = 500 + SPACE * (i if i < n // 2 else i - n // 2)
        strand = "+" if rng.random() < 0.5 else "-"
        copies = int(rng.integers(0, 4))
        for k in range(copies):
            away = 20 + 60 * k + int(rng.integers(0, 20))
            # in the gene's direction, before the TSS
            if strand == "+":
                codes[chrom][tss0 - away - len(motif) : tss0 - away] = motif
            else:
                codes[chrom][tss0 + away + 1 : tss0 + away + 1 + len(motif)] = reverse_complement(motif)
        genes.append((f"ENSG{i:011d}.1", chrom, tss0 + 1, strand))
        values.append(np.exp(copies * np.array([1.0, 0.5]) + 0.2 * rng.standard_normal(2)))
    return {"codes": codes, "genes": genes, "values": np.array(values), "copies": None}


def write(folder: Path, config: str = CONFIG, **options: Any) -> Path:
    """The simulation as FASTA, GTF, table and a configuration, whose path comes back."""
    made = simulate(**options)
    folder.mkdir(parents=True, exist_ok=True)
    text = ""
    for chrom, codes in made["codes"].items():
        bases = decode(codes)
        text += f">{chrom}\n" + "\n".join(bases[i : i + 60] for i in range(0, len(bases), 60)) + "\n"
    (folder / "ref.fa").write_text(text)
    lines, rows = [], ["gene_id\tliver\tbrain"]
    for i, ((name, chrom, tss, strand), values) in enumerate(zip(made["genes"], made["values"])):
        start, end = (tss, tss + 200) if strand == "+" else (tss - 200, tss)
        kind = "protein_coding" if i % 10 else "lincRNA"
        about = f'gene_id "{name}"; gene_name "G{i}"; gene_type "{kind}";'
        for feature, a, b in (("gene", start, end), ("exon", start, start + 99), ("exon", start + 50, start + 149)):
            lines.append("\t".join(map(str, (chrom, "sim", feature, a, b, ".", strand, ".", about))))
        rows.append("\t".join([name.split(".")[0], *(f"{value:.6g}" for value in values)]))
    (folder / "genes.gtf").write_text("\n".join(lines) + "\n")
    (folder / "expression.tsv").write_text("\n".join(rows) + "\n")
    path = folder / "train.toml"
    path.write_text(config)
    return path


def bedpe(folder: Path, seed: int = 5) -> Path:
    """Contacts in bins of 1 kb as BEDPE: of each TSS' bin with some others of its chromosome."""
    rng = np.random.default_rng(seed)
    made, rows = simulate(), set()
    for _, chrom, tss, _ in made["genes"]:
        n = len(made["codes"][chrom]) // 1000
        mine = (tss - 1) // 1000
        for other in rng.choice(n, 4, replace=False).tolist():
            rows.add((chrom, *sorted((mine, other))))
    lines = [
        f"{chrom}\t{a * 1000}\t{a * 1000 + 1000}\t{chrom}\t{b * 1000}\t{b * 1000 + 1000}\t.\t{1 + (7 * a + 3 * b) % 11}"
        for chrom, a, b in sorted(rows)
    ]
    (folder / "contacts.bedpe").write_text("\n".join(lines) + "\n")
    return folder / "contacts.bedpe"


def bigwig(file: Path, values: dict[str, np.ndarray]) -> Path:
    """Values a base of some chromosomes."""
    import pyBigWig

    with pyBigWig.open(str(file), "w") as handle:
        handle.addHeader([(chrom, len(v)) for chrom, v in values.items()])
        for chrom, v in values.items():
            at = np.flatnonzero(v)
            handle.addEntries(chrom, at.tolist(), values=v[at].astype(float).tolist(), span=1)
    return file


def start(config: Any, out: Path, sections: dict[str, Any] | None = None, **training: Any) -> Any:
    """Train with some keys of [training], or of other sections, changed."""
    raw = config.resolved()
    raw["training"] |= training
    for name, values in (sections or {}).items():
        raw[name] = values if "by" in values else raw.get(name, {}) | values
    file = out.with_suffix(".json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"config": raw}))
    return train.run(Train(config=file, out=out))
