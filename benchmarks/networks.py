"""Networks of genes on chr22: initiation at the TSSs of three cell types from the sequence around them.

    python benchmarks/networks.py --out OUT [--only NAME ...] [--epochs N] [--split validation] [--record]

Each network is trained by `genopred train` from benchmarks/data/expression_chr22.toml, with its own [network] section
and nothing else changed, and then one `genopred evaluate` holds the one that validates best against the others and
against baselines, on the same genes of held-out blocks; then a random split beside the block split, and GEUVADIS' mean
expression (benchmarks/data/expression_geuvadis.toml). With `+ accessibility` that of the three cell types is read
along the window; with `+ contacts` the distal segments are the most accessible places around a gene, by accessibility
over distance (as in the activity-by-contact model, doi:10.1038/s41588-019-0538-0, where contact is taken from distance;
measured contacts of these cells are not at hand).

A killed run goes on where it was. Test blocks are looked at with --split test only (the default is validation), and
every look is counted. --record writes benchmarks/results/networks.md and the figures of docs/networks.md. Needs
../shared (or $GENOPRED_SHARED).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from genopred.cli.progress import progress
from genopred.files import write_text
from genopred.io.annotation import read_gtf
from genopred.io.bigwig import read_signal
from genopred.io.fasta import open_fasta
from genopred.pipelines import evaluate, train
from genopred.provenance import machine
from genopred.settings import Evaluate, Train

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
BASE = HERE / "data" / "expression_chr22.toml"
CELLS = ("GM12878", "K562", "MCF7")
TRACKS = [
    {"name": f"{cell} accessibility", "file": f"${{GENOPRED_SHARED}}/data/tracks/acc.{cell}.chr22.bw"} for cell in CELLS
]
#: Name -> sections to change.
NETWORKS: dict[str, dict[str, Any]] = {
    "hybrid": {"network": {"kind": "hybrid"}},
    "transformer": {"network": {"kind": "transformer"}},
    "cnn": {"network": {"kind": "cnn"}},
    "enformer-small": {"network": {"kind": "enformer-small"}},
    "dual-path": {"network": {"kind": "dual-path"}},
    "dual-path + contacts": {"network": {"kind": "dual-path"}, "contacts": {"segments": 6, "segment": 1000}},
    "hybrid + accessibility": {"network": {"kind": "hybrid"}, "inputs": {"gc": True, "tracks": TRACKS}},
}
BASELINES = ("ridge", "forest", "svm", "mlp", "mean")
#: Segments of a gene, how far they are looked for, and in what steps.
MOST, FAR, STEP = 6, 100_000, 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(NETWORKS), help="these networks alone")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    parser.add_argument("--no-evaluation", action="store_true", help="train alone")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    os.environ.setdefault("GENOPRED_SHARED", str(HERE.parents[1] / "shared"))
    shared = Path(os.environ["GENOPRED_SHARED"])
    if not (shared / "data").is_dir():
        raise SystemExit(f"{shared} is not there; set GENOPRED_SHARED to the folder of the shared data.")
    args.out.mkdir(parents=True, exist_ok=True)
    names = args.only or list(NETWORKS)
    for name in names:
        config = args.out / f"{folder(name)}.json"
        write_text(config, json.dumps({"config": sections(name, shared, args.out)}, indent=1) + "\n")
        with progress("batches") as step:
            train.run(Train(config=config, out=args.out / folder(name), epochs=args.epochs), step)
    if args.no_evaluation:
        return
    # baselines have what the first network reads, so that there is a table for either kind of input
    sequence = [name for name in names if "accessibility" not in name]
    texts = [f"`python benchmarks/networks.py --out OUT --split {args.split} --record`. {machine()}, one of them.\n"]
    for kind, chosen in {"sequence": sequence, "all": names if len(names) > len(sequence) else []}.items():
        if chosen:
            texts.append(evaluated(args.out, args.out / f"evaluation_{args.split}_{kind}", chosen, args.split, shared))
    if not args.only:
        texts += [random_split(args.out), people(args.out, shared)]
    text = "\n".join(texts)
    write_text(args.out / "networks.md", text)
    if args.record:
        write_text(HERE / "results" / "networks.md", text)
        for file in sorted((args.out / f"evaluation_{args.split}_sequence").glob("*.svg")):
            shutil.copy(file, HERE.parent / "docs" / "figures" / f"networks_{file.name}")
    print(text)


def evaluated(out: Path, place: Path, names: list[str], split: str, shared: Path) -> str:
    """The tables of some networks, the one that validates best against the others and the baselines."""
    first, *others = sorted(names, key=lambda name: -best(out / folder(name))[0])
    with progress("genes") as step:
        settings = Evaluate(
            model=str(out / folder(first)),
            against=tuple(str(out / folder(name)) for name in others),
            baseline=(*BASELINES, f"xpresso:{shared / 'data' / 'xpresso' / 'GM12878_trainepoch.06-0.5062.h5'}"),
            split=split,
            gtf=shared / "data" / "reference" / "gencode.v24.annotation_chr22.gtf.gz",
            out=place,
        )
        evaluate.run(settings, step)
    return page(out, place, first)


def random_split(out: Path) -> str:
    """How much a random split promises beyond a block split: what the training itself says of it."""
    config = tomllib.loads(BASE.read_text(encoding="utf-8"))
    config |= {"network": {"kind": "cnn"}, "split": {"by": "random", "seed": 1}}
    file = out / "random.json"
    write_text(file, json.dumps({"config": config}, indent=1) + "\n")
    with progress("batches") as step:
        train.run(Train(config=file, out=out / "random", epochs=8), step)
    said = (out / "random" / "inflation.txt").read_text(encoding="utf-8").strip().splitlines()
    return "## A random split (cnn, 8 epochs)\n\n" + "\n".join(f"- {line}" for line in said) + "\n"


def people(out: Path, shared: Path) -> str:
    """GEUVADIS' mean expression, on validation genes."""
    with progress("batches") as step:
        train.run(Train(config=HERE / "data" / "expression_geuvadis.toml", out=out / "geuvadis"), step)
    with progress("genes") as step:
        place = out / "evaluation_geuvadis"
        evaluate.run(Evaluate(model=str(out / "geuvadis"), baseline=("ridge",), split="validation", out=place), step)
    table = pl.read_csv(place / "scores.tsv", separator="\t").filter(metric="pearson", what="level")
    table = table.unique("model", keep="first", maintain_order=True)
    lines = [
        "## GEUVADIS' mean expression (expression_geuvadis.toml), validation genes\n",
        "| method | r | genes |",
        "|---|---|---|",
    ]
    for row in table.drop_nulls("estimate").iter_rows(named=True):
        r = f"{row['estimate']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
        lines.append(f"| {row['model']} | {r} | {row['n_genes']} |")
    return "\n".join(lines) + "\n"


def folder(name: str) -> str:
    """Of a network's run."""
    return name.replace(" + ", "_with_").replace(" ", "_")


def sections(name: str, shared: Path, out: Path) -> dict[str, Any]:
    """The configuration of a network."""
    config = tomllib.loads(BASE.read_text(encoding="utf-8"))
    changes = {key: dict(value) for key, value in NETWORKS[name].items()}
    if "contacts" in changes:
        file = out / "contacts.bedpe"
        write_text(file, contacts(shared))
        changes["contacts"]["file"] = str(file.resolve())
    return config | changes


def contacts(shared: Path) -> str:
    """BEDPE: each gene's most accessible places, weighed by accessibility over distance."""
    fasta = open_fasta(shared / "data" / "reference" / "chr22.hg38.fa.gz")
    lengths = {"chr22": fasta.length("chr22")}
    signal = [
        read_signal(shared / "data" / "tracks" / f"acc.{cell}.chr22.bw", lengths, STEP)["chr22"] for cell in CELLS
    ]
    open_ = np.mean([one / one.mean() for one in signal], axis=0)
    rows = []
    for tss in read_gtf(shared / "data" / "reference" / "gencode.v24.annotation_chr22.gtf.gz")["tss"].unique().sort():
        first, last = max(tss - FAR, 0) // STEP, min(tss + FAR, lengths["chr22"]) // STEP
        at = np.arange(first, last)
        away = np.abs((at + 0.5) * STEP - tss)
        weight = np.where(away > 12_000, open_[at] / np.maximum(away, 5000) * 5000, 0)
        for i in np.argsort(-weight, kind="stable")[: 2 * MOST]:
            if weight[i] > 0:
                start = int(at[i]) * STEP
                rows.append(f"chr22\t{tss - 1}\t{tss}\tchr22\t{start}\t{start + STEP}\t.\t{weight[i]:.5g}")
    return "\n".join(rows) + "\n"


def best(run: Path) -> tuple[float, int]:
    """Mean correlation over cell types of the best epoch on the validation genes, and that epoch."""
    history = pl.read_csv(run / "history.tsv", separator="\t")
    values = history.select(pl.mean_horizontal("^pearson_.*$").alias("r"))["r"].to_numpy()
    return float(values.max()), int(values.argmax()) + 1


def page(out: Path, place: Path, name_of_first: str) -> str:
    """The tables."""
    scores, differences, tests = (
        pl.read_csv(place / f"{name}.tsv", separator="\t") for name in ("scores", "differences", "tests")
    )
    named = {folder(name): name for name in NETWORKS}
    first, every = folder(name_of_first), scores["model"].unique(maintain_order=True).to_list()
    n_genes, n_blocks = scores.select("n_genes", "n_blocks").row(0)
    lines = [
        f"## {name_of_first} and what reads no more\n",
        "Initiation at the TSSs of chr22 from 10,000 bp before and 1,000 bp behind; Pearson r over "
        f"{n_genes} genes in {n_blocks} held-out blocks with 95 % intervals from drawing blocks; between: r of a "
        "gene's deviations from its mean over cell types. Ridge, forest, svm and mlp have k-mers and GC content, and "
        f"what {name_of_first} reads beside the sequence.",
        "",
        f"| method | {' | '.join(CELLS)} | mean | between cell types | best epoch of |",
        f"|{'---|' * (len(CELLS) + 4)}",
    ]

    def cell(model: str, what: str, name: str) -> str:
        found = scores.filter(model=model, what=what, cell=name, metric="pearson")
        value = found["estimate"][0] if found.height else None
        return "–" if value is None else f"{value:.3f} ({found['low'][0]:.3f} to {found['high'][0]:.3f})"

    for model in every:
        run = out / model
        epochs = ""
        if model in named and (run / "history.tsv").is_file():
            n = pl.read_csv(run / "history.tsv", separator="\t").height
            epochs = f"{best(run)[1]} of {n}"
        values = [cell(model, "level", name) for name in (*CELLS, "mean over cell types")]
        values.append(cell(model, "between", "mean over cell types"))
        lines.append(f"| {named.get(model, model)} | {' | '.join(values)} | {epochs} |")
    lines += [
        "",
        f"{named.get(first, first)}, which validates best, less each other one, mean r over cell types; below "
        "`unseen` a true difference would be missed in more than one of five such sets of genes; p of whole blocks "
        "flipped (Holm); beside it the paired t test over cell types, which takes them for independent:",
        "",
        "| against | difference in r | unseen below | p (blocks) | p (paired t) |",
        "|---|---|---|---|---|",
    ]
    whole = {"what": "level", "cell": "mean over cell types"}
    for model in every[1:]:
        row = differences.filter(against=model, metric="pearson", **whole)
        if not row.height or row["estimate"][0] is None:
            continue
        value = f"{row['estimate'][0]:+.3f} ({row['low'][0]:+.3f} to {row['high'][0]:+.3f})"
        ps = [
            tests.filter(test=test, against=model, what="level", metric="pearson").filter(
                pl.col("cell") == "mean over cell types"
            )
            for test in ("blocks-r", "t-cells")
        ]
        shown = [f"{p['p_holm'][0]:.2g}" if p.height and p["p_holm"][0] is not None else "–" for p in ps]
        lines.append(f"| {named.get(model, model)} | {value} | {row['detectable'][0]:.3f} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
