"""Models tuned on people: seen or unseen genes by seen or unseen people, beside an elastic net on the same SNPs.

    python benchmarks/personal.py --out OUT [--fold 0 ...] [--minutes 40] [--record]

GEUVADIS chr22, all genes with a SNP in the window, outer folds of ../shared/peers/folds.tsv (a fold's people are kept
aside, the others train and choose the epoch), 20 % of genes kept aside in blocks of 500 kb. Models are tuned in the
order of `MODELS`, fold by fold, until the minutes are over: what was reached is in the table, and what was not is
named. A stopped run goes on where it was. Then `genopred features` of a tuned model on the genes that it never saw,
which is free of leaks in all folds of people, stacked with genotype learners: what it adds. One process, one thread.
Needs ../shared (or $GENOPRED_SHARED).
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from pathlib import Path
from typing import Any

import polars as pl

from genopred.learning.evaluate import summarise
from genopred.pipelines import features, stack, train
from genopred.settings import Features, Stack, Train

RESULTS = Path(__file__).parent / "results"
SHARED = Path(os.environ.get("GENOPRED_SHARED", Path(__file__).parents[2] / "shared"))
SMALL = ("enformer-small", ["GM12878 accessibility", r"GM12878 initiation \\+"])
XPRESSO = ("xpresso:${GENOPRED_SHARED}/data/xpresso/GM12878_trainepoch.06-0.5062.h5", [])
#: Start and its tracks, weights, tune, epochs, learning rate, in the order in which they run. Rates were tried on 60 or
#: 120 training genes of fold 0 and judged by its validation people; at 2e-3 Xpresso's last two numbers fell silent
#: within an epoch of all genes, after which the head got its first dense layer instead.
MODELS: dict[str, tuple[tuple[str, list[str]], str, str, int, float]] = {
    "xpresso, all": (XPRESSO, "trained", "all", 8, 7e-4),
    "enformer-small, lora": (SMALL, "trained", "lora", 5, 2e-3),
    "enformer-small, head": (SMALL, "trained", "head", 6, 2e-3),
    "xpresso, lora": (XPRESSO, "trained", "lora", 8, 2e-3),
    "xpresso, head": (XPRESSO, "trained", "head", 40, 1e-3),
    "enformer-small, all": (SMALL, "trained", "all", 5, 1e-3),
    "enformer-small, random, all": (SMALL, "random", "all", 5, 1e-3),
    "xpresso, random, all": (XPRESSO, "random", "all", 8, 7e-4),
}
#: The tuned models that are stacked by default, and with whom.
STACKED = ("xpresso, all", "enformer-small, lora")
LEARNERS = ("elastic-net", "susie-tss", "ridge")
SHOWN = ("stack-linear", "stack-nnls", "stack-ridge", "stack-xgboost")
CONFIG = """task = "personal"
[data]
fasta = "${{GENOPRED_SHARED}}/data/reference/chr22.b37.fa.gz"
vcf = "${{GENOPRED_SHARED}}/data/geuvadis_chr22/genotypes.chr22.vcf.gz"
expression = "${{GENOPRED_SHARED}}/data/geuvadis_chr22/genes.50percent.chr22.bed.gz"
covariates = "${{GENOPRED_SHARED}}/data/geuvadis_chr22/genes.covariates.pc50.txt.gz"
n_covariates = 18
[people]
folds = "${{GENOPRED_SHARED}}/peers/folds.tsv"
test = {fold}
[model]
start = "{start}"
weights = "{weights}"
tune = "{tune}"
tracks = {tracks}
[training]
epochs = {epochs}
learning_rate = {rate}
threads = 1
device = "cpu"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fold", type=int, nargs="+", default=[0], help="folds of people, in this order")
    parser.add_argument("--model", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--minutes", type=float, default=1e9, help="no model is begun after so many")
    parser.add_argument("--stacked", nargs="*", default=list(STACKED), choices=list(MODELS))
    parser.add_argument("--record", action="store_true", help="write the tables under benchmarks/results/")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    os.environ.setdefault("GENOPRED_SHARED", str(SHARED.resolve()))
    args.out.mkdir(parents=True, exist_ok=True)
    begun, tables = time.monotonic(), []
    for fold in args.fold:
        for name in args.model:
            folder = args.out / f"fold{fold}" / name.replace(", ", "-")
            if not (folder / "personal.html").exists() and time.monotonic() - begun > 60 * args.minutes:
                logging.info("fold %d, %s: not begun, the minutes are over", fold, name)
                continue
            tune(folder, name, fold)
            table = pl.read_csv(folder / "table.tsv", separator="\t")
            tables.append(table.with_columns(fold=pl.lit(fold), model=pl.lit(name)))
            record(args, pl.concat(tables, how="vertical_relaxed"), None)
    added = None
    found = [add(args.out, name, args.fold[0]) for name in args.stacked]
    if kept := [table for table in found if table is not None]:
        added = pl.concat(kept)
    print(record(args, pl.concat(tables, how="vertical_relaxed"), added))


def tune(folder: Path, name: str, fold: int) -> None:
    """Tune one model on one fold's training people, unless that was done before."""
    if (folder / "personal.html").exists():
        return
    (start, tracks), weights, kind, epochs, rate = MODELS[name]
    listed = "[" + ", ".join(f'"{track}"' for track in tracks) + "]"
    chosen: dict[str, Any] = {"fold": fold, "start": start, "weights": weights, "tune": kind, "tracks": listed}
    folder.parent.mkdir(parents=True, exist_ok=True)
    config = folder.parent / f"{folder.name}.toml"
    config.write_text(CONFIG.format(**chosen, epochs=epochs, rate=rate))
    began = time.monotonic()
    done = train.run(Train(config=config, out=folder, command="python benchmarks/personal.py"))
    (folder / "seconds.txt").write_text(f"{time.monotonic() - began:.0f}\n")
    logging.info("fold %d, %s:\n%s", fold, name, "\n".join(done.lines()))


def add(out: Path, name: str, fold: int) -> pl.DataFrame | None:
    """What the features of a tuned model add to a stack of genotype learners, on genes that it never saw."""
    folder = out / f"fold{fold}" / name.replace(", ", "-")
    if not (folder / "genes.tsv").exists():
        return None
    data = SHARED / "data" / "geuvadis_chr22"
    place = out / f"stack-{folder.name}"
    place.mkdir(parents=True, exist_ok=True)
    genes = pl.read_csv(folder / "genes.tsv", separator="\t").filter(pl.col("part") == "test")["gene_id"].to_list()
    (place / "genes.txt").write_text("\n".join(genes) + "\n")
    of: dict[str, Any] = {
        "vcf": data / "genotypes.chr22.vcf.gz", "expression": data / "genes.50percent.chr22.bed.gz", "threads": 1,
    }  # fmt: skip
    fasta = SHARED / "data" / "reference" / "chr22.b37.fa.gz"
    model = str(folder / "model")
    features.run(
        Features(**of, fasta=fasta, model=model, genes=place / "genes.txt", out=place / "features", device="cpu")
    )
    shared: dict[str, Any] = of | {
        "covar": data / "genes.covariates.pc50.txt.gz", "n_covariates": 18, "gene": tuple(genes), "learners": LEARNERS,
        "folds": SHARED / "peers" / "folds.tsv", "residualize": "global", "stack_weights": "none",
        "command": "python benchmarks/personal.py",
    }  # fmt: skip
    # the genes are the same for all models of a fold: the stack without features is made once
    alone = stack.run(Stack(**shared, out=out / "stack-genotype"))
    both = stack.run(Stack(**shared, out=place / "both", inputs="both", features=place / "features"))
    with_it = both.scores.filter(pl.col("method").str.starts_with("stack-") | pl.col("method").str.contains("@"))
    named = pl.when(pl.col("method").str.starts_with("stack-")).then(pl.col("method") + " + tuned")
    with_it = with_it.with_columns(method=named.otherwise(pl.col("method")))
    base = alone.scores.filter(pl.col("method").str.starts_with("stack-"))
    rows = []
    for stacked in SHOWN:
        pair = pl.concat(
            [base.filter(pl.col("method") == stacked), with_it.filter(pl.col("method") == f"{stacked} + tuned")]
        )
        rows.append(summarise(pair, stacked).with_columns(tuned=pl.lit(name)))
    own = with_it.filter(pl.col("method") == "ridge@sequence")
    if own.height:
        logging.info("%s: ridge on the feature alone, mean r %+.3f", name, float(own["pearson"].mean()))  # type: ignore[arg-type]
    return pl.concat(rows)


def record(args: argparse.Namespace, table: pl.DataFrame, added: pl.DataFrame | None) -> str:
    """The tables as markdown; written where that was asked for."""
    text = report(table, added, args)
    if args.record:
        (RESULTS / "personal.md").write_text(text + "\n", encoding="utf-8")
        rounded = table.with_columns(pl.col(pl.Float64).round(5))
        rounded.select("fold", "model", pl.exclude("fold", "model")).write_csv(RESULTS / "personal.tsv", separator="\t")
    return text


def report(table: pl.DataFrame, added: pl.DataFrame | None, args: argparse.Namespace) -> str:
    """The 2 x 2 table of each model and fold, then what the stack gains."""
    folds = sorted(table["fold"].unique().to_list())
    lines = [
        f"`python benchmarks/personal.py --out OUT --record`: GEUVADIS chr22, 358 people, people of fold "
        f"{', '.join(map(str, folds))} kept aside; mean Pearson r within genes (95 % interval over blocks of genes).",
        "",
        "| fold | model | cell | genes | tuned | untuned | elastic net | tuned less elastic net | tuned above 0 "
        "| p (signs) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (fold, model, genes, people), cell in table.group_by("fold", "model", "genes", "people", maintain_order=True):
        of = {row["method"]: row for row in cell.iter_rows(named=True)}
        tuned = of["tuned"]
        shown = [f"{of[m]['mean_r']:+.3f} ({of[m]['low']:+.3f} to {of[m]['high']:+.3f})" for m in of]
        gap = f"{tuned['delta']:+.3f} ({tuned['delta_low']:+.3f} to {tuned['delta_high']:+.3f})"
        lines.append(
            f"| {fold} | {model} | {genes} genes, {people} people | {tuned['n_genes']} | {' | '.join(shown)} | {gap} "
            f"| {tuned['positive']:.0%} | {tuned['p_sign']:.2g} |"
        )
    lines += [
        "",
        "Seen genes with seen people are what was fitted. The elastic net has exactly the SNPs of the window and the "
        "same people; of unseen genes it has seen the people's expression, which the tuned model has not: there it "
        "says what the SNPs hold.",
    ]
    missing = [f"{name} (fold {fold})" for fold in args.fold for name in args.model
               if not table.filter((pl.col("fold") == fold) & (pl.col("model") == name)).height]  # fmt: skip
    if missing:
        lines += ["", f"Not run within the time: {', '.join(missing)}."]
    if added is not None:
        lines += [
            "",
            f"What features of the tuned model add to a stack of {', '.join(LEARNERS)} on genes that it never saw, "
            "five folds of people:",
            "",
            "| tuned model | stack | genes | mean R² | difference | p (Wilcoxon) |",
            "|---|---|---|---|---|---|",
        ]
        for row in added.filter(pl.col("method") != pl.col("reference")).iter_rows(named=True):
            lines.append(
                f"| {row['tuned']} | {row['reference']} | {row['n_genes']} | {row['mean_r2']:.4f} "
                f"| {row['delta_r2']:+.5f} "
                f"({row['delta_low']:+.5f} to {row['delta_high']:+.5f}) | {row['p_wilcoxon']:.2g} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
