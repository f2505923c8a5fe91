"""What more people are worth: accuracy over people, of every learner, on genes of known heritability.

    python benchmarks/learning_curve.py --out OUT [--people 358,1000,3000,10000,30000] [--genes 6] [--variants 400]
        [--h2 0.1] [--causal 5] [--threads 2] [--record]

People are mosaics of GEUVADIS haplotypes around genes of chr22 (benchmarks/mosaics.py); each gene's expression has the
heritability given, from a few SNPs of equal variance. `genopred stack --all --stack-weights none` says how well
held-out people are predicted. Beside it what theory expects of n training people:

- of a ridge that takes all variants alike (BLUP), R2 = h2 r2 with r2 = h2 / (h2 + M_e (1 - h2 r2) / n) (Daetwyler et
  al. 2008, doi:10.1371/journal.pone.0003395; with the residual variance that is left, as Goddard 2009,
  doi:10.1007/s10709-008-9308-0), where M_e, the window's effective number of segments, is one over the variance of
  relationships (Goddard, Hayes and Meuwissen 2011, doi:10.1111/j.1439-0388.2011.00964.x);
- of least squares on the causal SNPs, were they known, R2 = h2 - (1 - h2) k / n.

Needs ../shared (or $GENOPRED_SHARED). What was run already is not run again. Writes OUT/learning_curve.md, .tsv, .svg.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
from mosaics import geuvadis, near, write_cohort

from genopred.io.plink import read_plink
from genopred.provenance import versions

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("GENOPRED_SHARED", ROOT.parent / "shared"))
DATA = SHARED / "data" / "geuvadis_chr22"
RESULTS, FIGURES = Path(__file__).parent / "results", ROOT / "docs" / "figures"
SEED, STACK = 1, "stack-nnls"
#: Whose curves are drawn.
DRAWN = (STACK, "susie", "elastic-net", "ridge", "pt-prs", "baseline-prs", "random-forest", "xgboost", "polynomial")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people", default="358,1000,3000,10000,30000")
    parser.add_argument("--genes", type=int, default=6)
    parser.add_argument("--variants", type=int, default=400)
    parser.add_argument("--h2", type=float, default=0.1)
    parser.add_argument("--causal", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    if not DATA.is_dir():
        raise SystemExit(f"{DATA} is not there; set GENOPRED_SHARED to the folder of the shared data.")
    tables = []
    for n in map(int, args.people.split(",")):
        folder = args.out / "work" / str(n)
        if not (folder / "truth.json").is_file():
            source, genes = geuvadis(DATA)
            write_cohort(folder, source, windows(source, genes, args), n, h2=args.h2, causal=args.causal, seed=SEED)
        if not (folder / "stack" / "scores.parquet").is_file():
            subprocess.run(
                [
                    sys.executable, "-m", "genopred.cli", "stack", "--bfile", str(folder / "cohort"), "--expression",
                    str(folder / "expression.bed"), "--all", "--stack-weights", "none", "--no-models", "--threads",
                    str(args.threads), "--quiet", "--out", str(folder / "stack"),
                ],
                check=True,
            )  # fmt: skip
        scores = pl.read_parquet(folder / "stack" / "scores.parquet")
        tables.append(scores.select("gene_id", "method", "r2").with_columns(people=pl.lit(n)))
    table = pl.concat(tables)
    expected = theory(args.out / "work", sorted(table["people"].unique().to_list()), args.h2, args.causal)
    text = words(table, expected, args)
    table.write_csv(args.out / "learning_curve.tsv", separator="\t", float_precision=6)
    (args.out / "learning_curve.md").write_text(text, encoding="utf-8")
    draw(table, expected, args.h2, args.out / "learning_curve.svg")
    if args.record:
        for end in ("md", "tsv"):
            shutil.copy(args.out / f"learning_curve.{end}", RESULTS / f"learning_curve.{end}")
        shutil.copy(args.out / "learning_curve.svg", FIGURES / "learning_curve.svg")
    print(text)


def windows(source, genes, args):  # type: ignore[no-untyped-def]
    """Genes with so many variants near their TSS, no two windows of which overlap."""
    out, last = {}, -1
    for gene in sorted(genes, key=lambda gene: gene[1]):
        index = near(source, gene, args.variants)
        # a TSS amid its variants, so that the cis window of the command has them all
        if len(index) == args.variants and index[0] > last and len(out) < args.genes:
            out[f"GENE{len(out) + 1}"] = (gene, index)
            last = index[-1]
    if len(out) < args.genes:
        raise SystemExit(f"only {len(out)} windows of {args.variants} variants do not overlap; ask for fewer --genes.")
    return out


def theory(work: Path, sizes: list[int], h2: float, causal: int) -> pl.DataFrame:
    """What is expected of n people, four fifths of whom are in training: of BLUP, and of the causal SNPs known."""
    folder = work / str(sizes[-1])
    genotypes = read_plink(folder / "cohort")
    genes = json.loads((folder / "truth.json").read_text())["genes"]
    # every window has the same number of variants, one after another
    m = genotypes.n_variants // len(genes)
    effective = []
    for g in range(len(genes)):
        x = genotypes.select(genotypes.samples[:4000], np.arange(g * m, (g + 1) * m)).dosage().astype(float)
        z = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)
        r = z.T @ z / len(z)
        # sum of squared correlations, less what chance gives
        effective.append(m**2 / ((r**2).sum() - (m * (m - 1)) / len(z)))
    rows = []
    for n in sizes:
        train = 0.8 * n
        blup = []
        for count in effective:
            r2 = 0.5
            for _ in range(200):
                r2 = h2 / (h2 + count * (1 - h2 * r2) / train)
            blup.append(h2 * r2)
        rows.append((n, float(np.mean(blup)), h2 - (1 - h2) * causal / train, float(np.mean(effective))))
    return pl.DataFrame(rows, ["people", "blup", "known", "effective"], orient="row")


def words(table: pl.DataFrame, expected: pl.DataFrame, args: argparse.Namespace) -> str:
    sizes = expected["people"].to_list()
    mean = table.group_by("method", "people").agg(
        pl.col("r2").mean(), (pl.col("r2").std() / pl.len() ** 0.5).alias("se")
    )
    found = {(method, n): (r2, se) for method, n, r2, se in mean.iter_rows()}
    methods = sorted({method for method, _ in found}, key=lambda method: -found[method, sizes[-1]][0])
    lines = [
        f"# What more people are worth: heritability {args.h2:g} from {args.causal} SNPs", "",
        f"`python benchmarks/learning_curve.py`: {args.genes} genes of {args.variants} SNPs, mean R² of held-out "
        f"people (± standard error over genes); {platform.machine()}, genopred {versions()['genopred']}.", "",
        "| | " + " | ".join(f"{n:,} people" for n in sizes) + " |", "|---|" + "---:|" * len(sizes),
    ]  # fmt: skip
    for name, column in (("theory: the causal SNPs known", "known"), ("theory: BLUP", "blup")):
        lines.append(f"| {name} | " + " | ".join(f"{value:.4f}" for value in expected[column]) + " |")
    for method in methods:
        cells = [f"{r2:.4f} ± {se:.4f}" for r2, se in (found[method, n] for n in sizes)]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    lines += ["", f"Effective number of segments of a window: {expected['effective'][0]:.0f} on average."]
    return "\n".join(lines) + "\n"


def draw(table: pl.DataFrame, expected: pl.DataFrame, h2: float, path: Path) -> None:
    """R² over people, beside the two theories."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "genopred"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 4.6), layout="constrained")
    axes.axhline(h2, color="0.6", lw=1, ls=":")
    axes.text(expected["people"][0], h2, " heritability", va="bottom", color="0.4", fontsize=9)
    axes.plot(expected["people"], expected["known"], "k--", lw=1.2, label="theory: causal SNPs known")
    axes.plot(expected["people"], expected["blup"], "k-.", lw=1.2, label="theory: BLUP")
    mean = table.group_by("method", "people").agg(pl.col("r2").mean()).sort("people")
    for i, method in enumerate(DRAWN):
        of = mean.filter(pl.col("method") == method)
        if of.height:
            axes.plot(
                of["people"], of["r2"], "o-", ms=4, lw=2.4 if method == STACK else 1.3, color=f"C{i}", label=method
            )
    axes.set_xscale("log")
    axes.set_xticks(expected["people"].to_list(), [f"{n:,}" for n in expected["people"]])
    axes.minorticks_off()
    low = max(float(mean.filter(pl.col("method").is_in(DRAWN))["r2"].min()), -0.03)  # type: ignore[arg-type]
    axes.set_ylim(low - 0.005, h2 * 1.12)
    axes.set_xlabel("people (four fifths are in training)")
    axes.set_ylabel("R² of held-out people, mean over genes")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
