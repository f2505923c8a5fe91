"""A better model for the package: the small Enformer as it is trained today, and plain networks of its size, searched.

    python benchmarks/embedded_search.py --out OUT [--only NAME ...] [--record]

Each setting is benchmarks/data/enformer_small.toml with a few changes, trained by `genopred train` with the present
start (`start_through` and steps in units of the tracks, see docs/training.md); the cnn has as many weights. They are
held against each other and against the weights in the package on the validation blocks only: the test blocks have been
looked at, and nothing here looks at them again. A killed run goes on where it was; settings that OUT does not hold are
left out of the page with --only. --record writes benchmarks/results/embedded_search.md. Needs ../shared (or
$GENOPRED_SHARED).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import polars as pl

from genopred.cli.progress import progress
from genopred.files import write_text
from genopred.pipelines import evaluate, train
from genopred.pipelines.train_inputs import read_config
from genopred.provenance import machine
from genopred.settings import Evaluate, Train
from genopred.training.networks.base import n_parameters
from genopred.training.networks.registry import build, same_size

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
BASE = HERE / "data" / "enformer_small.toml"
#: Name -> kind of network and changes of [training].
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "enformer-small": ("enformer-small", {}),
    "cnn": ("cnn", {}),
    "enformer-small, rate 1e-3": ("enformer-small", {"learning_rate": 1e-3}),
    "cnn, rate 1e-3": ("cnn", {"learning_rate": 1e-3}),
    "enformer-small, rate 1e-3, mutated, 12 epochs": (
        "enformer-small", {"learning_rate": 1e-3, "mutate": 0.1, "epochs": 12},
    ),
    "cnn, rate 1e-3, mutated, 12 epochs": ("cnn", {"learning_rate": 1e-3, "mutate": 0.1, "epochs": 12}),
}  # fmt: skip
PACKAGE = "enformer-small"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    os.environ.setdefault("GENOPRED_SHARED", str(HERE.parents[1] / "shared"))
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        file = args.out / f"{folder(name)}.json"
        write_text(file, json.dumps({"config": sections(name)}, indent=1) + "\n")
        with progress("batches") as step:
            train.run(Train(config=file, out=args.out / folder(name)), step)
    # the best of either kind by the mean correlation that chose their epochs
    of_kind: dict[str, list[str]] = {}
    for name in sorted(args.only, key=lambda name: -best(args.out / folder(name))):
        of_kind.setdefault(SETTINGS[name][0], []).append(name)
    first, *others = (names[0] for _, names in sorted(of_kind.items(), reverse=True))
    against = tuple(str(args.out / folder(name)) for name in others)
    settings = Evaluate(
        model=str(args.out / folder(first)), against=(*against, PACKAGE), split="validation", strands="both",
        out=args.out / "evaluation",
    )  # fmt: skip
    with progress("windows") as step:
        evaluate.run(settings, step)
    text = page(args.out, args.only, [first, *others])
    write_text(args.out / "embedded_search.md", text)
    if args.record:
        write_text(HERE / "results" / "embedded_search.md", text)
    print(text)


def folder(name: str) -> str:
    """Of a setting's run."""
    return name.replace(", ", "_").replace(" ", "_")


def sections(name: str) -> dict[str, Any]:
    """The configuration of a setting."""
    config = tomllib.loads(BASE.read_text(encoding="utf-8"))
    kind, changes = SETTINGS[name]
    if kind == "cnn":
        base = read_config(BASE)
        sizes = {key: value for key, value in config["network"].items() if key != "kind"}
        weights = n_parameters(build("enformer-small", len(base.tracks), base.shape, **sizes))
        config["network"] = {"kind": "cnn"} | same_size(len(base.tracks), base.shape, weights)
    config["training"] |= changes
    return config


def best(run: Path) -> float:
    """Mean correlation of log values over tracks of the best epoch, on the validation blocks."""
    history = pl.read_csv(run / "history.tsv", separator="\t")
    return float(history.select(pl.mean_horizontal("^pearson_.*$").alias("r"))["r"].max())  # type: ignore[arg-type]


def page(out: Path, names: list[str], compared: list[str]) -> str:
    """What came out."""
    lines = [
        "`python benchmarks/embedded_search.py --out OUT --record`: settings of benchmarks/data/enformer_small.toml, "
        "trained with the present start, by the mean Pearson r of log(1 + value) over nine tracks on the validation "
        f"blocks at the best epoch (one strand, averaged weights). {machine()}, one of them.",
        "",
        "| setting | mean r on validation blocks | best epoch |",
        "|---|---|---|",
    ]
    for name in names:
        history = pl.read_csv(out / folder(name) / "history.tsv", separator="\t")
        mean = history.select(pl.mean_horizontal("^pearson_.*$").alias("r"))["r"].to_numpy()
        lines.append(f"| {name} | {mean.max():.4f} | {int(mean.argmax()) + 1} of {len(mean)} |")
    table = pl.read_csv(out / "evaluation" / "differences.tsv", separator="\t").filter(
        pl.col("metric") == "pearson_log"
    )
    models = table["against"].unique(maintain_order=True).to_list()
    called = {folder(name): name for name in SETTINGS} | {
        PACKAGE: "the weights in the package",
        f"{PACKAGE} #2": "the weights in the package",
    }
    lines += [
        "",
        f"The best small Enformer ({compared[0]}) less the best plain network and less the package's weights, "
        "validation blocks, both strands, 95 % intervals over blocks:",
        "",
        f"| track | {' | '.join('less ' + called.get(model, model) for model in models)} |",
        f"|---|{'---|' * len(models)}",
    ]
    for track in table["track"].unique(maintain_order=True):
        rows = [table.filter(track=track, against=model).row(0, named=True) for model in models]
        cells = [f"{row['estimate']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})" for row in rows]
        lines.append(f"| {track} | {' | '.join(cells)} |")
    better = {model: table.filter(pl.col("against") == model, pl.col("low") > 0).height for model in models}
    worse = {model: table.filter(pl.col("against") == model, pl.col("high") < 0).height for model in models}
    for model in models:
        lines += ["", f"Less {called.get(model, model)}: above 0 beyond the interval in {better[model]} of "
                  f"{table['track'].n_unique()} tracks, below in {worse[model]}."]  # fmt: skip
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
