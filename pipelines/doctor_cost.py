"""What `genopred stack` and `genopred features` would take here: a little of each is computed, timed and scaled up.

It is computed in a process of its own, so that its memory is that of the workflow.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genopred import align
from genopred.errors import GenopredError
from genopred.pipelines.doctor_files import Files, Opened
from genopred.pipelines.doctor_findings import Finding, amber, green, red
from genopred.pipelines.inputs import open_cohort
from genopred.report.tables import duration
from genopred.settings import Doctor, Features, Stack
from genopred.types import Interval
from genopred.workers import cores, free_memory

#: Of stack, beside the base learners, in shares of what they take: meta-learners and scores, models of everybody.
BESIDE = 0.2

#: CPU seconds and bytes of what comes once: summary, figures, page.
ONCE, PAGE = 3.0, 60e6

#: CPU seconds of what a command line loads beside that.
START = 1.0

#: Genes that features are computed of: first, to load everything; then to be timed.
FIRST, TIMED = 2, 6

#: Seconds of a fold below which another is timed too.
AGAIN = 5.0

#: Wall seconds from which a run is long.
LONG = 24 * 3600


@dataclass(frozen=True)
class Forecast:
    """What a workflow would take.

    Attributes
    ----------
    command : str
    genes, people : int
    cpu : float
        Seconds of CPU, of all processes together.
    wall : float
        Seconds on `cores` cores that nobody else uses.
    memory : float
        Bytes of the largest process.
    processes : int
        How many of about that size there are.
    disk : float
        Bytes of the results.
    cores : int
    """

    command: str
    genes: int
    people: int
    cpu: float
    wall: float
    memory: float
    processes: int
    disk: float
    cores: int

    def said(self) -> str:
        """In words."""
        each = f"{self.processes} processes of " if self.processes > 1 else ""
        on = f"{self.cores} core{'s' if self.cores > 1 else ''}"
        return (
            f"{self.genes:,} genes of {self.people:,} people take about {duration(self.cpu)} of CPU, "
            f"{duration(self.wall)} on {on}; {each}{_size(self.memory)} of memory; {_size(self.disk)} on disk"
        )


def _size(size: float) -> str:
    for unit, word in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:.1f} {word}"
    return f"{max(size / 1e3, 1):.0f} kB"


def forecasts(files: Files, settings: Doctor) -> tuple[list[Forecast], list[Finding]]:
    """What stack takes with these genotypes, expression and covariates, and features with the reference."""
    typed, measured, reference = files.first("genotypes"), files.first("expression"), files.first("fasta")
    if typed is None or measured is None:
        return [], []
    given = _given(typed, measured)
    covariates = files.first("covariates")
    wanted: dict[str, dict[str, Any]] = {
        "stack": given | {"covar": covariates and str(covariates.path), "window": settings.window, "maf": settings.maf,
                          "keep_overlap": True}
    }  # fmt: skip
    if reference is not None:
        wanted["features"] = given | {"fasta": str(reference.path), "allow_swapped": True}
    made, found = [], []
    for command, chosen in wanted.items():
        try:
            made.append(Forecast(**_measure(command, chosen | {"threads": settings.threads})))
        except GenopredError as problem:
            said = f"what {command} would take cannot be estimated ({problem})."
            found.append(amber("forecast", said, f"See what genopred {command} says of these files.", "cost"))
    for forecast in made:
        found += list(judged(forecast, free_memory(), shutil.disk_usage(Path.cwd()).free))
    return made, found


def _given(typed: Opened, measured: Opened) -> dict[str, Any]:
    path = typed.path.with_suffix("") if typed.kind in ("bfile", "pfile") else typed.path
    return {typed.kind: str(path), "expression": str(measured.path), "all_genes": True}


def judged(forecast: Forecast, memory: int | None, disk: int) -> Iterator[Finding]:
    """A forecast held against free memory and disk, in bytes."""
    about, said = forecast.command, forecast.said()
    needed = forecast.memory * forecast.processes
    fine = True
    if forecast.disk > 0.9 * disk:
        remedy = f"Free {_size(1.2 * forecast.disk - disk)}, or give --out on another disk."
        yield red(about, f"{said}, where {_size(disk)} are free.", remedy, "disk")
        fine = False
    if memory is not None and needed > 0.9 * memory:
        fits = int(0.8 * memory // forecast.memory)
        remedy = f"Give --threads {fits - 1}." if fits > 1 else "Take a machine with more memory."
        yield red(about, f"{said}; {_size(memory)} of memory are free, {_size(needed)} needed.", remedy, "memory")
        fine = False
    if forecast.wall > LONG:
        remedy = "Share genes out among jobs with --genes FILE; a run that stops goes on where it was."
        yield amber(about, f"{said}: more than a day.", remedy, "time")
    elif fine:
        yield green(about, f"{said}.", "cost")


def _measure(command: str, chosen: dict[str, Any]) -> dict[str, Any]:
    """Run `child` in a process of its own."""
    code = "from genopred.pipelines.doctor_cost import child; child()"
    done = subprocess.run(
        [sys.executable, "-c", code, command], input=json.dumps(chosen), capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise GenopredError(lines[-1].rstrip("."))
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def child() -> None:
    """Compute a little of a workflow whose settings are on stdin, and print the forecast."""
    command, chosen = sys.argv[1], json.loads(sys.stdin.read())
    made = (stack_cost if command == "stack" else features_cost)(chosen)
    sys.stdout.write(f"{json.dumps(asdict(made))}\n")


def stack_cost(chosen: dict[str, Any]) -> Forecast:
    """Open the cohort, fit all base learners in one outer fold of two genes, and scale up by genes and their SNPs."""
    from threadpoolctl import threadpool_limits

    from genopred.learning import learners as registry
    from genopred.learning.evaluate import Block, Outcome, nested_base, outer_folds

    settings = Stack(**chosen)
    with threadpool_limits(1):
        cohort = open_cohort(settings)
        values = cohort.expression.values
        covariates = None if cohort.covariates is None else cohort.covariates.values
        n, g = values.shape
        folds = outer_folds(n, settings.outer_folds, settings.seed)
        counts = align.count_cis(cohort.genotypes, cohort.expression.genes, settings.window)
        order = np.argsort(counts)
        learners = tuple(registry.find(name) for name in registry.DEFAULT_LEARNERS)
        times: list[tuple[float, float]] = []
        spent = 0.0
        picked = [int(order[int(q * (g - 1))]) for q in (0.5, 0.2, 0.8)]  # the first only loads what is needed
        for j in picked:
            gene = cohort.expression.genes.row(j, named=True)
            window = cohort.genotypes.select(variants=Interval.around(gene["chrom"], gene["tss"], settings.window))
            started = time.process_time()
            dosage = window.dosage()
            use, _ = align.usable_variants(dosage, window.variants, maf=settings.maf)
            if not times:  # loading is once
                use &= np.cumsum(use) <= 100
            if not use.any():
                continue
            context = registry.GeneContext(window.variants["pos"].to_numpy()[use], gene["tss"], 1)
            blocks = [Block("genotype", np.ascontiguousarray(dosage[:, use]), learners)]
            outcome = Outcome(settings.transform, settings.residualize)
            nested_base(blocks, values[:, j], covariates, folds, context, outcome=outcome, only=[0])
            took = time.process_time() - started
            if times and took < AGAIN:  # what else runs here makes a time too long, never too short
                nested_base(blocks, values[:, j], covariates, folds, context, outcome=outcome, only=[1])
                took = min(took, time.process_time() - started - took)
            spent += time.process_time() - started if times else 0.0
            times.append((float(counts[j]), took))
    if len(times) < 2:
        raise GenopredError("no gene has a usable variant near")
    per_gene = settings.outer_folds * _at(times[1:], counts)
    once = time.process_time() - spent + ONCE
    rest = float(per_gene.sum()) * (1 + BESIDE)
    k = min(cores(chosen.get("threads")), g)
    disk = g * (n * 3.1 * (settings.outer_folds * 12 + 19) + 140 * float(np.median(counts))) + 1e6
    processes = 1 if k == 1 else k + 1
    return Forecast("stack", g, n, once + rest, once + rest / k, _peak() + PAGE, processes, disk, k)


def _at(times: list[tuple[float, float]], counts: np.ndarray) -> np.ndarray:
    """Seconds by number of variants: the line through what was measured, never falling."""
    (a, s), (b, t) = times[0], times[-1]
    slope = max((t - s) / (b - a), 0.0) if b != a else 0.0
    middle, mean = (a + b) / 2, (s + t) / 2
    return np.maximum(mean + slope * (counts - middle), 0.3 * mean)  # type: ignore[no-any-return]


def features_cost(chosen: dict[str, Any]) -> Forecast:
    """Compute features of a few genes into a folder that is removed again, and scale up by genes."""
    from dataclasses import replace

    from genopred.pipelines import features
    from genopred.pipelines.features_inputs import open_inputs

    with tempfile.TemporaryDirectory(prefix="genopred-doctor-") as folder:
        # an index that is made lies beside the link, and goes with it
        reference = Path(chosen["fasta"]).absolute()
        link = Path(folder) / reference.name
        for end in ("", ".fai", ".gzi"):
            if reference.with_name(f"{reference.name}{end}").exists():
                link.with_name(f"{link.name}{end}").symlink_to(reference.with_name(f"{reference.name}{end}"))
        settings = Features(**chosen | {"fasta": str(link)}, out=Path(folder) / "first")
        ids = open_inputs(settings).genes["gene_id"].to_list()
        started = time.process_time()
        open_inputs(settings)
        opening = time.process_time() - started
        g = len(ids)
        picked = [ids[int(i)] for i in np.unique(np.linspace(0, g - 1, min(FIRST + TIMED, g)))]
        first, timed = picked[:FIRST], picked[FIRST:]
        features.run(replace(settings, all_genes=False, gene=tuple(first)))
        sofar, clock = time.process_time(), time.perf_counter()
        once = sofar - 2 * opening + START  # files were opened three times
        per_gene = wall = 0.0
        if timed:
            done = features.run(replace(settings, all_genes=False, gene=tuple(timed), out=Path(folder) / "timed"))
            taken = time.process_time() - sofar
            per_gene = max(taken - opening, 0.2 * taken) / len(timed)
            wall = (time.perf_counter() - clock) / max(taken, 1e-9)
        else:
            done = features.run(replace(settings, all_genes=False, gene=tuple(first), out=Path(folder) / "again"))
        people = len(done.manifest["samples"])  # type: ignore[union-attr]
        left = (path for name in ("first", "timed") for path in (Path(folder) / name).rglob("*") if path.is_file())
        disk = sum(path.stat().st_size for path in left) / len(picked) * g
    cpu = once + (g - len(first)) * per_gene
    k = cores(chosen.get("threads"))
    return Forecast("features", g, people, cpu, cpu * min(wall or 1.0, 1.0), _peak(), 1, disk, k)


def _peak() -> float:
    """Largest memory of this process so far, in bytes; what getrusage says may be of the process that started it."""
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
        if found:
            return 1024.0 * int(found[1])
    except OSError:
        pass
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
