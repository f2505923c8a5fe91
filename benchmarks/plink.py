"""Clumping and scoring beside plink1.9's own program: the same index SNPs, the same scores, and the time of each.

    python benchmarks/plink.py [--genes 20] [--missing 0.02] [--out benchmarks/results/plink]

For each gene: association among the training people (folds other than 0), then clumps at 5 p-value x 4 r2 thresholds
and the scores of everyone, by plink1.9 (20 runs of --clump, one of --score per r2 with --q-score-range) and by
genopred (one `clump_grid`). Both see the same p-values, as text with four digits. Times are CPU seconds (user
and system), so that other work on the machine does not count; plink1.9's are of whole processes and include reading
the .bed, ours start from dosages in memory, after one warm-up.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from bed_reader import to_bed

from genopred.genetics.ld import clump_grid
from genopred.genetics.regression import marginal_association
from genopred.genetics.scores import P_THRESHOLDS, R2_THRESHOLDS, ClumpThresholdPRS, score_ranges
from genopred.genetics.transform import inverse_normal
from genopred.io.expression import read_expression
from genopred.io.folds import read_folds
from genopred.io.vcf import read_vcf
from genopred.types import Interval

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("GENOPRED_SHARED", ROOT.parent / "shared"))


def cpu() -> float:
    """CPU seconds of this process and its finished children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--genes", type=int, default=20, help="how many of the 120 benchmark genes")
    parser.add_argument("--missing", type=float, default=0.0, help="share of genotypes to blank out")
    parser.add_argument("--out", help="write OUT.tsv and OUT.md")
    arguments = parser.parse_args()
    if shutil.which("plink1.9") is None:
        print("plink1.9 is not installed (Debian and Ubuntu: apt-get install plink1.9)", file=sys.stderr)
        return 2
    if not (SHARED / "peers").is_dir():
        print(f"{SHARED} is not there; set GENOPRED_SHARED to the folder with data/ and peers/", file=sys.stderr)
        return 2
    rows = []
    for row in compare(arguments.genes, arguments.missing):
        rows.append(row)
        print(
            f"{row['gene_id']:<20} {row['snps']:>5} SNPs  {row['sets_equal']:>2}/{row['sets']} index sets equal  "
            f"scores within {row['score_difference']:.1e}  plink {row['plink_clump_s']:.2f} s  "
            f"em {row['em_clump_s'] * 1e3:.1f} ms  genotype {row['genotype_clump_s'] * 1e3:.1f} ms",
            flush=True,
        )
    table = pl.DataFrame(rows)
    text = summary(table, arguments.missing)
    print("\n" + text)
    if arguments.out:
        Path(arguments.out).parent.mkdir(parents=True, exist_ok=True)
        table.write_csv(f"{arguments.out}.tsv", separator="\t", float_precision=6)
        Path(f"{arguments.out}.md").write_text(f"`python {' '.join(sys.argv)}`\n\n{text}\n")
    return 0 if table["sets_equal"].sum() == table["sets"].sum() and table["score_difference"].max() < 1e-6 else 1


def compare(n_genes: int, missing: float):
    """One row per gene."""
    data = SHARED / "data" / "geuvadis_chr22"
    genotypes = read_vcf(data / "genotypes.chr22.vcf.gz")
    expression = read_expression(data / "genes.50percent.chr22.bed.gz").select(genotypes.samples)
    picked = pl.read_csv(SHARED / "peers" / "genes120.tsv", separator="\t")["idx"].to_list()[:n_genes]
    train = read_folds(SHARED / "peers" / "folds.tsv", genotypes.samples) != 0
    rng = np.random.default_rng(0)
    for warm, i in enumerate([picked[0], *picked]):
        gene = expression.genes.row(i, named=True)
        window = genotypes.select(variants=Interval.around(gene["chrom"], gene["tss"], 500_000))
        x = window.dosage()
        x[rng.random(x.shape) < missing] = np.nan
        y = inverse_normal(expression.values[:, i])
        row = one_gene(gene["gene_id"], x, y, window.variants["pos"].to_numpy(), train)
        if warm:
            yield row


def one_gene(gene_id: str, x: np.ndarray, y: np.ndarray, pos: np.ndarray, train: np.ndarray) -> dict:
    m = x.shape[1]
    marginal = marginal_association(x[train], y[train])
    cells = [f"{p:.4g}" for p in marginal.pval]
    p = np.array([float(cell) for cell in cells])
    w = np.array([float(f"{slope:.6g}") for slope in np.nan_to_num(marginal.slope)])
    grids, seconds = {}, {}
    for r2 in ("em", "genotype"):
        start = cpu()
        grids[r2] = clump_grid(x[train], p, pos, p_thresholds=P_THRESHOLDS, r2_thresholds=R2_THRESHOLDS, r2=r2)
        seconds[r2] = cpu() - start
    folds = np.arange(int(train.sum())) % 5
    start = cpu()
    ClumpThresholdPRS(pos).fit_oof(x[train], y[train], folds)
    nested = cpu() - start
    with tempfile.TemporaryDirectory() as folder:
        plink = Plink(Path(folder), x, pos, train, cells, w)
        golden = {(p1, r2): plink.clump(p1, r2) for r2 in R2_THRESHOLDS for p1 in P_THRESHOLDS}
        clump_s = plink.seconds
        difference = max(score_difference(plink, x, w, p, golden[1.0, r2]) for r2 in R2_THRESHOLDS)
    equal = sum(grids["em"][key].tolist() == index for key, index in golden.items())
    alike = sum(set(grids["genotype"][key].tolist()) == set(index) for key, index in golden.items())
    return {
        "gene_id": gene_id,
        "snps": m,
        "people": int(train.sum()),
        "sets": len(golden),
        "sets_equal": equal,
        "sets_equal_genotype_r2": alike,
        "index_snps": len(golden[1.0, 0.8]),
        "score_difference": difference,
        "plink_clump_s": clump_s,
        "em_clump_s": seconds["em"],
        "genotype_clump_s": seconds["genotype"],
        "plink_score_s": plink.seconds - clump_s,
        "nested_pt_s": nested,
    }


def score_difference(plink: Plink, x: np.ndarray, w: np.ndarray, p: np.ndarray, index: list[int]) -> float:
    """Largest difference of average scores over the five p-value ranges of one r2, everyone scored."""
    ranges = {f"p{k}": (0.0, bound) for k, bound in enumerate(P_THRESHOLDS)}
    golden = plink.score(index, ranges)
    chosen = np.array(index)
    mine = score_ranges(x[:, chosen], w[chosen], p[chosen], ranges, average=True)
    return max(float(np.abs(mine[name] - values).max()) for name, values in golden.items())


class Plink:
    """Runs of plink1.9 on one gene's files in a folder; `seconds` adds up."""

    def __init__(
        self, folder: Path, x: np.ndarray, pos: np.ndarray, train: np.ndarray, cells: list[str], w: np.ndarray
    ) -> None:
        self.folder, self.seconds = folder, 0.0
        n, m = x.shape
        names = [f"v{j}" for j in range(m)]
        properties = {"chromosome": ["22"] * m, "sid": names, "bp_position": pos, "allele_1": ["A"] * m}
        properties |= {"allele_2": ["G"] * m, "fid": ["0"] * n, "iid": [f"i{k}" for k in range(n)]}
        to_bed(folder / "w.bed", x, properties=properties)
        (folder / "train").write_text("".join(f"0 i{k}\n" for k in np.flatnonzero(train)))
        (folder / "p").write_text("SNP P\n" + "".join(f"{a} {b}\n" for a, b in zip(names, cells)))
        (folder / "w").write_text("".join(f"{a} A {b:.6g}\n" for a, b in zip(names, w)))

    def run(self, command: str) -> None:
        words = f"plink1.9 --bfile w --keep-allele-order --allow-no-sex --threads 1 --out o {command}".split()
        start = cpu()
        subprocess.run(words, cwd=self.folder, check=True, capture_output=True)
        self.seconds += cpu() - start

    def clump(self, p1: float, r2: float) -> list[int]:
        path = self.folder / "o.clumped"
        path.unlink(missing_ok=True)
        self.run(f"--keep train --clump p --clump-p1 {p1:f} --clump-p2 1 --clump-r2 {r2} --clump-kb 250")
        if not path.exists():  # plink writes no file when nothing passes
            return []
        return [int(line.split()[2][1:]) for line in path.read_text().splitlines()[1:] if line.split()]

    def score(self, index: list[int], ranges: dict[str, tuple[float, float]]) -> dict[str, np.ndarray]:
        (self.folder / "index").write_text("".join(f"v{j}\n" for j in index))
        (self.folder / "ranges").write_text("".join(f"{name} {a:g} {b:g}\n" for name, (a, b) in ranges.items()))
        for old in self.folder.glob("o.*.profile"):
            old.unlink()
        self.run("--extract index --score w --q-score-range ranges p header")
        out = {}
        for path in self.folder.glob("o.*.profile"):
            out[path.name.split(".")[1]] = np.array(
                [float(row.split()[5]) for row in path.read_text().splitlines()[1:]]
            )
        return out


def summary(table: pl.DataFrame, missing: float) -> str:
    total = table.sum()
    n = table.height

    def per_gene(name: str) -> str:
        return f"{total[name][0] / n * 1e3:,.1f}"

    lines = [
        f"{n} genes, {table['snps'].mean():,.0f} SNPs each on average, {table['people'][0]} people, "
        f"{missing:.0%} of genotypes missing; {os.cpu_count()} cores, one used.",
        "",
        "| what | result |",
        "| --- | --- |",
        f"| index SNPs and their order as plink1.9 --clump, r2 = em | {total['sets_equal'][0]} of {total['sets'][0]} |",
        f"| the same sets with genotype r2 | {total['sets_equal_genotype_r2'][0]} of {total['sets'][0]} |",
        f"| largest difference of --score averages | {table['score_difference'].max():.1e} |",
        f"| plink1.9: 20 clumps, CPU ms per gene | {per_gene('plink_clump_s')} |",
        f"| genopred, r2 = em: the same 20, CPU ms per gene | {per_gene('em_clump_s')} |",
        f"| genopred, genotype r2: 20 clumps, CPU ms per gene | {per_gene('genotype_clump_s')} |",
        f"| genopred, nested P+T (5 folds and the final fit), CPU ms per gene | {per_gene('nested_pt_s')} |",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
