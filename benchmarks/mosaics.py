"""People in any number for benchmarks: mosaics of GEUVADIS haplotypes, and expression of known heritability."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from genopred.genetics.simulate import Mosaics
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
    """Write cohort.bed, .bim and .fam, expression.bed, and truth.json with what the expression was made of.

    Each window is a chromosome of its own, so that no gene's cis window reaches into another's. One allele in a
    thousand is changed, so that variants are not determined by so few haplotypes. The first people of a larger cohort
    are those of a smaller one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"P{i:06d}" for i in range(n)]
    lines = ["\t".join(["#chr", "start", "end", "gene_id", *names])]
    tables: list[pl.DataFrame] = []
    truth: dict[str, Any] = {"h2": h2, "people": n, "genes": {}}
    with (folder / "cohort.bed").open("wb") as file:
        file.write(b"\x6c\x1b\x01")
        for g, (name, ((_, tss), index)) in enumerate(windows.items(), start=1):
            window = source.select(variants=index)
            haplotypes = np.ascontiguousarray(window.haplotypes().alleles().reshape(-1, len(index)))
            people = Mosaics(haplotypes, window.variants["pos"].to_numpy(), seed=seed + g, flip=1e-3)
            gene = people.gene(causal, h2)
            packed = np.empty((len(index), -(-n // 4)), dtype=np.uint8)
            y, start = np.empty(n), 0
            for x in people.people(n):
                y[start : start + len(x)] = gene.expression(x, start)
                packed[:, start // 4 : -(-(start + len(x)) // 4)] = _bed(x)
                start += len(x)
            file.write(packed.tobytes())
            tables.append(window.variants.select(pl.lit(g).alias("chrom"), "id", pl.lit(0), "pos", "alt", "ref"))
            lines.append("\t".join([str(g), str(tss - 1), str(tss), name, *(f"{value:.6f}" for value in y)]))
            truth["genes"][name] = window.variants["id"].to_numpy()[gene.columns].tolist()
    pl.concat(tables).write_csv(folder / "cohort.bim", separator="\t", include_header=False)
    rest = {"a": pl.lit(0), "b": pl.lit(0), "s": pl.lit(0), "y": pl.lit(-9)}
    pl.DataFrame({"f": names, "i": names}).with_columns(**rest).write_csv(
        folder / "cohort.fam", separator="\t", include_header=False
    )
    (folder / "expression.bed").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "truth.json").write_text(json.dumps(truth), encoding="utf-8")


def _bed(x: np.ndarray) -> np.ndarray:
    """PLINK's two bits a genotype, variants as rows: 3 is two copies of REF, 2 one, 0 none."""
    code = np.array([3, 2, 0], dtype=np.uint8)[x.T]
    code = np.pad(code, ((0, 0), (0, -code.shape[1] % 4)))
    packed: np.ndarray = code[:, ::4] | code[:, 1::4] << 2 | code[:, 2::4] << 4 | code[:, 3::4] << 6
    return packed
