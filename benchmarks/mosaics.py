"""People in any number for benchmarks: mosaics of GEUVADIS haplotypes, and expression of known heritability."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from genopred.genetics.simulate import mosaic_people
from genopred.io.expression import read_expression
from genopred.io.vcf import read_vcf
from genopred.types import Genotypes, Interval

Gene = tuple[str, int]


def geuvadis(data: Path) -> tuple[Genotypes, list[Gene]]:
    """Genotypes of chr22, and chromosome and TSS of its genes."""
    genes = read_expression(data / "genes.50percent.chr22.bed.gz").genes
    return read_vcf(data / "genotypes.chr22.vcf.gz"), genes.select("chrom", "tss").rows()


def near(source: Genotypes, gene: Gene, m: int | None = None, flank: int = 500_000) -> np.ndarray:
    """Variants of a gene's window; the m nearest to its TSS."""
    chrom, tss = gene
    index = source.index(Interval.around(chrom, tss, flank))
    distance = np.abs(source.variants["pos"].to_numpy()[index] - tss)
    return np.sort(index[np.argsort(distance, kind="stable")[:m]])


def write_cohort(
    folder: Path, source: Genotypes, windows: Mapping[str, tuple[Gene, np.ndarray]], n: int, *, h2: float, causal: int,
    seed: int,
) -> None:  # fmt: skip
    """Write cohort.bed, .bim and .fam, expression.bed and truth.json: h2, and what of R² the causal variants hold.

    Windows must not overlap. The first people of a larger cohort are those of a smaller one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    order = sorted(windows, key=lambda name: windows[name][1][0])
    index = np.concatenate([windows[name][1] for name in order])
    if (np.diff(index) <= 0).any():
        raise SystemExit("windows overlap; choose genes further apart.")
    window = source.select(variants=index)
    alleles = window.haplotypes().alleles()
    haplotypes = np.ascontiguousarray(alleles.reshape(-1, len(index)))
    rng = np.random.default_rng(seed)
    columns, effects, first = [], [], 0
    for name in order:
        chosen = first + rng.choice(len(windows[name][1]), causal, replace=False)
        freq = haplotypes[:, chosen].mean(axis=0)
        columns.append(chosen)
        effects.append(rng.choice([-1.0, 1.0], causal) / np.sqrt(2 * freq * (1 - freq)))
        first += len(windows[name][1])
    genetic = np.empty((len(order), n))
    packed = np.empty((len(index), -(-n // 4)), dtype=np.uint8)
    start = 0
    for x in mosaic_people(haplotypes, window.variants["pos"].to_numpy(), n, seed=seed):
        for g, (chosen, effect) in enumerate(zip(columns, effects)):
            genetic[g, start : start + len(x)] = x[:, chosen] @ effect
        packed[:, start // 4 : -(-(start + len(x)) // 4)] = _bed(x)
        start += len(x)
    with (folder / "cohort.bed").open("wb") as file:
        file.write(b"\x6c\x1b\x01" + packed.tobytes())
    # each window a chromosome of its own, so that no gene's cis window reaches into another's
    chrom = np.repeat(np.arange(1, len(order) + 1), [len(windows[name][1]) for name in order])
    table = window.variants.select(pl.Series("chrom", chrom), "id", pl.lit(0), "pos", "alt", "ref")
    table.write_csv(folder / "cohort.bim", separator="\t", include_header=False)
    names = [f"P{i:06d}" for i in range(n)]
    people = pl.DataFrame({"f": names, "i": names}).with_columns(a=pl.lit(0), b=pl.lit(0), s=pl.lit(0), y=pl.lit(-9))
    people.write_csv(folder / "cohort.fam", separator="\t", include_header=False)
    lines = ["\t".join(["#chr", "start", "end", "gene_id", *names])]
    truth: dict[str, Any] = {"h2": h2, "people": n, "genes": {}}
    for g, name in enumerate(order):
        tss = windows[name][0][1]
        # linkage disequilibrium of the causal variants makes a gene's variance another than their sum's: scaled to h2
        signal = (genetic[g] - genetic[g].mean()) * np.sqrt(h2) / genetic[g].std()
        y = signal + np.sqrt(1 - h2) * np.random.default_rng([seed, g]).standard_normal(n)
        lines.append("\t".join([str(g + 1), str(tss - 1), str(tss), name, *(f"{value:.6f}" for value in y)]))
        truth["genes"][name] = {"causal": window.variants["id"].to_numpy()[columns[g]].tolist()}
    (folder / "expression.bed").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "truth.json").write_text(json.dumps(truth), encoding="utf-8")


def _bed(x: np.ndarray) -> np.ndarray:
    """PLINK's two bits a genotype, variants as rows: 3 is two copies of REF, 2 one, 0 none."""
    code = np.array([3, 2, 0], dtype=np.uint8)[x.T]
    code = np.pad(code, ((0, 0), (0, -code.shape[1] % 4)))
    packed: np.ndarray = code[:, ::4] | code[:, 1::4] << 2 | code[:, 2::4] << 4 | code[:, 3::4] << 6
    return packed
