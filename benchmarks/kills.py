"""Runs killed at random moments and started again: are their files those of a run that nobody killed?

    python benchmarks/kills.py --out OUT --kills 200

Each workflow runs once undisturbed on the embedded people. Then, again and again: it is started, killed with SIGKILL
at a random moment of that time (half of them a second time while it goes on), started until it ends, and all its files
are held against the undisturbed ones byte for byte. Logs are left out, and `timing.tsv`, which says how long things
took. The parent alone is killed, so that worker processes are left to notice. Writes OUT/kills.md, and OUT/kills.tsv
with a row a run. About ten seconds a kill; needs torch and pyBigWig.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import polars as pl

import genopred
from genopred.files import write_table, write_text

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from every_command import EXAMPLE, contents
from training_data import CONFIG, write

OFTEN = "epochs = 4\ncheckpoint_minutes = 0.001"
#: A resumed run that takes this much longer than the undisturbed one hangs.
PATIENCE = 20


@dataclass(frozen=True)
class Trial:
    """One kill and what came after."""

    workflow: str
    moment: float
    kills: int
    code: int
    differ: tuple[str, ...]


def workflows(folder: Path) -> dict[str, list[str]]:
    """Words of each command, inputs made in `folder`; `--out run` is added."""
    example = genopred.load_example()
    names = example.expression.genes["gene_id"].to_list()
    genes, few = folder / "genes.txt", folder / "people.txt"
    genes.write_text("\n".join(names[:6]) + "\n")
    few.write_text("\n".join(example.expression.samples[:40].tolist()) + "\n")
    people = [
        "--bfile", EXAMPLE / "geuvadis", "--expression", EXAMPLE / "expression.bed.gz", "--covar",
        EXAMPLE / "covariates.txt.gz",
    ]  # fmt: skip
    stack = ["stack", *people, "--genes", genes, "--learners", "ridge,pt-prs,susie-tss", "--outer-folds", "3"]
    sequence = [
        "--fasta",
        EXAMPLE / "reference.fa.gz",
        "--expression",
        EXAMPLE / "expression.bed.gz",
        "--device",
        "cpu",
    ]
    found = {
        "stack": [*stack, "--threads", "1"],
        "stack, two processes": [*stack, "--threads", "2"],
        "eqtl": ["eqtl", *people, "--all", "--independent", "--susie", "--fdr", "0.3", "--threads", "1"],
        "prs": ["prs", *people, "--genes", genes, "--outer-folds", "3", "--threads", "1"],
        "features": ["features", "--pfile", EXAMPLE / "geuvadis", *sequence, "--keep", few, "--all", "--threads", "1"],
        "effects": ["effects", "--bfile", EXAMPLE / "geuvadis", *sequence, "--genes", genes, "--threads", "1"],
        "train": [
            "train",
            write(folder / "training", CONFIG.replace("epochs = 2", "epochs = 4\ncheckpoint_minutes = 0.001")),
        ],
    }
    return {name: [str(word) for word in words] for name, words in found.items()}


def start(words: list[str], place: Path) -> subprocess.Popen[bytes]:
    """The command in a folder of its own."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / "stderr").open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "genopred.cli", *words, "--out", "run"],
            cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
        )  # fmt: skip


def trial(workflow: str, words: list[str], place: Path, whole: dict[str, bytes], seconds: float, seed: int) -> Trial:
    """Kill a run, once or twice, and start it until it ends."""
    draw = random.Random(f"{workflow} {seed}")
    moment, kills = draw.uniform(0.1, 1.0), 0
    for _ in range(draw.choice((1, 2))):
        process = start(words, place)
        try:
            process.wait(moment * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    process = start(words, place)
    try:
        code = process.wait(PATIENCE * seconds + 60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        code = -1
    found = contents(place)
    differ = tuple(sorted(name for name in whole.keys() | found.keys() if whole.get(name) != found.get(name)))
    if code == 0 and not differ:
        shutil.rmtree(place)
    return Trial(workflow, moment, kills, code, differ)


def trials(found: dict[str, list[str]], out: Path, kills: int, jobs: int, until: float) -> Iterator[Trial]:
    """As many kills as asked for, dealt out over the workflows."""
    wholes: dict[str, tuple[dict[str, bytes], float]] = {}
    for workflow, words in found.items():
        place = out / "whole" / workflow.replace(", ", "-").replace(" ", "-")
        if start(words, place).wait():  # compiles what is compiled once, so that it is not measured
            raise SystemExit(f"{workflow} does not run: {(place / 'stderr').read_text()[-500:]}")
        shutil.rmtree(place)
        begun = time.monotonic()
        start(words, place).wait()
        wholes[workflow] = (contents(place), time.monotonic() - begun)
    names = list(found)

    def one(number: int) -> list[Trial]:
        workflow = names[number % len(names)]
        whole, seconds = wholes[workflow]
        place = out / "trials" / str(number)
        return [trial(workflow, found[workflow], place, whole, seconds, number)]

    done = number = 0
    with ThreadPoolExecutor(jobs) as pool:
        while done < kills and time.monotonic() < until:
            batch = range(number, number + len(names) * 2)
            number = batch.stop
            for results in pool.map(one, batch):
                for result in results:
                    done += result.kills
                    yield result


def report(results: list[Trial]) -> str:
    """A table by workflow."""
    lines = ["| workflow | kills | runs killed | the same files after resuming |", "|---|---|---|---|"]
    for name in dict.fromkeys(r.workflow for r in results):
        mine = [r for r in results if r.workflow == name and r.kills]
        same = sum(r.code == 0 and not r.differ for r in mine)
        lines.append(f"| {name} | {sum(r.kills for r in mine)} | {len(mine)} | {same} |")
    killed = [r for r in results if r.kills]
    same = sum(r.code == 0 and not r.differ for r in killed)
    lines.append(f"| all | {sum(r.kills for r in killed)} | {len(killed)} | {same} |")
    lines += ["", f"SIGKILL at random moments, Python {platform.python_version()}, {platform.machine()}, "
              f"{os.cpu_count()} cores; `python benchmarks/kills.py`."]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> int:
    """Kill, resume, compare, write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="workflows, by name")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no further runs then")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in ("inputs", "whole", "trials"):
        shutil.rmtree(args.out / name, ignore_errors=True)
    (args.out / "inputs").mkdir()
    found = {k: v for k, v in workflows((args.out / "inputs").resolve()).items() if not args.only or k in args.only}
    results = []
    until = time.monotonic() + 60 * args.minutes
    for result in trials(found, args.out.resolve(), args.kills, args.jobs, until):
        results.append(result)
        bad = "" if result.code == 0 and not result.differ else f" EXIT {result.code}, DIFFERENT: {result.differ[:5]}"
        sys.stderr.write(f"{result.workflow}: {result.kills} kills at {result.moment:.2f}{bad}\n")
    rows = [(r.workflow, r.kills, round(r.moment, 3), r.code, ",".join(r.differ)) for r in results]
    table = pl.DataFrame(rows, schema=["workflow", "kills", "moment", "exit_code", "different"], orient="row")
    write_table(table, args.out / "kills")
    write_text(args.out / "kills.md", report(results))
    sys.stdout.write(report(results))
    return 1 if any(r.code or r.differ for r in results) else 0


if __name__ == "__main__":
    raise SystemExit(main())
