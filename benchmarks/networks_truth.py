"""Distal segments where the truth is known: a network of two paths with contacts, those of others, and without.

    python benchmarks/networks_truth.py --out OUT [--seeds 3] [--record]

2,000 simulated genes (`genopred.training.simulate`): expression is the number of one motif around the TSS, that of
another in four segments, each times its contact, and noise. R² on held-out blocks of each network is held against the
share of variance that its inputs explain. The contacts of others: each gene gets the segments and weights of another.
Seeds that OUT holds are not run again; --record writes benchmarks/results/networks_truth.md.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from genopred.files import write_text
from genopred.provenance import machine
from genopred.settings.expression import Expression, ExpressionTraining
from genopred.training.genes import GeneData
from genopred.training.loop import train
from genopred.training.networks.gene import GeneShape
from genopred.training.simulate import SimulatedGenes, shuffled_contacts, simulate_genes
from genopred.training.targets import make_targets
from genopred.training.tasks.expression import ExpressionTask

RESULTS = Path(__file__).parent / "results"
#: What is known to whom: the parts that its inputs have.
KNOWN = {"promoter alone": ("promoter",), "contacts": ("promoter", "distal"), "contacts of others": ("promoter",)}
WINDOW = {"before": 400, "after": 100, "segments": 3, "segment": 200}


def simulated(seed: int, n: int = 2000) -> SimulatedGenes:
    """Genes whose promoter has 40 % and whose contacts have 45 % of the variance."""
    return simulate_genes(n, **WINDOW, promoter=0.4, distal=0.45, seed=seed)


def inputs_of(made: SimulatedGenes, name: str) -> GeneData:
    """What a network is given."""
    if name == "promoter alone":
        return replace(made.data, segments=None, weights=None)
    return made.data if name == "contacts" else shuffled_contacts(made)


def held_out_r2(made: SimulatedGenes, data: GeneData, seed: int, epochs: int = 8) -> np.ndarray:
    """R² of each cell type on the test blocks."""
    far = {} if data.segments is None else {key: WINDOW[key] for key in ("segments", "segment")}
    shape = GeneShape(WINDOW["before"], WINDOW["after"], **far)
    settings = ExpressionTraining(
        epochs=epochs, batch=32, learning_rate=1e-2, warmup=20, seed=seed, threads=1, device="cpu", average=0.95
    )
    transform, targets = make_targets(data, made.split, Expression(transform=()))
    sizes = {"channels": 32, "dropout": 0.05}
    task = ExpressionTask(data, made.split, transform, targets, shape, "dual-path", settings, sizes)
    test = made.split.rows("test")
    found = task.predict(train(task).network, test)
    return 1 - ((found - targets[test]) ** 2).sum(0) / ((targets[test] - targets[test].mean(0)) ** 2).sum(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 1 to N, of simulation and training")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "networks_truth.tsv"
    rows: list[dict[str, Any]] = pl.read_csv(file, separator="\t").to_dicts() if file.exists() else []
    for seed in range(1, args.seeds + 1):
        if seed in {row["seed"] for row in rows}:
            continue
        made = simulated(seed)
        for name, parts in KNOWN.items():
            r2 = held_out_r2(made, inputs_of(made, name), seed)
            for cell, found, known in zip(made.data.cells, r2, made.share(*parts), strict=True):
                rows.append({"seed": seed, "inputs": name, "cell": cell, "known": known, "r2": float(found)})
        pl.DataFrame(rows).write_csv(file, separator="\t")
    text = page(pl.DataFrame(rows))
    write_text(args.out / "networks_truth.md", text)
    if args.record:
        write_text(RESULTS / "networks_truth.md", text)
    print(text)


def page(rows: pl.DataFrame) -> str:
    """The table."""
    lines = [
        "`python benchmarks/networks_truth.py --out OUT --record`: R² on held-out blocks of the `dual-path` network on "
        f"2,000 simulated genes, beside the share of variance that is in what it reads. {machine()}, one of them.",
        "",
        "| inputs | cell type | share of variance in them | R², seed by seed | mean |",
        "|---|---|---|---|---|",
    ]
    for (name, cell), part in rows.group_by("inputs", "cell", maintain_order=True):
        each = ", ".join(f"{value:.2f}" for value in part.sort("seed")["r2"])
        lines.append(f"| {name} | {cell} | {part['known'].mean():.2f} | {each} | {part['r2'].mean():.2f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
