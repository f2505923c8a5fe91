"""What `genopred doctor` says that stack and features will take, and what they then take.

    python benchmarks/doctor.py [--repeats 1] [--out benchmarks/results/doctor]

The embedded data (28 genes, PLINK 2) and ten genes of GEUVADIS chromosome 22 (VCF, where the shared data are), with one
thread. CPU seconds are of whole processes, user and system; memory is the largest resident set of the process.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl

import genopred
from genopred.files import write_text

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("GENOPRED_SHARED", ROOT.parent / "shared"))
GENES = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=1, help="how often everything is run")
    parser.add_argument("--out", help="write OUT.md")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(arguments.repeats):
            for name, files in cohorts(Path(folder)).items():
                rows += compare(name, files, Path(folder) / f"{name}-{repeat}")
    table = pl.DataFrame(rows)
    text = page(table)
    print(text)
    if arguments.out:
        write_text(Path(f"{arguments.out}.md"), text)
    return 0


def cohorts(folder: Path) -> dict[str, dict[str, Path]]:
    """Files of each cohort, by option."""
    example = genopred.load_example()
    found = {
        "embedded": {
            "pfile": example.pfile, "expression": example.expression_file, "covar": example.covariates_file,
            "fasta": example.reference_file,
        }
    }  # fmt: skip
    data = SHARED / "data" / "geuvadis_chr22"
    if not data.is_dir():
        print(f"{data} is not there (GENOPRED_SHARED): only the embedded data", file=sys.stderr)
        return found
    lines = gzip.decompress((data / "genes.50percent.chr22.bed.gz").read_bytes()).decode().splitlines()
    few = folder / "genes.bed"
    write_text(few, "\n".join([lines[0], *lines[5 :: (len(lines) - 5) // GENES][:GENES]]) + "\n")
    covariates = gzip.decompress((data / "genes.covariates.pc50.txt.gz").read_bytes()).decode().splitlines()
    write_text(folder / "covariates.txt", "\n".join(covariates[:19]) + "\n")
    found["GEUVADIS"] = {
        "vcf": data / "genotypes.chr22.vcf.gz", "expression": few, "covar": folder / "covariates.txt",
        "fasta": SHARED / "data" / "reference" / "chr22.b37.fa.gz",
    }  # fmt: skip
    return found


def compare(name: str, files: dict[str, Path], out: Path) -> list[dict[str, object]]:
    """A row a workflow: forecast and real CPU seconds, and bytes of memory and disk."""
    out.mkdir()
    said = out / "doctor.json"
    took, _ = measured("doctor", *map(str, files.values()), "--threads", "1", "--json", str(said))
    forecasts = {one["command"]: one for one in json.loads(said.read_text())["forecasts"]}
    rows = []
    for command, left_out in (("stack", "fasta"), ("features", "covar")):
        options = [word for flag, path in files.items() if flag != left_out for word in (f"--{flag}", str(path))]
        cpu, memory = measured(command, *options, "--all", "--threads", "1", "--out", str(out / command))
        disk = sum(path.stat().st_size for path in (out / command).rglob("*") if path.is_file())
        one = forecasts[command]
        rows.append(
            {
                "cohort": name, "command": command, "genes": one["genes"], "cpu_said": one["cpu"], "cpu": cpu,
                "memory_said": one["memory"], "memory": memory, "disk_said": one["disk"], "disk": float(disk),
                "doctor": took,
            }
        )  # fmt: skip
    return rows


def measured(command: str, *words: str) -> tuple[float, float]:
    """CPU seconds of a command, and its largest memory in bytes."""
    line = [sys.executable, "-m", "genopred.cli", command, *words, "--quiet"]
    process = subprocess.Popen(line, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode > (1 if command == "doctor" else 0):
        raise SystemExit(f"genopred {command} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def page(table: pl.DataFrame) -> str:
    """The table in Markdown, and the worst factors."""
    columns = ["cohort", "workflow", "genes", "CPU s, forecast", "CPU s"]
    columns += [f"{what} MB{also}" for what in ("memory", "disk") for also in (", forecast", "")]
    lines = ["# What `genopred doctor` forecasts, and what it is", ""]
    lines += ["`python benchmarks/doctor.py`; one thread, a machine shared with other work.", ""]
    lines += [f"| {' | '.join([*columns, 'CPU s of doctor'])} |", "|---" * (len(columns) + 1) + "|"]
    for row in table.iter_rows(named=True):
        numbers = [f"{row[key]:.1f}" for key in ("cpu_said", "cpu")]
        numbers += [f"{row[key] / 1e6:.1f}" for key in ("memory_said", "memory", "disk_said", "disk")]
        cells = [row["cohort"], row["command"], str(row["genes"]), *numbers, f"{row['doctor']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    worst = {
        what: max(max(a / b, b / a) for a, b in zip(table[f"{what}_said"], table[what]))
        for what in ("cpu", "memory", "disk")
    }
    lines += [
        "",
        "Largest factor between the two: " + ", ".join(f"{what} {factor:.2f}" for what, factor in worst.items()),
    ]
    return "\n".join(lines) + ".\n"


if __name__ == "__main__":
    raise SystemExit(main())
