"""How many seeds leave the plateau: a small Enformer's training, seed by seed, on a simulation and on chr22.

    python benchmarks/take_off.py --out OUT [--setting simulated] [--seeds 20] [--former] [--record]

simulated  the network, data and settings of tests/training_data.py, nine epochs of 34 steps; a seed takes off where the
           held-out correlation of log(1 + value) is above 0.5 for the motif's track and the strands are told apart by
           0.1 or more, as tests/test_training_tasks_tracks.py has it
chr22      benchmarks/data/enformer_small.toml, but neither compiled nor run to the end: a fourth of the validation
           windows is predicted every 40 steps of the first epoch (481), until the mean correlation over the nine tracks
           is above what a ridge on GC content alone (of the bin and its neighbours) reaches there: that seed took off

Without --setting both. Needs ../shared (or $GENOPRED_SHARED) for chr22. --former trains as before the tower began as
passing on what the first layer found and the head moved in units of the tracks. Seeds that OUT holds for this kind of
machine (ATEN_CPU_CAPABILITY=default makes another one of it) are not run again. --record writes
benchmarks/results/take_off.md from all that OUT holds.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from genopred.pipelines.train_inputs import load_data, read_config
from genopred.training import loop
from genopred.training.baselines import RidgeBaseline
from genopred.training.dataset import batch, drop_n, window_targets
from genopred.training.networks import enformer_small
from genopred.training.regions import make_split
from genopred.training.scores import log_pearson
from genopred.training.splits import Windows, tile
from genopred.training.tasks import tracks

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from training_data import ENFORMER, LEARNING, SHAPE, blocks, task
from training_data import data as simulated

RESULTS = Path(__file__).parent / "results"
CHR22 = Path(__file__).parent / "data" / "enformer_small.toml"
SETTINGS = ("simulated", "chr22")
EVERY, SHARE = 40, 4  # steps between looks, and every how manieth validation window is looked at


class Enough(Exception):
    """A seed took off."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--setting", choices=SETTINGS)
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="seeds 1 to N")
    parser.add_argument("--former", action="store_true", help="the start and the head's steps as they were")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/take_off.md")
    args = parser.parse_args()
    os.environ.setdefault("GENOPRED_SHARED", str(Path(__file__).parents[2] / "shared"))  # named in the settings
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if args.former:
        enformer_small.start_through = lambda *_: None
        tracks.head_reach = torch.ones_like
    for setting in [args.setting] if args.setting else SETTINGS:
        file = args.out / name(setting, args.former)
        done = pl.read_csv(file, separator="\t").to_dicts() if file.exists() else []
        seeds = [seed for seed in range(1, args.seeds + 1) if seed not in {row["seed"] for row in done}]
        for row in (on_simulation if setting == "simulated" else on_chr22)(seeds):
            done.append(row)
            pl.DataFrame(done, infer_schema_length=None).sort("seed").write_csv(file, separator="\t")
            print(setting, row, flush=True)
    text = page(args.out)
    (args.out / "take_off.md").write_text(text, encoding="utf-8")
    if args.record:
        (RESULTS / "take_off.md").write_text(text, encoding="utf-8")
    print(text)


def on_simulation(seeds: list[int]) -> Iterator[dict[str, Any]]:
    """A row a seed."""
    data = simulated()
    split = blocks(data)
    test = tile(split, "test", SHAPE)
    measured = window_targets(data, test, SHAPE)
    for seed in seeds:
        run = loop.train(task(data, split, replace(LEARNING, seed=seed), "enformer-small", ENFORMER))
        predicted = tracks.predict_windows(run.network, data, test, SHAPE, both_strands=True)
        r = log_pearson(predicted, measured)
        apart = (r - log_pearson(predicted[..., [0, 2, 1]], measured))[1:].min()
        left = run.history.filter(~pl.col("plateau"))["step"]
        yield {
            "seed": seed,
            "took_off": bool(r[0] > 0.5 and apart > 0.1),
            "step": left[0] if len(left) else None,
            "open": round(float(r[0]), 2),
            "start": round(float(r[1:].mean()), 2),
            "strands_apart": round(float(apart), 2),
            **machine(),
        }


def on_chr22(seeds: list[int]) -> Iterator[dict[str, Any]]:
    """A row a seed."""
    if not seeds:
        return
    config = read_config(CHR22)
    data = load_data(config)
    split = make_split(config, data)
    shape = config.shape
    windows = {
        part: drop_n(data, tile(split, part, shape), shape, config.data.max_n)[0] for part in ("train", "validation")
    }
    ridge = RidgeBaseline(shape, k=1).fit(data, windows["train"], windows["validation"])
    every = windows["validation"]
    looked = Windows(every.chroms[::SHARE], every.starts[::SHARE], every.blocks[::SHARE])
    measured = window_targets(data, looked, shape)
    codes, _ = batch(data, looked.chroms, looked.starts, shape)
    needed = float(np.mean(log_pearson(ridge.predict(codes), measured)))
    for seed in seeds:
        settings = replace(config.training, seed=seed, compile=False, device="cpu")
        row: dict[str, Any] = {"seed": seed, "took_off": False, "step": None, "r": 0.0}
        look_until_above(config, data, split, settings, looked, measured, needed, row)
        yield row | {"gc_alone": round(needed, 3), **machine()}


def look_until_above(
    config: Any,
    data: Any,
    split: Any,
    settings: Any,
    looked: Windows,
    measured: Any,
    needed: float,
    row: dict[str, Any],
) -> None:
    """Train until the averaged weights correlate better than GC content alone, or to the first epoch's end."""
    with torch.random.fork_rng([]):
        made = tracks.TrackTask(data, split, config.shape, config.kind, settings, config.sizes, config.data.max_n)
        trainer = loop._Trainer(made, torch.device("cpu"), None)

        def progress(done: int, total: int, label: str = "") -> None:
            if done % EVERY and done < made.per_epoch:
                return
            predicted = tracks.predict_windows(
                trainer.average, data, looked, config.shape, precision=settings.precision
            )
            r = float(np.nanmean(log_pearson(predicted, measured)))
            row["r"] = round(r, 3)
            if r > needed:
                row["took_off"], row["step"] = True, done
            if r > needed or done >= made.per_epoch:
                raise Enough

        try:
            trainer.run(False, progress, lambda *_: None)
        except Enough:
            pass


def page(out: Path) -> str:
    """All that a folder holds, as a page."""
    titles = {
        "simulated": "simulation of the tests, 306 steps",
        "chr22": "chr22, first epoch (481 steps) of enformer_small.toml",
    }
    rows, tables = [], []
    for setting in SETTINGS:
        for start in ("former", "present"):
            for file in sorted(out.glob(f"{setting}_{start}_*.tsv")):
                table = pl.read_csv(file, separator="\t")
                steps = table.filter("took_off")["step"]
                span = f"{steps.min()} to {steps.max()}, median {steps.median():.0f}" if len(steps) else ""
                took = f"{table['took_off'].sum()} of {table.height}"
                rows.append(f"| {titles[setting]} | {start} | {table['machine'][0]} | {took} | {span} |")
                title = f"{setting}: {start} start, {table['machine'][0]}"
                tables += ["", f"## {title}", "", *markdown(table.drop("machine"))]
    head = (
        "`python benchmarks/take_off.py --out OUT`, and the same with `--former` (the training of commit "
        "8cb6c6a): seeds of a small Enformer that take off (the script tells when one does), and at which "
        "step it shows: at the first end of an epoch that is not on the plateau, or on chr22 at the first "
        "look (every 40 steps) with a better correlation than GC content gives. Only seeds that are listed "
        "were run."
    )
    columns = ("setting", "start", "machine", "seeds that take off", "step at which it shows")
    return "\n".join([head, "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *rows, *tables, ""])


def markdown(table: pl.DataFrame) -> Iterator[str]:
    """Lines of a table."""
    yield "| " + " | ".join(column.replace("_", " ") for column in table.columns) + " |"
    yield "|---" * table.width + "|"
    words = {None: "", True: "yes", False: "no"}
    for row in table.rows():
        yield "| " + " | ".join(words[v] if v is None or isinstance(v, bool) else str(v) for v in row) + " |"


def name(setting: str, former: bool) -> str:
    return f"{setting}_{'former' if former else 'present'}_{torch.backends.cpu.get_cpu_capability()}.tsv"


def machine() -> dict[str, str]:
    """What a result's last bits depend on."""
    kind, version = platform.machine().replace("x86_64", "x86-64"), torch.__version__.split("+")[0]
    capability = torch.backends.cpu.get_cpu_capability()
    return {"machine": f"{kind}, {capability.replace('AVX512', 'AVX-512')}, torch {version} CPU"}


if __name__ == "__main__":
    main()
